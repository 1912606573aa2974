"""Classical methods on the cases that cases.py wrote: seed.coarseness.method and .seconds beside them, the methods' names to standard output.

Lee (1980) and speckle-reducing anisotropic diffusion (Yu, Acton 2002) work on the envelope that the grey values (60 dB) stand for, and give it
back compressed, with the constant by which the mean of the logarithm lies below the logarithm of the mean; NLM on the grey values, with the true
deviation of logarithmic speckle. Needs numpy, scipy, scikit-image.
"""
import pathlib
import sys
import time

import numpy as np
from scipy.ndimage import uniform_filter
from skimage.restoration import denoise_nl_means

SIDE, SPAN = 160, 60


def lee(grey, size=7):
    intensity = 10 ** (grey / 255 * SPAN / 10)
    mean = uniform_filter(intensity, size)
    variance = np.maximum(uniform_filter(intensity ** 2, size) - mean ** 2, 0)
    # Fully developed speckle: the variance of intensity is its mean squared.
    signal = np.maximum(variance - mean ** 2, 0) / 2
    result = mean + signal / np.maximum(signal + mean ** 2, 1e-12) * (intensity - mean)
    return 255 / SPAN * (10 * np.log10(result) - 2.507)


def srad(grey, steps=60, step=0.05):
    image = 10 ** (grey / 255 * SPAN / 10)
    for n in range(steps):
        scale = np.exp(-n * step / 2)  # q0 falls as speckle does
        padded = np.pad(image, 1, mode='edge')
        north, south, west, east = (padded[:-2, 1:-1] - image, padded[2:, 1:-1] - image, padded[1:-1, :-2] - image, padded[1:-1, 2:] - image)
        g2 = (north ** 2 + south ** 2 + west ** 2 + east ** 2) / image ** 2
        laplacian = (north + south + west + east) / image
        q2 = np.maximum((g2 / 2 - laplacian ** 2 / 16) / (1 + laplacian / 4) ** 2, 0)
        c = np.clip(1 / (1 + (q2 - scale ** 2) / (scale ** 2 * (1 + scale ** 2))), 0, 1)
        below, right = np.pad(c, ((0, 1), (0, 0)), mode='edge')[1:], np.pad(c, ((0, 0), (0, 1)), mode='edge')[:, 1:]
        image = np.maximum(image + step * (below * south + c * north + right * east + c * west), 1e-6)
    return 255 / SPAN * (10 * np.log10(image) - 2.507)


def nlm(grey):
    sigma = 5.57 / SPAN * 255
    return denoise_nl_means(grey, patch_size=5, patch_distance=8, h=0.8 * sigma, sigma=sigma, fast_mode=True)


METHODS = {'Lee (7 x 7)': lee, 'SRAD (60 steps)': srad, 'NLM (scikit-image)': nlm}
folder = pathlib.Path(sys.argv[1])
for path in sorted(folder.glob('*.noisy')):
    grey = np.fromfile(path, np.float32).reshape(SIDE, SIDE).astype(float)
    for name, method in METHODS.items():
        begun = time.perf_counter()
        result = np.round(np.clip(method(grey), 0, 255))
        target = folder / path.name.replace('noisy', name.split()[0])
        result.astype('<f4').tofile(target)
        pathlib.Path(f'{target}.seconds').write_text(str(time.perf_counter() - begun))
print('\n'.join(METHODS))
