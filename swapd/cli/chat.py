"""`swapd chat`: talk to a model, once or in turns.

What the model says goes to standard output as it comes; what it thinks before that, and how fast it was, to
standard error.
"""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Iterator, Sequence
from typing import Any, Final

from swapd.cli.client import ApiError
from swapd.cli.client_command import ClientParser, Invocation
from swapd.cli.errors import CliError, ExitCode
from swapd.cli.output import Output, Styled, duration, printable

PROMPT: Final = "> "

Message = dict[str, str]


def run(argv: Sequence[str]) -> int:
    parser = ClientParser(
        "chat",
        "Talk to a model: once with a PROMPT, else in turns until Ctrl-D.",
        usage="swapd chat MODEL [PROMPT] [flags]",
        epilog="Without a PROMPT and with input from a pipe, that is the prompt.",
    )
    parser.add_words("MODEL", 1)
    command = parser.open(argv)
    model, *words = command.words
    if words or not sys.stdin.isatty():
        prompt = " ".join(words) or sys.stdin.read().strip()
        if not prompt:
            parser.fail("there is no prompt, neither on the command line nor on standard input")
        _turn(command, model, [{"role": "user", "content": prompt}])
        return ExitCode.OK
    return _talk(command, model)


def _talk(command: Invocation, model: str) -> int:
    """Ask for prompts and answer them. Ctrl-C ends an answer, and the talk where none is being given."""
    try:
        import readline  # noqa: F401 - gives `input` editing and a history
    except ImportError:
        pass
    messages: list[Message] = []
    while True:
        try:
            prompt = input(PROMPT).strip()
        except EOFError:
            print()
            return ExitCode.OK
        if not prompt:
            continue
        messages.append({"role": "user", "content": prompt})
        try:
            messages.append({"role": "assistant", "content": _turn(command, model, messages)})
        except KeyboardInterrupt:
            print()
            messages.pop()
        except CliError as error:
            messages.pop()
            print(f"swapd: {error}", file=sys.stderr)


class _Heard:
    """What has been heard of an answer so far."""

    def __init__(self, asked: float) -> None:
        self.asked = asked
        self.first: float | None = None
        self.content = ""
        self.pieces = 0
        self.usage: dict[str, Any] = {}
        self.timings: dict[str, Any] = {}

    @property
    def speed(self) -> str:
        """`42 tokens in 1.2s, 35.0 tokens/s, the first after 0.2s`."""
        now = time.monotonic()
        first = now if self.first is None else self.first
        tokens = self.timings.get("predicted_n") or self.usage.get("completion_tokens") or self.pieces
        rate = self.timings.get("predicted_per_second") or (tokens - 1) / max(now - first, 1e-9)
        parts = [f"{tokens} tokens in {duration(now - self.asked)}"]
        if tokens > 1:
            parts.append(f"{rate:.1f} tokens/s")
        return ", ".join([*parts, f"the first after {duration(first - self.asked)}"])


def _turn(command: Invocation, model: str, messages: list[Message]) -> str:
    """Have one answer come in, printing it; its text."""
    output = command.output
    heard = _Heard(time.monotonic())
    body = {
        "model": model,
        "messages": messages,
        "stream": True,
        "stream_options": {"include_usage": True},
    }
    try:
        answer = command.client.open("POST", "/v1/chat/completions", body=body, timeout_s=None)
    except ApiError as error:
        raise CliError(
            f"cannot talk to {printable(model)}: {printable(error.why)}",
            error.hint or ("`swapd models` lists what there is" if error.status == 404 else ""),
            ExitCode(error.code),
        ) from None
    with answer:
        for chunk in _chunks(answer.lines()):
            _hear(output, heard, chunk)
    if output.as_json:
        output.document({"model": model, "content": heard.content, "usage": heard.usage or None})
        return heard.content
    output.line()
    output.note(heard.speed)
    return heard.content


def _chunks(lines: Iterator[bytes]) -> Iterator[dict[str, Any]]:
    """The JSON of a stream of server-sent events. Raises `CliError` for an error in the middle of it."""
    for line in lines:
        data = line.strip().removeprefix(b"data:").strip()
        if not line.startswith(b"data:") or data == b"[DONE]":
            continue
        try:
            chunk = json.loads(data)
        except ValueError:
            continue
        if isinstance(chunk, dict) and chunk.get("error"):
            error = chunk["error"]
            why = error.get("message") if isinstance(error, dict) else error
            raise CliError(f"the answer broke off: {printable(str(why))}")
        if isinstance(chunk, dict):
            yield chunk


def _hear(output: Output, heard: _Heard, chunk: dict[str, Any]) -> None:
    heard.usage = chunk.get("usage") or heard.usage
    heard.timings = chunk.get("timings") or heard.timings
    for choice in chunk.get("choices") or ():
        delta = choice.get("delta") or {}
        thought, said = delta.get("reasoning_content") or "", delta.get("content") or ""
        if (thought or said) and heard.first is None:
            heard.first = time.monotonic()
        heard.pieces += bool(thought or said)
        heard.content += said
        if output.as_json:
            continue
        if thought and not output.quiet:
            print(output.styled(Styled(_speakable(thought), "dim")), end="", file=sys.stderr, flush=True)
        print(_speakable(said), end="", file=output.stream, flush=True)


def _speakable(text: str) -> str:
    """What a model says, with nothing in it that a terminal would obey."""
    return "\n".join("\t".join(map(printable, line.split("\t"))) for line in text.split("\n"))
