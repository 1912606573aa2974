/** WADO-RS in another transfer syntax than the stored one (PS3.18 8.7.3), over a real socket. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { encodeFrame } from '../../src/codecs/frames.ts';
import { decodeFrame } from '../../src/codecs/frames.ts';
import { imageLayout } from '../../src/codecs/image.ts';
import { LOSSLESS_TARGETS } from '../../src/codecs/syntaxes.ts';
import { asciiValue, findElement, numberValue } from '../../src/dicom/data-set.ts';
import { readHead } from '../../src/dicom/part10.ts';
import { encapsulatedExtents, pixelLayout, scanFragments } from '../../src/dicom/pixel-data.ts';
import { greyLayout } from '../phantom/layout.ts';
import { fill, openDoor, partsOf, type Door, type PartRead } from './door.ts';

const EXPLICIT_LE = '1.2.840.10008.1.2.1';
const RLE = '1.2.840.10008.1.2.5';
const JPEG_BASELINE = '1.2.840.10008.1.2.4.50';
const JPEG_LS = '1.2.840.10008.1.2.4.80';
const JPEG_2000 = '1.2.840.10008.1.2.4.90';
const HTJ2K = '1.2.840.10008.1.2.4.201';
const NATIVE = '/studies/2.25.1/series/2.25.1.1/instances/2.25.1.1.1';
const PACKED = '/studies/2.25.2/series/2.25.2.1/instances/2.25.2.1.1';
const COLOUR = '/studies/2.25.3/series/2.25.3.1/instances/2.25.3.1.1';
const LOSSY = '/studies/2.25.4/series/2.25.4.1/instances/2.25.4.1.1';
const BROKEN = '/studies/2.25.5/series/2.25.5.1/instances/2.25.5.1.1';

const LAYOUT = greyLayout(20, 30);
const BYTES = { ...LAYOUT, bitsAllocated: 8, bitsStored: 8, highBit: 7 };
const RGB = { ...BYTES, samplesPerPixel: 3, photometricInterpretation: 'RGB' };
const FRAMES = [3, 5].map((step) => {
  const frame = Buffer.alloc(1200);
  for (let at = 0; at < 600; at++) frame.writeUInt16LE((at * step * 37) % 65_536, 2 * at);
  return frame;
});
const PIXELS = Buffer.concat(FRAMES);
const RGB_PIXELS = Buffer.from(Array.from({ length: 1800 }, (_, at) => (at * 5) % 256));

let door: Door;
before(async () => {
  door = await openDoor();
  const size = { rows: 20, columns: 30 };
  const ids = (n: number): object => ({
    studyInstanceUID: `2.25.${n}`,
    seriesInstanceUID: `2.25.${n}.1`,
    sopInstanceUID: `2.25.${n}.1.1`,
  });
  const fragments = await Promise.all(FRAMES.map((bytes) => encodeFrame({ bytes, layout: LAYOUT }, JPEG_LS)));
  const lossy = await encodeFrame({ bytes: RGB_PIXELS, layout: RGB }, JPEG_BASELINE);
  const colour = { bitsAllocated: 8, samplesPerPixel: 3, photometricInterpretation: 'RGB' } as const;
  await fill(
    door,
    { ...ids(1), ...size, numberOfFrames: 2, pixels: PIXELS },
    { ...ids(2), ...size, numberOfFrames: 2, transferSyntaxUID: JPEG_LS, fragments },
    { ...ids(3), ...size, ...colour, pixels: RGB_PIXELS },
    {
      ...ids(4),
      ...size,
      ...colour,
      photometricInterpretation: 'YBR_FULL_422',
      transferSyntaxUID: JPEG_BASELINE,
      fragments: [lossy],
    },
    { ...ids(5), ...size, transferSyntaxUID: JPEG_LS, fragments: [(fragments[0] ?? Buffer.alloc(0)).subarray(0, 90)] },
    { ...ids(5), ...size, sopInstanceUID: '2.25.5.1.2', pixels: FRAMES[0] ?? null, instanceNumber: 2 },
  );
});
after(() => door.close());

const dicom = (syntax: string): string => `multipart/related; type="application/dicom"; transfer-syntax=${syntax}`;

async function onlyPart(response: Response): Promise<PartRead> {
  assert.equal(response.status, 200);
  const [part, ...others] = await partsOf(response);
  assert.ok(part !== undefined && others.length === 0);
  return part;
}

/** Every frame of a Part 10 object, decoded. */
async function framesOf(bytes: Buffer): Promise<Buffer[]> {
  const { head, bodyStart } = readHead(bytes);
  const layout = imageLayout(head.dataSet);
  const body = bytes.subarray(bodyStart);
  if (head.pixelData?.lengthBytes !== undefined) return [body.subarray(0, head.pixelData.lengthBytes)];
  const scan = scanFragments();
  scan.take(body);
  const extents = encapsulatedExtents(pixelLayout(head.dataSet, head.transferSyntaxUID), scan);
  assert.ok(extents.kind === 'encapsulated');
  const frames = extents.frames.map((parts) => Buffer.concat(parts.map(({ start, end }) => body.subarray(start, end))));
  const decoded = [];
  for (const frame of frames) decoded.push((await decodeFrame(frame, layout, head.transferSyntaxUID)).bytes);
  return decoded;
}

