"""Broadcast by call-back: ``notify(number, insult)`` at each subscriber's address."""

from collections.abc import Sequence
from contextlib import suppress

from lab.client.subscription import Inbox
from lab.contract import Tick
from lab.errors import Code, InvalidRequest, LabError
from lab.operations import Operation
from lab.validation import clean_insult

from ._client import NodeClient
from .transport import Connection, Server

NOTIFY_SECONDS = 2.0


def notify(uri: str, tick: Tick) -> None:
    """Tell the subscriber at *uri* of *tick*; a LabError if it does not take it in 2 s."""
    connection = Connection(uri)
    try:
        connection.call("notify", [tick.number, tick.insult], NOTIFY_SECONDS)
    finally:
        connection.close()


def receive_ticks(client: NodeClient, host: str = "127.0.0.1") -> Inbox:
    """Serve ``notify`` on a free port of *host* and subscribe its address through *client*, then owned."""
    inbox: Inbox | None = None

    def take(arguments: Sequence[object], operation_id: str) -> bool:
        if len(arguments) != 2 or not isinstance(arguments[0], int):
            raise InvalidRequest(Code.WRONG_TYPE, "notify takes the tick's number and the insult")
        if inbox:
            inbox.deliver(arguments[0], clean_insult(arguments[1]))
        return True

    server = Server({"notify": take})
    address = server.start(host, 0)

    def leave() -> None:
        with suppress(LabError):
            client.perform(Operation.REMOVE_SUBSCRIBER, address)
        client.close()
        server.drain(1.0)

    try:
        client.perform(Operation.ADD_SUBSCRIBER, address)
    except LabError:
        leave()
        raise
    inbox = Inbox(leave, lambda: client.perform(Operation.ADD_SUBSCRIBER, address))
    return inbox
