/**
 * Objects of many classes, transfer syntaxes and character sets, nested at random, with a value in every VR that occurs nowhere else. What
 * must be nowhere afterwards is the list that comes with each. Beyond canaries.ts: every VR, elements that come twice, VR UN, lengths of
 * both kinds mixed, ISO 2022, GB18030, private sequences, overlays, curves, comments inside JPEG.
 */
import { readFileSync } from 'node:fs';
import { tableRows } from '../../src/deidentify/profile.ts';
import { tag as tagOf, vrOf } from '../../src/dicom/dictionary.ts';
import type { Vr } from '../../src/dicom/vr.ts';
import { seeded, type Random } from './random.ts';
import {
  CHARACTER_SETS,
  encodeIn,
  words,
  writePart10,
  type CharacterSetName,
  type Planted,
  type Syntax,
} from './part10.ts';

export interface CanaryFile {
  readonly name: string;
  readonly bytes: Buffer;
  readonly sopClassUID: string;
  readonly syntax: Syntax;
  /** An element stands twice in it. */
  readonly repeats: boolean;
  readonly patientID: string;
  /** Texts that must be nowhere, whatever the case. */
  readonly needles: readonly string[];
  /** Words of free text that nothing says are anybody's: only profiles that keep no unknown word take them out. */
  readonly prose: readonly string[];
  /** The same in the bytes of the file's character set, where it is not ASCII. */
  readonly encoded: readonly Buffer[];
}

const CLASS = '1.2.840.10008.5.1.4.1.1';
/** SOP Class, modality, bits of a pixel (0: none). */
const CLASSES: readonly (readonly [suffix: string, modality: string, bits: 0 | 8 | 16])[] = [
  ['2', 'CT', 16],
  ['2.1', 'CT', 16],
  ['4', 'MR', 16],
  ['4.1', 'MR', 16],
  ['128', 'PT', 16],
  ['20', 'NM', 16],
  ['6.1', 'US', 8],
  ['3.1', 'US', 8],
  ['12.1', 'XA', 8],
  ['12.2', 'RF', 8],
  ['1', 'CR', 16],
  ['1.1', 'DX', 16],
  ['1.2', 'MG', 16],
  ['7', 'OT', 8],
  ['7.2', 'OT', 8],
  ['77.1.4', 'XC', 8],
  ['481.1', 'RTIMAGE', 16],
  ['481.2', 'RTDOSE', 16],
  ['481.3', 'RTSTRUCT', 0],
  ['481.5', 'RTPLAN', 0],
  ['66.4', 'SEG', 8],
  ['66.1', 'REG', 0],
  ['88.33', 'SR', 0],
  ['88.22', 'SR', 0],
  ['88.59', 'KO', 0],
  ['11.1', 'PR', 0],
  ['9.1.1', 'ECG', 0],
  ['104.1', 'DOC', 0],
];
const SYNTAXES: readonly Syntax[] = ['explicit-le', 'implicit-le', 'deflated', 'explicit-be', 'jpeg'];
const SETS = Object.keys(CHARACTER_SETS) as CharacterSetName[];
const LETTERS: Readonly<Partial<Record<CharacterSetName, readonly [from: number, to: number]>>> = {
  'utf-8': [0x0e01, 0x0e2e],
  cyrillic: [0x0410, 0x044f],
  greek: [0x03b1, 0x03c9],
  japanese: [0x3042, 0x3093],
  korean: [0xac00, 0xac0b],
  chinese: [0x4e07, 0x4e1a],
};
const MARK = 'XQJZ';
const PLAIN = 'ABCDEFGHKLMNPRSTUVWY';

interface Maker {
  readonly random: Random;
  readonly set: CharacterSetName;
  readonly needles: string[];
  readonly prose: string[];
  readonly encoded: Buffer[];
  count: number;
  readonly seed: string;
  /** Such an object is refused as a whole. */
  readonly repeats: boolean;
  /** Of the patient's name. */
  readonly family: { value: string };
}

