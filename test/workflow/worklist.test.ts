/** The gateway's own work as others see it by UPS: states, progress, results, cancellation, restart. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { seriesOf, studyOf } from '../../src/archive/studies.ts';
import type { DicomJson } from '../../src/dicom/json.ts';
import { closeGateway, openGateway } from '../../src/gateway.ts';
import { claimWork, failWork, finishWork, retryWork, workItemsOf, type WorkItem } from '../../src/workitems.ts';
import { missingForFinalState, valuesOf } from '../../src/workitems/attributes.ts';
import { nextEvent, WORKLIST } from '../../src/workitems/events.ts';
import { stepNamed, stepOfWork } from '../../src/workitems/steps.ts';
import { completeStudies } from '../../src/workflow/complete.ts';
import { beginErasure, continueErasures } from '../../src/workflow/erase.ts';
import { startPerformer } from '../../src/workflow/perform.ts';
import {
  cancelWorkitem,
  changeWorkitemState,
  createWorkitem,
  followWorklist,
  updateWorkitem,
} from '../../src/workflow/worklist.ts';
import { until } from '../peers/ports.ts';
import { ctStudy } from '../phantom/studies.ts';
import { PROJECT, openInFolder, takeStudy, type Opened } from './opened.ts';

const PATIENT = { name: 'Muster^Erika', id: 'KH-1', birthDate: '19631112', sex: 'F' } as const;
const MODELS = fileURLToPath(new URL('../../models', import.meta.url));

async function scheduled(opened: Opened, slices = 2, size = 8): Promise<{ study: string; item: WorkItem }> {
  followWorklist(opened.gateway, { aet: 'WATCH', lock: false, owner: 'local' });
  const study = await takeStudy(opened, ctStudy({ patient: PATIENT, slices, size }).objects);
  opened.clock.now += 60_000;
  completeStudies(opened.gateway);
  const [item] = workItemsOf(opened.gateway.workItems, study);
  assert.ok(item !== undefined);
  return { study, item };
}

/** Type and state or progress of every report that waits for WATCH. */
function told({ gateway }: Opened): string[] {
  const found: string[] = [];
  let after = 0;
  for (;;) {
    const event = nextEvent(gateway.workItems, 'WATCH', after);
    if (event === undefined) return found;
    after = event.number;
    const report = JSON.parse(event.json) as DicomJson;
    const [state] = valuesOf(report['00741000']);
    const [progress] = valuesOf(report['00741002']) as DicomJson[];
    const [share] = valuesOf(progress?.['00741004']);
    found.push(`${String(valuesOf(report['00001002'])[0])} ${String(state ?? share ?? '')}`.trim());
  }
}

test('UPS-own: a pipeline run is SCHEDULED, IN PROGRESS and COMPLETED with its results by pseudonymous UIDs', async (t) => {
  const opened = await openInFolder(t);
  const { gateway } = opened;
  const { study, item } = await scheduled(opened);
  const [series] = seriesOf(gateway.archive, study);
  const { object, state } = stepNamed(gateway.workItems, item.uid);
  assert.equal(state, 'SCHEDULED');
  const text = JSON.stringify(object);
  assert.ok(text.includes(study) && text.includes(series?.SeriesInstanceUID ?? 'none'));
  assert.doesNotMatch(text, /Muster|Erika|KH-1|19631112/);
  const [input] = valuesOf(object['00404021']) as DicomJson[];
  assert.equal(valuesOf(input?.['00081199']).length, 2, 'every object of the input');
  const claimed = claimWork(gateway.workItems, 'derive', 60_000);
  assert.ok(claimed !== undefined);
  const outputs = [
    {
      studyInstanceUID: study,
      seriesInstanceUID: '2.25.5',
      instances: [{ sopClassUID: '1.2.3', sopInstanceUID: '2.25.6' }],
    },
  ];
  assert.equal(finishWork(gateway.workItems, claimed, {}, outputs), true);
  const done = stepNamed(gateway.workItems, item.uid);
  assert.equal(done.state, 'COMPLETED');
  assert.equal(missingForFinalState(done.object, 'COMPLETED'), undefined, 'as is asked of others');
  const [performed] = valuesOf(done.object['00741216']) as DicomJson[];
  const [output] = valuesOf(performed?.['00404033']) as DicomJson[];
  assert.deepEqual(valuesOf(output?.['0020000E']), ['2.25.5']);
  assert.match(JSON.stringify(output?.['00081199']), /"2\.25\.6"/);
  assert.deepEqual(told(opened), ['1 SCHEDULED', '5', '3 0', '1 IN PROGRESS', '3 100', '1 COMPLETED']);
});

