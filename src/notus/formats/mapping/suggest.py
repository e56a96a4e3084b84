"""A mapping to try: what the columns of an unknown file may mean, by their names and by what stands in them.

It is a suggestion and is used by nobody but the user: Notus reads no file by it. What it says is tried on the rows that
were looked at, so that it comes with how many of them it reads. Owns the words that columns are named with.
"""

import re
import shlex
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from fnmatch import fnmatchcase
from itertools import takewhile
from typing import Any

import yaml

from notus.core.errors import ConfigError
from notus.formats.format import Row
from notus.formats.mapping.columns import Column, columns_of
from notus.formats.mapping.decode import mapped_format, mapping_name
from notus.formats.mapping.paths import STAR
from notus.formats.quarantine import RowError

__all__ = ["Suggestion", "as_options", "as_yaml", "suggest"]


def _words(text: str) -> frozenset[str]:
    return frozenset(text.split())


_PROMPT = _words("prompt question instruction query request task problem post input context user ask frage aufgabe")
_PROMPT |= _words("message inquiry enquiry")
_ANSWER = _words("answer answers response responses completion completions output outputs generation generations reply")
_ANSWER |= _words("replies candidate candidates text summary summaries content result translation assistant")
_ANSWER |= _words("antwort antworten réponse respuesta")
_BETTER = _words("chosen good better preferred accepted win winning best positive pos besser bessere gut gute")
_WORSE = _words("rejected bad worse dispreferred unpreferred lose losing loser worst negative neg non")
_WORSE |= _words("schlechter schlechtere schlecht")
_MODEL = _words("model models llm policy generator engine writer modell")
_SCORE = _words("score scores rating ratings grade grades stars quality points mark marks reward rewards value")
_SCORE |= _words("note noten bewertung wertung punkte sterne")
_RATER = _words(
    "annotator annotators rater raters worker workers judge judges labeler labeller evaluator reviewer user"
)
_RATER |= _words("annotated by who email mail prüfer prüferin bewerter bewerterin")
_SAID_BY = _RATER | _words("review reviews reviewers raters people persons votes voters experts")
"""What an object of scores is called, or what it lies in, whose fields are named after people."""
_WHY = _words("reason reasons rationale rationales critique critiques explanation comment comments feedback why")
_WHY |= _words("begründung kommentar grund")
_VOTE = _words(
    "winner preference preferred choice vote verdict better pref label judgment judgement selected picked best"
)
_VOTE |= _words("gewinner sieger besser wahl stimme bevorzugt votes which")
_LABEL = _words("label labels thumb thumbs liked like desirable accepted good ok wanted feedback is")
_SYSTEM = _words("system")
_SOURCE = _words("source dataset subset domain")
_RANK = _words("rank ranks ranking place position")
_NO_TEXT = (
    _MODEL | _RATER | _WHY | _words("id uuid lang language date time timestamp url title status split batch source")
)
_NO_TEXT |= _SOURCE
_ASPECTS = _words("helpfulness correctness coherence complexity verbosity honesty truthfulness instruction_following")
_ASPECTS |= _words("accuracy clarity relevance fluency safety harmlessness tone style factuality completeness overall")
_NAMED_SIDES = (("a", "b"), ("left", "right"), ("first", "second"), ("links", "rechts"), ("erste", "zweite"))
_SIDES = (*_NAMED_SIDES, ("0", "1"), ("1", "2"))
_TIES = _words("tie ties equal draw both neither same unsure gleich gleichstand unentschieden beide keine")
_BLANKS = _words("n/a na nan none null - ? tbd") | {""}
"""What is written where there is nothing."""
_COMMA = re.compile(r"-?\d+,\d{1,2}")
"""A number with decimals behind a comma; three of them may be thousands."""
_LONGEST_NAME = 45
_SENTENCE = 20
"""Mean characters from which on a text may be a system prompt."""
_ASKS = _words("user human customer prompter client")
_REPLIES = _words("assistant bot agent gpt model ai chatbot")
_YES = _words("true 1 yes good up like liked positive accept accepted thumbsup")
_NO = _words("false 0 no bad down dislike disliked negative reject rejected thumbsdown")


