/** Puts an instance into the index and takes it out again; counts, modalities and what QIDO returns change in the same breath. */
import type { Database } from '../database.ts';
import type { DicomJson } from '../dicom/json.ts';
import { packExtents, type FrameExtents } from '../dicom/pixel-data.ts';
import { enterKeys, forgetKeys } from './attribute-keys.ts';
import { INSTANCE_COLUMNS, integerOf } from './attributes.ts';
import type { Described } from './described.ts';
import type { InstanceRow } from './instance-rows.ts';
import {
  countArrival,
  describeSeriesAnew,
  describeStudyAnew,
  enterModalities,
  enterSeries,
  enterStudy,
  forgetStudyKeys,
  forgetTombstone,
  namesOfStudy,
  writeArrivals,
  type EnteredSeries,
  type EnteredStudy,
} from './level-rows.ts';
import { deflateMetadata } from './metadata-text.ts';

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

/** Instances on their way into the index, inside one transaction. */
export interface Entering {
  /** Returns the study's key, a new one or, for a study that is new to the index, `studyKey`. */
  add(described: Described, place: Place, studyKey?: number): number;
  /** Writes what studies and series are by now: before the transaction ends, and before an instance is taken out. May go on after it. */
  settle(): void;
}

/** Many instances come of few series: their rows are read once and written once. */
export function enterInstances(database: Database): Entering {
  const studies = new Map<string, EnteredStudy>();
  return {
    add(described, place, studyKey) {
      const { studyInstanceUID, seriesInstanceUID } = described;
      let study = studies.get(studyInstanceUID);
      if (study === undefined)
        studies.set(studyInstanceUID, (study = enterStudy(database, described, studyKey ?? null)));
      let series = study.series.get(seriesInstanceUID);
      if (series === undefined)
        study.series.set(seriesInstanceUID, (series = enterSeries(database, study.id, described)));
      countArrival(database, study, series, described, place);
      addInstance(database, series, described, place);
      return study.id;
    },
    settle() {
      for (const study of studies.values()) writeArrivals(database, study);
      studies.clear();
    },
  };
}

function addInstance(database: Database, series: EnteredSeries, described: Described, place: Place): void {
  const object = JSON.parse(described.levels.instance) as DicomJson;
  const [number, ...image] = INSTANCE_COLUMNS.map((keyword) => integerOf(object, keyword));
  const { lastId } = database.run(
    `INSERT INTO instance (sop_uid, series, number, sop_class, transfer_syntax, rows, columns, bits_allocated, frames, frame_count,
       extents, derived, sequence, pack, offset, head_length, length, crc, source)
     VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)`,
    described.sopInstanceUID,
    series.id,
    number ?? null,
    described.sopClassUID,
    described.transferSyntaxUID,
    ...image,
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
  const deflated = deflateMetadata(described.metadata, series.dictionary);
  database.run('INSERT INTO metadata (instance, json) VALUES (?, ?)', lastId, deflated);
  forgetTombstone(database, described.sopInstanceUID);
}

function frameCount(extents: FrameExtents): number {
  return extents.kind === 'native' ? extents.count : extents.kind === 'encapsulated' ? extents.frames.length : 0;
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
