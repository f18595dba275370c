"""For any bytes, each parser of the wire returns a value or one documented error."""

import json
import struct
from functools import partial

from hypothesis import example, given, settings
from hypothesis import strategies as st
from pika.spec import BasicProperties

import rabbitmq.tuned.connection  # noqa: F401  # lets pika read headers that it would fail on
from lab.errors import Code, InvalidRequest, LabError
from lab.limits import MAX_REQUEST_BYTES
from rabbitmq.tuned.delivery import DEATHS, FAILURES, MOST_DEATHS, NOT_BEFORE, Delivery, RetryQueue
from rabbitmq.tuned.wire import (
    SERVICE_CODES,
    UNREADABLE,
    code_of,
    fields_of,
    operation_id_of,
    operation_of,
    read_reply,
    reply_to,
    text_of,
)
from tests.wire import JSON

MANY = settings(max_examples=100, deadline=None)

SHORT = st.binary(max_size=255).map(lambda value: bytes([len(value)]) + value)
SIZES = {1: b"tbB", 2: b"Uus", 4: b"Iif", 5: b"D", 8: b"LldT"}


def sized(kind: bytes, content: bytes) -> bytes:
    """Return a value with its size before it."""
    return kind + struct.pack(">I", len(content)) + content


def table(pairs: list[tuple[bytes, bytes]]) -> bytes:
    """Return the pairs of a table, one after the other."""
    return b"".join(bytes([len(name)]) + name + value for name, value in pairs)


def of_size(size: int) -> st.SearchStrategy[bytes]:
    """Values of the kinds that take *size* bytes."""
    kinds = st.sampled_from([bytes([kind]) for kind in SIZES[size]])
    return st.tuples(kinds, st.binary(min_size=size, max_size=size)).map(b"".join)


NAMES = st.one_of(
    st.binary(max_size=20), st.sampled_from([b"operation", DEATHS.encode(), UNREADABLE.encode()])
)
VALUES = st.recursive(
    st.one_of(
        *map(of_size, SIZES),
        st.binary(max_size=60).map(lambda value: sized(b"S", value)),
        st.binary(max_size=60).map(lambda value: sized(b"x", value)),
        st.just(b"V"),
    ),
    lambda inner: st.one_of(
        st.lists(st.tuples(NAMES, inner), max_size=4).map(lambda pairs: sized(b"F", table(pairs))),
        st.lists(inner, max_size=4).map(lambda values: sized(b"A", b"".join(values))),
    ),
    max_leaves=12,
)
HEADERS = st.lists(st.tuples(NAMES, VALUES), max_size=5).map(lambda pairs: sized(b"", table(pairs)))
"""Tables of headers that a broker lets pass: the type of each value is that of its letter."""
FLAGGED = [
    (BasicProperties.FLAG_CONTENT_TYPE, SHORT),
    (BasicProperties.FLAG_CONTENT_ENCODING, SHORT),
    (BasicProperties.FLAG_HEADERS, HEADERS),
    (BasicProperties.FLAG_DELIVERY_MODE, st.binary(min_size=1, max_size=1)),
    (BasicProperties.FLAG_PRIORITY, st.binary(min_size=1, max_size=1)),
    (BasicProperties.FLAG_CORRELATION_ID, SHORT),
    (BasicProperties.FLAG_REPLY_TO, SHORT),
    (BasicProperties.FLAG_EXPIRATION, SHORT),
    (BasicProperties.FLAG_MESSAGE_ID, SHORT),
    (BasicProperties.FLAG_TIMESTAMP, st.binary(min_size=8, max_size=8)),
    (BasicProperties.FLAG_TYPE, SHORT),
    (BasicProperties.FLAG_USER_ID, SHORT),
    (BasicProperties.FLAG_APP_ID, SHORT),
]


@st.composite
def properties(draw: st.DrawFn) -> BasicProperties:
    """Draw properties as bytes, and decode them as the node does."""
    flags, fields = 0, b""
    for flag, values in FLAGGED:
        if draw(st.booleans()):
            flags |= flag
            fields += draw(values)
    return BasicProperties().decode(struct.pack(">H", flags) + fields)


