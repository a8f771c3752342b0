"""Watching a running swapd on a terminal: what `swapd top` shows, and how it learns of it."""
