/** WADO-URI (PS3.18 section 9) over a real socket. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { api } from 'dicomweb-client';
import { storeInstance } from '../../src/archive/instances.ts';
import { deleteStudy } from '../../src/archive/studies.ts';
import { encodeFrame } from '../../src/codecs/frames.ts';
import { GRAYSCALE_STATE } from '../../src/codecs/softcopy-state.ts';
import { asciiValue } from '../../src/dicom/data-set.ts';
import { readHead } from '../../src/dicom/part10.ts';
import { identified, objectOf } from '../phantom/keywords.ts';
import { greyLayout } from '../phantom/layout.ts';
import { fill, openDoor, type Door } from './door.ts';
import { readPng } from './png.ts';

const EXPLICIT_LE = '1.2.840.10008.1.2.1';
const JPEG_LS = '1.2.840.10008.1.2.4.80';
const PIXELS = Buffer.alloc(8 * 16 * 2);
for (let at = 0; at < 128; at++) PIXELS.writeUInt16LE(at * 20, 2 * at);
const LAYOUT = greyLayout(8, 16);

let door: Door;
before(async () => {
  door = await openDoor();
  const ids = (series: number, instance = 1): object => ({
    studyInstanceUID: '2.25.1',
    seriesInstanceUID: `2.25.1.${series}`,
    sopInstanceUID: `2.25.1.${series}.${instance}`,
    rows: 8,
    columns: 16,
  });
  await fill(
    door,
    { ...ids(1), pixels: PIXELS },
    {
      ...ids(2),
      transferSyntaxUID: JPEG_LS,
      fragments: [await encodeFrame({ bytes: PIXELS, layout: LAYOUT }, JPEG_LS)],
    },
    { ...ids(3), numberOfFrames: 3, pixels: Buffer.concat([PIXELS, PIXELS, PIXELS]) },
  );
  const image = { ReferencedSOPClassUID: '1.2.840.10008.5.1.4.1.1.2', ReferencedSOPInstanceUID: '2.25.1.1.1' };
  await storeInstance(
    door.gateway.archive,
    objectOf({
      ...identified(GRAYSCALE_STATE, 'PR', [1, 9, 1]),
      ReferencedSeriesSequence: [{ SeriesInstanceUID: '2.25.1.1', ReferencedImageSequence: [image] }],
      PresentationLUTShape: 'INVERSE',
      SoftcopyVOILUTSequence: [{ WindowCenter: 1270, WindowWidth: 2540 }],
    }),
  );
  await storeInstance(
    door.gateway.archive,
    objectOf({
      ...identified('1.2.840.10008.5.1.4.1.1.88.11', 'SR', [1, 8, 1]),
      ValueType: 'CONTAINER',
      ContentSequence: [{ ValueType: 'TEXT', TextValue: 'Nothing to see.' }],
    }),
  );
});
after(() => door.close());

const NATIVE = 'studyUID=2.25.1&seriesUID=2.25.1.1&objectUID=2.25.1.1.1';
const PACKED = 'studyUID=2.25.1&seriesUID=2.25.1.2&objectUID=2.25.1.2.1';
const CINE = 'studyUID=2.25.1&seriesUID=2.25.1.3&objectUID=2.25.1.3.1';
const REPORT = 'studyUID=2.25.1&seriesUID=2.25.1.8&objectUID=2.25.1.8.1';
const STATE = 'presentationSeriesUID=2.25.1.9&presentationUID=2.25.1.9.1';
const get = (query: string, accept = '*/*'): Promise<Response> => door.get(`/wado?requestType=WADO&${query}`, accept);
const bytesOf = async (response: Response): Promise<Buffer> => {
  assert.equal(response.status, 200, response.status === 200 ? '' : await response.text());
  return Buffer.from(await response.arrayBuffer());
};

