/**
 * Derived multi-frame images of Enhanced and Legacy Converted Enhanced CT and MR sources (PS3.3 A.36, A.38, A.70): one for each source,
 * frame by frame with its functional groups, or one for what was resampled onto another grid.
 */
import {
  numberValue,
  asciiValue,
  asciiValues,
  characterSetOf,
  itemsOf,
  numberValues,
  type DataSet,
} from '../dicom/data-set.ts';
import { isPrivate, tag } from '../dicom/dictionary.ts';
import type { Head } from '../dicom/object.ts';
import { Refusal } from '../dicom/refusal.ts';
import { uidFrom } from '../dicom/uid.ts';
import { copyEnhancedAcquisition } from './acquisition.ts';
import {
  copyFrom,
  copyNamed,
  drop,
  openAttributes,
  put,
  type Attributes,
  type Item,
  type Value,
} from './attributes.ts';
import { dimensionItems, gridItems, positionItem, type Dimension } from './multi-frame.ts';
import { writePart10 } from './part10.ts';
import {
  algorithmText,
  bounded,
  codeItem,
  contentTime,
  copyPatientAndStudy,
  describeSeries,
  putEquipment,
  SOURCE_IMAGE,
  type Code,
  type DerivedObject,
} from './provenance.ts';
import { evidenceItems, referenceItem, referenceTo } from './references.ts';
import {
  derivationCode,
  IMAGE_TYPES,
  inheritedFlags,
  keepsSlices,
  type ResultSlice,
  type Series,
} from './result-slices.ts';
import { storeSlice } from './stored-values.ts';

/** Enhanced and Legacy Converted Enhanced CT and MR Image Storage. */
const LEGACY: ReadonlySet<string> = new Set(['1.2.840.10008.5.1.4.1.1.2.2', '1.2.840.10008.5.1.4.1.1.4.4']);
const ENHANCED: ReadonlySet<string> = new Set([
  '1.2.840.10008.5.1.4.1.1.2.1',
  '1.2.840.10008.5.1.4.1.1.4.1',
  ...LEGACY,
]);

const SHARED = 'SharedFunctionalGroupsSequence';
const PER_FRAME = 'PerFrameFunctionalGroupsSequence';

export function isEnhanced({ dataSet }: Head): boolean {
  return ENHANCED.has(asciiValue(dataSet, tag('SOPClassUID')) ?? '');
}

/** One frame: slice n of the result. */
interface Frame {
  readonly slice: ResultSlice;
  readonly n: number;
}

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
  const { burned, lossy } = inheritedFlags(heads);
  const [geometry] = frames.map(({ slice }) => slice.geometry);
  const legacy = LEGACY.has(asciiValue(dataSet, tag('SOPClassUID')) ?? '');
  return {
    ImageType: frameType(series, asciiValues(dataSet, tag('ImageType'))),
    ...descriptionItem(dataSet, series),
    ...(modality === 'MR' && !legacy ? mrItem(dataSet) : {}),
    ...(geometry?.frameOfReferenceUID === undefined ? {} : { FrameOfReferenceUID: geometry.frameOfReferenceUID }),
    PositionReferenceIndicator: asciiValue(dataSet, tag('PositionReferenceIndicator')) ?? '',
    ContentQualification: 'RESEARCH',
    BurnedInAnnotation: burned ? 'YES' : 'NO',
    LossyImageCompression: lossy === undefined ? '00' : '01',
    ...(lossy === undefined
      ? {}
      : {
          LossyImageCompressionRatio: asciiValues(lossy.dataSet, tag('LossyImageCompressionRatio')),
          LossyImageCompressionMethod: asciiValues(lossy.dataSet, tag('LossyImageCompressionMethod')),
        }),
    PresentationLUTShape: 'IDENTITY',
    AcquisitionContextSequence: [],
  };
}

/** DERIVED\PRIMARY: value 2 of a multi-frame image is always PRIMARY, value 4 says what was done (PS3.3 C.8.16.1). */
function frameType({ request, modality }: Series, source: readonly string[]): string[] {
  const [, , flavour] = source;
  const known = flavour === undefined || flavour === '' ? (modality === 'CT' ? 'AXIAL' : 'VOLUME') : flavour;
  return ['DERIVED', 'PRIMARY', known, request.done?.imageType ?? IMAGE_TYPES[request.kind]];
}

/** Common CT/MR Image Description (PS3.3 C.8.16.2). */
function descriptionItem(source: DataSet, { request }: Series): Item {
  const says = (keyword: string, otherwise: string): string => asciiValue(source, tag(keyword)) ?? otherwise;
  return {
    PixelPresentation: 'MONOCHROME',
    VolumetricProperties: keepsSlices(request.kind) ? says('VolumetricProperties', 'VOLUME') : 'VOLUME',
    VolumeBasedCalculationTechnique: keepsSlices(request.kind)
      ? says('VolumeBasedCalculationTechnique', 'NONE')
      : 'NONE',
  };
}

