"""Editing JSON in place: what changes, and that nothing else does."""

from __future__ import annotations

import json
import time

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from swapd.http.proxy.json_edit import EditError, NotJson, Path, SetAside, delete_value, encode, set_value


@pytest.mark.parametrize(
    ("key", "value", "before", "after"),
    [
        ("a", 1, b"{}", b'{"a":1}'),
        ("a", 1, b'{ "a" : 2 }', b'{ "a" : 1 }'),
        ("a", 1, b'{"a":2,"a":3}', b'{"a":1,"a":3}'),
        ("a", {"x": [1]}, b'{"a":{"y":2},"b":1e400}', b'{"a":{"x":[1]},"b":1e400}'),
        ("a.b", False, b'{"x":1}', b'{"x":1,"a":{"b":false}}'),
        ("a.b", False, b'{"a":{"k":1}}', b'{"a":{"k":1,"b":false}}'),
        ("a.b", 1, b'{"a":"str"}', b'{"a":{"b":1}}'),
        ("a.b", 1, b'{"a":null}', b'{"a":{"b":1}}'),
        ("a.0", 9, b'{"a":[1,2]}', b'{"a":[9,2]}'),
        ("a.0", 9, b"{}", b'{"a":[9]}'),
        ("a.2", 9, b"{}", b'{"a":[null,null,9]}'),
        ("a.5", 9, b'{"a":[1,2]}', b'{"a":[1,2,null,null,null,9]}'),
        ("a.-1", 9, b'{"a":[1, 2 ]}', b'{"a":[1, 2,9 ]}'),
        ("a.-1", 9, b'{"a":[]}', b'{"a":[9]}'),
        ("a.0", 9, b'{"a":{"0":1}}', b'{"a":{"0":9}}'),
        ("a.#.b", 9, b'{"a":[{"b":1},{"b":2}]}', b'{"a":[{"b":9},{"b":9}]}'),
        ("a.#.b", 9, b'{"a":[]}', b'{"a":[]}'),
        ("a.#.b", 9, b"{}", b"{}"),
        (r"a\.b", 9, b"{}", b'{"a.b":9}'),
        (r"a\.b", 9, b'{"a.b":1}', b'{"a.b":9}'),
        ("a*b", 9, b'{"a":1}', b'{"a":1}'),
        ("a|b", 9, b'{"a":1}', b'{"a":1}'),
        ("é", "ü", b'{"\\u00e9":1}', '{"\\u00e9":"ü"}'.encode()),
        ("a", 1, b'\xef\xbb\xbf {"b":2}', b'\xef\xbb\xbf {"b":2,"a":1}'),
        ("a", 1, b'{"b":"}\\"{"} trailing', b'{"b":"}\\"{","a":1} trailing'.replace(b'{",', b'{",')),
        ("t", 0.5, b'{"seed":12345678901234567890,"t":1.0}', b'{"seed":12345678901234567890,"t":0.5}'),
        ("a", 1, b'{"b":"\xff\xfe"}', b'{"b":"\xff\xfe","a":1}'),
        ("a", 1, b'{"b":"\\ud800"}', b'{"b":"\\ud800","a":1}'),
    ],
)
def test_given_a_value_when_set_then_only_its_place_changes(
    key: str, value: object, before: bytes, after: bytes
) -> None:
    assert set_value(before, Path.parse(key), encode(value)) == after


@pytest.mark.parametrize(
    ("key", "before", "after"),
    [
        ("a", b'{"a":1}', b"{}"),
        ("a", b'{ "a" : 1 , "b" : 2 }', b'{ "b" : 2 }'),
        ("b", b'{ "a" : 1 , "b" : 2 }', b'{ "a" : 1 }'),
        ("b", b'{"a":1,"b":2,"c":3}', b'{"a":1,"c":3}'),
        ("a", b'{"a":1,"a":2}', b'{"a":2}'),
        ("a.b", b'{"a":{"b":1,"c":2}}', b'{"a":{"c":2}}'),
        ("a.b", b'{"a":{"b":1}}', b'{"a":{}}'),
        ("a.b", b'{"a":[1]}', b'{"a":[1]}'),
        ("a.b", b'{"a":1}', b'{"a":1}'),
        ("a.1", b'{"a":[1,2,3]}', b'{"a":[1,3]}'),
        ("a.9", b'{"a":[1,2,3]}', b'{"a":[1,2,3]}'),
        ("a.-1", b'{"a":[1,2,3]}', b'{"a":[1,2]}'),
        ("a.-1", b'{"a":[]}', b'{"a":[]}'),
        ("a.#.b", b'{"a":[{"b":1},{"c":2},{"b":3,"d":4}]}', b'{"a":[{},{"c":2},{"d":4}]}'),
        ("nope", b'{"a":1}', b'{"a":1}'),
    ],
)
def test_given_a_key_when_stripped_then_it_goes_with_one_comma(key: str, before: bytes, after: bytes) -> None:
    assert delete_value(before, Path.parse(key)) == after