/** File `index` of a seed; 28 classes by 5 syntaxes come round in 140. */
export function canaryFile(seed: number, index: number): CanaryFile {
  const random = seeded(seed * 31_337 + index * 2_654_435);
  const [suffix, modality, bits] = CLASSES[index % CLASSES.length] ?? ['2', 'CT', 16];
  const wanted = SYNTAXES[(index + Math.floor(index / CLASSES.length)) % SYNTAXES.length] ?? 'explicit-le';
  const syntax = wanted === 'jpeg' && bits !== 8 ? 'explicit-le' : wanted;
  const set = SETS[Math.floor(random.next() * SETS.length)] ?? 'utf-8';
  const maker: Maker = {
    random,
    set,
    needles: [],
    prose: [],
    encoded: [],
    count: 0,
    seed: `${seed}.${index}`,
    repeats: index % 20 === 19,
    family: { value: '' },
  };
  const sopClassUID = `${CLASS}.${suffix}`;
  maker.family.value = word(maker);
  const sop = uid(maker);
  const patientID = word(maker);
  const elements = [...fixed(maker, { sopClassUID, sop, modality, patientID }), ...everywhere(maker), ...image(bits)];
  const preamble = Buffer.alloc(128);
  preamble.write(word(maker), 4, 'latin1');
  const pixels = bits === 0 ? undefined : syntax === 'jpeg' ? [jpeg(maker)] : Buffer.alloc((16 * 16 * bits) / 8, 7);
  const bytes = writePart10(
    {
      sopClassUID,
      sopInstanceUID: sop,
      elements,
      pixels,
      preamble,
      meta: [
        { tag: 0x00020016, vr: 'AE', value: word(maker) },
        { tag: 0x00020100, vr: 'UI', value: '1.2.3.4' },
        { tag: 0x00020102, vr: 'OB', value: Buffer.from(`${word(maker)} `) },
      ],
      trailing: undefined,
    },
    { syntax, characterSet: set, undefinedLength: () => random.next() < 0.5 },
  );
  const name = `${String(index).padStart(5, '0')}.dcm`;
  return {
    name,
    bytes,
    sopClassUID,
    syntax,
    patientID,
    repeats: maker.repeats,
    needles: maker.needles,
    prose: maker.prose,
    encoded: maker.encoded,
  };
}

function below(random: Random, limit: number): number {
  return Math.floor(random.next() * limit);
}

function word(maker: Maker, kind: 'needles' | 'prose' = 'needles'): string {
  let letters = '';
  for (let n = 0; n < 8; n++) letters += PLAIN[below(maker.random, PLAIN.length)] ?? '';
  maker[kind].push(`${MARK}${letters}`);
  return `${MARK}${letters}`;
}

function uid(maker: Maker): string {
  const made = `1.2.826.0.1.77321.${maker.seed}.${maker.count++}.${below(maker.random, 1e9)}`;
  maker.needles.push(made);
  return made;
}

/** Letters of the file's own script. */
function foreign(maker: Maker, kind: 'needles' | 'prose' = 'needles'): string {
  const range = LETTERS[maker.set];
  if (range === undefined) return word(maker, kind);
  let text = '';
  for (let n = 0; n < 8; n++) text += String.fromCharCode(range[0] + below(maker.random, range[1] - range[0] + 1));
  const bytes = encodeIn(maker.set, text);
  if (bytes.includes(0xa3) && bytes.includes(0xbf)) return word(maker, kind);
  maker[kind].push(text);
  if (kind === 'needles') maker.encoded.push(bytes);
  return text;
}

