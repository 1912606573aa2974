"""Trains a residual U-Net on pairs that a recipe makes; goes on from its checkpoint when that exists. Needs torch, numpy, scipy.

  python3 train.py --synth synth.py --checkpoint speckle.pt --minutes 30                        # of the processor

The recipe has example(rng, size): what comes in, and what should come out. The learning rate falls with a cosine over the minutes.
What is kept for export is the running average of the weights.
"""
import argparse
import importlib.util
import os
import time

import numpy as np
import torch

from net import Residual


def recipe(path):
    spec = importlib.util.spec_from_file_location('recipe', path)
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module.example


def batch(rng, bank, count):
    chosen = [bank[i] for i in rng.integers(0, len(bank), count)]
    mirror = rng.random(count) < 0.5
    return [torch.from_numpy(np.stack([pair[side][:, ::-1] if m else pair[side] for pair, m in zip(chosen, mirror)])[:, None].copy()) for side in (0, 1)]


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument('--synth', required=True)
    a.add_argument('--checkpoint', required=True)
    a.add_argument('--minutes', type=float, required=True, help='of the processor, in all')
    a.add_argument('--threads', type=int, default=1)
    a.add_argument('--batch', type=int, default=8)
    a.add_argument('--size', type=int, default=128)
    a.add_argument('--bank', type=int, default=200, help='pairs held')
    a.add_argument('--rate', type=float, default=2e-3)
    a.add_argument('--seed', type=int, default=1)
    a = a.parse_args()
    torch.set_num_threads(a.threads)
    torch.manual_seed(a.seed)
    example = recipe(a.synth)
    net = Residual().to(memory_format=torch.channels_last)
    average = {k: v.clone() for k, v in net.state_dict().items()}
    optimiser = torch.optim.AdamW(net.parameters(), a.rate, weight_decay=1e-4)
    step, before = 0, 0.0
    if os.path.exists(a.checkpoint):
        saved = torch.load(a.checkpoint, map_location='cpu')
        net.load_state_dict(saved['net'])
        optimiser.load_state_dict(saved['optimiser'])
        average, step, before = saved['average'], saved['step'], saved['seconds']
    rng = np.random.default_rng([a.seed, 0, step])
    start, mean = time.process_time(), None
    bank = [example(rng, a.size) for _ in range(a.bank)]
    print('parameters', sum(p.numel() for p in net.parameters()), 'pairs', len(bank), 'in', round(time.process_time() - start), 's', flush=True)

    def save():
        torch.save({'net': net.state_dict(), 'average': average, 'optimiser': optimiser.state_dict(), 'step': step,
                    'seconds': before + time.process_time() - start}, a.checkpoint + '.part')
        os.replace(a.checkpoint + '.part', a.checkpoint)

    while True:
        share = (before + time.process_time() - start) / (60 * a.minutes)
        if share >= 1:
            break
        for group in optimiser.param_groups:
            group['lr'] = a.rate * min(1, (step + 1) / 100) * (0.5 + 0.5 * np.cos(np.pi * share)) + 1e-6
        if step % 2 == 0:
            bank[rng.integers(len(bank))] = example(rng, a.size)
        x, y = batch(rng, bank, a.batch)
        error = net(x, half=True) - y
        # Squares for the figure that is asked for, amounts so that what was right stays as it was.
        loss = (error ** 2).mean().sqrt() + error.abs().mean()
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
        gain = 10 * np.log10(((x - y) ** 2).mean().item() / (error ** 2).mean().item())
        mean = gain if mean is None else 0.98 * mean + 0.02 * gain
        if step % 100 == 0:
            print(f'{step} steps {before + time.process_time() - start:.0f} s, gain of the batches {mean:.2f} dB', flush=True)
            save()
    save()
    print(f'done: {step} steps, {before + time.process_time() - start:.0f} s of processor, gain of the batches {mean:.2f} dB', flush=True)


if __name__ == '__main__':
    main()
