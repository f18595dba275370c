"""Our client's connection: it is kept, and replaced when the server has closed it."""

from urllib.parse import urlsplit

import psutil

from lab.contract import Application
from tests.conftest import StartSystem
from xmlrpc.tuned.connection import XmlRpcConnection


def test_calls_share_one_connection(start_system: StartSystem) -> None:
    url = start_system("xmlrpc", Application.SERVICE).target.address
    connection = XmlRpcConnection(url)
    used = set()
    for _ in range(3):
        connection.call("system.listMethods", (), 5.0)
        used |= _local_ports(url)
    connection.close()
    assert len(used) == 1


def test_a_connection_that_the_server_closes_after_its_answer_is_replaced(start_system: StartSystem) -> None:
    url = start_system("xmlrpc", Application.SERVICE).target.address
    connection = XmlRpcConnection(url)
    for _ in range(2):
        assert connection.call("system.listMethods", (), 5.0, extra_header="Connection: close\r\n")
        assert not _local_ports(url)


def _local_ports(url: str) -> set[int]:
    """Return our ends of the connections to the server at *url* that stand."""
    connections = psutil.Process().net_connections("tcp4")
    port = urlsplit(url).port
    return {
        one.laddr.port
        for one in connections
        if one.status == psutil.CONN_ESTABLISHED and one.raddr and one.raddr.port == port
    }
