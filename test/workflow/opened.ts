/** A gateway opened in this process, without doors and clock, in a temporary folder; its time is the test's. */
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { instancesOf, readInstanceBody, readInstanceHead, storeInstance } from '../../src/archive/instances.ts';
import { seriesOf } from '../../src/archive/studies.ts';
import { readConfig } from '../../src/config.ts';
import { certifyDerived } from '../../src/deidentify/certify.ts';
import { deriveImageSeries } from '../../src/derived/image-series.ts';
import { readHead } from '../../src/dicom/part10.ts';
import { readVolume } from '../../src/dicom/volume.ts';
import { closeGateway, openGateway, type Gateway } from '../../src/gateway.ts';
import type { Fact, Log } from '../../src/log.ts';
import { completeStudies } from '../../src/workflow/complete.ts';
import { startPerformer } from '../../src/workflow/perform.ts';
import { receiveInstance, type Received, type Sender } from '../../src/workflow/receive.ts';
import { workItemsOf, type WorkItem } from '../../src/workitems.ts';
import { until } from '../peers/ports.ts';

const CONFIG = fileURLToPath(new URL('../../config', import.meta.url));
const MODELS = fileURLToPath(new URL('../../models', import.meta.url));
export const START = Date.UTC(2026, 0, 5, 12);
export const PROJECT = 'research';

export interface Opened {
  readonly gateway: Gateway;
  readonly clock: { now: number };
  readonly folder: string;
  readonly events: { name: string; facts: Readonly<Record<string, Fact>> }[];
  /** Before the test's end, to open it again. */
  close(): Promise<void>;
}

export interface OpenOptions {
  readonly gateway?: string;
  readonly nodes?: string;
  readonly rules?: string;
  /** With the models of this project; without, no pipeline can run. */
  readonly models?: boolean;
}

export const DENOISE_RULES = `admission:
  - { name: all, when: { modality: [CT, MR] }, project: ${PROJECT}, profile: hipaa-safe-harbor }
processing:
  - { name: quiet, when: { modality: CT }, run: ct-denoise, deliver: [] }
`;

export async function openInFolder(t: TestContext, options: OpenOptions = {}): Promise<Opened> {
  const folder = mkdtempSync(join(tmpdir(), 'isthmus-workflow-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const config = join(folder, 'config');
  mkdirSync(config);
  mkdirSync(join(folder, 'models'));
  cpSync(join(CONFIG, 'profiles'), join(config, 'profiles'), { recursive: true });
  writeFileSync(join(config, 'gateway.yaml'), `log: silent\narchive: { reserveMb: 1 }\n${options.gateway ?? ''}`);
  writeFileSync(join(config, 'nodes.yaml'), options.nodes ?? 'nodes: {}\n');
  writeFileSync(join(config, 'rules.yaml'), options.rules ?? DENOISE_RULES);
  const clock = { now: START };
  const events: Opened['events'] = [];
  const note = (name: string, facts: Readonly<Record<string, Fact>> = {}): void => void events.push({ name, facts });
  const log: Log = { info: note, warn: note, error: note };
  const read = readConfig({ ISTHMUS_CONFIG: config, ISTHMUS_DATA: join(folder, 'data') });
  const modelsFolder = options.models === true ? MODELS : join(folder, 'models');
  const gateway = await openGateway({ ...read, modelsFolder }, log, () => clock.now);
  let closed: Promise<void> | undefined;
  const close = (): Promise<void> => (closed ??= closeGateway(gateway));
  t.after(close);
  return { gateway, clock, folder, events, close };
}

const SENDER: Sender = { door: 'stow', callingAE: 'CT01', calledAE: 'ISTHMUS', remoteAddress: '127.0.0.1' };

export async function take({ gateway }: Opened, object: Buffer, from: Partial<Sender> = {}): Promise<Received> {
  async function* bytes(): AsyncGenerator<Buffer> {
    await Promise.resolve();
    yield object;
  }
  return receiveInstance(gateway, { bytes: bytes() }, { ...SENDER, ...from }).done;
}

/** Takes all objects in; answers the study's pseudonym. */
export async function takeStudy(opened: Opened, objects: readonly Buffer[]): Promise<string> {
  let study = '';
  for (const object of objects) {
    const { stored, refusal } = await take(opened, object);
    if (stored === undefined) throw refusal ?? new Error('not stored');
    study = stored.studyInstanceUID;
  }
  return study;
}

/** A node that takes results by STOW-RS and is asked for them by QIDO-RS. */
export function pacsAt(url: string): string {
  return `nodes:\n  pacs:\n    dicomweb: { url: '${url}' }\n    deliverBy: dicomweb\n    proof: read-back\n`;
}

/** Lets what is stored be complete, and all that follows from it be done; answers the study's work items. */
export async function workOff(
  { gateway, clock }: Opened,
  study: string,
  withinMs = 120_000,
): Promise<readonly WorkItem[]> {
  clock.now += 60_000;
  completeStudies(gateway);
  const performer = startPerformer(gateway);
  try {
    performer.kick();
    const hasEnded = ({ state }: WorkItem): boolean => state === 'COMPLETED' || state === 'CANCELED';
    const items = (): WorkItem[] => workItemsOf(gateway.workItems, study);
    await until('the work to end', () => items().length > 0 && items().every(hasEnded), withinMs, 20);
    return items();
  } finally {
    await performer.stop();
  }
}

/** A derived series of the study's first series, as a pipeline that changes nothing would make it; answers its pseudonym. */
export async function deriveSeries(
  { gateway }: Opened,
  studyInstanceUID: string,
  seriesNumber = 9100,
): Promise<string> {
  const [original] = seriesOf(gateway.archive, studyInstanceUID).filter(({ derived }) => !derived);
  if (original === undefined) throw new Error('no series');
  const name = { studyInstanceUID, seriesInstanceUID: original.SeriesInstanceUID };
  const series = [];
  for (const instance of instancesOf(gateway.archive, name)) {
    series.push({
      head: readHead(await readInstanceHead(gateway.archive, instance)).head,
      pixels: () => gather(readInstanceBody(gateway.archive, instance)),
    });
  }
  const objects = deriveImageSeries({
    kind: 'denoised',
    sources: series.map(({ head }) => head),
    volume: await readVolume(series),
    provenance: {
      algorithm: {
        name: 'Nothing',
        version: `1.0.${seriesNumber}`,
        family: { value: '113077', scheme: 'DCM', meaning: 'Denoising' },
        parameters: '{}',
        sha256: 'a'.repeat(64),
      },
      softwareVersion: '0',
      description: 'nothing was done',
      figures: [],
      seriesSuffix: '[TEST]',
      seriesNumber,
    },
  });
  let derived = '';
  for (const { head, body, seriesInstanceUID } of objects) {
    const { object, remember } = certifyDerived(gateway.wall, { head, body, project: PROJECT });
    await storeInstance(gateway.archive, object, { derived: true, alongside: remember });
    derived = seriesInstanceUID;
  }
  return derived;
}

async function gather(body: AsyncIterable<Buffer>): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of body) chunks.push(chunk);
  return Buffer.concat(chunks);
}
