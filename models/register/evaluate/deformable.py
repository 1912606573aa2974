# Evaluation of the deformable step beside elastix (B-spline, mutual information) and ANTs (SyN, mutual information), same pairs, two threads.
# requires: antspyx==0.6.3 numpy==2.3.5 scipy==1.15.3
"""
python3 deformable.py                                 # what npm run evaluate runs: held-out seeds, all methods
python3 deformable.py --tuning --methods ours --cases 2 --kinds T1/T2,CT/MR

All start from the identity: the pairs are not moved rigidly. Seconds are those of the step alone: ours without the start of the process and the
opening of the graphs, which a worker does once; elastix without transformix; ANTs without reading and writing. CPU seconds are user + system.
Seconds of the clock are compared where all methods ran one after another in this very run, anchors too (set "timed together").
"""
import argparse
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[2]))
from kept import kept  # noqa: E402
from pairs import BRAINS, HELD_OUT, PHANTOMS, TEMPLATE, TUNING, make, samples, warp

THREADS = 2
HERE = Path(__file__).parent
TIMED = ('same contrast, CT', 'T1/T2', 'CT/MR')

ELASTIX = '''(FixedInternalImagePixelType "float")
(MovingInternalImagePixelType "float")
(FixedImageDimension 3)
(MovingImageDimension 3)
(UseDirectionCosines "true")
(Registration "MultiResolutionRegistration")
(FixedImagePyramid "FixedSmoothingImagePyramid")
(MovingImagePyramid "MovingSmoothingImagePyramid")
(Interpolator "LinearInterpolator")
(ResampleInterpolator "FinalBSplineInterpolator")
(Resampler "DefaultResampler")
(Metric "AdvancedMattesMutualInformation")
(NumberOfHistogramBins 32)
(Optimizer "AdaptiveStochasticGradientDescent")
(Transform "BSplineTransform")
(FinalGridSpacingInPhysicalUnits 12 12 12)
(BSplineInterpolationOrder 1)
(NumberOfResolutions 4)
(MaximumNumberOfIterations 500)
(NumberOfSpatialSamples 4096)
(NewSamplesEveryIteration "true")
(ImageSampler "RandomCoordinate")
(AutomaticTransformInitialization "false")
(HowToCombineTransforms "Compose")
(ErodeMask "false")
(WriteResultImage "false")
'''

SYN = '''
import json, resource, sys, time
import ants, numpy as np
work, spacing = sys.argv[1], float(sys.argv[2])
shape = json.load(open(work + '/pair.json'))['shape']
def read(name):
    return ants.from_numpy(np.fromfile(f'{work}/{name}.f32', '<f4').reshape(shape).T.copy(), spacing=[spacing] * 3)
fixed, moving = read('fixed'), read('moving')
before, start = resource.getrusage(resource.RUSAGE_SELF), time.perf_counter()
found = ants.registration(fixed, moving, type_of_transform='SyNOnly', initial_transform='Identity', syn_metric='mattes', syn_sampling=32,
                          reg_iterations=(100, 70, 50, 20), outprefix=work + '/syn_', random_seed=1)
wall, after = time.perf_counter() - start, resource.getrusage(resource.RUSAGE_SELF)
path = next(p for p in found['fwdtransforms'] if p.endswith('.nii.gz'))
d = ants.image_read(path).numpy()
np.ascontiguousarray(d.transpose(3, 2, 1, 0)[::-1] / spacing).astype('<f4').tofile(work + '/field.f32')
print(json.dumps(dict(seconds=wall, cpu=after.ru_utime - before.ru_utime + after.ru_stime - before.ru_stime, peakMb=after.ru_maxrss / 1024)))
'''


