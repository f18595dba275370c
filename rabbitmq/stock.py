"""The whole system over RabbitMQ as the tutorials of the broker and of pika show it, in one file.

All nodes consume one durable queue, with manual acknowledgement and prefetch. Clients publish persistent
messages with publisher confirms, and get replies in an exclusive queue. The broadcast is a fanout exchange.
One node keeps its state in memory, n nodes keep theirs in Redis::

    python -m rabbitmq.stock service                         one node, or
    python -m rabbitmq.stock broadcaster                     for n nodes: the broadcaster,
    python -m rabbitmq.stock service --architecture n-node   and each node
    python -m rabbitmq.stock subscriber

``lab/middleware.py`` says what it does not promise. A repeated request has its effect twice, for example.
"""

import json
import logging
import os
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from typing import Any
from uuid import uuid4

import pika
from pika.adapters.blocking_connection import BlockingChannel, BlockingConnection
from pika.adapters.utils.connection_workflow import AMQPConnectorException
from pika.exceptions import AMQPError, NackError, UnroutableError

from lab.applications.broadcast import Broadcaster as Ticker
from lab.applications.filter import build_filter
from lab.applications.service import ServiceApplication
from lab.brokers import locate_rabbitmq, locate_redis
from lab.client.calls import FilterCalls, Inbox, ServiceCalls
from lab.contract import Application, Architecture, Target, Tick
from lab.errors import Code, DeadlineExceeded, InvalidRequest, LabError, Overloaded, Unavailable, error_from
from lab.limits import DEFAULT_DEADLINE_SECONDS
from lab.operations import Operation, bind, perform, to_plain
from lab.options import NodeOptions
from lab.process.node import main_of_roles
from lab.store import MemoryStore, Store
from lab.store.simple import SimpleStore
from lab.validation import clean_address, clean_deadline, clean_text

from .topology import default_address

logging.getLogger("pika").setLevel(logging.CRITICAL)  # it logs a traceback when nobody answers
PREFETCH = 100
SERVICE_CODES = {
    "": Operation.ADD_INSULT,
    "X1": Operation.INSULT_ME,
    "X2": Operation.START_BROADCAST,
    "X3": Operation.STOP_BROADCAST,
    "X4": Operation.GET_INSULTS,
    "X5": Operation.REMOVE_INSULT,
}
CONTROL_CODES = {Operation.RESOLVE: "X2", Operation.RESULT: "X3", Operation.GET_RESULTS: "X3"}
CODES = CONTROL_CODES | {operation: code for code, operation in SERVICE_CODES.items()}
TEXTS = (Operation.ADD_INSULT, Operation.REMOVE_INSULT, Operation.FILTER)
"""The body of these is the text itself; the body of the others is JSON."""


@contextmanager
def translated() -> Iterator[None]:
    """Raise pika's errors as those of the lab."""
    try:
        yield
    except UnroutableError as error:
        raise Unavailable("there is no queue for the message; is a node running?") from error
    except NackError as error:
        raise Overloaded("RabbitMQ refused the message; its queue is full") from error
    except (AMQPError, AMQPConnectorException, OSError) as error:
        raise Unavailable(f"RabbitMQ does not answer: {error!r}") from error


def connect(url: str) -> BlockingConnection:
    parameters = pika.URLParameters(url)
    parameters.socket_timeout = parameters.stack_timeout = DEFAULT_DEADLINE_SECONDS
    with translated():
        return BlockingConnection(parameters)


class _Process:
    """A process that consumes queues until it is told to stop."""

    application = Application.SERVICE

    def __init__(self, options: NodeOptions) -> None:
        is_shared = options.architecture is Architecture.N_NODE
        self._store: Store = SimpleStore(locate_redis(), options.namespace) if is_shared else MemoryStore()
        self._options, self._queue = options, f"{options.namespace}.{self.application}"
        self._connection = connect(locate_rabbitmq())
        self._channel = self._connection.channel()
        self._thread = threading.Thread(target=self._channel.start_consuming, daemon=True)

    def start(self) -> str:
        self._channel.basic_qos(prefetch_count=PREFETCH)
        self.consume(self._queue)
        return self._queue

    def consume(self, queue: str) -> None:
        self._channel.queue_declare(queue, durable=True)
        self._channel.basic_consume(queue, self._serve)

    def canary(self) -> None:
        self._connection.process_data_events(0)

    def join(self) -> None:
        self._thread.start()

    def drain(self, timeout_seconds: float) -> None:
        if self._thread.is_alive():
            self._connection.add_callback_threadsafe(self._channel.stop_consuming)
            self._thread.join(timeout_seconds)
        self._store.close()

    def answer(self, queue: str, code: str, properties: Any, body: bytes) -> object:
        raise NotImplementedError

    def _serve(self, channel: BlockingChannel, method: Any, properties: Any, body: bytes) -> None:
        code = properties.type or (properties.headers or {}).get("operation", "")
        try:
            answer = self.answer(method.routing_key, code, properties, body)
        except LabError as error:
            answer = error
        except (ValueError, KeyError, TypeError) as error:
            answer = InvalidRequest(Code.MALFORMED, f"the request cannot be read: {error!r}")
        self._reply(properties, answer)
        channel.basic_ack(method.delivery_tag)

    def _reply(self, properties: Any, answer: object) -> None:
        if not properties.reply_to:
            return
        about = pika.BasicProperties("application/json", correlation_id=properties.correlation_id)
        if isinstance(answer, LabError):
            about.type, body = "error", json.dumps({"code": answer.code, "message": answer.message})
        elif isinstance(answer, str):
            about.content_type, body = "text/plain", answer
        else:
            body = json.dumps(to_plain(answer))
        self._channel.basic_publish("", properties.reply_to, body.encode(), about)


