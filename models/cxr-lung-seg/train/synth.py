"""Chest radiographs out of nothing, with the lungs' masks: image and label, 0 background, 1 and 2 the lung on the image's left and right.

A radiograph is a sum of what the beam passes: thickness of the body, air of the lungs, ribs, clavicles, spine, heart, diaphragm,
vessels, scapulae, arms, breasts, bowel gas, devices, letters. All shapes are functions of one warped grid of coordinates, so a
turned, stretched or shifted patient costs nothing. A share of images shows no chest at all (hands, limbs, abdomen, skulls, discs): their mask
is empty. Needs numpy, scipy, PIL.
"""
import numpy as np
from PIL import Image, ImageDraw
from scipy.ndimage import distance_transform_edt, gaussian_filter, zoom

SIZE = 128


def smooth(edge, width):
    """0 where edge is far below nought, 1 far above."""
    return 0.5 + 0.5 * np.tanh(edge / width)


def noise(rng, size, sigma):
    """Smooth noise of unit deviation; sigma in pixels."""
    coarse = max(1, int(sigma / 2))
    n = size // coarse + 3
    field = gaussian_filter(rng.standard_normal((n, n)).astype(np.float32), sigma / coarse)
    field = zoom(field, (size + 2 * coarse) / n, order=1)[:size, :size] if coarse > 1 else field[:size, :size]
    return (field - field.mean()) / (field.std() + 1e-6)


def grid(rng, size):
    """x to the image's right and y down in units of half the thorax's width, about the thorax's centre; turned and bent."""
    y, x = np.mgrid[:size, :size].astype(np.float32) / size - 0.5
    angle = np.deg2rad(rng.normal(0, 5) if rng.random() < 0.9 else rng.uniform(-20, 20))
    scale = rng.uniform(1.95, 3.0)
    aspect = np.exp(rng.normal(0, 0.06))
    x, y = x - rng.normal(0, 0.05), y - rng.normal(0, 0.05)
    u = (np.cos(angle) * x + np.sin(angle) * y) * scale * aspect
    v = (np.cos(angle) * y - np.sin(angle) * x) * scale / aspect
    bend = rng.uniform(0, 0.035)
    return u + bend * noise(rng, size, size / 7), v + bend * noise(rng, size, size / 7)


def stroke(size, points, width):
    """A line through points (in pixels), width in pixels, as a picture of 0 to 1."""
    picture = Image.new('L', (2 * size, 2 * size))
    ImageDraw.Draw(picture).line([(2 * a, 2 * b) for a, b in points], fill=255, width=max(1, round(2 * width)), joint='curve')
    return np.asarray(picture.resize((size, size), Image.BOX), np.float32) / 255


def curve(a, b, c, n=14):
    t = np.linspace(0, 1, n)[:, None]
    return (1 - t) ** 2 * np.array(a) + 2 * t * (1 - t) * np.array(b) + t ** 2 * np.array(c)


