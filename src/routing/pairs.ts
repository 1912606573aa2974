/**
 * Which series is registered to which: the newest comparable one of an earlier study, or the best partner within the study. Every series
 * looked at is told with what speaks for or against it, so that a person sees why a pair was found or not. Pure.
 */
import type { PriorFacts, SeriesFacts, StudyFacts } from './match.ts';

type Vector = readonly [number, number, number];

/** How a series lies and how it was taken, from its first and last image; what an object does not say is absent. */
export interface SeriesShape {
  /** Along rows, then along columns. */
  readonly orientation?: readonly [Vector, Vector] | undefined;
  readonly firstMm?: Vector | undefined;
  readonly lastMm?: Vector | undefined;
  readonly pixelSpacingMm?: readonly [number, number] | undefined;
  readonly sliceSpacingMm?: number | undefined;
  readonly rows?: number | undefined;
  readonly columns?: number | undefined;
  readonly imageType: readonly string[];
  readonly contrastAgent: boolean;
  readonly reconstructionDiameterMm?: number | undefined;
  readonly exposureMas?: number | undefined;
  /** Milliseconds; only differences count. */
  readonly acquiredAt?: number | undefined;
}

export type ShapeOf = (studyInstanceUID: string, seriesInstanceUID: string) => SeriesShape | undefined;

/** A series that was looked at as the other half of a pair. */
export interface Considered {
  readonly StudyInstanceUID: string;
  readonly SeriesInstanceUID: string;
  readonly outcome: 'chosen' | 'comparable' | 'rejected';
  /** Why it was rejected, or what it was ranked by. */
  readonly because: readonly string[];
}

export interface Pairing {
  readonly fixed: { readonly StudyInstanceUID: string; readonly series: SeriesFacts } | undefined;
  readonly considered: readonly Considered[];
}

/** Fewer images are no volume. */
const LEAST_IMAGES = 8;
/** Normals of two series may differ by so much: 25 degrees. */
const LEAST_COSINE = 0.906;
/** Spacings that differ by more than this factor do not show the same things. */
const MOST_SPACING_RATIO = 3.01;
/** An overlap beyond this is as good as all. */
const ENOUGH_OVERLAP = 0.8;
const LEAST_OVERLAP = 0.1;

/** Words of Body Part Examined that mean the same region (PS3.16 Annex L has finer ones, scanners use these). */
const REGIONS: readonly (readonly string[])[] = [
  ['HEAD', 'BRAIN', 'SKULL', 'HEADNECK', 'NEURO'],
  ['NECK', 'CSPINE', 'HEADNECK'],
  ['CHEST', 'THORAX', 'LUNG', 'CHESTABDOMEN', 'CHESTABDPELVIS'],
  ['ABDOMEN', 'LIVER', 'ABDOMENPELVIS', 'CHESTABDOMEN', 'CHESTABDPELVIS'],
  ['PELVIS', 'PROSTATE', 'ABDOMENPELVIS', 'CHESTABDPELVIS'],
];
const WHOLE = ['WHOLEBODY', 'TRUNK', 'ALL'];

/** The newest earlier study with a comparable series: same modality, body part, orientation and about the same spacing. */
export function pairWithPrior(moving: SeriesFacts, study: StudyFacts, shapeOf: ShapeOf): Pairing {
  const considered: Considered[] = [];
  for (const prior of study.priors) {
    const fixed = comparableIn(prior, moving, shapeOf(study.StudyInstanceUID, moving.SeriesInstanceUID), shapeOf);
    considered.push(...fixed.considered);
    if (fixed.fixed !== undefined) return { fixed: fixed.fixed, considered };
  }
  return { fixed: undefined, considered };
}

/** The best series of one earlier study: same description first, then the nearer spacing, then more images. */
export function comparableIn(
  prior: PriorFacts,
  moving: SeriesFacts,
  movingShape: SeriesShape | undefined,
  shapeOf: ShapeOf,
): Pairing {
  const looked = prior.series.map((series) => {
    const shape = shapeOf(prior.StudyInstanceUID, series.SeriesInstanceUID);
    return {
      series,
      against: againstPrior(series, moving, shape, movingShape),
      rank: rankOf(series, moving, shape, movingShape),
    };
  });
  return chosen(prior.StudyInstanceUID, looked);
}

interface Looked {
  readonly series: SeriesFacts;
  readonly against: readonly string[];
  /** What is compared, most important first: greater is better; each with words for people. */
  readonly rank: readonly { readonly value: number; readonly words: string }[];
}

