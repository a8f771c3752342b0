"""`swapd completion bash|zsh|fish`: a script that lets the shell complete commands, flags and model ids.

The script knows the commands and flags of the swapd that printed it. It asks the running daemon for the ids,
by `swapd completion --models`, which says nothing when there is none.
"""

from __future__ import annotations

import shlex
from collections.abc import Iterator, Mapping, Sequence
from typing import Final, NamedTuple

from swapd.cli.client_command import ClientParser
from swapd.cli.errors import CliError, ExitCode

SHELLS: Final = ("bash", "zsh", "fish")
_PATIENCE_S: Final = 2.0
_CHOICES: Final[Mapping[str, Sequence[str]]] = {"completion": SHELLS}
_MODEL: Final = "MODEL"


class Completed(NamedTuple):
    """What can stand behind a command."""

    what: str
    flags: list[tuple[str, bool, str]]
    """Flag with its dashes, whether a value follows, what it does."""
    takes_models: bool
    choices: Sequence[str]


def run(argv: Sequence[str]) -> int:
    parser = ClientParser(
        "completion",
        "Print a script that lets the shell complete commands, flags and model ids.",
        usage=f"swapd completion {'|'.join(SHELLS)}",
        epilog="For bash, in ~/.bashrc:     source <(swapd completion bash)\n"
        "For zsh, in ~/.zshrc:       source <(swapd completion zsh)\n"
        "For fish:                   swapd completion fish > ~/.config/fish/completions/swapd.fish",
        has_json=False,
    )
    parser.add_switch("models", "print the ids of the models; this is what the scripts use", twin=False)
    parser.add_words("SHELL", 0, 1)
    command = parser.open(argv)
    if command.values["models"]:
        try:
            status, ids = command.client.status_of("/api/models", timeout_s=_PATIENCE_S)
        except CliError:
            return ExitCode.OK
        if status == 200:
            _print_ids(ids)
        return ExitCode.OK
    if not command.words or command.words[0] not in SHELLS:
        parser.fail(f"say for which shell: {', '.join(SHELLS)}")
    script = {"bash": bash, "zsh": zsh, "fish": fish}[command.words[0]]
    print(script(commands()), end="")
    return ExitCode.OK


def _print_ids(answer: bytes) -> None:
    import json

    for entry in json.loads(answer)["models"]:
        if entry["id"].isprintable():
            print(entry["id"])


def commands() -> dict[str, Completed]:
    """All commands, by name."""
    from swapd.cli.main import COMMANDS
    from swapd.cli.reference import parser_of

    found = {}
    for name, what in COMMANDS.items():
        parser = parser_of(name)
        flags = []
        for spelling, help in parser.described()[2]:
            flag, _, value = spelling.partition(" ")
            flags.append((flag, bool(value), help))
        choices = _CHOICES.get(name, ())
        found[name] = Completed(what, flags, parser.takes == _MODEL, choices)
    return found


def bash(commands: Mapping[str, Completed]) -> str:
    """For bash 4 or newer, with or without the package bash-completion."""
    cases = []
    for name, completed in commands.items():
        flags = " ".join(flag for flag, _, _ in completed.flags)
        words = "models=1" if completed.takes_models else f"words={shlex.quote(' '.join(completed.choices))}"
        cases.append(f"        {name}) flags={shlex.quote(flags)} {words} ;;")
    return _BASH % {"commands": " ".join(commands), "cases": "\n".join(cases)}


def zsh(commands: Mapping[str, Completed]) -> str:
    described = "\n".join(
        f"        {shlex.quote(f'{name}:{completed.what}')}" for name, completed in commands.items()
    )
    cases = []
    for name, completed in commands.items():
        flags = " ".join(
            shlex.quote(f"{flag}:{help}".replace("\n", " ")) for flag, _, help in completed.flags
        )
        words = "models=1" if completed.takes_models else f"words=({shlex.join(completed.choices)})"
        cases.append(f"        {name}) flags=({flags}); {words} ;;")
    return _ZSH % {"described": described, "cases": "\n".join(cases)}


