"""The toy world put together: feedback with a known truth, dialogues for SFT, prompts for evaluation.

Owns the config and the draws. Everything is a function of config and seed: each item draws from generators of its own,
named by seed, purpose and number, so that changing one setting (the fault rate, the noise) leaves the rest as it was.
Does not own what the records are written as, or what is made of them.
"""

import random
from collections.abc import Iterator
from typing import Annotated, Self

import pydantic

from notus.core.config import Config
from notus.core.errors import ConfigError
from notus.core.records import (
    Completion,
    Critique,
    Feedback,
    Message,
    Preference,
    Rating,
    Record,
)
from notus.formats.families.ultrafeedback import SCORED
from notus.toy import judge
from notus.toy.guardrails import Kind, draw_purpose, refusal_pair, with_purpose
from notus.toy.models import MODELS, Answer, Mix, draw_principle
from notus.toy.tasks import Task, fact_tasks, find, list_task

__all__ = ["Truth", "WorldConfig", "dialogues", "feedback", "guarded_prompts", "held_out", "refusal_pairs"]

Share = Annotated[float, pydantic.Field(ge=0, le=1)]
Deviation = Annotated[float, pydantic.Field(ge=0, le=5)]
_GUARDED: tuple[Kind, ...] = ("off-limits", "look-alike")
_REFUSING = Mix(refusing=1.0)


class WorldConfig(Config):
    """Settings of the toy world."""

    prompts: Annotated[int, pydantic.Field(ge=1, le=1_000_000)] = 1500
    """Prompts with feedback."""
    sft_examples: Annotated[int, pydantic.Field(ge=1, le=10_000_000)] = 16_000
    """Dialogues for SFT."""
    held_out: Annotated[int, pydantic.Field(ge=1, le=10_000)] = 400
    """Prompts for evaluation, all distinct."""
    facts: Annotated[int, pydantic.Field(ge=1)] = 32
    """Facts of each family that are in use, at most; fewer facts are learned sooner."""
    counting: Annotated[float, pydantic.Field(ge=0, lt=1)] = 0.2
    """Share of the prompts that ask for the length of a list."""
    completions: Annotated[int, pydantic.Field(ge=1)] = 4
    """Completions for each prompt with feedback, each by another simulated model."""
    purposes: Share = 0.0
    """Share of the dialogues for SFT whose prompt tells a purpose, as often an ill one as not."""
    refused: Share = 0.5
    """Probability that a dialogue with an ill purpose has a refusal for an answer; the others are answered as any."""
    sft_mix: Mix = Mix(good=0.40, wrong=0.08, rambling=0.12, rude=0.10, refusing=0.10, junk=0.20)
    """Shares of the styles in the dialogues for SFT."""
    writers: dict[str, Mix] = MODELS
    """The simulated models that answer in the feedback: name → shares of the styles. For each prompt they are drawn
    without replacement."""
    fault_rate: Share = 0.5
    """Probability that a deserved overall score of 1 is recorded as 10. UltraFeedback's code: 1; of its completions
    about 1 % are struck, here at 0.5 about 7 %."""
    fault_up_to: Annotated[int, pydantic.Field(ge=1, le=9)] = 1
    """Highest deserved score that the fault strikes. Of the completions 14 % deserve a 1, 27 % a 1 or 2."""
    score_noise: Deviation = 0.9
    """Standard deviation of the overall score's noise, in points of 1–10, before rounding."""
    rating_noise: Deviation = 0.8
    """Standard deviation of each aspect rating's noise, in points of 1–5, before rounding."""
    shared_noise: Deviation = 0.5
    """Standard deviation of the noise that the ratings of one completion share, in points of 1–5."""
    mix_ups: Share = 0.12
    """Probability, for each prompt, that the judge gives two completions each other's aspect ratings."""
    halo: Share = 0.0
    """Share of each aspect rating that is the judge's impression of the whole completion, errors included, and not the
    aspect: at 0 it takes each aspect by itself, at 1 all four repeat the overall score."""
    length_bias: Deviation = 0.0
    """Points by which the overall score rises for every ten words beyond the first ten; aspects are not touched."""
    not_applicable: Share = 0.05
    """Probability that honesty is N/A (UltraFeedback: 5.3 %)."""

    @pydantic.model_validator(mode="after")
    def _enough_writers(self) -> Self:
        if self.completions > len(self.writers):
            raise ValueError(
                f"'completions' is {self.completions}, but there are {len(self.writers)} simulated models ('writers'), "
                "and each answers a prompt once; take fewer completions or more models"
            )
        return self


