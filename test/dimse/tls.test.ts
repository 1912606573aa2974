/** The secure transport connection (PS3.15 B.9) with a certificate made for the test. */
import assert from 'node:assert/strict';
import { execFileSync } from 'node:child_process';
import { readFileSync } from 'node:fs';
import { join } from 'node:path';
import { test } from 'node:test';
import type { TestContext } from 'node:test';
import { VERIFICATION } from '../../src/dimse/negotiation.ts';
import { echo, openAssociation, release, store } from '../../src/dimse/scu.ts';
import type { Association, ScuTls } from '../../src/dimse/scu.ts';
import {
  CT_IMAGE,
  EXPLICIT_LE,
  IMPLICIT_LE,
  RawPeer,
  runPeer,
  scratch,
  sha256,
  startHashingScp,
  startStorescp,
  syntheticObject,
  withoutDcmtk,
  writePart10,
} from './peers.ts';

function withoutOpenssl(): string | false {
  try {
    execFileSync('openssl', ['version'], { stdio: 'ignore' });
    return false;
  } catch {
    return 'openssl is not installed: no certificate can be made';
  }
}

const skip = withoutOpenssl();

interface Certificate {
  readonly keyFile: string;
  readonly certFile: string;
  readonly key: Buffer;
  readonly cert: Buffer;
}

function makeCertificate(t: TestContext): Certificate {
  const folder = scratch(t);
  const [keyFile, certFile] = [join(folder, 'key.pem'), join(folder, 'cert.pem')];
  const subject = ['-subj', '/CN=localhost', '-addext', 'subjectAltName=DNS:localhost,IP:127.0.0.1'];
  const args = [
    'req',
    '-x509',
    '-newkey',
    'ec',
    '-pkeyopt',
    'ec_paramgen_curve:prime256v1',
    '-nodes',
    '-days',
    '2',
    '-keyout',
    keyFile,
    '-out',
    certFile,
  ];
  execFileSync('openssl', [...args, ...subject], { stdio: 'ignore' });
  return { keyFile, certFile, key: readFileSync(keyFile), cert: readFileSync(certFile) };
}

function open(port: number, tls: ScuTls): Promise<Association> {
  const contexts = [
    { sopClassUID: VERIFICATION, transferSyntaxUIDs: [IMPLICIT_LE] },
    { sopClassUID: CT_IMAGE, transferSyntaxUIDs: [EXPLICIT_LE] },
  ];
  return openAssociation({ host: '127.0.0.1', port, callingAE: 'SENDER', calledAE: 'ISTHMUS', contexts, tls });
}

test('PS3.15-B-tls: objects travel encrypted, and the association says so', { skip }, async (t) => {
  const { key, cert } = makeCertificate(t);
  const { port, received } = await startHashingScp(t, { tls: { key, cert } });
  const association = await open(port, { ca: cert });
  assert.equal(await echo(association), 0);
  const object = syntheticObject(512);
  assert.equal(await store(association, object), 0);
  await release(association);
  assert.equal(received[0]?.sha256, sha256(object.dataSet));
  assert.equal(received[0]?.request.association.tls, true);
});

test(
  'PS3.15-B-certificate: a certificate nobody vouches for is not trusted, and a plain peer gets nowhere',
  { skip },
  async (t) => {
    const { key, cert } = makeCertificate(t);
    const { port, events } = await startHashingScp(t, { tls: { key, cert } });
    await assert.rejects(open(port, {}), { reason: 'DeliveryFailed', message: /DEPTH_ZERO_SELF_SIGNED_CERT/ });
    const plain = await RawPeer.connect(t, port);
    plain.send(Buffer.alloc(300, 1));
    await plain.closed();
    assert.ok(events.some(([name]) => name === 'tls-refused'));
  },
);

test(
  'where certificates are asked for, a peer without one is turned away and one with a known one is served',
  { skip },
  async (t) => {
    const server = makeCertificate(t);
    const client = makeCertificate(t);
    const stranger = makeCertificate(t);
    const tls = { key: server.key, cert: server.cert, ca: client.cert, requestCert: true };
    const { port } = await startHashingScp(t, { tls });
    await assert.rejects(open(port, { ca: server.cert }), { reason: 'DeliveryFailed' });
    await assert.rejects(open(port, { ca: server.cert, key: stranger.key, cert: stranger.cert }), {
      reason: 'DeliveryFailed',
    });
    const association = await open(port, { ca: server.cert, key: client.key, cert: client.cert });
    assert.equal(await echo(association), 0);
    await release(association);
  },
);

test('a handshake that never comes is closed when ARTIM expires', { skip }, async (t) => {
  const { key, cert } = makeCertificate(t);
  const { port } = await startHashingScp(t, { tls: { key, cert }, artimMs: 150 });
  const silent = await RawPeer.connect(t, port);
  await silent.closed();
});

test('storescu +tls delivers to us', { skip: skip || withoutDcmtk() }, async (t) => {
  const { key, cert, keyFile, certFile } = makeCertificate(t);
  const { port, received } = await startHashingScp(t, { tls: { key, cert } });
  const objects = [syntheticObject(256), syntheticObject(64)];
  const folder = scratch(t);
  const files = objects.map((object) => writePart10(folder, object));
  const args = ['+tls', keyFile, certFile, '+cf', certFile, '-aec', 'ISTHMUS', '127.0.0.1', String(port), ...files];
  const { code, output } = await runPeer('storescu', args);
  assert.equal(code, 0, output);
  assert.deepEqual(
    received.map(({ sha256: hash }) => hash),
    objects.map(({ dataSet }) => sha256(dataSet)),
  );
});

test('we deliver to storescp +tls', { skip: skip || withoutDcmtk() }, async (t) => {
  const { key, cert, keyFile, certFile } = makeCertificate(t);
  const port = await startStorescp(t, scratch(t), ['+tls', keyFile, certFile, '+cf', certFile]);
  const association = await open(port, { ca: cert, key, cert });
  assert.equal(await store(association, syntheticObject(512)), 0);
  await release(association);
});

test('close lets a store that runs over TLS finish and answer', { skip }, async (t) => {
  const { key, cert } = makeCertificate(t);
  const gate: { open?: () => void } = {};
  const slowStore = (): Promise<number> => new Promise((resolve) => (gate.open = () => resolve(0)));
  const { port, scp } = await startHashingScp(t, { tls: { key, cert }, closeMs: 20_000 }, { store: slowStore });
  const association = await open(port, { ca: cert });
  const running = store(association, syntheticObject(64));
  while (gate.open === undefined) await new Promise((resolve) => setTimeout(resolve, 5));
  const closing = scp.close();
  gate.open();
  assert.equal(await running, 0);
  await closing;
});
