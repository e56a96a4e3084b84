"""Trees of messages: every prompt that has several replies, each with the dialogue before it.

    oasst-trees  message_tree_id, tree_state, prompt{text, role, rank, replies[…], …}

**OpenAssistant** (https://huggingface.co/datasets/OpenAssistant/oasst1, ``*.trees.jsonl.gz``; the fields are described
at https://github.com/LAION-AI/Open-Assistant/blob/main/oasst-data/oasst_data/schemas.py): prompters and assistants
alternate from the root to the leaves. Of several replies the one of rank 0 is the best. A row gives a ``Feedback`` for
each prompt that has at least two replies, from the root down. A prompt with one reply compares nothing and is counted
as ``single-reply``, one without any as ``no-reply``; a tree without any comparison goes to the quarantine.

What the set says of a message besides its text (id, language, review, labels, whether it was deleted) is kept: of a
reply in the ``extra`` of its completion, of the turns of a prompt in ``prompt_messages``, one object a turn. Nothing is
left out because of it: a deleted reply, or one that reviewers refused, is for the cleaning to decide.

The flat lists of messages of the same sets (``*.messages.jsonl.gz``, Parquet on the hub) are not read: a row of theirs
does not hold what it answers.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from notus.core.records import Completion, Feedback, Message
from notus.core.stage import Tally
from notus.formats.families.ranked import read_ranks
from notus.formats.fields import read_as, read_name, required, split_fields
from notus.formats.format import Format, Row
from notus.formats.quarantine import RowError

__all__ = ["FORMATS"]

_ROLES = {"prompter": "user", "assistant": "assistant"}
_SAID = ("text", "role", "replies")
_JUDGED = ("rank", "model_name")


@dataclass(frozen=True)
class _Node:
    """A message of a tree, read."""

    turn: Message
    about: Row
    """What is said of it, with its rank and its model."""
    replies: list[Any]
    at: str


def _is_tree(row: Row) -> bool:
    """Whether the row is a tree with a root that may have replies."""
    root = row.get("prompt")
    return "message_tree_id" in row and isinstance(root, dict) and "replies" in root


def _expand(row: Row, tally: Tally) -> Sequence[Feedback]:
    """Read the prompts of a tree that have several replies, from the root down."""
    known, extra = split_fields(row, ("prompt",))
    root = _read_node(required(known, "prompt"), "prompt")
    if root.turn.role != "user":
        raise RowError("prompt.role", "unknown-role", root.turn.role, "a tree begins with the prompter")
    found: list[Feedback] = []
    single, alone = 0, 0
    waiting: list[tuple[_Node, ...]] = [(root,)]
    while waiting:
        path = waiting.pop()
        replies = [_read_node(item, f"{path[-1].at}.replies[{n}]") for n, item in enumerate(path[-1].replies)]
        for reply in replies:
            if reply.turn.role == path[-1].turn.role:
                raise RowError(f"{reply.at}.role", "unknown-role", reply.turn.role, "prompter and assistant alternate")
        if path[-1].turn.role == "user":
            single += len(replies) == 1
            alone += not replies
            if len(replies) > 1:
                found.append(_compare(path, replies, extra))
        waiting += [(*path, reply) for reply in reversed(replies)]
    if not found:
        raise RowError("prompt.replies", "no-comparison", root.replies)
    for name, count in (("single-reply", single), ("no-reply", alone)):
        if count:
            tally.count(name, count)
    return found


def _decode(row: Row) -> Feedback:
    """Read the first prompt of a tree that has several replies."""
    return _expand(row, Tally("read"))[0]


def _read_node(value: object, at: str) -> _Node:
    if not isinstance(value, dict):
        raise RowError(at, "wrong-type", value, "a message with text, role and replies is needed")
    known, about = split_fields(value, _SAID)
    role = _ROLES.get(read_as(required(known, "role", f"{at}."), str, f"{at}.role"))
    if role is None:
        raise RowError(f"{at}.role", "unknown-role", known["role"])
    text = read_as(required(known, "text", f"{at}."), str, f"{at}.text")
    replies = read_as(known.get("replies", []), list[Any], f"{at}.replies")
    return _Node(read_as({"role": role, "content": text}, Message, at), about, replies, at)


def _compare(path: Sequence[_Node], replies: Sequence[_Node], extra: Row) -> Feedback:
    completions = (
        Completion(
            text=reply.turn.content,
            model=read_name(reply.about.get("model_name"), f"{reply.at}.model_name"),
            extra={name: value for name, value in reply.about.items() if name not in _JUDGED},
        )
        for reply in replies
    )
    return Feedback(
        prompt=tuple(node.turn for node in path),
        completions=tuple(completions),
        rankings=read_ranks([reply.about.get("rank") for reply in replies], [f"{reply.at}.rank" for reply in replies]),
        extra=extra | {"prompt_messages": [node.about for node in path]},
    )


def _message(text: str, role: str, *replies: Row, **about: Any) -> Row:
    given = {"message_id": text[:6].strip(), "lang": "en", "review_result": True, "deleted": False, "rank": None}
    return given | {"text": text, "role": role} | about | {"replies": list(replies)}


_SAMPLE: Row = {
    "message_tree_id": "t1",
    "tree_state": "ready_for_export",
    "prompt": _message(
        "Name a river.",
        "prompter",
        _message("No.", "assistant", rank=1, labels={"quality": {"value": 0.2, "count": 3}}),
        _message("The Oder.", "assistant", rank=0, labels={"quality": {"value": 0.9, "count": 3}}),
    ),
}

FORMATS = (
    Format(name="oasst-trees", record=Feedback, decode=_decode, matches=_is_tree, expand=_expand, sample=_SAMPLE),
)
