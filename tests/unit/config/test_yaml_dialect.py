"""The dialect: neither YAML 1.1 nor 1.2, but what configurations in the field were written for."""

from __future__ import annotations

from math import inf, isnan
from typing import Any

import pytest

from swapd.config import Config, Loaded, loads
from swapd.config.nodes import Timestamp
from swapd.config.scalars import float_text, resolve
from swapd.config.show import plain


def metadata(text: str) -> Any:
    """The value of `v` as clients would get it."""
    loaded = loads(f'models:\n  owl:\n    cmd: s\n    proxy: "http://h"\n    metadata:\n{text}', environ={})
    assert loaded.config is not None, loaded.problems
    return plain(loaded.config.models["owl"].metadata)


def loaded(text: str) -> Loaded:
    return loads(text, environ={})


def config(text: str) -> Config:
    result = loaded(text)
    assert result.config is not None, result.problems
    return result.config


# --- plain scalars --------------------------------------------------------------------------------------

SCALARS: list[tuple[str, object]] = [
    *((text, None) for text in ("", "~", "null", "Null", "NULL")),
    *((text, True) for text in ("true", "True", "TRUE")),
    *((text, False) for text in ("false", "False", "FALSE")),
    *((text, text) for text in ("yes", "Yes", "no", "on", "off", "y", "n", "tRue", "nULL", "NaN", "inf")),
    *(("0", 0), ("7", 7), ("+7", 7), ("-7", -7), ("1_000", 1000), ("0x10", 16), ("-0x10", -16), ("0o17", 15)),
    *(("0b101", 5), ("0100", 64), ("-0100", -64), ("18446744073709551615", 2**64 - 1)),
    *(("18446744073709551616", float(2**64)), ("-9223372036854775809", -float(2**63))),
    *(("08", 8.0), ("09", 9.0), ("1.5", 1.5), (".5", 0.5), ("1.", 1.0), ("1e2", 100.0), ("1E-2", 0.01)),
    *((text, inf) for text in (".inf", ".Inf", ".INF", "+.inf")),
    *((text, -inf) for text in ("-.inf", "-.Inf", "-.INF")),
    *(
        (text, text)
        for text in ("1:30", "190:20:30", "1.2.3", "0x", "0b2", "1e", "--1", "+", "-", ".", "1_a")
    ),
    *((text, text) for text in ("12e03x", "0o8", "1 000", "v1", "10m", "5s", "Infinity")),
    ("2024-1-31", Timestamp("2024-01-31T00:00:00Z")),
    ("2024-01-31T08:00:00Z", Timestamp("2024-01-31T08:00:00Z")),
    ("2024-01-31t08:00:00.250+01:00", Timestamp("2024-01-31T08:00:00.25+01:00")),
    ("2024-01-31 08:00:00", Timestamp("2024-01-31T08:00:00Z")),
    *((text, text) for text in ("2024-13-01", "2024-02-30", "2024-01-31T25:00:00Z", "24-01-31")),
]


@pytest.mark.parametrize(("text", "value"), SCALARS, ids=lambda value: repr(value))
def test_a_plain_scalar_has_its_type(text: str, value: object) -> None:
    found = resolve(text)
    assert (type(found), found) == (type(value), value)


@pytest.mark.parametrize("text", [".nan", ".NaN", ".NAN"])
def test_not_a_number(text: str) -> None:
    found = resolve(text)
    assert isinstance(found, float)
    assert isnan(found)


@pytest.mark.parametrize("text", ["9" * 5000, "0x" + "f" * 5000, "1" * 500 + ".5", "1e999999999"])
def test_an_absurd_number_costs_nothing(text: str) -> None:
    assert isinstance(resolve(text), str)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (1.1, "1.1"),
        (1.0, "1"),
        (0.0001, "0.0001"),
        (0.00001, "1e-05"),
        (100000.0, "100000"),
        (999999.5, "999999.5"),
        (1000000.0, "1e+06"),
        (1234567.0, "1.234567e+06"),
        (-2.5e-7, "-2.5e-07"),
        (1e100, "1e+100"),
        (0.0, "0"),
        (inf, "+Inf"),
        (-inf, "-Inf"),
        (float("nan"), "NaN"),
    ],
)
def test_a_float_as_text(value: float, text: str) -> None:
    assert float_text(value) == text


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("!!str 5", "5"),
        ("!!int '5'", 5),
        ("!!float 5", 5.0),
        ("!!binary aGVsbG8=", "hello"),
        ("!unknown 5", 5),
        ("! 5", "5"),
        ("'5'", "5"),
        ("2024-01-31", "2024-01-31T00:00:00Z"),
    ],
)
def test_tags_and_quotes(written: str, value: object) -> None:
    found = metadata(f"      v: {written}\n")["v"]
    assert (type(found), found) == (type(value), value)


