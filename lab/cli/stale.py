"""Throw-away namespaces that nobody uses any more, in Redis and in RabbitMQ."""

from contextlib import suppress

import psutil
import redis

from lab.brokers import redis_server
from lab.brokers.rabbitmq_queues import queue_names
from lab.store.namespace import is_throwaway

_KEYS_AT_ONCE = 1000


def idle_namespaces(url: str, idle_seconds: float) -> list[str]:
    """Return the throw-away namespaces in the Redis at *url* of which no key was used for *idle_seconds*.

    None where no Redis answers.
    """
    if not url or not redis_server.answers(url):
        return []
    idle: dict[str, float] = {}
    idle_numbers: dict[str, float] = {}
    with redis.Redis.from_url(url, decode_responses=True) as client:
        for key in client.scan_iter(match="lab-????????:*", count=_KEYS_AT_ONCE):
            name = key.partition(":")[0]
            with suppress(redis.ResponseError):  # gone since; or a policy that keeps no time of use
                # Redis keeps small numbers once, for all keys: their time of use may be another key's.
                known = idle_numbers if client.object("encoding", key) == "int" else idle
                seconds = client.object("idletime", key)
                if is_throwaway(name) and seconds is not None:
                    known[name] = min(known.get(name, seconds), seconds)
    return sorted(name for name, seconds in (idle_numbers | idle).items() if seconds >= idle_seconds)


def idle_queue_namespaces(url: str) -> list[str]:
    """Return the throw-away namespaces with queues in the RabbitMQ at *url* that nobody can be using.

    RabbitMQ does not tell when a queue was last used: so those from which nobody consumes and which no
    process names in its command. None where it cannot be asked.
    """
    queues = queue_names(url) if url else None
    if not queues:
        return []
    names = {name.partition(".")[0] for name in queues}
    busy = {name.partition(".")[0] for name, consumers in queues.items() if consumers}
    idle = {name for name in names - busy if is_throwaway(name)}
    return sorted(idle - _named_by_processes()) if idle else []


def _named_by_processes() -> set[str]:
    words: set[str] = set()
    for process in psutil.process_iter():
        with suppress(psutil.Error):  # it ended, or is somebody else's
            words.update(process.cmdline())
    return words
