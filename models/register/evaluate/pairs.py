"""Pairs of volumes with a known deformation, fixed(x) = moving(x + u(x)), by class of contrast.

Phantoms are made from nothing: organs as turned ellipsoids with folded rims inside a body, 1/f texture, and per class what each scanner would
show of every organ. Where ISTHMUS_SAMPLES names the samples, a real T1 brain is warped and recontrasted, and the T1 and T2 averages of
one template are a real pair of contrasts. Seeds below 100 are for choosing settings, seeds from 100 on are measured; never the other way.
"""
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from scipy.ndimage import gaussian_filter, map_coordinates

TUNING, HELD_OUT = 0, 100
SPACING = 1.8
SIZE = 80


@dataclass
class Pair:
    name: str
    fixed: np.ndarray
    moving: np.ndarray
    fixed_seg: np.ndarray
    moving_seg: np.ndarray
    u: np.ndarray
    """[3,D,H,W], channels (z,y,x), voxels."""
    spacing: float
    modalities: tuple


def lattice(shape):
    return np.stack(np.meshgrid(*[np.arange(n, dtype=np.float32) for n in shape], indexing='ij'))


def warp(volume, u, order=1):
    return map_coordinates(volume, lattice(volume.shape) + u, order=order, mode='nearest')


def random_field(shape, rng, peak, spacing):
    """Smooth displacement in voxels: uniform values on a coarse lattice, blended by Gaussians (no B-splines: those are what methods fit)."""
    blends = []
    for n in shape:
        places = spacing * (np.arange(int(np.ceil(n / spacing)) + 3) - 1)
        weights = np.exp(-.5 * ((np.arange(n)[:, None] - places) / (.55 * spacing)) ** 2)
        blends.append(weights / weights.sum(1, keepdims=True))
    u = np.stack([np.einsum('za,yb,xc,abc->zyx', *blends, rng.uniform(-1, 1, [b.shape[1] for b in blends]), optimize=True) for _ in range(3)])
    return (u * peak / np.abs(u).max()).astype(np.float32)


def noise_1f(shape, rng, slope):
    f = np.sqrt(sum(a ** 2 for a in np.meshgrid(*[np.fft.fftfreq(n) for n in shape], indexing='ij'))) + 1 / max(shape)
    t = np.real(np.fft.ifftn(np.fft.fftn(rng.standard_normal(shape)) / f ** slope))
    return (t / t.std()).astype(np.float32)


def phantom(n, rng, parts=40):
    """Labels of a body (1) and its organs (2...), and a texture with unit deviation."""
    x = lattice((n,) * 3) - (n - 1) / 2
    folds, texture = noise_1f((n,) * 3, rng, 2.2), noise_1f((n,) * 3, rng, 1.2)
    seg = np.zeros((n,) * 3, np.int16)
    body = ((x / (n * np.array([.40, .44, .42])[:, None, None, None])) ** 2).sum(0) < 1 + .05 * folds
    seg[body] = 1
    for label in range(2, parts + 2):
        c, r = rng.uniform(-.3, .3, 3) * n, rng.uniform(.05, .16, 3) * n
        q, _ = np.linalg.qr(rng.standard_normal((3, 3)))
        y = np.tensordot(q, x - c[:, None, None, None], 1) / r[:, None, None, None]
        seg[((y ** 2).sum(0) < 1 + .25 * folds) & body] = label
    return seg, texture * body


def shown(levels, seg, texture, weight, blur=.7):
    return gaussian_filter(levels[seg].astype(np.float32), blur) + weight * texture


def bias(shape, rng, height=.25):
    field = random_field(shape, rng, height, max(shape) / 2.5)[0]
    return np.exp(field)


def rician(volume, rng, sigma):
    return np.hypot(volume + rng.normal(0, sigma, volume.shape), rng.normal(0, sigma, volume.shape))


def mr(levels, seg, texture, rng, weight=.04, sigma=.02):
    def see(seg, texture):
        return rician(shown(levels, seg, texture, weight).clip(0) * bias(seg.shape, rng), rng, sigma) * 800
    return see


def ct(levels, rng):
    def see(seg, texture):
        return shown(levels, seg, texture, 8.) + gaussian_filter(rng.normal(0, 1, seg.shape), .6) * 45
    return see


def pet(levels, rng):
    def see(seg, texture):
        blurred = gaussian_filter(shown(levels, seg, texture, 0, 0), 5.5 / 2.355 / SPACING).clip(0)
        return 1000 * (blurred + gaussian_filter(rng.normal(0, 1, seg.shape), 1) * (.15 * np.sqrt(blurred) + .01))
    return see


def tissues(count, rng):
    """For every label what CT and MR show of it: a body of soft tissue, organs of soft tissue, fat, bone, gas."""
    kind = rng.choice(['soft', 'fat', 'bone', 'gas'], count, p=[.6, .18, .14, .08])
    kind[0], kind[1] = 'air', 'soft'
    hu = {'air': (-1000, -1000), 'soft': (10, 110), 'fat': (-120, -80), 'bone': (300, 1200), 'gas': (-900, -700)}
    t1 = {'air': (0, 0), 'soft': (.25, .7), 'fat': (.85, 1), 'bone': (.05, .15), 'gas': (.0, .05)}
    return [np.array([rng.uniform(*table[k]) for k in kind]) for table in (hu, t1)]


def lesions(seg, rng):
    """Three round lesions inside the body, as (fixed, moving) masks in the space of the moving image: one grows, one vanishes, one is new."""
    inside = np.argwhere(seg > 1)
    masks = []
    for before, after in ((4, 7), (6, 0), (0, 6)):
        c = inside[rng.integers(len(inside))][:, None, None, None]
        r = np.sqrt(((lattice(seg.shape) - c) ** 2).sum(0))
        masks.append((r < after, r < before))
    return masks