def measured(command, **options):
    """Runs a program to its end: seconds, CPU seconds, peak of resident memory, standard output."""
    start = time.perf_counter()
    child = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True, **options)
    output = child.stdout.read()
    _, status, usage = os.wait4(child.pid, 0)
    if status != 0:
        raise RuntimeError(f'{command[0]} ended with {status}')
    return dict(seconds=time.perf_counter() - start, cpu=usage.ru_utime + usage.ru_stime, peakMb=usage.ru_maxrss / 1024), output


def ours(pair, work):
    figures, output = measured(['node', str(HERE / 'run-deformable.ts'), str(work)])
    return {**figures, **json.loads(output.splitlines()[-1])}


def elastix(pair, work):
    for name in ('fixed', 'moving'):
        (work / f'{name}.mhd').write_text(
            f'ObjectType = Image\nNDims = 3\nDimSize = {" ".join(map(str, pair.fixed.shape[::-1]))}\n'
            f'ElementSpacing = {pair.spacing} {pair.spacing} {pair.spacing}\nElementType = MET_FLOAT\nElementDataFile = {name}.f32\n')
    (work / 'bspline.txt').write_text(ELASTIX)
    figures, _ = measured(['elastix', '-f', str(work / 'fixed.mhd'), '-m', str(work / 'moving.mhd'), '-p', str(work / 'bspline.txt'),
                           '-out', str(work), '-threads', str(THREADS)])
    measured(['transformix', '-def', 'all', '-out', str(work), '-tp', str(work / 'TransformParameters.0.txt'), '-threads', str(THREADS)])
    d = np.fromfile(work / 'deformationField.raw', '<f4').reshape(*pair.fixed.shape, 3)
    np.ascontiguousarray(d[..., ::-1].transpose(3, 0, 1, 2) / pair.spacing).astype('<f4').tofile(work / 'field.f32')
    return figures


def syn(pair, work):
    environment = {**os.environ, 'ITK_GLOBAL_DEFAULT_NUMBER_OF_THREADS': str(THREADS), 'OMP_NUM_THREADS': str(THREADS)}
    _, output = measured([sys.executable, '-c', SYN, str(work), str(pair.spacing)], env=environment)
    return json.loads(output.splitlines()[-1])


def dice(a, b, smallest):
    labels = [l for l in np.unique(a) if l and (a == l).sum() >= smallest]
    return float(np.mean([2 * ((a == l) & (b == l)).sum() / ((a == l).sum() + (b == l).sum()) for l in labels]))


