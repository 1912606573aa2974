/** What multi-frame objects of ours say of their frames: dimensions and functional groups (PS3.3 C.7.6.16, C.7.6.17). */
import { tag } from '../dicom/dictionary.ts';
import { indexToPatient, transformPoint, type VolumeGeometry } from '../dicom/volume.ts';
import type { Item } from './attributes.ts';

/** The value of an AT element (PS3.5 6.2). */
function attributeTag(keyword: string): Buffer {
  const value = Buffer.alloc(4);
  const key = tag(keyword);
  value.writeUInt16LE(key >>> 16, 0);
  value.writeUInt16LE(key & 0xffff, 2);
  return value;
}

export interface Dimension {
  /** Keyword of the attribute that the dimension goes by. */
  readonly attribute: string;
  /** Keyword of the functional group that it stands in. */
  readonly group: string;
  readonly label: string;
}

export const POSITION: Dimension = {
  attribute: 'ImagePositionPatient',
  group: 'PlanePositionSequence',
  label: 'Slice',
};

/** Multi-frame Dimension module; the organization's UID is new with each object. */
export function dimensionItems(organizationUID: string, dimensions: readonly Dimension[]): Item {
  return {
    DimensionOrganizationSequence: [{ DimensionOrganizationUID: organizationUID }],
    DimensionIndexSequence: dimensions.map(({ attribute, group, label }) => ({
      DimensionOrganizationUID: organizationUID,
      DimensionIndexPointer: attributeTag(attribute),
      FunctionalGroupPointer: attributeTag(group),
      DimensionDescriptionLabel: label,
    })),
  };
}

/** Pixel Measures and Plane Orientation, shared by the frames of a grid. */
export function gridItems(geometry: VolumeGeometry, thicknessMm = geometry.spacingMm[2]): Item {
  return {
    PixelMeasuresSequence: [
      {
        SliceThickness: thicknessMm,
        SpacingBetweenSlices: Number(geometry.spacingMm[2].toPrecision(10)),
        PixelSpacing: [geometry.spacingMm[1], geometry.spacingMm[0]],
      },
    ],
    PlaneOrientationSequence: [
      {
        ImageOrientationPatient: [...geometry.axes[0], ...geometry.axes[1]].map((cosine) => Number(cosine.toFixed(10))),
      },
    ],
  };
}

/** Plane Position of slice k of a grid. */
export function positionItem(geometry: VolumeGeometry, k: number): Item {
  const position = transformPoint(indexToPatient(geometry), [0, 0, k]);
  return {
    PlanePositionSequence: [{ ImagePositionPatient: position.map((value) => Number(value.toFixed(6))) }],
  };
}
