"""Programs that stand in for those that a configuration names and this machine lacks."""

from __future__ import annotations

import sys
from pathlib import Path

PROGRAMS = ("llama-server", "vllm", "whisper-server", "sd-server", "docker")

STAND_IN = """\
#!{python}
# Stands for an inference server or for docker: serves at the port that its arguments name.
import os, re, signal, sys, time

words = sys.argv[1:]
line = " ".join(words)
if words[0] == "stop":
    pid = int(open(os.path.join({directory!r}, words[1])).read())
    os.kill(pid, signal.SIGTERM)
    while os.path.exists(f"/proc/{{pid}}/cmdline") and open(f"/proc/{{pid}}/cmdline").read():
        time.sleep(0.01)
    sys.exit(0)
if words[0] == "run":
    name = words[words.index("--name") + 1]
    with open(os.path.join({directory!r}, name), "w") as file:
        file.write(str(os.getpid()))
port = re.search(r"--publish 127\\.0\\.0\\.1:(\\d+):|--(?:listen-)?port (\\d+)", line)
assert port is not None, line
os.execv(sys.executable, [sys.executable, "-m", "swapd.testing.upstream", "--port", port[1] or port[2]])
"""

LLAMA_SERVER = """\
#!{python}
# llama.cpp's server out of its wheel, with those flags of llama-server that mean something without a GPU.
import os, sys

words = ["--model" if word == "-m" else word for word in sys.argv[1:]]
pairs = dict(zip(words, words[1:]))
flags = [word for name in ("--model", "--host", "--port") if name in pairs for word in (name, pairs[name])]
flags += [word for word in ("--embeddings",) if word in words]
os.execv(sys.executable, [sys.executable, "-m", "swapd.testing.llama", *flags, "--ctx-size", "512"])
"""


def install(directory: Path, text: str, *names: str) -> Path:
    """Make a script for each of the names; returns the directory they are in."""
    programs = directory / "bin"
    programs.mkdir(exist_ok=True)
    for name in names:
        program = programs / name
        program.write_text(text.format(python=sys.executable, directory=str(directory)))
        program.chmod(0o755)
    return programs
