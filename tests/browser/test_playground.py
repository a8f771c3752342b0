"""The Playground beyond the chat: pictures, speech, transcription, ranking, likeness, and the load test."""

from __future__ import annotations

from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from swapd.testing.daemon import upstream_command
from tests.browser.conftest import LiveDaemon, OpenWindow, demo_models, live_daemon
from tests.browser.test_pages import missing

HOSTILE = "<img src=x onerror=window.hacked=1>"


def choose(page: Page, model: str, label: str = "Model") -> None:
    box = page.get_by_role("combobox", name=label)
    box.click()
    box.fill(model)
    page.get_by_role("option", name=model).first.click()


@pytest.mark.parametrize("interface", ["OpenAI", "Edit", "Stable Diffusion"])
def test_given_a_prompt_when_drawn_then_the_picture_is_in_the_gallery_and_can_be_kept(
    daemon: LiveDaemon, window: OpenWindow, tmp_path: Path, interface: str
) -> None:
    page = window(daemon.url, expected=(*missing(daemon), "/sdapi/v1/loras")).open("playground/images")
    choose(page, "owl")
    page.get_by_role("button", name=interface, exact=True).click()
    page.get_by_role("textbox", name="Prompt", exact=True).fill(f"a lighthouse {HOSTILE}")
    if interface == "Edit":
        (tmp_path / "before.png").write_bytes(b"\x89PNG\r\n")
        page.get_by_label("Picture", exact=True).set_input_files(tmp_path / "before.png")

    page.get_by_role("button", name="Draw").click()

    picture = page.get_by_role("button", name="Enlarge")
    expect(picture.locator("img")).to_be_visible()
    picture.click()
    with page.expect_download() as coming:
        page.get_by_role("link", name="Download").click()
    assert Path(coming.value.path()).read_bytes().startswith(b"\x89PNG")
    assert page.evaluate("window.hacked") is None


def test_given_a_text_when_spoken_then_it_can_be_played_and_the_models_voices_chosen(
    daemon: LiveDaemon, window: OpenWindow
) -> None:
    page = window(daemon.url, expected=missing(daemon)).open("playground/speech")
    choose(page, "owl")
    page.get_by_role("textbox", name="Text").fill("Good evening.")
    page.get_by_role("checkbox", name="Play at once").uncheck()
    page.get_by_role("button", name="Ask the model").click()
    expect(page.get_by_role("combobox", name="Voice")).to_have_value("fake-alto")

    page.get_by_role("button", name="Speak").click()

    expect(page.get_by_role("link", name="Download")).to_have_attribute("download", "speech.wav")
    seconds = page.evaluate(
        """() => new Promise(done => {
            const audio = document.querySelector("audio");
            if (audio.duration > 0) done(audio.duration);
            audio.addEventListener("loadedmetadata", () => done(audio.duration));
            audio.load();
        })"""
    )
    assert seconds > 0


def test_given_a_recording_when_transcribed_then_its_text_is_shown(
    daemon: LiveDaemon, window: OpenWindow, tmp_path: Path
) -> None:
    page = window(daemon.url, expected=missing(daemon)).open("playground/transcription")
    choose(page, "owl")
    (tmp_path / "memo.wav").write_bytes(b"RIFF")
    expect(page.get_by_role("button", name="Transcribe")).to_be_disabled()
    page.get_by_label("Recording").set_input_files(tmp_path / "memo.wav")

    page.get_by_role("button", name="Transcribe").click()

    expect(page.locator(".whole")).not_to_be_empty()


def test_given_documents_when_ranked_then_the_best_is_first_and_the_order_can_be_turned(
    daemon: LiveDaemon, window: OpenWindow
) -> None:
    page = window(daemon.url, expected=missing(daemon)).open("playground/rerank")
    choose(page, "owl")
    page.get_by_role("button", name="Example").click()
    page.get_by_role("textbox", name="Query").fill("the wren is small")

    page.get_by_role("button", name="Rank").click()

    first = page.locator("tbody tr").first
    expect(first).to_contain_text("The wren is one of the smallest birds")
    page.get_by_role("columnheader", name="Score").get_by_role("button").click()
    expect(first).not_to_contain_text("The wren")
    page.get_by_role("button", name="JSON", exact=True).click()
    page.get_by_role("textbox", name="Query and documents").fill('{"query": "x"}')
    expect(page.get_by_role("button", name="Rank")).to_be_disabled()


