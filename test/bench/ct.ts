/**
 * CT instances as a scanner sends them (512x512, 16 bits: 526 KB; some 80 attributes, four sequences, a private block, names in the usual
 * places). Nobody is depicted. Each call makes new UIDs, so that no server sees an instance twice.
 */
import { randomUUID } from 'node:crypto';
import type { Vr } from '../../src/dicom/vr.ts';
import { newUid } from '../../src/dicom/uid.ts';
import {
  beginItem,
  beginSequence,
  endItem,
  endSequence,
  openSink,
  sinkBytes,
  writeBytes,
  writeElement,
  writeHeader,
  writeNumbers,
  writeText,
  type Sink,
} from '../../src/dicom/writer.ts';
import { seeded } from '../phantom/random.ts';

export const CT_IMAGE = '1.2.840.10008.5.1.4.1.1.2';
export const EXPLICIT_LE = '1.2.840.10008.1.2.1';
/** Pictures made once and sent under ever new headers; more of them would only warm the caches less. */
const PICTURES = 4;

export interface CtObject {
  readonly sopInstanceUID: string;
  readonly studyInstanceUID: string;
  /** Preamble, file meta and data set up to the pixel data's value. */
  readonly head: Buffer;
  readonly pixels: Buffer;
}

export interface CtMaker {
  /** One study of one patient, one series unless told otherwise. */
  study(instances: number, options?: StudyOptions): CtObject[];
}

export interface StudyOptions {
  /** Eight characters, in place of random ones. */
  readonly patient?: string;
  /** YYYYMMDD */
  readonly date?: string;
  /** Instances of each series; `instances` is their sum. */
  readonly series?: readonly number[];
}

export function openCtMaker(size = 512, seed = 1, transferSyntaxUID = EXPLICIT_LE): CtMaker {
  const pictures = Array.from({ length: PICTURES }, (_, n) => picture(size, seed + n));
  return {
    study(
      instances,
      { patient = randomUUID().slice(0, 8).toUpperCase(), date = '20240917', series = [instances] } = {},
    ) {
      const uids = { study: newUid(), frame: newUid(), referenced: newUid() };
      return series.flatMap((count) => {
        const seriesUid = newUid();
        return Array.from({ length: count }, (_, k) => {
          const pixels = pictures[k % PICTURES] as Buffer;
          const sop = newUid();
          return {
            sopInstanceUID: sop,
            studyInstanceUID: uids.study,
            head: writeHead(
              { ...uids, series: seriesUid, sop, patient, date, k, size, transferSyntaxUID },
              pixels.length,
            ),
            pixels,
          };
        });
      });
    },
  };
}

export function bytesOf({ head, pixels }: CtObject): Buffer {
  return Buffer.concat([head, pixels]);
}

/** A disc of soft tissue in air with seven bits of noise, which no storage can compress away. */
function picture(size: number, seed: number): Buffer {
  const random = seeded(seed);
  const stored = new Uint16Array(size * size);
  for (let j = 0; j < size; j++) {
    for (let i = 0; i < size; i++) {
      const inside = (i - size / 2) ** 2 + (j - size / 2) ** 2 < (0.4 * size) ** 2;
      stored[j * size + i] = (inside ? 1060 : 24) + Math.floor(random.next() * 128);
    }
  }
  return Buffer.from(stored.buffer);
}

interface HeadFacts {
  readonly study: string;
  readonly series: string;
  readonly frame: string;
  readonly referenced: string;
  readonly sop: string;
  readonly patient: string;
  readonly date: string;
  readonly k: number;
  readonly size: number;
  readonly transferSyntaxUID: string;
}

