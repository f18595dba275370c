"""What the fault lab needs inside a filter node, and nobody else: off unless a test sets a variable.

A text that kills its worker cannot be made from outside: what was known to do so has been mended.
``LAB_POISON`` is therefore a word; a node that begins to work on a text with it ends at once, as it would by
a fault of a C library or when the kernel runs out of memory: no handler runs, nothing is acknowledged.

``LAB_WORKED`` is a file to which a node appends a line before it works on a text: its first word. It is the
only way to tell a text worked on twice, with one effect, from a text worked on once.
"""

import os
import signal
from collections.abc import Callable

from lab.settings import settings


def rehearsal() -> Callable[[str], None] | None:
    """Return what to call with each text before it is worked on; None, which costs nothing, for nothing."""
    poison, path = settings().poison, settings().worked
    if not poison and not path:
        return None
    worked = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o600) if path else -1

    def note(text: str) -> None:
        if worked >= 0:  # one write of a short line: whole, whoever else appends, whenever we are killed
            os.write(worked, f"{text.partition(' ')[0]}\n".encode())
        if poison and poison in text:
            os.kill(os.getpid(), signal.SIGKILL)

    return note
