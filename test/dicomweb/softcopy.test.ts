/** Pictures under presentation states (PS3.3 A.33, PS3.4 annex N), rendered over a real socket and compared point by point. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { storeInstance } from '../../src/archive/instances.ts';
import { COLOUR_STATE, GRAYSCALE_STATE } from '../../src/codecs/softcopy-state.ts';
import { identified, objectOf, type Keywords } from '../phantom/keywords.ts';
import { openDoor, partsOf, type Door } from './door.ts';
import { readPng, type Png } from './png.ts';

const IMAGE_CLASS = '1.2.840.10008.5.1.4.1.1.7.3';
const CT_CLASS = '1.2.840.10008.5.1.4.1.1.2';
const ROWS = 24;
const COLUMNS = 32;
/** 12 bits, no two neighbours alike. */
const stored = (row: number, column: number, frame = 1): number => (row * 131 + column * 67 + frame * 500) % 4096;
const frameOf = (number: number): Buffer => {
  const bytes = Buffer.alloc(ROWS * COLUMNS * 2);
  for (let at = 0; at < ROWS * COLUMNS; at++)
    bytes.writeUInt16LE(stored(Math.floor(at / COLUMNS), at % COLUMNS, number), 2 * at);
  return bytes;
};

const GREY: Keywords = {
  SamplesPerPixel: 1,
  PhotometricInterpretation: 'MONOCHROME2',
  Rows: ROWS,
  Columns: COLUMNS,
  BitsAllocated: 16,
  BitsStored: 12,
  HighBit: 11,
  PixelRepresentation: 0,
  RescaleSlope: 3,
  RescaleIntercept: -77,
  WindowCenter: 5,
  WindowWidth: 10,
};

let door: Door;
let states = 0;
before(async () => {
  door = await openDoor();
  const store = (object: ReturnType<typeof objectOf>): Promise<unknown> => storeInstance(door.gateway.archive, object);
  await store(objectOf({ ...identified(CT_CLASS, 'CT', [1, 1, 1]), ...GREY, PixelData: frameOf(1) }));
  await store(
    objectOf({
      ...identified(IMAGE_CLASS, 'OT', [1, 2, 1]),
      ...GREY,
      NumberOfFrames: 3,
      PixelData: Buffer.concat([frameOf(1), frameOf(2), frameOf(3)]),
    }),
  );
  await store(
    objectOf({
      ...identified(CT_CLASS, 'CT', [1, 3, 1]),
      ...GREY,
      SamplesPerPixel: 3,
      PhotometricInterpretation: 'RGB',
      PlanarConfiguration: 0,
      BitsAllocated: 8,
      BitsStored: 8,
      HighBit: 7,
      PixelData: Buffer.from(Array.from({ length: ROWS * COLUMNS * 3 }, (_, at) => (at * 7) % 256)),
    }),
  );
});
after(() => door.close());

const CT = { ReferencedSOPClassUID: CT_CLASS, ReferencedSOPInstanceUID: '2.25.1.1.1' };
const CINE = { ReferencedSOPClassUID: IMAGE_CLASS, ReferencedSOPInstanceUID: '2.25.1.2.1' };

/** Stores a state for the image and tells where it is rendered. */
async function state(
  attributes: Keywords,
  { image = CT as Keywords, series = 1, sopClassUID = GRAYSCALE_STATE } = {},
): Promise<string> {
  const number = ++states;
  await storeInstance(
    door.gateway.archive,
    objectOf({
      ...identified(sopClassUID, 'PR', [1, 9, number]),
      ReferencedSeriesSequence: [{ SeriesInstanceUID: `2.25.1.${series}`, ReferencedImageSequence: [image] }],
      PresentationLUTShape: 'IDENTITY',
      ...attributes,
    }),
  );
  return `/studies/2.25.1/series/2.25.1.9/instances/2.25.1.9.${number}/rendered`;
}