function writeHead(facts: HeadFacts, pixelBytes: number): Buffer {
  const meta = openSink(512);
  writeElement(meta, 0x00020001, 'OB', Buffer.from([0, 1]));
  writeText(meta, 0x00020002, 'UI', CT_IMAGE);
  writeText(meta, 0x00020003, 'UI', facts.sop);
  writeText(meta, 0x00020010, 'UI', facts.transferSyntaxUID);
  writeText(meta, 0x00020012, 'UI', '2.25.318927405127639481203958716234');
  writeText(meta, 0x00020013, 'SH', 'BENCH');
  const sink = openSink(4096);
  writeBytes(sink, Buffer.alloc(128));
  writeBytes(sink, Buffer.from('DICM'));
  writeNumbers(sink, 0x00020000, 'UL', [sinkBytes(meta).length]);
  writeBytes(sink, sinkBytes(meta));
  writeIdentity(sink, facts);
  writeAcquisition(sink, facts);
  writeHeader(sink, 0x7fe00010, 'OW', pixelBytes);
  return Buffer.from(sinkBytes(sink));
}

type Element = readonly [tag: number, vr: Vr, value: string];

function writeAll(sink: Sink, elements: readonly Element[]): void {
  for (const [tag, vr, value] of elements) writeText(sink, tag, vr, value);
}

function writeItemOf(sink: Sink, tag: number, elements: readonly Element[]): void {
  const sequence = beginSequence(sink, tag);
  const item = beginItem(sink);
  writeAll(sink, elements);
  endItem(sink, item);
  endSequence(sink, sequence);
}

function writeIdentity(sink: Sink, { sop, patient, referenced, date }: HeadFacts): void {
  writeAll(sink, [
    [0x00080005, 'CS', 'ISO_IR 100'],
    [0x00080008, 'CS', 'ORIGINAL\\PRIMARY\\AXIAL\\HELIX'],
    [0x00080012, 'DA', date],
    [0x00080013, 'TM', '101612.250000'],
    [0x00080016, 'UI', CT_IMAGE],
    [0x00080018, 'UI', sop],
    [0x00080020, 'DA', date],
    [0x00080021, 'DA', date],
    [0x00080022, 'DA', date],
    [0x00080023, 'DA', date],
    [0x00080030, 'TM', '101500.000000'],
    [0x00080031, 'TM', '101530.120000'],
    [0x00080032, 'TM', '101601.770000'],
    [0x00080033, 'TM', '101602.310000'],
    [0x00080050, 'SH', `A${patient}`],
    [0x00080060, 'CS', 'CT'],
    [0x00080070, 'LO', 'Bench Scanners Inc.'],
    [0x00080080, 'LO', 'St. Elsewhere Hospital'],
    [0x00080081, 'ST', '1 Infirmary Road, Sampletown'],
    [0x00080090, 'PN', 'Referrer^Robin^^Dr.'],
    [0x00081010, 'SH', 'CT-ROOM-3'],
    [0x00081030, 'LO', 'CT thorax with contrast'],
  ]);
  writeItemOf(sink, 0x00081032, [
    [0x00080100, 'SH', 'CTTHW'],
    [0x00080102, 'SH', '99LOCAL'],
    [0x00080104, 'LO', 'CT thorax with contrast'],
  ]);
  writeAll(sink, [
    [0x0008103e, 'LO', 'Thorax 1.0 B30f'],
    [0x00081040, 'LO', 'Radiology'],
    [0x00081050, 'PN', 'Performer^Pat'],
    [0x00081070, 'PN', 'Operator^Olli'],
    [0x00081090, 'LO', 'Bench CT 64'],
  ]);
  writeItemOf(sink, 0x00081111, [
    [0x00081150, 'UI', '1.2.840.10008.3.1.2.3.3'],
    [0x00081155, 'UI', referenced],
  ]);
  writeItemOf(sink, 0x00081140, [
    [0x00081150, 'UI', CT_IMAGE],
    [0x00081155, 'UI', `${referenced.slice(0, -1)}1`],
  ]);
  writeAll(sink, [
    [0x00090010, 'LO', 'BENCH PRIVATE 01'],
    [0x00091001, 'LO', `calibrated for ${patient}`],
    [0x00091002, 'DS', '0.9987'],
    [0x00100010, 'PN', `Bench^Subject ${patient}`],
    [0x00100020, 'LO', `PID-${patient}`],
    [0x00100021, 'LO', 'ELSEWHERE'],
    [0x00100030, 'DA', '19610423'],
    [0x00100040, 'CS', 'F'],
    [0x00101010, 'AS', '063Y'],
    [0x00101030, 'DS', '71.5'],
    [0x00104000, 'LT', 'seen in the morning, claustrophobic'],
  ]);
}

