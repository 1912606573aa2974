/** Rendered resources and thumbnails over a real socket (PS3.18 8.3.5, 10.4.1.1.3, 10.4.1.1.4). */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { storeInstance } from '../../src/archive/instances.ts';
import { makeProfile } from '../../src/codecs/icc-profile.ts';
import { identified, objectOf } from '../phantom/keywords.ts';
import { fill, openDoor, partsOf, type Door } from './door.ts';
import { readPng, type Png } from './png.ts';

const CT = '/studies/2.25.1/series/2.25.1.1/instances/2.25.1.1.1';
const CINE = '/studies/2.25.1/series/2.25.1.2/instances/2.25.1.2.1';
const INVERTED = '/studies/2.25.2/series/2.25.2.1/instances/2.25.2.1.1';
const COLOUR = '/studies/2.25.3/series/2.25.3.1/instances/2.25.3.1.1';
const PLAIN = '/studies/2.25.4/series/2.25.4.1/instances/2.25.4.1.1';
const BROKEN = '/studies/2.25.5/series/2.25.5.1/instances/2.25.5.1.1';

/** Stored 0 to 3 in four columns; real values from -1024 on. */
const STEPS = Buffer.alloc(32);
for (let at = 0; at < 16; at++) STEPS.writeUInt16LE((at % 4) * 1000, 2 * at);

let door: Door;
before(async () => {
  door = await openDoor();
  const ids = (study: number, series = 1): object => ({
    studyInstanceUID: `2.25.${study}`,
    seriesInstanceUID: `2.25.${study}.${series}`,
    sopInstanceUID: `2.25.${study}.${series}.1`,
    seriesNumber: series,
  });
  await fill(
    door,
    { ...ids(1), pixels: STEPS },
    { ...ids(1, 2), numberOfFrames: 3, pixels: Buffer.concat([STEPS, STEPS, STEPS]) },
    { ...ids(2), photometricInterpretation: 'MONOCHROME1', pixels: STEPS },
    {
      ...ids(3),
      modality: 'US',
      bitsAllocated: 8,
      samplesPerPixel: 3,
      photometricInterpretation: 'RGB',
      pixels: Buffer.alloc(48, Buffer.from([255, 0, 0])),
    },
    { ...ids(4), modality: 'SR', pixels: null },
    { ...ids(5), transferSyntaxUID: '1.2.840.10008.1.2.4.80', fragments: [Buffer.from([0xff, 0xd8, 0xff, 0xf7])] },
  );
});
after(() => door.close());

async function png(path: string): Promise<Png> {
  const response = await door.get(path, 'image/png');
  assert.equal(response.status, 200, path);
  assert.equal(response.headers.get('content-type'), 'image/png');
  return readPng(Buffer.from(await response.arrayBuffer()));
}
const firstRow = ({ samples, width }: Png): number[] => [...samples.subarray(0, width)];

test('RENDERED-1: an image is JPEG by default, PNG and GIF where asked; other types are 406', async () => {
  for (const [accept, type, mark] of [
    [undefined, 'image/jpeg', 'ffd8ff'],
    ['image/*', 'image/jpeg', 'ffd8ff'],
    ['image/png', 'image/png', '89504e'],
    ['image/gif', 'image/gif', '474946'],
    ['image/webp, */*;q=0.1', 'image/jpeg', 'ffd8ff'],
  ] as const) {
    for (const path of [`${CT}/rendered`, `${CT}/frames/1/rendered`]) {
      const response = await door.get(path, accept);
      const body = Buffer.from(await response.arrayBuffer());
      assert.equal(response.status, 200);
      assert.equal(response.headers.get('content-type'), type);
      assert.equal(body.toString('hex', 0, 3), mark);
      assert.ok(response.headers.get('content-location')?.endsWith(`${CT}/rendered`));
    }
  }
  assert.equal((await door.get(`${CT}/rendered`, 'image/webp')).status, 406);
  assert.equal((await door.get(`${CT}/rendered`, 'application/dicom')).status, 406);
});

