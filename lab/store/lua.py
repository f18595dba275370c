"""Load scripts of Redis: each is a ``.lua`` file beside the module that runs it."""

import re
from functools import cache
from pathlib import Path

SHARED = Path(__file__).parent
_NEEDS = re.compile(r"^-- needs: (.*)$", re.MULTILINE)


@cache
def load(name: str, folder: Path = SHARED) -> str:
    """Return the script *name* of *folder*, behind the files that its head names (``-- needs: clock``).

    They are looked for in *folder* first, then in ``lab/store``. Each comes once, before what needs it:
    Redis has no modules, so a script is one text. Name only what is used: each function costs time at every
    call.
    """
    return "\n".join(source.read_text(encoding="utf-8") for source in _in_order(name, folder, []))


def _in_order(name: str, folder: Path, found: list[Path]) -> list[Path]:
    path = folder / f"{name}.lua"
    path = path if path.exists() else SHARED / f"{name}.lua"
    for line in _NEEDS.findall(path.read_text(encoding="utf-8")):
        for needed in line.split():
            if not any(source.stem == needed for source in found):
                _in_order(needed, folder, found)
    found.append(path)
    return found
