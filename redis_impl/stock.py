"""The whole system over Redis as the documentation of redis-py has it, in one file.

A client pushes petitions (JSON) to a list with ``rpush`` and waits for the answer with ``blpop`` on a list
of its own. A node takes petitions with ``blpop``. Many petitions are sent in a pipeline. The broadcast is
``publish``. All state is in Redis. One node has one list; each of n nodes has a list of its own, and
clients use those of the live nodes in turn::

    python -m redis_impl.stock service                         one node, or
    python -m redis_impl.stock broadcaster                     for n nodes: the broadcaster,
    python -m redis_impl.stock service --architecture n-node   and each node
    python -m redis_impl.stock subscriber

``lab/middleware.py`` says what this variant does not promise. A repeated petition has its effect twice. A
killed node loses the petition that it works on, and nobody takes what waits on its list.
``redis_impl/tuned`` promises all that.
"""

import itertools
import json
import threading
import time
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager, suppress
from functools import partial
from typing import Any, cast
from uuid import uuid4

import redis

from lab.applications.broadcast import Broadcaster as Ticker
from lab.applications.filter import build_filter
from lab.applications.service import ServiceApplication
from lab.brokers import locate_redis
from lab.client.calls import FilterCalls, Inbox, ServiceCalls, kept_under_way
from lab.contract import Application, Architecture, Target, Tick
from lab.errors import Code, DeadlineExceeded, InvalidRequest, LabError, Unavailable, error_from
from lab.limits import DEFAULT_DEADLINE_SECONDS
from lab.operations import Operation, to_plain
from lab.options import NodeOptions
from lab.process.node import Node, main_of_roles
from lab.store.simple import SimpleStore
from lab.validation import clean_address, clean_deadline, clean_text

from .topology import default_address

PULSE_SECONDS, LEASE_SECONDS, LOOK_SECONDS, REPLY_SECONDS = 0.5, 2.0, 1.0, 60
_IN_ORDER = ("add_insult", "get_insults", "insult_me", "start_broadcast", "stop_broadcast", "remove_insult")
SERVICE_OPERATIONS = {f"X{number}": Operation(name) for number, name in enumerate(_IN_ORDER, 1)}
SERVICE_CODES = {operation: code for code, operation in SERVICE_OPERATIONS.items()}
FILTER_CODES = {"filter": "X1", "submit": "X1", "resolve": "X2", "result": "X3", "get_results": "X3"}
WITH_DATA = {Operation.ADD_INSULT, Operation.REMOVE_INSULT, Operation.FILTER, Operation.SUBMIT}
"""Operations whose ``data`` is their argument; that of the others is where to reply."""


@contextmanager
def translated() -> Iterator[None]:
    """Raise the lab's errors for those of redis-py."""
    try:
        yield
    except redis.RedisError as error:
        raise Unavailable(f"Redis does not serve: {error}") from error


class _Process(Node):
    """The four steps of a process: it takes petitions from its lists until it is told to stop."""

    application = Application.SERVICE
    answer: Callable[[dict[str, Any]], object]

    def __init__(self, options: NodeOptions) -> None:
        self._options = options
        self._redis = redis.Redis.from_url(locate_redis(), decode_responses=True)
        self._store = SimpleStore(locate_redis(), options.namespace)
        self._entry = f"{options.namespace}:{self.application}"
        self._lists, self._identifier = [self._entry], ""
        self._stopped = threading.Event()
        self._thread = threading.Thread(target=self._take, daemon=True)

    def start(self) -> str:
        if self._options.architecture is Architecture.N_NODE:
            self._identifier = str(self._redis.incr(f"{self._entry}:identifier"))
            self._lists.insert(0, f"{self._entry}:node:{self._identifier}")
        return self._lists[0]

    def canary(self) -> None:
        self._redis.ping()

    def join(self) -> None:
        self._thread.start()
        if self._identifier:
            self._beat()
            threading.Thread(target=self._keep_beating, daemon=True).start()

    def drain(self, timeout_seconds: float) -> None:
        self._stopped.set()
        if self._thread.is_alive():
            self._thread.join(timeout_seconds)
        self._redis.zrem(f"{self._entry}:nodes", self._identifier)

    def _take(self) -> None:
        while not self._stopped.is_set():
            try:
                taken = cast("tuple[str, str] | None", self._redis.blpop(self._lists, LOOK_SECONDS))
                if taken:
                    self._serve(taken[1])
            except redis.RedisError:
                time.sleep(LOOK_SECONDS)

    def _serve(self, raw: str) -> None:
        """Answer one petition; the reply goes to the list that it names."""
        petition: dict[str, Any] = {}
        try:
            petition = json.loads(raw)
            reply = {"answer": to_plain(self.answer(petition))}
        except LabError as error:
            reply = {"error": error.code, "message": error.message}
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            reply = {"error": Code.MALFORMED, "message": f"no petition can be read: {error!r}"}
        reply_to = petition.get("reply_to") or petition.get("data") if isinstance(petition, dict) else None
        if isinstance(reply_to, str) and reply_to.startswith(f"{self._options.namespace}:reply:"):
            with self._redis.pipeline() as pipeline:
                pipeline.rpush(reply_to, json.dumps({"id": petition.get("id", ""), **reply}))
                pipeline.expire(reply_to, REPLY_SECONDS)
                pipeline.execute()

    def _keep_beating(self) -> None:
        while not self._stopped.wait(PULSE_SECONDS):
            with suppress(redis.RedisError):
                self._beat()

    def _beat(self) -> None:
        self._redis.zadd(f"{self._entry}:nodes", {self._identifier: time.time() + LEASE_SECONDS})


