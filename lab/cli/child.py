"""Run a program in the foreground and let it clean up when we are interrupted."""

import signal
import subprocess
from collections.abc import Mapping, Sequence

from lab.bootstrap import ROOT

CLEAN_UP_SECONDS = 20.0


class Terminated(KeyboardInterrupt):
    """SIGTERM came: to us alone, unlike Ctrl-C, of which the terminal tells our children too."""


def run_child(command: Sequence[str], environment: Mapping[str, str] | None = None) -> int:
    """Run *command* in the root; return its exit code. Interrupted: give it time to clean up, then go on."""
    with subprocess.Popen(command, cwd=ROOT, env=environment) as child:
        try:
            return child.wait()
        except KeyboardInterrupt as interrupt:
            try:
                if isinstance(interrupt, Terminated):
                    child.send_signal(signal.SIGINT)
                child.wait(CLEAN_UP_SECONDS)
            except (subprocess.TimeoutExpired, KeyboardInterrupt):
                child.kill()
            raise


def terminate(signum: int, _frame: object) -> None:
    """Let SIGTERM end us like Ctrl-C: what we started ends too. Once: what comes then is the cleaning up."""
    signal.signal(signum, signal.SIG_IGN)
    raise Terminated
