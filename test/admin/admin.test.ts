import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import type { AddressInfo } from 'node:net';
import { test, type TestContext } from 'node:test';
import { adminRouter, consoleRouter } from '../../src/admin/router.ts';
import { studyOf } from '../../src/archive/studies.ts';
import { findStudy } from '../../src/deidentify/crosswalk.ts';
import { listHeld } from '../../src/quarantine.ts';
import { buildApp, listen } from '../../src/server.ts';
import { claimWork, failWork } from '../../src/workitems.ts';
import { completeStudies } from '../../src/workflow/complete.ts';
import { ctStudy } from '../phantom/studies.ts';
import { openInFolder, take, takeStudy, type Opened } from '../workflow/opened.ts';

const PATIENT = { name: 'Muster^Erika', id: 'KH-1', birthDate: '19631112', sex: 'F' } as const;
const ROLES = ['viewer', 'sender', 'radiology-it', 'privacy-officer'] as const;
const TOKENS = ROLES.map(
  (role) =>
    `{ name: the ${role}, sha256: ${createHash('sha256').update(`secret-${role}`).digest('hex')}, roles: [${role}] }`,
);

interface Door extends Opened {
  call(
    method: string,
    path: string,
    role?: string,
    body?: unknown,
    headers?: Record<string, string>,
  ): Promise<{ status: number; body: Json }>;
}
type Json = Record<string, unknown> & { length?: number };

async function openDoor(t: TestContext, tokens = true): Promise<Door> {
  const opened = await openInFolder(t, { gateway: tokens ? `access: { tokens: [${TOKENS.join(', ')}] }\n` : '' });
  const { gateway } = opened;
  const app = buildApp(gateway, { api: adminRouter(gateway), console: consoleRouter() });
  const server = await listen(app, { ...gateway.config.http, port: 0 });
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const { port } = server.address() as AddressInfo;
  return {
    ...opened,
    async call(method, path, role, body, headers = {}) {
      const answer = await fetch(`http://127.0.0.1:${port}${path}`, {
        method,
        headers: { ...(role === undefined ? {} : { authorization: `Bearer secret-${role}` }), ...headers },
        ...(body === undefined ? {} : { body: typeof body === 'string' ? body : JSON.stringify(body) }),
      });
      const text = await answer.text();
      const json = (answer.headers.get('content-type') ?? '').includes('json');
      return { status: answer.status, body: (json ? JSON.parse(text) : { text }) as Json };
    },
  };
}

const UNKNOWN = '00000000-0000-4000-8000-000000000000';
const IT = ['radiology-it'];
const BOTH = ['radiology-it', 'privacy-officer'];
const OFFICER = ['privacy-officer'];
const ROUTES: readonly (readonly [string, string, readonly string[], number])[] = [
  ['GET', '/api/status', BOTH, 200],
  ['GET', '/api/work-items', IT, 200],
  ['POST', '/api/work-items/2.25.1/retry', IT, 404],
  ['GET', '/api/ledger/2.25.1', BOTH, 200],
  ['GET', '/api/quarantine', BOTH, 200],
  ['POST', `/api/quarantine/${UNKNOWN}/release`, OFFICER, 404],
  ['DELETE', `/api/quarantine/${UNKNOWN}`, OFFICER, 404],
  ['GET', '/api/quarantine/groups', BOTH, 200],
  ['POST', `/api/quarantine/${UNKNOWN}/view`, OFFICER, 400],
  ['POST', `/api/quarantine/${UNKNOWN}/preview`, OFFICER, 400],
  ['POST', '/api/quarantine/release', OFFICER, 400],
  ['POST', '/api/quarantine/discard', OFFICER, 400],
  ['GET', '/api/studies', BOTH, 200],
  ['GET', '/api/studies/2.25.1/verification', BOTH, 404],
  ['POST', '/api/studies/2.25.1/release', OFFICER, 409],
  ['POST', '/api/disclosures', BOTH, 400],
  ['GET', '/api/disclosures', OFFICER, 200],
  ['POST', `/api/disclosures/${UNKNOWN}/approve`, OFFICER, 404],
  ['POST', `/api/disclosures/${UNKNOWN}/refuse`, OFFICER, 404],
  ['POST', `/api/disclosures/${UNKNOWN}/read`, BOTH, 404],
  ['POST', '/api/patients/merge', OFFICER, 400],
  ['POST', '/api/patients/part', OFFICER, 400],
  ['POST', '/api/erasures', OFFICER, 400],
  ['GET', '/api/erasures', OFFICER, 200],
  ['GET', `/api/erasures/${UNKNOWN}`, OFFICER, 404],
];

