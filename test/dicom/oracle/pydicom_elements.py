"""Every element of each file named on standard input, as pydicom's reader leaves it in the bytes: one JSON line each.

An element is "path VR length sha1" (the VR as written, '--' in Implicit VR), pixel data and group lengths left out.
"**" stands where pydicom has made a value of the bytes already, which it does with empty ones and the offsets of a DICOMDIR.
"""
import hashlib
import json
import sys
import warnings

import pydicom
from pydicom.dataelem import RawDataElement

warnings.simplefilter("ignore")


def walk(dataset, path, out):
    for tag in list(dataset.keys()):
        if tag >= 0x7FE00008 and not path or tag.element == 0:
            continue
        place = path + "%08X" % tag
        raw = dataset.get_item(tag)
        written = raw.VR if isinstance(raw, RawDataElement) else dataset[tag].VR
        value = raw.value
        if dataset[tag].VR == "SQ":
            out.append(place + " SQ")
            for index, item in enumerate(dataset[tag].value):
                walk(item, "%s/%d/" % (place, index), out)
        elif isinstance(raw, RawDataElement):
            value = value or b""
            out.append("%s %s %d %s" % (place, written or "--", len(value), hashlib.sha1(value).hexdigest()[:12]))
        else:
            out.append("%s ** -1 **" % place)



for line in sys.stdin:
    out = []
    try:
        walk(pydicom.dcmread(line.rstrip("\n"), force=True), "", out)
    except Exception:
        out = None
    print(json.dumps(out))
