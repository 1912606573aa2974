/** Looks for the values of test/phantom/canary-files.ts in every file of a folder: as text of any case, in every encoding, in wide letters. */
import { readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import type { CanaryFile } from '../phantom/canary-files.ts';

/** What was found and where; empty when nothing was. */
export function findCanaries(folder: string, files: readonly Pick<CanaryFile, 'needles' | 'encoded'>[]): string[] {
  const ascii = new Map<string, string>();
  const forms = new Map<string, string>();
  for (const [number, { needles, encoded }] of files.entries()) {
    for (const [at, needle] of needles.entries()) {
      const name = `value ${at} of object ${number}`;
      if (/^[\x20-\x7e]*$/.test(needle)) ascii.set(needle.toUpperCase(), name);
      else
        for (const form of [
          Buffer.from(needle),
          Buffer.from(needle, 'utf16le'),
          Buffer.from(needle, 'utf16le').swap16(),
        ])
          forms.set(form.toString('latin1'), name);
    }
    for (const bytes of encoded) forms.set(bytes.toString('latin1'), `a text of object ${number}`);
  }
  const begins = new Map<number, string[]>();
  for (const form of forms.keys()) {
    const key = form.charCodeAt(0) * 256 + form.charCodeAt(1);
    begins.set(key, [...(begins.get(key) ?? []), form]);
  }
  const found: string[] = [];
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    const bytes = readFileSync(path);
    for (const hit of [
      ...asciiHits(bytes, ascii),
      ...asciiHits(Buffer.from(entry.name), ascii),
      ...formHits(bytes, begins, forms),
    ])
      found.push(`${path.slice(folder.length)}: ${hit}`);
  }
  return [...new Set(found)];
}

const WORD = /XQJZ[A-Z]{8}/g;
const UID = /1\.2\.826\.0\.1\.77321(?:\.\d+)+/g;

function asciiHits(bytes: Buffer, ascii: ReadonlyMap<string, string>): string[] {
  const hits: string[] = [];
  const phases = [0, 1].map((from) => Buffer.from(bytes.subarray(from, bytes.length - ((bytes.length - from) & 1))));
  const views = [
    bytes,
    // Wide letters: every second byte; and words with their bytes turned round.
    ...phases.map((view) => view.filter((_, at) => at % 2 === 0)),
    ...phases.map((view) => view.swap16()),
  ];
  for (const view of views) {
    const text = view.toString('latin1').toUpperCase();
    for (const pattern of [WORD, UID])
      for (const [match] of text.matchAll(pattern))
        hits.push(...[ascii.get(match)].filter((name) => name !== undefined));
  }
  return hits;
}

function formHits(
  bytes: Buffer,
  begins: ReadonlyMap<number, readonly string[]>,
  forms: ReadonlyMap<string, string>,
): string[] {
  if (begins.size === 0) return [];
  const first = new Uint8Array(65_536);
  for (const key of begins.keys()) first[key] = 1;
  const hits: string[] = [];
  for (let at = 0; at + 1 < bytes.length; at++) {
    const key = (bytes[at] ?? 0) * 256 + (bytes[at + 1] ?? 0);
    if (first[key] === 0) continue;
    for (const form of begins.get(key) ?? [])
      if (bytes.toString('latin1', at, at + form.length) === form) hits.push(forms.get(form) ?? '');
  }
  return hits;
}
