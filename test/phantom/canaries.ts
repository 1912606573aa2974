/**
 * An object full of identifying values that occur nowhere else ("canaries"): in every place where de-identification has been seen to
 * forget one. What is looked for afterwards is the list, not the places.
 */
import { uidFrom } from '../../src/dicom/uid.ts';
import type { Vr } from '../../src/dicom/vr.ts';
import {
  beginItem,
  beginSequence,
  endItem,
  endSequence,
  openSink,
  sinkBytes,
  writeBytes,
  writeElement,
  writeNumbers,
  writeText,
  type Sink,
} from '../../src/dicom/writer.ts';

export interface CanaryObject {
  readonly bytes: Buffer;
  readonly sopInstanceUID: string;
  /** Texts, any case, that must be nowhere. */
  readonly needles: readonly string[];
}

const CT_IMAGE = '1.2.840.10008.5.1.4.1.1.2';
const EXPLICIT_LE = '1.2.840.10008.1.2.1';
/** Letters that no word of the standard or of this project puts in this order. */
const MARK = 'XQJZ';
const LETTERS = 'ABCDEFGHKLMNPRSTUVWY';

/** Text attributes of Table E.1-1 and others that people type names into. */
const TEXTS: readonly (readonly [tag: number, vr: Vr])[] = [
  [0x00080050, 'SH'], // Accession Number
  [0x00080080, 'LO'], // Institution Name
  [0x00080081, 'ST'], // Institution Address
  [0x00080090, 'PN'], // Referring Physician's Name
  [0x00081010, 'SH'], // Station Name
  [0x00081030, 'LO'], // Study Description
  [0x0008103e, 'LO'], // Series Description
  [0x00081040, 'LO'], // Institutional Department Name
  [0x00081050, 'PN'], // Performing Physician's Name
  [0x00081060, 'PN'], // Name of Physician(s) Reading Study
  [0x00081070, 'PN'], // Operators' Name
  [0x00081080, 'LO'], // Admitting Diagnoses Description
  [0x00082111, 'ST'], // Derivation Description
  [0x00084000, 'LT'], // Identifying Comments (retired)
];
const PATIENT_TEXTS: readonly (readonly [tag: number, vr: Vr])[] = [
  [0x00100010, 'PN'],
  [0x00100020, 'LO'],
  [0x00101000, 'LO'], // Other Patient IDs
  [0x00101001, 'PN'], // Other Patient Names
  [0x00101005, 'PN'], // Patient's Birth Name
  [0x00101040, 'LO'], // Patient's Address
  [0x00101060, 'PN'], // Patient's Mother's Birth Name
  [0x00102154, 'SH'], // Patient's Telephone Numbers
  [0x00102180, 'SH'], // Occupation
  [0x001021b0, 'LT'], // Additional Patient History
  [0x00104000, 'LT'], // Patient Comments
];
const LATER_TEXTS: readonly (readonly [tag: number, vr: Vr])[] = [
  [0x00181000, 'LO'], // Device Serial Number
  [0x00181030, 'LO'], // Protocol Name
];
const LAST_TEXTS: readonly (readonly [tag: number, vr: Vr])[] = [
  [0x00200010, 'SH'], // Study ID
  [0x00204000, 'LT'], // Image Comments
];
const REQUEST_TEXTS: readonly (readonly [tag: number, vr: Vr])[] = [
  [0x00321032, 'PN'], // Requesting Physician
  [0x00321060, 'LO'], // Requested Procedure Description
  [0x00380010, 'LO'], // Admission ID
  [0x00380500, 'LO'], // Patient State
  [0x00400254, 'LO'], // Performed Procedure Step Description
];

export function canaryObject(seed: string): CanaryObject {
  const needles: string[] = [];
  let count = 0;
  const word = (): string => {
    let number = Number.parseInt(uidFrom('canary', seed, String(count++)).slice(-12), 10);
    let letters = '';
    for (let n = 0; n < 7; n++, number = Math.floor(number / LETTERS.length))
      letters += LETTERS[number % LETTERS.length] ?? '';
    needles.push(`${MARK}${letters}`);
    return `${MARK}${letters}`;
  };
  const uid = (): string => {
    const made = `1.2.826.0.1.99999.${count++}.${[...seed].reduce((sum, one) => (sum * 31 + one.charCodeAt(0)) % 1e9, 7)}`;
    needles.push(made);
    return made;
  };
  const sop = uid();
  const sink = openSink(16_384);
  const preamble = Buffer.alloc(128);
  preamble.write(word(), 10, 'latin1');
  writeBytes(sink, preamble);
  writeBytes(sink, Buffer.from('DICM'));
  writeMeta(sink, sop, word);
  writeHead(sink, { sop, word, uid });
  return { bytes: Buffer.concat([sinkBytes(sink), pixelsAndAfter(word)]), sopInstanceUID: sop, needles };
}

interface Source {
  readonly sop: string;
  readonly word: () => string;
  readonly uid: () => string;
}

