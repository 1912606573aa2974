"""Trains the network of net.py on the pairs of synth.py: first draws them, then fits. Needs torch, numpy, scipy.

  python3 train.py --checkpoint ghost.pt --pairs 1000 --steps 2500

The learning rate falls with a cosine over the steps. What is kept for export is the running average of the weights.
"""
import argparse
import os
import time

import numpy as np
import torch
import torch.multiprocessing as multiprocessing
import torch.nn.functional as F

import synth
from net import Ghosts, seen

SIZE = 128
# Squared error below which little more is gained: else slices that hardly moved would be all that is learnt.
ENOUGH = 3e-5


def drawn(seed, count):
    """Inputs and outputs [count,1,SIZE,SIZE], what the network sees of the inputs."""
    torch.set_num_threads(1)
    rng, made = np.random.default_rng(seed), []
    while len(made) < count:
        for moved, rest in synth.examples(rng, SIZE):
            x = torch.from_numpy(moved)[None, None]
            parts, features = seen(x)
            made.append([one[0].half() for one in (x, torch.from_numpy(rest)[None, None], parts, features)])
    return [torch.stack(one).numpy() for one in zip(*made[:count])]


def squared(error, weight):
    return (error ** 2 * weight).mean((1, 2, 3)) / weight.mean((1, 2, 3))


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument('--checkpoint', required=True)
    a.add_argument('--pairs', type=int, default=1000)
    a.add_argument('--steps', type=int, default=2500)
    a.add_argument('--batch', type=int, default=8)
    a.add_argument('--workers', type=int, default=2, help='processes that draw')
    a.add_argument('--rate', type=float, default=2e-3)
    a.add_argument('--seed', type=int, default=1)
    a = a.parse_args()
    start = time.time()
    share = 50
    with multiprocessing.Pool(a.workers) as pool:
        jobs = [pool.apply_async(drawn, ([a.seed, n], share)) for n in range(a.pairs // share)]
        bank = [torch.from_numpy(np.concatenate(one)) for one in zip(*(job.get() for job in jobs))]
    print(len(bank[0]), 'pairs in', round(time.time() - start), 's', flush=True)
    torch.set_num_threads(1)
    torch.manual_seed(a.seed)
    rng, net = np.random.default_rng([a.seed, 1]), Ghosts()
    print('parameters', sum(p.numel() for p in net.parameters()), flush=True)
    average = {k: v.clone() for k, v in net.state_dict().items()}
    optimiser = torch.optim.AdamW(net.parameters(), a.rate, weight_decay=1e-3)
    mean = None
    for step in range(1, a.steps + 1):
        for group in optimiser.param_groups:
            group['lr'] = a.rate * min(1, step / 100) * (0.5 + 0.5 * np.cos(np.pi * step / a.steps)) + 1e-6
        chosen = rng.integers(0, len(bank[0]), a.batch)
        x, y, parts, features = (one[chosen].float() for one in bank)
        # Inside the body a gain counts three times: there it is read.
        weight = 1 + 2 * (F.avg_pool2d(y, 9, 1, 4) > 0.1).float()
        made, level = net.left(x, parts, features)
        was, left = squared(x - y, weight), squared(made - y, weight)
        loss = 0.5 * torch.log(left + ENOUGH).mean()  # the mean of the gains in dB
        everywhere = torch.ones_like(x)
        wanted = torch.log10(torch.sqrt(squared(x - y, everywhere) / squared(x, everywhere)) + 1e-3)
        judged = F.smooth_l1_loss(level, wanted, beta=0.2)
        optimiser.zero_grad()
        (loss + 0.3 * judged).backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        keep = min(0.998, (step + 1) / (step + 10))
        for name, value in net.state_dict().items():
            average[name].mul_(keep).add_(value, alpha=1 - keep)
        moved = was > 1e-4
        gain = (10 * torch.log10(was[moved] / left[moved])).mean().item() if moved.any() else 0
        now = np.array([gain, judged.item()])
        mean = now if mean is None else 0.98 * mean + 0.02 * now
        if step % 200 == 0 or step == a.steps:
            print(f'{step} steps {time.time() - start:.0f} s, gain {mean[0]:.2f} dB, level off {mean[1]:.3f}', flush=True)
            torch.save({'net': net.state_dict(), 'average': average, 'step': step, 'seconds': time.time() - start}, a.checkpoint + '.part')
            os.replace(a.checkpoint + '.part', a.checkpoint)


if __name__ == '__main__':
    main()
