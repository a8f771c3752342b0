"""`swapd bench`: ask a running swapd many times, and say how fast it and its models are.

Exit code 0 if there were answers and all assertions hold, 1 if not, 130 after Ctrl-C (with the report of what
was measured until then).
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Sequence
from ipaddress import ip_address
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

from swapd.cli.client import Address
from swapd.cli.client_command import ClientParser, Invocation
from swapd.cli.errors import CliError, ExitCode, UsageError
from swapd.cli.model_names import find_model
from swapd.cli.output import Output, printable
from swapd.cli.progress import showing

if TYPE_CHECKING:
    from swapd.cli.load_test.run import Plan, Run

_WORDS: Final = ("tide", "lamp", "river", "stone", "cloud", "paper", "wind", "tower")
_MOST_AT_ONCE: Final = 1000


def run(argv: Sequence[str]) -> int:
    from swapd.cli.load_test.report import summarise
    from swapd.cli.load_test.run import carry_out, warm_up

    parser = _parser()
    command = parser.open(argv)
    _must_be_meant(parser, command.client.address)
    plan = _plan(parser, command)
    client, output = command.client, command.output
    with showing(output, "warming up"):
        warm_up(client, plan, command.values["warmup"] or 0)
    with showing(output, "asking", total=plan.requests) as work:
        done = carry_out(client, plan, work.advance)
    if not done.outcomes and not done.interrupted:
        raise CliError("cannot report: no request has ended in time", "give it more time: --duration")
    summaries = summarise(done)
    failures = [why for each in command.values["assert"] or () if (why := each.failure(summaries[-1]))]
    _print(output, plan, done, summaries, failures, as_markdown=bool(command.values["md"]))
    if done.interrupted:
        return ExitCode.INTERRUPTED
    answered = any(not outcome.error for outcome in done.outcomes)
    return ExitCode.FAILED if failures or not answered else ExitCode.OK


def _parser() -> ClientParser:
    from swapd.cli.load_test.question import PATHS, USUAL_PROMPT
    from swapd.cli.load_test.report import assertion
    from swapd.cli.load_test.run import PATTERNS

    parser = ClientParser(
        "bench",
        "Ask a running swapd many times, and say how fast it and its models are.",
        epilog="TTFT is the time to the first token, TOKENS/S the speed of one answer, ALL that of all\n"
        "answers together, STARTS how often models were started. Ctrl-C prints what has been measured.",
    )
    parser.add_value(
        "model", "a model to ask; may be repeated (default: all that are ready)", "ID", repeatable=True
    )
    parser.add_value("requests", "how many requests (default 100)", "N", _count(1, 1_000_000), twin=False)
    parser.add_value("concurrency", "how many at once (default 1)", "N", _count(1, _MOST_AT_ONCE), twin=False)
    parser.add_duration("duration", "stop after this time (default 5m)", twin=False)
    parser.add_value("rate", "start no more than so many a second", "R", _rate, twin=False)
    parser.add_value("prompt", f"what to ask; @FILE reads it (default {USUAL_PROMPT!r})", "TEXT", twin=False)
    parser.add_value(
        "prompt-tokens", "ask with a text of about so many tokens", "N", _count(1, 1_000_000), twin=False
    )
    parser.add_value("max-tokens", "the longest answer (default 256)", "N", _count(1, 1_000_000), twin=False)
    parser.add_value("endpoint", f"{', '.join(PATHS)} (default chat)", "API", _one_of(PATHS), twin=False)
    parser.add_switch("stream", "have answers streamed (default true)", twin=False)
    parser.add_switch("no-stream", "have answers in one piece", twin=False)
    parser.add_value(
        "swap-pattern",
        f"in which order models are asked: {', '.join(PATTERNS)} (default round-robin)",
        "ORDER",
        _one_of(PATTERNS),
        twin=False,
    )
    parser.add_value(
        "warmup", "ask each model so often first, unmeasured (default 0)", "N", _count(0, 1000), twin=False
    )
    parser.add_value(
        "assert",
        "fail unless this holds: p95_ttft<2s, errors==0, tokens_per_s>20, …; may be repeated",
        "BOUND",
        assertion,
        repeatable=True,
        twin=False,
    )
    parser.add_switch("md", "print a table in Markdown", twin=False)
    return parser


def _must_be_meant(parser: ClientParser, address: Address) -> None:
    """Load on another machine only if that machine was named."""
    if address.socket_path or _is_loopback(address.host) or "url" in parser.on_command_line:
        return
    raise UsageError(
        f"wrong usage: {address.url} is another machine, and was not named on the command line",
        f"to put load on it, say so: --url {address.url}",
    )


def _is_loopback(host: str) -> bool:
    try:
        return ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"


def _plan(parser: ClientParser, command: Invocation) -> Plan:
    from swapd.cli.load_test.question import Question
    from swapd.cli.load_test.run import Plan

    values = command.values
    if values["prompt"] is not None and values["prompt-tokens"] is not None:
        parser.fail("--prompt and --prompt-tokens exclude each other")
    given: dict[str, Any] = {
        "endpoint": values["endpoint"],
        "prompt": _prompt(values["prompt"], values["prompt-tokens"]),
        "max_tokens": values["max-tokens"],
    }
    streams = values["stream"] is not False and not values["no-stream"]
    question = Question(**_without_none(given), stream=streams)
    more = {
        "requests": values["requests"],
        "duration_s": values["duration"],
        "concurrency": values["concurrency"],
        "rate": values["rate"],
        "pattern": values["swap-pattern"],
    }
    return Plan(_models(command), question, **_without_none(more))


def _without_none(values: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if value is not None}


def _models(command: Invocation) -> tuple[str, ...]:
    """Those that were named; else those that are ready, so that nothing is started unasked."""
    if command.values["model"]:
        return tuple(find_model(command.client, name, "ask")["id"] for name in command.values["model"])
    entries = command.client.get("/api/models")["models"]
    ready = tuple(entry["id"] for entry in entries if entry["state"] == "ready")
    if not ready:
        raise CliError("cannot ask: no model is ready", "name one with --model, which also starts it")
    return ready


def _prompt(text: str | None, tokens: int | None) -> str | None:
    if tokens is not None:
        return " ".join(_WORDS[number % len(_WORDS)] for number in range(tokens))
    if text is None or not text.startswith("@"):
        return text
    try:
        return Path(text[1:]).read_text()
    except OSError as error:
        raise CliError(f"cannot read the prompt from {text[1:]}: {error.strerror or error}") from None
    except UnicodeDecodeError:
        raise CliError(f"cannot read the prompt from {text[1:]}: it is no text") from None


def _print(
    output: Output,
    plan: Plan,
    done: Run,
    summaries: list[dict[str, Any]],
    failures: Sequence[str],
    *,
    as_markdown: bool,
) -> None:
    from swapd.cli.load_test.report import COLUMNS, in_words, markdown, row

    if output.as_json:
        *models, total = summaries
        output.document(
            {
                "endpoint": plan.question.endpoint,
                "stream": plan.question.streams,
                "concurrency": plan.concurrency,
                "lasted_s": round(done.lasted_s, 3),
                "interrupted": done.interrupted,
                "models": models,
                "total": total,
                "failed": list(failures),
            }
        )
    elif as_markdown:
        output.line(markdown(summaries))
    else:
        output.table(COLUMNS, [row(summary) for summary in summaries])
        output.done(
            f"{len(done.outcomes)} requests in {in_words(done.lasted_s)}, {plan.concurrency} at once"
            + (", interrupted" if done.interrupted else "")
        )
    for error, count in summaries[-1]["errors"].items():
        output.note(f"swapd: {count} × {'status ' if error.isdigit() else ''}{printable(error)}")
    for why in failures:
        output.note(f"swapd: does not hold: {printable(why)}")


def _count(least: int, most: int) -> Callable[[str], int]:
    def parse(text: str) -> int:
        if text.isascii() and text.isdecimal() and least <= int(text[:10]) <= most:
            return int(text)
        raise argparse.ArgumentTypeError(f"{text!r} is no number from {least} to {most}")

    return parse


def _rate(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        value = 0.0
    if 0 < value < 1e6:
        return value
    raise argparse.ArgumentTypeError(f"{text!r} is no number of requests a second")


def _one_of(names: Sequence[str] | dict[str, str]) -> Callable[[str], str]:
    def parse(text: str) -> str:
        if text in names:
            return text
        raise argparse.ArgumentTypeError(f"{text!r} is none of {', '.join(names)}")

    return parse
