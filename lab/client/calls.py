"""The InsultService's operations as a client calls them, over any wire that performs them."""

from abc import ABC, abstractmethod
from typing import cast

from lab.limits import MAX_PAGE
from lab.operations import Operation


class ServiceCalls(ABC):
    """The methods of :class:`~lab.contract.InsultService`, each one operation; subscribing is each wire's."""

    @abstractmethod
    def perform(self, operation: Operation, *arguments: object) -> object:
        """Return the answer to *operation*; raise the LabError that it is."""

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
