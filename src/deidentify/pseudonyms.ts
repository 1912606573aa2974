/** Names under a key: the same text gives the same pseudonym, mark or distance of days in any process and order, and leads nowhere without the key. */
import { createHmac, createSecretKey, type KeyObject } from 'node:crypto';
import { uuidUid } from '../dicom/uid.ts';
import { hkdf } from './vault.ts';
import { domainOf, MAX_CACHED, type Domain, type Wall } from './wall.ts';

/** The pseudonym of a UID: 2.25 and 128 bits of a keyed hash (PS3.5 B.2). Pure: every worker answers the same, in whatever order it is asked. */
export function pseudonymOfUid(domain: Domain, uid: string): string {
  const known = domain.uids.get(uid);
  if (known !== undefined) return known;
  const pseudonym = uuidUid(createHmac('sha256', domain.keys.uid).update(uid).digest(), 8);
  if (domain.uids.size >= MAX_CACHED) domain.uids.clear();
  domain.uids.set(uid, pseudonym);
  return pseudonym;
}

/** What the hospital sees instead of a UID that we made, so that the two worlds share none. The same every time. */
export function outwardUid(wall: Wall, project: string, minted: string): string {
  return uuidUid(createHmac('sha256', domainOf(wall, project).keys.outward).update(minted).digest(), 8);
}

/** Stands for a short text whose equality matters (stack ids, optical path ids); the same text gives the same word. */
export function pseudonymOfText(domain: Domain, text: string): string {
  return `T${base32(createHmac('sha256', domain.keys.text).update(text).digest()).slice(0, 10)}`;
}

/** Whole days, never 0, the same for every date of a patient in a project. */
export function dateOffsetDays(domain: Domain, salt: Buffer, windowDays: readonly [number, number]): number {
  const window = windowDays.join();
  const known = OFFSETS.get(salt);
  if (known?.window === window) return known.days;
  const [first, last] = windowDays;
  const offset = first + Number(hmac(domain.keys.date, salt).readBigUInt64BE(0) % BigInt(last - first + 1));
  const days = offset !== 0 ? offset : last > 0 ? last : first;
  OFFSETS.set(salt, { window, days });
  return days;
}

/** By a patient's salt in memory, which no two projects share. */
const OFFSETS = new WeakMap<Buffer, { readonly window: string; readonly days: number }>();

/** Whom an object is about, for what is kept without being let in; the same for every project. Leads to nobody without the master secret. */
export function subjectMark(wall: Wall, issuer: string, patientId: string): Buffer {
  return hmac(createSecretKey(hkdf(wall.master, 'subject')), issuer, patientId);
}

/** The same of a study as the hospital names it, for what is sealed of it. */
export function studyMark(wall: Wall, studyInstanceUID: string): Buffer {
  return hmac(createSecretKey(hkdf(wall.master, 'study')), studyInstanceUID);
}

export function hmac(key: KeyObject, ...words: readonly (string | Buffer)[]): Buffer {
  const hash = createHmac('sha256', key);
  for (const word of words) {
    const bytes = typeof word === 'string' ? Buffer.from(word, 'utf8') : word;
    hash.update(`${bytes.length}:`).update(bytes);
  }
  return hash.digest();
}

/** RFC 4648 without padding. */
export function base32(bytes: Buffer): string {
  const alphabet = 'ABCDEFGHIJKLMNOPQRSTUVWXYZ234567';
  let bits = 0;
  let value = 0;
  let text = '';
  for (const byte of bytes) {
    value = ((value << 8) | byte) & 0xfff;
    bits += 8;
    while (bits >= 5) {
      bits -= 5;
      text += alphabet[(value >>> bits) & 31];
    }
  }
  return text;
}
