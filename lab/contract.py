"""What a client sees, the same in all four middlewares. The docstrings here carry the meaning; they are
not repeated by the implementations.

Every client is a context manager and takes a deadline (above 0 s, at most a day; default 5 s) for each call.
Every argument is checked before anything is sent. Any call may raise
:class:`~lab.errors.InvalidRequest` (repeating it will not help), :class:`~lab.errors.Unavailable`,
:class:`~lab.errors.Overloaded`, :class:`~lab.errors.DeadlineExceeded` (it may or may not have had its
effect) or :class:`~lab.errors.InternalError`.

A client may be shared by threads, or it refuses the second thread at once. After ``fork`` the new process
opens connections of its own, or the client refuses; a subscription refuses there. After an exception that
leaves a reply unread, an interrupt too, the connection is closed. In no case does a call return the answer
to another call.
"""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import StrEnum
from types import TracebackType
from typing import NamedTuple, Protocol, Self


class Application(StrEnum):
    """What a node serves."""

    SERVICE = "service"
    FILTER = "filter"


class Architecture(StrEnum):
    """How the nodes of a system are arranged."""

    ONE_NODE = "one-node"
    N_NODE = "n-node"


@dataclass(frozen=True, slots=True)
class Target:
    """Where a client or a node finds its system.

    *address* is a node's or master's URL (XML-RPC), the name server's ``host:port`` (Pyro4) or the
    broker's URL (Redis, RabbitMQ).
    """

    address: str
    architecture: Architecture = Architecture.ONE_NODE
    namespace: str = "insults"


class Tick(NamedTuple):
    """One broadcast insult; *missed* are the numbers of the ticks before it that did not arrive here."""

    number: int
    insult: str
    missed: tuple[int, ...] = ()


class Result(NamedTuple):
    """A filtered text of the result list and the id that ``submit`` gave for it."""

    petition_id: str
    text: str


class ResultPage(list[Result]):
    """Results, newest first; *more* says that the page was cut (by its limit or at 512 KiB)."""

    more: bool = False


class Subscription(Protocol):
    """Iterates over broadcast ticks until closed; renews itself every 3 s while open."""

    def __iter__(self) -> Iterator[Tick]: ...

    def receive(self, timeout: float) -> Tick | None:
        """Return the next tick, or None if none came within *timeout* seconds (0 to a day)."""

    def close(self) -> None:
        """Leave; nothing more is received. A second call does nothing."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class Client(Protocol):
    """What the clients of both applications have in common."""

    def close(self) -> None:
        """Free connections. A second call does nothing."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...


class InsultService(Client, Protocol):
    """Store insults, hand out a random one, broadcast one every 5 s to the subscribers."""

    def add_insult(self, insult: str) -> bool:
        """Store *insult* (NFC-normalised, stripped, 1-200 characters). True if it was new."""

    def remove_insult(self, insult: str) -> bool:
        """Forget *insult*. True if it was there."""

    def get_insults(self, after: str = "", limit: int = 1000) -> list[str]:
        """Return the stored insults behind *after*, sorted by code point, at most *limit* (1-1,000).

        A page stops at 512 KiB. Read on with ``after=page[-1]`` until a page is empty.
        """

    def insult_me(self) -> str:
        """Return a random insult, each with the same probability; raise NoInsults if there is none."""

    def subscribe(self) -> Subscription:
        """Receive what is broadcast from the next tick on."""

    def start_broadcast(self) -> bool:
        """Let the broadcast run. True if it was off."""

    def stop_broadcast(self) -> bool:
        """Stop the broadcast. True if it was on."""


class InsultFilter(Client, Protocol):
    """A work queue that replaces insults in texts by CENSORED."""

    def filter(self, text: str) -> str:
        """Return *text* (at most 64 KiB) with every insult replaced; nothing is kept."""

    def filter_many(self, texts: Iterable[str], in_flight: int = 100) -> Iterator[str]:
        """Yield the filtered *texts* in their order, keeping up to *in_flight* (1-1,000) under way.

        Indirect middlewares pipeline them. Direct ones keep that many calls under way, each on a connection
        of its own; their clients have ``filter_batch(texts)`` as well, which sends many in one request.
        """

    def submit(self, text: str) -> str:
        """Accept *text* for background work and return its id. It is not lost from then on, as far as
        the architecture keeps its state (one node with its state in memory loses it when killed)."""

    def result(self, petition_id: str, timeout: float) -> str:
        """Return the result of a submitted text; wait up to *timeout* seconds (0 to
        a day), then raise DeadlineExceeded.

        Results are kept an hour and at most 100,000 of them.
        """

    def get_results(self, limit: int = 1000) -> ResultPage:
        """Return the newest results first, at most *limit* (1-1,000) and 512 KiB."""

    def resolve(self) -> str | None:
        """Filter the oldest waiting text now, put it on the result list and return it; None if none waits."""


class Closing:
    """Closes itself at the end of a ``with`` block: a client, or another thing that holds connections."""

    def close(self) -> None:
        """Free what is held. A second call does nothing."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *error: object) -> None:
        self.close()
