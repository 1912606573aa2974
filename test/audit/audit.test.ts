import assert from 'node:assert/strict';
import { test } from 'node:test';
import { MIGRATE_AUDIT, firstBrokenRow, recordAudit, type Audit } from '../../src/audit.ts';
import { migrate, openDatabase } from '../../src/database.ts';

function openTrail(rows = 5): Audit {
  const database = openDatabase(':memory:');
  migrate(database, MIGRATE_AUDIT.room, MIGRATE_AUDIT.steps);
  const audit = { database, now: () => 1_700_000_000_000 };
  for (let row = 1; row <= rows; row++) recordAudit(audit, 'Export', 'isthmus', { study: `1.2.${row}`, objects: row });
  return audit;
}

test('an untouched trail holds, an empty one too', () => {
  assert.equal(firstBrokenRow(openTrail()), undefined);
  assert.equal(firstBrokenRow(openTrail(0)), undefined);
});

for (const [what, sql, broken] of [
  ['changed facts', `UPDATE audit SET facts = '{"study":"9.9"}' WHERE number = 3`, 3],
  ['another actor', "UPDATE audit SET actor = 'somebody' WHERE number = 2", 2],
  ['another time', 'UPDATE audit SET at = at + 1 WHERE number = 1', 1],
  ['a removed row', 'DELETE FROM audit WHERE number = 3', 4],
  ['a removed first row', 'DELETE FROM audit WHERE number = 1', 2],
  ['another hash', "UPDATE audit SET hash = 'x' WHERE number = 5", 5],
  ['an inserted row', 'INSERT INTO audit SELECT 6, at, event, actor, facts, hash FROM audit WHERE number = 5', 6],
] as const) {
  test(`${what} is found`, () => {
    const audit = openTrail();
    audit.database.run(sql);
    assert.equal(firstBrokenRow(audit), broken);
  });
}

test('a row belongs to the transaction around it', () => {
  const audit = openTrail(1);
  assert.throws(() =>
    audit.database.transaction(() => {
      recordAudit(audit, 'Export', 'isthmus', {});
      throw new Error('rolled back');
    }),
  );
  recordAudit(audit, 'Export', 'isthmus', {});
  assert.equal(firstBrokenRow(audit), undefined);
  assert.equal(audit.database.all('SELECT number FROM audit').length, 2);
});
