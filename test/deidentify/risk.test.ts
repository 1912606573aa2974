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

/** Of an object without pixels. */
async function surface(attributes: Record<string, Value | undefined>): Promise<string> {
  try {
    await pass(makeFile(attributes, { pixels: null }), { profile: SAFE_HARBOR });
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
  it('DEID-FACE-OUTLINE: holds an enhanced CT back by the region of its frames, whatever its descriptions say', async () => {
    const region = [{ '00082218': [{ '00080100': '69536005', '00080102': 'SCT', '00080104': 'Head' }] }];
    for (const groups of ['52009229', '52009230'])
      assert.match(
        await verdict({
          '00080016': `${STORAGE}.2.1`,
          '00080008': 'ORIGINAL\\PRIMARY\\VOLUME\\NONE',
          '0008103E': 'LUMBAR SPINE',
          [groups]: [{ '00209071': region }],
        }),
        /region is the head/,
      );
  });
  it('DEID-FACE-OUTLINE: holds back volumes of cone beams: of the face always, others by what they say', async () => {
    assert.match(await verdict({ '00080016': `${STORAGE}.13.1.2` }), /volumes of the face/);
    assert.match(await verdict({ '00080016': `${STORAGE}.13.1.1`, '00180015': 'HEAD' }), /head/);
    assert.match(await verdict({ ...silent, '00080016': `${STORAGE}.13.1.1` }), /may be the head/);
    assert.equal(await verdict({ '00080016': `${STORAGE}.13.1.1` }), 'passed');
  });
  it('DEID-FACE-OUTLINE: holds back scans of the surface of the body', async () => {
    for (const suffix of ['68.1', '68.2'])
      assert.match(await surface({ '00080016': `${STORAGE}.${suffix}` }), /surface of the body/);
  });
  const roi = (name: string, type = ''): Record<string, Value> => ({
    '00080016': `${STORAGE}.481.3`,
    '30060020': [{ '30060026': name }],
    '30060080': [{ '300600A4': type }],
  });
  it('DEID-FACE-OUTLINE: holds a structure set back that has the outline of a head', async () => {
    for (const facts of [roi('ROI 1', 'EXTERNAL'), roi('Skin'), roi('BODY'), roi('Body_1')]) {
      assert.match(await surface({ ...silent, ...facts }), /outline of a body/);
      assert.match(await surface({ ...facts, '00180015': undefined, '00081030': 'Brain SRS' }), /outline of a body/);
      assert.equal(await surface({ ...facts, '00180015': undefined, '00081030': 'Prostate IMRT' }), 'passed');
    }
    const both = { ...roi('BODY'), '30060020': [{ '30060026': 'BODY' }, { '30060026': 'Femoral_Head_L' }] };
    assert.equal(await surface({ ...silent, ...both }), 'passed');
    for (const name of ['GTV', 'BrainStem', 'External Carotid', 'Caudate head'])
      assert.equal(await surface({ ...silent, ...roi(name, 'ORGAN') }), 'passed', name);
  });
  it('DEID-FACE-OUTLINE: holds a segmentation of the skin of a head back, by label and by code', async () => {
    const segment = (label: string, code: string): Record<string, Value | undefined> => ({
      ...silent,
      '00080016': `${STORAGE}.66.4`,
      '00620002': [
        { '00620005': label, '0062000F': [{ '00080100': code, '00080102': 'SCT', '00080104': 'Something' }] },
      ],
    });
    assert.match(await verdict(segment('Skin', '1')), /outline of a body/);
    assert.match(await verdict(segment('Segment 1', '39937001')), /outline of a body/);
    assert.equal(await verdict({ ...segment('Skin', '1'), '00180015': 'CHEST' }), 'passed');
    assert.equal(await verdict(segment('Body of corpus callosum', '1')), 'passed');
  });
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