def test_given_texts_when_compared_then_each_is_like_itself(daemon: LiveDaemon, window: OpenWindow) -> None:
    page = window(daemon.url, expected=missing(daemon)).open("playground/embeddings")
    choose(page, "owl")
    page.get_by_role("textbox", name="Text 1").fill("an owl")
    page.get_by_role("textbox", name="Text 2").fill("a wren")
    page.get_by_role("textbox", name="Text 3").fill("a train")

    page.get_by_role("button", name="Compare").click()

    lines = page.locator("tbody tr")
    expect(lines).to_have_count(3)
    for n in range(3):
        expect(lines.nth(n).locator("td").nth(n)).to_have_text("1.000")


def test_given_several_models_when_asked_at_once_then_each_request_and_the_sums_are_shown(
    daemon: LiveDaemon, window: OpenWindow
) -> None:
    page = window(daemon.url, expected=missing(daemon)).open("playground/load")
    for model in ("owl", "owl", "wren"):
        choose(page, model, "Add a model")
    page.get_by_role("spinbutton", name="Most tokens").fill("12")
    page.get_by_role("spinbutton", name="Times each").fill("2")

    page.get_by_role("button", name="Go").click()

    expect(page.get_by_role("button", name="Clear")).to_be_visible()
    sums = page.get_by_role("group", name="Sums").locator("tbody tr")
    expect(sums).to_have_count(3)
    expect(sums.nth(0).locator("td").nth(1)).to_have_text("4")
    expect(sums.nth(2)).to_contain_text("all")
    expect(sums.nth(2).locator("td").nth(2)).to_have_text("0")
    assert page.locator(".lines li").count() == 6


def test_given_a_load_test_when_stopped_then_what_had_not_begun_never_does(
    tmp_path: Path, window: OpenWindow
) -> None:
    slow = f"  slow: {{cmd: '{upstream_command('--tokens', '100000', '--tps', '20')}'}}"
    with live_daemon(tmp_path, demo_models(slow)) as daemon:
        page = window(daemon.url, expected=missing(daemon)).open("playground/load")
        choose(page, "slow", "Add a model")
        page.get_by_role("spinbutton", name="Most tokens").fill("100000")
        page.get_by_role("spinbutton", name="Times each").fill("3")
        page.get_by_role("spinbutton", name="At a time").fill("1")
        page.get_by_role("button", name="Go").click()
        expect(page.locator(".cards li").first).to_contain_text("streaming")

        page.get_by_role("button", name="Stop").click()

        expect(page.locator(".cards .tag", has_text="stopped")).to_have_count(3)


def test_given_an_answer_that_is_no_picture_when_drawn_then_the_reason_is_said(
    tmp_path: Path, window: OpenWindow
) -> None:
    broken = f"  broken: {{cmd: '{upstream_command('--status', '500')}'}}"
    with live_daemon(tmp_path, demo_models(broken)) as daemon:
        opened = window(daemon.url, expected=(*missing(daemon), "/v1/images/generations"))
        page = opened.open("playground/images")
        choose(page, "broken")
        page.get_by_role("textbox", name="Prompt", exact=True).fill("anything")

        page.get_by_role("button", name="Draw").click()

        expect(page.get_by_role("alert")).not_to_be_empty()


def test_given_work_in_one_tab_when_another_is_opened_and_left_then_it_is_still_there(
    daemon: LiveDaemon, window: OpenWindow
) -> None:
    page = window(daemon.url, expected=missing(daemon)).open("playground/embeddings")
    page.get_by_role("textbox", name="Text 1").fill("kept")
    page.get_by_role("tab", name="Chat").click()
    expect(page.get_by_role("textbox", name="Message")).to_be_visible()
    page.goto(f"{daemon.url}/ui/#/models")

    page.goto(f"{daemon.url}/ui/#/playground/embeddings")

    expect(page.get_by_role("textbox", name="Text 1")).to_have_value("kept")
