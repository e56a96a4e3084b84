"""Rows as trainers take them: a dialogue in one of several forms, alone or beside a verdict on its last answer.

| dialogue            | alone             | with a label          | with a score            | with a rejected answer  |
|---------------------|-------------------|-----------------------|-------------------------|-------------------------|
| instruction, output | alpaca            | alpaca-kto            | alpaca-score            | (pairs)                 |
| prompt, completion  | prompt-completion | prompt-completion-kto | prompt-completion-score |                         |
| query, response     | query-response    | query-response-kto    | query-response-score    | query-response-rejected |
| conversation        | conversation      | conversation-kto      | conversation-score      | conversation-rejected   |
| messages            | (ultrachat)       | messages-kto          | messages-score          | messages-rejected       |
| conversations       | (sharegpt)        | conversations-kto     | conversations-score     | conversations-rejected  |

    messages-pairs     messages[], chosen, rejected: the answers alone
    openai-preference  input{messages[], tools[], …}, preferred_output[], non_preferred_output[]
    distilabel-orca    system, input, chosen, rejected, generations[], rating[], status
    trl-sft                 messages[] and no prompt: what TRL's trainer takes for a dialogue
    trl-prompt-completion   prompt[], completion[]: it trains on the last answer alone
    ifeval                  prompt, instruction_id_list[], kwargs[]: prompts whose answers a program checks
    trl-grpo                prompt[], checks: the same for TRL's GRPO, with ids and settings in one JSON text

*trl-sft* and *trl-prompt-completion* are written, and read when they are named; unnamed rows of theirs are read as
*ultrachat* and *prompt-completion*. TRL trains on the completion of a row that has a prompt and one, and refuses
messages beside a prompt, so a further column of that name is written as ``prompt_beside``.

What is in brackets stands in another module. A dialogue beside a verdict becomes what the verdict says: a label makes
an ``Unpaired``, a score a ``Feedback`` with one rated answer (rows of one prompt are joined), a rejected answer a
``Preference``. A row with a verdict is never read as a plain dialogue, for its answer may be one that nobody wants: it
goes to the quarantine (``has-verdict``) where a file of plain dialogues holds it.

The verdict's columns are owned by ``formats.verdicts``; each column of a score is a rating of that name, and a score
that is missing costs the score, not the row. The answer is what follows the last turn of the user's; a rejected answer
stands against the last turn alone.

- **Alpaca**: https://github.com/tatsu-lab/stanford_alpaca#data-release; with ``system``, ``history`` and ``kto_tag`` in
  LLaMA-Factory, https://github.com/hiyouga/LLaMA-Factory/blob/main/data/README.md. ``input`` stands two lines below the
  instruction, and kept in ``extra``.
- **TRL**'s prompt–completion: https://huggingface.co/docs/trl/dataset_formats. With a label it is *trl-unpaired*,
  unless the completion repeats the dialogue
  (https://huggingface.co/datasets/argilla/distilabel-capybara-kto-15k-binarized) or the label is another than TRL's.
- **IFEval** (https://huggingface.co/datasets/google/IFEval): ids and settings stay in ``extra``. What they mean is
  owned by ``notus.checks``; for *trl-grpo* ``notus.checks.grpo`` has the reward functions.
- **ms-swift**: https://swift.readthedocs.io/en/latest/Customization/Custom-dataset.html. Query and response with system
  and history, conversation[{human, assistant}]; Capybara's base set writes conversation[{input, output}]
  (https://huggingface.co/datasets/LDJnr/Capybara).
- **axolotl**: https://docs.axolotl.ai/docs/rlhf.html. chat_template.default is *messages-pairs*.
- **OpenAI**: https://platform.openai.com/docs/guides/direct-preference-optimization. ``tools`` go into ``extra``, what
  else the input holds into its ``input``.
- **distilabel-orca**: https://huggingface.co/datasets/argilla/distilabel-intel-orca-dpo-pairs. ``rating`` follows
  ``generations``, in which both answers are found again; where they are not, it stays in ``extra``, and there are no
  scores. So does ``status``: *unchanged*, *swapped*, or *tie*, a pair of equal scores.
"""

import json
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

from msgspec.structs import replace

