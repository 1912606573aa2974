/** Many readers that stand still in the middle of their answers: little of each is in memory, and who reads gets everything. */
import assert from 'node:assert/strict';
import { connect, type Socket } from 'node:net';
import { once } from 'node:events';
import { after, before, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import { storeInstance } from '../../src/archive/instances.ts';
import { makeLargeObject, makeObject } from '../phantom/objects.ts';
import { openDoor, type Door } from './door.ts';

const MEGABYTE = 2 ** 20;
const READERS = 120;
const CINE = { studyInstanceUID: '2.25.1', seriesInstanceUID: '2.25.1.1', sopInstanceUID: '2.25.1.1.1' };
const CINE_FRAMES = 32;
const SERIES = '/studies/2.25.2/series/2.25.2.1';

let door: Door;
before(async () => {
  door = await openDoor();
  const chunk = Buffer.from(Uint32Array.from({ length: MEGABYTE / 4 }, (_, n) => n * 2654435761).buffer);
  const size = { rows: 1024, columns: 512, numberOfFrames: CINE_FRAMES };
  await storeInstance(door.gateway.archive, makeLargeObject({ ...CINE, ...size }, chunk, CINE_FRAMES));
  // So much text that an answer is longer than what the two sockets take in by themselves.
  const requests = Array.from({ length: 400 }, (_, n) => [`step ${n}`, `procedure ${n}`] as const);
  for (let n = 1; n <= 160; n++) {
    const uids = { studyInstanceUID: '2.25.2', seriesInstanceUID: '2.25.2.1', sopInstanceUID: `2.25.2.1.${n}` };
    const more = { instanceNumber: n, rows: 2, columns: 2, requests };
    await storeInstance(door.gateway.archive, makeObject({ ...uids, ...more }).object);
  }
});
after(() => door.close());

/** What all of them hold, when each has got the beginning of its answer and stopped. */
async function heldBy(path: string, accept: string): Promise<number> {
  await (await door.get(path, accept)).arrayBuffer();
  const beforeMb = process.memoryUsage().arrayBuffers / MEGABYTE;
  const sockets: Socket[] = [];
  for (let n = 0; n < READERS; n++) {
    const socket = connect(door.port, '127.0.0.1');
    socket.write(`GET /dicom-web${path} HTTP/1.1\r\nHost: 127.0.0.1\r\nAccept: ${accept}\r\n\r\n`);
    sockets.push(socket);
    await once(socket, 'readable');
  }
  await delay(300);
  const held = process.memoryUsage().arrayBuffers / MEGABYTE - beforeMb;
  // Nobody waits for them.
  const whole = await (await door.get(path, accept)).arrayBuffer();
  assert.ok(whole.byteLength > 5 * MEGABYTE, `${whole.byteLength} bytes`);
  const ended = Promise.all(sockets.map((socket) => once(socket, 'close')));
  for (const socket of sockets) socket.destroy();
  await ended;
  return held;
}

for (const [what, path, accept] of [
  ['a study', '/studies/2.25.1', 'multipart/related; type="application/dicom"'],
  ['a study as a zip archive', '/studies/2.25.1', 'application/zip'],
  ['an instance', '/studies/2.25.1/series/2.25.1.1/instances/2.25.1.1.1', 'application/dicom'],
  ['a value', '/studies/2.25.1/series/2.25.1.1/instances/2.25.1.1.1/bulkdata/7FE00010', 'application/octet-stream'],
  ['metadata', `${SERIES}/metadata`, 'application/dicom+json'],
] as const)
  test(`${READERS} readers that stop in the middle of ${what} hold little, and another one gets everything`, async () => {
    const held = await heldBy(path, accept);
    assert.ok(held < 50, `${Math.round(held)} MiB`);
  });
