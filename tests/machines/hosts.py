"""Several hosts on one machine: network namespaces on a bridge in one of their own (Linux, as root).

A thread that enters a host makes its sockets there, and so do the threads and processes that it starts.
"""

import ctypes
import os
import secrets
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

NETWORK = "10.213.77"
_CLONE_NEWNET = 0x40000000


class NotPermitted(Exception):
    """Namespaces cannot be made here; the message says why."""


@dataclass(frozen=True, slots=True)
class Host:
    """A namespace of its own, with one address on the bridge."""

    namespace: str
    address: str
    cable: str
    """The bridge's end of its link."""

    @contextmanager
    def entered(self) -> Iterator[None]:
        """Be on this host, in this thread."""
        there = Path("/run/netns") / self.namespace
        with Path("/proc/thread-self/ns/net").open("rb") as home, there.open("rb") as away:
            _enter(away.fileno())
            try:
                yield
            finally:
                _enter(home.fileno())


class Network:
    """*count* hosts that reach one another; a context manager that leaves nothing behind."""

    def __init__(self, count: int) -> None:
        self._name = f"lab-{secrets.token_hex(4)}"
        self._stack = ExitStack()
        try:
            self._namespace(self._name)
            ip("-n", self._name, "link", "add", "bridge", "type", "bridge")
            ip("-n", self._name, "link", "set", "bridge", "up")
            self.hosts = [self._host(number) for number in range(1, count + 1)]
        except BaseException:
            self._stack.close()
            raise

    def __enter__(self) -> "Network":
        return self

    def __exit__(self, *exception: object) -> None:
        self._stack.close()

    def cut(self, host: Host) -> None:
        """Pull the cable of *host*."""
        ip("-n", self._name, "link", "set", host.cable, "down")

    def join(self, host: Host) -> None:
        """Plug it in again."""
        ip("-n", self._name, "link", "set", host.cable, "up")

    def _host(self, number: int) -> Host:
        host = Host(f"{self._name}-{number}", f"{NETWORK}.{number}", f"cable{number}")
        self._namespace(host.namespace)
        pair = ("type", "veth", "peer", "name", "eth0", "netns", host.namespace)
        ip("-n", self._name, "link", "add", host.cable, *pair)
        ip("-n", self._name, "link", "set", host.cable, "master", "bridge", "up")
        ip("-n", host.namespace, "address", "add", f"{host.address}/24", "dev", "eth0")
        for device in ("lo", "eth0"):
            ip("-n", host.namespace, "link", "set", device, "up")
        return host

    def _namespace(self, name: str) -> None:
        ip("netns", "add", name)
        self._stack.callback(ip, "netns", "delete", name)


def ip(*arguments: str) -> None:
    """Run ``ip``; NotPermitted, with its words, if that fails."""
    if not shutil.which("ip"):
        raise NotPermitted("there is no `ip` here: apt install iproute2")
    done = subprocess.run(["ip", *arguments], capture_output=True, text=True, check=False)
    if done.returncode:
        raise NotPermitted(f"`ip {' '.join(arguments)}`: {done.stderr.strip()}")


def _enter(descriptor: int) -> None:
    if ctypes.CDLL(None, use_errno=True).setns(descriptor, _CLONE_NEWNET):
        raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
