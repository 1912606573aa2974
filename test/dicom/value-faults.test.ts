/** Faults of values in instances of a series, one after another. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { readHead } from '../../src/dicom/part10.ts';
import { valueFaults, type Faultless } from '../../src/dicom/value-faults.ts';
import { makeFile } from '../deidentify/support.ts';

const CHOICES: Readonly<Record<string, readonly string[]>> = {
  '00080008': ['ORIGINAL\\PRIMARY', 'original'],
  '00080020': ['20240405', '2024-04-05'],
  '0020000E': ['1.2.3.4.2', '1.2.3.4.22', 'no uid'],
  '00200013': ['7', '8', 'seven'],
  '00200032': ['0\\0\\0', '0\\0\\1', '0\\0'],
};

const instances = fc.array(
  fc.record(Object.fromEntries(Object.entries(CHOICES).map(([key, values]) => [key, fc.constantFrom(...values)]))),
  { minLength: 2, maxLength: 10 },
);

describe('faults of values', () => {
  it('are the same whatever came before in the series', () => {
    fc.assert(
      fc.property(instances, (series) => {
        const faultless: Faultless = new Map();
        for (const changes of series) {
          const { dataSet } = readHead(makeFile(changes)).head;
          assert.deepEqual(valueFaults(dataSet, faultless), valueFaults(dataSet));
        }
      }),
      { numRuns: 500 },
    );
  });

  it('are told by what is wrong and never by what was found', () => {
    const { dataSet } = readHead(makeFile({ '00200032': '0\\0', '00080020': 'Meier' })).head;
    assert.deepEqual(valueFaults(dataSet), [
      { tag: 0x00080020, what: 'is no value of DA' },
      { tag: 0x00200032, what: 'has fewer values than 3' },
    ]);
  });
});
