"""Hosts and ports: write them as URLs have them, find free ones, see who listens."""

import errno
import ipaddress
import random
import socket

from lab.errors import Code, InvalidRequest
from lab.options import LOOPBACK

SERVER_PORTS = range(20_000, 32_000)
CONNECT_SECONDS = 2.0
_ANYWHERE = {"0.0.0.0": "127.0.0.1", "::": "::1", "": "127.0.0.1"}


def host_port(host: str, port: int) -> str:
    """Return ``HOST:PORT``, or ``[HOST]:PORT`` if *host* is an IPv6 address."""
    host = host.strip("[]")
    return f"[{host}]:{port}" if ":" in host else f"{host}:{port}"


def reachable(host: str) -> str:
    """Return where this machine reaches what is bound to *host*: loopback if it stands for every address."""
    host = host.strip("[]")
    try:
        return _ANYWHERE.get(str(ipaddress.ip_address(host)), host)
    except ValueError:
        return _ANYWHERE.get(host, host)


def listener(host: str, port: int, backlog: int = 1024) -> socket.socket:
    """Return a socket that listens on *port* of *host*, IPv4 or IPv6; OSError if it cannot."""
    host = host.strip("[]")
    family, *_ = socket.getaddrinfo(host or None, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
    return socket.create_server((host, port), family=family, backlog=backlog)


def free_port(host: str = LOOPBACK) -> int:
    """Return a TCP port of *host*, an address of this machine, which nobody uses, below those of clients.

    InvalidRequest if *host* is no such address.

    A client that knocks on the port of a killed server would sooner or later be given that very port for its
    own end, and the server could not come back.
    """
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    while True:
        port = random.choice(SERVER_PORTS)
        with socket.socket(family) as probe:
            try:
                probe.bind((host, port))
            except (OSError, UnicodeError) as error:
                if getattr(error, "errno", 0) != errno.EADDRINUSE:
                    message = f"{host} is no address of this machine: {error}"
                    raise InvalidRequest(Code.MALFORMED, message) from error
            else:
                return port


def is_open(port: int, host: str = LOOPBACK) -> bool:
    """Tell whether somebody listens on *port* of *host*."""
    try:
        socket.create_connection((host, port), timeout=CONNECT_SECONDS).close()
    except OSError:
        return False
    return True


def allow_files(count: int) -> None:
    """Let this process, and those that it starts, open *count* files and sockets, if the system does."""
    import resource  # not on Windows

    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = count if hard == resource.RLIM_INFINITY else min(count, hard)
    if soft < wanted:
        resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
