import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { asciiValue } from '../../src/dicom/data-set.ts';
import { Refusal } from '../../src/dicom/refusal.ts';
import { BASIC, makeFile, pass, SAFE_HARBOR, type Value } from './support.ts';

const STORAGE = '1.2.840.10008.5.1.4.1.1';
const MR = `${STORAGE}.4`;

async function verdict(attributes: Record<string, Value | undefined>): Promise<string> {
  try {
    await pass(makeFile(attributes), { profile: SAFE_HARBOR });
    return 'passed';
  } catch (error) {
    assert.ok(error instanceof Refusal && error.reason === 'Quarantined');
    return error.message;
  }
}

describe('faces, where the profile quarantines them', () => {
  const silent = { '00180015': undefined, '00081030': undefined };
  it('passes a CT of the chest', async () => assert.equal(await verdict({}), 'passed'));
  for (const part of ['HEAD', 'BRAIN', 'HEADNECK', 'ORBIT', 'WHOLEBODY'])
    it(`holds a CT back whose body part is ${part}`, async () =>
      assert.match(await verdict({ '00180015': part }), /head/));
  it('holds an MR back whose description alone names the head', async () =>
    assert.match(await verdict({ ...silent, '00080016': MR, '0008103E': 't1_mprage_brain' }), /head/));
  it('holds a CT back by the code of its region', async () =>
    assert.match(
      await verdict({ '00082218': [{ '00080100': '69536005', '00080102': 'SCT', '00080104': 'Head' }] }),
      /head/,
    ));
  it('holds a CT back that does not say what it shows', async () =>
    assert.match(await verdict(silent), /may be the head/));
  it('holds anything back that says it shows a face', async () =>
    assert.match(await verdict({ '00280302': 'YES' }), /Recognizable/));
  it('passes what has no pixels', async () => {
    await pass(makeFile({ ...silent, '00080016': `${STORAGE}.88.33` }, { pixels: null }), { profile: SAFE_HARBOR });
  });
  it('passes a head where the profile allows it, and says that the face is visible', async () => {
    const { dataSet } = await pass(makeFile({ '00180015': 'HEAD' }), { profile: BASIC });
    assert.equal(asciiValue(dataSet, 0x00280302), 'YES');
  });
});

describe('pixels that may hold text, where the profile quarantines them', () => {
  const risky: Record<string, Record<string, Value>> = {
    ultrasound: { '00080016': `${STORAGE}.6.1` },
    'secondary capture': { '00080016': `${STORAGE}.7` },
    'XA screen save': { '00080016': `${STORAGE}.12.1` },
    photograph: { '00080016': `${STORAGE}.77.1.4` },
    'an unknown retired class': { '00080016': `${STORAGE}.5` },
    'burned-in annotation': { '00280301': 'YES' },
    'dose screen of a CT': { '00080008': 'DERIVED\\SECONDARY\\SCREEN SAVE' },
    'captured CT': { '00080064': 'WSD' },
  };
  for (const [name, attributes] of Object.entries(risky))
    it(`holds back: ${name}`, async () => assert.notEqual(await verdict(attributes), 'passed'));
  it('lets them pass where the profile allows it', async () => {
    for (const attributes of Object.values(risky)) await pass(makeFile(attributes), { profile: BASIC });
  });
});
