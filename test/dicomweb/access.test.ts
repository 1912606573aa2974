/** Who is let in: bearer tokens, and the development default on loopback. */
import assert from 'node:assert/strict';
import { createHash } from 'node:crypto';
import { test } from 'node:test';
import { authenticate, isLoopback, requireRole, ROLES, type AccessToken } from '../../src/access.ts';
import { Refusal } from '../../src/dicom/refusal.ts';

const sha256 = (text: string): string => createHash('sha256').update(text).digest('hex');
const TOKENS: readonly AccessToken[] = [
  { name: 'modality', sha256: sha256('send-me'), roles: ['sender'] },
  { name: 'reader', sha256: sha256('show-me'), roles: ['viewer'] },
];
const from = (remoteAddress: string, host?: string, authorization?: string) => ({ remoteAddress, host, authorization });

test('ACCESS-1: a token gives its own roles, any other secret none', () => {
  const caller = authenticate(TOKENS, from('203.0.113.9', 'gateway', 'Bearer show-me'));
  assert.equal(caller?.name, 'reader');
  assert.deepEqual([...(caller?.roles ?? [])], ['viewer']);
  for (const header of [
    'Bearer show-me2',
    'Bearer ',
    'Basic show-me',
    'show-me',
    `Bearer ${sha256('show-me')}`,
    undefined,
  ])
    assert.equal(authenticate(TOKENS, from('127.0.0.1', 'localhost', header)), undefined, String(header));
});

test('ACCESS-5: a client that knows only Basic has the token for its password, under any name', () => {
  const basic = (pair: string): string => `Basic ${Buffer.from(pair).toString('base64')}`;
  for (const pair of ['orthanc:show-me', ':show-me'])
    assert.equal(authenticate(TOKENS, from('203.0.113.9', 'gateway', basic(pair)))?.name, 'reader', pair);
  for (const pair of ['show-me', 'show-me:', 'reader:show-me2', 'a:b:show-me', ':', ''])
    assert.equal(authenticate(TOKENS, from('127.0.0.1', 'localhost', basic(pair))), undefined, pair);
});

test('ACCESS-2: without tokens every local caller holds every role, and nobody else holds any', () => {
  const local = authenticate([], from('127.0.0.1', '127.0.0.1:8080'));
  assert.deepEqual([...(local?.roles ?? [])], [...ROLES]);
  assert.notEqual(authenticate([], from('::ffff:127.0.0.1', 'localhost')), undefined);
  assert.notEqual(authenticate([], from('::1', '[::1]:8080')), undefined);
  assert.equal(authenticate([], from('203.0.113.9', 'localhost')), undefined);
});

test('ACCESS-3: a foreign name for this machine (DNS rebinding) is not local', () => {
  for (const host of ['evil.example:8080', 'localhost.evil.example', '127.0.0.1.evil.example'])
    assert.equal(authenticate([], from('127.0.0.1', host)), undefined, host);
});

test('ACCESS-4: without tokens a proxy on this machine lends nobody its place', () => {
  const through = (forwardedFor: string) => authenticate([], { ...from('127.0.0.1', '127.0.0.1:8080'), forwardedFor });
  for (const header of [
    '203.0.113.9',
    '127.0.0.1, 203.0.113.9',
    'for=203.0.113.9;proto=https',
    'for="[2001:db8::1]:4711"',
    'for=unknown',
  ])
    assert.equal(through(header), undefined, header);
  for (const header of [
    '',
    '127.0.0.1',
    'for=127.0.0.1:4711;host=a;proto=http',
    'for="[::1]:4711"',
    'host=gateway.example;proto=https',
  ])
    assert.notEqual(through(header), undefined, header);
});

test('a role that is missing is refused by name', () => {
  const caller = authenticate(TOKENS, from('203.0.113.9', 'gateway', 'Bearer send-me'));
  assert.ok(caller !== undefined);
  requireRole(caller, 'viewer', 'sender');
  assert.throws(
    () => requireRole(caller, 'viewer'),
    (error) => error instanceof Refusal && error.reason === 'NotAuthorized' && error.message.includes('viewer'),
  );
});

test('loopback is 127.0.0.0/8 and ::1, nothing that merely looks like it', () => {
  for (const address of ['127.0.0.1', '127.9.9.9', '::1', '::ffff:127.0.0.1'])
    assert.equal(isLoopback(address), true, address);
  for (const address of ['10.0.0.1', '::', '127.0.0.1.evil', '128.0.0.1', '', undefined])
    assert.equal(isLoopback(address), false, String(address));
});
