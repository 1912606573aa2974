"""Writes the cases of the evaluation as raw float32 pictures and uint8 labels into a folder: chests and other pictures of held-out seeds, and, where
ISTHMUS_LUNGS names a folder with images/ and masks/, those. The list of what was written goes to standard output as JSON.

  python3 cases.py FOLDER [FIRST COUNT]      # seeds 5000 and on are the evaluation's; 4000 to 4199 calibrated the gates; training has seed 1
"""
import json
import os
import pathlib
import sys

import numpy as np
from PIL import Image

sys.path.insert(0, str(pathlib.Path(__file__).parent.parent / 'train'))
import hospital
import synth

SIDE = 256


def write(folder, name, image, label, kind):
    image.astype('<f4').tofile(folder / f'{name}.image')
    label.astype(np.uint8).tofile(folder / f'{name}.label')
    return dict(name=name, columns=image.shape[1], rows=image.shape[0], kind=kind)


def main():
    folder, first, count = pathlib.Path(sys.argv[1]), int((sys.argv[2:] or [5000])[0]), int((sys.argv[3:] or [60])[0])
    written = []
    for seed in range(first, first + count):
        for kind, make in (('chest', synth.chest), ('other', synth.other)):
            rng = np.random.default_rng([seed, kind == 'chest'])
            image, label = make(rng, SIDE)
            image, label = synth.shown(rng, image.astype(np.float32), label)
            low, high = image.min(), image.max()
            written.append(write(folder, f'{kind}{seed}', np.round((image - low) / (high - low) * 4095), label, kind))
    own = os.environ.get('ISTHMUS_LUNGS')
    if own:
        for path in sorted((pathlib.Path(own) / 'images').iterdir()):
            label = hospital.mask_of(pathlib.Path(own) / 'masks', path.stem, 512)
            if label is not None:
                written.append(write(folder, f'real{len(written)}', hospital.fitted(hospital.picture(path), 512, Image.BILINEAR), label, 'real'))
    print(json.dumps(written))


if __name__ == '__main__':
    main()
