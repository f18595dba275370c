"""The wire: a daemon and a connection. Only this module and those it is made of use Pyro4."""

from ._connection import PyroConnection, batch_answer
from ._daemon import ServedObjects
from ._names import Names

__all__ = ["Names", "PyroConnection", "ServedObjects", "batch_answer"]
