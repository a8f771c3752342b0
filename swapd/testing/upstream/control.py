"""`/control/`: how a test looks into a fake upstream, and holds and releases its requests.

- `GET /control/requests[?at_least=N]`: the recorded exchanges; with N, waits until there are so many.
- `GET /control/aborts[?at_least=N]`: those whose client left first, with the time; waits likewise.
- `GET /control/state`: pid, readiness, counts, and what peers did against HTTP/1.1.
- `POST /control/settings`: a JSON object of knobs to turn (`{"tps": 5, "health": "hang"}`).
- `POST /control/hold`, `POST /control/release[?count=N]`: keep model requests waiting, let them go.
- `POST /control/ready`: be loaded now.
- `POST /control/crash`: end as `exit_code` and `exit_signal` say.
"""

from __future__ import annotations

import os

from swapd.testing.upstream.settings import SettingsError
from swapd.testing.upstream.state import Exchange, UpstreamState
from swapd.testing.upstream.steps import Crash, Steps, Until
from swapd.testing.upstream.wire import Request, error_reply, json_reply


def answer(request: Request, state: UpstreamState) -> Steps:
    """The steps for a request below `/control/`."""
    match request.method, request.path.removeprefix("/control/"):
        case "GET", "requests":
            yield Until(lambda: len(state.exchanges) >= (_number(request, "at_least") or 0))
            yield _exchanges(state.exchanges)
        case "GET", "aborts":
            yield Until(lambda: len(state.aborted) >= (_number(request, "at_least") or 0))
            yield _exchanges(state.aborted)
        case "GET", "state":
            yield json_reply(200, _summary(state))
        case "POST", "settings":
            yield _change(request, state)
        case "POST", "hold":
            state.hold()
            yield json_reply(200, _summary(state))
        case "POST", "release":
            state.release(_number(request, "count"))
            yield json_reply(200, _summary(state))
        case "POST", "ready":
            state.become_ready()
            yield json_reply(200, _summary(state))
        case "POST", "crash":
            yield Crash()
        case _:
            yield error_reply(404, f"no control route {request.method} {request.path}")


def _change(request: Request, state: UpstreamState) -> bytes:
    try:
        state.change(request.json())
    except SettingsError as error:
        return error_reply(400, str(error), "invalid_request_error")
    return json_reply(200, _summary(state))


def _summary(state: UpstreamState) -> dict[str, object]:
    return {
        "pid": os.getpid(),
        "ready": state.ready,
        "requests": len(state.exchanges),
        "running": state.running,
        "answered": state.answered,
        "aborted": len(state.aborted),
        "wire_errors": state.wire_errors,
    }


def _exchanges(exchanges: list[Exchange]) -> bytes:
    return json_reply(200, [exchange.as_json() for exchange in exchanges])


def _number(request: Request, name: str) -> int | None:
    given = request.query.get(name, "")
    return int(given) if given.isdigit() else None
