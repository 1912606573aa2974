/** `isthmus deidentify` as a process of its own: dry run, threads, profiles that refuse. */
import assert from 'node:assert/strict';
import { spawnSync } from 'node:child_process';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join, relative } from 'node:path';
import { test, type TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { openDatabase } from '../../src/database.ts';
import { asciiValue } from '../../src/dicom/data-set.ts';
import { readHead } from '../../src/dicom/part10.ts';
import { makeFile } from '../deidentify/support.ts';
import { enhancedHead } from '../phantom/enhanced-head.ts';
import { headObjects, scanHead } from '../phantom/head.ts';
import { ctStudy } from '../phantom/studies.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const PATIENT = { name: 'Muster^Erika', id: 'KH-1', birthDate: '19631112', sex: 'F' } as const;

interface Bench {
  readonly folder: string;
  readonly config: string;
  readonly from: string;
  isthmus(...args: string[]): { status: number | null; out: string; error: string };
}

function bench(t: TestContext, slices: number): Bench {
  const folder = mkdtempSync(join(tmpdir(), 'isthmus-deidentify-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const config = join(folder, 'config');
  cpSync(join(ROOT, 'config'), config, { recursive: true });
  const from = join(folder, 'in');
  mkdirSync(from);
  for (const [n, object] of ctStudy({ patient: PATIENT, slices, size: 8 }).objects.entries())
    writeFileSync(join(from, `Muster-${n}.dcm`), object);
  return {
    folder,
    config,
    from,
    isthmus: (...args) => {
      const { status, stdout, stderr } = spawnSync(process.execPath, [join(ROOT, 'src', 'main.ts'), ...args], {
        env: { ...process.env, ISTHMUS_CONFIG: config, ISTHMUS_DATA: join(folder, 'data') },
        encoding: 'utf8',
        maxBuffer: 2 ** 26,
      });
      return { status, out: stdout, error: stderr };
    },
  };
}

function filesBelow(folder: string): Map<string, Buffer> {
  const files = readdirSync(folder, { recursive: true, withFileTypes: true }).filter((entry) => entry.isFile());
  return new Map(
    files
      .map((entry) => join(entry.parentPath, entry.name))
      .map((path) => [relative(folder, path), readFileSync(path)]),
  );
}

test('a dry run shows each attribute before and after, and writes neither files nor crosswalk', (t) => {
  const { folder, from, isthmus } = bench(t, 2);
  const shown = isthmus('deidentify', from, '--profile', 'research-longitudinal', '--dry-run');
  assert.equal(shown.status, 0, shown.error);
  assert.match(shown.out, /^file 1\n/);
  assert.match(
    shown.out,
    /~ \(0010,0010\) PatientName: "Muster\^Erika" -> "[A-Z2-7]{10}" {3}\[written by de-identification\]/,
  );
  assert.match(shown.out, /~ \(0008,0018\) SOPInstanceUID: "[\d.]+" -> "2\.25\.\d+" {3}\[Table E\.1-1: U\]/);
  assert.match(shown.out, /= \(0028,0010\) Rows: "8"/);
  assert.match(shown.out, /0 \(0010,0030\) PatientBirthDate: "19631112" -> ""/);
  assert.match(shown.error, /2 of 2 objects would be de-identified; nothing was written/);
  const json = isthmus('deidentify', from, join(folder, 'out'), '--profile', 'basic', '--dry-run', '--json');
  const documents = json.out
    .trim()
    .split('\n')
    .map((line) => JSON.parse(line) as { file: number; changes: { path: string; action: string; before?: string }[] });
  assert.deepEqual(
    documents.map(({ file }) => file),
    [1, 2],
  );
  assert.ok(documents[0]?.changes.some(({ path, action }) => path === '(0012,0062)' && action === 'added'));
  assert.equal(existsSync(join(folder, 'out')), false);
  const database = openDatabase(join(folder, 'data', 'isthmus.sqlite'));
  for (const table of ['crosswalk_patient', 'crosswalk_study', 'crosswalk_uid', 'crosswalk_kin'])
    assert.equal(database.all(`SELECT 1 FROM ${table}`).length, 0, table);
  database.close();
});

test('a dry run shows the pseudonym that a real run will write, once the patient is known', (t) => {
  const { folder, from, isthmus } = bench(t, 1);
  assert.equal(isthmus('deidentify', from, join(folder, 'out'), '--profile', 'basic').status, 0);
  const [written] = [...filesBelow(join(folder, 'out')).values()].filter((bytes) => bytes.includes('DICM'));
  const pseudonym = /PatientName: "Muster\^Erika" -> "([A-Z2-7]{10})"/.exec(
    isthmus('deidentify', from, '--profile', 'basic', '--dry-run').out,
  )?.[1];
  assert.ok(pseudonym !== undefined && written?.includes(pseudonym) === true);
});

test('threads write what one thread writes, and the report sums it up', (t) => {
  const { folder, from, isthmus } = bench(t, 170);
  const run = (to: string, threads: string): Map<string, Buffer> => {
    const { status, error } = isthmus('deidentify', from, join(folder, to), '--profile', 'basic', '--threads', threads);
    assert.equal(status, 0, error);
    return filesBelow(join(folder, to));
  };
  const one = run('one', '1');
  const three = run('three', '3');
  assert.equal(one.size, 172);
  assert.deepEqual([...three.keys()].sort(), [...one.keys()].sort());
  const timeless = (bytes: Buffer | undefined): string =>
    String(bytes?.toString('latin1')).replaceAll(/\d{4}-\d\d-\d\dT[\d:.]+Z/g, 'then');
  for (const [name, bytes] of one) assert.equal(timeless(three.get(name)), timeless(bytes), name);
  const report = JSON.parse(String(one.get('report.json'))) as {
    totals: { uidsMapped: number };
    files: { file: number }[];
  };
  assert.ok(report.totals.uidsMapped >= 510);
  assert.deepEqual(
    report.files.map(({ file }) => file),
    Array.from({ length: 170 }, (_, n) => n + 1),
  );
  assert.equal(String(one.get('report.json')).includes('Muster'), false);
});

test('every study is cleaned of what another study of the patient told of them later, and verified; what cannot be cleaned is put aside', (t) => {
  const { folder, from, isthmus } = bench(t, 2);
  const to = join(folder, 'out');
  const first = isthmus('deidentify', from, to, '--profile', 'basic');
  assert.equal(first.status, 0, first.error);
  assert.match(readFileSync(join(to, 'report.txt'), 'utf8'), /VERDICT: RELEASE/);
  rmSync(to, { recursive: true });
  // They name somebody of whom nothing is known yet: in a text, and in a table of bytes that no rule looks into.
  const patient = { ...PATIENT, id: 'KH-LATER' };
  const nameless = { '00100010': 'Beispiel^Eva', '00100020': 'KH-LATER' };
  const text = makeFile({ ...nameless, '00080070': 'Works, Muster' });
  const table = makeFile({ ...nameless, '0020000D': '1.2.3.4.9', '00281201': Buffer.from('Works, Muster ') });
  const [late] = ctStudy({ patient, slices: 1, size: 8, studyDate: '20230101' }).objects;
  for (const name of readdirSync(from)) rmSync(join(from, name));
  writeFileSync(join(from, '1-text.dcm'), text);
  writeFileSync(join(from, '1-table.dcm'), table);
  writeFileSync(join(from, '2-late.dcm'), late ?? '');
  const second = isthmus('deidentify', from, to, '--profile', 'basic', '--threads', '1');
  assert.equal(second.status, 1);
  assert.match(second.out, /3 of 3 objects de-identified; 1 of 3 studies withheld/);
  const report = JSON.parse(readFileSync(join(to, 'report.json'), 'utf8')) as {
    withheld: string[];
    studies: { verdict: string; residue: { found: { path: string }[] } }[];
  };
  assert.deepEqual(
    report.studies.map(({ verdict, residue }) => [verdict, residue.found.map(({ path }) => path)]).sort(),
    [
      ['QUARANTINE', ['(0028,1201)']],
      ['RELEASE', []],
      ['RELEASE', []],
    ],
  );
  const [withheld] = report.withheld;
  const studies = readdirSync(to).filter((name) => !name.startsWith('report.'));
  assert.equal(studies.length, 3);
  assert.ok(studies.includes(`${String(withheld)}.withheld`));
  for (const [path, bytes] of filesBelow(to)) {
    if (!path.startsWith(`${String(withheld)}.`) && path.endsWith('.dcm')) {
      assert.equal(bytes.includes('Muster'), false);
      assert.deepEqual([bytes.subarray(128, 132).toString(), bytes.length > 600], ['DICM', true]);
    }
  }
  assert.doesNotMatch(readFileSync(join(to, 'report.txt'), 'utf8').replace(/Works, Muster/, ''), /muster/i);
});

test('anonymising: threads of one run agree, two runs do not, and no row is written', (t) => {
  const { folder, from, isthmus } = bench(t, 8);
  const studies = (to: string): string[] => {
    const { status, error } = isthmus(
      'deidentify',
      from,
      join(folder, to),
      '--profile',
      'gdpr-anonymise',
      '--threads',
      '2',
    );
    assert.equal(status, 0, error);
    return readdirSync(join(folder, to)).filter((name) => !name.startsWith('report.'));
  };
  const first = studies('first');
  const second = studies('second');
  assert.deepEqual([first.length, second.length], [1, 1]);
  assert.notDeepEqual(first, second);
  const database = openDatabase(join(folder, 'data', 'isthmus.sqlite'));
  assert.equal(database.all('SELECT 1 FROM crosswalk_uid').length, 0);
  database.close();
});

test('an expert determination that is over, or for others, refuses before a file is read', (t) => {
  const { folder, config, from, isthmus } = bench(t, 1);
  const refused = isthmus('deidentify', from, join(folder, 'out'), '--profile', 'hipaa-expert');
  assert.deepEqual([refused.status, /expired on 2000-01-01/.test(refused.error)], [1, true]);
  const file = join(config, 'profiles', 'hipaa-expert.yaml');
  const text = readFileSync(file, 'utf8')
    .replace("'2000-01-01'", "'2999-12-31'")
    .replace('recipients: []', 'recipients: [registry]');
  writeFileSync(file, text);
  assert.match(
    isthmus('deidentify', from, join(folder, 'out'), '--profile', 'hipaa-expert').error,
    /allowed: registry/,
  );
  const args = ['deidentify', from, join(folder, 'out'), '--profile', 'hipaa-expert', '--recipient', 'registry'];
  assert.match(isthmus(...args).out, /1 objects de-identified/);
});

test('a profile that contradicts itself is refused with its line', (t) => {
  const { folder, config, from, isthmus } = bench(t, 1);
  const file = join(config, 'profiles', 'basic.yaml');
  const good = readFileSync(file, 'utf8');
  const line = good.split('\n').length;
  const said = (more: string): string => {
    writeFileSync(file, `${good}${more}\n`);
    return isthmus('deidentify', from, join(folder, 'out'), '--profile', 'basic').error;
  };
  assert.match(
    said('overrides:\n  - { tag: PatientWeigth, action: K }'),
    new RegExp(`basic.yaml line ${line + 1}: "PatientWeigth" is no keyword`),
  );
  assert.match(
    said('overrides:\n  - { tag: PatientWeight, action: hold }'),
    new RegExp(`basic.yaml line ${line + 1}: .*must be one of \\["K"`),
  );
  assert.match(
    said('options: [retain-patient-characteristics]'),
    /basic.yaml line \d+: ages: remove contradicts .*expected cap-89 or keep/,
  );
});

test('DEID-FACE: heads of a folder leave as whole series without their faces; one with a gap does not leave', (t) => {
  const { folder, from, isthmus } = bench(t, 2);
  const head = scanHead({ contrast: 'CT', pixelMm: 4, sliceMm: 4 });
  const whole = headObjects(head);
  const torn = headObjects(head).filter((_, slice) => slice !== 30);
  // Mixed, and one image twice under other names.
  for (const [n, { bytes }] of whole.entries()) writeFileSync(join(from, `${String(n).padStart(3, '0')}-a.dcm`), bytes);
  for (const [n, { bytes }] of torn.entries()) writeFileSync(join(from, `${String(n).padStart(3, '0')}-b.dcm`), bytes);
  writeFileSync(join(from, '000-again.dcm'), whole[0]?.bytes ?? '');
  writeFileSync(join(from, 'enhanced.dcm'), enhancedHead([{ head }]).bytes);
  const to = join(folder, 'out');
  const run = isthmus('deidentify', from, to, '--profile', 'research-longitudinal', '--threads', '2');
  assert.equal(run.status, 1, run.error);
  const report = JSON.parse(readFileSync(join(to, 'report.json'), 'utf8')) as {
    refused: number;
    files: { file: number; written?: string; found?: string; waitsFor?: string }[];
    studies: { verdict: string; pixels: { facesCleaned: number } }[];
  };
  assert.equal(report.refused, torn.length);
  const reasons = new Set(report.files.flatMap(({ found }) => found ?? []));
  assert.equal(reasons.size, 1);
  assert.match([...reasons][0] ?? '', /images are missing: a gap of 8\.0 mm/);
  assert.ok(report.files.every(({ waitsFor }) => waitsFor === undefined));
  assert.deepEqual(
    report.studies.map(({ verdict, pixels }) => [verdict, pixels.facesCleaned]).sort((a, b) => (a < b ? -1 : 1)),
    [
      ['RELEASE', 0],
      ['RELEASE', 1],
      ['RELEASE', whole.length],
    ],
  );
  const written = [...filesBelow(to)].filter(([path]) => path.endsWith('.dcm')).map(([, bytes]) => bytes);
  const heads = written.filter((bytes) => asciiValue(readHead(bytes).head.dataSet, 0x00280302) === 'NO');
  assert.deepEqual([written.length, heads.length], [whole.length + 3, whole.length + 1]);
  // None of them holds the pixels of an image that shows a nose.
  const nose = head.slices.filter(({ pixels }) => written.some((bytes) => bytes.includes(pixels)));
  assert.ok(nose.length < head.slices.length / 2, `${nose.length} of ${head.slices.length} images are as they were`);
});

test('DEID-FOLDER-SAME: of two objects under one UID the first is kept and the other refused; the next run replaces what the last one left', (t) => {
  const { folder, from, isthmus } = bench(t, 2);
  const first = readFileSync(join(from, 'Muster-0.dcm'));
  const other = Buffer.from(first);
  other[other.length - 1] = (other.at(-1) ?? 0) ^ 1;
  writeFileSync(join(from, 'a-copy.dcm'), first);
  writeFileSync(join(from, 'z-other.dcm'), other);
  const to = join(folder, 'out');
  for (const expected of [1, 1]) {
    const run = isthmus('deidentify', from, to, '--profile', 'basic');
    assert.equal(run.status, expected, run.error);
    const report = JSON.parse(readFileSync(join(to, 'report.json'), 'utf8')) as {
      refused: number;
      files: { file: number; written?: string; reason?: string; found?: string }[];
    };
    assert.deepEqual(
      report.files.map(({ reason, written }) => reason ?? (written === undefined ? 'nothing' : 'written')),
      ['written', 'written', 'written', 'Duplicate'],
    );
    assert.equal(report.refused, 1);
    assert.match(report.files[3]?.found ?? '', /\(0008,0018\) with other content; the first is kept/);
    const files = filesBelow(to);
    const written = [...files.keys()].filter((path) => path.endsWith('.dcm'));
    assert.equal(written.length, 2);
    assert.ok([...files.keys()].every((path) => !path.endsWith('.part')));
    // What the first run wrote makes way for what the second one writes.
    const kept = files.get(report.files[0]?.written ?? '');
    assert.equal(kept?.at(-1), first.at(-1));
  }
  rmSync(join(from, 'a-copy.dcm'));
  rmSync(join(from, 'Muster-0.dcm'));
  assert.equal(isthmus('deidentify', from, to, '--profile', 'basic').status, 0);
  const report = JSON.parse(readFileSync(join(to, 'report.json'), 'utf8')) as { files: { written?: string }[] };
  assert.equal(
    filesBelow(to)
      .get(report.files[1]?.written ?? '')
      ?.at(-1),
    other.at(-1),
  );
});
