"""The name server, and how nodes and clients use it."""

import re
from contextlib import suppress

from lab.errors import AlreadyRunning, Code, InvalidRequest, LabError, NotFound, Unavailable

from . import _settings as _settings
from ._connection import FOREIGN_SERIALIZER, PyroConnection, answers
from ._daemon import ServedObjects
from ._name_service import NAME_SERVER, NameService

MASTER = "master.service"
NAMES_SECONDS = 2.0
_HOST = re.compile(r"[\w.-]+|\[[0-9a-f:.]+\]", re.IGNORECASE)


class Names:
    """The name server at *address* (``host:port``), for one caller at a time."""

    def __init__(self, address: str) -> None:
        host, _, port = address.rpartition(":")
        if not _HOST.fullmatch(host) or not port.isdecimal() or not 0 < int(port) < 65536:
            message = f"{address!r} is not a name server's HOST:PORT; an IPv6 address stands in brackets"
            raise InvalidRequest(Code.MALFORMED, message)
        self._connection = PyroConnection(f"PYRO:{NAME_SERVER}@{host}:{port}", FOREIGN_SERIALIZER)

    def claim(self, name: str, uri: str) -> None:
        """Let *name* stand for *uri*; raise AlreadyRunning if it stands for another object that lives."""
        if self.stands_for(name, uri):
            return
        with suppress(NotFound):  # Pyro4's answer when another process was faster
            self._connection.call("register", [name, uri, True, None], NAMES_SECONDS)
        self.stands_for(name, uri)

    def stands_for(self, name: str, uri: str) -> bool:
        """Tell whether *name* stands for *uri*; raise AlreadyRunning if it is another object that lives.

        The name of a dead object is forgotten.
        """
        try:
            owner = self._find(name)
        except NotFound:
            return False
        if owner != uri:
            if answers(owner):
                raise AlreadyRunning(f"{name} runs already, at {owner}; stop it before you start another")
            self._connection.call("remove", [name], NAMES_SECONDS)
        return owner == uri

    def release(self, name: str, uri: str, timeout_seconds: float = NAMES_SECONDS) -> None:
        """Forget *name* if it stands for *uri*. A name server that is away is not waited for."""
        with suppress(LabError):
            if self._find(name, timeout_seconds) == uri:
                self._connection.call("remove", [name], timeout_seconds)

    def lookup(self, name: str, timeout_seconds: float = NAMES_SECONDS) -> str:
        """Return the URI that *name* stands for; Unavailable if nobody has it."""
        try:
            return self._find(name, timeout_seconds)
        except NotFound as error:
            raise Unavailable(f"nobody is registered as {name}; is it running?") from error

    def _find(self, name: str, timeout_seconds: float = NAMES_SECONDS) -> str:
        return str(self._connection.call("lookup", [name], timeout_seconds))

    def is_lost(self) -> bool:
        """Tell, without asking it, whether the name server has closed the connection."""
        return self._connection.is_lost()

    def ping(self) -> None:
        """Return if the name server answers."""
        self._connection.ping(NAMES_SECONDS)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class ServedNames:
    """A name server on *host* and *port* (0: a free one), without broadcast look-up."""

    def __init__(self, host: str, port: int, advertised_host: str) -> None:
        self._served = ServedObjects(host, port, advertised_host)
        self.address = self._served.address

    def start(self) -> None:
        """Serve, in a thread of its own."""
        service = NameService()
        uris = self._served.serve({NAME_SERVER: service})
        service.register(NAME_SERVER, uris[NAME_SERVER])

    def stop(self, timeout_seconds: float) -> None:
        """Stop serving and free the port."""
        self._served.close(timeout_seconds)
