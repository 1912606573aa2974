/**
 * The part of Orthanc's REST API that its own DICOMweb tests lean on, in front of a real gateway, so that those tests can be pointed at us:
 *   node test/conformance/strangers/orthanc-adapter.ts [PORT]
 * /dicom-web and /wado go to the gateway's application untouched but for what is Orthanc's and not the standard's: a doubled slash in a path
 * is one, WADO-URI finds an object by its own UID alone, 406 is told as 400, and Allow names GET and POST alone.
 *
 * The tests compare UIDs, names and sizes with the files they upload, and no profile lets a name in. Hence POST /instances puts the object
 * straight into the archive, as one that names nobody: what is tested is search, retrieval and rendering. What comes by STOW-RS goes
 * through the door and is de-identified as ever.
 */
import { createHash, randomBytes } from 'node:crypto';
import { cpSync, mkdirSync, writeFileSync } from 'node:fs';
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { fileURLToPath } from 'node:url';
import { instanceOf, instancesOf, storeInstance, type InstanceRow } from '../../../src/archive/instances.ts';
import { studiesOf } from '../../../src/archive/studies.ts';
import { readConfig } from '../../../src/config.ts';
import { asciiValue } from '../../../src/dicom/data-set.ts';
import type { Deidentified, Head } from '../../../src/dicom/object.ts';
import { readHead, readObject } from '../../../src/dicom/part10.ts';
import { EXPLICIT_VR_LITTLE_ENDIAN, transferSyntax } from '../../../src/dicom/transfer-syntax.ts';
import {
  copyElements,
  openSink,
  sinkBytes,
  swapWords,
  writeBytes,
  writeElement,
  writeHeader,
  writeNumbers,
  writeText,
} from '../../../src/dicom/writer.ts';
import { closeGateway, openGateway, type Gateway } from '../../../src/gateway.ts';
import { openLog } from '../../../src/log.ts';
import { buildApp, expectNothingOfNothing } from '../../../src/server.ts';
import { deleteFromArchive } from '../../../src/workflow/delete.ts';

export interface Adapter {
  readonly port: number;
  close(): Promise<void>;
}

const PROFILES = fileURLToPath(new URL('../../../config/profiles', import.meta.url));
const MANY = 1_000_000;

export async function openAdapter(folder: string, port = 0): Promise<Adapter> {
  const config = join(folder, 'config');
  mkdirSync(config, { recursive: true });
  cpSync(PROFILES, join(config, 'profiles'), { recursive: true });
  // Its tests forward headers themselves, name hosts that are not this one, and expect an empty list with status 200. Without a token
  // such a host would be taken for another's page.
  const token = randomBytes(24).toString('base64url');
  const sha256 = createHash('sha256').update(token).digest('hex');
  writeFileSync(
    join(config, 'gateway.yaml'),
    "log: silent\narchive: { reserveMb: 1 }\nhttp: { emptySearch: 200, trustedProxies: ['127.0.0.1', '::1', '::ffff:127.0.0.1'] }\n" +
      `access: { tokens: [{ name: adapter, sha256: ${sha256}, roles: [viewer, sender, radiology-it] }] }\n`,
  );
  writeFileSync(join(config, 'nodes.yaml'), 'nodes: {}\n');
  writeFileSync(
    join(config, 'rules.yaml'),
    "admission:\n  - { name: all, when: { callingAE: '*' }, project: tests, profile: basic }\nprocessing: []\n",
  );
  const settings = readConfig({ ISTHMUS_CONFIG: config, ISTHMUS_DATA: join(folder, 'data'), ISTHMUS_HTTP_PORT: '0' });
  const modelsFolder = join(folder, 'models');
  mkdirSync(modelsFolder);
  const gateway = await openGateway({ ...settings, modelsFolder }, openLog('silent'));
  const app = buildApp(gateway);
  const server = createServer((request, response) => {
    request.url = translated(gateway, request.url ?? '/');
    if (/^\/dicom-web\b(?!\/servers)/.test(request.url)) {
      speakAsOrthanc(request, response);
      request.headers.authorization = `Bearer ${token}`;
      app(request, response);
      return;
    }
    answer(gateway, request).then(
      ({ status = 200, type = 'application/json', body }) => {
        response.writeHead(status, { 'Content-Type': type });
        response.end(body);
      },
      (error: unknown) => {
        response.writeHead(500, { 'Content-Type': 'text/plain' });
        response.end(error instanceof Error ? error.message : String(error));
      },
    );
  });
  expectNothingOfNothing(server);
  await new Promise<void>((resolve) => server.listen(port, '127.0.0.1', resolve));
  return {
    port: (server.address() as AddressInfo).port,
    async close() {
      await closeServer(server);
      await closeGateway(gateway);
    },
  };
}

