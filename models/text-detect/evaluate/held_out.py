"""Writes the held-out set: fonts, backgrounds and contrasts that training never sees. Needs numpy, scipy, Pillow and the fonts, and
pydicom for the backgrounds of real images.

  python3 held_out.py [--folder DIR] [--images 520] [--empty 120] [--seed 20264] [--samples DIR]

NNNN.pgm is a picture of 1024x768, NNNN.ink.pgm numbers the ink of each line of text (0: none). Pictures `--empty` have no text. With
--samples (or ISTHMUS_SAMPLES) every second picture has one of REAL behind its text. The last line printed names the folder; what is in it
already is left as it is, so that a run that was ended is gone on with.
"""
import argparse
import os
import pathlib
import sys

import numpy as np
from PIL import Image

sys.path.insert(0, str(pathlib.Path(__file__).resolve().parent.parent / 'train'))
import synth  # noqa: E402
from fonts import font_files  # noqa: E402

H, W = 768, 1024
CACHE = pathlib.Path(__file__).resolve().parents[3] / 'node_modules/.cache/evaluate/text-detect'
# CT, MR, PET and radiographs without letters in them: folder of the samples, and every so many-th file of it.
REAL = [('dicom/mr_fruit_ge_196slices', 17), ('dicom/mr_pacsman_128slices', 60), ('dicom/mr_knee_like_16slices', 1),
        ('dicom/mr_pair_t1_t2/t1_flash_fixed', 11), ('dicom/mr_pair_t1_t2/t2_epi_moving', 7), ('dicom/ct_rt_breast', 1),
        ('dicom/pet_breast', 1), ('dicom/seg_sr_sm', 3), ('oddities/dicomdir/TINY_ALPHA/PT000000/ST000000/SE000000', 7)]


def shades(file):
    """The image in 0..255, or None where it is none of grey slices that are stored as they are."""
    import pydicom
    try:
        a = pydicom.dcmread(file)
        if a.SamplesPerPixel != 1 or a.Modality not in ('CT', 'MR', 'PT', 'CR', 'DX'):
            return None
        values = a.pixel_array.astype(np.float32)
    except Exception:
        return None
    values = values if values.ndim == 2 else values[len(values) // 2]
    low, high = np.percentile(values, [1, 99.5])
    return None if high <= low else np.clip((values - low) * 255 / (high - low), 0, 255)


def real_images(samples):
    files = [f for folder, step in REAL for f in sorted((samples / folder).glob('**/*'))[::step] if f.is_file()]
    return [image for image in map(shades, files) if image is not None]


def real(images):
    """A background of real images, at a random cut and size."""
    def background(rng, h, w):
        a = images[rng.integers(len(images))]
        grow = rng.uniform(.7, 1.0) * max(h / a.shape[0], w / a.shape[1])
        a = np.asarray(Image.fromarray(a).resize((max(8, int(a.shape[1] * grow)), max(8, int(a.shape[0] * grow))), Image.BICUBIC))
        out = np.zeros((h, w), np.float32)
        y, x = rng.integers(0, max(1, h - a.shape[0])), rng.integers(0, max(1, w - a.shape[1]))
        part = a[:h - y, :w - x]
        out[y:y + part.shape[0], x:x + part.shape[1]] = part
        return out
    return background


def arguments():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument('--folder', type=pathlib.Path)
    a.add_argument('--images', type=int, default=520)
    a.add_argument('--empty', type=int, default=120)
    a.add_argument('--seed', type=int, default=20264)
    samples = os.environ.get('ISTHMUS_SAMPLES')
    a.add_argument('--samples', type=pathlib.Path, default=None if samples is None else pathlib.Path(samples))
    return a.parse_args()


def main():
    a = arguments()
    images = [] if a.samples is None else real_images(a.samples)
    fonts = len(font_files(True))
    if fonts < 50:
        sys.exit(f'{fonts} of the held-out fonts are installed; train/README.md names their packages')
    folder = a.folder or CACHE / f'{a.seed}-{a.images}-{a.empty}-{fonts}-{len(images)}'
    if not (folder / 'complete').exists():
        folder.mkdir(parents=True, exist_ok=True)
        synth.HELD_OUT[:] = list(synth.HELD_OUT) + [real(images)] * (len(synth.HELD_OUT) if images else 0)
        for i in range(a.images + a.empty):
            if (folder / f'{i:04d}.ink.pgm').exists():
                continue
            rng = np.random.default_rng([a.seed, i])
            picture, _, boxes = synth.sample(rng, H, W, held_out=True, text=i < a.images)
            ink = np.zeros((H, W), np.uint8)
            for n, (x0, y0, x1, y1, where) in enumerate(boxes[:255]):
                ink[y0:y1, x0:x1][where] = n + 1
            Image.fromarray(picture).save(folder / f'{i:04d}.pgm')
            Image.fromarray(ink).save(folder / 'part', 'PPM')
            (folder / 'part').rename(folder / f'{i:04d}.ink.pgm')
        (folder / 'complete').write_text(f'{fonts} fonts, {len(images)} real images\n')
    print(folder)


if __name__ == '__main__':
    main()
