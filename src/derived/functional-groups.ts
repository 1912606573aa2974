/** Functional groups of a multi-frame image (PS3.3 C.7.6.16): the source's where they are still true, ours for what was made of it. */
import { asciiValue, asciiValues, characterSetOf, itemsOf, numberValue, type DataSet } from '../dicom/data-set.ts';
import { isPrivate, tag } from '../dicom/dictionary.ts';
import type { Head } from '../dicom/object.ts';
import { copyFrom, openAttributes, put, type Attributes, type Item, type Value } from './attributes.ts';
import { descriptionItem, frameType, LEGACY, mrItem, PER_FRAME, SHARED, type Frame } from './enhanced-description.ts';
import { dimensionsOf, keptDimensions, stackOf, timeOf, VOLUME, type Dimensions } from './enhanced-dimensions.ts';
import { dimensionItems, gridItems, positionItem } from './multi-frame.ts';
import { algorithmText, bounded, codeItem, SOURCE_IMAGE, type Code } from './provenance.ts';
import { referenceItem } from './references.ts';
import { derivationCode, keepsSlices, type ResultSlice, type Series } from './result-slices.ts';

export function groupItems(series: Series, source: Head, frames: readonly Frame[], organizationUID: string): Item {
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
