"""Functions of a user's own, as ``--handler tests.contract.handlers:deeds`` names them."""

import os
import signal
import time
from pathlib import Path

REST_SECONDS = 0.15


def deeds(text: str) -> str:
    """Fail once with ``fail FILE``, die once with ``die FILE``, fail each time with ``bad``; else shout.

    ``rest`` takes 0.15 s.
    """
    deed, _, path = text.partition(" ")
    if deed == "bad":
        raise ValueError("this text is bad")
    if deed == "rest":
        time.sleep(REST_SECONDS)
    if deed in ("fail", "die") and not Path(path).exists():
        Path(path).touch()
        if deed == "die":
            os.kill(os.getpid(), signal.SIGKILL)
        raise ValueError("not today")
    return text.upper()


def count(text: str) -> str:
    """Return what is no text."""
    return len(text)  # type: ignore[return-value]
