/** The intake check: what is odd about a series, as facts for rules, in reports, and what no pipeline is run on. */
import assert from 'node:assert/strict';
import { describe, it, test } from 'node:test';
import { random } from '../../models/cases.ts';
import { instancesOf } from '../../src/archive/instances.ts';
import { seriesOf } from '../../src/archive/studies.ts';
import { workItemsOf } from '../../src/workitems.ts';
import type { Head } from '../../src/dicom/object.ts';
import { completeStudies, takeInAndComplete } from '../../src/workflow/complete.ts';
import { openIntakeCheck } from '../../src/workflow/intake-check.ts';
import { sampleOf, type Sample } from '../../src/workflow/intake-sample.ts';
import { LEAST_FOREST, LEAST_HISTORY, unlikeHistory, type Figures } from '../../src/workflow/intake-history.ts';
import { intakeOfStudy } from '../../src/workflow/intake.ts';
import { startPerformer } from '../../src/workflow/perform.ts';
import { instanceOf, phantomSeries, type PhantomOptions } from '../derived/phantom.ts';
import { until } from '../peers/ports.ts';
import { openInFolder, PROJECT, takeStudy } from './opened.ts';

const LIMITS = { pixelMm: [0.1, 2], spacingMm: [0.1, 10], thicknessMm: [0.1, 5], range: [-1024, 3071] } as const;
const check = (
  options: PhantomOptions,
  samples: { values: Float32Array; highest: number }[] = [],
  history: Figures[] = [],
) =>
  reportOf(
    phantomSeries(options).map((file) => instanceOf(file).head),
    samples.map(({ values, highest }) =>
      sampleOf(
        Array.from(values, (value) => [value, 1] as const),
        highest,
      ),
    ),
    history,
  );

function reportOf(heads: readonly Head[], samples: readonly Sample[] = [], history: readonly Figures[] = []) {
  const intake = openIntakeCheck();
  for (const head of heads) intake.take(head);
  return intake.end(samples, LIMITS, history);
}

