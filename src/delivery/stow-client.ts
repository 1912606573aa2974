/**
 * HTTP to nodes; the only user of undici. Pushes objects by STOW-RS (PS3.18 10.5), streaming: a part is read from the archive while it
 * goes out. Fetches single objects by WADO-RS, streaming too.
 */
import { randomUUID } from 'node:crypto';
import { Readable } from 'node:stream';
import type { Node } from '../config/nodes.ts';
import { Refusal } from '../dicom/refusal.ts';
import type { Delivered, Outgoing } from './outgoing.ts';

const FAILED_SOP_SEQUENCE = '00081198';
const REFERENCED_SOP_SEQUENCE = '00081199';
const REFERENCED_SOP_INSTANCE_UID = '00081155';
const FAILURE_REASON = '00081197';
const WARNING_REASON = '00081196';
/** What a node may say of 50 objects, or list of a page of 500, many times over. */
const MOST_ANSWER_BYTES = 32 * 2 ** 20;
/** PS3.7 C.4.2: the reason of a failure that names none. */
const PROCESSING_FAILURE = 0x0110;

export interface HttpAnswer {
  readonly status: number;
  readonly headers: Readonly<Record<string, string | string[] | undefined>>;
  readonly body: Buffer;
}

export interface HttpQuestion {
  readonly method: 'GET' | 'POST';
  readonly url: string;
  readonly headers: Readonly<Record<string, string>>;
  readonly body?: Buffer | AsyncIterable<Buffer>;
  readonly timeoutMs: number;
}

/** One HTTP exchange. @throws Refusal DeliveryFailed when the node cannot be reached or does not answer in time */
export async function exchange({ method, url, headers, body, timeoutMs }: HttpQuestion): Promise<HttpAnswer> {
  // Loaded when a node is first talked to: many gateways only take in and serve.
  const { request } = await import('undici');
  try {
    const answer = await request(url, {
      method,
      headers,
      headersTimeout: timeoutMs,
      bodyTimeout: timeoutMs,
      ...(body === undefined
        ? {}
        : { body: Buffer.isBuffer(body) ? body : Readable.from(body, { objectMode: false }) }),
    });
    return { status: answer.statusCode, headers: answer.headers, body: await gather(answer.body) };
  } catch (error) {
    if (error instanceof Refusal) throw error;
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown';
    throw new Refusal('DeliveryFailed', `the node did not answer: ${code}`);
  }
}

async function gather(body: AsyncIterable<Buffer>): Promise<Buffer> {
  const chunks: Buffer[] = [];
  let bytes = 0;
  for await (const chunk of body) {
    bytes += chunk.length;
    if (bytes > MOST_ANSWER_BYTES)
      throw new Refusal('DeliveryFailed', `the node's answer is longer than ${MOST_ANSWER_BYTES} bytes`);
    chunks.push(chunk);
  }
  return Buffer.concat(chunks);
}

/**
 * One object by WADO-RS (PS3.18 10.4), handed on while it comes. False where the node does not have it.
 * @throws Refusal DeliveryFailed when the node fails, breaks off or answers with something else
 */
export async function retrieveObject(
  { url, headers, timeoutMs }: Pick<HttpQuestion, 'url' | 'headers' | 'timeoutMs'>,
  take: (bytes: AsyncIterable<Buffer>) => Promise<void>,
): Promise<boolean> {
  const accept = 'multipart/related; type="application/dicom"; transfer-syntax=*';
  const { request } = await import('undici');
  try {
    const answer = await request(url, {
      method: 'GET',
      headers: { ...headers, accept },
      headersTimeout: timeoutMs,
      bodyTimeout: timeoutMs,
    });
    if (answer.statusCode !== 200) {
      await answer.body.dump();
      if (answer.statusCode === 404 || answer.statusCode === 410) return false;
      throw new Refusal('DeliveryFailed', `the node answered a retrieval with status ${answer.statusCode}`);
    }
    const type = String(answer.headers['content-type'] ?? '');
    const boundary = /;\s*boundary=(?:"([^"]{1,70})"|([^\s;]{1,70}))/i.exec(type);
    const name = boundary?.[1] ?? boundary?.[2];
    if (/^multipart\/related/i.test(type) && name !== undefined) await take(onlyPart(answer.body, name));
    else if (/^application\/dicom\s*(;|$)/i.test(type)) await take(answer.body);
    else {
      await answer.body.dump();
      throw new Refusal('DeliveryFailed', 'the node answered a retrieval with something else than application/dicom');
    }
    return true;
  } catch (error) {
    if (error instanceof Refusal) throw error;
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown';
    throw new Refusal('DeliveryFailed', `the node broke off a retrieval: ${code}`);
  }
}

/** Bytes of a part's headers at most. */
const MOST_PART_HEADERS = 8192;

