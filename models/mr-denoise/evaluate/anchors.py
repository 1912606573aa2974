# Evaluation of NLM (scikit-image) and BM3D on the slices of ours.ts. Both are told the true sigma; the magnitude's bias is then taken away
# from their result by sqrt(max(0, m^2 - sigma^2)).
# requires: bm3d==4.0.3 scikit-image==0.26.0 numpy==2.4.6
import json
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
from bm3d import bm3d
from skimage.restoration import denoise_nl_means

SIDE, SEEDS, SIGMAS = 160, range(200, 208), (12, 30, 60)


def nlm(image, sigma):
    return denoise_nl_means(image, patch_size=5, patch_distance=7, h=0.7 * sigma, sigma=sigma, fast_mode=True)


with tempfile.TemporaryDirectory() as folder:
    subprocess.run(["node", "slices.ts", folder], check=True)
    for sigma in SIGMAS:
        for method, run in {"NLM (scikit-image 0.26), true sigma": nlm, "BM3D 4.0.3, true sigma": bm3d}.items():
            values, took = [], []
            for seed in SEEDS:
                noisy, truth = (
                    np.fromfile(Path(folder) / f"{seed}.{sigma}.{name}", np.float32).reshape(SIDE, SIDE).astype(float)
                    for name in ("noisy", "truth")
                )
                begun = time.perf_counter()
                result = np.sqrt(np.maximum(0, run(noisy, sigma) ** 2 - sigma**2))
                took.append(time.perf_counter() - begun)
                body = truth >= 30
                values.append(float(10 * np.log10(600**2 / ((result - truth)[body] ** 2).mean())))
            row = dict(set=f"{SIDE} x {SIDE}, object 600, sigma {sigma}", method=method, metric="PSNR in the object, dB", better="higher")
            print(json.dumps(row | dict(values=values, secondsPerCase=float(np.mean(took)))))
