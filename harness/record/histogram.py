"""A latency histogram of constant size and relative error, after HdrHistogram (Gil Tene, 2012).

The range is 1 us - 60 s and the error of any value read at most 0.1 %. A value of 2^e to 2^(e+1) ns is
counted in one of 512 equal cells, so that no value is further than 1/1024 of itself from the middle of its
cell. The 26 powers of two of the range make some 13,000 cells, 104 KiB, however many values are recorded.
"""

import base64
import binascii
import math
import zlib
from typing import Self, TypeAlias

import numpy as np
from numpy.typing import NDArray

from lab.errors import Code, InvalidRequest

LOWEST_NS = 1_000
HIGHEST_NS = 60_000_000_000
CONFIDENCE = 0.975
"""Of the upper bound that a percentile must have to be shown: the upper end of a two-sided 95 % interval."""

Nanoseconds: TypeAlias = NDArray[np.int64]

_DROPPED_BITS = 52 - 9
"""Of a double's 52 bits of mantissa 9 tell the 512 cells apart; below them stands what is rounded away."""
_BATCH = 65_536
"""Values recorded at once: bounds the memory, and fits into the cache."""


def _cells(values: Nanoseconds) -> Nanoseconds:
    """Return the numbers of the cells of *values*, which must be from 1 to 2^53.

    The bits of a double, exponent first, are a logarithm with a linear mantissa: its highest bits are the
    number of the cell already.
    """
    return values.astype(np.float64).view(np.int64) >> _DROPPED_BITS


_FIRST_CELL, _LAST_CELL = _cells(np.array([LOWEST_NS, HIGHEST_NS], np.int64)).tolist()
CELLS = _LAST_CELL - _FIRST_CELL + 1


def samples_needed(share: float) -> int:
    """Return how many samples a percentile needs to be shown: p99 368, p99.9 3,688, p50 and below 1.

    The upper confidence bound of a percentile is one of the ordered samples, the largest at most. All n
    samples lie below the true percentile with probability share^n. The largest is thus an upper bound with a
    confidence of 1 - share^n, and with fewer than n = ln(1 - 0.975) / ln(share) samples there is none of
    97.5 %. The median and what is below it are no tail: they describe the samples at hand, and one suffices.
    """
    if not 0 < share < 1:
        raise InvalidRequest(Code.MALFORMED, f"a percentile's share must be between 0 and 1, got {share}")
    return 1 if share <= 0.5 else math.ceil(math.log(1 - CONFIDENCE) / math.log(share))


class Histogram:
    """Counts of nanoseconds. A value below 1 us or above 60 s is counted apart, never moved into the range.

    Such a value is a fault of the clock or of the system under test: a run that has one is to be failed.
    """

    __slots__ = ("_counts", "above", "below")

    def __init__(self) -> None:
        self._counts: Nanoseconds = np.zeros(CELLS, np.int64)
        self.below = 0
        self.above = 0

    @property
    def count(self) -> int:
        """How many values were recorded, those out of range included."""
        return int(self._counts.sum()) + self.out_of_range

    @property
    def out_of_range(self) -> int:
        """How many of the values were below 1 us or above 60 s."""
        return self.below + self.above

    def record_many(self, nanoseconds: Nanoseconds) -> None:
        """Count every one of *nanoseconds*."""
        if nanoseconds.dtype != np.int64:
            raise TypeError(f"nanoseconds must be int64, not {nanoseconds.dtype}")
        for start in range(0, len(nanoseconds), _BATCH):
            self._record(nanoseconds[start : start + _BATCH])

    def merge(self, other: Self) -> None:
        """Count what *other* has counted, too."""
        self._counts += other._counts
        self.below += other.below
        self.above += other.above

    def percentile(self, share: float) -> float | None:
        """Return, in ms, the smallest value that at least *share* (0.99: p99) of all values do not exceed.

        None with too few samples (:func:`samples_needed`), and where that value is one out of range.
        """
        count = self.count
        if count < samples_needed(share):
            return None
        rank = math.ceil(round(share * count, 6)) - self.below  # 0.07 * 100 is 7.000000000000001
        cell = int(np.searchsorted(self._counts.cumsum(), rank))
        return _middle_ns(cell) / 1e6 if rank > 0 and cell < CELLS else None

    def to_json(self) -> dict[str, int | str]:
        """Return the histogram as something that JSON can hold: some 9 KB for a million latencies."""
        counts = zlib.compress(self._counts.astype("<i8").tobytes(), 9)
        return {"below": self.below, "above": self.above, "counts": base64.b64encode(counts).decode()}

    @classmethod
    def from_json(cls, content: object) -> Self:
        """Rebuild what :meth:`to_json` returned; InvalidRequest if *content* is something else."""
        match content:
            case {"below": int(below), "above": int(above), "counts": str(counts)} if min(below, above) >= 0:
                histogram = cls()
                histogram._counts = _unpacked(counts)
                histogram.below, histogram.above = below, above
                return histogram
        raise _not_a_histogram()

    def _record(self, batch: Nanoseconds) -> None:
        below, above = batch < LOWEST_NS, batch > HIGHEST_NS
        self.below += int(np.count_nonzero(below))
        self.above += int(np.count_nonzero(above))
        cells = _cells(batch[~(below | above)])
        self._counts += np.bincount(cells - _FIRST_CELL, minlength=CELLS)


def _middle_ns(cell: int) -> float:
    """Return the middle of the whole nanoseconds that are counted in *cell*."""
    first = _FIRST_CELL + cell
    low, end = (np.array([first, first + 1]) << _DROPPED_BITS).view(np.float64).tolist()
    return float(low + end - 1) / 2


def _unpacked(text: str) -> Nanoseconds:
    """Return the counts that *text* holds; it never takes more memory than a histogram's."""
    unpacker = zlib.decompressobj()
    try:
        packed = base64.b64decode(text, validate=True)
        counts = np.frombuffer(unpacker.decompress(packed, CELLS * 8 + 1), "<i8").astype(np.int64)
    except (binascii.Error, zlib.error, ValueError) as error:
        raise _not_a_histogram() from error
    if len(counts) != CELLS or not unpacker.eof or counts.min() < 0:
        raise _not_a_histogram()
    return counts


def _not_a_histogram() -> InvalidRequest:
    return InvalidRequest(Code.MALFORMED, "not a stored latency histogram; was its file cut or edited?")
