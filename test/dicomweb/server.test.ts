/** The application as a whole: health, metrics, headers, errors without values. */
import assert from 'node:assert/strict';
import { after, before, test } from 'node:test';
import { mkdtempSync, readFileSync, rmSync } from 'node:fs';
import { Agent, request } from 'node:http';
import { get } from 'node:https';
import { connect } from 'node:net';
import type { AddressInfo } from 'node:net';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import { listen } from '../../src/server.ts';
import { makeCertificate, withoutOpenssl } from '../peers/certificate.ts';
import { scheduleWork } from '../../src/workitems.ts';
import { makeObject } from '../phantom/objects.ts';
import { agent, MULTIPART, multipartBody, openDoor, type Door } from './door.ts';

let door: Door;
before(async () => {
  door = await openDoor();
});
after(() => door.close());

test('SERVER-1: health and readiness answer without a token, and carry protective headers', async () => {
  for (const path of ['/healthz', '/readyz']) {
    const response = await agent(door).get(path);
    assert.equal(response.status, 200, path);
    assert.equal(response.headers['x-powered-by'], undefined);
    assert.equal(response.headers['x-content-type-options'], 'nosniff');
    assert.match(response.headers['content-security-policy'] ?? '', /default-src 'self'/);
    assert.doesNotMatch(response.headers['content-security-policy'] ?? '', /upgrade-insecure/);
    assert.equal(response.headers['strict-transport-security'], undefined);
  }
});

test('SERVER-2: metrics count by row of the routing table and never name what was asked for', async () => {
  await agent(door).get('/dicom-web/studies/2.25.123456789/metadata');
  await agent(door).get('/dicom-web/studies?PatientID=SECRET');
  const { text, status } = await agent(door).get('/metrics');
  assert.equal(status, 200);
  assert.match(
    text,
    /isthmus_http_request_seconds_count\{method="GET",route="\/studies\/:study\/metadata",status="404"\} 1/,
  );
  assert.ok(!text.includes('2.25.123456789') && !text.includes('SECRET'));
});