@dataclass
class Suggestion:
    """A mapping to try, and what it does with the rows that were looked at."""

    map: dict[str, Any]
    """Target → path, or an object; see ``formats.mapping.targets``."""
    record: str = ""
    """What the rows become by it."""
    read: int = 0
    """Rows that it reads."""
    of: int = 0
    """Rows that were looked at."""
    fault: str = ""
    """What is wrong with the first row that it does not read."""
    missing: tuple[str, ...] = ()
    """Targets for which nothing was found, and which it needs."""
    open: tuple[str, ...] = ()
    """Columns of the row that are mapped to nothing, and may be what is missing."""
    beside: tuple[str, ...] = ()
    """Of a mapping by which answers are imitated: columns that may say whether they should be."""

    @property
    def asked(self) -> str:
        """What the user has to add, in words; empty where nothing is missing."""
        told = f" (perhaps {' or '.join(self.open[:4])})" if self.open else ""
        return f"the path of {' and '.join(self.missing)}{told}" if self.missing else ""


def suggest(rows: Sequence[Row]) -> Suggestion | None:
    """What the columns of rows may mean; None where nothing can be said."""
    columns = [column for column in columns_of(rows).values() if column.type != "null" and not _is_blank(column)]
    found = _pairs(columns) or _votes(columns) or _turns_under_other_names(columns) or _several(columns)
    found = found or _conversation(columns) or _single(columns)
    if not found:
        return None
    found = {target: _with_decimals(path, columns) for target, path in found.items()}
    used = _taken(found.values())
    flat = [each.path for each in columns if not each.depth and each.type not in ("object", "list", "true or false")]
    told = _tried(found, rows, tuple(path for path in flat if path not in used))
    if told.record == "Dialogue":
        told.beside = tuple(each.path for each in columns if each.path not in used and _may_judge(each))
    return told


def _is_blank(column: Column) -> bool:
    """Whether all that stands there says that nothing does."""
    return bool(column.values) and not column.many and all(value.strip().lower() in _BLANKS for value in column.values)


def _may_judge(column: Column) -> bool:
    """Whether a column may say how good an answer is."""
    judges = column.words & (_SCORE | _LABEL | _VOTE | _words("scores feedback")) - _words("is ok value note")
    return (
        bool(judges) and column.type not in ("object", "list", "messages") and not column.last_words & _words("name id")
    )


def _with_decimals(path: Any, columns: Sequence[Column]) -> Any:
    """What a target is given; of numbers that have a comma, with that said."""
    told = path if isinstance(path, Mapping) else {"column": path}
    name = told.get("column") or told.get("raters")
    fits = [each for each in columns if isinstance(name, str) and fnmatchcase(each.path, name)]
    comma = fits and all(_is_number(value) for each in fits for value in each.values)
    if not comma or "values" in told or not any(_COMMA.fullmatch(value) for each in fits for value in each.values):
        return path
    return {**told, "decimal": ","}


def as_options(mapping: Mapping[str, Any]) -> str:
    """A mapping as options of a command: ``--map prompt=question --map …``."""
    return " ".join(f"--map {shlex.quote(f'{target}={_inline(value)}')}" for target, value in mapping.items())


def as_yaml(mapping: Mapping[str, Any]) -> str:
    """A mapping as a YAML file."""
    return "".join(f"{target}: {_inline(value)}\n" for target, value in mapping.items())


def _inline(value: Any) -> str:
    """A value in one line of YAML."""
    text = yaml.safe_dump(value, default_flow_style=True, allow_unicode=True, width=float("inf"), sort_keys=False)
    line = str(text).removesuffix("\n").removesuffix("\n...")
    # In double quotes, which a shell takes within single ones, where that is the same text.
    return line if "''" in line or {"\\", '"'} & set(line) else line.replace("'", '"')


def _taken(given: Iterable[Any]) -> set[str]:
    """Paths that are mapped already."""
    found: set[str] = set()
    for each in given:
        named = each.get("column", each.get("raters")) if isinstance(each, Mapping) else each
        found |= set(named.values()) if isinstance(named, Mapping) else {str(named)}
    return found


