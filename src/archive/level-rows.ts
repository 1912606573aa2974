/** Rows of studies and series: what the instances below them say together, and what QIDO matches and returns of them. */
import { deflateRawSync } from 'node:zlib';
import type { Database } from '../database.ts';
import type { DicomJson } from '../dicom/json.ts';
import { offsetMinutes } from '../matching/moments.ts';
import { enterKeys, forgetKeys, forgetName } from './attribute-keys.ts';
import {
  dateOf,
  integerOf,
  itemsIn,
  levelJson,
  mergeLevelJson,
  nameOf,
  SERIES_ATTRIBUTES,
  STUDY_ATTRIBUTES,
  textOf,
  timeOf,
  type LevelAttributes,
} from './attributes.ts';
import type { Described } from './described.ts';
import type { Place } from './index-rows.ts';
import { inflateDictionary, inflateMetadata } from './metadata-text.ts';
import { enterName } from './names.ts';

/** What the instances that one transaction adds to a study or series say together; written when all of them are in. */
interface Arrivals {
  readonly id: number;
  json: string;
  instances: number;
  derived: number;
  /** Of the last one. */
  version: number;
}

export interface EnteredStudy extends Arrivals {
  /** Of the last one, seconds since 1970. */
  storedAt: number;
  readonly series: Map<string, EnteredSeries>;
}

export interface EnteredSeries extends Arrivals {
  readonly dictionary: Buffer;
}

/** The study of an instance that is about to be added, its row made where there is none: `studyKey` is its key then. */
export function enterStudy(database: Database, described: Described, studyKey: number | null): EnteredStudy {
  const { studyInstanceUID, project } = described;
  const json = described.levels.study;
  const known = database.get('SELECT id, json FROM study WHERE study_uid = ?', studyInstanceUID);
  const none = { instances: 0, derived: 0, version: 0, storedAt: 0, series: new Map<string, EnteredSeries>() };
  if (known !== undefined) return { id: Number(known['id']), json: String(known['json']), ...none };
  const object = JSON.parse(json) as DicomJson;
  const { lastId } = database.run(
    `INSERT INTO study (id, study_uid, project, patient_id, patient_name, birth_date, sex, study_date, study_time, accession_number, study_id,
       description, referring_physician, timezone, modalities, series_count, instance_count, derived_count, last_stored, version, json)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, '', 0, 0, 0, 0, 0, ?)`,
    studyKey,
    studyInstanceUID,
    project,
    ...studyKeys(object),
    json,
  );
  enterStudyKeys(database, lastId, object);
  forgetTombstone(database, studyInstanceUID);
  return { id: lastId, json, ...none };
}

/** One more instance of this study and series, which may say what none before it said. */
export function countArrival(
  database: Database,
  study: EnteredStudy,
  series: EnteredSeries,
  { levels }: Described,
  { derived, sequence, storedAt }: Pick<Place, 'derived' | 'sequence' | 'storedAt'>,
): void {
  for (const level of [study, series]) {
    level.instances++;
    if (derived) level.derived++;
    level.version = sequence;
  }
  study.storedAt = storedAt;
  study.json = fillStudy(database, study.id, study.json, levels.study);
  series.json = fillSeries(database, study.id, series.id, series.json, levels.series);
}

/** What `countArrival` counted goes into the rows. */
export function writeArrivals(database: Database, study: EnteredStudy): void {
  const sums = 'instance_count = instance_count + ?, derived_count = derived_count + ?, version = ?';
  for (const { id, instances, derived, version } of study.series.values())
    database.run(`UPDATE series SET ${sums} WHERE id = ?`, instances, derived, version, id);
  const { id, instances, derived, version, storedAt } = study;
  database.run(
    `UPDATE study SET ${sums}, last_stored = max(last_stored, ?) WHERE id = ?`,
    instances,
    derived,
    version,
    storedAt,
    id,
  );
}

export function forgetTombstone(database: Database, uid: string): void {
  database.run('DELETE FROM tombstone WHERE uid = ?', uid);
}

