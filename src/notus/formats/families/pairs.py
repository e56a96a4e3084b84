"""Pairs of answers, and answers with a label: what trainers and the published sets of preferences hold.

    h4               prompt, prompt_id, chosen[], rejected[], messages, score_chosen, score_rejected
    argilla          instruction, chosen_response, rejected_response, chosen_avg_rating, rejected_avg_rating, …
    argilla-cleaned  prompt, chosen[], rejected[], chosen-rating, chosen-model, rejected-rating, rejected-model
    trl              prompt, chosen, rejected: all texts, or all lists of messages of which the answers hold the answer
    trl-implicit     chosen, rejected with the prompt in front of both: lists of messages, or texts with a marker
    trl-unpaired     prompt, completion, label
    pairs            what else has chosen and rejected: a text before lists of messages that repeat it (Tulu 3),
                     Alpaca's instruction and input, a question after a system prompt (Orca)

They share one reader. Where both answers begin with turns of a prompt, the turns that they share are the prompt, and at
least one turn is left on each side. A prompt in front of two texts is believed only where it ends with what opens an
answer, such as ``Assistant:`` or a chat template's mark: two answers that begin alike share no prompt. Where the prompt
may stand in another column, that column is named, and nothing is guessed. Alpaca's ``input`` is set two lines below the
instruction, and kept in ``extra``; a system prompt in a column of its own is the first turn.

Scores are read under the names that published sets use (``chosen_score``, ``rating_rejected``, ``chosen-reward``, …):
both sides under the same one. A name that a format has for itself goes first, and what lies under the others stays a
further column.
"""

import hashlib
import re
from itertools import product
from typing import Any

import msgspec

from notus.core.records import Message, Preference, Unpaired
from notus.formats.fields import (
    Said,
    keep_as_read,
    looks_like_messages,
    read_flag,
    read_messages,
    read_score,
    read_text,
    refuse_media,
    required,
    speaker,
    split_fields,
    with_extra,
    write_sides,
)
from notus.formats.format import Format, NoPlaceError, Row
from notus.formats.quarantine import RowError

__all__ = ["FORMATS", "OURS", "ask_for_prompt", "h4_prompt_id", "read_pair", "with_system", "without_prompt"]

Turns = tuple[Message, ...]
Names = dict[str, str]

_ANSWERS = ("chosen", "rejected")
_PAIR = ("prompt", *_ANSWERS)
_SCORES = ("score_chosen", "score_rejected")
_TEXTS = ("source", "model_chosen", "model_rejected", "feedback_id")
OURS: Names = {name: name for name in (*_PAIR, *_SCORES, *_TEXTS)}
"""Field of a ``Preference`` → column; here, of H4's and TRL's formats."""
_ARGILLA: Names = OURS | {
    "prompt": "instruction",
    "chosen": "chosen_response",
    "rejected": "rejected_response",
    "score_chosen": "chosen_avg_rating",
    "score_rejected": "rejected_avg_rating",
    "model_chosen": "chosen_model",
    "model_rejected": "rejected_model",
}
"""Field → column of argilla/ultrafeedback-binarized-preferences. The published files have no ``rejected_model``."""
_ARGILLA_CLEANED: Names = OURS | {
    "score_chosen": "chosen-rating",
    "score_rejected": "rejected-rating",
    "model_chosen": "chosen-model",
    "model_rejected": "rejected-model",
}
"""Field → column of argilla/ultrafeedback-binarized-preferences-cleaned."""
_ASKED = ("prompt", "instruction", "question")
_SYSTEM = ("system", "system_prompt")
_GRADES = (
    *("score", "rating", "reward", "avg_rating", "mean_rating", "average_rating", "overall_score", "rm_score"),
    *("reward_score", "ranker_score", "grade"),
)
_SCORE_NAMES: tuple[tuple[str, str], ...] = tuple(
    tuple(form.format(side=side, grade=grade) for side in _ANSWERS)  # type: ignore[misc]
    for grade, form in product(_GRADES, ("{grade}_{side}", "{side}_{grade}"))
)
"""Columns of the scores of chosen and rejected in published sets, without case, ``_`` for a hyphen or a blank; of
several in one row the first is taken."""
_MARGINS = ("margin", "score_margin", "rating_margin", "reward_margin")
_LIKELY_PROMPTS = ("input", "query", "question", "text", "context", "post", "message", "user", "problem", "task")
"""Columns that are asked for first where none is the prompt."""
_MARK = re.compile(
    r"<\|im_start\|>assistant\n|<\|start_header_id\|>assistant<\|end_header_id\|>\n\n|<start_of_turn>model\n"
    r"|<\|assistant\|>\n?|<｜Assistant｜>|\[/INST\]|(?:\A|\n)(?:### )?(?:Assistant|ASSISTANT|Response):\n?"
)
"""What opens an answer in a text: of chat templates, and of transcripts."""
_UNPAIRED = ("prompt", "completion", "label", "score")
_UNPAIRED_TEXTS = ("source", "model", "feedback_id")


