/** UPS-RS (PS3.18 11.4 to 11.9) over a real socket: Microsoft's flows, every status and Warning of the state table, privacy. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { after, before, test } from 'node:test';
import fc from 'fast-check';
import { fill, openDoor, type Door, type JsonDataSet } from './door.ts';
import {
  changeState,
  code,
  el,
  PERFORMED,
  postWorkitem,
  readWorkitem,
  REASON,
  send,
  valueOf as value,
  workitem,
} from './workitem.ts';

let door: Door;
before(async () => {
  door = await openDoor();
  await fill(door, { patientID: 'PSEUDO-1', patientName: 'Pseudo^One', studyInstanceUID: '2.25.900' });
});
after(() => door.close());

let last = 1000;
/** A new work item in this state, claimed under 2.25.1 where it has been claimed. */
async function inState(state: string): Promise<string> {
  const uid = `2.25.${++last}`;
  assert.equal((await postWorkitem(door, uid)).status, 201);
  if (state === 'SCHEDULED') return uid;
  assert.equal((await changeState(door, uid, 'IN PROGRESS', '2.25.1')).status, 200);
  if (state === 'IN PROGRESS') return uid;
  assert.equal((await send(door, 'POST', `/workitems/${uid}?2.25.1`, { ...PERFORMED, ...REASON })).status, 200);
  assert.equal((await changeState(door, uid, state, '2.25.1')).status, 200);
  return uid;
}

test('UPS-flow-complete: add, retrieve, claim, progress, complete', async () => {
  const created = await postWorkitem(door, '2.25.1');
  assert.equal(created.status, 201);
  assert.equal(created.warning, null);
  assert.equal(created.headers.get('location'), `${door.url}/workitems/2.25.1`);
  assert.equal(created.text, '');
  const scheduled = await readWorkitem(door, '2.25.1');
  assert.equal(value(scheduled, '00741000'), 'SCHEDULED');
  assert.equal(value(scheduled, '00080018'), '2.25.1');
  assert.equal(value(scheduled, '00080016'), '1.2.840.10008.5.1.4.34.6.1');
  assert.equal((await changeState(door, '2.25.1', 'IN PROGRESS', '2.25.5')).status, 200);
  const progress = { '00741002': el('SQ', { '00741004': el('DS', 40), '00741006': el('ST', 'looking') }) };
  assert.equal((await send(door, 'POST', '/workitems/2.25.1?transaction-uid=2.25.5', progress)).status, 200);
  const performed = { ...PERFORMED, '00081195': el('UI', '2.25.5') };
  assert.equal((await send(door, 'POST', '/workitems/2.25.1', performed)).status, 200);
  assert.equal((await changeState(door, '2.25.1', 'COMPLETED', '2.25.5')).status, 200);
  const completed = await readWorkitem(door, '2.25.1');
  assert.equal(value(completed, '00741000'), 'COMPLETED');
  assert.equal(completed['00081195'], undefined);
  assert.deepEqual(completed['00741216'], PERFORMED['00741216']);
});

test('UPS-flow-cancel: a request cancels what nobody has begun, by way of IN PROGRESS; its performer cancels what is', async () => {
  const uid = await inState('SCHEDULED');
  const cancel = await send(door, 'POST', `/workitems/${uid}/cancelrequest`, { '00741238': el('LT', 'not needed') });
  assert.equal(cancel.status, 202);
  const canceled = await readWorkitem(door, uid);
  assert.equal(value(canceled, '00741000'), 'CANCELED');
  const [progress] = (canceled['00741002']?.Value ?? []) as JsonDataSet[];
  assert.equal(progress?.['00741238']?.Value?.[0], 'not needed');
  assert.match(String(progress?.['00404052']?.Value?.[0]), /^\d{14}/);
  assert.equal((progress?.['0074100E']?.Value?.[0] as JsonDataSet)['00080100']?.Value?.[0], '110513');

  const claimed = await inState('IN PROGRESS');
  const early = await changeState(door, claimed, 'CANCELED', '2.25.1');
  assert.deepEqual([early.status, early.warning], [409, INCONSISTENT]);
  assert.equal((await send(door, 'POST', `/workitems/${claimed}?2.25.1`, REASON)).status, 200);
  assert.equal((await changeState(door, claimed, 'CANCELED', '2.25.1')).status, 200);
  const [given] = ((await readWorkitem(door, claimed))['00741002']?.Value ?? []) as JsonDataSet[];
  assert.match(String(given?.['00404052']?.Value?.[0]), /^\d{14}/, 'the moment is filled in');
});

