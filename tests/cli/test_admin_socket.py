"""The admin socket: the daemon is found without being named, and managed without a key."""

from __future__ import annotations

import json
import stat
from pathlib import Path

import pytest

from swapd.testing.daemon import Daemon, DaemonError, run_daemon, upstream_command
from tests.cli.support import piped
from tests.real.test_daemon_tls import make_certificate
from tests.setups import config

pytestmark = pytest.mark.real

WITH_KEYS = config({"owl": upstream_command()}, apiKeys=["secret"])


def runtime_directory(swapd: Daemon) -> Path:
    return swapd.directory / "xdg_runtime_dir"


async def test_given_a_daemon_with_keys_when_asked_through_its_admin_socket_then_none_is_needed(
    tmp_path: Path,
) -> None:
    # Given a daemon that demands a key over TCP
    async with run_daemon(WITH_KEYS, tmp_path) as swapd:
        socket = runtime_directory(swapd) / "swapd.sock"
        done = await piped(swapd, "reload")
        assert done.code == 77

        # When a client that is told nothing looks for it
        found = {"XDG_RUNTIME_DIR": str(runtime_directory(swapd))}
        done = await piped(None, "status", "--json", **found)

        # Then it finds the socket, and may do what only admins may
        assert (done.code, json.loads(done.out)["ready"]) == (0, True)
        assert (await piped(None, "load", "owl", **found)).code == 0
        assert (await piped(None, "reload", **found)).code == 0
        assert (await piped(None, "ps", "--url", f"unix://{socket}")).code == 0
        assert stat.S_IMODE(socket.stat().st_mode) == 0o660
        assert f"admin socket: unix:{socket}, no key needed" in swapd.output
    assert not socket.exists()


async def test_given_other_places_when_a_daemon_starts_then_its_admin_socket_is_there(tmp_path: Path) -> None:
    for number, (flags, place) in enumerate(
        (
            (("--admin-socket", str(tmp_path / "a.sock")), tmp_path / "a.sock"),
            (("--runtime-dir", str(tmp_path)), tmp_path / "swapd.sock"),
        )
    ):
        directory = tmp_path / str(number)
        directory.mkdir()
        async with run_daemon(WITH_KEYS, directory, *flags) as swapd:
            assert (await piped(None, "ps", "--url", f"unix:{place}")).code == 0
            assert not list(runtime_directory(swapd).iterdir())


async def test_given_no_wish_for_one_when_a_daemon_starts_then_there_is_no_admin_socket(
    tmp_path: Path,
) -> None:
    async with run_daemon(WITH_KEYS, tmp_path, "--admin-socket=off") as swapd:
        assert not list(runtime_directory(swapd).iterdir())
        assert "admin socket" not in swapd.output


async def test_given_a_socket_in_use_when_another_daemon_starts_then_only_one_that_was_asked_for_fails(
    tmp_path: Path,
) -> None:
    one, other = tmp_path / "one", tmp_path / "other"
    one.mkdir()
    other.mkdir()
    async with run_daemon(WITH_KEYS, one) as first:
        place = str(runtime_directory(first))
        async with run_daemon(WITH_KEYS, other, environment={"XDG_RUNTIME_DIR": place}) as second:
            assert "no admin socket: cannot listen on unix:" in second.output
        with pytest.raises(DaemonError, match="cannot listen on unix:"):
            async with run_daemon(WITH_KEYS, other, "--runtime-dir", place):
                pass
        assert (await piped(None, "ps", XDG_RUNTIME_DIR=place)).code == 0


async def test_given_a_client_whose_own_socket_is_dead_when_it_looks_then_it_goes_on_looking(
    tmp_path: Path,
) -> None:
    async with run_daemon(WITH_KEYS, tmp_path) as swapd:
        swapd.kill()
        await swapd.all_gone()
        socket = runtime_directory(swapd) / "swapd.sock"
        assert socket.exists()

        done = await piped(None, "ps", XDG_RUNTIME_DIR=str(socket.parent))

        assert done.code in (0, 69, 77)  # whatever listens at the default address, if anything
        assert str(socket) not in done.err
        async with run_daemon(WITH_KEYS, tmp_path):
            assert (await piped(None, "ps", XDG_RUNTIME_DIR=str(socket.parent))).code == 0
    assert not list(socket.parent.iterdir())


async def test_given_a_daemon_with_tls_when_asked_through_its_admin_socket_then_that_is_plain(
    tmp_path: Path,
) -> None:
    make_certificate(tmp_path, "localhost")
    files = ("--tls-cert-file", str(tmp_path / "c.pem"), "--tls-key-file", str(tmp_path / "k.pem"))
    async with run_daemon(WITH_KEYS, tmp_path, *files) as swapd:
        found = {"XDG_RUNTIME_DIR": str(runtime_directory(swapd))}
        assert (await piped(None, "ps", **found)).code == 0

        # And over TLS, with a certificate that nobody knows
        key = {"SWAPD_API_KEY": "secret"}
        done = await piped(swapd, "ps", **key)
        assert (done.code, done.out) == (69, "")
        assert "its certificate is not trusted" in done.err
        assert "--ca-file FILE" in done.err
        assert (await piped(swapd, "ps", "--insecure", **key)).code == 0
        assert (await piped(swapd, "ps", "--insecure")).code == 77
