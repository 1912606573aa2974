/**
 * Colour spaces that pictures go out in (PS3.18 8.3.5.1.5): profiles made of primaries and a gamma (ICC.1:2001-04), conversion from
 * sRGB, and how JPEG (ICC.1 annex B.4) and PNG (11.3.2.3) hold a profile.
 */
import { crc32, deflateSync } from 'node:zlib';

export type ColourSpace = 'srgb' | 'adobergb' | 'rommrgb';

type Vector = readonly [number, number, number];
type Matrix = readonly [Vector, Vector, Vector];

interface SpaceDefinition {
  readonly name: string;
  /** Rows X, Y and Z of red, green and blue, adapted to D50. */
  readonly toXyz: Matrix;
  /** As the profile holds it: a whole number of 256ths. */
  readonly gamma: number;
}

/** IEC 61966-2-1, adapted to D50. */
const SRGB_TO_XYZ: Matrix = [
  [0.436_07, 0.385_15, 0.143_07],
  [0.222_49, 0.716_87, 0.060_61],
  [0.013_92, 0.097_08, 0.7141],
];

/** Adobe RGB (1998) 4.3; ISO 22028-2 (ROMM RGB), without its straight piece below 1/512. */
const SPACES: Readonly<Record<Exclude<ColourSpace, 'srgb'>, SpaceDefinition>> = {
  adobergb: {
    name: 'Compatible with Adobe RGB (1998)',
    toXyz: [
      [0.609_74, 0.205_28, 0.149_19],
      [0.311_11, 0.625_67, 0.063_22],
      [0.019_47, 0.060_87, 0.744_57],
    ],
    gamma: 563 / 256,
  },
  rommrgb: {
    name: 'ROMM RGB',
    toXyz: [
      [0.797_67, 0.135_19, 0.031_35],
      [0.288_04, 0.711_87, 0.000_09],
      [0, 0, 0.825_21],
    ],
    gamma: 461 / 256,
  },
};

const D50: Vector = [0.9642, 1, 0.8249];

/** Whether the bytes are a profile of RGB values, which is all that an image may bring along here. */
export function isRgbProfile(bytes: Buffer): boolean {
  return (
    bytes.length >= 132 &&
    bytes.readUInt32BE(0) <= bytes.length &&
    bytes.toString('latin1', 36, 40) === 'acsp' &&
    bytes.toString('latin1', 16, 20) === 'RGB '
  );
}

/** A display profile of three colorants and one curve. */
export function makeProfile(space: Exclude<ColourSpace, 'srgb'>): Buffer {
  const { name, toXyz, gamma } = SPACES[space];
  const curve = Buffer.alloc(16);
  curve.write('curv', 'latin1');
  curve.writeUInt32BE(1, 8);
  curve.writeUInt16BE(Math.round(gamma * 256), 12);
  const colorant = (channel: 0 | 1 | 2): Buffer => xyz([toXyz[0][channel], toXyz[1][channel], toXyz[2][channel]]);
  const tags: [string, Buffer][] = [
    ['desc', description(name)],
    ['cprt', text('No copyright, use freely')],
    ['wtpt', xyz(D50)],
    ['rXYZ', colorant(0)],
    ['gXYZ', colorant(1)],
    ['bXYZ', colorant(2)],
    ['rTRC', curve],
    ['gTRC', curve],
    ['bTRC', curve],
  ];
  const table = Buffer.alloc(4 + 12 * tags.length);
  table.writeUInt32BE(tags.length);
  let at = 128 + table.length;
  for (const [index, [signature, data]] of tags.entries()) {
    table.write(signature, 4 + 12 * index, 'latin1');
    table.writeUInt32BE(at, 8 + 12 * index);
    table.writeUInt32BE(data.length, 12 + 12 * index);
    at += data.length;
  }
  const header = Buffer.alloc(128);
  header.writeUInt32BE(at, 0);
  header.writeUInt32BE(0x02100000, 8);
  header.write('mntrRGB XYZ ', 12, 'latin1');
  for (const [index, part] of [2026, 1, 1, 0, 0, 0].entries()) header.writeUInt16BE(part, 24 + 2 * index);
  header.write('acsp', 36, 'latin1');
  for (const [index, part] of D50.entries()) header.writeInt32BE(Math.round(part * 65_536), 68 + 4 * index);
  return Buffer.concat([header, table, ...tags.map(([, data]) => data)]);
}

