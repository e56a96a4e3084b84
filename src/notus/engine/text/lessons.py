"""Dialogues as lessons: which answers of a conversation are trained on, and the tokens between them.

A dialogue of several answers is one prompt, up to its first answer, and one completion behind it. The completion holds
the answers, each as it stands behind a prompt of its own, and between them what the template puts from behind one
answer's end to the mark that opens the next. So every answer has the tokens that it has behind a prompt of its own.
Where a template writes earlier answers in another way once later turns follow (it leaves their thoughts out, say), as
many of the last answers count as it leaves alone, and the others are counted as ``answer-untrained``.

Thoughts and calls of tools are written by the model's own chat template where the limits ask for it: the prompt is then
what is rendered before an answer, the answer what is rendered behind it up to the end of its turn.
"""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import msgspec

from notus.core.records import Message
from notus.engine.pack import PromptGroup
from notus.engine.text.encoder import Encoder
from notus.engine.text.template import UnfitError

__all__ = ["Lesson", "dialogue_groups", "lesson_groups", "lesson_of"]

Conversation = tuple[Message, ...]


@dataclass(frozen=True)
class Lesson:
    """A conversation, and which of its answers count."""

    messages: Conversation
    answers: tuple[int, ...]
    """Places of the turns that count, in order; the first is behind the prompt."""
    tools: Any = None
    """The tools that the assistant may call, as a list of JSON schemas or its JSON text; None without any."""

    @property
    def calls_tools(self) -> bool:
        """Whether a tool is called or answers."""
        return any(turn.tool_calls or turn.role == "tool" for turn in self.messages)


def dialogue_groups(encoder: Encoder, conversations: Sequence[Conversation]) -> list[PromptGroup]:
    """Encode dialogues as groups of one completion, in which the tokens of all answers count: see ``lesson_groups``.

    Raises:
        UnfitError: if a dialogue has no answer behind a prompt, or the template cannot write one.
    """
    return lesson_groups(encoder, [lesson_of(encoder, messages) for messages in conversations])


def lesson_of(
    encoder: Encoder,
    messages: Conversation,
    tools: Any = None,
    *,
    first: int = 0,
    untrained: frozenset[int] = frozenset(),
) -> Lesson:
    """A conversation with the answers that count: those of the assistant's behind a prompt.

    An assistant turn that opens a dialogue has no prompt, and is part of the first one (counted as
    ``opening-answer-untrained``). Turns behind the last answer are dropped (``trailing-turns-dropped``).

    Args:
        encoder: takes the counts.
        messages: all turns.
        tools: see ``Lesson``.
        first: place from which on answers count.
        untrained: places of answers that do not (counted as ``answer-untrained``).

    Raises:
        UnfitError: if no answer counts.
    """
    places = [place for place, message in enumerate(messages) if message.role == "assistant" and place >= first]
    if places[:1] == [0]:
        encoder.tally.count("opening-answer-untrained")
        del places[0]
    if untrained and (left := untrained.intersection(places)):
        encoder.tally.count("answer-untrained", len(left))
        places = [place for place in places if place not in left]
        if not places:
            raise UnfitError("no-trained-answer", "the row says of every answer that it is not to be trained on")
    if not places:
        roles = ", ".join(message.role for message in messages)
        text = f"a dialogue needs a prompt and an answer behind it; this one has the turns: {roles}"
        raise UnfitError("no-answer", text)
    if trailing := len(messages) - 1 - places[-1]:
        encoder.tally.count("trailing-turns-dropped", trailing)
    return Lesson(messages, tuple(places), tools)


def lesson_groups(encoder: Encoder, lessons: Sequence[Lesson]) -> list[PromptGroup]:
    """Encode lessons as groups of one completion, in which the tokens of their answers count.

    A prompt that is too long is cut on the left (``prompt-cut``). What does not fit behind it is cut on the right:
    answers that are lost whole are counted as ``turns-cut``, one that loses its end as ``answer-cut``; the completion
    ends with an answer's token in any case. Thoughts and tools that the limits leave out are counted as
    ``reasoning-dropped`` and ``tools-dropped``.

    Raises:
        UnfitError: if a lesson calls tools and the limits leave these out; or if the template cannot write it, or with
            several answers ends an assistant's turn with no control token.
    """
    written = [_by_template(encoder, lesson) for lesson in lessons]
    plain = [lesson for lesson, by_template in zip(lessons, written, strict=True) if not by_template]
    usual = iter(_plain_drafts(encoder, plain))
    drafts = [
        _written_draft(encoder, lesson) if by_template else next(usual)
        for lesson, by_template in zip(lessons, written, strict=True)
    ]
    return _encode(encoder, drafts)


