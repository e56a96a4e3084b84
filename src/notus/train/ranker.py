"""Training of a ranker: preferences in, a folder out that ``rankers.make.make_ranker`` reads.

Owns the examples and their batches, what a ranker starts from (a language model or an encoder with a fresh head, or
small random weights), the loss and the trainer. How a text is laid out is owned by ``rankers.reward`` and
``rankers.pairrm``, so that a ranker is trained on what it will read; what it is measured by is in ``ranker_quality``.
"""

import random
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

import torch
from torch.utils.data import Dataset
from transformers import AutoModelForSequenceClassification, PreTrainedModel, PreTrainedTokenizerBase

from notus.core.errors import ConfigError, DataError
from notus.core.records import Message, Preference
from notus.core.run import Run
from notus.core.stage import Tally, by_halves
from notus.engine.bases import is_adapter
from notus.engine.files.folder import read_headers
from notus.engine.files.pretrained import build_from_config, no_bars, read_weights
from notus.engine.files.sound import check_mismatched, check_sound
from notus.engine.load import build_model, device, read_tokenizer, train_tokenizer
from notus.engine.settings import Shape
from notus.engine.text.encoder import answer_text
from notus.engine.text.template import UnfitError, with_template
from notus.rankers.labels import read_labels
from notus.rankers.make import make_ranker
from notus.rankers.pairrm import (
    EncodedPair,
    PairEncoder,
    PairRM,
    batches,
    budget_of,
    build_pairrm,
    collate,
    load_pairrm,
    pairrm_tokenizer,
    start_pairrm,
    train_pair_tokenizer,
)
from notus.rankers.reward import RewardEncoder, load_reward_model
from notus.rankers.settings import EncoderShape, Ranking
from notus.train.batches import score_margin
from notus.train.moments import Every
from notus.train.ranker_quality import Judged
from notus.train.ranker_settings import RankerTraining
from notus.train.run.fit import fit, training_arguments
from notus.train.run.trial import Saving, check_ids, check_training_memory, try_backward, try_saving
from notus.train.trainer import PassMetrics, UpdateTrainer

__all__ = [
    "Compared",
    "ComparedBatch",
    "ComparedCollator",
    "ComparedItems",
    "ComparedRows",
    "RankerTrainer",
    "encode_compared",
    "judge_pairs",
    "pad_beside_the_end",
    "pair_texts",
    "preference_loss",
    "ranker_tokenizer",
    "start_ranker",
    "train_ranker",
]


@dataclass(frozen=True)
class Compared:
    """A chosen and a rejected answer as a ranker reads them."""

    rows: tuple[list[int], list[int]] | EncodedPair
    """Token ids of both conversations, the chosen one first; or the joint text of a pair."""
    sign: float = 1.0
    """−1 where the rejected answer stands first in a joint text."""
    score_margin: float = 0.0
    """Score of chosen less that of rejected, in the units of the data; 0 where one is not known."""

    @property
    def tokens(self) -> int:
        """Tokens of the longer row."""
        return len(self.rows) if isinstance(self.rows, EncodedPair) else max(map(len, self.rows))


@dataclass(frozen=True)
class ComparedRows:
    """What one forward pass takes."""

    row: dict[str, torch.Tensor]
    """``input_ids`` and ``attention_mask`` [B, T], and ``marks`` [B, 3] where the rows are joint texts."""
    items: tuple[Compared, ...]


@dataclass(frozen=True)
class ComparedBatch:
    """What one update takes."""

    forwards: tuple[ComparedRows, ...]

    @property
    def items(self) -> list[Compared]:
        """All items of the update."""
        return [item for forward in self.forwards for item in forward.items]


class ComparedItems(Dataset[Compared]):
    """Items as a dataset, with what ``LengthSampler`` wants to know of them."""

    def __init__(self, items: Sequence[Compared]) -> None:
        self.items = items
        self.lengths = [item.tokens for item in items]
        self.prompts = list(range(len(items)))
        self.kept = False
        self.stages = None

    def __len__(self) -> int:
        return len(self.items)

    def __getitem__(self, index: int) -> Compared:
        return self.items[index]


