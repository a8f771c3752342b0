"""A real daemon with quick models, and the system's Chromium looking at it.

These tests are plain functions: Playwright's synchronous interface has a loop of its own. A test that leaves
a console error, or whose page asks another host for anything, fails.
"""

from __future__ import annotations

import os
import re
import shutil
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import IO
from urllib.parse import urlsplit

import httpx
import pytest
from attrs import define, field
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect, sync_playwright

from swapd.http.api.static import BUILT, INDEX
from swapd.testing.daemon import upstream_command
from swapd.testing.ports import free_ports

SIZES = {"desktop": (1280, 800), "phone": (390, 844)}
TABS = ("chat", "images", "speech", "transcription", "rerank", "embeddings", "load")
PAGES = (
    *("models", "models/owl", "activity", "logs", "performance", "hardware", "config", "settings"),
    *(f"playground/{tab}" for tab in TABS),
)
START_LIMIT_S = 30
AXE = Path(__file__).parents[2] / "ui" / "node_modules" / "axe-core" / "axe.min.js"

expect.set_options(timeout=20_000)  # on a machine that is busy with other tests

_FLAGS = [
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
]


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    for item in items:
        if Path(__file__).parent in item.path.parents:
            item.add_marker(pytest.mark.browser)


def until(page: Page, condition: str) -> None:
    """Wait until a JavaScript expression is true, looking once a frame.

    Unlike `wait_for_function` it evaluates no string in the page, which our policy would forbid. Raises
    playwright's Error after twenty seconds.
    """
    page.evaluate(
        f"""() => new Promise((done, failed) => {{
            const late = setTimeout(() => failed(new Error({condition!r} + " did not come true")), 20000);
            const look = () => {{
                if (!({condition})) return void requestAnimationFrame(look);
                clearTimeout(late);
                done();
            }};
            look();
        }})"""
    )


@define
class LiveDaemon:
    """A `swapd serve` that is there; `write` changes its configuration file."""

    url: str
    process: subprocess.Popen[str]
    config: Path

    def client(self) -> httpx.Client:
        return httpx.Client(base_url=self.url, timeout=30, trust_env=False)

    def offers(self, path: str) -> bool:
        """Whether the daemon has this route."""
        with self.client() as client, client.stream("GET", path) as response:
            return response.status_code not in (404, 405)

    def stop(self) -> None:
        self.process.send_signal(signal.SIGTERM)
        self.process.wait(timeout=20)


StartDaemon = Callable[..., LiveDaemon]


@contextmanager
def live_daemon(
    directory: Path, config: str, *arguments: str, listen: str = "127.0.0.1:0"
) -> Iterator[LiveDaemon]:
    """A daemon with this configuration for the length of the block."""
    directory.mkdir(parents=True, exist_ok=True)
    file = directory / "config.yaml"
    file.write_text(f"startPort: {free_ports(20)}\n{config}")
    words = [sys.executable, "-m", "swapd", "serve", "--config", str(file), "--listen", listen, *arguments]
    environment = {name: value for name, value in os.environ.items() if not name.startswith("SWAPD_")}
    environment |= {
        "XDG_STATE_HOME": str(directory),
        "XDG_RUNTIME_DIR": str(directory),
        "PYTHONUNBUFFERED": "1",
    }
    process = subprocess.Popen(
        words, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, env=environment
    )
    try:
        yield LiveDaemon(_address(process), process, file)
    finally:
        if process.poll() is None:
            process.send_signal(signal.SIGTERM)
        try:
            process.wait(timeout=20)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        assert process.stdout is not None
        process.stdout.close()


def _address(process: subprocess.Popen[str]) -> str:
    """Where it listens, as it says; what it prints after that is read and dropped."""
    assert process.stdout is not None
    printed = ""
    timer = threading.Timer(START_LIMIT_S, process.kill)
    timer.start()
    try:
        for line in process.stdout:
            printed += line
            if match := re.search(r"listening on (https?://[^\s/]+)", line):
                threading.Thread(target=_drain, args=(process.stdout,), daemon=True).start()
                return match[1]
    finally:
        timer.cancel()
    raise RuntimeError(f"the daemon did not start:\n{printed}")


