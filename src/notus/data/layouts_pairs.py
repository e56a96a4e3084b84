"""Layouts whose rows are a pair of answers, or one answer with a label.

    h4               prompt, prompt_id, chosen[], rejected[], messages, score_chosen, score_rejected
    argilla          instruction, chosen_response, rejected_response, chosen_avg_rating, rejected_avg_rating, …
    argilla-cleaned  prompt, chosen[], rejected[], chosen-rating, chosen-model, rejected-rating, rejected-model
    trl              prompt, chosen, rejected: all texts, or all lists of messages of which the answers hold the answer
    trl-implicit     chosen, rejected with the prompt in front of both: lists of messages, or texts
    trl-unpaired     prompt, completion, label
    snorkel-pairs    the pair of a Snorkel row, with the ranker's scores of both; never detected, only forced
    pairs            what else has chosen and rejected: a text before lists of messages that repeat it (Tulu 3),
                     Alpaca's instruction and input, a question after a system prompt (Orca)

They share one reader. Where both answers begin with turns of a prompt, the turns that they share are the prompt, and at
least one turn is left on each side. Two implicit texts are divided before the word in which they first differ.
Alpaca's ``input`` is set two lines below the instruction, and kept in ``extra``.
"""

import hashlib
from typing import Any

import msgspec

from notus.core.records import Message, Preference, Unpaired
from notus.data.fields import divided, flag, needed, number, turns, typed
from notus.data.quarantine import RowError

__all__ = [
    "ARGILLA",
    "ARGILLA_CLEANED",
    "OURS",
    "argilla",
    "argilla_cleaned",
    "h4",
    "h4_prompt_id",
    "is_argilla",
    "is_argilla_cleaned",
    "is_h4",
    "is_pairs",
    "is_trl",
    "is_trl_implicit",
    "is_unpaired",
    "pairs",
    "snorkel_pairs",
    "trl",
    "unpaired",
    "without_prompt",
]

Row = dict[str, Any]
Turns = tuple[Message, ...]
Names = dict[str, str]

_PAIR = ("prompt", "chosen", "rejected")
_SCORES = ("score_chosen", "score_rejected")
_TEXTS = ("source", "model_chosen", "model_rejected", "feedback_id")
OURS: Names = {name: name for name in (*_PAIR, *_SCORES, *_TEXTS)}
"""Field of a ``Preference`` → column; here, of H4's and TRL's layouts."""
ARGILLA: Names = OURS | {
    "prompt": "instruction",
    "chosen": "chosen_response",
    "rejected": "rejected_response",
    "score_chosen": "chosen_avg_rating",
    "score_rejected": "rejected_avg_rating",
    "model_chosen": "chosen_model",
    "model_rejected": "rejected_model",
}
"""Field → column of argilla/ultrafeedback-binarized-preferences. The published files have no ``rejected_model``."""
ARGILLA_CLEANED: Names = OURS | {
    "score_chosen": "chosen-rating",
    "score_rejected": "rejected-rating",
    "model_chosen": "chosen-model",
    "model_rejected": "rejected-model",
}
"""Field → column of argilla/ultrafeedback-binarized-preferences-cleaned."""
_ASKED = ("prompt", "instruction", "question")
_UNPAIRED = ("prompt", "completion", "label", "score")
_UNPAIRED_TEXTS = ("source", "model", "feedback_id")


def is_h4(row: Row) -> bool:
    """Whether a prompt with its SHA-256 stands before two lists that repeat it."""
    return isinstance(row.get("prompt"), str) and "prompt_id" in row and _repeats_prompt(row)


def is_argilla(row: Row) -> bool:
    """Whether the row has the names of Argilla's first set."""
    return all(isinstance(row.get(ARGILLA[name]), str) for name in _PAIR)


def is_argilla_cleaned(row: Row) -> bool:
    """Whether the row has the names of Argilla's cleaned set."""
    return is_pairs(row) and any(ARGILLA_CLEANED[name] in row for name in _SCORES)