test('RENDERED-2: without a window the frame shows from its darkest to its brightest; MONOCHROME1 turned round', async () => {
  assert.deepEqual(firstRow(await png(`${CT}/rendered`)), [0, 85, 170, 255]);
  assert.deepEqual(firstRow(await png(`${INVERTED}/rendered`)), [255, 170, 85, 0]);
  assert.deepEqual(firstRow(await png(`${COLOUR}/rendered`)).slice(0, 3), [255, 0, 0]);
});

test('RENDERED-3: a window is put on real values by its function (PS3.3 C.11.2.1.2)', async () => {
  // Real values -1024, -24, 976, 1976.
  const grey = (value: number): number => Math.round(255 * Math.min(1, Math.max(0, value)));
  const row = async (window: string): Promise<number[]> => firstRow(await png(`${CT}/rendered?window=${window}`));
  const real = [-1024, -24, 976, 1976];
  assert.deepEqual(
    await row('0,3000,linear'),
    real.map((x) => grey((x + 0.5) / 2999 + 0.5)),
  );
  assert.deepEqual(
    await row('0,3000,linear-exact'),
    real.map((x) => grey(x / 3000 + 0.5)),
  );
  assert.deepEqual(
    await row('0,3000,sigmoid'),
    real.map((x) => grey(1 / (1 + Math.exp((-4 * x) / 3000)))),
  );
  assert.deepEqual(await row('-24,1,linear'), [0, 255, 255, 255]);
});

test('RENDERED-4: a viewport scales, cuts and flips', async () => {
  const whole = await png(`${CT}/rendered?viewport=8,8`);
  assert.deepEqual([whole.width, whole.height], [8, 8]);
  const fitted = await png(`${CT}/rendered?viewport=20,8`);
  assert.deepEqual([fitted.width, fitted.height], [8, 8]);
  const part = await png(`${CT}/rendered?viewport=2,4,2,0,2,4`);
  assert.deepEqual([part.width, part.height, ...firstRow(part)], [2, 4, 170, 255]);
  assert.deepEqual(firstRow(await png(`${CT}/rendered?viewport=4,4,0,0,-4,4`)), [255, 170, 85, 0]);
  assert.deepEqual(firstRow(await png(`${CT}/rendered?viewport=4,4,,,,`)), [0, 85, 170, 255]);
});

test('PS3.18-8.3.5.1.3-elided: values of a viewport may be left empty, and at its end be left out with their commas', async () => {
  const row = async (viewport: string): Promise<number[]> =>
    firstRow(await png(`${CT}/rendered?viewport=${viewport}`)).slice(0, 2);
  assert.deepEqual(await row('2,4,2'), [170, 255]);
  assert.deepEqual(await row('2,4,2,0'), [170, 255]);
  assert.deepEqual(await row('2,4,2,0,2'), [170, 255]);
  assert.deepEqual(await row('2,4,2,,2,'), [170, 255]);
  assert.deepEqual(await row('2,4,,,2'), [0, 85]);
});

test('RENDERED-5: bad values are 400 and not repeated', async () => {
  for (const query of [
    'viewport=0,5',
    'viewport=5',
    'viewport=5,5,1,0,2,2,0',
    'viewport=5,5,0,0,99,4',
    'viewport=99999,5',
    'viewport=a,b',
    'window=1,2',
    'window=1,2,cubic',
    'window=1,0,linear',
    'window=1,0.5,linear',
    'window=1,0,sigmoid',
    'window=x,2,linear',
    'quality=0',
    'quality=101',
    'quality=1.5',
    'quality=90&quality=80',
    'iccprofile=cmyk',
    'annotation=%3Cscript%3E',
  ]) {
    const response = await door.get(`${CT}/rendered?${query}`);
    assert.equal(response.status, 400, query);
    assert.doesNotMatch(await response.text(), /script|cubic/);
  }
  assert.equal((await door.get(`${CT}/rendered?iccprofile=yes`, 'image/gif')).status, 400);
});

