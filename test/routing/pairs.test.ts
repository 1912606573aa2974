/** Which series is registered to which, and what is told of those that were not chosen. */
import assert from 'node:assert/strict';
import { test } from 'node:test';
import { matchProcessing, type Judgement, type SeriesFacts, type StudyFacts } from '../../src/routing/match.ts';
import { kindOfCt, pairWithin, pairWithPrior, type SeriesShape, type ShapeOf } from '../../src/routing/pairs.ts';
import { checkRules, type Rules } from '../../src/routing/rules.ts';

function series(uid: string, more: Partial<SeriesFacts> = {}): SeriesFacts {
  return {
    SeriesInstanceUID: uid,
    Modality: 'CT',
    SeriesDescription: 'Thorax',
    BodyPartExamined: 'CHEST',
    FrameOfReferenceUID: 'f',
    SOPClassUID: '1.2.840.10008.5.1.4.1.1.2',
    instances: 100,
    derived: false,
    ...more,
  };
}

function shape(more: Partial<SeriesShape> = {}): SeriesShape {
  return {
    orientation: [
      [1, 0, 0],
      [0, 1, 0],
    ],
    firstMm: [0, 0, 0],
    lastMm: [0, 0, 300],
    pixelSpacingMm: [1, 1],
    sliceSpacingMm: 3,
    rows: 400,
    columns: 400,
    imageType: ['ORIGINAL', 'PRIMARY', 'AXIAL'],
    contrastAgent: false,
    ...more,
  };
}

const study = (own: readonly SeriesFacts[], priors: StudyFacts['priors'] = []): StudyFacts => ({
  StudyInstanceUID: 'now',
  StudyDescription: '',
  project: 'p',
  series: own,
  priors,
});
const shapes =
  (known: Readonly<Record<string, SeriesShape>>): ShapeOf =>
  (_, uid) =>
    known[uid];

test('a prior is comparable in modality, body part, orientation and spacing; what is not says why', () => {
  const moving = series('m');
  const sagittal = shape({
    orientation: [
      [0, 1, 0],
      [0, 0, -1],
    ],
  });
  const prior = {
    StudyInstanceUID: 'then',
    series: [
      series('other modality', { Modality: 'MR' }),
      series('other part', { BodyPartExamined: 'HEAD' }),
      series('sagittal'),
      series('coarse'),
      series('localizer'),
      series('few', { instances: 3 }),
      series('ours', { derived: true }),
      series('good', { BodyPartExamined: 'THORAX' }),
    ],
  };
  const { fixed, considered } = pairWithPrior(
    moving,
    study([moving], [prior]),
    shapes({
      m: shape(),
      sagittal,
      coarse: shape({ sliceSpacingMm: 10 }),
      localizer: shape({ imageType: ['ORIGINAL', 'PRIMARY', 'LOCALIZER'] }),
      good: shape({ sliceSpacingMm: 2 }),
    }),
  );
  assert.equal(fixed?.series.SeriesInstanceUID, 'good');
  const why = Object.fromEntries(considered.map((one) => [one.SeriesInstanceUID, one.because.join('; ')]));
  assert.match(why['other modality'] ?? '', /modality MR, not CT/);
  assert.match(why['other part'] ?? '', /body part HEAD, not CHEST/);
  assert.match(why['sagittal'] ?? '', /90 degrees apart/);
  assert.match(why['coarse'] ?? '', /differs by a factor of 3\.3/);
  assert.match(why['localizer'] ?? '', /localizer/);
  assert.match(why['few'] ?? '', /3 images, at least 8/);
  assert.match(why['ours'] ?? '', /made by a pipeline/);
});

test('the newest study with something comparable wins; in it description, then contrast agent, then spacing', () => {
  const moving = series('m', { SeriesDescription: 'Venous 1.5' });
  const then = {
    StudyInstanceUID: 'then',
    series: [
      series('a', { SeriesDescription: 'Lung 1.0', instances: 500 }),
      series('b', { SeriesDescription: 'Abdomen 5.0', instances: 50 }),
      series('c', { SeriesDescription: 'native', instances: 50 }),
    ],
  };
  const empty = { StudyInstanceUID: 'later', series: [series('x', { Modality: 'MR' })] };
  const known = { m: shape({ contrastAgent: true }), a: shape(), b: shape({ contrastAgent: true }), c: shape() };
  const found = (priors: StudyFacts['priors']) =>
    pairWithPrior(moving, study([moving], priors), shapes(known)).fixed?.series.SeriesInstanceUID;
  assert.equal(found([empty, then]), 'b');
  const named = { ...then, series: [...then.series, series('d', { SeriesDescription: 'VENOUS 1.5', instances: 20 })] };
  assert.equal(found([empty, named]), 'd');
});

