"""Command lines, settings and architectures: what a process makes of what it is told."""

import argparse
from dataclasses import fields
from pathlib import Path

import pytest

from lab.contract import Architecture
from lab.middleware import MIDDLEWARES
from lab.options import (
    NodeOptions,
    add_broadcast_options,
    add_filter_options,
    client_parser,
    duration,
    node_options,
    port,
    process_parser,
)
from lab.settings import Settings, SettingsError, read_settings
from lab.work import Work


def parsed(*argv: str) -> NodeOptions:
    """Return what a node that takes every option makes of *argv*."""
    parser = process_parser("a.module", "Do something.")
    add_broadcast_options(parser)
    add_filter_options(parser)
    return node_options(parser.parse_args(argv))


def refused(capsys: pytest.CaptureFixture[str], *argv: str) -> str:
    """Return what is said about *argv*, which is wrong usage."""
    with pytest.raises(SystemExit) as caught:
        parsed(*argv)
    assert caught.value.code == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("option", ["--host", "--advertise"])
@pytest.mark.parametrize("host", ["", " ", "a b", "a@b", "a:1", "127.0.0.1:8000", "[::1]"])
def test_what_is_no_host_is_wrong_usage(capsys: pytest.CaptureFixture[str], option: str, host: str) -> None:
    assert "is not a host" in refused(capsys, option, host)


@pytest.mark.parametrize("host", ["127.0.0.1", "::1", "fe80::1%eth0", "lab-1.test", "node_1"])
def test_names_and_addresses_are_hosts(host: str) -> None:
    assert parsed("--host", host).host == host


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("500us", 0.0005),
        ("5ms", 0.005),
        ("2s", 2.0),
        ("0s", 0.0),
        ("1.5s", 1.5),
        ("0.25s", 0.25),
        ("1m", 60.0),
        ("2h", 7200.0),
        (" 5ms ", 0.005),
    ],
)
def test_a_time_is_read_in_its_unit(text: str, seconds: float) -> None:
    assert duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    "text",
    ["", " ", "s", "5 ms", "-5ms", "+5ms", "5S", "5min", "5d", ".5s", "5.s", "1e3", "inf", "nan", "5ms5"],
)
def test_what_is_no_time_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        duration(text)


@pytest.mark.parametrize("text", ["0", "5", "0.25", " 7 "])
def test_a_number_without_a_unit_is_no_time(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError, match=f"has no unit; write {text.strip()}s or"):
        duration(text)


@pytest.mark.parametrize(("text", "number"), [("0", 0), ("1", 1), ("8000", 8000), ("65535", 65535)])
def test_a_port_is_a_number_up_to_65535(text: str, number: int) -> None:
    assert port(text) == number


@pytest.mark.parametrize("text", ["", "-1", "65536", "99999999999", "80.0", "http", " 80", "²"])
def test_what_is_no_port_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        port(text)


def test_nothing_listens_beyond_loopback_unless_told_to() -> None:
    assert (parsed().host, parsed("--host", "0.0.0.0").host) == ("127.0.0.1", "0.0.0.0")


def test_a_node_is_reached_under_its_host_unless_it_advertises_another() -> None:
    assert parsed("--host", "10.0.0.1").advertised_host == "10.0.0.1"
    assert parsed("--host", "10.0.0.1", "--advertise", "node.example").advertised_host == "node.example"


def test_every_option_has_its_effect() -> None:
    given = ["--port", "8002", "--namespace", "lab-1", "--architecture", "n-node", "--interval", "200ms"]
    given += ["--work-time", "5ms", "--work-cpu", "2ms", "--insults", "list.txt", "--on-demand"]
    assert parsed(*given) == NodeOptions(
        port=8002,
        namespace="lab-1",
        architecture=Architecture.N_NODE,
        interval_seconds=0.2,
        work=Work(0.005, 0.002),
        insults=Path("list.txt"),
        on_demand=True,
    )


@pytest.mark.parametrize(
    "argv",
    [
        ("--port", "65536"),
        ("--interval", "0s"),
        ("--interval", "5"),
        ("--work-time", "5"),
        ("--interval", "soon"),
        ("--work-time", "-5ms"),
        ("--architecture", "two-node"),
        ("--unknown",),
    ],
)
def test_wrong_usage_names_the_option(capsys: pytest.CaptureFixture[str], argv: tuple[str, ...]) -> None:
    message = refused(capsys, *argv)
    assert argv[0] in message
    assert message.startswith("python -m a.module: argument ") or "--unknown" in message
    assert message.endswith("; see --help\n")


def test_a_node_with_a_master_is_one_of_n_nodes() -> None:
    parser = process_parser("a.module", "Do something.")
    parser.add_argument("--master", default="")
    assert node_options(parser.parse_args([])).architecture is Architecture.ONE_NODE
    given = ["--master", "http://127.0.0.1:8000"]
    assert node_options(parser.parse_args(given)).architecture is Architecture.N_NODE


