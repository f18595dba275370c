"""Cut a stream of texts into batches that fit into one request."""

from collections.abc import Iterable, Iterator

MAX_BATCH_CHARACTERS = 64 * 1024
"""Escaped for the wire, text grows up to five times; censored, up to nine."""


def batches(texts: Iterable[str], most: int) -> Iterator[list[str]]:
    """Yield lists of up to *most* texts and 64 Ki characters, at least one text each."""
    batch: list[str] = []
    size = 0
    for text in texts:
        size += len(text)
        if batch and (len(batch) == most or size > MAX_BATCH_CHARACTERS):
            yield batch
            batch, size = [], len(text)
        batch.append(text)
    if batch:
        yield batch
