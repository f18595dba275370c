"""Our package `xmlrpc` and the standard library's stay importable side by side, wherever Python starts."""

import multiprocessing
import subprocess
import sys
import sysconfig
from pathlib import Path

import pytest

from lab.bootstrap import ROOT

STANDARD = Path(sysconfig.get_path("stdlib")) / "xmlrpc"
BOTH = """
import xmlrpc.client, xmlrpc.server, xmlrpc.master, xmlrpc.topology
print(xmlrpc.client.__file__, xmlrpc.server.__file__, xmlrpc.master.__file__, sep="\\n")
"""


def _files() -> list[str]:
    import xmlrpc.client
    import xmlrpc.master
    import xmlrpc.server

    return [str(module.__file__) for module in (xmlrpc.client, xmlrpc.server, xmlrpc.master)]


EXPECTED = [str(STANDARD / "client.py"), str(STANDARD / "server.py"), str(ROOT / "xmlrpc" / "master.py")]


def _same(found: list[str]) -> bool:
    return [Path(file).resolve() for file in found] == [Path(file).resolve() for file in EXPECTED]


def test_both_are_importable_from_the_root() -> None:
    done = subprocess.run([sys.executable, "-c", BOTH], cwd=ROOT, capture_output=True, text=True, check=True)
    assert _same(done.stdout.split("\n")[:-1])


def test_both_are_importable_under_pytest() -> None:
    assert _same(_files())


@pytest.mark.parametrize("method", multiprocessing.get_all_start_methods())
def test_both_are_importable_in_a_process_of_multiprocessing(method: str) -> None:
    with multiprocessing.get_context(method).Pool(1) as pool:
        assert _same(pool.apply(_files))


def test_ours_runs_with_m() -> None:
    command = [sys.executable, "-m", "xmlrpc.master", "--help"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    assert "xmlrpc.master" in done.stdout


def test_pip_which_uses_the_standard_one_runs_from_the_root() -> None:
    command = [sys.executable, "-m", "pip", "--version"]
    assert subprocess.run(command, cwd=ROOT, capture_output=True, check=False).returncode == 0
