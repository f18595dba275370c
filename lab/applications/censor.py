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
from collections.abc import Iterable
from functools import cache
from itertools import chain, zip_longest
from typing import TypeVar

from lab.limits import MAX_INSULT_CHARACTERS

_Counted = TypeVar("_Counted")

CENSORED = "CENSORED"
REMEMBERED = 50_000
"""So many chunks of text, of at most so many characters, are remembered with what is written for them."""
REMEMBERED_CHARACTERS = 64
LOOKED_AT_ALONE = 200
"""Of a text with more chunks that hold insults, these are not replaced one by one."""
STEPS_OF_A_LOOK = 15
"""What it costs to look for a sequence, beside the units that it has."""

LONGEST_UNIT = 4 * MAX_INSULT_CHARACTERS
"""No character has more than four when it is folded and decomposed (tests/lab/test_censor.py)."""

SELECTORS = "\ufe00-\ufe0f\U000e0100-\U000e01ef"
"""Variation selectors, as a regular expression's class. They are ignored."""
MARK_BLOCKS = (
    *((0x0300, 0x1DFF), (0x20D0, 0x20F0), (0x2CEF, 0x2DFF), (0x302A, 0x309A), (0xA66F, 0xABED)),
    *((0xFB1E, 0xFB1E), (0xFE00, 0xFE2F), (0x101FD, 0x10FFF), (0x11000, 0x11FFF), (0x13430, 0x1345F)),
    *((0x16AF0, 0x16FFF), (0x1BC9D, 0x1BC9E), (0x1CF00, 0x1CF46), (0x1D165, 0x1D244), (0x1DA00, 0x1DAAF)),
    *((0x1E000, 0x1E94A), (0xE0100, 0xE01EF)),
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
_SPACES = re.compile(r"(\s+)")
_NOT_PLAIN = re.compile("[^\0-\u02bb\u02bd-\u02ff\u0370-\u0482\u048a-\u058f\u1e00-\u20cf\u2100-\u2bff]")
"""A text without any of these is *plain*: it has no mark, no selector, and no script without spaces."""
_ALIKE = re.compile(f"[{APOSTROPHES}{HYPHENS}]")
_SELECTORS = re.compile(f"[{SELECTORS}]+")
_MAYBE_MANY_MARKS = re.compile(r"[^\w\s]{15,}")
"""No mark is a letter or a space: only where this is found can there be a long run of marks."""
_MARKS_THAT_ARE_SEVERAL = "\u0340\u0341\u0343\u0344\u0f73\u0f75\u0f81"
_WORDS_ONLY = bytes(
    ord(chr(code).lower()) if chr(code).isalnum() or code == ord("_") else ord(" ") for code in range(256)
)
"""For ASCII: letters in lower case, what is no word character as a space."""


def _class(ranges: list[tuple[int, int]], most: int = 0x10FFFF) -> str:
    """Return those of *ranges* that begin at *most* or before, as a regular expression's class."""
    return "".join(f"{chr(first)}-{chr(last)}" for first, last in ranges if first <= most)


def _some_of(ranges: list[tuple[int, int]], least: int = 1) -> str:
    """Return a regular expression of *least* or more of the characters in *ranges*.

    The few beyond U+FFFF have a class of their own. In one class, every character would be compared with
    them.
    """
    within, both = _class(ranges, most=0xFFFF), _class(ranges)
    return rf"(?:[{within}]{{{least},}}|(?=[\U00010000-\U0010ffff])[{both}]{{{least},}})"


@cache
def _mark_ranges() -> list[tuple[int, int]]:
    """Return the first and the last of each run of combining marks; ``\\w`` lacks them.

    Only the blocks that have marks are looked at (tests/lab/test_censor.py): the start of a node is measured.
    """
    ranges: list[tuple[int, int]] = []
    for first, last in MARK_BLOCKS:
        categories = "".join(map(unicodedata.category, map(chr, range(first, last + 1))))
        runs = re.finditer("(?:M.)+", categories)
        ranges += [(first + run.start() // 2, first + run.end() // 2 - 1) for run in runs]
    return ranges


@cache
def _patterns() -> tuple[re.Pattern[str], re.Pattern[str], re.Pattern[str]]:
    """Return what finds, in a text that is not plain, a long word, any other unit, and (nearly) a mark.

    They are built at the first such text: that takes longer than to import all the rest.
    """
    letter, marks = rf"[^\W{SPACELESS}\u02bc]", _some_of(_mark_ranges())
    return (
        re.compile(rf"({letter}(?:{letter}+|{marks})+)"),
        re.compile(rf"\s[\s{SELECTORS}]*|\S(?:{marks})*"),
        re.compile(f"[{_class(_mark_ranges(), most=0xFFFF)}\U00010000-\U0010ffff]"),
    )


@cache
def _many_marks() -> re.Pattern[str]:
    """Return what finds a long run of marks that a normal form reorders."""
    codes = [code for first, last in _mark_ranges() for code in range(first, last + 1)]
    reordered = [code for code in codes if unicodedata.combining(unicodedata.normalize("NFD", chr(code))[0])]
    return re.compile(_some_of([(code, code) for code in reordered], least=15))


class Censor:
    """A set of insults and the replacement of them in texts.

    One thread may add and remove while others censor; this relies on the interpreter's lock. An insult can be
    found as soon as its key is there. So the key is added last and removed first.
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
        """Chunks, which is what stands between spaces, that hold no key."""
        self._written: dict[str, str] = {}
        """What is written for a chunk that holds one; empty if that depends on the chunks beside it."""
        self._spaced_keys: Counter[str] = Counter()
        """The keys of insults with spaces."""
        self._reach = 0
        """So many spaces has the insult with the most."""
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
        # New ones: a thread that looks at a text now fills the old ones.
        self._clean, self._written = set(), {}

    def remove(self, insult: str) -> None:
        """Censor *insult* no more; nothing happens if it is not there."""
        if insult in self._insults:
            self._insults.discard(insult)
            self._count(insult, -1)
            self._written = {}

    def censor(self, text: str) -> str:
        """Return *text* with each insult replaced: from left to right, at each place the longest."""
        # Most texts hold no insult, and then this is all: one pass to words, one look-up each.
        if text.isascii() and not self._ascii_symbols:
            words = text.encode().translate(_WORDS_ONLY).split()
            if self._ascii_words_view.isdisjoint(words):
                return text
        clean, written, chunks = self._clean, self._written, text.split()
        if clean.issuperset(chunks):
            return text
        others = set(chunks) - clean
        found = {chunk: known for chunk in others if (known := written.get(chunk)) is not None}
        if unknown := others - found.keys():
            found |= self._look_at(unknown, clean, written)
        if not found:
            return text
        pieces = _SPACES.split(text)
        if all(found.values()):
            return "".join(map(found.get, pieces, pieces))
        return self._replace_near(text, pieces, found)

    __call__ = censor

    def _look_at(self, unknown: set[str], clean: set[str], written: dict[str, str]) -> dict[str, str]:
        """Return what is written for those of the *unknown* chunks that hold a key, and remember all."""
        found = dict.fromkeys((chunk for chunk in unknown if len(chunk) > REMEMBERED_CHARACTERS), "")
        # Of selectors alone there is no unit: they belong to the space before them.
        listed = [chunk for chunk in unknown if chunk not in found and not _SELECTORS.fullmatch(chunk)]
        units = _units(" " + " ".join(listed))
        folded, keys = _fold_each(units), self._keys
        hits = {unit: low in self._spaced_keys for unit, low in folded.items() if low in keys}
        censored: dict[str, bool] = {}
        place = -1
        for unit in units if hits else ():
            if unit[0] == " ":
                place += 1
            elif unit in hits:
                censored[listed[place]] = censored.get(listed[place], False) or hits[unit]
        if len(clean) + len(listed) > REMEMBERED:
            clean.clear()
        clean.update(unknown - censored.keys() - found.keys())
        if len(censored) > LOOKED_AT_ALONE:
            return found | dict.fromkeys(censored, "")
        known = {chunk: "" if is_spaced else self._replace(chunk) for chunk, is_spaced in censored.items()}
        if len(written) + len(known) > REMEMBERED:
            written.clear()
        written.update(known)
        return found | known

    def _replace_near(self, text: str, pieces: list[str], found: dict[str, str]) -> str:
        """Replace in the chunks that are *found*; of some, with as many beside them as an insult can have."""
        near = {chunk for chunk, alone in found.items() if not alone}
        places = [place for place, piece in enumerate(pieces) if piece in near]
        # Selectors can stand alone between spaces, and are no chunk of an insult then.
        if 8 * len(places) > len(pieces) or (not text.isascii() and _SELECTORS.search(text)):
            return self._replace(text)
        reach, done = 2 * self._reach, 0
        windows: list[tuple[int, int]] = []
        for place in places:
            start, end = max(0, place - reach), place + reach + 1
            if windows and start <= windows[-1][1]:
                start, _ = windows.pop()
            windows.append((start, end))
        written: list[str] = []
        for start, end in [*windows, (len(pieces), len(pieces))]:
            alone = pieces[done:start]
            written += map(found.get, alone, alone)
            written.append(self._replace("".join(pieces[start:end])))
            done = end
        return "".join(written)

    def _replace(self, text: str) -> str:
        if not text.isascii() and (leading := _SELECTORS.match(text)):  # they belong to nothing
            return leading[0] + self._replace(text[leading.end() :])
        units = _units(text)
        folded = _fold_each(units)
        matches = self._sequences.find(units, folded)
        one_unit = self._units
        if hits := {unit for unit, low in folded.items() if low in one_unit}:
            units = [CENSORED if unit in hits else unit for unit in units]
        return "".join(_with_matches(units, matches) if matches else units)

    def _count(self, insult: str, step: int) -> None:
        units = _units_of_insult(insult)
        if not units:  # nothing but variation selectors
            return
        self._reach = max(self._reach, units.count(" "))
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
        if " " in units:
            _change(self._spaced_keys, key, step)
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
        lows = tuple(map(folded.__getitem__, units))
        found: list[tuple[int, int, int]] = []
        counts, steps_left, free_from = self._counts, 1000 + 2 * len(lows), 0
        for place in [place for place, low in enumerate(lows) if low in starts]:
            if place < free_from:
                continue
            for length in starts.get(lows[place], ()):
                steps_left -= STEPS_OF_A_LOOK + length
                if lows[place : place + length] in counts:  # at the end of the text, a shorter one
                    free_from = place + length
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


def _with_matches(units: list[str], matches: list[tuple[int, int, int]]) -> list[str]:
    """Return *units* with each of *matches* replaced; they are in order."""
    written: list[str] = []
    done = 0
    for _, start, end in matches:
        if start > done:
            written += units[done:start]
        written.append(CENSORED)
        done = end
    return written + units[done:]


def _units(text: str) -> list[str]:
    """Cut *text* into its units."""
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


def _fold_each(units: list[str]) -> dict[str, str]:
    """Return each of *units* with what it is compared by; all at once, because each call takes time."""
    different = set(units)
    folded: dict[str, str] = {}
    if max(map(len, different), default=0) > LONGEST_UNIT:
        folded = {unit: "" for unit in different if _is_too_long(unit)}
    folded |= {unit: " " for unit in different if unit.isspace() or (len(unit) > 1 and unit[0].isspace())}
    different.difference_update(folded)
    if different:
        folded |= zip(different, _fold(" ".join(different)).split(" "), strict=True)
    return folded


def _is_too_long(unit: str) -> bool:
    """Tell whether *unit* is longer, in every normal form, than any insult: it need not be folded."""
    return len(unit) > LONGEST_UNIT and len(_SELECTORS.sub("", unit)) > LONGEST_UNIT


def _units_of_insult(insult: str) -> list[str]:
    """Return what the units of *insult* are compared by, without space around it."""
    units = _units(insult)
    folded = list(map(_fold_each(units).__getitem__, units))
    while folded and folded[0] in ("", " "):  # the first may be a selector that belongs to nothing
        del folded[0]
    while folded and folded[-1] == " ":
        del folded[-1]
    return folded


def _fold(text: str) -> str:
    """Return *text* without what does not count: case, normal form, kind of apostrophe, selectors."""
    if text.isascii():
        return text.lower()
    for alike in set(_ALIKE.findall(text)):
        text = text.replace(alike, "'" if alike in APOSTROPHES else "-")
    normal = nfc(_SELECTORS.sub("", text))
    folded = normal.casefold()
    return folded if folded == normal else unicodedata.normalize("NFC", folded)  # its marks are sorted


def nfc(text: str) -> str:
    """Return *text* in NFC, in time proportional to its length but for sorting.

    The standard library sorts a run of marks in quadratic time, so that is done here.
    """
    if not text.isascii():
        text = _MAYBE_MANY_MARKS.sub(lambda run: _many_marks().sub(_sorted_marks, run[0]), text)
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
