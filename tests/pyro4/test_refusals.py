"""What a Pyro4 node refuses and with which code, and which values serpent may hold."""

import json
from collections.abc import Iterator

import Pyro4
import pytest
import serpent
from hypothesis import example, given
from hypothesis import strategies as st

from harness.faults.kinds.pyro4 import FIRST, KINDS, MSGPACK, OBJECT, call, message
from lab.contract import Application, Architecture
from lab.errors import Code, InvalidRequest
from lab.limits import MAX_BATCH
from lab.process.launcher import LocalLauncher, ProcessSpec
from lab.process.system import System
from pyro4.tuned.name_server import MASTER, NAME_SERVER
from pyro4.tuned.wire import BOUNDED, MAX_SIGNS, MAX_STRUCTURE, UNCHECKED_BYTES, check_serpent
from tests.pyro4.raw_client import Client
from tests.wire import assert_refused, each, one_node

KEY = "correct horse battery staple"
UNREADABLE = {name: KINDS[name] for name in KINDS if OBJECT.encode() not in KINDS[name][0]}

NAMES_CALLS: dict[str, tuple[tuple[object, ...], Code]] = {
    "nobody of that name": (("lookup", ("nobody",), {}), Code.NOT_FOUND),
    "no name": (("lookup", (), {}), Code.MISSING_FIELD),
    "a number as a name": (("lookup", (7,), {}), Code.WRONG_TYPE),
    "a list as a name": (("lookup", ([],), {}), Code.WRONG_TYPE),
    "too many arguments": (("lookup", ("a", False, 3), {}), Code.WRONG_TYPE),
    "an unknown argument": (("lookup", ("a",), {"self": 1}), Code.WRONG_TYPE),
    "a name too long": (("lookup", ("x" * 3000,), {}), Code.TOO_LARGE),
    "a name with a control character": (("lookup", ("x\n",), {}), Code.BAD_ENCODING),
    "no URI": (("register", ("a", "me"), {}), Code.MALFORMED),
    "a number as a URI": (("register", ("a", 7), {}), Code.MALFORMED),
    "its own name": (("register", (NAME_SERVER, "PYRO:a@127.0.0.1:1"), {}), Code.MALFORMED),
    "metadata that are no list": (("register", ("a", "PYRO:a@b:1", False, 7), {}), Code.WRONG_TYPE),
    "too much metadata": (("register", ("a", "PYRO:a@b:1", False, ["x"] * 17), {}), Code.TOO_LARGE),
    "a regular expression": (("list", (), {"regex": "(a+)+$"}), Code.MALFORMED),
    "a regular expression of what to remove": (("remove", (), {"regex": ".*"}), Code.MALFORMED),
    "two filters": (("list", ("a",), {"metadata_all": ["x"]}), Code.WRONG_TYPE),
    "an unknown method": (("format_disk", (), {}), Code.UNKNOWN_OPERATION),
    "an attribute": (("__getattr__", ("storage",), {}), Code.UNKNOWN_OPERATION),
}
HEARTBEAT = {"application": "service", "name": "a", "uri": "PYRO:a@127.0.0.1:1"}
MASTER_CALLS: dict[str, tuple[tuple[object, ...], Code]] = {
    "no heartbeat": (("heartbeat_slave", (), {}), Code.MISSING_FIELD),
    "a heartbeat that is no text": (("heartbeat_slave", (7,), {}), Code.WRONG_TYPE),
    "a heartbeat too long": (("heartbeat_slave", ("x" * 3000,), {}), Code.TOO_LARGE),
    "a heartbeat that is no JSON": (("heartbeat_slave", ("x",), {}), Code.MALFORMED),
    "a heartbeat that is a list": (("heartbeat_slave", ("[]",), {}), Code.MALFORMED),
    "a heartbeat nested too deeply": (("heartbeat_slave", ("[" * 2000,), {}), Code.MALFORMED),
    "a heartbeat without an application": (("heartbeat_slave", ("{}",), {}), Code.MISSING_FIELD),
    **{
        f"a heartbeat with another {name}": (
            ("heartbeat_slave", (json.dumps({**HEARTBEAT, name: value}),), {}),
            code,
        )
        for name, value, code in (
            ("application", "none", Code.MALFORMED),
            ("application", [], Code.MALFORMED),
            ("name", 7, Code.WRONG_TYPE),
            ("uri", "me", Code.MALFORMED),
            ("uri", "PYRO:a@./u:/run/docker.sock", Code.MALFORMED),
        )
    },
    "no live node": (("get_resolver_slave", (), {}), Code.UNAVAILABLE),
    "too many arguments": (("next_identifier", (1,), {}), Code.WRONG_TYPE),
    "a private method": (("_assigned", ("service",), {}), Code.UNKNOWN_OPERATION),
}

