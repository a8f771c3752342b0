"""The pages on routes and error codes have what the code has: docs/api.md and docs/troubleshooting.md."""

from __future__ import annotations

import re

from swapd.http.api.reference import reference
from swapd.http.api.routes import ADMIN_ONLY, NO_KEY_NEEDED
from swapd.http.api.routes import ROUTES as API_ROUTES
from swapd.http.errors import CASES
from swapd.http.proxy.ollama.api import ROUTES as OLLAMA_ROUTES
from swapd.http.proxy.routes import MODEL_ROUTES
from tests.documents import ROOT


def page(path: str) -> str:
    return (ROOT / "docs" / path).read_text()


def test_the_error_codes_are_those_of_the_code_each_with_its_status() -> None:
    """If not: give the new code a row in docs/troubleshooting.md, with what it means and what helps."""
    table = page("troubleshooting.md").partition("## Codes in answers")[2].partition("\n## ")[0]
    rows = re.findall(r"^\| `(\w+)` \| (\d+) \| .{10,} \| .{10,} \|$", table, re.MULTILINE)
    assert {code: int(status) for code, status in rows} == {code: case.status for code, case in CASES.items()}
    assert len(rows) == len(CASES)


def _routes(text: str) -> set[tuple[str, str]]:
    found = re.findall(r"`(GET|POST|PUT|DELETE) (/[^`\s]*)`", text)
    return {(method, re.sub(r"\{[^/]*\}$", "{}", path)) for method, path in found}


def _section(text: str, title: str) -> str:
    return text.partition(f"## {title}")[2].partition("\n## ")[0]


def test_the_api_page_has_every_route_and_no_other() -> None:
    """If not: give the new route a row in docs/api.md."""
    text = page("api.md")
    models = {
        (method, path) for path, methods in MODEL_ROUTES.items() for method in methods if method != "HEAD"
    }
    assert _routes(_section(text, "For models")) == models
    managing = {
        (method, re.sub(r"\{[^/]*\}$", "{}", path))
        for path, handlers in API_ROUTES.items()
        for method in handlers
        if method in ("GET", "POST", "PUT", "DELETE")
    }
    session = {(method, "/api/session") for method in ("GET", "POST", "DELETE")}
    made = session | {("GET", "/openapi.json")}
    assert _routes(_section(text, "For looking at it and managing it")) == managing | made
    ollama = re.findall(r"`(?:\w+ )?(/api/\w+)`", _section(text, "For Ollama's clients"))
    assert set(ollama) == {path for path in OLLAMA_ROUTES if path.startswith("/api/")}


def test_the_api_page_says_who_may_ask() -> None:
    rows = re.findall(r"^\| (.+?) \| (any key|admin|open) \|", page("api.md"), re.MULTILINE)
    said = {(method, path): who for cell, who in rows for method, path in _routes(cell)}
    for path in API_ROUTES:
        shape = re.sub(r"\{[^/]*\}$", "{}", path)
        expected = "admin" if path in ADMIN_ONLY else "open" if path in NO_KEY_NEEDED else "any key"
        for (_, documented), who in said.items():
            if documented == shape:
                assert who == expected, path


def test_the_page_of_details_is_current() -> None:
    """If not: python -m swapd.http.api.reference docs/api-details.md"""
    assert reference() == page("api-details.md")


def test_the_page_of_details_has_every_route() -> None:
    headings = set(re.findall(r"^### `(\w+) (/.*)`$", page("api-details.md"), re.MULTILINE))
    for path, handlers in API_ROUTES.items():
        for method in handlers:
            if method in ("GET", "POST", "PUT", "DELETE"):
                assert (method, re.sub(r"\{(\w+):\w+\}", r"{\1}", path)) in headings