class Broadcaster(_Process):
    """Publishes one random insult every interval while the broadcast is on."""

    def __init__(self, options: NodeOptions) -> None:
        super().__init__(options)
        self._channel = f"{options.namespace}:broadcast:channel"
        self._ticker = Ticker(self._store, self._publish, options.interval_seconds)

    def start(self) -> str:
        self._ticker.start()
        return self._channel

    def join(self) -> None:
        pass

    def drain(self, timeout_seconds: float) -> None:
        self._ticker.stop()

    def _publish(self, tick: Tick) -> None:
        self._redis.publish(self._channel, json.dumps({"number": tick.number, "insult": tick.insult}))


class ServiceNode(_Process):
    """Serves the InsultService. One node broadcasts by itself; n nodes have a broadcaster."""

    def __init__(self, options: NodeOptions) -> None:
        super().__init__(options)
        self._service = ServiceApplication(self._store)
        self._broadcaster = Broadcaster(options)

    def join(self) -> None:
        super().join()
        if self._options.architecture is Architecture.ONE_NODE:
            self._broadcaster.start()

    def drain(self, timeout_seconds: float) -> None:
        self._broadcaster.drain(timeout_seconds)
        super().drain(timeout_seconds)

    def answer(self, petition: dict[str, Any]) -> object:
        code, data = petition["operation"], petition["data"]
        if code not in SERVICE_OPERATIONS:
            raise InvalidRequest(Code.UNKNOWN_OPERATION, f"no operation {code!r} here")
        method = getattr(self._service, SERVICE_OPERATIONS[code])
        if SERVICE_OPERATIONS[code] in WITH_DATA:
            return method(data)
        return method(**{name: petition[name] for name in ("after", "limit") if name in petition})


class FilterNode(_Process):
    """Serves the InsultFilter: a text with ``reply_to`` is answered, one without it becomes a result."""

    application = Application.FILTER

    def __init__(self, options: NodeOptions) -> None:
        super().__init__(options)
        self._parts = build_filter(options, self._store, has_work_list=False)

    def start(self) -> str:
        self._parts.start()
        return super().start()

    def drain(self, timeout_seconds: float) -> None:
        super().drain(timeout_seconds)
        self._parts.stop(timeout_seconds)

    def answer(self, petition: dict[str, Any]) -> object:
        code, data, application = petition["operation"], petition["data"], self._parts.application
        if code == "X1" and petition.get("reply_to"):
            return application.filter(data)
        if code == "X1":
            petition_id = petition.get("id") or uuid4().hex
            if self._options.on_demand:
                return application.submit(data, petition_id)
            return self._store.complete(petition_id, application.filter(data))
        if code == "X2":
            return application.resolve()
        if code == "X3":
            asked = petition.get("petition_id")
            return (
                application.result(asked) if asked else application.get_results(petition.get("limit", 1000))
            )
        raise InvalidRequest(Code.UNKNOWN_OPERATION, f"no operation {code!r} here; there are X1, X2, X3")