system = one_node("pyro4", Application.FILTER, Architecture.N_NODE)


def address(system: System, role: str) -> str:
    return system.handles[role][0].address


def greeted(system: System, role: str) -> Client:
    """Connect to *role* as its object wants to be greeted."""
    named = NAME_SERVER if role == "name_server" else MASTER
    client = Client(address(system, role), b"later")
    client.ask(message(repr({"handshake": "hello", "object": named}).encode(), 1))
    return client


@pytest.mark.parametrize("role", ["name_server", "master"])
@pytest.mark.parametrize(("greeting", "code"), each(FIRST))
def test_a_bad_greeting_gets_the_code_that_it_gets_at_a_node(
    system: System, greeting: bytes, code: Code, role: str
) -> None:
    raw = Client(address(system, role), greeting)
    assert_refused(raw.refusal(greeting), code)
    raw.close()


@pytest.mark.parametrize("role", ["name_server", "master"])
@pytest.mark.parametrize(("request_bytes", "code"), each(UNREADABLE))
def test_a_bad_message_gets_the_code_that_it_gets_at_a_node(
    system: System, request_bytes: bytes, code: Code, role: str
) -> None:
    raw = greeted(system, role)
    assert_refused(raw.refusal(request_bytes), code)
    raw.close()


@pytest.mark.parametrize(("parts", "code"), each(NAMES_CALLS))
def test_the_name_server_refuses_with_our_codes(
    system: System, parts: tuple[object, ...], code: Code
) -> None:
    raw = greeted(system, "name_server")
    _, error = raw.ask(call(NAME_SERVER, *parts))
    assert_refused(str(error["args"][0]), code)
    raw.close()


@pytest.mark.parametrize(("parts", "code"), each(MASTER_CALLS))
def test_the_master_refuses_with_our_codes(system: System, parts: tuple[object, ...], code: Code) -> None:
    raw = greeted(system, "master")
    _, error = raw.ask(call(MASTER, *parts))
    assert_refused(str(error["args"][0]), code)
    raw.close()


def test_pyro4s_own_clients_still_get_the_error_that_they_expect(system: System) -> None:
    host, _, port = address(system, "name_server").rpartition(":")
    with Pyro4.locateNS(host, int(port), broadcast=False) as names:
        assert MASTER in names.list(prefix="master.")
        with pytest.raises(Pyro4.errors.NamingError, match="NOT_FOUND: unknown name: nobody"):
            names.lookup("nobody")


@pytest.fixture(scope="module")
def signed() -> Iterator[str]:
    """The address of a name server that was started with a key."""
    with LocalLauncher() as launcher:
        spec = ProcessSpec("names", "pyro4.name_server", ("--port", "0"), {"LAB_PYRO_KEY": KEY})
        yield launcher.start(spec).address


def proxy_of(address: str, key: str | None) -> Pyro4.Proxy:
    proxy = Pyro4.Proxy(f"PYRO:{NAME_SERVER}@{address}")
    proxy._pyroHmacKey = key
    proxy._pyroSerializer = "serpent"
    return proxy


def test_with_a_key_signed_messages_are_served(signed: str) -> None:
    with proxy_of(signed, KEY) as names:
        assert names.count() == 1
        with pytest.raises(ValueError, match="MISSING_FIELD: "):
            names.lookup()


