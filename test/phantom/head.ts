/**
 * A head made of ellipsoids: skin with brow, nose, lips, chin, eyes and ears, skull with sinuses, brain; in CT, T1, T2 and FLAIR, of any
 * size and shape, turned in any way, scanned in any direction. Where everything is, is known exactly. Own work; nobody is depicted.
 */
import { newUid } from '../../src/dicom/uid.ts';
import { writePart10, words, type Item, type Planted } from './part10.ts';

type Vector3 = readonly [number, number, number];

export type Contrast = 'CT' | 'T1' | 'T2' | 'FLAIR';

export interface HeadShape {
  /** Times an average adult's. */
  readonly size?: number;
  readonly width?: number;
  readonly noseMm?: number;
  readonly chinMm?: number;
  readonly browMm?: number;
  readonly scalpMm?: number;
  /** Degrees: turned to the left, chin up, leaning. */
  readonly yaw?: number;
  readonly pitch?: number;
  readonly roll?: number;
  readonly shiftMm?: Vector3;
}

export const TISSUES = [
  'air',
  'skin',
  'fat',
  'muscle',
  'bone',
  'marrow',
  'csf',
  'grey',
  'white',
  'eye',
  'cavity',
  'support',
] as const;
export type Tissue = (typeof TISSUES)[number];

const SIGNALS: Readonly<Record<Contrast, Readonly<Record<Tissue, number>>>> = {
  CT: {
    air: -1000,
    skin: 30,
    fat: -90,
    muscle: 55,
    bone: 1100,
    marrow: 450,
    csf: 8,
    grey: 38,
    white: 30,
    eye: 12,
    cavity: -990,
    support: -880,
  },
  T1: {
    air: 0,
    skin: 420,
    fat: 900,
    muscle: 380,
    bone: 60,
    marrow: 300,
    csf: 160,
    grey: 480,
    white: 700,
    eye: 170,
    cavity: 0,
    support: 0,
  },
  T2: {
    air: 0,
    skin: 350,
    fat: 620,
    muscle: 220,
    bone: 50,
    marrow: 200,
    csf: 1000,
    grey: 560,
    white: 420,
    eye: 1000,
    cavity: 0,
    support: 0,
  },
  FLAIR: {
    air: 0,
    skin: 400,
    fat: 600,
    muscle: 300,
    bone: 50,
    marrow: 220,
    csf: 90,
    grey: 640,
    white: 500,
    eye: 120,
    cavity: 0,
    support: 0,
  },
};

interface Ellipsoid {
  readonly at: Vector3;
  readonly half: Vector3;
}

function within({ at, half }: Ellipsoid, [x, y, z]: Vector3, grow = 0): boolean {
  return (
    ((x - at[0]) / (half[0] + grow)) ** 2 +
      ((y - at[1]) / (half[1] + grow)) ** 2 +
      ((z - at[2]) / (half[2] + grow)) ** 2 <=
    1
  );
}

export interface HeadModel {
  tissueAt(patient: Vector3): Tissue;
  /** Brain and the water around it. */
  isInside(patient: Vector3): boolean;
  /** Points of the skin of nose, lips, chin, brow, cheeks, eyes and ears. */
  readonly landmarks: Readonly<Record<string, Vector3>>;
  /** In the head's own axes. */
  toHead(patient: Vector3): Vector3;
}

