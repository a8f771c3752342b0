"""`swapd serve` up to the point where the daemon takes over."""

from __future__ import annotations

import os
import signal
import socket
import ssl
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import pytest

from swapd.cli.errors import CliError, UsageError
from swapd.cli.serve import ServeOptions, default_places, find_sources, parse_options, start_lines
from swapd.config import Config, Problem, Severity, Sources, loads
from swapd.supervision.listeners import bind_all, close_all, parse_listen
from swapd.version import BUILD


def options(*argv: str, **environ: str) -> ServeOptions:
    parsed = parse_options(argv, environ)
    assert parsed is not None
    return parsed


def config(text: str) -> Config:
    loaded = loads(text)
    assert loaded.config is not None, loaded.problems
    return loaded.config


# --- flags --------------------------------------------------------------------------------------------


def test_given_nothing_when_parsed_then_nothing_is_chosen() -> None:
    assert options() == ServeOptions(
        (), None, (), None, None, False, 2.0, False, None, None, None, None, None, None, None, "", False,
        None, None,
    )  # fmt: skip


def test_given_a_command_line_of_the_reference_when_parsed_then_it_is_understood() -> None:
    parsed = options(
        "-config", "c.yaml", "-config-dir=conf.d", "-listen", ":8080", "-watch-config",
        "-tls-cert-file", "c.pem", "--tls-key-file=k.pem",
    )  # fmt: skip

    assert parsed == ServeOptions(
        (Path("c.yaml"),),
        Path("conf.d"),
        (":8080",),
        Path("c.pem"),
        Path("k.pem"),
        True,
        2.0,
        False,
        *[None] * 7,
        "",
        False,
        None,
        None,
    )
    assert parsed.tls


def test_given_all_flags_of_our_own_when_parsed_then_they_are_understood() -> None:
    parsed = options(
        "--config=a", "--config", "b", "--listen=:1", "--listen", "unix:/s,mode=0600", "--check-only",
        "--log-level", "debug", "--drain-timeout", "1m30s", "--pre-stop-delay=0.5",
        "--state-dir=/s", "--ready-fd", "3", "--pid-file=/p", "--base-path=/x/y/", "--no-ui",
        "--admin-socket=/a/s", "--runtime-dir", "/r",
    )  # fmt: skip

    assert parsed.config == (Path("a"), Path("b"))
    assert parsed.listen == (":1", "unix:/s,mode=0600")
    assert (parsed.check_only, parsed.log_level) == (True, "debug")
    assert (parsed.drain_timeout_s, parsed.pre_stop_delay_s) == (90.0, 0.5)
    assert (parsed.state_dir, parsed.ready_fd, parsed.pid_file) == (Path("/s"), 3, Path("/p"))
    assert (parsed.base_path, parsed.no_ui) == ("/x/y", True)
    assert (parsed.admin_socket, parsed.runtime_dir) == ("/a/s", Path("/r"))


def test_given_the_environment_when_parsed_then_it_stands_for_flags() -> None:
    parsed = options(
        SWAPD_LISTEN=":9", SWAPD_LOG_LEVEL="warn", SWAPD_DRAIN_TIMEOUT="5", SWAPD_WATCH_CONFIG="1"
    )

    assert parsed.listen == (":9",)
    assert (parsed.log_level, parsed.drain_timeout_s, parsed.watch_config) == ("warn", 5.0, True)


@pytest.mark.parametrize(
    ("argv", "complaint"),
    [
        (["-tls-cert-file", "c.pem"], "--tls-cert-file and --tls-key-file belong together"),
        (["-tls-key-file", "k.pem"], "--tls-cert-file and --tls-key-file belong together"),
        (["--log-level", "loud"], "'loud' is none of debug, info, warn, error"),
        (["--drain-timeout", "soon"], "'soon' is no duration; write 90s, 1h30m or a number of seconds"),
        (["--drain-timeout=-1"], "'-1' is no duration"),
        (["--drain-timeout", "inf"], "'inf' is no duration"),
        (["--drain-timeout", "nan"], "'nan' is no duration"),
        (["--base-path", "llm"], "'llm' is no path; write it like /llm"),
        (["--frobnicate"], "--frobnicate"),
    ],
)
def test_given_a_wrong_command_line_when_parsed_then_the_error_says_what(
    argv: list[str], complaint: str
) -> None:
    with pytest.raises(UsageError) as raised:
        parse_options(argv, {})

    assert complaint in str(raised.value)


