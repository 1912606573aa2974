/** Query parameters of rendered resources (PS3.18 8.3.5.1), a test for each sentence, over a real socket. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { fill, openDoor, type Door } from './door.ts';
import { readPng, type Png } from './png.ts';

const STUDY = '/studies/2.25.1';
const SERIES = `${STUDY}/series/2.25.1.1`;
const INSTANCE = `${SERIES}/instances/2.25.1.1.1`;
const COLOUR = `${STUDY}/series/2.25.1.2/instances/2.25.1.2.1`;
const COLUMNS = 8;
const ROWS = 4;
/** Brighter from the left to the right, and a little from above to below. */
const PIXELS = Buffer.alloc(COLUMNS * ROWS * 2);
for (let at = 0; at < COLUMNS * ROWS; at++)
  PIXELS.writeUInt16LE((at % COLUMNS) * 100 + Math.floor(at / COLUMNS), at * 2);

let door: Door;
before(async () => {
  door = await openDoor();
  const ids = (series: number): object => ({
    studyInstanceUID: '2.25.1',
    seriesInstanceUID: `2.25.1.${series}`,
    sopInstanceUID: `2.25.1.${series}.1`,
    seriesNumber: series,
    rows: ROWS,
    columns: COLUMNS,
    patientName: 'Pseudonym^Ada',
  });
  await fill(
    door,
    { ...ids(1), pixels: PIXELS },
    {
      ...ids(2),
      bitsAllocated: 8,
      samplesPerPixel: 3,
      photometricInterpretation: 'RGB',
      pixels: Buffer.alloc(COLUMNS * ROWS * 3, Buffer.from([200, 10, 60])),
    },
  );
});
after(() => door.close());

const get = (path: string, accept = 'image/png'): Promise<Response> => door.get(path, accept);
const rendered = async (query: string, path = INSTANCE): Promise<Png> => {
  const response = await get(`${path}/rendered?${query}`);
  assert.equal(response.status, 200, query);
  return readPng(Buffer.from(await response.arrayBuffer()));
};
const sizeOf = async (query: string): Promise<number[]> => {
  const { width, height } = await rendered(query);
  return [width, height];
};
const firstRow = async (query: string): Promise<number[]> => {
  const { samples, width } = await rendered(query);
  return [...samples.subarray(0, width)];
};
const refused = async (queries: readonly string[]): Promise<void> => {
  for (const query of queries) {
    const response = await get(`${INSTANCE}/rendered?${query}`);
    assert.equal(response.status, 400, query);
    assert.equal(response.headers.get('content-type'), 'application/json');
    await response.arrayBuffer();
  }
};
const bytesOf = async (path: string, accept?: string): Promise<Buffer> =>
  Buffer.from(await (await get(path, accept)).arrayBuffer());

test('PS3.18-8.3.5-everywhere: study, series, instance and frames take every rendering parameter, and refuse its bad values', async () => {
  for (const [path, accept] of [
    [STUDY, 'multipart/related; type="image/png"'],
    [SERIES, 'multipart/related; type="image/png"'],
    [INSTANCE, 'image/png'],
    [`${INSTANCE}/frames/1`, 'image/png'],
  ] as const) {
    const plain = await bytesOf(`${path}/rendered`, accept);
    for (const [good, bad] of [
      ['annotation=patient&viewport=200,100', 'annotation=%3C'],
      ['viewport=3,3', 'viewport=0,0'],
      ['window=100,50,linear', 'window=100'],
      ['iccprofile=yes', 'iccprofile=none'],
      ['quality=5', 'quality=0'],
    ] as const) {
      const response = await get(`${path}/rendered?${good}`, accept);
      assert.equal(response.status, 200, `${path} ${good}`);
      const shaped = Buffer.from(await response.arrayBuffer());
      if (!good.startsWith('quality')) assert.ok(!shaped.equals(plain), `${path} ${good}`);
      assert.equal((await get(`${path}/rendered?${bad}`, accept)).status, 400, `${path} ${bad}`);
    }
  }
});

test('PS3.18-8.3.5.1.1-none: without the parameter nothing is written into the picture', async () => {
  const size = 'viewport=400,200';
  assert.ok(!(await rendered(size)).samples.equals((await rendered(`${size}&annotation=patient`)).samples));
  // Letters are black and white; the picture itself has eight columns of grey.
  const corner = async (query: string): Promise<number> => {
    const { samples, width } = await rendered(query);
    const greys = Array.from({ length: 40 }, (_, row) => samples.subarray(row * width, row * width + 40));
    return new Set(greys.flatMap((line) => [...line])).size;
  };
  assert.ok((await corner(`${size}&annotation=patient`)) > (await corner(size)));
});

