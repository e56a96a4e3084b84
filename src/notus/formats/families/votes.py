"""Votes between two answers: Chatbot Arena's, and those of published sets of comparisons.

    arena                  conversation_a[], conversation_b[], winner, model_a, model_b, judge, turn, language, …
    arena-kaggle           prompt, response_a, response_b, winner_model_a, winner_model_b, winner_tie
    pku-saferlhf           prompt, response_0, response_1, better_response_id, safer_response_id, …
    shp                    history, human_ref_A, human_ref_B, labels, score_ratio, …
    webgpt                 question{full_text}, answer_0, answer_1, score_0, score_1, quotes_0, …
    summarize-feedback     info{post or article}, summaries[{text, policy}], choice, worker, …
    prometheus-preference  orig_instruction, orig_response_A, orig_response_B, orig_preference, orig_score_A, …
    multipref              text, completion_a, completion_b, normal_worker_annotations[], expert_worker_annotations[]
    tulu-human             prompt, completion_a, completion_b, completion_a_is_acceptable, preference, evaluator

Each row is a ``Feedback`` of two completions with a ``Ranking`` for each vote: rank 1 for the better answer, 1 for both
in a tie. Rows of one prompt and the same two answers are one, whichever answer stands first. Owns what those rows mean,
and how a vote is made; tables of votes under anybody's names are owned by ``formats.families.tables``.

**Arena** (https://huggingface.co/datasets/lmsys/chatbot_arena_conversations and, with ``both_bad``,
https://huggingface.co/datasets/lmarena-ai/arena-human-preference-140k): what both conversations begin with is the
prompt; from where they part, all turns are the answer. ``turn`` is the turn that was judged: where more follow, as in
https://huggingface.co/datasets/lmsys/mt_bench_human_judgments, they are no part of the answer, and kept as read. A tie
of two bad answers is a tie, and its ``winner`` stays in ``extra``. **Kaggle**
(https://www.kaggle.com/competitions/lmsys-chatbot-arena/data) has the same as lists of turns, in CSV as JSON texts.

**PKU-SafeRLHF** (https://huggingface.co/datasets/PKU-Alignment/PKU-SafeRLHF) asks two questions, ``better`` and
``safer``, which are two rankings: neither stands for the other. **SHP**
(https://huggingface.co/datasets/stanfordnlp/SHP): label 1 prefers A; the ratio of upvotes is the strength. **WebGPT**
(https://huggingface.co/datasets/openai/webgpt_comparisons): two scores from -1 to 1 that sum to 0 are one vote, their
size its strength, 0 a tie. **TL;DR** (https://huggingface.co/datasets/openai/summarize_from_feedback,
``comparisons``): the prompt is the post alone; title and subreddit stay in ``extra``. **Prometheus**
(https://huggingface.co/datasets/prometheus-eval/Preference-Collection): ``instruction`` is a judge's whole prompt where
``orig_instruction`` stands beside it. **MultiPref** (https://huggingface.co/datasets/allenai/multipref): four
annotators, each asked of four aspects, slightly or clearly. **Tulu's** evaluations
(https://github.com/allenai/open-instruct, ``human_eval``): whether an answer is acceptable is a rating, 1 or 0.
"""

from collections.abc import Mapping
from typing import Any

import msgspec

from notus.core.records import Completion, Feedback, Message, Ranking, Rating, Scale, digest
from notus.formats.fields import (
    keep_raw,
    read_as,
    read_list,
    read_name,
    read_number,
    read_score,
    read_source,
    read_text,
    read_turns,
    required,
    split_fields,
)
from notus.formats.format import Format, Row
from notus.formats.quarantine import RowError

__all__ = [
    "BOTH_BAD",
    "FORMATS",
    "TIES",
    "by_prompt_and_answers",
    "make_completion",
    "make_vote",
    "part_conversations",
    "read_answer",
    "read_prompt",
    "read_vote",
]

