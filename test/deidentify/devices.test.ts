/** The device rules that are shipped: each blanks what it says on an object of the device it names, and leaves others alone. */
import assert from 'node:assert/strict';
import { cpSync, mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { parse } from 'yaml';
import { readConfig } from '../../src/config.ts';
import { deidentify } from '../../src/deidentify/deidentify.ts';
import {
  compileDevices,
  type AttributeTest,
  type Condition,
  type DeviceEntry,
  type DeviceFile,
} from '../../src/deidentify/pixels/devices.ts';
import { compileProfile, type ProfileFile } from '../../src/deidentify/profile.ts';
import { tag } from '../../src/dicom/dictionary.ts';
import { readObject } from '../../src/dicom/part10.ts';
import { fileOf, gather, makeFile, memoryWall, PROFILES, type Attributes } from './support.ts';

const { devices } = parse(readFileSync(new URL('../../config/devices.yaml', import.meta.url), 'utf8')) as DeviceFile;
const profile = compileProfile({ ...fileOf('hipaa-safe-harbor'), faces: 'allow' });
const wall = memoryWall();
const unused = (): never => assert.fail('a native object needs no codec');
const tools = {
  findText: () => Promise.resolve([]),
  decode: unused,
  encode: unused,
  blankJpeg: unused,
  deviceRules: new Map([['devices.yaml', compileDevices({ devices })]]),
  spoolFolder: tmpdir(),
};

const us = (value: number): Buffer => Buffer.from([value & 0xff, value >> 8]);
const GREY = 77;

type Values = Record<string, string | number>;

/** The attributes that make the condition true; of several ways the first. */
function valuesFor(condition: Condition): Values {
  if ('all' in condition) return Object.assign({}, ...condition.all.map(valuesFor)) as Values;
  if ('any' in condition) return condition.any[0] === undefined ? {} : valuesFor(condition.any[0]);
  if ('not' in condition) return assert.fail('the shipped rules say what is, not what is not');
  const value = exampleOf(condition);
  return value === undefined ? {} : { [condition.attribute]: value };
}

function exampleOf(rule: AttributeTest): string | number | undefined {
  const { equals, contains, matches, lessThan, greaterThan } = rule;
  if (matches !== undefined) return (/[A-Z][A-Z ]+/i.exec(matches.replaceAll('.*', '')) ?? [''])[0].trim();
  if (greaterThan !== undefined) return greaterThan + 1;
  if (lessThan !== undefined) return lessThan - 1;
  return equals ?? contains;
}

/** An image of 8 bits, every pixel GREY, and what the rule asks for. */
function objectOf(values: Values): { file: Buffer; rows: number; columns: number } {
  const { Rows: rows = 512, Columns: columns = 512, ...texts } = values;
  const [height, width] = [Number(rows), Number(columns)];
  const named: Record<string, Attributes[string]> = {};
  for (const [keyword, value] of Object.entries(texts)) {
    const [first = '', second] = keyword.split('.');
    named[key(first)] = second === undefined ? String(value) : [{ [key(second)]: String(value) }];
  }
  const imageType = texts['ImageType'];
  const file = makeFile(
    {
      '00080016': '1.2.840.10008.5.1.4.1.1.7',
      '00280004': 'MONOCHROME2',
      '00280100': us(8),
      '00280101': us(8),
      '00280102': us(7),
      ...named,
      '00080008': imageType === undefined ? 'DERIVED\\SECONDARY' : `DERIVED\\SECONDARY\\${imageType}`,
      '00280010': us(height),
      '00280011': us(width),
    },
    { pixels: Buffer.alloc(height * width, GREY) },
  );
  return { file, rows: height, columns: width };
}

function key(keyword: string): string {
  return tag(keyword).toString(16).padStart(8, '0').toUpperCase();
}

async function cleanedPixels(file: Buffer): Promise<Buffer> {
  const done = await deidentify(wall, await readObject(file), { project: 'devices', profile, pixels: tools });
  return gather(done.object.body);
}

test('PIX-7: every shipped device rule blanks its regions on an object of its device, and most of the image stays', async () => {
  assert.ok(devices.length >= 100, String(devices.length));
  for (const { name, when, blank = [] } of devices) {
    const values = valuesFor(when);
    const { file, rows, columns } = objectOf(values);
    // Without the byte that makes the length even.
    const pixels = (await cleanedPixels(file)).subarray(0, rows * columns);
    const inside = new Uint8Array(rows * columns);
    for (const rectangle of blank)
      for (let row = rectangle.rows[0]; row <= Math.min(rows - 1, rectangle.rows[1]); row++)
        for (let column = rectangle.columns[0]; column <= Math.min(columns - 1, rectangle.columns[1]); column++)
          inside[row * columns + column] = 1;
    assert.ok(inside.includes(1), name);
    let [left, kept] = [0, 0];
    for (let at = 0; at < pixels.length; at++) {
      if (inside[at] === 1 && pixels[at] !== 0) left++;
      if (pixels[at] === GREY) kept++;
    }
    assert.equal(left, 0, `${name}: ${left} pixels of its regions are left`);
    assert.ok(kept > 0.55 * pixels.length, `${name}: ${kept} of ${pixels.length} pixels are left`);
  }
});

test('PIX-7: rules meet the devices they name and no others', async () => {
  const rules = compileDevices({ devices });
  const met = async (values: Values): Promise<string[]> => {
    const { head } = await readObject(objectOf(values).file);
    return rules.filter(({ applies }) => applies(head.dataSet)).map(({ name }) => name);
  };
  assert.deepEqual(
    await met({ Modality: 'US', Manufacturer: 'Philips Medical Systems', ManufacturerModelName: 'iU22', Rows: 768 }),
    ['Philips iU22, 768 rows'],
  );
  assert.deepEqual(
    await met({ Modality: 'US', Manufacturer: 'Philips Medical Systems', ManufacturerModelName: 'iU22', Rows: 700 }),
    [],
  );
  assert.deepEqual(
    await met({ Modality: 'CT', Manufacturer: 'GE MEDICAL SYSTEMS', ManufacturerModelName: 'LightSpeed VCT' }),
    [],
  );
  const ultrasound = { SOPClassUID: '1.2.840.10008.5.1.4.1.1.6.1', Modality: 'US', Manufacturer: 'Nobody', Rows: 600 };
  assert.deepEqual(await met(ultrasound), ['ultrasound without declared regions, 520 to 659 rows']);
  assert.deepEqual(await met({ ...ultrasound, 'SequenceOfUltrasoundRegions.RegionLocationMaxX1': '\x01\0\0\0' }), []);
  assert.deepEqual(await met({ ...ultrasound, Rows: 300 }), []);
});

test('PIX-7: every profile that cleans pixels reads the device rules', () => {
  for (const name of PROFILES) {
    const { pixels } = fileOf(name) as ProfileFile;
    if (typeof pixels === 'object') assert.equal(pixels.rules, 'devices.yaml', name);
  }
});

test('PIX-7: a configuration folder has device rules of its own, or those that are shipped', () => {
  const folder = mkdtempSync(join(tmpdir(), 'isthmus-devices-'));
  try {
    cpSync(new URL('../../config', import.meta.url), folder, { recursive: true });
    const read = (): number =>
      (
        readConfig({ ISTHMUS_CONFIG: folder, ISTHMUS_DATA: join(folder, 'data') }).deviceRules.get(
          'devices.yaml',
        ) as DeviceFile
      ).devices.length;
    writeFileSync(
      join(folder, 'devices.yaml'),
      'devices:\n  - { name: ours, when: { attribute: Rows, equals: 9 }, blank: [{ rows: [0, 1], columns: [0, 1] }] }\n',
    );
    assert.equal(read(), 1);
    rmSync(join(folder, 'devices.yaml'));
    assert.equal(read(), devices.length);
  } finally {
    rmSync(folder, { recursive: true, force: true });
  }
});

test('every shipped rule has one name, a source and rectangles that lie within an image', () => {
  const names = devices.map(({ name }: DeviceEntry) => name);
  assert.equal(new Set(names).size, names.length);
  for (const { name, source, blank = [] } of devices) {
    assert.ok((source ?? '').length > 5, name);
    for (const { rows, columns } of blank) assert.ok(rows[0] <= rows[1] && columns[0] <= columns[1], name);
  }
});
