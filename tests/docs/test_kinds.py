"""docs/protocols.md lists every kind of bad input that the tests of the direct wires send, with its code."""

from pathlib import Path

import pytest

from tests.pyro4 import kinds as pyro4
from tests.xmlrpc import kinds as xmlrpc

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "protocols.md").read_text(encoding="utf-8")
KINDS = {
    "XML-RPC": {name: code for name, (_, code) in xmlrpc.KINDS.items()},
    "Pyro4": {name: code for name, (_, code) in (pyro4.KINDS | pyro4.FIRST).items()},
}


@pytest.mark.parametrize("wire", KINDS)
def test_every_kind_of_bad_input_is_listed_under_its_code(wire: str) -> None:
    section = PAGE.partition(f"\n## {wire}\n")[2].partition("\n## ")[0]
    rows = [line.split(" | ") for line in section.splitlines() if line.startswith("| `")]
    listed = {row[0].strip("| `"): row[-1].strip(" |").split("; ") for row in rows}
    missing = [name for name, code in KINDS[wire].items() if name not in listed.get(code, [])]
    assert len(KINDS[wire]) >= 40
    assert not missing
