"""Declare what a namespace needs: nodes and clients do, with the same arguments, whoever comes first."""

from collections.abc import Callable, Sequence

import pika
from pika.channel import Channel
from pika.exceptions import AMQPError

from lab.errors import Unavailable

from ._wire import Names

QUEUE_TYPES = ("classic", "quorum")
DELIVERY_LIMIT = 20
"""Set explicitly for quorum queues: the default differs between RabbitMQ 3 and 4."""


def declare_queues(channel: Channel, names: Sequence[str], queue_type: str, then: Callable[[], None]) -> None:
    """Declare durable queues one after the other, then call *then*."""
    if not names:
        then()
        return
    channel.queue_declare(
        names[0],
        durable=True,
        arguments=arguments_of(queue_type),
        callback=lambda _: declare_queues(channel, names[1:], queue_type, then),
    )


def arguments_of(queue_type: str) -> dict[str, object]:
    """Return the arguments of a durable queue: whoever declares it gives the same ones."""
    if queue_type == "quorum":
        return {"x-queue-type": queue_type, "x-delivery-limit": DELIVERY_LIMIT}
    return {"x-queue-type": queue_type}


def declare_broadcast(channel: Channel, names: Names, then: Callable[[], None]) -> None:
    """Declare the exchange of the broadcast, then call *then*."""
    channel.exchange_declare(names.broadcast, "fanout", durable=True, callback=lambda _: then())


def delete_namespace(url: str, namespace: str) -> None:
    """Delete every queue and the exchange of *namespace*."""
    names = Names(namespace)
    try:
        connection = pika.BlockingConnection(pika.URLParameters(url))
        channel = connection.channel()
        for queue in names.queues:
            channel.queue_delete(queue)
        channel.exchange_delete(names.broadcast)
        connection.close()
    except (AMQPError, OSError) as error:
        raise Unavailable(f"the queues of {namespace} could not be deleted: {error!r}") from error
