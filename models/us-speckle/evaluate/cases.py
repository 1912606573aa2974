"""Writes the cases of the evaluation as raw float32 in 8-bit grey values: seed.coarseness.noisy and .clean, of held-out seeds 7000 and on, with a
point spread finer (fine) and coarser (coarse) than a pixel or two.

  python3 cases.py FOLDER [FIRST COUNT]
"""
import pathlib
import sys

import numpy as np

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / 'train'))
import synth

SIDE = 160
SPREADS = {'fine': (0.6, 0.9), 'coarse': (1.1, 2.0)}


def main():
    folder, first, count = pathlib.Path(sys.argv[1]), int((sys.argv[2:] or [7000])[0]), int((sys.argv[3:] or [8])[0])
    for seed in range(first, first + count):
        for name, spread in SPREADS.items():
            rng = np.random.default_rng(seed)
            db = synth.echogenicity(rng, SIDE)
            pair = synth.shown(rng, db, rng.standard_normal((2, SIDE, SIDE)), spread, 60)
            for part, image in zip(('noisy', 'clean'), pair):
                np.round(255 * np.clip(image, 0, 1)).astype('<f4').tofile(folder / f'{seed}.{name}.{part}')


if __name__ == '__main__':
    main()
