"""Queues by name and as they are declared, codes of operations, and requests and replies as AMQP messages."""

import json
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from typing import NamedTuple

import pika
from pika import DeliveryMode
from pika.adapters.utils.connection_workflow import AMQPConnectorException
from pika.channel import Channel
from pika.exceptions import AMQPError
from pika.spec import BasicProperties

from lab.errors import Code, InternalError, InvalidRequest, LabError, Unavailable, error_from
from lab.limits import MAX_REQUEST_BYTES
from lab.operations import Operation, to_plain
from lab.validation import clean_operation_id

SERVICE_CODES: Mapping[str, Operation] = {
    "X1": Operation.INSULT_ME,
    "X2": Operation.START_BROADCAST,
    "X3": Operation.STOP_BROADCAST,
    "X4": Operation.GET_INSULTS,
    "X5": Operation.REMOVE_INSULT,
}
CONTROL_CODES: Mapping[str, Operation] = {"X2": Operation.RESOLVE, "X3": Operation.GET_RESULTS}
JSON = "application/json"
TEXT = "text/plain"
ERROR = "error"
"""The ``type`` of a reply that is an error; its body is ``{"code": ..., "message": ...}``."""
PERSISTENT = 2
UNREADABLE = "lab-unreadable"
"""A header that stands for headers that cannot be read."""
DIRECT_REPLY_TO = "amq.rabbitmq.reply-to"
"""A pseudo-queue, cheaper to the broker than a real one: https://www.rabbitmq.com/docs/direct-reply-to."""
PLAIN_ENCODINGS = ("", "utf-8", "utf8", "identity")
"""Values of ``content_encoding`` that stand for plain UTF-8."""


class Names:
    """The queues and the exchange of a namespace."""

    def __init__(self, namespace: str, work: str = "filter") -> None:
        self.service = f"{namespace}.service"
        self.work = f"{namespace}.{work}"
        self.control = f"{namespace}.filter.control"
        self.broadcaster = f"{namespace}.broadcaster"
        self.broadcast = f"{namespace}.broadcast"
        self.subscriber = f"{namespace}.subscriber"

    @property
    def requests(self) -> tuple[str, ...]:
        """The queues that clients and nodes publish requests to."""
        return self.service, self.work, self.control, self.broadcaster

    @property
    def retried(self) -> tuple[str, ...]:
        """Those of them that have a retry queue and dead letters."""
        return self.service, self.work

    @property
    def queues(self) -> tuple[str, ...]:
        """All durable queues, but those of subscribers."""
        return *self.requests, *map(retry_of, self.retried), *map(dead_of, self.retried)

    def bind(self, channel: Channel) -> None:
        """Bind the queues to exchanges, on a *channel* that has just declared them. Wait for no answer.

        Here nothing is bound. Call it whenever the queues are declared, so that a deleted one comes back.
        """


def retry_of(queue: str) -> str:
    """Return the retry queue of *queue*: of messages that a node had and did not finish."""
    return f"{queue}.retry"


def dead_of(queue: str) -> str:
    """Return the queue of the dead letters of *queue*: of messages that no node tries again."""
    return f"{queue}.dead"


class Kind(Enum):
    """What a published message is for. It decides what happens when no queue takes it."""

    REPLY = "reply"
    """It is dropped: its client is gone, or reads nothing."""
    PETITION = "petition"
    """Its sender gets an error."""
    COPY = "copy"
    """It is published again until a queue has it: the original is acknowledged then."""


class Message(NamedTuple):
    """A message to publish, and where to."""

    routing_key: str
    body: bytes
    properties: BasicProperties
    exchange: str = ""
    kind: Kind = Kind.REPLY

    @property
    def is_direct_reply(self) -> bool:
        """It is a reply to a direct-reply-to name. pika gives a name that is not UTF-8 as bytes."""
        return self.kind is Kind.REPLY and DIRECT_REPLY_TO in str(self.routing_key)

    def publish(self, channel: Channel) -> None:
        """Publish on *channel*; a message that no queue takes comes back, unless it is a reply."""
        mandatory = self.kind is not Kind.REPLY
        channel.basic_publish(self.exchange, self.routing_key, self.body, self.properties, mandatory)


