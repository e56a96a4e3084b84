"""Asking a judge as AlpacaEval does: two outputs, one of two protocols, an order that follows from the instruction.

Owns the questions, the reading of their replies, and what becomes of a question that has no answer. How a judge is
asked, and asked again, is the business of ``llm.judge``; what the preferences amount to that of ``score``.

- ``rank``, of AlpacaEval 1: the judge writes a Python list of both models with their ranks.
- ``logprobs``, of AlpacaEval 2: the judge writes one token, m or M, and its probabilities give a preference between 1
  and 2. It needs a server that sends log-probabilities.
"""

import math
import random
import re
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from itertools import islice
from typing import Literal

import msgspec

from notus.core.errors import ConfigError
from notus.evaluate.alpaca.files import Answer
from notus.evaluate.alpaca.score import DRAW, Judgement
from notus.llm.errors import RULES
from notus.llm.judge import Judged, Question, Unscored, ask
from notus.llm.parse import UnreadableError, without_thoughts
from notus.llm.prompts import Template, read_prompt
from notus.llm.protocol import Decoding, Generator, Model, Outcome, Reply

__all__ = [
    "PROMPTS",
    "AskedJudgement",
    "Pairing",
    "Protocol",
    "add_costs",
    "is_swapped",
    "judge_pairs",
    "read_logprobs",
    "read_rank",
]

Protocol = Literal["rank", "logprobs"]
PROMPTS: dict[str, str] = {"rank": "alpaca_rank", "logprobs": "alpaca_logprobs"}
"""Protocol → its built-in prompt file."""
_DECODING = {
    "rank": Decoding(temperature=0.0, max_tokens=100),
    # At temperature 1 the probabilities are the model's own, on servers that scale them by it too.
    "logprobs": Decoding(temperature=1.0, max_tokens=1),
}
_TOP = 5
_PROBES = 3
"""Questions that may come back without log-probabilities before the server is held to have none."""
_ITEM = r"""\{\s*["']model["']\s*:\s*["'](?P<model%d>\w+)["']\s*,\s*["']rank["']\s*:\s*(?P<rank%d>\d+)\s*\}"""
_RANKING = re.compile(rf"\[\s*{_ITEM % (1, 1)}\s*,\s*{_ITEM % (2, 2)}\s*,?\s*\]")
_FENCE = re.compile(r"```(?:python|json)?\s*\n(?P<inside>.*)\n```", re.S)


@dataclass(frozen=True)
class Pairing:
    """An output of the model beside the reference's, for the same instruction."""

    reference: Answer
    answer: Answer


@dataclass(frozen=True)
class AskedJudgement:
    """A judgement with the key of the request that it rests on; empty where nobody was asked."""

    judgement: Judgement
    key: str = ""


def is_swapped(instruction: str) -> bool:
    """Whether the model's output is shown first, as upstream draws it; p then becomes 3 − p."""
    return random.Random(f"is_switched_outputs{instruction}0").choices([False, True])[0]


def judge_pairs(
    pairs: Sequence[Pairing],
    *,
    protocol: Protocol,
    generator: Generator,
    model: Model,
    annotator: str,
    prompt: str | None = None,
    verbatim: bool = False,
    tries: int = 3,
) -> list[AskedJudgement]:
    """Judge each pair once; the judgements are in the order of the pairs.

    Equal outputs are a draw, as upstream has it, and nobody is asked. An output that is not there is a failure.

    Args:
        pairs: what is compared.
        protocol: see the module.
        generator: who can be asked.
        model: the judge.
        annotator: what the judgements are recorded under.
        prompt: a prompt file with {instruction}, {output_1} and {output_2}; null takes our own.
        verbatim: put texts in as they are, see ``llm.prompts.Template``.
        tries: how often a question is asked until its reply can be read.

    Raises:
        ConfigError: if the prompt file does not fit, or the server has no log-probabilities where they are needed.
        RunError: when the generator cannot go on.
    """
    template = read_prompt(
        prompt or PROMPTS[protocol], needs=("instruction", "output_1", "output_2"), verbatim=verbatim
    )
    found: dict[int, AskedJudgement] = {}
    asked: list[int] = []
    for number, pair in enumerate(pairs):
        settled = _decide_without_judge(pair, annotator)
        if settled is None:
            asked.append(number)
        else:
            found[number] = AskedJudgement(settled)

    def questions() -> Iterator[Question[float]]:
        return (_question(pairs[number], number, protocol, template) for number in asked)

    if protocol == "logprobs":
        _probe(generator, model, questions)
    for judged in ask(generator, model, questions(), _DECODING[protocol], tries=tries):
        number = judged.question.about
        found[number] = AskedJudgement(_judgement(pairs[number], judged, annotator), judged.key)
    return [found[number] for number in range(len(pairs))]


