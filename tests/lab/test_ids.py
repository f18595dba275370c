"""Operation ids differ, whoever makes them."""

import multiprocessing
import sys
from concurrent.futures import ThreadPoolExecutor

import pytest

from lab.operations import new_operation_id
from lab.validation import clean_operation_id


def test_no_id_is_given_twice() -> None:
    ids = [new_operation_id() for _ in range(10_000)]
    assert len(set(ids)) == len(ids)


def test_no_id_is_given_to_two_threads() -> None:
    with ThreadPoolExecutor(8) as threads:
        ids = list(threads.map(lambda _: new_operation_id(), range(10_000)))
    assert len(set(ids)) == len(ids)


def test_an_id_is_one_that_nodes_accept() -> None:
    made = new_operation_id()
    assert clean_operation_id(made) == made


@pytest.mark.skipif(sys.platform == "win32", reason="no fork")
def test_forked_processes_give_other_ids_than_each_other_and_their_parent() -> None:
    with multiprocessing.get_context("fork").Pool(2) as pool:
        processes = pool.map_async(_some_ids, range(8), chunksize=1).get(timeout=30.0)
    ids = [made for some in processes for made in some] + _some_ids(0)
    assert len(set(ids)) == len(ids)


def _some_ids(_: int) -> list[str]:
    return [new_operation_id() for _ in range(100)]
