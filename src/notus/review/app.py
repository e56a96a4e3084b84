"""The review page as a server: its addresses, and how it starts.

    with open_review("feedback.jsonl", decisions=store) as review:
        serve(make_app(Desk(review, store), Access.make("127.0.0.1", 8377, None), Person("ana")), access)

Pages are read by GET; what changes something is a POST of JSON, which ``review.security`` lets through only from the
page itself. No part of an address reaches the file system: files are read once, at the start, from a table of names.
Owns addresses and answers; what stands on a page is owned by ``review.pages``, what a decision does by
``review.deciding``.
"""

import hashlib
import socket
import threading
from collections.abc import Callable
from dataclasses import replace
from importlib.resources import files
from typing import Annotated, Any, TypeVar
from urllib.parse import parse_qsl, quote, unquote

import msgspec
from fastapi import Depends, FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, RedirectResponse, Response

from notus.core.errors import InputError, NotusError, RunError
from notus.core.parallel import terminable
from notus.decisions.figures import figures
from notus.report.audits.decided import decided_sections
from notus.report.section import ReportSection
from notus.review.deciding import Asked, Bulk, Changed, Desk, check_name
from notus.review.filter import Filter
from notus.review.pages import Pages, Person, queue_of
from notus.review.security import Access, Guard

__all__ = ["STATIC", "Site", "make_app", "serve"]