/** Lengths in mm of an average adult; x to the left, y to the back, z up, from the middle of the cranium. */
export function headModel(shape: HeadShape = {}): HeadModel {
  const { size = 1, width = 1, noseMm = 22, chinMm = 0, browMm = 3, scalpMm = 6, shiftMm = [0, 0, 0] } = shape;
  const turn = rotation(shape.yaw ?? 0, shape.pitch ?? 0, shape.roll ?? 0);
  const vault: Ellipsoid = { at: [0, 0, 0], half: [76 * width, 96, 88] };
  const occiput: Ellipsoid = { at: [0, 22, -18], half: [66 * width, 78, 72] };
  const face: Ellipsoid = { at: [0, -34, -62], half: [62 * width, 60, 68] };
  const chin: Ellipsoid = { at: [0, -78, -116 - chinMm], half: [20, 16, 13 + chinMm / 2] };
  const neck = { at: [0, 18] as const, half: [56 * width, 58] as const };
  const brow: Ellipsoid = { at: [0, -91, -12], half: [44, 4 + browMm, 7] };
  const nose: Ellipsoid[] = [0, 1, 2, 3, 4].map((step) => ({
    at: [0, -88 - (noseMm * 0.62 * step) / 4, -30 - step * 8],
    half: [7 + step * 1.7, 9 + noseMm * 0.16 + step * 0.6, 8],
  }));
  const lips: Ellipsoid = { at: [0, -93, -90], half: [22, 7, 8] };
  const orbits: Ellipsoid[] = [-1, 1].map((side) => ({ at: [side * 32, -84, -34], half: [18, 17, 15] }));
  const globes: Ellipsoid[] = [-1, 1].map((side) => ({ at: [side * 32, -76, -34], half: [12, 12, 12] }));
  const cheeks: Ellipsoid[] = [-1, 1].map((side) => ({ at: [side * 45 * width, -68, -58], half: [17, 20, 17] }));
  const ears: Ellipsoid[] = [-1, 1].map((side) => ({ at: [side * (82 * width), 14, -42], half: [12, 17, 31] }));
  const inner: Ellipsoid = {
    at: [0, 1, -1],
    half: [vault.half[0] - scalpMm - 6, vault.half[1] - scalpMm - 7, vault.half[2] - scalpMm - 6],
  };
  const outer: Ellipsoid = { at: inner.at, half: [inner.half[0] + 6, inner.half[1] + 7, inner.half[2] + 6] };
  const sinuses: Ellipsoid[] = [
    { at: [0, -80, -14], half: [16, 4, 8] },
    { at: [-27, -62, -62], half: [13, 14, 14] },
    { at: [27, -62, -62], half: [13, 14, 14] },
    { at: [0, -58, -58], half: [11, 30, 18] },
    { at: [0, -22, -100], half: [10, 9, 40] },
  ];
  // The floor of the skull: high over the orbits, deep at the back.
  const floor = ([, y]: Vector3): number => (y < -38 ? -24 - (y + 88) * 0.08 : y < -10 ? -46 : y < 12 ? -58 : -72);
  const temporal: Ellipsoid[] = [-1, 1].map((side) => ({ at: [side * 42 * width, -22, -42], half: [19, 24, 17] }));
  const stem = { at: [0, 14] as const, half: 11 };
  const isInsideHead = (p: Vector3): boolean => {
    if (within(inner, p) && p[2] > floor(p)) return true;
    if (temporal.some((one) => within(one, p))) return true;
    return Math.hypot(p[0] - stem.at[0], p[1] - stem.at[1]) < stem.half && p[2] < -40 && p[2] > -165;
  };
  const isSkin = (p: Vector3): boolean => {
    const [x, y, z] = p;
    if (within(vault, p) || within(occiput, p)) return true;
    if (z < -40 && ((x - neck.at[0]) / neck.half[0]) ** 2 + ((y - neck.at[1]) / neck.half[1]) ** 2 <= 1) return true;
    if ([brow, ...nose, lips, chin, ...ears, ...cheeks].some((one) => within(one, p))) return !inSocket(p);
    return within(face, p) && !inSocket(p);
  };
  // Eyelids lie deeper than brow and cheek.
  const inSocket = (p: Vector3): boolean =>
    orbits.some((one) => within(one, p)) && !globes.some((one) => within(one, p, 2)) && p[1] < -84;
  const isSkull = (p: Vector3): boolean => {
    const [x, y, z] = p;
    if (within(outer, p) && z > floor(p) - 5 && !isInsideHead(p)) return z > floor(p) || within(outer, p);
    if (temporal.some((one) => within(one, p, 4))) return true;
    // Upper and lower jaw, cheekbones, spine.
    if (
      z < -72 &&
      z > -104 &&
      within({ at: [0, -34, -62], half: [46 * width, 50, 62] }, p) &&
      !within({ at: [0, -30, -62], half: [36 * width, 42, 60] }, p)
    )
      return y < -10;
    if (within(chin, p, -6)) return true;
    if (cheeks.some((one) => within(one, p, -8))) return true;
    return Math.hypot(x, y - 14) < 22 && Math.hypot(x, y - 14) > 12 && z < -78;
  };
  const tissueInHead = (p: Vector3): Tissue => {
    if (!isSkin(p)) return 'air';
    if (isInsideHead(p)) {
      if (within({ at: [0, 8, 8], half: [12, 26, 9] }, p)) return 'csf';
      if (!within(inner, p, -4) && !temporal.some((one) => within(one, p, -3))) return 'csf';
      return within(inner, p, -13) ? 'white' : 'grey';
    }
    if (globes.some((one) => within(one, p))) return 'eye';
    if (sinuses.some((one) => within(one, p))) return 'cavity';
    if (isSkull(p)) return within(outer, p, -2) && !within(inner, p, 2) ? 'marrow' : 'bone';
    const near = (mm: number): boolean =>
      !isSkin([
        p[0] * (1 + mm / Math.hypot(...p)),
        p[1] * (1 + mm / Math.hypot(...p)),
        p[2] * (1 + mm / Math.hypot(...p)),
      ]);
    if (near(2)) return 'skin';
    return near(6) || orbits.some((one) => within(one, p)) ? 'fat' : 'muscle';
  };
  const toHead = (patient: Vector3): Vector3 => {
    const moved: Vector3 = [patient[0] - shiftMm[0], patient[1] - shiftMm[1], patient[2] - shiftMm[2]];
    return turn.map(
      (axis) => (axis[0] * moved[0] + axis[1] * moved[1] + axis[2] * moved[2]) / size,
    ) as unknown as Vector3;
  };
  const toPatient = (p: Vector3): Vector3 =>
    ([0, 1, 2] as const).map(
      (axis) => size * (turn[0][axis] * p[0] + turn[1][axis] * p[1] + turn[2][axis] * p[2]) + shiftMm[axis],
    ) as unknown as Vector3;
  const tip = nose[4] ?? lips;
  return {
    tissueAt: (patient) => tissueInHead(toHead(patient)),
    isInside: (patient) => isInsideHead(toHead(patient)),
    toHead,
    landmarks: Object.fromEntries(
      Object.entries({
        noseTip: [0, tip.at[1] - tip.half[1] + 2, tip.at[2]],
        lips: [0, -98, -90],
        chin: [0, chin.at[1] - chin.half[1] + 2, chin.at[2]],
        leftEye: [32, -86, -34],
        rightEye: [-32, -86, -34],
        leftCheek: [45 * width, -86, -58],
        rightCheek: [-45 * width, -86, -58],
        leftEar: [90 * width, 14, -42],
        rightEar: [-90 * width, 14, -42],
      } satisfies Record<string, Vector3>).map(([name, place]) => [name, toPatient(place)]),
    ),
  };
}

