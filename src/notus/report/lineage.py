"""What is known of one record: the source row, what touched it, and why its pairs are as they are.

Owns the words, and the fields in which a program reads the same. What is found is owned by ``provenance.lineage``.
"""

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

from msgspec import to_builtins

from notus.core.disk.withdrawn import Withdrawn
from notus.core.records import Completion, Dialogue, Feedback, Message, Ranking, Scale, Unpaired
from notus.core.text import counted
from notus.preferences.selection import Selection
from notus.preferences.take.outvoted import OUTVOTED
from notus.preferences.take.plan import TAKEN
from notus.preferences.votes import Votes, majority
from notus.provenance.forget import Forgotten, TouchedRun
from notus.provenance.lineage import Decided, Explanation, Link, PairStory
from notus.report.section import ReportSection
from notus.report.table import Table

__all__ = ["forgotten_sections", "lineage_fields", "lineage_sections", "taken_back_section"]

_HOW = {
    "random-lower": "one drawn among those with a strictly lower score",
    "worst": "the lowest score, the first of equal ones",
    "all-lower": "each with a strictly lower score",
    "all-pairs": "every two answers with different scores",
    "mean-2sd": "the score nearest the mean less two standard deviations",
    "random-other": "one drawn among all others, ties allowed",
    "h4-legacy": "the position that the published draw gives in every row",
}


def lineage_sections(explanation: Explanation) -> list[ReportSection]:
    """All that is known of an id: the way it took, what touched it, its pairs, and last the row with all its texts."""
    sections = [
        ReportSection(f"{explanation.kind.capitalize()} {explanation.id}", tuple(map(_link, explanation.links)))
    ]
    touched = tuple(f"{event.stage} in {event.run}: {event.what}" for event in explanation.events)
    untouched = (
        "No rule or drop has touched it; what persons decided stands below."
        if explanation.decided
        else "No rule, decision or drop has touched it."
    )
    sections.append(ReportSection("What touched it", touched or (untouched,)))
    if explanation.decided:
        told = tuple(_decided(each, explanation.id) for each in explanation.decided)
        sections.append(ReportSection("What persons decided", told))
    sections += [_pair_section(story, explanation.id) for story in explanation.pairs]
    sections += [_other_section(place, row, explanation.id) for place, row in explanation.others]
    before: Feedback | None = None
    for place, feedback in explanation.feedback:
        sections += _feedback(place, feedback, before, explanation.id)
        before = feedback
    return sections


def _other_section(place: str, row: Unpaired | Dialogue, asked: str) -> ReportSection:
    """A single row or a dialogue with its texts."""
    kind, turns = "Dialogue", tuple[Message, ...]()
    sentences: list[str] = []
    if isinstance(row, Unpaired):
        kind, turns = "Single row", (*row.prompt, *row.answer)
        sentences.append(f"the answer is {'wanted' if row.desirable else 'unwanted'}, score {_score(row.score)}")
    else:
        turns = row.messages
    sentences += [f"{turn.role}: {turn.content}" for turn in turns]
    sentences += [f"{name}: {value}" for name, value in row.extra.items()]
    return ReportSection(f"{kind} {row.id}, in {place}{_ASKED if row.id == asked else ''}", tuple(sentences))


def _decided(decided: Decided, asked: str) -> str:
    """A decision in one line: number, when, who, what, why, and what became of it."""
    each = decided.ruling
    said: str = each.what
    if each.what == "undo":
        said = f"took back {each.undoes}"
    elif each.field:
        value = "none" if each.value is None else f"{each.value:g}" if isinstance(each.value, float) else each.value
        said = f"{each.what} {each.field}: {value}"
    when = each.when[:16].replace("T", " ")
    on = f"on this {each.of}" if each.target == asked else f"on {each.of} {each.target}"
    parts = [f"{each.number}", *([when] if when else []), f"{each.who}: {said}", on]
    parts += [f"({each.why})"] if each.why else []
    parts += [f"[{', '.join(each.reasons)}]"] if each.reasons else []
    return " ".join(parts) + (f"; {decided.state}" if decided.state else "") + f" ({decided.store})"