test('RENDERED-6: annotations that are not known are told in a warning', async () => {
  const response = await door.get(`${CT}/rendered?annotation=patient,weather,technique,tide`);
  assert.equal(response.status, 200);
  assert.match(
    response.headers.get('warning') ?? '',
    /^299 http.*: The following annotation values are not supported: weather, tide$/,
  );
});

test('RENDERED-7: quality makes a smaller JPEG, iccprofile puts a profile in', async () => {
  const size = async (query: string): Promise<number> =>
    (await (await door.get(`${CT}/rendered?viewport=256,256&${query}`)).arrayBuffer()).byteLength;
  assert.ok((await size('quality=10')) < (await size('quality=100')));
  const described = Buffer.from(await (await door.get(`${CT}/rendered?iccprofile=srgb`)).arrayBuffer());
  assert.ok(described.includes('ICC_PROFILE'));
});

test('RENDERED-12: annotation writes the pseudonym top left and the technique into the other corners, readable on any ground', async () => {
  const size = 'viewport=400,400&window=';
  for (const ground of ['-5000,1,linear', '99999,1,linear']) {
    const bare = await png(`${CT}/rendered?${size}${ground}`);
    const changed = async (
      keywords: string,
    ): Promise<{ left: number; top: number; light: boolean; dark: boolean }[]> => {
      const { samples, width } = await png(`${CT}/rendered?${size}${ground}&annotation=${keywords}`);
      return [...samples.keys()]
        .filter((at) => samples[at] !== bare.samples[at])
        .map((at) => ({
          left: at % width,
          top: Math.floor(at / width),
          light: samples[at] === 255,
          dark: samples[at] === 0,
        }));
    };
    const patient = await changed('patient');
    assert.ok(patient.length > 100);
    assert.ok(patient.every(({ left, top }) => left < 200 && top < 60));
    const technique = await changed('technique');
    assert.ok(technique.some(({ left, top }) => left > 200 && top < 60));
    assert.ok(technique.some(({ left, top }) => left < 200 && top > 340));
    assert.ok(technique.some(({ left, top }) => left > 200 && top > 340));
    assert.ok(technique.every(({ left, top }) => left > 200 || top > 200));
    // On black the letters are seen, on white their rims.
    assert.ok(patient.every(({ light, dark }) => (ground.startsWith('-') ? dark : light)));
  }
});

test('RENDERED-13: iccprofile names the colour space the picture is in; colours are converted, and the profile is put in', async () => {
  const first = async (space: string): Promise<number[]> =>
    firstRow(await png(`${COLOUR}/rendered?iccprofile=${space}`)).slice(0, 3);
  assert.deepEqual(await first('no'), [255, 0, 0]);
  assert.deepEqual(await first('srgb'), [255, 0, 0]);
  // sRGB's red in Adobe RGB (1998) and in ROMM RGB, by their primaries.
  for (const [space, wanted] of [
    ['adobergb', [219, 0, 0]],
    ['rommrgb', [179, 70, 26]],
  ] as const) {
    const found = await first(space);
    assert.ok(
      found.every((value, channel) => Math.abs(value - (wanted[channel] ?? 0)) <= 2),
      `${space} ${found.join()}`,
    );
    for (const type of ['image/jpeg', 'image/png']) {
      const bytes = Buffer.from(await (await door.get(`${COLOUR}/rendered?iccprofile=${space}`, type)).arrayBuffer());
      assert.ok(bytes.includes(type === 'image/jpeg' ? 'ICC_PROFILE' : 'iCCP'));
    }
  }
  const none = Buffer.from(await (await door.get(`${COLOUR}/rendered?iccprofile=no`, 'image/png')).arrayBuffer());
  assert.ok(!none.includes('iCCP'));
});

