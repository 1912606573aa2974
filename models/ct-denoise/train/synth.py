"""Training images and noise made from nothing: no patient's image enters the model. Needs numpy, scipy.

Dead leaves (shapes that cover each other, radii ~ r^-3) have edges of every size; 1/f textures give the grain of tissue; organ
phantoms with inserts of low contrast teach the network to keep what a radiologist looks for. Values are about [0, 1]: what the
unit means in HU does not matter, the network is equivariant to it (net.py).
"""
import numpy as np
import scipy.fft
from scipy.ndimage import gaussian_filter


def texture(rng, size):
    """Zero mean, unit variance, power spectrum 1/f^(2b) with random b."""
    b = rng.uniform(0.3, 2.2)
    f = np.fft.fftfreq(size)
    radius = np.hypot(f[:, None], f) + 1 / size
    z = np.real(np.fft.ifft2(np.fft.fft2(rng.standard_normal((size, size))) / radius ** b))
    return (z - z.mean()) / (z.std() + 1e-6)


def inside(rng, yy, xx, centre, radius):
    """The mask of one ellipse, box, star, ring or bar, turned at random."""
    angle, flat = rng.uniform(0, np.pi), rng.uniform(0.35, 1)
    dx, dy = xx - centre[1], yy - centre[0]
    u = dx * np.cos(angle) + dy * np.sin(angle)
    v = (dy * np.cos(angle) - dx * np.sin(angle)) / flat
    kind = rng.integers(5)
    if kind == 0:
        return np.hypot(u, v) < radius
    if kind == 1:
        return (abs(u) < 0.8 * radius) & (abs(v) < 0.8 * radius)
    if kind == 2:
        return np.hypot(u, v) < radius * (1 + 0.3 * np.sin(rng.integers(3, 8) * np.arctan2(v, u) + angle))
    if kind == 3:
        return abs(np.hypot(u, v) - 0.8 * radius) < max(1.0, 0.12 * radius)
    return (abs(u) < radius) & (abs(v) < max(0.8, rng.uniform(0.05, 0.2) * radius))


def dead_leaves(rng, size, leaves=260):
    image = np.full((size, size), rng.uniform())
    grains = [texture(rng, size) for _ in range(4)]
    least = np.exp(rng.uniform(np.log(1.2), np.log(10)))  # from small leaves on bare ground to a ground wholly covered
    radii = 1 / np.sqrt(rng.uniform(1 / (0.5 * size) ** 2, 1 / least ** 2, leaves))
    if rng.random() < 0.6:
        radii = np.sort(radii)[::-1]  # large ones first: fine detail survives
    for radius in radii:
        centre = rng.uniform(-5, size + 5, 2)
        reach = int(1.4 * radius) + 2
        y0, x0 = np.maximum(0, centre.astype(int) - reach)
        y1, x1 = np.minimum(size, centre.astype(int) + reach + 1)
        if y0 >= y1 or x0 >= x1:
            continue
        yy, xx = np.mgrid[y0:y1, x0:x1]
        value = rng.uniform()
        if rng.random() < 0.6:
            value = value + 0.15 * rng.random() ** 2 * grains[rng.integers(4)][y0:y1, x0:x1]
        if rng.random() < 0.2:
            slope = rng.uniform(-0.15, 0.15, 2)
            value = value + ((xx - centre[1]) * slope[0] + (yy - centre[0]) * slope[1]) / (radius + 1)
        image[y0:y1, x0:x1] = np.where(inside(rng, yy, xx, centre, radius), value, image[y0:y1, x0:x1])
    return image


def phantom(rng, size):
    """A body with 8 to 80 inserts, most of low contrast, and grain."""
    image, (yy, xx), base = np.zeros((size, size)), np.mgrid[:size, :size], rng.uniform(0.3, 0.6)
    body = inside(rng, yy, xx, (size / 2, size / 2), size * rng.uniform(0.38, 0.7))
    low = rng.uniform(0.005, 0.1)
    image[body] = base
    for _ in range(rng.integers(8, 80)):
        radius, centre = 0.25 * size * rng.random() ** 2 + 1.2, rng.uniform(0, size, 2)
        contrast = rng.choice([low, low, 3 * low, 0.4])
        image[inside(rng, yy, xx, centre, radius) & body] = base + rng.uniform(-contrast, contrast)
    return image + texture(rng, size) * rng.uniform(0, 0.015) * (image > 0)


def band(rng, size, width):
    """A random field with detail of about `width` pixels, unit variance."""
    f = np.fft.fftfreq(size)
    radius = np.hypot(f[:, None], f) * width
    z = np.real(np.fft.ifft2(np.fft.fft2(rng.standard_normal((size, size))) * np.exp(-8 * (radius - 0.7) ** 2)))
    return z / (z.std() + 1e-6)