/** Returns what the study says now. */
function fillStudy(database: Database, id: number, known: string, arriving: string): string {
  const merged = mergeLevelJson(known, arriving);
  if (merged === known) return known;
  const object = JSON.parse(merged) as DicomJson;
  const namesBefore = namesOfStudy(database, id);
  database.run(
    `UPDATE study SET patient_id = ?, patient_name = ?, birth_date = ?, sex = ?, study_date = ?, study_time = ?, accession_number = ?,
       study_id = ?, description = ?, referring_physician = ?, timezone = ?, json = ? WHERE id = ?`,
    ...studyKeys(object),
    merged,
    id,
  );
  enterStudyKeys(database, id, object);
  for (const name of namesBefore) forgetName(database, name);
  return merged;
}

/** Both names of a study's columns and the rows of its further keys. */
function enterStudyKeys(database: Database, id: number, object: DicomJson): void {
  for (const keyword of ['PatientName', 'ReferringPhysicianName']) enterName(database, nameOf(object, keyword));
  enterKeys(database, 'study', id, object);
}

export function namesOfStudy(database: Database, id: number): string[] {
  const row = database.get('SELECT patient_name, referring_physician FROM study WHERE id = ?', id);
  return row === undefined ? [] : [String(row['patient_name']), String(row['referring_physician'])];
}

/** What else than its row the index holds of a study. Must run inside a transaction, after the study's row has gone. */
export function forgetStudyKeys(database: Database, id: number, names: readonly string[]): void {
  forgetKeys(database, 'study', id);
  for (const name of names) forgetName(database, name);
}

/** A migration: the keys of what was indexed before there were any. */
export function enterAllKeys(database: Database): void {
  for (const { id, json } of database.all('SELECT id, json FROM study')) {
    const object = JSON.parse(String(json)) as DicomJson;
    database.run(
      'UPDATE study SET patient_name = ?, referring_physician = ?, timezone = ? WHERE id = ?',
      nameOf(object, 'PatientName'),
      nameOf(object, 'ReferringPhysicianName'),
      timezoneOf(object),
      Number(id),
    );
    enterStudyKeys(database, Number(id), object);
  }
  for (const { id, json, dictionary } of database.all('SELECT id, json, dictionary FROM series')) {
    enterKeys(database, 'series', Number(id), JSON.parse(String(json)) as DicomJson);
    const text = inflateDictionary(dictionary as Buffer);
    for (const row of database.all(
      'SELECT instance.id AS id, metadata.json AS json FROM instance JOIN metadata ON metadata.instance = instance.id WHERE instance.series = ?',
      Number(id),
    )) {
      const object = JSON.parse(inflateMetadata(row['json'] as Buffer, text)) as DicomJson;
      enterKeys(database, 'instance', Number(row['id']), object);
    }
  }
}

/** '' for what is no offset. */
function timezoneOf(object: DicomJson): string {
  const offset = textOf(object, 'TimezoneOffsetFromUTC');
  return offsetMinutes(offset) === undefined ? '' : offset;
}

function studyKeys(object: DicomJson): string[] {
  return [
    textOf(object, 'PatientID'),
    nameOf(object, 'PatientName'),
    dateOf(object, 'PatientBirthDate'),
    textOf(object, 'PatientSex'),
    dateOf(object, 'StudyDate'),
    timeOf(object, 'StudyTime'),
    textOf(object, 'AccessionNumber'),
    textOf(object, 'StudyID'),
    textOf(object, 'StudyDescription'),
    nameOf(object, 'ReferringPhysicianName'),
    timezoneOf(object),
  ];
}

/** The series of an instance that is about to be added, its row made where there is none. */
export function enterSeries(database: Database, study: number, described: Described): EnteredSeries {
  const { seriesInstanceUID, metadata, sopClassUID, levels } = described;
  const json = levels.series;
  const known = database.get(
    'SELECT id, json, dictionary FROM series WHERE study = ? AND series_uid = ?',
    study,
    seriesInstanceUID,
  );
  const none = { instances: 0, derived: 0, version: 0 };
  if (known !== undefined) {
    const dictionary = inflateDictionary(known['dictionary'] as Buffer);
    return { id: Number(known['id']), json: String(known['json']), dictionary, ...none };
  }
  const object = JSON.parse(json) as DicomJson;
  const { lastId } = database.run(
    `INSERT INTO series (study, series_uid, number, modality, description, body_part, step_start_date, step_start_time, frame_of_reference,
       sop_class, instance_count, derived_count, version, dictionary, json)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 0, 0, 0, ?, ?)`,
    study,
    seriesInstanceUID,
    ...seriesKeys(object),
    sopClassUID,
    deflateRawSync(metadata, { level: 6 }),
    json,
  );
  enterRequests(database, lastId, object);
  enterKeys(database, 'series', lastId, object);
  database.run('UPDATE study SET series_count = series_count + 1 WHERE id = ?', study);
  enterModalities(database, study);
  forgetTombstone(database, seriesInstanceUID);
  return { id: lastId, json, dictionary: metadata, ...none };
}

