/**
 * The main job on an embedded default, with nothing but this repository: a stand-in hospital PACS (a process of its own) forwards a CT study
 * and two MR visits by C-STORE and STOW-RS; the gateway (the real one, its own process) de-identifies, denoises, registers and delivers.
 *   npm run demo              stays up afterwards, to be looked at
 *   npm run demo -- --once    ends with 0 when every step held, with 1 otherwise
 */
import { fork, type ChildProcess } from 'node:child_process';
import { mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { dirname, join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { startGateway, type GatewayProcess } from '../peers/gateway.ts';
import { until } from '../peers/ports.ts';
import { ctStudy, mrFollowUp, type PhantomStudy } from '../phantom/studies.ts';

if (!process.versions.node.startsWith('24.')) {
  console.error(`Node ${process.versions.node} runs this, Node 24 is needed: use "npm run demo", which brings it`);
  process.exit(1);
}

const root = join(dirname(fileURLToPath(import.meta.url)), '..', '..');
const once = process.argv.includes('--once');
const PATIENTS = {
  ct: { name: 'Mustermann^Erika^^Dr.', id: 'KH-4711', birthDate: '19580312', sex: 'F' },
  mr: { name: 'Beispiel^Jörg', id: 'KH-0815', birthDate: '19670923', sex: 'M' },
} as const;
const LONGEST_WAIT_MS = 15 * 60_000;

const work = mkdtempSync(join(tmpdir(), 'isthmus-demo-'));
const children: ChildProcess[] = [];
let failed = false;

process.on('exit', () => {
  for (const child of children) child.kill('SIGKILL');
  rmSync(work, { recursive: true, force: true });
});
for (const signal of ['SIGINT', 'SIGTERM'] as const) process.on(signal, () => process.exit(failed ? 1 : 0));

try {
  await demo();
} catch (error) {
  failed = true;
  console.error(`\nThe demo failed: ${error instanceof Error ? error.message : String(error)}`);
  process.exit(1);
}

async function demo(): Promise<void> {
  say('making sample studies (synthetic, nobody is depicted)');
  const ct = ctStudy({ patient: PATIENTS.ct });
  const [prior, current] = mrFollowUp({ patient: PATIENTS.mr });
  const studies = [ct, prior, current];

  say('starting the stand-in hospital PACS');
  const pacs = await startPacs(studies);
  say('starting the gateway');
  const { base, dimsePort } = await startDemoGateway(pacs);
  const order = { host: '127.0.0.1', dimsePort, httpUrl: `${base}/dicom-web` };

  say('the PACS forwards the CT study by C-STORE, the MR visits by STOW-RS');
  let sent = 0;
  for (const [study, forward] of [
    [ct, 'dimse'],
    [prior, 'stow'],
    [current, 'stow'],
  ] as const) {
    sent += Number(await pacs.ask({ forward, studyInstanceUID: study.studyInstanceUID, ...order }));
  }
  say(`  ${studies.length} studies, ${sent} instances sent`);

  const stored = await originals(base);
  check(
    stored.instances === sent,
    `${stored.instances} instances de-identified and stored in ${stored.studies} studies`,
  );
  await checkPseudonyms(base);

  say('waiting for completion, pipelines and delivery (about a minute or two on two cores)');
  const items = await workDone(base);
  for (const item of items.filter(({ kind }) => kind === 'derive')) {
    check(
      item.state === 'COMPLETED',
      `${String(item.parameters['pipeline'])}: ${item.state}${item.lastError === undefined ? '' : ` (${item.lastError})`}`,
    );
    for (const [name, value] of Object.entries((item.result?.['quality'] ?? {}) as Record<string, number | string>)) {
      say(`      ${name} = ${typeof value === 'number' ? Number(value.toPrecision(4)) : value}`);
    }
  }
  const derivations = items.filter(({ kind, state }) => kind === 'derive' && state === 'COMPLETED');
  check(
    derivations.some(({ parameters }) => parameters['pipeline'] === 'register'),
    'a registration was made',
  );
  check(
    derivations.some(({ parameters }) => parameters['pipeline'] === 'ct-denoise'),
    'a denoised series was made',
  );
  for (const item of items.filter(({ kind, state }) => kind === 'deliver' && state !== 'COMPLETED')) {
    check(false, `delivery ended ${item.state}: ${item.lastError ?? ''}`);
  }
  await checkArrival(pacs, [ct, prior, current]);

  if (failed) throw new Error('at least one step did not hold, see above');
  say('\nEvery step held.');
  if (once) process.exit(0);
  say(`DICOMweb:  ${base}/dicom-web/studies`);
  say(`Console:   ${base}/`);
  say(`C-STORE:   ISTHMUS@127.0.0.1:${dimsePort}`);
  say('Ctrl+C ends the demo and removes its data.');
}

function say(text: string): void {
  console.log(text);
}

function check(held: boolean, text: string): void {
  console.log(`  ${held ? 'ok  ' : 'FAIL'}  ${text}`);
  if (!held) failed = true;
}

interface Pacs {
  readonly http: number;
  readonly dimse: number;
  ask(message: object): Promise<unknown>;
}

async function startPacs(studies: readonly PhantomStudy[]): Promise<Pacs> {
  const acquired = join(work, 'acquired');
  mkdirSync(acquired);
  studies.forEach(({ objects }, study) =>
    objects.forEach((bytes, n) => writeFileSync(join(acquired, `${study}-${n}.dcm`), bytes)),
  );
  const child = fork(join(root, 'test', 'demo', 'pacs.ts'), [join(work, 'pacs')], { stdio: 'inherit' });
  children.push(child);
  const answers: ((message: Record<string, unknown>) => void)[] = [];
  const next = (): Promise<Record<string, unknown>> =>
    new Promise((resolve, reject) => {
      answers.push(resolve);
      child.once('exit', () => reject(new Error('the stand-in PACS ended')));
    });
  child.on('message', (message) => answers.shift()?.(message as Record<string, unknown>));
  const { ready } = (await next()) as { ready: { http: number; dimse: number } };
  const ask = async (message: object): Promise<unknown> => {
    const answer = next();
    child.send(message);
    const { error, answer: result } = await answer;
    if (error !== undefined) throw new Error(`stand-in PACS: ${String(error)}`);
    return result;
  };
  await ask({ acquire: acquired });
  return { ...ready, ask };
}

/** The gateway as `npm start` runs it, with a configuration of its own: head MR may pass, since these heads are synthetic. */
async function startDemoGateway(pacs: Pacs): Promise<GatewayProcess> {
  const gateway = await startGateway({
    folder: join(work, 'gateway'),
    log: 'terminal',
    gateway: 'completion: { quietSeconds: 2 }\nlog: warn\n',
    nodes: `nodes:
  pacs:
    dicomweb: { url: "http://127.0.0.1:${pacs.http}/dicom-web" }
    deliverBy: dicomweb
    proof: read-back
  pacs-dimse:
    dimse: { aeTitle: STANDIN, host: 127.0.0.1, port: ${pacs.dimse} }
    dicomweb: { url: "http://127.0.0.1:${pacs.http}/dicom-web" }
    deliverBy: dimse
    proof: read-back
`,
    rules: `admission:
  - { name: head MR for registration, when: { modality: MR }, project: demo, profile: basic }
  - { name: research, when: { callingAE: "*" }, project: demo, profile: hipaa-safe-harbor }
processing:
  - { name: quieter chest CT, when: { modality: CT }, run: ct-denoise, deliver: [pacs-dimse] }
  - { name: align follow-up, when: { expr: 'series.Modality == "MR" && study.hasPrior' }, run: register, with: { fixed: newest-prior }, deliver: [pacs] }
`,
    ...(process.env['ISTHMUS_HTTP_PORT'] === undefined ? {} : { httpPort: process.env['ISTHMUS_HTTP_PORT'] }),
    ...(process.env['ISTHMUS_DIMSE_PORT'] === undefined ? {} : { dimsePort: process.env['ISTHMUS_DIMSE_PORT'] }),
  });
  children.push(gateway.child);
  return gateway;
}

type DicomJson = Record<string, { Value?: unknown[] } | undefined>;

async function search(base: string, path: string): Promise<DicomJson[]> {
  const found: DicomJson[] = [];
  for (;;) {
    const reply = await fetch(
      `${base}/dicom-web/${path}${path.includes('?') ? '&' : '?'}limit=100&offset=${found.length}`,
    );
    if (reply.status === 204) return found;
    if (reply.status !== 200) throw new Error(`QIDO ${path.split('?')[0]} was answered with ${reply.status}`);
    found.push(...((await reply.json()) as DicomJson[]));
  }
}

async function originals(base: string): Promise<{ studies: number; instances: number }> {
  const studies = await search(base, 'studies?includefield=00201208');
  return {
    studies: studies.length,
    instances: studies.reduce((sum, study) => sum + Number(study['00201208']?.Value?.[0] ?? 0), 0),
  };
}

/** What a viewer gets must not hold what the hospital sent. */
async function checkPseudonyms(base: string): Promise<void> {
  const answer = JSON.stringify(await search(base, 'studies?includefield=all'));
  const leaks = Object.values(PATIENTS)
    .flatMap(({ name, id, birthDate }) => [...name.split('^').filter((part) => part.length > 3), id, birthDate])
    .filter((value) => answer.includes(value));
  check(leaks.length === 0, 'viewers see pseudonyms: no name, id or birth date of the sent patients in QIDO answers');
}

interface Item {
  readonly kind: string;
  readonly state: string;
  readonly parameters: Record<string, unknown>;
  readonly lastError?: string;
  readonly result?: Record<string, unknown>;
}

async function workDone(base: string): Promise<Item[]> {
  let items: Item[] = [];
  await until(
    'the work to end',
    async () => {
      items = (await (await fetch(`${base}/api/work-items`)).json()) as Item[];
      const derivations = items.filter(({ kind }) => kind === 'derive');
      return derivations.length >= 2 && items.every(({ state }) => state === 'COMPLETED' || state === 'CANCELED');
    },
    LONGEST_WAIT_MS,
    500,
  );
  return items;
}

/** Derived series must hang in the PACS under the original patient and study. */
async function checkArrival(pacs: Pacs, studies: readonly PhantomStudy[]): Promise<void> {
  const held = (await pacs.ask({ list: true })) as {
    study: string;
    series: string;
    patientID: string;
    seriesDescription: string;
    modality: string;
  }[];
  for (const { studyInstanceUID, patient, objects } of studies) {
    const inStudy = held.filter(({ study }) => study === studyInstanceUID);
    const series = Map.groupBy(inStudy, (entry) => entry.series);
    for (const entries of series.values()) {
      const [first] = entries;
      if (first === undefined || (entries.length === objects.length && !/\[/.test(first.seriesDescription))) continue;
      check(
        entries.every(({ patientID }) => patientID === patient.id),
        `found in the PACS: "${first.seriesDescription}" (${first.modality}, ${entries.length} objects) under PatientID ${first.patientID}, study ...${studyInstanceUID.slice(-6)}`,
      );
    }
  }
  const known = new Set(studies.map(({ studyInstanceUID }) => studyInstanceUID));
  const strays = held.filter(({ study }) => !known.has(study)).length;
  check(strays === 0, 'nothing arrived in the PACS under any other study');
  const derived = new Set(held.map(({ series }) => series)).size - studies.length;
  check(derived >= 3, `${derived} derived series in the PACS (denoised, registered, registration)`);
}
