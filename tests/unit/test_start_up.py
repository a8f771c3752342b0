"""What the daemon does not load until it needs it: start-up time and idle memory are imports, nearly all."""

from __future__ import annotations

import subprocess
import sys

LOADED_WHEN_NEEDED = {
    "httpx": "https to peers",
    "hypercorn": "WebSockets, HTTP/2, TLS",
    "h2": "HTTP/2",
    "h11": "with hypercorn",
    "wsproto": "WebSockets",
    "rich": "client commands",
    "difflib": "suggestions for misspelt keys",
}


BEFORE_LISTENING = (
    "swapd.cli.serve",
    "swapd.config",
    "swapd.supervision.listeners",
    "swapd.supervision.pid_file",
    "swapd.supervision.process_setup",
    "swapd.supervision.state_directory",
)


def loaded_by(*modules: str) -> set[str]:
    """The names of all modules in a fresh Python that has imported these."""
    code = f"import sys, {', '.join(modules)}; print(*sys.modules)"
    ran = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, timeout=60)
    return set(ran.stdout.split())


def test_given_nothing_but_plain_http_then_the_daemon_loads_only_what_it_uses() -> None:
    loaded = loaded_by("swapd.cli.serve", "swapd.daemon")

    assert {"trio", "httptools"} <= loaded
    assert not {name: why for name, why in LOADED_WHEN_NEEDED.items() if name in loaded}


def test_given_a_start_then_the_daemon_can_listen_before_it_has_loaded_trio() -> None:
    assert "trio" not in loaded_by(*BEFORE_LISTENING)
