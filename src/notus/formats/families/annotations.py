"""What annotation tools export: Argilla's records and Label Studio's tasks.

    argilla-records   Argilla 2: fields{}, responses{question: [{value, user_id}]}, suggestions{question: {value}}, or
                      flat: the fields, question.responses[], question.responses.users[], question.suggestion, …
    argilla1-records  Argilla 1: the fields, question[{user_id, value, status}], question-suggestion, external_id, …
    label-studio      Label Studio JSON: a task with data{} and annotations[{completed_by, result[], was_cancelled}]
    label-studio-min  Label Studio JSON_MIN: the data, each control's value, annotator, annotation_id, lead_time

Each answer is a field of a usual name with a number or a letter behind it (``response1``, ``generation-2``), or the one
field ``response``; the prompt has one of the usual names too. What a user said becomes a ``Ranking`` where it names
answers (a label, a ranking, left or right), and a ``Rating`` of an answer where it is a number and the question says of
which answer: by the answer's name in its own, by Label Studio's ``to_name``, or because there is one answer. Everything
else that was said stays in ``extra``: under ``responses`` what is no vote and no rating of one answer, under
``responses_aside`` what was not submitted (drafts, discarded), under ``label_studio`` the whole task, with what was
skipped (``was_cancelled``), which is no vote. Suggestions and predictions are what a model proposed, and no votes: they
stay in ``extra``, too. The exports do not say on which scale a question rates.

**Argilla**: https://docs.argilla.io/latest/how_to_guides/import_export/ and, for version 1,
https://docs.v1.argilla.io/en/latest/reference/python/python_feedback.html. **Label Studio**:
https://labelstud.io/guide/export and https://labelstud.io/guide/task_format; rows of JSON_MIN are one annotation each,
without ``to_name`` and without what was skipped.
"""

import re
from collections.abc import Iterable, Sequence
from typing import Any, NamedTuple

import msgspec

from notus.core.records import Feedback, Ranking, Rating
from notus.formats.families.votes import TIES, by_prompt_and_answers, make_completion, read_prompt
from notus.formats.fields import read_as, read_flag, read_name, read_number, read_source, read_turns, required
from notus.formats.format import Format, Row
from notus.formats.quarantine import RowError

__all__ = ["FORMATS", "LABEL_STUDIO"]

_PROMPT = ("instruction", "prompt", "question", "query", "chat", "conversation", "dialogue", "context", "input")
_ONE_ANSWER = ("response", "answer", "completion", "output", "generation", "generations", "reply")
_MARKED = re.compile(
    r"(?i:responses?|answers?|completions?|outputs?|generations?|reply|text|summary)"
    r"(?:[-_ ]?(\d+)|[-_ ]([A-Za-z]|left|right)|([A-H]))"
)
_REASONS = ("reason", "rationale", "explanation", "comment", "justification")
_KEPT = ("responses", "responses_aside")
_RESPONSE = ("value", "user_id", "status")
_ASIDE = ("draft", "discarded", "pending")
_SIDES = ("left", "right")
_MIN = frozenset({"annotation_id", "annotator", "lead_time"})
LABEL_STUDIO = "label_studio"
"""Key in ``extra`` of a task of Label Studio's, without its data."""


class _Said(NamedTuple):
    """What one user answered to one question."""

    question: str
    value: Any
    rater: str = ""
    status: str = ""
    further: Row | None = None


class _Sorted(NamedTuple):
    """What was said of a record, by what it became."""

    rankings: list[Ranking]
    ratings: dict[str, list[Rating]]
    """Answer's field → its ratings."""
    others: list[_Said]


def _answers_in(fields: Row, at: str) -> list[str]:
    """Names of the fields that hold answers, in their order."""
    marked = [name for name, value in fields.items() if value is not None and _MARKED.fullmatch(name)]
    if marked:
        return marked
    named = [name for name in _ONE_ANSWER if fields.get(name) is not None]
    if len(named) != 1:
        raise RowError(f"{at}response", "missing-field", None, "no field has the name of an answer: give a mapping")
    return named


def _prompt_in(fields: Row, at: str) -> str:
    name = next((name for name in _PROMPT if fields.get(name) is not None), None)
    if name is None:
        raise RowError(f"{at}prompt", "missing-field", None, "no field has the name of a prompt: give a mapping")
    return name


def _model_of(answer: str, columns: Row) -> str | None:
    """Name of the column with the model of an answer, by the answer's name or its mark."""
    mark = _mark(answer)
    marked = [f"model{joint}{mark}" for joint in ("", "_", "-")] if mark else ["model", "model_name"]
    names = (*marked, f"{answer}_model", f"{answer}-model", f"model_{answer}")
    return next((name for name in names if isinstance(columns.get(name), str)), None)