test('PS3.18-8.3.5.1.1-patient: patient and technique write each something of their own', async () => {
  const size = 'viewport=400,200';
  const pictures = await Promise.all(
    ['', '&annotation=patient', '&annotation=technique', '&annotation=patient,technique'].map((one) =>
      rendered(size + one),
    ),
  );
  assert.equal(new Set(pictures.map(({ samples }) => samples.toString('latin1'))).size, 4);
});

test('PS3.18-8.3.5.1.1-keywords: what is no keyword, and no value at all, is 400', async () => {
  await refused(['annotation=', 'annotation=patient,', 'annotation=,patient', 'annotation=1st', 'annotation=a%20b']);
});

test('PS3.18-8.3.5.1.1-unsupported: a keyword that is not known is passed over, and a Warning names it', async () => {
  const response = await get(`${INSTANCE}/rendered?viewport=400,200&annotation=patient,weather,tide`);
  const warning = `299 ${door.url}: The following annotation values are not supported: weather, tide`;
  assert.equal(response.headers.get('warning'), warning);
  const plain = await bytesOf(`${INSTANCE}/rendered?viewport=400,200&annotation=patient`);
  assert.deepEqual(Buffer.from(await response.arrayBuffer()), plain);
});

test('PS3.18-8.3.5.1.2-range: a quality that is no whole number from 1 to 100 is 400', async () => {
  await refused(['quality=', 'quality=0', 'quality=101', 'quality=-1', 'quality=1.5', 'quality=high', 'quality=1e1']);
  for (const quality of [1, 100]) assert.equal((await get(`${INSTANCE}/rendered?quality=${quality}`)).status, 200);
});

test('PS3.18-8.3.5.1.2-meaning: a lower quality is a shorter JPEG, and says nothing of a PNG', async () => {
  const sizes = [];
  for (const quality of [10, 50, 95])
    sizes.push((await bytesOf(`${INSTANCE}/rendered?viewport=256,256&quality=${quality}`, 'image/jpeg')).length);
  assert.deepEqual(
    sizes,
    sizes.toSorted((a, b) => a - b),
  );
  const [low, high] = [await rendered('quality=10'), await rendered('quality=95')];
  assert.ok(low.samples.equals(high.samples));
});

test('PS3.18-8.3.5.1.3-crop: sx, sy, sw and sh cut a region out of the source', async () => {
  const whole = await firstRow('');
  assert.deepEqual(
    await firstRow('window=350,701,linear&viewport=4,2,2,1,4,2'),
    (await firstRow('window=350,701,linear&viewport=8,3,0,1,8,3')).slice(2, 6),
  );
  assert.equal(whole.length, COLUMNS);
});

test('PS3.18-8.3.5.1.3-fit: what was cut out is made as large as fits, and keeps its shape', async () => {
  assert.deepEqual(await sizeOf('viewport=80,80'), [80, 40]);
  assert.deepEqual(await sizeOf('viewport=80,20'), [40, 20]);
  assert.deepEqual(await sizeOf('viewport=30,300,0,0,2,4'), [30, 60]);
  assert.deepEqual(await sizeOf('viewport=4,4'), [4, 2]);
});

test('PS3.18-8.3.5.1.3-flip: a negative width flips horizontally, a negative height vertically', async () => {
  const plain = await rendered('viewport=8,4');
  const mirrored = await rendered('viewport=8,4,0,0,-8,4');
  const turned = await rendered('viewport=8,4,0,0,8,-4');
  for (let row = 0; row < ROWS; row++) {
    const line = (picture: Png, at: number): number[] => [
      ...picture.samples.subarray(at * COLUMNS, (at + 1) * COLUMNS),
    ];
    assert.deepEqual(line(mirrored, row), line(plain, row).toReversed());
    assert.deepEqual(line(turned, row), line(plain, ROWS - 1 - row));
  }
});

test('PS3.18-8.3.5.1.3-default: what is left empty of the region is its default: from 0, to the edge', async () => {
  assert.deepEqual(await firstRow('viewport=4,4,,,4,4'), await firstRow('viewport=4,4,0,0,4,4'));
  assert.deepEqual(await firstRow('viewport=4,4,4'), await firstRow('viewport=4,4,4,0,4,4'));
});

test('PS3.18-8.3.5.1.3-absent: without a viewport the picture has the pixels of the image', async () => {
  assert.deepEqual(await sizeOf(''), [COLUMNS, ROWS]);
});

