"""What is known of one record, in words: the source row, what touched it, and why its pairs are as they are.

Owns the words. What is found is owned by ``data.lineage``.
"""

from collections.abc import Iterator

from notus.app.health import Finding
from notus.core.records import Completion, Feedback
from notus.data.lineage import Explanation, Link, PairStory
from notus.data.selection import Selection

__all__ = ["lineage_findings"]

_HOW = {
    "random-lower": "one drawn among those with a strictly lower score",
    "worst": "the lowest score, the first of equal ones",
    "all-lower": "each with a strictly lower score",
    "all-pairs": "every two answers with different scores",
    "random-other": "one drawn among all others, ties allowed",
    "h4-legacy": "the position that the published draw gives in every row",
}


def lineage_findings(explanation: Explanation) -> list[Finding]:
    """All that is known of an id: the way it took, what touched it, its pairs, and last the row with all its texts."""
    findings = [Finding(f"{explanation.kind.capitalize()} {explanation.id}", tuple(map(_link, explanation.links)))]
    touched = tuple(f"{event.stage} in {event.run}: {event.what}" for event in explanation.events)
    findings.append(Finding("What touched it", touched or ("No rule, decision or drop has touched it.",)))
    findings += [_pair(story) for story in explanation.pairs]
    before: Feedback | None = None
    for place, feedback in explanation.feedback:
        findings += _feedback(place, feedback, before)
        before = feedback
    return findings


def _link(link: Link) -> str:
    if not link.stage:
        return f"source: {link.path}" + ("" if link.found else " (not there any more)")
    seed = link.config.get("seed")
    return f"{link.stage}: {link.path}" + ("" if seed is None else f" (seed {seed})")


def _feedback(place: str, feedback: Feedback, before: Feedback | None) -> Iterator[Finding]:
    """The row in one of its states; of a later one, the completions that are not as they were ``before``."""
    known = {} if before is None else {before.completion_id(i): item for i, item in enumerate(before.completions)}
    said = [f"prompt {feedback.prompt_id}, feedback {feedback.id}, source {feedback.source or '(none)'}"]
    said += [f"{turn.role}: {turn.content}" for turn in feedback.prompt]
    further = [f"{name}: {value}" for name, value in feedback.extra.items()]
    as_before = [i for i, item in enumerate(feedback.completions) if known.get(feedback.completion_id(i)) == item]
    if as_before and before is not None:
        said = [said[0], f"completions {', '.join(map(str, as_before))}: as above"]
        further = further if feedback.extra != before.extra else []
    yield Finding(f"{'Row' if before else 'Source row'}, as it stands in {place}", (*said, *further))
    for index, completion in enumerate(feedback.completions):
        if index in as_before:
            continue
        heading = f"Completion {index} · {completion.model or '(no model)'} · {feedback.completion_id(index)}"
        yield Finding(heading, tuple(_completion(completion)))


def _completion(completion: Completion) -> Iterator[str]:
    yield f"answer: {completion.text}"
    if completion.principle:
        yield f"principle: {completion.principle}"
    for rating in completion.ratings:
        types = f" (types {', '.join(rating.types)}: {rating.types_rationale})" if rating.types else ""
        value = "N/A" if rating.value is None else f"{rating.value:g}"
        yield f"{rating.aspect} {value}: {rating.rationale}{types}"
    if completion.mean_rating is not None:
        yield f"mean rating {completion.mean_rating:.3g}"
    if completion.critique is not None:
        score = "no score" if completion.critique.score is None else f"{completion.critique.score:g}"
        yield f"overall score {score}: {completion.critique.text}"
    yield from (f"{name}: {value}" for name, value in completion.extra.items())


def _pair(story: PairStory) -> Finding:
    pair = story.pair
    part = "held out" if story.held_out else "in the set"
    said = [
        f"chosen: {pair.model_chosen or '(no model)'}, score {_score(pair.score_chosen)}",
        f"rejected: {pair.model_rejected or '(no model)'}, score {_score(pair.score_rejected)}",
    ]
    if story.choice is not None and story.selection is not None and story.feedback is not None:
        said += _why(story, story.selection, story.feedback)
    elif pair.feedback_id:
        said.append("Why it was made cannot be told: the feedback that the run was made from is not there.")
    else:
        said.append("It was read as a pair; there is no feedback behind it.")
    return Finding(f"Pair {pair.id}, {part} of {story.run}", tuple(said))


def _why(story: PairStory, selection: Selection, feedback: Feedback) -> Iterator[str]:
    choice = story.choice
    assert choice is not None
    scores = (
        f"{index} {item.model} {_score(score)}"
        for index, (item, score) in enumerate(zip(feedback.completions, choice.scores, strict=True))
    )
    yield f"scores by {selection.strategy}: {'; '.join(scores)}"
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
    if not story.reproduced:
        yield "Made again, the selection does NOT give this pair: its source or the settings have changed since."


def _score(score: float | None) -> str:
    return "none" if score is None else f"{score:.3g}"
