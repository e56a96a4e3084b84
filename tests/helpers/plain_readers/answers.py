"""Plain readers of answers with ratings, of ranked answers and of trees."""

from typing import Any

from tests.helpers.plain_readers.pairs import divide, transcript
from tests.helpers.plain_readers.values import (
    Row,
    answer,
    feedback,
    first,
    name,
    number,
    text,
    texts,
    turns,
    with_system,
)

SCORES = ("rating", "score", "grade", "judge_score", "judge_rating", "quality")
ATTRIBUTES = ("helpfulness", "correctness", "coherence", "complexity", "verbosity")


def ranked(values: list[object]) -> list[Row]:
    """Ranks that may count from 0 as a vote, none where nothing is ranked."""
    ranks = [number(value) for value in values]
    if all(rank is None for rank in ranks):
        return []
    if any(rank is not None and (rank < 0 or rank % 1) for rank in ranks):
        raise ValueError(values)
    return [
        {"ranks": [None if rank is None else int(rank) + (0 in ranks) for rank in ranks], "rater": "", "strength": None}
    ]


def listed(row: Row, asked: str, column: str, said: str) -> Row:
    prompt = row[asked]
    if isinstance(prompt, str) and prompt.lstrip().startswith("Human:"):
        prompt = transcript(prompt)
        prompt = prompt[:-1] if prompt[-1][0] == "assistant" and not prompt[-1][1].strip() else prompt
    else:
        prompt = turns(prompt)
    made = [answer(item[said], item.get("model"), [(item.get("score"), None)]) for item in row[column]]
    return feedback(prompt, made, ranked([item.get("rank") for item in row[column]]))


def magpie(row: Row) -> Row:
    column = first(row, "rewards_armorm", "rewards")
    rewards = [item.get("score") if isinstance(item, dict) else item for item in row[column]]
    rater = column.removeprefix("rewards").removeprefix("_")
    said = texts(row[first(row, "responses", "gen_responses")])
    made = [answer(each, None, [(reward, rater)]) for each, reward in zip(said, rewards, strict=True)]
    return feedback([("user", text(row["instruction"]))], made)


def capybara(row: Row) -> Row:
    prompt, chosen, rejected = divide(None, turns(row["chosen"]), turns(row["rejected"]))
    answers = [text(row["original_response"]), *texts(row["new_generations"])]
    ((_, best),), ((_, worst),) = chosen, rejected
    if len({*answers}) != len(answers) or not {best, worst} <= {*answers}:
        raise ValueError(row)  # one of the pair is none of them, or two are the same
    about = {best: "chosen", worst: "rejected"}
    made = []
    for each in answers:
        side = about.get(each, "")
        made.append(answer(each, row.get(f"{side}_model"), [(row.get(f"rating_{side}"), None)]))
    return feedback(prompt, made, ranked([{best: 1, worst: 2}.get(each) for each in answers]))


def snorkel(row: Row) -> Row:
    given = texts(row["all_generated_responses"])
    scores = [number(score) for score in row["all_rm_scores"]]
    made = [answer(each) | {"ranker": score} for each, score in zip(given, scores, strict=True)]
    return feedback(turns(row["prompt"]), made)


def rewardbench_2(row: Row) -> Row:
    right, wrong = texts(row["chosen"]), texts(row["rejected"])
    models: list[Any] = row.get("models") or []
    models = texts(models) if len(models) == len(right + wrong) else [""] * len(right + wrong)
    votes = ranked([1] * len(right) + [2] * len(wrong))
    made = [answer(each, model) for each, model in zip(right + wrong, models, strict=True)]
    return feedback([("user", text(row["prompt"]))], made if right and wrong else [], votes)


def wildbench(row: Row) -> Row:
    given = [number(each["score"]) for each in (row["parsed_result"], row) if each.get("score") is not None]
    said = [each for each in given if each is not None]
    if len(set(said)) > 1:
        raise ValueError(said)
    made = answer(
        text(row["model_output"]),
        row.get(first(row, "model_test", "generator")),
    )
    parts = [
        f"{part.capitalize()}: {text(row['parsed_result'][part])}"
        for part in ("strengths", "weaknesses")
        if row["parsed_result"].get(part)
    ]
    critique = ("\n\n".join(parts), said[0] if said else None)
    return feedback(turns(row["conversation_input"]), [made | {"critique": critique}])


def rubric(row: Row) -> Row:
    made = []
    for item in row["completions"]:
        raters = item.get("annotators")
        raters = raters if isinstance(raters, list) and raters else [None] * len(item["gpt4_scores"])
        made.append(
            answer(text(item["response"]), text(item["model"]), list(zip(item["gpt4_scores"], raters, strict=True)))
        )
    return feedback([("user", text(row["instruction"]))], made)


