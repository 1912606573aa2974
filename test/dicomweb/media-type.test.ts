/** Negotiation, DICOMWEB.md section 5 (traps 6 to 8): what must pass, what must be 406. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { chooseMediaType, parseMediaType, type Offer } from '../../src/dicomweb/media-type.ts';
import { Refusal } from '../../src/dicom/refusal.ts';

const JSON_ONLY: readonly Offer[] = [{ multipart: false, type: 'application/dicom+json' }];
const NATIVE = { uid: '1.2.840.10008.1.2.1', answers: ['default'] };
const JP2 = { uid: '1.2.840.10008.1.2.4.90', answers: ['default'] };
const INSTANCE: readonly Offer[] = [
  { multipart: true, type: 'application/dicom', syntaxes: [NATIVE, { ...JP2, answers: [] }] },
  { multipart: false, type: 'application/dicom', syntaxes: [NATIVE, { ...JP2, answers: [] }] },
];
const STUDY: readonly Offer[] = INSTANCE.slice(0, 1);
const ONE_FRAME: readonly Offer[] = [
  { multipart: true, type: 'application/octet-stream', syntaxes: [NATIVE] },
  { multipart: true, type: 'image/jp2', syntaxes: [JP2] },
  { multipart: false, type: 'application/octet-stream', syntaxes: [NATIVE] },
];

const said = (header: string | undefined, offers: readonly Offer[], parameter: string[] = []): string => {
  const { offer, transferSyntaxes } = chooseMediaType({ header, parameter }, offers);
  return `${offer.multipart ? 'multipart ' : ''}${offer.type}${transferSyntaxes.length > 0 ? ` ${transferSyntaxes.join(' ')}` : ''}`;
};

const PASSES: readonly [accept: string | undefined, offers: readonly Offer[], answer: string][] = [
  [undefined, JSON_ONLY, 'application/dicom+json'],
  ['', JSON_ONLY, 'application/dicom+json'],
  ['*/*', JSON_ONLY, 'application/dicom+json'],
  ['application/json', JSON_ONLY, 'application/dicom+json'],
  ['toto, application/dicom+json', JSON_ONLY, 'application/dicom+json'],
  ['image/webp, */*;q=0.8, text/html', JSON_ONLY, 'application/dicom+json'],
  ['*/*; q=.2', JSON_ONLY, 'application/dicom+json'],
  ['application/*', JSON_ONLY, 'application/dicom+json'],
  ['APPLICATION/DICOM+JSON', JSON_ONLY, 'application/dicom+json'],
  ['multipart/related', STUDY, 'multipart application/dicom default'],
  ['multipart/related;type=application/dicom;transfer-syntax=*', STUDY, 'multipart application/dicom *'],
  ['multipart/related; type="application/dicom"; transfer-syntax="*"', STUDY, 'multipart application/dicom *'],
  ['multipart/related; transfer-syntax=*', STUDY, 'multipart application/dicom *'],
  ['multipart/related; type="application/dicom"; boundary=**', STUDY, 'multipart application/dicom default'],
  [
    'multipart/related;   type =  "application/octet-stream"  ',
    ONE_FRAME,
    'multipart application/octet-stream default',
  ],
  ['multipart/related; type="*/*"', ONE_FRAME, 'multipart application/octet-stream default'],
  ['multipart/related; type="image/*"', ONE_FRAME, 'multipart image/jp2 default'],
  ['application/octet-stream', ONE_FRAME, 'application/octet-stream default'],
  ['application/dicom', INSTANCE, 'application/dicom default'],
  ['*/*', INSTANCE, 'multipart application/dicom default'],
  [
    'application/dicom;q=0.5, multipart/related;type="application/dicom"',
    INSTANCE,
    'multipart application/dicom default',
  ],
  ['application/dicom, multipart/related;type="application/dicom";q=0.5', INSTANCE, 'application/dicom default'],
  [
    'multipart/related;type="application/dicom";transfer-syntax=1.2.840.10008.1.2.4.90;q=0.3, multipart/related;type="application/dicom";transfer-syntax=1.2.840.10008.1.2.1',
    STUDY,
    'multipart application/dicom 1.2.840.10008.1.2.1 1.2.840.10008.1.2.4.90',
  ],
  ['multipart/related; type="application/octet-stream";q=0, */*', ONE_FRAME, 'multipart image/jp2 default'],
];

for (const [accept, offers, answer] of PASSES) {
  test(`PS3.18-8.7.8-select: Accept ${accept ?? '(none)'} is served as ${answer}`, () => {
    assert.equal(said(accept, offers), answer);
  });
}

const REFUSED: readonly [accept: string, offers: readonly Offer[]][] = [
  ['application/nope', JSON_ONLY],
  ['text/plain', JSON_ONLY],
  ['multipart/nope', STUDY],
  ['multipart/related; type=application/nope', STUDY],
  ['multipart/related; type="application/dicom"; transfer-syntax=nope', STUDY],
  ['application/dicom', STUDY],
  ['multipart/related; type=" application/dicom "', STUDY],
  ['multipart/related; type="application/dicom', STUDY],
  ['application/dicom+json;q=0', JSON_ONLY],
  ['application/dicom+json;q=0, */*', JSON_ONLY],
  ['application/dicom+json;q=nope', JSON_ONLY],
];

for (const [accept, offers] of REFUSED) {
  test(`PS3.18-8.7.8-none: Accept ${accept} is 406 and lists what there is`, () => {
    assert.throws(
      () => said(accept, offers),
      (error) =>
        error instanceof Refusal && error.reason === 'NotAcceptable' && error.message.includes(offers[0]?.type ?? '?'),
    );
  });
}

test('an entry whose transfer syntax is not there gives way to the next one', () => {
  const compressed = [
    { multipart: true, type: 'application/octet-stream', syntaxes: [{ ...JP2, answers: [] }] },
    ONE_FRAME[1],
  ];
  const header = 'multipart/related; type="application/octet-stream", multipart/related; type="image/jp2"; q=0.9';
  assert.equal(
    said(
      header,
      compressed.filter((offer) => offer !== undefined),
    ),
    'multipart image/jp2 default',
  );
});

test('the accept query parameter decides before the header, and falls back to it', () => {
  assert.equal(said('text/html,image/webp,*/*;q=0.8', INSTANCE, ['application/dicom']), 'application/dicom default');
  assert.equal(said('application/dicom', INSTANCE, ['application/nope']), 'application/dicom default');
  assert.throws(
    () => said('*/*', INSTANCE, ['*/*']),
    (error) => error instanceof Refusal && error.reason === 'BadRequest',
  );
});

test('without an Accept header the answer is 406 only where the configuration is strict', () => {
  assert.throws(
    () => chooseMediaType({ header: undefined, strict: true }, JSON_ONLY),
    (error) => error instanceof Refusal && error.reason === 'NotAcceptable',
  );
});

test('a content type keeps quoted separators and refuses what is no media type', () => {
  const parsed = parseMediaType('Multipart/Related; type="application/dicom"; boundary="a;b,c\\"d"');
  assert.equal(parsed?.name, 'multipart/related');
  assert.equal(parsed?.parameters.get('boundary'), 'a;b,c"d');
  for (const text of ['', 'nope', 'a/b/c', 'a/b; =x', 'a/b; c', 'a/b; c="x', 'a/b; c=x; c=y', 'a b/c'])
    assert.equal(parseMediaType(text), undefined, text);
});
