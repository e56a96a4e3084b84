"""Benchmarks of judges and reward models: answers that are known to be right or wrong, and answers that a judge scored.

    rewardbench    prompt, chosen, rejected, chosen_model, rejected_model, subset: pairs
    rewardbench-2  prompt, chosen[], rejected[], num_correct, models[], subset: best of N
    judgebench     question, response_A, response_B, label "A>B", and the judgments where a judge was run
    wildbench      session_id, model_output, parsed_result{strengths, weaknesses, score}

**RewardBench** (https://huggingface.co/datasets/allenai/reward-bench): the subset is kept in ``extra``.
**RewardBench 2** (https://huggingface.co/datasets/allenai/reward-bench-2): the right answers share rank 1 and the wrong
ones rank 2: one of four is right, in the subset Ties several. ``models`` names right and wrong answers in this order.
**JudgeBench** (https://github.com/ScalerLab/JudgeBench#data): the label is a ranking that answers the ``question``
*correctness*; what a judge decided, in both orders of the answers, are rankings by that judge that answer *judgment*,
all in the order A, B of the row. A judgment that failed is null and gives none.
**WildBench** (https://github.com/allenai/WildBench, ``eval_results/…/score.v2``): strengths and weaknesses are the
critique, its score is 1 to 10. The answers of several models to one task are one ``Feedback``. The published files name
the task by ``session_id`` alone: a row needs its ``conversation_input`` (the column of the task's row in
https://huggingface.co/datasets/allenai/WildBench), or ``history`` and ``last_query`` as the evaluation writes them.
"""

import re
from collections.abc import Sequence

from notus.core.records import Completion, Critique, Feedback, Message, Preference, Ranking, Scale
from notus.formats.families.pairs import read_pair
from notus.formats.fields import (
    read_as,
    read_list,
    read_name,
    read_score,
    read_text,
    read_turns,
    required,
    split_fields,
)
from notus.formats.format import Format, Row
from notus.formats.join import by_prompt
from notus.formats.quarantine import RowError

__all__ = ["FORMATS"]

_REWARDBENCH = {
    **{name: name for name in ("prompt", "chosen", "rejected", "score_chosen", "score_rejected", "source")},
    "model_chosen": "chosen_model",
    "model_rejected": "rejected_model",
    "feedback_id": "feedback_id",
}
_RESPONSES = ("response_A", "response_B")
_DECISIONS = {"A>B": (1, 2), "B>A": (2, 1), "A=B": (1, 1)}
_TURN = re.compile(r"(?:\A|\n\n)(USER|ASSISTANT): ")
_PARTS = ("strengths", "weaknesses")
_WILDBENCH_SCALE = Scale(low=1, high=10)


def _is_rewardbench(row: Row) -> bool:
    """Whether a pair of texts names its subset and its models."""
    texts = all(isinstance(row.get(name), str) for name in ("prompt", "chosen", "rejected", "subset"))
    return texts and "chosen_model" in row


def _read_rewardbench(row: Row) -> Preference:
    """Read a pair of RewardBench."""
    return read_pair(row, _REWARDBENCH)


def _is_rewardbench_2(row: Row) -> bool:
    """Whether a prompt stands before a list of right and a list of wrong texts."""
    lists = (row.get("chosen"), row.get("rejected"))
    texts = all(isinstance(value, list) and value and isinstance(value[0], str) for value in lists)
    return texts and isinstance(row.get("prompt"), str)


