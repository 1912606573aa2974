/**
 * Parametric Map (PS3.3 A.75, C.8.32) of 32-bit floating point values (7FE0,0008), one frame for each slice of a grid: what a run
 * measured voxel by voxel, exactly as it was computed.
 */
import { createHash } from 'node:crypto';
import { asciiValue } from '../dicom/data-set.ts';
import { tag } from '../dicom/dictionary.ts';
import type { Head } from '../dicom/object.ts';
import { Refusal } from '../dicom/refusal.ts';
import { uidFrom } from '../dicom/uid.ts';
import type { VolumeGeometry } from '../dicom/volume.ts';
import { put, type Item } from './attributes.ts';
import { CODING_SCHEMES } from './coded-figures.ts';
import { dimensionItems, gridItems, POSITION, positionItem } from './multi-frame.ts';
import { beginObject, finishObject } from './single-object.ts';
import {
  bounded,
  codeItem,
  CONTENT_BASED_ALIGNMENT,
  contentTime,
  derivationText,
  putBodyPart,
  runKey,
  SOURCE_IMAGE,
  type Code,
  type DerivedObject,
  type Provenance,
} from './provenance.ts';
import { commonInstanceReferences, referenceItem, referenceTo } from './references.ts';
import { CREATOR } from './registration-object.ts';

export const PARAMETRIC_MAP = '1.2.840.10008.5.1.4.1.1.30';

export interface ParametricMapRequest {
  /** Heads of the series that the result stands for; the map goes into its study. */
  readonly source: readonly Head[];
  /** Heads of the series whose frame of reference the grid lies in; absent: the source's. */
  readonly reference?: readonly Head[];
  readonly geometry: VolumeGeometry;
  /** In the order of Volume. */
  readonly values: Float32Array;
  readonly quantity: Code;
  readonly unit: Code;
  /** Content Label, a CS of at most 16 characters. */
  readonly label: string;
  readonly provenance: Provenance;
}

/** @throws Refusal PipelineRefused for values that do not fit the grid or are no numbers, and without a frame of reference */
export function deriveParametricMap(request: ParametricMapRequest): DerivedObject {
  const { source, reference = [], geometry, values, provenance } = request;
  const [first] = source;
  if (first === undefined) throw new Refusal('PipelineRefused', 'the series has no instances');
  refuseUnfit(request);
  const body = Buffer.from(values.buffer, values.byteOffset, values.byteLength);
  const references = [...source, ...reference].map(referenceTo);
  const key = runKey(`parametric map ${request.label}`, references, provenance);
  const content = createHash('sha256').update(body).digest('hex');
  const { studyInstanceUID } = referenceTo(first);
  const begun = beginObject(first.dataSet, {
    sopClassUID: PARAMETRIC_MAP,
    modality: asciiValue(first.dataSet, tag('Modality')) ?? 'OT',
    studyInstanceUID,
    key,
    content,
    provenance,
  });
  const { attributes } = begun;
  putBodyPart(attributes, first.dataSet);
  put(attributes, {
    ...contentTime(first.dataSet),
    CodingSchemeIdentificationSequence: CODING_SCHEMES,
    FrameOfReferenceUID: geometry.frameOfReferenceUID ?? '',
    PositionReferenceIndicator: '',
    ImageType: FRAME_TYPE,
    ContentQualification: 'RESEARCH',
    ContentLabel: request.label,
    ContentDescription: bounded(provenance.description, 64),
    ContentCreatorName: CREATOR,
    DerivationDescription: derivationText(provenance),
    BurnedInAnnotation: 'NO',
    RecognizableVisualFeatures: 'NO',
    LossyImageCompression: '00',
    PresentationLUTShape: 'IDENTITY',
    AcquisitionContextSequence: [],
    SamplesPerPixel: 1,
    PhotometricInterpretation: 'MONOCHROME2',
    NumberOfFrames: String(geometry.slices),
    Rows: geometry.rows,
    Columns: geometry.columns,
    BitsAllocated: 32,
    ...commonInstanceReferences(studyInstanceUID, references),
    ...dimensionItems(uidFrom(key, content, 'dimensions'), [POSITION]),
    SharedFunctionalGroupsSequence: [shared(request)],
    PerFrameFunctionalGroupsSequence: Array.from({ length: geometry.slices }, (_, k) => ({
      FrameContentSequence: [{ DimensionIndexValues: [k + 1] }],
      ...positionItem(geometry, k),
    })),
  });
  return finishObject(begun, body, { tag: 0x7fe00008, vr: 'OF' });
}

const FRAME_TYPE = ['DERIVED', 'PRIMARY', 'VOLUME', 'QUANTITY'];

function refuseUnfit({ geometry, values }: ParametricMapRequest): void {
  const expected = geometry.columns * geometry.rows * geometry.slices;
  if (values.length !== expected)
    throw new Refusal('PipelineRefused', `the map has ${values.length} values; its grid asks for ${expected}`);
  if (!values.every(Number.isFinite))
    throw new Refusal('PipelineRefused', 'the map has values that are no finite numbers');
  if (geometry.frameOfReferenceUID === undefined)
    throw new Refusal('PipelineRefused', 'a map needs a series with a Frame of Reference UID (0020,0052)');
}

function shared({ source, geometry, values, quantity, unit, label }: ParametricMapRequest): Item {
  return {
    ...gridItems(geometry),
    ParametricMapFrameTypeSequence: [{ FrameType: FRAME_TYPE }],
    DerivationImageSequence: [
      {
        DerivationCodeSequence: [codeItem(CONTENT_BASED_ALIGNMENT)],
        SourceImageSequence: source.map((head) => ({
          ...referenceItem(referenceTo(head)),
          PurposeOfReferenceCodeSequence: [codeItem(SOURCE_IMAGE)],
        })),
      },
    ],
    PixelValueTransformationSequence: [{ RescaleIntercept: 0, RescaleSlope: 1, RescaleType: 'US' }],
    FrameVOILUTSequence: [windowOf(values)],
    RealWorldValueMappingSequence: [
      {
        LUTExplanation: bounded(quantity.meaning, 64),
        LUTLabel: label,
        DoubleFloatRealWorldValueFirstValueMapped: -MOST,
        DoubleFloatRealWorldValueLastValueMapped: MOST,
        RealWorldValueIntercept: 0,
        RealWorldValueSlope: 1,
        MeasurementUnitsCodeSequence: [codeItem(unit)],
        QuantityDefinitionSequence: [
          {
            ValueType: 'CODE',
            ConceptNameCodeSequence: [codeItem({ value: '246205007', scheme: 'SCT', meaning: 'Quantity' })],
            ConceptCodeSequence: [codeItem(quantity)],
          },
        ],
      },
    ],
  };
}

/** Every value that 32 bits hold means itself. */
const MOST = 3.4028234663852886e38;

/** A window over what is there. */
function windowOf(values: Float32Array): Item {
  let low = Infinity;
  let high = -Infinity;
  for (const value of values) {
    if (value < low) low = value;
    if (value > high) high = value;
  }
  const width = Math.max(high - low, 1e-3);
  return {
    WindowCenter: Number(((low + high) / 2).toPrecision(6)),
    WindowWidth: Number(width.toPrecision(6)),
    // A plain LINEAR window is at least 1 wide (PS3.3 C.11.2.1.2).
    VOILUTFunction: 'LINEAR_EXACT',
  };
}
