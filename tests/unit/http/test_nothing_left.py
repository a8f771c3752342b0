"""A request that has ended is gone, with all that it held, without waiting for the garbage collector.

Until its row in the activity log has been made, what the row needs stays: neither headers nor bodies.
"""

from __future__ import annotations

import gc

from swapd.http.answers import answer
from swapd.http.record import RequestRecord, Tracker
from swapd.http.server.asgi import Receive, Scope, Send
from swapd.observe.activity.query import Filters
from swapd.observe.inflight import InFlightRequest
from swapd.observe.tap import BodyTap
from tests.unit.http.api.world import build_world


async def test_given_a_request_for_a_model_when_it_has_ended_then_nothing_of_it_is_left() -> None:
    world = build_world()
    tracker = Tracker(world.control.telemetry.in_flight)
    seen: list[int] = []

    async def serve(scope: Scope, receive: Receive, send: Send) -> None:
        request = tracker.begin(scope, "m1", forwarded_path=b"/v1/chat/completions", recorded=True)
        feed = request.begin_response([(b"content-type", b"application/json")])
        assert feed is not None
        feed(b"{}")
        seen.append(len(_held()))
        await answer(scope, send, 200, [(b"content-type", b"application/json")], b"{}")

    world.app._models = serve
    gc.collect()
    gc.disable()
    try:
        await world.call("POST", "/v1/chat/completions")
        for_the_row = _held()
        await world.control.telemetry.activity.after(Filters(), 0)
        contents = [
            (each.headers, each.request_body, each.tap, each._work)
            for each in for_the_row
            if isinstance(each, InFlightRequest)
        ]
        del for_the_row
        left = _held()
    finally:
        gc.enable()

    assert seen == [3]
    assert contents == [((), None, None, None)]
    assert left == []


def _held() -> list[object]:
    kinds = (InFlightRequest, BodyTap, RequestRecord)
    return [each for each in gc.get_objects() if isinstance(each, kinds)]
