"""Feedback from prompts: completions of several models, and what a judge says of each.

Owns the draws (who answers, under which principle and system prompt, in which order the judge sees the answers), the
way from prompts to ``Feedback``, and what becomes of requests that have no answer. All draws follow from the seed and
the prompt, never from the order of the prompts. Does not own how models are asked (``llm``).

Each rating can be traced to what was paid for: ``Completion.extra["ledger"]`` maps ``completion``, each aspect and
``critique`` to the key of its entry in the ledger; what has no value stands in ``extra["unscored"]`` with its raw text.
"""

import hashlib
from collections import Counter, deque
from collections.abc import Iterable, Iterator, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass, field
from dataclasses import replace as with_about
from functools import cache
from itertools import chain, islice
from typing import Any

from msgspec.structs import replace

from notus.collect.batch import NOT_YET
from notus.collect.settings import Collection, JudgeSettings, PoolMember
from notus.collect.verify import NOBODY, Verifier
from notus.core.errors import ConfigError, nearest
from notus.core.records import (
    Completion,
    Critique,
    Feedback,
    Message,
    Rating,
    Scale,
    prompt_id,
)
from notus.core.stage import Tally
from notus.llm.judge import (
    ASPECT_SCALE,
    SCORE_SCALE,
    Judged,
    Judges,
    Question,
    Unscored,
    ask,
    format_instruction,
    request_for,
)
from notus.llm.judges.reading import ReadingWatch
from notus.llm.judges.rubric_judge import Assessment
from notus.llm.prompts import read_variants
from notus.llm.protocol import Generator, Model, Outcome, Reply, Request

__all__ = [
    "Draft",
    "ask_what_is_known",
    "collect",
    "draw_members",
    "draw_principle",
    "draw_uniform",
    "expected_requests",
    "format_knowledge",
]

_CHUNK = 64
"""Prompts that go through together."""
_AT_ONCE = 8
"""Chunks at once, so that neither the pool nor the judge waits for the other."""
_RATED = Scale(low=ASPECT_SCALE.low, high=ASPECT_SCALE.high)
_SCORED = Scale(low=SCORE_SCALE.low, high=SCORE_SCALE.high)
_NO_ANSWERS = ["None"]
_WORD, _USUAL_TOKENS = "word ", 512
"""What an answer that has not come yet is estimated as: this word for each token, of so many tokens."""
_NO_PLACE = Unscored(
    kind="unasked",
    reason="no-place",
    detail="the prompt file has slots for another number of answers",
    raw="",
    key="",
    tries=0,
)
_UNASKED: Judged[Any] = Judged(Question((), lambda _: None, ""), _NO_PLACE, "", 1)


@dataclass
class Draft:
    """A prompt on its way to being feedback."""

    prompt: tuple[Message, ...]
    source: str = ""
    extra: dict[str, Any] = field(default_factory=dict)
    completions: list[Completion] = field(default_factory=list)
    failed: list[dict[str, str]] = field(default_factory=list)
    """Members of the pool without an answer: model, kind, detail, and the key of the request."""
    counts: Counter[str] = field(default_factory=Counter)
    file: str = ""
    """Where the prompt stood."""
    line: int = 0

    @property
    def id(self) -> str:
        """The prompt's id."""
        return prompt_id(self.prompt)

    @property
    def instruction(self) -> str:
        """The prompt as a judge sees it."""
        return format_instruction(self.prompt)

    def to_feedback(self) -> Feedback:
        """The prompt with what was made of it."""
        extra = self.extra | ({"failed": self.failed} if self.failed else {})
        return Feedback(
            prompt=self.prompt,
            completions=tuple(self.completions),
            source=self.source,
            extra=extra,
            file=self.file,
            line=self.line,
        )


