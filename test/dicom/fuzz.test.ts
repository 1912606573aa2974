/** Seeded damage: whatever the bytes, reading ends in an object or a Refusal, never in another error, and never holds more than it was given. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { existsSync, readdirSync } from 'node:fs';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { deflateRawSync } from 'node:zlib';
import fc from 'fast-check';
import { characterSetOf, numbersOf, textValue, type DataSet } from '../../src/dicom/data-set.ts';
import { formatDicomJson } from '../../src/dicom/json.ts';
import { receiveObject } from '../../src/dicom/part10.ts';
import { Refusal } from '../../src/dicom/refusal.ts';
import { copyElements, openSink, sinkBytes } from '../../src/dicom/writer.ts';
import { readDataSet } from '../../src/dicom/reader.ts';
import { seeded } from '../phantom/random.ts';
import { delimiter, encode, explicit, fileMeta, header, inPieces, madeDataSet } from './made.ts';

const SYNTAXES = {
  'explicit-le': '1.2.840.10008.1.2.1',
  'implicit-le': '1.2.840.10008.1.2',
  'explicit-be': '1.2.840.10008.1.2.2',
  deflated: '1.2.840.10008.1.2.1.99',
  encapsulated: '1.2.840.10008.1.2.4.50',
} as const;
const FORMS = Object.keys(SYNTAXES) as (keyof typeof SYNTAXES)[];

/** Objects of every form, the same in every run. */
function seeds(count: number): Buffer[] {
  return fc.sample(madeDataSet, { seed: 20, numRuns: count }).map((made, index) => {
    const form = FORMS[index % FORMS.length] ?? 'explicit-le';
    const encoding = form === 'deflated' || form === 'encapsulated' ? 'explicit-le' : form;
    const pixels =
      form === 'encapsulated'
        ? [
            header(0x7fe00010, 'OB', 0xffffffff, encoding),
            delimiter(0xe000, 0, encoding),
            delimiter(0xe000, 8, encoding),
            Buffer.alloc(8, 0xd8),
            delimiter(0xe0dd, 0, encoding),
          ]
        : [header(0x7fe00010, 'OW', 8, encoding), Buffer.alloc(8, 3)];
    const set = Buffer.concat([encode(made, encoding), ...pixels]);
    return Buffer.concat([fileMeta(SYNTAXES[form]), form === 'deflated' ? deflateRawSync(set) : set]);
  });
}

/** Reads everything there is to read; true when it was an object. */
async function survives(bytes: Buffer, sizes: readonly number[]): Promise<boolean> {
  try {
    const { head, body } = await receiveObject(inPieces(bytes, sizes));
    for await (const chunk of body) assert.ok(chunk.length <= 2 ** 20);
    look(head.dataSet);
    const sink = openSink();
    copyElements(sink, head.dataSet);
    const copy = sinkBytes(sink);
    // What is written reads again, with the same elements.
    const again = readDataSet(copy, 0, copy.length, 'explicit-le', { complete: true }).dataSet;
    assert.deepEqual(
      again.elements.map(({ tag }) => tag),
      head.dataSet.elements.filter(({ tag }) => (tag & 0xffff) !== 0).map(({ tag }) => tag),
    );
    return true;
  } catch (error) {
    if (!(error instanceof Refusal)) throw error;
    return false;
  }
}

function look(dataSet: DataSet): void {
  const set = characterSetOf(dataSet);
  for (const element of dataSet.elements) {
    textValue(dataSet, element.tag, set);
    numbersOf(dataSet, element);
    element.items?.forEach(look);
  }
  JSON.parse(formatDicomJson(dataSet));
}

