/**
 * What a derived CT, MR or PET image keeps of its source's acquisition (PS3.3 A.3, A.4, A.21), from a classic image or from the functional groups
 * of an Enhanced one.
 */
import {
  asciiValue,
  asciiValues,
  findElement,
  itemsOf,
  numberValue,
  valueBytes,
  type DataElement,
  type DataSet,
} from '../dicom/data-set.ts';
import { isPrivate, tag } from '../dicom/dictionary.ts';
import { copyFrom, copyNamed, drop, hasValue, put, putEmptyUnlessPresent, type Attributes } from './attributes.ts';

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

/** Where a resampled slice is put, and what can be said of the many sources that it was made from. */
export interface Resampling {
  readonly fixed: DataSet;
  /** Tags of the attributes that all sources share. */
  readonly shared: ReadonlySet<number>;
}

/**
 * Copies what a source says of how it was acquired; `frame` counts from 1. Of a resampled slice, only what all its sources share and
 * what is still true in another plane.
 */
export function copyAcquisition(
  attributes: Attributes,
  source: DataSet,
  frame: number,
  resampling: Resampling | undefined,
): void {
  const holds = ({ tag: key }: DataElement): boolean =>
    isCarried(key) && !(resampling !== undefined && NOT_RESAMPLED.has(key));
  const groups = functionalGroups(source, frame);
  for (const group of groups) copyFrom(attributes, group, holds);
  const echo = groups.map((group) => numberValue(group, tag('EffectiveEchoTime'))).find((time) => time !== undefined);
  if (echo !== undefined) put(attributes, { EchoTime: echo });
  // What an Enhanced MR calls COLUMN is COL in an MR Image (MR FOV/Geometry Macro and MR Image Module of PS3.3).
  const phase = groups.map((group) => asciiValue(group, tag('InPlanePhaseEncodingDirection'))).find(Boolean);
  if (phase === 'COLUMN' && resampling === undefined) put(attributes, { InPlanePhaseEncodingDirection: 'COL' });
  copyFrom(
    attributes,
    source,
    (element) => holds(element) && (resampling === undefined || resampling.shared.has(element.tag)),
  );
  if (resampling === undefined) return;
  copyNamed(attributes, resampling.fixed, ['PatientPosition']);
  // A window of the moving series still shows its values; the middle slice's is as good as any.
  copyNamed(attributes, source, ['WindowCenter', 'WindowWidth', 'WindowCenterWidthExplanation']);
}

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

/** Top-level attributes of a multi-frame image that speak of its acquisition; its functional groups are copied by themselves. */
export function copyEnhancedAcquisition(attributes: Attributes, source: DataSet): void {
  copyFrom(attributes, source, ({ tag: key }) => isCarried(key));
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

/** What a CT or MR image must say of its acquisition (PS3.3 C.8.2.1, C.8.3.1), empty where nothing is known. */
export function putRequired(attributes: Attributes, source: DataSet, modality: 'CT' | 'MR'): void {
  putEmptyUnlessPresent(attributes, modality === 'CT' ? CT_TYPE_2 : MR_TYPE_2);
  // Type 2C: of these classes, unless the Patient Orientation Code Sequence says it (PS3.3 C.7.3.1).
  if (!hasValue(attributes, 'PatientOrientationCodeSequence')) putEmptyUnlessPresent(attributes, ['PatientPosition']);
  if (modality === 'MR') putMrSequence(attributes, source);
}

const CT_TYPE_2 = ['KVP', 'AcquisitionNumber', 'PositionReferenceIndicator'];
const MR_TYPE_2 =
  'ScanOptions MRAcquisitionType EchoTime EchoTrainLength RepetitionTime PositionReferenceIndicator'.split(' ');

/**
 * What a PET image must say (PS3.3 C.8.9.1, C.8.9.4, C.8.4.6): its number among the slices, and of a resampled one the times and the decay of
 * the slice that speaks for its volume.
 */
export function putPet(
  attributes: Attributes,
  source: DataSet,
  { index, slices }: { readonly index: number; readonly slices: number },
): void {
  copyNamed(
    attributes,
    source,
    PET_OF_THE_SLICE.filter((keyword) => !hasValue(attributes, keyword)),
  );
  put(attributes, { ImageIndex: index, NumberOfSlices: slices });
  putEmptyUnlessPresent(attributes, PET_TYPE_2);
  // Not beside the Patient Orientation Code Sequence (PS3.3 C.7.3.1).
  drop(attributes, ['PatientPosition']);
}

const PET_OF_THE_SLICE =
  'SeriesDate SeriesTime AcquisitionDate AcquisitionTime FrameReferenceTime ActualFrameDuration DecayFactor DoseCalibrationFactor'.split(
    ' ',
  );
const PET_TYPE_2 =
  'CorrectedImage CollimatorType AcquisitionDate AcquisitionTime RadiopharmaceuticalInformationSequence PatientOrientationCodeSequence PatientGantryRelationshipCodeSequence PositionReferenceIndicator'.split(
    ' ',
  );

/** Scanning Sequence and Sequence Variant are type 1 of an MR Image; an Enhanced MR says Echo Pulse Sequence instead. */
function putMrSequence(attributes: Attributes, source: DataSet): void {
  if (!hasValue(attributes, 'ScanningSequence')) {
    const pulse = asciiValue(source, tag('EchoPulseSequence'));
    const sequence = pulse === 'SPIN' ? 'SE' : pulse === 'GRADIENT' ? 'GR' : pulse === 'BOTH' ? ['SE', 'GR'] : 'RM';
    put(attributes, { ScanningSequence: sequence });
  }
  if (!hasValue(attributes, 'SequenceVariant')) put(attributes, { SequenceVariant: 'NONE' });
  // Inversion Time is 2C: of inversion recovery sequences, and not to be there otherwise.
  if (!asciiValues(source, tag('ScanningSequence')).includes('IR')) drop(attributes, ['InversionTime']);
  // Trigger Time is 2C: of images that the heart triggered. Some devices write 0 where nothing did.
  const gated = asciiValues(source, tag('ScanOptions')).some((option) => option !== '');
  if (!gated && (numberValue(source, tag('TriggerTime')) ?? 0) === 0) drop(attributes, ['TriggerTime']);
}

/** True when the element stands in every data set with the very same bytes. */
export function sameInAll(element: DataElement, first: DataSet, others: readonly DataSet[]): boolean {
  const value = valueBytes(first, element);
  return others.every((other) => {
    const twin = findElement(other, element.tag);
    return twin !== undefined && twin.vr === element.vr && valueBytes(other, twin).equals(value);
  });
}
