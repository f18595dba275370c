"""The state that stock nodes share: plain commands of redis-py, without leases, operation ids or scripts.

Leases, epochs and operation ids are accepted and ignored. A text that a node took is with that node only:
if the node is killed, the text is lost. A repeated request has its effect twice.
"""

import json
import time
from collections.abc import Iterable
from typing import cast

import redis

from lab.contract import Result, ResultPage
from lab.limits import MAX_RESULTS, RESULT_TTL_SECONDS, SUBSCRIPTION_LEASE_SECONDS
from lab.store.protocol import (
    Changes,
    DeadLetter,
    Hold,
    Store,
    UnderWay,
    WaitingText,
    result_page,
)
from lab.store.redis_store import as_lab_error


class SimpleStore(Store):
    """The state in the Redis at *url*, for any number of nodes; Unavailable if it does not serve."""

    def __init__(self, url: str, namespace: str) -> None:
        self._redis = redis.Redis.from_url(url, decode_responses=True)
        try:
            self._redis.ping()
        except redis.RedisError as error:
            raise as_lab_error(error) from error
        self._insults, self._ns = f"{namespace}:insults", f"{namespace}:stock"

    def add_insult(self, insult: str, operation_id: str = "") -> bool:
        self._redis.incr(f"{self._ns}:version")
        return bool(self._redis.zadd(self._insults, {insult: 0}))

    def add_insults(self, insults: Iterable[str]) -> int:
        return sum(self.add_insult(insult) for insult in insults)

    def remove_insult(self, insult: str, operation_id: str = "") -> bool:
        self._redis.incr(f"{self._ns}:version")
        return bool(self._redis.zrem(self._insults, insult))

    def get_insults(self, after: str, limit: int) -> list[str]:
        low = f"({after}" if after else "-"
        return cast(list[str], self._redis.zrangebylex(self._insults, low, "+", 0, limit))

    def random_insult(self) -> str | None:
        return cast("str | None", self._redis.zrandmember(self._insults))

    def count_insults(self) -> int:
        return int(self._redis.zcard(self._insults))

    def version(self) -> str:
        return str(self._redis.get(f"{self._ns}:version"))

    def changes(self, since: str) -> Changes:
        """Say only whether anything changed: then all insults are read again."""
        version = self.version()
        return Changes(version, [], complete=version == since)

    def add_subscriber(self, uri: str, lease_seconds: float) -> bool:
        return bool(self._redis.zadd(f"{self._ns}:subscribers", {uri: time.time() + lease_seconds}))

    def remove_subscriber(self, uri: str) -> bool:
        return bool(self._redis.zrem(f"{self._ns}:subscribers", uri))

    def subscribers(self) -> list[str]:
        now = time.time()  # a lease that ends much later was given before the clock was set back
        ends = now, now + 2 * SUBSCRIPTION_LEASE_SECONDS
        return cast(list[str], self._redis.zrangebyscore(f"{self._ns}:subscribers", *ends))

    def set_broadcast(self, on: bool, operation_id: str = "") -> bool:
        before = self._redis.set(f"{self._ns}:broadcast", int(on), get=True)
        return (before == "1") != on

    def broadcast_on(self) -> bool:
        return bool(self._redis.get(f"{self._ns}:broadcast") == "1")

    def hold_broadcast(self, owner: str, lease_seconds: float) -> Hold | None:
        return Hold(1, None)  # stock does not check that there is only one broadcaster

    def leave_broadcast(self, owner: str) -> None:
        pass

    def next_tick(self, epoch: int = 0) -> int:
        return int(self._redis.incr(f"{self._ns}:ticks"))

    def submit(self, petition_id: str, text: str) -> None:
        self._redis.rpush(f"{self._ns}:texts", json.dumps([petition_id, text]))

    def take(self, lease_seconds: float, owner: str = "") -> WaitingText | None:
        taken = cast("str | None", self._redis.lpop(f"{self._ns}:texts"))
        return WaitingText(*json.loads(taken)) if taken else None

    def take_for(
        self, operation_id: str, lease_seconds: float, owner: str = ""
    ) -> WaitingText | Result | UnderWay | None:
        return self.take(lease_seconds, owner)

    def renew(self, petition_id: str, epoch: int, lease_seconds: float) -> bool:
        return True

    def release(self, owner: str) -> int:
        return 0

    def complete(
        self, petition_id: str, text: str, operation_id: str = "", epoch: int = 0, body: str = ""
    ) -> bool:
        with self._redis.pipeline() as pipeline:
            pipeline.set(f"{self._ns}:result:{petition_id}", text, ex=RESULT_TTL_SECONDS)
            pipeline.lpush(f"{self._ns}:results", json.dumps([petition_id, text]))
            pipeline.ltrim(f"{self._ns}:results", 0, MAX_RESULTS - 1)
            pipeline.execute()
        return True

    def result(self, petition_id: str) -> str | None:
        return cast("str | None", self._redis.get(f"{self._ns}:result:{petition_id}"))

    def get_results(self, limit: int) -> ResultPage:
        newest = cast(list[str], self._redis.lrange(f"{self._ns}:results", 0, limit))
        return result_page((Result(*json.loads(entry)) for entry in newest), limit)

    def fenced(self) -> int:
        return 0

    def dead_letters(self, limit: int) -> list[DeadLetter]:
        return []

    def resolved(self, operation_id: str) -> Result | None:
        return None

    def waiting(self) -> int:
        return int(self._redis.llen(f"{self._ns}:texts"))

    def ping(self) -> None:
        self._redis.ping()

    def close(self) -> None:
        self._redis.close()
