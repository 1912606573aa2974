/** Hostile use of the doors that lead behind pseudonyms: other roles, methods, bodies, paths, and erasing while the same person arrives. */
import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { request as httpRequest } from 'node:http';
import { join } from 'node:path';
import { test } from 'node:test';
import { instancesOf } from '../../src/archive/instances.ts';
import { continueErasures } from '../../src/workflow/erase.ts';
import { holds, makeFile } from '../deidentify/support.ts';
import { take } from '../workflow/opened.ts';
import { openAdminDoor, ROLES, type AdminDoor } from './door.ts';

const RULES = `admission:
  - { name: all, when: { callingAE: '*' }, project: research, profile: basic }
processing: []
`;

/** Everything of vault, disclosure, erasure, quarantine and release, and who may. */
const PATHS: readonly (readonly [method: string, path: string, roles: readonly string[]])[] = [
  ['POST', '/api/disclosures', ['radiology-it', 'privacy-officer']],
  ['GET', '/api/disclosures', ['privacy-officer']],
  ['POST', '/api/disclosures/x/approve', ['privacy-officer']],
  ['POST', '/api/disclosures/x/refuse', ['privacy-officer']],
  ['POST', '/api/disclosures/x/read', ['radiology-it', 'privacy-officer']],
  ['POST', '/api/patients/merge', ['privacy-officer']],
  ['POST', '/api/patients/part', ['privacy-officer']],
  ['POST', '/api/erasures', ['privacy-officer']],
  ['GET', '/api/erasures', ['privacy-officer']],
  ['GET', '/api/erasures/x', ['privacy-officer']],
  ['GET', '/api/quarantine', ['radiology-it', 'privacy-officer']],
  ['GET', '/api/quarantine/groups', ['radiology-it', 'privacy-officer']],
  ['POST', '/api/quarantine/x/view', ['privacy-officer']],
  ['POST', '/api/quarantine/x/preview', ['privacy-officer']],
  ['POST', '/api/quarantine/x/release', ['privacy-officer']],
  ['DELETE', '/api/quarantine/x', ['privacy-officer']],
  ['POST', '/api/quarantine/release', ['privacy-officer']],
  ['POST', '/api/quarantine/discard', ['privacy-officer']],
  ['GET', '/api/studies/1.2.3/verification', ['radiology-it', 'privacy-officer']],
  ['POST', '/api/studies/1.2.3/release', ['privacy-officer']],
];

test('DEID-ADMIN: each path refuses every other role, nobody, and a forged token, before it reads the body', async (t) => {
  const door = await openAdminDoor(t, { rules: RULES });
  for (const [method, path, roles] of PATHS) {
    for (const role of ROLES) {
      const { status } = await door.ask(method, path, role, method === 'POST' ? {} : undefined);
      if (roles.includes(role)) assert.ok(![401, 403, 500].includes(status), `${method} ${path} ${role}: ${status}`);
      else assert.equal(status, 403, `${method} ${path} ${role}`);
    }
    for (const authorization of [
      '',
      'Bearer ',
      'Bearer secret-privacy-officer2',
      'Basic c2VjcmV0',
      'bearer\tsecret-privacy-officer x',
    ]) {
      const answer = await fetch(door.url + path, { method, headers: { authorization } });
      assert.equal(answer.status, 401, `${method} ${path} ${authorization}`);
      await answer.arrayBuffer();
    }
  }
});

test('DEID-ADMIN: other methods and tricks with paths reach nothing', async (t) => {
  const door = await openAdminDoor(t, { rules: RULES });
  for (const [method, path] of PATHS) {
    for (const other of ['GET', 'POST', 'PUT', 'PATCH', 'DELETE', 'PROPFIND'])
      if (!PATHS.some(([one, at]) => one === other && at === path) && method !== other) {
        const { status } = await door.ask(other, path, 'privacy-officer');
        // `/quarantine/groups` has the form of `/quarantine/:id`.
        assert.ok(status === 404 || status === 405, `${other} ${path}: ${status}`);
      }
  }
  const tricks = [
    '/api/erasures/..%2f..%2fkeys%2fcrosswalk.key',
    '/api/erasures/%2e%2e/%2e%2e/keys/crosswalk.key',
    '/api/../keys/crosswalk.key',
    '/api//erasures',
    '/API/erasures',
    '/api/erasures/%00',
    '/api/erasures/%ff%fe',
    '/api/erasures/%',
    `/api/erasures/${'x'.repeat(7000)}`,
    "/api/erasures/x'%20OR%20'1'='1",
    '/api/studies/..%2f..%2f/verification',
    '/keys/crosswalk.key',
    '/..%2fkeys/crosswalk.key',
  ];
  for (const path of tricks) {
    const { status, body } = await raw(door, path);
    assert.ok(status >= 400 && status < 500, `${path.slice(0, 60)}: ${status}`);
    assert.doesNotMatch(body, /\/tmp|node:|at .*\.ts/, path.slice(0, 60));
  }
});