/** The content of a multipart body that has one part, without holding it in memory. */
async function* onlyPart(body: AsyncIterable<Buffer>, boundary: string): AsyncGenerator<Buffer> {
  const end = Buffer.from(`\r\n--${boundary}`, 'latin1');
  let isInside = false;
  let isOver = false;
  let rest = Buffer.alloc(0);
  for await (const chunk of body) {
    // What follows the part is read, so that the connection can be used again.
    if (isOver) continue;
    rest = Buffer.concat([rest, chunk]);
    if (!isInside) {
      const headersEnd = rest.indexOf('\r\n\r\n');
      if (headersEnd < 0) {
        if (rest.length > MOST_PART_HEADERS) throw new Refusal('DeliveryFailed', 'a part has no end of its headers');
        continue;
      }
      rest = rest.subarray(headersEnd + 4);
      isInside = true;
    }
    const at = rest.indexOf(end);
    if (at >= 0) {
      if (at > 0) yield rest.subarray(0, at);
      isOver = true;
      continue;
    }
    const sure = rest.length - end.length + 1;
    if (sure <= 0) continue;
    yield rest.subarray(0, sure);
    rest = rest.subarray(sure);
  }
  if (!isOver) throw new Refusal('DeliveryFailed', 'the node broke off in the middle of an object');
}

/**
 * Sends all objects in one request; they must belong to one study.
 * @throws Refusal DeliveryFailed when the request as a whole failed; what the node refused singly stands in the answer
 */
export async function pushByStow(node: Node, objects: readonly Outgoing[]): Promise<Delivered[]> {
  const { dicomweb } = node;
  const [first] = objects;
  if (dicomweb === undefined || first === undefined) return [];
  const boundary = `isthmus-${randomUUID()}`;
  const answer = await exchange({
    method: 'POST',
    url: `${dicomweb.url}/studies/${first.studyInstanceUID}`,
    headers: {
      'content-type': `multipart/related; type="application/dicom"; boundary=${boundary}`,
      accept: 'application/dicom+json',
      ...(dicomweb.authorization === undefined ? {} : { authorization: dicomweb.authorization }),
    },
    body: multipart(objects, boundary),
    timeoutMs: dicomweb.timeoutMs,
  });
  if (answer.status !== 200 && answer.status !== 202 && answer.status !== 409) {
    throw new Refusal(
      'DeliveryFailed',
      `the node answered STOW with status ${answer.status}; 200, 202 or 409 is expected`,
    );
  }
  return readAnswer(answer.body, objects);
}

async function* multipart(objects: readonly Outgoing[], boundary: string): AsyncGenerator<Buffer> {
  let separator = '';
  for (const object of objects) {
    // No transfer-syntax parameter: the file meta says it (PS3.18 8.7.9), and Orthanc 1.10 refuses a part type that has one.
    yield Buffer.from(`${separator}--${boundary}\r\nContent-Type: application/dicom\r\n\r\n`, 'latin1');
    yield object.head;
    yield* object.body;
    separator = '\r\n';
  }
  yield Buffer.from(`\r\n--${boundary}--\r\n`, 'latin1');
}

/** An object that the answer does not name as stored counts as not taken. */
function readAnswer(body: Buffer, objects: readonly Outgoing[]): Delivered[] {
  let answer: unknown;
  try {
    answer = JSON.parse(body.toString('utf8'));
  } catch {
    throw new Refusal('DeliveryFailed', `the node answered STOW with ${body.length} bytes that are no DICOM JSON`);
  }
  const statuses = new Map<string, { taken: boolean; status: number }>();
  for (const item of valuesOf(answer, REFERENCED_SOP_SEQUENCE)) {
    statuses.set(String(valuesOf(item, REFERENCED_SOP_INSTANCE_UID)[0]), {
      taken: true,
      status: statusOf(item, WARNING_REASON, 0),
    });
  }
  for (const item of valuesOf(answer, FAILED_SOP_SEQUENCE)) {
    statuses.set(String(valuesOf(item, REFERENCED_SOP_INSTANCE_UID)[0]), {
      taken: false,
      status: statusOf(item, FAILURE_REASON, PROCESSING_FAILURE),
    });
  }
  return objects.map(({ sopInstanceUID }) => ({
    sopInstanceUID,
    ...(statuses.get(sopInstanceUID) ?? { taken: false, status: PROCESSING_FAILURE }),
  }));
}

/** Of an element in DICOM JSON; empty where the answer is something else. */
function valuesOf(item: unknown, key: string): unknown[] {
  const element = typeof item === 'object' && item !== null ? (item as Record<string, unknown>)[key] : undefined;
  const values = typeof element === 'object' && element !== null && 'Value' in element ? element.Value : undefined;
  return Array.isArray(values) ? values : [];
}

function statusOf(item: unknown, key: string, absent: number): number {
  const status = Number(valuesOf(item, key)[0] ?? absent);
  return Number.isInteger(status) && status >= 0 && status <= 0xffff ? status : PROCESSING_FAILURE;
}
