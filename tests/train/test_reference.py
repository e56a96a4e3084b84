"""A reference that is not the start: the loss before the first update says which model it is."""

import math

import pytest

from notus.core.errors import ConfigError
from notus.core.records import Message, Preference
from notus.core.run import read_manifest
from notus.core.tables import write_records
from notus.flow import kinds
from notus.flow.experiment import run_step
from notus.models.local import build_model, load_model, save_model, train_tokenizer
from notus.models.padded import all_logps
from notus.models.settings import Limits, Shape
from notus.models.tokens import Encoder

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
    run = run_step("dpo", kinds.Dpo.parse(given | values, where="x"), place / out)
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
