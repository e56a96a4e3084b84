"""The records that everything in Notus reads, makes and writes: the whole view of the world in one file.

    Feedback ─ a prompt with its completions, and what judges said of each   (what is collected)
      └ Completion ─ Rating …, Critique
    Preference ─ a prompt with a chosen and a rejected completion            (what DPO trains on)
    Unpaired ─ a prompt with one answer that is wanted or not                (what KTO trains on)
    Dialogue ─ turns that end with the assistant's                           (what SFT trains on)
    Output ─ what a model answered;  Verdict ─ what a judge made of it       (what is measured)
    Decision ─ what a rule or a person changed                               (what is traced)

Records are frozen, and validated while they are decoded; an id is the hash of a record's content, so the same
content has the same id in every file. Reading and writing the formats of others is the business of ``data.sources``.
"""

import hashlib
from functools import lru_cache
from typing import Annotated, Any, Literal

import msgspec

__all__ = [
    "ASPECTS",
    "Completion",
    "Critique",
    "Decision",
    "Dialogue",
    "Feedback",
    "Message",
    "Output",
    "Preference",
    "Rating",
    "Record",
    "Unpaired",
    "Verdict",
    "digest",
]

ASPECTS = ("helpfulness", "honesty", "instruction_following", "truthfulness")
"""The four aspects of UltraFeedback (Cui et al. 2023, https://arxiv.org/abs/2310.01377)."""

Role = Literal["system", "user", "assistant"]
Name = Annotated[str, msgspec.Meta(min_length=1)]
Grade = Annotated[float, msgspec.Meta(ge=0, le=100)]
Messages = Annotated[tuple["Message", ...], msgspec.Meta(min_length=1)]


def digest(*parts: str) -> str:
    """Hash texts to 16 hexadecimal digits; the order and the borders of the texts count."""
    encoded = [part.encode("utf-8", "surrogatepass") for part in parts]
    return hashlib.blake2b(b"".join([b"%d:%b" % (len(data), data) for data in encoded]), digest_size=8).hexdigest()


class Record(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """What all records are: an immutable value; an unknown field is an error."""


class Message(Record, frozen=True):
    """One turn of a conversation."""

    role: Role
    content: str


class Rating(Record, frozen=True):
    """A judge's grade for one aspect of one completion."""

    aspect: Name
    value: Grade | None
    """The grade, in UltraFeedback 1–5. None is the judge's "N/A": the aspect does not apply."""
    rationale: str = ""
    types: tuple[str, ...] = ()
    """UltraFeedback's hallucination or informativeness types. Values outside the rubric are kept."""
    types_rationale: str = ""


class Critique(Record, frozen=True):
    """A judge's free text on one completion, and the overall score that it ends in."""

    text: str
    score: Grade | None
    """The overall score, in UltraFeedback 1–10. None: the critique came without one."""


class Completion(Record, frozen=True):
    """One answer to a prompt, with what the judges said of it."""

    text: str
    model: str = ""
    ratings: tuple[Rating, ...] = ()
    critique: Critique | None = None
    principle: str = ""
    system_prompt: str = ""
    extra: dict[str, Any] = {}
    """Further columns of the source, as they came."""

    @property
    def mean_rating(self) -> float | None:
        """Mean of the ratings that are not N/A, or None when there is none. Legacy zeros count as 0."""
        values = [rating.value for rating in self.ratings if rating.value is not None]
        return sum(values) / len(values) if values else None

    @property
    def overall_score(self) -> float | None:
        """The overall score of the critique, or None when there is none."""
        return self.critique.score if self.critique else None


class Feedback(Record, frozen=True):
    """A prompt with its completions: one row of AI feedback."""

    prompt: Messages
    completions: Annotated[tuple[Completion, ...], msgspec.Meta(min_length=1)]
    source: str = ""
    """Where the prompt is from, for example ``evol_instruct``. An unknown source is data, not an error."""
    extra: dict[str, Any] = {}

    @property
    def id(self) -> str:
        """Hash of the prompt, the models and the answers."""
        answers = (part for item in self.completions for part in (item.model, item.text))
        return digest(self.prompt_id, *answers)

    @property
    def prompt_id(self) -> str:
        """Hash of the prompt alone, the same in every file."""
        return _prompt_id(self.prompt)

    def completion_id(self, index: int) -> str:
        """Hash of prompt, position, model and text of the completion at ``index``."""
        completion = self.completions[index]
        return digest(self.prompt_id, str(index), completion.model, completion.text)


class Preference(Record, frozen=True):
    """A prompt with a better and a worse answer: one row of a preference set."""

    prompt: Messages
    chosen: Messages
    rejected: Messages
    score_chosen: float | None = None
    score_rejected: float | None = None
    source: str = ""
    model_chosen: str = ""
    model_rejected: str = ""
    feedback_id: str = ""
    """Id of the ``Feedback`` that it was made from, empty when it was read as a pair."""
    extra: dict[str, Any] = {}

    @property
    def id(self) -> str:
        """Hash of the prompt and both answers; swapping the answers gives another id."""
        return digest(self.prompt_id, _text(self.chosen), _text(self.rejected))

    @property
    def prompt_id(self) -> str:
        """Hash of the prompt alone, the same in every file."""
        return _prompt_id(self.prompt)


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

    @property
    def id(self) -> str:
        """Hash of the prompt, the answer and whether it is wanted."""
        return digest(self.prompt_id, _text(self.answer), str(self.desirable))

    @property
    def prompt_id(self) -> str:
        """Hash of the prompt alone, the same in every file."""
        return _prompt_id(self.prompt)


class Dialogue(Record, frozen=True):
    """A conversation: one row of an SFT set, or a prompt alone where answers are still to be drawn."""

    messages: Messages
    source: str = ""
    extra: dict[str, Any] = {}
    """Further columns of the source, as they came."""


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

    @property
    def prompt_id(self) -> str:
        """Hash of the prompt alone, the same in every file."""
        return _prompt_id(self.prompt)


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


@lru_cache(maxsize=16)  # one record's ids are asked for in a row, and each holds the prompt's
def _prompt_id(prompt: tuple[Message, ...]) -> str:
    """Hash a prompt. A prompt of one user turn hashes as its text alone."""
    if len(prompt) == 1 and prompt[0].role == "user":
        return digest(prompt[0].content)
    return digest(_text(prompt))


def _text(messages: tuple[Message, ...]) -> str:
    return "".join(f"{len(m.content)}:{m.role}:{m.content}" for m in messages)
