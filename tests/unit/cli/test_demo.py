"""What `swapd demo` writes and prints; that it works is tested in tests/llama."""

from __future__ import annotations

import json
import shlex
import socket
from pathlib import Path

import pytest

from swapd.cli.demo import (
    MODELS,
    config_text,
    curl_address,
    default_state_directory,
    fake_command,
    introduction,
    llama_command,
    place_to_listen,
    run,
    things_to_try,
)
from swapd.cli.errors import CliError, UsageError
from swapd.config import loads


@pytest.mark.parametrize("command", [llama_command, fake_command])
@pytest.mark.parametrize("start_port", [5800, 5900])
def test_the_configuration_is_valid(command: object, start_port: int) -> None:
    text = config_text(Path("/state dir"), command, start_port)  # type: ignore[arg-type]
    loaded = loads(text)
    assert loaded.problems == ()
    assert loaded.config is not None
    assert sorted(loaded.config.models) == sorted(model.id for model in MODELS)
    assert {model.port for model in loaded.config.models.values()} == set(range(start_port, start_port + 3))


def test_a_path_with_blanks_stays_one_word() -> None:
    command = llama_command(MODELS[0], Path("/state dir"))
    assert "/state dir/owl.gguf" in shlex.split(command)
    assert "--port ${PORT} " in command


def test_the_introduction_says_whether_the_models_are_real() -> None:
    assert "served by llama.cpp itself" in introduction(Path("/c.yaml"), "models: {}", None)
    assert "fake server stands in for llama.cpp (no wheel)" in introduction(Path("/c.yaml"), "x", "no wheel")


def test_every_line_to_try_is_a_whole_command() -> None:
    printed = things_to_try("http://127.0.0.1:8080").splitlines()
    lines = [line.removesuffix("; echo") for line in printed if "curl" in line]
    assert len(lines) == 6
    bodies = [words[words.index("-d") + 1] for words in map(shlex.split, lines) if "-d" in words]
    assert {json.loads(body)["model"] for body in bodies} == {model.id for model in MODELS}


@pytest.mark.parametrize(
    ("listen", "address"),
    [
        ("127.0.0.1:8080", "http://127.0.0.1:8080"),
        (":9000", "http://127.0.0.1:9000"),
        ("0.0.0.0:9000", "http://127.0.0.1:9000"),
        ("[::1]:9000", "http://[::1]:9000"),
        ("[::]:9000", "http://[::1]:9000"),
        ("unix:/run/a b.sock", "--unix-socket '/run/a b.sock' http://localhost"),
    ],
)
def test_where_curl_is_sent(listen: str, address: str) -> None:
    assert curl_address(listen) == address


def test_an_inherited_socket_has_no_address_to_print() -> None:
    with pytest.raises(UsageError):
        curl_address("fd://3")


def test_given_a_taken_port_when_none_is_asked_for_then_the_next_is_used_and_said(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = other.getsockname()[1]
        monkeypatch.setattr("swapd.cli.demo.FIRST_PORT", taken)
        listen, remark = place_to_listen(None)
    assert int(listen.removeprefix("127.0.0.1:")) > taken
    assert remark.startswith(f"Port {taken} is taken on this machine")


def test_given_a_taken_port_when_it_is_asked_for_then_nothing_is_started() -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        taken = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(CliError, match=f"cannot listen on {taken}: Address already in use"):
            place_to_listen(taken)


def test_given_any_port_when_started_then_it_is_chosen_before_the_lines_are_printed() -> None:
    listen, remark = place_to_listen("[::1]:0")
    assert int(listen.removeprefix("[::1]:")) > 0
    assert remark == ""


def test_a_listen_value_that_is_none_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError):
        run(["--listen", "nowhere", "--state-dir", str(tmp_path / "state")])
    assert not (tmp_path / "state").exists()


def test_given_a_state_directory_that_cannot_be_made_when_run_then_another_is_suggested(
    tmp_path: Path,
) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(CliError, match="cannot write the demo's models") as raised:
        run(["--fake", "--listen", "127.0.0.1:0", "--state-dir", str(tmp_path / "file" / "state")])
    assert "--state-dir" in raised.value.hint


@pytest.mark.parametrize(
    ("environ", "place"),
    [
        ({"HOME": "/h"}, "/h/.local/state/swapd"),
        ({"HOME": "/h", "XDG_STATE_HOME": "/s"}, "/s/swapd"),
        ({"HOME": "/h", "STATE_DIRECTORY": "/var/lib/swapd"}, "/var/lib/swapd"),
        ({}, "/.local/state/swapd"),
    ],
)
def test_the_state_directory(environ: dict[str, str], place: str) -> None:
    assert default_state_directory(environ) == Path(place)
