"""Compares the shipped graph's weights with NLM and TV of scikit-image on images and noise the training never saw.

  python3 evaluate.py --dicom a.dcm b.dcm > evaluate.txt

Every method is told the true noise level. NLM and TV are each given their best setting per image (which nobody can choose in
practice, where the truth is not known); the network has no setting. PSNR and SSIM over a range of 2000 HU; ± is the half width
of a 95 % bootstrap interval of the mean difference to the better of the two. Needs torch, onnx, numpy, scipy, scikit-image;
pydicom for --dicom. A DICOM slice is itself noisy: against it, what a method takes of that noise counts as an error.
"""
import argparse
import pathlib
import sys

import numpy as np
import onnx
import torch
from onnx import numpy_helper
from skimage.metrics import peak_signal_noise_ratio, structural_similarity
from skimage.restoration import denoise_nl_means, denoise_tv_chambolle

HERE = pathlib.Path(__file__).resolve().parent
sys.path.insert(0, str(HERE.parent / 'train'))
from net import Denoiser  # noqa: E402
from synth import image, noise_shape  # noqa: E402

RANGE_HU = 2000
SIGMAS_HU = (12, 28, 60, 120)
SIZE = 192


def load():
    """The network with the weights of model.onnx."""
    values = {v.name: numpy_helper.to_array(v) for v in onnx.load(str(HERE.parent / 'model.onnx')).graph.initializer}
    net = Denoiser()
    state = {k: torch.from_numpy(values[k].copy()) for k in net.state_dict()}
    net.load_state_dict(state)
    return net.eval()


def white(rng):
    return rng.standard_normal((SIZE, SIZE))


def ct_like(rng):
    spectrum = np.fft.rfft2(rng.standard_normal((SIZE, SIZE))) * noise_shape(rng, SIZE)
    noise = np.fft.irfft2(spectrum, s=(SIZE, SIZE))
    return noise / noise.std()


def slices(paths):
    """Middle parts of 192x192 pixels in HU, padding as air."""
    import pydicom
    for path in paths:
        d = pydicom.dcmread(path)
        hu = d.pixel_array * float(d.RescaleSlope) + float(d.RescaleIntercept)
        y, x = [max(0, n - SIZE) // 2 for n in hu.shape]
        cut = np.clip(hu[y:y + SIZE, x:x + SIZE], -1024, 3071).astype(np.float32)
        yield np.pad(cut, [(0, SIZE - n) for n in cut.shape], mode='reflect')


def scores(truth, result):
    return (peak_signal_noise_ratio(truth, result, data_range=RANGE_HU),
            structural_similarity(truth, result, data_range=RANGE_HU))


def best(truth, results):
    return max((scores(truth, r.astype(np.float32)) for r in results), key=lambda s: s[0])


def compare(net, truth, noisy, sigma):
    with torch.no_grad():
        out = net(torch.from_numpy(noisy)[None, None], torch.full((1, 1, 1, 1), float(sigma)))[0, 0].numpy()
    return {
        'noisy': scores(truth, noisy),
        'NLM': best(truth, (denoise_nl_means(noisy, patch_size=5, patch_distance=6, h=h * sigma, sigma=sigma, fast_mode=True)
                            for h in (0.6, 0.8, 1.0))),
        'TV': best(truth, (denoise_tv_chambolle(noisy, weight=w * sigma) for w in (0.5, 1, 1.5, 2))),
        'network': scores(truth, out),
    }


def half_width(rng, differences):
    means = rng.choice(differences, (2000, len(differences))).mean(1)
    return (np.percentile(means, 97.5) - np.percentile(means, 2.5)) / 2


def table(net, name, truths):
    rng = np.random.default_rng(2024)
    for kind, noise in (('white', white), ('CT-like', ct_like)):
        for sigma in SIGMAS_HU:
            all_scores = []
            for truth in truths:
                noisy = (truth + sigma * noise(rng)).astype(np.float32)
                all_scores.append(compare(net, truth, noisy, sigma))
            mean = {m: np.mean([s[m] for s in all_scores], 0) for m in all_scores[0]}
            gain = np.array([s['network'][0] - max(s['NLM'][0], s['TV'][0]) for s in all_scores])
            cells = ' | '.join('%.2f / %.3f' % tuple(mean[m]) for m in ('noisy', 'NLM', 'TV', 'network'))
            print('| %s | %s | %d | %s | %+.2f ± %.2f |' % (name, kind, sigma, cells, gain.mean(), half_width(rng, gain)), flush=True)


def main():
    a = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    a.add_argument('--images', type=int, default=8)
    a.add_argument('--threads', type=int, default=1)
    a.add_argument('--dicom', nargs='*', default=[])
    a = a.parse_args()
    torch.set_num_threads(a.threads)
    net = load()
    print('| images | noise | σ HU | noisy | NLM (best of 3) | TV (best of 4) | network | network − best classical, dB |')
    print('|---|---|---|---|---|---|---|---|')
    rng = np.random.default_rng(990099)
    table(net, f'{a.images} synthetic', [image(rng, SIZE) * 1000 - 500 for _ in range(a.images)])
    if a.dicom:
        table(net, f'{len(a.dicom)} CT slices', list(slices(a.dicom)))


if __name__ == '__main__':
    main()
