"""A clock that shows only the time that functions say they take, so that a race is decided."""

from collections.abc import Callable, Iterable


class Clock:
    """Time that passes only when a function says so. The clock itself is called for the seconds."""

    def __init__(self):
        self.now = 100.0
        self.calls: list[str] = []

    def __call__(self) -> float:
        return self.now

    def taking(self, name: str, seconds: Iterable[float]) -> Callable[[], None]:
        """A function that takes these seconds, call by call, and the last of them ever after."""
        waiting, last = iter(seconds), 0.0

        def run() -> None:
            nonlocal last
            last = next(waiting, last)
            self.now += last
            self.calls.append(name)

        return run