def _is_h4(row: Row) -> bool:
    """Whether a prompt with its SHA-256 stands before two lists that repeat it."""
    return isinstance(row.get("prompt"), str) and "prompt_id" in row and _repeats_prompt(row)


def _is_argilla(row: Row) -> bool:
    """Whether the row has the names of Argilla's first set."""
    return all(isinstance(row.get(_ARGILLA[name]), str) for name in _PAIR)


def _is_argilla_cleaned(row: Row) -> bool:
    """Whether the row has the names of Argilla's cleaned set."""
    return _is_pairs(row) and any(_ARGILLA_CLEANED[name] in row for name in _SCORES)


def _is_trl(row: Row) -> bool:
    """Whether prompt and answers stand apart, all as texts or all as lists of messages."""
    values = [row.get(name) for name in _PAIR]
    if all(isinstance(value, str) for value in values):
        return True
    return all(isinstance(value, list) for value in values) and not _repeats_prompt(row)


def _is_trl_implicit(row: Row) -> bool:
    """Whether two answers repeat a prompt that does not stand apart."""
    if any(row.get(name) is not None for name in _ASKED):
        return False
    chosen, rejected = row.get("chosen"), row.get("rejected")
    if isinstance(chosen, str) and isinstance(rejected, str):
        return _border(chosen, rejected) > 0
    return _repeats_prompt(row)


def _is_unpaired(row: Row) -> bool:
    """Whether an answer stands beside a label."""
    return isinstance(row.get("completion"), (str, list)) and "label" in row and "prompt" in row


def _is_pairs(row: Row) -> bool:
    """Whether the row has two answers in any form. Where its prompt is, the reader says, or asks."""
    return all(isinstance(row.get(name), (str, list)) or speaker(row.get(name)) for name in _ANSWERS)


def _repeats_prompt(row: Row) -> bool:
    answers = [row.get(name) for name in _ANSWERS]
    firsts = [speaker(answer[0]) for answer in answers if isinstance(answer, list) and answer]
    return len(firsts) == 2 and None not in firsts and "assistant" not in firsts


def _read_h4(row: Row) -> Preference:
    """Read a row of H4's format. ``prompt_id`` and ``messages`` are kept only where they say something else."""
    found = read_pair(row)
    extra = {name: value for name, value in found.extra.items() if name not in ("prompt_id", "messages")}
    prompt, prompt_id, messages = (row.get(name) for name in ("prompt", "prompt_id", "messages"))
    if prompt_id is not None and not (isinstance(prompt, str) and prompt_id == h4_prompt_id(prompt)):
        extra["prompt_id"] = prompt_id
    if messages is not None and messages != row["chosen"]:
        extra["messages"] = messages
    return msgspec.structs.replace(found, extra=extra)


def h4_prompt_id(prompt: str) -> str:
    """H4's id of a prompt: the SHA-256 of its text in 64 hexadecimal digits."""
    return hashlib.sha256(prompt.encode("utf-8", "surrogatepass")).hexdigest()


def _read_argilla(row: Row) -> Preference:
    """Read a row of Argilla's first set."""
    return read_pair(row, _ARGILLA)


def _read_argilla_cleaned(row: Row) -> Preference:
    """Read a row of Argilla's cleaned set."""
    return read_pair(row, _ARGILLA_CLEANED)


def _read_trl(row: Row) -> Preference:
    """Read a row of TRL's, with the prompt apart or in both answers."""
    given = [(name, row.get(name)) for name in _ANSWERS]
    texts = [text for name, text in given if isinstance(text, str) and not looks_like_messages(text, name)]
    if row.get("prompt") is None and len(texts) == 2:
        row = row | _divided(row, texts[0], texts[1])
    return read_pair(row)


