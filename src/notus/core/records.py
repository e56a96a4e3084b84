"""The records that everything in Notus reads, makes and writes: the whole view of the world in one file.

    Feedback ─ a prompt with its completions, and what judges said of each   (what is collected)
      ├ Completion ─ Rating …, Critique             (one answer, and what was said of it alone)
      └ Ranking                                     (several answers beside one another: votes, ranked lists)
    Preference ─ a prompt with a chosen and a rejected completion            (what DPO trains on)
    Unpaired ─ a prompt with one answer that is wanted or not                (what KTO trains on)
    Dialogue ─ turns that end with the assistant's                           (what SFT trains on)
    Output ─ what a model answered;  Verdict ─ what a judge made of it       (what is measured)
    Decision ─ what a rule or a person changed                               (what is traced)

Records are frozen, and validated while they are decoded. ``Feedback.id`` hashes prompt, models and answers,
``Preference.id`` prompt and both answers, ``Unpaired.id`` also whether the answer is wanted; none hashes ratings or
scores, so that an id is the same in every file, also after a repair. A completion's id is
``Feedback.completion_id(index)``, a ``Dialogue``'s hashes its turns, an ``Output``'s prompt, model, sample and answer.
A ``Verdict`` and a ``Decision`` have the id of what they are on. ``file`` and ``line`` say where a record stood in what
was read; they are in no id. Reading and writing the formats of others is the business of ``formats.source``, making
preferences of feedback that of ``preferences.binarize`` and ``preferences.selection``.
"""

import hashlib
from collections.abc import Iterable, Sequence
from functools import lru_cache
from typing import Annotated, Any, Literal

import msgspec

__all__ = [
    "ASPECTS",
    "CHECKLIST",
    "CHECKS",
    "DESCRIPTIVE",
    "UNIT",
    "VERIFIED",
    "Completion",
    "Critique",
    "Decision",
    "Dialogue",
    "Feedback",
    "Message",
    "Output",
    "Preference",
    "Ranking",
    "Rating",
    "Record",
    "Scale",
    "ToolCall",
    "Unpaired",
    "Verdict",
    "aspect_means",
    "digest",
    "format_turns",
    "on_one_scale",
    "prompt_id",
]

ASPECTS = ("helpfulness", "honesty", "instruction_following", "truthfulness")
"""The four aspects of UltraFeedback (Cui et al. 2023, https://arxiv.org/abs/2310.01377)."""

DESCRIPTIVE = frozenset({"complexity", "verbosity"})
"""Attributes of HelpSteer that say what an answer is like, and not how good it is
(https://huggingface.co/datasets/nvidia/HelpSteer2): they are known by their names on its scale, 0 to 4."""

CHECKS, CHECKLIST = "checks", "checklist"
VERIFIED = frozenset({CHECKS, CHECKLIST})
"""Shares, on ``UNIT``, of what holds of an answer: of the checks by program, of the requirements that a judge was asked
about one by one. They are scores of their own, on another scale than a judge's ratings, and enter no mean of those."""

Role = Literal["system", "user", "assistant", "developer", "tool"]
Name = Annotated[str, msgspec.Meta(min_length=1)]
Number = Annotated[float, msgspec.Meta(ge=-1e300, le=1e300)]
"""A finite number; NaN is none."""
Count = Annotated[int, msgspec.Meta(ge=0)]
Messages = Annotated[tuple["Message", ...], msgspec.Meta(min_length=1)]


def digest(*parts: str) -> str:
    """Hash texts to 16 hexadecimal digits; the order and the borders of the texts count."""
    joined = "".join([f"{len(part)}:{part}" for part in parts])
    if joined.isascii():  # as nearly always: then a text has as many bytes as characters
        return hashlib.blake2b(joined.encode(), digest_size=8).hexdigest()
    encoded = [part.encode("utf-8", "surrogatepass") for part in parts]
    return hashlib.blake2b(b"".join([b"%d:%b" % (len(data), data) for data in encoded]), digest_size=8).hexdigest()


@lru_cache(maxsize=16)  # one record's ids are asked for in a row, and each holds the prompt's
def prompt_id(prompt: tuple["Message", ...]) -> str:
    """Hash of a prompt, the same in every file. A prompt of one user turn hashes as its text alone."""
    if len(prompt) == 1 and prompt[0].role == "user" and not _more(prompt[0]):
        return digest(prompt[0].content)
    return digest(_text(prompt))


