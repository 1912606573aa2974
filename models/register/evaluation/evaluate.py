"""Scores the registration pipeline on the pair with a known warp, and runs it on the pair of two contrasts.

  python3 models/register/evaluation/evaluate.py SAMPLES        # the folder that ISTHMUS_SAMPLES names

Needs numpy, scipy, pydicom; node 24 on the path. Prints Dice over all labels, the error of the returned field in the head, and
folds; for the pair without truth the pipeline's own figures.
"""
import json
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import pydicom
from scipy.ndimage import map_coordinates


def write_volume(source, folder, role):
    """One series as raw float32 and its geometry, slices ordered along the normal."""
    files = [pydicom.dcmread(f) for f in sorted(Path(source).rglob('*')) if f.is_file()]
    x, y = (np.array(files[0].ImageOrientationPatient[i:i + 3], float) for i in (0, 3))
    normal = np.cross(x, y)
    files.sort(key=lambda d: normal @ np.array(d.ImagePositionPatient, float))
    first, last = (np.array(d.ImagePositionPatient, float) for d in (files[0], files[-1]))
    voxels = np.stack([d.pixel_array * float(d.get('RescaleSlope', 1)) + float(d.get('RescaleIntercept', 0)) for d in files])
    voxels.astype('<f4').tofile(folder / f'{role}.f32')
    down, across = (float(v) for v in files[0].PixelSpacing)
    geometry = dict(columns=voxels.shape[2], rows=voxels.shape[1], slices=voxels.shape[0],
                    spacingMm=[across, down, float(np.linalg.norm(last - first) / (len(files) - 1))],
                    originMm=first.tolist(), axes=[x.tolist(), y.tolist(), normal.tolist()],
                    frameOfReferenceUID=str(files[0].FrameOfReferenceUID), modality=files[0].Modality)
    (folder / f'{role}.json').write_text(json.dumps(geometry))


def register(fixed, moving, folder):
    write_volume(fixed, folder, 'fixed')
    write_volume(moving, folder, 'moving')
    subprocess.run(['node', str(Path(__file__).parent / 'run-pair.ts'), str(folder)], check=True)
    return json.loads((folder / 'result.json').read_text())


def lattice(shape):
    return np.stack(np.meshgrid(*[np.arange(n) for n in shape], indexing='ij')).astype(np.float32)


def sample(values, points, order):
    return map_coordinates(values, points, order=order, mode='nearest')


def true_map(z):
    """Fixed voxel -> moving voxel: the inverse of moving(y) = fixed(M(y-c) + c + t + F(y)), by fixed-point iteration."""
    x = lattice(z['fixed_seg'].shape)
    inverse, c, t = np.linalg.inv(z['rotation']), z['centre'], z['translation']
    warp, y = z['field'].astype(np.float32), x.copy()
    for _ in range(60):
        rest = x - (c + t)[:, None, None, None] - np.stack([sample(f, y, 1) for f in warp])
        y = np.tensordot(inverse, rest, 1) + c[:, None, None, None]
    return y


def dice(a, b):
    return np.mean([2 * ((a == n) & (b == n)).sum() / ((a == n).sum() + (b == n).sum()) for n in np.unique(a) if n])


def score(name, points, truth, z):
    inside = z['fixed_seg'] > 0
    error = 2 * np.sqrt(((points - truth) ** 2).sum(0))[inside]
    jacobian = np.linalg.det(np.stack([np.stack(np.gradient(p), -1) for p in points], -2))[inside]
    moved = sample(z['moving_seg'], points, 0)
    print('%-9s Dice %.3f | error median %.2f p95 %.2f mm | J<=0 %d voxels, min %.2f' % (
        name, dice(z['fixed_seg'], moved), np.median(error), np.percentile(error, 95), (jacobian <= 0).sum(), jacobian.min()))


def known_warp(samples, folder):
    z = np.load(samples / 'volumes/mr_known_warp_truth.npz')
    result = register(samples / 'dicom/mr_known_warp/fixed', samples / 'dicom/mr_known_warp/moving', folder)
    grid = result['geometry']
    shape = (grid['slices'], grid['rows'], grid['columns'], 3)
    field = np.fromfile(folder / 'field.f32', '<f4').reshape(shape)
    x, truth = lattice(z['fixed_seg'].shape), true_map(z)
    # The pair lies along the patient axes with its first voxel at the origin, 2 mm apart; rows of x are (i, j, k).
    at = [(2 * x[c] - grid['originMm'][c]) / grid['spacingMm'][c] for c in range(3)]
    moved = np.stack([x[c] + sample(field[..., c], at[::-1], 1) / 2 for c in range(3)])
    rigid = np.array(result['rigid']).reshape(4, 4)
    aligned = np.tensordot(rigid[:3, :3], x, 1) + rigid[:3, 3][:, None, None, None] / 2
    for name, points in (('identity', x), ('rigid', aligned), ('returned', moved), ('truth', truth)):
        score(name, points, truth, z)
    print('%.1f s, peak %d MB' % (result['seconds'], result['peakMb']), json.dumps(result['quality']))


def two_contrasts(samples, folder):
    pair = samples / 'dicom/mr_pair_t1_t2'
    result = register(pair / 't1_flash_fixed', pair / 't2_epi_moving', folder)
    print('two contrasts: %.1f s, peak %d MB' % (result['seconds'], result['peakMb']), json.dumps(result['quality']))


if __name__ == '__main__':
    for task in (known_warp, two_contrasts):
        with tempfile.TemporaryDirectory() as name:
            task(Path(sys.argv[1]), Path(name))
