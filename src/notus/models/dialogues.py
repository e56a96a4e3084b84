"""Dialogues of several answers as token ids: one prompt, what follows it, and which of its tokens count.

The prompt goes up to the first answer, as ``models.tokens`` has it. Behind it come the answers, each encoded for itself
with its end-of-sequence token, and between them what the template puts from behind one answer's end-of-sequence token
to the mark that opens the next. So every answer has the tokens that it has behind a prompt of its own.
"""

from collections.abc import Sequence
from itertools import pairwise

from notus.core.errors import ConfigError, DataError
from notus.core.records import Message
from notus.models.pack import Group
from notus.models.tokens import Encoder

__all__ = ["dialogue_groups"]

Conversation = tuple[Message, ...]


def dialogue_groups(encoder: Encoder, conversations: Sequence[Conversation]) -> list[Group]:
    """Encode dialogues as groups of one branch, in which the tokens of all answers count.

    An assistant turn that opens a dialogue has no prompt, and is part of the first one (counted as
    ``opening-answer-untrained``). Turns behind the last answer are dropped (``trailing-turns-dropped``). A prompt that
    is too long is cut on the left (``prompt-cut``). What does not fit behind it is cut on the right: answers that are
    lost whole are counted as ``turns-cut``, one that loses its end as ``answer-cut``; the branch ends with an answer's
    token in any case.

    Raises:
        DataError: if a dialogue has no answer behind a prompt.
        ConfigError: if there are dialogues of several answers, and the template changes earlier turns when later ones
            follow, or ends an assistant's turn with something else than the end-of-sequence token.
    """
    dialogues = [(messages, _answers(encoder, messages)) for messages in conversations]
    prompts = encoder.prompts([messages[: places[0]] for messages, places in dialogues])
    answers = iter(encoder.answers([messages[place].content for messages, places in dialogues for place in places]))
    between = iter(_between(encoder, dialogues))
    groups = []
    for (_, places), prompt in zip(dialogues, prompts, strict=True):
        pieces = [next(answers)]
        for _ in places[1:]:
            pieces += [next(between), next(answers)]
        groups.append(_group(encoder, prompt, pieces))
    return groups


def _answers(encoder: Encoder, messages: Conversation) -> list[int]:
    """Places of the answers that count."""
    places = [place for place, message in enumerate(messages) if message.role == "assistant"]
    if places[:1] == [0]:
        encoder.tally.count("opening-answer-untrained")
        del places[0]
    if not places:
        roles = ", ".join(message.role for message in messages)
        raise DataError(f"a dialogue needs a prompt and an answer behind it; this one has the turns: {roles}")
    if trailing := len(messages) - 1 - places[-1]:
        encoder.tally.count("trailing-turns-dropped", trailing)
    return places


def _group(encoder: Encoder, prompt: list[int], pieces: list[list[int]]) -> Group:
    """Join answers (even places) and what is between them (odd ones), and cut what does not fit."""
    branch = [token for piece in pieces for token in piece]
    trained = [not number % 2 for number, piece in enumerate(pieces) for _ in piece]
    room = encoder.limits.max_length - len(prompt)
    end = len(branch)
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
    return Group(prompt, (branch[:end],), None if all(kept) else (kept,))


def _between(encoder: Encoder, dialogues: Sequence[tuple[Conversation, list[int]]]) -> list[list[int]]:
    """Token ids from behind each answer's end to the mark that opens the next answer, of all dialogues in turn."""
    texts: list[str] = []
    marked: dict[int, list[int]] = {}
    for messages, places in dialogues:
        if len(places) == 1:
            continue
        pieces = _pieces(encoder, messages, places)
        if encoder.typed(encoder.turns(messages)):
            found = (_marked(encoder, messages, place, following) for place, following in pairwise(places))
            marked |= dict(enumerate(found, start=len(texts)))
        texts += pieces
    if not texts:
        return []
    encoded = encoder.tokenizer(texts, add_special_tokens=False)["input_ids"]
    # The end-of-sequence token was in front, because tokenizers treat the start of a text as something else.
    return [marked.get(number, ids[1:]) for number, ids in enumerate(encoded)]


def _pieces(encoder: Encoder, messages: Conversation, places: list[int]) -> list[str]:
    """Text from each answer's end-of-sequence token on to the mark that opens the next answer."""
    name, eos = encoder.tokenizer.name_or_path, str(encoder.tokenizer.eos_token)
    turns = encoder.turns(messages)
    more = len(turns) - len(messages)
    rendered: list[str] = encoder.tokenizer.apply_chat_template(
        [turns[: place + more] for place in places], add_generation_prompt=True, tokenize=False
    )
    pieces = []
    for place, (before, text) in zip(places, pairwise(rendered), strict=False):
        if not text.startswith(before):
            raise ConfigError(
                f"the chat template of {name!r} changes earlier turns when later ones follow; use another template, "
                "or dialogues of one answer"
            )
        follows, answer = text[len(before) :].lstrip(), messages[place].content.lstrip()
        form = next((form for form in (answer, answer.rstrip()) if follows.startswith(form + eos)), None)
        if form is None:
            raise ConfigError(
                f"the chat template of {name!r} does not end an assistant's turn with its text and the end-of-sequence "
                f"token {eos!r}; make what ends a turn the tokenizer's eos_token, or use dialogues of one answer"
            )
        pieces.append(follows[len(form) :])
    return pieces


def _marked(encoder: Encoder, messages: Conversation, place: int, following: int) -> list[int]:
    """The same as token ids, where somebody typed a control token: all up to the next answer is encoded, and cut."""

    def ids(until: int, opened: bool) -> list[int]:
        return list(
            encoder.tokenizer.apply_chat_template(
                encoder.turns(messages[:until]),
                add_generation_prompt=opened,
                return_dict=False,
                sanitize_control_tokens=True,
            )
        )

    eos, whole = encoder.tokenizer.eos_token_id, ids(following, True)
    ends = [index for index, token in enumerate(whole) if token == eos]
    return whole[ends[ids(place + 1, False).count(eos) - 1] + 1 :]