/** A value of the VR that nobody else has; undefined for VRs that hold no text. */
function valueOf(maker: Maker, vr: Vr): string | Buffer | undefined {
  const { random } = maker;
  switch (vr) {
    case 'PN':
      return random.next() < 0.5 ? `${word(maker)}^${word(maker)}` : `${word(maker)}^X=${foreign(maker)}`;
    case 'UI':
      return random.next() < 0.2 ? `${uid(maker)}\\${uid(maker)}` : uid(maker);
    case 'LO':
    case 'SH':
    case 'UC':
      if (random.next() < 0.3) return maker.family.value;
      return random.next() < 0.3 ? foreign(maker, 'prose') : `${word(maker, 'prose')}\\${word(maker, 'prose')}`;
    case 'LT':
    case 'ST':
    case 'UT':
      if (random.next() < 0.3) return foreign(maker, 'prose');
      return `seen by Dr. X${word(maker).toLowerCase()}, mail ${word(maker)}@example.org, for ${maker.family.value}; ${word(maker, 'prose')}`;
    case 'CS':
      // A word in capitals is a code, unless it is the patient's name; whatever else stands there is none.
      return random.next() < 0.4 ? maker.family.value : `Dr. ${word(maker)}, MD`;
    case 'AE':
      return word(maker, 'prose');
    case 'UR':
      return `https://${word(maker).toLowerCase()}.example.org/`;
    // Text in the place of numbers and dates.
    case 'DS':
    case 'IS':
    case 'DA':
    case 'TM':
    case 'DT':
      return word(maker);
    case 'AS':
      return '104Y';
    case 'OB':
    case 'UN': {
      const text = word(maker);
      return Buffer.from(text.padEnd(Math.ceil(text.length / 2) * 2));
    }
    default:
      return undefined;
  }
}

/** What the gateway needs to take the object in at all. */
function fixed(
  maker: Maker,
  { sopClassUID, sop, modality, patientID }: { sopClassUID: string; sop: string; modality: string; patientID: string },
): Planted[] {
  return [
    { tag: 0x00080005, vr: 'CS', value: CHARACTER_SETS[maker.set] },
    { tag: 0x00080016, vr: 'UI', value: sopClassUID },
    { tag: 0x00080018, vr: 'UI', value: sop },
    { tag: 0x00080060, vr: 'CS', value: modality },
    { tag: 0x00100010, vr: 'PN', value: `${maker.family.value}^${word(maker)}` },
    { tag: 0x00100020, vr: 'LO', value: patientID },
    // So that it is not held back for a face that it might show.
    { tag: 0x00180015, vr: 'CS', value: 'CHEST' },
    { tag: 0x0020000d, vr: 'UI', value: uid(maker) },
    { tag: 0x0020000e, vr: 'UI', value: uid(maker) },
  ];
}

const TAKEN = new Set([
  0x00080005, 0x00080016, 0x00080018, 0x00080060, 0x00100010, 0x00100020, 0x00100021, 0x00180015, 0x0020000d,
  0x0020000e,
]);
/** All of the dictionary between the file meta and the pixels, but attributes that describe these. */
const ALL = dictionaryTags().filter(
  (tag) => tag > 0x00080005 && tag < 0x50000000 && tag >>> 16 !== 0x0028 && !TAKEN.has(tag),
);
const SEQUENCES = ALL.filter((tag) => vrOf(tag) === 'SQ');
/** Written by manufacturers, of which the engine keeps what names nobody; and bytes that are numbers. */
const KEPT = new Set(
  (
    'Manufacturer ManufacturerModelName ManufacturerModelVersion SoftwareVersions DetectorManufacturerName DetectorManufacturerModelName ' +
    'SecondaryCaptureDeviceManufacturer SecondaryCaptureDeviceManufacturerModelName SecondaryCaptureDeviceSoftwareVersions ' +
    'DigitalImageFormatAcquired ConvolutionKernel SequenceName ImagedNucleus FilterType CollimatorGridName Radiopharmaceutical ' +
    'RadiopharmaceuticalRoute ContrastBolusRoute AttenuationCorrectionMethod ReconstructionMethod ScatterCorrectionMethod ' +
    'DetectorLinesOfResponseUsed RescaleType ModalityLUTType SourceIsotopeName AlgorithmName AlgorithmVersion SegmentAlgorithmName ' +
    'DimensionDescriptionLabel MIMETypeOfEncapsulatedDocument TransducerData ProcessingFunction ICCProfile FillPattern ThreatROIBitmap ' +
    'DeidentificationMethod DarkCurrentCounts AirCounts BadPixelImage DetectorCalibrationData CoordinateSystemAxisValues ChannelMinimumValue ChannelMaximumValue'
  )
    .split(' ')
    .map(tagOf),
);
/** What an option of the table keeps as it is: of machines, and of the patient's body. */
const RETAINED = new Set(
  tableRows()
    .filter(
      ({ retainDeviceIdentity, retainPatientCharacteristics }) =>
        (retainDeviceIdentity ?? retainPatientCharacteristics) !== undefined,
    )
    .map(({ tag }) => Number.parseInt(tag, 16)),
);
const LEAVES = ALL.filter((tag) => vrOf(tag) !== 'SQ' && vrOf(tag) !== undefined && !KEPT.has(tag));