def fish(commands: Mapping[str, Completed]) -> str:
    return "\n".join(_fish_lines(commands)) + "\n"


def _fish_lines(commands: Mapping[str, Completed]) -> Iterator[str]:
    yield "# Completion of swapd for fish."
    yield "complete -c swapd -e"
    yield "complete -c swapd -f"
    for name, completed in commands.items():
        yield f"complete -c swapd -n __fish_use_subcommand -a {name} -d {_fish_quoted(completed.what)}"
        seen = f"-n '__fish_seen_subcommand_from {name}'"
        for flag, has_value, help in completed.flags:
            value = " -r" if has_value else ""
            yield f"complete -c swapd {seen} -l {flag.lstrip('-')}{value} -d {_fish_quoted(help)}"
        if completed.takes_models:
            yield f"complete -c swapd {seen} -a '(swapd completion --models 2>/dev/null)'"
        if completed.choices:
            yield f"complete -c swapd {seen} -a '{' '.join(completed.choices)}'"


def _fish_quoted(text: str) -> str:
    """In single quotes, in which fish knows two escapes."""
    return "'" + text.replace("\\", "\\\\").replace("'", "\\'").replace("\n", " ") + "'"


_BASH: Final = """\
# Completion of swapd for bash.
_swapd() {
    # Bash takes words apart at colons, which are usual in model ids: so the line is read anew.
    local line=${COMP_LINE:0:COMP_POINT} current= command= flags= models= words= word id
    local -a before
    read -ra before <<< "$line"
    if [[ $line != *[[:space:]] ]]; then
        current=${before[-1]}
        unset 'before[-1]'
    fi
    for word in "${before[@]:1}"; do
        if [[ $word != -* ]]; then
            command=$word
            break
        fi
    done
    COMPREPLY=()
    case ${command:-serve} in
%(cases)s
    esac
    if [[ $current == -* ]]; then
        COMPREPLY=($(compgen -W "$flags" -- "$current"))
    elif [[ -z $command ]]; then
        COMPREPLY=($(compgen -W "%(commands)s" -- "$current"))
    elif [[ -n $models || ${before[-1]} == --model ]]; then
        while IFS= read -r id; do
            [[ $id == "$current"* ]] && COMPREPLY+=("$(printf %%q "$id")")
        done < <(swapd completion --models 2> /dev/null)
        if [[ $current == *:* && $COMP_WORDBREAKS == *:* ]]; then
            COMPREPLY=("${COMPREPLY[@]#"${current%%"${current##*:}"}"}")
        fi
    else
        COMPREPLY=($(compgen -W "$words" -- "$current"))
    fi
}
complete -o default -F _swapd swapd
"""

_ZSH: Final = """\
#compdef swapd
# Completion of swapd for zsh.
_swapd() {
    local command= models= word
    local -a commands flags words found
    commands=(
%(described)s
    )
    for word in "${(@)__swapd_line[2,-1]}"; do
        if [[ $word != -* ]]; then
            command=$word
            break
        fi
    done
    case ${command:-serve} in
%(cases)s
    esac
    if [[ $PREFIX == -* ]]; then
        _describe -o flag flags
    elif [[ -z $command ]]; then
        _describe command commands
    elif [[ -n $models || $__swapd_line[-1] == --model ]]; then
        found=("${(@f)$(swapd completion --models 2> /dev/null)}")
        compadd -a found
    elif (( $#words )); then
        compadd -a words
    else
        _files
    fi
}
_swapd_entry() {
    # `words` is zsh's here, and ours in the function above.
    local -a __swapd_line
    __swapd_line=("${(@)words[1,CURRENT-1]}")
    _swapd
}
if ! (( $+functions[compdef] )); then
    autoload -Uz compinit && compinit -i
fi
compdef _swapd_entry swapd
"""
