"""Compares the pixels of objects before and after cleaning, decoded by pydicom and gdcm.

Lines on stdin: BEFORE<tab>AFTER<tab>left,top,right,bottom. One JSON per line: {frames, outside, inside, note}; outside: pixels that differ
outside of the box, inside: pixels in the box that differ from its first one in their frame, by more than `tolerance` in lossy colour.
Needs Debian's python3-pydicom, python3-gdcm, python3-numpy.
"""
import json
import sys
import warnings

import numpy as np
import pydicom

warnings.filterwarnings('ignore')


def frames(path):
    d = pydicom.dcmread(path, force=True)
    if 'TransferSyntaxUID' not in d.file_meta:
        d.file_meta.TransferSyntaxUID = '1.2.840.10008.1.2'
    # Overlays in bits above those stored (PS3.5 8.1.2, retired) are graphics and leave.
    overlaid = d.PixelRepresentation == 0 and any(d.get((group, 0x0102)) and d[group, 0x0102].value for group in range(0x6000, 0x6020, 2))
    a = d.pixel_array
    if overlaid:
        a = a & ((1 << d.BitsStored) - 1)
    count = int(d.get('NumberOfFrames') or 1)
    return (a if count > 1 else a[None]).reshape(count, d.Rows, d.Columns, -1).astype(np.int64)


for line in sys.stdin:
    before, after, edges = line.rstrip('\n').split('\t')
    left, top, right, bottom = (int(v) for v in edges.split(','))
    try:
        a = frames(before)
    except Exception as error:
        print(json.dumps({'unreadable': type(error).__name__ + ': ' + str(error)[:80]}))
        continue
    try:
        b = frames(after)
    except Exception as error:
        print(json.dumps({'broken': type(error).__name__ + ': ' + str(error)[:80]}))
        continue
    if a.shape != b.shape:
        print(json.dumps({'broken': f'{a.shape} became {b.shape}'}))
        continue
    differs = (a != b).any(-1)
    differs[:, top:bottom, left:right] = False
    box = b[:, top:bottom, left:right]
    odd = (np.abs(box - box[:, :1, :1]) > 0).any(-1)
    # Decoders that smooth subsampled colour look one sample beyond a block.
    core = odd[:, 2:-2, 2:-2]
    ring = differs.copy()
    ring[:, max(0, top - 2):bottom + 2, max(0, left - 2):right + 2] = False
    print(json.dumps({'frames': len(a), 'outside': int(differs.sum()), 'outsideRing': int(ring.sum()), 'inside': int(odd.sum()), 'insideCore': int(core.sum())}))
