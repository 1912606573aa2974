/**
 * Comment and application segments inside JPEG, JPEG-LS (ITU-T T.81 B.2.4.6, T.87) and JPEG 2000 (T.800 A.9.2) frames, and what follows
 * the end of an image, overwritten with zeros as the bytes stream by. Nothing changes its length, so that offset tables stay true,
 * and no byte that a decoder uses changes.
 */
import { Refusal } from '../dicom/refusal.ts';

/** What a fragment of a transfer syntax holds. */
export type CodestreamKind = 'jpeg' | 'jpeg2000' | 'jpeg-xl' | 'opaque';

/** undefined: the syntax may hold text that nothing here can find. */
export function codestreamKind(transferSyntaxUID: string): CodestreamKind | undefined {
  const suffix = transferSyntaxUID.startsWith('1.2.840.10008.1.2.') ? transferSyntaxUID.slice(18) : '';
  const jpeg = /^4\.(\d+)$/.exec(suffix);
  if (jpeg !== null) {
    const number = Number(jpeg[1]);
    if ((number >= 50 && number <= 70) || number === 80 || number === 81) return 'jpeg';
    if ((number >= 90 && number <= 93) || (number >= 201 && number <= 203)) return 'jpeg2000';
    return number >= 110 && number <= 112 ? 'jpeg-xl' : undefined;
  }
  // RLE, uncompressed and deflated frames: samples and nothing else.
  return suffix === '5' || suffix === '1.98' || suffix === '8.1' ? 'opaque' : undefined;
}

/** Looks at the bytes of one fragment after another, in pieces of any size. */
export interface CodestreamCleaner {
  beginFragment(): void;
  /** The same bytes, copied where any had to be overwritten. @throws Refusal Quarantined */
  clean(bytes: Buffer): Buffer;
}

export function codestreamCleaner(kind: CodestreamKind): CodestreamCleaner {
  if (kind === 'opaque') return { beginFragment: () => undefined, clean: (bytes) => bytes };
  if (kind === 'jpeg-xl') return jpegXlGuard();
  return markerCleaner(kind === 'jpeg' ? JPEG : JPEG_2000);
}

interface Syntax {
  readonly name: string;
  /** Second byte of the marker that begins an image. */
  readonly start: number;
  /** Second byte of the marker that follows it, where data could look like `start`; undefined where it could not. */
  readonly second: number | undefined;
  /** Markers without a length. */
  isBare(code: number): boolean;
  /** Markers whose segment a decoder needs. */
  isNeeded(code: number): boolean;
  /** Markers after whose segment coded data follows. */
  beginsData(code: number): boolean;
  /** Inside coded data: FF and this byte are a marker, not data. */
  isMarkerInData(code: number): boolean;
  /** Bytes of a segment that must not be zero for a decoder: only these exact contents are let through. */
  template(code: number, lengthBytes: number): Template | undefined;
}

/** Says of each byte of a segment whether it may stay. */
type Template = (index: number, byte: number) => boolean;

const EOI = 0xd9;

const JPEG: Syntax = {
  name: 'JPEG',
  start: 0xd8,
  second: undefined,
  isBare: (code) => code === 0x01 || (code >= 0xd0 && code <= 0xd9),
  // Frame headers, tables, scans, restart interval, JPEG-LS frame and parameters; neither APPn, COM nor what is reserved.
  isNeeded: (code) => (code >= 0xc0 && code <= 0xdf) || code === 0xf7 || code === 0xf8,
  beginsData: (code) => code === 0xda,
  isMarkerInData: (code) => code >= 0x80 && !(code >= 0xd0 && code <= 0xd7) && code !== 0xff,
  template(code, lengthBytes) {
    // They say how colours are coded: JFIF without thumbnail, Adobe, and the colour transformation of JPEG-LS.
    if (code === 0xe0 && lengthBytes === 14)
      return startsWith('JFIF\0', (index, byte) => index >= 5 && (index < 12 || byte === 0));
    if (code === 0xee && lengthBytes === 12) return startsWith('Adobe', (index, byte) => index < 11 || byte <= 2);
    if (code === 0xe8 && lengthBytes === 5) return startsWith('mrfx', (_, byte) => byte <= 3);
    return undefined;
  },
};

const JPEG_2000: Syntax = {
  name: 'JPEG 2000',
  start: 0x4f,
  second: 0x51,
  isBare: (code) => code === 0x4f || code === 0x92 || code === 0x93 || code === EOI || (code >= 0x30 && code <= 0x3f),
  isNeeded: (code) =>
    (code >= 0x50 && code <= 0x61) || code === 0x63 || (code >= 0x72 && code <= 0x79) || code === 0x90 || code === 0x91,
  beginsData: (code) => code === 0x91,
  isMarkerInData: (code) => code >= 0x90 && code !== 0x92 && code !== 0xff,
  template: () => undefined,
};

