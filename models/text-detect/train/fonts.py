"""Fonts of Debian packages, split into those trained on and those held out for the evaluation. Needs Pillow and fontconfig's fc-list."""
import functools
import re
import subprocess

from PIL import ImageFont

# Folders or file names under /usr/share/fonts; nothing of the one list is in the other.
HELD_OUT = re.compile(
    r'liberation|inter[/_-]|/Inter|jetbrains|b612|clear-?sans|texgyre|osifont|oxygen|anonymous|sixtyfour|Sixtyfour|unifont|'
    r'comic-neue|nanum|Nanum|ipafont|ipag|croscore|Arimo|Cousine|Tinos|tuffy|Tuffy|opendin|Open-?DIN|routed-gothic|monoid', re.I)
SYMBOLS = re.compile(r'symbol|emoji|icon|dingbat|music|Math|math|OpenSymbol|Wingding|D050000L|D05|StandardSymbols|fontawesome', re.I)
# Of the many Noto fonts those of scripts that hospitals write in; the rest would crowd out everything else.
NOTO = re.compile(r'Noto(Sans|Serif|SansMono|SansDisplay|Mono|Naskh|Kufi)?(Arabic|Hebrew|Thai|Devanagari|Armenian|Georgian)?(UI)?-'
                  r'(Regular|Bold|Condensed|Light|Medium)\.ttf$')


@functools.lru_cache(None)
def font_files(held_out):
    listed = subprocess.run(['fc-list', '--format', '%{file}\n'], capture_output=True, text=True, check=True).stdout
    files = sorted(set(listed.split()))
    chosen = []
    for file in files:
        if not file.endswith(('.ttf', '.otf', '.otb', '.ttc')) or SYMBOLS.search(file):
            continue
        if 'Noto' in file and not NOTO.search(file):
            continue
        if bool(HELD_OUT.search(file)) == held_out:
            chosen.append(file)
    return chosen


@functools.lru_cache(4000)
def font(file, size):
    """None where the font has no such size (bitmap fonts) or cannot be read."""
    try:
        return ImageFont.truetype(file, size, layout_engine=ImageFont.Layout.BASIC)
    except OSError:
        return None


@functools.lru_cache(None)
def scripts(file):
    """Which alphabets the font has glyphs for, told by letters that differ from the font's box for a missing one."""
    face = font(file, 32)
    if face is None:
        face = next((f for f in (font(file, s) for s in range(6, 40)) if f is not None), None)
    if face is None:
        return ()
    missing = bytes(face.getmask('\uffff\ufffe'[:1]))

    def has(letters):
        shapes = [bytes(face.getmask(c)) for c in letters]
        return all(s != missing and any(s) for s in shapes) and len(set(shapes)) == len(shapes)

    alphabets = {'latin': 'aR5', 'cyrillic': 'ЖФд', 'greek': 'ΣΩλ', 'hebrew': 'אבש', 'arabic': 'بحس', 'thai': 'กขช', 'han': '李金大',
                 'kana': 'アキの', 'hangul': '김희중', 'devanagari': 'कगम'}
    return tuple(name for name, letters in alphabets.items() if has(letters))
