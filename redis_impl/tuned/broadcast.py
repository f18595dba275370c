"""Broadcast by PUBLISH, with the last ticks on a stream for subscribers whose connection broke."""

import json
import logging
import threading
import time
from typing import cast

import redis
from redis.client import PubSub

from lab.client.calls import Inbox
from lab.contract import Application, Target, Tick
from lab.limits import SUBSCRIPTION_RENEWAL_SECONDS
from lab.store.redis_store import connect, translated

from .wire import Keys

log = logging.getLogger(__name__)

KEPT_TICKS = 100
LISTEN_SECONDS = 0.2
BACK_OFF_SECONDS = 0.25

Ticks = list[tuple[str, dict[str, str]]]


class Announcer:
    """Publishes ticks."""

    def __init__(self, url: str, namespace: str) -> None:
        self._redis = connect(url)
        self._keys = Keys(namespace, Application.SERVICE)

    @translated
    def announce(self, tick: Tick) -> None:
        """Send *tick* to all that listen now, and keep it for those that come back: both or neither."""
        message = json.dumps({"number": tick.number, "insult": tick.insult}, ensure_ascii=False)
        with self._redis.pipeline(transaction=True) as pipe:
            pipe.xadd(self._keys.recent, {"tick": message}, maxlen=KEPT_TICKS)
            pipe.publish(self._keys.channel, message)
            pipe.execute()

    def close(self) -> None:
        """Free the connection."""
        self._redis.close()


def receive_ticks(target: Target) -> Inbox:
    """Subscribe to the channel; return once Redis confirmed it."""
    listener = _Listener(target)
    listener.subscribe()
    listener.inbox = Inbox(listener.stop)
    listener.start()
    return listener.inbox


class _Listener(threading.Thread):
    """Feeds an inbox from the channel, and from the stream of ticks after it was away, and every 3 s."""

    def __init__(self, target: Target) -> None:
        super().__init__(name="subscriber", daemon=True)
        self._keys = Keys(target.namespace, Application.SERVICE)
        self._redis = connect(target.address)
        self._pubsub = self._new_pubsub()
        self._stopping = False
        self._is_behind = False
        self._seen = "0-0"
        """The id of the last tick of the stream that is known here."""
        self._look_at = time.monotonic() + SUBSCRIPTION_RENEWAL_SECONDS
        self.inbox: Inbox | None = None

    @translated
    def subscribe(self) -> None:
        self._pubsub.subscribe(self._keys.channel)
        self._pubsub.get_message(timeout=5.0)  # the confirmation: what is published from now on arrives
        newest = cast(list[tuple[str, object]], self._redis.xrevrange(self._keys.recent, count=1))
        self._seen = newest[0][0] if newest else self._seen

    def run(self) -> None:
        while not self._stopping:
            try:
                self._listen()
            except (redis.RedisError, OSError) as error:
                if not self._is_behind:
                    log.warning("subscription interrupted, trying again: %s", error)
                self._is_behind = True
                self._pubsub.close()
                self._pubsub = self._new_pubsub()
                time.sleep(BACK_OFF_SECONDS)
        self._pubsub.close()
        self._redis.close()

    def stop(self) -> None:
        self._stopping = True
        self.join(2.0)

    def _listen(self) -> None:
        if self._is_behind:
            self._pubsub.subscribe(self._keys.channel)
        if self._is_behind or time.monotonic() >= self._look_at:
            self._catch_up()
        message = self._pubsub.get_message(ignore_subscribe_messages=True, timeout=LISTEN_SECONDS)
        if message:
            self._deliver(str(message["data"]))

    def _catch_up(self) -> None:
        after = f"({self._seen}"
        for seen, fields in cast(Ticks, self._redis.xrange(self._keys.recent, after)):
            self._deliver(fields["tick"])
            self._seen = seen
        self._is_behind = False
        self._look_at = time.monotonic() + SUBSCRIPTION_RENEWAL_SECONDS

    def _deliver(self, message: str) -> None:
        tick = json.loads(message)
        if self.inbox:
            self.inbox.deliver(int(tick["number"]), str(tick["insult"]))

    def _new_pubsub(self) -> "PubSub":
        return self._redis.pubsub()  # type: ignore[no-untyped-call,no-any-return]