def phantom_pair(kind, seed, n=SIZE):
    rng = np.random.default_rng([seed, sorted(PHANTOMS).index(kind)])
    seg, texture = phantom(n, rng)
    count = seg.max() + 1
    u = random_field(seg.shape, rng, rng.uniform(5, 9) / SPACING, rng.uniform(28, 42) / SPACING)
    hu, t1 = tissues(count, rng)
    free = np.concatenate([[0], rng.uniform(.15, 1, count - 1)])
    other = np.concatenate([[0], rng.uniform(.15, 1, count - 1)])
    weight = .04
    see_f, see_m, modalities = {
        'same contrast, MR': lambda: (mr(free, seg, texture, rng), mr(free, seg, texture, rng), ('MR', 'MR')),
        'same contrast, CT': lambda: (ct(hu, rng), ct(hu, rng), ('CT', 'CT')),
        'T1/T2': lambda: (mr(free, seg, texture, rng), mr(other, seg, texture, rng, -weight), ('MR', 'MR')),
        'CT/MR': lambda: (ct(hu, rng), mr(t1, seg, texture, rng), ('CT', 'MR')),
        'PET/CT': lambda: (ct(hu, rng), pet(np.where(t1 < .1, .05, other * rng.choice([1, 3], count, p=[.85, .15])), rng), ('CT', 'PT')),
        'follow-up': lambda: (mr(free, seg, texture, rng), mr(free, seg, texture, rng), ('MR', 'MR')),
    }[kind]()
    fixed_seg, fixed_texture = warp(seg, u, 0), warp(texture, u)
    fixed, moving = see_f(fixed_seg, fixed_texture), see_m(seg, texture)
    if kind == 'follow-up':
        for i, (after, before) in enumerate(lesions(seg, rng)):
            level = 800 * (1.1 if i % 2 else .1)
            fixed = np.where(warp(after.astype(np.float32), u) > .5, level + rng.normal(0, 16, fixed.shape), fixed)
            moving = np.where(before, level + rng.normal(0, 16, fixed.shape), moving)
    return Pair(kind, fixed.astype(np.float32), moving.astype(np.float32), fixed_seg, seg, u, SPACING, modalities)


PHANTOMS = ('same contrast, MR', 'same contrast, CT', 'T1/T2', 'CT/MR', 'PET/CT', 'follow-up')
BRAINS = ('brain 160x192x192, same contrast', 'brain 160x192x192, changed contrast')
TEMPLATE = 'template T1/T2 2 mm'


def samples():
    return Path(os.environ['ISTHMUS_SAMPLES']) / 'volumes' if 'ISTHMUS_SAMPLES' in os.environ else None


def brain_pair(kind, seed):
    rng = np.random.default_rng(seed)
    folder = samples() / 'brain_t1_subject1'
    vol = np.load(folder / 'subject_1_vol.npz')['vol_data'].astype(np.float32)[:, :, 16:208]
    seg = np.load(folder / 'subject_1_seg.npz')['vol_data'].astype(np.int16)[:, :, 16:208]
    u = random_field(vol.shape, rng, 9, 36)
    moving = vol
    if kind == BRAINS[1]:
        levels = np.concatenate([[0], rng.uniform(.1, 1, seg.max())])
        moving = .85 * gaussian_filter(levels[seg].astype(np.float32), .7) + .15 * (vol.max() - vol) * (seg > 0)
    fixed = warp(vol, u) + rng.normal(0, .02, vol.shape)
    moving = moving + rng.normal(0, .02, vol.shape)
    return Pair(kind, (800 * fixed).astype(np.float32), (800 * moving).astype(np.float32), warp(seg, u, 0), seg, u, 1., ('MR', 'MR'))


def nifti(file):
    bytes_ = file.read_bytes()
    order = '<' if int.from_bytes(bytes_[:4], 'little') == 348 else '>'
    head = np.frombuffer(bytes_[40:56], order + 'i2')
    kind = {2: 'u1', 4: 'i2', 16: 'f4'}[int(np.frombuffer(bytes_[70:72], order + 'i2')[0])]
    offset = int(np.frombuffer(bytes_[108:112], order + 'f4')[0])
    x, y, z = (int(v) for v in head[1:4])
    return np.frombuffer(bytes_, order + kind, x * y * z, offset).reshape(z, y, x).astype(np.float32)


def template_pair(seed):
    """Two real contrasts of one template (averages of 152 heads), one of them warped; labels are four ranges of the T1."""
    rng = np.random.default_rng(seed)
    t1, t2 = (nifti(samples() / 'mni_templates' / f'avg152{k}.nii') for k in ('T1', 'T2'))
    seg = np.digitize(t1, np.quantile(t1[t1 > .2 * t1.max()], [0, .25, .5, .75])).astype(np.int16)
    u = random_field(t1.shape, rng, 4, 18)
    top = float(np.quantile(t1, .99)), float(np.quantile(t2, .99))
    fixed = rician(warp(t1, u) / top[0], rng, .02) * 800
    moving = rician(t2 / top[1], rng, .02) * 800
    return Pair(TEMPLATE, fixed.astype(np.float32), moving.astype(np.float32), warp(seg, u, 0), seg, u, 2., ('MR', 'MR'))


def make(kind, seed):
    if kind in PHANTOMS:
        return phantom_pair(kind, seed)
    return brain_pair(kind, seed) if kind in BRAINS else template_pair(seed)
