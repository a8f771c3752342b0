"""nginx in front of swapd, as docs/operating.md has it."""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest
import trio

from swapd.testing.daemon import upstream_command
from swapd.testing.fixtures import StartDaemon
from swapd.testing.ports import free_port, is_free
from tests.documents import ROOT, blocks
from tests.real.daemons import PATIENCE_S, load, until
from tests.setups import chat, config, error

NGINX = shutil.which("nginx", path="/usr/sbin:/usr/bin:/usr/local/sbin:/usr/local/bin")

pytestmark = [
    pytest.mark.real,
    pytest.mark.skipif(NGINX is None, reason="needs nginx (Debian: nginx-light)"),
]

KEY = "a-key"
NAME = "llm.example.net"


def page() -> str:
    """The server block of the page."""
    [block] = [b for b in blocks(ROOT / "docs" / "operating.md") if b.language == "nginx"]
    return block.text


@contextmanager
def nginx(directory: Path, server: str, swapd: str) -> Iterator[str]:
    """nginx with that server block, in front of that swapd; yields its address."""
    assert NGINX is not None
    port = free_port()
    server = server.replace("listen 80;", f"listen 127.0.0.1:{port};").replace("http://127.0.0.1:8080", swapd)
    places = "".join(
        f"{kind}_temp_path {directory}/{kind};\n"
        for kind in ("client_body", "proxy", "fastcgi", "uwsgi", "scgi")
    )
    (directory / "nginx.conf").write_text(
        f"daemon off; pid {directory}/pid; error_log stderr;\n"
        f"events {{}}\nhttp {{ access_log off;\n{places}{server}}}\n"
    )
    process = subprocess.Popen(
        [NGINX, "-p", str(directory), "-e", "stderr", "-c", str(directory / "nginx.conf")]
    )
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(20)


def client(url: str) -> httpx.AsyncClient:
    return httpx.AsyncClient(base_url=url, timeout=PATIENCE_S, trust_env=False, headers={"Host": NAME})


def is_there(url: str) -> bool:
    return not is_free(httpx.URL(url).port or 80)


async def test_given_the_proxy_of_the_page_then_streams_come_as_they_are_made(
    daemon: StartDaemon, tmp_path: Path
) -> None:
    running = await daemon(config({"owl": upstream_command("--hold", "--hold-after", "1")}))
    with nginx(tmp_path, page(), running.url) as url:
        await until(lambda: is_there(url))
        async with (
            client(url) as browser,
            browser.stream("POST", "/v1/chat/completions", json=chat("owl", stream=True)) as answer,
        ):
            parts = answer.aiter_text()
            # The first words are there while the model is still held
            with trio.fail_after(PATIENCE_S):
                assert "data: {" in await anext(parts)
            async with running.upstream("owl") as owl:
                await owl.release()
            rest = "".join([part async for part in parts])
            assert rest.endswith("data: [DONE]\n\n")


async def test_given_a_proxy_that_keeps_the_name_then_one_can_sign_in_and_with_another_name_not(
    daemon: StartDaemon, tmp_path: Path
) -> None:
    running = await daemon(config({"owl": upstream_command()}, apiKeys=[KEY]))
    # A browser without HTTPS tells where the page is from, and nothing else
    page_of = {"Origin": f"http://{NAME}"}
    with nginx(tmp_path, page(), running.url) as url:
        await until(lambda: is_there(url))
        async with client(url) as browser:
            answer = await browser.post("/api/session", json={"key": KEY}, headers=page_of)
            assert answer.status_code == 200, answer.text
    # When the proxy puts its own name there
    renaming = re.sub(r"proxy_set_header Host .*;", "proxy_set_header Host backend;", page())
    (tmp_path / "renaming").mkdir()
    with nginx(tmp_path / "renaming", renaming, running.url) as url:
        await until(lambda: is_there(url))
        async with client(url) as browser:
            # Then it is answered as the page says; unless the browser says more, as it does over HTTPS
            answer = await browser.post("/api/session", json={"key": KEY}, headers=page_of)
            assert (answer.status_code, error(answer)["code"]) == (403, "cross_site")
            secure = {**page_of, "Sec-Fetch-Site": "same-origin"}
            answer = await browser.post("/api/session", json={"key": KEY}, headers=secure)
            assert answer.status_code == 200


async def test_given_no_keys_then_the_proxys_name_has_to_be_allowed(
    daemon: StartDaemon, tmp_path: Path
) -> None:
    models = {"owl": upstream_command()}
    for allowed, status in (([], 403), ([NAME], 200)):
        running = await daemon(config(models, ui={"allowedHosts": allowed}))
        await load(running, "owl")
        directory = tmp_path / str(status)
        directory.mkdir()
        with nginx(directory, page(), running.url) as url:
            await until(lambda: is_there(url))
            async with client(url) as browser:
                assert (await browser.get("/api/models")).status_code == status
                assert (await browser.get("/v1/models")).status_code == 200
