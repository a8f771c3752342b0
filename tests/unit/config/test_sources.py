"""Where a configuration comes from: files and directories, and what is wrong with them."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest
from attrs import frozen

from swapd.config import Loaded, Sources, load, render_problem
from swapd.config.problems import ProblemLog
from swapd.config.reading import source_paths


@frozen
class Refusal:
    """Sources that cannot be loaded: how they are laid out, and what must be said about which path."""

    name: str
    code: str
    arrange: Callable[[Path], Sources]
    about: str = ""
    mentions: tuple[str, ...] = ()

    def __str__(self) -> str:
        return self.name


def nothing(directory: Path) -> Sources:
    return Sources()


def twice(directory: Path) -> Sources:
    (directory / "a.yaml").touch()
    return Sources((directory / "a.yaml", directory / "." / "a.yaml"))


def file_and_directory(directory: Path) -> Sources:
    (directory / "a.yaml").touch()
    return Sources((directory / "sub" / ".." / "a.yaml",), directory)


def empty_directory(directory: Path) -> Sources:
    (directory / "notes.txt").touch()
    (directory / "UPPER.YAML").touch()
    (directory / "sub.yaml").mkdir()
    return Sources(directory=directory)


def missing_file(directory: Path) -> Sources:
    return Sources((directory / "gone.yaml",))


def missing_directory(directory: Path) -> Sources:
    return Sources(directory=directory / "gone")


def a_directory_as_file(directory: Path) -> Sources:
    return Sources((directory,))


def not_utf8(directory: Path) -> Sources:
    (directory / "a.yaml").write_bytes(b"models: {}\n# caf\xe9\n")
    return Sources((directory / "a.yaml",))


REFUSALS = [
    Refusal("no flag and no default place", "source-missing", nothing, mentions=("--config", "--config-dir")),
    Refusal("one path twice", "source-overlap", twice, "a.yaml", ("twice",)),
    Refusal("a file of the directory too", "source-overlap", file_and_directory, "a.yaml", ("twice",)),
    Refusal("a directory without YAML", "source-none", empty_directory, "", ("--config",)),
    Refusal("no such file", "source-unreadable", missing_file, "gone.yaml", ("No such file",)),
    Refusal("no such directory", "source-unreadable", missing_directory, "gone", ("--config-dir",)),
    Refusal("a directory given as file", "source-unreadable", a_directory_as_file, "", ("directory",)),
    Refusal("text in another encoding", "source-unreadable", not_utf8, "a.yaml", ("UTF-8", "byte 16")),
]


@pytest.mark.parametrize("refusal", REFUSALS, ids=str)
def test_sources_that_cannot_be_loaded(refusal: Refusal, tmp_path: Path) -> None:
    # Given sources that are wrong, when they are loaded
    loaded = load(refusal.arrange(tmp_path), environ={})

    # Then the one error names the path and what to do; there is no line to point at
    assert loaded.config is None
    (problem,) = loaded.errors
    assert (problem.code, problem.line, problem.column) == (refusal.code, None, None)
    if refusal.code != "source-missing":
        assert problem.file is not None
        assert problem.file.resolve() == (tmp_path / refusal.about).resolve()
    said = render_problem(problem)
    assert all(word in said for word in refusal.mentions), said
    assert problem.hint


@pytest.mark.skipif(os.geteuid() == 0, reason="root may read everything")
def test_a_file_without_permission_is_unreadable(tmp_path: Path) -> None:
    path = tmp_path / "a.yaml"
    path.touch(mode=0o000)

    (problem,) = load(Sources((path,)), environ={}).errors

    assert problem.code == "source-unreadable"


def test_files_come_first_then_the_directory_in_byte_order(tmp_path: Path) -> None:
    # Given a directory of all sorts of files, and one file beside it
    conf = tmp_path / "conf.d"
    conf.mkdir()
    for name in ("b.yaml", "B.yml", "10.yaml", "9.yaml", ".hidden.yml", "a.YAML", "x.yaml~", "x.yaml.swp"):
        (conf / name).touch()
    (conf / "deep.yaml").mkdir()
    (conf / "dangling.yaml").symlink_to("nowhere")
    (tmp_path / "real.yaml").touch()
    (conf / "link.yaml").symlink_to(tmp_path / "real.yaml")

    # When its sources are looked for
    log = ProblemLog()
    paths = source_paths(Sources((tmp_path / "z.yaml",), conf), log)

    # Then the file given by name is first; links to files count, links to nothing do not
    names = [str(path.relative_to(tmp_path)) for path in paths]
    inner = [".hidden.yml", "10.yaml", "9.yaml", "B.yml", "b.yaml", "link.yaml"]
    assert names == ["z.yaml", *(f"conf.d/{name}" for name in inner)]
    assert log.result() == ()


def loaded_bytes(directory: Path, content: bytes) -> Loaded:
    (directory / "a.yaml").write_bytes(content)
    return load(Sources((directory / "a.yaml",)), environ={})


@pytest.mark.parametrize("content", [b"", b"# nothing\n", b"~\n", b"null", b"---\n...\n", b"\xef\xbb\xbf"])
def test_a_file_that_says_nothing_gives_the_defaults(content: bytes, tmp_path: Path) -> None:
    loaded = loaded_bytes(tmp_path, content)

    assert loaded.problems == ()
    assert loaded.config is not None
    assert (loaded.config.start_port, dict(loaded.config.models)) == (5800, {})


def test_a_directory_without_yaml_is_fine_beside_a_file(tmp_path: Path) -> None:
    (tmp_path / "conf.d").mkdir()
    (tmp_path / "a.yaml").write_text("globalTTL: 5")

    loaded = load(Sources((tmp_path / "a.yaml",), tmp_path / "conf.d"), environ={})

    assert loaded.config is not None
    assert loaded.config.global_ttl_s == 5


def test_a_byte_order_mark_and_crlf_do_not_shift_positions(tmp_path: Path) -> None:
    # Given a file as some editors on other systems save it, with a mistake on its third line
    loaded = loaded_bytes(tmp_path, b"\xef\xbb\xbflogLevel: warn\r\nlogFormat: text\r\nglobalTTL: soon\r\n")

    # Then the mistake is at line 3, column 12
    (problem,) = loaded.errors
    assert (problem.line, problem.column, problem.excerpt) == (3, 12, "globalTTL: soon")


def test_only_the_first_document_counts_and_the_rest_is_warned_of(tmp_path: Path) -> None:
    loaded = loaded_bytes(tmp_path, b"globalTTL: 5\n---\nglobalTTL: [\n")

    assert loaded.config is not None
    assert loaded.config.global_ttl_s == 5
    (problem,) = loaded.problems
    assert (problem.code, problem.line) == ("extra-documents", 2)


def test_the_files_that_were_read_are_named_with_their_digests(tmp_path: Path) -> None:
    loaded = loaded_bytes(tmp_path, b"{}")

    (read,) = loaded.files
    assert read.path == tmp_path / "a.yaml"
    assert read.sha256 == "44136fa355b3678a1146ad16f7e8649e94fb4fc21fe77e8310c060f61caaff8a"
    assert read.mtime == pytest.approx((tmp_path / "a.yaml").stat().st_mtime)
