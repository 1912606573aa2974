# Evaluation of the classical way on the chests of ours.ts: Otsu's threshold, what touches the edge away, the two largest dark parts, holes filled.
import json
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
from scipy.ndimage import binary_closing, binary_fill_holes, binary_opening, gaussian_filter, label


def otsu(values):
    counts, edges = np.histogram(values, 256)
    centres = (edges[1:] + edges[:-1]) / 2
    below, above = np.cumsum(counts), np.cumsum(counts[::-1])[::-1]
    low = np.cumsum(counts * centres) / np.maximum(below, 1)
    high = (np.cumsum((counts * centres)[::-1]) / np.maximum(above[::-1], 1))[::-1]
    return centres[np.argmax(below[:-1] * above[1:] * (low[:-1] - high[1:]) ** 2)]


def lungs(image):
    smooth = gaussian_filter(image, 2)
    parts, count = label(binary_opening(smooth < otsu(smooth), iterations=2))
    edge = np.unique(np.concatenate([parts[0], parts[-1], parts[:, 0], parts[:, -1]]))
    areas = np.array([0 if n in edge or n == 0 else (parts == n).sum() for n in range(count + 1)])
    mask = np.isin(parts, [n for n in np.argsort(areas)[::-1][:2] if areas[n] > 0])
    return binary_fill_holes(binary_closing(mask, iterations=3))


with tempfile.TemporaryDirectory() as folder:
    made = subprocess.run([sys.executable, "cases.py", folder], check=True, capture_output=True, text=True)
    for kind, name in (("chest", "made chests"), ("real", "real masks")):
        dice, iou, took = [], [], []
        for case in json.loads(made.stdout):
            if case["kind"] != kind:
                continue
            shape = case["rows"], case["columns"]
            image = np.fromfile(Path(folder) / f"{case['name']}.image", np.float32).reshape(shape)
            truth = np.fromfile(Path(folder) / f"{case['name']}.label", np.uint8).reshape(shape) > 0
            begun = time.perf_counter()
            found = lungs(image)
            took.append(time.perf_counter() - begun)
            both, either = (found & truth).sum(), (found | truth).sum()
            iou.append(float(both / either) if either else 1.0)
            dice.append(float(2 * both / (both + either)) if either else 1.0)
        for metric, values in (("Dice", dice), ("IoU", iou)):
            if values:
                row = dict(set=name, method="Otsu, two largest parts", metric=metric, better="higher", values=values)
                print(json.dumps(row | dict(secondsPerCase=float(np.mean(took)))))
