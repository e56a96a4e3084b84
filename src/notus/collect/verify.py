"""What is verified of each collected answer beside a judge's ratings: checks by program, and a checklist item by item.

    {"prompt": "Name two rivers. Use no comma.",
     "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}],
     "checklist": ["It names two rivers.", "Both lie in Europe."]}

A program says of each check whether the answer follows it; the judge is asked of each requirement alone whether the
answer meets it, through the ledger, and its reply is read strictly. Both become a rating from 0 to 1, the share that
holds: ``checks`` and ``checklist``. What came of each one stands in the completion's ``extra`` under the same names,
and the prompt keeps its columns, so that the answers can be checked again. After RLCF (Viswanathan et al. 2025,
https://arxiv.org/abs/2507.18624), which weighs such verdicts into one reward; here they stay apart until pairs are made
(``--weight checks=1``).

An answer of whose requirements one could not be read has no rating ``checklist``: its share would be one of other
requirements than its neighbours'. Owns what a prompt demands, the questions, and what becomes of the verdicts. What a
check tells is owned by ``checks``, the reading of a reply by ``llm.parse``.
"""

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any

from msgspec.structs import replace

from notus.checks.protocol import CHECKS as CHECKS_BY_ID
from notus.checks.protocol import Check, Followed, check_answer, make_checks
from notus.collect.settings import Verification
from notus.core.errors import ConfigError, DataError
from notus.core.records import CHECKLIST, CHECKS, UNIT, Completion, Message, Rating, format_turns
from notus.llm.judge import Judged, Question, Unscored, format_instruction
from notus.llm.parse import Scale, read_score

__all__ = ["COLUMNS", "NOBODY", "Demands", "Verifier", "row_checks"]

_IDS, _SETTINGS = "instruction_id_list", "kwargs"
COLUMNS = (_IDS, _SETTINGS, CHECKLIST)
"""Columns of a prompt that say what is verified of its answers; the first two are those of IFEval and IFBench."""
NOBODY = (
    "prompts have a checklist, and there is nobody to ask about it; name an endpoint under 'judge' or 'verify', or "
    "leave the prompts' columns out with rows: false"
)
_YES_OR_NO = Scale(0, 1)
_PROGRAM = "program"
"""The rater of a check."""
_STEP = "judge/requirement"
_PROBE = "A short answer, which tries a setting out. It has two sentences."


@dataclass(frozen=True)
class Demands:
    """What is verified of the answers to one prompt."""

    checks: tuple[Check, ...]
    requirements: tuple[str, ...]
    prompt: str
    """The prompt's text, for the checks that read it."""