def _read_rewardbench_2(row: Row) -> Feedback:
    """Read a prompt with its right and its wrong answers."""
    known, extra = split_fields(row, ("prompt", "chosen", "rejected", "models", "source"))
    right, wrong = (
        [read_text(text, f"{name}[{index}]") for index, text in enumerate(read_list(required(known, name), name))]
        for name in ("chosen", "rejected")
    )
    if extra.get("num_correct", len(right)) not in (len(right), None):
        raise RowError("num_correct", "length-mismatch", extra["num_correct"], f"{len(right)} answers are chosen")
    answers = [*right, *wrong]
    models = read_as(known.get("models", []), list[str], "models")
    if len(models) != len(answers):
        extra |= {"models": models} if models else {}
        models = [""] * len(answers)
    completions = (Completion(text=text, model=model) for text, model in zip(answers, models, strict=True))
    return Feedback(
        prompt=(Message(role="user", content=read_text(required(known, "prompt"), "prompt")),),
        completions=tuple(completions),
        rankings=(Ranking(ranks=(1,) * len(right) + (2,) * len(wrong)),),
        source=read_as(known.get("source", ""), str, "source"),
        extra=extra,
    )


def _is_judgebench(row: Row) -> bool:
    """Whether a question has two responses and a label of their order."""
    return all(isinstance(row.get(name), str) for name in ("question", "label", *_RESPONSES)) and "pair_id" in row


def _read_judgebench(row: Row) -> Feedback:
    """Read a pair of responses with its label, and what a judge decided on it."""
    known, extra = split_fields(row, ("question", *_RESPONSES, "response_model", "label", "source"))
    model = read_name(known.get("response_model"), "response_model")
    label = Ranking(ranks=_read_decision(required(known, "label"), "label"), question="correctness")
    texts = (read_text(required(known, name), name) for name in _RESPONSES)
    return Feedback(
        prompt=(Message(role="user", content=read_text(required(known, "question"), "question")),),
        completions=tuple(Completion(text=text, model=model) for text in texts),
        rankings=(label, *_read_judgments(extra)),
        source=read_as(known.get("source", ""), str, "source"),
        extra=extra,
    )


def _read_judgments(extra: Row) -> Sequence[Ranking]:
    """Rankings of the judgments, of which the second one saw the answers the other way round; the column stays."""
    judge = read_name(extra.get("judge_name"), "judge_name")
    found = []
    for index, item in enumerate(read_as(extra.get("judgments") or [], list[Row | None], "judgments")):
        decision = None if item is None else item.get("decision")
        if decision is not None:
            ranks = _read_decision(decision, f"judgments[{index}].decision")
            found.append(Ranking(ranks=ranks if index % 2 == 0 else ranks[::-1], rater=judge, question="judgment"))
    return found


def _read_decision(value: object, at: str) -> tuple[int, int]:
    ranks = _DECISIONS.get(value.replace(" ", "")) if isinstance(value, str) else None
    if ranks is None:
        raise RowError(at, "unknown-vote", value, f"one of {', '.join(_DECISIONS)}")
    return ranks


def _is_wildbench(row: Row) -> bool:
    """Whether a model's output to a session has a parsed score."""
    parsed = row.get("parsed_result")
    return "session_id" in row and "model_output" in row and isinstance(parsed, dict) and "score" in {*parsed, *row}


def _read_wildbench(row: Row) -> Feedback:
    """Read a model's output with its critique."""
    known, extra = split_fields(row, ("conversation_input", "history", "last_query", "session_id"))
    prompt, more = _read_task(known)
    about: Row = {"conversation_input_as_read": row["conversation_input"]} if more else {}
    beside = ("session_id", "history", "last_query") if "conversation_input" in known else ("session_id",)
    about |= {name: known[name] for name in beside if name in known}
    parsed = read_as(extra.pop("parsed_result", None) or {}, Row, "parsed_result")
    named = "model_test" if extra.get("model_test") is not None else "generator"
    output = extra.pop("model_output", None)
    text = read_text(output[0] if isinstance(output, list) and len(output) == 1 else output, "model_output")
    completion = Completion(
        text=text,
        model=read_name(extra.pop(named, None), named),
        critique=_read_critique(parsed, extra),
        extra=extra | ({"parsed_result": parsed} if parsed else {}),
    )
    return Feedback(prompt=prompt, completions=(completion,), extra=about)


