# Evaluation of tesseract (Debian: tesseract-ocr) as a finder of text, on every 8th of the pictures that ours.ts has, by the same measure.
import json
import pathlib
import resource
import shutil
import subprocess
import sys
import time

import numpy as np
from PIL import Image

EVERY = 8  # as in held-out.ts
MODES = {11: 'sparse text'}


def words(file, psm):
    command = ['tesseract', str(file), '-', '--psm', str(psm), 'tsv']
    out = subprocess.run(command, capture_output=True, text=True, env={'OMP_THREAD_LIMIT': '1', 'PATH': '/usr/bin:/bin'}, check=True).stdout
    for line in out.splitlines()[1:]:
        cells = line.split('\t')
        if len(cells) == 12 and cells[11].strip() and float(cells[10]) >= 0:
            left, top, width, height = (int(v) for v in cells[6:10])
            yield left - 3, top - 3, left + width + 3, top + height + 3


def evaluate(files, psm, version):
    missed, blanked, seconds, busy = [], [], [], []
    for file in files:
        ink = np.asarray(Image.open(file.with_name(file.name.replace('.pgm', '.ink.pgm'))))
        start, before = time.perf_counter(), resource.getrusage(resource.RUSAGE_CHILDREN)
        boxes = list(words(file, psm))
        after = resource.getrusage(resource.RUSAGE_CHILDREN)
        seconds.append(time.perf_counter() - start)
        busy.append(1000 * (after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime))
        mask = np.zeros(ink.shape, bool)
        for x0, y0, x1, y1 in boxes:
            mask[max(0, y0):y1, max(0, x0):x1] = True
        if not ink.any():
            blanked.append(100 * float(mask.mean()))
        for line in np.unique(ink[ink > 0]):
            missed.append(100 if mask[ink == line].mean() < .95 else 0)
    row = {'set': f'every {EVERY}th of them', 'method': f'tesseract {version}, {MODES[psm]}', 'better': 'lower'}
    print(json.dumps({**row, 'metric': 'lines missed, %', 'values': missed, 'secondsPerCase': float(np.mean(seconds))}))
    print(json.dumps({**row, 'metric': 'blanked where there is no text, %', 'values': blanked}))
    print(json.dumps({**row, 'metric': 'processor time of a picture, ms', 'values': busy}))


def main():
    if shutil.which('tesseract') is None:
        sys.exit('tesseract is not installed')
    version = subprocess.run(['tesseract', '--version'], capture_output=True, text=True).stdout.split()[1]
    made = subprocess.run([sys.executable, str(pathlib.Path(__file__).with_name('held_out.py'))], capture_output=True, text=True, check=True)
    folder = pathlib.Path(sys.argv[1] if len(sys.argv) > 1 else made.stdout.splitlines()[-1])
    files = sorted(f for f in folder.glob('*.pgm') if not f.name.endswith('.ink.pgm'))[::EVERY]
    for psm in MODES:
        evaluate(files, psm, version)


main()
