"""One daemon for the tests with real clients: models as processes, and one of a peer."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conformance.requests.world import World, running_world

CONFIG = """
includeAliasesInList: true
models:
  m1: {cmd: IDLE, proxy: UPSTREAM, aliases: [nick], ttl: 300}
  eyes:
    cmd: IDLE
    proxy: UPSTREAM
    useModelName: real
    capabilities: {in: [text, image], out: [text], tools: true, context: 4096}
  hid: {cmd: IDLE, proxy: UPSTREAM, unlisted: true}
  off: {cmd: "python3 -c 'import sys; sys.exit(3)'", proxy: "http://127.0.0.1:9"}
peers:
  p1: {proxy: PEER, models: [rm]}
selectors:
  pick: {strategy: pin, targets: [m1]}
groups:
  all: {swap: false, members: [m1, eyes, hid, off]}
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with running_world(tmp_path_factory.mktemp("daemon"), CONFIG) as running:
        yield running


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    keys = "apiKeys: [secret, {key: limited, models: [m1]}]\n"
    with running_world(tmp_path_factory.mktemp("guarded"), keys + CONFIG) as running:
        yield running
