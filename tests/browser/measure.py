"""How quickly the pages follow: figures, printed as a table.

    python -m tests.browser.measure

300 models, 100,000 activity rows, 300 tokens a second, 5,000 log lines a second. A reaction is the time from
an input event to the end of the frame that shows its result. What the tests assert is what makes these
figures hold on any machine: how many elements there are, and which of them are laid out anew.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from statistics import median
from typing import Final

from playwright.sync_api import Page

from tests.browser.conftest import browser, chromium_path, demo_models, live_daemon, until
from tests.browser.floods import flooding_model, scripted_server, store_with_rows

ROWS: Final = 100_000
REST_MS: Final = 1000
"""Between two steps, so that the totals of one do not count for the next."""

KEYS: Final = ["m", "mo", "model-1", "model-12", ""]

REACTION: Final = """async ([selector, texts]) => {
    const field = document.querySelector(selector);
    const times = [];
    for (const text of texts) {
        const from = performance.now();
        field.value = text;
        field.dispatchEvent(new Event("input", {bubbles: true}));
        await new Promise(done => requestAnimationFrame(() => setTimeout(done)));
        times.push(performance.now() - from);
    }
    return times;
}"""

FRAMES: Final = """ms => new Promise(done => {
    const frames = [];
    const begun = performance.now();
    let last = begun;
    requestAnimationFrame(function tick(now) {
        frames.push(now - last);
        last = now;
        if (now - begun < ms) requestAnimationFrame(tick); else done(frames);
    });
})"""

Figure = tuple[str, float, str]


@contextmanager
def page_of(config: str, directory: Path) -> Iterator[tuple[Page, str]]:
    """A page of a daemon with this configuration, and the daemon's address."""
    path = chromium_path()
    if path is None:
        raise SystemExit("no Chromium: install it, or name it with CHROMIUM=/path")
    with live_daemon(directory, config) as daemon, browser(path) as chromium:
        page = chromium.new_page(viewport={"width": 1280, "height": 800})
        page.set_default_timeout(60_000)
        yield page, daemon.url


def models(directory: Path) -> Iterator[Figure]:
    """300 models: a key in the search field, and the page while a model comes and goes."""
    many = [f"  model-{n:03}: {{cmd: 'true ${{PORT}}'}}" for n in range(297)]
    with page_of(demo_models(*many), directory) as (page, url):
        page.goto(f"{url}/ui/#/models")
        page.locator('li[data-model="finch"]').wait_for()
        yield from reactions("300 models, key", page, "[data-filter]", KEYS * 4)
        page.get_by_role("button", name="Load finch").click()
        yield from frames("300 models, one starts", page, 3)
        yield "300 models, elements", page.evaluate("document.querySelectorAll('*').length"), ""


def activity(directory: Path) -> Iterator[Figure]:
    """100,000 rows: opening, the next page, another order, a search."""
    directory.mkdir(parents=True)
    with page_of(demo_models() + store_with_rows(directory / "rows.db", ROWS), directory) as (page, url):
        page.goto(f"{url}/ui/#/models")
        page.locator('li[data-model="finch"]').wait_for()
        for label, act, done in (
            ("opened", "location.hash = '#/activity'", "document.querySelectorAll('tbody tr').length === 25"),
            (
                "next page",
                "document.querySelector('[aria-label=\"Next page\"]').click()",
                "/Page 2 /.test(document.body.innerText) && !document.querySelector('[aria-busy=true]')",
            ),
            (
                "sorted by decode speed",
                "[...document.querySelectorAll('th button')].find(b => /Decode/.test(b.innerText)).click()",
                "document.querySelector('th[aria-sort] button')?.innerText.includes('Decode')"
                " && !document.querySelector('[aria-busy=true]')",
            ),
            (
                "errors only",
                "[...document.querySelectorAll('button')].find(b => b.innerText === 'Errors').click()",
                "[...document.querySelectorAll('tbody tr')].every(row => row.classList.contains('bad'))",
            ),
        ):
            took = page.evaluate(f"() => {{ const from = performance.now(); {act}; return from; }}")
            until(page, done)
            yield f"100,000 rows, {label}", page.evaluate("performance.now()") - took, "ms"
            page.wait_for_timeout(REST_MS)
        yield from reactions("100,000 rows, key", page, "[data-filter]", ["o", "ou", "out", "out ", "out o"])
        yield "100,000 rows, elements", page.evaluate("document.querySelectorAll('*').length"), ""


def chat(directory: Path) -> Iterator[Figure]:
    """An answer of 300 tokens a second: its frames, and a key in the composer meanwhile."""
    with scripted_server() as peer, page_of(demo_models() + peer, directory) as (page, url):
        page.goto(f"{url}/ui/#/playground/chat?model=lab%2Fnasty")
        page.get_by_role("textbox", name="Message").fill("fast")
        page.keyboard.press("Enter")
        page.locator(".prose table").first.wait_for()
        yield from frames("300 tokens/s", page, 1.5)
        yield from reactions("300 tokens/s, key", page, "textarea", ["a", "ab", "abc", "abcd"])


def logs(directory: Path) -> Iterator[Figure]:
    """5,000 lines a second for ten seconds: frames, a key in the filter, memory."""
    directory.mkdir(parents=True)
    with page_of(demo_models(flooding_model(directory)), directory) as (page, url):
        page.goto(f"{url}/ui/#/models")
        page.get_by_role("button", name="Load noisy").click()
        page.locator('li[data-model="noisy"]').get_by_text("ready").wait_for()
        page.goto(f"{url}/ui/#/logs/noisy")
        page.get_by_text("of the flood").first.wait_for()
        yield from frames("5,000 lines/s", page, 10)
        yield (
            "5,000 lines/s, heap after 10 s",
            page.evaluate("performance.memory.usedJSHeapSize") / 2**20,
            "MiB",
        )
        yield from reactions("5,000 lines/s, key", page, "[data-filter]", ["7", "77", "777", ""] * 3)
        yield "5,000 lines/s, elements", page.evaluate("document.querySelectorAll('*').length"), ""


def reactions(label: str, page: Page, field: str, texts: list[str]) -> Iterator[Figure]:
    times = page.evaluate(REACTION, [field, texts])
    yield f"{label}, median", median(times), "ms"
    yield f"{label}, longest", max(times), "ms"


def frames(label: str, page: Page, seconds: float) -> Iterator[Figure]:
    times = sorted(page.evaluate(FRAMES, seconds * 1000))
    yield f"{label}, 95 of 100 frames within", times[int(len(times) * 0.95)], "ms"
    yield f"{label}, longest frame", times[-1], "ms"


def heap(page: Page) -> float:
    """Bytes that scripts use, once what they use no more has been collected."""
    tools = page.context.new_cdp_session(page)
    tools.send("HeapProfiler.collectGarbage")
    used: float = tools.send("Runtime.getHeapUsage")["usedSize"]
    return used


PARTS: Final[tuple[Callable[[Path], Iterator[Figure]], ...]] = (models, activity, chat, logs)


def main() -> int:
    with tempfile.TemporaryDirectory() as directory:
        for part in PARTS:
            for label, value, unit in part(Path(directory) / part.__name__):
                sys.stdout.write(f"{label:45} {value:10.0f} {unit}\n")
                sys.stdout.flush()
    return 0


if __name__ == "__main__":
    sys.exit(main())
