import assert from 'node:assert/strict';
import { cpSync, mkdtempSync, readdirSync, readFileSync, rmSync, writeFileSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { test, type TestContext } from 'node:test';
import { fileURLToPath } from 'node:url';
import { Ajv } from 'ajv';
import { readConfig, readWallConfig, type Config } from '../../src/config.ts';
import type { Environment } from '../../src/config/gateway-file.ts';
import { IMPLEMENTATION_VERSION_NAME, SOFTWARE_VERSION } from '../../src/dicom/implementation.ts';
import { Refusal } from '../../src/dicom/refusal.ts';
import { makeCertificate, withoutOpenssl } from '../peers/certificate.ts';

const ROOT = fileURLToPath(new URL('../..', import.meta.url));
const TOKEN = 'a'.repeat(64);
const NODES = `nodes:
  pacs:
    dimse: { aeTitle: ORTHANC, host: 127.0.0.1, port: 4242 }
    dicomweb: { url: 'http://127.0.0.1:8042/dicom-web/' }
    deliverBy: dicomweb
    proof: read-back
`;
const RULES = `admission:
  - { name: all, when: { callingAE: '*' }, project: research, profile: basic }
processing:
  - name: quiet
    when: { modality: CT }
    run: ct-denoise
    deliver: [pacs]
`;

interface Files {
  readonly gateway?: string;
  readonly nodes?: string;
  readonly rules?: string;
}

function folderWith(t: TestContext, { gateway = 'log: silent\n', nodes = NODES, rules = RULES }: Files): string {
  const folder = mkdtempSync(join(tmpdir(), 'isthmus-config-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  cpSync(join(ROOT, 'config', 'profiles'), join(folder, 'profiles'), { recursive: true });
  writeFileSync(join(folder, 'gateway.yaml'), gateway);
  writeFileSync(join(folder, 'nodes.yaml'), nodes);
  writeFileSync(join(folder, 'rules.yaml'), rules);
  return folder;
}

function read(t: TestContext, files: Files, environment: Environment = {}): Config {
  return readConfig({ ISTHMUS_CONFIG: folderWith(t, files), ...environment });
}

function refusedWith(...parts: readonly (string | RegExp)[]): (error: unknown) => boolean {
  return (error) => {
    assert.ok(error instanceof Refusal, String(error));
    assert.equal(error.reason, 'BadConfiguration');
    for (const part of parts) {
      if (typeof part === 'string') assert.ok(error.message.includes(part), error.message);
      else assert.match(error.message, part);
    }
    return true;
  };
}

test('every schema of the configuration is a schema, which a start does not look at again', () => {
  const folder = join(ROOT, 'config', 'schema');
  const ajv = new Ajv({ allErrors: true, allowUnionTypes: true });
  for (const name of readdirSync(folder)) ajv.compile(JSON.parse(readFileSync(join(folder, name), 'utf8')) as object);
});

test('a command that de-identifies needs one profile, and neither nodes nor rules', (t) => {
  const folder = folderWith(t, { nodes: 'nodes: no\n', rules: 'rules: none\n' });
  writeFileSync(join(folder, 'profiles', 'gdpr-anonymise.yaml'), 'profile: broken\n');
  const environment = { ISTHMUS_CONFIG: folder, ISTHMUS_DATA: '/srv/isthmus' };
  const { config, profile } = readWallConfig('hipaa-safe-harbor', environment);
  assert.equal(config.dataFolder, '/srv/isthmus');
  assert.deepEqual([...config.deviceRules.keys()], ['devices.yaml']);
  assert.equal((profile.value as { profile: string }).profile, 'hipaa-safe-harbor');
  const refusal = (name: string): Refusal => {
    try {
      readWallConfig(name, environment);
    } catch (error) {
      if (error instanceof Refusal) return error;
    }
    return assert.fail(`${name} was read`);
  };
  assert.match(refusal('gdpr-anonymise').message, /^gdpr-anonymise\.yaml line 1: /);
  assert.equal(refusal('../gateway').reason, 'BadRequest');
  assert.match(refusal('none').message, /there are: basic, gdpr-anonymise, /);
});

test("the repository's own configuration is good, and its defaults are what the schema says", () => {
  const config = readConfig({});
  assert.deepEqual(
    [config.http.host, config.http.port, config.dimse.port, config.dimse.aeTitle],
    ['127.0.0.1', 8080, 11112, 'ISTHMUS'],
  );
  assert.equal(config.dimse.host, '127.0.0.1');
  assert.equal(config.quietSeconds, 30);
  assert.equal(config.archive.reserveBytes, 512 * 2 ** 20);
  assert.equal(config.dataFolder, join(ROOT, 'data'));
});

test('every key of gateway.yaml arrives where it is used', (t) => {
  const config = read(t, {
    gateway: `data: /srv/isthmus
http: { host: 127.0.0.2, port: 1, publicBaseUrl: 'https://x.example/dicom-web/', trustedProxies: [10.0.0.1], allowedOrigins: ['https://viewer.example'], maxRequestMb: 3, emptySearch: 200, strictAccept: true }
dimse: { port: 2, aeTitle: GATE, calledAEs: [GATE2], callingAEs: [CT01], viewers: [VIEWER, SECOND], commitTo: [CT02], maxAssociations: 5, idleSeconds: 7 }
access: { tokens: [{ name: a, sha256: ${TOKEN}, roles: [viewer] }] }
archive: { duplicates: overwrite, packMb: 2, reserveMb: 4 }
completion: { quietSeconds: 0.5 }
pipelines: { threads: 3, maxMemoryMb: 512, timeoutSeconds: 9, provider: cuda, deviceId: 1, fallback: cpu }
intake: { sampledImages: 3, limits: { CT: { spacingMm: [1, 2] } } }
retention: { studyDays: 1, quarantineDays: 2, workItemDays: 3, changeDays: 4 }
worklist: { eventsPerSubscriber: 5, eventDays: 6 }
log: error
`,
  });
  assert.deepEqual(config.http, {
    host: '127.0.0.2',
    port: 1,
    tls: undefined,
    publicBaseUrl: 'https://x.example/dicom-web',
    trustedProxies: ['10.0.0.1'],
    allowedOrigins: ['https://viewer.example'],
    maxRequestBytes: 3 * 2 ** 20,
    emptySearch: 200,
    strictAccept: true,
  });
  assert.deepEqual(config.dimse, {
    host: '127.0.0.2',
    port: 2,
    aeTitle: 'GATE',
    calledAEs: ['GATE2'],
    callingAEs: ['CT01'],
    viewers: new Set(['VIEWER', 'SECOND']),
    commitTo: new Set(['CT02']),
    maxAssociations: 5,
    idleMs: 7000,
    tls: undefined,
  });
  assert.deepEqual(config.archive, { duplicates: 'overwrite', packBytes: 2 * 2 ** 20, reserveBytes: 4 * 2 ** 20 });
  assert.deepEqual(config.pipelines, {
    threads: 3,
    maxMemoryMb: 512,
    timeoutMs: 9000,
    provider: { name: 'cuda', deviceId: 1, fallback: 'cpu' },
  });
  assert.deepEqual(
    [config.intake.sampledImages, config.intake.limits['CT'], config.intake.limits['PT']?.pixelMm],
    [3, { spacingMm: [1, 2] }, [0.5, 8]],
  );
  assert.deepEqual(config.retention, { studyDays: 1, quarantineDays: 2, workItemDays: 3, backupDays: undefined });
  assert.equal(config.changeDays, 4);
  assert.deepEqual(config.worklist, { eventsPerSubscriber: 5, eventDays: 6 });
  assert.deepEqual([config.quietSeconds, config.logLevel, config.dataFolder], [0.5, 'error', '/srv/isthmus']);
  assert.equal(config.tokens[0]?.name, 'a');
});

test('a node arrives with its defaults, its URL without the slash at the end', (t) => {
  const node = read(t, {}).nodes.get('pacs');
  assert.equal(node?.dicomweb?.url, 'http://127.0.0.1:8042/dicom-web');
  assert.equal(node.dicomweb.timeoutMs, 60_000);
  assert.deepEqual([node.dimse?.associations, node.dimse?.tls], [4, false]);
});

test('the environment overrides the file, a variable set to nothing does not', (t) => {
  const config = read(
    t,
    { gateway: 'data: here\nhttp: { port: 1 }\n' },
    {
      ISTHMUS_DATA: '/elsewhere',
      ISTHMUS_HTTP_PORT: '0',
      ISTHMUS_DIMSE_PORT: '',
      ISTHMUS_HOST: '',
      ISTHMUS_CROSSWALK_KEY: '',
    },
  );
  assert.deepEqual(
    [config.dataFolder, config.http.port, config.dimse.port, config.http.host],
    ['/elsewhere', 0, 11112, '127.0.0.1'],
  );
  assert.equal(config.crosswalkKey.keyHex, undefined);
});

for (const [variable, value] of [
  ['ISTHMUS_HTTP_PORT', '65536'],
  ['ISTHMUS_DIMSE_PORT', 'eighty'],
  ['ISTHMUS_CROSSWALK_KEY', 'abc'],
] as const) {
  test(`${variable} that cannot be is refused without its value`, (t) => {
    assert.throws(() => read(t, {}, { [variable]: value }), refusedWith(variable, new RegExp(`^(?!.*${value}).*$`)));
  });
}

const FAULTS: readonly (readonly [string, Files, ...(string | RegExp)[]])[] = [
  ['an unknown key', { gateway: 'log: info\nhttp:\n  prot: 1\n' }, 'gateway.yaml line 3', '"prot"'],
  ['a wrong type', { gateway: 'http:\n  port: "x"\n' }, 'gateway.yaml line 2', 'http.port', 'integer'],
  ['a number out of range', { gateway: 'dimse:\n  port: 70000\n' }, 'gateway.yaml line 2', '65535'],
  [
    'a word that is not in the list',
    { gateway: '\nlog: loud\n' },
    'gateway.yaml line 2',
    '["info","warn","error","silent"]',
  ],
  ['broken YAML', { gateway: 'log: info\nhttp: { port: 1\n' }, /gateway.yaml line \d/],
  ['a key that stands twice', { gateway: 'log: info\nlog: warn\n' }, 'gateway.yaml line 2'],
  [
    'a token that is no digest',
    { gateway: 'access:\n  tokens:\n    - { name: a, sha256: secret, roles: [viewer] }\n' },
    'gateway.yaml line 3',
    'access.tokens.0.sha256',
  ],
  [
    'an AE title that cannot be',
    { gateway: 'dimse:\n  aeTitle: "ABCDEFGHIJKLMNOPQ"\n' },
    'gateway.yaml line 2',
    'dimse.aeTitle',
  ],
  ['an AE title with a backslash', { gateway: "dimse:\n  calledAEs: ['A\\B']\n" }, 'gateway.yaml line 2'],
  [
    'two tokens of one name',
    {
      gateway: `access:\n  tokens:\n    - { name: a, sha256: ${TOKEN}, roles: [viewer] }\n    - { name: a, sha256: ${'b'.repeat(64)}, roles: [viewer] }\n`,
    },
    'gateway.yaml line 4',
    'tokens.1.name stands twice',
  ],
  [
    'one token under two names',
    {
      gateway: `access:\n  tokens:\n    - { name: a, sha256: ${TOKEN}, roles: [viewer] }\n    - { name: b, sha256: ${TOKEN}, roles: [viewer] }\n`,
    },
    'gateway.yaml line 4',
    'sha256',
  ],
  [
    'aliases without end',
    {
      gateway: `a: &a [x,x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b,*b]\nd: [*c,*c,*c,*c,*c]\n`,
    },
    'gateway.yaml',
    'alias',
  ],
  [
    'a node without the section it delivers by',
    { nodes: NODES.replace(/ {4}dimse.*\n/, '').replace('deliverBy: dicomweb', 'deliverBy: dimse') },
    'nodes.yaml line 4',
    'no dimse section',
  ],
  [
    'read-back without DICOMweb',
    { nodes: NODES.replace(/ {4}dicomweb.*\n/, '').replace('deliverBy: dicomweb', 'deliverBy: dimse') },
    'nodes.yaml line 5',
    'read-back',
  ],
  ['a node without proof', { nodes: NODES.replace(/ {4}proof.*\n/, '') }, 'nodes.yaml line 3', 'proof'],
  ['a node name that cannot be', { nodes: NODES.replace('pacs:', 'PACS!:') }, 'nodes.yaml line', 'pattern'],
  ['rules without admission', { rules: 'processing: []\n' }, 'rules.yaml line 1', 'admission'],
  ['an empty rules file', { rules: '' }, 'rules.yaml line 1'],
  [
    'a profile that does not exist',
    { rules: RULES.replace('profile: basic', 'profile: absent') },
    'rules.yaml line 2',
    '"absent"',
    'basic',
  ],
  ['a node that does not exist', { rules: RULES.replace('[pacs]', '[pacs2]') }, 'rules.yaml line 7', '"pacs2"'],
  [
    'a pipeline that does not exist',
    { rules: RULES.replace('ct-denoise', 'sharpen') },
    'rules.yaml line 6',
    'ct-denoise',
  ],
  ['register without fixed', { rules: RULES.replace('ct-denoise', 'register') }, 'rules.yaml line 6', 'with.fixed'],
  [
    'a setting of another pipeline',
    { rules: RULES.replace('run: ct-denoise', 'run: ct-denoise\n    with: { transform: rigid }') },
    'rules.yaml line 7',
    'transform',
  ],
  [
    'an alpha out of range',
    { rules: RULES.replace('run: ct-denoise', 'run: ct-denoise\n    with:\n      alpha: 0.99') },
    'rules.yaml line 8',
    'alpha',
  ],
  [
    'two rules of one name',
    {
      rules: RULES.replace(
        'processing:',
        '  - { name: all, when: { modality: CT }, project: x, profile: basic }\nprocessing:',
      ),
    },
    'rules.yaml line 3',
    'two admission rules',
  ],
  [
    'an expression with an unknown name',
    { rules: RULES.replace('when: { modality: CT }', 'when:\n      expr: \'series.Modalty == "CT"\'') },
    'rules.yaml line 6',
    'Modalty',
  ],
  [
    'a rule that always matches by saying nothing',
    { rules: RULES.replace("{ callingAE: '*' }", '{}') },
    'rules.yaml line 2',
  ],
];
for (const [what, files, ...parts] of FAULTS) {
  test(`${what} is refused with file, line and reason`, (t) => {
    assert.throws(() => read(t, files), refusedWith(...parts));
  });
}

test('a missing file and a missing profiles folder are refused by name', (t) => {
  const folder = folderWith(t, {});
  rmSync(join(folder, 'nodes.yaml'));
  assert.throws(() => readConfig({ ISTHMUS_CONFIG: folder }), refusedWith('nodes.yaml cannot be read'));
  writeFileSync(join(folder, 'nodes.yaml'), NODES);
  rmSync(join(folder, 'profiles'), { recursive: true });
  assert.throws(() => readConfig({ ISTHMUS_CONFIG: folder }), refusedWith('profiles'));
});

test('what can be reached from elsewhere needs encryption and known callers', { skip: withoutOpenssl() }, (t) => {
  const folder = folderWith(t, {});
  makeCertificate('x', join(folder, 'key.pem'), join(folder, 'cert.pem'));
  const refusedBecause = (gateway: string, ...parts: string[]): void => {
    writeFileSync(join(folder, 'gateway.yaml'), gateway);
    assert.throws(() => readConfig({ ISTHMUS_CONFIG: folder }), refusedWith(...parts));
  };
  const tls = 'tls: { key: key.pem, certificate: cert.pem }';
  const mutual = 'tls: { key: key.pem, certificate: cert.pem, authorities: cert.pem }';
  const tokens = `access: { tokens: [{ name: a, sha256: ${TOKEN}, roles: [viewer] }] }`;
  refusedBecause('http: { host: 0.0.0.0 }', 'http.tls is needed');
  refusedBecause(`http: { host: "::", ${tls} }`, 'access.tokens is needed');
  refusedBecause(`http: { host: 0.0.0.0, ${tls} }\ndimse: { host: 127.0.0.1 }`, 'access.tokens is needed');
  refusedBecause(`http: { host: 10.0.0.1, ${tls} }\n${tokens}`, 'dimse.tls with authorities is needed');
  refusedBecause('dimse: { host: 10.0.0.1, callingAEs: [A] }', 'dimse.tls with authorities is needed');
  refusedBecause(`dimse: { host: 10.0.0.1, callingAEs: [A], ${tls} }`, 'dimse.tls with authorities is needed');
  refusedBecause(`dimse: { host: 10.0.0.1, ${mutual} }`, 'dimse.callingAEs is needed');
  refusedBecause('http: { tls: { key: cert.pem, certificate: cert.pem } }', 'belong together');
  refusedBecause('http: { tls: { key: absent.pem, certificate: cert.pem } }', 'absent.pem cannot be read');
  writeFileSync(
    join(folder, 'gateway.yaml'),
    `http: { host: 0.0.0.0, ${tls} }\ndimse: { callingAEs: [A], ${mutual} }\n${tokens}\n`,
  );
  const config = readConfig({ ISTHMUS_CONFIG: folder });
  assert.equal(config.dimse.host, '0.0.0.0');
  assert.ok(config.dimse.tls?.authorities?.includes('BEGIN CERTIFICATE'));
  assert.throws(
    () => readConfig({ ISTHMUS_CONFIG: folderWith(t, {}), ISTHMUS_HOST: '0.0.0.0' }),
    refusedWith('http.tls is needed'),
  );
});

test('package.json and what the gateway says of itself agree', () => {
  const { version } = JSON.parse(readFileSync(join(ROOT, 'package.json'), 'utf8')) as { version: string };
  assert.equal(SOFTWARE_VERSION, version);
  assert.equal(IMPLEMENTATION_VERSION_NAME, `ISTHMUS_${version.split('.').slice(0, 2).join('.')}`);
  assert.ok(IMPLEMENTATION_VERSION_NAME.length <= 16);
});
