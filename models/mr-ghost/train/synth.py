"""Magnitude slices moved while they were acquired, line by line along y, beside the same slices (and the same noise) at rest. Needs numpy, scipy.

Each line of k-space sees the object elsewhere: breathing (a sine, at times with its harmonic), or a few sudden shifts. Translation in the
plane only. Phase encoding runs down the columns; the product turns the image where it does not.
"""
import numpy as np
from scipy.ndimage import gaussian_filter


def ellipse(rng, x, y, spread, radii):
    turn = rng.uniform(0, np.pi)
    u, v = x - rng.uniform(-spread, spread), y - rng.uniform(-spread, spread)
    u, v = u * np.cos(turn) + v * np.sin(turn), v * np.cos(turn) - u * np.sin(turn)
    return (u / rng.uniform(*radii)) ** 2 + (v / rng.uniform(*radii)) ** 2


def at_rest(rng, size):
    """A head, a limb or a body: rim, inside, structures large and small, texture. Tissue is about 0.2 to 1, air 0."""
    y, x = np.mgrid[:size, :size].astype(np.float32) / size - 0.5
    x, y = x - rng.uniform(-0.06, 0.06), y - rng.uniform(-0.06, 0.06)
    bend = gaussian_filter(rng.standard_normal((2, size, size)), (0, size / 9, size / 9)) * size / 9
    x, y = x + 0.05 * bend[0], y + 0.05 * bend[1]
    radius = np.sqrt((x / rng.uniform(0.2, 0.46)) ** 2 + (y / rng.uniform(0.2, 0.46)) ** 2)
    image = np.where(radius < 1, rng.uniform(0.3, 0.9), 0)
    if rng.random() < 0.7:
        image[(radius < 0.93) & (radius > rng.uniform(0.85, 0.9))] = rng.uniform(0, 0.3)
    inside = radius < 0.85
    for _ in range(rng.integers(5, 45)):
        image[(ellipse(rng, x, y, 0.28, (0.01, 0.12)) < 1) & inside] = rng.uniform(0, 1)
    texture = gaussian_filter(rng.standard_normal((size, size)), rng.uniform(0.7, 3))
    image = image * (1 + rng.uniform(0, 0.12) * texture / texture.std())
    shade = gaussian_filter(rng.standard_normal((size, size)), size / 5)
    image = image * np.exp(rng.uniform(0, 0.25) * shade / (np.abs(shade).max() + 1e-9))
    return gaussian_filter(image, rng.uniform(0.3, 0.9))


def displacement(rng, size, degree):
    """Of each line in the order of its acquisition, in pixels down and across. Degree: root mean square where it moves, in pixels."""
    time = np.arange(size)
    if rng.random() < 0.5:
        rate, start = rng.uniform(0.015, 0.22), rng.uniform(0, 2 * np.pi)
        wave = np.sin(2 * np.pi * rate * time + start) + rng.uniform(0, 0.4) * np.sin(4 * np.pi * rate * time + rng.uniform(0, 6))
        way = rng.normal(0, 1, 2) + np.array([1, 0])
        return degree * np.sqrt(2) * wave[None] * (way / (np.linalg.norm(way) + 1e-9))[:, None]
    moved = np.zeros((2, size))
    for _ in range(rng.integers(1, 6)):
        first, length = rng.integers(0, size), rng.integers(3, size // 6)
        if abs(first + length / 2 - size / 2) < 0.06 * size + length / 2:
            continue  # the middle of k-space moved is another position, not a ghost
        moved[:, first:first + length] = degree * rng.normal(0, 1, 2)[:, None]
    return moved


def acquired(image, phase, shifts, noise):
    """The magnitude as it comes out when line n of k-space was taken at shifts[:, n]; noise is added to the complex image."""
    size = image.shape[0]
    k = np.fft.fftshift(np.fft.fft2(image * np.exp(1j * phase)))
    ky = kx = np.fft.fftshift(np.fft.fftfreq(size))
    k = k * np.exp(-2j * np.pi * (ky * shifts[0])[:, None]) * np.exp(-2j * np.pi * shifts[1][:, None] * kx[None])
    return np.abs(np.fft.ifft2(np.fft.ifftshift(k)) + noise)


def pair(rng, size, degree):
    """Moved and at rest, with one noise; scaled by the 99.5th percentile of what moved."""
    image = at_rest(rng, size)
    phase = gaussian_filter(rng.standard_normal((size, size)), size / 6)
    phase = phase / (phase.std() + 1e-9) * rng.uniform(0, 1)
    noise = rng.uniform(0.002, 0.03) * (rng.standard_normal((size, size)) + 1j * rng.standard_normal((size, size)))
    rest = acquired(image, phase, np.zeros((2, size)), noise)
    moved = acquired(image, phase, displacement(rng, size, degree), noise) if degree > 0 else rest
    scale = np.percentile(moved, 99.5)
    return (moved / scale).astype(np.float32), (rest / scale).astype(np.float32)


def example(rng, size=128):
    """A pair to train on; a fifth did not move at all."""
    return pair(rng, size, 0 if rng.random() < 0.2 else np.exp(rng.uniform(np.log(0.2), np.log(2.2))))
