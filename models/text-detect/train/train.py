"""Trains the text detector on synthetic pictures; goes on from its checkpoint when that exists. Needs torch, numpy, scipy, Pillow, fonts.

  python3 train.py --checkpoint text.pt --minutes 50 --seed 1

The learning rate follows a cosine over the share of minutes (or steps) of this run that is done. What is kept for export is the
running average of the weights, which is usable at any time. A checkpoint of a network that lacks some of the layers grows into this
one. One thread, and a second process that makes the pictures.
"""
import argparse
import multiprocessing
import os
import time

import numpy as np
import torch
from torch.nn import functional as F

from net import Detector
from synth import ILLEGIBLE, sample

SIDE = 512
CROP = (224, 288)


def picture(rng):
    """Image, mask, the boxes of the lines, and what a cell of a line counts: a short line is as much of a find as a long one."""
    image, mask, boxes = sample(rng, SIDE, SIDE, text=rng.random() < 0.66)
    weight = np.ones((SIDE // 4, SIDE // 4), np.float16)
    for x0, y0, x1, y1, _ in boxes:
        cells = (x1 - x0) * (y1 - y0) / 16
        weight[y0 // 4:-(-y1 // 4), x0 // 4:-(-x1 // 4)] = np.clip(np.sqrt(150 / cells), 0.7, 3.5)
    return image, mask, [box[:4] for box in boxes], weight


def draw(queue, seed):
    rng = np.random.default_rng(seed)
    while True:
        queue.put(picture(rng))


def crop(rng, chosen):
    image, mask, boxes, weight = chosen
    turned = rng.random() < 0.3
    h, w = CROP[::-1] if turned else CROP
    y, x = 4 * rng.integers(0, (SIDE - h) // 4 + 1), 4 * rng.integers(0, (SIDE - w) // 4 + 1)
    if boxes and rng.random() < 0.6:
        x0, y0, x1, y1 = boxes[rng.integers(len(boxes))]
        y = int(np.clip((y0 + y1) // 2 - rng.integers(0, h), 0, SIDE - h)) // 4 * 4
        x = int(np.clip(rng.integers(x0, x1) - rng.integers(0, w), 0, SIDE - w)) // 4 * 4
    image, mask = image[y:y + h, x:x + w].astype(np.float32), mask[y:y + h, x:x + w]
    weight = weight[y // 4:(y + h) // 4, x // 4:(x + w) // 4].astype(np.float32)
    if turned:
        turn = 1 if rng.random() < 0.5 else 3
        image, mask, weight = (np.rot90(one, turn) for one in (image, mask, weight))
    if rng.random() < 0.3:
        image = 255 - image
    if rng.random() < 0.4:
        middle = image.mean()
        image = (image - middle) * rng.uniform(0.6, 1.6) + middle + rng.uniform(-40, 40)
    if rng.random() < 0.15:
        image, mask, weight = (one[::-1, ::-1] for one in (image, mask, weight))
    return np.clip(image, 0, 255), mask, weight


class Bank:
    """Pictures, and how hard each was when it was last seen: half of a batch is drawn by that."""

    def __init__(self, size, queue):
        self.queue, self.size = queue, size
        self.pictures = [queue.get() for _ in range(min(size, 60))]
        self.hardness = np.full(len(self.pictures), 1.0)

    def choose(self, rng, count):
        share = self.hardness / self.hardness.sum()
        return np.concatenate([rng.integers(0, len(self.pictures), count - count // 2),
                               rng.choice(len(self.pictures), count // 2, p=share)])

    def learn(self, which, losses):
        for i, loss in zip(which, losses):
            self.hardness[i] = 0.5 * self.hardness[i] + 0.5 * float(np.clip(loss, 0.02, 2))

    def renew(self, rng):
        """One more, as long as there is room for it; then the easiest of five goes."""
        if len(self.pictures) < self.size:
            self.pictures.append(self.queue.get())
            self.hardness = np.append(self.hardness, 1.0)
            return
        some = rng.integers(0, len(self.pictures), 5)
        i = some[self.hardness[some].argmin()]
        self.pictures[i], self.hardness[i] = self.queue.get(), 1.0


def batch(rng, bank, which):
    crops = [crop(rng, bank.pictures[i]) for i in which]
    x, m, w = (torch.from_numpy(np.stack([np.ascontiguousarray(c[k]) for c in crops])[:, None]) for k in range(3))
    return x, F.avg_pool2d((m == 1).float(), 4), F.max_pool2d((m == ILLEGIBLE).float(), 4), w


def loss_of(logits, covered, illegible, weight):
    """@returns the loss of the batch and, roughly, of each of its pictures."""
    target = (covered >= 0.5).float()
    whole = ((covered == 0) | (covered == 1)).float() * 0.8 + 0.2  # the cells on the border of a box matter little
    whole = whole * (1 - illegible)
    each = F.binary_cross_entropy_with_logits(logits, target, reduction='none') * whole
    positive, negative = each[target > 0] * weight[target > 0], each[target == 0]
    hard = negative.topk(max(1, negative.numel() // 50)).values.mean()
    p = torch.sigmoid(logits)
    dice = 1 - (2 * (p * target * whole).sum() + 50) / ((p * whole).sum() + (target * whole).sum() + 50)
    alone = (each * (1 + 4 * target * weight)).detach().flatten(1).topk(200).values.mean(1)
    return (positive.mean() if positive.numel() else 0) + 2 * negative.mean() + 0.25 * hard + dice, alone


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument('--checkpoint', required=True)
    a.add_argument('--steps', type=int, default=10 ** 9, help='of this run')
    a.add_argument('--minutes', type=float, default=1e9, help='of this run')
    a.add_argument('--batch', type=int, default=10)
    a.add_argument('--bank', type=int, default=500, help='synthetic pictures held')
    a.add_argument('--renew', type=int, default=2, help='steps after which one of them is replaced')
    a.add_argument('--rate', type=float, default=1.5e-3)
    a.add_argument('--seed', type=int, default=1)
    a = a.parse_args()
    torch.set_num_threads(1)
    torch.manual_seed(a.seed)
    net = Detector().to(memory_format=torch.channels_last)
    optimiser = torch.optim.Adam(net.parameters(), a.rate, betas=(0.9, 0.99))
    average, first, before, mean = {k: v.clone() for k, v in net.state_dict().items()}, 0, 0.0, None
    if os.path.exists(a.checkpoint):
        saved = torch.load(a.checkpoint, map_location='cpu')
        grown = net.load_state_dict(saved['average'] if saved['net'].keys() != average.keys() else saved['net'], strict=False).missing_keys
        if not grown:
            optimiser.load_state_dict(saved['optimiser'])
        average.update(saved['average'])
        first, before = saved['step'], saved['seconds']
        print('layers that are new', grown, flush=True)
    queue = multiprocessing.Queue(16)
    multiprocessing.Process(target=draw, args=(queue, [a.seed, first]), daemon=True).start()
    rng = np.random.default_rng([a.seed, first, 1])
    bank = Bank(a.bank, queue)
    print('parameters', sum(p.numel() for p in net.parameters()), flush=True)
    step, start = 0, time.time()

    def save():
        torch.save({'net': net.state_dict(), 'average': average, 'optimiser': optimiser.state_dict(), 'step': first + step,
                    'seconds': before + time.time() - start}, a.checkpoint + '.part')
        os.replace(a.checkpoint + '.part', a.checkpoint)

    while True:
        share = max(step / a.steps, (time.time() - start) / (60 * a.minutes))
        if share >= 1:
            break
        rate = a.rate * min(1, (step + 1) / 300) * (0.5 + 0.5 * np.cos(np.pi * share)) + 2e-6
        for group in optimiser.param_groups:
            group['lr'] = rate
        if step % a.renew == 0:
            bank.renew(rng)
        which = bank.choose(rng, a.batch)
        x, covered, illegible, weight = batch(rng, bank, which)
        with torch.autocast('cpu', dtype=torch.bfloat16, enabled=share < 0.96):
            logits = net(x.to(memory_format=torch.channels_last))
        loss, alone = loss_of(logits.float(), covered, illegible, weight)
        bank.learn(which, alone.tolist())
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 2.0)
        optimiser.step()
        step += 1
        keep = min(0.999, (step + 1) / (step + 10))
        for name, value in net.state_dict().items():
            average[name].mul_(keep).add_(value, alpha=1 - keep)
        mean = loss.item() if mean is None else 0.99 * mean + 0.01 * loss.item()
        if step % 100 == 0:
            print(f'{first + step} steps {before + time.time() - start:.0f} s rate {rate:.2e} loss {mean:.4f}', flush=True)
        if step % 500 == 0:
            save()
    save()
    print(f'done: {first + step} steps, {before + time.time() - start:.0f} s, loss {mean:.4f}', flush=True)


if __name__ == '__main__':
    main()