def format_turns(turns: tuple["Message", ...]) -> str:
    """A conversation as one text to read: a single turn as it is, several with their roles."""
    if len(turns) == 1:
        return turns[0].content
    return "\n\n".join(f"{turn.role}: {turn.content}" for turn in turns)


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What all records are: an immutable value; an unknown field is an error."""


# gc=False: what holds only text, numbers and tuples of such is in no circle, and need not be looked at for one.
class ToolCall(Record, frozen=True, gc=False):
    """A call of a tool that the assistant makes in a turn."""

    name: str
    arguments: str = "null"
    """As JSON text: of an object where the source has an object, of a string where it has a string that holds JSON."""
    id: str = ""


class Message(Record, frozen=True, gc=False, omit_defaults=True):
    """One turn of a conversation. A turn without thoughts and tools is its role and its content alone."""

    role: Role
    content: str
    reasoning: str = ""
    """What the assistant thought before it answered; it is no part of the answer."""
    tool_calls: tuple[ToolCall, ...] = ()
    tool_call_id: str = ""
    """Of a tool's turn: the call that it answers."""
    name: str = ""
    """Who speaks, where the source says so: a tool, one of several users."""


class Scale(Record, frozen=True, gc=False):
    """The least and the greatest value that a score can have."""

    low: Number
    high: Number


_HELPSTEER = Scale(low=0, high=4)
UNIT = Scale(low=0, high=1)
"""The scale of a share."""
_APART = {**dict.fromkeys(DESCRIPTIVE, _HELPSTEER), **dict.fromkeys(VERIFIED, UNIT)}
"""Aspects that enter no mean → the scale by which they are known."""


class Rating(Record, frozen=True, gc=False):
    """A judge's grade for one aspect of one completion."""

    aspect: Name
    value: Number | None
    """The grade, in UltraFeedback 1–5. None is the judge's "N/A": the aspect does not apply."""
    rationale: str = ""
    types: tuple[str, ...] = ()
    """UltraFeedback's hallucination or informativeness types. Values outside the rubric are kept."""
    types_rationale: str = ""
    rater: str = ""
    """The person or the model that rated, where the source says so."""
    scale: Scale | None = None
    """None: the source does not say on which scale."""

    @property
    def measures_quality(self) -> bool:
        """False for what enters no mean of ratings: what a format says of an answer without saying whether that is
        good (``DESCRIPTIVE``), and shares of what was verified (``VERIFIED``)."""
        return self.aspect not in _APART or self.scale != _APART[self.aspect]


class Critique(Record, frozen=True, gc=False):
    """A judge's free text on one completion, and the overall score that it ends in."""

    text: str
    score: Number | None
    """The overall score, in UltraFeedback 1–10. None: the critique came without one."""
    rater: str = ""
    scale: Scale | None = None


class Completion(Record, frozen=True):
    """One answer to a prompt, with what the judges said of it. Its id is ``Feedback.completion_id(index)``."""

    text: str
    model: str = ""
    ratings: tuple[Rating, ...] = ()
    critique: Critique | None = None
    principle: str = ""
    system_prompt: str = ""
    extra: dict[str, Any] = {}
    """Further columns of the source, as they came."""
    turns: tuple[Message, ...] = ()
    """All turns of the answer, where it is more than one plain turn of the assistant's: thoughts, tools, a dialogue
    that goes on. ``text`` is then the content of the last of the assistant's turns. Empty otherwise: see ``answer``."""

    @property
    def answer(self) -> tuple[Message, ...]:
        """The answer as turns, at least one."""
        return self.turns or (Message(role="assistant", content=self.text),)

    @property
    def mean_rating(self) -> float | None:
        """Mean of the ratings that measure quality and are not N/A, or None when there is none.

        Of several raters of one aspect each has one vote: the mean is over the aspects, of each the mean over its
        raters, of each the mean of what it gave. Ratings without a rater's name are a rater each. Ratings on several
        scales have no mean: None. Legacy zeros count as 0.
        """
        values: list[float] = []
        aspects: set[str] = set()
        scale: Scale | None = None
        for each in self.ratings:  # once through what nearly all ratings are: an aspect each, on one scale
            if each.value is not None:
                if each.scale is not scale:
                    if not values:
                        scale = each.scale
                    elif each.scale != scale:
                        return self._mean_of_some()
                if each.aspect in aspects or each.aspect in _APART:
                    return self._mean_of_some()
                aspects.add(each.aspect)
                values.append(each.value)
        return _mean(values) if values else None

    def _mean_of_some(self) -> float | None:
        rated = [each for each in self.ratings if each.value is not None and each.measures_quality]
        return _mean(list(aspect_means(rated).values())) if rated and on_one_scale(rated) else None

    @property
    def overall_score(self) -> float | None:
        """The overall score of the critique, or None when there is none."""
        return self.critique.score if self.critique else None