test('WADO-URI-1: a picture by default, the type asked for by contentType or Accept, weights counted', async () => {
  for (const [query, accept, type] of [
    ['', '*/*', 'image/jpeg'],
    ['', 'image/png', 'image/png'],
    ['&contentType=image/png', '*/*', 'image/png'],
    ['&contentType=image/webp,image/gif', '*/*', 'image/gif'],
    ['&contentType=image/jpeg;q=0.2,image/png;q=0.9', '*/*', 'image/png'],
    ['&contentType=image/webp', 'image/gif', 'image/gif'],
    ['&contentType=application/dicom', 'text/html', 'application/dicom'],
    ['&contentType=application%2Fdicom', '*/*', 'application/dicom'],
    ['&unknown=parameter', '*/*', 'image/jpeg'],
  ] as const) {
    const response = await get(NATIVE + query, accept);
    const body = await bytesOf(response);
    assert.equal(response.headers.get('content-type')?.split(';')[0], type, query);
    assert.ok(body.length > 60);
  }
  assert.equal((await get(`${NATIVE}&contentType=text/plain`, 'text/plain')).status, 406);
});

/** Each is 400, and its answer repeats nothing of it. */
async function assertRefused(queries: readonly string[]): Promise<void> {
  for (const query of queries) {
    const response = await get(query);
    assert.equal(response.status, 400, query);
    assert.doesNotMatch(await response.text(), /xss/);
  }
}
const OBJECT = `${NATIVE}&contentType=application/dicom`;

test('PS3.18-9.4.2.1-request: without requestType, with another or with two it is 400', async () => {
  for (const query of ['', `?${NATIVE}`, `?requestType=WFDO&${NATIVE}`, `?requestType=wado&${NATIVE}`])
    assert.equal((await fetch(`${door.url}/wado${query}`)).status, 400, query);
  await assertRefused([`${NATIVE}&requestType=WADO`]);
});

test('PS3.18-9.4.2.2-uids: study, series and object stand once and are UIDs', async () => {
  await assertRefused([
    'studyUID=2.25.1&seriesUID=2.25.1.1',
    'studyUID=2.25.1&objectUID=2.25.1.1.1',
    'seriesUID=2.25.1.1&objectUID=2.25.1.1.1',
    'studyUID=2.25.1&seriesUID=2.25.1.1&objectUID=xss',
    `${NATIVE}&objectUID=2.25.1.1.1`,
  ]);
});

test('PS3.18-9.1.2.2.1-type: contentType is application/dicom or rendered types, without parameters but weights', async () => {
  await assertRefused([
    `${NATIVE}&contentType=application/dicom,image/jpeg`,
    `${NATIVE}&contentType=image/jpeg;quality=xss`,
    `${NATIVE}&contentType=application/dicom;transfer-syntax=${EXPLICIT_LE}`,
    `${NATIVE}&contentType=application/dicom;charset=utf-8`,
    `${NATIVE}&contentType=*/*`,
    `${NATIVE}&contentType=xss`,
  ]);
});

test('PS3.18-9.4.2.3-anonymize: anonymize is yes, once', async () => {
  await assertRefused([
    `${NATIVE}&anonymize=no`,
    `${OBJECT}&anonymize=no`,
    `${OBJECT}&anonymize=`,
    `${OBJECT}&anonymize=yes&anonymize=yes`,
  ]);
});

test('PS3.18-9.4.2.4-syntax: transferSyntax is one UID, and goes with objects', async () => {
  await assertRefused([
    `${NATIVE}&transferSyntax=${EXPLICIT_LE}`,
    `${OBJECT}&transferSyntax=xss`,
    `${OBJECT}&transferSyntax=${EXPLICIT_LE}&transferSyntax=${EXPLICIT_LE}`,
    `${OBJECT}&transferSyntax=${EXPLICIT_LE},${JPEG_LS}`,
  ]);
});

test('PS3.18-9.5.1.2.4-size: rows and columns are numbers from 1', async () => {
  for (const name of ['rows', 'columns'])
    await assertRefused(['0', '-4', 'xss', '1.5', ''].map((value) => `${NATIVE}&${name}=${value}`));
  await assertRefused([`${NATIVE}&rows=0&columns=10`, `${NATIVE}&rows=xss&columns=10`]);
});

