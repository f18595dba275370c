"""The rule of censoring, written down as plainly as can be: slow, and by another method than the censor.

It looks at places of the text, one after the other; it knows no words, no units and no index.
"""

import re
import unicodedata
from collections.abc import Iterable

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
