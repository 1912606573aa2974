/**
 * Derived image series: one CT or MR image (PS3.3 A.3, A.4) for each slice of a corrected or resampled volume. What the sources say
 * of patient, study and acquisition is kept; identity, derivation, equipment, geometry and pixels are ours.
 */
import { asciiValue, asciiValues, findElement, numberValue, type DataSet } from '../dicom/data-set.ts';
import { tag } from '../dicom/dictionary.ts';
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
import { copyAcquisition, putRequired, sameInAll, type Resampling } from './acquisition.ts';
import { drop, openAttributes, put, type Attributes, type Item } from './attributes.ts';
import {
  codeItem,
  contentTime,
  copyPatientAndStudy,
  derivationText,
  describeSeries,
  putBodyPart,
  putEquipment,
  runKey,
  SMOOTHING,
  SOURCE_IMAGE,
  SPATIAL_RESAMPLING,
  SUBTRACTION,
  type Code,
  type DerivedObject,
  type Provenance,
} from './provenance.ts';
import { referenceItem, referenceTo, type Reference } from './references.ts';
import { writePart10 } from './part10.ts';
import { chooseStorage, storeSlice, type Storage } from './stored-values.ts';

export interface ImageSeriesRequest {
  /**
   * denoised, corrected: same grid and slices as the source. registered: the source's content on the grid of `reference`. residual,
   * subtracted: what differs between such a result and its source, or the reference.
   */
  readonly kind: 'denoised' | 'corrected' | 'residual' | 'registered' | 'subtracted';
  /** corrected: the value that Image Type gets, and the code of the derivation where the standard has one. */
  readonly done?: { readonly imageType: string; readonly code: Code | undefined };
  /** The heads of the series whose pixels were changed. */
  readonly sources: readonly Head[];
  /** The heads of the fixed series; needed for `registered` and `subtracted`. */
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
  readonly resampling: Resampling | undefined;
  /** Of the window of a series of differences. */
  readonly differenceWidth: number | undefined;
}

function openSeries(request: ImageSeriesRequest): Series {
  const { kind, sources, reference, volume, provenance } = request;
  const moved = !keepsSlices(kind);
  if (moved && reference === undefined) throw new Error('a registered series needs the heads of its fixed series');
  const sourcePlan = planVolume(sources);
  const grid = moved ? (reference ?? []) : sources;
  const gridPlan = moved ? planVolume(grid) : sourcePlan;
  const sopClassUID = volume.modality === 'CT' ? CT_IMAGE : volume.modality === 'MR' ? MR_IMAGE : undefined;
  if (sopClassUID === undefined || sourcePlan.modality !== volume.modality)
    throw new Refusal('PipelineRefused', 'derived images are written for CT and MR sources only');
  refuseOtherGrid(volume.geometry, gridPlan.geometry);
  const references = sources.map(referenceTo);
  const everything = [...references, ...(moved ? grid.map(referenceTo) : [])];
  return {
    request,
    grid,
    gridPlan,
    sourcePlan,
    references,
    sopClassUID,
    key: runKey(kind, everything, provenance),
    storage: chooseStorage(volume, sourcePlan, request.padding, !moved),
    differenceWidth: isDifference(kind) ? differenceWidth(volume) : undefined,
    resampling: moved ? resamplingOf(sources, grid) : undefined,
  };
}

/** True when slice k of the result is made of slice k of the source alone. */
function keepsSlices(kind: ImageSeriesRequest['kind']): boolean {
  return kind === 'denoised' || kind === 'corrected' || kind === 'residual';
}

function isDifference(kind: ImageSeriesRequest['kind']): boolean {
  return kind === 'residual' || kind === 'subtracted';
}

function resamplingOf(sources: readonly Head[], grid: readonly Head[]): Resampling | undefined {
  const [first, ...others] = sources.map((head) => head.dataSet);
  const [fixed] = grid;
  if (first === undefined || fixed === undefined) return undefined;
  const shared = first.elements.filter((element) => sameInAll(element, first, others));
  return { fixed: fixed.dataSet, shared: new Set(shared.map((element) => element.tag)) };
}

