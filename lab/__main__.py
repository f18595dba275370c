"""The lab's command line: ``python3 -m lab COMMAND``. Needs nothing but Python 3.11 or newer."""

import sys

# Nothing newer than Python 3.6 up to here: an old interpreter should read this sentence, not a SyntaxError.
if sys.version_info < (3, 11):  # noqa: UP036
    sys.exit(
        "the lab needs Python 3.11 or newer, this is %d.%d; try python3.11 -m lab" % sys.version_info[:2]  # noqa: UP031
    )

from lab.cli.commands import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
