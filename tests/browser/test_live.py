"""Models as they are loaded, used and lost, seen from open tabs."""

from __future__ import annotations

import signal
from pathlib import Path
from urllib.parse import urlsplit

from playwright.sync_api import expect

from swapd.testing.daemon import upstream_command
from tests.browser.conftest import LiveDaemon, OpenWindow, demo_models, live_daemon, until
from tests.browser.floods import store_with_rows
from tests.browser.test_pages import missing

MOST_ROWS_AT_FIRST = 80
MOST_ELEMENTS = 4000
TO_THE_END = "document.querySelector('main').scrollTo(0, 1e6)"
HOSTILE = "<img src=x onerror=window.hacked=1>"


def test_u02_given_two_tabs_when_a_model_is_loaded_and_unloaded_in_one_then_both_show_it(
    daemon: LiveDaemon, window: OpenWindow
) -> None:
    opened = window(daemon.url, expected=missing(daemon))
    here = opened.open("models")
    there = opened.another()
    there.goto(f"{daemon.url}/ui/#/models")

    here.get_by_role("button", name="Load owl").click()

    for page in (here, there):
        expect(page.locator('li[data-model="owl"]')).to_contain_text("ready")
        expect(page.get_by_role("region", name="Running models")).to_contain_text("owl")
    there.get_by_role("button", name="Unload owl").first.click()
    for page in (here, there):
        expect(page.locator('li[data-model="owl"]')).to_contain_text("stopped")


def test_given_a_model_that_ends_at_once_when_loaded_then_its_row_says_how(
    tmp_path: Path, window: OpenWindow
) -> None:
    crash = upstream_command("--crash-after", "50ms", "--exit-code", "3", "--load", "60s")
    with live_daemon(tmp_path, demo_models(f"  lame: {{cmd: '{crash}'}}")) as daemon:
        page = window(daemon.url, expected=missing(daemon)).open("models")

        page.get_by_role("button", name="Load lame").click()

        expect(page.locator('li[data-model="lame"]')).to_contain_text("failed")
        expect(page.locator('li[data-model="lame"]')).to_contain_text("3")


def test_u04_given_a_daemon_that_is_started_anew_when_it_is_back_then_the_page_is_live_without_a_reload(
    tmp_path: Path, window: OpenWindow
) -> None:
    with live_daemon(tmp_path / "one", demo_models()) as first:
        address = urlsplit(first.url).netloc
        opened = window(first.url, expected=(*missing(first), "/api/events"))
        page = opened.open("models")
        expect(page.locator('li[data-model="owl"]')).to_be_visible()
        page.evaluate("window.sameDocument = true")
        first.stop()
        expect(page.get_by_text("Disconnected")).to_be_visible()
        expect(page.get_by_role("img", name="disconnected")).to_be_visible()
    opened.watch.troubles[:] = [text for text in opened.watch.troubles if "ERR_" not in text]

    with live_daemon(tmp_path / "two", demo_models("  newcomer: {cmd: 'true ${PORT}'}"), listen=address):
        expect(page.locator('li[data-model="newcomer"]')).to_be_visible()
        expect(page.get_by_text("Disconnected")).to_be_hidden()
        assert page.evaluate("window.sameDocument") is True
        opened.watch.troubles[:] = [text for text in opened.watch.troubles if "ERR_" not in text]
        page.goto("about:blank")


def test_u08_given_hostile_names_and_logs_when_shown_then_they_do_nothing(
    tmp_path: Path, window: OpenWindow
) -> None:
    noisy = upstream_command("--load", "100ms", "--log-line", f"{HOSTILE}<script>window.hacked=2</script>")
    models = demo_models(
        f"  '{HOSTILE}': {{name: '<script>window.hacked=3</script>', description: '{HOSTILE}', "
        f"aliases: ['</script>{HOSTILE}'], cmd: {noisy!r}}}"
    )
    with live_daemon(tmp_path, models) as daemon:
        opened = window(daemon.url, expected=missing(daemon))
        page = opened.open("models")
        line = page.locator("li[data-model]", has_text="<script>window.hacked=3</script>")
        line.get_by_role("button", name="Load").click()
        expect(line).to_contain_text("ready")

        line.get_by_role("link", name="<script>").click()
        expect(page.get_by_role("heading", level=2, name="<script>")).to_be_visible()
        page.get_by_role("tab", name="Logs").click()
        expect(page.get_by_role("log")).to_contain_text("window.hacked=2")

        assert page.evaluate("window.hacked") is None
        assert page.locator("main img, main script").count() == 0