test('each path is open to its roles and to nobody else', async (t) => {
  const door = await openDoor(t);
  const body = { project: 'research', profile: 'basic' };
  for (const [method, path, allowed, status] of ROUTES) {
    const sent = method === 'POST' ? body : undefined;
    assert.equal((await door.call(method, path, undefined, sent)).status, 401, `${method} ${path} without token`);
    assert.equal((await door.call(method, path, 'guessed', sent)).status, 401, `${method} ${path} with a wrong token`);
    for (const role of ROLES) {
      const expected = allowed.includes(role) ? status : 403;
      assert.equal((await door.call(method, path, role, sent)).status, expected, `${method} ${path} as ${role}`);
    }
  }
});

test('a page of another site can change nothing, also where no tokens are asked for', async (t) => {
  const door = await openDoor(t, false);
  const from = (site: string): Promise<{ status: number }> =>
    door.call('DELETE', `/api/quarantine/${UNKNOWN}`, undefined, undefined, { 'sec-fetch-site': site });
  assert.equal((await from('cross-site')).status, 403);
  assert.equal((await from('same-site')).status, 403);
  assert.equal((await from('same-origin')).status, 404);
});

test('queries and bodies that cannot be are 400 with a reason', async (t) => {
  const door = await openDoor(t);
  const refused = async (method: string, path: string, role: string, body?: unknown): Promise<void> => {
    const answer = await door.call(method, path, role, body);
    assert.deepEqual([answer.status, answer.body['reason']], [400, 'BadRequest'], path);
  };
  for (const limit of ['0', '1001', 'x', '1.5', '-1'])
    await refused('GET', `/api/work-items?limit=${limit}`, 'radiology-it');
  await refused('GET', '/api/work-items?state=RUNNING', 'radiology-it');
  await refused('GET', '/api/ledger/no-uid', 'radiology-it');
  const release = `/api/quarantine/${UNKNOWN}/release`;
  for (const body of [
    '',
    'null',
    '[]',
    '{"project":"p"}',
    '{"project":"A B","profile":"basic"}',
    '{"project":"p","profile":"none"}',
    '{',
  ]) {
    await refused('POST', release, 'privacy-officer', body === '' ? undefined : body);
  }
  assert.equal((await door.call('POST', release, 'privacy-officer', `"${'x'.repeat(70_000)}"`)).status, 413);
  assert.equal((await door.call('GET', '/api/nothing', 'radiology-it')).status, 404);
});

test('what is sealed is listed without its content, released under a profile, and gone; the actor stands in the trail', async (t) => {
  const door = await openDoor(t);
  const { gateway } = door;
  gateway.rules = { ...gateway.rules, admission: [] };
  const [object] = ctStudy({ patient: PATIENT, slices: 1, size: 8 }).objects;
  assert.ok(object);
  await take(door, object);
  const listed = await door.call('GET', '/api/quarantine', 'radiology-it');
  assert.equal(listed.body.length, 1);
  assert.doesNotMatch(JSON.stringify(listed.body), /Muster|KH-1/);
  const [held] = listHeld(gateway.quarantine, 1);
  const release = await door.call('POST', `/api/quarantine/${held?.id}/release`, 'privacy-officer', {
    project: 'research',
    profile: 'hipaa-safe-harbor',
  });
  assert.equal(release.status, 200);
  assert.match(String(release.body['studyInstanceUID']), /^2\.25\./);
  assert.equal((await door.call('GET', '/api/status', 'privacy-officer')).body['held'], 0);
  assert.deepEqual(
    gateway.database.all('SELECT actor FROM audit').map(({ actor }) => actor),
    ['the privacy-officer'],
  );
});

