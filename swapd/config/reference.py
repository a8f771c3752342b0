"""The reference page of the configuration, made from the declarations.

    python -m swapd.config.reference docs/configuration.md

writes it; a test checks that the committed page is current.
"""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from attrs import Attribute

from swapd.config import codes
from swapd.config.configuration import RootKeys
from swapd.config.declare import Key, Section, keys_of
from swapd.config.kinds import Choice, Int, Kind, ListOf, MapOf, Number
from swapd.config.names import ApiKeyItem, ApiKeyKeys
from swapd.config.problems import listed
from swapd.config.routing import MatrixKeys
from swapd.config.settings import Settings
from swapd.config.show import plain
from swapd.config.special_kinds import AutoOr, Either
from swapd.config.yaml_writer import scalar_text

_INTRODUCTION = """\
# Configuration

<!-- Made by `python -m swapd.config.reference docs/configuration.md`; edit the declarations instead. -->

swapd reads YAML. One file is enough:

```yaml
models:
  chat:
    cmd: llama-server --port ${PORT} -m /models/chat.gguf
```

`swapd check FILE` says what is wrong with a file and where, `swapd check --show FILE` prints what it means
with all defaults filled in, and `swapd check --explain MODEL FILE` how a model is started and what that
stops. Configurations to start from stand in `examples/`, `examples/everything.yaml` shows every key.

`swapd schema --out swapd.schema.json` writes a JSON Schema and prints a line such as

```text
# yaml-language-server: $schema=swapd.schema.json
```

As the first line of a configuration it makes editors explain, complete and check while you type.

Files written for llama-swap load unchanged. Keys marked *swapd* are swapd's own; llama-swap ignores them.

## Sources

- `--config FILE` names a file and may be repeated; `--config-dir DIR` adds every `*.yml` and `*.yaml` right
  in a directory, in the order of their names. Without either the first of `$SWAPD_CONFIG`, `swapd.yaml` in
  the working directory, `~/.config/swapd/config.yaml` and `/etc/swapd/config.yaml` is used.
- Several files are merged: mappings key by key, lists one behind the other. The same key with two different
  values is an error, and so is a model, group, profile, selector, peer or part of the matrix that two files
  define.
- `--watch-config` reloads when the content of a file, of a key file or of the TLS pair has changed. It looks
  every two seconds (`--watch-interval`), also through bind mounts and symlinks, and waits until the files
  have stood still for a moment: one that is half-written, empty or gone is never taken. SIGHUP reloads at
  once, unless a file that held a configuration is empty: to have no models, write `models: {}`.
- A reload touches what changed and nothing else. Models whose command, environment and address are the same
  go on running, with their ports. A configuration that does not load changes nothing, and the log says why.

## YAML in this dialect

- `true` and `false` are bools; `yes`, `no`, `on`, `off` are strings, which keys of type bool accept too.
- `0x10`, `0o10`, `0b10` and `010` are ints, `_` may separate digits, `1:30` is a string.
- Numbers and bools become text where a string is expected (`name: 1.10` is "1.1": quote it). Strings never
  become numbers: `ttl: "60"` is an error.
- A `#` behind a blank starts a comment, a `:` before a blank ends a key: put text that holds one in quotes.
- null (`~`, or nothing) means the default; for lists and mappings it means empty.
- Anchors, aliases and `<<` work within a file. A top-level key `x-…` is a place for them.
- A key may appear once in a mapping. Unknown keys are ignored with a warning.

## Environment

`${env.NAME}` is replaced in the text before YAML is read, so `ttl: ${env.N}` is an int and `"${env.N}"` a
string. In double quotes every value arrives exactly; elsewhere `"` and `\\` get a backslash. A variable
that is not set is an error, except in a comment.

## Macros

```yaml
macros:
  models: /srv/models
  base: llama-server --port ${PORT} --host 127.0.0.1
models:
  chat:
    macros: {context: 8192}
    cmd: ${base} -m ${models}/${MODEL_ID}.gguf -c ${context}
```

`macros` at the top level hold everywhere, in a model only there; a local macro takes the place of a global
one of its name. A macro may use macros that stand before it. `${name}` alone keeps the type of its value,
within other text it becomes text. Keys are not replaced, but for the names under `filters.setParamsByID`.

| name | value |
|---|---|
| `${PORT}` | the port of a model whose `cmd` uses it, from `startPort` upwards; kept over reloads |
| `${MODEL_ID}` | the ID of the model it stands in |
| `${PID}` | the process to stop, in `cmdStop` only |

## Commands

`cmd` and `cmdStop` are split into words by the rules of a POSIX shell, but no shell runs them: quotes and
`\\` work, variables, globs, pipes and redirections do not. Lines that start with `#` are left out, a `\\`
at the end of a line continues it.

## Seconds, durations, sizes

*Seconds* are a number, or text such as `90s`, `1h30m`, `90d`. A *size* is a number of bytes, or text such
as `4MiB` (1024s) or `4MB` (1000s). Keys that come from llama-swap take only the form named with them."""

_MATRIX = """
Expressions under `sets` are made of vars and model IDs, `&` (run together), `|` (alternatives), `+name`
(another set) and parentheses; `&` binds tighter. `chat & (embed | rerank)` allows chat beside either. When a
model is asked for, the set that costs least in stopped models wins, the first of equals. A model in no set
runs alone.
"""


