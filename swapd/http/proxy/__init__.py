"""The hot path: find the model, resolve its name, edit the body, acquire the model, relay.

`docs/design/hot-path.md` says what a request costs, and what was left out for its sake.
"""

from swapd.http.proxy.profiles import Profiles
from swapd.http.proxy.proxy import Proxy
from swapd.http.proxy.routes import MODEL_ROUTES

__all__ = ["MODEL_ROUTES", "Profiles", "Proxy"]
