"""That no process outlives the daemon, whatever ends it: the parts of it under one roof.

    guardian        kills what is left when the daemon dies       (`swapd.supervision.guardian`)
    state records   tell the next daemon what to look for         (`swapd.supervision.records`)
    sweep           ends what an earlier daemon left              (`swapd.supervision.sweep`)
    control groups  let nothing escape, where we may have them    (`swapd.supervision.cgroup`)

What each of them covers, and what the launcher does beside them, is in docs/design/processes.md.
"""

from __future__ import annotations

import uuid
from collections.abc import Callable
from pathlib import Path

from swapd.supervision.bookkeeping import Bookkeeping
from swapd.supervision.cgroup import InstanceCgroups, delegated_cgroup
from swapd.supervision.guardian import Guardian
from swapd.supervision.marked_processes import find_marked
from swapd.supervision.records import Records


class OrphanProtection:
    """`start` it before anything else, `sweep` before the first process, and `end` it after the last.

    - `instance`: the daemon's uuid, which marks everything it starts.
    - `state_directory`: locked for this daemon; None if there is none to be had.
    - `on_helper_started`, `on_helper_ended`: told the guardian's pid, for whoever keeps the daemon's own
      children apart from adopted ones.
    - `info`, `warn`: take lines for the log.
    """

    def __init__(
        self,
        state_directory: Path | None,
        *,
        on_helper_started: Callable[[int], None],
        on_helper_ended: Callable[[int], None],
        info: Callable[[str], None],
        warn: Callable[[str], None],
    ) -> None:
        self.instance = str(uuid.uuid4())
        self._info = info
        self._warn = warn
        self._guardian = Guardian(
            self.instance, on_started=on_helper_started, on_ended=on_helper_ended, warn=warn
        )
        self._records = Records(state_directory, self.instance, warn)
        self._cgroups = InstanceCgroups(delegated_cgroup(), self.instance, warn)
        self.bookkeeping = Bookkeeping(self._records, self._cgroups)
        """To be told of every instance."""

    def start(self) -> None:
        """Start the guardian: about a millisecond, in the thread that calls."""
        self._guardian.start()

    async def keep(self) -> None:
        """See to it that there is a guardian, until cancelled. Sleeps while it lives."""
        await self._guardian.keep()

    async def sweep(self) -> None:
        """End what earlier daemons left. After an orderly end that is nothing, and takes no time; else it is
        bounded by some 18 s.

        Cancelling it stops at once; the next daemon goes on with it.
        """
        left = self._records.begin()
        if left.daemon_pid is None and not (left.instances or left.records or left.problems):
            self._records.swept(left)
            return
        from swapd.supervision.sweep import Sweep  # seldom needed

        survivors = await Sweep(self.instance, info=self._info, warn=self._warn).run(left)
        self._cgroups.remove_left(left.instances)
        self._records.swept(left, survivors)

    def end(self) -> bool:
        """The daemon ends. True if nothing that it started is left.

        Else the guardian kills it, the records stay for the next daemon, and the log says what it is. Blocks
        for a few milliseconds.
        """
        left = find_marked(frozenset((self.instance,)))
        if left:
            self._warn(f"still there at the end, and being killed: {', '.join(map(str, left))}")
            self._guardian.alarm()
            return False
        self._records.end()
        self._guardian.dismiss()
        return True
