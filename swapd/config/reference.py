"""The reference page of the configuration, made from the declarations.

    python -m swapd.config.reference docs/configuration.md

writes it; a test checks that the committed page is current.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from attrs import Attribute

from swapd.config import codes
from swapd.config.configuration import RootKeys
from swapd.config.declare import Key, Section, keys_of
from swapd.config.kinds import Int, Kind, ListOf, MapOf
from swapd.config.names import ApiKeyItem, ApiKeyKeys
from swapd.config.settings import Settings
from swapd.config.show import plain
from swapd.config.special_kinds import Either
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
stops. `swapd schema --out swapd.schema.json` makes an editor complete and check while you type. Ready-made
configurations stand in `examples/`.

Files written for llama-swap load unchanged. Keys marked *swapd* are swapd's own; llama-swap ignores them.

## Sources

- `--config FILE` names a file and may be repeated; `--config-dir DIR` adds every `*.yml` and `*.yaml` right
  in a directory, in the order of their names. Without either the first of `$SWAPD_CONFIG`, `swapd.yaml` in
  the working directory, `~/.config/swapd/config.yaml` and `/etc/swapd/config.yaml` is used.
- Several files are merged: mappings key by key, lists one behind the other. The same key with two different
  values is an error, and so is a model, group, profile, selector, peer or part of the matrix that two files
  define.
- `--watch-config` reloads when a file changes; SIGHUP and `swapd reload` always do. A file that does not
  load changes nothing.

## YAML in this dialect

- `true` and `false` are bools; `yes`, `no`, `on`, `off` are strings, which keys of type bool accept too.
- `0x10`, `0o10`, `0b10` and `010` are ints, `_` may separate digits, `1:30` is a string.
- Numbers and bools become text where a string is expected (`name: 1.10` is "1.1": quote it). Strings never
  become numbers: `ttl: "60"` is an error.
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
    lines = [_INTRODUCTION, "", "## Top-level keys", ""]
    pending: list[tuple[str, type[Any]]] = []
    lines += _table(RootKeys, "", pending)
    seen: set[type[Any]] = set()
    while pending:
        path, section = pending.pop(0)
        if section in seen:
            continue
        seen.add(section)
        lines += ["", f"## `{path}`", "", (section.__doc__ or "").strip(), ""]
        inner: list[tuple[str, type[Any]]] = []
        lines += _table(section, path, inner)
        if section.__name__ == "MatrixKeys":
            lines.append(_MATRIX.rstrip())
        pending = inner + pending
    lines += _codes()
    return "\n".join(lines) + "\n"


def _table(section: type[Any], path: str, pending: list[tuple[str, type[Any]]]) -> Iterator[str]:
    yield "| key | type | default | meaning |"
    yield "|---|---|---|---|"
    for name, (attribute, declared) in _in_order(section):
        inner = _section_of(declared.kind)
        full = f"{path}.{name}" if path else name
        if inner is not None:
            pending.append((_path_of_entries(full, declared.kind), inner))
        mark = " *swapd*" if declared.extension else ""
        cells = (f"`{name}`{mark}", _words(declared.kind), _default(attribute, declared), declared.help)
        yield f"| {' | '.join(cells)} |"


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
    if isinstance(kind, MapOf):
        return f"mapping of {kind.key} to {_words(kind.item)}"
    if isinstance(kind, ListOf):
        return f"list of {_words(kind.item)}"
    if isinstance(kind, Either):
        return f"{_words(kind.single)}, or {_words(kind.several)}"
    return kind.words.removeprefix("a ").removeprefix("an ").partition(" (")[0].replace("|", "\\|")


def _default(attribute: Attribute[Any], declared: Key) -> str:
    if declared.default_text is not None:
        return declared.default_text.replace("|", "\\|")
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
