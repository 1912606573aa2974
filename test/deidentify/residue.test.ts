/** The second look at what is about to leave: it finds what a broken rule lets through, in every encoding, and nothing else. */
import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { compileProfile } from '../../src/deidentify/profile.ts';
import type { Refusal } from '../../src/dicom/refusal.ts';
import { BASIC, fileOf, makeFile, pass, type Attributes } from './support.ts';

async function refusedAt(attributes: Attributes, profile = BASIC): Promise<string | undefined> {
  try {
    await pass(makeFile(attributes), { profile });
    return undefined;
  } catch (error) {
    const { reason, message } = error as Refusal;
    assert.equal(reason, 'Quarantined', message);
    return /left in (.*) after/.exec(message)?.[1];
  }
}

const PEOPLE = {
  '00100010': 'Meier-Schöne^Änne=山田^太郎',
  '00080080': 'Klinikum Musterstadt',
  '00080005': 'ISO_IR 192',
};

describe('DEID-RESIDUE: what is left is found and named by its place', () => {
  const shapes: readonly (readonly [string, string | Buffer])[] = [
    ['as it stood', 'for Änne today'],
    ['in capitals', 'MEIER'],
    ['in another normal form', 'SCHÖNE'.normalize('NFD')],
    ['in UTF-16, low byte first', Buffer.from('xxMeier!', 'utf16le')],
    ['in UTF-16, high byte first', Buffer.from('xxMeier!', 'utf16le').swap16()],
    ['in Latin-1', Buffer.from('Schöne', 'latin1')],
    ['in a script without blanks', 'aa山田aa'],
    ['an identifier', 'no. PID-4711.'],
    ['a place', 'klinikum musterstadt'],
  ];
  for (const [what, value] of shapes) {
    it(what, async () => {
      // A table that no rule looks into: the element is kept as bytes.
      const bytes = typeof value === 'string' ? Buffer.from(value, 'utf8') : value;
      const padded = Buffer.concat([Buffer.from('abcdef '), bytes, Buffer.alloc((bytes.length + 7) % 2)]);
      const place = await refusedAt({ ...PEOPLE, '00281201': padded });
      assert.equal(place, '(0028,1201)');
    });
  }
  it('in an item, by its path', async () => {
    const place = await refusedAt({
      ...PEOPLE,
      '00089215': [{ '00281201': Buffer.from('xx Musterstadt, Klinikum Musterstadt ') }],
    });
    assert.equal(place, '(0008,9215) > (0028,1201)');
  });
  it('a UID that was mapped elsewhere', async () => {
    const place = await refusedAt({ '00281201': Buffer.from('1.2.3.4.1 ') });
    assert.equal(place, '(0028,1201)');
  });
});

describe('what stands there by right is no residue', () => {
  it('a part of a longer word or number', async () => {
    assert.equal(await refusedAt({ '00100010': 'Mei^Eva', '00281201': Buffer.from('Meister evaluate ') }), undefined);
    assert.equal(await refusedAt({ '00100020': '4711', '00281201': Buffer.from('1.4711 047110 ') }), undefined);
  });
  it('our own stamps, when the patient is called like one of their words', async () => {
    assert.equal(await refusedAt({ '00100010': 'Basic^Profile' }), undefined);
  });
  it('a term of the standard, when the patient is called so', async () => {
    assert.equal(await refusedAt({ '00100010': 'Chest^Axial' }), undefined);
  });
  it('a station that is named after its maker', async () => {
    assert.equal(await refusedAt({ '00080070': 'GENESIS', '00081010': 'GENESIS' }), undefined);
  });
  it('what the profile is told to keep', async () => {
    const profile = compileProfile({ ...fileOf('basic'), overrides: [{ tag: 'StationName', action: 'keep' }] });
    assert.equal(await refusedAt({ '00081010': 'STATION-77' }, profile), undefined);
  });
});

it('the refusal tells where, never what', async () => {
  await assert.rejects(
    pass(makeFile({ ...PEOPLE, '00281201': Buffer.from('Musterstadt Klinikum Musterstadt!') }), {}),
    ({ message }: Refusal) => !/Muster|Klinik/i.test(message),
  );
});
