/**
 * A derived image for one image without a place in the patient (ultrasound, computed and digital radiography: PS3.3 A.6, A.7, A.2,
 * A.26): the source's class, size, bits, rescale and what it says of its acquisition and its regions; identity, derivation,
 * equipment and pixels are ours.
 */
import { asciiValue, asciiValues, findElement, itemsOf, numberValue, type DataSet } from '../dicom/data-set.ts';
import { tag } from '../dicom/dictionary.ts';
import type { Head } from '../dicom/object.ts';
import { Refusal } from '../dicom/refusal.ts';
import { uidFrom } from '../dicom/uid.ts';
import type { Volume } from '../dicom/volume.ts';
import { copyAcquisition } from './acquisition.ts';
import { copyNamed, drop, openAttributes, put } from './attributes.ts';
import { inheritedLoss, inheritedText } from './inherited.ts';
import { writePart10 } from './part10.ts';
import {
  codeItem,
  contentTime,
  copyPatientAndStudy,
  derivationText,
  describeSeries,
  putBodyPart,
  putEquipment,
  runKey,
  SOURCE_IMAGE,
  type Code,
  type DerivedObject,
  type Provenance,
} from './provenance.ts';
import { referenceItem, referenceTo } from './references.ts';

export interface ProjectionRequest {
  readonly source: Head;
  /** The frames where slices would be. */
  readonly volume: Volume;
  readonly provenance: Provenance;
  readonly imageType: string;
  readonly code: Code | undefined;
  /** Place of the image in the derived series, from 1. */
  readonly number: number;
  /** Heads of the whole source series: the derived series is one for all of them. */
  readonly series: readonly Head[];
}

/** US Image, US Multi-frame, CR, Digital X-Ray for presentation and for processing. */
const WRITTEN = new Set(
  '5.1.4.1.1.6.1 5.1.4.1.1.3.1 5.1.4.1.1.1 5.1.4.1.1.1.1 5.1.4.1.1.1.1.1'
    .split(' ')
    .map((end) => `1.2.840.10008.${end}`),
);

/** What the general rules leave behind, but what stays true when only pixel values change in place. */
const STAYS =
  'NumberOfFrames FrameIncrementPointer PixelSpacing PixelAspectRatio PatientOrientation PixelPaddingValue PixelPaddingRangeLimit RescaleIntercept RescaleSlope RescaleType AcquisitionContextSequence'.split(
    ' ',
  );

