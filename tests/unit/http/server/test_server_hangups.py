"""Being told of the end of a peer's stream, and of nothing else."""

from __future__ import annotations

import socket

import pytest
import trio
from trio.testing import wait_all_tasks_blocked

from swapd.http.server.hangups import Hangups


@pytest.mark.parametrize("how", ["close", "shutdown", "reset"])
async def test_the_end_is_told_however_it_comes(nursery: trio.Nursery, how: str) -> None:
    # Given a connection that is watched
    hangups = Hangups()
    nursery.start_soon(hangups.run)
    listener = socket.create_server(("127.0.0.1", 0))
    theirs = socket.create_connection(listener.getsockname())
    ours, _ = listener.accept()
    told: list[str] = []
    hangups.watch(ours.fileno(), lambda: told.append(how))
    # When data arrive, also data that nobody reads
    theirs.sendall(b"data")
    await wait_all_tasks_blocked()
    # Then that is nothing to tell
    assert told == []
    # When the peer ends
    if how == "shutdown":
        theirs.shutdown(socket.SHUT_WR)
    else:
        if how == "reset":
            theirs.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
        theirs.close()
    await wait_all_tasks_blocked()
    # Then it is
    assert told == [how]
    hangups.forget(ours.fileno())
    for sock in (listener, ours, theirs):
        sock.close()


async def test_who_is_forgotten_is_not_told_even_if_the_number_is_used_again(nursery: trio.Nursery) -> None:
    # Given a descriptor that was watched, and is now another connection
    hangups = Hangups()
    nursery.start_soon(hangups.run)
    told: list[str] = []
    ours, theirs = socket.socketpair()
    number = ours.fileno()
    hangups.watch(number, lambda: told.append("first"))
    copy = ours.dup()  # as a child process would have it
    hangups.forget(number)
    ours.close()
    again, peer = socket.socketpair()
    assert again.fileno() == number
    hangups.watch(number, lambda: told.append("second"))
    # When the peer of the first one ends
    theirs.close()
    await wait_all_tasks_blocked()
    # Then nobody is told
    assert told == []
    # But the second one is, of its own peer
    peer.close()
    await wait_all_tasks_blocked()
    assert told == ["second"]
    hangups.forget(number)
    hangups.forget(number)  # once too often does no harm
    for sock in (copy, again):
        sock.close()


async def test_one_that_had_ended_before_it_was_watched_is_told(nursery: trio.Nursery) -> None:
    # Given a peer that has ended
    hangups = Hangups()
    nursery.start_soon(hangups.run)
    ours, theirs = socket.socketpair()
    theirs.close()
    told = trio.Event()
    # When the connection is watched
    hangups.watch(ours.fileno(), told.set)
    # Then that is told
    await told.wait()
    hangups.forget(ours.fileno())
    ours.close()
