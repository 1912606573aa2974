/** A look behind a pseudonym, tried by those who may not: alone, under a second token, twice, too late. Each refusal stands in the trail. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test, type TestContext } from 'node:test';
import { firstBrokenRow } from '../../src/audit.ts';
import { ctStudy } from '../phantom/studies.ts';
import { takeStudy } from '../workflow/opened.ts';
import { openAdminDoor, TOKENS, type AdminDoor, type Answer } from './door.ts';

const RULES = `admission:
  - { name: all, when: { callingAE: '*' }, project: research, profile: basic }
processing: []
`;
const PATIENT = { name: 'Nachname^Vorname', id: 'KH-4711', birthDate: '19631112', sex: 'F' } as const;
const REASON = 'incidental finding, the referring physician must hear of it';
const token = (name: string, more: string): string =>
  `{ name: ${name}, ${more}, sha256: ${createHash('sha256').update(`secret-${name}`).digest('hex')} }`;
const HOLDERS = [
  ...TOKENS,
  token('anna-desk', 'person: anna, roles: [privacy-officer]'),
  token('anna-laptop', 'person: anna, roles: [privacy-officer]'),
];

interface Asked extends AdminDoor {
  readonly study: string;
  question(by: string): Promise<string>;
  post(path: string, by: string): Promise<Answer>;
  /** Of the trail: who was refused what, in order, as far as not asked for before. */
  refusals(): string[];
}

async function open(t: TestContext): Promise<Asked> {
  const door = await openAdminDoor(t, { rules: RULES, tokens: HOLDERS });
  const study = await takeStudy(door, ctStudy({ patient: PATIENT, slices: 1, size: 8 }).objects);
  let seen = 0;
  return {
    ...door,
    study,
    question: async (by) => {
      const body = { project: 'research', subject: study, reason: REASON };
      const { status, json } = await door.ask('POST', '/api/disclosures', by, body);
      assert.equal(status, 200);
      return json<{ id: string }>().id;
    },
    post: (path, by) => door.ask('POST', `/api/disclosures/${path}`, by),
    refusals: () => {
      const rows = door.gateway.database.all(
        "SELECT actor, facts FROM audit WHERE event = 'Security Alert' ORDER BY number",
      );
      const fresh = rows.slice(seen);
      seen = rows.length;
      return fresh.map(({ actor, facts }) => `${String(actor)}: ${String(facts)}`);
    },
  };
}

const refused = (actor: string, verb: string, id?: string): string =>
  `${actor}: ${JSON.stringify({ action: `POST /disclosures/:id/${verb}`, ...(id === undefined ? {} : { id }), outcome: 'refused' })}`;

test('DEID-DISCLOSE: whoever has another role neither asks, decides nor reads', async (t) => {
  const door = await open(t);
  const id = await door.question('radiology-it');
  for (const role of ['viewer', 'sender']) {
    for (const verb of ['approve', 'refuse', 'read']) {
      assert.equal((await door.post(`${id}/${verb}`, role)).status, 403);
      assert.deepEqual(door.refusals(), [refused(`the ${role}`, verb, id)]);
    }
    assert.equal((await door.ask('POST', '/api/disclosures', role, { project: 'research' })).status, 403);
    assert.deepEqual(door.refusals(), [`the ${role}: {"action":"POST /disclosures","outcome":"refused"}`]);
  }
  assert.equal((await door.post(`${id}/approve`, 'radiology-it')).status, 403, 'who asks may not decide');
  assert.equal((await door.post(`${id}/read`, 'privacy-officer')).status, 403, 'another than the one who asked');
  assert.equal((await door.post(`${id}/read`, 'radiology-it')).status, 403, 'before anybody has approved');
  assert.deepEqual(door.refusals(), [
    refused('the radiology-it', 'approve', id),
    refused('the privacy-officer', 'read', id),
    refused('the radiology-it', 'read', id),
  ]);
  assert.equal((await door.post(`${PATIENT.id}/read`, 'viewer')).status, 403);
  assert.deepEqual(door.refusals(), [refused('the viewer', 'read')], 'what stands in a path may be a name');
  assert.equal(firstBrokenRow(door.gateway.audit), undefined);
});

test('DEID-DISCLOSE: nobody approves for themselves, in another session or with another token of theirs', async (t) => {
  const door = await open(t);
  const id = await door.question('anna-desk');
  for (const name of ['anna-desk', 'anna-laptop']) {
    for (const headers of [{}, { connection: 'close' }, { cookie: 'session=other', 'x-forwarded-for': '127.0.0.2' }]) {
      const answer = await door.ask('POST', `/api/disclosures/${id}/approve`, name, undefined, headers);
      assert.deepEqual([answer.status, /another person/.test(answer.text)], [403, true], name);
      assert.deepEqual(door.refusals(), [refused(name, 'approve', id)]);
    }
  }
  assert.equal((await door.post(`${id}/approve`, 'privacy-officer')).status, 200);
  assert.equal((await door.post(`${id}/read`, 'anna-laptop')).status, 403, 'what was approved is one token’s');
  assert.equal((await door.post(`${id}/read`, 'anna-desk')).status, 200);
});

test('DEID-DISCLOSE: a decision is made once: said again, or the other way, it changes nothing', async (t) => {
  const door = await open(t);
  for (const [first, second] of [
    ['approve', 'approve'],
    ['approve', 'refuse'],
    ['refuse', 'approve'],
  ] as const) {
    const id = await door.question('radiology-it');
    assert.equal((await door.post(`${id}/${first}`, 'privacy-officer')).status, 200);
    door.clock.now += 50 * 60_000;
    assert.equal((await door.post(`${id}/${second}`, 'privacy-officer')).status, 409);
    assert.deepEqual(door.refusals(), [refused('the privacy-officer', second, id)]);
    assert.equal((await door.post(`${id}/read`, 'radiology-it')).status, first === 'approve' ? 200 : 403);
    door.clock.now += 11 * 60_000;
    assert.equal((await door.post(`${id}/read`, 'radiology-it')).status, 403, 'said again it would have lasted longer');
    door.refusals();
  }
  const id = await door.question('radiology-it');
  const at = await Promise.all(Array.from({ length: 4 }, () => door.post(`${id}/approve`, 'privacy-officer')));
  assert.deepEqual(at.map(({ status }) => status).sort(), [200, 409, 409, 409]);
});

test('DEID-DISCLOSE: a question that nobody decided lapses after a week, an approval after its hour', async (t) => {
  const door = await open(t);
  const id = await door.question('radiology-it');
  door.clock.now += 7 * 86_400_000;
  for (const verb of ['approve', 'refuse']) {
    assert.equal((await door.post(`${id}/${verb}`, 'privacy-officer')).status, 409);
    assert.deepEqual(door.refusals(), [refused('the privacy-officer', verb, id)]);
  }
  assert.equal((await door.post(`${id}/read`, 'radiology-it')).status, 403);
  const later = await door.question('radiology-it');
  assert.equal((await door.post(`${later}/approve`, 'privacy-officer')).status, 200);
  door.clock.now += 60 * 60_000 - 1;
  assert.equal((await door.post(`${later}/read`, 'radiology-it')).status, 200);
  door.refusals();
  door.clock.now += 1;
  const { status, text } = await door.post(`${later}/read`, 'radiology-it');
  assert.equal(status, 403);
  assert.equal(text.includes(PATIENT.name) || text.includes(PATIENT.id), false);
  assert.deepEqual(door.refusals(), [refused('the radiology-it', 'read', later)]);
  assert.equal(firstBrokenRow(door.gateway.audit), undefined);
});