test('failed work is listed by its state and started anew', async (t) => {
  const door = await openDoor(t);
  const { gateway } = door;
  await takeStudy(door, ctStudy({ patient: PATIENT, slices: 1, size: 8 }).objects);
  door.clock.now += 60_000;
  completeStudies(gateway);
  const item = claimWork(gateway.workItems, 'derive', 60_000);
  assert.ok(item);
  failWork(gateway.workItems, item, 'PipelineRefused: too few slices', { final: true });
  const canceled = await door.call('GET', '/api/work-items?state=CANCELED&limit=10', 'radiology-it');
  assert.equal(canceled.body.length, 1);
  assert.equal((await door.call('POST', `/api/work-items/${item.uid}/retry`, 'radiology-it')).status, 200);
  const { work } = (await door.call('GET', '/api/status', 'radiology-it')).body as { work?: Record<string, number> };
  assert.deepEqual(work, { SCHEDULED: 1, 'IN PROGRESS': 0, COMPLETED: 0, CANCELED: 0 });
});

test('the console is served without a token and holds nothing of the gateway', async (t) => {
  const door = await openDoor(t);
  assert.equal((await door.call('GET', '/')).status, 200);
  assert.equal((await door.call('GET', '/console.js')).status, 200);
  assert.equal((await door.call('GET', '/../package.json')).status, 404);
  assert.equal((await door.call('GET', '/%2e%2e/package.json')).status, 404);
});

test('behind a pseudonym looks only who asked, after another person approved, and for a while', async (t) => {
  const door = await openDoor(t);
  const study = await takeStudy(door, ctStudy({ patient: PATIENT, slices: 1, size: 8 }).objects);
  const ask = {
    project: 'research',
    subject: study,
    reason: 'incidental finding, the referring physician must hear of it',
  };
  assert.equal((await door.call('POST', '/api/disclosures', 'radiology-it', { ...ask, reason: 'why' })).status, 400);
  assert.equal(
    (await door.call('POST', '/api/disclosures', 'radiology-it', { ...ask, subject: '2.25.1' })).status,
    404,
  );
  assert.equal((await door.call('POST', '/api/disclosures', 'radiology-it', { ...ask, project: 'other' })).status, 404);
  const asked = await door.call('POST', '/api/disclosures', 'radiology-it', ask);
  const path = `/api/disclosures/${String(asked.body['id'])}`;
  assert.equal(asked.body['state'], 'ASKED');
  assert.equal((await door.call('POST', `${path}/read`, 'radiology-it')).status, 403);
  const approved = await door.call('POST', `${path}/approve`, 'privacy-officer');
  assert.deepEqual([approved.status, approved.body['state'], approved.body['reason']], [200, 'APPROVED', ask.reason]);
  assert.equal((await door.call('POST', `${path}/approve`, 'privacy-officer')).status, 409);
  assert.equal((await door.call('POST', `${path}/read`, 'privacy-officer')).status, 403, 'only the one who asked');
  const { status, body } = await door.call('POST', `${path}/read`, 'radiology-it');
  assert.equal(status, 200);
  const [patient] = body['patient'] as { attributes: Record<string, string> }[];
  assert.deepEqual([patient?.attributes['00100010'], patient?.attributes['00100020']], [PATIENT.name, PATIENT.id]);
  door.clock.now += 61 * 60_000;
  assert.equal((await door.call('POST', `${path}/read`, 'radiology-it')).status, 403, 'the hour is over');
  const trail = door.gateway.database
    .all('SELECT actor, facts FROM audit')
    .map(({ actor, facts }) => `${String(actor)} ${String(facts)}`);
  for (const step of [
    'radiology-it {"action":"ask',
    'privacy-officer {"action":"approve',
    'radiology-it {"action":"read',
  ])
    assert.equal(trail.filter((line) => line.startsWith(`the ${step}`)).length, 1, step);
  for (const word of [PATIENT.name, PATIENT.id, 'incidental'])
    assert.equal(
      trail.some((line) => line.includes(word)),
      false,
    );
});

