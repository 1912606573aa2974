# Evaluation of N4 (ITK's, by SimpleITK) on the same heads as ours.ts; its usual settings, shrunk by 4.
# requires: SimpleITK==2.5.7 numpy==2.4.6
import json
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np
import SimpleITK as sitk

SIZE, SPACING = (160, 176, 128), (1.2, 1.2, 1.4)
SEEDS = [int(s) for s in sys.argv[1].split(",")] if len(sys.argv) > 1 else list(range(100, 105))


def corrected(values, shrink):
    image = sitk.GetImageFromArray(values)
    image.SetSpacing(SPACING)
    begun, used = time.perf_counter(), time.process_time()
    small = sitk.Shrink(image, [shrink] * 3)
    mask = sitk.OtsuThreshold(small, 0, 1, 200)
    n4 = sitk.N4BiasFieldCorrectionImageFilter()
    n4.SetNumberOfThreads(2)
    n4.Execute(small, mask)
    field = np.exp(sitk.GetArrayFromImage(n4.GetLogBiasFieldAsImage(image)))
    return values / field, time.perf_counter() - begun, time.process_time() - used


def main():
    sitk.ProcessObject.SetGlobalDefaultNumberOfThreads(2)
    errors, variations, seconds, processor = [], [], [], []
    with tempfile.TemporaryDirectory() as folder:
        subprocess.run(["node", "heads.ts", folder], check=True)
        for seed in SEEDS:
            def read(name, kind):
                return np.fromfile(Path(folder) / f"{seed}.{name}", kind).reshape(SIZE[::-1])

            shaded, log_field = read("shaded", np.float32), read("logField", np.float32)
            body, white = read("body", np.uint8) > 0, read("white", np.uint8) > 0

            def score(result):
                good = body & (result > 0) & (shaded > 0)
                difference = np.log(shaded[good] / result[good]) - log_field[good]
                return 100 * difference.std(), 100 * result[white].std() / result[white].mean()

            result, took, cpu = corrected(shaded, 4)
            error, variation = score(result)
            errors.append(error)
            variations.append(variation)
            seconds.append(took)
            processor.append(cpu)
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    name = f"N4 (SimpleITK {sitk.Version_VersionString()}), shrunk 4"
    which = f"{len(SEEDS)} simulated heads, {' x '.join(map(str, SIZE))}"
    field, cv = "error of the field, %", "CV of white matter, %"
    rows = [
        dict(set=which, method=name, metric=field, better="lower", values=errors, secondsPerCase=float(np.mean(seconds)), peakMb=peak),
        dict(set=which, method=name, metric=cv, better="lower", values=variations),
        dict(set=which, method=name, metric="processor time, s", better="lower", values=processor),
    ]
    for row in rows:
        print(json.dumps(row, default=float))


main()
