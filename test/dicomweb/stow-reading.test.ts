/** Metadata and bulk data as hostile and as large as they come: readers that never hang, memory that stays flat, nothing left on disk. */
import assert from 'node:assert/strict';
import { once } from 'node:events';
import { readdirSync, readFileSync, readlinkSync } from 'node:fs';
import { connect, type Socket } from 'node:net';
import { after, before, test } from 'node:test';
import { setTimeout as delay } from 'node:timers/promises';
import fc from 'fast-check';
import { fromDicomJson } from '../../src/dicom/json-reader.ts';
import { Refusal } from '../../src/dicom/refusal.ts';
import { readJsonItems } from '../../src/dicomweb/json-items.ts';
import { parseNativeModel } from '../../src/dicomweb/native-model-reader.ts';
import { openDoor, type Door, type JsonDataSet } from './door.ts';
import { bodyOf, bulkPart, JSON_FORM, jsonPart, stow, type Answer } from './stow-bodies.ts';

let door: Door;
before(async () => {
  door = await openDoor();
});
after(() => door.close());

async function* chunked(bytes: Buffer, size: number): AsyncGenerator<Buffer> {
  for (let at = 0; at < bytes.length; at += size) yield bytes.subarray(at, at + size);
}
async function itemsOf(text: string | Buffer, size = 7): Promise<unknown[]> {
  const items: unknown[] = [];
  for await (const item of readJsonItems(chunked(Buffer.from(text), size))) items.push(item);
  return items;
}
/** What a reader may do: give something, or refuse. */
async function refuses(work: () => unknown): Promise<boolean> {
  try {
    await work();
    return false;
  } catch (error) {
    if (error instanceof Refusal) return true;
    throw error;
  }
}

const SEED_JSON = JSON.stringify([
  {
    '00080018': { vr: 'UI', Value: ['1.2.3'] },
    '00081140': { vr: 'SQ', Value: [{ '00081155': { vr: 'UI', Value: ['1.2'] } }, {}] },
    '00100010': { vr: 'PN', Value: [{ Alphabetic: 'A^B', Ideographic: '山' }, null] },
    '00280010': { vr: 'US', Value: [4] },
    '00090010': { vr: 'LO', Value: ['X'] },
    '7FE00010': { vr: 'OW', InlineBinary: 'AAAA' },
  },
]);
const SEED_XML =
  '<?xml version="1.0" encoding="UTF-8"?><NativeDicomModel><DicomAttribute tag="00080018" vr="UI" keyword="SOPInstanceUID"><Value number="1">1.2.3</Value></DicomAttribute>' +
  '<DicomAttribute tag="00100010" vr="PN"><PersonName number="1"><Alphabetic><FamilyName>A &amp; B</FamilyName></Alphabetic></PersonName></DicomAttribute>' +
  '<DicomAttribute tag="00081140" vr="SQ"><Item number="1"><DicomAttribute tag="00081155" vr="UI"/></Item></DicomAttribute></NativeDicomModel>';

/** A text with some of its bytes changed, cut out or doubled. */
const damaged = (seed: string): fc.Arbitrary<Buffer> =>
  fc
    .array(fc.tuple(fc.nat(seed.length - 1), fc.nat(3), fc.nat(255), fc.integer({ min: 1, max: 40 })), {
      minLength: 1,
      maxLength: 6,
    })
    .map((edits) => {
      let bytes = Buffer.from(seed);
      for (const [at, kind, byte, length] of edits) {
        if (kind === 0) bytes = Buffer.concat([bytes.subarray(0, at), Buffer.from([byte]), bytes.subarray(at + 1)]);
        else if (kind === 1) bytes = Buffer.concat([bytes.subarray(0, at), bytes.subarray(at + length)]);
        else if (kind === 2) bytes = Buffer.concat([bytes.subarray(0, at + length), bytes.subarray(at)]);
        else bytes = bytes.subarray(0, at);
      }
      return bytes;
    });