def _read_critique(parsed: Row, extra: Row) -> Critique | None:
    """The judge's critique, if it says anything; taken out of the parsed result and the further columns."""
    parts = {name: read_as(parsed.pop(name, None) or "", str, f"parsed_result.{name}") for name in _PARTS}
    scores = [(parsed, "parsed_result.score"), (extra, "score")]
    found = [read_score(place.pop("score"), at) for place, at in scores if place.get("score") is not None]
    if len(found) == 2 and found[0] != found[1]:
        raise RowError("score", "length-mismatch", found[1], f"the parsed result says {found[0]}")
    config = extra.get("eval_config")
    text = "\n\n".join(f"{name.capitalize()}: {said}" for name, said in parts.items() if said)
    if not text and not found:
        return None
    return Critique(
        text=text,
        score=found[0] if found else None,
        rater=read_name(config.get("gpt"), "eval_config.gpt") if isinstance(config, dict) else "",
        scale=_WILDBENCH_SCALE,
    )


def _read_task(known: Row) -> tuple[tuple[Message, ...], bool]:
    """The dialogue that the model answered to."""
    if "conversation_input" in known:
        return read_turns(known["conversation_input"], "conversation_input", "user")
    if "last_query" not in known:
        detail = "the row names its task by session_id only: add the conversation_input of the task"
        raise RowError("conversation_input", "missing-field", detail=detail)
    history = read_as(known.get("history", ""), str, "history")
    before, *parts = _TURN.split(history)
    if before.strip():
        raise RowError("history", "wrong-type", history, "turns of USER: and ASSISTANT: are needed")
    turns = [
        Message(role="user" if who == "USER" else "assistant", content=said.removesuffix("\n\n"))
        for who, said in zip(parts[::2], parts[1::2], strict=True)
    ]
    query = read_text(known["last_query"], "last_query")
    return (*turns, Message(role="user", content=query)), False


_REWARDBENCH_SAMPLE: Row = {
    "prompt": "Name a river.",
    "chosen": "The Oder.",
    "chosen_model": "alder",
    "rejected": "No.",
    "rejected_model": "birch",
    "subset": "alpacaeval-easy",
    "id": 7,
}
_REWARDBENCH_2_SAMPLE: Row = {
    "id": "7",
    "prompt": "Name a river in Poland.",
    "chosen": ["The Oder."],
    "rejected": ["The Rhine.", "No.", "Warsaw."],
    "num_correct": 1,
    "num_incorrect": 3,
    "total_completions": 4,
    "models": ["alder", "birch", "cedar", "dogwood"],
    "subset": "Factuality",
    "additional_metadata": None,
}
_JUDGEBENCH_SAMPLE: Row = {
    "pair_id": "81ec",
    "original_id": "10646",
    "source": "mmlu-pro-geography",
    "question": "Which river reaches the Baltic Sea?",
    "response_model": "alder",
    "response_A": "The Rhine.",
    "response_B": "The Oder.",
    "label": "B>A",
}
_WILDBENCH_SAMPLE: Row = {
    "session_id": "ae00",
    "conversation_input": [{"role": "user", "content": "Name a river."}],
    "model_test": "alder",
    "model_output": "The Oder.",
    "parsed_result": {"strengths": "It is a river.", "weaknesses": "It could say where it is.", "score": "8"},
    "score": "8",
}

FORMATS = (
    # The names of the models say more than a pair of texts.
    Format(
        name="rewardbench",
        record=Preference,
        decode=_read_rewardbench,
        matches=_is_rewardbench,
        before=("argilla",),
        sample=_REWARDBENCH_SAMPLE,
    ),
    Format(
        name="rewardbench-2",
        record=Feedback,
        decode=_read_rewardbench_2,
        matches=_is_rewardbench_2,
        before=("argilla",),
        sample=_REWARDBENCH_2_SAMPLE,
    ),
    Format(
        name="judgebench", record=Feedback, decode=_read_judgebench, matches=_is_judgebench, sample=_JUDGEBENCH_SAMPLE
    ),
    Format(
        name="wildbench",
        record=Feedback,
        decode=_read_wildbench,
        matches=_is_wildbench,
        key=by_prompt,
        sample=_WILDBENCH_SAMPLE,
    ),
)
