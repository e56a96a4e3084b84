"""From records to what an update takes: items as token ids, their order in an epoch, and forward passes.

A batch is pairs (or rows, or dialogues), a forward pass is tokens. Two engines give the same numbers: ``packed``
computes a prompt once, however many answers hang from it, and pads nothing; ``padded`` is the plain way it is checked
against. Owns that, and the log-probabilities of a pass; what is learnt from them is in ``train.losses``.
"""

from collections.abc import Callable, Iterator, Sequence
from contextlib import nullcontext
from dataclasses import dataclass
from typing import TypeVar

import torch
from torch.utils.data import Dataset, Sampler
from transformers import PreTrainedModel

from notus.core.errors import DataError
from notus.core.records import Dialogue, Message, Preference, Unpaired
from notus.core.stage import Tally, apply, by_halves
from notus.engine.adapters import base_model
from notus.engine.attention import packed
from notus.engine.logps import all_completion_logps, token_logps, token_logps_and_collisions
from notus.engine.pack import PackedRow, PromptGroup, choose_rows, keep_groups, merge_groups, pack, prompt_numbers
from notus.engine.padded import all_logps, answer_token_logps, answer_token_scores, pad, passes_within
from notus.engine.text.encoder import Encoder
from notus.engine.text.lessons import lesson_groups, lesson_of
from notus.engine.text.template import UnfitError
from notus.formats.format import record_id
from notus.preferences.convert import share_prompt, unpaired
from notus.train.settings import Training, Updates

__all__ = [
    "Batch",
    "Collator",
    "CompletionSums",
    "Forward",
    "Item",
    "Items",
    "LengthSampler",
    "all_sums",
    "autocast",
    "batch_sums",
    "batches_of",
    "completion_sums",
    "encode_dialogues",
    "encode_fitting",
    "encode_pairs",
    "encode_rows",
    "score_margin",
]


@dataclass(frozen=True)
class Item:
    """One dialogue or one unpaired row (a group of one completion), or one pair (chosen, then rejected)."""

    group: PromptGroup
    reference: tuple[float, ...] = ()
    """Log-probability of each completion under the reference; empty where none is needed."""
    prefix_reference: tuple[float, ...] = ()
    """The same over the first min(|chosen|, |rejected|) tokens, for losses that need it."""
    score_margin: float | None = None
    """Score of chosen less that of rejected, in the units of the data."""
    desirable: bool | None = None
    """Whether the answer is desirable; None for what is no unpaired row."""
    mismatched: "Item | None" = None
    """The prompt with an answer to another one, for losses that need an estimate of the KL divergence."""
    source: int = 0
    """Number of the source that it is from, in a mixture."""
    copy: int = 0
    """Which time it is that an epoch has it, counted from 0, in a mixture that repeats rows."""

    @property
    def lengths(self) -> list[int]:
        """Tokens of each completion that count."""
        return list(map(len, self.group.completions) if self.group.trained is None else map(sum, self.group.trained))

    @property
    def answered(self) -> int:
        """Tokens of all completions that count."""
        return sum(self.lengths)


@dataclass(frozen=True)
class Forward:
    """What one forward pass takes: a packed row or a padded batch, and the items whose completions it holds."""

    row: PackedRow | dict[str, torch.Tensor]
    items: tuple[Item, ...]
    numbers: torch.Tensor
    """Number in the row of each completion of each item, in their order. Items with the same answer name one."""
    completions: int
    """Completions in the row."""


@dataclass(frozen=True)
class Batch:
    """What one update takes."""

    forwards: tuple[Forward, ...]
    mismatched: tuple[Forward, ...] = ()
    """Forward passes of the items' mismatched items, where they have some."""

    @property
    def items(self) -> list[Item]:
        """All items of the update."""
        return [item for forward in self.forwards for item in forward.items]


