"""The lab's command line: ``python3 -m lab COMMAND``. Needs nothing but Python 3.11 or newer."""

import sys

from lab.cli.commands import main

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
