"""Make the lab's own environment on first use, run in it, and tell errors in one line.

Needs the standard library alone. Every process of the lab loads this module, and a node's start-up time is
measured: so what only the making of the environment needs is imported there.
"""

import codecs
import os
import re
import signal
import sys
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

TYPE_CHECKING = False
if TYPE_CHECKING:
    from types import TracebackType
    from typing import TextIO

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
ENDING = (signal.SIGINT, signal.SIGTERM, *([signal.SIGHUP] if hasattr(signal, "SIGHUP") else []))
"""Ctrl-C, `kill`, and a terminal that is closed."""
GOOD, FAILED, WRONG_USAGE, INTERRUPTED = 0, 1, 2, 130
"""Exit codes. 3 is for a result that is undecided."""
_PIN = re.compile(r"^([A-Za-z0-9_.-]+)(?:\[[^]]*\])?==([^;\s]+)")


class SetUpError(Exception):
    """The environment cannot be made; the message says what to do."""


def enter(arguments: list[str], requirements: str = "requirements.txt") -> None:
    """Return if *requirements* can be imported here; else run the lab again in ``.venv``, made if need be."""
    wanted = ROOT / requirements
    if _satisfied(wanted):
        return
    if not _is_installed(wanted):
        _install_locked(wanted)
    if _runs_in_venv():
        if not _satisfied(wanted):
            raise SetUpError(f"{VENV} does not hold what {requirements} lists: delete it and try again")
        return
    try:
        os.execv(PYTHON, [str(PYTHON), "-m", "lab", *arguments])
    except OSError as error:
        raise SetUpError(
            f"{PYTHON} cannot be run: {error.strerror}. Was {VENV} made by another user? Use a copy of this "
            f"folder of your own, or a Python that has what {requirements} lists"
        ) from error


def on_a_terminal() -> bool:
    """Tell whether there is somebody to ask."""
    return sys.stdin is not None and sys.stdin.isatty()


def explain_errors() -> None:
    """From now on, when this process ends by an error, print one line instead of a traceback."""
    sys.excepthook = _explain


def run_program(main: Callable[[], int]) -> int:
    """Run the *main* of a program; return its exit code. No traceback reaches the person who started it.

    An error is one line. An output that is closed early (`| head -1`) ends the program in silence, one that
    is full ends it with a line. Where the locale knows ASCII only, input and output are UTF-8. A letter that
    cannot be decoded or written does not end the program.
    """
    _prepare_streams()
    try:
        code = _exit_code(main)
        if sys.stdout is not None:
            sys.stdout.flush()
    except KeyboardInterrupt:
        # If it came while a text was run (a dataclass does that), Python remembers it, and would end by the
        # signal, not with our exit code. The next text makes it forget.
        exec("")
        return complain("interrupted; everything started is ended", INTERRUPTED)
    except Exception as error:  # noqa: BLE001 (whatever it is, a person reads one line)
        return end_with(error)
    return code


def end_with(error: Exception) -> int:
    """Say in one line that *error* ends the program; return the exit code."""
    if _is_output_broken():
        _give_up(sys.stdout)
        if isinstance(error, BrokenPipeError):
            return FAILED
    message, code = _described(error)
    if "DEBUG" in os.environ.get("LAB_LOG_LEVEL", ""):
        sys.__excepthook__(type(error), error, error.__traceback__)
    return complain(message, code)


def complain(message: str, code: int) -> int:
    """Print *message* in one line on standard error; return *code*."""
    try:
        print(f"lab: {' '.join(message.split())}", file=sys.stderr, flush=True)
    except (OSError, ValueError, AttributeError):  # closed, full or not there: nobody can be told
        _give_up(sys.stderr)
    return code


def _give_up(stream: "TextIO") -> None:
    """Lead *stream* to nowhere: Python writes what is left at the very end, and would complain."""
    with suppress(OSError, ValueError, AttributeError):
        os.dup2(os.open(os.devnull, os.O_WRONLY), stream.fileno())


