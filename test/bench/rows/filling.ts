/**
 * What the reading rows are asked of: 22 000 instances of 64x64 in 110 studies, and one CT of 200 instances of 512x512. Both servers get
 * the same objects; ours answers under pseudonyms, so what each can be asked for is learnt from its own answers.
 */
import { execFileSync } from 'node:child_process';
import { openCtMaker, type CtObject } from '../ct.ts';
import { cpuMs, untilIdle } from '../process-tree.ts';
import { openClient, type Client } from '../requests.ts';
import { sendByStow } from '../senders.ts';
import type { Server } from '../servers.ts';

export const SMALL_STUDIES = 110;
const STUDY_INSTANCES = 200;
/** Every other study has one long series. */
const SHAPES = [[STUDY_INSTANCES], [130, 50, 20]] as const;

export interface Held {
  readonly studyInstanceUID: string;
  readonly patientID: string;
  readonly studyDate: string;
  /** Longest first. */
  readonly series: readonly { readonly seriesInstanceUID: string; readonly instances: number }[];
}

/** What one server holds, in the same order on each. */
export interface Holdings {
  readonly small: readonly Held[];
  readonly ct: Held;
  readonly ctInstances: readonly string[];
  /** Bytes on the disk for each byte sent. */
  readonly ctOnDisk: number;
  readonly smallOnDisk: number;
  /** Of the small instances, 100 a request. */
  readonly smallCpuMs: number;
  readonly smallRate: number;
}

export async function fillServers(servers: readonly Server[]): Promise<Map<Server, Holdings>> {
  const ct = openCtMaker().study(STUDY_INSTANCES, { date: '20030303' });
  const small = smallStudies();
  const held = new Map<Server, Holdings>();
  for (const server of servers) {
    process.stderr.write(`filling ${server.name} with ${SMALL_STUDIES * STUDY_INSTANCES} instances\n`);
    const before = await studiesOf(server);
    const ctOnDisk = await onDisk(server, ct, async () => {
      await sendByStow(server, ct, { clients: 2, perRequest: 10 });
    });
    const [heldCt] = await learn(server, before);
    before.add(heldCt?.studyInstanceUID ?? '');
    const objects = small.flat();
    let wallMs = 0;
    const cpuBefore = cpuMs(server.pid);
    const smallOnDisk = await onDisk(server, objects, async () => {
      wallMs = (await sendByStow(server, objects, { clients: 4, perRequest: 100 })).wallMs;
    });
    const smallCpuMs = (cpuMs(server.pid) - cpuBefore) / objects.length;
    const heldSmall = await learn(server, before);
    const shown = heldSmall.flatMap(({ series }) => series).reduce((sum, { instances }) => sum + instances, 0);
    if (heldCt === undefined || shown !== objects.length)
      throw new Error(`${server.name} shows ${shown} of the ${objects.length} instances that it was filled with`);
    held.set(server, {
      small: heldSmall,
      ct: heldCt,
      ctInstances: await instancesIn(server, heldCt),
      ctOnDisk,
      smallOnDisk,
      smallCpuMs,
      smallRate: (1000 * objects.length) / wallMs,
    });
  }
  return held;
}

function smallStudies(): CtObject[][] {
  const maker = openCtMaker(64);
  return Array.from({ length: SMALL_STUDIES }, (_, at) => {
    const day = new Date(Date.UTC(2010, 0, 1) + at * 31 * 86_400_000);
    return maker.study(STUDY_INSTANCES, {
      patient: `BENCH${String(at >> 1).padStart(3, '0')}`,
      date: day.toISOString().slice(0, 10).replaceAll('-', ''),
      series: SHAPES[at % SHAPES.length] ?? [STUDY_INSTANCES],
    });
  });
}

async function onDisk(server: Server, objects: readonly CtObject[], send: () => Promise<void>): Promise<number> {
  const used = (): number =>
    Number(execFileSync('du', ['-s', '-B1', server.folder], { encoding: 'utf8' }).split('\t')[0]);
  const before = used();
  await send();
  await untilIdle(server.pid, 60_000);
  // What a server writes ahead it gives back when it has been quiet for a while.
  await new Promise((resolve) => setTimeout(resolve, SETTLE_MS));
  return (used() - before) / objects.reduce((sum, { head, pixels }) => sum + head.length + pixels.length, 0);
}

const SETTLE_MS = 5000;

type DicomJson = Record<string, { Value?: unknown[] } | undefined>;

async function learn(server: Server, before: ReadonlySet<string>): Promise<Held[]> {
  const client = openClient();
  const held: Held[] = [];
  for (const studyInstanceUID of await studiesOf(server)) {
    if (before.has(studyInstanceUID)) continue;
    const [study] = await ask(client, server, `/studies?StudyInstanceUID=${studyInstanceUID}`);
    const series = await ask(client, server, `/studies/${studyInstanceUID}/series?includefield=00201209`);
    held.push({
      studyInstanceUID,
      patientID: value(study, '00100020'),
      studyDate: value(study, '00080020'),
      series: series
        .map((one) => ({ seriesInstanceUID: value(one, '0020000E'), instances: Number(value(one, '00201209')) }))
        .sort((a, b) => b.instances - a.instances),
    });
  }
  client.close();
  // The same shapes in the same order on both, whatever the names.
  return held.sort((a, b) => a.series.length - b.series.length);
}

async function ask(client: Client, server: Server, path: string): Promise<DicomJson[]> {
  const { body } = await client.get(server.base + path, { Accept: 'application/dicom+json' }, true);
  return body.length === 0 ? [] : (JSON.parse(body.toString('utf8')) as DicomJson[]);
}

function value(object: DicomJson | undefined, key: string): string {
  return String(object?.[key]?.Value?.[0] ?? '');
}

async function instancesIn(server: Server, { studyInstanceUID, series }: Held): Promise<string[]> {
  const client = openClient();
  const instances = await ask(
    client,
    server,
    `/studies/${studyInstanceUID}/series/${series[0]?.seriesInstanceUID}/instances`,
  );
  client.close();
  return instances.map((one) => value(one, '00080018')).sort();
}

async function studiesOf(server: Server): Promise<Set<string>> {
  const client = openClient();
  const uids = new Set<string>();
  for (let offset = 0, page = 1; page > 0; offset += page) {
    const studies = await ask(client, server, `/studies?limit=100&offset=${offset}`);
    for (const study of studies) uids.add(value(study, '0020000D'));
    page = studies.length;
  }
  client.close();
  return uids;
}
