/** What metadata and bulk data together hold is the whole object. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import fc from 'fast-check';
import { storeInstance } from '../../src/archive/instances.ts';
import { fromDicomJson } from '../../src/dicom/json-reader.ts';
import { readHead } from '../../src/dicom/part10.ts';
import { identified, objectOf, type Keywords, type Value } from '../phantom/keywords.ts';
import { getJson, openDoor, type Door, type JsonDataSet } from './door.ts';

let door: Door;
before(async () => {
  door = await openDoor();
});
after(() => door.close());

const bytesOf = (unit: number): fc.Arbitrary<Buffer> =>
  fc
    .tuple(fc.integer({ min: 1, max: 9000 }), fc.integer({ min: 0, max: 255 }))
    .map(([length, fill]) => Buffer.alloc(length * unit, fill));
const text = (maxLength: number): fc.Arbitrary<string> =>
  fc
    .string({ unit: fc.constantFrom('a', 'Z', '7', 'ü', 'Я', '山', '/', '-'), minLength: 1, maxLength })
    .map((value) => value.trim());
const LONG = text(40).map((value) => value.repeat(200));

/** Attributes of every kind of VR, above and below the length from which a value becomes bulk data. */
const ATTRIBUTES: Readonly<Record<string, fc.Arbitrary<Value>>> = {
  AccessionNumber: text(8),
  ImageComments: LONG,
  TextValue: LONG,
  SliceThickness: fc.integer({ min: 0, max: 999 }),
  ImageType: fc.array(fc.constantFrom('ORIGINAL', 'PRIMARY', ''), { minLength: 2, maxLength: 4 }),
  ReferencedStudySequence: fc.array(
    fc.record({ ReferencedSOPInstanceUID: fc.constant('2.25.7'), StudyDescription: text(20) }),
    { maxLength: 3 },
  ) as fc.Arbitrary<Value>,
  '00091010 OB': bytesOf(2),
  '00091011 OW': bytesOf(2),
  '00091012 OF': bytesOf(4),
  '00091013 OD': bytesOf(8),
  '00091014 UN': bytesOf(2),
  '00091015 OL': bytesOf(4),
};

async function filled(element: JsonDataSet[string]): Promise<JsonDataSet[string]> {
  const { vr, BulkDataURI: uri, Value: values } = element;
  if (uri !== undefined) {
    const response = await fetch(uri, { headers: { accept: 'application/octet-stream' } });
    assert.equal(response.status, 200, uri);
    const bytes = Buffer.from(await response.arrayBuffer());
    const isText = /^(LT|ST|UC|UT)$/.test(vr);
    return isText ? { vr, Value: [String(bytes).trimEnd()] } : { vr, InlineBinary: bytes.toString('base64') };
  }
  if (vr !== 'SQ' || values === undefined) return element;
  return { vr, Value: await Promise.all(values.map((item) => allFilled(item as JsonDataSet))) };
}

async function allFilled(object: JsonDataSet): Promise<JsonDataSet> {
  const entries = Object.entries(object).map(async ([key, element]) => [key, await filled(element)] as const);
  return Object.fromEntries(await Promise.all(entries));
}

test('PROP-d: metadata and the bulk data it names rebuild the stored data set, byte for byte', async () => {
  let study = 0;
  let bulk = 0;
  await fc.assert(
    fc.asyncProperty(fc.record(ATTRIBUTES, { requiredKeys: [] }), bytesOf(2), async (attributes, pixels) => {
      study++;
      const object: Keywords = {
        ...identified('1.2.840.10008.5.1.4.1.1.7', 'OT', [study, 1, 1]),
        '00090010 LO': 'ISTHMUS TEST',
        ...attributes,
        PixelData: pixels,
      };
      await storeInstance(door.gateway.archive, objectOf(object));
      const url = `${door.url}/studies/2.25.${study}/series/2.25.${study}.1/instances/2.25.${study}.1.1`;
      const [metadata = {}] = await getJson(`${url}/metadata`);
      bulk += JSON.stringify(metadata).match(/BulkDataURI/g)?.length ?? 0;
      const { '7FE00010': rebuiltPixels, ...rebuilt } = await allFilled(metadata);
      assert.deepEqual(Buffer.from(rebuiltPixels?.InlineBinary ?? '', 'base64'), pixels);
      const response = await fetch(url, { headers: { accept: 'application/dicom' } });
      const { dataSet } = readHead(Buffer.from(await response.arrayBuffer())).head;
      const expected = dataSet.bytes.subarray(dataSet.start, dataSet.end);
      const { bytes, start, end } = fromDicomJson(rebuilt);
      assert.ok(bytes.subarray(start, end).equals(expected));
    }),
    { numRuns: 40 },
  );
  assert.ok(bulk > 40);
});
