"""Broadcast by call-back: ``notify(insult)`` at each subscriber's URI, its tick's number as an annotation.

Replaces nothing of Pyro4.
"""

import re
from contextlib import suppress

import Pyro4
from Pyro4.core import current_context

from lab.applications.callbacks import SubscriberUri
from lab.client.subscription import Inbox
from lab.contract import Tick
from lab.errors import Code, InvalidRequest, LabError
from lab.operations import Operation
from lab.validation import clean_insult

from .client import NodeClient
from .connection import FOREIGN_SERIALIZER, PyroConnection
from .methods import checked
from .server import ServedObjects
from .wire import TICK

NOTIFY_SECONDS = 2.0
OBJECT = "subscriber"
_URI = re.compile(r"PYRO:([^@\s]+)@(\[[0-9a-f:.]+\]|[\w.-]+):(\d{1,5})", re.ASCII | re.IGNORECASE)


class Notifier:
    """Calls subscribers back, keeping a connection to each."""

    def __init__(self) -> None:
        self._connections: dict[str, PyroConnection] = {}

    def notify(self, uri: str, tick: Tick) -> None:
        """Tell the subscriber at *uri* the insult of *tick*; a LabError if it does not take it in 2 s."""
        connection = self._connections.pop(uri, None) or PyroConnection(uri, FOREIGN_SERIALIZER)
        try:
            connection.call("notify", [tick.insult], NOTIFY_SECONDS, tick=tick.number)
        except LabError:
            connection.close()
            raise
        self._connections[uri] = connection

    def close(self) -> None:
        """Forget the connections; they close with the process."""
        self._connections.clear()


@Pyro4.expose
class Subscriber:
    """The remote object of a subscriber."""

    def __init__(self) -> None:
        self.inbox: Inbox | None = None

    @checked
    def notify(self, insult: str) -> bool:
        """Take a broadcast insult."""
        number = bytes(current_context.annotations.get(TICK, b"")).decode("latin-1")
        if self.inbox and number.isdecimal():
            self.inbox.deliver(int(number), clean_insult(insult))
        return True


def split_uri(uri: str) -> SubscriberUri:
    """Take a subscriber's URI apart. One that leads to a socket in the file system has no host."""
    found = _URI.fullmatch(uri)
    if not found:
        raise InvalidRequest(Code.MALFORMED, "a subscriber is given as PYRO:OBJECT@HOST:PORT")
    return SubscriberUri(f"PYRO:{found[1]}@", found[2].strip("[]"), f":{found[3]}")


def receive_ticks(client: NodeClient, host: str = "127.0.0.1") -> Inbox:
    """Serve ``notify`` on a free port of *host* and subscribe its URI through *client*, then owned."""
    subscriber = Subscriber()
    served = ServedObjects(host, 0, host)
    uri = served.serve({OBJECT: subscriber})[OBJECT]

    def leave() -> None:
        with suppress(LabError):
            client.perform(Operation.REMOVE_SUBSCRIBER, uri)
        client.close()
        served.close(1.0)

    try:
        client.perform(Operation.ADD_SUBSCRIBER, uri)
    except LabError:
        leave()
        raise
    inbox = Inbox(leave, lambda: client.perform(Operation.ADD_SUBSCRIBER, uri))
    subscriber.inbox = inbox
    return inbox
