"""Training a classifier of answers: what it learns, its loss, its labels, and the figures on held-out rows."""

import json
import math

import numpy as np
import pytest
import torch

from notus.core.errors import ConfigError, DataError
from notus.core.records import Message, Preference, Unpaired
from notus.core.run import read_manifest
from notus.core.stage import Tally
from notus.core.tables import read_table
from notus.rankers.labels import read_labels
from notus.rankers.make import make_ranker
from notus.rankers.settings import Ranking
from notus.steps.base import read_findings
from notus.steps.perform import run_step
from notus.steps.train.classifier import answers_of
from notus.steps.train.ranker import TrainRanker
from notus.train.classifier.fit import ClassifierTrainer, Labelled, LabelledCollator
from notus.train.classifier.quality import Classified, classifier_quality
from notus.train.ranker_settings import RankerTraining
from tests.helpers.ranker_examples import polite_pairs, training

LEARNS = {
    key: value
    for key, value in training().resolved().items()
    if key not in ("both_orders", "encoder", "budget", "vocabulary", "margin")
} | {"form": "classifier"}


def written(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return str(path)


def polite_rows(count):
    """Two answers to each prompt, the polite one accepted, whatever its length."""
    return [
        {"prompt": p.prompt[0].content, "completion": side[0].content, "label": label}
        for p in polite_pairs(count)
        for side, label in ((p.chosen, True), (p.rejected, False))
    ]


def train(tmp_path, data, **over):
    config = TrainRanker.parse({**LEARNS, "pairs": data, **over}, where="x")
    return run_step("train-ranker", config, tmp_path, 0)


@pytest.fixture(scope="module")
def trained(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trained")
    return train(folder / "run", written(folder / "rows.jsonl", polite_rows(100)), held_out=0.3)


def test_rows_with_labels_become_a_classifier_with_its_figures(trained):
    summary = read_manifest(trained.path)["summary"]
    assert summary["labels"] == ["rejected", "accepted"]
    assert read_labels(str(trained.path / "model")) == ("rejected", "accepted")
    assert summary["accuracy"]["mean"] >= 0.95
    assert summary["order"]["mean"] >= 0.95
    scores = read_table(trained.path / "scores.parquet")
    assert len(scores) == summary["accuracy"]["n"]
    assert np.mean([row["value"] for row in scores]) == pytest.approx(summary["accuracy"]["mean"])
    headings = [finding.heading for finding in read_findings(trained.path)]
    assert headings == ["The classifier on held-out answers", "Calibration"]
    assert (trained.path / "calibration.svg").read_text().startswith("<svg")


def test_it_is_read_as_a_ranker_by_its_run_directory(trained):
    settings = Ranking(limits=LEARNS["limits"])
    prompt = (Message(role="user", content="1 hot?"),)
    accepted, rejected = (
        make_ranker(f"classifier:{trained.path}/model#{label}", settings).rank([prompt], [["no hot", "please hot"]])[0]
        for label in ("accepted", "rejected")
    )
    assert accepted[1] > accepted[0]
    # Two labels: their probabilities sum to one.
    assert [math.exp(a) + math.exp(b) for a, b in zip(accepted, rejected, strict=True)] == pytest.approx([1, 1])


def test_going_on_from_other_labels_is_refused(trained, tmp_path):
    other = tmp_path / "other"
    other.mkdir()
    for file in (trained.path / "model").iterdir():
        (other / file.name).write_bytes(file.read_bytes())
    config = json.loads((other / "config.json").read_text())
    config |= {"id2label": {"0": "fine", "1": "toxic"}, "label2id": {"fine": 0, "toxic": 1}}
    (other / "config.json").write_text(json.dumps(config))
    data = written(tmp_path / "rows.jsonl", polite_rows(8))
    with pytest.raises(ConfigError, match="the labels rejected, accepted"):
        train(tmp_path / "run", data, start=str(other), shape=None, epochs=1)


def test_rows_are_shown_as_they_will_be_read(tmp_path):
    data = written(tmp_path / "rows.jsonl", polite_rows(4))
    shown = TrainRanker.parse({**LEARNS, "pairs": data}, where="x").preview({"pairs": data}, 3, 0)
    assert [part.name for row in shown.rows for part in row.parts] == ["accepted", "rejected", "accepted"]
    assert all(part.trained == 0 and part.tokens > 0 for row in shown.rows for part in row.parts)
    assert shown.of == 8
    assert "the label is read at the last token" in shown.about[0]


def test_pairs_are_taken_apart():
    (pair,) = polite_pairs(1)
    several = Preference(prompt=pair.prompt, chosen=(*pair.chosen, *pair.prompt), rejected=pair.rejected)
    row = Unpaired(prompt=pair.prompt, answer=pair.chosen, desirable=True)
    tally = Tally("answers")
    found = list(answers_of([pair, several, row], tally))
    assert [each.desirable for each in found] == [True, False, True]
    assert [each.reason for each in tally.dropped] == ["several-turns"]
    assert tally.counts == {"pair-taken-apart": 1}


def test_one_label_alone_and_other_records_are_refused(tmp_path):
    rows = [row for row in polite_rows(6) if row["label"]]
    with pytest.raises(DataError, match="are accepted; a classifier needs both"):
        train(tmp_path / "run", written(tmp_path / "one.jsonl", rows), held_out=0)
    talks = [{"messages": [{"role": "user", "content": "a"}, {"role": "assistant", "content": "b"}]}]
    with pytest.raises(DataError, match="answers with a label"):
        train(tmp_path / "other", written(tmp_path / "talks.jsonl", talks))
    with pytest.raises(ConfigError, match="margin belongs to"):
        RankerTraining.parse({"form": "classifier", "margin": 1.0}, where="x")


def test_the_loss_is_the_cross_entropy_of_the_label():
    class Fixed(torch.nn.Module):
        device = torch.device("cpu")

        def forward(self, input_ids, attention_mask):
            values = input_ids.float()[:, :2] * attention_mask[:, :2]
            return type("Out", (), {"logits": values})()

    items = [Labelled([3, 1], 1), Labelled([2, 2, 0], 0), Labelled([0, 5], 1)]
    (forward,) = LabelledCollator(100, 0)(items)["batch"].forwards
    trainer = object.__new__(ClassifierTrainer)
    trainer.autocast = lambda: torch.autocast("cpu", enabled=False)
    losses, metrics = trainer.forward_losses(Fixed(), forward)
    expected = {3: math.log(1 + math.exp(2)), 2: math.log(2), 0: math.log(1 + math.exp(-5))}
    assert losses.tolist() == pytest.approx([expected[item.ids[0]] for item in forward.items])
    right = dict(zip([item.ids[0] for item in forward.items], metrics["accuracies"][0].tolist(), strict=True))
    assert right == {3: 0.0, 2: 0.5, 0: 1.0}


def test_the_figures_of_held_out_rows_by_hand():
    rows = [
        Classified("a", math.log(0.9), True, 5),
        Classified("a", math.log(0.6), False, 9),
        Classified("b", math.log(0.5), True, 3),
        Classified("b", math.log(0.2), False, 3),
        Classified("c", math.log(0.7), True, 2),
    ]
    found = classifier_quality(rows, commoner=True)
    assert (found.rows, found.accepted, found.compared) == (5, 3, 2)
    assert found.accuracy.mean == pytest.approx((1 + 0 + 0.5 + 1 + 1) / 5)
    assert found.constant.mean == pytest.approx(3 / 5)
    assert found.above_constant.mean == pytest.approx(3.5 / 5 - 3 / 5)
    assert found.of_accepted.mean == pytest.approx(2.5 / 3)
    assert found.of_rejected.mean == pytest.approx(0.5)
    assert found.brier.mean == pytest.approx((0.01 + 0.36 + 0.25 + 0.04 + 0.09) / 5)
    assert (found.order.mean, found.longer.mean) == (1.0, 0.25)
    with pytest.raises(DataError, match="no measure"):
        classifier_quality([Classified("a", -math.inf, True, 1)], commoner=True)
