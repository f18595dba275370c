"""The operations as a client calls them, over any wire that performs them."""

from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from types import TracebackType
from typing import Self, cast

from lab.client.failover import wait_for_result
from lab.contract import ResultPage
from lab.limits import MAX_PAGE
from lab.operations import Operation
from lab.plain import page_from_plain


class Calls(ABC):
    """What clients do to perform operations, and to end."""

    @abstractmethod
    def perform(self, operation: Operation, *arguments: object) -> object:
        """Return the answer to *operation*; raise the LabError that it is."""

    @abstractmethod
    def close(self) -> None:
        """Free connections. A second call does nothing."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()


class ServiceCalls(Calls):
    """The methods of :class:`~lab.contract.InsultService`, each one operation; subscribing is each wire's."""

    def add_insult(self, insult: str) -> bool:
        return bool(self.perform(Operation.ADD_INSULT, insult))

    def remove_insult(self, insult: str) -> bool:
        return bool(self.perform(Operation.REMOVE_INSULT, insult))

    def get_insults(self, after: str = "", limit: int = MAX_PAGE) -> list[str]:
        return cast(list[str], self.perform(Operation.GET_INSULTS, after, limit))

    def insult_me(self) -> str:
        return cast(str, self.perform(Operation.INSULT_ME))

    def start_broadcast(self) -> bool:
        return bool(self.perform(Operation.START_BROADCAST))

    def stop_broadcast(self) -> bool:
        return bool(self.perform(Operation.STOP_BROADCAST))


class FilterCalls(Calls):
    """The methods of :class:`~lab.contract.InsultFilter` but for sending many, each one operation."""

    def filter(self, text: str) -> str:
        return cast(str, self.perform(Operation.FILTER, text))

    def submit(self, text: str) -> str:
        return cast(str, self.perform(Operation.SUBMIT, text))

    def result(self, petition_id: str, timeout: float) -> str:
        return wait_for_result(
            lambda _: cast(str, self.perform(Operation.RESULT, petition_id)), petition_id, timeout
        )

    def get_results(self, limit: int = MAX_PAGE) -> ResultPage:
        return page_from_plain(self.perform(Operation.GET_RESULTS, limit))

    def resolve(self) -> str | None:
        return cast("str | None", self.perform(Operation.RESOLVE))


def concurrently(filter_one: Callable[[str], str], texts: Iterable[str], in_flight: int) -> Iterator[str]:
    """Yield the filtered *texts* in their order, with *in_flight* calls under way in threads of their own."""
    with ThreadPoolExecutor(in_flight) as pool:
        waiting: deque[Future[str]] = deque()
        for text in texts:
            waiting.append(pool.submit(filter_one, text))
            if len(waiting) == in_flight:
                yield waiting.popleft().result()
        while waiting:
            yield waiting.popleft().result()
