/** The wall in memory, for trying things out: the same secrets and the patients known so far, and no trace in the crosswalk. */
import { randomBytes } from 'node:crypto';
import { openDatabase, type Database, type Row } from '../database.ts';
import { knownPseudonym } from './patients.ts';
import { openWall, type Wall } from './wall.ts';
import { recordsOf, type PatientRecord } from './merge.ts';

export interface Shadow {
  readonly wall: Wall;
  readonly database: Database;
}

/** @param record of this patient alone, who may be unknown; every patient of the project when undefined */
export function openShadow(wall: Wall, project: string, record?: PatientRecord): Shadow {
  const database = openDatabase(':memory:');
  openWall(database, { keyFile: '', keyHex: randomBytes(32).toString('hex') });
  for (const table of ['crosswalk_patient', 'crosswalk_merged', 'crosswalk_leaving']) {
    for (const row of rowsOf(wall, table, project, record)) {
      const columns = Object.keys(row);
      database.run(
        `INSERT INTO ${table} (${columns.join(', ')}) VALUES (${columns.map(() => '?').join(', ')})`,
        ...(Object.values(row) as (string | number | Buffer)[]),
      );
    }
  }
  return { wall: { ...wall, database, domains: new Map() }, database };
}

function rowsOf(wall: Wall, table: string, project: string, record: PatientRecord | undefined): Row[] {
  if (record === undefined) return wall.database.all(`SELECT * FROM ${table} WHERE project = ?`, project);
  const known = knownPseudonym(wall, project, record.issuer, record.id);
  const records = known === undefined ? [] : recordsOf(wall, project, known);
  return records.flatMap((one) =>
    wall.database.all(`SELECT * FROM ${table} WHERE project = ? AND pseudonym = ?`, project, one),
  );
}