def collect(
    drafts: Iterable[Draft],
    tally: Tally,
    *,
    settings: Collection,
    seed: int,
    answerer: Generator,
    judge: Generator | None = None,
    watch: ReadingWatch | None = None,
) -> Iterator[Feedback]:
    """Collect feedback on prompts, in their order.

    A prompt that was there before is dropped as ``duplicate-prompt``, one that nobody answered as ``no-completion``.

    Args:
        drafts: the prompts.
        tally: receives counts and drops.
        settings: what is collected.
        seed: decides all draws.
        answerer: asks the pool.
        judge: asks the judge; None takes ``answerer``.
        watch: is told of each reply of the judge whether it was read, and may stop the run.

    Raises:
        ConfigError: if an endpoint that the settings name is not there.
        RunError: when a generator cannot go on, or the judge cannot be read; what was answered is in its ledger.
    """
    judge = judge or answerer
    _check_endpoints(settings, answerer, judge)
    judges = settings.judge.judges() if settings.judge else None
    verifier = Verifier(settings.verify) if settings.verify else None
    work = _Work(settings, seed, answerer, judge, judges, verifier=verifier, watch=watch)
    for draft in _in_order(work, _distinct(drafts, tally)):
        tally.counts.update(draft.counts)
        if draft.completions:
            tally.given += 1
            yield draft.to_feedback()
        else:
            failed = "; ".join(f"{f['model']}: {f['kind']}" for f in draft.failed)
            tally.drop(draft.id, "no-completion", failed, at=draft)


def ask_what_is_known(
    drafts: Iterable[Draft], tally: Tally, *, settings: Collection, seed: int, generator: Generator
) -> None:
    """Put all requests of a collection to a generator that may leave some for later (``collect.batch``): the judge is
    asked about a prompt once all of its completions are there.

    Raises:
        ConfigError: if an endpoint that the settings name is not there.
    """
    _check_endpoints(settings, generator, generator)
    judges = settings.judge.judges() if settings.judge else None
    verifier = Verifier(settings.verify) if settings.verify else None
    work = _Work(settings, seed, generator, generator, judges, verifier=verifier)
    distinct = _distinct(drafts, tally)
    while chunk := list(islice(distinct, _CHUNK)):
        whole = [Draft(draft.prompt, draft.source, draft.extra, file=draft.file, line=draft.line) for draft in chunk]
        work.complete(whole)
        ready = [draft for draft in whole if not any(each["kind"] == NOT_YET for each in draft.failed)]
        if settings.judge is not None and judges is not None:
            work.rate(ready, settings.judge, judges)
        if verifier is not None:
            work.verify(ready, verifier)


def expected_requests(
    drafts: Iterable[Draft], settings: Collection, *, seed: int, answerer: Generator, judge: Generator
) -> Iterator[Request]:
    """The requests that prompts will take if each answer is as long as it may be and each reply can be read at once."""
    _check_endpoints(settings, answerer, judge)
    judges = settings.judge.judges() if settings.judge else None
    verifier = Verifier(settings.verify) if settings.verify else None
    work = _Work(settings, seed, answerer, judge, judges, verifier=verifier)
    for draft in drafts:
        requests = [request for request, *_ in work.wanted(draft, 0)]
        yield from requests
        longest = [Completion(text=_WORD * (r.decoding.max_tokens or _USUAL_TOKENS)) for r in requests]
        supposed = [Draft(draft.prompt, draft.source, draft.extra, completions=longest * settings.samples)]
        if work.verifier is not None:
            questions = work.requirement_questions(supposed, work.verifier)
            for each in questions:
                decoding = work.verifier.settings.sampling.decoding()
                yield Request(model=work.requirement_judge(), messages=each.messages, decoding=decoding, step=each.step)
        if settings.judge is None or judges is None:
            continue
        model = judge.models[settings.judge.endpoint]
        aspects = work.aspect_questions(supposed, settings.judge, judges)
        for question in aspects:
            yield request_for(question, model, settings.judge.rating.decoding())
        for about in _critique_questions(supposed, judges) if settings.judge.critique else ():
            yield request_for(about, model, settings.judge.critic.decoding())


def _check_endpoints(settings: Collection, answerer: Generator, judge: Generator) -> None:
    """Refuse settings that name an endpoint which is not there.

    Raises:
        ConfigError: with the nearest one.
    """
    wanted = [(member.endpoint_name, answerer, f"pool member '{member.name}'") for member in settings.pool]
    if settings.judge is not None:
        wanted.append((settings.judge.endpoint, judge, "the judge"))
    if settings.verify is not None and settings.verify.endpoint is not None:
        wanted.append((settings.verify.endpoint, judge, "the checklist"))
    for name, generator, who in wanted:
        if name not in generator.models:
            raise ConfigError(
                f"{who} names the endpoint '{name}', which is not there; {nearest(name, generator.models)}"
            )


