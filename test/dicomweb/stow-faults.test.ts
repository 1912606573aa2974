/** Warnings of STOW-RS attribute by attribute, and the store cases of microsoft/dicom-server under their names (DICOMWEB.md section 12). */
import assert from 'node:assert/strict';
import { connect } from 'node:net';
import { once } from 'node:events';
import { after, before, test } from 'node:test';
import { readObject } from '../../src/dicom/part10.ts';
import {
  copyElement,
  openSink,
  sinkBytes,
  writeBytes,
  writeElement,
  writeText,
  type Sink,
} from '../../src/dicom/writer.ts';
import { writeFileMeta } from '../../src/dicom/file-meta.ts';
import { makeObject, type ObjectOptions } from '../phantom/objects.ts';
import { getJson, MULTIPART, multipartBody, openDoor, type Door } from './door.ts';
import { bodyOf, copyUrl, itemsIn, reasonsIn, stow, type Answer } from './stow-bodies.ts';

let door: Door;
before(async () => {
  door = await openDoor();
});
after(() => door.close());

let made = 0;
function object(options: ObjectOptions = {}): { bytes: Buffer; uid: string } {
  const uid = `2.25.55.${++made}`;
  const { bytes } = makeObject({
    rows: 4,
    columns: 4,
    studyInstanceUID: '2.25.5',
    seriesInstanceUID: '2.25.5.1',
    sopInstanceUID: uid,
    ...options,
  });
  return { bytes, uid };
}
const EXPLICIT_LE = '1.2.840.10008.1.2.1';
const CT = '1.2.840.10008.5.1.4.1.1.2';

/** The object without pixels, with these elements in place of its own. */
async function changed(changes: ReadonlyMap<number, (sink: Sink) => void>): Promise<{ bytes: Buffer; uid: string }> {
  const { bytes, uid } = object({ pixels: null });
  const { head } = await readObject(bytes);
  const sink = openSink();
  writeFileMeta(sink, { sopClassUID: CT, sopInstanceUID: uid, transferSyntaxUID: EXPLICIT_LE });
  const own = head.dataSet.elements
    .filter(({ tag }) => !changes.has(tag))
    .map((element) => [element.tag, (to: Sink): void => copyElement(to, head.dataSet, element)] as const);
  for (const [, write] of [...own, ...changes].sort(([a], [b]) => a - b)) write(sink);
  return { bytes: Buffer.from(sinkBytes(sink)), uid };
}
const text = (tag: number, vr: Parameters<typeof writeText>[2], value: string): [number, (sink: Sink) => void] => [
  tag,
  (sink) => writeText(sink, tag, vr, value),
];
const send = (...objects: readonly Buffer[]): Promise<Answer> => stow(door, MULTIPART, multipartBody(objects));
const uidsIn = (answer: Answer, key: string): unknown[] =>
  itemsIn(answer.dataSet, key).map((item) => item['00081155']?.Value?.[0]);

test('STOW-35: values that their VR or multiplicity does not allow are stored with B007 and told attribute by attribute, without a value', async () => {
  const { bytes } = await changed(
    new Map([
      text(0x00080020, 'DA', '2024-09-17'),
      text(0x00080030, 'TM', '99'),
      text(0x00080050, 'SH', 'Zauberberg-Castorp-4711'),
      text(0x00080060, 'CS', 'ct image'),
      text(0x00100010, 'PN', 'x'.repeat(70)),
      text(0x00180050, 'DS', 'thick'),
      text(0x00200013, 'IS', '1\\2'),
      text(0x00200032, 'DS', '0\\0'),
      text(0x00200052, 'UI', '1.02.3'),
      text(0x00280030, 'LO', '1\\1'),
    ]),
  );
  const answer = await send(bytes);
  assert.equal(answer.status, 202);
  const [item] = itemsIn(answer.dataSet, '00081199');
  assert.deepEqual(item?.['00081196'], { vr: 'US', Value: [0xb007] });
  const faults = (item?.['00741048']?.Value ?? []) as Record<string, { vr: string; Value: string[] }>[];
  assert.deepEqual(
    faults.map((fault) => fault['00720026']),
    [
      '00080020',
      '00080030',
      '00080050',
      '00080060',
      '00100010',
      '00180050',
      '00200013',
      '00200032',
      '00200052',
      '00280030',
    ].map((tag) => ({ vr: 'AT', Value: [tag] })),
  );
  assert.deepEqual(faults[0]?.['00000902'], { vr: 'LO', Value: ['(0008,0020) StudyDate is no value of DA'] });
  for (const value of ['2024-09', 'Castorp', 'ct image', 'thick', 'xxx'])
    assert.ok(!answer.text.includes(value), value);
});

