/**
 * DICOM objects from bytes: Part 10 files (PS3.10 section 7) as they stream in, and bare data sets from DIMSE.
 * The head is read from a prefix; the pixel data's value passes by as it arrives.
 */
import { createInflateRaw } from 'node:zlib';
import { Readable } from 'node:stream';
import { asciiValue, type DataSet, type Encoding } from './data-set.ts';
import { identified, type Head, type Identified, type PixelDataHeader } from './object.ts';
import { MORE_BYTES, readDataSet, type ElementHeader } from './reader.ts';
import { Refusal } from './refusal.ts';
import {
  EXPLICIT_VR_BIG_ENDIAN,
  EXPLICIT_VR_LITTLE_ENDIAN,
  IMPLICIT_VR_LITTLE_ENDIAN,
  transferSyntax,
  type TransferSyntax,
} from './transfer-syntax.ts';
import { vrFromBytes } from './vr.ts';

export interface ReceiveOptions {
  /** Set when the bytes are a data set without file meta (DIMSE); absent for Part 10. */
  readonly transferSyntaxUID?: string;
  /** Most bytes of a head, so that a hostile object cannot fill memory. Default 256 MiB. */
  readonly maxHeadBytes?: number;
  /** Told the file meta as soon as it is read, so that an object whose data set cannot be read still has its names. */
  readonly onFileMeta?: (fileMeta: DataSet) => void;
  /** Most bytes that a deflated object may become. Default 4 GiB. */
  readonly maxInflatedBytes?: number;
}

const DEFAULT_MAX_HEAD_BYTES = 256 * 2 ** 20;
const DEFAULT_MAX_INFLATED_BYTES = 4 * 2 ** 30;
/** What may follow the pixel data: signatures and padding, never a second object. */
const MAX_TRAILING_BYTES = 64 * 2 ** 20;
const FIRST_ATTEMPT_BYTES = 8192;
const UNDEFINED_LENGTH = 0xffffffff;
/** Real data sets deflate to a tenth, empty masks to a hundredth; beyond the first bytes more than this is an attack. */
const MAX_INFLATION = 200;
const FREE_INFLATED_BYTES = 128 * 2 ** 20;

/**
 * Reads the head of an object while the rest still streams in.
 * @throws Refusal CannotUnderstand, TooLarge, TransferSyntaxNotSupported
 */
export async function receiveObject(
  source: AsyncIterable<Uint8Array>,
  options: ReceiveOptions = {},
): Promise<Identified> {
  const chunks = source[Symbol.asyncIterator]();
  let reading = chunks;
  try {
    const maxHeadBytes = options.maxHeadBytes ?? DEFAULT_MAX_HEAD_BYTES;
    const [stage, start] = await readUntil(chunks, NOTHING, maxHeadBytes, ({ bytes, ended }) =>
      readFileMeta(bytes, ended, options.transferSyntaxUID, maxHeadBytes),
    );
    if (stage.fileMeta !== undefined) options.onFileMeta?.(stage.fileMeta);
    if (syntaxOf(stage).deflated) reading = inflated(start, stage.dataSetStart, chunks, options.maxInflatedBytes);
    const [dataSet, prefix] = syntaxOf(stage).deflated ? [{ ...stage, dataSetStart: 0 }, NOTHING] : [stage, start];
    const [{ head, bodyStart }, last] = await readUntil(reading, prefix, maxHeadBytes, ({ bytes, ended }) =>
      readDataSetHead(bytes, dataSet, ended, maxHeadBytes),
    );
    return identified(head, pixelDataValue(head.pixelData, last.bytes.subarray(bodyStart), last.ended, reading));
  } catch (error) {
    await reading.return?.();
    throw error;
  }
}

const NOTHING: Prefix = { bytes: Buffer.alloc(0), ended: false };

function syntaxOf(stage: Stage): TransferSyntax {
  const syntax = transferSyntax(stage.transferSyntaxUID);
  if (syntax === undefined)
    throw new Refusal('TransferSyntaxNotSupported', 'Transfer Syntax UID (0002,0010) is none of PS3.6 Annex A');
  return syntax;
}

/** Reads an object that is wholly in memory. @throws Refusal, as receiveObject does */
export async function readObject(bytes: Buffer, options: ReceiveOptions = {}): Promise<Identified> {
  return receiveObject(once(bytes), options);
}

async function* once(bytes: Buffer): AsyncGenerator<Buffer> {
  yield bytes;
}

export interface HeadAndBody {
  readonly head: Head;
  /** Where the pixel data's value begins in the bytes. */
  readonly bodyStart: number;
}

/**
 * Reads the head of a Part 10 object in our own form (Explicit VR LE or encapsulated, never deflated) synchronously:
 * for what the archive and de-identification made themselves.
 */
