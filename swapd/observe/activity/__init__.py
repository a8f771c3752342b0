"""The activity log: one row for each request for a model, kept in memory or in a SQLite file."""

from swapd.observe.activity.row import ActivityRow
from swapd.observe.activity.store import ActivityStore, NewerFile, StoreFailed

__all__ = ["ActivityRow", "ActivityStore", "NewerFile", "StoreFailed"]