def folds(rng, size):
    """Two or three tissues that fold into each other as grey and white matter, bowel or trabeculae do, over slow shading."""
    width, made = np.exp(rng.uniform(np.log(5), np.log(40))), np.full((size, size), rng.uniform(0.2, 0.8))
    field, steep = band(rng, size, width), rng.uniform(4, 30)
    for _ in range(rng.integers(1, 4)):
        level, contrast = rng.uniform(-1.2, 1.2), rng.choice([0.03, 0.1, 0.4]) * rng.uniform(-1, 1)
        made += contrast / (1 + np.exp(-np.clip(steep * (field - level), -40, 40)))
        if rng.random() < 0.5:
            field = 0.7 * field + 0.7 * band(rng, size, np.exp(rng.uniform(np.log(3), np.log(30))))
    yy, xx = np.mgrid[:size, :size] / size
    made += rng.uniform(-0.2, 0.2) * xx + rng.uniform(-0.2, 0.2) * yy
    for _ in range(rng.integers(0, 25)):  # vessels: thin bars and small discs
        centre, radius = rng.uniform(0, size, 2), rng.uniform(1, 14)
        made[inside(rng, yy * size, xx * size, centre, radius)] += rng.uniform(-0.3, 0.3) * rng.random()
    return made + texture(rng, size) * rng.uniform(0, 0.01)


def pieces(rng, size):
    """A few large pieces with sharp borders and smooth texture, as MR shows organs: drawn twice as fine, each pixel the mean of four."""
    fine = 2 * size
    image, texture_of = np.zeros((fine, fine)), [band(rng, fine, np.exp(rng.uniform(np.log(12), np.log(160)))) for _ in range(2)]
    yy, xx = np.mgrid[:fine, :fine]
    for n in range(rng.integers(3, 16)):
        radius = fine * (rng.uniform(0.3, 0.7) if n == 0 else 0.02 + 0.25 * rng.random() ** 1.5)
        mask = inside(rng, yy, xx, rng.uniform(0.15, 0.85, 2) * fine, radius)
        image[mask] = rng.uniform(0.05, 1) if rng.random() < 0.7 else image[mask] + rng.uniform(-0.5, 0.5)
    image *= 1 + rng.choice([0, 0.02, 0.06]) * texture_of[0] + rng.choice([0, 0.02, 0.06]) * texture_of[1]
    return image.reshape(size, 2, size, 2).mean((1, 3))


def sampled(made, size, kept):
    """As MR samples it: of the spectrum the middle size x size frequencies, and of these what lies within `kept` of the border."""
    spectrum, first = np.fft.fftshift(np.fft.fft2(made)), (len(made) - size) // 2
    spectrum = spectrum[first:first + size, first:first + size].copy()
    out = abs(np.arange(size) - size // 2) > kept * size / 2
    spectrum[out], spectrum[:, out] = 0, 0
    return np.real(np.fft.ifft2(np.fft.ifftshift(spectrum))) * (size / len(made)) ** 2


def image(rng, size=192):
    draw, rings = rng.choice([dead_leaves, phantom, folds, pieces], p=[0.3, 0.2, 0.25, 0.25]), rng.random() < 0.25
    made = draw(rng, 3 * size // 2 if rings else size)
    if rings:
        return sampled(made, size, rng.uniform(0.75, 1)).astype(np.float32)
    return (made if draw is pieces else gaussian_filter(made, rng.uniform(0.3, 1.1))).astype(np.float32)


def noise_shape(rng, size):
    """Amplitude over frequency (rfft2 layout) of what filtered back-projection leaves: a band, a little anisotropic."""
    fy, fx = np.fft.fftfreq(size)[:, None], np.fft.rfftfreq(size)[None]
    angle, stretch = rng.uniform(0, np.pi), np.exp(rng.uniform(-0.2, 0.2))
    u = (fx * np.cos(angle) + fy * np.sin(angle)) * stretch
    v = (fy * np.cos(angle) - fx * np.sin(angle)) / stretch
    if rng.random() < 0.5:  # a ramp up to where the kernel cuts it off, and what aliasing leaves at 0
        f = np.hypot(u, v)
        return (rng.uniform(0, 0.06) + f ** rng.uniform(0.3, 1)) * np.exp(-(f / rng.uniform(0.12, 0.5)) ** rng.uniform(1.5, 5))
    blur = np.exp(rng.uniform(np.log(0.45), np.log(1.4)))
    squared = 2 * np.pi ** 2 * blur ** 2 * (u * u + v * v)
    return np.exp(-squared) - rng.uniform(0.3, 0.95) * np.exp(-9 * squared)


def unit_noise(rng, count, size):
    """[count, size, size] of unit variance: half white, half coloured as in CT."""
    pad = size + 16
    field = rng.standard_normal((count, pad, pad), dtype=np.float32)
    shaped = np.flatnonzero(rng.random(count) < 0.5)
    if shaped.size:
        amplitude = np.stack([noise_shape(rng, pad) for _ in shaped]).astype(np.float32)
        # The mean square over all frequencies: the columns the half spectrum leaves out count twice.
        weight = np.full(amplitude.shape[-1], 2.0)
        weight[0] = 1
        weight[-1] = 1 if pad % 2 == 0 else 2
        power = (amplitude ** 2 * weight).sum((1, 2)) / pad ** 2
        spectrum = scipy.fft.rfft2(field[shaped]) * amplitude / np.sqrt(power)[:, None, None]
        field[shaped] = scipy.fft.irfft2(spectrum, s=(pad, pad))
    return field[:, 8:-8, 8:-8]