@pytest.mark.parametrize("key", ["a*", "*", "a|b", "a.b*"])
def test_given_a_pattern_when_stripped_then_it_is_refused(key: str) -> None:
    with pytest.raises(EditError):
        delete_value(b'{"a":1}', Path.parse(key))


@pytest.mark.parametrize(("key", "body"), [("a.b", b'{"a":[1]}'), ("a.999999999", b"{}")])
def test_given_a_path_that_does_not_fit_when_set_then_it_is_refused(key: str, body: bytes) -> None:
    with pytest.raises(EditError):
        set_value(body, Path.parse(key), b"1")


@pytest.mark.parametrize(
    "body",
    [b"", b"[]", b"null", b'{"a":1', b'{"a":', b'{"a"}', b'{"b":[1', b'{"b":"x', b"{a:1}", b"\x00", b"{,"],
)
def test_given_no_json_when_edited_then_that_is_said(body: bytes) -> None:
    with pytest.raises(NotJson):
        set_value(body, Path.parse("zz"), b"1")
    with pytest.raises(NotJson):
        delete_value(body, Path.parse("zz"))


def test_given_deep_nesting_when_edited_then_it_is_skipped_over() -> None:
    deep = b'{"x":' + b"[" * 100_000 + b"]" * 100_000 + b',"a":1}'
    assert set_value(deep, Path.parse("a"), b"2") == deep[:-2] + b"2}"


def test_given_five_megabytes_when_edited_then_the_cost_is_that_of_copying() -> None:
    image = b"A" * (5 * 1024 * 1024)
    body = b'{"messages":[{"content":[{"image":"' + image + b'"}]}],"temperature":1}'
    began = time.process_time()
    edited = set_value(body, Path.parse("temperature"), b"0")
    spent = time.process_time() - began
    assert edited.endswith(b'"temperature":0}')
    assert spent < 0.5  # a parser in Python would take far longer than this generous bound


BUSY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""Times say nothing about the code while the machine has other work."""

scalars = st.none() | st.booleans() | st.integers() | st.text(max_size=5)
names = st.sampled_from(["a", "b", "c.d", "0", 'q"', "é"])
values = st.recursive(
    scalars,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(names, inner, max_size=3),
    max_leaves=6,
)


def escaped(name: str) -> str:
    return name.replace(".", "\\.")


@BUSY
@given(st.dictionaries(names, values, max_size=4), names, names, values, st.booleans(), st.booleans())
def test_given_any_object_when_edited_then_it_means_what_a_dictionary_would(
    document: dict[str, object], outer: str, inner: str, value: object, ascii_only: bool, spaced: bool
) -> None:
    separators = (" , ", "\t:\n") if spaced else (",", ":")
    body = json.dumps(document, ensure_ascii=ascii_only, separators=separators).encode()
    expected = json.loads(body)
    expected[outer] = value
    edited = set_value(body, Path.parse(escaped(outer)), encode(value))
    assert json.loads(edited) == expected
    if not isinstance(document.get(outer), list):
        nested = json.loads(body)
        within = nested.get(outer)
        is_index = inner == "0" and not isinstance(within, dict)
        nested[outer] = (
            [value] if is_index else {**(within if isinstance(within, dict) else {}), inner: value}
        )
        path = Path.parse(f"{escaped(outer)}.{escaped(inner)}")
        assert json.loads(set_value(body, path, encode(value))) == nested
    expected.pop(outer)
    assert json.loads(delete_value(edited, Path.parse(escaped(outer)))) == expected


def test_given_large_values_when_set_aside_then_the_rest_is_short_and_the_whole_as_it_was() -> None:
    picture, other = b'"' + b"A" * 5000 + b'"', b"[" + b"1.0, " * 2000 + b"1e400]"
    body = b'{"a" : ' + picture + b', "temperature": 1.0,"b":' + other + b',"c":' + picture + b"} tail"
    aside = SetAside.largest_of(body, frozenset({"c"}))
    assert len(aside.rest) < 5300
    assert aside.whole() == body
    aside.rest = delete_value(aside.rest, Path.parse("temperature"))
    assert aside.whole() == body.replace(b'"temperature": 1.0,', b"")


fragments = st.lists(
    st.sampled_from(
        [
            b"{",
            b"}",
            b"[",
            b"]",
            b",",
            b":",
            b'"a"',
            b'"model"',
            b'"',
            b"\\",
            b"1e400",
            b"null",
            b" ",
            b"\xff",
            b"-",
        ]
    )
    | st.binary(max_size=3),
    max_size=24,
).map(b"".join)


@BUSY
@given(fragments, st.sampled_from(["a", "a.b", "a.0", "a.-1", "a.#.b", "model", "x"]))
def test_given_any_bytes_when_edited_then_the_answer_is_an_edit_or_an_error_of_ours(
    body: bytes, key: str
) -> None:
    path = Path.parse(key)
    try:
        edited = set_value(b"{" + body, path, b"1")
        delete_value(edited, path)
    except (NotJson, EditError):
        return
    try:
        before = json.loads(b"{" + body)
    except (ValueError, UnicodeDecodeError):
        return  # a sloppy document may become anything but a crash
    assert isinstance(json.loads(edited), dict), before