function rotation(yaw: number, pitch: number, roll: number): readonly [Vector3, Vector3, Vector3] {
  const [cy, sy, cp, sp, cr, sr] = [yaw, pitch, roll].flatMap((degrees) => [
    Math.cos((degrees * Math.PI) / 180),
    Math.sin((degrees * Math.PI) / 180),
  ]) as [number, number, number, number, number, number];
  return [
    [cy * cr - sy * sp * sr, sy * cr + cy * sp * sr, -cp * sr],
    [-sy * cp, cy * cp, sp],
    [cy * sr + sy * sp * cr, sy * sr - cy * sp * cr, cp * cr],
  ];
}

export type Direction = 'axial' | 'sagittal' | 'coronal' | Vector3;

export interface Scan {
  readonly contrast: Contrast;
  readonly shape?: HeadShape;
  readonly direction?: Direction;
  /** Turns the planes about all axes (degrees). */
  readonly oblique?: number;
  readonly pixelMm?: number;
  readonly sliceMm?: number;
  /** Of the field of view, in the patient: from the middle of the cranium. */
  readonly low?: Vector3;
  readonly high?: Vector3;
  readonly noise?: number;
  /** CT: a table and a foam head rest. MR: a ghost of the head along y. */
  readonly extras?: boolean;
  readonly seed?: number;
}