test('of two CTs the diagnostic one is the fusion partner of a PET, the one for attenuation correction where a rule prefers it', () => {
  const pet = series('pet', { Modality: 'PT', SOPClassUID: '1.2.840.10008.5.1.4.1.1.128' });
  const ac = series('ac', { SeriesDescription: 'CTAC WB 3.0', instances: 300 });
  const diagnostic = series('dx', { SeriesDescription: 'Thorax Abdomen venous' });
  const known = shapes({
    pet: shape(),
    ac: shape({ reconstructionDiameterMm: 700, exposureMas: 30 }),
    dx: shape({ contrastAgent: true, sliceSpacingMm: 1.5, exposureMas: 180, reconstructionDiameterMm: 400 }),
  });
  const partner = (prefer?: 'diagnostic' | 'attenuation-correction') =>
    pairWithin(pet, study([pet, ac, diagnostic]), { fits: ({ Modality }) => Modality === 'CT', prefer }, known);
  assert.equal(partner().fixed?.series.SeriesInstanceUID, 'dx');
  assert.equal(partner('attenuation-correction').fixed?.series.SeriesInstanceUID, 'ac');
  assert.match(
    partner().considered[0]?.because.join('; ') ?? '',
    /looks like attenuation-correction CT \(its description/,
  );
  assert.equal(kindOfCt(diagnostic, undefined, undefined).kind, 'diagnostic');
});

test('a partner in the same frame of reference that covers the series goes before everything else', () => {
  const pet = series('pet', { Modality: 'PT' });
  const elsewhere = series('else', { FrameOfReferenceUID: 'g', instances: 900 });
  const half = series('half');
  const whole = series('whole', { instances: 20 });
  const apart = series('apart');
  const known = shapes({
    pet: shape(),
    else: shape(),
    half: shape({ lastMm: [0, 0, 150] }),
    whole: shape(),
    apart: shape({ firstMm: [0, 0, 290], lastMm: [0, 0, 600] }),
  });
  const wish = { fits: () => true, prefer: undefined };
  const { fixed, considered } = pairWithin(pet, study([pet, elsewhere, half, whole, apart]), wish, known);
  assert.equal(fixed?.series.SeriesInstanceUID, 'whole');
  const told = considered.find(({ SeriesInstanceUID }) => SeriesInstanceUID === 'apart');
  assert.equal(told?.outcome, 'rejected');
  assert.match(told.because.join('; '), /covers 3 % of the series/);
});

const rules = (rule: object): Rules =>
  checkRules(
    { admission: [], processing: [{ name: 'r', run: 'register', when: { modality: 'CT', hasPrior: true }, ...rule }] },
    {
      nodes: new Set(['pacs']),
      profiles: new Set(),
      pipelines: new Map([['register', new Set(['fixed', 'fetch', 'transform'])]]),
      fail: (path, sentence) => {
        throw new Error(`${path.join('.')}: ${sentence}`);
      },
    },
  );

test('a rule that may fetch is judged as if there were a prior, and hears of the one that is missing', () => {
  const missing: string[] = [];
  const judged: Judgement[] = [];
  const one = study([series('m'), series('mr', { Modality: 'MR' })]);
  const fetching = rules({ with: { fixed: 'newest-prior', fetch: { from: 'pacs' } } });
  const decisions = matchProcessing(fetching, one, {
    onMissingPrior: (_, { SeriesInstanceUID }) => missing.push(SeriesInstanceUID),
    onJudged: (_, __, judgement) => judged.push(judgement),
  });
  assert.deepEqual([decisions, missing], [[], ['m']]);
  assert.deepEqual(judged[1]?.against, ['when.modality: the series is MR']);
  matchProcessing(rules({ with: { fixed: 'newest-prior' } }), one, {
    onMissingPrior: () => assert.fail('nobody asked'),
  });
});

test('a fetch from an unknown node, for a fixed series of the same study, or against hasPrior false is refused', () => {
  const fetch = { from: 'pacs' };
  assert.throws(
    () => rules({ with: { fixed: 'newest-prior', fetch: { from: 'nowhere' } } }),
    /with\.fetch\.from: node "nowhere"/,
  );
  assert.throws(() => rules({ with: { fixed: { modality: 'CT' }, fetch } }), /needs with\.fixed newest-prior/);
  assert.throws(
    () => rules({ when: { hasPrior: false }, with: { fixed: 'newest-prior', fetch } }),
    /exclude each other/,
  );
});
