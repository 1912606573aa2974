/**
 * WADO-RS metadata: DICOM JSON made at arrival. A series' text is kept ready to send, deflated, for the base that URLs were last asked
 * under: from when its study is complete, or from when it is asked for again. What is kept can be made again at any time, so it is written
 * without waiting for the disk.
 */
import { setImmediate as nextTurn } from 'node:timers/promises';
import { constants, crc32, deflateRawSync, inflateRawSync } from 'node:zlib';
import type { Database } from '../database.ts';
import type { Archive } from './handle.ts';
import { inflateDictionary, inflateManyMetadata } from './metadata-text.ts';
import { release } from '../release.ts';

export { BASE, withBase } from './attributes.ts';

export interface MetadataScope {
  readonly studyInstanceUID: string;
  readonly seriesInstanceUID?: string | undefined;
  readonly sopInstanceUID?: string | undefined;
}

type Indexed = Pick<Archive, 'database'>;

/** One JSON object for each instance, in the order of `instancesOf`; URLs in it begin with BASE until `withBase` is applied. */
export function* metadataOf(archive: Indexed, scope: MetadataScope): Generator<string> {
  for (const { key } of seriesIn(archive, scope))
    for (const objects of metadataOfSeries(archive, key, scope.sopInstanceUID))
      for (const object of objects) yield object.toString();
}

/** Some at a time, which lie in one piece of memory or each in its own. */
function* metadataOfSeries({ database }: Indexed, series: number, sopInstanceUID?: string): Generator<Buffer[]> {
  const one = sopInstanceUID === undefined ? '' : 'AND sop_uid = ?';
  // A list first, then some at a time: a reader in the middle of an answer must not keep the database from being written.
  const instances = database
    .all(
      `SELECT id FROM instance WHERE series = ? ${one} ORDER BY number, sop_uid`,
      series,
      ...(sopInstanceUID === undefined ? [] : [sopInstanceUID]),
    )
    .map(({ id }) => Number(id));
  const row = database.get('SELECT dictionary FROM series WHERE id = ?', series);
  if (row === undefined) return;
  const dictionary = inflateDictionary(row['dictionary'] as Buffer);
  const atOnce = Math.max(1, Math.min(MOST_AT_ONCE, Math.floor(BYTES_AT_ONCE / dictionary.length)));
  // The first by itself, so that it can leave at once.
  for (let at = 0; at < instances.length; at += at === 0 ? 1 : atOnce) {
    const wanted = instances.slice(at, at === 0 ? 1 : at + atOnce);
    const stored = database
      .all(
        'SELECT metadata.json AS json FROM json_each(?) AS wanted CROSS JOIN metadata ON metadata.instance = wanted.value',
        `[${wanted.join()}]`,
      )
      .map((found) => found['json'] as Buffer);
    yield inflateManyMetadata(stored, dictionary);
  }
}

const MOST_AT_ONCE = 64;
const BYTES_AT_ONCE = 2 ** 18;

export interface SeriesVersion {
  readonly key: number;
  readonly version: number;
}

/** By series number, then UID. */
export function seriesIn({ database }: Indexed, scope: MetadataScope): SeriesVersion[] {
  const { studyInstanceUID, seriesInstanceUID } = scope;
  const one = seriesInstanceUID === undefined ? '' : 'AND series.series_uid = (SELECT ?)';
  return database
    .all(
      `SELECT series.id AS id, series.version AS version FROM study JOIN series ON series.study = study.id
       WHERE study.study_uid = (SELECT ?) ${one} ORDER BY series.number, series.series_uid`,
      studyInstanceUID,
      ...(seriesInstanceUID === undefined ? [] : [seriesInstanceUID]),
    )
    .map((row) => ({ key: Number(row['id']), version: Number(row['version']) }));
}

/** A run of text as a raw DEFLATE stream that is not ended and refers to nothing before it, so that others can follow (RFC 1951). */
export interface DeflatedText {
  readonly deflated: Buffer;
  /** Of the text's bytes, as zlib's crc32. */
  readonly crc: number;
  readonly lengthBytes: number;
  /** The text itself, where it has just been made. */
  readonly bytes?: Buffer;
}

/** Deflated when it is first looked at: who takes the text as it is does not wait for it. */
export function deflateText(text: string | Buffer): DeflatedText & { readonly bytes: Buffer } {
  const bytes = typeof text === 'string' ? Buffer.from(text) : text;
  let made: { readonly deflated: Buffer; readonly crc: number } | undefined;
  const make = (): NonNullable<typeof made> =>
    (made ??= {
      deflated: deflateRawSync(bytes, { level: 3, finishFlush: constants.Z_SYNC_FLUSH }),
      crc: crc32(bytes),
    });
  return {
    bytes,
    lengthBytes: bytes.length,
    get deflated() {
      return make().deflated;
    },
    get crc() {
      return make().crc;
    },
  };
}

export function inflateText(text: DeflatedText): Buffer {
  if (text.bytes !== undefined) return text.bytes;
  // One buffer that holds it all, and a byte more, by which zlib sees that there was room enough.
  const chunkSize = Math.max(text.lengthBytes + 1, constants.Z_MIN_CHUNK);
  return inflateRawSync(text.deflated, { finishFlush: constants.Z_SYNC_FLUSH, chunkSize });
}

