import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { blackOut, MIGRATE_AUDIT, firstBrokenRow, recordAudit, type Audit } from '../../src/audit.ts';
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
  [
    'an inserted row',
    'INSERT INTO audit SELECT 6, at, event, actor, facts, hash, nonce, digest FROM audit WHERE number = 5',
    6,
  ],
  ['another digest', "UPDATE audit SET digest = 'x' WHERE number = 4", 4],
  ['facts in a row that was blacked out', 'UPDATE audit SET nonce = NULL WHERE number = 2', 2],
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

test('facts that name somebody can be blacked out without breaking the chain; nothing of them can be guessed', () => {
  const audit = openTrail();
  assert.equal(blackOut(audit, new Set(['1.2.3', '1.2.4', '9.9'])), 2);
  assert.equal(firstBrokenRow(audit), undefined);
  assert.deepEqual(
    audit.database
      .all('SELECT facts, nonce FROM audit ORDER BY number')
      .map(({ facts, nonce }) => [facts, nonce === null]),
    [1, 2, 3, 4, 5].map((row) =>
      row === 3 || row === 4 ? ['', true] : [`{"study":"1.2.${row}","objects":${row}}`, false],
    ),
  );
  assert.equal(blackOut(audit, new Set(['1.2.3'])), 0);
  recordAudit(audit, 'Export', 'isthmus', {});
  assert.equal(firstBrokenRow(audit), undefined);
});

test('a trail from before there were digests goes on', () => {
  const audit = openTrail(0);
  let hash = '';
  for (const number of [1, 2]) {
    const row = [number, 5, 'Export', 'isthmus', `{"study":"1.2.${number}"}`] as const;
    hash = createHash('sha256')
      .update(JSON.stringify([hash, ...row]))
      .digest('hex');
    audit.database.run(
      'INSERT INTO audit (number, at, event, actor, facts, hash) VALUES (?, ?, ?, ?, ?, ?)',
      ...row,
      hash,
    );
  }
  recordAudit(audit, 'Export', 'isthmus', { study: '1.2.3' });
  assert.equal(firstBrokenRow(audit), undefined);
  audit.database.run("UPDATE audit SET facts = '' WHERE number = 1");
  assert.equal(firstBrokenRow(audit), 1);
});
