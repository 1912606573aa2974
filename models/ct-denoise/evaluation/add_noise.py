"""Adds noise of known level to DICOM slices, for `measure.ts estimate`. Needs numpy, pydicom.

  python3 add_noise.py --folder DIR a.dcm b.dcm     # DIR/<name>_<noise>_<sigma HU>.f32: columns, rows, then HU, float32
"""
import argparse
import pathlib
import sys

import numpy as np
import pydicom

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / 'train'))
from synth import noise_shape  # noqa: E402

PADDING_BELOW_HU = -1500


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument('--folder', type=pathlib.Path, required=True)
    a.add_argument('dicom', nargs='+')
    a = a.parse_args()
    a.folder.mkdir(parents=True, exist_ok=True)
    rng = np.random.default_rng(5)
    for number, path in enumerate(a.dicom):
        d = pydicom.dcmread(path)
        hu = d.pixel_array * float(d.RescaleSlope) + float(d.RescaleIntercept)
        rows, columns = hu.shape
        size = max(hu.shape) + max(hu.shape) % 2
        for kind in ('white', *('coloured%d' % i for i in range(6))):
            noise = rng.standard_normal((size, size))
            if kind != 'white':
                noise = np.fft.irfft2(np.fft.rfft2(noise) * noise_shape(rng, size), s=(size, size))
            noise = (noise / noise.std())[:rows, :columns]
            for sigma in (0, 15, 30, 60):
                noisy = hu + np.where(hu > PADDING_BELOW_HU, sigma * noise, 0)
                values = np.concatenate([[columns, rows], noisy.ravel()]).astype('<f4')
                values.tofile(a.folder / f'{number}_{kind}_{sigma}.f32')


if __name__ == '__main__':
    main()
