"""Write host and port as URLs have them: an IPv6 address stands in brackets."""

import ipaddress
import socket

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