export interface ScannedSlice {
  readonly positionMm: Vector3;
  /** Stored values, little endian, 16 bits. */
  readonly pixels: Buffer;
}

export interface ScannedHead {
  readonly scan: Scan;
  readonly model: HeadModel;
  readonly columns: number;
  readonly rows: number;
  readonly pixelMm: number;
  readonly sliceMm: number;
  readonly row: Vector3;
  readonly column: Vector3;
  readonly normal: Vector3;
  readonly slices: readonly ScannedSlice[];
}

const AXES: Readonly<Record<'axial' | 'sagittal' | 'coronal', readonly [Vector3, Vector3]>> = {
  axial: [
    [1, 0, 0],
    [0, 1, 0],
  ],
  sagittal: [
    [0, 1, 0],
    [0, 0, -1],
  ],
  coronal: [
    [1, 0, 0],
    [0, 0, -1],
  ],
};

const STORED_CT = { slope: 1, intercept: -1024 };

export function scanHead(scan: Scan): ScannedHead {
  const {
    contrast,
    direction = 'axial',
    oblique = 0,
    pixelMm = 2,
    sliceMm = 2,
    noise = contrast === 'CT' ? 12 : 15,
    extras = false,
  } = scan;
  const model = headModel(scan.shape);
  const low = scan.low ?? [-115, -140, -150];
  const high = scan.high ?? [115, 125, 105];
  const [row0, column0] = AXES[typeof direction === 'string' ? direction : 'axial'];
  const turn = rotation(oblique, oblique * 0.7, -oblique * 0.5);
  const turned = (v: Vector3): Vector3 =>
    turn.map((axis) => axis[0] * v[0] + axis[1] * v[1] + axis[2] * v[2]) as unknown as Vector3;
  const row = turned(row0);
  const column = turned(column0);
  const normal: Vector3 = [
    row[1] * column[2] - row[2] * column[1],
    row[2] * column[0] - row[0] * column[2],
    row[0] * column[1] - row[1] * column[0],
  ];
  const middle: Vector3 = [(low[0] + high[0]) / 2, (low[1] + high[1]) / 2, (low[2] + high[2]) / 2];
  const extent = (axis: Vector3): number =>
    [0, 1, 2].reduce((sum, i) => sum + Math.abs(rowOf(axis, i)) * ((high[i] ?? 0) - (low[i] ?? 0)), 0);
  // Of the axis before it was turned: the box keeps its measures.
  const columns = Math.round(extent(row0) / pixelMm);
  const rows = Math.round(extent(column0) / pixelMm);
  const normal0: Vector3 = [
    row0[1] * column0[2] - row0[2] * column0[1],
    row0[2] * column0[0] - row0[0] * column0[2],
    row0[0] * column0[1] - row0[1] * column0[0],
  ];
  const count = Math.round(extent(normal0) / sliceMm);
  const random = randomNumbers(scan.seed ?? 1);
  const slices: ScannedSlice[] = [];
  for (let k = 0; k < count; k++) {
    const along = (k - (count - 1) / 2) * sliceMm;
    const positionMm = ([0, 1, 2] as const).map(
      (i) =>
        middle[i] + along * normal[i] - ((columns - 1) / 2) * pixelMm * row[i] - ((rows - 1) / 2) * pixelMm * column[i],
    ) as unknown as Vector3;
    const pixels = Buffer.alloc(2 * columns * rows);
    for (let j = 0; j < rows; j++) {
      for (let i = 0; i < columns; i++) {
        const place = ([0, 1, 2] as const).map(
          (axis) => positionMm[axis] + i * pixelMm * row[axis] + j * pixelMm * column[axis],
        ) as unknown as Vector3;
        pixels.writeUInt16LE(signalAt(model, contrast, place, { noise, extras, random }), 2 * (j * columns + i));
      }
    }
    slices.push({ positionMm, pixels });
  }
  return { scan, model, columns, rows, pixelMm, sliceMm, row, column, normal, slices };
}

