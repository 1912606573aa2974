/** The URL the caller reaches us by: DICOMWEB.md section 1, BulkDataURI. Over real sockets. */
import assert from 'node:assert/strict';
import { createServer, request } from 'node:http';
import type { AddressInfo } from 'node:net';
import { after, before, test } from 'node:test';
import { baseUrlOf, type BaseUrlOptions } from '../../src/dicomweb/base-url.ts';

let options: BaseUrlOptions = {};
let port = 0;
const server = createServer((incoming, response) => {
  try {
    response.end(baseUrlOf(incoming, '/dicom-web', options));
  } catch (error) {
    response.statusCode = 400;
    response.end(error instanceof Error ? error.name : '');
  }
});

before(async () => {
  await new Promise<void>((resolve) => server.listen(0, '127.0.0.1', resolve));
  ({ port } = server.address() as AddressInfo);
});
after(() => server.close());

function ask(headers: Record<string, string>): Promise<string> {
  return new Promise((resolve, reject) => {
    const outgoing = request({ port, host: '127.0.0.1', headers }, (response) => {
      const chunks: Buffer[] = [];
      response.on('data', (chunk: Buffer) => chunks.push(chunk));
      response.on('end', () => resolve(Buffer.concat(chunks).toString()));
    });
    outgoing.on('error', reject).end();
  });
}

test('a Host without port, as one client sends it, gets the listening port', async () => {
  options = {};
  assert.equal(await ask({ host: 'gateway.example' }), `http://gateway.example:${port}/dicom-web`);
  assert.equal(await ask({ host: `gateway.example:${port}` }), `http://gateway.example:${port}/dicom-web`);
  assert.equal(await ask({ host: '[::1]' }), `http://[::1]:${port}/dicom-web`);
});

test('forwarding headers count only from a trusted proxy', async () => {
  const headers = { host: 'inner:1', forwarded: 'for=192.0.2.1;host=outer.example;proto=https, for=10.0.0.1' };
  options = {};
  assert.equal(await ask(headers), 'http://inner:1/dicom-web');
  options = { trustedProxies: ['10.0.0.0/8'] };
  assert.equal(await ask(headers), 'http://inner:1/dicom-web');
  options = { trustedProxies: ['127.0.0.0/8'] };
  assert.equal(await ask(headers), 'https://outer.example/dicom-web');
  assert.equal(
    await ask({ host: 'inner:1', 'x-forwarded-host': 'outer.example:444', 'x-forwarded-proto': 'https' }),
    'https://outer.example:444/dicom-web',
  );
  assert.equal(await ask({ host: 'inner:1', 'x-forwarded-proto': 'https' }), 'https://inner:1/dicom-web');
});

test('the configured URL goes before everything', async () => {
  options = { publicBaseUrl: 'https://public.example/pacs/dicom-web/', trustedProxies: ['127.0.0.1'] };
  assert.equal(await ask({ 'x-forwarded-host': 'evil.example' }), 'https://public.example/pacs/dicom-web');
});

test('a host that is none is refused, not copied into an answer', async () => {
  options = { trustedProxies: ['127.0.0.1'] };
  for (const host of ['a b', 'x/../y', 'x"y', '<script>', 'user@host', 'host:port'])
    assert.equal(await ask({ 'x-forwarded-host': host }), 'Refusal', host);
});
