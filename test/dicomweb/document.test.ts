/** Reports, key objects and encapsulated documents rendered for people (PS3.18 table 8.7.4-1), over a real socket. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { storeInstance } from '../../src/archive/instances.ts';
import { code, identified, objectOf } from '../phantom/keywords.ts';
import { fill, openDoor, partsOf, type Door } from './door.ts';

const EVIL = `<script>alert(1)</script>"'><img src=x onerror=alert(1)>&lt;`;
const PDF_BYTES = Buffer.from('%PDF-1.4\nodd');
const CDA_TEXT = '<?xml version="1.0"?><ClinicalDocument xmlns="urn:hl7-org:v3"><title>Ä</title></ClinicalDocument>';
const REPORT = '/studies/2.25.1/series/2.25.1.2/instances/2.25.1.2.1/rendered';
const PDF = '/studies/2.25.1/series/2.25.1.3/instances/2.25.1.3.1/rendered';
const CDA = '/studies/2.25.1/series/2.25.1.3/instances/2.25.1.3.2/rendered';
const KEYS = '/studies/2.25.1/series/2.25.1.4/instances/2.25.1.4.1/rendered';
const named = (meaning: string): object => ({ ConceptNameCodeSequence: [code('121071', 'DCM', meaning)] });
const image = { ReferencedSOPClassUID: '1.2.840.10008.5.1.4.1.1.2', ReferencedSOPInstanceUID: '2.25.1.1.1' };

let door: Door;
before(async () => {
  door = await openDoor();
  await fill(door, {
    studyInstanceUID: '2.25.1',
    seriesInstanceUID: '2.25.1.1',
    sopInstanceUID: '2.25.1.1.1',
    numberOfFrames: 3,
  });
  const measurement = {
    RelationshipType: 'CONTAINS',
    ValueType: 'NUM',
    ...named('Longest diameter'),
    MeasuredValueSequence: [{ NumericValue: 12.5, MeasurementUnitsCodeSequence: [code('mm', 'UCUM', 'millimeter')] }],
    ContentSequence: [
      {
        RelationshipType: 'INFERRED FROM',
        ValueType: 'IMAGE',
        ReferencedSOPSequence: [{ ...image, ReferencedFrameNumber: 2 }],
      },
      {
        RelationshipType: 'INFERRED FROM',
        ValueType: 'IMAGE',
        ReferencedSOPSequence: [{ ...image, ReferencedSOPInstanceUID: '2.25.77' }],
      },
    ],
  };
  const content = [
    {
      RelationshipType: 'CONTAINS',
      ValueType: 'CONTAINER',
      ...named('Findings'),
      ContentSequence: [
        { RelationshipType: 'CONTAINS', ValueType: 'CONTAINER', ...named('Liver'), ContentSequence: [measurement] },
        {
          RelationshipType: 'CONTAINS',
          ValueType: 'CODE',
          ...named('Impression'),
          ConceptCodeSequence: [code('1', '99X', 'Größe normal')],
        },
      ],
    },
    { RelationshipType: 'CONTAINS', ValueType: 'TEXT', ...named(EVIL), TextValue: `${EVIL}\nsecond line` },
    { RelationshipType: 'CONTAINS', ValueType: 'PNAME', ...named('Reader'), PersonName: 'Doe^Jane' },
    { RelationshipType: 'CONTAINS', ValueType: 'DATETIME', ...named('When'), DateTime: '20240917101500.5' },
    { RelationshipType: 'CONTAINS', ValueType: 'NUM', ...named('Nothing measured') },
  ];
  const { archive } = door.gateway;
  await storeInstance(
    archive,
    objectOf({
      ...identified('1.2.840.10008.5.1.4.1.1.88.33', 'SR', [1, 2, 1]),
      ValueType: 'CONTAINER',
      ConceptNameCodeSequence: [code('126000', 'DCM', 'Imaging Measurement Report')],
      ContentDate: '20240917',
      ContentTime: '101500',
      CompletionFlag: 'COMPLETE',
      VerificationFlag: 'UNVERIFIED',
      ContentSequence: content,
    }),
  );
  await storeInstance(
    archive,
    objectOf({
      ...identified('1.2.840.10008.5.1.4.1.1.104.1', 'DOC', [1, 3, 1]),
      DocumentTitle: 'Letter',
      EncapsulatedDocument: Buffer.concat([PDF_BYTES, Buffer.alloc(PDF_BYTES.length % 2)]),
      EncapsulatedDocumentLength: PDF_BYTES.length,
      MIMETypeOfEncapsulatedDocument: 'application/pdf',
    }),
  );
  const cda = Buffer.from(CDA_TEXT);
  await storeInstance(
    archive,
    objectOf({
      ...identified('1.2.840.10008.5.1.4.1.1.104.2', 'DOC', [1, 3, 2]),
      DocumentTitle: 'Discharge',
      EncapsulatedDocument: Buffer.concat([cda, Buffer.alloc(cda.length % 2)]),
      MIMETypeOfEncapsulatedDocument: 'text/XML',
    }),
  );
  await storeInstance(
    archive,
    objectOf({
      ...identified('1.2.840.10008.5.1.4.1.1.88.59', 'KO', [1, 4, 1]),
      ValueType: 'CONTAINER',
      ConceptNameCodeSequence: [code('113000', 'DCM', 'Of Interest')],
      ContentSequence: [{ RelationshipType: 'CONTAINS', ValueType: 'IMAGE', ReferencedSOPSequence: [image] }],
    }),
  );
});
after(() => door.close());

test('DOCUMENT-1: a report is HTML by default, with headings, values and units, and links to the pictures it speaks of', async () => {
  const response = await door.get(REPORT);
  assert.equal(response.status, 200);
  assert.equal(response.headers.get('content-type'), 'text/html; charset=utf-8');
  assert.ok(response.headers.get('content-location')?.endsWith(REPORT));
  const html = await response.text();
  assert.match(html, /<title>Imaging Measurement Report<\/title>/);
  assert.match(html, /<h2>Findings<\/h2>[^]*<h3>Liver<\/h3>[^]*<b>Longest diameter:<\/b> 12\.5 mm/);
  assert.match(html, /<b>Impression:<\/b> Größe normal/);
  assert.match(html, /<b>Reader:<\/b> Doe, Jane/);
  assert.match(html, /<b>When:<\/b> 2024-09-17 10:15:00/);
  assert.match(html, /Patient<\/th><td>Pseudonym, One/);
  const [, link = ''] = /<a href="([^"]+)">CT object 1, frame 2<\/a>/.exec(html) ?? [];
  const picture = await fetch(link);
  await picture.arrayBuffer();
  assert.equal(picture.headers.get('content-type'), 'image/jpeg');
  assert.match(html, /object 2\.25\.77, which is not here/);
  const known = await fetch(door.url + REPORT, { headers: { 'if-none-match': response.headers.get('etag') ?? '' } });
  assert.equal(known.status, 304);
});

test('DOCUMENT-2: what an object says cannot become markup or run: everything is escaped, the policy allows nothing', async () => {
  for (const type of ['text/html', 'text/xml', 'text/plain']) {
    const response = await door.get(REPORT, type);
    const policy = response.headers.get('content-security-policy') ?? '';
    assert.match(policy, /^default-src 'none'/);
    assert.match(policy, /sandbox/);
    assert.doesNotMatch(policy, /script/);
    assert.equal(response.headers.get('x-content-type-options'), 'nosniff');
    const text = await response.text();
    if (type === 'text/plain') continue;
    assert.doesNotMatch(text, /<script|<img|"'>/);
    assert.match(text, /&lt;script&gt;alert\(1\)/);
    // An entity that is text already is text again.
    assert.match(text, /&amp;lt;/);
  }
});

test('DOCUMENT-3: plain text and XML where they are asked for; pictures of a report are 406', async () => {
  const plain = await door.get(REPORT, 'text/plain');
  assert.equal(plain.headers.get('content-type'), 'text/plain; charset=utf-8');
  assert.match(
    await plain.text(),
    /^Imaging Measurement Report\n[^]*\nFindings\n  Liver\n    Longest diameter: 12\.5 mm\n/,
  );
  const xml = await door.get(REPORT, 'text/xml');
  assert.equal(xml.headers.get('content-type'), 'text/xml');
  assert.match(await xml.text(), /<NativeDicomModel/);
  assert.equal((await door.get(REPORT, 'image/png')).status, 406);
  assert.equal((await door.get(REPORT, 'application/pdf')).status, 406);
  assert.equal((await door.get(`${REPORT}?iccprofile=yes`)).status, 400);
});

test('DOCUMENT-4: a PDF is given without its padding, told of in HTML; a CDA is XML and shown as text', async () => {
  const pdf = await door.get(PDF, 'application/pdf');
  assert.equal(pdf.headers.get('content-type'), 'application/pdf');
  assert.deepEqual(Buffer.from(await pdf.arrayBuffer()), PDF_BYTES);
  const html = await (await door.get(PDF)).text();
  const [, link = ''] = /<a href="([^"]+)">Open the document/.exec(html) ?? [];
  assert.match(html, /<h1>Letter<\/h1>/);
  const opened = await fetch(link, { headers: { accept: 'text/html,*/*;q=0.8' } });
  assert.deepEqual(Buffer.from(await opened.arrayBuffer()), PDF_BYTES);
  const cda = await door.get(CDA, 'text/xml');
  assert.equal(await cda.text(), CDA_TEXT);
  assert.match(await (await door.get(CDA)).text(), /&lt;ClinicalDocument [^]*Ä/);
  assert.equal((await door.get(CDA, 'application/pdf')).status, 406);
});

test('DOCUMENT-5: a key object selection lists what it selects; of a study documents come as parts beside pictures', async () => {
  const html = await (await door.get(KEYS)).text();
  assert.match(html, /<h1>Of Interest<\/h1>[^]*<a href="[^"]*\/instances\/2\.25\.1\.1\.1\/rendered">CT object 1<\/a>/);
  const texts = await partsOf(await door.get('/studies/2.25.1/rendered', 'multipart/related; type="text/html"'));
  assert.equal(texts.length, 4);
  const pictures = await partsOf(await door.get('/studies/2.25.1/rendered'));
  assert.deepEqual(
    pictures.map(({ headers }) => headers['content-type']),
    Array(3).fill('image/jpeg'),
  );
  const series = await partsOf(await door.get('/studies/2.25.1/series/2.25.1.2/rendered'));
  assert.equal(series[0]?.headers['content-type'], 'text/html; charset=utf-8');
});
