/** What a multi-frame image of CT or MR says both of itself and of each frame: type, description, contrast. */
import { asciiValue, type DataSet } from '../dicom/data-set.ts';
import { tag } from '../dicom/dictionary.ts';
import type { Head } from '../dicom/object.ts';
import type { Item } from './attributes.ts';
import { IMAGE_TYPES, keepsSlices, type ResultSlice, type Series } from './result-slices.ts';

export const SHARED = 'SharedFunctionalGroupsSequence';
export const PER_FRAME = 'PerFrameFunctionalGroupsSequence';

/** One frame: slice n of the result. */
export interface Frame {
  readonly slice: ResultSlice;
  readonly n: number;
}

/** Legacy Converted Enhanced CT and MR Image Storage. */
export const LEGACY: ReadonlySet<string> = new Set(['1.2.840.10008.5.1.4.1.1.2.2', '1.2.840.10008.5.1.4.1.1.4.4']);

/** The former, and Enhanced CT and MR Image Storage. */
const ENHANCED: ReadonlySet<string> = new Set([
  '1.2.840.10008.5.1.4.1.1.2.1',
  '1.2.840.10008.5.1.4.1.1.4.1',
  ...LEGACY,
]);

export function isEnhanced({ dataSet }: Head): boolean {
  return ENHANCED.has(asciiValue(dataSet, tag('SOPClassUID')) ?? '');
}

/** DERIVED\PRIMARY: value 2 of a multi-frame image is always PRIMARY, value 4 says what was done (PS3.3 C.8.16.1). */
export function frameType({ request, modality }: Series, source: readonly string[]): string[] {
  const [, , flavour] = source;
  const known = flavour === undefined || flavour === '' ? (modality === 'CT' ? 'AXIAL' : 'VOLUME') : flavour;
  return ['DERIVED', 'PRIMARY', known, request.done?.imageType ?? IMAGE_TYPES[request.kind]];
}

/** Common CT/MR Image Description (PS3.3 C.8.16.2). */
export function descriptionItem(source: DataSet, { request }: Series): Item {
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
export function mrItem(source: DataSet): Item {
  return {
    // dciodvfy asks for it of derived images too.
    ApplicableSafetyStandardAgency: asciiValue(source, tag('ApplicableSafetyStandardAgency')) || 'UNKNOWN',
    ComplexImageComponent: asciiValue(source, tag('ComplexImageComponent')) ?? 'MAGNITUDE',
    AcquisitionContrast: asciiValue(source, tag('AcquisitionContrast')) ?? 'UNKNOWN',
  };
}
