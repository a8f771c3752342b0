"""Configurations out of thin air: valid ones, made from the declarations, and mutations of real ones."""

from __future__ import annotations

from functools import cache, singledispatch
from typing import Any as AnyType

from hypothesis import strategies as st
from hypothesis.strategies import DrawFn, SearchStrategy

from swapd.config.configuration import RootKeys
from swapd.config.declare import Section, keys_of
from swapd.config.kinds import (
    Any,
    Bool,
    Choice,
    Duration,
    Int,
    Kind,
    ListOf,
    MapOf,
    Number,
    Seconds,
    Size,
    Text,
)
from swapd.config.model import ModelKeys
from swapd.config.names import ApiKeyItem, Secret
from swapd.config.patterns import Pattern
from swapd.config.settings import Settings
from swapd.config.sleeping import Step
from swapd.config.special_kinds import Address, AutoOr, Either

Tree = SearchStrategy[AnyType]

WORDS = st.text(st.sampled_from("ab -_./:#'\"\\\n\té水🦉|>&*!%@`,[]{}?=0"), max_size=12)
NAMES = st.text(st.sampled_from("abc09-_./: é"), min_size=1, max_size=8)
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(2**70), 2**70),
    st.floats(),
    WORDS,
    st.sampled_from(
        ["${PORT}", "${MODEL_ID}", "${a}", "${env.OWL_N}", "${env.1}", "yes", "0x10", "1_0", "08", "~",
         "2024-01-31", "1:30", "<<", "5s", "4MiB", "-1", "x-a", "a & (b | +s)", "${PID}", "http://h:1"]
    ),
)  # fmt: skip


@singledispatch
def values_of(kind: Kind) -> Tree:
    """Values that a key of this kind takes."""
    raise TypeError(f"no strategy for {type(kind).__name__}")


@values_of.register
def _(kind: Int) -> Tree:
    return st.integers(0 if kind.minimum is None else kind.minimum, 10_000)


@values_of.register
def _(kind: Number) -> Tree:
    return st.floats(1, 100)


@values_of.register
def _(kind: Bool) -> Tree:
    return st.one_of(st.booleans(), st.sampled_from(["yes", "no", "on", "Off"]))


@values_of.register(Text)
@values_of.register(Secret)
def _(kind: Kind) -> Tree:
    return st.one_of(WORDS, st.integers(0, 99), st.floats(0, 9), st.booleans())


@values_of.register
def _(kind: Choice) -> Tree:
    return st.sampled_from(kind.values)


@values_of.register
def _(kind: Duration) -> Tree:
    return st.sampled_from(["5s", "1h30m", "5500ms", ".5m", "0"])


@values_of.register
def _(kind: Seconds) -> Tree:
    return st.one_of(st.integers(0, 1000), st.floats(0, 1e6), st.sampled_from(["90s", "1d", "0.25s", "1h1m"]))


@values_of.register
def _(kind: Size) -> Tree:
    return st.one_of(st.integers(0, 1 << 40), st.sampled_from(["4MiB", "1.5GB", "0B", "7 KiB"]))


@values_of.register
def _(kind: ListOf) -> Tree:
    return st.lists(st.one_of(values_of(kind.item), st.none()), max_size=3)


@values_of.register
def _(kind: MapOf) -> Tree:
    return st.dictionaries(NAMES, values_of(kind.item), max_size=3)


@values_of.register
def _(kind: Any) -> Tree:
    leaves = st.one_of(st.booleans(), st.integers(-(2**63), 2**64 - 1), st.floats(), WORDS, st.none())
    return st.recursive(
        leaves,
        lambda inner: st.lists(inner, max_size=3) | st.dictionaries(NAMES, inner, max_size=3),
        max_leaves=5,
    )


@values_of.register
def _(kind: Pattern) -> Tree:
    return st.sampled_from(["^$", r"\.js$", "(?i)a|b", "[[:digit:]]+", r"\d{1,3}", "(?P<n>x)", "é"])


@values_of.register
def _(kind: Address) -> Tree:
    return st.sampled_from(["10.0.0.0/8", "192.168.1.7", "::1", "fd00::/8", "10.1.2.3/8"])


@values_of.register
def _(kind: AutoOr) -> Tree:
    return st.one_of(st.just("auto"), values_of(kind.other))


@values_of.register
def _(kind: Either) -> Tree:
    return st.one_of(values_of(kind.single), values_of(kind.several))


