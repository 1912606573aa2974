/** Metadata kept ready, its entity tags, and XML answers (PS3.18 10.4.1.1.2, PS3.19 A.1). */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { crc32, gunzipSync } from 'node:zlib';
import { request } from 'node:http';
import fc from 'fast-check';
import { openIntake } from '../../src/archive/intake.ts';
import { deleteInstances } from '../../src/archive/reclaim.ts';
import { deleteStudy } from '../../src/archive/studies.ts';
import { deflateText, makeTextsReady } from '../../src/archive/metadata.ts';
import { combineCrc, gzipPieces } from '../../src/dicomweb/gzip-pieces.ts';
import { formatNativeModel } from '../../src/dicomweb/native-model.ts';
import { fill, getJson, openDoor, partsOf, type Door } from './door.ts';

let door: Door;
before(async () => {
  door = await openDoor();
  for (const series of [1, 2])
    for (const instance of [1, 2, 3])
      await fill(door, {
        studyInstanceUID: '2.25.1',
        seriesInstanceUID: `2.25.1.${series}`,
        sopInstanceUID: `2.25.1.${series}.${instance}`,
        seriesNumber: series,
        instanceNumber: instance,
        patientName: 'Müller^Ää=山田^太郎',
        studyDescription: '<a & "b">',
        scheduledProcedureStepID: 'S1',
        privateText: 'x',
      });
});
after(() => door.close());

interface Raw {
  readonly status: number;
  readonly headers: Record<string, string | string[] | undefined>;
  readonly body: Buffer;
}
/** As it comes from the socket, nothing decompressed. */
function raw(path: string, headers: Record<string, string> = {}): Promise<Raw> {
  return new Promise((resolve, reject) => {
    request(`${door.url}${path}`, { headers }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () =>
        resolve({ status: response.statusCode ?? 0, headers: response.headers, body: Buffer.concat(chunks) }),
      );
      response.on('error', reject);
    })
      .on('error', reject)
      .end();
  });
}
const SERIES = '/studies/2.25.1/series/2.25.1.1';
const zipped = { 'accept-encoding': 'gzip' };

test('META-1: compressed or not, made now or kept, the metadata of a scope is the same; a study is its series in a row', async () => {
  const first = await raw(`${SERIES}/metadata`, zipped);
  const rows = door.gateway.database.all('SELECT series FROM series_text');
  assert.ok(rows.length > 0);
  const kept = await raw(`${SERIES}/metadata`, zipped);
  assert.equal(kept.headers['content-encoding'], 'gzip');
  const plain = await raw(`${SERIES}/metadata`);
  assert.deepEqual(gunzipSync(first.body), plain.body);
  assert.deepEqual(gunzipSync(kept.body), plain.body);
  const one = JSON.parse(plain.body.toString()) as unknown[];
  const two = await getJson(`${door.url}/studies/2.25.1/series/2.25.1.2/metadata`);
  assert.deepEqual(await getJson(`${door.url}/studies/2.25.1/metadata`), [...one, ...two]);
  assert.deepEqual(await getJson(`${door.url}${SERIES}/instances/2.25.1.1.2/metadata`), [one[1]]);
});

test('META-2: kept metadata is not sent under another base', async () => {
  const other = await raw(`${SERIES}/metadata`, { ...zipped, host: `localhost:${door.port}` });
  const base = `http://localhost:${door.port}/dicom-web`;
  assert.ok(gunzipSync(other.body).includes(`"${base}/studies/2.25.1/`));
  const own = gunzipSync((await raw(`${SERIES}/metadata`, zipped)).body).toString();
  assert.ok(own.includes(door.url) && !own.includes(base));
});

