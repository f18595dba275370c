"""Which code of the lab this is: machines that measure together must run the same."""

import hashlib
import subprocess

from lab.bootstrap import ROOT


def commit() -> str:
    """Return the commit, short; empty where there is no git."""
    return _git("rev-parse", "--short", "HEAD")


def is_dirty() -> bool:
    """Tell whether files differ from the commit."""
    return bool(_git("status", "--porcelain"))


def digest() -> str:
    """Return a digest of the Python files of all packages: what is the same runs the same."""
    whole = hashlib.sha256()
    for path in sorted(ROOT.glob("[!.]*/**/*.py")):
        whole.update(f"{path.relative_to(ROOT)}\n".encode())
        whole.update(path.read_bytes())
    return whole.hexdigest()[:16]


def _git(*arguments: str) -> str:
    try:
        done = subprocess.run(["git", *arguments], cwd=ROOT, capture_output=True, text=True, check=False)
    except OSError:
        return ""
    return done.stdout.strip()
