"""The object that a name server serves: Pyro4's, with limits, and without what costs others their time."""

from collections.abc import Sequence

import Pyro4
from Pyro4 import constants, naming

from lab.errors import Code, InvalidRequest, Overloaded

from ._remote import check_text, checked

NAME_SERVER = constants.NAMESERVER_NAME
MAX_NAMES = 10_000
MAX_TAGS = 16
"""Metadata of a name."""


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
    if regex is not None:  # one that never ends would stop every thread
        raise InvalidRequest(Code.MALFORMED, "regular expressions are refused; use a prefix")
    for name, text in texts.items():
        if text is not None:
            check_text(name, text)
