"""JSON documents in every spelling, read and edited, and held against a plain tree of pairs."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from swapd.http.proxy.json_edit import EditError, NotJson, Path, SetAside, delete_value, encode, set_value
from swapd.http.proxy.json_fields import read_fields, replace_model

SHORT = settings(max_examples=300, deadline=None, suppress_health_check=[HealthCheck.too_slow])

NAMES = st.sampled_from(["model", "stream", "a", "b", "", "ü", "a.b", "0", "#", "-1", 'q"', "\\", "\n"])
SPACE = st.sampled_from(["", "", "", " ", "\n\t", "\r\n  "])
NUMBERS = st.sampled_from(["0", "-0", "1.0", "1e400", "12345678901234567890", "1E+2", "0.10", "-1e-400"])


class Spelled(str):
    """A scalar as it is spelled: two are the same only if their spelling is."""


Tree = list[Any] | tuple[Any, ...] | Spelled
"""An object is a list of pairs, an array a tuple."""


@st.composite
def strings(draw: st.DrawFn, text: st.SearchStrategy[str]) -> str:
    spelled = json.dumps(draw(text), ensure_ascii=draw(st.booleans()))
    if "\\" not in spelled and draw(st.integers(0, 3)) == 0:  # one letter as an escape
        spelled = spelled.replace("o", "\\u006f", 1).replace("a", "\\u0061", 1)
    return spelled


@st.composite
def documents(draw: st.DrawFn, depth: int = 3) -> str:
    """The text of any JSON value."""
    kind = draw(st.sampled_from("oa" if depth == 3 else "oasnt" if depth else "snt"))
    space = [draw(SPACE) for _ in range(4)]
    if kind == "s":
        return draw(strings(st.text(max_size=5)))
    if kind == "n":
        return draw(NUMBERS)
    if kind == "t":
        return draw(st.sampled_from(["true", "false", "null"]))
    inner = [draw(documents(depth - 1)) for _ in range(draw(st.integers(0, 3)))]
    if kind == "a":
        return f"[{space[0]}" + f"{space[1]},{space[2]}".join(inner) + f"{space[3]}]"
    members = [f"{draw(strings(NAMES))}{space[0]}:{space[1]}{value}" for value in inner]
    return f"{{{space[2]}" + f"{space[3]},{space[0]}".join(members) + f"{space[1]}}}"


def tree(body: bytes) -> Tree:
    """What a document is, duplicates and spelling included. Raises `ValueError`."""

    def convert(value: Any) -> Any:
        if isinstance(value, list) and not isinstance(value, _Pairs):
            return tuple(convert(item) for item in value)
        if isinstance(value, _Pairs):
            return [(name, convert(inner)) for name, inner in value]
        return value if isinstance(value, Spelled) else Spelled(json.dumps(value))

    return convert(  # type: ignore[no-any-return]
        json.loads(body, object_pairs_hook=_Pairs, parse_int=Spelled, parse_float=Spelled)
    )


class _Pairs(list[Any]):
    """The members of an object."""


def with_value(value: Tree, path: tuple[str, ...], new: Tree) -> Tree:
    """`value` after a set; what stands on the way and is no container is replaced by an object."""
    if not path:
        return new
    name, *rest = path
    pairs = list(value) if isinstance(value, list) else []
    for index, (key, inner) in enumerate(pairs):
        if key == name:
            pairs[index] = (key, with_value(inner, tuple(rest), new))
            return pairs
    return [*pairs, (name, with_value([], tuple(rest), new))]


def without(value: Tree, path: tuple[str, ...]) -> Tree:
    """`value` after a deletion."""
    if not isinstance(value, list):
        return value
    name, *rest = path
    for index, (key, inner) in enumerate(value):
        if key == name:
            if not rest:
                return [*value[:index], *value[index + 1 :]]
            return [*value[:index], (key, without(inner, tuple(rest))), *value[index + 1 :]]
    return value


def meets_array(value: Tree, path: tuple[str, ...]) -> bool:
    """Whether a path leads into an array, where elements mean something else."""
    for name in path:
        if isinstance(value, tuple):
            return True
        value = next((inner for key, inner in value if key == name), []) if isinstance(value, list) else []
    return False


PLAIN = st.sampled_from(["model", "stream", "a", "b", "ü", "a.b", "x y", 'q"', "new"])


@SHORT
@given(
    documents(), st.lists(PLAIN, min_size=1, max_size=3), st.sampled_from(["1.50", '"é"', "[1,{}]", "null"])
)
def test_an_edit_does_what_it_would_do_to_a_tree_and_nothing_else(
    text: str, path: list[str], new: str
) -> None:
    # Given a document in any spelling, and a place in it
    body = text.encode("utf-8", "replace")
    before = tree(body)
    assume(isinstance(before, list) and not meets_array(before, tuple(path)))
    key = Path.parse(".".join(name.replace(".", "\\.") for name in path))
    # When something is set there, and taken away again
    changed = set_value(body, key, new.encode())
    gone = delete_value(body, key)
    # Then exactly that has changed
    assert tree(changed) == with_value(before, tuple(path), tree(new.encode()))
    assert tree(gone) == without(before, tuple(path))


@SHORT
@given(documents(), st.lists(st.tuples(PLAIN, PLAIN), max_size=3), st.integers(0, 12), st.booleans())
def test_edits_beside_values_that_were_set_aside_come_to_the_same(
    text: str, places: list[tuple[str, str]], above: int, deleting: bool
) -> None:
    # Given a document, and some places in it
    body = text.encode("utf-8", "replace")
    assume(body.lstrip().startswith(b"{"))
    paths = [Path((outer, inner), has_pattern=False) for outer, inner in places]
    # When they are edited in the document, and in what is left of it without its larger values
    document = SetAside.largest_of(body, frozenset(path.elements[0] for path in paths), above)
    try:
        for path in paths:
            body = delete_value(body, path) if deleting else set_value(body, path, b"1.50")
    except EditError:
        return
    for path in paths:
        rest = document.rest
        document.rest = delete_value(rest, path) if deleting else set_value(rest, path, b"1.50")
    # Then both have become the same
    assert document.whole() == body


@SHORT
@given(documents(), st.sampled_from(["m1", "a/b", 'q"', "ü\u2028", ""]))
def test_a_model_is_read_and_replaced_where_it_stands_first(text: str, new: str) -> None:
    # Given a document
    body = text.encode("utf-8", "replace")
    parsed = tree(body)
    # When it is asked for its model, and that replaced
    fields = read_fields(body)
    named = [value for key, value in parsed if key == "model"] if isinstance(parsed, list) else []
    if not fields.model:
        return
    edited = tree(replace_model(body, fields, new))
    # Then the first counts, and all else stays
    assert isinstance(parsed, list)
    first = named[0]
    if isinstance(first, Spelled) and first.startswith('"'):
        assert json.loads(first) == read_fields(body).model
    assert edited == with_value(parsed, ("model",), Spelled(json.dumps(new)))


@SHORT
@given(
    documents(),
    st.lists(st.tuples(st.integers(0, 200), st.integers(0, 255)), max_size=3),
    st.integers(0, 200),
    st.text("ab#.-10\\*|", max_size=6),
)
def test_a_damaged_document_never_fails_in_another_way_than_it_may(
    text: str, changes: list[tuple[int, int]], length: int, key: str
) -> None:
    # Given a document that is broken, or cut short, and any path
    data = bytearray(text.encode("utf-8", "replace"))
    for place, byte in changes:
        data[place % len(data)] = byte
    body = bytes(data[:length])
    # When it is read and edited
    fields = read_fields(body)
    if fields.model:
        replace_model(body, fields, "new")
    path = Path.parse(key)
    for edit in (lambda: set_value(body, path, encode(1)), lambda: delete_value(body, path)):
        # Then that works or is said not to
        try:
            edit()
        except (EditError, NotJson):
            pass
