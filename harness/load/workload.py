"""What is sent and what must come back: texts with a reference's answers, and the clients that send them.

The reference follows the rule of censoring at each place of a text. It is slow, and works by another method
than the censor: it knows no words, no units and no index.
"""

import re
import unicodedata
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cache
from itertools import islice
from operator import eq
from pathlib import Path
from typing import Any, Protocol

from lab.contract import Application, InsultFilter, InsultService, Target
from lab.load.texts import corpus_texts, default_insults, generated_texts
from lab.middleware import MIDDLEWARES

POOL_SIZE = 500
"""Different texts of a run; they are sent in turn."""


@dataclass(frozen=True, slots=True)
class Workload:
    """Which requests are made: ``filter`` of texts, or ``insult_me``. The same stream for all four."""

    application: Application = Application.FILTER
    seed: int = 1
    corpus: Path | None = None

    def describe(self) -> str:
        """Say in words what is sent."""
        if self.application is Application.SERVICE:
            return "insult_me over the default insults"
        source = f"lines of {self.corpus.name}" if self.corpus else f"generated texts, seed {self.seed}"
        return f"filter, {source}, every reply checked against a reference"

    def check(self) -> None:
        """Raise an InvalidRequest now if the corpus cannot be used, not in every load generator."""
        if self.corpus:
            corpus_texts(self.corpus)

    def pool(self) -> list[tuple[str, str]]:
        """Return pairs of a text and what the filter must make of it."""
        return _pool(self.corpus, self.seed)


@cache
def _pool(corpus: Path | None, seed: int) -> list[tuple[str, str]]:
    """Made once per run: the reference is slow. Load generators are given it."""
    insults = default_insults()
    texts = corpus_texts(corpus) if corpus else generated_texts(seed)
    return [(text, reference_censor(text, insults)) for text in islice(texts, POOL_SIZE)]


DEADLINE_SECONDS = 30.0


class Driver(Protocol):
    """One client. Requests are known by their numbers, so that each can be accounted for."""

    def request(self, number: int) -> bool:
        """Make request *number* and wait; True if the answer is right. LabError if it was refused."""

    def pipeline(self, numbers: Iterator[int], in_flight: int) -> Iterator[tuple[int, bool]]:
        """Keep up to *in_flight* requests under way; yield the number of each answer, and if it is right."""

    def close(self) -> None:
        """Free connections."""


class Subject(Protocol):
    """What is measured. It travels to the load generators, which are processes of their own."""

    def connect(self) -> Driver:
        """Connect one client."""


@dataclass(frozen=True, slots=True)
class FilterSubject:
    """A filter of the lab; *pool* has texts and what the filter must make of them.

    *in_batches*: what is under way at once travels in one request, where the middleware has batches.
    """

    middleware: str
    target: Target
    pool: list[tuple[str, str]]
    in_batches: bool = False

    def connect(self) -> Driver:
        drive = _BatchDriver if self.in_batches else _FilterDriver
        client = MIDDLEWARES[self.middleware].filter_client(self.target, DEADLINE_SECONDS)
        return drive(client, self.pool)


INSULT_ME, ADD_AND_REMOVE = "insult_me", "add and remove"
STORED = "insult number "
"""What stored insults are called, where their number is what is studied."""


@dataclass(frozen=True, slots=True)
class ServiceSubject:
    """A service at which each client asks for random insults, or adds insults and removes them."""

    middleware: str
    target: Target
    operation: str = INSULT_ME

    def connect(self) -> Driver:
        client = MIDDLEWARES[self.middleware].service_client(self.target, DEADLINE_SECONDS)
        return _ServiceDriver(client, _STEPS[self.operation])


@dataclass(frozen=True, slots=True)
class NullSubject:
    """A middleware that takes no time at all: what the load generators themselves cost.

    With a *pool* of texts every answer is compared, as those of a middleware are.
    """

    pool: Sequence[tuple[str, str]] = ()

    def connect(self) -> Driver:
        return _FilterDriver(_NullClient(self.pool), list(self.pool)) if self.pool else _NullDriver()


class _FilterDriver:
    def __init__(self, client: "InsultFilter | _NullClient", pool: list[tuple[str, str]]) -> None:
        self._client = client
        self._pool = pool

    def request(self, number: int) -> bool:
        text, expected = self._pool[number % len(self._pool)]
        return self._client.filter(text) == expected

    def pipeline(self, numbers: Iterator[int], in_flight: int) -> Iterator[tuple[int, bool]]:
        under_way: deque[tuple[int, str]] = deque()

        def texts() -> Iterator[str]:
            for number in numbers:
                text, expected = self._pool[number % len(self._pool)]
                under_way.append((number, expected))
                yield text

        for answer in self._client.filter_many(texts(), in_flight):
            number, expected = under_way.popleft()
            yield number, answer == expected

    def close(self) -> None:
        self._client.close()


class _BatchDriver(_FilterDriver):
    """Sends batches; what *in_flight* says is the size of one."""

    def request(self, number: int) -> bool:
        return all(is_right for _, is_right in self.pipeline(iter([number]), 1))

    def pipeline(self, numbers: Iterator[int], in_flight: int) -> Iterator[tuple[int, bool]]:
        client: Any = self._client
        while batch := list(islice(numbers, in_flight)):
            texts, expected = zip(*(self._pool[number % len(self._pool)] for number in batch), strict=True)
            yield from zip(batch, map(eq, client.filter_batch(texts), expected), strict=True)


def _insult_me(client: InsultService, number: int) -> bool:
    insult = client.insult_me()
    return insult.startswith(STORED) or insult in _KNOWN