const sizeOf = async (query: string): Promise<number[]> => {
  const { width, height } = readPng(await bytesOf(await get(`${query}&contentType=image/png`)));
  return [width, height];
};

test('PS3.18-9.5.2.5-both: rows and columns are each a maximum, within which the shape is kept', async () => {
  for (const [size, expected] of [
    ['rows=100&columns=20', [20, 10]],
    ['rows=4&columns=1000', [8, 4]],
    ['rows=32&columns=32&region=0,0,0.5,1', [32, 32]],
  ] as const)
    assert.deepEqual(await sizeOf(`${NATIVE}&${size}`), expected, size);
});

test('PS3.18-9.5.2.5-rows: where rows are left out, they follow from the columns by the shape of the region', async () => {
  assert.deepEqual(await sizeOf(`${NATIVE}&columns=64`), [64, 32]);
  assert.deepEqual(await sizeOf(`${NATIVE}&columns=64&region=0,0,0.5,1`), [64, 64]);
  assert.deepEqual(await sizeOf(`${NATIVE}&columns=64&${STATE}`), [64, 32]);
});

test('PS3.18-9.5.2.5-columns: where columns are left out, they follow from the rows by the shape of the region', async () => {
  assert.deepEqual(await sizeOf(`${NATIVE}&rows=4`), [8, 4]);
  assert.deepEqual(await sizeOf(`${NATIVE}&rows=32&region=0,0,1,0.5`), [128, 32]);
});

test('PS3.18-9.5.2.5-neither: without rows and columns a pixel of the picture is a pixel of the image or of its region', async () => {
  assert.deepEqual(await sizeOf(NATIVE), [16, 8]);
  assert.deepEqual(await sizeOf(`${NATIVE}&region=0,0,0.5,0.5`), [8, 4]);
});

test('PS3.18-9.5.1.2.5-region: a region is four numbers from 0 to 1 and has a size', async () => {
  await assertRefused([
    `${NATIVE}&region=0,0,1`,
    `${NATIVE}&region=0,0,2,1`,
    `${NATIVE}&region=-0.1,0,1,1`,
    `${NATIVE}&region=0.5,0,0.5,1`,
    `${NATIVE}&region=0,0.6,1,0.5`,
    `${NATIVE}&region=0,0,xss,1`,
  ]);
});

test('PS3.18-9.5.2.2-window: center and width go together, are numbers, and go neither with a presentation state nor with objects', async () => {
  await assertRefused([
    `${NATIVE}&windowCenter=5`,
    `${NATIVE}&windowWidth=5`,
    `${NATIVE}&windowCenter=5&windowWidth=xss`,
    `${NATIVE}&windowCenter=5&windowWidth=0`,
    `${NATIVE}&${STATE}&windowCenter=5&windowWidth=5`,
    `${OBJECT}&windowCenter=5&windowWidth=5`,
  ]);
});

test('PS3.18-9.5.2.3-state: a presentation state is named by series and UID, is one, and is for the image', async () => {
  await assertRefused([
    `${NATIVE}&presentationUID=2.25.1.9.1`,
    `${NATIVE}&presentationSeriesUID=2.25.1.9`,
    `${NATIVE}&presentationSeriesUID=2.25.1.3&presentationUID=2.25.1.3.1`,
    `${CINE}&${STATE}`,
  ]);
});

