"""Files of checks: the prompts, and answers to them with or without the verdicts that others stored.

| rows | from |
|---|---|
| ``prompt``, ``response``; with ``strict``, ``loose`` or ``follow_instruction_list`` | results of IFEval and IFBench |
| ``key``, ``response``, ``model``, ``strict``, ``loose`` | the same by key, of several models |
| ``doc``, ``resps``, ``inst_level_strict_acc``, ``inst_level_loose_acc`` | samples of lm-eval |

Owns their forms. What a verdict is, is owned by ``checks.protocol``.
"""

from collections.abc import Collection, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from notus.checks.prompts import CheckedPrompt, by_text, checked_prompt
from notus.core.artifacts import DIALOGUES
from notus.core.errors import DataError
from notus.core.records import Dialogue, digest
from notus.core.tables import read_records, table_exists
from notus.formats.quarantine import RowReader
from notus.formats.rows import Payload, parse_row, read_rows

__all__ = ["PromptIndex", "StoredAnswer", "read_answers", "read_prompts"]

_Flags = tuple[bool, ...] | None
_ANSWERS = ("response", "output", "answer")


@dataclass(frozen=True)
class StoredAnswer:
    """An answer in a file, and what somebody made of it."""

    prompt: CheckedPrompt
    text: str
    """Empty where there is none."""
    model: str
    sample: int = 0
    strict: tuple[bool, ...] | None = None
    """The stored verdicts on its instructions; None where there are none."""
    loose: tuple[bool, ...] | None = None
    file: str = ""
    line: int = 0
    truncated: bool = False
    """Whether it was cut at the token limit, where that is known."""

    @property
    def id(self) -> str:
        """That of the ``Output`` which it is."""
        return digest(self.prompt.prompt_id, self.model, str(self.sample), self.text)


class PromptIndex:
    """Prompts as answers name them: by key, or by their text.

    Args:
        prompts: each with another key.
    """

    def __init__(self, prompts: Mapping[str, CheckedPrompt]) -> None:
        self._keys = prompts
        self._texts = by_text(prompts.values())
        self.by_trimmed_text = 0
        """Answers whose prompt has other space around it than in the file of prompts."""

    def find(self, key: object, text: object) -> CheckedPrompt:
        """The prompt of an answer.

        Raises:
            DataError: if there is none, or key and text mean two.
        """
        named = self._keys.get(str(key)) if key is not None else None
        told = self._texts.get(text.strip()) if isinstance(text, str) else None
        if named is not None and isinstance(text, str) and text.strip() != named.prompt.strip():
            raise DataError(f"the key {key!r:.40} is that of another prompt than {text!r:.60}; correct one")
        found = named or told
        if found is None:
            what = f"the prompt {text!r:.60}" if isinstance(text, str) else f"the key {key!r:.40}"
            raise DataError(f"{what} is not in the file of prompts")
        self.by_trimmed_text += isinstance(text, str) and text != found.prompt
        return found


def read_prompts(path: Path, reader: RowReader | None = None, own: Collection[str] = ()) -> dict[str, CheckedPrompt]:
    """Read prompts with their checks: key → prompt, in the order of the file.

    Args:
        path: the file, packed or not; or a run directory of ``notus read`` that holds them.
        reader: counts the rows and puts bad ones aside; without it a bad row is an error.
        own: the checks of the user's own that the prompts may name.

    Raises:
        ConfigError: if a check is not known, or one of the user's own is not allowed.
        DataError: if the file cannot be read; or if a row is bad or its key stands there twice, and nothing takes it.
    """
    found: dict[str, CheckedPrompt] = {}

    def read(payload: Payload) -> CheckedPrompt:
        prompt = checked_prompt(parse_row(payload), own)
        if prompt.key in found:
            raise DataError(f"the key {prompt.key} stands there twice; remove one")
        return found.setdefault(prompt.key, prompt)

    for _ in (reader or RowReader()).read(path, _prompt_rows(path), read):
        pass
    return found


def read_answers(path: Path, prompts: PromptIndex, name: str, reader: RowReader | None = None) -> list[StoredAnswer]:
    """Read answers to prompts, with stored verdicts where the rows have some.

    Args:
        path: the file, packed or not.
        prompts: what they are answers to.
        name: what a model is called whose rows do not say.
        reader: counts the rows and puts bad ones aside: answers to no prompt of the file, verdicts on another number of
            instructions; without it a bad row is an error.

    Raises:
        DataError: if the file cannot be read; or if a row is bad, and nothing takes it.
    """
    seen: dict[tuple[str, str], int] = {}
    found: list[StoredAnswer] = []

    def read(payload: Payload) -> StoredAnswer:
        row = parse_row(payload)
        doc = row["doc"] if isinstance(row.get("doc"), dict) else row
        prompt = prompts.find(doc.get("key"), doc.get("prompt"))
        strict, loose = _verdicts(row, path.name, len(prompt.checks))
        model = row.get("model") or name
        if not isinstance(model, str):
            raise DataError(f"the column 'model' is {model!r:.60}; a name is needed")
        text = _text(row)  # before it counts as a sample
        sample = seen[model, prompt.key] = seen.get((model, prompt.key), -1) + 1
        return StoredAnswer(prompt, text, model, sample, strict, loose, path.name)

    for line, answer in (reader or RowReader()).read(path, read_rows(path), read):
        found.append(StoredAnswer(**{**vars(answer), "line": line}))
    return found


def _prompt_rows(path: Path) -> Iterator[tuple[int, Payload]]:
    """The rows of a file of prompts; those of a run directory stand in its dialogues, whose further columns they are.

    Raises:
        DataError: if the run directory holds no dialogues, or the file cannot be read.
    """
    if not path.is_dir():
        yield from read_rows(path)
        return
    table = DIALOGUES.at(path)
    if not table_exists(table):
        raise DataError(f"{path} holds no {DIALOGUES.file}; name a file of prompts, or a run of 'read' of one")
    for number, dialogue in enumerate(read_records(table, Dialogue), start=1):
        yield number, {**dialogue.extra, "prompt": dialogue.messages[-1].content}


def _text(row: Mapping[str, Any]) -> str:
    """The answer of a row; what is null is empty, what is not there an error."""
    if isinstance(row.get("doc"), dict):
        given = row.get("filtered_resps", row.get("resps"))
        while isinstance(given, list) and given:
            given = given[0]
    else:
        column = next((each for each in _ANSWERS if each in row), None)
        if column is None:
            raise DataError(f"the row has none of the columns {', '.join(_ANSWERS)}; one holds the answer")
        given = row[column]
    if given is not None and not isinstance(given, str):
        raise DataError(f"the answer is {given!r:.60}; a text is needed, or null where there is none")
    return given or ""


def _verdicts(row: Mapping[str, Any], file: str, count: int) -> tuple[_Flags, _Flags]:
    """Strict and loose verdicts of a row, where it has them; IFEval's results are a file for each, named after it."""
    strict, loose = (row.get(f"inst_level_{each}_acc", row.get(each)) for each in ("strict", "loose"))
    if "follow_instruction_list" in row and "loose" in file:
        loose = row["follow_instruction_list"]
    elif "follow_instruction_list" in row:
        strict = row["follow_instruction_list"]
    return _flags(strict, count), _flags(loose, count)


def _flags(given: Any, count: int) -> _Flags:
    if given is None:
        return None
    if not isinstance(given, list) or len(given) != count or not all(isinstance(each, bool) for each in given):
        raise DataError(f"the stored verdicts are {given!r:.60}; {count} of true and false are needed")
    return tuple(given)
