"""`swapd activity`: the requests of the past, as a table or exported whole."""

from __future__ import annotations

import argparse
import json
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

from swapd.cli.client import Client
from swapd.cli.client_command import ClientParser, Invocation, seconds
from swapd.cli.errors import ExitCode
from swapd.cli.output import UNKNOWN, Cell, Column, Output, Styled, duration, local_time, printable
from swapd.cli.progress import showing

PATH: Final = "/api/metrics/activity"
FORMATS: Final = ("csv", "jsonl", "md")
COLUMNS: Final = (
    Column("ID", right=True),
    Column("TIME"),
    Column("MODEL", cut=True),
    Column("PATH", cut=True),
    Column("STATUS", right=True),
    Column("PROMPT", right=True),
    Column("CACHED", right=True),
    Column("OUTPUT", right=True),
    Column("TOKENS/S", right=True),
    Column("DURATION", right=True),
)
_FILTERS: Final = {
    "status": "status: a code, 4xx, 5xx or error",
    "path": "path",
    "key": "name of the API key",
    "session": "session",
    "search": "text in path, model or error",
}
_PARAMETERS: Final = {"search": "q"}


def run(argv: Sequence[str]) -> int:
    parser = ClientParser(
        "activity",
        "List the requests of the past, the newest first.",
        epilog="An export holds all requests that match, the oldest first.",
    )
    parser.add_value("model", "only of this model; may be repeated", "ID", repeatable=True, twin=False)
    for name, what in _FILTERS.items():
        parser.add_value(name, f"only with this {what}", name.upper(), twin=False)
    parser.add_value("since", "only after this: 2h ago, or 2026-08-01T12:00:00Z", "TIME", moment, twin=False)
    parser.add_value("until", "only before this", "TIME", moment, twin=False)
    parser.add_value("limit", "how many at most (default 25)", "N", int, short="n", twin=False)
    parser.add_value("export", f"write all that match as {', '.join(FORMATS)}", "FORMAT", _format, twin=False)
    command = parser.open(argv)
    query = _query(command.values)
    if command.values["export"] is not None:
        _export(command, query, command.values["export"])
        return ExitCode.OK
    limit = 25 if command.values["limit"] is None else command.values["limit"]
    page: dict[str, Any] = command.client.get(PATH, {**query, "limit": limit})
    if command.output.as_json:
        command.output.document(page)
        return ExitCode.OK
    command.output.table(COLUMNS, [row(entry) for entry in page["data"]])
    if page["total"] > len(page["data"]):
        command.output.note(f"swapd: {len(page['data'])} of {page['total']} requests; --limit shows more")
    return ExitCode.OK


def moment(text: str) -> str:
    """A point in time for the API: RFC 3339 as it is, or so long ago."""
    try:
        at = time.gmtime(time.time() - seconds(text))
    except argparse.ArgumentTypeError:
        from datetime import datetime

        try:
            return datetime.fromisoformat(text).astimezone().isoformat()
        except ValueError:
            raise argparse.ArgumentTypeError(
                f"{text!r} is neither a duration such as 2h nor a time such as 2026-08-01T12:00:00Z"
            ) from None
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", at)


def row(entry: dict[str, Any]) -> list[Cell]:
    tokens = entry["tokens"]
    status = entry["resp_status_code"]
    return [
        str(entry["id"]),
        local_time(entry["timestamp"]),
        entry["model"],
        entry["req_path"],
        Styled(str(status), "" if status == 200 else "red"),
        _count(tokens["input_tokens"]),
        _count(tokens["cache_tokens"]),
        _count(tokens["output_tokens"]),
        f"{tokens['tokens_per_second']:.1f}" if tokens["tokens_per_second"] > 0 else UNKNOWN,
        duration(entry["duration_ms"] / 1000),
    ]


def _count(tokens: int) -> str:
    """A number of tokens; negative ones say that nobody has told."""
    return UNKNOWN if tokens < 0 else str(tokens)


def _query(values: dict[str, Any]) -> dict[str, Any]:
    query = {_PARAMETERS.get(name, name): values[name] for name in _FILTERS}
    query |= {"model": values["model"], "start": values["since"], "end": values["until"]}
    return {name: value for name, value in query.items() if value is not None}


def _format(text: str) -> str:
    if text not in FORMATS:
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(FORMATS)}")
    return text


def _export(command: Invocation, query: dict[str, Any], form: str) -> None:
    """Write all rows to standard output as they come; how far that is, to a terminal on standard error."""
    total = command.client.get(PATH, {**query, "limit": 1})["total"]
    watched = Output(stream=sys.stderr, quiet=command.output.quiet or command.output.is_terminal)
    if watched.is_terminal:
        with showing(watched, "exporting", total=total) as work:
            for number, line in enumerate(_lines(command.client, query, form), 1):
                sys.stdout.write(line)
                if number % 200 == 0:
                    work.advance(number)
    else:
        sys.stdout.writelines(_lines(command.client, query, form))
    sys.stdout.flush()


def _lines(client: Client, query: dict[str, Any], form: str) -> Iterator[str]:
    wanted = {**query, "format": "jsonl" if form == "md" else form}
    with client.open("GET", PATH, wanted, accept="*/*") as answer:
        if form == "md":
            yield from _as_markdown(answer.lines())
        else:
            for line in answer.lines():
                yield line.decode(errors="replace") + "\n"


def _as_markdown(lines: Iterator[bytes]) -> Iterator[str]:
    yield f"| {' | '.join(column.title for column in COLUMNS)} |\n"
    yield f"|{'|'.join('---:' if column.right else '---' for column in COLUMNS)}|\n"
    for line in lines:
        cells = [cell if isinstance(cell, str) else cell.text for cell in row(json.loads(line))]
        yield f"| {' | '.join(printable(cell).replace('|', '&#124;') for cell in cells)} |\n"
