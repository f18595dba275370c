"""Every objection to a window, and what a run shows: the fastest, speedups, comparisons."""

from dataclasses import replace
from typing import Any

import pytest

from harness.analysis.verdicts import objections, shown_points, speedups
from harness.record.measurement import Measurement, Usage
from harness.record.run import Capacity, Run, losses
from harness.report.conclusions import caveats, conclusions
from harness.report.faults import variant_name
from harness.statistics import speedup_estimate
from tests.harness.runs import full_run, lossy, point, run_of, speedup_points, window

RAMP = [500.0 + 50 * place for place in range(20)]


def found(measured: Measurement, **against: Any) -> list[str]:
    """Return the objections to what two load generators measured."""
    return objections(measured, **{"processes": 2, **against})


def test_a_window_in_which_all_is_well_is_not_objected_to() -> None:
    assert found(window()) == []


@pytest.mark.parametrize(
    "loss", [{"lost": 1}, {"wrong": 1}, {"duplicates": 1}, {"failed": {"OVERLOADED": 1}}]
)
def test_a_loss_is_the_only_objection(loss: dict[str, Any]) -> None:
    [objection] = found(lossy(**loss, seconds=0.1, out_of_range=5, generator_cpu_seconds=9.0))
    assert objection.startswith("of 1,000 requests 1 ")


def test_a_window_without_requests_says_so() -> None:
    assert found(replace(window(0.0), throughput=None, seconds=0.0)) == ["no request was made"]


@pytest.mark.parametrize(
    ("out_of_range", "said"), [(0, []), (1, ["1 response times were under 1 us or over 60 s"])]
)
def test_one_time_that_the_histogram_cannot_hold_is_too_many(out_of_range: int, said: list[str]) -> None:
    assert found(window(out_of_range=out_of_range)) == said


@pytest.mark.parametrize(
    ("seconds", "done", "said"),
    [
        (0.7, 1000, []),
        (0.69, 1000, ["too short: 1,000 requests in 0.69 s"]),
        (1.0, 100, []),
        (1.0, 99, ["too short: 99 requests in 1.00 s"]),
    ],
)
def test_a_window_is_too_short_under_700_ms_or_100_requests(
    seconds: float, done: int, said: list[str]
) -> None:
    assert found(window(made=done, done=done, seconds=seconds, generator_cpu_seconds=0.1)) == said


@pytest.mark.parametrize(
    ("spent", "processes", "said"),
    [
        (1.6, 2, []),
        (1.62, 2, ["client-bound: each load generator used 81% of a core"]),
        (0.8, 1, []),
        (0.82, 1, ["client-bound: each load generator used 82% of a core"]),
    ],
)
def test_a_load_generator_may_use_four_fifths_of_a_core(
    spent: float, processes: int, said: list[str]
) -> None:
    assert found(window(generator_cpu_seconds=spent), processes=processes) == said


def test_what_a_load_generator_spends_is_per_second_of_the_window() -> None:
    assert found(window(seconds=2.0, generator_cpu_seconds=3.2)) == []
    assert found(window(seconds=2.0, generator_cpu_seconds=3.3))


@pytest.mark.parametrize(
    ("null_rate", "said"),
    [
        (0.0, []),
        (2000.0, []),
        (1999.0, ["client-bound: the load generators alone make 1,999/s, less than twice this"]),
    ],
)
def test_the_load_generators_must_be_able_to_do_twice_as_much(null_rate: float, said: list[str]) -> None:
    assert found(window(), null_rate=null_rate) == said


@pytest.mark.parametrize(
    ("late", "p99", "is_late"),
    [
        (None, 2.0, False),
        (1.0, 2.0, False),
        (1.1, 2.0, True),
        (1.0, None, False),
        (1.1, None, True),
        (5.0, 100.0, False),
        (5.1, 100.0, True),
    ],
)
def test_requests_may_be_sent_late_by_a_millisecond_or_a_twentieth_of_the_response_time(
    late: float | None, p99: float | None, is_late: bool
) -> None:
    said = [f"sent late: the 99th percentile of the delay before sending is {late} ms"] if is_late else []
    assert found(window(late_p99_ms=late, response_ms={"p99": p99}, achieved_share=1.0)) == said


