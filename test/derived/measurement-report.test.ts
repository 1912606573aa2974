import assert from 'node:assert/strict';
import { join } from 'node:path';
import { describe, it } from 'node:test';
import { deriveMeasurementReport, type ReportRequest } from '../../src/derived/measurement-report.ts';
import { ARTIFICIAL_INTELLIGENCE, type Provenance } from '../../src/derived/provenance.ts';
import { asciiValue, itemsOf, textValue, type DataSet } from '../../src/dicom/data-set.ts';
import { tag } from '../../src/dicom/dictionary.ts';
import { readHead } from '../../src/dicom/part10.ts';
import { instanceOf, phantomSeries } from './phantom.ts';
import { iodErrors, NO_DCIODVFY, NO_PYTHON, python, scratch, writeObjects } from './tools.ts';

const provenance: Provenance = {
  algorithm: {
    name: 'ct-denoise',
    version: '1.0.0',
    family: ARTIFICIAL_INTELLIGENCE,
    parameters: '{"alpha":0.6}',
    sha256: 'ab'.repeat(32),
  },
  softwareVersion: '0.1.0',
  description: 'Noise reduction',
  figures: [
    { name: 'sigmaBeforeHU', value: 28.123456 },
    { name: 'edgeWidthChange', value: 0.0312 },
    { name: 'maxDisplacementMm', value: 7.5 },
    { name: 'aFigureOfAModelFromElsewhere', value: -3 },
  ],
  seriesNumber: 9300,
  seriesSuffix: '[AI-DENOISED] report',
};

function request(over: Partial<ReportRequest> = {}): ReportRequest {
  return {
    source: phantomSeries().map((file) => instanceOf(file).head),
    outcome: 'warn',
    reasons: ['edgeWidthChange is 0.12, expected at most 0.1 (hard limit 0.25)'],
    provenance,
    ...over,
  };
}

function named(root: DataSet, code: string): DataSet[] {
  return itemsOf(root, tag('ContentSequence')).flatMap((item) => {
    const [concept] = itemsOf(item, tag('ConceptNameCodeSequence'));
    const here = concept !== undefined && asciiValue(concept, tag('CodeValue')) === code ? [item] : [];
    return [...here, ...named(item, code)];
  });
}

function conceptOf(item: DataSet | undefined): string | undefined {
  const [value] = item === undefined ? [] : itemsOf(item, tag('ConceptCodeSequence'));
  return value === undefined ? undefined : asciiValue(value, tag('CodeValue'));
}

describe('a measurement report', () => {
  it('says figures with units, verdict and reasons, and by which algorithm', () => {
    const { dataSet } = readHead(deriveMeasurementReport(request()).head).head;
    const [noise] = named(dataSet, 'NOISE-BEFORE').flatMap((item) => itemsOf(item, tag('MeasuredValueSequence')));
    assert.ok(noise);
    assert.equal(asciiValue(noise, tag('NumericValue')), '28.1235');
    const [unit] = itemsOf(noise, tag('MeasurementUnitsCodeSequence'));
    assert.equal(unit && asciiValue(unit, tag('CodeValue')), "[hnsf'U]");
    assert.equal(conceptOf(named(dataSet, 'VERDICT')[0]), 'WARN');
    const [reason] = named(dataSet, 'REASON');
    assert.match((reason && textValue(reason, tag('TextValue'))) ?? '', /^edgeWidthChange is 0\.12, expected/);
    const [name] = named(dataSet, '111001');
    assert.equal(name && textValue(name, tag('TextValue')), 'ct-denoise');
    assert.ok(named(dataSet, '111002').some((item) => textValue(item, tag('TextValue'))?.includes('abab')));
  });

  it('DERIVE-SR-2: refers to every source in its evidence, what lies in another study apart', () => {
    const source = request().source;
    const other = phantomSeries({ name: 'b', study: 'other' }).map((file) => instanceOf(file).head);
    const { dataSet } = readHead(deriveMeasurementReport(request({ fixed: other })).head).head;
    const count = (keyword: string): number =>
      itemsOf(dataSet, tag(keyword))
        .flatMap((study) => itemsOf(study, tag('ReferencedSeriesSequence')))
        .flatMap((series) => itemsOf(series, tag('ReferencedSOPSequence'))).length;
    assert.equal(count('CurrentRequestedProcedureEvidenceSequence'), source.length);
    assert.equal(count('PertinentOtherEvidenceSequence'), other.length);
  });

  it('is the same instance for the same run, and another for another verdict or figure', () => {
    const uid = (over: Partial<ReportRequest> = {}): string => deriveMeasurementReport(request(over)).sopInstanceUID;
    assert.equal(uid(), uid());
    assert.deepEqual(deriveMeasurementReport(request()).head, deriveMeasurementReport(request()).head);
    assert.notEqual(uid({ outcome: 'refuse' }), uid());
    assert.notEqual(uid({ provenance: { ...provenance, figures: [] } }), uid());
  });

  it('is a Comprehensive SR without errors to dciodvfy', { skip: NO_DCIODVFY }, () => {
    const folder = scratch();
    for (const outcome of ['pass', 'warn', 'refuse'] as const) {
      const [path] = writeObjects(join(folder, outcome), [deriveMeasurementReport(request({ outcome }))]);
      assert.deepEqual(iodErrors(path ?? ''), []);
    }
  });

  it('is read by pydicom, content item by content item', { skip: NO_PYTHON }, () => {
    const [path] = writeObjects(scratch(), [deriveMeasurementReport(request())]);
    const program = `
import sys, pydicom
d = pydicom.dcmread(sys.argv[1])
group = d.ContentSequence[-1].ContentSequence[0]
for i in group.ContentSequence:
    if i.ValueType == 'NUM':
        m = i.MeasuredValueSequence[0]
        print(i.ConceptNameCodeSequence[0].CodeValue, m.NumericValue, m.MeasurementUnitsCodeSequence[0].CodeValue)
`;
    assert.deepEqual(
      python(['-c', program, path ?? ''])
        .trim()
        .split('\n')
        .slice(0, 3),
      ["NOISE-BEFORE 28.1235 [hnsf'U]", 'EDGE-WIDTH 0.0312 1', 'DISP-MAX 7.5 mm'],
    );
  });
});