class Collator:
    """Splits the items of an update into forward passes."""

    def __init__(self, settings: Training, pad_id: int) -> None:
        self.settings = settings
        self.pad_id = pad_id

    def __call__(self, items: Sequence[Item]) -> dict[str, Batch]:
        """The batch under one key: transformers' Trainer wants a mapping, and leaves what it does not know as it is."""
        split = self._padded if self.settings.engine == "padded" else self._packed
        others = [item.mismatched for item in items if item.mismatched is not None]
        return {"batch": Batch(tuple(split(items)), tuple(split(others)) if others else ())}

    def _packed(self, items: Sequence[Item]) -> list[Forward]:
        """One packed row for each forward pass, in which the items of a prompt share its group."""
        groups = [item.group for item in items]
        merged, places = (
            merge_groups(groups, self.settings.tokens) if self.settings.share_prompts else keep_groups(groups)
        )
        members: list[list[int]] = [[] for _ in merged]
        for index, (number, _) in enumerate(places):
            members[number].append(index)
        forwards = []
        for chosen in choose_rows(merged, self.settings.tokens):
            numbers: list[int] = []
            before = 0
            for number in chosen:
                numbers += (before + completion for index in members[number] for completion in places[index][1])
                before += len(merged[number].completions)
            held = tuple(items[index] for number in chosen for index in members[number])
            forwards.append(Forward(pack([merged[number] for number in chosen]), held, torch.tensor(numbers), before))
        return forwards

    def _padded(self, items: Sequence[Item]) -> list[Forward]:
        """A row for each completion of each item, nothing shared."""
        most = self.settings.max_tokens and self.settings.max_tokens // len(items[0].group.completions)
        forwards = []
        for start, stop in passes_within([item.group.longest for item in items], self.settings.micro_batch_size, most):
            part = tuple(items[start:stop])
            examples, trained = _examples([item.group for item in part])
            row = pad(examples, self.pad_id, trained)
            forwards.append(Forward(row, part, torch.arange(len(examples)), len(examples)))
        return forwards


@dataclass(frozen=True)
class CompletionSums:
    """What a forward pass gives for the completions of its items, in their order: n in all."""

    sums: torch.Tensor
    """[n] log-probabilities in fp64, summed over the tokens that count."""
    tokens: torch.Tensor
    """[n] numbers of these tokens."""
    prefixes: torch.Tensor | None = None
    """[n] sums over the first tokens, where these were asked for."""
    collisions: torch.Tensor | None = None
    """[n] sums of the log-probabilities that two draws are the same token, where these were asked for."""


def completion_sums(
    model: PreTrainedModel, forward: Forward, *, prefix: Sequence[int] | None = None, collide: bool = False
) -> CompletionSums:
    """Log-probabilities of the completions of a forward pass's items.

    Args:
        model: that computes; for a packed row it has been switched to packed attention.
        forward: on any device.
        prefix: [n] how many of its first tokens make a second sum.
        collide: whether the probabilities that a token is drawn twice are summed too.
    """
    logps, completion_of, collisions = _token_values(model, forward, collide)
    numbers = forward.numbers.to(logps.device)
    tokens = torch.bincount(completion_of, minlength=forward.completions)

    def summed(values: torch.Tensor) -> torch.Tensor:
        zeros = torch.zeros(forward.completions, dtype=torch.float64, device=logps.device)
        return zeros.index_add(0, completion_of, values.double())[numbers]

    second = None
    if prefix is not None:
        # A completion that several pairs share has a prefix of another length in each: a difference of running sums
        # gives all.
        running = torch.nn.functional.pad(logps.double().cumsum(0), (1, 0))
        first = (tokens.cumsum(0) - tokens)[numbers]
        second = running[first + torch.tensor(prefix, device=logps.device)] - running[first]
    twice = None if collisions is None else summed(collisions)
    return CompletionSums(summed(logps), tokens[numbers], second, twice)


def _token_values(
    model: PreTrainedModel, forward: Forward, collide: bool
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor | None]:
    """Of each token that counts its log-probability, its completion and, where it is asked for, log Σ_v π(v)²."""
    if isinstance(forward.row, PackedRow):
        row = forward.row.to(model.device)
        if collide:
            logps, collisions = token_logps_and_collisions(base_model(model), row)
            return logps, row.completion_of, collisions
        return token_logps(base_model(model), row), row.completion_of, None
    batch = {key: value.to(model.device) for key, value in forward.row.items()}
    if not collide:
        return *answer_token_logps(model, batch), None
    scores, targets, rows = answer_token_scores(model, batch)
    return scores.gather(1, targets.unsqueeze(1)).squeeze(1), rows, torch.logsumexp(2 * scores.detach(), dim=-1)


