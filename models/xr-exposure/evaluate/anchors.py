# Evaluation of scikit-image's CLAHE, histogram equalisation and percentile window on the chests of radiographs.ts.
# requires: scikit-image==0.26.0 numpy==2.4.6
import json
import subprocess
import tempfile
import time
from pathlib import Path

import numpy as np
from skimage.exposure import equalize_adapthist, equalize_hist, rescale_intensity

SIDE = 512


def unit(image):
    low, high = np.percentile(image, [0.5, 99.5])
    return rescale_intensity(image, in_range=(low, high), out_range=(0.0, 1.0))


METHODS = {
    "clahe": ("CLAHE (scikit-image 0.26), 8 x 8, clip 0.01", lambda image: equalize_adapthist(unit(image))),
    "equal": ("histogram equalisation (scikit-image 0.26)", lambda image: equalize_hist(image)),
    "window": ("percentile window (scikit-image 0.26)", unit),
}


def timed(run, image):
    begun = time.perf_counter()
    result = run(image)
    return result, time.perf_counter() - begun


with tempfile.TemporaryDirectory() as folder:
    subprocess.run(["node", "radiographs.ts", "write", folder], check=True)
    names = sorted(path.name.removesuffix(".picture") for path in Path(folder).glob("*.picture"))
    for key, (label, run) in METHODS.items():
        seconds = {}
        for name in names:
            picture = np.fromfile(Path(folder) / f"{name}.picture", np.float32).reshape(SIDE, SIDE).astype(float)
            result, seconds[name] = timed(run, picture)
            result.astype(np.float32).tofile(Path(folder) / f"{name}.{key}")
        (Path(folder) / f"{key}.json").write_text(json.dumps(seconds))
        subprocess.run(["node", "radiographs.ts", "score", folder, key, label], check=True)
    first = np.fromfile(Path(folder) / f"{names[0]}.picture", np.float32).reshape(SIDE, SIDE).astype(float)
    large = np.kron(first, np.ones((4, 4)))
    took = [timed(METHODS["clahe"][1], large)[1] for _ in range(4)]
    print(json.dumps(dict(set="2048 x 2048 pixels", method=METHODS["clahe"][0], metric="seconds", better="lower", values=took)))