class ComparedCollator:
    """Splits the items of an update into forward passes of like length, within a budget of tokens."""

    def __init__(self, max_tokens: int, pad_id: int) -> None:
        self.max_tokens = max_tokens
        self.pad_id = pad_id

    def __call__(self, items: Sequence[Compared]) -> dict[str, ComparedBatch]:
        """The batch under one key, as transformers' Trainer wants it."""
        wide = 1 if isinstance(items[0].rows, EncodedPair) else 2
        # Padding costs less than many small passes while weights are updated, so it is not limited here.
        chosen = batches([item.tokens for item in items], max(1, self.max_tokens // wide), most_padding=1.0)
        return {"batch": ComparedBatch(tuple(self._padded([items[index] for index in batch]) for batch in chosen))}

    def _padded(self, items: list[Compared]) -> ComparedRows:
        joint = [item.rows for item in items if isinstance(item.rows, EncodedPair)]
        if joint:
            return ComparedRows(collate(joint, self.pad_id), tuple(items))
        rows = [row for item in items if not isinstance(item.rows, EncodedPair) for row in item.rows]
        longest = max(map(len, rows))
        ids = torch.tensor([row + [self.pad_id] * (longest - len(row)) for row in rows])
        mask = torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows])
        return ComparedRows({"input_ids": ids, "attention_mask": mask}, tuple(items))


def encode_compared(
    config: RankerTraining, tokenizer: PreTrainedTokenizerBase, tally: Tally, seed: int
) -> Callable[[Sequence[Preference], bool], list[Compared]]:
    """What encodes preferences for a form of ranker, in two arguments: the preferences, and whether to train on them.

    A joint text is learnt in both orders, or in one that the seed draws; it is held out in both, so that a position
    that the ranker prefers counts against it.
    """
    if config.form == "reward-model":
        reader = RewardEncoder(tokenizer, config.limits, tally)
        return lambda pairs, _: _encode_separately(reader, pairs)
    together = PairEncoder(tokenizer, config.budget, tally)
    both = config.both_orders is not False
    return lambda pairs, training: _encode_jointly(together, pairs, both=both or not training, seed=seed)


def _encode_fitting(
    encode: Callable[[Sequence[Preference], bool], list[Compared]],
    pairs: Sequence[Preference],
    training: bool,
    tally: Tally,
) -> list[Compared]:
    """Encode the pairs that the ranker's form can hold; the others are dropped, with the reason."""

    def fits(part: Sequence[Preference]) -> list[Preference]:
        encode(part, training)
        return [*part]

    def put_aside(pair: Preference, error: UnfitError) -> list[Preference]:
        tally.drop(pair.id, error.reason, str(error), at=pair)
        return []

    tally.taken += len(pairs)
    try:
        items, kept = encode(pairs, training), len(pairs)
    except UnfitError:
        fitting = by_halves(pairs, fits, UnfitError, put_aside, tally)
        items, kept = encode(fitting, training), len(fitting)
    tally.given += kept
    return items


def _encode_separately(encoder: RewardEncoder, pairs: Sequence[Preference]) -> list[Compared]:
    texts = [(pair.prompt, answer_text(side)) for pair in pairs for side in (pair.chosen, pair.rejected)]
    ids = encoder.examples(texts) if texts else []
    rows = zip(ids[::2], ids[1::2], strict=True)
    return [Compared(row, score_margin=score_margin(pair) or 0.0) for pair, row in zip(pairs, rows, strict=True)]


def _encode_jointly(encoder: PairEncoder, pairs: Sequence[Preference], *, both: bool, seed: int) -> list[Compared]:
    drawn = random.Random(seed)
    orders = [(True, False) if both else (drawn.random() < 0.5,) for _ in pairs]
    placed = [(pair, first) for pair, firsts in zip(pairs, orders, strict=True) for first in firsts]
    triples = []
    for pair, first in placed:
        chosen, rejected = answer_text(pair.chosen), answer_text(pair.rejected)
        triples.append((pair.prompt, *((chosen, rejected) if first else (rejected, chosen))))
    encoded = encoder.encode(triples)
    return [
        Compared(text, 1.0 if first else -1.0, score_margin(pair) or 0.0)
        for text, (pair, first) in zip(encoded, placed, strict=True)
    ]


Loaded = tuple[PreTrainedModel, PreTrainedTokenizerBase]
_VOCABULARY = 2_000
_HEADS = ("score.", "classifier.", "pooler.")
"""Where transformers puts what a language model lacks that is to become a scalar reward model."""