const INCONSISTENT = 'The submitted request is inconsistent with the state of the UPS Instance.';
const MISSING = 'The Transaction UID is missing.';
const WRONG = 'The Transaction UID is incorrect.';

/** PS3.4 table CC.1.1-2: what a request for a state is answered with, its Warning the last. */
const TRANSITIONS: Record<string, Record<string, readonly [number, string | null]>> = {
  SCHEDULED: { 'IN PROGRESS': [200, null], COMPLETED: [409, INCONSISTENT], CANCELED: [409, INCONSISTENT] },
  'IN PROGRESS': { 'IN PROGRESS': [409, INCONSISTENT], COMPLETED: [409, INCONSISTENT], CANCELED: [409, INCONSISTENT] },
  COMPLETED: {
    'IN PROGRESS': [409, INCONSISTENT],
    COMPLETED: [200, 'The UPS is already in the requested state of COMPLETED.'],
    CANCELED: [409, INCONSISTENT],
  },
  CANCELED: {
    'IN PROGRESS': [409, INCONSISTENT],
    COMPLETED: [409, INCONSISTENT],
    CANCELED: [200, 'The UPS is already in the requested state of CANCELED.'],
  },
};
const TARGETS = ['SCHEDULED', 'IN PROGRESS', 'COMPLETED', 'CANCELED'];

test('PS3.18-11.7.3: every cell of the state table has its status and its Warning', async () => {
  for (const [state, row] of Object.entries(TRANSITIONS))
    for (const target of TARGETS) {
      const { status, warning } = await changeState(door, await inState(state), target, '2.25.1');
      assert.deepEqual([status, warning], row[target] ?? [409, INCONSISTENT], `${state} -> ${target}`);
    }
});

test('PS3.18-11.7.3.2-missing: a change of state without a Transaction UID is 400 with its Warning, from and to any state', async () => {
  for (const state of Object.keys(TRANSITIONS)) {
    const uid = await inState(state);
    for (const target of TARGETS) {
      const { status, warning } = await changeState(door, uid, target);
      assert.deepEqual([status, warning], [400, MISSING], `${state} -> ${target}`);
    }
    assert.equal(value(await readWorkitem(door, uid), '00741000'), state);
  }
});

test('PS3.18-11.7.3.2-incorrect: another Transaction UID than that of the claim is 400 with its Warning, and changes nothing', async () => {
  for (const state of ['IN PROGRESS', 'COMPLETED', 'CANCELED']) {
    const uid = await inState(state);
    for (const target of TARGETS) {
      const { status, warning } = await changeState(door, uid, target, '2.25.2');
      assert.deepEqual([status, warning], [400, WRONG], `${state} -> ${target}`);
    }
    assert.equal(value(await readWorkitem(door, uid), '00741000'), state);
  }
  assert.equal((await changeState(door, await inState('SCHEDULED'), 'IN PROGRESS', 'nonsense')).status, 400);
});

test('PS3.18-11.7.1.4-state: what is no state of a work item is 400', async () => {
  const uid = await inState('SCHEDULED');
  for (const bad of ['', 'DONE', 'CANCELLED', 'in progress']) {
    const { status, warning } = await changeState(door, uid, bad, '2.25.1');
    assert.deepEqual([status, warning], [400, INCONSISTENT], bad);
  }
  assert.equal((await changeState(door, '2.25.999999', 'IN PROGRESS', '2.25.1')).status, 404);
});

