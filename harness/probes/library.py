"""How much of a call lies in the middleware's library, counted by calls of Python functions.

``python -m harness.probes.library FOLDER MODULE ...`` runs MODULE so that its calls can be counted. They are
counted in each of its threads, while a connection to its socket in FOLDER is open.
"""

import json
import os
import runpy
import socket
import sys
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import FrameType

from harness.probes.parts import relative
from harness.probes.sampling import Stack
from harness.record.findings import CARRYING, LIBRARY
from lab.bootstrap import ROOT

APPLICATION, REST = "application", "rest"
"""Of the lab's applications; of the rest of Python."""
LIBRARIES: Mapping[str, tuple[str, ...]] = {
    "xmlrpc": ("xmlrpc/", "http/", "xml/", "socketserver.py", "email/"),
    "pyro4": ("Pyro4/", "serpent.py", "msgpack/"),
    "redis_impl": ("redis/", "hiredis/"),
    "rabbitmq": ("pika/",),
}
_APPLICATION = ("lab/applications/", "lab/store/", "lab/validation.py", "lab/data/")
_READY = b"+"


class CallCounter:
    """Counts the calls of Python functions by file, in this thread and in threads that start later."""

    def __init__(self) -> None:
        self.calls: Counter[str] = Counter()
        self.is_on = False

    def install(self) -> None:
        """Let every call be seen from now on; it is counted while :attr:`is_on` is set."""
        threading.setprofile(self._see)
        sys.setprofile(self._see)

    @staticmethod
    def uninstall() -> None:
        """Let no call of this thread and of later ones be seen any more."""
        threading.setprofile(None)
        sys.setprofile(None)

    def _see(self, frame: FrameType, event: str, _: object) -> None:
        if self.is_on and event == "call":
            self.calls[frame.f_code.co_filename] += 1


def kind_of(path: str, middleware: str) -> str:
    """Return which of the four kinds the file at *path* is of, for a variant of *middleware*."""
    is_ours = path.startswith(f"{ROOT}/") and ".venv" not in path
    inside = relative(path)
    if is_ours:
        return APPLICATION if inside.startswith(_APPLICATION) else CARRYING
    return LIBRARY if inside.startswith(LIBRARIES[middleware.partition(":")[0]]) else REST


def kind_of_stack(stack: Stack, middleware: str) -> str:
    """Return the kind of the innermost frame that is not of the rest of Python."""
    kinds = (kind_of(frame.path, middleware) for frame in stack)
    return next((kind for kind in kinds if kind != REST), REST)


@contextmanager
def counted(folder: Path, pid: int, into: Counter[str]) -> Iterator[None]:
    """Add the calls of process *pid* during the block to *into*."""
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(10.0)
        connection.connect(str(_door(folder, pid)))
        connection.recv(1)
        yield
        connection.shutdown(socket.SHUT_WR)
        into.update(json.loads(b"".join(iter(lambda: connection.recv(65536), b""))))


def _door(folder: Path, pid: int) -> Path:
    return folder / f"{pid}.calls"


def _serve(listener: socket.socket, counter: CallCounter) -> None:
    while True:
        connection, _ = listener.accept()
        with connection:
            counter.calls.clear()
            counter.is_on = True
            connection.sendall(_READY)
            connection.recv(1)  # nothing: the other side has seen enough
            counter.is_on = False
            connection.sendall(json.dumps(counter.calls).encode())


def main(argv: list[str]) -> None:
    """Run a module as ``python -m`` does, and let its calls be counted."""
    folder, module, *arguments = argv
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(_door(Path(folder), os.getpid())))
    listener.listen()
    counter = CallCounter()
    threading.Thread(target=_serve, args=(listener, counter), name="counting", daemon=True).start()
    counter.install()
    sys.argv[1:] = arguments
    runpy.run_module(module, run_name="__main__", alter_sys=True)


if __name__ == "__main__":
    main(sys.argv[1:])
