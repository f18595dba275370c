"""Say what to do where a package is not there, instead of a traceback: outside ``.venv``, above all."""

import sys
from pathlib import Path
from types import TracebackType

_REQUIREMENTS = Path(__file__).resolve().parent.parent / "requirements.txt"
_usual_hook = sys.excepthook


def explain_missing_packages() -> None:
    """Explain from now on, when this process ends for a package of ``requirements.txt`` that is missing."""
    sys.excepthook = _explain


# In quotes: an interpreter that is too old reads this file before it is told so.
def _explain(kind: "type[BaseException]", error: BaseException, trace: "TracebackType | None") -> None:
    name = (error.name or "").partition(".")[0] if isinstance(error, ModuleNotFoundError) else ""
    if not name or not _is_required(name):
        _usual_hook(kind, error, trace)
        return
    print(
        f"lab: the package {name} is not in {sys.prefix}; enter the lab's environment with "
        "`. .venv/bin/activate` (`python3 -m lab doctor` makes it)",
        file=sys.stderr,
    )


def _is_required(name: str) -> bool:
    listed = _REQUIREMENTS.read_text(encoding="utf-8").lower()
    return any(line.startswith(name.lower()) for line in listed.splitlines())