Turns = tuple[Message, ...]

TIES = ("tie", "tied", "draw", "equal", "both", "same", "=")
"""What says that neither answer is better."""
BOTH_BAD = ("tie (bothbad)", "tie (both bad)", "both_bad", "bothbad", "both bad", "neither")
"""What says so of two answers of which none is good."""

_ONE = Scale(low=0, high=1)
_CLEAR = Scale(low=0, high=2)
"""Strength of a choice of five: 0 for a tie, 1 for slightly better, 2 for clearly better."""
_GRADES = Scale(low=1, high=5)
_AB = ("a", "b")
_SYSTEM = ("system", "system_prompt")

_ARENA = ("conversation_a", "conversation_b", "model_a", "model_b", "winner", "judge", "judge_hash")
_ARENA_VOTES: dict[str, int | None] = {"model_a": 0, "model_b": 1} | dict.fromkeys(("tie", *BOTH_BAD))
_KAGGLE_TEXTS = ("prompt", "response_a", "response_b")
_KAGGLE_VOTES = ("winner_model_a", "winner_model_b", "winner_tie")


def make_vote(better: int | None, *, rater: str = "", question: str = "", rationale: str = "") -> Ranking:
    """A vote between two answers: 0 for the first, 1 for the second, None for a tie."""
    ranks = (1, 1) if better is None else (1, 2) if better == 0 else (2, 1)
    return Ranking(ranks=ranks, rater=rater, question=question, rationale=rationale)


def read_vote(value: object, at: str, votes: Mapping[str, int | None]) -> int | None:
    """A vote by its word, in capitals or not: 0 for the first answer, 1 for the second, None for a tie."""
    word = value.strip().lower() if isinstance(value, str) else value
    if isinstance(word, float) and word.is_integer():
        word = int(word)  # how a table writes whole numbers of a column that has gaps
    if isinstance(word, int) and not isinstance(word, bool) and 0 <= word < 10:
        word = str(word)
    if not isinstance(word, str) or word not in votes:
        raise RowError(at, "unknown-vote", value, f"known: {', '.join(votes)}")
    return votes[word]


def by_prompt_and_answers(record: Feedback) -> str:
    """Rows of one prompt, one source and the same answers are one record, in whichever order the answers stand."""
    answers = (
        digest(item.model, *(part for turn in item.answer for part in (turn.role, turn.content)))
        for item in record.completions
    )
    return digest(record.prompt_id, record.source, *sorted(answers))


def make_completion(turns: Turns, at: str, **fields: Any) -> Completion:
    """An answer of one or more turns, with further fields of ``Completion``.

    Raises:
        RowError: if the assistant does not speak in it.
    """
    last = next((turn.content for turn in reversed(turns) if turn.role == "assistant"), None)
    if last is None:
        raise RowError(at, "no-answer", turns[-1].content)
    plain = turns == (Message(role="assistant", content=last),)
    return Completion(text=last, turns=() if plain else turns, **fields)


def read_answer(row: Row, name: str, *, extra: Row | None = None, **fields: Any) -> Completion:
    """An answer out of a column, with its further columns and fields."""
    turns, more = read_turns(required(row, name), name, "assistant")
    further = dict(extra or {})
    if more:
        keep_raw(further, name, row[name])
    return make_completion(turns, name, extra=further, **fields)


def part_conversations(one: Turns, two: Turns, at: str) -> tuple[Turns, Turns, Turns]:
    """What two conversations begin with alike, and each one's turns from there on: the prompt and both answers.

    Raises:
        RowError: if they do not follow one prompt, or one of them has no answer.
    """
    shared = 0
    while shared < min(len(one), len(two)) and one[shared] == two[shared]:
        shared += 1
    # Both answers begin with the assistant, also where the two are alike for longer, or to the end.
    while shared and not all(len(turns) > shared and turns[shared].role == "assistant" for turns in (one, two)):
        shared -= 1
    if not shared:
        if without := next((turns for turns in (one, two) if all(turn.role != "assistant" for turn in turns)), None):
            raise RowError(at, "no-answer", without[-1].content)
        raise RowError(at, "prompt-mismatch", two[0].content, "the conversations begin differently")
    return one[:shared], one[shared:], two[shared:]