export function readHead(bytes: Buffer): HeadAndBody {
  const stage = readFileMeta(bytes, true, undefined, Infinity);
  if (transferSyntax(stage.transferSyntaxUID)?.deflated === true) {
    throw new Refusal('TransferSyntaxNotSupported', 'a deflated object is read by receiveObject');
  }
  return readDataSetHead(bytes, stage, true, Infinity);
}

interface Prefix {
  readonly bytes: Buffer;
  readonly ended: boolean;
}

/** Runs a reader over a growing prefix until it wants no more bytes; what it read, and the prefix it read it from. */
async function readUntil<T>(
  chunks: AsyncIterator<Uint8Array>,
  start: Prefix,
  maxHeadBytes: number,
  read: (prefix: Prefix) => T,
): Promise<[T, Prefix]> {
  let prefix = await fill(chunks, start, FIRST_ATTEMPT_BYTES);
  for (;;) {
    try {
      return [read(prefix), prefix];
    } catch (error) {
      if (error !== MORE_BYTES) throw error;
    }
    if (prefix.bytes.length >= maxHeadBytes)
      throw new Refusal('TooLarge', `the data set before the pixel data is longer than ${maxHeadBytes} bytes`);
    // Doubling keeps the repeated reading of a long head linear.
    prefix = await fill(chunks, prefix, prefix.bytes.length * 2);
  }
}

async function fill(chunks: AsyncIterator<Uint8Array>, prefix: Prefix, wantedBytes: number): Promise<Prefix> {
  const parts: Uint8Array[] = [prefix.bytes];
  let length = prefix.bytes.length;
  let { ended } = prefix;
  while (!ended && length < wantedBytes) {
    const next = await chunks.next();
    if (next.done === true) ended = true;
    else {
      parts.push(next.value);
      length += next.value.length;
    }
  }
  const filled = parts.filter((part) => part.length > 0);
  const [only] = filled;
  const bytes = filled.length === 1 && only !== undefined ? asBuffer(only) : Buffer.concat(filled, length);
  return { bytes, ended };
}

function asBuffer(bytes: Uint8Array): Buffer {
  return Buffer.isBuffer(bytes) ? bytes : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength);
}

interface Stage {
  readonly fileMeta: DataSet | undefined;
  readonly transferSyntaxUID: string;
  readonly dataSetStart: number;
}

/** Preamble and group 0002, or what stands in for them. Group length is not trusted: the group ends where its number changes. */
function readFileMeta(bytes: Buffer, complete: boolean, given: string | undefined, maxBytes: number): Stage {
  if (given !== undefined) return { fileMeta: undefined, transferSyntaxUID: given, dataSetStart: 0 };
  if (bytes.length < 140 && !complete) throw MORE_BYTES;
  const start = startOf(bytes);
  if (bytes.length < start + 8)
    throw new Refusal('CannotUnderstand', `${bytes.length} bytes are no DICOM object (PS3.10 section 7)`);
  if (bytes.readUInt16LE(start) !== 0x0002) {
    return { fileMeta: undefined, transferSyntaxUID: guessTransferSyntax(bytes, start), dataSetStart: start };
  }
  const metaEncoding: Encoding = looksExplicit(bytes, start) ? 'explicit-le' : 'implicit-le';
  const { dataSet } = readDataSet(bytes, start, bytes.length, metaEncoding, {
    complete,
    maxBytes,
    endBefore: (tag) => tag >>> 16 !== 0x0002,
  });
  const named = asciiValue(dataSet, 0x00020010);
  if (named === undefined && bytes.length < dataSet.end + 8 && !complete) throw MORE_BYTES;
  const transferSyntaxUID = named ?? guessTransferSyntax(bytes, dataSet.end);
  return { fileMeta: dataSet, transferSyntaxUID, dataSetStart: dataSet.end };
}

/** Where the first element lies: after preamble and "DICM", after "DICM", or at byte 0 where both are missing. */
function startOf(bytes: Buffer): number {
  if (bytes.length >= 132 && bytes.toString('latin1', 128, 132) === 'DICM') {
    // The four letters may also be part of a value, of an object without preamble.
    return beginsObject(bytes, 0) && !beginsObject(bytes, 132) ? 0 : 132;
  }
  if (bytes.toString('latin1', 0, 4) === 'DICM') return 4;
  if (bytes.length < 8 || beginsObject(bytes, 0)) return 0;
  throw new Refusal('CannotUnderstand', 'neither "DICM" at byte 128 nor a data set at byte 0 (PS3.10 7.1)');
}

