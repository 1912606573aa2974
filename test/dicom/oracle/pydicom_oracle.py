"""What pydicom and Python's own codecs make of the same bytes.

    pydicom_oracle.py codes           every character of the code elements, as JSON
    pydicom_oracle.py json < PATHS    the DICOM JSON of each file without its pixel data, one JSON line each
"""
import json
import math
import sys
import warnings

import pydicom
from pydicom.charset import convert_encodings

warnings.simplefilter("ignore")

SINGLE = ["100", "101", "109", "110", "144", "127", "126", "138", "148", "166", "13"]
DOUBLE = {
    "87": lambda a, b: (b"\x1b$B" + bytes([a, b])).decode("iso2022_jp"),
    "159": lambda a, b: (b"\x1b$(D" + bytes([a, b])).decode("iso2022_jp_2"),
    "149": lambda a, b: bytes([a | 128, b | 128]).decode("euc_kr"),
    "58": lambda a, b: bytes([a | 128, b | 128]).decode("gb2312"),
}


def character(decode, a, b):
    try:
        return decode(a, b)
    except UnicodeDecodeError:
        return None


def codes():
    table = {}
    for number in SINGLE:
        codec = convert_encodings("ISO_IR " + number)[0]
        table[number] = [character(lambda a, _: bytes([a]).decode(codec), a, 0) for a in range(0xA1, 0x100)]
    for number, decode in DOUBLE.items():
        table[number] = [character(decode, a, b) for a in range(0x21, 0x7F) for b in range(0x21, 0x7F)]
    return table


def finite(value):
    if isinstance(value, dict):
        return {key: finite(item) for key, item in value.items()}
    if isinstance(value, list):
        return [finite(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    return value


def as_json(path):
    try:
        dataset = pydicom.dcmread(path, force=True)
    except Exception:
        return None
    attributes = {}
    for tag in list(dataset.keys()):
        if tag >= 0x7FE00008:
            continue
        try:
            attributes["%08X" % tag] = finite(dataset[tag].to_json_dict(None, 10**9))
        except Exception:
            pass  # pydicom refuses the value; nothing to compare
    return attributes


if sys.argv[1] == "codes":
    print(json.dumps(codes()))
else:
    for line in sys.stdin:
        print(json.dumps(as_json(line.rstrip("\n"))))
