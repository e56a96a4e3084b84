"""A classifier as a ranker: an answer's score is how sure a model with several labels is of one of them.

    score = log P(label | prompt, answer)

P by the softmax over the labels; where the model's settings say that labels do not exclude each other
(``problem_type: multi_label_classification``), by the sigmoid of the label alone. What the model reads is the
conversation under its tokenizer's chat template, as a reward model does; without a template, prompt and answer as the
two texts of a pair, the form in which encoders such as DeBERTa are trained. Owns these two layouts and the ranker.
"""

import math
from collections.abc import Sequence
from pathlib import Path

from transformers import PreTrainedModel, PreTrainedTokenizerBase

from notus.core.records import Message, format_turns
from notus.core.stage import Tally
from notus.engine.settings import Limits
from notus.rankers.labels import check_label, read_labels
from notus.rankers.ref import Progress, Scores
from notus.rankers.reward import Prompts, RewardEncoder, head_outputs, load_head, score_distinct
from notus.rankers.settings import Ranking

__all__ = ["ClassifierRanker", "label_logps"]

Asked = Sequence[tuple[tuple[Message, ...], str]]
_NO_LIMIT = 1_000_000
"""What tokenizers say who know no longest length is far above."""


class ClassifierRanker:
    """Scores each answer by the log-probability of a label.

    Args:
        source: folder or hub id of the model.
        label: one of its labels.
        settings: how it works.
        progress: told how many answers are done.
        tally: receives the counts of cut texts, and ``read-as-pair`` where there is no chat template.

    Raises:
        ConfigError: if there is no such model, it has one label alone, or not this one.
    """

    def __init__(self, source: str, label: str, settings: Ranking, progress: Progress | None, tally: Tally) -> None:
        self.name = f"classifier:{Path(source).name}#{label}"
        known = read_labels(source)
        if known is not None:  # before the weights are read
            check_label(source, label, known)
        self._model, self._tokenizer = load_head(source, "a classifier", precision=settings.precision)
        named = self._model.config.id2label
        self._place = check_label(source, label, tuple(str(named[number]) for number in sorted(named)))
        self._settings, self._progress, self._tally = settings, progress, tally
        talks = bool(getattr(self._tokenizer, "chat_template", None))
        self._encoder = RewardEncoder(self._tokenizer, settings.limits, tally) if talks else None

    def rank(self, prompts: Prompts, candidates: Sequence[Sequence[str]]) -> Scores:
        """Score the candidates of each prompt, as ``Ranker`` says."""
        return score_distinct(prompts, candidates, self._score)

    def _score(self, pairs: Asked) -> list[float]:
        if self._encoder is not None:
            rows, types = self._encoder.examples(pairs), None
        else:
            rows, types = self._as_pairs(pairs)
        several = self._model.config.problem_type == "multi_label_classification"
        budget = {"max_tokens": self._settings.max_tokens, "progress": self._progress}
        outputs = head_outputs(self._model, rows, types=types, **budget)  # type: ignore[arg-type]
        return [label_logps(values, several=several)[self._place] for values in outputs]

    def _as_pairs(self, pairs: Asked) -> tuple[list[list[int]], list[list[int]] | None]:
        """Token ids, and types where the model tells the two texts apart by them."""
        self._tally.count("read-as-pair", len(pairs))
        most = _longest(self._model, self._tokenizer, self._settings.limits)
        rows, types = [], []
        for prompt, answer in pairs:
            found = self._tokenizer(format_turns(prompt), answer, truncation="longest_first", max_length=most)
            whole = self._tokenizer(format_turns(prompt), answer, verbose=False)["input_ids"]
            if len(whole) > most:
                self._tally.count("example-cut")
            rows.append(list(found["input_ids"]))
            types.append(list(found.get("token_type_ids", ())))
        return rows, types if all(types) and types else None


def label_logps(logits: Sequence[float], *, several: bool = False) -> list[float]:
    """Log-probabilities of the labels, natural logarithm.

    Args:
        logits: one for each label.
        several: whether labels do not exclude each other.
    """
    if several:
        return [-math.log1p(math.exp(-value)) if value > -700 else value for value in logits]
    highest = max(logits)
    whole = highest + math.log(math.fsum(math.exp(value - highest) for value in logits))
    return [value - whole for value in logits]


def _longest(model: PreTrainedModel, tokenizer: PreTrainedTokenizerBase, limits: Limits) -> int:
    """The most tokens of a pair: what is asked for, as far as the model and its tokenizer can."""
    known = [limits.max_length, getattr(model.config.get_text_config(), "max_position_embeddings", None)]
    known.append(tokenizer.model_max_length if tokenizer.model_max_length < _NO_LIMIT else None)
    return min(value for value in known if isinstance(value, int) and value > 0)
