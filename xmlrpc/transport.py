"""The wire: a server and a connection. Only this module and those it is made of use the libraries."""

from ._codec import error_from_fault
from ._connection import XmlRpcConnection
from ._methods import Lane, Method, Methods
from ._report import report_dead
from ._server import XmlRpcServer

__all__ = ["Lane", "Method", "Methods", "XmlRpcConnection", "XmlRpcServer", "error_from_fault", "report_dead"]
