import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import fc from 'fast-check';
import {
  areNumbers,
  asCodeString,
  capAge,
  dummyValue,
  isTime,
  resolveAction,
  shiftDate,
  shiftDateTime,
  yearsBetween,
} from '../../src/deidentify/actions.ts';
import { VR_TRAITS, type Vr } from '../../src/dicom/vr.ts';

const days = fc.integer({ min: -3650, max: 3650 });
const date = fc
  .date({ min: new Date('1920-01-01'), max: new Date('2090-01-01'), noInvalidDate: true })
  .map((at) => at.toISOString().slice(0, 10).replaceAll('-', ''));

describe('dates', () => {
  it('moved and moved back are the same, and every interval holds', () => {
    fc.assert(
      fc.property(date, date, days, (a, b, offset) => {
        const [movedA = '', movedB = ''] = [shiftDate(a, offset), shiftDate(b, offset)];
        assert.equal(shiftDate(movedA, -offset), a);
        const number = (text: string): number => Date.parse(`${text.slice(0, 4)}-${text.slice(4, 6)}-${text.slice(6)}`);
        assert.equal(number(movedA) - number(movedB), number(a) - number(b));
      }),
    );
  });

  it('that are none, or would fall before 1900, have no shifted form', () => {
    for (const text of ['20230229', '2024', '20241301', 'yesterday', '202404051', '20240405-20240406'])
      assert.equal(shiftDate(text, 1), undefined, text);
    assert.equal(shiftDate('19000105', -5), undefined);
    assert.equal(shiftDate('2024.04.05', 1), '20240406');
    assert.equal(shiftDate('20240228', 2), '20240301');
  });

  it('with time keep the precision they had', () => {
    assert.equal(shiftDateTime('2024', -200, true)?.length, 4);
    assert.equal(shiftDateTime('202404', -30, true)?.length, 6);
    assert.equal(shiftDateTime('20240405', 1, true), '20240406');
    assert.equal(shiftDateTime('2024040509', 1, true), '2024040609');
    assert.equal(shiftDateTime('20240405091011.123456+0100', 1, true), '20240406091011.123456');
    assert.equal(shiftDateTime('20240405091011.123456+0100', 1, false), '20240406');
    for (const text of ['soon', '20240405T0910', '2024040599999999'])
      assert.equal(shiftDateTime(text, 1, true), undefined, text);
  });

  it('ages above 89 are all the same', () => {
    assert.equal(capAge('089Y'), '089Y');
    assert.equal(capAge('090Y'), '090Y');
    assert.equal(capAge('104Y'), '090Y');
    assert.equal(capAge('999M'), '999M');
    assert.equal(capAge('old'), undefined);
    assert.equal(yearsBetween('19340406', '20240405'), 89);
    assert.equal(yearsBetween('19340405', '20240405'), 90);
  });

  it('times are times', () => {
    for (const text of ['09', '0910', '091011', '091011.1', '235960']) assert.ok(isTime(text), text);
    for (const text of ['24', '0960', '9:10', 'noon', '0910.5']) assert.equal(isTime(text), false, text);
  });
});

describe('values that stay', () => {
  it('are numbers where the VR says so', () => {
    for (const text of ['1', ' -1.5e-3 ', '1\\2\\3', '', '.5\\']) assert.ok(areNumbers(text, 'DS'), text);
    for (const text of ['Hans', '1\\Meier', '12a', '1.2.3']) assert.equal(areNumbers(text, 'DS'), false, text);
    assert.equal(areNumbers('1.5', 'IS'), false);
  });

  it('are codes where the VR says so, in capital letters', () => {
    assert.equal(asCodeString('chest'), 'CHEST');
    assert.equal(asCodeString('DERIVED\\PRIMARY\\MIP_2'), 'DERIVED\\PRIMARY\\MIP_2');
    for (const text of ['Meier, Hans', 'SEVENTEENLETTERSX', '1957-03-02', 'Ä'])
      assert.equal(asCodeString(text), undefined, text);
  });
});

describe('dummies and conditional codes', () => {
  it('are of even length and not empty, for every VR', () => {
    for (const vr of Object.keys(VR_TRAITS) as Vr[]) {
      if (vr === 'SQ' || vr === 'UI') continue;
      const dummy = dummyValue(vr);
      assert.ok(dummy.length > 0 && dummy.length % 2 === 0 && dummy.length % VR_TRAITS[vr].wordBytes === 0, vr);
    }
  });

  it('follow the type in the IOD; a class nobody knows gets what satisfies every type', () => {
    assert.deepEqual(
      (['1', '1C', '2', '2C', '3'] as const).map((type) => resolveAction('X/Z/D', type, true)),
      ['D', 'D', 'Z', 'Z', 'X'],
    );
    assert.deepEqual(
      (['X', 'Z', 'D', 'Z/D', 'X/Z', 'X/D', 'X/Z/D'] as const).map((code) => resolveAction(code, undefined, false)),
      ['X', 'Z', 'D', 'D', 'Z', 'D', 'D'],
    );
    assert.deepEqual(
      (['X', 'Z', 'D', 'Z/D', 'X/Z', 'X/D', 'X/Z/D'] as const).map((code) => resolveAction(code, undefined, true)),
      ['X', 'Z', 'D', 'Z', 'X', 'X', 'X'],
    );
  });
});