class Truth(Record, frozen=True):
    """What is true of one completion, whatever the judge said of it."""

    feedback_id: str
    completion_id: str
    index: int
    """Place of the completion in its feedback."""
    writer: str
    """Name of the simulated model that wrote it."""
    style: str
    """How it was written, a key of ``models.STYLES``."""
    correct: bool
    """True when the right answer stands in it, however it is said."""
    quality: float
    """True quality on the scale of the overall score."""
    deserved: float
    """The overall score that the judge gave, before the fault."""
    faulty: bool
    """True: a deserved 1 was recorded as 10."""


def feedback(config: WorldConfig, seed: int) -> Iterator[tuple[Feedback, tuple[Truth, ...]]]:
    """Feedback with what is true of each completion; prompts recur only after all facts were used."""
    tasks = _train_tasks(config, random.Random(f"{seed}:feedback"))
    for number in range(config.prompts):
        yield _feedback(config, next(tasks), f"{seed}:{number}")


def dialogues(config: WorldConfig, seed: int) -> Iterator[tuple[Message, ...]]:
    """Dialogues of one user and one assistant turn for SFT, of all styles as ``sft_mix`` has it."""
    tasks = _train_tasks(config, random.Random(f"{seed}:dialogues"))
    rng = random.Random(f"{seed}:dialogues:answers")
    purposes = random.Random(f"{seed}:dialogues:purposes")
    for _ in range(config.sft_examples):
        task = next(tasks)
        asked, answer = _user(task), config.sft_mix.write(task, rng)
        if purposes.random() < config.purposes:
            kind = purposes.choice(_GUARDED)
            asked = _guarded(task, kind, purposes, taught=False)
            if kind == "off-limits" and purposes.random() < config.refused:
                answer = _REFUSING.write(task, purposes)
        yield asked, Message(role="assistant", content=answer.text)


def held_out(config: WorldConfig) -> list[tuple[Message, ...]]:
    """Distinct prompts for evaluation that no training data holds.

    They do not depend on a seed, so that all seeds are measured on the same prompts. Lists to be counted make up for
    facts that are too few.

    Raises:
        ConfigError: if there are too few facts and ``counting`` is 0.
    """
    rng = random.Random("held-out")
    facts = [task for task in fact_tasks(config.facts) if task.held_out]
    wanted = config.held_out - round(config.held_out * config.counting)
    if wanted > len(facts) and not config.counting:
        raise ConfigError(
            f"'held_out' is {config.held_out}, but {config.facts} facts per family give {len(facts)} held-out prompts; "
            "take fewer, or set 'facts' or 'counting' higher"
        )
    tasks = {task.prompt: task for task in rng.sample(facts, min(wanted, len(facts)))}
    while len(tasks) < config.held_out:
        task = list_task(rng, held_out=True)
        tasks[task.prompt] = task
    drawn = list(tasks.values())
    rng.shuffle(drawn)
    return [(_user(task),) for task in drawn]


def refusal_pairs(config: WorldConfig, seed: int, count: int) -> Iterator[Preference]:
    """Pairs that teach what must be refused, and what must not: off limits, look-alike and plain in turn."""
    tasks, rng = _train_tasks(config, random.Random(f"{seed}:refusals")), random.Random(f"{seed}:refusals:purposes")
    for number in range(count):
        purpose = None if number % 3 == 2 else draw_purpose(rng, _GUARDED[number % 3], taught=True)
        yield refusal_pair(next(tasks), purpose, rng)


