"""The two background jobs of a filter node: work through the work list, and follow the store's insults."""

from lab.applications.censor import Censor
from lab.applications.filter import FilterApplication
from lab.limits import MAX_PAGE
from lab.process.background import BackgroundJob
from lab.store.protocol import Store

LOOK_AGAIN_SECONDS = 0.05
FOLLOW_SECONDS = 0.25
"""An added insult is to be censored by every node within a second; this leaves room for a slow look."""


def work_through(application: FilterApplication) -> BackgroundJob:
    """Return the job that filters waiting texts, one at a time, as they come."""

    def step() -> float:
        return 0.0 if application.resolve_next() else LOOK_AGAIN_SECONDS

    return BackgroundJob("work list", step, application.submitted)


class Follower:
    """Keeps a censor equal to the insults of a store."""

    def __init__(self, store: Store, censor: Censor) -> None:
        self._store = store
        self._censor = censor
        self._version = ""
        self._known: set[str] = set()

    def load(self) -> None:
        """Read every insult of the store, page by page; forget those that are gone."""
        self._version = self._store.version()
        gone, after = set(self._known), ""
        while page := self._store.get_insults(after, MAX_PAGE):
            for insult in page:
                gone.discard(insult)
                self._apply(True, insult)
            after = page[-1]
        for insult in gone:
            self._apply(False, insult)

    def follow(self) -> float:
        """Apply what changed since the last call; return when to look again, in seconds."""
        changes = self._store.changes(self._version)
        if not changes.complete:
            self.load()
            return FOLLOW_SECONDS
        for added, insult in changes.changes:
            self._apply(added, insult)
        self._version = changes.version
        return FOLLOW_SECONDS

    def _apply(self, added: bool, insult: str) -> None:
        if added and insult not in self._known:
            self._known.add(insult)
            self._censor.add(insult)
        elif not added and insult in self._known:
            self._known.discard(insult)
            self._censor.remove(insult)
