"""Make the lab's own environment on first use, with the standard library alone, and run in it."""

import fcntl
import hashlib
import importlib.metadata
import os
import re
import shutil
import subprocess
import sys
import venv
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
VENV = ROOT / ".venv"
_PIN = re.compile(r"^([A-Za-z0-9_.-]+)(?:\[[^]]*\])?==([^;\s]+)")


class SetUpError(Exception):
    """The environment cannot be made; the message says what to do."""


def enter(arguments: list[str], requirements: str = "requirements.txt") -> None:
    """Return if *requirements* can be imported here; else run the lab again in ``.venv``, made if need be."""
    wanted = ROOT / requirements
    if _satisfied(wanted):
        return
    python = VENV / "bin" / "python"
    if os.path.samefile(sys.prefix, VENV) if VENV.exists() else False:
        _install_locked(wanted)
        if not _satisfied(wanted):
            raise SetUpError(
                f"{requirements} is installed in {VENV} but not complete: delete {VENV} and try again"
            )
        return
    _install_locked(wanted)
    os.execv(python, [str(python), "-m", "lab", *arguments])


def _satisfied(requirements: Path) -> bool:
    """Tell whether every pinned package is there in its version; packages for other systems do not count."""
    for name, version in _pins(requirements):
        try:
            if importlib.metadata.version(name) != version:
                return False
        except importlib.metadata.PackageNotFoundError:
            return False
    return True


def _pins(requirements: Path) -> list[tuple[str, str]]:
    pins = []
    for line in requirements.read_text(encoding="utf-8").splitlines():
        if line.startswith("-r "):
            pins += _pins(requirements.parent / line[3:].strip())
        elif (match := _PIN.match(line)) and not ("win32" in line and sys.platform == "win32"):
            pins.append((match[1], match[2]))
    return pins


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
    # The stamp is written last: an environment whose making was interrupted is made again.
    stamp = VENV / f"installed-{requirements.stem}"
    digest = hashlib.sha256(
        b"".join(pin.encode() for pins in _pins(requirements) for pin in pins)
    ).hexdigest()
    if stamp.exists() and stamp.read_text(encoding="utf-8") == digest:
        return
    if not (VENV / "made").exists():
        _say("first use: making .venv")
        shutil.rmtree(VENV, ignore_errors=True)
        _make_venv()
        (VENV / "made").touch()
    _say(f"installing {requirements.name} into .venv (under a minute)")
    pip = [str(VENV / "bin" / "python"), "-m", "pip", "install", "--quiet", "--disable-pip-version-check"]
    if subprocess.run([*pip, "-r", str(requirements)], check=False).returncode:
        raise SetUpError(
            f"pip could not install {requirements.name}; is there a network? Its words stand above"
        )
    stamp.write_text(digest, encoding="utf-8")


def _make_venv() -> None:
    try:
        import ensurepip  # noqa: F401  # Debian has it in a package of its own
    except ImportError:
        if subprocess.run([sys.executable, "-m", "virtualenv", "-q", str(VENV)], check=False).returncode:
            raise SetUpError("this Python cannot make environments: apt install python3-venv") from None
        return
    venv.create(VENV, with_pip=True)


def _say(message: str) -> None:
    print(f"lab: {message}", file=sys.stderr, flush=True)