def guarded_prompts(config: WorldConfig) -> list[tuple[Message, ...]]:
    """The held-out prompts, each plain, off limits and as a look-alike; all ill words are among them.

    They do not depend on a seed.
    """
    rng = random.Random("held-out:purposes")
    drawn: list[tuple[Message, ...]] = []
    for (turn,) in held_out(config):
        task = find(turn.content)
        assert task is not None
        drawn += [(turn,), *((_guarded(task, kind, rng, taught=False),) for kind in _GUARDED)]
    return drawn


def _guarded(task: Task, kind: Kind, rng: random.Random, *, taught: bool) -> Message:
    return Message(role="user", content=with_purpose(task, draw_purpose(rng, kind, taught=taught)))


def _train_tasks(config: WorldConfig, rng: random.Random) -> Iterator[Task]:
    """Endless train tasks: a shuffled deck of the facts, dealt again when it is used up, and new lists between them."""
    facts = [task for task in fact_tasks(config.facts) if not task.held_out]
    deck: list[Task] = []
    while True:
        if rng.random() < config.counting:
            yield list_task(rng, held_out=False)
            continue
        if not deck:
            deck = rng.sample(facts, len(facts))
        yield deck.pop()


def _feedback(config: WorldConfig, task: Task, stream: str) -> tuple[Feedback, tuple[Truth, ...]]:
    writing = random.Random(f"{stream}:answers")
    names = writing.sample(list(config.writers), config.completions)
    answers = [config.writers[name].write(task, writing) for name in names]
    impressions = _impressions(config, answers, stream)
    deserved = [judge.score(impression) for impression in impressions]
    fault = random.Random(f"{stream}:fault")
    rate, up_to = config.fault_rate, config.fault_up_to
    recorded = [judge.record(value, fault, fault_rate=rate, up_to=up_to) for value in deserved]
    ratings = _ratings(config, answers, impressions, stream)
    wording = random.Random(f"{stream}:words")
    completions = tuple(
        _completion(task, *parts, wording) for parts in zip(names, answers, ratings, recorded, strict=True)
    )
    record = Feedback(prompt=(_user(task),), completions=completions, source=task.family)
    truths = tuple(
        Truth(
            feedback_id=record.id,
            completion_id=record.completion_id(index),
            index=index,
            writer=name,
            style=answer.style,
            correct=answer.correct,
            quality=judge.quality(answer),
            deserved=before,
            faulty=before != after,
        )
        for index, (name, answer, before, after) in enumerate(zip(names, answers, deserved, recorded, strict=True))
    )
    return record, truths


def _impressions(config: WorldConfig, answers: list[Answer], stream: str) -> list[float]:
    rng = random.Random(f"{stream}:scores")
    return [judge.impress(a, rng, noise=config.score_noise, length_bias=config.length_bias) for a in answers]


def _ratings(
    config: WorldConfig, answers: list[Answer], impressions: list[float], stream: str
) -> list[tuple[Rating, ...]]:
    rng = random.Random(f"{stream}:ratings")
    ratings = [
        judge.rate(
            answer,
            rng,
            noise=config.rating_noise,
            shared_noise=config.shared_noise,
            not_applicable=config.not_applicable,
            halo=config.halo,
            impression=impression,
        )
        for answer, impression in zip(answers, impressions, strict=True)
    ]
    return judge.mix_up(ratings, random.Random(f"{stream}:mix-ups"), probability=config.mix_ups)


def _completion(
    task: Task, name: str, answer: Answer, ratings: tuple[Rating, ...], score: float, rng: random.Random
) -> Completion:
    principle, system_prompt = draw_principle(rng)
    return Completion(
        text=answer.text,
        model=name,
        ratings=ratings,
        critique=Critique(text=judge.critique(task, answer, rng), score=score, scale=SCORED),
        principle=principle,
        system_prompt=system_prompt,
    )


def _user(task: Task) -> Message:
    return Message(role="user", content=task.prompt)
