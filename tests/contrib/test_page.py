"""docs/add-a-middleware.md: its code stands in the example, and what it says of it is true."""

import ast
import re

import pytest

from lab.bootstrap import ROOT

PAGE = (ROOT / "docs" / "add-a-middleware.md").read_text(encoding="utf-8")
EXAMPLE = (ROOT / "contrib" / "sockets.py").read_text(encoding="utf-8")
PIECES = re.findall(r"^```python\n(.*?)\n```$", PAGE, re.M | re.S)
MOST_LINES = 150


@pytest.mark.parametrize("code", PIECES, ids=[piece.split("\n")[0].strip() for piece in PIECES])
def test_a_piece_of_code_stands_in_the_example(code: str) -> None:
    assert code in EXAMPLE


def test_the_page_builds_the_example_step_by_step() -> None:
    assert len(PIECES) > 8
    for name in ("MIDDLEWARE", "WIRE", "PROGRAM", "TOPOLOGY", "InsultServiceClient", "InsultFilterClient"):
        assert any(name in piece for piece in PIECES), name


def test_a_middleware_costs_one_file_of_at_most_150_lines() -> None:
    lines = len(EXAMPLE.splitlines())
    assert lines <= MOST_LINES
    assert f"{lines} lines" in PAGE


def test_the_capability_table_is_that_of_the_example() -> None:
    (table,) = re.findall(r"```text\n(.*?)\n```", PAGE, re.S)
    assert table in (ast.get_docstring(ast.parse(EXAMPLE)) or "")


def test_every_contract_test_that_is_explained_exists() -> None:
    explained = set(re.findall(r"^\| `(test_\w+\.py)` ", PAGE, re.M))
    assert explained == {path.name for path in (ROOT / "tests" / "contract").glob("test_*.py")}