test('RENDERED-14: a profile that the image brings is put in for yes, and its colours are converted for srgb', async () => {
  const profile = makeProfile('adobergb');
  const object = objectOf({
    ...identified('1.2.840.10008.5.1.4.1.1.77.1.4', 'XC', [8, 1, 1]),
    SamplesPerPixel: 3,
    PhotometricInterpretation: 'RGB',
    PlanarConfiguration: 0,
    Rows: 4,
    Columns: 4,
    BitsAllocated: 8,
    BitsStored: 8,
    HighBit: 7,
    PixelRepresentation: 0,
    ICCProfile: Buffer.concat([profile, Buffer.alloc(profile.length % 2)]),
    PixelData: Buffer.alloc(48, Buffer.from([120, 160, 120])),
  });
  await storeInstance(door.gateway.archive, object);
  const path = '/studies/2.25.8/series/2.25.8.1/instances/2.25.8.1.1/rendered';
  const first = async (query: string): Promise<number[]> => firstRow(await png(`${path}?${query}`)).slice(0, 3);
  assert.deepEqual(await first('iccprofile=no'), [120, 160, 120]);
  assert.deepEqual(await first('iccprofile=yes'), [120, 160, 120]);
  const [red = 0, green = 0, blue = 0] = await first('iccprofile=srgb');
  // Adobe RGB's green is beyond that of sRGB: less red is left.
  assert.ok(red < 105 && Math.abs(green - 160) < 4 && Math.abs(blue - 118) < 4, `${red} ${green} ${blue}`);
  const back = await first('iccprofile=adobergb');
  assert.ok(
    back.every((value, channel) => Math.abs(value - ([120, 160, 120][channel] ?? 0)) <= 2),
    back.join(),
  );
  const jpeg = Buffer.from(await (await door.get(`${path}?iccprofile=yes`)).arrayBuffer());
  assert.ok(jpeg.includes(profile));
});

test('RENDERED-15: a picture that moves keeps the times of its frames, at instance and frame level', async () => {
  const object = objectOf({
    ...identified('1.2.840.10008.5.1.4.1.1.7.2', 'OT', [9, 1, 1]),
    SamplesPerPixel: 1,
    PhotometricInterpretation: 'MONOCHROME2',
    NumberOfFrames: 3,
    Rows: 4,
    Columns: 4,
    BitsAllocated: 8,
    BitsStored: 8,
    HighBit: 7,
    PixelRepresentation: 0,
    RecommendedDisplayFrameRate: 5,
    PixelData: Buffer.from(Array.from({ length: 48 }, (_, at) => (at * 37) % 251)),
  });
  await storeInstance(door.gateway.archive, object);
  const path = '/studies/2.25.9/series/2.25.9.1/instances/2.25.9.1.1';
  const delays = async (place: string): Promise<number[]> => {
    const bytes = Buffer.from(await (await door.get(`${path}${place}/rendered`, 'image/gif')).arrayBuffer());
    // Graphic control extensions (GIF89a 23), hundredths of a second.
    const found: number[] = [];
    for (
      let at = bytes.indexOf('\x21\xf9\x04', 0, 'latin1');
      at >= 0;
      at = bytes.indexOf('\x21\xf9\x04', at + 1, 'latin1')
    )
      found.push(bytes.readUInt16LE(at + 4));
    return found;
  };
  assert.deepEqual(await delays(''), [20, 20, 20]);
  assert.deepEqual(await delays('/frames/1,3'), [20, 20]);
  assert.equal((await partsOf(await door.get(`${path}/frames/1,3/rendered`))).length, 2);
  const series = await partsOf(
    await door.get('/studies/2.25.9/series/2.25.9.1/rendered', 'multipart/related; type="image/gif"'),
  );
  assert.equal(series.length, 1);
});

