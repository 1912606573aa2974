/** Objects made for these tests, byte by byte, and one call that takes them through the wall. */
import { mkdtempSync, readFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { parse } from 'yaml';
import { openDatabase, type Database } from '../../src/database.ts';
import { openWall, type Wall } from '../../src/deidentify/wall.ts';
import { deidentify, type Deidentification } from '../../src/deidentify/deidentify.ts';
import {
  compileProfile,
  type CompiledProfile,
  type PrivateCreators,
  type ProfileFile,
} from '../../src/deidentify/profile.ts';
import type { DataSet } from '../../src/dicom/data-set.ts';
import { readHead, readObject } from '../../src/dicom/part10.ts';
import { vrOf } from '../../src/dicom/dictionary.ts';
import type { Vr } from '../../src/dicom/vr.ts';
import { openSink, sinkBytes, writeBytes, writeElement, writeHeader, type Sink } from '../../src/dicom/writer.ts';

export const CT = '1.2.840.10008.5.1.4.1.1.2';
export const EXPLICIT_LE = '1.2.840.10008.1.2.1';
export const IMPLICIT_LE = '1.2.840.10008.1.2';
export const EXPLICIT_BE = '1.2.840.10008.1.2.2';
export const JPEG = '1.2.840.10008.1.2.4.50';
export const JPEG_2000 = '1.2.840.10008.1.2.4.90';

export const PROFILES = [
  'basic',
  'gdpr-anonymise',
  'gdpr-pseudonymise',
  'hipaa-expert',
  'hipaa-safe-harbor',
  'research-longitudinal',
] as const;

/** As the program reads it, the list of private attributes included. */
export function fileOf(name: (typeof PROFILES)[number]): ProfileFile {
  const read = (path: string): unknown => parse(readFileSync(new URL(`../../config/${path}`, import.meta.url), 'utf8'));
  const file = read(`profiles/${name}.yaml`) as ProfileFile;
  if (file.private?.mode !== 'safe-list') return file;
  const { creators } = read(file.private.list) as { creators: PrivateCreators };
  return { ...file, private: { ...file.private, creators } };
}

export const BASIC = compileProfile(fileOf('basic'));
export const SAFE_HARBOR = compileProfile(fileOf('hipaa-safe-harbor'));
/** The bare column of the table. */
export const TABLE_ONLY = compileProfile({ ...fileOf('basic'), dates: { mode: 'remove' } });

export const KEY = '00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff';

export function memoryWall(keyHex = KEY): Wall {
  return openWall(openDatabase(':memory:'), { keyFile: '', keyHex });
}

export function fileWall(): { wall: Wall; database: Database; folder: string } {
  const folder = mkdtempSync(join(tmpdir(), 'isthmus-deidentify-'));
  const database = openDatabase(join(folder, 'isthmus.sqlite'));
  return { wall: openWall(database, { keyFile: join(folder, 'keys', 'crosswalk.key') }), database, folder };
}

/** A value, or the items of a sequence. */
export type Value = string | Buffer | readonly Attributes[];
/** By eight-digit tag; `VR:` before a text sets another VR than the dictionary's, `UN:` included. */
export type Attributes = Readonly<Record<string, Value>>;

/** Elements in Explicit VR LE, ascending. */
export function encode(attributes: Attributes, undefinedLengths = false): Buffer {
  const sink = openSink();
  for (const [key, value] of Object.entries(attributes).sort(([a], [b]) => (a < b ? -1 : 1)))
    encodeOne(sink, Number.parseInt(key, 16), value, undefinedLengths);
  return Buffer.from(sinkBytes(sink));
}

function encodeOne(sink: Sink, tag: number, value: Value, undefinedLengths: boolean): void {
  if (typeof value === 'string' || Buffer.isBuffer(value)) {
    const named = typeof value === 'string' ? /^([A-Z]{2}):/.exec(value)?.[1] : undefined;
    const vr = (named ?? vrOf(tag) ?? (typeof value === 'string' ? 'LO' : 'UN')) as Vr;
    const bytes = typeof value === 'string' ? Buffer.from(named === undefined ? value : value.slice(3), 'utf8') : value;
    writeElement(sink, tag, vr, bytes);
    return;
  }
  const content = Buffer.concat((value as readonly Attributes[]).map((item) => encodeItem(item, undefinedLengths)));
  writeHeader(sink, tag, 'SQ', undefinedLengths ? 0xffffffff : content.length);
  writeBytes(sink, content);
  if (undefinedLengths) writeBytes(sink, Buffer.from('feffdde000000000', 'hex'));
}

function encodeItem(item: Attributes, undefinedLengths: boolean): Buffer {
  const content = encode(item, undefinedLengths);
  const header = Buffer.from('feff00e000000000', 'hex');
  header.writeUInt32LE(undefinedLengths ? 0xffffffff : content.length, 4);
  return Buffer.concat([header, content, undefinedLengths ? Buffer.from('feff0de000000000', 'hex') : Buffer.alloc(0)]);
}

/** Implicit VR LE of simple attributes, as it lies inside UN. */
export function encodeImplicit(attributes: Readonly<Record<string, string>>): Buffer {
  return Buffer.concat(
    Object.entries(attributes).map(([key, text]) => {
      const value = Buffer.from(text.length % 2 === 0 ? text : `${text} `, 'utf8');
      const header = Buffer.alloc(8);
      header.writeUInt16LE(Number.parseInt(key.slice(0, 4), 16), 0);
      header.writeUInt16LE(Number.parseInt(key.slice(4), 16), 2);
      header.writeUInt32LE(value.length, 4);
      return Buffer.concat([header, value]);
    }),
  );
}

export function item(content: Buffer): Buffer {
  const header = Buffer.from('feff00e000000000', 'hex');
  header.writeUInt32LE(content.length, 4);
  return Buffer.concat([header, content]);
}

export const UIDS = { study: '1.2.3.4.1', series: '1.2.3.4.2', instance: '1.2.3.4.3', frame: '1.2.3.4.4' } as const;

const us = (value: number): Buffer => Buffer.from([value & 0xff, value >>> 8]);

/** A chest CT of 4 by 2 pixels with what its IOD asks for. */
export const CT_ATTRIBUTES: Attributes = {
  '00080008': 'ORIGINAL\\PRIMARY\\AXIAL',
  '00080016': CT,
  '00080018': UIDS.instance,
  '00080020': '20240405',
  '00080030': '101112',
  '00080050': 'ACC-77',
  '00080060': 'CT',
  '00080070': 'ACME',
  '00080090': 'Refer^Rita',
  '00081030': 'Chest of Mr Meier',
  '00100010': 'Meier^Hans',
  '00100020': 'PID-4711',
  '00100030': '19570302',
  '00100040': 'M',
  '00101010': '067Y',
  '00180015': 'CHEST',
  '00180050': '1.25',
  '0020000D': UIDS.study,
  '0020000E': UIDS.series,
  '00200010': 'S-12',
  '00200013': '7',
  '00200032': '-100\\-100\\50',
  '00200037': '1\\0\\0\\0\\1\\0',
  '00200052': UIDS.frame,
  '00280002': us(1),
  '00280004': 'MONOCHROME2',
  '00280010': us(2),
  '00280011': us(4),
  '00280030': '0.7\\0.7',
  '00280100': us(16),
  '00280101': us(12),
  '00280102': us(11),
  '00280103': us(0),
  '00281052': '-1024',
  '00281053': '1',
};

export const PIXELS = Buffer.from(Array.from({ length: 16 }, (_, index) => index * 3));

export interface Made {
  readonly transferSyntaxUID?: string;
  readonly preamble?: Buffer;
  readonly meta?: Attributes;
  readonly trailing?: Buffer;
  /** Items of encapsulated pixel data, or the native value; null: none. */
  readonly pixels?: Buffer | readonly Buffer[] | null;
  readonly undefinedLengths?: boolean;
}

/** A Part 10 file; `attributes` join or replace those of the chest CT, `undefined` takes one away. */
export function makeFile(attributes: Readonly<Record<string, Value | undefined>> = {}, made: Made = {}): Buffer {
  const all = Object.fromEntries(
    Object.entries({ ...CT_ATTRIBUTES, ...attributes }).filter(([, value]) => value !== undefined),
  ) as Attributes;
  const syntax = made.transferSyntaxUID ?? EXPLICIT_LE;
  const meta = encode({
    '00020001': Buffer.from([0, 1]),
    '00020002': CT,
    '00020003': UIDS.instance,
    '00020010': syntax,
    ...made.meta,
  });
  return Buffer.concat([
    made.preamble ?? Buffer.alloc(128),
    Buffer.from('DICM'),
    meta,
    encode(all, made.undefinedLengths === true),
    pixelElement(made.pixels === undefined ? PIXELS : made.pixels),
    made.trailing ?? Buffer.alloc(0),
  ]);
}

function pixelElement(pixels: Buffer | readonly Buffer[] | null): Buffer {
  if (pixels === null) return Buffer.alloc(0);
  const sink = openSink();
  if (Buffer.isBuffer(pixels)) writeElement(sink, 0x7fe00010, 'OW', pixels);
  else {
    writeHeader(sink, 0x7fe00010, 'OB', 0xffffffff);
    for (const fragment of pixels as readonly Buffer[]) writeBytes(sink, item(fragment));
    writeBytes(sink, Buffer.from('feffdde000000000', 'hex'));
  }
  return Buffer.from(sinkBytes(sink));
}

export interface Passed {
  readonly result: Deidentification;
  readonly head: Buffer;
  readonly body: Buffer;
  /** Head and body. */
  readonly file: Buffer;
  readonly dataSet: DataSet;
}

export interface PassOptions {
  readonly wall?: Wall;
  readonly profile?: CompiledProfile;
  readonly project?: string;
  readonly transferSyntaxUID?: string;
}

/** Reads, de-identifies, remembers. */
export async function pass(bytes: Buffer, options: PassOptions = {}): Promise<Passed> {
  const object = await readObject(
    bytes,
    options.transferSyntaxUID === undefined ? {} : { transferSyntaxUID: options.transferSyntaxUID },
  );
  const result = await deidentify(options.wall ?? memoryWall(), object, {
    project: options.project ?? 'trial',
    profile: options.profile ?? BASIC,
  });
  const body = await gather(result.object.body);
  result.remember();
  const { head } = result.object;
  return { result, head, body, file: Buffer.concat([head, body]), dataSet: readHead(head).head.dataSet };
}

export async function gather(body: AsyncIterable<Buffer>): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of body) chunks.push(chunk);
  return Buffer.concat(chunks);
}

/** Whether a word stands anywhere in the bytes, in UTF-8, UTF-16, or with bytes of each pair swapped. */
export function holds(bytes: Buffer, word: string): boolean {
  const upper = Buffer.from(bytes.toString('latin1').toUpperCase(), 'latin1');
  const needle = Buffer.from(word.toUpperCase(), 'latin1');
  if (bytes.includes(Buffer.from(word, 'utf8')) || upper.includes(needle)) return true;
  if (bytes.includes(Buffer.from(word, 'utf16le'))) return true;
  return swapped(bytes, 0).includes(word) || swapped(bytes, 1).includes(word);
}

function swapped(bytes: Buffer, from: 0 | 1): Buffer {
  const copy = Buffer.from(bytes.subarray(from, bytes.length - ((bytes.length - from) & 1)));
  return copy.swap16();
}
