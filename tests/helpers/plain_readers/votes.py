"""Plain readers of votes between two answers."""

import json
from typing import Any

from tests.helpers.plain_readers.values import (
    Row,
    answer,
    feedback,
    first,
    name,
    number,
    text,
    turns,
    vote,
    with_system,
)

TIES = ("tie", "tie (bothbad)", "both_bad")
FIVE = {"clearly-better": 2, "better": 2, "slightly-better": 1}


def word(value: object) -> str:
    if isinstance(value, bool) or not isinstance(value, (str, int, float)):
        raise TypeError(value)
    return str(int(value) if isinstance(value, float) else value).strip().lower()


def sides(row: Row, pattern: str, marks: str, models: str = "") -> list[Row]:
    return [answer(row[pattern.format(mark)], row.get(models.format(mark)) if models else None) for mark in marks]


def arena(row: Row) -> Row:
    one, two = (turns(row[f"conversation_{side}"]) for side in "ab")
    if not isinstance(row["conversation_a"], list) or not isinstance(row["conversation_b"], list):
        raise TypeError(row)
    judged = row.get("turn")
    if isinstance(judged, int) and not isinstance(judged, bool) and judged > 0:
        ends = [[at for at, turn in enumerate(said) if turn[0] == "user"][judged : judged + 1] for said in (one, two)]
        one, two = (said[: end[0]] if end else said for said, end in zip((one, two), ends, strict=True))
    same = max(
        at
        for at in range(1, min(len(one), len(two)))
        if one[:at] == two[:at] and one[at][0] == two[at][0] == "assistant"
    )
    judge = row.get("judge") if row.get("judge") is not None else row.get("judge_hash")
    return {
        "prompt": one[:same],
        "answers": [
            {"turns": said[same:], "model": name(row.get(f"model_{side}")), "scores": []}
            for said, side in ((one, "a"), (two, "b"))
        ],
        "votes": [vote({"model_a": 0, "model_b": 1, **dict.fromkeys(TIES)}[word(row["winner"])], judge)],
    }


def kaggle(row: Row) -> Row:
    columns: list[Any] = [row[column] for column in ("prompt", "response_a", "response_b")]
    listed = [each if isinstance(each, list) or each[:1] != "[" else json.loads(each) for each in columns]
    if all(isinstance(each, str) for each in listed):
        listed = [[each] for each in listed]
    asked, *said = listed
    if any(isinstance(each, str) or len(each) != len(asked) for each in listed):
        raise ValueError(row)
    one, two = (
        [turn for q, a in zip(asked, side, strict=True) for turn in (("user", text(q)), ("assistant", a or ""))]
        for side in said
    )
    won = [side for side in ("model_a", "model_b", "tie") if number(row.get(f"winner_{side}"))]
    if len(won) != 1 or number(row[f"winner_{won[0]}"]) != 1:
        raise ValueError(won)
    both = {"conversation_a": one, "conversation_b": two}
    both = {side: [{"role": role, "content": text(said)} for role, said in each] for side, each in both.items()}
    return arena({"winner": won[0], "model_a": row.get("model_a"), "model_b": row.get("model_b")} | both)


def pku(row: Row) -> Row:
    asked = [column for column in ("better_response_id", "safer_response_id") if row.get(column) is not None]
    votes = [vote({"0": 0, "1": 1}[word(row[column])]) for column in asked]
    if not votes:
        raise ValueError(row)
    return feedback(
        with_system(row, turns(row["prompt"])), sides(row, "response_{}", "01", "response_{}_source"), votes
    )


def shp(row: Row) -> Row:
    best = {"1": 0, "0": 1}[word(row["labels"])]
    strength = number(row.get("score_ratio"))
    return feedback(
        with_system(row, turns(row["history"])), sides(row, "human_ref_{}", "AB"), [vote(best, None, strength)]
    )


def webgpt(row: Row) -> Row:
    one, two = (number(row.get(f"score_{side}")) for side in (0, 1))
    if any(each is not None and abs(each) > 1 for each in (one, two)):
        raise ValueError(row)
    difference = (one or 0) - (two or 0)
    best = None if difference == 0 else int(difference < 0)
    strength = None if one is None or two is None or one + two != 0 else abs(one)
    votes = [] if one is None and two is None else [vote(best, None, strength)]
    return feedback([("user", text(row["question"]["full_text"]))], sides(row, "answer_{}", "01"), votes)


