/** A running gateway with its web door: real database, real packs in a temporary folder, a real socket on loopback. */
import assert from 'node:assert/strict';
import { cpSync, mkdirSync, mkdtempSync, rmSync, writeFileSync } from 'node:fs';
import type { Server } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import type { Express } from 'express';
import supertest from 'supertest';
import { storeInstance } from '../../src/archive/instances.ts';
import { readConfig } from '../../src/config.ts';
import { closeGateway, openGateway, type Gateway } from '../../src/gateway.ts';
import { openLog } from '../../src/log.ts';
import { buildApp, listen } from '../../src/server.ts';
import { makeObject, type MadeObject, type ObjectOptions } from '../phantom/objects.ts';

export interface Door {
  readonly gateway: Gateway;
  readonly app: Express;
  readonly port: number;
  /** `http://127.0.0.1:port/dicom-web` */
  readonly url: string;
  readonly data: string;
  /** @param asked what is accepted, or headers */
  get(path: string, asked?: string | Readonly<Record<string, string>>): Promise<Response>;
  /** Of a whole answer, read to its end. */
  statusOf(path: string, asked?: string | Readonly<Record<string, string>>, method?: string): Promise<number>;
  /** What a search finds; nothing is 204. */
  search(path: string): Promise<JsonDataSet[]>;
  close(): Promise<void>;
}

const CONFIG = fileURLToPath(new URL('../../config', import.meta.url));
const RULES = `admission:
  - { name: all, when: { callingAE: '*' }, project: research, profile: basic }
processing: []
`;

/** `settings`: YAML added to gateway.yaml; `archive`: in place of its part on the archive. */
export async function openDoor(settings = '', rules = RULES, archive = 'archive: { reserveMb: 1 }'): Promise<Door> {
  const data = mkdtempSync(join(tmpdir(), 'isthmus-door-'));
  const folder = join(data, 'config');
  mkdirSync(folder);
  cpSync(join(CONFIG, 'profiles'), join(folder, 'profiles'), { recursive: true });
  writeFileSync(join(folder, 'gateway.yaml'), `log: silent\n${archive}\n${settings}`);
  writeFileSync(join(folder, 'nodes.yaml'), 'nodes: {}\n');
  writeFileSync(join(folder, 'rules.yaml'), rules);
  const config = readConfig({ ISTHMUS_CONFIG: folder, ISTHMUS_DATA: join(data, 'store'), ISTHMUS_HTTP_PORT: '0' });
  // No pipeline runs here.
  const modelsFolder = join(data, 'models');
  mkdirSync(modelsFolder);
  const gateway = await openGateway({ ...config, modelsFolder }, openLog('silent'));
  const app = buildApp(gateway);
  const server = await listen(app, config.http);
  const { port } = server.address() as AddressInfo;
  const url = `http://127.0.0.1:${port}/dicom-web`;
  const ask = (
    path: string,
    asked: string | Readonly<Record<string, string>> = {},
    method = 'GET',
  ): Promise<Response> =>
    fetch(`${url}${path}`, { method, headers: typeof asked === 'string' ? { accept: asked } : asked });
  return {
    gateway,
    app,
    port,
    url,
    data,
    get: (path, asked) => ask(path, asked),
    async statusOf(path, asked, method) {
      const response = await ask(path, asked, method);
      await response.arrayBuffer();
      return response.status;
    },
    async search(path) {
      const response = await ask(path);
      if (response.status === 204) return [];
      assert.equal(response.status, 200, path);
      return (await response.json()) as JsonDataSet[];
    },
    async close() {
      await closeServer(server);
      await closeGateway(gateway);
      rmSync(data, { recursive: true, force: true });
    },
  };
}

function closeServer(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}

/** Straight into the archive, as objects that name nobody. */
export async function fill(door: Door, ...objects: readonly ObjectOptions[]): Promise<MadeObject[]> {
  const made = objects.map((options) => makeObject({ rows: 4, columns: 4, ...options }));
  for (const { object } of made) await storeInstance(door.gateway.archive, object);
  return made;
}

export function agent({ app }: Door): ReturnType<typeof supertest> {
  return supertest(app);
}

export type JsonDataSet = Record<
  string,
  { vr: string; Value?: unknown[]; BulkDataURI?: string; InlineBinary?: string }
>;

export async function getJson(url: string, headers: Record<string, string> = {}): Promise<JsonDataSet[]> {
  const response = await fetch(url, { headers });
  if (response.status !== 200) throw new Error(`${response.status} instead of 200`);
  return (await response.json()) as JsonDataSet[];
}

export interface PartRead {
  readonly headers: Record<string, string>;
  readonly body: Buffer;
}

/** Splits a whole answer at its boundary, by plain search as clients do. */
export async function partsOf(response: Response): Promise<PartRead[]> {
  const type = response.headers.get('content-type') ?? '';
  const boundary = /boundary="?([^";]+)"?/.exec(type)?.[1];
  if (boundary === undefined) throw new Error(`no boundary in ${type}`);
  const text = Buffer.from(await response.arrayBuffer()).toString('latin1');
  const pieces = text.split(`--${boundary}`);
  if (pieces[0] !== '' || pieces.at(-1) !== '--') throw new Error('preamble, epilogue or no closing boundary');
  return pieces.slice(1, -1).map((piece) => {
    const at = piece.indexOf('\r\n\r\n');
    const headers = piece.slice(2, at).split('\r\n');
    return {
      headers: Object.fromEntries(
        headers.map((line) => [line.slice(0, line.indexOf(':')).toLowerCase(), line.slice(line.indexOf(':') + 2)]),
      ),
      body: Buffer.from(piece.slice(at + 4, -2), 'latin1'),
    };
  });
}

/** A multipart/related body of Part 10 objects. */
export function multipartBody(objects: readonly Buffer[], boundary = 'b0'): Buffer {
  return Buffer.concat([
    ...objects.flatMap((object) => [
      Buffer.from(`\r\n--${boundary}\r\nContent-Type: application/dicom\r\n\r\n`),
      object,
    ]),
    Buffer.from(`\r\n--${boundary}--\r\n`),
  ]);
}

export const MULTIPART = 'multipart/related; type="application/dicom"; boundary=b0';