@pytest.mark.parametrize(("achieved", "objections_made"), [(0.99, 1), (0.98, 0), (None, 0)])
def test_to_send_late_is_no_fault_where_the_system_does_not_keep_up(
    achieved: float | None, objections_made: int
) -> None:
    assert len(found(window(late_p99_ms=50.0, achieved_share=achieved))) == objections_made


@pytest.mark.parametrize(("under_way", "is_right"), [(200, True), (191, True), (189, False), (128, False)])
def test_what_was_under_way_must_be_what_was_to_be_kept_under_way(under_way: float, is_right: bool) -> None:
    said = found(window(under_way=under_way), in_flight=200)
    assert said == (
        [] if is_right else [f"Little's law: {under_way} requests were under way on average, not 200"]
    )


@pytest.mark.parametrize(("steal", "count"), [(0.019, 0), (0.03, 1)])
def test_time_that_other_guests_had_makes_a_window_invalid(steal: float, count: int) -> None:
    assert len(found(window(), usage=Usage(steal_share=steal))) == count


@pytest.mark.parametrize(("busy", "node", "count"), [(0.99, 0.2, 1), (0.94, 0.2, 0), (0.99, 0.9, 0)])
def test_load_generators_that_take_most_of_a_full_machine_are_the_limit(
    busy: float, node: float, count: int
) -> None:
    """Two full cores leave each of two generators less than 80 % of one."""
    usage = Usage({"node": node}, busy_share=busy)
    assert len(found(window(generator_cpu_seconds=0.8), usage=usage)) == count


def test_a_throughput_that_grows_within_the_window_is_not_stationary() -> None:
    assert found(window(slices=RAMP)) == ["not stationary: the throughput changed within the window"]


def test_a_change_of_fifteen_percent_between_the_halves_is_none() -> None:
    assert found(window(slices=[930.0] * 10 + [1070.0] * 10)) == []
    assert found(window(slices=[920.0] * 10 + [1080.0] * 10))


def test_a_window_that_is_objected_to_already_need_not_be_stationary() -> None:
    assert found(window(slices=RAMP, out_of_range=1)) == ["1 response times were under 1 us or over 60 s"]


def test_all_that_is_wrong_is_said() -> None:
    measured = window(
        seconds=0.5, out_of_range=2, generator_cpu_seconds=0.9, late_p99_ms=3.0, achieved_share=1
    )
    said = found(measured, null_rate=10.0)
    assert [objection.split(":")[0] for objection in said] == [
        "2 response times were under 1 us or over 60 s",
        "too short",
        "client-bound",
        "client-bound",
        "sent late",
    ]


INVALID = ["too short: 5 requests in 0.01 s"]


def ranked(run: Run) -> list[str]:
    """Return the sentences that rank systems which keep the same."""
    return [said for said in conclusions(run) if "of the tuned systems" in said]


@pytest.mark.parametrize("study", ["requests", "pipelined"])
def test_the_fastest_is_named_and_the_slowest_among_those_that_keep_the_same(study: str) -> None:
    run = run_of(
        point(study, throughput=500.0),
        point(study, "pyro4", 900.0),
        point(study, "redis_impl", 300.0),
        point(study, "rabbitmq", 200.0),
    )
    nothing_kept, on_disk = ranked(run)
    assert nothing_kept.startswith("If ")
    assert (
        "nothing kept: of the tuned systems, fastest: Pyro4 tuned, 1 node 900/s (p99 5.00 ms)" in nothing_kept
    )
    assert nothing_kept.endswith("; slowest: XML-RPC tuned, 1 node 500/s.")
    assert "kept on disk: of the tuned systems, fastest: Redis tuned, 1 node 300/s" in on_disk


def test_stock_is_ranked_among_stock() -> None:
    rates = {"xmlrpc": 900.0, "pyro4": 800.0, "xmlrpc:stock": 100.0, "pyro4:stock": 300.0}
    [said] = conclusions(run_of(*(point(middleware=name, throughput=rate) for name, rate in rates.items())))
    stock, tuned = said.split(". Of the tuned systems, ")
    assert "of the stock systems, fastest: Pyro4 stock, 1 node 300/s" in stock
    assert tuned.startswith("fastest: XML-RPC tuned, 1 node 900/s")