test('PS3.18-11.6.3: who may update what, with the prescribed Warning', async () => {
  const label = { '00741204': el('LO', 'changed') };
  const unclaimed = 'The target URI did not reference a claimed Workitem.';
  const inconsistent = 'The submitted request is inconsistent with the current state of the Workitem.';
  for (const [state, query, status, warning] of [
    ['SCHEDULED', '', 200, null],
    ['SCHEDULED', '?2.25.1', 400, unclaimed],
    ['IN PROGRESS', '', 400, unclaimed],
    ['IN PROGRESS', '?2.25.2', 400, unclaimed],
    ['IN PROGRESS', '?2.25.1', 200, null],
    ['COMPLETED', '?2.25.1', 400, inconsistent],
    ['CANCELED', '?2.25.1', 400, inconsistent],
  ] as const) {
    const uid = await inState(state);
    const answer = await send(door, 'POST', `/workitems/${uid}${query}`, label);
    assert.deepEqual([answer.status, answer.warning], [status, warning], `${state} ${query}`);
    assert.equal(value(await readWorkitem(door, uid), '00741204'), status === 200 ? 'changed' : 'Interpretation');
  }
});

test('PS3.18-11.6.1.4-allowed: what an update may not change, or is no value, is 400 and not repeated', async () => {
  const uid = await inState('SCHEDULED');
  for (const refused of [
    { '00741000': el('CS', 'COMPLETED') },
    { '00100010': el('PN', { Alphabetic: 'A^B' }) },
    { '00100020': el('LO', 'x') },
    { '0040A370': el('SQ') },
    { '00741204': el('LO') },
    { '00741200': el('CS', 'SOON') },
    { '00404041': el('CS', 'MAYBE') },
    { '00404005': el('DT', 'tomorrow') },
    { '00741204': el('LT', 'another VR') },
    { '00080018': el('UI', '2.25.3') },
  ]) {
    const answer = await send(door, 'POST', `/workitems/${uid}`, refused);
    assert.equal(answer.status, 400, JSON.stringify(refused));
    assert.doesNotMatch(answer.text, /SOON|MAYBE|tomorrow|another VR/, 'no value in the answer');
  }
});

test('PS3.18-11.6.3.2-optional: an optional attribute that is not supported is told by a Warning, and left out', async () => {
  const uid = await inState('SCHEDULED');
  const label = { '00741204': el('LO', 'changed') };
  const optional = await send(door, 'POST', `/workitems/${uid}`, { '0008103E': el('LO', 'x'), ...label });
  assert.deepEqual([optional.status, optional.warning], [200, 'Requested optional Attributes are not supported.']);
  assert.equal((await readWorkitem(door, uid))['0008103E'], undefined);
  assert.equal((await send(door, 'POST', '/workitems/2.25.999999', label)).status, 404);
});

test('PS3.18-11.8.3: a request to cancel what nobody has begun is accepted', async () => {
  const { status, warning } = await send(door, 'POST', `/workitems/${await inState('SCHEDULED')}/cancelrequest`);
  assert.deepEqual([status, warning], [202, null]);
  assert.equal((await send(door, 'POST', '/workitems/2.25.999999/cancelrequest')).status, 404);
});

test('PS3.18-11.8.3.2-already: a request to cancel what has ended is 409, and its Warning says how it ended', async () => {
  for (const [state, ended] of [
    ['COMPLETED', 'The UPS is already COMPLETED.'],
    ['CANCELED', 'The UPS is already in the requested state of CANCELED.'],
  ] as const) {
    const { status, warning } = await send(door, 'POST', `/workitems/${await inState(state)}/cancelrequest`);
    assert.deepEqual([status, warning], [409, ended], state);
  }
});

test('PS3.18-11.8.2-performer: a request to cancel what is under way reaches its performer, who decides; with nobody to reach it is 409', async () => {
  const alone = await send(door, 'POST', `/workitems/${await inState('IN PROGRESS')}/cancelrequest`);
  assert.deepEqual([alone.status, alone.warning], [409, 'The performer cannot be contacted.']);
  const watched = await inState('IN PROGRESS');
  assert.equal((await send(door, 'POST', `/workitems/${watched}/subscribers/PERFORMER`)).status, 201);
  assert.equal((await send(door, 'POST', `/workitems/${watched}/cancelrequest`)).status, 202);
  assert.equal(value(await readWorkitem(door, watched), '00741000'), 'IN PROGRESS', 'its performer decides');
});