function writeAcquisition(sink: Sink, { study, series, frame, patient, date, k, size }: HeadFacts): void {
  writeAll(sink, [
    [0x00180015, 'CS', 'CHEST'],
    [0x00180022, 'CS', 'HELIX'],
    [0x00180050, 'DS', '1.000000'],
    [0x00180060, 'DS', '120'],
    [0x00180088, 'DS', '1.000000'],
    [0x00180090, 'DS', '500.000000'],
    [0x00181000, 'LO', '000000CT64'],
    [0x00181020, 'LO', 'v4.2'],
    [0x00181030, 'LO', 'thorax routine'],
    [0x00181100, 'DS', '360.000000'],
    [0x00181110, 'DS', '949.147000'],
    [0x00181111, 'DS', '541.000000'],
    [0x00181120, 'DS', '0.000000'],
    [0x00181130, 'DS', '169.500000'],
    [0x00181140, 'CS', 'CW'],
    [0x00181150, 'IS', '570'],
    [0x00181151, 'IS', '280'],
    [0x00181152, 'IS', '159'],
    [0x00181160, 'SH', 'BODY FILTER'],
    [0x00181170, 'IS', '33'],
    [0x00181190, 'DS', '0.700000'],
    [0x00181210, 'SH', 'B30f'],
    [0x00185100, 'CS', 'HFS'],
    [0x0020000d, 'UI', study],
    [0x0020000e, 'UI', series],
    [0x00200010, 'SH', `S${patient}`],
    [0x00200011, 'IS', '3'],
    [0x00200012, 'IS', '1'],
    [0x00200013, 'IS', String(k + 1)],
    [0x00200032, 'DS', `-180.000000\\-180.000000\\${k.toFixed(6)}`],
    [0x00200037, 'DS', '1.000000\\0.000000\\0.000000\\0.000000\\1.000000\\0.000000'],
    [0x00200052, 'UI', frame],
    [0x00201040, 'LO', ''],
    [0x00201041, 'DS', k.toFixed(6)],
  ]);
  writeNumbers(sink, 0x00280002, 'US', [1]);
  writeText(sink, 0x00280004, 'CS', 'MONOCHROME2');
  writeNumbers(sink, 0x00280010, 'US', [size]);
  writeNumbers(sink, 0x00280011, 'US', [size]);
  const spacing = (360 / size).toFixed(6);
  writeText(sink, 0x00280030, 'DS', `${spacing}\\${spacing}`);
  writeNumbers(sink, 0x00280100, 'US', [16]);
  writeNumbers(sink, 0x00280101, 'US', [16]);
  writeNumbers(sink, 0x00280102, 'US', [15]);
  writeNumbers(sink, 0x00280103, 'US', [0]);
  writeAll(sink, [
    [0x00281050, 'DS', '40'],
    [0x00281051, 'DS', '400'],
    [0x00281052, 'DS', '-1024'],
    [0x00281053, 'DS', '1'],
    [0x00281054, 'LO', 'HU'],
    [0x00321032, 'PN', 'Referrer^Robin^^Dr.'],
    [0x00400244, 'DA', date],
    [0x00400245, 'TM', '101500.000000'],
    [0x00400253, 'SH', `PPS${patient}`],
    [0x00400254, 'LO', 'CT thorax with contrast'],
  ]);
  writeItemOf(sink, 0x00400275, [
    [0x00400007, 'LO', 'CT thorax with contrast'],
    [0x00400009, 'SH', `SPS${patient}`],
    [0x00401001, 'SH', `RP${patient}`],
  ]);
}
