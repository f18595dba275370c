"""The address of a Dask scheduler."""

from urllib.parse import urlsplit

from lab.addresses import is_open
from lab.errors import Code, InvalidRequest, Unavailable


def check_scheduler(url: str) -> None:
    """Raise InvalidRequest if *url* is no address of a scheduler, Unavailable if nobody listens there."""
    try:
        parts = urlsplit(url)
        host, port = parts.hostname, parts.port
    except ValueError:
        host, port = None, None
    if not host or not port or parts.scheme not in ("tcp", "tls"):
        message = f"{url!r} is not a Dask scheduler's address like tcp://10.0.0.1:8786"
        raise InvalidRequest(Code.MALFORMED, message)
    if not is_open(port, host):
        raise nobody_at(url)


def nobody_at(url: str) -> Unavailable:
    """Return the error of a scheduler that does not answer."""
    return Unavailable(f"no Dask scheduler answers at {url}: docs/cluster.md tells how to start one")
