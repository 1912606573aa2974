/** Objects written by keyword: for what the phantoms of images have no options for. */
import type { Deidentified } from '../../src/dicom/object.ts';
import { formatTag, tagKey } from '../../src/dicom/data-set.ts';
import { tag, vrOf } from '../../src/dicom/dictionary.ts';
import { fromDicomJson } from '../../src/dicom/json-reader.ts';
import {
  openSink,
  sinkBytes,
  writeBytes,
  writeElement,
  writeHeader,
  writeNumbers,
  writeText,
} from '../../src/dicom/writer.ts';
import { encapsulate } from './objects.ts';

export type Value = string | number | Buffer | readonly (string | number)[] | readonly Keywords[];
/** Keyword, or eight hex digits and a VR where there is no keyword: `60003000 OW`. */
export interface Keywords {
  readonly [keyword: string]: Value | undefined;
}

/** A Part 10 object; `PixelData` is native, a list of fragments comes as `fragments`. */
export function objectOf(
  attributes: Keywords,
  options: { transferSyntaxUID?: string; fragments?: Buffer[] } = {},
): Deidentified {
  const { PixelData: pixels, ...others } = attributes;
  const { transferSyntaxUID = '1.2.840.10008.1.2.1', fragments } = options;
  const dataSet = fromDicomJson(jsonOf(others));
  const sink = openSink(8192);
  writeBytes(sink, Buffer.alloc(128));
  writeBytes(sink, Buffer.from('DICM'));
  const meta = openSink(512);
  writeElement(meta, 0x00020001, 'OB', Buffer.from([0, 1]));
  writeText(meta, 0x00020002, 'UI', String(attributes['SOPClassUID']));
  writeText(meta, 0x00020003, 'UI', String(attributes['SOPInstanceUID']));
  writeText(meta, 0x00020010, 'UI', transferSyntaxUID);
  writeText(meta, 0x00020012, 'UI', '2.25.1');
  writeNumbers(sink, 0x00020000, 'UL', [sinkBytes(meta).length]);
  writeBytes(sink, sinkBytes(meta));
  writeBytes(sink, dataSet.bytes.subarray(dataSet.start, dataSet.end));
  const native = Buffer.isBuffer(pixels) ? pixels : Buffer.alloc(0);
  const body =
    fragments === undefined ? Buffer.concat([native, Buffer.alloc(native.length % 2)]) : encapsulate(fragments, []);
  if (body.length > 0)
    writeHeader(
      sink,
      0x7fe00010,
      fragments === undefined ? 'OW' : 'OB',
      fragments === undefined ? body.length : 0xffffffff,
    );
  return {
    head: Buffer.from(sinkBytes(sink)),
    body: (async function* () {
      if (body.length > 0) yield body;
    })(),
    bodyLengthBytes: body.length,
    studyInstanceUID: attributes['StudyInstanceUID'],
    seriesInstanceUID: attributes['SeriesInstanceUID'],
    sopInstanceUID: attributes['SOPInstanceUID'],
    sopClassUID: attributes['SOPClassUID'],
    transferSyntaxUID,
    project: 'research',
  } as unknown as Deidentified;
}

function jsonOf(attributes: Keywords): Record<string, unknown> {
  const entries = Object.entries(attributes).flatMap(([name, value]) => {
    if (value === undefined) return [];
    const [, hex, written] = /^([0-9A-F]{8}) ([A-Z]{2})$/.exec(name) ?? [];
    const at = hex === undefined ? tag(name) : Number.parseInt(hex, 16);
    const vr = written ?? vrOf(at) ?? (at === 0x00281620 ? 'US' : undefined);
    if (vr === undefined) throw new Error(`no VR for ${name} ${formatTag(at)}`);
    return [[tagKey(at), elementOf(vr, value)] as const];
  });
  return Object.fromEntries(entries.sort(([a], [b]) => (a < b ? -1 : 1)));
}

function elementOf(vr: string, value: Value): unknown {
  if (Buffer.isBuffer(value)) return { vr, InlineBinary: value.toString('base64') };
  const values = Array.isArray(value) ? (value as readonly (string | number | Keywords)[]) : [value as string | number];
  if (vr === 'SQ') return { vr, Value: values.map((item) => jsonOf(item as Keywords)) };
  if (vr === 'PN') return { vr, Value: values.map((name) => ({ Alphabetic: String(name) })) };
  return { vr, Value: values };
}

/** The modules that every object of these tests has. */
export function identified(
  sopClassUID: string,
  modality: string,
  [study, series, instance]: readonly number[],
): Keywords {
  return {
    SpecificCharacterSet: 'ISO_IR 192',
    SOPClassUID: sopClassUID,
    SOPInstanceUID: `2.25.${study}.${series}.${instance}`,
    StudyInstanceUID: `2.25.${study}`,
    SeriesInstanceUID: `2.25.${study}.${series}`,
    StudyDate: '20240917',
    StudyTime: '101500',
    Modality: modality,
    PatientName: 'Pseudonym^One',
    PatientID: 'P1',
    SeriesNumber: series ?? 1,
    InstanceNumber: instance ?? 1,
  };
}

export function code(value: string, scheme: string, meaning: string): Keywords {
  return { CodeValue: value, CodingSchemeDesignator: scheme, CodeMeaning: meaning };
}
