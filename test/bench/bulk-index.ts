/**
 * An index of millions: two template studies go through the archive's own `enterInstances`; every further one is those rows over again under
 * names of its own, so that each table, column and index holds what arrival would have written (bulk-index.test.ts compares the two).
 * Texts keep their lengths, so a text deflated against its series' first one fits the next series as it stands.
 */
import { createHash } from 'node:crypto';
import { closeSync, ftruncateSync, mkdirSync, openSync } from 'node:fs';
import { dirname, join } from 'node:path';
import { deflateRawSync } from 'node:zlib';
import { levelJson, SERIES_ATTRIBUTES, STUDY_ATTRIBUTES } from '../../src/archive/attributes.ts';
import { describe, type Described } from '../../src/archive/described.ts';
import { enterInstances } from '../../src/archive/index-rows.ts';
import { deflateMetadata, inflateDictionary, inflateMetadata } from '../../src/archive/metadata-text.ts';
import { enterName } from '../../src/archive/names.ts';
import { packPath } from '../../src/archive/pack-files.ts';
import { migrateArchive } from '../../src/archive/schema.ts';
import { recordBytes } from '../../src/archive/tar.ts';
import { openDatabase, type Database, type Row, type SqlValue } from '../../src/database.ts';
import type { DicomJson } from '../../src/dicom/json.ts';
import type { Deidentified } from '../../src/dicom/object.ts';
import { foldName } from '../../src/matching/names.ts';
import { CT_IMAGE, EXPLICIT_LE, openCtMaker } from './ct.ts';

/** Instances of the series of each study; the first is the length of a chest CT. */
export const SERIES = [130, 50, 20] as const;
export const STUDY_INSTANCES = SERIES.reduce((sum, count) => sum + count, 0);
/** Every tenth study is of the other template. */
const MR_EVERY = 10;
const PATIENT_STUDIES = 2;
const STORED_AT = 1_700_000_000;

/** What distinguishes one study from all others, each as long as in the template. */
interface Names {
  readonly uid: string;
  readonly patient: string;
  readonly date: string;
}
const TEMPLATE: Names = { uid: 'ABCDEFGHIJKLMNOPQRSTUVWXYZabcdef', patient: 'ghijklmn', date: '30010203' };

export interface StudyNames {
  readonly studyInstanceUID: string;
  readonly seriesInstanceUIDs: readonly string[];
  readonly patientID: string;
  readonly accessionNumber: string;
  readonly familyName: string;
  readonly studyDate: string;
  readonly modality: 'CT' | 'MR';
  sopInstanceUID(series: number, instance: number): string;
}

/** Of the study counted from 0. */
export function namesOfStudy(at: number): StudyNames {
  const names = namesAt(at);
  return {
    studyInstanceUID: `2.25.${names.uid}`,
    seriesInstanceUIDs: SERIES.map((_, series) => seriesUid(names, series)),
    patientID: `PID-${names.patient}`,
    accessionNumber: `A${names.patient}`,
    familyName: `bench${names.patient}`,
    studyDate: names.date,
    modality: at % MR_EVERY === MR_EVERY - 1 ? 'MR' : 'CT',
    sopInstanceUID: (series, instance) => sopUid(names, series, instance),
  };
}

const FIRST_DAY = Date.UTC(2005, 0, 1);
const DAYS = 20 * 365;

function namesAt(at: number): Names {
  const hash = createHash('sha256').update(`study ${at}`).digest();
  const digits = BigInt(`0x${hash.toString('hex')}`)
    .toString()
    .slice(0, 31);
  const patient = createHash('sha256')
    .update(`patient ${Math.floor(at / PATIENT_STUDIES)}`)
    .digest('hex')
    .slice(0, 8);
  const day = new Date(FIRST_DAY + (hash.readUInt32LE(0) % DAYS) * 86_400_000);
  return { uid: `9${digits}`, patient, date: day.toISOString().slice(0, 10).replaceAll('-', '') };
}

