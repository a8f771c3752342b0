"""U13: pictures of every page of a real daemon, at both sizes and in both themes, to be looked at.

    python -m tests.browser.pictures                 into docs/screenshots, as WebP
    python -m tests.browser.pictures DIRECTORY       the same as PNG, without touching docs/screenshots
    python -m tests.browser.pictures DIRECTORY chat models

The daemon serves the demo's models with llama.cpp, and stand-ins for what llama.cpp does not do. What the
pictures show has happened: the requests have been answered, one model has failed. Needs Chromium.
"""

from __future__ import annotations

import base64
import json
import os
import shlex
import shutil
import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final

import httpx
from attrs import frozen
from playwright.sync_api import Browser, Page

from swapd.cli.demo import MODELS, model_file
from swapd.testing.daemon import upstream_command
from swapd.testing.gguf import write_tiny_model
from tests.browser.conftest import SIZES, LiveDaemon, browser, chromium_path, live_daemon
from tests.browser.test_playground import choose

KEPT: Final = Path(__file__).parents[2] / "docs" / "screenshots"
MOST_BYTES: Final = 2 * 1024 * 1024
QUALITY: Final = 72
SETTLE_MS: Final = 700

QUESTIONS: Final = (
    "Who are you?",
    "What do owls eat?",
    "Write a haiku about a lighthouse.",
    "Explain what a swap is, in two sentences.",
    "Translate 'good morning' into French.",
)

Act = Callable[[Page], None]


@frozen
class Shot:
    """One page: its name, its route, and what is done there before the picture is taken."""

    name: str
    route: str
    act: Act = lambda page: None


def chat(page: Page) -> None:
    page.get_by_role("textbox", name="Message").fill(QUESTIONS[0])
    page.keyboard.press("Enter")
    page.get_by_role("button", name="Ask again").wait_for()


def images(page: Page) -> None:
    choose(page, "painter")
    page.get_by_role("textbox", name="Prompt", exact=True).fill("A lighthouse at dusk, oil on canvas")
    for n in range(4):
        page.get_by_role("button", name="Draw").click()
        page.get_by_role("button", name="Enlarge").nth(n).wait_for()


def speech(page: Page) -> None:
    choose(page, "speaker")
    page.get_by_role("textbox", name="Text").fill("Good evening. The kettle is on.")
    page.get_by_role("checkbox", name="Play at once").uncheck()
    page.get_by_role("button", name="Speak").click()
    page.locator("audio").wait_for()


def transcription(page: Page) -> None:
    choose(page, "speaker")
    page.get_by_label("Recording").set_input_files(
        {"name": "memo.wav", "mimeType": "audio/wav", "buffer": b"RIFF"}
    )
    page.get_by_role("button", name="Transcribe").click()
    page.locator(".whole").wait_for()


def rerank(page: Page) -> None:
    choose(page, "ranker")
    page.get_by_role("button", name="Example").click()
    page.get_by_role("button", name="Rank").click()
    page.locator("tbody tr:visible").first.wait_for()


def embeddings(page: Page) -> None:
    choose(page, "finch")
    for n, text in enumerate(
        ("An owl hunts at night.", "Owls are birds of the night.", "The train is late."), 1
    ):
        page.get_by_role("textbox", name=f"Text {n}").fill(text)
    page.get_by_role("button", name="Compare").click()
    page.locator("tbody tr:visible").first.wait_for()


def load_test(page: Page) -> None:
    for model in ("owl", "wren", "owl"):
        choose(page, model, "Add a model")
    page.get_by_role("spinbutton", name="Most tokens").fill("200")
    page.get_by_role("spinbutton", name="Times each").fill("2")
    page.get_by_role("button", name="Go").click()
    page.get_by_role("button", name="Clear").wait_for(timeout=60_000)


def capture(page: Page) -> None:
    page.get_by_role("dialog").get_by_role("button", name="Chat").first.click()


SHOTS: Final = (
    Shot("models", "models"),
    Shot("model", "models/owl"),
    Shot("activity", "activity"),
    Shot("capture", "activity/1", capture),
    Shot("logs", "logs"),
    Shot("chat", "playground/chat?model=owl", chat),
    Shot("images", "playground/images", images),
    Shot("speech", "playground/speech", speech),
    Shot("transcription", "playground/transcription", transcription),
    Shot("rerank", "playground/rerank", rerank),
    Shot("embeddings", "playground/embeddings", embeddings),
    Shot("load-test", "playground/load", load_test),
    Shot("performance", "performance"),
    Shot("hardware", "hardware"),
    Shot("config", "config"),
    Shot("settings", "settings"),
)
SIGN_IN: Final = Shot("sign-in", "models")


