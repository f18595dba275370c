"""What is sent and what must come back: real or generated texts with the reference filter's answer."""

from dataclasses import dataclass
from functools import cache
from itertools import islice
from pathlib import Path

from harness.load.reference import reference_censor
from lab.contract import Application
from lab.data import default_insults
from lab.load.texts import corpus_texts, generated_texts

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
