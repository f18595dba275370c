"""The rule of censoring, written down as plainly as can be: slow, and by another method than the censor."""

import unicodedata
from collections.abc import Iterable


def reference_censor(text: str, insults: Iterable[str]) -> str:
    """Return *text* with each insult replaced by CENSORED.

    From left to right, at each place the longest insult with a word boundary at both ends. A word character
    is a letter, a digit, an underscore, or a combining mark that follows one. A mark that follows another
    character belongs to that, unless it is a space.
    """
    folded_insults = sorted({_fold(insult) for insult in insults}, key=len, reverse=True)
    written = []
    place = 0
    while place < len(text):
        end = _match_end(text, place, folded_insults)
        if end:
            written.append("CENSORED")
            place = end
        else:
            written.append(text[place])
            place += 1
    return "".join(written)


def _match_end(text: str, start: int, folded_insults: list[str]) -> int:
    """Return where the longest insult at *start* ends, 0 if there is none."""
    if not _is_boundary(text, start):
        return 0
    first = _fold(text[start])[:1]
    longest_end = 0
    for insult in folded_insults:
        if insult[0] != first and text[start : start + 2].isascii():
            continue  # only to spend less time
        end = start + 1
        while end <= len(text) and len(_fold(text[start:end])) <= len(insult) + 4:
            if end > longest_end and _is_boundary(text, end) and _fold(text[start:end]) == insult:
                longest_end = end
            end += 1
    return longest_end


def _is_boundary(text: str, place: int) -> bool:
    if not 0 < place < len(text):
        return True
    is_mark = unicodedata.category(text[place]).startswith("M") and not text[place - 1].isspace()
    return not is_mark and not (_in_word(text, place - 1) and _in_word(text, place))


def _in_word(text: str, place: int) -> bool:
    character = text[place]
    if unicodedata.category(character).startswith("M"):
        return place > 0 and _in_word(text, place - 1)
    return character.isalnum() or character == "_"


def _fold(text: str) -> str:
    normalised = unicodedata.normalize("NFC", text)
    return unicodedata.normalize("NFC", normalised.casefold())