def configuration(directory: Path) -> str:
    lines = ["profiles:", "  evening: {description: small models only, pins: {owl: wren}}"]
    lines += [
        "selectors:",
        "  any-bird: {description: whichever is warm, strategy: warm, targets: [owl, wren]}",
    ]
    lines += ["models:"]
    for model in MODELS:
        write_tiny_model(model_file(model, directory), kind=model.kind, seed=model.seed, name=model.id)
        command = shlex.join(
            ["llama-server", "-m", str(model_file(model, directory)), "-a", model.id, *model.flags]
        )
        command += " --port ${PORT}"
        lines.append(
            f"  {model.id}: {{description: '{model.description}', ttl: 600, cmd: {json.dumps(command)}}}"
        )
    for name, description in (
        ("painter", "draws pictures"),
        ("speaker", "speaks and listens"),
        ("ranker", "sorts documents by a question"),
    ):
        command = upstream_command("--load", "400ms", "--tps", "60", "--tokens", "40")
        lines.append(f"  {name}: {{description: {description}, ttl: 300, cmd: {json.dumps(command)}}}")
    broken = shlex.join(
        ["sh", "-c", "echo 'error: /models/heron.gguf: No such file or directory' >&2; exit 1"]
    )
    lines.append(
        f"  heron: {{description: 'its file is missing', cmd: {json.dumps(broken)}, proxy: 'http://127.0.0.1:9'}}"
    )
    return "\n".join(lines) + "\n"


def traffic(client: httpx.Client) -> None:
    """Requests of some minutes at home, in a few seconds."""
    for n in range(24):
        model = "wren" if n % 7 == 3 else "owl"
        body = {
            "model": model,
            "stream": n % 3 != 2,
            "max_tokens": 20 + (n * 37) % 180,
            "messages": [{"role": "user", "content": QUESTIONS[n % len(QUESTIONS)]}],
        }
        agent = {"User-Agent": ("Open WebUI", "curl/8.14.1", "python-openai/2.3")[n % 3]}
        client.post("/v1/chat/completions", json=body, headers=agent)
    client.post("/v1/embeddings", json={"model": "finch", "input": ["a small bird"] * 20})
    client.post("/v1/chat/completions", json={"model": "heron", "messages": []})
    client.post("/v1/chat/completions", json={"model": "owl", "messages": "no list"})


@contextmanager
def home() -> Iterator[Path]:
    """A directory whose path may be seen, with a `llama-server` in the search path as people have it."""
    directory = Path(tempfile.gettempdir()) / "swapd-demo"
    directory.mkdir()
    tools, search = directory / "bin", os.environ["PATH"]
    tools.mkdir()
    server = tools / "llama-server"
    server.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m swapd.testing.llama "$@"\n')
    server.chmod(0o755)
    os.environ["PATH"] = f"{tools}{os.pathsep}{search}"
    try:
        yield directory
    finally:
        os.environ["PATH"] = search
        shutil.rmtree(directory)


@contextmanager
def busy_daemon(directory: Path, more: str = "") -> Iterator[LiveDaemon]:
    with live_daemon(directory, configuration(directory) + more) as daemon:
        yield daemon


def write(page: Page, to: Path) -> None:
    page.mouse.move(0, 0)
    page.evaluate("document.activeElement?.blur()")
    page.wait_for_timeout(SETTLE_MS)
    if to.suffix == ".png":
        page.screenshot(path=to)
        return
    tools = page.context.new_cdp_session(page)
    taken = tools.send("Page.captureScreenshot", {"format": "webp", "quality": QUALITY})
    to.write_bytes(base64.b64decode(taken["data"]))


def take(chromium: Browser, url: str, shots: list[Shot], directory: Path, suffix: str) -> None:
    for size, (width, height) in SIZES.items():
        for scheme in ("light", "dark"):
            page = chromium.new_page(
                viewport={"width": width, "height": height},
                color_scheme="dark" if scheme == "dark" else "light",
                reduced_motion="reduce",
            )
            page.set_default_timeout(30_000)
            for shot in shots:
                page.goto(f"{url}/ui/#/{shot.route}")
                page.locator("main").first.wait_for()
                page.locator("[role=status][aria-label^=Loading]").first.wait_for(state="detached")
                shot.act(page)
                write(page, directory / f"{shot.name}-{size}-{scheme}{suffix}")
            page.close()


def main(arguments: list[str]) -> int:
    path = chromium_path()
    if path is None:
        raise SystemExit("no Chromium: install it, or name it with CHROMIUM=/path")
    to, suffix = (Path(arguments[0]), ".png") if arguments else (KEPT, ".webp")
    wanted = [shot for shot in SHOTS if not arguments[1:] or shot.name in arguments[1:]]
    to.mkdir(parents=True, exist_ok=True)
    with home() as directory, browser(path) as chromium:
        with busy_daemon(directory) as daemon:
            with daemon.client() as client:
                traffic(client)
            take(chromium, daemon.url, wanted, to, suffix)
        if not arguments[1:]:
            with busy_daemon(directory, "apiKeys: [secret]\n") as daemon:
                take(chromium, daemon.url, [SIGN_IN], to, suffix)
    weight = sum(file.stat().st_size for file in to.glob(f"*{suffix}"))
    sys.stdout.write(f"{len(list(to.glob(f'*{suffix}')))} pictures, {weight // 1024} KiB in {to}\n")
    return int(suffix == ".webp" and weight > MOST_BYTES)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
