/** Taking faces out of volumes, on heads whose every voxel is known: what is gone, what is untouched, what is refused. */
import assert from 'node:assert/strict';
import { tmpdir } from 'node:os';
import { describe, it } from 'node:test';
import { faceSource, followPlan, planSeries, type FaceSource } from '../../src/deidentify/faces/defacer.ts';
import { readObject } from '../../src/dicom/part10.ts';
import { Refusal } from '../../src/dicom/refusal.ts';
import { headObjects, scanHead, type HeadObjects, type Scan, type ScannedHead } from '../phantom/head.ts';

const NO_CODECS = {
  decode: () => Promise.reject(new Error('nothing is compressed here')),
  encode: () => Promise.reject(new Error('nothing is compressed here')),
  spoolFolder: tmpdir(),
};
const COARSE = { pixelMm: 4, sliceMm: 4 } as const;

async function sourcesOf(head: ScannedHead, facts: HeadObjects = {}): Promise<FaceSource[]> {
  const sources: FaceSource[] = [];
  for (const { bytes } of headObjects(head, facts))
    sources.push(faceSource((await readObject(bytes)).head, () => readObject(bytes)));
  return sources;
}

async function pixelsOf(body: AsyncIterable<Buffer>): Promise<Buffer> {
  const chunks: Buffer[] = [];
  for await (const chunk of body) chunks.push(chunk);
  return Buffer.concat(chunks);
}

async function defaced(sources: readonly FaceSource[]) {
  const { plan, figures } = await planSeries(sources, NO_CODECS);
  const follower = await followPlan(plan, NO_CODECS);
  const images: Buffer[] = [];
  for (const source of sources) images.push(await pixelsOf((await follower.deface(source)).object.body));
  await follower.end();
  return { plan, figures, images };
}

/** Voxels of a place of the head: how many, how many are other than they were, how many are still brighter than air. */
function compare(
  head: ScannedHead,
  images: readonly Buffer[],
  isMeant: (place: readonly [number, number, number]) => boolean,
) {
  let [voxels, changed] = [0, 0];
  for (const [k, { positionMm, pixels }] of head.slices.entries()) {
    for (let j = 0; j < head.rows; j++) {
      for (let i = 0; i < head.columns; i++) {
        const place = ([0, 1, 2] as const).map(
          (axis) => positionMm[axis] + i * head.pixelMm * head.row[axis] + j * head.pixelMm * head.column[axis],
        ) as unknown as readonly [number, number, number];
        if (!isMeant(place)) continue;
        voxels++;
        const at = 2 * (j * head.columns + i);
        if (pixels.readUInt16LE(at) !== images[k]?.readUInt16LE(at)) changed++;
      }
    }
  }
  return { voxels, changed };
}

/** Nose, lips, chin, eyelids and outer ears as the phantom has them: skin in front of and beside everything else. */
function isFeature(head: ScannedHead, place: readonly [number, number, number]): boolean {
  if (head.model.tissueAt(place) === 'air') return false;
  const [x, y, z] = head.model.toHead(place);
  const isFront = y < -88 && Math.abs(x) < 46 && z < -26 && z > -130;
  const isEar = Math.abs(x) > 80 * (head.scan.shape?.width ?? 1) && Math.abs(y - 14) < 16 && z < -14 && z > -70;
  return isFront || isEar;
}

const SCANS: Record<string, Scan> = {
  'CT, axial, on a table in a head rest': { contrast: 'CT', extras: true },
  'T1, axial, with the ghost of the head in the air': { contrast: 'T1', extras: true },
  'T2, coronal and oblique by 15 degrees': { contrast: 'T2', direction: 'coronal', oblique: 15 },
  'FLAIR, sagittal, turned by 15 and leaning by 6 degrees': {
    contrast: 'FLAIR',
    direction: 'sagittal',
    shape: { yaw: 15, roll: 6 },
  },
  'CT, chin up by 15 degrees': { contrast: 'CT', shape: { pitch: 15 } },
  'T1, chin down by 15 degrees, large nose and chin': { contrast: 'T1', shape: { pitch: -15, noseMm: 32, chinMm: 8 } },
  "CT of a child's head": { contrast: 'CT', shape: { size: 0.75, noseMm: 14 } },
  'T2, 5 mm apart, of a wide head with a thin scalp': {
    contrast: 'T2',
    pixelMm: 2,
    sliceMm: 5,
    shape: { width: 1.08, scalpMm: 4 },
  },
  'T1 whose field of view cuts the nose off': { contrast: 'T1', low: [-115, -100, -150] },
};

describe('DEID-FACE: a face is taken out of', () => {
  for (const [name, scan] of Object.entries(SCANS))
    it(name, async () => {
      const head = scanHead({ ...COARSE, ...scan });
      const { figures, images } = await defaced(await sourcesOf(head));
      const inside = compare(head, images, (place) => head.model.isInside(place) && head.model.toHead(place)[2] > -100);
      // The phantom's skull base is made of steps; what is counted is its outermost layer.
      assert.ok(
        inside.changed <= inside.voxels * 5e-4,
        `${inside.changed} of ${inside.voxels} voxels inside the skull changed`,
      );
      const deep = compare(head, images, (place) => head.model.tissueAt(place) === 'white');
      assert.deepEqual({ changed: deep.changed, any: deep.voxels > 1000 }, { changed: 0, any: true });
      const face = compare(head, images, (place) => isFeature(head, place));
      assert.ok(face.changed >= 0.98 * face.voxels, `${face.changed} of ${face.voxels} voxels of the face changed`);
      assert.ok(figures.medianMm >= 12 && figures.moved >= 0.9, JSON.stringify(figures));
      assert.ok(figures.earsLeft < 0.02 && figures.alike < 0.5, JSON.stringify(figures));
    });
});

