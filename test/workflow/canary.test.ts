/**
 * Objects full of identifying values go into a real gateway by both doors, one study through a pipeline; then everything that is on disk or
 * can be fetched is searched for them. Left out: what is sealed (quarantine) and the keys.
 */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { randomInt } from 'node:crypto';
import { cpSync, existsSync, mkdirSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { constants, gunzipSync, inflateRawSync, inflateSync } from 'node:zlib';
import { openDatabase, type Database } from '../../src/database.ts';
import { openAssociation, release, store } from '../../src/dimse/scu.ts';
import { assertNoLeak, leakedCanaries } from '../peers/canary-check.ts';
import { startGateway, type GatewayProcess } from '../peers/gateway.ts';
import { until } from '../peers/ports.ts';
import { findCanaries } from '../peers/canary-search.ts';
import { canaryFile } from '../phantom/canary-files.ts';
import { canaryObject } from '../phantom/canaries.ts';
import { ctStudy } from '../phantom/studies.ts';
import { retrieveParts, searchAll, stow, type DicomJson } from './clients.ts';

const PROFILES = ['basic', 'hipaa-safe-harbor'] as const;
/** `expert-in-force`: hipaa-expert as shipped, and a determination that holds. */
const ALL_PROFILES = [
  ...PROFILES,
  'gdpr-anonymise',
  'gdpr-pseudonymise',
  'research-longitudinal',
  'expert-in-force',
] as const;
type ProfileName = (typeof ALL_PROFILES)[number];
/** Profiles whose dates keep their year: 1 January of it. */
const YEAR_ONLY: ReadonlySet<ProfileName> = new Set(['hipaa-safe-harbor', 'gdpr-anonymise']);

async function open(t: TestContext, profile: ProfileName): Promise<{ folder: string; gateway: GatewayProcess }> {
  const folder = mkdtempSync(join(tmpdir(), 'isthmus-canaries-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const profiles = join(folder, 'gateway', 'config', 'profiles');
  mkdirSync(profiles, { recursive: true });
  const shipped = readFileSync(new URL('../../config/profiles/hipaa-expert.yaml', import.meta.url), 'utf8');
  const inForce = shipped
    .replace('profile: hipaa-expert', 'profile: expert-in-force')
    .replace(/expires: .*/, "expires: '2999-12-31'")
    .replace('recipients: []', 'recipients: [trial]');
  writeFileSync(join(profiles, 'expert-in-force.yaml'), inForce);
  const gateway = await startGateway({
    folder: join(folder, 'gateway'),
    log: 'file',
    gateway: 'completion: { quietSeconds: 1 }\nlog: info\n',
    nodes: 'nodes: {}\n',
    rules: `admission:
  - { name: all, when: { callingAE: '*' }, project: trial, profile: ${profile} }
processing:
  - { name: quieter CT, when: { modality: CT, minInstances: 4 }, run: ct-denoise }
`,
  });
  t.after(() => gateway.stop());
  return { folder, gateway };
}

/** Every second object by C-STORE, the others by STOW-RS. */
async function send(gateway: GatewayProcess, objects: readonly Buffer[]): Promise<{ stored: number; held: number }> {
  const counts = { stored: 0, held: 0 };
  for (const [n, object] of objects.entries()) {
    if (n % 2 === 0) {
      const { json } = await stow(gateway.base, [object]);
      for (const item of (json['00081199']?.Value ?? []) as DicomJson[]) {
        if (item['00081196']?.Value?.[0] !== 0xb000) counts.stored++;
        else counts.held++;
      }
    } else {
      const status = await sendByCStore(gateway, object);
      if (status === 0) counts.stored++;
      if (status === 0xb000) counts.held++;
    }
  }
  return counts;
}

async function sendByCStore(gateway: GatewayProcess, bytes: Buffer): Promise<number> {
  const metaEnd = 144 + bytes.readUInt32LE(140);
  const text = (tag: number): string => metaText(bytes.subarray(144, metaEnd), tag);
  const sopClassUID = text(0x00020002);
  const transferSyntaxUID = text(0x00020010);
  const association = await openAssociation({
    host: '127.0.0.1',
    port: gateway.dimsePort,
    callingAE: 'CANARY',
    calledAE: 'ISTHMUS',
    idleMs: 600_000,
    contexts: [{ sopClassUID, transferSyntaxUIDs: [transferSyntaxUID] }],
  });
  const status = await store(association, {
    sopClassUID,
    sopInstanceUID: text(0x00020003),
    transferSyntaxUID,
    dataSet: bytes.subarray(metaEnd),
  });
  await release(association);
  return status;
}

/** A UID of the file meta, whatever follows it. */
function metaText(meta: Buffer, tag: number): string {
  for (let at = 0; at + 8 <= meta.length;) {
    const isLong = meta.toString('latin1', at + 4, at + 6) === 'OB';
    const start = at + (isLong ? 12 : 8);
    const end = start + (isLong ? meta.readUInt32LE(at + 8) : meta.readUInt16LE(at + 6));
    if (meta.readUInt16LE(at) * 0x10000 + meta.readUInt16LE(at + 2) === tag)
      return meta.toString('latin1', start, end).replace(/\0$/, '');
    at = end;
  }
  return '';
}

/** A CT study that the pipeline runs on, named with these words. */
async function derive(gateway: GatewayProcess, name: string, id: string): Promise<string[]> {
  const study = ctStudy({ patient: { name, id, birthDate: '19410706', sex: 'F' }, slices: 5, size: 64 });
  const { stored } = await send(gateway, study.objects);
  assert.equal(stored, study.objects.length);
  await until(
    'the denoised series',
    async () => {
      const items = (await (await fetch(`${gateway.base}/api/work-items`)).json()) as { state: string }[];
      return items.length > 0 && items.every(({ state }) => state === 'COMPLETED' || state === 'CANCELED');
    },
    90_000,
    250,
  );
  return [study.studyInstanceUID, study.accessionNumber, 'Klinikum Musterstadt', 'berweiser^J', '19410706'];
}

/** Writes everything that can be fetched, and a copy of everything on disk that is not sealed, to one folder. */
async function collect(folder: string, gateway: GatewayProcess, words: readonly string[]): Promise<string> {
  const out = join(folder, 'out');
  mkdirSync(out);
  let answers = 0;
  const keep = (what: Buffer | string, kind = 'txt'): void =>
    writeFileSync(join(out, `${String(answers++).padStart(5, '0')}.${kind}`), what);
  const ask = async (path: string, init: RequestInit = {}): Promise<void> => {
    const reply = await fetch(`${gateway.base}${path}`, init);
    keep(JSON.stringify([reply.status, ...reply.headers]));
    keep(Buffer.from(await reply.arrayBuffer()));
  };
  const studies = await searchAll(gateway.base, 'studies?includefield=all');
  assert.ok(studies.length > 0);
  keep(JSON.stringify(studies));
  keep(JSON.stringify(await searchAll(gateway.base, 'series?includefield=all')));
  keep(JSON.stringify(await searchAll(gateway.base, 'instances?includefield=all')));
  for (const study of studies) {
    const uid = String(study['0020000D']?.Value?.[0]);
    await ask(`/dicom-web/studies/${uid}/metadata`, { headers: { Accept: 'application/dicom+json' } });
    for (const part of await retrieveParts(gateway.base, `studies/${uid}`)) keep(part, 'dcm');
    await ask(`/api/ledger/${uid}`);
  }
  for (const instance of await searchAll(gateway.base, 'instances')) {
    const [study, series, sop] = ['0020000D', '0020000E', '00080018'].map((key) => String(instance[key]?.Value?.[0]));
    await ask(`/dicom-web/studies/${study}/series/${series}/instances/${sop}/rendered`, {
      headers: { Accept: 'image/png, image/jpeg, text/html, */*;q=0.1' },
    });
  }
  await ask('/api/erasures');
  for (const path of ['/api/status', '/api/work-items', '/api/quarantine', '/metrics', '/healthz', '/readyz'])
    await ask(path);
  // The gateway's log must not hold what a caller types either; its answers are not searched for the caller's own words.
  const before = answers;
  for (const word of words.slice(0, 5)) {
    const typed = encodeURIComponent(word);
    await ask(`/dicom-web/studies?PatientName=${typed}&PatientID=${typed}`);
    await ask(`/dicom-web/studies?limit=${typed}`);
    // What has the form of a keyword is named in the answer, to whom typed it; a value in a key's place is not.
    await ask(`/dicom-web/studies?${typed}%5EErika=1`);
    await ask(`/dicom-web/studies/${typed}/metadata`);
    await ask(`/dicom-web/studies`, { method: 'POST', body: word, headers: { 'Content-Type': `text/${typed}` } });
    await ask(`/dicom-web/studies`, { method: 'POST', body: word, headers: { 'Content-Type': 'application/dicom' } });
    await ask(`/api/ledger/${typed}`);
    await ask(`/api/${typed}`);
  }
  assert.ok(answers > before);
  assert.equal(await gateway.stop(), 0);
  for (const name of readdirSync(gateway.dataFolder)) {
    if (name === 'quarantine' || name === 'keys') continue;
    cpSync(join(gateway.dataFolder, name), join(out, 'data', name), { recursive: true });
  }
  cpSync(gateway.logFile, join(out, 'log.txt'));
  const database = openDatabase(join(gateway.dataFolder, 'isthmus.sqlite'));
  database.run(`VACUUM INTO '${join(out, 'vacuumed.sqlite')}'`);
  inflateAll(database, join(out, 'inflated'));
  database.close();
  return out;
}

/** What lies compressed in the database: a search of its file would not see into it. */
function inflateAll(database: Database, folder: string): void {
  mkdirSync(folder);
  let count = 0;
  for (const { name } of database.all(
    "SELECT name FROM sqlite_master WHERE type = 'table' AND sql NOT LIKE '%VIRTUAL%'",
  )) {
    for (const row of database.iterate(`SELECT * FROM "${String(name)}"`)) {
      for (const value of Object.values(row)) {
        if (!Buffer.isBuffer(value) || value.length < 8) continue;
        for (const inflate of [inflateRawSync, gunzipSync, inflateSync]) {
          try {
            const bytes = inflate(value, { finishFlush: constants.Z_SYNC_FLUSH, maxOutputLength: 2 ** 27 });
            if (bytes.length > 0) writeFileSync(join(folder, String(count++)), bytes);
          } catch (error) {
            // Not compressed in this way.
            assert.ok((error as NodeJS.ErrnoException).code?.startsWith('Z_') === true || error instanceof RangeError);
          }
        }
      }
    }
  }
  assert.ok(count > 0, 'series metadata lies compressed');
}

/** While it runs the database's newest pages lie in its write-ahead log. */
function copyLive(folder: string, { dataFolder }: GatewayProcess): void {
  mkdirSync(join(folder, 'live'));
  for (const suffix of ['', '-wal']) {
    const file = join(dataFolder, `isthmus.sqlite${suffix}`);
    if (existsSync(file)) cpSync(file, join(folder, 'live', `isthmus.sqlite${suffix}`));
  }
}

/** Files below the folder, and the places in them, that hold one of the words; in any case, as bytes or as UTF-16. */
function findWords(folder: string, words: readonly string[]): string[] {
  const found: string[] = [];
  for (const entry of readdirSync(folder, { recursive: true, withFileTypes: true })) {
    if (!entry.isFile()) continue;
    const path = join(entry.parentPath, entry.name);
    const bytes = readFileSync(path);
    // Copies of even length: Node 24 writes past its own memory when text in UTF-16 begins and ends at an odd byte.
    const wide = [bytes, bytes.subarray(1)].map((view) => Buffer.from(view.subarray(0, view.length & ~1)));
    const views = [bytes.toString('latin1'), ...wide.map((view) => view.toString('utf16le'))];
    views.push(entry.name);
    for (const view of views.map((text) => text.toUpperCase())) {
      for (const [n, word] of words.entries()) {
        if (view.includes(word.toUpperCase()))
          found.push(`${path.slice(folder.length)}: word ${n} (${word.length} letters)`);
      }
    }
  }
  return found;
}

for (const profile of PROFILES) {
  test(`no planted value is on disk, in the log or in any answer: ${profile}`, { timeout: 240_000 }, async (t) => {
    const { folder, gateway } = await open(t, profile);
    const canaries = Array.from({ length: 8 }, (_, n) => canaryObject(`${profile} ${n}`));
    const { stored } = await send(
      gateway,
      canaries.map(({ bytes }) => bytes),
    );
    assert.equal(stored, canaries.length);
    const words = [...canaries.flatMap(({ needles }) => needles), 'XQJZDERIVED', 'XQJZ-4711'];
    words.push(...(await derive(gateway, 'XQJZDERIVED^Erika', 'XQJZ-4711')));
    copyLive(folder, gateway);
    const out = await collect(folder, gateway, words);
    assert.deepEqual(findWords(out, words), []);
    assert.deepEqual(findWords(join(folder, 'live'), words), []);
    // The search itself finds what is there.
    writeFileSync(join(out, 'planted'), Buffer.from(`..${words[3] ?? ''}`, 'utf16le'));
    assert.equal(findWords(out, words).length, 1);
  });
}

/** Objects for each profile; ISTHMUS_CANARIES=180 makes 1,080 of them, ISTHMUS_CANARY_SEED others. */
const SEED = Number(process.env['ISTHMUS_CANARY_SEED'] ?? 4711);
const COUNT = Number(process.env['ISTHMUS_CANARIES'] ?? 12);
/** They keep text that nothing says is anybody's. */
const SCRUBBING: ReadonlySet<ProfileName> = new Set(['gdpr-pseudonymise', 'research-longitudinal', 'expert-in-force']);

for (const [number, profile] of ALL_PROFILES.entries()) {
  test(
    `nothing of ${COUNT} objects of every class, syntax and script is found: ${profile}`,
    { timeout: Math.max(1_800_000, COUNT * 10_000) },
    async (t) => {
      const { folder, gateway } = await open(t, profile);
      // Other classes and syntaxes for every profile.
      const files = Array.from({ length: COUNT + 1 }, (_, n) => canaryFile(SEED, number * COUNT + n));
      const { stored, held } = await send(
        gateway,
        files.map(({ bytes }) => bytes),
      );
      // An object with an element that stands twice is refused by name; nothing else is.
      assert.equal(stored + held, files.filter(({ repeats }) => !repeats).length);
      assert.ok(stored > 0);
      t.diagnostic(
        `${stored} stored, ${held} held, ${files.reduce((sum, { needles }) => sum + needles.length, 0)} values`,
      );
      await eraseOne(gateway, files[COUNT]?.patientID ?? '');
      copyLive(folder, gateway);
      const sought = files.map((file) =>
        SCRUBBING.has(profile) ? file : { ...file, needles: [...file.needles, ...file.prose] },
      );
      const out = await collect(folder, gateway, sought.flatMap(({ needles }) => needles).slice(0, 3));
      assert.deepEqual(findCanaries(out, sought).slice(0, 20), []);
      assert.deepEqual(findCanaries(join(folder, 'live'), sought).slice(0, 20), []);
      // The search itself finds what is there: a word, one in wide letters, and one of another script.
      const [first] = sought;
      const foreign = sought.find(({ encoded }) => encoded.length > 0);
      const word = first?.needles.find((needle) => needle.startsWith('XQJZ')) ?? '';
      writeFileSync(join(out, 'planted'), Buffer.concat([Buffer.from(word), Buffer.from(`.${word}`, 'utf16le')]));
      writeFileSync(join(out, 'planted too'), foreign?.encoded[0] ?? Buffer.from(word));
      assert.equal(findCanaries(out, sought).length, 2);
    },
  );
}

/** Its certificate and its line in the audit trail are searched too. */
async function eraseOne(gateway: GatewayProcess, id: string): Promise<void> {
  const reply = await fetch(`${gateway.base}/api/erasures`, {
    method: 'POST',
    headers: { 'Content-Type': 'application/json' },
    body: JSON.stringify({ record: { id }, reason: 'data-subject-request', reference: 'DSR 2026/1' }),
  });
  // A profile without a crosswalk knows nobody.
  assert.ok([200, 201, 404].includes(reply.status), `${reply.status}: ${await reply.text()}`);
}

const shared = process.env['ISTHMUS_SHARED'] ?? '';
const tools = join(shared, 'data', 'tools');
const skip =
  shared === '' || !existsSync(join(tools, 'canary_make.py'))
    ? 'ISTHMUS_SHARED does not lead to canary_make.py'
    : spawnSync('/usr/bin/python3', ['-c', 'import pydicom'], { stdio: 'ignore' }).status !== 0
      ? 'python3 with pydicom is not installed'
      : false;

/** Objects for each profile; ISTHMUS_FOREIGN_CANARIES=500 makes a thousand of them. */
const FOREIGN_COUNT = Number(process.env['ISTHMUS_FOREIGN_CANARIES'] ?? 36);

/** The checker takes a second and more for what comes of each object, on a machine that does nothing else. */
const FOREIGN_TIMEOUT_MS = Math.max(1_800_000, FOREIGN_COUNT * 20_000);

for (const profile of PROFILES) {
  test(
    `the foreign generator and checker find no leak: ${profile}`,
    { skip, timeout: FOREIGN_TIMEOUT_MS },
    async (t) => {
      // Never the same objects; the seed is told, so that what was found can be made again.
      const seed = Number(process.env['ISTHMUS_CANARY_SEED'] ?? randomInt(1, 2 ** 31));
      t.diagnostic(`${FOREIGN_COUNT} objects of seed ${seed}`);
      await assertNoLeak(
        () => leaksThroughGateway(t, profile, seed),
        (line) => t.diagnostic(line),
      );
    },
  );
}

async function leaksThroughGateway(t: TestContext, profile: ProfileName, seed: number): Promise<string[]> {
  const { folder, gateway } = await open(t, profile);
  execFileSync('/usr/bin/python3', [
    join(tools, 'canary_make.py'),
    ...['--out', folder, '--count', String(FOREIGN_COUNT), '--size', '32', '--seed', String(seed)],
  ]);
  const names = readdirSync(join(folder, 'in')).sort();
  const { stored, held } = await send(
    gateway,
    names.map((name) => readFileSync(join(folder, 'in', name))),
  );
  assert.equal(stored + held, names.length);
  assert.ok(stored > 0);
  t.diagnostic(`${stored} stored, ${held} held`);
  const list = JSON.parse(readFileSync(join(folder, 'canaries.json'), 'utf8')) as {
    canaries: { needle: string; kind: string }[];
  };
  if (YEAR_ONLY.has(profile)) {
    // A study of 1 January: its date is what every date of its year becomes (45 CFR 164.514(b)(2)(i)(C) leaves the year).
    list.canaries = list.canaries.filter(({ needle, kind }) => kind !== 'date' || !needle.endsWith('0101'));
    writeFileSync(join(folder, 'canaries.json'), JSON.stringify(list));
  }
  const texts = list.canaries.filter(({ kind }) => kind === 'text' || kind === 'ascii').map(({ needle }) => needle);
  copyLive(folder, gateway);
  const out = await collect(folder, gateway, texts);
  cpSync(join(folder, 'live'), join(out, 'live'), { recursive: true });
  return leakedCanaries(tools, join(folder, 'canaries.json'), out, ['--allow-missing']);
}