def _is_arena(row: Row) -> bool:
    """Whether two conversations stand beside a winner."""
    return all(isinstance(row.get(f"conversation_{side}"), list) for side in _AB) and "winner" in row


def _read_arena(row: Row) -> Feedback:
    known, extra = split_fields(row, _ARENA)
    sides = []
    for side in _AB:
        name = f"conversation_{side}"
        turns, more = read_turns(read_list(required(known, name), name), name, "user")
        judged = _until_turn(turns, row.get("turn"))
        if more or judged != turns:
            keep_raw(extra, name, row[name])
        sides.append(judged)
    prompt, *answers = part_conversations(sides[0], sides[1], "conversation_b")
    winner = required(known, "winner")
    better = read_vote(winner, "winner", _ARENA_VOTES)
    if str(winner).strip().lower() in BOTH_BAD:
        extra["winner"] = winner
    by = "judge" if "judge" in known else "judge_hash"
    judge = known.get(by)
    if by == "judge" and "judge_hash" in known:
        extra["judge_hash"] = known["judge_hash"]
    rater = ", ".join(read_as(judge, list[str], by)) if isinstance(judge, list) else read_name(judge, by)
    models = [read_name(known.get(f"model_{side}"), f"model_{side}") for side in _AB]
    return Feedback(
        prompt=prompt,
        completions=tuple(
            make_completion(turns, f"conversation_{side}", model=model)
            for turns, model, side in zip(answers, models, _AB, strict=True)
        ),
        source=read_source(extra),
        rankings=(make_vote(better, rater=rater),),
        extra=extra,
    )


def _until_turn(turns: Turns, turn: object) -> Turns:
    """The conversation up to the answer in the turn that was judged; all of it where no more turns follow."""
    if not isinstance(turn, int) or isinstance(turn, bool) or turn < 1:
        return turns
    asked = [index for index, item in enumerate(turns) if item.role == "user"]
    return turns[: asked[turn]] if turn < len(asked) else turns


def _is_kaggle(row: Row) -> bool:
    """Whether a column for each end of the battle stands beside two responses."""
    return all(name in row for name in (*_KAGGLE_TEXTS, *_KAGGLE_VOTES[:2]))


def _read_kaggle(row: Row) -> Feedback:
    known, extra = split_fields(row, (*_KAGGLE_TEXTS, *_KAGGLE_VOTES, "model_a", "model_b"))
    prompts, *sides = _read_turn_lists(known)
    for name, side in zip(_KAGGLE_TEXTS, (prompts, *sides), strict=True):
        if len(side) != len(prompts):
            raise RowError(name, "length-mismatch", side, f"{len(prompts)} prompts, {len(side)} responses")
        if None in side:  # a model that gave nothing
            keep_raw(extra, name, row[name])
    turns = [
        tuple(
            turn
            for asked, said in zip(prompts, side, strict=True)
            for turn in (Message(role="user", content=asked or ""), Message(role="assistant", content=said or ""))
        )
        for side in sides
    ]
    prompt, *answers = part_conversations(turns[0], turns[1], "response_b")
    return Feedback(
        prompt=prompt,
        completions=tuple(
            make_completion(answer, f"response_{side}", model=read_name(known.get(f"model_{side}"), f"model_{side}"))
            for answer, side in zip(answers, _AB, strict=True)
        ),
        source=read_source(extra),
        rankings=(make_vote(_read_kaggle_vote(known)),),
        extra=extra,
    )