def _tried(found: dict[str, Any], rows: Sequence[Row], left: tuple[str, ...]) -> Suggestion:
    missing = tuple(name for name, path in found.items() if path == "")
    mapping = {name: path for name, path in found.items() if path != ""}
    told = Suggestion(mapping, of=len(rows), missing=missing, open=left)
    try:
        reader = mapped_format(mapping_name(mapping).removeprefix("map:"))
    except ConfigError as error:
        told.fault = str(error)
        return told
    told.record = reader.record.__name__ if reader.record else ""
    for row in rows:
        try:
            reader.decode(row)
            told.read += 1
        except RowError as error:
            told.fault = told.fault or str(error)
    return told


def _is_text(column: Column) -> bool:
    """Whether it holds texts; a column whose name is a sentence, as forms have it, holds what was answered to that."""
    return len(column.path) <= _LONGEST_NAME and column.type in ("text", "messages", "text or number", "JSON text")


def _best(columns: Iterable[Column], words: frozenset[str], taken: Iterable[Any] = (), **limits: Any) -> str:
    """The path of the column that is named so: by its own name before that of its object, then the first; or empty."""
    used = _taken(taken)
    fitting = [each for each in columns if each.path not in used and all(_fits(each, *item) for item in limits.items())]
    fitting = [each for each in fitting if each.type not in ("list", "object")]
    own = [each for each in fitting if each.last_words & words]
    far = sorted((each for each in fitting if each.words & words), key=lambda each: -each.length)
    return next((each.path for each in own or far), "")


def _fits(column: Column, limit: str, value: Any) -> bool:
    if limit == "text":
        return _is_text(column) is value
    if limit == "depth":
        return column.depth == int(value)
    if limit == "number":
        return (column.type in ("number", "text") and all(map(_is_number, column.values))) is value
    assert limit == "below"
    return column.path.startswith(str(value))


def _is_number(text: str) -> bool:
    try:
        float(text.replace(",", ".") if _COMMA.fullmatch(text) else text)
    except ValueError:
        return text.strip().lower() in ("", "n/a", "nan")
    return True


def _prompt(columns: Sequence[Column], taken: Iterable[Any]) -> dict[str, Any]:
    """The prompt, and the system prompt before it; an empty path where none was found."""
    used = _taken(taken)
    texts = [each for each in columns if _is_text(each) and not each.depth and each.path not in used]
    # A short word under that name is the system that answered, not what it was told.
    system = next((each.path for each in texts if each.last_words & _SYSTEM and each.length >= _SENTENCE), "")
    open_ = [each for each in texts if each.path != system and not each.last_words & (_NO_TEXT - _PROMPT)]
    found = _best(open_, _PROMPT) or (open_[0].path if len(open_) == 1 else "")
    return {"prompt": found} | ({"system": system} if system else {})


def _beside(columns: Sequence[Column], taken: Iterable[Any]) -> dict[str, Any]:
    """What any record may have: its source."""
    used = _taken(taken)
    flat = [each for each in columns if not each.depth and each.type == "text" and each.path not in used]
    found = next((each.path for each in flat if each.last_words & _SOURCE), "")
    return {"source": found} if found else {}


def _pairs(columns: Sequence[Column]) -> dict[str, Any] | None:
    """A better and a worse answer."""
    texts = [each for each in columns if _is_text(each) and not each.depth]
    texts = [each for each in texts if not each.words & (_MODEL | _RATER | _WHY)]
    worse = _best(texts, _WORSE)
    better = _best([each for each in texts if not each.words & _WORSE], _BETTER)
    if not worse or not better:
        return None
    found: dict[str, Any] = {"chosen": better, "rejected": worse}
    for side, words, others in (("chosen", _BETTER, _WORSE), ("rejected", _WORSE, frozenset[str]())):
        own = [each for each in columns if each.words & words and not each.words & others]
        score = _best(own, _SCORE, number=True, depth=0)
        model = _best(own, _MODEL, depth=0, text=True)
        found |= ({f"{side}.score": score} if score else {}) | ({f"{side}.model": model} if model else {})
    margin = next((each.path for each in columns if each.last_words & {"margin"}), "")
    found |= {"margin": margin} if margin else {}
    prompt = _prompt(columns, found.values())
    whole = next(each for each in columns if each.path == better).type == "messages"
    if whole and not prompt["prompt"]:
        del prompt["prompt"]
    return prompt | found | _beside(columns, found.values())


