/**
 * The part of the answer key that asks for pixels: images with identifiers burned in, of several kinds of console and transfer syntax.
 * `pixels_hidden` asks of each line of text that its ink is gone from the decoded frames, `pixels_retained` that a part of the image
 * without text, or all of an image without any, is what it was, bit for bit.
 */
import type { PixelTools } from '../../../src/deidentify/pixels/tools.ts';
import { storedFrame } from '../../../src/codecs/stored-frame.ts';
import { deidentify } from '../../../src/deidentify/deidentify.ts';
import type { CompiledProfile } from '../../../src/deidentify/profile.ts';
import { imageLayout, type ImageLayout } from '../../../src/dicom/image-layout.ts';
import { readObject } from '../../../src/dicom/part10.ts';
import { Refusal } from '../../../src/dicom/refusal.ts';
import { seeded, type Random } from '../../phantom/random.ts';
import { writeLetters } from '../../pipelines/letters.ts';
import { EXPLICIT_LE, gather, makeFile, memoryWall } from '../support.ts';
import { digits, pick, whole } from './bank.ts';
import type { Category } from './key.ts';
import type { Tally } from './score.ts';

export interface BurnedLine {
  readonly text: string;
  readonly category: Category;
  /** Indices of its pixels. */
  readonly ink: readonly number[];
}

export interface BurnedObject {
  readonly name: string;
  readonly bytes: Buffer;
  readonly lines: readonly BurnedLine[];
  /** First and last row, not included, of what has to stay. */
  readonly retained: readonly [first: number, end: number];
}

interface Kind {
  readonly name: string;
  readonly sopClass: string;
  readonly modality: string;
  readonly rows: number;
  readonly columns: number;
  readonly frames: number;
  readonly samples: 1 | 3;
  readonly bits: 8 | 16;
  readonly photometric: string;
  readonly syntax: string;
  readonly background: 'fan' | 'panel' | 'body';
  readonly hasText: boolean;
}

const CAPTURE = '1.2.840.10008.5.1.4.1.1.7';
const ULTRASOUND = '1.2.840.10008.5.1.4.1.1.6.1';
const PLAIN: Kind = {
  name: 'capture',
  sopClass: CAPTURE,
  modality: 'OT',
  rows: 480,
  columns: 640,
  frames: 1,
  samples: 1,
  bits: 8,
  photometric: 'MONOCHROME2',
  syntax: EXPLICIT_LE,
  background: 'panel',
  hasText: true,
};
const KINDS: readonly Kind[] = [
  { ...PLAIN, name: 'us', sopClass: ULTRASOUND, modality: 'US', background: 'fan' },
  {
    ...PLAIN,
    name: 'us-cine',
    sopClass: '1.2.840.10008.5.1.4.1.1.3.1',
    modality: 'US',
    rows: 384,
    columns: 512,
    frames: 3,
    background: 'fan',
  },
  { ...PLAIN, name: 'capture-rgb', samples: 3, photometric: 'RGB' },
  { ...PLAIN, name: 'capture-inverse', photometric: 'MONOCHROME1' },
  {
    ...PLAIN,
    name: 'ct-screen',
    sopClass: '1.2.840.10008.5.1.4.1.1.2',
    modality: 'CT',
    rows: 512,
    columns: 512,
    bits: 16,
    background: 'body',
  },
  { ...PLAIN, name: 'capture-rle', syntax: '1.2.840.10008.1.2.5', background: 'body' },
  { ...PLAIN, name: 'capture-jpeg-ls', syntax: '1.2.840.10008.1.2.4.80' },
  {
    ...PLAIN,
    name: 'us-without-text',
    rows: 384,
    columns: 512,
    sopClass: ULTRASOUND,
    modality: 'US',
    background: 'fan',
    hasText: false,
  },
  { ...PLAIN, name: 'capture-without-text', background: 'body', hasText: false },
];

/** The same for the same seed. */
export async function makeBurned(seed: number, count: number, tools: PixelTools): Promise<BurnedObject[]> {
  const objects: BurnedObject[] = [];
  for (let index = 0; index < count; index++) {
    const kind = KINDS[index % KINDS.length] ?? PLAIN;
    objects.push(await makeOne(seeded(seed * 6007 + index * 7717), kind, index, tools));
  }
  return objects;
}

