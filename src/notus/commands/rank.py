"""``notus rank``: score answers by a ranker."""

from typing import Annotated

import typer

from notus.commands.options import AsJson, Layout, Limit, Out, Strict

__all__ = ["rank"]


def rank(
    ranker: Annotated[
        str,
        typer.Argument(
            help="length, pairrm:MODEL, reward-model:MODEL, implicit:POLICY@REFERENCE, judge:NAME, "
            "python:module:function or python:file.py:function."
        ),
    ],
    outputs: Annotated[str, typer.Argument(help="Answers: a run that has drawn some, or any source of feedback.")],
    sets: Annotated[
        list[str] | None, typer.Option("--set", help="A setting: ranking.selection=bubble, endpoints='[…]'.")
    ] = None,
    out: Out = None,
    layout: Layout = None,
    limit: Limit = None,
    strict: Strict = False,
    as_json: AsJson = False,
) -> None:
    """Score the answers to each prompt: PairRM, a reward model, a judge, a policy's own reward, a function, length."""
    from notus import terminal
    from notus.core.config import parse_override, set_path
    from notus.flow.experiment import run_step
    from notus.flow.rankkinds import Rank

    settings = {"ranker": ranker, "outputs": outputs, "layout": layout, "limit": limit, "strict": strict}
    for text in sets or ():
        settings = set_path(settings, *parse_override(text, example="ranking.selection=bubble"))
    terminal.show_step(run_step("rank", Rank.parse(settings, where="notus rank"), out), as_json=as_json)
