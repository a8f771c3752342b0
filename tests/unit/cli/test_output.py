"""Tables and the spellings of sizes, durations and times."""

from __future__ import annotations

import io

import pytest

from swapd.cli import output
from swapd.cli.output import Cell, Column, Output, Styled


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("seconds", "text"),
    [
        (None, "—"),
        (0, "0.0s"),
        (0.44, "0.4s"),
        (9.96, "10s"),
        (59.4, "59s"),
        (59.9, "1m00s"),
        (65, "1m05s"),
        (3720, "1h02m"),
        (3 * 86400 + 4 * 3600, "3d04h"),
        (-1, "0.0s"),
    ],
)
def test_given_seconds_when_spelled_then_two_units_at_most(seconds: float | None, text: str) -> None:
    assert output.duration(seconds) == text


@pytest.mark.parametrize(
    ("mebibytes", "text"), [(None, "—"), (0, "0 MiB"), (512, "512 MiB"), (7578, "7.4 GiB")]
)
def test_given_an_amount_of_memory_when_spelled_then_in_binary_units(
    mebibytes: int | None, text: str
) -> None:
    assert output.size(mebibytes) == text


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("\x1b]0;title\x07", "\\x1b]0;title\\x07"),
        ("a\nb", "a\\nb"),
        ("\u202eevil", "\\u202eevil"),
        ("Größe 猫", "Größe 猫"),
    ],
)
def test_given_what_terminals_obey_when_shown_in_a_table_then_it_is_written_out(
    text: str, shown: str
) -> None:
    stream = Terminal()

    Output(stream=stream, environ={"NO_COLOR": "1"}).table([Column("X")], [[text]])

    assert stream.getvalue() == f"X\n{shown}\n"


def test_given_escape_sequences_when_made_plain_then_only_the_text_is_left() -> None:
    assert output.plain("\x1b[1;31mred\x1b[0m \x1b]8;;http://x\x07link\x1b]8;;\x1b\\ end") == "red link end"


def test_given_wide_characters_when_laid_out_then_the_columns_are_aligned() -> None:
    stream = io.StringIO()

    Output(stream=stream, environ={}).table(
        [Column("NAME"), Column("N", right=True)], [["猫", "1"], ["abcd", "100"]]
    )

    assert stream.getvalue() == "NAME    N\n猫      1\nabcd  100\n"


def test_given_a_narrow_terminal_when_laid_out_then_only_what_may_be_cut_is_cut(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("COLUMNS", "24")
    columns = [Column("MODEL", cut=True), Column("STATE")]
    row: list[Cell] = ["a-model-with-a-very-long-name", Styled("ready", "green")]

    terminal, pipe = Terminal(), io.StringIO()
    Output(stream=terminal, environ={}).table(columns, [row])
    Output(stream=pipe, environ={}).table(columns, [row])

    assert terminal.getvalue().splitlines()[1] == "a-model-with-a-v…  \x1b[32mready\x1b[0m"
    assert pipe.getvalue().splitlines()[1] == "a-model-with-a-very-long-name  ready"


@pytest.mark.parametrize(
    ("colour", "stream", "environ", "coloured"),
    [
        ("auto", Terminal(), {}, True),
        ("auto", Terminal(), {"NO_COLOR": "1"}, False),
        ("auto", Terminal(), {"TERM": "dumb"}, False),
        ("auto", io.StringIO(), {}, False),
        ("always", io.StringIO(), {"NO_COLOR": "1"}, True),
        ("never", Terminal(), {}, False),
    ],
)
def test_given_a_wish_for_colour_when_printed_then_it_beats_what_the_stream_is(
    colour: str, stream: io.StringIO, environ: dict[str, str], coloured: bool
) -> None:
    assert Output(colour=colour, stream=stream, environ=environ).in_colour is coloured
