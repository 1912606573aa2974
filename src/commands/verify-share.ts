/** The verification of a folder shared out among threads: each takes the next files of a study from one counter until there are none. */
import { closeSync, fstatSync, openSync, readSync, renameSync, writeFileSync } from 'node:fs';
import { basename, dirname, join } from 'node:path';
import type { WallConfig } from '../config.ts';
import { openSecondCleaning, type SecondCleaning } from '../deidentify/again.ts';
import type { CompiledProfile } from '../deidentify/profile.ts';
import { openVerification, type Seen, type Surroundings, type Verifier } from '../deidentify/verify.ts';
import type { Wall } from '../deidentify/wall.ts';
import { asciiValue } from '../dicom/data-set.ts';
import { readHead, type HeadAndBody } from '../dicom/part10.ts';
import { Refusal } from '../dicom/refusal.ts';
import { openCrosswalk } from '../gateway/wall.ts';

/** Files of one study, in their order; can be given to a thread, as the share can. */
export interface Piece {
  readonly studyInstanceUID: string;
  /** Paths in the output folder: study, series, instance. */
  readonly paths: readonly string[];
}

export interface VerifyShare {
  readonly to: string;
  readonly config: WallConfig;
  readonly project: string;
  readonly pieces: readonly Piece[];
  /** In memory that all threads share: the position of the first piece that nobody has taken. */
  readonly next: Int32Array;
}

/** Files that are worth telling another thread of. */
const FILES_PER_PIECE = 64;

/** Two files of one folder may hold one and the same instance: each is looked at once. */
export function piecesOf(paths: Iterable<string>): Piece[] {
  return [...Map.groupBy(new Set(paths), (path) => path.split('/')[0] ?? '')].flatMap(([studyInstanceUID, ofStudy]) =>
    Array.from({ length: Math.ceil(ofStudy.length / FILES_PER_PIECE) }, (_, index) => ({
      studyInstanceUID,
      paths: ofStudy.slice(index * FILES_PER_PIECE, (index + 1) * FILES_PER_PIECE),
    })),
  );
}

/** @param done is told what was seen of a piece, by its position */
export async function runVerifyShare(
  share: VerifyShare,
  profile: CompiledProfile,
  done: (piece: number, seen: Seen) => void,
): Promise<void> {
  const { to, pieces, next } = share;
  const { database, wall } = openCrosswalk(share.config);
  const around = surroundingsOf(share, profile);
  const prefix: Prefix = { bytes: Buffer.allocUnsafeSlow(FIRST_PREFIX_BYTES) };
  let study: Study | undefined;
  try {
    for (;;) {
      const number = Atomics.add(next, 0, 1);
      const piece = pieces[number];
      if (piece === undefined) return;
      const { studyInstanceUID, paths } = piece;
      if (study?.studyInstanceUID !== studyInstanceUID) study = await openStudy(wall, around(studyInstanceUID));
      for (const path of paths) {
        const read = cleanedAgain(join(to, path), study.cleaning, prefix);
        const image = read.head.pixelData !== undefined;
        study.verifier.take(read, { sopInstanceUID: basename(path, '.dcm'), derived: false, image });
      }
      done(number, study.verifier.cut());
    }
  } finally {
    database.close();
  }
}

interface Study {
  readonly studyInstanceUID: string;
  readonly verifier: Verifier;
  readonly cleaning: SecondCleaning | undefined;
}

async function openStudy(wall: Wall, around: Surroundings): Promise<Study> {
  const { studyInstanceUID } = around;
  const verifier = await openVerification(wall, around);
  return { studyInstanceUID, verifier, cleaning: openSecondCleaning(wall, around) };
}

/** What every thread has to know of the other pieces. */
export function surroundingsOf(
  { pieces, project }: Pick<VerifyShare, 'pieces' | 'project'>,
  profile: CompiledProfile,
): (studyInstanceUID: string) => Surroundings {
  const studies = new Map<string, Set<string>>();
  const stored = new Set<string>();
  for (const { studyInstanceUID, paths } of pieces) {
    const ofStudy = studies.get(studyInstanceUID) ?? new Set();
    studies.set(studyInstanceUID, ofStudy);
    for (const uid of paths.flatMap(uidsOf)) {
      ofStudy.add(uid);
      stored.add(uid);
    }
  }
  const now = new Date();
  return (studyInstanceUID) => ({
    project,
    studyInstanceUID,
    profiles: [profile],
    ofStudy: studies.get(studyInstanceUID) ?? new Set(),
    isStored: (uid) => stored.has(uid),
    now,
  });
}

function uidsOf(path: string): string[] {
  const series = dirname(path);
  return [dirname(series), basename(series), basename(path, '.dcm')];
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
