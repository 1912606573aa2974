/** Event reports over real WebSockets (PS3.18 8.10, PS3.4 CC.2.4): what is told to whom, in order, also after a break and a restart. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { once } from 'node:events';
import { connect } from 'node:net';
import { test, type TestContext } from 'node:test';
import { WebSocket } from 'undici';
import { announceClosing } from '../../src/server.ts';
import { openDoor, type Door, type JsonDataSet } from './door.ts';
import { changeState, code, el, PERFORMED, postWorkitem, send } from './workitem.ts';

const WORKLIST = '1.2.840.10008.5.1.4.34.5';
const FILTERED = `${WORKLIST}.1`;

interface Listener {
  readonly events: JsonDataSet[];
  readonly closed: Promise<number>;
  /** Resolves when so many have come. */
  count(events: number): Promise<void>;
  close(): Promise<void>;
}

async function listen(
  door: Door,
  aet: string,
  headers: Record<string, string> = {},
  path = '/dicom-web/ws',
): Promise<Listener> {
  const socket = new WebSocket(`ws://127.0.0.1:${door.port}${path}/subscribers/${aet}`, { headers });
  const events: JsonDataSet[] = [];
  let wake = (): void => undefined;
  socket.addEventListener('message', ({ data }) => {
    assert.equal(typeof data, 'string', 'text frames');
    events.push(JSON.parse(String(data)) as JsonDataSet);
    wake();
  });
  const closed = new Promise<number>((resolve) => socket.addEventListener('close', ({ code: why }) => resolve(why)));
  await new Promise<void>((resolve, reject) => {
    socket.addEventListener('open', () => resolve());
    socket.addEventListener('error', () => reject(new Error('no connection')));
  });
  return {
    events,
    closed,
    async count(wanted) {
      while (events.length < wanted) await new Promise<void>((resolve) => (wake = resolve));
    },
    async close() {
      socket.close();
      await closed;
    },
  };
}

async function open(t: TestContext, settings = ''): Promise<Door> {
  const door = await openDoor(settings);
  t.after(() => door.close());
  return door;
}

/** Type, instance and the state or progress of an event report. */
function told(event: JsonDataSet): string {
  const value = (key: string): unknown => event[key]?.Value?.[0];
  assert.equal(value('00000002'), '1.2.840.10008.5.1.4.34.6.1');
  assert.equal(event['00000110']?.vr, 'US');
  const [progress] = (event['00741002']?.Value ?? []) as JsonDataSet[];
  const what =
    value('00741000') ?? progress?.['00741004']?.Value?.[0] ?? value('00741236') ?? value('00741242') ?? 'assigned';
  return `${String(value('00001002'))} ${String(value('00001000'))} ${String(what)}`;
}

const subscribe = (door: Door, target: string, aet: string, query = ''): ReturnType<typeof send> =>
  send(door, 'POST', `/workitems/${target}/subscribers/${aet}${query}`);

test('PS3.18-8.10: a whole life of a work item is told in order, one text frame each', async (t) => {
  const door = await open(t);
  const subscribed = await subscribe(door, WORKLIST, 'WATCH');
  assert.equal(subscribed.status, 201);
  const url = subscribed.headers.get('content-location');
  assert.equal(url, `ws://127.0.0.1:${door.port}/dicom-web/ws/subscribers/WATCH`);
  const watch = await listen(door, 'WATCH');
  await postWorkitem(door, '2.25.1');
  await changeState(door, '2.25.1', 'IN PROGRESS', '2.25.9');
  await send(door, 'POST', '/workitems/2.25.1?2.25.9', { '00741002': el('SQ', { '00741004': el('DS', 30) }) });
  await send(door, 'POST', '/workitems/2.25.1?2.25.9', { '00404041': el('CS', 'UNAVAILABLE') });
  await send(door, 'POST', '/workitems/2.25.1?2.25.9', { '00404025': el('SQ', code('WS2', '99LOCAL')) });
  await send(door, 'POST', '/workitems/2.25.1/cancelrequest', { '00741238': el('LT', 'hurry') });
  await send(door, 'POST', '/workitems/2.25.1?2.25.9', PERFORMED);
  await changeState(door, '2.25.1', 'COMPLETED', '2.25.9');
  await watch.count(8);
  assert.deepEqual(watch.events.map(told), [
    '1 2.25.1 SCHEDULED',
    '5 2.25.1 assigned',
    '1 2.25.1 IN PROGRESS',
    '3 2.25.1 30',
    '1 2.25.1 IN PROGRESS',
    '5 2.25.1 assigned',
    '2 2.25.1 local',
    '1 2.25.1 COMPLETED',
  ]);
  assert.equal(watch.events[6]?.['00741238']?.Value?.[0], 'hurry');
  assert.equal(watch.events[4]?.['00404041']?.Value?.[0], 'UNAVAILABLE');
  assert.ok(watch.events.every((event) => event['00081195'] === undefined));
  await watch.close();
});

