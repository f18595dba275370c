"""The name server, and how nodes and clients use it.

Replaces nothing of Pyro4: it extends ``naming.NameServer`` with limits. What costs other clients much time is
refused: regular expressions, names without a bound. Pyro4's own name server works too.
"""

import os
import signal
from collections.abc import Sequence
from contextlib import suppress

import Pyro4
from Pyro4 import constants, naming

from lab.errors import AlreadyRunning, Code, InvalidRequest, LabError, NotFound, Overloaded, Unavailable
from lab.validation import clean_address

from .connection import FOREIGN_SERIALIZER, PyroConnection, answers
from .methods import check_text, checked
from .server import ServedObjects

NAME_SERVER = constants.NAMESERVER_NAME
MASTER = "master.service"
NAMES_SECONDS = 2.0
"""Time limit of a call to the name server."""
MAX_NAMES = 10_000
MAX_TAGS = 16
"""Metadata of a name."""


class Names:
    """The name server at *address* (``host:port``), for one caller at a time."""

    def __init__(self, address: str) -> None:
        clean_address(address)
        self._connection = PyroConnection(f"PYRO:{NAME_SERVER}@{address}", FOREIGN_SERIALIZER)
        self._replaced: AlreadyRunning | None = None

    def claim(self, name: str, uri: str) -> None:
        """Let *name* stand for *uri*; raise AlreadyRunning if it stands for another object that lives."""
        if self.stands_for(name, uri):
            return
        with suppress(NotFound):  # Pyro4's answer when another process was faster
            self._connection.call("register", [name, uri, True, None], NAMES_SECONDS)
        self.stands_for(name, uri)

    def keep(self, name: str, uri: str) -> None:
        """Claim *name* again. If it stands for another object that lives, end this process by SIGTERM.

        Two may have the state of one if they start at the same time, or if the first was frozen meanwhile.
        """
        try:
            self.claim(name, uri)
        except AlreadyRunning as error:
            if not self._replaced:
                os.kill(os.getpid(), signal.SIGTERM)
            self._replaced = error
            raise

    def check_kept(self) -> None:
        """Raise AlreadyRunning if :meth:`keep` found that another object has the name."""
        if self._replaced:
            raise self._replaced

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
        """Forget *name* if it stands for *uri*. Do not wait for a name server that is away."""
        with suppress(LabError):
            if self._find(name, timeout_seconds) == uri:
                self._connection.call("remove", [name], timeout_seconds)

    def lookup(self, name: str, timeout_seconds: float = NAMES_SECONDS) -> str:
        """Return the URI that *name* stands for; Unavailable if the name is free."""
        try:
            return self._find(name, timeout_seconds)
        except NotFound as error:
            raise Unavailable(f"nobody is registered as {name}; is it running?") from error

    def is_lost(self) -> bool:
        """Tell, without asking it, whether the name server has closed the connection."""
        return self._connection.is_lost()

    def ping(self) -> None:
        """Return if the name server answers."""
        self._connection.ping(NAMES_SECONDS)

    def close(self) -> None:
        """Close the connection."""
        self._connection.close()

    def _find(self, name: str, timeout_seconds: float = NAMES_SECONDS) -> str:
        return str(self._connection.call("lookup", [name], timeout_seconds))


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


@Pyro4.expose
class NameService(naming.NameServer):  # type: ignore[misc]
    """Pyro4's name server; the methods, their arguments and answers are the same."""

    def _checked_tags(self, metadata: object) -> Sequence[str] | None:
        if metadata is None:
            return None
        if not isinstance(metadata, (list, tuple, set, frozenset)):
            raise InvalidRequest(Code.WRONG_TYPE, "metadata is a list of texts")
        if len(metadata) > MAX_TAGS:
            raise InvalidRequest(Code.TOO_LARGE, f"{len(metadata)} texts of metadata; at most {MAX_TAGS}")
        for tag in metadata:
            check_text("metadata", tag)
        return tuple(metadata)

    @checked
    def count(self) -> int:
        return int(super().count())

    @checked
    def ping(self) -> None:
        """Answer."""

    @checked
    def lookup(self, name: str, return_metadata: object = False) -> object:
        return super().lookup(name, bool(return_metadata))

    @checked
    def register(self, name: str, uri: object, safe: object = False, metadata: object = None) -> None:
        place = str(uri)
        check_text("uri", place)
        try:
            Pyro4.URI(place)
        except Pyro4.errors.PyroError as error:
            message = f"{place[:60]!r} is not a Pyro URI like PYRO:object@host:port"
            raise InvalidRequest(Code.MALFORMED, message) from error
        if name not in self.storage and len(self.storage) >= MAX_NAMES:
            raise Overloaded(f"{MAX_NAMES} names are registered; remove some")
        if name == NAME_SERVER and name in self.storage:
            raise InvalidRequest(Code.MALFORMED, f"{NAME_SERVER} is the name server's own name")
        super().register(name, place, bool(safe), self._checked_tags(metadata))

    @checked
    def set_metadata(self, name: str, metadata: object) -> None:
        super().set_metadata(name, self._checked_tags(metadata))

    @checked
    def remove(self, name: object = None, prefix: object = None, regex: object = None) -> int:
        _check_filters(regex, name=name, prefix=prefix)
        return int(super().remove(name, prefix))

    @checked
    def list(
        self,
        prefix: object = None,
        regex: object = None,
        metadata_all: object = None,
        metadata_any: object = None,
        return_metadata: object = False,
    ) -> dict[str, object]:
        _check_filters(regex, prefix=prefix)
        if sum(one is not None for one in (prefix, metadata_all, metadata_any)) > 1:
            raise InvalidRequest(Code.WRONG_TYPE, "list takes one of prefix, metadata_all and metadata_any")
        wanted = self._checked_tags(metadata_all), self._checked_tags(metadata_any)
        found: dict[str, object] = super().list(prefix, None, *wanted, bool(return_metadata))
        return found


def _check_filters(regex: object, **texts: object) -> None:
    if regex is not None:  # one that takes for ever would stop every thread
        raise InvalidRequest(Code.MALFORMED, "regular expressions are refused; use a prefix")
    for name, text in texts.items():
        if text is not None:
            check_text(name, text)