from notus.core.records import Dialogue, Feedback, Message, Preference, Rating, Unpaired
from notus.formats.families import chats
from notus.formats.families.pairs import OURS, read_pair, with_system, without_prompt
from notus.formats.families.ranked import make_completion
from notus.formats.fields import (
    Said,
    keep_as_read,
    keep_raw,
    read_as,
    read_flag,
    read_list,
    read_messages,
    read_name,
    read_score,
    read_source,
    read_text,
    read_turns,
    required,
    split_fields,
    with_extra,
    write_sides,
)
from notus.formats.format import Format, NoPlaceError, Row
from notus.formats.join import by_prompt
from notus.formats.quarantine import RowError
from notus.formats.verdicts import (
    LABELS,
    PAIR,
    REJECTED,
    SCORES,
    flag_of,
    label_of,
    refuse_verdict,
    rejected_of,
    scores_of,
)

__all__ = ["FORMATS"]

Turns = tuple[Message, ...]

_RATERS = ("judge", "judge_model", "rater", "annotator")
_SYSTEM = ("system", "system_prompt")
_SIDES = (("human", "assistant"), ("input", "output"))
_ASKING = ("user", "human", "system", "developer")
_INTEL = ("input", *PAIR)
_ORCA = OURS | {"prompt": "input"}


@dataclass(frozen=True)
class _Form:
    """One way in which rows write a dialogue."""

    name: str
    matches: Callable[[Row], bool]
    """Whether a row has such a dialogue, and it ends with an answer."""
    decode: Callable[[Row], Any]
    """Reads the row without its verdict as a ``Dialogue``."""
    at: str
    """The column of the answer."""
    sample: Row
    kinds: tuple[str, ...]
    """Of the kinds in ``_READERS``, those of which a format is made."""
    before: tuple[str, ...] = ()


def _kind_of(row: Row) -> str:
    """What is said of the answer of a row: a kind in ``_READERS``, or ``pairs``."""
    if rejected_of(row) is not None:
        return "rejected"
    if any(row.get(name) is not None for name in PAIR):
        return "pairs"
    if label_of(row) is not None:
        return "kto"
    return "score" if scores_of(row) else ""


# Forms of a dialogue.


def _read_alpaca(row: Row) -> Dialogue:
    """Read an instruction with its input and output, after a system prompt and earlier turns where there are some."""
    known, extra = split_fields(row, ("instruction", "output"))
    question = read_text(required(known, "instruction"), "instruction")
    further = read_text(row.get("input") or "", "input")
    return _exchange(f"{question}\n\n{further}" if further else question, known, extra, "output")


def _read_query(row: Row) -> Dialogue:
    """Read a query with its response, after a system prompt and earlier turns where there are some."""
    known, extra = split_fields(row, ("query", "response"))
    return _exchange(read_text(required(known, "query"), "query"), known, extra, "response")


def _exchange(question: str, known: Row, extra: Row, answered: str) -> Dialogue:
    answer = read_text(required(known, answered), answered)
    turns = [*_take_system(extra), *_take_history(extra)]
    turns += [Message(role="user", content=question), Message(role="assistant", content=answer)]
    return Dialogue(messages=tuple(turns), source=read_source(extra), extra=extra)


def _take_system(extra: Row) -> list[Message]:
    """The system prompt, out of the further columns; an empty one is none."""
    name = next((name for name in _SYSTEM if isinstance(extra.get(name), str) and extra[name]), None)
    return [Message(role="system", content=extra.pop(name))] if name else []


def _take_history(extra: Row) -> list[Message]:
    """Earlier turns as pairs of a question and an answer, out of the further columns."""
    turns = []
    for index, pair in enumerate(read_as(extra.pop("history", None) or [], list[Any], "history")):
        asked, said = read_as(pair, tuple[str, str], f"history[{index}]")
        turns.append(Message(role="user", content=read_text(asked, f"history[{index}][0]")))
        turns.append(Message(role="assistant", content=read_text(said, f"history[{index}][1]")))
    return turns


def _read_conversation(row: Row) -> Dialogue:
    """Read pairs of a human's and an assistant's text, after a system prompt where there is one."""
    known, extra = split_fields(row, ("conversation",))
    turns = _take_system(extra)
    for index, item in enumerate(read_list(required(known, "conversation"), "conversation")):
        at = f"conversation[{index}]"
        pair = read_as(item, Row, at)
        names = next((names for names in _SIDES if names[0] in pair), _SIDES[0])
        for name, role in zip(names, ("user", "assistant"), strict=True):
            text = read_as(required(pair, name, f"{at}."), str, f"{at}.{name}")
            turns.append(read_as({"role": role, "content": text}, Message, at))
        if pair.keys() - set(names):
            keep_raw(extra, "conversation", row["conversation"])
    return Dialogue(messages=tuple(turns), source=read_source(extra), extra=extra)


