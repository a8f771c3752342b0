"""Loading streams in front of real processes, through a real socket."""

from __future__ import annotations

import json
from collections.abc import Iterator

import pytest

from swapd.testing.daemon import upstream_command
from tests.conformance.requests.world import World, running_world

CONFIG = f"""
sendLoadingState: true
models:
  slow: {{cmd: '{upstream_command("--load", "1500ms", "--load-mode", "refuse")}'}}
  broken: {{proxy: "http://127.0.0.1:9", cmd: "python3 -c 'import time, sys; time.sleep(1); sys.exit(3)'"}}
"""


@pytest.fixture(scope="module")
def loading(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with running_world(tmp_path_factory.mktemp("daemon"), CONFIG) as running:
        yield running


def events(body: str) -> list[str]:
    return [event.removeprefix("data: ") for event in body.strip().split("\n\n")]


def test_s54_a_model_that_loads_tells_of_it(loading: World) -> None:
    answer = loading.chat({"model": "slow", "stream": True, "messages": []})
    assert answer.headers["content-type"] == "text/event-stream"
    *chunks, done = events(answer.text)
    assert done == "[DONE]"
    texts = [json.loads(chunk)["choices"][0]["delta"].get("reasoning_content") for chunk in chunks[:-2]]
    told = "".join(text for text in texts if text)
    assert told.startswith("━━━━━\nswapd loading model: slow\n")
    assert "Done! (" in told
    again = loading.chat({"model": "slow", "stream": True, "messages": []})
    assert "swapd loading" not in again.text


def test_s55_a_model_that_does_not_start_ends_with_an_error_event(loading: World) -> None:
    answer = loading.chat({"model": "broken", "stream": True, "messages": []})
    assert answer.status_code == 200
    error = json.loads(events(answer.text)[-1])["error"]
    assert (error["code"], error["status"]) == ("upstream_start_failed", 502)
    assert "exit status 3" in error["message"]
    assert "[DONE]" not in answer.text
