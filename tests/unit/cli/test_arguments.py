"""Spellings of flags."""

from __future__ import annotations

from typing import Any

import pytest

from swapd.cli.arguments import FlagParser
from swapd.cli.errors import UsageError


@pytest.fixture
def parser() -> FlagParser:
    parser = FlagParser("test", "Test.")
    parser.add_value("config", "a file", "FILE", repeatable=True)
    parser.add_value("config-dir", "a directory", "DIR")
    parser.add_value("count", "a number", "N", int)
    parser.add_switch("watch-config", "watch")
    parser.add_action("version", "version")
    return parser


def parse(parser: FlagParser, *argv: str, **environ: str) -> dict[str, Any]:
    """What was given; nothing that was not."""
    values = parser.parse(argv, environ)
    return {name: value for name, value in values.items() if value not in (None, False) or name in ("count",)}


@pytest.mark.parametrize(
    "argv",
    [
        ["-config", "x.yaml"],
        ["--config", "x.yaml"],
        ["-config=x.yaml"],
        ["--config=x.yaml"],
    ],
)
def test_given_each_spelling_of_a_value_when_parsed_then_it_is_the_same(
    parser: FlagParser, argv: list[str]
) -> None:
    assert parser.parse(argv, {})["config"] == ["x.yaml"]


@pytest.mark.parametrize(
    ("argv", "value"),
    [
        (["-watch-config"], True),
        (["--watch-config"], True),
        (["-watch-config=true"], True),
        (["--watch-config=1"], True),
        (["--watch-config=T"], True),
        (["-watch-config=false"], False),
        (["--watch-config=0"], False),
        (["--watch-config=FALSE"], False),
        (["--watch-config", "--watch-config=false"], False),
        ([], None),
    ],
)
def test_given_each_spelling_of_a_switch_when_parsed_then_it_is_on_or_off(
    parser: FlagParser, argv: list[str], value: bool | None
) -> None:
    assert parser.parse(argv, {})["watch-config"] is value


def test_given_a_switch_before_another_flag_when_parsed_then_it_does_not_swallow_it(
    parser: FlagParser,
) -> None:
    values = parser.parse(["-watch-config", "-config", "a", "--config=b", "-config-dir", "d"], {})

    assert (values["watch-config"], values["config"], values["config-dir"]) == (True, ["a", "b"], "d")


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        (["-conf", "x"], "-conf"),
        (["--watch"], "--watch"),
        (["---config", "x"], "---config"),
        (["stray"], "stray"),
        (["-config"], "expected one argument"),
        (["--count", "many"], "invalid int value: 'many'"),
        (["--watch-config=maybe"], "'maybe' is neither true nor false"),
        (["--watch-config", "true"], "unrecognized arguments: true"),
        (["--", "--watch-config"], "--watch-config"),
        (["-x"], "-x"),
    ],
)
def test_given_a_wrong_command_line_when_parsed_then_the_error_names_what_is_wrong(
    parser: FlagParser, argv: list[str], complaint: str
) -> None:
    with pytest.raises(UsageError) as raised:
        parser.parse(argv, {})

    assert str(raised.value).startswith("wrong usage: ")
    assert complaint in str(raised.value)
    assert raised.value.hint == "swapd test --help lists the flags"
    assert raised.value.code == 2


def test_given_the_environment_when_a_flag_is_not_on_the_command_line_then_its_twin_counts(
    parser: FlagParser,
) -> None:
    environ = {
        "SWAPD_CONFIG": "e.yaml",
        "SWAPD_CONFIG_DIR": "e.d",
        "SWAPD_COUNT": "7",
        "SWAPD_WATCH_CONFIG": "true",
    }

    from_environment = parser.parse([], environ)
    from_both = parser.parse(["--config", "c.yaml", "-watch-config=false"], environ)

    assert from_environment == {
        "config": ["e.yaml"],
        "config-dir": "e.d",
        "count": 7,
        "watch-config": True,
        "version": False,
        "debug": None,
    }
    assert from_both == {**from_environment, "config": ["c.yaml"], "watch-config": False}


def test_given_an_empty_variable_when_parsed_then_it_counts_as_absent(parser: FlagParser) -> None:
    assert parser.parse([], {"SWAPD_CONFIG_DIR": ""})["config-dir"] is None


def test_given_a_variable_that_is_not_understood_when_parsed_then_the_error_names_it(
    parser: FlagParser,
) -> None:
    with pytest.raises(UsageError, match="environment variable SWAPD_WATCH_CONFIG: 'maybe' is neither"):
        parser.parse([], {"SWAPD_WATCH_CONFIG": "maybe"})


def test_given_a_variable_of_the_wrong_type_when_parsed_then_the_error_names_it(parser: FlagParser) -> None:
    with pytest.raises(UsageError, match="environment variable SWAPD_COUNT: 'many' is not valid"):
        parser.parse([], {"SWAPD_COUNT": "many"})


def test_given_the_version_in_the_environment_when_parsed_then_it_asks_for_nothing(
    parser: FlagParser,
) -> None:
    assert parser.parse([], {"SWAPD_VERSION": "1.2.3"})["version"] is False


@pytest.mark.parametrize("spelling", ["-version", "--version"])
def test_given_an_action_when_parsed_then_it_is_asked_for(parser: FlagParser, spelling: str) -> None:
    assert parser.parse([spelling], {})["version"] is True


@pytest.mark.parametrize("spelling", ["-h", "-help", "--help"])
def test_given_a_wish_for_help_when_parsed_then_the_flags_are_listed(
    parser: FlagParser, spelling: str, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(SystemExit) as raised:
        parser.parse([spelling], {})

    assert raised.value.code == 0
    shown = capsys.readouterr().out
    assert all(flag in shown for flag in ("--config FILE", "--config-dir DIR", "--watch-config", "--version"))


@pytest.mark.parametrize(
    "argv",
    [
        ["owl", "--count", "3", "wren", "-f"],
        ["-f", "--count=3", "owl", "wren"],
        ["-count", "3", "--follow=true", "--", "owl", "wren"],
        ["-n", "3", "owl", "-follow", "wren"],
    ],
)
def test_given_words_among_flags_when_parsed_then_their_order_does_not_matter(argv: list[str]) -> None:
    parser = FlagParser("test", "Test.")
    parser.add_value("count", "a number", "N", int, short="n")
    parser.add_switch("follow", "follow", short="f")
    parser.add_words("MODEL…")

    values = parser.parse(argv, {})

    assert (values["count"], values["follow"], parser.words) == (3, True, ["owl", "wren"])
    assert parser.on_command_line == {"count", "follow"}


@pytest.mark.parametrize(
    ("argv", "message"), [([], "MODEL is missing"), (["a", "b", "c"], "unrecognized arguments: c")]
)
def test_given_too_few_or_too_many_words_when_parsed_then_it_is_wrong_usage(
    argv: list[str], message: str
) -> None:
    parser = FlagParser("test", "Test.")
    parser.add_words("MODEL", 1, 2)

    with pytest.raises(UsageError, match=message):
        parser.parse(argv, {})


def test_given_a_flag_without_twin_when_the_environment_names_it_then_that_says_nothing() -> None:
    parser = FlagParser("test", "Test.")
    parser.add_switch("all", "all of them", twin=False)

    assert parser.parse([], {"SWAPD_ALL": "1"})["all"] is None