function chosen(studyInstanceUID: string, looked: readonly Looked[]): Pairing {
  const fit = looked.filter(({ against }) => against.length === 0).sort(better);
  const [best] = fit;
  return {
    fixed: best && { StudyInstanceUID: studyInstanceUID, series: best.series },
    considered: looked.map((one) => ({
      StudyInstanceUID: studyInstanceUID,
      SeriesInstanceUID: one.series.SeriesInstanceUID,
      outcome: one === best ? 'chosen' : one.against.length === 0 ? 'comparable' : 'rejected',
      because: one.against.length > 0 ? one.against : one.rank.map(({ words }) => words),
    })),
  };
}

function better(a: Looked, b: Looked): number {
  for (const [n, { value }] of a.rank.entries()) {
    const other = b.rank[n]?.value ?? 0;
    if (value !== other) return other - value;
  }
  return a.series.SeriesInstanceUID < b.series.SeriesInstanceUID ? -1 : 1;
}

function againstAny(series: SeriesFacts, shape: SeriesShape | undefined): string[] {
  const against: string[] = [];
  if (series.derived) against.push('it was made by a pipeline');
  if (shape?.imageType.includes('LOCALIZER') === true) against.push('it is a localizer');
  if (series.instances < LEAST_IMAGES && !isMultiFrame(series))
    against.push(`it has ${series.instances} images, at least ${LEAST_IMAGES} are needed`);
  return against;
}

/** An enhanced object holds a whole volume (PS3.4 Table B.5-1). */
function isMultiFrame({ SOPClassUID }: SeriesFacts): boolean {
  return ['1.2.840.10008.5.1.4.1.1.2.1', '1.2.840.10008.5.1.4.1.1.4.1', '1.2.840.10008.5.1.4.1.1.130'].includes(
    SOPClassUID,
  );
}

function againstPrior(
  series: SeriesFacts,
  moving: SeriesFacts,
  shape: SeriesShape | undefined,
  movingShape: SeriesShape | undefined,
): string[] {
  const against = againstAny(series, shape);
  if (series.Modality !== moving.Modality) against.push(`modality ${series.Modality}, not ${moving.Modality}`);
  if (regionOverlap(series.BodyPartExamined, moving.BodyPartExamined) === 'other')
    against.push(`body part ${series.BodyPartExamined}, not ${moving.BodyPartExamined}`);
  const cosine = normalCosine(shape, movingShape);
  if (cosine !== undefined && cosine < LEAST_COSINE)
    against.push(`its slices lie ${degrees(cosine)} degrees apart from those of the series`);
  const ratio = spacingRatio(shape, movingShape);
  if (ratio !== undefined && ratio > MOST_SPACING_RATIO)
    against.push(`its spacing differs by a factor of ${ratio.toFixed(1)}`);
  return against;
}

function rankOf(
  series: SeriesFacts,
  moving: SeriesFacts,
  shape: SeriesShape | undefined,
  movingShape: SeriesShape | undefined,
): Looked['rank'] {
  const same = series.SeriesDescription.toLowerCase() === moving.SeriesDescription.toLowerCase();
  const region = regionOverlap(series.BodyPartExamined, moving.BodyPartExamined);
  const agent = shape !== undefined && movingShape !== undefined && shape.contrastAgent === movingShape.contrastAgent;
  const ratio = spacingRatio(shape, movingShape);
  return [
    { value: same ? 1 : 0, words: same ? 'same description' : 'other description' },
    { value: region === 'same' ? 1 : 0, words: region === 'same' ? 'same body part' : 'body part not told by both' },
    {
      value: agent ? 1 : 0,
      words: agent ? 'contrast agent in both or neither' : 'contrast agent differs or is not told',
    },
    {
      value: ratio === undefined ? -4 : -Math.round(4 * ratio) / 4,
      words: ratio === undefined ? 'spacing not told' : `spacing within a factor of ${ratio.toFixed(1)}`,
    },
    { value: series.instances, words: `${series.instances} images` },
  ];
}

export interface PartnerWish {
  readonly fits: (series: SeriesFacts) => boolean;
  /** Of two CTs for one PET. */
  readonly prefer: 'diagnostic' | 'attenuation-correction' | undefined;
}

