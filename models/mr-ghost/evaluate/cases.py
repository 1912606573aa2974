"""Writes the cases of the evaluation as raw float32, SIDE x SIDE, stored values up to about 1000: NAME.KIND.DEGREE.moved and NAME.rest, and
prints the names. Drawn trunks (folded organs in a body: a drawing that no training saw, seeds 4000 and on), and where ISTHMUS_SAMPLES names
them slices of real MR series, each taken as the object at rest.

  python3 cases.py FOLDER
"""
import gzip
import os
import pathlib
import sys

import numpy as np
from scipy.ndimage import gaussian_filter, zoom

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / 'train'))
import synth

SIDE, TRUNKS = 192, 8
# Root mean square of the displacement where it moves, in pixels, and of sudden motion how often it moves. Of 192 lines a shift lasts 3 to 31.
DEGREES = {'breathing': {'light': (0.4,), 'medium': (0.8,), 'severe': (1.6,)}, 'sudden': {'light': (1, 2), 'medium': (2, 4), 'severe': (4, 12)}}


def trunk(rng, size):
    """A body with organs whose borders fold, over 1/f texture."""
    y, x = np.mgrid[:size, :size].astype(np.float32) / size - 0.5
    f = np.hypot(*np.meshgrid(np.fft.fftfreq(size), np.fft.fftfreq(size))) + 1 / size
    folds, texture = (np.real(np.fft.ifft2(np.fft.fft2(rng.standard_normal((size, size))) / f ** slope)) for slope in (1.8, 1.0))
    folds, texture = folds / folds.std(), texture / texture.std()
    outline = (x / rng.uniform(0.36, 0.45)) ** 2 + (y / rng.uniform(0.28, 0.4)) ** 2
    image = np.where(outline < 1 + 0.03 * folds, rng.uniform(0.75, 1), 0)
    inside = outline < rng.uniform(0.7, 0.85) + 0.05 * folds
    image[inside] = rng.uniform(0.3, 0.5)
    for _ in range(24):
        reach = synth.ellipse(rng, x, y, 0.26, (0.02, 0.1))
        image[(reach < 1 + 0.25 * folds) & inside] = rng.uniform(0.05, 1)
    return gaussian_filter(image, 0.6) * (1 + 0.04 * texture)


def nifti(data):
    order = '<' if int.from_bytes(data[:4], 'little') == 348 else '>'
    kind = {2: 'u1', 4: 'i2', 16: 'f4'}[int(np.frombuffer(data[70:72], order + 'i2')[0])]
    x, y, z = (int(n) for n in np.frombuffer(data[40:56], order + 'i2')[1:4])
    offset = int(np.frombuffer(data[108:112], order + 'f4')[0])
    return np.frombuffer(data, order + kind, x * y * z, offset).reshape(z, y, x).astype(np.float32)


def nrrd(data):
    head, body = data.split(b'\n\n', 1)
    fields = dict(line.split(': ', 1) for line in head.decode('ascii').splitlines() if ': ' in line)
    kind = {'short': 'i2', 'unsigned short': 'u2', 'float': 'f4', 'double': 'f8', 'int16': 'i2'}[fields['type']]
    body = gzip.decompress(body) if fields['encoding'] in ('gzip', 'gz') else body
    order = '>' if fields.get('endian') == 'big' else '<'
    return np.frombuffer(body, order + kind).reshape([int(n) for n in fields['sizes'].split()][::-1]).astype(np.float32)


def real():
    """(name, slice) of a head in T1 and of the averages of heads in T1, T2 and PD, of a contrast-enhanced head, of a brain in another T1."""
    folder = pathlib.Path(os.environ['ISTHMUS_SAMPLES']) / 'volumes'
    templates = folder / 'mni_templates'
    head = nifti((templates / 'single_subj_T1.nii').read_bytes())
    tumour = nrrd((folder / 'pyradiomics_brain1' / 'brain1_image.nrrd').read_bytes())
    flash = nifti(gzip.decompress((folder / 'niftyreg_t2epi_t1flash' / 'flash_t1.nii.gz').read_bytes()))
    for name, volume, places in (('head', head, (0.35, 0.5, 0.65)), ('tumour', tumour, (0.4, 0.6)), ('flash', flash, (0.4, 0.5, 0.6))):
        for place in places:
            yield f'{name}{round(100 * place)}', volume[int(place * len(volume))]


def square(image):
    """Scaled down where it is larger, cut or padded to SIDE x SIDE about its middle; the 99.5th percentile is 1."""
    if min(image.shape) > SIDE:
        image = zoom(image, SIDE / max(image.shape), order=1)
    padded = np.pad(image, [(max(0, (SIDE - n + 1) // 2),) * 2 for n in image.shape])
    y, x = ((n - SIDE) // 2 for n in padded.shape)
    return padded[y:y + SIDE, x:x + SIDE] / np.percentile(image, 99.5)


def write(folder, name, image, seed):
    made = {}
    for kind, degrees in DEGREES.items():
        for degree, how in [*degrees.items(), ('clean', None)]:
            rng = np.random.default_rng(seed)  # one phase and one noise for all
            phase = synth.smooth(rng, SIDE, SIDE / 6) * 0.5
            noise = SIDE * 0.01 * (rng.standard_normal((SIDE, SIDE)) + 1j * rng.standard_normal((SIDE, SIDE)))
            shifts = getattr(synth, kind)(rng, SIDE, *how) if how else np.zeros((2, SIDE))
            made['rest' if degree == 'clean' else f'{kind}.{degree}.moved'] = synth.acquired(image, phase, shifts, noise)
    for part, picture in made.items():
        np.round(1000 * picture).astype('<f4').tofile(folder / f'{name}.{part}')


def main():
    folder = pathlib.Path(sys.argv[1])
    for seed in range(4000, 4000 + TRUNKS):
        write(folder, f'trunk{seed}', trunk(np.random.default_rng(seed), SIDE), seed)
        print('drawn', f'trunk{seed}')
    if 'ISTHMUS_SAMPLES' in os.environ:
        for seed, (name, image) in enumerate(real(), 5000):
            write(folder, name, square(image), seed)
            print('real', name)


if __name__ == '__main__':
    main()
