/**
 * Synthetic studies as a hospital would send them: a noisy CT of a thorax-like body, and an MR of a head-like body with its follow-up,
 * moved and deformed by a known smooth warp. Geometry and identity are invented; nobody is depicted.
 */
import { uidFrom } from '../../src/dicom/uid.ts';
import { openSink, sinkBytes, writeBytes, writeElement, writeNumbers, writeText } from '../../src/dicom/writer.ts';
import type { Vr } from '../../src/dicom/vr.ts';
import { seeded, type Random } from './random.ts';

export interface Patient {
  readonly name: string;
  readonly id: string;
  readonly birthDate: string;
  readonly sex: 'M' | 'F';
}

export interface PhantomStudy {
  readonly patient: Patient;
  readonly studyInstanceUID: string;
  readonly accessionNumber: string;
  /** Part 10 objects. */
  readonly objects: readonly Buffer[];
}

interface SeriesFacts {
  readonly patient: Patient;
  readonly modality: 'CT' | 'MR';
  readonly sopClassUID: string;
  readonly studyDate: string;
  readonly accessionNumber: string;
  readonly studyDescription: string;
  readonly seriesDescription: string;
  readonly bodyPart: string;
  readonly columns: number;
  readonly rows: number;
  readonly spacingMm: number;
  readonly sliceSpacingMm: number;
  readonly frameOfReferenceUID: string;
  readonly studyInstanceUID: string;
  readonly seriesInstanceUID: string;
}

const CT_IMAGE = '1.2.840.10008.5.1.4.1.1.2';
const MR_IMAGE = '1.2.840.10008.5.1.4.1.1.4';
const EXPLICIT_LE = '1.2.840.10008.1.2.1';

/** A CT of `slices` slices with CT-like (coloured) noise of about `noiseHU`. */
export function ctStudy(options: {
  patient: Patient;
  slices?: number;
  size?: number;
  noiseHU?: number;
  seed?: number;
  studyDate?: string;
}): PhantomStudy {
  const { patient, slices = 12, size = 192, noiseHU = 28, seed = 1, studyDate = '20240917' } = options;
  const random = seeded(seed);
  const facts = seriesFacts('CT', patient, studyDate, `A${patient.id}C`, {
    studyDescription: 'CT Thorax nativ',
    seriesDescription: 'Thorax 1.5 B40f',
    bodyPart: 'CHEST',
    columns: size,
    rows: size,
    spacingMm: 320 / size,
    sliceSpacingMm: 3,
  });
  const nodules = Array.from({ length: 10 }, () => ({
    x: 0.55 * (random.next() - 0.5) * size + size / 2,
    y: 0.4 * (random.next() - 0.5) * size + size / 2,
    z: random.next() * slices,
    radius: (2 + 4 * random.next()) * (size / 192),
  }));
  const objects: Buffer[] = [];
  for (let k = 0; k < slices; k++) {
    const noise = colouredNoise(size, noiseHU, random);
    const stored = new Int16Array(size * size);
    for (let j = 0; j < size; j++) {
      for (let i = 0; i < size; i++) {
        const hu = thoraxHU(i, j, k, size, nodules) + (noise[j * size + i] ?? 0);
        stored[j * size + i] = Math.max(0, Math.min(4095, Math.round(hu + 1024)));
      }
    }
    objects.push(writeImage(facts, k, stored, { intercept: -1024, window: [40, 400] }));
  }
  return { patient, studyInstanceUID: facts.studyInstanceUID, accessionNumber: facts.accessionNumber, objects };
}

