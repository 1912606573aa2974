/** What Spatial and Deformable Spatial Registration objects share (PS3.3 A.39): series, frames of reference, matrices, references. */
import type { DataSet } from '../dicom/data-set.ts';
import { asciiValue } from '../dicom/data-set.ts';
import { tag } from '../dicom/dictionary.ts';
import type { Head } from '../dicom/object.ts';
import { readHead } from '../dicom/part10.ts';
import { Refusal } from '../dicom/refusal.ts';
import { planVolumes } from '../dicom/volume.ts';
import { copyFrom, formatDecimal, put } from './attributes.ts';
import { encodeNatural, type Natural } from './dcmjs.ts';
import {
  bounded,
  codeItem,
  CONTENT_BASED_ALIGNMENT,
  contentTime,
  putBodyPart,
  runKey,
  type DerivedObject,
  type Provenance,
} from './provenance.ts';
import { commonInstanceReferences, referenceItem, referenceTo, type Reference } from './references.ts';
import { beginObject, finishObject } from './single-object.ts';

/** Content Creator's Name wants a person; a program's name in that form is the honest answer. */
export const CREATOR = 'Isthmus^Gateway';

export interface RegistrationRequest {
  /** Heads of the fixed series: its frame of reference is the registered one. */
  readonly fixed: readonly Head[];
  /** Heads of the moving series; the object goes into its study. */
  readonly moving: readonly Head[];
  /** Which volume of a moving series that holds several, from 0; a fixed series holds one. */
  readonly movingVolume?: number;
  /** 4 x 4, row-major: a point of the fixed series to the same anatomy in the moving one, LPS mm. */
  readonly rigid: readonly number[];
  readonly provenance: Provenance;
}

/** One side of a registration. */
export interface Side {
  readonly dataSet: DataSet;
  readonly frameOfReferenceUID: string;
  readonly references: readonly Reference[];
  /** What the volume is made of: whole instances, or frames of them. */
  readonly images: readonly { readonly reference: Reference; readonly frames: readonly number[] | undefined }[];
}

export interface Sides {
  readonly fixed: Side;
  readonly moving: Side;
}

/** @throws Refusal PipelineRefused when a side has no instance, none or several frames of reference, or lies in several studies */
export function sidesOf(request: RegistrationRequest): Sides {
  return {
    fixed: sideOf(request.fixed, 'fixed', 0),
    moving: sideOf(request.moving, 'moving', request.movingVolume ?? 0),
  };
}

function sideOf(heads: readonly Head[], name: string, volume: number): Side {
  const [first] = heads;
  const uids = new Set(heads.map((head) => asciiValue(head.dataSet, tag('FrameOfReferenceUID'))));
  const [frameOfReferenceUID] = uids;
  if (first === undefined || uids.size !== 1 || frameOfReferenceUID === undefined) {
    throw new Refusal(
      'PipelineRefused',
      `the ${name} series has ${uids.has(undefined) ? uids.size - 1 : uids.size} Frame of Reference UIDs (0020,0052) in ${heads.length} instances; a registration needs one, in all`,
    );
  }
  const references = heads.map(referenceTo);
  if (new Set(references.map((reference) => reference.studyInstanceUID)).size !== 1)
    throw new Refusal('PipelineRefused', `the ${name} series lies in several studies`);
  return { dataSet: first.dataSet, frameOfReferenceUID, references, images: imagesOf(heads, references, volume) };
}

/** PS3.3 10.3: Referenced Frame Number where not all frames are meant. */
function imagesOf(heads: readonly Head[], references: readonly Reference[], volume: number): Side['images'] {
  const plan = planVolumes(heads)[volume];
  if (plan === undefined) throw new Error(`there is no volume ${volume}`);
  return [...Map.groupBy(plan.planes, (plane) => plane.instance)]
    .sort(([a], [b]) => a - b)
    .flatMap(([instance, planes]) => {
      const reference = references[instance];
      const whole = planes.length === planes[0]?.format.frames;
      const frames = whole ? undefined : planes.map(({ frame }) => frame).sort((a, b) => a - b);
      return reference === undefined ? [] : [{ reference, frames }];
    });
}

export interface RegistrationContent {
  readonly sopClassUID: string;
  /** Content Label, a CS of at most 16 characters. */
  readonly label: string;
  readonly content: Natural;
  /** What the content holds beyond sources and settings, so that another result is another instance. */
  readonly fingerprint: string;
}