test('SERVER-6: metrics tell of archive, queue, quarantine, disk and doors, in the text format of Prometheus', async () => {
  const before = (await agent(door).get('/metrics')).text;
  assert.match(before, /^isthmus_ready 1$/m);
  assert.match(before, /^isthmus_archive_entities\{level="instances"\} 0$/m);
  const body = multipartBody([makeObject({ rows: 4, columns: 4 }).bytes, Buffer.from('no object')]);
  assert.equal((await agent(door).post('/dicom-web/studies').set('Content-Type', MULTIPART).send(body)).status, 202);
  scheduleWork(door.gateway.workItems, {
    kind: 'deliver',
    key: 'a delivery',
    studyInstanceUID: '2.25.1',
    parameters: { node: 'pacs' },
    maxAttempts: 3,
  });
  const { text } = await agent(door).get('/metrics');
  assert.match(text, /^isthmus_archive_entities\{level="instances"\} 1$/m);
  assert.match(text, /^isthmus_objects_received_total\{door="stow",outcome="stored"\} 1$/m);
  assert.match(text, /^isthmus_objects_received_total\{door="stow",outcome="(quarantined|CannotUnderstand)"\} 1$/m);
  assert.match(text, /^isthmus_work_items\{kind="deliver",stage="waiting"\} 1$/m);
  assert.match(text, /^isthmus_work_overdue_seconds\{kind="deliver"\} [\d.]+$/m);
  assert.match(text, /^isthmus_disk_free_bytes \d+$/m);
  for (const line of text.split('\n').filter((one) => one !== ''))
    assert.match(
      line,
      /^(# (HELP|TYPE) [a-z0-9_]+ .+|[a-z0-9_]+(\{[^{}]*\})? [-+\d.eE]+|[a-z0-9_]+(\{[^{}]*\})? (NaN|[+-]Inf))$/,
    );
  for (const [, name] of text.matchAll(/^# HELP (isthmus_\S+) /gm))
    assert.equal(text.split(`# TYPE ${name} `).length, 2, `${name} has one type`);
});

test('SERVER-3: unknown paths are 404 without repeating them', async () => {
  const response = await agent(door).get('/SECRET');
  assert.equal(response.status, 404);
  assert.ok(!response.text.includes('SECRET'));
});

test('SERVER-4: a request under a foreign host name is not taken for a local caller', async () => {
  const response = await agent(door).get('/dicom-web/studies').set('Host', 'evil.example');
  assert.equal(response.status, 401);
  // RFC 6750 3: a challenge has at least one parameter; clients stumble over one without.
  assert.equal(response.headers['www-authenticate'], 'Bearer realm="isthmus"');
});

test('PS3.18-8.5-401: who is not known is challenged on every resource, and told nothing of whether it is there', async () => {
  for (const path of [
    '/studies',
    '/studies/2.25.1',
    '/studies/2.25.1/metadata',
    '/workitems',
    '/wado',
    '/changefeed',
  ]) {
    const response = await agent(door).get(`/dicom-web${path}`).set('Host', 'evil.example');
    assert.deepEqual([response.status, response.headers['www-authenticate']], [401, 'Bearer realm="isthmus"'], path);
  }
});

test('SERVER-5: with key and certificate the same application speaks TLS', { skip: withoutOpenssl() }, async (t) => {
  const folder = mkdtempSync(join(tmpdir(), 'isthmus-tls-'));
  t.after(() => rmSync(folder, { recursive: true, force: true }));
  const [keyFile, certificateFile] = [join(folder, 'key.pem'), join(folder, 'certificate.pem')];
  makeCertificate('localhost', keyFile, certificateFile);
  const [key, certificate] = [readFileSync(keyFile, 'utf8'), readFileSync(certificateFile, 'utf8')];
  const server = await listen(door.app, {
    ...door.gateway.config.http,
    port: 0,
    tls: { key, certificate, authorities: undefined },
  });
  t.after(() => server.close());
  const { port } = server.address() as AddressInfo;
  const status = await new Promise<number | undefined>((resolve, reject) => {
    const options = {
      host: '127.0.0.1',
      port,
      path: '/healthz',
      ca: certificate,
      servername: 'localhost',
      agent: false,
    };
    get(options, (response) => resolve(response.resume().statusCode)).on('error', reject);
  });
  assert.equal(status, 200);
});

test('RFC9110-10.1.1: an empty Expect header asks for nothing; one that cannot be met is refused', async () => {
  const ask = async (expectation: string): Promise<string> => {
    const socket = connect(door.port, '127.0.0.1');
    socket.end(`GET /healthz HTTP/1.1\r\nHost: localhost\r\nExpect: ${expectation}\r\nConnection: close\r\n\r\n`);
    const chunks: Buffer[] = [];
    for await (const chunk of socket) chunks.push(chunk as Buffer);
    return Buffer.concat(chunks).toString('latin1').split('\r\n')[0] ?? '';
  };
  assert.match(await ask(''), / 200 /);
  assert.match(await ask('a-miracle'), / 417 /);
});

/** What comes back on a connection of its own, as text. */
async function exchangeRaw(text: string): Promise<string> {
  const socket = connect(door.port, '127.0.0.1');
  socket.write(Buffer.from(text, 'utf8'));
  const chunks: Buffer[] = [];
  for await (const chunk of socket) chunks.push(chunk as Buffer);
  return Buffer.concat(chunks).toString('utf8');
}

test('RFC9110-7.8: an offer of h2c, as the client of Java sends it with every request, is passed over and the request answered', async (t) => {
  const one = new Agent({ keepAlive: true, maxSockets: 1 });
  t.after(() => one.destroy());
  const ask = (method: string, path: string, body = ''): Promise<[status: number | undefined, reused: boolean]> =>
    new Promise((resolve, reject) => {
      const headers = { Connection: 'Upgrade, HTTP2-Settings', Upgrade: 'h2c', 'HTTP2-Settings': 'AAEAAEAAAAIAAAAB' };
      const options = { host: '127.0.0.1', port: door.port, path: `/dicom-web${path}`, method, agent: one };
      const sent = request({ ...options, headers: { ...headers, 'Content-Type': 'text/plain' } }, (response) => {
        response.resume().on('end', () => resolve([response.statusCode, sent.reusedSocket]));
      });
      sent.on('error', reject).end(body);
    });
  assert.deepEqual(await ask('GET', '/studies?limit=0'), [204, false]);
  assert.deepEqual(await ask('GET', '/series?limit=0'), [204, true], 'the connection stays');
  assert.deepEqual(await ask('POST', '/studies', 'not to be stored'), [415, true], 'what has a body too');
});

test('RFC9110-15.5.1: what is no HTTP is told so in a body, without repeating it', async () => {
  const raw = await exchangeRaw('GET /dicom-web/studies?PatientName=M\u00fcller HTTP/1.1\r\nHost: localhost\r\n\r\n');
  assert.match(raw, /^HTTP\/1\.1 400 /);
  assert.match(raw, /percent-encoded/);
  assert.doesNotMatch(raw, /ller/);
  const long = await exchangeRaw(`GET /healthz HTTP/1.1\r\nHost: localhost\r\nX: ${'x'.repeat(70_000)}\r\n\r\n`);
  assert.match(long, /^HTTP\/1\.1 431 [^]*65536 bytes/);
});

test('HTTP-4: a slash too many in a path names the same resource', async () => {
  for (const path of ['/dicom-web//studies', '//dicom-web/studies', '/dicom-web/studies//?limit=1'])
    assert.match(
      await exchangeRaw(`GET ${path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n`),
      / 20[04] /,
      path,
    );
});
