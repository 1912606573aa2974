"""The pair mr_known_warp: moving(x) = fixed(M(x - c) + c + t + F(x)), x in voxels of 2 mm; written from that sentence alone.

usage: known_warp.py field TRUTH.npz FIELD.f32   writes x, y, z displacements in mm, slices slowest, and prints M, c, t as a 4 x 4 matrix
       known_warp.py dice TRUTH.npz REGISTRATION prints the mean Dice of labels before and after the written registration
"""
import json
import sys

import numpy as np
import pydicom
from scipy.ndimage import map_coordinates

MM = 2.0
command, truth_path, path = sys.argv[1:]
truth = np.load(truth_path)
shape = truth["fixed_seg"].shape
index = np.stack(np.meshgrid(*(np.arange(n, dtype=float) for n in shape), indexing="ij"))


def field():
    rotation, centre, shift = (truth[key].astype(float) for key in ("rotation", "centre", "translation"))
    column = (3, 1, 1, 1)
    there = np.einsum("ab,bxyz->axyz", rotation, index - centre.reshape(column)) + (centre + shift).reshape(column)
    vectors = (there + truth["field"] - index) * MM
    vectors.transpose(3, 2, 1, 0).astype("<f4").tofile(path)
    u, _, v = np.linalg.svd(rotation)  # stored with few digits: the nearest rotation
    matrix = np.eye(4)
    matrix[:3, :3] = u @ v
    matrix[:3, 3] = (centre + shift - u @ v @ centre) * MM
    print(json.dumps(matrix.ravel().tolist()))


def matrix_of(sequence):
    return np.array(sequence[0].FrameOfReferenceTransformationMatrix, float).reshape(4, 4)


def dice():
    item = pydicom.dcmread(path).DeformableRegistrationSequence[0]
    grid = item.DeformableRegistrationGridSequence[0]
    nx, ny, nz = (int(n) for n in grid.GridDimensions)
    vectors = np.frombuffer(grid.VectorGridData, "<f4").reshape(nz, ny, nx, 3)
    points = index.reshape(3, -1) * MM
    start = np.array(grid.ImagePositionPatient, float)[:, None]
    x, y, z = (points - start) / np.array(grid.GridResolution, float)[:, None]
    moved = matrix_of(item.PreDeformationMatrixRegistrationSequence) @ np.vstack([points, np.ones(points.shape[1])])
    for axis in range(3):
        moved[axis] += map_coordinates(vectors[..., axis], [z, y, x], order=1, mode="nearest")
    moved = matrix_of(item.PostDeformationMatrixRegistrationSequence) @ moved
    source, target = truth["fixed_seg"], truth["moving_seg"].ravel()
    labels = [label for label in np.unique(target) if label != 0]

    def score(found):
        pairs = [(found == label, target == label) for label in labels]
        return float(np.mean([2 * np.sum(a & b) / (np.sum(a) + np.sum(b)) for a, b in pairs]))

    after = map_coordinates(source, moved[:3] / MM, order=0, mode="constant")
    print(json.dumps({"before": score(source.ravel()), "after": score(after)}))


{"field": field, "dice": dice}[command]()
