/** Puts an instance into the index and takes it out again; counts, modalities and what QIDO returns change in the same breath. */
import { constants, deflateRawSync, inflateRawSync } from 'node:zlib';
import type { Database } from '../database.ts';
import { tagKey, type DataSet } from '../dicom/data-set.ts';
import { formatDicomJson, type DicomJson } from '../dicom/json.ts';
import type { Deidentified, PixelDataHeader } from '../dicom/object.ts';
import { readHead } from '../dicom/part10.ts';
import { packExtents, type FrameExtents } from '../dicom/pixel-data.ts';
import {
  BASE,
  SERIES_ATTRIBUTES,
  STUDY_ATTRIBUTES,
  dateOf,
  integerOf,
  itemsIn,
  levelJson,
  mergeLevelJson,
  nameOf,
  textOf,
  timeOf,
  type LevelAttributes,
} from './attributes.ts';
import { enterKeys, forgetKeys, forgetName } from './attribute-keys.ts';
import type { InstanceRow } from './instance-rows.ts';
import { offsetMinutes } from '../matching/moments.ts';
import { enterName } from './names.ts';

/** All that the index says of an instance but where it lies. */
export interface Described {
  readonly studyInstanceUID: string;
  readonly seriesInstanceUID: string;
  readonly sopInstanceUID: string;
  readonly sopClassUID: string;
  readonly transferSyntaxUID: string;
  readonly project: string;
  /** The data set as DICOM JSON, URLs beginning with BASE. */
  readonly metadata: string;
  extents: FrameExtents;
}

export interface Place {
  readonly pack: number;
  readonly offset: number;
  readonly headBytes: number;
  readonly lengthBytes: number;
  readonly crc: number;
  readonly sequence: number;
  readonly derived: boolean;
  readonly source: string | undefined;
  /** Seconds since 1970. */
  readonly storedAt: number;
}

export interface ReadDescription {
  readonly described: Described;
  readonly dataSet: DataSet;
  readonly pixelData: PixelDataHeader | undefined;
}

/** Reads what the index wants to know from an object's head. @throws Refusal, as readHead does */
export function describe(
  object: Pick<
    Deidentified,
    | 'head'
    | 'studyInstanceUID'
    | 'seriesInstanceUID'
    | 'sopInstanceUID'
    | 'sopClassUID'
    | 'transferSyntaxUID'
    | 'project'
  >,
): ReadDescription {
  const { dataSet, pixelData } = readHead(object.head).head;
  const { studyInstanceUID, seriesInstanceUID, sopInstanceUID, sopClassUID, transferSyntaxUID, project } = object;
  const url = `${BASE}/studies/${studyInstanceUID}/series/${seriesInstanceUID}/instances/${sopInstanceUID}/bulkdata/`;
  const metadata = formatDicomJson(dataSet, {
    bulkDataUri: (path) => url + path,
    ...(pixelData === undefined
      ? {}
      : { pixelData: { tag: pixelData.tag, vr: pixelData.vr, bulkDataUri: url + tagKey(pixelData.tag) } }),
  });
  const described: Described = {
    studyInstanceUID,
    seriesInstanceUID,
    sopInstanceUID,
    sopClassUID,
    transferSyntaxUID,
    project,
    metadata,
    extents: { kind: 'none' },
  };
  return { described, dataSet, pixelData };
}

