'''Checks: what a program can tell of an answer without a judge, and the verdict that a prompt's checks make together.

    def ends_with_question(answer: str, *, marks: int = 1) -> bool:
        """Whether the answer ends with so many question marks."""
        return answer.rstrip().endswith("?" * marks)

A check is a function of the answer, with its settings as keyword arguments, that returns True where the answer follows
the instruction. One that has a parameter ``prompt`` is given the text of the prompt as well. It is named by its id: one
of ``CHECKS``, with or without IFEval's ``en:`` before it, or ``python:FILE.py:NAME`` for one of the user's; a package
registers checks under the entry point ``notus.checks``.

Owns the names of checks, the calling of them, the variants of an answer for the loose verdict, and the verdict on one
answer. What each check tells is owned by its module; counting over many answers is owned by ``evaluate.checks``. No
torch.
'''

import inspect
from collections.abc import Callable, Collection, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from functools import cache
from typing import Any

from notus.checks.ifbench.ids import IFBENCH
from notus.checks.ifeval.ids import IFEVAL
from notus.core.errors import ConfigError, DataError, InputError, nearest
from notus.core.plugins import Registry, foreign_code, hash_code, is_python, source_file, source_of

__all__ = ["CHECKS", "Check", "Followed", "check_answer", "loose_variants", "make_checks", "plain_id"]

CHECKS = Registry("check", {**IFEVAL, **IFBENCH}, group="notus.checks")
"""Checks by id, without ``en:`` before it."""
_PREFIX = "en:"
"""Of an id in IFEval's layout. Those of other languages have rules of their own, and stay unknown."""
_DUTY = "it takes the answer and its settings, and returns True or False"
_PROMPT = "prompt"
"""The parameter that is given the text of the prompt."""


def plain_id(name: str) -> str:
    """An id without the prefix of English: ``en:punctuation:no_comma`` is ``punctuation:no_comma``."""
    return name.removeprefix(_PREFIX)


@dataclass(frozen=True)
class Check:
    """One instruction of a prompt, which a program can verify.

    Raises:
        ConfigError: for an id that is not known, with the nearest, or a file of the user's that cannot be read.
        DataError: for a setting that the check does not have, or one that it needs and is not given.
    """

    id: str
    """As ``plain_id`` gives it."""
    settings: Mapping[str, Any] = field(default_factory=dict)
    """Its keyword arguments. What is None was not given: published files name all settings of all kinds."""

    function: Callable[..., Any] = field(init=False, repr=False, compare=False)
    """What checks: loaded once, and anew where the user's file has changed since."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "id", plain_id(self.id))
        given = {name: value for name, value in self.settings.items() if value is not None}
        object.__setattr__(self, "settings", given)
        file = source_file(self.id, CHECKS.group) if self.id not in CHECKS.names else None
        object.__setattr__(self, "function", _load(self.id, "" if file is None else hash_code(file)))
        known, needed, open_ended = _parameters(self.function)
        where = f"check '{self.id}'"
        for name in given if not open_ended else ():
            if name not in known:
                raise DataError(f"{where} has no setting '{name}'; {nearest(name, known or ['(none)'])}")
        for name in sorted(needed - {_PROMPT}):
            if name not in given:
                raise DataError(f"{where} needs the setting '{name}', and it is not given; add it to its kwargs")

    @property
    def needs_prompt(self) -> bool:
        """Whether it reads the prompt too."""
        return _PROMPT in _parameters(self.function)[0] and _PROMPT not in self.settings

    def follows(self, answer: str, prompt: str = "") -> bool:
        """Whether an answer, as it stands, follows the instruction. A blank answer follows none.

        Raises:
            InputError: if a check of the user's raises anything.
            DataError: if a setting has a value that means nothing here, or the check returns neither True nor False.
        """
        if not answer.strip():
            return False
        settings = {**self.settings, _PROMPT: prompt} if self.needs_prompt else self.settings
        with self._one_line_errors(prompt):
            told = self.function(answer, **settings)
        # NumPy's too, without importing it.
        if type(told).__name__ not in ("bool", "bool_"):
            raise DataError(f"check '{self.id}' ({source_of(self.function)}) gave {told!r:.80}; {_DUTY}")
        return bool(told)

    def _one_line_errors(self, prompt: str) -> AbstractContextManager[None]:
        if self.id in CHECKS.names:
            return nullcontext()
        function = inspect.unwrap(self.function)
        file = inspect.getsourcefile(function) if inspect.isroutine(function) else None
        what = f"check '{self.id}' failed for the prompt {prompt!r:.60}"
        return foreign_code(what, file, source_of(function), f"correct the function: {_DUTY}", InputError)


@dataclass(frozen=True)
class Followed:
    """What a prompt's checks say of one answer, in their order."""

    strict: tuple[bool, ...]
    """Of the answer as it stands."""
    loose: tuple[bool, ...]
    """Of any of its variants, see ``loose_variants``; True wherever strict is."""

    @property
    def share(self) -> float:
        """Of the checks that are followed strictly."""
        return sum(self.strict) / len(self.strict)

    @property
    def all_strict(self) -> bool:
        """Whether all are followed strictly: the verdict on the prompt."""
        return all(self.strict)

    @property
    def all_loose(self) -> bool:
        """Whether each is followed by some variant, not all by the same: the loose verdict on the prompt."""
        return all(self.loose)


