"""Replace insults in texts. The rule stands in docs/protocols.md; docs/decisions/0002 says why it is done so.

A text is a sequence of *units*, which an insult matches one by one. A unit is a word (letters, digits,
underscores and the marks that follow them), a run of white space, or any other character with the marks that
follow it. A letter of a script that is written without spaces is a unit, too. So there is a word boundary
between any two units, and nowhere else.
"""

import re
import threading
import unicodedata
from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import TypeVar

from lab.limits import MAX_INSULT_CHARACTERS

_Counted = TypeVar("_Counted")

CENSORED = "CENSORED"
CLEAN_CHUNKS = 50_000
"""So many pieces of text, of at most so many characters, are remembered because they hold no insult."""
CLEAN_CHARACTERS = 64
STEPS_OF_A_LOOK = 15
"""What it costs to look for a sequence, beside the units that it has."""

LONGEST_UNIT = 4 * MAX_INSULT_CHARACTERS
"""No character has more than four when it is folded and decomposed (tests/lab/test_censor.py)."""

SELECTORS = "\ufe00-\ufe0f\U000e0100-\U000e01ef"
"""Variation selectors, as a regular expression's class. They are ignored."""
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


def _ranges(characters: Iterable[str], most: str = chr(0x10FFFF)) -> str:
    """Return ascending *characters* up to *most* as a regular expression's class."""
    ranges: list[list[int]] = []
    for code in map(ord, characters):
        if code > ord(most):
            break
        if ranges and ranges[-1][1] == code - 1:
            ranges[-1][1] = code
        else:
            ranges.append([code, code])
    return "".join(f"{chr(first)}-{chr(last)}" for first, last in ranges)


def _some_of(characters: Sequence[str], least: int = 1) -> str:
    """Return a regular expression of *least* or more of *characters*.

    The few beyond U+FFFF are looked for apart: in one class, they would be compared with every character.
    """
    within, both = _ranges(characters, most="\uffff"), _ranges(characters)
    return rf"(?:[{within}]{{{least},}}|(?=[\U00010000-\U0010ffff])[{both}]{{{least},}})"


def _is_reordered(mark: str) -> bool:
    return unicodedata.combining(unicodedata.normalize("NFD", mark)[0]) > 0


_EACH_MARK = [
    character
    for first, end in (
        (0x300, 0x3100),
        (0xA66F, 0xAC00),
        (0xFB1E, 0x17000),
        (0x1BC00, 0x1F000),
        (0xE0100, 0xE01F0),
    )
    for character in map(chr, range(first, end))
    if unicodedata.category(character)[0] == "M"
]
_MARKS = _some_of(_EACH_MARK)
"""Combining marks; ``\\w`` lacks them."""
_LETTER = rf"[^\W{SPACELESS}\u02bc]"
_WORD = re.compile(rf"({_LETTER}(?:{_LETTER}+|{_MARKS})+)")
"""A word of more than one character. Each expression begins with a class: so Python's engine skips fast."""
_ASCII_WORD = re.compile(r"(\w\w+)", re.ASCII)
_SYMBOL = re.compile(rf"\s[\s{SELECTORS}]*|\S(?:{_MARKS})*")
_MARK_OR_BEYOND = re.compile(f"[{_ranges(_EACH_MARK, most=chr(0xFFFF))}\U00010000-\U0010ffff]")
_TWO_SPACES = re.compile(r"\s\s")
_ALIKE = re.compile(f"[{APOSTROPHES}{HYPHENS}{SELECTORS}]")
_SAME = {
    **dict.fromkeys(map(ord, APOSTROPHES), "'"),
    **dict.fromkeys(map(ord, HYPHENS), "-"),
    **dict.fromkeys((*range(0xFE00, 0xFE10), *range(0xE0100, 0xE01F0)), None),
}
_SELECTOR = re.compile(f"[{SELECTORS}]")
_LEADING_SELECTORS = re.compile(f"[{SELECTORS}]+")
_MANY_MARKS = re.compile(_some_of(list(filter(_is_reordered, _EACH_MARK)), least=15))
_MARKS_THAT_ARE_SEVERAL = "\u0340\u0341\u0343\u0344\u0f73\u0f75\u0f81"
_WORDS_ONLY = bytes(
    ord(chr(code).lower()) if chr(code).isalnum() or code == ord("_") else ord(" ") for code in range(256)
)
"""For ASCII: letters in lower case, what is no word character as a space."""