@MANY
@given(properties())
def test_properties_are_read_or_refused_and_their_copy_can_be_sent(given: BasicProperties) -> None:
    for read in (code_of, operation_id_of, lambda each: operation_of(code_of(each), SERVICE_CODES)):
        refusal = refused(partial(read, given))
        assert refusal in (None, Code.MALFORMED, Code.BAD_ENCODING, Code.TOO_LARGE, Code.UNKNOWN_OPERATION)
    retries = RetryQueue("lab.filter")
    delivery = Delivery(None, 1, given, b"tonto", True)
    for decide in (retries.move, retries.after_death, retries.put_back):
        for message in decide(delivery):
            message.properties.encode()
            b"".join(message.properties.encode())
    assert refused(lambda: code_of(retries.move(delivery)[0].properties)) == refused(lambda: code_of(given))
    for reply in reply_to(given, "CENSORED"):
        b"".join(reply.properties.encode())


def refused(read: object) -> Code | None:
    """Return the code of the refusal, or None if there is none."""
    try:
        read()  # type: ignore[operator]
    except InvalidRequest as error:
        return error.code
    return None


@MANY
@given(
    st.one_of(
        st.binary(max_size=200), st.text(max_size=200).map(lambda text: text.encode("utf-8", "surrogatepass"))
    )
)
def test_a_body_is_text_or_refused(body: bytes) -> None:
    assert refused(lambda: text_of(BasicProperties(), body)) in (None, Code.BAD_ENCODING)


@MANY
@given(st.one_of(st.binary(max_size=200), JSON.map(lambda value: json.dumps(value).encode())))
@example(b"[" * 50_000)
@example(b"9" * MAX_REQUEST_BYTES)
def test_a_body_is_an_object_or_refused(body: bytes) -> None:
    refusal = refused(lambda: fields_of(BasicProperties(), body))
    assert refusal in (None, Code.MALFORMED, Code.WRONG_TYPE, Code.BAD_ENCODING)


@MANY
@given(
    properties(),
    st.one_of(st.binary(max_size=200), JSON.map(lambda value: json.dumps(value).encode())),
)
@example(BasicProperties(content_type="application/json"), b"[" * 100_000)
@example(BasicProperties(content_type="application/json", type="error"), b'{"code": [], "message": 1}')
@example(
    BasicProperties(content_type="application/json", type="error"),
    b'{"code": "INTERNAL_ERROR", "message": 1}',
)
def test_a_reply_is_an_answer_or_an_error(given: BasicProperties, body: bytes) -> None:
    answer = read_reply(given, body)
    assert not isinstance(answer, Exception) or isinstance(answer, LabError)


@MANY
@given(
    st.dictionaries(
        st.sampled_from([DEATHS, FAILURES, NOT_BEFORE]), st.one_of(st.integers(), st.text(), st.none())
    )
)
def test_counts_that_a_stranger_wrote_into_headers_do_no_harm(headers: dict[str, object]) -> None:
    retries = RetryQueue("lab.filter")
    delivery = Delivery(None, 1, BasicProperties(headers=headers), b"tonto", True)
    moved = retries.after_death(delivery)[0]
    assert moved.routing_key in (retries.retry, retries.dead)
    moved = retries.move(delivery)[0]
    assert moved.routing_key == retries.retry, "a message that is new in the retry queue counts from 0"
    assert moved.properties.headers == {}
    slept: list[float] = []
    assert retries.wait(delivery, lambda seconds: slept.append(seconds) or True)  # type: ignore[func-returns-value]
    assert sum(slept) <= 1.0


def test_a_message_is_dead_lettered_after_so_many_deaths_with_the_reason() -> None:
    retries = RetryQueue("lab.filter")
    message = retries.move(Delivery(None, 1, BasicProperties(message_id="a", reply_to="me"), b"tonto", True))[
        0
    ]
    for death in range(1, MOST_DEATHS):
        (message,) = retries.after_death(Delivery(None, 1, message.properties, message.body, True))
        assert message.routing_key == retries.retry
        assert message.properties.headers == {DEATHS: death, FAILURES: 0}
    letter, reply = retries.after_death(Delivery(None, 1, message.properties, message.body, True))
    assert (letter.routing_key, letter.body, letter.properties.message_id) == (retries.dead, b"tonto", "a")
    error = read_reply(reply.properties, reply.body)
    assert isinstance(error, LabError)
    assert error.code is Code.INTERNAL_ERROR
    assert error.error_id == letter.properties.headers["lab-error-id"]  # type: ignore[attr-defined]
