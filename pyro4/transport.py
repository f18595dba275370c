"""The wire: a daemon and a connection. Only this module and those it is made of use Pyro4."""

from ._connection import PyroConnection, batch_answer
from ._daemon import ServedObjects, expose
from ._names import Names, ServedNames
from ._report import report_dead

__all__ = ["Names", "PyroConnection", "ServedNames", "ServedObjects", "batch_answer", "expose", "report_dead"]
