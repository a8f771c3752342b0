"""The names of `logTimeFormat` and what they print."""

from __future__ import annotations

import time
from collections.abc import Iterator

import pytest

from swapd.observe.timestamps import FORMAT_NAMES, timestamp_format

# 5 August 2026, 09:07:03.00456 in Central European Summer Time
INSTANT_NS = 1_785_913_623_004_560_000


@pytest.fixture
def zone(monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> Iterator[None]:
    """Run the test in the time zone given as parameter."""
    monkeypatch.setenv("TZ", request.param)
    time.tzset()
    yield
    monkeypatch.undo()
    time.tzset()


CEST = "CET-1CEST,M3.5.0,M10.5.0/3"


@pytest.mark.parametrize("zone", [CEST], indirect=True)
@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("ansic", "Wed Aug  5 09:07:03 2026"),
        ("unixdate", "Wed Aug  5 09:07:03 CEST 2026"),
        ("rubydate", "Wed Aug 05 09:07:03 +0200 2026"),
        ("rfc822", "05 Aug 26 09:07 CEST"),
        ("rfc822z", "05 Aug 26 09:07 +0200"),
        ("rfc850", "Wednesday, 05-Aug-26 09:07:03 CEST"),
        ("rfc1123", "Wed, 05 Aug 2026 09:07:03 CEST"),
        ("rfc1123z", "Wed, 05 Aug 2026 09:07:03 +0200"),
        ("rfc3339", "2026-08-05T09:07:03+02:00"),
        ("rfc3339nano", "2026-08-05T09:07:03.00456+02:00"),
        ("kitchen", "9:07AM"),
        ("stamp", "Aug  5 09:07:03"),
        ("stampmilli", "Aug  5 09:07:03.004"),
        ("stampmicro", "Aug  5 09:07:03.004560"),
        ("stampnano", "Aug  5 09:07:03.004560000"),
    ],
)
@pytest.mark.usefixtures("zone")
def test_given_each_name_when_printed_then_it_reads_as_documented(name: str, text: str) -> None:
    render = timestamp_format(name)

    assert render is not None
    assert render(INSTANT_NS) == text
    assert name in FORMAT_NAMES


@pytest.mark.parametrize("zone", ["UTC0"], indirect=True)
@pytest.mark.parametrize(
    ("name", "text"),
    [("rfc3339", "2026-08-05T07:07:03Z"), ("rfc3339nano", "2026-08-05T07:07:03.00456Z")],
)
@pytest.mark.usefixtures("zone")
def test_given_universal_time_when_printed_then_the_offset_is_a_z(name: str, text: str) -> None:
    render = timestamp_format(name)

    assert render is not None
    assert render(INSTANT_NS) == text


@pytest.mark.parametrize("zone", ["XXX3:30"], indirect=True)  # 3½ hours west
@pytest.mark.usefixtures("zone")
def test_given_an_offset_of_half_hours_to_the_west_when_printed_then_sign_and_minutes_are_right() -> None:
    render = timestamp_format("rfc3339")

    assert render is not None
    assert render(INSTANT_NS) == "2026-08-05T03:37:03-03:30"


@pytest.mark.parametrize("zone", ["UTC0"], indirect=True)
@pytest.mark.parametrize(
    ("hour", "text"), [(0, "12:00AM"), (11, "11:00AM"), (12, "12:00PM"), (23, "11:00PM")]
)
@pytest.mark.usefixtures("zone")
def test_given_hours_of_the_day_when_printed_as_kitchen_then_twelve_stands_for_zero(
    hour: int, text: str
) -> None:
    render = timestamp_format("kitchen")

    assert render is not None
    assert render(hour * 3_600_000_000_000) == text


@pytest.mark.parametrize("zone", ["UTC0"], indirect=True)
@pytest.mark.usefixtures("zone")
def test_given_a_whole_second_when_printed_with_a_trimmed_fraction_then_there_is_no_dot() -> None:
    render = timestamp_format("rfc3339nano")

    assert render is not None
    assert render(60_000_000_000) == "1970-01-01T00:01:00Z"


@pytest.mark.parametrize("zone", ["UTC0"], indirect=True)
@pytest.mark.usefixtures("zone")
def test_given_two_seconds_when_printed_one_after_the_other_then_each_is_its_own() -> None:
    render = timestamp_format("stamp")

    assert render is not None
    assert [render(ns) for ns in (0, 999_999_999, 1_000_000_000)] == [
        "Jan  1 00:00:00",
        "Jan  1 00:00:00",
        "Jan  1 00:00:01",
    ]


def test_given_case_and_blanks_when_looked_up_then_they_do_not_matter() -> None:
    assert timestamp_format("  RFC3339Nano ") is not None
    assert timestamp_format("  ") is None
    assert timestamp_format("") is None


def test_given_an_unknown_name_when_looked_up_then_the_error_lists_the_known_ones() -> None:
    with pytest.raises(ValueError, match=r"unknown time format 'iso'; known are ansic, .*unixdate"):
        timestamp_format("iso")