test('META-3: the entity tag answers 304 while nothing below has changed, at every level', async () => {
  const paths = ['/studies/2.25.1/metadata', `${SERIES}/metadata`, `${SERIES}/instances/2.25.1.1.1/metadata`];
  const tagOf = async (path: string): Promise<string> => String((await raw(path, zipped)).headers['etag']);
  const same = async (path: string, tag: string): Promise<boolean> => {
    const { status, body } = await raw(path, { ...zipped, 'if-none-match': tag });
    if (status === 304) assert.equal(body.length, 0);
    return status === 304;
  };
  let tags = await Promise.all(paths.map(tagOf));
  assert.deepEqual(await Promise.all(paths.map((path, at) => same(path, tags[at] ?? ''))), [true, true, true]);
  const added = { studyInstanceUID: '2.25.1', seriesInstanceUID: '2.25.1.1', sopInstanceUID: '2.25.1.1.9' };
  await fill(door, { ...added, instanceNumber: 9 });
  assert.deepEqual(await Promise.all(paths.map((path, at) => same(path, tags[at] ?? ''))), [false, false, true]);
  assert.equal((await getJson(`${door.url}${SERIES}/metadata`)).length, 4);
  tags = await Promise.all(paths.map(tagOf));
  await deleteInstances(door.gateway.archive, {
    studyInstanceUID: '2.25.1',
    seriesInstanceUID: '2.25.1.1',
    sopInstanceUIDs: ['2.25.1.1.9'],
  });
  assert.deepEqual(await Promise.all(paths.map((path, at) => same(path, tags[at] ?? ''))), [false, false, true]);
  assert.equal((await getJson(`${door.url}${SERIES}/metadata`)).length, 3);
  const other = `/studies/2.25.1/series/2.25.1.2/metadata`;
  const tag = await tagOf(other);
  await fill(door, { ...added, instanceNumber: 9 });
  assert.equal(await same(other, tag), true);
});

test('META-4: a study that was deleted and sent again has another entity tag, and nothing of the old one is kept', async () => {
  const object = { studyInstanceUID: '2.25.7', seriesInstanceUID: '2.25.7.1', sopInstanceUID: '2.25.7.1.1' };
  await fill(door, { ...object, studyDescription: 'old' });
  const before = await raw('/studies/2.25.7/metadata', zipped);
  await deleteStudy(door.gateway.archive, '2.25.7');
  assert.equal((await raw('/studies/2.25.7/metadata')).status, 410);
  // As a gateway does that starts again.
  door.gateway.archive.intake.sequence = openIntake(door.gateway.database).sequence;
  await fill(door, { ...object, studyDescription: 'new' });
  const again = await raw('/studies/2.25.7/metadata', { ...zipped, 'if-none-match': String(before.headers['etag']) });
  assert.equal(again.status, 200);
  assert.match(gunzipSync(again.body).toString(), /"new"/);
});

test('a complete study is made ready for the base that viewers came by, and nothing deleted is kept ready', async () => {
  const texts = (): { series: unknown; base: unknown }[] =>
    door.gateway.database
      .all(
        `SELECT series_text.base AS base, series.series_uid AS series FROM series_text JOIN series ON series.id = series_text.series
         WHERE series.series_uid LIKE '2.25.11.%' AND series_text.version = series.version AND piece = 0 ORDER BY series.series_uid`,
      )
      .map(({ series, base }) => ({ series, base }));
  const study = '2.25.11';
  for (const [series, instance] of [
    [1, 1],
    [1, 2],
    [2, 1],
  ])
    await fill(door, {
      studyInstanceUID: study,
      seriesInstanceUID: `${study}.${series}`,
      sopInstanceUID: `${study}.${series}.${instance}`,
      ...(instance === undefined ? {} : { instanceNumber: instance }),
    });
  await getJson(`${door.url}/studies?StudyInstanceUID=${study}`);
  await makeTextsReady(door.gateway.archive, study);
  assert.deepEqual(texts(), [
    { series: `${study}.1`, base: door.url },
    { series: `${study}.2`, base: door.url },
  ]);
  const ready = await raw(`/studies/${study}/metadata`);
  assert.equal(JSON.parse(ready.body.toString()).length, 3);
  assert.ok(ready.body.includes(`"${door.url}/studies/${study}/`));
  await deleteInstances(door.gateway.archive, {
    studyInstanceUID: study,
    seriesInstanceUID: `${study}.1`,
    sopInstanceUIDs: [`${study}.1.2`],
  });
  assert.deepEqual(texts(), [{ series: `${study}.2`, base: door.url }]);
  const kept = door.gateway.database.all(
    "SELECT piece FROM series_text WHERE series IN (SELECT id FROM series WHERE series_uid = '2.25.11.1')",
  );
  assert.equal(kept.length, 0, 'of the series as it was before');
});

