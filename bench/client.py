"""Single requests, timed to the microsecond: a blocking client on a bare socket."""

from __future__ import annotations

import json
import re
import socket
import time

from attrs import frozen

_LIMIT_S = 60.0


@frozen
class Answer:
    """An answer and when its last byte arrived (seconds, monotonic)."""

    status: int
    body: bytes
    arrived_at: float

    def json(self) -> dict[str, int]:
        value: dict[str, int] = json.loads(self.body)
        return value


def get(port: int, path: str) -> Answer:
    return exchange(port, f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n".encode())


def post(port: int, path: str, value: object) -> Answer:
    body = json.dumps(value).encode()
    return exchange(port, post_head(path, len(body)) + body)


def post_request(path: str, value: object) -> bytes:
    """A request after which the connection stays open."""
    body = json.dumps(value).encode()
    return post_head(path, len(body)).replace(b"Connection: close\r\n", b"") + body


def post_head(path: str, length: int) -> bytes:
    lines = (f"POST {path} HTTP/1.1", "Host: 127.0.0.1", "Content-Type: application/json")
    return "\r\n".join([*lines, f"Content-Length: {length}", "Connection: close", "", ""]).encode()


def exchange(port: int, request: bytes) -> Answer:
    """Send a whole request that asks for the connection to be closed; the whole answer."""
    with socket.create_connection(("127.0.0.1", port), timeout=_LIMIT_S) as sock:
        sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        sock.sendall(request)
        return read_answer(sock)


def read_answer(sock: socket.socket) -> Answer:
    """Read an answer of known length, or up to the end of the connection."""
    received = b""
    while b"\r\n\r\n" not in received and (data := sock.recv(65536)):
        received += data
    head, _, body = received.partition(b"\r\n\r\n")
    length = re.search(rb"(?i)\ncontent-length: *(\d+)", head)
    while (length is None or len(body) < int(length[1])) and (data := sock.recv(65536)):
        body += data
    return Answer(int(head.split(b" ", 2)[1]), body, time.monotonic())


def wait_for_answer(port: int, path: str) -> None:
    """Ask until there is any answer at all."""
    while True:
        try:
            get(port, path)
        except (OSError, IndexError):
            time.sleep(0.001)
        else:
            return
