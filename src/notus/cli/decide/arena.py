"""The command that sets the answers of two runs side by side: votes by one key, or from a file; win rate, pairs."""

import getpass
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from notus.cli.options import AsJson

if TYPE_CHECKING:  # imported when it is called, so that the help is quick
    from notus.core.records import Messages
    from notus.evaluate.arena import Arena, Ballots, Choice, Match, Vote

__all__ = ["arena", "vote_by_keys"]

_KEYS: "dict[str, Choice]" = {"1": "left", "2": "right", "3": "tie", "0": "both-bad"}
_HELP = "1 the first  2 the second  3 a tie  0 both are bad  s skip  u undo  q end"


def arena(
    run_a: Annotated[Path, typer.Argument(metavar="RUN_A", help="A run of notus generate, or its outputs.parquet.")],
    run_b: Annotated[Path, typer.Argument(metavar="RUN_B", help="Another one, on the same prompts.")],
    out: Annotated[
        Path | None, typer.Option("--out", help="Folder of the votes: one that is there is gone on with.")
    ] = None,
    votes: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Votes as JSON lines; they are counted, and nobody is asked.")
    ] = None,
    who: Annotated[str | None, typer.Option(help="Your name, kept with each vote; the login's by default.")] = None,
    seed: Annotated[int, typer.Option(min=0, help="Decides the sides and the order.")] = 0,
    limit: Annotated[int | None, typer.Option(min=1, help="Only so many matches, a random part.")] = None,
    pairs: Annotated[
        Path | None, typer.Option(metavar="FILE", help="Write the votes as preference pairs: a new Parquet file.")
    ] = None,
    page: Annotated[
        bool, typer.Option("--page", help="Vote on a page in the browser, and not in the terminal.")
    ] = False,
    port: Annotated[
        int | None, typer.Option(min=1, max=65535, help="Of the page; by default one that is free.")
    ] = None,
    as_json: AsJson = False,
) -> None:
    """Set the answers of two runs side by side without names, and vote; tell who wins, with an interval."""
    from notus.core.errors import ConfigError
    from notus.evaluate.arena import VOTES, Ballots, make_arena, read_votes

    if out is None and votes is None:
        raise ConfigError(
            "votes need a place; name a folder (--out), or a file of votes that are to be counted (--votes)"
        )
    made = make_arena(run_a, run_b, seed=seed, limit=limit)
    given = [] if votes is None else read_votes(votes)
    if out is not None:
        _open_folder(out, made)
        with Ballots(out / VOTES) as ballots:
            if votes is not None and votes.resolve() != ballots.path.resolve():
                _bring(ballots, given)
            elif page:
                _serve(made, ballots, who or getpass.getuser(), port)
            elif votes is None and sys.stdin.isatty() and not as_json:
                vote_by_keys(made, ballots, who or getpass.getuser())
            given = ballots.votes
    _tell(made, given, out, pairs, as_json=as_json)


def _open_folder(out: Path, made: "Arena") -> None:
    """Write what the arena is, or go on with it where it is the same.

    Raises:
        InputError: if the folder holds another arena.
    """
    from notus.core.errors import InputError
    from notus.core.run import atomic, read_json, write_json
    from notus.evaluate.arena import SHEET

    head = {"a": made.a, "b": made.b, "seed": made.seed, "matches": len(made)}
    place = out / "arena.json"
    if place.is_file():
        before = read_json(place)
        if (before["a"], before["b"], before["seed"]) != (made.a, made.b, made.seed):
            raise InputError(
                f"{out} holds the arena of {before['a']} and {before['b']} with seed {before['seed']}; name these, or "
                "another --out"
            )
    elif out.is_dir() and any(out.iterdir()):
        raise InputError(f"{out} is not empty, and holds no arena; choose another --out")
    out.mkdir(parents=True, exist_ok=True)
    write_json(place, head)
    with atomic(out / SHEET, "wb") as file:
        import msgspec

        for each in made.matches:
            file.write(msgspec.json.encode(each) + b"\n")


def _serve(made: "Arena", ballots: "Ballots", who: str, port: int | None) -> None:
    """Serve the page on this machine until Ctrl-C."""
    import socket

    from notus.core.errors import require

    for library in ("fastapi", "uvicorn", "markdown_it"):
        require(library, extra="review")
    from notus.review.app import serve
    from notus.review.arena import make_arena_app
    from notus.review.security import Access

    if port is None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            port = int(probe.getsockname()[1])
    access = Access.make("127.0.0.1", port, None)

    def tell() -> None:
        print(f"{access.link}\nVotes go to {ballots.path} as they are given. Ctrl-C ends it.", flush=True)

    serve(make_arena_app(made, ballots, access, who), access, ready=tell)


