/** The verification of what `isthmus deidentify` wrote: each study read again from its files, beside what the vault knows of its patient. */
import { renameSync, rmSync } from 'node:fs';
import { join } from 'node:path';
import type { WallConfig } from '../config.ts';
import type { CompiledProfile } from '../deidentify/profile.ts';
import type { Lost } from '../deidentify/required.ts';
import { noCounts, type Counts } from '../deidentify/rewriting.ts';
import { concludeVerification, type DoorFacts, type Seen, type Verification } from '../deidentify/verify.ts';
import type { FurtherThread } from './further-thread.ts';
import { piecesOf, runVerifyShare, surroundingsOf, type VerifyShare } from './verify-share.ts';

/** Of one file that was written. */
export interface Written {
  /** Path in the output folder: study, series, instance. */
  readonly written: string;
  readonly counts: Counts;
  readonly lost: readonly Lost[];
  readonly pixels: { readonly boxes: number } | undefined;
}

/** @param to the output folder. One report a study, in the order of their first files, whichever thread saw which of them. */
export async function verifyFiles(
  to: string,
  files: readonly Written[],
  {
    project,
    profile,
    config,
  }: { readonly project: string; readonly profile: CompiledProfile; readonly config: WallConfig },
  further: readonly Pick<FurtherThread, 'verify'>[],
): Promise<Verification[]> {
  const pieces = piecesOf(files.map(({ written }) => written));
  const next = new Int32Array(new SharedArrayBuffer(4));
  const share: VerifyShare = { to, config, project, pieces, next };
  const seen: Seen[] = [];
  const done = (piece: number, part: Seen): void => void (seen[piece] = part);
  const needed = further.slice(0, pieces.length - 1);
  await Promise.all([runVerifyShare(share, profile, done), ...needed.map((thread) => thread.verify(share, done))]);
  const around = surroundingsOf(share, profile);
  const ofStudy = Map.groupBy(files, ({ written }) => written.split('/')[0] ?? '');
  return [...Map.groupBy(pieces.keys(), (piece) => pieces[piece]?.studyInstanceUID ?? '')].map(
    ([studyInstanceUID, numbers]) =>
      concludeVerification(
        around(studyInstanceUID),
        numbers.flatMap((number) => seen[number] ?? []),
        doorFacts(ofStudy.get(studyInstanceUID) ?? [], profile),
      ),
  );
}

/** A study that is not released does not lie among those that are. Answers where. */
export function withholdFiles(to: string, { studyInstanceUID }: Verification): string {
  const name = `${studyInstanceUID}.withheld`;
  rmSync(join(to, name), { recursive: true, force: true });
  renameSync(join(to, studyInstanceUID), join(to, name));
  return name;
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
