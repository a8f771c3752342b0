"""`swapd check`: what it prints, and the exit code.

The files in `broken/` are mistakes that people make, each with what is printed about it. After a change of
the wording, UPDATE_GOLDEN=1 writes the texts anew: read the difference as somebody would at 2 a.m.
"""

from __future__ import annotations

import json
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import pytest

from swapd.cli import check
from swapd.cli.errors import CliError, UsageError
from swapd.config.codes import ERRORS, WARNINGS

BROKEN = Path(__file__).with_name("broken")
CASES = sorted(BROKEN.glob("*.yaml")) + sorted(path for path in BROKEN.iterdir() if path.is_dir())

GOOD = """\
macros: {server: "llama-server --port ${PORT}"}
models:
  chat:
    cmd: ${server} --jinja
    aliases: [gpt-4o]
    env: [HF_TOKEN=hf_secret, THREADS=8]
    cmdStop: docker stop ${PID}
  coder: {cmd: "${server}", ttl: 60}
  embed: {cmd: "${server} --embeddings"}
groups:
  small: {members: [embed], persistent: true, exclusive: false, swap: false}
apiKeys: [house-key]
"""


@pytest.fixture(autouse=True)
def machine(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine that has the programs of the files, and no configuration of its own."""
    programs = tmp_path / "bin"
    programs.mkdir()
    for name in ("llama-server", "docker", "cd"):
        (programs / name).touch(mode=0o755)
    for name in [name for name in os.environ if name.startswith("SWAPD_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("PATH", str(programs))
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path))


@pytest.fixture
def good(tmp_path: Path) -> Path:
    path = tmp_path / "good.yaml"
    path.write_text(GOOD)
    return path


# --- the messages ---------------------------------------------------------------------------------------


@pytest.mark.parametrize("case", CASES, ids=lambda path: path.stem)
def test_what_is_said_about_a_broken_file(
    case: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    # Given somebody in the directory of the file
    monkeypatch.chdir(BROKEN)

    # When it is checked
    source = ["--config-dir", case.name] if case.is_dir() else [case.name]
    status = check.run(["--strict", *source])

    # Then it fails, with the text that was reviewed
    printed = capsys.readouterr().out
    golden = case.with_suffix(".txt")
    if "UPDATE_GOLDEN" in os.environ:
        golden.write_text(printed)
    assert printed == golden.read_text()
    assert status == 1


def test_every_message_says_where_and_what_to_do() -> None:
    # Given all reviewed texts
    texts = [path.read_text() for path in sorted(BROKEN.glob("*.txt"))]
    assert len(texts) >= 20

    # Then each finding has its place, the line, a caret below it and a hint
    for text in texts:
        *findings, summary = text.rstrip("\n").split("\n\n")
        assert re.search(r": \d+ (errors?|warnings?)", summary)
        for finding in findings:
            head, *rest = finding.splitlines()
            assert re.match(r"\S+\.yaml:\d+:\d+: (error|warning)\[[a-z-]+\]", head), head
            assert "^" in finding, finding
            assert rest[-1].startswith("  hint: "), finding


def test_the_broken_files_cover_most_codes() -> None:
    text = "".join(path.read_text() for path in BROKEN.glob("*.txt"))
    shown = set(re.findall(r"(?:error|warning)\[([a-z-]+)\]", text))
    assert shown <= {*ERRORS, *WARNINGS}
    assert len(shown) > 40


# --- the exit code --------------------------------------------------------------------------------------


def written(directory: Path, text: str) -> str:
    path = directory / "c.yaml"
    path.write_text(text)
    return str(path)


CLEAN = 'models: {owl: {cmd: "llama-server ${PORT}"}}'
ODD = 'models: {owl: {cmd: "llama-server ${PORT}", colour: red}}'
WRONG = "globalTTL: -1"
UNUSUAL = 'models: {owl: {cmd: "nowhere ${PORT}"}}'


@pytest.mark.parametrize(
    ("text", "relaxed", "strict"),
    [(CLEAN, 0, 0), (UNUSUAL, 0, 0), (ODD, 0, 1), (WRONG, 1, 1)],
    ids=["clean", "advice", "warning", "error"],
)
@pytest.mark.parametrize("flag", ["", "--json", "--show"])
def test_the_exit_code(text: str, relaxed: int, strict: int, flag: str, tmp_path: Path) -> None:
    words = [word for word in (written(tmp_path, text), flag) if word]
    assert check.run(words) == relaxed
    assert check.run([*words, "--strict"]) == strict


@pytest.mark.parametrize("words", [["--nonsense"], ["--config"], ["--strict=perhaps"], ["--explain"]])
def test_wrong_usage_is_refused(words: list[str]) -> None:
    with pytest.raises(UsageError):
        check.run(words)


def test_without_a_source_the_flags_are_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)

    assert check.run([]) == 1
    assert "--config" in capsys.readouterr().out


def test_a_default_place_is_found(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "swapd.yaml").write_text(CLEAN)

    assert check.run([]) == 0
    assert "swapd.yaml: no problems; 1 model" in capsys.readouterr().out


def test_files_and_flags_may_be_mixed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "more").mkdir()
    (tmp_path / "more" / "b.yaml").write_text(CLEAN.replace("owl", "wren"))

    status = check.run([written(tmp_path, CLEAN), "--config-dir", str(tmp_path / "more"), "-strict"])

    assert status == 0
    assert "2 models" in capsys.readouterr().out


# --- other forms ----------------------------------------------------------------------------------------


def test_json_is_for_editors(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    # Given a file with an error on one line
    path = written(tmp_path, "logLevel: info\nglobalTTL: -1\n")

    # When it is checked with --json
    assert check.run([path, "--json"]) == 1

    # Then the list holds the finding with its range, and nothing else is printed
    (problem,) = json.loads(capsys.readouterr().out)
    assert problem == {
        "file": path,
        "line": 2,
        "column": 12,
        "endLine": 2,
        "endColumn": 14,
        "path": "globalTTL",
        "severity": "error",
        "code": "negative",
        "message": "globalTTL cannot be -1",
        "hint": "permitted: 0 and above",
        "notes": [],
    }


def test_show_prints_a_configuration_that_loads_to_the_same(
    good: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Given what --show prints about a configuration
    assert check.run([str(good), "--show"]) == 0
    shown = capsys.readouterr().out

    # Then macros and ports are filled in, old places are new, secrets are masked
    assert "# port 5800; words: llama-server --port" in shown
    assert "cmd: llama-server --port 5800 --jinja" in shown
    assert "groups: {" not in shown
    assert "      groups:\n        small:\n          members: [embed]" in shown
    assert "house-key" not in shown
    assert "hf_secret" not in shown
    assert "THREADS=8" in shown

    # And it says the same when shown again
    assert check.run([written(tmp_path, shown), "--show"]) == 0
    again = capsys.readouterr().out
    without_comments = [re.sub(r"^ *# .*\n", "", text, flags=re.MULTILINE) for text in (shown, again)]
    assert without_comments[0] == without_comments[1]


def test_show_keeps_problems_out_of_the_way(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    check.run([written(tmp_path, ODD), "--show"])

    captured = capsys.readouterr()
    assert "unknown-key" in captured.err
    assert "unknown-key" not in captured.out


def test_explain_says_how_a_model_is_started_and_what_that_stops(
    good: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Given a model by its alias, when it is explained
    assert check.run([str(good), "--explain", "gpt-4o"]) == 0

    # Then all of it is there: words, environment, port, who goes and who stays
    assert capsys.readouterr().out == (
        "model      chat (also gpt-4o)\n"
        "port       5800\n"
        "proxy      http://localhost:5800\n"
        "ready      when GET http://localhost:5800/health answers 200, within 120 s\n"
        "stopped by docker stop '${PID}', then SIGKILL after 10 s\n"
        "idle       never unloaded\n"
        "requests   at most 10 at once\n"
        "routing    group (default): one member at a time, exclusive\n"
        "stops      coder\n"
        "keeps      embed\n"
        "\n"
        "command:\n"
        "  llama-server\n"
        "  --port\n"
        "  5800\n"
        "  --jinja\n"
        "\n"
        "environment, added to the daemon's own:\n"
        "  HF_TOKEN=********\n"
        "  THREADS=8\n"
    )


def test_explain_as_json(good: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check.run([str(good), "--explain=coder", "--json"]) == 0

    facts = json.loads(capsys.readouterr().out)
    assert (facts["model"], facts["port"], facts["stops"]) == ("coder", 5801, ["chat"])
    assert facts["argv"] == ["llama-server", "--port", "5801"]


def test_explaining_an_unknown_model_names_near_ones(good: Path) -> None:
    with pytest.raises(CliError) as error:
        check.run([str(good), "--explain", "cat"])

    assert "cat" in str(error.value)
    assert "chat" in error.value.hint


def test_a_broken_file_is_not_explained(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert check.run([written(tmp_path, WRONG), "--explain", "owl"]) == 1
    assert "error[negative]" in capsys.readouterr().out


# --- on a terminal --------------------------------------------------------------------------------------


def on_a_terminal(*words: str, **environ: str) -> str:
    """What the command prints when its output is a terminal."""
    master, slave = pty.openpty()
    try:
        subprocess.run(
            [sys.executable, "-m", "swapd", "check", *words],
            stdout=slave,
            stderr=slave,
            env={"PATH": os.environ["PATH"], **environ},
            check=False,
            timeout=30,
            cwd=BROKEN,
        )
        os.set_blocking(master, False)
        return os.read(master, 65536).decode().replace("\r\n", "\n")
    finally:
        os.close(master)
        os.close(slave)


@pytest.mark.real
def test_a_terminal_gets_colours_and_the_same_words() -> None:
    # Given the same file on a terminal
    printed = on_a_terminal("wrong-types.yaml")

    # Then the place is bold, the kind red, the caret red, and the words are those of the plain text
    assert "\x1b[1mwrong-types.yaml:1:21\x1b[0m: \x1b[31merror[type]\x1b[0m healthCheckTimeout" in printed
    assert "\x1b[31m^^^^^\x1b[0m" in printed
    plain = re.sub(r"\x1b\[\d*m", "", printed)
    assert plain == (BROKEN / "wrong-types.txt").read_text()


@pytest.mark.real
def test_no_color_is_respected() -> None:
    assert on_a_terminal("wrong-types.yaml", NO_COLOR="1") == (BROKEN / "wrong-types.txt").read_text()
