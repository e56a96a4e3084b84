"""Pairs whose better answer a program knows: checks as the truth that judgements are measured by.

Of two answers to a prompt with checks, the one that follows all of them is the better one where the other does not. A
judge that prefers the other prefers what the checks refute. Where both follow all, or neither does, the checks say
nothing of the two: such couples are counted and left out. What is said of no check is left to people: an answer may
follow all of them and be worse.

Owns which answers the checks tell apart, and the verdicts that stored judgements amount to. What a check tells is owned
by ``checks``, the figures by ``figures``.
"""

from collections.abc import Callable, Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import combinations

from notus.collect.verify import row_checks
from notus.core.errors import ConfigError, DataError
from notus.core.records import Completion, Feedback, Message, Preference, format_turns
from notus.core.stage import Tally
from notus.evaluate.judges.figures import JudgeEvaluation
from notus.evaluate.judges.human import HumanPair
from notus.evaluate.judges.present import Label, PairVerdict, PresentedPair
from notus.stats.intervals import Estimate, share

__all__ = ["CheckedFigures", "CheckedPairs", "StoredJudgements", "checked_figures", "pairs_by_checks"]

_SCORES: dict[str, Callable[[Completion], float | None]] = {
    "critique (stored)": lambda item: item.overall_score,
    "mean-rating (stored)": lambda item: item.mean_rating,
}
"""Judgements that a row of feedback holds: name → the score of a completion, the higher the better."""
_CHOSEN = "chosen (stored)"
_TURNED: dict[Label | None, Label] = {"A": "B", "B": "A", "C": "C"}


@dataclass
class StoredJudgements:
    """A judge whose verdicts stand in the source: it is asked nothing."""

    name: str
    pointwise: bool = True
    verdicts: dict[PresentedPair, PairVerdict] = field(default_factory=dict)
    """A pair as it is shown → the verdict, the same in both orders."""

    def add(self, pair: PresentedPair, verdict: PairVerdict, tally: Tally) -> None:
        """Keep what is said of a pair; the same pair again with another verdict is counted, and has none."""
        both = {pair: verdict, pair.swapped(): PairVerdict(_TURNED.get(verdict.label), verdict.reason)}
        for shown, said in both.items():
            if self.verdicts.setdefault(shown, said) != said:
                self.verdicts[shown] = PairVerdict(None, "judged-twice")
                tally.count("judged-twice")

    def judge(self, pairs: Sequence[PresentedPair]) -> list[PairVerdict]:
        """The stored verdicts; a pair that the source does not judge has none."""
        return [self.verdicts.get(pair, PairVerdict(None, "not-judged")) for pair in pairs]


@dataclass(frozen=True)
class CheckedPairs:
    """Pairs that the checks tell apart, and what their source itself says of them."""

    pairs: list[HumanPair]
    """One vote each: that of the checks."""
    stored: list[StoredJudgements]
    """The judgements that the source holds, those that say anything of a pair."""


@dataclass(frozen=True)
class CheckedFigures:
    """How often a judge prefers an answer that the checks refute."""

    name: str
    asked: int
    scored: int
    refuted: Estimate | None
    """Share of the scored pairs in which it prefers the answer that does not follow; prompts are clusters."""
    neither: Estimate | None
    """Share in which it prefers neither, or its verdict turns with the order."""


def pairs_by_checks(records: Iterable[Feedback | Preference], tally: Tally, own: Collection[str] = ()) -> CheckedPairs:
    """Each two answers to a prompt of which one follows all its checks, strictly, and the other does not.

    The answer that follows stands first in every other pair. Rows without checks are dropped as ``no-checks``, those
    with one answer as ``one-answer``, those whose answers are all alike by the checks as ``all-alike``, and pairs with
    an answer of several turns as ``several-turns``.

    Args:
        records: rows with the columns of IFEval and IFBench, see ``collect.verify``.
        tally: receives counts and drops.
        own: the checks of the user's own that rows may name.

    Raises:
        ConfigError, DataError: as ``collect.verify.row_checks`` does, with the place of the row.
    """
    found: list[HumanPair] = []
    stored = {name: StoredJudgements(name) for name in (*_SCORES, _CHOSEN)}
    for record in records:
        tally.taken += 1
        couples = _couples(record, tally, own)
        tally.given += bool(couples)
        for good, bad, said in couples:
            turn = len(found) % 2 == 1
            pair = _human_pair(record, *((bad, good, "B") if turn else (good, bad, "A")))
            found.append(pair)
            for name, label in said.items():
                verdict = PairVerdict(_TURNED.get(label) if turn else label, "" if label else "no-score")
                stored[name].add(pair.presented, verdict, tally)
    return CheckedPairs(found, [judge for judge in stored.values() if any(v.label for v in judge.verdicts.values())])


