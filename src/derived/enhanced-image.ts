/**
 * Derived multi-frame images of Enhanced and Legacy Converted Enhanced CT and MR sources (PS3.3 A.36, A.38, A.70): one for each source,
 * frame by frame with its functional groups, or one for what was resampled onto another grid.
 */
import { asciiValue, asciiValues } from '../dicom/data-set.ts';
import { tag } from '../dicom/dictionary.ts';
import type { Head } from '../dicom/object.ts';
import { Refusal } from '../dicom/refusal.ts';
import { uidFrom } from '../dicom/uid.ts';
import { copyEnhancedAcquisition } from './acquisition.ts';
import { copyNamed, drop, openAttributes, put, type Attributes, type Item } from './attributes.ts';
import { descriptionItem, frameType, LEGACY, mrItem, type Frame } from './enhanced-description.ts';
import { groupItems } from './functional-groups.ts';
import { writePart10 } from './part10.ts';
import { contentTime, copyPatientAndStudy, describeSeries, putEquipment, type DerivedObject } from './provenance.ts';
import { evidenceItems, referenceTo } from './references.ts';
import { inheritedLoss, inheritedText } from './inherited.ts';
import { keepsSlices, type Series } from './result-slices.ts';
import { storeSlice } from './stored-values.ts';

/** @throws Refusal PipelineRefused for more pixels than an object holds */
export function* deriveEnhanced(series: Series): Generator<DerivedObject> {
  const frames = series.slices.map((slice, n): Frame => ({ slice, n }));
  if (!keepsSlices(series.request.kind)) {
    const source = series.request.sources[frames[0]?.slice.plane.instance ?? 0];
    if (source !== undefined) yield writeEnhanced(series, source, frames, 1);
    return;
  }
  const bySource = Map.groupBy(frames, ({ slice }) => slice.plane.instance);
  for (const [index, source] of series.request.sources.entries()) {
    // In the source's own order of frames.
    const own = [...(bySource.get(index) ?? [])].sort((a, b) => a.slice.plane.frame - b.slice.plane.frame);
    if (own.length > 0) yield writeEnhanced(series, source, own, index + 1);
  }
}

function writeEnhanced(series: Series, source: Head, frames: readonly Frame[], number: number): DerivedObject {
  const { request, key, modality, storage } = series;
  const { dataSet } = source;
  const reference = referenceTo(source);
  const { studyInstanceUID, sopClassUID } = reference;
  const sopInstanceUID = uidFrom<'instance'>(key, 'instance', 'frames', String(number));
  const seriesInstanceUID = uidFrom<'series'>(key, 'series');
  const body = bodyOf(series, frames);
  const attributes = openAttributes({ pixelRepresentation: storage.signed ? 1 : 0 });
  copyEnhancedAcquisition(attributes, dataSet);
  copyPatientAndStudy(attributes, dataSet);
  copyNamed(attributes, dataSet, ['BodyPartExamined']);
  dropClassic(attributes);
  putEquipment(attributes, dataSet, request.provenance);
  put(attributes, {
    ...contentTime(dataSet),
    SOPClassUID: sopClassUID,
    SOPInstanceUID: sopInstanceUID,
    SeriesInstanceUID: seriesInstanceUID,
    Modality: modality,
    SeriesNumber: String(request.provenance.seriesNumber),
    SeriesDescription: describeSeries(dataSet, request.provenance.seriesSuffix),
    InstanceNumber: String(number),
    ...imageItems(series, source, frames),
    ...pixelItems(series, frames),
    SourceImageEvidenceSequence: evidenceItems(
      keepsSlices(request.kind) ? [reference] : [...series.references, ...series.grid.map(referenceTo)],
    ),
    ...groupItems(series, source, frames, uidFrom(key, 'dimensions', String(number))),
  });
  return {
    head: writePart10(attributes, sopClassUID, sopInstanceUID, body.length),
    body,
    studyInstanceUID,
    seriesInstanceUID,
    sopInstanceUID,
    sopClassUID,
  };
}

