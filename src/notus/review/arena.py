"""The arena as a page: two answers side by side without names, a vote by one key, the next one there.

Every request goes through ``review.security`` as for the review page. A vote is on the disk before the next match is
shown; which run an answer is from is in no page but that of the standings. Owns addresses and what stands on the page;
matches, votes and figures are owned by ``evaluate.arena``.
"""

import hashlib
from importlib.resources import files
from threading import Lock
from typing import Annotated, Any

import jinja2
import msgspec
from fastapi import Depends, FastAPI, Request
from fastapi.responses import HTMLResponse, JSONResponse, Response

from notus.core.errors import InputError, NotusError
from notus.core.text import visible
from notus.evaluate.arena import CHOICES, Arena, Ballots, Choice, Match, done_by, standings
from notus.report.evaluations.arena import arena_sentences
from notus.review.security import Access, Guard
from notus.review.text import rendered

__all__ = ["ArenaSite", "make_arena_app"]

_STATIC = {
    "review.css": "text/css; charset=utf-8",
    "arena.css": "text/css; charset=utf-8",
    "arena.js": "text/javascript; charset=utf-8",
    "icon.svg": "image/svg+xml",
}
_FRESH = {"cache-control": "no-store"}


async def _body(request: Request) -> bytes:
    return await request.body()


_Body = Annotated[bytes, Depends(_body)]


class _Asked(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    match: str
    vote: Choice


class ArenaSite:
    """Everything that is answered, as one function an address."""

    def __init__(self, arena: Arena, ballots: Ballots, access: Access, who: str) -> None:
        self._arena, self._ballots, self._access, self._who = arena, ballots, access, who
        self._done = done_by(who, ballots.votes)
        self._skipped: list[str] = []
        self._lock = Lock()
        folder = files("notus.review") / "static"
        self._files = {name: (folder / name).read_bytes() for name in _STATIC}
        marks = {name: hashlib.sha256(data).hexdigest()[:12] for name, data in self._files.items()}
        self._site = {"csrf": access.csrf} | {
            name.replace(".", "_"): f"/static/{name}?v={mark}" for name, mark in marks.items()
        }
        self._environment = jinja2.Environment(
            loader=jinja2.PackageLoader("notus.review", "templates"),
            autoescape=True,
            undefined=jinja2.StrictUndefined,
            trim_blocks=True,
            lstrip_blocks=True,
            finalize=lambda value: visible(value, "[U+{:04X}]") if type(value) is str else value,
        )
        self._environment.filters["markdown"] = rendered

    def first(self) -> Response:
        """The next match, or that all are done."""
        with self._lock:
            match, done = self._next(), len(self._done)
            skipped = len(set(self._skipped) - set(self._done))
        return self._page("arena.html.j2", match=match, done=done, of=len(self._arena), skipped=skipped)

    def standings(self) -> Response:
        """Who wins so far, with the names of the runs."""
        found = standings(self._arena, self._ballots.votes)
        said = arena_sentences(self._arena, found)
        counts = {"a": found.a, "b": found.b, "tie": found.ties, "both bad": found.both_bad}
        runs = {"a": self._arena.a, "b": self._arena.b}
        return self._page("arena_standings.html.j2", said=said, counts=counts, runs=runs)

    def vote(self, body: _Body) -> Response:
        """Take a vote; ``undo`` takes the last one back, whichever match it was on."""
        asked = _decoded(body)
        with self._lock:
            if asked.vote == "undo":
                if not self._done:
                    raise InputError("there is no vote of yours to take back")
                self._ballots.cast(self._arena.match(self._done[-1]), "undo", self._who)
                self._done.pop()
            else:
                match = self._arena.match(asked.match)
                if match.id in self._done:
                    raise InputError("you have voted on this match; take it back with u, or go on")
                self._ballots.cast(match, asked.vote, self._who)
                self._done.append(match.id)
            told = {"done": len(self._done), "of": len(self._arena)}
        return JSONResponse(told, headers=_FRESH)

    def skip(self, body: _Body) -> Response:
        """Put a match behind all others."""
        match = self._arena.match(_decoded(body).match)
        with self._lock:
            self._skipped = [each for each in self._skipped if each != match.id] + [match.id]
        return JSONResponse({"skipped": len(self._skipped)}, headers=_FRESH)

    def file(self, name: str) -> Response:
        """A file of the table, or nothing."""
        if name not in self._files:
            return Response("There is no such page.\n", 404, media_type="text/plain")
        cache = {"cache-control": "public, max-age=31536000, immutable"}
        return Response(self._files[name], headers=cache, media_type=_STATIC[name])

    def failed(self, request: Request, error: Exception) -> Response:
        """A line that says what is wrong."""
        del request
        return JSONResponse({"error": str(error)}, 400, headers=_FRESH)

    def _next(self) -> Match | None:
        done = set(self._done)
        left = [each for each in self._arena.matches if each.id not in done]
        late = {id_: place for place, id_ in enumerate(self._skipped, 1)}
        return min(left, key=lambda each: late.get(each.id, 0), default=None)

    def _page(self, name: str, **values: Any) -> Response:
        page = self._environment.get_template(name).render(site=self._site, who=self._who, **values)
        return HTMLResponse(page, headers=_FRESH)


def make_arena_app(arena: Arena, ballots: Ballots, access: Access, who: str) -> Guard:
    """The application behind its checks."""
    site = ArenaSite(arena, ballots, access, who)
    app = FastAPI(openapi_url=None, docs_url=None, redoc_url=None, redirect_slashes=False)
    app.add_api_route("/", site.first, methods=["GET"], response_model=None)
    app.add_api_route("/standings", site.standings, methods=["GET"], response_model=None)
    app.add_api_route("/static/{name}", site.file, methods=["GET"], response_model=None)
    app.add_api_route("/vote", site.vote, methods=["POST"], response_model=None)
    app.add_api_route("/skip", site.skip, methods=["POST"], response_model=None)
    app.add_exception_handler(NotusError, site.failed)
    return Guard(app, access)


def _decoded(body: bytes) -> _Asked:
    try:
        return msgspec.json.decode(body, type=_Asked)
    except (msgspec.DecodeError, UnicodeDecodeError) as error:
        raise InputError(f"what the page sent cannot be read: {error}; a vote is one of {', '.join(CHOICES)}") from None
