/** Instances found by their UIDs, and their bytes as they were stored. */
import type { Database, Row } from '../database.ts';
import type { SeriesInstanceUID, SOPInstanceUID, StudyInstanceUID } from '../dicom/uid.ts';
import { readPack, streamPack, type Lend, type PackFiles } from './pack-files.ts';

export interface InstanceRow {
  readonly key: number;
  readonly studyKey: number;
  readonly seriesKey: number;
  readonly packKey: number;
  readonly studyInstanceUID: StudyInstanceUID;
  readonly seriesInstanceUID: SeriesInstanceUID;
  readonly sopInstanceUID: SOPInstanceUID;
  readonly sopClassUID: string;
  readonly transferSyntaxUID: string;
  readonly modality: string;
  readonly instanceNumber: number | undefined;
  readonly rows: number | undefined;
  readonly columns: number | undefined;
  /** As Number of Frames (0028,0008) says; undefined when it is absent. */
  readonly numberOfFrames: number | undefined;
  /** Frames that `readFrame` can give; 0 for what is no image and for video. */
  readonly frameCount: number;
  readonly derived: boolean;
  /** Ascending with every change of the archive: what an entity tag is made of. */
  readonly version: number;
  /** Of the whole Part 10 object, and of the part before the pixel data's value. */
  readonly lengthBytes: number;
  readonly headLengthBytes: number;
  readonly crc: number;
  /** Digest of what it was made of, where that is known. */
  readonly source: string | undefined;
  /** The pack and where in it the object begins. */
  readonly pack: string;
  readonly offset: number;
}

const COLUMNS = `instance.id AS id, instance.sop_uid AS sop_uid, instance.number AS number, instance.sop_class AS sop_class,
  instance.transfer_syntax AS transfer_syntax, instance.rows AS rows, instance.columns AS columns, instance.frames AS frames,
  instance.frame_count AS frame_count, instance.derived AS derived, instance.sequence AS sequence, instance.pack AS pack,
  instance.offset AS offset, instance.head_length AS head_length, instance.length AS length, instance.crc AS crc, instance.source AS source`;
const SERIES_COLUMNS = `series.id AS series, series.series_uid AS series_uid, series.modality AS modality,
  study.id AS study, study.study_uid AS study_uid`;

/** By its SOP Instance UID; undefined as well when it belongs to another study or series than the ones named. */
export function instanceOf(
  archive: { readonly database: Database },
  sopInstanceUID: string,
  studyInstanceUID?: string,
  seriesInstanceUID?: string,
): InstanceRow | undefined {
  const row = archive.database.get(
    `SELECT ${COLUMNS}, ${SERIES_COLUMNS}, pack.path AS path
     FROM instance JOIN series ON series.id = instance.series JOIN study ON study.id = series.study JOIN pack ON pack.id = instance.pack
     WHERE instance.sop_uid = (SELECT ?)`,
    sopInstanceUID,
  );
  if (row === undefined) return undefined;
  if (studyInstanceUID !== undefined && row['study_uid'] !== studyInstanceUID) return undefined;
  if (seriesInstanceUID !== undefined && row['series_uid'] !== seriesInstanceUID) return undefined;
  return instanceRow(row, seriesRow(row), String(row['path']));
}

/** By series number, series UID, instance number, SOP Instance UID. What all have alike is one text for all: lists are long. */
export function instancesOf(
  { database }: { readonly database: Database },
  scope: { studyInstanceUID: string; seriesInstanceUID?: string | undefined },
): InstanceRow[] {
  const { studyInstanceUID, seriesInstanceUID } = scope;
  const inSeries = seriesInstanceUID === undefined ? '' : 'AND series.series_uid = (SELECT ?)';
  const packs = new Map<number, string>();
  const packOf = (key: number): string => {
    const known = packs.get(key);
    if (known !== undefined) return known;
    const path = String(database.get('SELECT path FROM pack WHERE id = ?', key)?.['path']);
    packs.set(key, path);
    return path;
  };
  return database
    .all(
      `SELECT ${SERIES_COLUMNS} FROM study JOIN series ON series.study = study.id WHERE study.study_uid = (SELECT ?) ${inSeries}
       ORDER BY series.number, series.series_uid`,
      studyInstanceUID,
      ...(seriesInstanceUID === undefined ? [] : [seriesInstanceUID]),
    )
    .flatMap((row) => {
      const series = seriesRow(row);
      return database
        .all(`SELECT ${COLUMNS} FROM instance WHERE series = ? ORDER BY number, sop_uid`, series.seriesKey)
        .map((one) => instanceRow(one, series, packOf(Number(one['pack']))));
    });
}

