"""What a node does with a request, whatever carried it, over a store of each kind."""

from collections.abc import Callable

import pytest

from lab.applications.censor import Censor
from lab.applications.filter import FilterApplication, work_through
from lab.applications.service import ServiceApplication
from lab.contract import Result, ResultPage
from lab.errors import Code, InternalError, InvalidRequest, NoInsults, NotFound
from lab.limits import MAX_REPLY_BYTES, MAX_TEXT_BYTES, SUBSCRIPTION_LEASE_SECONDS
from lab.operations import page_from_plain, to_plain
from lab.store import Store
from lab.work import Work
from tests.eventually import eventually
from tests.lab.conftest import Later

TIMEOUT_SECONDS = 10.0


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


def test_a_random_insult_of_none_is_an_error_of_its_own(service: ServiceApplication) -> None:
    with pytest.raises(NoInsults):
        service.insult_me()


def test_a_random_insult_is_one_that_is_stored(service: ServiceApplication) -> None:
    service.add_insult("tonto")
    assert service.insult_me() == "tonto"


def test_a_page_of_insults_stops_at_512_kib_and_reading_on_gives_the_rest(
    service: ServiceApplication, store: Store
) -> None:
    wanted = [f"{number:03}{'喂' * 197}" for number in range(1000)]
    store.add_insults(wanted)
    page = service.get_insults()
    assert len("".join(page).encode()) <= MAX_REPLY_BYTES < len("".join(wanted).encode())
    assert page + service.get_insults(after=page[-1]) == wanted


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


def test_a_text_is_filtered_and_nothing_is_kept(insult_filter: FilterApplication, store: Store) -> None:
    assert insult_filter.filter("quin Tonto") == "quin CENSORED"
    assert (store.waiting(), insult_filter.get_results()) == (0, [])


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


def test_the_operation_id_of_a_submit_is_the_id_of_its_petition(insult_filter: FilterApplication) -> None:
    assert insult_filter.submit("tonto", "operation") == "operation"


def test_without_operation_id_each_submit_has_a_new_petition(insult_filter: FilterApplication) -> None:
    assert insult_filter.submit("tonto") != insult_filter.submit("tonto")


def test_a_petition_that_waits_has_no_result_yet(insult_filter: FilterApplication) -> None:
    with pytest.raises(NotFound):
        insult_filter.result(insult_filter.submit("tonto"))


def test_the_oldest_waiting_text_is_resolved(insult_filter: FilterApplication) -> None:
    first, second = insult_filter.submit("tonto 1"), insult_filter.submit("tonto 2")
    assert insult_filter.resolve() == "CENSORED 1"
    assert insult_filter.result(first) == "CENSORED 1"
    assert insult_filter.resolve() == "CENSORED 2"
    assert insult_filter.get_results() == [Result(second, "CENSORED 2"), Result(first, "CENSORED 1")]


def test_where_nothing_waits_nothing_is_resolved(insult_filter: FilterApplication) -> None:
    assert insult_filter.resolve() is None
    assert insult_filter.resolve("operation") is None


def test_a_repeated_resolve_takes_no_second_text(insult_filter: FilterApplication) -> None:
    insult_filter.submit("tonto 1")
    insult_filter.submit("tonto 2")
    assert [insult_filter.resolve("operation") for _ in range(3)] == ["CENSORED 1"] * 3
    assert insult_filter.resolve("another") == "CENSORED 2"


def test_an_empty_text_is_resolved_once(insult_filter: FilterApplication) -> None:
    insult_filter.submit("")
    insult_filter.submit("tonto")
    assert [insult_filter.resolve("operation") for _ in range(2)] == ["", ""]


def test_a_node_works_through_the_work_list_by_itself(insult_filter: FilterApplication) -> None:
    job = work_through(insult_filter)
    job.start()
    try:
        ids = [insult_filter.submit(f"tonto {number}") for number in range(30)]
        eventually(lambda: len(insult_filter.get_results()) == len(ids))
    finally:
        job.stop(TIMEOUT_SECONDS)
    assert [result.petition_id for result in insult_filter.get_results()] == ids[::-1]


def test_a_page_of_results_travels_as_plain_values() -> None:
    page = ResultPage([Result("a", "é"), Result("b", "")])
    page.more = True
    plain = to_plain(page)
    arrived = page_from_plain(plain)
    assert plain == {"results": [["a", "é"], ["b", ""]], "more": True}
    assert (arrived, arrived.more, type(arrived[0])) == (page, True, Result)


@pytest.mark.parametrize("answer", [None, True, "text", ["a", "b"]])
def test_other_answers_travel_as_they_are(answer: object) -> None:
    assert to_plain(answer) is answer


@pytest.mark.parametrize("value", [None, "text", [], {}, {"more": True}])
def test_what_is_no_page_of_results_is_said_to_be_none(value: object) -> None:
    with pytest.raises(InternalError):
        page_from_plain(value)