describe('the intake check of a series', () => {
  it('finds nothing in a regular one', () => {
    const report = check({ spacingMm: [1, 1, 4] });
    assert.deepEqual(report.findings, []);
    assert.deepEqual([report.kind, report.figures.spacingMm, report.volumes], ['image', 4, 1]);
  });

  it('counts gaps, missing slices and duplicates', () => {
    const gap = check({
      spacingMm: [1, 1, 4],
      over: (k) => ({ ImagePositionPatient: [0, 0, 4 * (k < 3 ? k : k + 2)] }),
    });
    assert.deepEqual([gap.gaps, gap.missingSlices, gap.duplicates], [1, 2, 0]);
    const twice = check({ spacingMm: [1, 1, 4], over: (k) => ({ ImagePositionPatient: [0, 0, 4 * Math.min(k, 4)] }) });
    assert.deepEqual([twice.gaps, twice.duplicates], [0, 1]);
  });

  it('names missing attributes, mixed sizes and depths, and what is beyond the limits', () => {
    const report = check({
      over: (k) => ({
        ...(k === 2 ? { SliceThickness: '', BitsStored: 12, HighBit: 11 } : {}),
        ...(k === 3 ? { Rows: 8 } : {}),
      }),
    });
    assert.deepEqual(report.missingAttributes, ['SliceThickness']);
    assert.ok(report.mixedSizes && report.mixedBits);
    assert.deepEqual(check({ spacingMm: [3, 3, 12] }).beyondLimits, ['pixelMm', 'spacingMm', 'thicknessMm']);
  });

  it('sees constant and saturated images and their range', () => {
    const sample = (value: number, last = value) => ({
      values: Float32Array.from({ length: 100 }, (_, n) => (n < 95 ? value : last)),
      highest: 3071,
    });
    const report = check({ spacingMm: [1, 1, 4] }, [sample(5), sample(40, 3071), sample(-2000, 40)]);
    assert.equal(report.constantImages, 1);
    assert.ok(Math.abs(report.saturatedPercent - 5 / 3) < 1e-6);
    assert.deepEqual(report.beyondLimits, ['lowest']);
    const graded = {
      values: Float32Array.from({ length: 200 }, (_, n) => Math.min(1200, 10 * n - 690)),
      highest: 3071,
    };
    const cut = check({ spacingMm: [1, 1, 4] }, [graded]);
    assert.ok(Math.abs(cut.saturatedPercent - 5.5) < 1e-6, 'cut off below the end of the bits');
    assert.match(check({ spacingMm: [1, 1, 4] }, [sample(0, 100)]).findings.join(), /a CT in HU has air/);
    const padded = { values: new Float32Array(0), highest: 3071 };
    assert.equal(check({ spacingMm: [1, 1, 4] }, [padded]).constantImages, 1);
  });

  it('tells scouts, screen saves and projections from images', () => {
    const kind = (over: PhantomOptions['over']) => check({ slices: 3, ...(over === undefined ? {} : { over }) }).kind;
    assert.equal(
      kind(() => ({ ImageType: ['ORIGINAL', 'PRIMARY', 'LOCALIZER'] })),
      'localizer',
    );
    assert.equal(
      kind((k) => ({
        ImageOrientationPatient:
          [
            [1, 0, 0, 0, 1, 0],
            [0, 1, 0, 0, 0, -1],
            [1, 0, 0, 0, 0, -1],
          ][k] ?? [],
      })),
      'localizer',
    );
    assert.equal(
      kind(() => ({ ImageType: ['DERIVED', 'SECONDARY', 'SCREEN SAVE'] })),
      'screen-save',
    );
    assert.equal(
      kind(() => ({ SOPClassUID: '1.2.840.10008.5.1.4.1.1.7' })),
      'screen-save',
    );
    assert.equal(
      kind(() => ({ ImageType: ['DERIVED', 'PRIMARY', 'MIP'] })),
      'projection',
    );
  });

  it('does not take a tilt, a radial series or one scout among images for a scout', () => {
    const turned = (degrees: number): number[] => {
      const [cos, sin] = [Math.cos((degrees * Math.PI) / 180), Math.sin((degrees * Math.PI) / 180)];
      return [1, 0, 0, 0, cos, sin];
    };
    // Written with few digits, a direction that is nearly level is -0.04 in one image and 0.04 in the next.
    const jitter = check({ over: (k) => ({ ImageOrientationPatient: turned(k % 2 === 0 ? -0.05 : 0.05) }) });
    assert.equal(jitter.kind, 'image');
    const radial = check({ slices: 12, over: (k) => ({ ImageOrientationPatient: turned(15 * k) }) });
    assert.equal(radial.kind, 'image');
    const one = check({
      slices: 6,
      over: (k) => (k === 0 ? { ImageType: ['ORIGINAL', 'PRIMARY', 'LOCALIZER'] } : {}),
    });
    assert.equal(one.kind, 'image');
    assert.match(one.findings.join(), /images that are a localizer: 1 of 6/);
  });

  it('does not ask a report or contours for what images have', () => {
    const heads = phantomSeries({ slices: 1 }).map((file) => {
      const { head } = instanceOf(file);
      const elements = head.dataSet.elements.filter(({ tag }) => tag >>> 16 !== 0x0028);
      return { ...head, pixelData: undefined, dataSet: { ...head.dataSet, elements } };
    });
    const report = reportOf(heads);
    assert.deepEqual([report.kind, report.findings], ['no-image', []]);
  });

  it('INTAKE-history: finds a series a little odd in every figure, which none shows alone', () => {
    const { normal } = random(7);
    const usualSeries = (): Figures => ({
      instances: 100 + 20 * normal(),
      pixelMm: 0.7 + 0.1 * normal(),
      spacingMm: 2 + 0.3 * normal(),
      thicknessMm: 2 + 0.3 * normal(),
      lowest: -1024,
      highest: 2500 + 400 * normal(),
      mean: 30 + 30 * normal(),
      deviation: 400 + 50 * normal(),
    });
    const history = Array.from({ length: 150 }, usualSeries);
    const odd = {
      instances: 140,
      pixelMm: 0.9,
      spacingMm: 2.6,
      thicknessMm: 2.6,
      highest: 3300,
      mean: 90,
      deviation: 500,
    };
    const { outliers, isolation, usual } = unlikeHistory({ ...odd, lowest: -1024 }, history);
    assert.deepEqual(outliers, ['isolation']);
    assert.ok(isolation > usual);
    const fresh = Array.from({ length: 20 }, () => unlikeHistory(usualSeries(), history).outliers);
    assert.ok(fresh.filter((names) => names.includes('isolation')).length <= 1, 'usual ones are not called');
    assert.ok(Number.isNaN(unlikeHistory(history[0]!, history.slice(0, LEAST_FOREST - 1)).isolation), 'too few');
  });

  it('calls a figure unlike the history beyond the fences of earlier series, and not before there are enough', () => {
    const { figures } = check({ spacingMm: [1, 1, 4] });
    const history = Array.from({ length: LEAST_HISTORY }, (_, n) => ({ ...figures, spacingMm: 1 + (n % 5) / 100 }));
    assert.deepEqual(check({ spacingMm: [1, 1, 4] }, [], history).outliers, ['spacingMm']);
    assert.deepEqual(check({ spacingMm: [1, 1, 4] }, [], history.slice(1)).outliers, []);
    assert.deepEqual(
      check(
        { spacingMm: [1, 1, 4] },
        [],
        history.map((one) => ({ ...one, spacingMm: 4 })),
      ).outliers,
      [],
    );
  });
});