/** Another series of the same study: the same frame of reference first, then overlap, kind of CT, body part, time, images. */
export function pairWithin(moving: SeriesFacts, study: StudyFacts, wish: PartnerWish, shapeOf: ShapeOf): Pairing {
  const own = shapeOf(study.StudyInstanceUID, moving.SeriesInstanceUID);
  const others = study.series.filter((series) => series.SeriesInstanceUID !== moving.SeriesInstanceUID);
  const looked = others.map((series): Looked => {
    const shape = shapeOf(study.StudyInstanceUID, series.SeriesInstanceUID);
    const shared = series.FrameOfReferenceUID !== '' && series.FrameOfReferenceUID === moving.FrameOfReferenceUID;
    const overlap = shared ? overlapOf(own, shape) : undefined;
    const against = againstAny(series, shape);
    if (!wish.fits(series)) against.push('the pattern of with.fixed does not fit it');
    if (overlap !== undefined && overlap < LEAST_OVERLAP)
      against.push(`it covers ${percent(overlap)} of the series, at least ${percent(LEAST_OVERLAP)} are needed`);
    if (regionOverlap(series.BodyPartExamined, moving.BodyPartExamined) === 'other' && overlap === undefined)
      against.push(`body part ${series.BodyPartExamined}, not ${moving.BodyPartExamined}`);
    return { series, against, rank: rankWithin(series, moving, { shared, overlap, own, shape, wish }) };
  });
  return chosen(study.StudyInstanceUID, looked);
}

function rankWithin(
  series: SeriesFacts,
  moving: SeriesFacts,
  given: {
    readonly shared: boolean;
    readonly overlap: number | undefined;
    readonly own: SeriesShape | undefined;
    readonly shape: SeriesShape | undefined;
    readonly wish: PartnerWish;
  },
): Looked['rank'] {
  const { shared, overlap, own, shape, wish } = given;
  const covered = overlap === undefined ? 0.5 : Math.min(ENOUGH_OVERLAP, Math.round(overlap * 10) / 10);
  const isForPet = series.Modality === 'CT' && ['PT', 'NM'].includes(moving.Modality);
  const kind = series.Modality === 'CT' ? kindOfCt(series, shape, own) : undefined;
  const wanted = wish.prefer ?? (isForPet ? 'diagnostic' : undefined);
  const region = regionOverlap(series.BodyPartExamined, moving.BodyPartExamined);
  const apart =
    own?.acquiredAt === undefined || shape?.acquiredAt === undefined
      ? undefined
      : Math.round(Math.abs(own.acquiredAt - shape.acquiredAt) / 60_000);
  return [
    { value: shared ? 1 : 0, words: shared ? 'same frame of reference' : 'other frame of reference' },
    { value: covered, words: overlap === undefined ? 'overlap not known' : `covers ${percent(overlap)} of the series` },
    {
      value: wanted !== undefined && kind?.kind === wanted ? 1 : 0,
      words: kind === undefined ? 'no CT' : `looks like ${kind.kind} CT (${kind.because})`,
    },
    { value: region === 'same' ? 1 : 0, words: region === 'same' ? 'same body part' : 'body part not told by both' },
    {
      value: apart === undefined ? -1e6 : -apart,
      words: apart === undefined ? 'time not told' : `${apart} minutes apart`,
    },
    { value: series.instances, words: `${series.instances} images` },
  ];
}

/** A CT made for attenuation correction: low dose, wide field of view, slices as thick as the PET's, never with contrast agent. */
export function kindOfCt(
  series: SeriesFacts,
  shape: SeriesShape | undefined,
  pet: SeriesShape | undefined,
): { readonly kind: 'diagnostic' | 'attenuation-correction'; readonly because: string } {
  const signs: { readonly points: number; readonly words: string }[] = [];
  const words = series.SeriesDescription.toLowerCase();
  if (/\b(ac|ctac|acct|ct[ _-]?ac|atten\w*|low[ _-]?dose|ld[ _-]?ct)\b/.test(words))
    signs.push({ points: 3, words: 'its description' });
  if (/\b(diag\w*|contrast|c\+|venous|arterial|portal\w*|km)\b/.test(words))
    signs.push({ points: -3, words: 'its description' });
  if (shape?.contrastAgent === true) signs.push({ points: -3, words: 'contrast agent' });
  if (shape?.exposureMas !== undefined)
    signs.push(
      shape.exposureMas < 60
        ? { points: 1.5, words: `${shape.exposureMas} mAs` }
        : { points: -1, words: `${shape.exposureMas} mAs` },
    );
  if (shape?.reconstructionDiameterMm !== undefined)
    signs.push(
      shape.reconstructionDiameterMm >= 600
        ? { points: 1, words: `field of view ${shape.reconstructionDiameterMm} mm` }
        : { points: -0.5, words: `field of view ${shape.reconstructionDiameterMm} mm` },
    );
  const [own, other] = [shape?.sliceSpacingMm, pet?.sliceSpacingMm];
  if (own !== undefined) {
    if (own <= 2) signs.push({ points: -1, words: `slices every ${own.toFixed(1)} mm` });
    else if (other !== undefined && Math.abs(own - other) < 0.1)
      signs.push({ points: 1, words: 'slices as the PET has' });
  }
  const points = signs.reduce((sum, one) => sum + one.points, 0);
  const kind = points > 0 ? 'attenuation-correction' : 'diagnostic';
  const telling = signs.filter((one) => one.points > 0 === points > 0).map((one) => one.words);
  return { kind, because: telling.length === 0 ? 'no sign of the other' : telling.join(', ') };
}

