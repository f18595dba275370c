"""The client's side: push petitions, wait for replies."""

import time
from collections.abc import Sequence
from uuid import uuid4

import redis

from lab.contract import Application, Architecture, Target
from lab.errors import DeadlineExceeded
from lab.store.redis_store import connect as connect
from lab.store.redis_store import translated

from ._scripts import PUSH
from ._wire import Keys, read_reply

REPLY_TTL_SECONDS = 600
REPLIES_AT_ONCE = 100


class Replies:
    """Sends petitions to *target* and receives replies on a list of its own. For one thread."""

    def __init__(self, target: Target, application: Application) -> None:
        self.keys = Keys(target.namespace, application)
        self.reply_to = f"{self.keys.replies}{uuid4().hex}"
        self._is_n_node = target.architecture is Architecture.N_NODE
        self._redis = connect(target.address)
        self._push = self._redis.register_script(PUSH)
        self._arrived: dict[str, object] = {}

    @property
    def redis(self) -> "redis.Redis":
        """The connection, for subscribing."""
        return self._redis

    @translated
    def push(self, petitions: Sequence[str]) -> None:
        """Push *petitions*: to the live nodes in turn, or to the one list."""
        if not petitions:
            return
        if self._is_n_node:
            self._push(keys=[self.keys.entry, self.keys.nodes, self.keys.turn], args=list(petitions))
        else:
            self._redis.rpush(self.keys.entry, *petitions)

    def reply(self, operation_id: str, deadline: float) -> object:
        """Return the answer to *operation_id*, or raise the LabError it is, or DeadlineExceeded."""
        while operation_id not in self._arrived:
            self._receive(deadline, operation_id)
        answer = self._arrived.pop(operation_id)
        if isinstance(answer, Exception):
            raise answer
        return answer

    def forget(self) -> None:
        """Forget replies that came too late for anybody."""
        self._arrived.clear()

    @translated
    def close(self) -> None:
        """Delete the reply list and free the connection."""
        self._redis.delete(self.reply_to)
        self._redis.close()

    @translated
    def _receive(self, deadline: float, operation_id: str) -> None:
        left = deadline - time.monotonic()
        if left <= 0:
            raise DeadlineExceeded(f"no reply to {operation_id} in time; is a node running?")
        # First what is there, all at once; then wait for one.
        raws = self._redis.lpop(self.reply_to, REPLIES_AT_ONCE)
        if not raws:
            waited = self._redis.blpop([self.reply_to], timeout=min(left, 1.0))
            raws = [waited[1]] if waited else []
        for raw in raws:
            identifier, answer = read_reply(str(raw))
            self._arrived[identifier] = answer
