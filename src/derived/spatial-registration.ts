/**
 * Spatial Registration (PS3.3 A.39.1, C.20.2): rigid or affine. The registered frame of reference is the fixed series'; a matrix takes
 * a point of the source (moving) to the registered one: `fixed = M moving` (PS3.3 C.20.2.1.1), the inverse of how images are resampled.
 */
import {
  imageReferences,
  inverse,
  matrixItem,
  registrationType,
  sidesOf,
  writeRegistration,
  type RegistrationRequest,
  type Side,
} from './registration-object.ts';
import type { Natural } from './dcmjs.ts';
import type { DerivedObject, Provenance } from './provenance.ts';

export const SPATIAL_REGISTRATION = '1.2.840.10008.5.1.4.1.1.66.1';
const IDENTITY = [1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1, 0, 0, 0, 0, 1];

/** @throws Refusal PipelineRefused for a matrix without inverse, or series without one frame of reference each */
export function deriveSpatialRegistration(request: RegistrationRequest): DerivedObject {
  const sides = sidesOf(request);
  const toFixed = inverse(request.rigid);
  return writeRegistration(sides, request.provenance, {
    sopClassUID: SPATIAL_REGISTRATION,
    label: 'REGISTRATION',
    fingerprint: toFixed.join(' '),
    content: {
      RegistrationSequence: [
        item(sides.fixed, IDENTITY, request.provenance),
        item(sides.moving, toFixed, request.provenance),
      ],
    },
  });
}

function item(side: Side, matrix: readonly number[], provenance: Provenance): Natural {
  return {
    FrameOfReferenceUID: side.frameOfReferenceUID,
    ReferencedImageSequence: imageReferences(side),
    MatrixRegistrationSequence: [{ ...registrationType(provenance), MatrixSequence: [matrixItem(matrix)] }],
  };
}