const RULES = (expr: string): string =>
  `admission:\n  - { name: all, when: { modality: CT }, project: ${PROJECT}, profile: basic }\nprocessing:\n  - { name: whole, when: { modality: CT, expr: '${expr}' }, run: ct-denoise, deliver: [] }\n`;

/** A CT with a gap, one without, and a scout, in one study. */
const mixedStudy = (): Buffer[] => {
  const common = { spacingMm: [1, 1, 4] as const, study: 'intake', intercept: -1024 };
  return [
    ...phantomSeries({ ...common, name: 'whole' }),
    ...phantomSeries({
      ...common,
      name: 'gap',
      over: (k) => ({ ImagePositionPatient: [0, 0, 4 * (k < 3 ? k : k + 1)] }),
    }),
    ...phantomSeries({
      ...common,
      name: 'scout',
      slices: 1,
      over: () => ({ ImageType: ['ORIGINAL', 'PRIMARY', 'LOCALIZER'] }),
    }),
  ];
};

test('INTAKE-facts: a rule asks for what the intake check found; what is no image is passed over with one line', async (t) => {
  const opened = await openInFolder(t, {
    rules: RULES('intake.checked && intake.gaps == 0 && intake.spacingMm < 5.0'),
    models: true,
  });
  const study = await takeStudy(opened, mixedStudy());
  opened.clock.now += 60_000;
  assert.equal(await takeInAndComplete(opened.gateway), 1);
  const items = workItemsOf(opened.gateway.workItems, study).filter(({ kind }) => kind === 'derive');
  assert.equal(items.length, 1);
  const reports = intakeOfStudy(opened.gateway, study) as {
    kind: string;
    gaps: number;
    skipped: string;
    seriesInstanceUID: string;
  }[];
  assert.deepEqual(reports.map(({ kind, gaps }) => [kind, gaps]).sort(), [
    ['image', 0],
    ['image', 1],
    ['localizer', 0],
  ]);
  const whole = reports.find(({ kind, gaps }) => kind === 'image' && gaps === 0);
  assert.equal(items[0]?.parameters['seriesInstanceUID'], whole?.seriesInstanceUID);
  assert.match(reports.find(({ kind }) => kind === 'localizer')?.skipped ?? '', /rule "whole".*is a localizer/);
});

test('INTAKE-silent: a localizer that nobody looked at before makes no report either', async (t) => {
  const opened = await openInFolder(t, { rules: RULES('true'), models: true });
  const study = await takeStudy(opened, mixedStudy().slice(-1));
  opened.clock.now += 60_000;
  completeStudies(opened.gateway);
  const performer = startPerformer(opened.gateway);
  performer.kick();
  const item = () => workItemsOf(opened.gateway.workItems, study).find(({ kind }) => kind === 'derive');
  await until('the item to end', () => item()?.state === 'CANCELED', 30_000, 20);
  await performer.stop();
  assert.match(item()?.lastError ?? '', /LOCALIZER/);
  assert.equal(seriesOf(opened.gateway.archive, study).length, 1);
  assert.equal(instancesOf(opened.gateway.archive, { studyInstanceUID: study }).length, 1);
});

test('the reports of a study go with it', async (t) => {
  const opened = await openInFolder(t, { rules: RULES('true'), models: true });
  const study = await takeStudy(opened, mixedStudy());
  opened.clock.now += 60_000;
  await takeInAndComplete(opened.gateway);
  assert.equal(intakeOfStudy(opened.gateway, study).length, 3);
  opened.gateway.database.run('DELETE FROM study_clock WHERE study_uid = ?', study);
  assert.ok(intakeOfStudy(opened.gateway, study).every(({ checked }) => !checked));
});
