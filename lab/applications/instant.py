"""Which operations return at once: a server may answer them where waiting would keep others waiting."""

from lab.contract import Architecture
from lab.operations import FILTER_OPERATIONS, SERVICE_OPERATIONS, Operation


def instant_service_operations(architecture: Architecture) -> frozenset[Operation]:
    """Return those of an InsultService: with its state in memory, all of them."""
    return frozenset(SERVICE_OPERATIONS if architecture is Architecture.ONE_NODE else ())


def instant_filter_operations(architecture: Architecture, *, is_work_instant: bool) -> frozenset[Operation]:
    """Return those of an InsultFilter: with its state in memory, those that do not work on texts."""
    works_on_texts = {Operation.FILTER, Operation.RESOLVE}
    instant = set(FILTER_OPERATIONS) - works_on_texts if architecture is Architecture.ONE_NODE else set()
    return frozenset(instant | ({Operation.FILTER} if is_work_instant else set()))
