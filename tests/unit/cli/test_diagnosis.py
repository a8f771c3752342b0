"""What `swapd doctor` makes of a machine: each look, against files and sockets as they may be found."""

from __future__ import annotations

import os
import socket
from pathlib import Path
from threading import Event
from typing import Any

import pytest

from swapd.cli.diagnosis import machine, setup
from swapd.cli.diagnosis.finding import Finding, Level
from swapd.config import Sources
from swapd.observe.sampling.probe import Absent, Broken
from swapd.supervision.state_directory import StateDirectory


class Source:
    """A source of GPUs that does what it is told to."""

    name = "nvidia"

    def __init__(self, does: Exception | Event | list[dict[str, Any]]) -> None:
        self._does = does

    def read(self) -> tuple[Any, ...]:
        return ()

    def accelerators(self) -> list[dict[str, Any]]:
        if isinstance(self._does, Exception):
            raise self._does
        if isinstance(self._does, Event):
            self._does.wait(30)
            return []
        return self._does


def gpu(name: str, gib: int) -> dict[str, Any]:
    memory = {"kind": "dedicated", "capacity_bytes": gib * machine.GIB}
    driver = {"name": "nvidia", "version": "570.1"}
    return {"model": name, "vendor": "nvidia", "memory": memory, "driver": driver}


def written(root: Path, files: dict[str, str]) -> Path:
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def seen(root: Path, *sources: Source) -> dict[str, Finding]:
    return {finding.subject: finding for finding in machine.look(root, sources)}


@pytest.mark.parametrize(
    ("does", "level", "what"),
    [
        ([gpu("RTX 4090", 24)], Level.OK, "RTX 4090, 24.0 GiB, driver 570.1"),
        (Absent("no NVIDIA driver"), Level.NOTE, "no NVIDIA driver"),
        (Broken("NVML does not start"), Level.ERROR, "NVML does not start"),
        (ValueError("odd"), Level.ERROR, "the look at them failed: ValueError: odd"),
    ],
)
def test_given_a_driver_when_looked_at_then_its_answer_is_told(
    tmp_path: Path, does: Any, level: Level, what: str
) -> None:
    found = seen(tmp_path, Source(does))["nvidia GPUs"]
    assert (found.level, found.what) == (level, what)
    assert bool(found.mend) is (level is Level.ERROR)


def test_given_a_driver_that_hangs_when_looked_at_then_that_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(machine, "DRIVER_TIMEOUT_S", 0.01)
    release = Event()
    found = seen(tmp_path, Source(release))["nvidia GPUs"]
    release.set()
    assert found.level is Level.ERROR
    assert "not answered" in found.what


@pytest.mark.parametrize(("few", "level"), [("8", Level.WARNING), ("128", Level.OK)])
def test_given_limits_of_the_kernel_when_looked_at_then_low_ones_are_warned_of(
    tmp_path: Path, few: str, level: Level
) -> None:
    root = written(tmp_path, {"proc/sys/fs/inotify/max_user_instances": few, "sys/fs/cgroup/pids.max": few})
    found = seen(root)
    assert found["fs.inotify.max_user_instances"].level is level
    assert found["processes"].level is Level.WARNING
    assert "sysctl" in found["fs.inotify.max_user_instances"].mend or level is Level.OK


