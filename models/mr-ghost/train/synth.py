"""Magnitude slices moved while they were acquired, line by line along y, beside the same slices (and the same noise) at rest. Needs numpy, scipy.

Each line of k-space sees the object elsewhere: breathing (a sine, at times with its harmonic) or sudden motion (a few shifts that come back).
Translation in the plane only. Phase encoding runs down the columns; the product turns the image where it does not. Everything is drawn: heads,
bodies and limbs, organs, and pictures of folds, leaves and pieces as the recipe of ct-denoise draws them; no patient's image.
"""
import importlib.util
import pathlib

import numpy as np
import scipy.fft
from scipy.ndimage import gaussian_filter

_spec = importlib.util.spec_from_file_location('drawn', pathlib.Path(__file__).parents[2] / 'ct-denoise' / 'train' / 'synth.py')
drawn = importlib.util.module_from_spec(_spec)
_spec.loader.exec_module(drawn)

# Roughly what T1, T2, PD and FLAIR show of: fat, bone, fluid, grey matter, white matter, muscle.
CONTRASTS = ((1.0, 0.05, 0.15, 0.5, 0.7, 0.45), (0.7, 0.05, 1.0, 0.55, 0.4, 0.3), (0.7, 0.08, 0.8, 0.8, 0.65, 0.6), (0.6, 0.05, 0.08, 0.65, 0.5, 0.35))


def ellipse(rng, x, y, spread, radii):
    turn = rng.uniform(0, np.pi)
    u, v = x - rng.uniform(-spread, spread), y - rng.uniform(-spread, spread)
    u, v = u * np.cos(turn) + v * np.sin(turn), v * np.cos(turn) - u * np.sin(turn)
    return (u / rng.uniform(*radii)) ** 2 + (v / rng.uniform(*radii)) ** 2


