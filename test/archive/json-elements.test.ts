/** Members of stored texts, taken out as they stand. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { elementsIn } from '../../src/archive/json-elements.ts';
import { formatDicomJsonObject, type DicomJson } from '../../src/dicom/json.ts';

const key = fc.integer({ min: 0, max: 0xffffffff }).map((number) => number.toString(16).padStart(8, '0').toUpperCase());
const value = fc.oneof(fc.string({ unit: 'binary' }), fc.constantFrom('"', '\\', '\\"', '{"', ']}', '",'), fc.double());
const element = fc.oneof(
  fc.record({ vr: fc.constant('LO') }),
  fc.record({ vr: fc.constant('LO'), Value: fc.array(value) }),
  fc.record({
    vr: fc.constant('PN'),
    Value: fc.array(fc.dictionary(fc.constantFrom('Alphabetic', 'Ideographic'), value)),
  }),
);
const item = fc.dictionary(key, element);
const sequence = fc.record({ vr: fc.constant('SQ'), Value: fc.array(item) });
const object = fc.dictionary(key, fc.oneof(element, sequence));

test('each member of an object is found as it stands in the text, whatever its values hold', () => {
  fc.assert(
    fc.property(object, (given) => {
      const json = given as unknown as DicomJson;
      const text = formatDicomJsonObject(json);
      const found = elementsIn(text);
      assert.deepEqual([...found.keys()], Object.keys(json).sort());
      assert.equal(`{${[...found.values()].join(',')}}`, text);
      for (const [at, member] of found)
        assert.deepEqual(JSON.parse(`{${member}}`), JSON.parse(formatDicomJsonObject({ [at]: json[at] } as DicomJson)));
    }),
  );
});