test('RENDERED-8: of several frames the middle one, all as a GIF that moves, each as a part', async () => {
  const still = await door.get(`${CINE}/rendered`);
  assert.ok(still.headers.get('content-location')?.endsWith('/frames/2/rendered'));
  await still.arrayBuffer();
  const gif = Buffer.from(await (await door.get(`${CINE}/rendered`, 'image/gif')).arrayBuffer());
  assert.ok(gif.includes('NETSCAPE2.0') && gif.readUInt16LE(6) === 4 && gif.readUInt16LE(8) === 4);
  const parts = await partsOf(await door.get(`${CINE}/frames/3,1/rendered`, 'multipart/related; type="image/png"'));
  assert.deepEqual(
    parts.map(({ headers }) => headers['content-location']?.split('/').slice(-3).join('/')),
    ['frames/3/rendered', 'frames/1/rendered'],
  );
  assert.equal((await door.get(`${CINE}/frames/1,2/rendered`, 'image/png')).status, 406);
  assert.equal((await door.get(`${CINE}/frames/4/rendered`)).status, 404);
  assert.equal((await door.get(`${CINE}/frames/0/rendered`)).status, 400);
});

test('RENDERED-9: a study and a series come as parts of every image, never as one picture', async () => {
  const parts = await partsOf(await door.get('/studies/2.25.1/rendered', 'multipart/related; type="image/jpeg"'));
  assert.equal(parts.length, 4);
  assert.equal((await partsOf(await door.get('/studies/2.25.1/series/2.25.1.1/rendered'))).length, 1);
  assert.equal((await door.get('/studies/2.25.1/rendered', 'image/jpeg')).status, 406);
  assert.equal((await door.get('/studies/2.25.77/rendered')).status, 404);
});

test('RENDERED-10: what is no image and what breaks off is 406', async () => {
  for (const path of [PLAIN, BROKEN, '/studies/2.25.4', '/studies/2.25.5'])
    assert.equal((await door.get(`${path}/rendered`)).status, 406, path);
});

test('RENDERED-11: a picture is drawn once, and not sent again to who has it', async () => {
  const path = `${CT}/rendered?viewport=33,33`;
  const first = await door.get(path);
  const bytes = Buffer.from(await first.arrayBuffer());
  const drawn = door.gateway.codecs.nextJob;
  const again = await door.get(path);
  assert.deepEqual(Buffer.from(await again.arrayBuffer()), bytes);
  assert.equal(door.gateway.codecs.nextJob, drawn);
  const known = await fetch(`${door.url}${path}`, { headers: { 'if-none-match': first.headers.get('etag') ?? '' } });
  assert.equal(known.status, 304);
  const other = await door.get(`${path}&quality=5`);
  assert.notEqual(other.headers.get('etag'), first.headers.get('etag'));
});

test('THUMBNAIL-1: all four levels give one picture that fits the size asked for', async () => {
  for (const path of ['/studies/2.25.1', '/studies/2.25.1/series/2.25.1.1', CT, `${CT}/frames/1`]) {
    const response = await door.get(`${path}/thumbnail`);
    assert.equal(response.status, 200, path);
    assert.equal(response.headers.get('content-type'), 'image/jpeg');
    const { width, height } = await png(`${path}/thumbnail?viewport=16,20`);
    assert.deepEqual([width, height], [16, 16]);
  }
  assert.equal((await door.get(`${CT}/thumbnail?viewport=16,20,0,0,1,1`)).status, 400);
  assert.equal((await door.get('/studies/2.25.77/thumbnail')).status, 404);
});

test('THUMBNAIL-2: what may have letters in its pixels, breaks off or is no image is a neutral icon', async () => {
  const icon = await png(`${PLAIN}/thumbnail`);
  assert.deepEqual([icon.width, icon.height], [128, 128]);
  for (const path of [COLOUR, BROKEN, '/studies/2.25.3', '/studies/2.25.4']) {
    const { samples } = await png(`${path}/thumbnail`);
    assert.ok(samples.equals(icon.samples), path);
  }
  assert.ok(!(await png(`${CT}/thumbnail`)).samples.equals(icon.samples));
});
