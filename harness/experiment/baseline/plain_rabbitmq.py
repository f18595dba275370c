"""A plain filter over RabbitMQ: a work queue, a blocking consumer, a reply queue for each client.

It does not promise: that a text survives its node (it is acknowledged when it is delivered) or the broker
(messages are transient and not confirmed), or effects exactly once.
"""

import json
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from time import perf_counter
from typing import Any

import pika

from harness.experiment.baseline import FILTERED, TEXT, censor

WAIT_SECONDS = 10


def serve(url: str, queue: str) -> None:
    """Filter the texts of *queue* until killed."""
    channel = pika.BlockingConnection(pika.URLParameters(url)).channel()
    channel.queue_declare(queue, auto_delete=True)

    def work(channel: Any, method: Any, properties: Any, body: bytes) -> None:
        channel.basic_publish("", properties.reply_to, censor(body.decode()))

    channel.basic_consume(queue, work, auto_ack=True)
    print(json.dumps({"address": queue}), flush=True)
    channel.start_consuming()


@contextmanager
def client(url: str, queue: str, depth: int) -> Iterator[Callable[[float], int]]:
    """Connect; yield what sends *depth* texts, waits for their replies, and begins again until a deadline."""
    with pika.BlockingConnection(pika.URLParameters(url)) as connection:
        channel = connection.channel()
        replies = channel.queue_declare("", exclusive=True).method.queue
        properties = pika.BasicProperties(reply_to=replies)
        arrivals = channel.consume(replies, auto_ack=True, inactivity_timeout=WAIT_SECONDS)

        def run(deadline: float) -> int:
            done = 0
            while perf_counter() < deadline:
                for _ in range(depth):
                    channel.basic_publish("", queue, TEXT, properties)
                for _ in range(depth):
                    _, _, body = next(arrivals)
                    if body != FILTERED.encode():
                        raise ValueError(f"not the filtered text: {body!r}")
                done += depth
            return done

        yield run


if __name__ == "__main__":
    serve(*sys.argv[1:])
