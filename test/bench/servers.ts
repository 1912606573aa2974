/** The servers side by side: our gateway as `npm start` runs it, Debian's Orthanc with its default settings, and the floor. */
import { fork } from 'node:child_process';
import { mkdirSync } from 'node:fs';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { startGateway } from '../peers/gateway.ts';
import { orthancMissing, startOrthanc } from '../peers/orthanc.ts';

export interface Server {
  readonly name: string;
  /** What it understands: the floor takes bytes and no more. */
  readonly kind: 'dicomweb' | 'bytes';
  readonly pid: number;
  readonly stowUrl: string;
  /** DICOMweb root. */
  readonly base: string;
  readonly dimsePort: number;
  readonly aeTitle: string;
  /** Whether its DIMSE connections have TCP_NODELAY set, where kinds are measured with it and without. */
  readonly nodelay?: boolean;
  /** Everything that it keeps. */
  readonly folder: string;
  stop(): Promise<void>;
}

export async function startOurs(folder: string): Promise<Server> {
  const gateway = await startGateway({
    folder: join(folder, 'ours'),
    log: 'file',
    gateway: '{}\n',
    nodes: 'nodes: {}\n',
    rules:
      "admission:\n  - { name: bench, when: { callingAE: '*' }, project: bench, profile: basic }\nprocessing: []\n",
  });
  return {
    name: 'isthmus',
    kind: 'dicomweb',
    pid: gateway.pid,
    stowUrl: `${gateway.base}/dicom-web/studies`,
    base: `${gateway.base}/dicom-web`,
    dimsePort: gateway.dimsePort,
    aeTitle: 'ISTHMUS',
    folder: join(folder, 'ours'),
    async stop() {
      await gateway.stop();
    },
  };
}

/** @returns why there is none, where there is none */
export async function startPeer(folder: string, nodelay = false): Promise<Server | string> {
  const missing = orthancMissing();
  if (missing !== undefined) return missing;
  const orthanc = await startOrthanc(join(folder, nodelay ? 'orthanc-nodelay' : 'orthanc'), { nodelay });
  const { Version } = (await (await fetch(`${orthanc.base}/system`)).json()) as { Version: string };
  return {
    name: `orthanc-${Version}`,
    kind: 'dicomweb',
    pid: orthanc.pid,
    stowUrl: `${orthanc.base}/dicom-web/studies`,
    base: `${orthanc.base}/dicom-web`,
    dimsePort: orthanc.dicomPort,
    aeTitle: 'ORTHANC',
    nodelay,
    folder: join(folder, 'orthanc'),
    stop: () => orthanc.stop(),
  };
}

export async function startFloor(folder: string): Promise<Server> {
  const data = join(folder, 'floor');
  mkdirSync(data, { recursive: true });
  const child = fork(fileURLToPath(new URL('./floor.ts', import.meta.url)), [data]);
  const port = await new Promise<number>((resolve, reject) => {
    child.once('message', (message) => resolve(Number(message)));
    child.once('exit', () => reject(new Error('the floor server ended')));
  });
  return {
    name: 'bare node',
    kind: 'bytes',
    pid: child.pid ?? 0,
    stowUrl: `http://127.0.0.1:${port}/`,
    base: `http://127.0.0.1:${port}`,
    dimsePort: 0,
    aeTitle: '',
    folder: data,
    stop() {
      const ended = new Promise<void>((resolve) => child.once('exit', () => resolve()));
      child.disconnect();
      return ended;
    },
  };
}

type DicomJson = Record<string, { Value?: unknown[] } | undefined>;

/** Every instance that QIDO-RS shows, counted by SOP Instance UID. */
export async function countByQido(server: Server): Promise<number> {
  const instances = new Set<unknown>();
  for (const study of await pages(server, 'studies')) {
    const uid = String(study['0020000D']?.Value?.[0]);
    for (const instance of await pages(server, `studies/${uid}/instances`)) {
      instances.add(instance['00080018']?.Value?.[0]);
    }
  }
  return instances.size;
}

async function pages(server: Server, path: string): Promise<DicomJson[]> {
  const found: DicomJson[] = [];
  for (;;) {
    const reply = await fetch(`${server.base}/${path}?limit=100&offset=${found.length}`, {
      headers: { Accept: 'application/dicom+json' },
    });
    if (reply.status !== 200 && reply.status !== 204) throw new Error(`QIDO at ${server.name}: ${reply.status}`);
    const page = reply.status === 204 ? [] : ((await reply.json()) as DicomJson[]);
    found.push(...page);
    if (page.length === 0) return found;
  }
}
