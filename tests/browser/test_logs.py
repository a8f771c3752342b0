"""Logs: lines as they come, also very many of them."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from playwright.sync_api import expect

from tests.browser.conftest import OpenWindow, demo_models, live_daemon
from tests.browser.floods import flooding_model
from tests.browser.test_pages import missing

ROWS_IN_THE_PAGE = 400


def test_u07_given_5000_lines_a_second_when_watched_then_the_page_can_still_be_used(
    tmp_path: Path, window: OpenWindow, record_property: Callable[[str, object], None]
) -> None:
    with live_daemon(tmp_path / "daemon", demo_models(flooding_model(tmp_path))) as daemon:
        page = window(daemon.url, expected=missing(daemon)).open("models")
        page.get_by_role("button", name="Load noisy").click()
        expect(page.locator('li[data-model="noisy"]')).to_contain_text("ready")
        page.goto(f"{daemon.url}/ui/#/logs/noisy")
        lines = page.get_by_role("log")
        expect(lines).to_contain_text("of the flood")

        frames = sorted(
            page.evaluate(
                """() => new Promise(done => {
                    const frames = [];
                    const begun = performance.now();
                    let last = begun;
                    requestAnimationFrame(function tick(now) {
                        frames.push(now - last);
                        last = now;
                        if (now - begun < 10000) requestAnimationFrame(tick); else done(frames);
                    });
                })"""
            )
        )
        typical = frames[int(len(frames) * 0.95)]
        record_property("frame_ms_95_of_100", round(typical))
        assert lines.locator(".line").count() < ROWS_IN_THE_PAGE

        lines.focus()
        page.keyboard.press("Space")
        expect(page.get_by_role("button", name="new")).to_be_visible()
        page.keyboard.press("End")
        expect(page.get_by_role("button", name="Pause")).to_be_visible()


def test_given_a_filter_that_is_no_pattern_when_typed_then_it_is_marked_and_hides_nothing(
    tmp_path: Path, window: OpenWindow
) -> None:
    with live_daemon(tmp_path, demo_models()) as daemon:
        page = window(daemon.url, expected=missing(daemon)).open("logs/proxy")
        lines = page.get_by_role("log")
        expect(lines).to_contain_text("listening on")
        field = page.get_by_role("searchbox", name="Filter Daemon")

        page.get_by_role("button", name="Regular expression").click()
        field.fill("listening (")

        expect(page.get_by_text("not a valid pattern")).to_be_visible()
        expect(field).to_have_attribute("aria-invalid", "true")
        expect(lines).to_contain_text("API keys")
        field.fill("LISTENING (on|at)")
        expect(lines.locator("mark").first).to_have_text("listening on")
        expect(lines).not_to_contain_text("API keys")
