"""Regular expressions in the RE2 dialect, run by Python's `re`."""

from __future__ import annotations

import pytest

from swapd.config.patterns import UnsupportedPatternError, compile_regex

REFUSED = [
    "(?=a)", "(?!a)", "(?<=a)", "(?<!a)", r"(a)\1", "(?P<n>a)(?P=n)", "(?>a)", "a++", "a*+", "a?+", "a{2}+",
    "(a)(?(1)b|c)", "(", "a)", "[a", "*", "a**", r"\Z", "(?U)a", "[[:nope:]]", "a" * 5000,
]  # fmt: skip

MATCHES = [
    (r"\.js$", "/app.js", True),
    (r"\.js$", "/app.js\n", False),
    (r"(?m)a$", "a\nb", True),
    (r"(?m:a$)b?", "a\nc", True),
    (r"a\z", "a", True),
    (r"a\z", "a\n", False),
    (r"^/x", "/x", True),
    (r"^/x", "\n/x", False),
    (r"\d", "٣", False),
    (r"\w", "é", False),
    (r"(?i)ABC", "xabcx", True),
    (r"[[:digit:]]+", "a5", True),
    (r"[^[:space:]]", " ", False),
    (r"(?P<n>x)y", "xy", True),
    (r"[$]", "$", True),
    (r"\$", "$", True),
    (r"a+?", "aa", True),
    (r"a{2}", "aa", True),
    (r"^$", "", True),
    (r"^$", "/a", False),
    (r"é", "café", True),
]


@pytest.mark.parametrize("pattern", REFUSED, ids=lambda pattern: pattern[:12])
def test_what_re2_does_not_have_is_refused_with_a_reason(pattern: str) -> None:
    with pytest.raises(UnsupportedPatternError) as error:
        compile_regex(pattern)
    assert str(error.value)


@pytest.mark.parametrize(("pattern", "text", "found"), MATCHES)
def test_a_pattern_is_searched_unanchored(pattern: str, text: str, found: bool) -> None:
    assert compile_regex(pattern).search(text) is found


def test_patterns_are_equal_by_their_text() -> None:
    assert compile_regex("a") == compile_regex("a")
    assert hash(compile_regex("a")) == hash(compile_regex("a"))
    assert compile_regex("a") != compile_regex("b")