def _read_turn_lists(known: Row) -> list[list[str | None]]:
    """Prompts and both sides' responses, a text for each turn; each may be a list, its JSON, or one plain text.

    A prompt that is a list has lists of responses: one that is none goes aside, and is never a text by itself.
    """
    values = [required(known, name) for name in _KAGGLE_TEXTS]
    lists = [_parse_list(value) for value in values]
    found = [(name, each) for name, each in zip(_KAGGLE_TEXTS, lists, strict=True) if each is not None]
    if len(found) == len(lists):
        return [each for _, each in found]
    in_turns = lists[0] is not None or values[0] == "[]"
    for name, value, each in zip(_KAGGLE_TEXTS, values, lists, strict=True):
        if each is None and found and isinstance(value, str) and value.startswith('["'):
            raise RowError(name, "broken-json", value)
        if each is None and in_turns:
            raise RowError(name, "empty-list" if value == "[]" else "wrong-type", value, "a list of turns is needed")
    return [[read_text(value, name)] for name, value in zip(_KAGGLE_TEXTS, values, strict=True)]


def _parse_list(value: object) -> list[str | None] | None:
    """The texts of a list or of the JSON of one, or None."""
    try:
        if isinstance(value, str) and value.startswith("["):
            return msgspec.json.decode(value, type=list[str | None]) or None
        return msgspec.convert(value, list[str | None]) or None
    except (msgspec.DecodeError, RecursionError):
        return None


def _read_kaggle_vote(known: Row) -> int | None:
    votes = {name: read_number(known[name], name) for name in _KAGGLE_VOTES if name in known}
    won = [place for place, name in enumerate(_KAGGLE_VOTES) if votes.get(name)]
    if len(won) != 1 or votes[_KAGGLE_VOTES[won[0]]] != 1:
        raise RowError("winner_model_a", "unknown-vote", known.get("winner_model_a"), "one of the three must be 1")
    return None if won[0] == 2 else won[0]


def _is_pku(row: Row) -> bool:
    """Whether two responses stand beside the number of the better one, or of the safer."""
    return "response_0" in row and "response_1" in row and ("better_response_id" in row or "safer_response_id" in row)


def _read_pku(row: Row) -> Feedback:
    asked = {"better": "better_response_id", "safer": "safer_response_id"}
    per_answer = {
        "is_safe": "is_response_{}_safe",
        "harm_category": "response_{}_harm_category",
        "severity_level": "response_{}_severity_level",
        "sha256": "response_{}_sha256",
    }
    known, extra = split_fields(row, ("prompt", "response_0", "response_1", "prompt_source", *asked.values()))
    rankings = tuple(
        make_vote(read_vote(known[name], name, {"0": 0, "1": 1}), question=question)
        for question, name in asked.items()
        if name in known
    )
    if not rankings:
        raise RowError("better_response_id", "missing-field")
    completions = []
    for side in (0, 1):
        further = _take(extra, {name: column.format(side) for name, column in per_answer.items()})
        model = read_name(extra.pop(f"response_{side}_source", None), f"response_{side}_source")
        completions.append(read_answer(known, f"response_{side}", model=model, extra=further))
    return Feedback(
        prompt=read_prompt(known, "prompt", extra),
        completions=tuple(completions),
        source=read_name(known.get("prompt_source"), "prompt_source"),
        rankings=rankings,
        extra=extra,
    )


def _is_shp(row: Row) -> bool:
    """Whether a history stands before two comments of people."""
    return all(isinstance(row.get(name), str) for name in ("history", "human_ref_A", "human_ref_B"))


def _read_shp(row: Row) -> Feedback:
    known, extra = split_fields(row, ("history", "human_ref_A", "human_ref_B", "labels", "score_ratio", "domain"))
    better = read_vote(required(known, "labels"), "labels", {"1": 0, "0": 1})
    per_answer = {"score": "score_{}", "created_at_utc": "created_at_utc_{}", "c_root_id": "c_root_id_{}"}
    vote = msgspec.structs.replace(make_vote(better), strength=read_score(known.get("score_ratio"), "score_ratio"))
    return Feedback(
        prompt=read_prompt(known, "history", extra),
        completions=tuple(
            read_answer(known, f"human_ref_{side}", extra=_take(extra, _columns_of(per_answer, side))) for side in "AB"
        ),
        source=read_name(known.get("domain"), "domain"),
        rankings=(vote,),
        extra=extra,
    )


