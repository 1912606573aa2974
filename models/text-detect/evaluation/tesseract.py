"""What tesseract finds on a held-out set (make_set.py), by the measure of measure.ts. Needs tesseract-ocr, numpy, Pillow.

  python3 tesseract.py --set SET --every 10 --psm 11
"""
import argparse
import pathlib
import subprocess
import time

import numpy as np
from PIL import Image


def words(file, psm):
    out = subprocess.run(['tesseract', str(file), '-', '--psm', str(psm), 'tsv'], capture_output=True, text=True).stdout
    for line in out.splitlines()[1:]:
        cells = line.split('\t')
        if len(cells) == 12 and cells[11].strip() and float(cells[10]) >= 0:
            left, top, width, height = (int(v) for v in cells[6:10])
            yield left - 3, top - 3, left + width + 3, top + height + 3


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument('--set', type=pathlib.Path, required=True)
    a.add_argument('--every', type=int, default=1)
    a.add_argument('--psm', type=int, default=11)
    a = a.parse_args()
    files = sorted(f for f in a.set.glob('*.pgm') if not f.name.endswith('.ink.pgm'))[::a.every]
    lines = found = empty = blanked = 0
    times = []
    for file in files:
        ink = np.asarray(Image.open(file.with_name(file.name.replace('.pgm', '.ink.pgm'))))
        start = time.time()
        boxes = list(words(file, a.psm))
        times.append(time.time() - start)
        mask = np.zeros(ink.shape, bool)
        for x0, y0, x1, y1 in boxes:
            mask[max(0, y0):y1, max(0, x0):x1] = True
        if not ink.any():
            empty += ink.size
            blanked += int(mask.sum())
            continue
        for line in np.unique(ink[ink > 0]):
            where = ink == line
            lines += 1
            found += mask[where].mean() >= .95
    print(f'{len(files)} pictures, recall {found / lines:.4f} of {lines} lines, '
          f'blanked {100 * blanked / max(1, empty):.3f} % where there is no text, median {1000 * np.median(times):.0f} ms')


if __name__ == '__main__':
    main()
