"""Synthetic medical images with burned-in text, and without: grey pictures and where the text stands. Needs numpy, scipy, Pillow.

Nothing here comes from a patient. `held_out=True` draws from fonts, backgrounds and contrasts that `held_out=False` never uses.
"""
import io

import numpy as np
from PIL import Image, ImageDraw
from scipy.ndimage import gaussian_filter, map_coordinates, zoom

from fonts import font, font_files, scripts

# Grey levels between text and what is behind it; the intervals of the evaluation are cut out of training.
HELD_OUT_CONTRASTS = [(38, 54), (84, 104), (150, 180)]


def contrast(rng, held_out):
    if held_out:
        return rng.uniform(*HELD_OUT_CONTRASTS[rng.integers(len(HELD_OUT_CONTRASTS))])
    most = 60 if rng.random() < .3 else 255  # the faintest are the hardest
    while True:
        value = float(np.exp(rng.uniform(np.log(20), np.log(most))))
        if not any(low <= value < high for low, high in HELD_OUT_CONTRASTS):
            return value


# ---- backgrounds: float arrays in 0..255

def smooth_noise(rng, h, w, sigma):
    k = max(1, int(sigma / 2))
    small = rng.standard_normal((h // k + 4, w // k + 4)).astype(np.float32)
    a = gaussian_filter(small, sigma / k)
    a = zoom(a, k, order=1)[:h, :w] if k > 1 else a[:h, :w]
    return (a - a.mean()) / (a.std() + 1e-6)


def grid(h, w):
    return np.mgrid[0:h, 0:w].astype(np.float32)


def flat(rng, h, w):
    level = rng.choice([0, 0, 0, 255, rng.uniform(0, 255)])
    return np.full((h, w), level, np.float32)


def gradient(rng, h, w):
    y, x = grid(h, w)
    t = (x * np.cos(a := rng.uniform(0, 6.28)) + y * np.sin(a)) / max(h, w)
    return rng.uniform(0, 160) + t * rng.uniform(-160, 160)


def texture(rng, h, w):
    a = np.zeros((h, w), np.float32)
    for sigma in (1, 2, 4, 8, 16, 32, 64):
        a += smooth_noise(rng, h, w, sigma) * sigma ** rng.uniform(0, 1.2) * (rng.random() < 0.8)
    return rng.uniform(30, 200) + a / (a.std() + 1e-6) * rng.uniform(5, 50)


def ellipses(rng, h, w):
    y, x = grid(h, w)
    a = np.full((h, w), rng.choice([0, rng.uniform(0, 80)]), np.float32)
    for i in range(rng.integers(3, 30)):
        big = i == 0
        cy, cx = (h / 2, w / 2) if big else (rng.uniform(0, h), rng.uniform(0, w))
        ry, rx = (h * rng.uniform(.3, .5), w * rng.uniform(.3, .5)) if big else rng.uniform(4, min(h, w) / 4, 2)
        t = rng.uniform(0, 3.14)
        u, v = (x - cx) * np.cos(t) + (y - cy) * np.sin(t), (y - cy) * np.cos(t) - (x - cx) * np.sin(t)
        a[(u / rx) ** 2 + (v / ry) ** 2 < 1] = rng.uniform(0, 255)
    return gaussian_filter(a, rng.uniform(0.3, 2)) + rng.normal(0, rng.uniform(0, 15), (h, w))


def speckle_fan(rng, h, w):
    y, x = grid(h, w)
    g = rng.rayleigh(rng.uniform(10, 60), (h, w)).astype(np.float32)
    g = gaussian_filter(g, [rng.uniform(0, 1), rng.uniform(0, 2.5)]) * rng.uniform(1, 1.6)
    g *= np.clip(1 + 0.6 * smooth_noise(rng, h, w, rng.uniform(8, 50)), 0.05, 3)
    cx, top = w * rng.uniform(.3, .7), h * rng.uniform(-.1, .15)
    inside = (np.hypot(x - cx, y - top) < h * rng.uniform(.7, 1)) & (np.abs(np.arctan2(x - cx, y - top + 1)) < rng.uniform(.4, .9))
    if rng.random() < .3:
        inside = (x > w * .15) & (x < w * .85) & (y > h * .1) & (y < h * .9)
    return np.where(inside, g, rng.choice([0, 0, rng.uniform(0, 40)]))


def mr_like(rng, h, w):
    a = ellipses(rng, h, w)
    a = gaussian_filter(a, rng.uniform(.5, 1.5)) * np.clip(1 + .3 * smooth_noise(rng, h, w, 90), .3, 2)
    n = rng.uniform(2, 14)
    return np.hypot(a + rng.normal(0, n, (h, w)), rng.normal(0, n, (h, w)))


def xray_like(rng, h, w):
    y, x = grid(h, w)
    a = 120 + 60 * smooth_noise(rng, h, w, 80)
    for _ in range(rng.integers(0, 14)):  # ribs and bone edges: bright curved bands
        c, r, t = rng.uniform(-.5 * h, 1.5 * h), rng.uniform(.3, 1.5) * w, rng.uniform(3, 18)
        d = np.abs(np.hypot(x - w * rng.uniform(0, 1), y - c) - r)
        a += rng.uniform(10, 70) * np.exp(-(d / t) ** 2 / 2)
    return a + smooth_noise(rng, h, w, 1) * rng.uniform(1, 10)


def screen(rng, h, w):
    """A console's screen or a report's page: panels, frames, lines."""
    im = Image.new('L', (w, h), int(rng.choice([0, 255, rng.integers(0, 256)])))
    d = ImageDraw.Draw(im)
    for _ in range(rng.integers(2, 14)):
        x0, y0 = rng.integers(0, w), rng.integers(0, h)
        x1, y1 = x0 + rng.integers(8, w // 2), y0 + rng.integers(8, h // 2)
        d.rectangle([x0, y0, x1, y1], fill=int(rng.integers(0, 256)) if rng.random() < .6 else None,
                    outline=int(rng.integers(0, 256)) if rng.random() < .6 else None)
    return np.asarray(im, np.float32)


def islands(rng, h, w):
    """Shapes of every size with hard or soft edges: gas, calcium, trabeculae, and what is left of a picture after a window."""
    a = smooth_noise(rng, h, w, np.exp(rng.uniform(np.log(1.5), np.log(30)))) - rng.uniform(-1, 1.5)
    if rng.random() < .4:
        a = rng.uniform(.05, .4) - np.abs(a)
    return rng.uniform(0, 160) + rng.uniform(-150, 150) * np.clip(a * rng.uniform(2, 40), 0, 1) + rng.normal(0, rng.uniform(0, 8), (h, w))


def strokes(rng, h, w):
    """Smooth lines of every width: catheters, guide wires, fissures, hair, edges of casts."""
    im = Image.new('L', (w, h), int(rng.integers(0, 256)))
    d = ImageDraw.Draw(im)
    for _ in range(rng.integers(3, 30)):
        t = np.linspace(0, 1, 30)
        p = rng.uniform(-.1, 1.1, (4, 2)) * [w, h] if rng.random() < .5 else rng.uniform(0, 1, 2) * [w, h] + rng.normal(0, rng.uniform(10, 120), (4, 2))
        curve = sum(c[:, None] * q for c, q in zip([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t ** 3], p))
        d.line([tuple(q) for q in curve], fill=int(rng.integers(0, 256)), width=int(np.exp(rng.uniform(0, np.log(24)))))
    return gaussian_filter(np.asarray(im, np.float32), rng.uniform(.3, 2)) + rng.normal(0, rng.uniform(0, 10), (h, w))


def bones(rng, h, w):
    """Shafts with bright edges and ends full of fine struts, crossed or side by side, with metal now and then."""
    y, x = grid(h, w)
    a = rng.uniform(20, 110) + 20 * smooth_noise(rng, h, w, 60)
    struts = np.abs(smooth_noise(rng, h, w, rng.uniform(1, 2.5)))
    for _ in range(rng.integers(1, 9)):
        t, cy, cx = rng.uniform(0, 3.14), rng.uniform(0, h), rng.uniform(0, w)
        u, v = (x - cx) * np.cos(t) + (y - cy) * np.sin(t), (y - cy) * np.cos(t) - (x - cx) * np.sin(t)
        length, half = rng.uniform(20, max(h, w)), rng.uniform(4, 60)
        wide = half * (1 + .6 * np.clip(np.abs(u) / length * 2 - .6, 0, 1) + .1 * np.sin(u / rng.uniform(10, 60)))
        inside = np.clip((wide - np.abs(v)) / rng.uniform(.7, 3), 0, 1) * np.clip((length / 2 - np.abs(u)) / rng.uniform(1, 6), 0, 1)
        edge = np.exp(-((np.abs(v) - wide * .85) / (wide * rng.uniform(.05, .25) + .5)) ** 2)
        a += inside * (rng.uniform(5, 60) + rng.uniform(0, 70) * edge - struts * rng.uniform(0, 25))
    return a + rng.normal(0, rng.uniform(0, 8), (h, w))


def collimated(rng, h, w):
    """Only a part of the picture is exposed: a slanted rectangle, a round or an eight-sided field with a hard or a soft edge."""
    y, x = grid(h, w)
    inner = [xray_like, islands, strokes, bones, texture][rng.integers(5)](rng, h, w)
    cy, cx, t = h * rng.uniform(.3, .7), w * rng.uniform(.3, .7), rng.normal(0, .2)
    u, v = (x - cx) * np.cos(t) + (y - cy) * np.sin(t), (y - cy) * np.cos(t) - (x - cx) * np.sin(t)
    ru, rv = w * rng.uniform(.15, .5), h * rng.uniform(.15, .5)
    kind = rng.integers(3)
    far = np.maximum(np.abs(u) / ru, np.abs(v) / rv)
    if kind == 1:
        far = np.hypot(u, v) / min(ru, rv)
    elif kind == 2:
        far = np.maximum(far, (np.abs(u) / ru + np.abs(v) / rv) / rng.uniform(1.2, 1.6))
    open_ = np.clip((1 - far) * rng.uniform(8, 200) + .5, 0, 1)
    outside = rng.choice([0, 255, rng.uniform(0, 255)])
    return outside + (inner - outside) * open_ * (1 - rng.uniform(0, .3) * (1 - open_)) + rng.normal(0, rng.uniform(0, 4), (h, w))


def spongy(rng, h, w):
    """Regions with a rim, full of fine struts: cancellous bone, lung, glandular tissue."""
    field = smooth_noise(rng, h, w, rng.uniform(12, 60)) - rng.uniform(-.8, .8)
    struts = smooth_noise(rng, h, w, rng.uniform(.8, 4))
    if rng.random() < .5:
        struts = np.abs(struts) - .7
    rim = np.exp(-(field / rng.uniform(.03, .25)) ** 2)
    a = rng.uniform(20, 180) + rng.uniform(-60, 60) * np.clip(field * 4, -1, 1) + rng.uniform(-160, 160) * rim
    a = a + np.where(field > 0, rng.uniform(10, 90) * np.clip(struts * rng.uniform(.7, 4), -1.5, 1.5), 0)
    return gaussian_filter(a, rng.uniform(.3, 1.2)) + rng.normal(0, rng.uniform(0, 8), (h, w))


def fibres(rng, h, w):
    """Bundles that run one way and bend: muscle, tendons, hair, streaks."""
    long, fine, side = rng.uniform(8, 60), rng.uniform(.7, 4), max(h, w) + 64
    a = gaussian_filter(rng.standard_normal((side, side)).astype(np.float32), (fine, long), mode='wrap')
    t, bend = rng.uniform(0, 6.28), rng.uniform(0, 60)
    y, x = grid(h, w)
    u, v = x * np.cos(t) + y * np.sin(t), y * np.cos(t) - x * np.sin(t)
    a = map_coordinates(a, [v + bend * smooth_noise(rng, h, w, rng.uniform(30, 90)), u], order=1, mode='grid-wrap')
    a = a / (a.std() + 1e-6) * rng.uniform(10, 70) * np.clip(.6 + .6 * smooth_noise(rng, h, w, 40), 0, 2)
    return rng.uniform(40, 180) + a + rng.normal(0, rng.uniform(0, 8), (h, w))


def grains(rng, h, w):
    """Like shapes side by side along bent rows: seeds, teeth, vertebrae, ribs cut across, cells of a phantom."""
    under = [gradient, mr_like, texture][rng.integers(3)](rng, h, w)
    im = Image.fromarray(np.clip(under, 0, 255).astype(np.uint8))
    d = ImageDraw.Draw(im)
    for _ in range(rng.integers(1, 7)):
        size, many, t = np.exp(rng.uniform(np.log(2.5), np.log(28))), int(rng.integers(4, 30)), rng.uniform(0, 6.28)
        x, y, bend, gap, long = rng.uniform(0, w), rng.uniform(0, h), rng.normal(0, .12), rng.uniform(1.2, 2.6), rng.uniform(.5, 2.5)
        shade, uneven = int(rng.integers(0, 256)), rng.uniform(0, .35)
        for _ in range(many):
            around = np.linspace(0, 6.28, 14)
            r = size * (1 + uneven * rng.standard_normal(14))
            p, q = r * np.cos(around), r * long * np.sin(around)
            d.polygon([(x + a * np.cos(t) - b * np.sin(t), y + a * np.sin(t) + b * np.cos(t)) for a, b in zip(p, q)],
                      fill=int(np.clip(shade + rng.normal(0, 25), 0, 255)))
            t += bend
            x, y = x + 2 * size * gap / 2 * np.cos(t), y + 2 * size * gap / 2 * np.sin(t)
    return gaussian_filter(np.asarray(im, np.float32), rng.uniform(.4, 2)) + rng.normal(0, rng.uniform(0, 10), (h, w))


def windowed(rng, picture):
    """A narrow window over the picture: much of it black or white."""
    low, high = np.percentile(picture, [rng.uniform(0, 45), rng.uniform(65, 100)])
    return (picture - low) * 255 / max(high - low, 8)


def enlarged(rng, h, w):
    """A picture of few pixels at several times its size: its noise is as coarse as letters."""
    by = np.exp(rng.uniform(np.log(1.5), np.log(7)))
    inner = [mr_like, ellipses, speckle_fan, texture, islands, spongy, spongy, fibres, grains, bones][rng.integers(10)]
    a = inner(rng, int(h / by) + 4, int(w / by) + 4).astype(np.float32)
    if rng.random() < .5:
        a = a + rng.rayleigh(rng.uniform(3, 50), a.shape)
    if rng.random() < .6:
        a = windowed(rng, a)
    return zoom(np.clip(a, 0, 255).astype(np.float32), by, order=int(rng.choice([0, 1, 1, 3, 3])), grid_mode=True, mode='nearest')[:h, :w]


def masked(rng, h, w):
    """A body on an even ground, windowed: structure ends where the mask does."""
    a = [spongy, fibres, grains, texture, mr_like, xray_like, islands, enlarged][rng.integers(8)](rng, h, w)
    a = windowed(rng, a) if rng.random() < .6 else a
    y, x = grid(h, w)
    r = np.hypot((y - h * rng.uniform(.3, .7)) / (h * rng.uniform(.2, .6)), (x - w * rng.uniform(.3, .7)) / (w * rng.uniform(.2, .6)))
    body = r + rng.uniform(0, .25) * smooth_noise(rng, h, w, rng.uniform(10, 60)) < 1
    return np.where(body, a, rng.choice([0, 0, 255, rng.uniform(0, 255)]))


TRAINED = [flat, gradient, texture, ellipses, speckle_fan, speckle_fan, mr_like, xray_like, screen, islands, strokes, bones, collimated,
           spongy, spongy, fibres, grains, enlarged, enlarged, masked, masked]


def vessels(rng, h, w):
    im = Image.new('L', (w, h), int(rng.integers(90, 230)))
    d = ImageDraw.Draw(im)
    for _ in range(rng.integers(4, 14)):
        x, y, t, width = rng.uniform(0, w), rng.uniform(0, h), rng.uniform(0, 6.28), rng.uniform(2, 14)
        shade = int(rng.integers(10, 110))
        for _ in range(rng.integers(20, 120)):
            t += rng.normal(0, .25)
            nx, ny = x + 8 * np.cos(t), y + 8 * np.sin(t)
            d.line([x, y, nx, ny], fill=shade, width=max(1, int(width)))
            x, y, width = nx, ny, width * .985
    return gaussian_filter(np.asarray(im, np.float32), 1.2) + rng.normal(0, rng.uniform(2, 8), (h, w))


def cells(rng, h, w):
    y, x = grid(h, w)
    points = rng.uniform(0, 1, (rng.integers(12, 60), 2)) * [h, w]
    first, second = np.full((h, w), 1e9, np.float32), np.full((h, w), 1e9, np.float32)
    for py, px in points:
        d = np.hypot(y - py, x - px)
        second = np.minimum(second, np.maximum(first, d))
        first = np.minimum(first, d)
    a = np.clip((second - first) * rng.uniform(1, 6), 0, rng.uniform(60, 200))
    return gaussian_filter(a, 1) + rng.normal(0, rng.uniform(1, 10), (h, w))


def marble(rng, h, w):
    y, x = grid(h, w)
    warp = smooth_noise(rng, h, w, 30) * rng.uniform(10, 40)
    a = 128 + rng.uniform(20, 100) * np.sin((x * rng.uniform(-1, 1) + y * rng.uniform(-1, 1) + warp) / rng.uniform(6, 40))
    return a + smooth_noise(rng, h, w, 1.5) * rng.uniform(1, 12)


def tomogram(rng, h, w):
    """A head or trunk in cross-section: shells, a few organs, streaks of reconstruction."""
    y, x = grid(h, w)
    r = np.hypot((y - h / 2) / (h * rng.uniform(.3, .48)), (x - w / 2) / (w * rng.uniform(.25, .45)))
    a = np.where(r < 1, rng.uniform(60, 130), 0) + np.where((r > .9) & (r < 1), rng.uniform(40, 125), 0)
    a = a + np.where(r < .85, 25 * smooth_noise(rng, h, w, 14), 0)
    angle = np.arctan2(y - h / 2, x - w / 2)
    return a + np.where(r < 1.1, rng.uniform(0, 12) * np.sin(angle * rng.integers(20, 90)), 0) + rng.normal(0, rng.uniform(1, 9), (h, w))


HELD_OUT = [vessels, cells, marble, tomogram]


# ---- what looks like text and is none

def ruler(rng, d, h, w, shade):
    x, y, step = rng.integers(0, w), rng.integers(0, h), int(rng.integers(4, 40))
    size, many = int(rng.integers(2, 14)), int(rng.integers(4, 40))
    line, across = rng.random() < .6, rng.random() < .5
    if line:
        d.line([x, y, x + (step * many if across else 0), y + (0 if across else step * many)], fill=shade)
    for i in range(many):
        long = size * (2 if i % 5 == 0 else 1)
        if across:
            d.line([x + i * step, y, x + i * step, y + long], fill=shade)
        else:
            d.line([x, y + i * step, x + long, y + i * step], fill=shade)


def bar(rng, d, h, w, shade):
    x, y = int(rng.integers(0, w)), int(rng.integers(0, h))
    long, wide = int(rng.integers(40, 300)), int(rng.integers(6, 30))
    for i in range(long):
        g = int(255 * i / long)
        if wide < 18:
            d.line([x, y + i, x + wide, y + i], fill=g)
        else:
            d.line([x + i, y, x + i, y + wide], fill=g)


def lattice(rng, d, h, w, shade):
    step = int(rng.integers(8, 60))
    x0, y0 = int(rng.integers(0, w)), int(rng.integers(0, h))
    x1, y1 = x0 + int(rng.integers(40, w)), y0 + int(rng.integers(40, h))
    for x in range(x0, x1, step):
        d.line([x, y0, x, y1], fill=shade)
    for y in range(y0, y1, step):
        d.line([x0, y, x1, y], fill=shade)


def implant(rng, d, h, w, shade):
    x, y, n = int(rng.integers(0, w)), int(rng.integers(0, h)), int(rng.integers(6, 26))
    kind = rng.integers(4)
    if kind == 0:  # a screw
        for i in range(n):
            d.line([x - 4, y + 3 * i, x + 5, y + 3 * i + 2], fill=shade, width=2)
        d.line([x, y, x, y + 3 * n], fill=shade, width=3)
    elif kind == 1:  # a wire
        points = np.cumsum(rng.normal(0, 9, (n * 2, 2)), 0) + [x, y]
        d.line([tuple(p) for p in points], fill=shade, width=int(rng.integers(1, 4)))
    elif kind == 2:  # a plate with holes
        d.rectangle([x, y, x + 12, y + 8 * n], fill=shade)
        for i in range(n // 2):
            d.ellipse([x + 3, y + 4 + 16 * i, x + 9, y + 10 + 16 * i], fill=0)
    else:  # clips, beads, a chain
        for i in range(n):
            cx, cy = x + rng.normal(0, 40), y + rng.normal(0, 40)
            r = rng.uniform(1, 6)
            d.ellipse([cx - r, cy - r, cx + r, cy + r], fill=shade)


def trace(rng, d, h, w, shade):
    y, height, period = rng.integers(0, h), rng.uniform(5, 60), rng.uniform(30, 160)
    x0, x1 = sorted(rng.integers(0, w, 2))
    points = []
    for x in range(int(x0), int(x1) + 2):
        t = (x % period) / period
        beat = 6 * np.exp(-((t - .4) / .02) ** 2) - 1.5 * np.exp(-((t - .44) / .02) ** 2) + np.exp(-((t - .65) / .06) ** 2)
        points.append((x, y - beat * height / 6 + rng.normal(0, .4)))
    d.line(points, fill=shade, width=int(rng.integers(1, 3)))


def marks(rng, d, h, w, shade):
    for _ in range(rng.integers(1, 6)):
        x, y, s = int(rng.integers(0, w)), int(rng.integers(0, h)), int(rng.integers(3, 14))
        kind = rng.integers(5)
        if kind == 0:
            d.line([x - s, y, x + s, y], fill=shade)
            d.line([x, y - s, x, y + s], fill=shade)
        elif kind == 1:
            d.polygon([x, y, x + s, y - s, x + s, y + s], fill=shade)
        elif kind == 2:
            d.ellipse([x - 3 * s, y - 2 * s, x + 3 * s, y + 2 * s], outline=shade)
        elif kind == 3:
            t = rng.uniform(0, 6.28)
            for i in range(int(rng.integers(8, 40))):
                cx, cy = x + 6 * i * np.cos(t), y + 6 * i * np.sin(t)
                d.line([cx, cy, cx + 3 * np.cos(t), cy + 3 * np.sin(t)], fill=shade)
        else:
            d.rectangle([x, y, x + 6 * s, y + 4 * s], outline=shade)


def scan_line(rng, d, h, w, shade):
    t = rng.uniform(0, 6.28)
    x, y = rng.uniform(0, w), rng.uniform(0, h)
    d.line([x - w * np.cos(t), y - w * np.sin(t), x + w * np.cos(t), y + w * np.sin(t)], fill=shade, width=int(rng.integers(1, 5)))


def catheter(rng, d, h, w, shade):
    """A tube as two parallel lines, with or without a dotted marker between them, or a spring."""
    t = np.linspace(0, 1, 120)
    p = rng.uniform(-.1, 1.1, (4, 2)) * [w, h]
    curve = sum(c[:, None] * q for c, q in zip([(1 - t) ** 3, 3 * t * (1 - t) ** 2, 3 * t * t * (1 - t), t ** 3], p))
    along = np.gradient(curve, axis=0)
    across = np.stack([-along[:, 1], along[:, 0]], 1) / (np.hypot(along[:, 0], along[:, 1])[:, None] + 1e-6)
    half, kind = rng.uniform(1.5, 8), rng.integers(3)
    if kind < 2:
        for side in (-half, half):
            d.line([tuple(q) for q in curve + side * across], fill=shade, width=int(rng.integers(1, 3)))
        for i in range(0, 120, int(rng.integers(3, 12))) if kind else ():
            x, y = curve[i]
            d.line([x, y, x + along[i, 0] * .5, y + along[i, 1] * .5], fill=shade, width=2)
    else:
        turns = rng.uniform(3, 40)
        d.line([tuple(q) for q in curve + (half * np.sin(t * turns * 6.28))[:, None] * across], fill=shade, width=int(rng.integers(1, 3)))


def beads(rng, d, h, w, shade):
    """A row of like shapes: staples, stent struts, teeth, a dashed frame, the steps of a wedge."""
    n, step, t = int(rng.integers(3, 24)), rng.uniform(4, 26), rng.choice([0, 1.5708, rng.uniform(0, 6.28)])
    x, y, s, kind = rng.uniform(0, w), rng.uniform(0, h), rng.uniform(1, 10), rng.integers(5)
    for i in range(n):
        cx, cy = x + i * step * np.cos(t), y + i * step * np.sin(t)
        if kind == 0:
            d.ellipse([cx - s, cy - s, cx + s, cy + s], outline=shade, fill=shade if rng.random() < .5 else None)
        elif kind == 1:
            d.rectangle([cx - s, cy - s / 2, cx + s, cy + s / 2], outline=shade)
        elif kind == 2:
            d.line([cx, cy - s, cx, cy + s], fill=shade, width=int(1 + s / 4))
        elif kind == 3:
            d.line([cx - s, cy + s, cx, cy - s, cx + s, cy + s], fill=shade)
        else:
            d.arc([cx - s, cy - s, cx + s, cy + s], 0, 180 + 180 * (i % 2), fill=shade)


def monitor(rng, d, h, w, shade):
    """Several traces below one another, all across."""
    many, x0, period = int(rng.integers(1, 7)), int(rng.integers(0, w // 2)), rng.uniform(12, 160)
    x1, y0, gap, height = int(rng.integers(x0 + w // 4, w + 1)), rng.uniform(0, h), rng.uniform(8, 70), rng.uniform(4, 60)
    sharp, noise, wide = rng.uniform(.01, .08), rng.uniform(0, 1.2), int(rng.integers(1, 3))
    t = np.arange(x0, x1)
    beat = np.exp(-(((t % period) / period - .4) / sharp) ** 2) * height + np.exp(-(((t % period) / period - .7) / .08) ** 2) * height / 5
    for i in range(many):
        y = y0 + i * gap + rng.choice([-1, 1]) * beat + rng.normal(0, noise, len(t))
        d.line(list(zip(t.tolist(), y.tolist())), fill=shade, width=wide)


def comb(rng, d, h, w, shade):
    """Ticks side by side, dense or wide, of one height or of several: rulers, wedges, bar codes, stents."""
    x, y, across = int(rng.integers(0, w)), int(rng.integers(0, h)), rng.random() < .5
    high, step, long = int(rng.integers(3, 40)), int(rng.integers(2, 16)), int(rng.integers(30, 500))
    every, uneven = int(rng.integers(2, 11)), rng.random() < .3
    for i in range(0, long, step):
        size = high if i // step % every == 0 else high * (rng.random() if uneven else .6)
        wide = int(rng.integers(1, step + 1)) if uneven else 1
        d.line([x + i, y, x + i, y + size] if across else [x, y + i, x + size, y + i], fill=shade, width=wide)


NEGATIVES = [ruler, ruler, bar, lattice, implant, implant, trace, marks, marks, scan_line, catheter, beads]
TRAINED_NEGATIVES = [*NEGATIVES, ruler, lattice, trace, beads, beads, catheter, monitor, monitor, comb, comb]


# ---- text

NAMES = 'Okafor Marchetti Halvorsen Duarte Petrakis Yilmaz Novotny Fraser Ines Tomas Leila Henrik Chidi Marta Yusuf Elin Nguyen Smith ' \
        'Garcia Jones Kowalski Ivanov Lindqvist Maja Hansen Weber Rossi Silva Brown Miller Taylor Anderson Lee Walker Young'.split()
WORDS = 'Hospital Clinic St General University Radiology Institute Dr MRN DOB ID Acc Name Patient Date Time Sex M F Study Exam Left ' \
        'Right R L AP PA LAT Series Image Gain Depth FR Hz cm mm MI TIs TIB Abd Gen ThyroId Cardiac Fetal EDD GA HR BPM kV mAs CTDIvol ' \
        'DLP Total mGy Scan Protocol Head Chest Tech Operator Ref Phys Ward Bed Age Y Phone Room FOV TR TE Slice Thk W L Zoom'.split()
ALPHABETS = {'cyrillic': 'АБВГДЕЖЗИКЛМНОПРСТУФХЦЧШЭЮЯабвгдежзиклмнопрстуфхцчшэюя', 'greek': 'ΑΒΓΔΕΖΗΘΙΚΛΜΝΞΟΠΡΣΤΥΦΧΨΩαβγδεζηθικλμνξοπρστυφχψω',
             'hebrew': 'אבגדהוזחטיכלמנסעפצקרשת', 'arabic': 'ابتثجحخدذرزسشصضطظعغفقكلمنهوي', 'thai': 'กขคงจฉชซดตถทธนบปผพฟมยรลวสหอ',
             'han': '李王张刘陈杨赵黄周吴徐孙胡朱高林何郭马罗梁宋郑谢韩唐医院日月年男女生号检查', 'kana': 'アイウエオカキクケコサシスセソタチツテトナニヌネノハヒフヘホマミムメモヤユヨラリルレロワン',
             'hangul': '김이박최정강조윤장임한오서신권황안송전홍병원남여', 'devanagari': 'कखगघचछजटडतथदधनपबमयरलवशसह'}


def digits(rng, n):
    return ''.join(str(v) for v in rng.integers(0, 10, n))


def phrase(rng, alphabets):
    other = [a for a in alphabets if a != 'latin']
    if other and (rng.random() < .25 or 'latin' not in alphabets):
        letters = ALPHABETS[other[rng.integers(len(other))]]
        return ' '.join(''.join(letters[i] for i in rng.integers(0, len(letters), rng.integers(2, 9))) for _ in range(rng.integers(1, 4)))
    name = lambda: NAMES[rng.integers(len(NAMES))]
    word = lambda: WORDS[rng.integers(len(WORDS))]
    date = f'{rng.integers(1, 32):02d}{"./-"[rng.integers(3)]}{rng.integers(1, 13):02d}{"./-"[rng.integers(3)]}{rng.integers(1925, 2027)}'
    clock = f'{rng.integers(0, 24):02d}:{rng.integers(0, 60):02d}:{rng.integers(0, 60):02d}'
    kind = rng.integers(11)
    text = [lambda: f'{name()}, {name()}', lambda: f'{name().upper()}^{name().upper()}', lambda: digits(rng, rng.integers(3, 11)),
            lambda: f'{word()}: {digits(rng, rng.integers(2, 9))}', lambda: date, lambda: f'{date} {clock}',
            lambda: ' '.join(word() for _ in range(rng.integers(1, 6))), lambda: f'{word()} {rng.uniform(0, 99):.1f} {word()}',
            lambda: f'{name()} {word()} {word()}', lambda: ''.join(chr(33 + v) for v in rng.integers(0, 94, rng.integers(3, 12))),
            lambda: word() if rng.random() < .5 else digits(rng, rng.integers(1, 4))][kind]()
    return text.upper() if rng.random() < .25 else text


def glyphs(rng, held_out, most):
    """One line of text as coverage 0..1, not larger than most = (h, w); None when the dice fell badly."""
    files = font_files(held_out)
    file = files[rng.integers(len(files))]
    alphabets = scripts(file)
    if not alphabets:
        return None
    small = not held_out and rng.random() < .3  # the smallest are the hardest
    size = int(round(np.exp(rng.uniform(np.log(8), np.log(16 if small else 60)))))
    up = 1
    if file.endswith('.otb') or rng.random() < .12:
        up = int(rng.choice([1, 1, 2, 2, 3])) if size >= 16 else 1
    face = font(file, max(6, size // up))
    if face is None:
        face = next((f for f in (font(file, s) for s in (size // up + d for d in (1, -1, 2, -2, 3, -3, 4, -4, 6, -6, 8)) if s > 5) if f is not None), None)
    if face is None:
        return None
    text = phrase(rng, alphabets)
    if not held_out and rng.random() < .18:  # and the shortest: a side, a number, initials
        start = int(rng.integers(0, max(1, len(text) - 2)))
        text = text[start:start + int(rng.integers(1, 5))].strip() or 'L'
    hard = up > 1 or file.endswith('.otb') or rng.random() < .12
    try:
        box = face.getbbox(text)
    except OSError:
        return None
    w, h = box[2] - box[0], box[3] - box[1]
    if w < 3 or h < 3 or w * up > 4000:
        return None
    im = Image.new('L', (w + 2, h + 2))
    draw = ImageDraw.Draw(im)
    if hard:
        draw.fontmode = '1'
    spread = rng.random() < .05 and size > 20 and not file.endswith('.otb')
    try:
        draw.text((1 - box[0], 1 - box[1]), text, fill=255, font=face, stroke_width=1 if spread else 0)
    except OSError:  # a bitmap font without one of the glyphs
        return None
    a = np.asarray(im, np.float32) / 255
    if up > 1:
        a = np.kron(a, np.ones((up, up), np.float32))
    if a.max() < .5:
        return None
    a = a[np.flatnonzero(a.max(1) > .2)[0]:np.flatnonzero(a.max(1) > .2)[-1] + 1, np.flatnonzero(a.max(0) > .2)[0]:np.flatnonzero(a.max(0) > .2)[-1] + 1]
    a = np.rot90(a, int(rng.choice([0, 0, 0, 0, 0, 0, 0, 1, 2, 3])))
    if a.shape[0] > most[0] or a.shape[1] > most[1]:  # a line that runs out of the picture is cut, as some are
        if a.shape[0] > most[0] * 1.5 and rng.random() < .7 or min(a.shape) > min(most):
            return None
        a = a[:most[0], :most[1]]
    return np.ascontiguousarray(a)


def write(rng, picture, mask, boxes, held_out):
    """Puts one line of text, or a block of several, where none is yet."""
    h, w = picture.shape
    for _ in range(int(rng.choice([1, 1, 2, 4]))):
        a = glyphs(rng, held_out, (h - 4, w - 4))
        if a is None:
            continue
        th, tw = a.shape
        if boxes and rng.random() < .5:  # lines stand below one another
            x0, y0, _, y1 = boxes[-1][:4]
            x, y = x0, y1 + int(rng.integers(3, 12))
        elif rng.random() < .35:  # or in the corners
            x = int(rng.integers(0, 14)) if rng.random() < .5 else w - tw - int(rng.integers(0, 14))
            y = int(rng.integers(0, 14)) if rng.random() < .5 else h - th - int(rng.integers(0, 14))
        else:
            x, y = int(rng.integers(0, max(1, w - tw))), int(rng.integers(0, max(1, h - th)))
        if x < 0 or y < 0 or x + tw > w or y + th > h or mask[max(0, y - 3):y + th + 3, max(0, x - 3):x + tw + 3].any():
            continue
        part = picture[y:y + th, x:x + tw]
        base = float(np.median(part[a < .2])) if (a < .2).any() else float(part.mean())
        if rng.random() < .12:  # on a label of its own
            pad = int(rng.integers(1, 6))
            shade = rng.uniform(0, 255)
            region = picture[max(0, y - pad):y + th + pad, max(0, x - pad):x + tw + pad]
            region += (shade - region) * rng.choice([1, 1, .6])
            base = float(np.median(part))
        c = contrast(rng, held_out)
        # Text that drowns in what is behind it can be read by nobody.
        c = max(c, (1.6 if held_out else rng.uniform(1.1, 1.6)) * float(part.std()))
        sign = 1 if base + c <= 255 and (base - c < 0 or rng.random() < .75) else -1
        if not 0 <= base + sign * c <= 255:
            sign = 1 if base < 128 else -1
        level = float(np.clip(base + sign * c, 0, 255))
        if abs(level - base) < 16:
            continue
        if rng.random() < .15:  # a shadow or an outline in the opposite shade
            shade = 0 if sign > 0 else 255
            shadow = np.zeros_like(a)
            for dy, dx in ([(1, 1)] if rng.random() < .5 else [(1, 0), (-1, 0), (0, 1), (0, -1)]):
                shadow = np.maximum(shadow, np.roll(a, (dy, dx), (0, 1)))
            part += (shade - part) * shadow * .9
        through = rng.uniform(.55, 1) if rng.random() < .2 else 1.0
        if through < 1:
            level = float(np.clip(base + (level - base) / through, 0, 255))
        part += (level - part) * a * through
        mask[y:y + th, x:x + tw] = 1
        boxes.append((x, y, x + tw, y + th, a > .4))


def sample(rng, h, w, held_out=False, text=True):
    """A picture as uint8, the mask of its text and its boxes (x0, y0, x1, y1, ink)."""
    kinds, drawn = (HELD_OUT, NEGATIVES) if held_out else (TRAINED, TRAINED_NEGATIVES)
    picture = kinds[rng.integers(len(kinds))](rng, h, w).astype(np.float32)
    if rng.random() < .25:  # the image fills part of the picture
        y0, x0 = int(rng.integers(0, h // 3)), int(rng.integers(0, w // 3))
        y1, x1 = h - int(rng.integers(0, h // 3)), w - int(rng.integers(0, w // 3))
        outside = np.full((h, w), rng.choice([0, 0, 255, rng.integers(0, 256)]), np.float32)
        outside[y0:y1, x0:x1] = picture[y0:y1, x0:x1]
        picture = outside
    if rng.random() < .7 or not text:
        im = Image.fromarray(np.clip(picture, 0, 255).astype(np.uint8))
        d = ImageDraw.Draw(im)
        for _ in range(rng.integers(1, 7)):
            drawn[rng.integers(len(drawn))](rng, d, h, w, int(rng.choice([255, rng.integers(0, 256)])))
        fine = picture - np.clip(picture, 0, 255).astype(np.uint8)
        picture = np.asarray(im, np.float32) + np.clip(fine, 0, 1)
    picture = np.clip(picture, 0, 255)
    mask, boxes = np.zeros((h, w), np.uint8), []
    before = picture.copy()
    if text:
        for _ in range(int(rng.integers(1, max(2, h * w // 20000)))):
            write(rng, picture, mask, boxes, held_out)
    state = rng.bit_generator.state
    finished = finish(rng, picture)
    if not boxes:
        return finished, mask, boxes
    rng.bit_generator.state = state
    without = finish(rng, before).astype(np.float32)
    legible = [judge(box, finished, without, mask) for box in boxes]
    return finished, mask, [box for box in legible if box is not None]


ILLEGIBLE = 2


def judge(box, finished, without, mask):
    """The line with the ink that can be seen; None, and the mask says ILLEGIBLE, where nobody could read it: letters whose contrast in
    the finished picture is below 12 grey levels or lost in the noise around them, or of which a third cannot be seen."""
    x0, y0, x1, y1, ink = box
    part, bare = finished[y0:y1, x0:x1].astype(np.float32), without[y0:y1, x0:x1]
    change = np.abs(part - bare)
    around = without[max(0, y0 - 8):y1 + 8, max(0, x0 - 8):x1 + 8]
    noise = float(np.std(around - gaussian_filter(around, 2)))
    height = min(y1 - y0, x1 - x0)
    needed = max(12, noise * (3 if height < 12 else 2.2 if height < 20 else 1.5))
    seen = ink & (gaussian_filter(change, .7) >= 0.5 * needed)
    if not ink.any() or change[ink].mean() < needed or seen.sum() < .67 * ink.sum() or height < 6:
        mask[y0:y1, x0:x1] = ILLEGIBLE
        return None
    return x0, y0, x1, y1, seen


def finish(rng, picture):
    """What happens to a picture between the console and us: noise, blur, JPEG."""
    if rng.random() < .3:
        picture = gaussian_filter(picture, rng.uniform(.3, .7))
    if rng.random() < .3:
        picture = picture + rng.normal(0, rng.uniform(1, 8), picture.shape)
    if rng.random() < .15:
        picture = 255 - picture
    picture = np.clip(np.rint(picture), 0, 255).astype(np.uint8)
    if rng.random() < .3:
        kept = io.BytesIO()
        Image.fromarray(picture).save(kept, 'JPEG', quality=int(rng.integers(45, 95)))
        picture = np.asarray(Image.open(kept))
    return picture