STATIC = {
    "review.css": "text/css; charset=utf-8",
    "review.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
"""All files that are served, with their types."""
_OWN = ("queue", "start", "part")
"""Parameters of addresses that are no filter."""
_MOST_START = 10_000_000
_T = TypeVar("_T")


async def _body(request: Request) -> bytes:
    return await request.body()


_Body = Annotated[bytes, Depends(_body)]


class _Who(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    who: str


class _OnAll(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    filter: str
    asked: Bulk


class Site:
    """Everything that is answered, as one function an address."""

    def __init__(self, desk: Desk, access: Access, person: Person) -> None:
        self.desk = desk
        self.access = access
        self.person = person
        folder = files("notus.review") / "static"
        self._files = {name: (folder / name).read_bytes() for name in STATIC}
        marks = {name: hashlib.sha256(data).hexdigest()[:12] for name, data in self._files.items()}
        addresses = {
            name.partition(".")[0]: f"/static/{name}?v={mark}" for name, mark in marks.items() if name != "review.js"
        }
        state = {"csrf": access.csrf, "css": addresses["review"], "icon": addresses["icon"]}
        state["js"] = f"/static/review.js?v={marks['review.js']}"
        self._shown: tuple[int, list[ReportSection]] = (0, [])
        self.pages = Pages(desk.review, state)

    def who(self, request: Request) -> Person:
        """Who asks: the name that was entered in this browser, or the one that the command was given."""
        held = unquote(request.cookies.get(self._cookie, ""))
        try:
            return replace(self.person, name=check_name(held)) if held else self.person
        except InputError:
            return self.person

    def listing(self, request: Request) -> Response:
        """The list."""
        wanted, given = _parsed(request)
        self.desk.review.refresh()
        start = given.get("start", "0")
        place = int(start) if start.isascii() and start.isdigit() and len(start) < 9 else 0
        return _page(self.pages.listing(wanted, min(place, _MOST_START), self.who(request)))

    def record(self, key: str, request: Request) -> Response:
        """A record."""
        wanted, given = _parsed(request)
        self.desk.review.refresh()
        part = given.get("part") == "1"
        queue = queue_of(wanted, given.get("queue"))
        return _page(self.pages.record(key, wanted, queue, self.who(request), part=part))

    def near(self, key: str, request: Request) -> Response:
        """Records like one."""
        wanted, given = _parsed(request)
        return _page(self.pages.near(key, wanted, queue_of(wanted, given.get("queue")), self.who(request)))

    def first(self, request: Request) -> Response:
        """The first record of a queue."""
        wanted, given = _parsed(request)
        self.desk.review.refresh()
        to = self.pages.first(wanted, queue_of(wanted, given.get("queue")))
        if not to:
            return _page(self.pages.problem(200, "Nothing is left in this queue.", self.who(request)))
        return RedirectResponse(to, 303, headers=_FRESH)

    def preview(self, request: Request) -> Response:
        """What a decision on all results would be on."""
        wanted, _ = _parsed(request)
        self.desk.review.refresh()
        return _page(self.pages.preview(wanted, self.who(request)))

    def people(self, request: Request) -> Response:
        """Who decided what, and where they differ."""
        self.desk.review.refresh()
        return _page(self.pages.people(self.who(request), self._figures()))

    def decide(self, request: Request, body: _Body) -> Response:
        """Decide on one record."""
        wanted, _ = _parsed(request)
        return self._changed(self.desk.decide(self.who(request).name, _decoded(body, Asked)), wanted)

    def decide_all(self, request: Request, body: _Body) -> Response:
        """Decide on all results of a filter."""
        asked = _decoded(body, _OnAll)
        wanted = Filter.parse(parse_qsl(asked.filter, keep_blank_values=True), also=_OWN)
        return self._changed(self.desk.decide_all(self.who(request).name, wanted, asked.asked), wanted)

    def undo(self, request: Request) -> Response:
        """Take back the last decision."""
        wanted, _ = _parsed(request)
        return self._changed(self.desk.undo(self.who(request).name), wanted)

    def redo(self, request: Request) -> Response:
        """Take back the last undo."""
        wanted, _ = _parsed(request)
        return self._changed(self.desk.redo(self.who(request).name), wanted)

    def enter(self, body: _Body) -> Response:
        """Take another person's name for this browser."""
        name = check_name(_decoded(body, _Who).who)
        answer = JSONResponse({"said": f"You decide as {name}", "who": name})
        answer.set_cookie(self._cookie, quote(name, safe=""), httponly=True, samesite="strict", max_age=90 * 86_400)
        return answer

    def file(self, name: str) -> Response:
        """A file of the table, or nothing."""
        if name not in self._files:
            return Response("There is no such page.\n", 404, media_type="text/plain")
        cache = {"cache-control": "public, max-age=31536000, immutable"}
        return Response(self._files[name], headers=cache, media_type=STATIC[name])

    def failed(self, request: Request, error: Exception) -> Response:
        """A line that says what is wrong, as the page's script or its reader can take it."""
        status = 404 if str(error).startswith("there is no record") else 400
        if request.method == "POST":
            return JSONResponse({"error": str(error)}, status, headers=_FRESH)
        return HTMLResponse(self.pages.problem(status, str(error), self.who(request)), status, headers=_FRESH)

    def _figures(self) -> list[ReportSection]:
        """What the decisions show, worked out anew when there are more of them."""
        last = self.desk.store.last
        if last != self._shown[0]:
            self._shown = last, decided_sections(figures(self.desk.store.rulings()))
        return self._shown[1]

    @property
    def _cookie(self) -> str:
        return f"notus-review-who-{self.access.port}"

    def _changed(self, done: Changed, wanted: Filter) -> Response:
        progress = self.desk.review.progress(wanted)
        told = {
            "said": done.said,
            "target": done.target,
            "count": len(done.rulings),
            "last": done.rulings[-1].number if done.rulings else 0,
            "decided": progress.decided,
            "of": progress.of,
        }
        return JSONResponse(told, headers=_FRESH)


def make_app(desk: Desk, access: Access, person: Person) -> Guard:
    """The application behind its checks."""
    site = Site(desk, access, person)
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    get: dict[str, Callable[..., Response]] = {
        "/": site.listing,
        "/record/{key}": site.record,
        "/near/{key}": site.near,
        "/bulk": site.preview,
        "/first": site.first,
        "/people": site.people,
        "/static/{name}": site.file,
    }
    post: dict[str, Callable[..., Response]] = {
        "/decide": site.decide,
        "/bulk": site.decide_all,
        "/undo": site.undo,
        "/redo": site.redo,
        "/who": site.enter,
    }
    for path, answer in get.items():
        app.add_api_route(path, answer, methods=["GET"], response_model=None)
    for path, answer in post.items():
        app.add_api_route(path, answer, methods=["POST"], response_model=None)
    app.add_exception_handler(NotusError, site.failed)
    return Guard(app, access)


def serve(app: Guard, access: Access, *, ready: Callable[[], Any] = lambda: None) -> None:
    """Serve until Ctrl-C or SIGTERM; ``ready`` is called when the page can be opened.

    Raises:
        RunError: if the address can't be listened on.
    """
    import uvicorn

    try:
        family = socket.AF_INET6 if ":" in access.host else socket.AF_INET
        listening = socket.create_server((access.host.strip("[]"), access.port), family=family)
    except OSError as error:
        where = f"{access.host}:{access.port}"
        raise RunError(f"cannot listen on {where}: {error.strerror}; give another --port or --host") from None
    settings = uvicorn.Config(
        app,
        log_level="warning",
        access_log=False,
        server_header=False,
        proxy_headers=False,
        ws="none",
        timeout_graceful_shutdown=2,
    )
    server = uvicorn.Server(settings)
    ended = threading.Event()

    def tell() -> None:
        while not server.started and not ended.wait(0.02):
            pass
        if server.started:
            ready()

    threading.Thread(target=tell, daemon=True).start()
    try:
        with terminable():
            server.run(sockets=[listening])
    except KeyboardInterrupt:  # the way to end it; uvicorn has answered what was under way
        pass
    finally:
        ended.set()


_FRESH = {"cache-control": "no-store"}


def _page(html: str) -> Response:
    return HTMLResponse(html, headers=_FRESH)


def _parsed(request: Request) -> tuple[Filter, dict[str, str]]:
    """The filter of an address, and its own parameters."""
    given = parse_qsl(request.url.query, keep_blank_values=True)
    return Filter.parse(given, also=_OWN), {key: value for key, value in given if key in _OWN}


def _decoded(body: bytes, kind: type[_T]) -> _T:
    try:
        return msgspec.json.decode(body, type=kind)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InputError(f"what the page sent cannot be read: {error}") from None
