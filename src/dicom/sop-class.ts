/** The UIDs that PS3.6 Annex A registers, and among them the Storage SOP Classes (PS3.4 B.5, GG.3). */
import { readFileSync } from 'node:fs';

export interface RegisteredUid {
  readonly uid: string;
  readonly keyword: string;
  readonly name: string;
  /** `SOP Class`, `Transfer Syntax`, `Coding Scheme`, `Well-known frame of reference` ... */
  readonly type: string;
  readonly retired: boolean;
}

export interface StorageSopClass extends RegisteredUid {
  /** The IOD has a pixel data module (Image Pixel, Floating Point or Double Floating Point Image Pixel). */
  readonly image: boolean;
}

type Row = readonly [
  uid: string,
  keyword: string,
  type: string,
  retired: 0 | 1,
  name: string,
  storage: 'image' | 'other' | '',
];

const ROWS = new Map(readTable().map((row) => [row[0], row]));

function readTable(): Row[] {
  const file = new URL('./standard/uids-2024d.json', import.meta.url);
  return (JSON.parse(readFileSync(file, 'utf8')) as { rows: Row[] }).rows;
}

/**
 * Whether PS3.6 Annex A registers this UID. Not a test of the prefix 1.2.840.10008: an instance UID made up below it
 * by a careless sender would pass that and reach the outside unmapped.
 */
export function isWellKnownUid(uid: string): boolean {
  return ROWS.has(uid);
}

export function registeredUid(uid: string): RegisteredUid | undefined {
  const row = ROWS.get(uid);
  return row === undefined ? undefined : registered(row);
}

function registered([uid, keyword, type, retired, name]: Row): RegisteredUid {
  return { uid, keyword, name, type, retired: retired === 1 };
}

/** Undefined for what is no Storage SOP Class, and for private ones. */
export function storageSopClass(uid: string): StorageSopClass | undefined {
  const row = ROWS.get(uid);
  return row === undefined || row[5] === '' ? undefined : { ...registered(row), image: row[5] === 'image' };
}

export function storageSopClasses(): StorageSopClass[] {
  return [...ROWS.keys()].map(storageSopClass).filter((sopClass) => sopClass !== undefined);
}