const WINDOW = { SoftcopyVOILUTSequence: [{ WindowCenter: 2000, WindowWidth: 3000 }] };
const AREA = (keywords: Keywords = {}): Keywords => ({
  DisplayedAreaSelectionSequence: [
    {
      DisplayedAreaTopLeftHandCorner: [1, 1],
      DisplayedAreaBottomRightHandCorner: [COLUMNS, ROWS],
      PresentationSizeMode: 'SCALE TO FIT',
      PresentationPixelAspectRatio: [1, 1],
      ...keywords,
    },
  ],
});
const BASE = { ...WINDOW, ...AREA() };
const grey = (value: number): number => {
  const part = (value - (2000 - 0.5)) / (3000 - 1) + 0.5;
  return Math.round(255 * Math.min(1, Math.max(0, part)));
};

const get = (path: string, accept = 'image/png'): Promise<Response> => door.get(path, accept);
async function png(path: string): Promise<Png> {
  const response = await get(path);
  assert.equal(response.status, 200, await response.clone().text());
  return readPng(Buffer.from(await response.arrayBuffer()));
}

function assertPoints(
  { width, height, samples }: Png,
  size: readonly [number, number],
  expected: (row: number, column: number) => number,
): void {
  assert.deepEqual([width, height], size);
  const wanted = Buffer.from(
    Array.from({ length: width * height }, (_, at) => expected(Math.floor(at / width), at % width)),
  );
  const channels = samples.length / wanted.length;
  for (let at = 0; at < wanted.length; at++)
    assert.equal(samples[at * channels], wanted[at], `row ${Math.floor(at / width)}, column ${at % width}`);
}

test("GSPS-1: the state alone says how grey: its window, its modality transformation, its shape; the image's are passed over", async () => {
  assertPoints(await png(await state(BASE)), [COLUMNS, ROWS], (row, column) => grey(stored(row, column)));
  assertPoints(
    await png(await state({ ...BASE, PresentationLUTShape: 'INVERSE' })),
    [COLUMNS, ROWS],
    (row, column) => 255 - grey(stored(row, column)),
  );
  assertPoints(
    await png(await state({ ...BASE, RescaleSlope: 2, RescaleIntercept: -100 })),
    [COLUMNS, ROWS],
    (row, column) => grey(stored(row, column) * 2 - 100),
  );
  // Without a window every stored value there can be has its grey.
  assertPoints(await png(await state(AREA())), [COLUMNS, ROWS], (row, column) =>
    Math.round((255 * stored(row, column)) / 4095),
  );
});

test('GSPS-2: VOI and presentation tables', async () => {
  const entries = Buffer.alloc(512);
  for (let at = 0; at < 256; at++) entries.writeUInt16LE(Math.round(65_535 * (at / 255) ** 2), 2 * at);
  const table = { LUTDescriptor: [256, 1000, 16], '00283006 OW': entries };
  const square = (index: number): number => entries.readUInt16LE(2 * Math.min(255, Math.max(0, index))) / 65_535;
  assertPoints(
    await png(await state({ ...AREA(), SoftcopyVOILUTSequence: [{ VOILUTSequence: [table] }] })),
    [COLUMNS, ROWS],
    (row, column) => Math.round(255 * square(stored(row, column) - 1000)),
  );
  const shaped = {
    ...BASE,
    PresentationLUTShape: undefined,
    PresentationLUTSequence: [{ ...table, LUTDescriptor: [256, 0, 16] }],
  };
  assertPoints(await png(await state(shaped)), [COLUMNS, ROWS], (row, column) => {
    const part = Math.min(1, Math.max(0, (stored(row, column) - 1999.5) / 2999 + 0.5));
    return Math.round(255 * square(Math.round(part * 255)));
  });
});