def checked_figures(evaluation: JudgeEvaluation, pairs: Sequence[HumanPair]) -> CheckedFigures:
    """How often a judge's verdicts go against the checks."""
    rows = [(judged, pair) for judged, pair in zip(evaluation.pairs, pairs, strict=True) if judged.score is not None]
    prompts = [judged.prompt_id for judged, _ in rows]
    against = [float(judged.score == (0 if pair.majority == "A" else 1)) for judged, pair in rows]
    neither = [float(judged.score == 0.5) for judged, _ in rows]
    return CheckedFigures(
        name=evaluation.judge,
        asked=len(pairs),
        scored=len(rows),
        refuted=share(against, prompts) if rows else None,
        neither=share(neither, prompts) if rows else None,
    )


_Couple = tuple[str, str, Mapping[str, Label | None]]
"""The answer that follows, the one that does not, and for each stored judge whether it prefers the first (A)."""


def _couples(record: Feedback | Preference, tally: Tally, own: Collection[str]) -> list[_Couple]:
    try:
        checks = row_checks(record.extra, own)
        if not checks:
            tally.drop(record.id, "no-checks", "the row names no check of its prompt", at=record)
            return []
        prompt = format_turns(record.prompt)
        answers = _answers(record, tally)
        follows = [all(check.follows(text, prompt) for check in checks) for text, _ in answers]
    except (ConfigError, DataError) as error:
        where = f"{record.file}, line {record.line}: " if record.file else ""
        raise type(error)(f"{where}{error}") from None
    couples: list[_Couple] = []
    for one, two in combinations(range(len(answers)), 2):
        if follows[one] == follows[two]:
            tally.count("both-follow" if follows[one] else "neither-follows")
            continue
        tally.count("told-apart")
        good, bad = (one, two) if follows[one] else (two, one)
        said = {name: _label(score, answers[bad][1][name]) for name, score in answers[good][1].items()}
        couples.append((answers[good][0], answers[bad][0], said))
    if len(answers) == 1:
        tally.drop(record.id, "one-answer", "there is nothing to tell it from", at=record)
    elif answers and not couples:
        tally.drop(record.id, "all-alike", f"of {len(answers)} answers {sum(follows)} follow all checks", at=record)
    return couples


def _answers(record: Feedback | Preference, tally: Tally) -> list[tuple[str, dict[str, float | None]]]:
    """The texts of a prompt's answers, with what each stored judgement gives them."""
    if isinstance(record, Feedback):
        return [(item.text, {name: score(item) for name, score in _SCORES.items()}) for item in record.completions]
    if len(record.chosen) != 1 or len(record.rejected) != 1:
        turns = f"{len(record.chosen)} and {len(record.rejected)} turns; each must be one"
        tally.drop(record.id, "several-turns", turns, at=record)
        return []
    return [(record.chosen[0].content, {_CHOSEN: 1.0}), (record.rejected[0].content, {_CHOSEN: 0.0})]


def _label(good: float | None, bad: float | None) -> Label | None:
    if good is None or bad is None:
        return None
    return "A" if good > bad else "B" if bad > good else "C"


def _human_pair(record: Feedback | Preference, first: str, second: str, vote: str) -> HumanPair:
    said = [(Message(role="assistant", content=text),) for text in (first, second)]
    own = Preference(prompt=record.prompt, chosen=said[0], rejected=said[1]).id
    return HumanPair(
        prompt=record.prompt, first=first, second=second, votes=(vote,), id=own, file=record.file, line=record.line
    )
