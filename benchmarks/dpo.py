"""DPO, ours against TRL 1.16 at its fastest, in turn on the same machine, model and pairs; full and LoRA.

A Mistral shape of 8.5 million parameters, vocabulary 8,192, 64 pairs, batches of 8, fp32, 3 epochs.

TRL takes the fastest of its four settings (the reference precomputed or in the step, the pairs sorted by length or
shuffled) and of micro-batches 1, 2, 4 and 8, all with the memory that glibc would give back (``KEEP_MEMORY``). The
search runs each of the sixteen for one epoch on sixteen pairs: two runs of eight neighbours in the order of length, so
that sorting pays there as it does on all of them. What three epochs would take is set-up (with the reference, where it
is precomputed) and three times the training. The fastest, and the leanest within 10 % of it, then run the whole
setting, in turn with ours. TRL as it comes (micro-batch 8, reference in the step, glibc as it is) runs one epoch in
each round: nothing in it is shared by epochs, so its pairs per second do not grow with them by more than its few
seconds of set-up, which are counted once in three epochs.
"""

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.common import (
    KEEP_MEMORY,
    in_turn,
    matmul_gflops,
    ratio,
    read_rows,
    real_data,
    side,
    spread,
    train_flops,
    write_rows,
)
from notus.engine.load import build_model, save_model, train_tokenizer
from notus.engine.settings import Shape
from notus.engine.text.encoder import Encoder

__all__ = ["SETTINGS", "SHAPE", "compare_kind", "find_best", "group_lengths", "make_model", "measure", "per_second"]

SHAPE = Shape(vocabulary=8192, width=320, layers=5, heads=8, kv_heads=4, ffn=896, positions=1024)
TINY = Shape(vocabulary=1024, width=64, layers=2, heads=4, kv_heads=2, ffn=128, positions=1024)
SETTINGS = [
    f"{'precompute' if before else 'in-step'} {order} {micro}"
    for before in (True, False)
    for order in ("sorted", "shuffled")
    for micro in (1, 2, 4, 8)
]
FLAGS = {"full": (), "lora": ("--lora",)}
"""What is trained → what both sides are told."""
AS_IT_COMES = "in-step shuffled 8"
Pairs = list[dict[str, Any]]


def measure(*, small: bool = False) -> dict[str, Any]:
    """Pairs per second and peak memory of both sides, full and LoRA, their ratios, and our share of the peak."""
    rows = read_rows(real_data("ultrafeedback/binarized_1000.jsonl"))
    texts = [row[key] for row in rows for key in ("prompt", "chosen", "rejected")]
    pairs = [row for row in rows if row["chosen"] != row["rejected"]]
    pairs, epochs, rounds, shape = (pairs[:16], 2, 1, TINY) if small else (pairs[:64], 3, 2, SHAPE)
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        model, encoder = make_model(work / "model", shape, texts)
        file = write_rows(work / "pairs.jsonl", pairs)
        groups = group_lengths(encoder, [(row["prompt"], [row["chosen"], row["rejected"]]) for row in pairs])
        found: dict[str, Any] = {"pairs": len(pairs), "epochs": epochs, "matmul_gflops": matmul_gflops()}
        settings = SETTINGS[::5] if small else SETTINGS
        for kind in ("full", "lora"):
            common = ("--model", model, "--pairs", str(file))
            searched = find_best(work, pairs, settings, (*common, *FLAGS[kind]), epochs)
            seconds = peak_flops(kind, shape.model_dump(), groups, epochs) / found["matmul_gflops"] / 1e9
            found |= compare_kind(kind, common, searched, epochs, rounds, seconds, as_it_comes=kind == "full")
    return found


def peak_flops(kind: str, shape: dict[str, int], groups: Sequence[tuple[int, Sequence[int]]], epochs: int) -> float:
    """Operations that a pair of an epoch needs at least, its part of the reference included."""
    trained = train_flops(shape, groups, forward_only=False, frozen=kind == "lora")
    return trained / len(groups) + train_flops(shape, groups, forward_only=True) / (epochs * len(groups))


def make_model(folder: Path, shape: Shape, texts: Sequence[str], template: str | None = None) -> tuple[str, Encoder]:
    """Save a seeded model with a tokenizer of these texts; its folder, and the encoder of our side."""
    from benchmarks.ours_dpo import LIMITS

    tokenizer = train_tokenizer(texts, shape.vocabulary)
    if template:
        tokenizer.chat_template = template
    save_model(build_model(shape, tokenizer, 0), tokenizer, folder)
    return str(folder), Encoder(tokenizer, LIMITS)


