"""Prompts with their checks, in the published layout of IFEval and IFBench: one row a prompt.

    {"key": 1001, "prompt": "Write …", "instruction_id_list": ["punctuation:no_comma"], "kwargs": [{}]}

A prompts file of the user's own has the same columns, and may name checks of their own. Owns the form of a row. Which
file it stands in, and how its rows are counted, is the business of whoever reads it.
"""

from collections.abc import Collection, Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from notus.checks.protocol import CHECKS, Check, Followed, check_answer, make_checks
from notus.core.errors import DataError
from notus.core.records import Message, prompt_id

__all__ = ["CheckedPrompt", "by_text", "checked_prompt"]

_PROBE = "A short answer, to try each setting before a model is asked."


@dataclass(frozen=True)
class CheckedPrompt:
    """A prompt and what a program verifies of its answers."""

    key: str
    """As its file has it, as a text; the id of the prompt where there is none."""
    prompt: str
    checks: tuple[Check, ...]

    @property
    def messages(self) -> tuple[Message, ...]:
        """The prompt as turns."""
        return (Message(role="user", content=self.prompt),)

    @property
    def prompt_id(self) -> str:
        """Hash of the prompt, the same in every file."""
        return prompt_id(self.messages)

    def check(self, answer: str) -> Followed:
        """Check an answer, see ``protocol.check_answer``."""
        return check_answer(answer, self.checks, self.prompt)

    def share(self, answer: str) -> float:
        """Of the checks that an answer follows strictly."""
        return sum(check.follows(answer, self.prompt) for check in self.checks) / len(self.checks)


def checked_prompt(row: Mapping[str, Any], own: Collection[str] = ()) -> CheckedPrompt:
    """Read a row. Settings that are null were not given.

    Args:
        row: as its file has it.
        own: the checks of the user's own that it may name, see ``protocol.make_checks``.

    Raises:
        ConfigError: for an id that is not known, or one of the user's own that is not allowed.
        DataError: if a column is missing or has another form, or a setting means nothing to its check.
    """
    prompt, ids, settings = (row.get(name) for name in ("prompt", "instruction_id_list", "kwargs"))
    if not isinstance(prompt, str) or not prompt.strip():
        raise DataError(f"the column 'prompt' is {prompt!r:.60}; a text is needed")
    if not isinstance(ids, list) or not all(isinstance(each, str) for each in ids):
        raise DataError(f"the column 'instruction_id_list' is {ids!r:.60}; a list of the ids of checks is needed")
    if not isinstance(settings, list) or not all(isinstance(each, dict | None) for each in settings):
        raise DataError(f"the column 'kwargs' is {settings!r:.60}; a list with the settings of each check is needed")
    checks = make_checks(ids, settings, own)
    for check in checks:
        if check.id in CHECKS.names:
            check.follows(_PROBE, prompt)
    key = row.get("key")
    made = CheckedPrompt("" if key is None else str(key), prompt, checks)
    return made if made.key else CheckedPrompt(made.prompt_id, prompt, checks)


def by_text(prompts: Iterable[CheckedPrompt]) -> dict[str, CheckedPrompt]:
    """Prompts by their text without space around it, as published files differ in that.

    Raises:
        DataError: if one stands there twice with other checks: nobody can say which of them an answer is to follow.
    """
    found: dict[str, CheckedPrompt] = {}
    for prompt in prompts:
        text = prompt.prompt.strip()
        if found.setdefault(text, prompt).checks != prompt.checks:
            raise DataError(
                f"the prompt {text!r:.60} stands there twice, with other checks (keys {found[text].key} and "
                f"{prompt.key}); give one of them another text"
            )
    return found
