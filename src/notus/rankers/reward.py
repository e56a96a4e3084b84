"""Rankers by a model that scores each answer for itself: scalar reward models, and a policy's implicit reward.

Owns how an answer is laid out for a reward model, and the two rankers. Ranking by pairs is in
``rankers.pairwise``.
"""

from collections.abc import Callable, Iterator, Sequence
from pathlib import Path

import torch
from transformers import AutoModelForSequenceClassification, PreTrainedModel, PreTrainedTokenizerBase

from notus.core.errors import ConfigError
from notus.core.records import Message
from notus.core.stage import Tally
from notus.engine.files.folder import read_headers
from notus.engine.files.pretrained import read_weights
from notus.engine.files.sound import check_mismatched, check_sound
from notus.engine.load import device, load_model, load_tokenizer, read_tokenizer
from notus.engine.logps import all_completion_logps
from notus.engine.pack import PromptGroup
from notus.engine.padded import all_logps
from notus.engine.settings import Limits
from notus.engine.text.encoder import Encoder
from notus.rankers.pairrm import batches, tokens_per_pass
from notus.rankers.ref import Progress, Scores, check_lengths
from notus.rankers.settings import Ranking

__all__ = [
    "ImplicitRanker",
    "RewardEncoder",
    "RewardRanker",
    "head_outputs",
    "load_head",
    "load_reward_model",
    "reward_scores",
    "score_distinct",
]

Prompts = Sequence[tuple[Message, ...]]
_PADDED_ROWS = 64
"""Answers of a padded batch."""


class RewardEncoder:
    """Lays a prompt and its answer out as a reward model reads them: one conversation under its chat template.

    Args:
        tokenizer: of the reward model, with a chat template.
        limits: ``max_length`` cuts on the left, because the score is taken at the end; ``system`` as for training.
        tally: receives the count ``example-cut``.

    Raises:
        ConfigError: if the tokenizer has no chat template.
    """

    def __init__(self, tokenizer: PreTrainedTokenizerBase, limits: Limits, tally: Tally | None = None) -> None:
        self._encoder = Encoder(tokenizer, limits, tally)
        self._limits = limits
        self.tokenizer = tokenizer

    def examples(self, pairs: Sequence[tuple[tuple[Message, ...], str]]) -> list[list[int]]:
        """Token ids of each (prompt, answer)."""
        talks = [(*prompt, Message(role="assistant", content=answer)) for prompt, answer in pairs]
        return [self._cut(ids) for ids in self._encoder.conversations(talks)]

    def _cut(self, ids: list[int]) -> list[int]:
        if len(ids) > self._limits.max_length:
            self._encoder.tally.count("example-cut")
        return ids[-self._limits.max_length :]


class RewardRanker:
    """Scores each answer by a scalar reward model, ``AutoModelForSequenceClassification`` with one label.

    Args:
        source: folder or hub id.
        settings: how it works.
        progress: told how many answers are done.
        tally: receives the counts of cut texts.

    Raises:
        ConfigError: if there is no such model, or it has not exactly one label.
    """

    def __init__(self, source: str, settings: Ranking, progress: Progress | None, tally: Tally) -> None:
        self.name = f"reward-model:{Path(source).name}"
        self._model, tokenizer = load_reward_model(source, precision=settings.precision)
        self._encoder = RewardEncoder(tokenizer, settings.limits, tally)
        self._settings, self._progress = settings, progress

    def rank(self, prompts: Prompts, candidates: Sequence[Sequence[str]]) -> Scores:
        """Score the candidates of each prompt, as ``Ranker`` says."""

        def score(pairs: Sequence[tuple[tuple[Message, ...], str]]) -> list[float]:
            rows = self._encoder.examples(pairs)
            return reward_scores(self._model, rows, max_tokens=self._settings.max_tokens, progress=self._progress)

        return score_distinct(prompts, candidates, score)


