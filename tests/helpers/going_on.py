"""Small trainings of every kind that are stopped and go on, and what is compared of their run directories."""

import json
from pathlib import Path

from safetensors.torch import load_file

from notus.core.records import Dialogue, Message, Preference
from notus.core.run import Run
from notus.engine.load import build_model, save_model, train_tokenizer
from notus.engine.settings import Limits, Lora, Shape
from notus.rankers.settings import EncoderShape, PairBudget
from notus.train.losses.objective import read_loss
from notus.train.ranker import train_ranker
from notus.train.ranker_settings import RankerTraining
from notus.train.run.policy import train_dpo, train_sft, train_unpaired
from notus.train.settings import Training

WORDS = [("hot", "cold"), ("big", "small"), ("old", "young"), ("wet", "dry"), ("up", "down"), ("in", "out")]
CLOCK = ("train_runtime", "memory_bytes", "peak_share")
"""Figures of a log that depend on the machine, beside all rates."""


def turn(role, text):
    return (Message(role=role, content=text),)


def pairs(number):
    words = [WORDS[n % len(WORDS)] for n in range(number)]
    return [
        Preference(
            prompt=turn("user", f"{a} {n}?"),
            chosen=turn("assistant", f"{b}. " * (1 + n % 3)),
            rejected=turn("assistant", f"no idea, {n}!"),
        )
        for n, (a, b) in enumerate(words)
    ]


def make_start(folder: Path, dropout: float = 0.0) -> str:
    """A tiny model with a tokenizer, saved."""
    texts = [f"{a} {b} no idea {n}! {n}?" for n, (a, b) in enumerate(WORDS * 20)]
    tokenizer = train_tokenizer(texts, 320)
    shape = Shape(vocabulary=320, width=16, layers=1, heads=2, kv_heads=1, ffn=32, positions=128)
    model = build_model(shape, tokenizer, 0)
    model.config.attention_dropout = dropout
    save_model(model, tokenizer, folder)
    return str(folder)


KINDS = {
    "sft": {},
    "sft-padded": {"engine": "padded", "micro_batch_size": 3},
    "sft-lora": {"lora": Lora(rank=2, dropout=0.3)},
    "dpo": {},
    "dpo-lora": {"lora": Lora(rank=2, dropout=0.3)},
    "dpo-half": {"dtype": "bfloat16", "engine": "padded"},
    "dpo-half-lora": {"dtype": "bfloat16", "lora": Lora(rank=2, dropout=0.3)},
    "dpo-rmsprop": {"optimizer": "rmsprop", "schedule": "linear"},
    "dpo-dropout": {"engine": "padded"},
    "bco": {},
    "aot": {"max_tokens": 64},
    "kto": {},
    "kto-padded": {"engine": "padded"},
    "bco_unpaired": {},
    "reward-model": {},
    "pairrm": {},
}
"""Kind of training → its settings."""
LOSSES = {"bco": "bco_pair", "aot": "aot", "kto": "kto", "bco_unpaired": "bco_unpaired"}


def train(kind: str, path: Path, start: str, **changes) -> None:
    """A training of a kind in a run directory: 24 rows, 3 epochs of 6 updates and a half."""
    limits = Limits(max_length=96, max_prompt_length=48)
    common = {"batch_size": 4, "learning_rate": 3e-3, "log_every": 4, "epochs": 2.5, "limits": limits}
    held_out, rows = pairs(30)[24:], pairs(24)
    resume_from = changes.pop("resume_from", None)
    given = common | KINDS[kind] | changes
    run = Run(path, stage=kind, config={}, inputs={})
    if run.finished:  # as a step does: a kill may come behind the manifest, before the process is gone
        return
    with run:
        more = {"held_out": held_out, "seed": 0, "resume_from": resume_from}
        if kind in ("reward-model", "pairrm"):
            shape = Shape(vocabulary=320, width=16, layers=1, heads=2, kv_heads=1, ffn=32, positions=128)
            sizes = (
                {"shape": shape}
                if kind == "reward-model"
                else {
                    "encoder": EncoderShape(width=16, layers=1, heads=2, ffn=32),
                    "budget": PairBudget(source=32, candidate=32),
                    "vocabulary": 320,
                }
            )
            own = {key: value for key, value in given.items() if key != "limits" or kind == "reward-model"}
            settings = RankerTraining(form=kind, **(own | sizes))
            train_ranker(run, settings, start=None, preferences=rows, **more)
            return
        settings = Training(**given)
        if kind.startswith("sft"):
            talks = [Dialogue(messages=(*each.prompt, *each.chosen)) for each in rows]
            held = [Dialogue(messages=(*each.prompt, *each.chosen)) for each in held_out]
            train_sft(run, settings, start=start, dialogues=talks, **(more | {"held_out": held}))
            return
        objective = read_loss(LOSSES.get(kind.partition("-")[0], "sigmoid"))
        if kind.partition("-")[0] in ("kto", "bco_unpaired"):
            train_unpaired(run, settings, objective=objective, start=start, rows=rows, **more)
        else:
            train_dpo(run, settings, objective=objective, start=start, preferences=rows, **more)


def result(path: Path):
    """What must be equal of two runs: weights, lines of metrics but for the clock, notes, counts."""
    weights = {file.name: load_file(file) for file in sorted((path / "model").glob("*.safetensors"))}
    lines = [json.loads(line) for line in (path / "metrics.jsonl").read_text().splitlines()]
    lines = [
        {key: value for key, value in line.items() if key not in CLOCK and not key.endswith("_per_second")}
        for line in lines
    ]
    return (
        weights,
        lines,
        json.loads((path / "manifest.json").read_text())["summary"],
        (path / "tally.json").read_text(),
    )


def assert_equal(one: Path, other: Path) -> None:
    """Two run directories hold the same result, bit for bit."""
    (weights, lines, *rest), (others, other_lines, *other_rest) = result(one), result(other)
    assert lines == other_lines
    assert rest == other_rest
    assert {name: sorted(of) for name, of in weights.items()} == {name: sorted(of) for name, of in others.items()}
    odd = [key for name, of in weights.items() for key, value in of.items() if not value.equal(others[name][key])]
    assert odd == []
