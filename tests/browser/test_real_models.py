"""The pages against llama.cpp's own server: what was asked and answered, its captures, totals and exports."""

from __future__ import annotations

import csv
import io
import json
import os
import signal
from collections.abc import Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Page, expect

from swapd.cli.demo import MODELS, llama_command, model_file
from swapd.testing.gguf import write_tiny_model
from swapd.testing.llama import wheel_problem
from tests.browser.conftest import LiveDaemon, OpenWindow, live_daemon
from tests.browser.test_pages import missing

QUESTION = "Who are you?"


@pytest.fixture(scope="module")
def llama(tmp_path_factory: pytest.TempPathFactory) -> Iterator[LiveDaemon]:
    """A daemon with the demo's models, which has answered three requests, one of them badly."""
    if problem := wheel_problem():
        pytest.skip(f"no llama.cpp: {problem}")
    directory = tmp_path_factory.mktemp("llama")
    lines = ["models:"]
    for model in MODELS:
        write_tiny_model(model_file(model, directory), kind=model.kind, seed=model.seed, name=model.id)
        lines.append(
            f"  {model.id}: {{description: {model.description}, cmd: {llama_command(model, directory)!r}}}"
        )
    with live_daemon(directory, "\n".join(lines) + "\n") as running:
        with running.client() as client:
            for body in ({"stream": True}, {"temperature": 0}, {"messages": "no list"}):
                client.post("/v1/chat/completions", json=chat("owl") | body)
        yield running


def chat(model: str) -> dict[str, object]:
    return {"model": model, "max_tokens": 12, "messages": [{"role": "user", "content": QUESTION}]}


def rows(page: Page) -> list[str]:
    page.get_by_role("button", name="Details of request").first.wait_for()
    return page.locator("tbody tr:not(.detail)").all_inner_texts()


def test_given_answers_when_the_activity_is_opened_then_rows_and_totals_say_what_the_daemon_counted(
    llama: LiveDaemon, window: OpenWindow
) -> None:
    with llama.client() as client:
        known = client.get("/api/metrics/activity").json()
        totals = client.get("/api/metrics/stats?window=7d").json()

    page = window(llama.url, expected=missing(llama)).open("activity")

    assert len(rows(page)) == known["total"]
    answered = page.locator("tbody tr", has_text="200").first
    newest = next(row for row in known["data"] if row["resp_status_code"] == 200)
    expect(answered.locator("td.generated")).to_have_text(str(newest["tokens"]["output_tokens"]))
    expect(answered.locator("td.decode")).to_contain_text("t/s")
    expect(page.locator("dl > div", has_text="Requests")).to_contain_text(str(totals["total_requests"]))
    expect(page.locator("dl > div", has_text="Generated")).to_contain_text(str(totals["total_output_tokens"]))
    expect(page.locator("tbody tr.bad .message").first).not_to_be_empty()
    answered.get_by_role("button", name="Details").click()
    expect(page.locator("tr.detail")).to_contain_text("to the first token")


def test_given_filters_when_set_then_rows_and_address_follow_and_no_match_can_be_cleared(
    llama: LiveDaemon, window: OpenWindow
) -> None:
    page = window(llama.url, expected=missing(llama)).open("activity")
    before = len(rows(page))

    page.get_by_role("group", name="Status").get_by_role("button", name="Errors").click()

    expect(page.locator("tbody tr:not(.detail)")).to_have_count(1)
    assert "status=error" in page.url
    page.reload()
    expect(page.locator("tbody tr:not(.detail)")).to_have_count(1)
    page.get_by_role("searchbox", name="Search path").fill("nothing like it")
    expect(page.get_by_text("No rows match")).to_be_visible()
    page.get_by_role("button", name="Clear the filter").click()
    expect(page.locator("tbody tr:not(.detail)")).to_have_count(before)


def test_given_a_new_answer_when_looking_on_then_its_row_comes_by_itself(
    llama: LiveDaemon, window: OpenWindow
) -> None:
    page = window(llama.url, expected=missing(llama)).open("activity")
    before = len(rows(page))

    with llama.client() as client:
        client.post("/v1/embeddings", json={"model": "finch", "input": "a small bird"}).raise_for_status()

    expect(page.locator("tbody tr:not(.detail)")).to_have_count(before + 1)
    expect(page.locator("tbody tr").first).to_contain_text("finch")


def test_given_a_stream_that_was_captured_when_opened_then_it_reads_as_a_conversation_and_can_be_replayed(
    llama: LiveDaemon, window: OpenWindow
) -> None:
    with llama.client() as client:
        kept = client.get("/api/metrics/activity?order=asc").json()["data"][0]
    page = window(llama.url, expected=missing(llama)).open(f"activity/{kept['id']}")
    dialog = page.get_by_role("dialog", name=f"Capture #{kept['id']} /v1/chat/completions")

    expect(dialog.get_by_text("Response", exact=True)).to_be_visible()
    dialog.get_by_role("button", name="Chat").first.click()
    expect(dialog.locator(".spoken").first).to_contain_text(QUESTION)
    dialog.get_by_role("button", name="Events").click()
    expect(dialog.locator(".event").last).to_contain_text("[DONE]")
    assert dialog.locator(".event").count() > 5
    dialog.get_by_text("Response headers").click()
    expect(dialog.get_by_text("text/event-stream").first).to_be_visible()
    dialog.get_by_role("button", name="Replay in Playground").click()

    expect(page.get_by_role("article", name="You")).to_contain_text(QUESTION)


