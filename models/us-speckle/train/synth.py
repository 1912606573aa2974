"""B-mode pictures out of nothing beside what they would be without speckle: both in grey values as shown, 0 to 1. Needs numpy, scipy.

Speckle is simulated, not painted on: random scatterers whose strength is the square root of the tissue's echogenicity are blurred by a
complex point spread of a few pixels, the envelope is taken, and both envelope and echogenicity are compressed to the same 45 to 75 dB.
What should come out is the logarithm of the local mean intensity (blurred as little as half the speckle), less the constant by which the mean
of the logarithm of speckle lies below it: grey values keep their mean.
"""
import numpy as np
from scipy.ndimage import gaussian_filter

# Mean of 10 log10 of an exponentially distributed intensity of mean 1: -10 gamma / ln 10.
LOG_BIAS_DB = -2.507


def ellipse(rng, x, y, spread, radii):
    turn = rng.uniform(0, np.pi)
    u, v = x - rng.uniform(-spread, spread), y - rng.uniform(-spread, spread)
    u, v = u * np.cos(turn) + v * np.sin(turn), v * np.cos(turn) - u * np.sin(turn)
    return (u / rng.uniform(*radii)) ** 2 + (v / rng.uniform(*radii)) ** 2


def echogenicity(rng, size):
    """dB against the strongest tissue: layers, cysts, masses, bright lines and points, shadows."""
    y, x = np.mgrid[:size, :size].astype(np.float32) / size - 0.5
    bend = gaussian_filter(rng.standard_normal((2, size, size)), (0, size / 8, size / 8)) * size / 8
    u, v = x + 0.08 * bend[0], y + 0.08 * bend[1]
    db = np.full((size, size), rng.uniform(-32, -12), np.float32)
    for _ in range(rng.integers(0, 5)):  # layers
        edge = rng.uniform(-0.5, 0.5) + rng.uniform(-0.4, 0.4) * u
        db = np.where((v > edge) & (v < edge + rng.uniform(0.03, 0.5)), db + rng.uniform(-10, 10), db)
    for _ in range(rng.integers(1, 9)):
        inside = ellipse(rng, u, v, 0.5, (0.02, 0.25)) < 1
        db = np.where(inside, rng.uniform(-60, -40) if rng.random() < 0.35 else db + rng.uniform(-14, 12), db)
    for _ in range(rng.integers(0, 6)):  # bright lines
        db = np.maximum(db, -rng.uniform(0, 12) - 40 * np.clip(ellipse(rng, u, v, 0.5, (0.006, 0.4)) - 1, 0, 2))
    if rng.random() < 0.3:  # a shadow
        db = db - rng.uniform(5, 30) * ((np.abs(x - rng.uniform(-0.5, 0.5)) < rng.uniform(0.02, 0.1)) & (y > rng.uniform(-0.4, 0.3)))
    return np.clip(db + rng.uniform(-12, 4) * (y + 0.5), -70, 0)


def shown(rng, db, scatterer, spread, span):
    """Envelope of the scatterers in dB, compressed to 0 to 1 over span dB below 0; and the echogenicity beside it."""
    amplitude = 10 ** (db / 20)
    field = [gaussian_filter(amplitude * part, spread) for part in scatterer]
    # Unit mean intensity where the echogenicity is 0 dB.
    power = 4 * np.pi * spread[0] * spread[1]
    intensity = (field[0] ** 2 + field[1] ** 2) * power / 2
    mean = gaussian_filter(10 ** (db / 10), [s / 2 for s in spread])
    floor = 10 ** (-(span + 5) / 10)
    gray = [(10 * np.log10(one + floor) + span) / span for one in (intensity, mean)]
    return gray[0], gray[1] + LOG_BIAS_DB / span * (mean > floor)


def example(rng, size=128):
    db = echogenicity(rng, size)
    spread = (rng.uniform(0.6, 1.8), rng.uniform(0.7, 3.0))
    noisy, clean = shown(rng, db, rng.standard_normal((2, size, size)), spread, rng.uniform(45, 75))
    return np.clip(noisy, 0, 1).astype(np.float32), np.clip(clean, 0, 1).astype(np.float32)
