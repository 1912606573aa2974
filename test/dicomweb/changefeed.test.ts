/** The change feed (an extension): Microsoft's cases ported, and what a follower may rely on. */
import assert from 'node:assert/strict';
import { test, type TestContext } from 'node:test';
import { deleteOldChanges } from '../../src/archive/changes.ts';
import { closeArchive, openArchive } from '../../src/archive/archive.ts';
import { storeInstance } from '../../src/archive/instances.ts';
import { reindex } from '../../src/archive/reindex.ts';
import { openDatabase } from '../../src/database.ts';
import { makeObject } from '../phantom/objects.ts';
import { fill, openDoor, type Door } from './door.ts';

interface Entry {
  readonly Sequence: number;
  readonly StudyInstanceUid: string;
  readonly SeriesInstanceUid: string;
  readonly SopInstanceUid: string;
  readonly Action: string;
  readonly Timestamp: string;
  readonly State: string;
  readonly Metadata?: Record<string, { Value?: unknown[] }>;
}

async function open(t: TestContext, settings = ''): Promise<Door> {
  const door = await openDoor(settings);
  t.after(() => door.close());
  return door;
}

async function feed(door: Door, query = ''): Promise<Entry[]> {
  const response = await fetch(`${door.url}/changefeed${query}`);
  assert.equal(response.status, 200, query);
  return (await response.json()) as Entry[];
}

const object = (at: number, more = {}) => ({
  studyInstanceUID: '2.25.1',
  seriesInstanceUID: '2.25.2',
  sopInstanceUID: `2.25.3.${at}`,
  instanceNumber: at,
  ...more,
});
const brief = ({ Sequence, SopInstanceUid, Action, State }: Entry): string =>
  `${Sequence} ${SopInstanceUid} ${Action} ${State}`;

test('CHANGES-1: what is stored stands there in order with its metadata; paging by Sequence misses and doubles nothing', async (t) => {
  const door = await open(t);
  assert.deepEqual(await feed(door), []);
  assert.equal((await fetch(`${door.url}/changefeed/latest`)).status, 204);
  await fill(door, ...Array.from({ length: 10 }, (_, at) => object(at)));
  const all = await feed(door);
  assert.deepEqual(
    all.map(brief),
    Array.from({ length: 10 }, (_, at) => `${at + 1} 2.25.3.${at} create current`),
  );
  for (const [at, { Metadata, StudyInstanceUid, SeriesInstanceUid }] of all.entries()) {
    assert.deepEqual([StudyInstanceUid, SeriesInstanceUid], ['2.25.1', '2.25.2']);
    assert.equal(Metadata?.['00080018']?.Value?.[0], `2.25.3.${at}`);
    assert.ok(JSON.stringify(Metadata).includes(`${door.url}/studies/2.25.1/`), 'addresses are absolute');
  }
  for (const limit of [1, 3, 7, 200]) {
    const read: Entry[] = [];
    for (;;) {
      const page = await feed(door, `?offset=${read.at(-1)?.Sequence ?? 0}&limit=${limit}&includemetadata=false`);
      if (page.length === 0) break;
      assert.ok(page.length <= limit && page.every(({ Metadata }) => Metadata === undefined));
      read.push(...page);
    }
    assert.deepEqual(read.map(brief), all.map(brief), `limit ${limit}`);
  }
  const latest = (await (await fetch(`${door.url}/changefeed/latest`)).json()) as Entry;
  assert.equal(brief(latest), '10 2.25.3.9 create current');
});

test('CHANGES-2: a deleted and stored again instance: every entry says what became of it', async (t) => {
  const door = await open(t);
  const latest = async (): Promise<string> =>
    brief((await (await fetch(`${door.url}/changefeed/latest?includeMetadata=false`)).json()) as Entry);
  const path = '/studies/2.25.1/series/2.25.2/instances/2.25.3.1';
  await fill(door, object(1));
  assert.equal(await latest(), '1 2.25.3.1 create current');
  assert.equal((await fetch(door.url + path, { method: 'DELETE' })).status, 204);
  assert.equal(await latest(), '2 2.25.3.1 delete deleted');
  assert.deepEqual((await feed(door)).map(brief), ['1 2.25.3.1 create deleted', '2 2.25.3.1 delete deleted']);
  await fill(door, object(1));
  assert.deepEqual((await feed(door)).map(brief), [
    '1 2.25.3.1 create replaced',
    '2 2.25.3.1 delete replaced',
    '3 2.25.3.1 create current',
  ]);
  await fill(door, object(2));
  assert.equal((await fetch(`${door.url}/studies/2.25.1`, { method: 'DELETE' })).status, 204);
  assert.deepEqual(
    (await feed(door, '?offset=4')).map(({ Action, State }) => `${Action} ${State}`),
    ['delete deleted', 'delete deleted'],
  );
});

test('CHANGES-3: an instance that is overwritten is an update; what it was before is replaced', async (t) => {
  const door = await open(t);
  const { archive } = door.gateway;
  const overwriting = { ...archive, options: { ...archive.options, duplicates: 'overwrite' as const } };
  await storeInstance(overwriting, makeObject({ rows: 4, columns: 4, ...object(1) }).object);
  await storeInstance(
    overwriting,
    makeObject({ rows: 4, columns: 4, ...object(1, { patientName: 'New^Name' }) }).object,
  );
  const entries = await feed(door);
  assert.deepEqual(entries.map(brief), ['1 2.25.3.1 create replaced', '2 2.25.3.1 update current']);
  assert.match(JSON.stringify(entries[1]?.Metadata), /New\^Name/);
});