def smooth(rng, size, width):
    """A field of unit deviation with detail of about `width` pixels."""
    f = scipy.fft.fftfreq(size)
    shape = np.exp(-2 * (np.pi * width) ** 2 * (f[:, None] ** 2 + f[: size // 2 + 1][None] ** 2))
    field = scipy.fft.irfft2(scipy.fft.rfft2(rng.standard_normal((size, size))) * shape, s=(size, size))
    return field / (field.std() + 1e-9)


def plane(rng, size):
    """Coordinates from -0.5 to 0.5, a little off the middle, bent."""
    y, x = np.mgrid[:size, :size].astype(np.float32) / size - 0.5
    bend = rng.uniform(0.002, 0.012)
    return x - rng.uniform(-0.06, 0.06) + bend * smooth(rng, size, size / 9), y - rng.uniform(-0.06, 0.06) + bend * smooth(rng, size, size / 9)


def body(rng, size):
    """A limb or a trunk: rim, inside, structures large and small."""
    x, y = plane(rng, size)
    radius = np.sqrt((x / rng.uniform(0.2, 0.46)) ** 2 + (y / rng.uniform(0.2, 0.46)) ** 2)
    image = np.where(radius < 1, rng.uniform(0.3, 0.9), 0)
    if rng.random() < 0.7:
        image[(radius < 0.93) & (radius > rng.uniform(0.85, 0.9))] = rng.uniform(0, 0.3)
    inside = radius < 0.85
    for _ in range(rng.integers(5, 45)):
        image[(ellipse(rng, x, y, 0.28, (0.01, 0.12)) < 1) & inside] = rng.uniform(0, 1)
    return image


def head(rng, size):
    """Scalp, skull, fluid, folded grey and white matter, ventricles; contrast as T1, T2, PD or FLAIR, varied."""
    x, y = plane(rng, size)
    fat, bone, fluid, grey, white, muscle = np.clip(np.array(CONTRASTS[rng.integers(4)]) * rng.uniform(0.7, 1.3, 6), 0, 1.2)
    radius = np.sqrt((x / rng.uniform(0.28, 0.42)) ** 2 + (y / rng.uniform(0.3, 0.46)) ** 2)
    fold = drawn.band(rng, size, size * rng.uniform(0.03, 0.09))
    depth = radius + rng.uniform(0.01, 0.05) * fold
    image = np.where(radius < 1, fat, 0)
    image[radius < rng.uniform(0.93, 0.96)] = muscle
    image[radius < rng.uniform(0.9, 0.92)] = bone
    image[radius < 0.87] = fluid
    image[depth < rng.uniform(0.82, 0.85)] = grey
    image[(depth < rng.uniform(0.72, 0.8)) & (fold < rng.uniform(0.3, 1.2))] = white
    for _ in range(rng.integers(1, 5)):
        image[(ellipse(rng, x, y, 0.1, (0.02, 0.12)) < 1) & (radius < 0.6)] = fluid
    for _ in range(rng.integers(0, 10)):
        image[(ellipse(rng, x, y, 0.3, (0.005, 0.05)) < 1) & (radius < 0.8)] = rng.uniform(0, 1)
    return image


def piece(rng, size):
    """Folds, leaves, organs or pieces inside the outline of a body, or over all of the picture."""
    image = rng.choice([drawn.dead_leaves, drawn.phantom, drawn.folds, drawn.pieces])(rng, size)
    image = np.clip(image, 0, 1.2)
    if rng.random() < 0.9:
        x, y = plane(rng, size)
        image = image * ((x / rng.uniform(0.2, 0.47)) ** 2 + (y / rng.uniform(0.2, 0.47)) ** 2 < 1)
    return image


def at_rest(rng, size):
    """Tissue is about 0.2 to 1, air 0."""
    image = rng.choice([body, head, piece], p=[0.35, 0.35, 0.3])(rng, size)
    image = image * (1 + rng.uniform(0, 0.12) * smooth(rng, size, rng.uniform(0.7, 3)))
    if rng.random() < 0.6:
        shade = smooth(rng, size, size / 5)
        image = image * np.exp(rng.uniform(0, 0.3) * shade / (np.abs(shade).max() + 1e-9))
    return gaussian_filter(image, rng.uniform(0.3, 0.9))


def order(rng, lines):
    """When each line of k-space is taken: one after the other, now and then in shots."""
    time = np.arange(lines)
    if rng.random() < 0.8:
        return time
    shots = rng.integers(2, 9)
    return np.argsort(np.argsort((time % shots) * lines + time))


def breathing(rng, lines, degree):
    time = order(rng, lines)
    rate, start = rng.uniform(0.01, 0.25), rng.uniform(0, 2 * np.pi)
    wave = np.sin(2 * np.pi * rate * time + start) + rng.uniform(0, 0.4) * np.sin(4 * np.pi * rate * time + rng.uniform(0, 6))
    way = rng.normal(0, 1, 2) + np.array([1, 0])
    return degree * np.sqrt(2) * wave[None] * (way / (np.linalg.norm(way) + 1e-9))[:, None]


def sudden(rng, lines, degree, shifts=None):
    moved, wanted = np.zeros((2, lines)), shifts or rng.integers(1, 11)
    while wanted:
        first, length = rng.integers(0, lines), rng.integers(3, lines // 6)
        if abs(first + length / 2 - lines / 2) < 0.06 * lines + length / 2:
            continue  # the middle of k-space moved is another position, not a ghost
        moved[:, first:first + length] = degree * rng.normal(0, 1, 2)[:, None]
        wanted -= 1
    return moved


def acquired(image, phase, shifts, noise):
    """The magnitude as it comes out when line n of k-space was taken at shifts[:, n], in pixels of the image. Lines fewer than the image has
    rows: the rest is zero-filled. Noise is k-space's, of the lines taken."""
    size, lines = image.shape[0], shifts.shape[1]
    k = np.fft.fftshift(scipy.fft.fft2(image * np.exp(1j * phase)))
    f = np.fft.fftshift(np.fft.fftfreq(size))
    first = (size - lines) // 2
    taken = slice(first, first + lines)
    filled = np.zeros_like(k)
    turn = np.exp(-2j * np.pi * (f[taken] * shifts[0])[:, None]) * np.exp(-2j * np.pi * shifts[1][:, None] * f[None, taken])
    filled[taken, taken] = k[taken, taken] * turn + noise[taken, taken]
    return np.abs(scipy.fft.ifft2(np.fft.ifftshift(filled)))


def pair(rng, image, motion, degree, lines=None):
    """Moved and at rest, with one noise; scaled by the 99.5th percentile of what moved. Degree: root mean square where it moves, in pixels."""
    size = image.shape[0]
    lines = lines or size
    phase = smooth(rng, size, size / 6) * rng.uniform(0, 1)
    noise = size * np.exp(rng.uniform(np.log(0.001), np.log(0.025))) * (rng.standard_normal((size, size)) + 1j * rng.standard_normal((size, size)))
    rest = acquired(image, phase, np.zeros((2, lines)), noise)
    moved = acquired(image, phase, motion(rng, lines, degree), noise) if degree > 0 else rest
    scale = np.percentile(moved, 99.5) + 1e-6
    return (moved / scale).astype(np.float32), (rest / scale).astype(np.float32)


def examples(rng, size=192, motions=3):
    """Pairs to train on, of one object moved in several ways; of seven about one did not move at all."""
    image = at_rest(rng, size)
    for _ in range(motions):
        motion, least, most = ((breathing, 0.25, 2.0), (sudden, 0.7, 5.0))[int(rng.random() < 0.4)]
        degree = 0 if rng.random() < 0.15 else np.exp(rng.uniform(np.log(least), np.log(most)))
        lines = int(rng.uniform(0.55, 1) * size) if rng.random() < 0.35 else size
        yield pair(rng, image, motion, degree, lines)
