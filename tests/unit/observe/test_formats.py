"""Log lines on standard output, for programs and for the journal of systemd."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from swapd.observe.console import Console
from swapd.observe.formats import JournalFormat, JSONFormat, leads_to_journal
from swapd.observe.logger import Level, LogEntry, TextFormat
from swapd.observe.logs import Logs, LogSettings

WHEN_NS = 1_785_585_600_123_456_789
MODEL_NS = 1_785_585_601_000_000_000


def entry(message: str, level: Level = Level.INFO, event: str = "", **fields: str | int | None) -> LogEntry:
    return LogEntry(level, message, event, fields, WHEN_NS)


def test_given_a_line_when_written_as_json_then_it_is_one_object_with_what_is_known() -> None:
    form = JSONFormat(lambda: MODEL_NS)

    line = form.daemon_line(entry('said "no"\nand left', Level.WARN, "model.failed", model="owl", pid=7))

    assert line.count(b"\n") == 1
    assert json.loads(line) == {
        "ts": "2026-08-01T12:00:00.123Z",
        "level": "warn",
        "logger": "swapd",
        "msg": 'said "no"\nand left',
        "event": "model.failed",
        "model": "owl",
        "pid": 7,
    }


def test_given_output_of_a_model_when_written_as_json_then_each_line_names_it() -> None:
    lines = JSONFormat(lambda: MODEL_NS).upstream_lines("owl", [b"one", b"\xff two"])

    assert [json.loads(line) for line in lines.splitlines()] == [
        {"ts": "2026-08-01T12:00:01.000Z", "logger": "upstream", "model": "owl", "msg": text}
        for text in ("one", "\ufffd two")
    ]


def test_given_text_that_is_no_unicode_when_written_as_json_then_it_is_spelled_out() -> None:
    line = JSONFormat(lambda: MODEL_NS).daemon_line(entry("cannot read caf\udce9.yaml"))
    assert json.loads(line)["msg"] == "cannot read caf\\udce9.yaml"


@pytest.mark.parametrize(
    ("level", "priority"), [(Level.DEBUG, 7), (Level.INFO, 6), (Level.WARN, 4), (Level.ERROR, 3)]
)
def test_given_a_line_when_written_for_the_journal_then_its_priority_is_in_front(
    level: Level, priority: int
) -> None:
    form = JournalFormat(TextFormat())
    assert form.daemon_line(entry("x", level)) == f"<{priority}>[{level.name}] x\n".encode()
    assert form.upstream_lines("owl", [b"a", b"b"]) == b"<6>owl | a\n<6>owl | b\n"


def test_given_the_variable_of_systemd_when_it_names_our_output_then_that_leads_to_the_journal(
    tmp_path: Path,
) -> None:
    with (tmp_path / "out").open("wb") as file:
        status = os.fstat(file.fileno())
        here = f"{status.st_dev}:{status.st_ino}"
        assert leads_to_journal({"JOURNAL_STREAM": here}, file.fileno())
        assert not leads_to_journal({"JOURNAL_STREAM": f"{status.st_dev}:1"}, file.fileno())
        assert not leads_to_journal({}, file.fileno())
    assert not leads_to_journal({"JOURNAL_STREAM": here}, -1)


def test_given_json_when_lines_are_written_then_standard_output_has_it_and_the_histories_have_text() -> None:
    reading, writing = os.pipe()
    logs = Logs(LogSettings(form="json", to_stdout="both"), Console(writing))
    logs.proxy.info("ready", event="model.ready", model="owl")
    logs.upstream("owl").write(b"loading\n")
    logs.apply(LogSettings(form="text", to_stdout="both"))
    logs.proxy.info("and on")
    logs.close()
    os.close(writing)

    first, second, third = os.read(reading, 4096).splitlines()
    os.close(reading)

    assert json.loads(first)["event"] == "model.ready"
    assert json.loads(second)["model"] == "owl"
    assert third == b"[INFO] and on"
    assert logs.rings["mux"].history() == b"[INFO] ready\nowl | loading\n[INFO] and on\n"