def _drain(output: IO[str]) -> None:
    with suppress(ValueError):  # closed, which happens after the end of the process
        for _ in output:
            pass


def demo_models(*extra: str) -> str:
    """Three models as `swapd demo --fake` has them, and what a test adds."""
    return "\n".join(
        [
            "models:",
            f"  owl: {{description: a chat model, aliases: [gpt-4o], ttl: 300, cmd: '{_command('owl')}'}}",
            f"  wren: {{cmd: '{_command('wren')}'}}",
            f"  finch: {{cmd: '{_command('finch')}'}}",
            *extra,
            "",
        ]
    )


def _command(name: str, *flags: str) -> str:
    return upstream_command("--model", name, "--load", "300ms", "--tps", "60", *flags)


@pytest.fixture(scope="module")
def daemon(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveDaemon]:
    with live_daemon(tmp_path_factory.mktemp("daemon"), demo_models(), "--watch-config") as running:
        yield running


def chromium_path() -> str | None:
    return os.environ.get("CHROMIUM") or shutil.which("chromium") or shutil.which("chromium-browser")


@contextmanager
def browser(path: str) -> Iterator[Browser]:
    with sync_playwright() as playwright:
        running = playwright.chromium.launch(executable_path=path, args=_FLAGS)
        yield running
        running.close()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    path = chromium_path()
    if path is None:
        pytest.skip("no Chromium: install it, or name it with CHROMIUM=/path")
    if not (BUILT / INDEX).exists():
        pytest.skip("the web UI is not built: make ui")
    with browser(path) as running:
        yield running


@define
class Watch:
    """What went wrong in a page: console errors, errors nobody caught, requests to other hosts.

    `expected` are the paths whose refusal the browser may report; nothing else is forgiven.
    """

    origin: str
    expected: set[str] = field(factory=set)
    troubles: list[str] = field(factory=list)

    def follow(self, page: Page) -> None:
        page.on("console", lambda message: self._said(message))
        page.on("pageerror", lambda error: self.troubles.append(f"uncaught: {error}"))
        page.on("request", lambda request: self._asked(request.url))

    def _said(self, message: ConsoleMessage) -> None:
        refused = urlsplit(message.location.get("url", "")).path
        if message.type in ("error", "warning") and not any(refused.endswith(path) for path in self.expected):
            self.troubles.append(f"{message.type}: {message.text} ({refused})")

    def _asked(self, url: str) -> None:
        if not url.startswith((self.origin, "data:", "blob:")):
            self.troubles.append(f"asked {url}")


@define
class Window:
    """A browser window at one address."""

    context: BrowserContext
    page: Page
    watch: Watch
    base: str

    def open(self, route: str = "models") -> Page:
        self.page.goto(f"{self.base}ui/#/{route}")
        return self.page

    def another(self) -> Page:
        """A second tab of the same person."""
        page = self.context.new_page()
        self.watch.follow(page)
        return page


OpenWindow = Callable[..., Window]


@pytest.fixture
def window(chromium: Browser) -> Iterator[OpenWindow]:
    """`window(url, size="phone", scheme="dark")` opens one, which must have seen no trouble by the end."""
    opened: list[Window] = []

    def open_window(
        base: str, *, size: str = "desktop", scheme: str = "light", expected: tuple[str, ...] = ()
    ) -> Window:
        width, height = SIZES[size]
        context = chromium.new_context(
            viewport={"width": width, "height": height},
            color_scheme="dark" if scheme == "dark" else "light",
            reduced_motion="reduce",
        )
        context.set_default_timeout(15_000)
        page = context.new_page()
        watch = Watch(base, set(expected))
        watch.follow(page)
        opened.append(Window(context, page, watch, base if base.endswith("/") else f"{base}/"))
        return opened[-1]

    yield open_window
    troubles = [trouble for each in opened for trouble in each.watch.troubles]
    for each in opened:
        each.context.close()
    assert troubles == []
