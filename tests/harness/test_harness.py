"""The harness against servers of known behaviour."""

import json
import subprocess
import sys

import pytest

from harness.analysis.verdicts import objections
from harness.experiment.capacity import Objective, search
from harness.load.generator import Window
from harness.load.measure import PROCESSES, Generators, LocalGenerators, shares
from harness.load.workload import NullSubject, Subject
from harness.record.measurement import Measurement
from lab.bootstrap import ROOT
from lab.load.plans import Plan
from tests.harness.known import known_server

NO_WARM_UP = Window(requests=1)


def load(subject: Subject, clients: int = 2, **options: int) -> Generators:
    """Return generators for *subject*, with hardly a warm-up: a known server needs none."""
    return LocalGenerators(subject, clients, warm_up=NO_WARM_UP, **options)  # type: ignore[arg-type]


def test_a_fixed_service_time_is_what_is_measured() -> None:
    with load(known_server(service_seconds=0.005), clients=1) as generators:
        measured = generators.requests(100)
    assert 5.0 <= (measured.response_ms["p50"] or 0.0) < 15.0
    assert measured.done == 100
    assert measured.is_whole


def test_a_queue_shows_in_the_response_time_of_many_clients() -> None:
    with load(known_server(service_seconds=0.005), clients=8) as generators:
        measured = generators.requests(20)
    assert (measured.response_ms["p50"] or 0.0) >= 7 * 5.0
    assert 100 < (measured.throughput or 0.0) < 210


def test_a_stall_of_half_a_second_in_six_shows_in_the_99th_percentile_of_an_open_loop() -> None:
    server = known_server(service_seconds=0.001, stall_at_seconds=2.0, stall_seconds=0.5)
    with load(server, clients=4) as generators:
        measured = generators.open(Plan.constant(200, 6))
    assert 300 < (measured.response_ms["p99"] or 0.0) < 2000
    assert (measured.service_ms["p50"] or 0.0) < 100
    assert measured.done == 1200


def test_a_stall_hides_from_a_closed_loop() -> None:
    with load(known_server(service_seconds=0.001, stall_at_seconds=1.0, stall_seconds=1.0)) as generators:
        measured = generators.closed(3.0)
    assert (measured.response_ms["p99"] or 0.0) < 500


@pytest.mark.parametrize("fault", ["lost", "duplicated", "corrupted"])
def test_one_request_in_a_hundred_gone_wrong_is_counted_and_no_throughput_is_given(fault: str) -> None:
    with load(known_server(**{fault: 0.01}), in_flight=10) as generators:
        measured = generators.requests(5_000)
    counts = {"lost": measured.lost, "duplicated": measured.duplicates, "corrupted": measured.wrong}
    assert 50 <= counts[fault] <= 200
    assert sum(counts.values()) == counts[fault]
    assert measured.made == 10_000 == measured.done + measured.lost + measured.wrong
    assert measured.throughput is None
    assert "of 10,000 requests" in objections(measured, processes=PROCESSES)[0]


def test_a_known_capacity_lies_in_the_interval_that_is_found() -> None:
    objective = Objective(p99_ms=200, window_seconds=1.5)
    with load(known_server(service_seconds=0.002), clients=16) as generators:

        def attempt(rate: float) -> Measurement:
            return generators.open(Plan.constant(rate, objective.seconds_for(rate)))

        found = search(attempt, objective, first=200)
    assert found.high is not None
    assert 0.7 * 500 < found.low <= found.high < 1.2 * 500
    assert found.high - found.low <= 0.06 * found.high


def test_a_generator_that_is_busy_itself_is_said_to_be_the_bound() -> None:
    with load(known_server(burn_seconds=0.001), clients=1) as generators:  # one: to have a core to itself
        measured = generators.closed(1.5)
    assert any("client-bound" in objection for objection in objections(measured, processes=1))


def test_a_rate_near_that_against_nothing_is_said_to_be_client_bound() -> None:
    with load(NullSubject()) as generators:
        measured = generators.closed(1.0)
    found = objections(measured, processes=PROCESSES, null_rate=measured.throughput or 0.0)
    assert any("client-bound" in objection for objection in found)


def test_a_late_plan_is_neither_skipped_nor_put_off() -> None:
    with load(known_server(service_seconds=0.005), clients=1) as generators:
        measured = generators.open(Plan.constant(400, 1))
    assert measured.done == 400
    assert (measured.response_ms["p50"] or 0.0) > 300


def test_clients_that_are_too_few_for_the_plan_are_said_to_send_late() -> None:
    with load(known_server(service_seconds=0.002), clients=1) as generators:
        measured = generators.open(Plan.poisson(300, 2, seed=1))
    assert any("sent late" in objection for objection in objections(measured, processes=PROCESSES))


def test_a_million_requests_need_less_than_300_megabytes() -> None:
    command = [sys.executable, "-c", "from harness.probes.memory import main; main(1_000_000)"]
    done = subprocess.run(command, cwd=ROOT, capture_output=True, text=True, check=True)
    said = json.loads(done.stdout)
    assert said["done"] == 1_000_000
    assert said["after"] < 300
    assert said["settled"] - said["before"] < 10


@pytest.mark.parametrize(("clients", "processes", "expected"), [(4, 2, [2, 2]), (5, 2, [3, 2]), (1, 2, [1])])
def test_clients_are_shared_evenly(clients: int, processes: int, expected: list[int]) -> None:
    assert shares(clients, processes) == expected