class Ranking(Record, frozen=True, gc=False):
    """What one rater said of the answers to a prompt beside one another: a vote between two, or an order of many."""

    ranks: tuple[int | None, ...]
    """A rank for each completion, in their order: 1 is the best, equal ranks are a tie, None was not ranked."""
    rater: str = ""
    question: str = ""
    """What was asked, where the source asks more than one thing: ``better``, ``safer``."""
    strength: Number | None = None
    """How clear the preference is, in the source's own unit; higher is clearer."""
    scale: Scale | None = None
    """Of ``strength``."""
    rationale: str = ""


class Feedback(Record, frozen=True):
    """A prompt with its completions: one row of AI feedback."""

    prompt: Messages
    completions: Annotated[tuple[Completion, ...], msgspec.Meta(min_length=1)]
    source: str = ""
    """Where the prompt is from, for example ``evol_instruct``. An unknown source is data, not an error."""
    extra: dict[str, Any] = {}
    rankings: tuple[Ranking, ...] = ()
    file: str = ""
    """The file that it was read from, seen from the source that was given; of several rows, the first one's."""
    line: Count = 0
    """Its line there (the number of the row where a file has no lines), counted from 1; 0: not known."""

    def __post_init__(self) -> None:
        for each in self.rankings:
            if len(each.ranks) != len(self.completions):
                raise ValueError(f"a ranking has {len(each.ranks)} ranks for {len(self.completions)} completions")

    def keep(self, places: Sequence[int]) -> "Feedback":
        """The same with some of its completions, by their places; rankings are of those alone."""
        return msgspec.structs.replace(
            self,
            completions=tuple([self.completions[place] for place in places]),
            rankings=tuple(
                [
                    msgspec.structs.replace(each, ranks=tuple([each.ranks[place] for place in places]))
                    for each in self.rankings
                ]
            ),
        )

    @property
    def id(self) -> str:
        """Hash of the prompt, the models and the answers."""
        answers = (part for item in self.completions for part in (item.model, _answer_text(item)))
        return digest(self.prompt_id, *answers)

    @property
    def prompt_id(self) -> str:
        """Hash of the prompt alone, the same in every file."""
        return prompt_id(self.prompt)

    def completion_id(self, index: int) -> str:
        """Hash of prompt, position, model and text of the completion at ``index``."""
        completion = self.completions[index]
        return digest(self.prompt_id, str(index), completion.model, _answer_text(completion))


class Preference(Record, frozen=True):
    """A prompt with a better and a worse answer: one row of a preference set."""

    prompt: Messages
    chosen: Messages
    rejected: Messages
    score_chosen: float | None = None
    score_rejected: float | None = None
    margin: Number | None = None
    """By how much the chosen answer is better, where the source says so without two scores."""
    source: str = ""
    model_chosen: str = ""
    model_rejected: str = ""
    feedback_id: str = ""
    """Id of the ``Feedback`` that it was made from, empty when it was read as a pair."""
    extra: dict[str, Any] = {}
    file: str = ""
    line: Count = 0

    @property
    def id(self) -> str:
        """Hash of the prompt and both answers; swapping the answers gives another id."""
        return digest(self.prompt_id, _text(self.chosen), _text(self.rejected))

    @property
    def prompt_id(self) -> str:
        """Hash of the prompt alone, the same in every file."""
        return prompt_id(self.prompt)


