"""The files of the web UI: what is served, how it is kept, and that nothing else is."""

from __future__ import annotations

import gzip
from pathlib import Path

import pytest

from swapd.http.record import RECORD
from tests.unit.http.api.world import Answer, World, no_body, scope_of

SCRIPT = b"console.log('swapd');\n" * 100


@pytest.fixture(autouse=True)
def bundle(ui_files: Path) -> None:
    (ui_files / "assets").mkdir()
    (ui_files / "index.html").write_bytes(b"<!doctype html><title>swapd</title>")
    (ui_files / "favicon.svg").write_bytes(b"<svg/>")
    script = ui_files / "assets" / "index-abc123.js"
    script.write_bytes(SCRIPT)
    script.with_suffix(".js.gz").write_bytes(gzip.compress(SCRIPT))
    script.with_suffix(".js.br").write_bytes(b"as if it were brotli")
    (ui_files.parent / "secret.txt").write_text("not part of the UI")


async def test_given_the_page_when_opened_then_it_is_checked_each_time_and_only_our_scripts_run(
    world: World,
) -> None:
    answer = await world.get("/ui/")

    assert (answer.status, answer.headers["content-type"]) == (200, "text/html; charset=utf-8")
    assert answer.body == b"<!doctype html><title>swapd</title>"
    assert answer.headers["cache-control"] == "no-cache"
    policy = answer.headers["content-security-policy"]
    assert "script-src 'self';" in policy
    assert "frame-ancestors 'self'" in policy
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert answer.headers["referrer-policy"] == "same-origin"


async def test_given_a_hashed_file_when_fetched_then_it_may_be_kept_for_ever(world: World) -> None:
    answer = await world.get("/ui/assets/index-abc123.js")

    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
    assert answer.headers["cache-control"] == "public, max-age=31536000, immutable"
    assert answer.body == SCRIPT


@pytest.mark.parametrize(
    ("accepted", "coding"),
    [
        ("gzip, deflate, br, zstd", "br"),
        ("gzip", "gzip"),
        ("br;q=0, gzip;q=0.5", "gzip"),
        ("identity", None),
        ("", None),
    ],
)
async def test_given_compressed_copies_when_fetched_then_the_best_that_is_accepted_is_sent(
    world: World, accepted: str, coding: str | None
) -> None:
    answer = await world.get("/ui/assets/index-abc123.js", {"Accept-Encoding": accepted})

    assert answer.headers.get("content-encoding") == coding
    assert answer.headers["vary"] == "Accept-Encoding"
    assert answer.headers["content-type"] == "text/javascript; charset=utf-8"
    assert len(answer.body) == int(answer.headers["content-length"])


async def test_given_a_copy_that_is_current_when_asked_again_then_it_is_not_sent_again(world: World) -> None:
    for path in ("/ui/", "/ui/assets/index-abc123.js"):
        etag = (await world.get(path, {"Accept-Encoding": "br"})).headers["etag"]

        again = await world.get(path, {"Accept-Encoding": "br", "If-None-Match": f'"other", W/{etag}'})

        assert (again.status, again.body, again.headers["etag"]) == (304, b"", etag)


async def test_given_a_range_when_asked_for_then_only_that_part_of_the_file_itself_is_sent(
    world: World,
) -> None:
    answer = await world.get("/ui/assets/index-abc123.js", {"Range": "bytes=0-6", "Accept-Encoding": "br"})

    assert (answer.status, answer.body) == (206, b"console")
    assert "content-encoding" not in answer.headers


async def test_given_a_file_when_only_its_head_is_asked_for_then_no_body_comes(world: World) -> None:
    answer = await world.call("HEAD", "/ui/assets/index-abc123.js")

    assert (answer.status, answer.body) == (200, b"")
    assert answer.headers["content-length"] == str(len(SCRIPT))


@pytest.mark.parametrize(
    "path",
    [
        "/ui/..%2Fsecret.txt",
        "/ui/%2e%2e/secret.txt",
        "/ui/assets/..%2F..%2Fsecret.txt",
        "/ui/%2Fetc%2Fpasswd.txt",
        "/ui/assets/index-abc123.js.gz",
        "/ui/assets%2F..%2Findex.html",
        "/ui/index.html%00.js",
    ],
)
async def test_given_a_path_that_leads_elsewhere_when_fetched_then_it_is_not_found(
    world: World, path: str
) -> None:
    answer = await world.get(path)

    assert answer.status == 404
    assert b"not part" not in answer.body


async def test_given_a_deep_path_when_opened_then_it_goes_to_its_hash_route(world: World) -> None:
    answer = await world.get("/ui/models/owl")

    assert (answer.status, answer.headers["location"]) == (302, "/ui/#/models/owl")


async def test_given_a_browser_that_looks_for_an_icon_then_it_gets_ours(world: World) -> None:
    answer = await world.get("/favicon.ico")

    assert (answer.status, answer.headers["content-type"]) == (200, "image/svg+xml")


async def test_given_a_file_when_served_then_status_and_size_are_noted_down(world: World) -> None:
    scope = scope_of("GET", "/ui/assets/index-abc123.js")

    await world.app(scope, no_body, Answer().take)

    assert (scope[RECORD].status, scope[RECORD].bytes_sent) == (200, len(SCRIPT))