def _bring(ballots: "Ballots", given: "list[Vote]") -> None:
    """Add the votes that are not there yet."""
    known = set(ballots.votes)
    ballots.add([each for each in given if each not in known])


def _tell(made: "Arena", given: "list[Vote]", out: Path | None, pairs: Path | None, *, as_json: bool) -> None:
    from notus.cli import terminal
    from notus.evaluate.arena import SHEET, VOTES, standings
    from notus.report.evaluations.arena import arena_sections

    found = standings(made, given)
    written = None if pairs is None else _write_pairs(made, given, pairs)
    if as_json:
        terminal.print_json({"run_a": made.a, "run_b": made.b, **found.as_json(), "pairs": written})
        return
    terminal.show_findings(arena_sections(made, found), as_json=False)
    if pairs is not None:
        print(f"Written: {pairs} ({written:,} pairs)\nNext: notus train dpo {pairs} --start MODEL")
    if out is not None:
        print(f"Votes: {out / VOTES}; the same command goes on")
        if not sys.stdin.isatty():
            print(
                f"There is no terminal to vote in. {out / SHEET} holds the matches as they are shown; votes are lines "
                'such as {"match": ID, "vote": "left", "who": NAME}, with left, right, tie or both-bad, and are '
                "brought in by --votes FILE"
            )


def _write_pairs(made: "Arena", given: "list[Vote]", place: Path) -> int:
    """Write the matches that most votes decide as pairs; their number.

    Raises:
        InputError: if the file is there already, or is to be another kind of file.
        DataError: if no vote decides a match.
    """
    from notus.core.errors import DataError, InputError
    from notus.core.records import Preference
    from notus.core.stage import Tally, apply
    from notus.core.tables import write_records
    from notus.evaluate.arena import feedback_of
    from notus.preferences.binarize import binarize
    from notus.preferences.selection import Selection

    if place.exists():
        raise InputError(f"{place} is there already; choose another file for --pairs")
    if place.suffix != ".parquet":
        raise InputError(f"{place}: pairs are written as Parquet; name a file that ends in .parquet")
    tally = Tally("binarize")
    made_of = list(apply(binarize(Selection(strategy="votes"), made.seed), feedback_of(made, given), tally))
    if not made_of:
        raise DataError("no vote prefers one answer, so that there is no pair; vote first (notus arena … --out DIR)")
    if tally.dropped:
        print(f"{len(tally.dropped):,} matches give no pair: ties, both bad, or as many votes for the one as the other")
    return write_records(place, made_of, Preference)


def vote_by_keys(made: "Arena", ballots: "Ballots", who: str, key: "Callable[[], str] | None" = None) -> None:
    """Show one match after another that this person has not voted on, until all are done or ``q``.

    Args:
        made: the matches.
        ballots: take the votes.
        who: votes.
        key: gives the next key; by default of the terminal.
    """
    if key is None:
        with _keys() as key_of:
            vote_by_keys(made, ballots, who, key_of)
        return
    from notus.evaluate.arena import done_by

    done = done_by(who, ballots.votes)
    skipped: set[str] = set()
    while (
        match := next((each for each in made.matches if each.id not in done and each.id not in skipped), None)
    ) is not None:
        _show(match, len(done), len(made))
        pressed = key()
        if pressed in _KEYS:
            ballots.cast(match, _KEYS[pressed], who)
            done.append(match.id)
        elif pressed == "s":
            skipped.add(match.id)
        elif pressed == "u" and done:
            ballots.cast(made.match(done.pop()), "undo", who)
        elif pressed in ("q", "\x03", "\x04", ""):
            return


def _show(match: "Match", done: int, of: int) -> None:
    from notus.cli.terminal import OUT

    OUT.rule(f"{done:,} of {of:,}")
    OUT.print(_prompt(match.prompt), markup=False, style="bold")
    for number, text in ((1, match.left), (2, match.right)):
        OUT.rule(f"{number}", align="left", style="dim")
        OUT.print(text or "(empty)", markup=False)
    OUT.print(f"\n{_HELP}", markup=False, style="dim")


def _prompt(prompt: "Messages") -> str:
    if len(prompt) == 1:
        return prompt[0].content
    return "\n".join(f"{turn.role}: {turn.content}" for turn in prompt)


def _key_of_a_line() -> str:
    return input()[:1].lower()


@contextmanager
def _keys() -> Iterator[Callable[[], str]]:
    """Keys of the terminal, one at a time, without Enter; by lines where the system knows no such terminal."""
    try:
        import termios
        import tty
    except ImportError:  # Windows
        yield _key_of_a_line
        return
    before = termios.tcgetattr(sys.stdin)
    try:
        tty.setcbreak(sys.stdin)
        yield lambda: sys.stdin.read(1).lower()
    finally:
        termios.tcsetattr(sys.stdin, termios.TCSADRAIN, before)
