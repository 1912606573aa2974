/**
 * Derived image series: one CT or MR image (PS3.3 A.3, A.4) for each slice of a corrected or resampled volume. What the sources say
 * of patient, study and acquisition is kept; identity, derivation, equipment, geometry and pixels are ours.
 */
import {
  asciiValue,
  asciiValues,
  findElement,
  itemsOf,
  numberValue,
  type DataElement,
  type DataSet,
} from '../dicom/data-set.ts';
import { isPrivate, tag } from '../dicom/dictionary.ts';
import type { Head } from '../dicom/object.ts';
import { Refusal } from '../dicom/refusal.ts';
import { uidFrom, type SeriesInstanceUID, type SOPInstanceUID } from '../dicom/uid.ts';
import {
  indexToPatient,
  planVolume,
  transformPoint,
  type Volume,
  type VolumeGeometry,
  type VolumePlan,
} from '../dicom/volume.ts';
import {
  copyFrom,
  copyNamed,
  drop,
  openAttributes,
  put,
  putEmptyUnlessPresent,
  type Attributes,
  type Item,
} from './attributes.ts';
import {
  codeItem,
  contentTime,
  copyPatientAndStudy,
  derivationText,
  describeSeries,
  putBodyPart,
  putEquipment,
  referenceItem,
  referenceTo,
  runKey,
  sameInAll,
  SMOOTHING,
  SOURCE_IMAGE,
  SPATIAL_RESAMPLING,
  writePart10,
  type DerivedObject,
  type Provenance,
  type Reference,
} from './provenance.ts';
import { chooseStorage, storeSlice, type Storage } from './stored-values.ts';

export interface ImageSeriesRequest {
  /** denoised: same grid and slices as the source. registered: the source's content on the grid of `reference`. */
  readonly kind: 'denoised' | 'registered';
  /** The heads of the series whose pixels were changed. */
  readonly sources: readonly Head[];
  /** The heads of the fixed series; needed for `registered`. */
  readonly reference?: readonly Head[];
  readonly volume: Volume;
  readonly provenance: Provenance;
  /** Real value of voxels that hold no data (outside the moving field of view); written as Pixel Padding Value. */
  readonly padding?: number;
}

const CT_IMAGE = '1.2.840.10008.5.1.4.1.1.2';
const MR_IMAGE = '1.2.840.10008.5.1.4.1.1.4';

/**
 * The images, slice by slice in the order of the volume. The same request gives the same UIDs.
 * @throws Refusal PipelineRefused for another modality than CT and MR, other geometry than the series it stands for, or voxels that are
 * no numbers
 */
export function* deriveImageSeries(request: ImageSeriesRequest): Generator<DerivedObject> {
  const series = openSeries(request);
  const { geometry } = request.volume;
  for (let k = 0; k < geometry.slices; k++) yield deriveSlice(series, k);
}

interface Series {
  readonly request: ImageSeriesRequest;
  /** Where the grid of the result comes from: the sources, or the fixed series. */
  readonly grid: readonly Head[];
  readonly gridPlan: VolumePlan;
  readonly sourcePlan: VolumePlan;
  readonly references: readonly Reference[];
  readonly sopClassUID: string;
  readonly key: string;
  readonly storage: Storage;
  /** Attributes that all sources share, for resampled slices that come from several. */
  readonly shared: ReadonlySet<number>;
}

function openSeries(request: ImageSeriesRequest): Series {
  const { kind, sources, reference, volume, provenance } = request;
  if (kind === 'registered' && reference === undefined)
    throw new Error('a registered series needs the heads of its fixed series');
  const sourcePlan = planVolume(sources);
  const grid = kind === 'registered' ? (reference ?? []) : sources;
  const gridPlan = kind === 'registered' ? planVolume(grid) : sourcePlan;
  const sopClassUID = volume.modality === 'CT' ? CT_IMAGE : volume.modality === 'MR' ? MR_IMAGE : undefined;
  if (sopClassUID === undefined || sourcePlan.modality !== volume.modality)
    throw new Refusal('PipelineRefused', 'derived images are written for CT and MR sources only');
  refuseOtherGrid(volume.geometry, gridPlan.geometry);
  const references = sources.map(referenceTo);
  const everything = [...references, ...(kind === 'registered' ? grid.map(referenceTo) : [])];
  const [first, ...others] = sources.map((head) => head.dataSet);
  const shared = new Set(
    first === undefined
      ? []
      : first.elements.filter((element) => sameInAll(element, first, others)).map((element) => element.tag),
  );
  return {
    request,
    grid,
    gridPlan,
    sourcePlan,
    references,
    sopClassUID,
    key: runKey(kind, everything, provenance),
    storage: chooseStorage(volume, sourcePlan, request.padding, kind === 'denoised'),
    shared,
  };
}

