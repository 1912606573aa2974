/** The container's files agree with one another and with the sources; Docker itself is not needed. */
import assert from 'node:assert/strict';
import { execFileSync, spawnSync } from 'node:child_process';
import { existsSync, mkdirSync, mkdtempSync, readFileSync, rmSync, statSync, writeFileSync } from 'node:fs';
import { createHash } from 'node:crypto';
import { tmpdir } from 'node:os';
import { join, resolve } from 'node:path';
import { test, type TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { parseDocument } from 'yaml';
import { readConfig } from '../../src/config.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const DOCKER = join(ROOT, 'docker');
const dockerfile = readFileSync(join(DOCKER, 'Dockerfile'), 'utf8');
const instructions = dockerfile
  .replaceAll(/^#.*\n/gm, '')
  .replaceAll(/\\\n\s*/g, '')
  .split('\n')
  .filter((line) => line.trim() !== '')
  .map((line) => /^(\S+)\s+(.*)$/.exec(line)?.slice(1) ?? []);
const valuesOf = (name: string): string[] =>
  instructions.flatMap(([word, value]) => (word === name ? [value ?? ''] : []));
const compose = parseDocument(readFileSync(join(DOCKER, 'compose.yaml'), 'utf8')).toJS() as {
  services: Record<
    string,
    {
      environment?: Record<string, string>;
      volumes: string[];
      ports?: string[];
      build?: { context: string; dockerfile: string };
    }
  >;
  volumes: Record<string, null>;
};

/** Whether .dockerignore keeps a path out of the image: the last line that fits decides. */
function isIgnored(path: string): boolean {
  let ignored = false;
  for (const line of readFileSync(join(ROOT, '.dockerignore'), 'utf8').split('\n')) {
    if (line === '' || line.startsWith('#')) continue;
    const pattern = line.replace(/^!/, '').replaceAll('.', '\\.').replaceAll('*', '[^/]*');
    if (new RegExp(`^${pattern}(/|$)`).test(path)) ignored = !line.startsWith('!');
  }
  return ignored;
}

test('everything that the image copies exists and is not kept out', () => {
  const sources = valuesOf('COPY')
    .filter((copy) => !copy.startsWith('--from'))
    .flatMap((copy) => copy.split(/\s+/).slice(0, -1));
  assert.deepEqual(
    new Set(sources),
    new Set(['package.json', 'package-lock.json', 'LICENSE', 'src', 'config', 'models', 'web']),
  );
  for (const source of sources) {
    assert.ok(existsSync(join(ROOT, source)), source);
    assert.equal(isIgnored(source), false, source);
  }
});

test('data, tests, history and training material stay out of the image', () => {
  for (const path of ['data', 'test', '.git', 'node_modules', 'models/register/train', 'models/register/evaluation']) {
    assert.equal(isIgnored(path), true, path);
  }
  for (const path of ['src/main.ts', 'config/schema/rules.schema.json', 'config/profiles/basic.yaml'])
    assert.equal(isIgnored(path), false, path);
});

test('the image runs Node 24, not as root, with the ports and folders that the configuration names', () => {
  for (const from of valuesOf('FROM')) assert.match(from, /^node:24-/);
  assert.deepEqual(valuesOf('USER'), ['isthmus']);
  assert.match(dockerfile, /--uid 10001/);
  const template = readFileSync(join(DOCKER, 'config', 'gateway.yaml'), 'utf8');
  const ports = [...template.matchAll(/port: (\d+)/g)].map(([, port]) => port);
  assert.deepEqual(valuesOf('EXPOSE')[0]?.split(' '), ports);
  assert.match(valuesOf('ENV').join(' '), /ISTHMUS_DATA=\/data/);
  assert.deepEqual(valuesOf('VOLUME'), ['/data']);
});

test('command and health check name files that are in the image', () => {
  for (const command of [...valuesOf('CMD'), ...valuesOf('HEALTHCHECK')]) {
    const [, file = ''] = /"node",(?: "--[^"]+",)* "([^"]+)"/.exec(command) ?? [];
    assert.ok(existsSync(join(ROOT, file)) && !isIgnored(file), command);
  }
});

test('the image starts the gateway as `npm start` does', () => {
  const { scripts } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { scripts: { start: string } };
  const words = scripts.start.split(' ');
  const command = words.slice(words.indexOf('node'));
  assert.deepEqual(valuesOf('CMD'), [JSON.stringify(command).replaceAll(',', ', ')]);
  const variables = words.slice(0, words.indexOf('node'));
  assert.ok(variables.length > 0);
  for (const variable of variables) assert.ok(dockerfile.includes(` ${variable}`), variable);
});

test('compose: mounts, ports and variables agree with image and configuration; nothing but loopback is published', () => {
  const { gateway, orthanc, secrets } = compose.services;
  assert.ok(gateway?.build && orthanc && secrets);
  const context = resolve(DOCKER, gateway.build.context);
  assert.equal(context, resolve(ROOT));
  assert.ok(existsSync(join(context, gateway.build.dockerfile)));
  for (const service of [gateway, orthanc, secrets]) {
    for (const volume of service.volumes) {
      const [from = ''] = volume.split(':');
      if (from.startsWith('.')) assert.ok(existsSync(resolve(DOCKER, from)), volume);
      else assert.ok(from in compose.volumes, volume);
    }
    for (const port of service.ports ?? []) assert.match(port, /^127\.0\.0\.1:/);
  }
  const inside = (gateway.ports ?? []).map((port) => port.split(':')[2]);
  assert.deepEqual(inside, valuesOf('EXPOSE')[0]?.split(' '));
  for (const folder of Object.values(gateway.environment ?? {}).filter((value) => /^\/[a-z]+$/.test(value))) {
    assert.ok(
      gateway.volumes.some((volume) => volume.split(':')[1] === folder),
      folder,
    );
  }
});

function makeSecrets(t: TestContext): { folder: string; secrets: string; config: string; run: () => void } {
  const folder = mkdtempSync(join(tmpdir(), 'isthmus-docker-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const secrets = join(folder, 'secrets');
  const config = join(folder, 'config');
  // Where the gateway will read them is part of the configuration: the template names /secrets.
  const template = join(folder, 'template');
  for (const made of [secrets, config, template]) mkdirSync(made);
  for (const name of ['gateway.yaml', 'nodes.yaml', 'rules.yaml']) {
    const text = readFileSync(join(DOCKER, 'config', name), 'utf8');
    writeFileSync(join(template, name), text.replaceAll('/secrets/', `${secrets}/`));
  }
  const run = (): void => {
    execFileSync('bash', [
      join(DOCKER, 'make-secrets.sh'),
      secrets,
      config,
      template,
      join(ROOT, 'config', 'profiles'),
    ]);
  };
  return { folder, secrets, config, run };
}

const noOpenssl = spawnSync('openssl', ['version']).status === 0 ? false : 'openssl is not installed';

test(
  'make-secrets.sh makes a configuration that the gateway accepts, and secrets that others cannot read',
  { skip: noOpenssl },
  (t) => {
    const { folder, secrets, config, run } = makeSecrets(t);
    run();
    const read = readConfig({ ISTHMUS_CONFIG: config, ISTHMUS_DATA: join(folder, 'data') });
    assert.deepEqual(
      [read.http.host, read.dimse.callingAEs, read.nodes.get('pacs')?.dimse?.tls],
      ['0.0.0.0', ['ORTHANC'], true],
    );
    const token = readFileSync(join(secrets, 'token'), 'utf8').trim();
    assert.match(token, /^[0-9a-f]{64}$/);
    assert.equal(read.tokens[0]?.sha256, createHash('sha256').update(token).digest('hex'));
    for (const name of ['token', 'gateway.key']) assert.equal(statSync(join(secrets, name)).mode & 0o077, 0, name);
    for (const name of ['gateway', 'orthanc']) {
      execFileSync('openssl', ['verify', '-CAfile', join(secrets, 'authority.pem'), join(secrets, `${name}.pem`)]);
    }
    assert.equal(existsSync(join(secrets, 'authority.key')), false, 'nobody can sign further certificates');
  },
);

test(
  'make-secrets.sh run again changes neither secrets nor what an administrator has edited',
  { skip: noOpenssl },
  (t) => {
    const { secrets, config, run } = makeSecrets(t);
    run();
    const token = readFileSync(join(secrets, 'token'), 'utf8');
    const edited = `${readFileSync(join(config, 'rules.yaml'), 'utf8')}# edited\n`;
    writeFileSync(join(config, 'rules.yaml'), edited);
    run();
    assert.equal(readFileSync(join(secrets, 'token'), 'utf8'), token);
    assert.equal(readFileSync(join(config, 'rules.yaml'), 'utf8'), edited);
    readConfig({ ISTHMUS_CONFIG: config });
  },
);