def _exit_code(main: Callable[[], int]) -> int:
    try:
        return int(main())
    except SystemExit as end:  # argparse, above all
        if isinstance(end.code, str):
            return complain(end.code, FAILED)
        return end.code or GOOD


def _is_output_broken() -> bool:
    """Tell whether standard output takes no more: what is written to it fails, or nobody reads it."""
    if sys.stdout is None:
        return False
    import select

    try:
        sys.stdout.flush()
        look = select.poll()
        look.register(sys.stdout.fileno(), 0)
    except (OSError, ValueError):
        return True
    return any(event & select.POLLERR for _, event in look.poll(0))


def _described(error: BaseException) -> "tuple[str, int]":
    """Return what to say about *error* in one line, and the exit code."""
    # The modules of these two need the standard library alone.
    from lab.errors import AlreadyRunning, InvalidRequest, LabError
    from lab.settings import SettingsError

    if isinstance(error, SettingsError):
        return str(error), WRONG_USAGE
    if isinstance(error, LabError):
        wrong = isinstance(error, (InvalidRequest, AlreadyRunning))
        return error.message, WRONG_USAGE if wrong else getattr(error, "exit_code", FAILED)
    if isinstance(error, SetUpError):
        return str(error), FAILED
    if isinstance(error, ModuleNotFoundError) and _is_required((error.name or "").partition(".")[0]):
        fix = "enter the lab's environment with `. .venv/bin/activate` (`python3 -m lab doctor` makes it)"
        return f"the package {error.name} is not in {sys.prefix}; {fix}", FAILED
    if isinstance(error, OSError) and error.strerror:
        where = f"{error.filename}: " if error.filename else ""
        return f"{where}{error.strerror}", FAILED
    told = "LAB_LOG_LEVEL=DEBUG prints where"
    return f"this is an error of the lab itself: {type(error).__name__}: {error}; {told}", FAILED


# In quotes: an interpreter that is too old reads this file before it is told so.
def _explain(kind: "type[BaseException]", error: BaseException, trace: "TracebackType | None") -> None:
    if isinstance(error, KeyboardInterrupt) or "DEBUG" in os.environ.get("LAB_LOG_LEVEL", ""):
        sys.__excepthook__(kind, error, trace)
    else:
        complain(_described(error)[0], FAILED)


def _prepare_streams() -> None:
    """Let no letter that cannot be read or written end the program, and no stream that is closed."""
    sys.stdin = sys.stdin or open(os.devnull, encoding="utf-8")  # noqa: SIM115, it lasts as long as we do
    sys.stdout = sys.stdout or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    sys.stderr = sys.stderr or open(os.devnull, "w", encoding="utf-8")  # noqa: SIM115
    for stream, errors in (
        (sys.stdin, "surrogateescape"),  # what reads it refuses such a text, with a code
        (sys.stdout, "backslashreplace"),
        (sys.stderr, "backslashreplace"),
    ):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure:
            has_ascii_only = codecs.lookup(stream.encoding).name == "ascii"
            reconfigure(encoding="utf-8" if has_ascii_only else stream.encoding, errors=errors)


def _is_required(name: str) -> bool:
    listed = (ROOT / "requirements.txt").read_text(encoding="utf-8").lower()
    return bool(name) and any(line.startswith(name.lower().replace("_", "-")) for line in listed.splitlines())


def pins(requirements: Path) -> list[tuple[str, str]]:
    """Return the names and versions that the file *requirements* pins, with those it refers to."""
    found = []
    for line in requirements.read_text(encoding="utf-8").splitlines():
        if line.startswith("-r "):
            found += pins(requirements.parent / line[3:].strip())
        elif match := _PIN.match(line):
            found.append((match[1], match[2]))
    return found


def _satisfied(requirements: Path) -> bool:
    """Tell whether every pinned package is there in its version."""
    import importlib.metadata

    for name, version in pins(requirements):
        try:
            if importlib.metadata.version(name) != version:
                return False
        except importlib.metadata.PackageNotFoundError:
            return False
    return True