function writeMeta(sink: Sink, sop: string, word: () => string): void {
  const meta = openSink();
  writeElement(meta, 0x00020001, 'OB', Buffer.from([0, 1]));
  writeText(meta, 0x00020002, 'UI', CT_IMAGE);
  writeText(meta, 0x00020003, 'UI', sop);
  writeText(meta, 0x00020010, 'UI', EXPLICIT_LE);
  writeText(meta, 0x00020012, 'UI', '2.25.77');
  writeText(meta, 0x00020016, 'AE', word());
  writeText(meta, 0x00020100, 'UI', '2.25.78');
  writeElement(meta, 0x00020102, 'OB', even(word()));
  writeNumbers(sink, 0x00020000, 'UL', [meta.length]);
  writeBytes(sink, sinkBytes(meta));
}

function writeHead(sink: Sink, source: Source): void {
  const { sop, word, uid } = source;
  const text = (tag: number, vr: Vr, value: string): void => writeText(sink, tag, vr, value);
  const texts = (list: readonly (readonly [number, Vr])[]): void => {
    for (const [tag, vr] of list) text(tag, vr, vr === 'PN' ? `${word()}^${word()}=${word()}` : word());
  };
  text(0x00080005, 'CS', 'ISO_IR 192');
  text(0x00080008, 'CS', `ORIGINAL\\PRIMARY\\AXIAL`);
  text(0x00080014, 'UI', uid());
  text(0x00080016, 'UI', CT_IMAGE);
  text(0x00080018, 'UI', sop);
  text(0x00080020, 'DA', '20240917');
  text(0x00080060, 'CS', 'CT');
  texts(TEXTS.filter(([tag]) => tag < 0x00081030));
  texts(TEXTS.filter(([tag]) => tag >= 0x00081030 && tag < 0x00081100));
  nested(sink, 0x00081140, source, 4);
  texts(TEXTS.filter(([tag]) => tag > 0x00081140));
  text(0x00090010, 'LO', `MAKER ${word()}`);
  writeElement(sink, 0x00091001, 'UN', even(word()));
  text(0x00091002, 'LT', word());
  nested(sink, 0x00091003, source, 3);
  texts(PATIENT_TEXTS.filter(([tag]) => tag <= 0x00100020));
  text(0x00100040, 'CS', 'O');
  texts(PATIENT_TEXTS.filter(([tag]) => tag > 0x00100040));
  // So that the object is not held back for a face that it might show.
  text(0x00180015, 'CS', 'CHEST');
  texts(LATER_TEXTS);
  text(0x0020000d, 'UI', uid());
  text(0x0020000e, 'UI', uid());
  texts(LAST_TEXTS.slice(0, 1));
  text(0x00200013, 'IS', '1');
  text(0x00200032, 'DS', '0\\0\\0');
  text(0x00200037, 'DS', '1\\0\\0\\0\\1\\0');
  text(0x00200052, 'UI', uid());
  texts(LAST_TEXTS.slice(1));
  writeNumbers(sink, 0x00280002, 'US', [1]);
  text(0x00280004, 'CS', 'MONOCHROME2');
  for (const [tag, value] of [
    [0x00280010, 16],
    [0x00280011, 16],
    [0x00280100, 16],
    [0x00280101, 16],
    [0x00280102, 15],
    [0x00280103, 0],
  ] as const)
    writeNumbers(sink, tag, 'US', [value]);
  texts(REQUEST_TEXTS);
  nested(sink, 0x00400275, source, 5);
  nested(sink, 0x0040a730, source, 2);
  // A standard attribute as UN (PS3.5 6.2.2), a curve, overlays with their comment and label.
  writeElement(sink, 0x0040a124, 'UN', even(uid(), 0));
  writeElement(sink, 0x50003000, 'OW', even(word()));
  text(0x60000022, 'LO', word());
  text(0x60001500, 'LO', word());
}

/** Text below a sequence, and a sequence below that, down to the depth. */
function nested(sink: Sink, tag: number, source: Source, depth: number): void {
  const sequence = beginSequence(sink, tag);
  const item = beginItem(sink);
  writeText(sink, 0x0008103e, 'LO', source.word());
  writeText(sink, 0x00081155, 'UI', source.uid());
  if (depth > 1) nested(sink, 0x00081199, source, depth - 1);
  writeText(sink, 0x00100010, 'PN', source.word());
  writeText(sink, 0x00400009, 'SH', source.word());
  endItem(sink, item);
  endSequence(sink, sequence);
}

function pixelsAndAfter(word: () => string): Buffer {
  const sink = openSink(1024);
  writeElement(sink, 0x7fe00010, 'OW', Buffer.alloc(16 * 16 * 2, 1));
  // Behind the pixel data: a signature's free text and padding.
  writeElement(sink, 0xfffcfffc, 'OB', even(word()));
  return Buffer.from(sinkBytes(sink));
}

function even(text: string, pad = 0x20): Buffer {
  const bytes = Buffer.from(text, 'latin1');
  return bytes.length % 2 === 0 ? bytes : Buffer.concat([bytes, Buffer.from([pad])]);
}
