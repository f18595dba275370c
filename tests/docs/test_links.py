"""Every page of the repository leads to files that exist."""

import re
from pathlib import Path

import pytest

from lab import __version__

ROOT = Path(__file__).parents[2]
PAGES = [ROOT / name for name in ("README.md", "CONTRIBUTING.md", "SECURITY.md", "CHANGELOG.md")]
PAGES += sorted((ROOT / "docs").rglob("*.md"))


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_a_page_leads_to_files_that_exist(page: Path) -> None:
    links = re.findall(r"\]\(([^)#:]+)(?:#[\w-]*)?\)", page.read_text(encoding="utf-8"))
    assert [link for link in links if not (page.parent / link).exists()] == []


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_the_files_that_a_page_names_exist(page: Path) -> None:
    text = re.sub(r"^```.*?^```$", "", page.read_text(encoding="utf-8"), flags=re.MULTILINE | re.DOTALL)
    named = {
        name for name in re.findall(r"`((?:[\w.*-]+/)+[\w.*-]*)`", text) if not name.startswith("results/")
    }
    ours = {name for name in named if (ROOT / name.partition("/")[0]).is_dir()}
    assert [name for name in sorted(ours) if not any(ROOT.glob(name.rstrip("/")))] == []


def test_the_newest_entry_of_the_changelog_is_for_this_version() -> None:
    entries = re.findall(r"^## (\S+)", (ROOT / "CHANGELOG.md").read_text(encoding="utf-8"), re.MULTILINE)
    assert entries[0] == __version__