class Broadcaster(_Process):
    """Publishes one random insult every interval to a fanout exchange while the broadcast is on."""

    def __init__(self, options: NodeOptions) -> None:
        super().__init__(options)
        self._exchange = f"{options.namespace}.broadcast"
        self._channel.exchange_declare(self._exchange, "fanout", durable=True)
        self._ticker = Ticker(self._store, self._publish, options.interval_seconds)

    def start(self) -> str:
        self._ticker.start()
        return self._exchange

    def drain(self, timeout_seconds: float) -> None:
        self._ticker.stop()
        super().drain(timeout_seconds)

    def _publish(self, tick: Tick) -> None:
        headers = pika.BasicProperties(headers={"number": tick.number})
        with connect(locate_rabbitmq()) as connection:  # threads must not share one
            connection.channel().basic_publish(self._exchange, "", tick.insult.encode(), headers)


class ServiceNode(Broadcaster):
    """Serves the InsultService. One node broadcasts by itself; n nodes have a broadcaster."""

    def start(self) -> str:
        self._service = ServiceApplication(self._store)
        if self._options.architecture is Architecture.ONE_NODE:
            self._ticker.start()
        return _Process.start(self)

    def answer(self, queue: str, code: str, properties: Any, body: bytes) -> object:
        if code not in SERVICE_CODES:
            raise InvalidRequest(Code.UNKNOWN_OPERATION, f"no operation {code!r} here; there are X1 to X5")
        operation = SERVICE_CODES[code]
        fields = {"insult": body.decode()} if operation in TEXTS else json.loads(body or "{}")
        return perform(self._service, operation, fields)


class FilterNode(_Process):
    """Serves the InsultFilter: a text with ``reply_to`` is answered, one without it becomes a result."""

    application = Application.FILTER

    def start(self) -> str:
        self._parts = build_filter(self._options, self._store, has_work_list=False)
        self._parts.start()
        self.consume(f"{self._queue}.control")
        if self._options.on_demand:
            self._channel.queue_declare(self._queue, durable=True)
            return self._queue
        return super().start()

    def drain(self, timeout_seconds: float) -> None:
        super().drain(timeout_seconds)
        self._parts.stop(timeout_seconds)

    def answer(self, queue: str, code: str, properties: Any, body: bytes) -> object:
        application = self._parts.application
        if queue == self._queue:
            text = application.filter(body.decode())
            if not properties.reply_to:
                self._store.complete(properties.message_id or uuid4().hex, text)
            return text
        if code == "X2":
            return self._resolve()
        asked = json.loads(body or "{}")
        if code == "X3":
            return application.result(**asked) if "petition_id" in asked else application.get_results(**asked)
        raise InvalidRequest(Code.UNKNOWN_OPERATION, f"no operation {code!r} here; there are X2 and X3")

    def _resolve(self) -> object:
        """Filter the oldest waiting text; reply to its sender, too."""
        method, properties, body = self._channel.basic_get(self._queue)
        if not method:
            return None
        text = self.answer(self._queue, "", properties, body)
        self._reply(properties, text)
        self._channel.basic_ack(method.delivery_tag)
        return text


