/**
 * The IOD check of another implementation, dicom3tools' dciodvfy, before and after: de-identification makes no object worse. One object
 * a SOP class and collection of the samples (ISTHMUS_SAMPLES), under one profile after the other in turn; ISTHMUS_IOD=all: each of them
 * under every profile; ISTHMUS_IOD=every: every file of the samples under every profile. What the checker says of an original is remembered beside the machine's temporary files.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { spawnSync } from 'node:child_process';
import {
  existsSync,
  mkdirSync,
  mkdtempSync,
  readdirSync,
  readFileSync,
  rmSync,
  statSync,
  writeFileSync,
} from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { asciiValue } from '../../src/dicom/data-set.ts';
import { compileProfile, type CompiledProfile } from '../../src/deidentify/profile.ts';
import { readHead } from '../../src/dicom/part10.ts';
import { Refusal } from '../../src/dicom/refusal.ts';
import { fileOf, memoryWall, pass, PROFILES } from './support.ts';

const samples = process.env['ISTHMUS_SAMPLES'];
const skip =
  samples === undefined || !existsSync(samples)
    ? 'ISTHMUS_SAMPLES is not set'
    : spawnSync('dciodvfy', ['-version']).error !== undefined
      ? 'dciodvfy is not installed (Debian package dicom3tools)'
      : false;

const EVERY_FILE = process.env['ISTHMUS_IOD'] === 'every';
const EVERY_PROFILE = EVERY_FILE || process.env['ISTHMUS_IOD'] === 'all';

/** Faces and pixels are not this test's matter. */
function profileOf(name: (typeof PROFILES)[number]): CompiledProfile {
  const file = { ...fileOf(name), faces: 'allow', pixels: 'allow' } as const;
  const { determination } = file;
  if (determination === undefined) return compileProfile(file);
  return compileProfile({ ...file, determination: { ...determination, expires: '2999-12-31', recipients: ['trial'] } });
}

/** How often each sentence of the checker appears; values in it left out. */
function faults(file: string): Map<string, number> {
  const { stderr } = spawnSync('dciodvfy', [file], { encoding: 'latin1', maxBuffer: 2 ** 26 });
  const counted = new Map<string, number>();
  for (const line of stderr.split('\n')) {
    if (!line.startsWith('Error')) continue;
    const sentence = line
      .replaceAll(/\[\d+\] = <[^>]*>/g, '')
      .replaceAll(/(?<![\d.])[0-2](\.\d+){2,}/g, 'UID')
      .replaceAll(/(?<=ReferencedSOPInstanceUID )\S+/g, 'UID')
      .replaceAll(/= \d+/g, '');
    counted.set(sentence, (counted.get(sentence) ?? 0) + 1);
  }
  return counted;
}

/** The verdict on an original, by the hash of its bytes and the checker's version. */
function faultsOfOriginal(path: string, bytes: Buffer): Map<string, number> {
  const folder = join(tmpdir(), 'isthmus-dciodvfy-verdicts');
  const { stderr, stdout } = spawnSync('dciodvfy', ['-version'], { encoding: 'latin1' });
  const kept = join(folder, `${createHash('sha256').update(`${stdout}${stderr}`).update(bytes).digest('hex')}.json`);
  if (existsSync(kept)) return new Map(JSON.parse(readFileSync(kept, 'utf8')) as [string, number][]);
  const found = faults(path);
  mkdirSync(folder, { recursive: true });
  writeFileSync(kept, JSON.stringify([...found]));
  return found;
}

const MOST_BYTES = 4 * 2 ** 20;

function chosen(): string[] {
  const seen = new Set<string>();
  return readdirSync(samples ?? '', { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name))
    .sort()
    .filter((path) => {
      // Larger ones say nothing that these do not, and each is read seven times.
      if (!EVERY_FILE && statSync(path).size > MOST_BYTES) return false;
      try {
        const { head } = readHead(readFileSync(path));
        // Whose meta information names another encoding than it has: the checker reads something else in it than stands there.
        const named = head.fileMeta && asciiValue(head.fileMeta, 0x00020010);
        if (named !== undefined && head.dataSet.encoding !== (ENCODINGS[named] ?? 'explicit-le')) return false;
        const [, room = '', part = ''] = path.slice(samples?.length).split('/');
        const key = `${room}/${part} ${asciiValue(head.dataSet, 0x00080016) ?? ''}`;
        const isNew = !seen.has(key);
        seen.add(key);
        return isNew || EVERY_FILE;
      } catch {
        return false;
      }
    });
}

const ENCODINGS: Readonly<Record<string, string>> = {
  '1.2.840.10008.1.2': 'implicit-le',
  '1.2.840.10008.1.2.2': 'explicit-be',
};

test('DEID-IOD: dciodvfy finds no error after de-identification that it did not find before', { skip }, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'isthmus-dciodvfy-'));
  t.after(() => rmSync(folder, { recursive: true }));
  const wall = memoryWall();
  const profiles = PROFILES.map(profileOf);
  const worse: string[] = [];
  let compared = 0;
  for (const [turn, path] of chosen().entries()) {
    const bytes = readFileSync(path);
    const before = faultsOfOriginal(path, bytes);
    const inTurn = profiles.filter((_, index) => EVERY_PROFILE || index === turn % profiles.length);
    for (const profile of inTurn) {
      try {
        const { file } = await pass(bytes, { wall, profile });
        const out = join(folder, 'out.dcm');
        writeFileSync(out, file);
        compared++;
        for (const [sentence, times] of faults(out)) {
          if (times > (before.get(sentence) ?? 0))
            worse.push(`${profile.name} ${path.slice(samples?.length)}: ${sentence}`);
        }
      } catch (error) {
        if (!(error instanceof Refusal)) throw error;
      }
    }
  }
  t.diagnostic(`${compared} objects compared`);
  assert.ok(compared > (EVERY_PROFILE ? 100 : 20), `${compared} compared`);
  assert.deepEqual(worse, []);
});
