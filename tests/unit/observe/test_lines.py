"""From chunks to lines."""

from __future__ import annotations

from swapd.observe.lines import LONGEST_LINE_BYTES, LineBuffer


class Collector:
    """Keeps what a `LineBuffer` hands on."""

    def __init__(self) -> None:
        self.batches: list[list[bytes]] = []
        self.unfinished = 0
        self.buffer = LineBuffer(self.batches.append, self._count_unfinished)

    def _count_unfinished(self) -> None:
        self.unfinished += 1


def test_given_a_chunk_of_whole_lines_when_fed_then_they_come_in_one_batch() -> None:
    lines = Collector()

    lines.buffer.feed(b"one\ntwo\n\nthree\n")

    assert lines.batches == [[b"one", b"two", b"", b"three"]]
    assert not lines.buffer.holds_partial_line
    assert lines.unfinished == 0


def test_given_a_line_in_pieces_when_its_end_comes_then_it_is_handed_on_whole() -> None:
    lines = Collector()

    lines.buffer.feed(b"be")
    lines.buffer.feed(b"gun\nand ")

    assert lines.batches == [[b"begun"]]
    assert lines.buffer.holds_partial_line
    assert lines.unfinished == 2


def test_given_a_partial_line_when_flushed_then_it_is_handed_on_as_it_stands() -> None:
    lines = Collector()
    lines.buffer.feed(b"loading 40 %")

    lines.buffer.flush()
    lines.buffer.flush()

    assert lines.batches == [[b"loading 40 %"]]
    assert lines.buffer.lines_emitted == 1


def test_given_a_carriage_return_before_the_line_feed_when_fed_then_it_is_removed() -> None:
    lines = Collector()

    lines.buffer.feed(b"dos\r\nprogress\rmore\n")

    assert lines.batches == [[b"dos", b"progress\rmore"]]


def test_given_a_line_that_is_too_long_when_fed_then_it_comes_in_pieces() -> None:
    lines = Collector()

    lines.buffer.feed(b"a" * (2 * LONGEST_LINE_BYTES + 5) + b"\nshort\n")

    assert lines.batches == [[b"a" * LONGEST_LINE_BYTES, b"a" * LONGEST_LINE_BYTES, b"a" * 5, b"short"]]


def test_given_a_line_without_end_when_fed_for_ever_then_no_more_than_one_line_is_held() -> None:
    lines = Collector()

    for _ in range(100):
        lines.buffer.feed(b"x" * 1000)

    assert sum(len(line) for batch in lines.batches for line in batch) >= 100_000 - LONGEST_LINE_BYTES
    assert all(len(line) == LONGEST_LINE_BYTES for batch in lines.batches for line in batch)