def all_sums(
    model: PreTrainedModel, groups: Sequence[PromptGroup], settings: Training, pad_id: int
) -> list[tuple[float, ...]]:
    """Log-probabilities of the completions of many groups under a model that is not being trained."""
    with autocast(model.device, settings):
        if settings.engine != "padded":
            return [tuple(sums) for sums in all_completion_logps(model, groups, settings.tokens)]
        size = None if settings.max_tokens else 2 * (settings.micro_batch_size or settings.batch_size)
        examples, trained = _examples(groups)
        found = iter(all_logps(model, examples, pad_id, size, trained, max_tokens=settings.max_tokens))
        return [tuple(next(found) for _ in group.completions) for group in groups]


def autocast(device: torch.device, settings: Updates) -> torch.autocast:
    """What passes compute in, whatever the weights are kept in."""
    half = torch.float16 if settings.computing == "float16" else torch.bfloat16
    return torch.autocast(device.type, dtype=half, enabled=settings.computing != "float32")


def batch_sums(
    model: PreTrainedModel, items: Sequence[Item], batches: Sequence[Sequence[Item]], settings: Training, pad_id: int
) -> list[tuple[float, ...]]:
    """Log-probabilities under a model that is not being trained, in the very passes in which a policy computes them.

    In half precision a number depends on what else is in its pass: by some 0.1 for an answer of a hundred tokens, of
    which the packing alone would make a reward. Computed in the same pass the reference is what the policy starts with.

    Args:
        model: in evaluation mode.
        items: of all batches.
        batches: which of the items each holds; together they hold all.
        settings: engine, split and precision count.
        pad_id: what is put behind a row of the padded engine.

    Returns:
        For each item the sums of its completions, those of its mismatched item, and of pairs the sums over the first
        min(|chosen|, |rejected|) tokens.
    """
    collate = Collator(settings, pad_id)
    found: dict[int, list[float]] = {}
    attention = packed(base_model(model)) if settings.engine != "padded" else nullcontext()
    with attention, torch.inference_mode(), autocast(model.device, settings):
        for members in batches:
            batch = collate(members)["batch"]
            for forward in (*batch.forwards, *batch.mismatched):
                each = len(forward.items[0].group.completions)
                prefix = [min(item.lengths) for item in forward.items for _ in range(each)] if each > 1 else None
                sums = completion_sums(model, forward, prefix=prefix)
                rows = [sums.sums] if sums.prefixes is None else [sums.sums, sums.prefixes]
                values = torch.stack([row.view(-1, each) for row in rows], 1).flatten(1)
                # By its group, which the copies of an item in a mixture have in common.
                found |= {id(item.group): of for item, of in zip(forward.items, values.tolist(), strict=True)}
    others = [[] if item.mismatched is None else found[id(item.mismatched.group)] for item in items]
    return [(*found[id(item.group)], *other) for item, other in zip(items, others, strict=True)]


def _examples(groups: Sequence[PromptGroup]) -> tuple[list[tuple[list[int], list[int]]], list[list[bool] | None]]:
    """Each completion with its prompt, and which of its tokens count."""
    examples = [(group.prompt, completion) for group in groups for completion in group.completions]
    trained = [marks for group in groups for marks in group.trained or [None] * len(group.completions)]
    return examples, trained


class Items(Dataset[Item]):
    """Items as a dataset.

    Args:
        items: in any order.
        shared: whether those of one prompt come one after the other.
        kept: whether a batch keeps its items in every epoch: as many neighbours as a batch has. The order of the
            batches changes all the same.
        by_source: whether an epoch goes through one source after the other.
    """

    def __init__(
        self, items: Sequence[Item], *, shared: bool = False, kept: bool = False, by_source: bool = False
    ) -> None:
        self.items = items
        self.lengths = [item.group.tokens for item in items]
        self.prompts = _prompts_of(items) if shared else list(range(len(items)))
        self.kept = kept
        self.stages = [item.source for item in items] if by_source else None

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Item:
        return self.items[index]