class Censor:
    """A set of insults and the replacement of them in texts.

    One thread may add and remove while others censor; this relies on the interpreter's lock. An insult can be
    found from the moment its key is there, so that is put in place last and taken away first.
    """

    def __init__(self, insults: Iterable[str] = ()) -> None:
        self._insults: set[str] = set()
        self._keys: Counter[str] = Counter()
        """The longest unit of each insult: a text without any of them is clean."""
        self._ascii_words: Counter[bytes] = Counter()
        """Those of them that are words of ASCII."""
        self._ascii_words_view = self._ascii_words.keys()
        self._ascii_symbols = 0
        """How many insults can stand in an ASCII text but have no word ("!!")."""
        self._units: Counter[str] = Counter()
        """The insults of one unit."""
        self._sequences = Sequences()
        """The insults of several units."""
        self._clean: set[str] = set()
        """Pieces between spaces that hold no key."""
        for insult in insults:
            self.add(insult)

    def __len__(self) -> int:
        return len(self._insults)

    def add(self, insult: str) -> None:
        """Censor *insult* from now on; nothing happens if it is there."""
        if insult in self._insults:
            return
        self._insults.add(insult)
        self._count(insult, 1)
        if self._clean:  # a new one: a thread that looks at a text now fills the old one
            self._clean = set()

    def remove(self, insult: str) -> None:
        """Censor *insult* no more; nothing happens if it is not there."""
        if insult in self._insults:
            self._insults.discard(insult)
            self._count(insult, -1)

    def censor(self, text: str) -> str:
        """Return *text* with each insult replaced: from left to right, at each place the longest."""
        # Most texts hold no insult, and then this is all: one pass to words, one look-up each.
        if text.isascii() and not self._ascii_symbols:
            words = text.encode().translate(_WORDS_ONLY).split()
            return text if self._ascii_words_view.isdisjoint(words) else self._replace(text, set(), set())
        clean, chunks = self._clean, text.split()
        if clean.issuperset(chunks):
            return text
        unknown = set(chunks) - clean
        part = " ".join(unknown)
        if 2 * len(part) < len(text) and self._keys.keys().isdisjoint(_fold_each(set(_units(part))).values()):
            _remember(clean, unknown)
            return text
        return self._replace(text, clean, unknown)

    __call__ = censor

    def _replace(self, text: str, clean: set[str], unknown: set[str]) -> str:
        is_ascii = text.isascii()
        if not is_ascii and (leading := _LEADING_SELECTORS.match(text)):  # they belong to nothing
            return leading[0] + self._replace(text[leading.end() :], clean, unknown)
        units = _units(text)
        if is_ascii:
            folded = {unit: " " if unit.isspace() else unit.lower() for unit in set(units)}
        else:
            folded = _fold_each(set(units))
        if self._keys.keys().isdisjoint(folded.values()):
            _remember(clean, unknown)
            return text
        matches = self._sequences.find(units, folded)
        one_unit = self._units
        if hits := [unit for unit, low in folded.items() if low in one_unit]:
            written = dict(zip(folded, folded, strict=True)) | dict.fromkeys(hits, CENSORED)
            units = list(map(written.__getitem__, units))
        for _, start, end in matches:
            units[start] = CENSORED
            for place in range(start + 1, end):
                units[place] = ""
        return "".join(units)

    def _count(self, insult: str, step: int) -> None:
        units = _units_of_insult(insult)
        if not units:  # nothing but variation selectors
            return
        if step < 0:
            self._count_key(units, step)
        if len(units) == 1:
            _change(self._units, units[0], step)
        else:
            self._sequences.count(tuple(units), step)
        if step > 0:
            self._count_key(units, step)

    def _count_key(self, units: list[str], step: int) -> None:
        words = [unit for unit in units if unit[0].isalnum() or unit[0] == "_"]
        key = max(words or [unit for unit in units if unit != " "], key=len)
        _change(self._keys, key, step)
        if all(map(str.isascii, units)):
            if words:
                _change(self._ascii_words, key.encode(), step)
            else:
                self._ascii_symbols += step