function everywhere(maker: Maker): Planted[] {
  const { random } = maker;
  const planted: Planted[] = [];
  const used = new Set<number>();
  for (let n = 0; n < 120; n++) leaf(maker, planted, used);
  for (let n = 0; n < 8; n++) sequence(maker, planted, { used, depth: 1 + below(random, 5) });
  privateBlock(maker, planted, 0x0009 + 2 * below(random, 60));
  privateBlock(maker, planted, 0x0029);
  for (const group of [0x5000, 0x5002 + 2 * below(random, 14)])
    planted.push({ tag: (group << 16) | 0x3000, vr: 'OW', value: even(word(maker)) });
  for (const group of [0x6000, 0x6002 + 2 * below(random, 15)]) {
    planted.push({ tag: (group * 0x10000 + 0x0022) >>> 0, vr: 'LO', value: word(maker) });
    planted.push({ tag: (group * 0x10000 + 0x1500) >>> 0, vr: 'LO', value: word(maker) });
  }
  // The same element a second time, which no writer should write.
  if (maker.repeats) for (const _ of [1, 2]) planted.push({ tag: 0x00081041, vr: 'LO', value: word(maker) });
  // Tags that nobody has registered.
  planted.push({ tag: 0x00087777, vr: 'LO', value: word(maker) }, { tag: 0x40087776, vr: 'UT', value: word(maker) });
  return planted;
}

function leaf(maker: Maker, planted: Planted[], used: Set<number>): void {
  const { random } = maker;
  const tag = LEAVES[below(random, LEAVES.length)];
  if (tag === undefined || used.has(tag)) return;
  used.add(tag);
  const vr = vrOf(tag) ?? 'UN';
  const isText = ['LO', 'SH', 'ST', 'LT', 'UT', 'UC'].includes(vr);
  if (RETAINED.has(tag) && vr === 'UI') return;
  const value = RETAINED.has(tag) && isText ? word(maker, 'prose') : valueOf(maker, vr);
  if (value === undefined) return;
  const unknown = random.next() < 0.08;
  planted.push({ tag, vr, value, unknown });
}

function sequence(maker: Maker, planted: Planted[], { used, depth }: { used: Set<number>; depth: number }): void {
  const { random } = maker;
  const tag = SEQUENCES[below(random, SEQUENCES.length)];
  if (tag === undefined || used.has(tag)) return;
  used.add(tag);
  const items = Array.from({ length: 1 + below(random, 2) }, () => {
    const item: Planted[] = [];
    const inside = new Set<number>();
    for (let n = 0; n < 8; n++) leaf(maker, item, inside);
    item.push({ tag: 0x00081155, vr: 'UI', value: uid(maker) });
    if (random.next() < 0.3) privateBlock(maker, item, 0x0019);
    if (depth > 1) sequence(maker, item, { used: inside, depth: depth - 1 });
    return item.filter((one, at) => item.findIndex(({ tag: other }) => other === one.tag) === at);
  });
  planted.push({ tag, vr: 'SQ', value: items, unknown: random.next() < 0.15 });
}

