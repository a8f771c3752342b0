"""The tables of `swapd top`, which are the same on both of its screens."""

from __future__ import annotations

import time
from typing import Any, Final

from swapd.cli import ps
from swapd.cli.monitor.picture import Picture
from swapd.cli.output import UNKNOWN, Cell, Column, duration, printable, size

MODEL_COLUMNS: Final = ps.COLUMNS
REQUEST_COLUMNS: Final = (
    Column("REQUEST", right=True),
    Column("MODEL", cut=True),
    Column("CLIENT"),
    Column("PATH", cut=True),
    Column("ELAPSED", right=True),
    Column("RECEIVED", right=True),
)


def headline(picture: Picture, url: str) -> str:
    """Which daemon this is, and whether it is there."""
    if picture.problem:
        return f"swapd at {url}: {printable(picture.problem)}"
    if not picture.status:
        return f"swapd at {url}: connecting"
    config = picture.status["config"]
    return (
        f"swapd {picture.status['version']} at {url}, config {config['state']}, "
        f"{_counted(len(picture.models), 'model')}, {_counted(len(picture.requests), 'request')} in flight"
    )


def model_rows(picture: Picture) -> list[list[Cell]]:
    return [ps.row(entry, time.time()) for entry in picture.models]


def request_rows(picture: Picture) -> list[list[Cell]]:
    """The oldest first."""
    ordered = sorted(picture.requests.values(), key=picture.elapsed_s, reverse=True)
    return [_request_row(picture, request) for request in ordered]


def _request_row(picture: Picture, request: dict[str, Any]) -> list[Cell]:
    received = request.get("resp_bytes")
    return [
        request["id"],
        request["model"] or UNKNOWN,
        request.get("remote_ip") or UNKNOWN,
        request["req_path"],
        duration(picture.elapsed_s(request)),
        size(received / 1024**2) if received and received >= 1024**2 else f"{received or 0} B",
    ]


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"
