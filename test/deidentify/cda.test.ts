/** Encapsulated CDA: nothing that identifies comes through, what was found stays, and whatever cannot be cleaned is held. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { describe, it, test } from 'node:test';
import fc from 'fast-check';
import { compileProfile, ProfileFault } from '../../src/deidentify/profile.ts';
import { decodeXml, formatXml, parseXml, type XmlElement } from '../../src/deidentify/xml.ts';
import { findElement, numberValue, valueBytes } from '../../src/dicom/data-set.ts';
import { Refusal } from '../../src/dicom/refusal.ts';
import { fileOf, holds, makeFile, memoryWall, pass, type Passed } from './support.ts';

const CDA = '1.2.840.10008.5.1.4.1.1.104.2';
const SCRUB = compileProfile(fileOf('research-longitudinal'));
const WORDS = compileProfile({ ...fileOf('gdpr-anonymise'), faces: 'allow', pixels: 'allow' });

const DOCUMENT = `<?xml version="1.0" encoding="UTF-8"?>
<?xml-stylesheet type="text/xsl" href="http://his.klinik-quellental.example/cda.xsl"?>
<!-- dictated by Yxquardt -->
<ClinicalDocument xmlns="urn:hl7-org:v3" xmlns:xsi="http://www.w3.org/2001/XMLSchema-instance" xsi:schemaLocation="urn:hl7-org:v3 file://QZHOST/CDA.xsd">
  <realmCode code="US"/>
  <typeId root="2.16.840.1.113883.1.3" extension="POCD_HD000040"/>
  <templateId root="2.16.840.1.113883.10.20.6"/>
  <id root="1.2.777.5" extension="QZDOC-90817"/>
  <code code="18748-4" codeSystem="2.16.840.1.113883.6.1" displayName="Diagnostic Imaging Report"/>
  <title>CT of the liver of Mrs Zwanzigerova</title>
  <effectiveTime value="20240405101112+0100"/>
  <confidentialityCode code="N" codeSystem="2.16.840.1.113883.5.25"/>
  <languageCode code="en-US"/>
  <recordTarget><patientRole>
    <id root="1.2.777.6" extension="QZMRN-556677"/>
    <addr use="HP"><streetAddressLine>Kastanienpfad 17</streetAddressLine><city>Quellenhausen</city><postalCode>98765</postalCode></addr>
    <telecom value="tel:+49-555-8765432" use="HP"/>
    <patient>
      <name><prefix>Dr.</prefix><given>Ludmila</given><family>Zwanzigerova</family></name>
      <administrativeGenderCode code="F" codeSystem="2.16.840.1.113883.5.1"/>
      <birthTime value="19310706"/>
    </patient>
    <providerOrganization><id root="1.2.777.7"/><name>Klinik Quellental</name></providerOrganization>
  </patientRole></recordTarget>
  <author><time value="20240405"/><assignedAuthor><id root="1.2.777.8" extension="QZDOCTOR7"/>
    <assignedPerson><name>Pia Yxquardt</name></assignedPerson></assignedAuthor></author>
  <component><structuredBody><component><section ID="s1">
    <code code="QZLOCAL" codeSystem="1.2.777.9" displayName="Findings for Zwanzigerova"/>
    <title>Findings</title>
    <text><paragraph styleCode="Bold">Liver of Ludmila <content ID="c1">Zwanzigerova</content>: lesion of 12 mm. Seen on 05.04.2024, call +49 555 8765432.</paragraph>
      <table><tbody><tr><td>Spleen normal &amp; small</td><td>QZMRN-556677</td></tr></tbody></table></text>
    <entry><observation classCode="OBS" moodCode="EVN"><id root="1.2.3.4.3"/>
      <code code="21889-1" codeSystem="2.16.840.1.113883.6.1" displayName="Size"/>
      <effectiveTime><low value="20240401"/><high value="20240405"/></effectiveTime>
      <value xsi:type="PQ" value="12.5" unit="mm"/>
      <value xsi:type="PQ" value="93" unit="a"/>
      <qzVendorNote>Zwanzigerova again</qzVendorNote>
      <reference value="http://his.klinik-quellental.example/55"/>
    </observation></entry>
  </section></component></structuredBody></component>
</ClinicalDocument>`;

const SECRETS = (
  'Zwanzigerova Ludmila Yxquardt QZDOC-90817 QZMRN-556677 556677 Kastanienpfad Quellenhausen 98765 8765432 19310706 Quellental QZDOCTOR7 ' +
  'QZLOCAL 20240405 20240401 05.04.2024 QZHOST 1.2.777 qzVendor his.klinik'
).split(' ');

const encapsulated = (document: Buffer | string): Buffer =>
  makeFile(
    {
      '00080016': CDA,
      '00080060': 'DOC',
      '00100010': 'Zwanzigerova^Ludmila',
      '00420010': 'ST:Report of Zwanzigerova',
      '00420011': Buffer.from(document),
      '00420012': 'text/XML',
      '00420015': ((length) => {
        const bytes = Buffer.alloc(4);
        bytes.writeUInt32LE(length);
        return bytes;
      })(Buffer.from(document).length),
    },
    { pixels: null, meta: { '00020002': CDA } },
  );

function documentIn({ dataSet }: Passed): string {
  const element = findElement(dataSet, 0x00420011);
  assert.ok(element);
  const length = numberValue(dataSet, 0x00420015) ?? 0;
  const bytes = valueBytes(dataSet, element);
  assert.ok(bytes.length - length <= 1);
  return bytes.toString('utf8', 0, length);
}

function all(root: XmlElement, name: string): XmlElement[] {
  const inside = root.children.flatMap((child) => (typeof child === 'string' ? [] : all(child, name)));
  return root.name === name ? [root, ...inside] : inside;
}

const isHeld = (error: unknown): boolean => error instanceof Refusal && error.reason === 'Quarantined';

describe('an encapsulated CDA', () => {
  for (const profile of [SCRUB, WORDS]) {
    test(`DEID-CDA: leaves without anybody’s name, number, place or time: ${profile.name}`, async () => {
      const passed = await pass(encapsulated(DOCUMENT), { profile });
      for (const secret of SECRETS) assert.equal(holds(passed.file, secret), false, secret);
      const text = documentIn(passed);
      const root = parseXml(text);
      // What was found stays.
      for (const kept of ['lesion', '12 mm', 'Spleen normal &amp; small', 'Liver', '18748-4'])
        assert.ok(text.includes(kept), kept);
      assert.equal(all(root, 'value')[0]?.attributes.get('value'), '12.5');
      assert.equal(all(root, 'value')[1]?.attributes.get('value'), '90');
      assert.deepEqual([...(all(root, 'name')[0]?.attributes ?? [])], [['nullFlavor', 'MSK']]);
      assert.equal(all(root, 'ClinicalDocument')[0]?.children.length !== 0, true);
      assert.equal(spawnSync('xmllint', ['--noout', '-'], { input: text }).status ?? 0, 0);
    });
  }

  it('says names that the narrative of another object of the study is cleaned of', async () => {
    const wall = memoryWall();
    await pass(encapsulated(DOCUMENT), { wall, profile: SCRUB });
    const image = makeFile({ '00080018': '1.2.3.4.9', '00100010': '', '0008103E': 'LO:Liver, Yxquardt' });
    assert.equal(holds((await pass(image, { wall, profile: SCRUB })).file, 'Yxquardt'), false);
  });

  it('keeps the distance of its times, and maps UIDs of the study as its objects are mapped', async () => {
    const wall = memoryWall();
    const root = parseXml(documentIn(await pass(encapsulated(DOCUMENT), { wall, profile: SCRUB })));
    const [low, high] = ['low', 'high'].map((name) => all(root, name)[0]?.attributes.get('value') ?? '');
    const day = (text = ''): number =>
      Date.UTC(+text.slice(0, 4), +text.slice(4, 6) - 1, +text.slice(6, 8)) / 86_400_000;
    assert.equal(day(high) - day(low), 4);
    const image = await pass(makeFile({ '0008103E': 'LO:Liver' }), { wall, profile: SCRUB });
    const [observation] = all(root, 'observation');
    assert.equal(observation && all(observation, 'id')[0]?.attributes.get('root'), image.result.object.sopInstanceUID);
  });

  const HELD: readonly (readonly [string, string | Buffer])[] = [
    ['is a PDF', '%PDF-1.7'],
    ['is empty', ''],
    ['ends early', DOCUMENT.slice(0, -20)],
    [
      'has a document type',
      DOCUMENT.replace('<ClinicalDocument', '<!DOCTYPE x [<!ENTITY e SYSTEM "file:///etc/passwd">]><ClinicalDocument'),
    ],
    ['has an entity of its own', DOCUMENT.replace('&amp;', '&e;')],
    ['crosses its elements', DOCUMENT.replace('</paragraph>', '</content>')],
    ['is another document', '<note xmlns="urn:hl7-org:v3"/>'],
    ['holds a document', DOCUMENT.replace('<structuredBody>', '<nonXMLBody><text/></nonXMLBody><structuredBody>')],
    ['holds a picture', DOCUMENT.replace('<paragraph', '<value representation="B64">QUJD</value><paragraph')],
    [
      'has a namespace of the house',
      DOCUMENT.replace('<paragraph', '<x xmlns="urn:klinik-quellental"/><paragraph xmlns="urn:klinik-q"'),
    ],
    [
      'is not in its encoding',
      Buffer.concat([Buffer.from(DOCUMENT.slice(0, 300)), Buffer.from([0xff, 0xfe]), Buffer.from(DOCUMENT.slice(300))]),
    ],
    [
      'is nested too deep',
      `<ClinicalDocument xmlns="urn:hl7-org:v3">${'<component>'.repeat(300)}${'</component>'.repeat(300)}</ClinicalDocument>`,
    ],
  ];
  for (const [what, document] of HELD)
    it(`is held when it ${what}`, async () => {
      await assert.rejects(pass(encapsulated(document), { profile: SCRUB }), isHeld);
    });

  it('is held where the profile says so, with that reason; a PDF under every profile', async () => {
    const basic = compileProfile(fileOf('basic'));
    await assert.rejects(pass(encapsulated(DOCUMENT), { profile: basic }), ({ message }: Refusal) =>
      /documents: quarantine/.test(message),
    );
    const pdf = makeFile({ '00080016': '1.2.840.10008.5.1.4.1.1.104.1' }, { pixels: null });
    await assert.rejects(pass(pdf, { profile: SCRUB }), ({ message }: Refusal) => /under any profile/.test(message));
  });

  it('is not to be cleaned by a profile that cleans no structured content', () => {
    assert.throws(() => compileProfile({ ...fileOf('basic'), documents: 'clean' }), ProfileFault);
  });

  it('damaged anywhere is held or leaves without what it held', async () => {
    const wall = memoryWall();
    const bytes = Buffer.from(DOCUMENT);
    await fc.assert(
      fc.asyncProperty(
        fc.array(fc.tuple(fc.nat(bytes.length - 1), fc.constantFrom(...'<>/&"\'= !-[]?x0')), {
          minLength: 1,
          maxLength: 3,
        }),
        async (changes) => {
          const damaged = Buffer.from(bytes);
          for (const [at, letter] of changes) damaged.write(letter, at, 'latin1');
          try {
            const text = documentIn(await pass(encapsulated(damaged), { wall, profile: SCRUB }));
            parseXml(text);
            // Of the patient, whom the object names, nothing stays whatever is broken.
            assert.equal(holds(Buffer.from(text), 'Zwanzigerova'), false);
          } catch (error) {
            if (!isHeld(error)) throw error;
          }
        },
      ),
      { numRuns: 150 },
    );
  });
});

describe('XML', () => {
  it('is read in the encodings that documents come in', () => {
    const text = '<?xml version="1.0" encoding="ENC"?><a b="ü">é</a>';
    const latin = Buffer.from(text.replace('ENC', 'ISO-8859-1'), 'latin1');
    const wide = Buffer.concat([Buffer.from([0xff, 0xfe]), Buffer.from(text.replace('ENC', 'UTF-16'), 'utf16le')]);
    for (const bytes of [latin, wide, Buffer.from(text.replace('ENC', 'utf-8'))])
      assert.deepEqual(parseXml(decodeXml(bytes)), { name: 'a', attributes: new Map([['b', 'ü']]), children: ['é'] });
  });

  it('reads what it writes', () => {
    const name = fc.stringMatching(/^[a-zA-Z_][a-zA-Z0-9_.-]{0,8}$/);
    const text = fc.string({ unit: fc.constantFrom(...'<>&"\'x \n\r\tü漢') });
    const { element } = fc.letrec<{ element: XmlElement }>((tie) => ({
      element: fc.record({
        name,
        attributes: fc
          .array(
            fc.tuple(
              name,
              text.map((one) => one.replaceAll(/\s/g, ' ')),
            ),
          )
          .map((pairs) => new Map(pairs)),
        children: fc.array(
          fc.oneof(
            { maxDepth: 4 },
            text.filter((one) => one !== ''),
            tie('element'),
          ),
          { maxLength: 4 },
        ),
      }),
    }));
    const joined = ({ children, ...rest }: XmlElement): XmlElement => ({
      ...rest,
      children: children.reduce<(XmlElement | string)[]>((all, child) => {
        const last = all.at(-1);
        if (typeof child === 'string' && typeof last === 'string') return [...all.slice(0, -1), last + child];
        return [...all, typeof child === 'string' ? child : joined(child)];
      }, []),
    });
    fc.assert(fc.property(element, (one) => assert.deepEqual(parseXml(formatXml(one)), joined(one))));
  });
});
