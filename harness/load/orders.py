"""What load generators on another machine are told, and what they answer."""

from dataclasses import dataclass

from harness.load.generator import Window
from harness.load.subject import Subject
from harness.record.recorder import Tally


@dataclass(frozen=True, slots=True)
class Start:
    """The first order: who sends what."""

    subject: Subject
    clients: int
    first: int
    in_flight: int
    warm_up: Window


Order = Start | Window


@dataclass(frozen=True, slots=True)
class Answer:
    """A window: its ledger, and planned, sent and done of each right answer, in ns from its start."""

    tally: Tally
    times: bytes = b""
