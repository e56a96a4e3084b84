"""Training of a ranker: preferences in, a folder out that ``models.ranker.make_ranker`` reads.

Owns the loss, the trainer and the assembly. What a ranker is measured by on held-out pairs is in ``ranker_quality``.
"""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import torch
from transformers import PreTrainedModel, PreTrainedTokenizerBase

from notus.core.errors import DataError
from notus.core.records import Preference
from notus.core.run import Run
from notus.core.stage import Tally
from notus.models.pairrm import PairRM
from notus.models.pretrained import no_bars
from notus.models.ranker import make_ranker
from notus.models.ranker_settings import Ranking
from notus.models.tokens import answer_text
from notus.train.ranker_items import ComparedCollator, ComparedItems, ComparedRows, encode_compared
from notus.train.ranker_quality import Judged
from notus.train.ranker_settings import RankerTraining
from notus.train.ranker_start import start_ranker
from notus.train.runs import fit, training_arguments
from notus.train.trainer import Metrics, Told, UpdateTrainer

__all__ = ["RankerTrainer", "judge_pairs", "preference_loss", "train_ranker"]


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

    def __init__(self, *, margin: float, **options: Any) -> None:
        super().__init__(**options)
        self.margin = margin

    def weight_of(self, items: Sequence[Any]) -> int:
        """Examples: pairs, or pairs in one order."""
        return len(items)

    def summed_loss(self, model: PreTrainedModel, forward: Any) -> tuple[torch.Tensor, Told]:
        """Σ over examples of ``preference_loss``."""
        with self.autocast():
            logits = _logits(model, forward).double()
        margins = torch.tensor([item.score_margin for item in forward.items], dtype=torch.float64, device=logits.device)
        right = (logits > 0).double() + 0.5 * (logits == 0).double()
        count = len(forward.items)
        told = {"margins": (logits, count), "accuracies": (right, count)}
        return preference_loss(logits, margins, self.margin).sum(), told


def train_ranker(
    run: Run,
    config: RankerTraining,
    *,
    start: str | None,
    preferences: Sequence[Preference],
    held_out: Sequence[Preference],
    seed: int,
) -> Path:
    """Train a ranker on preferences.

    Args:
        start: folder or hub id to start from; None makes a small one with random weights.
        preferences: pairs, each answer one assistant turn.
        held_out: pairs to evaluate on at the end; may be empty.

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
    model, tokenizer = start_ranker(config, start, _texts(preferences), seed)
    encode = encode_compared(config, tokenizer, run.tally("encode"), seed)
    trainer = RankerTrainer(
        margin=config.margin,
        model=model,
        args=training_arguments(run, config, seed),
        train_dataset=ComparedItems(encode(preferences, True)),
        data_collator=ComparedCollator(config.max_tokens, tokenizer.pad_token_id),
        processing_class=tokenizer,
        callbacks=[Metrics(run)],
    )
    fit(run, trainer, encode(held_out, False))
    run.note(form=config.form, parameters=model.num_parameters())
    path = run.path / "model"
    _save(trainer.model, tokenizer, config, path)
    return path


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
        assert chosen is not None, "a model scores every answer"
        assert rejected is not None, "a model scores every answer"
        judged.append(Judged(pair.prompt_id, unit * (chosen - rejected), len(texts[0]), len(texts[1])))
    return judged


def _logits(model: PreTrainedModel, forward: ComparedRows) -> torch.Tensor:
    """Δ of each example [n]."""
    row = {key: value.to(model.device) for key, value in forward.row.items()}
    if "marks" in row:
        signs = torch.tensor([item.sign for item in forward.items], device=model.device)
        return model(**row) * signs
    rewards = model(**row).logits.float().squeeze(-1)
    return rewards[0::2] - rewards[1::2]


def _texts(preferences: Sequence[Preference]) -> list[str]:
    turns = (turn for pair in preferences for turn in (*pair.prompt, *pair.chosen, *pair.rejected))
    return [turn.content for turn in turns]


def _check_scores(pairs: Sequence[Preference]) -> None:
    without = sum(pair.score_chosen is None or pair.score_rejected is None for pair in pairs)
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