def _prompts_of(items: Sequence[Item]) -> list[int]:
    """A number for each prompt; a row that is repeated is not beside itself, but somewhere else in the epoch."""
    numbers: dict[tuple[int, int], int] = {}
    found = zip(prompt_numbers([item.group for item in items]), items, strict=True)
    return [numbers.setdefault((number, item.copy), len(numbers)) for number, item in found]


class LengthSampler(Sampler[int]):
    """Shuffles anew in each epoch, with rows of like length side by side, so that batches hold little padding.

    Prompts are shuffled with all their rows, cut into pools of about 32 batches, sorted by their longest row within a
    pool; the rows are cut into batches, and the batches are shuffled. A batch has exactly ``batch_size`` rows, so its
    border may divide a prompt's rows. The order depends on the seed and the epoch alone.

    Args:
        lengths: tokens of each row.
        batch_size: rows of a batch.
        seed: of the order.
        prompts: for each row the number of its prompt; None: each has one of its own.
        kept: whether batches are cut from the rows as they are.
        stages: for each row the number of its stage; an epoch goes through one stage after the other, and a batch that
            a stage does not fill is filled with rows of the next. None: all are one.
    """

    def __init__(
        self,
        lengths: Sequence[int],
        batch_size: int,
        seed: int,
        *,
        prompts: Sequence[int] | None = None,
        kept: bool = False,
        stages: Sequence[int] | None = None,
    ) -> None:
        self.lengths = lengths
        self.batch_size = batch_size
        self.seed = seed
        self.prompts = range(len(lengths)) if prompts is None else prompts
        self.kept = kept
        self.stages = stages
        self.epoch = 0

    @classmethod
    def of(cls, rows: Items, batch_size: int, seed: int) -> "LengthSampler":
        """The order of a dataset's rows."""
        return cls(rows.lengths, batch_size, seed, prompts=rows.prompts, kept=rows.kept, stages=rows.stages)

    def set_epoch(self, epoch: int) -> None:
        """Called by accelerate at the start of each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return len(self.lengths)

    def __iter__(self) -> Iterator[int]:
        generator = torch.Generator().manual_seed(self.seed * 1_000_003 + self.epoch)
        done = 0
        for stage in sorted(set(self.stages)) if self.stages else (0,):
            rows = [row for row, of in enumerate(self.stages) if of == stage] if self.stages else None
            yield from self._stage(rows, -done % self.batch_size, generator)
            done += len(self.lengths) if rows is None else len(rows)

    def _stage(self, rows: Sequence[int] | None, missing: int, generator: torch.Generator) -> Iterator[int]:
        """The rows of a stage, None for all, of which the first fill the batch that lacks so many."""
        rows = range(len(self.lengths)) if rows is None else rows
        if self.kept:
            batches = _cut(rows, self.batch_size, missing)
        else:
            lengths, prompts = ([values[row] for row in rows] for values in (self.lengths, self.prompts))
            found = batches_of(lengths, prompts, self.batch_size, generator, missing)
            batches = [[rows[place] for place in batch] for batch in found]
        # A last, smaller batch stays last: elsewhere it would shift the borders of all that follow.
        first = 1 if missing else 0
        whole = len(batches) - (bool(batches[first:]) and len(batches[-1]) != self.batch_size)
        shuffled = torch.randperm(whole - first, generator=generator).tolist()
        for index in [*range(first), *(first + place for place in shuffled), *range(whole, len(batches))]:
            yield from batches[index]

    def batches(self) -> list[list[int]]:
        """The batches of this epoch, in their order."""
        return _cut(list(self), self.batch_size)


def batches_of(
    lengths: Sequence[int], prompts: Sequence[int], batch_size: int, generator: torch.Generator, missing: int = 0
) -> list[list[int]]:
    """Divide rows into batches of like length, the rows of a prompt one after the other.

    Args:
        missing: rows of the first batch, where it goes on with another one; 0: it is as large as all.
    """
    rows: dict[int, list[int]] = {}
    for row, prompt in enumerate(prompts):
        rows.setdefault(prompt, []).append(row)
    units = list(rows.values())
    longest = [max(lengths[row] for row in unit) for unit in units]
    order: list[int] = []
    pool: list[int] = []
    size = 0
    for unit in torch.randperm(len(units), generator=generator).tolist():
        pool.append(unit)
        size += len(units[unit])
        if size >= 32 * batch_size:
            order += sorted(pool, key=longest.__getitem__)
            pool, size = [], 0
    order += sorted(pool, key=longest.__getitem__)
    return _cut([row for unit in order for row in units[unit]], batch_size, missing)


def _cut(rows: Sequence[int], size: int, missing: int = 0) -> list[list[int]]:
    """Rows in batches; the first one has ``missing`` rows where that is not 0."""
    first = [list(rows[:missing])] if missing else []
    return first + [list(rows[start : start + size]) for start in range(missing, len(rows), size)]


def encode_dialogues(encoder: Encoder, dialogues: Sequence[Dialogue]) -> list[Item]:
    """Tokenise dialogues; the tokens of all assistant turns behind a prompt count.

    An answer that the row itself leaves out of training (``weight: 0``, ``loss: false``, ``train: false``) does not
    count. A dialogue that cannot be encoded is put aside: see ``encode_fitting``.
    """

    def encode(part: Sequence[Dialogue]) -> list[Item]:
        lessons = [
            lesson_of(encoder, each.messages, each.extra.get("tools"), untrained=_untrained(each)) for each in part
        ]
        return [Item(group) for group in lesson_groups(encoder, lessons)]

    return encode_fitting(encoder, dialogues, encode)


def encode_pairs(encoder: Encoder, preferences: Sequence[Preference | Unpaired]) -> list[Item]:
    """Tokenise preferences. Of an answer of several turns the tokens of all assistant turns count.

    Leading turns that both answers have are part of the prompt (counted as ``shared-turns``). Where the answers part
    with another turn than the assistant's, what is compared are answers to two questions, and the pair is put aside
    (``prompt-mismatch``), as is one that cannot be encoded: see ``encode_fitting``.

    Raises:
        DataError: if there is an unpaired row among them.
    """
    pairs = [record for record in preferences if isinstance(record, Preference)]
    if len(pairs) < len(preferences):
        raise DataError(
            "this loss compares two answers, and an unpaired row has one; set the loss to kto or bco_unpaired, or "
            "train on pairs"
        )

    def encode(part: Sequence[Preference]) -> list[Item]:
        shared = [_with_one_prompt(encoder, pair) for pair in part]
        groups = _groups(encoder, [(pair.prompt, (pair.chosen, pair.rejected), _tools_of(pair)) for pair in shared])
        return [Item(group, score_margin=score_margin(pair)) for group, pair in zip(groups, part, strict=True)]

    return encode_fitting(encoder, pairs, encode)


def encode_rows(encoder: Encoder, records: Sequence[Preference | Unpaired], tally: Tally) -> list[Item]:
    """Tokenise unpaired rows; a preference becomes two of them, chosen first, behind the turns that both have.

    A row that cannot be encoded is put aside: see ``encode_fitting``.

    Args:
        tally: receives the preferences, of which those with two equal answers are dropped.
    """
    divide = unpaired()
    rows: list[Unpaired] = []
    for record in records:
        if isinstance(record, Unpaired):
            rows.append(record)
        else:
            rows += apply(divide, [_count_shared(encoder, record)], tally)

    def encode(part: Sequence[Unpaired]) -> list[Item]:
        groups = _groups(encoder, [(row.prompt, (row.answer,), _tools_of(row)) for row in part])
        return [Item(group, desirable=row.desirable) for group, row in zip(groups, part, strict=True)]

    return encode_fitting(encoder, rows, encode)


R = TypeVar("R", Dialogue, Preference, Unpaired)


def encode_fitting(encoder: Encoder, records: Sequence[R], encode: Callable[[Sequence[R]], list[Item]]) -> list[Item]:
    """Encode records; one that cannot be encoded is dropped, with its reason, in the encoder's tally."""

    def put_aside(record: R, error: UnfitError) -> list[Item]:
        where = f"{record.file}:{record.line}: " if record.file else ""
        encoder.tally.drop(record_id(record), error.reason, f"{where}{error}", at=record)
        return []

    items = by_halves(records, encode, UnfitError, put_aside, encoder.tally)
    encoder.tally.taken += len(records)
    encoder.tally.given += len(items)
    return items


