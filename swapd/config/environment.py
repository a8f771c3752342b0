"""`${env.NAME}` placeholders: replaced in the text of a file before YAML sees it.

The replacement is textual on purpose (a variable may supply a number, a list item or half a word), so it
has to know what is a YAML comment, and has to remember what it changed to keep positions true.
"""

from __future__ import annotations

import re
from bisect import bisect_right
from collections.abc import Mapping
from pathlib import Path

from msgspec import structs
from ruamel.yaml.error import YAMLError
from ruamel.yaml.tokens import DocumentEndToken, DocumentStartToken, ScalarToken, StreamStartToken

from swapd.config import nodes
from swapd.config.problems import KeyPath, ProblemLog
from swapd.config.secrets import guess_secrets
from swapd.config.sources import Edit, SourceText, Trouble
from swapd.config.yaml_scanner import yaml_tokens

PLACEHOLDER = re.compile(r"\$\{env\.([A-Za-z_][A-Za-z0-9_]*)\}")
_BREAKING = ("\n", "\r", "\x00")

Span = tuple[int, int]


def substitute(
    name: str, written: str, path: Path | None, environ: Mapping[str, str], log: ProblemLog
) -> SourceText:
    """The text with its placeholders replaced; what cannot be replaced is noted in its `troubles`.

    A value that itself holds a placeholder is resolved too, once.
    """
    source = SourceText(name, written, written, (), path)
    log.sources.append(source)
    guess_secrets(source, log)
    if "${env." not in written:
        return source
    pieces: list[str] = []
    edits: list[Edit] = []
    kept = length = 0
    for match in _needed(written):
        value, used = _value(match[1], environ, source)
        length += match.start() - kept
        if value is None:
            # Masked by a word of the same length, the text around it still parses.
            value = "x" * len(match[0])
            source.troubles[-1] = structs.replace(source.troubles[-1], start=length, end=length + len(value))
        else:
            edits.append(Edit(tuple(used.items()), *match.span(), length, length + len(value)))
        pieces += (written[kept : match.start()], value)
        length += len(value)
        kept = match.end()
    pieces.append(written[kept:])
    source.text = "".join(pieces)
    source.edits = edits
    return source


def _value(name: str, environ: Mapping[str, str], source: SourceText) -> tuple[str | None, dict[str, str]]:
    """What stands for one placeholder, and the variables it is made of; None with a trouble noted."""
    value = _plain_value(name, environ, source)
    if value is None:
        return None, {}
    used = {name: value}
    escaped = _escaped(value)
    for inner in PLACEHOLDER.findall(escaped):
        inner_value = _plain_value(inner, environ, source)
        if inner_value is None:
            return None, {}
        used[inner] = inner_value
        escaped = escaped.replace(f"${{env.{inner}}}", _escaped(inner_value))
    return escaped, used


def _plain_value(name: str, environ: Mapping[str, str], source: SourceText) -> str | None:
    value = environ.get(name)
    if value is None:
        source.troubles.append(
            Trouble(
                "env-unset",
                f"the environment variable {name} is not set",
                f"set {name} for the daemon, or remove the placeholder",
            )
        )
        return None
    if any(character in value for character in _BREAKING):
        source.troubles.append(
            Trouble(
                "env-chars",
                f"the environment variable {name} holds a line feed, a carriage return or a NUL",
                "such a value cannot stand in a line of YAML",
            )
        )
        return None
    return value


def _escaped(value: str) -> str:
    return value.replace("\\", "\\\\").replace('"', '\\"')


def _needed(text: str) -> list[re.Match[str]]:
    """The placeholders outside YAML comments, up to the end of the first document."""
    matches = list(PLACEHOLDER.finditer(text))
    if not _may_hold_comments(text, matches):
        return matches
    spans = _content_spans(text)
    starts = [start for start, _ in spans]

    def is_content(match: re.Match[str]) -> bool:
        index = bisect_right(starts, match.start()) - 1
        return index >= 0 and match.start() < spans[index][1]

    return [match for match in matches if is_content(match)]


def _may_hold_comments(text: str, matches: list[re.Match[str]]) -> bool:
    """True when some placeholder may stand in a comment or behind the first document."""
    if re.search(r"^(---|\.\.\.)", text, re.MULTILINE):
        return True
    return any("#" in text[text.rfind("\n", 0, match.start()) + 1 : match.start()] for match in matches)


def _content_spans(text: str) -> list[Span]:
    """The spans of all scalars of the first document, in order.

    Placeholders are masked by plain words of the same length first: `[${env.K}]` is not YAML as it stands.
    If the text does not scan even so, everything that no `#` precedes on its line counts as content.
    """
    masked = PLACEHOLDER.sub(lambda match: "x" * len(match[0]), text)
    spans: list[Span] = []
    seen_content = False
    try:
        for token in yaml_tokens(masked):
            if isinstance(token, ScalarToken):
                spans.append((token.start_mark.index, token.end_mark.index))
            if isinstance(token, (DocumentStartToken, DocumentEndToken)) and seen_content:
                break
            seen_content = seen_content or not isinstance(token, (StreamStartToken, DocumentStartToken))
    except YAMLError:
        return _uncommented_spans(text)
    return spans


def _uncommented_spans(text: str) -> list[Span]:
    spans: list[Span] = []
    start = 0
    for line in text.splitlines(keepends=True):
        comment = re.search(r"(^|\s)#", line)
        spans.append((start, start + (comment.start() if comment else len(line))))
        start += len(line)
    return spans


def warn_escaped(root: nodes.Mapping, log: ProblemLog) -> None:
    """Warn where the backslashes put before quotes and backslashes stay, as only double quotes undo them."""
    if any('"' in value or "\\" in value for source in log.sources for value in source.variables().values()):
        _warn_escaped(root, (), log)


def _warn_escaped(node: nodes.Node, path: KeyPath, log: ProblemLog) -> None:
    if isinstance(node, nodes.Mapping):
        for name, value in node.items():
            _warn_escaped(value, (*path, name), log)
    elif isinstance(node, nodes.Sequence):
        for index, item in enumerate(node.items):
            _warn_escaped(item, (*path, index), log)
    elif isinstance(node, nodes.Scalar) and node.from_environment and node.style != '"':
        escaped = [
            name
            for edit in node.source.edits_within(node.start, node.end)
            for name, value in edit.variables
            if '"' in value or "\\" in value
        ]
        if escaped:
            log.warning(
                "env-escaped",
                f"the environment variable {escaped[0]} holds a quote or backslash, which is escaped here",
                at=node,
                path=path,
                hint="put the placeholder in double quotes to get its exact value",
            )
