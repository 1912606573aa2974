/** Studies and series as a whole: facts for rules, priors, versions for caches, deletion. */
import { rm } from 'node:fs/promises';
import { dirname, join } from 'node:path';
import type { Row } from '../database.ts';
import type { PriorFacts, SeriesFacts, StudyFacts } from '../routing/match.ts';
import { forgetKeys } from './attribute-keys.ts';
import { lastChange, recordChange } from './changes.ts';
import type { Archive } from './handle.ts';
import { raiseHighWater } from './index-rows.ts';
import { instancesOf } from './instance-rows.ts';
import { betweenGroups } from './intake.ts';
import { forgetStudyKeys } from './level-rows.ts';
import { forgetPack, syncFolder } from './pack-files.ts';

type Indexed = Pick<Archive, 'database'>;

export interface StudySummary {
  readonly key: number;
  readonly studyInstanceUID: string;
  readonly project: string;
  /** A pseudonym. */
  readonly patientID: string;
  readonly studyDate: string;
  readonly studyTime: string;
  readonly studyDescription: string;
  readonly modalities: readonly string[];
  readonly seriesCount: number;
  readonly instanceCount: number;
  /** Of the instances, those made by pipelines. */
  readonly derivedCount: number;
  readonly lastStored: Date;
}

export interface Totals {
  readonly studies: number;
  readonly series: number;
  readonly instances: number;
}

/** Of the whole archive, out of what triggers count for each year: as quick with millions as with one. */
export function totalsOf({ database }: Indexed): Totals {
  const row = database.get(
    'SELECT ifnull(sum(studies), 0) AS studies, ifnull(sum(series), 0) AS series, ifnull(sum(instances), 0) AS instances FROM year',
  );
  return {
    studies: Number(row?.['studies']),
    series: Number(row?.['series']),
    instances: Number(row?.['instances']),
  };
}

export function studyOf(archive: Indexed, studyInstanceUID: string): StudySummary | undefined {
  const row = archive.database.get('SELECT * FROM study WHERE study_uid = ?', studyInstanceUID);
  return row === undefined ? undefined : studySummary(row);
}

/** Every study, the one stored to last first. */
export function studiesOf(archive: Indexed, page: { limit: number; offset: number }): StudySummary[] {
  return archive.database
    .all('SELECT * FROM study ORDER BY last_stored DESC, id DESC LIMIT ? OFFSET ?', page.limit, page.offset)
    .map(studySummary);
}

/** The studies of one patient in one project, oldest first. */
export function studiesOfPatient(archive: Indexed, project: string, patientID: string): StudySummary[] {
  return archive.database
    .all(
      'SELECT * FROM study WHERE patient_id = ? AND project = ? ORDER BY study_date, study_time, study_uid',
      patientID,
      project,
    )
    .map(studySummary);
}

function studySummary(row: Row): StudySummary {
  const modalities = String(row['modalities']);
  return {
    key: Number(row['id']),
    studyInstanceUID: String(row['study_uid']),
    project: String(row['project']),
    patientID: String(row['patient_id']),
    studyDate: String(row['study_date']),
    studyTime: String(row['study_time']),
    studyDescription: String(row['description']),
    modalities: modalities === '' ? [] : modalities.split('\\'),
    seriesCount: Number(row['series_count']),
    instanceCount: Number(row['instance_count']),
    derivedCount: Number(row['derived_count']),
    lastStored: new Date(Number(row['last_stored']) * 1000),
  };
}

/** The series of a study by number, then UID. */
export function seriesOf(archive: Indexed, studyInstanceUID: string): SeriesFacts[] {
  return archive.database
    .all(
      `SELECT series.* FROM study JOIN series ON series.study = study.id WHERE study.study_uid = (SELECT ?)
       ORDER BY series.number, series.series_uid`,
      studyInstanceUID,
    )
    .map((row) => ({
      SeriesInstanceUID: String(row['series_uid']),
      Modality: String(row['modality']),
      SeriesDescription: String(row['description']),
      BodyPartExamined: String(row['body_part']),
      FrameOfReferenceUID: String(row['frame_of_reference']),
      SOPClassUID: String(row['sop_class']),
      instances: Number(row['instance_count']),
      derived: row['derived_count'] === row['instance_count'],
    }));
}

/** What processing rules look at; undefined when there is no such study. */
export function studyFacts(archive: Indexed, studyInstanceUID: string): StudyFacts | undefined {
  const study = studyOf(archive, studyInstanceUID);
  if (study === undefined) return undefined;
  return {
    StudyInstanceUID: studyInstanceUID,
    StudyDescription: study.studyDescription,
    project: study.project,
    series: seriesOf(archive, studyInstanceUID),
    priors: priorsOf(archive, studyInstanceUID),
  };
}

/** Earlier studies of the same patient in the same project, newest first. Without a Patient ID or a date nothing is earlier. */
export function priorsOf(archive: Indexed, studyInstanceUID: string): PriorFacts[] {
  const study = studyOf(archive, studyInstanceUID);
  if (study === undefined || study.patientID === '' || study.studyDate === '') return [];
  return archive.database
    .all(
      `SELECT study_uid FROM study WHERE patient_id = ? AND project = ? AND study_date <> ''
         AND (study_date, study_time, study_uid) < (?, ?, ?)
       ORDER BY study_date DESC, study_time DESC, study_uid DESC`,
      study.patientID,
      study.project,
      study.studyDate,
      study.studyTime,
      studyInstanceUID,
    )
    .map((row) => ({
      StudyInstanceUID: String(row['study_uid']),
      series: seriesOf(archive, String(row['study_uid'])),
    }));
}