@pytest.mark.parametrize("written", ["!!int a", "!!bool 5", "!!binary '*'"])
def test_a_tag_that_does_not_fit_is_a_syntax_error(written: str) -> None:
    (problem,) = loaded(f"logLevel: {written}").errors
    assert problem.code == "yaml-syntax"
    assert problem.hint


# --- coercion -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("text", ["y", "Y", "yes", "Yes", "YES", "on", "On", "ON", "'yes'", "true", "True"])
def test_words_for_true(text: str) -> None:
    assert config(f"includeAliasesInList: {text}").include_aliases_in_list is True


@pytest.mark.parametrize("text", ["n", "N", "no", "No", "NO", "off", "Off", "OFF", '"no"', "false", "~"])
def test_words_for_false(text: str) -> None:
    assert config(f"includeAliasesInList: {text}").include_aliases_in_list is False


@pytest.mark.parametrize("text", ["1", "0", "'true'", "yEs", "[true]", "1.0"])
def test_what_is_no_bool(text: str) -> None:
    (problem,) = loaded(f"includeAliasesInList: {text}").errors
    assert (problem.code, problem.key_path) == ("type", "includeAliasesInList")


@pytest.mark.parametrize(("text", "value"), [("99.9", 99), ("1e2", 100), ("0x10", 16), ("1_0", 10), ("~", 0)])
def test_what_an_int_takes(text: str, value: int) -> None:
    assert config(f"globalTTL: {text}").global_ttl_s == value


@pytest.mark.parametrize(
    "text", ["'120'", "true", "[1]", "{a: 1}", ".inf", ".nan", "1e30", "18446744073709551615"]
)
def test_what_is_no_int(text: str) -> None:
    (problem,) = loaded(f"globalTTL: {text}").errors
    assert (problem.code, problem.key_path) == ("type", "globalTTL")


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        *(("15s", 15), ("1h30m", 5400), ("5.5s", 5.5), (".5m", 30), ("5000ms", 5), ("6000000us", 6)),
        *(("0s", 5), ('"0"', 5), ("+15s", 15)),
        *((text, None) for text in ("15", "1d", "15 s", "15S", "6e", "0", "-")),
    ],
)
def test_durations(text: str, seconds: float | None) -> None:
    result = loaded(f"performance: {{every: {text}}}")
    if seconds is None:
        assert [problem.code for problem in result.errors] == ["type"]
    else:
        assert result.config is not None
        assert result.config.performance.every_s == seconds


@pytest.mark.parametrize(
    ("text", "seconds"), [("90", 90), ("1.5", 1.5), ("90s", 90), ("2d", 172800), ("1h1m", 3660), ("'0'", 0)]
)
def test_seconds(text: str, seconds: float) -> None:
    assert config(f"queueTimeout: {text}").queue_timeout_s == seconds


@pytest.mark.parametrize(
    ("text", "size"),
    [("5", 5), ("4MiB", 4 << 20), ("4MB", 4_000_000), ("1.5KiB", 1536), ("2 GiB", 2 << 30), ("1TB", 10**12)],
)
def test_sizes(text: str, size: int) -> None:
    assert config(f"maxRequestBody: {text}").max_request_body == size


@pytest.mark.parametrize("text", ["4mb", "4 megabytes", "MiB", "true", "1e400", "[1]"])
def test_what_is_no_size(text: str) -> None:
    (problem,) = loaded(f"maxRequestBody: {text}").errors
    assert problem.code == "type"


def test_null_keeps_the_default_or_empties() -> None:
    nothing = config(
        "logToStdout: ~\nui: {activity: {session_id: ~}}\nstore: ~\nmodels: ~\nrouting: ~\nperformance:\n"
    )
    assert nothing.log_to_stdout == "proxy"
    assert nothing.ui.activity.session_headers == ()
    assert nothing.store is None
    assert nothing.performance.every_s == 5