test('GSPS-3: rotated clockwise, then flipped', async () => {
  const from: Record<number, (row: number, column: number) => [number, number]> = {
    0: (row, column) => [row, column],
    90: (row, column) => [ROWS - 1 - column, row],
    180: (row, column) => [ROWS - 1 - row, COLUMNS - 1 - column],
    270: (row, column) => [column, COLUMNS - 1 - row],
  };
  for (const rotation of [0, 90, 180, 270])
    for (const flip of ['N', 'Y']) {
      const path = await state({ ...BASE, ImageRotation: rotation, ImageHorizontalFlip: flip });
      const size = rotation % 180 === 0 ? ([COLUMNS, ROWS] as const) : ([ROWS, COLUMNS] as const);
      assertPoints(await png(path), size, (row, column) => {
        const [r, c] = from[rotation]?.(row, flip === 'Y' ? size[0] - 1 - column : column) ?? [0, 0];
        return grey(stored(r, c));
      });
    }
});

test('PS3.18-8.3.5.1.4-state: a presentation state takes no window, and of a viewport its size alone', async () => {
  const path = await state(BASE);
  for (const query of ['viewport=8,8,0,0,4,4', 'viewport=8,8,1,0,,', 'viewport=8,8,1', 'window=1,2,linear'])
    assert.equal((await get(`${path}?${query}`)).status, 400, query);
  assert.equal((await get(`${path}?viewport=8,8`)).status, 200);
});

test('GSPS-4: the displayed area cuts, reaches outside, magnifies and fits a viewport; its corners are those of the turned picture', async () => {
  const area = (keywords: Keywords): Keywords => ({ ...WINDOW, ...AREA(keywords) });
  const cut = { DisplayedAreaTopLeftHandCorner: [5, 3], DisplayedAreaBottomRightHandCorner: [14, 8] };
  assertPoints(await png(await state(area(cut))), [10, 6], (row, column) => grey(stored(row + 2, column + 4)));
  const outside = { DisplayedAreaTopLeftHandCorner: [-1, 0], DisplayedAreaBottomRightHandCorner: [4, 4] };
  assertPoints(await png(await state(area(outside))), [6, 5], (row, column) =>
    row < 1 || column < 2 ? 0 : grey(stored(row - 1, column - 2)),
  );
  const turned = { DisplayedAreaTopLeftHandCorner: [14, 3], DisplayedAreaBottomRightHandCorner: [5, 8] };
  assertPoints(await png(await state({ ...area(turned), ImageHorizontalFlip: 'Y' })), [10, 6], (row, column) =>
    grey(stored(row + 2, 13 - column)),
  );
  const large = await png(
    await state(area({ PresentationSizeMode: 'MAGNIFY', PresentationPixelMagnificationRatio: 3 })),
  );
  assert.deepEqual([large.width, large.height], [96, 72]);
  const real = await png(
    await state(
      area({
        PresentationSizeMode: 'TRUE SIZE',
        PresentationPixelSpacing: [25.4 / 96, 25.4 / 48],
        PresentationPixelAspectRatio: undefined,
      }),
    ),
  );
  assert.deepEqual([real.width, real.height], [64, 24]);
  const tall = await png(await state(area({ PresentationPixelAspectRatio: [2, 1] })));
  assert.deepEqual([tall.width, tall.height], [32, 48]);
  const path = await state(BASE);
  const fitted = await png(`${path}?viewport=64,1000`);
  assert.deepEqual([fitted.width, fitted.height], [64, 48]);
  const huge = {
    DisplayedAreaTopLeftHandCorner: [-2_000_000_000, 1],
    DisplayedAreaBottomRightHandCorner: [2_000_000_000, 9],
  };
  assert.equal((await get(await state(area(huge)))).status, 406);
});