def _read_prompt_completion(row: Row) -> Dialogue:
    """Read a prompt and its completion, as texts or as messages."""
    known, extra = split_fields(row, ("prompt", "completion"))
    prompt, more = read_turns(required(known, "prompt"), "prompt", "user")
    answer, more_answer = read_turns(required(known, "completion"), "completion", "assistant")
    for name, held in (("prompt", more), ("completion", more_answer)):
        if held:
            keep_raw(extra, name, row[name])
    if answer[0].role != "assistant":  # the completion repeats the dialogue
        if not all(turn in answer for turn in prompt):
            raise RowError("completion", "prompt-mismatch", answer[0].content, "it follows another prompt")
        prompt = ()
    if (*prompt, *answer)[0].role not in ("system", "developer"):
        prompt = (*_take_system(extra), *prompt)
    return Dialogue(messages=(*prompt, *answer), source=read_source(extra), extra=extra)


def _texts(*names: str) -> Callable[[Row], bool]:
    return lambda row: all(isinstance(row.get(name), str) for name in names)


def _turns(column: str, *names: str) -> Callable[[Row], bool]:
    def matches(row: Row) -> bool:
        value = row.get(column)
        if not isinstance(value, list) or not value or not all(isinstance(item, dict) for item in value):
            return False
        last = value[-1].get("role", value[-1].get("from"))
        return any(name in value[0] for name in names) and last not in _ASKING

    return matches


def _is_prompt_completion(row: Row) -> bool:
    return all(isinstance(row.get(name), (str, list)) and row[name] for name in ("prompt", "completion"))


def _is_more_than_trl(row: Row) -> bool:
    """Whether the label is another than TRL's, or the completion repeats the prompt."""
    completion = row.get("completion")
    first = completion[0] if isinstance(completion, list) and completion else None
    repeats = isinstance(first, dict) and first.get("role") != "assistant"
    return _is_prompt_completion(row) and (repeats or isinstance(row.get("label"), str | None))


_CHATS = {each.name: each for each in chats.FORMATS}
_TURNS: list[Row] = [{"role": "user", "content": "Name a river."}, {"role": "assistant", "content": "The Oder."}]
_COMPLETED: Row = {"system": "Be brief.", "prompt": "Name a river.", "completion": "The Oder."}
_FORMS = (
    _Form(
        name="alpaca",
        matches=_texts("instruction", "output"),
        decode=_read_alpaca,
        at="output",
        sample={"instruction": "Name a river.", "input": "It reaches the Baltic Sea.", "output": "The Oder."},
        kinds=("", "kto", "score"),
    ),
    _Form(
        name="prompt-completion",
        matches=_is_prompt_completion,
        decode=_read_prompt_completion,
        at="completion",
        sample=_COMPLETED,
        kinds=("", "score"),
    ),
    _Form(
        name="prompt-completion",
        matches=_is_more_than_trl,
        decode=_read_prompt_completion,
        at="completion",
        sample=_COMPLETED,
        kinds=("kto",),
        before=("trl-unpaired",),
    ),
    _Form(
        name="query-response",
        matches=_texts("query", "response"),
        decode=_read_query,
        at="response",
        sample={"query": "Name a river.", "response": "The Oder.", "history": [["Hi.", "Hello."]]},
        kinds=("", "kto", "score", "rejected"),
    ),
    _Form(
        name="conversation",
        matches=_turns("conversation", "human", "input"),
        decode=_read_conversation,
        at="conversation",
        sample={"system": "Be brief.", "conversation": [{"human": "Name a river.", "assistant": "The Oder."}]},
        kinds=("", "kto", "score", "rejected"),
    ),
    _Form(
        name="messages",
        matches=_turns("messages", "role"),
        decode=_CHATS["ultrachat"].decode,
        at="messages",
        sample={"messages": _TURNS},
        kinds=("kto", "score", "rejected"),
    ),
    _Form(
        name="conversations",
        matches=_turns("conversations", "from"),
        decode=_CHATS["sharegpt"].decode,
        at="conversations",
        sample={"conversations": [{"from": "human", "value": "Name a river."}, {"from": "gpt", "value": "The Oder."}]},
        kinds=("kto", "score", "rejected"),
    ),
)


