"""Checks as reward functions for TRL's GRPO (https://huggingface.co/docs/trl/grpo_trainer).

    notus export prompts.jsonl --layout trl-grpo --out runs/grpo

    from datasets import load_dataset
    from trl import GRPOTrainer
    from notus.checks.grpo import share_followed
    rows = load_dataset("json", data_files="runs/grpo/rows.jsonl", split="train")
    GRPOTrainer(model, reward_funcs=share_followed, train_dataset=rows).train()

The column ``checks`` holds a prompt's checks as JSON text, ``[{"id": …, "kwargs": {…}}]``, because the settings of
different kinds fit into no common column. A check of your own in it is code, and runs only where it is allowed by name:
``reward_funcs=with_own_checks(share_followed, "python:mine.py:short")``.

Owns the reading of that column and the rewards. No torch and no TRL.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from functools import lru_cache, partial, update_wrapper
from typing import Any

from notus.checks.protocol import Check, make_checks
from notus.core.errors import DataError

__all__ = ["all_followed", "share_followed", "with_own_checks"]

Rewards = list[float | None]
Turns = str | Sequence[Mapping[str, Any]]


def share_followed(
    prompts: Sequence[Turns],
    completions: Sequence[Turns],
    checks: Sequence[str | None],
    own_checks: Sequence[str] = (),
    **columns: Any,
) -> Rewards:
    """The share of its prompt's checks that each completion follows strictly.

    Args:
        prompts: as TRL gives them: texts, or lists of messages.
        completions: as many, likewise.
        checks: of each prompt, as JSON text; None where it has none, which gives None, and no reward counts.
        own_checks: checks of your own that the column may name; see ``with_own_checks``.
        columns: the other columns of the data, and what TRL adds; they are not looked at.

    Raises:
        ConfigError: if a check is not known, or one of your own is not allowed.
        DataError: if a prompt's checks have another form.
    """
    del columns
    return _rewards(prompts, completions, checks, tuple(own_checks), lambda followed: sum(followed) / len(followed))


def all_followed(
    prompts: Sequence[Turns],
    completions: Sequence[Turns],
    checks: Sequence[str | None],
    own_checks: Sequence[str] = (),
    **columns: Any,
) -> Rewards:
    """1 for a completion that follows all of its prompt's checks strictly, otherwise 0; see ``share_followed``."""
    del columns
    return _rewards(prompts, completions, checks, tuple(own_checks), lambda followed: float(all(followed)))


def with_own_checks(reward: Callable[..., Rewards], *names: str) -> Callable[..., Rewards]:
    """A reward whose column ``checks`` may name these checks of your own, each ``python:FILE.py:NAME``.

    They are code, which runs with all your rights; a column of the data alone runs none.
    """
    allowed = partial(reward, own_checks=names)
    update_wrapper(allowed, reward)  # TRL logs a reward under its name
    return allowed


def _rewards(
    prompts: Sequence[Turns],
    completions: Sequence[Turns],
    checks: Sequence[str | None],
    own: tuple[str, ...],
    reward: Callable[[list[bool]], float],
) -> Rewards:
    found: list[float | None] = []
    for prompt, completion, text in zip(prompts, completions, checks, strict=True):
        if text is None:
            found.append(None)
            continue
        asked, answer = _last(prompt, "user"), _last(completion, "assistant")
        found.append(reward([check.follows(answer, asked) for check in _read(text, own)]))
    return found


def _last(turns: Turns, role: str) -> str:
    """The text of a prompt or completion: itself, or the content of the last message of a role."""
    if isinstance(turns, str):
        return turns
    return next((str(turn.get("content") or "") for turn in reversed(turns) if turn.get("role") == role), "")


@lru_cache(maxsize=4096)  # each prompt comes many times, in groups and epochs
def _read(text: str, own: tuple[str, ...]) -> tuple[Check, ...]:
    try:
        given = json.loads(text)
        return make_checks([each["id"] for each in given], [each.get("kwargs") for each in given], own)
    except (ValueError, TypeError, KeyError, AttributeError, RecursionError):
        raise DataError(
            f'the column checks is {text!r:.60}; a JSON text [{{"id": …, "kwargs": {{…}}}}] is needed, as notus export '
            "--layout trl-grpo writes it"
        ) from None
