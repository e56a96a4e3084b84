"""Training of a classifier of answers: accepted and rejected rows in, what ``classifier:DIR#accepted`` reads out.

Owns the examples and their batches, the loss and the trainer. What a classifier starts from is that of a reward model
with two labels (``train.ranker``), and so is how a text is laid out (``rankers.reward``); what it is measured by is in
``classifier.quality``.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch.utils.data import Dataset
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from notus.core.errors import DataError
from notus.core.records import Unpaired
from notus.core.run import Run
from notus.core.stage import Tally, by_halves
from notus.engine.files.pretrained import no_bars
from notus.engine.load import device
from notus.engine.text.encoder import answer_text
from notus.engine.text.template import UnfitError, with_template
from notus.rankers.make import make_ranker
from notus.rankers.pairrm import batches
from notus.rankers.reward import RewardEncoder, load_head
from notus.rankers.settings import Ranking
from notus.train.classifier.quality import Classified
from notus.train.moments import Every
from notus.train.ranker import pad_beside_the_end, start_ranker
from notus.train.ranker_settings import RankerTraining
from notus.train.run.fit import fit, training_arguments
from notus.train.run.trial import Saving, check_ids, check_training_memory, try_backward, try_saving
from notus.train.trainer import PassMetrics, UpdateTrainer

__all__ = [
    "LABELS",
    "ClassifierTrainer",
    "Labelled",
    "LabelledBatch",
    "LabelledCollator",
    "LabelledItems",
    "LabelledRows",
    "answer_texts",
    "classify_rows",
    "train_classifier",
]

LABELS = ("rejected", "accepted")
"""The labels of a classifier that is trained here; the number of each is its place."""


@dataclass(frozen=True)
class Labelled:
    """An answer behind its prompt, with its label."""

    ids: list[int]
    label: int

    @property
    def tokens(self) -> int:
        """Its length."""
        return len(self.ids)


@dataclass(frozen=True)
class LabelledRows:
    """What one forward pass takes."""

    row: dict[str, torch.Tensor]
    """``input_ids`` and ``attention_mask`` [B, T]."""
    items: tuple[Labelled, ...]


@dataclass(frozen=True)
class LabelledBatch:
    """What one update takes."""

    forwards: tuple[LabelledRows, ...]

    @property
    def items(self) -> list[Labelled]:
        """All items of the update."""
        return [item for forward in self.forwards for item in forward.items]


class LabelledItems(Dataset[Labelled]):
    """Items as a dataset, with what ``LengthSampler`` wants to know of them."""

    def __init__(self, items: Sequence[Labelled]) -> None:
        self.items = items
        self.lengths = [item.tokens for item in items]
        self.prompts = list(range(len(items)))
        self.kept = False
        self.stages = None

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Labelled:
        return self.items[index]


class LabelledCollator:
    """Splits the items of an update into forward passes of like length, within a budget of tokens."""

    def __init__(self, max_tokens: int, pad_id: int) -> None:
        self.max_tokens = max_tokens
        self.pad_id = pad_id

    def __call__(self, items: Sequence[Labelled]) -> dict[str, LabelledBatch]:
        """The batch under one key, as transformers' Trainer wants it."""
        chosen = batches([item.tokens for item in items], self.max_tokens, most_padding=1.0)
        return {"batch": LabelledBatch(tuple(self._padded([items[index] for index in batch]) for batch in chosen))}

    def _padded(self, items: list[Labelled]) -> LabelledRows:
        longest = max(item.tokens for item in items)
        ids = torch.tensor([item.ids + [self.pad_id] * (longest - item.tokens) for item in items])
        mask = torch.tensor([[1] * item.tokens + [0] * (longest - item.tokens) for item in items])
        return LabelledRows({"input_ids": ids, "attention_mask": mask}, tuple(items))


class ClassifierTrainer(UpdateTrainer):
    """Trains a classifier by the cross-entropy −log P(label). Logs the accuracy; a tie counts ½."""

    accuracy = "accuracies"
    unit: ClassVar[str] = "answers"

    def weight_of(self, items: Sequence[Any]) -> int:
        """Answers."""
        return len(items)

    def forward_losses(self, model: PreTrainedModel, forward: Any) -> tuple[torch.Tensor, PassMetrics]:
        """The cross-entropy of each answer, natural logarithm."""
        with self.autocast():
            logits = _logits(model, forward).double()
        labels = torch.tensor([item.label for item in forward.items], device=logits.device)
        apart = logits.detach()[:, 1] - logits.detach()[:, 0]
        right = ((apart > 0) == (labels == 1)).double() * (apart != 0) + 0.5 * (apart == 0)
        losses = torch.nn.functional.cross_entropy(logits, labels, reduction="none")
        return losses, {"accuracies": (right, len(forward.items))}


