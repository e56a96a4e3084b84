"""A judge is asked again for scores that are in doubt, for exactly those, and what it says replaces or confirms them.

Owns the questions of a queue, and what becomes of a score. Which scores are in doubt is decided by a repair
(``preferences.repair``), how a judge is asked is owned by ``llm``.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace as with_about
from typing import Any

from msgspec.structs import replace

from notus.collect.settings import JudgeSettings
from notus.core.records import Completion, Critique, Decision, Feedback, Rating, Scale
from notus.core.stage import Tally
from notus.core.text import one_line
from notus.decisions.note import decided_score
from notus.llm.judge import SCORE_SCALE, Judged, Judges, Question, Unscored, ask, format_instruction, request_for
from notus.llm.judges.reading import ReadingWatch
from notus.llm.judges.rubric_judge import Assessment
from notus.llm.protocol import Generator, Request
from notus.preferences.repair import BY_JUDGE, KEEP, Doubt

__all__ = ["Place", "ask_again", "decide_again", "place_of", "queued_questions", "requests_again"]

Place = tuple[str, int, str, int]
"""Id of the feedback, position of the answer in it, file and line: two rows may have one id and two scores."""
_SCORED = Scale(low=SCORE_SCALE.low, high=SCORE_SCALE.high)
_MOST_TRIES = 20
_EVIDENCE = 200
"""Characters of a judge's words that a decision shows; the whole critique stands in the feedback."""


def place_of(feedback: Feedback, index: int) -> Place:
    """The place of an answer, as a queue has it."""
    return feedback.id, index, feedback.file, feedback.line


def queued_questions(
    records: Iterable[Feedback], queue: Iterable[Doubt], judges: Judges
) -> Iterator[tuple[Place, Question[Any]]]:
    """The question for each queued answer that is among the records: that of a collection, with its principle. Of a
    score on which a person has decided nobody is asked."""
    wanted = {(each.feedback_id, each.index, each.file, each.line) for each in queue}
    ids = {place[0] for place in wanted}
    for feedback in records:
        if feedback.id in ids:
            for index, item in enumerate(feedback.completions):
                if (place := place_of(feedback, index)) in wanted and not decided_score(item):
                    instruction = format_instruction(feedback.prompt)
                    question: Question[Any] = judges.assess(instruction, item.text, principle=item.principle)
                    yield place, with_about(question, about=place)


def requests_again(
    questions: Iterable[Question[Any]], judge: Generator, settings: JudgeSettings, draw: int
) -> Iterator[Request]:
    """The requests of questions, if each reply can be read at once: for an estimate."""
    model, decoding = judge.models[settings.endpoint], settings.critic.decoding()
    for each in questions:
        yield request_for(each, model, decoding, first=draw * _MOST_TRIES)


def ask_again(
    questions: Iterable[Question[Any]],
    judge: Generator,
    settings: JudgeSettings,
    draw: int,
    watch: ReadingWatch | None = None,
) -> dict[Place, Judged[Any]]:
    """Put the questions to the judge: the same question as before, as another draw of the same settings.

    Args:
        questions: about a ``Place`` each.
        judge: asks; what its ledger holds is not asked again.
        settings: who judges, and how.
        draw: number of the draw; 0 is that of a collection, whose replies its ledger holds.
        watch: is told of each reply whether it was read, and may stop the run.

    Raises:
        RunError: when the judge cannot go on, or cannot be read; what was answered is in its ledger.
    """
    model = judge.models[settings.endpoint]
    decoding, first = settings.critic.decoding(), draw * _MOST_TRIES
    found = ask(judge, model, questions, decoding, tries=settings.tries, first=first, watch=watch)
    return {each.question.about: each for each in found}


def decide_again(
    records: Iterable[Feedback],
    tally: Tally,
    judged: Mapping[Place, Judged[Any]],
    rater: str,
    decisions: list[Decision],
    left: set[Place],
) -> Iterator[Feedback]:
    """A stage that puts what a judge said again in place of what was in doubt; all other answers stay as they are.

    Each score that was judged gets a ``Decision``, also where it is confirmed, and a note in ``extra["repair"]``: rule,
    the scores before and after, the judge, the key of the reply in its ledger, and what had been written before.

    Args:
        judged: place of an answer → what the judge said, or why it could not be read.
        rater: the judge's name.
        decisions: receives one for each score that was judged.
        left: receives the places that stay in doubt, for nothing could be read.
    """
    ids = {place[0] for place in judged}
    for feedback in records:
        found = {}
        if feedback.id in ids:
            places = [place_of(feedback, index) for index in range(len(feedback.completions))]
            found = {index: judged[place] for index, place in enumerate(places) if place in judged}
        if not found:
            yield feedback
            continue
        completions = list(feedback.completions)
        for index, each in found.items():
            item, said = completions[index], each.value
            tally.count("asked-again", each.tries - 1)
            tally.counts.update(f"refused-{reason}" for reason in each.refused)
            if isinstance(said, Unscored):
                tally.count(f"unscored-{said.kind}")
                left.add(place_of(feedback, index))
                continue
            by_rubric = said.ratings if isinstance(said, Assessment) else ()
            said = said.critique if isinstance(said, Assessment) else said
            before = item.overall_score
            what = "confirmed" if said.score == before else "replaced"
            tally.count(what)
            decisions.append(_decision(feedback, index, before, said, rater, what))
            note: dict[str, Any] = {"rule": BY_JUDGE, "verdict": KEEP, "from": before, "to": said.score}
            note |= {"judge": rater, "ledger": each.key, "before": item.critique.text if item.critique else ""}
            critique = replace(said, rater=rater, scale=_SCORED)
            ratings = _with_new_ratings(item, by_rubric, rater)
            completions[index] = replace(item, critique=critique, ratings=ratings, extra=item.extra | {"repair": note})
        yield replace(feedback, completions=tuple(completions))


def _with_new_ratings(item: Completion, by_rubric: Sequence[Rating], rater: str) -> tuple[Rating, ...]:
    """The ratings of an answer, those of the rubric's points in place of what was said of the same points before."""
    names = {rating.aspect for rating in by_rubric}
    kept = [rating for rating in item.ratings if rating.aspect not in names]
    return (*kept, *(replace(rating, rater=rater) for rating in by_rubric))


def _decision(feedback: Feedback, index: int, before: float | None, said: Critique, rater: str, what: str) -> Decision:
    return Decision(
        target=feedback.completion_id(index),
        field="critique.score",
        before=before,
        after=said.score,
        rule=f"{BY_JUDGE}:{what}",
        by=rater,
        file=feedback.file,
        line=feedback.line,
        evidence=one_line(said.text, _EVIDENCE),
    )
