"""Every page, at both sizes and in both themes: it renders, is quiet, and shuts nobody out."""

from __future__ import annotations

import gzip
import re

import pytest

from swapd.http.api.static import BUILT, INDEX
from tests.browser.conftest import AXE, PAGES, LiveDaemon, OpenWindow, until

API = (
    "/api/session",
    "/api/metrics/activity",
    "/api/metrics/stats",
    "/api/performance",
    "/api/hardware",
    "/api/config/effective",
)
"""What the pages ask for beyond the events; where a daemon lacks one, its page says so."""

FIRST_PAGE_BYTES = 150 * 1024
WHOLE_BYTES = 4 * 1024 * 1024


def missing(daemon: LiveDaemon) -> tuple[str, ...]:
    return tuple(path for path in API if not daemon.offers(path))


@pytest.mark.parametrize("scheme", ["light", "dark"])
@pytest.mark.parametrize("size", ["desktop", "phone"])
def test_u01_u12_given_every_page_when_opened_then_it_renders_and_axe_finds_nothing_serious(
    daemon: LiveDaemon, window: OpenWindow, size: str, scheme: str
) -> None:
    opened = window(daemon.url, size=size, scheme=scheme, expected=missing(daemon))
    for route in PAGES:
        page = opened.open(route)
        page.get_by_role("main").wait_for()
        page.locator("main [role=status][aria-label^=Loading]").first.wait_for(state="detached")

        page.evaluate(AXE.read_text())
        found = page.evaluate("axe.run(document, {resultTypes: ['violations']})")

        serious = [
            (each["id"], [node["html"][:200] for node in each["nodes"]][:3])
            for each in found["violations"]
            if each["impact"] in ("serious", "critical")
        ]
        assert serious == [], route
        wide = page.evaluate("document.documentElement.scrollWidth > document.documentElement.clientWidth")
        assert not wide, f"{route} scrolls sideways"


def test_given_the_built_page_when_weighed_then_its_first_scripts_are_light() -> None:
    if not (BUILT / INDEX).exists():
        pytest.skip("the web UI is not built: make ui")
    scripts = re.findall(r'(?:src|href)="\./(assets/[^"]+\.js)"', (BUILT / INDEX).read_text())

    weight = sum(len(gzip.compress((BUILT / name).read_bytes(), 9)) for name in scripts)
    whole = sum(path.stat().st_size for path in BUILT.rglob("*") if path.is_file())

    assert scripts
    assert weight <= FIRST_PAGE_BYTES
    assert whole <= WHOLE_BYTES


def test_given_a_keyboard_when_used_then_every_place_is_reached(
    daemon: LiveDaemon, window: OpenWindow
) -> None:
    page = window(daemon.url, expected=missing(daemon)).open("models")
    page.get_by_role("link", name="owl").first.wait_for()

    page.keyboard.press("/")
    page.keyboard.type("wren")

    assert page.locator("li[data-model]").count() == 1
    page.locator("main").focus()
    for keys, title in (("ga", "Activity"), ("gl", "Logs"), ("gs", "Settings"), ("gm", "Models")):
        for key in keys:
            page.keyboard.press(key)
        page.get_by_role("heading", level=1, name=title).wait_for()
    page.keyboard.press("Control+b")
    page.get_by_role("button", name="Widen the sidebar").wait_for()
    page.keyboard.press("Shift+?")
    page.get_by_role("dialog", name="Keys").wait_for()
    page.keyboard.press("Escape")
    page.get_by_role("dialog").wait_for(state="detached")


def test_given_the_first_paint_when_dark_was_chosen_then_it_is_dark_at_once(
    daemon: LiveDaemon, window: OpenWindow
) -> None:
    page = window(daemon.url, expected=missing(daemon)).open("settings")
    page.get_by_role("button", name="Dark", exact=True).click()
    until(page, "localStorage.getItem('swapd.v1.settings')?.includes('dark')")

    page.goto("about:blank")
    page.goto(f"{daemon.url}/ui/", wait_until="commit")

    until(page, "document.documentElement.dataset.theme === 'dark'")
    page.get_by_role("main").wait_for()
