"""Spellings of a path."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from swapd.http.paths import clean_path, parameter, routing_path


@given(st.text(alphabet="ab./%\\ é", max_size=30))
def test_given_any_path_when_cleaned_then_cleaning_again_changes_nothing(text: str) -> None:
    raw = b"/" + text.encode()

    cleaned = clean_path(raw)

    assert clean_path(cleaned) is cleaned
    assert b"//" not in cleaned
    assert not {b".", b".."} & set(cleaned.split(b"/"))


@given(st.text(min_size=1, max_size=30).filter(lambda text: text.isprintable() or "\n" in text))
def test_given_any_name_when_sent_escaped_then_the_parameter_is_the_name(name: str) -> None:
    from urllib.parse import quote

    routed = routing_path(b"/x/" + quote(name, safe="").encode())

    captured = routed.removeprefix("/x/")
    assert "/" not in captured
    assert parameter(captured) == name


@given(st.text(alphabet="abc/:@ ~-_.é", max_size=30))
def test_given_any_name_when_sent_with_plain_slashes_then_they_stay_separators(name: str) -> None:
    from urllib.parse import quote

    assert parameter(routing_path(quote(name).encode())) == name


def test_given_an_escaped_escape_when_routed_then_it_is_decoded_once() -> None:
    assert parameter(routing_path(b"a%252Fb")) == "a%2Fb"


def test_given_bytes_that_are_not_utf8_when_decoded_then_they_match_nothing() -> None:
    assert parameter(routing_path(b"caf%E9")) == "caf\ufffd"