function refuseOtherGrid(found: VolumeGeometry, expected: VolumeGeometry): void {
  const matrices = [indexToPatient(found), indexToPatient(expected)];
  const off = (matrices[0] ?? []).some((value, index) => Math.abs(value - (matrices[1]?.[index] ?? 0)) > 1e-3);
  if (off || found.columns !== expected.columns || found.rows !== expected.rows || found.slices !== expected.slices)
    throw new Refusal(
      'PipelineRefused',
      `the result is ${found.columns} x ${found.rows} x ${found.slices} voxels where its series has ${expected.columns} x ${expected.rows} x ${expected.slices}, or lies elsewhere in the patient`,
    );
}

function deriveSlice(series: Series, k: number): DerivedObject {
  const { request, sourcePlan, storage, sopClassUID, key } = series;
  const { kind, volume, sources } = request;
  // A denoised slice has one source; a resampled one many, of which the middle speaks for what they share.
  const plane = sourcePlan.planes[kind === 'denoised' ? k : sourcePlan.planes.length >> 1];
  const source = plane === undefined ? undefined : sources[plane.instance];
  const reference = plane === undefined ? undefined : series.references[plane.instance];
  if (plane === undefined || source === undefined || reference === undefined)
    throw new Error(`slice ${k} has no source`);
  const stored = storeSlice(volume, k, storage);
  const sopInstanceUID = uidFrom<'instance'>(key, 'instance', String(k)) satisfies SOPInstanceUID;
  const seriesInstanceUID = uidFrom<'series'>(key, 'series') satisfies SeriesInstanceUID;
  const attributes = openAttributes({ pixelRepresentation: storage.signed ? 1 : 0 });
  copyAcquisition(attributes, series, source.dataSet, plane.frame);
  copyPatientAndStudy(attributes, source.dataSet);
  putBodyPart(attributes, source.dataSet);
  putEquipment(attributes, source.dataSet, request.provenance);
  put(attributes, {
    ...contentTime(source.dataSet),
    SOPClassUID: sopClassUID,
    SOPInstanceUID: sopInstanceUID,
    SeriesInstanceUID: seriesInstanceUID,
    Modality: volume.modality,
    SeriesNumber: String(request.provenance.seriesNumber),
    SeriesDescription: describeSeries(source.dataSet, request.provenance.seriesSuffix),
    InstanceNumber: String(k + 1),
    ImageType: imageType(series, source.dataSet),
    ...inherited(series, source),
    ...derivation(series, k),
    ...placeOf(series, k),
  });
  putPixelAttributes(attributes, series, source.dataSet, k, stored);
  putEmptyUnlessPresent(attributes, sopClassUID === CT_IMAGE ? CT_TYPE_2 : MR_TYPE_2);
  if (sopClassUID === MR_IMAGE) putMrSequence(attributes, source.dataSet);
  return {
    head: writePart10(attributes, sopClassUID, sopInstanceUID, stored.body.length),
    body: stored.body,
    studyInstanceUID: reference.studyInstanceUID,
    seriesInstanceUID,
    sopInstanceUID,
    sopClassUID,
  };
}

const LOSSY_DETAILS = ['LossyImageCompressionRatio', 'LossyImageCompressionMethod'];

function values(dataSet: DataSet, keywords: readonly string[]): Item {
  const known = keywords.map((keyword) => [keyword, asciiValues(dataSet, tag(keyword))] as const);
  return Object.fromEntries(known.filter(([, list]) => list.length > 0));
}

