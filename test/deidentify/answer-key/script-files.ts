/** The answer key as CBIIT/MIDI_validation_script reads it: table `answer_data` of an SQLite file, and two CSV files id_old,id_new. */
import { mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { openDatabase } from '../../../src/database.ts';
import { tokensOf, type AnswerKey, type Category, type KeyObject, type KeyRow } from './key.ts';
import type { Mappings } from './score.ts';

export function writeScriptFiles(folder: string, key: AnswerKey, { uids, patients }: Mappings): void {
  mkdirSync(folder, { recursive: true });
  writeFileSync(join(folder, 'uid_mapping.csv'), csv(uids));
  writeFileSync(join(folder, 'patid_mapping.csv'), csv(patients));
  const file = join(folder, 'answer_key.db');
  rmSync(file, { force: true });
  const database = openDatabase(file);
  database.run(
    'CREATE TABLE answer_data (Modality TEXT, SOPClassUID TEXT, PatientID TEXT, StudyInstanceUID TEXT, SeriesInstanceUID TEXT, SOPInstanceUID TEXT, AnswerData TEXT)',
  );
  const rows = Map.groupBy(key.rows, ({ object }) => object);
  database.transaction(() => {
    for (const object of key.objects) insert(database.run, object, rows.get(object) ?? []);
  });
  database.close();
}

function insert(run: (sql: string, ...values: string[]) => unknown, object: KeyObject, rows: readonly KeyRow[]): void {
  const { modality, sopClassUID, patientID, studyInstanceUID, seriesInstanceUID, sopInstanceUID } = object;
  const answers = Object.fromEntries(rows.map((row, index) => [String(index), answerOf(row)]));
  run(
    'INSERT INTO answer_data VALUES (?, ?, ?, ?, ?, ?, ?)',
    modality,
    sopClassUID,
    patientID,
    studyInstanceUID,
    seriesInstanceUID,
    sopInstanceUID,
    JSON.stringify(answers),
  );
}

function answerOf({ path, keyword, action, value, text, category }: KeyRow): Record<string, unknown> {
  const isText = action === 'text_retained' || action === 'text_removed';
  return {
    tag: path.slice(path.lastIndexOf('<(')),
    tag_ds: path,
    tag_name: `<${keyword}>`,
    // The script looks for the whole value where a date or UID must have changed.
    value: `<${action === 'date_shifted' ? text : value}>`,
    action: `<${action}>`,
    action_text: `<${isText ? tokensOf(text).join(' ') : text}>`,
    answer_category_v2: categories(category),
  };
}

function categories(category: Category): Record<string, unknown> {
  const only = (prefix: string): string => (category.startsWith(prefix) ? category : '');
  return {
    prev_cat: category,
    hipaa: { z: only('HIPAA'), m: '' },
    dicom: { p15: only('DICOM-P15'), iod: only('DICOM-IOD'), safe: '' },
    tcia: { ptkb: only('TCIA-PTKB'), p15: only('TCIA-P15'), rev: only('TCIA-REV') },
  };
}

function csv(pairs: ReadonlyMap<string, string>): string {
  return ['id_old,id_new', ...[...pairs].map(([before, after]) => `${before},${after}`), ''].join('\n');
}
