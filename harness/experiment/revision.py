"""Other revisions of the code that is measured: nodes and clients run it, and the harness is that of now.

A revision is taken from git into a temporary folder, which is removed when this process ends.
"""

import io
import subprocess
import sys
import tarfile
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path

from lab.bootstrap import ROOT

REPOSITORY = ROOT
MEASURED = ("lab", "xmlrpc", "pyro4", "redis_impl", "rabbitmq", "contrib")
"""Folders that are of the revision."""
OURS = ("harness", "dynamic", "machines", "tests", "watch")
"""Folders that are of now, so that the same code measures both."""


def commit(revision: str) -> str:
    """Return the commit that *revision* names; ValueError in one sentence if there is none."""
    try:
        found = _git("rev-parse", "--verify", "--quiet", "--end-of-options", f"{revision}^{{commit}}")
    except FileNotFoundError as error:
        raise ValueError("only what git knows, and git is not installed") from error
    if found.returncode == 128 and not found.stdout and _git("rev-parse", "--git-dir").returncode:
        raise ValueError(f"only what git knows, and {REPOSITORY} is no git repository")
    if found.returncode:
        raise ValueError("a commit, a branch or a tag of this repository")
    return found.stdout.decode().strip()


@cache
def _folder(revision: str) -> "tempfile.TemporaryDirectory[str]":
    """Unpack *revision*; the folder is removed when this process ends."""
    folder = tempfile.TemporaryDirectory(prefix="lab-revision-")
    with tarfile.open(fileobj=io.BytesIO(_git("archive", "--format=tar", revision).stdout)) as archive:
        members = [one for one in archive if one.name.partition("/")[0] in MEASURED]
        archive.extractall(folder.name, members, filter="data")
    for name in OURS:
        (Path(folder.name) / name).symlink_to(ROOT / name)
    return folder


def tree(revision: str) -> Path:
    """Return the folder with the code of *revision*, a commit."""
    return Path(_folder(revision).name)


@contextmanager
def imported_from(revision: str) -> Iterator[None]:
    """Let processes of :mod:`multiprocessing` that are started meanwhile import the code of *revision*."""
    before = list(sys.path)
    others = [path for path in before if Path(path).resolve() != ROOT]
    sys.path[:] = [str(tree(revision)), *others]
    try:
        yield
    finally:
        sys.path[:] = before


def _git(*words: str) -> "subprocess.CompletedProcess[bytes]":
    return subprocess.run(["git", "-C", str(REPOSITORY), *words], capture_output=True, check=False)