def lungs(rng, x, y, ap):
    """The rib cage's inside on each side, the lungs seen in it, the heart, and what else needs their shapes."""
    top = rng.uniform(-1.05, -0.8)
    full = rng.uniform(0.78, 0.98)  # where the cage is widest is about the same in all; how far down it goes is not
    power = rng.uniform(1.7, 2.6)
    turned = rng.normal(0, 0.03)  # the patient turned about the long axis: the middle moves against the cage
    middle = turned + 0.04 * rng.standard_normal() * np.sin(1.5 * y + rng.uniform(0, 6))
    heart_size = rng.uniform(0.9, 1.25) * (1.15 if ap else 1)
    mirrored = -1 if rng.random() < 0.015 else 1
    parts = []
    for side in (-1, 1):  # the image's left is the patient's right
        s = side * (x - middle)
        t = np.clip((y - top) / (full - top), 0, 1.3)
        reach = rng.uniform(0.9, 1.04)
        lateral = reach * np.clip(1 - np.abs(1 - np.clip(t, 0, 1)) ** power, 0, 1) ** rng.uniform(0.4, 0.6) - 0.05 * np.clip(t - 0.75, 0, 1)
        dome = full - rng.uniform(0.16, 0.4) * (1.15 if ap else 1) + (0.05 if side * mirrored > 0 else 0)
        if rng.random() < 0.08:
            dome -= rng.uniform(0.1, 0.35)
        centre, bow = rng.uniform(0.35, 0.55), rng.uniform(0.35, 0.9)
        diaphragm = dome + bow * (s - centre) ** 2 + rng.uniform(0, 0.5) * np.clip(s - 0.75, 0, 1) ** 1.0
        if rng.random() < 0.12:  # a blunted angle
            diaphragm = np.minimum(diaphragm, dome + rng.uniform(0.02, 0.12))
        edge = rng.uniform(0.13, 0.22) + 0.05 * np.clip((-0.55 - y) * 3, 0, 1) * rng.uniform(0, 1)
        if side * mirrored > 0:
            h = 0.5 * heart_size
            heart = h * np.exp(-((y - dome + rng.uniform(0.05, 0.2)) / rng.uniform(0.38, 0.5)) ** 2 / 1.2)
            knob = rng.uniform(0.05, 0.17) * np.exp(-((y + rng.uniform(0.3, 0.5)) / 0.11) ** 2)
        else:
            heart = rng.uniform(0.12, 0.26) * heart_size * np.exp(-((y - dome + rng.uniform(0.1, 0.25)) / 0.3) ** 2)
            knob = rng.uniform(0, 0.05) * np.exp(-((y + rng.uniform(0.2, 0.6)) / 0.2) ** 2)
        hilum = rng.uniform(0.02, 0.1) * np.exp(-((y + rng.uniform(-0.05, 0.15)) / 0.13) ** 2)
        medial = np.maximum(edge + knob + 0.5 * hilum, heart)
        dome_above = top + rng.uniform(0.7, 2.2) * np.abs(s - rng.uniform(0.26, 0.42)) ** 2 * smooth(0.9 - s, 0.2)
        cage = np.minimum(lateral - s, y - dome_above)
        seen = np.minimum(np.minimum(cage, s - medial), diaphragm - y)
        parts.append({'side': side, 's': s, 'cage': cage, 'seen': seen, 'lateral': lateral, 'medial': medial, 'diaphragm': diaphragm, 'dome': dome,
                      'edge': edge, 'top': top, 'middle': middle})
    return parts