def draw_uniform(*parts: str) -> float:
    """A uniform number in (0, 1) that follows from texts alone."""
    state = hashlib.blake2b("\x1f".join(parts).encode("utf-8", "surrogatepass"), digest_size=7)
    return (int.from_bytes(state.digest()) + 0.5) / 2**56


def draw_members(pool: Iterable[PoolMember], count: int, seed: int, prompt_id: str) -> list[PoolMember]:
    """Draw members for a prompt without replacement, by weight; neither their order nor other prompts matter.

    The ``count`` largest u^(1/w), u uniform, are a weighted draw without replacement (Efraimidis and Spirakis 2006,
    https://doi.org/10.1016/j.ipl.2005.11.003). A member that is added changes only the draws that it enters.
    """
    keyed = [(draw_uniform(f"{seed}:member", prompt_id, member.name) ** (1 / member.weight), member) for member in pool]
    keyed.sort(key=lambda item: (-item[0], item[1].name))
    return [member for _, member in keyed[:count]]


def draw_principle(
    shares: Mapping[str, Mapping[str, float]], source: str, seed: int, prompt_id: str, member: str
) -> str:
    """Draw the principle of a completion by the weights of the prompt's source; empty for none."""
    named = max((name for name in shares if source.startswith(name)), key=len, default=None)
    if named is None:
        return ""
    weights = shares[named]
    left = draw_uniform(f"{seed}:principle", prompt_id, member) * sum(weights.values())
    for principle, weight in weights.items():
        left -= weight
        if left < 0:
            return principle
    return list(weights)[-1]


def format_knowledge(extra: Mapping[str, Any]) -> str:
    """What a source says of right and wrong answers (TruthfulQA, FLAN), as a text for the judge; empty for nothing."""
    parts = []
    for field_name, heading in (("correct_answers", "Known to be right:"), ("incorrect_answers", "Known to be wrong:")):
        answers = extra.get(field_name)
        if isinstance(answers, list) and answers and answers != _NO_ANSWERS:
            parts.append("\n".join([heading, *(f"- {answer}" for answer in answers)]))
    return "\n\n".join(parts)


def _distinct(drafts: Iterable[Draft], tally: Tally) -> Iterator[Draft]:
    seen: set[str] = set()
    for draft in drafts:
        tally.taken += 1
        if draft.id in seen:
            tally.drop(draft.id, "duplicate-prompt", "it is asked once", at=draft, asked_by="data")
            continue
        seen.add(draft.id)
        yield draft


def _in_order(work: "_Work", drafts: Iterator[Draft]) -> Iterator[Draft]:
    """Work on several chunks of prompts at once, and yield them in their order."""
    pool = ThreadPoolExecutor(_AT_ONCE, thread_name_prefix="notus-collect")
    running: deque[Future[list[Draft]]] = deque()
    try:
        for _ in range(_AT_ONCE):
            if chunk := list(islice(drafts, _CHUNK)):
                running.append(pool.submit(work.finish, chunk))
        while running:
            yield from running.popleft().result()
            if chunk := list(islice(drafts, _CHUNK)):
                running.append(pool.submit(work.finish, chunk))
    finally:
        # After an error the threads end with the generators that they wait for; nobody waits for them here.
        pool.shutdown(wait=False, cancel_futures=True)


