/** Every file of the samples (ISTHMUS_SAMPLES): de-identified or refused with a reason, never anything else. */
import assert from 'node:assert/strict';
import { existsSync, readdirSync, readFileSync } from 'node:fs';
import { join } from 'node:path';
import { it } from 'node:test';
import { asciiValue, findElement, textValue } from '../../src/dicom/data-set.ts';
import { readHead, readObject } from '../../src/dicom/part10.ts';
import { Refusal } from '../../src/dicom/refusal.ts';
import { gather, holds, memoryWall, pass } from './support.ts';

const samples = process.env['ISTHMUS_SAMPLES'];
const skip = samples === undefined || !existsSync(samples) ? 'ISTHMUS_SAMPLES is not set' : false;

const KEPT_GEOMETRY = [
  0x00280010, 0x00280011, 0x00280030, 0x00200032, 0x00200037, 0x00180050, 0x00281052, 0x00281053, 0x00180080,
];

it(
  'every sample is de-identified or refused with a reason; native pixels and geometry stay what they were',
  { skip },
  async () => {
    const wall = memoryWall();
    let passed = 0;
    for (const path of files(samples ?? '')) {
      const bytes = readFileSync(path);
      try {
        const { file, dataSet, body, result } = await pass(bytes, { wall });
        passed++;
        const source = await readObject(bytes);
        const original = source.head.dataSet;
        const pixels = await gather(source.body);
        if (original.encoding !== 'explicit-be' && result.object.bodyLengthBytes !== undefined) {
          assert.deepEqual(body.subarray(0, pixels.length), pixels, path);
        }
        for (const tag of KEPT_GEOMETRY) {
          const element = findElement(original, tag);
          if (element !== undefined && original.encoding === 'explicit-le' && !element.retyped)
            assert.equal(asciiValue(dataSet, tag), asciiValue(original, tag), `${path} ${tag.toString(16)}`);
        }
        const patient = textValue(original, 0x00100020) ?? '';
        if (patient.length >= 8) assert.equal(holds(file.subarray(0, file.length - body.length), patient), false, path);
        // What was written reads again as itself.
        assert.equal(readHead(file).head.dataSet.elements.length, dataSet.elements.length);
      } catch (error) {
        if (!(error instanceof Refusal)) throw new Error(`${path}: ${(error as Error).stack}`, { cause: error });
      }
    }
    assert.ok(passed > 1000, `${passed} passed`);
  },
);

function files(folder: string): string[] {
  return readdirSync(folder, { recursive: true, withFileTypes: true })
    .filter((entry) => entry.isFile())
    .map((entry) => join(entry.parentPath, entry.name));
}
