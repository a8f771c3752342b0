"""`swapd cancel`: end a request that is being answered, or waits to be."""

from __future__ import annotations

from collections.abc import Sequence

from swapd.cli.client import ApiError, segment
from swapd.cli.client_command import ClientParser
from swapd.cli.errors import CliError, ExitCode
from swapd.cli.output import printable


def run(argv: Sequence[str]) -> int:
    parser = ClientParser(
        "cancel",
        "End a request that is in flight, as if its client had left.",
        usage="swapd cancel ID [flags]",
        epilog="The id is that of the web UI's list of requests in flight.",
        has_json=False,
    )
    parser.add_words("ID", 1, 1)
    command = parser.open(argv)
    [id] = command.words
    try:
        command.client.post(f"/api/inflight/{segment(id)}/cancel")
    except ApiError as error:
        if error.status != 404:
            raise
        raise CliError(
            f"cannot cancel {printable(id)}: there is no request of that id in flight", "it may have ended"
        ) from None
    command.output.done(f"{printable(id)}: cancelled")
    return ExitCode.OK