def _divided(row: Row, chosen: str, rejected: str) -> Row:
    """The columns of a pair of two texts that have their prompt in front of them.

    Raises:
        RowError: if they share none that ends at a mark: two answers that begin alike share no prompt.
    """
    if not (border := _border(chosen, rejected)):
        ask_for_prompt(row)
        detail = "two texts without a prompt must share one that ends with what opens an answer, such as 'Assistant:'"
        raise RowError("prompt", "missing-field", None, detail)
    rendered = [_turns_of(text) for text in (chosen, rejected)]
    if all(rendered):
        return dict(zip(_ANSWERS, rendered, strict=True))
    return {"prompt": chosen[:border].rstrip(), "chosen": chosen[border:], "rejected": rejected[border:]}


def _border(chosen: str, rejected: str) -> int:
    """Where the prompt in front of two texts ends: behind the last mark that both have; 0 where they share none."""
    differs = (at for at, (one, two) in enumerate(zip(chosen, rejected, strict=False)) if one != two)
    shared = next(differs, min(len(chosen), len(rejected)))
    ends = [found.end() for found in _MARK.finditer(chosen[:shared])]
    return ends[-1] if ends else 0


_TURN_MARKS = (
    (re.compile(r"<\|im_start\|>(\w+)\n"), ("<|im_end|>",)),
    (re.compile(r"<\|start_header_id\|>(\w+)<\|end_header_id\|>\n\n"), ("<|eot_id|>",)),
    (re.compile(r"<start_of_turn>(\w+)\n"), ("<end_of_turn>",)),
    (re.compile(r"<\|(system|user|assistant)\|>\n?"), ("</s>", "<|end|>", "<|endoftext|>")),
)
"""What opens a turn in chat templates, and what ends it."""
_BEGINS = re.compile(r"\A(?:<\|begin_of_text\|>|<bos>|<s>)?\s*\Z")


def _turns_of(text: str) -> list[Row] | None:
    """The messages of a text that a chat template has rendered, an answer at its end; None of any other text."""
    for opens, ends in _TURN_MARKS:
        before, *parts = opens.split(text)
        if not parts or not _BEGINS.match(before) or parts[-2] not in ("assistant", "model"):
            continue
        told = []
        for role, said in zip(parts[::2], parts[1::2], strict=True):
            end = next((end for end in ends if said.rstrip().endswith(end)), "")
            told.append({"role": role, "content": said.rstrip().removesuffix(end) if end else said})
        return told
    return None


def ask_for_prompt(row: Row, wanted: str = "prompt") -> None:
    """Refuse a row whose prompt may stand in a column of another name, and say which and what to do.

    Raises:
        RowError: if there is another column of text or messages.
    """
    taken = {*_ANSWERS, *_TEXTS, "prompt_id", "id", "split", *_SYSTEM}
    texts = [
        name
        for name, value in row.items()
        if name not in taken and (isinstance(value, str) or (isinstance(value, list) and value and speaker(value[0])))
    ]
    likely = sorted(texts, key=lambda name: name.lower() not in ("prompt", "instruction", *_LIKELY_PROMPTS))
    if likely:
        others = f" (or {', '.join(likely[1:4])})" if len(likely) > 1 else ""
        detail = f"if the column '{likely[0]}'{others} holds it, add --map prompt={likely[0]}"
        raise RowError(wanted, "missing-field", None, detail)


def _read_any_pair(row: Row) -> Preference:
    """Read a pair in any form that has no name of its own."""
    asked = next((name for name in _ASKED if row.get(name) is not None), "prompt")
    if asked == "prompt":
        return read_pair(row) if row.get("prompt") is not None else _read_trl(row)
    text, further = read_text(row[asked], asked), row.get("input")
    if isinstance(further, str) and further:
        text += f"\n\n{further}"
    return read_pair(row | {asked: text}, OURS | {"prompt": asked})


def _read_unpaired(row: Row) -> Unpaired:
    """Read an answer with its label."""
    refuse_media(row)
    known, extra = split_fields(row, _UNPAIRED)
    prompt = with_system(read_messages(required(known, "prompt"), "prompt", "user"), extra)
    answer = read_messages(required(known, "completion"), "completion", "assistant")
    keep_as_read(extra, {"prompt": prompt, "completion": answer})
    return Unpaired(
        prompt=prompt.turns,
        answer=answer.turns,
        desirable=read_flag(required(known, "label"), "label"),
        score=read_score(known.get("score"), "score"),
        extra=extra,
        **_take_texts(extra, {name: name for name in _UNPAIRED_TEXTS}, _UNPAIRED_TEXTS),
    )


