/** The grammar of a search: DICOMWEB.md traps 1 to 4 and 9, and section 4 "Query parsing". */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { parseQuery } from '../../src/dicomweb/exchange.ts';
import { readSearchRequest } from '../../src/dicomweb/search-request.ts';
import { Refusal } from '../../src/dicom/refusal.ts';

const read = (raw: string) => readSearchRequest(parseQuery(raw));
const refused = (pattern: RegExp) => (error: unknown) =>
  error instanceof Refusal && error.reason === 'BadRequest' && pattern.test(error.message);

test('PS3.18-8.3.4.1-keys: keyword, tag and sequence paths of either kind name the same attribute', () => {
  const paths = (raw: string) => read(raw).matches.map(({ path }) => path);
  assert.deepEqual(paths('PatientID=x'), [[0x00100020]]);
  assert.deepEqual(paths('00100020=x'), [[0x00100020]]);
  for (const key of [
    'RequestAttributesSequence.ScheduledProcedureStepID',
    '00400275.00400009',
    'RequestAttributesSequence.00400009',
    '00400275.ScheduledProcedureStepID',
  ])
    assert.deepEqual(paths(`${key}=x`), [[0x00400275, 0x00400009]], key);
});

test('PS3.18-8.3.4.1-unknown: an unknown or malformed key is 400 and named, its value is not', () => {
  const attempts: [string, RegExp][] = [
    ['PatientNam=SECRET', /PatientNam /],
    ['0010002=SECRET', /./],
    ['001000200=SECRET', /./],
    ['RequestAttributesSequence.x=SECRET', /RequestAttributesSequence\.x/],
    ['RequestAttributesSequence.=SECRET', /./],
    ['SE CRET^X=1', /a key of the query/],
    ['=SECRET', /./],
  ];
  for (const [raw, pattern] of attempts) {
    assert.throws(() => read(raw), refused(pattern), raw);
    assert.throws(
      () => read(raw),
      (error) => error instanceof Error && !error.message.includes('SECRET'),
      raw,
    );
  }
});

test('PS3.18-8.3.4.1-repeated: a repeated key is 400, also under its other name', () => {
  assert.throws(() => read('PatientID=a&PatientID=b'), refused(/PatientID/));
  assert.throws(() => read('StudyDate=20200101&00080020=20200102'), refused(/00080020/));
  assert.throws(() => read('limit=1&limit=2'), refused(/limit/));
});

test('PS3.18-8.3.1-sequence: a path leads through sequences to what is none', () => {
  assert.deepEqual(read('RequestAttributesSequence.00401001=x').matches[0]?.path, [0x00400275, 0x00401001]);
  for (const raw of [
    'RequestAttributesSequence=x',
    '00400275=x',
    'OtherPatientIDsSequence.IssuerOfPatientIDQualifiersSequence=x',
    'PatientID.StudyID=x',
    'PatientName.RequestAttributesSequence.ScheduledProcedureStepID=x',
    'RequestAttributesSequence..ScheduledProcedureStepID=x',
    '.PatientID=x',
    'PatientID.=x',
  ])
    assert.throws(() => read(raw), refused(/./), raw);
});

test('PS3.18-8.3.4.1-encoded: what is percent-encoded in a value is the value, whatever it means unencoded', () => {
  const raw = 'StudyDescription=%23%5B%5D%26%3D%2C%2B%25&PatientName=M%C3%BCller%5E*%3D%E5%B1%B1';
  assert.deepEqual(
    read(raw).matches.map(({ value }) => value),
    ['#[]&=,+%', 'M\u00fcller^*=\u5c71'],
  );
  assert.equal(read('StudyDescription=a+b').matches[0]?.value, 'a b');
  for (const broken of ['PatientID=%', 'PatientID=%4', 'PatientID=%zz', 'PatientID=%C3', '%zz=1'])
    assert.throws(() => read(broken), refused(/./), broken);
});

test('PS3.18-8.3.4.4-paging: limit and offset are whole numbers', () => {
  assert.deepEqual([read('limit=25&offset=50').limit, read('limit=25&offset=50').offset], [25, 50]);
  assert.deepEqual([read('').limit, read('').offset], [undefined, 0]);
  assert.equal(read('limit=0').limit, 0);
  for (const raw of ['limit=abc', 'limit=-1', 'limit=1.5', 'limit=', 'offset=x', 'offset=1e3', 'limit=%2B5'])
    assert.throws(() => read(raw), refused(/limit|offset/), raw);
});

test('PS3.18-8.3.4.3-includefield: repeats, comma lists and percent-encoded commas are one list; all stands alone', () => {
  const expected = [[0x00081030], [0x00080060], [0x00100030]];
  for (const raw of [
    'includefield=00081030,00080060,00100030',
    'includefield=00081030%2C00080060%2C00100030',
    'includefield=StudyDescription&includefield=Modality,00100030',
  ])
    assert.deepEqual(read(raw).include, expected, raw);
  assert.equal(read('includefield=all').include, 'all');
  for (const raw of [
    'includefield=all,00080060',
    'includefield=all&includefield=Modality',
    'includefield=',
    'includefield=nope',
  ])
    assert.throws(() => read(raw), refused(/includefield/), raw);
});

test('boolean parameters are true or false; accept and charset match nothing', () => {
  assert.deepEqual([...read('fuzzymatching=true&emptyvaluematching=false').options], ['fuzzymatching']);
  assert.throws(() => read('fuzzymatching=yes'), refused(/fuzzymatching/));
  assert.deepEqual(read('accept=application/dicom%2Bjson&charset=utf-8').matches, []);
});

test('a query is decoded once, after it is split; a plus is a blank; what is not UTF-8 is 400', () => {
  assert.deepEqual(parseQuery('PatientName=A%26B%3DC+D&x'), [
    ['PatientName', 'A&B=C D'],
    ['x', ''],
  ]);
  assert.deepEqual(parseQuery('a=%2525'), [['a', '%25']]);
  assert.throws(() => parseQuery('PatientName=%E4'), refused(/UTF-8/));
  assert.throws(() => parseQuery('PatientName=%'), refused(/UTF-8/));
});
