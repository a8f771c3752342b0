"""`swapd check`: load a configuration like the daemon would, start nothing, say what is wrong.

Exit code 0 for a clean configuration or one with warnings only, 1 for errors (with `--strict` for warnings
too), 2 for wrong usage. Remarks that depend on this machine never change the exit code.
"""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from swapd.cli.arguments import FlagParser
from swapd.cli.errors import CliError, ExitCode

if TYPE_CHECKING:
    from swapd.config import Config, Problem, Sources

_FLAGS_WITH_VALUE = ("config", "config-dir", "explain")


def run(argv: Sequence[str]) -> int:
    """Check and print; returns the exit code."""
    from swapd.config.advice import advise
    from swapd.config.loader import load_document
    from swapd.config.problems import Severity

    files, flags = _split_files(argv)
    values = _parser().parse(flags, os.environ)
    sources = _sources(files, values)
    loaded, places = load_document(sources, environ=os.environ)
    problems = loaded.problems
    if loaded.config is not None and places is not None:
        advise(loaded.config, os.environ, places)
        problems = places.log.result()
    if loaded.config is not None and (values["show"] or values["explain"] is not None):
        _print_answer(loaded.config, problems, values)
    elif values["json"]:
        _print_json(problems)
    else:
        _print_problems(problems, sources, loaded.config)
    failing = {Severity.ERROR, Severity.WARNING} if values["strict"] else {Severity.ERROR}
    return ExitCode.FAILED if any(problem.severity in failing for problem in problems) else ExitCode.OK


def _parser() -> FlagParser:
    parser = FlagParser(
        "check",
        "Check configuration files and start nothing.",
        usage="swapd check [FILE…] [flags]",
        epilog="FILE… is short for --config FILE. Without any source the daemon's default places are tried.",
    )
    parser.add_value("config", "configuration file; may be repeated", "FILE", Path, repeatable=True)
    parser.add_value("config-dir", "directory whose *.yml and *.yaml files are read", "DIR", Path)
    parser.add_switch("strict", "count warnings as errors")
    parser.add_switch("json", "print the problems as JSON")
    parser.add_switch("show", "print the effective configuration, secrets masked")
    parser.add_value("explain", "print how a model is started and what that stops", "MODEL")
    return parser


def _split_files(argv: Sequence[str]) -> tuple[list[Path], list[str]]:
    """The words that are files, and the flags with their values."""
    files: list[Path] = []
    flags: list[str] = []
    words = iter(argv)
    for word in words:
        if word == "--":
            files += map(Path, words)
        elif word.startswith("-") and word != "-":
            flags.append(word)
            if word.lstrip("-") in _FLAGS_WITH_VALUE:
                flags += [value for value in (next(words, None),) if value is not None]
        else:
            files.append(Path(word))
    return files, flags


def _sources(files: list[Path], values: dict[str, Any]) -> Sources:
    """What to load: files and flags, else the first default place that exists."""
    from swapd.cli.serve import default_places
    from swapd.config import Sources

    given = (*files, *(values["config"] or ()))
    if files and values["config"] and "SWAPD_CONFIG" in os.environ:
        given = tuple(files)  # the variable stands in for missing arguments only
    if given or values["config-dir"] is not None:
        return Sources(given, values["config-dir"])
    return Sources(tuple(place for place in default_places(os.environ) if place.is_file())[:1])


def _print_problems(problems: Sequence[Problem], sources: Sources, config: Config | None) -> None:
    from swapd.config.render import render_problems, summary

    colour = sys.stdout.isatty() and "NO_COLOR" not in os.environ
    if problems:
        print(render_problems(problems, colour=colour))
    names = ", ".join(map(str, [*sources.files, *([sources.directory] if sources.directory else [])]))
    line = f"{names or 'no configuration'}: {summary(problems)}"
    print(line if config is None else f"{line}; {_contents(config)}")


def _contents(config: Config) -> str:
    parts = [_counted(len(config.models), "model")]
    parts += [
        _counted(len(entries), noun)
        for entries, noun in (
            (config.peers, "peer"),
            (config.selectors, "selector"),
            (config.profiles, "profile"),
        )
        if entries
    ]
    return ", ".join(parts)


def _counted(number: int, noun: str) -> str:
    return f"{number} {noun}{'' if number == 1 else 's'}"


def _print_json(problems: Sequence[Problem]) -> None:
    from swapd.config import problem_as_json

    print(json.dumps([problem_as_json(problem) for problem in problems], indent=2, ensure_ascii=False))


def _print_answer(config: Config, problems: Sequence[Problem], values: dict[str, Any]) -> None:
    """What `--show` or `--explain` asks for; problems go to standard error, so the answer can be piped."""
    from swapd.config import render_problems

    serious = [problem for problem in problems if problem.severity.value != "advice"]
    if serious:
        print(render_problems(serious), file=sys.stderr)
    if values["show"]:
        from swapd.config.show import show

        print(show(config), end="")
        return
    from swapd.config.explain import explain, explanation_text

    explanation = explain(config, values["explain"])
    if explanation is None:
        raise _unknown_model(config, values["explain"])
    print(json.dumps(explanation, indent=2) if values["json"] else explanation_text(explanation), end="")
    if values["json"]:
        print()


def _unknown_model(config: Config, name: str) -> CliError:
    from swapd.config.suggest import closest

    names = closest(name, config.names, 3)
    hint = f"did you mean {', '.join(names)}?" if names else "swapd check --show lists the models"
    return CliError(f"cannot explain {name!r}: there is no model of that name", hint)