def with_system(prompt: Said, extra: Row) -> Said:
    """A prompt with the system prompt that stands in a column of its own, which is taken out of the further ones."""
    if extra.keys().isdisjoint(_SYSTEM):
        return prompt
    name = next((name for name in _SYSTEM if isinstance(extra.get(name), str) and extra[name]), None)
    if name is None or prompt.turns[0].role in ("system", "developer"):
        return prompt
    text = extra.pop(name)
    first: Row = {"role": "system", "content": text}
    raw = None if prompt.raw is None else [first, *prompt.raw]
    return Said((Message(role="system", content=text), *prompt.turns), raw, prompt.form)


def read_pair(row: Row, names: Names | None = None) -> Preference:
    """Read a pair from columns of given names: field of a ``Preference`` → column; by default the fields' own.

    Raises:
        RowError: with the field and the rule that it broke.
    """
    refuse_media(row)
    names = names or OURS
    columns = {names[field] for field in _PAIR}
    extra = {name: value for name, value in row.items() if name not in columns}
    given = row.get(names["prompt"])
    prompt = None if given is None else read_messages(given, names["prompt"], "user")
    sides = [read_messages(required(row, names[name]), names[name], "assistant") for name in _ANSWERS]
    if prompt is None and sides[0].turns[0].role == sides[1].turns[0].role == "assistant":
        ask_for_prompt(extra, names["prompt"])
    turns = without_prompt(None if prompt is None else prompt.turns, sides[0].turns, sides[1].turns, names)
    length = len(sides[0].turns) - len(turns[1])
    asked = sides[0].part(0, length) if length or prompt is None else prompt
    chosen, rejected = [side.part(length, None) for side in sides] if length else sides
    asked = with_system(asked, extra)
    if asked.raw is not None or chosen.raw is not None or rejected.raw is not None:
        keep_as_read(extra, {"prompt": asked, "chosen": chosen, "rejected": rejected})
    if length:  # the other lists may say more of the turns that they share
        for name, said in (("rejected_prompt", sides[1].part(0, length)), ("stated_prompt", prompt)):
            if said is not None and any(item not in asked.items() for item in said.items()):
                keep_as_read(extra, {name: said})
    score_chosen, score_rejected = _take_scores(extra, (names["score_chosen"], names["score_rejected"]))
    return Preference(
        prompt=asked.turns,
        chosen=chosen.turns,
        rejected=rejected.turns,
        score_chosen=score_chosen,
        score_rejected=score_rejected,
        margin=_take_margin(extra),
        extra=extra,
        **_take_texts(extra, names),
    )


def _take_texts(extra: Row, names: Names, fields: tuple[str, ...] = _TEXTS) -> dict[str, Any]:
    """Take text columns of known names out of the further ones. Of another type such a column is someone else's."""
    found = {}
    for field in fields:
        name = names[field]
        value = extra.get(name, 0)
        if value is None or isinstance(value, str):
            del extra[name]
            if value is not None:
                found[field] = value
    return found


def _take_scores(extra: Row, own: tuple[str, str]) -> tuple[float | None, float | None]:
    """The scores of both answers, taken out of their columns, or else out of ``metadata``.

    What stands under the format's own names must be a score; under the others it may be someone else's.
    """
    first, second = own
    if first in extra or second in extra:
        return read_score(extra.pop(first, None), first), read_score(extra.pop(second, None), second)
    if (found := _scores_among(extra)) is not None:
        return found
    metadata = extra.get("metadata")
    if not isinstance(metadata, dict):
        return None, None
    rest = dict(metadata)
    if any(name in rest for name in _SCORES):
        a, b = (read_score(rest.pop(name, None), f"metadata.{name}") for name in _SCORES)
        found = a, b
    else:
        found = _scores_among(rest)
    if found is not None:
        extra["metadata"] = rest
        if not rest:
            del extra["metadata"]
    return found or (None, None)