/** As written: `fetch` would put the path in order. */
function raw(door: AdminDoor, path: string): Promise<{ status: number; body: string }> {
  const { port } = new URL(door.url);
  return new Promise((resolve, reject) => {
    const asked = httpRequest(
      { host: '127.0.0.1', port, path, headers: { authorization: 'Bearer secret-privacy-officer' } },
      (answer) => {
        let body = '';
        answer.on('data', (chunk) => (body += String(chunk)));
        answer.on('end', () => resolve({ status: answer.statusCode ?? 0, body }));
      },
    );
    asked.on('error', reject);
    asked.end();
  });
}

test('DEID-ADMIN: scripts in values of the sealed, in paths and in queries come back as data that no browser runs', async (t) => {
  const door = await openAdminDoor(t, { rules: RULES });
  const evil = '<script>alert(1)</script><img src=x onerror=alert(1)>';
  const object = makeFile({
    '00100010': evil,
    '00100020': evil,
    '00081030': evil,
    '00080016': '1.2.840.10008.5.1.4.1.1.104.1',
  });
  assert.equal((await take(door, object)).quarantined, true);
  const [held] = (await door.ask('GET', '/api/quarantine', 'privacy-officer')).json<{ id: string }[]>();
  const view = { profile: 'basic', project: 'research', reason: 'review', reference: 'PR 12' };
  const encoded = encodeURIComponent(evil);
  const answers = [
    await door.ask('GET', '/api/quarantine', 'privacy-officer'),
    await door.ask('GET', '/api/quarantine/groups', 'privacy-officer'),
    await door.ask('POST', `/api/quarantine/${held?.id}/view`, 'privacy-officer', view),
    await door.ask('POST', `/api/quarantine/${encoded}/view`, 'privacy-officer', view),
    await door.ask('GET', `/api/studies/${encoded}/verification`, 'privacy-officer'),
    await door.ask('GET', `/api/work-items?state=${encoded}`, 'radiology-it'),
    await door.ask('GET', `/api/${encoded}`, 'privacy-officer'),
    await door.ask('GET', `/${encoded}`, 'privacy-officer'),
    await door.ask('GET', '/', 'privacy-officer'),
  ];
  for (const [index, { headers, text }] of answers.entries()) {
    assert.equal(headers.get('x-content-type-options'), 'nosniff', `answer ${index}`);
    assert.match(headers.get('content-security-policy') ?? '', /script-src 'self'/, `answer ${index}`);
    if (!/^application\/json/.test(headers.get('content-type') ?? ''))
      assert.equal(text.includes('<script>alert'), false, `answer ${index}`);
  }
  // Only the officer's look under the seal holds what the object says.
  for (const [index, { text }] of answers.entries())
    if (index !== 2) assert.equal(text.includes('alert(1)'), false, `answer ${index}`);
});