test('PS3.18-9.5.2-order: of what a presentation state displays the region, and that in the size asked for', async () => {
  const picture = async (query: string): Promise<ReturnType<typeof readPng>> =>
    readPng(await bytesOf(await get(`${NATIVE}&${STATE}&contentType=image/png${query}`)));
  const whole = await picture('');
  const right = await picture('&region=0.5,0.25,1,1');
  assert.deepEqual([whole.width, whole.height, right.width, right.height], [16, 8, 8, 6]);
  for (let row = 0; row < 6; row++)
    assert.deepEqual(
      right.samples.subarray(8 * row, 8 * row + 8),
      whole.samples.subarray(16 * (row + 2) + 8, 16 * (row + 2) + 16),
    );
  const sized = await picture('&region=0.5,0.25,1,1&rows=12&columns=99');
  assert.deepEqual([sized.width, sized.height], [16, 12]);
  assert.ok(!sized.samples.equals((await picture('&rows=12&columns=99')).samples));
});

test('WADO-URI-2: parameters that are malformed or do not go with what is asked for are 400 and not repeated', async () => {
  await assertRefused([
    `${NATIVE}&frameNumber=0`,
    `${NATIVE}&frameNumber=xss`,
    `${NATIVE}&frameNumber=2`,
    `${NATIVE}&imageQuality=101`,
    `${NATIVE}&imageAnnotation=%3Cxss%3E`,
    `${OBJECT}&rows=10&columns=10`,
    `${OBJECT}&frameNumber=1`,
    `${OBJECT}&${STATE}`,
    `${REPORT}&frameNumber=1`,
  ]);
});

test('WADO-URI-3: what is not here is 404, what was deleted 410, a syntax there is not 406, HEAD without a body', async () => {
  assert.equal((await get('studyUID=2.25.1&seriesUID=2.25.1.1&objectUID=2.25.99')).status, 404);
  assert.equal((await get('studyUID=2.25.1&seriesUID=2.25.1.2&objectUID=2.25.1.1.1')).status, 404);
  assert.equal((await get(`${NATIVE}&presentationSeriesUID=2.25.1.9&presentationUID=2.25.1.9.7`)).status, 404);
  const refused = await get(`${NATIVE}&contentType=application/dicom&transferSyntax=1.2.840.10008.1.2.4.100`);
  assert.equal(refused.status, 406);
  assert.match(await refused.text(), /MPEG2.*1\.2\.840\.10008\.1\.2\.1,/);
  for (const never of ['1.2.840.10008.1.2', '1.2.840.10008.1.2.2', '2.25.5'])
    assert.equal((await get(`${PACKED}&contentType=application/dicom&transferSyntax=${never}`)).status, 406, never);
  await fill(door, { studyInstanceUID: '2.25.6', seriesInstanceUID: '2.25.6.1', sopInstanceUID: '2.25.6.1.1' });
  await deleteStudy(door.gateway.archive, '2.25.6');
  assert.equal((await get('studyUID=2.25.6&seriesUID=2.25.6.1&objectUID=2.25.6.1.1')).status, 410);
  const head = await fetch(`${door.url}/wado?requestType=WADO&${NATIVE}`, { method: 'HEAD' });
  assert.equal(head.status, 200);
  assert.equal((await head.arrayBuffer()).byteLength, 0);
});

test('WADO-URI-4: the object is the one that WADO-RS gives, in the same syntaxes, with an entity tag', async () => {
  const path = '/studies/2.25.1/series/2.25.1.2/instances/2.25.1.2.1';
  for (const [syntax, type] of [
    ['', EXPLICIT_LE],
    ['*', JPEG_LS],
    [JPEG_LS, JPEG_LS],
    [EXPLICIT_LE, EXPLICIT_LE],
    ['1.2.840.10008.1.2.4.90', '1.2.840.10008.1.2.4.90'],
  ] as const) {
    const parameter = syntax === '' ? '' : `&transferSyntax=${syntax}`;
    const response = await get(`${PACKED}&contentType=application/dicom${parameter}`);
    const bytes = await bytesOf(response);
    assert.equal(response.headers.get('content-type'), `application/dicom; transfer-syntax=${type}`);
    const accept = `application/dicom; transfer-syntax=${syntax === '' ? EXPLICIT_LE : syntax}`;
    const same = await fetch(door.url + path, { headers: { accept } });
    assert.ok(bytes.equals(await bytesOf(same)), syntax);
    const again = await fetch(response.url, { headers: { 'if-none-match': response.headers.get('etag') ?? '' } });
    assert.equal(again.status, 304);
  }
});

