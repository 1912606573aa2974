/**
 * Derived image series: one CT, MR or PET image (PS3.3 A.3, A.4, A.21) for each slice of a corrected or resampled volume. What the sources say
 * of patient, study and acquisition is kept; identity, derivation, equipment, geometry and pixels are ours.
 */
import { asciiValue, asciiValues, findElement, numberValue, type DataSet } from '../dicom/data-set.ts';
import { tag } from '../dicom/dictionary.ts';
import type { Head } from '../dicom/object.ts';
import { uidFrom, type SeriesInstanceUID, type SOPInstanceUID } from '../dicom/uid.ts';
import { indexToPatient, transformPoint } from '../dicom/volume.ts';
import { copyAcquisition, putPet, putRequired, sameInAll, type Resampling } from './acquisition.ts';
import { copyNamed, drop, openAttributes, put, type Attributes, type Item } from './attributes.ts';
import {
  codeItem,
  contentTime,
  copyPatientAndStudy,
  derivationText,
  describeSeries,
  putBodyPart,
  putEquipment,
  SOURCE_IMAGE,
  type DerivedObject,
} from './provenance.ts';
import { deriveEnhanced } from './enhanced-image.ts';
import { isEnhanced } from './enhanced-description.ts';
import { referenceItem, referenceTo } from './references.ts';
import {
  derivationCode,
  IMAGE_TYPES,
  keepsSlices,
  openSeries,
  type ImageModality,
  type ImageSeriesRequest,
  type ResultSlice,
  type Series,
} from './result-slices.ts';
import { inheritedLoss, inheritedText } from './inherited.ts';
import { writePart10 } from './part10.ts';
import { storeSlice } from './stored-values.ts';

export type { ImageSeriesRequest } from './result-slices.ts';

const IMAGE_CLASSES: Readonly<Record<ImageModality, string>> = {
  CT: '1.2.840.10008.5.1.4.1.1.2',
  MR: '1.2.840.10008.5.1.4.1.1.4',
  PT: '1.2.840.10008.5.1.4.1.1.128',
};

/**
 * The images, slice by slice in the order of the volumes; one multi-frame image for each source where the sources are such. The same
 * request gives the same UIDs.
 * @throws Refusal PipelineRefused for another modality than CT, MR and PT, other geometry than the series it stands for, or voxels that are
 * no numbers
 */
export function* deriveImageSeries(request: ImageSeriesRequest): Generator<DerivedObject> {
  const series = openSeries(request);
  if (request.sources.every(isEnhanced)) {
    yield* deriveEnhanced(series);
    return;
  }
  const classic = {
    ...series,
    resampling: keepsSlices(request.kind) ? undefined : resamplingOf(request.sources, series.grid),
  };
  for (let n = 0; n < series.slices.length; n++) yield deriveSlice(classic, n);
}

interface ClassicSeries extends Series {
  readonly resampling: Resampling | undefined;
}

function resamplingOf(sources: readonly Head[], grid: readonly Head[]): Resampling | undefined {
  const [first, ...others] = sources.map((head) => head.dataSet);
  const [fixed] = grid;
  if (first === undefined || fixed === undefined) return undefined;
  const shared = first.elements.filter((element) => sameInAll(element, first, others));
  return { fixed: fixed.dataSet, shared: new Set(shared.map((element) => element.tag)) };
}

function deriveSlice(series: ClassicSeries, n: number): DerivedObject {
  const { request, storage, modality, key } = series;
  const slice = series.slices[n];
  const source = slice === undefined ? undefined : request.sources[slice.plane.instance];
  const reference = slice === undefined ? undefined : series.references[slice.plane.instance];
  if (slice === undefined || source === undefined || reference === undefined)
    throw new Error(`slice ${n} has no source`);
  const sopClassUID = IMAGE_CLASSES[modality];
  const stored = storeSlice(slice.values, n, storage);
  const sopInstanceUID = uidFrom<'instance'>(key, 'instance', String(n)) satisfies SOPInstanceUID;
  const seriesInstanceUID = uidFrom<'series'>(key, 'series') satisfies SeriesInstanceUID;
  const attributes = openAttributes({ pixelRepresentation: storage.signed ? 1 : 0 });
  copyAcquisition(attributes, source.dataSet, slice.plane.frame, series.resampling);
  // A resampled volume is still the time point, or the weighting, that it was among the others of its series.
  if (series.plans.length > 1) copyNamed(attributes, source.dataSet, OF_THE_PART);
  copyPatientAndStudy(attributes, source.dataSet);
  putBodyPart(attributes, source.dataSet);
  putEquipment(attributes, source.dataSet, request.provenance);
  put(attributes, {
    ...contentTime(source.dataSet),
    SOPClassUID: sopClassUID,
    SOPInstanceUID: sopInstanceUID,
    SeriesInstanceUID: seriesInstanceUID,
    Modality: modality,
    SeriesNumber: String(request.provenance.seriesNumber),
    SeriesDescription: describeSeries(source.dataSet, request.provenance.seriesSuffix),
    InstanceNumber: String(n + 1),
    ImageType: imageType(series, source.dataSet),
    ...inherited(series, source),
    ...derivation(series, slice),
    ...placeOf(series, slice),
  });
  putPixelAttributes(attributes, series, source.dataSet, n, stored);
  if (series.differenceWidth !== undefined) putDifferenceWindow(attributes, series.differenceWidth);
  if (modality === 'PT') putPet(attributes, source.dataSet, { index: n + 1, slices: slice.geometry.slices });
  else putRequired(attributes, source.dataSet, modality);
  return {
    head: writePart10(attributes, sopClassUID, sopInstanceUID, stored.body.length),
    body: stored.body,
    studyInstanceUID: reference.studyInstanceUID,
    seriesInstanceUID,
    sopInstanceUID,
    sopClassUID,
  };
}