test('STOW-40: damaged, random and hostile metadata is read or refused, never more', async () => {
  const readJson = async (bytes: Buffer): Promise<void> => {
    for (const item of await itemsOf(bytes, bytes.length > 10_000 ? 65_536 : 7)) fromDicomJson(item);
  };
  const readXml = (bytes: Buffer): void => {
    fromDicomJson(parseNativeModel(bytes));
  };
  await fc.assert(
    fc.asyncProperty(damaged(SEED_JSON), async (bytes) => void (await refuses(() => readJson(bytes)))),
    { numRuns: 1500 },
  );
  await fc.assert(
    fc.asyncProperty(damaged(SEED_XML), async (bytes) => void (await refuses(() => readXml(bytes)))),
    { numRuns: 1500 },
  );
  await fc.assert(
    fc.asyncProperty(
      fc.json({ maxDepth: 8 }),
      async (text) => void (await refuses(() => readJson(Buffer.from(`[${text}]`)))),
    ),
    { numRuns: 500 },
  );
  const big = 3_000_000;
  for (const [name, bytes] of Object.entries({
    'deep arrays': Buffer.from('['.repeat(big)),
    'deep objects': Buffer.from('[' + '{"a":'.repeat(big / 5)),
    'endless string': Buffer.from(`[{"${'x'.repeat(40 * 2 ** 20)}`),
    'many values': Buffer.from(`[{"00280010":{"vr":"US","Value":[${'1,'.repeat(big)}1]}}]`),
    'many objects': Buffer.from(`[{"a":[${'{},'.repeat(big)}{}]}]`),
  }))
    assert.ok(await refuses(() => readJson(bytes)), name);
  for (const [name, text] of Object.entries({
    'deep elements': '<a>'.repeat(big / 3),
    'many elements': `<NativeDicomModel>${'<b/>'.repeat(big)}</NativeDicomModel>`,
    'far number':
      '<NativeDicomModel><DicomAttribute tag="00280010" vr="US"><Value number="999999999">1</Value></DicomAttribute></NativeDicomModel>',
    entities: '<!DOCTYPE a [<!ENTITY b "c">]><NativeDicomModel>&b;</NativeDicomModel>',
    external: '<!DOCTYPE a SYSTEM "file:///etc/passwd"><NativeDicomModel/>',
    'unknown entity':
      '<NativeDicomModel><DicomAttribute tag="00100020" vr="LO"><Value number="1">&b;</Value></DicomAttribute></NativeDicomModel>',
    'another root': '<html/>',
    'UTF-16': Buffer.from('\ufeff<NativeDicomModel/>', 'utf16le').toString('latin1'),
    'another encoding': '<?xml version="1.0" encoding="ISO-8859-1"?><NativeDicomModel/>',
    'open tag': `<NativeDicomModel ${'a '.repeat(big / 3)}`,
  }))
    assert.ok(await refuses(() => readXml(Buffer.from(text))), name);
});

test('STOW-44: objects of an array are the same in any division of chunks', async () => {
  const objects = [{ 'a"]}': '\\"}{[,' }, {}, { b: [{ c: '\\\\' }, [], ',]'] }, { 山: '川' }];
  for (const text of [JSON.stringify(objects), JSON.stringify(objects, null, 2), `\ufeff${JSON.stringify(objects)}\n`])
    for (const size of [1, 2, 3, 5, 1000]) assert.deepEqual(await itemsOf(text, size), objects);
  assert.deepEqual(await itemsOf('{"a":1}'), [{ a: 1 }]);
  assert.deepEqual(await itemsOf(' [ ] '), []);
  for (const text of ['[{}', '[{}{}]', '[{},]', '[,{}]', '{}{}', '{},{}', '[]]', '[{}]x', '1', 'null', '"{}"', ''])
    assert.ok(await refuses(() => itemsOf(text)), text);
});