_Sides = tuple[tuple[Message, ...], tuple[tuple[Message, ...], ...], object]


def _groups(encoder: Encoder, rows: Sequence[_Sides]) -> list[PromptGroup]:
    """Groups of prompts with their answers; those of one plain turn on each side go together, and fast."""
    plain = [_is_plain(encoder, *row) for row in rows]
    usual = [row for row, is_plain in zip(rows, plain, strict=True) if is_plain]
    encoded = iter(encoder.examples((prompt, encoder.said(side[0])) for prompt, sides, _ in usual for side in sides))
    groups = []
    for (prompt, sides, tools), is_plain in zip(rows, plain, strict=True):
        if is_plain:
            examples = [next(encoded) for _ in sides]
            groups.append(PromptGroup(examples[0][0], tuple(answer for _, answer in examples)))
            continue
        lessons = [lesson_of(encoder, (*prompt, *side), tools, first=len(prompt)) for side in sides]
        groups.append(_joined(lesson_groups(encoder, lessons)))
    return groups


def _count_shared(encoder: Encoder, pair: Preference) -> Preference:
    """``share_prompt``, counted."""
    shared = share_prompt(pair)
    if turns := len(shared.prompt) - len(pair.prompt):
        encoder.tally.count("shared-turns", turns)
    return shared


