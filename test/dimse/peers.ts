/** What the tests of the wire share: dcmtk as the peer, synthetic Part 10 files, an SCP that keeps hashes, raw sockets. */
import { execFileSync, spawn } from 'node:child_process';
import type { ChildProcess } from 'node:child_process';
import { createHash, randomBytes } from 'node:crypto';
import { once } from 'node:events';
import { mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import { connect, createServer } from 'node:net';
import type { AddressInfo, Socket } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import type { TestContext } from 'node:test';
import { newUid } from '../../src/dicom/uid.ts';
import { ByteQueue } from '../../src/dimse/byte-queue.ts';
import { readPdu } from '../../src/dimse/pdu.ts';
import type { Pdu } from '../../src/dimse/pdu.ts';
import { startScp } from '../../src/dimse/scp.ts';
import type { Scp, ScpHandlers, ScpOptions, StoreRequest } from '../../src/dimse/scp.ts';

export const CT_IMAGE = '1.2.840.10008.5.1.4.1.1.2';
export const MULTIFRAME_GRAYSCALE = '1.2.840.10008.5.1.4.1.1.7.3';
export const EXPLICIT_LE = '1.2.840.10008.1.2.1';
export const IMPLICIT_LE = '1.2.840.10008.1.2';

/** False, or why a test against dcmtk cannot run here. */
export function withoutDcmtk(): string | false {
  try {
    execFileSync('storescu', ['--version'], { stdio: 'ignore' });
    execFileSync('storescp', ['--version'], { stdio: 'ignore' });
    return false;
  } catch {
    return 'dcmtk (storescu, storescp, echoscu) is not installed';
  }
}

export function scratch(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'isthmus-dimse-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

export interface Outcome {
  readonly code: number | null;
  readonly output: string;
}

/** Runs a program to its end; its output and status. */
export async function runPeer(program: string, args: readonly string[]): Promise<Outcome> {
  const child = spawn(program, args, { stdio: ['ignore', 'pipe', 'pipe'] });
  // Each by itself: a piece of the one must not fall into a line of the other.
  const said = { out: '', error: '' };
  child.stdout.on('data', (chunk) => (said.out += String(chunk)));
  child.stderr.on('data', (chunk) => (said.error += String(chunk)));
  const [code] = (await once(child, 'close')) as [number | null];
  return { code, output: said.out + said.error };
}

/** dcmtk's storescp writing what it gets, byte for byte, into `folder`. */
export async function startStorescp(t: TestContext, folder: string, args: readonly string[] = []): Promise<number> {
  const port = await freePort();
  const child: ChildProcess = spawn('storescp', ['-od', folder, '+B', ...args, String(port)], { stdio: 'ignore' });
  t.after(() => child.kill('SIGKILL'));
  await untilListening(port, child);
  return port;
}

export interface Received {
  readonly request: StoreRequest;
  readonly sha256: string;
  readonly lengthBytes: number;
}

/** An SCP on loopback that keeps the hash of each data set it gets. */
export async function startHashingScp(
  t: TestContext,
  options: Partial<ScpOptions> = {},
  handlers: Partial<ScpHandlers> = {},
): Promise<{ scp: Scp; port: number; received: Received[]; events: [string, Record<string, string | number>][] }> {
  const received: Received[] = [];
  const events: [string, Record<string, string | number>][] = [];
  const scp = await startScp(
    { host: '127.0.0.1', port: 0, aeTitle: 'ISTHMUS', closeMs: 100, ...options },
    {
      async store(request) {
        const hash = createHash('sha256');
        let lengthBytes = 0;
        for await (const chunk of request.dataSet) {
          hash.update(chunk);
          lengthBytes += chunk.length;
        }
        received.push({ request, sha256: hash.digest('hex'), lengthBytes });
        return 0;
      },
      event: (name, facts) => events.push([name, facts]),
      ...handlers,
    },
  );
  t.after(() => scp.close());
  return { scp, port: scp.port, received, events };
}

export interface SyntheticObject {
  readonly sopClassUID: string;
  readonly sopInstanceUID: string;
  readonly transferSyntaxUID: string;
  readonly dataSet: Buffer;
}

/** A small valid object in Explicit VR Little Endian, other noise in each. */
export function syntheticObject(rows = 64, sopClassUID = CT_IMAGE): SyntheticObject {
  const sopInstanceUID = newUid();
  const dataSet = Buffer.concat([
    element(0x0008, 0x0016, 'UI', text(sopClassUID, '\0')),
    element(0x0008, 0x0018, 'UI', text(sopInstanceUID, '\0')),
    element(0x0008, 0x0060, 'CS', text('CT', ' ')),
    element(0x0010, 0x0010, 'PN', text('Phantom^Test', ' ')),
    element(0x0010, 0x0020, 'LO', text('PHANTOM', ' ')),
    element(0x0020, 0x000d, 'UI', text('2.25.1', '\0')),
    element(0x0020, 0x000e, 'UI', text('2.25.2', '\0')),
    element(0x0028, 0x0002, 'US', number(1)),
    element(0x0028, 0x0004, 'CS', text('MONOCHROME2', ' ')),
    element(0x0028, 0x0010, 'US', number(rows)),
    element(0x0028, 0x0011, 'US', number(rows)),
    element(0x0028, 0x0100, 'US', number(16)),
    element(0x0028, 0x0101, 'US', number(16)),
    element(0x0028, 0x0102, 'US', number(15)),
    element(0x0028, 0x0103, 'US', number(0)),
    element(0x7fe0, 0x0010, 'OW', randomBytes(rows * rows * 2)),
  ]);
  return { sopClassUID, sopInstanceUID, transferSyntaxUID: EXPLICIT_LE, dataSet };
}

/** The same object with an encapsulated, that is compressed, image of two fragments (PS3.5 A.4); nobody here looks into them. */
export function encapsulatedObject(transferSyntaxUID: string): SyntheticObject {
  const object = syntheticObject(16);
  const pixelData = element(0x7fe0, 0x0010, 'OB', Buffer.alloc(0));
  pixelData.writeUInt32LE(0xffffffff, 8);
  const item = (end: number, bytes: Buffer): Buffer => {
    const header = Buffer.from([0xfe, 0xff, end, 0xe0, 0, 0, 0, 0]);
    header.writeUInt32LE(bytes.length, 4);
    return Buffer.concat([header, bytes]);
  };
  const header = object.dataSet.subarray(0, object.dataSet.length - 12 - 16 * 16 * 2);
  const fragments = [Buffer.alloc(0), randomBytes(3000), randomBytes(500)].map((bytes) => item(0x00, bytes));
  const dataSet = Buffer.concat([header, pixelData, ...fragments, item(0xdd, Buffer.alloc(0))]);
  return { ...object, transferSyntaxUID, dataSet };
}

/** Preamble and file meta information, PS3.10 7.1. */
export function fileMeta(object: Omit<SyntheticObject, 'dataSet'>): Buffer {
  const elements = Buffer.concat([
    element(0x0002, 0x0001, 'OB', Buffer.from([0, 1])),
    element(0x0002, 0x0002, 'UI', text(object.sopClassUID, '\0')),
    element(0x0002, 0x0003, 'UI', text(object.sopInstanceUID, '\0')),
    element(0x0002, 0x0010, 'UI', text(object.transferSyntaxUID, '\0')),
    element(0x0002, 0x0012, 'UI', text('2.25.3', '\0')),
  ]);
  const groupLength = Buffer.alloc(4);
  groupLength.writeUInt32LE(elements.length);
  return Buffer.concat([Buffer.alloc(128), Buffer.from('DICM'), element(0x0002, 0x0000, 'UL', groupLength), elements]);
}

export function writePart10(folder: string, object: SyntheticObject): string {
  const file = join(folder, `${object.sopInstanceUID}.dcm`);
  writeFileSync(file, Buffer.concat([fileMeta(object), object.dataSet]));
  return file;
}

/** Where the data set begins: behind preamble, magic and the group that (0002,0000) measures. */
export function dataSetOffset(file: Buffer): number {
  return 132 + 12 + file.readUInt32LE(132 + 8);
}

export function sha256(bytes: Buffer): string {
  return createHash('sha256').update(bytes).digest('hex');
}

export function element(group: number, number: number, vr: string, value: Buffer): Buffer {
  const isLong = vr === 'OB' || vr === 'OW';
  const header = Buffer.alloc(isLong ? 12 : 8);
  header.writeUInt16LE(group, 0);
  header.writeUInt16LE(number, 2);
  header.write(vr, 4, 'latin1');
  if (isLong) header.writeUInt32LE(value.length, 8);
  else header.writeUInt16LE(value.length, 6);
  return Buffer.concat([header, value]);
}

export function text(value: string, padding: string): Buffer {
  return Buffer.from(value.length % 2 === 0 ? value : value + padding, 'latin1');
}

export function number(value: number): Buffer {
  const bytes = Buffer.alloc(2);
  bytes.writeUInt16LE(value);
  return bytes;
}

/** A peer made of bytes: sends anything, reads PDUs. */
export class RawPeer {
  readonly socket: Socket;
  readonly #queue = new ByteQueue();
  readonly #closed: Promise<unknown>;
  #changed: (() => void) | undefined;
  isClosed = false;

  constructor(socket: Socket) {
    this.socket = socket;
    socket.on('data', (chunk) => {
      this.#queue.push(chunk);
      this.#changed?.();
    });
    socket.on('error', () => undefined);
    this.#closed = new Promise((resolve) => {
      socket.on('close', () => {
        this.isClosed = true;
        this.#changed?.();
        resolve(undefined);
      });
    });
  }

  static async connect(t: TestContext, port: number): Promise<RawPeer> {
    const socket = connect({ host: '127.0.0.1', port });
    t.after(() => socket.destroy());
    await once(socket, 'connect');
    return new RawPeer(socket);
  }

  send(...parts: Buffer[]): void {
    for (const part of parts) this.socket.write(part);
  }

  /** The next PDU, or undefined when the connection closes first. */
  async next(): Promise<Pdu | undefined> {
    for (;;) {
      const pdu = readPdu(this.#queue, 1 << 24);
      if (pdu !== undefined || this.isClosed) return pdu;
      await new Promise<void>((resolve) => (this.#changed = resolve));
    }
  }

  async closed(): Promise<void> {
    await this.#closed;
  }
}

/** A raw server for one connection; `peer` resolves when it is there. */
export async function startRawPeer(t: TestContext): Promise<{ port: number; peer: Promise<RawPeer> }> {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  t.after(() => server.close());
  const peer = once(server, 'connection').then(([socket]) => {
    t.after(() => (socket as Socket).destroy());
    return new RawPeer(socket as Socket);
  });
  return { port: (server.address() as AddressInfo).port, peer };
}

async function freePort(): Promise<number> {
  const server = createServer();
  server.listen(0, '127.0.0.1');
  await once(server, 'listening');
  const { port } = server.address() as AddressInfo;
  server.close();
  await once(server, 'close');
  return port;
}

async function untilListening(port: number, child: ChildProcess): Promise<void> {
  for (;;) {
    if (child.exitCode !== null) throw new Error(`the peer ended with ${child.exitCode} before it listened`);
    const socket = connect({ host: '127.0.0.1', port });
    const isOpen = await new Promise<boolean>((resolve) => {
      socket.once('connect', () => resolve(true));
      socket.once('error', () => resolve(false));
    });
    socket.destroy();
    if (isOpen) return;
    await new Promise((resolve) => setTimeout(resolve, 20));
  }
}
