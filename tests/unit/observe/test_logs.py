"""The logs together: who writes where, and what reaches the combined ring and standard output."""

from __future__ import annotations

import os

import pytest
import trio
import trio.testing

from swapd.config import loads
from swapd.observe.console import Console
from swapd.observe.logger import Level, TextFormat
from swapd.observe.logs import Logs, LogSettings
from swapd.observe.text import escape_control, escape_message


def history(logs: Logs, ring: str) -> str:
    return logs.rings[ring].history().decode()


# --- the daemon's own lines ---------------------------------------------------------------------------


def test_given_the_default_settings_when_lines_are_written_then_level_and_message_make_a_line() -> None:
    logs = Logs(LogSettings())

    logs.proxy.debug("not shown")
    logs.proxy.info("listening", event="daemon.listening", port=8080)
    logs.proxy.warn("careful")
    logs.proxy.error("broken")

    assert history(logs, "proxy") == "[INFO] listening\n[WARN] careful\n[ERROR] broken\n"


@pytest.mark.parametrize(
    ("level", "shown"),
    [
        ("debug", ["DEBUG", "INFO", "WARN", "ERROR"]),
        ("info", ["INFO", "WARN", "ERROR"]),
        ("warn", ["WARN", "ERROR"]),
        ("error", ["ERROR"]),
    ],
)
def test_given_a_level_when_lines_of_all_levels_are_written_then_those_from_it_on_appear(
    level: str, shown: list[str]
) -> None:
    logs = Logs(LogSettings(level=Level.named(level)))

    for write in (logs.proxy.debug, logs.proxy.info, logs.proxy.warn, logs.proxy.error):
        write("x")

    assert history(logs, "proxy") == "".join(f"[{name}] x\n" for name in shown)
    assert [logs.proxy.enabled(each) for each in Level] == [each.name in shown for each in Level]


def test_given_a_time_format_when_a_line_is_written_then_the_time_stands_in_front_of_the_level() -> None:
    lines = TextFormat(lambda ns: f"<{ns}>")
    logs = Logs(LogSettings())
    logs._format = lines

    logs.proxy.info("hello")

    text = history(logs, "proxy")
    assert text.startswith("<1")
    assert text.endswith("> [INFO] hello\n")


def test_given_a_named_time_format_when_a_line_is_written_then_it_is_used() -> None:
    logs = Logs(LogSettings(time_format="kitchen"))

    logs.proxy.info("hello")

    assert history(logs, "proxy").removesuffix(" [INFO] hello\n")[-2:] in ("AM", "PM")


def test_given_a_message_of_several_lines_when_written_then_none_of_them_can_pass_for_a_log_line() -> None:
    logs = Logs(LogSettings())

    logs.proxy.error("model owl failed\n[ERROR] forged\x1b[31m\r\n")

    assert history(logs, "proxy") == "[ERROR] model owl failed\n    [ERROR] forged\\x1b[31m\\x0d\n"


def test_given_text_that_has_no_utf8_form_when_written_then_it_is_spelled_out() -> None:
    logs = Logs(LogSettings())

    logs.proxy.info("file \udcff.yaml für €")

    assert history(logs, "proxy") == "[INFO] file \\udcff.yaml für €\n"


@pytest.mark.parametrize(
    ("text", "escaped"),
    [
        ("plain", "plain"),
        ("a\nb", "a\\x0ab"),
        ("\x00\x1b\x7f\x85", "\\x00\\x1b\\x7f\\x85"),
        ("right-to-left \u202e", "right-to-left \\u202e"),
        ("non-breaking\u00a0stays", "non-breaking\u00a0stays"),
    ],
)
def test_given_control_characters_when_escaped_then_only_they_change(text: str, escaped: str) -> None:
    assert escape_control(text) == escaped


def test_given_a_message_with_tabs_when_escaped_then_they_stay() -> None:
    assert escape_message("a\tb\nc") == "a\tb\n    c"


@pytest.mark.parametrize(
    ("configured", "after_first", "after_second"),
    [
        (Level.INFO, Level.DEBUG, Level.INFO),
        (Level.ERROR, Level.DEBUG, Level.ERROR),
        (Level.DEBUG, Level.INFO, Level.DEBUG),
    ],
)
def test_given_a_level_when_debug_is_toggled_twice_then_it_is_as_before(
    configured: Level, after_first: Level, after_second: Level
) -> None:
    logger = Logs(LogSettings(level=configured)).proxy

    assert logger.toggle_debug() is after_first
    assert logger.toggle_debug() is after_second
    assert logger.level is configured


# --- which ring gets what -----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("to_stdout", "mux"),
    [
        ("proxy", "[INFO] daemon\n"),
        ("upstream", "owl | child\n"),
        ("both", "[INFO] daemon\nowl | child\n"),
        ("none", ""),
    ],
)
def test_given_each_destination_when_both_kinds_are_written_then_the_combined_log_follows_it(
    to_stdout: str, mux: str
) -> None:
    logs = Logs(LogSettings(to_stdout=to_stdout))

    logs.proxy.info("daemon")
    logs.upstream("owl").write(b"child\n")

    assert history(logs, "mux") == mux
    assert history(logs, "proxy") == "[INFO] daemon\n"
    assert history(logs, "upstream") == "child\n"
    assert logs.upstream("owl").history() == b"child\n"


def test_given_two_models_when_they_print_then_each_has_its_own_ring_and_both_share_one() -> None:
    logs = Logs(LogSettings())

    logs.upstream("owl").write(b"hoo ")
    logs.upstream("wren").write(b"tweet ")
    logs.upstream("owl").sink(b"hoo", True)

    assert logs.upstream("owl").history() == b"hoo hoo"
    assert logs.upstream("wren").history() == b"tweet "
    assert history(logs, "upstream") == "hoo tweet hoo"


