/** What every suite starts from: a CT study as a hospital would send it, and the real gateway that takes it in and forwards nothing. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { mkdirSync, readdirSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { startGateway, type GatewayProcess } from '../../peers/gateway.ts';
import { ctStudy, type PhantomStudy } from '../../phantom/studies.ts';
import type { Scene } from './suite.ts';

export const PATIENT = { name: 'Mustermann^Erika^^Dr.', id: 'KH-4711', birthDate: '19580312', sex: 'F' } as const;
export const STUDY_DATE = '20240917';

export interface HospitalOptions {
  /** Of its folder, where a suite opens more than one. */
  readonly name?: string;
  /** YAML added to gateway.yaml. */
  readonly settings?: string;
  readonly nodes?: string;
  readonly processing?: string;
  readonly httpPort?: string;
  readonly dimsePort?: string;
}

/** A gateway of the suite's own, gone with it. */
export async function openGatewayFor(scene: Scene, options: HospitalOptions = {}): Promise<GatewayProcess> {
  const gateway = await startGateway({
    folder: join(scene.folder, options.name ?? 'gateway'),
    log: 'file',
    gateway: `completion: { quietSeconds: 1 }\nlog: warn\n${options.settings ?? ''}`,
    nodes: options.nodes ?? 'nodes: {}\n',
    rules: `admission:
  - { name: all, when: { callingAE: '*' }, project: strangers, profile: basic }
processing: ${options.processing ?? '[]'}
`,
    ...(options.httpPort === undefined ? {} : { httpPort: options.httpPort }),
    ...(options.dimsePort === undefined ? {} : { dimsePort: options.dimsePort }),
  });
  scene.after(async () => {
    const status = await gateway.stop();
    assert.equal(status, 0, `the gateway ended with ${status}`);
  });
  return gateway;
}

/** Twelve slices of a thorax, and the files they lie in. */
export function sentStudy(
  scene: Scene,
  options: { slices?: number; size?: number } = {},
): PhantomStudy & { files: string[] } {
  const study = ctStudy({ patient: PATIENT, slices: options.slices ?? 6, size: options.size ?? 128 });
  const folder = join(scene.folder, 'sent');
  mkdirSync(folder, { recursive: true });
  const files = study.objects.map((bytes, n) => {
    const file = join(folder, `${String(n + 1).padStart(3, '0')}.dcm`);
    writeFileSync(file, bytes);
    return file;
  });
  return { ...study, files };
}

/** The pixel data of a phantom's slice: the last bytes of the object. */
export function pixelsOf(object: Buffer, size: number): Buffer {
  return object.subarray(object.length - size * size * 2);
}

export async function storeByWeb(gateway: GatewayProcess, objects: readonly Buffer[]): Promise<void> {
  const body = Buffer.concat([
    ...objects.flatMap((object) => [
      Buffer.from('--b0\r\nContent-Type: application/dicom\r\n\r\n'),
      object,
      Buffer.from('\r\n'),
    ]),
    Buffer.from('--b0--\r\n'),
  ]);
  const reply = await fetch(`${gateway.base}/dicom-web/studies`, {
    method: 'POST',
    headers: { 'Content-Type': 'multipart/related; type="application/dicom"; boundary=b0' },
    body,
  });
  assert.equal(reply.status, 200, await reply.text());
}

export type DicomJson = Record<string, { vr: string; Value?: unknown[]; BulkDataURI?: string }>;

export async function search(base: string, path: string): Promise<DicomJson[]> {
  const reply = await fetch(`${base}/dicom-web/${path}`);
  if (reply.status === 204) return [];
  assert.equal(reply.status, 200, path);
  return (await reply.json()) as DicomJson[];
}

export function valueOf(dataSet: DicomJson | undefined, tag: string): string {
  const [value] = dataSet?.[tag]?.Value ?? [];
  if (typeof value === 'object' && value !== null && 'Alphabetic' in value) return String(value.Alphabetic);
  return value === undefined ? '' : String(value);
}

export interface Ended {
  readonly status: number | null;
  readonly output: string;
}

/** A stranger's programme to its end, without holding up this process, which may be its peer. */
export async function runProgramme(
  name: string,
  args: readonly string[],
  options: { env?: Record<string, string>; cwd?: string; timeoutMs?: number } = {},
): Promise<Ended> {
  const child = spawn(name, args, {
    stdio: ['ignore', 'pipe', 'pipe'],
    ...(options.cwd === undefined ? {} : { cwd: options.cwd }),
    env: { ...process.env, ...options.env },
    timeout: options.timeoutMs ?? 120_000,
    killSignal: 'SIGKILL',
  });
  // Each by itself: a piece of the one must not fall into a line of the other.
  const said = { out: '', error: '' };
  child.stdout.on('data', (chunk) => (said.out += String(chunk)));
  child.stderr.on('data', (chunk) => (said.error += String(chunk)));
  const [status] = (await once(child, 'close')) as [number | null];
  return { status, output: said.out + said.error };
}

export async function mustRun(name: string, args: readonly string[]): Promise<string> {
  const { status, output } = await runProgramme(name, args);
  assert.equal(status, 0, `${name} ended with ${status}:\n${output}`);
  return output;
}

export function filesIn(folder: string): string[] {
  return readdirSync(folder)
    .sort()
    .map((name) => join(folder, name));
}

/** Nothing that the hospital sent in clear may come back. */
export function assertNoIdentity(text: string): void {
  const leaks = [...PATIENT.name.split('^').filter((part) => part.length > 3), PATIENT.id, PATIENT.birthDate].filter(
    (value) => text.includes(value),
  );
  assert.equal(leaks.length, 0, `${leaks.length} of the patient's values came back`);
}
