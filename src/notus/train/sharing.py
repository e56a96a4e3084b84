"""Prompts shared: the pairs or rows of one prompt as one group, in which each different answer is one branch.

Owns which answers stand together in a group, and where each of them went. Which groups share a row of tokens is the
business of ``models.pack``.
"""

from collections.abc import Sequence
from dataclasses import dataclass, field

from notus.models.pack import Group

__all__ = ["Place", "apart", "prompt_numbers", "share", "share_branches"]

Place = tuple[int, tuple[int, ...]]
"""Where a group's branches went: the number of the merged group, and the number of each branch in it."""

_Branch = tuple[tuple[int, ...], tuple[bool, ...] | None]


@dataclass
class _Part:
    """A merged group while it grows."""

    number: int
    tokens: int
    branches: dict[_Branch, int] = field(default_factory=dict)

    def added(self, branches: Sequence[_Branch]) -> int:
        """Tokens that these branches would add."""
        return sum(len(branch[0]) for branch in set(branches) if branch not in self.branches)

    def take(self, branches: Sequence[_Branch]) -> tuple[int, ...]:
        """Add what is not there yet, and give the branches' numbers."""
        self.tokens += self.added(branches)
        return tuple(self.branches.setdefault(branch, len(self.branches)) for branch in branches)


def share(groups: Sequence[Group], max_tokens: int) -> tuple[list[Group], list[Place]]:
    """Merge groups of the same prompt, answers of the same token ids becoming one branch.

    The branches of a group stay together. A merged group has at most ``max_tokens`` where that can be: a group goes to
    where it adds fewest tokens and has room, and otherwise begins another merged group of its prompt.

    Args:
        groups: for example one for each pair of answers.
        max_tokens: tokens of a merged group; a longer single group stays as it is.

    Returns:
        The merged groups in the order of their first members, and for each group given its place among them.
    """
    parts: dict[tuple[int, ...], list[_Part]] = {}
    prompts: list[list[int]] = []
    grown: list[_Part] = []
    places = []
    for group in groups:
        branches = _branches(group)
        of_prompt = parts.setdefault(tuple(group.prompt), [])
        fitting = [(part.added(branches), part.number) for part in of_prompt]
        fitting = [
            (added, number) for added, number in fitting if not added or grown[number].tokens + added <= max_tokens
        ]
        if fitting:
            part = grown[min(fitting)[1]]
        else:
            part = _Part(len(grown), len(group.prompt))
            grown.append(part)
            prompts.append(group.prompt)
            of_prompt.append(part)
        places.append((part.number, part.take(branches)))
    return [_group(prompt, part) for prompt, part in zip(prompts, grown, strict=True)], places


def share_branches(groups: Sequence[Group], max_tokens: int) -> tuple[list[Group], list[list[tuple[int, int]]]]:
    """Merge as ``share`` does, where the branches of a group may part: each answer of a prompt occurs exactly once.

    Returns:
        The merged groups, and for each branch of each group given the number of its merged group and its own in it.
    """
    alone = [
        Group(group.prompt, (branch,), None if group.trained is None else (group.trained[number],))
        for group in groups
        for number, branch in enumerate(group.branches)
    ]
    merged, found = share(alone, max_tokens)
    places = iter(found)
    return merged, [[(number, at[0]) for number, at in (next(places) for _ in group.branches)] for group in groups]


def apart(groups: Sequence[Group]) -> tuple[list[Group], list[Place]]:
    """What ``share`` gives, with nothing merged."""
    return list(groups), [(number, tuple(range(len(group.branches)))) for number, group in enumerate(groups)]


def prompt_numbers(groups: Sequence[Group]) -> list[int]:
    """A number for each group, the same where prompts have the same token ids."""
    numbers: dict[tuple[int, ...], int] = {}
    return [numbers.setdefault(tuple(group.prompt), len(numbers)) for group in groups]


def _branches(group: Group) -> list[_Branch]:
    marks = [None] * len(group.branches) if group.trained is None else [tuple(marks) for marks in group.trained]
    return [(tuple(branch), of) for branch, of in zip(group.branches, marks, strict=True)]


def _group(prompt: list[int], part: _Part) -> Group:
    branches = tuple(list(ids) for ids, _ in part.branches)
    if all(marks is None for _, marks in part.branches):
        return Group(prompt, branches)
    return Group(prompt, branches, tuple([True] * len(ids) if m is None else list(m) for ids, m in part.branches))
