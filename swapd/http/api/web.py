"""What a browser meets first: the redirects into the user interface, and a page where there is none."""

from __future__ import annotations

import html
from typing import Final

from starlette.requests import Request
from starlette.responses import HTMLResponse, Response

from swapd.http.answers import not_found, redirect
from swapd.http.api.control import Control
from swapd.http.paths import location, parameter
from swapd.http.server.asgi import ASGIApp, Receive, Scope, Send


class Redirect:
    """An answer that sends the client to another path of this server; `target` is an ASCII path."""

    def __init__(self, status: int, target: str) -> None:
        self._status = status
        self._target = target

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await redirect(scope, send, self._status, self._target)


async def root(control: Control, request: Request) -> ASGIApp:
    return Redirect(302, "/ui")


async def ui_without_slash(control: Control, request: Request) -> ASGIApp:
    return Redirect(307, "/ui/")


async def upstream_overview(control: Control, request: Request) -> ASGIApp:
    """`GET /upstream`: without a model there is nothing to pass through to, but a page that lists them."""
    return Redirect(302, "/ui/models")


async def upstream_without_slash(control: Control, request: Request) -> ASGIApp:
    return Redirect(307, location(b"/upstream/", request.scope["query_string"]))


async def ui(control: Control, request: Request) -> Response | ASGIApp:
    """`/ui/…`: the page itself; a missing file is not found, a deep path goes to its hash route."""
    path = parameter(request.path_params["path"])
    if not path:
        return HTMLResponse(_page(control))
    if "." in path.rpartition("/")[2]:
        return _not_found
    return Redirect(302, "/ui/#" + location(b"/" + path.encode()))


async def _not_found(scope: Scope, receive: Receive, send: Send) -> None:
    await not_found(scope, send)


def _page(control: Control) -> str:
    """A page that works without a user interface having been built: what runs, and where to look.

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
{table}
<p><a href="../v1/models">models</a> · <a href="../running">running</a> · <a href="../logs/stream">log</a></p>
</html>
"""
