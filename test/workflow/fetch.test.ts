/**
 * A prior that the archive lacks comes from the hospital's PACS: Debian's Orthanc, by C-FIND and C-MOVE and by QIDO-RS and WADO-RS, over
 * real sockets, into a gateway process that is killed in the middle; and what happens when it does not come.
 */
import assert from 'node:assert/strict';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { connect, createServer, type Server, type Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { newUid } from '../../src/dicom/uid.ts';
import { ctStudy, type Patient, type PhantomStudy } from '../phantom/studies.ts';
import { startGateway, type GatewayProcess } from '../peers/gateway.ts';
import { orthancMissing, startOrthanc, type Orthanc } from '../peers/orthanc.ts';
import { freePort, until } from '../peers/ports.ts';
import { stow } from './clients.ts';

const skip = orthancMissing() ?? false;
const PATIENT: Patient = { name: 'Muster^Erika', id: 'KH-4711', birthDate: '19631112', sex: 'F' };
const SLICES = 40;

const visit = (studyDate: string, patient = PATIENT): PhantomStudy =>
  ctStudy({ patient, slices: SLICES, size: 32, studyDate, seed: Number(studyDate) });

interface Hospital {
  readonly orthanc: Orthanc;
  readonly folder: string;
  start(): Promise<GatewayProcess>;
}

interface HospitalOptions {
  readonly retrieveBy: 'dimse' | 'dicomweb';
  readonly waitMinutes?: number;
  /** Stands before our DICOM port, as the PACS sees it. */
  readonly through?: Gate;
}

async function openHospital(
  t: TestContext,
  { retrieveBy, waitMinutes = 5, through }: HospitalOptions,
): Promise<Hospital> {
  const folder = mkdtempSync(join(tmpdir(), 'isthmus-fetch-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const [httpPort, dimsePort] = [await freePort(), await freePort()];
  const orthanc = await startOrthanc(join(folder, 'orthanc'), {
    modalities: { isthmus: { aet: 'ISTHMUS', port: through?.port ?? dimsePort } },
  });
  if (through !== undefined) through.toPort = dimsePort;
  t.after(() => orthanc.stop());
  const setup = {
    folder: join(folder, 'gateway'),
    log: 'file',
    httpPort: String(httpPort),
    dimsePort: String(dimsePort),
    gateway: 'completion: { quietSeconds: 1 }\n',
    nodes: `nodes:
  pacs:
    dimse: { aeTitle: ORTHANC, host: 127.0.0.1, port: ${orthanc.dicomPort} }
    dicomweb: { url: "${orthanc.base}/dicom-web" }
    deliverBy: dicomweb
    proof: status
    retrieveBy: ${retrieveBy}
`,
    rules: `admission:
  - { name: all, when: { modality: CT }, project: trial, profile: basic }
processing:
  - name: align follow-up
    when: { modality: CT, hasPrior: true }
    run: register
    with: { fixed: newest-prior, transform: rigid, fetch: { from: pacs, waitMinutes: ${waitMinutes} } }
    outputs: [report]
`,
  } as const;
  return {
    orthanc,
    folder,
    async start() {
      const gateway = await startGateway(setup);
      t.after(() => gateway.kill());
      return gateway;
    },
  };
}

async function fill({ orthanc }: Hospital, { objects }: PhantomStudy): Promise<void> {
  for (const object of objects) {
    const reply = await fetch(`${orthanc.base}/instances`, { method: 'POST', body: Uint8Array.from(object) });
    assert.equal(reply.status, 200);
  }
}

interface Item {
  readonly kind: string;
  readonly state: string;
  readonly studyInstanceUID: string;
  readonly lastError?: string;
  readonly result?: { readonly found?: string; readonly objects?: number; readonly prior?: string };
  readonly parameters: { readonly fixed?: { readonly studyInstanceUID: string } };
}

async function workOf(gateway: GatewayProcess): Promise<Item[]> {
  return (await (await fetch(`${gateway.base}/api/work-items`)).json()) as Item[];
}

async function fetchEnded(gateway: GatewayProcess, within = 90_000): Promise<Item> {
  let item: Item | undefined;
  await until(
    'the fetch to end',
    async () => {
      item = (await workOf(gateway)).find(({ kind }) => kind === 'fetch');
      return item?.state === 'COMPLETED' || item?.state === 'CANCELED';
    },
    within,
    100,
  );
  assert.ok(item !== undefined);
  return item;
}

async function studiesOf(gateway: GatewayProcess): Promise<{ studyInstanceUID: string; instanceCount: number }[]> {
  return (await (await fetch(`${gateway.base}/api/studies`)).json()) as never;
}

async function send(gateway: GatewayProcess, { objects }: PhantomStudy): Promise<void> {
  const { status } = await stow(gateway.base, objects);
  assert.equal(status, 200);
}

for (const retrieveBy of ['dimse', 'dicomweb'] as const)
  test(
    `MODEL-PRIOR-1: the newest comparable prior is fetched by ${retrieveBy}, de-identified, once, and the study goes on`,
    { skip, timeout: 300_000 },
    async (t) => {
      const hospital = await openHospital(t, { retrieveBy });
      const [oldest, prior, current] = [visit('20220110'), visit('20230615'), visit('20240917')];
      // The same number, another person; and a study that is later.
      const other = visit('20240101', { ...PATIENT, birthDate: '19400203' });
      for (const study of [oldest, prior, visit('20250101'), other]) await fill(hospital, study);
      const gateway = await hospital.start();
      await send(gateway, current);
      const fetched = await fetchEnded(gateway);
      assert.equal(fetched.state, 'COMPLETED');
      assert.equal(fetched.result?.objects, SLICES, fetched.result?.found);
      await until(
        'the registration to end',
        async () =>
          (await workOf(gateway)).some(({ kind, state }) => kind === 'derive' && /COMPLETED|CANCELED/.test(state)),
        120_000,
      );
      const work = await workOf(gateway);
      const derived = work.find(({ kind }) => kind === 'derive');
      assert.equal(derived?.parameters.fixed?.studyInstanceUID, fetched.result?.prior);
      assert.equal(derived?.studyInstanceUID, fetched.studyInstanceUID);

      // One fetch, one prior: the prior asks for none of its own, and nothing is registered to it as a study of its own.
      await new Promise((resolve) => setTimeout(resolve, 4000));
      const after = await workOf(gateway);
      assert.deepEqual(after.map(({ kind }) => kind).sort(), ['derive', 'fetch']);
      assert.equal((await studiesOf(gateway)).length, 2);

      // Nothing of the patient is seen or told.
      const why = await (
        await fetch(`${gateway.base}/api/studies/${fetched.studyInstanceUID}/pairs?format=text`)
      ).text();
      assert.match(why, /prior asked of pacs: COMPLETED/);
      assert.match(why, /the pair was found/);
      const ofPrior = await (
        await fetch(`${gateway.base}/api/studies/${fetched.result?.prior}/pairs?format=text`)
      ).text();
      assert.match(ofPrior, /fetched as a prior for study/);
      const seen = await (await fetch(`${gateway.base}/dicom-web/instances?includefield=all`)).text();
      const log = readFileSync(gateway.logFile, 'utf8');
      for (const secret of [PATIENT.id, PATIENT.birthDate, 'Muster', prior.studyInstanceUID, current.studyInstanceUID])
        for (const text of [why, ofPrior, seen, log, JSON.stringify(after)])
          assert.ok(!text.includes(secret), 'an identity is told');
    },
  );

test(
  'MODEL-PRIOR-2: kill -9 in the middle of a C-MOVE: the next start fetches the prior whole, once',
  { skip, timeout: 300_000 },
  async (t) => {
    const gate = await openGate(t, 40_000);
    const hospital = await openHospital(t, { retrieveBy: 'dimse', through: gate });
    await fill(hospital, visit('20230615'));
    const gateway = await hospital.start();
    await send(gateway, visit('20240917'));
    await until('some of the prior to be here', async () => (await studiesOf(gateway)).length === 2, 60_000, 50);
    const partly = (await studiesOf(gateway)).map(({ instanceCount }) => instanceCount);
    assert.ok(Math.min(...partly) > 0 && Math.min(...partly) < SLICES, `the prior stands at ${partly.join(' and ')}`);
    gate.open();
    await gateway.kill();
    const again = await hospital.start();
    const fetched = await fetchEnded(again);
    assert.equal(fetched.state, 'COMPLETED', fetched.lastError);
    assert.equal(fetched.result?.objects, SLICES, fetched.result?.found);
    const studies = await studiesOf(again);
    assert.deepEqual(
      studies.map(({ instanceCount }) => Math.min(instanceCount, SLICES)),
      [SLICES, SLICES],
    );
    await until(
      'the registration to be scheduled',
      async () => (await workOf(again)).some(({ kind }) => kind === 'derive'),
      30_000,
    );
    const kinds = (await workOf(again)).map(({ kind }) => kind).sort();
    assert.deepEqual(kinds, ['derive', 'fetch']);
  },
);

test(
  'MODEL-PRIOR-3: a node that has no comparable prior, or cannot be reached, leaves the study without, and the reason is told',
  { skip, timeout: 300_000 },
  async (t) => {
    const hospital = await openHospital(t, { retrieveBy: 'dimse', waitMinutes: 0.05 });
    await fill(hospital, visit('20230615', { ...PATIENT, birthDate: '19400203' }));
    const gateway = await hospital.start();
    await send(gateway, visit('20240917'));
    const none = await fetchEnded(gateway);
    assert.equal(none.result?.objects, 0);
    assert.match(none.result?.found ?? '', /no comparable prior: .* 1 of them earlier, 0 of the same person/);
    assert.deepEqual(
      (await workOf(gateway)).map(({ kind }) => kind),
      ['fetch'],
    );

    await hospital.orthanc.stop();
    await send(gateway, visit('20240918', { ...PATIENT, id: `KH-${newUid().slice(-6)}` }));
    let late: Item | undefined;
    await until(
      'the second fetch to end',
      async () => {
        late = (await workOf(gateway)).find(
          ({ kind, result }) => kind === 'fetch' && /to wait is over/.test(result?.found ?? ''),
        );
        return late !== undefined;
      },
      60_000,
    );
    assert.equal(late?.state, 'COMPLETED');
  },
);

interface Gate {
  readonly port: number;
  toPort: number;
  /** Lets everything through from now on. */
  open(): void;
}

/** Lets so many bytes of a connection through, and then no more until it is opened. */
async function openGate(t: TestContext, bytes: number): Promise<Gate> {
  const sockets = new Set<Socket>();
  let isOpen = false;
  const gate = { port: await freePort(), toPort: 0, open: () => void (isOpen = true) };
  const server: Server = createServer((from) => {
    const to = connect(gate.toPort, '127.0.0.1');
    sockets.add(from).add(to);
    let passed = 0;
    from.on('data', (chunk: Buffer) => {
      passed += chunk.length;
      if (isOpen || passed <= bytes) to.write(chunk);
      else from.pause();
    });
    to.pipe(from);
    for (const [one, other] of [
      [from, to],
      [to, from],
    ] as const)
      one.on('error', () => other.destroy()).on('close', () => other.destroy());
  });
  await new Promise<void>((resolve) => server.listen(gate.port, '127.0.0.1', resolve));
  t.after(() => {
    for (const socket of sockets) socket.destroy();
    server.close();
  });
  return gate;
}