function xyz(value: Vector): Buffer {
  const bytes = Buffer.alloc(20);
  bytes.write('XYZ ', 'latin1');
  for (const [index, part] of value.entries()) bytes.writeInt32BE(Math.round(part * 65_536), 8 + 4 * index);
  return bytes;
}

function text(value: string): Buffer {
  return padded(Buffer.concat([Buffer.from('text\0\0\0\0', 'latin1'), Buffer.from(`${value}\0`, 'latin1')]));
}

function description(value: string): Buffer {
  const ascii = Buffer.from(`${value}\0`, 'latin1');
  const head = Buffer.from('desc\0\0\0\0\0\0\0\0', 'latin1');
  head.writeUInt32BE(ascii.length, 8);
  return padded(Buffer.concat([head, ascii, Buffer.alloc(78)]));
}

function padded(bytes: Buffer): Buffer {
  return Buffer.concat([bytes, Buffer.alloc((4 - (bytes.length % 4)) % 4)]);
}

/** In place. @param rgb 8 bits a sample, sRGB, pixel after pixel */
export function fromSrgb(rgb: Buffer, space: Exclude<ColourSpace, 'srgb'>): void {
  const { toXyz, gamma } = SPACES[space];
  const matrix = multiply(inverse(toXyz), SRGB_TO_XYZ);
  const linear = Float64Array.from({ length: 256 }, (_, value) => {
    const part = value / 255;
    return part <= 0.040_45 ? part / 12.92 : ((part + 0.055) / 1.055) ** 2.4;
  });
  const encoded = Uint8Array.from({ length: 4097 }, (_, value) => Math.round(255 * (value / 4096) ** (1 / gamma)));
  for (let at = 0; at + 2 < rgb.length; at += 3) {
    const [red = 0, green = 0, blue = 0] = [rgb[at], rgb[at + 1], rgb[at + 2]].map((value) => linear[value ?? 0]);
    for (const [channel, row] of matrix.entries()) {
      const value = row[0] * red + row[1] * green + row[2] * blue;
      rgb[at + channel] = encoded[Math.round(4096 * Math.min(1, Math.max(0, value)))] ?? 0;
    }
  }
}

function multiply(a: Matrix, b: Matrix): Matrix {
  const cell = (row: Vector, column: 0 | 1 | 2): number =>
    row[0] * b[0][column] + row[1] * b[1][column] + row[2] * b[2][column];
  const line = (row: Vector): Vector => [cell(row, 0), cell(row, 1), cell(row, 2)];
  return [line(a[0]), line(a[1]), line(a[2])];
}

function inverse([[a, b, c], [d, e, f], [g, h, i]]: Matrix): Matrix {
  const [A, B, C] = [e * i - f * h, f * g - d * i, d * h - e * g];
  const determinant = a * A + b * B + c * C;
  return [
    [A / determinant, (c * h - b * i) / determinant, (b * f - c * e) / determinant],
    [B / determinant, (a * i - c * g) / determinant, (c * d - a * f) / determinant],
    [C / determinant, (b * g - a * h) / determinant, (a * e - b * d) / determinant],
  ];
}

const MOST_IN_SEGMENT = 65_519;

/** Into APP2 segments behind SOI. */
export function profileIntoJpeg(jpeg: Buffer, profile: Buffer): Buffer {
  const count = Math.ceil(profile.length / MOST_IN_SEGMENT);
  const segments = Array.from({ length: count }, (_, index) => {
    const part = profile.subarray(index * MOST_IN_SEGMENT, (index + 1) * MOST_IN_SEGMENT);
    const head = Buffer.from('\xff\xe2\0\0ICC_PROFILE\0\0\0', 'latin1');
    head.writeUInt16BE(part.length + 16, 2);
    head[16] = index + 1;
    head[17] = count;
    return Buffer.concat([head, part]);
  });
  return Buffer.concat([jpeg.subarray(0, 2), ...segments, jpeg.subarray(2)]);
}

const PNG_IHDR_END = 33;

/** Into an iCCP chunk behind IHDR. */
export function profileIntoPng(png: Buffer, profile: Buffer): Buffer {
  const content = Buffer.concat([Buffer.from('iCCPicc\0\0', 'latin1'), deflateSync(profile)]);
  const chunk = Buffer.alloc(content.length + 8);
  chunk.writeUInt32BE(content.length - 4, 0);
  content.copy(chunk, 4);
  chunk.writeUInt32BE(crc32(content), 4 + content.length);
  return Buffer.concat([png.subarray(0, PNG_IHDR_END), chunk, png.subarray(PNG_IHDR_END)]);
}
