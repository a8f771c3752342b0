"""What a conversation may ask its driver to do. Anything that is `bytes` means: send this."""

from __future__ import annotations

from collections.abc import Callable, Generator


class Pause:
    """Wait so many seconds, unless the client leaves first."""

    __slots__ = ("seconds",)

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds


class Until:
    """Wait until the condition holds, unless the client leaves first.

    Drivers look again whenever the state reports a change, so the condition must depend on that state only.
    """

    __slots__ = ("condition",)

    def __init__(self, condition: Callable[[], bool]) -> None:
        self.condition = condition


class Close:
    """End the connection in the ordinary way, whatever has been sent."""

    __slots__ = ()


class Reset:
    """End the connection with a TCP reset."""

    __slots__ = ()


class Crash:
    """End the process by the settings' exit status or signal; in-process, drop every connection at once."""

    __slots__ = ()


Step = bytes | Pause | Until | Close | Reset | Crash
Steps = Generator[Step, None, None]