test('STOW-41: the Native DICOM Model of other writers: prefixes, CDATA, comments, gaps, blocks left to privateCreator, NaN', () => {
  const model = parseNativeModel(
    Buffer.from(`<?xml version='1.0' encoding='utf-8' standalone="yes"?>
    <!-- made elsewhere -->
    <n:NativeDicomModel xmlns:n="http://dicom.nema.org/PS3.19/models/NativeDICOM" xml:space="preserve">
      <n:DicomAttribute keyword="ImageType" tag="00080008" vr="CS"><n:Value number="1">DERIVED</n:Value><n:Value number="3"><![CDATA[A<B]]></n:Value></n:DicomAttribute>
      <n:DicomAttribute tag="00090010" vr="LO"><n:Value number="1">OTHER</n:Value></n:DicomAttribute>
      <n:DicomAttribute tag="00090001" vr="LO" privateCreator="ACME"><n:Value>x</n:Value></n:DicomAttribute>
      <n:DicomAttribute tag="00090002" vr="DS" privateCreator="ACME"><n:Value number="1">1.5</n:Value></n:DicomAttribute>
      <n:DicomAttribute tag="00100010" vr="PN"><n:PersonName number="1"><n:Alphabetic><n:FamilyName>O&#39;Hara</n:FamilyName><n:GivenName/><n:NamePrefix>Dr</n:NamePrefix></n:Alphabetic><n:Phonetic><n:GivenName>b</n:GivenName></n:Phonetic></n:PersonName></n:DicomAttribute>
      <n:DicomAttribute tag="00189073" vr="FD"><n:Value number="1">NaN</n:Value><n:Value number="2">-INF</n:Value><n:Value number="3">2.5e-3</n:Value></n:DicomAttribute>
      <n:DicomAttribute tag="7FE00010" vr="OW"><n:BulkData uri="a&amp;b" /></n:DicomAttribute>
    </n:NativeDicomModel>`),
  );
  assert.deepEqual(model, {
    '00080008': { vr: 'CS', Value: ['DERIVED', null, 'A<B'] },
    '00090010': { vr: 'LO', Value: ['OTHER'] },
    '00090011': { vr: 'LO', Value: ['ACME'] },
    '00091101': { vr: 'LO', Value: ['x'] },
    '00091102': { vr: 'DS', Value: ['1.5'] },
    '00100010': { vr: 'PN', Value: [{ Alphabetic: "O'Hara^^^Dr", Phonetic: '^b' }] },
    '00189073': { vr: 'FD', Value: ['NaN', '-Infinity', 0.0025] },
    '7FE00010': { vr: 'OW', BulkDataURI: 'a&b' },
  });
});

const us = (value: number): { vr: string; Value: unknown[] } => ({ vr: 'US', Value: [value] });
const image = (uid: string, rows: number, frames: number): JsonDataSet => ({
  '00080016': { vr: 'UI', Value: ['1.2.840.10008.5.1.4.1.1.2'] },
  '00080018': { vr: 'UI', Value: [uid] },
  '0020000D': { vr: 'UI', Value: ['2.25.44'] },
  '0020000E': { vr: 'UI', Value: ['2.25.44.1'] },
  '00280002': us(1),
  '00280008': { vr: 'IS', Value: [String(frames)] },
  '00280010': us(rows),
  '00280011': us(rows),
  '00280100': us(16),
  '00280101': us(16),
  '00280102': us(15),
  '00280103': us(0),
  '7FE00010': { vr: 'OW', BulkDataURI: 'pixels' },
});

function begin(): Socket {
  const socket = connect(door.port, '127.0.0.1');
  socket.write(
    `POST /dicom-web/studies HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: ${JSON_FORM}\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n`,
  );
  return socket;
}
async function send(socket: Socket, chunk: Buffer): Promise<void> {
  socket.write(`${chunk.length.toString(16)}\r\n`);
  socket.write(chunk);
  if (!socket.write('\r\n')) await once(socket, 'drain');
}