test('PS3.18-11.4.1.4-type-1: a creation without what is of type 1, or with it empty, is 400', async () => {
  for (const key of ['00741200', '00741204', '00404005', '00404041', '00741000']) {
    const { [key]: _left, ...rest } = workitem();
    assert.equal((await send(door, 'POST', '/workitems?2.25.50', rest)).status, 400, `${key} missing`);
    assert.equal((await send(door, 'POST', '/workitems?2.25.50', { ...rest, [key]: el('CS') })).status, 400, key);
  }
  assert.equal((await send(door, 'GET', '/workitems/2.25.50')).status, 404);
});

test('PS3.18-11.4.1.4-forbidden: a creation with what only later steps may say, or with an Affected SOP Instance UID, is 400', async () => {
  for (const wrong of [
    { '00741000': el('CS', 'IN PROGRESS') },
    { '00081195': el('UI', '2.25.1') },
    { '00741002': el('SQ', { '00741004': el('DS', 1) }) },
    PERFORMED,
    { '00001000': el('UI', '2.25.50') },
    { '00080018': el('UI', '2.25.51') },
    { '00404034': el('SQ', { '00404009': el('SQ', code('x')) }) },
  ])
    assert.equal((await postWorkitem(door, '2.25.50', wrong)).status, 400, JSON.stringify(wrong));
});

test('PS3.18-11.4.3: a work item that is created is 201 and named by Location; one whose UID is in use is 409', async () => {
  const created = await postWorkitem(door, '2.25.57');
  assert.deepEqual([created.status, created.headers.get('location')], [201, `${door.url}/workitems/2.25.57`]);
  assert.equal(value(await readWorkitem(door, '2.25.57'), '00741000'), 'SCHEDULED');
  assert.equal((await postWorkitem(door, '2.25.57')).status, 409);
});

test('PS3.18-11.4.1.1-uid: the UID stands in the query, or in the data set, or is given; what is none is 400', async () => {
  assert.equal((await postWorkitem(door, '1.2.840.10008.5.1.4.34.5')).status, 400, 'the worklist itself');
  assert.equal((await send(door, 'POST', '/workitems?workitem=2.25.52', [workitem()])).status, 201);
  const named = await send(door, 'POST', '/workitems', workitem({ '00080018': el('UI', '2.25.53') }));
  assert.equal(named.headers.get('location'), `${door.url}/workitems/2.25.53`);
  const unnamed = await send(door, 'POST', '/workitems', workitem());
  assert.match(unnamed.headers.get('location') ?? '', /\/workitems\/2\.25\.\d{20,}$/);
  for (const query of ['?abc=1', '?1.02', '?2.25.54&2.25.55', '?workitem=x'])
    assert.equal((await send(door, 'POST', `/workitems${query}`, workitem())).status, 400, query);
});

test('UPS-type-2: what may be empty and was left out is filled in, and the answer says so', async () => {
  const { '00741202': _label, '00404026': _class, ...rest } = workitem();
  const created = await send(door, 'POST', '/workitems?2.25.60', rest);
  assert.deepEqual([created.status, created.warning], [201, 'The Workitem was created with modifications.']);
  const object = await readWorkitem(door, '2.25.60');
  assert.deepEqual(object['00404026'], { vr: 'SQ' });
  assert.equal(typeof value(object, '00741202'), 'string');
});

