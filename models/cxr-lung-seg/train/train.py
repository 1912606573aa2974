"""Trains the lung net; goes on from its checkpoint when that exists. Needs torch, numpy, scipy, PIL.

  python3 train.py --checkpoint lungs.pt --minutes 60                     # on chest radiographs made by synth.py
  python3 train.py --checkpoint own.pt --minutes 60 --data FOLDER         # on a hospital's own: FOLDER/images, FOLDER/masks (see README.md)

With --data every tenth picture (by the hash of its name) is kept apart: its Dice and IoU are printed at the end and training never sees it.
The learning rate falls with a cosine over the minutes (or steps). What is kept for export is the running average of the weights.
"""
import argparse
import os
import time

import numpy as np
import torch
import torch.nn.functional as F

import hospital
from net import UNet
from synth import SIZE, example


def augmented(rng, images, labels):
    """Turned, scaled, shifted, mirrored (sides swap), with another contrast; as tensors."""
    count = len(images)
    x = torch.from_numpy(np.stack(images))[:, None]
    y = torch.from_numpy(np.stack(labels).astype(np.int64))
    angle = torch.from_numpy(rng.normal(0, 0.07, count).astype(np.float32))
    scale = torch.from_numpy(np.exp(rng.normal(0, 0.08, (count, 2))).astype(np.float32))
    mirror = torch.from_numpy(np.where(rng.random(count) < 0.03, -1, 1).astype(np.float32))
    shift = torch.from_numpy(rng.normal(0, 0.04, (count, 2)).astype(np.float32))
    theta = torch.stack([torch.stack([mirror * scale[:, 0] * angle.cos(), -scale[:, 1] * angle.sin(), shift[:, 0]], 1),
                         torch.stack([mirror * scale[:, 0] * angle.sin(), scale[:, 1] * angle.cos(), shift[:, 1]], 1)], 1)
    places = F.affine_grid(theta, x.shape, align_corners=False)
    x = F.grid_sample(x, places, mode='bilinear', padding_mode='border', align_corners=False)
    y = F.grid_sample(y[:, None].float(), places, mode='nearest', padding_mode='zeros', align_corners=False)[:, 0].long()
    y[mirror < 0] = torch.tensor([0, 2, 1])[y[mirror < 0]]
    power = torch.from_numpy(np.exp(rng.normal(0, 0.2, (count, 1, 1, 1))).astype(np.float32))
    x = x.clamp(0, 1) ** power + (x - x.clamp(0, 1))
    return x + torch.from_numpy(rng.uniform(0, 0.03, (count, 1, 1, 1)).astype(np.float32)) * torch.randn_like(x), y


def loss_of(logits, labels):
    """Cross-entropy plus one minus the soft Dice of each lung, over the batch."""
    soft = logits.softmax(1)[:, 1:]
    truth = F.one_hot(labels, 3).permute(0, 3, 1, 2)[:, 1:].float()
    dice = (2 * (soft * truth).sum((0, 2, 3)) + 1) / (soft.sum((0, 2, 3)) + truth.sum((0, 2, 3)) + 1)
    return F.cross_entropy(logits, labels) + (1 - dice).mean()


def scores(net, pairs):
    """Dice and IoU of both lungs together, one row for each pair."""
    rows = []
    for image, label in pairs:
        found = net(torch.from_numpy(image)[None, None]).argmax(1)[0].numpy() > 0
        both, either = np.sum(found & (label > 0)), np.sum(found | (label > 0))
        rows.append((1.0, 1.0) if either == 0 else (2 * both / (both + either), both / either))
    return np.array(rows)


def arguments():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument('--checkpoint', required=True)
    a.add_argument('--steps', type=int, default=10 ** 9)
    a.add_argument('--minutes', type=float, default=1e9, help='of the processor, in all')
    a.add_argument('--threads', type=int, default=1)
    a.add_argument('--batch', type=int, default=8)
    a.add_argument('--bank', type=int, default=400, help='synthetic images held')
    a.add_argument('--rate', type=float, default=3e-3)
    a.add_argument('--seed', type=int, default=1)
    a.add_argument('--data', help='folder with images/ and masks/')
    return a.parse_args()


def main():
    a = arguments()
    torch.set_num_threads(a.threads)
    torch.manual_seed(a.seed)
    net = UNet().to(memory_format=torch.channels_last)
    average = {k: v.clone() for k, v in net.state_dict().items()}
    optimiser = torch.optim.AdamW(net.parameters(), a.rate, weight_decay=1e-4)
    step, before = 0, 0.0
    if os.path.exists(a.checkpoint):
        saved = torch.load(a.checkpoint, map_location='cpu')
        net.load_state_dict(saved['net'])
        average = saved['average']
        if saved['data'] == a.data:  # otherwise it is a start for other data, with a schedule of its own
            optimiser.load_state_dict(saved['optimiser'])
            step, before = saved['step'], saved['seconds']
    rng = np.random.default_rng([a.seed, 0, step])
    bank, kept = hospital.read(a.data, SIZE) if a.data else ([example(rng) for _ in range(a.bank)], [])
    print('parameters', sum(p.numel() for p in net.parameters()), 'images', len(bank), 'kept apart', len(kept), flush=True)
    start, mean = time.process_time(), None

    def save():
        torch.save({'net': net.state_dict(), 'average': average, 'optimiser': optimiser.state_dict(), 'step': step, 'data': a.data,
                    'seconds': before + time.process_time() - start}, a.checkpoint + '.part')
        os.replace(a.checkpoint + '.part', a.checkpoint)

    while True:
        seconds = before + time.process_time() - start
        share = max(step / a.steps, seconds / (60 * a.minutes))
        if share >= 1:
            break
        for group in optimiser.param_groups:
            group['lr'] = a.rate * min(1, (step + 1) / 200) * (0.5 + 0.5 * np.cos(np.pi * share)) + 1e-6
        if not a.data and step % 2 == 0:
            bank[rng.integers(len(bank))] = example(rng)
        chosen = [bank[i] for i in rng.integers(0, len(bank), a.batch)]
        x, y = augmented(rng, [c[0] for c in chosen], [c[1] for c in chosen])
        loss = loss_of(net(x, half=True), y)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        step += 1
        keep = min(0.998, (step + 1) / (step + 10))
        for name, value in net.state_dict().items():
            if value.dtype.is_floating_point:
                average[name].mul_(keep).add_(value, alpha=1 - keep)
            else:
                average[name].copy_(value)
        mean = loss.item() if mean is None else 0.98 * mean + 0.02 * loss.item()
        if step % 100 == 0:
            print(f'{step} steps {seconds:.0f} s loss {mean:.4f}', flush=True)
            save()
    save()
    print(f'done: {step} steps, {before + time.process_time() - start:.0f} s of processor, loss {mean:.4f}', flush=True)
    if kept:
        net.load_state_dict(average)
        net.eval()
        with torch.no_grad():
            rows = scores(net, kept)
        print(f'kept apart: {len(kept)} images, Dice {rows[:, 0].mean():.4f}, IoU {rows[:, 1].mean():.4f}', flush=True)


if __name__ == '__main__':
    main()