def _sort(said: Iterable[_Said], answers: Sequence[str]) -> _Sorted:
    """Votes and ratings out of what was said, and what is neither."""
    found = _Sorted([], {name: [] for name in answers}, [])
    for item in said:
        ranks = _ranks_in(item.value, answers)
        rated = _rated_answer(item.question, answers)
        rating = None
        if ranks is not None:
            found.rankings.append(Ranking(ranks=ranks, rater=item.rater, question=item.question))
        elif rated is not None and isinstance(item.value, (int, float)) and not isinstance(item.value, bool):
            aspect = item.question.replace(rated, "").strip("-_. ") or item.question
            rating = Rating(aspect=aspect, value=read_number(item.value, item.question), rater=item.rater)
            found.ratings[rated].append(rating)
        known = item.status in ("", "submitted") and not item.further
        says_more = not known or any(each.keys() > {"rank", "value"} for each in _objects(item.value))
        if (ranks is None and rating is None) or says_more:
            found.others.append(item)
    return found


def _rated_answer(question: str, answers: Sequence[str]) -> str | None:
    """The answer that a question is about: the only one, or the one whose name stands in the question's."""
    if len(answers) == 1:
        return answers[0]
    named = [name for name in answers if re.search(rf"(?<![^\W_]){re.escape(name)}(?![^\W_])", question)]
    return named[0] if len(named) == 1 else None


def _ranks_in(value: object, answers: Sequence[str]) -> tuple[int | None, ...] | None:
    """Ranks of the answers: of a label, of an ordered list of names, or of a list of ranks; None for another value."""
    if len(answers) < 2:
        return None
    if isinstance(value, str):
        best = _place(value, answers)
        if best is not None:
            return tuple(1 if index == best else 2 for index in range(len(answers)))
        return (1,) * len(answers) if value.strip().lower() in TIES else None
    items = _objects(value)
    if items and all(isinstance(item.get("value"), str) for item in items):
        ranked = {(_place(item["value"], answers), _rank(item.get("rank"))) for item in items}
    elif isinstance(value, list) and value and sorted(map(str, value)) == sorted(answers):
        ranked = {(_place(str(name), answers), number) for number, name in enumerate(value, 1)}
    else:
        return None
    places = dict(ranked)
    # Of an answer with two ranks nobody can say which one is meant.
    if None in places or None in places.values() or len(places) < 2 or len(places) < len(ranked):
        return None
    return tuple(places.get(index) for index in range(len(answers)))


def _rank(value: object) -> int | None:
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return value if isinstance(value, int) and not isinstance(value, bool) and value > 0 else None


def _place(name: str, answers: Sequence[str]) -> int | None:
    """Which answer a label names: by its field, or by the mark alone."""
    word = name.strip().lower()
    for names in ([each.lower() for each in answers], [_mark(each) for each in answers]):
        if names.count(word) == 1:
            return names.index(word)
    return None


def _mark(answer: str) -> str:
    found = _MARKED.fullmatch(answer)
    return found[found.lastindex or 0].lower() if found else ""


def _objects(value: object) -> list[Row]:
    """A list of objects; as Arrow may give it, an object of lists. A list that holds anything else is none."""
    if isinstance(value, dict) and value and all(isinstance(each, list) for each in value.values()):
        count = len(next(iter(value.values())))
        if any(len(each) != count for each in value.values()):
            return []
        return [{name: each[index] for name, each in value.items()} for index in range(count)]
    return value if isinstance(value, list) and all(isinstance(item, dict) for item in value) else []


def _make(
    fields: Row, said: list[_Said], columns: Row, extra: Row, at: str = "", answers: Sequence[str] = ()
) -> Feedback:
    """Feedback of the fields of a record and of what was said of it.

    Args:
        fields: those that are no answer and no prompt stay in ``extra``.
        said: by users; what was not submitted is put aside.
        columns: where the models of the answers are looked for, and taken from.
        extra: further columns; added to.
        at: path of the fields in the row.
        answers: names of the fields with answers, where they are known.
    """
    answers, asked = answers or _answers_in(fields, at), _prompt_in(fields, at)
    found = _sort((item for item in said if item.status not in _ASIDE), answers)
    for name, value in fields.items():
        if name not in (*answers, asked):
            (extra.setdefault("fields", {}) if name in (*extra, *_KEPT) else extra)[name] = value
    _keep(extra, _KEPT[0], found.others)
    _keep(extra, _KEPT[1], [item for item in said if item.status in _ASIDE])
    completions = []
    for name in answers:
        model = _model_of(name, columns)
        turns, more = read_turns(fields[name], f"{at}{name}", "assistant")
        completions.append(
            make_completion(
                turns,
                f"{at}{name}",
                model=columns[model] if model else "",
                ratings=tuple(found.ratings[name]),
                extra={f"{name}_as_read": fields[name]} if more else {},
            )
        )
        if model and columns is fields:  # other columns are kept as a whole
            extra.pop(model, None)
    prompt = read_prompt(fields, asked, extra)
    return Feedback(
        prompt=prompt,
        completions=tuple(completions),
        source=read_source(extra),
        rankings=tuple(found.rankings),
        extra=extra,
    )