test('UPS-privacy: what names a person is emptied, at any depth; the pseudonyms of the archive stay', async () => {
  const canary = 'CANARY';
  const created = await postWorkitem(door, '2.25.70', {
    '00100010': el('PN', { Alphabetic: `${canary}^Jane` }),
    '00100020': el('LO', canary),
    '00100030': el('DA', '19601231'),
    '00400400': el('LT', `${canary} lives next door`),
    '00101002': el('SQ', { '00100020': el('LO', canary) }),
    '0040A370': el('SQ', {
      '0020000D': el('UI', '2.25.77'),
      '00080050': el('SH', canary),
      '00321032': el('PN', { Alphabetic: canary }),
    }),
    '00404034': el('SQ', {
      '00404009': el('SQ', code('DR7', '99LOCAL', 'reader')),
      '00404037': el('PN', { Alphabetic: canary }),
      '00404036': el('LO', 'Radiology'),
    }),
    '00091001': el('LO', canary),
    '00090010': el('LO', canary),
  });
  assert.deepEqual([created.status, created.warning], [201, 'The Workitem was created with modifications.']);
  const text = JSON.stringify(await readWorkitem(door, '2.25.70'));
  assert.doesNotMatch(text, /CANARY|19601231/);
  assert.match(text, /DR7/);
  for (const query of ['PatientID=CANARY', 'PatientName=CANARY*', 'ReferencedRequestSequence.AccessionNumber=CANARY'])
    assert.equal((await send(door, 'GET', `/workitems?${query}`)).status, 204, query);
  const rows = door.gateway.database.all("SELECT 1 AS one FROM step WHERE json LIKE '%CANARY%'");
  const keys = door.gateway.database.all("SELECT 1 AS one FROM step_key WHERE lower(value) LIKE '%canary%'");
  assert.deepEqual([rows.length, keys.length], [0, 0]);

  const known = await postWorkitem(door, '2.25.71', {
    '00100010': el('PN', { Alphabetic: 'Pseudo^One' }),
    '00100020': el('LO', 'PSEUDO-1'),
  });
  assert.deepEqual([known.status, known.warning], [201, null]);
  assert.equal(value(await readWorkitem(door, '2.25.71'), '00100020'), 'PSEUDO-1');
  const found = await send(door, 'GET', '/workitems?PatientName=pseudo*&PatientID=PSEUDO-1');
  assert.equal((JSON.parse(found.text) as unknown[]).length, 1);
});

test('UPS-race: of many who claim at once exactly one wins, and only that one can go on', async () => {
  const uid = await inState('SCHEDULED');
  const transactions = Array.from({ length: 16 }, (_, at) => `2.25.${5000 + at}`);
  const answers = await Promise.all(transactions.map((one) => changeState(door, uid, 'IN PROGRESS', one)));
  const winners = transactions.filter((_, at) => answers[at]?.status === 200);
  assert.equal(winners.length, 1);
  for (const [at, { status, warning }] of answers.entries())
    if (transactions[at] !== winners[0]) assert.deepEqual([status, warning], [400, WRONG]);
  for (const one of transactions) {
    const { status } = await send(door, 'POST', `/workitems/${uid}?${one}`, PERFORMED);
    assert.equal(status, one === winners[0] ? 200 : 400);
  }
});

test('UPS-fuzzy: fuzzy matching only ever adds', async () => {
  const ask = async (query: string): Promise<number> => {
    const { status, text } = await send(door, 'GET', `/workitems?${query}`);
    return status === 204 ? 0 : (JSON.parse(text) as unknown[]).length;
  };
  await postWorkitem(door, '2.25.72', { '00100010': el('PN', { Alphabetic: 'Pseudo^One' }) });
  assert.equal(await ask('PatientName=One%20Pseudo'), 0);
  assert.ok((await ask('PatientName=One%20Pseudo&fuzzymatching=true')) >= 1);
  assert.ok((await ask('PatientName=Pseud*&fuzzymatching=true')) >= (await ask('PatientName=Pseud*')));
});

test('UPS-gone: what has been cleaned up is 410, and its UID is not given again', async () => {
  const uid = await inState('COMPLETED');
  const kept = await inState('COMPLETED');
  assert.equal((await send(door, 'POST', `/workitems/${kept}/subscribers/KEEPER?deletionlock=true`)).status, 201);
  const { deleteEndedWork } = await import('../../src/workitems.ts');
  deleteEndedWork(door.gateway.workItems, door.gateway.now() + 1);
  assert.equal((await send(door, 'GET', `/workitems/${uid}`)).status, 410);
  assert.equal((await changeState(door, uid, 'CANCELED', '2.25.1')).status, 410);
  assert.equal((await postWorkitem(door, uid)).status, 409);
  assert.equal((await send(door, 'GET', `/workitems/${kept}`)).status, 200, 'a deletion lock keeps it');
  assert.equal((await send(door, 'DELETE', `/workitems/${kept}/subscribers/KEEPER`)).status, 200);
  deleteEndedWork(door.gateway.workItems, door.gateway.now() + 1);
  assert.equal((await send(door, 'GET', `/workitems/${kept}`)).status, 410);
});