/** What real objects begin with: file meta information, or group 0008 in either byte order. */
function beginsObject(bytes: Buffer, start: number): boolean {
  if (bytes.length < start + 8) return false;
  const group = bytes.readUInt16LE(start);
  return group === 0x0002 || group === 0x0008 || beginsBigEndian(bytes, start);
}

function beginsBigEndian(bytes: Buffer, start: number): boolean {
  return bytes.length >= start + 6 && bytes.readUInt16BE(start) === 0x0008 && looksExplicit(bytes, start);
}

/** For objects that do not say: PS3.10 obliges them to, real ones fail to. */
function guessTransferSyntax(bytes: Buffer, start: number): string {
  if (beginsBigEndian(bytes, start)) return EXPLICIT_VR_BIG_ENDIAN;
  return looksExplicit(bytes, start) ? EXPLICIT_VR_LITTLE_ENDIAN : IMPLICIT_VR_LITTLE_ENDIAN;
}

function looksExplicit(bytes: Buffer, start: number): boolean {
  return bytes.length >= start + 6 && vrFromBytes(bytes[start + 4] ?? 0, bytes[start + 5] ?? 0) !== undefined;
}

function readDataSetHead(bytes: Buffer, stage: Stage, complete: boolean, maxBytes: number): HeadAndBody {
  const syntax = syntaxOf(stage);
  if (bytes.length - stage.dataSetStart < 8 && !complete) throw MORE_BYTES;
  const encoding = settleEncoding(bytes, stage.dataSetStart, syntax.encoding);
  // Groups after the pixel data (digital signatures FFFA, padding FFFC) are not part of the head and never kept.
  const { dataSet, stoppedAt } = readDataSet(bytes, stage.dataSetStart, bytes.length, encoding, {
    complete,
    maxBytes,
    stopBefore: (tag) => tag >= 0x7fe00008 && tag < 0xfffe0000,
  });
  const pixelData = stoppedAt === undefined ? undefined : pixelDataHeader(stoppedAt, syntax.encapsulated);
  const transferSyntaxUID =
    encoding === syntax.encoding || syntax.encapsulated ? stage.transferSyntaxUID : NATIVE_SYNTAXES[encoding];
  return {
    head: { fileMeta: stage.fileMeta, transferSyntaxUID, dataSet, pixelData },
    bodyStart: pixelData === undefined || stoppedAt === undefined ? dataSet.end : stoppedAt.valueStart,
  };
}

const NATIVE_SYNTAXES: Readonly<Record<Encoding, string>> = {
  'explicit-le': EXPLICIT_VR_LITTLE_ENDIAN,
  'implicit-le': IMPLICIT_VR_LITTLE_ENDIAN,
  'explicit-be': EXPLICIT_VR_BIG_ENDIAN,
};

/** A data set that plainly is not in the encoding its transfer syntax names is read as what it is. */
function settleEncoding(bytes: Buffer, start: number, named: Encoding): Encoding {
  if (bytes.length < start + 8) return named;
  const explicit = looksExplicit(bytes, start);
  if (named === 'explicit-be') return explicit && bytes.readUInt16LE(start) === 0x0008 ? 'explicit-le' : named;
  if (named === 'explicit-le' && beginsBigEndian(bytes, start)) return 'explicit-be';
  if (named === 'explicit-le' && !explicit) {
    // Only believe in Implicit VR when the four bytes make a length that fits a first element.
    return bytes.readUInt32LE(start + 4) <= 1024 ? 'implicit-le' : named;
  }
  return named === 'implicit-le' && explicit ? 'explicit-le' : named;
}

function pixelDataHeader(header: ElementHeader, encapsulated: boolean): PixelDataHeader | undefined {
  const { tag, vr, lengthBytes } = header;
  if (tag !== 0x7fe00010 && tag !== 0x7fe00008 && tag !== 0x7fe00009) return undefined;
  if (lengthBytes === UNDEFINED_LENGTH && !encapsulated) {
    throw new Refusal(
      'CannotUnderstand',
      'Pixel Data (7FE0,0010) has undefined length in a transfer syntax that is not encapsulated (PS3.5 A.4)',
    );
  }
  return { tag, vr, lengthBytes: lengthBytes === UNDEFINED_LENGTH ? undefined : lengthBytes };
}

