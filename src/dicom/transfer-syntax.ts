/** Transfer syntaxes that an object may be stored in: PS3.5 Annex A; media types of PS3.18 8.7.3. */
import { readFileSync } from 'node:fs';
import type { Encoding } from './data-set.ts';

export interface TransferSyntax {
  readonly uid: string;
  readonly name: string;
  /** How the elements of the data set are written. */
  readonly encoding: Encoding;
  /** Pixel data lies in fragments (PS3.5 A.4). */
  readonly encapsulated: boolean;
  /** The whole data set is a raw DEFLATE stream (PS3.5 A.5). */
  readonly deflated: boolean;
  /** There is no pixel data, only where to fetch it (PS3.5 A.6): nothing that can be de-identified. */
  readonly referenced: boolean;
  /** `either`: the syntax allows both, the object says which (0028,2110). */
  readonly compression: 'none' | 'lossless' | 'lossy' | 'either';
  /** Of a frame by itself, PS3.18 8.7.3.3; undefined where pixel data is referenced, and for Deflated Image Frame, which the edition lacks. */
  readonly mediaType: string | undefined;
  readonly retired: boolean;
}

export const IMPLICIT_VR_LITTLE_ENDIAN = '1.2.840.10008.1.2';
export const EXPLICIT_VR_LITTLE_ENDIAN = '1.2.840.10008.1.2.1';
export const EXPLICIT_VR_BIG_ENDIAN = '1.2.840.10008.1.2.2';

type Row = readonly [
  uid: string,
  name: string,
  encoding: Encoding,
  pixelData: 'native' | 'deflated' | 'encapsulated' | 'referenced' | 'referenced deflated',
  compression: TransferSyntax['compression'],
  mediaType: string,
  retired: 0 | 1,
];

const SYNTAXES = new Map(readTable().map((syntax) => [syntax.uid, syntax]));

function readTable(): TransferSyntax[] {
  const file = new URL('./standard/transfer-syntaxes-2024e.json', import.meta.url);
  const table = JSON.parse(readFileSync(file, 'utf8')) as { rows: Row[] };
  return table.rows.map(([uid, name, encoding, pixelData, compression, mediaType, retired]) => ({
    uid,
    name,
    encoding,
    encapsulated: pixelData === 'encapsulated',
    deflated: pixelData.endsWith('deflated'),
    referenced: pixelData.startsWith('referenced'),
    compression,
    mediaType: mediaType === '' ? undefined : mediaType,
    retired: retired === 1,
  }));
}

/** Undefined for what is no transfer syntax of a stored object, private ones included. */
export function transferSyntax(uid: string): TransferSyntax | undefined {
  return SYNTAXES.get(uid);
}

export function transferSyntaxes(): IterableIterator<TransferSyntax> {
  return SYNTAXES.values();
}
