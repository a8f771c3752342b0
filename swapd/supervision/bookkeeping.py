"""What the daemon keeps outside of itself about each instance: its state record and its control group.

This is the object that the launcher tells about the processes it starts.

The whole of it, layer by layer, is described in docs/design/processes.md.
"""

from __future__ import annotations

from swapd.supervision.cgroup import InstanceCgroups
from swapd.supervision.records import Launched, Records


class Bookkeeping:
    """Writes down every instance from its spawn to its last process. Does not block or raise."""

    def __init__(self, records: Records, cgroups: InstanceCgroups) -> None:
        self._records = records
        self._cgroups = cgroups

    def spawned(self, launched: Launched, pid: int) -> None:
        """A leader has been started."""
        self._cgroups.add(pid)  # first, as what it forks until then stays in our own group
        self._records.written(launched, pid)

    def kill(self, pid: int) -> None:
        """Everything below this leader is to go, and it too if it still lives."""
        self._cgroups.kill(pid)

    def gone(self, launched: Launched, pid: int) -> None:
        """The leader has ended and nothing of its tree is left. Its pid is not free yet."""
        self._cgroups.remove(pid)
        self._records.removed(launched, pid)