test('WADO-URI-5: anonymize gives the same pixels under another SOP Instance UID, and no name in a picture', async () => {
  for (const [object, own, syntax] of [
    [NATIVE, '2.25.1.1.1', EXPLICIT_LE],
    [PACKED, '2.25.1.2.1', JPEG_LS],
    [PACKED, '2.25.1.2.1', EXPLICIT_LE],
    [REPORT, '2.25.1.8.1', EXPLICIT_LE],
  ] as const) {
    const query = `${object}&contentType=application/dicom&transferSyntax=${syntax}`;
    const plain = await bytesOf(await get(query));
    const response = await get(`${query}&anonymize=yes`);
    const length = Number(response.headers.get('content-length'));
    const bytes = await bytesOf(response);
    assert.equal(bytes.length, length);
    const { head, bodyStart } = readHead(bytes);
    const uid = asciiValue(head.dataSet, 0x00080018);
    assert.ok(uid !== undefined && uid !== own && uid.startsWith('2.25.'));
    assert.equal(head.fileMeta && asciiValue(head.fileMeta, 0x00020003), uid);
    assert.ok(bytes.subarray(bodyStart).equals(plain.subarray(readHead(plain).bodyStart)));
    assert.ok(!bytes.includes(Buffer.from(`${own}\0`)) && !bytes.includes(Buffer.from(`${own} `)));
    assert.ok((await bytesOf(await get(`${query}&anonymize=yes`))).equals(bytes));
  }
  const size = '&rows=300&columns=600&contentType=image/png&imageAnnotation=patient';
  const named = await bytesOf(await get(NATIVE + size));
  const nobody = await bytesOf(await get(`${NATIVE}${size}&anonymize=yes`));
  const bare = await bytesOf(await get(`${NATIVE}${size.replace(/&imageAnnotation.*/, '')}`));
  assert.ok(!named.equals(bare));
  assert.ok(nobody.equals(bare));
});

test('WADO-URI-6: size, region, window, frame and quality shape the picture as they do in WADO-RS', async () => {
  const png = async (query: string): Promise<ReturnType<typeof readPng>> =>
    readPng(await bytesOf(await get(`${query}&contentType=image/png`)));
  const path = `${door.url}/studies/2.25.1/series/2.25.1.1/instances/2.25.1.1.1/rendered`;
  for (const [uri, rs] of [
    ['rows=16&columns=32', 'viewport=32,16'],
    ['region=0.25,0.5,0.75,1', 'viewport=8,4,4,4,8,4'],
    ['region=0,0,0.5,1&rows=20&columns=20', 'viewport=20,20,0,0,8,8'],
    ['windowCenter=-500&windowWidth=400', 'window=-500,400,linear'],
    ['imageAnnotation=technique&rows=512&columns=512', 'annotation=technique&viewport=512,512'],
  ] as const) {
    const response = await fetch(`${path}?${rs}`, { headers: { accept: 'image/png' } });
    assert.deepEqual(await png(`${NATIVE}&${uri}`), readPng(await bytesOf(response)), uri);
  }
  const still = await get(`${CINE}&frameNumber=3`);
  assert.ok(still.headers.get('content-location')?.endsWith('/frames/3/rendered'));
  await still.arrayBuffer();
  const low = await bytesOf(await get(`${NATIVE}&rows=200&columns=400&imageQuality=5`));
  assert.ok(low.length < (await bytesOf(await get(`${NATIVE}&rows=200&columns=400&imageQuality=100`))).length);
  const told = await get(`${NATIVE}&imageAnnotation=weather`);
  assert.match(told.headers.get('warning') ?? '', /not supported: weather/);
});

