"""Replace insults in texts: a word index, in which one more insult costs nothing per text.

A text is a sequence of tokens: a maximal run of word characters (letters, digits, underscore, and the
combining marks that follow them) is one, every other character is one of its own, with the marks that follow
it. An insult matches where
its tokens stand in the text one after the other, folded (NFC, case-folded, NFC), so that it has a word
boundary at both ends by construction. docs/decisions/0002 compares this with an automaton.
"""

import re
import unicodedata
from collections.abc import Iterable

from lab.applications.trie import TokenTrie

CENSORED = "CENSORED"
LONG_TEXT = 2_000
"""A text with more characters is worked on line by line: an insult never spans a line break."""


def _marks() -> str:
    """Return the combining marks as a regular expression's character class; ``\\w`` lacks them."""
    ranges: list[list[int]] = []
    for code in (*range(0x300, 0x20000), *range(0xE0100, 0xE01F0)):
        if unicodedata.category(chr(code)).startswith("M"):
            if ranges and ranges[-1][1] == code - 1:
                ranges[-1][1] = code
            else:
                ranges.append([code, code])
    return "".join(f"{chr(first)}-{chr(last)}" for first, last in ranges)


_ASCII_TOKEN = re.compile(r"\w+|\W", re.ASCII)
_MARKS = _marks()
_TOKEN = re.compile(rf"\w[\w{_MARKS}]*|[^\w\s][{_MARKS}]*|\s")
_WORDS_ONLY = bytes(
    ord(chr(code).lower()) if chr(code).isalnum() or code == ord("_") else ord(" ") for code in range(256)
)
"""For ASCII: letters in lower case, what is no word character as a space."""


class Censor:
    """A set of insults and the replacement of them in texts.

    One thread may add and remove while others censor. An insult can be found from the moment its key is
    there, so that is put in place last and taken away first.
    """

    def __init__(self, insults: Iterable[str] = ()) -> None:
        self._insults: set[str] = set()
        self._trie = TokenTrie()
        self._keys: dict[bytes, int] = {}
        """The longest word of each insult that an ASCII text can hold; such a text without any is clean."""
        self._all_keys = self._keys.keys()
        self._keyless = 0
        """How many insults can stand in an ASCII text but have no word ("!!")."""
        for insult in insults:
            self.add(insult)

    def __len__(self) -> int:
        return len(self._insults)

    def add(self, insult: str) -> None:
        """Censor *insult* from now on; nothing happens if it is there."""
        if insult in self._insults:
            return
        self._insults.add(insult)
        tokens = _folded(insult)
        self._trie.add(tokens)
        self._count_key(tokens, 1)

    def remove(self, insult: str) -> None:
        """Censor *insult* no more; nothing happens if it is not there."""
        if insult not in self._insults:
            return
        self._insults.discard(insult)
        tokens = _folded(insult)
        self._count_key(tokens, -1)
        self._trie.remove(tokens)

    def censor(self, text: str) -> str:
        """Return *text* with each insult replaced: from left to right, at each place the longest."""
        # Most texts hold no insult, and then this is all: one pass to words, one look-up each.
        if (
            text.isascii()
            and self._all_keys.isdisjoint(text.encode().translate(_WORDS_ONLY).split())
            and not self._keyless
        ):
            return text
        if len(text) > LONG_TEXT and len(lines := text.splitlines(keepends=True)) > 1:
            return "".join(map(self.censor, lines))
        return self._replace(text)

    def _replace(self, text: str) -> str:
        if text.isascii():
            tokens, folded = _ASCII_TOKEN.findall(text), _ASCII_TOKEN.findall(text.lower())
        else:
            tokens = _TOKEN.findall(text)
            folded = [_fold(token) for token in tokens]
        starts, longest = self._trie.starts(), self._trie.longest
        written: list[str] = []
        copied = skip_to = 0
        for place, token in enumerate(folded):
            if token in starts and place >= skip_to and (length := longest(folded, place)):
                written += tokens[copied:place]
                written.append(CENSORED)
                copied = skip_to = place + length
        return "".join(written + tokens[copied:]) if written else text

    def _count_key(self, tokens: list[str], step: int) -> None:
        if not all(map(str.isascii, tokens)):
            return
        words = [token for token in tokens if token[0].isalnum() or token[0] == "_"]
        if not words:
            self._keyless += step
            return
        key = max(words, key=len).encode()
        count = self._keys.get(key, 0) + step
        if count:
            self._keys[key] = count
        else:
            del self._keys[key]


def _folded(insult: str) -> list[str]:
    return [_fold(token) for token in _TOKEN.findall(insult)]


def _fold(token: str) -> str:
    if token.isascii():
        return token.lower()
    normalised = unicodedata.normalize("NFC", token)
    return unicodedata.normalize("NFC", normalised.casefold())
