"""What the four middlewares share: contract, applications, store, launcher, brokers, command line."""

import sys

# Nothing newer than Python 3.6 in this file: an old interpreter says this sentence, not a SyntaxError.
if sys.version_info < (3, 11):  # noqa: UP036
    sys.exit(
        "the lab needs Python 3.11 or newer, this is %d.%d; try python3.11" % sys.version_info[:2]  # noqa: UP031
    )

from lab.bootstrap import explain_errors

__version__ = "1.0.0"
"""The only place of the version: `lab --version` and the records of runs read it."""

explain_errors()
