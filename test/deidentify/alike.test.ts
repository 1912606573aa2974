/** Instances of a series one after another: what is remembered of the one before changes nothing about what comes out. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import { compileProfile } from '../../src/deidentify/profile.ts';
import type { Wall } from '../../src/deidentify/wall.ts';
import { fileOf, holds, makeFile, memoryWall, pass, PROFILES, UIDS, type Passed, type Value } from './support.ts';

/** What each attribute may be from one instance to the next; undefined: absent. */
const CHOICES: Readonly<Record<string, readonly (Value | undefined)[]>> = {
  '00080005': [undefined, 'ISO_IR 100', 'ISO_IR 192'],
  '00080008': ['ORIGINAL\\PRIMARY\\AXIAL', 'DERIVED\\SECONDARY\\MEIER'],
  '00080018': [UIDS.instance, '1.2.3.4.31', '1.2.3.4.32'],
  '00080023': ['20240405', '20240406', 'Meier', undefined],
  '00080032': ['101112', '101113.5', undefined],
  '00081030': ['Chest of Mr Meier', 'Chest'],
  '00081140': [undefined, [{ '00081155': '1.2.3.4.41', '0040A160': 'Meier' }], [{ '00081155': '1.2.3.4.42' }]],
  '00090010': [undefined, 'SIEMENS CT VA0  COAD', 'ACME PRIVATE'],
  '00091001': [undefined, 'LO:Meier', 'LO:other'],
  '00100010': ['Meier^Hans', 'Meier^Hans', 'Kunz^Eva'],
  '00101010': ['067Y', '093Y'],
  '00180060': ['120', '80', '120 Meier'],
  '00190010': [undefined, 'GEMS_ACQU_01', 'SIEMENS MR HEADER'],
  '00191002': [undefined, 'SL:\u0001\u0000\u0000\u0000', 'IS:1000'],
  '0019100C': [undefined, 'IS:1000', 'IS:0'],
  '0020000E': [UIDS.series, UIDS.series, '1.2.3.4.22'],
  '00200013': ['7', '8', '12345', ''],
  '00200032': ['-100\\-100\\50', '-100\\-100\\51.25', 'Meier'],
  '00204000': [undefined, 'seen by Meier', 'as before'],
  '00281050': [undefined, '40', '40\\80'],
  '00400275': [undefined, [{ '00400007': 'Meier, chest' }]],
};

const instances = fc.array(
  fc.record(Object.fromEntries(Object.entries(CHOICES).map(([key, values]) => [key, fc.constantFrom(...values)]))),
  { minLength: 2, maxLength: 7 },
);

/** Runs `work` as if nothing had been remembered of the instances before. */
async function forgetting<T>(wall: Wall, work: () => Promise<T>): Promise<T> {
  const remembered = [...wall.known];
  wall.known.clear();
  const result = await work();
  wall.known.clear();
  for (const [key, known] of remembered) wall.known.set(key, known);
  return result;
}

describe('instances of a series', () => {
  for (const name of PROFILES) {
    it(`come out byte for byte as if each came alone: ${name}`, async () => {
      const profile = compileProfile(fileOf(name));
      await fc.assert(
        fc.asyncProperty(instances, fc.boolean(), fc.boolean(), async (series, undefinedLengths, slowly) => {
          const wall = memoryWall();
          const first = series[0] ?? {};
          for (const [at, changes] of series.entries()) {
            // Slowly: an attribute or two at a time, as a scanner does.
            const keys = Object.keys(CHOICES).filter((_, place) => !slowly || place % series.length === at);
            const own = Object.fromEntries(keys.map((key) => [key, changes[key]]));
            const file = makeFile({ ...first, ...own }, { undefinedLengths });
            const once = (): Promise<Passed | string> =>
              pass(file, { wall, profile }).catch((error: unknown) => (error as Error).message);
            // What it says of its patient is known to both.
            await forgetting(wall, once);
            const one = await once();
            const other = await forgetting(wall, once);
            if (typeof one === 'string' || typeof other === 'string') assert.equal(one, other);
            else {
              assert.equal(one.head.toString('latin1'), other.head.toString('latin1'));
              assert.deepEqual(one.result.counts, other.result.counts);
              assert.deepEqual(one.result.source(), other.result.source());
            }
          }
        }),
        { numRuns: 60 },
      );
    });
  }

  it('are rewritten anew where an attribute differs that others are decided by', async () => {
    const wall = memoryWall();
    await pass(makeFile({ '00204000': 'as Weber said' }), { wall });
    const { file } = await pass(makeFile({ '00204000': 'as Weber said', '00081048': 'Weber^Ute' }), { wall });
    assert.equal(holds(file, 'Weber'), false);
  });

  it('are remembered for the patient alone, and forgotten with what is known', async () => {
    const wall = memoryWall();
    await pass(makeFile(), { wall });
    assert.deepEqual(
      [...wall.known.values()].map(({ alike }) => [...alike.keys()]),
      [[UIDS.series]],
    );
    await pass(makeFile({ '00100020': 'PID-4712', '00100010': 'Kunz^Eva' }), { wall });
    assert.equal(wall.known.size, 2);
  });
});