/** What was once lossy stays so (PS3.3 C.7.6.1.1.5), and text burned into one source may show in any slice made of all. */
function inherited(series: Series, source: Head): Item {
  const heads = series.request.kind === 'denoised' ? [source] : series.request.sources;
  const burned = heads.some((head) => asciiValue(head.dataSet, tag('BurnedInAnnotation')) === 'YES');
  const lossy = heads.find((head) => asciiValue(head.dataSet, tag('LossyImageCompression')) === '01')?.dataSet;
  return {
    BurnedInAnnotation: burned ? 'YES' : 'NO',
    ...(lossy === undefined ? {} : { LossyImageCompression: '01', ...values(lossy, LOSSY_DETAILS) }),
  };
}

// PS3.3 C.8.2.1, C.8.3.1: to be there, if empty.
const CT_TYPE_2 = ['KVP', 'AcquisitionNumber', 'PositionReferenceIndicator'];
const MR_TYPE_2 =
  'ScanOptions MRAcquisitionType EchoTime EchoTrainLength RepetitionTime PositionReferenceIndicator'.split(' ');

/** Scanning Sequence and Sequence Variant are type 1 of an MR Image; an Enhanced MR says Echo Pulse Sequence instead. */
function putMrSequence(attributes: Attributes, source: DataSet): void {
  if (!attributes.entries.has(tag('ScanningSequence'))) {
    const pulse = asciiValue(source, tag('EchoPulseSequence'));
    const sequence = pulse === 'SPIN' ? 'SE' : pulse === 'GRADIENT' ? 'GR' : pulse === 'BOTH' ? ['SE', 'GR'] : 'RM';
    put(attributes, { ScanningSequence: sequence });
  }
  if (!attributes.entries.has(tag('SequenceVariant'))) put(attributes, { SequenceVariant: 'NONE' });
  // Inversion Time is 2C: of inversion recovery sequences, and not to be there otherwise.
  if (!asciiValues(source, tag('ScanningSequence')).includes('IR')) drop(attributes, ['InversionTime']);
}

/**
 * What is not of the acquisition or no longer true: identity, equipment, derivation, references to other objects, the step and the
 * event that made the source, pixels, and what depends on stored values.
 */
const NOT_CARRIED = new Set(
  [
    'SpecificCharacterSet InstanceCreationDate InstanceCreationTime InstanceCreatorUID SOPClassUID SOPInstanceUID',
    'SeriesInstanceUID SeriesNumber SeriesDescription SeriesDescriptionCodeSequence InstanceNumber ImageType',
    'Manufacturer ManufacturerModelName SoftwareVersions DeviceSerialNumber StationName DeviceUID GantryID DetectorID',
    'DateOfLastCalibration TimeOfLastCalibration DateOfManufacture DateOfInstallation ContributingEquipmentSequence',
    'DerivationDescription DerivationCodeSequence SourceImageSequence ReferencedImageSequence ReferencedInstanceSequence',
    'ReferencedSeriesSequence StudiesContainingOtherReferencedInstancesSequence ReferencedPerformedProcedureStepSequence',
    'ReferencedPatientSequence ReferencedWaveformSequence SourceInstanceSequence RelatedSeriesSequence IrradiationEventUID OriginalAttributesSequence',
    'EncryptedAttributesSequence DigitalSignaturesSequence MACParametersSequence IconImageSequence',
    'PerformedProcedureStepID PerformedProcedureStepStartDate PerformedProcedureStepStartTime PerformedProcedureStepEndDate',
    'PerformedProcedureStepEndTime PerformedProcedureStepDescription PerformedProtocolCodeSequence',
    'SamplesPerPixel PhotometricInterpretation Rows Columns NumberOfFrames BitsAllocated BitsStored HighBit',
    'PixelRepresentation PlanarConfiguration PixelAspectRatio PixelSpacing SmallestImagePixelValue LargestImagePixelValue',
    'SmallestPixelValueInSeries LargestPixelValueInSeries PixelPaddingValue PixelPaddingRangeLimit RescaleIntercept',
    'RescaleSlope RealWorldValueMappingSequence ImagePositionPatient ImageOrientationPatient ImagePosition',
    'ImageOrientation SliceThickness SpacingBetweenSlices SliceLocation Location FrameOfReferenceUID',
    'PositionReferenceIndicator PatientOrientation ContentDate ContentTime FrameIncrementPointer',
    'SharedFunctionalGroupsSequence PerFrameFunctionalGroupsSequence DimensionOrganizationSequence DimensionIndexSequence',
    'PixelPresentation VolumetricProperties VolumeBasedCalculationTechnique AcquisitionContextSequence DataSetTrailingPadding',
  ]
    .join(' ')
    .split(' ')
    .map(tag),
);

