import assert from 'node:assert/strict';
import { test } from 'node:test';
import fc from 'fast-check';
import { Refusal } from '../../src/dicom/refusal.ts';
import {
  matchAdmission,
  matchProcessing,
  type AdmissionFacts,
  type SeriesFacts,
  type StudyFacts,
} from '../../src/routing/match.ts';
import { checkRules, type Rules } from '../../src/routing/rules.ts';

function rules(file: { admission?: object[]; processing?: object[] }): Rules {
  return checkRules(
    { admission: [], processing: [], ...file },
    {
      nodes: new Set(['pacs']),
      profiles: new Set(['basic']),
      pipelines: new Map([
        ['register', new Set(['fixed', 'fetch', 'transform'])],
        ['ct-denoise', new Set(['alpha'])],
      ]),
      fail: (path, sentence) => {
        throw new Error(`${path.join('.')}: ${sentence}`);
      },
    },
  );
}

const admission = (when: object, name = 'r'): object => ({ name, when, project: 'p', profile: 'basic' });
const denoise = (when: object, more: object = {}): object => ({ name: 'r', when, run: 'ct-denoise', ...more });

const OBJECT: AdmissionFacts = {
  callingAE: 'CT01',
  calledAE: 'ISTHMUS',
  door: 'dimse',
  modality: 'CT',
  bodyPart: 'CHEST',
  studyDescription: 'CT Thorax nativ',
  seriesDescription: 'Thorax 1.5',
  sopClass: '1.2.840.10008.5.1.4.1.1.2',
};

function series(uid: string, more: Partial<SeriesFacts> = {}): SeriesFacts {
  return {
    SeriesInstanceUID: uid,
    Modality: 'MR',
    SeriesDescription: 'T1 MPRAGE',
    BodyPartExamined: 'HEAD',
    FrameOfReferenceUID: '',
    SOPClassUID: '1.2.840.10008.5.1.4.1.1.4',
    instances: 20,
    derived: false,
    ...more,
  };
}

function study(more: Partial<StudyFacts> = {}): StudyFacts {
  return {
    StudyInstanceUID: '1',
    StudyDescription: 'MR Kopf',
    project: 'p',
    series: [series('1.1')],
    priors: [],
    ...more,
  };
}

test('a pattern fits exactly what the regular expression it stands for fits, letter case ignored', () => {
  const text = fc.string({ unit: fc.constantFrom('a', 'B', 'ü', ' ', '.', '^', '?'), maxLength: 12 });
  const pattern = fc.string({
    unit: fc.constantFrom('a', 'b', 'Ü', ' ', '.', '^', '*', '?'),
    minLength: 1,
    maxLength: 8,
  });
  fc.assert(
    fc.property(pattern, text, (given, value) => {
      const expression = given
        .replaceAll(/[.^$+()[\]{}|\\]/g, '\\$&')
        .replaceAll('*', '[^]*')
        .replaceAll('?', '[^]');
      const expected = new RegExp(`^${expression}$`, 'i').test(value);
      const matched = matchAdmission(rules({ admission: [admission({ seriesDescription: given })] }), {
        ...OBJECT,
        seriesDescription: value,
      });
      assert.equal(matched !== undefined, expected);
    }),
    { numRuns: 500 },
  );
});

test('a pattern of many stars is decided at once', () => {
  const compiled = rules({ admission: [admission({ seriesDescription: `${'*a'.repeat(2000)}b` })] });
  assert.equal(matchAdmission(compiled, { ...OBJECT, seriesDescription: 'a'.repeat(4000) }), undefined);
});

test('the first admission rule that fits decides; every key must fit; none is undefined', () => {
  const compiled = rules({
    admission: [
      admission({ modality: 'MR' }, 'mr'),
      admission({ modality: ['CT', 'PT'], bodyPart: 'HEAD' }, 'heads'),
      admission({ callingAE: 'ct*', door: 'dimse' }, 'ct'),
      admission({ callingAE: '*' }, 'rest'),
    ],
  });
  assert.equal(matchAdmission(compiled, OBJECT)?.name, 'ct');
  assert.equal(matchAdmission(compiled, { ...OBJECT, door: 'stow' })?.name, 'rest');
  assert.equal(matchAdmission(rules({ admission: [admission({ modality: 'US' })] }), OBJECT), undefined);
});

test('CEL sees the facts by the names of the standard', () => {
  const expr = 'object.Modality == "CT" && object.StudyDescription.contains("Thorax") && callingAE.startsWith("CT")';
  assert.ok(matchAdmission(rules({ admission: [admission({ expr })] }), OBJECT));
  assert.equal(matchAdmission(rules({ admission: [admission({ expr: `!(${expr})` })] }), OBJECT), undefined);
  const processing = rules({
    processing: [denoise({ expr: 'series.instances >= 20 && !study.hasPrior && study.series == 1' })],
  });
  assert.equal(matchProcessing(processing, study()).length, 1);
});

