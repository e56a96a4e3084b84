"""A reference that is not the start: the loss before the first update says which model it is."""

import json
import math
import os
import shutil
import subprocess
import sys

import pytest

from notus.core.errors import ConfigError
from notus.core.records import Message, Preference
from notus.core.run import read_manifest
from notus.core.tables import write_records
from notus.engine.load import build_model, load_model, save_model, train_tokenizer
from notus.engine.padded import all_logps
from notus.engine.settings import Limits, Shape
from notus.engine.text.encoder import Encoder
from notus.steps.perform import run_step
from notus.steps.train.dpo import Dpo
from notus.train.reference import identity_of_model

LIMITS = {"max_length": 96, "max_prompt_length": 48}
PAIRS = [
    Preference(
        prompt=(Message(role="user", content=f"{a}?"),),
        chosen=(Message(role="assistant", content=b),),
        rejected=(Message(role="assistant", content="no idea"),),
    )
    for a, b in (("hot", "cold"), ("big", "small"))
]


@pytest.fixture
def place(model, tokenizer, tmp_path):
    save_model(model, tokenizer, tmp_path / "start")
    shape = Shape(vocabulary=400, width=32, layers=2, heads=4, kv_heads=2, ffn=64, positions=128)
    save_model(build_model(shape, tokenizer, 7), tokenizer, tmp_path / "other")
    (tmp_path / "data").mkdir()
    write_records(tmp_path / "data" / "preferences.parquet", PAIRS, Preference)
    return tmp_path


def trained(place, out, **values):
    given = {
        "start": str(place / "start"),
        "pairs": str(place / "data"),
        "batch_size": 2,
        "warmup": 0,
        "limits": LIMITS,
    }
    run = run_step("dpo", Dpo.parse(given | values, where="x"), place / out)
    return read_manifest(run.path)["summary"]


def test_the_loss_starts_from_the_margin_between_start_and_reference(place, tokenizer):
    encoder = Encoder(tokenizer, Limits(**LIMITS))
    texts = [(pair.prompt, side[0].content) for pair in PAIRS for side in (pair.chosen, pair.rejected)]
    rows, pad = encoder.examples(texts), tokenizer.pad_token_id
    policy, reference = (all_logps(load_model(str(place / name)), rows, pad, 4) for name in ("start", "other"))
    margins = [(policy[i] - reference[i]) - (policy[i + 1] - reference[i + 1]) for i in (0, 2)]
    expected = sum(math.log1p(math.exp(-0.1 * margin)) for margin in margins) / 2
    found = trained(place, "other-reference", reference=str(place / "other"))
    assert found["start_loss"] == pytest.approx(expected, abs=1e-5)
    assert abs(expected - math.log(2)) > 1e-3
    # Named or not, the start as its own reference gives ln 2.
    for out, values in (("none", {}), ("named", {"reference": str(place / "start")})):
        assert trained(place, out, **values)["start_loss"] == pytest.approx(math.log(2), abs=1e-5)


def test_rows_take_a_reference_too(place):
    loss = {"name": "kto"}
    plain = trained(place, "plain", loss=loss)
    other = trained(place, "kto", loss=loss, reference=str(place / "other"))
    assert abs(plain["start_loss"] - other["start_loss"]) > 1e-4


def test_a_reference_with_another_tokenizer_is_refused(place, model):
    save_model(model, train_tokenizer(["quite another text, of other words"] * 20, 300), place / "foreign")
    with pytest.raises(ConfigError, match="has another tokenizer than the policy"):
        trained(place, "foreign-run", reference=str(place / "foreign"))


def test_a_name_on_the_hub_is_a_model_only_with_its_commit(place):
    commit = "0123456789abcdef" * 2 + "01234567"
    assert identity_of_model(f"owner/name@{commit}") == {"hub": f"owner/name@{commit}"}
    assert identity_of_model("owner/name") == identity_of_model("owner/name@main") == {}
    assert set(identity_of_model(str(place / "start"))) == {"config.json", "model.safetensors"}


def test_the_reference_of_an_adapter_is_that_of_its_base_too(place, lora_run):
    ours = identity_of_model(str(lora_run / "lora/model"))
    own = {"adapter_config.json", "adapter_model.safetensors"}
    assert set(ours) == {"base/config.json", "base/model.safetensors", *own}
    settings = lora_run / "lora/model/adapter_config.json"
    text = settings.read_text()
    try:
        settings.write_text(text.replace(str(lora_run / "base"), str(place / "other")))
        assert identity_of_model(str(lora_run / "lora/model")) != ours
    finally:
        settings.write_text(text)


@pytest.mark.slow
def test_the_reference_of_a_commit_in_the_cache_is_kept(place):
    commit = "a" * 40
    at = place / "cache/models--owner--name"
    shutil.copytree(place / "start", at / "snapshots" / commit)
    (at / "refs").mkdir()
    (at / "refs/main").write_text(commit)
    offline = {"HF_HUB_CACHE": str(place / "cache"), "HF_HUB_OFFLINE": "1"}
    start, limits = f"owner/name@{commit}", json.dumps(LIMITS)
    for out, lora in (("one", "null"), ("two", "{rank: 2}")):
        options = ["batch_size=2", "warmup=0", f"limits={limits}", f"lora={lora}"]
        command = [sys.executable, "-m", "notus", "train", "dpo", str(place / "data"), "--start", start]
        sets = [word for option in options for word in ("--set", option)]
        done = subprocess.run(
            [*command, *sets, "--out", str(place / out)], capture_output=True, text=True, env=os.environ | offline
        )
        assert done.returncode == 0, done.stderr
        assert len(list((place / out / "references").glob("*.parquet"))) == 1
    settings = json.loads((place / "two/model/adapter_config.json").read_text())
    assert (settings["base_model_name_or_path"], settings["revision"]) == ("owner/name", commit)
