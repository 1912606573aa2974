/** What a viewer and a sender do over HTTP, in the least that the tests here need. */
import assert from 'node:assert/strict';

export type DicomJson = Record<string, { vr?: string; Value?: unknown[] } | undefined>;

export interface StowAnswer {
  readonly status: number;
  readonly json: DicomJson;
  readonly text: string;
}

const BOUNDARY = 'isthmus-test-boundary';

/** One request with a part for each object; `study` names the study of the path. */
export async function stow(base: string, objects: readonly Buffer[], study?: string): Promise<StowAnswer> {
  const body = Buffer.concat([
    ...objects.flatMap((object) => [
      Buffer.from(`--${BOUNDARY}\r\nContent-Type: application/dicom\r\n\r\n`),
      object,
      Buffer.from('\r\n'),
    ]),
    Buffer.from(`--${BOUNDARY}--\r\n`),
  ]);
  const reply = await fetch(`${base}/dicom-web/studies${study === undefined ? '' : `/${study}`}`, {
    method: 'POST',
    body,
    headers: {
      'Content-Type': `multipart/related; type="application/dicom"; boundary=${BOUNDARY}`,
      Accept: 'application/dicom+json',
    },
  });
  const text = await reply.text();
  let json: DicomJson = {};
  try {
    json = JSON.parse(text) as DicomJson;
  } catch {
    // An error body need not be JSON.
  }
  return { status: reply.status, json, text };
}

/** Every page of a QIDO-RS search. */
export async function searchAll(base: string, path: string): Promise<DicomJson[]> {
  const found: DicomJson[] = [];
  for (;;) {
    const page = `${path}${path.includes('?') ? '&' : '?'}limit=100&offset=${found.length}`;
    const reply = await fetch(`${base}/dicom-web/${page}`, { headers: { Accept: 'application/dicom+json' } });
    if (reply.status === 204) return found;
    assert.equal(reply.status, 200, path);
    const results = (await reply.json()) as DicomJson[];
    if (results.length === 0) return found;
    found.push(...results);
  }
}

/** The Part 10 objects of a WADO-RS answer. */
export async function retrieveParts(base: string, path: string): Promise<Buffer[]> {
  const reply = await fetch(`${base}/dicom-web/${path}`, {
    headers: { Accept: 'multipart/related; type="application/dicom"; transfer-syntax=*' },
  });
  assert.equal(reply.status, 200, path);
  const boundary = /boundary="?([^";]+)"?/.exec(reply.headers.get('content-type') ?? '')?.[1] ?? '';
  const body = Buffer.from(await reply.arrayBuffer());
  const parts: Buffer[] = [];
  for (let at = body.indexOf(`--${boundary}`); at >= 0;) {
    const begin = body.indexOf('\r\n\r\n', at) + 4;
    const next = body.indexOf(`\r\n--${boundary}`, begin);
    if (begin < 4 || next < 0) break;
    parts.push(body.subarray(begin, next));
    at = next + 2;
  }
  return parts;
}