const seriesUid = ({ uid }: Names, series: number): string => `2.25.${uid}.${series + 1}`;
const sopUid = (names: Names, series: number, instance: number): string =>
  `${seriesUid(names, series)}.${instance + 1}`;

/** Text of the template under other names. */
function renamed(text: string, names: Names): string {
  return text
    .replaceAll(TEMPLATE.uid, names.uid)
    .replaceAll(TEMPLATE.patient, names.patient)
    .replaceAll(TEMPLATE.date, names.date);
}

interface TemplateObject {
  readonly described: Described;
  readonly headBytes: number;
  readonly lengthBytes: number;
}

const madeObjects = new Map<string, readonly TemplateObject[]>();

/** Made once, since a scanner's UIDs are not of one length. */
function templateObjects(modality: 'CT' | 'MR'): readonly TemplateObject[] {
  const made = madeObjects.get(modality) ?? makeObjects(modality);
  madeObjects.set(modality, made);
  return made;
}

/** The objects of a template as arrival describes them: a scanner's header without what de-identification takes away. */
function makeObjects(modality: 'CT' | 'MR'): TemplateObject[] {
  const maker = openCtMaker(64, 7);
  return SERIES.flatMap((count, series) =>
    maker.study(count).map(({ head, pixels, studyInstanceUID, sopInstanceUID }, instance) => {
      const uids = { studyInstanceUID: `2.25.${TEMPLATE.uid}`, seriesInstanceUID: seriesUid(TEMPLATE, series) };
      const own = sopUid(TEMPLATE, series, instance);
      const { described } = describe({
        head,
        ...uids,
        sopInstanceUID: own,
        sopClassUID: CT_IMAGE,
        transferSyntaxUID: EXPLICIT_LE,
        project: 'bench',
      } as unknown as Deidentified);
      const object = JSON.parse(described.metadata.toString()) as Record<string, { Value?: unknown[] }>;
      for (const key of Object.keys(object)) if (/^0009/.test(key)) delete object[key];
      const patient = String(object['00100020']?.Value?.[0]).slice('PID-'.length);
      const series0 = String(object['0020000E']?.Value?.[0]);
      const frame = String(object['00200052']?.Value?.[0]);
      const text = JSON.stringify(object)
        .replaceAll('\u0001', '\\u0001')
        .replaceAll(sopInstanceUID, own)
        .replaceAll(series0, uids.seriesInstanceUID)
        .replaceAll(studyInstanceUID, uids.studyInstanceUID)
        .replaceAll(frame, `2.25.${TEMPLATE.uid}.0.${series + 1}`)
        .replaceAll(`Bench^Subject ${patient}`, `Bench${TEMPLATE.patient}^Subject`)
        .replaceAll(patient, TEMPLATE.patient)
        .replaceAll('20240917', TEMPLATE.date)
        .replaceAll('"Value":["CT"]', `"Value":["${modality}"]`)
        .replaceAll(
          'CT thorax with contrast',
          modality === 'CT' ? 'CT thorax with contrast' : 'MR head without contrast',
        );
      const metadata = Buffer.from(text);
      const cleaned = JSON.parse(text) as DicomJson;
      const levels = {
        study: levelJson(cleaned, STUDY_ATTRIBUTES),
        series: levelJson(cleaned, SERIES_ATTRIBUTES),
        instance: text,
      };
      const extents = { kind: 'native', count: 1, frameBits: pixels.length * 8 } as const;
      return {
        described: { ...described, ...uids, sopInstanceUID: own, metadata, levels, extents },
        headBytes: head.length,
        lengthBytes: head.length + pixels.length,
      };
    }),
  );
}

interface Template {
  readonly objects: readonly TemplateObject[];
  /** The text that is the dictionary of each series. */
  readonly dictionaries: readonly string[];
  /** Table names of the rows as they were entered, with keys from 1. */
  readonly prefix: string;
}