def _runs_in_venv() -> bool:
    try:
        return VENV.samefile(sys.prefix)
    except OSError:  # it is not there, or we may not look
        return False


def _stamp(requirements: Path) -> "tuple[Path, str]":
    """Return the file that says that *requirements* are installed in ``.venv``, and what must stand in it."""
    import hashlib

    digest = hashlib.sha256(repr(pins(requirements)).encode()).hexdigest()
    return VENV / f"installed-{requirements.stem}", digest


def _is_installed(requirements: Path) -> bool:
    stamp, digest = _stamp(requirements)
    try:
        return PYTHON.exists() and stamp.read_text(encoding="utf-8") == digest
    except OSError:
        return False


def _install_locked(requirements: Path) -> None:
    """Install once, however many processes ask at the same time."""
    import fcntl

    try:
        with (ROOT / ".venv.lock").open("w") as lock:
            try:
                fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                _say("another process is setting up .venv; waiting for it")
                fcntl.flock(lock, fcntl.LOCK_EX)
            if not _is_installed(requirements):
                _install(requirements)
    except OSError as error:
        raise SetUpError(
            f"{VENV} cannot be made here: {error.filename or ROOT}: {error.strerror}. Run one command as the "
            f"owner of {ROOT}, use a copy of your own, or a Python that has what {requirements.name} lists"
        ) from error


def _install(requirements: Path) -> None:
    import subprocess

    _make_environment()
    _say(f"installing {requirements.name} into .venv (under a minute)")
    pip = [str(PYTHON), "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-input"]
    if subprocess.run([*pip, "-r", str(requirements)], check=False).returncode:
        raise SetUpError(
            f"pip could not install {requirements.name}: its words stand above. Is there a network? "
            f"If {VENV} is damaged, delete it and try again"
        )
    # The stamp is written last: an installation that was interrupted is done again.
    stamp, digest = _stamp(requirements)
    stamp.write_text(digest, encoding="utf-8")


def _make_environment() -> None:
    """Make ``.venv``, again if its making was interrupted; one that somebody else made is used as it is."""
    unfinished = VENV / "unfinished"
    if PYTHON.exists() and not unfinished.exists():
        return
    if VENV.exists() and not unfinished.exists():
        raise SetUpError(f"{VENV} has no working Python (was it upgraded?): delete it and try again")
    import shutil

    _say("first use: making .venv")
    shutil.rmtree(VENV, ignore_errors=True)
    VENV.mkdir()
    unfinished.touch()
    _make_venv()
    unfinished.unlink()


def _make_venv() -> None:
    import subprocess

    maker = "venv"
    if not _has("ensurepip"):  # Debian keeps it in a package of its own
        if _has("virtualenv"):
            maker = "virtualenv"
        else:
            _install_ensurepip()
    # In a process of its own: one that has just got ensurepip does not see it yet.
    if subprocess.run(
        [sys.executable, "-m", maker, str(VENV)], stdout=subprocess.DEVNULL, check=False
    ).returncode:
        raise SetUpError(f"`{sys.executable} -m {maker} {VENV}` failed: its words stand above")


def _install_ensurepip() -> None:
    """Install Debian's package where nobody can be asked: root without a terminal (CI, a container)."""
    import shutil
    import subprocess

    package = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
    fix = f"this Python cannot make environments: apt install {package} (or pip install virtualenv)"
    if os.geteuid() or on_a_terminal() or not shutil.which("apt-get"):
        raise SetUpError(fix)
    _say(f"installing {package} with apt-get")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "update", "-qq"], ["apt-get", "install", "-qq", "-y", package]):
        if subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=False).returncode:
            raise SetUpError(fix)


def _has(module: str) -> bool:
    import importlib.util

    return importlib.util.find_spec(module) is not None


def _say(message: str) -> None:
    print(f"lab: {message}", file=sys.stderr, flush=True)
