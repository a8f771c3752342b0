"""The design note shows the transition table as it is."""

from __future__ import annotations

from pathlib import Path

from swapd.nursery.states import diagram

NOTE = Path(__file__).parents[3] / "docs" / "design" / "scheduler.md"


def test_the_state_diagram_is_the_transition_table() -> None:
    assert f"```mermaid\n{diagram()}\n```" in NOTE.read_text(), (
        "renew it: python -c 'from swapd.nursery.states import diagram; print(diagram())'"
    )