def start_ranker(
    config: RankerTraining, start: str | None, texts: Iterable[str], seed: int, *, labels: Sequence[str] = ()
) -> Loaded:
    """A ranker to be trained, in fp32 on the CPU, with its tokenizer.

    Args:
        config: says which form, and of what size where there is nothing to start from.
        start: folder or hub id of a language model, of an encoder, or of a ranker of the same form; None makes a
            small one with random weights.
        texts: corpus of the tokenizer of one that is made.
        seed: draws the weights that are new.
        labels: of a classifier; empty for a ranker that gives one score.

    Raises:
        ConfigError: if there is no such model, or it cannot become such a ranker.
    """
    if start is None:
        return _build_ranker(config, texts, seed, labels)
    if is_adapter(start):
        raise ConfigError(f"{start!r} is an adapter, and a ranker needs a plain model; merge it first: notus merge")
    if config.form != "pairrm":
        return _reward_model(start, seed, labels)
    if _is_pairrm(start):
        model, tokenizer = load_pairrm(start)
        return model.cpu(), tokenizer
    return start_pairrm(start, seed)


def ranker_tokenizer(config: RankerTraining, start: str | None, texts: Iterable[str]) -> PreTrainedTokenizerBase:
    """The tokenizer of ``start_ranker``, without the weights.

    Args:
        config: says which form.
        start: as for ``start_ranker``.
        texts: make the tokenizer of a ranker that is made.
    """
    if start is None:
        return _made_tokenizer(config, texts)
    if config.form == "pairrm":
        return pairrm_tokenizer(start, fresh=not _is_pairrm(start))
    return read_tokenizer(start)


def _made_tokenizer(config: RankerTraining, texts: Iterable[str]) -> PreTrainedTokenizerBase:
    if config.form == "pairrm":
        return train_pair_tokenizer(texts, config.vocabulary or _VOCABULARY)
    return train_tokenizer(texts, config.shape.vocabulary if config.shape else _VOCABULARY)


def _build_ranker(config: RankerTraining, texts: Iterable[str], seed: int, labels: Sequence[str]) -> Loaded:
    if config.form == "pairrm":
        tokenizer = _made_tokenizer(config, texts)
        return build_pairrm(config.encoder or EncoderShape(), tokenizer, seed), tokenizer
    shape = config.shape or Shape(vocabulary=_VOCABULARY, positions=max(1024, config.limits.max_length))
    if shape.positions < config.limits.max_length:
        raise ConfigError(f"limits.max_length {config.limits.max_length} is above shape.positions {shape.positions}")
    tokenizer = _made_tokenizer(config, texts)
    made = build_model(shape, tokenizer, seed).config
    made.num_labels = len(labels) or 1
    for name, value in _named(labels).items():
        setattr(made, name, value)
    torch.manual_seed(seed)
    return build_from_config(AutoModelForSequenceClassification, made, "the shape"), tokenizer


def _is_pairrm(start: str) -> bool:
    """Whether a folder or a hub id holds a PairRM of either layout, and not a plain encoder."""
    path = Path(start) / "config.json"
    named = path.is_file() and '"PairRM"' in path.read_text(encoding="utf-8")
    return named or budget_of(start) is not None


def _named(labels: Sequence[str]) -> dict[str, Any]:
    """The names of labels as a model's settings have them; nothing for a reward model."""
    if not labels:
        return {}
    return {"id2label": dict(enumerate(labels)), "label2id": {name: number for number, name in enumerate(labels)}}


def _reward_model(start: str, seed: int, labels: Sequence[str]) -> Loaded:
    kind, has = ("classifier", f"the labels {', '.join(labels)}") if labels else ("reward model", "one label")
    torch.manual_seed(seed)  # the head is drawn while the model is loaded
    known = read_labels(start)
    model, loaded = read_weights(
        AutoModelForSequenceClassification,
        start,
        f"a {kind}",
        num_labels=len(labels) or 1,
        dtype=torch.float32,
        **_named(labels),
    )
    stored = read_headers(Path(start)) if Path(start).exists() else {}
    has_head = not any(str(key).startswith(_HEADS) for key in loaded["missing_keys"])
    others = bool(labels) and has_head and known is not None and known != tuple(labels)
    if others or any(str(name).startswith(_HEADS) for name, *_ in loaded["mismatched_keys"]):
        raise ConfigError(
            f"the weights in {start!r} do not fit a {kind}, which has {has}; take a language model, or a {kind} with "
            "the same"
        )
    check_mismatched(loaded, start, stored)
    lost = sorted(key for key in loaded["missing_keys"] if not key.startswith(_HEADS))
    if lost:
        raise ConfigError(f"the model in {start!r} lacks {len(lost)} weights, the first is {lost[0]}; get it anew")
    check_sound(model.eval(), loaded, start, stored, f"a {kind}")
    return model, read_tokenizer(start)