test('STOW-42: bulk data kept aside lies on disk under no name and in no clear word, and goes with its request', async (t) => {
  if (process.platform !== 'linux') return t.skip('open files are looked at in /proc');
  const word = 'Zauberberg^Castorp ';
  const open = (): string[] =>
    readdirSync('/proc/self/fd')
      .map((fd) => {
        try {
          return [fd, readlinkSync(`/proc/self/fd/${fd}`)];
        } catch {
          return ['', ''];
        }
      })
      .filter(([, path]) => path?.includes('request-') === true)
      .map(([fd]) => fd ?? '');
  const socket = begin();
  await send(socket, bodyOf([jsonPart(image('2.25.44.1.1', 512, 8))]).subarray(0, -8));
  await send(
    socket,
    Buffer.from('\r\n--b0\r\nContent-Type: application/octet-stream\r\nContent-Location: pixels\r\n\r\n'),
  );
  for (let sent = 0; sent < 3 * 2 ** 20; sent += 19_000) await send(socket, Buffer.from(word.repeat(1000)));
  let kept = Buffer.alloc(0);
  let name = '';
  for (let tries = 0; tries < 500 && (kept.length < 2 ** 21 || !name.endsWith(' (deleted)')); tries++) {
    await delay(20);
    const [fd] = open();
    if (fd === undefined) continue;
    name = readlinkSync(`/proc/self/fd/${fd}`);
    kept = readFileSync(`/proc/self/fd/${fd}`);
  }
  assert.match(name, / \(deleted\)$/);
  assert.ok(kept.length >= 2 ** 21 && !kept.includes(word));
  socket.destroy();
  for (let tries = 0; open().length > 0 && tries < 100; tries++) await delay(20);
  assert.deepEqual(open(), []);
});

test('STOW-43: 256 MB of bulk data pass with flat memory and come back as they were sent', async () => {
  const baseline = process.memoryUsage().rss;
  let peak = baseline;
  const watch = setInterval(() => {
    peak = Math.max(peak, process.memoryUsage().rss);
  }, 20);
  const socket = begin();
  await send(socket, bodyOf([jsonPart(image('2.25.44.1.2', 1024, 128))]).subarray(0, -8));
  await send(
    socket,
    Buffer.from('\r\n--b0\r\nContent-Type: application/octet-stream\r\nContent-Location: pixels\r\n\r\n'),
  );
  const piece = Buffer.alloc(2 ** 18);
  for (let at = 0; at < 1024; at++) await send(socket, Buffer.from(piece.fill(at & 0xff)));
  await send(socket, Buffer.from('\r\n--b0--\r\n'));
  socket.write('0\r\n\r\n');
  let text = '';
  for await (const chunk of socket) text += String(chunk);
  clearInterval(watch);
  assert.match(text, /^HTTP\/1\.1 200 /, text.slice(0, 500));
  assert.ok(peak - baseline < 160 * 2 ** 20, `memory grew by ${Math.round((peak - baseline) / 2 ** 20)} MiB`);
  const url = /"00081190":\{"vr":"UR","Value":\["([^"]+instances[^"]+)"\]/.exec(text)?.[1] ?? '';
  const frame = await fetch(`${url}/frames/128`, { headers: { accept: 'application/octet-stream' } });
  const bytes = Buffer.from(await frame.arrayBuffer());
  assert.equal(bytes.length, 2 ** 21);
  assert.deepEqual([...new Set(bytes)], [0xf8, 0xf9, 0xfa, 0xfb, 0xfc, 0xfd, 0xfe, 0xff]);
  const again: Answer = await stow(
    door,
    JSON_FORM,
    bodyOf([jsonPart({ ...image('2.25.44.1.3', 4, 1) }), bulkPart('pixels', Buffer.alloc(32))]),
  );
  assert.equal(again.status, 200);
});
