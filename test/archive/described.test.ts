/** What the index is told of instances of a series, one after another. */
import assert from 'node:assert/strict';
import { describe as suite, it } from 'node:test';
import fc from 'fast-check';
import { describe, type AlikeTexts } from '../../src/archive/described.ts';
import { readHead } from '../../src/dicom/part10.ts';
import type { Deidentified } from '../../src/dicom/object.ts';
import { CT, makeFile, UIDS, type Value } from '../deidentify/support.ts';

const CHOICES: Readonly<Record<string, readonly (Value | undefined)[]>> = {
  '00080005': [undefined, 'ISO_IR 192'],
  '00080018': [UIDS.instance, '1.2.3.4.31'],
  '00081030': ['Chest', 'Brust'],
  '00081140': [undefined, [{ '00081155': '1.2.3.4.41' }], [{ '00091001': Buffer.alloc(2000, 1) }]],
  '00091001': [undefined, Buffer.alloc(2000, 1), Buffer.alloc(2000, 2), Buffer.alloc(6)],
  '00100010': ['Pseudonym^1', 'Müller^Änne'],
  '0020000E': [UIDS.series, '1.2.3.4.22'],
  '00200013': ['7', '8', ''],
  '00200032': ['-100\\-100\\50', '-100\\-100\\51.25'],
  '00189087': [undefined, Buffer.from('000000000000f87f', 'hex'), Buffer.from('000000000000f03f', 'hex')],
  '00281050': [undefined, '40', '40\\80'],
};

const instances = fc.array(
  fc.record(Object.fromEntries(Object.entries(CHOICES).map(([key, values]) => [key, fc.constantFrom(...values)]))),
  { minLength: 2, maxLength: 8 },
);

suite('instances of a series', () => {
  it('are described as if each came alone', () => {
    fc.assert(
      fc.property(instances, fc.boolean(), (series, slowly) => {
        const alike: AlikeTexts = new Map();
        for (const [at, changes] of series.entries()) {
          const keys = Object.keys(CHOICES).filter((_, place) => !slowly || place % series.length === at);
          const own = Object.fromEntries(keys.map((key) => [key, changes[key]]));
          const object = objectOf(makeFile({ ...series[0], ...own }), `1.2.3.4.5.${at}`);
          assert.deepEqual(describe(object, alike), describe(object));
        }
      }),
      { numRuns: 300 },
    );
  });

  it('name their own bulk data, however alike they are', () => {
    const alike: AlikeTexts = new Map();
    for (const instance of ['1.2.3.4.61', '1.2.3.4.62']) {
      const { described } = describe(objectOf(makeFile({ '00091001': Buffer.alloc(2000) }), instance), alike);
      const { '00091001': bulk } = JSON.parse(described.metadata.toString()) as Record<string, { BulkDataURI: string }>;
      assert.match(String(bulk?.BulkDataURI), new RegExp(`/instances/${instance}/bulkdata/00091001$`));
    }
  });
});

function objectOf(file: Buffer, sopInstanceUID: string): Deidentified {
  const { head, bodyStart } = readHead(file);
  return {
    head: file.subarray(0, bodyStart),
    studyInstanceUID: UIDS.study,
    seriesInstanceUID: UIDS.series,
    sopInstanceUID,
    sopClassUID: CT,
    transferSyntaxUID: head.transferSyntaxUID,
    project: 'trial',
  } as Deidentified;
}
