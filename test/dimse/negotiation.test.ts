/** Which presentation contexts are taken, and in which transfer syntax. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { answerContext, chooseTransferSyntax, isStorageClass } from '../../src/dimse/negotiation.ts';

const IMPLICIT = '1.2.840.10008.1.2';
const EXPLICIT = '1.2.840.10008.1.2.1';
const DEFLATED = '1.2.840.10008.1.2.1.99';
const BIG = '1.2.840.10008.1.2.2';
const JPEG_BASELINE = '1.2.840.10008.1.2.4.50';
const JPEG_LOSSLESS = '1.2.840.10008.1.2.4.70';
const J2K_LOSSLESS = '1.2.840.10008.1.2.4.90';
const RLE = '1.2.840.10008.1.2.5';

test('PS3.5-10-compressed: every compressed syntax is taken alone, as it comes', () => {
  const ends = [
    '50',
    '51',
    '57',
    '70',
    '80',
    '81',
    '90',
    '91',
    '100',
    '102',
    '104',
    '107',
    '110',
    '111',
    '112',
    '201',
    '202',
    '203',
  ];
  for (const end of ends)
    assert.equal(chooseTransferSyntax([`1.2.840.10008.1.2.4.${end}`]), `1.2.840.10008.1.2.4.${end}`);
  for (const uid of [IMPLICIT, EXPLICIT, DEFLATED, BIG, RLE]) assert.equal(chooseTransferSyntax([uid]), uid);
});

test('syntaxes whose pixels lie elsewhere, and unknown ones, are not taken', () => {
  for (const end of ['4.94', '4.95', '4.204', '4.205', '7.1', '6.2']) {
    assert.equal(chooseTransferSyntax([`1.2.840.10008.1.2.${end}`]), undefined);
  }
  assert.equal(chooseTransferSyntax(['', '1.2.3']), undefined);
  assert.equal(chooseTransferSyntax([]), undefined);
});

test('PS3.8-9.3.3.2-syntax: of several, lossless and explicit goes first in the order of the sender, then big endian, implicit, lossy', () => {
  assert.equal(chooseTransferSyntax([IMPLICIT, EXPLICIT]), EXPLICIT);
  assert.equal(chooseTransferSyntax([IMPLICIT, BIG, EXPLICIT, J2K_LOSSLESS]), EXPLICIT);
  assert.equal(chooseTransferSyntax([J2K_LOSSLESS, EXPLICIT]), J2K_LOSSLESS);
  assert.equal(chooseTransferSyntax([JPEG_BASELINE, JPEG_LOSSLESS]), JPEG_LOSSLESS);
  assert.equal(chooseTransferSyntax([JPEG_BASELINE, IMPLICIT]), IMPLICIT);
  assert.equal(chooseTransferSyntax([IMPLICIT, BIG]), BIG);
  assert.equal(chooseTransferSyntax([JPEG_BASELINE, '1.2.3']), JPEG_BASELINE);
});

test('PS3.4-B.5-classes: Storage SOP Classes are told from services that lie beside them', () => {
  const storage = [
    '1.1.2',
    '1.1.7.4',
    '1.1.88.33',
    '1.1.104.1',
    '1.1.200.3',
    '1.1.200.7',
    '1.1.201.1',
    '1.1.481.3',
    '34.7',
    '34.10',
    '38.1',
    '39.1',
    '43.1',
    '44.1',
    '45.1',
  ];
  const others = [
    '1.1.200.4',
    '1.1.200.6',
    '1.1.201.2',
    '1.1.201.6',
    '1.2.1.1',
    '1.2.2.2',
    '31',
    '34.6.1',
    '34.8',
    '38.2',
    '39.2',
    '43.2',
    '45.4',
  ];
  for (const end of storage) assert.equal(isStorageClass(`1.2.840.10008.5.1.4.${end}`), true, end);
  for (const end of others) assert.equal(isStorageClass(`1.2.840.10008.5.1.4.${end}`), false, end);
});

test('a private class is taken where it is configured, and any class where all are', () => {
  const proposed = { id: 1, abstractSyntax: '1.3.6.1.4.1.9999.1', transferSyntaxUIDs: [EXPLICIT] };
  assert.equal(answerContext(proposed, { moreClasses: new Set() }).result, 3);
  assert.equal(answerContext(proposed, { moreClasses: new Set([proposed.abstractSyntax]) }).result, 0);
  assert.equal(answerContext(proposed, { moreClasses: new Set(['*']) }).result, 0);
  assert.equal(
    answerContext({ ...proposed, transferSyntaxUIDs: ['1.2.3'] }, { moreClasses: new Set(['*']) }).result,
    4,
  );
});
