# Evaluation of elastix (Debian's, where it is installed) and ANTs on the same pairs as ours.ts, with their usual settings.
# requires: antspyx==0.6.3 numpy==2.3.5
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

os.environ["ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS"] = "2"
import ants  # noqa: E402
import numpy as np  # noqa: E402

sys.path.insert(0, str(Path(__file__).parents[2]))
from kept import kept  # noqa: E402

HERE = Path(__file__).parent
HELD_OUT = range(1000, 1060)
LARGE, LARGE_SIZE = (2001, 2006), 192

ELASTIX = """
(FixedInternalImagePixelType "float") (MovingInternalImagePixelType "float")
(FixedImageDimension 3) (MovingImageDimension 3) (UseDirectionCosines "true")
(Registration "MultiResolutionRegistration") (Interpolator "BSplineInterpolator") (ResampleInterpolator "FinalBSplineInterpolator")
(Resampler "DefaultResampler") (FixedImagePyramid "FixedSmoothingImagePyramid") (MovingImagePyramid "MovingSmoothingImagePyramid")
(Optimizer "AdaptiveStochasticGradientDescent") (Transform "%s") (Metric "AdvancedMattesMutualInformation")
(AutomaticScalesEstimation "true") (AutomaticTransformInitialization "true") (AutomaticTransformInitializationMethod "CenterOfGravity")
(HowToCombineTransforms "Compose") (NumberOfHistogramBins 32) (NumberOfResolutions 4) (MaximumNumberOfIterations 500)
(NumberOfSpatialSamples 4096) (NewSamplesEveryIteration "true") (ImageSampler "RandomCoordinate") (CheckNumberOfSamples "true")
(BSplineInterpolationOrder 1) (FinalBSplineInterpolationOrder 1) (DefaultPixelValue 0) (WriteResultImage "false")
(MaximumNumberOfSamplingAttempts 8) (RequiredRatioOfValidSamples 0.05) (RandomSeed 121212)
"""


def by_elastix(folder, truth):
    parameters = folder / "parameters.txt"
    parameters.write_text(ELASTIX.replace(") (", ")\n(") % ("AffineTransform" if truth["affine"] else "EulerTransform"))
    out = folder / "elastix"
    out.mkdir()
    begun = time.perf_counter()
    files = ["-f", folder / "fixed.mhd", "-m", folder / "moving.mhd", "-p", parameters, "-out", out, "-threads", "2"]
    child = subprocess.Popen(["elastix", *map(str, files)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _, status, used = os.wait4(child.pid, 0)
    took = (time.perf_counter() - begun, used.ru_utime + used.ru_stime)
    if status != 0:
        return None, took
    text = (out / "TransformParameters.0.txt").read_text()

    def numbers(key):
        line = next(one for one in text.splitlines() if one.startswith(f"({key} "))
        return [float(one) for one in line.strip("()").split()[1:]]

    p, c = numbers("TransformParameters"), np.array(numbers("CenterOfRotationPoint"))
    if truth["affine"]:
        matrix, shift = np.array(p[:9]).reshape(3, 3), np.array(p[9:])
    else:
        (cx, cy, cz), (sx, sy, sz) = np.cos(p[:3]), np.sin(p[:3])
        rx = np.array([[1, 0, 0], [0, cx, -sx], [0, sx, cx]])
        ry = np.array([[cy, 0, sy], [0, 1, 0], [-sy, 0, cy]])
        rz = np.array([[cz, -sz, 0], [sz, cz, 0], [0, 0, 1]])
        # ITK's Euler3DTransform turns about z, then x, then y unless ComputeZYX is set.
        matrix, shift = rz @ rx @ ry, np.array(p[3:])
    return lambda x: (x - c) @ matrix.T + c + shift, took


def by_ants(folder, truth):
    fixed, moving = (ants.image_read(str(folder / f"{role}.mhd")) for role in ("fixed", "moving"))
    before, begun = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
    result = ants.registration(fixed, moving, type_of_transform="Affine" if truth["affine"] else "Rigid", random_seed=1)
    wall, after = time.perf_counter() - begun, resource.getrusage(resource.RUSAGE_SELF)
    took = (wall, after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime)
    transform = ants.read_transform(result["fwdtransforms"][0])
    return lambda x: np.array([transform.apply_to_point(tuple(one)) for one in x]), took


def measure(method, folder, truth):
    points = np.array(truth["points"])
    right = points @ np.array(truth["truth"]).reshape(4, 4)[:3, :3].T + np.array(truth["truth"]).reshape(4, 4)[:3, 3]
    apply, (seconds, cpu) = method(folder, truth)
    error = 99.0 if apply is None else float(np.linalg.norm(apply(points) - right, axis=1).mean())
    return dict(error=error, seconds=seconds, cpu=cpu)


def errors_of(methods, seeds, size=None):
    """Of every method, by kind of pair: what it reached, pair after pair."""
    found = {name: {} for name, _ in methods}
    for seed in seeds:
        with tempfile.TemporaryDirectory() as place:
            folder = Path(place)
            subprocess.run(["node", str(HERE / "pairs.ts"), place, str(seed), *([str(size)] if size else [])], check=True)
            truth = json.loads((folder / "truth.json").read_text())
            case = [(folder / file).read_bytes() for file in ("truth.json", "fixed.raw", "fixed.mhd", "moving.raw", "moving.mhd")]
            for name, method in methods:
                one = kept(lambda: measure(method, folder, truth), name, ELASTIX, *case)  # noqa: B023
                print(f"{seed} {truth['kind']}: {name} {one['error']:.2f} mm, {one['cpu']:.1f} CPU s", file=sys.stderr, flush=True)
                for group in ("all pairs", truth["kind"]):
                    found[name].setdefault(group, []).append(one)
    return found


def show(name, found, metric="TRE, mm"):
    for group in sorted(found):
        errors, cpu = [one["error"] for one in found[group]], [one["cpu"] for one in found[group]]
        print(json.dumps(dict(set=group, method=name, metric=metric, better="lower", values=errors)))
        print(json.dumps(dict(set=group, method=name, metric="CPU seconds", better="lower", values=cpu)))
        if len(errors) > 2:
            within = [100.0 if one < 1 else 0.0 for one in errors]
            print(json.dumps(dict(set=group, method=name, metric="pairs with TRE < 1 mm, %", better="higher", values=within)))


def main():
    methods = [(f"ANTs {ants.__version__} affine or rigid", by_ants)]
    if shutil.which("elastix"):
        version = subprocess.run(["elastix", "--version"], capture_output=True, text=True).stdout.split()[-1]
        methods.insert(0, (f"elastix {version} MI", by_elastix))
    else:
        print(json.dumps(dict(absent="elastix is not on the path (Debian package elastix): its rows are missing")))
    seeds = [int(one) for one in sys.argv[1].split(",")] if len(sys.argv) > 1 else HELD_OUT
    errors = errors_of(methods, seeds)
    large = errors_of(methods, LARGE, LARGE_SIZE) if len(sys.argv) == 1 else {}
    for name, _ in methods:
        show(name, errors[name])
        if name in large:
            show(name, {f"{LARGE_SIZE} x {LARGE_SIZE} x {LARGE_SIZE}": large[name]["all pairs"]})


main()