def test_with_a_key_a_message_that_is_not_signed_gets_its_code(signed: str) -> None:
    with (
        pytest.raises(Pyro4.errors.CommunicationError, match=r"rejected: MALFORMED: .* not signed"),
        proxy_of(signed, None) as names,
    ):
        names.count()
    raw = Client(signed, b"greeting")
    refused = raw.refusal(message(repr({"handshake": "hello", "object": NAME_SERVER}).encode(), 1))
    assert_refused(refused, Code.MALFORMED)
    raw.close()


def test_with_a_key_a_message_that_is_signed_with_another_is_not_served(signed: str) -> None:
    with pytest.raises(Pyro4.errors.PyroError), proxy_of(signed, "another key, as long") as names:
        names.count()


def test_without_a_key_signed_messages_are_refused(system: System) -> None:
    with (
        pytest.raises(Pyro4.errors.PyroError, match="symmetric"),
        proxy_of(address(system, "name_server"), KEY) as names,
    ):
        names.count()


def test_msgpack_is_understood_by_the_name_server(system: System) -> None:
    raw = greeted(system, "name_server")
    header, answer = raw.ask(
        message(b"\x94\xb0Pyro.NameServer\xa5count\x90\x80".replace(b"\xb0", b"\xaf"), serializer=MSGPACK)
    )
    assert header.serializer == MSGPACK
    assert answer >= 2
    raw.close()


PADDING = "x" * UNCHECKED_BYTES
"""Makes a message long enough to be looked at."""
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(),
    lambda children: st.lists(children) | st.dictionaries(st.text(), children),
    max_leaves=30,
)


@given(VALUES)
def test_what_serpent_writes_within_the_bounds_is_read(value: object) -> None:
    check_serpent(serpent.dumps([PADDING, value]))


@given(st.text(alphabet="'\"\\a,", max_size=14).map(str.encode))
@example(b"['','','x")
@example(b"'xx\\'")
def test_where_texts_end_is_seen_as_by_a_plain_scanner(data: bytes) -> None:
    """Python 3.11.2 (Debian 12) goes on behind a possessive group that did not match."""
    matched = BOUNDED.match(data)
    assert matched
    assert matched.end() == end_of_texts(data)


def end_of_texts(data: bytes) -> int:
    """Return where a text begins that does not end, or the length of *data*."""
    place = 0
    while place < len(data):
        begin, quote = place, data[place]
        place += 1
        if quote in b"'\"":
            while place < len(data) and data[place] != quote:
                place += 2 if data[place] == ord("\\") else 1
            if place >= len(data):
                return begin
            place += 1
    return place


@pytest.mark.parametrize("text", ["'", '"', "\\", "\\'", "\n", "})", "+-", "喂"])
def test_what_stands_in_a_text_counts_for_nothing(text: str) -> None:
    check_serpent(serpent.dumps([text * 5000]))


def test_a_thousand_calls_are_read_and_one_more_is_not() -> None:
    calls: list[object] = [("add_insult", ("tonto",), {})] * MAX_BATCH
    check_serpent(serpent.dumps(("insult.service", "<batch>", calls, {})))
    assert refusal(serpent.dumps(("insult.service", "<batch>", [*calls, calls[0]], {}))) is Code.TOO_LARGE


@pytest.mark.parametrize(
    ("data", "code"),
    [
        (b"[" + b"1," * MAX_STRUCTURE + b"]", Code.TOO_LARGE),
        (b"[" + b"''," * MAX_STRUCTURE + b"]", Code.TOO_LARGE),
        (b"''" * (MAX_STRUCTURE + 1), Code.TOO_LARGE),
        (b"1" + b"+1" * (MAX_SIGNS + 1) + b" " * UNCHECKED_BYTES, Code.MALFORMED),
        (b"[" + b"''," * 1000 + b"'", Code.MALFORMED),
        (b"'" + b"x" * UNCHECKED_BYTES + b"\\'", Code.MALFORMED),
    ],
)
def test_what_costs_much_is_refused(data: bytes, code: Code) -> None:
    assert refusal(data) is code


def refusal(data: bytes) -> Code:
    with pytest.raises(InvalidRequest) as raised:
        check_serpent(data)
    return raised.value.code