def read_rank(text: str) -> float:
    """Read a ranking: 1 if model_1 is better, 2 if model_2 is.

    Raises:
        UnreadableError: for anything but one list of both models with the ranks 1 and 2, in a code fence or bare.
    """
    bare = without_thoughts(text).strip()
    fenced = _FENCE.fullmatch(bare)
    matched = _RANKING.fullmatch(fenced["inside"].strip() if fenced else bare)
    if matched is None:
        raise UnreadableError("no-ranking", bare)
    ranks = {matched["model1"]: int(matched["rank1"]), matched["model2"]: int(matched["rank2"])}
    if ranks.keys() != {"model_1", "model_2"}:
        raise UnreadableError("other-models", bare)
    if set(ranks.values()) != {1, 2}:
        raise UnreadableError("ranks-not-1-and-2", bare)
    return float(ranks["model_1"])


def read_logprobs(reply: Reply) -> float:
    """The preference that the first token's probabilities stand for: 2 − P(m)/(P(m) + P(M)).

    A letter that is not among the likeliest tokens counts with probability 0.

    Raises:
        UnreadableError: if neither letter is among them.
    """
    tokens = reply.logprobs[0] if reply.logprobs else ()
    if not tokens:
        raise UnreadableError("no-token", reply.text)
    top = dict(tokens[0].top) | {tokens[0].text: tokens[0].logprob}
    first, second = top.get("m", -math.inf), top.get("M", -math.inf)
    if first == second == -math.inf:
        raise UnreadableError("no-verdict-token", ", ".join(map(repr, top)))
    # Over the larger of the two, so that neither can come out as 0/0.
    highest = max(first, second)
    one, other = math.exp(first - highest), math.exp(second - highest)
    return 2 - one / (one + other)


def add_costs(found: Sequence[AskedJudgement], outcomes: Mapping[str, Outcome]) -> list[Judgement]:
    """The judgements with the reply, price and time of each, from the ledger."""
    return [
        item.judgement
        if not isinstance(reply := outcomes.get(item.key), Reply)
        else msgspec.structs.replace(
            item.judgement, raw=item.judgement.raw or reply.text, price=reply.price, seconds=reply.latency_s
        )
        for item in found
    ]


def _decide_without_judge(pair: Pairing, annotator: str) -> Judgement | None:
    """The judgement that needs no judge, or None."""
    if pair.answer.output is None or pair.reference.output is None:
        reason = "no-output" if pair.answer.output is None else "no-reference-output"
        return _record(pair, annotator, unscored="failed", reason=reason)
    if pair.answer.output == pair.reference.output:
        return _record(pair, annotator, preference=DRAW)
    return None


def _question(pair: Pairing, number: int, protocol: Protocol, template: Template) -> Question[float]:
    outputs = [pair.reference.output or "", pair.answer.output or ""]
    if is_swapped(pair.answer.instruction):
        outputs.reverse()
    data = {"instruction": pair.answer.instruction, "output_1": outputs[0], "output_2": outputs[1]}
    by_token = protocol == "logprobs"
    return Question(
        template.fill(data),
        read_rank,
        f"judge/alpaca-{protocol}",
        about=number,
        top_logprobs=_TOP if by_token else None,
        read_reply=read_logprobs if by_token else None,
    )


def _probe(generator: Generator, model: Model, questions: Callable[[], Iterator[Question[float]]]) -> None:
    """Ask a few questions first; what they bring is in the ledger, and is not asked again.

    Raises:
        ConfigError: if all of them come back without log-probabilities.
    """
    first = islice(questions(), _PROBES)
    found = [judged.value for judged in ask(generator, model, first, _DECODING["logprobs"], tries=1)]
    if found and all(isinstance(value, Unscored) and value.reason == "logprobs_missing" for value in found):
        raise ConfigError(
            f"the judge '{model.name}' sends no log-probabilities, which the protocol 'logprobs' reads; take a server "
            "that sends them, or the protocol 'rank'"
        )


def _judgement(pair: Pairing, judged: Judged[float], annotator: str) -> Judgement:
    value = judged.value
    if not isinstance(value, Unscored):
        return _record(pair, annotator, preference=3 - value if is_swapped(pair.answer.instruction) else value)
    rule = RULES.get(value.reason)
    final = value.kind == "unanswered" and rule is not None and rule.then == "refuse"
    return _record(pair, annotator, unscored="refused" if final else "failed", reason=value.reason, raw=value.raw)


def _record(
    pair: Pairing,
    annotator: str,
    *,
    preference: float | None = None,
    unscored: str = "",
    reason: str = "",
    raw: str = "",
) -> Judgement:
    return Judgement(
        instruction=pair.answer.instruction,
        output=pair.answer.output,
        reference_output=pair.reference.output,
        model=pair.answer.generator,
        reference=pair.reference.generator,
        preference=preference,
        unscored=unscored,
        reason=reason,
        annotator=annotator,
        dataset=pair.reference.dataset,
        raw=raw,
    )
