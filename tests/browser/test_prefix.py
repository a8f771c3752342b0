"""The whole app below a path that a proxy in front takes away."""

from __future__ import annotations

import http.client
import http.server
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import LiveDaemon, OpenWindow, demo_models, live_daemon
from tests.browser.test_pages import missing

PREFIX = "/x/y"


@contextmanager
def proxy(daemon: LiveDaemon, *, strips: bool = True) -> Iterator[str]:
    """The address of a proxy that hands `/x/y/…` on to the daemon, as `/…` if it strips, and nothing else."""
    target = urlsplit(daemon.url).netloc

    class Proxy(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            self.close_connection = True
            if not self.path.startswith(f"{PREFIX}/"):
                return self.send_error(421, "outside of the prefix")
            upstream = http.client.HTTPConnection(target, timeout=60)
            length = int(self.headers.get("Content-Length", 0))
            headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
            path = self.path[len(PREFIX) :] if strips else self.path
            upstream.request(self.command, path, self.rfile.read(length), headers)
            response = upstream.getresponse()
            self.send_response(response.status)
            for name, value in response.getheaders():
                if name.lower() not in ("connection", "transfer-encoding"):
                    self.send_header(name, value)
            self.send_header("Connection", "close")
            self.end_headers()
            try:
                while piece := response.read1(65536):
                    self.wfile.write(piece)
                    self.wfile.flush()
            except OSError:
                pass  # the browser has gone
            finally:
                upstream.close()
            return None

        do_GET = do_POST = do_PUT = do_DELETE = do_HEAD = handle_any

        def log_message(self, format: str, *args: object) -> None:
            pass

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Proxy)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}{PREFIX}/"
    finally:
        server.shutdown()
        server.server_close()


def test_u10_given_a_proxy_that_strips_a_prefix_when_used_then_everything_works_below_it(
    daemon: LiveDaemon, window: OpenWindow
) -> None:
    with proxy(daemon) as address:
        opened = window(address, expected=missing(daemon))
        page = opened.open("models")

        page.get_by_role("button", name="Load finch").click()

        expect(page.locator('li[data-model="finch"]')).to_contain_text("ready")
        for route, title in (("logs", "Logs"), ("config", "Config"), ("playground", "Playground")):
            opened.open(route)
            expect(page.get_by_role("heading", level=1, name=title)).to_be_visible()
        page.get_by_role("textbox", name="Message").fill("hi")
        page.keyboard.press("Enter")
        expect(page.get_by_role("button", name="Ask again")).to_be_visible()
        page.goto("about:blank")


@pytest.mark.parametrize("strips", [True, False], ids=["stripping", "not stripping"])
def test_u10_given_a_base_path_when_opened_at_its_root_then_redirects_and_the_session_stay_below_it(
    strips: bool, tmp_path: Path, window: OpenWindow
) -> None:
    keys = "apiKeys:\n  - {key: the-owner, name: owner, admin: true}\n"
    with (
        live_daemon(tmp_path, demo_models() + keys, "--base-path", PREFIX) as daemon,
        proxy(daemon, strips=strips) as address,
    ):
        opened = window(address, expected=missing(daemon))
        page = opened.page

        page.goto(address)

        assert page.url.startswith(f"{address}ui/")
        page.get_by_label("API key").fill("the-owner")
        page.get_by_role("button", name="Sign in").click()
        expect(page.locator('li[data-model="owl"]')).to_be_visible()
        (cookie,) = opened.context.cookies()
        assert cookie["path"] == f"{PREFIX}/"
        page.goto(f"{address}ui/models")
        assert page.url == f"{address}ui/#/models"
        expect(page.locator('li[data-model="owl"]')).to_be_visible()
        opened.open("settings").get_by_role("button", name="Sign out").click()
        expect(page.get_by_label("API key")).to_be_visible()
        assert opened.context.cookies() == []


def test_given_no_ui_when_its_places_are_asked_for_then_the_rest_works(
    tmp_path: Path,
) -> None:
    with live_daemon(tmp_path, demo_models(), "--no-ui") as daemon, daemon.client() as client:
        answers = {
            path: client.get(path, headers={"Accept": "text/html"}).status_code
            for path in ("/", "/ui", "/ui/", "/ui/models", "/upstream", "/logs", "/v1/models", "/health")
        }

    assert answers == {
        "/": 404, "/ui": 404, "/ui/": 404, "/ui/models": 404, "/upstream": 404,
        "/logs": 200, "/v1/models": 200, "/health": 200,
    }  # fmt: skip


def test_given_a_title_theme_and_page_in_the_configuration_when_first_opened_then_the_page_has_them(
    tmp_path: Path, window: OpenWindow
) -> None:
    named = "ui: {title: 'Attic <b>\"1\"</b>', theme: dark, defaultPage: activity}\n"
    with live_daemon(tmp_path, demo_models() + named) as daemon:
        page = window(daemon.url, expected=missing(daemon)).page

        page.goto(f"{daemon.url}/ui/")

        expect(page.get_by_role("heading", level=1, name="Activity")).to_be_visible()
        expect(page.get_by_role("button", name='Attic <b>"1"</b>')).to_be_visible()
        expect(page).to_have_title('🟢 Attic <b>"1"</b>')
        assert page.evaluate("document.documentElement.dataset.theme") == "dark"
        page.get_by_role("button", name="Appearance").click()
        page.goto(f"{daemon.url}/ui/#/settings")
        page.reload()
        assert page.evaluate("document.documentElement.dataset.theme") == "light", "their choice counts"