def score_distinct(
    prompts: Prompts,
    candidates: Sequence[Sequence[str]],
    score: Callable[[Sequence[tuple[tuple[Message, ...], str]]], list[float]],
) -> Scores:
    """The scores of the candidates of each prompt, of equal ones once.

    Args:
        prompts: the prompts.
        candidates: the answers to each.
        score: gives a score for each prompt with an answer.
    """
    check_lengths(prompts, candidates)
    pairs = [(prompt, text) for prompt, answers in zip(prompts, candidates, strict=True) for text in answers]
    distinct = list(dict.fromkeys(pairs))
    known = dict(zip(distinct, score(distinct), strict=True))
    return [[known[prompt, text] for text in answers] for prompt, answers in zip(prompts, candidates, strict=True)]


class ImplicitRanker:
    """Scores each answer by the implicit reward log π(y|x) − log π_ref(y|x) (Rafailov et al. 2023, equation 5).

    β scales it and changes no order, so it is left out. A prompt is computed once for all its answers.

    Args:
        policy: folder or hub id of the trained model.
        reference: folder or hub id of the model that it was trained from.
        settings: how it works.
        tally: receives the counts of cut texts.
        padded: compute answer by answer in padded batches, for models that the packed form is not right for.

    Raises:
        ConfigError: if a model is not there, or the packed form is not right for it.
    """

    def __init__(self, policy: str, reference: str, settings: Ranking, tally: Tally, *, padded: bool = False) -> None:
        self.name = f"implicit:{Path(policy).name}"
        self._models = [load_model(source) for source in (policy, reference)]
        self._encoder = Encoder(load_tokenizer(policy), settings.limits, tally)
        self._max_tokens = settings.max_tokens or tokens_per_pass(self._models[0].device)
        self._padded = padded

    def rank(self, prompts: Prompts, candidates: Sequence[Sequence[str]]) -> Scores:
        """Score the candidates of each prompt, as ``Ranker`` says."""
        check_lengths(prompts, candidates)
        asked = [index for index, answers in enumerate(candidates) if answers]
        groups = list(self._groups([prompts[index] for index in asked], [candidates[index] for index in asked]))
        trained, before = (self._logps(model, groups) for model in self._models)
        scores: Scores = [[] for _ in prompts]
        for index, after, start in zip(asked, trained, before, strict=True):
            scores[index] = [one - other for one, other in zip(after, start, strict=True)]
        return scores

    def _groups(self, prompts: Prompts, candidates: Sequence[Sequence[str]]) -> Iterator[PromptGroup]:
        encoded = self._encoder.prompts(prompts)
        ids = iter(self._encoder.answers([text for answers in candidates for text in answers]))
        for prompt, answers in zip(encoded, candidates, strict=True):
            yield PromptGroup(prompt, tuple(self._encoder.fit(prompt, next(ids)) for _ in answers))

    def _logps(self, model: PreTrainedModel, groups: Sequence[PromptGroup]) -> list[list[float]]:
        if not self._padded:
            return all_completion_logps(model, groups, self._max_tokens)
        examples = [(list(group.prompt), list(completion)) for group in groups for completion in group.completions]
        sums = iter(all_logps(model, examples, self._encoder.pad_id, _PADDED_ROWS))
        return [[next(sums) for _ in group.completions] for group in groups]


