"""Prompts with several answers that somebody has put in order, or scored beside one another.

    nectar         prompt, answers[{answer, model, rank}]; rank 1 is the best
    nemo-rl        context[], completions[{rank, completion[]}]; rank 0 is the best
    ranked         any other list of answers with ranks: see below
    magpie         instruction, responses[], rewards_armorm[]; chosen and rejected are the best and the worst
    capybara       chosen[], rejected[], original_response, new_generations[], rating_chosen, rating_rejected
    snorkel        prompt, all_generated_responses[], all_rm_scores[]; chosen and rejected are the best and the worst
    snorkel-pairs  the pair of such a row, with the ranker's scores of both; never detected, only named

A lower rank is better in all of them. Where a row counts from 0, all its ranks go up by one, for ``Ranking`` counts
from 1; an answer whose rank is missing or null was not ranked. A list of answers that has no name of its own is
**ranked** when its answers are objects with a ``rank``: in answers, completions, responses, candidates or outputs,
behind a prompt, instruction, question, context or messages, with their text in answer, completion, response, text,
content or output.

**Nectar** (https://huggingface.co/datasets/berkeley-nest/Nectar): the prompt is a transcript that ends with an empty
turn of the assistant's. ``source`` is a list: of one name it is the source, of several it stays in ``extra``.
**NeMo-RL** (https://docs.nvidia.com/nemo/rl/latest/guides/dpo.html#datasets).
**Magpie** (https://huggingface.co/datasets/Magpie-Align/Magpie-Llama-3.1-Pro-DPO-100K-v0.1): five answers, each with
the reward of a model that the name of the column tells (``rewards_armorm``); it is the rater of the ratings ``reward``.
Also ``gen_responses`` and ``rewards``. The pair is found again among the answers and not counted a second time.
**Capybara** (https://huggingface.co/datasets/argilla/distilabel-capybara-dpo-7k-binarized): the answer of the base set
and three new ones, of which the chosen and the rejected one are rated, on 1 to 5.
**Snorkel** (https://huggingface.co/datasets/snorkelai/Snorkel-Mistral-PairRM-DPO-Dataset): a ranker's score is a logit,
without a scale, often negative, and comparable within one prompt only. It stands in ``Completion.extra`` under
``RANKER_SCORE`` and is no ``Rating``, for it would be averaged into ``mean_rating``; ``ranker_score`` reads it there,
whoever wrote it.
"""

from typing import Any

import msgspec

