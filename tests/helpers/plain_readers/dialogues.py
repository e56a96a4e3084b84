"""Plain readers of dialogues, alone or beside a verdict on their answer."""

import json
from collections.abc import Callable

from tests.helpers.plain_readers.pairs import divide, unpaired
from tests.helpers.plain_readers.values import (
    Row,
    Said,
    answer,
    feedback,
    first,
    is_flag,
    number,
    text,
    turns,
    with_system,
)

VERDICTS = (
    "kto_tag",
    "label",
    "score",
    "rating",
    "reward",
    "rejected_response",
    "rejected_messages",
    "chosen",
    "rejected",
)


def history(row: Row) -> Said:
    pairs = row.get("history") or []
    return [turn for asked, said in pairs for turn in (("user", text(asked)), ("assistant", text(said)))]


def exchange(row: Row, question: str, answered: str) -> Said:
    return with_system(row, [*history(row), ("user", question), ("assistant", text(row[answered]))])


def alpaca(row: Row) -> Said:
    further = text(row.get("input") or "")
    question = text(row["instruction"])
    return exchange(row, f"{question}\n\n{further}" if further else question, "output")


def prompt_completion(row: Row) -> Said:
    asked, said = turns(row["prompt"]), turns(row["completion"], "assistant")
    if said[0][0] == "assistant":
        return with_system(row, [*asked, *said])
    if any(turn not in said for turn in asked):
        raise ValueError(row)
    return with_system(row, said)


def conversation(row: Row) -> Said:
    said = []
    for item in row["conversation"]:
        asked, told = ("human", "assistant") if "human" in item else ("input", "output")
        said += [("user", text(item[asked])), ("assistant", text(item[told]))]
    return with_system(row, said)


def messages(row: Row, column: str = "messages") -> Said:
    if isinstance(row[column], dict) or (isinstance(row[column], str) and row[column][:1] not in "[{"):
        raise TypeError(row)
    return with_system(row, turns(row[column]))


FORMS: dict[str, Callable[[Row], Said]] = {
    "alpaca": alpaca,
    "prompt-completion": prompt_completion,
    "query-response": lambda row: exchange(row, text(row["query"]), "response"),
    "conversation": conversation,
    "messages": messages,
    "conversations": lambda row: messages(row, "conversations"),
}


def alone(form: Callable[[Row], Said]) -> Callable[[Row], Row]:
    def read(row: Row) -> Row:
        if any(row.get(column) is not None for column in VERDICTS):
            raise ValueError(row)
        return {"messages": form(row)}

    return read


def parted(said: Said) -> tuple[Said, Said]:
    """The turns up to the last that is not the assistant's, and the answer."""
    end = max(at + 1 for at, (role, _) in enumerate(said) if role not in ("assistant", "tool"))
    if end == len(said):
        raise ValueError(said)
    return said[:end], said[end:]


def labelled(form: Callable[[Row], Said]) -> Callable[[Row], Row]:
    def read(row: Row) -> Row:
        prompt, said = parted(form(row))
        score = next((number(row[c]) for c in ("score", "rating", "reward") if row.get(c) is not None), None)
        by = row["model"] if isinstance(row.get("model"), str) else ""
        flag = is_flag(row[first(row, "kto_tag", "label")])
        return {"prompt": prompt, "answer": said, "desirable": flag, "score": score, "model": by}

    return read


def scored(form: Callable[[Row], Said]) -> Callable[[Row], Row]:
    def read(row: Row) -> Row:
        prompt, said = parted(form(row))
        columns = [column for column in ("score", "rating", "reward") if column in row]
        rater = next(
            (row[c] for c in ("judge", "judge_model", "rater", "annotator") if isinstance(row.get(c), str)), ""
        )
        made = answer("", row.get("model"), [(row[column], rater) for column in columns])
        return feedback(prompt, [made | {"turns": said}] if columns else [])

    return read


def against(form: Callable[[Row], Said]) -> Callable[[Row], Row]:
    def read(row: Row) -> Row:
        said = form(row)
        parted(said)
        other = turns(row[first(row, "rejected_response", "rejected_messages")], "assistant")
        halves = (said[:-1], said[-1:], other) if other[0][0] == "assistant" else divide(None, said, other)
        return dict(zip(("prompt", "chosen", "rejected"), halves, strict=True)) | {
            "scores": (None, None),
            "models": ("", ""),
        }

    return read


def checked(row: Row) -> Said:
    if len(row["instruction_id_list"]) != len(row["kwargs"]):
        raise ValueError(row)
    return [("user", text(row["prompt"]))]


def for_grpo(row: Row) -> Said:
    if not all(each["id"] for each in json.loads(row["checks"])):
        raise ValueError(row)
    return turns(row["prompt"])


def ours(row: Row) -> Row:
    sides = {side: turns(row[side]) for side in ("prompt", "chosen", "rejected")}
    return sides | {
        "scores": (row["score_chosen"], row["score_rejected"]),
        "models": (row["model_chosen"], row["model_rejected"]),
    }


READERS = {
    **{form: alone(read) for form, read in FORMS.items() if form not in ("messages", "conversations")},
    **{f"{form}-kto": labelled(read) for form, read in FORMS.items()},
    **{f"{form}-score": scored(read) for form, read in FORMS.items()},
    **{
        f"{form}-rejected": against(read) for form, read in FORMS.items() if form not in ("alpaca", "prompt-completion")
    },
    "ultrachat": alone(messages),
    "trl-sft": alone(messages),
    "trl-prompt-completion": alone(lambda row: [*turns(row["prompt"]), *turns(row["completion"], "assistant")]),
    "checklists": alone(lambda row: [("user", text(row["prompt"]))]),
    "ifeval": alone(checked),
    "trl-grpo": alone(for_grpo),
    "sharegpt": alone(FORMS["conversations"]),
    "notus-dialogues": lambda row: {"messages": turns(row["messages"])},
    "notus-preferences": ours,
    "notus-unpaired": lambda row: unpaired(row | {"completion": row["answer"], "label": row["desirable"]}),
}