/** Two MR studies of one patient, the second half a year later: moved by a few mm and degrees, deformed smoothly by up to 6 mm. */
export function mrFollowUp(options: {
  patient: Patient;
  size?: number;
  slices?: number;
  seed?: number;
}): [PhantomStudy, PhantomStudy] {
  const { patient, size = 80, slices = 72, seed = 2 } = options;
  const visits = [
    { date: '20240405', accession: `A${patient.id}M1`, warped: false },
    { date: '20240920', accession: `A${patient.id}M2`, warped: true },
  ];
  const structures = headStructures(seeded(seed));
  const [prior, current] = visits.map(({ date, accession, warped }, visit): PhantomStudy => {
    const random = seeded(seed + 100 + visit);
    const facts = seriesFacts('MR', patient, date, accession, {
      studyDescription: 'MR Kopf',
      seriesDescription: 'T1 MPRAGE tra',
      bodyPart: 'HEAD',
      columns: size,
      rows: size,
      spacingMm: 2,
      sliceSpacingMm: 2,
    });
    const objects: Buffer[] = [];
    for (let k = 0; k < slices; k++) {
      const stored = new Int16Array(size * size);
      for (let j = 0; j < size; j++) {
        for (let i = 0; i < size; i++) {
          const x = (i - (size - 1) / 2) * 2;
          const y = (j - (size - 1) / 2) * 2;
          const z = (k - (slices - 1) / 2) * 2;
          const [u, v, w] = warped ? followUpWarp(x, y, z) : [x, y, z];
          const signal = headSignal(u, v, w, structures) + 12 * random.gaussian();
          stored[j * size + i] = Math.max(0, Math.min(4095, Math.round(signal)));
        }
      }
      objects.push(writeImage(facts, k, stored, { intercept: undefined, window: [500, 1000] }));
    }
    return { patient, studyInstanceUID: facts.studyInstanceUID, accessionNumber: accession, objects };
  });
  if (prior === undefined || current === undefined) throw new Error('two visits make two studies');
  return [prior, current];
}

/** Where in the first visit's body (mm from the centre) the point of the second visit lay: 5 degrees, 6 mm, and a smooth bend. */
function followUpWarp(x: number, y: number, z: number): [number, number, number] {
  const angle = (5 * Math.PI) / 180;
  const bend = 5;
  const u = x + bend * Math.sin(z / 28) * Math.cos(y / 34);
  const v = y + bend * Math.sin(x / 31) * Math.cos(z / 26);
  const w = z + bend * Math.sin(y / 29) * Math.cos(x / 33);
  return [Math.cos(angle) * u - Math.sin(angle) * v + 4, Math.sin(angle) * u + Math.cos(angle) * v - 3, w + 3];
}

interface Ellipsoid {
  readonly centre: readonly [number, number, number];
  readonly radii: readonly [number, number, number];
  readonly signal: number;
}

function headStructures(random: Random): Ellipsoid[] {
  const structures: Ellipsoid[] = [];
  for (let n = 0; n < 60; n++) {
    structures.push({
      centre: [(random.next() - 0.5) * 100, (random.next() - 0.5) * 105, (random.next() - 0.5) * 90],
      radii: [4 + 10 * random.next(), 4 + 10 * random.next(), 4 + 10 * random.next()],
      signal: 250 + 550 * random.next(),
    });
  }
  return structures;
}

function headSignal(x: number, y: number, z: number, structures: readonly Ellipsoid[]): number {
  const skull = (x / 70) ** 2 + (y / 74) ** 2 + (z / 66) ** 2;
  if (skull > 1) return 10;
  if (skull > 0.86) return 850;
  if (skull > 0.78) return 60;
  let signal = 520 + 60 * Math.sin(x / 9) * Math.sin(y / 8) * Math.sin(z / 10);
  for (const { centre, radii, signal: inner } of structures) {
    const inside =
      ((x - centre[0]) / radii[0]) ** 2 + ((y - centre[1]) / radii[1]) ** 2 + ((z - centre[2]) / radii[2]) ** 2;
    if (inside < 1) signal = inner;
  }
  return signal;
}