/** The object around its registration. */
export function writeRegistration(
  sides: Sides,
  provenance: Provenance,
  { sopClassUID, label, content, fingerprint }: RegistrationContent,
): DerivedObject {
  const { fixed, moving } = sides;
  const references = [...moving.references, ...fixed.references];
  const studyInstanceUID = moving.references[0]?.studyInstanceUID;
  if (studyInstanceUID === undefined) throw new Error('a side without references');
  const key = runKey(sopClassUID, references, provenance);
  const begun = beginObject(moving.dataSet, {
    sopClassUID,
    modality: 'REG',
    studyInstanceUID,
    key,
    content: fingerprint,
    provenance,
  });
  const { attributes } = begun;
  put(attributes, contentTime(moving.dataSet));
  putBodyPart(attributes, moving.dataSet);
  const content10 = encodeNatural({
    ContentLabel: label,
    ContentDescription: bounded(provenance.description, 64),
    ContentCreatorName: CREATOR,
    FrameOfReferenceUID: fixed.frameOfReferenceUID,
    PositionReferenceIndicator: asciiValue(fixed.dataSet, tag('PositionReferenceIndicator')) ?? '',
    ...(commonInstanceReferences(studyInstanceUID, references) as Natural),
    ...content,
  });
  copyFrom(attributes, readHead(content10).head.dataSet, () => true);
  return finishObject(begun);
}

export function imageReferences(side: Side): Natural[] {
  return side.images.map(({ reference, frames }) => referenceItem(reference, frames) as Natural);
}

/** One item of a Matrix Sequence; 16 Decimal Strings of at most 16 characters. */
export function matrixItem(matrix: readonly number[]): Natural {
  return {
    FrameOfReferenceTransformationMatrix: matrix.map(formatDecimal),
    FrameOfReferenceTransformationMatrixType: matrixType(matrix),
  };
}

export function registrationType(provenance: Provenance): Natural {
  return {
    FrameOfReferenceTransformationComment: bounded(provenance.description, 64),
    RegistrationTypeCodeSequence: [codeItem(CONTENT_BASED_ALIGNMENT) as Natural],
  };
}

/** PS3.3 C.20.2.1.2: RIGID is orthonormal without mirroring, RIGID_SCALE orthogonal, AFFINE anything with a last row of 0, 0, 0, 1. */
export function matrixType(matrix: readonly number[]): 'RIGID' | 'RIGID_SCALE' | 'AFFINE' {
  const columns = [0, 1, 2].map((c) => [matrix[c] ?? 0, matrix[4 + c] ?? 0, matrix[8 + c] ?? 0]);
  const product = (a: number, b: number): number =>
    (columns[a] ?? []).reduce((sum, value, row) => sum + value * (columns[b]?.[row] ?? 0), 0);
  const tolerance = 1e-6;
  const orthogonal = [product(0, 1), product(0, 2), product(1, 2)].every((value) => Math.abs(value) < tolerance);
  if (!orthogonal || determinant(matrix) <= 0) return 'AFFINE';
  return [0, 1, 2].every((c) => Math.abs(product(c, c) - 1) < tolerance) ? 'RIGID' : 'RIGID_SCALE';
}

function determinant(m: readonly number[]): number {
  const at = (index: number): number => m[index] ?? 0;
  return (
    at(0) * (at(5) * at(10) - at(6) * at(9)) -
    at(1) * (at(4) * at(10) - at(6) * at(8)) +
    at(2) * (at(4) * at(9) - at(5) * at(8))
  );
}

/** The inverse of an affine matrix. @throws Refusal PipelineRefused when it has none, or is no affine matrix */
export function inverse(matrix: readonly number[]): number[] {
  const m = (row: number, column: number): number => matrix[row * 4 + column] ?? NaN;
  const scale = determinant(matrix);
  const affine = m(3, 0) === 0 && m(3, 1) === 0 && m(3, 2) === 0 && m(3, 3) === 1 && matrix.every(Number.isFinite);
  if (matrix.length !== 16 || !affine || Math.abs(scale) < 1e-9)
    throw new Refusal('PipelineRefused', 'the rigid part is no invertible 4 x 4 matrix with a last row of 0, 0, 0, 1');
  const minor = (row: number, column: number): number => {
    const [r0, r1] = [0, 1, 2].filter((r) => r !== row) as [number, number];
    const [c0, c1] = [0, 1, 2].filter((c) => c !== column) as [number, number];
    return m(r0, c0) * m(r1, c1) - m(r0, c1) * m(r1, c0);
  };
  const rows = [0, 1, 2].map((row) =>
    [0, 1, 2].map((column) => ((row + column) % 2 === 0 ? 1 : -1) * (minor(column, row) / scale)),
  );
  return [
    ...rows.flatMap((row) => [...row, -row.reduce((sum, value, column) => sum + value * m(column, 3), 0)]),
    0,
    0,
    0,
    1,
  ];
}
