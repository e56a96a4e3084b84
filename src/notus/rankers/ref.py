"""Which ranker: how it is written, what it refers to, and the registry of all kinds.

| text | ranker |
|---|---|
| ``length`` | the number of characters: a control, which knows nothing of quality |
| ``python:module:NAME``, ``python:file.py:NAME`` | a function or a class of the user's |
| ``pairrm:MODEL`` | a pairwise reward model with the head of PairRM |
| ``reward-model:MODEL`` | a scalar reward model, ``AutoModelForSequenceClassification`` |
| ``classifier:MODEL#LABEL`` | a classifier with several labels: how sure it is of the named one |
| ``implicit:POLICY@REFERENCE`` | the implicit reward of a policy against its reference |
| ``judge:NAME`` | a judge, as the generator or the endpoints call it |
| ``checks:FILE`` | the checks of each prompt, as a file in IFEval's layout has them |

A MODEL is a step of a recipe, a run directory, a folder or a hub id. ``RankerRef`` reads this text, and the same as a
mapping: ``{kind: pairrm, model: PATH}``. Each module in ``rankers.kinds`` is a kind, with the module's name for its
name, and says how it is written (``RankerKind``); a package may register one of its own under the entry point
``notus.rankers``.

Owns the parsing and the registry. Making one is owned by ``rankers.make``, how one works by ``rankers.settings``. No
torch.
"""

import pkgutil
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import Annotated, Any, Self

import pydantic

from notus.core.config import Config
from notus.core.errors import ConfigError, InputError
from notus.core.plugins import PYTHON, Registry
from notus.core.stage import Tally
from notus.llm.protocol import Generator, Ranker
from notus.rankers.settings import Ranking

__all__ = [
    "RANKERS",
    "Progress",
    "RankerContext",
    "RankerKind",
    "RankerRef",
    "RankerText",
    "Scores",
    "check_lengths",
    "ranker_kind",
]

RANKERS = Registry(
    "ranker",
    {
        name.replace("_", "-"): f"notus.rankers.kinds.{name}:KIND"
        for _, name, _ in pkgutil.iter_modules([str(Path(__file__).parent / "kinds")])
    },
    group="notus.rankers",
)
"""Name of each kind of ranker → its ``RankerKind``."""

Progress = Callable[[int, int], None]
"""Called with how much is done, and of how much."""
Scores = list[list[float | None]]
"""For each prompt the scores of its answers; None where one could not be scored."""


@dataclass(frozen=True)
class RankerContext:
    """What a ranker works with."""

    settings: Ranking = field(default_factory=Ranking)
    tally: Tally = field(default_factory=lambda: Tally("rank"))
    """Receives the counts of cut texts, and of judgements that could not be read."""
    generator: Generator | None = None
    """Who is asked, for rankers that ask."""
    progress: Progress | None = None


@dataclass(frozen=True)
class RankerKind:
    """What a module of ``rankers.kinds`` declares as ``KIND``."""

    form: str
    """How it is written, with words in capitals for what is filled in: ``pairrm:MODEL``, ``implicit:POLICY@REFERENCE``,
    ``classifier:MODEL#LABEL``. MODEL, POLICY, REFERENCE and FILE are looked up among steps, folders and the hub, and
    count by their content."""
    make: "Callable[[RankerRef, RankerContext], Ranker]"
    """Makes one. What needs torch is imported here, and not before."""
    computes: bool = False
    """Whether a model computes in this process, by torch: the last bits depend on the number of threads."""
    asks: bool = False
    """Whether it needs somebody to ask, ``RankerContext.generator``."""
    pointwise: bool = False
    """Whether it scores each answer for itself: the order in which answers are shown has no say."""

    @property
    def filled_in(self) -> bool:
        """Whether something stands behind the name."""
        return ":" in self.form

    @property
    def paired(self) -> bool:
        """Whether a reference stands behind the model."""
        return "@" in self.form

    @property
    def labelled(self) -> bool:
        """Whether a label stands behind the model."""
        return self.form.endswith("#LABEL")

    @property
    def refers(self) -> bool:
        """Whether what is filled in are models, or a file."""
        return self.form.endswith((":MODEL", "@REFERENCE", ":FILE", ":MODEL#LABEL"))