def _with_one_prompt(encoder: Encoder, pair: Preference) -> Preference:
    """A pair whose answers part with the assistant's turn.

    Raises:
        UnfitError: if they part with another one.
    """
    shared = _count_shared(encoder, pair)
    turns = shared.chosen[0].role, shared.rejected[0].role
    if turns != ("assistant", "assistant") and shared.chosen != shared.rejected:
        raise UnfitError(
            "prompt-mismatch",
            f"its answers part with a turn of the {turns[0]} and of the {turns[1]}, so that those behind it are "
            "answers to two questions; a loss of single rows (kto) takes them",
        )
    return shared


def _is_plain(
    encoder: Encoder, prompt: tuple[Message, ...], sides: tuple[tuple[Message, ...], ...], tools: object
) -> bool:
    """Whether each side is one turn, and nothing of the row needs more than role and content."""
    if any(len(side) != 1 for side in sides):
        return False
    turns = [*prompt, *(turn for side in sides for turn in side)]
    if tools is not None or any(turn.tool_calls or turn.role == "tool" for turn in turns):
        return False
    answers_think = any(side[0].reasoning for side in sides)
    return not any(turn.reasoning for turn in prompt) and (not answers_think or encoder.limits.reasoning == "drop")


def _joined(groups: Sequence[PromptGroup]) -> PromptGroup:
    """Groups of one prompt as one.

    Raises:
        UnfitError: if the template writes the prompt otherwise before each answer.
    """
    first = groups[0]
    if any(group.prompt != first.prompt for group in groups):
        raise UnfitError(
            "template-refuses",
            "the chat template writes the prompt, or the answers before the last, otherwise on each side",
        )
    completions = tuple(group.completions[0] for group in groups)
    if all(group.trained is None for group in groups):
        return PromptGroup(first.prompt, completions)
    marks = (group.trained[0] if group.trained else [True] * len(group.completions[0]) for group in groups)
    return PromptGroup(first.prompt, completions, tuple(marks))


def _tools_of(record: Preference | Unpaired) -> object:
    return record.extra.get("tools")


_WEIGHTS = ("weight", "loss", "train")
"""Fields of a message that leave it out of training where they are 0 or false: OpenAI's, ms-swift's and axolotl's."""


def _untrained(dialogue: Dialogue) -> frozenset[int]:
    """Places of the turns that the row itself leaves out of training."""
    raw = dialogue.extra.get("messages_as_read")
    if not isinstance(raw, list) or len(raw) != len(dialogue.messages):
        return frozenset()
    turns = enumerate(raw)
    return frozenset(n for n, turn in turns if isinstance(turn, dict) and any(turn.get(name) == 0 for name in _WEIGHTS))


def score_margin(preference: Preference) -> float | None:
    """Score of the chosen answer less that of the rejected one, or the margin that the row states; None without any."""
    a, b = preference.score_chosen, preference.score_rejected
    return preference.margin if a is None or b is None else a - b
