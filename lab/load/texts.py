"""Texts to filter, the same for all four middlewares, and the lists of insults that come with the lab."""

import random
from collections.abc import Iterator, Sequence
from itertools import cycle
from pathlib import Path

from lab.errors import Code, InvalidRequest
from lab.validation import clean_insult, clean_text

_LISTS = Path(__file__).parents[1] / "data"


def default_insults() -> tuple[str, ...]:
    """Return the insults that come with the lab, sorted."""
    return tuple(sorted({insult for path in _LISTS.glob("*.txt") for insult in read_insults(path)}))


def read_insults(path: Path | str) -> list[str]:
    """Read a list: UTF-8, an insult a line; empty lines and lines that begin with # do not count.

    InvalidRequest names the file, and the line where one is at fault.
    """
    try:
        lines = Path(path).read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise InvalidRequest(Code.MALFORMED, f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidRequest(Code.BAD_ENCODING, f"{path}: not UTF-8; convert it, as with iconv") from error
    insults = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            insults.append(clean_insult(line))
        except InvalidRequest as error:
            raise InvalidRequest(error.code, f"{path}, line {number}: {error.message}") from error
    return insults


POOL_SIZE = 4_096
_WORDS = [
    "the",
    "quick",
    "classic",
    "fox",
    "jumps",
    "over",
    "a",
    "lazy",
    "dog",
    "while",
    "tontos",
    "and",
    "foolish",
    "villagers",
    "drink",
    "coffee",
    "in",
    "el",
    "carrer",
    "gran",
    "amb",
    "café",
    "y",
    "pan",
    "sobre",
    "la",
    "mesa",
    "que",
    "no",
    "és",
    "bona",
    "però",
    "tampoc",
    "dolenta",
    "assassinate",
    "rascally",
    "trait",
]
"""Harmless words, near misses of insults among them."""


def generated_texts(
    seed: int, length: int = 80, hit_rate: float = 0.1, insults: Sequence[str] | None = None
) -> Iterator[str]:
    """Return an endless stream of texts of about *length* characters, the same for the same arguments.

    A share of *hit_rate* (0-1) of them holds an insult. The texts are drawn, in turn, from 4,096 made at the
    start, so that the load generator spends nothing on making them.
    """
    if length < 1 or not 0 <= hit_rate <= 1:
        message = f"length must be 1 or more and hit rate from 0 to 1, got {length} and {hit_rate}"
        raise InvalidRequest(Code.MALFORMED, message)
    choose = random.Random(seed)
    chosen_insults = insults if insults is not None else default_insults()
    hits = round(hit_rate * POOL_SIZE)
    if hits and not chosen_insults:
        raise InvalidRequest(
            Code.MALFORMED, "there are no insults to put into texts; give some, or hit rate 0"
        )
    pool = [
        _text(choose, length, choose.choice(chosen_insults) if number < hits else "")
        for number in range(POOL_SIZE)
    ]
    choose.shuffle(pool)
    return cycle(pool)


def corpus_texts(path: Path) -> Iterator[str]:
    """Return an endless stream of the lines of a UTF-8 file that are not blank.

    InvalidRequest if it cannot be read, is empty, or has a line of more than 64 KiB.
    """
    try:
        lines = [line for line in path.read_text(encoding="utf-8").splitlines() if line.strip()]
    except OSError as error:
        raise InvalidRequest(Code.MALFORMED, f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidRequest(Code.BAD_ENCODING, f"{path}: not UTF-8; convert it, as with iconv") from error
    if not lines:
        raise InvalidRequest(Code.MALFORMED, f"{path}: holds no line of text")
    for line in lines:
        clean_text(line)
    return cycle(lines)


def _text(choose: random.Random, length: int, insult: str) -> str:
    words: list[str] = []
    written = 0
    while written < length:
        words.append(choose.choice(_WORDS))
        written += len(words[-1]) + 1
    if insult:
        words[choose.randrange(len(words))] = choose.choice((insult, insult.upper(), insult.capitalize()))
    return " ".join(words)
