"""docs/bad-input.md lists every kind of bad input that the tests of the four wires send, with its code."""

from pathlib import Path

import pytest

from harness.faults.kinds import pyro4, rabbitmq, redis_impl, xmlrpc
from lab.errors import Code

PAGE = (Path(__file__).resolve().parents[2] / "docs" / "bad-input.md").read_text(encoding="utf-8")
KINDS: dict[str, dict[str, Code]] = {
    "XML-RPC": {name: kind[-1] for name, kind in xmlrpc.KINDS.items()},
    "Pyro4": {name: kind[-1] for name, kind in (pyro4.KINDS | pyro4.FIRST).items()},
    "Redis": {name: kind[-1] for name, kind in redis_impl.KINDS.items()},
    "RabbitMQ": {name: kind[-1] for name, kind in rabbitmq.KINDS.items()}
    | {f"to the control queue: {name}": kind[-1] for name, kind in rabbitmq.CONTROL.items()}
    | {f"to the work queue: {name}": kind[-1] for name, kind in rabbitmq.TEXTS.items()},
}


@pytest.mark.parametrize("wire", KINDS)
def test_every_kind_of_bad_input_is_listed_under_its_code(wire: str) -> None:
    section = PAGE.partition(f"\n## {wire}\n")[2].partition("\n## ")[0]
    rows = [line.split(" | ") for line in section.splitlines() if line.startswith("| `")]
    listed = {row[0].strip("| `"): row[-1].strip(" |").split("; ") for row in rows}
    wanted: dict[str, list[str]] = {}
    for name, code in KINDS[wire].items():
        wanted.setdefault(code, []).append(name)
    assert len(KINDS[wire]) >= 40
    assert {code: sorted(names) for code, names in listed.items()} == {
        code: sorted(names) for code, names in wanted.items()
    }
