/**
 * Segmentation (PS3.3 A.51, C.8.20): masks of one grid, binary (one bit a pixel) or fractional (probabilities in 255 steps). Frames
 * without a pixel of their segment are left out, as viewers expect.
 */
import { createHash } from 'node:crypto';
import { asciiValue, asciiValues, findElement } from '../dicom/data-set.ts';
import { tag } from '../dicom/dictionary.ts';
import type { Head } from '../dicom/object.ts';
import { Refusal } from '../dicom/refusal.ts';
import { uidFrom } from '../dicom/uid.ts';
import { planVolume, type VolumeGeometry } from '../dicom/volume.ts';
import { drop, put, type Item } from './attributes.ts';
import { displayLab } from './display-colour.ts';
import { inheritedLoss } from './inherited.ts';
import { refuseOtherGrid } from './result-slices.ts';
import { dimensionItems, gridItems, POSITION, positionItem, type Dimension } from './multi-frame.ts';
import { beginObject, finishObject } from './single-object.ts';
import {
  algorithmItem,
  bounded,
  codeItem,
  contentTime,
  putBodyPart,
  runKey,
  SOURCE_IMAGE,
  type Code,
  type DerivedObject,
  type Provenance,
} from './provenance.ts';
import { commonInstanceReferences, referenceItem, referenceTo, type Reference } from './references.ts';
import { CREATOR } from './registration-object.ts';

export const SEGMENTATION = '1.2.840.10008.5.1.4.1.1.66.4';
// PS3.16 CID 7203.
const SEGMENTED: Code = { value: '113076', scheme: 'DCM', meaning: 'Segmentation' };
const MOST_SEGMENTS = 255;
const FULL = 255;

export interface Segment {
  readonly label: string;
  /** PS3.16 CID 7150, e.g. Anatomical Structure. */
  readonly category: Code;
  readonly type: Code;
  readonly typeModifier?: Code | undefined;
  /** PS3.16 CID 1 and what goes with it. */
  readonly region?: Code | undefined;
  readonly regionModifier?: Code | undefined;
  /** Red, green, blue from 0 to 255, for viewers. */
  readonly colour?: readonly [number, number, number] | undefined;
}

interface MaskRequest {
  /** Heads of the images that the mask lies on. */
  readonly sources: readonly Head[];
  /** Of the mask: that of the sources. */
  readonly geometry: VolumeGeometry;
  /** In the order of their numbers, from 1. */
  readonly segments: readonly Segment[];
  readonly provenance: Provenance;
}

export type SegmentationRequest = MaskRequest &
  (
    | {
        readonly kind: 'binary';
        /** The number of the segment that a voxel belongs to, 0 for none; voxels in the order of Volume. */
        readonly mask: Uint8Array;
      }
    | {
        readonly kind: 'fractional';
        /** Probabilities, segment after segment: from 0 to 1, or in 255 steps. */
        readonly mask: Float32Array | Uint8Array;
      }
  );

interface Frame {
  readonly segment: number;
  readonly k: number;
  readonly pixels: Uint8Array;
}

