"""U11: keys. Who may sign in, what each kind of key is shown, and how it ends."""

from __future__ import annotations

from collections.abc import Iterator

import pytest
from playwright.sync_api import Page, expect

from tests.browser.conftest import LiveDaemon, OpenWindow, demo_models, live_daemon
from tests.browser.test_pages import missing

KEYS = """
apiKeys:
  - {key: the-owner, name: owner, admin: true}
  - {key: a-guest, name: guest}
  - {key: only-owl, name: child, models: ["owl*"]}
"""
ADMIN_PAGES = ("Logs", "Performance", "Config")


@pytest.fixture(scope="module")
def locked(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveDaemon]:
    with live_daemon(tmp_path_factory.mktemp("locked"), demo_models() + KEYS) as running:
        yield running


def sign_in(page: Page, key: str) -> None:
    page.get_by_label("API key").fill(key)
    page.get_by_role("button", name="Sign in").click()


def links(page: Page) -> list[str]:
    page.get_by_role("navigation", name="Pages").get_by_role("link", name="Models").wait_for()
    return page.locator("nav .pages > li > a").all_inner_texts()


def test_u11_given_keys_when_the_page_is_opened_then_it_asks_for_one_without_the_browsers_own_box(
    locked: LiveDaemon, window: OpenWindow
) -> None:
    opened = window(locked.url)
    answers: list[tuple[int, str | None]] = []
    opened.page.on(
        "response",
        lambda response: answers.append((response.status, response.header_value("www-authenticate"))),
    )

    page = opened.open("models")

    expect(page.get_by_label("API key")).to_be_focused()
    assert page.get_by_role("navigation").count() == 0
    assert all(challenge is None for _, challenge in answers)


def test_u11_given_a_wrong_key_when_tried_then_the_panel_says_so_and_the_right_one_still_works(
    locked: LiveDaemon, window: OpenWindow
) -> None:
    page = window(locked.url, expected=(*missing(locked), "/api/session")).open("models")

    sign_in(page, "guess")

    expect(page.get_by_role("alert")).to_contain_text("key")
    expect(page.get_by_label("API key")).to_have_value("guess")
    sign_in(page, "the-owner")
    expect(page.locator('li[data-model="wren"]')).to_be_visible()


def test_u11_given_an_administrators_key_when_signed_in_then_everything_is_there_after_a_reload_too(
    locked: LiveDaemon, window: OpenWindow
) -> None:
    opened = window(locked.url, expected=missing(locked))
    page = opened.open("models")

    sign_in(page, "the-owner")

    assert set(ADMIN_PAGES) <= set(links(page))
    expect(page.get_by_role("button", name="Unload all")).to_be_visible()
    page.reload()
    expect(page.locator('li[data-model="owl"]')).to_be_visible()
    assert page.evaluate("document.cookie") == "", "scripts can read the cookie"
    (cookie,) = opened.context.cookies()
    assert (cookie["name"], cookie["httpOnly"], cookie["sameSite"]) == ("swapd_session", True, "Strict")


def test_u11_given_a_key_that_is_no_administrators_when_signed_in_then_what_it_may_not_do_is_not_offered(
    locked: LiveDaemon, window: OpenWindow
) -> None:
    page = window(locked.url, expected=missing(locked)).open("models")

    sign_in(page, "a-guest")

    assert set(ADMIN_PAGES).isdisjoint(links(page))
    expect(page.locator("li[data-model]")).to_have_count(3)
    expect(page.get_by_role("button", name="Unload all")).to_have_count(0)
    page.get_by_role("button", name="Load finch").click()
    expect(page.locator('li[data-model="finch"]')).to_contain_text("ready")
    page.goto(f"{locked.url}/ui/#/models/finch")
    expect(page.get_by_role("tab", name="Overview")).to_be_visible()
    assert page.get_by_role("tab", name="Logs").count() == 0
    for route in ("logs", "config", "performance"):
        page.goto(f"{locked.url}/ui/#/{route}")
        expect(page.get_by_text("needs an administrator's key")).to_be_visible()


def test_u11_given_a_key_for_some_models_when_signed_in_then_only_those_are_shown(
    locked: LiveDaemon, window: OpenWindow
) -> None:
    page = window(locked.url, expected=missing(locked)).open("models")

    sign_in(page, "only-owl")

    expect(page.locator("li[data-model]")).to_have_count(1)
    expect(page.locator('li[data-model="owl"]')).to_be_visible()
    page.goto(f"{locked.url}/ui/#/playground")
    page.get_by_role("combobox").first.click()
    expect(page.get_by_role("option", name="owl").first).to_be_visible()
    assert page.get_by_role("option", name="wren").count() == 0


def test_u11_given_a_session_when_signed_out_then_the_panel_is_back_and_the_cookie_worth_nothing(
    locked: LiveDaemon, window: OpenWindow
) -> None:
    opened = window(locked.url, expected=missing(locked))
    page = opened.open("models")
    sign_in(page, "the-owner")
    expect(page.locator('li[data-model="owl"]')).to_be_visible()
    (cookie,) = opened.context.cookies()
    opened.open("settings")

    page.get_by_role("button", name="Sign out").click()

    expect(page.get_by_label("API key")).to_be_visible()
    assert opened.context.cookies() == []
    with locked.client() as client:
        old = client.get("/api/models", headers={"Cookie": f"swapd_session={cookie['value']}"})
    assert old.status_code == 401
