/** Every row of the crosswalk under a new secret: for the day after somebody may have seen the old one. */
import type { Row } from '../database.ts';
import { domainOf, seal, unseal, type Wall } from './wall.ts';
import { addSealSecret, dropSealSecrets, newestGeneration, scrubbed, type KeySource } from './vault.ts';

/** Rows of one transaction. */
const PORTION = 500;

const TABLES = [
  { table: 'crosswalk_patient', kind: 'patient' },
  { table: 'crosswalk_study', kind: 'study' },
  { table: 'crosswalk_uid', kind: 'uid' },
  { table: 'crosswalk_note', kind: 'note' },
  { table: 'crosswalk_kin', kind: 'kin' },
] as const;

export interface Resealed {
  readonly generation: number;
  readonly rows: number;
}

/**
 * Seals all rows anew and then destroys the secrets before. What an earlier call that was cut off had begun is ended first, without a
 * secret of its own. Pseudonyms stay. @throws Refusal Unresolved when a row cannot be opened: then nothing has been destroyed
 */
export function resealRows(wall: Wall, source: KeySource): Resealed {
  const begun = newestGeneration(wall);
  const unfinished = begun > 0 && TABLES.some(({ table }) => behind(wall, table, begun) !== undefined);
  const generation = unfinished ? begun : wall.database.transaction(() => addSealSecret(wall.database, source, wall));
  let rows = 0;
  for (const one of TABLES) {
    for (let after: Place | undefined = { project: '', pseudonym: '' }; after !== undefined;) {
      const portion: Portion = resealPortion(wall, one, generation, after);
      rows += portion.resealed;
      after = portion.last;
    }
  }
  dropSealSecrets(wall.database, wall, generation);
  return { generation, rows };
}

function behind(wall: Wall, table: string, generation: number): Row | undefined {
  return wall.database.get(`SELECT 1 FROM ${table} WHERE generation < ? LIMIT 1`, generation);
}

interface Place {
  readonly project: string;
  readonly pseudonym: string;
}

interface Portion {
  readonly resealed: number;
  /** Where the next portion begins; undefined at the end of the table. */
  readonly last: Place | undefined;
}

/** The table is walked once, in the order of its key. */
function resealPortion(
  wall: Wall,
  { table, kind }: (typeof TABLES)[number],
  generation: number,
  after: Place,
): Portion {
  const { database } = wall;
  return scrubbed(database, () => {
    const rows = database.all(
      `SELECT project, pseudonym, sealed, generation FROM ${table} WHERE (project, pseudonym) > (?, ?)
       ORDER BY project, pseudonym LIMIT ?`,
      after.project,
      after.pseudonym,
      PORTION,
    );
    let resealed = 0;
    let last: Place | undefined;
    for (const row of rows) {
      const project = String(row['project']);
      const pseudonym = String(row['pseudonym']);
      last = { project, pseudonym };
      if (Number(row['generation']) >= generation) continue;
      const domain = domainOf(wall, project);
      const name = `${kind}:${pseudonym}`;
      const renewed = seal(wall, domain, name, unseal(wall, domain, name, row));
      database.run(
        `UPDATE ${table} SET sealed = ?, generation = ? WHERE project = ? AND pseudonym = ?`,
        renewed.sealed,
        renewed.generation,
        project,
        pseudonym,
      );
      resealed++;
    }
    return { resealed, last };
  });
}