# --- anchors and merge keys -----------------------------------------------------------------------------


def test_own_keys_win_over_merged_ones_wherever_they_stand() -> None:
    text = "x-a: &a {cmd: a, proxy: 'http://a', ttl: 1}\nx-b: &b {cmd: b, ttl: 2, name: b}\n"
    models = config(
        text + "models:\n  owl:\n    ttl: 9\n    <<: [*a, *b]\n  wren: {<<: *b, proxy: 'http://w'}\n"
    ).models
    assert (models["owl"].cmd, models["owl"].ttl_s, models["owl"].name) == ("a", 9, "b")
    assert (models["wren"].cmd, models["wren"].proxy) == ("b", "http://w")


def test_a_merge_is_shallow() -> None:
    text = "x-a: &a {cmd: a, proxy: 'http://a', timeouts: {connect: 1, idleConn: 2}}\n"
    owl = config(text + "models: {owl: {<<: *a, timeouts: {connect: 5}}}").models["owl"]
    assert (owl.timeouts.connect_s, owl.timeouts.idle_conn_s) == (5, 90)


def test_a_macro_block_can_be_shared_but_not_merged_into() -> None:
    text = "x-m: &m {a: 1}\nmacros: *m\nmodels: {owl: {cmd: 's ${a}', proxy: 'http://h'}}\n"
    assert config(text).models["owl"].cmd == "s 1"
    (problem,) = loaded("x-m: &m {a: 1}\nmacros: {<<: *m}\n").errors
    assert (problem.code, problem.line, problem.column) == ("macro-name", 2, 10)


def test_aliases_that_explode_are_refused_at_once() -> None:
    lines = ["x-0: &a0 [a, a, a, a, a, a, a, a, a, a]"]
    lines += [f"x-{n}: &a{n} [{', '.join([f'*a{n - 1}'] * 10)}]" for n in range(1, 12)]
    (problem,) = loaded("\n".join(lines)).errors
    assert problem.code == "yaml-anchor"
    assert problem.hint


@pytest.mark.parametrize(
    "text",
    ["[" * 5000, "{a: " * 5000, "- " * 5000, "a:\n" + "".join(" " * n + "a:\n" for n in range(1, 300))],
)
def test_nesting_has_an_end(text: str) -> None:
    (problem,) = loaded(text).errors
    assert problem.code == "yaml-syntax"
    assert problem.hint


def test_keys_are_text() -> None:
    models = config(
        "models:\n"
        + "".join(f"  {id}: {{cmd: s, proxy: 'http://h'}}\n" for id in ("123", "true", "1.0", "~"))
    ).models
    assert list(models) == ["1.0", "123", "true", "~"]


# --- tabs -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("v:\tx", "x"),
        ("v: x\t", "x"),
        ("v: x\t# comment", "x"),
        ("v: x\ty", "x\ty"),
        ("v: x \t y", "x \t y"),
        ("v: {a:\t1,\tb: 2\t}", {"a": 1, "b": 2}),
        ("v: [a,\tb]\t", ["a", "b"]),
        ("v: x\n       \ty", "x y"),
        ("v: |\t\n        x\ty\n", "x\ty\n"),
        ("v: >- \t# comment\n        x\n        y\n", "x y"),
        ("v: 'a\tb'", "a\tb"),
        ("v: 5\t", 5),
    ],
)
def test_a_tab_may_stand_where_it_is_no_indentation(text: str, value: object) -> None:
    assert metadata(f"      {text}\n") == {"v": value}


@pytest.mark.parametrize(
    "text", ["models:\n\towl: {}\n", "\tlogLevel: info\n", "models:\n  owl: x\n\ty\n", "apiKeys:\n-\t- a\n"]
)
def test_a_tab_as_indentation_is_refused_with_a_reason(text: str) -> None:
    (problem,) = loaded(text).errors
    assert problem.code == "yaml-syntax"
    assert "tab" in problem.message + problem.hint


def test_text_over_several_lines_folds() -> None:
    assert metadata("      v: one\n        two\n\n        three # no more\n") == {"v": "one two\nthree"}
