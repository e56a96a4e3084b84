"""The command that serves the review page."""

import getpass
import socket
import webbrowser
from typing import Annotated

import typer

from notus.core.errors import require

__all__ = ["review"]

_PORT = 8377


def review(
    given: Annotated[str, typer.Argument(metavar="SOURCE_OR_RUN", help="A file, a folder, a hub id, or a run.")],
    decisions: Annotated[
        str, typer.Option(help="Store of decisions: a file, which is made where it is missing, or a database's URL.")
    ] = "decisions.sqlite",
    who: Annotated[str | None, typer.Option(help="Your name, kept with each decision; the login's by default.")] = None,
    blind: Annotated[
        bool, typer.Option("--blind", help="Hide what others decided on a record until you have decided.")
    ] = False,
    feedback: Annotated[
        str | None, typer.Option(help="The feedback that pairs came from, where the run does not name it.")
    ] = None,
    audit: Annotated[str | None, typer.Option(help="An audit's run of this source: suspicion and reasons.")] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen on; beyond loopback a token is asked for.")
    ] = "127.0.0.1",
    port: Annotated[int | None, typer.Option(min=1, max=65535, help="By default 8377, or one that is free.")] = None,
    token: Annotated[
        str | None, typer.Option(help="The token to ask for; beyond loopback one is made where none is given.")
    ] = None,
    no_browser: Annotated[bool, typer.Option("--no-browser", help="Open no browser.")] = False,
) -> None:
    """Look at records and decide: sort, filter by pictures, keep, drop, swap, score, edit, each by one key."""
    for library in ("fastapi", "uvicorn", "duckdb", "markdown_it"):
        require(library, extra="review")
    from notus.decisions.store import open_store
    from notus.review.app import make_app, serve
    from notus.review.deciding import Desk, check_name
    from notus.review.open import open_review
    from notus.review.pages import Person
    from notus.review.security import Access

    person = Person(check_name(who or getpass.getuser()), blind)
    access = Access.make(host, port or _free_port(host), token)
    with (
        open_store(decisions, create=True) as store,
        open_review(given, feedback=feedback, audit=audit, decisions=store) as opened,
    ):

        def tell() -> None:
            print(f"{access.link}\nDecisions go to {decisions} as they are made. Ctrl-C ends it.", flush=True)
            if not no_browser:
                webbrowser.open(access.link)

        serve(make_app(Desk(opened, store), access, person), access, ready=tell)
        print(f"\n{sum(1 for _ in store.rulings()):,} decisions are in {decisions}")


def _free_port(host: str) -> int:
    """The usual port, or any other where that is taken."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    for wanted in (_PORT, 0):
        with socket.socket(family) as probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            try:
                probe.bind((host.strip("[]"), wanted))
            except OSError:
                continue
            return int(probe.getsockname()[1])
    return _PORT
