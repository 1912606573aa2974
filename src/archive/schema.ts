/** The index: three levels with typed key columns, what QIDO returns ready-made, where the bytes lie. Rebuilt from packs by reindex. */
import { migrate, type Database } from '../database.ts';
import { listedElementsSql } from './listed.ts';
import { CHANGE_TABLES, fillChanges } from './changes.ts';
import { enterAllKeys } from './level-rows.ts';
import { WITHHELD_TABLE } from './withheld.ts';

/** `steps`: for an index as it was before the later ones. */
export function migrateArchive(database: Database, steps = STEPS.length): void {
  migrate(database, 'archive', STEPS.slice(0, steps));
}

/** Tables that reindex empties; tombstones and the change feed are kept, since packs cannot tell what is gone. */
export const INDEX_TABLES = [
  'metadata',
  'instance',
  'request',
  'series',
  'study',
  'pack',
  'attribute_key',
  'name',
  'name_token',
  'series_text',
] as const;

/**
 * What keeps searches from growing with the archive, kept true by triggers: studies of a modality in the order of results, how much each
 * day has, and the pieces of three characters of texts.
 */
const LISTS = [
  `
CREATE TABLE study_modality (
  modality TEXT NOT NULL,
  study_date TEXT NOT NULL,
  study_time TEXT NOT NULL,
  study_uid TEXT NOT NULL,
  study INTEGER NOT NULL,
  PRIMARY KEY (modality, study_date DESC, study_time DESC, study_uid)
) WITHOUT ROWID;
CREATE INDEX study_modality_study ON study_modality (study);
CREATE TRIGGER modality_with_series AFTER INSERT ON series WHEN new.modality <> '' BEGIN
  INSERT OR IGNORE INTO study_modality SELECT new.modality, study_date, study_time, study_uid, id FROM study WHERE id = new.study; END;
CREATE TRIGGER modality_without_series AFTER DELETE ON series BEGIN
  DELETE FROM study_modality WHERE study = old.study AND modality = old.modality AND NOT EXISTS
    (SELECT 1 FROM series WHERE series.modality = old.modality AND series.study = old.study); END;
CREATE TRIGGER modality_changed AFTER UPDATE OF modality ON series WHEN new.modality <> old.modality BEGIN
  DELETE FROM study_modality WHERE study = old.study AND modality = old.modality AND NOT EXISTS
    (SELECT 1 FROM series WHERE series.modality = old.modality AND series.study = old.study);
  INSERT OR IGNORE INTO study_modality SELECT new.modality, study_date, study_time, study_uid, id FROM study
    WHERE id = new.study AND new.modality <> ''; END;
CREATE TRIGGER modality_moved AFTER UPDATE OF study_date, study_time ON study
  WHEN (new.study_date, new.study_time) <> (old.study_date, old.study_time) BEGIN
  UPDATE study_modality SET study_date = new.study_date, study_time = new.study_time WHERE study = new.id; END;
INSERT OR IGNORE INTO study_modality SELECT series.modality, study_date, study_time, study_uid, study.id
  FROM series JOIN study ON study.id = series.study WHERE series.modality <> '';
`,
  `
CREATE TABLE day (
  study_date TEXT PRIMARY KEY,
  studies INTEGER NOT NULL,
  series INTEGER NOT NULL,
  instances INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TRIGGER day_with_study AFTER INSERT ON study BEGIN
  INSERT INTO day VALUES (new.study_date, 1, new.series_count, new.instance_count) ON CONFLICT DO UPDATE SET
    studies = studies + 1, series = series + excluded.series, instances = instances + excluded.instances; END;
CREATE TRIGGER day_without_study AFTER DELETE ON study BEGIN
  UPDATE day SET studies = studies - 1, series = series - old.series_count, instances = instances - old.instance_count
    WHERE study_date = old.study_date; END;
CREATE TRIGGER day_of_study AFTER UPDATE OF series_count, instance_count ON study WHEN new.study_date = old.study_date BEGIN
  UPDATE day SET series = series + new.series_count - old.series_count,
    instances = instances + new.instance_count - old.instance_count WHERE study_date = new.study_date; END;
CREATE TRIGGER day_changed AFTER UPDATE OF study_date ON study WHEN new.study_date <> old.study_date BEGIN
  UPDATE day SET studies = studies - 1, series = series - old.series_count, instances = instances - old.instance_count
    WHERE study_date = old.study_date;
  INSERT INTO day VALUES (new.study_date, 1, new.series_count, new.instance_count) ON CONFLICT DO UPDATE SET
    studies = studies + 1, series = series + excluded.series, instances = instances + excluded.instances; END;
INSERT INTO day SELECT study_date, count(*), sum(series_count), sum(instance_count) FROM study GROUP BY study_date;
`,
  `
CREATE VIRTUAL TABLE study_gram USING fts5(patient_id, accession_number, study_id, description,
  content='', contentless_delete=1, detail=column, tokenize='trigram case_sensitive 1');
CREATE TRIGGER grams_with_study AFTER INSERT ON study BEGIN
  INSERT INTO study_gram (rowid, patient_id, accession_number, study_id, description)
    VALUES (new.id, new.patient_id, new.accession_number, new.study_id, new.description); END;
CREATE TRIGGER grams_without_study AFTER DELETE ON study BEGIN DELETE FROM study_gram WHERE rowid = old.id; END;
CREATE TRIGGER grams_of_study AFTER UPDATE OF patient_id, accession_number, study_id, description ON study BEGIN
  DELETE FROM study_gram WHERE rowid = old.id;
  INSERT INTO study_gram (rowid, patient_id, accession_number, study_id, description)
    VALUES (new.id, new.patient_id, new.accession_number, new.study_id, new.description); END;
INSERT INTO study_gram (rowid, patient_id, accession_number, study_id, description)
  SELECT id, patient_id, accession_number, study_id, description FROM study;
CREATE VIRTUAL TABLE series_gram USING fts5(description, body_part,
  content='', contentless_delete=1, detail=column, tokenize='trigram case_sensitive 1');
CREATE TRIGGER grams_with_series AFTER INSERT ON series BEGIN
  INSERT INTO series_gram (rowid, description, body_part) VALUES (new.id, new.description, new.body_part); END;
CREATE TRIGGER grams_without_series AFTER DELETE ON series BEGIN DELETE FROM series_gram WHERE rowid = old.id; END;
CREATE TRIGGER grams_of_series AFTER UPDATE OF description, body_part ON series BEGIN
  DELETE FROM series_gram WHERE rowid = old.id;
  INSERT INTO series_gram (rowid, description, body_part) VALUES (new.id, new.description, new.body_part); END;
INSERT INTO series_gram (rowid, description, body_part) SELECT id, description, body_part FROM series;
`,
];