def forgotten_sections(found: Forgotten, *, withdrawn: bool) -> list[ReportSection]:
    """What was withdrawn, and the pairs, runs and models that it has touched.

    Args:
        found: what ``provenance.forget`` found.
        withdrawn: whether the ids were written down, or only looked for.
    """
    told = [f"{each.id}: {_KINDS[each.kind]}." for each in found.withdrawn]
    if withdrawn:
        told.append(
            f"{counted(len(found.added), 'id')} written to {found.file}: steps that read data in this folder drop "
            "these rows from now on, under the reason 'withdrawn'."
        )
    else:
        told.append("Nothing was withdrawn: this was a dry run.")
    told += [f"{path} holds {counted(rows, 'row')} of it, and is left as it is." for path, rows in found.sources]
    told += [f"Not looked through: {each}" for each in found.unread]
    pairs = Table(("Pair", "Run", "Table"), tuple((each.id, each.run, each.table) for each in found.pairs))
    columns = ("Run", "Step", "What it did", "Rows", "Again without it")
    return [
        ReportSection("Withdrawn", tuple(told)),
        ReportSection("Models", *_touched(found.models, "No model was trained on it.", columns)),
        ReportSection("Runs", *_touched(found.runs, "No run of this folder has touched it.", columns)),
        ReportSection("Pairs", (), pairs) if found.pairs else ReportSection("Pairs", ("No pair was made of it.",)),
    ]


def taken_back_section(back: Sequence[Withdrawn], file: Path, *, written: bool) -> ReportSection:
    """What is let in again, and what that does.

    Args:
        back: what was withdrawn.
        file: of withdrawn ids.
        written: whether it was written down, or only looked for.
    """
    told = [f"{each.id}: {_KINDS[each.kind]}." for each in back]
    told.append(
        f"{counted(len(back), 'withdrawal')} taken back in {file}: steps that read data in this folder let these rows "
        "in again. Runs that were made without them stay as they are; make again what is to have them."
        if written
        else "Nothing was taken back: this was a dry run."
    )
    return ReportSection("Taken back", tuple(told))


_KINDS = {
    "feedback": "a row of feedback, and all of its answers",
    "completion": "one answer to a prompt",
    "prompt": "a prompt, and all that was made of it",
    "pair": "a pair",
    "row": "a single row",
    "dialogue": "a dialogue",
    "output": "an answer that a model gave",
    "unknown": "nothing in this folder has such an id; it is kept out should it come",
}


def _touched(runs: tuple[TouchedRun, ...], none: str, columns: tuple[str, ...]) -> tuple[tuple[str, ...], Table | None]:
    rows = tuple((each.run, each.stage, each.how, each.rows, each.again or None) for each in runs)
    return ((), Table(columns, rows)) if runs else ((none,), None)


def lineage_fields(explanation: Explanation) -> dict[str, Any]:
    """All that is known of an id, as plain values: ids, numbers, texts, and no sentences."""
    return {
        "id": explanation.id,
        "kind": explanation.kind,
        "links": [
            {
                "path": link.path,
                "stage": link.stage or None,
                "seed": link.config.get("seed"),
                "from": list(link.parents),
                "found": link.found,
            }
            for link in explanation.links
        ],
        "events": [{"run": event.run, "stage": event.stage, "what": event.what} for event in explanation.events],
        "decisions": [
            {"store": each.store, "state": each.state or None, **to_builtins(each.ruling)}
            for each in explanation.decided
        ],
        "pairs": [_pair_fields(story) for story in explanation.pairs],
        "others": [{"place": place, "id": row.id, **to_builtins(row)} for place, row in explanation.others],
        "feedback": [_feedback_fields(place, feedback) for place, feedback in explanation.feedback],
    }