def score(pair, u):
    inside = pair.fixed_seg > 0
    error = pair.spacing * np.sqrt(((u - pair.u) ** 2).sum(0))[inside]
    slopes = np.stack([np.stack(np.gradient(c), -1) for c in u], -2)
    jacobian = np.linalg.det(slopes + np.eye(3, dtype=np.float32))[inside]
    return {
        'Dice': dice(pair.fixed_seg, warp(pair.moving_seg, u, 0), min(1000, inside.sum() // 400)),
        'error mean, mm': float(error.mean()),
        'error p95, mm': float(np.percentile(error, 95)),
        'folded, %': float(100 * (jacobian <= 0).mean()),
    }


METHODS = {'ours': ours, 'elastix': elastix, 'SyN': syn}
BETTER = {'Dice': 'higher', 'error mean, mm': 'lower', 'error p95, mm': 'lower', 'folded, %': 'lower', 'CPU seconds': 'lower'}


def names():
    version = subprocess.run(['elastix', '--version'], capture_output=True, text=True).stdout.split()[-1] if shutil.which('elastix') else ''
    return {'ours': 'ours', 'elastix': f'elastix {version} B-spline MI', 'SyN': 'ANTs SyN MI (antspyx 0.6.3)', 'identity': 'identity'}


def run(kind, seed, methods, called):
    pair = make(kind, seed)
    results = {'identity': score(pair, np.zeros_like(pair.u))}
    for method in methods:
        if method == 'ours':
            results[method] = measure(pair, method)
        else:
            settings = ELASTIX if method == 'elastix' else SYN
            case = [np.ascontiguousarray(part) for part in (pair.fixed, pair.moving, pair.u, pair.fixed_seg, pair.moving_seg)]
            results[method] = kept(lambda: measure(pair, method), called[method], settings, str(THREADS), *case)
    return results


def measure(pair, method):
    with tempfile.TemporaryDirectory() as name:
        work = Path(name)
        pair.fixed.astype('<f4').tofile(work / 'fixed.f32')
        pair.moving.astype('<f4').tofile(work / 'moving.f32')
        (work / 'pair.json').write_text(json.dumps(dict(shape=pair.fixed.shape, spacing=pair.spacing, modalities=pair.modalities)))
        figures = METHODS[method](pair, work)
        field = np.fromfile(work / 'field.f32', '<f4').reshape(pair.u.shape)
    return {**score(pair, field), **figures}


def timed(methods, called):
    """Seconds of the clock: nothing is kept, so that the machine is the same for all."""
    pairs = [make(kind, HELD_OUT) for kind in TIMED]
    taken = [[measure(pair, method)['seconds'] for method in methods] for pair in pairs]
    for n, method in enumerate(methods):
        print(json.dumps(dict(set='timed together', method=called[method], metric='seconds', better='lower', values=[one[n] for one in taken])), flush=True)


def main():
    p = argparse.ArgumentParser()
    p.add_argument('--tuning', action='store_true')
    p.add_argument('--methods', default='ours,elastix,SyN')
    p.add_argument('--kinds')
    p.add_argument('--cases', type=int)
    p.add_argument('--seeds', help='comma-separated, in place of the first of the set')
    p.add_argument('--log', action='store_true')
    a = p.parse_args()
    real = samples() is not None
    kinds = a.kinds.split(';') if a.kinds else [*PHANTOMS, *([TEMPLATE, *BRAINS] if real else [])]
    called = names()
    methods = [m for m in a.methods.split(',') if m != 'elastix' or called['elastix'].split()[1] != 'B-spline']
    if 'elastix' in a.methods and 'elastix' not in methods:
        print(json.dumps(dict(absent='elastix is not on the path (Debian package elastix): its rows are missing')), flush=True)
    if not real:
        print(json.dumps(dict(absent='ISTHMUS_SAMPLES is not set: no real volumes, phantoms alone')), flush=True)
    for kind in kinds:
        count = a.cases or (2 if kind in BRAINS else 5 if kind in PHANTOMS else 3)
        first = TUNING if a.tuning else HELD_OUT
        cases = []
        for seed in [int(one) for one in a.seeds.split(',')] if a.seeds else range(first, first + count):
            # SyN takes minutes on the large ones: one case there.
            few = 1 if kind in BRAINS else 5 if kind in PHANTOMS else 2
            cases.append(run(kind, seed, [m for m in methods if m != 'SyN' or seed < first + few], called))
            if a.log:
                for method, figures in cases[-1].items():
                    print(f'{kind:36s} {seed:4d} {method:9s}', ' '.join(f'{k} {v:.3f}' for k, v in figures.items() if isinstance(v, float)), file=sys.stderr, flush=True)
        for method in ['identity', *methods]:
            own = [case[method] for case in cases if method in case]
            for metric in ('Dice', 'error mean, mm', 'error p95, mm', 'folded, %', 'CPU seconds'):
                key = 'cpu' if metric == 'CPU seconds' else metric
                if key not in own[0]:
                    continue
                row = dict(set=kind, method=called[method], metric=metric, better=BETTER[metric], values=[one[key] for one in own])
                if metric == 'Dice' and method != 'identity':
                    row |= dict(secondsPerCase=float(np.mean([one['seconds'] for one in own])), peakMb=max(one['peakMb'] for one in own))
                print(json.dumps(row), flush=True)
    if not a.kinds and not a.tuning:
        timed(methods, called)


if __name__ == '__main__':
    main()
