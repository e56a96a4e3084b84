"""Ranking by pairs on the CPU: the queue against a loop in the style of LLM-Blender, and selection against all pairs.

LLM-Blender does not import under today's transformers, so its loop is written out here around our model: the texts of
eight pairs at a time, as they come, tokenised and padded to the longest. Both sides compute with the same weights and
cut texts alike, and the scores must be equal. The encoder is small and has random weights; prompts and answers are
real ones (``feedback/four_models_80.jsonl``), and for the best of 16 they are drawn from all answers. How often
selection finds the winner of the full matrix depends on the ranker: the more its preferences run in circles, the less.

    pairs_ratio        pairs per second, queue over loop, tokenising included
    bubble_ratio       seconds of all 240 ordered pairs of 16 answers over seconds of selection
    bubble_same        share of the prompts in which both have the same winner, with its interval
    padding            share of padding in what the queue computes
"""

import random
import time
from collections.abc import Callable
from dataclasses import asdict
from typing import Any

from benchmarks.common import THREADS, ratio, read_rows, real_data, spread

__all__ = ["measure"]

Triples = list[tuple[str, str, str]]
_LOOP = 8
_SHAPE = {"width": 128, "layers": 2, "heads": 4, "ffn": 512, "buckets": 256}
_SMALLER = {"width": 32, "layers": 1, "heads": 2, "ffn": 64, "buckets": 64}
"""For the best of 16, which takes 240 pairs for each prompt."""


def measure(*, small: bool) -> dict[str, Any]:
    """Measure both ratios."""
    import torch

    torch.set_num_threads(THREADS)
    rows = read_rows(real_data("feedback/four_models_80.jsonl"))
    texts = [(row["instruction"], [answer["response"] for answer in row["completions"]]) for row in rows]
    random.Random(0).shuffle(texts)
    return {**_pairs(texts[: 2 if small else 12], 1 if small else 3), **_best(texts, 4 if small else 100)}


def _pairs(texts: list[tuple[str, list[str]]], rounds: int) -> dict[str, Any]:
    from notus.models.pairs_queue import batches, padding, suited

    model, tokenizer = _model(_SHAPE, texts, 3.0)
    triples = [(prompt, a, b) for prompt, answers in texts for a in answers for b in answers if a != b]
    sides = {"queue": _queue(model, tokenizer), "loop": _loop(model, tokenizer)}
    runs: dict[str, list[dict[str, float]]] = {name: [] for name in sides}
    scores: dict[str, list[float]] = {}
    for _ in range(rounds):  # in turn, so that what slows the machine slows both
        for name, side in sides.items():
            started = time.perf_counter()
            scores[name] = side(triples)
            runs[name].append({"pairs_per_s": len(triples) / (time.perf_counter() - started)})
    apart = max(abs(one - other) for one, other in zip(scores["queue"], scores["loop"], strict=True))
    assert apart <= 1e-4, f"the scores of the two sides differ by {apart}"
    lengths = [len(pair) for pair in _encoded(tokenizer, triples)]
    chosen = batches(lengths, suited(model.device))
    looped = [list(range(start, min(start + _LOOP, len(lengths)))) for start in range(0, len(lengths), _LOOP)]
    return {
        **ratio("pairs", runs["queue"], runs["loop"], "pairs_per_s"),
        "pairs": len(triples),
        "tokens_of_a_pair": sum(lengths) / len(lengths),
        "queue_pairs_per_s": spread(runs["queue"], "pairs_per_s"),
        "loop_pairs_per_s": spread(runs["loop"], "pairs_per_s"),
        "greatest_difference": apart,
        "padding": padding(lengths, chosen),
        "loop_padding": padding(lengths, looped),
        "encoder": _SHAPE,
    }


def _best(texts: list[tuple[str, list[str]]], prompts: int) -> dict[str, Any]:
    from notus.core.records import Message
    from notus.core.statistics import proportion
    from notus.models.pairrm_text import PairEncoder
    from notus.models.pairs_queue import score_pairs
    from notus.models.ranker import best_of
    from notus.models.ranker_pairs import margins, select
    from notus.models.ranker_settings import PairBudget

    model, tokenizer = _model(_SMALLER, texts)
    every = sorted({answer for _, answers in texts for answer in answers})
    random.Random(1).shuffle(every)
    asked = [(Message(role="user", content=f"{texts[n % len(texts)][0]}\n({n})"),) for n in range(prompts)]
    candidates = [random.Random(n).sample(every, 16) for n in range(prompts)]

    def compare(encoder: PairEncoder) -> Callable[[Any], list[float]]:
        return lambda pairs: score_pairs(model, encoder.encode(pairs), pad_id=tokenizer.pad_token_id)

    budget, found, seconds = PairBudget(source=32, candidate=64), {}, {}
    work = {
        "full": lambda run: margins(asked, candidates, run),
        "bubble": lambda run: select(asked, candidates, run, 0),
    }
    for name, rank in work.items():
        started = time.perf_counter()
        found[name] = [best_of(scores) for scores in rank(compare(PairEncoder(tokenizer, budget)))]
        seconds[name] = time.perf_counter() - started
    same = sum(one == other for one, other in zip(found["full"], found["bubble"], strict=True))
    return {
        "bubble_ratio": seconds["full"] / seconds["bubble"],
        "bubble_n": 1,
        "bubble_same": asdict(proportion(same, prompts)),
        "bubble_prompts": prompts,
        "full_s": seconds["full"],
        "bubble_s": seconds["bubble"],
        "bubble_encoder": _SMALLER,
        "bubble_budget": budget.resolved(),
    }


def _model(shape: dict[str, int], texts: list[tuple[str, list[str]]], scale: float = 1.0) -> tuple[Any, Any]:
    import torch

    from notus.models.pairrm import build_pairrm, train_pair_tokenizer
    from notus.models.ranker_settings import EncoderShape

    corpus = [text for prompt, answers in texts for text in (prompt, *answers)]
    tokenizer = train_pair_tokenizer(corpus, 4000)
    model = build_pairrm(EncoderShape.parse(shape, where="benchmark"), tokenizer, 0).eval()
    with torch.no_grad():
        for weight in model.parameters():
            # As they come, random weights score all pairs nearly alike, and equal scores would prove little.
            if weight.dim() > 1:
                weight.mul_(scale)
    return model, tokenizer


def _encoded(tokenizer: Any, triples: Triples) -> list[Any]:
    from notus.models.pairrm_text import PairEncoder

    return PairEncoder(tokenizer).encode(triples)


def _queue(model: Any, tokenizer: Any) -> Callable[[Triples], list[float]]:
    from notus.models.pairs_queue import score_pairs

    return lambda triples: score_pairs(model, _encoded(tokenizer, triples), pad_id=tokenizer.pad_token_id)


def _loop(model: Any, tokenizer: Any) -> Callable[[Triples], list[float]]:
    import torch

    from notus.models.pairrm_text import collate

    def score(triples: Triples) -> list[float]:
        scores: list[float] = []
        with torch.inference_mode():
            for start in range(0, len(triples), _LOOP):
                rows = [_encoded(tokenizer, [triple])[0] for triple in triples[start : start + _LOOP]]
                scores += model(**collate(rows, tokenizer.pad_token_id)).tolist()
        return scores

    return score