class Sequences:
    """Sequences of units, and where they stand in a text.

    To add or to remove one costs no more than its length. To find them costs no more than a few steps for
    each unit of the text: where insults nearly match everywhere, an automaton finds them. It is built only
    then.
    """

    def __init__(self) -> None:
        self._counts: Counter[tuple[str, ...]] = Counter()
        self._lengths: Counter[tuple[str, int]] = Counter()
        self._starts: dict[str, tuple[int, ...]] = {}
        """By first unit: how many units the sequences have, the most first."""
        self._changes = 0
        self._automaton: tuple[int, Automaton] | None = None
        """Built when so many changes had been made."""
        self._building = threading.Lock()

    def count(self, sequence: tuple[str, ...], step: int) -> None:
        """Count *sequence* *step* times more."""
        _change(self._counts, sequence, step)
        first = sequence[0]
        _change(self._lengths, (first, len(sequence)), step)
        lengths = {*self._starts.get(first, ()), len(sequence)}
        lengths = {length for length in lengths if self._lengths[first, length]}
        if lengths:
            self._starts[first] = tuple(sorted(lengths, reverse=True))
        else:
            self._starts.pop(first, None)
        self._changes += 1

    def find(self, units: list[str], folded: dict[str, str]) -> list[tuple[int, int, int]]:
        """Return a number, the begin and the end of each sequence in *units*: left to right, the longest."""
        starts = self._starts
        if starts.keys().isdisjoint(folded.values()):
            return []
        if self._automaton and self._automaton[0] == self._changes:
            return self._automaton[1].find(units, folded)
        lows = list(map(folded.__getitem__, units))
        found: list[tuple[int, int, int]] = []
        steps_left, free_from = 1000 + 2 * len(lows), 0
        for place in [place for place, low in enumerate(lows) if low in starts]:
            for length in starts.get(lows[place], ()) if place >= free_from else ():
                steps_left -= STEPS_OF_A_LOOK + length
                piece = tuple(lows[place : place + length])  # at the end of the text, a shorter one
                if piece in self._counts:
                    free_from = place + len(piece)
                    found.append((0, place, free_from))
                    break
            if steps_left < 0:
                return self._built().find(units, folded)
        return found

    def _built(self) -> "Automaton":
        with self._building:
            if not self._automaton or self._automaton[0] != self._changes:
                changes = self._changes  # read first: what comes meanwhile is built next time
                self._automaton = changes, Automaton(list(self._counts))
            return self._automaton[1]


class Automaton:
    """Finds sequences of units in time proportional to the text, as an Aho-Corasick automaton does.

    Each unit is one character for it, so that it finds whole units.
    """

    def __init__(self, sequences: list[tuple[str, ...]]) -> None:
        from ahocorasick_rs import AhoCorasick, MatchKind  # here: few nodes ever need it

        characters = map(chr, (*range(1, 0xD800), *range(0xE000, 0x110000)))
        self._codes: dict[str, str] = {}
        for sequence in sequences:
            for unit in sequence:
                if unit not in self._codes:
                    self._codes[unit] = next(characters)
        patterns = ["".join(map(self._codes.__getitem__, sequence)) for sequence in sequences]
        self._search = AhoCorasick(patterns, matchkind=MatchKind.LeftmostLongest).find_matches_as_indexes

    def find(self, units: list[str], folded: dict[str, str]) -> list[tuple[int, int, int]]:
        """Find them; see :meth:`Sequences.find`. The number is that of the sequence."""
        code = {unit: self._codes.get(low, "\0") for unit, low in folded.items()}
        coded = "".join(map(code.__getitem__, units))
        return self._search(coded)


