import assert from 'node:assert/strict';
import { describe, it } from 'node:test';
import { asciiValue, findElement, itemsOf, numberValue, textValue } from '../../src/dicom/data-set.ts';
import type { OverrideFile } from '../../src/deidentify/overrides.ts';
import { compileProfile, ProfileFault, type ProfileFile } from '../../src/deidentify/profile.ts';
import { fileOf, makeFile, pass, SAFE_HARBOR } from './support.ts';

const withOverrides = (...overrides: OverrideFile[]): ProfileFile => ({ ...fileOf('basic'), overrides });

describe('overrides', () => {
  it('by keyword or tag hold wherever the attribute stands', async () => {
    const profile = compileProfile(
      withOverrides(
        { tag: 'PatientWeight', action: 'K' },
        { tag: '(0018,1030)', action: 'keep' },
        { tag: '00080060', action: 'X' },
      ),
    );
    const { dataSet } = await pass(
      makeFile({
        '00101030': '71.5',
        '00181030': 'Liver',
        '00400275': [{ '00101030': '70' }],
        '00089215': [{ '00101030': '72' }],
      }),
      { profile },
    );
    assert.equal(asciiValue(dataSet, 0x00101030), '71.5');
    assert.equal(textValue(dataSet, 0x00181030), 'Liver');
    assert.equal(findElement(dataSet, 0x00080060), undefined, 'removed, though the IOD wants it');
    const [nested] = itemsOf(dataSet, 0x00089215);
    assert.equal(nested && asciiValue(nested, 0x00101030), '72');
  });

  it('by path, with * for one sequence and ** for any number', async () => {
    const tree = { '00101030': '1', '00089215': [{ '00101030': '2', '00082218': [{ '00101030': '3' }] }] };
    const at = async (path: string): Promise<(string | undefined)[]> => {
      const { dataSet } = await pass(makeFile(tree), { profile: compileProfile(withOverrides({ path, action: 'K' })) });
      const [first] = itemsOf(dataSet, 0x00089215);
      const [second] = first === undefined ? [] : itemsOf(first, 0x00082218);
      return [dataSet, first, second].map((set) => set && asciiValue(set, 0x00101030));
    };
    assert.deepEqual(await at('PatientWeight'), ['1', undefined, undefined]);
    assert.deepEqual(await at('**/PatientWeight'), ['1', '2', '3']);
    assert.deepEqual(await at('*/PatientWeight'), [undefined, '2', undefined]);
    assert.deepEqual(await at('DerivationCodeSequence/**/PatientWeight'), [undefined, '2', '3']);
    assert.deepEqual(await at('**/AnatomicRegionSequence/PatientWeight'), [undefined, undefined, '3']);
    assert.deepEqual(await at('AnatomicRegionSequence/PatientWeight'), [undefined, undefined, undefined]);
  });

  it('under a condition on the object, and the first that fits holds', async () => {
    const profile = compileProfile(
      withOverrides(
        { when: "Modality == 'PT' && PatientWeight > 50.0", tag: 'PatientWeight', action: 'K' },
        { when: "SeriesDescription.contains('liver')", tag: 'PatientWeight', action: 'D' },
      ),
    );
    const weight = async (modality: string, kilogram: string, description = 'x'): Promise<string | undefined> => {
      const attributes = { '00080060': modality, '00101030': kilogram, '0008103E': description };
      return asciiValue((await pass(makeFile(attributes), { profile })).dataSet, 0x00101030);
    };
    assert.equal(await weight('PT', '71.5'), '71.5');
    assert.equal(await weight('PT', '40'), undefined);
    assert.equal(await weight('CT', '71.5'), undefined);
    assert.equal(await weight('CT', '71.5', 'liver'), '0');
  });

  it('clean, empty, replace and give a dummy', async () => {
    const profile = compileProfile(
      withOverrides(
        { tag: 'SeriesDescription', action: 'clean' },
        { tag: 'StudyDescription', action: 'replace', value: 'Trial visit' },
        { tag: 'AccessionNumber', action: 'D' },
        { tag: 'PatientSex', action: 'K' },
        { tag: 'Rows', action: 'K' },
      ),
    );
    const { dataSet } = await pass(makeFile({ '0008103E': 'Chest of Hans Meier' }), { profile });
    assert.equal(textValue(dataSet, 0x0008103e), 'Chest of');
    assert.equal(textValue(dataSet, 0x00081030), 'Trial visit');
    assert.equal(textValue(dataSet, 0x00080050), 'REMOVED');
    assert.equal(asciiValue(dataSet, 0x00100040), 'M');
    assert.equal(numberValue(dataSet, 0x00280010), 2);
  });

  it('do not keep a value that is not what its VR says, nor the name of the patient', async () => {
    const profile = compileProfile(
      withOverrides({ tag: 'PatientWeight', action: 'K' }, { tag: 'InstitutionName', action: 'K' }),
    );
    const { dataSet } = await pass(makeFile({ '00101030': 'Meier', '00080080': 'Praxis Meier am Markt' }), { profile });
    assert.equal(findElement(dataSet, 0x00101030), undefined);
    assert.equal(textValue(dataSet, 0x00080080), 'Praxis am Markt');
  });

  it('that make no sense are refused with their place and what is expected', () => {
    const cases: readonly (readonly [OverrideFile, string, RegExp])[] = [
      [{ tag: 'PatientWeigth', action: 'K' }, 'tag', /PatientWeigth.*no keyword.*expected/],
      [{ path: 'Foo/PatientWeight', action: 'K' }, 'path', /Foo/],
      [{ path: 'PatientWeight/**', action: 'K' }, 'path', /must end in an attribute/],
      [{ tag: 'SOPInstanceUID', action: 'K' }, 'tag', /itself writes/],
      [{ tag: '00091001', action: 'K' }, 'tag', /expected \(gggg,xxee\)/],
      [{ tag: '60003000', action: 'K' }, 'tag', /never kept/],
      [{ tag: 'PatientWeight', action: 'U' }, 'action', /VR UI/],
      [{ tag: 'PatientWeight', action: 'replace', value: 'x' }, 'action', /replace is for/],
      [{ tag: 'StudyDescription', action: 'replace' }, 'value', /goes with action: replace/],
      [{ tag: 'PatientWeight', action: 'K', when: 'Modality == ' }, 'when', /when/],
      [{ tag: 'PatientWeight', action: 'K', when: "Modaltiy == 'CT'" }, 'when', /Modaltiy/],
      [{ tag: 'PatientWeight', action: 'K', when: 'Modality' }, 'when', /bool/],
      [{ tag: '0009,xx01', creator: 'ACME', action: 'K' }, 'vr', /VR/],
      [{ tag: '0009,xx01', creator: 'ACME', action: 'C', vr: 'DS' }, 'action', /one of K, X/],
    ];
    for (const [override, key, sentence] of cases) {
      assert.throws(
        () => compileProfile(withOverrides({ tag: 'PatientSize', action: 'K' }, override)),
        (error: unknown) => {
          assert.ok(error instanceof ProfileFault, String(error));
          assert.deepEqual(error.path, ['overrides', 1, key]);
          assert.match(error.message, sentence);
          return true;
        },
        JSON.stringify(override),
      );
    }
  });

  it('change the hash', () => {
    const { file, hash } = SAFE_HARBOR;
    assert.notEqual(compileProfile({ ...file, overrides: [{ tag: 'PatientWeight', action: 'K' }] }).hash, hash);
  });
});
