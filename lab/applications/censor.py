"""Replace insults in texts. The rule stands in docs/protocols.md; docs/decisions/0002 says why it is done so.

A text is a sequence of units (:mod:`lab.applications.units`), which an insult matches one by one.
"""

import re
import threading
from collections import Counter
from collections.abc import Callable, Iterable, Iterator
from itertools import groupby
from typing import TypeVar

from lab.applications.units import SELECTORS, fold_each, joined, units_of, units_of_insult

_Counted = TypeVar("_Counted")

CENSORED = "CENSORED"
REMEMBERED = 50_000
"""So many chunks of text, of at most so many characters, are remembered with what is written for them."""
REMEMBERED_CHARACTERS = 64
STEPS_OF_A_LOOK = 15
"""What it costs to look for a sequence, beside the units that it has."""

LOOKUPS_TO_PAY = 5
"""For each word that an automaton is built of."""
MOST_TO_BUILD = 100_000
"""Words: to build it takes up to 5 us for each, and other threads wait."""
_SPACES = re.compile(r"(\s+)")
_WORDS_ONLY = bytes(
    ord(chr(code).lower()) if chr(code).isalnum() or code == ord("_") else ord(" ") for code in range(256)
)
"""For ASCII: letters in lower case, what is no word character as a space."""
_BETWEEN_CHUNKS = " \0 "
"""No insult has a control character, so none is found across this."""


class Censor:
    """A set of insults and the replacement of them in texts.

    One thread may add and remove while others censor; this relies on the interpreter's lock. An insult can be
    found as soon as its key is there. So the key is added last and removed first.
    """

    def __init__(self, insults: Iterable[str] = ()) -> None:
        self._insults: set[str] = set()
        self._keys: Counter[str] = Counter()
        """The longest unit of each insult: a text without any of them is clean."""
        self._spaced_keys: Counter[str] = Counter()
        """The keys of insults with spaces."""
        self._reach = 0
        """So many spaces has the insult with the most."""
        self._ascii_words: Counter[bytes] = Counter()
        """The keys that are words of ASCII."""
        self._find_word: Callable[[bytes], object] = self._look_up_words
        """Tells of words of ASCII, with a space around each, whether one is such a key."""
        self._lookups = 0
        """Since a word was added."""
        self._changing = threading.Lock()
        self._ascii_symbols = 0
        """How many insults can stand in an ASCII text but have no word ("!!")."""
        self._units: Counter[str] = Counter()
        """The insults of one unit."""
        self._sequences = Sequences()
        """The insults of several units."""
        self._clean: set[str] = set()
        """Chunks, which is what stands between spaces, that are written as they are."""
        self._written: dict[str, str] = {}
        """What is written for the others; empty if that depends on the chunks beside it."""
        for insult in insults:
            self.add(insult)

    def __len__(self) -> int:
        return len(self._insults)

    def add(self, insult: str) -> None:
        """Censor *insult* from now on; nothing happens if it is there."""
        if insult not in self._insults:
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
        is_ascii = text.isascii() and not self._ascii_symbols
        if is_ascii and not self._find_word(f" {text} ".encode().translate(_WORDS_ONLY)):
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
        # Of selectors alone there is no unit: they belong to the space before them.
        listed = [chunk for chunk in unknown if not SELECTORS.fullmatch(chunk)]
        units = units_of(_BETWEEN_CHUNKS.join(listed))
        folded = fold_each(units)
        found: dict[str, str] = {}
        if not self._keys.keys().isdisjoint(folded.values()):
            alone = self._replace(units, folded).split(_BETWEEN_CHUNKS)
            found = {chunk: new for chunk, new in zip(listed, alone, strict=True) if chunk != new}
            if spaced := {unit: "\n" for unit, low in folded.items() if low in self._spaced_keys}:
                marked = joined(map(spaced.get, units, units)).split(_BETWEEN_CHUNKS)
                found |= {chunk: "" for chunk, new in zip(listed, marked, strict=True) if "\n" in new}
        short = {chunk for chunk in unknown if len(chunk) <= REMEMBERED_CHARACTERS}
        if len(clean) + len(written) + len(short) > REMEMBERED:
            clean.clear()
            written.clear()
        clean.update(short - found.keys())
        written.update((chunk, new) for chunk, new in found.items() if chunk in short)
        return found

    def _replace_near(self, text: str, pieces: list[str], found: dict[str, str]) -> str:
        """Replace in the chunks that are *found*; of some, with as many beside them as an insult can have."""
        places = [place for place, piece in enumerate(pieces) if found.get(piece) == ""]
        around = range(-2 * self._reach, 2 * self._reach + 1)
        # Selectors can stand alone between spaces, and are no chunk of an insult then.
        if len(places) * len(around) > len(pieces) or (not text.isascii() and SELECTORS.search(text)):
            return self._replace_all(text)
        near = {place + step for place in places for step in around}
        written = ""
        for is_near, group in groupby(range(len(pieces)), near.__contains__):
            some = [pieces[place] for place in group]
            written += self._replace_all("".join(some)) if is_near else "".join(map(found.get, some, some))
        return written

    def _replace_all(self, text: str) -> str:
        units = units_of(text)
        return self._replace(units, fold_each(units))

    def _replace(self, units: list[str], folded: dict[str, str]) -> str:
        matches = self._sequences.find(units, folded)
        one_unit = self._units
        if hits := {unit: CENSORED for unit, low in folded.items() if low in one_unit}:
            units = list(map(hits.get, units, units))
        return joined(_with_matches(units, matches) if matches else units)

    def _count(self, insult: str, step: int) -> None:
        units = units_of_insult(insult)
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
                self._count_word(key.encode(), step)
            else:
                self._ascii_symbols += step

    def _count_word(self, word: bytes, step: int) -> None:
        with self._changing:
            is_new = word not in self._ascii_words
            _change(self._ascii_words, word, step)
            if is_new:  # what an automaton finds that is no key any more costs time, and changes nothing
                self._find_word, self._lookups = self._look_up_words, 0

    def _look_up_words(self, words: bytes) -> bool:
        """Look up each word. After so many look-ups that it pays, build an automaton, which is faster."""
        self._lookups += 1
        if (
            LOOKUPS_TO_PAY * len(self._ascii_words) < self._lookups
            and len(self._ascii_words) <= MOST_TO_BUILD
        ):
            self._lookups = 0
            with self._changing:
                self._find_word = _word_finder(list(self._ascii_words))
        return not self._ascii_words.keys().isdisjoint(words.split())


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


def _word_finder(words: list[bytes]) -> Callable[[bytes], object]:
    """Return what finds some of the *words* in a text of words with a space around each."""
    from ahocorasick_rs import BytesAhoCorasick  # here: a node starts faster

    return BytesAhoCorasick([b" %b " % word for word in words]).find_matches_as_indexes


def _with_matches(units: list[str], matches: list[tuple[int, int, int]]) -> Iterator[str]:
    """Yield *units* with each of *matches* replaced; they are in order."""
    done = 0
    for _, start, end in matches:
        yield from units[done:start]
        yield CENSORED
        done = end
    yield from units[done:]


def _change(counts: Counter[_Counted], key: _Counted, step: int) -> None:
    """Add *step* to what is counted, and keep no zero."""
    if count := counts[key] + step:
        counts[key] = count
    else:
        del counts[key]
