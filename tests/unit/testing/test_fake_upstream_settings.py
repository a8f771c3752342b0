"""The knobs of the fake upstream, from the command line and from JSON."""

from __future__ import annotations

import pytest

from swapd.testing.upstream.settings import (
    HELP,
    Settings,
    SettingsError,
    parse_arguments,
    parse_duration,
    parse_size,
)


def test_every_knob_is_explained() -> None:
    assert set(HELP) == set(Settings.__annotations__)


def test_arguments_become_settings() -> None:
    settings = parse_arguments(
        [
            "--port",
            "5800",
            "--load",
            "200ms",
            "--flood",
            "50MB",
            "--hold",
            "--log-line",
            "a",
            "--log-line",
            "b",
        ]
    )
    assert (settings.port, settings.load_s, settings.flood_bytes) == (5800, 0.2, 50_000_000)
    assert settings.hold is True
    assert settings.log_line == ("a", "b")


def test_given_a_wrong_value_when_parsing_then_the_usage_names_the_flag(
    capsys: pytest.CaptureFixture[str],
) -> None:
    with pytest.raises(SystemExit) as end:
        parse_arguments(["--load", "soon"])
    assert end.value.code == 2
    assert "--load: 'soon' is not a duration" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("text", "seconds"), [("3s", 3.0), ("200ms", 0.2), ("1m", 60.0), ("2h", 7200.0), ("0.5", 0.5), ("0", 0.0)]
)
def test_durations(text: str, seconds: float) -> None:
    assert parse_duration(text) == pytest.approx(seconds)


@pytest.mark.parametrize(
    ("text", "size"), [("10", 10), ("3B", 3), ("2KB", 2000), ("4KiB", 4096), ("1.5MB", 1_500_000)]
)
def test_sizes(text: str, size: int) -> None:
    assert parse_size(text) == size


def test_changes_make_a_copy_and_know_short_names() -> None:
    # Given
    before = Settings()
    # When
    after = before.changed({"load": "3s", "tps": 5, "crash_after": 0.5, "health": "hang"})
    # Then
    assert (after.load_s, after.tps, after.crash_after_s, after.health) == (3.0, 5.0, 0.5, "hang")
    assert (before.load_s, before.health) == (0.0, "ok")


@pytest.mark.parametrize(
    ("changes", "complaint"),
    [
        ({"speed": 1}, "no knob 'speed'"),
        ({"health": "ill"}, "'ill' is none of ok, hang"),
        ({"tokens": "many"}, "tokens: "),
        ({"hold": "yes"}, "hold: 'yes' is not true or false"),
    ],
)
def test_a_change_that_does_not_fit_is_refused(changes: dict[str, object], complaint: str) -> None:
    with pytest.raises(SettingsError, match=complaint):
        Settings().changed(changes)
