"""Functions of a user's own, as ``--handler tests.contract.handlers:shout`` names them."""

import os
import signal
from pathlib import Path


def shout(text: str) -> str:
    """Return *text* in capitals."""
    return text.upper()


def stumble(text: str) -> str:
    """Fail once with ``fail FILE``, die once with ``die FILE``, fail each time with ``bad``."""
    deed, _, path = text.partition(" ")
    if deed == "bad":
        raise ValueError("this text is bad")
    if deed in ("fail", "die") and not Path(path).exists():
        Path(path).touch()
        if deed == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        raise ValueError("not today")
    return f"done {deed}"


def count(text: str) -> str:
    """Return what is no text."""
    return len(text)  # type: ignore[return-value]
