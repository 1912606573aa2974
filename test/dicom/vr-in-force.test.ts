import assert from 'node:assert/strict';
import { test } from 'node:test';
import { findElement, numberValue, type DataSet } from '../../src/dicom/data-set.ts';
import { readHead } from '../../src/dicom/part10.ts';
import { readDataSet } from '../../src/dicom/reader.ts';

/** An element in Implicit VR Little Endian. */
function implicit(tag: number, value: Buffer): Buffer {
  const header = Buffer.alloc(8);
  header.writeUInt16LE(tag >>> 16, 0);
  header.writeUInt16LE(tag & 0xffff, 2);
  header.writeUInt32LE(value.length, 4);
  return Buffer.concat([header, value]);
}

const word = (number: number): Buffer => Buffer.from([number & 0xff, (number >> 8) & 0xff]);
const item = (...elements: Buffer[]): Buffer => implicit(0xfffee000, Buffer.concat(elements));

const PIXEL_REPRESENTATION = 0x00280103;
const PIXEL_PADDING_VALUE = 0x00280120;
const ICON_IMAGE_SEQUENCE = 0x00880200;
const LAST_VALUE_MAPPED = 0x00409211;
const REAL_WORLD_VALUE_MAPPING_SEQUENCE = 0x00409096;

function read(...elements: Buffer[]): DataSet {
  const bytes = Buffer.concat(elements);
  return readDataSet(bytes, 0, bytes.length, 'implicit-le', { complete: true }).dataSet;
}

test('US or SS follows Pixel Representation where no VR is written', () => {
  const padding = implicit(PIXEL_PADDING_VALUE, word(0x8000));
  assert.equal(numberValue(read(implicit(PIXEL_REPRESENTATION, word(1)), padding), PIXEL_PADDING_VALUE), -32768);
  assert.equal(numberValue(read(implicit(PIXEL_REPRESENTATION, word(0)), padding), PIXEL_PADDING_VALUE), 32768);
  assert.equal(findElement(read(padding), PIXEL_PADDING_VALUE)?.vr, 'US');
});

test('an item inherits Pixel Representation, and its own holds for itself alone', () => {
  const dataSet = read(
    implicit(PIXEL_REPRESENTATION, word(1)),
    implicit(REAL_WORLD_VALUE_MAPPING_SEQUENCE, item(implicit(LAST_VALUE_MAPPED, word(0xffff)))),
    implicit(
      ICON_IMAGE_SEQUENCE,
      Buffer.concat([
        item(implicit(PIXEL_REPRESENTATION, word(0)), implicit(PIXEL_PADDING_VALUE, word(0xffff))),
        item(implicit(PIXEL_PADDING_VALUE, word(0xffff))),
      ]),
    ),
    implicit(0x00880201, Buffer.alloc(0)),
  );
  const [mapping] = findElement(dataSet, REAL_WORLD_VALUE_MAPPING_SEQUENCE)?.items ?? [];
  assert.ok(mapping !== undefined);
  assert.equal(numberValue(mapping, LAST_VALUE_MAPPED), -1);
  const icons = findElement(dataSet, ICON_IMAGE_SEQUENCE)?.items ?? [];
  assert.deepEqual(
    icons.map((icon) => numberValue(icon, PIXEL_PADDING_VALUE)),
    [65535, -1],
  );
});

test('file meta ends where its group does, whatever the encoding of what follows', () => {
  const uid = Buffer.from('1.2.840.10008.1.2\0', 'latin1');
  const header = Buffer.from([0x02, 0x00, 0x10, 0x00, 0x55, 0x49, uid.length, 0x00]);
  const dataSet = implicit(0x00080060, Buffer.from('CT'));
  const file = Buffer.concat([Buffer.alloc(128), Buffer.from('DICM'), header, uid, dataSet]);
  const { head } = readHead(file);
  assert.equal(head.dataSet.encoding, 'implicit-le');
  assert.equal(findElement(head.dataSet, 0x00080060)?.vr, 'CS');
  assert.equal(head.fileMeta?.elements.length, 1);
});