/** What would otherwise be counted for each search: the years' numbers out of the days', studies of a modality, instances of a number. */
const TOTALS = `
CREATE TABLE year (
  year TEXT PRIMARY KEY,
  studies INTEGER NOT NULL,
  series INTEGER NOT NULL,
  instances INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TRIGGER year_with_day AFTER INSERT ON day BEGIN
  INSERT OR IGNORE INTO year VALUES (substr(new.study_date, 1, 4), 0, 0, 0);
  UPDATE year SET studies = studies + new.studies, series = series + new.series, instances = instances + new.instances
    WHERE year = substr(new.study_date, 1, 4); END;
CREATE TRIGGER year_of_day AFTER UPDATE OF studies, series, instances ON day BEGIN
  UPDATE year SET studies = studies + new.studies - old.studies, series = series + new.series - old.series,
    instances = instances + new.instances - old.instances WHERE year = substr(new.study_date, 1, 4); END;
INSERT INTO year SELECT substr(study_date, 1, 4), sum(studies), sum(series), sum(instances) FROM day GROUP BY 1;
CREATE TABLE modality_total (
  modality TEXT PRIMARY KEY,
  studies INTEGER NOT NULL
) WITHOUT ROWID;
CREATE TRIGGER modality_listed AFTER INSERT ON study_modality BEGIN
  INSERT OR IGNORE INTO modality_total VALUES (new.modality, 0);
  UPDATE modality_total SET studies = studies + 1 WHERE modality = new.modality; END;
CREATE TRIGGER modality_unlisted AFTER DELETE ON study_modality BEGIN
  UPDATE modality_total SET studies = studies - 1 WHERE modality = old.modality; END;
INSERT INTO modality_total SELECT modality, count(*) FROM study_modality GROUP BY modality;
CREATE TABLE number_total (
  number INTEGER PRIMARY KEY,
  instances INTEGER NOT NULL
);
CREATE TRIGGER number_with_instance AFTER INSERT ON instance WHEN new.number IS NOT NULL BEGIN
  INSERT OR IGNORE INTO number_total VALUES (new.number, 0);
  UPDATE number_total SET instances = instances + 1 WHERE number = new.number; END;
CREATE TRIGGER number_without_instance AFTER DELETE ON instance WHEN old.number IS NOT NULL BEGIN
  UPDATE number_total SET instances = instances - 1 WHERE number = old.number; END;
INSERT INTO number_total SELECT number, count(*) FROM instance WHERE number IS NOT NULL GROUP BY number;
`;

