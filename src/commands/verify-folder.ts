/** The verification of what `isthmus deidentify` wrote: each study read again from its files, beside what the vault knows of its patient. */
import { closeSync, fstatSync, openSync, readSync, renameSync, rmSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import { openSecondCleaning, type SecondCleaning } from '../deidentify/again.ts';
import type { WallConfig } from '../config.ts';
import type { CompiledProfile } from '../deidentify/profile.ts';
import type { Lost } from '../deidentify/required.ts';
import { noCounts, type Counts } from '../deidentify/rewriting.ts';
import { openVerification, type DoorFacts, type Verification } from '../deidentify/verify.ts';
import { asciiValue } from '../dicom/data-set.ts';
import { readHead, type HeadAndBody } from '../dicom/part10.ts';
import { Refusal } from '../dicom/refusal.ts';
import { openCrosswalk } from '../gateway/wall.ts';

/** Of one file that was written. */
export interface Written {
  /** Path in the output folder: study, series, instance. */
  readonly written: string;
  readonly counts: Counts;
  readonly lost: readonly Lost[];
  readonly pixels: { readonly boxes: number } | undefined;
}

/** @param to the output folder. One report a study, in the order of their first files. */
export async function verifyFiles(
  to: string,
  files: readonly Written[],
  asked: { readonly project: string; readonly profile: CompiledProfile; readonly config: WallConfig },
): Promise<Verification[]> {
  const { database, wall } = openCrosswalk(asked.config);
  const prefix: Prefix = { bytes: Buffer.allocUnsafeSlow(FIRST_PREFIX_BYTES) };
  try {
    const stored = new Set(files.flatMap(({ written }) => uidsOf(written)));
    const reports: Verification[] = [];
    for (const [studyInstanceUID, ofStudy] of Map.groupBy(files, ({ written }) => written.split('/')[0] ?? '')) {
      // Two files of one folder may hold one and the same instance.
      const paths = new Set(ofStudy.map(({ written }) => written));
      const verifier = await openVerification(wall, {
        project: asked.project,
        studyInstanceUID,
        profiles: [asked.profile],
        ofStudy: new Set([...paths].flatMap(uidsOf)),
        isStored: (uid) => stored.has(uid),
        now: new Date(),
      });
      const cleaning = openSecondCleaning(wall, {
        project: asked.project,
        studyInstanceUID,
        profiles: [asked.profile],
      });
      for (const path of paths) {
        const read = cleanedAgain(join(to, path), cleaning, prefix);
        const image = read.head.pixelData !== undefined;
        verifier.take(read, { sopInstanceUID: basename(path, '.dcm'), derived: false, image });
      }
      reports.push(verifier.end(doorFacts(ofStudy, asked.profile)));
    }
    return reports;
  } finally {
    database.close();
  }
}

/** A text may hold a name that only a later file told, or one that another thread read at the same time. */
function cleanedAgain(path: string, cleaning: SecondCleaning | undefined, buffer: Prefix): HeadAndBody {
  const written = readWrittenHead(path, buffer);
  const head = cleaning?.clean(written, asciiValue(written.head.dataSet, 0x00080016) ?? '');
  if (head === undefined) return written;
  const part = `${path}.part`;
  copyBehind(path, written.bodyStart, part, head);
  renameSync(part, path);
  return readHead(head);
}

function copyBehind(from: string, start: number, to: string, head: Buffer): void {
  const [source, target] = [openSync(from, 'r'), openSync(to, 'w', 0o600)];
  try {
    writeFileSync(target, head);
    const chunk = Buffer.alloc(2 ** 20);
    for (let at = start, read = -1; read !== 0; at += read) {
      read = readSync(source, chunk, 0, chunk.length, at);
      writeFileSync(target, chunk.subarray(0, read));
    }
  } finally {
    closeSync(source);
    closeSync(target);
  }
}

/** A study that is not released does not lie among those that are. Answers where. */
export function withholdFiles(to: string, { studyInstanceUID }: Verification): string {
  const name = `${studyInstanceUID}.withheld`;
  rmSync(join(to, name), { recursive: true, force: true });
  renameSync(join(to, studyInstanceUID), join(to, name));
  return name;
}

function uidsOf(path: string): string[] {
  const series = dirname(path);
  return [dirname(series), basename(series), basename(path, '.dcm')];
}

function doorFacts(files: readonly Written[], { name, hash, file: { edition } }: CompiledProfile): DoorFacts {
  const lost = new Map(files.flatMap((file) => file.lost).map((one) => [`${one.sopClassUID} ${one.path}`, one]));
  return {
    ruleSets: [{ profile: name, hash, edition, instances: files.length }],
    counts: sumCounts(files.map(({ counts }) => counts)),
    lost: [...lost.values()],
    pixels: {
      looked: files.filter(({ pixels }) => pixels !== undefined).length,
      boxes: files.reduce((sum, { pixels }) => sum + (pixels?.boxes ?? 0), 0),
    },
    sealed: 0,
  };
}

export function sumCounts(all: readonly Counts[]): Counts {
  const sum = noCounts();
  for (const counts of all) for (const key of Object.keys(sum) as (keyof Counts)[]) sum[key] += counts[key];
  return sum;
}

const FIRST_PREFIX_BYTES = 32_768;

/** Memory for the beginning of one file after another. */
interface Prefix {
  bytes: Buffer;
}

/** From a prefix, since of most files the head is a hundredth; good until the next one is read. */
function readWrittenHead(path: string, prefix: Prefix): HeadAndBody {
  const file = openSync(path, 'r');
  try {
    const { size } = fstatSync(file);
    for (;;) {
      const wanted = Math.min(prefix.bytes.length, size);
      let length = 0;
      for (let read = -1; read !== 0 && length < wanted; length += read)
        read = readSync(file, prefix.bytes, length, wanted - length, length);
      try {
        const read = readHead(prefix.bytes.subarray(0, length));
        // Without pixel data in sight the head may go on.
        if (read.head.pixelData !== undefined || wanted === size) return read;
      } catch (error) {
        if (!(error instanceof Refusal) || wanted === size) throw error;
      }
      prefix.bytes = Buffer.allocUnsafeSlow(prefix.bytes.length * 8);
    }
  } finally {
    closeSync(file);
  }
}