def is_trl(row: Row) -> bool:
    """Whether prompt and answers stand apart, all as texts or all as lists of messages."""
    values = [row.get(name) for name in _PAIR]
    if all(isinstance(value, str) for value in values):
        return True
    return all(isinstance(value, list) for value in values) and not _repeats_prompt(row)


def is_trl_implicit(row: Row) -> bool:
    """Whether two answers repeat a prompt that does not stand apart."""
    if any(row.get(name) is not None for name in _ASKED):
        return False
    chosen, rejected = row.get("chosen"), row.get("rejected")
    if isinstance(chosen, str) and isinstance(rejected, str):
        return _border(chosen, rejected) > 0
    return _repeats_prompt(row)


def is_unpaired(row: Row) -> bool:
    """Whether an answer stands beside a label."""
    return isinstance(row.get("completion"), (str, list)) and "label" in row and "prompt" in row


def is_pairs(row: Row) -> bool:
    """Whether the row has two answers in any form, and a prompt before or in them."""
    answers = (row.get("chosen"), row.get("rejected"))
    asked = any(name in row for name in _ASKED) or all(isinstance(answer, list) for answer in answers)
    return asked and all(isinstance(answer, (str, list)) or _is_message(answer) for answer in answers)


def _repeats_prompt(row: Row) -> bool:
    answers = [row.get(name) for name in ("chosen", "rejected")]
    firsts = [answer[0] for answer in answers if isinstance(answer, list) and answer]
    return len(firsts) == 2 and all(_is_message(first) and first["role"] != "assistant" for first in firsts)


def _is_message(value: object) -> bool:
    return isinstance(value, dict) and {"role", "content"} <= value.keys()


def h4(row: Row) -> Preference:
    """Read a row of H4's layout. ``prompt_id`` and ``messages`` are kept only where they say something else."""
    found = _pair(row, OURS)
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


def argilla(row: Row) -> Preference:
    """Read a row of Argilla's first set."""
    return _pair(row, ARGILLA)


def argilla_cleaned(row: Row) -> Preference:
    """Read a row of Argilla's cleaned set."""
    return _pair(row, ARGILLA_CLEANED)


def trl(row: Row) -> Preference:
    """Read a row of TRL's, with the prompt apart or in both answers."""
    chosen, rejected = row.get("chosen"), row.get("rejected")
    if row.get("prompt") is None and isinstance(chosen, str) and isinstance(rejected, str):
        border = _border(chosen, rejected)
        if not border:
            raise RowError("rejected", "prompt-mismatch", rejected, "without a prompt, both texts must begin with it")
        row = row | {"prompt": chosen[:border], "chosen": chosen[border:], "rejected": rejected[border:]}
    return _pair(row, OURS)


def _border(chosen: str, rejected: str) -> int:
    """Where the prompt in two texts ends: before the word in which they differ; 0 if they share no whole word."""
    length = next((at for at, (one, two) in enumerate(zip(chosen, rejected, strict=False)) if one != two), None)
    if length is None:  # one text is the beginning of the other: an answer would be empty
        return 0
    shared = chosen[:length]
    inside_a_word = not (chosen[length].isspace() and rejected[length].isspace()) and shared == shared.rstrip()
    if inside_a_word:
        shared = shared[: len(shared) - len(shared.split()[-1])] if shared else ""
    return len(shared.rstrip())


def pairs(row: Row) -> Preference:
    """Read a pair in any form that has no name of its own."""
    asked = next((name for name in _ASKED if row.get(name) is not None), "prompt")
    if asked == "prompt":
        return _pair(row, OURS)
    text = typed(row[asked], str, asked)
    further, system = row.get("input"), row.get("system")
    if isinstance(further, str) and further:
        text += f"\n\n{further}"
    question: Any = text
    rest = dict(row)
    if isinstance(system, str) and system:
        question = [{"role": "system", "content": system}, {"role": "user", "content": text}]
        del rest["system"]
    return _pair(rest | {asked: question}, OURS | {"prompt": asked})