def _scores_among(columns: Row) -> tuple[float | None, float | None] | None:
    """Two scores under one of the known names, which are taken out of the columns; None where there are none."""
    plain = {_plain_name(name): name for name in columns if "chosen" in (lower := name.lower()) or "rejected" in lower}
    if not plain:
        return None
    for names in _SCORE_NAMES:
        present = [plain[name] for name in names if name in plain]
        if not present:
            continue
        try:
            values = [read_score(columns[plain[name]] if name in plain else None, name) for name in names]
        except RowError:
            continue  # a text or a list under such a name is no score
        for name in present:
            del columns[name]
        return values[0], values[1]
    return None


def _plain_name(name: str) -> str:
    return name.lower().replace("-", "_").replace(" ", "_")


def _take_margin(extra: Row) -> float | None:
    """The margin that a row states, out of its column. Another kind of value under such a name is someone else's."""
    for name in _MARGINS:
        if name in extra:
            try:
                margin = read_score(extra[name], name)
            except RowError:
                continue
            del extra[name]
            return margin
    return None


def without_prompt(
    prompt: Turns | None, chosen: Turns, rejected: Turns, names: Names = OURS
) -> tuple[Turns, Turns, Turns]:
    """Take the turns that both answers share off them, where the answers repeat the prompt as in H4's files.

    Raises:
        RowError: if there is no prompt, or the answers do not follow one prompt.
    """
    if chosen[0].role == "assistant" and rejected[0].role == "assistant":
        if prompt is None:
            raise RowError(names["prompt"], "missing-field")
        return prompt, chosen, rejected
    length = 0
    # At least one turn is left on each side, also where both answers are the same.
    while length < min(len(chosen), len(rejected)) - 1 and chosen[length] == rejected[length]:
        length += 1
    shared, chosen, rejected = chosen[:length], chosen[length:], rejected[length:]
    if not shared or {chosen[0].role, rejected[0].role} != {"assistant"}:
        detail = "chosen and rejected differ before an answer"
        raise RowError(names["rejected"], "prompt-mismatch", rejected[0].content, detail)
    told = {(turn.role, turn.content) for turn in shared}  # a prompt's text says no names and no thoughts
    if prompt is not None and not {(turn.role, turn.content) for turn in prompt} <= told:
        detail = "chosen and rejected follow another prompt"
        raise RowError(names["prompt"], "prompt-mismatch", prompt[-1].content, detail)
    return shared, chosen, rejected


def _write_trl(pair: Preference) -> Row:
    sides, extra = write_sides({name: getattr(pair, name) for name in _PAIR}, pair.extra)
    return with_extra(sides | _write_rest(pair, OURS), extra)


def _write_trl_implicit(pair: Preference) -> Row:
    answers, extra = _write_answers(pair)
    # A column 'prompt' would be read as the prompt: it has no place here.
    return with_extra(answers | _write_rest(pair, OURS), extra, reserved=("prompt",))


def _write_h4(pair: Preference) -> Row:
    prompt, (answers, extra) = _first_question(pair.prompt), _write_answers(pair)
    extra = dict(extra)
    row = {"prompt": prompt, "prompt_id": extra.pop("prompt_id", h4_prompt_id(prompt))}
    row |= answers | {"messages": extra.pop("messages", answers["chosen"])}
    return with_extra(row | _write_rest(pair, OURS), extra)


def _write_argilla(pair: Preference) -> Row:
    one_turn = len(pair.prompt) == 1 and pair.prompt[0].role == "user"
    answers = {"chosen": pair.chosen, "rejected": pair.rejected}
    several = [] if one_turn else ["prompt"]
    several += [name for name, turns in answers.items() if len(turns) != 1 or turns[0].role != "assistant"]
    if several:
        said = "the format 'argilla' holds one user's turn and one answer on each side, no more"
        raise NoPlaceError(said, several)
    # A text holds a block of thoughts, and of a message that held more its content; the rest stays a further column.
    named = {name: getattr(pair, name) for name in _PAIR if f"{name}_as_read" not in pair.extra}
    sides, extra = write_sides(named, pair.extra)
    texts = {name: sides[name][0].get("content", "") for name in sides}
    row = {_ARGILLA[name]: texts.get(name, getattr(pair, name)[0].content) for name in _PAIR}
    return with_extra(row | _write_rest(pair, _ARGILLA), extra)


def _write_argilla_cleaned(pair: Preference) -> Row:
    answers, extra = _write_answers(pair)
    row = {"prompt": _first_question(pair.prompt)} | answers
    return with_extra(row | _write_rest(pair, _ARGILLA_CLEANED), extra)


