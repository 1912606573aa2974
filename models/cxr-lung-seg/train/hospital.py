"""A hospital's own radiographs and masks, laid out as CXLSeg and the Montgomery and JSRT sets can be: images/ and masks/ with the same names.

A mask is one picture with everything above its middle value a lung, or two in masks/left and masks/right (the patient's sides).
In one picture the sides are told apart by the middle of the lungs. PNG, JPEG, or DICOM for the images. Needs numpy, PIL; pydicom for DICOM.
"""
import hashlib
import pathlib

import numpy as np
from PIL import Image
from scipy.ndimage import label as components

from synth import standard

KINDS = ('.png', '.jpg', '.jpeg', '.tif', '.tiff', '.dcm')


def picture(path):
    """Grey values as the display would have them: bright where the beam was stopped."""
    if path.suffix.lower() == '.dcm':
        import pydicom
        data = pydicom.dcmread(path)
        grey = data.pixel_array.astype(np.float32)
        return -grey if data.PhotometricInterpretation == 'MONOCHROME1' else grey
    grey = np.asarray(Image.open(path))
    return grey.astype(np.float32) if grey.ndim == 2 else grey[..., :3].astype(np.float32).mean(2)


def fitted(grey, size, method):
    """Scaled into a square, its shape kept, the rest the darkest value."""
    scale = size / max(grey.shape)
    shape = [max(1, round(n * scale)) for n in grey.shape]
    small = np.asarray(Image.fromarray(grey).resize((shape[1], shape[0]), method))
    square = np.full((size, size), small.min(), np.float32)
    y, x = (size - shape[0]) // 2, (size - shape[1]) // 2
    square[y:y + shape[0], x:x + shape[1]] = small
    return square


def sides(mask):
    """1 and 2 for the lung on the image's left and right: by the two largest parts, or by the middle where they touch."""
    parts, count = components(mask)
    label = np.zeros(mask.shape, np.uint8)
    if not count:
        return label
    areas = np.bincount(parts.ravel())[1:]
    places = [np.mean(np.nonzero(parts == i + 1)[1]) for i in range(count)]
    largest = np.argsort(areas)[::-1][:2]
    if count >= 2 and areas[largest[1]] > 0.2 * areas[largest[0]]:
        middle = np.mean([places[i] for i in largest])
        for i in range(count):
            label[parts == i + 1] = 1 if places[i] < middle else 2
        return label
    columns = np.arange(mask.shape[1])[None, :]
    label[mask & (columns < np.mean(np.nonzero(mask)[1]))] = 1
    label[mask & (label == 0)] = 2
    return label


def mask_of(folder, name, size):
    """The label of an image by its name without ending, or None where there is no mask."""
    def found(where):
        return next((p for p in sorted(where.glob(name + '*')) if p.stem in (name, name + '_mask', name + '-mask') and p.suffix.lower() in KINDS), None)

    def binary(path):
        grey = fitted(picture(path), size, Image.BILINEAR)
        return grey > (grey.min() + grey.max()) / 2 if grey.max() > grey.min() else np.zeros((size, size), bool)

    right, left = found(folder / 'right'), found(folder / 'left')
    if right and left:
        return (binary(right) * 1 + binary(left) * 2 * ~binary(right)).astype(np.uint8)
    whole = found(folder)
    return sides(binary(whole)) if whole else None


def read(folder, size):
    """Pairs to train on, and the pairs kept apart."""
    folder = pathlib.Path(folder)
    if not (folder / 'images').is_dir() or not (folder / 'masks').is_dir():
        raise SystemExit(f'{folder}: expected the folders images and masks in it')
    train, kept = [], []
    for path in sorted((folder / 'images').iterdir()):
        if path.suffix.lower() not in KINDS:
            continue
        label = mask_of(folder / 'masks', path.stem, size)
        if label is None:
            print('no mask for one image, left out:', path.name)
            continue
        pair = (standard(fitted(picture(path), size, Image.BILINEAR)), label)
        (kept if int(hashlib.sha256(path.stem.encode()).hexdigest(), 16) % 10 == 0 else train).append(pair)
    if len(train) < 8:
        raise SystemExit(f'{folder}: {len(train)} images with masks; at least 8 are needed')
    return train, kept
