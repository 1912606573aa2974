/** Faces in enhanced multi-frame objects and in series of several volumes: taken out as in a classic series, by one plan a place. */
import assert from 'node:assert/strict';
import { tmpdir } from 'node:os';
import { describe, it } from 'node:test';
import { faceSource, followPlan, planSeries, type FaceSource } from '../../src/deidentify/faces/defacer.ts';
import { framesOf } from '../../src/deidentify/faces/pixels.ts';
import { readObject } from '../../src/dicom/part10.ts';
import { Refusal } from '../../src/dicom/refusal.ts';
import { newUid } from '../../src/dicom/uid.ts';
import { enhancedHead, type EnhancedObject, type EnhancedVolume } from '../phantom/enhanced-head.ts';
import { headObjects, scanHead, type Scan, type ScannedHead } from '../phantom/head.ts';

const TOOLS = {
  decode: () => Promise.reject(new Error('nothing is compressed here')),
  encode: () => Promise.reject(new Error('nothing is compressed here')),
  spoolFolder: tmpdir(),
};
const MR: Scan = { contrast: 'T1', pixelMm: 4, sliceMm: 4 };
const CT: Scan = { contrast: 'CT', pixelMm: 4, sliceMm: 4 };
const scanned = new Map<string, ScannedHead>();

function head(scan: Scan): ScannedHead {
  const key = JSON.stringify(scan);
  const made = scanned.get(key) ?? scanHead(scan);
  scanned.set(key, made);
  return made;
}

async function sourceOf(bytes: Buffer): Promise<FaceSource> {
  return faceSource((await readObject(bytes)).head, () => readObject(bytes));
}

function enhanced(volumes: readonly EnhancedVolume[], facts: EnhancedObject = {}): Promise<FaceSource> {
  return sourceOf(enhancedHead(volumes, facts).bytes);
}

/** Of each object its frames, little endian. */
async function defaced(sources: readonly FaceSource[]): Promise<Buffer[][]> {
  const { plan } = await planSeries(sources, TOOLS);
  const follower = await followPlan(plan, TOOLS);
  const objects: Buffer[][] = [];
  for (const source of sources) {
    const frames: Buffer[] = [];
    for await (const { bytes } of framesOf((await follower.deface(source)).object, TOOLS)) frames.push(bytes);
    objects.push(frames);
  }
  await follower.end();
  return objects;
}

async function refusal(sources: readonly FaceSource[]): Promise<string> {
  try {
    await planSeries(sources, TOOLS);
    return 'planned';
  } catch (error) {
    assert.ok(error instanceof Refusal && error.reason === 'Quarantined', String(error));
    return error.message;
  }
}

/** Voxels that are other than they were, as a bit each. */
function changedIn(before: Buffer, after: Buffer): Uint8Array {
  return Uint8Array.from({ length: before.length / 2 }, (_, at) =>
    Number(before.readUInt16LE(2 * at) !== after.readUInt16LE(2 * at)),
  );
}

/** Part of the voxels that changed in one of the two alone, of those that changed in both. */
function differing(a: Uint8Array, b: Uint8Array): number {
  let [one, both] = [0, 0];
  for (const [at, changed] of a.entries()) {
    if (changed === 1 && b[at] === 1) both++;
    else if (changed !== b[at]) one++;
  }
  return one / Math.max(1, both);
}

/** Uniform over all values, as phases are in air. */
function phases(of: ScannedHead): Buffer[] {
  let state = 7;
  return of.slices.map(({ pixels }) => {
    const phase = Buffer.alloc(pixels.length);
    for (let at = 0; at < pixels.length; at += 2) {
      state = (Math.imul(state, 1664525) + 1013904223) >>> 0;
      const isBody = pixels.readUInt16LE(at) > 100;
      phase.writeUInt16LE(isBody ? 2048 + (state >>> 24) : state >>> 20, at);
    }
    return phase;
  });
}

