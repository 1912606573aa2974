/** Presentation states against an implementation of the standard that shares no line with ours: pydicom and numpy. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { mkdtempSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test } from 'node:test';
import { fileURLToPath } from 'node:url';
import { storeInstance } from '../../src/archive/instances.ts';
import { GRAYSCALE_STATE } from '../../src/codecs/softcopy-state.ts';
import type { Deidentified } from '../../src/dicom/object.ts';
import { NO_PYTHON, PYTHON } from '../derived/tools.ts';
import { identified, objectOf, type Keywords } from '../phantom/keywords.ts';
import { openDoor } from './door.ts';

const REFERENCE = fileURLToPath(new URL('./softcopy_reference.py', import.meta.url));
const CT_CLASS = '1.2.840.10008.5.1.4.1.1.2';
const [ROWS, COLUMNS] = [47, 61];
/** Signed, 12 bits, waves and noise. */
const PIXELS = Buffer.alloc(ROWS * COLUMNS * 2);
for (let at = 0; at < ROWS * COLUMNS; at++)
  PIXELS.writeInt16LE(Math.round(900 * Math.sin(at / 37)) + ((at * 7919) % 300), 2 * at);
const IMAGE: Keywords = {
  ...identified(CT_CLASS, 'CT', [1, 1, 1]),
  SamplesPerPixel: 1,
  PhotometricInterpretation: 'MONOCHROME2',
  Rows: ROWS,
  Columns: COLUMNS,
  BitsAllocated: 16,
  BitsStored: 12,
  HighBit: 11,
  PixelRepresentation: 1,
  WindowCenter: 1,
  WindowWidth: 2,
  PixelData: PIXELS,
};

test(
  'GSPS-10: window, shutters, area, rotation and flip together are what numpy makes of them',
  { skip: NO_PYTHON },
  async () => {
    const door = await openDoor();
    const folder = mkdtempSync(join(tmpdir(), 'isthmus-softcopy-'));
    try {
      const image = await store(IMAGE, join(folder, 'image.dcm'));
      await storeInstance(door.gateway.archive, image);
      let number = 0;
      const pairs: string[] = [];
      for (const rotation of [0, 90, 180, 270])
        for (const flip of ['N', 'Y'])
          for (const shape of ['IDENTITY', 'INVERSE']) {
            number++;
            const file = join(folder, `${number}.dcm`);
            await storeInstance(door.gateway.archive, await store(stateOf(number, { rotation, flip, shape }), file));
            const url = `${door.url}/studies/2.25.1/series/2.25.1.9/instances/2.25.1.9.${number}/rendered`;
            const response = await fetch(url, { headers: { accept: 'image/png' } });
            assert.equal(response.status, 200);
            const png = join(folder, `${number}.png`);
            writeFileSync(png, Buffer.from(await response.arrayBuffer()));
            pairs.push(file, png);
          }
      const judged = spawnSync(PYTHON, [REFERENCE, join(folder, 'image.dcm'), ...pairs], { encoding: 'utf8' });
      assert.deepEqual(judged.stdout.trim().split('\n'), Array(16).fill(`0 ${50 * 33}`), judged.stderr);
    } finally {
      rmSync(folder, { recursive: true, force: true });
      await door.close();
    }
  },
);

function stateOf(
  number: number,
  { rotation, flip, shape }: { rotation: number; flip: string; shape: string },
): Keywords {
  return {
    ...identified(GRAYSCALE_STATE, 'PR', [1, 9, number]),
    ReferencedSeriesSequence: [
      {
        SeriesInstanceUID: '2.25.1.1',
        ReferencedImageSequence: [{ ReferencedSOPClassUID: CT_CLASS, ReferencedSOPInstanceUID: '2.25.1.1.1' }],
      },
    ],
    RescaleSlope: 1.5,
    RescaleIntercept: -30.25,
    SoftcopyVOILUTSequence: [{ WindowCenter: 100, WindowWidth: 1700 + number }],
    PresentationLUTShape: shape,
    ImageRotation: rotation,
    ImageHorizontalFlip: flip,
    ShutterShape: ['RECTANGULAR', 'CIRCULAR'],
    ShutterLeftVerticalEdge: 9,
    ShutterRightVerticalEdge: 50,
    ShutterUpperHorizontalEdge: 4,
    ShutterLowerHorizontalEdge: 40,
    CenterOfCircularShutter: [20, 30],
    RadiusOfCircularShutter: 19,
    ShutterPresentationValue: 0x6000,
    DisplayedAreaSelectionSequence: [
      {
        DisplayedAreaTopLeftHandCorner: [6, 5],
        DisplayedAreaBottomRightHandCorner: [55, 37],
        PresentationSizeMode: 'SCALE TO FIT',
        PresentationPixelAspectRatio: [1, 1],
      },
    ],
  };
}

/** The object, written to a file too. */
async function store(attributes: Keywords, path: string): Promise<Deidentified> {
  const { head, body } = objectOf(attributes);
  const chunks: Buffer[] = [head];
  for await (const chunk of body) chunks.push(chunk);
  writeFileSync(path, Buffer.concat(chunks));
  assert.ok(readFileSync(path).length > 500);
  return objectOf(attributes);
}
