"""Who may ask the review page for anything: Host, Origin, token, method, size; and the headers of every answer.

A page on the loopback interface is within reach of every page that the browser shows: by a form, a picture, or a name
that was made to point here (DNS rebinding). So each request must name this server as its host, whatever changes
something must come from our own page, with JSON and the page's own secret, and beyond loopback a token is needed.
Owns these checks, as a layer around the application that knows nothing of it. The pages are owned by ``review.app``.
"""

import hashlib
import hmac
import ipaddress
import re
import secrets
import socket
from collections.abc import Awaitable, Callable, MutableMapping
from dataclasses import dataclass, field
from html import escape
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, urlencode

from notus.core.errors import ConfigError

__all__ = ["CSRF_HEADER", "Access", "Guard", "is_loopback"]

CSRF_HEADER = "x-notus-page"
"""The header in which our page's script says the page's secret."""
_MOST_BODY = 512 * 1024
_MOST_PATH = 256
_MOST_QUERY = 8 * 1024
_LEAST_TOKEN = 16
_PATH = re.compile(r"/[A-Za-z0-9_./-]*")
_POLICY = "; ".join(
    (
        "default-src 'none'",
        *("script-src 'self'", "style-src 'self'", "img-src 'self'", "connect-src 'self'"),
        *("base-uri 'none'", "form-action 'self'", "frame-ancestors 'none'"),
    )
)
_HEADERS = (
    (b"content-security-policy", _POLICY.encode()),
    (b"x-content-type-options", b"nosniff"),
    (b"x-frame-options", b"DENY"),
    (b"referrer-policy", b"no-referrer"),
    (b"cross-origin-resource-policy", b"same-origin"),
    (b"cross-origin-opener-policy", b"same-origin"),
    (b"permissions-policy", b"camera=(), geolocation=(), microphone=(), clipboard-read=()"),
)
_Message = MutableMapping[str, Any]
_Receive = Callable[[], Awaitable[_Message]]
_Send = Callable[[_Message], Awaitable[None]]
_App = Callable[[_Message, _Receive, _Send], Awaitable[None]]


def is_loopback(host: str) -> bool:
    """Whether a server that listens on this name or address is reached from this machine alone."""
    if host == "localhost":
        return True
    try:
        return ipaddress.ip_address(host.strip("[]")).is_loopback
    except ValueError:
        return False


@dataclass(frozen=True)
class Access:
    """Where the page is served, and the secrets that it asks for."""

    host: str
    port: int
    token: str = ""
    """Empty: none is asked for, as on loopback."""
    csrf: str = field(default_factory=lambda: secrets.token_urlsafe(24))
    """Is in our page and in no other: a request that changes something must say it."""

    @classmethod
    def make(cls, host: str, port: int, token: str | None) -> "Access":
        """The access for a host: beyond loopback with a token, made anew where none is given.

        Raises:
            ConfigError: if the token is too short to be one.
        """
        if token is not None and len(token) < _LEAST_TOKEN:
            raise ConfigError(
                f"the token has {len(token)} characters; give {_LEAST_TOKEN} or more, or none, and one is made"
            )
        if token is not None and not re.fullmatch(r"[\w.~-]+", token, re.ASCII):
            raise ConfigError("the token stands in a link: letters, digits and . _ ~ - alone")
        return cls(host, port, token or ("" if is_loopback(host) else secrets.token_urlsafe(24)))

    @property
    def link(self) -> str:
        """What to open in a browser on this machine."""
        name = {"0.0.0.0": "127.0.0.1", "::": "[::1]"}.get(self.host, self.host)  # noqa: S104
        name = f"[{name}]" if ":" in name and not name.startswith("[") else name
        return f"http://{name}:{self.port}/" + (f"?token={self.token}" if self.token else "")

    @property
    def cookie(self) -> str:
        """Name of the cookie that stands for the token: browsers share cookies between ports."""
        return f"notus-review-{self.port}"

    @property
    def cookie_value(self) -> str:
        """What the cookie holds: it tells the token from others, and does not tell the token."""
        return hmac.new(self.csrf.encode(), self.token.encode(), hashlib.sha256).hexdigest()

    def knows_host(self, header: str) -> bool:
        """Whether a Host header names this server.

        On loopback these are its names alone. Beyond it, a name that was made to point here is refused as well: what
        is taken is an address as such, this machine's name, and the name that was given.
        """
        name, colon, port = header.rpartition(":")
        if not colon or not port.isascii() or not port.isdigit() or len(port) > 5:
            name, port = header, "80"
        if int(port) != self.port:
            return False
        name = name.lower()
        if name in {"localhost", "127.0.0.1", "[::1]"}:
            return True
        if is_loopback(self.host):
            return name.strip("[]") == self.host.lower()
        return name in {self.host.lower(), socket.gethostname().lower()} or _is_address(name)


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name[1:-1] if name.startswith("[") and name.endswith("]") else name)
    except ValueError:
        return False
    return True