/** @throws Refusal PipelineRefused for a mask of another grid than its sources, of unknown segments, or with values that are no probabilities */
export function deriveSegmentation(request: SegmentationRequest): DerivedObject {
  const { sources, geometry, provenance, kind } = request;
  const [first] = sources;
  if (first === undefined) throw new Refusal('PipelineRefused', 'the series has no instances');
  const planar = findElement(first.dataSet, tag('ImageOrientationPatient')) === undefined && isSingleFrame(sources);
  if (planar && geometry.slices > 1)
    throw new Refusal(
      'PipelineRefused',
      `the image has ${geometry.slices} frames without a place; masks are written for one`,
    );
  const places = planar ? [{ reference: referenceTo(first), frame: undefined }] : placesOf(sources, geometry);
  const frames = framesOf(request);
  const body = kind === 'binary' ? packed(frames, geometry) : joined(frames);
  const references = sources.map(referenceTo);
  const key = runKey(`segmentation ${kind}`, references, provenance);
  const content = createHash('sha256')
    .update(body)
    .update(JSON.stringify([request.segments, frames.map(({ segment, k }) => [segment, k])]))
    .digest('hex');
  const { studyInstanceUID } = referenceTo(first);
  const begun = beginObject(first.dataSet, {
    sopClassUID: SEGMENTATION,
    modality: 'SEG',
    studyInstanceUID,
    key,
    content,
    provenance,
  });
  const { attributes } = begun;
  putBodyPart(attributes, first.dataSet);
  put(attributes, {
    ...contentTime(first.dataSet),
    ImageType: ['DERIVED', 'PRIMARY'],
    ContentLabel: 'SEGMENTATION',
    ContentDescription: bounded(provenance.description, 64),
    ContentCreatorName: CREATOR,
    ...pixelAttributes(request, frames.length),
    SegmentSequence: request.segments.map((segment, index) => segmentItem(segment, index + 1, provenance)),
    ...commonInstanceReferences(studyInstanceUID, references),
    ...dimensionItems(uidFrom(key, content, 'dimensions'), planar ? [SEGMENT] : [SEGMENT, POSITION]),
    // No Pixel Measures for a projection: readers want a thickness with the spacing, and it has none.
    SharedFunctionalGroupsSequence: [planar ? {} : gridItems(geometry)],
    PerFrameFunctionalGroupsSequence: perFrame(frames, geometry, places, planar),
    ...(planar || geometry.frameOfReferenceUID === undefined
      ? {}
      : { FrameOfReferenceUID: geometry.frameOfReferenceUID, PositionReferenceIndicator: '' }),
    ...(planar ? { PatientOrientation: asciiValues(first.dataSet, tag('PatientOrientation')) } : {}),
  });
  // PS3.3 C.7.3.1: Laterality is of the images that have no other place in the patient; of a mask it is said where it is known.
  if ((asciiValue(first.dataSet, tag('Laterality')) ?? '') === '') drop(attributes, ['Laterality']);
  const even = body.length % 2 === 0 ? body : Buffer.concat([body, Buffer.alloc(1)]);
  return finishObject(begun, even, { tag: 0x7fe00010, vr: 'OB' });
}

const SEGMENT: Dimension = {
  attribute: 'ReferencedSegmentNumber',
  group: 'SegmentIdentificationSequence',
  label: 'Segment',
};

/** One projection image: its segments lie on it pixel by pixel, without a place in the patient. */
function isSingleFrame(sources: readonly Head[]): boolean {
  return (
    sources.length === 1 &&
    sources.every(({ dataSet }) => findElement(dataSet, tag('SharedFunctionalGroupsSequence')) === undefined)
  );
}

interface Place {
  readonly reference: Reference;
  /** Of a multi-frame source. */
  readonly frame: number | undefined;
}

/** The source of each slice. */
function placesOf(sources: readonly Head[], geometry: VolumeGeometry): Place[] {
  const plan = planVolume(sources);
  refuseOtherGrid(geometry, plan.geometry);
  return plan.planes.map(({ instance, frame, format }) => {
    const head = sources[instance];
    if (head === undefined) throw new Error('a plane without its instance');
    return { reference: referenceTo(head), frame: format.frames > 1 ? frame : undefined };
  });
}

function framesOf(request: SegmentationRequest): Frame[] {
  const { geometry, segments, mask, kind } = request;
  const size = geometry.columns * geometry.rows;
  const voxels = size * geometry.slices;
  const expected = kind === 'binary' ? voxels : voxels * segments.length;
  if (segments.length === 0 || segments.length > MOST_SEGMENTS)
    throw new Refusal('PipelineRefused', `${segments.length} segments; 1 to ${MOST_SEGMENTS} are expected`);
  if (mask.length !== expected)
    throw new Refusal(
      'PipelineRefused',
      `the mask has ${mask.length} values; its grid and segments ask for ${expected}`,
    );
  refuseForeignValues(request);
  const frames: Frame[] = [];
  for (let segment = 1; segment <= segments.length; segment++) {
    for (let k = 0; k < geometry.slices; k++) {
      const at = kind === 'binary' ? k * size : (segment - 1) * voxels + k * size;
      const slice = mask.subarray(at, at + size);
      const pixels =
        kind === 'binary'
          ? Uint8Array.from(slice, (value) => (value === segment ? 1 : 0))
          : mask instanceof Uint8Array
            ? Uint8Array.from(slice)
            : Uint8Array.from(slice, (value) => Math.round(value * FULL));
      if (pixels.some((value) => value > 0)) frames.push({ segment, k, pixels });
    }
  }
  // Nothing was found: a Segmentation has at least one frame.
  return frames.length > 0 ? frames : [{ segment: 1, k: 0, pixels: new Uint8Array(size) }];
}