def bones(rng, x, y, parts):
    """Ribs behind and before, spine, clavicles."""
    total = np.zeros_like(x)
    spacing, strength = rng.uniform(0.15, 0.21), rng.uniform(0.04, 0.2)
    shift, fall, bow = rng.uniform(0, 1), rng.uniform(0.1, 0.5), rng.uniform(0.2, 0.9)
    for part in parts:
        s = part['s']
        inside = smooth(part['cage'] + 0.035, 0.012) * smooth(s - 0.1, 0.03)
        local = spacing * (1 + 0.15 * y)
        phase = (y - fall * s * 0.6 + bow * (s - 0.35) ** 2) / local + shift
        wave = np.abs(np.mod(phase, 1) - 0.5) * 2
        half = rng.uniform(0.32, 0.5)
        rib = smooth(half - wave, 0.07) * 0.7 + 0.6 * np.exp(-((wave - half) / 0.09) ** 2)
        total += strength * rib * inside
        phase = (y + rng.uniform(0.5, 1.0) * (0.9 - s) * -0.9 - 0.3 * (s - 0.4) ** 2) / (local * 1.15) + rng.uniform(0, 1)
        wave = np.abs(np.mod(phase, 1) - 0.5) * 2
        rib = smooth(half - wave, 0.1) * 0.8 + 0.3 * np.exp(-((wave - half) / 0.1) ** 2)
        total += strength * rng.uniform(0.2, 0.8) * rib * inside * smooth(s - rng.uniform(0.3, 0.5), 0.1) * smooth(y + 0.6, 0.1)
        wall = np.exp(-((part['cage'] + rng.uniform(0.0, 0.03)) / rng.uniform(0.015, 0.035)) ** 2) * smooth(y - part['top'], 0.02)
        total += rng.uniform(0.3, 1.0) * strength * wall
        height = part['top'] + rng.uniform(0.0, 0.33)
        tilt = rng.uniform(-0.35, 0.15)
        line = height + tilt * s + rng.uniform(0.02, 0.08) * np.sin(3.2 * s + rng.uniform(-0.5, 0.5))
        width = rng.uniform(0.03, 0.05)
        gap = np.abs(y - line)
        clavicle = smooth(width - gap, 0.012) * 0.7 + 0.4 * np.exp(-((gap - width) / 0.013) ** 2)
        total += rng.uniform(0.8, 2.0) * strength * clavicle * smooth(s - 0.08, 0.02) * smooth(rng.uniform(0.95, 1.2) - s, 0.03)
        if rng.random() < 0.8:  # scapula: a blade whose inner edge may lie over the lung
            blade = s - rng.uniform(0.72, 1.0) - rng.uniform(-0.1, 0.3) * (y + 0.5)
            extent = smooth(y + rng.uniform(0.9, 1.1), 0.05) * smooth(rng.uniform(0.0, 0.3) - y - 0.5 * np.abs(blade), 0.05)
            total += strength * extent * (rng.uniform(0.3, 1.0) * smooth(blade, 0.02) * smooth(0.4 - blade, 0.1)
                                          + rng.uniform(0, 1) * np.exp(-((blade - 0.015) / 0.02) ** 2))
    middle = parts[0]['middle']
    width = rng.uniform(0.09, 0.13)
    disc = 0.8 + 0.2 * smooth(np.abs(np.mod(y / rng.uniform(0.15, 0.2), 1) - 0.5) - 0.1, 0.05)
    total += rng.uniform(0.1, 0.35) * smooth(width - np.abs(x - middle), 0.02) * disc
    return total


def vessels(rng, size, parts, x, y):
    """Branches that leave the hila and thin out; drawn by pixels."""
    total = np.zeros((size, size), np.float32)
    for part in parts:
        hilum = np.argmin((part['s'] - part['edge'] - 0.12) ** 2 + (y - rng.uniform(-0.15, 0.1)) ** 2)
        hy, hx = divmod(int(hilum), size)
        scale = 0.45 * size / (x.max() - x.min()) * 2
        for _ in range(rng.integers(5, 14)):
            turn = rng.uniform(-1.5, 1.5)
            way = np.array([part['side'] * np.cos(turn), np.sin(turn)])
            length = rng.uniform(0.3, 1.0) * scale
            end = np.array([hx, hy]) + way * length
            bent = np.array([hx, hy]) + way * length / 2 + rng.normal(0, 0.1 * scale, 2)
            points = [tuple(p) for p in curve((hx, hy), bent, end)]
            total = np.maximum(total, rng.uniform(0.3, 1) * stroke(size, points, rng.uniform(0.6, 2.2)))
    return gaussian_filter(total, 0.8)


def devices(rng, size, image):
    """Lines, tubes, leads, boxes, clips and letters: brighter than what is under them."""
    for _ in range(rng.poisson(0.9)):
        a, b, c = rng.uniform(0, size, (3, 2))
        image = image + rng.uniform(0.1, 0.6) * gaussian_filter(stroke(size, [tuple(p) for p in curve(a, b, c)], rng.uniform(0.7, 2.5)), 0.4)
    for _ in range(rng.poisson(0.35)):
        y, x = rng.integers(0, size - 20, 2)
        h, w = rng.integers(3, 20, 2)
        image[y:y + h, x:x + w] += rng.uniform(0.2, 0.9)
    if rng.random() < 0.5:
        picture = Image.new('L', (40, 12))
        ImageDraw.Draw(picture).text((1, 0), rng.choice(['L', 'R', 'AP', 'PORTABLE', 'ERECT', 'SUPINE', 'PA']), fill=255)
        letters = np.asarray(picture, np.float32) / 255
        y, x = rng.integers(0, size - 12), rng.integers(0, size - 40)
        image[y:y + 12, x:x + 40] += letters * rng.uniform(0.5, 1.2)
    return image


