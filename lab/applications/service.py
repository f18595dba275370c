"""The InsultService over a store. Every argument is checked here. The wires pass on what they received."""

from collections.abc import Iterable

from lab.brokers import locate_redis
from lab.contract import Architecture
from lab.errors import NoInsults
from lab.limits import MAX_PAGE, MAX_REPLY_BYTES, SUBSCRIPTION_LEASE_SECONDS
from lab.operations import SERVICE_OPERATIONS, Operation
from lab.options import NodeOptions
from lab.store import open_store
from lab.store.protocol import Store
from lab.validation import clean_after, clean_insult, clean_limit, clean_subscriber
from lab.work import request_counter


class ServiceApplication:
    """Answers the service's operations; the methods are those of :class:`~lab.contract.InsultService`.

    *subscriber_schemes* are the URI schemes under which subscribers may be called back.
    """

    def __init__(self, store: Store, subscriber_schemes: tuple[str, ...] = ()) -> None:
        self._store = store
        self._subscriber_schemes = subscriber_schemes
        self._count_request = request_counter()

    def add_insult(self, insult: object, operation_id: str = "") -> bool:
        return self._store.add_insult(clean_insult(insult), operation_id)

    def remove_insult(self, insult: object, operation_id: str = "") -> bool:
        return self._store.remove_insult(clean_insult(insult), operation_id)

    def get_insults(self, after: object = "", limit: object = MAX_PAGE) -> list[str]:
        return insult_page(self._store.get_insults(clean_after(after), clean_limit(limit)))

    def insult_me(self) -> str:
        if self._count_request:
            self._count_request()
        insult = self._store.random_insult()
        if insult is None:
            raise NoInsults("there are no insults yet; add one first")
        return insult

    def add_subscriber(self, uri: object) -> bool:
        """Call *uri* back at each tick for 30 s; adding it again renews it. True if it was not there."""
        checked = clean_subscriber(uri, self._subscriber_schemes)
        return self._store.add_subscriber(checked, SUBSCRIPTION_LEASE_SECONDS)

    def remove_subscriber(self, uri: object) -> bool:
        """Call *uri* no more. True if it was there."""
        return self._store.remove_subscriber(clean_subscriber(uri, self._subscriber_schemes))

    def start_broadcast(self, operation_id: str = "") -> bool:
        return self._store.set_broadcast(True, operation_id)

    def stop_broadcast(self, operation_id: str = "") -> bool:
        return self._store.set_broadcast(False, operation_id)


def insult_page(insults: Iterable[str]) -> list[str]:
    """Return the first of the sorted *insults* that fit into 512 KiB."""
    page: list[str] = []
    size = 0
    for insult in insults:
        size += len(insult.encode())
        if page and size > MAX_REPLY_BYTES:
            break
        page.append(insult)
    return page


def non_blocking_service_operations(architecture: Architecture) -> frozenset[Operation]:
    """Return the operations that a server may answer in a thread that other clients share.

    With its state in memory, these are all.
    """
    return frozenset(SERVICE_OPERATIONS if architecture is Architecture.ONE_NODE else ())


def open_node_store(options: NodeOptions) -> Store:
    """Open the store of the architecture: in memory for one node, in Redis for n."""
    url = locate_redis() if options.architecture is Architecture.N_NODE else ""
    return open_store(url, options.namespace)