function rowOf(vector: Vector3, index: number): number {
  return vector[index] ?? 0;
}

function signalAt(
  model: HeadModel,
  contrast: Contrast,
  place: Vector3,
  { noise, extras, random }: { noise: number; extras: boolean; random: () => number },
): number {
  const tissue = model.tissueAt(place);
  let value = SIGNALS[contrast][tissue];
  if (contrast === 'CT') {
    if (extras && tissue === 'air') value = supportAt(model, place) ?? value;
    return Math.max(0, Math.min(4095, Math.round(value + noise * gauss(random) - STORED_CT.intercept)));
  }
  // A coil nearer to the back of the head, and the ghost of what pulsates, half a field away.
  value *= 1 - 0.0015 * place[1] + 0.0008 * place[0];
  if (extras && tissue === 'air')
    value += 0.05 * SIGNALS[contrast][model.tissueAt([place[0], place[1] + 120, place[2]])];
  return Math.min(4095, Math.round(Math.hypot(value + noise * gauss(random), noise * gauss(random))));
}

/** A head rest of foam in a shell, and the table under it. */
function supportAt(model: HeadModel, [x, y, z]: Vector3): number | undefined {
  const [hx, hy] = [x, y];
  if (y > 112) return -250;
  const radius = Math.hypot(hx, hy - 8);
  if (z < 60 && hy > 20 && radius > 104 && radius < 107) return 120;
  if (z < 60 && hy > 20 && radius <= 104) return model.tissueAt([x, y - 3, z]) === 'air' ? -930 : undefined;
  return undefined;
}

function randomNumbers(seed: number): () => number {
  let state = seed >>> 0;
  return () => {
    state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
    return state / 2 ** 32;
  };
}

function gauss(random: () => number): number {
  return Math.sqrt(-2 * Math.log(random() + 1e-12)) * Math.cos(2 * Math.PI * random());
}

export interface HeadObjects {
  readonly patientId?: string;
  readonly patientName?: string;
  readonly studyInstanceUID?: string;
  readonly seriesInstanceUID?: string;
  readonly frameOfReferenceUID?: string;
  readonly description?: string;
  readonly imageType?: string;
  /** Another than CT or MR Image Storage. */
  readonly sopClassUID?: string;
  readonly more?: readonly Planted[];
}

