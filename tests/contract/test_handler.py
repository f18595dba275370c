"""A user's own function in place of censoring: the same results and failures over every middleware."""

from pathlib import Path

import pytest

from lab.contract import Application
from lab.errors import InternalError
from lab.middleware import Promise
from lab.process.system import System
from tests.contract.conftest import Case

WAIT_SECONDS = 30.0


def start(case: Case, name: str) -> System:
    """Start a filter with the function *name*."""
    return case.start(Application.FILTER, node_arguments=("--handler", f"tests.contract.handlers:{name}"))


def test_a_function_of_the_users_takes_the_place_of_censoring(case: Case) -> None:
    with start(case, "shout").filter() as client:
        assert client.filter("quin tonto") == "QUIN TONTO"
        assert list(client.filter_many(["a", "b"])) == ["A", "B"]
        assert client.result(client.submit("ß é"), WAIT_SECONDS) == "SS É"


@pytest.mark.needs(Promise.BOUNDED_INPUT)
def test_a_function_that_raises_is_an_internal_error_and_the_node_goes_on(case: Case) -> None:
    with start(case, "stumble").filter() as client:
        with pytest.raises(InternalError) as caught:
            client.filter("bad")
        assert "this text is bad" not in caught.value.message
        assert client.filter("good") == "done good"


@pytest.mark.needs(Promise.DEAD_LETTERS)
def test_a_submitted_text_for_which_the_function_raises_is_tried_again(case: Case, tmp_path: Path) -> None:
    with start(case, "stumble").filter() as client:
        bad, failing = client.submit("bad"), client.submit(f"fail {tmp_path}/failed")
        assert client.result(failing, WAIT_SECONDS) == "done fail"
        assert client.result(client.submit("good"), WAIT_SECONDS) == "done good"
        assert bad not in [result.petition_id for result in client.get_results()]


@pytest.mark.needs(Promise.SURVIVES_KILLED_NODE)
def test_a_submitted_text_for_which_the_function_kills_its_node_is_done_by_another(
    n_node: Case, tmp_path: Path
) -> None:
    with start(n_node, "stumble").filter(deadline_seconds=15.0) as client:
        dying = client.submit(f"die {tmp_path}/died")
        assert client.result(dying, WAIT_SECONDS) == "done die"
        assert client.filter("good") == "done good"