describe('damaged objects', () => {
  it('cut at every byte are refused, or are whole objects', async () => {
    for (const bytes of seeds(10)) {
      for (let end = 0; end <= bytes.length; end++) await survives(bytes.subarray(0, end), [7, 64]);
    }
  });

  it('with bytes changed, removed, doubled and lengths enlarged end in an object or a Refusal', async (t) => {
    const random = seeded(7);
    const pick = (below: number): number => Math.floor(random.next() * below);
    const interesting = [0, 1, 2, 7, 8, 0x7f, 0x80, 0xfe, 0xff];
    let objects = 0;
    let tried = 0;
    for (const seed of seeds(60)) {
      for (let round = 0; round < 60; round++) {
        let bytes = Buffer.from(seed);
        for (let i = 0; i <= pick(4); i++) {
          // Behind the preamble, where something can go wrong.
          const at = Math.min(bytes.length - 1, 128 + pick(bytes.length - 128));
          const kind = pick(5);
          if (kind === 0) bytes[at] = pick(256);
          else if (kind === 1) bytes[at] = interesting[pick(interesting.length)] ?? 0;
          else if (kind === 2) bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + 1 + pick(8))]);
          else if (kind === 3) bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at - pick(32))]);
          else if (at + 4 <= bytes.length)
            bytes.writeUInt32LE([0xffffffff, 0xfffffffe, 0x80000000, 0xfffee000][pick(4)] ?? 0, at);
        }
        tried++;
        if (await survives(bytes, [1 + pick(300)])) objects++;
      }
    }
    t.diagnostic(`${tried} tried, ${objects} were objects still`);
    assert.ok(objects > 100 && objects < tried - 100);
  });

  it('bytes of no meaning end in a Refusal or an object too', async () => {
    await fc.assert(
      fc.asyncProperty(fc.uint8Array({ maxLength: 400 }), fc.constantFrom(...FORMS), async (bytes, form) => {
        await survives(Buffer.concat([fileMeta(SYNTAXES[form]), Buffer.from(bytes)]), [50]);
      }),
      { numRuns: 500, seed: 3 },
    );
  });
});

/** Reads each file with a small heap, in a process of its own, and tells the largest memory it ever held. */
function readInChild(files: readonly string[]): { peakMb: number; objects: number; refusals: number } {
  const script = `
    import { createReadStream } from 'node:fs';
    import { receiveObject } from ${JSON.stringify(new URL('../../src/dicom/part10.ts', import.meta.url).href)};
    let objects = 0, refusals = 0;
    for (const file of process.argv.slice(1)) {
      try {
        const { body } = await receiveObject(createReadStream(file));
        for await (const chunk of body) chunk.length;
        objects++;
      } catch (error) {
        if (error.name !== 'Refusal') throw error;
        refusals++;
      }
    }
    console.log(JSON.stringify({ objects, refusals, peakMb: process.resourceUsage().maxRSS / 1024 }));`;
  const { status, stdout, stderr } = spawnSync(
    process.execPath,
    ['--max-old-space-size=128', '--input-type=module', '-e', script, ...files],
    { encoding: 'utf8', timeout: 120_000 },
  );
  assert.equal(status, 0, stderr.slice(-500));
  return JSON.parse(stdout) as { peakMb: number; objects: number; refusals: number };
}

const hostile = join(process.env['ISTHMUS_SAMPLES'] ?? '', 'oddities', 'hostile');

describe('memory', () => {
  it(
    'all hostile files are read within a heap of 128 MB and a process of 400 MB',
    { skip: existsSync(join(hostile, 'hostile.tsv')) ? false : 'ISTHMUS_SAMPLES does not name the real samples' },
    (t) => {
      const files = readdirSync(hostile).filter((name) => name !== 'hostile.tsv');
      const { peakMb, objects, refusals } = readInChild(files.map((name) => join(hostile, name)));
      t.diagnostic(`${objects} objects, ${refusals} refusals, ${Math.round(peakMb)} MB at most`);
      assert.equal(objects + refusals, files.length);
      assert.ok(peakMb < 400, `${peakMb} MB`);
    },
  );

  it('what a length claims is not allocated', async () => {
    const before = process.memoryUsage().rss;
    for (const vr of ['OB', 'UN', 'UT', 'SQ']) {
      const bytes = Buffer.concat([fileMeta(SYNTAXES['explicit-le']), explicit(0x00091010, vr, 'ab', 0xfffffffe)]);
      assert.equal(await survives(bytes, [1024]), false);
    }
    assert.ok(process.memoryUsage().rss - before < 2 ** 27);
  });
});