def load_reward_model(source: str, *, precision: str = "float32") -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load a scalar reward model with its tokenizer, in evaluation mode, onto the accelerator where there is one.

    Args:
        source: folder or hub id.
        precision: of the weights, ``float32`` or ``bfloat16``.

    Raises:
        ConfigError: if there is none, it cannot be read, lacks weights, or has not exactly one label.
    """
    return load_head(source, "a reward model", precision=precision, labels=1)


def load_head(
    source: str, what: str, *, precision: str = "float32", labels: int | None = None
) -> tuple[PreTrainedModel, PreTrainedTokenizerBase]:
    """Load ``AutoModelForSequenceClassification`` with its tokenizer, as ``load_reward_model`` does.

    Args:
        source: folder or hub id.
        what: it is, for errors: ``a reward model``.
        precision: of the weights.
        labels: how many it must have; None takes any number.

    Raises:
        ConfigError: if there is none, it cannot be read, lacks weights, or has another number of labels.
    """
    dtype = {"float32": torch.float32, "bfloat16": torch.bfloat16}[precision]
    model, loaded = read_weights(AutoModelForSequenceClassification, source, what, dtype=dtype)
    stored = read_headers(Path(source)) if Path(source).exists() else {}
    check_mismatched(loaded, source, stored)
    # transformers fills what is missing at random and goes on: a language model would pass for a reward model.
    if missing := sorted(loaded["missing_keys"]):
        kind = what.partition(" ")[2]
        raise ConfigError(f"{source!r} is no {kind}: it lacks {missing[0]}; name one that was trained as such")
    if labels is not None and model.config.num_labels != labels:
        raise ConfigError(f"{source!r} has {model.config.num_labels} labels; a reward model has one")
    check_sound(model.eval(), loaded, source, stored, what)
    return model.to(device()), read_tokenizer(source)


def reward_scores(
    model: PreTrainedModel,
    examples: Sequence[Sequence[int]],
    *,
    max_tokens: int | None = None,
    progress: Progress | None = None,
) -> list[float]:
    """Scores of encoded examples under a scalar reward model, in their order; see ``head_outputs``."""
    return [value for (value,) in head_outputs(model, examples, max_tokens=max_tokens, progress=progress)]


def head_outputs(
    model: PreTrainedModel,
    examples: Sequence[Sequence[int]],
    *,
    types: Sequence[Sequence[int]] | None = None,
    max_tokens: int | None = None,
    progress: Progress | None = None,
) -> list[list[float]]:
    """What the head of a model says of encoded examples, a value for each label; like lengths are computed together.

    Each is what transformers gives the row alone, without padding: at its last token, or at the last one that is not
    the padding token that the model's own config names.

    Args:
        model: with a head for sequences.
        examples: token ids of each.
        types: ``token_type_ids`` of each, for encoders that tell two texts apart by them.
        max_tokens: of a forward pass.
        progress: told how many are done.
    """
    config = model.config.get_text_config()
    own = config.pad_token_id
    examples = [_without_padding(row, own) for row in examples]
    outputs: list[list[float]] = [[] for _ in examples]
    done = 0
    # transformers finds the end of a row by what is no padding, so that the filling must not be a row's last token.
    config.pad_token_id = pad_id = own if own is not None else _filling(config.vocab_size, examples)
    with torch.inference_mode():
        for batch in batches(list(map(len, examples)), max_tokens or tokens_per_pass(model.device)):
            longest = max(len(examples[index]) for index in batch)
            rows = [[*examples[index], *[pad_id] * (longest - len(examples[index]))] for index in batch]
            mask = [[1] * len(examples[index]) + [0] * (longest - len(examples[index])) for index in batch]
            given = {"input_ids": rows, "attention_mask": mask}
            if types is not None:
                own_types = [types[index][: len(examples[index])] for index in batch]
                given["token_type_ids"] = [[*of, *[0] * (longest - len(of))] for of in own_types]
            found = model(**{name: torch.tensor(of, device=model.device) for name, of in given.items()})
            for index, values in zip(batch, found.logits.float().tolist(), strict=True):
                outputs[index] = values
            done += len(batch)
            if progress is not None:
                progress(done, len(examples))
    config.pad_token_id = own
    return outputs


def _without_padding(row: Sequence[int], pad_id: int | None) -> Sequence[int]:
    """A row up to its last token that is no padding; one of padding alone stays."""
    end = len(row)
    while end and row[end - 1] == pad_id:
        end -= 1
    return row[:end] or row


def _filling(vocabulary: int, rows: Sequence[Sequence[int]]) -> int:
    last = {row[-1] for row in rows}
    return next(id_ for id_ in range(vocabulary) if id_ not in last)
