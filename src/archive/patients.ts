/** Patients, by their pseudonyms: no level of the index, but of query and retrieve (PS3.4 C.6.1); studies put together. */
import type { Row } from '../database.ts';
import type { DicomJson } from '../dicom/json.ts';
import type { Archive } from './handle.ts';
import { conditions, type Match } from './matching.ts';

type Indexed = Pick<Archive, 'database'>;

/** Whether the archive gives this value out as the pseudonym of a patient; names folded. */
export function isPatientPseudonym(
  { database }: Pick<Archive, 'database'>,
  column: 'patient_id' | 'patient_name',
  value: string,
): boolean {
  return value !== '' && database.get(`SELECT 1 AS one FROM study WHERE ${column} = ?`, value) !== undefined;
}

export interface PatientCounts {
  readonly studies: number;
  readonly series: number;
  readonly instances: number;
}

export interface PatientRow extends PatientCounts {
  /** A pseudonym. */
  readonly patientID: string;
  /** Study and patient attributes of one of the studies. */
  readonly json: DicomJson;
}

/** What is withheld is not there for who asks. */
const SHOWN = 'study_uid NOT IN (SELECT study_uid FROM withheld)';
const COUNTS = 'count(*) AS studies, sum(series_count) AS series, sum(instance_count) AS instances';

/** By pseudonym. @throws Refusal BadRequest as `search` does */
export function searchPatients(
  archive: Indexed,
  matches: readonly Match[],
  page: { readonly limit: number; readonly offset: number },
): PatientRow[] {
  const all = conditions('study', matches, { fuzzyMatching: false });
  const where = `WHERE ${[...all.map(({ sql }) => sql), SHOWN].join(' AND ')}`;
  // With max() SQLite takes the other columns from the row that has it: the study stored to last.
  return archive.database
    .all(
      `SELECT patient_id, json, max(last_stored), ${COUNTS} FROM study ${where}
       GROUP BY project, patient_id ORDER BY patient_id, project LIMIT ? OFFSET ?`,
      ...all.flatMap(({ values }) => values),
      page.limit,
      page.offset,
    )
    .map((row) => ({
      ...countsIn(row),
      patientID: String(row['patient_id']),
      json: JSON.parse(String(row['json'])) as DicomJson,
    }));
}

export function countsOfPatient(archive: Indexed, patientID: string): PatientCounts {
  return countsIn(
    archive.database.get(`SELECT ${COUNTS} FROM study WHERE patient_id = ? AND ${SHOWN}`, patientID) ?? {},
  );
}

/** Study Instance UIDs of what is shown, oldest first. */
export function studyUIDsOfPatient(archive: Indexed, patientID: string): string[] {
  return archive.database
    .all(
      `SELECT study_uid FROM study WHERE patient_id = ? AND ${SHOWN} ORDER BY study_date, study_time, study_uid`,
      patientID,
    )
    .map((row) => String(row['study_uid']));
}

function countsIn(row: Row): PatientCounts {
  return {
    studies: Number(row['studies'] ?? 0),
    series: Number(row['series'] ?? 0),
    instances: Number(row['instances'] ?? 0),
  };
}
