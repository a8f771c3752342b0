"""The programs of `native/` in Python, for machines without a C compiler; same arguments, same output.

python slow_tools.py upstream PORT [--cpu N] [--ready-ms N] [--until-ready refuse|503]
python slow_tools.py httpload PORT CONNECTIONS SECONDS [PATH]
python slow_tools.py sseload PORT STREAMS SECONDS RATE
"""

from __future__ import annotations

import asyncio
import json
import os
import re
import sys
import time
from collections.abc import Sequence

STARTED_NS = time.monotonic_ns()
CHUNK_BYTES = 250
BLOCK = b"z" * 65536


class Upstream:
    """The fast upstream's answers, one task a connection."""

    def __init__(self, ready_ns: int, *, answers_503: bool) -> None:
        self._ready_ns = ready_ns
        self._answers_503 = answers_503
        head = {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "started_ns": STARTED_NS,
            "ready_ns": ready_ns,
        }
        text = json.dumps({**head, "padding": ""})
        self._body = json.dumps({**head, "padding": "y" * (1024 - len(text))}).encode()

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            while True:
                await self._answer(*await _read_message(reader), writer)
        except (asyncio.IncompleteReadError, ConnectionError):
            writer.close()

    async def _answer(self, head: bytes, body: bytes, writer: asyncio.StreamWriter) -> None:
        target = head.split(b" ", 2)[1]
        if self._answers_503 and time.monotonic_ns() < self._ready_ns:
            writer.write(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\n\r\n")
        elif size := re.search(rb"/bytes/(\d+)$", target):
            await _send_bytes(writer, int(size[1]))
        elif re.search(rb'"stream": ?true', body):
            await _send_stream(writer, body)
        else:
            writer.write(
                b"HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: 1024\r\n\r\n"
                + self._body
            )
        await writer.drain()


async def _read_message(reader: asyncio.StreamReader) -> tuple[bytes, bytes]:
    """A head and its body; of a long body only the last part."""
    head = await reader.readuntil(b"\r\n\r\n")
    if re.search(rb"(?i)\r\ntransfer-encoding: chunked", head):
        return head, await reader.readuntil(b"0\r\n\r\n")
    length = re.search(rb"(?i)\r\ncontent-length: *(\d+)", head)
    left, body = int(length[1]) if length else 0, b""
    while left:
        body = await reader.readexactly(min(left, len(BLOCK)))
        left -= len(body)
    return head, body


async def _send_bytes(writer: asyncio.StreamWriter, size: int) -> None:
    writer.write(
        b"HTTP/1.1 200 OK\r\nContent-Type: application/octet-stream\r\nContent-Length: %d\r\n\r\n" % size
    )
    for start in range(0, size, len(BLOCK)):
        writer.write(BLOCK[: size - start])
        await writer.drain()


async def _send_stream(writer: asyncio.StreamWriter, body: bytes) -> None:
    asked = json.loads(body)
    count, rate = int(asked.get("n", 100)), float(asked.get("rate", 0))
    writer.write(b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n")
    start = time.monotonic()
    for number in range(count):
        if rate:
            await asyncio.sleep(max(0.0, start + number / rate - time.monotonic()))
        data = b'data: {"ts":%020d,"i":%08d,"choices":[{"index":0,"delta":{"content":"' % (
            time.monotonic_ns(),
            number,
        )
        writer.write(b"%x\r\n" % CHUNK_BYTES + data.ljust(CHUNK_BYTES - 8, b"x") + b'"}}]}}\n\n' + b"\r\n")
        await writer.drain()
        await asyncio.sleep(0)
    writer.write(b"e\r\ndata: [DONE]\n\n\r\n0\r\n\r\n")


async def upstream(arguments: Sequence[str]) -> None:
    options = dict(zip(arguments[1::2], arguments[2::2], strict=True))
    if "--cpu" in options:
        os.sched_setaffinity(0, {int(options["--cpu"])})
    answers_503 = options.get("--until-ready") == "503"
    ready_ns = STARTED_NS + int(options.get("--ready-ms", 0)) * 1_000_000
    if not answers_503:
        await asyncio.sleep(max(0.0, (ready_ns - time.monotonic_ns()) / 1e9))
    server = Upstream(ready_ns, answers_503=answers_503)
    async with await asyncio.start_server(
        server.serve, "127.0.0.1", int(arguments[0]), backlog=4096
    ) as listening:
        await listening.serve_forever()


async def httpload(arguments: Sequence[str]) -> None:
    port, connections, seconds = int(arguments[0]), int(arguments[1]), float(arguments[2])
    path = arguments[3] if len(arguments) > 3 else "/v1/chat/completions"
    request = _request(port, path, {"model": "m1", "messages": [{"role": "user", "content": "Hello there."}]})
    times: list[float] = []
    errors = 0
    start = time.monotonic()

    async def client() -> None:
        nonlocal errors
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        while (sent := time.monotonic()) < start + seconds:
            writer.write(request)
            head, _ = await _read_message(reader)
            errors += head[8:12] != b" 200"
            times.append(time.monotonic() - sent)
        writer.close()

    results = await asyncio.gather(*(client() for _ in range(connections)), return_exceptions=True)
    errors += sum(isinstance(result, BaseException) for result in results)
    _print("requests", len(times), time.monotonic() - start, errors, times)


async def sseload(arguments: Sequence[str]) -> None:
    port, streams, seconds, rate = (
        int(arguments[0]),
        int(arguments[1]),
        float(arguments[2]),
        float(arguments[3]),
    )
    request = _request(
        port, "/v1/chat/completions", {"model": "m1", "stream": True, "n": 10**8, "rate": rate}
    )
    late: list[float] = []
    chunks = errors = 0
    start = time.monotonic()

    async def client(delay: float) -> None:
        nonlocal chunks, errors
        await asyncio.sleep(delay)
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(request)
        rest = b""
        while data := await reader.read(65536):
            arrived = time.monotonic_ns()
            stamps = re.findall(rb'"ts":(\d{20})', rest + data)
            rest = (rest + data)[-25:] if not stamps else data.rpartition(b'"ts":')[2][20:][-25:]
            chunks += len(stamps)
            if time.monotonic() > start + delay + 0.1:
                late.extend((arrived - int(stamp)) / 1e9 for stamp in stamps)
        errors += 1

    spread = 1 / rate / streams if rate else 0.0
    clients = [asyncio.create_task(client(spread * number)) for number in range(streams)]
    await asyncio.wait(clients, timeout=seconds)
    _print("chunks", chunks, time.monotonic() - start, errors, late)
    os._exit(0)  # the streams are cut, as they would be by a client that leaves


def _request(port: int, path: str, value: object) -> bytes:
    body = json.dumps(value, separators=(",", ":")).encode()
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1:{port}\r\nContent-Type: application/json\r\n"
    return f"{head}Content-Length: {len(body)}\r\n\r\n".encode() + body


def _print(counted: str, count: int, seconds: float, errors: int, times: list[float]) -> None:
    times.sort()
    ranks = {"p50_us": 0.5, "p90_us": 0.9, "p99_us": 0.99, "max_us": 1.0}
    quantiles = {
        name: 1e6 * times[int((len(times) - 1) * rank)] if times else 0 for name, rank in ranks.items()
    }
    print(json.dumps({counted: count, "seconds": seconds, "errors": errors, **quantiles}), flush=True)


if __name__ == "__main__":
    asyncio.run({"upstream": upstream, "httpload": httpload, "sseload": sseload}[sys.argv[1]](sys.argv[2:]))
