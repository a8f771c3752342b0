"""Noticing that the sources of a configuration have changed, without taking a half-written file.

Polling with `stat`, as notifications do not see bind mounts and swapped symlink targets. A difference starts
a settling phase: the sources are looked at every 200 ms until two looks agree. Then the contents decide, so a
`touch` or a rewrite with equal bytes is no change. Missing or empty sources are never a change: editors and
config maps make them for a moment, and a daemon must not drop its models over it.

`SourceWatch` is a state machine without a clock of its own. The task that owns it calls `step`, sleeps for
`wait_s`, and reloads when `changed`. `step` reads files; call it in a thread if they may be slow.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from pathlib import Path

from attrs import define, field, frozen

from swapd.config.reading import yaml_files
from swapd.config.sources import Sources

DEFAULT_INTERVAL_S = 2.0
MIN_INTERVAL_S = 0.2
SETTLE_S = 0.2
SETTLE_LIMIT_S = 5.0
MISSING_GRACE_S = 10.0

FileState = tuple[int, int, int, int]  # mtime in ns, size, inode, device
Look = Mapping[Path, FileState | None]
Digests = Mapping[Path, str]


def _at_least_minimum(interval_s: float) -> float:
    return max(interval_s, MIN_INTERVAL_S)


@frozen
class Step:
    """What to do next: sleep, and before that perhaps reload or say that something is wrong."""

    wait_s: float
    changed: bool = False
    trouble: str = ""


@define(eq=False)
class SourceWatch:
    """Watches the files of `sources` and some more (key files, certificates).

    State, changed by `step` and `applied` only: `_known` is the last look that was accepted and `_digests`
    what was loaded then; while settling `_since` is when the difference was seen and `_last` the latest look;
    `_missing_since` is when sources were first found missing, `_reported` whether that was said.
    """

    sources: Sources
    also: tuple[Path, ...] = ()
    interval_s: float = field(default=DEFAULT_INTERVAL_S, converter=_at_least_minimum)
    _digests: Digests = field(factory=dict)
    _known: Look | None = None
    _last: Look | None = None
    _since: float | None = None
    _missing_since: float | None = None
    _reported: bool = False

    def applied(self, digests: Digests, also: tuple[Path, ...] = ()) -> None:
        """Note what was loaded, by whatever trigger: SHA-256 by path. Changes are counted from here.

        `also` are the further files to watch from now on; their present contents count as known.
        """
        self.also = also
        self._digests = {**digests, **{path: _digest(path) for path in also}}
        self._known = None
        self._since = None

    def step(self, now: float) -> Step:
        """Look at the sources. `now` is any monotonic time in seconds."""
        look = self._look()
        trouble = self._trouble(look)
        if trouble:
            return self._wait_for_return(trouble, now)
        self._missing_since = None
        self._reported = False
        if self._since is None:
            if look == self._known:
                return Step(self.interval_s)
            self._since, self._last = now, look
            return Step(SETTLE_S)
        if look != self._last and now - self._since < SETTLE_LIMIT_S:
            self._last = look
            return Step(SETTLE_S)
        return self._settle(look, now)

    def _settle(self, look: Look, now: float) -> Step:
        """Two looks agree, or it takes too long: compare the contents."""
        digests = {path: _digest(path) for path, state in look.items() if state is not None}
        if self._look() != look and now - (self._since or now) < SETTLE_LIMIT_S:
            self._last = self._look()  # written to while it was read
            return Step(SETTLE_S)
        changed = digests != self._digests
        self._known, self._digests = look, digests
        self._since = self._last = None
        return Step(self.interval_s, changed=changed)

    def _wait_for_return(self, trouble: str, now: float) -> Step:
        self._since = self._last = None
        if self._missing_since is None:
            self._missing_since = now
        if self._reported or now - self._missing_since < MISSING_GRACE_S:
            return Step(min(self.interval_s, MISSING_GRACE_S))
        self._reported = True
        return Step(self.interval_s, trouble=f"{trouble}; the configuration in force stays")

    def _look(self) -> Look:
        paths = list(self.sources.files)
        if self.sources.directory is not None:
            try:
                paths += yaml_files(self.sources.directory)
            except OSError:
                pass  # missing or unreadable: reported as trouble
        return {path: _state(path) for path in (*paths, *self.also)}

    def _trouble(self, look: Look) -> str:
        """What keeps the sources from being loaded just now, or an empty text."""
        for path in self.sources.files:
            state = look[path]
            if state is None or state[1] == 0:
                return f"{path} is {'missing' if state is None else 'empty'}"
        directory = self.sources.directory
        if directory is None:
            return ""
        given = {*self.sources.files, *self.also}
        if any(state is not None and state[1] > 0 for path, state in look.items() if path not in given):
            return ""
        if self.sources.files and directory.is_dir():
            return ""
        return f"{directory} is missing or holds no configuration"


def _state(path: Path) -> FileState | None:
    """The state of a file, through symlinks; None when there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino, status.st_dev


def _digest(path: Path) -> str:
    """SHA-256 of the contents; empty when they cannot be read."""
    try:
        return hashlib.sha256(path.read_bytes()).hexdigest()
    except OSError:
        return ""
