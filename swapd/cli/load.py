"""`swapd load`: start models, one after another, and say how far they are."""

from __future__ import annotations

import threading
import time
from collections.abc import Sequence
from typing import Any, Final

from swapd.cli.client import Answer, ApiError, segment
from swapd.cli.client_command import ClientParser, Invocation
from swapd.cli.errors import CliError, ExitCode
from swapd.cli.model_names import find_model
from swapd.cli.output import duration, moment, printable
from swapd.cli.progress import Work, showing

_LAST_EVENT_S: Final = 1.0
_PHASES: Final = {
    "queued": "waits for its turn",
    "evicting": "waits for others to stop",
    "spawning": "starts",
    "health": "is not ready yet",
    "stopping": "stops",
}
"""What the daemon reports while a model loads, in words."""


def run(argv: Sequence[str]) -> int:
    parser = ClientParser(
        "load",
        "Start models and wait until they are ready. Others are stopped for them if there is no room.",
        usage="swapd load MODEL… [flags]",
        epilog="Exit code 1 if a model has failed, 75 if it took too long.",
    )
    parser.add_duration("timeout", "how long to wait for each model (default: as long as it takes)")
    parser.add_switch("no-wait", "start them and do not wait")
    parser.add_words("MODEL", 1)
    command = parser.open(argv)
    for name in command.words:
        model = find_model(command.client, name, "load")
        if command.values["no-wait"]:
            _begin(command, model)
        else:
            _load(command, model)
    return ExitCode.OK


def _begin(command: Invocation, model: dict[str, Any]) -> None:
    state = command.client.post(f"/api/models/load/{segment(model['id'])}")["state"]
    if command.output.as_json:
        command.output.record({"model": model["id"], "state": state})
    command.output.done(f"{printable(model['id'])} is being loaded")


def _load(command: Invocation, model: dict[str, Any]) -> None:
    id, output = model["id"], command.output
    if model["state"] == "ready":
        if output.as_json:
            output.record({"model": id, "phase": "ready"})
        output.done(f"{printable(id)} is ready already")
        return
    began = time.monotonic()
    failure: CliError | None = None
    with showing(output, id, total=usual_load_s(model), by_time=True) as work, _Phases(command, id, work):
        try:
            command.client.post(
                f"/api/models/load/{segment(id)}", query={"wait": 1}, timeout_s=command.values["timeout"]
            )
        except CliError as error:
            failure = error
    if failure is not None:
        raise _explained(command, id, failure)
    output.done(f"{printable(id)} is ready after {duration(time.monotonic() - began)}")


def usual_load_s(model: dict[str, Any]) -> float | None:
    """How long its newest successful start took, in seconds; None if there is none."""
    for start in model.get("starts", ()):
        started, ready = moment(start.get("started_at")), moment(start.get("ready_at"))
        if started is not None and ready is not None and ready > started:
            return ready - started
    return None


class _Phases:
    """Reads the daemon's events while a model loads, in a thread of its own, and shows its phases.

    Without a stream of events there are no phases, and nothing else is missing. The thread ends with the
    stream's connection, which leaving the block closes.
    """

    def __init__(self, command: Invocation, model: str, work: Work) -> None:
        self._output = command.output
        self._model = model
        self._work = work
        self._client = command.client
        self._ended = threading.Event()
        self._answer: Answer | None = None

    def __enter__(self) -> None:
        try:
            self._answer = self._client.open("GET", "/api/events", {"types": "modelProgress"}, timeout_s=None)
        except CliError:
            return
        threading.Thread(target=self._follow, args=(self._answer,), daemon=True).start()

    def __exit__(self, kind: type[BaseException] | None, *rest: object) -> None:
        if self._answer is None:
            return
        if kind is None:
            # The answer to the request may have come before the last event.
            self._ended.wait(_LAST_EVENT_S)
        self._answer.hang_up()

    def _follow(self, answer: Answer) -> None:
        try:
            for _, event in answer.events():
                if event["model"] == self._model:
                    self._show(event)
        except (CliError, ValueError, LookupError):
            pass  # the connection has been closed, or what it brought is nothing we know
        finally:
            self._ended.set()

    def _show(self, event: dict[str, Any]) -> None:
        phase = event["phase"]
        if self._output.as_json:
            self._output.record(event)
        elif phase in _PHASES:
            others = ", ".join(event.get("evicting") or ())
            self._work.phase(_PHASES[phase] + (f": {others}" if others else ""))
        if phase in ("ready", "failed"):
            self._ended.set()


def _explained(command: Invocation, model: str, error: CliError) -> CliError:
    """Why a model is not ready; the daemon's answer has the last lines of its log if it has failed."""
    what = f"cannot load {printable(model)}"
    if isinstance(error, ApiError):
        return CliError(f"{what}: {printable(error.why)}", error.hint, ExitCode(error.code))
    if error.code is ExitCode.BUSY and command.values["timeout"] is not None:
        return CliError(
            f"{what}: it was not ready within {duration(command.values['timeout'])}",
            "give it longer with --timeout",
            ExitCode.BUSY,
        )
    return error