test('GSPS-5: shutters cover with their grey, each shape by itself and together', async () => {
  const rectangle = {
    ShutterShape: 'RECTANGULAR',
    ShutterLeftVerticalEdge: 5,
    ShutterRightVerticalEdge: 20,
    ShutterUpperHorizontalEdge: 3,
    ShutterLowerHorizontalEdge: 18,
    ShutterPresentationValue: 0x8080,
  };
  const inRectangle = (row: number, column: number): boolean => column >= 4 && column <= 19 && row >= 2 && row <= 17;
  assertPoints(await png(await state({ ...BASE, ...rectangle })), [COLUMNS, ROWS], (row, column) =>
    inRectangle(row, column) ? grey(stored(row, column)) : 128,
  );
  const circle = {
    ShutterShape: ['RECTANGULAR', 'CIRCULAR'],
    CenterOfCircularShutter: [10, 12],
    RadiusOfCircularShutter: 6,
  };
  assertPoints(await png(await state({ ...BASE, ...rectangle, ...circle })), [COLUMNS, ROWS], (row, column) =>
    inRectangle(row, column) && (row - 9) ** 2 + (column - 11) ** 2 <= 36 ? grey(stored(row, column)) : 128,
  );
  const polygon = {
    ShutterShape: 'POLYGONAL',
    VerticesOfThePolygonalShutter: [1, 1, 1, 11, 11, 1],
    ShutterPresentationValue: 65_535,
  };
  assertPoints(await png(await state({ ...BASE, ...polygon })), [COLUMNS, ROWS], (row, column) =>
    row + column <= 10 ? grey(stored(row, column)) : 255,
  );
});

test('GSPS-6: overlays that are activated are seen, others are not', async () => {
  const bits = Buffer.alloc(8, 0b0000_1111);
  const overlay = {
    '60000010 US': 8,
    '60000011 US': 8,
    '60000040 CS': 'G',
    '60000050 SS': [3, 2],
    '60000100 US': 1,
    '60000102 US': 0,
    '60003000 OW': bits,
  };
  const layer = {
    GraphicLayerSequence: [
      { GraphicLayer: 'A', GraphicLayerOrder: 1, GraphicLayerRecommendedDisplayGrayscaleValue: 0xc0c0 },
    ],
  };
  const active = await png(await state({ ...BASE, ...layer, ...overlay, '60001001 CS': 'A' }));
  assertPoints(active, [COLUMNS, ROWS], (row, column) =>
    row >= 2 && row < 10 && column >= 1 && column < 5 ? 192 : grey(stored(row, column)),
  );
  assertPoints(await png(await state({ ...BASE, ...overlay })), [COLUMNS, ROWS], (row, column) =>
    grey(stored(row, column)),
  );
});

test('GSPS-7: graphics and text are drawn where they belong, in the colours of their layers, turned with the image', async () => {
  const red = [35_000, 53_000, 51_000];
  const annotation = (graphic: Keywords, text: readonly Keywords[] = []): Keywords => ({
    GraphicAnnotationSequence: [
      {
        GraphicLayer: 'A',
        ReferencedImageSequence: [CT],
        GraphicObjectSequence: [graphic],
        ...(text.length === 0 ? {} : { TextObjectSequence: text }),
      },
    ],
    GraphicLayerSequence: [{ GraphicLayer: 'A', GraphicLayerOrder: 1, GraphicLayerRecommendedDisplayCIELabValue: red }],
  });
  const box = {
    GraphicAnnotationUnits: 'PIXEL',
    GraphicDimensions: 2,
    NumberOfGraphicPoints: 5,
    GraphicType: 'POLYLINE',
    GraphicFilled: 'Y',
    GraphicData: [20, 4, 28, 4, 28, 12, 20, 12, 20, 4],
  };
  const plain = await png(`${await state({ ...BASE, ...annotation(box) })}`);
  const at = ({ samples, width }: Png, row: number, column: number): number[] => [
    ...samples.subarray((row * width + column) * 3, (row * width + column) * 3 + 3),
  ];
  assert.equal(plain.samples.length, COLUMNS * ROWS * 3);
  const [r = 0, g = 0, b = 0] = at(plain, 8, 24);
  assert.ok(r > 180 && g < 90 && b < 90, `${r} ${g} ${b} is red`);
  assert.deepEqual(at(plain, 20, 4), Array(3).fill(grey(stored(20, 4))));
  const turned = await png(await state({ ...BASE, ...annotation(box), ImageRotation: 90 }));
  assert.deepEqual(at(turned, 24, ROWS - 1 - 8), at(plain, 8, 24));
  for (const [type, data] of [
    ['CIRCLE', [24, 8, 28, 8]],
    ['ELLIPSE', [20, 8, 28, 8, 24, 5, 24, 11]],
    ['INTERPOLATED', [20, 4, 28, 4, 28, 12, 20, 12, 20, 4]],
    ['POINT', [24, 8]],
  ] as const) {
    const graphic = { ...box, GraphicType: type, NumberOfGraphicPoints: data.length / 2, GraphicData: data };
    const picture = await png(`${await state({ ...BASE, ...annotation(graphic) })}?viewport=320,240`);
    const [red0 = 0, green0 = 0] = at(picture, 80, 240);
    assert.ok(red0 > 180 && green0 < 90, type);
  }
  const words = {
    UnformattedTextValue: 'Größe <b>',
    BoundingBoxAnnotationUnits: 'DISPLAY',
    BoundingBoxTopLeftHandCorner: [0.1, 0.6],
    BoundingBoxBottomRightHandCorner: [0.9, 0.9],
    BoundingBoxTextHorizontalJustification: 'CENTER',
  };
  const empty = { ...box, GraphicFilled: 'N' };
  const without = await png(`${await state({ ...BASE, ...annotation(empty) })}?viewport=640,480`);
  const written = await png(`${await state({ ...BASE, ...annotation(empty, [words]) })}?viewport=640,480`);
  const changed = Array.from({ length: 640 * 480 }, (_, index) => index).filter(
    (index) => !at(written, 0, index).every((value, channel) => value === at(without, 0, index)[channel]),
  );
  assert.ok(changed.length > 100);
  assert.ok(
    changed.every(
      (index) => index / 640 >= 0.58 * 480 && index / 640 <= 0.9 * 480 && index % 640 > 64 && index % 640 < 576,
    ),
  );
});

