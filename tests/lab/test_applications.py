"""What a node does with a request, whatever carried it, and with the work of nodes that freeze or die."""

import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from typing import cast

import pytest

from lab.applications import filter as filter_module
from lab.applications.censor import Censor
from lab.applications.filter import LEASE_SECONDS, FilterApplication, FilterParts, build_filter, work_through
from lab.applications.service import ServiceApplication
from lab.contract import Result
from lab.errors import Code, InternalError, InvalidRequest, Unavailable
from lab.limits import MAX_TEXT_BYTES, SUBSCRIPTION_LEASE_SECONDS
from lab.operations import page_from_plain
from lab.options import NodeOptions
from lab.store import MemoryStore, Store
from lab.work import Work
from tests.eventually import eventually
from tests.lab.conftest import Later

WAIT_SECONDS = 10.0
ID = "operation"


@pytest.fixture
def service(store: Store) -> ServiceApplication:
    """An InsultService whose subscribers are called by HTTP."""
    return ServiceApplication(store, ("http",))


@pytest.fixture
def insult_filter(store: Store) -> FilterApplication:
    """An InsultFilter that knows one insult."""
    return FilterApplication(store, Censor(["tonto"]), Work())


def test_an_insult_is_cleaned_before_it_is_stored_or_removed(service: ServiceApplication) -> None:
    assert service.add_insult("  estu\u0301pido\n") is True
    assert service.get_insults() == ["est\u00fapido"]
    assert service.remove_insult(" est\u00fapido ") is True


def test_a_subscriber_is_called_for_30_seconds_unless_it_renews(
    service: ServiceApplication, store: Store, later: Later
) -> None:
    assert service.add_subscriber("http://host/") is True
    later(0.9 * SUBSCRIPTION_LEASE_SECONDS)
    assert service.add_subscriber("http://host/") is False
    later(1.1 * SUBSCRIPTION_LEASE_SECONDS)
    assert store.subscribers() == []


@pytest.mark.parametrize("call", [ServiceApplication.add_subscriber, ServiceApplication.remove_subscriber])
def test_a_subscriber_of_another_middleware_is_refused(
    service: ServiceApplication, call: Callable[[ServiceApplication, object], bool]
) -> None:
    with pytest.raises(InvalidRequest):
        call(service, "PYRO:obj@host:1")


@pytest.mark.parametrize(
    ("text", "code"), [(1, Code.WRONG_TYPE), ("x" * (MAX_TEXT_BYTES + 1), Code.TOO_LARGE)]
)
def test_a_bad_text_is_neither_filtered_nor_put_on_the_work_list(
    insult_filter: FilterApplication, store: Store, text: object, code: Code
) -> None:
    for call in (insult_filter.filter, insult_filter.submit):
        with pytest.raises(InvalidRequest) as caught:
            call(text)
        assert caught.value.code is code
    assert store.waiting() == 0


@pytest.mark.parametrize("value", [None, "text", [], {}, {"more": True}])
def test_what_is_no_page_of_results_is_refused(value: object) -> None:
    with pytest.raises(InternalError):
        page_from_plain(value)


class Occupied:
    """Work that takes until it is released; it knows whether it was begun."""

    is_none = False
    wait_seconds = cpu_seconds = 0.0

    def __init__(self) -> None:
        self.begun = threading.Event()
        self.released = threading.Event()
        self.error: Exception | None = None

    def perform(self) -> None:
        self.begun.set()
        self.released.wait(WAIT_SECONDS)
        if self.error:
            raise self.error


class Pair:
    """Two nodes of a store. Each text occupies the first one, in one of its *threads*."""

    def __init__(self, store: Store, threads: ThreadPoolExecutor) -> None:
        self.store, self.threads, self.work = store, threads, Occupied()
        self.first = FilterApplication(store, Censor(["tonto"]), cast(Work, self.work))
        self.second = FilterApplication(store, Censor(["tonto"]), Work())

    def occupy(self) -> "Future[Result | None]":
        """Let the first node take the oldest text and work on it."""
        under_way = self.threads.submit(self.first.resolve_next)
        assert self.work.begun.wait(WAIT_SECONDS)
        return under_way


