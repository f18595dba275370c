"""A clock that takes the place of the module ``time`` and only moves when somebody waits."""


class Clock:
    """A monotonic clock; whoever sleeps moves it on and does not wait."""

    def __init__(self) -> None:
        self.started = 100.0
        self.now = self.started

    @property
    def elapsed(self) -> float:
        """How many seconds have passed since the start."""
        return round(self.now - self.started, 6)

    def monotonic(self) -> float:
        return self.now

    def sleep(self, seconds: float) -> None:
        assert seconds >= 0
        self.now += seconds
