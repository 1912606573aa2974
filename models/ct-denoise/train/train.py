"""Trains the denoiser on synthetic images; goes on from its checkpoint when that exists. Needs torch, numpy, scipy.

  python3 train.py --checkpoint denoise.pt --steps 40000 --seed 1
  python3 train.py --checkpoint denoise.pt --minutes 40        # the schedule ends with the clock instead
  python3 train.py --checkpoint more.pt --start denoise.pt --minutes 70   # a new schedule from trained weights

The learning rate follows a cosine over what share of steps (or minutes) is done; the last tenth runs in float32 throughout.
What is kept for export is the running average of the weights, which is usable at any time.
"""
import argparse
import multiprocessing
import os
import time

import numpy as np
import torch

from net import Denoiser, without_low
from synth import image, unit_noise

SIGMA = (0.003, 0.3)  # against image content of span 1: contrast to noise 3 to 330
WAVY = 0.3  # share of patches whose noise varies smoothly over the patch
MISJUDGED = 0.12  # standard deviation of log(sigma told / sigma true): the estimator errs, and noise varies over a slice


def produce(queue, seed):
    torch.set_num_threads(1)
    rng = np.random.default_rng([seed, 1])
    while True:
        queue.put(image(rng))


def patch(rng, bank, size):
    source = bank[rng.integers(len(bank))]
    y, x = rng.integers(0, source.shape[0] - size + 1, 2)
    cut = source[y:y + size, x:x + size]
    cut = cut[::-1] if rng.random() < 0.5 else cut
    cut = cut.T if rng.random() < 0.5 else cut
    return -cut if rng.random() < 0.5 else cut


def batch(rng, bank, count, size):
    """Clean, noisy, told sigma and true sigma, as tensors."""
    clean = np.stack([patch(rng, bank, size) for _ in range(count)])[:, None]
    sigma = np.exp(rng.uniform(*np.log(SIGMA), (count, 1, 1, 1))).astype(np.float32)
    told = sigma * np.exp(MISJUDGED * rng.standard_normal(sigma.shape)).astype(np.float32)
    noise = unit_noise(rng, count, size)[:, None]
    ramp = np.linspace(-0.4, 0.4, size, dtype=np.float32)
    for i in np.flatnonzero(rng.random(count) < WAVY):
        noise[i] *= np.exp(rng.uniform(-1, 1) * ramp[:, None] + rng.uniform(-1, 1) * ramp)
    return [torch.from_numpy(np.ascontiguousarray(one)) for one in (clean, clean + sigma * noise, told, sigma)]


def loss_of(error, share):
    """L1 in units of the noise at first; then the logarithm of each patch's error, so that every level and contrast counts alike."""
    if share < 0.25:
        return error.abs().mean()
    return 0.1 * (error.square().mean((1, 2, 3)) + 1e-3).log().mean()


def arguments():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument('--checkpoint', required=True)
    a.add_argument('--start', help='a checkpoint whose averaged weights begin a new schedule')
    a.add_argument('--steps', type=int, default=10 ** 9)
    a.add_argument('--minutes', type=float, default=1e9)
    a.add_argument('--threads', type=int, default=2)
    a.add_argument('--batch', type=int, default=8)
    a.add_argument('--patch', type=int, default=96)
    a.add_argument('--bank', type=int, default=400, help='synthetic images held')
    a.add_argument('--renew', type=int, default=12, help='steps after which one of them is replaced')
    a.add_argument('--rate', type=float, default=1.5e-3)
    a.add_argument('--seed', type=int, default=1)
    return a.parse_args()


def main():
    a = arguments()
    torch.set_num_threads(a.threads)
    torch.manual_seed(a.seed)
    net = Denoiser().to(memory_format=torch.channels_last)
    if a.start:
        net.load_state_dict(torch.load(a.start, map_location='cpu')['average'])
    average = {k: v.clone() for k, v in net.state_dict().items()}
    optimiser = torch.optim.Adam(net.parameters(), a.rate, betas=(0.9, 0.99))
    step, before = 0, 0.0
    if os.path.exists(a.checkpoint):
        saved = torch.load(a.checkpoint, map_location='cpu')
        net.load_state_dict(saved['net'])
        optimiser.load_state_dict(saved['optimiser'])
        average, step, before = saved['average'], saved['step'], saved['seconds']
    rng = np.random.default_rng([a.seed, 0, step])
    queue = multiprocessing.Queue(8)
    multiprocessing.Process(target=produce, args=(queue, a.seed + step), daemon=True).start()
    bank = [queue.get() for _ in range(a.bank)]
    print('parameters', sum(p.numel() for p in net.parameters()), 'bank', len(bank), flush=True)
    start, mean = time.time(), None

    def save():
        torch.save({'net': net.state_dict(), 'average': average, 'optimiser': optimiser.state_dict(), 'step': step,
                    'seconds': before + time.time() - start}, a.checkpoint + '.part')
        os.replace(a.checkpoint + '.part', a.checkpoint)

    while True:
        seconds = before + time.time() - start
        share = max(step / a.steps, seconds / (60 * a.minutes))
        if share >= 1:
            break
        rate = a.rate * min(1, (step + 1) / 300) * (0.5 + 0.5 * np.cos(np.pi * share)) + 2e-6
        for group in optimiser.param_groups:
            group['lr'] = rate
        if step % a.renew == 0:
            bank[rng.integers(len(bank))] = queue.get()
        clean, noisy, told, sigma = batch(rng, bank, a.batch, a.patch)
        # Judged with its low frequencies given back and with them taken away: an export may do either.
        found, true = net.noise(noisy.to(memory_format=torch.channels_last), told, half=share < 0.93) * (told / sigma), (noisy - clean) / sigma
        errors = [true - without_low(found), true - found]
        loss = sum(loss_of(error, share) for error in errors)
        optimiser.zero_grad()
        loss.backward()
        torch.nn.utils.clip_grad_norm_(net.parameters(), 1.0)
        optimiser.step()
        step += 1
        keep = min(0.999, (step + 1) / (step + 10))
        for name, value in net.state_dict().items():
            average[name].mul_(keep).add_(value, alpha=1 - keep)
        l1 = np.array([error.detach().abs().mean().item() for error in errors])
        mean = l1 if mean is None else 0.998 * mean + 0.002 * l1
        if step % 500 == 0:
            print(f'{step} steps {seconds:.0f} s rate {rate:.2e} L1/sigma {mean.round(4)}', flush=True)
            save()
    save()
    print(f'done: {step} steps, {before + time.time() - start:.0f} s, L1/sigma {mean.round(4)}', flush=True)


if __name__ == '__main__':
    main()
