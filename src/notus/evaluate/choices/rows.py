"""Choices: a prompt with n answers of which one or several are good, out of whatever says which they are.

    feedback with rankings   the answers that nobody was ranked above are good: RewardBench 2, JudgeBench's label, votes
    unpaired answers         those of one prompt together: the wanted ones are good (KTO's rows)

Of several rankings of a prompt those answers are good whose share of votes is the highest (``preferences.votes``).
Owns what a choice is. Which format a row has is owned by ``formats``; what a ranker makes of choices, by ``figures``.
"""

from collections import defaultdict
from collections.abc import Iterable, Iterator

from notus.core.errors import ConfigError, nearest
from notus.core.records import Feedback, Messages, Record, Unpaired
from notus.core.stage import Tally
from notus.preferences.votes import votes_of

__all__ = ["Choice", "from_rankings", "from_unpaired"]

_LABEL = "correctness"
"""The question of an objective label, which is taken where others were asked as well."""


class Choice(Record, frozen=True):
    """A prompt with answers of which some are good."""

    prompt: Messages
    prompt_id: str
    answers: tuple[str, ...]
    good: tuple[bool, ...]
    """Of each answer. At least one is, and at least one is not."""
    subset: str = ""
    name: str = ""
    """What its source calls it; RewardBench 2's Ties are put together by it."""
    id: str = ""
    file: str = ""
    line: int = 0


def from_rankings(
    records: Iterable[Feedback], tally: Tally, *, question: str | None = None, subset: str = "subset"
) -> Iterator[Choice]:
    """Feedback whose rankings say which answers are good.

    Dropped are ``no-ranking`` (nothing says which are good), ``no-bad-answer`` (all are as good) and ``several-turns``
    (an answer that is no single turn). Answers that no ranking holds are counted, ``unranked-answer``, and left out.

    Args:
        records: the feedback.
        tally: receives the drops and counts.
        question: which rankings are meant; None takes the only question, or ``correctness``.
        subset: column that names the part of the set; ``source`` takes the record's source.

    Raises:
        ConfigError: if there are several questions and none is named, or a named one is nowhere.
    """
    known: set[str] = set()
    met = False
    for record in records:
        tally.taken += 1
        asked = {each.question for each in record.rankings}
        known |= asked
        meant = _LABEL if question is None and _LABEL in asked else question
        met = met or meant is None or meant in asked
        found = votes_of(record, meant)
        fault = _fault(record, found.scores)
        if fault:
            tally.drop(record.id, *fault, at=record)
            continue
        tally.given += 1
        held = [(each.text, score) for each, score in zip(record.completions, found.scores, strict=True)]
        ranked = [(text, score) for text, score in held if score is not None]
        if len(ranked) < len(held):
            tally.count("unranked-answer", len(held) - len(ranked))
        best = max(score for _, score in ranked)
        yield Choice(
            prompt=record.prompt,
            prompt_id=record.prompt_id,
            answers=tuple(text for text, _ in ranked),
            good=tuple(score == best for _, score in ranked),
            subset=record.source if subset == "source" else _text(record.extra.get(subset)),
            name=_text(record.extra.get("id")),
            id=record.id,
            file=record.file,
            line=record.line,
        )
    if not met and known:
        raise ConfigError(
            f"question: nobody ranked the answers on '{question}'; {nearest(str(question), sorted(known))}"
        )


def from_unpaired(records: Iterable[Unpaired], tally: Tally, *, subset: str = "subset") -> Iterator[Choice]:
    """Single answers that are wanted or not, those of one prompt together.

    Dropped are ``several-turns``, and under ``one-sided`` prompts whose answers are all wanted, or all unwanted.
    """
    together: dict[str, list[Unpaired]] = defaultdict(list)
    for record in records:
        tally.taken += 1
        if len(record.answer) != 1 or record.answer[0].role != "assistant":
            tally.drop(record.id, "several-turns", f"{len(record.answer)} turns; an answer must be one", at=record)
            continue
        together[record.prompt_id].append(record)
    for prompt_id, own in together.items():
        wanted = sum(each.desirable for each in own)
        if wanted in (0, len(own)):
            side = "wanted" if wanted else "unwanted"
            for each in own:
                tally.drop(each.id, "one-sided", f"all {len(own)} answers to the prompt are {side}", at=each)
            continue
        tally.given += len(own)
        first = own[0]
        yield Choice(
            prompt=first.prompt,
            prompt_id=prompt_id,
            answers=tuple(each.answer[0].content for each in own),
            good=tuple(each.desirable for each in own),
            subset=first.source if subset == "source" else _text(first.extra.get(subset)),
            name=_text(first.extra.get("id")),
            id=first.id,
            file=first.file,
            line=first.line,
        )


def _fault(record: Feedback, scores: tuple[float | None, ...]) -> tuple[str, str] | None:
    """Why a record is no choice, as a reason and its evidence."""
    if any(each.turns for each in record.completions):
        return "several-turns", "an answer is more than one plain turn"
    ranked = [score for score in scores if score is not None]
    if not ranked:
        return "no-ranking", f"{len(record.completions)} answers, and nothing says which are good"
    if len(set(ranked)) == 1:
        return "no-bad-answer", f"all {len(ranked)} ranked answers are as good"
    return None


def _text(value: object) -> str:
    return str(value) if isinstance(value, (str, int)) else ""
