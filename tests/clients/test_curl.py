"""curl, through the daemon: the lines that people type."""

from __future__ import annotations

import json
import shutil
import subprocess
from pathlib import Path

import pytest

from swapd.testing.upstream.media import wav_tone
from tests.conformance.requests.world import World

pytestmark = pytest.mark.skipif(shutil.which("curl") is None, reason="curl is not installed")

CHAT = '{"model": "m1", "messages": [{"role": "user", "content": "Hello there"}]}'


def curl(world: World, path: str, *arguments: str | Path, given: bytes = b"") -> bytes:
    """What `curl` prints for a path of the daemon; an error of curl's own fails the test."""
    command = ["curl", "--silent", "--show-error", "--noproxy", "*", "--max-time", "20", *map(str, arguments)]
    return subprocess.run([*command, world.url + path], input=given, capture_output=True, check=True).stdout


def test_chat(world: World) -> None:
    answer = curl(world, "/v1/chat/completions", "-H", "Content-Type: application/json", "-d", CHAT)
    assert json.loads(answer)["choices"][0]["message"]["content"]


def test_chat_without_a_content_type(world: World) -> None:
    answer = curl(world, "/v1/chat/completions", "-d", CHAT)
    assert json.loads(answer)["choices"][0]["message"]["content"]
    assert world.seen().header("content-type") == "application/x-www-form-urlencoded"
    assert bytes(world.seen().body) == CHAT.encode()


def test_the_short_form_for_json(world: World) -> None:
    assert json.loads(curl(world, "/v1/chat/completions", "--json", CHAT))["choices"]


def test_streamed_chat(world: World) -> None:
    body = CHAT.replace("{", '{"stream": true, ', 1)
    told = curl(world, "/v1/chat/completions", "-N", "--json", body)
    assert told.count(b"data: ") > 3
    assert told.rstrip().endswith(b"data: [DONE]")


def test_a_form_with_a_file(world: World, tmp_path: Path) -> None:
    tone = tmp_path / "a.wav"
    tone.write_bytes(wav_tone())
    answer = curl(world, "/v1/audio/transcriptions", "-F", "model=eyes", "-F", f"file=@{tone}")
    assert json.loads(answer)["text"]
    assert wav_tone() in bytes(world.seen().body)
    assert b'name="model"\r\n\r\nreal\r\n' in bytes(world.seen().body)


def test_an_upload_that_curl_announces(world: World, tmp_path: Path) -> None:
    """Above a megabyte curl says `Expect: 100-continue` and waits a second for the answer."""
    document = tmp_path / "chat.json"
    document.write_text(CHAT.replace("Hello there", "x" * 1_500_000))
    lines = curl(
        world,
        "/v1/chat/completions",
        *("-H", "Content-Type: application/json", "-H", "Expect: 100-continue", "--expect100-timeout", "15"),
        *("--data-binary", f"@{document}", "-o", tmp_path / "answer", "-w", "%{http_code} %{time_total}"),
    ).split()
    assert lines[0] == b"200"
    assert float(lines[1]) < 15
    assert bytes(world.seen().body) == document.read_bytes()


def test_a_body_of_unknown_length(world: World) -> None:
    fields = ("-H", "Content-Type: application/json", "-H", "Transfer-Encoding: chunked")
    answer = curl(world, "/v1/chat/completions", *fields, "-d", "@-", given=CHAT.encode())
    assert json.loads(answer)["choices"]


def test_heads_and_redirects(world: World) -> None:
    assert curl(world, "/health", "-I").startswith(b"HTTP/1.1 200")
    assert b"tokens" in curl(world, "/upstream/m1/v1/chat/completions", "-L", "--json", CHAT)


def test_names_with_a_slash_and_unknown_ones(world: World) -> None:
    known = curl(world, "/v1/chat/completions", "--json", CHAT.replace("m1", "p1/rm"))
    assert json.loads(known)["choices"]
    unknown = curl(world, "/v1/chat/completions", "-w", "%{http_code}", "--json", CHAT.replace("m1", "nope"))
    assert unknown.endswith(b"404")
    assert json.loads(unknown[:-3])["error"]["code"] == "not_found"
