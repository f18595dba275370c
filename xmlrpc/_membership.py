"""What nodes and clients say to the master."""

from contextlib import suppress
from typing import NamedTuple, cast

from lab.contract import Application
from lab.errors import LabError
from lab.process.background import BackgroundJob, heartbeat

from ._connection import XmlRpcConnection

PULSE_SECONDS = 0.5
LEASE_SECONDS = 2.0
MASTER_SECONDS = 2.0
"""Time limit of a call to the master."""
LEAVE_SECONDS = 0.5
"""Time limit of telling it good-bye: a node that drains has little time, and the master need not live."""


class Assignment(NamedTuple):
    """The name and port the master gave to a starting node."""

    name: str
    port: int


class MasterClient:
    """The master at *url*, for one caller at a time."""

    def __init__(self, url: str) -> None:
        self._connection = XmlRpcConnection(url)

    def assign_port(self, application: Application) -> Assignment:
        """Ask for a name and a port that no other node was given."""
        answer = cast(dict[str, object], self._call("assign_port", application))
        return Assignment(str(answer["name"]), cast(int, answer["port"]))

    def join(self, application: Application, name: str, url: str) -> None:
        """Tell that the node *name* serves at *url*."""
        self._call("join", application, name, url)

    def heartbeat(self, application: Application, name: str) -> bool:
        """Tell that the node lives; False if the master does not know it (any more)."""
        return bool(self._call("heartbeat", application, name))

    def leave(self, application: Application, name: str) -> None:
        """Tell that the node stops."""
        self._connection.call("leave", [application.value, name], LEAVE_SECONDS)

    def get_node(self, application: Application, timeout_seconds: float) -> str:
        """Return the URL of the node whose turn it is; Unavailable if none lives."""
        answer = self._connection.call("get_node", [application.value], timeout_seconds)
        return str(answer)

    def report_dead(self, application: Application, url: str, timeout_seconds: float) -> None:
        """Tell that the node at *url* did not answer; the master looks for itself."""
        self._connection.call("report_dead", [application.value, url], timeout_seconds)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _call(self, method: str, application: Application, *arguments: str) -> object:
        return self._connection.call(method, [application.value, *arguments], MASTER_SECONDS)


class Membership:
    """A node's place among the live ones: joined, renewed twice a second, given up at the end."""

    def __init__(self, master: str, application: Application, name: str, url: str) -> None:
        self._master = MasterClient(master)
        self._application = application
        self._name = name
        self._url = url
        self._pulse: BackgroundJob = heartbeat("heartbeat", PULSE_SECONDS, self._beat)

    def join(self) -> None:
        """Join, and stay: a master that restarted is told again by the next heartbeat."""
        self._master.join(self._application, self._name, self._url)
        self._pulse.start()

    def leave(self) -> None:
        """Leave at once, so that no client is sent here any more."""
        self._pulse.stop(LEAVE_SECONDS)
        with suppress(LabError):  # the master will notice the silence
            self._master.leave(self._application, self._name)
        self._master.close()

    def _beat(self) -> None:
        if not self._master.heartbeat(self._application, self._name):
            self._master.join(self._application, self._name, self._url)