def distilabel(row: Row) -> Row:
    said = row["generations"]
    ratings, models = (row.get(column) or [None] * len(said) for column in ("ratings", "generation_models"))
    judges = ("ultrafeedback_model", "labelling_model", "model_name")
    judge = next((row[column] for column in judges if isinstance(row.get(column), str)), None)
    if isinstance(models, str):
        models = [models] * len(said)
    made = [
        answer(text(each), model, [(rating, judge)])
        for each, model, rating in zip(said, models, ratings, strict=True)
        if each is not None
    ]
    prompt = row["instruction"]
    if isinstance(row.get("input"), str) and row["input"] and isinstance(prompt, str):
        prompt = f"{prompt}\n\n{row['input']}"
    return feedback(with_system(row, turns(prompt)), made)


def scored_answers(row: Row) -> Row:
    made = []
    for item in row["completions"]:
        score = item.get(first(item, "score", "rating", "scores"))
        scores = score.values() if isinstance(score, dict) else [score]
        made.append(
            answer(
                item[first(item, "response", "text")], item.get("model"), [(each, item.get("judge")) for each in scores]
            )
        )
    asked = first(row, "instruction", "prompt", "question")
    if asked != "prompt":
        raise ValueError(row)
    return feedback(with_system(row, turns(row["prompt"])), made)


def prometheus(row: Row) -> Row:
    asked = "orig_instruction" if row.get("orig_instruction") is not None else "instruction"
    return feedback(turns(row[asked]), [answer(row["orig_response"], None, [(row.get("orig_score"), None)])])


def rating_table(row: Row) -> Row:
    scores = [row[column] for column in SCORES if column in row]
    made = answer(row["response"], row.get("model"), [(each, row.get("annotator")) for each in scores])
    return feedback(with_system(row, turns(row["prompt"])), [made])


def ultrafeedback(row: Row) -> Row:
    made = []
    for item in row["completions"]:
        grades = [said["Rating"] for said in item["annotations"].values() if said]
        made.append(
            answer(text(item["response"]), text(item["model"]), [(grade, None) for grade in grades])
            | {"critique": (item.get("critique") or "", number(item.get("overall_score")))}
        )
    return feedback([("user", text(row["instruction"]))], made)


def helpsteer(row: Row) -> Row:
    given = [row[column] for column in ATTRIBUTES if row.get(column) is not None]
    scores = [each for value in given for each in (value if isinstance(value, list) else [value])]
    made = answer(text(row["response"]), row.get("model"), [(each, None) for each in scores])
    return feedback([("user", text(row["prompt"]))], [made])


def helpsteer3_feedback(row: Row) -> Row:
    said = row["feedback"] if isinstance(row["feedback"], list) else [row["feedback"]]
    made = answer(row["response"]) | ({"critique": (text(said[0]), None)} if said else {})
    return feedback(turns(row["context"]), [made])


def tree(row: Row) -> Row:
    """The first prompt that has several replies; here, the root."""
    root, replies = row["prompt"], row["prompt"]["replies"]
    if len(replies) < 2 or root["role"] != "prompter" or any(reply["role"] != "assistant" for reply in replies):
        raise ValueError(row)
    made = [answer(text(reply["text"]), reply.get("model_name")) for reply in replies]
    return feedback([("user", text(root["text"]))], made, ranked([reply.get("rank") for reply in replies]))


def own(row: Row) -> Row:
    made = []
    for item in row["completions"]:
        if item.get("turns"):
            raise ValueError(item)
        rated = [(rating["value"], rating.get("rater")) for rating in item.get("ratings") or []]
        made.append(answer([{"role": "assistant", "content": item["text"]}], item.get("model"), rated))
    votes = [
        {"ranks": v["ranks"], "rater": name(v.get("rater")), "strength": v.get("strength")}
        for v in row.get("rankings") or []
    ]
    return feedback(turns(row["prompt"]), made, votes)


READERS = {
    "notus-feedback": own,
    "nectar": lambda row: listed(row, "prompt", "answers", "answer"),
    "nemo-rl": lambda row: listed(row, "context", "completions", "completion"),
    "ranked": lambda row: listed(row, "question", "responses", "text"),
    "magpie": magpie,
    "capybara": capybara,
    "snorkel": snorkel,
    "rewardbench-2": rewardbench_2,
    "wildbench": wildbench,
    "feedback": rubric,
    "distilabel": distilabel,
    "scored-answers": scored_answers,
    "prometheus-feedback": prometheus,
    "ratings": rating_table,
    "ultrafeedback": ultrafeedback,
    "helpsteer": helpsteer,
    "helpsteer3-feedback": helpsteer3_feedback,
    "oasst-trees": tree,
}
