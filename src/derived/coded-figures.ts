/** Names of the figures in our own coding scheme (PS3.16 8.2: a designator that begins with 99), with their units in UCUM. */
import { createHash } from 'node:crypto';
import { MANUFACTURER } from '../dicom/implementation.ts';
import type { Item } from './attributes.ts';
import type { Code } from './provenance.ts';

export const SCHEME = '99ISTHMUS';

/** Coding Scheme Identification Sequence (PS3.3 C.12.1.1.4): who answers for the codes. */
export const CODING_SCHEMES: readonly Item[] = [
  {
    CodingSchemeDesignator: SCHEME,
    CodingSchemeName: 'Isthmus quality figures',
    CodingSchemeVersion: '1',
    CodingSchemeResponsibleOrganization: MANUFACTURER,
  },
];

export const NO_UNIT: Code = { value: '1', scheme: 'UCUM', meaning: 'no units' };
const MM: Code = { value: 'mm', scheme: 'UCUM', meaning: 'millimeter' };
const HU: Code = { value: "[hnsf'U]", scheme: 'UCUM', meaning: 'Hounsfield unit' };
const ML: Code = { value: 'mL', scheme: 'UCUM', meaning: 'milliliter' };
const CM2: Code = { value: 'cm2', scheme: 'UCUM', meaning: 'square centimeter' };
const PERCENT: Code = { value: '%', scheme: 'UCUM', meaning: 'percent' };
const PIXELS: Code = { value: '{pixels}', scheme: 'UCUM', meaning: 'pixels' };
const DEGREE: Code = { value: 'deg', scheme: 'UCUM', meaning: 'degree' };

/** Figures whose name is longer than the 16 characters of a Code Value, or says less than it should. */
const KNOWN: Readonly<Record<string, readonly [code: string, meaning: string]>> = {
  nccBefore: ['NCC-BEFORE', 'Normalized cross-correlation before registration'],
  nccRigid: ['NCC-RIGID', 'Normalized cross-correlation after rigid registration'],
  nccAfter: ['NCC-AFTER', 'Normalized cross-correlation after registration'],
  nccGain: ['NCC-GAIN', 'Gain of normalized cross-correlation'],
  nccAside: ['NCC-ASIDE', 'Normalized cross-correlation 10 mm aside'],
  nccPeak: ['NCC-PEAK', 'Normalized cross-correlation, gain over 10 mm aside'],
  nmiBefore: ['NMI-BEFORE', 'Normalized mutual information before registration'],
  nmiRigid: ['NMI-RIGID', 'Normalized mutual information after rigid registration'],
  nmiAfter: ['NMI-AFTER', 'Normalized mutual information after registration'],
  nmiGain: ['NMI-GAIN', 'Gain of normalized mutual information'],
  nmiAside: ['NMI-ASIDE', 'Normalized mutual information 10 mm aside'],
  nmiPeak: ['NMI-PEAK', 'Normalized mutual information, gain over 10 mm aside'],
  movedMm: ['MOVED', 'Distance from where the series began, 95th percentile'],
  foldingFraction: ['JAC-FOLDED', 'Share of the body with a Jacobian determinant of 0 or less'],
  extremeFraction: ['JAC-EXTREME', 'Share of the body with a Jacobian determinant outside 0.2 to 5'],
  jacobianMin: ['JAC-MIN', 'Least Jacobian determinant'],
  jacobianP1: ['JAC-P1', 'Jacobian determinant, 1st percentile'],
  jacobianMedian: ['JAC-MEDIAN', 'Jacobian determinant, median'],
  jacobianP99: ['JAC-P99', 'Jacobian determinant, 99th percentile'],
  jacobianMax: ['JAC-MAX', 'Greatest Jacobian determinant'],
  sdLogJacobian: ['JAC-SD-LOG', 'Standard deviation of the logarithm of the Jacobian determinant'],
  inverseConsistencyMedianMm: ['IC-MEDIAN', 'Inverse consistency residual, median'],
  inverseConsistencyP95Mm: ['IC-P95', 'Inverse consistency residual, 95th percentile'],
  inverseConsistencyMedianVoxels: ['IC-MEDIAN-VX', 'Inverse consistency residual in voxels, median'],
  inverseConsistencyP95Voxels: ['IC-P95-VX', 'Inverse consistency residual in voxels, 95th percentile'],
  maxDisplacementMm: ['DISP-MAX', 'Greatest displacement of the deformable part'],
  rotationDegrees: ['ROTATION', 'Rotation of the rigid part'],
  bodyInView: ['BODY-IN-VIEW', 'Share of the fixed body in the moving field of view'],
  bodyOverlap: ['BODY-OVERLAP', 'Overlap of the two bodies after rigid registration'],
  workingSpacingMm: ['WORK-SPACING', 'Spacing of the working grid'],
  correctedSlices: ['SLICES-CORR', 'Slices corrected'],
  correctedVoxelShare: ['VOXELS-CORR', 'Share of the voxels that were changed'],
  alpha: ['ALPHA', 'Share of the noise to be taken away'],
  sigmaBeforeHU: ['NOISE-BEFORE', 'Noise before correction'],
  sigmaAfterHU: ['NOISE-AFTER', 'Noise after correction'],
  meanShiftAirHU: ['BIAS-AIR', 'Mean shift in air'],
  meanShiftFatHU: ['BIAS-FAT', 'Mean shift in fat'],
  meanShiftSoftTissueHU: ['BIAS-TISSUE', 'Mean shift in soft tissue'],
  noiseLeft: ['NOISE-LEFT', 'Noise after correction over noise before'],
  residualShare: ['RESIDUAL', 'What was taken away over what was to be taken away'],
  gradientCorrelation: ['RESIDUAL-CORR', 'Correlation of what was taken away with the gradient'],
  ssimToSource: ['SSIM-SOURCE', 'Structural similarity to the source'],
  ssimToExpected: ['SSIM-EXPECTED', 'Structural similarity to the source over the expected one'],
  edgeWidthChange: ['EDGE-WIDTH', 'Relative change of edge width'],
  noiseFrequencyChange: ['NOISE-FREQ', 'Relative change of noise frequency'],
  unfamiliarFeatures: ['UNFAMILIAR', 'Features of the series outside what the model is made for'],
  farthestFeature: ['FARTHEST', 'Distance of the most unfamiliar feature, in widths of its fence'],
  isolation: ['ISOLATION', 'Isolation score of the series among what the model is made for'],
  clippedBefore: ['CLIPPED-BEFORE', 'Clipped voxels before correction'],
  clippedAfter: ['CLIPPED-AFTER', 'Clipped voxels after correction'],
  segmentsFound: ['SEG-FOUND', 'Segments found'],
  balance: ['SEG-BALANCE', 'Smallest segment over largest'],
  certainty: ['SEG-CERTAINTY', 'Mean probability within the segments'],
  borderPercent: ['SEG-BORDER', "Share of the segments' edge at the edge of the picture"],
  shadingRatio: ['SHADING-RATIO', 'Strongest over weakest shading that was taken out'],
  entropyChange: ['ENTROPY-CHANGE', 'Entropy of the intensities, after less before'],
  unsettledPercent: ['UNSETTLED', 'Last step of the field, relative'],
  clippedAdded: ['CLIPPED-ADDED', 'Clipped voxels added by correction'],
};