test('PS3.18-8.10.4.3-upgrade: the connection is opened by 101 with Upgrade, Connection and the accept key of RFC 6455', async (t) => {
  const door = await open(t);
  await subscribe(door, WORKLIST, 'RAW');
  const socket = connect(door.port, '127.0.0.1').setEncoding('latin1');
  t.after(() => socket.destroy());
  // The example of RFC 6455 1.3.
  socket.write(
    `GET /dicom-web/ws/subscribers/RAW HTTP/1.1\r\nHost: 127.0.0.1:${door.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n` +
      'Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n',
  );
  let head = '';
  while (!head.includes('\r\n\r\n')) head += String((await once(socket, 'data'))[0]);
  assert.match(head, /^HTTP\/1\.1 101 /);
  for (const line of [
    'Upgrade: websocket',
    'Connection: Upgrade',
    'Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=',
  ])
    assert.ok(head.toLowerCase().includes(`\r\n${line.toLowerCase()}\r\n`), line);
});

test('UPS-queue: what happens while nobody is connected waits, bounded, and is told once on the next connection', async (t) => {
  const door = await open(t, 'worklist: { eventsPerSubscriber: 4 }\n');
  await subscribe(door, WORKLIST, 'LATE');
  for (let at = 1; at <= 5; at++) await postWorkitem(door, `2.25.${at}`, { '00404025': el('SQ') });
  const late = await listen(door, 'LATE');
  await late.count(4);
  assert.deepEqual(
    late.events.map(told),
    [2, 3, 4, 5].map((at) => `1 2.25.${at} SCHEDULED`),
    'the oldest was given up',
  );
  await late.close();
  await postWorkitem(door, '2.25.6', { '00404025': el('SQ') });
  const again = await listen(door, 'LATE', {}, '/ws');
  await again.count(1);
  assert.deepEqual(again.events.map(told), ['1 2.25.6 SCHEDULED']);
  await again.close();
});

/** Kinds of events that wait for a subscriber, in their order. */
const waiting = (door: Door, aet: string): string[] =>
  door.gateway.database
    .all('SELECT json FROM step_event WHERE aet = ? ORDER BY id', aet)
    .map((row) => told(JSON.parse(String(row['json'])) as JsonDataSet));
const unassigned = { '00404025': el('SQ') };
const OTHER_LIST = { ...unassigned, '00741202': el('LO', 'OTHER') };

test('PS3.18-11.10.2-workitem: who subscribes to a work item is told its state at once and every change, of no other', async (t) => {
  const door = await open(t);
  await postWorkitem(door, '2.25.1', unassigned);
  await postWorkitem(door, '2.25.2', unassigned);
  await subscribe(door, '2.25.1', 'ONE');
  assert.deepEqual(waiting(door, 'ONE'), ['1 2.25.1 SCHEDULED'], 'the current state at once');
  await changeState(door, '2.25.2', 'IN PROGRESS', '2.25.9');
  await changeState(door, '2.25.1', 'IN PROGRESS', '2.25.9');
  assert.deepEqual(waiting(door, 'ONE').slice(1), ['1 2.25.1 IN PROGRESS']);
});

test('PS3.4-CC.2.3-2: with a deletion lock who subscribes to the worklist is told what is in it, without one what happens from now on', async (t) => {
  const door = await open(t);
  await postWorkitem(door, '2.25.1', unassigned);
  await postWorkitem(door, '2.25.2', OTHER_LIST);
  await subscribe(door, WORKLIST, 'LOCK', '?deletionlock=true');
  assert.deepEqual(waiting(door, 'LOCK'), ['1 2.25.1 SCHEDULED', '1 2.25.2 SCHEDULED']);
  await subscribe(door, WORKLIST, 'NOLOCK', '?deletionlock=false');
  assert.deepEqual(waiting(door, 'NOLOCK'), []);
  await postWorkitem(door, '2.25.3', unassigned);
  assert.deepEqual(waiting(door, 'NOLOCK'), ['1 2.25.3 SCHEDULED']);
  assert.deepEqual(waiting(door, 'LOCK').slice(2), ['1 2.25.3 SCHEDULED']);
});

test('PS3.18-11.10.1.2-filter: who subscribes to the filtered worklist is told what matches, now and later', async (t) => {
  const door = await open(t);
  await postWorkitem(door, '2.25.1', unassigned);
  await postWorkitem(door, '2.25.2', OTHER_LIST);
  const filtered = await subscribe(door, FILTERED, 'SOME', '?deletionlock=true&filter=WorklistLabel%3DOTHER');
  assert.equal(filtered.status, 201);
  assert.deepEqual(waiting(door, 'SOME'), ['1 2.25.2 SCHEDULED']);
  await postWorkitem(door, '2.25.3', unassigned);
  await postWorkitem(door, '2.25.4', OTHER_LIST);
  assert.deepEqual(waiting(door, 'SOME').slice(1), ['1 2.25.4 SCHEDULED']);
});

