"""Multiple choice in lm-eval: our engine against lm-eval's own model, in turn in one process, on the same weights.

ARC-easy without shots, TruthfulQA (mc2) with the six examples of its prompt, MMLU with five shots; a Mistral shape of
two million parameters, vocabulary 4,096, fp32. lm-eval's model takes the fastest of batches of 1, 8 and 32 on each
task, in its own order, the longest first; it scores choices of one token together: MMLU costs it one pass a question.

``scoring`` is the scoring of the requests with their tokenisation, ``whole`` all of lm-eval from the file to the
metrics. Both sides' log-probabilities are compared, request by request.
"""

import json
import tempfile
import time
from pathlib import Path
from typing import Any

from benchmarks.common import THREADS, in_turn, ratio, read_rows, real_data, spread, write_rows
from benchmarks.dpo import TINY
from notus.clean.benchmarks import read_plain_rows as read_questions
from notus.engine.settings import Shape

__all__ = ["measure"]

SHAPE = Shape(vocabulary=4096, width=192, layers=3, heads=6, kv_heads=3, ffn=576, positions=4096)
BATCHES = (1, 8, 32)
SUBJECTS = ("anatomy", "global_facts", "marketing")


def measure(*, small: bool = False) -> dict[str, Any]:
    """Requests per second of both sides, their ratios, and how far the log-probabilities are apart."""
    import torch
    from lm_eval.models.huggingface import HFLM

    from notus.engine.load import build_model, train_tokenizer
    from notus.evaluate.harness.model import Engine

    torch.set_num_threads(THREADS)
    rounds, shape = (1, TINY) if small else (3, SHAPE)
    found: dict[str, Any] = {"rounds": rounds, "threads": THREADS, "shape": shape.model_dump()}
    with tempfile.TemporaryDirectory() as folder:
        files = _questions(Path(folder), small=small)
        texts = [json.dumps(row, ensure_ascii=False) for path in files.values() for row in read_rows(path)]
        tokenizer = train_tokenizer(texts, shape.vocabulary)
        model = build_model(shape, tokenizer, 0).eval()
        ours = Engine(model, tokenizer, max_tokens=4096)
        theirs = {batch: HFLM(pretrained=model, tokenizer=tokenizer, batch_size=batch) for batch in BATCHES}
        for task, path in files.items():
            found |= _compare(task, path, ours, theirs, rounds)
    return found


def _compare(task: str, path: Path, ours: Any, theirs: dict[int, Any], rounds: int) -> dict[str, Any]:
    """One task: the search for the best batch warms both sides up."""
    searched = {batch: _asked(side, task, path) for batch, side in theirs.items()}
    best = max(searched, key=lambda batch: searched[batch]["requests_per_s"])
    _asked(ours, task, path)
    ours.tokens_run = ours.tokens_apart = 0
    sides = {"ours": lambda: _asked(ours, task, path), "hflm": lambda: _asked(theirs[best], task, path)}
    runs = in_turn(rounds, sides)
    logps = {name: [run.pop("logps") for run in of][-1] for name, of in runs.items()}
    return {
        task: {
            "questions": runs["ours"][0]["questions"],
            "requests": len(logps["ours"]),
            "tokens": ours.tokens_run // rounds,
            "tokens_apart": ours.tokens_apart // rounds,
            "mean": {name: of[0]["mean"] for name, of in runs.items()},
            "greatest_difference_of_logps": max(abs(a - b) for a, b in zip(logps["ours"], logps["hflm"], strict=True)),
            "hflm_requests_per_s_by_batch": {batch: run["requests_per_s"] for batch, run in searched.items()},
            "hflm_batch": best,
            "requests_per_s": {name: spread(of, "requests_per_s") for name, of in runs.items()},
        },
        **ratio(f"{task}_scoring_speed_to_hflm_best", runs["ours"], runs["hflm"], "requests_per_s"),
        **ratio(f"{task}_whole_speed_to_hflm_best", runs["ours"], runs["hflm"], "whole_per_s"),
    }


def _asked(engine: Any, task: str, path: Path) -> dict[str, Any]:
    """Ask all questions once, and note how long the scoring of the requests takes of it."""
    from notus.evaluate.harness.run import TASKS, run_task
    from notus.evaluate.harness.run import mean_metrics as mean_of

    seconds: list[float] = []
    scoring = engine.loglikelihood

    def loglikelihood(requests: list[Any], **options: Any) -> list[tuple[float, bool]]:
        started = time.perf_counter()
        found: list[tuple[float, bool]] = scoring(requests, disable_tqdm=True, **options)
        seconds.append(time.perf_counter() - started)
        return found

    engine.loglikelihood = loglikelihood
    try:
        started = time.perf_counter()
        answered = run_task(engine, task, data=path, shots=None, limit=None)
        whole = time.perf_counter() - started
    finally:
        del engine.loglikelihood
    logps = [value for item in answered for value, _ in item.responses]
    return {
        "requests_per_s": len(logps) / sum(seconds),
        "whole_per_s": len(logps) / whole,
        "questions": len(answered),
        "mean": mean_of(answered, TASKS[task].metric, None)[0].mean,
        "logps": logps,
    }


def _questions(work: Path, *, small: bool) -> dict[str, Path]:
    """Parts of the files: name of a task → its questions."""
    arc = list(read_questions(real_data("benchmarks/arc_easy.jsonl")))[: 8 if small else 150]
    truthful = list(read_questions(real_data("benchmarks/truthfulqa_mc.json.gz")))[: 4 if small else 40]
    subjects = SUBJECTS[:1] if small else SUBJECTS
    mmlu = [row for row in read_questions(real_data("benchmarks/mmlu_dev_val.jsonl.gz")) if row["subject"] in subjects]
    asked = {"arc_easy": arc, "truthfulqa_mc2": truthful, "mmlu": mmlu}
    return {task: write_rows(work / f"{task}.jsonl", rows) for task, rows in asked.items()}