const TABLES = ['study', 'series', 'request', 'pack', 'instance', 'metadata', 'attribute_key'] as const;
/** What is added to a number so that it is this study's. */
const SHIFTS: Readonly<Record<(typeof TABLES)[number], Readonly<Record<string, string>>>> = {
  study: { id: ':study', version: ':sequence' },
  series: { id: ':series', study: ':study', version: ':sequence' },
  request: { series: ':series' },
  pack: { id: ':study' },
  instance: { id: ':instance', series: ':series', sequence: ':sequence', pack: ':study' },
  metadata: { instance: ':instance' },
  attribute_key: { owner: 'CASE level WHEN 0 THEN :study WHEN 1 THEN :series ELSE :instance END' },
};

export interface Filling {
  /** Adds studies until the index has that many of them. Must not run beside anything else. */
  fill(studies: number): void;
}

export function openFilling(database: Database, folder: string): Filling {
  const templates = (['CT', 'MR'] as const).map((modality) => enterTemplate(database, modality));
  let filled = Number(database.get('SELECT count(*) AS studies FROM study')?.['studies']);
  return {
    fill(studies) {
      while (filled < studies) {
        const until = Math.min(studies, filled + 50);
        database.transaction(() => {
          for (; filled < until; filled++) {
            const names = namesAt(filled);
            const template = templates[filled % MR_EVERY === MR_EVERY - 1 ? 1 : 0] as Template;
            clone(database, template, names, filled);
            makePack(
              folder,
              String(database.get('SELECT path FROM pack WHERE id = ?', filled + 1)?.['path']),
              template,
            );
          }
          const sequence = filled * STUDY_INSTANCES;
          database.run('UPDATE durable SET sequence = ?', sequence);
        });
      }
    },
  };
}

/** The same studies by the archive's own way in: what the rows of `fill` are compared with. */
export function enterOneByOne(database: Database, studies: number): void {
  for (let at = 0; at < studies; at++) {
    const names = namesAt(at);
    const objects = templateObjects(at % MR_EVERY === MR_EVERY - 1 ? 'MR' : 'CT').map((object) => ({
      ...object,
      described: underNames(object.described, names),
    }));
    database.transaction(() => enterObjects(database, objects, at));
  }
  database.run('UPDATE durable SET sequence = ?', studies * STUDY_INSTANCES);
}

function underNames(described: Described, names: Names): Described {
  const { studyInstanceUID, seriesInstanceUID, sopInstanceUID, metadata, levels } = described;
  return {
    ...described,
    studyInstanceUID: renamed(studyInstanceUID, names),
    seriesInstanceUID: renamed(seriesInstanceUID, names),
    sopInstanceUID: renamed(sopInstanceUID, names),
    metadata: Buffer.from(renamed(metadata.toString(), names)),
    levels: {
      study: renamed(levels.study, names),
      series: renamed(levels.series, names),
      instance: renamed(levels.instance, names),
    },
  };
}

function enterObjects(database: Database, objects: readonly TemplateObject[], at: number): void {
  const study = String(objects[0]?.described.studyInstanceUID);
  let offset = COMMENT_BYTES;
  const ends = objects.map(({ lengthBytes }) => (offset += recordBytes(lengthBytes)));
  const { lastId } = database.run(
    'INSERT INTO pack (study_uid, number, path, length, dead_bytes, whole) VALUES (?, 1, ?, ?, 0, 0)',
    study,
    packPath(study, 1),
    offset,
  );
  const entering = enterInstances(database);
  objects.forEach(({ described, headBytes, lengthBytes }, k) =>
    entering.add(described, {
      pack: lastId,
      offset: (ends[k] ?? 0) - recordBytes(lengthBytes) + 512,
      headBytes,
      lengthBytes,
      crc: k,
      sequence: at * STUDY_INSTANCES + k + 1,
      derived: false,
      source: undefined,
      storedAt: STORED_AT,
    }),
  );
  entering.settle();
}