test('META-5: the first instance leaves before the others are read', async () => {
  for (let instance = 10; instance < 400; instance++)
    await fill(door, {
      studyInstanceUID: '2.25.8',
      seriesInstanceUID: '2.25.8.1',
      sopInstanceUID: `2.25.8.1.${instance}`,
      instanceNumber: instance,
      pixels: null,
      privateText: 'x'.repeat(900),
    });
  const chunks: number[] = [];
  await new Promise<void>((resolve, reject) => {
    request(`${door.url}/studies/2.25.8/metadata`, (response) => {
      response.on('data', (chunk: Buffer) => chunks.push(chunk.length));
      response.on('end', resolve);
    })
      .on('error', reject)
      .end();
  });
  assert.ok((chunks[0] ?? 0) < 8192 && chunks.length > 1, chunks.slice(0, 4).join());
});

test('XML-1: metadata and search results come as the Native DICOM Model, a part each', async () => {
  const accept = 'multipart/related; type="application/dicom+xml"';
  const response = await fetch(`${door.url}${SERIES}/metadata`, { headers: { accept } });
  assert.equal(response.status, 200);
  assert.match(response.headers.get('content-type') ?? '', /^multipart\/related; type="application\/dicom\+xml"/);
  const parts = await partsOf(response);
  assert.ok(parts.length >= 3);
  assert.equal(parts[0]?.headers['content-type'], 'application/dicom+xml');
  const text = parts[0]?.body.toString() ?? '';
  assert.match(
    text,
    /^<\?xml version="1\.0" encoding="UTF-8"\?>\n<NativeDicomModel xmlns="http:\/\/dicom\.nema\.org\/PS3\.19\/models\/NativeDICOM"/,
  );
  assert.ok(
    text.includes(
      '<DicomAttribute tag="00100020" vr="LO" keyword="PatientID"><Value number="1">P1</Value></DicomAttribute>',
    ),
  );
  assert.ok(
    text.includes(
      '<PersonName number="1"><Alphabetic><FamilyName>Müller</FamilyName><GivenName>Ää</GivenName></Alphabetic><Ideographic><FamilyName>山田',
    ),
  );
  assert.ok(text.includes('<Value number="1">&lt;a &amp; &quot;b&quot;&gt;</Value>'));
  assert.ok(text.includes('<Item number="1"><DicomAttribute tag="00400009" vr="SH"'));
  assert.match(text, /<DicomAttribute tag="00091010" vr="UT" privateCreator="PHANTOM"><Value number="1">x/);
  assert.ok(text.includes(`<BulkData uri="${door.url}${SERIES}/instances/2.25.1.1.1/bulkdata/7FE00010"/>`));
  const studies = await partsOf(await fetch(`${door.url}/studies?StudyInstanceUID=2.25.1`, { headers: { accept } }));
  assert.equal(studies.length, 1);
  assert.equal(studies[0]?.headers['content-location'], `${door.url}/studies/2.25.1`);
  assert.equal((await fetch(`${door.url}/studies?PatientID=none`, { headers: { accept } })).status, 204);
});

test('what XML cannot write is left out, empty values keep their numbers', () => {
  const xml = formatNativeModel({ '00080008': { vr: 'CS', Value: ['A\u0001', null, 'C'] }, '00100010': { vr: 'PN' } });
  assert.ok(xml.includes('<Value number="1">A</Value><Value number="3">C</Value>'));
  assert.ok(xml.includes('<DicomAttribute tag="00100010" vr="PN" keyword="PatientName"/>'));
});

test('texts deflated one by one make one gzip member with the checksum of the whole', () => {
  fc.assert(
    fc.property(fc.array(fc.string({ unit: 'grapheme', maxLength: 300 }), { maxLength: 8 }), (texts) => {
      const whole = Buffer.from(texts.join(''));
      assert.deepEqual(gunzipSync(Buffer.concat([...gzipPieces(texts.map(deflateText))])), whole);
    }),
  );
  const [a, b] = [Buffer.alloc(100_003, 7), Buffer.alloc(77_777, 9)];
  assert.equal(combineCrc(crc32(a), crc32(b), b.length), crc32(Buffer.concat([a, b])));
});