def _pair_fields(story: PairStory) -> dict[str, Any]:
    found = {"run": story.run, "held_out": story.held_out, "id": story.pair.id, **to_builtins(story.pair)}
    choice = story.choice
    if choice is None or story.selection is None:
        return {**found, "made": None}
    one, other = (story.pair.extra.get(f"{side}_index") for side in ("chosen", "rejected"))
    made: dict[str, Any] = {
        "strategy": choice.strategy,
        "selection": story.selection.resolved(),
        "seed": story.seed,
        "scores": list(choice.scores),
        "best": list(choice.best),
        "candidates": list(choice.candidates),
        "taken": [list(pair) for pair in choice.pairs],
        "problem": choice.problem and choice.problem[0],
        "reproduced": story.reproduced,
    }
    if choice.votes is not None and one is not None and other is not None:
        votes = majority(choice.votes.rankings, one, other)
        made["votes"] = {"chosen": votes.won, "rejected": votes.lost, "tied": votes.tied, "strength": votes.strength}
    return {**found, "made": made}


def _feedback_fields(place: str, feedback: Feedback) -> dict[str, Any]:
    """The row with the ids of its prompt and completions, and the mean rating of each, None where it has none."""
    row = to_builtins(feedback)
    for index, (completion, fields) in enumerate(zip(feedback.completions, row["completions"], strict=True)):
        fields |= {"id": feedback.completion_id(index), "mean_rating": completion.mean_rating}
    return {"place": place, "id": feedback.id, "prompt_id": feedback.prompt_id, **row}


def _link(link: Link) -> str:
    if not link.stage:
        return f"source: {link.path}" + ("" if link.found else " (not there any more)")
    seed = link.config.get("seed")
    return f"{link.stage}: {link.path}" + ("" if seed is None else f" (seed {seed})")


def _feedback(place: str, feedback: Feedback, before: Feedback | None, asked: str) -> Iterator[ReportSection]:
    """The row in one of its states; of a later one, the completions that are not as they were ``before``. What was
    asked for is marked."""
    known = {} if before is None else {before.completion_id(i): item for i, item in enumerate(before.completions)}
    sentences = [f"prompt {feedback.prompt_id}, feedback {feedback.id}, source {feedback.source or '(none)'}"]
    sentences += [f"{turn.role}: {turn.content}" for turn in feedback.prompt]
    sentences += [_ranking(each) for each in feedback.rankings]
    further = [f"{name}: {value}" for name, value in feedback.extra.items()]
    as_before = [i for i, item in enumerate(feedback.completions) if known.get(feedback.completion_id(i)) == item]
    if as_before and before is not None:
        sentences = [sentences[0], f"completions {', '.join(map(str, as_before))}: as above"]
        further = further if feedback.extra != before.extra else []
    yield ReportSection(f"{'Row' if before else 'Source row'}, as it stands in {place}", (*sentences, *further))
    for index, completion in enumerate(feedback.completions):
        if index in as_before:
            continue
        own = feedback.completion_id(index)
        heading = f"Completion {index} · {completion.model or '(no model)'} · {own}{_ASKED if own == asked else ''}"
        yield ReportSection(heading, tuple(_completion(completion)))


_ASKED = " · asked for"
"""What stands behind the heading of what was asked for."""


def _completion(completion: Completion) -> Iterator[str]:
    yield f"answer: {completion.text}"
    if completion.principle:
        yield f"principle: {completion.principle}"
    for rating in completion.ratings:
        types = f" (types {', '.join(rating.types)}: {rating.types_rationale})" if rating.types else ""
        value = "N/A" if rating.value is None else f"{rating.value:g}"
        yield f"{rating.aspect} {value}{_by(rating.rater, rating.scale)}: {rating.rationale}{types}"
    if completion.mean_rating is not None:
        yield f"mean rating {completion.mean_rating:.3g}"
    if completion.critique is not None:
        score = "no score" if completion.critique.score is None else f"{completion.critique.score:g}"
        by = _by(completion.critique.rater, completion.critique.scale)
        yield f"overall score {score}{by}: {completion.critique.text}"
    yield from (f"{name}: {value}" for name, value in completion.extra.items())


def _by(rater: str, scale: Scale | None) -> str:
    """Who rated, and on which scale, where it is known."""
    told = [f"by {rater}"] if rater else []
    told += [f"on {scale.low:g} to {scale.high:g}"] if scale else []
    return f" ({', '.join(told)})" if told else ""