class Unpaired(Record, frozen=True):
    """A prompt with one answer that is wanted, or not: one row of an unpaired preference set."""

    prompt: Messages
    answer: Messages
    desirable: bool
    score: float | None = None
    source: str = ""
    model: str = ""
    feedback_id: str = ""
    """Id of the ``Feedback`` that it was made from, empty when it was read as a row."""
    extra: dict[str, Any] = {}
    file: str = ""
    line: Count = 0

    @property
    def id(self) -> str:
        """Hash of the prompt, the answer and whether it is wanted."""
        return digest(self.prompt_id, _text(self.answer), str(self.desirable))

    @property
    def prompt_id(self) -> str:
        """Hash of the prompt alone, the same in every file."""
        return prompt_id(self.prompt)


class Dialogue(Record, frozen=True):
    """A conversation: one row of an SFT set, or a prompt alone where answers are still to be drawn."""

    messages: Messages
    source: str = ""
    extra: dict[str, Any] = {}
    """Further columns of the source, as they came."""
    file: str = ""
    line: Count = 0

    @property
    def id(self) -> str:
        """Hash of all turns."""
        return digest(*(part for turn in self.messages for part in (turn.role, turn.content, *_extra_parts(turn))))


class Output(Record, frozen=True):
    """What a model answered to a prompt, one record per sample."""

    prompt: Messages
    text: str
    model: str
    sample: Annotated[int, msgspec.Meta(ge=0)] = 0
    """Number of the sample among those drawn for the same prompt."""
    seed: int = 0
    truncated: bool = False
    """True when the answer stopped at the token limit, before its end-of-sequence token."""
    file: str = ""
    """Where the prompt stood."""
    line: Count = 0

    @property
    def id(self) -> str:
        """Hash of the prompt, the model, the number of the sample and the answer."""
        return digest(self.prompt_id, self.model, str(self.sample), self.text)

    @property
    def prompt_id(self) -> str:
        """Hash of the prompt alone, the same in every file."""
        return prompt_id(self.prompt)


class Verdict(Record, frozen=True):
    """What a judge or a checker made of an output."""

    prompt_id: str
    model: str
    judge: Name
    score: float | None
    """The score in the judge's own unit. None is *unscored*: it is never read as a number."""
    sample: Annotated[int, msgspec.Meta(ge=0)] = 0
    seed: int = 0
    reason: str = ""
    id: str = ""
    """Of the output or the pair that it is on."""
    file: str = ""
    line: Count = 0


class Decision(Record, frozen=True):
    """A change to a record, by a rule or by a person: what, by which rule, from what to what."""

    target: Name
    """Id of the completion or the record that was changed."""
    field: Name
    before: Any
    after: Any
    rule: Name
    """Slug of the rule, or the person's reason."""
    by: Name
    """``rule`` for a rule, and otherwise who decided."""
    file: str = ""
    """Where the record stood."""
    line: Count = 0
    evidence: str = ""
    """What speaks for it, in figures or in the words of who decided."""

    @property
    def id(self) -> str:
        """That of the target: what tables are joined by."""
        return self.target


def aspect_means(ratings: Iterable[Rating]) -> dict[str, float]:
    """Aspect → the mean over its raters, of each the mean of what it gave; N/A left out. See ``mean_rating``."""
    aspects: dict[str, dict[str | int, list[float]]] = {}
    for number, each in enumerate(ratings):
        if each.value is not None:
            aspects.setdefault(each.aspect, {}).setdefault(each.rater or number, []).append(each.value)
    return {name: _mean([_mean(values) for values in raters.values()]) for name, raters in aspects.items()}


def on_one_scale(ratings: Iterable[Rating | Critique | Ranking]) -> bool:
    """Whether what says its scale says the same one."""
    first: Scale | None = None
    for each in ratings:
        scale = each.scale
        if scale is not first and scale is not None:
            if first is None:
                first = scale
            elif scale != first:
                return False
    return True


def _mean(values: list[float]) -> float:
    return sum(values) / len(values)


def _text(messages: tuple[Message, ...]) -> str:
    return "".join(f"{len(m.content)}:{m.role}:{m.content}{_more(m)}" for m in messages)


def _more(message: Message) -> str:
    """What a turn has beyond role and content, as text; empty for the plain turn, whose ids were made without it."""
    more = (message.reasoning, message.tool_calls, message.tool_call_id, message.name)
    return msgspec.json.encode(more).decode() if any(more) else ""


def _extra_parts(message: Message) -> tuple[str, ...]:
    more = _more(message)
    return (more,) if more else ()


def _answer_text(completion: Completion) -> str:
    return _text(completion.turns) if completion.turns else completion.text