/** MR Image Description (PS3.3 C.8.13.3.1). */
function mrItem(source: DataSet): Item {
  return {
    // dciodvfy asks for it of derived images too.
    ApplicableSafetyStandardAgency: asciiValue(source, tag('ApplicableSafetyStandardAgency')) || 'UNKNOWN',
    ComplexImageComponent: asciiValue(source, tag('ComplexImageComponent')) ?? 'MAGNITUDE',
    AcquisitionContrast: asciiValue(source, tag('AcquisitionContrast')) ?? 'UNKNOWN',
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

/** Written anew for every frame, or no longer true of new pixels. */
const REPLACED = new Set(
  [
    'PixelValueTransformationSequence DerivationImageSequence RealWorldValueMappingSequence FrameContentSequence',
    'MRImageFrameTypeSequence CTImageFrameTypeSequence ReferencedImageSequence ConversionSourceAttributesSequence',
  ]
    .join(' ')
    .split(' ')
    .map(tag),
);
/** Of the grid, not of the source, once the image is resampled; and a window that shows no differences. */
const GRID = new Set(['PixelMeasuresSequence', 'PlanePositionSequence', 'PlaneOrientationSequence'].map(tag));
const FRAME_VOI = tag('FrameVOILUTSequence');

interface Groups {
  readonly shared: DataSet | undefined;
  readonly own: DataSet | undefined;
}

function groupsOf({ dataSet }: Head, frame: number): Groups {
  return { shared: itemsOf(dataSet, tag(SHARED))[0], own: itemsOf(dataSet, tag(PER_FRAME))[frame - 1] };
}

function group({ shared, own }: Groups, keyword: string): DataSet | undefined {
  const find = (item: DataSet | undefined): DataSet | undefined =>
    item === undefined ? undefined : itemsOf(item, tag(keyword))[0];
  return find(own) ?? find(shared);
}

function groupItems(series: Series, source: Head, frames: readonly Frame[], organizationUID: string): Item {
  const { request } = series;
  const moved = !keepsSlices(request.kind);
  const set = characterSetOf(source.dataSet);
  const carried = (key: number): boolean =>
    !isPrivate(key) &&
    !REPLACED.has(key) &&
    !(moved && GRID.has(key)) &&
    !(series.differenceWidth !== undefined && key === FRAME_VOI);
  const [first] = frames;
  const shared = openAttributes();
  const [groups] = itemsOf(source.dataSet, tag(SHARED));
  if (groups !== undefined) copyFrom(shared, groups, (element) => carried(element.tag), set);
  putShared(shared, series, source, first);
  const dimensions = dimensionsOf(series, source, frames);
  const perFrame = frames.map((frame, index) => {
    const attributes = openAttributes();
    const own = groupsOf(source, frame.slice.plane.frame);
    if (own.own !== undefined) copyFrom(attributes, own.own, (element) => carried(element.tag), set);
    put(attributes, frameItems(series, frame));
    if (!moved) putThickness(attributes, own.own, frame);
    attributes.entries.set(tag('FrameContentSequence'), [contentOf(series, own, frame, dimensions, index)]);
    if (moved) put(attributes, positionItem(frame.slice.geometry, frame.slice.k));
    return attributes;
  });
  return {
    ...(dimensions.kept ? keptDimensions(source.dataSet) : dimensionItems(organizationUID, dimensions.own)),
    [SHARED]: [shared],
    [PER_FRAME]: perFrame,
  };
}

/** What all frames share and the source's shared groups do not say. */
function putShared(shared: Attributes, series: Series, source: Head, first: Frame | undefined): void {
  if (first === undefined) return;
  const groups = groupsOf(source, first.slice.plane.frame);
  if (keepsSlices(series.request.kind)) putThickness(shared, groups.shared, first);
  else put(shared, gridItems(first.slice.geometry));
  if (group(groups, 'FrameAnatomySequence') === undefined)
    put(shared, {
      FrameAnatomySequence: [{ FrameLaterality: 'U', AnatomicRegionSequence: [codeItem(regionOf(source.dataSet))] }],
    });
  if (series.differenceWidth !== undefined)
    put(shared, { FrameVOILUTSequence: [{ WindowCenter: 0, WindowWidth: series.differenceWidth }] });
}

/** Slice Thickness is 1C of what a volume was made of (PS3.3 C.7.6.16.2.1): where the source lacks it, slices touch. */
function putThickness(attributes: Attributes, groups: DataSet | undefined, { slice }: Frame): void {
  const measures = groups === undefined ? undefined : itemsOf(groups, tag('PixelMeasuresSequence'))[0];
  if (measures === undefined || numberValue(measures, tag('SliceThickness')) !== undefined) return;
  const whole = openAttributes();
  copyFrom(whole, measures, () => true);
  put(whole, { SliceThickness: Number(slice.geometry.spacingMm[2].toPrecision(10)) });
  attributes.entries.set(tag('PixelMeasuresSequence'), [whole]);
}

const sct = (value: string, meaning: string): Code => ({ value, scheme: 'SCT', meaning });

/** Body Part Examined as a code (PS3.16 2024d, table L-1); all of the body where nothing is said. */
const REGIONS: Readonly<Record<string, Code>> = {
  ABDOMEN: sct('818981001', 'Abdomen'),
  BRAIN: sct('12738006', 'Brain'),
  BREAST: sct('76752008', 'Breast'),
  CHEST: sct('816094009', 'Chest'),
  HEAD: sct('69536005', 'Head'),
  HEART: sct('80891009', 'Heart'),
  KNEE: sct('72696002', 'Knee'),
  LIVER: sct('10200004', 'Liver'),
  NECK: sct('45048000', 'Neck'),
  PELVIS: sct('816092008', 'Pelvis'),
  PROSTATE: sct('41216001', 'Prostate'),
};
const WHOLE_BODY = sct('38266002', 'Entire body');

function regionOf(source: DataSet): Code {
  return REGIONS[asciiValue(source, tag('BodyPartExamined')) ?? ''] ?? WHOLE_BODY;
}

/** Frame type, transformation and derivation of one frame. */
function frameItems(series: Series, { slice, n }: Frame): Item {
  const { request, modality, storage } = series;
  const source = request.sources[slice.plane.instance];
  if (source === undefined) return {};
  const groups = groupsOf(source, slice.plane.frame);
  const keyword = modality === 'CT' ? 'CTImageFrameTypeSequence' : 'MRImageFrameTypeSequence';
  const type = group(groups, keyword) ?? source.dataSet;
  const said = asciiValues(type, tag(type === source.dataSet ? 'ImageType' : 'FrameType'));
  const legacy = LEGACY.has(asciiValue(source.dataSet, tag('SOPClassUID')) ?? '');
  const { slope, intercept } = storage.rescale(n);
  const transformation = group(groups, 'PixelValueTransformationSequence');
  const rescaleType =
    (transformation === undefined ? undefined : asciiValue(transformation, tag('RescaleType'))) ??
    (modality === 'CT' ? 'HU' : 'US');
  const code = derivationCode(request) ?? PIXEL_MAPPING;
  return {
    [keyword]: [
      {
        FrameType: frameType(series, said),
        ...descriptionItem(type, series),
        ...(modality === 'MR' && !legacy ? mrItem(type) : {}),
      },
    ],
    PixelValueTransformationSequence: [{ RescaleIntercept: intercept, RescaleSlope: slope, RescaleType: rescaleType }],
    DerivationImageSequence: [
      {
        DerivationDescription: bounded(
          `${request.provenance.description}; ${algorithmText(request.provenance.algorithm)}`,
          1024,
        ),
        DerivationCodeSequence: [codeItem(code)],
        SourceImageSequence: sourceItems(series, slice),
      },
    ],
  };
}

/** For what the standard has no code for: type 1 in a Derivation Image (PS3.3 C.7.6.16.2.6). PS3.16 CID 7203. */
const PIXEL_MAPPING: Code = { value: '113091', scheme: 'DCM', meaning: 'Pixel by pixel mapping' };

/** The frames that a frame is made of, by the instance they are in. */
function sourceItems({ request, references }: Series, { planes }: ResultSlice): Item[] {
  const purpose = {
    PurposeOfReferenceCodeSequence: [codeItem(SOURCE_IMAGE)],
    SpatialLocationsPreserved: keepsSlices(request.kind) ? 'YES' : 'NO',
  };
  return [...Map.groupBy(planes, (plane) => plane.instance)].flatMap(([instance, own]) => {
    const reference = references[instance];
    const whole = own.length === own[0]?.format.frames;
    return reference === undefined
      ? []
      : [
          {
            ...referenceItem(reference, whole ? undefined : own.map(({ frame }) => frame).sort((a, b) => a - b)),
            ...purpose,
          },
        ];
  });
}

/** The source's Frame Content with our place in the dimensions. */
function contentOf(
  series: Series,
  groups: Groups,
  { slice }: Frame,
  { own, values: places }: Dimensions,
  index: number,
): Attributes {
  const content = openAttributes();
  const said = group(groups, 'FrameContentSequence');
  if (said !== undefined) copyFrom(content, said, (element) => !isPrivate(element.tag));
  const values: Record<string, Value> = { DimensionIndexValues: [...(places[index] ?? [])] };
  if (!content.entries.has(tag('StackID')) || !keepsSlices(series.request.kind))
    values['StackID'] = String(stackOf(series, slice.part));
  if (!content.entries.has(tag('InStackPositionNumber')) || !keepsSlices(series.request.kind))
    values['InStackPositionNumber'] = slice.k + 1;
  if (own.includes(VOLUME)) values['TemporalPositionIndex'] = timeOf(series, slice.part);
  put(content, values);
  return content;
}

/** Number of the stack that a volume belongs to, from 1. */
function stackOf({ plans }: Series, part: number): number {
  const stacks = [...new Set(plans.map(({ planes }) => planes[0]?.variant.stack))];
  return Math.max(0, stacks.indexOf(plans[part]?.planes[0]?.variant.stack)) + 1;
}

/** Number of a volume among those of its stack, from 1. */
function timeOf({ plans }: Series, part: number): number {
  const stack = plans[part]?.planes[0]?.variant.stack;
  return plans.slice(0, part + 1).filter(({ planes }) => planes[0]?.variant.stack === stack).length;
}

interface Dimensions {
  /** True when the source's own dimensions still tell where each frame belongs. */
  readonly kept: boolean;
  readonly own: readonly Dimension[];
  /** Dimension Index Values of each frame. */
  readonly values: readonly (readonly number[])[];
}

const STACK: Dimension = { attribute: 'StackID', group: 'FrameContentSequence', label: 'Stack' };
const VOLUME: Dimension = { attribute: 'TemporalPositionIndex', group: 'FrameContentSequence', label: 'Volume' };
const IN_STACK: Dimension = { attribute: 'InStackPositionNumber', group: 'FrameContentSequence', label: 'Slice' };
const B_VALUE: Dimension = { attribute: 'DiffusionBValue', group: 'MRDiffusionSequence', label: 'b-value' };
const ECHO: Dimension = { attribute: 'EffectiveEchoTime', group: 'MREchoSequence', label: 'Echo' };

/** The source's dimensions where slices correspond and each frame has its place in them; else stack, volume and slice. */
function dimensionsOf(series: Series, source: Head, frames: readonly Frame[]): Dimensions {
  const kept = keepsSlices(series.request.kind) ? keptValues(source, frames) : undefined;
  if (kept !== undefined) return { kept: true, own: [], values: kept };
  const by = series.plans[0]?.by ?? [];
  const told = by.at(-1);
  const volume = told === 'bValue' ? B_VALUE : told === 'echo' ? ECHO : VOLUME;
  const several = by.some((key) => key !== 'stack');
  return {
    kept: false,
    own: [STACK, ...(several ? [volume] : []), IN_STACK],
    values: frames.map(({ slice }) => [
      stackOf(series, slice.part),
      ...(several ? [timeOf(series, slice.part)] : []),
      slice.k + 1,
    ]),
  };
}

function keptValues({ dataSet }: Head, frames: readonly Frame[]): number[][] | undefined {
  const pointers = itemsOf(dataSet, tag('DimensionIndexSequence'));
  const organizations = itemsOf(dataSet, tag('DimensionOrganizationSequence'));
  if (pointers.length === 0 || organizations.length === 0 || pointers.some(isForeign)) return undefined;
  const values = frames.map(({ slice }) => {
    const content = itemsOf(
      itemsOf(dataSet, tag(PER_FRAME))[slice.plane.frame - 1] ?? dataSet,
      tag('FrameContentSequence'),
    )[0];
    return content === undefined ? [] : numberValues(content, tag('DimensionIndexValues'));
  });
  const complete = values.every((one) => one.length === pointers.length && one.every((index) => index >= 1));
  return complete ? values : undefined;
}

/** A dimension by a private attribute, or by a group that is not carried. */
function isForeign(item: DataSet): boolean {
  const pointer = pointerAt(item, 'DimensionIndexPointer');
  const groupPointer = pointerAt(item, 'FunctionalGroupPointer');
  if (pointer === undefined || isPrivate(pointer)) return true;
  if (groupPointer === undefined) return false;
  return isPrivate(groupPointer) || groupPointer === tag('RealWorldValueMappingSequence');
}

function pointerAt(item: DataSet, keyword: string): number | undefined {
  const [group16, element16] = numberValues(item, tag(keyword));
  return group16 === undefined || element16 === undefined ? undefined : group16 * 0x10000 + element16;
}

function keptDimensions(source: DataSet): Item {
  const items: Record<string, Value> = {};
  for (const keyword of ['DimensionOrganizationSequence', 'DimensionIndexSequence']) {
    items[keyword] = itemsOf(source, tag(keyword)).map((item) => {
      const copy = openAttributes();
      copyFrom(copy, item, (element) => !isPrivate(element.tag));
      return copy;
    });
  }
  const type = asciiValue(source, tag('DimensionOrganizationType'));
  return type === undefined ? items : { ...items, DimensionOrganizationType: type };
}
