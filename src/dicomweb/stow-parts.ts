/**
 * The parts of a STOW-RS request whose metadata and bulk data come apart (PS3.18 8.6.1.2, 10.5.2): kept aside as they stream in, and found
 * again by the BulkDataURI that the metadata has.
 */
import { Refusal } from '../dicom/refusal.ts';
import { parseMediaType, type MediaType } from './media-type.ts';
import type { Part } from './multipart.ts';
import { keep, type Kept, type Spool } from './spool.ts';

export interface BulkPart {
  readonly type: MediaType;
  readonly kept: Kept;
  /** Its Content-Location (or Content-ID) in every form that a URI could name it by. */
  readonly names: readonly string[];
  /** Some instance has asked for it. */
  used: boolean;
}

/** Parts by name; several under one name are the frames of one value, in their order. */
export interface BulkParts {
  readonly base: string;
  readonly all: BulkPart[];
  readonly byName: Map<string, BulkPart[]>;
}

export function openBulkParts(base: string): BulkParts {
  return { base, all: [], byName: new Map() };
}

const OCTETS: MediaType = { name: 'application/octet-stream', parameters: new Map() };

/** Of a part: what it says, or bytes when it only says where they belong. */
export function typeOfPart({ headers }: Part): MediaType | undefined {
  const text = headers.get('content-type');
  if (text !== undefined) return parseMediaType(text) ?? { name: '', parameters: new Map() };
  return headers.has('content-location') ? OCTETS : undefined;
}

export async function keepBulkPart(parts: BulkParts, spool: Spool, part: Part, type: MediaType): Promise<void> {
  const location = part.headers.get('content-location');
  const id = part.headers.get('content-id')?.replace(/^<|>$/g, '');
  const names = new Set([
    ...(location === undefined ? [] : namesOf(location, parts.base)),
    // RFC 2392: a Content-ID is named by cid:.
    ...(id === undefined ? [] : [decoded(id), `cid:${decoded(id)}`]),
  ]);
  const one: BulkPart = { type, kept: await keep(spool, part.body), names: [...names], used: false };
  parts.all.push(one);
  for (const name of names) {
    const same = parts.byName.get(name);
    if (same === undefined) parts.byName.set(name, [one]);
    else same.push(one);
  }
}

/** As it stands and made absolute, percent-encoding undone: senders are free in both. */
function namesOf(uri: string, base: string): string[] {
  const text = uri.trim();
  const plain = decoded(text);
  try {
    return [plain, decoded(new URL(text, base).href)];
  } catch {
    return [plain];
  }
}

function decoded(text: string): string {
  try {
    return decodeURIComponent(text);
  } catch {
    return text;
  }
}

/** The parts that a BulkDataURI names, in their order. */
export function partsOf(parts: BulkParts, uri: string): readonly BulkPart[] {
  for (const name of namesOf(uri, parts.base)) {
    const found = parts.byName.get(name);
    if (found !== undefined) return used(found);
  }
  return [];
}

/**
 * The parts of pixel data: under its own URI, or frame by frame under `/frames/{number}` below that or below the instance whose
 * bulk data it is, as a retrieval gives them (PS3.18 8.7.3.3.2).
 */
export function pixelPartsOf(parts: BulkParts, uri: string): readonly BulkPart[] {
  const whole = partsOf(parts, uri);
  if (whole.length > 0) return whole;
  for (const name of namesOf(uri, parts.base)) {
    for (const root of [name, name.replace(/\/(?:bulkdata|pixeldata)(?:\/[^?#]*)?$/, '')]) {
      const frames: BulkPart[] = [];
      for (let number = 1; ; number++) {
        const found = parts.byName.get(`${root}/frames/${number}`);
        if (found === undefined) break;
        frames.push(...found);
      }
      if (frames.length > 0) return used(frames);
    }
  }
  return [];
}

function used(parts: readonly BulkPart[]): readonly BulkPart[] {
  for (const part of parts) part.used = true;
  return parts;
}

/** What no instance of the request has asked for. */
export function unusedParts(parts: BulkParts): number {
  return parts.all.filter((part) => !part.used).length;
}

/** @throws Refusal CannotUnderstand when there is none, or several */
export function theOne(parts: readonly BulkPart[]): BulkPart {
  const [part, another] = parts;
  if (part === undefined) throw missingPart();
  if (another !== undefined)
    throw new Refusal('CannotUnderstand', `${parts.length} parts have the Content-Location that a BulkDataURI names`);
  return part;
}

export function missingPart(): Refusal {
  return new Refusal('CannotUnderstand', 'no part of the request has the Content-Location that a BulkDataURI names');
}