def group_lengths(encoder: Encoder, groups: Sequence[tuple[str, Sequence[str]]]) -> list[tuple[int, list[int]]]:
    """Tokens of each prompt and of its answers, cut as in training."""
    from notus.core.records import Message

    found = []
    for prompt, answers in groups:
        encoded = encoder.examples(((Message(role="user", content=prompt),), answer) for answer in answers)
        found.append((len(encoded[0][0]), [len(answer) for _, answer in encoded]))
    return found


def find_best(
    work: Path, pairs: Pairs, settings: Sequence[str], common: Sequence[str], epochs: int, batch: int = 8
) -> dict[str, Any]:
    """Search TRL's settings on a few pairs: what each would do in all epochs, the fastest, and the leanest near it."""
    ordered = sorted(pairs, key=lambda row: len(row["prompt"]) + max(len(row["chosen"]), len(row["rejected"])))
    quarter = len(ordered) // 4
    few = [*ordered[quarter - 4 : quarter + 4], *ordered[3 * quarter - 4 : 3 * quarter + 4]]
    # Shuffled once here, because "sorted" must have something to do.
    file = write_rows(work / "few.jsonl", [few[i * 7 % len(few)] for i in range(len(few))])
    place = list(common).index("--pairs") + 1
    arguments = [*common[:place], str(file), *common[place + 1 :]]
    told = ("--epochs", 1, "--batch", batch, "--search", *settings)
    tried = side("trl_dpo", *arguments, *told, environment=KEEP_MEMORY)
    for run in tried.values():
        _over_epochs(run, epochs)
    best = max(tried, key=lambda name: float(tried[name]["pairs_per_s"]))
    near = [name for name in tried if tried[name]["pairs_per_s"] >= 0.9 * tried[best]["pairs_per_s"]]
    return {"tried": tried, "best": best, "leanest": min(near, key=lambda name: float(tried[name]["peak_gib"]))}


def _over_epochs(run: dict[str, Any], epochs: int) -> None:
    """From one epoch to several: set-up is done once, training each time."""
    pairs = run["pairs_per_s"] * (run["setup_s"] + run["train_s"])
    run["pairs_per_s"] = epochs * pairs / (run["setup_s"] + epochs * run["train_s"])


def per_second(runs: Sequence[dict[str, Any]], key: str = "pairs_per_s") -> float:
    """Median of the runs."""
    return spread(runs, key)["median"]


def compare_kind(
    kind: str,
    common: Sequence[str],
    searched: dict[str, Any],
    epochs: int,
    rounds: int,
    peak_seconds: float,
    *,
    as_it_comes: bool,
) -> dict[str, Any]:
    """Run ours and what the search found in turn, and set them against each other.

    Args:
        kind: what is trained, of ``FLAGS``.
        common: what both sides are told of model and pairs.
        searched: what ``find_best`` gives.
        epochs: of each run.
        rounds: in which each side runs once.
        peak_seconds: what a pair of an epoch would take at the machine's peak.
        as_it_comes: whether TRL runs as it comes too.
    """
    common = (*common, *FLAGS[kind])
    arguments = (*common, "--epochs", epochs)
    sides = {"ours": lambda: side("ours_dpo", *arguments)}
    for setting in dict.fromkeys((searched["best"], searched["leanest"])):
        sides[setting] = lambda setting=setting: side(  # type: ignore[misc]
            "trl_dpo", *arguments, "--setting", setting, environment=KEEP_MEMORY
        )
    if as_it_comes:
        sides["as it comes"] = lambda: side("trl_dpo", *common, "--epochs", 1, "--setting", AS_IT_COMES)
    runs = in_turn(rounds, sides)
    for run in runs.get("as it comes", []):
        _over_epochs(run, epochs)
    ours, near = runs["ours"], (runs[searched["best"]], runs[searched["leanest"]])
    fastest = max(near, key=per_second)
    lean = min(
        (of for of in near if per_second(of) >= 0.9 * per_second(fastest)), key=lambda of: spread(of, "peak_gib")["max"]
    )
    found = {
        f"{kind}_search": searched,
        f"{kind}_runs": runs,
        f"{kind}_pairs_per_s": {name: spread(of, "pairs_per_s") for name, of in runs.items()},
        f"{kind}_share_of_matmul_peak": per_second(ours) * peak_seconds,
        **ratio(f"{kind}_speed_to_trl_best", ours, fastest, "pairs_per_s"),
        **ratio(f"{kind}_memory_to_trl_best", ours, lean, "peak_gib"),
    }
    if as_it_comes:
        found |= ratio(f"{kind}_speed_to_trl_as_it_comes", ours, runs["as it comes"], "pairs_per_s")
        found |= ratio(f"{kind}_memory_to_trl_as_it_comes", ours, runs["as it comes"], "peak_gib")
    return found