/** The pixel data's value, then reads the source to its end so that the sender is not cut off. */
async function* pixelDataValue(
  pixelData: PixelDataHeader | undefined,
  first: Buffer,
  ended: boolean,
  chunks: AsyncIterator<Uint8Array>,
): AsyncGenerator<Buffer> {
  const value =
    pixelData === undefined
      ? fixedLength(0)
      : pixelData.lengthBytes === undefined
        ? encapsulated()
        : fixedLength(pixelData.lengthBytes);
  let trailingBytes = 0;
  let chunk: Buffer | undefined = first;
  try {
    while (chunk !== undefined) {
      const wanted = value.take(chunk);
      if (wanted > 0) yield wanted === chunk.length ? chunk : chunk.subarray(0, wanted);
      trailingBytes += chunk.length - wanted;
      if (trailingBytes > MAX_TRAILING_BYTES)
        throw new Refusal('CannotUnderstand', `more than ${MAX_TRAILING_BYTES} bytes follow the pixel data`);
      const next: IteratorResult<Uint8Array> | undefined = ended ? undefined : await chunks.next();
      chunk = next === undefined || next.done === true ? undefined : asBuffer(next.value);
    }
    value.end();
  } finally {
    await chunks.return?.();
  }
}

/** Tells how many bytes of each chunk still belong to the value, and whether the value was whole. */
interface ValueExtent {
  take(chunk: Buffer): number;
  end(): void;
}

function fixedLength(lengthBytes: number): ValueExtent {
  let left = lengthBytes;
  return {
    take(chunk) {
      const wanted = Math.min(left, chunk.length);
      left -= wanted;
      return wanted;
    },
    end() {
      if (left > 0)
        throw new Refusal(
          'CannotUnderstand',
          `the pixel data ends early: ${lengthBytes} bytes declared, ${left} are missing`,
        );
    },
  };
}

/** Walks the items of encapsulated pixel data across chunk borders (PS3.5 A.4). */
function encapsulated(): ValueExtent {
  const header = Buffer.alloc(8);
  let headerBytes = 0;
  let itemLeft = 0;
  let ended = false;
  return {
    take(chunk) {
      let at = 0;
      while (at < chunk.length && !ended) {
        if (itemLeft > 0) {
          const step = Math.min(itemLeft, chunk.length - at);
          itemLeft -= step;
          at += step;
          continue;
        }
        const step = Math.min(8 - headerBytes, chunk.length - at);
        chunk.copy(header, headerBytes, at, at + step);
        headerBytes += step;
        at += step;
        if (headerBytes < 8) break;
        headerBytes = 0;
        const tag = header.readUInt32LE(0);
        const lengthBytes = header.readUInt32LE(4);
        if (tag === 0xe0ddfffe) ended = true;
        else if (tag === 0xe000fffe && lengthBytes !== UNDEFINED_LENGTH) itemLeft = lengthBytes;
        else
          throw new Refusal(
            'CannotUnderstand',
            'encapsulated Pixel Data (7FE0,0010): no item where a fragment should begin (PS3.5 A.4)',
          );
      }
      return at;
    },
    end() {
      if (!ended)
        throw new Refusal(
          'CannotUnderstand',
          'encapsulated Pixel Data (7FE0,0010) has no sequence delimitation item (PS3.5 A.4)',
        );
    },
  };
}

/** Raw DEFLATE (PS3.5 A.5) as it streams in, bounded in length and in what it makes of how little. */
async function* inflated(
  start: Prefix,
  dataSetStart: number,
  rest: AsyncIterator<Uint8Array>,
  maxInflatedBytes = DEFAULT_MAX_INFLATED_BYTES,
): AsyncGenerator<Uint8Array, undefined> {
  let deflatedBytes = 0;
  let failure: unknown;
  async function* compressed(): AsyncGenerator<Uint8Array> {
    try {
      const first = start.bytes.subarray(dataSetStart);
      deflatedBytes += first.length;
      if (first.length > 0) yield first;
      if (start.ended) return;
      for (let next = await rest.next(); next.done !== true; next = await rest.next()) {
        deflatedBytes += next.value.length;
        yield next.value;
      }
    } catch (error) {
      failure = error;
      throw error;
    }
  }
  const source = Readable.from(compressed(), { objectMode: false });
  const inflate = createInflateRaw();
  source.on('error', (error) => inflate.destroy(error));
  source.pipe(inflate);
  let length = 0;
  try {
    for await (const chunk of inflate as AsyncIterable<Buffer>) {
      length += chunk.length;
      if (length > maxInflatedBytes)
        throw new Refusal('TooLarge', `the deflated data set is longer than ${maxInflatedBytes} bytes`);
      if (length > FREE_INFLATED_BYTES && length > deflatedBytes * MAX_INFLATION)
        throw new Refusal('TooLarge', `the deflated data set grows more than ${MAX_INFLATION} times`);
      yield chunk;
    }
  } catch (error) {
    if (error instanceof Refusal) throw error;
    if (failure !== undefined) throw failure as Error;
    throw new Refusal('CannotUnderstand', 'the deflated data set cannot be inflated (PS3.5 A.5)');
  } finally {
    source.destroy();
    inflate.destroy();
    await rest.return?.();
  }
  return undefined;
}
