"""From the name of a model on the command line to what the daemon knows of it."""

from __future__ import annotations

from typing import Any

from swapd.cli.client import ApiError, Client, segment
from swapd.cli.errors import CliError
from swapd.cli.output import printable


def find_model(client: Client, name: str, verb: str) -> dict[str, Any]:
    """What `GET /api/models/{name}` tells of a model of the daemon's own machine.

    Raises `CliError`, which names the three nearest models if there is none of that name; `verb` is what it
    was wanted for.
    """
    try:
        model: dict[str, Any] = client.get(f"/api/models/{segment(name)}")
    except ApiError as error:
        if error.status != 404:
            raise
        raise _unknown(client, name, verb) from None
    if model.get("peerID"):
        raise CliError(
            f"cannot {verb} {printable(name)}: it runs on another machine",
            f"ask the swapd of {printable(model['peerID'])}, with --url",
        )
    return model


def _unknown(client: Client, name: str, verb: str) -> CliError:
    from difflib import get_close_matches

    known = [
        name
        for entry in client.get("/api/models")["models"]
        if not entry["peerID"]
        for name in (entry["id"], *entry.get("aliases", ()))
    ]
    nearest = get_close_matches(name[:200], known, n=3, cutoff=0.0)
    hint = f"did you mean {', '.join(map(printable, nearest))}?" if nearest else "no models are configured"
    return CliError(f"cannot {verb} {printable(name)}: there is no model of that name", hint)