/** Header and text of a pack's first record. */
const COMMENT_BYTES = 1024;

/** Into tables of this connection alone. */
function enterTemplate(database: Database, modality: 'CT' | 'MR'): Template {
  const scratch = openDatabase(':memory:');
  migrateArchive(scratch);
  const objects = templateObjects(modality);
  scratch.transaction(() => enterObjects(scratch, objects, 0));
  const prefix = `template_${modality.toLowerCase()}_`;
  const dictionaries = scratch
    .all('SELECT dictionary FROM series ORDER BY id')
    .map((row) => inflateDictionary(row['dictionary'] as Buffer).toString());
  deflateAnew(scratch, objects, dictionaries);
  for (const table of TABLES) {
    database.run(`CREATE TEMP TABLE ${prefix}${table} AS SELECT * FROM ${table} WHERE 0`);
    for (const row of scratch.all(`SELECT * FROM ${table}`)) insertRow(database, `${prefix}${table}`, row);
  }
  checkDeflated(scratch, objects, dictionaries);
  scratch.close();
  return { objects, dictionaries, prefix };
}

/** With letters in place of the date's digits, which could match other digits of the text by chance. */
function deflateAnew(scratch: Database, objects: readonly TemplateObject[], dictionaries: readonly string[]): void {
  const lettered = (text: string): Buffer => Buffer.from(text.replaceAll(TEMPLATE.date, 'opqrstuv'));
  const rows = scratch.all('SELECT id, series FROM instance ORDER BY id');
  for (const [k, { id, series }] of rows.entries()) {
    const dictionary = lettered(dictionaries[Number(series) - 1] ?? '');
    const text = lettered(textOf(objects[k]));
    scratch.run('UPDATE metadata SET json = ? WHERE instance = ?', deflateMetadata(text, dictionary), Number(id));
  }
}

function textOf(object: TemplateObject | undefined): string {
  return object?.described.metadata.toString() ?? '';
}

function insertRow(database: Database, table: string, row: Row): void {
  const columns = Object.keys(row);
  database.run(
    `INSERT INTO temp.${table} (${columns.map((column) => `"${column}"`).join(', ')}) VALUES (${columns.map(() => '?').join(', ')})`,
    ...(Object.values(row) as SqlValue[]),
  );
}

/** Each deflated text must mean the renamed text under the renamed dictionary. @throws Error when one does not */
function checkDeflated(scratch: Database, objects: readonly TemplateObject[], dictionaries: readonly string[]): void {
  const rows = scratch.all(
    'SELECT metadata.json AS json, instance.series AS series FROM metadata JOIN instance ON instance.id = metadata.instance ORDER BY instance.id',
  );
  for (const at of [1, 22, 333]) {
    const names = namesAt(at);
    for (const [k, { json, series }] of rows.entries()) {
      const dictionary = Buffer.from(renamed(dictionaries[Number(series) - 1] ?? '', names));
      if (inflateMetadata(json as Buffer, dictionary) !== renamed(textOf(objects[k]), names))
        throw new Error(`the deflated text of instance ${k} cannot be used under other names`);
    }
  }
}

function clone(database: Database, template: Template, names: Names, at: number): void {
  const study = namesOfStudy(at).studyInstanceUID;
  const shift = {
    study: at,
    series: at * SERIES.length,
    instance: at * STUDY_INSTANCES,
    sequence: at * STUDY_INSTANCES,
  };
  for (const table of TABLES) {
    const { sql, takes } = cloneStatement(database, template, table);
    const given: Record<string, SqlValue> = { ...shift, ...names, path: packPath(study, 1) };
    database.run(sql, ...takes.map((name) => given[name] ?? null));
  }
  for (const [series, text] of template.dictionaries.entries())
    database.run(
      'UPDATE series SET dictionary = ? WHERE id = ?',
      deflateRawSync(Buffer.from(renamed(text, names)), { level: 6 }),
      shift.series + series + 1,
    );
  enterName(database, foldName(`Bench${names.patient}^Subject`));
  for (const name of OTHER_NAMES) enterName(database, foldName(name));
}

