/** No room on the disk: a small file system of its own (tmpfs), which only an administrator can mount. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readdirSync, rmSync, statfsSync, writeFileSync } from 'node:fs';
import { once } from 'node:events';
import { connect } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { startScp } from '../../src/dimse/scp.ts';
import { openAssociation, release, store } from '../../src/dimse/scu.ts';
import { storeHandlers } from '../../src/workflow/receive.ts';
import { readHead } from '../../src/dicom/part10.ts';
import { makeObject } from '../phantom/objects.ts';
import { fill, MULTIPART, multipartBody, openDoor, type Door } from './door.ts';
import { bodyOf, bulkPart, itemsIn, JSON_FORM, jsonPart, reasonsIn, stow } from './stow-bodies.ts';

const CT = '1.2.840.10008.5.1.4.1.1.2';
const EXPLICIT_LE = '1.2.840.10008.1.2.1';
const MB = 2 ** 20;

/** A door whose data lies on 40 MB; undefined, with a reason, where nothing can be mounted. */
async function smallDoor(t: TestContext): Promise<{ door: Door; folder: string } | undefined> {
  const folder = mkdtempSync(join(tmpdir(), 'isthmus-small-'));
  const mounted = spawnSync('mount', ['-t', 'tmpfs', '-o', 'size=40m', 'tmpfs', folder]);
  if (mounted.status !== 0) {
    rmSync(folder, { recursive: true });
    t.skip('a tmpfs cannot be mounted here');
    return undefined;
  }
  const before = process.env['TMPDIR'];
  process.env['TMPDIR'] = folder;
  const door = await openDoor('', undefined, 'archive: { reserveMb: 8 }').finally(() => {
    if (before === undefined) delete process.env['TMPDIR'];
    else process.env['TMPDIR'] = before;
  });
  t.after(async () => {
    await door.close();
    spawnSync('umount', [folder]);
    rmSync(folder, { recursive: true, force: true });
  });
  return { door, folder };
}

const freeBytes = (folder: string): number => {
  const { bavail, bsize } = statfsSync(folder);
  return bavail * bsize;
};
const leftovers = (door: Door): string[] =>
  readdirSync(join(door.data, 'store', 'packs')).filter((name) => name.endsWith('.part'));
const stored = async (door: Door): Promise<number> => {
  const response = await fetch(`${door.url}/instances`);
  return response.status === 204 ? 0 : ((await response.json()) as unknown[]).length;
};
const rows = 1024;
const large = (sopInstanceUID: string): Buffer =>
  makeObject({ sopInstanceUID, rows, columns: rows, numberOfFrames: 24, pixels: Buffer.alloc(48 * MB, 5) }).bytes;

/** Without a Content-Length, so that the end of the room is met while writing. */
async function stream(door: Door, type: string, body: Buffer): Promise<Response> {
  return fetch(`${door.url}/studies`, {
    method: 'POST',
    headers: { 'content-type': type },
    duplex: 'half',
    body: new ReadableStream({
      start(controller) {
        for (let at = 0; at < body.length; at += MB) controller.enqueue(new Uint8Array(body.subarray(at, at + MB)));
        controller.close();
      },
    }),
  } as RequestInit);
}

test('STOW-38: without room a request is 507 with Retry-After before its body is read, C-STORE A700, /readyz 503; with room again all is well', async (t) => {
  const small = await smallDoor(t);
  if (small === undefined) return;
  const { door, folder } = small;
  const { bytes } = makeObject({ rows: 8, columns: 8, sopInstanceUID: '2.25.66.1' });
  assert.equal((await fetch(`http://127.0.0.1:${door.port}/readyz`)).status, 200);
  // More is announced than there is room for.
  const announced = await stow(door, MULTIPART, multipartBody([large('2.25.66.2')]));
  assert.deepEqual([announced.status, announced.headers.get('retry-after')], [507, '60']);

  const filler = join(folder, 'filler');
  writeFileSync(filler, Buffer.alloc(freeBytes(folder) - 6 * MB));
  const socket = connect(door.port, '127.0.0.1');
  socket.write(
    `POST /dicom-web/studies HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: ${MULTIPART}\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n`,
  );
  const [head] = (await once(socket, 'data')) as [Buffer];
  assert.match(head.toString(), /^HTTP\/1\.1 507 [^]*\r\nRetry-After: 60\r\n/);
  socket.destroy();
  const ready = await fetch(`http://127.0.0.1:${door.port}/readyz`);
  assert.equal(ready.status, 503);
  assert.match(await ready.text(), /bytes would be left/);
  assert.equal(await cStore(door, bytes), 0xa700);
  assert.equal(await stored(door), 0);

  rmSync(filler);
  assert.equal((await fetch(`http://127.0.0.1:${door.port}/readyz`)).status, 200);
  assert.equal((await stow(door, MULTIPART, multipartBody([bytes]))).status, 200);
  assert.equal(await cStore(door, bytes), 0);
});

