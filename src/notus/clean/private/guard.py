"""What becomes of records that hold personal data, secrets, an unwanted language, or insults.

    guard = Guard(settings)
    seen = guard.look(record)             # what is in it, and the record with masks in place of what is masked
    seen.record, seen.faults, seen.found

Each kind is counted, dropped or masked. A mask is a placeholder with a number, ``<EMAIL_1>``: within a record the same
address has the same number wherever it stands, so that a dialogue stays coherent. All texts of a record are looked at,
further columns, raters and rationales included; only ids, roles and places are not. What is dropped: of feedback, the
completion that holds it; otherwise, and where it stands in the prompt or beside it, the record.

Language and toxicity are of the answers, as the filters of ``clean.chat`` are: the assistant's turns of a dialogue, the
chosen answer of a pair, a desirable answer, each completion. Toxicity is a rule for English; how many records it was
not applied to is counted.

What is found is never written raw: tables, evidence and decisions name its kind, its place and its mask.

Owns settings, masks and what is dropped. What is found in a text is owned by ``clean.private.items``, language and
toxicity by ``clean.private.language``.
"""

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, TypeVar

import msgspec
import pydantic
from msgspec.structs import replace

from notus.clean.private.items import KINDS, PERSONAL, Item, Kind, check_libraries, find_items
from notus.clean.private.language import UNDETERMINED, check_languages, language_of, toxicity_of
from notus.core.config import Config
from notus.core.records import Decision, Feedback, Preference, ToolCall, Unpaired
from notus.core.stage import Tally
from notus.decisions.note import is_kept
from notus.formats.format import Data, record_id

__all__ = ["MASK_RULE", "Found", "Guard", "Privacy", "Seen", "Treatment", "answers_of", "asked_by", "masked"]

Shown = TypeVar("Shown", Feedback, Preference)
Treatment = Literal["count", "drop", "mask"]
MASK_RULE = "mask"
"""Of decisions that put a placeholder in."""
_TOXIC_LANGUAGES = ("en", UNDETERMINED)
_PLACES = frozenset(("file", "line", "feedback_id", "role"))
_AROUND = 32


class Privacy(Config):
    """What is looked for beside duplicates and faulty answers; all of it needs ``pip install 'notus[privacy]'``."""

    personal: Treatment | None = None
    """Personal data (mail addresses, telephone numbers, accounts, IP addresses, IBANs, cards): ``count``, ``drop`` or
    ``mask``; null does not look for them."""
    personal_kinds: dict[str, Treatment] = pydantic.Field(default={})
    """Of single kinds otherwise than ``personal`` says: email=drop, phone=mask, handle, ip, iban, card."""
    secrets: Treatment | None = None
    """Keys, tokens and passwords in addresses: ``count``, ``drop`` or ``mask``; null does not look for them."""
    phone_regions: tuple[str, ...] = ("US",)
    """Countries (ISO 3166-1) whose telephone numbers are known without the country's code."""
    languages: tuple[str, ...] | None = None
    """Answers in other languages than these go (ISO 639-1: en, de); what is not clear stays. Null does not look."""
    toxicity: float | None = pydantic.Field(default=None, ge=0, le=1)
    """Answers that are likelier toxic than this go; 0.9 is a good beginning, 1 drops none. Null does not look."""

    @pydantic.field_validator("personal_kinds")
    @classmethod
    def _kinds_exist(cls, value: dict[str, Treatment]) -> dict[str, Treatment]:
        for kind in value:
            if kind not in PERSONAL:
                raise ValueError(f"there is no kind '{kind}' of personal data; known: {', '.join(PERSONAL)}")
        return value

    @property
    def treatments(self) -> dict[Kind, Treatment]:
        """Kind → what is done with it, for what is looked for."""
        chosen: dict[Kind, Treatment | None] = {kind: self.personal_kinds.get(kind, self.personal) for kind in PERSONAL}
        chosen["secret"] = self.secrets
        return {kind: chosen[kind] for kind in KINDS if chosen[kind]}  # type: ignore[misc]

    @property
    def looks(self) -> bool:
        """Whether anything is looked for."""
        return bool(self.treatments) or self.languages is not None or self.toxicity is not None


class Found(msgspec.Struct, frozen=True, kw_only=True):
    """One thing that was found, without the thing itself."""

    id: str
    """Of the record, as it was read."""
    kind: str
    field: str
    """Where in the record, for example ``messages[2].content``."""
    mask: str
    """What stands, or would stand, in its place."""
    excerpt: str
    """The words around it, with everything masked that was found."""
    treatment: str
    file: str
    line: int


@dataclass(frozen=True)
class Seen:
    """What one record holds."""

    record: Data
    """With masks, where something is masked."""
    found: tuple[Found, ...] = ()
    decisions: tuple[Decision, ...] = ()
    fault: tuple[str, str] | None = None
    """Reason and evidence, where the record goes as a whole."""
    completions: dict[int, tuple[str, str]] = field(default_factory=dict)
    """Of feedback: the completions that go, with reason and evidence."""


