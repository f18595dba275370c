"""A side of an experiment: what it refuses, what it promises, and its answers at each guarantee."""

from contextlib import ExitStack
from dataclasses import replace

import pytest

from harness.experiment.bench import Bench
from harness.experiment.side import SUBMIT, Anything, Side, known_text
from harness.load.workload import ADD_AND_REMOVE, INSULT_ME, Workload
from harness.record.run import Guarantee
from lab.applications.censor import Censor
from lab.contract import Architecture
from lab.errors import InvalidRequest
from lab.limits import MAX_TEXT_BYTES
from lab.load.texts import default_insults
from lab.process.system import BrokerUrls


@pytest.mark.parametrize("length", [16, 64, 1024, MAX_TEXT_BYTES])
def test_texts_have_their_length_and_the_known_answer(length: int) -> None:
    text, filtered = known_text(length)
    assert len(text.encode()) == length
    assert Censor(list(default_insults())).censor(text) == filtered


@pytest.mark.parametrize(
    ("middleware", "factors", "field"),
    [
        ("xmlrpc", {"guarantee": Guarantee.DISK}, "guarantee"),
        ("pyro4:stock", {"guarantee": Guarantee.MEMORY}, "guarantee"),
        ("xmlrpc", {"guarantee": Guarantee.DISK, "architecture": Architecture.N_NODE}, "guarantee"),
        ("redis_impl", {"batch": 10}, "batch"),
        ("xmlrpc", {"batch": 10, "in_flight": 2}, "batch"),
        ("rabbitmq", {"nodes": 3}, "nodes"),
        ("rabbitmq", {"operation": INSULT_ME, "work": "5ms waiting"}, "operation"),
        ("rabbitmq", {"insults": 10}, "insults"),
    ],
)
def test_a_side_that_cannot_be_is_refused_by_the_name_of_its_field(
    middleware: str, factors: dict[str, object], field: str
) -> None:
    with pytest.raises(InvalidRequest, match=f"^{field}: "):
        Side(middleware, **factors)  # type: ignore[arg-type]


def test_direct_middlewares_keep_nothing_but_what_n_nodes_accept_for_later() -> None:
    weak = BrokerUrls("redis://", descriptions=("redis: Redis 7, WEAK: appendonly no",))
    strong = BrokerUrls("redis://", descriptions=("redis: Redis 7",))
    called = Side("xmlrpc", Architecture.N_NODE)
    submitted = replace(called, operation=SUBMIT)
    assert [called.kept(strong), submitted.kept(strong), submitted.kept(weak)] == [
        Guarantee.NOTHING,
        Guarantee.DISK,
        Guarantee.MEMORY,
    ]
    assert Side("redis_impl").kept(weak) is Guarantee.MEMORY
    assert replace(submitted, guarantee=Guarantee.NOTHING).kept(strong) is Guarantee.NOTHING


def test_an_answer_that_nobody_checks_equals_every_text() -> None:
    assert Anything() in ["whatever"]
    assert Anything() == "whatever"
    assert Anything() != 7


@pytest.mark.parametrize(
    "side",
    [
        Side("redis_impl", guarantee=Guarantee.NOTHING, in_flight=10),
        Side("redis_impl:stock", guarantee=Guarantee.MEMORY),
        Side("rabbitmq", guarantee=Guarantee.NOTHING, in_flight=10, text_bytes=64),
        Side("rabbitmq:stock", Architecture.N_NODE, guarantee=Guarantee.NOTHING),
        Side("rabbitmq", guarantee=Guarantee.MEMORY),
        Side("rabbitmq", changes=("confirms=each", "acknowledge=each")),
        Side("xmlrpc", changes=("keep-alive=off",), batch=10),
        Side("pyro4:stock", guarantee=Guarantee.NOTHING, handler="builtins:repr"),
        Side("xmlrpc", operation=ADD_AND_REMOVE, insults=2000),
        Side("redis_impl", Architecture.N_NODE, operation=INSULT_ME, guarantee=Guarantee.NOTHING, insults=20),
    ],
    ids=lambda side: f"{side.middleware}, {side.operation}, {side.guarantee}",
)
def test_a_side_answers_rightly_at_each_guarantee_and_with_changed_code(
    side: Side, redis_url: str, amqp_url: str
) -> None:
    bench = Bench(BrokerUrls(redis_url, amqp_url), Workload())
    with ExitStack() as stack:
        two = replace(side, clients=2)
        load = stack.enter_context(two.load(bench, two.start_system(bench, stack)))
        measured = load.requests(20)
    assert (measured.made, measured.done) == (40, 40)