def _is_webgpt(row: Row) -> bool:
    """Whether two answers with scores stand beside a question with its full text."""
    question = row.get("question")
    return isinstance(question, dict) and "full_text" in question and "answer_0" in row and "score_0" in row


def _read_webgpt(row: Row) -> Feedback:
    known, extra = split_fields(row, ("question", "answer_0", "answer_1", "score_0", "score_1"))
    question, further = split_fields(read_as(required(known, "question"), dict, "question"), ("full_text", "dataset"))
    if any(value is not None for value in further.values()):
        extra["question"] = further
    scores = [read_score(known.get(f"score_{side}"), f"score_{side}", Scale(low=-1, high=1)) for side in (0, 1)]
    per_answer = {"quotes": "quotes_{}", "tokens": "tokens_{}"}
    return Feedback(
        prompt=(Message(role="user", content=read_text(required(question, "full_text"), "question.full_text")),),
        completions=tuple(
            read_answer(known, f"answer_{side}", extra=_take(extra, _columns_of(per_answer, side))) for side in (0, 1)
        ),
        source=read_name(question.get("dataset"), "question.dataset"),
        rankings=_scored_vote(scores[0], scores[1], extra),
        extra=extra,
    )


def _scored_vote(one: float | None, two: float | None, extra: Row) -> tuple[Ranking, ...]:
    """One vote of two scores that sum to 0; of scores that do not, which is higher, and both stay in ``extra``."""
    if one is None and two is None:
        return ()
    difference = (one or 0) - (two or 0)
    vote = make_vote(None if difference == 0 else int(difference < 0))
    if one is None or two is None or one + two != 0:
        extra |= {"score_0": one, "score_1": two}
        return (vote,)
    return (msgspec.structs.replace(vote, strength=abs(one), scale=_ONE),)


def _is_summarize(row: Row) -> bool:
    """Whether summaries of a post stand beside a choice."""
    return isinstance(row.get("info"), dict) and isinstance(row.get("summaries"), list) and "choice" in row


def _read_summarize(row: Row) -> Feedback:
    known, extra = split_fields(row, ("info", "summaries", "choice", "worker"))
    info = dict(read_as(required(known, "info"), dict, "info"))
    name = next((name for name in ("post", "article") if info.get(name)), "post")
    text = read_text(required(info, name, "info."), f"info.{name}")
    del info[name]
    completions = []
    for index, item in enumerate(read_list(required(known, "summaries"), "summaries")):
        at = f"summaries[{index}]"
        summary, further = split_fields(read_as(item, dict, at), ("text", "policy"))
        completions.append(
            Completion(
                text=read_text(required(summary, "text", f"{at}."), f"{at}.text"),
                model=read_name(summary.get("policy"), f"{at}.policy"),
                extra={key: value for key, value in further.items() if value is not None},
            )
        )
    if len(completions) != 2:
        raise RowError("summaries", "length-mismatch", known["summaries"], "two summaries are compared")
    better = read_vote(required(known, "choice"), "choice", {"0": 0, "1": 1})
    return Feedback(
        prompt=(Message(role="user", content=text),),
        completions=tuple(completions),
        rankings=(make_vote(better, rater=read_name(known.get("worker"), "worker")),),
        extra=extra | {"info": info},
    )


def _is_prometheus(row: Row) -> bool:
    """Whether two original responses stand beside the original preference."""
    return all(name in row for name in ("orig_response_A", "orig_response_B", "orig_preference"))


