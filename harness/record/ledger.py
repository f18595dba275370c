"""What became of every request of a window: counts in memory, times on disk.

Times are ``perf_counter_ns``, which all processes of a machine share. A right answer leaves three of them in
a raw file: when it was planned, when it was sent, when it was done. Memory does not grow with the requests.
Without numpy: each load generator would take longer to start.
"""

import threading
from array import array
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from pathlib import Path

from lab.errors import Unavailable

RECORDS_KEPT = 8_192
"""In memory, of one client, until they are written."""
CLOCKS = 3
"""planned, sent, done"""


class CannotKeep(Unavailable):
    """What is measured cannot be written: the disk is full, or the folder is gone, read-only or another's."""


@contextmanager
def keeping(place: Path) -> Iterator[None]:
    """Turn what prevents writing to *place* into one CannotKeep that names it and the cause."""
    try:
        yield
    except OSError as error:
        raise CannotKeep(f"{place}: cannot be written: {error.strerror or error}") from error


@dataclass(slots=True)
class Tally:
    """The ledger of a window: every request that was made is in exactly one place.

    made = done + wrong + failed + lost. *duplicates* are answers to requests that had been answered.
    """

    made: int = 0
    done: int = 0
    wrong: int = 0
    failed: Counter[str] = field(default_factory=Counter)
    duplicates: int = 0
    cpu_seconds: float = 0.0
    """What the load generator spent."""

    @property
    def lost(self) -> int:
        """Requests without any answer."""
        return self.made - self.done - self.wrong - self.failed.total()

    def add(self, other: "Tally") -> None:
        """Add the ledger of another client."""
        self.made += other.made
        self.done += other.done
        self.wrong += other.wrong
        self.failed.update(other.failed)
        self.duplicates += other.duplicates
        self.cpu_seconds += other.cpu_seconds


class RawFile:
    """Three 64-bit integers per right answer, in the order of the answers; for the clients of one process."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.Lock()
        self._folder = path.parent
        with keeping(self._folder):
            self._file = path.open("wb")

    def write(self, times: "array[int]") -> None:
        """Append *times*; CannotKeep if they cannot be written."""
        with self._lock, keeping(self._folder):
            times.tofile(self._file)
            self._file.flush()

    def close(self) -> None:
        """Close the file. What :meth:`write` could not write is given up."""
        with suppress(OSError):
            self._file.close()


class Recorder:
    """Takes the notes of one client."""

    def __init__(self, raw: RawFile) -> None:
        self.tally = Tally()
        self._raw = raw
        self._times: array[int] = array("q")

    def answered(self, planned_ns: int, sent_ns: int, done_ns: int, is_right: bool) -> None:
        """Note an answer."""
        if not is_right:
            self.tally.wrong += 1
            return
        self.tally.done += 1
        self._times.extend((planned_ns, sent_ns, done_ns))
        if len(self._times) >= CLOCKS * RECORDS_KEPT:
            self.flush()

    def flush(self) -> None:
        """Write what is in memory."""
        self._raw.write(self._times)
        del self._times[:]