# What a verdict makes of a dialogue.


def _read_alone(form: _Form, row: Row) -> Dialogue:
    """Read a dialogue; refuse one that has a verdict."""
    refuse_verdict(row)
    found: Dialogue = form.decode(row)
    return found


def _divide(form: _Form, row: Row, used: Sequence[str]) -> tuple[Dialogue, Turns, Turns]:
    """Read the dialogue of a row without its verdicts: all of it, its prompt and its answer.

    Of the columns of verdicts, those that are not used stay among the further ones.
    """
    said = {*LABELS, *SCORES, *REJECTED, *PAIR} & row.keys()
    found: Dialogue = form.decode({name: value for name, value in row.items() if name not in said})
    found = replace(found, extra=found.extra | {name: row[name] for name in row if name in said and name not in used})
    turns = found.messages
    asked = [index for index, turn in enumerate(turns) if turn.role not in ("assistant", "tool")]
    border = asked[-1] + 1 if asked else 0
    if border == len(turns):
        raise RowError(form.at, "no-answer", turns[-1].content)
    if border == 0:
        raise RowError(form.at, "prompt-mismatch", turns[0].content, "no turn of a user's stands before the answer")
    return found, turns[:border], turns[border:]


def _read_labelled(form: _Form, row: Row) -> Unpaired:
    """Read a dialogue with a label that says whether its answer is wanted."""
    label = next((name for name in LABELS if row.get(name) is not None), None)
    label = label or next((name for name in LABELS if name in row), LABELS[0])
    desirable = read_flag(flag_of(required(row, label)), label)
    scores = [name for name in scores_of(row) if row[name] is not None][:1]
    found, prompt, answer = _divide(form, row, (label, *scores))
    extra = dict(found.extra)
    model = extra.pop("model") if isinstance(extra.get("model"), str) else ""
    return Unpaired(
        prompt=prompt,
        answer=answer,
        desirable=desirable,
        score=read_score(row[scores[0]], scores[0]) if scores else None,
        source=found.source,
        model=model,
        extra=extra,
    )


def _read_scored(form: _Form, row: Row) -> Feedback:
    """Read a dialogue whose answer has been scored; each column of a score is a rating of that name."""
    names = scores_of(row) or [name for name in SCORES if name in row]
    if not names:
        raise RowError(SCORES[0], "missing-field")
    found, prompt, answer = _divide(form, row, names)
    extra = dict(found.extra)
    rater = next((name for name in _RATERS if isinstance(extra.get(name), str)), None)
    by = str(extra.pop(rater)) if rater else ""
    ratings = tuple(Rating(aspect=name, value=read_score(row[name], name), rater=by) for name in names)
    model = read_name(extra.pop("model", None), "model")
    completion = make_completion(answer, form.at, model=model, ratings=ratings, extra=extra)
    return Feedback(prompt=prompt, completions=(completion,), source=found.source)


def _read_rejected(form: _Form, row: Row) -> Preference:
    """Read a dialogue with another last answer, or with another whole dialogue."""
    name = rejected_of(row) or REJECTED[0]
    found, *_ = _divide(form, row, (name,))
    turns = found.messages
    rejected, more = read_turns(required(row, name), name, "assistant")
    prompt, chosen, rejected = (
        (turns[:-1], turns[-1:], rejected)
        if rejected[0].role == "assistant"
        else without_prompt(None, turns, rejected, {"prompt": form.at, "chosen": form.at, "rejected": name})
    )
    if chosen[0].role != "assistant":
        raise RowError(form.at, "no-answer", chosen[0].content)
    extra = dict(found.extra)
    if more:
        keep_raw(extra, name, row[name])
    return Preference(prompt=prompt, chosen=chosen, rejected=rejected, source=found.source, extra=extra)


# Pairs whose prompt is written otherwise.


def _is_messages_pair(row: Row) -> bool:
    """Whether two answers, without the prompt, stand beside messages."""
    messages = row.get("messages")
    first = messages[0] if isinstance(messages, list) and messages else None
    return isinstance(first, dict) and "role" in first and row.get("prompt") is None and _are_answers(row)


