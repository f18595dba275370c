"""The InsultFilter: what it answers, its background jobs, and how a node puts them together."""

import logging
import threading
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import NamedTuple
from uuid import uuid4

from lab.applications.censor import Censor
from lab.background import BackgroundJob, heartbeat
from lab.contract import Architecture, Result, ResultPage
from lab.errors import LabError, NotFound, Overloaded, Unavailable
from lab.limits import MAX_PAGE
from lab.load.texts import default_insults, read_insults
from lab.operations import FILTER_OPERATIONS, Operation, new_operation_id
from lab.options import NodeOptions
from lab.store.protocol import Finished, Store, UnderWay, WaitingText
from lab.validation import clean_limit, clean_operation_id, clean_text
from lab.work import Work, fault_hook, live_work, request_counter

log = logging.getLogger(__name__)

LEASE_SECONDS = 1.5
"""How long a text that its node does not renew stays with it: a dead node's text waits again that soon."""
RENEWAL_SECONDS = 0.5
UNDER_WAY_SECONDS = 5.0
"""How long a repeated ``resolve`` waits for the first one before it gets Unavailable."""
LOOK_AGAIN_SECONDS = 0.02
WORK_LIST_PAUSE_SECONDS = 0.05
BATCH = 16
"""So many texts are taken and settled in one step where the work is only censoring: a few µs a text."""
FOLLOW_SECONDS = 0.25
"""An added insult is to be censored by every node within a second; this leaves room for a slow look."""


class FilterApplication:
    """Answers the filter's operations; the methods are those of :class:`~lab.contract.InsultFilter`.

    A node works on one text at a time, so that adding nodes means adding capacity. *process* makes the result
    of a text: a censor, or a function of the user's own. *owner* is the name under which the node takes texts
    from the store; empty: a new one.
    """

    def __init__(self, store: Store, process: Callable[[str], str], work: Work, owner: str = "") -> None:
        self._store = store
        self._process = process
        self._work = work
        self.owner = owner or new_operation_id()
        self._in_hand: set[WaitingText] = set()
        self._batch: list[Finished] = []
        """What is to be handed in with the next step on the work list."""
        self._finished: dict[WaitingText, tuple[str, str]] = {}
        """What the store did not take: the id of the resolve of the text, and the result."""
        self._busy = threading.Lock()
        self._fault_hook = fault_hook()
        self._count_request = request_counter()
        self.submitted = threading.Event()
        """Set when a text was put on the work list here, so that this node need not wait to look."""

    @property
    def is_non_blocking(self) -> bool:
        """Tell whether :meth:`filter` returns at once: it censors, and there is no declared work."""
        return self._work.is_none and isinstance(self._process, Censor)

    def filter(self, text: object) -> str:
        checked = clean_text(text)
        with self._busy:
            if self._fault_hook:
                self._fault_hook(checked)
            if self._count_request:
                self._count_request()
            self._work.perform()
            return self._process(checked)

    def submit(self, text: object, operation_id: str = "") -> str:
        petition_id = operation_id or uuid4().hex
        self._store.submit(petition_id, clean_text(text))
        self.submitted.set()
        return petition_id

    def result(self, petition_id: object) -> str:
        """Return the result; NotFound while there is none. The client waits by asking again."""
        checked = clean_operation_id(petition_id)
        text = self._store.result(checked)
        if text is None:
            message = f"no result for {checked}: not finished, never submitted, or older than an hour"
            raise NotFound(message)
        return text

    def get_results(self, limit: object = MAX_PAGE) -> ResultPage:
        return self._store.get_results(clean_limit(limit))

    def resolve(self, operation_id: str = "") -> str | None:
        """Resolve; a repetition waits for the first, then is told to come again by Unavailable."""
        deadline = time.monotonic() + UNDER_WAY_SECONDS
        while operation_id:
            taken = self._store.take_for(operation_id, LEASE_SECONDS, self.owner)
            if isinstance(taken, WaitingText):
                result = self._finish(taken, operation_id)
                if result:
                    return result.text
            elif not isinstance(taken, UnderWay):
                return taken.text if taken else None
            if time.monotonic() >= deadline:
                raise Unavailable(f"the resolve {operation_id} is under way; repeat it under the same id")
            time.sleep(LOOK_AGAIN_SECONDS)
        result = self.resolve_next()
        return result.text if result else None

    def resolve_next(self) -> Result | None:
        """Take the oldest waiting text, filter it and keep its result; None if none waits."""
        while waiting := self._store.take(LEASE_SECONDS, self.owner):
            result = self._finish(waiting)
            if result:
                return result
        return None

    def work_on_list(self) -> bool:
        """Hand in what the last call finished, take the next texts and filter them; False if none wait."""
        batch, self._batch = self._batch, []
        most = BATCH if self.is_non_blocking else 1
        try:
            kept, taken = self._store.settle_and_take(batch, most, LEASE_SECONDS, self.owner)
        except (Overloaded, Unavailable):
            self._finished |= {waiting: ("", filtered) for waiting, filtered in batch}
            raise
        except BaseException:
            self._forget(*(waiting for waiting, _ in batch))
            raise
        self._forget(*(waiting for waiting, _ in batch))
        for (waiting, _), is_kept in zip(batch, kept, strict=True):
            if not is_kept:
                self._warn_refused(waiting)
        self._in_hand.update(taken)
        try:
            for waiting in taken:
                self._batch.append(Finished(waiting, self.filter(waiting.text)))
        except BaseException:
            self._forget(*taken[len(self._batch) :])
            raise
        return bool(taken)

    def renew_leases(self) -> None:
        """Hold on to the texts that this node works on, and hand in the results that the store did not take.

        To be called every ``RENEWAL_SECONDS``.
        """
        for waiting in tuple(self._in_hand):
            self._store.renew(waiting.petition_id, waiting.epoch, LEASE_SECONDS)
        for waiting, (operation_id, filtered) in tuple(self._finished.items()):
            self._hand_in(waiting, operation_id, filtered)

    def give_back(self) -> None:
        """Hand in what is finished. Let the other texts that this node took wait again at once: it stops."""
        self._store.settle_and_take(self._batch, 0, LEASE_SECONDS, self.owner)
        given_back = self._store.release(self.owner)
        if given_back:
            log.info("gave back %d text(s)", given_back)

    def _finish(self, waiting: WaitingText, operation_id: str = "") -> Result | None:
        """Filter a taken text and keep its result; None if another has taken it since."""
        self._in_hand.add(waiting)
        try:
            filtered = self.filter(waiting.text)
        except BaseException:
            self._forget(waiting)
            raise
        return self._hand_in(waiting, operation_id, filtered)

    def _hand_in(self, waiting: WaitingText, operation_id: str, filtered: str) -> Result | None:
        """Keep a result; None if another node has its text. A store that refuses gets it again later."""
        try:
            is_kept = self._store.complete(waiting.petition_id, filtered, operation_id, waiting.epoch)
        except (Overloaded, Unavailable):
            self._finished[waiting] = operation_id, filtered
            raise
        except BaseException:
            self._forget(waiting)
            raise
        self._forget(waiting)
        if is_kept:
            return Result(waiting.petition_id, filtered)
        self._warn_refused(waiting)
        return None

    def _warn_refused(self, waiting: WaitingText) -> None:
        log.warning("the result of %s is refused: another node took it over", waiting.petition_id)

    def _forget(self, *texts: WaitingText) -> None:
        for waiting in texts:
            self._in_hand.discard(waiting)
            self._finished.pop(waiting, None)


