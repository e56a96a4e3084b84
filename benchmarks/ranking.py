"""Ranking by pairs on the CPU: the queue against a loop in the style of LLM-Blender, and selection against all pairs.

LLM-Blender does not import under today's transformers, so its loop is written out here around our model: the texts of
eight pairs at a time, as they come, tokenised and padded to the longest. Both sides compute with the same weights and
cut texts alike, and the scores must be equal. The encoder is small and has random weights; prompts and answers are
real ones (``feedback/four_models_80.jsonl``), and for the best of 16 they are drawn from all answers. How often
selection finds the winner of the full matrix depends on the ranker, so two are tried, of one shape: an encoder with
random weights, which prefers nothing in particular, and one trained on ``preferences/polite_pairs_1100.jsonl``.

    pairs_ratio        pairs per second, queue over loop, tokenising included
    NAME_ratio         seconds of all 240 ordered pairs of 16 answers over seconds of selection
    NAME_same          share of the prompts in which both have the same winner, with its interval
    NAME_lost          score by the full matrix that selection gives away, in standard deviations of a prompt's scores
    padding            share of padding in what the queue computes
"""

import random
import tempfile
import time
from collections.abc import Callable
from dataclasses import asdict
from pathlib import Path
from statistics import pstdev
from typing import Any

from benchmarks.common import THREADS, ratio, read_rows, real_data, spread
from notus.core.records import Message
from notus.core.run import read_manifest
from notus.rankers.make import best_of
from notus.rankers.pairrm import PairEncoder, load_pairrm, score_pairs
from notus.rankers.pairwise import margins, select
from notus.rankers.settings import PairBudget
from notus.stats.intervals import clustered_mean, proportion
from notus.steps.perform import run_step
from notus.steps.train.ranker import TrainRanker

__all__ = ["measure"]

Triples = list[tuple[str, str, str]]
_LOOP = 8
_SHAPE = {"width": 128, "layers": 2, "heads": 4, "ffn": 512, "buckets": 256}
_TRAINING: dict[str, Any] = {
    "form": "pairrm",
    "encoder": {"width": 64, "layers": 2, "heads": 4, "ffn": 128, "buckets": 64},
    "budget": {"source": 64, "candidate": 128},
    "learning_rate": 1e-3,
    "epochs": 3,
    "batch_size": 16,
    "held_out": 0.2,
}


def measure(*, small: bool) -> dict[str, Any]:
    """Measure all ratios."""
    import torch

    torch.set_num_threads(THREADS)
    rows = read_rows(real_data("feedback/four_models_80.jsonl"))
    texts = [(row["instruction"], [answer["response"] for answer in row["completions"]]) for row in rows]
    random.Random(0).shuffle(texts)
    found = _pairs(texts[: 2 if small else 12], 1 if small else 3)
    prompts = 4 if small else 200
    budget = PairBudget.parse(_TRAINING["budget"], where="ranking")
    found |= _best("random", *_model(_TRAINING["encoder"], texts), budget, texts, prompts)
    with tempfile.TemporaryDirectory() as folder:
        found["trained"] = _train(Path(folder), small)
        found |= _best("trained", *load_pairrm(f"{folder}/run/model"), budget, texts, prompts)
    return found


def _pairs(texts: list[tuple[str, list[str]]], rounds: int) -> dict[str, Any]:
    from notus.rankers.pairrm import batches, padding, tokens_per_pass

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
    chosen = batches(lengths, tokens_per_pass(model.device))
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


def _train(folder: Path, small: bool) -> dict[str, Any]:
    settings = _TRAINING | ({"limit": 60, "epochs": 1} if small else {})
    pairs = str(real_data("preferences/polite_pairs_1100.jsonl"))
    run = run_step("train-ranker", TrainRanker.parse({**settings, "pairs": pairs}, where="ranking"), folder / "run", 0)
    summary = read_manifest(run.path)["summary"]
    return {name: summary[name] for name in ("rows", "held_out_rows", "accuracy", "parameters")} | settings


def _best(
    name: str, model: Any, tokenizer: Any, budget: PairBudget, texts: list[tuple[str, list[str]]], prompts: int
) -> dict[str, Any]:
    every = sorted({answer for _, answers in texts for answer in answers})
    random.Random(1).shuffle(every)
    asked = [(Message(role="user", content=f"{texts[n % len(texts)][0]}\n({n})"),) for n in range(prompts)]
    candidates = [random.Random(n).sample(every, 16) for n in range(prompts)]
    work = {
        "full": lambda run: margins(asked, candidates, run),
        "bubble": lambda run: select(asked, candidates, run, 0),
    }
    found: dict[str, list[Any]] = {}
    seconds, counts = dict.fromkeys(work, 0.0), dict.fromkeys(work, 0)
    for way, rank in work.items():
        encoder = PairEncoder(tokenizer, budget)

        def compare(pairs: Any, way: str = way, encoder: PairEncoder = encoder) -> list[float]:
            counts[way] += len(pairs)
            return score_pairs(model, encoder.encode(pairs), pad_id=tokenizer.pad_token_id)

        started = time.perf_counter()
        found[way] = rank(compare)
        seconds[way] = time.perf_counter() - started
    winners = {way: [best_of(scores) for scores in lists] for way, lists in found.items()}
    same = sum(one == other for one, other in zip(winners["full"], winners["bubble"], strict=True))
    lost = [
        (max(scores) - scores[picked]) / pstdev(scores)
        for scores, picked in zip(found["full"], winners["bubble"], strict=True)
    ]
    return {
        f"{name}_ratio": seconds["full"] / seconds["bubble"],
        f"{name}_n": 1,
        f"{name}_same": asdict(proportion(same, prompts)),
        f"{name}_lost": asdict(paired) if (paired := clustered_mean(lost, range(prompts))) else None,
        f"{name}_prompts": prompts,
        f"{name}_seconds": seconds,
        f"{name}_pairs": counts,
        f"{name}_budget": budget.resolved(),
    }


def _model(shape: dict[str, int], texts: list[tuple[str, list[str]]], scale: float = 1.0) -> tuple[Any, Any]:
    import torch

    from notus.rankers.pairrm import build_pairrm, train_pair_tokenizer
    from notus.rankers.settings import EncoderShape

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
    from notus.rankers.pairrm import PairEncoder

    return PairEncoder(tokenizer).encode(triples)


def _queue(model: Any, tokenizer: Any) -> Callable[[Triples], list[float]]:
    from notus.rankers.pairrm import score_pairs

    return lambda triples: score_pairs(model, _encoded(tokenizer, triples), pad_id=tokenizer.pad_token_id)


def _loop(model: Any, tokenizer: Any) -> Callable[[Triples], list[float]]:
    import torch

    from notus.rankers.pairrm import collate

    def score(triples: Triples) -> list[float]:
        scores: list[float] = []
        with torch.inference_mode():
            for start in range(0, len(triples), _LOOP):
                rows = [_encoded(tokenizer, [triple])[0] for triple in triples[start : start + _LOOP]]
                scores += model(**collate(rows, tokenizer.pad_token_id)).tolist()
        return scores

    return score
