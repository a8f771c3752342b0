"""The control API: what people and tools ask swapd itself, one module a resource."""

from swapd.http.api.control import Control
from swapd.http.api.routes import ROUTES, build_api

__all__ = ["ROUTES", "Control", "build_api"]