function refuseForeignValues({ kind, mask, segments }: SegmentationRequest): void {
  const most = kind === 'binary' ? segments.length : mask instanceof Uint8Array ? FULL : 1;
  for (const value of mask)
    if (!(value >= 0 && value <= most))
      throw new Refusal(
        'PipelineRefused',
        kind === 'binary'
          ? `the mask names segment ${value}; there are ${segments.length}`
          : 'the mask has values that are no probabilities from 0 to 1',
      );
}

/** One bit a pixel, the first in the least significant bit, frame after frame without a gap (PS3.5 8.1.1, D.1). */
function packed(frames: readonly Frame[], { columns, rows }: VolumeGeometry): Buffer {
  const bits = columns * rows;
  const out = Buffer.alloc(Math.ceil((bits * frames.length) / 8));
  for (const [index, { pixels }] of frames.entries()) {
    const start = index * bits;
    for (let i = 0; i < bits; i++)
      if (pixels[i] === 1) {
        const bit = start + i;
        out[bit >> 3] = (out[bit >> 3] ?? 0) | (1 << (bit & 7));
      }
  }
  return out;
}

function joined(frames: readonly Frame[]): Buffer {
  return Buffer.concat(frames.map(({ pixels }) => pixels));
}

function pixelAttributes({ kind, geometry, sources }: SegmentationRequest, frames: number): Item {
  const bits = kind === 'binary' ? 1 : 8;
  return {
    SamplesPerPixel: 1,
    PhotometricInterpretation: 'MONOCHROME2',
    NumberOfFrames: String(frames),
    Rows: geometry.rows,
    Columns: geometry.columns,
    BitsAllocated: bits,
    BitsStored: bits,
    HighBit: bits - 1,
    PixelRepresentation: 0,
    LossyImageCompression: '00',
    ...inheritedLoss(sources),
    SegmentationType: kind === 'binary' ? 'BINARY' : 'FRACTIONAL',
    ...(kind === 'binary'
      ? { SegmentsOverlap: 'NO' }
      : { SegmentationFractionalType: 'PROBABILITY', MaximumFractionalValue: FULL, SegmentsOverlap: 'UNDEFINED' }),
  };
}

function segmentItem(segment: Segment, number: number, provenance: Provenance): Item {
  const { algorithm } = provenance;
  return {
    SegmentNumber: number,
    SegmentLabel: bounded(segment.label, 64),
    SegmentAlgorithmType: 'AUTOMATIC',
    SegmentAlgorithmName: bounded(algorithm.name, 64),
    SegmentationAlgorithmIdentificationSequence: [algorithmItem(algorithm)],
    SegmentedPropertyCategoryCodeSequence: [codeItem(segment.category)],
    SegmentedPropertyTypeCodeSequence: [
      {
        ...codeItem(segment.type),
        ...(segment.typeModifier === undefined
          ? {}
          : { SegmentedPropertyTypeModifierCodeSequence: [codeItem(segment.typeModifier)] }),
      },
    ],
    ...(segment.region === undefined
      ? {}
      : {
          AnatomicRegionSequence: [
            {
              ...codeItem(segment.region),
              ...(segment.regionModifier === undefined
                ? {}
                : { AnatomicRegionModifierSequence: [codeItem(segment.regionModifier)] }),
            },
          ],
        }),
    ...(segment.colour === undefined ? {} : { RecommendedDisplayCIELabValue: displayLab(segment.colour) }),
  };
}

function perFrame(
  frames: readonly Frame[],
  geometry: VolumeGeometry,
  places: readonly Place[],
  planar: boolean,
): Item[] {
  // Dimension Index Values count what occurs, from 1 (PS3.3 C.7.6.17).
  const slices = [...new Set(frames.map(({ k }) => k))].sort((a, b) => a - b);
  return frames.map(({ segment, k }) => {
    const place = places[k];
    return {
      FrameContentSequence: [{ DimensionIndexValues: planar ? [segment] : [segment, slices.indexOf(k) + 1] }],
      ...(planar ? {} : positionItem(geometry, k)),
      SegmentIdentificationSequence: [{ ReferencedSegmentNumber: segment }],
      DerivationImageSequence: [
        {
          DerivationCodeSequence: [codeItem(SEGMENTED)],
          SourceImageSequence:
            place === undefined
              ? []
              : [
                  {
                    ...referenceItem(place.reference, place.frame),
                    PurposeOfReferenceCodeSequence: [codeItem(SOURCE_IMAGE)],
                    SpatialLocationsPreserved: 'YES',
                  },
                ],
        },
      ],
    };
  });
}