async function makeOne(random: Random, kind: Kind, index: number, tools: PixelTools): Promise<BurnedObject> {
  const { rows, columns } = kind;
  const frames = Array.from({ length: kind.frames }, () => background(random, kind));
  const lines = kind.hasText ? writeLines(random, kind, frames) : [];
  const native = frames.map((values) => stored(values, kind));
  const { photometric, samples, bits, syntax } = kind;
  const layout: ImageLayout = {
    rows,
    columns,
    samplesPerPixel: samples,
    bitsAllocated: bits,
    bitsStored: bits === 16 ? 12 : 8,
    highBit: bits === 16 ? 11 : 7,
    signed: false,
    planar: false,
    photometricInterpretation: photometric,
  };
  const pixels =
    syntax === EXPLICIT_LE
      ? Buffer.concat(native)
      : [Buffer.alloc(0), ...(await Promise.all(native.map((bytes) => tools.encode({ bytes, layout }, syntax))))];
  return {
    name: `${String(index).padStart(4, '0')}-${kind.name}.dcm`,
    bytes: makeFile(attributesOf(kind, layout), { transferSyntaxUID: syntax, pixels }),
    lines,
    retained: kind.hasText ? [Math.ceil(0.36 * rows), Math.floor(0.84 * rows)] : [0, rows],
  };
}

const us = (value: number): Buffer => Buffer.from([value & 0xff, value >> 8]);

function attributesOf(kind: Kind, layout: ImageLayout): Parameters<typeof makeFile>[0] {
  // An ultrasound system that declares its whole image, as those do that paint over it.
  const region = {
    '00186018': ulong(0),
    '0018601A': ulong(0),
    '0018601C': ulong(kind.columns - 1),
    '0018601E': ulong(kind.rows - 1),
  };
  return {
    '00080008': kind.modality === 'CT' ? 'DERIVED\\SECONDARY\\SCREEN SAVE' : 'DERIVED\\PRIMARY',
    '00080016': kind.sopClass,
    '00080060': kind.modality,
    '00186011': kind.modality === 'US' ? [region] : undefined,
    '00280002': us(layout.samplesPerPixel),
    '00280004': layout.photometricInterpretation,
    '00280006': layout.samplesPerPixel === 3 ? us(0) : undefined,
    '00280008': kind.frames > 1 ? String(kind.frames) : undefined,
    '00280010': us(layout.rows),
    '00280011': us(layout.columns),
    '00280100': us(layout.bitsAllocated),
    '00280101': us(layout.bitsStored),
    '00280102': us(layout.highBit),
    '00280103': us(0),
  };
}

function ulong(value: number): Buffer {
  const bytes = Buffer.alloc(4);
  bytes.writeUInt32LE(value);
  return bytes;
}

/** Shades from 0 (black) to 255 of what lies behind the text. */
function background(random: Random, { rows, columns, background: what }: Kind): Uint8Array {
  const values = new Uint8Array(rows * columns);
  const [level, depth] = [whole(random, 5, 60), whole(random, 20, 60)];
  const [middle, top] = [columns * (0.4 + 0.2 * random.next()), -0.1 * rows];
  for (let row = 0; row < rows; row++) {
    for (let column = 0; column < columns; column++) {
      const at = row * columns + column;
      if (what === 'panel') {
        values[at] = level + Math.round((depth * row) / rows) + (column % (columns >> 2) === 0 ? 20 : 0);
        continue;
      }
      const [x, y] = [column - middle, row - top];
      const inside =
        what === 'fan'
          ? Math.hypot(x, y) < rows && Math.abs(Math.atan2(x, y)) < 0.6
          : (x / (0.42 * columns)) ** 2 + ((row - 0.55 * rows) / (0.4 * rows)) ** 2 < 1;
      if (!inside) continue;
      const noise = what === 'fan' ? Math.abs(random.gaussian()) * 28 : 70 + random.gaussian() * 4;
      values[at] = Math.min(200, Math.max(0, Math.round(level / 2 + noise)));
    }
  }
  return values;
}

/** Above and below the image, where consoles write; in all frames. */
function writeLines(random: Random, { rows, columns }: Kind, frames: readonly Uint8Array[]): BurnedLine[] {
  const lines: BurnedLine[] = [];
  for (const place of [0.02, 0.12, 0.22, 0.92]) {
    const [text, category] = identifier(random);
    const size = place > 0.9 ? 2 : whole(random, 2, 3);
    const left = whole(random, 4, Math.max(5, columns - 6 * size * text.length - 4));
    const top = Math.round(place * rows);
    const shade = whole(random, 215, 255);
    const paper = new Uint8Array(rows * columns);
    writeLetters({ values: paper, columns }, text, { left, top, size, shade: 1 });
    const ink: number[] = [];
    paper.forEach((mark, at) => {
      if (mark === 1) ink.push(at);
    });
    for (const frame of frames) for (const at of ink) frame[at] = shade;
    lines.push({ text, category, ink });
  }
  return lines;
}