/**
 * Each description once, with how many studies bear it: protocols have a few hundred, so what a piece of text leads to is counted without
 * the studies, and the studies of each stand in the order of results.
 */
const DESCRIPTIONS = `
CREATE TABLE description (
  id INTEGER PRIMARY KEY,
  text TEXT NOT NULL UNIQUE,
  studies INTEGER NOT NULL
);
CREATE VIRTUAL TABLE description_gram USING fts5(text,
  content='', contentless_delete=1, detail=column, tokenize='trigram case_sensitive 1');
CREATE TRIGGER grams_with_description AFTER INSERT ON description BEGIN
  INSERT INTO description_gram (rowid, text) VALUES (new.id, new.text); END;
CREATE TRIGGER grams_without_description AFTER DELETE ON description BEGIN
  DELETE FROM description_gram WHERE rowid = old.id; END;
CREATE TRIGGER description_with_study AFTER INSERT ON study WHEN new.description <> '' BEGIN
  INSERT INTO description (text, studies) VALUES (new.description, 1) ON CONFLICT (text) DO UPDATE SET studies = studies + 1; END;
CREATE TRIGGER description_without_study AFTER DELETE ON study WHEN old.description <> '' BEGIN
  UPDATE description SET studies = studies - 1 WHERE text = old.description;
  DELETE FROM description WHERE text = old.description AND studies = 0; END;
CREATE TRIGGER description_of_study AFTER UPDATE OF description ON study WHEN new.description <> old.description BEGIN
  UPDATE description SET studies = studies - 1 WHERE text = old.description;
  DELETE FROM description WHERE text = old.description AND studies = 0;
  INSERT INTO description (text, studies) SELECT new.description, 1 WHERE new.description <> ''
    ON CONFLICT (text) DO UPDATE SET studies = studies + 1; END;
INSERT INTO description (text, studies) SELECT description, count(*) FROM study WHERE description <> '' GROUP BY description;
CREATE INDEX study_description ON study (description, study_date DESC, study_time DESC, study_uid);
DROP TRIGGER grams_with_study;
DROP TRIGGER grams_of_study;
DROP TRIGGER grams_without_study;
DROP TABLE study_gram;
CREATE VIRTUAL TABLE study_gram USING fts5(patient_id, accession_number, study_id,
  content='', contentless_delete=1, detail=column, tokenize='trigram case_sensitive 1');
CREATE TRIGGER grams_with_study AFTER INSERT ON study BEGIN
  INSERT INTO study_gram (rowid, patient_id, accession_number, study_id)
    VALUES (new.id, new.patient_id, new.accession_number, new.study_id); END;
CREATE TRIGGER grams_without_study AFTER DELETE ON study BEGIN DELETE FROM study_gram WHERE rowid = old.id; END;
CREATE TRIGGER grams_of_study AFTER UPDATE OF patient_id, accession_number, study_id ON study BEGIN
  DELETE FROM study_gram WHERE rowid = old.id;
  INSERT INTO study_gram (rowid, patient_id, accession_number, study_id)
    VALUES (new.id, new.patient_id, new.accession_number, new.study_id); END;
INSERT INTO study_gram (rowid, patient_id, accession_number, study_id)
  SELECT id, patient_id, accession_number, study_id FROM study;
`;

/**
 * What a page of studies shows, in the order of results: so few of the file's pages have to be read for it, however many studies lie
 * between those of the page in the order of arrival. Under the names that these columns have in `study`.
 */
const LISTED = `
CREATE TABLE study_listed (
  study_date TEXT NOT NULL,
  study_time TEXT NOT NULL,
  study_uid TEXT NOT NULL,
  id INTEGER NOT NULL,
  modalities TEXT NOT NULL,
  series_count INTEGER NOT NULL,
  instance_count INTEGER NOT NULL,
  version INTEGER NOT NULL,
  elements TEXT NOT NULL,
  PRIMARY KEY (study_date DESC, study_time DESC, study_uid)
) WITHOUT ROWID;
CREATE TRIGGER listed_with_study AFTER INSERT ON study BEGIN
  INSERT INTO study_listed VALUES (new.study_date, new.study_time, new.study_uid, new.id, new.modalities, new.series_count,
    new.instance_count, new.version, ${listedElementsSql('new.json')}); END;
CREATE TRIGGER listed_without_study AFTER DELETE ON study BEGIN
  DELETE FROM study_listed WHERE study_date = old.study_date AND study_time = old.study_time AND study_uid = old.study_uid; END;
CREATE TRIGGER listed_counts AFTER UPDATE OF modalities, series_count, instance_count, version ON study BEGIN
  UPDATE study_listed SET modalities = new.modalities, series_count = new.series_count, instance_count = new.instance_count,
    version = new.version WHERE study_date = new.study_date AND study_time = new.study_time AND study_uid = new.study_uid; END;
CREATE TRIGGER listed_anew AFTER UPDATE OF study_date, study_time, json ON study BEGIN
  UPDATE study_listed SET study_date = new.study_date, study_time = new.study_time, modalities = new.modalities,
    series_count = new.series_count, instance_count = new.instance_count, version = new.version,
    elements = ${listedElementsSql('new.json')}
    WHERE study_date = old.study_date AND study_time = old.study_time AND study_uid = old.study_uid; END;
INSERT INTO study_listed SELECT study_date, study_time, study_uid, id, modalities, series_count, instance_count, version,
  ${listedElementsSql('json')} FROM study ORDER BY study_date DESC, study_time DESC, study_uid;
`;