def _keep(extra: Row, name: str, items: list[_Said]) -> None:
    for item in items:
        status = {"status": item.status} if item.status else {}
        entry = {"user_id": item.rater, "value": item.value, **status, **(item.further or {})}
        extra.setdefault(name, {}).setdefault(item.question, []).append(entry)


def _is_argilla2(row: Row) -> bool:
    """Whether a record has fields and responses, or a flat one the columns of a question."""
    nested = all(isinstance(row.get(name), dict) for name in ("fields", "responses"))
    return nested or any(name.endswith((".responses.users", ".suggestion.agent")) for name in row)


def _read_argilla2(row: Row) -> Feedback:
    return _read_nested(row) if isinstance(row.get("fields"), dict) else _read_flat(row)


def _read_nested(row: Row) -> Feedback:
    extra = {name: value for name, value in row.items() if name not in ("fields", "responses", "metadata")}
    metadata = row.get("metadata")
    columns = dict(metadata) if isinstance(metadata, dict) else {}
    said = []
    for question, responses in read_as(row.get("responses") or {}, Row, "responses").items():
        if responses and not _objects(responses):
            extra.setdefault("responses", {})[question] = responses
        said += _answered(question, responses, f"responses.{question}")
    if metadata:
        extra["metadata"] = metadata
    if not extra.get("suggestions"):
        extra.pop("suggestions", None)
    return _make(row["fields"], said, columns, extra, "fields.")


def _answered(question: str, responses: object, at: str) -> list[_Said]:
    """What users answered to a question.

    Raises:
        RowError: if something else stands among their answers.
    """
    if isinstance(responses, list) and responses and not _objects(responses):
        other = next(index for index, item in enumerate(responses) if not isinstance(item, dict))
        raise RowError(f"{at}[{other}]", "wrong-type", responses[other], "an object with value and user_id is needed")
    said = []
    for index, item in enumerate(_objects(responses)):
        rater, status = (read_name(item.get(name), f"{at}[{index}].{name}") for name in ("user_id", "status"))
        further = {name: value for name, value in item.items() if name not in _RESPONSE}
        said.append(_Said(question, item.get("value"), rater, status, further))
    return said


def _read_flat(row: Row) -> Feedback:
    questions = dict.fromkeys(name.partition(".")[0] for name in row if name.endswith((".responses", ".suggestion")))
    said: list[_Said] = []
    suggestions: Row = {}
    known: set[str] = set()
    for question in questions:
        name = f"{question}.responses"
        known |= {name, *(f"{name}.{what}" for what in _BESIDE)}
        known |= {f"{question}.suggestion{at}" for at in _SUGGESTION.values()}
        values = read_as(row.get(name) or [], list[Any], name)
        raters, statuses = (_beside(row.get(f"{name}.{what}"), len(values), f"{name}.{what}") for what in _BESIDE)
        said += map(_Said, [question] * len(values), values, raters, statuses)
        suggestion = {what: row.get(f"{question}.suggestion{at}") for what, at in _SUGGESTION.items()}
        if any(value is not None for value in suggestion.values()):
            suggestions[question] = suggestion
    fields = {name: value for name, value in row.items() if name not in known}
    extra: Row = {"suggestions": suggestions} if suggestions else {}
    return _make(fields, said, fields, extra)


_BESIDE = ("users", "status")
_SUGGESTION = {"value": "", "score": ".score", "agent": ".agent"}


def _beside(value: object, count: int, at: str) -> list[str]:
    if value is None:
        return [""] * count
    found = read_as(value, list[Any], at)
    if len(found) != count:
        raise RowError(at, "length-mismatch", found, f"{count} responses")
    return [read_name(item, at) for item in found]


