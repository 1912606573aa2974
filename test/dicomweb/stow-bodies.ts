/** Requests of STOW-RS whose metadata and bulk data come apart, and their answers. */
import type { Door, JsonDataSet, PartRead } from './door.ts';
import { partsOf } from './door.ts';

export interface BodyPart {
  readonly headers: Readonly<Record<string, string>>;
  readonly body: Buffer | string;
}

export interface Answer {
  readonly status: number;
  readonly headers: Headers;
  readonly text: string;
  readonly dataSet: JsonDataSet;
}

export const JSON_FORM = 'multipart/related; type="application/dicom+json"; boundary=b0';
export const XML_FORM = 'multipart/related; type="application/dicom+xml"; boundary=b0';

export function bodyOf(parts: readonly BodyPart[]): Buffer {
  return Buffer.concat([
    ...parts.flatMap(({ headers, body }) => [
      Buffer.from(
        `\r\n--b0\r\n${Object.entries(headers)
          .map(([name, value]) => `${name}: ${value}\r\n`)
          .join('')}\r\n`,
      ),
      Buffer.from(body),
    ]),
    Buffer.from('\r\n--b0--\r\n'),
  ]);
}

export const jsonPart = (...dataSets: readonly unknown[]): BodyPart => ({
  headers: { 'Content-Type': 'application/dicom+json' },
  body: JSON.stringify(dataSets),
});
export const xmlPart = (text: string | Buffer): BodyPart => ({
  headers: { 'Content-Type': 'application/dicom+xml' },
  body: text,
});
export const bulkPart = (location: string, body: Buffer, type = 'application/octet-stream'): BodyPart => ({
  headers: { 'Content-Type': type, 'Content-Location': location },
  body,
});

export async function stow(
  door: Door,
  contentType: string,
  body: Buffer,
  path = '/studies',
  headers: Record<string, string> = {},
): Promise<Answer> {
  const response = await fetch(`${door.url}${path}`, {
    method: 'POST',
    body: new Uint8Array(body),
    headers: { 'content-type': contentType, ...headers },
  });
  const text = await response.text();
  const json = response.headers.get('content-type')?.includes('json') === true;
  return {
    status: response.status,
    headers: response.headers,
    text,
    dataSet: (json ? JSON.parse(text) : {}) as JsonDataSet,
  };
}

export const itemsIn = (dataSet: JsonDataSet, key: string): JsonDataSet[] =>
  (dataSet[key]?.Value ?? []) as JsonDataSet[];
export const reasonsIn = (dataSet: JsonDataSet, key: string): unknown[] =>
  itemsIn(dataSet, key).map((item) => item['00081197']?.Value?.[0]);

/** Where the copy of the only instance that was stored can be had. */
export const copyUrl = ({ dataSet }: Answer): string =>
  String(itemsIn(dataSet, '00081199')[0]?.['00081190']?.Value?.[0]);

export async function partsAt(url: string, accept: string): Promise<PartRead[]> {
  const response = await fetch(url, { headers: { accept } });
  if (response.status === 404) return [];
  if (!response.ok) throw new Error(`${response.status} instead of 200: ${url}`);
  return partsOf(response);
}

/** Every part that a retrieval of bulk data gives, as parts of a request. */
export async function bulkOf(instanceUrl: string): Promise<BodyPart[]> {
  const parts = await partsAt(
    `${instanceUrl}/bulkdata`,
    'multipart/related; type="application/octet-stream"; transfer-syntax=*',
  );
  return parts.map(({ headers, body }) =>
    bulkPart(headers['content-location'] ?? '', body, headers['content-type'] ?? 'application/octet-stream'),
  );
}
