"""llama.cpp's own C++ server, out of the wheel `xllamacpp`, as a process with the flags of `llama-server`.

    python -m swapd.testing.llama -m MODEL.gguf --port 5800 [-c 2048] [-np 1] [--embeddings] …

The server runs on threads of the wheel; the Python above it only starts it and waits. SIGTERM and SIGINT end
the process at once. Exit status 69 (EX_UNAVAILABLE) means that the wheel is missing or cannot run here.
"""

from __future__ import annotations

import os
import signal
import sys
from argparse import ArgumentParser, Namespace
from collections.abc import Sequence
from importlib.util import find_spec
from types import ModuleType
from typing import Any

UNAVAILABLE_STATUS = 69

_HINT = "hint: pip install 'swapd[demo]' installs the wheel xllamacpp where there is one for this platform"


def wheel_problem() -> str | None:
    """Why the wheel cannot run here, or None when it can.

    Tried in a process of its own: a wheel built for another processor dies of SIGILL, it does not raise.
    Takes about 0.1 s.
    """
    import subprocess

    if find_spec("xllamacpp") is None:
        return "the wheel xllamacpp is not installed"
    trial = subprocess.run(
        [sys.executable, "-c", "import xllamacpp; xllamacpp.get_system_info()"],
        capture_output=True,
        check=False,
    )
    if trial.returncode == 0:
        return None
    last_line = trial.stderr.decode(errors="replace").strip().rpartition("\n")[2]
    return f"the wheel xllamacpp cannot run here: {last_line or describe_status(trial.returncode)}"


def describe_status(returncode: int) -> str:
    """A return code of `subprocess` in words."""
    if returncode < 0:
        return f"killed by {signal.Signals(-returncode).name}"
    return f"exit status {returncode}"


def main(argv: Sequence[str] | None = None) -> int:
    """Serve until SIGTERM or SIGINT; returns only when the server cannot be started."""
    given = _parse(argv)
    # The default action ends the process without destructors: the server's own may wait for a running
    # request, for ever.
    signal.signal(signal.SIGTERM, signal.SIG_DFL)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    try:
        import xllamacpp
    except ImportError as error:
        sys.stderr.write(f"llama: {error}\n{_HINT}\n")
        return UNAVAILABLE_STATUS
    if not os.access(given.model, os.R_OK):
        sys.stderr.write(f"llama: cannot read the model {given.model}\n")
        return 1
    try:
        server = xllamacpp.Server(_parameters(xllamacpp, given))
    except RuntimeError as error:
        sys.stderr.write(f"llama: {given.model}: {error}\n")
        return 1
    sys.stdout.write(f"listening on {server.listening_address}\n")
    sys.stdout.flush()
    while True:
        signal.pause()


def _parse(argv: Sequence[str] | None) -> Namespace:
    parser = ArgumentParser(prog="python -m swapd.testing.llama", description=__doc__)
    parser.add_argument("-m", "--model", required=True)
    parser.add_argument("--host", default="127.0.0.1")
    parser.add_argument("--port", type=int, default=8080)
    parser.add_argument("-c", "--ctx-size", type=int, default=2048)
    parser.add_argument("-np", "--parallel", type=int, default=1)
    parser.add_argument("-t", "--threads", type=int, default=1)
    parser.add_argument("-a", "--alias", help="name given in answers")
    parser.add_argument("--api-key")
    parser.add_argument("--embeddings", action="store_true")
    parser.add_argument("--reranking", action="store_true")
    parser.add_argument(
        "--no-warmup", action="store_true", help="do not run the model once before it is ready"
    )
    return parser.parse_args(argv)


def _parameters(xllamacpp: ModuleType, given: Namespace) -> Any:
    parameters = xllamacpp.CommonParams()
    parameters.model.path = given.model
    parameters.hostnames = [given.host]
    parameters.port = given.port
    parameters.n_ctx = given.ctx_size
    parameters.n_parallel = given.parallel
    parameters.cpuparams.n_threads = given.threads
    parameters.endpoint_slots = parameters.endpoint_metrics = True
    parameters.ui = False
    parameters.warmup = not given.no_warmup
    if given.alias:
        parameters.model_alias = {given.alias}
    if given.api_key:
        parameters.api_keys = [given.api_key]
    parameters.embedding = given.embeddings or given.reranking
    if given.reranking:
        parameters.pooling_type = xllamacpp.llama_pooling_type.LLAMA_POOLING_TYPE_RANK
    return parameters


if __name__ == "__main__":
    sys.exit(main())