def reference() -> str:
    """The whole page as Markdown."""
    places = _places()
    lines = [_INTRODUCTION, "", "## Top-level keys", "", *_table(RootKeys, places)]
    for section, path in places.items():
        lines += ["", f"## `{path}`", "", (section.__doc__ or "").partition("\n")[0], ""]
        lines += _table(section, places)
        if section is MatrixKeys:
            lines.append(_MATRIX.rstrip())
    lines += _codes()
    return "\n".join(lines) + "\n"


def _places() -> dict[type[Any], str]:
    """Each section once, with the first path it is found at, in the order of the page."""
    places: dict[type[Any], str] = {}

    def visit(section: type[Any], path: str) -> None:
        for name, (_, declared) in _in_order(section):
            inner = _section_of(declared.kind)
            if inner is not None and inner not in places:
                places[inner] = _path_of_entries(f"{path}{name}", declared.kind)
                visit(inner, f"{places[inner]}.")

    visit(RootKeys, "")
    return places


def _table(section: type[Any], places: Mapping[type[Any], str]) -> Iterator[str]:
    yield "| key | type | default | meaning |"
    yield "|---|---|---|---|"
    for name, (attribute, declared) in _in_order(section):
        mark = " *swapd*" if declared.extension else ""
        words = _words(declared.kind)
        inner = _section_of(declared.kind)
        if inner is not None:
            words = f"[{words}](#{_anchor(places[inner])})"
        cells = (f"`{name}`{mark}", words, _default(attribute, declared), _meaning(declared))
        yield f"| {' | '.join(cell.replace('|', _BAR) for cell in cells)} |"


_BAR = "\\|"  # a bar within a cell


def _meaning(declared: Key) -> str:
    return declared.help + (f" Example: `{declared.example}`" if declared.example else "")


def _anchor(path: str) -> str:
    """The anchor that a heading of this path gets, by GitHub's rules."""
    return re.sub(r"[^\w-]", "", path.lower())


def _in_order(section: type[Any]) -> Iterator[tuple[str, tuple[Attribute[Any], Key]]]:
    """The keys as declared; those of the root that are not mere settings come first."""
    keys = keys_of(section)
    settings = keys_of(Settings) if section is RootKeys else {}
    yield from ((name, entry) for name, entry in keys.items() if name not in settings)
    yield from ((name, keys[name]) for name in settings)


def _section_of(kind: Kind) -> type[Any] | None:
    """The section that a key holds, once or many times."""
    if isinstance(kind, Section):
        return kind.of
    if isinstance(kind, ApiKeyItem):
        return ApiKeyKeys
    return _section_of(kind.item) if isinstance(kind, (MapOf, ListOf)) else None


def _path_of_entries(path: str, kind: Kind) -> str:
    if isinstance(kind, MapOf):
        return f"{path}.<name>"
    return f"{path}[]" if isinstance(kind, ListOf) else path


def _words(kind: Kind) -> str:
    if isinstance(kind, Int) and kind.minimum is not None:
        return f"int from {kind.minimum}"
    if isinstance(kind, Section):
        return "mapping"
    if isinstance(kind, ApiKeyItem):
        return "string or mapping"
    if isinstance(kind, MapOf):
        return f"mapping of {kind.key} to {_words(kind.item)}"
    if isinstance(kind, ListOf):
        return f"list of {_words(kind.item)}"
    if isinstance(kind, Either):
        return f"{_words(kind.single)}, or {_words(kind.several)}"
    if isinstance(kind, AutoOr):
        return f"`auto`, or {_words(kind.other)}"
    if isinstance(kind, Number):
        bound = f"above {kind.above:g}" if kind.above is not None else f"from {kind.minimum:g}"
        return f"number {bound}"
    if isinstance(kind, Choice):
        return f"one of {listed(f'`{value}`' for value in kind.values if value)}"
    return kind.words.removeprefix("a ").removeprefix("an ").partition(" (")[0]


def _default(attribute: Attribute[Any], declared: Key) -> str:
    if declared.default_text is not None:
        return declared.default_text
    if _section_of(declared.kind) is not None and attribute.default is not None:
        return ""
    value = plain(attribute.default, declared.kind)
    if isinstance(value, dict):
        return "empty"
    if isinstance(value, list):
        return ", ".join(f"`{item}`" for item in value) or "empty"
    return "none" if value is None else f"`{scalar_text(value)}`"


def _codes() -> Iterator[str]:
    yield "\n## Problems"
    yield "\nEvery problem has a code. Errors keep a configuration from being used, warnings do not;"
    yield "`swapd check --strict` fails on both. Advice comes from `swapd check` only and never fails it."
    for title, table in (("Errors", codes.ERRORS), ("Warnings", codes.WARNINGS), ("Advice", codes.ADVICE)):
        yield f"\n### {title}\n"
        yield "| code | when |"
        yield "|---|---|"
        for code, meaning in table.items():
            yield f"| `{code}` | {meaning} |"


def main() -> None:
    text = reference()
    if len(sys.argv) > 1:
        Path(sys.argv[1]).write_text(text)
    else:
        sys.stdout.write(text)


if __name__ == "__main__":
    main()