class Guard:
    """Looks at records, one after another.

    Raises:
        ConfigError: at once, if a language is unknown.
        MissingExtraError: at once, if a library is not installed.
    """

    def __init__(self, settings: Privacy) -> None:
        self._settings = settings
        self._treatments = settings.treatments
        if settings.languages is not None:
            check_languages(settings.languages)
        if self._treatments:
            check_libraries(self._treatments)
        if settings.toxicity is not None:
            toxicity_of("a")

    def shield(self, text: str) -> str:
        """A text for our own tables: all that is looked for is masked, whatever is done with it in the data."""
        return _Masks(self._treatments, self._settings.phone_regions).mask(text)[0] if self._treatments else text

    def look(self, record: Data, tally: Tally) -> Seen:
        """Look at a record: count what it holds, mask what is to be masked, say what is to go."""
        if not self._settings.looks:
            return Seen(record)
        seen = self._items(record, tally) if self._treatments else Seen(record)
        return self._answers(seen, tally)

    def _items(self, record: Data, tally: Tally) -> Seen:
        masks = _Masks(self._treatments, self._settings.phone_regions)
        found: list[Found] = []

        def edit(text: str, place: str) -> str:
            shown, items, only = masks.mask(text)
            for item, mask, at in items:
                how = self._treatments[item.kind]
                around = f"{shown[max(0, at - _AROUND) : at]}{mask}{shown[at + len(mask) : at + len(mask) + _AROUND]}"
                excerpt = _CUT.sub("", " ".join(around.split()))
                found.append(
                    Found(
                        id=found[0].id if found else record_id(record),
                        kind=item.kind,
                        field=place,
                        mask=mask,
                        excerpt=excerpt,
                        treatment=how,
                        file=record.file,
                        line=record.line,
                    )
                )
            return only

        masked = _walk(record, edit, "")
        for kind in dict.fromkeys(item.kind for item in found):
            tally.count(f"holds:{kind}")
        return self._treated(record, masked, found, tally)

    def _treated(self, record: Data, masked: Data, found: list[Found], tally: Tally) -> Seen:
        fault: tuple[str, str] | None = None
        completions: dict[int, tuple[str, str]] = {}
        decisions = []
        for item in found:
            why = (_reason(item.kind), f"{item.mask} in {item.field}")
            inside = re.match(r"completions\[(\d+)\]", item.field)
            if item.treatment == "drop" and inside and isinstance(record, Feedback):
                completions.setdefault(int(inside[1]), why)
            elif item.treatment == "drop":
                fault = fault or why
            elif item.treatment == "mask":
                target = record.completion_id(int(inside[1])) if inside and isinstance(record, Feedback) else item.id
                decisions.append(_decision(target, item))
        if decisions:
            tally.count("masked")
        return Seen(masked, tuple(found), tuple(decisions), fault, completions)

    def _unwanted(self, code: str) -> tuple[str, str] | None:
        """Reason and evidence, where an answer's language is not among those that are wanted."""
        wanted = self._settings.languages
        if wanted is None or code in (*wanted, UNDETERMINED):
            return None
        return "unwanted-language", f"an answer is in '{code}'"

    def _answers(self, seen: Seen, tally: Tally) -> Seen:
        wanted, most = self._settings.languages, self._settings.toxicity
        if wanted is None and most is None:
            return seen
        answers = answers_of(seen.record)
        spoken = [language_of(text) for text in answers]
        for code in dict.fromkeys(spoken):
            tally.count(f"language:{code}")
        faults = dict(seen.completions)
        fault = seen.fault
        skipped, toxic = False, False
        for index, (text, code) in enumerate(zip(answers, spoken, strict=True)):
            why = self._unwanted(code)
            if most is not None and code not in _TOXIC_LANGUAGES:
                skipped = True
            elif most is not None and (score := toxicity_of(text)) > most:
                toxic = True
                why = why or ("toxic", f"a sentence is toxic with probability {score:.2f}")
            if why and _is_kept(seen.record, index):
                tally.count(f"kept:{why[0]}")
            elif why and isinstance(seen.record, Feedback):
                faults.setdefault(index, why)
            else:
                fault = fault or why
        for what, is_so in (("not-applied:toxic", skipped), ("holds:toxic", toxic)):
            if is_so:
                tally.count(what)
        return Seen(seen.record, seen.found, seen.decisions, fault, faults)


def _is_kept(record: Data, index: int) -> bool:
    """Whether a person decided to keep an answer: its language and tone are no reason to drop it, what it holds is."""
    return is_kept(record.completions[index]) if isinstance(record, Feedback) else is_kept(record)


