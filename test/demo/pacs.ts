/**
 * The stand-in hospital PACS of the demo: a process of its own that keeps Part 10 files in a folder and speaks real C-STORE, STOW-RS and
 * QIDO-RS on loopback. Its parent tells it by message to take in a folder of acquired files and to forward a study to the gateway.
 *   started by fork with FOLDER; answers { ready: { http, dimse } }
 */
import { randomUUID } from 'node:crypto';
import { mkdirSync, readFileSync, readdirSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { join } from 'node:path';
import { asciiValue, textValue } from '../../src/dicom/data-set.ts';
import { readHead, readObject } from '../../src/dicom/part10.ts';
import { openAssociation, release, store } from '../../src/dimse/scu.ts';
import { startScp } from '../../src/dimse/scp.ts';
import { readMultipart } from '../../src/dicomweb/multipart.ts';
import { openSink, sinkBytes, writeBytes, writeElement, writeNumbers, writeText } from '../../src/dicom/writer.ts';

export interface ForwardOrder {
  readonly forward: 'dimse' | 'stow';
  readonly studyInstanceUID: string;
  readonly host: string;
  readonly dimsePort: number;
  readonly httpUrl: string;
}

interface Entry {
  readonly file: string;
  readonly study: string;
  readonly series: string;
  readonly sop: string;
  readonly sopClass: string;
  readonly transferSyntax: string;
  readonly patientID: string;
  readonly seriesDescription: string;
  readonly modality: string;
}

const AE = 'STANDIN';
const folder = process.argv[2] ?? '';
mkdirSync(folder, { recursive: true });
const entries = new Map<string, Entry>();

async function keep(bytes: Buffer): Promise<Entry> {
  const { head } = await readObject(bytes);
  const { dataSet } = head;
  const value = (tag: number): string => asciiValue(dataSet, tag) ?? '';
  const entry: Entry = {
    file: join(folder, `${randomUUID()}.dcm`),
    study: value(0x0020000d),
    series: value(0x0020000e),
    sop: value(0x00080018),
    sopClass: value(0x00080016),
    transferSyntax: head.transferSyntaxUID,
    patientID: value(0x00100020),
    seriesDescription: textValue(dataSet, 0x0008103e) ?? '',
    modality: value(0x00080060),
  };
  writeFileSync(entry.file, bytes);
  entries.set(entry.sop, entry);
  return entry;
}

async function gather(stream: AsyncIterable<Uint8Array>): Promise<Buffer> {
  const chunks: Uint8Array[] = [];
  for await (const chunk of stream) chunks.push(chunk);
  return Buffer.concat(chunks);
}

const scp = await startScp(
  { host: '127.0.0.1', port: 0, aeTitle: AE },
  {
    async store({ sopClassUID, sopInstanceUID, transferSyntaxUID, dataSet }) {
      await keep(Buffer.concat([part10Start(sopClassUID, sopInstanceUID, transferSyntaxUID), await gather(dataSet)]));
      return 0;
    },
  },
);

/** Preamble and file meta for a data set that came by C-STORE. */
function part10Start(sopClassUID: string, sopInstanceUID: string, transferSyntaxUID: string): Buffer {
  const meta = openSink();
  writeElement(meta, 0x00020001, 'OB', Buffer.from([0, 1]));
  writeText(meta, 0x00020002, 'UI', sopClassUID);
  writeText(meta, 0x00020003, 'UI', sopInstanceUID);
  writeText(meta, 0x00020010, 'UI', transferSyntaxUID);
  writeText(meta, 0x00020012, 'UI', '2.25.31469713214972358741236987412');
  const sink = openSink();
  writeBytes(sink, Buffer.alloc(128));
  writeBytes(sink, Buffer.from('DICM'));
  writeNumbers(sink, 0x00020000, 'UL', [meta.length]);
  writeBytes(sink, sinkBytes(meta));
  return sinkBytes(sink);
}

const http = createServer((request, response) => {
  answer(request, response).catch(() => response.writeHead(500).end());
});
http.listen(0, '127.0.0.1', () => {
  const { port } = http.address() as AddressInfo;
  process.send?.({ ready: { http: port, dimse: scp.port } });
});

async function answer(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const url = new URL(request.url ?? '/', 'http://pacs');
  if (request.method === 'POST' && /^\/dicom-web\/studies(\/[\d.]+)?$/.test(url.pathname))
    return stow(request, response);
  const instances = /^\/dicom-web\/studies\/([\d.]+)\/series\/([\d.]+)\/instances$/.exec(url.pathname);
  if (request.method === 'GET' && instances !== null) {
    const found = [...entries.values()].filter(
      ({ study, series }) => study === instances[1] && series === instances[2],
    );
    const offset = Number(url.searchParams.get('offset') ?? 0);
    return json(
      response,
      found
        .slice(offset, offset + Number(url.searchParams.get('limit') ?? found.length))
        .map((entry) => ({ '00080018': ui(entry.sop) })),
    );
  }
  if (request.method === 'GET' && url.pathname === '/dicom-web/studies') {
    const wanted = url.searchParams.get('StudyInstanceUID');
    const studies = new Map(
      [...entries.values()]
        .filter(({ study }) => wanted === null || study === wanted)
        .map((entry) => [entry.study, entry]),
    );
    return json(
      response,
      [...studies.values()].map((entry) => ({
        '0020000D': ui(entry.study),
        '00100020': { vr: 'LO', Value: [entry.patientID] },
      })),
    );
  }
  response.writeHead(404).end();
}

async function stow(request: IncomingMessage, response: ServerResponse): Promise<void> {
  const boundary = /boundary="?([^";]+)"?/.exec(request.headers['content-type'] ?? '')?.[1] ?? '';
  const referenced: object[] = [];
  for await (const part of readMultipart(request, boundary)) {
    const entry = await keep(await gather(part.body));
    referenced.push({ '00081150': ui(entry.sopClass), '00081155': ui(entry.sop) });
  }
  json(response, { '00081199': { vr: 'SQ', Value: referenced } });
}

