"""What `swapd bench` makes of answers and of what it has measured."""

from __future__ import annotations

import argparse
from collections import Counter

import pytest

from swapd.cli.load_test.question import Outcome, Question, _has_text, _reported
from swapd.cli.load_test.report import Assertion, assertion, markdown, quantiles, summarise
from swapd.cli.load_test.run import Plan, Run


def plan(pattern: str, requests: int = 6) -> list[str]:
    return list(Plan(("a", "b"), Question(), requests=requests, pattern=pattern).turns())


def test_given_patterns_when_models_take_turns_then_each_has_its_order() -> None:
    assert plan("round-robin") == ["a", "b", "a", "b", "a", "b"]
    assert plan("sequential") == ["a", "a", "a", "b", "b", "b"]
    assert plan("random", 500) == plan("random", 500)
    assert min(Counter(plan("random", 500)).values()) > 150


def test_given_requests_when_summarised_then_quantiles_are_those_without_error() -> None:
    good = [Outcome("owl", 0, total_s=n, ttft_s=n / 2, tokens=11, received=5) for n in (1.0, 2.0, 3.0, 4.0)]
    bad = Outcome("wren", 0, total_s=99, error="503", received=7)
    starts = (("owl", 1500), ("wren", None))

    owl, wren, total = summarise(Run((*good, bad), 10.0, starts))

    assert (owl["requests"], owl["errors"], owl["starts"], owl["bytes"]) == (4, {}, 1, 20)
    assert owl["total_s"] == {"p50": 2.0, "p90": 4.0, "p95": 4.0, "p99": 4.0, "max": 4.0}
    assert owl["ttft_s"]["p50"] == 1.0
    assert owl["load_s"]["max"] == 1.5
    assert owl["tokens_per_s"] == {"stream": round((20 + 10 + 20 / 3 + 5) / 4, 2), "all": 4.4}
    assert (wren["errors"], wren["total_s"], wren["load_s"]) == ({"503": 1}, None, None)
    assert (total["requests"], total["starts"]) == (5, 2)
    assert summarise(Run(tuple(good), 10.0, None))[-1]["starts"] is None
    assert markdown([total]).splitlines()[2] == (
        "| total | 5 | 1 | 1000ms | 2000ms | 2000ms | 4000ms | 4000ms | 10.4 | 4.4 | 2 | 1500ms |"
    )


def test_given_no_values_when_quantiles_are_taken_then_there_are_none() -> None:
    assert quantiles([]) is None
    assert quantiles([0.25]) == dict.fromkeys(("p50", "p90", "p95", "p99", "max"), 0.25)


@pytest.mark.parametrize(
    ("text", "holds"),
    [
        ("p95_ttft<2s", True),
        ("p95_ttft < 900ms", False),
        ("max_total<=2s", True),
        ("errors==0", True),
        ("requests>=2", False),
        ("tokens_per_s>5", True),
        ("p50_load<1m", False),
    ],
)
def test_given_bounds_when_compared_with_a_total_then_they_hold_or_say_why(text: str, holds: bool) -> None:
    done = Run((Outcome("owl", 0, total_s=2.0, ttft_s=1.0, tokens=11),), 2.0, ())
    failure = assertion(text).failure(summarise(done)[-1])
    assert (failure == "") is holds
    assert holds or failure.startswith(f"{text}: ")


@pytest.mark.parametrize(
    "text", ["", "p95", "p95_ttft<", "p42_ttft<2s", "p95_ttft<x", "errors=0", "errors<x"]
)
def test_given_what_is_no_bound_when_read_then_it_is_refused(text: str) -> None:
    with pytest.raises(argparse.ArgumentTypeError):
        assert isinstance(assertion(text), Assertion)


@pytest.mark.parametrize(
    ("event", "text", "tokens"),
    [
        ({"choices": [{"delta": {"content": "x"}}]}, True, None),
        ({"choices": [{"delta": {"reasoning_content": "x"}}]}, True, None),
        ({"choices": [{"delta": {"role": "assistant"}}]}, False, None),
        ({"choices": [{"text": "x"}]}, True, None),
        ({"choices": [], "usage": {"completion_tokens": 7}}, False, 7),
        ({"type": "content_block_delta", "delta": {"text": "x"}}, True, None),
        ({"type": "message_delta", "usage": {"output_tokens": 7}}, False, 7),
        ({"type": "response.output_text.delta", "delta": "x"}, True, None),
        ({"type": "response.completed", "response": {"usage": {"output_tokens": 7}}}, False, 7),
    ],
)
def test_given_events_of_four_apis_when_read_then_text_and_counts_are_found(
    event: dict[str, object], text: bool, tokens: int | None
) -> None:
    assert (_has_text(event), _reported(event)) == (text, tokens)
