/**
 * The canary drill for what can be seen: images with names burned in go through a real gateway, their pictures are fetched at /rendered
 * and read by tesseract. It must read the names where a profile lets pixels pass, and nothing of them where one cleans.
 */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { basename, join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { makeFile } from '../deidentify/support.ts';
import { startGateway } from '../peers/gateway.ts';
import { writeLetters } from '../pipelines/letters.ts';
import { searchAll, stow, type DicomJson } from './clients.ts';

const skip =
  spawnSync('tesseract', ['--version']).status === 0
    ? false
    : 'tesseract is not installed (Debian package tesseract-ocr): nobody reads the rendered pictures';
const samples = process.env['ISTHMUS_SAMPLES'];

interface Burned {
  readonly bytes: Buffer;
  readonly words: readonly string[];
}

const us = (value: number): Buffer => Buffer.from([value & 0xff, value >> 8]);

/** A screen as consoles save it. */
function screen(number: number, lines: readonly string[]): Burned {
  const [rows, columns] = [300, 640];
  const pixels = Buffer.from(Array.from({ length: rows * columns }, (_, at) => 15 + Math.floor(at / columns / 30)));
  for (const [index, line] of lines.entries())
    writeLetters({ values: pixels, columns }, line, { left: 20, top: 20 + 60 * index, size: 3, shade: 250 });
  const bytes = makeFile(
    {
      '00080008': 'DERIVED\\SECONDARY\\SCREEN SAVE',
      '00080016': '1.2.840.10008.5.1.4.1.1.7',
      '00080018': `1.2.3.4.3.${number}`,
      '00080060': 'OT',
      '00280010': us(rows),
      '00280011': us(columns),
      '00280100': us(8),
      '00280101': us(8),
      '00280102': us(7),
    },
    { pixels },
  );
  return { bytes, words: lines.flatMap(wordsOf) };
}

/** What a reader would know a person by: shorter words stand in pictures of all kinds. */
function wordsOf(text: string): string[] {
  return text.toUpperCase().match(/[A-Z0-9]{5,}/g) ?? [];
}

/** One of each kind: tesseract takes a second or two for a picture. */
const SAMPLES = new Set(['us_burned_top_rgb.dcm', 'us_cine_burned_jpeg.dcm', 'sc_dose_screen.dcm']);

function objects(): Burned[] {
  const made = [screen(1, ['MARCHETTI, LEILA', 'MRN 48213975']), screen(2, ['PETRAKIS^TOMAS', 'ACC 77120458'])];
  if (samples === undefined || !existsSync(samples)) return made;
  const phi = readFileSync(join(samples, 'phi', 'phi.jsonl'), 'utf8')
    .trimEnd()
    .split('\n');
  for (const line of phi) {
    const { path, burned } = JSON.parse(line) as { path: string; burned?: readonly { readonly text: string }[] };
    if (burned === undefined || !SAMPLES.has(basename(path))) continue;
    const words = burned.flatMap(({ text }) => wordsOf(text));
    made.push({ bytes: readFileSync(join(samples, 'phi', path)), words });
  }
  return made;
}

/** What tesseract reads in the first frame of everything that a gateway with this profile stored of the objects. */
async function readBack(
  t: TestContext,
  profile: string,
  all: readonly Burned[],
): Promise<{ stored: number; text: string }> {
  const folder = mkdtempSync(join(tmpdir(), 'isthmus-rendered-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const gateway = await startGateway({
    folder: join(folder, 'gateway'),
    log: 'file',
    gateway: 'completion: { quietSeconds: 60 }\nlog: info\n',
    nodes: 'nodes: {}\n',
    rules: `admission:
  - { name: all, when: { callingAE: '*' }, project: trial, profile: ${profile} }
processing: []
`,
  });
  t.after(() => gateway.stop());
  for (const { bytes } of all) assert.ok((await stow(gateway.base, [bytes])).status < 500);
  const instances = await searchAll(gateway.base, 'instances');
  const uid = (instance: DicomJson, tag: string): string => String(instance[tag]?.Value?.[0]);
  let text = '';
  for (const instance of instances) {
    const path = `studies/${uid(instance, '0020000D')}/series/${uid(instance, '0020000E')}/instances/${uid(instance, '00080018')}`;
    const reply = await fetch(`${gateway.base}/dicom-web/${path}/frames/1/rendered`, {
      headers: { Accept: 'image/png' },
    });
    assert.equal(reply.status, 200, path);
    const picture = join(folder, 'picture.png');
    writeFileSync(picture, Buffer.from(await reply.arrayBuffer()));
    // Sparse text, on one thread: more of them make it slower on pictures of this size.
    const read = spawnSync('tesseract', [picture, '-', '--psm', '11'], {
      encoding: 'utf8',
      env: { ...process.env, OMP_THREAD_LIMIT: '1' },
    });
    assert.equal(read.status, 0, read.stderr);
    text += read.stdout.toUpperCase();
  }
  return { stored: instances.length, text };
}

test(
  'CANARY-RENDERED: of what was burned in, tesseract reads nothing in the pictures of a gateway that cleans',
  { skip },
  async (t) => {
    const all = objects();
    const words = [...new Set(all.flatMap((one) => one.words))];
    const open = await readBack(t, 'research-longitudinal', all);
    const readable = words.filter((word) => open.text.includes(word));
    assert.ok(readable.length >= 3, `without cleaning only ${readable.length} of ${words.length} words are read`);
    const closed = await readBack(t, 'gdpr-pseudonymise', all);
    assert.ok(closed.stored >= 2, `${closed.stored} stored`);
    assert.deepEqual(
      words.filter((word) => closed.text.includes(word)),
      [],
    );
  },
);
