"""A chat with pictures in it: what it costs to find the model in megabytes of JSON, and to edit them."""

from __future__ import annotations

import base64
import os
import socket
from collections.abc import Sequence

from bench import client, procfs
from bench.results import Results
from bench.scale import Scale
from bench.targets import EDITED_MODEL, Target

BODY_BYTES = 5_000_000
_REQUESTS = 10
"""At once: the kernel counts CPU time in hundredths of a second."""


def measure(targets: Sequence[Target], scale: Scale, results: Results) -> None:
    """`body of 5 MB cpu_ms` of those that edit: for a model whose name and parameters are changed."""
    request = client.post_request("/v1/chat/completions", _chat(EDITED_MODEL))
    for target in targets:
        with socket.create_connection(("127.0.0.1", target.port), timeout=60) as sock:
            _ask(sock, request)
            for _ in range(scale.rounds):
                before = procfs.cpu_seconds(target.pids)
                for _ in range(_REQUESTS):
                    _ask(sock, request)
                cpu_s = procfs.cpu_seconds(target.pids) - before
                results.add("body of 5 MB", "cpu_ms", target, 1000 * cpu_s / _REQUESTS)


def _ask(sock: socket.socket, request: bytes) -> None:
    sock.sendall(request)
    answer = client.read_answer(sock)
    if answer.status != 200:
        raise RuntimeError(f"a request of {len(request)} bytes was answered with {answer.status}")


def _chat(model: str) -> object:
    picture = base64.b64encode(os.urandom(BODY_BYTES // 8 * 3)).decode()
    parts = [{"type": "image_url", "image_url": {"url": f"data:image/png;base64,{half}"}} for half in
             (picture, picture)]  # fmt: skip
    content = [{"type": "text", "text": "What is the difference?"}, *parts]
    return {"messages": [{"role": "user", "content": content}], "temperature": 0.5, "model": model}
