"""Lists of mild insults in several languages, and the reading of such lists."""

from pathlib import Path

from lab.errors import Code, InvalidRequest
from lab.validation import clean_insult

_FOLDER = Path(__file__).parent


def default_insults() -> tuple[str, ...]:
    """Return the insults that come with the lab, sorted."""
    return tuple(sorted({insult for path in _FOLDER.glob("*.txt") for insult in read_insults(path)}))


def read_insults(path: Path) -> list[str]:
    """Read a list: UTF-8, an insult a line; empty lines and lines that begin with # do not count.

    InvalidRequest names the file, and the line where one is at fault.
    """
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except OSError as error:
        raise InvalidRequest(Code.MALFORMED, f"{path}: cannot be read: {error.strerror}") from error
    except UnicodeDecodeError as error:
        raise InvalidRequest(Code.BAD_ENCODING, f"{path}: not UTF-8; convert it, as with iconv") from error
    insults = []
    for number, line in enumerate(lines, 1):
        if not line.strip() or line.startswith("#"):
            continue
        try:
            insults.append(clean_insult(line))
        except InvalidRequest as error:
            raise InvalidRequest(error.code, f"{path}, line {number}: {error.message}") from error
    return insults