test('GSPS-8: what a state says of one image or frame is not put on another', async () => {
  const other = { ...CINE, ReferencedFrameNumber: 2 };
  const path = await state(
    {
      ...AREA(),
      SoftcopyVOILUTSequence: [
        { ReferencedImageSequence: [other], WindowCenter: 10, WindowWidth: 1 },
        { ReferencedImageSequence: [{ ...CINE, ReferencedFrameNumber: 3 }], WindowCenter: 2000, WindowWidth: 3000 },
      ],
    },
    { image: { ...CINE, ReferencedFrameNumber: [3, 1] }, series: 2 },
  );
  assertPoints(await png(path), [COLUMNS, ROWS], (row, column) => grey(stored(row, column, 3)));
  const parts = await partsOf(await get(path, 'multipart/related; type="image/png"'));
  assert.equal(parts.length, 2);
  assertPoints(readPng(parts[1]?.body ?? Buffer.alloc(0)), [COLUMNS, ROWS], (row, column) =>
    Math.round((255 * stored(row, column, 1)) / 4095),
  );
  const gif = await get(path, 'image/gif');
  assert.ok(Buffer.from(await gif.arrayBuffer()).includes('NETSCAPE2.0'));
});

test('GSPS-9: a colour presentation state turns and covers a colour image; other kinds, masks and absent images are 406', async () => {
  const colour = await state(
    { ...AREA(), PresentationLUTShape: undefined, ImageHorizontalFlip: 'Y' },
    {
      image: { ...CT, ReferencedSOPInstanceUID: '2.25.1.3.1' },
      series: 3,
      sopClassUID: COLOUR_STATE,
    },
  );
  assertPoints(
    await png(colour),
    [COLUMNS, ROWS],
    (row, column) => ((row * COLUMNS + COLUMNS - 1 - column) * 21) % 256,
  );
  assert.equal((await get(await state(BASE, { sopClassUID: '1.2.840.10008.5.1.4.1.1.11.3' }))).status, 406);
  assert.equal(
    (await get(await state({ ...BASE, MaskSubtractionSequence: [{ MaskOperation: 'AVG_SUB' }] }))).status,
    406,
  );
  const absent = await get(await state(BASE, { image: { ...CT, ReferencedSOPInstanceUID: '2.25.77' } }));
  assert.equal(absent.status, 406);
  assert.match(await absent.text(), /none of the images/);
});