@values_of.register
def _(kind: Step) -> Tree:
    return st.sampled_from(
        [
            "POST /sleep",
            "echo 'a b'",
            {"path": "/x", "body": {"a": [1]}},
            {"cmd": ["a", "b c"]},
            {"cmd": "a b"},
        ]
    )


@values_of.register
def _(kind: Section) -> Tree:
    return sections(kind.of)


@values_of.register
def _(kind: ApiKeyItem) -> Tree:
    named = {"key": st.from_regex(r"[a-z]{3,9}", fullmatch=True), "name": st.sampled_from(["ann", "bob"])}
    return st.one_of(named["key"], st.integers(1000, 9999), st.fixed_dictionaries(named))


@cache
def sections(of: type[AnyType], *, without: frozenset[str] = frozenset()) -> Tree:
    """Some keys of a section, in any order of presence."""
    keys = {name: values_of(key.kind) for name, (_, key) in keys_of(of).items() if name not in without}
    return st.fixed_dictionaries({}, optional=keys)


_SETTINGS = sections(Settings, without=frozenset({"store", "startPort"}))
_MODEL = sections(
    ModelKeys,
    without=frozenset(
        {"cmd", "cmdStop", "proxy", "aliases", "macros", "capabilities", "detached", "filters"}
    ),
)
_API_KEYS = st.lists(values_of(ApiKeyItem()), max_size=3)
MODEL_IDS = ("owl", "wren", "org/lark:q4", "m.1", "Ünit", "comfyui_auto", " padded", "123", "true", "a b")
_COMMANDS = (
    "srv --port ${PORT}",
    "srv ${PORT} ${w} 'q ${PORT}' \\\n  # note\n  -m ${MODEL_ID}\n",
    "srv \"${w}\" --url=http://h:${PORT}/x",
    "s",
    "",
)  # fmt: skip


@st.composite
def _models(draw: DrawFn) -> AnyType:
    models: dict[str, AnyType] = {}
    for number, id in enumerate(draw(st.lists(st.sampled_from(MODEL_IDS), unique=True, max_size=4))):
        model = draw(_MODEL)
        model["cmd"] = draw(st.sampled_from(_COMMANDS))
        if "${PORT}" not in model["cmd"]:
            model["proxy"] = draw(st.sampled_from(["http://h:1", "https://h/a%20b", "foo"]))
        model["aliases"] = draw(
            st.sampled_from([[], [f"alias{number}"], [f"a-{number}", number + 0.5, None]])
        )
        model["cmdStop"] = draw(st.sampled_from(["", "kill ${PID}", "docker stop 'a b'"]))
        model["detached"] = bool(model["cmdStop"]) and draw(st.booleans())
        model["filters"] = draw(
            st.sampled_from(
                [
                    {},
                    {"strip_params": "b,a, model"},
                    {"setParamsByID": {"${MODEL_ID}:hot": {"t": 1}, id: None}},
                ]
            )
        )
        if draw(st.booleans()):
            model["macros"] = {"w": draw(st.sampled_from(["local", 8, 0.5, True]))}
        if draw(st.booleans()):
            model["capabilities"] = {"in": ["text"], "context": draw(st.integers(0, 9))}
        models[id] = model
    return models


@st.composite
def _routing(draw: DrawFn, ids: list[str]) -> AnyType:
    """Routing in either place, or none."""
    if not ids:
        return {}
    variables = {f"v{number}": id for number, id in enumerate(ids)}
    atoms = st.sampled_from(list(variables))
    expressions = st.recursive(
        atoms,
        lambda inner: (
            st.lists(inner, min_size=2, max_size=3).map(" | ".join).map("({})".format)
            | st.lists(inner, min_size=2, max_size=3).map(" & ".join)
        ),
        max_leaves=6,
    )
    groups = {
        "g": {"members": ids[:2], "swap": draw(st.booleans()), "persistent": draw(st.booleans())},
        "h": None,
    }
    matrix = {
        "vars": variables,
        "evict_costs": {"v0": draw(st.integers(1, 9))},
        "sets": {"t": "+s | v0", "s": draw(expressions), "u.1": "+t & +s"},
    }
    fifo = {"priority": {ids[0]: draw(st.integers(-3, 3))}, "maxWait": draw(st.floats(0, 1000))}
    scheduler = {"scheduler": {"settings": {"fifo": fifo}}}
    settings = {"groups": groups, "matrix": matrix, "memory": {"budgets": {"gpu0": "8GiB"}, "reserve": 5}}
    return draw(
        st.sampled_from(
            [
                {},
                {"groups": groups},
                {"matrix": matrix, "routing": scheduler},
                *(
                    {"routing": {"router": {"use": use, "settings": settings}}}
                    for use in ("group", "matrix", "memory")
                ),
            ]
        )
    )