function ui(uid: string): object {
  return { vr: 'UI', Value: [uid] };
}

function json(response: ServerResponse, body: object): void {
  response.writeHead(200, { 'content-type': 'application/dicom+json' }).end(JSON.stringify(body));
}

async function forward(order: ForwardOrder): Promise<number> {
  const study = [...entries.values()].filter((entry) => entry.study === order.studyInstanceUID);
  if (order.forward === 'stow') {
    const boundary = randomUUID();
    const parts = study.flatMap((entry) => [
      Buffer.from(`\r\n--${boundary}\r\nContent-Type: application/dicom\r\n\r\n`),
      readFileSync(entry.file),
    ]);
    const reply = await fetch(`${order.httpUrl}/studies`, {
      method: 'POST',
      headers: {
        'content-type': `multipart/related; type="application/dicom"; boundary=${boundary}`,
        accept: 'application/dicom+json',
      },
      body: Buffer.concat([...parts, Buffer.from(`\r\n--${boundary}--\r\n`)]),
    });
    // 202: stored, with a warning about values.
    if (reply.status !== 200 && reply.status !== 202) throw new Error(`STOW was answered with ${reply.status}`);
    return study.length;
  }
  const classes = [...new Set(study.map(({ sopClass }) => sopClass))];
  const association = await openAssociation({
    host: order.host,
    port: order.dimsePort,
    callingAE: AE,
    calledAE: 'ISTHMUS',
    contexts: classes.map((sopClassUID) => ({ sopClassUID, transferSyntaxUIDs: ['1.2.840.10008.1.2.1'] })),
  });
  for (const entry of study) {
    const bytes = readFileSync(entry.file);
    const start = readHead(bytes).head.dataSet.start;
    const object = { sopClassUID: entry.sopClass, sopInstanceUID: entry.sop, transferSyntaxUID: entry.transferSyntax };
    const status = await store(association, { ...object, dataSet: bytes.subarray(start) });
    if (status !== 0) throw new Error(`C-STORE was answered with ${status.toString(16)}`);
  }
  await release(association);
  return study.length;
}

process.on('message', (message: { acquire?: string; list?: true } & Partial<ForwardOrder>) => {
  void (async () => {
    try {
      if (message.acquire !== undefined) {
        for (const name of readdirSync(message.acquire)) await keep(readFileSync(join(message.acquire, name)));
        process.send?.({ answer: entries.size });
      } else if (message.list === true) process.send?.({ answer: [...entries.values()] });
      else process.send?.({ answer: await forward(message as ForwardOrder) });
    } catch (error) {
      process.send?.({ error: error instanceof Error ? error.message : 'failed' });
    }
  })();
});
process.on('disconnect', () => process.exit(0));
