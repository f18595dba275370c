"""Broadcast by call-back: ``notify(insult)`` at each subscriber's URL, its tick's number as operation id."""

from collections.abc import Sequence
from contextlib import suppress
from urllib.parse import urlsplit

from lab.applications.callbacks import SubscriberUri
from lab.client.subscription import Inbox
from lab.contract import Tick
from lab.errors import Code, InvalidRequest, LabError
from lab.operations import Operation
from lab.process.addresses import host_port
from lab.validation import clean_insult

from ._client import NodeClient
from ._connection import XmlRpcConnection
from ._methods import Lane, Method, Methods
from ._server import XmlRpcServer

NOTIFY_SECONDS = 2.0
TICK_ID = "tick-"


class Notifier:
    """Calls subscribers back, keeping a connection to each."""

    def __init__(self) -> None:
        self._connections: dict[str, XmlRpcConnection] = {}

    def notify(self, uri: str, tick: Tick) -> None:
        """Tell the subscriber at *uri* the insult of *tick*; a LabError if it does not take it in 2 s."""
        connection = self._connections.pop(uri, None) or XmlRpcConnection(uri)
        try:
            connection.call("notify", [tick.insult], NOTIFY_SECONDS, f"{TICK_ID}{tick.number}")
        except BaseException:
            connection.close()
            raise
        self._connections[uri] = connection

    def close(self) -> None:
        """Close the connections."""
        for connection in self._connections.values():
            connection.close()
        self._connections.clear()


def split_uri(uri: str) -> SubscriberUri:
    """Take a subscriber's URL apart; what follows its port is dropped, as nobody calls it."""
    try:
        parts = urlsplit(uri)
        host, port = parts.hostname, parts.port
    except ValueError as error:
        raise InvalidRequest(Code.MALFORMED, "a subscriber is given as http://HOST:PORT") from error
    if not host:
        raise InvalidRequest(Code.MALFORMED, "a subscriber is given as http://HOST:PORT")
    return SubscriberUri("http://", host, f":{port or 80}")


def receive_ticks(client: NodeClient, host: str = "127.0.0.1") -> Inbox:
    """Serve ``notify`` on a free port of *host* and subscribe that URL through *client*, then owned."""
    inbox: Inbox | None = None

    def notify(arguments: Sequence[object], operation_id: str) -> bool:
        if len(arguments) != 1:
            raise InvalidRequest(Code.MISSING_FIELD, "notify takes the insult")
        number = operation_id.removeprefix(TICK_ID)
        if inbox and number.isdecimal():
            inbox.deliver(int(number), clean_insult(arguments[0]))
        return True

    server = XmlRpcServer(Methods({"notify": Method(notify, Lane.LOOP, "Take a broadcast insult.")}))
    url = f"http://{host_port(host, server.start(host, 0))}"

    def leave() -> None:
        with suppress(LabError):
            client.perform(Operation.REMOVE_SUBSCRIBER, url)
        client.close()
        server.drain(1.0)

    try:
        client.perform(Operation.ADD_SUBSCRIBER, url)
    except LabError:
        leave()
        raise
    inbox = Inbox(leave, lambda: client.perform(Operation.ADD_SUBSCRIBER, url))
    return inbox
