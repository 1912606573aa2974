/** Radiographs as a digital X-ray room would send them: a chest with ribs, heart, spine and diaphragm, and a hand. Nobody is depicted. */
import type { Item } from '../../src/derived/attributes.ts';
import { JPEG_BASELINE } from '../../src/codecs/syntaxes.ts';
import { uidFrom } from '../../src/dicom/uid.ts';
import { part10 } from '../derived/phantom.ts';
import { seeded } from './random.ts';
import type { Patient } from './studies.ts';

const DX_IMAGE = '1.2.840.10008.5.1.4.1.1.1.1';

export interface Radiograph {
  readonly patient: Patient;
  readonly shows?: 'chest' | 'hand';
  readonly columns?: number;
  readonly rows?: number;
  /** As MONOCHROME1: the values are turned round, the picture is the same. */
  readonly inverted?: boolean;
  /** Left and right exchanged, and told so by Patient Orientation. */
  readonly mirrored?: boolean;
  readonly bodyPart?: string;
  readonly number?: number;
  readonly over?: Item;
  /** In 8 bits, as JPEG Baseline has them. */
  readonly eightBits?: boolean;
  /** This stream in place of the pixels. */
  readonly jpeg?: Buffer;
}

/** Part 10 bytes. */
export function radiograph(options: Radiograph): Buffer {
  const {
    patient,
    shows = 'chest',
    columns = 300,
    rows = 320,
    number = 1,
    inverted = false,
    mirrored = false,
    eightBits = false,
  } = options;
  const [bits, bytes] = eightBits ? [8, 1] : [12, 2];
  const most = 2 ** bits - 1;
  const random = seeded(3);
  const pixels = Buffer.alloc(columns * rows * bytes);
  for (let j = 0; j < rows; j++)
    for (let i = 0; i < columns; i++) {
      const side = Math.max(columns, rows);
      const x = ((mirrored ? columns - 1 - i : i) + 0.5 - columns / 2) / side;
      const y = (j + 0.5 - rows / 2) / side;
      const seen = (shows === 'chest' ? chest(x, y).grey : hand(x, y)) + 0.012 * random.gaussian();
      const value = Math.round(Math.max(0, Math.min(1, 0.1 + 0.8 * seen)) * most);
      pixels.writeUIntLE(inverted ? most - value : value, bytes * (j * columns + i), bytes);
    }
  const study = uidFrom('radiograph', patient.id);
  return part10(
    {
      SOPClassUID: DX_IMAGE,
      SOPInstanceUID: uidFrom('radiograph', patient.id, String(number), shows),
      StudyInstanceUID: study,
      SeriesInstanceUID: uidFrom('radiograph', patient.id, 'series'),
      ImageType: ['ORIGINAL', 'PRIMARY', ''],
      StudyDate: '20240917',
      StudyTime: '101500',
      ContentDate: '20240917',
      ContentTime: '101500',
      AccessionNumber: `A${patient.id}X`,
      Modality: 'DX',
      PresentationIntentType: 'FOR PRESENTATION',
      Manufacturer: 'Phantom',
      StudyDescription: 'Thorax',
      SeriesDescription: 'Thorax p.a.',
      PatientName: patient.name,
      PatientID: patient.id,
      PatientBirthDate: patient.birthDate,
      PatientSex: patient.sex,
      BodyPartExamined: options.bodyPart ?? 'CHEST',
      ViewPosition: 'PA',
      SeriesNumber: '1',
      InstanceNumber: String(number),
      PatientOrientation: mirrored ? ['R', 'F'] : ['L', 'F'],
      ImageLaterality: 'U',
      ImagerPixelSpacing: ['1.4', '1.4'],
      BurnedInAnnotation: 'NO',
      LossyImageCompression: '00',
      PixelIntensityRelationship: 'LOG',
      PixelIntensityRelationshipSign: inverted ? 1 : -1,
      RescaleIntercept: '0',
      RescaleSlope: '1',
      RescaleType: 'US',
      SamplesPerPixel: 1,
      PhotometricInterpretation: inverted ? 'MONOCHROME1' : 'MONOCHROME2',
      Rows: rows,
      Columns: columns,
      BitsAllocated: 8 * bytes,
      BitsStored: bits,
      HighBit: bits - 1,
      PixelRepresentation: 0,
      ...options.over,
    },
    options.jpeg === undefined ? pixels : [options.jpeg],
    options.jpeg === undefined ? undefined : JPEG_BASELINE,
  );
}