def _are_answers(row: Row) -> bool:
    """Whether chosen and rejected are answers alone, as texts, turns or lists of turns."""
    firsts = [value[0] if isinstance(value, list) and value else value for value in map(row.get, PAIR)]
    return all(isinstance(each, str) or (isinstance(each, dict) and each.get("role") == "assistant") for each in firsts)


def _read_messages_pair(row: Row) -> Preference:
    """Read messages with two answers; where the messages go on with the chosen one, it is taken off them."""
    prompt, more = read_turns(required(row, "messages"), "messages", "user")
    if row.get("prompt") is not None:
        raise RowError("prompt", "prompt-mismatch", row["prompt"], "the messages are the prompt")
    further: Row = {name: value for name, value in row.items() if name not in (*PAIR, "messages")}
    asked = with_system(Said(prompt), further)
    found = read_pair(further | {name: row.get(name) for name in PAIR} | {"prompt": ""})
    prompt = asked.turns
    if prompt[-len(found.chosen) :] == found.chosen:
        prompt = prompt[: -len(found.chosen)]
    if not prompt or prompt[-1].role == "assistant":
        detail = "the messages must end before the answer, or with the chosen one"
        raise RowError("messages", "prompt-mismatch", row["messages"], detail)
    extra = dict(found.extra)
    if more:
        keep_raw(extra, "messages", row["messages"])
    return replace(found, prompt=prompt, extra=extra)


def _is_openai_preference(row: Row) -> bool:
    """Whether the row has an input and two outputs, of which one is preferred."""
    outputs = all(isinstance(row.get(name), list) for name in _OPENAI.values() if name != "input")
    return outputs and isinstance(row.get("input"), dict)


_OPENAI = {"prompt": "input", "chosen": "preferred_output", "rejected": "non_preferred_output"}


def _read_openai_preference(row: Row) -> Preference:
    """Read a line of OpenAI's preference fine-tuning."""
    known, extra = split_fields(row, _OPENAI.values())
    given = dict(read_as(required(known, "input"), Row, "input"))
    read = {"prompt": read_turns(required(given, "messages", "input."), "input.messages", "user")}
    for side in PAIR:
        read[side] = read_turns(required(known, _OPENAI[side]), _OPENAI[side], "assistant")
    columns = {"prompt": given.pop("messages"), **{side: known[_OPENAI[side]] for side in PAIR}}
    for field, (_, more) in read.items():
        if more:
            keep_raw(extra, field, columns[field])
    if given.get("tools") is not None and "tools" not in extra:
        extra["tools"] = given.pop("tools")
    if given:
        extra["input"] = given
    prompt, chosen, rejected = without_prompt(read["prompt"][0], read["chosen"][0], read["rejected"][0], _OPENAI)
    return Preference(prompt=prompt, chosen=chosen, rejected=rejected, source=read_source(extra), extra=extra)


def _is_distilabel_orca(row: Row) -> bool:
    """Whether the prompt is called input, and the answers were rated beside one another."""
    return all(isinstance(row.get(name), str) for name in _INTEL) and "rating" in row and row.get("prompt") is None


def _read_distilabel_orca(row: Row) -> Preference:
    """Read a pair with the ratings of both answers, in the order of the generations."""
    if row.get("prompt") is not None:
        raise RowError("prompt", "prompt-mismatch", row["prompt"], "the input is the prompt")
    required(row, "input")
    pair = read_pair({name: value for name, value in row.items() if name != "prompt"}, _ORCA)
    texts, ratings = row.get("generations"), row.get("rating")
    if not isinstance(texts, list) or not isinstance(ratings, list) or len(texts) != len(ratings):
        return pair
    given = [
        (text, read_score(rating, f"rating[{n}]")) for n, (text, rating) in enumerate(zip(texts, ratings, strict=True))
    ]
    scores = []
    for side in PAIR:
        found = next((item for item in given if item[0] == row[side]), None)
        if found is None:
            return pair
        given.remove(found)
        scores.append(found[1])
    extra = {name: value for name, value in pair.extra.items() if name != "rating"}
    # A score of a column of its own was read with the pair: where it says something else, it stays.
    stated = {"chosen_score": (pair.score_chosen, scores[0]), "rejected_score": (pair.score_rejected, scores[1])}
    extra |= {name: own for name, (own, given) in stated.items() if own is not None and own != given}
    return replace(pair, score_chosen=scores[0], score_rejected=scores[1], extra=extra)


# Dialogues as TRL's trainer takes them.