/** Of a segment, behind its name: what stands in the report for any model that makes masks. */
const OF_SEGMENTS: readonly (readonly [ending: string, meaning: string])[] = [
  ['Share', 'share of the picture'],
  ['CentreX', 'centre across, share of the columns'],
  ['CentreY', 'centre down, share of the rows'],
  ['Certainty', 'mean probability'],
  ['Parts', 'connected parts found'],
];

/** A figure's concept: of the table, or, for a model from elsewhere, its name in words. */
export function figureCode(name: string): Code {
  const known = KNOWN[name];
  if (known !== undefined) return { value: known[0], scheme: SCHEME, meaning: known[1] };
  const [ending, meaning] = OF_SEGMENTS.find(([one]) => name.endsWith(one)) ?? ['', ''];
  const words = `${wordsOf(name.slice(0, name.length - ending.length))}${meaning === '' ? '' : `: ${meaning}`}`;
  const value = /^[A-Za-z0-9_-]{1,16}$/.test(name)
    ? name
    : `Q${createHash('sha256').update(name).digest('hex').slice(0, 12)}`;
  return { value, scheme: SCHEME, meaning: words.slice(0, 64) };
}

function wordsOf(name: string): string {
  return name.replace(/([a-z0-9])([A-Z])/g, '$1 $2').toLowerCase();
}

/** By the unit that stands at the end of the name, unless the figure says it itself. */
export function figureUnit(name: string, unit?: string): Code {
  const known = [MM, HU, DEGREE, ML, CM2, PERCENT, PIXELS].find((code) => code.value === unit);
  if (known !== undefined) return known;
  if (unit !== undefined) return { value: unit, scheme: 'UCUM', meaning: unit };
  if (name.endsWith('Mm')) return MM;
  if (name.endsWith('HU')) return HU;
  if (name.endsWith('Degrees')) return DEGREE;
  if (name.endsWith('Percent') || /(?:Share|CentreX|CentreY)$/.test(name)) return PERCENT;
  return NO_UNIT;
}
