/**
 * Attributes that can be matched besides those with a column: one row for each value, of whatever level. Private ones are found by
 * their creator, since the block they lie in differs between objects (PS3.5 7.8.1).
 */
import type { Database } from '../database.ts';
import { tagKey } from '../dicom/data-set.ts';
import { isPrivate, isPrivateCreator, privateCreatorTag, tag, vrOf } from '../dicom/dictionary.ts';
import type { DicomJson, DicomJsonElement } from '../dicom/json.ts';
import { kindOfVr, pathName, valuesAt } from '../matching/values.ts';
import type { Level } from './attributes.ts';
import { enterName } from './names.ts';

const LEVEL_NUMBERS: Readonly<Record<Level, number>> = { study: 0, series: 1, instance: 2 };

const paths = (...keys: string[]): readonly (readonly number[])[] => keys.map((key) => key.split('.').map(tag));

/** By level; sequences are matched item by item, each path by itself. */
export const ATTRIBUTE_KEYS: Readonly<Record<Level, readonly (readonly number[])[]>> = {
  study: paths(
    'OtherPatientIDsSequence.PatientID',
    'IssuerOfPatientID',
    'InstitutionName',
    'NameOfPhysiciansReadingStudy',
    'AdmittingDiagnosesDescription',
    'ProcedureCodeSequence.CodeValue',
    'ClinicalTrialProtocolID',
    'ClinicalTrialSubjectID',
    'ClinicalTrialTimePointID',
  ),
  series: paths(
    'SeriesDate',
    'Manufacturer',
    'ManufacturerModelName',
    'StationName',
    'OperatorsName',
    'PerformingPhysicianName',
    'ProtocolName',
    'Laterality',
    'FrameOfReferenceUID',
    'PerformedProcedureStepID',
    'PerformedProtocolCodeSequence.CodeValue',
    'AnatomicRegionSequence.CodeValue',
  ),
  instance: paths('AcquisitionDateTime', 'ContentDate'),
};

const NAME_PATHS = Object.values(ATTRIBUTE_KEYS).flat().map(pathName).filter(isNamePath);

/** Of one instance; further private values cannot be matched. */
const MOST_PRIVATE_VALUES = 256;
const MOST_PRIVATE_CHARACTERS = 128;

/** In place of a value that cannot be matched (too long, binary, a sequence): it is there, hence not empty. */
const SOME_VALUE = '\u0001';

/** Path of a row that says that an instance has more private values than the index. */
export const MORE_PRIVATE_VALUES = 'more';

/** The rows of a study, series or instance, in place of those it had. Must run inside a transaction. */
export function enterKeys(database: Database, level: Level, owner: number, object: DicomJson): void {
  const rows: (readonly [path: string, value: string])[] = [];
  for (const path of ATTRIBUTE_KEYS[level]) {
    const kind = kindOfVr(vrOf(path.at(-1) ?? 0) ?? 'UN');
    if (kind !== undefined) for (const value of valuesAt(object, path, kind)) rows.push([pathName(path), value]);
  }
  if (level === 'instance') rows.push(...privateRows(object));
  else forgetKeys(database, level, owner);
  for (const [path, value] of new Map(rows.map((row) => [row.join('\n'), row])).values()) {
    database.run(
      'INSERT INTO attribute_key (level, owner, path, value) VALUES (?, ?, ?, ?)',
      LEVEL_NUMBERS[level],
      owner,
      path,
      value,
    );
    if (isNamePath(path)) enterName(database, value);
  }
}

export function forgetKeys(database: Database, level: Level, owner: number): void {
  const number = LEVEL_NUMBERS[level];
  const rows = database.all('SELECT path, value FROM attribute_key WHERE level = ? AND owner = ?', number, owner);
  if (rows.length === 0) return;
  database.run('DELETE FROM attribute_key WHERE level = ? AND owner = ?', number, owner);
  for (const { path, value } of rows) if (isNamePath(String(path))) forgetName(database, String(value));
}

