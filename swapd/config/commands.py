"""Commands: comment lines and splitting into words by POSIX shell rules, without a shell.

No variables, no globs, no pipes: only quoting and line continuation mean anything.
"""

from __future__ import annotations

from msgspec import Struct

_BLANKS = " \t\n"
_TO_BLANK = str.maketrans("\t\n", "  ")
_ESCAPED_IN_QUOTES = '$`"\\'
_SHELL_WORDS = frozenset({"|", "||", "&&", "&", ";", ">", ">>", "<", "2>&1", "2>", "&>"})


class Words(Struct, frozen=True):
    """The words of a command; `unclosed` is the quote character that was never closed, if any."""

    words: tuple[str, ...]
    unclosed: str = ""
    shell_words: tuple[str, ...] = ()


def is_comment(line: str) -> bool:
    return line.lstrip().startswith("#")


def without_comments(text: str) -> str:
    """The text without the lines whose first non-blank character is `#`."""
    if "#" not in text:
        return text
    return "\n".join(line for line in text.split("\n") if not is_comment(line))


def split(text: str) -> tuple[str, ...]:
    """The words of a command."""
    return split_words(text).words


def split_words(text: str) -> Words:
    """The words of a command, with what looks like a mistake in it."""
    if not any(character in text for character in "'\"\\"):
        # Nothing is quoted, as in most commands: the words are what stands between blanks.
        plain = without_comments(text).translate(_TO_BLANK)
        words = tuple(word for word in plain.split(" ") if word)
        return Words(words, "", tuple(word for word in words if word in _SHELL_WORDS))
    return _Splitter(_joined_lines(text)).run()


def _joined_lines(text: str) -> str:
    lines: list[str] = []
    for line in text.split("\n"):
        if is_comment(line):
            continue
        trimmed = line.strip()
        lines.append(trimmed[:-1] + " " if trimmed.endswith("\\") else line)
    return "\n".join(lines)


class _Splitter:
    """One pass over the characters; `word` is None between words, so that `""` makes an empty one."""

    def __init__(self, text: str) -> None:
        self.text = text
        self.at = 0
        self.words: list[str] = []
        self.shell_words: list[str] = []
        self.word: list[str] | None = None
        self.quoted = False

    def run(self) -> Words:
        unclosed = ""
        while self.at < len(self.text):
            character = self.text[self.at]
            self.at += 1
            if character in _BLANKS:
                self._end_word()
            elif character == "'":
                unclosed = self._single_quotes()
            elif character == '"':
                unclosed = self._double_quotes()
            elif character == "\\":
                self._put(self.text[self.at : self.at + 1], quoted=True)
                self.at += 1
            else:
                self._put(character)
        self._end_word()
        return Words(tuple(self.words), unclosed, tuple(self.shell_words))

    def _put(self, text: str, *, quoted: bool = False) -> None:
        if self.word is None:
            if quoted and not text and self.at >= len(self.text):
                return  # a lone backslash at the very end vanishes
            self.word = []
        self.quoted = self.quoted or quoted
        self.word.append(text)

    def _end_word(self) -> None:
        if self.word is None:
            return
        word = "".join(self.word)
        self.words.append(word)
        if not self.quoted and word in _SHELL_WORDS:
            self.shell_words.append(word)
        self.word = None
        self.quoted = False

    def _single_quotes(self) -> str:
        end = self.text.find("'", self.at)
        if end == -1:
            self._put_quoted(self.text[self.at :])
            self.at = len(self.text)
            return "'"
        self._put_quoted(self.text[self.at : end])
        self.at = end + 1
        return ""

    def _double_quotes(self) -> str:
        parts: list[str] = []
        while self.at < len(self.text):
            character = self.text[self.at]
            following = self.text[self.at + 1 : self.at + 2]
            self.at += 1
            if character == '"':
                self._put_quoted("".join(parts))
                return ""
            if character == "\\" and following and following in _ESCAPED_IN_QUOTES:
                parts.append(following)
                self.at += 1
            elif character == "\\" and following == "\n":
                self.at += 1
            else:
                parts.append(character)
        self._put_quoted("".join(parts))
        return '"'

    def _put_quoted(self, text: str) -> None:
        if self.word is None:
            self.word = []
        self.quoted = True
        self.word.append(text)