def make_checks(
    ids: Sequence[str], settings: Sequence[Mapping[str, Any] | None], own: Collection[str] = ()
) -> tuple[Check, ...]:
    """The checks of a prompt from the two columns of the published layout, ``instruction_id_list`` and ``kwargs``.

    Args:
        ids: of the checks.
        settings: of each.
        own: the ``python:`` names that the ids may have. A file of prompts is data, often somebody else's, and runs no
            code that its user has not named as well.

    Raises:
        ConfigError: for a ``python:`` name that is not among them, or one among them that is none.
        ConfigError, DataError: as ``Check`` does.
        DataError: if there is none, or the columns differ in length.
    """
    if len(ids) != len(settings):
        raise DataError(f"{len(ids)} checks have settings for {len(settings)}; give a mapping for each, {{}} for none")
    for name in own:
        if not is_python(name):
            raise ConfigError(f"'{name}' is no check of your own, which are python:FILE.py:NAME; leave it out of them")
    if not ids:
        raise DataError("there is no check; give the id of at least one")
    for name in ids:
        if is_python(name) and name not in own:
            raise ConfigError(
                f"the prompts name the check '{name}', which is code and runs with all your rights; read it, then "
                "allow it by that name (own_checks, --own-check)"
            )
    return tuple(Check(name, given or {}) for name, given in zip(ids, settings, strict=True))


def check_answer(answer: str, checks: Sequence[Check], prompt: str = "") -> Followed:
    """Check an answer, strictly and loosely.

    Args:
        answer: the text alone, without thoughts or the prompt.
        checks: of its prompt, at least one.
        prompt: the text that was answered.

    Raises:
        InputError, DataError: as ``Check.follows`` does.
    """
    strict = tuple(check.follows(answer, prompt) for check in checks)
    variants = loose_variants(answer)[1:]
    loose = (
        done or any(check.follows(variant, prompt) for variant in variants)
        for done, check in zip(strict, checks, strict=True)
    )
    return Followed(strict, tuple(loose))


def loose_variants(answer: str) -> list[str]:
    """The eight variants of IFEval's loose verdict, equal ones once: the answer itself first.

    Without its first line ("Sure, here it is:"), without its last, without both; each of these as it is, and without
    asterisks, which are Markdown's fonts.
    """
    lines = answer.split("\n")
    cut = ["\n".join(part).strip() for part in (lines[1:], lines[:-1], lines[1:-1])]
    return list(dict.fromkeys(each for text in (answer, *cut) for each in (text, text.replace("*", ""))))


@cache
def _load(name: str, code: str) -> Callable[..., Any]:
    """The function of an id; ``code`` is the hash of its file, so that a changed one is read anew."""
    del code
    function: Callable[..., Any] = CHECKS.load(name)
    return function


@cache
def _parameters(function: Callable[..., Any]) -> tuple[tuple[str, ...], frozenset[str], bool]:
    """Names of a check's settings, those without a default, and whether it takes any other."""
    _, *rest = inspect.signature(function).parameters.values()
    named = [each for each in rest if each.kind in (each.KEYWORD_ONLY, each.POSITIONAL_OR_KEYWORD)]
    needed = frozenset(each.name for each in named if each.default is each.empty)
    return tuple(each.name for each in named), needed, any(each.kind is each.VAR_KEYWORD for each in rest)
