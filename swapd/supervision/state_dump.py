"""What goes on in the event loop, as text: for the state dump that SIGUSR1 asks for."""

from __future__ import annotations

from collections.abc import Iterator

import trio


def task_tree() -> list[str]:
    """All tasks of this trio run, a line each, indented below the task whose nursery they are in."""
    root = trio.lowlevel.current_root_task()
    return list(_lines(root, "")) if root is not None else []


def _lines(task: trio.lowlevel.Task, indent: str) -> Iterator[str]:
    yield f"{indent}{task.name}"
    for nursery in task.child_nurseries:
        for child in sorted(nursery.child_tasks, key=lambda child: child.name):
            yield from _lines(child, f"{indent}  ")