def test_given_a_wish_for_the_version_when_parsed_then_there_are_no_options() -> None:
    assert parse_options(["-version", "-tls-cert-file", "x"], {}) is None


# --- where the configuration comes from ---------------------------------------------------------------


def test_given_flags_when_sources_are_found_then_they_are_those() -> None:
    assert find_sources(options("--config=a", "--config-dir=d"), {}) == Sources((Path("a"),), Path("d"))


def test_given_no_flags_when_default_places_exist_then_the_first_is_taken(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    home = tmp_path / "home" / "swapd"
    home.mkdir(parents=True)
    (home / "config.yaml").touch()
    environ = {"XDG_CONFIG_HOME": str(tmp_path / "home")}

    assert find_sources(options(), environ) == Sources((home / "config.yaml",), None)

    Path("swapd.yaml").touch()
    assert find_sources(options(), environ) == Sources((Path("swapd.yaml"),), None)


def test_given_no_xdg_home_when_default_places_are_searched_then_it_is_dot_config_in_home(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    place = tmp_path / ".config" / "swapd" / "config.yaml"
    place.parent.mkdir(parents=True)
    place.touch()

    assert find_sources(options(), {"HOME": str(tmp_path)}).files == (place,)


def test_given_a_container_when_default_places_are_searched_then_those_of_llama_swap_come_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    old = (tmp_path / "app.yaml", tmp_path / "old.yaml")
    monkeypatch.setattr("swapd.cli.serve.LLAMA_SWAP_PLACES", old)
    monkeypatch.setattr("swapd.cli.serve._CONTAINER_MARKS", (tmp_path / "mark",))
    assert not set(old) & set(default_places({}))
    assert default_places({"container": "podman"})[-2:] == list(old)
    (tmp_path / "mark").touch()
    assert default_places({})[-2:] == list(old)


def test_given_nothing_anywhere_when_sources_are_found_then_the_error_names_flags_and_places(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(
        "swapd.cli.serve.default_places", lambda environ: [Path("swapd.yaml"), tmp_path / "none.yaml"]
    )

    with pytest.raises(CliError) as raised:
        find_sources(options(), {})

    assert raised.value.code == 78
    assert "source-missing" in str(raised.value)
    assert all(part in str(raised.value) for part in ("--config", "--config-dir", "swapd.yaml", "none.yaml"))
    assert "swapd demo" in raised.value.hint


# --- what it says at the start ------------------------------------------------------------------------

TWO_MODELS = "models: {owl: {cmd: s, proxy: 'http://h:1'}, wren: {cmd: s, proxy: 'http://h:2'}}"
SOURCES = Sources((Path("/etc/swapd/config.yaml"),), Path("conf.d"))


def lines(
    *argv: str,
    listen: str = "127.0.0.1:0",
    text: str = TWO_MODELS,
    problems: Sequence[Problem] = (),
) -> list[str]:
    """The start lines for these flags, with `PORT` in place of the port that happened to be free."""
    listeners = bind_all([parse_listen(listen)])
    try:
        shown = list(start_lines(options(*argv), SOURCES, config(text), problems, listeners))
        place = listeners[0].place
        without_port = place if place.startswith("unix:") else place.rpartition(":")[0] + ":PORT"
        return [line.replace(place, without_port) for line in shown]
    finally:
        close_all(listeners)


def test_given_the_defaults_when_started_then_it_says_where_and_that_only_this_machine_can_reach_it() -> None:
    assert lines() == [
        f"swapd {BUILD.version} ({BUILD.commit})",
        "configuration: /etc/swapd/config.yaml, conf.d; 2 models",
        "listening on http://127.0.0.1:PORT",
        "API keys: none, requests need no key",
        "only this machine can reach swapd; to open it to others: --listen :8080, with apiKeys set",
        "an orderly stop takes at most 35 s",
    ]


def test_given_all_interfaces_without_keys_when_started_then_it_warns_and_names_flag_and_key() -> None:
    shown = lines("--listen=:0", listen=":0")

    assert "listening on http://127.0.0.1:PORT (all interfaces)" in shown
    [warning] = [line for line in shown if line.startswith("WARNING")]
    assert "without a key" in warning
    assert "apiKeys" in warning
    assert "--listen 127.0.0.1:8080" in warning
    assert not any("only this machine" in line for line in shown)


def test_given_all_interfaces_with_keys_when_started_then_there_is_no_warning_and_no_key_is_shown() -> None:
    shown = lines("--listen=:0", listen=":0", text="apiKeys: [s3cret, other]\n" + TWO_MODELS)

    assert "API keys: 2" in shown
    assert not any("WARNING" in line or "s3cret" in line for line in shown)


def test_given_an_explicit_loopback_address_when_started_then_there_is_neither_hint_nor_warning() -> None:
    shown = lines("--listen=127.0.0.1:0")

    assert not any("WARNING" in line or "only this machine" in line for line in shown)


def test_given_tls_when_started_then_the_address_says_so() -> None:
    shown = lines("--tls-cert-file=c", "--tls-key-file=k")

    assert "listening on https://127.0.0.1:PORT" in shown


def test_given_a_unix_socket_when_started_then_its_path_is_shown(tmp_path: Path) -> None:
    value = f"unix:{tmp_path}/s"

    shown = lines("--listen", value, listen=value)

    assert f"listening on {value}" in shown


def test_given_warnings_when_started_then_each_is_a_line_with_its_place_and_hint() -> None:
    problem = Problem(
        Severity.WARNING, "unknown-key", "no such key", "did you mean checkEndpoint?",
        Path("c.yaml"), 3, 5, "models.owl.chek",
    )  # fmt: skip

    assert (
        "c.yaml:3:5: warning[unknown-key] models.owl.chek: no such key (did you mean checkEndpoint?)"
        in lines(problems=[problem])
    )


def test_given_other_times_when_started_then_the_longest_stop_is_their_sum() -> None:
    assert "an orderly stop takes at most 16.5 s" in lines("--drain-timeout=10s", "--pre-stop-delay=1.5")
    assert "an orderly stop takes at most 7 s" in lines(text="shutdown: {drain: 2}\n" + TWO_MODELS)


# --- as a process -------------------------------------------------------------------------------------


def swapd(*argv: str, cwd: Path) -> subprocess.CompletedProcess[str]:
    """Run `swapd` to its end; only for command lines that fail."""
    environ = {name: value for name, value in os.environ.items() if not name.startswith("SWAPD_")}
    return subprocess.run(
        [sys.executable, "-m", "swapd", *argv],
        cwd=cwd, env=environ, capture_output=True, text=True, check=False, timeout=60,
    )  # fmt: skip


@pytest.fixture
def good(tmp_path: Path) -> str:
    (tmp_path / "good.yaml").write_text(TWO_MODELS)
    return "--config=good.yaml"


@pytest.mark.real
def test_given_an_address_in_use_when_started_then_it_exits_1_and_names_the_holder(
    good: str, tmp_path: Path
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as other:
        port = other.getsockname()[1]
        done = swapd(good, f"-listen=127.0.0.1:{port}", cwd=tmp_path)

    assert done.returncode == 1
    assert done.stdout == ""
    assert (
        f"swapd: cannot listen on 127.0.0.1:{port}: Address already in use by pid {os.getpid()} ("
        in done.stderr
    )
    assert "hint: " in done.stderr


@pytest.mark.real
def test_given_a_broken_configuration_when_started_then_it_exits_78_with_the_place_of_each_error(
    tmp_path: Path,
) -> None:
    (tmp_path / "bad.yaml").write_text("models:\n  owl:\n    cmd: s\n    proxy: http://h:1\n    ttl: soon\n")

    done = swapd("--config", "bad.yaml", cwd=tmp_path)

    assert done.returncode == 78
    assert "bad.yaml:5:10: error[type] models.owl.ttl: " in done.stderr
    assert "    ttl: soon\n" in done.stderr
    assert "^^^^" in done.stderr
    assert done.stderr.endswith("swapd: cannot load the configuration: 1 error\n")


@pytest.mark.real
@pytest.mark.parametrize(
    ("argv", "code", "message"),
    [
        (["--listen", "nonsense"], 2, "swapd: wrong usage: cannot understand the listen address 'nonsense'"),
        (["--frobnicate"], 2, "swapd: wrong usage: unrecognized arguments: --frobnicate"),
        (["--state-dir=good.yaml"], 1, "swapd: cannot use the state directory good.yaml: File exists"),
        (["--ready-fd=1"], 2, "swapd: wrong usage: --ready-fd must be 3 or higher, not 1"),
        (["--pid-file=none/p", "--listen=127.0.0.1:0"], 1,
         "swapd: cannot write the pid file none/p: No such file or directory"),
        (["--listen=unix:/nonexistent/s"], 1, "swapd: cannot listen on unix:/nonexistent/s: No such file"),
        (["--tls-cert-file=no.pem", "--tls-key-file=no.pem", "--listen=127.0.0.1:0"], 1,
         "swapd: cannot use the TLS files no.pem and no.pem: No such file or directory"),
    ],
)  # fmt: skip
def test_given_what_cannot_work_when_started_then_message_and_exit_code_say_so(
    good: str, tmp_path: Path, argv: list[str], code: int, message: str
) -> None:
    done = swapd(good, *argv, cwd=tmp_path)

    assert (done.returncode, done.stdout) == (code, "")
    assert message in done.stderr
    assert "Traceback" not in done.stderr


@pytest.mark.real
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_given_a_running_daemon_when_it_is_told_to_stop_then_it_exits_0_and_has_said_what_it_did(
    good: str, tmp_path: Path, number: signal.Signals
) -> None:
    daemon = subprocess.Popen(
        [sys.executable, "-m", "swapd", good, "--listen=127.0.0.1:0"],
        cwd=tmp_path, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
    )  # fmt: skip
    assert daemon.stdout is not None
    with daemon:
        said = []
        for line in daemon.stdout:
            said.append(line)
            if "an orderly stop takes" in line:
                daemon.send_signal(number)

    assert daemon.returncode == 0
    assert said[0] == f"[INFO] swapd {BUILD.version} ({BUILD.commit})\n"
    assert any(line.startswith("[INFO] listening on http://127.0.0.1:") for line in said)
    assert any(f"{number.name}: stopping" in line for line in said)


@pytest.mark.real
def test_given_a_pipe_nobody_reads_when_the_daemon_floods_it_then_it_still_answers_and_stops(
    tmp_path: Path,
) -> None:
    (tmp_path / "loud.yaml").write_text("logLevel: debug\n" + TWO_MODELS)
    path = tmp_path / "s"
    read_end, write_end = os.pipe()
    daemon = subprocess.Popen(
        [sys.executable, "-m", "swapd", "--config=loud.yaml", f"--listen=unix:{path}"],
        cwd=tmp_path, stdout=write_end,
    )  # fmt: skip
    os.close(write_end)
    try:
        seen = b""
        while b"an orderly stop takes" not in seen:
            seen += os.read(read_end, 4096)
        # From here on nobody reads. 2,000 lines of 1.5 KB are more than pipe and queue hold together.
        with socket.socket(socket.AF_UNIX) as client:
            client.connect(str(path))
            request = b"GET /" + b"x" * 1500 + b" HTTP/1.1\r\nHost: swapd\r\n\r\n"
            for _ in range(2000):
                client.sendall(request)
                answer = client.recv(65_536)
                assert answer.startswith(b"HTTP/1.1 404")
        daemon.send_signal(signal.SIGTERM)
        assert daemon.wait(timeout=30) == 0
    finally:
        daemon.kill()
        daemon.wait()
        os.close(read_end)


@pytest.mark.real
def test_given_tls_files_when_started_then_the_daemon_speaks_tls(good: str, tmp_path: Path) -> None:
    made = subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-keyout", "k.pem", "-out", "c.pem",
         "-days", "2", "-subj", "/CN=localhost"],
        cwd=tmp_path, capture_output=True, check=False,
    )  # fmt: skip
    if made.returncode:
        pytest.skip("no openssl here to make a certificate with")
    path = tmp_path / "s"
    daemon = subprocess.Popen(
        [sys.executable, "-m", "swapd", good, f"--listen=unix:{path}", "--tls-cert-file=c.pem",
         "--tls-key-file=k.pem"],
        cwd=tmp_path, stdout=subprocess.PIPE, text=True,
    )  # fmt: skip
    assert daemon.stdout is not None
    with daemon:
        for line in daemon.stdout:
            if "an orderly stop takes" in line:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
                context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
                plain = socket.socket(socket.AF_UNIX)
                plain.connect(str(path))
                with context.wrap_socket(plain) as client:
                    client.sendall(b"GET /health HTTP/1.1\r\nHost: swapd\r\n\r\n")
                    assert client.recv(65_536).startswith(b"HTTP/1.1 200")
                daemon.send_signal(signal.SIGTERM)

    assert daemon.returncode == 0