def summarize(row: Row) -> Row:
    info = row["info"]
    asked = text(info[first(info, "post", "article") if info.get("post") != "" else "article"])
    made = [answer(text(item["text"]), item.get("policy")) for item in row["summaries"]]
    if len(made) != 2:
        raise ValueError(row)
    return feedback([("user", asked)], made, [vote({"0": 0, "1": 1}[word(row["choice"])], row.get("worker"))])


def prometheus(row: Row) -> Row:
    asked = "orig_instruction" if row.get("orig_instruction") is not None else "instruction"
    made = [answer(row[f"orig_response_{side}"], None, [(row.get(f"orig_score_{side}"), None)]) for side in "AB"]
    best = {"a": 0, "b": 1}[word(row["orig_preference"])]
    return feedback(with_system(row, turns(row[asked])), made, [vote(best)])


def five(value: object, rater: object) -> Row:
    said = word(value)
    if said == "tie":
        return vote(None, rater, 0)
    side, how = said.split("-is-")
    return vote({"a": 0, "b": 1}[side], rater, FIVE[how])


def multipref(row: Row) -> Row:
    votes = []
    for column in ("normal_worker_annotations", "expert_worker_annotations"):
        for item in row.get(column) or []:
            said = [
                item[f"{aspect}_pref"]
                for aspect in ("overall", "helpful", "truthful", "harmless")
                if item.get(f"{aspect}_pref") is not None
            ]
            votes += [five(each, item.get("evaluator")) for each in said]
    if not votes:
        raise ValueError(row)
    return feedback(with_system(row, turns(row["text"])), sides(row, "completion_{}", "ab", "model_{}"), votes)


def tulu(row: Row) -> Row:
    made = sides(row, "completion_{}", "ab", "model_{}")
    for each, side in zip(made, "ab", strict=True):
        said = row.get(f"completion_{side}_is_acceptable")
        each["scores"] = [] if said is None else [({"yes": 1.0, "no": 0.0}[word(said)], name(row.get("evaluator")))]
    return feedback(with_system(row, turns(row["prompt"])), made, [five(row["preference"], row.get("evaluator"))])


def table(row: Row) -> Row:
    """The columns of the sample, or numbered answers with their models."""
    marks, word_of = ("ab", "winner") if row.get("response_a") is not None else ("12", "preferred")
    words = {mark: at for at, mark in enumerate(marks)} | {f"response_{mark}": at for at, mark in enumerate(marks)}
    best = {**words, "tie": None, "left": 0, "right": 1, "a": 0, "b": 1}[word(row[word_of])]
    made = sides(row, "response_{}", marks)
    for each, mark in zip(made, marks, strict=True):
        named = (f"model_{mark}", f"model{mark}", f"response_{mark}_model", f"model_response_{mark}")
        each["model"] = name(row.get(first(row, *named)))
    return feedback(with_system(row, turns(row["prompt"])), made, [vote(best, row.get("annotator"))])


def helpsteer(row: Row) -> Row:
    said = number(row["preference_strength"])
    votes = [] if said is None else [vote(None if said == 0 else int(said > 0), None, abs(said))]
    return feedback([("user", text(row["prompt"]))], sides(row, "response_{}", "12"), votes)


def helpsteer3(row: Row) -> Row:
    given = [item.get("score") for item in row.get("individual_preference") or []]
    said = [value for value in map(number, given) if value is not None]
    if not said and number(row.get("overall_preference")) is not None:
        said = [number(row["overall_preference"]) or 0]
    votes = [vote(None if value == 0 else int(value > 0), None, abs(value)) for value in said]
    return feedback(turns(row["context"]), sides(row, "response{}", "12"), votes)


def judgebench(row: Row) -> Row:
    decided = {"A>B": 0, "B>A": 1, "A=B": None}
    votes = [vote(decided[row["label"].replace(" ", "")])]
    for at, item in enumerate(row.get("judgments") or []):
        if item and item.get("decision") is not None:
            best = decided[item["decision"].replace(" ", "")]
            votes.append(vote(best if best is None or at % 2 == 0 else 1 - best, row.get("judge_name")))
    made = [answer(text(row[f"response_{side}"]), row.get("response_model")) for side in "AB"]
    return feedback([("user", text(row["question"]))], made, votes)


READERS = {
    "arena": arena,
    "arena-kaggle": kaggle,
    "pku-saferlhf": pku,
    "shp": shp,
    "webgpt": webgpt,
    "summarize-feedback": summarize,
    "prometheus-preference": prometheus,
    "multipref": multipref,
    "tulu-human": tulu,
    "votes": table,
    "helpsteer-preference": helpsteer,
    "helpsteer3": helpsteer3,
    "judgebench": judgebench,
}
