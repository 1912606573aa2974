/**
 * What the reading rows are asked of: 22 000 instances of 64x64 in 110 studies, and one CT of 200 instances of 512x512. Both servers get
 * the same objects; ours answers under pseudonyms, so what each can be asked for is learnt from its own answers.
 */
import { execFileSync } from 'node:child_process';
import { openCtMaker, type CtObject } from '../ct.ts';
import { cpuMs, untilIdle } from '../process-tree.ts';
import { openClient } from '../requests.ts';
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
    const ctOnDisk = await onDisk(server, ct, async () => {
      await sendByStow(server, ct, { clients: 2, perRequest: 10 });
    });
    const objects = small.flat();
    let wallMs = 0;
    const before = cpuMs(server.pid);
    const smallOnDisk = await onDisk(server, objects, async () => {
      wallMs = (await sendByStow(server, objects, { clients: 4, perRequest: 100 })).wallMs;
    });
    held.set(server, {
      ...(await learn(server)),
      ctOnDisk,
      smallOnDisk,
      smallCpuMs: (cpuMs(server.pid) - before) / objects.length,
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
  return (used() - before) / objects.reduce((sum, { head, pixels }) => sum + head.length + pixels.length, 0);
}

type DicomJson = Record<string, { Value?: unknown[] } | undefined>;

async function learn(server: Server): Promise<Pick<Holdings, 'small' | 'ct' | 'ctInstances'>> {
  const client = openClient();
  const ask = async (path: string): Promise<DicomJson[]> => {
    const { body } = await client.get(server.base + path, { Accept: 'application/dicom+json' }, true);
    return body.length === 0 ? [] : (JSON.parse(body.toString('utf8')) as DicomJson[]);
  };
  const value = (object: DicomJson, key: string): string => String(object[key]?.Value?.[0] ?? '');
  const studies: DicomJson[] = [];
  for (
    let page = await ask('/studies?limit=100');
    page.length > 0;
    page = await ask(`/studies?limit=100&offset=${studies.length}`)
  )
    studies.push(...page);
  const held: (Held & { readonly instances: number; readonly rows: number })[] = [];
  for (const study of studies) {
    const studyInstanceUID = value(study, '0020000D');
    const counted: { seriesInstanceUID: string; instances: number }[] = [];
    let rows = 0;
    for (const one of await ask(`/studies/${studyInstanceUID}/series`)) {
      const seriesInstanceUID = value(one, '0020000E');
      const instances = await ask(`/studies/${studyInstanceUID}/series/${seriesInstanceUID}/instances`);
      counted.push({ seriesInstanceUID, instances: instances.length });
      rows = Number(instances[0]?.['00280010']?.Value?.[0] ?? 0);
    }
    const series = counted.sort((a, b) => b.instances - a.instances);
    held.push({
      studyInstanceUID,
      patientID: value(study, '00100020'),
      studyDate: value(study, '00080020'),
      series,
      instances: series.reduce((sum, one) => sum + one.instances, 0),
      rows,
    });
  }
  const ofFilling = held.filter(({ instances }) => instances === STUDY_INSTANCES);
  // The same shapes in the same order on both, whatever the names.
  const small = ofFilling.filter(({ rows }) => rows === 64).sort((a, b) => a.series.length - b.series.length);
  const ct = ofFilling.find(({ rows }) => rows === 512);
  if (small.length !== SMALL_STUDIES || ct === undefined)
    throw new Error(`${server.name} shows ${small.length} of ${SMALL_STUDIES} studies that it was filled with`);
  const [series] = ct.series;
  const instances = await ask(`/studies/${ct.studyInstanceUID}/series/${series?.seriesInstanceUID}/instances`);
  client.close();
  return { small, ct, ctInstances: instances.map((one) => value(one, '00080018')).sort() };
}
