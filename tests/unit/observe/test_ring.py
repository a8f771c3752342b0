"""The ring of one log: what it keeps, and what its readers see."""

from __future__ import annotations

import pytest
import trio
import trio.testing

from swapd.observe.ring import LogRing, Subscription, gap_note


async def read_all(stream: Subscription) -> bytes:
    return b"".join([chunk async for chunk in stream])


def test_given_less_than_its_size_when_written_then_the_history_is_everything() -> None:
    ring = LogRing(10)

    ring.write(b"abc")
    ring.write(b"defg")

    assert ring.history() == b"abcdefg"


@pytest.mark.parametrize("step", [1, 2, 3, 7, 9, 10, 11, 25])
@pytest.mark.parametrize("size", [1, 2, 10, 16])
def test_given_any_size_when_much_more_is_written_then_exactly_the_last_bytes_are_kept(
    size: int, step: int
) -> None:
    ring = LogRing(size)
    text = bytes(range(32, 127)) * 3
    written = b""

    for start in range(0, len(text), step):
        ring.write(text[start : start + step])
        written += text[start : start + step]

        assert ring.history() == written[-size:]


def test_given_a_ring_without_room_when_written_then_nothing_is_kept_and_readers_still_get_it() -> None:
    ring = LogRing(0)

    ring.write(b"gone")

    assert ring.history() == b""


@pytest.mark.parametrize(("size", "kept"), [(3, b"ghi"), (6, b"defghi"), (20, b"defghi")])
def test_given_a_wrapped_ring_when_resized_then_the_newest_bytes_stay(size: int, kept: bytes) -> None:
    ring = LogRing(6)
    ring.write(b"abcdef")
    ring.write(b"ghi")

    ring.resize(size)
    assert ring.history() == kept

    ring.write(b"J")
    assert ring.history() == (kept + b"J")[-size:]


async def test_given_history_when_subscribed_then_history_and_live_bytes_join_without_a_seam() -> None:
    ring = LogRing()
    ring.write(b"before ")

    async with ring.subscribe() as stream:
        ring.write(b"during ")
        first = await anext(stream)
        ring.write(b"after")
        second = await anext(stream)

    assert (first, second) == (b"before during ", b"after")


async def test_given_history_when_subscribed_without_it_then_only_new_bytes_come() -> None:
    ring = LogRing()
    ring.write(b"before")

    async with ring.subscribe(history=False) as stream:
        ring.write(b"after")
        assert await anext(stream) == b"after"


async def test_given_a_waiting_reader_when_written_then_it_wakes() -> None:
    ring = LogRing()
    seen: list[bytes] = []

    async def follow() -> None:
        async with ring.subscribe() as stream:
            async for chunk in stream:
                seen.append(chunk)

    async with trio.open_nursery() as nursery:
        nursery.start_soon(follow)
        await trio.testing.wait_all_tasks_blocked()
        ring.write(b"one")
        await trio.testing.wait_all_tasks_blocked()
        ring.write(b"two")
        await trio.testing.wait_all_tasks_blocked()
        nursery.cancel_scope.cancel()

    assert seen == [b"one", b"two"]


async def test_given_a_reader_that_is_too_slow_when_it_reads_then_a_note_stands_for_the_oldest_bytes() -> (
    None
):
    ring = LogRing()

    async with ring.subscribe(limit=10) as stream:
        for letter in b"abcdefghijklmno":
            ring.write(bytes([letter]))

        assert await anext(stream) == "\n— 5 bytes dropped —\n".encode() + b"fghijklmno"
        ring.write(b"next")
        assert await anext(stream) == b"next"

    assert ring.dropped_bytes == 5


async def test_given_a_full_history_when_subscribed_with_a_small_limit_then_the_history_is_not_dropped() -> (
    None
):
    ring = LogRing(100)
    ring.write(b"x" * 100)

    async with ring.subscribe(limit=10) as stream:
        ring.write(b"y" * 10)
        assert await anext(stream) == b"x" * 100 + b"y" * 10


async def test_given_a_gap_through_a_character_when_read_then_the_rest_of_it_is_dropped_too() -> None:
    ring = LogRing()

    async with ring.subscribe(limit=4) as stream:
        ring.write("€€".encode())  # three bytes each: a limit of four cuts the first one

        assert await anext(stream) == gap_note(3) + "€".encode()


async def test_s25_given_a_child_that_floods_when_a_subscriber_never_reads_then_memory_stays_bounded() -> (
    None
):
    # 50 MB are printed, the reader sleeps; the writer is never held up and the reader learns of the gap.
    ring = LogRing()
    chunk = b"all work and no play makes a dull log\n" * 1724  # about 64 KiB
    rounds = 50_000_000 // len(chunk) + 1

    async with ring.subscribe() as stream:
        for _ in range(rounds):
            ring.write(chunk)
            assert len(stream._pending) <= 262_144

        seen = await anext(stream)

    assert len(ring.history()) == 102_400
    assert seen.startswith(gap_note(rounds * len(chunk) - 262_144))
    assert len(seen) == len(gap_note(rounds * len(chunk) - 262_144)) + 262_144


async def test_given_two_readers_when_one_does_not_read_then_the_other_misses_nothing() -> None:
    ring = LogRing()

    async with ring.subscribe(limit=8) as lazy, ring.subscribe(limit=8) as eager:
        seen = b""
        for number in range(10):
            ring.write(b"%03d " % number)
            seen += await anext(eager)

        assert seen == b"".join(b"%03d " % number for number in range(10))
        assert await anext(lazy) == gap_note(32) + b"008 009 "


async def test_given_a_reader_that_left_when_written_then_nothing_is_kept_for_it() -> None:
    ring = LogRing()
    async with ring.subscribe() as stream:
        pass

    ring.write(b"late")

    assert not stream._pending
    assert not ring._subscriptions


async def test_given_readers_when_the_ring_ends_them_then_they_get_what_waits_and_finish() -> None:
    ring = LogRing()
    results: list[bytes] = []

    async def follow() -> None:
        async with ring.subscribe() as stream:
            results.append(await read_all(stream))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(follow)
        await trio.testing.wait_all_tasks_blocked()
        ring.write(b"last words")
        ring.end_subscriptions()

    assert results == [b"last words"]


async def test_given_a_reader_that_is_stuck_elsewhere_when_the_ring_ends_then_it_is_told() -> None:
    ring = LogRing()
    told: list[str] = []

    async with ring.subscribe(on_end=lambda: told.append("early")):
        ring.end_subscriptions()
        assert told == ["early"]

    async with ring.subscribe(on_end=lambda: told.append("late")):
        assert told == ["early", "late"]


async def test_given_ended_subscriptions_when_somebody_subscribes_then_it_gets_the_history_only() -> None:
    ring = LogRing()
    ring.write(b"history")
    ring.end_subscriptions()

    async with ring.subscribe() as stream:
        ring.write(b" and more")
        assert await read_all(stream) == b"history and more"


async def test_given_a_waiting_reader_when_cancelled_then_nothing_is_lost() -> None:
    ring = LogRing()

    async with ring.subscribe() as stream:
        with trio.move_on_after(0):
            await anext(stream)
        ring.write(b"still here")
        assert await anext(stream) == b"still here"