class _Connection(threading.local):
    """A connection of each thread: a channel with publisher confirms, and an exclusive queue for replies."""

    @translated()
    def __init__(self, url: str, seconds: float) -> None:
        self._process, self._seconds = os.getpid(), seconds
        self._connection = connect(url)
        self._channel = self._connection.channel()
        self._channel.confirm_delivery()
        self._replies = self._channel.queue_declare("", exclusive=True).method.queue
        self._arrived: dict[str, tuple[Any, bytes]] = {}
        self._channel.basic_consume(self._replies, self._keep, auto_ack=True)

    def publish(self, queue: str, code: str, body: str, *, wants_reply: bool = True) -> str:
        """Publish a persistent message, confirmed by the broker; return its id."""
        if self._process != os.getpid():
            raise Unavailable("this client was opened before a fork; open one in the new process")
        message_id = uuid4().hex
        properties = pika.BasicProperties(
            type=code or None,
            message_id=message_id,
            correlation_id=message_id,
            reply_to=self._replies if wants_reply else None,
            delivery_mode=pika.DeliveryMode.Persistent,
        )
        with translated():
            self._channel.basic_publish("", queue, body.encode(), properties, mandatory=True)
        return message_id

    def answer_to(self, message_id: str) -> Any:
        """Wait for the reply with this id; raise the error that it is."""
        deadline = time.monotonic() + self._seconds
        while message_id not in self._arrived:
            if (left := deadline - time.monotonic()) <= 0:
                raise DeadlineExceeded(f"no answer within {self._seconds:g} s; is a node running?")
            with translated():
                self._connection.process_data_events(left)
        properties, body = self._arrived.pop(message_id)
        answer: Any = json.loads(body) if properties.content_type == "application/json" else body.decode()
        if properties.type == "error":
            raise error_from(answer["code"], answer["message"])
        return answer

    def close(self) -> None:
        if self._process == os.getpid():
            with suppress(AMQPError):
                self._connection.close()

    def _keep(self, channel: BlockingChannel, method: Any, properties: Any, body: bytes) -> None:
        self._arrived[properties.correlation_id] = properties, body


class _Client:
    application = Application.SERVICE

    def __init__(self, target: Target, deadline_seconds: float = DEFAULT_DEADLINE_SECONDS) -> None:
        clean_address(target.address, "amqp", "amqps")
        self._url, self._namespace = target.address, target.namespace
        self._queue = f"{self._namespace}.{self.application}"
        self.connection = _Connection(target.address, clean_deadline(deadline_seconds))

    def perform(self, operation: Operation, *arguments: object, deadline_seconds: float = 0.0) -> Any:
        body = str(arguments[0]) if operation in TEXTS else json.dumps(bind(operation, arguments))
        queue = f"{self._queue}.control" if operation in CONTROL_CODES else self._queue
        return self.connection.answer_to(self.connection.publish(queue, CODES.get(operation, ""), body))

    def close(self) -> None:
        self.connection.close()


class InsultServiceClient(_Client, ServiceCalls):
    """Client of the :class:`~lab.contract.InsultService` at *target*."""

    @translated()
    def subscribe(self) -> Inbox:
        """Receive ticks in an exclusive queue, which ends with its connection."""
        connection = connect(self._url)
        channel = connection.channel()
        exchange = f"{self._namespace}.broadcast"
        channel.exchange_declare(exchange, "fanout", durable=True)
        queue = channel.queue_declare("", exclusive=True).method.queue
        channel.queue_bind(queue, exchange)
        inbox = Inbox(translated()(lambda: connection.add_callback_threadsafe(channel.stop_consuming)))

        def consume() -> None:
            with suppress(AMQPError):
                channel.start_consuming()
                connection.close()

        def deliver(_: BlockingChannel, method: Any, properties: Any, body: bytes) -> None:
            inbox.deliver(properties.headers["number"], body.decode())

        channel.basic_consume(queue, deliver, auto_ack=True)
        threading.Thread(target=consume, daemon=True).start()
        return inbox


class InsultFilterClient(_Client, FilterCalls):
    """Client of the :class:`~lab.contract.InsultFilter` at *target*."""

    application = Application.FILTER

    def submit(self, text: str) -> str:
        """Publish *text*; no node needs to be up."""
        return self.connection.publish(self._queue, "", clean_text(text), wants_reply=False)

    def _filter_checked(self, texts: Iterator[str], in_flight: int) -> Iterator[str]:
        """Publish up to *in_flight* texts, then read their answers as they come."""
        waiting: list[str] = []
        for text in texts:
            waiting.append(self.connection.publish(self._queue, "", text))
            if len(waiting) == in_flight:
                yield self.connection.answer_to(waiting.pop(0))
        while waiting:
            yield self.connection.answer_to(waiting.pop(0))


def main(argv: list[str] | None = None) -> int:
    roles: dict[str, Any] = {"broadcaster": Broadcaster, "service": ServiceNode, "filter": FilterNode}
    return main_of_roles("rabbitmq.stock", roles, InsultServiceClient, default_address, argv)


if __name__ == "__main__":
    raise SystemExit(main())