class Guard:
    """The application behind its checks."""

    def __init__(self, app: _App, access: Access) -> None:
        self._app = app
        self._access = access

    async def __call__(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        """Answer a request, or refuse it with a line that says why."""
        if scope["type"] == "lifespan":
            await self._app(scope, receive, send)
            return
        if scope["type"] != "http":  # we speak no web sockets: leaving the handshake refuses it
            return

        async def guarded(message: _Message) -> None:
            if message["type"] == "http.response.start":
                message["headers"] = [*message.get("headers", ()), *_HEADERS]
            await send(message)

        headers = _headers(scope)
        refused = self._refuse(scope, headers)
        if refused is not None:
            await _say(guarded, *refused)
        elif self._access.token and not self._has_cookie(headers):
            await self._admit(scope, guarded)
        else:
            await self._pass(scope, receive, guarded)

    def _refuse(self, scope: _Message, headers: dict[str, list[str]]) -> tuple[int, str] | None:
        """Status and line of a refusal, or None."""
        if scope["method"] not in {"GET", "HEAD", "POST"}:
            return 405, "This page is read and written by GET and POST alone."
        if len(headers.get("host", ())) != 1 or not self._access.knows_host(headers["host"][0]):
            return 421, f"Open this page as {self._access.link.partition('?')[0]}: it is served under no other name."
        if (refused := _refuse_path(scope)) is not None:
            return refused
        own = {f"http://{headers['host'][0]}"}
        origin, site = headers.get("origin", []), headers.get("sec-fetch-site", ["same-origin"])
        if set(origin) - own or len(origin) > 1:
            return 403, "Asked from another page: refused."
        if scope["method"] == "POST":
            return self._refuse_post(headers, bool(origin), site)
        opened = headers.get("sec-fetch-mode") == ["navigate"] and headers.get("sec-fetch-dest") == ["document"]
        if site[0] not in {"same-origin", "none"} and not opened:
            return 403, "Asked for within another page: refused."
        return None

    def _refuse_post(self, headers: dict[str, list[str]], has_origin: bool, site: list[str]) -> tuple[int, str] | None:
        if not has_origin or site != ["same-origin"]:
            return 403, "A decision must come from this page itself."
        if headers.get("content-type", [""])[0].partition(";")[0].strip().lower() != "application/json":
            return 415, "A decision is sent as JSON."
        said = headers.get(CSRF_HEADER, [""])[0]
        if not hmac.compare_digest(said.encode("utf-8", "replace"), self._access.csrf.encode()):
            return 403, "This page is from before a restart: load it again."
        length = headers.get("content-length", ["0"])[0]
        if not length.isascii() or not length.isdigit() or len(length) > 9 or int(length) > _MOST_BODY:
            return 413, f"A request has at most {_MOST_BODY // 1024} KiB."
        return None

    def _has_cookie(self, headers: dict[str, list[str]]) -> bool:
        try:
            held = SimpleCookie("; ".join(headers.get("cookie", []))).get(self._access.cookie)
        except CookieError:
            return False
        value = (held.value if held else "").encode("utf-8", "replace")
        return hmac.compare_digest(value, self._access.cookie_value.encode())

    async def _admit(self, scope: _Message, send: _Send) -> None:
        """Take the token from the address: a page leads on to the same address without it.

        It is a page and no redirection, because a browser leaves a strict cookie out of a redirection that began on
        another site: in a mail, say.
        """
        asked = parse_qs(scope["query_string"].decode("ascii", "replace"), keep_blank_values=True)
        said = asked.pop("token", [""])[0]
        if not hmac.compare_digest(said.encode("utf-8", "replace"), self._access.token.encode()):
            await _say(send, 401, "Open the link that 'notus review' printed: this page asks for its token once.")
            return
        rest = urlencode(asked, doseq=True)
        to = escape(scope["path"].replace("//", "/") + (f"?{rest}" if rest else ""), quote=True)
        cookie = f"{self._access.cookie}={self._access.cookie_value}; Path=/; HttpOnly; SameSite=Strict"
        head = f'<!doctype html><html lang="en"><meta charset="utf-8"><meta http-equiv="refresh" content="0;url={to}">'
        body = f'{head}<title>Notus</title><p><a href="{to}">Go on to the review page</a></p></html>'
        await _answer(send, 200, body, "text/html; charset=utf-8", [(b"set-cookie", cookie.encode())])

    async def _pass(self, scope: _Message, receive: _Receive, send: _Send) -> None:
        """Hand on, and count what is received: a length may be left out, or be a lie."""
        got = 0

        async def counted() -> _Message:
            nonlocal got
            message = await receive()
            got += len(message.get("body", b""))
            if got > _MOST_BODY:
                raise ConnectionResetError(f"a request of more than {_MOST_BODY} bytes")
            return message

        await self._app(scope, counted, send)


def _refuse_path(scope: _Message) -> tuple[int, str] | None:
    """All addresses of the page are made of plain characters; what is written with others is no slip."""
    raw = scope.get("raw_path") or scope["path"].encode()
    text = raw.decode("ascii", "replace")
    if len(text) > _MOST_PATH or ".." in text or "//" in text or not _PATH.fullmatch(text):
        return 404, "There is no such page."
    if len(scope["query_string"]) > _MOST_QUERY:
        return 414, f"An address has at most {_MOST_QUERY // 1024} KiB."
    return None


def _headers(scope: _Message) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for name, value in scope["headers"]:
        found.setdefault(name.decode("latin-1").lower(), []).append(value.decode("latin-1"))
    return found


async def _say(send: _Send, status: int, line: str) -> None:
    await _answer(send, status, f"{line}\n", "text/plain; charset=utf-8", [])


async def _answer(send: _Send, status: int, text: str, kind: str, more: list[tuple[bytes, bytes]]) -> None:
    body = text.encode()
    headers = [
        (b"content-type", kind.encode()),
        (b"content-length", str(len(body)).encode()),
        (b"cache-control", b"no-store"),
        *more,
    ]
    await send({"type": "http.response.start", "status": status, "headers": headers})
    await send({"type": "http.response.body", "body": body})