/** Returns the study's key, a new one or, for a study that is new to the index, `studyKey`. Must run inside a transaction. */
export function addInstance(database: Database, described: Described, place: Place, studyKey?: number): number {
  const object = JSON.parse(described.metadata) as DicomJson;
  const study = enterStudy(database, described, object, place, studyKey ?? null);
  const series = enterSeries(database, study, described, object, place);
  const { lastId } = database.run(
    `INSERT INTO instance (sop_uid, series, number, sop_class, transfer_syntax, rows, columns, bits_allocated, frames, frame_count,
       extents, derived, sequence, pack, offset, head_length, length, crc, source)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    described.sopInstanceUID,
    series.id,
    integerOf(object, 'InstanceNumber'),
    described.sopClassUID,
    described.transferSyntaxUID,
    integerOf(object, 'Rows'),
    integerOf(object, 'Columns'),
    integerOf(object, 'BitsAllocated'),
    integerOf(object, 'NumberOfFrames'),
    frameCount(described.extents),
    packExtents(described.extents) ?? null,
    place.derived ? 1 : 0,
    place.sequence,
    place.pack,
    place.offset,
    place.headBytes,
    place.lengthBytes,
    place.crc,
    place.source ?? null,
  );
  enterKeys(database, 'instance', lastId, object);
  const text = Buffer.from(described.metadata);
  database.run('INSERT INTO metadata (instance, json) VALUES (?, ?)', lastId, deflateMetadata(text, series.dictionary));
  database.run(
    'DELETE FROM tombstone WHERE uid IN (?, ?, ?)',
    described.studyInstanceUID,
    described.seriesInstanceUID,
    described.sopInstanceUID,
  );
  return study;
}

/** Not ended, and whole bytes: so the texts of many instances can be inflated as one stream. */
export function deflateMetadata(text: Buffer, dictionary: Buffer): Buffer {
  // A window no larger than what it looks back on, tables no larger than its text: most of what a short text costs is making the stream.
  const windowBits = Math.min(15, Math.max(9, 32 - Math.clz32(dictionary.length + text.length)));
  return deflateRawSync(text, { dictionary, level: 3, memLevel: 6, windowBits, finishFlush: constants.Z_SYNC_FLUSH });
}

/** The text of `metadata.json` under its series' dictionary. */
export function inflateMetadata(json: Buffer, dictionary: Buffer): string {
  return inflateRawSync(json, { dictionary, finishFlush: constants.Z_SYNC_FLUSH }).toString('utf8');
}

/** What ends a stream that can be followed by another: an empty stored block (RFC 1951 3.2.4). */
const UNENDED = Buffer.from([0, 0, 0xff, 0xff]);
/** Before each text; no JSON has it. */
const MARK = 2;
const MOST_STORED_BYTES = 65_535;

/** The same for instances of one series, all at once, as bytes: the dictionary goes before each as bytes of the stream. */
export function inflateManyMetadata(jsons: readonly Buffer[], dictionary: Buffer): Buffer[] {
  const marked = Buffer.concat([Buffer.from([MARK]), dictionary]);
  if (
    jsons.length < 2 ||
    marked.length > MOST_STORED_BYTES ||
    !jsons.every((json) => json.subarray(-UNENDED.length).equals(UNENDED))
  )
    return jsons.map((json) => inflateRawSync(json, { dictionary, finishFlush: constants.Z_SYNC_FLUSH }));
  const header = Buffer.alloc(5);
  header.writeUInt16LE(marked.length, 1);
  header.writeUInt16LE(0xffff - marked.length, 3);
  const inflated = inflateRawSync(Buffer.concat(jsons.flatMap((json) => [header, marked, json])), {
    finishFlush: constants.Z_SYNC_FLUSH,
    // Most texts are about as long as the first one: then all of them are in one chunk, and nothing is put together from many.
    chunkSize: Math.max(constants.Z_MIN_CHUNK, Math.ceil(jsons.length * marked.length * 2.1)),
  });
  const texts: Buffer[] = [];
  for (let at = 0; at < inflated.length;) {
    const next = inflated.indexOf(MARK, at + marked.length);
    const end = next < 0 ? inflated.length : next;
    texts.push(inflated.subarray(at + marked.length, end));
    at = end;
  }
  return texts;
}

/** What the instances of a series have in common is stored once: the first one's text is the dictionary for all. */
export function inflateDictionary(stored: Buffer): Buffer {
  const key = stored.toString('latin1');
  let dictionary = DICTIONARIES.get(key);
  if (dictionary === undefined) {
    dictionary = inflateRawSync(stored);
    if (DICTIONARIES.size >= MOST_DICTIONARIES) DICTIONARIES.clear();
    DICTIONARIES.set(key, dictionary);
  }
  return dictionary;
}

/** By what they are inflated from: the instances of a series come one after another. */
const DICTIONARIES = new Map<string, Buffer>();
const MOST_DICTIONARIES = 16;

function frameCount(extents: FrameExtents): number {
  return extents.kind === 'native' ? extents.count : extents.kind === 'encapsulated' ? extents.frames.length : 0;
}

function enterStudy(
  database: Database,
  described: Described,
  object: DicomJson,
  place: Place,
  studyKey: number | null,
): number {
  const { studyInstanceUID, project } = described;
  const json = levelJson(object, STUDY_ATTRIBUTES);
  const known = database.get('SELECT id, json FROM study WHERE study_uid = ?', studyInstanceUID);
  const derived = place.derived ? 1 : 0;
  if (known === undefined) {
    const { lastId } = database.run(
      `INSERT INTO study (id, study_uid, project, patient_id, patient_name, birth_date, sex, study_date, study_time, accession_number, study_id,
         description, referring_physician, timezone, modalities, series_count, instance_count, derived_count, last_stored, version, json)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, '', 0, 1, ?, ?, ?, ?)`,
      studyKey,
      studyInstanceUID,
      project,
      ...studyKeys(object),
      derived,
      place.storedAt,
      place.sequence,
      json,
    );
    enterStudyKeys(database, lastId, JSON.parse(json) as DicomJson);
    return lastId;
  }
  const id = Number(known['id']);
  database.run(
    'UPDATE study SET instance_count = instance_count + 1, derived_count = derived_count + ?, last_stored = max(last_stored, ?), version = ? WHERE id = ?',
    derived,
    place.storedAt,
    place.sequence,
    id,
  );
  fillStudy(database, id, String(known['json']), json);
  return id;
}

function fillStudy(database: Database, id: number, known: string, arriving: string): void {
  const merged = mergeLevelJson(known, arriving);
  if (merged === known) return;
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
}

/** Both names of a study's columns and the rows of its further keys. */
function enterStudyKeys(database: Database, id: number, object: DicomJson): void {
  for (const keyword of ['PatientName', 'ReferringPhysicianName']) enterName(database, nameOf(object, keyword));
  enterKeys(database, 'study', id, object);
}

function namesOfStudy(database: Database, id: number): string[] {
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

interface EnteredSeries {
  readonly id: number;
  readonly dictionary: Buffer;
}

function enterSeries(
  database: Database,
  study: number,
  described: Described,
  object: DicomJson,
  place: Place,
): EnteredSeries {
  const json = levelJson(object, SERIES_ATTRIBUTES);
  const known = database.get(
    'SELECT id, json, dictionary FROM series WHERE study = ? AND series_uid = ?',
    study,
    described.seriesInstanceUID,
  );
  const derived = place.derived ? 1 : 0;
  if (known === undefined) {
    const dictionary = Buffer.from(described.metadata);
    const { lastId } = database.run(
      `INSERT INTO series (study, series_uid, number, modality, description, body_part, step_start_date, step_start_time, frame_of_reference,
         sop_class, instance_count, derived_count, version, dictionary, json)
       VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, 1, ?, ?, ?, ?)`,
      study,
      described.seriesInstanceUID,
      ...seriesKeys(object),
      described.sopClassUID,
      derived,
      place.sequence,
      deflateRawSync(dictionary, { level: 6 }),
      json,
    );
    enterRequests(database, lastId, object);
    enterKeys(database, 'series', lastId, object);
    database.run('UPDATE study SET series_count = series_count + 1 WHERE id = ?', study);
    enterModalities(database, study);
    return { id: lastId, dictionary };
  }
  const id = Number(known['id']);
  database.run(
    'UPDATE series SET instance_count = instance_count + 1, derived_count = derived_count + ?, version = ? WHERE id = ?',
    derived,
    place.sequence,
    id,
  );
  fillSeries(database, study, id, String(known['json']), json);
  return { id, dictionary: inflateDictionary(known['dictionary'] as Buffer) };
}

function fillSeries(database: Database, study: number, id: number, known: string, arriving: string): void {
  const merged = mergeLevelJson(known, arriving);
  if (merged === known) return;
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
function enterModalities(database: Database, study: number): void {
  const modalities = database
    .all("SELECT DISTINCT modality FROM series WHERE study = ? AND modality <> '' ORDER BY modality", study)
    .map((row) => String(row['modality']));
  database.run('UPDATE study SET modalities = ? WHERE id = ?', modalities.join('\\'), study);
}

/** No version at or below this one is given again, so that an entity tag never means two contents. Must run inside a transaction. */
export function raiseHighWater(database: Database, sequence: number): void {
  database.run('UPDATE high_water SET sequence = max(sequence, ?)', sequence);
}

/** Above every one that was given. Must run inside a transaction. */
export function nextVersion(database: Database): number {
  raiseHighWater(database, Number(database.get('SELECT max(sequence) AS last FROM instance')?.['last'] ?? 0));
  database.run('UPDATE high_water SET sequence = sequence + 1');
  return Number(database.get('SELECT sequence FROM high_water')?.['sequence']);
}

/**
 * Takes an instance out; its series and study go with their last one. The bytes stay in the pack as dead ones.
 * Must run inside a transaction. `version`: what the levels above are now.
 */
export function removeInstance(database: Database, instance: InstanceRow, version: number): void {
  const { studyKey, seriesKey } = instance;
  const derived = instance.derived ? 1 : 0;
  const names = namesOfStudy(database, studyKey);
  forgetKeys(database, 'instance', instance.key);
  database.run('DELETE FROM metadata WHERE instance = ?', instance.key);
  database.run('DELETE FROM instance WHERE id = ?', instance.key);
  database.run('UPDATE pack SET dead_bytes = dead_bytes + ? WHERE id = ?', instance.lengthBytes, instance.packKey);
  const change = 'instance_count = instance_count - 1, derived_count = derived_count - ?, version = ?';
  database.run(`UPDATE series SET ${change} WHERE id = ?`, derived, version, seriesKey);
  database.run(`UPDATE study SET ${change} WHERE id = ?`, derived, version, studyKey);
  // It holds the metadata of what is gone.
  database.run('DELETE FROM series_text WHERE series = ?', seriesKey);
  const seriesEmpty = database.get('SELECT 1 FROM series WHERE id = ? AND instance_count = 0', seriesKey) !== undefined;
  if (seriesEmpty) {
    database.run('DELETE FROM request WHERE series = ?', seriesKey);
    forgetKeys(database, 'series', seriesKey);
    database.run('DELETE FROM series WHERE id = ?', seriesKey);
    database.run('UPDATE study SET series_count = series_count - 1 WHERE id = ?', studyKey);
  } else describeSeriesAnew(database, studyKey, seriesKey);
  if (database.run('DELETE FROM study WHERE id = ? AND instance_count = 0', studyKey).changes === 1) {
    forgetStudyKeys(database, studyKey, names);
    return;
  }
  if (seriesEmpty) enterModalities(database, studyKey);
  describeStudyAnew(database, studyKey);
}

/** What an instance that is gone said of its series or study is forgotten: those that are left are asked again, in order of arrival. */
function describeSeriesAnew(database: Database, study: number, series: number): void {
  const known = String(database.get('SELECT json FROM series WHERE id = ?', series)?.['json']);
  const merged = mergedOf(database, 'instance.series = ?', series, SERIES_ATTRIBUTES, known);
  if (merged !== known) fillSeries(database, study, series, '{}', merged);
}

function describeStudyAnew(database: Database, study: number): void {
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
