"""The set-ups that the conformance cases speak of."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.conformance.requests.world import World, running_world

MODELS = """
models:
  m1: {cmd: IDLE, proxy: UPSTREAM, aliases: [nick], ttl: 300, name: Model One}
  a/b: {cmd: IDLE, proxy: UPSTREAM, useModelName: real}
  hid: {cmd: IDLE, proxy: UPSTREAM, unlisted: true}
  cap:
    cmd: IDLE
    proxy: UPSTREAM
    capabilities: {in: [text, image], out: [text], tools: true, context: 4096}
  off: {cmd: "python3 -c 'import sys; sys.exit(\\"no such weights\\")'", proxy: "http://127.0.0.1:9"}
  strict: {cmd: IDLE, proxy: UPSTREAM, filters: {stripParams: "temperature, model"}}
  set:
    cmd: IDLE
    proxy: UPSTREAM
    aliases: [set2]
    filters:
      setParams: {chat_template_kwargs.enable_thinking: false, top_p: 0.5}
      setParamsByID: {setnick: {top_p: 0.1}}
  wild: {cmd: IDLE, proxy: UPSTREAM, filters: {stripParams: "a*"}}
  idle: {cmd: IDLE, proxy: UPSTREAM}
  ws: {cmd: IDLE, proxy: "WEBSOCKETS/base", checkEndpoint: none}
  quiet: {cmd: IDLE, proxy: WEBSOCKETS, checkEndpoint: none, compat: {ignoreWebsockets: true}}
  gone: {cmd: IDLE, proxy: "http://127.0.0.1:9", checkEndpoint: none}
peers:
  p1: {proxy: PEER, models: [rm]}
  pk: {proxy: PEER, models: [keyed], apiKey: pk}
  pws: {proxy: WEBSOCKETS, models: [wsm]}
  dead: {proxy: "http://127.0.0.1:9", models: [gone]}
selectors:
  pick: {strategy: pin, targets: [nick, cap]}
groups:
  all: {swap: false, members: [m1, a/b, hid, cap, off, strict, set, wild, idle, ws, quiet, gone]}
"""


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    with running_world(tmp_path_factory.mktemp("daemon"), MODELS) as running:
        yield running


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """The same with keys: `secret` may do everything, `limited` may use `m*` and is no admin."""
    keys = "apiKeys: [secret, {key: limited, name: guest, models: ['m*', 'p1/rm', setnick]}]\n"
    with running_world(tmp_path_factory.mktemp("guarded"), keys + MODELS) as running:
        yield running