test('STOW-36: values as the standard allows them raise no warning', async () => {
  const { bytes } = await changed(
    new Map([
      text(0x00080020, 'DA', '20240229'),
      text(0x00080030, 'TM', '235960.123456'),
      text(0x0008002a, 'DT', '20240229235959.1+0100'),
      text(0x00080060, 'CS', 'CT '),
      text(0x00100010, 'PN', 'Wang^XiaoDong=王^小东='),
      text(0x00101010, 'AS', '045Y'),
      text(0x00180050, 'DS', ' +1.5e-3 '),
      text(0x00200013, 'IS', '-12'),
      text(0x00280030, 'DS', '0.5\\0.5'),
      [0x00280009, (sink) => writeElement(sink, 0x00280009, 'AT', Buffer.from([0x54, 0, 0x10, 0]))],
    ]),
  );
  const answer = await send(bytes);
  assert.equal(answer.status, 200, answer.text);
});

test('MS-STORE-1: GivenAnEmptyContent: 400 (409 there), nothing stored', async () => {
  assert.equal((await stow(door, MULTIPART, Buffer.alloc(0))).status, 400);
});

test('MS-STORE-2: GivenAMultipartRequestWithNoContent: 400 (204 there)', async () => {
  assert.equal((await stow(door, MULTIPART, Buffer.from('--b0--\r\n'))).status, 400);
  assert.equal((await stow(door, MULTIPART, Buffer.from('\r\n'))).status, 400);
});

test('MS-STORE-3: GivenAnIncorrectAcceptHeader: 406; GivenInvalidStudyInstanceUID in the path: 400', async () => {
  const body = multipartBody([object().bytes]);
  assert.equal((await stow(door, MULTIPART, body, '/studies', { accept: 'application/data' })).status, 406);
  assert.equal((await stow(door, MULTIPART, body, '/studies/unsafe_study')).status, 400);
});

test('MS-STORE-4: GivenANonMultipartRequest of another type: 415', async () => {
  assert.equal((await stow(door, 'application/dicom2', object().bytes)).status, 415);
  assert.equal((await stow(door, 'multipart/form; boundary=b0', multipartBody([object().bytes]))).status, 415);
});

test('MS-STORE-5: GivenAMultipartRequestWithAnInvalidMultipartSection: 202 with what is good', async () => {
  const good = object();
  const answer = await stow(
    door,
    MULTIPART,
    bodyOf([
      { headers: { 'Content-Type': 'application/dicom' }, body: Buffer.from('no object') },
      { headers: { 'Content-Type': 'application/dicom' }, body: good.bytes },
      { headers: { 'Content-Type': 'text/plain' }, body: 'no object' },
    ]),
  );
  assert.equal(answer.status, 202);
  assert.deepEqual(uidsIn(answer, '00081199'), [good.uid]);
  assert.deepEqual(reasonsIn(answer.dataSet, '0008119A'), [0xc000, 0x0110]);
});

test('MS-STORE-6: GivenAMultipartRequestWithTypeParameterAndFirstSectionWithoutContentType: 200', async () => {
  const { bytes, uid } = object();
  const answer = await stow(
    door,
    MULTIPART,
    bodyOf([
      { headers: {}, body: bytes },
      { headers: { 'Content-Type': 'application/dicom' }, body: object().bytes },
    ]),
  );
  assert.equal(answer.status, 200);
  assert.equal(uidsIn(answer, '00081199')[0], uid);
});