/** Takes out a name that nobody bears any more. Must run inside a transaction. */
export function forgetName(database: Database, folded: string): void {
  const row = database.get(
    `SELECT id FROM name WHERE folded = ? AND NOT EXISTS (SELECT 1 FROM study WHERE patient_name = name.folded)
       AND NOT EXISTS (SELECT 1 FROM study WHERE referring_physician = name.folded)
       AND NOT EXISTS (SELECT 1 FROM attribute_key WHERE path IN (${NAME_PATHS.map(() => '?').join(', ')}) AND value = name.folded)`,
    folded,
    ...NAME_PATHS,
  );
  if (row === undefined) return;
  database.run('DELETE FROM name_token WHERE rowid = ?', Number(row['id']));
  database.run('DELETE FROM name WHERE id = ?', Number(row['id']));
}

/** A private attribute whatever its block: `0009xx01` of a creator; only the creator: `0009xxxx`. */
export function privatePath(privateTag: number, creator: string): string {
  const group = tagKey(privateTag).slice(0, 4);
  return isPrivateCreator(privateTag) ? `${group}xxxx` : `${group}xx${tagKey(privateTag).slice(6)} ${creator.trim()}`;
}

function isNamePath(path: string): boolean {
  return !path.includes('x') && vrOf(Number.parseInt(path.slice(-8), 16)) === 'PN';
}

/** Names inside private elements are matched as text, without the index of names. */
function privateRows(object: DicomJson): (readonly [string, string])[] {
  const rows: (readonly [string, string])[] = [];
  for (const [key, element] of Object.entries(object)) {
    const at = Number.parseInt(key, 16);
    if (!isPrivate(at)) continue;
    if (isPrivateCreator(at)) {
      for (const creator of valuesAt(object, [at], 'text')) rows.push([privatePath(at, ''), creator]);
      continue;
    }
    const creatorTag = privateCreatorTag(at);
    const [creator] = creatorTag === undefined ? [] : valuesAt(object, [creatorTag], 'text');
    if (creator === undefined || !hasValue(element)) continue;
    const kind = kindOfVr(element.vr);
    const values = kind === undefined ? [] : valuesAt(object, [at], kind);
    const short = values.filter((value) => value.length <= MOST_PRIVATE_CHARACTERS);
    for (const value of short.length === 0 ? [SOME_VALUE] : short) rows.push([privatePath(at, creator), value]);
  }
  if (rows.length <= MOST_PRIVATE_VALUES) return rows;
  return [...rows.slice(0, MOST_PRIVATE_VALUES), [MORE_PRIVATE_VALUES, SOME_VALUE]];
}

function hasValue(element: DicomJsonElement): boolean {
  if (!('Value' in element)) return 'InlineBinary' in element || 'BulkDataURI' in element;
  return element.Value?.some((value) => value !== null && value !== '') === true;
}

/** The same of an instance that is at hand: its own rows are looked at, in place of all that match. */
export function ownRowWhere(inner: string): string {
  return `EXISTS (SELECT 1 FROM attribute_key WHERE attribute_key.level = ${LEVEL_NUMBERS.instance}
    AND attribute_key.owner = instance.id AND attribute_key.path = ?${inner})`;
}

/** Owners at `level` of which some row, their own or of what is below them, satisfies `inner` on attribute_key.value. */
export function ownersWhere(level: Level, rowLevel: Level, inner: string): string {
  const rows = `attribute_key.level = ${LEVEL_NUMBERS[rowLevel]} AND attribute_key.path = ?${inner}`;
  if (rowLevel !== 'instance' || level === 'instance')
    return `${rowLevel}.id IN (SELECT attribute_key.owner FROM attribute_key WHERE ${rows})`;
  const column = level === 'study' ? 'holder.study' : 'holder.id';
  return `${level}.id IN (SELECT ${column} FROM attribute_key CROSS JOIN instance AS bearer ON bearer.id = attribute_key.owner
    CROSS JOIN series AS holder ON holder.id = bearer.series WHERE ${rows})`;
}