/** What a single-frame image says of its one frame; a multi-frame image says it in functional groups, if at all. */
function dropClassic(attributes: Attributes): void {
  drop(attributes, [
    'Laterality',
    'ImageLaterality',
    'ScanningSequence',
    'SequenceVariant',
    'ScanOptions',
    'SequenceName',
    'RepetitionTime',
    'EchoTime',
    'EchoTrainLength',
    'InversionTime',
    'FlipAngle',
    'TemporalPositionIdentifier',
    'TriggerTime',
    'WindowCenter',
    'WindowWidth',
    'WindowCenterWidthExplanation',
    'RescaleType',
    ...PULSE_SEQUENCE,
  ]);
}

/** MR Pulse Sequence (PS3.3 C.8.13.4), which is of images that were acquired: an image is not, once it is derived. */
const PULSE_SEQUENCE = [
  'PulseSequenceName MRAcquisitionType EchoPulseSequence MultipleSpinEcho MultiPlanarExcitation PhaseContrast',
  'TimeOfFlightContrast ArterialSpinLabelingContrast SteadyStatePulseSequence EchoPlanarPulseSequence SaturationRecovery',
  'SpectrallySelectedSuppression OversamplingPhase SegmentedKSpaceTraversal GeometryOfKSpaceTraversal',
  'RectilinearPhaseEncodeReordering CoverageOfKSpace NumberOfKSpaceTrajectories',
]
  .join(' ')
  .split(' ');

/** The length of a value has 32 bits, the last of them says "undefined" (PS3.5 7.1.1). */
const MOST_BYTES = 0xfffffffe;

function bodyOf({ storage }: Series, frames: readonly Frame[]): Buffer {
  const bytes = frames.reduce((sum, { slice }) => sum + 2 * slice.values.length, 0);
  if (bytes > MOST_BYTES)
    throw new Refusal(
      'PipelineRefused',
      `the result has ${bytes} bytes of pixels; a multi-frame image holds ${MOST_BYTES}`,
    );
  const body = Buffer.alloc(bytes);
  let at = 0;
  for (const { slice, n } of frames) at += storeSlice(slice.values, n, storage).body.copy(body, at);
  return body;
}

/** Enhanced MR/CT Image (PS3.3 C.8.13.1, C.8.15.1): what the frames have in common, for the image as a whole. */
function imageItems(series: Series, { dataSet }: Head, frames: readonly Frame[]): Item {
  const { request, modality } = series;
  const heads = keepsSlices(request.kind)
    ? request.sources.filter((head) => head.dataSet === dataSet)
    : request.sources;
  const [geometry] = frames.map(({ slice }) => slice.geometry);
  const legacy = LEGACY.has(asciiValue(dataSet, tag('SOPClassUID')) ?? '');
  return {
    ImageType: frameType(series, asciiValues(dataSet, tag('ImageType'))),
    ...descriptionItem(dataSet, series),
    ...(modality === 'MR' && !legacy ? mrItem(dataSet) : {}),
    ...(geometry?.frameOfReferenceUID === undefined ? {} : { FrameOfReferenceUID: geometry.frameOfReferenceUID }),
    PositionReferenceIndicator: asciiValue(dataSet, tag('PositionReferenceIndicator')) ?? '',
    ContentQualification: 'RESEARCH',
    BurnedInAnnotation: inheritedText(heads),
    LossyImageCompression: '00',
    ...inheritedLoss(heads),
    PresentationLUTShape: 'IDENTITY',
    AcquisitionContextSequence: [],
  };
}

function pixelItems({ storage }: Series, frames: readonly Frame[]): Item {
  const [first] = frames;
  if (first === undefined) return {};
  const { columns, rows } = first.slice.geometry;
  const paddings = frames.map(({ n }) => storage.padding(n));
  const [padding] = paddings;
  // One value stands for all frames: where the frames' rescales make it differ there is none.
  const alike = paddings.every((one) => one?.[0] === padding?.[0] && one?.[1] === padding?.[1]);
  return {
    NumberOfFrames: String(frames.length),
    SamplesPerPixel: 1,
    PhotometricInterpretation: 'MONOCHROME2',
    Rows: rows,
    Columns: columns,
    BitsAllocated: 16,
    BitsStored: 16,
    HighBit: 15,
    PixelRepresentation: storage.signed ? 1 : 0,
    ...(padding === undefined || !alike ? {} : { PixelPaddingValue: padding[0] }),
    ...(padding === undefined || !alike || padding[0] === padding[1] ? {} : { PixelPaddingRangeLimit: padding[1] }),
  };
}
