/**
 * The main job with Debian's Orthanc as the hospital's PACS and the real MR pair with known truth: forwarded by C-STORE in one run and by
 * STOW-RS in another, registered, and found again in Orthanc under the right patient and study.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, readdirSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { asciiValue } from '../../src/dicom/data-set.ts';
import { readObject } from '../../src/dicom/part10.ts';
import { startGateway, type GatewayProcess } from '../peers/gateway.ts';
import { orthancMissing, startOrthanc, type Orthanc } from '../peers/orthanc.ts';
import { freePort, until } from '../peers/ports.ts';

const samples = process.env['ISTHMUS_SAMPLES'] ?? '';
const FIXED = join(samples, 'dicom', 'mr_known_warp', 'fixed');
const MOVING = join(samples, 'dicom', 'mr_known_warp', 'moving');
const TRUTH = join(samples, 'volumes', 'mr_known_warp_truth.npz');
const PYTHON = '/usr/bin/python3';
const score = new URL('./score_registration.py', import.meta.url).pathname;

const missing =
  orthancMissing() ??
  (samples === '' || !existsSync(TRUTH) ? 'ISTHMUS_SAMPLES does not name the real samples' : undefined) ??
  (spawnSync('dciodvfy', [], { stdio: 'ignore' }).error !== undefined
    ? 'dciodvfy is not installed (Debian package dicom3tools)'
    : undefined) ??
  (spawnSync(PYTHON, ['-c', 'import numpy, scipy, pydicom'], { stdio: 'ignore' }).status !== 0
    ? 'python3 with numpy, scipy and pydicom is not installed'
    : undefined);
const skip = missing ?? false;

interface Hospital {
  readonly folder: string;
  readonly orthanc: Orthanc;
  readonly gateway: GatewayProcess;
}

async function openHospital(t: TestContext, deliverBy: 'dicomweb' | 'dimse'): Promise<Hospital> {
  const folder = mkdtempSync(join(tmpdir(), 'isthmus-orthanc-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const httpPort = await freePort();
  const dimsePort = await freePort();
  const orthanc = await startOrthanc(join(folder, 'orthanc'), {
    modalities: { isthmus: { aet: 'ISTHMUS', port: dimsePort } },
    servers: { isthmus: `http://127.0.0.1:${httpPort}/dicom-web/` },
  });
  t.after(() => orthanc.stop());
  const gateway = await startGateway({
    folder: join(folder, 'gateway'),
    log: 'file',
    httpPort: String(httpPort),
    dimsePort: String(dimsePort),
    gateway: 'completion: { quietSeconds: 2 }\n',
    nodes: `nodes:
  pacs:
    dimse: { aeTitle: ORTHANC, host: 127.0.0.1, port: ${orthanc.dicomPort} }
    dicomweb: { url: "${orthanc.base}/dicom-web" }
    deliverBy: ${deliverBy}
    proof: read-back
`,
    rules: `admission:
  - { name: all, when: { modality: MR }, project: trial, profile: basic }
processing:
  - { name: align follow-up, when: { expr: 'series.Modality == "MR" && study.hasPrior' }, run: register, with: { fixed: newest-prior }, outputs: [image], deliver: [pacs] }
`,
  });
  t.after(() => gateway.stop());
  return { folder, orthanc, gateway };
}

async function upload(orthanc: Orthanc, folder: string): Promise<string> {
  let study = '';
  for (const name of readdirSync(folder)) {
    const reply = await fetch(`${orthanc.base}/instances`, { method: 'POST', body: readFileSync(join(folder, name)) });
    assert.equal(reply.status, 200);
    study = ((await reply.json()) as { ParentStudy: string }).ParentStudy;
  }
  return study;
}

async function forward({ orthanc }: Hospital, study: string, via: 'C-STORE' | 'STOW-RS'): Promise<void> {
  const [path, body] =
    via === 'C-STORE'
      ? ['/modalities/isthmus/store', study]
      : ['/dicom-web/servers/isthmus/stow', JSON.stringify({ Resources: [study] })];
  const reply = await fetch(`${orthanc.base}${path}`, { method: 'POST', body, signal: AbortSignal.timeout(180_000) });
  assert.equal(reply.status, 200, await reply.text());
}

interface Item {
  readonly kind: string;
  readonly state: string;
  readonly lastError?: string;
}

async function workEnded({ gateway }: Hospital): Promise<Item[]> {
  let items: Item[] = [];
  await until(
    'the registration and its delivery to end',
    async () => {
      items = (await (await fetch(`${gateway.base}/api/work-items`)).json()) as Item[];
      return items.length >= 2 && items.every(({ state }) => state === 'COMPLETED' || state === 'CANCELED');
    },
    600_000,
    500,
  );
  return items;
}

async function orthancJson<T>(orthanc: Orthanc, path: string): Promise<T> {
  const reply = await fetch(`${orthanc.base}${path}`);
  assert.equal(reply.status, 200, path);
  return (await reply.json()) as T;
}

interface OrthancSeries {
  readonly ID: string;
  readonly Instances: string[];
  readonly MainDicomTags: Record<string, string>;
}

async function identityOf(
  folder: string,
): Promise<{ patientID: string; studyInstanceUID: string; seriesInstanceUID: string }> {
  const [name] = readdirSync(folder);
  const { head } = await readObject(readFileSync(join(folder, name ?? '')));
  return {
    patientID: asciiValue(head.dataSet, 0x00100020) ?? '',
    studyInstanceUID: asciiValue(head.dataSet, 0x0020000d) ?? '',
    seriesInstanceUID: asciiValue(head.dataSet, 0x0020000e) ?? '',
  };
}

for (const [via, deliverBy] of [
  ['C-STORE', 'dicomweb'],
  ['STOW-RS', 'dimse'],
] as const) {
  test(
    `Orthanc forwards the MR pair by ${via} and gets it back registered, by ${deliverBy}`,
    { skip, timeout: 840_000 },
    async (t) => {
      const hospital = await openHospital(t, deliverBy);
      const { orthanc, gateway, folder } = hospital;
      const prior = await upload(orthanc, FIXED);
      const current = await upload(orthanc, MOVING);
      await forward(hospital, prior, via);
      await forward(hospital, current, via);
      const items = await workEnded(hospital);
      assert.deepEqual(
        items
          .map(({ kind, state, lastError }) => ({ kind, state, lastError }))
          .sort((a, b) => (a.kind < b.kind ? -1 : 1)),
        [
          { kind: 'deliver', state: 'COMPLETED', lastError: undefined },
          { kind: 'derive', state: 'COMPLETED', lastError: undefined },
        ],
      );

      // In the PACS: the current study holds its own series, the resampled one and the registration, under its own patient.
      const identity = await identityOf(MOVING);
      const study = await orthancJson<{
        MainDicomTags: Record<string, string>;
        PatientMainDicomTags: Record<string, string>;
      }>(orthanc, `/studies/${current}`);
      assert.equal(study.MainDicomTags['StudyInstanceUID'], identity.studyInstanceUID);
      assert.equal(study.PatientMainDicomTags['PatientID'], identity.patientID);
      assert.equal((await orthancJson<string[]>(orthanc, '/patients')).length, 1);
      assert.equal((await orthancJson<string[]>(orthanc, '/studies')).length, 2);
      const series = await orthancJson<OrthancSeries[]>(orthanc, `/studies/${current}/series`);
      assert.equal(series.length, 3);
      const registration = series.find(({ MainDicomTags }) => MainDicomTags['Modality'] === 'REG');
      const resampled = series.find(
        ({ MainDicomTags }) =>
          MainDicomTags['Modality'] === 'MR' && MainDicomTags['SeriesInstanceUID'] !== identity.seriesInstanceUID,
      );
      assert.ok(registration !== undefined && resampled !== undefined);
      assert.equal(registration.Instances.length, 1);
      assert.equal(resampled.Instances.length, readdirSync(FIXED).length);

      // Every object that came back satisfies its IOD.
      const back = join(folder, 'back');
      mkdirSync(back);
      const errors: string[] = [];
      for (const instance of [...registration.Instances, ...resampled.Instances]) {
        const bytes = Buffer.from(await (await fetch(`${orthanc.base}/instances/${instance}/file`)).arrayBuffer());
        const file = join(back, `${instance}.dcm`);
        writeFileSync(file, bytes);
        const { stdout, stderr } = spawnSync('dciodvfy', [file], { encoding: 'utf8' });
        errors.push(...`${stdout}${stderr}`.split('\n').filter((line) => line.startsWith('Error')));
      }
      assert.deepEqual(errors, []);

      // Applied by an independent reader it brings the labels together, without folding.
      const judged = spawnSync(PYTHON, [score, join(back, `${registration.Instances[0]}.dcm`), FIXED, MOVING, TRUTH], {
        encoding: 'utf8',
      });
      assert.equal(judged.status, 0, judged.stderr);
      const figures = JSON.parse(judged.stdout) as { diceBefore: number; diceAfter: number; folded: number };
      t.diagnostic(judged.stdout.trim());
      assert.ok(figures.diceBefore < 0.27);
      assert.ok(figures.diceAfter >= 0.75, judged.stdout);
      assert.equal(figures.folded, 0);

      // Viewers see the same objects, under pseudonyms.
      const seen = (await (
        await fetch(`${gateway.base}/dicom-web/series?Modality=REG&includefield=PatientID`)
      ).json()) as Record<string, { Value?: unknown[] }>[];
      assert.equal(seen.length, 1);
      assert.notEqual(seen[0]?.['00100020']?.Value?.[0], identity.patientID);
      const text = await (await fetch(`${gateway.base}/dicom-web/instances?limit=1000&includefield=all`)).text();
      for (const original of Object.values(identity))
        assert.ok(!text.includes(`"${original}"`), 'an original identifier is visible');
      const log = readFileSync(gateway.logFile, 'utf8');
      for (const original of Object.values(identity))
        assert.ok(!log.includes(original), 'an original identifier is in the log');
    },
  );
}
