"""Cut texts into units, and tell what each is compared by.

A unit is a word (letters, digits, underscores and the marks that follow them), a run of white space, or any
other character with the marks that follow it. A letter of a script that is written without spaces is a unit,
too. So there is a word boundary between any two units, and nowhere else.
"""

import re
import unicodedata
from collections.abc import Iterable
from functools import cache, partial
from itertools import chain, zip_longest

from lab.limits import MAX_INSULT_CHARACTERS

LONGEST_UNIT = 4 * MAX_INSULT_CHARACTERS
"""No character has more than four when it is folded and decomposed (tests/lab/test_censor.py)."""

VARIATION_SELECTORS = "\ufe00-\ufe0f\U000e0100-\U000e01ef"
"""Variation selectors, as a regular expression's class. They are ignored."""
MARK_BLOCKS = (
    *((0x0300, 0x1DFF), (0x20D0, 0x20F0), (0x2CEF, 0x309A), (0xA66F, 0xABED), (0xFB1E, 0xFE2F)),
    *((0x101FD, 0x11FFF), (0x13430, 0x1345F), (0x16AF0, 0x16FFF), (0x1BC9D, 0x1E94A), (0xE0100, 0xE01EF)),
)
"""Where combining marks are: first and last code points."""
APOSTROPHES = "\u2018\u2019\u201b\u02bc\uff07"
HYPHENS = "\u2010\u2011\u2012\u2013\u2212\ufe63\uff0d"
SPACELESS = (
    "\u0e00-\u0eff"  # Thai, Lao
    "\u1000-\u109f\ua9e0-\ua9ff\uaa60-\uaa7f"  # Myanmar
    "\u1780-\u17ff"  # Khmer
    "\u1950-\u19df\u1a20-\u1aad\ua980-\ua9df\uaa80-\uaadf"  # Tai Le, Tai Lue, Tai Tham, Javanese, Tai Viet
    "\u2e80-\u2fdf\u3005-\u3007\u3021-\u3029\u3031-\u303c"  # radicals, ideographic marks and numbers
    "\u3040-\u30ff\u31f0-\u31ff\uff66-\uff9f\U0001aff0-\U0001b16f"  # Hiragana, Katakana
    "\u3100-\u312f\u31a0-\u31bf"  # Bopomofo
    "\u3400-\u4dbf\u4e00-\u9fff\uf900-\ufaff\U00020000-\U0003ffff"  # Han
)
"""Scripts that are written without spaces, as a regular expression's class."""

_WORD = re.compile(r"(\w\w+)")
"""A word of more than one character, in a plain text. Python's engine skips fast what begins with a class."""
_WORD_OR_SPACES = re.compile(r"(\w\w+|\s\s+)")
_TWO_SPACES = re.compile(r"\s\s")
_NOT_PLAIN = re.compile("[^\0-\u02bb\u02bd-\u02ff\u0370-\u0482\u048a-\u058f\u1e00-\u20cf\u2100-\u2bff]")
"""A text without any of these is *plain*: it has no mark, no selector, and no script without spaces."""
_ALIKE = re.compile(f"[{APOSTROPHES}{HYPHENS}]")
SELECTORS = re.compile(f"[{VARIATION_SELECTORS}]+")
_MAYBE_MANY_MARKS = re.compile(r"[^\w\s]{15,}")
"""No mark is a letter or a space: only where this is found can there be a long run of marks."""
_MANY_TO_SORT = re.compile(rb"[^\0]{15,}")
"""In a text's combining classes."""


def units_of(text: str) -> list[str]:
    """Cut *text*, behind a space more, into its units: selectors that it begins with belong to that space."""
    text = f" {text}"
    has_two_spaces = _TWO_SPACES.search(text)
    if text.isascii() or not _NOT_PLAIN.search(text):
        pieces = (_WORD_OR_SPACES if has_two_spaces else _WORD).split(text)
        between: Iterable[Iterable[str]] = pieces[::2]
    else:
        word, symbol, mark = _patterns()
        pieces = word.split(text)
        between = pieces[::2]
        if has_two_spaces or mark.search(text):
            between = [part if len(part) < 2 else symbol.findall(part) for part in pieces[::2]]
    words = zip(pieces[1::2])  # each is one unit; what stands between words is a unit for each character
    return list(chain.from_iterable(chain.from_iterable(zip_longest(between, words, fillvalue=()))))