def snorkel_pairs(row: Row) -> Preference:
    """Read the pair of a Snorkel row; the scores are those of the ranker, where the answers are found again."""
    found = _pair(row, OURS)
    texts, scores = row.get("all_generated_responses"), row.get("all_rm_scores")
    if not isinstance(texts, list) or not isinstance(scores, list) or len(texts) != len(scores):
        raise RowError("all_rm_scores", "length-mismatch", scores)

    def score(answer: Turns) -> float | None:
        text = answer[-1].content
        return number(scores[texts.index(text)], f"all_rm_scores[{texts.index(text)}]") if text in texts else None

    return msgspec.structs.replace(found, score_chosen=score(found.chosen), score_rejected=score(found.rejected))


def unpaired(row: Row) -> Unpaired:
    """Read an answer with its label."""
    known, extra = divided(row, _UNPAIRED)
    prompt, more = turns(needed(known, "prompt"), "prompt", "user")
    answer, more_answer = turns(needed(known, "completion"), "completion", "assistant")
    extra |= {f"{name}_as_read": row[name] for name, held in (("prompt", more), ("completion", more_answer)) if held}
    return Unpaired(
        prompt=prompt,
        answer=answer,
        desirable=flag(needed(known, "label"), "label"),
        score=number(known["score"], "score") if "score" in known else None,
        extra=extra,
        **_texts_out_of(extra, {name: name for name in _UNPAIRED_TEXTS}),
    )


def _pair(row: Row, names: Names) -> Preference:
    columns = {names[field] for field in (*_PAIR, *_SCORES)}
    extra = {name: value for name, value in row.items() if name not in columns}
    prompt, more = None, False
    if row.get(names["prompt"]) is not None:
        prompt, more = turns(row[names["prompt"]], names["prompt"], "user")
    chosen, more_chosen = turns(needed(row, names["chosen"]), names["chosen"], "assistant")
    rejected, more_rejected = turns(needed(row, names["rejected"]), names["rejected"], "assistant")
    # What a message holds beside role and content has no place in a record: the list is kept as it came.
    for field, held in zip(_PAIR, (more, more_chosen, more_rejected), strict=True):
        if held:
            extra[f"{field}_as_read"] = row[names[field]]
    prompt, chosen, rejected = without_prompt(prompt, chosen, rejected, names)
    score_chosen, score_rejected = (_score(row, extra, field, names[field]) for field in _SCORES)
    return Preference(
        prompt=prompt,
        chosen=chosen,
        rejected=rejected,
        score_chosen=score_chosen,
        score_rejected=score_rejected,
        extra=extra,
        **_texts_out_of(extra, {field: names[field] for field in _TEXTS}),
    )


def _texts_out_of(extra: Row, names: Names) -> dict[str, str]:
    """Take text columns of known names up. Under another type such a column is someone else's, and stays."""
    present = [field for field, name in names.items() if isinstance(extra.get(name, 0), str | None)]
    found = {field: extra.pop(names[field]) for field in present}
    return {field: value for field, value in found.items() if value is not None}


def _score(row: Row, extra: Row, field: str, name: str) -> float | None:
    """The score in its column, or else in ``metadata``, out of which it is taken."""
    value, at = row.get(name), name
    if name not in row and isinstance(extra.get("metadata"), dict) and field in extra["metadata"]:
        rest = dict(extra["metadata"])
        value, at = rest.pop(field), f"metadata.{field}"
        extra["metadata"] = rest
        if not rest:
            del extra["metadata"]
    return None if value is None else number(value, at)


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
    if prompt is not None and not all(turn in shared for turn in prompt):
        detail = "chosen and rejected follow another prompt"
        raise RowError(names["prompt"], "prompt-mismatch", prompt[-1].content, detail)
    return shared, chosen, rejected