def _add_and_remove(client: InsultService, number: int) -> bool:
    """Add an insult and remove it, so that the number of insults stays what it is."""
    insult = f"new {number}"
    return client.add_insult(insult) and client.remove_insult(insult)


_KNOWN = frozenset(default_insults())
_Step = Callable[[InsultService, int], bool]
_STEPS: dict[str, _Step] = {INSULT_ME: _insult_me, ADD_AND_REMOVE: _add_and_remove}


class _ServiceDriver:
    """Makes one step for each request. There is nothing to pipeline, whatever *in_flight* says."""

    def __init__(self, client: InsultService, step: _Step) -> None:
        self._client = client
        self._step = step

    def request(self, number: int) -> bool:
        return self._step(self._client, number)

    def pipeline(self, numbers: Iterator[int], in_flight: int) -> Iterator[tuple[int, bool]]:
        for number in numbers:
            yield number, self.request(number)

    def close(self) -> None:
        self._client.close()


class _NullClient:
    """Knows the answers, as texts of its own: what is the same object is not compared letter by letter."""

    def __init__(self, pool: Sequence[tuple[str, str]]) -> None:
        self._answers = {text: "".join(list(answer)) for text, answer in pool}

    def filter(self, text: str) -> str:
        return self._answers[text]

    def filter_many(self, texts: Iterable[str], in_flight: int) -> Iterator[str]:
        return map(self._answers.__getitem__, texts)

    def close(self) -> None:
        """Nothing to free."""


class _NullDriver:
    def request(self, number: int) -> bool:
        return True

    def pipeline(self, numbers: Iterator[int], in_flight: int) -> Iterator[tuple[int, bool]]:
        for number in numbers:
            yield number, True

    def close(self) -> None:
        """Nothing to free."""


APOSTROPHES = "\u2018\u2019\u201b\u02bc\uff07"
HYPHENS = "\u2010\u2011\u2012\u2013\u2212\ufe63\uff0d"
SPACELESS = (
    *((0x0E00, 0x0EFF), (0x1000, 0x109F), (0xA9E0, 0xA9FF), (0xAA60, 0xAA7F), (0x1780, 0x17FF)),
    *((0x1950, 0x19DF), (0x1A20, 0x1AAD), (0xA980, 0xA9DF), (0xAA80, 0xAADF), (0x2E80, 0x2FDF)),
    *((0x3005, 0x3007), (0x3021, 0x3029), (0x3031, 0x303C), (0x3040, 0x30FF), (0x31F0, 0x31FF)),
    *((0xFF66, 0xFF9F), (0x1AFF0, 0x1B16F), (0x3100, 0x312F), (0x31A0, 0x31BF), (0x3400, 0x4DBF)),
    *((0x4E00, 0x9FFF), (0xF900, 0xFAFF), (0x20000, 0x3FFFF)),
)
"""Scripts that are written without spaces: first and last code points."""


def reference_censor(text: str, insults: Iterable[str]) -> str:
    """Return *text* with each insult replaced by CENSORED; docs/protocols.md has the rule."""
    folded_insults = {folded for insult in insults if (folded := _fold(insult).strip())}
    longest = max(map(len, folded_insults), default=0)
    firsts = {folded[0] for folded in folded_insults}
    written = []
    place = 0
    while place < len(text):
        is_candidate = not text[place : place + 2].isascii() or text[place].lower() in firsts
        end = _match_end(text, place, folded_insults, longest) if is_candidate else 0
        if end:
            written.append("CENSORED")
            place = end
        else:
            written.append(text[place])
            place += 1
    return "".join(written)


def _match_end(text: str, start: int, folded_insults: set[str], longest: int) -> int:
    """Return where the longest insult at *start* ends, 0 if there is none."""
    longest_end = 0
    if _is_selector(text[start]) or text[start].isspace() or not _is_boundary(text, start):
        return 0
    for end in range(start + 1, len(text) + 1):
        if _is_boundary(text, end):
            folded = _fold(text[start:end])
            if folded in folded_insults:
                longest_end = end
            if len(folded) > longest + 4:
                break
    return longest_end


def _is_boundary(text: str, place: int) -> bool:
    """Tell whether no word, and no character with its marks, goes on over *place*."""
    if not 0 < place < len(text):
        return True
    if _is_selector(text[place]):
        return False
    before = place - 1
    while before >= 0 and _is_selector(text[before]):
        before -= 1
    if before < 0:
        return True
    if _is_mark(text[place]):
        return text[before].isspace()
    return not (_in_word(text, before) and _in_word(text, place))


def _in_word(text: str, place: int) -> bool:
    """Tell whether the character at *place* is one of a word in a script that is written with spaces."""
    while place >= 0 and (_is_mark(text[place]) or _is_selector(text[place])):
        place -= 1
    if place < 0 or text[place] == "\u02bc" or any(a <= ord(text[place]) <= b for a, b in SPACELESS):
        return False
    return text[place].isalnum() or text[place] == "_"


def _is_selector(character: str) -> bool:
    return "\ufe00" <= character <= "\ufe0f" or "\U000e0100" <= character <= "\U000e01ef"


def _is_mark(character: str) -> bool:
    return unicodedata.category(character).startswith("M")


def _fold(text: str) -> str:
    text = "".join(character for character in text if not _is_selector(character))
    text = re.sub(r"\s+", " ", text)
    text = re.sub(f"[{APOSTROPHES}]", "'", text)
    text = re.sub(f"[{HYPHENS}]", "-", text)
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())
