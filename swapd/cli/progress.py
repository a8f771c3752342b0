"""Showing that something is under way that may take longer than a second.

On a terminal a line with a spinner, a bar where it is known how long it usually takes, and the time so far;
it is gone when the work is done. Elsewhere each new phase is a line of text. `rich` draws it, and is imported
only on a terminal.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

from swapd.cli.output import Output, printable

if TYPE_CHECKING:
    from rich.progress import Progress, TaskID


class Work:
    """What is being waited for; made by `showing`."""

    def __init__(self, output: Output, name: str) -> None:
        self._output = output
        self._name = printable(name)

    def phase(self, text: str) -> None:
        """It has come to this. May be called from another thread than the one that waits."""
        self._output.done(f"{self._name}: {printable(text)}")

    def advance(self, done: float) -> None:
        """So much of the `total` is done."""


class _DrawnWork(Work):
    def __init__(self, output: Output, name: str, progress: Progress, task: TaskID) -> None:
        super().__init__(output, name)
        self._progress = progress
        self._task = task

    def phase(self, text: str) -> None:
        self._progress.update(self._task, phase=printable(text))

    def advance(self, done: float) -> None:
        self._progress.update(self._task, completed=done)


@contextmanager
def showing(
    output: Output, name: str, *, total: float | None = None, by_time: bool = False
) -> Iterator[Work]:
    """Show work for the length of the block. `total` is how much there is to do; with `by_time` it is how
    many seconds the work usually takes, and the bar moves by itself.

    Nothing is shown with `--quiet` or `--json`.
    """
    if output.quiet or output.as_json or not output.is_terminal:
        yield Work(output, name)
        return
    from rich.console import Console
    from rich.progress import BarColumn, Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
    from rich.text import Text

    class Bar(BarColumn):
        def render(self, task):  # type: ignore[no-untyped-def]  # rich's own class for it is not exported
            if by_time and task.total is not None:
                # An estimate never claims to be done.
                task.completed = min(task.elapsed or 0.0, task.total * 0.98)
            return super().render(task)

    class Phase(TextColumn):
        def render(self, task):  # type: ignore[no-untyped-def]
            return Text(f"{name}: {task.fields['phase']}" if task.fields["phase"] else name)

    name = printable(name)
    columns = [SpinnerColumn(), Phase(""), Bar(bar_width=30), TimeElapsedColumn()]
    console = Console(file=output.stream, no_color=not output.in_colour, highlight=False)
    with Progress(*columns, console=console, transient=True) as progress:
        yield _DrawnWork(output, name, progress, progress.add_task("", total=total, phase=""))