/** Returns what the series says now. */
function fillSeries(database: Database, study: number, id: number, known: string, arriving: string): string {
  const merged = mergeLevelJson(known, arriving);
  if (merged === known) return known;
  const object = JSON.parse(merged) as DicomJson;
  database.run(
    `UPDATE series SET number = ?, modality = ?, description = ?, body_part = ?, step_start_date = ?, step_start_time = ?,
       frame_of_reference = ?, json = ? WHERE id = ?`,
    ...seriesKeys(object),
    merged,
    id,
  );
  database.run('DELETE FROM request WHERE series = ?', id);
  enterRequests(database, id, object);
  enterKeys(database, 'series', id, object);
  enterModalities(database, study);
  return merged;
}

function seriesKeys(object: DicomJson): (string | number | null)[] {
  return [
    integerOf(object, 'SeriesNumber'),
    textOf(object, 'Modality'),
    textOf(object, 'SeriesDescription'),
    textOf(object, 'BodyPartExamined'),
    dateOf(object, 'PerformedProcedureStepStartDate'),
    timeOf(object, 'PerformedProcedureStepStartTime'),
    textOf(object, 'FrameOfReferenceUID'),
  ];
}

function enterRequests(database: Database, series: number, object: DicomJson): void {
  for (const item of itemsIn(object, 'RequestAttributesSequence')) {
    database.run(
      'INSERT INTO request (series, scheduled_step_id, requested_procedure_id) VALUES (?, ?, ?)',
      series,
      textOf(item, 'ScheduledProcedureStepID'),
      textOf(item, 'RequestedProcedureID'),
    );
  }
}

/** Modalities in Study (0008,0061): each once, in alphabetical order, a backslash between. */
export function enterModalities(database: Database, study: number): void {
  const modalities = database
    .all("SELECT DISTINCT modality FROM series WHERE study = ? AND modality <> '' ORDER BY modality", study)
    .map((row) => String(row['modality']));
  database.run('UPDATE study SET modalities = ? WHERE id = ?', modalities.join('\\'), study);
}

/** What an instance that is gone said of its series or study is forgotten: those that are left are asked again, in order of arrival. */
export function describeSeriesAnew(database: Database, study: number, series: number): void {
  const known = String(database.get('SELECT json FROM series WHERE id = ?', series)?.['json']);
  const merged = mergedOf(database, 'instance.series = ?', series, SERIES_ATTRIBUTES, known);
  if (merged !== known) fillSeries(database, study, series, '{}', merged);
}

export function describeStudyAnew(database: Database, study: number): void {
  const known = String(database.get('SELECT json FROM study WHERE id = ?', study)?.['json']);
  const where = 'instance.series IN (SELECT id FROM series WHERE study = ?)';
  const merged = mergedOf(database, where, study, STUDY_ATTRIBUTES, known);
  if (merged !== known) fillStudy(database, study, '{}', merged);
}

/** Ends as soon as it comes to what is known: nobody who is left has more to say. So it mostly asks one instance. */
function mergedOf(database: Database, where: string, key: number, level: LevelAttributes, known: string): string {
  const rows = database.iterate(
    `SELECT metadata.json AS json, series.dictionary AS dictionary FROM instance
       JOIN metadata ON metadata.instance = instance.id JOIN series ON series.id = instance.series
     WHERE ${where} ORDER BY instance.sequence`,
    key,
  );
  let merged = '{}';
  for (const row of rows) {
    const text = inflateMetadata(row['json'] as Buffer, inflateDictionary(row['dictionary'] as Buffer));
    merged = mergeLevelJson(merged, levelJson(JSON.parse(text) as DicomJson, level));
    if (merged === known) break;
  }
  return merged;
}