describe('what takes the place of a face', () => {
  it('is the same noise every time, and other noise in another image', async () => {
    const head = scanHead({ ...COARSE, contrast: 'T1' });
    const [first, second] = [await defaced(await sourcesOf(head)), await defaced((await sourcesOf(head)).reverse())];
    assert.deepEqual(
      first.images.map((bytes) => bytes.toString('base64')),
      second.images.reverse().map((bytes) => bytes.toString('base64')),
    );
    assert.deepEqual(first.plan, second.plan);
    const corner = (bytes: Buffer | undefined): string => bytes?.subarray(0, 64).toString('hex') ?? '';
    assert.notEqual(corner(first.images[30]), corner(first.images[31]));
  });
  it('holds no ghost of it: air in front of the head is like the air beside it', async () => {
    const head = scanHead({ ...COARSE, contrast: 'T1', extras: true });
    const { images } = await defaced(await sourcesOf(head));
    let most = 0;
    for (const image of images)
      for (let at = 0; at < 2 * head.columns * 4; at += 2) most = Math.max(most, image.readUInt16LE(at));
    assert.ok(most < 60, `${most}`);
  });
});

async function refusal(sources: readonly FaceSource[]): Promise<string> {
  try {
    await planSeries(sources, NO_CODECS);
    return 'planned';
  } catch (error) {
    assert.ok(error instanceof Refusal && error.reason === 'Quarantined', String(error));
    return error.message;
  }
}

describe('a face stays, and the series is refused by name, where', () => {
  const whole = scanHead({ ...COARSE, contrast: 'CT' });
  it('an image is missing', async () => {
    const sources = await sourcesOf(whole);
    assert.match(await refusal(sources.filter((_, index) => index !== 30)), /images are missing: a gap of 8\.0 mm/);
  });
  it('two images lie in one place', async () => {
    const sources = await sourcesOf(whole);
    assert.match(await refusal([...sources, ...sources.slice(20, 21)]), /in the same place/);
  });
  it('there are few images', async () =>
    assert.match(await refusal((await sourcesOf(whole)).slice(40, 55)), /has 15 images/));
  it('the images are a projection or a localizer', async () => {
    await assert.rejects(sourcesOf(whole, { imageType: 'DERIVED\\SECONDARY\\PROJECTION IMAGE' }), /projection/);
    await assert.rejects(sourcesOf(whole, { imageType: 'ORIGINAL\\PRIMARY\\LOCALIZER' }), /LOCALIZER/);
  });
  it('two orientations are mixed', async () => {
    const other = scanHead({ ...COARSE, contrast: 'CT', direction: 'coronal' });
    assert.match(await refusal([...(await sourcesOf(whole)), ...(await sourcesOf(other))]), /of reference|mixed/);
  });
  it('the top of the head is not in the images', async () => {
    const head = scanHead({ ...COARSE, contrast: 'T1', high: [115, 125, 50] });
    assert.match(await refusal(await sourcesOf(head)), /top of the head/);
  });
  it('there is no head in them', async () => {
    const neck = scanHead({ ...COARSE, contrast: 'CT', high: [115, 125, -80], low: [-115, -140, -190] });
    assert.notEqual(await refusal(await sourcesOf(neck)), 'planned');
  });
  it('the skin has been taken off before', async () => {
    const head = scanHead({ ...COARSE, contrast: 'T1', noise: 0 });
    const stripped = {
      ...head,
      slices: head.slices.map((slice) => {
        const pixels = Buffer.from(slice.pixels);
        for (let at = 0; at < pixels.length / 2; at++) {
          const [i, j] = [at % head.columns, Math.floor(at / head.columns)];
          const place = ([0, 1, 2] as const).map(
            (axis) => slice.positionMm[axis] + i * 4 * head.row[axis] + j * 4 * head.column[axis],
          ) as unknown as readonly [number, number, number];
          if (!head.model.isInside(place)) pixels.writeUInt16LE(0, 2 * at);
        }
        return { ...slice, pixels };
      }),
    };
    assert.match(await refusal(await sourcesOf(stripped)), /without skin|not that of a head|not as a head/);
  });
  it('a single image comes from somewhere else', async () => {
    const sources = await sourcesOf(whole);
    const { plan } = await planSeries(sources, NO_CODECS);
    const follower = await followPlan(plan, NO_CODECS);
    const far = scanHead({ ...COARSE, contrast: 'CT', low: [-115, -140, -250], high: [115, 125, -190] });
    const [stranger] = await sourcesOf(far);
    assert.ok(stranger !== undefined);
    await assert.rejects(async () => follower.deface(stranger), /outside of the volume/);
    await follower.end();
  });
  it('the class is none of slices in shades of grey', async () => {
    const sources = sourcesOf(whole, { sopClassUID: '1.2.840.10008.5.1.4.1.1.4.3' });
    await assert.rejects(sources, /its SOP Class is none of CT and MR Image Storage, Enhanced/);
  });
});

it('an image that the zone does not touch keeps its pixels', async () => {
  const head = scanHead({ ...COARSE, contrast: 'CT' });
  const sources = await sourcesOf(head);
  const { images } = await defaced(sources);
  const top = sources.findIndex(({ image }) => (image.planes[0]?.positionMm[2] ?? 0) > 85);
  assert.ok(top > 0);
  assert.ok(images[top]?.equals(head.slices[top]?.pixels ?? Buffer.alloc(0)));
});
