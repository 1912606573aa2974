"""Foreign reader: applies a Spatial or Deformable Spatial Registration to the moving series and compares with the resampled one.

usage: apply_registration.py REGISTRATION MOVING_FOLDER RESAMPLED_FOLDER
Written from PS3.3 C.20.2.1.1 and C.20.3.1.1 alone, with numpy, scipy and pydicom. Prints one JSON object.
"""
import glob
import json
import os
import sys

import numpy as np
import pydicom
from scipy.ndimage import map_coordinates


def load(folder):
    """Voxels [z, y, x] in real values, and the matrix from (x, y, z) indices to LPS mm."""
    slices = [pydicom.dcmread(path) for path in glob.glob(os.path.join(folder, "*.dcm"))]
    first = slices[0]
    row, column = (np.array(first.ImageOrientationPatient[i : i + 3], float) for i in (0, 3))
    normal = np.cross(row, column)
    slices.sort(key=lambda d: float(np.dot(normal, np.array(d.ImagePositionPatient, float))))
    places = np.array([d.ImagePositionPatient for d in slices], float)
    step = (places[-1] - places[0]) / max(1, len(slices) - 1)
    matrix = np.eye(4)
    matrix[:3, 0] = row * float(first.PixelSpacing[1])
    matrix[:3, 1] = column * float(first.PixelSpacing[0])
    matrix[:3, 2] = step
    matrix[:3, 3] = places[0]
    voxels = np.stack(
        [d.pixel_array * float(getattr(d, "RescaleSlope", 1)) + float(getattr(d, "RescaleIntercept", 0)) for d in slices]
    )
    return voxels, matrix, first, slices


def points(shape, matrix):
    z, y, x = np.meshgrid(*(np.arange(n, dtype=float) for n in shape), indexing="ij")
    return np.stack([x, y, z, np.ones_like(x)]).reshape(4, -1), matrix


def sequence_matrix(items):
    result = np.eye(4)
    for item in items:  # matrix multiplication order, C.20.2-2
        result = result @ np.array(item.FrameOfReferenceTransformationMatrix, float).reshape(4, 4)
    return result


def to_moving_rigid(registration, moving_uids):
    """C.20.2.1.1: the matrix takes a source point to the registered frame; sampling needs the inverse."""
    for item in registration.RegistrationSequence:
        uids = {r.ReferencedSOPInstanceUID for r in item.ReferencedImageSequence}
        if uids == moving_uids:
            matrix = sequence_matrix(item.MatrixRegistrationSequence[0].MatrixSequence)
            return lambda p: np.linalg.inv(matrix) @ p
    raise SystemExit("no item refers to the moving series")


def to_moving_deformable(registration, moving_uids):
    """C.20.3.1.1: source = M_post (M_pre registered + d(registered))."""
    item = registration.DeformableRegistrationSequence[0]
    assert {r.ReferencedSOPInstanceUID for r in item.ReferencedImageSequence} == moving_uids
    grid = item.DeformableRegistrationGridSequence[0]
    nx, ny, nz = (int(n) for n in grid.GridDimensions)
    vectors = np.frombuffer(grid.VectorGridData, "<f4").reshape(nz, ny, nx, 3).astype(float)
    row, column = (np.array(grid.ImageOrientationPatient[i : i + 3], float) for i in (0, 3))
    spacing = np.array(grid.GridResolution, float)
    matrix = np.eye(4)
    matrix[:3, :3] = np.stack([row, column, np.cross(row, column)], axis=1) * spacing
    matrix[:3, 3] = np.array(grid.ImagePositionPatient, float)
    pre = sequence_matrix(item.PreDeformationMatrixRegistrationSequence)
    post = sequence_matrix(item.PostDeformationMatrixRegistrationSequence)

    def move(p):
        x, y, z, _ = np.linalg.inv(matrix) @ p
        d = [map_coordinates(vectors[..., c], [z, y, x], order=1, mode="nearest") for c in range(3)]
        q = pre @ p
        q[:3] += np.stack(d)
        return post @ q

    return move


registration_path, moving_folder, resampled_folder = sys.argv[1:]
registration = pydicom.dcmread(registration_path)
moving, moving_matrix, moving_first, moving_slices = load(moving_folder)
resampled, fixed_matrix, resampled_first, _ = load(resampled_folder)
moving_uids = {d.SOPInstanceUID for d in moving_slices}
assert registration.FrameOfReferenceUID == resampled_first.FrameOfReferenceUID
deformable = registration.SOPClassUID == "1.2.840.10008.5.1.4.1.1.66.3"
move = (to_moving_deformable if deformable else to_moving_rigid)(registration, moving_uids)
indices, _ = points(resampled.shape, fixed_matrix)
x, y, z, _ = np.linalg.inv(moving_matrix) @ move(fixed_matrix @ indices)
nz, ny, nx = moving.shape
inside = (x >= 0) & (x <= nx - 1) & (y >= 0) & (y <= ny - 1) & (z >= 0) & (z <= nz - 1)
ours = map_coordinates(moving, [z, y, x], order=1, mode="nearest")
found = resampled.reshape(-1)
difference = np.abs(ours - found)[inside]
# How far a voxel would have to be moved to explain its difference, beyond rounding to whole numbers; where values change at all.
slope = np.linalg.norm(np.stack(np.gradient(resampled.astype(float))), axis=0).reshape(-1)[inside]
steep = slope > 10
voxels = np.maximum(0, difference - 0.5)[steep] / slope[steep]
print(
    json.dumps(
        {
            "inside": float(inside.mean()),
            "range": float(found.max() - found.min()),
            "mean": float(difference.mean()),
            "p99": float(np.percentile(difference, 99)),
            "max": float(difference.max()),
            "voxelsP99": float(np.percentile(voxels, 99)),
            "unmoved": float(
                np.abs(found - map_coordinates(moving, (np.linalg.inv(moving_matrix) @ fixed_matrix @ indices)[2::-1], order=1, mode="nearest"))[inside].mean()
            ),
        }
    )
)
