"""Text that came from elsewhere, made safe to stand in a log line."""

from __future__ import annotations

from typing import Final

_CONTROLS: Final = {
    code: f"\\x{code:02x}" if code < 256 else f"\\u{code:04x}"
    # C0, DEL and C1; the line and paragraph separators; what changes the direction of writing.
    for code in (
        *range(0x20),
        *range(0x7F, 0xA0),
        0x2028,
        0x2029,
        *range(0x202A, 0x202F),
        *range(0x2066, 0x206A),
    )
}
_CONTROLS_IN_MESSAGES: Final = {**_CONTROLS, ord("\n"): "\n    ", ord("\t"): "\t"}


def escape_control(text: str) -> str:
    """`text` with control characters spelled `\\xNN`: it can neither end the line nor steer a terminal."""
    if text.isprintable():
        return text
    return text.translate(_CONTROLS)


def escape_message(text: str) -> str:
    """The same for a message that may have several lines: the further ones are indented.

    So nothing that is quoted in a message can pass for a log line, which begins at the left edge.
    """
    if text.isprintable():
        return text
    return text.rstrip("\n").translate(_CONTROLS_IN_MESSAGES)


def encode(text: str) -> bytes:
    """UTF-8; characters that have none (halves of surrogate pairs from undecodable names) are spelled out."""
    return text.encode("utf-8", "backslashreplace")
