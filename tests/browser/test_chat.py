"""The Playground: an answer as it streams, hostile ones among them."""

from __future__ import annotations

from collections.abc import Callable, Iterator

import pytest
from playwright.sync_api import expect

from tests.browser.conftest import LiveDaemon, OpenWindow, demo_models, live_daemon, until
from tests.browser.floods import TOKENS, scripted_server
from tests.browser.test_pages import missing


@pytest.fixture(scope="module")
def scripted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveDaemon]:
    with (
        scripted_server() as peer,
        live_daemon(tmp_path_factory.mktemp("scripted"), demo_models() + peer) as running,
    ):
        yield running


def test_given_a_model_that_is_not_running_when_asked_then_it_is_loaded_and_answers_word_by_word(
    daemon: LiveDaemon, window: OpenWindow
) -> None:
    page = window(daemon.url, expected=missing(daemon)).open("playground/chat?model=wren")
    page.get_by_role("textbox", name="Message").fill("Who are you?")

    page.keyboard.press("Enter")

    answer = page.get_by_role("article", name="wren")
    expect(answer.locator(".prose")).not_to_be_empty()
    expect(answer.get_by_role("button", name="Ask again")).to_be_visible()
    expect(answer.locator(".facts")).to_contain_text("first token")
    page.reload()
    page.get_by_role("button", name="Conversations").click()
    page.get_by_role("button", name="Who are you?").first.click()
    expect(page.get_by_role("article", name="You")).to_contain_text("Who are you?")


def test_u08_given_an_answer_that_wants_to_act_when_shown_then_it_is_only_text(
    scripted: LiveDaemon, window: OpenWindow
) -> None:
    page = window(scripted.url, expected=missing(scripted)).open("playground/chat?model=lab%2Fnasty")
    page.get_by_role("textbox", name="Message").fill("be nasty <img src=x onerror=window.hacked=5>")

    page.keyboard.press("Enter")

    prose = page.locator(".prose").last
    expect(prose.locator("table")).to_contain_text("1")
    expect(prose.locator(".katex").first).to_be_attached()
    expect(prose.locator(".hljs-keyword").first).to_contain_text("def")
    expect(prose).to_contain_text("picture at 127.0.0.2")
    assert prose.locator("img, script").count() == 0
    assert prose.locator("a[href^=javascript]").count() == 0
    assert page.evaluate("window.hacked") is None


def test_u09_given_300_tokens_a_second_when_streamed_then_finished_blocks_stay_as_they_are(
    scripted: LiveDaemon, window: OpenWindow, record_property: Callable[[str, object], None]
) -> None:
    page = window(scripted.url, expected=missing(scripted)).open("playground/chat?model=lab%2Fnasty")
    arrived = (
        "performance.getEntriesByType('resource').filter(each => /(math|highlight)-.*js/.test(each.name))"
    )
    until(page, f"{arrived}.length > 1")
    page.get_by_role("textbox", name="Message").fill("fast")
    page.evaluate(
        """() => {
            window.frames_ = [];
            let last = performance.now();
            const tick = now => { window.frames_.push(now - last); last = now; requestAnimationFrame(tick); };
            requestAnimationFrame(tick);
        }"""
    )

    page.keyboard.press("Enter")
    expect(page.get_by_role("button", name="Stop")).to_be_visible()
    expect(page.locator(".prose table").nth(3)).to_be_visible()
    page.evaluate("window.finished = document.querySelector('.prose > div')")
    expect(page.locator(".prose table").nth(20)).to_be_visible()
    kept = page.evaluate("window.finished.isConnected")
    expect(page.get_by_role("button", name="Ask again")).to_be_visible()

    frames = sorted(page.evaluate("window.frames_.slice(5)"))
    typical, longest = frames[int(len(frames) * 0.95)], frames[-1]
    record_property("frame_ms_95_of_100", round(typical))
    record_property("frame_ms_longest", round(longest))
    assert kept, "a block that was finished has been laid out again"
    assert page.locator(".prose table").count() == TOKENS // 5


def test_given_a_model_nobody_knows_when_asked_then_the_servers_words_are_shown(
    daemon: LiveDaemon, window: OpenWindow
) -> None:
    opened = window(daemon.url, expected=(*missing(daemon), "/v1/chat/completions"))
    page = opened.open("playground/chat?model=nobody")
    page.get_by_role("textbox", name="Message").fill("hello")

    page.keyboard.press("Enter")

    expect(page.get_by_role("alert")).to_contain_text("no router for requested model")