from notus.core.records import Completion, Feedback, Message, Preference, Ranking, Rating, Scale
from notus.formats.families.chats import read_transcript
from notus.formats.families.pairs import read_pair, without_prompt
from notus.formats.fields import (
    keep_raw,
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
from notus.formats.quarantine import RowError

__all__ = ["FORMATS", "RANKER_SCORE", "make_completion", "ranker_score", "read_ranks"]

Turns = tuple[Message, ...]

RANKER_SCORE = "ranker_score"
"""Key in ``Completion.extra`` of the score that a ranker gave: any finite number, higher is better."""

_ASKED = ("prompt", "instruction", "question", "context", "messages")
_LISTED = ("answers", "completions", "responses", "candidates", "outputs")
_ANSWERED = ("answer", "completion", "response", "text", "content", "output")
_NECTAR = ("prompt", "answers", "answer")
_NEMO_RL = ("context", "completions", "completion")
_RESPONSES = ("responses", "gen_responses")
_REWARDS = "rewards"
_CAPYBARA = ("chosen", "rejected", "original_response", "new_generations", "source")
_CAPYBARA_SCALE = Scale(low=1, high=5)
_SNORKEL = ("prompt", "source", "all_generated_responses", "all_rm_scores")


def ranker_score(completion: Completion) -> float | None:
    """The score that a ranker gave the completion, or None where it has none."""
    value = completion.extra.get(RANKER_SCORE)
    return float(value) if isinstance(value, (int, float)) and not isinstance(value, bool) else None


def read_ranks(values: list[Any], at: list[str]) -> tuple[Ranking, ...]:
    """The ranks of answers, lower is better, as a ranking that counts from 1; none where no answer has a rank.

    Args:
        values: a whole number from 0 or 1 on for each answer, or None.
        at: the path of each value in the row.
    """
    ranks = [read_score(value, path) for value, path in zip(values, at, strict=True)]
    for rank, path in zip(ranks, at, strict=True):
        if rank is not None and (rank < 0 or not rank.is_integer()):
            raise RowError(path, "not-a-rank", rank)
    if all(rank is None for rank in ranks):
        return ()
    first = 1 if 0 in ranks else 0
    return (Ranking(ranks=tuple(None if rank is None else int(rank) + first for rank in ranks)),)


def make_completion(turns: Turns, at: str, **fields: Any) -> Completion:
    """An answer of one or more turns, with further fields of a ``Completion``.

    Raises:
        RowError: if no turn is the assistant's.
    """
    last = next((turn for turn in reversed(turns) if turn.role == "assistant"), None)
    if last is None:
        raise RowError(at, "no-answer", turns[-1].content)
    plain = turns == (Message(role="assistant", content=last.content),)
    return Completion(text=last.content, turns=() if plain else turns, **fields)


def _columns(row: Row) -> tuple[str, str, str] | None:
    """The columns of the prompt and of the answers, and the field of an answer's text, where the answers have ranks."""
    asked = next((name for name in _ASKED if isinstance(row.get(name), (str, list))), None)
    listed = next((name for name in _LISTED if _first_ranked(row.get(name)) is not None), None)
    if asked is None or listed is None:
        return None
    first = _first_ranked(row[listed]) or {}
    text = next((name for name in _ANSWERED if isinstance(first.get(name), (str, list, dict))), None)
    return None if text is None else (asked, listed, text)


def _first_ranked(value: object) -> Row | None:
    found = value if isinstance(value, list) else []
    return next((item for item in found if isinstance(item, dict) and "rank" in item), None)


def _is_nectar(row: Row) -> bool:
    """Whether the row is a prompt with answers[{answer, rank}]."""
    return _columns(row) == _NECTAR


def _is_nemo_rl(row: Row) -> bool:
    """Whether the row is a context with completions[{completion, rank}]."""
    return _columns(row) == _NEMO_RL


def _is_ranked(row: Row) -> bool:
    """Whether the row is a prompt with a list of answers that have a rank."""
    return _columns(row) is not None


def _read_nectar(row: Row) -> Feedback:
    """Read a row of Nectar's."""
    return _read_list_of_ranked(row, *_NECTAR)


def _read_nemo_rl(row: Row) -> Feedback:
    """Read a row of NeMo-RL's."""
    return _read_list_of_ranked(row, *_NEMO_RL)


def _read_ranked(row: Row) -> Feedback:
    """Read any list of answers that have ranks."""
    found = _columns(row)
    if found is None:
        listed = any(_first_ranked(row.get(name)) is not None for name in _LISTED)
        asked = any(isinstance(row.get(name), (str, list)) for name in _ASKED)
        at = "prompt" if listed and not asked else "answers"
        raise RowError(at, "missing-field", detail="a prompt and a list of answers with a rank each are needed")
    return _read_list_of_ranked(row, *found)


def _read_list_of_ranked(row: Row, asked: str, listed: str, text: str) -> Feedback:
    known, extra = split_fields(row, (asked, listed))
    prompt, more = _read_prompt(required(known, asked), asked)
    items = read_list(required(known, listed), listed)
    at = [f"{listed}[{index}]" for index in range(len(items))]
    completions = tuple(_read_answer(item, text, path) for item, path in zip(items, at, strict=True))
    if more:
        keep_raw(extra, asked, row[asked])
    return Feedback(
        prompt=prompt,
        completions=completions,
        rankings=read_ranks([item.get("rank") for item in items], [f"{path}.rank" for path in at]),
        source=_take_source(extra),
        extra=extra,
    )


def _read_prompt(value: object, at: str) -> tuple[Turns, bool]:
    """A prompt as messages, as a text, or as a transcript that may end with an empty turn of the assistant's."""
    if isinstance(value, str) and value.lstrip().startswith("Human:"):
        turns = read_transcript(value, at)
        ends_open = len(turns) > 1 and turns[-1].role == "assistant" and not turns[-1].content.strip()
        return turns[:-1] if ends_open else turns, False
    return read_turns(value, at, "user")


def _read_answer(item: object, text: str, at: str) -> Completion:
    """One answer of a list: its text or its messages, its model and, where it has one, its score."""
    if not isinstance(item, dict):
        raise RowError(at, "wrong-type", item, f"an object with {text} and rank is needed")
    known, extra = split_fields(item, (text, "rank", "model", "score"))
    turns, more = read_turns(required(known, text, f"{at}."), f"{at}.{text}", "assistant")
    if more:
        keep_raw(extra, text, item[text])
    score = Rating(aspect="score", value=read_score(item["score"], f"{at}.score")) if "score" in item else None
    return make_completion(
        turns,
        f"{at}.{text}",
        model=read_name(known.get("model"), f"{at}.model"),
        ratings=() if score is None else (score,),
        extra=extra,
    )


def _take_source(extra: Row) -> str:
    """The source, as a text or as a list of one; a list of several stays where it is."""
    source = extra.get("source")
    if isinstance(source, list) and len(source) == 1:
        source = source[0]
    if not isinstance(source, str):
        return ""
    del extra["source"]
    return source


def _is_magpie(row: Row) -> bool:
    """Whether an instruction stands before a list of answers and a list of their rewards."""
    texts, rewards = _magpie_columns(row)
    return isinstance(row.get("instruction"), str) and isinstance(row.get(texts), list) and rewards in row


def _magpie_columns(row: Row) -> tuple[str, str]:
    texts = next((name for name in _RESPONSES if row.get(name) is not None), _RESPONSES[0])
    found = (name for name, value in row.items() if name.startswith(_REWARDS) and isinstance(value, list))
    return texts, next(found, f"{_REWARDS}_armorm")


def _read_magpie(row: Row) -> Feedback:
    """Read an instruction with its answers and their rewards; ``extra`` says which of them are the row's own pair."""
    texts, rewards = _magpie_columns(row)
    known, extra = split_fields(row, ("instruction", texts, rewards))
    answers = read_list(required(known, texts), texts)
    scores = read_list(required(known, rewards), rewards)
    if len(answers) != len(scores):
        raise RowError(rewards, "length-mismatch", scores, f"{len(answers)} answers, {len(scores)} rewards")
    prompt = (Message(role="user", content=read_text(required(known, "instruction"), "instruction")),)
    _name_pair(extra, answers, prompt)
    rater = rewards.removeprefix(_REWARDS).removeprefix("_")
    completions = []
    for index, (text, reward) in enumerate(zip(answers, scores, strict=True)):
        value = reward.get("score") if isinstance(reward, dict) else reward
        rest = {name: part for name, part in reward.items() if name != "score"} if isinstance(reward, dict) else {}
        rating = Rating(aspect="reward", value=read_score(value, f"{rewards}[{index}]"), rater=rater)
        answer = read_text(text, f"{texts}[{index}]")
        completions.append(Completion(text=answer, ratings=(rating,), extra={rewards: rest} if rest else {}))
    return Feedback(
        prompt=prompt,
        completions=tuple(completions),
        source=_take_source(extra),
        extra=extra,
    )


def _is_capybara(row: Row) -> bool:
    """Whether new answers stand beside the one of the base set and a pair of them."""
    lists = all(isinstance(row.get(name), list) for name in ("chosen", "rejected", "new_generations"))
    return lists and isinstance(row.get("original_response"), str)


def _read_capybara(row: Row) -> Feedback:
    """Read a dialogue with all answers to its last turn; the chosen and the rejected one are rated and ranked."""
    known, extra = split_fields(row, _CAPYBARA)
    chosen, more = read_turns(required(known, "chosen"), "chosen", "assistant")
    rejected, more_rejected = read_turns(required(known, "rejected"), "rejected", "assistant")
    for name, held in (("chosen", more), ("rejected", more_rejected)):
        if held:
            keep_raw(extra, name, row[name])
    prompt, chosen, rejected = without_prompt(None, chosen, rejected)
    if len(chosen) > 1 or len(rejected) > 1:
        raise RowError(
            "rejected", "prompt-mismatch", rejected[0].content, "the dialogues differ before their last turn"
        )
    first = read_text(required(known, "original_response"), "original_response")
    new = read_as(required(known, "new_generations"), list[Any], "new_generations")
    answers = [first, *(read_text(text, f"new_generations[{index}]") for index, text in enumerate(new))]
    best = _find(answers, chosen[0].content)
    worst = _find(answers, rejected[0].content, but=best)
    given = {best: _take_judgement(extra, "chosen"), worst: _take_judgement(extra, "rejected")}
    if extra.get("prompt") in (prompt[-1].content, None):
        extra.pop("prompt", None)
    return Feedback(
        prompt=prompt,
        completions=tuple(Completion(text=text, **given.get(place, {})) for place, text in enumerate(answers)),
        rankings=(Ranking(ranks=tuple({best: 1, worst: 2}.get(place) for place in range(len(answers)))),),
        source=read_as(known.get("source", ""), str, "source"),
        extra=extra,
    )


def _find(answers: list[str], text: str, but: int | None = None) -> int:
    """Where an answer stands among others; it is added where it does not."""
    found = next((place for place, answer in enumerate(answers) if answer == text and place != but), None)
    if found is None:
        answers.append(text)
    return len(answers) - 1 if found is None else found


def _take_judgement(extra: Row, side: str) -> dict[str, Any]:
    """Model and rating of one side, taken out of the further columns."""
    rating, model = f"rating_{side}", f"{side}_model"
    fields: dict[str, Any] = {"model": read_name(extra.pop(model, None), model)}
    if rating in extra:
        value = read_score(extra.pop(rating), rating)
        fields["ratings"] = (Rating(aspect="rating", value=value, scale=_CAPYBARA_SCALE),)
    return fields


def _is_snorkel(row: Row) -> bool:
    """Whether the row has answers beside a ranker's scores."""
    return all(isinstance(row.get(name), list) for name in _SNORKEL[2:]) and "prompt" in row


def _read_snorkel(row: Row) -> Feedback:
    """Read a prompt with its ranked answers.

    ``extra`` holds ``chosen_index`` and ``rejected_index`` where the row's own pair is found among its answers, and the
    pair as it came where it is not.
    """
    known, extra = split_fields(row, _SNORKEL)
    prompt, more = read_turns(required(known, "prompt"), "prompt", "user")
    texts = read_list(required(known, "all_generated_responses"), "all_generated_responses")
    scores = read_list(required(known, "all_rm_scores"), "all_rm_scores")
    if len(texts) != len(scores):
        raise RowError("all_rm_scores", "length-mismatch", scores, f"{len(texts)} answers, {len(scores)} scores")
    _name_pair(extra, texts, prompt)
    completions = (
        Completion(
            text=read_text(text, f"all_generated_responses[{index}]"),
            extra={} if score is None else {RANKER_SCORE: score},
        )
        for index, (text, score) in enumerate(zip(texts, _read_scores(scores), strict=True))
    )
    if more:
        keep_raw(extra, "prompt", row["prompt"])
    source = read_as(known.get("source", ""), str, "source")
    return Feedback(prompt=prompt, completions=tuple(completions), source=source, extra=extra)


def _read_scores(values: list[Any]) -> list[float | None]:
    """The scores of a ranker; one that is missing costs that score."""
    return [read_score(value, f"all_rm_scores[{index}]") for index, value in enumerate(values)]


def _name_pair(extra: Row, texts: list[Any], prompt: Turns) -> None:
    """Say of the row's own pair which of its answers it is; what the pair says beyond prompt and answer stays."""
    before = [{"role": turn.role, "content": turn.content} for turn in prompt]
    for side in ("chosen", "rejected"):
        answer = extra.get(side)
        last = answer[-1] if isinstance(answer, list) and answer else None
        text = last.get("content") if isinstance(last, dict) else None
        if not isinstance(text, str) or text not in texts or f"{side}_index" in extra:
            continue
        extra[f"{side}_index"] = texts.index(text)
        if answer == [*before, {"role": "assistant", "content": text}]:
            del extra[side]


def _read_snorkel_pair(row: Row) -> Preference:
    """Read the pair of a Snorkel row; the scores are those of the ranker, where the answers are found again."""
    found = read_pair(row)
    texts, scores = row.get("all_generated_responses"), row.get("all_rm_scores")
    if not isinstance(texts, list) or not isinstance(scores, list) or len(texts) != len(scores):
        raise RowError("all_rm_scores", "length-mismatch", scores)

    rated = _read_scores(scores)
    said = [answer[-1].content for answer in (found.chosen, found.rejected)]
    chosen, rejected = (rated[texts.index(text)] if text in texts else None for text in said)
    stated = {"score_chosen": (found.score_chosen, chosen), "score_rejected": (found.score_rejected, rejected)}
    extra = found.extra | {name: own for name, (own, given) in stated.items() if own is not None and own != given}
    return msgspec.structs.replace(found, score_chosen=chosen, score_rejected=rejected, extra=extra)


def _said(*texts: str) -> list[Row]:
    """Turns of a user and an assistant in alternation."""
    return [{"role": ("user", "assistant")[index % 2], "content": text} for index, text in enumerate(texts)]


_NECTAR_SAMPLE: Row = {
    "prompt": "\n\nHuman: Name a river.\n\nAssistant: ",
    "answers": [
        {"answer": "The Oder.", "model": "alder", "rank": 1.0},
        {"answer": "A river.", "model": "birch", "rank": 2.0},
        {"answer": "No.", "model": "cedar", "rank": 3.0},
    ],
    "turns": 1,
    "num_responses": 3,
    "source": ["lmsys-chat-1m"],
    "good_natured": True,
}
_NEMO_RL_SAMPLE: Row = {
    "context": [{"role": "user", "content": "Name a river."}],
    "completions": [
        {"rank": 0, "completion": [{"role": "assistant", "content": "The Oder."}]},
        {"rank": 1, "completion": [{"role": "assistant", "content": "No."}]},
    ],
    "task_name": "rivers",
}
_RANKED_SAMPLE: Row = {
    "question": "Name a river.",
    "responses": [
        {"text": "No.", "rank": 3, "model": "cedar"},
        {"text": "The Oder.", "rank": 1, "model": "alder"},
        {"text": "The Spree.", "rank": 1, "model": "birch"},
    ],
}
_MAGPIE_SAMPLE: Row = {
    "uuid": "7",
    "instruction": "Name a river.",
    "responses": ["A river.", "The Oder.", "No.", "The Spree.", "A lake."],
    "rewards_armorm": [{"score": 0.11}, {"score": 0.17}, {"score": 0.02}, {"score": 0.16}, {"score": 0.05}],
    "chosen": _said("Name a river.", "The Oder."),
    "rejected": _said("Name a river.", "No."),
}
_CAPYBARA_SAMPLE: Row = {
    "source": "Airoboros",
    "conversation": [{"input": "Hi.", "output": "Hello."}, {"input": "Name a river.", "output": "A river."}],
    "original_response": "A river.",
    "new_generations": ["The Oder.", "No.", "The Spree."],
    "prompt": "Name a river.",
    "chosen": _said("Hi.", "Hello.", "Name a river.", "The Oder."),
    "rejected": _said("Hi.", "Hello.", "Name a river.", "No."),
    "rating_chosen": 5,
    "rating_rejected": 1,
    "chosen_model": "alder",
    "rejected_model": "cedar",
}
_SNORKEL_SAMPLE: Row = {
    "prompt_id": "flan_7",
    "prompt": "Name a river.",
    "chosen": _said("Name a river.", "The Oder."),
    "rejected": _said("Name a river.", "No."),
    "all_generated_responses": ["The Oder.", "A river.", "No."],
    "all_rm_scores": [1.5, -0.25, -7.5],
}

FORMATS = (
    Format(
        name="nectar",
        record=Feedback,
        decode=_read_nectar,
        matches=_is_nectar,
        before=("ranked",),
        sample=_NECTAR_SAMPLE,
    ),
    Format(
        name="nemo-rl",
        record=Feedback,
        decode=_read_nemo_rl,
        matches=_is_nemo_rl,
        before=("ranked",),
        sample=_NEMO_RL_SAMPLE,
    ),
    # All answers say more than a pair of them, or than a dialogue beside them.
    Format(
        name="ranked",
        record=Feedback,
        decode=_read_ranked,
        matches=_is_ranked,
        before=("argilla",),
        sample=_RANKED_SAMPLE,
    ),
    Format(
        name="magpie",
        record=Feedback,
        decode=_read_magpie,
        matches=_is_magpie,
        before=("argilla",),
        sample=_MAGPIE_SAMPLE,
    ),
    Format(
        name="capybara",
        record=Feedback,
        decode=_read_capybara,
        matches=_is_capybara,
        before=("argilla",),
        sample=_CAPYBARA_SAMPLE,
    ),
    Format(
        name="snorkel",
        record=Feedback,
        decode=_read_snorkel,
        matches=_is_snorkel,
        before=("argilla",),
        sample=_SNORKEL_SAMPLE,
    ),
    Format(name="snorkel-pairs", record=Preference, decode=_read_snorkel_pair, sample=_SNORKEL_SAMPLE),
)