test('TRANSCODE-1: a native object goes out in every lossless syntax and back, the same pixels and UIDs', async () => {
  for (const target of LOSSLESS_TARGETS) {
    for (const [path, pixels] of [
      [NATIVE, PIXELS],
      [COLOUR, RGB_PIXELS],
    ] as const) {
      const part = await onlyPart(await door.get(path, dicom(target)));
      assert.equal(part.headers['content-type'], `application/dicom; transfer-syntax=${target}`);
      const { head } = readHead(part.body);
      assert.equal(head.transferSyntaxUID, target);
      assert.equal(asciiValue(head.dataSet, 0x00080018), path.split('/').at(-1));
      assert.ok(Buffer.concat(await framesOf(part.body)).equals(pixels), target);
    }
  }
});

test('TRANSCODE-2: what is compressed without loss goes out native where no syntax is named', async () => {
  for (const accept of [
    'application/dicom',
    dicom(EXPLICIT_LE),
    'multipart/related; type="application/dicom"',
    '*/*',
  ]) {
    const response = await door.get(PACKED, accept);
    assert.equal(response.status, 200);
    const bytes =
      accept === 'application/dicom' ? Buffer.from(await response.arrayBuffer()) : (await onlyPart(response)).body;
    const { head, bodyStart } = readHead(bytes);
    assert.equal(head.transferSyntaxUID, EXPLICIT_LE);
    assert.ok(bytes.subarray(bodyStart).equals(PIXELS));
  }
  const stored = await onlyPart(await door.get(PACKED, dicom('*')));
  assert.equal(readHead(stored.body).head.transferSyntaxUID, JPEG_LS);
});

test('TRANSCODE-3: of several syntaxes the weightier, at equal weight the stored one; never Implicit LE nor Big Endian', async () => {
  const syntaxOf = async (accept: string): Promise<string> => {
    const response = await door.get(PACKED, accept);
    if (response.status !== 200) return String(response.status);
    return readHead((await onlyPart(response)).body).head.transferSyntaxUID;
  };
  assert.equal(await syntaxOf(`${dicom(RLE)};q=0.5, ${dicom(JPEG_2000)}`), JPEG_2000);
  assert.equal(await syntaxOf(`${dicom(RLE)}, ${dicom(JPEG_LS)}`), JPEG_LS);
  assert.equal(await syntaxOf(`${dicom('1.2.840.10008.1.2')}, ${dicom(HTJ2K)};q=0.1`), HTJ2K);
  for (const never of ['1.2.840.10008.1.2', '1.2.840.10008.1.2.2', JPEG_BASELINE])
    assert.equal(await syntaxOf(dicom(never)), '406');
});

test('TRANSCODE-4: the reversible colour transformation of JPEG 2000 is named, planes and offset tables are told', async () => {
  for (const [target, name] of [
    [JPEG_2000, 'YBR_RCT'],
    [HTJ2K, 'YBR_RCT'],
    [RLE, 'RGB'],
    [JPEG_LS, 'RGB'],
  ] as const) {
    const { body } = await onlyPart(await door.get(COLOUR, dicom(target)));
    const { dataSet } = readHead(body).head;
    assert.equal(asciiValue(dataSet, 0x00280004), name, target);
    assert.equal(numberValue(dataSet, 0x00280010), 20);
    assert.equal(findElement(dataSet, 0x7fe00001), undefined);
  }
});

