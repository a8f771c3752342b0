"""Which model a JSON body names, however badly it is written, and edits that touch nothing else."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import HealthCheck, assume, given, settings
from hypothesis import strategies as st

from swapd.http.proxy import json_fields
from swapd.http.proxy.json_fields import LONG, read_fields, replace_model


@pytest.mark.parametrize(
    ("body", "model"),
    [
        # as it should be
        (b'{"model":"m1"}', "m1"),
        (b' {"x": [1, {"y": 2}], "model" : "m1" , "z": "t"}\r\n', "m1"),
        (b'{"model":" m1 "}', " m1 "),
        (b'{"model":"a/b:c d"}', "a/b:c d"),
        (b'{"model":"\\u006d1"}', "m1"),
        (b'{"model":"\\"quoted\\" \\\\ \\n"}', '"quoted" \\ \n'),
        ('{"model":"größe"}'.encode(), "größe"),
        (b'{"model":"m\\ud83d\\ude00"}', "m\U0001f600"),
        # keys
        (b'{"\\u006dodel":"m1"}', "m1"),
        (b'{"mod\\u0065l":"m1","model":"zzz"}', "m1"),
        (b'{"model":"m1","model":"zzz"}', "m1"),
        (b'{"x":{"model":"inner"},"model":"m1"}', "m1"),
        (b'{"x":{"model":"inner"}}', ""),
        (b'{"x":["model","y"],"model":"m1"}', "m1"),
        (b'{"x":"model","model":"m1"}', "m1"),
        (b'{"model":"model"}', "model"),
        (b'{"x":"\\"model\\":\\"no\\"","model":"m1"}', "m1"),
        (b'{"x":"\\"model"}', ""),
        (b'{"Model":"m1"}', ""),
        (b'{"model ":"m1"}', ""),
        # values that are no strings
        (b'{"model":123}', "123"),
        (b'{"model":-7}', "-7"),
        (b'{"model":12345678901234567890123}', "12345678901234567890123"),
        (b'{"model":1.5}', "1.5"),
        (b'{"model":1.50}', "1.5"),
        (b'{"model":2.0}', "2"),
        (b'{"model":1e3}', "1000"),
        (b'{"model":1e400}', "1e400"),
        (b'{"model":true}', "true"),
        (b'{"model":false}', "false"),
        (b'{"model": {"a": 1} }', '{"a": 1}'),
        (b'{"model":[1, "]"]}', '[1, "]"]'),
        (b'{"model":null}', ""),
        (b'{"model":null,"model":"m1"}', ""),
        (b'{"model":""}', ""),
        # documents that are none
        (b'{"model":"m1"', "m1"),
        (b'{"model":"m1",', "m1"),
        (b'{"model":"m1","messages":[{"content":"cut o', "m1"),
        (b'{"x":1,"model":"m1"} and more', "m1"),
        (b'{"model":"m1"}{"model":"m2"}', "m1"),
        (b'\xef\xbb\xbf{"model":"m1"}', "m1"),
        (b'{"x":1 "model":"m1"}', "m1"),
        (b'{"x":1,,"model":"m1"}', "m1"),
        (b'{"x":NaN,"model":"m1"}', "m1"),
        (b'{"x":"line\nbreak","model":"m1"}', "m1"),
        (b'{"x":"\xff\xfe","model":"m1"}', "m1"),
        (b'{"model":"m\xff"}', "m�"),
        (b'{"model":"bad \\x escape"}', "bad \\x escape"),
        (b'{"model":"m1', ""),
        (b'{"model":', ""),
        (b'{"model"', ""),
        (b'{"model":m1}', ""),
        (b'{"x":{"model":"m1"', ""),
        (b'{"x":"never ends,"model":"m1"}', ""),
        (b"{model:'m1'}", ""),
        (b'["model","m1"]', ""),
        (b'"model"', ""),
        (b"not json", ""),
        (b"", ""),
        (b"{", ""),
        (b"{}", ""),
        (b"\x1f\x8b\x08compressed", ""),
    ],
)
def test_given_a_body_when_read_then_the_first_top_level_model_is_found(body: bytes, model: str) -> None:
    assert read_fields(body).model == model


@pytest.mark.parametrize(
    ("value", "stream"),
    [
        ("true", True),
        ("false", False),
        ("null", False),
        ("1", True),
        ("0", False),
        ("-0.0", False),
        ("0.5", True),
        ("1e999", True),
        ('"true"', True),
        ('"TRUE"', True),
        ('"t"', True),
        ('"1"', True),
        ('"yes"', False),
        ('""', False),
        ("[]", False),
        ('{"a":1}', False),
        ("tru", False),
    ],
)
@pytest.mark.parametrize("order", ['{"model":"m1","stream":VALUE}', '{"stream": VALUE ,"model":"m1"}'])
def test_given_a_stream_flag_when_read_then_truth_is_understood_generously(
    value: str, stream: bool, order: str
) -> None:
    fields = read_fields(order.replace("VALUE", value).encode())
    assert (fields.model, fields.stream) == ("m1", stream)


def test_given_two_stream_flags_when_read_then_the_first_counts() -> None:
    assert read_fields(b'{"stream":true,"model":"m1","stream":false}').stream
    assert not read_fields(b'{"model":"m1","stre\\u0061m":false,"stream":true}').stream


def test_given_deep_nesting_when_read_then_neither_stack_nor_patience_is_exhausted() -> None:
    deep = b"[" * 200_000 + b"]" * 200_000
    assert read_fields(b'{"x":' + deep + b',"model":"m1"}').model == "m1"
    assert read_fields(b'{"x":' + b"[" * 200_000 + b',"model":"m1"}').model == ""


def test_given_a_long_string_full_of_escapes_when_scanned_then_it_is_skipped() -> None:
    content = b'\\n\\t\\"model\\"' * 100_000
    assert read_fields(b'{"model":"m1","model":"m2","content":"' + content + b'"}').model == "m1"
    assert read_fields(b'{"content":"' + content + b'","model":"m1","model":"m2"}').model == "m1"


BUSY = settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
"""Times say nothing about the code while the machine has other work."""

names = st.sampled_from(["model", "stream", "messages", "mode", "models"])
json_values = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: (
        st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=8) | names, inner, max_size=3)
    ),
    max_leaves=8,
)
members = st.lists(st.tuples(st.text(max_size=6) | names, json_values), max_size=6)


@BUSY
@given(members, st.text(), st.integers(0, 6), st.booleans(), st.booleans(), st.text(min_size=1))
def test_given_any_document_when_edited_then_every_other_byte_stays(
    rest: list[tuple[str, object]], model: str, place: int, ascii_only: bool, spaced: bool, new: str
) -> None:
    # Given a document with `model` as one of its members, duplicates and all
    space = " \n\t" if spaced else ""
    before = [json.dumps(key, ensure_ascii=ascii_only) + f"{space}:{space}" for key, _ in rest]
    before = [
        key + json.dumps(value, ensure_ascii=ascii_only) for key, (_, value) in zip(before, rest, strict=True)
    ]
    head = [each for each, (key, _) in zip(before, rest, strict=True) if key != "model"][:place]
    tail = before[len(head) :]
    spelled = json.dumps(model, ensure_ascii=ascii_only)
    start = (
        "{" + space + "".join(each + f"{space},{space}" for each in head) + '"model"' + space + ":" + space
    )
    end = space + "".join(f",{each}" for each in tail) + "}"
    try:
        document = (start + spelled + end).encode()
    except UnicodeEncodeError:
        assume(False)

    # When it is read and its model replaced
    fields = read_fields(document)
    read = fields.model
    edited = replace_model(document, fields, new)

    # Then the value was found, and only its bytes have changed
    assert read == model
    assert (fields.model, edited[fields.start : fields.end]) == (new, msgspec.json.encode(new))
    assert edited.startswith(start.encode())
    assert edited.endswith(end.encode())
    assert json.loads(edited[len(start.encode()) : len(edited) - len(end.encode())]) == new


@BUSY
@given(members, st.text(), st.none() | st.booleans())
def test_given_a_valid_document_when_scanned_then_the_result_is_that_of_the_parser(
    rest: list[tuple[str, object]], model: str, stream: bool | None
) -> None:
    document = json.dumps(
        {"model": model, **dict(rest), **({} if stream is None else {"stream": stream})}
    ).encode()
    strict = json_fields._read_strictly(document)
    scanned = json_fields._scan(document)
    assume(strict is not None)
    assert strict is not None
    assert (strict.model, strict.stream) == (scanned.model, scanned.stream)
    assert replace_model(document, strict, "new") == replace_model(document, scanned, "new")


@pytest.mark.parametrize("place", ["first", "last", "twice"])
def test_given_a_document_of_pictures_when_read_then_what_it_says_is_found_beside_them(place: str) -> None:
    # Given megabytes of pictures, and the model before or behind them, or both
    picture = '"' + "A" * (LONG + 1) + '"'
    before = '"model": "m1", ' if place != "last" else ""
    behind = ', "model": "m2"' if place != "first" else ""
    body = f'{{{before}"messages": [{{"image": {picture}}}, {picture}], "stream": true{behind}}}'.encode()
    # When it is read
    fields = read_fields(body)
    # Then that is as right as ever
    assert (fields.model, fields.stream) == ("m2" if place == "last" else "m1", True)
    new = replace_model(body, fields, "new")
    assert new == body.replace(b'"m2"' if place == "last" else b'"m1"', b'"new"')


@BUSY
@given(st.binary(max_size=60), st.sampled_from([b"", b'{"model":', b'{"model":"m', b'{"x":', b'{"']))
def test_given_any_bytes_when_read_then_nothing_fails(noise: bytes, prefix: bytes) -> None:
    fields = read_fields(prefix + noise)
    if fields.model:
        replace_model(prefix + noise, fields, "new")


def test_given_a_truncated_document_when_edited_then_the_rest_stays_as_it_is() -> None:
    body = b'{"seed":12345678901234567890,"t":1.0,"model": "a/b" ,"x":1e400,"cut":"of'
    assert replace_model(body, read_fields(body), "real") == body.replace(b'"a/b"', b'"real"')


def test_given_a_number_as_model_when_edited_then_it_becomes_a_string() -> None:
    body = b'{"model": 7, "model": 8}'
    assert replace_model(body, read_fields(body), "m1") == b'{"model": "m1", "model": 8}'