test('DEID-ADMIN: bodies that are too long, no JSON or not what is asked for are refused by name, and do nothing', async (t) => {
  const door = await openAdminDoor(t, { rules: RULES });
  await take(door, makeFile());
  const send = async (path: string, body: string): Promise<{ status: number; text: string }> => {
    const answer = await fetch(door.url + path, {
      method: 'POST',
      body,
      headers: { authorization: 'Bearer secret-privacy-officer' },
    });
    return { status: answer.status, text: await answer.text() };
  };
  const bodies = [
    '',
    'null',
    '[]',
    '"x"',
    '{',
    '{"__proto__":{"project":"research"}}',
    '{"constructor":1}',
    '{"project":["research"],"subject":{"$ne":1},"pseudonym":{},"record":[],"reason":5,"reference":[]}',
    `{"record":{"id":"${'9'.repeat(2000)}"},"reason":"data-subject-request","reference":"x"}`,
    `${'['.repeat(20_000)}`,
    JSON.stringify({
      project: "research' --",
      pseudonym: '%',
      subject: '%',
      reason: 'data-subject-request',
      reference: 'x',
    }),
    JSON.stringify({ record: { id: '*' }, reason: 'data-subject-request', reference: 'x' }),
    JSON.stringify({ record: { id: 'PID-4711' }, reason: 'Meier asked', reference: 'x' }),
    JSON.stringify({ record: { id: 'PID-4711' }, reason: 'data-subject-request', reference: 'Meier, Hans <x>' }),
  ];
  for (const [method, path] of PATHS) {
    if (method !== 'POST' || path.includes('/release')) continue;
    for (const body of bodies) {
      const { status, text } = await send(path, body);
      assert.ok(status >= 400 && status < 500, `${path} ${body.slice(0, 40)}: ${status}`);
      assert.doesNotMatch(text, /Meier|PID-4711/, `${path} ${body.slice(0, 40)}`);
    }
    const long = await send(path, `{"reason":"${'x'.repeat(100_000)}"}`).catch(() => ({ status: 413 }));
    if (!/approve|refuse|read$/.test(path)) assert.equal(long.status, 413, path);
  }
  assert.equal(door.gateway.database.all('SELECT 1 FROM erasure').length, 0);
  assert.equal(door.gateway.database.all('SELECT 1 FROM disclosure').length, 0);
  assert.equal(door.gateway.archive.database.all('SELECT 1 FROM instance').length, 1);
});

test('DEID-ADMIN: whoever arrives while being erased is refused by name or erased too; nothing is left that links', async (t) => {
  const door = await openAdminDoor(t, { rules: RULES });
  const { gateway } = door;
  await take(door, makeFile());
  const study = String(gateway.archive.database.all('SELECT study_uid FROM study')[0]?.['study_uid']);
  const pseudonym = String(gateway.archive.database.all('SELECT patient_id FROM study')[0]?.['patient_id']);
  const uids = instancesOf(gateway.archive, { studyInstanceUID: study }).map(({ sopInstanceUID }) => sopInstanceUID);
  const erase = {
    record: { id: 'PID-4711' },
    reason: 'data-subject-request',
    reference: 'DSR 7',
  };
  // Twice at once, among arrivals of the same and of another study.
  const arrivals = Array.from({ length: 24 }, (_, n) =>
    take(
      door,
      makeFile({ '00080018': `1.2.3.4.500.${n}`, '0020000D': n % 2 === 0 ? '1.2.3.4.1' : `1.2.3.4.600.${n}` }),
    ),
  );
  const [first, second, ...received] = await Promise.all([
    door.ask('POST', '/api/erasures', 'privacy-officer', erase),
    door.ask('POST', '/api/erasures', 'privacy-officer', erase),
    ...arrivals,
  ]);
  assert.equal(first.status, 200, first.text);
  assert.ok([200, 404].includes(second.status), second.text);
  for (const { refusal, stored } of received)
    assert.ok(refusal?.reason === 'Busy' || stored !== undefined, refusal?.message ?? 'neither');
  while ((await continueErasures(gateway)) > 0);
  const { state } = JSON.parse(first.text) as { state: string; id: string };
  const rows = gateway.database.all('SELECT state FROM erasure').map((row) => row['state']);
  assert.ok(state === 'DONE' || rows.every((one) => one === 'DONE'), rows.join());
  // Only who came after the erasure's end is there, under a new pseudonym.
  const left = gateway.archive.database.all('SELECT patient_id FROM study').map((row) => row['patient_id']);
  assert.equal(left.includes(pseudonym), false);
  const rowsLeft = gateway.database.all('SELECT pseudonym FROM crosswalk_patient').map((row) => row['pseudonym']);
  assert.equal(rowsLeft.includes(pseudonym), false);
  assert.equal(gateway.database.all('SELECT 1 FROM crosswalk_leaving').length, 0);
  await door.close();
  const data = join(door.folder, 'data');
  for (const entry of readdirSync(data, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const bytes = readFileSync(join(entry.parentPath, entry.name));
    for (const word of [pseudonym, ...(left.length === 0 ? uids : [])])
      assert.equal(holds(bytes, word), false, `${entry.name} holds a word of the erased`);
  }
});
