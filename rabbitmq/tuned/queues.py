"""Declare the queues and the exchange of a namespace. Nodes and clients do it alike, in any order."""

from collections.abc import Callable, Mapping, Sequence

import pika
from pika.adapters.utils.connection_workflow import AMQPConnectorException
from pika.channel import Channel
from pika.exceptions import AMQPError

from lab.errors import Unavailable

from .wire import Names, dead_of, retry_of

QUEUE_TYPES = ("classic", "quorum")
DELIVERY_LIMIT = 20
"""Set explicitly for quorum queues: the default differs between RabbitMQ 3 and 4."""
MOST_DEAD = 10_000
MOST_DEAD_BYTES = 64 * 1024 * 1024

Arguments = Mapping[str, object]


def declare_queues(channel: Channel, names: Sequence[str], queue_type: str, then: Callable[[], None]) -> None:
    """Declare durable queues, then call *then*."""
    _declare(channel, dict.fromkeys(names, arguments_of(queue_type)), then)


def declare_retries(
    channel: Channel, queues: Sequence[str], queue_type: str, then: Callable[[], None]
) -> None:
    """Declare the retry queue and the dead letters of each of *queues*, then call *then*."""
    declared: dict[str, Arguments] = {}
    for queue in queues:
        declared[retry_of(queue)] = arguments_of(queue_type)
        most = {"x-max-length": MOST_DEAD, "x-max-length-bytes": MOST_DEAD_BYTES}
        declared[dead_of(queue)] = arguments_of("classic") | most
    _declare(channel, declared, then)


def arguments_of(queue_type: str) -> dict[str, object]:
    """Return the arguments of a durable queue. All that declare it must give the same ones."""
    if queue_type == "quorum":
        return {"x-queue-type": queue_type, "x-delivery-limit": DELIVERY_LIMIT}
    return {"x-queue-type": queue_type}


def declare_broadcast(channel: Channel, names: Names, then: Callable[[], None]) -> None:
    """Declare the exchange of the broadcast, then call *then*."""
    channel.exchange_declare(names.broadcast, "fanout", durable=True, callback=lambda _: then())


def delete_namespace(url: str, namespace: str) -> None:
    """Delete all queues and the exchange of *namespace*. Queues of subscribers expire by themselves."""
    names = Names(namespace)
    try:
        connection = pika.BlockingConnection(pika.URLParameters(url))
        channel = connection.channel()
        for queue in names.queues:
            channel.queue_delete(queue)
        channel.exchange_delete(names.broadcast)
        connection.close()
    except (AMQPError, AMQPConnectorException, OSError) as error:
        raise Unavailable(f"the queues of {namespace} could not be deleted: {error!r}") from error


def _declare(channel: Channel, queues: Mapping[str, Arguments], then: Callable[[], None]) -> None:
    """Declare *queues* without waiting for each: the broker answers only the last one."""
    last = len(queues)
    for number, (queue, arguments) in enumerate(queues.items(), 1):
        answered = (lambda _: then()) if number == last else None
        channel.queue_declare(queue, durable=True, arguments=dict(arguments), callback=answered)
    if not last:
        then()
