/** Search of the Worklist (PS3.18 11.9), sentence by sentence: the rules of 8.3.4 as they hold for work items. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { openDoor, type Door, type JsonDataSet } from './door.ts';
import { changeState, code, el, postWorkitem, send, valueOf } from './workitem.ts';

let door: Door;
before(async () => {
  door = await openDoor();
  for (const [at, hour] of ['08', '10', '12'].entries())
    await postWorkitem(door, `2.25.${at + 1}`, {
      '00404005': el('DT', `20260105${hour}0000+0000`),
      '00741204': el('LO', `step ${at + 1}`),
      '00404018': el('SQ', code(at === 0 ? 'A' : 'B', 'ONE'), code('C', 'TWO')),
    });
});
after(() => door.close());

const searched = async (query: string): Promise<JsonDataSet[]> => {
  const { status, text } = await send(door, 'GET', `/workitems?${query}`);
  if (status === 204) return [];
  assert.equal(status, 200, query);
  return JSON.parse(text) as JsonDataSet[];
};
/** The work items found, by the last part of their UIDs. */
const found = async (query: string): Promise<string> =>
  (await searched(query)).map((one) => String(valueOf(one, '00080018')).slice(5)).join(' ');

test('PS3.18-11.9: without a key every work item is found, in the order of their start', async () => {
  assert.equal(await found(''), '1 2 3');
});

test('PS3.18-11.9.2-keyword: a work item is matched by the keyword of an attribute', async () => {
  assert.equal(await found('ProcedureStepState=SCHEDULED'), '1 2 3');
  assert.equal(await found('ProcedureStepState=CANCELED'), '');
});

test('PS3.18-11.9.2-tag: a work item is matched by the tag of an attribute', async () => {
  assert.equal(await found('00741204=step%202'), '2');
});

test('PS3.18-11.9.2-wildcard: a text of a work item is matched with wild cards', async () => {
  assert.equal(await found('ProcedureStepLabel=step*'), '1 2 3');
  assert.equal(await found('ProcedureStepLabel=*%3F3'), '3');
});

test('PS3.18-11.9.2-path: a work item is matched by a path through a sequence, of keywords or tags', async () => {
  assert.equal(await found('ScheduledWorkitemCodeSequence.CodeValue=B'), '2 3');
  assert.equal(await found('00404018.00080100=A'), '1');
  assert.equal(await found('InputInformationSequence.StudyInstanceUID=2.25.77'), '1 2 3');
});

test('PS3.18-11.9.2-item: the keys of one sequence are matched in one item of it', async () => {
  const keys = 'ScheduledWorkitemCodeSequence.CodeValue=A&ScheduledWorkitemCodeSequence.CodingSchemeDesignator=';
  assert.equal(await found(`${keys}ONE`), '1');
  assert.equal(await found(`${keys}TWO`), '');
});

test('PS3.18-11.9.2-range: a moment of a work item is matched by a range, open at either end or at neither', async () => {
  assert.equal(await found('ScheduledProcedureStepStartDateTime=20260105090000-20260105110000'), '2');
  assert.equal(await found('ScheduledProcedureStepStartDateTime=20260105-'), '1 2 3');
  assert.equal(await found('ScheduledProcedureStepStartDateTime=-20260105083000'), '1');
  assert.equal(await found('ScheduledProcedureStepStartDateTime=20260105100000'), '2');
});

test('PS3.18-11.9.2-list: work items are matched by a list of UIDs', async () => {
  assert.equal(await found('SOPInstanceUID=2.25.1,2.25.3'), '1 3');
});

test('PS3.18-11.9.2-empty: empty value matching finds what has no value, and only where it is asked for', async () => {
  assert.equal(await found('PatientID=%22%22&emptyvaluematching=true'), '1 2 3');
  assert.equal(await found('PatientID=%22%22'), '');
  assert.equal(await found('WorklistLabel=%22%22&emptyvaluematching=true'), '');
});

