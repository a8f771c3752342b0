"""Things about a model that load but are probably not meant."""

from __future__ import annotations

from msgspec import Struct

from swapd.config.commands import split_words
from swapd.config.locate import Places
from swapd.config.model import ModelKeys, PeerFilters
from swapd.config.problems import KeyPath, listed, quoted

_PATH_SYNTAX = "|#@*?"


def warn_odd_name(places: Places, name: str, what: str, path: KeyPath, *, key: bool = False) -> None:
    """Warn of a name that is empty or padded with blanks."""
    if name and name == name.strip():
        return
    places.warning(
        "odd-name",
        path,
        f"the {what} {quoted(name)} is " + ("empty" if not name.strip() else "padded with blanks"),
        "names count exactly as written, blanks included",
        key=key,
    )


def warn_filter_paths(places: Places, path: KeyPath, filters: PeerFilters) -> None:
    """Warn of keys in filters that hold characters with a meaning in other path languages."""
    for name in filters.set_params:
        _warn_filter_path(places, (*path, "setParams", name), name)
    for outer, params in filters.set_params_by_id.items():
        for name in params:
            _warn_filter_path(places, (*path, "setParamsByID", outer, name), name)
    for name in filters.strip:
        _warn_filter_path(places, (*path, "stripParams"), name)


def _warn_filter_path(places: Places, path: KeyPath, name: str) -> None:
    if any(character in name for character in _PATH_SYNTAX):
        places.warning(
            "filter-path",
            path,
            f"the key {quoted(name)} holds a character that means nothing special here",
            "a.b goes into a mapping, a number into a list; | # @ * and ? are taken literally",
            key=len(path) > 4,
        )


class ModelWarnings(Struct, frozen=True, eq=False):
    """Warnings about one model."""

    places: Places
    id: str

    def words(self, text: str, name: str) -> tuple[str, ...]:
        """The words of a command; warns of quotes left open and of shell syntax."""
        words = split_words(text)
        path = ("models", self.id, name)
        if words.unclosed:
            self.places.warning(
                "unclosed-quote",
                path,
                f"a {words.unclosed} in {name} of {quoted(self.id)} is never closed; the rest is one word",
                f"put the closing {words.unclosed} behind the text it belongs to",
            )
        if words.shell_words:
            self.places.warning(
                "shell-syntax",
                path,
                f"{name} of model {quoted(self.id)} holds "
                f"{listed(map(quoted, dict.fromkeys(words.shell_words)), 'and')}, but no shell runs it",
                "to use a shell write: sh -c '…'; to pass the word as it is, quote it",
            )
        return words.words

    def check(self, model: ModelKeys, argv: tuple[str, ...]) -> None:
        if not argv:
            self.places.warning(
                "cmd-empty",
                ("models", self.id, "cmd"),
                f"model {quoted(self.id)} has no command and can never start",
                "set cmd to the command that serves the model",
            )
        self._check_env(model.env)
        warn_filter_paths(self.places, ("models", self.id, "filters"), model.filters)
        if model.ignored_health_check_timeout is not None:
            self.places.warning(
                "no-effect",
                ("models", self.id, "healthCheckTimeout"),
                "healthCheckTimeout has no effect on a single model",
                "use health.timeout",
                key=True,
            )

    def _check_env(self, env: tuple[str, ...]) -> None:
        for index, item in enumerate(env):
            name, separator, _ = item.partition("=")
            if not separator or not name.strip():
                self.places.warning(
                    "env-format",
                    ("models", self.id, "env", index),
                    f"item {index} of env of model {quoted(self.id)} is not NAME=value",
                    "write NAME=value; the value may be empty",
                )
