/** What a run leaves beside its images: the report, the key image, and how its series is to be seen first. */
import { ADVANCE } from '../codecs/bitmap-font.ts';
import { writeLabel } from '../codecs/lettering.ts';
import { figureCode, figureUnit, NO_UNIT } from '../derived/coded-figures.ts';
import { DEFORMABLE_SPATIAL_REGISTRATION } from '../derived/deformable-registration.ts';
import { deriveKeyImage, type Line, type Panel } from '../derived/key-image.ts';
import { deriveMeasurementReport } from '../derived/measurement-report.ts';
import { derivePresentationState } from '../derived/presentation-state.ts';
import type { DerivedObject, Provenance, QualityFigure } from '../derived/provenance.ts';
import { SPATIAL_REGISTRATION } from '../derived/spatial-registration.ts';
import type { Head } from '../dicom/object.ts';
import type { SeriesVolume } from '../dicom/volume.ts';
import { sentenceOf, type Finding, type Verdict } from '../pipelines/gates.ts';
import type { Output } from '../routing/rules.ts';
import type { Window } from './panels.ts';

export interface LoadedSeries {
  readonly heads: readonly Head[];
  /** Its voxels are handed to the pipeline: empty afterwards. */
  readonly volume: SeriesVolume;
  /** The further volumes of a series that holds several (time points, stacks); as `volume`, empty afterwards. */
  readonly others?: readonly SeriesVolume[];
}

/** What a run made, and what was kept of its input to show beside it. */
export interface Made {
  readonly source: LoadedSeries;
  readonly fixed?: LoadedSeries;
  readonly outputs: readonly Output[];
  readonly verdict: Verdict;
  readonly provenance: Omit<Provenance, 'seriesNumber'>;
  readonly panels: readonly Panel[];
  /** Names of the figures that stand under the panels. */
  readonly shown: readonly string[];
  readonly window?: Window | undefined;
  /** What the intake check found of the source. */
  readonly intake?: IntakeNotes | undefined;
}

/** For the report: counts, and a sentence for each finding. */
export interface IntakeNotes {
  readonly figures: readonly QualityFigure[];
  readonly findings: readonly string[];
}

/** Series numbers of derived series: far above what modalities use, apart from each other. */
export const SERIES_NUMBER = {
  denoised: 9100,
  zoo: 9400,
  registered: 9200,
  transform: 9201,
  residual: 9110,
  subtracted: 9210,
  jacobian: 9220,
  inverseConsistency: 9221,
  report: 9300,
  keyImage: 9310,
  presentation: 9320,
};

/** The report and the key image of a run. */
export function* beside(made: Made): Generator<DerivedObject> {
  const { source, fixed, outputs, verdict, provenance } = made;
  const of = { source: source.heads, ...(fixed === undefined ? {} : { fixed: fixed.heads }) };
  if (outputs.includes('report'))
    yield deriveMeasurementReport({ ...of, ...withIntake(made.intake, judged(verdict), reporting(provenance)) });
  if (outputs.includes('key-image')) yield keyImageOf(made);
}

/** Under the panels: the verdict, lines of its own, the figures to be shown. */
export function keyImageOf(made: Made, lines: readonly Line[] = []): DerivedObject {
  const { source, fixed, verdict, provenance } = made;
  return deriveKeyImage({
    source: source.heads,
    ...(fixed === undefined ? {} : { fixed: fixed.heads }),
    panels: made.panels,
    lines: [summaryOf(made), ...lines, ...shownFigures(made)],
    outcome: verdict.outcome,
    write: writeLabel,
    advance: ADVANCE,
    provenance: {
      ...provenance,
      seriesNumber: SERIES_NUMBER.keyImage,
      seriesSuffix: `${provenance.seriesSuffix} key image`,
    },
  });
}

/** The findings of the intake check stand behind the reasons, its counts behind the figures. */
export function withIntake<J extends { readonly reasons: readonly string[] }>(
  intake: IntakeNotes | undefined,
  verdict: J,
  provenance: Provenance,
): J & { readonly provenance: Provenance } {
  if (intake === undefined) return { ...verdict, provenance };
  return {
    ...verdict,
    reasons: [...verdict.reasons, ...intake.findings.map((finding) => `intake: ${finding}`)],
    provenance: { ...provenance, figures: [...provenance.figures, ...intake.figures] },
  };
}

/** A series, and how it is to be seen first. */
export function* withPresentation(made: Made, images: Iterable<DerivedObject>): Generator<DerivedObject> {
  const shown: DerivedObject[] = [];
  for (const image of images) {
    if (image.sopClassUID !== SPATIAL_REGISTRATION && image.sopClassUID !== DEFORMABLE_SPATIAL_REGISTRATION)
      shown.push({ ...image, head: NO_BYTES, body: NO_BYTES });
    yield image;
  }
  if (!made.outputs.includes('key-image')) return;
  const { geometry } = (made.fixed ?? made.source).volume;
  yield derivePresentationState({
    source: made.source.heads,
    images: shown,
    columns: geometry.columns,
    rows: geometry.rows,
    pixelSpacingMm: [geometry.spacingMm[1], geometry.spacingMm[0]],
    window: made.window,
    text: summaryOf(made),
    provenance: {
      ...made.provenance,
      seriesNumber: SERIES_NUMBER.presentation,
      seriesSuffix: `${made.provenance.seriesSuffix} view`,
    },
  });
}

const NO_BYTES = Buffer.alloc(0);

function summaryOf({ provenance, verdict }: Made): string {
  const { name, version } = provenance.algorithm;
  const warned = verdict.findings.filter(({ outcome }) => outcome === 'warn').map(sentenceOf);
  const outcome = verdict.outcome === 'pass' ? 'quality gates passed' : `look with care: ${warned.join('; ')}`;
  return `${name} ${version}, research, not a medical device: ${outcome}`;
}

/** Two a line. */
function shownFigures({ provenance, shown }: Made): string[] {
  const texts = shown.flatMap((wanted) => {
    const figure = provenance.figures.find(({ name }) => name === wanted);
    if (figure === undefined) return [];
    const unit = figureUnit(figure.name, figure.unit);
    const said = unit === NO_UNIT ? '' : unit.meaning === 'Hounsfield unit' ? ' HU' : ` ${unit.value}`;
    return [`${figureCode(figure.name).meaning}: ${Number(figure.value.toPrecision(3))}${said}`];
  });
  return texts;
}

export function differing(provenance: Omit<Provenance, 'seriesNumber'>, seriesNumber: number): Provenance {
  return { ...provenance, seriesNumber, seriesSuffix: `${provenance.seriesSuffix} difference` };
}

function judged({ outcome, findings }: Verdict): { outcome: Verdict['outcome']; reasons: string[] } {
  return { outcome, reasons: notHeld(findings) };
}

export function notHeld(findings: readonly Finding[]): string[] {
  return findings.filter(({ outcome }) => outcome !== 'pass').map(sentenceOf);
}

export function reporting(provenance: Omit<Provenance, 'seriesNumber'>): Provenance {
  return { ...provenance, seriesNumber: SERIES_NUMBER.report, seriesSuffix: `${provenance.seriesSuffix} report` };
}