const STEPS = [
  `
CREATE TABLE study (
  id INTEGER PRIMARY KEY AUTOINCREMENT,
  study_uid TEXT NOT NULL UNIQUE,
  project TEXT NOT NULL,
  patient_id TEXT NOT NULL,
  patient_name TEXT NOT NULL,
  birth_date TEXT NOT NULL,
  sex TEXT NOT NULL,
  study_date TEXT NOT NULL,
  study_time TEXT NOT NULL,
  accession_number TEXT NOT NULL,
  study_id TEXT NOT NULL,
  description TEXT NOT NULL,
  referring_physician TEXT NOT NULL,
  modalities TEXT NOT NULL,
  series_count INTEGER NOT NULL,
  instance_count INTEGER NOT NULL,
  derived_count INTEGER NOT NULL,
  last_stored INTEGER NOT NULL,
  version INTEGER NOT NULL,
  json TEXT NOT NULL
);
CREATE INDEX study_order ON study (study_date DESC, study_time DESC, study_uid);
CREATE INDEX study_patient ON study (patient_id);
CREATE INDEX study_name ON study (patient_name);
CREATE INDEX study_accession ON study (accession_number);
CREATE TABLE series (
  id INTEGER PRIMARY KEY,
  study INTEGER NOT NULL REFERENCES study (id),
  series_uid TEXT NOT NULL,
  number INTEGER,
  modality TEXT NOT NULL,
  description TEXT NOT NULL,
  body_part TEXT NOT NULL,
  step_start_date TEXT NOT NULL,
  step_start_time TEXT NOT NULL,
  frame_of_reference TEXT NOT NULL,
  sop_class TEXT NOT NULL,
  instance_count INTEGER NOT NULL,
  derived_count INTEGER NOT NULL,
  version INTEGER NOT NULL,
  dictionary BLOB NOT NULL,
  json TEXT NOT NULL,
  UNIQUE (study, series_uid)
);
CREATE INDEX series_uid ON series (series_uid);
CREATE INDEX series_modality ON series (modality, study);
CREATE TABLE request (
  series INTEGER NOT NULL REFERENCES series (id),
  scheduled_step_id TEXT NOT NULL,
  requested_procedure_id TEXT NOT NULL
);
CREATE INDEX request_series ON request (series);
CREATE INDEX request_step ON request (scheduled_step_id);
CREATE INDEX request_procedure ON request (requested_procedure_id);
CREATE TABLE pack (
  id INTEGER PRIMARY KEY,
  study_uid TEXT NOT NULL,
  number INTEGER NOT NULL,
  path TEXT NOT NULL UNIQUE,
  length INTEGER NOT NULL,
  dead_bytes INTEGER NOT NULL,
  whole INTEGER NOT NULL,
  dying INTEGER NOT NULL DEFAULT 0,
  UNIQUE (study_uid, number)
);
CREATE TABLE instance (
  id INTEGER PRIMARY KEY,
  sop_uid TEXT NOT NULL UNIQUE,
  series INTEGER NOT NULL REFERENCES series (id),
  number INTEGER,
  sop_class TEXT NOT NULL,
  transfer_syntax TEXT NOT NULL,
  rows INTEGER,
  columns INTEGER,
  bits_allocated INTEGER,
  frames INTEGER,
  frame_count INTEGER NOT NULL,
  extents BLOB,
  derived INTEGER NOT NULL,
  sequence INTEGER NOT NULL,
  pack INTEGER NOT NULL REFERENCES pack (id),
  offset INTEGER NOT NULL,
  head_length INTEGER NOT NULL,
  length INTEGER NOT NULL,
  crc INTEGER NOT NULL
);
CREATE INDEX instance_order ON instance (series, number, sop_uid);
CREATE INDEX instance_pack ON instance (pack);
CREATE INDEX instance_sequence ON instance (sequence);
CREATE TABLE metadata (
  instance INTEGER PRIMARY KEY REFERENCES instance (id),
  json BLOB NOT NULL
);
CREATE TABLE tombstone (
  uid TEXT PRIMARY KEY,
  deleted INTEGER NOT NULL
) WITHOUT ROWID;
`,
  'CREATE INDEX series_order ON series (study, number, series_uid)',
  // Up to which sequence bytes and rows are known to have reached the disk; what is later is looked at when the archive is opened.
  `
CREATE TABLE durable (sequence INTEGER NOT NULL);
INSERT INTO durable (sequence) SELECT ifnull(max(sequence), 0) FROM instance
`,
  `
ALTER TABLE study ADD COLUMN timezone TEXT NOT NULL DEFAULT '';
CREATE INDEX study_timezone ON study (timezone);
CREATE INDEX study_referrer ON study (referring_physician);
CREATE INDEX study_birth ON study (birth_date);
CREATE TABLE name (
  id INTEGER PRIMARY KEY,
  folded TEXT NOT NULL UNIQUE
);
CREATE VIRTUAL TABLE name_token USING fts5(tokens, content='', contentless_delete=1, detail=none, tokenize='ascii');
CREATE TABLE attribute_key (
  level INTEGER NOT NULL,
  owner INTEGER NOT NULL,
  path TEXT NOT NULL,
  value TEXT NOT NULL
);
CREATE INDEX attribute_key_value ON attribute_key (path, value, owner);
CREATE INDEX attribute_key_owner ON attribute_key (level, owner);
CREATE INDEX attribute_key_plain ON attribute_key (value);
`,
  enterAllKeys,
  `
CREATE TABLE series_text (
  series INTEGER NOT NULL,
  piece INTEGER NOT NULL,
  version INTEGER NOT NULL,
  base TEXT NOT NULL,
  deflated BLOB NOT NULL,
  crc INTEGER NOT NULL,
  length INTEGER NOT NULL,
  PRIMARY KEY (series, piece)
);
CREATE TABLE high_water (
  id INTEGER PRIMARY KEY CHECK (id = 1),
  sequence INTEGER NOT NULL
);
INSERT INTO high_water (id, sequence) SELECT 1, coalesce(max(version), 0) FROM study;
`,
  CHANGE_TABLES,
  fillChanges,
  // Two trees in place of four: instances have rows here too, and each tree is a page more to write for every one that arrives.
  `
CREATE TABLE attribute_key_by_owner (
  level INTEGER NOT NULL,
  owner INTEGER NOT NULL,
  path TEXT NOT NULL,
  value TEXT NOT NULL,
  PRIMARY KEY (level, owner, path, value)
) WITHOUT ROWID;
INSERT OR IGNORE INTO attribute_key_by_owner SELECT level, owner, path, value FROM attribute_key;
DROP TABLE attribute_key;
ALTER TABLE attribute_key_by_owner RENAME TO attribute_key;
CREATE INDEX attribute_key_value ON attribute_key (path, value, owner);
`,
  ...LISTS,
  // Which series have instances of a class, and how many: what a search by class in the whole archive goes by.
  `
CREATE TABLE class_in_series (
  sop_class TEXT NOT NULL,
  series INTEGER NOT NULL,
  instances INTEGER NOT NULL,
  PRIMARY KEY (sop_class, series)
) WITHOUT ROWID;
CREATE TRIGGER class_with_instance AFTER INSERT ON instance BEGIN
  INSERT INTO class_in_series (sop_class, series, instances) VALUES (new.sop_class, new.series, 1)
    ON CONFLICT (sop_class, series) DO UPDATE SET instances = instances + 1; END;
CREATE TRIGGER class_without_instance AFTER DELETE ON instance BEGIN
  UPDATE class_in_series SET instances = instances - 1 WHERE sop_class = old.sop_class AND series = old.series;
  DELETE FROM class_in_series WHERE sop_class = old.sop_class AND series = old.series AND instances = 0; END;
INSERT INTO class_in_series SELECT sop_class, series, count(*) FROM instance GROUP BY sop_class, series;
`,
  WITHHELD_TABLE,
  'ALTER TABLE instance ADD COLUMN source TEXT',
  TOTALS,
  // Nothing is looked for by it, and it is a page of the log for each instance, in another place each time.
  'DROP INDEX change_instance',
  DESCRIPTIONS,
  LISTED,
];