test('PS3.18-11.12.2-suspended: a subscription to the worklist that is suspended takes in no new work items, and keeps those it has', async (t) => {
  const door = await open(t);
  await subscribe(door, WORKLIST, 'REST');
  await postWorkitem(door, '2.25.3', unassigned);
  assert.equal((await send(door, 'POST', `/workitems/${WORKLIST}/subscribers/REST/suspend`)).status, 200);
  assert.equal((await send(door, 'POST', `/workitems/${WORKLIST}/subscribers/REST/suspend`)).status, 404);
  await postWorkitem(door, '2.25.5', unassigned);
  await changeState(door, '2.25.3', 'IN PROGRESS', '2.25.9');
  assert.deepEqual(waiting(door, 'REST'), ['1 2.25.3 SCHEDULED', '1 2.25.3 IN PROGRESS']);
});

test('PS3.18-11.11.2-unsubscribed: who has unsubscribed is told nothing more; who never subscribed is 404', async (t) => {
  const door = await open(t);
  await postWorkitem(door, '2.25.1', OTHER_LIST);
  await subscribe(door, FILTERED, 'SOME', '?deletionlock=true&filter=WorklistLabel%3DOTHER');
  await subscribe(door, '2.25.1', 'ONE');
  for (const path of [`/workitems/${FILTERED}/subscribers/SOME`, '/workitems/2.25.1/subscribers/ONE']) {
    assert.equal((await send(door, 'DELETE', path)).status, 200, path);
    assert.equal((await send(door, 'DELETE', path)).status, 404, path);
  }
  await changeState(door, '2.25.1', 'IN PROGRESS', '2.25.9');
  for (const aet of ['SOME', 'ONE']) assert.deepEqual(waiting(door, aet), ['1 2.25.1 SCHEDULED'], aet);
  for (const [method, path] of [
    ['POST', '/workitems/2.25.99/subscribers/ONE'],
    ['DELETE', `/workitems/${WORKLIST}/subscribers/NOBODY`],
  ] as const)
    assert.equal((await send(door, method, path)).status, 404, path);
});

test('PS3.18-11.10.3.1-syntax: a filter that is none or out of place, a lock that is none and a title that is none are 400', async (t) => {
  const door = await open(t);
  await postWorkitem(door, '2.25.1', unassigned);
  for (const path of [
    `/workitems/${FILTERED}/subscribers/SOME`,
    `/workitems/${FILTERED}/subscribers/SOME?filter=Nonsense%3D1`,
    `/workitems/${FILTERED}/subscribers/SOME?filter=limit%3D1`,
    `/workitems/${WORKLIST}/subscribers/SOME?filter=WorklistLabel%3DOTHER`,
    `/workitems/${WORKLIST}/subscribers/SOME?deletionlock=maybe`,
    `/workitems/${WORKLIST}/subscribers/THIS-TITLE-IS-TOO-LONG`,
    '/workitems/2.25.1/subscribers/ONE/suspend',
    '/workitems/nonsense/subscribers/ONE',
  ])
    assert.equal((await send(door, 'POST', path)).status, 400, path);
});

test('PS3.4-CC.2.4.3-status: who follows anything is told that the server goes down; the connection ends with 1001', async (t) => {
  const door = await open(t);
  await subscribe(door, WORKLIST, 'WATCH');
  const watch = await listen(door, 'WATCH');
  await announceClosing(door.app);
  assert.equal(await watch.closed, 1001);
  assert.deepEqual(watch.events.map(told), [`4 ${WORKLIST} GOING DOWN`]);
});

test('UPS-connection: a title belongs to who used it first; no token, foreign page, bad title and plain GET are refused', async (t) => {
  const hash = (token: string): string => createHash('sha256').update(token).digest('hex');
  const tokens = ['a', 'b', 'it'].map(
    (name) =>
      `    - { name: ${name}, sha256: ${hash(name)}, roles: [${name === 'it' ? 'viewer, radiology-it' : 'viewer'}] }`,
  );
  const door = await open(t, `access:\n  tokens:\n${tokens.join('\n')}\n`);
  const as = (name: string) => ({ authorization: `Bearer ${name}` });
  const path = `/workitems/${WORKLIST}/subscribers/MINE`;
  assert.equal((await send(door, 'POST', path, undefined, as('a'))).status, 201);
  assert.equal((await send(door, 'DELETE', path, undefined, as('b'))).status, 403);
  await assert.rejects(listen(door, 'MINE', as('b')));
  await assert.rejects(listen(door, 'MINE'));
  await assert.rejects(listen(door, 'MINE', { ...as('a'), origin: 'https://evil.example.org' }));
  await assert.rejects(listen(door, 'THIS-TITLE-IS-TOO-LONG', as('a')));
  await assert.rejects(listen(door, 'MINE', as('a'), '/elsewhere'));
  const first = await listen(door, 'MINE', as('a'));
  const second = await listen(door, 'MINE', as('it'));
  assert.equal(await first.closed, 4000, 'the later connection takes over');
  await second.close();
  const plain = await fetch(`${door.url}/ws/subscribers/MINE`, { headers: as('a') });
  assert.equal(plain.status, 426);
  assert.equal(plain.headers.get('upgrade'), 'websocket');
});
