"""Noticing that the sources of a configuration have changed, without taking a half-written file.

Polling with `stat`, because notifications do not tell enough: inotify(7) sees nothing of a file that is
replaced behind a bind mount of that one file (a container's usual case), of a config map whose symlink is
turned to another directory, of a network file system. A look at a few files every two seconds takes less than
a thousandth of a processor, and only where `--watch-config` asks for it.

A difference starts a settling phase: the sources are looked at every 200 ms until two looks agree. Something
that goes on changing is waited for, however long it takes, as half of a configuration may well be valid. Only
a tool that touches files all the time without changing them is seen through: after five seconds equal
contents count as agreement too. Then the contents decide, so a `touch` or a rewrite with equal bytes is no
change.

Missing or emptied sources are never a change: editors and config maps make them for a moment, and a daemon
must not drop its models over it. After ten seconds they are reported, and the configuration in force stays.

`SourceWatch` is a state machine without a clock of its own. The task that owns it calls `step`, sleeps for
`wait_s`, and reloads when `changed`. `step` reads files; call it in a thread if they may be slow.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from pathlib import Path

from attrs import define, field
from msgspec import Struct

from swapd.config.reading import yaml_files
from swapd.config.sources import Sources

DEFAULT_INTERVAL_S = 2.0
MIN_INTERVAL_S = 0.2
SETTLE_S = 0.2
SETTLE_LIMIT_S = 5.0
MISSING_GRACE_S = 10.0

EMPTY_DIGEST = hashlib.sha256(b"").hexdigest()

FileState = tuple[int, int, int, int]  # mtime in ns, size, inode, device
Look = Mapping[Path, FileState | None]
Digests = Mapping[Path, str]


def _at_least_minimum(interval_s: float) -> float:
    return max(interval_s, MIN_INTERVAL_S)


class Step(Struct, frozen=True):
    """What to do next: sleep, and before that perhaps reload or say that something is wrong."""

    wait_s: float
    changed: bool = False
    trouble: str = ""


@define
class _Settling:
    """A difference that has been seen: when, and the newest look at it, with contents once it takes long."""

    since: float
    look: Look
    digests: Digests | None = None


@define(eq=False)
class SourceWatch:
    """Watches the files of `sources` and some more (key files, certificates).

    State, changed by `step` and `applied` only: `_known` is the last look that was accepted and `_digests`
    what was loaded then; `_settling` is there while a difference has not come to rest; `_missing_since` is
    when sources were first found missing, `_reported` whether that was said.
    """

    sources: Sources
    also: tuple[Path, ...] = ()
    interval_s: float = field(default=DEFAULT_INTERVAL_S, converter=_at_least_minimum)
    _digests: Digests = field(factory=dict)
    _known: Look | None = None
    _settling: _Settling | None = None
    _missing_since: float | None = None
    _reported: bool = False

    def applied(self, digests: Digests, also: tuple[Path, ...] = ()) -> None:
        """Note what was loaded, by whatever trigger: SHA-256 by path. Changes are counted from here.

        `also` are the further files to watch from now on; their present contents count as known.
        """
        self.also = also
        self._digests = {**digests, **_digests(also)}
        self._known = None
        self._settling = None

    def is_what_settled(self, digests: Digests) -> bool:
        """True when these contents are those that the last step found at rest."""
        return all(self._digests.get(path) == digest for path, digest in digests.items())

    def step(self, now: float) -> Step:
        """Look at the sources. `now` is any monotonic time in seconds."""
        look = self._look()
        trouble = self._trouble(look)
        if trouble:
            return self._wait_for_return(trouble, now)
        self._missing_since = None
        self._reported = False
        settling = self._settling
        if settling is None:
            if look == self._known:
                return Step(self.interval_s)
            self._settling = _Settling(now, look)
            return Step(SETTLE_S)
        if look == settling.look:
            return self._settle(look, settling)
        settling.look = look
        if now - settling.since >= SETTLE_LIMIT_S:
            before, settling.digests = settling.digests, _digests(look)
            if settling.digests == before:
                return self._accept(look, settling.digests)
        return Step(SETTLE_S)

    def _settle(self, look: Look, settling: _Settling) -> Step:
        """Two looks agree: read the contents, unless they are written to meanwhile."""
        digests = _digests(look)
        after = self._look()
        if after != look:
            settling.look = after
            return Step(SETTLE_S)
        return self._accept(look, digests)

    def _accept(self, look: Look, digests: Digests) -> Step:
        changed = digests != self._digests
        self._known, self._digests, self._settling = look, digests, None
        return Step(self.interval_s, changed=changed)

    def _wait_for_return(self, trouble: str, now: float) -> Step:
        self._settling = None
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
            if look[path] is None:
                return f"{path} is missing"
        for path, state in look.items():
            if state is not None and state[1] == 0 and (path in self.sources.files or self._held(path)):
                return f"{path} is empty"
        directory = self.sources.directory
        if directory is None:
            return ""
        given = {*self.sources.files, *self.also}
        if any(state is not None and state[1] > 0 for path, state in look.items() if path not in given):
            return ""
        if self.sources.files and directory.is_dir():
            return ""
        return f"{directory} is missing or holds no configuration"

    def _held(self, path: Path) -> bool:
        """True when there was something in the file when it was loaded."""
        return self._digests.get(path, EMPTY_DIGEST) != EMPTY_DIGEST


def _state(path: Path) -> FileState | None:
    """The state of a file, through symlinks; None when there is none."""
    try:
        status = path.stat()
    except OSError:
        return None
    return status.st_mtime_ns, status.st_size, status.st_ino, status.st_dev


def _digests(paths: Iterable[Path]) -> Digests:
    """SHA-256 of the contents of those files that can be read."""
    digests: dict[Path, str] = {}
    for path in paths:
        try:
            digests[path] = hashlib.sha256(path.read_bytes()).hexdigest()
        except OSError:
            continue
    return digests