test('UPS-roles: reading takes viewer, writing sender or radiology-it; a foreign page changes nothing', async () => {
  const hash = (token: string): string => createHash('sha256').update(token).digest('hex');
  const other = await openDoor(
    `access:\n  tokens:\n${['viewer', 'sender', 'radiology-it', 'privacy-officer']
      .map((role) => `    - { name: ${role}, sha256: ${hash(role)}, roles: [${role}] }`)
      .join('\n')}\n`,
  );
  try {
    const as = (role: string) => ({ authorization: `Bearer ${role}` });
    for (const [role, expected] of [
      ['viewer', 403],
      ['privacy-officer', 403],
      ['sender', 201],
      ['radiology-it', 201],
    ] as const) {
      const { status } = await send(other, 'POST', `/workitems?2.25.${role.length}`, workitem(), as(role));
      assert.equal(status, expected, role);
    }
    assert.equal((await send(other, 'GET', '/workitems', undefined, as('sender'))).status, 403);
    assert.equal((await send(other, 'GET', '/workitems', undefined, as('viewer'))).status, 200);
    assert.equal((await send(other, 'GET', '/workitems')).status, 401);
    const path = '/workitems/1.2.840.10008.5.1.4.34.5/subscribers/EYE';
    const locked = await send(other, 'POST', `${path}?deletionlock=true`, undefined, as('viewer'));
    assert.deepEqual([locked.status, locked.warning], [201, 'Deletion Lock not granted.']);
  } finally {
    await other.close();
  }
  const headers = { 'sec-fetch-site': 'cross-site', origin: 'https://evil.example.org' };
  const uid = await inState('SCHEDULED');
  assert.equal((await send(door, 'POST', `/workitems/${uid}/cancelrequest`, undefined, headers)).status, 403);
});

test('UPS-fuzz: no payload makes an internal error, and none is told back', async () => {
  const uid = await inState('SCHEDULED');
  const keys = Object.keys(workitem());
  const element = fc.oneof(
    fc.jsonValue(),
    fc.record({ vr: fc.constantFrom('LO', 'SQ', 'DT', 'PN', 'US', 'XX', 'UI', 'OB'), Value: fc.array(fc.jsonValue()) }),
  );
  const object = fc.dictionary(fc.oneof(fc.constantFrom(...keys), fc.string()), element, { maxKeys: 6 });
  await fc.assert(
    fc.asyncProperty(fc.oneof(fc.jsonValue(), object, fc.array(object)), fc.boolean(), async (body, whole) => {
      const payload = whole && typeof body === 'object' && !Array.isArray(body) ? { ...workitem(), ...body } : body;
      for (const [method, path] of [
        ['POST', '/workitems'],
        ['POST', `/workitems/${uid}`],
        ['PUT', `/workitems/${uid}/state`],
        ['POST', '/workitems/2.25.999999/cancelrequest'],
      ] as const) {
        const { status } = await send(door, method, path, JSON.stringify(payload));
        assert.ok(status < 500, `${method} ${path}: ${status} for ${JSON.stringify(payload)}`);
      }
    }),
    { numRuns: 150 },
  );
  for (const text of ['{', '[]', '[{},{}]', 'null', '\u{1f4a3}', `${'['.repeat(5000)}${']'.repeat(5000)}`])
    assert.equal((await send(door, 'POST', '/workitems', text)).status, 400, text.slice(0, 10));
  assert.equal((await send(door, 'POST', '/workitems', ' '.repeat(5 * 2 ** 20))).status, 413);
});