for (const [expr, why] of [
  ['object.Modalty == "CT"', /Modalty/],
  ['callingAE + 1 == 2', /overload|type|operator/i],
  ['object.Modality', /gives string/],
  ['unknown == "x"', /unknown/i],
  ['object.Modality ==', /expression cannot be used/],
  ['PatientName == "x"', /PatientName/],
] as const) {
  test(`an expression that cannot be is refused where it stands: ${expr}`, () => {
    assert.throws(
      () => rules({ admission: [admission({ modality: 'CT' }, 'a'), admission({ expr }, 'b')] }),
      (error: Error) => error.message.startsWith('admission.1.when.expr: ') && why.test(error.message),
    );
  });
}

test('an expression that ends in an error at the door holds the object back, without a word of it', () => {
  const compiled = rules({
    admission: [admission({ expr: 'int(object.StudyDescription) > 1' }), admission({ callingAE: '*' }, 'rest')],
  });
  assert.throws(
    () => matchAdmission(compiled, OBJECT),
    (error) => error instanceof Refusal && error.reason === 'Quarantined' && !error.message.includes('Thorax'),
  );
});

test('an expression that ends in an error on a study takes only its own rule out, and is heard of', () => {
  const compiled = rules({
    processing: [
      denoise({ expr: 'int(series.SeriesDescription) > 1' }, { name: 'faulty' }),
      denoise({ modality: 'MR' }, { name: 'good' }),
    ],
  });
  const faults: string[] = [];
  const decisions = matchProcessing(compiled, study(), { onFault: ({ name }) => faults.push(name) });
  assert.deepEqual(
    decisions.map(({ rule }) => rule.name),
    ['good'],
  );
  assert.deepEqual(faults, ['faulty']);
});

test('every rule that fits runs on every series that fits; derived series start nothing and are no prior', () => {
  const compiled = rules({
    processing: [denoise({ modality: 'MR' }), denoise({ hasPrior: true }, { name: 'follow-up' })],
  });
  const derived = series('1.9', { derived: true });
  const decisions = matchProcessing(
    compiled,
    study({
      series: [series('1.1'), series('1.2', { Modality: 'CT' }), derived],
      priors: [{ StudyInstanceUID: '0', series: [series('0.9', { derived: true })] }],
    }),
  );
  assert.deepEqual(
    decisions.map(({ rule, series: { SeriesInstanceUID } }) => [rule.name, SeriesInstanceUID]),
    [['r', '1.1']],
  );
});

const register = (fixed: unknown): Rules =>
  rules({
    processing: [
      { name: 'align', when: { modality: 'MR', seriesDescription: 'T1*' }, run: 'register', with: { fixed } },
    ],
  });

test('newest-prior: the newest study that has a comparable series; never another region, same description before size', () => {
  const prior = (uid: string, ...list: SeriesFacts[]): { StudyInstanceUID: string; series: SeriesFacts[] } => ({
    StudyInstanceUID: uid,
    series: list,
  });
  const fixed = (...priors: ReturnType<typeof prior>[]): string | undefined =>
    matchProcessing(register('newest-prior'), study({ priors }))[0]?.fixed?.series.SeriesInstanceUID;
  assert.equal(
    fixed(prior('9', series('9.1', { Modality: 'CT' })), prior('8', series('8.1')), prior('7', series('7.1'))),
    '8.1',
  );
  assert.equal(
    fixed(
      prior(
        '9',
        series('9.1', { SeriesDescription: 'T2', instances: 500 }),
        series('9.2', { SeriesDescription: 't1 mprage', instances: 10, BodyPartExamined: 'BRAIN' }),
        series('9.3', { SeriesDescription: 't1 mprage', instances: 10, BodyPartExamined: 'KNEE' }),
      ),
    ),
    '9.2',
  );
  assert.equal(
    fixed(
      prior(
        '9',
        series('9.1', { SeriesDescription: 'T2', instances: 500, BodyPartExamined: 'NECK' }),
        series('9.2', { SeriesDescription: 'T2', instances: 10 }),
      ),
    ),
    '9.2',
  );
  assert.equal(fixed(prior('9', series('9.1', { derived: true }))), undefined);
  assert.equal(fixed(), undefined);
});

test('a pattern for the fixed series: another, original one of the same study', () => {
  const decisions = matchProcessing(
    register({ seriesDescription: 'T2*' }),
    study({
      series: [
        series('1.1'),
        series('1.2', { SeriesDescription: 'T2 tra' }),
        series('1.3', { SeriesDescription: 'T2 tra [REGISTERED]', derived: true, instances: 99 }),
      ],
    }),
  );
  assert.deepEqual(decisions[0]?.fixed, {
    StudyInstanceUID: '1',
    series: series('1.2', { SeriesDescription: 'T2 tra' }),
  });
  assert.deepEqual(matchProcessing(register({ seriesDescription: 'T1*' }), study()), [], 'never aligned to itself');
});

test('the revision follows the content of the rules', () => {
  const one = rules({ admission: [admission({ modality: 'CT' })] });
  assert.equal(one.revision, rules({ admission: [admission({ modality: 'CT' })] }).revision);
  assert.notEqual(one.revision, rules({ admission: [admission({ modality: 'MR' })] }).revision);
  assert.match(one.revision, /^[0-9a-f]{12}$/);
});