@pytest.fixture
def pair(store: Store) -> Iterator[Pair]:
    with ThreadPoolExecutor(4) as threads:
        pair = Pair(store, threads)
        yield pair
        pair.work.released.set()


def test_a_text_is_held_while_its_node_works_on_it(pair: Pair, later: Later) -> None:
    pair.first.submit("tonto", "a")
    under_way = pair.occupy()
    for _ in range(4):
        later(0.7 * LEASE_SECONDS)
        pair.first.renew_leases()
        assert pair.second.resolve_next() is None
    pair.work.released.set()
    assert under_way.result(WAIT_SECONDS) == Result("a", "CENSORED")


def test_the_work_of_a_frozen_node_is_taken_over_and_its_late_result_refused(
    pair: Pair, later: Later
) -> None:
    pair.first.submit("tonto", "a")
    frozen = pair.occupy()
    later(LEASE_SECONDS + 0.1)
    assert pair.second.resolve_next() == Result("a", "CENSORED")
    pair.first.renew_leases()
    pair.work.released.set()
    assert frozen.result(WAIT_SECONDS) is None
    assert (pair.store.fenced(), pair.store.get_results(10)) == (1, [Result("a", "CENSORED")])


def test_a_text_whose_work_failed_waits_again(pair: Pair, later: Later) -> None:
    pair.first.submit("tonto", "a")
    pair.work.error = ValueError("a bug")
    failed = pair.occupy()
    pair.work.released.set()
    with pytest.raises(ValueError, match="a bug"):
        failed.result(WAIT_SECONDS)
    later(0.7 * LEASE_SECONDS)
    pair.first.renew_leases()
    later(0.7 * LEASE_SECONDS)
    assert pair.second.resolve_next() == Result("a", "CENSORED")


def test_two_resolves_at_once_under_one_id_take_one_text_and_get_the_same_answer(pair: Pair) -> None:
    pair.first.submit("tonto 1")
    pair.first.submit("tonto 2")
    answers = [pair.threads.submit(pair.first.resolve, ID)]
    assert pair.work.begun.wait(WAIT_SECONDS)
    answers += [pair.threads.submit(node.resolve, ID) for node in (pair.first, pair.second)]
    pair.work.released.set()
    assert [answer.result(WAIT_SECONDS) for answer in answers] == ["CENSORED 1"] * 3
    assert pair.second.resolve() == "CENSORED 2"
    assert pair.second.resolve() is None


def test_a_resolve_that_is_under_way_for_too_long_is_to_be_repeated(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(filter_module, "UNDER_WAY_SECONDS", 0.0)
    pair.first.submit("tonto")
    answer = pair.threads.submit(pair.first.resolve, ID)
    assert pair.work.begun.wait(WAIT_SECONDS)
    with pytest.raises(Unavailable):
        pair.second.resolve(ID)
    pair.work.released.set()
    assert answer.result(WAIT_SECONDS) == "CENSORED"
    assert pair.second.resolve(ID) == "CENSORED"


def test_a_node_that_stops_gives_back_what_it_cannot_finish(pair: Pair) -> None:
    pair.first.submit("tonto", "a")
    parts = FilterParts(pair.first, (work_through(pair.first),), has_work_list=True)
    parts.start()
    assert pair.work.begun.wait(WAIT_SECONDS)
    parts.stop(0.01)
    assert pair.second.resolve_next() == Result("a", "CENSORED")
    pair.work.released.set()


def test_a_node_with_a_work_list_renews_its_leases_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("lab.applications.filter.RENEWAL_SECONDS", 0.01)
    store = MemoryStore()
    renewed: list[int] = []
    monkeypatch.setattr(store, "renew", lambda *arguments: renewed.append(1))
    options = NodeOptions(work=Work(wait_seconds=0.2))
    parts = build_filter(options, store, has_work_list=True)
    parts.start()
    try:
        parts.application.submit("tonto", "a")
        eventually(lambda: store.result("a"))
        assert renewed
    finally:
        parts.stop(WAIT_SECONDS)
