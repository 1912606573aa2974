/** The bulkdata and pixeldata resources of CP-2040, DELETE, and zip. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { createHash } from 'node:crypto';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { after, before, test } from 'node:test';
import { endRecords } from '../../src/dicomweb/zip.ts';
import { beginArrival, endArrival } from '../../src/workflow/complete.ts';
import { scheduleWork } from '../../src/workitems.ts';
import { makeObject, type MadeObject } from '../phantom/objects.ts';
import { fill, getJson, openDoor, partsOf, type Door } from './door.ts';

const FRAMES = [Buffer.from([0xff, 0xd8, 1, 1]), Buffer.from([0xff, 0xd8, 2, 2])];
const JPEG = '1.2.840.10008.1.2.4.50';
const OCTETS = 'multipart/related; type="application/octet-stream"';

let door: Door;
let made: MadeObject[];
before(async () => {
  door = await openDoor();
  const study = { studyInstanceUID: '2.25.1' };
  made = await fill(
    door,
    {
      ...study,
      seriesInstanceUID: '2.25.1.1',
      sopInstanceUID: '2.25.1.1.1',
      privateText: 'y'.repeat(3000),
      pixels: Buffer.alloc(32, 5),
    },
    {
      ...study,
      seriesInstanceUID: '2.25.1.1',
      sopInstanceUID: '2.25.1.1.2',
      instanceNumber: 2,
      pixels: Buffer.alloc(32, 6),
    },
    {
      ...study,
      seriesInstanceUID: '2.25.1.2',
      sopInstanceUID: '2.25.1.2.1',
      seriesNumber: 2,
      transferSyntaxUID: JPEG,
      numberOfFrames: 2,
      fragments: FRAMES,
    },
    { ...study, seriesInstanceUID: '2.25.1.3', sopInstanceUID: '2.25.1.3.1', seriesNumber: 3, pixels: null },
  );
});
after(() => door.close());

const at = (parts: readonly { headers: Record<string, string> }[]): (string | undefined)[] =>
  parts.map(({ headers }) => headers['content-location']?.slice(door.url.length));
const I = (series: number, instance: number): string =>
  `/studies/2.25.1/series/2.25.1.${series}/instances/2.25.1.${series}.${instance}`;

test('BULK-1: bulkdata of a study is every value that the metadata has a URI for, under that URI', async () => {
  const response = await door.get('/studies/2.25.1/bulkdata', `${OCTETS}; transfer-syntax=*`);
  assert.equal(response.status, 200);
  const parts = await partsOf(response);
  assert.deepEqual(at(parts), [
    `${I(1, 1)}/bulkdata/00091010`,
    `${I(1, 1)}/bulkdata/7FE00010`,
    `${I(1, 2)}/bulkdata/7FE00010`,
    `${I(2, 1)}/frames/1`,
    `${I(2, 1)}/frames/2`,
  ]);
  assert.deepEqual(parts[1]?.body, Buffer.alloc(32, 5));
  assert.deepEqual([parts[3]?.body, parts[4]?.body], FRAMES);
  assert.equal(parts[3]?.headers['content-type'], `application/octet-stream; transfer-syntax=${JPEG}`);
  const uris =
    JSON.stringify(await getJson(`${door.url}/studies/2.25.1/metadata`)).match(/"BulkDataURI":"[^"]+"/g) ?? [];
  for (const location of at(parts).slice(0, 3))
    assert.ok(
      uris.some((uri) => uri.endsWith(`${location}"`)),
      location,
    );
  assert.equal((await partsOf(await door.get(`${I(1, 1)}/bulkdata`))).length, 2);
  assert.equal((await partsOf(await door.get('/studies/2.25.1/series/2.25.1.1/bulkdata'))).length, 3);
});

test('BULK-2: pixeldata holds pixel data alone; where there is none it is 404, in another form 406', async () => {
  assert.deepEqual(at(await partsOf(await door.get(`${I(1, 1)}/pixeldata`))), [`${I(1, 1)}/bulkdata/7FE00010`]);
  const frames = await partsOf(
    await door.get(`${I(2, 1)}/pixeldata`, 'multipart/related; type="image/jpeg"; transfer-syntax=*'),
  );
  assert.deepEqual(
    frames.map(({ headers }) => headers['content-type']),
    Array(2).fill(`image/jpeg; transfer-syntax=${JPEG}`),
  );
  assert.equal((await door.get(`${I(3, 1)}/pixeldata`)).status, 404);
  assert.equal((await door.get(`${I(3, 1)}/bulkdata`)).status, 404);
  assert.equal((await door.get(`${I(1, 1)}/pixeldata`, 'multipart/related; type="image/webp"')).status, 406);
  assert.equal((await door.get('/studies/2.25.99/bulkdata')).status, 404);
});

test('BULK-3: what cannot be had in the syntax that was asked for is left out, and the status is 206', async () => {
  const response = await door.get(
    '/studies/2.25.1/pixeldata',
    'multipart/related; type="image/jpeg"; transfer-syntax=*',
  );
  assert.equal(response.status, 206);
  assert.equal((await partsOf(response)).length, 2);
});

test('BULK-4: the entity tag of bulk data answers 304', async () => {
  const first = await door.get(`${I(1, 1)}/bulkdata`);
  await first.arrayBuffer();
  const again = await fetch(`${door.url}${I(1, 1)}/bulkdata`, {
    headers: { 'if-none-match': first.headers.get('etag') ?? '' },
  });
  assert.equal(again.status, 304);
});

test('ZIP-1: a study, series or instance comes as a zip archive that other tools take, its files as they are stored', async () => {
  const folder = mkdtempSync(join(tmpdir(), 'zip-'));
  try {
    for (const [path, count] of [
      ['/studies/2.25.1', 4],
      ['/studies/2.25.1/series/2.25.1.1', 2],
      [I(1, 2), 1],
    ] as const) {
      const response = await door.get(path, 'application/zip');
      assert.equal(response.headers.get('content-type'), 'application/zip');
      const bytes = Buffer.from(await response.arrayBuffer());
      assert.equal(bytes.length, Number(response.headers.get('content-length')));
      writeFileSync(join(folder, 'a.zip'), bytes);
      const listed = execFileSync('python3', ['-m', 'zipfile', '-l', join(folder, 'a.zip')], { encoding: 'utf8' });
      assert.equal(listed.trim().split('\n').length, count + 1);
      execFileSync('python3', ['-m', 'zipfile', '-t', join(folder, 'a.zip')]);
      execFileSync('python3', ['-m', 'zipfile', '-e', join(folder, 'a.zip'), folder]);
    }
    for (const [syntax, status] of [
      ['*', 200],
      ['1.2.840.10008.1.2.4.80', 406],
    ] as const) {
      const response = await door.get(I(1, 2), `application/zip; transfer-syntax=${syntax}`);
      await response.arrayBuffer();
      assert.equal(response.status, status, syntax);
    }
    const stored = readFileSync(join(folder, '2.25.1', '2.25.1.1', '2.25.1.1.2.dcm'));
    const hash = (data: Buffer): string => createHash('sha256').update(data).digest('hex');
    assert.equal(hash(stored), hash(made[1]?.bytes ?? Buffer.alloc(0)));
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
  assert.match(
    (await door.get('/studies/2.25.1', 'multipart/related; type="application/dicom"; transfer-syntax=*')).headers.get(
      'content-type',
    ) ?? '',
    /^multipart/,
  );
  assert.equal((await door.get('/studies/2.25.1', 'application/nope')).status, 406);
});

test('more than 65534 files or 4 GiB end in zip64 records', () => {
  assert.equal(endRecords(3, 100, 200).length, 22);
  for (const [entries, start] of [
    [65_535, 100],
    [3, 5e9],
  ] as const) {
    const end = endRecords(entries, start, 200);
    assert.equal(end.length, 98);
    assert.equal(end.readBigUInt64LE(32), BigInt(entries));
    assert.equal(end.readBigUInt64LE(48), BigInt(start));
    assert.equal(end.readBigUInt64LE(64), BigInt(start + 200));
  }
});

test('DELETE-1: each level is deleted with 204, is 410 from then on, and what is beside it stays; the audit trail has a line', async () => {
  const remove = (path: string): Promise<Response> => fetch(`${door.url}${path}`, { method: 'DELETE' });
  assert.equal((await remove('/studies/2.25.77')).status, 404);
  const study = { studyInstanceUID: '2.25.5' };
  for (const series of [1, 2])
    for (const instance of [1, 2])
      await fill(door, {
        ...study,
        seriesNumber: series,
        instanceNumber: instance,
        seriesInstanceUID: `2.25.5.${series}`,
        sopInstanceUID: `2.25.5.${series}.${instance}`,
      });
  const instance = '/studies/2.25.5/series/2.25.5.1/instances/2.25.5.1.1';
  assert.equal((await remove(instance)).status, 204);
  for (const path of [instance, `${instance}/metadata`, `${instance}/pixeldata`])
    assert.equal((await door.get(path)).status, 410, path);
  assert.equal((await remove(instance)).status, 410);
  assert.equal((await getJson(`${door.url}/studies/2.25.5/metadata`)).length, 3);
  assert.equal((await remove('/studies/2.25.5/series/2.25.5.1')).status, 204);
  assert.equal((await door.get('/studies/2.25.5/series/2.25.5.1/metadata')).status, 410);
  assert.equal((await getJson(`${door.url}/studies/2.25.5/metadata`)).length, 2);
  assert.equal((await remove('/studies/2.25.5')).status, 204);
  assert.equal((await door.get('/studies/2.25.5')).status, 410);
  assert.equal((await door.get('/studies?StudyInstanceUID=2.25.5')).status, 204);
  assert.equal((await getJson(`${door.url}/studies/2.25.1/metadata`)).length, 4);
  const lines = door.gateway.database.all("SELECT actor FROM audit WHERE event = 'DICOM Study Deleted'");
  assert.deepEqual(
    lines.map(({ actor }) => actor),
    ['local', 'local', 'local'],
  );
});

test('DELETE-4: a deletion goes ahead only where its conditions hold; what the caller saw at any form of the resource counts', async () => {
  const study = '/studies/2.25.8';
  const series = `${study}/series/2.25.8.1`;
  const instance = `${series}/instances/2.25.8.1.1`;
  const make = (number: number): Promise<unknown> =>
    fill(door, {
      studyInstanceUID: '2.25.8',
      seriesInstanceUID: '2.25.8.1',
      sopInstanceUID: `2.25.8.1.${number}`,
      instanceNumber: number,
    });
  for (const number of [1, 2, 3, 4]) await make(number);
  const tagOf = async (path: string, accept?: string): Promise<string> => {
    const response = await door.get(path, accept);
    await response.arrayBuffer();
    return response.headers.get('etag') ?? '';
  };
  const remove = async (path: string, headers: Record<string, string>): Promise<number> =>
    (await fetch(`${door.url}${path}`, { method: 'DELETE', headers })).status;
  const past = 'Thu, 01 Jan 1970 00:00:00 GMT';
  const before: Record<string, string> = { [study]: await tagOf(study), [series]: await tagOf(series) };
  await make(5);
  for (const path of [study, series, instance]) {
    const tag = await tagOf(path);
    const old = before[path] ?? '"another"';
    for (const headers of [
      { 'if-match': old },
      { 'if-match': `W/${tag}` },
      { 'if-match': '""' },
      { 'if-match': '"' },
      { 'if-none-match': '*' },
      { 'if-none-match': `"another", W/${tag}` },
      { 'if-unmodified-since': past },
    ])
      assert.equal(await remove(path, headers), 412, `${path} ${JSON.stringify(headers)}`);
    assert.equal((await door.get(path)).status, 200, path);
  }
  assert.equal(await remove('/studies/2.25.88', { 'if-match': '"another"' }), 404);
  // A tag decides before a date; a date of If-Modified-Since says nothing to a deletion (RFC 9110 13.1.3).
  const forms = [`multipart/related; type="application/dicom"; transfer-syntax=*`, 'application/zip', undefined];
  for (const [index, accept] of forms.entries()) {
    const path = `${series}/instances/2.25.8.1.${index + 1}`;
    const headers = { 'if-match': await tagOf(path, accept), 'if-unmodified-since': past, 'if-modified-since': past };
    assert.equal(await remove(path, headers), 204, accept);
  }
  assert.equal(await remove(`${series}/instances/2.25.8.1.4`, { 'if-none-match': '"another"' }), 204);
  assert.equal(await remove(series, { 'if-match': await tagOf(`${series}/metadata`) }), 204);
  assert.equal(await remove(series, { 'if-match': '*' }), 410);
});

test('DELETE-2: a study that is received, or on which work is not finished, is not deleted: 409', async () => {
  await fill(door, { studyInstanceUID: '2.25.6', seriesInstanceUID: '2.25.6.1', sopInstanceUID: '2.25.6.1.1' });
  const status = async (path: string): Promise<number> =>
    (await fetch(`${door.url}${path}`, { method: 'DELETE' })).status;
  beginArrival(door.gateway, '2.25.6');
  assert.equal(await status('/studies/2.25.6'), 409);
  endArrival(door.gateway, '2.25.6');
  scheduleWork(door.gateway.workItems, {
    kind: 'deliver',
    key: 'x',
    studyInstanceUID: '2.25.6',
    parameters: {},
    maxAttempts: 1,
  });
  assert.equal(await status('/studies/2.25.6/series/2.25.6.1/instances/2.25.6.1.1'), 409);
  assert.equal((await getJson(`${door.url}/studies/2.25.6/metadata`)).length, 1);
  door.gateway.database.run('DELETE FROM work_item');
  assert.equal(await status('/studies/2.25.6/series/2.25.6.1'), 204);
  assert.equal((await door.get('/studies/2.25.6')).status, 410);
});

test('DELETE-3: it takes the role radiology-it or privacy-officer', async () => {
  const hash = (token: string): string => createHash('sha256').update(token).digest('hex');
  const other = await openDoor(
    `access:\n  tokens:\n${['viewer', 'sender', 'radiology-it', 'privacy-officer']
      .map((role) => `    - { name: ${role}, sha256: ${hash(role)}, roles: [${role}] }`)
      .join('\n')}\n`,
  );
  try {
    for (const [role, expected] of [
      ['viewer', 403],
      ['sender', 403],
      ['radiology-it', 204],
      ['privacy-officer', 410],
    ] as const) {
      if (role === 'viewer') await fill(other, { studyInstanceUID: '2.25.1' });
      const response = await fetch(`${other.url}/studies/2.25.1`, {
        method: 'DELETE',
        headers: { authorization: `Bearer ${role}` },
      });
      assert.equal(response.status, expected, role);
    }
    assert.equal((await fetch(`${other.url}/studies/2.25.1`, { method: 'DELETE' })).status, 401);
  } finally {
    await other.close();
  }
});

test('an object that was deleted can be stored again', async () => {
  const one = { studyInstanceUID: '2.25.8', sopInstanceUID: '2.25.8.1' };
  await fill(door, one);
  await fetch(`${door.url}/studies/2.25.8`, { method: 'DELETE' });
  const [again] = await fill(door, one);
  assert.equal((await door.get('/studies/2.25.8/metadata')).status, 200);
  assert.equal(makeObject({ rows: 4, columns: 4, ...one }).bytes.length, again?.bytes.length);
});
