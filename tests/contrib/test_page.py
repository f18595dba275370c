"""docs/add-a-middleware.md: its code stands in the example, and its table of files is that of the folder."""

import re

import pytest

from lab.bootstrap import ROOT

PAGE = (ROOT / "docs" / "add-a-middleware.md").read_text(encoding="utf-8")
FOLDER = ROOT / "examples" / "sockets"
PIECES = re.findall(r"^`contrib/sockets/(\w+\.py)`:\n\n```python\n(.*?)\n```$", PAGE, re.M | re.S)


@pytest.mark.parametrize(("file", "code"), PIECES, ids=[file for file, _ in PIECES])
def test_a_piece_of_code_stands_in_the_file_that_is_named(file: str, code: str) -> None:
    assert code in (FOLDER / file).read_text(encoding="utf-8")


def test_every_piece_of_code_names_its_file() -> None:
    assert len(PIECES) == PAGE.count("```python") > 5


def test_every_file_is_listed_with_its_size() -> None:
    listed = dict(re.findall(r"^\| `(\w+\.py)` \| .* \| (\d+) \|$", PAGE, re.M))
    sizes = {path.name: len(path.read_text(encoding="utf-8").splitlines()) for path in FOLDER.glob("*.py")}
    assert {file: int(lines) for file, lines in listed.items()} == sizes
    assert f"{sum(sizes.values())} lines in all" in PAGE


def test_the_capability_table_is_that_of_the_package() -> None:
    (table,) = re.findall(r"```text\n(.*?)\n```", PAGE, re.S)
    assert table in (FOLDER / "__init__.py").read_text(encoding="utf-8")


def test_every_contract_test_file_is_explained() -> None:
    files = {path.name for path in (ROOT / "tests" / "contract").glob("test_*.py")}
    assert set(re.findall(r"^\| `(test_\w+\.py)` ", PAGE, re.M)) == files