/** Part 10 objects in Explicit VR Little Endian, as a scanner sends them. */
export function headObjects(
  head: ScannedHead,
  facts: HeadObjects = {},
): { readonly sopInstanceUID: string; readonly bytes: Buffer }[] {
  const ct = head.scan.contrast === 'CT';
  const sopClassUID = facts.sopClassUID ?? (ct ? '1.2.840.10008.5.1.4.1.1.2' : '1.2.840.10008.5.1.4.1.1.4');
  const study = facts.studyInstanceUID ?? newUid();
  const series = facts.seriesInstanceUID ?? newUid();
  const frame = facts.frameOfReferenceUID ?? newUid();
  const us = (tag: number, value: number): Planted => ({ tag, vr: 'US', value: words(2, value) });
  const text = (tag: number, vr: Planted['vr'], value: string): Planted => ({ tag, vr, value });
  const decimals = (values: readonly number[]): string =>
    values.map((value) => value.toFixed(6).slice(0, 16)).join('\\');
  return head.slices.map(({ positionMm, pixels }, index) => {
    const sopInstanceUID = newUid();
    const stored = new Uint16Array(pixels.buffer.slice(pixels.byteOffset, pixels.byteOffset + pixels.length));
    const elements: Item = [
      text(0x00080008, 'CS', facts.imageType ?? 'ORIGINAL\\PRIMARY\\AXIAL'),
      text(0x00080016, 'UI', sopClassUID),
      text(0x00080018, 'UI', sopInstanceUID),
      text(0x00080020, 'DA', '20240311'),
      text(0x00080021, 'DA', '20240311'),
      text(0x00080023, 'DA', '20240311'),
      text(0x00080030, 'TM', '101500'),
      text(0x00080033, 'TM', '101512'),
      text(0x00080050, 'SH', 'A4711'),
      text(0x00080060, 'CS', ct ? 'CT' : 'MR'),
      text(0x00080070, 'LO', 'PHANTOM'),
      text(0x00080090, 'PN', ''),
      text(0x0008103e, 'LO', facts.description ?? (ct ? 'Head thin' : `${head.scan.contrast} head`)),
      text(0x00100010, 'PN', facts.patientName ?? 'Wachholder^Ortrud'),
      text(0x00100020, 'LO', facts.patientId ?? 'HEAD-0815'),
      text(0x00100030, 'DA', '19610203'),
      text(0x00100040, 'CS', 'O'),
      text(0x00180015, 'CS', 'HEAD'),
      text(0x00180050, 'DS', String(head.sliceMm)),
      ...(ct
        ? [text(0x00180060, 'DS', '120')]
        : [
            text(0x00180020, 'CS', 'GR'),
            text(0x00180021, 'CS', 'NONE'),
            text(0x00180022, 'CS', ''),
            text(0x00180023, 'CS', '3D'),
            text(0x00180080, 'DS', '8'),
            text(0x00180081, 'DS', '3'),
            text(0x00180091, 'IS', '1'),
          ]),
      text(0x00185100, 'CS', 'HFS'),
      text(0x0020000d, 'UI', study),
      text(0x0020000e, 'UI', series),
      text(0x00200010, 'SH', '1'),
      text(0x00200011, 'IS', '3'),
      text(0x00200012, 'IS', '1'),
      text(0x00200013, 'IS', String(index + 1)),
      text(0x00200032, 'DS', decimals(head.slices[index]?.positionMm ?? positionMm)),
      text(0x00200037, 'DS', decimals([...head.row, ...head.column])),
      text(0x00200052, 'UI', frame),
      text(0x00201040, 'LO', ''),
      us(0x00280002, 1),
      text(0x00280004, 'CS', 'MONOCHROME2'),
      us(0x00280010, head.rows),
      us(0x00280011, head.columns),
      text(0x00280030, 'DS', `${head.pixelMm}\\${head.pixelMm}`),
      us(0x00280100, 16),
      us(0x00280101, 12),
      us(0x00280102, 11),
      us(0x00280103, 0),
      us(
        0x00280106,
        stored.reduce((low, value) => Math.min(low, value), 65_535),
      ),
      us(
        0x00280107,
        stored.reduce((high, value) => Math.max(high, value), 0),
      ),
      ...(ct
        ? [text(0x00281052, 'DS', String(STORED_CT.intercept)), text(0x00281053, 'DS', String(STORED_CT.slope))]
        : []),
      ...(facts.more ?? []),
    ];
    return {
      sopInstanceUID,
      bytes: writePart10(
        { sopClassUID, sopInstanceUID, elements, pixels },
        { syntax: 'explicit-le', characterSet: 'utf-8', undefinedLength: () => false },
      ),
    };
  });
}