def _sides(columns: Sequence[Column]) -> dict[tuple[str, str], tuple[Column, Column]]:
    """Columns whose names differ in a side only, such as response_a and response_b."""
    named = {each.path.lower(): each for each in columns}
    found: dict[tuple[str, str], tuple[Column, Column]] = {}
    for left, right in _SIDES:
        for path, column in named.items():
            for start in (at for at in range(len(path)) if path.startswith(left, at)):
                inside = path[start - 1 : start].isalnum() and not (left.isdecimal() and path[start - 1].isalpha())
                end = start + len(left)
                if inside or path[end : end + 1].isalnum():
                    continue
                other = named.get(path[:start] + right + path[end:])
                if other is not None and other is not column:
                    found.setdefault((column.path, other.path), (column, other))
    return found


def _holds_answers(column: Column) -> bool:
    """Whether a column named after a model holds its answers, most of which are several words, and not its name."""
    return bool(column.last_words & _MODEL) and 2 * sum(" " in text for text in column.values) > len(column.values)


def _votes(columns: Sequence[Column]) -> dict[str, Any] | None:
    """Two answers in columns of their own, and a vote."""
    pairs = _sides(columns)
    texts = [pair for pair in pairs.values() if all(_is_text(each) and not each.last_words & _NO_TEXT for each in pair)]
    texts = texts or [pair for pair in pairs.values() if all(map(_is_text, pair)) and any(map(_holds_answers, pair))]
    if not texts:
        return None
    one, two = max(texts, key=lambda pair: (bool(pair[0].words & _ANSWER), pair[0].length))
    found: dict[str, Any] = {"answer_a": one.path, "answer_b": two.path}
    for name, words in (("model", _MODEL), ("score", _SCORE)):
        pair = next((pair for pair in pairs.values() if pair[0].last_words & words and pair[0] is not one), None)
        if pair is not None and not pair[0].depth:
            found |= {f"answer_a.{name}": pair[0].path, f"answer_b.{name}": pair[1].path}
    used = _taken(found.values())
    votes = [each for each in columns if each.path not in used and not each.depth and not each.many]
    if told := _votes_of_raters(votes, used, (one, two)) or _one_vote(votes, (one, two)):
        found["winner"] = told
        used |= _taken([told])
    if "winner" not in found and not any(name.endswith(".score") for name in found):
        if not one.words & _ANSWER:
            return None
        found["winner"] = ""  # two answers without a vote are none to learn from: it is asked for
    by_raters = isinstance(found.get("winner"), Mapping) and "raters" in found["winner"]
    rater = "" if by_raters else _best(columns, _RATER, used, depth=0)
    found |= {"rater": rater} if rater else {}
    prompt = _prompt(columns, [*used, rater])
    if one.type == "messages" and not prompt["prompt"]:
        del prompt["prompt"]
    return prompt | found | _beside(columns, found.values())


def _one_vote(columns: Sequence[Column], sides: tuple[Column, Column]) -> Any | None:
    """The column of the vote; one that is named after a side, such as winner_model_a, tells of that side alone."""
    for column in sorted(columns, key=lambda each: not each.last_words & {"winner", "preference", "vote", "choice"}):
        one_sided = any(side in column.last_words for pair in _SIDES for side in pair)
        told = _vote(column, sides) if column.last_words & _VOTE and not one_sided else None
        if told is not None:
            return told
    return None


