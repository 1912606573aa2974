"""Trains the text detector on synthetic pictures; goes on from its checkpoint when that exists. Needs torch, numpy, scipy, Pillow, fonts.

  python3 train.py --checkpoint text.pt --minutes 50 --seed 1

The learning rate follows a cosine over the share of minutes (or steps) that is done. What is kept for export is the running
average of the weights, which is usable at any time. One thread; pictures are made in the same process.
"""
import argparse
import os
import time

import numpy as np
import torch
from torch.nn import functional as F

from net import Detector
from synth import ILLEGIBLE, sample

SIDE = 512
CROP = (192, 256)


def picture(rng):
    image, mask, boxes = sample(rng, SIDE, SIDE, text=rng.random() < 0.78)
    return image, mask, [box[:4] for box in boxes]


def crop(rng, bank):
    image, mask, boxes = bank[rng.integers(len(bank))]
    h, w = CROP
    y, x = rng.integers(0, SIDE - h + 1), rng.integers(0, SIDE - w + 1)
    if boxes and rng.random() < 0.6:
        x0, y0, x1, y1 = boxes[rng.integers(len(boxes))]
        y = int(np.clip((y0 + y1) // 2 - rng.integers(0, h), 0, SIDE - h))
        x = int(np.clip(rng.integers(x0, x1) - rng.integers(0, w), 0, SIDE - w))
    image, mask = image[y:y + h, x:x + w].astype(np.float32), mask[y:y + h, x:x + w]
    if rng.random() < 0.3:
        image = 255 - image
    if rng.random() < 0.4:
        middle = image.mean()
        image = (image - middle) * rng.uniform(0.6, 1.6) + middle + rng.uniform(-40, 40)
    if rng.random() < 0.15:
        image, mask = image[::-1, ::-1], mask[::-1, ::-1]
    return np.clip(image, 0, 255), mask


def batch(rng, bank, count):
    crops = [crop(rng, bank) for _ in range(count)]
    x = torch.from_numpy(np.stack([np.ascontiguousarray(c[0]) for c in crops])[:, None])
    m = torch.from_numpy(np.stack([np.ascontiguousarray(c[1]) for c in crops])[:, None])
    return x, F.avg_pool2d((m == 1).float(), 4), F.max_pool2d((m == ILLEGIBLE).float(), 4)


def loss_of(logits, covered, illegible):
    target = (covered >= 0.5).float()
    whole = ((covered == 0) | (covered == 1)).float() * 0.8 + 0.2  # the cells on the border of a box matter little
    whole = whole * (1 - illegible)
    each = F.binary_cross_entropy_with_logits(logits, target, reduction='none') * whole
    positive, negative = each[target > 0], each[target == 0]
    hard = negative.topk(max(1, negative.numel() // 50)).values.mean()
    p = torch.sigmoid(logits)
    dice = 1 - (2 * (p * target * whole).sum() + 50) / ((p * whole).sum() + (target * whole).sum() + 50)
    return (positive.mean() if positive.numel() else 0) + 2 * negative.mean() + 0.25 * hard + dice


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument('--checkpoint', required=True)
    a.add_argument('--steps', type=int, default=10 ** 9)
    a.add_argument('--minutes', type=float, default=1e9)
    a.add_argument('--batch', type=int, default=12)
    a.add_argument('--bank', type=int, default=400, help='synthetic pictures held')
    a.add_argument('--renew', type=int, default=4, help='steps after which one of them is replaced')
    a.add_argument('--rate', type=float, default=2e-3)
    a.add_argument('--seed', type=int, default=1)
    a = a.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(a.seed)
    net = Detector().to(memory_format=torch.channels_last)
    average = {k: v.clone() for k, v in net.state_dict().items()}
    optimiser = torch.optim.Adam(net.parameters(), a.rate, betas=(0.9, 0.99))
    step, before, mean = 0, 0.0, None
    if os.path.exists(a.checkpoint):
        saved = torch.load(a.checkpoint, map_location='cpu')
        net.load_state_dict(saved['net'])
        optimiser.load_state_dict(saved['optimiser'])
        average, step, before = saved['average'], saved['step'], saved['seconds']
    rng = np.random.default_rng([a.seed, step])
    bank = [picture(rng) for _ in range(a.bank)]
    print('parameters', sum(p.numel() for p in net.parameters()), flush=True)
    start = time.time()

    def save():
        torch.save({'net': net.state_dict(), 'average': average, 'optimiser': optimiser.state_dict(), 'step': step,
                    'seconds': before + time.time() - start}, a.checkpoint + '.part')
        os.replace(a.checkpoint + '.part', a.checkpoint)

    while True:
        seconds = before + time.time() - start
        share = max(step / a.steps, seconds / (60 * a.minutes))
        if share >= 1:
            break
        rate = a.rate * min(1, (step + 1) / 200) * (0.5 + 0.5 * np.cos(np.pi * share)) + 2e-6
        for group in optimiser.param_groups:
            group['lr'] = rate
        if step % a.renew == 0:
            bank[rng.integers(len(bank))] = picture(rng)
        x, covered, illegible = batch(rng, bank, a.batch)
        with torch.autocast('cpu', dtype=torch.bfloat16, enabled=share < 0.9):
            logits = net(x.to(memory_format=torch.channels_last))
        loss = loss_of(logits.float(), covered, illegible)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 2.0)
        optimiser.step()
        step += 1
        keep = min(0.998, (step + 1) / (step + 10))
        for name, value in net.state_dict().items():
            average[name].mul_(keep).add_(value, alpha=1 - keep)
        mean = loss.item() if mean is None else 0.99 * mean + 0.01 * loss.item()
        if step % 100 == 0:
            print(f'{step} steps {seconds:.0f} s rate {rate:.2e} loss {mean:.4f}', flush=True)
        if step % 500 == 0:
            save()
    save()
    print(f'done: {step} steps, {before + time.time() - start:.0f} s, loss {mean:.4f}', flush=True)


if __name__ == '__main__':
    main()