def test_given_output_to_standard_output_when_lines_interleave_then_they_are_kept_apart() -> None:
    logs = Logs(LogSettings(to_stdout="upstream"))
    owl, wren = logs.upstream("owl"), logs.upstream("wren")

    owl.sink(b"out be", False)
    owl.sink(b"err be", True)
    wren.sink(b"whole\n", False)
    owl.sink(b"gun\n", False)
    owl.sink(b"gun\n", True)

    assert history(logs, "mux") == "wren | whole\nowl | out begun\nowl | err begun\n"


def test_given_bytes_that_are_not_utf8_when_printed_then_only_the_combined_log_replaces_them() -> None:
    logs = Logs(LogSettings(to_stdout="upstream"))

    logs.upstream("owl").write(b"caf\xe9\n")

    assert history(logs, "mux") == "owl | caf\ufffd\n"
    assert logs.upstream("owl").history() == b"caf\xe9\n"


def test_given_a_model_with_a_line_feed_in_its_name_when_it_prints_then_the_mark_stays_on_one_line() -> None:
    logs = Logs(LogSettings(to_stdout="upstream"))

    logs.upstream("o\nwl").write(b"x\n")

    assert history(logs, "mux") == "o\\x0awl | x\n"


def test_given_a_change_of_settings_when_applied_then_destination_level_time_and_size_change_live() -> None:
    logs = Logs(LogSettings(to_stdout="proxy"))
    logs.upstream("owl").write(b"unseen\n")
    logs.proxy.info("first")

    logs.apply(LogSettings(to_stdout="upstream", level=Level.ERROR, ring_bytes=8))
    logs.upstream("owl").write(b"seen, be")
    logs.upstream("wren").write(b"new\n")
    logs.proxy.info("off")
    logs.apply(LogSettings(to_stdout="none", ring_bytes=1000))

    # each ring was cut to eight bytes; the line that was begun is given out when its following ends
    assert logs.rings["proxy"].history() == b"] first\n"
    assert history(logs, "mux") == "n | new\nowl | seen, be\n"
    assert logs.upstream("owl").size == 1000
    assert logs.settings.to_stdout == "none"


def test_given_a_configuration_when_its_log_settings_are_taken_then_they_say_the_same() -> None:
    config = loads("logLevel: warn\nlogToStdout: both\nlogTimeFormat: rfc3339\nlogBuffer: 4KiB").config
    assert config is not None

    assert LogSettings.from_config(config) == LogSettings(Level.WARN, "rfc3339", "both", "auto", 4096)


async def test_given_a_partial_line_when_its_end_does_not_come_then_it_is_shown_after_a_moment(
    autojump_clock: trio.testing.MockClock,
) -> None:
    logs = Logs(LogSettings(to_stdout="upstream"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(logs.flush_partial_lines)
        logs.upstream("owl").write(b"loading")
        await trio.sleep(0.19)
        assert history(logs, "mux") == ""
        await trio.sleep(0.22)
        assert history(logs, "mux") == "owl | loading\n"
        nursery.cancel_scope.cancel()


async def test_given_a_child_that_prints_blocks_when_each_completes_a_line_then_no_line_is_torn(
    autojump_clock: trio.testing.MockClock,
) -> None:
    logs = Logs(LogSettings(to_stdout="upstream"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(logs.flush_partial_lines)
        logs.upstream("owl").write(b"line 0 ")
        for number in range(1, 20):
            await trio.sleep(0.15)
            logs.upstream("owl").write(b"end\nline %d " % number)
        nursery.cancel_scope.cancel()

    assert history(logs, "mux") == "".join(f"owl | line {number} end\n" for number in range(19))


async def test_given_no_partial_line_when_time_passes_then_the_flusher_sleeps_without_a_timer() -> None:
    logs = Logs(LogSettings(to_stdout="upstream"))

    async with trio.open_nursery() as nursery:
        nursery.start_soon(logs.flush_partial_lines)
        logs.upstream("owl").write(b"whole\n")
        await trio.testing.wait_all_tasks_blocked()
        assert trio.lowlevel.current_statistics().seconds_to_next_deadline == float("inf")
        nursery.cancel_scope.cancel()


async def test_given_followers_when_streams_end_then_all_of_them_finish_and_later_models_too() -> None:
    logs = Logs(LogSettings())
    finished: list[str] = []

    async def follow(name: str) -> None:
        ring = logs.rings.get(name) or logs.upstream(name)
        async with ring.subscribe() as stream:
            async for _ in stream:
                pass
        finished.append(name)

    async with trio.open_nursery() as nursery:
        for name in ("mux", "proxy", "upstream", "owl"):
            nursery.start_soon(follow, name)
        await trio.testing.wait_all_tasks_blocked()
        assert not finished
        logs.end_streams()

    await follow("a model that was never asked for before")
    assert len(finished) == 5


def test_given_a_console_when_lines_are_written_then_it_gets_what_the_combined_log_gets() -> None:
    read_end, write_end = os.pipe()
    logs = Logs(LogSettings(to_stdout="both"), Console(write_end))

    logs.proxy.info("daemon")
    logs.upstream("owl").write(b"child\nlast words")
    logs.close()

    os.close(write_end)
    with open(read_end, "rb") as stdout:  # noqa: PTH123 - a descriptor, not a path
        assert stdout.read() == b"[INFO] daemon\nowl | child\nowl | last words\n"
