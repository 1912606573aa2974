/** What the door did to a study, counted in the transaction that stores an instance: what a verification report cannot read from the result. */
import { versionOf } from '../archive/studies.ts';
import type { Deidentification } from '../deidentify/deidentify.ts';
import type { CompiledProfile } from '../deidentify/profile.ts';
import { lostRequired, type Lost } from '../deidentify/required.ts';
import { noCounts, type Counts } from '../deidentify/rewriting.ts';
import type { DoorPixels, RuleSet } from '../deidentify/verify.ts';
import type { Row } from '../database.ts';
import type { Identified } from '../dicom/object.ts';
import { readHead } from '../dicom/part10.ts';
import type { Gateway } from '../gateway.ts';

/** In the order of the table's columns. */
const COUNTS = Object.keys(noCounts()) as (keyof Counts)[];
const COLUMNS = COUNTS.map((name) => name.replaceAll(/[A-Z]/g, (letter) => `_${letter.toLowerCase()}`));
const SUMS = [...COLUMNS, 'looked', 'boxes'];
const ADD = `INSERT INTO study_tally (study_uid, rules, profile, edition, instances, ${SUMS.join(', ')})
   VALUES (?, ?, ?, ?, 1, ${SUMS.map(() => '?').join(', ')})
   ON CONFLICT (study_uid, rules) DO UPDATE SET instances = instances + 1, ${SUMS.map((name) => `${name} = ${name} + excluded.${name}`).join(', ')}`;

/** Looked at for the first instance of a series: the others are made alike. */
export function lostOf(gateway: Gateway, source: Identified, { object }: Deidentification): readonly Lost[] {
  const { studyInstanceUID, seriesInstanceUID, sopClassUID, head } = object;
  if (isKnown(gateway, studyInstanceUID, seriesInstanceUID)) return [];
  return lostRequired(sopClassUID, source.head.dataSet, readHead(head).head.dataSet);
}

const MOST_STUDIES_KNOWN = 1000;

function isKnown({ archive, seriesKnown }: Gateway, studyInstanceUID: string, seriesInstanceUID: string): boolean {
  const known = seriesKnown.get(studyInstanceUID) ?? new Set();
  if (known.has(seriesInstanceUID)) return true;
  if (versionOf(archive, studyInstanceUID, seriesInstanceUID) === undefined) return false;
  if (seriesKnown.size >= MOST_STUDIES_KNOWN) seriesKnown.clear();
  seriesKnown.set(studyInstanceUID, known.add(seriesInstanceUID));
  return true;
}

/** Part of the transaction that stores the instance. */
export function tally(
  gateway: Gateway,
  { object, counts, pixels }: Deidentification,
  profile: CompiledProfile,
  lost: readonly Lost[],
): void {
  const { database } = gateway;
  database.run(
    ADD,
    object.studyInstanceUID,
    profile.hash,
    profile.name,
    profile.file.edition,
    ...COUNTS.map((name) => counts[name]),
    pixels === undefined ? 0 : 1,
    pixels?.boxes ?? 0,
  );
  for (const { sopClassUID, path, type } of lost) {
    database.run(
      'INSERT OR IGNORE INTO study_lost (study_uid, sop_class, path, type) VALUES (?, ?, ?, ?)',
      object.studyInstanceUID,
      sopClassUID,
      path,
      type,
    );
  }
}

export interface Tallied {
  readonly ruleSets: readonly RuleSet[];
  readonly counts: Counts;
  readonly lost: readonly Lost[];
  readonly pixels: DoorPixels;
}

export function talliesOf({ database }: Gateway, studyInstanceUID: string): Tallied {
  const rows = database.all('SELECT * FROM study_tally WHERE study_uid = ? ORDER BY profile, rules', studyInstanceUID);
  const counts = noCounts();
  for (const row of rows) for (const [at, name] of COUNTS.entries()) counts[name] += Number(row[COLUMNS[at] ?? '']);
  return {
    ruleSets: rows.map(ruleSet),
    counts,
    pixels: {
      looked: rows.reduce((sum, row) => sum + Number(row['looked']), 0),
      boxes: rows.reduce((sum, row) => sum + Number(row['boxes']), 0),
    },
    lost: database
      .all(
        'SELECT sop_class, path, type FROM study_lost WHERE study_uid = ? ORDER BY sop_class, path',
        studyInstanceUID,
      )
      .map((row) => ({
        sopClassUID: String(row['sop_class']),
        path: String(row['path']),
        type: row['type'] === '1' ? '1' : '2',
      })),
  };
}

function ruleSet(row: Row): RuleSet {
  return {
    profile: String(row['profile']),
    hash: String(row['rules']),
    edition: String(row['edition']),
    instances: Number(row['instances']),
  };
}

/** When the study is deleted, in the same transaction. */
export function forgetTalliesOf({ database, seriesKnown }: Gateway, studyInstanceUID: string): void {
  seriesKnown.delete(studyInstanceUID);
  database.run('DELETE FROM study_tally WHERE study_uid = ?', studyInstanceUID);
  database.run('DELETE FROM study_lost WHERE study_uid = ?', studyInstanceUID);
}