def test_a_client_is_told_where_its_system_is() -> None:
    arguments = client_parser("a.module", "Ask.").parse_args(
        ["--address", "host:1", "--architecture", "n-node"]
    )
    assert (arguments.address, arguments.architecture) == ("host:1", Architecture.N_NODE)


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("shout", "'shout' is not a function; write module:function"),
        ("tests.contract.handlers:", "is not a function; write module:function"),
        ("no_such_module:shout", "cannot be loaded: No module named 'no_such_module'"),
        ("tests.contract.handlers:whisper", "'tests.contract.handlers' has no attribute 'whisper'"),
        ("tests.contract.handlers:Path.home", "cannot be loaded"),
        ("tests.contract.handlers:__name__", "is not a function"),
    ],
)
def test_a_handler_that_cannot_be_used_is_refused_in_one_line(
    name: str, told: str, capsys: pytest.CaptureFixture[str]
) -> None:
    parser = process_parser("lab", "")
    add_filter_options(parser)
    with pytest.raises(SystemExit) as caught:
        parser.parse_args(["--handler", name])
    assert caught.value.code == 2
    assert told in capsys.readouterr().err


def test_a_handler_must_return_text() -> None:
    parser = process_parser("lab", "")
    add_filter_options(parser)
    handler = node_options(parser.parse_args(["--handler", "tests.contract.handlers:count"])).handler
    assert handler is not None
    with pytest.raises(TypeError, match="returned int; it must return text"):
        handler("a")


def test_without_variables_everything_has_its_default() -> None:
    assert read_settings({}) == Settings()


@pytest.mark.parametrize("name", ["LAB_NAMESPAC", "LAB_", "LAB_REDIS", "LAB_redis_url", "LAB_NAMESPACE_"])
def test_an_unknown_variable_is_an_error_that_names_it_and_those_there_are(name: str) -> None:
    with pytest.raises(SettingsError) as caught:
        read_settings({name: "x"})
    assert str(caught.value).startswith(f"{name} is not a setting")
    assert "LAB_NAMESPACE," in str(caught.value)


@pytest.mark.parametrize("field", [field.name for field in fields(Settings)])
def test_every_field_is_a_variable(field: str) -> None:
    default = getattr(Settings(), field)
    given = {"queue_type": "quorum", "log_level": "ERROR", "pyro_key": "0123456789abcdef"}
    more = {"middlewares": "contrib.sockets", "pyro_serializer": "serpent", "install": "never"}
    more |= {"redis_url": "redis://127.0.0.1:1", "amqp_url": "amqp://127.0.0.1:1"}
    raw = {**given, **more}.get(field, "1")
    read = getattr(read_settings({f"LAB_{field.upper()}": raw}), field)
    assert (read, type(read)) == (type(default)(raw), type(default))


@pytest.mark.parametrize("name", ["LAB_REDIS_URL", "LAB_AMQP_URL"])
@pytest.mark.parametrize("url", ["foo", "http://secret@host", "redis", "redis://host:secret", "amqp://h:0x"])
def test_what_is_no_url_of_a_broker_is_refused_and_not_shown(name: str, url: str) -> None:
    with pytest.raises(SettingsError, match=f"{name} is not a URL like") as caught:
        read_settings({name: url})
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("is_on", "written"),
    [(True, ["1", "true", "True", "yes", "YES"]), (False, ["", "0", "false", "FALSE", "no"])],
)
def test_a_switch_is_turned_on_and_off(is_on: bool, written: list[str]) -> None:
    assert {read_settings({"LAB_REQUIRE_BROKERS": raw}).require_brokers for raw in written} == {is_on}


@pytest.mark.parametrize("raw", ["2", "on", "y", " 1", "-1"])
def test_a_switch_that_is_neither_is_an_error(raw: str) -> None:
    with pytest.raises(SettingsError, match="LAB_REQUIRE_BROKERS"):
        read_settings({"LAB_REQUIRE_BROKERS": raw})


@pytest.mark.parametrize("raw", ["", "-1", "1.5", "15m", "1e3", "0x10", "²", " 1"])
def test_what_is_no_whole_number_is_an_error(raw: str) -> None:
    with pytest.raises(SettingsError, match="LAB_ID_TTL"):
        read_settings({"LAB_ID_TTL": raw})


@pytest.mark.parametrize(
    ("name", "raw"),
    [
        ("LAB_QUEUE_TYPE", "stream"),
        ("LAB_PYRO_SERIALIZER", "pickle"),
        ("LAB_LOG_LEVEL", "loud"),
        ("LAB_ID_TTL", "0"),
    ],
)
def test_a_value_that_nobody_could_use_is_an_error_at_once(name: str, raw: str) -> None:
    with pytest.raises(SettingsError, match=name):
        read_settings({name: raw})


def test_a_key_that_is_too_short_is_an_error_that_does_not_show_it() -> None:
    with pytest.raises(SettingsError, match="LAB_PYRO_KEY must have 16") as caught:
        read_settings({"LAB_PYRO_KEY": "xyzzy"})
    assert "xyzzy" not in str(caught.value)
    assert "0123456789abcdef" not in repr(read_settings({"LAB_PYRO_KEY": "0123456789abcdef"}))


@pytest.mark.parametrize("name", MIDDLEWARES)
def test_n_nodes_need_redis_and_each_system_its_own_broker(name: str) -> None:
    middleware = MIDDLEWARES[name]
    own = {middleware.broker} - {""}
    assert middleware.needed_brokers(Architecture.ONE_NODE) == own
    assert middleware.needed_brokers(Architecture.N_NODE) == own | {"redis"}
