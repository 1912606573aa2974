/**
 * What pairs are made of: bodies that are known at every point (ellipsoids, three modalities), and real volumes of ISTHMUS_SAMPLES where
 * it is set: `volumes/` has NIfTI files and one head as NumPy arrays.
 */
import { existsSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { gunzipSync, inflateRawSync } from 'node:zlib';
import type { Random } from '../../cases.ts';

/** A picture of a body, about [0, 1], at a point in mm about the body's middle; NaN outside what is known. */
export interface Source {
  readonly name: string;
  readonly radiusMm: readonly [number, number, number];
  /** Contrasts there are; a real volume has one, of which others are made. */
  readonly contrasts: readonly ((x: number, y: number, z: number) => number)[];
  readonly modalities: readonly string[];
  readonly isReal: boolean;
}

interface Ellipsoid {
  readonly centre: readonly number[];
  readonly radii: readonly number[];
  readonly turn: readonly number[];
  /** MR, CT, PET. */
  readonly levels: readonly number[];
}

/** A trunk of three modalities: skin, fat, muscle, bones, organs, air; PET bright in few of them. */
export function makeTrunk(next: Random): Source {
  const radiusMm = [next.uniform(75, 95), next.uniform(55, 75), 90] as const;
  const part = (centre: number[], radii: number[], levels: number[]): Ellipsoid => ({
    centre,
    radii,
    turn: [next.uniform(-0.5, 0.5), next.uniform(-0.5, 0.5), next.uniform(-0.5, 0.5)],
    levels,
  });
  const [rx, ry] = radiusMm;
  const parts: Ellipsoid[] = [
    { ...part([0, 0, 0], [rx, ry, 130], [0.75, 0.38, 0.08]), turn: [0, 0, 0] },
    { ...part([0, 0, 0], [rx - 8, ry - 8, 128], [0.35, 0.45, 0.12]), turn: [0, 0, 0] },
    { ...part([0, ry - 22, 0], [14, 12, 200], [0.3, 0.85, 0.2]), turn: [0.03, 0.03, 0] },
  ];
  for (let n = 0; n < 14; n++) {
    const [a, side] = [next.uniform(-75, 75), n % 2 === 0 ? 1 : -1];
    parts.push(part([side * (rx - 16), next.uniform(-20, 20), a], [5, next.uniform(15, 28), 4], [0.2, 0.95, 0.15]));
  }
  for (let n = 0; n < 26; n++) {
    const air = n % 9 === 4;
    const size = next.uniform(6, 22);
    parts.push(
      part(
        [next.uniform(-0.55, 0.55) * rx, next.uniform(-0.55, 0.45) * ry, next.uniform(-78, 78)],
        [size * next.uniform(0.6, 1.3), size * next.uniform(0.6, 1.3), size * next.uniform(0.6, 1.6)],
        air ? [0.02, 0, 0.02] : [next.uniform(0.15, 1), next.uniform(0.4, 0.56), next.uniform(0, 1) ** 3],
      ),
    );
  }
  // Beyond its longest radius and its soft edge a part is not seen.
  const turned = parts.map((one) => ({
    ...one,
    matrix: turnOf(one.turn),
    reach: (1.7 * Math.max(...one.radii) + 6) ** 2,
  }));
  const seen = (contrast: number) => (x: number, y: number, z: number) => {
    let value = 0;
    for (const { centre, radii, matrix, levels, reach } of turned) {
      const [dx, dy, dz] = [x - centre[0]!, y - centre[1]!, z - centre[2]!];
      if (dx * dx + dy * dy + dz * dz > reach) continue;
      const u = (matrix[0]! * dx + matrix[1]! * dy + matrix[2]! * dz) / radii[0]!;
      const v = (matrix[3]! * dx + matrix[4]! * dy + matrix[5]! * dz) / radii[1]!;
      const w = (matrix[6]! * dx + matrix[7]! * dy + matrix[8]! * dz) / radii[2]!;
      const depth = (1 - Math.sqrt(u * u + v * v + w * w)) * Math.min(radii[0]!, radii[1]!, radii[2]!);
      const soft = contrast === 2 ? 5 : 1.5;
      if (depth < -soft) continue;
      value += Math.min(1, 0.5 + (0.5 * depth) / soft) * (levels[contrast]! - value);
    }
    return value;
  };
  return {
    name: 'trunk',
    radiusMm,
    contrasts: [seen(0), seen(1), seen(2)],
    modalities: ['MR', 'CT', 'PT'],
    isReal: false,
  };
}

function turnOf([a, b, c]: readonly number[]): number[] {
  const [ca, sa, cb, sb, cc, sc] = [Math.cos(a!), Math.sin(a!), Math.cos(b!), Math.sin(b!), Math.cos(c!), Math.sin(c!)];
  return [
    cb * cc,
    sa * sb * cc - ca * sc,
    ca * sb * cc + sa * sc,
    cb * sc,
    sa * sb * sc + ca * cc,
    ca * sb * sc - sa * cc,
    -sb,
    sa * cb,
    ca * cb,
  ];
}

interface Grid {
  readonly size: readonly [number, number, number];
  readonly spacing: readonly [number, number, number];
  readonly voxels: Float32Array;
}

/** Real volumes; none where ISTHMUS_SAMPLES is not set. Of aligned contrasts of one template, each is one contrast of one source. */
export function realSources(): Source[] {
  const folder = process.env['ISTHMUS_SAMPLES'];
  if (folder === undefined || !existsSync(join(folder, 'volumes'))) return [];
  const at = (name: string) => join(folder, 'volumes', name);
  const read = (name: string) => normal(name.endsWith('.npz') ? readHead(at(name)) : readNifti(at(name)));
  const real = (name: string, files: readonly string[]): Source => {
    const grids = files.map(read);
    const { size, spacing } = grids[0]!;
    return {
      name,
      radiusMm: [0, 1, 2].map((axis) => ((size[axis]! - 1) * spacing[axis]!) / 2) as [number, number, number],
      contrasts: grids.map(seeing),
      modalities: files.map(() => 'MR'),
      isReal: true,
    };
  };
  return [
    real('T1 head', ['brain_t1_subject1/subject_1_vol.npz']),
    real('MNI T1, T2, PD', ['mni_templates/avg152T1.nii', 'mni_templates/avg152T2.nii', 'mni_templates/avg152PD.nii']),
    real('T1 FLASH head', ['niftyreg_t2epi_t1flash/flash_t1.nii.gz']),
    real('T2 EPI head', ['niftyreg_t2epi_t1flash/epi_t2.nii.gz']),
  ];
}

function normal(grid: Grid): Grid {
  const sorted = grid.voxels.slice().sort();
  const [low, high] = [sorted[Math.floor(0.005 * sorted.length)]!, sorted[Math.floor(0.997 * sorted.length)]!];
  return { ...grid, voxels: grid.voxels.map((value) => Math.min(1.2, Math.max(0, (value - low) / (high - low)))) };
}

function seeing({ size, spacing, voxels }: Grid): (x: number, y: number, z: number) => number {
  const [nx, ny, nz] = size;
  return (x, y, z) => {
    const u = x / spacing[0] + (nx - 1) / 2;
    const v = y / spacing[1] + (ny - 1) / 2;
    const w = z / spacing[2] + (nz - 1) / 2;
    if (!(u >= 0 && v >= 0 && w >= 0 && u < nx - 1 && v < ny - 1 && w < nz - 1)) return Number.NaN;
    const [i, j, k] = [Math.floor(u), Math.floor(v), Math.floor(w)];
    const [a, b, c] = [u - i, v - j, w - k];
    const o = (k * ny + j) * nx + i;
    const line = (n: number) => voxels[n]! + a * (voxels[n + 1]! - voxels[n]!);
    const plane = (n: number) => line(n) + b * (line(n + nx) - line(n));
    return plane(o) + c * (plane(o + nx * ny) - plane(o));
  };
}

/** NIfTI-1: only what these files need. */
function readNifti(file: string): Grid {
  const raw = readFileSync(file);
  const bytes = file.endsWith('.gz') ? gunzipSync(raw) : raw;
  const little = bytes.readInt32LE(0) === 348;
  const i16 = (at: number) => (little ? bytes.readInt16LE(at) : bytes.readInt16BE(at));
  const f32 = (at: number) => (little ? bytes.readFloatLE(at) : bytes.readFloatBE(at));
  const size = [i16(42), i16(44), i16(46)] as const;
  const [type, offset] = [i16(70), f32(108)];
  const width = { 2: 1, 4: 2, 8: 4, 16: 4, 64: 8, 512: 2 }[type];
  if (width === undefined) throw new Error(`${file} has data type ${type}`);
  const value = (at: number): number => {
    if (type === 2) return bytes.readUInt8(at);
    if (type === 4) return i16(at);
    if (type === 8) return little ? bytes.readInt32LE(at) : bytes.readInt32BE(at);
    if (type === 16) return f32(at);
    if (type === 64) return little ? bytes.readDoubleLE(at) : bytes.readDoubleBE(at);
    return little ? bytes.readUInt16LE(at) : bytes.readUInt16BE(at);
  };
  const voxels = new Float32Array(size[0] * size[1] * size[2]);
  for (let n = 0; n < voxels.length; n++) voxels[n] = value(offset + n * width);
  return { size, spacing: [f32(80), f32(84), f32(88)], voxels };
}

/** The only member of an .npz, deflated or stored; 1 mm voxels. */
function readHead(file: string): Grid {
  const bytes = readFileSync(file);
  const end = bytes.lastIndexOf(Buffer.from([0x50, 0x4b, 0x01, 0x02]));
  const [method, packed, local] = [
    bytes.readUInt16LE(end + 10),
    bytes.readUInt32LE(end + 20),
    bytes.readUInt32LE(end + 42),
  ];
  const from = local + 30 + bytes.readUInt16LE(local + 26) + bytes.readUInt16LE(local + 28);
  const data = bytes.subarray(from, from + packed);
  const array = method === 8 ? inflateRawSync(data) : data;
  const header = array.subarray(10, 10 + array.readUInt16LE(8)).toString('latin1');
  const shape = /\((\d+), (\d+), (\d+)\)/.exec(header)?.slice(1).map(Number) as [number, number, number];
  const kind = /'descr': '([^']+)'/.exec(header)?.[1] ?? '';
  const start = 10 + array.readUInt16LE(8);
  const count = shape[0] * shape[1] * shape[2];
  const voxels = new Float32Array(count);
  for (let n = 0; n < count; n++)
    voxels[n] =
      kind === '<f4'
        ? array.readFloatLE(start + 4 * n)
        : kind === '<f8'
          ? array.readDoubleLE(start + 8 * n)
          : kind === '|u1'
            ? array.readUInt8(start + n)
            : array.readInt16LE(start + 2 * n);
  return { size: [shape[2], shape[1], shape[0]], spacing: [1, 1, 1], voxels };
}
