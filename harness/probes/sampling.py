"""Take stacks of running processes that let themselves be sampled (:mod:`.sampled`)."""

import re
import socket
from collections import Counter
from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from pathlib import Path
from types import TracebackType
from typing import NamedTuple, Self

from harness.probes.sampled import READY, door_of, stacks_of
from lab.errors import Unavailable

ANSWER_SECONDS = 10.0
_STACK = "most recent call first"
_FRAME = re.compile(r'^  File "(.*)", line (\d+|\?+) in (.*)$', re.M)


class Frame(NamedTuple):
    """A place in the code; *line* is 0 where the interpreter did not know it."""

    path: str
    line: int
    function: str


Stack = tuple[Frame, ...]
"""The innermost frame first."""


class Sampling:
    """Samples the processes of each component while its block runs; then :attr:`stacks` has what was seen."""

    def __init__(self, folder: Path, pids: Mapping[str, Sequence[int]]) -> None:
        self.stacks: dict[str, Counter[Stack]] = {}
        self._folder = folder
        self._pids = pids
        self._doors: list[socket.socket] = []
        self._stack = ExitStack()

    def __enter__(self) -> Self:
        with ExitStack() as stack:
            for pid in (pid for pids in self._pids.values() for pid in pids):
                self._doors.append(stack.enter_context(_opened(self._folder, pid)))
            self._stack = stack.pop_all()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        with self._stack:
            for door in self._doors:
                door.shutdown(socket.SHUT_WR)
            for door in self._doors:
                door.recv(1)  # nothing, once its timer is off
        for component, pids in self._pids.items():
            files = (stacks_of(self._folder, pid) for pid in pids)
            self.stacks[component] = sum((read_stacks(file.read_text("utf-8")) for file in files), Counter())


def read_stacks(text: str) -> Counter[Stack]:
    """Read what faulthandler wrote; a stack without a frame counts as an empty one."""
    _, *dumps = text.split(_STACK)
    return Counter(tuple(_frames(dump)) for dump in dumps)


def _frames(dump: str) -> list[Frame]:
    return [
        Frame(path, int(line) if line.isdecimal() else 0, function)
        for path, line, function in _FRAME.findall(dump)
    ]


def _opened(folder: Path, pid: int) -> socket.socket:
    door = socket.socket(socket.AF_UNIX)
    try:
        door.settimeout(ANSWER_SECONDS)
        door.connect(str(door_of(folder, pid)))
        if door.recv(1) == READY:
            return door
    except OSError as error:
        door.close()
        raise Unavailable(f"process {pid} does not let itself be sampled: {error}") from error
    door.close()
    raise Unavailable(f"process {pid} ended before it could be sampled")