test('TRANSCODE-5: what was compressed with loss goes out as it is, and labelled; its frames are decoded for who asks', async () => {
  for (const accept of [dicom(EXPLICIT_LE), 'multipart/related; type="application/dicom"']) {
    const part = await onlyPart(await door.get(LOSSY, accept));
    assert.equal(part.headers['content-type'], `application/dicom; transfer-syntax=${JPEG_BASELINE}`);
  }
  assert.equal((await door.get(LOSSY, dicom(JPEG_2000))).status, 406);
  const frame = await onlyPart(
    await door.get(`${LOSSY}/frames/1`, 'multipart/related; type="application/octet-stream"'),
  );
  assert.equal(frame.headers['content-type'], `application/octet-stream; transfer-syntax=${EXPLICIT_LE}`);
  assert.equal(frame.body.length, RGB_PIXELS.length);
});

test('TRANSCODE-6: frames in the image type of any lossless syntax, JPEG baseline only when named', async () => {
  for (const [type, syntax] of [
    ['image/jls', JPEG_LS],
    ['image/jp2', JPEG_2000],
    ['image/jphc', HTJ2K],
    ['image/dicom-rle', RLE],
    ['image/jpeg', '1.2.840.10008.1.2.4.70'],
  ] as const) {
    for (const path of [NATIVE, PACKED]) {
      const parts = await partsOf(await door.get(`${path}/frames/2,1`, `multipart/related; type="${type}"`));
      assert.deepEqual(
        parts.map(({ headers }) => headers['content-type']),
        [2, 1].map(() => `${type}; transfer-syntax=${syntax}`),
      );
      const decoded = await Promise.all(parts.map(({ body }) => decodeFrame(body, LAYOUT, syntax)));
      assert.ok(decoded.every(({ bytes }, index) => bytes.equals(FRAMES[1 - index] ?? bytes.subarray(1))));
    }
  }
  const single = await door.get(`${PACKED}/frames/1`, 'application/octet-stream');
  assert.deepEqual(Buffer.from(await single.arrayBuffer()), FRAMES[0]);
  const lossy = await door.get(`${COLOUR}/frames/1`, `image/jpeg; transfer-syntax=${JPEG_BASELINE}`);
  assert.equal(lossy.headers.get('content-type'), `image/jpeg; transfer-syntax=${JPEG_BASELINE}`);
  assert.equal((await door.get(`${NATIVE}/frames/1`, `image/jpeg; transfer-syntax=${JPEG_BASELINE}`)).status, 406);
});

test('TRANSCODE-12: compressed pixel data of one frame is a single part too where its BulkDataURI is asked so; of several it is not', async () => {
  const path = `${LOSSY}/bulkdata/7FE00010`;
  const native = await door.get(path, 'application/octet-stream');
  assert.equal(native.headers.get('content-type'), `application/octet-stream; transfer-syntax=${EXPLICIT_LE}`);
  assert.equal((await native.arrayBuffer()).byteLength, RGB_PIXELS.length);
  const asStored = await door.get(path, `image/jpeg; transfer-syntax=${JPEG_BASELINE}`);
  assert.equal(asStored.headers.get('content-type'), `image/jpeg; transfer-syntax=${JPEG_BASELINE}`);
  assert.equal((await door.get(`${PACKED}/bulkdata/7FE00010`, 'application/octet-stream')).status, 406);
});

test('TRANSCODE-7: what breaks off is 406 by itself, as it is stored among others, and as it is under *', async () => {
  const refused = await door.get(BROKEN, dicom(EXPLICIT_LE));
  assert.equal(refused.status, 406);
  assert.match(await refused.text(), /not whole.*1\.2\.840\.10008\.1\.2\.4\.80/);
  assert.equal(
    (await door.get(`${BROKEN}/frames/1`, 'multipart/related; type="application/octet-stream"')).status,
    406,
  );
  assert.equal((await door.get(BROKEN, dicom('*'))).status, 200);
  const parts = await partsOf(await door.get('/studies/2.25.5', dicom(EXPLICIT_LE)));
  assert.deepEqual(
    parts.map(({ headers }) => headers['content-type']?.split('=')[1]),
    [JPEG_LS, EXPLICIT_LE],
  );
});

test('TRANSCODE-8: entity tags tell the syntaxes apart', async () => {
  const tags = await Promise.all(
    [dicom('*'), dicom(EXPLICIT_LE), dicom(RLE)].map(async (accept) => {
      const response = await door.get(PACKED, accept);
      await response.arrayBuffer();
      return response.headers.get('etag');
    }),
  );
  assert.equal(new Set(tags).size, 3);
});