function startsWith(word: string, rest: Template): Template {
  return (index, byte) => (index < word.length ? byte === word.charCodeAt(index) : rest(index, byte));
}

type State = 'start' | 'start-code' | 'marker' | 'code' | 'length' | 'segment' | 'data' | 'after';

function markerCleaner(syntax: Syntax): CodestreamCleaner {
  let state: State = 'start';
  let code = 0;
  let lengthBytes = 0;
  let lengthSeen = 0;
  let index = 0;
  let blank = false;
  let template: Template | undefined;
  let offsetInFragment = 0;
  let previousIsFF = false;
  let restart = false;

  const refuse = (what: string): never => {
    throw new Refusal('Quarantined', `compressed Pixel Data (7FE0,0010): ${what} where ${syntax.name} was expected`);
  };
  /** After a marker code. */
  const begin = (next: number): void => {
    code = next;
    if (code === EOI) state = 'after';
    else if (syntax.isBare(code)) state = code === 0x93 ? 'data' : 'marker';
    else {
      state = 'length';
      lengthSeen = 0;
      lengthBytes = 0;
    }
    previousIsFF = false;
  };
  const beginSegment = (): void => {
    if (lengthBytes < 2) refuse('a segment shorter than its own length field');
    lengthBytes -= 2;
    index = 0;
    template = syntax.isNeeded(code) ? undefined : syntax.template(code, lengthBytes);
    blank = !syntax.isNeeded(code) && template === undefined;
    if (lengthBytes === 0) endSegment();
    else state = 'segment';
  };
  const endSegment = (): void => {
    state = syntax.beginsData(code) ? 'data' : 'marker';
    previousIsFF = false;
  };

  return {
    beginFragment() {
      offsetInFragment = 0;
      restart = false;
      if (state === 'after') state = 'start';
    },
    clean(bytes) {
      let out = bytes;
      const zero = (from: number, to: number): void => {
        for (let at = from; at < to; at++) {
          if (out[at] === 0) continue;
          if (out === bytes) out = Buffer.from(bytes);
          out.fill(0, at, to);
          return;
        }
      };
      let at = 0;
      while (at < bytes.length) {
        const byte = bytes[at] as number;
        switch (state) {
          case 'start':
            if (byte !== 0xff) refuse('a fragment that begins otherwise');
            state = 'start-code';
            at++;
            break;
          case 'start-code':
            if (byte !== syntax.start) refuse('a fragment that begins otherwise');
            state = 'marker';
            at++;
            break;
          case 'marker':
            if (byte !== 0xff) refuse('a byte outside of any segment');
            state = 'code';
            at++;
            break;
          case 'code':
            at++;
            if (byte === 0xff) break;
            begin(byte);
            break;
          case 'length':
            lengthBytes = (lengthBytes << 8) | byte;
            at++;
            if (++lengthSeen === 2) beginSegment();
            break;
          case 'segment': {
            const end = Math.min(bytes.length, at + lengthBytes - index);
            if (template !== undefined) {
              for (; at < end && template(index, bytes[at] as number); at++) index++;
              if (at < end) {
                template = undefined;
                blank = true;
              }
            }
            if (at < end) {
              if (blank) zero(at, end);
              index += end - at;
              at = end;
            }
            if (index === lengthBytes) endSegment();
            break;
          }
          case 'data':
            if (previousIsFF) {
              // A new image where the old one has not ended, as writers make who forget the end marker: its first two markers.
              if (offsetInFragment + at === 1 && byte === syntax.start) restart = true;
              else if (restart && offsetInFragment + at === 3 && byte === syntax.second) {
                begin(byte);
                at++;
                break;
              }
              if (syntax.isMarkerInData(byte)) {
                begin(byte);
                at++;
                break;
              }
              previousIsFF = byte === 0xff;
              at++;
              break;
            }
            at = bytes.indexOf(0xff, at);
            if (at < 0) at = bytes.length;
            else {
              previousIsFF = true;
              at++;
            }
            break;
          case 'after':
            zero(at, bytes.length);
            at = bytes.length;
            break;
        }
      }
      offsetInFragment += bytes.length;
      return out;
    },
  };
}

/** A bare JPEG XL codestream has no room for text; the container with its boxes does and is not taken apart here. */
function jpegXlGuard(): CodestreamCleaner {
  let offset = 0;
  return {
    beginFragment() {
      offset = 0;
    },
    clean(bytes) {
      for (let at = 0; at < bytes.length && offset + at < 2; at++) {
        if (bytes[at] !== (offset + at === 0 ? 0xff : 0x0a))
          throw new Refusal(
            'Quarantined',
            'compressed Pixel Data (7FE0,0010): a JPEG XL container, whose boxes may hold text, or a frame in several fragments',
          );
      }
      offset += bytes.length;
      return bytes;
    },
  };
}