def _is_argilla1(row: Row) -> bool:
    """Whether a column holds what users answered, each with a user and a status."""
    return any(_is_answered(value) for value in row.values())


def _is_answered(value: object) -> bool:
    first = value[0] if isinstance(value, list) and value else next(iter(_objects(value)), None)
    return isinstance(first, dict) and {"user_id", "value"} <= first.keys()


def _read_argilla1(row: Row) -> Feedback:
    # A question that nobody answered is null or empty, and known by what a model suggested.
    asked = [name for name in row if _is_answered(row[name]) or (f"{name}-suggestion" in row and not row[name])]
    said: list[_Said] = []
    suggestions: Row = {}
    for question in asked:
        said += _answered(question, row[question], question)
        value, about = (row.get(f"{question}-suggestion{end}") for end in ("", "-metadata"))
        if value is not None or about:
            beside = about if isinstance(about, dict) and "value" not in about else {"metadata": about}
            suggestions[question] = {"value": value} | (beside if about else {})
    of_questions = {f"{name}{end}" for name in asked for end in ("", "-suggestion", "-suggestion-metadata")}
    fields = {name: value for name, value in row.items() if name not in of_questions}
    extra: Row = {"suggestions": suggestions} if suggestions else {}
    return _make(fields, said, _metadata_of(row), extra)


def _metadata_of(row: Row) -> Row:
    """The metadata of a record, which Argilla 1 exports as JSON text."""
    value = row.get("metadata")
    try:
        found = msgspec.json.decode(value) if isinstance(value, str) else value
    except (msgspec.DecodeError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}


def _is_label_studio(row: Row) -> bool:
    """Whether a task's data stand beside annotations that have results."""
    annotations = row.get("annotations")
    if not isinstance(row.get("data"), dict) or not isinstance(annotations, list):
        return False
    return not annotations or (isinstance(annotations[0], dict) and "result" in annotations[0])


def _read_label_studio(row: Row) -> Feedback:
    """Read a task; beside its data, all of it stays in ``extra`` as it came, what was skipped too."""
    data = read_as(required(row, "data"), Row, "data")
    annotations = read_as(row.get("annotations") or [], list[Row], "annotations")
    answers = _compared(annotations, data) or _answers_in(data, "data.")
    made = _make(data, [], data, {LABEL_STUDIO: {name: row[name] for name in row if name != "data"}}, "data.", answers)
    rankings: list[Ranking] = []
    ratings: dict[str, list[Rating]] = {name: [] for name in answers}
    for index, item in enumerate(annotations):
        if not read_flag(item.get("was_cancelled") or False, f"annotations[{index}].was_cancelled"):
            votes, given = _read_annotation(item, answers, f"annotations[{index}]")
            rankings += votes
            for name, rating in given:
                ratings[name].append(rating)
    rated = zip(made.completions, answers, strict=True)
    completions = tuple(msgspec.structs.replace(item, ratings=tuple(ratings[name])) for item, name in rated)
    return msgspec.structs.replace(made, completions=completions, rankings=tuple(rankings))


def _compared(annotations: Sequence[Row], data: Row) -> list[str]:
    """The two fields that a choice of left or right is about, where its tags are named as they are."""
    results = [result for item in annotations for result in _objects(item.get("result"))]
    for result in results:
        of = [name.strip() for name in str(result.get("to_name")).split(",")]
        if result.get("type") == "pairwise" and len(of) == 2 and all(data.get(name) is not None for name in of):
            return of
    return []


def _read_annotation(item: Row, answers: Sequence[str], at: str) -> tuple[list[Ranking], list[tuple[str, Rating]]]:
    """One person's votes, and their ratings, each with the answer's field."""
    rater = _person(item.get("completed_by"), f"{at}.completed_by")
    rankings: list[Ranking] = []
    ratings: list[tuple[str, Rating]] = []
    reasons: list[str] = []
    for index, result in enumerate(read_as(item.get("result") or [], list[Row], f"{at}.result")):
        here = f"{at}.result[{index}]"
        question = read_name(result.get("from_name"), f"{here}.from_name")
        of = [name.strip() for name in read_name(result.get("to_name"), f"{here}.to_name").split(",")]
        value = result.get("value")
        value = value if isinstance(value, dict) else {}
        ranks = _selected(value.get("selected"), of, answers)
        if ranks is None and isinstance(value.get("choices"), list) and len(value["choices"]) == 1:
            ranks = _ranks_in(value["choices"][0], answers)
        if ranks is not None:
            rankings.append(Ranking(ranks=ranks, rater=rater, question=question))
        elif "rating" in value and len(of) == 1 and of[0] in answers:
            score = read_number(value["rating"], f"{here}.value.rating")
            ratings.append((of[0], Rating(aspect=question or "rating", value=score, rater=rater)))
        elif isinstance(value.get("text"), list) and any(word in question.lower() for word in _REASONS):
            reasons += map(str, value["text"])
    if len(rankings) == 1:  # of several votes nobody can say which one is meant
        rankings = [msgspec.structs.replace(rankings[0], rationale="\n".join(reasons))]
    return rankings, ratings