def chest(rng, size):
    ap = rng.random() < 0.35
    x, y = grid(rng, size)
    parts = lungs(rng, x, y, ap)
    body_width = rng.uniform(1.1, 1.5)
    shoulder = rng.uniform(-1.35, -0.95)
    neck = rng.uniform(0.3, 0.45)
    slope = rng.uniform(0.25, 0.8)
    outline = np.minimum(body_width + rng.uniform(0, 0.5) * smooth(-0.3 - y, 0.3) - np.abs(x), y - shoulder - slope * np.clip(np.abs(x) - neck, 0, 9) * 0.7)
    body = np.maximum(outline, neck - np.abs(x))
    image = smooth(body, 0.02) * (0.35 + rng.uniform(0.3, 0.7) * np.clip(body / 0.6, 0, 1) ** 0.5) * (1 + rng.uniform(-0.05, 0.3) * y)
    label = np.zeros((size, size), np.uint8)
    air, behind = rng.uniform(0.25, 0.75), rng.uniform(0.0, 0.45)
    lighter = rng.uniform(0.75, 1)
    for i, part in enumerate(parts):
        seen = part['seen'] > 0
        label[seen] = i + 1
        depth = distance_transform_edt(seen) * 2.4 / size
        profile = 1 - np.exp(-depth / rng.uniform(0.04, 0.12))
        share = air * (lighter if rng.random() < 0.5 else 1)
        if rng.random() < 0.08:
            share *= rng.uniform(0.25, 0.7)  # one side veiled
        image = image - share * profile * (1 + 0.25 * rng.standard_normal() * y)
        hidden = smooth(np.minimum(part['cage'], part['s'] - 0.02), 0.03) * smooth(part['diaphragm'] + rng.uniform(0, 0.25) - y, 0.06)
        image = image - behind * share * hidden * (1 - profile * seen) * rng.uniform(0.3, 1)
    inside = label > 0
    below = smooth(np.minimum(y - np.minimum(parts[0]['diaphragm'], parts[1]['diaphragm']), 1), 0.03)
    image = image + rng.uniform(0, 0.25) * below * smooth(body, 0.05)
    image = image + bones(rng, x, y, parts) * smooth(body, 0.02)
    image = image + rng.uniform(0.03, 0.16) * vessels(rng, size, parts, x, y) * inside
    middle = parts[0]['middle']
    trachea = smooth(rng.uniform(0.05, 0.08) - np.abs(x - middle - rng.normal(0, 0.03)), 0.015) * smooth(rng.uniform(-0.4, -0.15) - y, 0.05)
    image = image - rng.uniform(0.02, 0.2) * trachea
    for _ in range(rng.poisson(1.6)):  # gas in stomach and bowel
        cx, cy = rng.uniform(-0.8, 0.9), rng.uniform(0.05, 0.9) + parts[1]['dome']
        gap = ((x - cx) / rng.uniform(0.06, 0.3)) ** 2 + ((y - cy) / rng.uniform(0.04, 0.2)) ** 2
        image = image - rng.uniform(0.1, 0.45) * smooth(1 - gap, 0.2) * below
    for side in (-1, 1):
        if rng.random() < 0.35:  # breasts, or the fold of an arm
            gap = ((side * x - rng.uniform(0.45, 0.75)) / rng.uniform(0.35, 0.6)) ** 2 + ((y - rng.uniform(0.2, 0.7)) / rng.uniform(0.25, 0.5)) ** 2
            image = image + rng.uniform(0.04, 0.2) * smooth(1 - gap, 0.06) * np.clip(gap, 0.3, 1)
        if rng.random() < 0.6:  # humerus and shoulder
            along = side * x - rng.uniform(1.25, 1.6) - rng.uniform(-0.1, 0.4) * (y + 0.8)
            arm = smooth(rng.uniform(0.12, 0.2) - np.abs(along), 0.02) * smooth(y - shoulder - 0.05, 0.05)
            flesh = smooth(rng.uniform(0.25, 0.4) - np.abs(along), 0.03) * smooth(y - shoulder, 0.05)
            image = np.maximum(image, rng.uniform(0.2, 0.6) * flesh) + rng.uniform(0.05, 0.25) * arm
    for _ in range(rng.poisson(0.8)):  # shadows within the lungs: the mask stays
        part = parts[rng.integers(2)]
        cx, cy = part['side'] * rng.uniform(0.25, 0.8), rng.uniform(-0.6, 0.6)
        gap = ((x - cx) / rng.uniform(0.05, 0.4)) ** 2 + ((y - cy) / rng.uniform(0.05, 0.4)) ** 2
        image = image + rng.uniform(0.03, 0.3) * smooth(1 - gap, 0.4) * (1 + 0.4 * noise(rng, size, 4)) * inside
    image = image + rng.uniform(0, 0.04) * noise(rng, size, rng.uniform(1.5, 6)) + rng.uniform(0, 0.06) * noise(rng, size, 30)
    return image, label


