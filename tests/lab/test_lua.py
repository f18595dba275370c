"""The Lua scripts: each says what it takes and gives, is loaded with what it needs, and passes the linter."""

import re
import shutil
import subprocess
from pathlib import Path

import pytest

from lab.bootstrap import ROOT
from lab.store.lua import SHARED, load

FOLDERS = (SHARED, ROOT / "redis_impl" / "tuned")
FILES = [path for folder in FOLDERS for path in sorted(folder.glob("*.lua"))]
SCRIPTS = [path for path in FILES if "KEYS:" in path.read_text(encoding="utf-8")]
GLOBALS = ("redis", "cjson", "KEYS", "ARGV")


def head_of(path: Path) -> str:
    """Return the comment that a file begins with."""
    return "\n".join(re.match(r"(--[^\n]*\n)+", path.read_text(encoding="utf-8"))[0].splitlines())  # type: ignore[index]


@pytest.mark.parametrize("path", FILES, ids=lambda path: path.name)
def test_a_file_begins_with_a_comment_and_what_it_needs_exists(path: Path) -> None:
    needed = re.findall(r"^-- needs: (.*)$", head_of(path), re.MULTILINE)
    for name in " ".join(needed).split():
        assert any((folder / f"{name}.lua").exists() for folder in (path.parent, SHARED)), name


@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_the_head_of_a_script_tells_keys_and_arguments(path: Path) -> None:
    head = head_of(path)
    assert "KEYS:" in head
    assert "ARGV:" in head


def test_what_is_no_script_is_needed_by_one() -> None:
    needed = {
        name
        for path in FILES
        for line in re.findall(r"^-- needs: (.*)$", head_of(path), re.M)
        for name in line.split()
    }
    assert needed == {path.stem for path in FILES} - {path.stem for path in SCRIPTS}


def test_each_needed_file_comes_once_and_before_its_user() -> None:
    script = load("complete")
    places = [script.index(f"local function {name}(") for name in ("now", "result", "hold", "finish")]
    assert places == sorted(places)
    assert script.count("local function now(") == 1


@pytest.mark.skipif(not shutil.which("luacheck"), reason="no luacheck here (Debian: lua-check)")
@pytest.mark.parametrize("path", SCRIPTS, ids=lambda path: path.name)
def test_a_script_passes_the_linter_with_all_that_it_needs(path: Path, tmp_path: Path) -> None:
    whole = tmp_path / path.name
    whole.write_text(load(path.stem, path.parent), encoding="utf-8")
    # 211: a function that only another script of the same file needs.
    command = ["luacheck", "--no-config", "--std", "lua51", "--globals", *GLOBALS, "--ignore", "211"]
    done = subprocess.run(
        [*command, "--no-max-line-length", "--", str(whole)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