def _read_prometheus(row: Row) -> Feedback:
    asked = "instruction" if row.get("orig_instruction") is None and "instruction" in row else "orig_instruction"
    texts = ("orig_response_A", "orig_response_B", "orig_score_A", "orig_score_B", "orig_feedback_A", "orig_feedback_B")
    known, extra = split_fields(row, (asked, *texts, "orig_preference", "orig_feedback"))
    better = read_vote(required(known, "orig_preference"), "orig_preference", {"a": 0, "b": 1})
    completions = []
    for side in "AB":
        value = read_score(known.get(f"orig_score_{side}"), f"orig_score_{side}", _GRADES)
        reason = read_name(known.get(f"orig_feedback_{side}"), f"orig_feedback_{side}")
        stated = value is not None or bool(reason)
        ratings = (Rating(aspect="rubric", value=value, rationale=reason, scale=_GRADES),) if stated else ()
        completions.append(read_answer(known, f"orig_response_{side}", ratings=ratings))
    return Feedback(
        prompt=read_prompt(known, asked, extra),
        completions=tuple(completions),
        rankings=(make_vote(better, rationale=read_name(known.get("orig_feedback"), "orig_feedback")),),
        extra=extra,
    )


_FIVE: dict[str, tuple[int | None, int]] = {
    "a-is-clearly-better": (0, 2),
    "a-is-better": (0, 2),
    "a-is-slightly-better": (0, 1),
    "tie": (None, 0),
    "b-is-slightly-better": (1, 1),
    "b-is-better": (1, 2),
    "b-is-clearly-better": (1, 2),
}
"""A choice of five → the better answer and how clear it is."""
_ANNOTATIONS = ("normal_worker_annotations", "expert_worker_annotations")
_ASPECTS = ("overall", "helpful", "truthful", "harmless")


def _read_five(value: object, at: str, *, rater: str, question: str = "", rationale: str = "") -> Ranking:
    better = read_vote(value, at, {word: place for word, (place, _) in _FIVE.items()})
    strength = _FIVE[str(value).strip().lower()][1]
    vote = make_vote(better, rater=rater, question=question, rationale=rationale)
    return msgspec.structs.replace(vote, strength=strength, scale=_CLEAR)


def _is_multipref(row: Row) -> bool:
    """Whether annotations of workers or of experts stand beside two completions."""
    return "completion_a" in row and "completion_b" in row and any(isinstance(row.get(n), list) for n in _ANNOTATIONS)


def _read_multipref(row: Row) -> Feedback:
    """Read a comparison; what an annotation holds beside its choices stays in ``extra``, under its own column."""
    known, extra = split_fields(row, ("text", *(f"{what}_{side}" for what in ("completion", "model") for side in _AB)))
    rankings: list[Ranking] = []
    for name in _ANNOTATIONS:
        further = []
        for index, item in enumerate(read_as(row.get(name) or [], list[Any], name)):
            at = f"{name}[{index}]"
            votes, rest = _read_annotation(read_as(item, dict, at), at)
            rankings += votes
            further.append(rest)
        extra[name] = further
    if not rankings:
        raise RowError(_ANNOTATIONS[0], "missing-field")
    return Feedback(
        prompt=read_prompt(known, "text", extra),
        completions=_read_pair(known, "completion_{}"),
        source=read_source(extra),
        rankings=tuple(rankings),
        extra=extra,
    )


def _read_annotation(item: Row, at: str) -> tuple[list[Ranking], Row]:
    rater = read_name(item.get("evaluator"), f"{at}.evaluator")
    votes, rest = [], dict(item)
    for aspect in _ASPECTS:
        name, reasoned = f"{aspect}_pref", f"{aspect}_own_reason"
        choice, reason = rest.pop(name, None), read_name(rest.pop(reasoned, None), f"{at}.{reasoned}")
        if choice is not None:
            votes.append(_read_five(choice, f"{at}.{name}", rater=rater, question=aspect, rationale=reason))
        elif reason:  # without a choice it belongs to no vote
            rest[reasoned] = reason
    return votes, rest


