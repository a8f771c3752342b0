"""Multipart forms: fields are found wherever the pieces are cut, and replaced without touching the rest."""

from __future__ import annotations

import random
from hashlib import sha256

import pytest

from swapd.http.proxy.multipart import MAX_VALUE, Form, FormScanner, Malformed, Spool

TYPE = b'multipart/form-data; boundary="Xy-z"'

BODY = (
    b'--Xy-z\r\nContent-Disposition: form-data; name="file"; filename="a.wav"\r\n'
    b"Content-Type: audio/wav\r\nX-Own: 1\r\n\r\n\r\n--Xy\r\n--Xy-\x00\xff\r\n\r\n"
    b'--Xy-z\r\ncontent-disposition: form-data; name="model"\r\n\r\nm1\r\n'
    b'--Xy-z\r\nContent-Disposition: form-data; name="empty"\r\n\r\n\r\n'
    b'--Xy-z\r\nContent-Disposition: form-data; name="stream"\r\n\r\ntrue\r\n'
    b"--Xy-z\r\nContent-Disposition: form-data; name=model\r\n\r\n\r\n-second\r\n--Xy-z--\r\nepilogue"
)


async def form_of(pieces: list[bytes], content_type: bytes = TYPE, limit: int = 1 << 20) -> Form:
    scanner, spool = FormScanner.for_content_type(content_type, ("model", "stream")), Spool(limit)
    try:
        for piece in pieces:
            scanner.feed(piece)
            await spool.add(piece)
        scanner.finish()
        if spool.on_disk:
            await spool.flush()
    except BaseException:
        spool.close()
        raise
    return Form(spool, scanner.fields)


async def content(form: Form) -> bytes:
    if not form.spool.on_disk:
        return form.as_bytes()
    return b"".join([piece async for piece in form.pieces()])


@pytest.mark.parametrize("size", [1, 2, 3, 5, 7, 16, 61, 4096])
@pytest.mark.parametrize("limit", [1 << 20, 100])
async def test_given_a_form_in_pieces_when_read_then_fields_and_places_are_right(
    size: int, limit: int
) -> None:
    pieces = [BODY[start : start + size] for start in range(0, len(BODY), size)]
    form = await form_of(pieces, limit=limit)
    try:
        assert (form.value("model"), form.value("stream"), form.value("file")) == ("m1", "true", None)
        for field in form.fields:
            assert BODY[field.start : field.end] == field.value
        assert [field.value for field in form.fields] == [b"m1", b"true", b"\r\n-second"]
        assert await content(form) == BODY
        form.replace("model", "a longer näme")
        new = "a longer näme".encode()
        expected = BODY.replace(b"\r\n\r\nm1\r\n", b"\r\n\r\n" + new + b"\r\n").replace(b"\r\n-second", new)
        assert await content(form) == expected
        assert form.length == len(expected)
        assert await content(form) == expected  # it can be sent again
    finally:
        form.close()


async def test_given_boundaries_that_almost_match_when_cut_anywhere_then_places_are_right() -> None:
    chance = random.Random(7)
    for _ in range(300):
        noise = b"".join(
            chance.choice([b"\r", b"\n", b"-", b"--", b"\r\n--X", b"\r\n--Xy-", b"q"]) for _ in range(9)
        )
        body = (
            b'--Xy-z\r\nContent-Disposition: form-data; name="model"\r\n\r\nv' + noise + b"\r\n"
            b'--Xy-z\r\nContent-Disposition: form-data; name="x"\r\n\r\n' + noise + b"\r\n--Xy-z--\r\n"
        )
        cuts = sorted(chance.sample(range(1, len(body)), 6))
        pieces = [body[start:end] for start, end in zip([0, *cuts], [*cuts, len(body)], strict=True)]
        form = await form_of(pieces)
        (field,) = form.fields
        assert field.value == b"v" + noise
        assert body[field.start : field.end] == field.value
        form.close()


async def test_given_a_large_form_when_read_then_it_is_on_disk_and_comes_back_whole() -> None:
    upload = random.Random(1).randbytes(3_000_000)
    head, tail = BODY.split(b"\r\n--Xy\r\n", 1)
    body = head + upload + b"\r\n--Xy\r\n" + tail
    form = await form_of([body[start : start + 65536] for start in range(0, len(body), 65536)], limit=500_000)
    try:
        assert form.spool.on_disk
        form.replace("model", "m1")
        digest = sha256()
        largest = 0
        async for piece in form.pieces():
            digest.update(piece)
            largest = max(largest, len(piece))
        assert digest.digest() == sha256(body.replace(b"\r\n-second", b"m1")).digest()
        assert largest <= 256 * 1024
    finally:
        form.close()


@pytest.mark.parametrize(
    ("content_type", "body"),
    [
        (b"multipart/form-data", BODY),
        (b"multipart/form-data; boundary=", BODY),
        (b"multipart/form-data; boundary=" + b"x" * 1000, BODY),
        (b"multipart/form-data; boundary=other", BODY),
        (TYPE, b""),
        (TYPE, BODY[:-30]),
        (TYPE, BODY[:300]),
        (TYPE, b"--Xy-z"),
        (TYPE, b"--Xy-z\r\nContent-Disposition"),
        (TYPE, b"--Xy-zz\r\n"),
        (TYPE, b"preamble"),
        (TYPE, b"--Xy-z\r\nbad header\x00: 1\r\n\r\nx\r\n--Xy-z--"),
        (TYPE, b"--Xy-z\r\nA: " + b"y" * 20_000 + b"\r\n\r\nx\r\n--Xy-z--"),
        (TYPE, b"--Xy-z\r\n" + b"A: 1\r\n" * 100 + b"\r\nx\r\n--Xy-z--"),
        (
            TYPE,
            b'--Xy-z\r\nContent-Disposition: form-data; name="model"\r\n\r\n'
            + b"m" * (MAX_VALUE + 1)
            + b"\r\n--Xy-z--",
        ),
    ],
)
async def test_given_no_form_when_read_then_that_is_said(content_type: bytes, body: bytes) -> None:
    with pytest.raises(Malformed):
        await form_of([body], content_type)


async def test_given_a_file_named_model_when_read_then_it_is_not_the_models_name() -> None:
    body = (
        b'--Xy-z\r\nContent-Disposition: form-data; name="model"; filename="m1"\r\n\r\nm1\r\n'
        b'--Xy-z\r\nContent-Disposition: attachment; name="model"\r\n\r\nm2\r\n--Xy-z--\r\n'
    )
    form = await form_of([body])
    assert form.value("model") is None
    form.close()
