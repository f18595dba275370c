"""What load generators on another machine are told, and what they answer."""

from dataclasses import dataclass

from harness.generator import Window
from harness.recorder import Tally
from harness.subject import Subject


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