test('MS-STORE-7: GivenAllDifferentStudyInstanceUIDs: 409; GivenOneDifferentStudyInstanceUID: 202', async () => {
  const own = object({ studyInstanceUID: '2.25.501', seriesInstanceUID: '2.25.501.1' });
  const other = object();
  const all = await stow(door, MULTIPART, multipartBody([other.bytes]), '/studies/2.25.501');
  assert.deepEqual([all.status, ...reasonsIn(all.dataSet, '00081198')], [409, 0xa900]);
  const one = await stow(door, MULTIPART, multipartBody([own.bytes, other.bytes]), '/studies/2.25.501');
  assert.equal(one.status, 202);
  assert.deepEqual([uidsIn(one, '00081199'), uidsIn(one, '00081198')], [[own.uid], [other.uid]]);
});

test('MS-STORE-8: GivenDatasetWithDuplicateIdentifiers in one request: other content is 202, the same bytes 200', async () => {
  const first = object();
  const second = object({ sopInstanceUID: first.uid, pixels: Buffer.alloc(32, 9) });
  const answer = await send(first.bytes, second.bytes);
  assert.equal(answer.status, 202);
  assert.deepEqual([uidsIn(answer, '00081199'), reasonsIn(answer.dataSet, '00081198')], [[first.uid], [0x0111]]);
  const twice = object();
  const same = await send(twice.bytes, twice.bytes);
  assert.equal(same.status, 200);
  assert.equal(new Set(itemsIn(same.dataSet, '00081199').map((item) => String(item['00081190']?.Value?.[0]))).size, 1);
});

test('MS-STORE-9: GivenExistingDataset: by policy: reject 409, keep-first and overwrite 200', async () => {
  const first = object();
  const other = object({ sopInstanceUID: first.uid, pixels: Buffer.alloc(32, 9) });
  assert.equal((await send(first.bytes)).status, 200);
  const rejected = await send(other.bytes);
  assert.deepEqual([rejected.status, ...reasonsIn(rejected.dataSet, '00081198')], [409, 0x0111]);
  for (const [policy, byte] of [
    ['keep-first', 0],
    ['overwrite', 9],
  ] as const) {
    const lenient = await openDoor('', undefined, `archive: { reserveMb: 1, duplicates: ${policy} }`);
    try {
      const objects = [first.bytes, other.bytes];
      let answer: Answer | undefined;
      for (const bytes of objects) answer = await stow(lenient, MULTIPART, multipartBody([bytes]));
      assert.equal(answer?.status, 200);
      const frame = await fetch(`${copyUrl(answer)}/frames/1`, { headers: { accept: 'application/octet-stream' } });
      assert.deepEqual(Buffer.from(await frame.arrayBuffer()), Buffer.alloc(32, byte));
    } finally {
      await lenient.close();
    }
  }
});

test('MS-STORE-10: GivenDatasetWithInvalidUID: held for a person, 202 with B000 (409 there), never stored', async () => {
  for (const [uid, told] of [
    ['2.25.5.055', { vr: 'UI', Value: ['2.25.5.055'] }],
    ['dccc9599087131', { vr: 'UI', Value: ['dccc9599087131'] }],
    ['Zauberberg^Castorp', { vr: 'UI' }],
  ] as const) {
    const answer = await send((await changed(new Map([text(0x00080018, 'UI', uid)]))).bytes);
    assert.equal(answer.status, 202);
    const [item] = itemsIn(answer.dataSet, '00081199');
    assert.deepEqual([item?.['00081155'], item?.['00081190']], [told, { vr: 'UR' }]);
    assert.deepEqual(item?.['00081196'], { vr: 'US', Value: [0xb000] });
    assert.ok(!answer.text.includes('Castorp'));
  }
});