def _is_tulu(row: Row) -> bool:
    """Whether two completions stand beside what is acceptable, or a choice of five words."""
    said = row.get("preference")
    judged = "completion_a_is_acceptable" in row or (isinstance(said, str) and said.strip().lower().endswith("-better"))
    return judged and all(name in row for name in ("completion_a", "completion_b", "preference"))


def _read_tulu(row: Row) -> Feedback:
    names = [f"{what}_{side}" for what in ("completion", "model") for side in _AB]
    accepted = [f"completion_{side}_is_acceptable" for side in _AB]
    known, extra = split_fields(row, ("prompt", *names, *accepted, "preference", "evaluator"))
    rater = read_name(known.get("evaluator"), "evaluator")
    ratings = [
        (Rating(aspect="acceptable", value=_read_yes(known[name], name), rater=rater, scale=_ONE),)
        if name in known
        else ()
        for name in accepted
    ]
    completions = _read_pair(known, "completion_{}")
    return Feedback(
        prompt=read_prompt(known, "prompt", extra),
        completions=tuple(
            msgspec.structs.replace(item, ratings=said) for item, said in zip(completions, ratings, strict=True)
        ),
        source=read_source(extra),
        rankings=(_read_five(required(known, "preference"), "preference", rater=rater),),
        extra=extra,
    )


def _read_yes(value: object, at: str) -> float:
    return 1.0 - (read_vote(value, at, {"yes": 0, "no": 1}) or 0)


def _read_pair(known: Row, pattern: str) -> tuple[Completion, ...]:
    """The answers a and b, each with its model."""
    return tuple(
        read_answer(known, pattern.format(side), model=read_name(known.get(f"model_{side}"), f"model_{side}"))
        for side in _AB
    )


def read_prompt(known: Row, name: str, extra: Row) -> Turns:
    """The prompt out of its column; what its messages hold beside text is kept as read.

    A system prompt among the further columns becomes its first turn. Alpaca's ``input`` is set two lines below the
    instruction, and stays in ``extra``.
    """
    value = required(known, name)
    further = extra.get("input")
    if name == "instruction" and isinstance(value, str) and isinstance(further, str) and further:
        value = f"{value}\n\n{further}"
    turns, more = read_turns(value, name, "user")
    if more:
        keep_raw(extra, name, value)
    system = next((each for each in _SYSTEM if isinstance(extra.get(each), str) and extra[each]), None)
    if system and turns[0].role not in ("system", "developer"):
        turns = (Message(role="system", content=extra.pop(system)), *turns)
    return turns


def _columns_of(names: Mapping[str, str], side: object) -> dict[str, str]:
    return {name: column.format(side) for name, column in names.items()}


def _take(extra: Row, columns: Mapping[str, str]) -> Row:
    """Take the columns of one answer out of the further ones, under its own names for them; nulls say nothing."""
    taken = {name: extra.pop(column, None) for name, column in columns.items()}
    return {name: value for name, value in taken.items() if value is not None}


_ASKED = {"role": "user", "content": "Name a river."}
_SAID = ({"role": "assistant", "content": "The Oder."}, {"role": "assistant", "content": "No."})