def test_given_a_capture_that_is_gone_when_opened_then_the_page_says_why(
    llama: LiveDaemon, window: OpenWindow
) -> None:
    page = window(llama.url, expected=(*missing(llama), "/api/captures/9999")).open("activity/9999")

    expect(page.get_by_role("dialog")).to_contain_text("Capture not found")


def test_given_rows_when_exported_then_csv_json_lines_and_markdown_hold_them_all(
    llama: LiveDaemon, window: OpenWindow, tmp_path: Path
) -> None:
    page = window(llama.url, expected=missing(llama)).open("activity")
    ids = {line.split("\t")[1] for line in rows(page)}
    page.get_by_role("button", name="Export").click()
    texts = {}

    for name in ("CSV", "JSON Lines", "this page as Markdown"):
        with page.expect_download() as coming:
            page.get_by_text(f"Download {name}").click()
        coming.value.save_as(tmp_path / "export")
        texts[coming.value.suggested_filename] = (tmp_path / "export").read_text()

    assert {row["id"] for row in csv.DictReader(io.StringIO(texts["activity.csv"]))} == ids
    assert {str(json.loads(line)["id"]) for line in texts["activity.jsonl"].splitlines()} == ids
    assert texts["activity.md"].count("\n| ") > len(ids)


def test_given_the_logs_when_opened_then_each_model_has_its_own_and_the_daemon_too(
    llama: LiveDaemon, window: OpenWindow
) -> None:
    page = window(llama.url, expected=(*missing(llama), "/logs/stream/all")).open("logs/owl")
    lines = page.get_by_role("log")

    expect(lines).to_contain_text("model", ignore_case=True)
    page.goto(f"{llama.url}/ui/#/logs/proxy")
    page.get_by_role("searchbox", name="Filter Daemon").fill("listening on")
    expect(lines.locator("mark").first).to_have_text("listening on")
    expect(lines).not_to_contain_text("Request")
    page.goto(f"{llama.url}/ui/#/logs/all")
    combined = page.get_by_role("searchbox", name="Filter Combined")
    combined.fill("listening on")
    expect(lines.locator("mark").first).to_be_visible()
    combined.fill("llama")
    expect(lines.locator("mark").first).to_be_visible()
    with page.expect_download() as coming:
        page.get_by_role("button", name="Download all lines").click()
    kept = Path(coming.value.path()).read_text()
    assert "listening on" in kept
    assert "llama" in kept


def test_given_a_question_when_asked_in_the_playground_then_llama_cpp_answers_with_its_own_figures(
    llama: LiveDaemon, window: OpenWindow
) -> None:
    page = window(llama.url, expected=missing(llama)).open("playground/chat?model=wren")
    page.get_by_role("textbox", name="Message").fill(QUESTION)

    page.keyboard.press("Enter")

    answer = page.get_by_role("article", name="wren")
    expect(answer.get_by_role("button", name="Ask again")).to_be_visible()
    expect(answer.locator(".prose")).not_to_be_empty()
    expect(answer.locator(".facts")).to_contain_text("t/s")


def test_u03_given_a_model_that_is_killed_when_looking_then_its_row_says_by_what(
    llama: LiveDaemon, window: OpenWindow
) -> None:
    page = window(llama.url, expected=missing(llama)).open("models")
    line = page.locator('li[data-model="finch"]')
    expect(line).to_be_visible()  # only then is there a button, or none
    if line.get_by_role("button", name="Load finch").count():
        line.get_by_role("button", name="Load finch").click()
    expect(line).to_contain_text("ready")
    with llama.client() as client:
        pid = client.get("/api/models/finch").json()["pid"]

    os.kill(pid, signal.SIGKILL)

    expect(line).to_contain_text("failed")
    expect(line).to_contain_text("SIGKILL")
    line.get_by_text("Last lines of its log").click()
    expect(line.locator("pre")).to_contain_text("model", ignore_case=True)


def test_given_this_machine_when_its_pages_are_opened_then_they_say_what_there_is_and_was_tried(
    llama: LiveDaemon, window: OpenWindow
) -> None:
    with llama.client() as client:
        known = client.get("/api/hardware").json()
        probes = client.get("/api/performance").json()["probes"]
    opened = window(llama.url, expected=missing(llama))

    page = opened.open("performance")

    expect(page.get_by_role("img", name="CPU: average")).to_be_visible()
    expect(page.get_by_role("img", name="Memory: memory")).to_be_visible()
    for probe in probes:
        if not probe["ok"]:
            expect(page.get_by_text(probe["message"])).to_be_visible()
    opened.open("hardware")
    expect(page.get_by_text(known["operating_system"]["kernel"])).to_be_visible()
    page.get_by_role("tab", name="Text").click()
    expect(page.locator("pre")).to_contain_text(f"Captured: {known['captured_at']}")