test('after the disk did not take what was stored, that object fails, nothing more is taken and /readyz says so', async (t) => {
  const door = await openDoor();
  t.after(() => door.close());
  // fdatasync(2) as a broken disk answers it.
  t.mock.method(door.gateway.archive.database, 'synchronise', () => Promise.reject(new Error('EIO')));
  const lost = await stow(door, MULTIPART, multipartBody([makeObject({ sopInstanceUID: '2.25.66.3' }).bytes]));
  assert.equal(lost.status, 409);
  assert.deepEqual(reasonsIn(lost.dataSet, '00081198'), [0x0110]);

  const ready = await fetch(`http://127.0.0.1:${door.port}/readyz`);
  assert.equal(ready.status, 503);
  assert.match(await ready.text(), /disk failed while storing; nothing is taken until a restart/);
  const next = makeObject({ sopInstanceUID: '2.25.66.4' }).bytes;
  assert.equal((await stow(door, MULTIPART, multipartBody([next]))).status, 503);
  assert.equal(await cStore(door, next), 0xa700);
});

async function cStore(door: Door, bytes: Buffer): Promise<number> {
  const scp = await startScp(
    { host: '127.0.0.1', port: 0, aeTitle: 'ISTHMUS', closeMs: 100 },
    storeHandlers(door.gateway),
  );
  const association = await openAssociation({
    host: '127.0.0.1',
    port: scp.port,
    calledAE: 'ISTHMUS',
    callingAE: 'PACS',
    contexts: [{ sopClassUID: CT, transferSyntaxUIDs: [EXPLICIT_LE] }],
  });
  const { head } = readHead(bytes);
  const status = await store(association, {
    sopClassUID: CT,
    sopInstanceUID: '2.25.66.1',
    transferSyntaxUID: EXPLICIT_LE,
    dataSet: once_(bytes.subarray(head.dataSet.start)),
  });
  await release(association);
  await scp.close();
  return status;
}
async function* once_(bytes: Buffer): AsyncGenerator<Buffer> {
  yield bytes;
}

test('STOW-39: a disk that fills up while an object is written, or its bulk data kept aside, refuses it whole: 507, nothing left behind', async (t) => {
  const small = await smallDoor(t);
  if (small === undefined) return;
  const { door, folder } = small;
  const before = freeBytes(folder);
  const binary = await stream(door, MULTIPART, multipartBody([large('2.25.66.3')]));
  assert.deepEqual([binary.status, binary.headers.get('retry-after')], [507, '60']);
  const answer = (await binary.json()) as never;
  assert.deepEqual(reasonsIn(answer, '00081198'), [0xa700]);
  const metadata = {
    '00080016': { vr: 'UI', Value: [CT] },
    '00080018': { vr: 'UI', Value: ['2.25.66.4'] },
    '7FE00010': { vr: 'OW', BulkDataURI: 'pixels' },
  };
  const apart = await stream(door, JSON_FORM, bodyOf([jsonPart(metadata), bulkPart('pixels', Buffer.alloc(48 * MB))]));
  assert.deepEqual([apart.status, apart.headers.get('retry-after')], [507, '60']);
  const refused = (await apart.json()) as never;
  assert.deepEqual(reasonsIn(refused, '00081198'), [0xa700]);
  assert.equal(itemsIn(refused, '00081199').length, 0);
  assert.deepEqual(leftovers(door), []);
  assert.equal(await stored(door), 0);
  assert.ok(before - freeBytes(folder) < 2 * MB, 'the room is free again');
  assert.equal(
    (
      await stow(
        door,
        MULTIPART,
        multipartBody([makeObject({ rows: 8, columns: 8, sopInstanceUID: '2.25.66.5' }).bytes]),
      )
    ).status,
    200,
  );
});

test('DELETE-5: on a disk without room an instance is kept whole, 507, when what lies beside it cannot be copied; its study can be deleted', async (t) => {
  const small = await smallDoor(t);
  if (small === undefined) return;
  const { door, folder } = small;
  const names = { studyInstanceUID: '2.25.67', seriesInstanceUID: '2.25.67.1' };
  for (const instanceNumber of [1, 2, 3]) {
    const sopInstanceUID = `2.25.67.1.${instanceNumber}`;
    await fill(door, {
      ...names,
      instanceNumber,
      sopInstanceUID,
      rows,
      columns: rows,
      pixels: Buffer.alloc(2 * rows * rows, 5),
    });
  }
  const filler = join(folder, 'filler');
  writeFileSync(filler, Buffer.alloc(freeBytes(folder) - 3 * MB));
  const path = '/studies/2.25.67/series/2.25.67.1/instances/2.25.67.1.2';
  const refused = await fetch(`${door.url}${path}`, { method: 'DELETE' });
  assert.deepEqual([refused.status, refused.headers.get('retry-after')], [507, '60']);
  assert.equal(await door.statusOf(path), 200);
  assert.equal(await stored(door), 3);
  // A series that is all there is in its packs leaves nothing to copy.
  assert.equal(await door.statusOf('/studies/2.25.67/series/2.25.67.1', {}, 'DELETE'), 204);
  assert.ok(freeBytes(folder) > 8 * MB, 'the room is free again');
});