def other(rng, size):
    """What is no chest: hands, limbs, abdomens, skulls, discs, letters, nothing. No lung in any."""
    kind = rng.integers(6)
    image = np.full((size, size), rng.uniform(0, 0.1), np.float32)
    y, x = np.mgrid[:size, :size].astype(np.float32) / size - 0.5
    if kind == 0:  # a hand, or two
        for hand in range(rng.integers(1, 3)):
            base = np.array([rng.uniform(0.3, 0.7), rng.uniform(0.6, 0.95)]) * size
            lean = rng.uniform(-0.5, 0.5)
            reach = rng.uniform(0.4, 0.9) * size
            flesh, bone = np.zeros((2, size, size), np.float32)
            for finger in range(5):
                way = np.deg2rad(-90 + (finger - 2) * rng.uniform(12, 20)) + lean
                tip = base + reach * (0.7 if finger == 0 else 1) * np.array([np.cos(way), np.sin(way)])
                flesh = np.maximum(flesh, stroke(size, [tuple(base), tuple(tip)], rng.uniform(0.08, 0.12) * size))
                for joint in range(4):
                    a, b = base + (tip - base) * (joint + 0.08) / 4, base + (tip - base) * (joint + 0.92) / 4
                    bone = np.maximum(bone, stroke(size, [tuple(a), tuple(b)], rng.uniform(0.03, 0.06) * size))
            image = image + 0.4 * gaussian_filter(flesh, 1.5) + 0.4 * gaussian_filter(bone, 0.8)
    elif kind == 1:  # long bones in flesh
        for _ in range(rng.integers(1, 4)):
            a, b = rng.uniform(-0.2, 1.2, (2, 2)) * size
            width = rng.uniform(0.05, 0.2) * size
            image = np.maximum(image, 0.5 * gaussian_filter(stroke(size, [tuple(a), tuple(b)], 2.5 * width), 2))
            image = image + 0.3 * gaussian_filter(stroke(size, [tuple(a), tuple(b)], width), 1) - 0.12 * gaussian_filter(stroke(size, [tuple(a), tuple(b)], 0.5 * width), 1)
    elif kind == 2:  # abdomen and pelvis: bright, with gas
        image = image + rng.uniform(0.4, 0.8) * smooth(0.5 - np.abs(x) * rng.uniform(0.9, 1.3), 0.05) + 0.2 * smooth(0.06 - np.abs(x), 0.01)
        for _ in range(rng.integers(3, 20)):
            gap = ((x - rng.uniform(-0.4, 0.4)) / rng.uniform(0.02, 0.1)) ** 2 + ((y - rng.uniform(-0.5, 0.5)) / rng.uniform(0.02, 0.1)) ** 2
            image = image - rng.uniform(0.05, 0.4) * smooth(1 - gap, 0.2)
        for side in (-1, 1):
            gap = ((side * x - rng.uniform(0.2, 0.3)) / rng.uniform(0.12, 0.2)) ** 2 + ((y - rng.uniform(0.1, 0.5)) / rng.uniform(0.15, 0.3)) ** 2
            image = image + rng.uniform(0, 0.25) * smooth(1 - gap, 0.1)
    elif kind == 3:  # a skull
        gap = np.sqrt((x / rng.uniform(0.28, 0.42)) ** 2 + ((y + 0.05) / rng.uniform(0.3, 0.45)) ** 2)
        image = image + 0.4 * smooth(1 - gap, 0.05) + 0.5 * np.exp(-((gap - 1) / 0.06) ** 2)
        for side in (-1, 1):
            hole = ((side * x - 0.13) / 0.08) ** 2 + ((y - rng.uniform(0, 0.1)) / 0.07) ** 2
            image = image - rng.uniform(0.1, 0.3) * smooth(1 - hole, 0.2)
    elif kind == 4:  # discs and boxes: a phantom
        for _ in range(rng.integers(2, 40)):
            gap = ((x - rng.uniform(-0.5, 0.5)) / rng.uniform(0.01, 0.3)) ** 2 + ((y - rng.uniform(-0.5, 0.5)) / rng.uniform(0.01, 0.3)) ** 2
            image = np.where(gap < 1, rng.uniform(0, 1), image)
    else:
        image = image + rng.uniform(0, 0.5) * noise(rng, size, rng.uniform(2, 60))
    image = image + 0.03 * noise(rng, size, rng.uniform(1.5, 6))
    return devices(rng, size, image.astype(np.float32)), np.zeros((size, size), np.uint8)