def _vote(column: Column, sides: tuple[Column, Column] | None) -> Any | None:
    """What the values of a vote's column mean; None where one of them is not understood."""
    values = list(column.values)
    means: dict[str, str] = {}
    numbers = sorted(value for value in values if value.isdecimal())
    for value in values:
        words = set("".join(char if char.isalnum() else " " for char in value.lower()).split())
        if words & _TIES:
            means[value] = "tie"
        elif sides and value in (sides[0].path, sides[1].path):
            means[value] = "a" if value == sides[0].path else "b"
        elif numbers in (["0", "1"], ["1", "2"]) and value in numbers:
            means[value] = "ab"[numbers.index(value)]
        else:
            side = [n for pair in _NAMED_SIDES for n, name in enumerate(pair) if name in words]
            if len(side) != 1:
                return None
            means[value] = "ab"[side[0]]
    if len(set(means.values()) & {"a", "b"}) != 2:
        return None
    if all(value.lower() == meant for value, meant in means.items()):
        return column.path
    short = {meant: value for value, meant in means.items()}
    if len(short) == len(means) and not any("/" in value for value in means):
        return {
            "column": column.path,
            "values": "/".join(short[meant] for meant in ("a", "b", "tie") if meant in short),
        }
    return {"column": column.path, "values": means}


def _several(columns: Sequence[Column]) -> dict[str, Any] | None:
    """Several answers in a list of a row."""
    texts = [each for each in columns if each.depth == 1 and _is_text(each) and not each.last_words & _NO_TEXT]
    texts = [each for each in texts if each.words & _ANSWER] or _scored_texts(texts, columns)
    if not texts:
        return None
    text = max(texts, key=lambda each: (each.type == "messages", bool(each.last_words & _ANSWER), each.length))
    base = text.path.partition("*")[0] + "*"
    found: dict[str, Any] = {"answers.text": text.path}
    inside = text.path != base
    for name, words, limits in (
        ("model", _MODEL | _words("author"), {"depth": 1}),
        ("rank", _RANK, {"depth": 1, "number": True}),
        ("score", _SCORE, {"number": True}),
        ("rater", _RATER, {}),
        ("rationale", _WHY, {"text": True}),
    ):
        own = {"below": base + "."} if inside else {}
        listed = [each for each in columns if each.depth]
        path: Any = _best(listed, words, found.values(), **limits, **own)
        if name == "score" and not path and inside:
            path = _thumbs([each for each in listed if each.depth == 1 and each.path.startswith(base)])
        found |= {f"answers.{name}": path} if path else {}
    for column in columns:
        if inside and column.path.startswith(base) and _fits(column, "number", True):
            found |= {f"answers.rating.{name}": column.path for name in _aspects(column)}
    if inside and (scores := _scores_in_object(columns, base + ".")):
        # One text beside the scores of several is nobody's reason in particular.
        said = found.get("answers.rationale")
        gone = (
            "answers.score",
            "answers.rating",
            "answers.rationale",
            *(("answers.rater",) if _names_raters(scores) else ()),
        )
        found = {name: path for name, path in found.items() if not name.startswith(gone)}
        found |= scores | ({"answers.critique": said} if said else {})
    if any(name.startswith("answers.rating.") for name in found):
        found = {name: path for name, path in found.items() if name not in ("answers.score", "answers.rationale")}
    if "answers.rationale" in found and "answers.score" not in found:
        found["answers.critique"] = found.pop("answers.rationale")
    vote = next((each for each in columns if not each.depth and each.last_words & _VOTE and not each.many), None)
    if vote is not None and (told := _vote(vote, None)):
        found["winner"] = told
    rater = "" if _names_raters(found) else _best(columns, _RATER, found.values(), depth=0)
    found |= {"rater": rater} if rater and "answers.rater" not in found else {}
    return _prompt(columns, found.values()) | found | _beside(columns, found.values())


def _names_raters(found: Mapping[str, Any]) -> bool:
    """Whether the scores of a mapping say who gave them."""
    return any(isinstance(path, Mapping) and "raters" in path for path in found.values())


def _scored_texts(texts: Sequence[Column], columns: Sequence[Column]) -> list[Column]:
    """Texts in a list of objects that hold scores too: answers under a name of their own, such as drafts."""
    scored = {
        each.path.partition(".*.")[0]
        for each in columns
        if each.depth and _fits(each, "number", True) and (each.words & _SCORE or _aspects(each))
    }
    return [each for each in texts if each.length >= _SENTENCE and each.path.partition(".*.")[0] in scored]