function thoraxHU(
  i: number,
  j: number,
  k: number,
  size: number,
  nodules: readonly { x: number; y: number; z: number; radius: number }[],
): number {
  const x = (i - size / 2) / (size / 2);
  const y = (j - size / 2) / (size / 2);
  const body = (x / 0.85) ** 2 + (y / 0.62) ** 2;
  if (body > 1) return -1000;
  if (body > 0.9) return -100;
  let hu = 45;
  for (const side of [-0.38, 0.38]) if (((x - side) / 0.27) ** 2 + (y / 0.42) ** 2 < 1) hu = -830;
  if ((x / 0.16) ** 2 + ((y + 0.05) / 0.2) ** 2 < 1) hu = 55;
  if ((x / 0.09) ** 2 + ((y - 0.42) / 0.09) ** 2 < 1) hu = 450;
  for (const nodule of nodules) {
    if ((i - nodule.x) ** 2 + (j - nodule.y) ** 2 + (3 * (k - nodule.z)) ** 2 < nodule.radius ** 2) hu = 60;
  }
  return hu;
}

/** Deviation `sigma`; neighbouring pixels correlate as in a reconstruction with a soft kernel. */
function colouredNoise(size: number, sigma: number, random: Random): Float32Array {
  const white = Float32Array.from({ length: size * size }, () => random.gaussian());
  const smooth = new Float32Array(size * size);
  for (let j = 0; j < size; j++) {
    for (let i = 0; i < size; i++) {
      let sum = 0;
      for (let dj = -1; dj <= 1; dj++) {
        for (let di = -1; di <= 1; di++) {
          const weight = (di === 0 ? 2 : 1) * (dj === 0 ? 2 : 1);
          sum += weight * (white[((j + dj + size) % size) * size + ((i + di + size) % size)] ?? 0);
        }
      }
      smooth[j * size + i] = (sum / 6) * sigma;
    }
  }
  return smooth;
}

function seriesFacts(
  modality: 'CT' | 'MR',
  patient: Patient,
  studyDate: string,
  accessionNumber: string,
  rest: Pick<
    SeriesFacts,
    'studyDescription' | 'seriesDescription' | 'bodyPart' | 'columns' | 'rows' | 'spacingMm' | 'sliceSpacingMm'
  >,
): SeriesFacts {
  const uid = (what: string): string => uidFrom('isthmus phantom', patient.id, studyDate, modality, what);
  return {
    ...rest,
    patient,
    modality,
    sopClassUID: modality === 'CT' ? CT_IMAGE : MR_IMAGE,
    studyDate,
    accessionNumber,
    frameOfReferenceUID: uid('frame of reference'),
    studyInstanceUID: uid('study'),
    seriesInstanceUID: uid('series'),
  };
}

