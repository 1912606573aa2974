import assert from 'node:assert/strict';
import { readdirSync, readFileSync } from 'node:fs';
import { describe, it } from 'node:test';
import { Ajv } from 'ajv';
import { parse } from 'yaml';
import { compileProfile, type ProfileFile } from '../../src/deidentify/profile.ts';
import { fileOf } from './support.ts';

const CONFIG = new URL('../../config/', import.meta.url);
const validate = new Ajv({ strict: false }).compile(
  JSON.parse(readFileSync(new URL('schema/profile.schema.json', CONFIG), 'utf8')) as object,
);

describe('profiles', () => {
  for (const name of readdirSync(new URL('profiles/', CONFIG))) {
    it(`${name} is what the schema says and compiles`, () => {
      const file = parse(readFileSync(new URL(`profiles/${name}`, CONFIG), 'utf8')) as ProfileFile;
      assert.ok(validate(file), JSON.stringify(validate.errors));
      assert.equal(`${compileProfile(file).name}.yaml`, name);
    });
  }

  it('with an option that nothing would obey are refused', () => {
    const good = fileOf('basic');
    for (const bad of [
      { ...good, overrides: [{ tag: 'PatientWeight', action: 'retain' }] },
      { ...good, overrides: [{ tag: 'PatientWeight', action: 'K', colour: 'red' }] },
      { ...good, options: ['retain-everything'] },
      { ...good, unknown: 'keep' },
      { ...good, dates: { mode: 'keep', times: 'keep' } },
      { ...good, dates: { mode: 'year-only', times: 'keep' } },
      { ...good, dates: { mode: 'shift', windowDays: [-10], times: 'keep' } },
      { ...good, faces: 'blur' },
      { ...good, edition: 'PS3.15-2011' },
    ])
      assert.equal(validate(bad), false, JSON.stringify(bad));
  });

  it('have a hash that tells any two rule sets apart and forgets the description', () => {
    const good = fileOf('basic');
    const hash = compileProfile(good).hash;
    assert.equal(compileProfile({ ...good, description: 'other words' }).hash, hash);
    for (const other of [
      { ...good, faces: 'quarantine' },
      { ...good, ages: 'cap-89' },
      { ...good, dates: { mode: 'remove' } },
      { ...good, profile: 'other' },
    ] satisfies ProfileFile[])
      assert.notEqual(compileProfile(other).hash, hash);
  });
});
