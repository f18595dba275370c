"""The machines of a Dask scheduler: check them, lease them, and release them at the end.

The lab uses Dask's workers only to start and end processes. Only what is run with ``--cluster`` imports this
module: Dask is an optional requirement.
"""

import ipaddress
import logging
import threading
from collections.abc import Sequence
from contextlib import suppress
from typing import Any
from urllib.parse import urlsplit

from distributed import Client, Future

from lab.contract import Closing
from lab.errors import LabError, Unavailable
from machines.launcher import DaskLauncher
from machines.machine import LEASE_SECONDS, Description, Machine, check_scheduler, describe, nobody_at

CONNECT_SECONDS = 10.0
REGISTER_SECONDS = 3.0
CALL_SECONDS = 20.0
RENEW_SECONDS = 1.0
CLOSE_SECONDS = 10.0
PINNED = {"allow_other_workers": False, "pure": False, "retries": 0}
"""Dask must not move, cache or repeat these tasks."""
HOW_TO = "docs/cluster.md tells how"


class FarMachine:
    """One machine; *call* asks what runs there (:class:`machines.machine.Machine`)."""

    def __init__(self, host: str, description: Description, actor: Any) -> None:
        self.host = host
        self.description = description
        self.is_lost = False
        self._actor = actor
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._renew_on, name=f"lease of {host}", daemon=True)
        self._thread.start()

    def call(self, method: str, *arguments: object, timeout_seconds: float = CALL_SECONDS) -> Any:
        """Return what *method* returns there; a LabError if it raises one, or if the machine is lost."""
        if self.is_lost:
            raise self._lost()
        try:
            return getattr(self._actor, method)(*arguments).result(timeout_seconds)
        except LabError:
            raise
        except (
            OSError,
            RuntimeError,
            KeyError,
            TimeoutError,
        ) as error:  # what Dask raises when a worker is gone
            self.is_lost = True
            raise self._lost() from error

    def close(self) -> None:
        """End all processes there."""
        self._ended.set()
        with suppress(LabError):
            self.call("close", timeout_seconds=CLOSE_SECONDS)

    def _renew_on(self) -> None:
        while not self.is_lost and not self._ended.wait(RENEW_SECONDS):
            with suppress(LabError):
                self.is_lost = not self.call("renew", timeout_seconds=LEASE_SECONDS)

    def _lost(self) -> Unavailable:
        return Unavailable(
            f"machine {self.host} is lost: its Dask worker ended or cannot be reached; "
            f"what ran there ends within {LEASE_SECONDS:g} s"
        )


class Machines(Closing, Sequence[FarMachine]):
    """Every worker of the *scheduler* (tcp://HOST:PORT), one a machine; a context manager.

    InvalidRequest if that is no such address; Unavailable if nobody answers, there are no workers, or one
    does not run this very code.
    """

    def __init__(self, scheduler: str) -> None:
        self._client = _connect(scheduler)
        self._machines: list[FarMachine] = []
        try:
            workers = self._workers(scheduler)
            descriptions = {host: self._described(host, address) for host, address in workers.items()}
            for host, description in descriptions.items():
                _check_same(host, description)
            for host, address in workers.items():
                making = self._client.submit(Machine, host, actor=True, workers=[address], **PINNED)
                self._machines.append(FarMachine(host, descriptions[host], _result(making, host)))
        except BaseException:
            self.close()
            raise

    def __getitem__(self, index: Any) -> Any:
        return self._machines[index]

    def __len__(self) -> int:
        return len(self._machines)

    def launcher(self) -> DaskLauncher:
        """Return a launcher for one system."""
        return DaskLauncher(self)

    @property
    def is_whole(self) -> bool:
        """Tell whether no machine was lost."""
        return not any(machine.is_lost for machine in self)

    def close(self) -> None:
        """End all processes on all of them, and leave the scheduler."""
        for machine in self._machines:
            machine.close()
        self._client.close(timeout=CLOSE_SECONDS)  # type: ignore[no-untyped-call]

    def _workers(self, scheduler: str) -> dict[str, str]:
        """Return the address of each worker by its host, in the order of the hosts."""
        found: dict[str, str] = {}
        with suppress(TimeoutError):
            self._client.wait_for_workers(1, timeout=REGISTER_SECONDS)
        for address in self._client.scheduler_info(n_workers=-1)["workers"]:
            host = str(urlsplit(address).hostname)
            if host in found:
                raise Unavailable(f"two Dask workers run on {host}; start one on each machine: {HOW_TO}")
            if not _is_ipv4(host):
                raise Unavailable(f"the Dask worker on {host} is not at an IPv4 address: {HOW_TO}")
            found[host] = address
        if not found:
            raise Unavailable(f"the scheduler at {scheduler} has no workers: {HOW_TO}")
        return dict(sorted(found.items(), key=lambda item: ipaddress.IPv4Address(item[0])))

    def _described(self, host: str, address: str) -> Description:
        asking = self._client.submit(describe, workers=[address], **PINNED)
        described: Description = _result(asking, host)
        return described


def _is_ipv4(host: str) -> bool:
    try:
        ipaddress.IPv4Address(host)
    except ValueError:
        return False
    return True


def _connect(scheduler: str) -> Client:
    check_scheduler(scheduler)
    # Dask logs every lost connection with a traceback. We log one line.
    for name in ("distributed", "tornado.application"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
    try:
        return Client(scheduler, timeout=CONNECT_SECONDS)  # type: ignore[no-untyped-call]
    except (OSError, ValueError, RuntimeError, TimeoutError) as error:
        raise nobody_at(scheduler) from error


def _result(future: "Future[Any]", host: str) -> Any:
    try:
        return future.result(timeout=CALL_SECONDS)
    except Exception as error:
        fix = "is it started in the lab's folder, with its .venv and the same commit?"
        raise Unavailable(f"the Dask worker on {host} cannot run the lab ({error!r}): {fix}") from error


def _check_same(host: str, theirs: Description) -> None:
    ours = describe()
    if theirs.python != ours.python:
        raise Unavailable(f"machine {host} has Python {theirs.python}, this one {ours.python}: use the same")
    if theirs.code != ours.code:
        commits = f"commit {theirs.commit or 'unknown'}, this one {ours.commit or 'unknown'}"
        raise Unavailable(
            f"machine {host} has other code of the lab ({commits}): check out the same on all, unchanged, "
            "and start the Dask workers again"
        )
