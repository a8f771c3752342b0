"""A renewed certificate: a running daemon takes it up without losing a connection."""

from __future__ import annotations

import signal
import ssl
import subprocess
from pathlib import Path

import pytest
import trio

from swapd.testing.daemon import Daemon, run_swapd, upstream_command
from tests.real.daemons import PATIENCE_S
from tests.setups import config

pytestmark = pytest.mark.real


def make_certificate(directory: Path, name: str) -> None:
    """A self-signed one for this common name, as c.pem and k.pem, replaced like a renewal tool does it."""
    command = [
        "openssl",
        "req",
        "-x509",
        "-newkey",
        "rsa:2048",
        "-nodes",
        "-keyout",
        "k.new",
        "-out",
        "c.new",
    ]
    try:
        subprocess.run(
            [*command, "-days", "2", "-subj", f"/CN={name}"], cwd=directory, capture_output=True, check=True
        )
    except (OSError, subprocess.CalledProcessError):
        pytest.skip("no openssl here to make a certificate with")
    for file in ("k", "c"):
        (directory / f"{file}.new").replace(directory / f"{file}.pem")


async def connect(running: Daemon) -> trio.SSLStream[trio.SocketStream]:
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    host, _, port = running.url.removeprefix("https://").partition(":")
    stream = trio.SSLStream(await trio.open_tcp_stream(host, int(port)), context)
    with trio.fail_after(PATIENCE_S):
        await stream.do_handshake()
    return stream


async def ask(stream: trio.SSLStream[trio.SocketStream]) -> bytes:
    with trio.fail_after(PATIENCE_S):
        await stream.send_all(b"GET /health HTTP/1.1\r\nHost: swapd\r\n\r\n")
        return bytes(await stream.receive_some(65536))


async def shown_by(running: Daemon) -> bytes:
    """The certificate that a new connection is shown."""
    stream = await connect(running)
    certificate: bytes = stream.getpeercert(binary_form=True)
    await trio.aclose_forcefully(stream)
    return certificate


async def test_given_a_new_certificate_when_reloaded_then_new_connections_get_it_and_old_ones_go_on(
    tmp_path: Path,
) -> None:
    make_certificate(tmp_path, "before")
    (tmp_path / "config.yaml").write_text(config({"owl": upstream_command()}))
    files = ("--tls-cert-file", str(tmp_path / "c.pem"), "--tls-key-file", str(tmp_path / "k.pem"))
    words = ("--config", str(tmp_path / "config.yaml"), "--listen", "127.0.0.1:0", *files)
    async with run_swapd(tmp_path, "serve", *words) as running:
        first = await shown_by(running)
        old = await connect(running)
        make_certificate(tmp_path, "after")

        running.signal(signal.SIGHUP)
        await running.printed("the TLS files have been read again")

        second = await shown_by(running)
        assert (b"before" in first, b"after" in second) == (True, True)
        assert (await ask(old)).startswith(b"HTTP/1.1 200")

        # A key that does not fit changes nothing.
        (tmp_path / "k.pem").write_text("no key")
        running.signal(signal.SIGHUP)
        await running.printed("cannot use the TLS files, those before stay in force")
        assert await shown_by(running) == second
        await trio.aclose_forcefully(old)
