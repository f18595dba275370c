"""A node's place in the name server and, one of n, at the master."""

import json
import threading
import time
from contextlib import suppress

from lab.contract import Application
from lab.errors import LabError
from lab.process.background import BackgroundJob, heartbeat

from ._connection import PyroConnection
from ._names import MASTER, NAMES_SECONDS, Names

PULSE_SECONDS = 3.0
LEASE_SECONDS = 10.0
LOOK_SECONDS = 0.25
"""How soon a node notices that the name server or the master is gone; looking costs them nothing."""
LEAVE_SECONDS = 0.5
"""Time limit of telling each of them good-bye: a node that drains has little time, and they need not live."""


class Membership:
    """Registers *name*; as one of n also at the master. Both are told again with every heartbeat, and as soon
    as the connection to one of them is lost: one that restarted learns of its nodes within a second."""

    def __init__(self, name_server: str, application: Application, *, has_master: bool) -> None:
        self._names = Names(name_server)
        self._application = application
        self._master: PyroConnection | None = None
        self._has_master = has_master
        self._lock = threading.Lock()
        self._pulse: BackgroundJob = heartbeat("heartbeat", LOOK_SECONDS, self._look)
        self._next_beat = 0.0
        self.name = ""
        self._uri = ""
        self._identifier = 0

    def take_name(self) -> str:
        """Return the node's name: the only one, or ``insult<ID>.service`` with an ID from the master."""
        kind = "insult" if self._application is Application.SERVICE else "filter"
        if self._has_master:
            self._identifier = int(str(self._call_master("next_identifier")))
            self.name = f"{kind}{self._identifier}.service"
        else:
            self.name = f"{kind}.service"
            self._names.stands_for(self.name, "")
        return self.name

    def join(self, uri: str) -> None:
        """Register, and stay registered."""
        self._uri = uri
        self._beat()
        self._pulse.start()

    def leave(self) -> None:
        """Give up the name and the place at once."""
        self._pulse.stop(LEAVE_SECONDS)
        self._names.release(self.name, self._uri, LEAVE_SECONDS)
        if self._master:
            with suppress(LabError):
                self._master.call("leave_slave", (self.name,), LEAVE_SECONDS)
        self._names.close()
        if self._master:
            self._master.close()

    def _look(self) -> None:
        is_known = not (self._names.is_lost() or (self._has_master and self._is_master_lost()))
        if not is_known or time.monotonic() >= self._next_beat:
            self._beat()
            self._next_beat = time.monotonic() + PULSE_SECONDS

    def _is_master_lost(self) -> bool:
        return self._master is None or self._master.is_lost()

    def _beat(self) -> None:
        with self._lock:
            try:
                self._names.claim(self.name, self._uri)
            finally:  # the master must not think that we are dead because the name server is
                if self._has_master:
                    self._call_master("heartbeat_slave", self._heartbeat())

    def _heartbeat(self) -> str:
        """Return the heartbeat; its pulse is for information, the master goes by its own clock."""
        return json.dumps(
            {
                "id": self._identifier,
                "name": self.name,
                "uri": self._uri,
                "application": self._application,
                "pulse": time.time(),
            }
        )

    def _call_master(self, method: str, *arguments: object) -> object:
        if self._master is None:
            self._master = PyroConnection(self._names.lookup(MASTER))
        try:
            return self._master.call(method, arguments, NAMES_SECONDS)
        except LabError:
            self._master.close()
            self._master = None  # it may have restarted elsewhere: look it up again
            raise