function identifier(random: Random): [text: string, category: Category] {
  const family = pick(random, [
    'OKAFOR',
    'MARCHETTI',
    'HALVORSEN',
    'DUARTE',
    'PETRAKIS',
    'YILMAZ',
    'NOVOTNY',
    'FRASER',
  ]);
  const given = pick(random, ['INES', 'TOMAS', 'LEILA', 'HENRIK', 'CHIDI', 'MARTA', 'YUSUF', 'ELIN']);
  const day = `${whole(random, 10, 28)}.${whole(random, 10, 12)}.${whole(random, 1930, 2012)}`;
  return pick<[string, Category]>(random, [
    [`${family}, ${given}`, 'HIPAA-A'],
    [`${family}^${given}`, 'HIPAA-A'],
    [`MRN ${digits(random, 8)}`, 'HIPAA-H'],
    [`DOB ${day}`, 'HIPAA-C'],
    [`ACC-${digits(random, 7)}`, 'HIPAA-R'],
    [`${day} ${whole(random, 10, 23)}:${whole(random, 10, 59)}`, 'HIPAA-C'],
  ]);
}

/** Shades as the samples that the layout stores. */
function stored(values: Uint8Array, { samples, bits, photometric }: Kind): Buffer {
  if (samples === 3)
    return Buffer.from(Uint8Array.from({ length: values.length * 3 }, (_, at) => values[Math.floor(at / 3)] ?? 0));
  if (photometric === 'MONOCHROME1') return Buffer.from(values.map((value) => 255 - value));
  if (bits === 8) return Buffer.from(values);
  return Buffer.from(Uint16Array.from(values, (value) => value * 16).buffer);
}

export interface BurnedScore {
  readonly hidden: Tally;
  readonly retained: Tally;
  readonly held: number;
  readonly failed: readonly string[];
}

/** @param through what makes the output of an object; undefined when it is held back */
export async function scoreBurned(
  objects: readonly BurnedObject[],
  tools: PixelTools,
  through: (bytes: Buffer) => Promise<Buffer | undefined>,
): Promise<BurnedScore> {
  const [hidden, retained]: [Tally, Tally] = [
    { passed: 0, total: 0 },
    { passed: 0, total: 0 },
  ];
  const failed: string[] = [];
  let held = 0;
  const count = (tally: Tally, passed: boolean, what: string): void => {
    tally.total++;
    if (passed) tally.passed++;
    else failed.push(what);
  };
  for (const { name, bytes, lines, retained: rows } of objects) {
    const output = await through(bytes);
    if (output === undefined) held++;
    const before = await decodedFrames(bytes, tools);
    const after = output === undefined ? undefined : await decodedFrames(output, tools);
    // What did not come out hides everything and keeps nothing.
    for (const line of lines)
      count(hidden, after === undefined || isGone(line, before, after), `${name}: pixels_hidden of ${line.category}`);
    count(retained, after !== undefined && isKept(rows, before, after), `${name}: pixels_retained`);
  }
  return { hidden, retained, held, failed };
}

interface Decoded {
  readonly layout: ImageLayout;
  readonly frames: readonly Buffer[];
}

/** Of a line at most so much of the ink may be left in any frame: a stroke at the edge of a letter, nothing to read. */
const MOST_INK_LEFT = 0.05;

function isGone({ ink }: BurnedLine, before: Decoded, after: Decoded): boolean {
  const bytes = bytesOfPixel(before.layout);
  return before.frames.every((frame, index) => {
    const now = after.frames[index];
    if (now === undefined) return false;
    const left = ink.filter((at) =>
      frame.subarray(at * bytes, (at + 1) * bytes).equals(now.subarray(at * bytes, (at + 1) * bytes)),
    );
    return left.length <= MOST_INK_LEFT * ink.length;
  });
}

function isKept([first, end]: readonly [number, number], before: Decoded, after: Decoded): boolean {
  const row = before.layout.columns * bytesOfPixel(before.layout);
  return before.frames.every((frame, index) =>
    frame
      .subarray(first * row, end * row)
      .equals(after.frames[index]?.subarray(first * row, end * row) ?? Buffer.alloc(0)),
  );
}

function bytesOfPixel({ samplesPerPixel, bitsAllocated }: ImageLayout): number {
  return (samplesPerPixel * bitsAllocated) / 8;
}

async function decodedFrames(bytes: Buffer, tools: PixelTools): Promise<Decoded> {
  const layout = imageLayout((await readObject(bytes)).head.dataSet);
  const frames: Buffer[] = [];
  for (let number = 1; ; number++) {
    try {
      const { frame, transferSyntaxUID } = await storedFrame(await readObject(bytes), number);
      frames.push((await tools.decode(frame, layout, transferSyntaxUID)).bytes);
    } catch (error) {
      if (error instanceof Refusal && number > 1) return { layout, frames };
      throw error;
    }
  }
}

/** The engine with the detector, as the gateway runs it. */
export function throughEngine(
  profile: CompiledProfile,
  tools: PixelTools,
): (bytes: Buffer) => Promise<Buffer | undefined> {
  const wall = memoryWall();
  return async (bytes) => {
    try {
      const { object } = await deidentify(wall, await readObject(bytes), { project: 'pixels', profile, pixels: tools });
      return Buffer.concat([object.head, await gather(object.body)]);
    } catch (error) {
      if (error instanceof Refusal && error.reason === 'Quarantined') return undefined;
      throw error;
    }
  };
}