class _Client:
    """Pushes petitions and waits for the answers on a list of its own, one for each thread."""

    application = Application.SERVICE

    def __init__(self, target: Target, deadline_seconds: float = DEFAULT_DEADLINE_SECONDS) -> None:
        clean_address(target.address, "redis", "rediss", "unix")
        self._redis = redis.Redis.from_url(target.address, decode_responses=True)
        self._seconds, self._namespace = clean_deadline(deadline_seconds), target.namespace
        self._entry = f"{target.namespace}:{self.application}"
        self._has_nodes = target.architecture is Architecture.N_NODE
        self._turn = itertools.count()
        self._of_thread = threading.local()

    @property
    def replies(self) -> str:
        """The list on which this thread waits."""
        if not hasattr(self._of_thread, "replies"):
            self._of_thread.replies = f"{self._namespace}:reply:{uuid4().hex}"
        return cast(str, self._of_thread.replies)

    def push(self, petitions: list[dict[str, Any]]) -> list[str]:
        """Push *petitions* in one pipeline, each to the list of another live node; return their ids."""
        with translated(), self._redis.pipeline(transaction=False) as pipeline:
            lists = self._live_lists()
            for petition in petitions:
                pipeline.rpush(lists[next(self._turn) % len(lists)], json.dumps(petition))
            pipeline.execute()
        return [petition["id"] for petition in petitions]

    def answers(self, petition_ids: Iterable[str]) -> Iterator[Any]:
        """Yield the answers to *petition_ids* in their order. Answers to older calls are dropped."""
        arrived: dict[str, dict[str, Any]] = {}
        for petition_id in petition_ids:
            deadline = time.monotonic() + self._seconds
            while petition_id not in arrived:
                reply = self._next_reply(deadline - time.monotonic())
                arrived[reply["id"]] = reply
            reply = arrived.pop(petition_id)
            if "error" in reply:
                raise error_from(reply["error"], reply["message"])
            yield reply["answer"]

    def _next_reply(self, seconds: float) -> dict[str, Any]:
        with translated():
            taken = (
                cast("tuple[str, str] | None", self._redis.blpop([self.replies], seconds))
                if seconds > 0
                else None
            )
        if taken is None:
            raise DeadlineExceeded(f"no answer within {self._seconds:g} s; is a node running?")
        return cast(dict[str, Any], json.loads(taken[1]))

    def petition(self, operation: Operation, *arguments: object) -> dict[str, Any]:
        """Return the petition that asks for *operation*."""
        code = SERVICE_CODES.get(operation) or FILTER_CODES[operation]
        petition: dict[str, Any] = {"operation": code, "id": uuid4().hex}
        if operation in WITH_DATA:
            return petition | {"data": arguments[0], "reply_to": self.replies}
        names = {Operation.GET_INSULTS: ("after", "limit"), Operation.GET_RESULTS: ("limit",)}
        named = zip(names.get(operation, ("petition_id",)), arguments, strict=False)
        return petition | {"data": self.replies} | dict(named)

    def perform(self, operation: Operation, *arguments: object, deadline_seconds: float = 0.0) -> Any:
        petition = self.petition(operation, *arguments)
        self.push([petition])
        return next(self.answers([petition["id"]]))

    def close(self) -> None:
        self._redis.close()

    def _live_lists(self) -> list[str]:
        if not self._has_nodes:
            return [self._entry]
        now = time.time()  # a lease that ends much later was given before the clock was set back
        live = self._redis.zrangebyscore(f"{self._entry}:nodes", now, now + 2 * LEASE_SECONDS)
        return [f"{self._entry}:node:{identifier}" for identifier in cast(list[str], live)] or [self._entry]


class InsultServiceClient(_Client, ServiceCalls):
    """Client of the :class:`~lab.contract.InsultService` at *target*."""

    @translated()
    def subscribe(self) -> Inbox:
        """Receive what is published; what is published while the connection is away is missed."""
        messages = cast(Any, self._redis).pubsub(ignore_subscribe_messages=True)

        def deliver(message: dict[str, Any]) -> None:
            tick = json.loads(message["data"])
            inbox.deliver(tick["number"], tick["insult"])

        def leave() -> None:
            for _ in range(10):  # a stop does nothing if the thread does not run yet
                thread.stop()
                thread.join(0.1)

        messages.subscribe(**{f"{self._namespace}:broadcast:channel": deliver})
        messages.get_message(timeout=self._seconds)  # once this is answered, nothing is missed
        inbox = Inbox(leave)
        # Redis may be away, or a message no tick: the thread goes on.
        thread = messages.run_in_thread(0.1, daemon=True, exception_handler=lambda *_: time.sleep(0.1))
        return inbox


class InsultFilterClient(_Client, FilterCalls):
    """Client of the :class:`~lab.contract.InsultFilter` at *target*."""

    application = Application.FILTER

    def submit(self, text: str) -> str:
        """Push *text*; no node needs to be up."""
        petition = self.petition(Operation.SUBMIT, clean_text(text)) | {"reply_to": None}
        self.push([petition])
        return cast(str, petition["id"])

    def _filter_checked(self, texts: Iterator[str], in_flight: int) -> Iterator[str]:
        """Keep up to *in_flight* texts pushed, several in a pipeline."""
        petitions = map(partial(self.petition, Operation.FILTER), texts)
        yield from self.answers(kept_under_way(petitions, in_flight, self.push))


ROLES: dict[str, Any] = {"broadcaster": Broadcaster, "service": ServiceNode, "filter": FilterNode}


def main(argv: list[str] | None = None) -> int:
    return main_of_roles("redis_impl.stock", ROLES, InsultServiceClient, default_address, argv)


if __name__ == "__main__":
    raise SystemExit(main())