function closeServer(server: Server): Promise<void> {
  return new Promise((resolve) => {
    server.close(() => resolve());
    server.closeAllConnections();
  });
}

/** One slash where its tests write two; WADO-URI where we have it, with the study and series that they leave out. */
function translated({ archive }: Gateway, url: string): string {
  const [path = '', ...query] = url.split('?');
  const plain = path.replace(/\/+/g, '/');
  if (plain !== '/wado') return [plain, ...query].join('?');
  const parameters = new URLSearchParams(query.join('?'));
  const instance = instanceOf(archive, parameters.get('objectUID') ?? '');
  if (instance !== undefined && !parameters.has('studyUID')) parameters.set('studyUID', instance.studyInstanceUID);
  if (instance !== undefined && !parameters.has('seriesUID')) parameters.set('seriesUID', instance.seriesInstanceUID);
  return `/dicom-web/wado?${parameters}`;
}

/**
 * The two answers of its server that its tests compare literally and the standard says otherwise; and a Host without a port, which for us
 * is a client that left ours out, for its tests a proxy on the usual one.
 */
function speakAsOrthanc({ headers }: IncomingMessage, response: ServerResponse): void {
  if (headers.host !== undefined && !headers.host.includes(':')) headers['x-forwarded-host'] ??= headers.host;
  const writeHead = response.writeHead.bind(response) as (...given: unknown[]) => ServerResponse;
  response.writeHead = ((status: number, ...rest: unknown[]) => {
    if (status === 405 && String(response.getHeader('Allow')).includes('POST')) response.setHeader('Allow', 'GET,POST');
    return writeHead(status === 406 ? 400 : status, ...rest);
  }) as ServerResponse['writeHead'];
}

interface Answer {
  readonly status?: number;
  readonly type?: string;
  readonly body: string | Buffer;
}

const json = (value: unknown): Answer => ({ body: JSON.stringify(value) });
const NOT_FOUND: Answer = { status: 404, body: '{}' };

async function answer(gateway: Gateway, request: IncomingMessage): Promise<Answer> {
  const { method = '', headers } = request;
  const { pathname } = new URL(request.url ?? '/', 'http://adapter');
  const chunks: Buffer[] = [];
  for await (const chunk of request) chunks.push(chunk as Buffer);
  const body = Buffer.concat(chunks);
  const [room, id, detail] = pathname.slice(1).split('/');
  const { archive } = gateway;
  const origin = `http://127.0.0.1:${request.socket.localPort}`;
  switch (`${method} /${room}${id === undefined ? '' : '/x'}${detail === undefined ? '' : `/${detail}`}`) {
    case 'POST /instances': {
      const object = await objectOf(body);
      await storeInstance(archive, object);
      const { sopInstanceUID, seriesInstanceUID, studyInstanceUID } = object;
      return json({
        ID: sopInstanceUID,
        ParentSeries: seriesInstanceUID,
        ParentStudy: studyInstanceUID,
        Status: 'Success',
      });
    }
    case 'GET /instances':
      return json(
        studies(gateway)
          .flatMap((study) => instancesOf(archive, { studyInstanceUID: study }))
          .map(idOf),
      );
    case 'GET /instances/x/tags': {
      const instance = instanceOf(archive, id ?? '');
      return instance === undefined
        ? NOT_FOUND
        : json({
            StudyInstanceUID: instance.studyInstanceUID,
            SeriesInstanceUID: instance.seriesInstanceUID,
            SOPInstanceUID: instance.sopInstanceUID,
          });
    }
    case 'GET /instances/x/rendered': {
      const instance = instanceOf(archive, id ?? '');
      if (instance === undefined) return NOT_FOUND;
      const { studyInstanceUID, seriesInstanceUID, sopInstanceUID } = instance;
      const path = `/studies/${studyInstanceUID}/series/${seriesInstanceUID}/instances/${sopInstanceUID}/rendered`;
      return passOn(`${origin}/dicom-web${path}`, { Accept: headers.accept ?? 'image/png' });
    }
    case 'DELETE /instances/x': {
      const instance = instanceOf(archive, id ?? '');
      if (instance !== undefined) await deleteFromArchive(gateway, instance, 'adapter');
      return json({});
    }
    case 'GET /studies/x':
      return studies(gateway).includes(id ?? '') ? json({ MainDicomTags: { StudyInstanceUID: id } }) : NOT_FOUND;
    // To empty the server is all that patients are asked for: a study stands for its patient.
    case 'GET /patients':
      return json(studies(gateway));
    case 'DELETE /patients/x':
      await deleteFromArchive(gateway, { studyInstanceUID: id ?? '' }, 'adapter');
      return json({});
    case 'POST /tools/x':
      return id === 'find' ? await find(origin, body) : { type: 'text/plain', body: '' };
    case 'PUT /tools/x':
      return { type: 'text/plain', body };
    case 'DELETE /exports':
      return json({});
    case 'GET /jobs':
    case 'GET /plugins':
      return json([]);
    case 'GET /system':
      return json({ ApiVersion: 30, Name: 'adapter', Version: '1.12.13' });
    case 'GET /plugins/x':
      return json({ ID: id, Version: '1.24.0' });
    // Its DICOMweb client asking its own server: the same as asking us.
    case 'POST /dicom-web/x/sample': {
      const asked = JSON.parse(body.toString()) as { Uri: string; HttpHeaders?: Record<string, string> };
      return pathname.endsWith('/get') ? passOn(`${origin}/dicom-web${asked.Uri}`, asked.HttpHeaders ?? {}) : NOT_FOUND;
    }
    default:
      return NOT_FOUND;
  }
}

