"""From records to items: dialogues, preference pairs, and unpaired rows, as token ids."""

from collections.abc import Sequence

from notus.core.errors import DataError
from notus.core.records import Message, Preference, Unpaired
from notus.core.stage import Tally, apply
from notus.data.conversions import unpaired
from notus.models.dialogues import dialogue_groups
from notus.models.pack import Group
from notus.models.tokens import Encoder, answer_text
from notus.train.batches import Item

__all__ = ["encode_dialogues", "encode_pairs", "encode_rows"]


def encode_dialogues(encoder: Encoder, dialogues: Sequence[tuple[Message, ...]]) -> list[Item]:
    """Tokenise dialogues; the tokens of all assistant turns behind a prompt count."""
    return [Item(group) for group in dialogue_groups(encoder, dialogues)]


def encode_pairs(encoder: Encoder, preferences: Sequence[Preference | Unpaired]) -> list[Item]:
    """Tokenise preferences; each answer is one assistant turn.

    Raises:
        DataError: if there is an unpaired row among them.
    """
    pairs = [record for record in preferences if isinstance(record, Preference)]
    if len(pairs) < len(preferences):
        raise DataError(
            "this loss compares two answers, and an unpaired row has one; set the loss to kto or bco_unpaired, or "
            "train on pairs"
        )
    chosen = encoder.examples((pair.prompt, answer_text(pair.chosen)) for pair in pairs)
    rejected = encoder.examples((pair.prompt, answer_text(pair.rejected)) for pair in pairs)
    return [
        Item(Group(prompt, (better, worse)), score_margin=_margin(pair))
        for (prompt, better), (_, worse), pair in zip(chosen, rejected, pairs, strict=True)
    ]


def encode_rows(encoder: Encoder, records: Sequence[Preference | Unpaired], tally: Tally) -> list[Item]:
    """Tokenise unpaired rows; a preference becomes two of them, chosen first.

    Args:
        tally: receives the preferences, of which those with two equal answers are dropped.
    """
    divide = unpaired()
    rows: list[Unpaired] = []
    for record in records:
        rows += apply(divide, [record], tally) if isinstance(record, Preference) else [record]
    encoded = encoder.examples((row.prompt, answer_text(row.answer)) for row in rows)
    return [
        Item(Group(prompt, (answer,)), desirable=row.desirable)
        for row, (prompt, answer) in zip(rows, encoded, strict=True)
    ]


def _margin(preference: Preference) -> float | None:
    a, b = preference.score_chosen, preference.score_rejected
    return None if a is None or b is None else a - b