@dataclass(frozen=True, slots=True)
class FilterParts:
    """A filter application and the jobs that run beside it."""

    application: FilterApplication
    jobs: tuple[BackgroundJob, ...]
    has_work_list: bool = False

    def start(self) -> None:
        """Start the jobs."""
        for job in self.jobs:
            job.start()

    def stop(self, timeout_seconds: float) -> None:
        """Finish what is under way and end the jobs; what takes longer is given back."""
        for job in self.jobs:
            job.stop(timeout_seconds)
        if self.has_work_list:
            try:
                self.application.give_back()
            except LabError as error:
                log.warning("could not give texts back; others get them when their leases end: %s", error)


class Built(NamedTuple):
    """What a filter needs, made in one process and shared by those that it forks."""

    store: Store
    censor: Censor
    follower: "Follower | None"
    """None: the insults do not change."""


def build_censor(options: NodeOptions, store: Store) -> Built:
    """Build the censor: n nodes censor the store's insults and follow it, one node those of its file."""
    if options.architecture is Architecture.N_NODE:
        if options.insults:
            store.add_insults(read_insults(options.insults))
        follower = Follower(store, Censor(()))
        follower.load()
        return Built(store, follower.censor, follower)
    return Built(store, Censor(read_insults(options.insults) if options.insults else default_insults()), None)


def build_filter(
    options: NodeOptions, store: Store, *, has_work_list: bool, built: Built | None = None
) -> FilterParts:
    """Build the filter.

    *has_work_list*: submitted texts wait in the store, not in a queue, so a job takes them from there.
    *built*: use this one, made before a fork, whose store is *store*.
    """
    _, censor, follower = built or build_censor(options, store)
    if built and follower:  # insults may have come since it was made
        follower.follow()
    jobs = [BackgroundJob("follow the insults", follower.follow)] if follower else []
    application = FilterApplication(store, options.handler or censor, live_work(options.work))
    if has_work_list and not options.on_demand:
        jobs.append(work_through(application))
    if has_work_list:  # behind the work list, so that what is finished at the end is held until then
        jobs.append(heartbeat("leases", RENEWAL_SECONDS, application.renew_leases))
    return FilterParts(application, tuple(jobs), has_work_list)


def work_through(application: FilterApplication) -> BackgroundJob:
    """Return the job that filters waiting texts as they come."""

    def step() -> float:
        return 0.0 if application.work_on_list() else WORK_LIST_PAUSE_SECONDS

    return BackgroundJob("work list", step, application.submitted)


class Follower:
    """Keeps a censor equal to the insults of a store."""

    def __init__(self, store: Store, censor: Censor) -> None:
        self._store = store
        self.censor = censor
        self._version = ""
        self._known: set[str] = set()
        self._differed = False

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
        # Somebody may have deleted them by hand. Once is no proof: they change between the two questions.
        differed, self._differed = self._differed, self._store.count_insults() != len(self._known)
        if differed and self._differed:
            self.load()
        return FOLLOW_SECONDS

    def _apply(self, added: bool, insult: str) -> None:
        if added and insult not in self._known:
            self._known.add(insult)
            self.censor.add(insult)
        elif not added and insult in self._known:
            self._known.discard(insult)
            self.censor.remove(insult)


def non_blocking_filter_operations(
    architecture: Architecture, application: FilterApplication
) -> frozenset[Operation]:
    """Return the operations that a server may answer in a thread that other clients share.

    With its state in memory, these are those that do not work on texts.
    """
    works_on_texts = {Operation.FILTER, Operation.RESOLVE}
    at_once = set(FILTER_OPERATIONS) - works_on_texts if architecture is Architecture.ONE_NODE else set()
    return frozenset(at_once | ({Operation.FILTER} if application.is_non_blocking else set()))