test('PS3.18-11.9.2-multiple: multiple value matching is taken; what has one value only is matched as it is written', async () => {
  const query = 'ScheduledWorkitemCodeSequence.CodeValue=';
  assert.equal(await found(`${query}A%5CC&multiplevaluematching=true`), '');
  assert.equal(await found(`${query}A%5CC`), '');
});

test('PS3.18-11.9.2-limit: limit is the most work items that are returned', async () => {
  assert.equal(await found('limit=2'), '1 2');
  assert.equal(await found('limit=0'), '');
});

test('PS3.18-11.9.2-offset: offset is how many work items are passed over', async () => {
  assert.equal(await found('limit=2&offset=2'), '3');
  assert.equal(await found('offset=3'), '');
});

test('PS3.18-11.9.2-remaining: a Warning tells how many work items are left', async () => {
  const cut = await send(door, 'GET', '/workitems?limit=1');
  assert.equal(cut.warning, 'There are 2 additional results that can be requested');
  assert.equal((await send(door, 'GET', '/workitems?limit=3')).warning, null);
});

test('PS3.18-11.9.3.1-refused: a key that is none, is not valid or stands twice is 400', async () => {
  for (const query of [
    'limit=-1',
    'limit=x',
    'Nonsense=1',
    'TransactionUID=2.25.1',
    'ProcedureStepState=A&00741000=B',
    'ScheduledProcedureStepStartDateTime=tomorrow',
  ])
    assert.equal((await send(door, 'GET', `/workitems?${query}`)).status, 400, query);
});

test('PS3.18-11.9.3.1-none: no work item found is 204 without a payload', async () => {
  const { status, text, headers } = await send(door, 'GET', '/workitems?ProcedureStepLabel=none');
  assert.deepEqual([status, text, headers.get('content-type')], [204, '', null]);
});

test('PS3.18-11.9.2-type-2: what is of return type 1 or 2 is returned, also empty', async () => {
  const [one] = await searched('limit=1');
  assert.deepEqual(one?.['00404026'], { vr: 'SQ' });
  assert.deepEqual(one?.['00741000']?.Value, ['SCHEDULED']);
});

test('PS3.18-11.9.2-type-1C: the character set, of return type 1C, is returned where a text needs it', async () => {
  const said = { '00080005': el('CS', 'ISO_IR 100'), '00741204': el('LO', 'Läsion 肺') };
  await postWorkitem(door, '2.25.5', said);
  const [one] = await searched('SOPInstanceUID=2.25.5');
  assert.deepEqual(one?.['00080005'], { vr: 'CS', Value: ['ISO_IR 192'] });
  assert.deepEqual(one['00741204']?.Value, ['Läsion 肺']);
});

test('PS3.18-11.9.2-matched: what was matched on is returned', async () => {
  const [one] = await searched('ScheduledProcedureStepModificationDateTime=20200101-&limit=1');
  assert.match(String(valueOf(one ?? {}, '00404010')), /^\d{14}/);
});

test('PS3.18-11.9.2-included: what is asked for is returned, and of return type 3 only then', async () => {
  const [plain] = await searched('limit=1');
  assert.equal(plain?.['00404010'], undefined);
  const [more] = await searched('limit=1&includefield=00404010');
  assert.match(String(valueOf(more ?? {}, '00404010')), /^\d{14}/);
});

test('PS3.18-11.9.1.3-cache: a search sees what has just happened, with Cache-Control or without', async () => {
  await postWorkitem(door, '2.25.4', { '00741204': el('LO', 'cached') });
  for (const headers of [{}, { 'cache-control': 'no-cache' }]) {
    const before = await send(door, 'GET', '/workitems?SOPInstanceUID=2.25.4', undefined, headers);
    assert.match(before.headers.get('cache-control') ?? '', /no-cache|no-store/);
  }
  await changeState(door, '2.25.4', 'IN PROGRESS', '2.25.44');
  assert.equal(await found('SOPInstanceUID=2.25.4&ProcedureStepState=IN%20PROGRESS'), '4');
});