class Verifier:
    """Finds what prompts demand, and puts what was found into completions.

    Args:
        settings: what is verified.

    Raises:
        ConfigError: for a check, a prompt file or a file of requirements that is not there or cannot be read.
    """

    def __init__(self, settings: Verification) -> None:
        self.settings = settings
        self._always = tuple(Check(name) for name in settings.checks)
        self._requirements = settings.requirements()
        self._template = settings.template()

    def demands(self, prompt: Sequence[Message], extra: Mapping[str, Any], at: Any) -> Demands:
        """What a prompt demands, by its columns and by the settings.

        Raises:
            ConfigError: for a check that is not known, with the nearest.
            DataError: for columns that say nothing that can be verified, with the place of the row.
        """
        checks, requirements = self._always, self._requirements
        if self.settings.rows:
            with _placed(at):
                checks = (*row_checks(extra, self.settings.own_checks), *checks)
                requirements = (*_row_requirements(extra), *requirements)
        return Demands(checks, requirements, format_turns(tuple(prompt)))

    def try_out(self, demands: Demands, at: Any) -> None:
        """Run each of our checks once: what is wrong with a setting, or a library, shows before anything is asked.

        Raises:
            DataError: for such a setting, with the place of the row.
            MissingExtraError: without such a library.
        """
        for check in demands.checks:
            if check.id in CHECKS_BY_ID.names:
                with _placed(at):
                    check.follows(_PROBE, demands.prompt)

    def questions(
        self, prompt: Sequence[Message], answers: Sequence[str], demands: Demands
    ) -> Iterator[tuple[int, int, Question[float]]]:
        """The questions on a prompt's answers: number of the answer, number of the requirement, question."""
        instruction = format_instruction(prompt)
        for answer, text in enumerate(answers):
            for number, requirement in enumerate(demands.requirements):
                data = {"instruction": instruction, "answer": text, "requirement": requirement}
                read = partial(read_score, scale=_YES_OR_NO)
                yield answer, number, Question(self._template.fill(data), read, _STEP)

    def checked(self, completion: Completion, demands: Demands) -> tuple[Completion, Iterable[str]]:
        """A completion with what the programs say of it, and what to count.

        Raises:
            InputError, DataError: if a check of the user's fails, or returns neither True nor False.
        """
        if not demands.checks:
            return completion, ()
        found = check_answer(completion.text, demands.checks, demands.prompt)
        noted = [
            {"id": check.id, "settings": dict(check.settings), "followed": strict, "loosely": loose}
            for check, strict, loose in zip(demands.checks, found.strict, found.loose, strict=True)
        ]
        rating = Rating(aspect=CHECKS, value=found.share, rationale=_say(demands, found), rater=_PROGRAM, scale=UNIT)
        counts = ["check-followed" if strict else "check-not-followed" for strict in found.strict]
        return _with(completion, rating, CHECKS, noted), ["answer-checked", *counts]

    def listed(
        self, completion: Completion, demands: Demands, judged: Sequence[Judged[float]], rater: str
    ) -> tuple[Completion, Iterable[str]]:
        """A completion with what the judge says of each requirement, and what to count."""
        if not demands.requirements:
            return completion, ()
        noted, counts, keys = [], [], {}
        for number, (text, each) in enumerate(zip(demands.requirements, judged, strict=True), start=1):
            keys[f"{CHECKLIST}/{number}"] = each.key
            counts += ["asked-again"] * (each.tries - 1) + [f"refused-{reason}" for reason in each.refused]
            note: dict[str, Any] = {"requirement": text, "met": None}
            if isinstance(each.value, Unscored):
                note |= {"kind": each.value.kind, "reason": each.value.reason, "raw": each.value.raw}
                counts.append(f"requirement-{each.value.kind}")
            else:
                note["met"] = each.value == 1
                counts.append("requirement-met" if note["met"] else "requirement-not-met")
            noted.append(note)
        extra = completion.extra | {"ledger": completion.extra["ledger"] | keys}
        completion = replace(completion, extra=extra)
        if any(note["met"] is None for note in noted):
            return _with(completion, None, CHECKLIST, noted), [*counts, "checklist-without-rating"]
        met = sum(note["met"] for note in noted)
        missed = "; ".join(note["requirement"] for note in noted if not note["met"])
        words = f"meets {met} of {len(noted)}" + (f"; not: {missed}" if missed else "")
        rating = Rating(aspect=CHECKLIST, value=met / len(noted), rationale=words, rater=rater, scale=UNIT)
        return _with(completion, rating, CHECKLIST, noted), counts


@contextmanager
def _placed(at: Any) -> Iterator[None]:
    """Errors of a block, with the place of the row."""
    try:
        yield
    except (ConfigError, DataError) as error:
        where = f"{at.file}, line {at.line}: " if at.file else ""
        raise type(error)(f"{where}{error}") from None


def _with(completion: Completion, rating: Rating | None, name: str, noted: list[dict[str, Any]]) -> Completion:
    ratings = completion.ratings if rating is None else (*completion.ratings, rating)
    return replace(completion, ratings=ratings, extra=completion.extra | {name: noted})


def _say(demands: Demands, found: Followed) -> str:
    missed = [check.id for check, strict in zip(demands.checks, found.strict, strict=True) if not strict]
    words = f"follows {sum(found.strict)} of {len(found.strict)}"
    return words + (f"; not: {', '.join(missed)}" if missed else "")


def row_checks(extra: Mapping[str, Any], own: Collection[str] = ()) -> tuple[Check, ...]:
    """The checks of a row, in the columns of IFEval and IFBench; none where it has no such column.

    Args:
        extra: the row's further columns.
        own: the checks of the user's own that it may name, see ``checks.protocol.make_checks``.

    Raises:
        ConfigError: for a check that is not known, or one of the user's own that is not allowed.
        DataError: if the columns have another form, or settings mean nothing to their check.
    """
    ids, settings = extra.get(_IDS), extra.get(_SETTINGS)
    if ids is None:
        if settings is not None:
            raise DataError(f"'{_SETTINGS}' is given without '{_IDS}', which names the checks they are settings of")
        return ()
    if not isinstance(ids, Sequence) or isinstance(ids, str) or not all(isinstance(each, str) for each in ids):
        raise DataError(f"'{_IDS}' is {ids!r:.60}; give a list of ids of checks")
    settings = [None] * len(ids) if settings is None else settings
    if not isinstance(settings, Sequence) or not all(isinstance(each, Mapping | None) for each in settings):
        raise DataError(f"'{_SETTINGS}' is {settings!r:.60}; give a list with the settings of each check")
    return make_checks(ids, settings, own) if ids else ()


def _row_requirements(extra: Mapping[str, Any]) -> tuple[str, ...]:
    found = extra.get(CHECKLIST)
    if found is None:
        return ()
    texts = isinstance(found, Sequence) and not isinstance(found, str)
    if not texts or not all(isinstance(each, str) and each.strip() for each in found):
        raise DataError(f"'{CHECKLIST}' is {found!r:.60}; give a list of requirements, each a text that is not blank")
    return tuple(found)