describe('DEID-FACE-ENHANCED: a face is taken out of', () => {
  for (const [name, scan] of [
    ['an enhanced CT', CT],
    ['an enhanced MR', MR],
  ] as const)
    it(`${name} as out of a classic series of the same images, bit for bit`, async () => {
      const classic: FaceSource[] = [];
      for (const { bytes } of headObjects(head(scan))) classic.push(await sourceOf(bytes));
      const images = (await defaced(classic)).flat();
      const object = enhancedHead([{ head: head(scan) }]);
      const [frames = []] = await defaced([await sourceOf(object.bytes)]);
      assert.deepEqual(frames, images);
      const same = frames.filter((frame, index) => frame.equals(object.frames[index] ?? Buffer.alloc(0)));
      // In an MR its ghost is taken out of the air, too.
      const [least, most] = scan === CT ? [5, frames.length - 20] : [0, 0];
      assert.ok(same.length >= least && same.length <= most, `${same.length} of ${frames.length} as they were`);
      const [turned = []] = await defaced([await enhanced([{ head: head(scan) }], { syntax: 'explicit-be' })]);
      assert.deepEqual(turned, images);
    });

  it('every time point and the phase images of one enhanced MR, at the same places', async () => {
    const volumes: EnhancedVolume[] = [1, 2].flatMap((time): EnhancedVolume[] => {
      const magnitude = head({ ...MR, seed: time });
      return [
        { head: magnitude, time, component: 'MAGNITUDE' },
        { head: magnitude, time, component: 'PHASE', pixels: phases(magnitude) },
      ];
    });
    for (const placeByPlace of [false, true]) {
      const object = enhancedHead(volumes, { placeByPlace });
      const [frames = []] = await defaced([await sourceOf(object.bytes)]);
      assert.equal(frames.length, object.frames.length);
      const slices = volumes[0]?.head.slices.length ?? 0;
      const at = (volume: number, slice: number): number =>
        placeByPlace ? slice * volumes.length + volume : volume * slices + slice;
      let touched = 0;
      for (let slice = 0; slice < slices; slice++) {
        const [first, ...others] = volumes.map((_, volume) =>
          changedIn(object.frames[at(volume, slice)] ?? Buffer.alloc(0), frames[at(volume, slice)] ?? Buffer.alloc(0)),
        );
        assert.ok(first !== undefined);
        touched += first.reduce((sum, one) => sum + one, 0);
        // A voxel may happen to have the value that takes its place.
        for (const other of others)
          assert.ok(differing(first, other) < 0.15, `slice ${slice}: ${differing(first, other)}`);
      }
      assert.ok(touched > 10_000, `${touched}`);
    }
  });

  it('a classic series of two time points, of which the second was broken off', async () => {
    const time = (value: string) => ({ tag: 0x00200100, vr: 'IS', value }) as const;
    const ids = { seriesInstanceUID: newUid(), studyInstanceUID: newUid() };
    const [one, two] = [head(MR), head({ ...MR, seed: 2 })];
    const frame = newUid();
    const objects = [
      ...headObjects(one, { ...ids, frameOfReferenceUID: frame, more: [time('1')] }),
      ...headObjects(two, { ...ids, frameOfReferenceUID: frame, more: [time('2')] }).slice(0, 40),
    ];
    const sources: FaceSource[] = [];
    for (const { bytes } of objects) sources.push(await sourceOf(bytes));
    const images = (await defaced(sources)).flat();
    for (let slice = 0; slice < 40; slice++) {
      const [a, b] = [one.slices[slice], two.slices[slice]].map(
        (source, index) =>
          source && changedIn(source.pixels, images[index * one.slices.length + slice] ?? Buffer.alloc(0)),
      );
      assert.ok(a !== undefined && b !== undefined && differing(a, b) < 0.15);
    }
  });

  it('time points that lie in other places, each by its own plan', async () => {
    const other = head({ ...CT, pixelMm: 3, sliceMm: 5 });
    const frameOfReferenceUID = newUid();
    const sources = [
      await enhanced([{ head: head(CT), time: 1 }], { frameOfReferenceUID }),
      await enhanced([{ head: other, time: 2 }], { frameOfReferenceUID }),
    ];
    const { plan, figures } = await planSeries(sources, TOOLS);
    assert.deepEqual(
      [plan.length, figures.volumes, figures.images],
      [2, 2, head(CT).slices.length + other.slices.length],
    );
    const together = await defaced(sources);
    const alone = [...(await defaced(sources.slice(0, 1))), ...(await defaced(sources.slice(1)))];
    assert.deepEqual(together, alone);
  });
});

describe('an enhanced head stays as it is, and is refused by name, where', () => {
  const few = (of: ScannedHead, from: number, to: number): ScannedHead => ({
    ...of,
    slices: of.slices.slice(from, to),
  });
  it('there are few frames', async () =>
    assert.match(await refusal([await enhanced([{ head: few(head(CT), 30, 42) }])]), /the volume has 12 images/));
  it('one of two stacks is too small', async () => {
    const sagittal = few(head({ ...CT, direction: 'sagittal' }), 20, 25);
    const volumes = [
      { head: head(CT), stack: '1' },
      {
        head: { ...sagittal, rows: head(CT).rows, columns: head(CT).columns },
        stack: '2',
        pixels: few(head(CT), 0, 5).slices.map(({ pixels }) => pixels),
      },
    ];
    assert.match(await refusal([await enhanced(volumes)]), /^stack 2 of 2: .*the volume has 5 images/);
  });
  it('its frames are projections', async () => {
    const calculation = 'MAX_IP';
    await assert.rejects(
      enhanced([{ head: head(CT) }], { calculation }),
      /Frame Type \(0008,9007\) names a projection/,
    );
    await assert.rejects(
      enhanced([{ head: head(CT) }], { frameType: 'DERIVED\\PRIMARY\\AXIAL\\MAXIMUM' }),
      /projection/,
    );
  });
  it('a frame is missing', async () => {
    const whole = head(CT);
    const torn = { ...whole, slices: whole.slices.filter((_, slice) => slice !== 30) };
    assert.match(await refusal([await enhanced([{ head: torn }])]), /images are missing: a gap of 8\.0 mm/);
  });
  for (const [how, shape] of [
    ['to the back', { shiftMm: [0, 30, 0] }],
    ['to the front', { shiftMm: [0, -12, 0] }],
  ] as const)
    it(`the head has moved ${how} between two time points`, async () => {
      const volumes = [
        { head: head(CT), time: 1 },
        { head: head({ ...CT, shape }), time: 2 },
      ];
      assert.match(
        await refusal([await enhanced(volumes)]),
        /^time point 2 of 2: the face cannot be taken out: the face lies \d+ mm or more from where/,
      );
    });
});
