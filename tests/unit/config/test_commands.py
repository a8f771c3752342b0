"""Commands are split into words as a POSIX shell would, and nothing else of a shell happens."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from swapd.config import loads
from swapd.config.commands import split, split_words, without_comments

# The text, with ⏎ for a line feed, and its words.
SPLITTING = [
    (r"""srv -a "two words" 'q "x"'""", ["srv", "-a", "two words", 'q "x"']),
    (r"a b\ c \\ d\"e", ["a", "b c", "\\", 'd"e']),
    (r'a "x\ny \"q\" \$v"', ["a", r'x\ny "q" $v']),
    (r"""a 'x\\y' "" x"y"z""", ["a", r"x\\y", "", "xyz"]),
    (r"a \⏎  -b 1 \⏎⏎# note⏎-c 2", ["a", "-b", "1", "-c", "2"]),
    (r"a b\⏎c", ["a", "b", "c"]),
    (r"a b #c", ["a", "b", "#c"]),
    (r'a "open end', ["a", "open end"]),
    (r"a $HOME *.bin > log", ["a", "$HOME", "*.bin", ">", "log"]),
    (r"# only a comment", []),
    # Beyond the table.
    ("", []),
    ("a\tb", ["a", "b"]),
    ("a\r b", ["a\r", "b"]),
    ("a\u00a0b", ["a\u00a0b"]),
    ("a\\", ["a"]),
    ("a '", ["a", ""]),
    (r'"a\`b\q"', [r"a`b\q"]),
    ("a⏎   # indented⏎b", ["a", "b"]),
    ("a 'b⏎# lost⏎c'", ["a", "b\nc"]),
    ("a 'b \\⏎c'", ["a", "b  \nc"]),
    ("a;b", ["a;b"]),
]


@pytest.mark.parametrize(("text", "words"), SPLITTING)
def test_a_command_is_split(text: str, words: list[str]) -> None:
    assert list(split(text.replace("⏎", "\n"))) == words


@pytest.mark.parametrize(("text", "quote"), [("a 'b", "'"), ('a "b', '"'), ("a 'b'", ""), ('a "\\"', '"')])
def test_a_quote_left_open_is_noticed(text: str, quote: str) -> None:
    assert split_words(text).unclosed == quote


@pytest.mark.parametrize("text", ["a | b", "a && b", "a > b", "a\n> b"])
def test_a_bare_shell_word_is_noticed(text: str) -> None:
    assert split_words(text).shell_words


@pytest.mark.parametrize("text", ["a '|' b", r"a \> b", "a x|y", 'a "&&"'])
def test_a_quoted_or_glued_shell_word_is_fine(text: str) -> None:
    assert not split_words(text).shell_words


def test_a_command_of_comments_alone_never_starts() -> None:
    # Given a command that is nothing but a comment
    text = 'models: {owl: {proxy: "http://h", cmd: "# nothing yet"}}'

    # When it is loaded
    loaded = loads(text)

    # Then that is said, as the start would fail with an empty command
    assert [problem.code for problem in loaded.problems] == ["cmd-empty"]


@given(st.text(alphabet="ab #'\"\\\n\t$&|\r\u00e9", max_size=40))
def test_words_are_the_same_with_and_without_the_short_cut(text: str) -> None:
    # Given any text, when quotes that change nothing force the long way
    quoted = split(text + "\n''")

    # Then the words are those of the short way, unless the text leaves a quote open
    words = split_words(text)
    if not words.unclosed and not text.rstrip(" \t\r").endswith("\\"):
        assert quoted == (*words.words, "")


@given(st.text(alphabet="a# \n", max_size=30))
def test_dropping_comments_twice_changes_nothing_more(text: str) -> None:
    once = without_comments(text)
    assert without_comments(once) == once
