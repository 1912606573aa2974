/**
 * The change feed: what was stored, replaced and deleted, one entry each, numbered in the order of the transactions that did it. A reader
 * sees an entry when it is on the disk for good: no number it has passed can come to mean something else after a power cut.
 */
import type { Database, Row } from '../database.ts';
import type { Archive } from './handle.ts';
import { metadataOf } from './metadata.ts';

export type ChangeAction = 'create' | 'update' | 'delete';
/** Of the instance as this entry left it: still that one, another one under the same UID, or gone. */
export type ChangeState = 'current' | 'replaced' | 'deleted';

export interface Change {
  readonly sequence: number;
  readonly studyInstanceUID: string;
  readonly seriesInstanceUID: string;
  readonly sopInstanceUID: string;
  readonly action: ChangeAction;
  /** Milliseconds since 1970. */
  readonly at: number;
  readonly state: ChangeState;
}

export const CHANGE_TABLES = `
CREATE TABLE change (
  sequence INTEGER PRIMARY KEY AUTOINCREMENT,
  study_uid TEXT NOT NULL,
  series_uid TEXT NOT NULL,
  sop_uid TEXT NOT NULL,
  action TEXT NOT NULL,
  version INTEGER NOT NULL,
  at INTEGER NOT NULL
);
CREATE INDEX change_at ON change (at, sequence);
CREATE INDEX change_instance ON change (sop_uid);
CREATE INDEX change_study ON change (study_uid)
`;

/** Entries for instances that have none: of an archive from before there was a feed, or of an index made anew without one. */
export function fillChanges(database: Database): void {
  database.run(
    `INSERT INTO change (study_uid, series_uid, sop_uid, action, version, at)
     SELECT study.study_uid, series.series_uid, instance.sop_uid, 'create', instance.sequence, study.last_stored * 1000
     FROM instance JOIN series ON series.id = instance.series JOIN study ON study.id = series.study
     WHERE instance.sop_uid NOT IN (SELECT sop_uid FROM change) ORDER BY instance.sequence`,
  );
}

export interface Changed {
  readonly studyInstanceUID: string;
  readonly seriesInstanceUID: string;
  readonly sopInstanceUID: string;
}

/** `version`: of the instance as it is now; of one that is deleted none. Must run inside the transaction that makes the change. */
export function recordChange(
  database: Database,
  action: ChangeAction,
  { studyInstanceUID, seriesInstanceUID, sopInstanceUID }: Changed,
  { version = 0, at }: { readonly version?: number; readonly at: Date },
): void {
  database.run(
    'INSERT INTO change (study_uid, series_uid, sop_uid, action, version, at) VALUES (?, ?, ?, ?, ?, ?)',
    studyInstanceUID,
    seriesInstanceUID,
    sopInstanceUID,
    action,
    version,
    at.getTime(),
  );
}

/** The number of the newest entry, 0 when there has never been one. */
export function lastChange(database: Database): number {
  return Number(database.get("SELECT seq FROM sqlite_sequence WHERE name = 'change'")?.['seq'] ?? 0);
}

/** When the newest entry of a study was made, in milliseconds since 1970; undefined when none is kept. */
export function lastChangeOf({ database }: Pick<Archive, 'database'>, studyInstanceUID: string): number | undefined {
  const row = database.get(
    'SELECT at FROM change WHERE study_uid = ? ORDER BY sequence DESC LIMIT 1',
    studyInstanceUID,
  );
  return typeof row?.['at'] === 'number' ? row['at'] : undefined;
}

export interface ChangePage {
  readonly limit: number;
  /** Without a window the last sequence number already read, with one how many entries of it to pass over. */
  readonly offset: number;
  /** Milliseconds since 1970; from inclusive, to exclusive. */
  readonly window?: { readonly from: number; readonly to: number } | undefined;
}

const COLUMNS = 'change.*, instance.sequence AS present';
const TABLES = 'change LEFT JOIN instance ON instance.sop_uid = change.sop_uid';

/** Ascending by sequence number; inside a window by moment, then number. */
export function readChanges({ database, intake }: Archive, { limit, offset, window }: ChangePage): Change[] {
  const rows =
    window === undefined
      ? database.all(
          `SELECT ${COLUMNS} FROM ${TABLES} WHERE change.sequence > ? AND change.sequence <= ? ORDER BY change.sequence LIMIT ?`,
          offset,
          intake.durableChange,
          limit,
        )
      : database.all(
          `SELECT ${COLUMNS} FROM ${TABLES} WHERE change.at >= ? AND change.at < ? AND change.sequence <= ?
           ORDER BY change.at, change.sequence LIMIT ? OFFSET ?`,
          window.from,
          window.to,
          intake.durableChange,
          limit,
          offset,
        );
  return rows.map(changeOf);
}

export function latestChange({ database, intake }: Archive): Change | undefined {
  const row = database.get(
    `SELECT ${COLUMNS} FROM ${TABLES} WHERE change.sequence <= ? ORDER BY change.sequence DESC LIMIT 1`,
    intake.durableChange,
  );
  return row === undefined ? undefined : changeOf(row);
}

/** The metadata of the instance as it is now, URLs beginning with BASE; undefined when it is gone. */
export function metadataOfChange(archive: Archive, change: Change): string | undefined {
  if (change.state === 'deleted') return undefined;
  const row = archive.database.get(
    `SELECT study.study_uid AS study_uid, series.series_uid AS series_uid FROM instance
     JOIN series ON series.id = instance.series JOIN study ON study.id = series.study WHERE instance.sop_uid = (SELECT ?)`,
    change.sopInstanceUID,
  );
  if (row === undefined) return undefined;
  const scope = {
    studyInstanceUID: String(row['study_uid']),
    seriesInstanceUID: String(row['series_uid']),
    sopInstanceUID: change.sopInstanceUID,
  };
  return metadataOf(archive, scope).next().value ?? undefined;
}

/** The number of the oldest entry that is kept; 1 more than the last when none is. */
export function firstChange({ database }: Archive): number {
  const row = database.get('SELECT min(sequence) AS first FROM change');
  return typeof row?.['first'] === 'number' ? row['first'] : lastChange(database) + 1;
}

/** Takes a study's entries out, that it was deleted among them. Must run inside the transaction that erases it. */
export function forgetChangesOf({ database }: Archive, studyInstanceUID: string): void {
  database.run('DELETE FROM change WHERE study_uid = ?', studyInstanceUID);
}

/** Numbers are not given again. */
export function deleteOldChanges({ database }: Archive, before: number): number {
  return database.run('DELETE FROM change WHERE at < ?', before).changes;
}

function changeOf(row: Row): Change {
  const { present } = row;
  return {
    sequence: Number(row['sequence']),
    studyInstanceUID: String(row['study_uid']),
    seriesInstanceUID: String(row['series_uid']),
    sopInstanceUID: String(row['sop_uid']),
    action: String(row['action']) as ChangeAction,
    at: Number(row['at']),
    state: present === null || present === undefined ? 'deleted' : present === row['version'] ? 'current' : 'replaced',
  };
}