function writeImage(
  facts: SeriesFacts,
  k: number,
  stored: Int16Array,
  { intercept, window }: { intercept: number | undefined; window: readonly [number, number] },
): Buffer {
  const sop = uidFrom('isthmus phantom', facts.seriesInstanceUID, String(k));
  const meta = openSink();
  writeElement(meta, 0x00020001, 'OB', Buffer.from([0, 1]));
  writeText(meta, 0x00020002, 'UI', facts.sopClassUID);
  writeText(meta, 0x00020003, 'UI', sop);
  writeText(meta, 0x00020010, 'UI', EXPLICIT_LE);
  writeText(meta, 0x00020012, 'UI', '2.25.241563147963298574106325187452396874');
  const sink = openSink(stored.byteLength + 8192);
  writeBytes(sink, Buffer.alloc(128));
  writeBytes(sink, Buffer.from('DICM'));
  writeNumbers(sink, 0x00020000, 'UL', [meta.length]);
  writeBytes(sink, sinkBytes(meta));
  const text = (tag: number, vr: Vr, value: string): void => writeText(sink, tag, vr, value);
  const position = [-facts.columns / 2, -facts.rows / 2].map((half) => half * facts.spacingMm);
  const z = k * facts.sliceSpacingMm;
  text(0x00080005, 'CS', 'ISO_IR 192');
  text(0x00080008, 'CS', facts.modality === 'CT' ? 'ORIGINAL\\PRIMARY\\AXIAL' : 'ORIGINAL\\PRIMARY\\M\\ND');
  text(0x00080016, 'UI', facts.sopClassUID);
  text(0x00080018, 'UI', sop);
  text(0x00080020, 'DA', facts.studyDate);
  text(0x00080021, 'DA', facts.studyDate);
  text(0x00080023, 'DA', facts.studyDate);
  text(0x00080030, 'TM', '101500');
  text(0x00080031, 'TM', '101900');
  text(0x00080033, 'TM', '102000');
  text(0x00080050, 'SH', facts.accessionNumber);
  text(0x00080060, 'CS', facts.modality);
  text(0x00080070, 'LO', 'Phantom Works');
  text(0x00080080, 'LO', 'Klinikum Musterstadt');
  text(0x00080090, 'PN', 'Überweiser^Jörg^^Dr.');
  text(0x00081010, 'SH', `${facts.modality}01`);
  text(0x00081030, 'LO', facts.studyDescription);
  text(0x0008103e, 'LO', facts.seriesDescription);
  text(0x00100010, 'PN', facts.patient.name);
  text(0x00100020, 'LO', facts.patient.id);
  text(0x00100030, 'DA', facts.patient.birthDate);
  text(0x00100040, 'CS', facts.patient.sex);
  text(0x00101010, 'AS', '061Y');
  text(0x00180015, 'CS', facts.bodyPart);
  if (facts.modality === 'MR') {
    text(0x00180020, 'CS', 'GR');
    text(0x00180021, 'CS', 'SP');
    text(0x00180022, 'CS', '');
    text(0x00180023, 'CS', '3D');
  }
  text(0x00180050, 'DS', String(facts.sliceSpacingMm));
  if (facts.modality === 'CT') text(0x00180060, 'DS', '120');
  else {
    text(0x00180080, 'DS', '1900');
    text(0x00180081, 'DS', '2.5');
    text(0x00180091, 'IS', '1');
  }
  text(0x00185100, 'CS', 'HFS');
  text(0x0020000d, 'UI', facts.studyInstanceUID);
  text(0x0020000e, 'UI', facts.seriesInstanceUID);
  text(0x00200010, 'SH', '1');
  text(0x00200011, 'IS', '2');
  text(0x00200012, 'IS', '1');
  text(0x00200013, 'IS', String(k + 1));
  text(0x00200032, 'DS', `${position[0]}\\${position[1]}\\${z}`);
  text(0x00200037, 'DS', '1\\0\\0\\0\\1\\0');
  text(0x00200052, 'UI', facts.frameOfReferenceUID);
  text(0x00201040, 'LO', '');
  writeNumbers(sink, 0x00280002, 'US', [1]);
  text(0x00280004, 'CS', 'MONOCHROME2');
  writeNumbers(sink, 0x00280010, 'US', [facts.rows]);
  writeNumbers(sink, 0x00280011, 'US', [facts.columns]);
  text(0x00280030, 'DS', `${facts.spacingMm.toFixed(6)}\\${facts.spacingMm.toFixed(6)}`);
  writeNumbers(sink, 0x00280100, 'US', [16]);
  writeNumbers(sink, 0x00280101, 'US', [12]);
  writeNumbers(sink, 0x00280102, 'US', [11]);
  writeNumbers(sink, 0x00280103, 'US', [0]);
  text(0x00281050, 'DS', String(window[0]));
  text(0x00281051, 'DS', String(window[1]));
  if (intercept !== undefined) {
    text(0x00281052, 'DS', String(intercept));
    text(0x00281053, 'DS', '1');
    text(0x00281054, 'LO', 'HU');
  }
  writeElement(sink, 0x7fe00010, 'OW', Buffer.from(stored.buffer, stored.byteOffset, stored.byteLength));
  return Buffer.from(sinkBytes(sink));
}
