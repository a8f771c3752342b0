"""Real sockets on 127.0.0.1; the port is one the kernel says is free."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator

import pytest

from swapd.nursery.launcher import LaunchError
from swapd.nursery.port_check import check_port_is_free


@pytest.fixture(params=[("127.0.0.1", socket.AF_INET), ("0.0.0.0", socket.AF_INET), ("::1", socket.AF_INET6)])
def listener(request: pytest.FixtureRequest) -> Iterator[socket.socket]:
    address, family = request.param
    with socket.socket(family) as bound:
        bound.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        bound.bind((address, 0))
        bound.listen()
        yield bound


async def test_given_a_listener_then_its_process_is_named(listener: socket.socket) -> None:
    port = listener.getsockname()[1]

    with pytest.raises(LaunchError, match=rf"port in use by pid {os.getpid()} \(.*\): .* port {port} "):
        await check_port_is_free(port)


async def test_given_nobody_then_the_port_is_free(listener: socket.socket) -> None:
    port = listener.getsockname()[1]
    listener.close()

    await check_port_is_free(port)


async def test_given_only_connections_of_an_earlier_server_then_the_port_is_free() -> None:
    with socket.socket() as server:
        server.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        client = socket.create_connection(("127.0.0.1", port))
        accepted, _ = server.accept()
    accepted.close()  # the side that closes first stays in TIME_WAIT
    client.close()

    await check_port_is_free(port)


async def test_given_a_port_used_by_an_outgoing_connection_then_nobody_listens_there() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        client = socket.create_connection(server.getsockname())
        accepted, _ = server.accept()
        with client, accepted:
            await check_port_is_free(client.getsockname()[1])
