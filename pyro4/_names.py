"""The name server, and how nodes and clients use it."""

import threading

from Pyro4 import naming

from lab.errors import Code, InvalidRequest, NotFound, Unavailable

from . import _settings as _settings
from ._connection import FOREIGN_SERIALIZER, PyroConnection

MASTER = "master.service"
NAMES_SECONDS = 2.0


class Names:
    """The name server at *address* (``host:port``), for one caller at a time."""

    def __init__(self, address: str) -> None:
        host, separator, port = address.rpartition(":")
        if not separator or not port.isdecimal():
            raise InvalidRequest(Code.MALFORMED, f"{address!r} is not a name server's HOST:PORT")
        self._connection = PyroConnection(f"PYRO:Pyro.NameServer@{host}:{port}", FOREIGN_SERIALIZER)

    def register(self, name: str, uri: str) -> None:
        """Let *name* stand for *uri*, whatever it stood for."""
        self._connection.call("register", [name, uri, False, None], NAMES_SECONDS)

    def remove(self, name: str) -> None:
        """Forget *name*."""
        self._connection.call("remove", [name], NAMES_SECONDS)

    def lookup(self, name: str, timeout_seconds: float = NAMES_SECONDS) -> str:
        """Return the URI that *name* stands for; Unavailable if nobody has it."""
        try:
            return str(self._connection.call("lookup", [name], timeout_seconds))
        except NotFound as error:
            raise Unavailable(f"nobody is registered as {name}; is it running?") from error

    def ping(self) -> None:
        """Return if the name server answers."""
        self._connection.ping(NAMES_SECONDS)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()


class ServedNames:
    """A name server on *host* and *port* (0: a free one), without broadcast look-up."""

    def __init__(self, host: str, port: int) -> None:
        try:
            _, self._daemon, _ = naming.startNS(host=host, port=port, enableBroadcast=False)
        except OSError as error:
            message = f"cannot listen on {host}:{port}: {error.strerror}; try another --port"
            raise Unavailable(message) from error
        self.port = int(self._daemon.locationStr.rpartition(":")[2])
        self._thread = threading.Thread(target=self._daemon.requestLoop, name="names", daemon=True)

    def start(self) -> None:
        """Serve, in a thread of its own."""
        self._thread.start()

    def stop(self, timeout_seconds: float) -> None:
        """Stop serving and free the port."""
        self._daemon.shutdown()
        self._thread.join(timeout_seconds)
