"""Make the lab's own environment on first use, with the standard library alone, and run in it."""

import fcntl
import hashlib
import importlib.metadata
import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
PYTHON = VENV / "bin" / "python"
_PIN = re.compile(r"^([A-Za-z0-9_.-]+)(?:\[[^]]*\])?==([^;\s]+)")


class SetUpError(Exception):
    """The environment cannot be made; the message says what to do."""


def enter(arguments: list[str], requirements: str = "requirements.txt") -> None:
    """Return if *requirements* can be imported here; else run the lab again in ``.venv``, made if need be."""
    wanted = ROOT / requirements
    if _satisfied(wanted):
        return
    _install_locked(wanted)
    if VENV.samefile(sys.prefix):
        if not _satisfied(wanted):
            raise SetUpError(f"{VENV} does not hold what {requirements} lists: delete it and try again")
        return
    os.execv(PYTHON, [str(PYTHON), "-m", "lab", *arguments])


def on_a_terminal() -> bool:
    """Tell whether there is somebody to ask."""
    return sys.stdin is not None and sys.stdin.isatty()


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
    for name, version in pins(requirements):
        try:
            if importlib.metadata.version(name) != version:
                return False
        except importlib.metadata.PackageNotFoundError:
            return False
    return True


def _install_locked(requirements: Path) -> None:
    """Install once, however many processes ask at the same time."""
    with (ROOT / ".venv.lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            _say("another process is setting up .venv; waiting for it")
            fcntl.flock(lock, fcntl.LOCK_EX)
        _install(requirements)


def _install(requirements: Path) -> None:
    # The stamp is written last: an installation that was interrupted is done again.
    stamp = VENV / f"installed-{requirements.stem}"
    digest = hashlib.sha256(repr(pins(requirements)).encode()).hexdigest()
    if PYTHON.exists() and stamp.exists() and stamp.read_text(encoding="utf-8") == digest:
        return
    _make_environment()
    _say(f"installing {requirements.name} into .venv (under a minute)")
    pip = [str(PYTHON), "-m", "pip", "install", "-qq", "--disable-pip-version-check", "--no-input"]
    if subprocess.run([*pip, "-r", str(requirements)], check=False).returncode:
        raise SetUpError(
            f"pip could not install {requirements.name}: its words stand above. Is there a network? "
            f"If {VENV} is damaged, delete it and try again"
        )
    stamp.write_text(digest, encoding="utf-8")


def _make_environment() -> None:
    """Make ``.venv``, again if its making was interrupted; one that somebody else made is used as it is."""
    unfinished = VENV / "unfinished"
    if PYTHON.exists() and not unfinished.exists():
        return
    if VENV.exists() and not unfinished.exists():
        raise SetUpError(f"{VENV} has no working Python (was it upgraded?): delete it and try again")
    _say("first use: making .venv")
    shutil.rmtree(VENV, ignore_errors=True)
    VENV.mkdir()
    unfinished.touch()
    _make_venv()
    unfinished.unlink()


def _make_venv() -> None:
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
    package = f"python{sys.version_info.major}.{sys.version_info.minor}-venv"
    mend = f"this Python cannot make environments: apt install {package} (or pip install virtualenv)"
    if os.geteuid() or on_a_terminal() or not shutil.which("apt-get"):
        raise SetUpError(mend)
    _say(f"installing {package} with apt-get")
    environment = {**os.environ, "DEBIAN_FRONTEND": "noninteractive"}
    for command in (["apt-get", "update", "-qq"], ["apt-get", "install", "-qq", "-y", package]):
        if subprocess.run(command, env=environment, stdout=subprocess.DEVNULL, check=False).returncode:
            raise SetUpError(mend)


def _has(module: str) -> bool:
    return importlib.util.find_spec(module) is not None


def _say(message: str) -> None:
    print(f"lab: {message}", file=sys.stderr, flush=True)
