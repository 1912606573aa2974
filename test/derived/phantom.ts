/** Synthetic series for tests: shapes computed from where a voxel lies in the patient, written as Part 10 objects. */
import { encodeAttributes, openAttributes, put, type Item } from '../../src/derived/attributes.ts';
import { readHead } from '../../src/dicom/part10.ts';
import { uidFrom } from '../../src/dicom/uid.ts';
import type { SeriesInstance, Vector3 } from '../../src/dicom/volume.ts';
import { openSink, sinkBytes, writeBytes, writeHeader } from '../../src/dicom/writer.ts';
import { encapsulate } from '../phantom/objects.ts';

export const CT_IMAGE = '1.2.840.10008.5.1.4.1.1.2';
export const MR_IMAGE = '1.2.840.10008.5.1.4.1.1.4';
export const ENHANCED_CT_IMAGE = '1.2.840.10008.5.1.4.1.1.2.1';
export const ENHANCED_MR_IMAGE = '1.2.840.10008.5.1.4.1.1.4.1';
const EXPLICIT_LE = '1.2.840.10008.1.2.1';

/** A Part 10 object of these attributes and pixels. */
/** Part 10 bytes; of frames, an encapsulated object. */
export function part10(
  attributes: Item,
  pixels: Buffer | readonly Buffer[] | undefined,
  transferSyntaxUID = EXPLICIT_LE,
): Buffer {
  const signed = attributes['PixelRepresentation'] === 1;
  const dataSet = openAttributes({ pixelRepresentation: signed ? 1 : 0 });
  put(dataSet, attributes);
  const meta = openAttributes();
  put(meta, {
    FileMetaInformationVersion: Buffer.from([0, 1]),
    MediaStorageSOPClassUID: attributes['SOPClassUID'] ?? CT_IMAGE,
    MediaStorageSOPInstanceUID: attributes['SOPInstanceUID'] ?? '1.2',
    TransferSyntaxUID: transferSyntaxUID,
    ImplementationClassUID: '2.25.1',
  });
  const metaBytes = encodeAttributes(meta);
  const length = openAttributes();
  length.entries.set(0x00020000, metaBytes.length);
  const sink = openSink();
  writeBytes(sink, Buffer.concat([Buffer.alloc(128), Buffer.from('DICM'), encodeAttributes(length), metaBytes]));
  writeBytes(sink, encodeAttributes(dataSet));
  if (Array.isArray(pixels)) {
    writeHeader(sink, 0x7fe00010, 'OB', 0xffffffff);
    writeBytes(sink, encapsulate(pixels, []));
  } else if (Buffer.isBuffer(pixels)) {
    writeHeader(sink, 0x7fe00010, 'OW', pixels.length + (pixels.length & 1));
    writeBytes(sink, pixels);
    if (pixels.length & 1) writeBytes(sink, Buffer.from([0]));
  }
  return Buffer.from(sinkBytes(sink));
}

/** An instance as the loader wants it, from Part 10 bytes. */
export function instanceOf(bytes: Buffer): SeriesInstance {
  const { head, bodyStart } = readHead(bytes);
  const lengthBytes = head.pixelData?.lengthBytes ?? 0;
  return { head, pixels: () => Promise.resolve(bytes.subarray(bodyStart, bodyStart + lengthBytes)) };
}

export interface PhantomOptions {
  readonly name?: string;
  readonly modality?: 'CT' | 'MR';
  readonly columns?: number;
  readonly rows?: number;
  readonly slices?: number;
  readonly spacingMm?: Vector3;
  readonly originMm?: Vector3;
  readonly row?: Vector3;
  readonly column?: Vector3;
  readonly signed?: boolean;
  /** Real value at a place in the patient. */
  readonly value?: (place: Vector3) => number;
  readonly slope?: number;
  readonly intercept?: number;
  readonly study?: string;
  readonly frameOfReference?: string;
  /** Attributes that stand over the usual ones, for slice k. */
  readonly over?: (k: number) => Item;
}

/** Part 10 files of one synthetic series, in slice order along the normal. */
export function phantomSeries(options: PhantomOptions = {}): Buffer[] {
  const { slices = 6 } = options;
  return Array.from({ length: slices }, (_, k) => {
    const { attributes, pixels } = phantomSlice(options, k);
    return part10(attributes, pixels);
  });
}

export function normalOf(row: Vector3, column: Vector3): Vector3 {
  return [
    row[1] * column[2] - row[2] * column[1],
    row[2] * column[0] - row[0] * column[2],
    row[0] * column[1] - row[1] * column[0],
  ];
}

/** An ellipsoid with an off-centre ball: no mirror image looks the same. */
export function body(place: Vector3): number {
  const [x, y, z] = place;
  if ((x / 30) ** 2 + (y / 24) ** 2 + (z / 28) ** 2 > 1) return -1000;
  if ((x - 10) ** 2 + (y - 6) ** 2 + (z - 8) ** 2 < 49) return 300;
  return 40;
}