/** Of the plane or the table in the source's own frame of reference: no longer true of a resampled slice. */
const NOT_RESAMPLED = new Set(
  [
    'GantryDetectorTilt TableHeight TablePosition ReconstructionDiameter ReconstructionTargetCenterPatient',
    'DataCollectionCenterPatient SpatialResolution AcquisitionMatrix InPlanePhaseEncodingDirection PatientPosition',
    'TemporalPositionIdentifier TriggerTime SynchronizationFrameOfReferenceUID WindowCenter WindowWidth',
    'WindowCenterWidthExplanation',
  ]
    .join(' ')
    .split(' ')
    .map(tag),
);

function copyAcquisition(attributes: Attributes, series: Series, source: DataSet, frame: number): void {
  const registered = series.request.kind === 'registered';
  const wanted = (element: DataElement): boolean =>
    isCarried(element.tag) &&
    !(registered && (NOT_RESAMPLED.has(element.tag) || !(series.shared.has(element.tag) || element.tag === AGE)));
  const groups = functionalGroups(source, frame);
  for (const group of groups)
    copyFrom(attributes, group, (element) => isCarried(element.tag) && !(registered && NOT_RESAMPLED.has(element.tag)));
  const echo = groups.map((group) => numberValue(group, tag('EffectiveEchoTime'))).find((time) => time !== undefined);
  if (echo !== undefined) put(attributes, { EchoTime: echo });
  copyFrom(attributes, source, wanted);
  if (registered) {
    const [fixed] = series.grid;
    if (fixed !== undefined) copyNamed(attributes, fixed.dataSet, ['PatientPosition']);
    // A window of the moving series still shows its values; the middle slice's is as good as any.
    copyNamed(attributes, source, ['WindowCenter', 'WindowWidth', 'WindowCenterWidthExplanation']);
  }
}

const AGE = 0x00101010;

/** Private, overlay and curve groups are never carried: nothing is known of what they say about new pixels. */
function isCarried(elementTag: number): boolean {
  const group = elementTag >>> 16;
  return (
    !isPrivate(elementTag) &&
    group > 0x0002 &&
    (group & 0xff00) !== 0x6000 &&
    (group & 0xff00) !== 0x5000 &&
    group < 0x7fe0 &&
    !NOT_CARRIED.has(elementTag)
  );
}

/** Functional groups that are of the frame as an image, not of how it was acquired, or that refer to other objects. */
const NOT_FLATTENED = new Set(
  [
    'FrameContentSequence PlanePositionSequence PlaneOrientationSequence PixelMeasuresSequence ReferencedImageSequence',
    'DerivationImageSequence PixelValueTransformationSequence RealWorldValueMappingSequence UnassignedSharedConvertedAttributesSequence',
    'UnassignedPerFrameConvertedAttributesSequence ConversionSourceAttributesSequence',
  ]
    .join(' ')
    .split(' ')
    .map(tag),
);

/** The items of a frame's functional groups, shared ones first, so that an Enhanced image speaks as a classic one. */
function functionalGroups(source: DataSet, frame: number): DataSet[] {
  const shared = itemsOf(source, tag('SharedFunctionalGroupsSequence'))[0];
  const own = itemsOf(source, tag('PerFrameFunctionalGroupsSequence'))[frame - 1];
  return [shared, own].flatMap((groups) =>
    groups === undefined
      ? []
      : groups.elements.flatMap((element) =>
          isPrivate(element.tag) || NOT_FLATTENED.has(element.tag) ? [] : (element.items ?? []),
        ),
  );
}

/** DERIVED\SECONDARY, the source's third value (AXIAL of a CT: PS3.3 C.8.2.1.1.1), and what was done. */
function imageType(series: Series, source: DataSet): string[] {
  const third = asciiValues(source, tag('ImageType'))[2];
  const usual = series.sopClassUID === CT_IMAGE ? 'AXIAL' : 'OTHER';
  return [
    'DERIVED',
    'SECONDARY',
    third === undefined || third === '' || third === 'VOLUME' ? usual : third,
    series.request.kind === 'denoised' ? 'DENOISED' : 'REGISTERED',
  ];
}