/** @throws Refusal PipelineRefused for other classes and for pixels that are no numbers */
export function deriveProjection(request: ProjectionRequest): DerivedObject {
  const { source, volume, provenance, series } = request;
  const { dataSet } = source;
  const reference = referenceTo(source);
  const { sopClassUID } = reference;
  if (!WRITTEN.has(sopClassUID))
    throw new Refusal(
      'PipelineRefused',
      'derived images are written for ultrasound, CR and DX images; this is another SOP class',
    );
  const key = runKey('projection', series.map(referenceTo), provenance);
  const seriesInstanceUID = uidFrom<'series'>(key, 'series');
  const sopInstanceUID = uidFrom<'instance'>(key, 'instance', reference.sopInstanceUID);
  const bits = bitsOf(source);
  const body = storedPixels(source, volume, bits);
  const attributes = openAttributes({ pixelRepresentation: bits.signed ? 1 : 0 });
  copyAcquisition(attributes, dataSet, 1, undefined);
  copyPatientAndStudy(attributes, dataSet);
  putBodyPart(attributes, dataSet);
  putEquipment(attributes, dataSet, provenance);
  copyNamed(attributes, dataSet, STAYS);
  const third = asciiValues(dataSet, tag('ImageType')).slice(2);
  put(attributes, {
    ...contentTime(dataSet),
    SOPClassUID: sopClassUID,
    SOPInstanceUID: sopInstanceUID,
    SeriesInstanceUID: seriesInstanceUID,
    Modality: volume.modality,
    SeriesNumber: String(provenance.seriesNumber),
    SeriesDescription: describeSeries(dataSet, provenance.seriesSuffix),
    InstanceNumber: String(request.number),
    ImageType: ['DERIVED', 'SECONDARY', third[0] ?? '', ...third.slice(1), request.imageType],
    DerivationDescription: derivationText(provenance),
    ...(request.code === undefined ? {} : { DerivationCodeSequence: [codeItem(request.code)] }),
    SourceImageSequence: [{ ...referenceItem(reference), PurposeOfReferenceCodeSequence: [codeItem(SOURCE_IMAGE)] }],
    BurnedInAnnotation: inheritedText([source]),
    // Said where the source says it (DX: type 1).
    ...(findElement(dataSet, tag('LossyImageCompression')) === undefined ? {} : { LossyImageCompression: '00' }),
    ...inheritedLoss([source]),
    SamplesPerPixel: 1,
    PhotometricInterpretation: asciiValue(dataSet, tag('PhotometricInterpretation')) ?? 'MONOCHROME2',
    Rows: volume.geometry.rows,
    Columns: volume.geometry.columns,
    BitsAllocated: bits.allocated,
    BitsStored: bits.stored,
    HighBit: bits.stored - 1,
    PixelRepresentation: bits.signed ? 1 : 0,
  });
  if (!areWhole(itemsOf(dataSet, tag('SequenceOfUltrasoundRegions'))))
    drop(attributes, ['SequenceOfUltrasoundRegions']);
  // Type 2C where no Image Orientation is (PS3.3 C.7.6.1.1.1).
  if (findElement(dataSet, tag('PatientOrientation')) === undefined) put(attributes, { PatientOrientation: '' });
  return {
    head: writePart10(attributes, sopClassUID, sopInstanceUID, body.length),
    body,
    studyInstanceUID: reference.studyInstanceUID,
    seriesInstanceUID,
    sopInstanceUID,
    sopClassUID,
  };
}

/** Regions without units or scale (PS3.3 C.8.5.5: type 1) measure nothing. */
function areWhole(regions: readonly DataSet[]): boolean {
  const units = ['PhysicalUnitsXDirection', 'PhysicalUnitsYDirection', 'PhysicalDeltaX', 'PhysicalDeltaY'].map(tag);
  return regions.every((region) => units.every((key) => numberValue(region, key) !== undefined));
}

interface Bits {
  readonly allocated: 8 | 16;
  readonly stored: number;
  readonly signed: boolean;
}

function bitsOf({ dataSet }: Head): Bits {
  const allocated = numberValue(dataSet, tag('BitsAllocated')) ?? 16;
  if (allocated !== 8 && allocated !== 16)
    throw new Refusal('PipelineRefused', `Bits Allocated (0028,0100) is ${allocated}; 8 or 16 are written`);
  return {
    allocated,
    stored: numberValue(dataSet, tag('BitsStored')) ?? allocated,
    signed: numberValue(dataSet, tag('PixelRepresentation')) === 1,
  };
}

/** Back through the source's own rescale, within its bits. */
function storedPixels({ dataSet }: Head, { voxels }: Volume, { allocated, stored, signed }: Bits): Buffer {
  const slope = numberValue(dataSet, tag('RescaleSlope')) ?? 1;
  const intercept = numberValue(dataSet, tag('RescaleIntercept')) ?? 0;
  const least = signed ? -(2 ** (stored - 1)) : 0;
  const most = signed ? 2 ** (stored - 1) - 1 : 2 ** stored - 1;
  const bytes = (voxels.length * allocated) / 8;
  const body = Buffer.alloc(bytes + (bytes % 2));
  for (let i = 0; i < voxels.length; i++) {
    const exact = Math.round((voxels[i]! - intercept) / slope);
    if (!Number.isFinite(exact))
      throw new Refusal('PipelineRefused', 'the result has pixels that are no finite numbers');
    const value = Math.min(most, Math.max(least, exact));
    if (allocated === 8) body.writeUInt8(value & 0xff, i);
    else body.writeUInt16LE(value & 0xffff, 2 * i);
  }
  return body;
}