test('UPS-own-failed: what fails for good is CANCELED with its reason; started anew it is another step that replaces it', async (t) => {
  const opened = await openInFolder(t);
  const { workItems } = opened.gateway;
  const { item } = await scheduled(opened);
  const claimed = claimWork(workItems, 'derive', 60_000);
  assert.ok(claimed !== undefined);
  failWork(workItems, claimed, 'PipelineRefused: too few slices', { final: true });
  const canceled = stepNamed(workItems, item.uid);
  assert.equal(canceled.state, 'CANCELED');
  assert.equal(missingForFinalState(canceled.object, 'CANCELED'), undefined);
  assert.match(JSON.stringify(canceled.object['00741002']), /too few slices/);
  assert.equal(retryWork(workItems, item.uid), true);
  const anew = stepOfWork(workItems, item.uid);
  assert.notEqual(anew?.uid, item.uid);
  assert.equal(anew?.state, 'SCHEDULED');
  assert.match(JSON.stringify(anew?.object['00741224']), new RegExp(item.uid.replaceAll('.', '\\.')));
  assert.equal(stepNamed(workItems, item.uid).state, 'CANCELED', 'no way back');
});

test('UPS-own-locked: nobody else claims or changes what the gateway performs', async (t) => {
  const opened = await openInFolder(t);
  const { gateway } = opened;
  const { item } = await scheduled(opened);
  const claim = { state: 'IN PROGRESS', transactionUID: '2.25.9' };
  assert.throws(() => changeWorkitemState(gateway, item.uid, claim, 'local'), { reason: 'InconsistentState' });
  const label: DicomJson = { '00741204': { vr: 'LO', Value: ['mine'] } };
  assert.throws(() => updateWorkitem(gateway, item.uid, label, undefined), { reason: 'InconsistentState' });
});

test('UPS-own-cancel-queued: a cancel request takes work out of the queue', async (t) => {
  const opened = await openInFolder(t);
  const { gateway } = opened;
  const { study, item } = await scheduled(opened);
  cancelWorkitem(gateway, item.uid, { '00741238': { vr: 'LT', Value: ['not needed'] } }, 'operator');
  assert.equal(claimWork(gateway.workItems, 'derive', 60_000), undefined);
  assert.equal(workItemsOf(gateway.workItems, study)[0]?.state, 'CANCELED');
  assert.match(JSON.stringify(stepNamed(gateway.workItems, item.uid).object['00741002']), /not needed/);
  assert.deepEqual(told(opened).slice(2), ['2', '1 IN PROGRESS', '1 CANCELED']);
  const trail = gateway.database.all("SELECT facts FROM audit WHERE actor = 'operator'");
  assert.match(String(trail[0]?.['facts']), /cancel work item/);
});