test('one person alone looks behind no pseudonym', async (t) => {
  const door = await openDoor(t, false);
  const study = await takeStudy(door, ctStudy({ patient: PATIENT, slices: 1, size: 8 }).objects);
  const ask = { project: 'research', subject: study, reason: 'incidental finding, somebody must hear of it' };
  const { body } = await door.call('POST', '/api/disclosures', undefined, ask);
  const approved = await door.call('POST', `/api/disclosures/${String(body['id'])}/approve`);
  assert.equal(approved.status, 403);
  assert.match(String(approved.body['message']), /another person/);
});

test("records are merged, and studies that come later are one person's", async (t) => {
  const door = await openDoor(t);
  const early = await takeStudy(door, ctStudy({ patient: { ...PATIENT, id: 'KH-OLD' }, slices: 1, size: 8 }).objects);
  const kept = await takeStudy(door, ctStudy({ patient: PATIENT, slices: 1, size: 8 }).objects);
  const body = { project: 'research', from: { id: 'KH-OLD' }, into: { issuer: '', id: PATIENT.id } };
  const merged = await door.call('POST', '/api/patients/merge', 'privacy-officer', body);
  assert.equal(merged.status, 200);
  assert.deepEqual(merged.body['earlierStudies'], [early]);
  assert.equal((await door.call('POST', '/api/patients/merge', 'privacy-officer', body)).status, 400);
  const later = await takeStudy(
    door,
    ctStudy({ patient: { ...PATIENT, id: 'KH-OLD' }, slices: 1, size: 8, studyDate: '20250505' }).objects,
  );
  const patientOf = (study: string): unknown => studyOf(door.gateway.archive, study)?.patientID;
  assert.equal(patientOf(later), patientOf(kept));
  assert.notEqual(patientOf(later), patientOf(early));
  assert.equal(findStudy(door.gateway.wall, 'research', early)?.attributes['00100020'], PATIENT.id);
  assert.equal((await door.call('POST', '/api/patients/part', 'privacy-officer', body)).status, 200);
  assert.equal(findStudy(door.gateway.wall, 'research', early)?.attributes['00100020'], 'KH-OLD');
  assert.equal((await door.call('POST', '/api/patients/part', 'privacy-officer', body)).status, 404);
});

test('a person is erased by the name the hospital uses, and the certificate names nobody', async (t) => {
  const door = await openDoor(t);
  const study = await takeStudy(door, ctStudy({ patient: PATIENT, slices: 2, size: 8 }).objects);
  const body = { record: { id: PATIENT.id }, reason: 'consent-withdrawn', reference: 'DSR 4' };
  const wrong = await door.call('POST', '/api/erasures', 'privacy-officer', { ...body, project: 'research' });
  assert.equal(wrong.status, 400);
  const erased = await door.call('POST', '/api/erasures', 'privacy-officer', body);
  assert.deepEqual([erased.status, erased.body['state']], [200, 'DONE']);
  const text = JSON.stringify(erased.body);
  for (const word of [PATIENT.id, PATIENT.name, study]) assert.equal(text.includes(word), false);
  assert.equal(studyOf(door.gateway.archive, study), undefined);
  const listed = await door.call('GET', '/api/erasures', 'privacy-officer');
  assert.equal(listed.body.length, 1);
  assert.equal((await door.call('POST', '/api/erasures', 'privacy-officer', body)).status, 404);
});