def _by_template(encoder: Encoder, lesson: Lesson) -> bool:
    """Whether the template must write the answers: with their thoughts, or with tools."""
    limits = encoder.limits
    return (limits.tools and (lesson.tools is not None or lesson.calls_tools)) or (
        limits.reasoning == "template" and any(turn.reasoning for turn in lesson.messages)
    )


@dataclass(frozen=True)
class _Draft:
    """A lesson on its way to tokens: what counts of it, and what the template writes around that."""

    prompt: str | Conversation
    """The rendered prompt, or the turns that it is rendered from."""
    answers: tuple[str, ...]
    """What is said, where the template needs nothing but the text; otherwise what it writes, with the end."""
    between: tuple[str | list[int], ...] = ()
    """From behind each answer's end to the mark that opens the next."""
    written: bool = False
    """Whether ``answers`` are what the template writes."""


def _encode(encoder: Encoder, drafts: Sequence[_Draft]) -> list[PromptGroup]:
    """Token ids of drafts, all texts of a kind together."""
    rendered = iter(encoder.ids([of.prompt for of in drafts if isinstance(of.prompt, str)]))
    turns = iter(encoder.prompts([of.prompt for of in drafts if not isinstance(of.prompt, str)]))
    said = iter(encoder.answers([text for of in drafts if not of.written for text in of.answers]))
    given = iter(encoder.behind_opening([text for of in drafts if of.written for text in of.answers]))
    between = _between(encoder, [text for of in drafts for text in of.between if isinstance(text, str)])
    groups = []
    for draft in drafts:
        prompt = encoder.cut_prompt(next(rendered)) if isinstance(draft.prompt, str) else next(turns)
        answers = given if draft.written else said
        pieces = [next(answers)]
        for text in draft.between:
            pieces += [next(between) if isinstance(text, str) else text, next(answers)]
        groups.append(_group(encoder, prompt, pieces))
    return groups


def _between(encoder: Encoder, texts: Sequence[str]) -> Iterator[list[int]]:
    """Token ids of what stands behind the end of a turn: its token goes in front, and is taken off again."""
    end = str(encoder.tokenizer.convert_ids_to_tokens(encoder.end.id))
    yield from (ids[1:] for ids in encoder.ids([end + text for text in texts]))


def _plain_drafts(encoder: Encoder, lessons: Sequence[Lesson]) -> list[_Draft]:
    for lesson in lessons:
        if lesson.calls_tools:
            raise UnfitError("tools-dropped", "it calls tools, and these are left out; set limits.tools: true")
        if lesson.tools:
            encoder.tally.count("tools-dropped")
        if earlier := sum(bool(turn.reasoning) for n, turn in enumerate(lesson.messages) if n not in lesson.answers):
            encoder.tally.count("reasoning-dropped", earlier)
    texts = [[encoder.said(lesson.messages[place]) for place in lesson.answers] for lesson in lessons]
    several = [text for of in texts if len(of) > 1 for text in of]
    written = iter(encoder.template.answers(several))
    drafts = []
    for lesson, of in zip(lessons, texts, strict=True):
        if len(of) == 1:
            drafts.append(_Draft(lesson.messages[: lesson.answers[0]], tuple(of)))
        else:
            drafts.append(_several(encoder, lesson, of, [next(written) for _ in of]))
    return drafts


def _several(encoder: Encoder, lesson: Lesson, said: Sequence[str], written: Sequence[str]) -> _Draft:
    """A dialogue of several answers, of which only the text counts."""
    turns = encoder.turns(lesson.messages)
    more, places = len(turns) - len(lesson.messages), lesson.answers
    opened = encoder.template.render([turns[: place + more] for place in places], opened=True)
    first = _first_kept(encoder, opened, written)
    between: list[str | list[int]]
    if encoder.typed(turns):
        between = [_between_as_ids(encoder, lesson.messages, *both) for both in pairwise(places[first:])]
    else:
        between = _texts_between(opened[first:], written[first:])
    return _Draft(lesson.messages[: places[first]], tuple(said[first:]), tuple(between))


def _first_kept(encoder: Encoder, opened: Sequence[str], written: Sequence[str]) -> int:
    """From which answer on the template leaves what it wrote alone; those before are counted as untrained.

    Raises:
        UnfitError: if a turn of the assistant's ends with no control token.
    """
    if len(written) > 1 and not encoder.end.written:
        raise UnfitError(
            "several-answers",
            f"the chat template of {encoder.tokenizer.name_or_path!r} does not end an assistant's turn with a control "
            "token of the tokenizer; use another template, or dialogues of one answer",
        )
    first = len(written) - 1
    while first and opened[first].startswith(opened[first - 1] + written[first - 1]):
        first -= 1
    if first:
        encoder.tally.count("answer-untrained", first)
    return first