def code_of(properties: BasicProperties) -> str:
    """Return the code of an event: its ``type``, or else its header ``operation``, or else nothing."""
    headers = properties.headers or {}
    if UNREADABLE in headers:
        raise InvalidRequest(Code.MALFORMED, "the headers cannot be read: a value out of range, or too deep")
    code = properties.type or headers.get("operation", "")
    return str(_not_bytes("operation", code))


def operation_of(code: str, codes: Mapping[str, Operation]) -> Operation:
    """Return the operation that *code* stands for, or raise UNKNOWN_OPERATION."""
    if code not in codes:
        known = ", ".join(codes)
        raise InvalidRequest(Code.UNKNOWN_OPERATION, f"no operation {code[:60]!r} here; there are {known}")
    return codes[code]


def operation_id_of(properties: BasicProperties) -> str:
    """Return the ``message_id`` of a request, empty if it has none."""
    identifier = _not_bytes("message_id", properties.message_id)
    return "" if identifier is None else clean_operation_id(identifier)


def text_of(properties: BasicProperties, body: bytes) -> str:
    """Read a body as UTF-8. If its properties say that it is compressed, refuse it, even if it is not."""
    encoding = str(properties.content_encoding or "")
    if encoding.lower() not in PLAIN_ENCODINGS:
        raise InvalidRequest(
            Code.BAD_ENCODING,
            f"content_encoding {encoding[:60]!r} is not taken: send the body as plain UTF-8",
        )
    if len(body) > MAX_REQUEST_BYTES:
        raise InvalidRequest(Code.TOO_LARGE, f"the message is longer than {MAX_REQUEST_BYTES} bytes")
    try:
        return body.decode()
    except UnicodeDecodeError as error:
        raise InvalidRequest(Code.BAD_ENCODING, f"the body is not UTF-8: {error}") from error


def fields_of(properties: BasicProperties, body: bytes) -> dict[str, object]:
    """Read the optional JSON object that an event may have as its body."""
    if not body:
        return {}
    try:
        fields = json.loads(text_of(properties, body))
    except RecursionError as error:
        raise InvalidRequest(Code.MALFORMED, "the body is nested too deeply") from error
    except ValueError as error:
        raise InvalidRequest(Code.MALFORMED, f"the body is not JSON: {str(error)[:100]}") from error
    if not isinstance(fields, dict):
        raise InvalidRequest(Code.WRONG_TYPE, "the body must be a JSON object, or empty")
    return fields


def reply_to(properties: BasicProperties, answer: object) -> list[Message]:
    """Return the reply to a request with *properties*, as text or JSON; nothing if it wants none."""
    if not properties.reply_to:
        return []
    if isinstance(answer, LabError):
        body = json.dumps({"code": answer.code, "message": answer.message})
        kind, content_type = ERROR, JSON
    elif isinstance(answer, str):
        body, kind, content_type = answer, None, TEXT
    else:
        body, kind, content_type = json.dumps(to_plain(answer), ensure_ascii=False), None, JSON
    own = BasicProperties(
        content_type=content_type,
        correlation_id=properties.correlation_id,
        type=kind,
        delivery_mode=properties.delivery_mode,  # a reply is as durable as its request
    )
    return [Message(properties.reply_to, body.encode(), own)]


def forwarded(code: str, properties: BasicProperties) -> BasicProperties:
    """Return the properties with which a request goes on to another queue: only those that we know."""
    return BasicProperties(
        type=code,
        reply_to=properties.reply_to,
        correlation_id=properties.correlation_id,
        message_id=properties.message_id,
        delivery_mode=DeliveryMode.Persistent.value,
    )


def read_reply(properties: BasicProperties, body: bytes) -> object:
    """Return the answer in a reply, or the LabError that it is."""
    try:
        if properties.content_type != JSON:
            return body.decode()
        value = json.loads(body)
        if properties.type != ERROR:
            return value
        return error_from(str(value["code"]), str(value["message"]))
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        return InternalError("reply", f"not a reply: {error!r}")


def _not_bytes(name: str, value: object) -> object:
    """Return *value*. Refuse bytes: pika gives them for a text that is not UTF-8."""
    if isinstance(value, bytes):
        raise InvalidRequest(Code.BAD_ENCODING, f"the {name} is not UTF-8")
    return value


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
