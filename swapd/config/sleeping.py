"""The steps that put a model to sleep or wake it: HTTP requests or commands."""

from __future__ import annotations

from typing import Any as AnyType
from typing import ClassVar

from attrs import frozen

from swapd.config.commands import split
from swapd.config.kinds import Kind, ListOf, plain_value
from swapd.config.nodes import Mapping, Node, Scalar
from swapd.config.problems import KeyPath, ProblemLog

_METHODS = ("GET", "POST", "PUT", "PATCH", "DELETE")
_STEP_KEYS = ("method", "path", "body", "cmd")


@frozen
class SleepStep:
    """One step: a request (`method`, `path`, JSON `body` or None) or, with `argv`, a command."""

    method: str = ""
    path: str = ""
    body: AnyType = None
    argv: tuple[str, ...] = ()


@frozen
class Step(Kind):
    """`POST /path` as text, a mapping of method, path and body, or a command."""

    words: str = "a request such as POST /sleep, or a command"

    def load(self, node: Node, path: KeyPath, log: ProblemLog) -> AnyType:
        if isinstance(node, Scalar) and isinstance(node.value, str):
            return self._from_text(node.value, node, path, log)
        if isinstance(node, Mapping):
            return self._from_mapping(node, path, log)
        return self.refuse(node, path, log)

    def _from_text(self, text: str, node: Node, path: KeyPath, log: ProblemLog) -> AnyType:
        words = split(text)
        if not words:
            return self.refuse(node, path, log, "an empty step does nothing: remove it")
        if len(words) == 2 and words[0] in _METHODS and words[1].startswith("/"):
            return SleepStep(words[0], words[1])
        return SleepStep(argv=words)

    def _from_mapping(self, node: Mapping, path: KeyPath, log: ProblemLog) -> AnyType:
        given = {name: plain_value(value) for name, value in node.items()}
        method = given.get("method") or "POST"
        target = given.get("path")
        if set(given) - set(_STEP_KEYS) or method not in _METHODS:
            return self.refuse(
                node, path, log, "keys of a step: method (GET, POST, …), path and body, or cmd"
            )
        command = given.get("cmd")
        if command:
            words = split(command) if isinstance(command, str) else command
            if isinstance(words, tuple) and words and all(isinstance(word, str) for word in words):
                return SleepStep(argv=words)
            return self.refuse(node, path, log, "cmd is a command, or the list of its words")
        if not isinstance(target, str) or not target.startswith("/"):
            return self.refuse(node, path, log, "a request needs a path that starts with /")
        return SleepStep(method, target, given.get("body"))


@frozen
class Steps(ListOf):
    """A list of steps."""

    item: Kind = Step()
    collection: ClassVar[bool] = True
