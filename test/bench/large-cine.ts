/**
 * A long ultrasound cine through the door that cleans pixels: what memory it takes. The object is made while it is sent, by STOW-RS.
 *   node test/bench/large-cine.ts [--megabytes 1000] [--encapsulated]
 * Prints the gateway's resident set before, its highest while it works, and the time.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { request } from 'node:http';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { Readable } from 'node:stream';
import { pipeline } from 'node:stream/promises';
import { parseArgs } from 'node:util';
import { closeCodecs, convertFrame, openCodecs } from '../../src/codecs/pool.ts';
import { EXPLICIT_LE, makeFile } from '../deidentify/support.ts';
import { startGateway } from '../peers/gateway.ts';

const { values } = parseArgs({
  options: { megabytes: { type: 'string', default: '1000' }, encapsulated: { type: 'boolean', default: false } },
});
const [rows, columns] = [768, 1024];
const frames = Math.max(2, Math.round((Number(values.megabytes) * 2 ** 20) / (rows * columns * 3)));
const syntax = values.encapsulated ? '1.2.840.10008.1.2.5' : EXPLICIT_LE;

const frame = Buffer.alloc(rows * columns * 3);
for (let at = 0; at < rows * columns; at++) frame.fill(30 + ((at % columns) >> 4), 3 * at, 3 * at + 3);
// Where the banner stands on systems that declare no regions.
frame.fill(250, 3 * (20 * columns + 100), 3 * (20 * columns + 400));

const us = (value: number): Buffer => Buffer.from([value & 0xff, value >> 8]);
const empty = makeFile(
  {
    '00080016': '1.2.840.10008.5.1.4.1.1.3.1',
    '00080060': 'US',
    '00280002': us(3),
    '00280004': 'RGB',
    '00280006': us(0),
    '00280008': String(frames),
    '00280010': us(rows),
    '00280011': us(columns),
    '00280100': us(8),
    '00280101': us(8),
    '00280102': us(7),
    '00280103': us(0),
  },
  { transferSyntaxUID: syntax, pixels: values.encapsulated ? [Buffer.alloc(0)] : Buffer.alloc(0) },
);

async function* body(): AsyncGenerator<Buffer> {
  if (!values.encapsulated) {
    const length = Buffer.alloc(4);
    length.writeUInt32LE(frame.length * frames);
    yield Buffer.concat([empty.subarray(0, empty.length - 4), length]);
    for (let index = 0; index < frames; index++) yield frame;
    return;
  }
  const codecs = openCodecs();
  const layout = { rows, columns, samplesPerPixel: 3, bitsAllocated: 8, bitsStored: 8, highBit: 7, signed: false };
  const fragment = await convertFrame(
    codecs,
    Buffer.from(Uint8Array.from(frame).buffer),
    { ...layout, planar: false, photometricInterpretation: 'RGB' },
    { from: EXPLICIT_LE, to: syntax },
  );
  await closeCodecs(codecs);
  const header = Buffer.from('feff00e000000000', 'hex');
  header.writeUInt32LE(fragment.length, 4);
  const item = Buffer.concat([header, fragment]);
  yield empty.subarray(0, empty.length - 8);
  for (let index = 0; index < frames; index++) yield item;
  yield empty.subarray(empty.length - 8);
}

async function* message(): AsyncGenerator<Buffer> {
  yield Buffer.from('--cine\r\nContent-Type: application/dicom\r\n\r\n');
  yield* body();
  yield Buffer.from('\r\n--cine--\r\n');
}

/** KiB. */
function memory(pid: number, what: 'VmRSS' | 'VmHWM'): number {
  return Number(new RegExp(`${what}:\\s+(\\d+)`).exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]);
}

const say = (text: string): void => void process.stdout.write(`${text}\n`);
const folder = mkdtempSync(join(tmpdir(), 'isthmus-cine-'));
const gateway = await startGateway({
  folder,
  log: 'file',
  gateway: 'completion: { quietSeconds: 60 }\nlog: info\n',
  nodes: 'nodes: {}\n',
  rules: `admission:
  - { name: all, when: { callingAE: '*' }, project: trial, profile: gdpr-pseudonymise }
processing: []
`,
});
try {
  const before = memory(gateway.pid, 'VmRSS');
  const start = performance.now();
  const { promise, resolve, reject } = Promise.withResolvers<string>();
  const sent = request(`${gateway.base}/dicom-web/studies`, {
    method: 'POST',
    headers: {
      'content-type': 'multipart/related; type="application/dicom"; boundary=cine',
      accept: 'application/dicom+json',
    },
  });
  sent.on('error', reject);
  sent.on('response', (response) => {
    let text = '';
    response.on('data', (chunk: Buffer) => (text += chunk.toString()));
    response.on('end', () => resolve(`${response.statusCode} ${text.slice(0, 300)}`));
  });
  await pipeline(Readable.from(message()), sent);
  const answer = await promise;
  const seconds = (performance.now() - start) / 1000;
  say(
    `${frames} frames of ${columns}x${rows} RGB, ${Math.round((frame.length * frames) / 2 ** 20)} MB of samples, ${syntax}`,
  );
  say(`answer ${answer.slice(0, 3)}${answer.startsWith('200') ? '' : ` ${answer}`}`);
  say(
    `resident: ${Math.round(before / 1024)} MB before, ${Math.round(memory(gateway.pid, 'VmHWM') / 1024)} MB at most; ${seconds.toFixed(0)} s`,
  );
} finally {
  await gateway.stop();
  rmSync(folder, { recursive: true, force: true });
}