/** Names that every study of the template bears besides the patient's. */
const OTHER_NAMES = ['Referrer^Robin^^Dr.', 'Operator^Olli', 'Performer^Pat'];

interface Statement {
  readonly sql: string;
  readonly takes: readonly string[];
}
const statements = new WeakMap<Template, Map<string, Statement>>();

/** INSERT ... SELECT over the template's rows of one table: texts renamed, keys shifted. */
function cloneStatement(database: Database, template: Template, table: (typeof TABLES)[number]): Statement {
  const known = statements.get(template) ?? new Map<string, Statement>();
  statements.set(template, known);
  const before = known.get(table);
  if (before !== undefined) return before;
  const takes: string[] = [];
  const bound = (expression: string): string =>
    expression.replace(/:(\w+)/g, (_, name: string) => {
      takes.push(name);
      return '?';
    });
  const columns = database
    .all(`PRAGMA table_info(${table})`)
    .map((row) => ({ name: String(row['name']), type: String(row['type']) }));
  const values = columns.map(({ name, type }) => {
    if (table === 'pack' && name === 'path') return bound(':path');
    const shifted = SHIFTS[table][name];
    if (shifted !== undefined) return bound(`"${name}" + ${shifted}`);
    if (type !== 'TEXT') return `"${name}"`;
    const { uid, patient, date } = TEMPLATE;
    return bound(`replace(replace(replace("${name}", '${uid}', :uid), '${patient}', :patient), '${date}', :date)`);
  });
  const statement = {
    sql: `INSERT INTO main.${table} (${columns.map(({ name }) => `"${name}"`).join(', ')}) SELECT ${values.join(', ')} FROM temp.${template.prefix}${table}`,
    takes,
  };
  known.set(table, statement);
  return statement;
}

/** As long as its records would be, without taking the room. */
function makePack(folder: string, path: string, { objects }: Template): void {
  const lengthBytes = objects.reduce((sum, object) => sum + recordBytes(object.lengthBytes), COMMENT_BYTES);
  const file = join(folder, path);
  mkdirSync(dirname(file), { recursive: true });
  const descriptor = openSync(file, 'w');
  ftruncateSync(descriptor, lengthBytes);
  closeSync(descriptor);
}

/** Rows of the crosswalk as arrival writes them, sealed with nothing: no key opens them, and no query looks at them. */
export function fillCrosswalk(database: Database, from: number, until: number, project: string): void {
  for (let at = from; at < until; at++) {
    const { patientID, studyInstanceUID } = namesOfStudy(at);
    const row = 'INSERT OR IGNORE INTO';
    database.run(
      `${row} crosswalk_patient (project, lookup, pseudonym, sealed) VALUES (?, ?, ?, randomblob(300))`,
      project,
      createHash('sha256').update(patientID).digest(),
      patientID,
    );
    database.run(
      `${row} crosswalk_study (project, pseudonym, patient, sealed) VALUES (?, ?, ?, randomblob(400))`,
      project,
      studyInstanceUID,
      patientID,
    );
    database.run(
      `${row} crosswalk_uid (project, pseudonym, patient, sealed)
         SELECT ?, sop_uid, ?, randomblob(76) FROM instance WHERE id > ? AND id <= ?`,
      project,
      patientID,
      at * STUDY_INSTANCES,
      (at + 1) * STUDY_INSTANCES,
    );
    database.run(
      `${row} study_clock (study_uid, project, last_arrival, state) VALUES (?, ?, ?, 'complete')`,
      studyInstanceUID,
      project,
      STORED_AT * 1000,
    );
  }
}
