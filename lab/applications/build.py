"""Put together the filter that a node's command line asks for."""

import logging
from dataclasses import dataclass

from lab.applications.censor import Censor
from lab.applications.filter import RENEWAL_SECONDS, FilterApplication
from lab.applications.jobs import Follower, work_through
from lab.contract import Architecture
from lab.data import default_insults, read_insults
from lab.errors import LabError
from lab.options import NodeOptions
from lab.process.background import BackgroundJob, heartbeat
from lab.store import Store

log = logging.getLogger(__name__)


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
                log.warning("left without giving back, the leases will tell: %s", error)


def build_filter(options: NodeOptions, store: Store, *, has_work_list: bool) -> FilterParts:
    """Build the filter: n nodes censor the store's insults and follow it, one node those of its file.

    *has_work_list*: submitted texts wait in the store, not in a queue, so a job takes them from there.
    """
    censor = Censor(read_insults(options.insults) if options.insults else ())
    jobs: list[BackgroundJob] = []
    if options.architecture is Architecture.N_NODE:
        if options.insults:
            store.add_insults(read_insults(options.insults))
        follower = Follower(store, censor)
        follower.load()
        jobs.append(BackgroundJob("follow the insults", follower.follow))
    elif not options.insults:
        censor = Censor(default_insults())
    application = FilterApplication(store, censor, options.work)
    if has_work_list and not options.on_demand:
        jobs.append(work_through(application))
    if has_work_list:  # behind the work list, so that what is finished at the end is held until then
        jobs.append(heartbeat("leases", RENEWAL_SECONDS, application.renew_leases))
    return FilterParts(application, tuple(jobs), has_work_list)