def _remember(clean: set[str], chunks: set[str]) -> None:
    if len(clean) + len(chunks) > CLEAN_CHUNKS:
        clean.clear()
    clean.update([chunk for chunk in chunks if len(chunk) <= CLEAN_CHARACTERS])


def _units(text: str) -> list[str]:
    """Cut *text* into its units."""
    is_ascii = text.isascii()
    pieces = (_ASCII_WORD if is_ascii else _WORD).split(text)
    if len(max(pieces[::2], key=len)) < 2:  # between words, a space: so it is in most texts
        return list(filter(None, pieces))
    is_simple = (is_ascii or not _MARK_OR_BEYOND.search(text)) and not _TWO_SPACES.search(text)
    cut: Callable[[str], Iterable[str]] = iter if is_simple else _SYMBOL.findall
    units = list(cut(pieces[0]))
    for place in range(1, len(pieces), 2):
        units.append(pieces[place])
        units += cut(pieces[place + 1])
    return units


def _fold_each(units: set[str]) -> dict[str, str]:
    """Return each of *units* with what it is compared by; all at once, because each call has its price."""
    folded = {unit: " " for unit in units if unit[0].isspace()}
    folded |= {unit: "" for unit in units if len(unit) > LONGEST_UNIT and _is_too_long(unit)}
    others = list(units - folded.keys())
    if others:
        folded |= dict(zip(others, _fold(" ".join(others)).split(" "), strict=True))
    return folded


def _is_too_long(unit: str) -> bool:
    """Tell whether *unit* is longer, in every normal form, than any insult: it need not be folded."""
    return len(unit) - len(_SELECTOR.findall(unit)) > LONGEST_UNIT


def _units_of_insult(insult: str) -> list[str]:
    """Return what the units of *insult* are compared by, without space around it."""
    units = _units(insult)
    folded = list(map(_fold_each(set(units)).__getitem__, units))
    while folded and folded[0] in ("", " "):  # the first may be a selector that belongs to nothing
        del folded[0]
    while folded and folded[-1] == " ":
        del folded[-1]
    return folded


def _fold(text: str) -> str:
    """Return *text* without what does not count: case, normal form, kind of apostrophe, selectors."""
    if text.isascii():
        return text.lower()
    if _ALIKE.search(text):
        text = text.translate(_SAME)
    normal = nfc(text)
    folded = normal.casefold()
    return folded if folded == normal else nfc(folded)


def nfc(text: str) -> str:
    """Return *text* in NFC, in time proportional to its length but for sorting.

    The standard library sorts a run of marks in quadratic time, so that is done here.
    """
    if len(text) > 30 and not text.isascii() and _MARK_OR_BEYOND.search(text):
        text = _MANY_MARKS.sub(_sorted_marks, text)
    return unicodedata.normalize("NFC", text)


def _sorted_marks(run: re.Match[str]) -> str:
    marks = run[0]
    for mark in _MARKS_THAT_ARE_SEVERAL:
        if mark in marks:
            marks = marks.replace(mark, unicodedata.normalize("NFD", mark))
    return "".join(sorted(marks, key=unicodedata.combining))


def _change(counts: Counter[_Counted], key: _Counted, step: int) -> None:
    """Add *step* to what is counted, and keep no zero."""
    if count := counts[key] + step:
        counts[key] = count
    else:
        del counts[key]
