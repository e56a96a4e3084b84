"""``judge:NAME``: each pair of answers in both orders is put to a judge, or each answer for a grade.

Owns which questions are put and what is made of the replies. The questions, their reading and the asking again are
owned by ``llm.judge``; who answers, and that nothing is paid for twice, by the generator. No torch.
"""

from collections.abc import Iterator, Sequence
from dataclasses import replace as with_about
from itertools import combinations

from notus.core.errors import ConfigError, nearest
from notus.core.records import Message
from notus.core.stage import Tally
from notus.llm.judge import Judges, Question, Unscored, ask, format_instruction, preferred
from notus.llm.protocol import Decoding, Generator, Ranker
from notus.rankers.ref import RankerContext, RankerKind, RankerRef, Scores, check_lengths
from notus.rankers.settings import Ranking

__all__ = ["KIND", "JudgeRanker"]

Place = tuple[int, int, int]
"""Number of the prompt, of the answer shown first, and of the one shown second."""


class JudgeRanker:
    """Scores answers by what a judge says of them.

    ``pairs``: an answer's score is its mean preference over the other answers, each pair asked in both orders; a pair
    in which the verdict turns with the order counts ½ (Zheng et al. 2023, section 3.4,
    https://arxiv.org/abs/2306.05685). ``grades``: the grade from 1 to 10. With a rubric both are asked for by it.

    Args:
        generator: who is asked.
        model: the judge's name there. The policy's own name makes it judge itself.
        settings: ``judging`` and ``tries``.
        tally: receives ``judged``, ``unscored`` and ``not-read-REASON``, and ``turned`` for pairs whose verdict turned
            with the order.
        judges: prompt files; None takes the built-in ones, or the rubric of ``settings``.

    Raises:
        ConfigError: if the generator has no such model.
    """

    def __init__(
        self, generator: Generator, model: str, settings: Ranking, tally: Tally, judges: Judges | None = None
    ) -> None:
        if model not in generator.models:
            raise ConfigError(f"there is nobody called '{model}' to judge; {nearest(model, generator.models)}")
        self.name = f"judge:{model}"
        self._generator, self._model = generator, generator.models[model]
        self._settings, self._tally, self._judges = settings, tally, judges or settings.judges()
        self._decoding = Decoding(temperature=0.0, max_tokens=settings.judge_tokens)

    def rank(self, prompts: Sequence[tuple[Message, ...]], candidates: Sequence[Sequence[str]]) -> Scores:
        """Score the candidates of each prompt, as ``Ranker`` says; None where no reply about one could be read.

        Raises:
            RunError: when the generator cannot go on.
        """
        check_lengths(prompts, candidates)
        texts = [_instruction(prompt) for prompt in prompts]
        if self._settings.judging == "grades":
            return self._grades(texts, candidates)
        return self._preferences(texts, candidates)

    def _grades(self, texts: Sequence[str], candidates: Sequence[Sequence[str]]) -> Scores:
        def questions() -> Iterator[Question[float]]:
            for number, answers in enumerate(candidates):
                for place, answer in enumerate(answers):
                    question = self._judges.grade(texts[number], answer)
                    yield with_about(question, about=(number, place))

        scores: Scores = [[None] * len(answers) for answers in candidates]
        for judged in ask(self._generator, self._model, questions(), self._decoding, tries=self._settings.tries):
            number, place = judged.question.about
            value = judged.value
            self._count(value)
            scores[number][place] = None if isinstance(value, Unscored) else value
        return scores

    def _preferences(self, texts: Sequence[str], candidates: Sequence[Sequence[str]]) -> Scores:
        verdicts = self._verdicts(texts, candidates)
        scores: Scores = []
        for number, answers in enumerate(candidates):
            won: list[list[float]] = [[] for _ in answers]
            for first, second in combinations(range(len(answers)), 2):
                score = self._score(verdicts, number, first, second, equal=answers[first] == answers[second])
                if score is not None:
                    won[first].append(score)
                    won[second].append(1 - score)
            # One answer alone has nobody to lose to; in a field where no verdict was read it has no score.
            scores.append([sum(own) / len(own) if own else (0.5 if len(answers) == 1 else None) for own in won])
        return scores

    def _verdicts(self, texts: Sequence[str], candidates: Sequence[Sequence[str]]) -> dict[Place, str]:
        def questions() -> Iterator[Question[str]]:
            for number, answers in enumerate(candidates):
                for pair in combinations(range(len(answers)), 2):
                    for first, second in (pair, pair[::-1]) if answers[pair[0]] != answers[pair[1]] else ():
                        question = self._judges.pair(texts[number], answers[first], answers[second])
                        yield with_about(question, about=(number, first, second))

        found: dict[Place, str] = {}
        for judged in ask(self._generator, self._model, questions(), self._decoding, tries=self._settings.tries):
            self._count(judged.value)
            if not isinstance(judged.value, Unscored):
                found[judged.question.about] = judged.value
        return found

    def _count(self, value: object) -> None:
        """Count a reply, one that stays unread with its reason: a refusal, cut off, or what the parser found."""
        self._tally.count("unscored" if isinstance(value, Unscored) else "judged")
        if isinstance(value, Unscored):
            self._tally.count(f"not-read-{value.reason}")

    def _score(self, verdicts: dict[Place, str], number: int, first: int, second: int, *, equal: bool) -> float | None:
        """What the first answer wins of a pair, or None where a verdict is missing."""
        if equal:
            return 0.5
        forward, backward = verdicts.get((number, first, second)), verdicts.get((number, second, first))
        if forward is None or backward is None:
            return None
        found = preferred(forward, backward)
        if not found.consistent:
            self._tally.count("turned")
        return found.score


def _instruction(prompt: tuple[Message, ...]) -> str:
    """A prompt as a judge reads it: the text of a single turn, or the conversation with its roles."""
    return format_instruction([turn for turn in prompt if turn.content or turn.role != "system"])


def _make(ref: RankerRef, context: RankerContext) -> Ranker:
    if context.generator is None:
        raise ConfigError(f"ranker '{ref}' needs somebody to ask: name endpoints, or a model with 'serve'")
    return JudgeRanker(context.generator, str(ref.model), context.settings, context.tally)


KIND = RankerKind("judge:NAME", _make, asks=True)