test('TRANSCODE-9: the pixels of a study, series or instance as bulk data, in whatever lossless form is asked for', async () => {
  for (const resource of ['pixeldata', 'bulkdata']) {
    for (const path of [NATIVE, PACKED]) {
      const native = await partsOf(
        await door.get(`${path}/${resource}`, 'multipart/related; type="application/octet-stream"'),
      );
      assert.ok(Buffer.concat(native.map(({ body }) => body)).equals(PIXELS), path);
      assert.ok(native.every(({ headers }) => headers['content-type']?.endsWith(`transfer-syntax=${EXPLICIT_LE}`)));
      for (const [type, syntax] of [
        ['image/jp2', JPEG_2000],
        ['image/jphc', HTJ2K],
        ['image/dicom-rle', RLE],
        ['image/jls', JPEG_LS],
      ] as const) {
        const response = await door.get(`${path}/${resource}`, `multipart/related; type="${type}"`);
        assert.equal(response.status, 200, `${path} ${type}`);
        const parts = await partsOf(response);
        assert.deepEqual(
          parts.map(({ headers }) => headers['content-type']),
          Array(2).fill(`${type}; transfer-syntax=${syntax}`),
        );
        const decoded = await Promise.all(parts.map(({ body }) => decodeFrame(body, LAYOUT, syntax)));
        assert.ok(Buffer.concat(decoded.map(({ bytes }) => bytes)).equals(PIXELS));
      }
    }
  }
  const lossy = await partsOf(
    await door.get(`${LOSSY}/pixeldata`, 'multipart/related; type="application/octet-stream"'),
  );
  assert.equal(lossy[0]?.headers['content-type'], `application/octet-stream; transfer-syntax=${JPEG_BASELINE}`);
});

test('TRANSCODE-10: retired JPEG processes, JPEG XL and video are passed on as they are stored; anything else is 406 and names that', async () => {
  const syntaxes = [
    '1.2.840.10008.1.2.4.53',
    '1.2.840.10008.1.2.4.55',
    '1.2.840.10008.1.2.4.110',
    '1.2.840.10008.1.2.4.102',
    '1.2.840.10008.1.2.4.107',
  ];
  for (const [index, transferSyntaxUID] of syntaxes.entries()) {
    const study = `2.25.7${index}`;
    const path = `/studies/${study}/series/${study}.1/instances/${study}.1.1`;
    const ids = { studyInstanceUID: study, seriesInstanceUID: `${study}.1`, sopInstanceUID: `${study}.1.1` };
    const fragments = [Buffer.from('what no codec here has a look at')];
    await fill(door, { ...ids, rows: 20, columns: 30, transferSyntaxUID, fragments });
    for (const accept of [dicom('*'), dicom(transferSyntaxUID), '*/*']) {
      const part = await onlyPart(await door.get(path, accept));
      assert.equal(part.headers['content-type'], `application/dicom; transfer-syntax=${transferSyntaxUID}`);
      assert.ok(part.body.includes(fragments[0] ?? ''));
    }
    for (const accept of [dicom(JPEG_2000), dicom(JPEG_BASELINE)]) {
      const refused = await door.get(path, accept);
      assert.equal(refused.status, 406);
      assert.ok((await refused.text()).includes(transferSyntaxUID), transferSyntaxUID);
    }
    assert.equal((await door.get(`${path}/rendered`, '*/*')).status, 406);
  }
});

test('TRANSCODE-11: a range of a frame by itself, stored or made', async () => {
  for (const path of [NATIVE, PACKED]) {
    const range = async (value: string): Promise<Response> =>
      fetch(`${door.url}${path}/frames/2`, { headers: { accept: 'application/octet-stream', range: value } });
    const middle = await range('bytes=100-199');
    assert.equal(middle.status, 206);
    assert.equal(middle.headers.get('content-range'), 'bytes 100-199/1200');
    assert.ok(Buffer.from(await middle.arrayBuffer()).equals(FRAMES[1]?.subarray(100, 200) ?? Buffer.alloc(0)));
    const last = Buffer.from(await (await range('bytes=-7')).arrayBuffer());
    assert.ok(last.equals(FRAMES[1]?.subarray(1193) ?? Buffer.alloc(0)));
    assert.equal((await range('bytes=1200-')).status, 416);
    const whole = await range('bytes=5-2');
    assert.equal(whole.headers.get('accept-ranges'), 'bytes');
    assert.equal((await whole.arrayBuffer()).byteLength, 1200);
  }
});
