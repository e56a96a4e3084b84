"""Dialogues that a teacher has with itself, and instructions that it rewrites.

Owns the order of the questions that make a dialogue (an opening line from a topic or from a text, an answer, the next
user line, and so on) and a rewritten instruction. The prompt files lie in ``llm/templates``.
"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from itertools import islice

from notus.collect.collect import Draft, draw_uniform
from notus.collect.settings import Conversation, Refinement, Sampling
from notus.core.errors import ConfigError, nearest
from notus.core.records import Dialogue, Message, digest
from notus.core.stage import Tally
from notus.llm.prompts import read_prompt, read_variants
from notus.llm.protocol import Generator, Model, Reply, Request, ordered

__all__ = ["converse", "refine"]

_CHUNK = 512
"""Dialogues that grow together, one turn after the other."""


@dataclass
class _Growing:
    """A dialogue while it grows."""

    number: int
    opened_from: dict[str, str]
    messages: list[Message] = field(default_factory=list)
    keys: list[str] = field(default_factory=list)
    failed: str = ""


@dataclass(frozen=True)
class _Teacher:
    """A model that is asked one thing of each of several dialogues."""

    generator: Generator
    model: Model
    sampling: Sampling
    seed: int | None

    def ask(
        self, growing: Sequence[_Growing], step: str, messages: Callable[[_Growing], tuple[Message, ...]]
    ) -> Iterator[tuple[_Growing, str]]:
        """Ask about those that have not failed; the text that came for each of them."""
        alive = [item for item in growing if not item.failed]
        requests = [self._request(messages(item), step, item.number) for item in alive]
        for item, (_, outcome) in zip(alive, ordered(self.generator, requests), strict=True):
            item.keys.append(outcome.key)
            if not isinstance(outcome, Reply):
                item.failed = outcome.kind
            elif not outcome.text.strip():
                item.failed = "empty"
            else:
                yield item, outcome.text.strip()

    def _request(self, messages: tuple[Message, ...], step: str, number: int) -> Request:
        # The number of the draw distinguishes dialogues that open alike.
        seed = None if self.seed is None else int(draw_uniform(str(self.seed), step, str(number)) * 2**31)
        decoding = self.sampling.decoding(seed=seed)
        return Request(model=self.model, messages=messages, decoding=decoding, sample=number, step=step)


def converse(settings: Conversation, tally: Tally, *, seed: int, generator: Generator) -> Iterator[Dialogue]:
    """Let the teacher have dialogues with itself; each begins with the user and ends with the assistant.

    A dialogue in which a request has no answer, or an empty one, is dropped under the kind of the failure.

    Raises:
        ConfigError: if the teacher is no endpoint.
        RunError: when the generator cannot go on.
    """
    teacher = _teacher(settings.teacher, settings.sampling, seed if settings.seeded else None, generator)
    starts = _starts(settings, seed)
    while chunk := list(islice(starts, _CHUNK)):
        tally.taken += len(chunk)
        _open(teacher, chunk)
        for turn in range(settings.turns):
            if turn:
                _next_line(teacher, chunk, turn)
            for item, text in teacher.ask(chunk, "dialogue/answer", lambda item: tuple(item.messages)):
                item.messages.append(Message(role="assistant", content=text))
        for item in chunk:
            if item.failed:
                tally.drop(digest(str(seed), str(item.number)), item.failed, f"after {len(item.messages)} turns")
                continue
            tally.given += 1
            extra = item.opened_from | {"ledger": item.keys}
            yield Dialogue(messages=tuple(item.messages), source="collected", extra=extra)


def refine(
    settings: Refinement, drafts: Iterable[Draft], tally: Tally, *, seed: int, generator: Generator
) -> Iterator[Dialogue]:
    """Let the teacher answer instructions, and rewrite each in the light of its answer: new prompts.

    Prompts of several turns are dropped as ``several-turns``, those without an answer under the kind of the failure.

    Raises:
        ConfigError: if the teacher is no endpoint, or the prompt file does not fit.
        RunError: when the generator cannot go on.
    """
    template = read_prompt(settings.prompt, needs=("instruction", "answer"))
    teacher = _teacher(settings.teacher, settings.sampling, seed if settings.seeded else None, generator)
    numbered = enumerate(_single_turns(drafts, tally))
    while chunk := [(_Growing(number, {}, list(draft.prompt)), draft) for number, draft in islice(numbered, _CHUNK)]:
        growing = [item for item, _ in chunk]
        for item, text in teacher.ask(growing, "refine/answer", lambda item: tuple(item.messages)):
            item.messages.append(Message(role="assistant", content=text))
        rewritten: dict[int, str] = {}
        for item, text in teacher.ask(
            growing,
            "refine/instruction",
            lambda item: template.fill({"instruction": item.messages[0].content, "answer": item.messages[1].content}),
        ):
            rewritten[item.number] = text
        for item, draft in chunk:
            if item.failed:
                tally.drop(draft.id, item.failed, at=draft)
                continue
            tally.given += 1
            extra = draft.extra | {"refined_from": draft.instruction, "ledger": item.keys}
            new = Message(role="user", content=rewritten[item.number])
            yield Dialogue(messages=(new,), source=draft.source, extra=extra, file=draft.file, line=draft.line)


def _teacher(name: str, sampling: Sampling, seed: int | None, generator: Generator) -> _Teacher:
    if name not in generator.models:
        raise ConfigError(f"the teacher '{name}' is no endpoint; {nearest(name, generator.models)}")
    return _Teacher(generator, generator.models[name], sampling, seed)


def _starts(settings: Conversation, seed: int) -> Iterator[_Growing]:
    """What each dialogue opens from, drawn by its number."""
    topics, kinds = read_variants(settings.topics), read_variants(settings.kinds)
    for number in range(settings.dialogues):
        by_text = draw_uniform(f"{seed}:start", str(number)) < settings.materials
        choices, name = (kinds, "kind") if by_text else (topics, "topic")
        choice = choices[int(draw_uniform(f"{seed}:{name}", str(number)) * len(choices))]
        yield _Growing(number, {name: choice})


def _open(teacher: _Teacher, chunk: Sequence[_Growing]) -> None:
    """The first user line: from a topic, or about a text that the teacher writes, and that then belongs to the line."""
    by_topic = [item for item in chunk if "topic" in item.opened_from]
    by_text = [item for item in chunk if "kind" in item.opened_from]
    topic = read_prompt("teacher_open_topic", needs=("topic",))
    for item, text in teacher.ask(
        by_topic, "dialogue/opening", lambda item: topic.fill({}, {"topic": item.opened_from["topic"]})
    ):
        item.messages.append(Message(role="user", content=text))
    kind, about = (
        read_prompt("teacher_write_text", needs=("kind",)),
        read_prompt("teacher_open_text", needs=("material",)),
    )
    texts: dict[int, str] = {}
    for item, text in teacher.ask(
        by_text, "dialogue/text", lambda item: kind.fill({}, {"kind": item.opened_from["kind"]})
    ):
        texts[item.number] = text
    for item, line in teacher.ask(
        by_text, "dialogue/opening", lambda item: about.fill({"material": texts[item.number]})
    ):
        item.messages.append(Message(role="user", content=f"{line}\n\n{texts[item.number]}"))


def _next_line(teacher: _Teacher, chunk: Sequence[_Growing], turn: int) -> None:
    template = read_prompt("teacher_next", needs=("conversation",))

    def messages(item: _Growing) -> tuple[Message, ...]:
        lines = (f"[{'person' if m.role == 'user' else 'assistant'}]\n{m.content}" for m in item.messages)
        return template.fill({"conversation": "\n\n".join(lines)})

    for item, text in teacher.ask(chunk, f"dialogue/line-{turn + 1}", messages):
        item.messages.append(Message(role="user", content=text))


def _single_turns(drafts: Iterable[Draft], tally: Tally) -> Iterator[Draft]:
    for draft in drafts:
        tally.taken += 1
        if len(draft.prompt) == 1 and draft.prompt[0].role == "user":
            yield draft
        else:
            tally.drop(draft.id, "several-turns", at=draft)