def _selected(side: object, of: Sequence[str], answers: Sequence[str]) -> tuple[int | None, ...] | None:
    """Ranks of a choice of left or right between the two that it is about; tags may have other names than the data."""
    if side != "left" and side != "right":
        return None
    of = of if len(of) == 2 and set(of) <= set(answers) else answers
    if len(of) != 2:
        return None
    chosen = of[side == "right"]
    return tuple((1 if name == chosen else 2) if name in of else None for name in answers)


def _person(value: object, at: str) -> str:
    """Who annotated: a number, or an object with an address and a number."""
    if isinstance(value, dict):
        value = value.get("email") or value.get("id")
    return read_name(value, at)


def _is_label_studio_min(row: Row) -> bool:
    """Whether the row has the columns that JSON_MIN adds to a task's data."""
    return row.keys() >= _MIN


def _read_label_studio_min(row: Row) -> Feedback:
    rater = _person(row.get("annotator"), "annotator")
    fields: Row = {}
    said = []
    for name, value in row.items():
        items = _objects(value)
        content = items[0] if len(items) == 1 else {}
        if "selected" in content or "rating" in content:
            said.append(_Said(name, content.get("selected", content.get("rating")), rater))
        if name != "annotator" and content.keys() not in ({"selected"}, {"rating"}):
            fields[name] = value
    if (rater and not said) or isinstance(row.get("annotator"), dict):  # no vote says it, or not all of it
        fields["annotator"] = row["annotator"]
    answers = _answers_in(fields, "")
    if len(answers) == 2:  # left and right are the first and the second
        said = [
            item._replace(value=answers[_SIDES.index(item.value)] if item.value in _SIDES else item.value)
            for item in said
        ]
    return _make(fields, said, fields, {})


_ASKED: Row = {"instruction": "Name a river.", "response1": "The Oder.", "response2": "No."}

FORMATS = (
    Format(
        name="argilla-records",
        record=Feedback,
        decode=_read_argilla2,
        matches=_is_argilla2,
        key=by_prompt_and_answers,
        before=("votes", "ratings"),
        sample={
            "id": "r1",
            "status": "completed",
            "fields": _ASKED,
            "responses": {"preference": [{"value": "response1", "user_id": "ann", "status": "submitted"}]},
            "suggestions": {"preference": {"value": "response1", "score": 0.9, "agent": "alder"}},
            "metadata": {"model1": "birch", "model2": "cedar"},
        },
    ),
    Format(
        name="argilla1-records",
        record=Feedback,
        decode=_read_argilla1,
        matches=_is_argilla1,
        key=by_prompt_and_answers,
        before=("votes", "ratings"),
        sample=_ASKED
        | {
            "preference": [
                {
                    "user_id": "ann",
                    "value": [{"rank": 1, "value": "response1"}, {"rank": 2, "value": "response2"}],
                    "status": "submitted",
                }
            ],
            "preference-suggestion": None,
            "external_id": "r1",
        },
    ),
    Format(
        name="label-studio",
        record=Feedback,
        decode=_read_label_studio,
        matches=_is_label_studio,
        key=by_prompt_and_answers,
        sample={
            "id": 1,
            "data": {"prompt": "Name a river.", "text1": "The Oder.", "text2": "No."},
            "annotations": [
                {
                    "id": 7,
                    "completed_by": 3,
                    "was_cancelled": False,
                    "result": [
                        {
                            "from_name": "better",
                            "to_name": "text1,text2",
                            "type": "pairwise",
                            "value": {"selected": "left"},
                        }
                    ],
                }
            ],
        },
    ),
    Format(
        name="label-studio-min",
        record=Feedback,
        decode=_read_label_studio_min,
        matches=_is_label_studio_min,
        key=by_prompt_and_answers,
        before=("votes", "ratings"),
        sample={
            "id": 1,
            "prompt": "Name a river.",
            "text1": "The Oder.",
            "text2": "No.",
            "better": [{"selected": "left"}],
            "annotator": 3,
            "annotation_id": 7,
            "lead_time": 9.1,
        },
    ),
)
