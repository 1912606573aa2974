/**
 * How instances are sent: STOW-RS over keep-alive connections, C-STORE by Debian's unmodified storescu, or by the same with Nagle's
 * algorithm switched off from outside. Each checks every answer.
 */
import { spawn, spawnSync } from 'node:child_process';
import { mkdtempSync, mkdirSync, rmSync, writeFileSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { bytesOf, type CtObject } from './ct.ts';
import { compileShim } from '../peers/orthanc.ts';
import type { Server } from './servers.ts';

export interface Sent {
  /** Of each request (STOW): the whole answer, and its first byte. */
  readonly requestMs: readonly number[];
  readonly firstByteMs: readonly number[];
  /** Only the sending: what a sender does before and after does not count. */
  readonly wallMs: number;
}

export interface SendPlan {
  readonly clients: number;
  readonly perRequest: number;
  /** TCP_NODELAY at the sender's end of an association. */
  readonly nodelay?: boolean;
}

const BOUNDARY = 'isthmus-bench-boundary';
const PART = Buffer.from(`\r\n--${BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n`);
const CLOSE = Buffer.from(`\r\n--${BOUNDARY}--\r\n`);

export async function sendByStow(server: Server, objects: readonly CtObject[], plan: SendPlan): Promise<Sent> {
  const agent = new Agent({ keepAlive: true, maxSockets: plan.clients });
  const requestMs: number[] = [];
  const firstByteMs: number[] = [];
  let next = 0;
  const client = async (): Promise<void> => {
    while (next < objects.length) {
      const batch = objects.slice(next, (next += plan.perRequest));
      const { wholeMs, firstMs } = await post(server, agent, batch);
      requestMs.push(wholeMs);
      firstByteMs.push(firstMs);
    }
  };
  const begin = performance.now();
  try {
    await Promise.all(Array.from({ length: plan.clients }, client));
    return { requestMs, firstByteMs, wallMs: performance.now() - begin };
  } finally {
    agent.destroy();
  }
}

function post(server: Server, agent: Agent, batch: readonly CtObject[]): Promise<{ wholeMs: number; firstMs: number }> {
  const body = [...batch.flatMap(({ head, pixels }) => [PART, head, pixels]), CLOSE];
  const begin = performance.now();
  return new Promise((resolve, reject) => {
    const outgoing = request(
      server.stowUrl,
      {
        method: 'POST',
        agent,
        headers: {
          'Content-Type': `multipart/related; type="application/dicom"; boundary=${BOUNDARY}`,
          'Content-Length': body.reduce((sum, { length }) => sum + length, 0),
          Accept: 'application/dicom+json',
        },
      },
      (response) => {
        const firstMs = performance.now() - begin;
        const chunks: Buffer[] = [];
        response.on('data', (chunk: Buffer) => chunks.push(chunk));
        response.once('error', reject);
        response.once('end', () => {
          const stored = storedOf(Buffer.concat(chunks));
          if (response.statusCode !== 200 || (server.kind === 'dicomweb' && stored !== batch.length)) {
            reject(new Error(`${server.name} answered ${response.statusCode}; ${stored} of ${batch.length} stored`));
          } else resolve({ wholeMs: performance.now() - begin, firstMs });
        });
      },
    );
    outgoing.once('error', reject);
    for (const part of body) outgoing.write(part);
    outgoing.end();
  });
}

/** Length of the Referenced SOP Sequence of a STOW answer. */
function storedOf(answer: Buffer): number {
  try {
    const json = JSON.parse(answer.toString('utf8')) as Record<string, { Value?: unknown[] } | undefined>;
    return json['00081199']?.Value?.length ?? 0;
  } catch {
    return 0;
  }
}

export function storescuMissing(): string | undefined {
  return spawnSync('storescu', ['--version'], { stdio: 'ignore' }).error === undefined
    ? undefined
    : 'storescu is not installed (Debian package dcmtk)';
}

export function compilerMissing(): string | undefined {
  return spawnSync('cc', ['--version'], { stdio: 'ignore' }).error === undefined ? undefined : 'there is no C compiler';
}

/** One association a client, one object after another, as dcmtk does it. */
export async function sendByCStore(server: Server, objects: readonly CtObject[], plan: SendPlan): Promise<Sent> {
  const folder = mkdtempSync(join(tmpdir(), 'isthmus-bench-cstore-'));
  try {
    const folders = Array.from({ length: plan.clients }, (_, client) => join(folder, String(client)));
    for (const one of folders) mkdirSync(one);
    objects.forEach((object, n) =>
      writeFileSync(join(folders[n % plan.clients] ?? '', `${String(n).padStart(6, '0')}.dcm`), bytesOf(object)),
    );
    const shim = plan.nodelay === true ? compileShim(folder, 'nodelay') : undefined;
    if (plan.nodelay === true && shim === undefined) throw new Error('there is no C compiler for TCP_NODELAY');
    const begin = performance.now();
    await Promise.all(folders.map((one) => storescu(server, one, shim)));
    return { requestMs: [], firstByteMs: [], wallMs: performance.now() - begin };
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
}

function storescu(server: Server, folder: string, shim: string | undefined): Promise<void> {
  const { dimsePort, aeTitle } = server;
  const args = ['-aet', 'BENCH', '-aec', aeTitle, '+sd', '+sp', '*.dcm', '127.0.0.1', String(dimsePort), folder];
  return new Promise((resolve, reject) => {
    const child = spawn('storescu', args, {
      stdio: ['ignore', 'ignore', 'pipe'],
      env: { ...process.env, ...(shim === undefined ? {} : { LD_PRELOAD: shim }) },
    });
    let complaints = '';
    child.stderr.on('data', (chunk: Buffer) => (complaints += chunk.toString('latin1')));
    child.once('error', reject);
    child.once('close', (code) =>
      code === 0 && !/^[EF]:/m.test(complaints)
        ? resolve()
        : reject(new Error(`storescu to ${server.name} ended with ${code}: ${complaints.slice(0, 300)}`)),
    );
  });
}
