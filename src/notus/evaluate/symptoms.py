"""Symptoms in answers: what an answer has that no prompt asks for, found by rule and counted as a rate.

    wrong-capitals   a sentence begins small, or the pronoun is "i": what ``clean.truecase`` would edit
    disclaimer       it opens by denying feelings, opinions or experiences: ``clean.chat.denies_feelings``
    refusal          it opens by saying that it cannot or will not
    repetition       share of its runs of four words that stood there before: seq-rep-4 of Welleck et al. 2020
                     (https://arxiv.org/abs/1908.04319); under four words it cannot tell
    truncated        it stopped at the token limit

Each is a measure by that name, and ``symptoms`` asks whether there is any: the first three and the last, or more than
half of an answer's runs repeated. The rules know English. They see words and no intent: a refusal may be right, and a
story may be told in small letters. Owns the rules; how answers are measured is owned by ``evaluate.measures``.
"""

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass

from notus.clean.chat import denies_feelings, without_quotes
from notus.clean.truecase import truecase
from notus.core.records import Output, Verdict
from notus.stats.intervals import Estimate, clustered_mean, share

__all__ = [
    "SYMPTOMATIC",
    "SYMPTOMS",
    "SymptomRate",
    "disclaimer",
    "refusal",
    "repetition",
    "symptom_rates",
    "symptoms",
    "truncated",
    "wrong_capitals",
]

SYMPTOMATIC = "symptoms"
"""The measure of all of them."""
_OPENING = 300
"""Characters of an answer in which it is said what it will not do, or is not."""
_RUN = 4
_MOSTLY = 0.5
_I = r"\bI(?:['’]m|['’]d| am)?(?: (?:really|simply|just|also|currently|unfortunately|therefore|must))?,?"
_NOT = (
    r"(?:can(?:['’]t|not| not)|could(?:n['’]t| not)|won['’]t|will not|would rather not|"
    r"do(?:n['’]t| not) feel comfortable|"
    r"(?:not able|unable|not allowed|not permitted|not comfortable|not going|not programmed|not designed)(?: to)?|"
    r"declin(?:e|ing)|refus(?:e|ing)|have to (?:decline|refuse))"
)
_DOING = (
    r"(?:help(?! (?:but|it|the way)\b)|assist|provid|fulfil|comply|answer|creat|writ|generat|giv|shar|support|engag|"
    r"participat|discuss|do (?:that|this)|offer|complet|continu|produc|respond|aid\b|endors|condon|encourag|promot|"
    r"facilitat|make (?:that|this))"
)
_REFUSAL = re.compile(
    rf"{_I} {_NOT} (?:to )?(?:be (?:able to )?)?{_DOING}|\b(?:must|have to) (?:decline|refuse)\b|"
    rf"\bnot something (?:that )?I(?:['’]m| am| can| will)\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class SymptomRate:
    """How often one symptom is there, or its mean."""

    name: str
    what: str
    asked: int
    scored: int
    rate: Estimate | None
    """Over the answers that can be told, prompts as clusters; None with fewer than two prompts."""


def wrong_capitals(output: Output) -> bool | None:
    """Whether a sentence begins with a small letter, or "i" stands for the pronoun; None for an empty answer."""
    return truecase(output.text, {}) != output.text if output.text.strip() else None


def disclaimer(output: Output) -> bool | None:
    """Whether the opening denies feelings, opinions or experiences; None for an empty answer."""
    return denies_feelings(_opening(output)) is not None if output.text.strip() else None


def refusal(output: Output) -> bool | None:
    """Whether the opening says that the answer cannot or will not be given; None for an empty answer."""
    return _REFUSAL.search(without_quotes(_opening(output))) is not None if output.text.strip() else None


def repetition(output: Output) -> float | None:
    """Share of the runs of four words that stood there before; None under four words."""
    words = output.text.casefold().split()
    runs = list(zip(*(words[start:] for start in range(_RUN)), strict=False))
    return 1 - len(set(runs)) / len(runs) if runs else None


def truncated(output: Output) -> bool:
    """Whether the answer stopped at the token limit."""
    return output.truncated


def symptoms(output: Output) -> Verdict | None:
    """1 for an answer with any symptom, which the reason names, 0 for one without; None for an empty answer."""
    if not output.text.strip():
        return None
    found = [name for name, (measure, _) in SYMPTOMS.items() if _is_there(name, measure(output))]
    return Verdict(
        prompt_id=output.prompt_id,
        model=output.model,
        judge=SYMPTOMATIC,
        score=float(bool(found)),
        reason=", ".join(found),
    )


def symptom_rates(outputs: Sequence[Output]) -> list[SymptomRate]:
    """The rate of each symptom in the answers, and their mean length in characters; prompts are clusters."""
    prompts = [each.prompt_id for each in outputs]
    found = []
    for name, (measure, what) in SYMPTOMS.items():
        told = [(float(value), each.prompt_id) for each in outputs if (value := measure(each)) is not None]
        rate = share([value for value, _ in told], [prompt for _, prompt in told]) if told else None
        found.append(SymptomRate(name, what, len(outputs), len(told), rate))
    length = clustered_mean([float(len(each.text)) for each in outputs], prompts) if outputs else None
    return [*found, SymptomRate("length", "mean characters", len(outputs), len(outputs), length)]


def _opening(output: Output) -> str:
    return output.text.lstrip()[:_OPENING]


def _is_there(name: str, value: float | bool | None) -> bool:
    return value is not None and (value > _MOSTLY if name == "repetition" else bool(value))


SYMPTOMS: dict[str, tuple[Callable[[Output], float | bool | None], str]] = {
    "wrong-capitals": (wrong_capitals, "answers with a sentence that begins small, or with the pronoun i"),
    "disclaimer": (disclaimer, "answers that open by denying feelings, opinions or experiences"),
    "refusal": (refusal, "answers that open by saying that they cannot or will not"),
    "repetition": (repetition, "mean share of the runs of four words that stood there before"),
    "truncated": (truncated, "answers that stopped at the token limit"),
}
"""Name → the measure, and what its mean over answers is."""