function studies({ archive }: Gateway): string[] {
  return studiesOf(archive, { limit: MANY, offset: 0 }).map(({ studyInstanceUID }) => studyInstanceUID);
}

function idOf({ sopInstanceUID }: InstanceRow): string {
  return sopInstanceUID;
}

async function passOn(url: string, headers: Record<string, string>): Promise<Answer> {
  const reply = await fetch(url, { headers });
  const type = reply.headers.get('content-type') ?? 'application/octet-stream';
  return { status: reply.status, type, body: Buffer.from(await reply.arrayBuffer()) };
}

/** Patients by their names: a search for studies. */
async function find(origin: string, body: Buffer): Promise<Answer> {
  const { Query } = JSON.parse(body.toString()) as { Query: Record<string, string> };
  const reply = await passOn(`${origin}/dicom-web/studies?${new URLSearchParams(Query)}`, {});
  return json((JSON.parse(reply.body.toString()) as unknown[]).map((_, n) => String(n)));
}

/** As it came where that is the archive's own form, otherwise written anew in Explicit VR LE. The brand is put on by a cast, in tests only. */
async function objectOf(bytes: Buffer): Promise<Deidentified> {
  const { head, body } = await readObject(bytes);
  const { dataSet, pixelData, fileMeta } = head;
  const isOurs =
    fileMeta !== undefined &&
    dataSet.encoding === 'explicit-le' &&
    transferSyntax(head.transferSyntaxUID)?.deflated !== true;
  const uid = (tag: number): string => asciiValue(dataSet, tag) ?? '';
  return {
    studyInstanceUID: uid(0x0020000d),
    seriesInstanceUID: uid(0x0020000e),
    sopInstanceUID: uid(0x00080018),
    sopClassUID: uid(0x00080016),
    transferSyntaxUID: isOurs ? head.transferSyntaxUID : EXPLICIT_VR_LITTLE_ENDIAN,
    project: 'tests',
    head: isOurs ? bytes.subarray(0, readHead(bytes).bodyStart) : rewritten(head),
    body: dataSet.encoding === 'explicit-be' && pixelData?.vr === 'OW' ? turnedRound(body) : body,
    bodyLengthBytes: pixelData?.lengthBytes,
  } as unknown as Deidentified;
}

function rewritten({ dataSet, pixelData }: Head): Buffer {
  const meta = openSink(512);
  writeElement(meta, 0x00020001, 'OB', Buffer.from([0, 1]));
  writeText(meta, 0x00020002, 'UI', asciiValue(dataSet, 0x00080016) ?? '');
  writeText(meta, 0x00020003, 'UI', asciiValue(dataSet, 0x00080018) ?? '');
  writeText(meta, 0x00020010, 'UI', EXPLICIT_VR_LITTLE_ENDIAN);
  writeText(meta, 0x00020012, 'UI', '2.25.1');
  const sink = openSink(16_384);
  writeBytes(sink, Buffer.concat([Buffer.alloc(128), Buffer.from('DICM')]));
  writeNumbers(sink, 0x00020000, 'UL', [meta.length]);
  writeBytes(sink, sinkBytes(meta));
  copyElements(sink, dataSet);
  if (pixelData !== undefined) writeHeader(sink, pixelData.tag, pixelData.vr, pixelData.lengthBytes ?? 0xffffffff);
  return Buffer.from(sinkBytes(sink));
}

async function* turnedRound(body: AsyncIterable<Buffer>): AsyncGenerator<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of body) chunks.push(chunk);
  yield swapWords(Buffer.concat(chunks), 2);
}

if (import.meta.main) {
  const adapter = await openAdapter(
    join(tmpdir(), `isthmus-orthanc-adapter-${process.pid}`),
    Number(process.argv[2] ?? 0),
  );
  console.log(`http://127.0.0.1:${adapter.port}/`);
  for (const signal of ['SIGINT', 'SIGTERM'] as const) process.once(signal, () => void adapter.close());
}
