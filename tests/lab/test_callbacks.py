"""Subscribers are called back at allowed hosts only, by an address that cannot change its meaning later."""

import pytest

from lab.applications.callbacks import AllowedHosts, CalledBackService
from lab.errors import Code, InvalidRequest, Unavailable
from lab.store.memory import MemoryStore
from pyro4.tuned.node import wire_of
from xmlrpc.tuned.server import WIRE

STRANGERS = [
    "10.0.0.1",
    "169.254.169.254",
    "0.0.0.0",
    "127.1",
    "2130706433",
    "0x7f.0.0.1",
    "example.com",
    "localhost.example.com",
    "8.8.8.8",
]


def http_service(*allowed: str) -> CalledBackService:
    return CalledBackService(MemoryStore(), "http", WIRE.split, AllowedHosts(allowed))


def pyro_service(*allowed: str) -> CalledBackService:
    return CalledBackService(MemoryStore(), "pyro", wire_of().split, AllowedHosts(allowed))


def stored(service: CalledBackService) -> list[str]:
    return service._store.subscribers()


@pytest.mark.parametrize("host", STRANGERS)
@pytest.mark.parametrize("form", ["http://{}:8080", "http://{}", "http://127.0.0.1@{}:80/x"])
def test_a_host_that_is_not_allowed_is_refused_over_http(host: str, form: str) -> None:
    service = http_service()
    with pytest.raises(InvalidRequest) as caught:
        service.add_subscriber(form.format(host))
    assert caught.value.code is Code.MALFORMED
    assert not stored(service)


@pytest.mark.parametrize("host", STRANGERS)
def test_a_host_that_is_not_allowed_is_refused_over_pyro(host: str) -> None:
    with pytest.raises(InvalidRequest, match="--allow-subscribers"):
        pyro_service().add_subscriber(f"PYRO:me@{host}:4711")


@pytest.mark.parametrize(
    "uri",
    [
        "PYRO:me@./u:/run/docker.sock",
        "PYRO:me",
        "PYRO:@127.0.0.1:1",
        "PYRO:a@b@127.0.0.1:1",
        "PYRO:me@127.0.0.1",
        "PYRONAME:me@127.0.0.1:1",
        "PYROMETA:me@127.0.0.1:1",
    ],
)
def test_a_uri_that_leads_elsewhere_than_to_a_host_is_refused(uri: str) -> None:
    with pytest.raises(InvalidRequest) as caught:
        pyro_service().add_subscriber(uri)
    assert caught.value.code is Code.MALFORMED


@pytest.mark.parametrize(
    ("uri", "kept"),
    [
        ("http://127.0.0.1:8080", "http://127.0.0.1:8080"),
        ("http://localhost:8080/RPC2", "http://127.0.0.1:8080"),
        ("http://user@LOCALHOST:8080", "http://127.0.0.1:8080"),
        ("http://[::1]:8080", "http://[::1]:8080"),
        ("http://127.3.2.1", "http://127.3.2.1:80"),
    ],
)
def test_loopback_is_allowed_and_kept_as_an_address(uri: str, kept: str) -> None:
    service = http_service()
    assert service.add_subscriber(uri) is True
    assert stored(service) == [kept]
    assert service.add_subscriber(uri) is False
    assert service.remove_subscriber(uri) is True
    assert not stored(service)


def test_a_pyro_subscriber_is_kept_with_its_address() -> None:
    service = pyro_service()
    service.add_subscriber("PYRO:me@localhost:4711")
    assert stored(service) == ["PYRO:me@127.0.0.1:4711"]


def test_networks_addresses_and_names_can_be_allowed() -> None:
    service = http_service("10.1.0.0/16", "192.168.7.7", "localhost")
    for uri in ("http://10.1.2.3:1", "http://192.168.7.7:1", "http://localhost:1"):
        assert service.add_subscriber(uri) is True
    with pytest.raises(InvalidRequest):
        service.add_subscriber("http://10.2.0.1:1")


def test_a_name_that_means_nothing_is_an_error_at_the_start() -> None:
    with pytest.raises(Unavailable, match="no such host"):
        AllowedHosts(["no-such-host.invalid"])
