"""What is shown of who rated and voted: agreement, each rater, two raters side by side, what votes prefer.

Owns how it is put. The figures are those of ``audit.raters`` and ``audit.votes``.
"""

from notus.audit.pairs import ModelBias
from notus.audit.raters import Group, Pairing, Rater, Raters
from notus.audit.votes import Question, VoteAudit
from notus.core.text import counted
from notus.report.section import ReportSection, estimate_cell, share_cell
from notus.report.table import Cell, Table

__all__ = ["model_table", "rater_sections", "vote_sections"]

_SHOWN = 12
"""Raters of a group that are shown; the table ``raters`` has all."""


def rater_sections(raters: Raters) -> list[ReportSection]:
    """How raters agree, what each of them does, and what changes without it."""
    if not raters.groups:
        return []
    sections = [ReportSection("Agreement of raters", _lead(raters), _agreement(raters.groups))]
    for group in raters.groups:
        if group.raters and (len(group.raters) > 1 or group.shared):
            sections.append(_each(group))
        if any(each.agreement.n for each in group.pairings):
            sections.append(ReportSection(f"Two raters: {_name(group)}", table=_pairings(group.pairings)))
    return sections


def vote_sections(votes: VoteAudit) -> list[ReportSection]:
    """What decides in votes and ranked lists beside the answers."""
    if not votes.questions:
        return []
    rows: list[tuple[Cell, ...]] = [
        (
            each.name or "(one question)",
            each.rankings,
            each.prompts,
            each.votes,
            share_cell(each.ties),
            share_cell(each.first),
            share_cell(each.longer),
            share_cell(each.against),
        )
        for each in votes.questions
    ]
    preferred = ("First is preferred", "Longer is preferred", "Against ratings")
    columns = ("Question", "Rankings", "Prompts", "Votes", "Ties", *preferred)
    note = (
        "A list of many answers is a vote on each two of them. Shares of votes that are no ties; against ratings: for "
    )
    note += "the answer with the lower mean rating. 95 % intervals with prompts as clusters."
    sections = [ReportSection("Votes", table=Table(columns, tuple(rows), note))]
    return sections + [_models(each) for each in votes.questions if each.models]


def model_table(models: tuple[ModelBias, ...]) -> Table:
    """Who is chosen over whom, by the name of the model."""
    ties = any(model.tied for model in models)
    rows: list[tuple[Cell, ...]] = [
        (
            model.name,
            model.chosen,
            model.rejected,
            *((model.tied,) if ties else ()),
            estimate_cell(model.share, digits=2),
            estimate_cell(model.score, digits=2),
        )
        for model in models
    ]
    note = "Pairs of two different models only. Strength: Bradley–Terry, relative to the mean of the models. 95 % "
    note += "intervals with prompts as clusters; without one, a model has only won or only lost."
    tied = ("Tied",) if ties else ()
    return Table(("Model", "Chosen", "Rejected", *tied, "Share chosen", "Strength"), tuple(rows), note)


def _models(question: Question) -> ReportSection:
    on = f" on '{question.name}'" if question.name else ""
    return ReportSection(f"Models by votes{on}", table=model_table(question.models))


def _name(group: Group) -> str:
    if group.what == "votes":
        return f"votes on '{group.of}'" if group.of else "votes"
    return group.of + (f", {group.scale.low:g} to {group.scale.high:g}" if group.scale else "")


def _lead(raters: Raters) -> tuple[str, ...]:
    said = []
    for group in raters.groups:
        named = counted(len(group.raters), "rater")
        if not group.shared:
            said.append(f"{_name(group)}: {named}, and nothing was rated by two of them: agreement cannot be told.")
        elif group.main is None:
            what = "pairs of answers" if group.what == "votes" else "answers"
            said.append(f"{_name(group)}: {group.shared:,} {what} have several ratings, too few or too alike for an α.")
    return tuple(said)


def _agreement(groups: tuple[Group, ...]) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (
            _name(group),
            len(group.raters) or None,
            group.n,
            group.items,
            group.shared,
            estimate_cell(group.alpha.get("ordinal") or group.alpha.get("nominal"), digits=2),
            estimate_cell(group.alpha.get("interval"), digits=2),
            estimate_cell(group.fleiss, digits=2),
            share_cell(group.agreed),
        )
        for group in groups
    ]
    columns = ("Of", "Raters", "Ratings", "Answers", "With several", "α", "α of distances", "Fleiss' κ", "Votes agree")
    note = "α: Krippendorff's, of grades by their order, of votes as labels; beside it by the distances of grades. "
    note += "Answers: of votes, pairs of answers. Raters: those with a name. 95 % intervals with prompts as clusters."
    kept = [index for index in range(len(columns)) if any(row[index] is not None for row in rows)]
    return Table(
        tuple(columns[index] for index in kept), tuple(tuple(row[index] for index in kept) for row in rows), note
    )


def _each(group: Group) -> ReportSection:
    shown, votes = group.raters[:_SHOWN], group.what == "votes"
    what = ("First is preferred", "Agrees") if votes else ("Mean", "Bias", "Spread")
    rows = tuple(
        (rater.name, rater.n, rater.shared, *_figures(rater, votes=votes), *_without(rater)) for rater in shown
    )
    note = (
        "First is preferred: share of its votes, a tie as half of one. Agrees: share of the others' votes on the same "
        "answers that say the same."
        if votes
        else "Bias: mean difference from the others on the same answers. Spread: standard deviation of its ratings."
    )
    of = "pairs of answers whose majority" if votes else "prompts whose best answer"
    note += f" Without it: α of the others, and {of} is another one. 95 % intervals with prompts as clusters."
    if len(group.raters) > len(shown):
        note += f" {len(group.raters) - len(shown):,} further raters stand in the table of the run."
    columns = ("Rater", "Votes" if votes else "Ratings", "With others", *what, "α without it", "Changes without it")
    return ReportSection(f"Raters: {_name(group)}", table=Table(columns, rows, note))


def _figures(rater: Rater, *, votes: bool) -> tuple[Cell, ...]:
    mean = estimate_cell(rater.mean, digits=2)
    if votes:
        return mean, share_cell(rater.agrees)
    return mean, estimate_cell(rater.bias, sign=True, digits=2), estimate_cell(rater.spread, digits=2)


def _without(rater: Rater) -> tuple[Cell, ...]:
    changed = f"{rater.changed.count:,} of {rater.changed.of:,}" if rater.changed else None
    return estimate_cell(rater.alpha_without, digits=2), changed


def _pairings(pairings: tuple[Pairing, ...]) -> Table:
    rows: list[tuple[Cell, ...]] = [
        (
            f"{each.a} and {each.b}",
            each.agreement.n,
            share_cell(each.agreement.raw),
            estimate_cell(each.agreement.kappa, digits=2),
        )
        for each in pairings
        if each.agreement.n
    ]
    note = "Same: share of what both rated that has the same grade or vote from both. κ: Cohen's, of grades as labels."
    return Table(("Raters", "Both rated", "Same", "κ"), tuple(rows), note)