def joined(units: Iterable[str]) -> str:
    """Return the text of *units*, without the space that :func:`units_of` put before it."""
    return "".join(units)[1:]


@cache
def _patterns() -> tuple[re.Pattern[str], re.Pattern[str], re.Pattern[str]]:
    """Return what finds, in a text that is not plain, a long word, any other unit, and (nearly) a mark.

    They are built at the first such text: that takes longer than to import all the rest. The few marks beyond
    U+FFFF have a class of their own. In one class, every character would be compared with them.
    """
    marks, more_marks = (_ranges_of_marks(*block) for block in ((0, 0xFFFF), (0x10000, 0x10FFFF)))
    several = rf"(?:[{marks}]+|(?=[\U00010000-\U0010ffff])[{marks}{more_marks}]+)"
    letter = rf"[^\W{SPACELESS}\u02bc]"
    return (
        re.compile(rf"({letter}(?:{letter}+|{several})+)"),
        re.compile(rf"\s[\s{VARIATION_SELECTORS}]*|\S(?:{several})*"),
        re.compile(f"[{marks}\U00010000-\U0010ffff]"),
    )


def _ranges_of_marks(least: int, most: int) -> str:
    """Return the combining marks from *least* to *most*, as a class. ``\\w`` lacks them.

    Only the blocks that have marks are looked at (tests/lab/test_censor.py): the start of a node is measured.
    """
    ranges = ""
    for first, last in MARK_BLOCKS:
        if least <= first <= most:
            categories = "".join(map(unicodedata.category, map(chr, range(first, last + 1))))
            for run in re.finditer("(?:M.)+", categories):
                ranges += f"{chr(first + run.start() // 2)}-{chr(first + run.end() // 2 - 1)}"
    return ranges


def fold_each(units: list[str]) -> dict[str, str]:
    """Return each of *units* with what it is compared by; all at once, because each call takes time."""
    different = set(units)
    folded = {unit: " " for unit in different if unit.isspace() or (len(unit) > 1 and unit[0].isspace())}
    if max(map(len, different), default=0) > LONGEST_UNIT:  # longer than any insult: to fold it takes long
        without_selectors = ((unit, SELECTORS.sub("", unit)) for unit in different - folded.keys())
        folded |= {unit: "" for unit, rest in without_selectors if len(rest) > LONGEST_UNIT}
    different.difference_update(folded)
    if different:
        folded |= zip(different, _fold(" ".join(different)).split(" "), strict=True)
    return folded


def units_of_insult(insult: str) -> list[str]:
    """Return what the units of *insult* are compared by, without space around it."""
    units = units_of(insult)
    folded = list(map(fold_each(units).__getitem__, units))
    while folded and folded[-1] == " ":
        del folded[-1]
    return folded[1:]


def _fold(text: str) -> str:
    """Return *text* without what does not count: case, normal form, kind of apostrophe, selectors."""
    if text.isascii():
        return text.lower()
    for alike in set(_ALIKE.findall(text)):
        text = text.replace(alike, "'" if alike in APOSTROPHES else "-")
    normal = nfc(SELECTORS.sub("", text))
    folded = normal.casefold()
    return folded if folded == normal else unicodedata.normalize("NFC", folded)  # its marks are sorted


def nfc(text: str) -> str:
    """Return *text* in NFC, in time proportional to its length but for sorting.

    The standard library sorts a run of marks in quadratic time, so that is done here.
    """
    if not text.isascii():
        text = _MAYBE_MANY_MARKS.sub(_with_marks_sorted, text)
    return unicodedata.normalize("NFC", text)


def _with_marks_sorted(run: re.Match[str]) -> str:
    if run[0].isascii():
        return run[0]
    characters = list("".join(map(partial(unicodedata.normalize, "NFD"), run[0])))
    for many in _MANY_TO_SORT.finditer(bytes(map(unicodedata.combining, characters))):
        some = slice(*many.span())
        characters[some] = sorted(characters[some], key=unicodedata.combining)
    return "".join(characters)