@st.composite
def configurations(draw: DrawFn) -> AnyType:
    """Trees that nearly always load: the sections that depend on each other are made to fit."""
    tree = draw(_SETTINGS)
    models = draw(_models())
    ids = list(models)
    tree["startPort"] = draw(st.integers(1, 60_000))
    tree["macros"] = {"w": draw(st.sampled_from(["word", 1.10, False])), "z": "${w}!"}
    tree["models"] = models
    tree.update(draw(_routing(ids)))
    if draw(st.booleans()):
        tree["peers"] = {"hub": {"proxy": "http://hub", "models": ["ibis", "org/ibis"], "apiKey": "p${w}"}}
        if ids:
            tree["selectors"] = {
                "any": {"strategy": "pin", "targets": [ids[0], "ibis"], "metadata": {"a": [1]}}
            }
            tree["profiles"] = {"p": {"pins": {"x": ids[0], "y": "any", "off": None}}}
    tree["hooks"] = {"on_startup": {"preload": draw(st.lists(st.sampled_from([*MODEL_IDS, ""]), max_size=3))}}
    tree["apiKeys"] = draw(_API_KEYS)
    return tree


def _all_key_names(of: type[AnyType] = RootKeys) -> set[str]:
    names: set[str] = set()
    for name, (_, key) in keys_of(of).items():
        names.add(name)
        kind: AnyType = key.kind
        while isinstance(kind, (MapOf, ListOf)):
            kind = kind.item
        if isinstance(kind, Section):
            names |= _all_key_names(kind.of)
    return names


KEY_NAMES = st.one_of(st.sampled_from(sorted(_all_key_names())), st.sampled_from(MODEL_IDS), WORDS)
JUNK = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(KEY_NAMES, inner, max_size=4),
    max_leaves=20,
)


@st.composite
def mutated_trees(draw: DrawFn, trees: list[AnyType]) -> AnyType:
    """A real document with some values replaced, dropped, renamed or moved."""
    tree = draw(st.sampled_from(trees))
    for _ in range(draw(st.integers(1, 4))):
        tree = _mutated(draw, tree)
    return tree


def _mutated(draw: DrawFn, node: AnyType, depth: int = 0) -> AnyType:
    """One change at a random place. Makes a new tree."""
    if isinstance(node, dict) and node and draw(st.integers(0, 4)) > depth // 2:
        name = draw(st.sampled_from(list(node)))
        match draw(st.integers(0, 6)):
            case 0:
                return {key: value for key, value in node.items() if key != name}
            case 1:
                return {draw(KEY_NAMES) if key == name else key: value for key, value in node.items()}
            case 2:
                return {**node, draw(KEY_NAMES): node[name]}
            case _:
                return {**node, name: _mutated(draw, node[name], depth + 1)}
    if isinstance(node, list) and node and draw(st.booleans()):
        index = draw(st.integers(0, len(node) - 1))
        return [*node[:index], _mutated(draw, node[index], depth + 1), *node[index:]]
    return draw(JUNK)


@st.composite
def mutated_bytes(draw: DrawFn, texts: list[bytes]) -> bytes:
    """A real file with pieces removed, doubled, moved or overwritten."""
    content = draw(st.sampled_from(texts))
    for _ in range(draw(st.integers(1, 4))):
        start = draw(st.integers(0, len(content)))
        end = min(len(content), start + draw(st.integers(0, 20)))
        piece = content[start:end]
        replacement = draw(
            st.one_of(
                st.just(b""),
                st.just(piece + piece),
                st.binary(max_size=4),
                st.sampled_from(
                    [b"\n", b"  ", b"\t", b": ", b"- ", b"[", b"{", b"}", b"'", b'"', b"#", b"&a ", b"*a",
                     b"|\n", b">", b"!!int ", b"!!binary ", b"<<: ", b"---\n", b"...\n", b"%YAML 1.1\n",
                     b"? ", b"\x00", b"\xff", "\u2028".encode(), b"${PORT}", b"${env.OWL_N}", b"${env.NOPE}",
                     b"~", b"@", b"`", b"\r"]
                ),
            )
        )  # fmt: skip
        content = content[:start] + replacement + content[end:]
    return content
