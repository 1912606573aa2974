# Evaluation of NLM (scikit-image) and BM3D on the slices of ours.ts, told the true sigma (of the middle, where noise is uneven) or, blind,
# what our estimator finds; the magnitude's bias is then taken away from their result by sqrt(max(0, m^2 - sigma^2)).
# requires: bm3d==4.0.3 scikit-image==0.26.0 numpy==2.4.6
import json
import subprocess
import tempfile
import time
from itertools import product
from pathlib import Path

import numpy as np
from bm3d import bm3d
from skimage.restoration import denoise_nl_means

SIDE, SEEDS, SIGMAS = 160, range(200, 208), (12, 30, 60)


def nlm(image, sigma):
    return denoise_nl_means(image, patch_size=5, patch_distance=7, h=0.7 * sigma, sigma=sigma, fast_mode=True)


with tempfile.TemporaryDirectory() as folder:
    subprocess.run(["node", "slices.ts", folder], check=True)
    anchors = {"NLM (scikit-image 0.26)": nlm, "BM3D 4.0.3": bm3d}
    for kind, sigma, (label, run), told in product(("even", "uneven"), SIGMAS, anchors.items(), ("blind", "true sigma")):
        values, took = [], []
        for seed in SEEDS:
            name = Path(folder) / f"{seed}.{sigma}.{kind}"
            noisy, truth = (
                np.fromfile(f"{name}.{part}", np.float32).reshape(SIDE, SIDE).astype(float) for part in ("noisy", "truth")
            )
            level = float(Path(f"{name}.found").read_text()) if told == "blind" else sigma
            begun = time.perf_counter()
            result = np.sqrt(np.maximum(0, run(noisy, level) ** 2 - level**2))
            took.append(time.perf_counter() - begun)
            body = truth >= 30
            values.append(float(10 * np.log10(600**2 / ((result - truth)[body] ** 2).mean())))
        which = f"{SIDE} x {SIDE}, object 600, {kind} noise of {sigma}"
        row = dict(set=which, method=f"{label}, {told}", metric="PSNR in the object, dB", better="higher")
        print(json.dumps(row | dict(values=values, secondsPerCase=float(np.mean(took)))), flush=True)