def _texts_between(opened: Sequence[str], written: Sequence[str]) -> list[str | list[int]]:
    return [
        after[len(before) + len(answer) :] for (before, after), answer in zip(pairwise(opened), written, strict=False)
    ]


def _between_as_ids(encoder: Encoder, messages: Conversation, place: int, following: int) -> list[int]:
    """The same as token ids, where somebody typed a control token: all up to the next answer is encoded, and cut."""
    template, end = encoder.template, encoder.end.id
    closed = template.safe_ids([encoder.turns(messages[: place + 1])])[0]
    whole = template.safe_ids([encoder.turns(messages[:following])], opened=True)[0]
    ends = [index for index, token in enumerate(whole) if token == end]
    behind = encoder.ids([template.after_end])[0].count(end)
    return whole[ends[closed.count(end) - behind - 1] + 1 :]


def _written_draft(encoder: Encoder, lesson: Lesson) -> _Draft:
    """A lesson with its thoughts and tools, as the template writes it."""
    turns = encoder.written_turns(lesson.messages)
    more = len(turns) - len(lesson.messages)
    tools = _tools(lesson.tools) if encoder.limits.tools else None
    places, render = lesson.answers, encoder.template.render
    opened = render([turns[: place + more] for place in places], opened=True, tools=tools)
    closed = render([turns[: place + more + 1] for place in places], tools=tools)
    written = [
        _written_answer(encoder, lesson.messages[place], turns[place + more], before, after)
        for place, before, after in zip(places, opened, closed, strict=True)
    ]
    if any(_tool_name(tool) not in opened[0] for tool in tools or ()):
        raise UnfitError("template-refuses", "the chat template does not write the tools that may be called")
    first = _first_kept(encoder, opened, written)
    between = _texts_between(opened[first:], written[first:])
    return _Draft(opened[first], tuple(written[first:]), tuple(between), written=True)


def _written_answer(encoder: Encoder, message: Message, turn: dict[str, Any], opened: str, closed: str) -> str:
    """What the template writes of an answer behind its prompt, up to the end of its turn.

    Raises:
        UnfitError: if it writes something else, or not all.
    """
    found = encoder.template.behind(opened, closed, turn)
    wanted = {}
    if encoder.limits.reasoning == "template":
        wanted["reasoning"] = message.reasoning
    elif message.reasoning:
        encoder.tally.count("reasoning-dropped")
    if encoder.limits.tools:
        wanted |= {f"call of {call.name}": call.name for call in message.tool_calls}
    if missing := [what for what, text in wanted.items() if text.strip() not in found]:
        name = encoder.tokenizer.name_or_path
        raise UnfitError("template-refuses", f"the chat template of {name!r} leaves out the {missing[0]}")
    return found


def _tools(given: Any) -> list[Any] | None:
    """Tools as a template takes them, also from their JSON text."""
    if isinstance(given, str):
        try:
            given = msgspec.json.decode(given) if given.strip() else None
        except msgspec.DecodeError:
            raise UnfitError("broken-tools", "the tools are a text that is no JSON") from None
    if given is not None and not (isinstance(given, list) and all(isinstance(tool, dict) for tool in given)):
        raise UnfitError("broken-tools", "the tools must be a list of JSON schemas")
    return given or None


def _tool_name(tool: dict[str, Any]) -> str:
    function = tool.get("function")
    return str((function if isinstance(function, dict) else tool).get("name", ""))


def _group(encoder: Encoder, prompt: list[int], pieces: list[list[int]]) -> PromptGroup:
    """Join answers (even places) and what is between them (odd ones), and cut what does not fit."""
    completion = [token for piece in pieces for token in piece]
    trained = [not number % 2 for number, piece in enumerate(pieces) for _ in piece]
    room = encoder.limits.max_length - len(prompt)
    end = len(completion)
    if end > room:
        begins = [sum(map(len, pieces[:number])) for number in range(0, len(pieces), 2)]
        if lost := sum(begin >= room for begin in begins):
            encoder.tally.count("turns-cut", lost)
        if trained[room] and room not in begins:
            encoder.tally.count("answer-cut")
        end = room
        while not trained[end - 1]:
            end -= 1
    kept = trained[:end]
    return PromptGroup(prompt, (completion[:end],), None if all(kept) else (kept,))