const COMMA = Buffer.from(',');
/** What `withBase` replaces, as bytes. */
const BASE_BYTES = Buffer.from('"\\u0001/');
const MOST_KEPT_BYTES = 16 * 2 ** 20;

/** Series whose text was made and not kept, as they were then; of each database. */
const askedOnce = new WeakMap<Database, Map<number, string>>();
const MOST_ASKED_ONCE = 4096;

/** Whether the text was asked for since the series last changed; from now on it was. */
function isAskedAgain({ database }: Indexed, { key, version }: SeriesVersion, base: string): boolean {
  const asked = askedOnce.get(database) ?? new Map<number, string>();
  askedOnce.set(database, asked);
  const form = `${version} ${base}`;
  if (asked.get(key) === form) return asked.delete(key);
  asked.delete(key);
  asked.set(key, form);
  for (const oldest of asked.keys()) {
    if (asked.size <= MOST_ASKED_ONCE) break;
    asked.delete(oldest);
  }
  return false;
}

/**
 * The objects of a series with commas between, complete for `forBase`: in one piece where it is kept, else piece by piece as they are made,
 * the first instance by itself so that it can leave at once. It is kept when it was asked for before, or when it is wanted deflated: many a
 * series is looked at once.
 */
export function* seriesText(
  archive: Indexed,
  series: SeriesVersion,
  forBase: string,
  wanted: 'text' | 'deflated',
): Generator<DeflatedText> {
  const kept = keptText(archive, series, forBase);
  if (kept !== undefined) {
    yield* kept;
    return;
  }
  const keeping = wanted === 'deflated' || isAskedAgain(archive, series, forBase);
  const base = Buffer.from(`"${forBase}/`);
  const pieces: DeflatedText[] = [];
  let keptBytes = 0;
  let first = true;
  for (const objects of metadataOfSeries(archive, series.key)) {
    const slices: Buffer[] = [];
    for (const object of objects) {
      if (!first) slices.push(COMMA);
      putBase(slices, object, base);
      first = false;
    }
    const piece = deflateText(Buffer.concat(slices));
    for (const object of objects) release(object);
    if (!keeping) {
      yield piece;
      continue;
    }
    const { deflated, crc, lengthBytes } = piece;
    keptBytes += deflated.length;
    if (keptBytes <= MOST_KEPT_BYTES) pieces.push({ deflated, crc, lengthBytes });
    if (wanted === 'text') yield piece;
    else {
      release(piece.bytes);
      yield { deflated, crc, lengthBytes };
    }
  }
  if (keeping && keptBytes <= MOST_KEPT_BYTES) keepText(archive, series, forBase, pieces);
}

/** As `withBase` does, without making a string of the object. */
function putBase(slices: Buffer[], object: Buffer, base: Buffer): void {
  let from = 0;
  for (let at = object.indexOf(BASE_BYTES); at >= 0; at = object.indexOf(BASE_BYTES, from)) {
    slices.push(object.subarray(from, at), base);
    from = at + BASE_BYTES.length;
  }
  slices.push(object.subarray(from));
}

/** Bases that viewers last came by. */
const basesAsked = new WeakMap<Database, string>();

/** A viewer came by this base: what is made ready from now on is made for it. */
export function noteBase({ database }: Indexed, base: string): void {
  basesAsked.set(database, base);
}

/** Of this process, else of the last text that is kept. */
function baseAsked({ database }: Indexed): string | undefined {
  const known = basesAsked.get(database);
  if (known !== undefined) return known;
  const kept = database.get('SELECT base FROM series_text ORDER BY rowid DESC LIMIT 1')?.['base'];
  if (kept === undefined) return undefined;
  basesAsked.set(database, String(kept));
  return String(kept);
}

/** Makes the texts of a study's series before they are asked for; nothing while no viewer has come by any base. */
export async function makeTextsReady(archive: Indexed, studyInstanceUID: string): Promise<void> {
  const base = baseAsked(archive);
  if (base === undefined) return;
  for (const series of seriesIn(archive, { studyInstanceUID })) {
    const pieces = seriesText(archive, series, base, 'deflated');
    // Others get their turn between them.
    while (pieces.next().done !== true) await nextTurn();
  }
}

function keptText({ database }: Indexed, series: SeriesVersion, base: string): DeflatedText[] | undefined {
  const rows = database.all(
    'SELECT deflated, crc, length FROM series_text WHERE series = ? AND version = ? AND base = ? ORDER BY piece',
    series.key,
    series.version,
    base,
  );
  if (rows.length === 0) return undefined;
  return rows.map((row) => ({
    deflated: row['deflated'] as Buffer,
    crc: Number(row['crc']),
    lengthBytes: Number(row['length']),
  }));
}

/** Only while the series is what it was when its text began to be made. */
function keepText({ database }: Indexed, series: SeriesVersion, base: string, pieces: readonly DeflatedText[]): void {
  database.transactionUnsynced(() => {
    const now = database.get('SELECT version FROM series WHERE id = ?', series.key)?.['version'];
    if (now !== series.version) return;
    database.run('DELETE FROM series_text WHERE series = ?', series.key);
    for (const [piece, { deflated, crc, lengthBytes }] of pieces.entries())
      database.run(
        'INSERT INTO series_text (series, piece, version, base, deflated, crc, length) VALUES (?, ?, ?, ?, ?, ?, ?)',
        series.key,
        piece,
        series.version,
        base,
        deflated,
        crc,
        lengthBytes,
      );
  });
}