const PRIVATE_VRS: readonly Vr[] = ['LO', 'UN', 'OB', 'PN', 'UI', 'LT', 'SH', 'ST', 'UT', 'AE', 'CS', 'DS'];

function privateBlock(maker: Maker, planted: Planted[], group: number): void {
  const { random } = maker;
  const block = 0x10 + below(random, 0xef);
  const at = (byte: number): number => (group * 0x10000 + block * 0x100 + byte) >>> 0;
  if (random.next() < 0.85)
    planted.push({ tag: (group * 0x10000 + block) >>> 0, vr: 'LO', value: `ACME ${word(maker)}` });
  PRIVATE_VRS.forEach((vr, n) => {
    const value = valueOf(maker, vr);
    if (value !== undefined && random.next() < 0.6) planted.push({ tag: at(n + 1), vr, value });
  });
  const inside: Planted[] = [
    { tag: 0x00100010, vr: 'PN', value: word(maker) },
    { tag: 0x00080080, vr: 'LO', value: word(maker) },
  ];
  planted.push({ tag: at(0xe0), vr: 'SQ', value: [inside], unknown: random.next() < 0.4 });
}

function image(bits: 0 | 8 | 16): Planted[] {
  if (bits === 0) return [];
  const numbers: readonly (readonly [number, number])[] = [
    [0x00280002, 1],
    [0x00280010, 16],
    [0x00280011, 16],
    [0x00280100, bits],
    [0x00280101, bits],
    [0x00280102, bits - 1],
    [0x00280103, 0],
  ];
  return [
    ...numbers.map(([tag, value]): Planted => ({ tag, vr: 'US', value: words(2, value) })),
    { tag: 0x00280004, vr: 'CS', value: 'MONOCHROME2' },
  ];
}

/** A grey baseline JPEG of 16 by 16 with names in a comment and in an application segment. */
function jpeg(maker: Maker): Buffer {
  const segment = (marker: number, content: Buffer): Buffer =>
    Buffer.concat([Buffer.from([0xff, marker]), words(2, content.length + 2).reverse(), content]);
  const table = (kind: number): Buffer => Buffer.concat([Buffer.from([kind, 1]), Buffer.alloc(16)]);
  return Buffer.concat([
    Buffer.from([0xff, 0xd8]),
    segment(0xe1, Buffer.from(`Exif\0\0${word(maker)}`)),
    segment(0xfe, Buffer.from(word(maker))),
    segment(0xdb, Buffer.concat([Buffer.from([0]), Buffer.alloc(64, 9)])),
    segment(0xc0, Buffer.from([8, 0, 16, 0, 16, 1, 1, 0x11, 0])),
    segment(0xc4, table(0x00)),
    segment(0xc4, table(0x10)),
    segment(0xda, Buffer.from([1, 1, 0, 0, 63, 0])),
    // Four blocks of two symbols of one bit.
    Buffer.from([0x00]),
    Buffer.from([0xff, 0xd9]),
  ]);
}

function even(text: string): Buffer {
  return Buffer.from(text.length % 2 === 0 ? text : `${text} `, 'latin1');
}

/** Of every attribute that has a tag of its own. */
function dictionaryTags(): number[] {
  const file = new URL('../../src/dicom/standard/dictionary-2024d.json', import.meta.url);
  const { rows } = JSON.parse(readFileSync(file, 'utf8')) as { rows: readonly (readonly [pattern: string])[] };
  return rows.filter(([pattern]) => /^[0-9A-F]{8}$/i.test(pattern)).map(([pattern]) => Number.parseInt(pattern, 16));
}