def shown(rng, image, label):
    """As a detector and a display would have it: curve, blur, noise, collimation, letters, at times inverted. No lung where nothing is shown."""
    size = image.shape[0]
    low, high = np.percentile(image, [0.5, 99.5])
    image = np.clip((image - low) / (high - low + 1e-6), -0.1, 1.3)
    if rng.random() < 0.5:
        steep = rng.uniform(2, 7)
        image = 1 / (1 + np.exp(-steep * (image - rng.uniform(0.3, 0.65))))
    image = np.clip(image, 0, None) ** np.exp(rng.normal(0, 0.35))
    if rng.random() < 0.3:  # a local equalisation, as many vendors do
        image = image - rng.uniform(0.3, 0.9) * gaussian_filter(image, rng.uniform(10, 40))
    image = devices(rng, size, image.astype(np.float32))
    if rng.random() < 0.5:
        image = gaussian_filter(image, rng.uniform(0.3, 1.2))
    image = image + rng.choice([0.006, 0.015, 0.05]) * rng.uniform(0, 1) * rng.standard_normal(image.shape)
    edges = np.zeros(4, int)
    if rng.random() < 0.35:  # collimated
        edges = rng.integers(0, size // 9, 4) * (rng.random(4) < 0.6)
    frame = np.ones_like(image, bool)
    frame[edges[0]:size - edges[1], edges[2]:size - edges[3]] = False
    image = np.where(frame, rng.choice([image.min(), image.max()], p=[0.8, 0.2]), image)
    return -image if rng.random() < 0.06 else image, np.where(frame, 0, label)


def standard(image):
    """The model's scale: the 1st percentile is 0, the 99th is 1."""
    low, high = np.percentile(image, [1, 99])
    return np.clip((image - low) / max(high - low, 1e-6), -0.2, 1.2).astype(np.float32)


def example(rng, size=SIZE):
    """One image on the model's scale and its label."""
    image, label = chest(rng, size) if rng.random() < 0.86 else other(rng, size)
    image, label = shown(rng, image.astype(np.float32), label)
    return standard(image), label.astype(np.uint8)
