/** Pushes objects by STOW-RS (PS3.18 10.5), streaming: a part is read from the archive while it goes out. The only user of undici. */
import { randomUUID } from 'node:crypto';
import { Readable } from 'node:stream';
import { request } from 'undici';
import type { Node } from '../config.ts';
import { Refusal } from '../dicom/refusal.ts';
import type { Delivered, Outgoing } from './outgoing.ts';

const FAILED_SOP_SEQUENCE = '00081198';
const REFERENCED_SOP_SEQUENCE = '00081199';
const REFERENCED_SOP_INSTANCE_UID = '00081155';
const FAILURE_REASON = '00081197';
const WARNING_REASON = '00081196';

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
    return { status: answer.statusCode, headers: answer.headers, body: Buffer.from(await answer.body.arrayBuffer()) };
  } catch (error) {
    if (error instanceof Refusal) throw error;
    const code = error instanceof Error && 'code' in error ? String(error.code) : 'unknown';
    throw new Refusal('DeliveryFailed', `the node did not answer: ${code}`);
  }
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

type JsonItem = Readonly<Record<string, { readonly Value?: readonly unknown[] } | undefined>>;

/** An object that the answer does not name as stored counts as not taken. */
function readAnswer(body: Buffer, objects: readonly Outgoing[]): Delivered[] {
  let answer: JsonItem;
  try {
    answer = JSON.parse(body.toString('utf8')) as JsonItem;
  } catch {
    throw new Refusal('DeliveryFailed', `the node answered STOW with ${body.length} bytes that are no DICOM JSON`);
  }
  const statuses = new Map<string, { taken: boolean; status: number }>();
  for (const item of itemsOf(answer, REFERENCED_SOP_SEQUENCE)) {
    statuses.set(textOf(item, REFERENCED_SOP_INSTANCE_UID), {
      taken: true,
      status: Number(item[WARNING_REASON]?.Value?.[0] ?? 0),
    });
  }
  for (const item of itemsOf(answer, FAILED_SOP_SEQUENCE)) {
    statuses.set(textOf(item, REFERENCED_SOP_INSTANCE_UID), {
      taken: false,
      status: Number(item[FAILURE_REASON]?.Value?.[0] ?? 0x0110),
    });
  }
  return objects.map(({ sopInstanceUID }) => ({
    sopInstanceUID,
    ...(statuses.get(sopInstanceUID) ?? { taken: false, status: 0x0110 }),
  }));
}

function itemsOf(item: JsonItem, key: string): JsonItem[] {
  return (item[key]?.Value ?? []) as JsonItem[];
}

function textOf(item: JsonItem, key: string): string {
  return String(item[key]?.Value?.[0] ?? '');
}