@dataclass(frozen=True)
class _Work:
    """The way of one chunk of prompts through pool and judge."""

    settings: Collection
    seed: int
    answerer: Generator
    judge: Generator
    judges: Judges | None
    verifier: Verifier | None = None
    watch: ReadingWatch | None = None

    def finish(self, drafts: list[Draft]) -> list[Draft]:
        self.complete(drafts)
        if self.settings.judge is not None and self.judges is not None:
            self.rate(drafts, self.settings.judge, self.judges)
        if self.verifier is not None:
            self.verify(drafts, self.verifier)
        return drafts

    def complete(self, drafts: list[Draft]) -> None:
        """Ask the pool. Completions stand in the order in which their members were drawn."""
        wanted = [(draft, *asked) for place, draft in enumerate(drafts) for asked in self.wanted(draft, place)]
        answered = self.answerer.answer(request for _, request, *_ in wanted)
        outcomes = {request.tag: outcome for request, outcome in answered}
        for draft, request, member, principle, system in wanted:
            _keep(draft, member, principle, system, outcomes[request.tag])

    def wanted(self, draft: Draft, place: int) -> Iterator[tuple[Request, PoolMember, str, str]]:
        """Who is asked for an answer to a prompt: request, member, principle, system prompt."""
        prompt_id = draft.id
        for member in draw_members(self.settings.pool, self.settings.completions, self.seed, prompt_id):
            principle = draw_principle(self.settings.shares(), draft.source, self.seed, prompt_id, member.name)
            system = _system_prompt(principle, f"{self.seed}:system", prompt_id, member.name)
            yield self._request(draft, prompt_id, member, system, f"{place}/{member.name}"), member, principle, system

    def _request(self, draft: Draft, prompt_id: str, member: PoolMember, system: str, tag: str) -> Request:
        drawn = draw_uniform(f"{self.seed}:answer", prompt_id, member.name)
        return Request(
            model=self.answerer.models[member.endpoint_name],
            messages=_with_system(draft.prompt, system),
            decoding=member.sampling.over(self.settings.sampling).decoding(
                seed=int(drawn * 2**31) if self.settings.seeded else None, n=self.settings.samples
            ),
            step="completion",
            tag=tag,
        )

    def rate(self, drafts: list[Draft], settings: JudgeSettings, judges: Judges) -> None:
        """Ask the judge for the aspects of each prompt, and for the critique of each completion."""
        model = self.judge.models[settings.endpoint]
        rater = self._rater(model)
        rated: dict[tuple[int, str], Judged[tuple[Rating, ...]]] = {}
        aspects, tries = self.aspect_questions(drafts, settings, judges), settings.tries
        for found in ask(self.judge, model, aspects, settings.rating.decoding(), tries=tries, watch=self.watch):
            rated[found.question.about] = found
        criticised: dict[tuple[int, int], Judged[Any]] = {}
        critiques: Iterator[Question[Any]] = _critique_questions(drafts, judges) if settings.critique else iter(())
        for about in ask(self.judge, model, critiques, settings.critic.decoding(), tries=tries, watch=self.watch):
            criticised[about.question.about] = about
        for place, draft in enumerate(drafts):
            for index in range(len(draft.completions)):
                for aspect in settings.aspects:
                    _add(draft, index, aspect, rated.get((place, aspect), _UNASKED), rater)
                if settings.critique:
                    _add(draft, index, "critique", criticised[place, index], rater)

    def _rater(self, model: Model) -> str:
        """The model's name says more than the endpoint's, such as "judge", where the settings tell it."""
        return next((one.model for one in self.settings.endpoints if one.name == model.name), "") or model.name

    def verify(self, drafts: list[Draft], verifier: Verifier) -> None:
        """Run the checks of each prompt on its completions, and ask about each requirement of its checklist."""
        judged: dict[tuple[int, int, int], Judged[float]] = {}
        waiting = self.requirement_questions(drafts, verifier)
        first, rater = next(waiting, None), ""
        if first is not None:
            model, decoding = self.requirement_judge(), verifier.settings.sampling.decoding()
            rater = self._rater(model)
            questions, tries = chain([first], waiting), verifier.settings.tries
            for found in ask(self.judge, model, questions, decoding, tries=tries, watch=self.watch):
                judged[found.question.about] = found
        for place, draft in enumerate(drafts):
            own = verifier.demands(draft.prompt, draft.extra, draft)
            if not own.checks and not own.requirements:
                draft.counts["nothing-to-verify"] += 1
            for index, completion in enumerate(draft.completions):
                said = [judged[place, index, number] for number in range(len(own.requirements))]
                checked, counts = verifier.checked(completion, own)
                draft.completions[index], more = verifier.listed(checked, own, said, rater)
                draft.counts.update([*counts, *more])

    def requirement_judge(self) -> Model:
        """Who is asked whether a requirement is met.

        Raises:
            ConfigError: if nobody is named.
        """
        named = self.settings.verify and self.settings.verify.endpoint
        name = named or (self.settings.judge and self.settings.judge.endpoint)
        if not name:
            raise ConfigError(NOBODY)
        return self.judge.models[name]

    def requirement_questions(self, drafts: list[Draft], verifier: Verifier) -> Iterator[Question[float]]:
        """A question for each answer and requirement, about ``(place of the prompt, answer, requirement)``."""
        for place, draft in enumerate(drafts):
            own = verifier.demands(draft.prompt, draft.extra, draft)
            texts = [completion.text for completion in draft.completions]
            for index, number, question in verifier.questions(draft.prompt, texts, own):
                yield with_about(question, about=(place, index, number))

    def aspect_questions(
        self, drafts: list[Draft], settings: JudgeSettings, judges: Judges
    ) -> Iterator[Question[tuple[Rating, ...]]]:
        """A question for each prompt and aspect, about ``(place of the prompt, aspect)``."""
        for place, draft in enumerate(drafts):
            texts = [completion.text for completion in draft.completions]
            for aspect in settings.aspects:
                if not judges.takes(aspect, len(texts)):
                    continue
                question = judges.aspect(
                    aspect,
                    draft.instruction,
                    texts,
                    seed=f"{self.seed}:{draft.id}",
                    knowledge=format_knowledge(draft.extra),
                )
                yield with_about(question, about=(place, aspect))