test('CHANGES-4: a window of time, from inclusive and to exclusive, offset counting inside it', async (t) => {
  const door = await open(t);
  const times: string[] = [];
  for (let at = 0; at < 3; at++) {
    await fill(door, object(at));
    const [entry] = await feed(door, `?offset=${at}`);
    times.push(entry?.Timestamp ?? '');
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
  const [first = '', second = '', third = ''] = times;
  const later = new Date(Date.parse(third) + 1).toISOString();
  for (const [query, expected] of [
    [`startTime=${first}`, '1 2 3'],
    [`startTime=${second}`, '2 3'],
    [`startTime=${second}&offset=1`, '3'],
    [`startTime=${second}&offset=2`, ''],
    [`startTime=${later}`, ''],
    [`endTime=${first}`, ''],
    [`starttime=${first}&endtime=${third}`, '1 2'],
    [`startTime=${first}&endTime=${later}&limit=1&offset=1`, '2'],
    [`startTime=${first.replace('Z', '%2B00:00')}&endTime=${later.replace('Z', '+00:00')}`, '1 2 3'],
  ])
    assert.equal((await feed(door, `?${query}`)).map(({ Sequence }) => Sequence).join(' '), expected, query);
});

test('CHANGES-5: bad parameters are 400', async (t) => {
  const door = await open(t);
  for (const query of [
    'offset=-1',
    'limit=0',
    'limit=201',
    'limit=x',
    'limit=1&limit=2',
    'includemetadata=asdf',
    'startTime=yesterday',
    'startTime=2026-01-01T00:00:00',
    'startTime=2026-13-01T00:00:00Z',
    'startTime=2026-01-02T00:00:00Z&endTime=2026-01-01T00:00:00Z',
    'startTime=2026-01-01T00:00:00Z&endTime=2026-01-01T00:00:00Z',
    'nonsense=1',
  ])
    assert.equal((await fetch(`${door.url}/changefeed?${query}`)).status, 400, query);
  assert.equal((await fetch(`${door.url}/changefeed/latest?limit=1`)).status, 400);
  assert.equal((await fetch(`${door.url}/changefeed`, { headers: { accept: 'text/csv' } })).status, 406);
});

test('CHANGES-6: while many store, a follower that pages by Sequence sees every instance exactly once', async (t) => {
  const door = await open(t);
  const total = 200;
  let storing = true;
  const stored = Promise.all(
    Array.from({ length: total }, (_, at) => fill(door, object(at, { studyInstanceUID: `2.25.1.${at % 7}` }))),
  ).then(() => (storing = false));
  const seen: string[] = [];
  let last = 0;
  for (;;) {
    const before = storing;
    const page = await feed(door, `?offset=${last}&limit=50&includemetadata=false`);
    for (const { Sequence, SopInstanceUid } of page) {
      assert.equal(Sequence, last + 1, 'no hole');
      last = Sequence;
      seen.push(SopInstanceUid);
    }
    if (!before && page.length === 0) break;
  }
  await stored;
  assert.equal(seen.length, total);
  assert.equal(new Set(seen).size, total);
});

test('CHANGES-7: an entry that is not on the disk yet is not shown', async (t) => {
  const door = await open(t);
  await fill(door, object(1));
  const { intake } = door.gateway.archive;
  const durable = intake.durableChange;
  intake.durableChange = 0;
  assert.deepEqual(await feed(door), []);
  intake.durableChange = durable;
  assert.equal((await feed(door)).length, 1);
});

test('CHANGES-8: what is too old goes, its numbers are not given again, and a follower who is behind is told', async (t) => {
  const door = await open(t);
  await fill(door, object(1), object(2));
  assert.equal(deleteOldChanges(door.gateway.archive, Date.now() + 60_000), 2);
  await fill(door, object(3));
  const response = await fetch(`${door.url}/changefeed?offset=1`);
  assert.equal(response.headers.get('warning'), `299 ${door.url}: Changes before Sequence 3 are no longer kept`);
  assert.deepEqual(((await response.json()) as Entry[]).map(brief), ['3 2.25.3.3 create current']);
  assert.equal((await fetch(`${door.url}/changefeed?offset=2`)).headers.get('warning'), null);
});

test('CHANGES-9: the feed outlives a restart and a new index', async (t) => {
  const door = await open(t);
  await fill(door, object(1), object(2));
  const { database, archive } = door.gateway;
  const before = await feed(door, '?includemetadata=false');
  await closeArchive(archive);
  const again = await openArchive(database, archive.folder, archive.options);
  assert.equal(again.intake.durableChange, 2);
  await closeArchive(again);
  await reindex(database, archive.folder);
  assert.deepEqual(await feed(door, '?includemetadata=false'), before);
  const fresh = openDatabase(':memory:');
  await reindex(fresh, archive.folder);
  assert.equal(fresh.all('SELECT * FROM change').length, 2, 'an index without a feed gets one');
  fresh.close();
});
