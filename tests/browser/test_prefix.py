"""The whole app below a path that a proxy in front takes away."""

from __future__ import annotations

import http.client
import http.server
import threading
from collections.abc import Iterator
from urllib.parse import urlsplit

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import LiveDaemon, OpenWindow
from tests.browser.test_pages import missing

PREFIX = "/x/y"


@pytest.fixture
def proxied(daemon: LiveDaemon) -> Iterator[str]:
    """The address of a proxy that hands `/x/y/…` on to the daemon as `/…`, and nothing else."""
    target = urlsplit(daemon.url).netloc

    class Stripping(http.server.BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def handle_any(self) -> None:
            self.close_connection = True
            if not self.path.startswith(f"{PREFIX}/"):
                return self.send_error(421, "outside of the prefix")
            upstream = http.client.HTTPConnection(target, timeout=60)
            length = int(self.headers.get("Content-Length", 0))
            headers = {name: value for name, value in self.headers.items() if name.lower() != "connection"}
            upstream.request(self.command, self.path[len(PREFIX) :], self.rfile.read(length), headers)
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

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Stripping)
    server.daemon_threads = True
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}{PREFIX}/"
    server.shutdown()
    server.server_close()


def test_u10_given_a_proxy_that_strips_a_prefix_when_used_then_everything_works_below_it(
    daemon: LiveDaemon, window: OpenWindow, proxied: str
) -> None:
    opened = window(proxied, expected=missing(daemon))
    page = opened.open("models")

    page.get_by_role("button", name="Load finch").click()

    expect(page.locator('li[data-model="finch"]')).to_contain_text("ready")
    for route, title in (("logs", "Logs"), ("config", "Config"), ("playground", "Playground")):
        opened.open(route)
        expect(page.get_by_role("heading", level=1, name=title)).to_be_visible()
    page.get_by_role("textbox", name="Message").fill("hi")
    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Ask again")).to_be_visible()