class RankerRef(Config):
    """One ranker, read from its text or a mapping, and written as its text."""

    kind: str
    model: str | None = None
    """What it is made of: folder or hub id of the model or policy, ``file.py:NAME`` or ``module:NAME``, the name of a
    judge, or ``MODEL#LABEL`` of a classifier."""
    reference: str | None = None
    """Folder or hub id of the reference, for ``implicit``."""

    @classmethod
    def read(
        cls, given: "str | Mapping[str, Any] | RankerRef", model: str | None = None, reference: str | None = None
    ) -> "RankerRef":
        """Read the text form, or a mapping with the keys ``kind``, ``model`` and ``reference``.

        Args:
            given: the text or the mapping; what was read already stays as it is.
            model: what a text refers to, where that stands beside it: ``pairrm`` with a model, ``python:NAME`` with a
                file.
            reference: likewise.

        Raises:
            ConfigError: for an unknown kind, with the nearest, or a form that does not fit the kind.
        """
        if isinstance(given, RankerRef):
            return given
        if not isinstance(given, str):
            return cls.parse(given, where="ranker")
        return cls.parse(_divide(given, model, reference), where=f"ranker {given!r}")

    @property
    def about(self) -> RankerKind:
        """What is known of its kind."""
        return ranker_kind(self.kind)

    @property
    def references(self) -> tuple[str, ...]:
        """What it refers to, in the order of its text: steps of a recipe, folders, files of the user's, hub ids."""
        if self.kind == "python":
            place = str(self.model).rpartition(":")[0]
            return (place,) if place.endswith(".py") else ()  # a module is not a path
        if self.about.labelled:
            return (str(self.model).rpartition("#")[0],)
        return tuple(each for each in (self.model, self.reference) if each and self.about.refers)

    def with_references(self, places: Sequence[str]) -> "RankerRef":
        """The same ranker with others in the place of its references, as many and in the same order."""
        if not places:
            return self
        model, reference = places[0], places[1] if len(places) > 1 else None
        if self.kind == "python":
            model = f"{model}:{str(self.model).rpartition(':')[2]}"
        if self.about.labelled:
            model = f"{model}#{self.label}"
        return self.model_copy(update={"model": model, "reference": reference})

    @property
    def label(self) -> str:
        """The label that a classifier is asked for; empty for other kinds."""
        return str(self.model).rpartition("#")[2] if self.about.labelled else ""

    @property
    def bare(self) -> str:
        """Its text without its references, which ``read`` takes with them beside it: ``pairrm``, ``python:NAME``,
        ``classifier:LABEL``."""
        if not self.references:
            return str(self)
        if self.about.labelled:
            return f"{self.kind}:{self.label}"
        return f"{PYTHON}{str(self.model).rpartition(':')[2]}" if self.kind == "python" else self.kind

    def __str__(self) -> str:
        ends = [self.model] if self.reference is None else [f"{self.model}@{self.reference}"]
        return ":".join([self.kind, *(end for end in ends if end)])

    @pydantic.model_serializer
    def _written(self) -> str:
        return str(self)

    @pydantic.model_validator(mode="before")
    @classmethod
    def _from_text(cls, given: Any) -> Any:
        try:
            return _divide(given) if isinstance(given, str) else given
        except ConfigError as error:
            raise ValueError(str(error)) from None

    @pydantic.model_validator(mode="after")
    def _complete(self) -> Self:
        try:
            about = self.about
        except ConfigError as error:
            raise ValueError(str(error)) from None
        if (self.model is None) is about.filled_in or (self.reference is None) is about.paired:
            raise ValueError(f"this ranker is written {about.form}")
        if about.labelled and not all(str(self.model).rpartition("#")[::2]):
            raise ValueError(f"a classifier is written {about.form}, and this is {self.model!r}")
        if self.kind == "python" and not all(str(self.model).rpartition(":")[::2]):
            raise ValueError(f"a function is written file.py:NAME or module:NAME, and this is {self.model!r}")
        return self


def _check_text(text: str) -> str:
    try:
        RankerRef.read(text)
    except ConfigError as error:
        raise ValueError(str(error)) from None
    return text


RankerText = Annotated[str, pydantic.AfterValidator(_check_text)]
"""The text of a ranker as a setting of a config."""


def ranker_kind(name: str) -> RankerKind:
    """What is known of a kind of ranker.

    Raises:
        ConfigError: for an unknown name, with the nearest, or if an installed package registers what is no ranker.
    """
    found: Any = RANKERS.load(name)
    if isinstance(found, RankerKind):
        return found
    if not callable(found):
        raise ConfigError(f"ranker '{name}' is {found!r:.80}; a RankerKind, a function or a class is needed")
    return RankerKind(name, partial(_make_registered, found))


def check_lengths(prompts: Sequence[object], candidates: Sequence[object]) -> None:
    """Make sure that there is a list of answers for each prompt.

    Raises:
        InputError: if there is not.
    """
    if len(prompts) != len(candidates):
        raise InputError(f"{len(prompts)} prompts and candidates of {len(candidates)}: give a list for each prompt")


def _make_registered(found: Any, ref: RankerRef, context: RankerContext) -> Ranker:
    """A function or class that an installed package registers is ``python:MODULE:NAME`` under a shorter name."""
    del ref
    inside = RankerRef(kind="python", model=f"{found.__module__}:{found.__qualname__}")
    return inside.about.make(inside, context)


def _divide(text: str, model: str | None = None, reference: str | None = None) -> dict[str, str | None]:
    """The fields that a text stands for, with what stands beside it."""
    kind, _, rest = text.partition(":")
    about = ranker_kind(kind)
    if model is not None:
        inside = f"{model}:{rest}" if kind == "python" else f"{model}#{rest}" if about.labelled else model
        if rest and kind != "python" and not about.labelled:
            raise ConfigError(f"ranker {text!r} names what it is made of, and {model!r} stands beside it; name one")
        return {"kind": kind, "model": inside, "reference": reference}
    if about.paired and rest:
        return {"kind": kind, **_divide_pair(text, rest, about.form)}
    return {"kind": kind, "model": rest or None, "reference": reference}


def _divide_pair(text: str, rest: str, form: str) -> dict[str, str | None]:
    """Divide ``POLICY@REFERENCE``; either may be a hub id with ``@revision``, and then the middle @ divides."""
    parts = rest.split("@")
    if len(parts) not in (2, 4):
        raise ConfigError(f"ranker '{text}' is not of the form {form}; give both a @revision or none")
    half = len(parts) // 2
    return {"model": "@".join(parts[:half]) or None, "reference": "@".join(parts[half:]) or None}
