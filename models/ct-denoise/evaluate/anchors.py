# Evaluation of NLM (scikit-image) and BM3D on the slices of slices.ts: blind (told what our estimator finds, as ours is) and told the true
# deviation.
# requires: bm3d==4.0.3 scikit-image==0.26.0 numpy==2.4.6
import json
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
from bm3d import bm3d
from skimage.restoration import denoise_nl_means

SIDE = 256


def nlm(image, sigma):
    return denoise_nl_means(image, patch_size=5, patch_distance=7, h=0.7 * sigma, sigma=sigma, fast_mode=True)


METHODS = {"nlm": ("NLM (scikit-image 0.26)", nlm), "bm3d": ("BM3D 4.0.3", bm3d)}

with tempfile.TemporaryDirectory() as folder:
    subprocess.run(["node", "slices.ts", "write", folder], check=True)
    cases = [json.loads(line) for line in (Path(folder) / "cases.jsonl").read_text().splitlines()]
    for key, (label, run) in METHODS.items():
        for told in ("blind", "true"):
            seconds = {}
            for case in cases:
                noisy = np.fromfile(Path(folder) / f"{case['name']}.noisy", np.float32).reshape(SIDE, SIDE).astype(float)
                begun = time.perf_counter()
                result = run(noisy, case["found"] if told == "blind" else case["sigma"])
                seconds[case["name"]] = time.perf_counter() - begun
                result.astype(np.float32).tofile(Path(folder) / f"{case['name']}.{key}-{told}")
            (Path(folder) / f"{key}-{told}.json").write_text(json.dumps(seconds))
            say = "blind" if told == "blind" else "true sigma"
            subprocess.run(["node", "slices.ts", "score", folder, f"{key}-{told}", f"{label}, {say}"], check=True)