test('MS-STORE-11: GivenSinglePart: 200, and the pixels come back byte for byte', async () => {
  const pixels = Buffer.from(Array.from({ length: 32 }, (_, at) => at));
  const answer = await stow(door, 'application/dicom', object({ pixels }).bytes);
  assert.equal(answer.status, 200);
  const frame = await fetch(`${copyUrl(answer)}/frames/1`, { headers: { accept: 'application/octet-stream' } });
  assert.deepEqual(Buffer.from(await frame.arrayBuffer()), pixels);
});

test('MS-STORE-12: GivenPatientIDAndUIDsWithPadding: NUL and blanks at the end of UIDs do not make another study', async () => {
  const pad = (tag: number, value: string, padding: string): [number, (sink: Sink) => void] => [
    tag,
    (sink) => writeElement(sink, tag, 'UI', Buffer.from(value + padding)),
  ];
  const plain = object();
  for (const padding of ['\0', ' ', '\0\0\0', '  ']) {
    const { bytes } = await changed(
      new Map([
        pad(0x00080018, `${plain.uid}${made}`, padding),
        pad(0x0020000d, '2.25.5', padding),
        pad(0x0020000e, '2.25.5.1', padding),
      ]),
    );
    const answer = await stow(door, MULTIPART, multipartBody([bytes]), '/studies/2.25.5');
    assert.equal(answer.status, 200, JSON.stringify(padding) + answer.text);
    const count = await getJson(`${String(answer.dataSet['00081190']?.Value?.[0])}/series`);
    assert.equal(count.length, 1);
  }
});

test('MS-STORE-13: GivenPrivateTagsInImplicitVR: 200', async () => {
  const { dataSet } = (await readObject(object({ privateText: 'some private words', pixels: null }).bytes)).head;
  const sink = openSink();
  writeFileMeta(sink, { sopClassUID: CT, sopInstanceUID: `2.25.55.9${made}`, transferSyntaxUID: '1.2.840.10008.1.2' });
  for (const { tag, valueStart, valueEnd } of dataSet.elements) {
    const header = Buffer.alloc(8);
    header.writeUInt16LE(tag >>> 16, 0);
    header.writeUInt16LE(tag & 0xffff, 2);
    header.writeUInt32LE(valueEnd - valueStart, 4);
    writeBytes(sink, header);
    writeBytes(sink, dataSet.bytes.subarray(valueStart, valueEnd));
  }
  const answer = await send(Buffer.from(sinkBytes(sink)));
  assert.equal(answer.status, 200, answer.text);
});

test('MS-STORE-14: GivenInvalidVRValue and too many values: 202, stored, with the attribute', async () => {
  const { bytes, uid } = await changed(
    new Map([text(0x00080020, 'DA', 'NotAValidDate'), text(0x00080060, 'CS', 'CT\\MR')]),
  );
  const answer = await send(bytes);
  assert.equal(answer.status, 202);
  assert.deepEqual(uidsIn(answer, '00081199'), [uid]);
  const faults = (itemsIn(answer.dataSet, '00081199')[0]?.['00741048']?.Value ?? []) as Record<
    string,
    { Value: string[] }
  >[];
  assert.deepEqual(
    faults.map((fault) => fault['00720026']?.Value[0]),
    ['00080020', '00080060'],
  );
});

test('STOW-37: who asks first is told before the body: 413 and 415 without 100 Continue', async () => {
  for (const [type, status] of [
    [MULTIPART, 413],
    ['text/plain', 415],
  ] as const) {
    const socket = connect(door.port, '127.0.0.1');
    socket.write(
      `POST /dicom-web/studies HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: ${type}\r\nContent-Length: 99999999999999\r\nExpect: 100-continue\r\n\r\n`,
    );
    const [first] = (await once(socket, 'data')) as [Buffer];
    assert.ok(first.toString().startsWith(`HTTP/1.1 ${status} `), first.toString().slice(0, 60));
    socket.destroy();
  }
});
