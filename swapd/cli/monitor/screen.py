"""The full screen of `swapd top`, by Textual, which runs an asyncio loop of its own in this process."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, ClassVar

from rich.text import Text
from textual.app import App, ComposeResult
from textual.binding import Binding, BindingType
from textual.screen import ModalScreen
from textual.widgets import DataTable, Footer, Label, Static

from swapd.cli.client import Client, segment
from swapd.cli.errors import CliError
from swapd.cli.monitor.feed import Feed
from swapd.cli.monitor.picture import Picture
from swapd.cli.monitor.rows import MODEL_COLUMNS, REQUEST_COLUMNS, headline, model_rows, request_rows
from swapd.cli.output import Cell, Column, Styled, printable


class Question(ModalScreen[bool]):
    """Asks before something is done that cannot be undone."""

    CSS = "Question { align: center middle; } Label { padding: 1 3; background: $panel; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("y", "dismiss(True)", "yes"),
        Binding("n,escape", "dismiss(False)", "no"),
    ]

    def __init__(self, text: str) -> None:
        super().__init__()
        self._text = text

    def compose(self) -> ComposeResult:
        yield Label(f"{self._text} (y/n)", markup=False)


class Monitor(App[None]):
    """Shows a daemon and takes orders for it. What is shown is a `Picture`, which only this app's own loop
    touches: the feed's thread hands everything over."""

    TITLE = "swapd top"
    ENABLE_COMMAND_PALETTE = False
    CSS = "#headline { background: $panel; } #models { height: 2fr; } #requests { height: 1fr; }"
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("q", "quit", "quit"),
        Binding("l", "load", "load"),
        Binding("u", "unload", "unload"),
        Binding("U", "unload_all", "unload all"),
        Binding("c", "cancel", "cancel request"),
        Binding("r", "reload", "reload"),
        Binding("p", "pause", "pause"),
        Binding("question_mark", "show_help_panel", "help", key_display="?"),
        Binding("j", "move(1)", "down", show=False),
        Binding("k", "move(-1)", "up", show=False),
    ]

    def __init__(self, client: Client) -> None:
        super().__init__()
        self._client = client
        self._picture = Picture()
        self._paused = False
        self._feed = Feed(
            client,
            lambda status: self._hand_over(self._picture.begin, status),
            lambda kind, event: self._hand_over(self._picture.apply, kind, event),
            lambda problem: self._hand_over(self._picture.lost, problem),
        )

    def compose(self) -> ComposeResult:
        yield Static(id="headline", markup=False)
        yield DataTable(id="models", cursor_type="row")
        yield DataTable(id="requests", cursor_type="row")
        yield Footer()

    def on_mount(self) -> None:
        for name, columns in (("models", MODEL_COLUMNS), ("requests", REQUEST_COLUMNS)):
            self._table(name).add_columns(*(column.title for column in columns))
        self._table("models").focus()
        self._show()
        self.set_interval(1, self._show)
        self._feed.start()

    def on_unmount(self) -> None:
        self._feed.stop()

    def action_load(self) -> None:
        if (model := self._selected("models")) is not None:
            self._order(f"{model} is being loaded", lambda: self._client.post(_path("load", model)))

    def action_unload(self) -> None:
        if (model := self._selected("models")) is not None:
            path = _path("unload", model)
            self._order(
                f"{model} is unloaded", lambda: self._client.post(path, query={"drain": 1}, timeout_s=None)
            )

    def action_unload_all(self) -> None:
        def decided(yes: bool | None) -> None:
            if yes:
                self._order(
                    "all models are unloaded", lambda: self._client.post("/api/models/unload", timeout_s=None)
                )

        self.push_screen(Question("Unload all models now?"), decided)

    def action_cancel(self) -> None:
        if (request := self._selected("requests")) is not None:
            path = f"/api/inflight/{segment(request)}/cancel"
            self._order(f"request {request} is cancelled", lambda: self._client.post(path))

    def action_reload(self) -> None:
        self._order("configuration reloaded", lambda: self._client.post("/api/config/reload", timeout_s=None))

    def action_pause(self) -> None:
        self._paused = not self._paused
        self._show()

    def action_move(self, by: int) -> None:
        if isinstance(self.focused, DataTable):
            self.focused.move_cursor(row=self.focused.cursor_row + by)

    def _order(self, done: str, send: Callable[[], Any]) -> None:
        """Have the daemon do something, in a thread, and say what became of it."""

        def work() -> None:
            try:
                send()
            except CliError as error:
                self.call_from_thread(self.notify, printable(str(error)), severity="error", markup=False)
            else:
                self.call_from_thread(self.notify, printable(done), markup=False)

        self.run_worker(work, thread=True)

    def _hand_over(self, change: Callable[..., None], *values: Any) -> None:
        def apply() -> None:
            change(*values)
            self._show()

        if self.is_running:
            self.call_later(apply)

    def _show(self) -> None:
        if not self.is_running or len(self.screen_stack) > 1:  # a question is being asked
            return
        mark = "PAUSED  " if self._paused else ""
        self.query_one("#headline", Static).update(mark + headline(self._picture, self._client.address.url))
        if not self._paused:
            self._fill("models", MODEL_COLUMNS, model_rows(self._picture))
            self._fill("requests", REQUEST_COLUMNS, request_rows(self._picture))

    def _fill(self, name: str, columns: Sequence[Column], rows: Sequence[Sequence[Cell]]) -> None:
        """Put the rows there, with the cursor on the one that it was on."""
        table = self._table(name)
        selected, place = self._selected(name), table.cursor_row
        table.clear()
        keys = [_plain(row[0]) for row in rows]
        for key, row in zip(keys, rows, strict=True):
            table.add_row(*map(_cell, columns, row), key=key)
        if keys:
            table.move_cursor(row=keys.index(selected) if selected in keys else min(place, len(keys) - 1))

    def _selected(self, name: str) -> str | None:
        """The key of the row that the cursor is on."""
        table = self._table(name)
        if not table.is_valid_row_index(table.cursor_row):
            return None
        return table.coordinate_to_cell_key(table.cursor_coordinate).row_key.value

    def _table(self, name: str) -> DataTable[Text]:
        return self.query_one(f"#{name}", DataTable)


def _path(verb: str, model: str) -> str:
    return f"/api/models/{verb}/{segment(model)}"


def _plain(cell: Cell) -> str:
    return cell if isinstance(cell, str) else cell.text


def _cell(column: Column, cell: Cell) -> Text:
    style = cell.style if isinstance(cell, Styled) else ""
    return Text(printable(_plain(cell)), style, justify="right" if column.right else "left")
