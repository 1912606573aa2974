/**
 * Other readers on every file of the samples: pydicom, dicom-parser and dcmjs find the same elements with the same VRs and the same bytes, to
 * any depth. Where they do not, the file is named below with the reason.
 */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { spawnSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { relative } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import dcmjs from 'dcmjs';
import dicomParser from 'dicom-parser';
import { valueBytes, type DataElement, type DataSet } from '../../src/dicom/data-set.ts';
import { receiveObject } from '../../src/dicom/part10.ts';
import { Refusal } from '../../src/dicom/refusal.ts';
import { transferSyntax } from '../../src/dicom/transfer-syntax.ts';
import { inPieces } from './made.ts';
import { sampleFiles, samplesFolder, skipWithoutPydicom, skipWithoutSamples } from './oracle/pydicom.ts';

/** Files in which the others see something else, by reader; in each of them we are right, and where two differ the third agrees with us. */
const LETTERS = 'the letters DICM at byte 128 are part of a value; there is no preamble';
const UN_SEQUENCE = 'UN of a known attribute holds items (PS3.5 6.2.2 note 2); it leaves the bytes as they are';
const PYDICOM_DIFFERS: Readonly<Record<string, string>> = {
  'oddities/misc/no_preamble_dicm_in_data': LETTERS,
};
const DICOM_PARSER_DIFFERS: Readonly<Record<string, string>> = {
  'oddities/misc/no_preamble_dicm_in_data': LETTERS,
  'oddities/pydicom_data/bad_sequence.dcm': UN_SEQUENCE,
  'oddities/pydicom_test_files/rtdose_rle.dcm': UN_SEQUENCE,
  'oddities/pydicom_test_files/rtdose_rle_1frame.dcm': UN_SEQUENCE,
  'oddities/pydicom_test_files/SC_rgb_jpeg.dcm': 'Implicit VR under a compressed syntax; it insists on Explicit VR',
  'oddities/pydicom_test_files/meta_missing_tsyntax.dcm': 'no transfer syntax; it does not look at the data set',
  'oddities/pydicom_test_files/nested_priv_SQ.dcm':
    'a private sequence in Implicit VR; it takes the length for a value',
  'phi/deid_data/ctbrain1.dcm': 'it throws; pydicom agrees with us',
  'phi/deid_data/ctbrain2.dcm': 'it throws; pydicom agrees with us',
};
const CHARACTER_SETS = 'it decodes while it reads and knows one character set at a time';
const DCMJS_DIFFERS: Readonly<Record<string, string>> = {
  'dicom/dcmjs/no-meta-length-test.dcm': 'no group length in the file meta; it insists on one',
  'oddities/pydicom_test_files/no_meta_group_length.dcm': 'no group length in the file meta; it insists on one',
  'oddities/misc/no_preamble_dicm_in_data': LETTERS,
  'oddities/pydicom_data/bad_sequence.dcm': UN_SEQUENCE,
  'oddities/pydicom_test_files/rtdose_rle.dcm': UN_SEQUENCE,
  'oddities/pydicom_test_files/rtdose_rle_1frame.dcm': UN_SEQUENCE,
  'oddities/pydicom_test_files/UN_sequence.dcm': UN_SEQUENCE,
  'oddities/pydicom_test_files/SC_rgb_jpeg.dcm':
    'Implicit VR under a compressed syntax; it reads Explicit VR and finds nothing',
  'oddities/pydicom_test_files/meta_missing_tsyntax.dcm': 'no transfer syntax; it does not look at the data set',
  'oddities/pydicom_test_files/nested_priv_SQ.dcm':
    'a private sequence in Implicit VR; it takes the length for a value',
  'oddities/charsets/chrH31.dcm': CHARACTER_SETS,
  'oddities/charsets/chrH32.dcm': CHARACTER_SETS,
  'oddities/charsets/chrI2.dcm': CHARACTER_SETS,
  'oddities/charsets/chrJapMulti.dcm': CHARACTER_SETS,
  'oddities/charsets/chrJapMultiExplicitIR6.dcm': CHARACTER_SETS,
  'oddities/charsets/chrKoreanMulti.dcm': CHARACTER_SETS,
  'oddities/charsets/chrSQEncoding.dcm': CHARACTER_SETS,
  'oddities/charsets/chrSQEncoding1.dcm': CHARACTER_SETS,
  'oddities/charsets_made/03_ISO_2022_IR_149.dcm': CHARACTER_SETS,
  'oddities/charsets_made/04_ISO_2022_IR_87.dcm': CHARACTER_SETS,
  'oddities/pydicom_test_files/J2K_pixelrep_mismatch.dcm': CHARACTER_SETS,
};

interface Seen {
  readonly name: string;
  readonly path: string;
  readonly bytes: Buffer;
  readonly dataSet: DataSet;
  readonly deflated: boolean;
}

/** Every file of the samples that is an object to us, read in pieces. */
async function* objects(): AsyncGenerator<Seen> {
  for (const path of sampleFiles(['dicom', 'oddities', 'phi'], 10_000)) {
    if (path.includes('/hostile/')) continue;
    const bytes = readFileSync(path);
    try {
      const { head } = await receiveObject(inPieces(bytes, [4096]));
      const deflated = transferSyntax(head.transferSyntaxUID)?.deflated === true;
      yield { name: relative(samplesFolder ?? '', path), path, bytes, dataSet: head.dataSet, deflated };
    } catch (error) {
      if (!(error instanceof Refusal)) throw error;
    }
  }
}

interface Element {
  readonly vr: string;
  readonly lengthBytes: number;
  readonly sha1: string;
}

/** By path: tag, and where nested the sequence and the number of the item. */
type Elements = Map<string, Element>;

const sha1 = (bytes: Uint8Array): string => createHash('sha1').update(bytes).digest('hex').slice(0, 12);

function elementsOf(dataSet: DataSet, path = '', found: Elements = new Map()): Elements {
  for (const element of dataSet.elements) {
    if ((element.tag & 0xffff) === 0) continue;
    const place = path + element.tag.toString(16).toUpperCase().padStart(8, '0');
    if (element.items !== undefined) {
      found.set(place, { vr: 'SQ', lengthBytes: 0, sha1: '' });
      element.items.forEach((item, index) => elementsOf(item, `${place}/${index}/`, found));
    } else found.set(place, { vr: writtenVr(dataSet, element), ...valueOf(dataSet, element) });
  }
  return found;
}

function valueOf(dataSet: DataSet, element: DataElement): Omit<Element, 'vr'> {
  const value = valueBytes(dataSet, element);
  return { lengthBytes: value.length, sha1: sha1(value) };
}

function writtenVr({ encoding, bytes }: DataSet, { start }: DataElement): string {
  return encoding === 'implicit-le' ? '--' : bytes.toString('latin1', start + 4, start + 6);
}

/** In place of a VR: the other reader has lost what the bytes say. */
const KNOWN_TO_EXIST = '**';

/** What differs first, or nothing. */
function firstDifference(ours: Elements, theirs: Elements): string | undefined {
  for (const [place, element] of theirs) {
    const mine = ours.get(place);
    if (mine === undefined) return `${place} is missing`;
    if (element.vr === KNOWN_TO_EXIST) continue;
    if (mine.vr !== element.vr) return `${place} ${mine.vr}, not ${element.vr}`;
    if (mine.lengthBytes !== element.lengthBytes)
      return `${place} ${mine.lengthBytes} bytes, not ${element.lengthBytes}`;
    if (mine.sha1 !== element.sha1) return `${place} has other bytes`;
  }
  const more = [...ours.keys()].find((place) => !theirs.has(place));
  return more === undefined ? undefined : `${more} is ours alone`;
}

function assertNamed(differences: ReadonlyMap<string, string>, named: Readonly<Record<string, string>>): void {
  assert.deepEqual(
    [...differences].filter(([name]) => !(name in named)).map(([name, what]) => `${name}: ${what}`),
    [],
  );
  assert.deepEqual(
    Object.keys(named).filter((name) => !differences.has(name)),
    [],
    'named, but there is no difference',
  );
}

test('pydicom finds the same elements', { skip: skipWithoutSamples || skipWithoutPydicom }, async (t) => {
  const seen: Seen[] = [];
  for await (const object of objects()) seen.push(object);
  const script = fileURLToPath(new URL('./oracle/pydicom_elements.py', import.meta.url));
  const { status, stdout, stderr } = spawnSync('/usr/bin/python3', [script], {
    input: seen.map(({ path }) => path).join('\n'),
    encoding: 'utf8',
    maxBuffer: 2 ** 30,
  });
  assert.equal(status, 0, stderr.slice(-500));
  const answers = stdout.trimEnd().split('\n');
  const differences = new Map<string, string>();
  let count = 0;
  seen.forEach(({ name, dataSet }, index) => {
    const lines = JSON.parse(answers[index] ?? 'null') as string[] | null;
    const theirs: Elements = new Map(
      (lines ?? []).map((line) => {
        const [place = '', vr = '', lengthBytes = '0', hash = ''] = line.split(' ');
        return [place, { vr, lengthBytes: Number(lengthBytes), sha1: hash }];
      }),
    );
    count += theirs.size;
    // pydicom turns Specific Character Set into text while it reads.
    const ours = new Map([...elementsOf(dataSet)].filter(([place]) => !place.endsWith('00080005')));
    for (const place of theirs.keys()) if (place.endsWith('00080005')) theirs.delete(place);
    const difference = lines === null ? 'pydicom does not read it' : firstDifference(ours, theirs);
    if (difference !== undefined) differences.set(name, difference);
  });
  t.diagnostic(`${seen.length} files, ${count} elements`);
  assert.ok(seen.length > 1000);
  assertNamed(differences, PYDICOM_DIFFERS);
});

function parsedElements(parsed: dicomParser.DataSet, path = '', found: Elements = new Map()): Elements {
  for (const element of Object.values(parsed.elements)) {
    const tag = element.tag.slice(1).toUpperCase();
    if (
      tag.endsWith('0000') ||
      tag.startsWith('FFFE') ||
      (path === '' && (tag.startsWith('0002') || tag >= '7FE00008'))
    )
      continue;
    const place = path + tag;
    if (element.items !== undefined && element.fragments === undefined) {
      found.set(place, { vr: 'SQ', lengthBytes: 0, sha1: '' });
      element.items.forEach((item, index) => {
        if (item.dataSet !== undefined) parsedElements(item.dataSet, `${place}/${index}/`, found);
      });
    } else {
      const value = parsed.byteArray.subarray(element.dataOffset, element.dataOffset + element.length);
      found.set(place, { vr: element.vr ?? '--', lengthBytes: value.length, sha1: sha1(value) });
    }
  }
  return found;
}

test('dicom-parser finds the same elements', { skip: skipWithoutSamples }, async (t) => {
  const differences = new Map<string, string>();
  let count = 0;
  for await (const { name, bytes, dataSet, deflated } of objects()) {
    // It needs another package to inflate, and a file that begins with the preamble.
    if (deflated || bytes.toString('latin1', 128, 132) !== 'DICM') continue;
    let difference: string | undefined;
    try {
      const theirs = parsedElements(dicomParser.parseDicom(bytes, { untilTag: 'x7fe00010' }));
      count += theirs.size;
      difference = firstDifference(elementsOf(dataSet), theirs);
    } catch (error) {
      difference = `dicom-parser does not read it: ${String(error instanceof Error ? error.message : error).slice(0, 80)}`;
    }
    if (difference !== undefined) differences.set(name, difference);
  }
  t.diagnostic(`${count} elements`);
  assert.ok(count > 50_000);
  assertNamed(differences, DICOM_PARSER_DIFFERS);
});

interface DcmjsDict {
  readonly [key: string]: { readonly vr: string; readonly Value?: readonly unknown[] };
}

function dcmjsTags(dict: DcmjsDict, path = '', found = new Set<string>()): Set<string> {
  for (const [key, { vr, Value }] of Object.entries(dict)) {
    if (key.endsWith('0000') || (path === '' && key >= '7FE00008')) continue;
    found.add(path + key);
    if (vr === 'SQ')
      (Value ?? []).forEach((item, index) => dcmjsTags(item as DcmjsDict, `${path}${key}/${index}/`, found));
  }
  return found;
}

test('dcmjs finds the same attributes, at every depth', { skip: skipWithoutSamples }, async (t) => {
  const { DicomMessage } = dcmjs.data as unknown as {
    DicomMessage: { readFile(bytes: ArrayBuffer, options: object): { dict: DcmjsDict } };
  };
  const differences = new Map<string, string>();
  let count = 0;
  for await (const { name, bytes, dataSet } of objects()) {
    if (bytes.toString('latin1', 128, 132) !== 'DICM') continue;
    let difference: string | undefined;
    try {
      const { dict } = DicomMessage.readFile(new Uint8Array(bytes).buffer, {
        untilTag: '7FE00010',
        ignoreErrors: false,
      });
      const theirs = dcmjsTags(dict);
      count += theirs.size;
      const ours = new Set(elementsOf(dataSet).keys());
      const missing = [...theirs].find((place) => !ours.has(place));
      const more = [...ours].find((place) => !theirs.has(place));
      difference =
        missing !== undefined ? `${missing} is missing` : more !== undefined ? `${more} is ours alone` : undefined;
    } catch (error) {
      difference = `dcmjs does not read it: ${String(error instanceof Error ? error.message : error).slice(0, 80)}`;
    }
    if (difference !== undefined) differences.set(name, difference);
  }
  t.diagnostic(`${count} attributes`);
  assertNamed(differences, DCMJS_DIFFERS);
});
