"""The master: knows the live nodes of both applications and tells clients which to use.

Replaces nothing of Pyro4.
"""

import json
from contextlib import closing

from lab.background import BackgroundJob, heartbeat
from lab.contract import Application
from lab.errors import Code, InvalidRequest
from lab.options import NodeOptions
from lab.process.master import Master

from .connection import PyroConnection, answers
from .methods import check_text, checked, expose
from .name_server import MASTER, Names
from .node import CANARY_SECONDS, LEASE_SECONDS, LEAVE_SECONDS
from .server import ServedObjects

CHECK_SECONDS = 1.0


@expose
class InsultMaster:
    """The remote object ``master.service``."""

    def __init__(self) -> None:
        self._master = Master(LEASE_SECONDS, answers, PyroConnection, "--architecture n-node")

    @checked
    def get_resolver_slave(self) -> str:
        """Return the URI of the live service node with the fewest assignments, then the oldest pulse."""
        return self._master.least_assigned(Application.SERVICE)

    @checked
    def get_resolver_filter(self) -> str:
        """Return the URI of the live filter node with the fewest assignments, then the oldest pulse."""
        return self._master.least_assigned(Application.FILTER)

    @checked
    def heartbeat_slave(self, heartbeat: str) -> bool:
        """Take a node's heartbeat, JSON with application, name and uri; true if the node was known."""
        return self._master.heartbeat_at(*read_heartbeat(heartbeat))

    @checked
    def leave_slave(self, name: str) -> bool:
        """Drop the node called NAME, which stops; true if it was there."""
        return any(self._master.leave(application, name) for application in Application)

    @checked
    def report_dead(self, uri: str) -> bool:
        """Test whether the node at URI answers, and drop it if not; true if it was dropped."""
        return any(self._master.report_dead(application, uri) for application in Application)

    @checked
    def check_slave(self) -> list[str]:
        """Drop the nodes that were silent for 10 s; return the names of the live ones."""
        return [member.name for application in Application for member in self._master.live(application)]

    @checked
    def next_identifier(self) -> int:
        """Return an identifier that no other node has."""
        return self._master.next_identifier()


def read_heartbeat(heartbeat: str) -> tuple[Application, str, str]:
    """Return the application, name and URI that stand in a heartbeat; an InvalidRequest if one does not."""
    try:
        fields = json.loads(heartbeat)
        application, name, uri = Application(fields["application"]), fields["name"], fields["uri"]
    except KeyError as error:
        raise InvalidRequest(Code.MISSING_FIELD, f"the heartbeat has no {error}") from error
    except (ValueError, TypeError, RecursionError) as error:
        message = "a heartbeat is JSON with application (service or filter), name and uri"
        raise InvalidRequest(Code.MALFORMED, message) from error
    for what, text in (("name", name), ("uri", uri)):
        check_text(what, text)
    PyroConnection(uri)  # is it one?
    return application, name, uri


class MasterNode:
    """The process that serves the master."""

    def __init__(self, options: NodeOptions, name_server: str) -> None:
        self._options = options
        self._master = InsultMaster()
        self._names = Names(name_server)
        self._served: ServedObjects | None = None
        self._check: BackgroundJob = heartbeat("check", CHECK_SECONDS, self._look)
        self._uri = ""

    def start(self) -> str:
        self._names.stands_for(MASTER, "")
        self._served = ServedObjects(
            self._options.host, self._options.port or 0, self._options.advertised_host
        )
        self._uri = self._served.serve({MASTER: self._master})[MASTER]
        return self._uri

    def canary(self) -> None:
        with closing(PyroConnection(self._uri)) as connection:
            connection.call("check_slave", (), CANARY_SECONDS)

    def join(self) -> None:
        self._names.claim(MASTER, self._uri)
        self._check.start()

    def drain(self, timeout_seconds: float) -> None:
        self._check.stop(1.0)
        self._names.release(MASTER, self._uri, LEAVE_SECONDS)
        self._names.close()
        if self._served:
            self._served.close(1.0)
        self._names.check_kept()

    def _look(self) -> None:
        """Drop silent nodes, and register again with a name server that restarted."""
        self._master.check_slave()
        self._names.keep(MASTER, self._uri)
