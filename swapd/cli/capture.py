"""`swapd capture`: one request and its answer as they were, also as HAR or as a `curl` command."""

from __future__ import annotations

import base64
import shlex
from collections.abc import Iterator, Sequence
from typing import Any, Final

from swapd.cli.client import ApiError, Client, segment
from swapd.cli.client_command import ClientParser
from swapd.cli.errors import CliError, ExitCode
from swapd.cli.output import Output, Styled, printable
from swapd.version import BUILD

_NOT_FOR_CURL: Final = frozenset({"content-length", "host", "connection", "accept-encoding", "x-request-id"})


def run(argv: Sequence[str]) -> int:
    parser = ClientParser(
        "capture",
        "Show one request of the past and its answer, as far as they were kept.",
        usage="swapd capture ID [flags]",
        epilog="The id is that of `swapd activity`. Secrets in headers have been replaced by [REDACTED].",
    )
    parser.add_switch("har", "as an HTTP archive (HAR 1.2), for the developer tools of browsers", twin=False)
    parser.add_switch("curl", "as a curl command that sends it again", twin=False)
    parser.add_words("ID", 1, 1)
    command = parser.open(argv)
    if command.values["har"] and command.values["curl"]:
        parser.fail("--har and --curl exclude each other")
    [id] = command.words
    capture = _capture(command.client, id)
    if command.values["har"]:
        command.output.document(as_har(command.client.address.url, capture, _row(command.client, id)))
    elif command.values["curl"]:
        command.output.line(as_curl(command.client.address.url, capture, _row(command.client, id)))
    elif command.output.as_json:
        command.output.document(capture)
    else:
        _show(command.output, capture, _row(command.client, id))
    return ExitCode.OK


def _capture(client: Client, id: str) -> dict[str, Any]:
    try:
        found: dict[str, Any] = client.get(f"/api/captures/{segment(id)}")
    except ApiError as error:
        if error.status == 404:
            raise CliError(
                f"cannot show {printable(id)}: it has not been kept, or has made room for newer ones",
                "captureBuffer in the configuration says how much is kept",
            ) from None
        raise
    return found


def _row(client: Client, id: str) -> dict[str, Any]:
    """What the activity log knows of it; empty if that has forgotten it."""
    rows = client.get("/api/metrics/activity", {"min_id": id, "max_id": id})["data"]
    return rows[0] if rows else {}


# --- for people ---------------------------------------------------------------------------------------


def _show(output: Output, capture: dict[str, Any], row: dict[str, Any]) -> None:
    output.line(Styled(f"{_method(row)} {printable(_target(capture))}", "bold"))
    _show_half(output, capture, "req")
    output.line()
    status = row.get("resp_status_code", "")
    output.line(Styled(f"answer {status}".rstrip(), "bold"))
    _show_half(output, capture, "resp")
    if capture.get("truncated"):
        output.note("swapd: a body was longer than captures.maxEntry and has been cut")


def _show_half(output: Output, capture: dict[str, Any], half: str) -> None:
    headers = capture[f"{half}_headers"] or {}
    for name, value in headers.items():
        output.line(Styled(f"{printable(name)}: ", "cyan"), printable(value))
    body = _body(capture, half)
    if body is None:
        output.line(Styled("(its body has not been kept)", "dim"))
    elif body:
        output.line()
        output.line(_readable(body, headers))


def _readable(body: bytes, headers: dict[str, str]) -> str:
    try:
        text = body.decode()
    except UnicodeDecodeError:
        return f"({len(body)} bytes of {printable(_header(headers, 'content-type') or 'something')})"
    return "\n".join(printable(line) for line in text.rstrip("\n").split("\n"))


# --- for programs -------------------------------------------------------------------------------------


def as_curl(url: str, capture: dict[str, Any], row: dict[str, Any]) -> str:
    """A command for a POSIX shell. A body that is no text comes out of base64."""
    words = ["curl", "-sSN"]
    if url.startswith("unix://"):
        words += ["--unix-socket", url.removeprefix("unix://")]
        url = "http://localhost"
    words.append(url + _target(capture))
    if _method(row) != "POST":
        words += ["-X", _method(row)]
    for name, value in (capture["req_headers"] or {}).items():
        if name.lower() not in _NOT_FOR_CURL and value != "[REDACTED]":
            words += ["-H", f"{name}: {value}"]
    body = _body(capture, "req")
    if not body:
        return shlex.join(words)
    try:
        return shlex.join([*words, "--data-binary", body.decode()])
    except UnicodeDecodeError:
        encoded = base64.b64encode(body).decode()
        return f"printf %s {encoded} | base64 -d | {shlex.join([*words, '--data-binary', '@-'])}"


def as_har(url: str, capture: dict[str, Any], row: dict[str, Any]) -> dict[str, Any]:
    """HAR 1.2; what is not known is -1, as that format has it."""
    duration_ms = row.get("duration_ms", -1)
    first_ms = min(row.get("ttft_ms") or duration_ms, duration_ms)
    request_headers, response_headers = capture["req_headers"] or {}, capture["resp_headers"] or {}
    request_body, response_body = _body(capture, "req"), _body(capture, "resp")
    entry = {
        "startedDateTime": row.get("timestamp", "1970-01-01T00:00:00Z"),
        "time": duration_ms,
        "request": {
            "method": _method(row),
            "url": url + _target(capture),
            "httpVersion": "HTTP/1.1",
            "cookies": [],
            "headers": list(_har_headers(request_headers)),
            "queryString": [],
            "headersSize": -1,
            "bodySize": -1 if request_body is None else len(request_body),
        },
        "response": {
            "status": row.get("resp_status_code", 0),
            "statusText": "",
            "httpVersion": "HTTP/1.1",
            "cookies": [],
            "headers": list(_har_headers(response_headers)),
            "content": {
                "size": -1 if response_body is None else len(response_body),
                "mimeType": _header(response_headers, "content-type"),
                **_har_text(response_body),
            },
            "redirectURL": "",
            "headersSize": -1,
            "bodySize": -1 if response_body is None else len(response_body),
        },
        "cache": {},
        "timings": {"send": 0, "wait": first_ms, "receive": max(0, duration_ms - first_ms)},
    }
    if request_body:
        entry["request"]["postData"] = {
            "mimeType": _header(request_headers, "content-type"),
            "text": request_body.decode(errors="replace"),
        }
    creator = {"name": "swapd", "version": BUILD.version}
    return {"log": {"version": "1.2", "creator": creator, "entries": [entry]}}


def _har_headers(headers: dict[str, str]) -> Iterator[dict[str, str]]:
    for name, value in headers.items():
        yield {"name": name, "value": value}


def _har_text(body: bytes | None) -> dict[str, str]:
    if body is None:
        return {}
    try:
        return {"text": body.decode()}
    except UnicodeDecodeError:
        return {"text": base64.b64encode(body).decode(), "encoding": "base64"}


def _target(capture: dict[str, Any]) -> str:
    query = capture.get("req_query")
    return str(capture["req_path"]) + (f"?{query}" if query else "")


def _method(row: dict[str, Any]) -> str:
    """Only POST requests are recorded."""
    return str(row.get("method") or "POST")


def _body(capture: dict[str, Any], half: str) -> bytes | None:
    text = capture[f"{half}_body"]
    return None if text is None else base64.b64decode(text)


def _header(headers: dict[str, str], wanted: str) -> str:
    return next((value for name, value in headers.items() if name.lower() == wanted), "")