def pad_beside_the_end(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, config: RankerTraining) -> None:
    """Name a padding token that no text ends in, in the model and its tokenizer.

    transformers takes the score at the last token that is no padding: where the end of a turn pads, that is one before.
    """
    (ids,) = RewardEncoder(tokenizer, config.limits).examples([((Message(role="user", content="a"),), "a")])
    if tokenizer.pad_token_id in (None, ids[-1]):
        others = (tokenizer.unk_token, tokenizer.bos_token, tokenizer.eos_token)
        found = (token for token in others if token and tokenizer.convert_tokens_to_ids(token) != ids[-1])
        tokenizer.pad_token = next(found, tokenizer.pad_token)
    model.config.get_text_config().pad_token_id = tokenizer.pad_token_id


def preference_loss(logits: torch.Tensor, score_margins: torch.Tensor, weight: float = 0.0) -> torch.Tensor:
    """The loss of Bradley and Terry, with a margin where one is asked for, for each pair::

        −log σ(Δ − w·m)

    Source: Ouyang et al. 2022, equation 1 (https://arxiv.org/abs/2203.02155); the margin is that of Touvron et al.
    2023, equation 2 (https://arxiv.org/abs/2307.09288), with m the difference of the two scores.

    Args:
        logits: [n] Δ: r(chosen) − r(rejected), or PairRM's logit with the sign of the order of its answers.
        score_margins: [n] m.
        weight: w.

    Returns:
        [n], natural logarithm.
    """
    return -torch.nn.functional.logsigmoid(logits - weight * score_margins)


class RankerTrainer(UpdateTrainer):
    """Trains a scalar reward model or a PairRM. Logs the margins and the accuracy; a tie counts ½."""

    accuracy = "accuracies"
    unit: ClassVar[str] = "pairs"

    def __init__(self, *, margin: float, **options: Any) -> None:
        super().__init__(**options)
        self.margin = margin

    def weight_of(self, items: Sequence[Any]) -> int:
        """Examples: pairs, or pairs in one order."""
        return len(items)

    def forward_losses(self, model: PreTrainedModel, forward: Any) -> tuple[torch.Tensor, PassMetrics]:
        """``preference_loss`` of each example."""
        with self.autocast():
            logits = _logits(model, forward).double()
        margins = torch.tensor([item.score_margin for item in forward.items], dtype=torch.float64, device=logits.device)
        right = (logits > 0).double() + 0.5 * (logits == 0).double()
        count = len(forward.items)
        metrics = {"margins": (logits, count), "accuracies": (right, count)}
        return preference_loss(logits, margins, self.margin), metrics


def train_ranker(
    run: Run,
    config: RankerTraining,
    *,
    start: str | None,
    preferences: Sequence[Preference],
    held_out: Sequence[Preference],
    seed: int,
    resume_from: Path | None = None,
) -> Path:
    """Train a ranker on preferences.

    Args:
        start: folder or hub id to start from; None makes a small one with random weights.
        preferences: pairs, each answer one assistant turn.
        held_out: pairs to evaluate on; may be empty.
        resume_from: checkpoint or run directory of another training, which this one goes on from.

    Returns:
        The folder of the trained ranker, inside the run.

    Raises:
        DataError: if there is nothing to train on, or a margin is asked for and a pair has no scores.
        ConfigError: if there is no such model, or it cannot become such a ranker.
    """
    if not preferences:
        raise DataError("there is no preference to train a ranker on")
    if config.margin:
        _check_scores([*preferences, *held_out])
    model, tokenizer = start_ranker(config, start, pair_texts(preferences), seed)
    if config.form == "reward-model":
        tokenizer = with_template(tokenizer, config.limits)
        pad_beside_the_end(model, tokenizer, config)
    encode = encode_compared(config, tokenizer, run.tally("encode", "parts"), seed)
    fitting = run.tally("form")
    items, held = (_encode_fitting(encode, part, part is preferences, fitting) for part in (preferences, held_out))
    run.check_losses()
    if not items:
        raise run.refuse_losses(f"none of {len(preferences):,} pairs can be trained on")
    collate = ComparedCollator(config.max_tokens, tokenizer.pad_token_id)
    _try(run, config, model, tokenizer, collate, items, start)
    trainer = RankerTrainer(
        margin=config.margin,
        model=model,
        args=training_arguments(run, config, seed),
        train_dataset=ComparedItems(items),
        data_collator=collate,
        processing_class=tokenizer,
    )
    fit(run, trainer, config, held, resume_from)
    run.note(form=config.form, parameters=model.num_parameters())
    path = run.path / "model"
    _save(trainer.model, tokenizer, config, path)
    return path


