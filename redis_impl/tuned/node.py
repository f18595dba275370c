"""A node's life among the nodes of an application: its identifier, its lease, its place at the entry list."""

import logging
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import redis

from lab.background import BackgroundJob
from lab.brokers import locate_redis
from lab.errors import Unavailable
from lab.store.redis_store import connect, load, translated

from .wire import LEASE_SECONDS, Keys

log = logging.getLogger(__name__)

PULSE_SECONDS = 0.5
SCRIPTS = Path(__file__).parent
SILENT_SECONDS = 0.7
"""A node that is silent for longer, and has no connection to Redis, is dead, although its lease runs."""
SHORTEST_PAUSE_SECONDS = 0.005
ENTRY_WAIT_SECONDS = 0.25
SILENCE_SECONDS = 1.0
"""How much longer a wait may last than asked. Redis waits by the wall clock, which may be set back."""
TAKEN_OVER: tuple[float, list[str]] = (PULSE_SECONDS, [])
"""What a pulse returns to a node that was taken over: when to pulse again, and no silent nodes."""


class Membership:
    """An identity, used once. A node that was taken over goes on under a new one.

    A pulse in the background renews the lease as long as *is_serving*, and takes over from the dead.
    """

    def __init__(self, keys: Keys, is_serving: Callable[[], bool]) -> None:
        self._keys = keys
        self._is_serving = is_serving
        self._redis = connect(locate_redis())
        self._register = self._redis.register_script(load("pulse", SCRIPTS))
        self._is_sent_petitions = False
        self._pulse = BackgroundJob("pulse", self._step)
        self.identifier = ""

    @property
    def own(self) -> str:
        """The node's own list."""
        return self._keys.node(self.identifier)

    @translated
    def enter(self, *, is_open: bool = False) -> None:
        """Take an identifier and become a member: what is taken from now on is not lost."""
        self._is_sent_petitions = is_open
        is_taken = True
        while is_taken:  # the counter was deleted by hand, and began anew
            self.identifier = str(self._redis.incr(self._keys.identifiers))
            # From now on each connection has the node's name; the one that asked the counter has not.
            self._redis.connection_pool.connection_kwargs["client_name"] = self._connection_name(
                self.identifier
            )
            self._redis.connection_pool.disconnect()
            is_taken = self._renewed(True, []) is None
        self._pulse.start()

    def open(self) -> None:
        """Let clients push to the node's own list."""
        self._is_sent_petitions = True
        self._beat()

    def shut(self) -> None:
        """Be sent nothing more, but stay a member."""
        self._is_sent_petitions = False
        with suppress(Unavailable):  # while Redis is away, clients cannot push either
            self._beat()

    def leave(self) -> None:
        """Give all that is left to the others, and leave."""
        self._pulse.stop(1.0)
        if not self.identifier:
            return
        try:
            self._redis.eval(load("leave", SCRIPTS), 1, self._keys.entry, self.identifier)
        except redis.RedisError as error:
            log.warning("could not leave; the others will see when the lease ends: %s", error)
        self._redis.close()

    def close(self) -> None:
        """Stop renewing the lease, so that it ends by itself."""
        self._pulse.stop(1.0)
        self._redis.close()

    def _step(self) -> float:
        return self._beat() if self._is_serving() else PULSE_SECONDS

    @translated
    def _beat(self) -> float:
        """Renew the lease; return when to do so again, in seconds."""
        pause_seconds, silent = self._renewed(False, []) or TAKEN_OVER
        gone = self._without_connection(silent) if silent else []
        if gone:
            pause_seconds, _ = self._renewed(False, gone) or TAKEN_OVER
        return min(PULSE_SECONDS, max(SHORTEST_PAUSE_SECONDS, pause_seconds + SHORTEST_PAUSE_SECONDS))

    def _renewed(self, is_new: bool, gone: list[str]) -> tuple[float, list[str]] | None:
        """Renew the lease; return when one ends, and the silent nodes. None: no member any more."""
        flags = (int(self._is_sent_petitions), int(is_new))
        moved, pause_seconds, *silent = self._register(
            keys=[self._keys.entry], args=[self.identifier, LEASE_SECONDS, *flags, SILENT_SECONDS, *gone]
        )
        if moved < 0:
            return None
        if moved:
            log.info("took over %d petition(s) of dead nodes", moved)
        return float(pause_seconds), silent

    def _without_connection(self, silent: list[str]) -> list[str]:
        """Return those of the *silent* nodes whose process is gone: the kernel closes its connections."""
        try:
            there = {str(client.get("name", "")) for client in self._redis.client_list()}
        except redis.ResponseError:  # not allowed to ask: the lease will end
            return []
        return [identifier for identifier in silent if self._connection_name(identifier) not in there]

    def _connection_name(self, identifier: str) -> str:
        return quote(self._keys.node(identifier), safe=":")


class EntryWaiter(threading.Thread):
    """Waits on the entry list while the node is idle, and moves what comes to the node's *own* list.

    The node itself waits on that list, and no command of Redis waits on two and loses nothing. So a petition
    on the entry list is served as soon as one on the node's own. What comes while a node is occupied with a
    text is given back at once: another node may be idle.
    """

    def __init__(self, keys: Keys, own: str, is_idle: threading.Event, *, is_occupying: bool) -> None:
        super().__init__(name="entry list", daemon=True)
        self._entry = keys.entry
        self._own = own
        self._is_idle = is_idle
        self._is_occupying = is_occupying
        self._stopping = False
        self._redis = connect_leniently(ENTRY_WAIT_SECONDS + SILENCE_SECONDS)

    def run(self) -> None:
        while not self._stopping:
            try:
                if self._is_idle.wait(ENTRY_WAIT_SECONDS) and not self._stopping:
                    self._wait()
            except redis.RedisError:  # what was moved is on the node's list; the node says that Redis is away
                time.sleep(ENTRY_WAIT_SECONDS)
        self._redis.close()

    def stop(self) -> bool:
        """Stop waiting; return whether it is certain that nothing is moved any more."""
        self._stopping = True
        self.join(ENTRY_WAIT_SECONDS + 2 * SILENCE_SECONDS)
        return not self.is_alive()

    def _wait(self) -> None:
        moved = self._redis.blmove(self._entry, self._own, ENTRY_WAIT_SECONDS, "LEFT", "RIGHT")  # type: ignore[arg-type]
        if moved is not None and self._is_occupying and not self._is_idle.is_set():
            # Nothing is there if this node took it just now. Any petition may go: all are served from there.
            self._redis.lmove(self._own, self._entry, "RIGHT", "LEFT")


def connect_leniently(timeout_seconds: float = 5.0) -> "redis.Redis":
    """Connect so that bytes that are not UTF-8 come as lone surrogates, to be refused like any bad petition.

    Decoded strictly, one such petition would break every read of the list, at every node, for ever.
    """
    client = connect(locate_redis(), timeout_seconds)
    client.connection_pool.connection_kwargs["encoding_errors"] = "surrogateescape"
    return client
