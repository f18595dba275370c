"""A node's place among the nodes of an application: its identifier, its own lists, its lease."""

import logging
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from urllib.parse import quote

import redis

from lab.background import BackgroundJob
from lab.brokers.locate import locate_redis
from lab.errors import Unavailable
from lab.store.lua import load
from lab.store.redis_store import connect, translated

from .wire import LEASE_SECONDS, Keys

log = logging.getLogger(__name__)

PULSE_SECONDS = 0.5
SCRIPTS = Path(__file__).parent
SILENT_SECONDS = 0.7
"""A node that is silent for so long, and has no connection to Redis, is dead; its lease is not waited for."""
SHORTEST_PAUSE_SECONDS = 0.005
TAKEN_OVER: tuple[float, list[str]] = (PULSE_SECONDS, [])
"""When a node that was taken over pulses again, and whom it finds silent. Its next batch is refused."""


class Membership:
    """An identity, used once: whoever was taken over goes on under a new one.

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
            # From now on each connection says whose it is; that of the counter would not.
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
        with suppress(Unavailable):  # clients cannot push either
            self._beat()

    def leave(self) -> None:
        """Give everything that is left to the others and be no member any more."""
        self._pulse.stop(1.0)
        if not self.identifier:
            return
        try:
            self._redis.eval(load("leave", SCRIPTS), 1, self._keys.entry, self.identifier)
        except redis.RedisError as error:
            log.warning("left without saying so, the lease will tell: %s", error)
        self._redis.close()

    def close(self) -> None:
        """Renew the lease no more, and let it end by itself."""
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
        """Renew the lease; return when one ends, and who is silent. None: no member, or the name is taken."""
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
        except redis.ResponseError:  # not allowed to ask: the lease will tell
            return []
        return [identifier for identifier in silent if self._connection_name(identifier) not in there]

    def _connection_name(self, identifier: str) -> str:
        return quote(self._keys.node(identifier), safe=":")
