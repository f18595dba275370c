"""An experiment on several machines: what must be true before, and what the record says of them."""

import ipaddress
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import asdict
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from lab.errors import Code, InvalidRequest
from lab.settings import settings

if TYPE_CHECKING:  # needs Dask
    from machines.far import Machines

VARIABLES = {"redis": "LAB_REDIS_URL", "rabbitmq": "LAB_AMQP_URL"}


@contextmanager
def several(scheduler: str, kinds: frozenset[str]) -> Iterator["Machines"]:
    """Connect the machines of *scheduler*; InvalidRequest if brokers or workers are at loopback addresses."""
    _check_brokers(kinds)
    from machines.far import Machines

    with Machines(scheduler) as machines:
        for machine in machines:
            if _is_loopback(machine.host):
                raise _refused(
                    f"a Dask worker is at {machine.host}, where other machines cannot reach its nodes: start "
                    "it with `python3 -m lab machine URL --host ADDRESS`"
                )
        yield machines


def described(machines: "Machines") -> dict[str, object]:
    """Return what the record says of the *machines*: the nodes' cores are theirs."""
    return {
        "cores": sum(machine.description.cores for machine in machines),
        "machines": [{"host": machine.host, **asdict(machine.description)} for machine in machines],
    }


def _check_brokers(kinds: frozenset[str]) -> None:
    urls = {"redis": settings().redis_url, "rabbitmq": settings().amqp_url}
    for kind in sorted(kinds):
        host = urlsplit(urls[kind]).hostname or ""
        if not host or _is_loopback(host):
            raise _refused(
                f"{VARIABLES[kind]} must name a {kind} at an address that all machines reach, not loopback: "
                "`python3 -m lab up --host ADDRESS` starts one"
            )


def _is_loopback(host: str) -> bool:
    try:
        found = {str(entry[4][0]) for entry in socket.getaddrinfo(host, None)}
    except OSError:
        return False  # whoever uses it says so
    return any(ipaddress.ip_address(address).is_loopback for address in found)


def _refused(message: str) -> InvalidRequest:
    return InvalidRequest(Code.MALFORMED, f"--cluster: {message}")