def _try(
    run: Run,
    config: RankerTraining,
    model: PreTrainedModel,
    tokenizer: PreTrainedTokenizerBase,
    collate: ComparedCollator,
    items: Sequence[Compared],
    start: str | None,
) -> None:
    """Try the longest examples forward and backward, and the saving and loading of the ranker: see ``run.trial``."""
    if not items:
        return
    name = start or "the model that is made"
    ids = (row for item in items for row in ([item.rows.ids] if isinstance(item.rows, EncodedPair) else item.rows))
    check_ids(model, tokenizer, ids, name)
    batch = collate(sorted(items, key=lambda item: -item.tokens)[: config.batch_size])["batch"]
    largest = max(batch.forwards, key=lambda forward: forward.row["input_ids"].numel())
    model.to(device())
    check_training_memory(model, name)

    def loss(tried: PreTrainedModel) -> torch.Tensor:
        with torch.autocast(tried.device.type, dtype=torch.bfloat16, enabled=config.precision == "bfloat16"):
            return -torch.nn.functional.logsigmoid(_logits(tried, largest)).mean()

    def load(folder: str) -> Loaded:
        return load_pairrm(folder) if config.form == "pairrm" else load_reward_model(folder)

    try_backward(model, loss, name, checkpointing=config.activation_checkpointing)
    try_saving(
        run,
        Saving(
            model,
            tokenizer,
            name,
            save=lambda folder: _save(model, tokenizer, config, folder),
            load=load,
            answer=lambda tried: _logits(tried, largest),
            checkpoints=0 if Every.read(config.save_every).unit == "never" else 2,
        ),
    )


def judge_pairs(config: RankerTraining, path: Path, pairs: Sequence[Preference], tally: Tally) -> list[Judged]:
    """What a saved ranker makes of pairs, read and asked as any ranker is.

    The logit that chosen is better is r(chosen) − r(rejected) for a scalar model, and the mean of both orders,
    (M_cr − M_rc)/2, for PairRM, whose two scores lie twice as far apart.
    """
    settings = Ranking(max_tokens=config.max_tokens, limits=config.limits, budget=config.budget)
    ranker = make_ranker(f"{config.form}:{path}", settings, tally=tally)
    answers = [(answer_text(pair.chosen), answer_text(pair.rejected)) for pair in pairs]
    scores = ranker.rank([pair.prompt for pair in pairs], answers)
    unit = 1.0 if config.form == "reward-model" else 0.5
    judged = []
    for pair, texts, (chosen, rejected) in zip(pairs, answers, scores, strict=True):
        if chosen is None or rejected is None:
            continue  # its form cannot hold the prompt, which the tally tells
        logit, place = unit * (chosen - rejected), (pair.id, pair.file, pair.line)
        judged.append(Judged(pair.prompt_id, logit, len(texts[0]), len(texts[1]), *place))
    return judged


def _logits(model: PreTrainedModel, forward: ComparedRows) -> torch.Tensor:
    """Δ of each example [n]."""
    row = {key: value.to(model.device) for key, value in forward.row.items()}
    if "marks" in row:
        signs = torch.tensor([item.sign for item in forward.items], device=model.device)
        return model(**row) * signs
    rewards = model(**row).logits.float().squeeze(-1)
    return rewards[0::2] - rewards[1::2]


def pair_texts(preferences: Sequence[Preference]) -> list[str]:
    """The texts of pairs, of which the tokenizer of a ranker is made that starts from nothing."""
    turns = (turn for pair in preferences for turn in (*pair.prompt, *pair.chosen, *pair.rejected))
    return [turn.content for turn in turns]


def _check_scores(pairs: Sequence[Preference]) -> None:
    without = sum(score_margin(pair) is None for pair in pairs)
    if without:
        raise DataError(
            f"a margin needs the scores of both answers, and {without:,} of {len(pairs):,} pairs have none; "
            "set margin to 0"
        )


def _save(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, config: RankerTraining, path: Path) -> None:
    if isinstance(model, PairRM):
        # Read again by ``budget_of``: a ranker reads as much of a text as it was trained on.
        model.config.source_maxlength = config.budget.source
        model.config.candidate_maxlength = config.budget.candidate
    with no_bars():
        model.save_pretrained(path)
        tokenizer.save_pretrained(path)