def test_given_a_configuration_that_is_rejected_when_on_any_page_then_a_banner_leads_to_the_reason(
    tmp_path: Path, window: OpenWindow
) -> None:
    with live_daemon(tmp_path, demo_models()) as daemon:
        page = window(daemon.url, expected=(*missing(daemon), "/api/config/reload")).open("config")
        expect(page.get_by_text("in force").first).to_be_visible()
        daemon.config.write_text("models:\n  owl: {cmd: [}\n")

        page.get_by_role("button", name="Reload").click()

        page.get_by_role("link", name="Show why").click()
        expect(page.get_by_text("rejected", exact=True)).to_be_visible()
        expect(page.get_by_role("main").get_by_text(f"{daemon.config}:2")).to_be_visible()


def test_u06_given_300_models_when_filtered_and_scrolled_then_only_what_is_in_sight_is_laid_out(
    tmp_path: Path, window: OpenWindow
) -> None:
    many = [f"  model-{n:03}: {{cmd: 'true ${{PORT}}'}}" for n in range(297)]
    with live_daemon(tmp_path, demo_models(*many)) as daemon:
        page = window(daemon.url, expected=missing(daemon)).open("models")
        lines = page.locator("li[data-model]")
        expect(page.get_by_text("300 of 300 shown")).to_be_visible()
        assert lines.count() <= MOST_ROWS_AT_FIRST
        assert page.evaluate("document.querySelectorAll('*').length") < MOST_ELEMENTS

        page.get_by_role("searchbox", name="Search models").fill("model-12")
        expect(lines).to_have_count(10)
        page.get_by_role("searchbox", name="Search models").fill("")
        expect(page.get_by_text("300 of 300 shown")).to_be_visible()
        assert lines.count() <= MOST_ROWS_AT_FIRST

        until(page, f"({TO_THE_END}, document.querySelectorAll('li[data-model]').length === 300)")
        page.get_by_role("button", name="More about model-000").click()
        expect(page.get_by_role("menuitem", name="Copy id")).to_be_visible()


def test_u06_given_100000_rows_when_looked_through_then_a_page_of_them_is_all_there_is(
    tmp_path: Path, window: OpenWindow
) -> None:
    with live_daemon(
        tmp_path / "d", demo_models() + store_with_rows(tmp_path / "rows.db", 100_000)
    ) as daemon:
        page = window(daemon.url, expected=missing(daemon)).open("activity")
        rows = page.locator("tbody tr")
        expect(rows).to_have_count(25)
        expect(page.get_by_text("100,000 total")).to_be_visible()

        page.get_by_role("button", name="Next page").click()
        expect(page.get_by_text("Page 2 of 4,000")).to_be_visible()
        page.get_by_role("button", name="Decode").click()
        expect(rows.first.locator("td.decode")).to_have_text("97.00 t/s")
        page.get_by_role("group", name="Status").get_by_role("button", name="Errors").click()
        expect(page.get_by_text("2,000 total")).to_be_visible()

        expect(rows).to_have_count(25)
        assert page.evaluate("document.querySelectorAll('*').length") < MOST_ELEMENTS


def test_u05_given_a_daemon_that_has_gone_silent_when_a_minute_has_passed_then_the_page_says_so_and_recovers(
    tmp_path: Path, window: OpenWindow
) -> None:
    with live_daemon(tmp_path, demo_models()) as daemon:
        opened = window(daemon.url, expected=missing(daemon))
        opened.page.clock.install()
        page = opened.open("models")
        expect(page.locator('li[data-model="owl"]')).to_be_visible()
        daemon.process.send_signal(signal.SIGSTOP)
        try:
            page.clock.fast_forward(60_000)

            expect(page.get_by_text("Disconnected")).to_be_visible()
            expect(page.get_by_role("img", name="disconnected")).to_be_visible()
            expect(page.locator(".page.stale")).to_be_visible()
        finally:
            daemon.process.send_signal(signal.SIGCONT)
        page.get_by_role("button", name="Retry now").click()
        expect(page.get_by_role("img", name="connected", exact=True)).to_be_visible()
        expect(page.get_by_text("Disconnected")).to_be_hidden()