function regionOverlap(a: string, b: string): 'same' | 'other' | 'not told' {
  const [x, y] = [a.toUpperCase().replaceAll(/[^A-Z]/g, ''), b.toUpperCase().replaceAll(/[^A-Z]/g, '')];
  if (x === '' || y === '') return 'not told';
  if (x === y || WHOLE.includes(x) || WHOLE.includes(y)) return 'same';
  return REGIONS.some((region) => region.includes(x) && region.includes(y)) ? 'same' : 'other';
}

function normalOf(shape: SeriesShape | undefined): Vector | undefined {
  if (shape?.orientation === undefined) return undefined;
  const [[a, b, c], [d, e, f]] = shape.orientation;
  return [b * f - c * e, c * d - a * f, a * e - b * d];
}

function normalCosine(a: SeriesShape | undefined, b: SeriesShape | undefined): number | undefined {
  const [n, m] = [normalOf(a), normalOf(b)];
  if (n === undefined || m === undefined) return undefined;
  return Math.abs(dot(n, m));
}

function degrees(cosine: number): number {
  return Math.round((Math.acos(Math.min(1, cosine)) * 180) / Math.PI);
}

/** The larger of the ratios in the plane and across it; undefined where a series does not tell both. */
function spacingRatio(a: SeriesShape | undefined, b: SeriesShape | undefined): number | undefined {
  const pairs = [
    [a?.pixelSpacingMm?.[0], b?.pixelSpacingMm?.[0]],
    [a?.sliceSpacingMm, b?.sliceSpacingMm],
  ] as const;
  let most: number | undefined;
  for (const [x, y] of pairs) {
    if (x === undefined || y === undefined || !(x > 0) || !(y > 0)) continue;
    most = Math.max(most ?? 1, x / y, y / x);
  }
  return most;
}

/** Share of the first one's box that lies in the second one's, in patient space. */
function overlapOf(a: SeriesShape | undefined, b: SeriesShape | undefined): number | undefined {
  const [x, y] = [boxOf(a), boxOf(b)];
  if (x === undefined || y === undefined) return undefined;
  return [0, 1, 2].reduce((share, axis) => {
    const [low, high] = [x.low[axis] ?? 0, x.high[axis] ?? 0];
    const within = Math.min(high, y.high[axis] ?? 0) - Math.max(low, y.low[axis] ?? 0);
    return share * Math.max(0, Math.min(1, within / Math.max(1e-6, high - low)));
  }, 1);
}

function boxOf(shape: SeriesShape | undefined): { low: readonly number[]; high: readonly number[] } | undefined {
  const { orientation, firstMm, lastMm, pixelSpacingMm, rows, columns } = shape ?? {};
  if (!orientation || !firstMm || !lastMm || !pixelSpacingMm || rows === undefined || columns === undefined)
    return undefined;
  const [along, down] = [(columns - 1) * pixelSpacingMm[1], (rows - 1) * pixelSpacingMm[0]];
  const corners = [firstMm, lastMm].flatMap((from) =>
    [0, along].flatMap((u) =>
      [0, down].map((v) =>
        [0, 1, 2].map((r) => (from[r] ?? 0) + u * (orientation[0][r] ?? 0) + v * (orientation[1][r] ?? 0)),
      ),
    ),
  );
  const edge = (pick: (...values: number[]) => number) =>
    [0, 1, 2].map((r) => pick(...corners.map((corner) => corner[r] ?? 0)));
  return { low: edge(Math.min), high: edge(Math.max) };
}

function dot(a: Vector, b: Vector): number {
  return a[0] * b[0] + a[1] * b[1] + a[2] * b[2];
}

function percent(share: number): string {
  return `${Math.round(100 * share)} %`;
}
