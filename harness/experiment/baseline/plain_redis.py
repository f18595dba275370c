"""A plain filter over Redis: petitions pushed to a list, a node that takes one at a time, a list of replies.

It does not promise: that a text survives its node (BLPOP has taken it, and nobody else knows), effects
exactly once, or replies in order where there are two nodes. A command is a round trip.
"""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter
from uuid import uuid4

import redis

from harness.experiment.baseline import FILTERED, TEXT, censor

WAIT_SECONDS = 10


def serve(url: str, queue: str) -> None:
    """Filter the texts of *queue* until killed."""
    server = redis.Redis.from_url(url, decode_responses=True, socket_timeout=None)  # it waits for ever
    server.ping()
    print(json.dumps({"address": queue}), flush=True)
    while True:
        found = server.blpop([queue], 0)
        petition = json.loads(found[1])  # type: ignore[index]
        server.rpush(petition["reply_to"], censor(petition["data"]))


@contextmanager
def client(url: str, queue: str, depth: int) -> Iterator[Callable[[float], int]]:
    """Connect; yield what sends *depth* texts, waits for their replies, and begins again until a deadline."""
    replies = f"{queue}:replies:{uuid4().hex}"
    petition = json.dumps({"operation": "X1", "data": TEXT, "reply_to": replies})
    with redis.Redis.from_url(url, decode_responses=True) as server:

        def run(deadline: float) -> int:
            done = 0
            while perf_counter() < deadline:
                for _ in range(depth):
                    server.rpush(queue, petition)
                for _ in range(depth):
                    reply = server.blpop([replies], WAIT_SECONDS)
                    if not reply or reply[1] != FILTERED:
                        raise ValueError(f"not the filtered text: {reply}")
                done += depth
            return done

        yield run


if __name__ == "__main__":
    serve(*sys.argv[1:])
