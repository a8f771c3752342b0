"""What the server leans on in hypercorn, httptools and their kin. A failure means: look before you upgrade.

hypercorn promises nothing about these names. When one of these tests fails after an upgrade, read what has
changed there, mend `swapd/http/server`, run `tests/conformance/server`, and only then adapt the test.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable
from importlib.metadata import version
from typing import Any

import httptools
import pytest
from h2.connection import H2Connection
from hypercorn.config import Config
from hypercorn.events import Closed, RawData, Updated
from hypercorn.protocol import events
from hypercorn.protocol.h2 import H2Protocol, StreamBuffer
from hypercorn.protocol.http_stream import ASGIHTTPState, HTTPStream
from hypercorn.protocol.ws_stream import ASGIWebsocketState, WSStream
from hypercorn.trio.task_group import TaskGroup
from hypercorn.trio.worker_context import WorkerContext
from hypercorn.utils import filter_pseudo_headers

STREAM = "app config context task_group ssl client server send stream_id"


def test_the_version_is_the_one_that_was_read() -> None:
    assert version("hypercorn") == "0.18.0"


@pytest.mark.parametrize(
    ("function", "parameters"),
    [
        (HTTPStream.__init__, STREAM),
        (HTTPStream.handle, "event"),
        (HTTPStream.app_send, "message"),
        (WSStream.__init__, STREAM),
        (WSStream.handle, "event"),
        (WSStream.app_send, "message"),
        (WSStream._handle_events, ""),
        (WSStream._send_wsproto_event, "event"),
        (H2Protocol.__init__, "app config context task_group connection_state ssl client server send"),
        (H2Protocol.initiate, "headers settings"),
        (H2Protocol.handle, "event"),
        (H2Protocol.stream_send, "event"),
        (H2Protocol._create_stream, "request"),
        (H2Protocol._close_stream, "stream_id"),
        (H2Protocol._handle_events, "events"),
        (H2Protocol._flush, ""),
        (StreamBuffer.__init__, "event_class"),
        (StreamBuffer.push, "data"),
        (StreamBuffer.pop, "max_length"),
        (TaskGroup.__init__, ""),
        (TaskGroup.spawn, "func args"),
        (TaskGroup.spawn_app, "app config scope send"),
        (WorkerContext.__init__, "max_requests"),
        (filter_pseudo_headers, "headers"),
    ],
)
def test_a_member_has_the_shape_it_had(function: Callable[..., Any], parameters: str) -> None:
    names = [name for name in inspect.signature(function).parameters if name != "self"]
    assert " ".join(names) == parameters


def test_events_have_the_fields_they_had() -> None:
    fields = {
        kind.__name__: " ".join(inspect.signature(kind).parameters)
        for kind in (
            events.Request,
            events.Response,
            events.Body,
            events.EndBody,
            events.Data,
            events.EndData,
            events.Trailers,
            events.StreamClosed,
            RawData,
            Closed,
            Updated,
        )
    }
    assert fields == {
        "Request": "stream_id headers http_version method raw_path state",
        "Response": "stream_id headers status_code",
        "Body": "stream_id data",
        "EndBody": "stream_id",
        "Data": "stream_id data",
        "EndData": "stream_id",
        "Trailers": "stream_id headers",
        "StreamClosed": "stream_id",
        "RawData": "data address",
        "Closed": "",
        "Updated": "idle",
    }


def test_states_are_called_what_they_were() -> None:
    assert [state.name for state in ASGIHTTPState] == ["REQUEST", "RESPONSE", "TRAILERS", "CLOSED"]
    assert [state.name for state in ASGIWebsocketState] == [
        "HANDSHAKE",
        "CONNECTED",
        "RESPONSE",
        "CLOSED",
        "HTTPCLOSED",
    ]


async def test_objects_have_the_attributes_they_had() -> None:
    # Given one of each
    context = WorkerContext(None)
    group = TaskGroup()
    common = (None, Config(), context, group)
    http = HTTPStream(*common, False, None, None, _send, 1)  # type: ignore[arg-type]
    websocket = WSStream(*common, False, None, None, _send, 1)  # type: ignore[arg-type]
    http2 = H2Protocol(*common, {}, True, None, None, _send)  # type: ignore[arg-type]
    buffer = StreamBuffer(context.event_class)
    # Then they have what is used of them
    assert group._nursery is None
    assert not context.terminated.is_set()
    assert (http.state, http.closed) == (ASGIHTTPState.REQUEST, False)
    assert (websocket.state, websocket.closed) == (ASGIWebsocketState.HANDSHAKE, False)
    assert websocket.app_put is None
    assert websocket.buffer.max_length == Config.websocket_max_message_size
    assert isinstance(http2.connection, H2Connection)
    assert (http2.streams, http2.stream_buffers, http2.closed, http2.idle) == ({}, {}, False, True)
    assert (buffer.buffer, buffer._complete) == (b"", False)
    assert not buffer._paused.is_set()
    assert not buffer._is_empty.is_set()


def test_settings_exist() -> None:
    for name in (
        "accesslog",
        "errorlog",
        "include_date_header",
        "include_server_header",
        "keep_alive_max_requests",
        "h2_max_header_list_size",
        "websocket_max_message_size",
        "certfile",
        "keyfile",
        "keyfile_password",
    ):
        assert hasattr(Config, name), name
    assert Config().create_ssl_context() is None


@pytest.mark.parametrize(
    ("data", "what"),
    [
        (b"GET / HTTP/1.1\nHost: x\n\n", "bare LF"),
        (b"GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n", "folded lines"),
        (b"GET / HTTP/1.1\r\nHost : x\r\n\r\n", "white space before the colon"),
        (b"POST / HTTP/1.1\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n", "two lengths"),
    ],
)
def test_httptools_is_strict_unless_told_otherwise(data: bytes, what: str) -> None:
    with pytest.raises(httptools.HttpParserError):
        httptools.HttpRequestParser(object()).feed_data(data)


async def _send(event: object) -> None:
    raise AssertionError("nothing is sent")
