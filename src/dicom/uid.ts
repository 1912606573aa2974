/** Unique identifiers, PS3.5 section 9, branded so that a study is never passed where a series is meant. */
import { createHash, randomBytes } from 'node:crypto';
import { Refusal } from './refusal.ts';

declare const uidKind: unique symbol;
export type Uid<Kind extends string = string> = string & { readonly [uidKind]: Kind };
export type StudyInstanceUID = Uid<'study'>;
export type SeriesInstanceUID = Uid<'series'>;
export type SOPInstanceUID = Uid<'instance'>;

const UID_PATTERN = /^(0|[1-9]\d*)(\.(0|[1-9]\d*))*$/;

/** Digits and dots, no leading zero in a component, at most 64 characters (PS3.5 9.1). */
export function isUid(text: string): boolean {
  return text.length > 0 && text.length <= 64 && UID_PATTERN.test(text);
}

/** @throws Refusal CannotUnderstand, naming where but never the text found. */
export function parseUid<Kind extends string>(text: string, where: string): Uid<Kind> {
  if (!isUid(text)) {
    throw new Refusal(
      'CannotUnderstand',
      `${where} is not a UID: ${text.length} characters (PS3.5 9.1 allows digits and dots, 1 to 64)`,
    );
  }
  return text as Uid<Kind>;
}

/** A new random UID under 2.25 (PS3.5 B.2: a version 4 UUID as a decimal number). */
export function newUid<Kind extends string>(): Uid<Kind> {
  return uuidUid(randomBytes(16), 4) as Uid<Kind>;
}

/** The same UID for the same words: used for derived objects so that a repeated run makes the same instances. */
export function uidFrom<Kind extends string>(...words: readonly string[]): Uid<Kind> {
  const hash = createHash('sha256');
  for (const word of words) hash.update(`${Buffer.byteLength(word)}:`).update(word);
  return uuidUid(hash.digest(), 8) as Uid<Kind>;
}

/** 2.25.<decimal of 128 bits>, with version and variant bits of RFC 9562. `bytes`: at least 16. */
export function uuidUid(bytes: Uint8Array, version: 4 | 8): string {
  const uuid = Buffer.from(bytes.subarray(0, 16));
  uuid[6] = ((uuid[6] ?? 0) & 0x0f) | (version << 4);
  uuid[8] = ((uuid[8] ?? 0) & 0x3f) | 0x80;
  return `2.25.${BigInt(`0x${uuid.toString('hex')}`).toString()}`;
}