test('WADO-URI-7: a presentation state is put on the image it is for; a report is text', async () => {
  const png = readPng(await bytesOf(await get(`${NATIVE}&${STATE}&contentType=image/png`)));
  assert.deepEqual([...png.samples.subarray(0, 2)], [255, 253]);
  const report = await get(REPORT);
  assert.equal(report.headers.get('content-type'), 'text/html; charset=utf-8');
  assert.match(await report.text(), /Nothing to see\./);
  const plain = await get(`${REPORT}&contentType=text/plain&charset=UTF-8,ISO-8859-1`);
  assert.match(await plain.text(), /Nothing to see\.\n/);
  // PS3.18 8.3.3.2: nothing but UTF-8 can be had.
  const other = await get(`${REPORT}&contentType=text/plain&charset=ISO-8859-1`);
  assert.deepEqual([other.status, other.headers.get('content-type')], [200, 'text/plain; charset=utf-8']);
});

test('WADO-URI-8: the URLs that dicomweb-client builds, unescaped and with a syntax for pictures too, are answered', async () => {
  const client = new api.DICOMwebClient({ url: door.url, wadoURLPrefix: 'wado', singlepart: '' });
  const options = { studyInstanceUID: '2.25.1', seriesInstanceUID: '2.25.1.2', sopInstanceUID: '2.25.1.2.1' };
  for (const [asked, type] of [
    [{}, `application/dicom; transfer-syntax=${JPEG_LS}`],
    [{ transferSyntax: EXPLICIT_LE }, `application/dicom; transfer-syntax=${EXPLICIT_LE}`],
    [{ contentType: 'image/png' }, 'image/png'],
    [{ contentType: 'image/jpeg' }, 'image/jpeg'],
  ] as const) {
    const response = await fetch(client.buildInstanceWadoURIUrl({ ...options, ...asked }));
    await bytesOf(response);
    assert.equal(response.headers.get('content-type'), type);
  }
});

test('PS3.18-9.5.2.1-frame: a frame beyond the last, and anything that is no number from 1, is 400', async () => {
  for (const [object, number, status] of [
    [CINE, 3, 200],
    [CINE, 4, 400],
    [CINE, 0, 400],
    [NATIVE, 2, 400],
    [CINE, 'xss', 400],
    [CINE, '1.0', 400],
    [CINE, '99999999999999999999', 400],
  ] as const)
    assert.equal((await get(`${object}&frameNumber=${number}`)).status, status, `${object} ${number}`);
  assert.equal((await get(`${CINE}&frameNumber=1&frameNumber=2`)).status, 400);
});

test('PS3.18-9.5.2.1-single: a frame number is 400 for what is no multi-frame image, though it names the one frame there is', async () => {
  await assertRefused([`${NATIVE}&frameNumber=1`, `${PACKED}&frameNumber=1`, `${REPORT}&frameNumber=1`]);
  assert.equal((await get(NATIVE)).status, 200);
});

test('PS3.18-9.4.2.4-default: without transferSyntax the object comes in Explicit VR Little Endian, whatever is stored', async () => {
  for (const object of [NATIVE, PACKED]) {
    const response = await get(`${object}&contentType=application/dicom`);
    assert.equal(response.headers.get('content-type')?.split('=')[1], EXPLICIT_LE, object);
    const bytes = Buffer.from(await response.arrayBuffer());
    assert.ok(bytes.includes(Buffer.from(`UI\x14\x00${EXPLICIT_LE}\0`, 'latin1')));
  }
});

test('PS3.18-9.5-single: a rendered answer is one image in the type chosen, never a DICOM object or parts', async () => {
  for (const [accept, type] of [
    ['image/png', 'image/png'],
    ['image/gif;q=0.5, image/jpeg', 'image/jpeg'],
    ['*/*', 'image/jpeg'],
  ] as const) {
    const response = await get(`${CINE}&frameNumber=1`, accept);
    assert.deepEqual([response.status, response.headers.get('content-type')], [200, type], accept);
  }
});
