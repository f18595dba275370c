"""What all studies of growth share: how a run measures, memory, and windows in turn."""

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

from harness.experiment.bench import Bench
from harness.probes.resources import Meter, Pids
from harness.record.findings import Curve
from lab.process.system import BrokerUrls


@dataclass(frozen=True, slots=True)
class Terms:
    """How a run measures: *windows* of *seconds* for each of *sizes*."""

    bench: Bench
    sizes: Sequence[int]
    windows: int
    seconds: float
    is_full: bool = False

    @property
    def urls(self) -> BrokerUrls:
        """Where the brokers are."""
        return self.bench.brokers


Study = Callable[[str, Terms], Iterator[Curve]]
"""Measures one middleware."""


def resident(pids: Pids) -> dict[str, float]:
    """Return the resident mebibytes of each component now."""
    with Meter(pids) as meter:
        pass
    return meter.usage.rss_mib


def turning(sizes: Sequence[int], windows: int) -> Iterator[int]:
    """Yield each of *sizes* once per window, in turning order, so that a drift favours none."""
    for number in range(windows):
        yield from list(sizes)[:: -1 if number % 2 else 1]