def _critique_questions(drafts: list[Draft], judges: Judges) -> Iterator[Question[Any]]:
    """A question for each completion, for a critique or by the rubric, about ``(place of the prompt, completion)``."""
    for place, draft in enumerate(drafts):
        for index, completion in enumerate(draft.completions):
            question: Question[Any] = judges.assess(draft.instruction, completion.text, principle=completion.principle)
            yield with_about(question, about=(place, index))


def _keep(draft: Draft, member: PoolMember, principle: str, system: str, outcome: Outcome) -> None:
    """Put a member's answers into the draft, or the reason why there are none."""
    if not isinstance(outcome, Reply):
        draft.counts[f"failed-{outcome.kind}"] += 1
        why = {"model": member.name, "kind": outcome.kind, "detail": outcome.detail, "ledger": outcome.key}
        draft.failed.append(why)
        return
    for text, finish in zip(outcome.texts, outcome.finish, strict=True):
        extra: dict[str, Any] = {"ledger": {"completion": outcome.key}}
        if finish == "length":
            draft.counts["truncated"] += 1
            extra["truncated"] = True
        if finish == "refusal":
            draft.counts["answer-refused"] += 1
            extra["refused"] = True
        draft.completions.append(
            Completion(text=text, model=member.name, principle=principle, system_prompt=system, extra=extra)
        )


def _add(draft: Draft, index: int, what: str, judged: Judged[Any], rater: str) -> None:
    """Put what the judge said of one completion into it, with its name and scale, or why there is no value."""
    completion, value = draft.completions[index], judged.value
    extra = completion.extra | {"ledger": completion.extra["ledger"] | {what: judged.key}}
    shared = index > 0 and what != "critique"  # one reply rates all completions of a prompt
    if not shared:
        draft.counts["asked-again"] += judged.tries - 1
        draft.counts.update(f"refused-{reason}" for reason in judged.refused)
    if isinstance(value, Unscored):
        draft.counts[f"unscored-{value.kind}"] += 1
        if not shared:
            draft.counts[f"not-read-{value.reason}"] += 1
        why = {"kind": value.kind, "reason": value.reason, "detail": value.detail, "raw": value.raw}
        extra["unscored"] = extra.get("unscored", {}) | {what: why}
        draft.completions[index] = replace(completion, extra=extra)
        return
    draft.counts["scored"] += 1
    if what == "critique":
        by_rubric = value.ratings if isinstance(value, Assessment) else ()
        words: Critique = value.critique if isinstance(value, Assessment) else value
        said = replace(words, rater=rater, scale=_SCORED)
        ratings = (*completion.ratings, *(replace(rating, rater=rater) for rating in by_rubric))
        draft.completions[index] = replace(completion, critique=said, ratings=ratings, extra=extra)
    else:
        rating = replace(value[index], rater=rater, scale=_RATED)
        draft.completions[index] = replace(completion, ratings=(*completion.ratings, rating), extra=extra)


def _with_system(prompt: tuple[Message, ...], system: str) -> tuple[Message, ...]:
    """The prompt under a system prompt, which follows the prompt's own where it has one."""
    if not system:
        return prompt
    if prompt[0].role == "system":
        return (Message(role="system", content=f"{prompt[0].content}\n\n{system}"), *prompt[1:])
    return (Message(role="system", content=system), *prompt)


def _system_prompt(principle: str, *parts: str) -> str:
    if not principle:
        return ""
    variants = _variants(principle)
    return variants[int(draw_uniform(*parts) * len(variants))]


@cache
def _variants(principle: str) -> tuple[str, ...]:
    return read_variants(f"principle_{principle}")
