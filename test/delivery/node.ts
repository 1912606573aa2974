/** A DICOMweb node on loopback whose answers a test can spoil. */
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import type { TestContext } from 'node:test';
import { asciiValue, textValue } from '../../src/dicom/data-set.ts';
import { readObject } from '../../src/dicom/part10.ts';
import { readMultipart } from '../../src/dicomweb/multipart.ts';

export interface Kept {
  readonly study: string;
  readonly series: string;
  readonly sop: string;
  patientID: string;
  readonly bytes: Buffer;
}

export interface StandIn {
  readonly url: string;
  readonly kept: Map<string, Kept>;
  /** How often each SOP Instance UID was sent. */
  readonly sent: Map<string, number>;
  /** Says of an object that it was stored, yet does not keep it. */
  loses: (count: number) => boolean;
  refuses: (count: number) => boolean;
  /** Takes the place of the answer to a STOW request. */
  stowAnswer: ((response: ServerResponse, request: IncomingMessage) => void) | undefined;
  /** Takes the place of the answer to a search. */
  searchAnswer: ((response: ServerResponse) => void) | undefined;
  mostPerPage: number;
  searches: number;
}

const ui = (uid: string): object => ({ vr: 'UI', Value: [uid] });

export async function startStandIn(t: TestContext): Promise<StandIn> {
  const server = createServer((request, response) => {
    answer(node, request, response).catch(() => response.destroy());
  });
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  t.after(() => {
    server.closeAllConnections();
    server.close();
  });
  const node: StandIn = {
    url: `http://127.0.0.1:${(server.address() as AddressInfo).port}/dicom-web`,
    kept: new Map(),
    sent: new Map(),
    loses: () => false,
    refuses: () => false,
    stowAnswer: undefined,
    searchAnswer: undefined,
    mostPerPage: 1000,
    searches: 0,
  };
  return node;
}

async function answer(node: StandIn, request: IncomingMessage, response: ServerResponse): Promise<void> {
  const url = new URL(request.url ?? '/', 'http://node');
  if (request.method === 'POST') return stow(node, request, response);
  node.searches++;
  if (node.searchAnswer !== undefined) return node.searchAnswer(response);
  const [, study, series] = /studies\/([\d.]+)\/series\/([\d.]+)\/instances$/.exec(url.pathname) ?? [];
  if (study === undefined) {
    const wanted = url.searchParams.get('StudyInstanceUID');
    const patients = new Set([...node.kept.values()].filter((one) => one.study === wanted).map((one) => one.patientID));
    return json(
      response,
      [...patients].map((id) => ({ '00100020': { vr: 'LO', Value: [id] } })),
    );
  }
  const offset = Number(url.searchParams.get('offset') ?? 0);
  const limit = Math.min(node.mostPerPage, Number(url.searchParams.get('limit') ?? 1000));
  const found = [...node.kept.values()].filter((one) => one.study === study && one.series === series);
  json(
    response,
    found.slice(offset, offset + limit).map(({ sop }) => ({ '00080018': ui(sop) })),
  );
}

async function stow(node: StandIn, request: IncomingMessage, response: ServerResponse): Promise<void> {
  if (node.stowAnswer !== undefined) return node.stowAnswer(response, request);
  const boundary = /boundary="?([^";]+)"?/.exec(request.headers['content-type'] ?? '')?.[1] ?? '';
  const referenced: object[] = [];
  const failed: object[] = [];
  for await (const part of readMultipart(request, boundary)) {
    const chunks: Uint8Array[] = [];
    for await (const chunk of part.body) chunks.push(chunk);
    const bytes = Buffer.concat(chunks);
    const { dataSet } = (await readObject(bytes)).head;
    const sop = asciiValue(dataSet, 0x00080018) ?? '';
    const count = [...node.sent.values()].reduce((sum, times) => sum + times, 0) + 1;
    node.sent.set(sop, (node.sent.get(sop) ?? 0) + 1);
    if (node.refuses(count)) {
      failed.push({ '00081155': ui(sop), '00081197': { vr: 'US', Value: [0xa900] } });
      continue;
    }
    referenced.push({ '00081155': ui(sop) });
    if (node.loses(count)) continue;
    node.kept.set(sop, {
      study: asciiValue(dataSet, 0x0020000d) ?? '',
      series: asciiValue(dataSet, 0x0020000e) ?? '',
      sop,
      patientID: textValue(dataSet, 0x00100020) ?? '',
      bytes,
    });
  }
  json(
    response,
    {
      ...(referenced.length === 0 ? {} : { '00081199': { vr: 'SQ', Value: referenced } }),
      ...(failed.length === 0 ? {} : { '00081198': { vr: 'SQ', Value: failed } }),
    },
    failed.length === 0 ? 200 : 202,
  );
}

export function json(response: ServerResponse, body: unknown, status = 200): void {
  response.writeHead(status, { 'content-type': 'application/dicom+json' }).end(JSON.stringify(body));
}