def _scores_in_object(columns: Sequence[Column], below: str) -> dict[str, Any]:
    """Scores that are the fields of an object, such as {tone: 4, facts: 2}: of aspects, or of raters by its name."""
    held: dict[str, list[Column]] = {}
    for column in columns:
        base, _, name = column.path.rpartition(".")
        if name != STAR and base.startswith(below) and column.depth == 1 and _fits(column, "number", True):
            held.setdefault(base, []).append(column)
    for base, fields in held.items():
        words = Column(base).last_words
        if len(fields) < 2 or not words & _SCORE:
            continue
        if not any(map(_aspects, fields)) and Column(base).words & _SAID_BY:
            return {"answers.score": {"raters": f"{base}.{STAR}"}}
        return {f"answers.rating.{STAR}": f"{base}.{STAR}"}
    return {}


def _thumbs(columns: Iterable[Column]) -> dict[str, Any] | None:
    """A column that says of each answer whether it is liked, as a score of 1 or 0."""
    for column in columns:
        values = {value: value.strip().lower().replace(" ", "") for value in column.values}
        if column.last_words & _LABEL and values and not column.many and set(values.values()) <= _YES | _NO:
            return {"column": column.path, "values": {value: int(plain in _YES) for value, plain in values.items()}}
    return None


def _aspects(column: Column) -> list[str]:
    """The name of an aspect in a path, where it has one."""
    return [part for part in column.path.split(".") if part.lower() in _ASPECTS][-1:]


def _conversation(columns: Sequence[Column]) -> dict[str, Any] | None:
    """A whole conversation, perhaps with a label or a score."""
    turns = next((each for each in columns if each.type in ("messages",) and not each.depth), None)
    if turns is None or any(each.last_words & _ANSWER and _is_text(each) and each is not turns for each in columns):
        return None
    if label := _label(columns, [turns.path]):
        return {"messages": turns.path, "label": label}
    score = _best(columns, _SCORE, [turns.path], number=True, depth=0)
    if score:
        return {"answers.text": turns.path, "answers.score": score} | _judged(columns, [turns.path, score])
    return {"messages": turns.path} | _beside(columns, [turns.path])


def _turns_under_other_names(columns: Sequence[Column]) -> dict[str, Any] | None:
    """A list of turns whose speakers and texts have other names than role and content, such as sender and text."""
    for speaker in columns:
        base, star, name = speaker.path.rpartition(".*.")
        said = {value.strip().lower() for value in speaker.values}
        if not star or "." in name or speaker.depth != 1 or not said & _ASKS or not said & _REPLIES:
            continue
        beside = [each for each in columns if each.path.rpartition(".")[0] == f"{base}.*" and each.type == "text"]
        text = max((each for each in beside if each is not speaker), key=lambda each: each.length, default=None)
        if text is not None:
            return {"messages.role": speaker.path, "messages.content": text.path}
    return None


def _label(columns: Sequence[Column], taken: Iterable[Any]) -> Any | None:
    """A column that says whether an answer is wanted."""
    used = _taken(taken)
    for column in columns:
        if column.path in used or column.depth or column.many or not column.last_words & _LABEL:
            continue
        values = {value: value.strip().lower().replace(" ", "") for value in column.values}
        if not values or not set(values.values()) <= _YES | _NO:
            continue
        if set(values.values()) <= {"true", "false", "0", "1"}:
            return column.path
        return {"column": column.path, "values": {value: plain in _YES for value, plain in values.items()}}
    return None


def _single(columns: Sequence[Column]) -> dict[str, Any] | None:
    """One answer a row: with ratings, with a label, or alone."""
    texts = [each for each in columns if _is_text(each) and not each.depth and not each.last_words & _NO_TEXT]
    texts = [each for each in texts if not _fits(each, "number", True)]  # cells of a table are texts, numbers too
    prompt = _prompt(texts, ())
    answer = _best(texts, _ANSWER, prompt.values())
    if not answer:
        return None
    if label := _label(columns, [answer]):
        return prompt | {"answer": answer, "label": label}
    used = [answer, *prompt.values()]
    found = _judged(columns, used)
    if any(name.startswith(("answers.score", "answers.rating", "answers.rank")) for name in found):
        return prompt | {"answers.text": answer} | found | _beside(columns, found.values())
    return prompt | {"answer": answer} | _beside(columns, used)


