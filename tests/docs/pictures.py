"""``python -m tests.docs.pictures RESULTS``: draw the README's pictures again, of a ``lab run``."""

import shutil
import sys
import tempfile
from pathlib import Path

from PIL import Image

from lab.bootstrap import ROOT
from tests.watch.page import Browser, find_browser

IMAGES = ROOT / "docs" / "images"
PLOTS = ("comparison", "speedup")
SIZE = (1000, 1100)
COLOURS = 64
"""Of a screenshot of text: a quarter of the bytes, and nothing to be seen of it."""


def main(results: Path) -> None:
    """Copy the plots, and take a screenshot of the beginning of the report."""
    for plot in PLOTS:
        shutil.copy(results / "plots" / f"{plot}.png", IMAGES)
    with Browser(find_browser() or "chromium") as browser, tempfile.NamedTemporaryFile(suffix=".png") as shot:
        tab = browser.open((results / "report.html").resolve().as_uri(), SIZE)
        tab.wait("document.readyState === 'complete' && document.querySelector('h2')")
        tab.screenshot(Path(shot.name))
        with Image.open(shot.name) as whole:
            top = whole.crop((0, 0, *SIZE)).convert("RGB")
    top.quantize(COLOURS).save(IMAGES / "report.png", optimize=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]))