function derivation(series: Series, k: number): Item {
  const { request, sourcePlan, references } = series;
  const denoised = request.kind === 'denoised';
  const planes = denoised ? sourcePlan.planes.slice(k, k + 1) : sourcePlan.planes;
  const purpose = { PurposeOfReferenceCodeSequence: [codeItem(SOURCE_IMAGE)] };
  const instances = denoised ? planes : [...new Map(planes.map((plane) => [plane.instance, plane])).values()];
  const sourceItems = instances.flatMap((plane) => {
    const reference = references[plane.instance];
    if (reference === undefined) return [];
    const frame = denoised && plane.format.frames > 1 ? plane.frame : undefined;
    return [{ ...referenceItem(reference, frame), ...purpose }];
  });
  const target = denoised ? undefined : series.gridPlan.planes[k];
  const fixed = target === undefined ? undefined : series.grid[target.instance];
  return {
    DerivationDescription: derivationText(request.provenance),
    DerivationCodeSequence: [codeItem(denoised ? SMOOTHING : SPATIAL_RESAMPLING)],
    SourceImageSequence: sourceItems,
    ...(fixed === undefined || target === undefined
      ? {}
      : {
          ReferencedImageSequence: [
            referenceItem(referenceTo(fixed), target.format.frames > 1 ? target.frame : undefined),
          ],
        }),
  };
}

/** Image Plane and Frame of Reference (PS3.3 C.7.6.2, C.7.4.1), those of the grid. */
function placeOf(series: Series, k: number): Item {
  const { gridPlan, grid, request } = series;
  const { geometry } = gridPlan;
  const plane = gridPlan.planes[k];
  const head = plane === undefined ? undefined : grid[plane.instance];
  const dataSet = head?.dataSet;
  const thickness = dataSet === undefined ? undefined : numberValue(dataSet, tag('SliceThickness'));
  const position = transformPoint(indexToPatient(geometry), [0, 0, k]);
  const along = position.reduce((sum, value, axis) => sum + value * (geometry.axes[2][axis] ?? 0), 0);
  return {
    ImagePositionPatient: position.map((value) => Number(value.toFixed(6))),
    ImageOrientationPatient: [...geometry.axes[0], ...geometry.axes[1]].map((cosine) => Number(cosine.toFixed(10))),
    PixelSpacing: [geometry.spacingMm[1], geometry.spacingMm[0]],
    SliceThickness: thickness ?? geometry.spacingMm[2],
    SliceLocation: Number(along.toFixed(4)),
    ...(request.volume.modality === 'MR' ? { SpacingBetweenSlices: Number(geometry.spacingMm[2].toFixed(6)) } : {}),
    ...(geometry.frameOfReferenceUID === undefined ? {} : { FrameOfReferenceUID: geometry.frameOfReferenceUID }),
    PositionReferenceIndicator:
      (dataSet === undefined ? undefined : asciiValue(dataSet, tag('PositionReferenceIndicator'))) ?? '',
  };
}

function putPixelAttributes(
  attributes: Attributes,
  series: Series,
  source: DataSet,
  k: number,
  stored: { smallest: number; largest: number },
): void {
  const { storage, request } = series;
  const { geometry } = request.volume;
  const { slope, intercept } = storage.rescale(k);
  const rescaled =
    request.volume.modality === 'CT' ||
    slope !== 1 ||
    intercept !== 0 ||
    findElement(source, tag('RescaleSlope')) !== undefined;
  put(attributes, {
    SamplesPerPixel: 1,
    PhotometricInterpretation: asciiValue(source, tag('PhotometricInterpretation')) ?? 'MONOCHROME2',
    Rows: geometry.rows,
    Columns: geometry.columns,
    BitsAllocated: 16,
    BitsStored: 16,
    HighBit: 15,
    PixelRepresentation: storage.signed ? 1 : 0,
    SmallestImagePixelValue: stored.smallest,
    LargestImagePixelValue: stored.largest,
    ...(rescaled ? { RescaleIntercept: intercept, RescaleSlope: slope } : {}),
    ...(storage.padding(k) === undefined ? {} : { PixelPaddingValue: storage.padding(k) ?? 0 }),
  });
  if (rescaled && !attributes.entries.has(tag('RescaleType')))
    put(attributes, { RescaleType: request.volume.modality === 'CT' ? 'HU' : 'US' });
}