def _read_sft(row: Row) -> Dialogue:
    """Read messages; a prompt that says something else stands beside them under a name of its own."""
    found = _CHATS["ultrachat"].decode(row)
    assert isinstance(found, Dialogue)
    if _BESIDE not in found.extra or "prompt" in found.extra:
        return found
    extra = {name: value for name, value in found.extra.items() if name != _BESIDE}
    return replace(found, extra=extra | {"prompt": row[_BESIDE]})


def _write_sft(dialogue: Dialogue) -> Row:
    sides, extra = write_sides({"messages": dialogue.messages}, dialogue.extra)
    extra = {_BESIDE if name == "prompt" else name: value for name, value in extra.items()}
    return with_extra(sides | {"source": dialogue.source}, extra, reserved=("completion", *PAIR))


def _read_trl_completion(row: Row) -> Dialogue:
    """Read a prompt and the answer to it, as messages."""
    refuse_verdict(row)
    known, extra = split_fields(row, ("prompt", "completion"))
    prompt = read_messages(required(known, "prompt"), "prompt", "user")
    answer = read_messages(required(known, "completion"), "completion", "assistant")
    if answer.turns[0].role not in ("assistant", "tool"):
        raise RowError("completion", "prompt-mismatch", answer.turns[0].content, "the completion is the answer alone")
    keep_as_read(extra, {"prompt": prompt, "completion": answer})
    return Dialogue(messages=(*prompt.turns, *answer.turns), source=read_source(extra), extra=extra)


def _write_trl_completion(dialogue: Dialogue) -> Row:
    border = 0
    for number, turn in enumerate(dialogue.messages, 1):
        border = border if turn.role in ("assistant", "tool") else number
    prompt, answer = dialogue.messages[:border], dialogue.messages[border:]
    if not prompt or not answer:
        said = "the format 'trl-prompt-completion' holds a prompt and an answer to it, and one is missing"
        raise NoPlaceError(said, ["messages"])
    sides, extra = write_sides({"prompt": prompt, "completion": answer}, dialogue.extra)
    return with_extra(sides | {"source": dialogue.source}, extra, reserved=("messages", *PAIR))


# All formats.

_BESIDE = "prompt_beside"
_READERS: dict[str, tuple[type[Any], Callable[[_Form, Row], Any], Row]] = {
    "": (Dialogue, _read_alone, {}),
    "kto": (Unpaired, _read_labelled, {"kto_tag": True}),
    "score": (Feedback, _read_scored, {"score": 7.5, "model": "alder"}),
    "rejected": (Preference, _read_rejected, {"rejected_response": "No."}),
}
"""Kind of verdict → what it makes of a dialogue, its reader, and its columns in a sample."""


def _format_of(form: _Form, kind: str) -> Format:
    record, read, verdict = _READERS[kind]

    def matches(row: Row) -> bool:
        return _kind_of(row) == kind and form.matches(row)

    return Format(
        name=f"{form.name}-{kind}" if kind else form.name,
        record=record,
        decode=partial(read, form),
        matches=matches,
        before=form.before,
        key=by_prompt if record is Feedback else None,
        sample=form.sample | verdict,
    )


# Prompts with checks.

_CHECKS = ("instruction_id_list", "kwargs")


def _is_ifeval(row: Row) -> bool:
    return isinstance(row.get("prompt"), str) and all(isinstance(row.get(name), list) for name in _CHECKS)


def _read_ifeval(row: Row) -> Dialogue:
    """Read a prompt whose checks stay further columns."""
    refuse_verdict(row)
    known, extra = split_fields(row, ("prompt",))
    text = read_text(required(known, "prompt"), "prompt")
    ids, settings = (read_list(required(extra, name), name) for name in _CHECKS)
    if len(ids) != len(settings):
        raise RowError("kwargs", "length-mismatch", settings, f"{len(ids)} checks have settings for {len(settings)}")
    return Dialogue(messages=(Message(role="user", content=text),), source=read_source(extra), extra=extra)


def _is_grpo(row: Row) -> bool:
    return isinstance(row.get("prompt"), list) and isinstance(row.get("checks"), str)


