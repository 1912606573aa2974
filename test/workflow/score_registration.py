"""Foreign judge of a Deformable Spatial Registration: applies it to the moving labels of a pair with stored truth.

usage: score_registration.py REGISTRATION FIXED_FOLDER MOVING_FOLDER TRUTH_NPZ
Written from PS3.3 C.20.3.1.1 with numpy, scipy and pydicom alone. Truth arrays are indexed (column, row, slice).
Prints one JSON object: mean label Dice before and after, share of folded voxels in the body, residual error in mm.
"""
import glob
import json
import os
import sys

import numpy as np
import pydicom
from scipy.ndimage import map_coordinates


def geometry(folder):
    """Matrix from (column, row, slice) indices to LPS mm, and the number of slices."""
    slices = [pydicom.dcmread(path, stop_before_pixels=True) for path in glob.glob(os.path.join(folder, "*.dcm"))]
    first = slices[0]
    row, column = (np.array(first.ImageOrientationPatient[i : i + 3], float) for i in (0, 3))
    normal = np.cross(row, column)
    places = np.array(sorted(([float(v) for v in s.ImagePositionPatient] for s in slices), key=lambda p: np.dot(normal, p)))
    matrix = np.eye(4)
    matrix[:3, 0] = row * float(first.PixelSpacing[1])
    matrix[:3, 1] = column * float(first.PixelSpacing[0])
    matrix[:3, 2] = (places[-1] - places[0]) / (len(places) - 1)
    matrix[:3, 3] = places[0]
    return matrix


def to_moving(registration, points):
    """Points of the fixed frame of reference to the moving one: M_post (M_pre p + d(p))."""
    (item,) = [i for i in registration.DeformableRegistrationSequence if "DeformableRegistrationGridSequence" in i]
    pre = np.array(item.PreDeformationMatrixRegistrationSequence[0].FrameOfReferenceTransformationMatrix, float).reshape(4, 4)
    post = np.array(item.PostDeformationMatrixRegistrationSequence[0].FrameOfReferenceTransformationMatrix, float).reshape(4, 4)
    grid = item.DeformableRegistrationGridSequence[0]
    nx, ny, nz = (int(n) for n in grid.GridDimensions)
    vectors = np.frombuffer(grid.VectorGridData, "<f4").reshape(nz, ny, nx, 3)
    row, column = (np.array(grid.ImageOrientationPatient[i : i + 3], float) for i in (0, 3))
    steps = [float(v) for v in grid.GridResolution]
    axes = np.eye(4)
    axes[:3, 0], axes[:3, 1], axes[:3, 2] = row * steps[0], column * steps[1], np.cross(row, column) * steps[2]
    axes[:3, 3] = [float(v) for v in grid.ImagePositionPatient]
    before = pre @ points
    index = (np.linalg.inv(axes) @ before)[:3]
    moved = before.copy()
    for axis in range(3):
        moved[axis] += map_coordinates(vectors[..., axis], index[::-1], order=1, mode="nearest")
    return post @ moved


def dice(a, b):
    """Mean over the labels of more than 100 voxels."""
    labels = [n for n in np.unique(a) if n > 0 and np.sum(a == n) > 100]
    return float(np.mean([2 * np.sum((a == n) & (b == n)) / max(1, np.sum(a == n) + np.sum(b == n)) for n in labels]))


def main():
    registration = pydicom.dcmread(sys.argv[1])
    fixed_matrix, moving_matrix = geometry(sys.argv[2]), geometry(sys.argv[3])
    truth = {key: np.asarray(value) for key, value in np.load(sys.argv[4]).items()}
    field = np.moveaxis(truth["field"], int(np.argmin(truth["field"].shape)), 0).astype(np.float32)
    fixed_seg, moving_seg = truth["fixed_seg"], truth["moving_seg"]
    shape = fixed_seg.shape
    index = np.stack([*(axis.ravel() for axis in np.meshgrid(*(np.arange(n, dtype=float) for n in shape), indexing="ij")), np.ones(np.prod(shape))])
    moved = to_moving(registration, fixed_matrix @ index)
    in_moving = (np.linalg.inv(moving_matrix) @ moved)[:3]
    warped = map_coordinates(moving_seg, in_moving, order=0, mode="constant").reshape(shape)

    # moving(x) = fixed(M (x - c) + c + t + F(x)): a moving index leads to the fixed index of the same anatomy.
    there = in_moving
    centre = truth["centre"].reshape(3, 1)
    back = truth["rotation"] @ (there - centre) + centre + truth["translation"].reshape(3, 1)
    back += np.stack([map_coordinates(f, there, order=1, mode="nearest") for f in field])
    inside = (fixed_seg > 0).ravel()
    residual = np.linalg.norm((fixed_matrix[:3, :3] @ (back - index[:3])), axis=0)[inside]

    position = moved[:3].reshape(3, *shape)
    spacing = np.linalg.norm(fixed_matrix[:3, :3], axis=0)
    jacobian = np.stack([np.stack(np.gradient(position[c], *spacing), 0) for c in range(3)], 0)
    determinant = np.linalg.det(np.moveaxis(jacobian, (0, 1), (-2, -1))) * np.sign(np.linalg.det(fixed_matrix[:3, :3]))
    print(
        json.dumps(
            {
                "diceBefore": dice(fixed_seg, moving_seg),
                "diceAfter": dice(fixed_seg, warped),
                "folded": float(np.mean(determinant.ravel()[inside] <= 0)),
                "residualMedianMm": float(np.median(residual)),
                "residualP95Mm": float(np.percentile(residual, 95)),
            }
        )
    )


main()