def asked_by(reason: str) -> str:
    """The setting that asks for what a record or a completion goes for."""
    settings = {"secret": "secrets", "unwanted-language": "languages", "toxic": "toxicity"}
    return settings.get(reason, "personal" if reason.startswith("personal-") else "filters")


def masked(record: Shown) -> Shown:
    """A record to be shown: mail addresses, keys and the like stand behind masks; nothing is counted.

    Raises:
        MissingExtraError: if the libraries of the extra ``privacy`` are missing.
    """
    return Guard(Privacy(personal="mask", secrets="mask")).look(record, Tally("shown")).record  # type: ignore[return-value]


def answers_of(record: Data) -> list[str]:
    """The answers that a model would learn to give; of feedback, each completion's."""
    if isinstance(record, Feedback):
        return [completion.text for completion in record.completions]
    if isinstance(record, Preference):
        turns = record.chosen
    elif isinstance(record, Unpaired):
        turns = record.answer if record.desirable else ()
    else:
        turns = record.messages
    # A call of a tool is an answer without a word.
    return [turn.content for turn in turns if turn.role == "assistant" and (turn.content or not turn.tool_calls)]


class _Masks:
    """The numbers of what one record holds."""

    def __init__(self, treatments: dict[Kind, Treatment], regions: tuple[str, ...]) -> None:
        self._treatments, self._regions = treatments, regions
        self._numbers: dict[Kind, dict[str, int]] = {}

    def mask(self, text: str) -> tuple[str, list[tuple[Item, str, int]], str]:
        """The text with everything masked; each item, its mask and its place there; the text with what is to be."""
        items = find_items(text, self._treatments, self._regions)
        if not items:
            return text, [], text
        everything, only = _Builder(text), _Builder(text)
        placed = []
        for item in items:
            numbers = self._numbers.setdefault(item.kind, {})
            mask = f"<{item.kind.upper()}_{numbers.setdefault(item.key, len(numbers) + 1)}>"
            placed.append((item, mask, everything.put(item, mask)))
            if self._treatments[item.kind] == "mask":
                only.put(item, mask)
        return everything.end(), placed, only.end()


class _Builder:
    """Puts masks into a text, from its beginning to its end."""

    def __init__(self, text: str) -> None:
        self._text, self._parts, self._at, self._length = text, [""], 0, 0

    def put(self, item: Item, mask: str) -> int:
        """Put a mask in the place of an item; where it stands in the new text."""
        before = self._text[self._at : item.start]
        place = self._length + len(before)
        self._parts += [before, mask]
        self._at, self._length = item.stop, place + len(mask)
        return place

    def end(self) -> str:
        return "".join([*self._parts, self._text[self._at :]])


_CUT = re.compile(r"^[A-Z_]*\d*_\d+>|<[A-Z]+(?:_\d*)?$")
"""A neighbour's mask that the excerpt cuts in two."""


def _walk(value: Any, edit: Callable[[str, str], str], place: str) -> Any:
    """A value with its texts edited; the same object where none changes."""
    if isinstance(value, str):
        return edit(value, place)
    if isinstance(value, tuple | list):
        parts = [_walk(each, edit, f"{place}[{number}]") for number, each in enumerate(value)]
        return value if all(map(_same, parts, value)) else type(value)(parts)
    if isinstance(value, dict):
        return _walk_dict(value, edit, place)
    if isinstance(value, ToolCall):
        arguments = msgspec.json.decode(value.arguments)  # as text, a mask might cut an escape in two
        new = _walk(arguments, edit, f"{place}.arguments")
        return value if new is arguments else replace(value, arguments=msgspec.json.encode(new).decode())
    if isinstance(value, msgspec.Struct):
        changes: dict[str, Any] = {}
        for name in value.__struct_fields__:
            if name not in _PLACES:
                old = getattr(value, name)
                new = _walk(old, edit, f"{place}.{name}" if place else name)
                changes |= {} if new is old else {name: new}
        return replace(value, **changes) if changes else value
    return value


def _walk_dict(value: dict[Any, Any], edit: Callable[[str, str], str], place: str) -> dict[Any, Any]:
    made: dict[Any, Any] = {}
    changed = False
    for key, each in value.items():
        name = edit(key, place) if isinstance(key, str) else key
        new = _walk(each, edit, f"{place}.{name}")
        changed = changed or name != key or new is not each
        while name in made:  # two notations of one address
            name += "'"
        made[name] = new
    return made if changed else value


def _same(one: object, other: object) -> bool:
    return one is other


def _reason(kind: str) -> str:
    return "secret" if kind == "secret" else f"personal-{kind}"


def _decision(target: str, item: Found) -> Decision:
    return Decision(
        target=target,
        field=item.field,
        before=item.kind,
        after=item.mask,
        rule=MASK_RULE,
        by="rule",
        file=item.file,
        line=item.line,
    )