def _judged(columns: Sequence[Column], taken: Iterable[Any]) -> dict[str, Any]:
    """What is said of the one answer of a row: its model, its scores and who gave them."""
    used = list(taken)
    found: dict[str, Any] = {}
    numbers = [each for each in columns if not each.depth and _fits(each, "number", True)]
    texts = [each for each in columns if not each.depth and each.type == "text"]
    scores = _scores_of_raters(numbers, used)
    score = "" if scores else _best(numbers, _SCORE, used)
    rank = _best(numbers, _RANK, [*used, score])
    model = _best(texts, _MODEL - _RATER, [*used])
    model = model or _best([each for each in texts if each.length < _SENTENCE], _SYSTEM, used)
    by_raters = "answers.score" in scores
    named = {} if score or scores else _named_scores(columns)
    rater = "" if by_raters else _best(texts, _RATER, [*used, model])
    why = _best(texts, _WHY, [*used, model, rater])
    found |= {"answers.model": model} if model else {}
    found |= {"answers.score": score} if score else scores or named
    found |= {"answers.rank": rank} if rank else {}
    found |= {
        f"answers.rating.{name}": each.path for each in numbers for name in _aspects(each) if each.path not in used
    }
    if why and not scores:
        found[f"answers.{'rationale' if score else 'critique'}"] = why
    return found | ({"rater": rater} if rater else {})


def _named_scores(columns: Sequence[Column]) -> dict[str, Any]:
    """Scores in a list, each with its name beside it, as traces have them: a rating for each name."""
    for column in columns:
        base, star, name = column.path.rpartition(".*.")
        if star and "." not in name and column.depth == 1 and column.type == "number" and column.last_words & _SCORE:
            beside = [each for each in columns if each.path.startswith(f"{base}.*.") and each.type == "text"]
            told = next((each.path for each in beside if each.last_words & _words("name key metric aspect")), "")
            if told:
                return {"answers.rating.*": {"column": column.path, "named": told}}
    return {}


def _scores_of_raters(numbers: Sequence[Column], taken: Iterable[Any]) -> dict[str, Any]:
    """Several columns of scores whose names differ in one word: of aspects, where one is known, or else of raters."""
    used = _taken(taken)
    found: dict[str, str] = {}
    for column in numbers:
        rest = column.last_words - _SCORE
        if column.path not in used and column.last_words & _SCORE and len(rest) == 1:
            found[next(iter(rest))] = column.path
    if len(found) < 2:
        return {}
    if found.keys() & _ASPECTS:
        return {f"answers.rating.{name}": path for name, path in found.items()}
    return {"answers.score": {"raters": _raters_in(found, [each.path for each in numbers if each.path not in used])}}


def _votes_of_raters(columns: Sequence[Column], used: set[str], sides: tuple[Column, Column]) -> dict[str, Any]:
    """Several columns of votes whose names differ in one word, each another rater's."""
    found: dict[str, str] = {}
    values: dict[str, int] = {}
    for column in columns:
        rest = column.last_words - _VOTE
        if column.path not in used and len(rest) == 1 and rest != column.last_words:
            found[next(iter(rest))] = column.path
            values |= column.values
    # One of them alone may never have voted for the second answer: they are understood together.
    told = _vote(Column("", values=values), sides) if len(found) > 1 else None
    if told is None:
        return {}
    said = {"values": told["values"]} if isinstance(told, Mapping) else {}
    return {"raters": _raters_in(found, [each.path for each in columns])} | said


def _common(texts: Sequence[str]) -> str:
    """How all of the texts begin."""
    alike = takewhile(lambda chars: len(set(chars)) == 1, zip(*texts, strict=False))
    return "".join(chars[0] for chars in alike)


def _raters_in(found: Mapping[str, str], others: Sequence[str]) -> str | dict[str, str]:
    """The columns of raters as one path with a star, where that means these alone; otherwise each by its rater."""
    paths = list(found.values())
    begin = _common(paths)
    end = _common([path[len(begin) :][::-1] for path in paths])[::-1]
    star = f"{begin}*{end}"
    alone = [path for path in others if fnmatchcase(path, star)] == paths
    return star if alone and (begin or end) and "*" not in begin + end else dict(found)
