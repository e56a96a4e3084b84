"""Plain readers of pairs of answers, and of answers with a label."""

import json

from tests.helpers.plain_readers.values import Row, Said, is_flag, number, text, turns, with_system

NAMES = ("score", "rating", "reward", "avg_rating", "mean_rating", "average_rating", "overall_score", "rm_score")
SCORES = tuple(
    (form.format("chosen", name), form.format("rejected", name))
    for name in NAMES
    for form in ("{1}_{0}", "{0}_{1}", "{1}-{0}", "{0}-{1}")
)


def model(row: Row, column: str) -> str:
    return row[column] if isinstance(row.get(column), str) else ""


def scores(row: Row, own: tuple[str, str]) -> tuple[float | None, float | None]:
    for place in (row, row.get("metadata")):
        for one, two in (own, *SCORES):
            if isinstance(place, dict) and (one in place or two in place):
                return number(place.get(one)), number(place.get(two))
    return None, None


def divide(asked: Said | None, one: Said, two: Said) -> tuple[Said, Said, Said]:
    """The prompt and both answers of dialogues that may have the prompt in front."""
    if one[0][0] == two[0][0] == "assistant" and asked:
        return asked, one, two
    same = 0
    while same < min(len(one), len(two)) - 1 and one[same] == two[same]:
        same += 1
    if not same or one[same][0] != "assistant" or two[same][0] != "assistant" or any(t not in one for t in asked or ()):
        raise ValueError(one)
    return one[:same], one[same:], two[same:]


def pair(
    row: Row,
    columns: tuple[str, str, str] = ("prompt", "chosen", "rejected"),
    of: tuple[str, str] = SCORES[0],
    by: tuple[str, str] = ("model_chosen", "model_rejected"),
) -> Row:
    given = row.get(columns[0])
    one, two = (turns(row[name], "assistant") for name in columns[1:])
    prompt, chosen, rejected = divide(None if given is None else turns(given), one, two)
    return {
        "prompt": with_system(row, prompt),
        "chosen": chosen,
        "rejected": rejected,
        "scores": scores(row, of),
        "models": tuple(model(row, name) for name in by),
    }


def argilla(row: Row) -> Row:
    columns = ("instruction", "chosen_response", "rejected_response")
    return pair(row, columns, ("chosen_avg_rating", "rejected_avg_rating"), ("chosen_model", "rejected_model"))


def argilla_cleaned(row: Row) -> Row:
    return pair(row, of=("chosen-rating", "rejected-rating"), by=("chosen-model", "rejected-model"))


def implicit(row: Row) -> Row:
    chosen, rejected = row["chosen"], row["rejected"]
    if isinstance(chosen, str) and row.get("prompt") is None and chosen[:1] not in "[{":
        end = chosen.index("Assistant:") + len("Assistant:")
        if chosen[:end] != rejected[:end] or "Assistant:" in chosen[end:] + rejected[end:]:
            raise ValueError(chosen)
        row = row | {"prompt": chosen[:end], "chosen": chosen[end:], "rejected": rejected[end:]}
    return pair(row)


def any_pair(row: Row) -> Row:
    asked = next(name for name in ("prompt", "instruction", "question") if row.get(name) is not None)
    if asked != "prompt" and isinstance(row.get("input"), str) and row["input"]:
        row = row | {asked: f"{text(row[asked])}\n\n{row['input']}"}
    return pair(row, (asked, "chosen", "rejected"))


def unpaired(row: Row) -> Row:
    return {
        "prompt": with_system(row, turns(row["prompt"])),
        "answer": turns(row["completion"], "assistant"),
        "desirable": is_flag(row["label"]),
        "score": number(row.get("score")),
        "model": model(row, "model"),
    }


def messages_pair(row: Row) -> Row:
    found = pair({name: value for name, value in row.items() if name != "system"} | {"prompt": "?"})
    asked = turns(row["messages"])
    end = len(asked) - len(found["chosen"]) if asked[-len(found["chosen"]) :] == found["chosen"] else len(asked)
    if not end or asked[end - 1][0] == "assistant":
        raise ValueError(asked)
    return found | {"prompt": with_system(row, asked[:end])}


def openai(row: Row) -> Row:
    one, two = (turns(row[name], "assistant") for name in ("preferred_output", "non_preferred_output"))
    prompt, chosen, rejected = divide(turns(row["input"]["messages"]), one, two)
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected, "scores": (None, None), "models": ("", "")}


def orca(row: Row) -> Row:
    found = pair(row, ("input", "chosen", "rejected"))
    lists = [row[name] if isinstance(row.get(name), list) else [] for name in ("generations", "rating")]
    given = list(zip(*lists, strict=True))
    rated = []
    for side in ("chosen", "rejected"):
        at = next((each for each in given if each[0] == row[side]), None)
        if at is None:
            return found
        given.remove(at)
        rated.append(number(at[1]))
    return found | {"scores": tuple(rated)}


def snorkel_pair(row: Row) -> Row:
    found, given = pair(row), row["all_generated_responses"]
    if len(given) != len(row["all_rm_scores"]):
        raise ValueError(given)
    rated = dict(reversed(list(zip(given, map(number, row["all_rm_scores"]), strict=True))))
    return found | {"scores": tuple(rated.get(found[side][-1][1]) for side in ("chosen", "rejected"))}


def hh(row: Row) -> Row:
    before = row.get("prompt") or ""
    one, two = (transcript(before + row[side]) for side in ("chosen", "rejected"))
    prompt, chosen, rejected = divide(None, one, two)
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected, "scores": (None, None), "models": ("", "")}


def transcript(value: str) -> Said:
    said = []
    for part in f"\n\n{value.lstrip()}".split("\n\nHuman:")[1:]:
        asked, *replies = part.split("\n\nAssistant:")
        said += [("user", asked.removeprefix(" ")), *(("assistant", each.removeprefix(" ")) for each in replies)]
    if not said or "Assistant:" in value[:12]:
        raise ValueError(value)
    return said


def sharegpt_pair(row: Row) -> Row:
    one, two = (turns(row[side], "assistant") for side in ("chosen", "rejected"))
    asked = turns(json.dumps(row["conversations"]) if isinstance(row["conversations"], list) else row["conversations"])
    if isinstance(row["conversations"], str) and row["conversations"][:1] not in "[{":
        raise TypeError(row)
    prompt, chosen, rejected = divide(with_system(row, asked), one, two)
    return {"prompt": prompt, "chosen": chosen, "rejected": rejected, "scores": (None, None), "models": ("", "")}


READERS = {
    "argilla": argilla,
    "argilla-cleaned": argilla_cleaned,
    "h4": pair,
    "trl": pair,
    "trl-implicit": implicit,
    "pairs": any_pair,
    "trl-unpaired": unpaired,
    "rewardbench": lambda row: pair(row, by=("chosen_model", "rejected_model")),
    "messages-pairs": messages_pair,
    "openai-preference": openai,
    "distilabel-orca": orca,
    "snorkel-pairs": snorkel_pair,
    "hh": hh,
    "sharegpt-pairs": sharegpt_pair,
}
