"""Whether memory grows with what passes through: a big download, a big upload, a client that stops reading.

Measured as the growth of the highest resident size during each, and of the resident size a second after all.
How fast the first two pass is measured beside it.
"""

from __future__ import annotations

import socket
import time
from collections.abc import Callable, Sequence

from bench import client, procfs
from bench.results import Results
from bench.scale import Scale
from bench.targets import Target

_PREFIX = "/upstream/m1"
_BLOCK = b"x" * 65536
_STALL_S = 1.5
_BACK_AFTER_S = 1.0


def measure(targets: Sequence[Target], scale: Scale, results: Results) -> None:
    """`memory/… bytes` of download, upload, stalled and after; `transfer/… mb_per_s` of the first two."""
    for target in targets:
        _download(target.port, 1_000_000)  # buffers that are kept are not growth
        _upload(target.port, 1_000_000)
        start = procfs.resident_bytes(target.pids)
        for name, transfer in (("download", _download), ("upload", _upload), ("stalled", _stall)):
            began = time.monotonic()
            results.add(f"memory/{name}", "bytes", target, _growth(target, transfer, scale.big_bytes))
            if name != "stalled":
                speed = scale.big_bytes / 1e6 / (time.monotonic() - began)
                results.add(f"transfer/{name}", "mb_per_s", target, speed)
        time.sleep(_BACK_AFTER_S)
        target_is_back = procfs.resident_bytes(target.pids) - start
        results.add("memory/after", "bytes", target, max(0, target_is_back))
        target.settle()


def _growth(target: Target, transfer: Callable[[int, int], None], size: int) -> int:
    before = procfs.resident_bytes(target.pids)
    procfs.reset_peak(target.pids)
    transfer(target.port, size)
    return max(0, procfs.peak_bytes(target.pids) - before)


def _download(port: int, size: int) -> None:
    with _asked_for(port, size) as sock:
        head = b""
        while b"\r\n\r\n" not in head and (data := sock.recv(65536)):
            head += data
        # By length: stock hypercorn does not close the connection, though asked to.
        left = size - len(head.partition(b"\r\n\r\n")[2])
        while left > 0 and (data := sock.recv(1 << 20)):
            left -= len(data)
    if left > 0:
        raise RuntimeError(f"a download of {size} bytes broke off {left} bytes early")


def _upload(port: int, size: int) -> None:
    with socket.create_connection(("127.0.0.1", port), timeout=60) as sock:
        sock.sendall(client.post_head(f"{_PREFIX}/upload", size))
        for start in range(0, size, len(_BLOCK)):
            sock.sendall(_BLOCK[: size - start])
        answer = client.read_answer(sock)
    if answer.status != 200:
        raise RuntimeError(f"an upload of {size} bytes was answered with {answer.status}")


def _stall(port: int, size: int) -> None:
    """Ask for a download, read a little, and look away."""
    with _asked_for(port, size) as sock:
        sock.recv(1024)
        time.sleep(_STALL_S)


def _asked_for(port: int, size: int) -> socket.socket:
    sock = socket.create_connection(("127.0.0.1", port), timeout=60)
    request = f"GET {_PREFIX}/bytes/{size} HTTP/1.1\r\nHost: 127.0.0.1\r\nConnection: close\r\n\r\n"
    sock.sendall(request.encode())
    return sock
