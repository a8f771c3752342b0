"""Is a text usable as a base URL?

Two levels: what a URL parser must refuse, and what it accepts although no server can be reached that way.
"""

from __future__ import annotations

import re

_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.-]*:")
_PERCENT = re.compile(r"%(?![0-9A-Fa-f]{2})")
_USER_CHARACTERS = re.compile(r"[A-Za-z0-9\-._:~!$&'()*+,;=%@]*")
_HOST_CHARACTERS = re.compile(r"[A-Za-z0-9\-_.~!$&'()*+,;=:\[\]<>\"%\u0080-\U0010ffff]*")
_ASCII_ESCAPE = re.compile(r"%[0-7][0-9A-Fa-f]")
_CONTROL = re.compile(r"[\x00-\x1f\x7f]")
MAX_PORT = 65535


def url_error(url: str) -> str:
    """Why the text is not a URL, or an empty text."""
    if _CONTROL.search(url):
        return "it holds a control character"
    rest, _, fragment = url.partition("#")
    if _PERCENT.search(fragment):
        return "it holds a bad percent escape"
    if rest.startswith(":"):
        return "the scheme is missing before the colon"
    scheme = _SCHEME.match(rest)
    if scheme:
        rest = rest[scheme.end() :]
    rest = rest.partition("?")[0]
    if not rest.startswith("/"):
        if scheme:
            return ""  # opaque, such as mailto:x; useless here but no syntax error
        if ":" in rest.partition("/")[0]:
            return "its first part holds a colon but is no scheme such as http:"
    elif rest.startswith("//") and (scheme or not rest.startswith("///")):
        authority, slash, path = rest[2:].partition("/")
        error = _authority_error(authority)
        if error:
            return error
        rest = slash + path
    return "it holds a bad percent escape" if _PERCENT.search(rest) else ""


def _authority_error(authority: str) -> str:
    user, at, host = authority.rpartition("@")
    if at and (not _USER_CHARACTERS.fullmatch(user) or _PERCENT.search(user)):
        return "the user part before @ holds an illegal character"
    port = ""
    if host.startswith("["):
        closing = host.rfind("]")
        if closing < 0:
            return "the ] of the address is missing"
        port = host[closing + 1 :]
        host = host[:closing].partition("%25")[0]
    elif ":" in host:
        colon = host.rindex(":")
        port = host[colon:]
        host = host[:colon]
    if port and (port[0] != ":" or not re.fullmatch(r"[0-9]*", port[1:])):
        return f'the port "{port.lstrip(":")}" is not a number'
    if _PERCENT.search(host) or _ASCII_ESCAPE.search(host):
        return "the host holds a bad percent escape"
    if not _HOST_CHARACTERS.fullmatch(host):
        return "the host holds a blank or another illegal character"
    return ""


def url_oddity(url: str) -> tuple[str, str]:
    """What makes a syntactically valid URL unusable as a base URL, and a better one; or empty texts."""
    scheme, separator, rest = url.partition("://")
    if not separator or scheme.lower() not in ("http", "https"):
        guess = "" if separator or not re.match(r"[\w.\[\]-]+(:\d+)?(/|$)", url) else f"http://{url}"
        return "it has no scheme http or https", guess
    authority = re.split(r"[/?#]", rest, maxsplit=1)[0].rpartition("@")[2]
    host, port = authority, ""
    match = re.fullmatch(r"(.*?)(?::([0-9]*))?", authority, re.DOTALL)
    if match:
        host, port = match[1], match[2] or ""
    if not host:
        return "it has no host", ""
    if port and (len(port) > 5 or int(port) > MAX_PORT):
        return f"port {port} does not exist", ""
    return "", ""