test('UPS-own-cancel-running: a cancel request ends a run under way; nothing of it stays', async (t) => {
  const first = await openInFolder(t);
  await first.close();
  const clock = first.clock;
  const config = { ...first.gateway.config, modelsFolder: MODELS };
  const gateway = await openGateway(config, first.gateway.log, () => clock.now);
  const opened: Opened = { ...first, gateway };
  const { study, item } = await scheduled(opened, 24, 192);
  const performer = startPerformer(gateway);
  t.after(async () => {
    await performer.stop();
    await closeGateway(gateway);
  });
  performer.kick();
  const progress = (): string => JSON.stringify(stepNamed(gateway.workItems, item.uid).object['00741002'] ?? {});
  await until('the run to get on', () => progress().includes('"denoise"'), 60_000, 5);
  cancelWorkitem(gateway, item.uid, {}, 'operator');
  assert.equal(workItemsOf(gateway.workItems, study)[0]?.state, 'CANCELED');
  await until('the run to end', () => gateway.workItems.live?.running.size === 0, 60_000, 5);
  assert.equal(stepNamed(gateway.workItems, item.uid).state, 'CANCELED');
  assert.ok(
    seriesOf(gateway.archive, study).every(({ derived }) => !derived),
    'no derived series',
  );
});

test('UPS-erased: of a person who is erased no step, report or change is left', async (t) => {
  const opened = await openInFolder(t);
  const { gateway } = opened;
  const { study } = await scheduled(opened);
  const pseudonym = studyOf(gateway.archive, study)?.patientID ?? '';
  const mentions = (word: string): number =>
    ['SELECT json AS text FROM step', 'SELECT json AS text FROM step_event', 'SELECT value AS text FROM step_key']
      .concat('SELECT study_uid AS text FROM change')
      .flatMap((sql) => gateway.database.all(sql))
      .filter(({ text }) => String(text).includes(word)).length;
  assert.ok(mentions(study) > 1 && mentions(pseudonym) > 0);
  beginErasure(gateway, { project: PROJECT, pseudonym }, { actor: 'dpo', reason: 'consent-withdrawn', reference: '7' });
  assert.equal(await continueErasures(gateway), 1);
  assert.deepEqual([mentions(study), mentions(pseudonym)], [0, 0]);
});

test('UPS-restart: claims, locks, subscriptions and waiting reports outlive a restart, which is told', async (t) => {
  const opened = await openInFolder(t);
  const required: [string, string, unknown][] = [
    ['00741200', 'CS', 'LOW'],
    ['00741204', 'LO', 'Read'],
    ['00404005', 'DT', '20260105'],
    ['00404041', 'CS', 'READY'],
    ['00741000', 'CS', 'SCHEDULED'],
  ];
  const object = Object.fromEntries(required.map(([key, vr, value]) => [key, { vr, Value: [value] }])) as DicomJson;
  followWorklist(opened.gateway, { aet: 'WATCH', lock: true, owner: 'local' });
  createWorkitem(opened.gateway, '2.25.1', object, 'local');
  changeWorkitemState(opened.gateway, '2.25.1', { state: 'IN PROGRESS', transactionUID: '2.25.9' }, 'local');
  await opened.close();
  const gateway = await openGateway(opened.gateway.config, opened.gateway.log, () => opened.clock.now);
  t.after(() => closeGateway(gateway));
  const wrong = { state: 'CANCELED', transactionUID: '2.25.8' };
  assert.throws(() => changeWorkitemState(gateway, '2.25.1', wrong, 'local'), { reason: 'WrongTransaction' });
  const reason: DicomJson = {
    '00741002': {
      vr: 'SQ',
      Value: [{ '0074100E': { vr: 'SQ', Value: [{ '00080100': { vr: 'SH', Value: ['x'] } }] } }],
    },
  };
  updateWorkitem(gateway, '2.25.1', reason, '2.25.9');
  changeWorkitemState(gateway, '2.25.1', { ...wrong, transactionUID: '2.25.9' }, 'local');
  assert.deepEqual(told({ ...opened, gateway }), ['1 SCHEDULED', '1 IN PROGRESS', '4', '3', '1 CANCELED']);
  const restarted = gateway.database.get('SELECT json FROM step_event WHERE type = 4')?.['json'];
  assert.match(String(restarted), new RegExp(`${WORKLIST.replaceAll('.', '\\.')}.*RESTARTED.*WARM START.*WARM START`));
});