export function phantomSlice(options: PhantomOptions, k: number): { attributes: Item; pixels: Buffer } {
  const {
    name = 'a',
    modality = 'CT',
    columns = 20,
    rows = 16,
    spacingMm = [2, 3, 4],
    originMm = [-20, -22, -12],
    row = [1, 0, 0],
    column = [0, 1, 0],
    value = body,
    slope = 1,
    intercept = modality === 'CT' ? -1024 : 0,
    signed = false,
    study = 'study',
    frameOfReference = 'frame',
  } = options;
  const normal = normalOf(row, column);
  const at = (i: number, j: number): Vector3 =>
    [0, 1, 2].map(
      (c) =>
        (originMm[c] ?? 0) +
        i * spacingMm[0] * (row[c] ?? 0) +
        j * spacingMm[1] * (column[c] ?? 0) +
        k * spacingMm[2] * (normal[c] ?? 0),
    ) as unknown as Vector3;
  const pixels = Buffer.alloc(columns * rows * 2);
  for (let j = 0; j < rows; j++)
    for (let i = 0; i < columns; i++) {
      const stored = Math.round((value(at(i, j)) - intercept) / slope);
      const offset = (j * columns + i) * 2;
      if (signed) pixels.writeInt16LE(stored, offset);
      else pixels.writeUInt16LE(Math.max(0, stored), offset);
    }
  const sopClass = modality === 'CT' ? CT_IMAGE : MR_IMAGE;
  const attributes: Item = {
    ImageType: modality === 'CT' ? ['ORIGINAL', 'PRIMARY', 'AXIAL'] : ['ORIGINAL', 'PRIMARY', 'M', 'NONE'],
    SOPClassUID: sopClass,
    SOPInstanceUID: uidFrom('instance', name, String(k)),
    StudyDate: '20200102',
    SeriesDate: '20200102',
    ContentDate: '20200102',
    AcquisitionDate: '20200102',
    StudyTime: '101112',
    ContentTime: '101113',
    AccessionNumber: 'A1',
    Modality: modality,
    Manufacturer: 'Phantom works',
    ReferringPhysicianName: '',
    SeriesDescription: `phantom ${name}`,
    PatientName: 'PSEUDONYM',
    PatientID: 'P1',
    PatientBirthDate: '',
    PatientSex: 'O',
    PatientIdentityRemoved: 'YES',
    DeidentificationMethodCodeSequence: [
      { CodeValue: '113100', CodingSchemeDesignator: 'DCM', CodeMeaning: 'Basic Application Confidentiality Profile' },
    ],
    LongitudinalTemporalInformationModified: 'MODIFIED',
    SliceThickness: spacingMm[2],
    ...(modality === 'CT'
      ? { KVP: 120, BodyPartExamined: 'CHEST', ConvolutionKernel: 'B30f' }
      : {
          ScanningSequence: 'GR',
          SequenceVariant: 'NONE',
          ScanOptions: '',
          MRAcquisitionType: '3D',
          RepetitionTime: 2000,
          EchoTime: 3,
          EchoTrainLength: 1,
          SpacingBetweenSlices: spacingMm[2],
        }),
    PatientPosition: 'HFS',
    StudyInstanceUID: uidFrom('study', study),
    SeriesInstanceUID: uidFrom('series', name),
    StudyID: '1',
    SeriesNumber: '3',
    AcquisitionNumber: '1',
    InstanceNumber: String(k + 1),
    ImagePositionPatient: [...at(0, 0)],
    ImageOrientationPatient: [...row, ...column],
    FrameOfReferenceUID: uidFrom('frame of reference', frameOfReference),
    PositionReferenceIndicator: '',
    SamplesPerPixel: 1,
    PhotometricInterpretation: 'MONOCHROME2',
    Rows: rows,
    Columns: columns,
    PixelSpacing: [spacingMm[1], spacingMm[0]],
    BitsAllocated: 16,
    BitsStored: 16,
    HighBit: 15,
    PixelRepresentation: signed ? 1 : 0,
    WindowCenter: 40,
    WindowWidth: 400,
    ...(modality === 'CT' || slope !== 1
      ? { RescaleIntercept: intercept, RescaleSlope: slope, RescaleType: modality === 'CT' ? 'HU' : 'US' }
      : {}),
    ...options.over?.(k),
  };
  return { attributes, pixels };
}

/** The same phantom as one Enhanced CT or MR object, its frames in the given order. */
export function phantomMultiFrame(
  options: PhantomOptions,
  order: readonly number[],
  perFrame: (k: number) => Item = () => ({}),
  over: Item = {},
): Buffer {
  const slices = order.map((k) => ({ k, ...phantomSlice(options, k) }));
  const [first] = slices;
  if (first === undefined) throw new Error('a multi-frame object needs a frame');
  const { ImagePositionPatient, ImageOrientationPatient, PixelSpacing, SliceThickness, ...common } = first.attributes;
  const { RescaleIntercept = 0, RescaleSlope = 1, WindowCenter, WindowWidth, InstanceNumber, ...top } = common;
  void [ImagePositionPatient, WindowCenter, WindowWidth, InstanceNumber];
  const attributes: Item = {
    ...top,
    SOPClassUID: options.modality === 'MR' ? ENHANCED_MR_IMAGE : ENHANCED_CT_IMAGE,
    NumberOfFrames: String(slices.length),
    SharedFunctionalGroupsSequence: [
      {
        PlaneOrientationSequence: [{ ImageOrientationPatient: ImageOrientationPatient ?? [] }],
        PixelMeasuresSequence: [{ PixelSpacing: PixelSpacing ?? [], SliceThickness: SliceThickness ?? 1 }],
        PixelValueTransformationSequence: [{ RescaleIntercept, RescaleSlope, RescaleType: 'HU' }],
      },
    ],
    PerFrameFunctionalGroupsSequence: slices.map(({ k, attributes: slice }) => ({
      PlanePositionSequence: [{ ImagePositionPatient: slice['ImagePositionPatient'] ?? [] }],
      FrameContentSequence: [{ StackID: '1', InStackPositionNumber: k + 1 }],
      ...perFrame(k),
    })),
    ...over,
  };
  return part10(attributes, Buffer.concat(slices.map((slice) => slice.pixels)));
}