test('PS3.18-8.3.5.1.3-refused: a viewport that is ill-formed or that there cannot be is 400', async () => {
  await refused([
    'viewport=',
    'viewport=8',
    'viewport=8,',
    'viewport=,8',
    'viewport=0,8',
    'viewport=-8,8',
    'viewport=8.5,8',
    'viewport=a,b',
    'viewport=8,8,0,0,8,4,1',
    'viewport=8,8,9,0,1,1',
    'viewport=8,8,0,0,0,4',
    'viewport=8,8,0,0,99,4',
    'viewport=999999,8',
  ]);
});

test('PS3.18-8.3.5.1.3-thumbnail: of a thumbnail the viewport is width and height, anything more is 400', async () => {
  const { width, height } = readPng(await bytesOf(`${INSTANCE}/thumbnail?viewport=4,4`));
  assert.deepEqual([width, height], [4, 2]);
  for (const query of ['viewport=4,4,0,0,8,4', 'viewport=4,4,,,,', 'viewport=4'])
    assert.equal((await get(`${INSTANCE}/thumbnail?${query}`)).status, 400, query);
});

test('PS3.18-8.3.5.1.4-three: a window has a center, a width and a function: 400 without one of them', async () => {
  await refused([
    'window=',
    'window=1',
    'window=1,2',
    'window=,2,linear',
    'window=1,,linear',
    'window=1,2,',
    'window=1,2,linear,0',
  ]);
});

test('PS3.18-8.3.5.1.4-values: center and width are decimal numbers, the width one that the function has, the function one of three', async () => {
  await refused([
    'window=a,2,linear',
    'window=1,b,linear',
    'window=1,0,linear',
    'window=1,0.5,linear',
    'window=1,0,sigmoid',
    'window=1,-2,linear-exact',
    'window=NaN,2,linear',
    'window=1,Infinity,linear',
    'window=1,2,cubic',
    'window=1,2,LINEAR',
  ]);
  for (const good of ['window=-1e2,5.5e1,linear', 'window=.5,1.,sigmoid', 'window=1,0.5,linear-exact'])
    assert.equal((await get(`${INSTANCE}/rendered?${good}`)).status, 200, good);
});

test('PS3.18-8.3.5.1.4-applied: a window shows what is below it black, what is above it white', async () => {
  // Real values are 1024 below the stored ones.
  const row = await firstRow('window=-674,1,linear');
  assert.deepEqual(row, [0, 0, 0, 0, 255, 255, 255, 255]);
});

test('PS3.18-8.3.5.1.5-no: with no, and without the parameter, there is no profile in the picture', async () => {
  for (const query of ['', 'iccprofile=no'])
    for (const accept of ['image/jpeg', 'image/png']) {
      const bytes = await bytesOf(`${COLOUR}/rendered?${query}`, accept);
      assert.ok(!bytes.includes('ICC_PROFILE') && !bytes.includes('iCCP'), `${accept} ${query}`);
    }
});

test('PS3.18-8.3.5.1.5-yes: with any other value there is a profile in the picture, where the type can hold one', async () => {
  for (const value of ['yes', 'srgb', 'adobergb', 'rommrgb'])
    for (const [accept, mark] of [
      ['image/jpeg', 'ICC_PROFILE'],
      ['image/png', 'iCCP'],
    ] as const)
      assert.ok((await bytesOf(`${COLOUR}/rendered?iccprofile=${value}`, accept)).includes(mark), `${accept} ${value}`);
});

test('PS3.18-8.3.5.1.5-space: each colour space has other samples for the same colour', async () => {
  const colours = [];
  for (const value of ['srgb', 'adobergb', 'rommrgb'])
    colours.push((await rendered(`iccprofile=${value}`, COLOUR)).samples.subarray(0, 3).join());
  assert.equal(new Set(colours).size, 3);
});

test('PS3.18-8.3.5.1.5-type: for a type that holds no profile all but no is 400', async () => {
  for (const value of ['yes', 'srgb'])
    assert.equal((await get(`${COLOUR}/rendered?iccprofile=${value}`, 'image/gif')).status, 400, value);
  assert.equal((await get(`${COLOUR}/rendered?iccprofile=no`, 'image/gif')).status, 200);
});

test('PS3.18-8.3.5.1.5-value: a profile that is none of the five is 400', async () => {
  await refused(['iccprofile=', 'iccprofile=cmyk', 'iccprofile=YES', 'iccprofile=srgb&iccprofile=srgb']);
});