type SeriesRow = Pick<InstanceRow, 'studyKey' | 'seriesKey' | 'studyInstanceUID' | 'seriesInstanceUID' | 'modality'>;

function seriesRow(row: Row): SeriesRow {
  return {
    studyKey: Number(row['study']),
    seriesKey: Number(row['series']),
    studyInstanceUID: String(row['study_uid']) as StudyInstanceUID,
    seriesInstanceUID: String(row['series_uid']) as SeriesInstanceUID,
    modality: String(row['modality']),
  };
}

function instanceRow(
  row: Row,
  { studyKey, seriesKey, studyInstanceUID, seriesInstanceUID, modality }: SeriesRow,
  pack: string,
): InstanceRow {
  return {
    key: Number(row['id']),
    studyKey,
    seriesKey,
    packKey: Number(row['pack']),
    studyInstanceUID,
    seriesInstanceUID,
    sopInstanceUID: String(row['sop_uid']) as SOPInstanceUID,
    sopClassUID: String(row['sop_class']),
    transferSyntaxUID: String(row['transfer_syntax']),
    modality,
    instanceNumber: numberIn(row, 'number'),
    rows: numberIn(row, 'rows'),
    columns: numberIn(row, 'columns'),
    numberOfFrames: numberIn(row, 'frames'),
    frameCount: Number(row['frame_count']),
    derived: row['derived'] === 1,
    version: Number(row['sequence']),
    lengthBytes: Number(row['length']),
    headLengthBytes: Number(row['head_length']),
    crc: Number(row['crc']),
    source: typeof row['source'] === 'string' ? row['source'] : undefined,
    pack,
    offset: Number(row['offset']),
  };
}

function numberIn(row: Row, column: string): number | undefined {
  const value = row[column];
  return typeof value === 'number' ? value : undefined;
}

/** The Part 10 bytes as they were stored: one chunk up to 1 MiB, then MiB by MiB; or as the lent buffers hold. */
export function readInstance(
  archive: { readonly packs: PackFiles },
  { pack, offset, lengthBytes }: InstanceRow,
  lend?: Lend,
): AsyncIterable<Buffer> {
  return streamPack(archive.packs, pack, { start: offset, end: offset + lengthBytes }, lend);
}

/** Preamble, file meta and data set up to and including the pixel data element's header. */
export function readInstanceHead(archive: { readonly packs: PackFiles }, instance: InstanceRow): Promise<Buffer> {
  return readPack(archive.packs, instance.pack, instance.offset, instance.offset + instance.headLengthBytes);
}

/** The heads of many in their order, some read at a time: each turn of the loop then brings more than one. */
export async function* readInstanceHeads(
  archive: { readonly packs: PackFiles },
  instances: readonly InstanceRow[],
): AsyncGenerator<readonly [instance: InstanceRow, head: Buffer]> {
  for (let at = 0; at < instances.length; at += HEADS_AT_ONCE) {
    const some = instances.slice(at, at + HEADS_AT_ONCE);
    const heads = await Promise.all(some.map((instance) => readInstanceHead(archive, instance)));
    for (const [index, head] of heads.entries()) yield [some[index] as InstanceRow, head];
  }
}

const HEADS_AT_ONCE = 16;

/** The pixel data's value as stored, item tags of encapsulated ones included. */
export function readInstanceBody(archive: { readonly packs: PackFiles }, instance: InstanceRow): AsyncIterable<Buffer> {
  const { pack, offset, headLengthBytes, lengthBytes } = instance;
  return streamPack(archive.packs, pack, { start: offset + headLengthBytes, end: offset + lengthBytes });
}
