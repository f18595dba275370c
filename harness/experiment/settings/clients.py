"""The clients of a setup. They run in processes of their own, which load what they need and no more."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial

from harness.experiment.baseline import FILTERED, TEXT
from harness.experiment.settings.table import Setup
from harness.experiment.thresholds.clients import DEADLINE_SECONDS, filtered_until, repeated
from harness.experiment.thresholds.load import Run
from lab.contract import Target
from lab.middleware import MIDDLEWARES

PADDING = " whatever else people write"


@contextmanager
def filtering(middleware: str, target: Target, setup: Setup) -> Iterator[Run]:
    """Filter texts with a client set up so. The process may be changed for it, and stays so."""
    if setup.variant:
        from harness.experiment.settings import variants

        variants.apply(*setup.variant)
    text, filtered = texts(setup.text_bytes)
    with MIDDLEWARES[middleware].filter_client(target, DEADLINE_SECONDS) as client:
        if setup.in_flight:
            yield partial(filtered_until, client, setup.in_flight, text=text, filtered=filtered)
        else:
            yield repeated(lambda: client.filter(text) == filtered)


def texts(length: int) -> tuple[str, str]:
    """Return a text of *length* bytes with one insult, and what the filter must make of it."""
    rest = (PADDING * (length // len(PADDING) + 1))[: length - len(TEXT)]
    return TEXT + rest, FILTERED + rest
