"""What happened to every request of a window."""

from array import array
from collections import Counter
from dataclasses import dataclass, field


@dataclass(frozen=True, slots=True)
class Window:
    """How long each client sends: *requests* of them, or *seconds*."""

    requests: int = 0
    seconds: float = 0.0


def _nanoseconds() -> "array[int]":
    return array("q")


@dataclass(slots=True)
class Samples:
    """Times are ``perf_counter_ns``, comparable between the processes of one machine.

    Every request that was made is counted in exactly one place: it has its two times (answered, and rightly
    so), or it is one of *wrong*, or one of *failed*, by error code.
    """

    sent: "array[int]" = field(default_factory=_nanoseconds)
    done: "array[int]" = field(default_factory=_nanoseconds)
    wrong: int = 0
    failed: Counter[str] = field(default_factory=Counter)

    @property
    def made(self) -> int:
        """How many requests were made."""
        return len(self.done) + self.wrong + self.failed.total()

    def note(self, sent_ns: int, done_ns: int, is_right: bool) -> None:
        """Add an answered request."""
        if is_right:
            self.sent.append(sent_ns)
            self.done.append(done_ns)
        else:
            self.wrong += 1

    def add(self, other: "Samples") -> None:
        """Add the samples of another client."""
        self.sent.extend(other.sent)
        self.done.extend(other.done)
        self.wrong += other.wrong
        self.failed.update(other.failed)
