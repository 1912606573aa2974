/** The command line as a person calls it: real processes, their exit status and what they print. */
import assert from 'node:assert/strict';
import { spawn } from 'node:child_process';
import { once } from 'node:events';
import {
  cpSync,
  mkdirSync,
  mkdtempSync,
  openSync,
  closeSync,
  readFileSync,
  readSync,
  readdirSync,
  rmSync,
  writeFileSync,
  writeSync,
  globSync,
} from 'node:fs';
import { createServer, type AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { text } from 'node:stream/consumers';
import { test, type TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { asciiValue, textValue } from '../../src/dicom/data-set.ts';
import { readObject } from '../../src/dicom/part10.ts';
import { startGateway } from '../peers/gateway.ts';
import { ctStudy } from '../phantom/studies.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const MAIN = join(ROOT, 'src', 'main.ts');
const PATIENT = { name: 'Muster^Erika', id: 'KH-1', birthDate: '19631112', sex: 'F' } as const;
const GATEWAY = 'log: warn\narchive: { reserveMb: 1 }\n';
const RULES =
  "admission:\n  - { name: all, when: { callingAE: '*' }, project: research, profile: basic }\nprocessing: []\n";

function temporary(t: TestContext): string {
  const folder = mkdtempSync(join(tmpdir(), 'isthmus-commands-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  return folder;
}

function configure(folder: string): Record<string, string> {
  const config = join(folder, 'config');
  mkdirSync(config, { recursive: true });
  cpSync(join(ROOT, 'config', 'profiles'), join(config, 'profiles'), { recursive: true });
  writeFileSync(join(config, 'gateway.yaml'), GATEWAY);
  writeFileSync(join(config, 'nodes.yaml'), 'nodes: {}\n');
  writeFileSync(join(config, 'rules.yaml'), RULES);
  return { ISTHMUS_CONFIG: config, ISTHMUS_DATA: join(folder, 'data') };
}

interface Ended {
  readonly status: number | null;
  readonly out: string;
  readonly error: string;
}

async function isthmus(args: readonly string[], environment: Record<string, string> = {}): Promise<Ended> {
  const child = spawn(process.execPath, [MAIN, ...args], { env: { ...process.env, ...environment } });
  const [[status], out, error] = await Promise.all([
    once(child, 'close') as Promise<[number | null]>,
    text(child.stdout),
    text(child.stderr),
  ]);
  return { status, out, error };
}

test('what is called wrongly ends with 2 and says how to call it; asked for help it is 0', async () => {
  const wrong = [
    [],
    ['frobnicate'],
    ['deidentify', 'a'],
    ['run', 'ct-denoise'],
    ['deidentify', '--no-such-option'],
    ['serve', '--port', '99'],
    ['verify', 'data'],
    ['run', 'ct-denoise', '--input', 'a', '--fixed', 'b', '--output', 'c'],
    ['run', 'register', '--input', 'a', '--output', 'c'],
  ];
  const refused = wrong.map(async (args) => {
    const { status, out, error } = await isthmus(args);
    assert.deepEqual([status, out], [2, ''], args.join(' '));
    assert.match(error, /usage:/);
  });
  const helped = [['--help'], ['serve', '--help'], ['vault', '-h']].map(async (args) => {
    const { status, out } = await isthmus(args);
    assert.equal(status, 0, args.join(' '));
    assert.match(out, /isthmus serve/);
  });
  const version = async (): Promise<void> => assert.match((await isthmus(['--version'])).out, /^\d+\.\d+\.\d+\n$/);
  await Promise.all([...refused, ...helped, version()]);
});

test('a configuration that cannot be used ends with 1 and one line that says why', async (t) => {
  const environment = configure(temporary(t));
  writeFileSync(join(environment['ISTHMUS_CONFIG'] ?? '', 'gateway.yaml'), 'http:\n  prot: 1\n');
  const { status, error } = await isthmus(['serve'], environment);
  assert.equal(status, 1);
  assert.match(error, /^BadConfiguration: gateway.yaml line 2: .*\n$/);
  writeFileSync(join(environment['ISTHMUS_CONFIG'] ?? '', 'gateway.yaml'), 'log: silent\n\thttp: {}\n');
  const tab = await isthmus(['serve'], environment);
  assert.equal(tab.error, 'BadConfiguration: gateway.yaml line 2: Tabs are not allowed as indentation\n');
});

test('deidentify: good files are written under pseudonyms, bad ones reported by position, never by name', async (t) => {
  const folder = temporary(t);
  const environment = configure(folder);
  const [from, to] = [join(folder, 'in'), join(folder, 'out')];
  mkdirSync(join(from, 'deeper'), { recursive: true });
  const { objects } = ctStudy({ patient: PATIENT, slices: 3, size: 8 });
  objects.forEach((object, index) => writeFileSync(join(from, 'deeper', `Muster_Erika_${index}.dcm`), object));
  writeFileSync(join(from, 'Muster_Erika.txt'), 'no DICOM');
  const [first] = objects;
  writeFileSync(join(from, 'z-cut.dcm'), first?.subarray(0, -50) ?? '');
  const args = ['deidentify', from, to, '--profile', 'basic', '--project', 'study-one'];
  const { status, out } = await isthmus(args, environment);
  assert.equal(status, 1, 'not every file could be written');
  assert.match(out, /3 of 5 objects/);
  const text = readFileSync(join(to, 'report.json'), 'utf8');
  assert.doesNotMatch(text, /Muster|KH-1|Erika/);
  const report = JSON.parse(text) as { files: { file: number; written?: string; reason?: string }[] };
  assert.deepEqual(
    report.files.map(({ reason }) => reason),
    ['CannotUnderstand', undefined, undefined, undefined, 'CannotUnderstand'],
  );
  const written = globSync('**/*', { cwd: to, withFileTypes: true }).filter((entry) => entry.isFile());
  assert.equal(written.length, 5, 'three objects, the report in two forms, and nothing half written');
  for (const { written: path } of report.files) {
    if (path === undefined) continue;
    const { dataSet } = (await readObject(readFileSync(join(to, path)))).head;
    assert.equal(
      path,
      `${asciiValue(dataSet, 0x0020000d)}/${asciiValue(dataSet, 0x0020000e)}/${asciiValue(dataSet, 0x00080018)}.dcm`,
    );
    assert.doesNotMatch(textValue(dataSet, 0x00100010) ?? '', /Muster/);
  }
  rmSync(join(from, 'Muster_Erika.txt'));
  rmSync(join(from, 'z-cut.dcm'));
  assert.equal((await isthmus(args, environment)).status, 0, 'again, now without the bad ones: the same names');
  assert.equal(globSync('**/*.dcm', { cwd: to }).length, 3);
});

test('deidentify refuses an unknown profile, a project that is no name and a folder that is not there', async (t) => {
  const folder = temporary(t);
  const environment = configure(folder);
  const refusals = [
    [[folder, join(folder, 'out'), '--profile', 'none'], /^BadRequest: .*basic/],
    [[folder, join(folder, 'out'), '--profile', 'basic', '--project', 'A B'], /^BadRequest: a project/],
    [[join(folder, 'absent'), folder, '--profile', 'basic'], /^BadRequest: .*no folder/],
  ] as const;
  await Promise.all(
    refusals.map(async ([args, sentence]) => {
      const { status, error } = await isthmus(['deidentify', ...args], environment);
      assert.equal(status, 1, error);
      assert.match(error, sentence);
    }),
  );
});

test('run ct-denoise writes a derived series, its report and key image, and a summary that can be read by programs', async (t) => {
  const folder = temporary(t);
  const environment = configure(folder);
  const input = join(folder, 'in');
  const output = join(folder, 'out');
  mkdirSync(input);
  ctStudy({ patient: PATIENT, slices: 6, size: 192 }).objects.forEach((object, index) =>
    writeFileSync(join(input, `${index}`), object),
  );
  const { status, out, error } = await isthmus(
    ['run', 'ct-denoise', '--input', input, '--output', output],
    environment,
  );
  assert.equal(status, 0, error);
  const summary = JSON.parse(out) as { pipeline: string; objects: number; verdict: string };
  assert.deepEqual([summary.pipeline, summary.objects], ['ct-denoise', 9]);
  const modalities: (string | undefined)[] = [];
  for (const name of readdirSync(output)) {
    const { dataSet } = (await readObject(readFileSync(join(output, name)))).head;
    modalities.push(asciiValue(dataSet, 0x00080060));
  }
  assert.deepEqual(modalities.sort(), [...Array<string>(6).fill('CT'), 'OT', 'PR', 'SR']);
});

test('serve, verify and reindex: one at a time, damage is found, the index is made anew as it was', async (t) => {
  const folder = temporary(t);
  const environment = configure(folder);
  const gateway = await startGateway({ folder, gateway: GATEWAY, nodes: 'nodes: {}\n', rules: RULES, log: 'file' });
  t.after(() => gateway.child.kill('SIGKILL'));
  const body = Buffer.concat([
    ...ctStudy({ patient: PATIENT, slices: 3, size: 8 }).objects.flatMap((object) => [
      Buffer.from('\r\n--b\r\nContent-Type: application/dicom\r\n\r\n'),
      object,
    ]),
    Buffer.from('\r\n--b--\r\n'),
  ]);
  const stow = await fetch(`${gateway.base}/dicom-web/studies`, {
    method: 'POST',
    headers: { 'content-type': 'multipart/related; type="application/dicom"; boundary=b' },
    body,
  });
  assert.equal(stow.status, 200);
  const search = async (base: string): Promise<unknown> => {
    const all = [];
    for (const level of ['studies', 'series', 'instances']) {
      const answer = await fetch(`${base}/dicom-web/${level}`);
      const text = (await answer.text()).replaceAll(/http:\/\/127\.0\.0\.1:\d+/g, '');
      all.push(JSON.parse(text));
    }
    return all;
  };
  const before = await search(gateway.base);
  await Promise.all(
    ['verify', 'reindex', 'serve'].map(async (command) => {
      const refused = await isthmus([command], environment);
      assert.equal(refused.status, 1, command);
      assert.match(refused.error, /^BadConfiguration: another process/);
    }),
  );
  assert.equal(await gateway.stop(), 0);
  const whole = await isthmus(['verify'], environment);
  assert.equal(whole.status, 0, whole.error);
  assert.match(whole.out, /"audit": "whole"/);
  const database = join(folder, 'data', 'isthmus.sqlite');
  for (const suffix of ['', '-wal', '-shm']) rmSync(`${database}${suffix}`, { force: true });
  assert.equal(
    (await isthmus(['serve'], environment)).status,
    1,
    'packs that the index does not know are not taken for rubbish',
  );
  const anew = await isthmus(['reindex'], environment);
  assert.equal(anew.status, 0, anew.error);
  assert.equal((JSON.parse(anew.out) as { instances: number }).instances, 3);
  const again = await startGateway({ folder, gateway: GATEWAY, nodes: 'nodes: {}\n', rules: RULES, log: 'file' });
  t.after(() => again.child.kill('SIGKILL'));
  assert.deepEqual(await search(again.base), before);
  await again.stop();
  flipByte(join(folder, 'data', 'packs'));
  const damaged = await isthmus(['verify'], environment);
  assert.equal(damaged.status, 1);
  assert.equal((JSON.parse(damaged.out) as { archive: { damaged: unknown[] } }).archive.damaged.length, 1);
});

/** One bit in the middle of the only pack. */
function flipByte(packs: string): void {
  const [pack] = globSync('*/*.tar', { cwd: packs });
  assert.ok(pack);
  const file = openSync(join(packs, pack), 'r+');
  const byte = Buffer.alloc(1);
  readSync(file, byte, 0, 1, 1500);
  byte[0] = (byte[0] ?? 0) ^ 1;
  writeSync(file, byte, 0, 1, 1500);
  closeSync(file);
}

test('a port that is taken ends serve with 1 and one line', async (t) => {
  const folder = temporary(t);
  const environment = configure(folder);
  const holder = createServer();
  t.after(() => holder.close());
  await once(holder.listen(0, '127.0.0.1'), 'listening');
  const port = String((holder.address() as AddressInfo).port);
  const { status, error } = await isthmus(['serve'], {
    ...environment,
    ISTHMUS_HTTP_PORT: port,
    ISTHMUS_DIMSE_PORT: '0',
  });
  assert.equal(status, 1);
  assert.match(error, /^BadConfiguration: port \d+ cannot be listened on: another process listens there\n$/);
  const dimse = await isthmus(['serve'], { ...environment, ISTHMUS_HTTP_PORT: '0', ISTHMUS_DIMSE_PORT: port });
  assert.equal(dimse.status, 1);
  assert.match(dimse.error, /another process listens there\n$/);
});