const OF_THE_PART = [
  'TemporalPositionIdentifier',
  'NumberOfTemporalPositions',
  'TemporalResolution',
  'TriggerTime',
  'AcquisitionNumber',
  'AcquisitionTime',
  'EchoNumbers',
  'EchoTime',
  'DiffusionBValue',
];

function inherited(series: Series, source: Head): Item {
  const heads = keepsSlices(series.request.kind) ? [source] : series.request.sources;
  return { BurnedInAnnotation: inheritedText(heads), ...inheritedLoss(heads) };
}

/** DERIVED\SECONDARY (of PET PRIMARY: PS3.3 C.8.9.4.1.1), the source's third value (AXIAL of a CT: C.8.2.1.1.1), and what was done. */
function imageType(series: Series, source: DataSet): string[] {
  const third = asciiValues(source, tag('ImageType'))[2];
  const usual = series.modality === 'CT' ? 'AXIAL' : 'OTHER';
  return [
    'DERIVED',
    series.modality === 'PT' ? 'PRIMARY' : 'SECONDARY',
    third === undefined || third === '' || third === 'VOLUME' ? usual : third,
    series.request.done?.imageType ?? IMAGE_TYPES[series.request.kind],
  ];
}

function derivation(series: Series, { planes, target }: ResultSlice): Item {
  const { request, references } = series;
  const sameSlices = keepsSlices(request.kind);
  const code = derivationCode(request);
  const purpose = { PurposeOfReferenceCodeSequence: [codeItem(SOURCE_IMAGE)] };
  const instances = [...new Map(planes.map((plane) => [plane.instance, plane])).values()];
  const sourceItems = instances.flatMap((plane) => {
    const reference = references[plane.instance];
    if (reference === undefined) return [];
    const frame = sameSlices && plane.format.frames > 1 ? plane.frame : undefined;
    return [{ ...referenceItem(reference, frame), ...purpose }];
  });
  const fixed = sameSlices ? undefined : series.grid[target.instance];
  return {
    DerivationDescription: derivationText(request.provenance),
    ...(code === undefined ? {} : { DerivationCodeSequence: [codeItem(code)] }),
    SourceImageSequence: sourceItems,
    ...(fixed === undefined
      ? {}
      : {
          ReferencedImageSequence: [
            referenceItem(referenceTo(fixed), target.format.frames > 1 ? target.frame : undefined),
          ],
        }),
  };
}

/** Image Plane and Frame of Reference (PS3.3 C.7.6.2, C.7.4.1), those of the grid. */
function placeOf({ grid, modality }: Series, { geometry, k, target }: ResultSlice): Item {
  const dataSet = grid[target.instance]?.dataSet;
  const thickness = dataSet === undefined ? undefined : numberValue(dataSet, tag('SliceThickness'));
  const position = transformPoint(indexToPatient(geometry), [0, 0, k]);
  const along = position.reduce((sum, value, axis) => sum + value * (geometry.axes[2][axis] ?? 0), 0);
  return {
    ImagePositionPatient: position.map((value) => Number(value.toFixed(6))),
    ImageOrientationPatient: [...geometry.axes[0], ...geometry.axes[1]].map((cosine) => Number(cosine.toFixed(10))),
    PixelSpacing: [geometry.spacingMm[1], geometry.spacingMm[0]],
    SliceThickness: thickness ?? geometry.spacingMm[2],
    SliceLocation: Number(along.toFixed(4)),
    ...(modality === 'MR' ? { SpacingBetweenSlices: Number(geometry.spacingMm[2].toFixed(6)) } : {}),
    ...(geometry.frameOfReferenceUID === undefined ? {} : { FrameOfReferenceUID: geometry.frameOfReferenceUID }),
    PositionReferenceIndicator:
      (dataSet === undefined ? undefined : asciiValue(dataSet, tag('PositionReferenceIndicator'))) ?? '',
  };
}

function putPixelAttributes(
  attributes: Attributes,
  series: Series,
  source: DataSet,
  n: number,
  stored: { smallest: number; largest: number },
): void {
  const { storage, request } = series;
  const { geometry } = request.volume;
  const { slope, intercept } = storage.rescale(n);
  const rescaled =
    series.modality !== 'MR' ||
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
    ...paddingAttributes(storage.padding(n)),
  });
  if (rescaled && series.modality !== 'PT' && !attributes.entries.has(tag('RescaleType')))
    put(attributes, { RescaleType: series.modality === 'CT' ? 'HU' : 'US' });
}

/** A difference is looked at around 0; what shows the source's values shows nothing of it, and 0 stands where there is no data. */
function putDifferenceWindow(attributes: Attributes, width: number): void {
  drop(attributes, ['WindowCenterWidthExplanation', 'PixelPaddingValue', 'PixelPaddingRangeLimit']);
  put(attributes, { WindowCenter: 0, WindowWidth: width });
}

/** Pixel Padding Value, and its Range Limit where it is a range (PS3.3 C.7.5.1.1.2). */
function paddingAttributes(padding: readonly [number, number] | undefined): Item {
  if (padding === undefined) return {};
  const [low, high] = padding;
  return { PixelPaddingValue: low, ...(high === low ? {} : { PixelPaddingRangeLimit: high }) };
}
