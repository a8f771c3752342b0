"""Where a client command looks for the daemon, and which key it shows."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from swapd.cli.client import Address, find_daemon, parse_url
from swapd.cli.client_command import ClientParser, Invocation
from swapd.cli.errors import CliError, UsageError


@pytest.mark.parametrize(
    ("url", "address"),
    [
        ("http://127.0.0.1:8080", Address("127.0.0.1", 8080)),
        ("http://box", Address("box", 80)),
        ("box:9000", Address("box", 9000)),
        ("https://box/llm/", Address("box", 443, "/llm", tls=True)),
        ("http://[::1]:8080", Address("::1", 8080)),
        ("unix:///run/swapd/swapd.sock", Address(socket_path="/run/swapd/swapd.sock")),
        ("unix:/run/swapd.sock", Address(socket_path="/run/swapd.sock")),
    ],
)
def test_given_a_url_when_understood_then_it_is_that_address(url: str, address: Address) -> None:
    assert parse_url(url) == address


@pytest.mark.parametrize("url", ["ftp://box", "http://", "http://box:99999", "unix://relative", "unix:"])
def test_given_what_is_no_url_when_understood_then_it_is_wrong_usage(url: str) -> None:
    with pytest.raises(UsageError):
        parse_url(url)


def test_given_several_places_when_looked_for_then_the_first_socket_that_is_alive_is_taken(
    tmp_path: Path,
) -> None:
    places = {"RUNTIME_DIRECTORY": str(tmp_path / "unit"), "XDG_RUNTIME_DIR": str(tmp_path / "user")}
    for place in places.values():
        Path(place).mkdir()

    with socket.socket(socket.AF_UNIX) as listener:
        listener.bind(f"{tmp_path}/user/swapd.sock")
        with socket.socket(socket.AF_UNIX) as left_behind:
            left_behind.bind(f"{tmp_path}/unit/swapd.sock")
        listener.listen()

        assert find_daemon(None, places).socket_path == f"{tmp_path}/user/swapd.sock"
        assert find_daemon("http://box:1", places) == Address("box", 1)


def opened(*argv: str, **environ: str) -> Invocation:
    return ClientParser("test", "Test.").open(["--url=http://box", *argv], environ)


def shown_key(command: Invocation) -> str | None:
    return command.client._headers.get("Authorization")


def test_given_keys_in_several_places_when_opened_then_the_command_line_beats_the_environment(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "key"
    file.write_text("from-file\n")

    assert shown_key(opened()) is None
    assert shown_key(opened(SWAPD_API_KEY="from-env")) == "Bearer from-env"
    assert shown_key(opened(SWAPD_API_KEY_FILE=str(file))) == "Bearer from-file"
    assert shown_key(opened(f"--api-key-file={file}", SWAPD_API_KEY="from-env")) == "Bearer from-file"
    assert capsys.readouterr().err == ""
    assert shown_key(opened("--api-key=from-flag", SWAPD_API_KEY="from-env")) == "Bearer from-flag"
    assert "others on this machine can see --api-key" in capsys.readouterr().err


@pytest.mark.parametrize("text", ["", "two\nlines", "\N{SNOWMAN}"])
def test_given_a_key_that_no_header_can_hold_when_opened_then_its_place_is_named(
    tmp_path: Path, text: str
) -> None:
    file = tmp_path / "key"
    file.write_text(text)

    with pytest.raises(CliError, match=r"cannot use the API key from .*/key"):
        opened(f"--api-key-file={file}")
