"""Flags as swapd understands them, on top of argparse.

Every flag may be written with one dash or two, and with `=` or a blank before its value. A flag that is on
or off may stand alone or say which (`-watch-config`, `-watch-config=false`). Names are never abbreviated,
`--` ends the flags, and each flag has a twin in the environment: `--watch-config` is `SWAPD_WATCH_CONFIG`.
The command line beats the environment. Flags and other words may come in any order.
"""

from __future__ import annotations

import argparse
from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final, NoReturn

from swapd.cli.errors import UsageError

_TRUE: Final = frozenset({"1", "t", "T", "true", "True", "TRUE"})
_FALSE: Final = frozenset({"0", "f", "F", "false", "False", "FALSE"})


def on_or_off(text: str) -> bool:
    """A boolean as flags spell it."""
    if text in _TRUE:
        return True
    if text in _FALSE:
        return False
    raise argparse.ArgumentTypeError(f"{text!r} is neither true nor false")


class FlagParser:
    """A command's flags, and its words if it takes any: declare them with the `add_…` methods, then `parse`.

    `parse` leaves two more things to look at: `words`, those that are no flags, and `on_command_line`, the
    flags that did not come from the environment.
    """

    def __init__(self, command: str, description: str, *, usage: str = "", epilog: str = "") -> None:
        """`command` is the command's name, `usage` its usage line where it is more than `[flags]`."""
        self._parser = _Parser(
            prog=f"swapd {command}",
            usage=usage or "%(prog)s [flags]",
            description=description,
            epilog=epilog,
            allow_abbrev=False,
            add_help=False,
            formatter_class=argparse.RawDescriptionHelpFormatter,
        )
        self._types: dict[str, Callable[[str], Any]] = {}
        self._repeatable: set[str] = set()
        self._switches: set[str] = set()
        self._actions: set[str] = set()
        self._short: dict[str, str] = {}
        self._untwinned: set[str] = set()
        self._words: tuple[str, int, int | None] | None = None
        self.words: list[str] = []
        self.on_command_line: frozenset[str] = frozenset()
        self.add_action("help", "print this text and exit")
        self.add_switch("debug", "show the traceback of an internal error")

    def add_value(
        self,
        name: str,
        help: str,
        metavar: str,
        parse: Callable[[str], Any] = str,
        *,
        repeatable: bool = False,
        short: str = "",
        twin: bool = True,
    ) -> None:
        """A flag with a value; a repeatable one yields a list. `parse` complains with ArgumentTypeError.

        `short` is another, one-letter name; without `twin` the environment has no say.
        """
        action = "append" if repeatable else "store"
        help = self._note(name, help, short, twin)
        self._parser.add_argument(f"--{name}", help=help, metavar=metavar, type=parse, action=action)
        self._types[name] = parse
        if repeatable:
            self._repeatable.add(name)

    def add_switch(self, name: str, help: str, *, short: str = "", twin: bool = True) -> None:
        """A flag that is on or off. `short` and `twin` as in `add_value`."""
        help = self._note(name, help, short, twin)
        self._parser.add_argument(f"--{name}", help=help, metavar="BOOL", type=on_or_off, nargs="?")
        self._types[name] = on_or_off
        self._switches.add(name)

    def add_action(self, name: str, help: str) -> None:
        """A flag that asks for something else to be done. It has no twin in the environment: container files
        like `SWAPD_VERSION` for something else."""
        self._parser.add_argument(f"--{name}", help=help, action="store_true")
        self._types[name] = on_or_off
        self._actions.add(name)

    def add_words(self, metavar: str, at_least: int = 0, at_most: int | None = None) -> None:
        """Let words that are no flags stand on the command line, so many of them."""
        self._words = (metavar, at_least, at_most)

    def described(self) -> tuple[str, str, list[tuple[str, str]]]:
        """The usage line, what the command is for, and its flags: each as it is written, and its help."""
        flags = [
            (" ".join(filter(None, (f"--{name}", self._metavar(name)))), self._help(name))
            for name in self._types
        ]
        usage = self._parser.format_usage().removeprefix("usage: ").strip()
        return " ".join(usage.split()), self._parser.description or "", flags

    def _metavar(self, name: str) -> str:
        return "" if name in self._switches | self._actions else str(self._action(name).metavar)

    def _help(self, name: str) -> str:
        help = self._action(name).help or ""
        return f"{help}; not from the environment" if name in self._untwinned else help

    def _action(self, name: str) -> argparse.Action:
        return next(action for action in self._parser._actions if f"--{name}" in action.option_strings)

    @property
    def takes(self) -> str:
        """What the words stand for that are no flags, such as MODEL; empty if there can be none."""
        return "" if self._words is None else self._words[0]

    def fail(self, message: str) -> NoReturn:
        """Complain of wrong usage that the declarations cannot express."""
        self._parser.error(message)

    def _note(self, name: str, help: str, short: str, twin: bool) -> str:
        if not twin:
            self._untwinned.add(name)
        if not short:
            return help
        self._short[short] = name
        return f"{help} (short: -{short})"

    def parse(self, argv: Sequence[str], environ: Mapping[str, str]) -> dict[str, Any]:
        """Flag name → value (`help` excepted); None for what stands in neither `argv` nor `environ`.

        Raises `UsageError`, or prints the help text and raises `SystemExit(0)`.
        """
        flags = self._in_two_dashes(argv)
        if self._words is not None:
            flags, self.words = self._without_words(flags)
        found = vars(self._parser.parse_args(flags))
        self.on_command_line = frozenset(
            name for name in self._types if found[name.replace("-", "_")] not in (None, False)
        )
        values = {name: found[name.replace("-", "_")] for name in self._types}
        if values.pop("help"):
            self._parser.print_help()
            raise SystemExit(0)
        for name, value in values.items():
            if value is None and name not in self._actions | self._untwinned:
                values[name] = self._from_environment(name, environ)
        self._count_words()
        return values

    def _without_words(self, argv: Sequence[str]) -> tuple[list[str], list[str]]:
        """The flags with their values, and the other words."""
        flags: list[str] = []
        others: list[str] = []
        rest = iter(argv)
        for word in rest:
            if word == "--":
                others += rest
            elif word.startswith("-") and word != "-":
                flags.append(word)
                name = word[2:]
                if name in self._types and name not in self._switches | self._actions:
                    flags += [value for value in (next(rest, None),) if value is not None]
            else:
                others.append(word)
        return flags, others

    def _count_words(self) -> None:
        if self._words is None:
            return
        metavar, at_least, at_most = self._words
        if len(self.words) < at_least:
            self.fail(f"{metavar} is missing")
        if at_most is not None and len(self.words) > at_most:
            self.fail(f"unrecognized arguments: {' '.join(self.words[at_most:])}")

    def _in_two_dashes(self, argv: Sequence[str]) -> list[str]:
        """`argv` in the one form that argparse is told about."""
        words = list(argv)
        end = words.index("--") if "--" in words else len(words)
        return [self._in_two_dashes_one(word) for word in words[:end]] + words[end:]

    def _in_two_dashes_one(self, word: str) -> str:
        dashes = len(word) - len(word.lstrip("-"))
        name, equals, value = word[dashes:].partition("=")
        if word == "-h":
            name = "help"
        if dashes == 1:
            name = self._short.get(name, name)
        if dashes not in (1, 2) or name not in self._types:
            return word
        if name in self._switches and not equals:
            return f"--{name}=true"
        return f"--{name}{equals}{value}"

    def _from_environment(self, name: str, environ: Mapping[str, str]) -> Any:
        variable = f"SWAPD_{name.upper().replace('-', '_')}"
        text = environ.get(variable)
        if not text:
            return None
        try:
            value = self._types[name](text)
        except argparse.ArgumentTypeError as error:
            raise UsageError(f"environment variable {variable}: {error}") from None
        except (TypeError, ValueError):
            raise UsageError(f"environment variable {variable}: {text!r} is not valid") from None
        return [value] if name in self._repeatable else value


class _Parser(argparse.ArgumentParser):
    """Complains in swapd's form instead of printing the whole usage text."""

    def error(self, message: str) -> NoReturn:
        raise UsageError(f"wrong usage: {message}", f"{self.prog} --help lists the flags")
