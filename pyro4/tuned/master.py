"""The master: knows the live nodes of both applications and tells clients which to use.

Replaces nothing of Pyro4.
"""

import itertools
import json
import logging
import threading
import time

from lab.background import BackgroundJob, heartbeat
from lab.contract import Application
from lab.errors import Code, InvalidRequest, Unavailable
from lab.options import NodeOptions
from lab.process.joining import check_room, first_identifier
from lab.process.registry import Member, Registry

from .connection import PyroConnection, answers
from .methods import check_text, checked, expose
from .name_server import MASTER, Names
from .node import CANARY_SECONDS, LEASE_SECONDS, LEAVE_SECONDS
from .server import ServedObjects

log = logging.getLogger(__name__)

CHECK_SECONDS = 1.0


@expose
class InsultMaster:
    """The remote object ``master.service``. Arrivals are stamped with its own monotonic clock."""

    def __init__(self) -> None:
        self._registries = {application: Registry(LEASE_SECONDS) for application in Application}
        self._identifiers = itertools.count(first_identifier())
        self._lock = threading.Lock()

    @checked
    def get_resolver_slave(self) -> str:
        """Return the URI of the live service node with the fewest assignments, then the oldest pulse."""
        return self._assigned(Application.SERVICE)

    @checked
    def get_resolver_filter(self) -> str:
        """Return the URI of the live filter node with the fewest assignments, then the oldest pulse."""
        return self._assigned(Application.FILTER)

    @checked
    def heartbeat_slave(self, heartbeat: str) -> bool:
        """Take a node's heartbeat, JSON with application, name and uri; true if the node was known."""
        application, name, uri = read_heartbeat(heartbeat)
        now = time.monotonic()
        with self._lock:
            registry = self._registries[application]
            known = registry.find(name, now)
            if known and known.address == uri:
                return registry.beat(name, now)
            if not known:
                check_room(registry, now)
            registry.join(name, uri, now)
        log.info("%s joined at %s", name, uri)
        return False

    @checked
    def leave_slave(self, name: str) -> bool:
        """Drop the node called NAME, which stops; true if it was there."""
        with self._lock:
            return self._leave(name)

    @checked
    def report_dead(self, uri: str) -> bool:
        """Look whether the node at URI answers, and drop it if not; true if it was dropped."""
        with self._lock:
            member = next((member for member in self._live() if member.address == uri), None)
        if member is None or answers(uri):
            return False
        log.info("%s at %s does not answer", member.name, uri)
        with self._lock:
            return self._leave(member.name)

    @checked
    def check_slave(self) -> list[str]:
        """Drop the nodes that were silent for 10 s; return the names of the live ones."""
        with self._lock:
            return [member.name for member in self._live()]

    @checked
    def next_identifier(self) -> int:
        """Return an identifier that no other node has."""
        return next(self._identifiers)

    def _leave(self, name: str) -> bool:
        return any(registry.leave(name) for registry in self._registries.values())

    def _assigned(self, application: Application) -> str:
        with self._lock:
            member = self._registries[application].least_assigned(time.monotonic())
        if member is None:
            raise Unavailable(f"no {application} node is live; start one with --architecture n-node")
        return member.address

    def _live(self) -> list[Member]:
        now = time.monotonic()
        return [member for registry in self._registries.values() for member in registry.live(now)]


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
        connection = PyroConnection(self._uri)
        connection.call("check_slave", (), CANARY_SECONDS)
        connection.close()

    def join(self) -> None:
        self._look()
        self._check.start()

    def drain(self, timeout_seconds: float) -> None:
        self._check.stop(1.0)
        self._names.release(MASTER, self._uri, LEAVE_SECONDS)
        self._names.close()
        if self._served:
            self._served.close(1.0)

    def _look(self) -> None:
        """Drop silent nodes, and be found even by a name server that restarted."""
        self._master.check_slave()
        self._names.claim(MASTER, self._uri)
