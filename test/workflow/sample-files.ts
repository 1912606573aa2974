/** The DICOM files of the samples as a sender sees them, and two ways to send them: dcmtk's storescu and one STOW-RS request. */
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import { existsSync, readFileSync, writeFileSync } from 'node:fs';
import { join } from 'node:path';
import { asciiValue } from '../../src/dicom/data-set.ts';
import { readObject } from '../../src/dicom/part10.ts';
import { Refusal } from '../../src/dicom/refusal.ts';
import type { GatewayProcess } from '../peers/gateway.ts';

export const samples = process.env['ISTHMUS_SAMPLES'] ?? '';
export const withoutSamples: string | false = existsSync(join(samples, 'MANIFEST.tsv'))
  ? false
  : 'ISTHMUS_SAMPLES does not name the real samples';

export interface SampleFile {
  /** Below the folder of samples. */
  readonly name: string;
  readonly path: string;
  readonly sopClassUID: string;
  readonly sopInstanceUID: string;
  readonly transferSyntaxUID: string;
  /** Why our own reader does not read it. */
  readonly unreadable?: string;
}

/** Every file that the manifest knows to be a DICOM object, the hostile ones excepted. */
export async function sampleFiles(): Promise<SampleFile[]> {
  const [header = '', ...rows] = readFileSync(join(samples, 'MANIFEST.tsv'), 'utf8').trimEnd().split('\n');
  const sopClass = header.split('\t').indexOf('sop_class');
  const files: SampleFile[] = [];
  for (const row of rows) {
    const columns = row.split('\t');
    const name = columns[0] ?? '';
    if ((columns[sopClass] ?? '') === '' || name.includes('/hostile/')) continue;
    files.push(await sampleFile(name));
  }
  return files;
}

async function sampleFile(name: string): Promise<SampleFile> {
  const path = join(samples, name);
  try {
    const { head } = await readObject(readFileSync(path));
    return {
      name,
      path,
      sopClassUID: asciiValue(head.dataSet, 0x00080016) ?? '',
      sopInstanceUID: asciiValue(head.dataSet, 0x00080018) ?? '',
      transferSyntaxUID: head.transferSyntaxUID,
    };
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    return { name, path, sopClassUID: '', sopInstanceUID: '', transferSyntaxUID: '', unreadable: error.message };
  }
}

/** What storescu heard of a file: a status in words, or why it was not sent. */
export type Heard = Map<string, string>;

/** One association that proposes exactly the SOP Classes of these files in their one transfer syntax. */
export async function storescu(port: number, folder: string, files: readonly SampleFile[]): Promise<Heard> {
  const configuration = join(folder, `storescu-${files[0]?.transferSyntaxUID ?? ''}.cfg`);
  const classes = [...new Set(files.map(({ sopClassUID }) => sopClassUID))].filter((uid) => uid !== '');
  const contexts = classes.map((uid, index) => `PresentationContext${index + 1} = ${uid}\\Only`);
  writeFileSync(
    configuration,
    `[[TransferSyntaxes]]\n[Only]\nTransferSyntax1 = ${files[0]?.transferSyntaxUID ?? ''}\n` +
      `[[PresentationContexts]]\n[All]\n${contexts.join('\n')}\n[[Profiles]]\n[Default]\nPresentationContexts = All\n`,
  );
  return sendByStorescu(port, ['-xf', configuration, 'Default'], files);
}

export async function sendByStorescu(
  port: number,
  proposal: readonly string[],
  files: readonly { readonly path: string }[],
): Promise<Heard> {
  const child = spawn(
    'storescu',
    ['-v', '-nh', '-aec', 'ISTHMUS', ...proposal, '127.0.0.1', String(port), ...files.map(({ path }) => path)],
    // Its log is its standard error; what it shows of its progress beside that would fall into the middle of lines.
    { stdio: ['ignore', 'ignore', 'pipe'] },
  );
  let output = '';
  child.stderr.on('data', (chunk) => (output += String(chunk)));
  await once(child, 'close');
  const heard: Heard = new Map();
  let sending: string | undefined;
  for (const line of output.split('\n')) {
    const file = /^I: Sending file: (.*)$/.exec(line)?.[1];
    if (file !== undefined) {
      sending = file;
      heard.set(file, 'no answer');
      continue;
    }
    const answer = /^I: Received Store Response \((.*)\)$/.exec(line)?.[1] ?? /^E: (.*)$/.exec(line)?.[1];
    if (answer !== undefined && sending !== undefined && heard.get(sending) === 'no answer') heard.set(sending, answer);
    const bad = /^[EW]: (?:Bad DICOM file: |.*cannot access file: )([^:]*)(.*)$/.exec(line);
    if (bad?.[1] !== undefined) heard.set(bad[1].trim(), line.slice(3));
  }
  for (const { path } of files) if (!heard.has(path)) heard.set(path, 'not sent');
  return heard;
}

type Json = Record<string, { readonly vr: string; readonly Value?: readonly unknown[] }>;

export interface Stowed {
  readonly status: number;
  /** By the sender's SOP Instance UID. */
  readonly stored: Map<string, { readonly url: string; readonly warning: number | undefined }>;
  readonly failed: Map<string, number>;
  readonly nameless: number[];
}

export async function stow(gateway: GatewayProcess, objects: readonly Buffer[]): Promise<Stowed> {
  const boundary = 'sample-boundary-7d3f';
  const parts = objects.flatMap((bytes) => [
    Buffer.from(`--${boundary}\r\nContent-Type: application/dicom\r\n\r\n`),
    bytes,
    Buffer.from('\r\n'),
  ]);
  return stowBody(gateway, Buffer.concat([...parts, Buffer.from(`--${boundary}--\r\n`)]), boundary);
}

export async function stowBody(gateway: GatewayProcess, body: Buffer, boundary: string): Promise<Stowed> {
  const reply = await fetch(`${gateway.base}/dicom-web/studies`, {
    method: 'POST',
    headers: {
      'content-type': `multipart/related; type="application/dicom"; boundary=${boundary}`,
      accept: 'application/dicom+json',
    },
    body: new Uint8Array(body),
    signal: AbortSignal.timeout(60_000),
  });
  const text = await reply.text();
  const answer = (text === '' ? {} : JSON.parse(text)) as Json;
  const items = (key: string): Json[] => [...(answer[key]?.Value ?? [])] as Json[];
  const uid = (item: Json): string => String(item['00081155']?.Value?.[0] ?? '');
  return {
    status: reply.status,
    stored: new Map(
      items('00081199').map((item) => [
        uid(item),
        {
          url: String(item['00081190']?.Value?.[0] ?? ''),
          warning: item['00081196']?.Value?.[0] as number | undefined,
        },
      ]),
    ),
    failed: new Map(items('00081198').map((item) => [uid(item), Number(item['00081197']?.Value?.[0])])),
    nameless: items('0008119A').map((item) => Number(item['00081197']?.Value?.[0])),
  };
}

/** The one part of a multipart answer. */
export async function retrieve(url: string): Promise<Buffer> {
  const reply = await fetch(url, {
    headers: { accept: 'multipart/related; type="application/dicom"; transfer-syntax=*' },
    signal: AbortSignal.timeout(60_000),
  });
  const body = Buffer.from(await reply.arrayBuffer());
  if (reply.status !== 200) throw new Error(`${url} ${reply.status}`);
  const boundary = /boundary="?([^";]+)"?/.exec(reply.headers.get('content-type') ?? '')?.[1] ?? '';
  const start = body.indexOf('\r\n\r\n') + 4;
  return body.subarray(start, body.lastIndexOf(`\r\n--${boundary}--`));
}
