# Evaluation of DIPY's local sub-voxel shifts and of a Hann window in k-space on the slices of ours.ts.
# requires: dipy==1.12.1 numpy==2.4.6
import json
import subprocess
import sys
import tempfile
import time
from itertools import product
from pathlib import Path

import numpy as np
from dipy.denoise.gibbs import gibbs_removal

SIDE, NARROW = 160, 128
SEEDS = [int(s) for s in sys.argv[1].split(",")] if len(sys.argv) > 1 else list(range(100, 124))


def hann(image):
    rows, columns = (0.5 + 0.5 * np.cos(2 * np.pi * np.fft.fftfreq(n)) for n in image.shape)
    return np.abs(np.fft.ifft2(np.fft.fft2(image) * np.outer(rows, columns)))


with tempfile.TemporaryDirectory() as folder:
    subprocess.run(["node", "rings.ts", folder], check=True)
    methods = {"DIPY 1.12.1 gibbs_removal": lambda image: gibbs_removal(image, num_processes=1), "Hann window": hann}
    for columns, (method, run) in product((SIDE, NARROW), methods.items()):
        values, took = [], []
        for seed in SEEDS:
            ringing, truth = (
                np.fromfile(Path(folder) / f"{seed}.{columns}.{name}", np.float32).reshape(SIDE, columns).astype(float)
                for name in ("ringing", "truth")
            )
            begun = time.perf_counter()
            result = run(ringing)
            took.append(time.perf_counter() - begun)
            values.append(float(np.sqrt(((result - truth) ** 2).mean())))
        row = dict(set=f"simulated slices, {SIDE} x {columns}", method=method, metric="RMSE to the truth (object 600)", better="lower")
        print(json.dumps(row | dict(values=values, secondsPerCase=float(np.mean(took)))))
