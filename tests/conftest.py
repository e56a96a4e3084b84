import os
import signal
import subprocess
import sys

import hypothesis
import pytest

from notus.engine.settings import Lora, Shape
from tests.helpers.postgres import missing, running_server
from tests.helpers.smollm2 import NAME, AbsentError, smollm2_folder

TEXTS = [
    f"The opposite of {a} is {b}. I hope this helps, number {n}!"
    for n, (a, b) in enumerate(
        [("hot", "cold"), ("big", "small"), ("old", "young"), ("wet", "dry"), ("up", "down")] * 20
    )
]


def pytest_configure():
    # A worker of xdist ignores SIGINT, and so would every process that its tests start and interrupt.
    signal.signal(signal.SIGINT, signal.default_int_handler)
    # A busy machine is no failure.
    slow = [hypothesis.HealthCheck.too_slow]
    hypothesis.settings.register_profile("busy", deadline=None, suppress_health_check=slow)
    hypothesis.settings.load_profile("busy")


@pytest.fixture(scope="session", autouse=True)
def _no_waiting_for_the_disk():
    """Thousands of runs, whose files need outlive no power cut; ``test_power_cut`` looks at processes of their own."""

    def pass_over(_file):
        pass

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(os, "fsync", pass_over)
        yield


@pytest.fixture(scope="session")
def tokenizer():
    # Torch takes seconds to import, and most tests do without.
    from notus.engine.load import train_tokenizer

    return train_tokenizer(TEXTS, 400)


@pytest.fixture(scope="session")
def model(tokenizer):
    from notus.engine.load import build_model

    return build_model(
        Shape(vocabulary=400, width=32, layers=2, heads=4, kv_heads=2, ffn=64, positions=512), tokenizer, 0
    )


@pytest.fixture(scope="session")
def smollm2():
    """The folder of a real model, SmolLM2-135M-Instruct in bfloat16; for slow tests."""
    try:
        return smollm2_folder()
    except AbsentError as why:
        pytest.skip(f"{NAME} cannot be had: {why}")


@pytest.fixture(scope="session")
def lora_run(model, tokenizer, tmp_path_factory):
    """A folder with ``base``, a plain model, and ``lora/model``, an adapter on it."""
    from notus.engine.adapters import add_adapter
    from notus.engine.load import load_model, save_model

    folder = tmp_path_factory.mktemp("adapters")
    save_model(model, tokenizer, folder / "base")
    save_model(add_adapter(load_model(str(folder / "base")), Lora(rank=2), 0), tokenizer, folder / "lora" / "model")
    return folder


TINY = """
name: tiny
title: A tiny run
description: The whole way, too small to learn anything.
seeds: [0, 1]
data: {do: miniature, world: {prompts: 60, sft_examples: 200, held_out: 24, facts: 8}}
audit: {}
create: {shape: {vocabulary: 320, width: 32, layers: 1, heads: 2, kv_heads: 1, ffn: 32, positions: 96}}
sft: {batch_size: 40, learning_rate: 5e-3, log_every: 1, limits: &limits {max_length: 96, max_prompt_length: 48}}
binarize: {}
dpo: {batch_size: 16, learning_rate: 1e-3, log_every: 1, limits: *limits}
success: {sampling: {samples: 2, max_new_tokens: 6}, limits: *limits}
arms:
  SFT: {dpo: null, binarize: null, success: {model: sft}}
  critique: {binarize: {strategy: critique}}
  repaired: {binarize: {strategy: repaired-critique}}
"""


@pytest.fixture(scope="session")
def tiny_recipe(tmp_path_factory):
    path = tmp_path_factory.mktemp("recipes") / "tiny.yaml"
    path.write_text(TINY)
    return path


@pytest.fixture(scope="session")
def tiny_run(tiny_recipe, tmp_path_factory):
    """A finished run of the tiny recipe, made once by the command line itself."""
    out = tmp_path_factory.mktemp("runs") / "demo"
    command = [sys.executable, "-m", "notus", "run", str(tiny_recipe), "--out", str(out)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    return out


@pytest.fixture(scope="session")
def new_database():
    """Makes databases on a real PostgreSQL server."""
    if why := missing():
        pytest.skip(why)
    with running_server() as database:
        yield database
