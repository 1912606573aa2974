"""Methods without a network on the cases that cases.py wrote: NAME.KIND.DEGREE.METHOD beside each, the methods' names to standard output.

Floor: outside the body, found by a threshold and closed, magnitude is brought down to the level of the quietest corner. Median: of three pixels
along the phase. Needs numpy, scipy, scikit-image.

  python3 classical.py FOLDER
"""
import pathlib
import sys

import numpy as np
from scipy.ndimage import binary_closing, binary_dilation, binary_fill_holes, binary_opening, gaussian_filter, median_filter
from skimage.filters import threshold_otsu

SIDE = 192


def floor(image):
    blurred = gaussian_filter(image, 2)
    body = binary_opening(blurred > 0.5 * threshold_otsu(blurred), iterations=2)
    body = binary_dilation(binary_fill_holes(binary_closing(body, iterations=6)), iterations=3)
    tiles = image.reshape(SIDE // 16, 16, SIDE // 16, 16).mean((1, 3))
    return np.where(body, image, np.minimum(image, 1.5 * tiles.min()))


METHODS = {'floor (in the air alone)': floor, 'median (3 along the phase)': lambda image: median_filter(image, (3, 1), mode='wrap')}
folder = pathlib.Path(sys.argv[1])
for path in sorted([*folder.glob('*.moved'), *folder.glob('*.rest')]):
    image = np.fromfile(path, np.float32).reshape(SIDE, SIDE)
    for name, method in METHODS.items():
        np.round(method(image)).astype('<f4').tofile(f'{path}.{name.split()[0]}')
print('\n'.join(METHODS))