def _votes(story: PairStory, votes: Votes) -> Iterator[str]:
    """What the rankings say of the two answers of a pair."""
    sides = (story.pair.extra["chosen_index"], story.pair.extra["rejected_index"])
    found = majority(votes.rankings, *sides)
    asked = f" on '{votes.rankings[0].question}'" if votes.rankings[0].question else ""
    clear = "" if found.strength is None else f"; mean strength {found.strength:+.3g}"
    yield f"votes{asked}: {found.won} for chosen, {found.lost} for rejected, {found.tied} ties{clear}"


def _ranking(ranking: Ranking) -> str:
    ranks = ", ".join("–" if rank is None else str(rank) for rank in ranking.ranks)
    asked = f" on '{ranking.question}'" if ranking.question else ""
    strength = "" if ranking.strength is None else f", strength {ranking.strength:g}"
    return f"ranks {ranks}{asked}{_by(ranking.rater, ranking.scale)}{strength}" + (
        f": {ranking.rationale}" if ranking.rationale else ""
    )


def _pair_section(story: PairStory, asked: str) -> ReportSection:
    pair = story.pair
    part = "held out" if story.held_out else "in the set"
    sentences = [
        *(f"{turn.role}: {turn.content}" for turn in pair.prompt if story.feedback is None),
        f"chosen: {pair.model_chosen or '(no model)'}, score {_score(pair.score_chosen)}",
        *(f"{turn.role}: {turn.content}" for turn in pair.chosen),
        f"rejected: {pair.model_rejected or '(no model)'}, score {_score(pair.score_rejected)}",
        *(f"{turn.role}: {turn.content}" for turn in pair.rejected),
    ]
    if story.choice is not None and story.selection is not None and story.feedback is not None:
        sentences += _explain_choice(story, story.selection, story.feedback)
    elif pair.feedback_id:
        sentences.append("Why it was made cannot be told: the feedback that the run was made from is not there.")
    else:
        sentences.append("It was read as a pair; there is no feedback behind it.")
    heading = f"Pair {pair.id}, {part} of {story.run}{_ASKED if pair.id == asked else ''}"
    return ReportSection(heading, tuple(sentences))


def _explain_choice(story: PairStory, selection: Selection, feedback: Feedback) -> Iterator[str]:
    choice = story.choice
    assert choice is not None
    scores = (
        f"{index} {item.model} {_score(score)}"
        for index, (item, score) in enumerate(zip(feedback.completions, choice.scores, strict=True))
    )
    yield f"scores by {choice.strategy}: {'; '.join(scores)}"
    if choice.votes is not None:
        yield from _votes(story, choice.votes)
    if selection.rejected != "all-pairs" and choice.best:
        tied = f", tied with {', '.join(map(str, choice.best[1:]))}; the first is taken" if choice.best[1:] else ""
        yield f"best: completion {choice.best[0]}{tied}"
    margin = f", by at least {selection.margin:g}" if selection.margin else ""
    yield f"rejected: {_HOW[selection.rejected]}{margin}"
    if choice.candidates:
        yield f"candidates: {', '.join(map(str, choice.candidates))}"
    drawn = "; ".join(f"{chosen} over {rejected}" for chosen, rejected in choice.pairs)
    by_chance = selection.rejected in ("random-lower", "random-other")
    yield f"taken: {drawn or 'none'}" + (f", drawn with seed {story.seed} and the prompt" if by_chance else "")
    yield from _explain_taking(story.pair.extra)
    if not story.reproduced:
        yield "Made again, the selection does NOT give this pair: its source or the settings have changed since."


def _explain_taking(extra: dict[str, Any]) -> Iterator[str]:
    """Why the pair is in the set, where not all that were made are, and whether rankers turned it round."""
    if votes := extra.get(OUTVOTED):
        yield (
            f"turned round: {votes['against']} of {votes['rankers']} rankers prefer the answer that was rejected, "
            f"{votes['for']} the one that was chosen"
        )
    if told := extra.get(TAKEN):
        value = "" if told["value"] is None else f" ({told['value']:.4g})"
        place = f"place {told['place']:,} of {told['of']:,}; {told['keep']:,} are taken"
        yield f"in the set by {told['by']}{value}: {place}"


def _score(score: float | None) -> str:
    return "none" if score is None else f"{score:.3g}"
