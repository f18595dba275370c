"""Cut a stream of texts into batches that fit into one request."""

from collections.abc import Iterable, Iterator

from lab.errors import Code, InvalidRequest
from lab.limits import MAX_BATCH
from lab.validation import clean_text

MAX_BATCH_CHARACTERS = 64 * 1024
"""Escaped for the wire, text grows up to five times; censored, up to nine."""


def batches(texts: Iterable[str], most: int) -> Iterator[list[str]]:
    """Yield lists of up to *most* (1-1,000) texts and 64 Ki characters, at least one text each."""
    if not 1 <= most <= MAX_BATCH:
        raise InvalidRequest(Code.TOO_LARGE, f"in_flight must be from 1 to {MAX_BATCH}, got {most}")
    batch: list[str] = []
    size = 0
    for text in texts:
        size += len(clean_text(text))
        if batch and (len(batch) == most or size > MAX_BATCH_CHARACTERS):
            yield batch
            batch, size = [], len(text)
        batch.append(text)
    if batch:
        yield batch