def test_given_a_device_that_may_not_be_opened_when_looked_at_then_the_group_is_named(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = written(tmp_path, {"dev/kfd": "", "dev/dri/renderD128": ""})
    os.chown(root / "dev/kfd", -1, os.getgid())
    monkeypatch.setattr(os, "access", lambda path, mode: Path(path).name != "kfd")
    found = seen(root)
    assert found[str(root / "dev/kfd")].level is Level.ERROR
    assert found[str(root / "dev/kfd")].mend
    assert found[str(root / "dev/dri/renderD128")].level is Level.OK


def configured(directory: Path, text: str, **environ: str) -> list[Finding]:
    file = directory / "swapd.yaml"
    file.write_text(text)
    return list(setup.look_at_configuration(Sources((file,)), {"PATH": os.environ["PATH"], **environ}))


def test_given_configurations_when_looked_at_then_what_they_need_is_looked_for(tmp_path: Path) -> None:
    [none] = setup.look_at_configuration(Sources(()), {})
    assert (none.level, "swapd init" in none.mend) == (Level.NOTE, True)

    [good] = configured(tmp_path, "models: {owl: {cmd: 'sleep ${PORT}'}}")
    assert (good.level, good.what) == (Level.OK, f"{tmp_path}/swapd.yaml: 1 model")

    [broken] = configured(tmp_path, "models: {owl: {cmd: 'sleep ${PORT}', ttl: [1]}}")
    assert (broken.level, broken.what) == (Level.ERROR, f"{tmp_path}/swapd.yaml: 1 error")

    _, program, file = configured(
        tmp_path, "models: {a: {cmd: 'nosuch ${PORT}'}, b: {cmd: 'sleep -m /no/b.gguf ${PORT}'}}"
    )
    assert program.level is file.level is Level.ERROR
    assert "nosuch" in program.what
    assert "/no/b.gguf" in file.what


def test_given_models_in_containers_when_looked_at_then_the_engine_is_asked(tmp_path: Path) -> None:
    docker = tmp_path / "docker"
    docker.write_text("#!/bin/sh\n")
    docker.chmod(0o755)
    path = f"{tmp_path}:{os.environ['PATH']}"
    text = "models: {owl: {cmd: 'docker run -p ${PORT}:80 owl'}}"
    engine = f"unix://{tmp_path}/engine"

    *_, refused = configured(tmp_path, text, PATH=path, DOCKER_HOST=engine)
    assert (refused.subject, refused.level) == ("docker", Level.ERROR)
    assert "No such file" in refused.what

    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(f"{tmp_path}/engine")
        listening.listen()
        *_, answered = configured(tmp_path, text, PATH=path, DOCKER_HOST=engine)
    assert answered.level is Level.OK


def test_given_a_state_directory_when_looked_at_then_its_holder_is_named_and_nothing_is_made(
    tmp_path: Path,
) -> None:
    directory = tmp_path / "state"
    assert setup.look_at_state(directory).what == f"{directory}: not there yet, can be made"
    assert not directory.exists()

    held = StateDirectory.open(directory)
    assert setup.look_at_state(directory).what == f"{directory}: in use by pid {os.getpid()}"
    held.close()
    assert setup.look_at_state(directory).what == f"{directory}: free"

    (tmp_path / "file").write_text("")
    found = setup.look_at_state(tmp_path / "file" / "state")
    assert (found.level, "is no directory" in found.what) == (Level.ERROR, True)


def test_given_an_address_when_looked_at_then_who_listens_there_is_named(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(setup, "_is_swapd", lambda host, port: False)
    with socket.socket() as listening:
        listening.bind(("127.0.0.1", 0))
        port = listening.getsockname()[1]
        listening.listen()
        taken = setup.look_at_address("127.0.0.1", port)
    assert taken.level is Level.ERROR
    assert f"pid {os.getpid()} " in taken.what
    assert "--listen" in taken.mend
    assert setup.look_at_address("127.0.0.1", port).what == "free"


def test_given_processes_with_the_mark_when_looked_for_then_those_without_a_guardian_are_left(
    tmp_path: Path,
) -> None:
    written(
        tmp_path,
        {
            "10/environ": "A=1\0SWAPD_INSTANCE=gone\0",
            "10/cmdline": "llama-server\0",
            "20/environ": "SWAPD_INSTANCE=lives\0",
            "20/cmdline": "llama-server\0",
            "30/environ": "A=1\0",
            "30/cmdline": "sh\0-c\0…\0lives\0",
            "self/environ": "SWAPD_INSTANCE=other\0",
        },
    )
    found = setup.look_for_orphans(tmp_path)
    assert (found.level, found.what) == (Level.WARNING, "pid 10")
    assert setup.look_for_orphans(tmp_path / "30").what == "none"
