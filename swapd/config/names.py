"""Sections that give names to requests: profiles, selectors, peers, keys."""

# ruff: noqa: RUF009 - `key()` and the frozen sections it defaults to are immutable

from __future__ import annotations

from pathlib import Path
from typing import Any as AnyType
from typing import ClassVar

from attrs import field, frozen

from swapd.config.declare import Section, key, load_keys
from swapd.config.frozen import EMPTY, FrozenMap
from swapd.config.kinds import INVALID, TYPE_STEP, Any, Bool, Int, Kind, ListOf, MapOf, Text
from swapd.config.model import PeerFilters, PeerTimeouts
from swapd.config.nodes import Mapping, Node, Scalar, Sequence, is_null
from swapd.config.problems import KeyPath, ProblemLog, quoted
from swapd.config.scalars import text_of


@frozen
class Profile:
    """A set of names that stand for something else while the profile is active.

    A pin's target "" (or null) means: requests for the pin are answered 404.
    """

    description: str = key("description", Text(), "Shown in the profile list.", default="")
    pins: FrozenMap[str, str] = key(
        "pins",
        MapOf(Text()),
        "Requested name to what it stands for; null disables the name.",
        default=EMPTY,
        default_text="required",
        example="{gpt-4: chat, gpt-3.5: ~}",
    )


@frozen
class ProfileSection(Section):
    """A profile; lists are what profiles were long ago."""

    def refuse(self, node: Node, path: KeyPath, log: ProblemLog, hint: str = "") -> AnyType:
        if not isinstance(node, Sequence):
            return super().refuse(node, path, log, hint)
        log.error(
            "profile-legacy",
            f"the profile {quoted(str(path[-1]))} must be a mapping with pins, not a list of models",
            at=node,
            path=path,
            hint="migrate: to run models together use routing with groups or a matrix",
            step=TYPE_STEP,
        )
        return INVALID


@frozen
class SelectorSettings:
    """Settings of a selector's strategy."""

    spillover: int = key(
        "spillover",
        Int(),
        "For `spillover`: requests at once to a target before the next is used.",
        default=1,
    )


@frozen
class Selector:
    """A name that stands for one of several targets, chosen anew for each request.

    `targets` are as written; `resolved` are the model IDs and qualified peer models they lead to.
    """

    strategy: str = key(
        "strategy",
        Text(),
        "`pin`: always the first target. `warm`: one that is loaded, else the first. `spillover`: the next "
        "target where the ones before it are busy.",
        default="",
        default_text="required",
        example="warm",
    )
    targets: tuple[str, ...] = key(
        "targets",
        ListOf(Text()),
        "What it chooses from.",
        default=(),
        default_text="required",
        example="[chat, hub/qwen3-32b]",
    )
    settings: SelectorSettings = key(
        "settings", Section(SelectorSettings), "Settings of the strategy.", default=SelectorSettings()
    )
    name: str = key("name", Text(trim=True), "Name shown in listings.", default="")
    description: str = key("description", Text(trim=True), "Description shown in listings.", default="")
    unlisted: bool = key("unlisted", Bool(), "Hidden from `/v1/models`.", default=False)
    metadata: FrozenMap[str, AnyType] = key("metadata", MapOf(Any()), "Free data for clients.", default=EMPTY)
    resolved: tuple[str, ...] = ()


@frozen
class Secret(Kind):
    """A string that no message ever shows."""

    words: str = "a string"

    def load(self, node: Node, path: KeyPath, log: ProblemLog) -> AnyType:
        if not isinstance(node, Scalar):
            return self.refuse(node, path, log)
        return text_of(node.value)


@frozen
class Peer:
    """Another swapd or any OpenAI-compatible server that offers models."""

    proxy: str = key(
        "proxy",
        Text(),
        "Base URL of the peer.",
        default="",
        default_text="required",
        example="http://192.168.1.20:8080",
    )
    models: tuple[str, ...] = key(
        "models",
        ListOf(Text()),
        "Names of its models to offer.",
        default=(),
        default_text="required",
        example="[qwen3-32b]",
    )
    api_key: str = key(
        "apiKey",
        Secret(),
        "Key sent to the peer in place of the client's.",
        default="",
        repr=False,
        example='"${env.PEER_KEY}"',
    )
    filters: PeerFilters = key(
        "filters", Section(PeerFilters), "Edits of JSON request bodies.", default=PeerFilters()
    )
    timeouts: PeerTimeouts = key(
        "timeouts", Section(PeerTimeouts), "Connection timeouts.", default=PeerTimeouts()
    )


@frozen
class ApiKeyKeys:
    """A key with a name and limits."""

    secret: str = key(
        "key", Secret(), "The key itself.", default="", repr=False, example='"${env.GUEST_KEY}"'
    )
    key_file: str = key(
        "keyFile",
        Text(),
        "A file whose trimmed content is the key.",
        default="",
        example="/etc/swapd/guest.key",
    )
    name: str = key(
        "name",
        Text(),
        "Name in logs and lists.",
        default="",
        default_text="position in the list",
        example="guests",
    )
    models: tuple[str, ...] = key(
        "models", ListOf(Text()), "Glob patterns of the models it may use.", default=(), example='["chat*"]'
    )
    admin: bool = key("admin", Bool(), "May manage the daemon.", default=False)


@frozen
class ApiKey:
    """A key in force. `models` empty means all; `file` is where the key was read from, if it was."""

    key: str = field(repr=False)
    name: str
    models: tuple[str, ...] = ()
    admin: bool = True
    file: Path | None = None


@frozen
class WrittenApiKey:
    """An item of `apiKeys` before its checks: a plain string, or a mapping with its position in the list."""

    index: int
    plain: str | None = field(default=None, repr=False)
    keys: ApiKeyKeys | None = field(default=None, repr=False)


@frozen
class ApiKeyItem(Kind):
    """A key as a string, or a mapping with its name and limits."""

    words: str = "a string, or a mapping with key or keyFile"
    of: ClassVar[type[ApiKeyKeys]] = ApiKeyKeys

    def load(self, node: Node, path: KeyPath, log: ProblemLog) -> AnyType:
        index = path[-1]
        assert isinstance(index, int)
        if isinstance(node, Mapping):
            given = [name for name in ("key", "keyFile") if not is_null(node.get(name))]
            if len(given) != 1:
                log.error(
                    "type",
                    f"apiKeys[{index}] has {'both key and keyFile' if given else 'neither key nor keyFile'}",
                    at=node,
                    path=path,
                    hint="give exactly one of key and keyFile",
                )
                return INVALID
            return WrittenApiKey(index, None, ApiKeyKeys(**load_keys(ApiKeyKeys, node, path, log)))
        if isinstance(node, Scalar):
            return WrittenApiKey(index, text_of(node.value))
        hint = "write the key itself, or a mapping such as {key: …, name: …}"
        log.error("type", f"expected {self.words}", at=node, path=path, hint=hint)
        return INVALID
