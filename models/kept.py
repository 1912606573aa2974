"""What an anchor reached on a case, kept between runs of an evaluation: anchors are the costly part, and do not change when we do.

A result is found again by what made it: the anchor with its version and settings, and the bytes of the case. Its times are those of the run that
made it. EVALUATE_FRESH=1 measures everything again; EVALUATE_KEPT names another folder than node_modules/.cache/evaluate/kept.
"""
import hashlib
import json
import os
from pathlib import Path

FOLDER = Path(os.environ.get('EVALUATE_KEPT', Path(__file__).parent.parent / 'node_modules' / '.cache' / 'evaluate' / 'kept'))


def kept(measure, *made_of):
    """`measure()`, a dictionary of numbers, or what it gave before for the same strings, bytes and arrays."""
    digest = hashlib.sha256()
    for part in made_of:
        data = part.encode() if isinstance(part, str) else bytes(memoryview(part).cast('B'))
        digest.update(len(data).to_bytes(8, 'little') + data)
    file = FOLDER / f'{digest.hexdigest()}.json'
    if file.exists() and os.environ.get('EVALUATE_FRESH') != '1':
        return json.loads(file.read_text())
    result = measure()
    FOLDER.mkdir(parents=True, exist_ok=True)
    part = file.with_suffix(f'.{os.getpid()}')
    part.write_text(json.dumps(result))
    part.replace(file)
    return result