def _write_unpaired(item: Unpaired) -> Row:
    sides, extra = write_sides({"prompt": item.prompt, "completion": item.answer}, item.extra)
    row = sides | {"label": item.desirable}
    return with_extra(row | {name: getattr(item, name) for name in ("score", *_UNPAIRED_TEXTS)}, extra)


def _write_answers(pair: Preference) -> tuple[Row, Row]:
    """Both answers with the prompt in front, and the further columns."""
    sides, extra = write_sides({name: getattr(pair, name) for name in _PAIR}, pair.extra)
    return {name: [*sides["prompt"], *sides[name]] for name in _ANSWERS}, extra


def _first_question(prompt: Turns) -> str:
    """The prompt as one text, as H4 and Argilla have it: the first turn of the user."""
    first = next((turn.content for turn in prompt if turn.role == "user"), None)
    if first is None:
        raise NoPlaceError("the prompt has no user's turn, and the format needs its text", ["prompt"])
    return first


def _write_rest(pair: Preference, names: Names) -> Row:
    """Scores, source, models and id under the names of the format; in every row, also where they say nothing."""
    row = {names[field]: getattr(pair, field) for field in (*_SCORES, *_TEXTS)}
    return row if pair.margin is None else row | {"margin": pair.margin}


_TEXTS_SAMPLE: Row = {"prompt": "Name a river.", "chosen": "The Oder.", "rejected": "No."}
_ASKED_SAMPLE = [{"role": "user", "content": "Name a river."}]
_WHOLE_SAMPLE: Row = {
    "chosen": [*_ASKED_SAMPLE, {"role": "assistant", "content": "The Oder."}],
    "rejected": [*_ASKED_SAMPLE, {"role": "assistant", "content": "No."}],
}

FORMATS = (
    Format(
        name="argilla",
        record=Preference,
        decode=_read_argilla,
        matches=_is_argilla,
        encode=_write_argilla,
        before=("argilla-cleaned",),
        sample={
            "instruction": "Name a river.",
            "chosen_response": "The Oder.",
            "rejected_response": "No.",
            "chosen_avg_rating": 4.75,
            "rejected_avg_rating": 1.5,
            "chosen_model": "alder",
        },
    ),
    Format(
        name="argilla-cleaned",
        record=Preference,
        decode=_read_argilla_cleaned,
        matches=_is_argilla_cleaned,
        encode=_write_argilla_cleaned,
        before=("h4",),  # for the names of its scores
        sample=_WHOLE_SAMPLE
        | {"prompt": "Name a river.", "chosen-rating": 4.75, "chosen-model": "alder"}
        | {"rejected-rating": 1.5, "rejected-model": "birch"},
    ),
    Format(
        name="h4",
        record=Preference,
        decode=_read_h4,
        matches=_is_h4,
        encode=_write_h4,
        before=("hh",),  # for its prompt_id
        sample=_WHOLE_SAMPLE
        | {"prompt": "Name a river.", "prompt_id": h4_prompt_id("Name a river.")}
        | {"messages": _WHOLE_SAMPLE["chosen"], "score_chosen": 9.0, "score_rejected": 2.5},
    ),
    Format(
        name="trl",
        record=Preference,
        decode=_read_trl,
        matches=_is_trl,
        encode=_write_trl,
        before=("trl-implicit",),
        sample=_TEXTS_SAMPLE,
    ),
    Format(
        name="trl-implicit",
        record=Preference,
        decode=_read_trl,
        matches=_is_trl_implicit,
        encode=_write_trl_implicit,
        before=("pairs",),
        sample=_WHOLE_SAMPLE,
    ),
    # A row with both answers is a pair, also where it has a label, messages or a conversation.
    Format(
        name="pairs",
        record=Preference,
        decode=_read_any_pair,
        matches=_is_pairs,
        before=("trl-unpaired",),
        sample={"system": "Be brief.", "question": "Name a river.", "chosen": "The Oder.", "rejected": "No."},
    ),
    Format(
        name="trl-unpaired",
        record=Unpaired,
        decode=_read_unpaired,
        matches=_is_unpaired,
        encode=_write_unpaired,
        before=("ultrachat",),
        sample={"prompt": "Name a river.", "completion": "The Oder.", "label": True},
    ),
)