def test_a_work_list_in_redis_is_kept_on_disk_with_every_middleware() -> None:
    points = [point("accepted", name, 100.0, nodes=3) for name in ("xmlrpc", "redis_impl")]
    said = conclusions(run_of(*points))[-1]
    assert "kept on disk" in said
    weak = run_of(*points, environment={"brokers": ["redis: found, WEAK: appendonly no"]})
    assert "kept in the broker's memory" in conclusions(weak)[0]


def test_only_who_promises_that_accepted_work_survives_a_crash_is_ranked_for_it() -> None:
    names = ("redis_impl", "rabbitmq", "redis_impl:stock", "rabbitmq:stock", "xmlrpc:stock")
    points = [point("accepted", name, 100.0, nodes=nodes) for name in names for nodes in (1, 3)]
    [said] = [one for one in conclusions(run_of(*points)) if "must survive a crash" in one]
    counted = {one for one in names for label in [variant_name(one)] if f"{label}, " in said}
    assert counted == {"redis_impl", "rabbitmq", "rabbitmq:stock"}
    assert "RabbitMQ tuned, 3 nodes" in said
    assert "RabbitMQ tuned, 1 node " not in said  # its results are in the node's memory
    assert "RabbitMQ stock, 1 node " not in said


def blocks(tuned: list[float], stock: list[float], **changes: Any) -> Run:
    """Return blocks in which both variants of XML-RPC were measured."""
    sides = (("xmlrpc", tuned), ("xmlrpc:stock", stock))
    return run_of(
        *(
            point(middleware=name, throughput=rate, block=block, **changes)
            for name, rates in sides
            for block, rate in enumerate(rates, 1)
        )
    )


def test_what_tuning_buys_is_said_from_pairs_of_the_same_block() -> None:
    said = conclusions(blocks([390.0, 400.0, 410.0], [100.0, 100.0, 100.0]))[-1]
    assert "tuned made so many times the rate of stock: XML-RPC, one-node 4 x (3.9 to 4.1)" in said
    assert said.endswith("(lowest and highest of 3 repetitions).")


@pytest.mark.parametrize(
    "run",
    [
        blocks([400.0, 400.0, 400.0], [100.0, 100.0, 100.0], objections=INVALID),
        blocks([400.0, 400.0], [100.0, 100.0]),
        blocks([400.0, 400.0, 400.0], []),
    ],
    ids=["invalid", "too few", "one side"],
)
def test_without_valid_pairs_nothing_is_said_of_tuning(run: Run) -> None:
    assert not [said for said in conclusions(run) if "rate of stock" in said]


def test_no_sentence_says_what_a_difference_comes_from() -> None:
    said = " ".join([*conclusions(full_run()), *caveats(full_run())])
    assert "buys" not in said
    assert "What that costs is not measured here." in said


def test_what_is_hardly_slower_is_as_fast() -> None:
    points = [point(throughput=100.0), point(middleware="pyro4", throughput=90.0)]
    [said] = ranked(run_of(*points, point("requests", "pyro4", 50.0, nodes=3)))
    assert (
        "fastest: XML-RPC tuned, 1 node 100/s (p99 5.00 ms) and Pyro4 tuned, 1 node 90/s, no difference told"
        in said
    )
    assert said.endswith("slowest: Pyro4 tuned, 3 nodes 50/s.")


def test_an_invalid_point_is_never_the_fastest() -> None:
    points = [point(throughput=9000.0, objections=INVALID), point(middleware="pyro4", throughput=900.0)]
    [said] = ranked(run_of(*points, point("requests", "pyro4", 200.0, nodes=3)))
    assert "fastest: Pyro4 tuned, 1 node" in said
    assert "XML-RPC" not in said


def test_the_last_valid_point_counts_not_the_best() -> None:
    points = [point(throughput=9000.0), point(throughput=700.0), point(throughput=8000.0, objections=INVALID)]
    [said] = conclusions(run_of(*points, point(middleware="pyro4", throughput=100.0)))
    assert "fastest: XML-RPC tuned, 1 node 700/s" in said