/** Where the lungs are: 1 the right one (on the left of the picture), 2 the left one. */
export function lungAt(column: number, row: number, columns: number, rows: number): number {
  const side = Math.max(columns, rows);
  return chest((column + 0.5 - columns / 2) / side, (row + 0.5 - rows / 2) / side).lung;
}

function chest(x: number, y: number): { grey: number; lung: number } {
  const soft = (value: number, width: number): number => 0.5 + 0.5 * Math.tanh(value / width);
  const body = Math.max(0.46 - Math.abs(x) - 0.25 * Math.max(0, -0.3 - y), 0.13 - Math.abs(x)) + Math.min(0, y + 0.75);
  let grey = soft(body, 0.012) * (0.55 + 0.5 * Math.sqrt(Math.max(0, Math.min(1, body / 0.3))));
  let lung = 0;
  for (const side of [-1, 1]) {
    const s = side * x;
    const reach = 0.37 * Math.sqrt(Math.max(0, 1 - ((y - 0.22) / 0.58) ** 2));
    const above = y + 0.36 - 3 * (s - 0.15) ** 2;
    const heart = side > 0 ? 0.2 * Math.exp(-(((y - 0.1) / 0.17) ** 2)) : 0.1 * Math.exp(-(((y - 0.08) / 0.14) ** 2));
    const edge = Math.max(0.07, heart);
    const dome = (side > 0 ? 0.2 : 0.17) + 1.4 * (s - 0.2) ** 2;
    const inside = Math.min(reach - s, above, s - edge, dome - y);
    if (inside > 0) lung = side < 0 ? 1 : 2;
    grey -= 0.5 * soft(inside, 0.008);
    const cage = soft(Math.min(reach - s, above) + 0.02, 0.01) * soft(s - 0.05, 0.02);
    const wave = Math.abs((((y - 0.25 * s + 1.4 * (s - 0.17) ** 2) / 0.075) % 1) + (y < 0 ? 1 : 0));
    grey += 0.07 * cage * soft(0.22 - Math.abs((wave % 1) - 0.5), 0.04);
    const clavicle = Math.abs(y + 0.28 + 0.2 * s - 0.02 * Math.sin(12 * s));
    grey += 0.1 * soft(0.013 - clavicle, 0.004) * soft(s - 0.04, 0.01) * soft(0.4 - s, 0.01);
  }
  grey += 0.15 * soft(0.045 - Math.abs(x), 0.008) - 0.08 * soft(0.02 - Math.abs(x), 0.006) * soft(-0.15 - y, 0.02);
  return { grey, lung };
}

function hand(x: number, y: number): number {
  let [flesh, bone] = [0, 0];
  const wrist = [0, 0.3] as const;
  for (let finger = -2; finger <= 2; finger++) {
    const angle = -Math.PI / 2 + finger * 0.3;
    const length = finger === -2 ? 0.42 : 0.62 - 0.04 * Math.abs(finger);
    const [dx, dy] = [Math.cos(angle), Math.sin(angle)];
    const along = Math.max(0, Math.min(length, (x - wrist[0]) * dx + (y - wrist[1]) * dy));
    const away = Math.hypot(x - wrist[0] - along * dx, y - wrist[1] - along * dy);
    if (away < 0.05) flesh = 1;
    if (away < 0.022 && (along / length) % 0.25 > 0.02) bone = 1;
  }
  if (Math.hypot(x, (y - 0.3) * 0.7) < 0.14) flesh = 1;
  return 0.35 * flesh + 0.5 * bone * flesh;
}
