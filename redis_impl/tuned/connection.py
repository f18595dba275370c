"""The client's side: push petitions, wait for replies, go on when Redis was away."""

import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TypeVar
from uuid import uuid4

import redis

from lab.client.connection import after_fork
from lab.client.retry import Backoff
from lab.contract import Application, Architecture, Target
from lab.errors import DeadlineExceeded, Unavailable
from lab.store.redis_store import as_lab_error, connect, is_refusing_all, load

from .wire import LEASE_SECONDS, Keys, read_reply

REPLIES_AT_ONCE = 500
UNTIL_REDIS_SERVES = Backoff(0.02, 0.5)

T = TypeVar("T")


class Replies:
    """Sends petitions to *target* and receives replies on a list of its own. For one thread of one process.
    While Redis is away it tries again until the deadline. Then it cannot know which petitions arrived, and
    which replies were lost. So it sends each petition without a reply again, under its id.
    """

    def __init__(self, target: Target, application: Application, deadline_seconds: float) -> None:
        self.keys = Keys(target.namespace, application)
        self.reply_to = ""
        self._is_n_node = target.architecture is Architecture.N_NODE
        # A Redis that stands still is noticed in a fraction of the deadline: no call passes it by more.
        self._timeout_seconds = max(0.25, min(2.0, deadline_seconds / 4))
        self._redis = connect(target.address, self._timeout_seconds)
        # All that is on the list is read; what is no reply to us is dropped.
        self._redis.connection_pool.connection_kwargs["encoding_errors"] = "surrogateescape"
        self._push = self._redis.register_script(load("push", Path(__file__).parent))
        self._under_way: dict[str, str] = {}
        self._arrived: dict[str, object] = {}
        self._is_behind = False
        self.forked()
        after_fork(self)

    def forked(self) -> None:
        """Use a reply list of this process only; redis-py opens its own connections after a fork."""
        self.reply_to = f"{self.keys.replies}{uuid4().hex}"
        self.forget()

    def push(self, petitions: Mapping[str, str], deadline: float, *, are_answered: bool = True) -> None:
        """Push petitions, by id: to the live nodes in turn, or to the one list.

        Raise Unavailable if they cannot have got there by the *deadline*, DeadlineExceeded if they may have.
        """
        if not petitions:
            return
        if are_answered:
            self._under_way.update(petitions)
        self._persist(partial(self._push_now, list(petitions.values())), deadline, was_sent=False)

    def reply(self, operation_id: str, deadline: float) -> object:
        """Return the answer to *operation_id*, or raise the LabError it is, or DeadlineExceeded."""
        while operation_id not in self._arrived:
            if time.monotonic() >= deadline:
                raise DeadlineExceeded(f"no reply to {operation_id} in time; is a node running?")
            self._persist(partial(self._receive, deadline), deadline, was_sent=True)
        answer = self._arrived.pop(operation_id)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def forget(self) -> None:
        """Forget requests whose callers no longer wait."""
        self._under_way.clear()
        self._arrived.clear()
        self._is_behind = False

    def close(self) -> None:
        """Delete the reply list and free the connection."""
        try:
            self._redis.delete(self.reply_to)
        except redis.RedisError as error:
            raise as_lab_error(error) from error
        finally:
            self._redis.close()

    def _push_now(self, petitions: Sequence[str]) -> None:
        if self._is_n_node:
            keys = [self.keys.entry, self.keys.nodes, self.keys.turn]
            self._push(keys=keys, args=[LEASE_SECONDS, *petitions])
        else:
            self._redis.rpush(self.keys.entry, *petitions)

    def _receive(self, deadline: float) -> None:
        if self._is_behind and self._under_way:
            self._push_now(list(self._under_way.values()))
        self._is_behind = False
        # First what is there, all at once; then wait for one.
        raws = self._redis.lpop(self.reply_to, REPLIES_AT_ONCE)
        if not raws:
            left = max(0.01, deadline - time.monotonic())
            waited = self._redis.blpop([self.reply_to], timeout=min(left, self._timeout_seconds / 2))
            raws = [waited[1]] if waited else []
        for raw in raws:
            identifier, answer = read_reply(str(raw))
            if self._under_way.pop(identifier, None) is not None:  # not an earlier one
                self._arrived[identifier] = answer

    def _persist(self, attempt: Callable[[], T], deadline: float, *, was_sent: bool) -> T:
        """Return what *attempt* returns; while Redis does not serve, try again until the *deadline*.

        Raise at once what will not pass by itself: Redis is full, read-only, or does not let us in. But if it
        *was_sent* before, it may have had its effect, and only the deadline ends it.
        """
        failures = 0
        while True:
            try:
                return attempt()
            except redis.AuthenticationError as error:
                raise as_lab_error(error) from error
            except redis.RedisError as error:
                self._is_behind = True
                was_sent = was_sent or not _is_surely_refused(error)
                if not was_sent and is_refusing_all(error) and not isinstance(error, redis.BusyLoadingError):
                    raise as_lab_error(error) from error
                failures += 1
                pause_seconds = UNTIL_REDIS_SERVES.pause(failures)
                if time.monotonic() + pause_seconds >= deadline:
                    message = f"Redis does not serve: {error}; is it running?"
                    raise (DeadlineExceeded if was_sent else Unavailable)(message) from error
            except BaseException:  # an interrupt: an answer may come later, unread
                self._redis.connection_pool.disconnect()
                raise
            time.sleep(pause_seconds)


def _is_surely_refused(error: redis.RedisError) -> bool:
    """Tell whether what failed cannot have been done: nothing listened, or Redis refused."""
    return is_refusing_all(error) or isinstance(error.__context__, ConnectionRefusedError)