def _read_grpo(row: Row) -> Dialogue:
    """Read a prompt with its checks as JSON text."""
    refuse_verdict(row)
    known, extra = split_fields(row, ("prompt", "checks"))
    said = read_messages(required(known, "prompt"), "prompt", "user")
    try:
        checks = json.loads(read_text(required(known, "checks"), "checks"))
    except (ValueError, RecursionError):
        raise RowError("checks", "broken-json", known["checks"]) from None
    found = [read_as(each, Row, f"checks[{index}]") for index, each in enumerate(read_list(checks, "checks"))]
    for index, each in enumerate(found):
        if other := sorted(each.keys() - {"id", "kwargs"}):
            raise RowError(f"checks[{index}].{other[0]}", "unknown-field", other[0])
    extra["instruction_id_list"] = [required(each, "id", f"checks[{index}].") for index, each in enumerate(found)]
    extra["kwargs"] = [each.get("kwargs") for each in found]
    keep_as_read(extra, {"prompt": said})
    return Dialogue(messages=said.turns, source=read_source(extra), extra=extra)


def _write_grpo(dialogue: Dialogue) -> Row:
    if dialogue.messages[-1].role == "assistant":
        raise NoPlaceError("the format 'trl-grpo' holds prompts, and this ends with an answer", ["messages"])
    sides, extra = write_sides({"prompt": dialogue.messages}, dialogue.extra)
    ids, settings = (extra.get(name) for name in _CHECKS)
    if not isinstance(ids, list) or not isinstance(settings, list) or len(ids) != len(settings):
        said = f"the format 'trl-grpo' holds prompts with checks, in the columns {' and '.join(_CHECKS)} of IFEval"
        raise NoPlaceError(said, ["extra"])
    checks = [{"id": name, "kwargs": own} for name, own in zip(ids, settings, strict=True)]
    row = {**sides, "checks": json.dumps(checks, ensure_ascii=False, separators=(",", ":")), "source": dialogue.source}
    return with_extra(row, {name: value for name, value in extra.items() if name not in _CHECKS})


_PREFERENCE: Row = {"chosen": _TURNS[1], "rejected": {"role": "assistant", "content": "No."}}
_TEXTS: Row = {"system": "Be brief.", "chosen": "The Oder.", "rejected": "No."}
_TOOL: Row = {"type": "function", "function": {"name": "rivers", "parameters": {"type": "object", "properties": {}}}}

FORMATS = (
    *(_format_of(form, kind) for form in _FORMS for kind in form.kinds),
    Format(
        name="trl-sft",
        record=Dialogue,
        decode=_read_sft,
        encode=_write_sft,
        sample={"messages": _TURNS},
    ),
    Format(
        name="trl-prompt-completion",
        record=Dialogue,
        decode=_read_trl_completion,
        encode=_write_trl_completion,
        sample={"prompt": _TURNS[:1], "completion": _TURNS[1:]},
    ),
    Format(
        name="ifeval",
        record=Dialogue,
        decode=_read_ifeval,
        matches=_is_ifeval,
        sample={
            "key": 1,
            "prompt": "Name a river, without a comma.",
            "instruction_id_list": ["punctuation:no_comma"],
            "kwargs": [{}],
        },
    ),
    Format(
        name="trl-grpo",
        record=Dialogue,
        decode=_read_grpo,
        matches=_is_grpo,
        encode=_write_grpo,
        sample={"prompt": _TURNS[:1], "checks": '[{"id":"punctuation:no_comma","kwargs":{}}]'},
    ),
    Format(
        name="messages-pairs",
        record=Preference,
        decode=_read_messages_pair,
        matches=_is_messages_pair,
        before=("argilla",),
        sample={"messages": _TURNS[:1]} | _PREFERENCE,
    ),
    Format(
        name="openai-preference",
        record=Preference,
        decode=_read_openai_preference,
        matches=_is_openai_preference,
        sample={
            "input": {"messages": _TURNS[:1], "tools": [_TOOL], "parallel_tool_calls": True},
            "preferred_output": [_PREFERENCE["chosen"]],
            "non_preferred_output": [_PREFERENCE["rejected"]],
        },
    ),
    Format(
        name="distilabel-orca",
        record=Preference,
        decode=_read_distilabel_orca,
        matches=_is_distilabel_orca,
        before=("hh",),
        sample=_TEXTS
        | {
            "input": "Name a river.",
            "generations": ["No.", "The Oder."],
            "order": ["rejected", "chosen"],
            "labelling_model": "birch",
            "rating": [2.0, 9.0],
            "status": "unchanged",
            "chosen_score": 9.0,
        },
    ),
)