def train_classifier(
    run: Run,
    config: RankerTraining,
    *,
    start: str | None,
    rows: Sequence[Unpaired],
    held_out: Sequence[Unpaired],
    seed: int,
    resume_from: Path | None = None,
) -> Path:
    """Train a classifier on answers that are accepted or rejected.

    Args:
        start: folder or hub id of a language model, an encoder, or a classifier with the same labels; None makes a
            small one with random weights.
        rows: each answer one assistant turn.
        held_out: rows to evaluate on; may be empty.
        resume_from: checkpoint or run directory of another training, which this one goes on from.

    Returns:
        The folder of the trained classifier, inside the run.

    Raises:
        DataError: if there is nothing to train on, or all rows have the same label.
        ConfigError: if there is no such model, or it cannot become such a classifier.
    """
    if not rows:
        raise DataError("there is no answer to train a classifier on")
    accepted = sum(row.desirable for row in rows)
    if accepted in (0, len(rows)):
        what = "accepted" if accepted else "rejected"
        raise DataError(f"all {len(rows):,} rows to train on are {what}; a classifier needs both")
    model, tokenizer = start_ranker(config, start, answer_texts(rows), seed, labels=LABELS)
    tokenizer = with_template(tokenizer, config.limits)
    pad_beside_the_end(model, tokenizer, config)
    encoder = RewardEncoder(tokenizer, config.limits, run.tally("encode", "parts"))
    fitting = run.tally("form")
    items, held = (_encode_fitting(encoder, part, fitting) for part in (rows, held_out))
    run.check_losses()
    if not items:
        raise run.refuse_losses(f"none of {len(rows):,} rows can be trained on")
    collate = LabelledCollator(config.max_tokens, int(tokenizer.pad_token_id))
    _try(run, config, model, tokenizer, collate, items, start)
    trainer = ClassifierTrainer(
        model=model,
        args=training_arguments(run, config, seed),
        train_dataset=LabelledItems(items),
        data_collator=collate,
        processing_class=tokenizer,
    )
    fit(run, trainer, config, held, resume_from)
    run.note(form=config.form, parameters=model.num_parameters(), labels=list(LABELS), accepted=accepted)
    path = run.path / "model"
    _save(trainer.model, tokenizer, path)
    return path


def classify_rows(config: RankerTraining, path: Path, rows: Sequence[Unpaired], tally: Tally) -> list[Classified]:
    """What a saved classifier makes of rows, read and asked as any ranker is; what its form cannot hold is left out."""
    settings = Ranking(max_tokens=config.max_tokens, limits=config.limits)
    ranker = make_ranker(f"classifier:{path}#{LABELS[1]}", settings, tally=tally)
    answers = [answer_text(row.answer) for row in rows]
    scores = ranker.rank([row.prompt for row in rows], [[answer] for answer in answers])
    return [
        Classified(row.prompt_id, score, row.desirable, len(answer), row.id, row.file, row.line)
        for row, answer, (score,) in zip(rows, answers, scores, strict=True)
        if score is not None
    ]


def _encode_fitting(encoder: RewardEncoder, rows: Sequence[Unpaired], tally: Tally) -> list[Labelled]:
    """Encode the rows that the form can hold; the others are dropped, with the reason."""

    def work(part: Sequence[Unpaired]) -> list[Labelled]:
        ids = encoder.examples([(row.prompt, answer_text(row.answer)) for row in part]) if part else []
        return [Labelled(of, int(row.desirable)) for of, row in zip(ids, part, strict=True)]

    def put_aside(row: Unpaired, error: UnfitError) -> list[Labelled]:
        tally.drop(row.id, error.reason, str(error), at=row)
        return []

    tally.taken += len(rows)
    items = by_halves(rows, work, UnfitError, put_aside, tally) if rows else []
    tally.given += len(items)
    return items


def _try(
    run: Run,
    config: RankerTraining,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    collate: LabelledCollator,
    items: Sequence[Labelled],
    start: str | None,
) -> None:
    """Try the longest examples forward and backward, and the saving and loading: see ``run.trial``."""
    name = start or "the model that is made"
    check_ids(model, tokenizer, (item.ids for item in items), name)
    batch = collate(sorted(items, key=lambda item: -item.tokens)[: config.batch_size])["batch"]
    largest = max(batch.forwards, key=lambda forward: forward.row["input_ids"].numel())
    model.to(device())
    check_training_memory(model, name)

    def loss(tried: PreTrainedModel) -> torch.Tensor:
        with torch.autocast(tried.device.type, dtype=torch.bfloat16, enabled=config.precision == "bfloat16"):
            return -torch.nn.functional.log_softmax(_logits(tried, largest), dim=-1)[:, 1].mean()

    try_backward(model, loss, name, checkpointing=config.activation_checkpointing)
    try_saving(
        run,
        Saving(
            model,
            tokenizer,
            name,
            save=lambda folder: _save(model, tokenizer, folder),
            load=lambda folder: load_head(folder, "a classifier"),
            answer=lambda tried: _logits(tried, largest),
            checkpoints=0 if Every.read(config.save_every).unit == "never" else 2,
        ),
    )


def _logits(model: PreTrainedModel, forward: LabelledRows) -> torch.Tensor:
    """Of each label [n, 2]."""
    found: torch.Tensor = model(**{key: value.to(model.device) for key, value in forward.row.items()}).logits.float()
    return found


def answer_texts(rows: Sequence[Unpaired]) -> list[str]:
    """The texts of rows, of which the tokenizer of a classifier is made that starts from nothing."""
    return [turn.content for row in rows for turn in (*row.prompt, *row.answer)]


def _save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, path: Path) -> None:
    with no_bars():
        model.save_pretrained(path)
        tokenizer.save_pretrained(path)