/** A number that is another after every change inside the study or series; undefined when there is none. */
export function versionOf(archive: Indexed, studyInstanceUID: string, seriesInstanceUID?: string): number | undefined {
  const row =
    seriesInstanceUID === undefined
      ? archive.database.get('SELECT version FROM study WHERE study_uid = ?', studyInstanceUID)
      : archive.database.get(
          `SELECT series.version AS version FROM study JOIN series ON series.study = study.id
           WHERE study.study_uid = (SELECT ?) AND series.series_uid = (SELECT ?)`,
          studyInstanceUID,
          seriesInstanceUID,
        );
  return row === undefined ? undefined : Number(row['version']);
}

/** Whether a study, series or instance of this UID was here and has been deleted (410 rather than 404). */
export function wasDeleted(archive: Indexed, uid: string): boolean {
  return archive.database.get('SELECT 1 FROM tombstone WHERE uid = ?', uid) !== undefined;
}

/** Study, series and instances. */
export function uidsOfStudy(archive: Indexed, studyInstanceUID: string): string[] {
  const uids = new Set([studyInstanceUID]);
  for (const { seriesInstanceUID, sopInstanceUID } of instancesOf(archive, { studyInstanceUID }))
    uids.add(seriesInstanceUID).add(sopInstanceUID);
  return [...uids];
}

/** These UIDs are answered as if they had never been here. */
export function forgetTombstones(archive: Indexed, uids: Iterable<string>): void {
  for (const uid of uids) archive.database.run('DELETE FROM tombstone WHERE uid = ?', uid);
}

/** What runs in the transaction of a deletion; what either throws undoes it. */
export interface Alongside {
  /** While everything is still there. */
  readonly before?: () => void;
  readonly alongside?: () => void;
}

/**
 * Deletes a study with everything derived from it: rows and tombstones in one transaction, then its packs. After a crash between the
 * two, opening the archive unlinks what is left. Returns the number of instances deleted.
 */
export async function deleteStudy(
  archive: Archive,
  studyInstanceUID: string,
  options: Alongside = {},
): Promise<number> {
  return betweenGroups(archive, async () => {
    const { database } = archive;
    const deleted = database.transaction(() => {
      options.before?.();
      const instances = instancesOf(archive, { studyInstanceUID });
      forgetRows(archive, studyInstanceUID, instances);
      options.alongside?.();
      return instances.length;
    });
    archive.intake.durableChange = lastChange(database);
    for (const row of database.all('SELECT id, path FROM pack WHERE study_uid = ? AND dying = 1', studyInstanceUID)) {
      const path = String(row['path']);
      await forgetPack(archive.packs, path);
      await rm(join(archive.folder, path), { force: true });
      await syncFolder(dirname(join(archive.folder, path)));
      database.run('DELETE FROM pack WHERE id = ?', Number(row['id']));
    }
    return deleted;
  });
}

function forgetRows(archive: Archive, studyInstanceUID: string, instances: ReturnType<typeof instancesOf>): void {
  const { database, options, intake } = archive;
  const now = Math.floor(options.now().getTime() / 1000);
  const bury = (uid: string): unknown =>
    database.run('INSERT OR REPLACE INTO tombstone (uid, deleted) VALUES (?, ?)', uid, now);
  for (const instance of instances) {
    const { key, sopInstanceUID } = instance;
    recordChange(database, 'delete', instance, { at: options.now() });
    forgetKeys(database, 'instance', key);
    database.run('DELETE FROM metadata WHERE instance = ?', key);
    database.run('DELETE FROM instance WHERE id = ?', key);
    bury(sopInstanceUID);
  }
  for (const uid of new Set(instances.map(({ seriesInstanceUID }) => seriesInstanceUID))) bury(uid);
  const study = database.get(
    'SELECT id, patient_name, referring_physician FROM study WHERE study_uid = ?',
    studyInstanceUID,
  );
  if (study !== undefined) {
    const id = Number(study['id']);
    for (const series of database.all('SELECT id FROM series WHERE study = ?', id)) {
      forgetKeys(database, 'series', Number(series['id']));
      database.run('DELETE FROM series_text WHERE series = ?', Number(series['id']));
    }
    raiseHighWater(database, intake.sequence);
    database.run('DELETE FROM request WHERE series IN (SELECT id FROM series WHERE study = ?)', id);
    database.run('DELETE FROM series WHERE study = ?', id);
    database.run('DELETE FROM study WHERE id = ?', id);
    forgetStudyKeys(database, id, [String(study['patient_name']), String(study['referring_physician'])]);
    bury(studyInstanceUID);
  }
  // An instance that was moved to another study by overwriting never keeps a pack of this one alive.
  database.run('UPDATE pack SET dying = 1 WHERE study_uid = ?', studyInstanceUID);
}
