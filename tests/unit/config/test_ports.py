"""Ports: numbered in byte order at a fresh start, kept over reloads."""

from __future__ import annotations

from swapd.config import loads
from swapd.config.ports import assign_ports


def ports(
    *models: str, start: int = 5800, sticky: dict[str, int] | None = None, busy: tuple[int, ...] = ()
) -> dict[str, int | None]:
    text = f"startPort: {start}\nmodels:\n" + "".join(f"  {id}: {{cmd: 's ${{PORT}}'}}\n" for id in models)
    config = loads(text, environ={}, sticky_ports=sticky or {}, busy_ports=busy).config
    assert config is not None
    return {id: model.port for id, model in config.models.items()}


def test_a_fresh_start_numbers_in_byte_order() -> None:
    assert ports("m9", "b", "m10", "B", "a") == {"B": 5800, "a": 5801, "b": 5802, "m10": 5803, "m9": 5804}


def test_a_model_keeps_its_port_whatever_else_changed() -> None:
    assert ports("a", "b", "c", sticky={"a": 5800, "b": 5801}) == {"a": 5800, "b": 5801, "c": 5802}
    assert ports("b", "c", sticky={"a": 5800, "b": 5801}, start=7000) == {"b": 5801, "c": 7000}
    assert ports("aa", "a", "b", sticky={"a": 5800, "b": 5801}) == {"a": 5800, "aa": 5802, "b": 5801}


def test_the_port_of_a_removed_model_is_free_once_nothing_uses_it() -> None:
    assert ports("b", "c", sticky={"a": 5800, "b": 5801}) == {"b": 5801, "c": 5800}
    assert ports("b", "c", sticky={"a": 5800, "b": 5801}, busy=(5800,)) == {"b": 5801, "c": 5802}


def test_a_model_that_asked_for_none_gets_one() -> None:
    assert assign_ports(5800, ["a"], {}, ()) == {"a": 5800}
    assert assign_ports(5800, [], {"a": 5800}, ()) == {}


def test_two_new_models_get_two_ports() -> None:
    assert assign_ports(5800, ["a", "b", "c"], {"b": 5800}, {5801}) == {"a": 5802, "b": 5800, "c": 5803}
