"""Any bytes and any JSON: a petition or a reply is read, or refused with a documented code, and quickly."""

import json
import resource
import time
from contextlib import suppress
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from lab.contract import Application
from lab.errors import Code, InvalidRequest, LabError
from redis_impl.tuned.wire import Keys, read_petition, read_reply, reply_to_of
from tests.wire import JSON, each

KEYS = Keys("lab-00000000", Application.FILTER)
MEBIBYTE = 1024 * 1024
START = '{"operation": "X3", "data": null, "x": '
BOMBS = {
    "nested arrays": START + "[" * (MEBIBYTE - 100),
    "nested objects": START + '{"a":' * (MEBIBYTE // 5 - 100),
    "tiny arrays": f"{START}[{'[],' * (MEBIBYTE // 3 - 100)}[]]}}",
    "tiny numbers": f"{START}[{'1,' * (MEBIBYTE // 2 - 100)}1]}}",
    "tiny strings": START + '["",' + '"",' * (MEBIBYTE // 3 - 100),
    "tiny fields": "{" + ",".join(f'"{number}":1' for number in range(100_000)) + "}",
    "a long number": START + "9" * (MEBIBYTE - 100) + "}",
    "a long fraction": START + "0." + "9" * (MEBIBYTE - 100) + "}",
    "many long numbers": START + "[" + ("9" * 4000 + ",") * 260 + "1]}",
    "blanks": START + " " * (MEBIBYTE - 100) + "1}",
    "quotes": '"' * MEBIBYTE,
    "escaped quotes": '"' + '\\"' * (MEBIBYTE // 2 - 10),
    "backslashes": '{"operation": "' + "\\" * (MEBIBYTE - 100),
    "places to reply": '"data":"x"' * (MEBIBYTE // 10),
    "places to reply that are none": '"data": ' * (MEBIBYTE // 8),
    "a mebibyte too long": "[" * (2 * MEBIBYTE),
}
fields = st.fixed_dictionaries(
    {},
    optional={
        "operation": st.sampled_from(["X1", "X2", "X3", "X4", "X6"]) | JSON,
        "data": st.just(f"{KEYS.replies}x") | JSON,
        "id": st.just("id") | JSON,
        "reply_to": st.just(f"{KEYS.replies}x") | JSON,
        "limit": JSON,
        "petition_id": JSON,
        "error": st.sampled_from([*Code]) | JSON,
        "message": JSON,
        "answer": JSON,
    },
)


def read(raw: str) -> None:
    """Read *raw* as a node and as a client do; any other exception than a LabError passes."""
    with suppress(InvalidRequest):
        read_petition(raw, Application.FILTER, KEYS)
    reply_to, _ = reply_to_of(raw, KEYS)
    assert not reply_to or reply_to.startswith(KEYS.replies)
    identifier, answer = read_reply(raw)
    assert isinstance(identifier, str)
    assert not isinstance(answer, Exception) or isinstance(answer, LabError)


@given(st.binary())
@settings(max_examples=60, deadline=None)
def test_any_bytes_are_read_or_refused(raw: bytes) -> None:
    read(raw.decode("utf-8", "surrogateescape"))


@given(JSON | fields)
@settings(max_examples=60, deadline=None)
def test_any_json_is_read_or_refused(value: Any) -> None:
    read(json.dumps(value))


@given(fields, st.integers(0, 300), st.text(max_size=3))
@settings(max_examples=60, deadline=None)
def test_a_damaged_petition_is_read_or_refused(value: Any, place: int, damage: str) -> None:
    raw = json.dumps(value, ensure_ascii=False)
    read(raw[:place] + damage + raw[place + len(damage) :])


@pytest.mark.parametrize("raw", each({name: (bomb,) for name, bomb in BOMBS.items()}))
def test_a_bomb_is_refused_quickly_and_takes_no_memory(raw: str) -> None:
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    started = time.process_time()
    with pytest.raises(InvalidRequest):
        read_petition(raw, Application.FILTER, KEYS)
    reply_to_of(raw, KEYS)
    spent = time.process_time() - started
    grown = (resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) / 1024
    print(f"refused after {1000 * spent:.1f} ms of CPU time, memory +{grown:.1f} MB")
    assert spent < 2.0  # the figure is printed; this is a generous deadline
    assert grown <= 10.0