/** @throws Refusal PipelineRefused unless the two are one grid */
export function refuseOtherGrid(found: VolumeGeometry, expected: VolumeGeometry): void {
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
  // A corrected slice has one source; a resampled one many, of which the middle speaks for what they share.
  const plane = sourcePlan.planes[keepsSlices(kind) ? k : sourcePlan.planes.length >> 1];
  const source = plane === undefined ? undefined : sources[plane.instance];
  const reference = plane === undefined ? undefined : series.references[plane.instance];
  if (plane === undefined || source === undefined || reference === undefined)
    throw new Error(`slice ${k} has no source`);
  const stored = storeSlice(volume, k, storage);
  const sopInstanceUID = uidFrom<'instance'>(key, 'instance', String(k)) satisfies SOPInstanceUID;
  const seriesInstanceUID = uidFrom<'series'>(key, 'series') satisfies SeriesInstanceUID;
  const attributes = openAttributes({ pixelRepresentation: storage.signed ? 1 : 0 });
  copyAcquisition(attributes, source.dataSet, plane.frame, series.resampling);
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
  if (series.differenceWidth !== undefined) putDifferenceWindow(attributes, series.differenceWidth);
  putRequired(attributes, source.dataSet, sopClassUID === CT_IMAGE ? 'CT' : 'MR');
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
  const heads = keepsSlices(series.request.kind) ? [source] : series.request.sources;
  const burned = heads.some((head) => asciiValue(head.dataSet, tag('BurnedInAnnotation')) === 'YES');
  const lossy = heads.find((head) => asciiValue(head.dataSet, tag('LossyImageCompression')) === '01')?.dataSet;
  return {
    BurnedInAnnotation: burned ? 'YES' : 'NO',
    ...(lossy === undefined ? {} : { LossyImageCompression: '01', ...values(lossy, LOSSY_DETAILS) }),
  };
}

const IMAGE_TYPES = {
  denoised: 'DENOISED',
  corrected: 'CORRECTED',
  registered: 'REGISTERED',
  residual: 'RESIDUAL',
  subtracted: 'SUBTRACTION',
} as const satisfies Record<ImageSeriesRequest['kind'], string>;

const DERIVATIONS = {
  denoised: SMOOTHING,
  corrected: SMOOTHING,
  registered: SPATIAL_RESAMPLING,
  residual: SUBTRACTION,
  subtracted: SUBTRACTION,
} as const satisfies Record<ImageSeriesRequest['kind'], Code>;

/** DERIVED\SECONDARY, the source's third value (AXIAL of a CT: PS3.3 C.8.2.1.1.1), and what was done. */
function imageType(series: Series, source: DataSet): string[] {
  const third = asciiValues(source, tag('ImageType'))[2];
  const usual = series.sopClassUID === CT_IMAGE ? 'AXIAL' : 'OTHER';
  return [
    'DERIVED',
    'SECONDARY',
    third === undefined || third === '' || third === 'VOLUME' ? usual : third,
    series.request.done?.imageType ?? IMAGE_TYPES[series.request.kind],
  ];
}

function derivation(series: Series, k: number): Item {
  const { request, sourcePlan, references } = series;
  const sameSlices = keepsSlices(request.kind);
  const code = request.done === undefined ? DERIVATIONS[request.kind] : request.done.code;
  const planes = sameSlices ? sourcePlan.planes.slice(k, k + 1) : sourcePlan.planes;
  const purpose = { PurposeOfReferenceCodeSequence: [codeItem(SOURCE_IMAGE)] };
  const instances = sameSlices ? planes : [...new Map(planes.map((plane) => [plane.instance, plane])).values()];
  const sourceItems = instances.flatMap((plane) => {
    const reference = references[plane.instance];
    if (reference === undefined) return [];
    const frame = sameSlices && plane.format.frames > 1 ? plane.frame : undefined;
    return [{ ...referenceItem(reference, frame), ...purpose }];
  });
  const target = sameSlices ? undefined : series.gridPlan.planes[k];
  const fixed = target === undefined ? undefined : series.grid[target.instance];
  return {
    DerivationDescription: derivationText(request.provenance),
    ...(code === undefined ? {} : { DerivationCodeSequence: [codeItem(code)] }),
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
    ...paddingAttributes(storage.padding(k)),
  });
  if (rescaled && !attributes.entries.has(tag('RescaleType')))
    put(attributes, { RescaleType: request.volume.modality === 'CT' ? 'HU' : 'US' });
}

/** A difference is looked at around 0; what shows the source's values shows nothing of it, and 0 stands where there is no data. */
function putDifferenceWindow(attributes: Attributes, width: number): void {
  drop(attributes, ['WindowCenterWidthExplanation', 'PixelPaddingValue', 'PixelPaddingRangeLimit']);
  put(attributes, { WindowCenter: 0, WindowWidth: width });
}

/** Of the whole series, so that its slices are seen alike: half of the range, since most differences are small. */
function differenceWidth({ voxels }: Volume): number {
  let most = 1;
  for (const value of voxels) most = Math.max(most, Math.abs(value));
  return Number(most.toPrecision(4));
}

/** Pixel Padding Value, and its Range Limit where it is a range (PS3.3 C.7.5.1.1.2). */
function paddingAttributes(padding: readonly [number, number] | undefined): Item {
  if (padding === undefined) return {};
  const [low, high] = padding;
  return { PixelPaddingValue: low, ...(high === low ? {} : { PixelPaddingRangeLimit: high }) };
}