def test_a_system_of_several_numbers_of_nodes_is_shown_with_the_most() -> None:
    rates = {2: 3000.0, 5: 1000.0, 3: 2000.0}
    points = [point(nodes=nodes, throughput=rate, block=1) for nodes, rate in rates.items()]
    assert [one.nodes for one in shown_points(run_of(*points), "requests")] == [5]


def test_a_capacity_is_a_conclusion() -> None:
    found = Capacity("redis_impl", "n-node", 3, 32, 50.0, 950.0, 1000.0)
    assert conclusions(run_of(capacities=[found])) == [
        "Redis tuned, n-node sustains 950 to 1,000/s with p99 within 50 ms."
    ]


def test_the_full_run_concludes_about_everything() -> None:
    said = " ".join(conclusions(full_run()))
    for part in (
        "no difference told",
        "5ms waiting per text",
        "with p99 within 50 ms",
        "xmlrpc against redis_impl: faster",
    ):
        assert part in said


def test_speedups_are_estimated_from_pairs_of_the_same_block() -> None:
    [found] = speedups(run_of(*speedup_points(blocks=5, is_trial=True)))
    assert (found.middleware, found.work, list(found.estimates)) == ("xmlrpc", "5ms waiting", [1, 2, 3])
    for nodes, estimate in found.estimates.items():  # what a block is off by cancels: no interval is left
        assert (estimate.value, estimate.low, estimate.high) == pytest.approx((nodes, nodes, nodes))
        assert estimate.trials == 5


def test_the_order_in_which_a_block_was_measured_does_not_matter() -> None:
    points = speedup_points(blocks=4)
    assert speedups(run_of(*points[::-1]))[0].estimates == pytest.approx(
        speedups(run_of(*points))[0].estimates
    )


def test_a_block_without_its_one_node_point_makes_no_pair() -> None:
    points = speedup_points(blocks=4, is_trial=True)
    points[0] = replace(points[0], objections=INVALID)  # one node, block 0
    [found] = speedups(run_of(*points))
    assert [estimate.trials for estimate in found.estimates.values()] == [3, 3, 3]
    ones = [p.throughput for p in points[3:] if p.nodes == 1]
    twos = [p.throughput for p in points[3:] if p.nodes == 2]
    assert found.estimates[2] == speedup_estimate(twos, ones)


def test_without_any_valid_point_of_one_node_there_is_no_speedup() -> None:
    points = [replace(p, objections=INVALID) if p.nodes == 1 else p for p in speedup_points()]
    assert speedups(run_of(*points)) == []


def test_middlewares_and_kinds_of_work_are_kept_apart() -> None:
    computing = [replace(p, work="2ms computing") for p in speedup_points()]
    run = run_of(*speedup_points("rabbitmq"), *computing, *speedup_points("xmlrpc"))
    assert [(found.middleware, found.work) for found in speedups(run)] == [
        ("xmlrpc", "2ms computing"),
        ("xmlrpc", "5ms waiting"),
        ("rabbitmq", "5ms waiting"),
    ]


def test_a_busy_machine_is_a_caveat() -> None:
    assert any("busy" in line for line in caveats(run_of(environment={"cores": 2, "load_before": 1.1})))
    assert not any("busy" in line for line in caveats(run_of(environment={"cores": 2, "load_before": 1.0})))


def test_a_stock_variant_that_refuses_more_clients_than_it_promises_to_serve_has_lost_nothing() -> None:
    refused = lossy(failed={"UNAVAILABLE": 200})
    crowd = point("pipelined", "pyro4:stock", measurement=refused, in_flight=50, objections=["200 refused"])
    assert losses(run_of(crowd)) == []
    assert any(
        "does not promise to serve more than 40 clients at once" in said for said in caveats(run_of(crowd))
    )
    for other in (
        replace(crowd, middleware="pyro4"),
        replace(crowd, in_flight=1),
        replace(crowd, measurement=lossy(lost=1, failed={"UNAVAILABLE": 1})),
    ):
        assert len(losses(run_of(other))) == 1
