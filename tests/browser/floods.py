"""Upstreams that say much, or nasty things: answers as a test wants them, logs that never end."""

from __future__ import annotations

import http.server
import json
import sqlite3
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Final

from swapd.observe.activity.schema import prepare
from swapd.testing.daemon import upstream_command

PARTS = [
    {"reasoning_content": "Let me think <img src=x onerror=window.hacked=1>"},
    {"content": "# Title\n\n<script>window.hacked=2</script>\n\n"},
    {"content": "[click](javascript:window.hacked=3) ![cat](http://127.0.0.2/cat.png)\n\n"},
    {"content": "```python\ndef f():\n    return '<img src=x onerror=window.hacked=4>'\n```\n\n"},
    {"content": "| a | b |\n|---|---|\n| 1 | 2 |\n\nInline $x^2$ and:\n\n$$\\frac{1}{2}$$\n"},
]
TOKENS_A_SECOND = 300
TOKENS = 900


class Scripted(http.server.BaseHTTPRequestHandler):
    """A model server whose answers are as nasty, or as fast, as the question wants."""

    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        self.send_response(200)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"ok")

    def do_POST(self) -> None:
        question = self.rfile.read(int(self.headers["Content-Length"]))
        self.send_response(200)
        self.send_header("Content-Type", "text/event-stream")
        self.send_header("Connection", "close")
        self.end_headers()
        self.close_connection = True
        fast = b"fast" in question
        with suppress(BrokenPipeError, ConnectionResetError):  # the browser has gone
            self._write_all(self._fast() if fast else iter(PARTS))

    def _write_all(self, parts: Iterator[dict[str, str]]) -> None:
        for part in parts:
            self.wfile.write(f"data: {json.dumps({'choices': [{'delta': part}]})}\r\n\r\n".encode())
            self.wfile.flush()
        self.wfile.write(b": a comment\n\ndata:[DONE]\n\n")

    def _fast(self) -> Iterator[dict[str, str]]:
        begun = time.monotonic()
        for n in range(TOKENS):
            time.sleep(max(0.0, begun + n / TOKENS_A_SECOND - time.monotonic()))
            yield {
                "content": [
                    "word ",
                    "**bold** ",
                    "`code` ",
                    "\n\n- item ",
                    "\n\n| a | b |\n|-|-|\n| c | d |\n\n",
                ][n % 5]
            }

    def log_message(self, format: str, *args: object) -> None:
        pass


@contextmanager
def scripted_server() -> Iterator[str]:
    """A configuration's `peers:` section whose model `lab/nasty` is a `Scripted` one."""
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Scripted)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"peers:\n  lab: {{proxy: 'http://127.0.0.1:{server.server_port}', models: [nasty]}}\n"
    finally:
        server.shutdown()
        server.server_close()


_FLOOD: Final = """
import sys, time
begun, n = time.monotonic(), 0
while True:
    while n < (time.monotonic() - begun) * 5000:
        n += 1
        sys.stdout.write(f"line {n} of the flood: some words to give it a usual length\\n")
    sys.stdout.flush()
    time.sleep(0.02)
"""


def flooding_model(directory: Path) -> str:
    """A line under `models:`, of the model `noisy`, which writes 5,000 lines a second."""
    flood = directory / "flood.py"
    flood.write_text(_FLOOD)
    command = f"sh -c '{sys.executable} {flood} & exec {upstream_command('--load', '100ms')}'"
    return f"  noisy: {{cmd: {command!r}}}"


def store_with_rows(path: Path, rows: int) -> str:
    """A configuration's `store:` section, of a file that holds this many answered requests of one week."""
    db = sqlite3.connect(path)
    prepare(db)
    newest = int(time.time() * 1000)
    step = 7 * 86_400_000 // rows
    db.executemany(
        """INSERT INTO activity (draft_tokens, draft_acc_tokens, metadata_json, queue_ms, load_ms, req_path,
             resp_content_type, ts_ms, model_id, resp_status_code, cache_tokens, input_tokens, output_tokens,
             prompt_per_second, tokens_per_second, duration_ms, error_msg, ttft_ms, session)
           VALUES (-1, -1, '{}', 0, 0, '/v1/chat/completions',
             'text/event-stream', ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?, ?)""",
        (
            (
                newest - (rows - n) * step,
                ("owl", "wren", "finch")[n % 3],
                500 if n % 50 == 0 else 200,
                n % 900,
                20 + n % 4000,
                10 + n % 700,
                300 + n % 2500,
                8 + n % 90,
                500 + n % 9000,
                "out of memory" if n % 50 == 0 else "",
                90 + n % 800,
                f"session-{n % 97}",
            )
            for n in range(rows)
        ),
    )
    db.execute(
        """INSERT INTO activity_day SELECT ts_ms / 86400000, model_id, COUNT(*), SUM(resp_status_code >= 400),
             SUM(input_tokens), SUM(output_tokens), SUM(cache_tokens), SUM(duration_ms)
           FROM activity GROUP BY 1, 2"""
    )
    db.commit()
    db.close()
    return f"store: {{path: {path}}}\n"
