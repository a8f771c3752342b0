"""What a look at one thing has come to."""

from __future__ import annotations

import enum
from typing import Any

from attrs import frozen


class Level(enum.Enum):
    """How bad it is. Only an error makes `swapd doctor` fail."""

    OK = "ok"
    NOTE = "note"
    """Worth knowing; nothing is wrong for somebody who does not need it."""
    WARNING = "warning"
    """It works now, but not always, or worse than it could."""
    ERROR = "error"
    """Something cannot work."""


@frozen
class Finding:
    """`what` was seen of `subject`; `why` that matters and how to `mend` it, both empty if all is well."""

    level: Level
    subject: str
    what: str
    why: str = ""
    mend: str = ""

    def as_json(self) -> dict[str, Any]:
        return {
            "level": self.level.value,
            "subject": self.subject,
            "what": self.what,
            "why": self.why or None,
            "mend": self.mend or None,
        }
