"""Small real files: a picture and a sound, written without libraries."""

from __future__ import annotations

import struct


def png(width: int, height: int) -> bytes:
    """A PNG with a colour gradient (RGB, 8 bits)."""
    from zlib import compress, crc32

    def part(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", crc32(kind + content))

    rows = b"".join(
        b"\0" + b"".join(bytes((x * 255 // width, y * 255 // height, 128)) for x in range(width))
        for y in range(height)
    )
    header = struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + part(b"IHDR", header) + part(b"IDAT", compress(rows)) + part(b"IEND", b"")


def wav_tone(seconds: float = 0.5, hertz: float = 440.0, rate: int = 8000) -> bytes:
    """A WAV file (mono, 16 bits) with a sine tone."""
    from math import pi, sin

    samples = [int(12000 * sin(2 * pi * hertz * n / rate)) for n in range(int(seconds * rate))]
    sound = struct.pack(f"<{len(samples)}h", *samples)
    header = struct.pack(
        "<4sI4s4sIHHIIHH4sI",
        b"RIFF",
        36 + len(sound),
        b"WAVE",
        b"fmt ",
        16,
        1,
        1,
        rate,
        rate * 2,
        2,
        16,
        b"data",
        len(sound),
    )
    return header + sound
