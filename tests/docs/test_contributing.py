"""CONTRIBUTING.md: a request really passes the files that the page names on its path."""

import re

import pytest

from harness.experiment.anatomy import counted_calls
from harness.probes.parts import relative
from lab.bootstrap import ROOT
from lab.process.system import BrokerUrls

PAGE = (ROOT / "CONTRIBUTING.md").read_text(encoding="utf-8")
FILE = re.compile(r"`((?:[a-z_0-9]+/)+[a-z_0-9]+\.py)`")
MEANWHILE = ("lab/store/", "lab/background.py")
"""A node looks for waiting texts meanwhile: that is on the path of no call of `filter`."""
PATHS = {"xmlrpc": "a direct middleware", "rabbitmq": "an indirect middleware"}


def named_after(start: str) -> set[str]:
    """Return the files that the part of the page after *start* names."""
    return set(FILE.findall(PAGE.partition(start)[2].partition("\n**")[0].partition("\n## ")[0]))


@pytest.mark.parametrize("middleware", PATHS)
def test_a_text_passes_the_files_that_the_page_names_and_no_others(middleware: str, amqp_url: str) -> None:
    passed = set(map(relative, counted_calls(middleware, BrokerUrls(amqp=amqp_url))))
    ours = {path for path in passed if (ROOT / path).exists() and not path.startswith(MEANWHILE)}
    named = named_after(f"**One text through {PATHS[middleware]}**")
    left_out = named_after("**Small steps that these paths leave out.**")
    assert named - ours == set(), "these are not on the path"
    assert ours - named - left_out == set(), "the page does not name these"
