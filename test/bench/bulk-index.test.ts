/** The generator of large indexes writes what arrival writes. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { INDEX_TABLES, migrateArchive } from '../../src/archive/schema.ts';
import { inflateDictionary, inflateMetadata } from '../../src/archive/metadata-text.ts';
import { openDatabase, type Database } from '../../src/database.ts';
import { newFolder } from '../archive/support.ts';
import { enterOneByOne, openFilling } from './bulk-index.ts';

/** More than ten, so that both templates are among them. */
const STUDIES = 11;

function everyRow(database: Database): Record<string, unknown> {
  const rows: Record<string, unknown> = {};
  for (const table of [...INDEX_TABLES, 'durable', 'high_water', 'tombstone'])
    rows[table] = database
      .all(`SELECT * FROM ${table}`)
      .map((row) =>
        JSON.stringify({
          ...row,
          json: typeof row['json'] === 'string' ? row['json'] : undefined,
          dictionary: undefined,
        }),
      )
      .sort();
  rows['texts'] = database
    .all(
      'SELECT metadata.json AS json, series.dictionary AS dictionary FROM metadata JOIN instance ON instance.id = metadata.instance JOIN series ON series.id = instance.series ORDER BY instance.id',
    )
    .map((row) => inflateMetadata(row['json'] as Buffer, inflateDictionary(row['dictionary'] as Buffer)));
  rows['found by name'] = database.all(
    "SELECT rowid FROM name_token WHERE name_token MATCH 'g000062000065*' ORDER BY rowid",
  );
  return rows;
}

test('an index filled in bulk has the same rows as one whose instances arrived one by one', async (context) => {
  const [bulk, single] = [openDatabase(':memory:'), openDatabase(':memory:')];
  for (const database of [bulk, single]) migrateArchive(database);
  openFilling(bulk, await newFolder(context)).fill(STUDIES);
  enterOneByOne(single, STUDIES);
  const [found, expected] = [everyRow(bulk), everyRow(single)];
  assert.equal((expected['instance'] as unknown[]).length, 200 * STUDIES);
  for (const table of Object.keys(expected)) assert.deepEqual(found[table], expected[table], table);
  bulk.close();
  single.close();
});