FORMATS = (
    Format(
        name="arena",
        record=Feedback,
        decode=_read_arena,
        matches=_is_arena,
        key=by_prompt_and_answers,
        sample={
            "question_id": "q1",
            "model_a": "alder",
            "model_b": "birch",
            "winner": "model_a",
            "judge": "user_7",
            "conversation_a": [_ASKED, _SAID[0]],
            "conversation_b": [_ASKED, _SAID[1]],
            "turn": 1,
            "language": "English",
        },
    ),
    Format(
        name="arena-kaggle",
        record=Feedback,
        decode=_read_kaggle,
        matches=_is_kaggle,
        key=by_prompt_and_answers,
        sample={
            "id": 1,
            "model_a": "alder",
            "model_b": "birch",
            "prompt": '["Name a river."]',
            "response_a": '["The Oder."]',
            "response_b": '["No."]',
            "winner_model_a": 1,
            "winner_model_b": 0,
            "winner_tie": 0,
        },
    ),
    Format(
        name="pku-saferlhf",
        record=Feedback,
        decode=_read_pku,
        matches=_is_pku,
        key=by_prompt_and_answers,
        sample={
            "prompt": "Name a river.",
            "response_0": "The Oder.",
            "response_1": "No.",
            "response_0_source": "alder",
            "response_1_source": "birch",
            "is_response_0_safe": True,
            "is_response_1_safe": True,
            "better_response_id": 0,
            "safer_response_id": 1,
        },
    ),
    Format(
        name="shp",
        record=Feedback,
        decode=_read_shp,
        matches=_is_shp,
        key=by_prompt_and_answers,
        sample={
            "post_id": "p1",
            "domain": "askscience_train",
            "history": "Name a river.",
            "human_ref_A": "The Oder.",
            "human_ref_B": "No.",
            "labels": 1,
            "score_A": 30,
            "score_B": 10,
            "score_ratio": 3.0,
        },
    ),
    Format(
        name="webgpt",
        record=Feedback,
        decode=_read_webgpt,
        matches=_is_webgpt,
        key=by_prompt_and_answers,
        sample={
            "question": {"dataset": "eli5", "id": "q1", "full_text": "Name a river."},
            "answer_0": "The Oder. [1]",
            "answer_1": "No.",
            "score_0": 0.33,
            "score_1": -0.33,
        },
    ),
    Format(
        name="summarize-feedback",
        record=Feedback,
        decode=_read_summarize,
        matches=_is_summarize,
        key=by_prompt_and_answers,
        sample={
            "info": {"id": "t1", "post": "I walked along the Oder all day.", "title": "A walk", "subreddit": "travel"},
            "summaries": [{"text": "A walk by a river.", "policy": "sup1"}, {"text": "A day.", "policy": "ref"}],
            "choice": 0,
            "worker": "w1",
            "extra": {"confidence": 8},
        },
    ),
    Format(
        name="prometheus-preference",
        record=Feedback,
        decode=_read_prometheus,
        matches=_is_prometheus,
        key=by_prompt_and_answers,
        sample={
            "orig_instruction": "Name a river.",
            "orig_response_A": "The Oder.",
            "orig_response_B": "No.",
            "orig_score_A": 5,
            "orig_score_B": 1,
            "orig_preference": "A",
            "orig_criteria": "Does it name a river?",
        },
    ),
    Format(
        name="multipref",
        record=Feedback,
        decode=_read_multipref,
        matches=_is_multipref,
        key=by_prompt_and_answers,
        before=("tulu-human",),
        sample={
            "comparison_id": "c1",
            "text": "Name a river.",
            "model_a": "alder",
            "completion_a": "The Oder.",
            "model_b": "birch",
            "completion_b": "No.",
            "normal_worker_annotations": [
                {"evaluator": "normal_worker_1", "overall_pref": "A-is-clearly-better", "helpful_pref": "Tie"}
            ],
            "expert_worker_annotations": [],
        },
    ),
    Format(
        name="tulu-human",
        record=Feedback,
        decode=_read_tulu,
        matches=_is_tulu,
        key=by_prompt_and_answers,
        before=("votes",),
        sample={
            "instance_id": "t1",
            "prompt": "Name a river.",
            "model_a": "alder",
            "model_b": "birch",
            "completion_a": "The Oder.",
            "completion_b": "No.",
            "completion_a_is_acceptable": "yes",
            "completion_b_is_acceptable": "no",
            "preference": "a-is-better",
            "evaluator": "ann",
        },
    ),
)
