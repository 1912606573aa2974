"""Writes a held-out set: fonts, backgrounds and contrasts that training never sees. Needs numpy, scipy, Pillow and the fonts.

  python3 make_set.py --folder SET --images 500 --empty 100 --seed 2024 [--background DIR]

NNNN.pgm is a picture of 1024x768, NNNN.ink.pgm numbers the ink of each line of text (0: none). Pictures `--empty` have no text.
--background takes pictures of one's own (PGM or PNG without text) as backgrounds for every second picture.
"""
import argparse
import pathlib
import sys

import numpy as np
from PIL import Image

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / 'train'))
import synth  # noqa: E402

H, W = 768, 1024


def real(files):
    """A background drawn from files, at a random cut and size."""
    def background(rng, h, w):
        a = np.asarray(Image.open(files[rng.integers(len(files))]).convert('L'), np.float32)
        grow = rng.uniform(.7, 1.0) * max(h / a.shape[0], w / a.shape[1])
        a = np.asarray(Image.fromarray(a).resize((max(8, int(a.shape[1] * grow)), max(8, int(a.shape[0] * grow))), Image.BICUBIC))
        out = np.zeros((h, w), np.float32)
        y, x = rng.integers(0, max(1, h - a.shape[0])), rng.integers(0, max(1, w - a.shape[1]))
        part = a[:h - y, :w - x]
        out[y:y + part.shape[0], x:x + part.shape[1]] = part
        return out
    return background


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument('--folder', type=pathlib.Path, required=True)
    a.add_argument('--images', type=int, default=500)
    a.add_argument('--empty', type=int, default=100)
    a.add_argument('--seed', type=int, default=2024)
    a.add_argument('--part', default='0/1', help='K/N: every Nth picture from the Kth on, to share the work')
    a.add_argument('--background', type=pathlib.Path)
    a = a.parse_args()
    a.folder.mkdir(parents=True, exist_ok=True)
    kinds = list(synth.HELD_OUT)
    if a.background is not None:
        files = sorted(p for p in a.background.iterdir() if p.suffix in ('.pgm', '.png'))
        kinds += [real(files)] * len(kinds)
    synth.HELD_OUT[:] = kinds
    lines = 0
    k, n = (int(v) for v in a.part.split('/'))
    for i in range(k, a.images + a.empty, n):
        rng = np.random.default_rng([a.seed, i])
        picture, _, boxes = synth.sample(rng, H, W, held_out=True, text=i < a.images)
        ink = np.zeros((H, W), np.uint8)
        for n, (x0, y0, x1, y1, where) in enumerate(boxes[:255]):
            ink[y0:y1, x0:x1][where] = n + 1
        Image.fromarray(picture).save(a.folder / f'{i:04d}.pgm')
        Image.fromarray(ink).save(a.folder / f'{i:04d}.ink.pgm')
        lines += len(boxes[:255])
    print(f'{lines} lines of text')


if __name__ == '__main__':
    main()
