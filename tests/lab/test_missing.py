"""Outside its environment, every program says how to enter it."""

import subprocess
import sys

import pytest

from lab.bootstrap import ROOT

PROGRAMS = [
    "xmlrpc.master",
    "pyro4.name_server",
    "redis_impl.subscriber",
    "rabbitmq.broadcaster",
    "dynamic.simulator.figures",
]


@pytest.mark.parametrize("module", PROGRAMS)
def test_a_missing_package_is_one_line_with_the_fix(module: str) -> None:
    without_packages = [sys.executable, "-S", "-m", module, "--help"]
    done = subprocess.run(without_packages, cwd=ROOT, capture_output=True, text=True, check=False)
    assert done.returncode == 1
    assert len(done.stderr.splitlines()) == 1, done.stderr
    assert ". .venv/bin/activate" in done.stderr
