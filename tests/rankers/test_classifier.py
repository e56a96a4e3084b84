"""Classifiers as rankers, against transformers itself: layouts, labels, what is refused before weights are read."""

import json
import math

import pytest
import torch
from transformers import (
    AutoTokenizer,
    BertConfig,
    BertForSequenceClassification,
    BertTokenizerFast,
    MistralForSequenceClassification,
)

from notus.core.errors import ConfigError
from notus.core.stage import Tally
from notus.engine.load import build_model, save_model, train_tokenizer
from notus.engine.settings import Limits, Shape
from notus.rankers.classifier import label_logps
from notus.rankers.labels import check_label, read_labels
from notus.rankers.make import make_ranker
from notus.rankers.ref import RankerRef
from notus.rankers.reward import head_outputs, load_head
from notus.rankers.settings import Ranking
from notus.recipes.check import check_step
from notus.steps.evaluate.judges import JudgeTrial
from notus.steps.evaluate.reward_check import RewardCheck
from tests.helpers.pairrm_examples import TEXTS, user

SHAPE = Shape(vocabulary=300, width=32, layers=1, heads=4, kv_heads=2, ffn=64, positions=512)
LABELS = ("safe", "unsure", "unsafe")
PROMPTS = [user("Name a river."), user("Why?")]
CANDIDATES = [["The Tana.", "No.", "The Tana."], ["", "Because it is so."]]
LIMITS = Limits(max_length=400, max_prompt_length=200, system="")


def named(config):
    config.num_labels = len(LABELS)
    config.id2label = dict(enumerate(LABELS))
    config.label2id = {name: number for number, name in enumerate(LABELS)}
    return config


@pytest.fixture(scope="module")
def guard(tmp_path_factory):
    """A causal model with three labels and a chat template."""
    folder = tmp_path_factory.mktemp("guards") / "guard"
    tokenizer = train_tokenizer(TEXTS, 300)
    torch.manual_seed(4)
    model = MistralForSequenceClassification(named(build_model(SHAPE, tokenizer, 0).config))
    torch.nn.init.normal_(model.score.weight, std=1.0)
    save_model(model, tokenizer, folder)
    return folder


@pytest.fixture(scope="module")
def encoder(tmp_path_factory):
    """A small BERT with three labels, token types and no chat template."""
    folder = tmp_path_factory.mktemp("encoders") / "encoder"
    letters = sorted({letter for text in (*TEXTS, "Name a river. Why? Because it is so.") for letter in text.lower()})
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", *letters, *(f"##{letter}" for letter in letters)]
    tokenizer = BertTokenizerFast(vocab={word: number for number, word in enumerate(words)})
    torch.manual_seed(5)
    config = BertConfig(
        vocab_size=len(words),
        hidden_size=32,
        num_hidden_layers=1,
        num_attention_heads=4,
        intermediate_size=64,
        max_position_embeddings=64,
    )
    save_model(BertForSequenceClassification(named(config)).eval(), tokenizer, folder)
    return folder


def logits_of(folder, rows):
    kind = MistralForSequenceClassification if "guard" in folder.name else BertForSequenceClassification
    model = kind.from_pretrained(folder).eval()
    with torch.inference_mode():
        return [model(**{name: torch.tensor([of]) for name, of in row.items()}).logits[0].double() for row in rows]


def test_a_score_is_the_log_probability_of_the_label_at_the_end_of_the_conversation(guard):
    tokenizer = AutoTokenizer.from_pretrained(guard)
    tally = Tally("rank", "parts")
    ranker = make_ranker(f"classifier:{guard}#unsafe", Ranking(limits=LIMITS, max_tokens=64), tally=tally)
    found = ranker.rank(PROMPTS, CANDIDATES)
    for prompt, answers, scores in zip(PROMPTS, CANDIDATES, found, strict=True):
        turns = [{"role": "system", "content": ""}, {"role": "user", "content": prompt[0].content}]
        rows = [
            {
                "input_ids": tokenizer.apply_chat_template(
                    [*turns, {"role": "assistant", "content": answer}], tokenize=True, return_dict=False
                )
            }
            for answer in answers
        ]
        expected = [torch.log_softmax(logits, 0)[2].item() for logits in logits_of(guard, rows)]
        assert scores == pytest.approx(expected, abs=1e-5)
    assert ranker.name == "classifier:guard#unsafe"
    assert "read-as-pair" not in tally.counts


def test_without_a_chat_template_prompt_and_answer_are_the_two_texts_of_a_pair(encoder):
    tokenizer = AutoTokenizer.from_pretrained(encoder)
    tally = Tally("rank", "parts")
    ranker = make_ranker(f"classifier:{encoder}#safe", Ranking(max_tokens=64), tally=tally)
    found = ranker.rank(PROMPTS, CANDIDATES)
    for prompt, answers, scores in zip(PROMPTS, CANDIDATES, found, strict=True):
        rows = [dict(tokenizer(prompt[0].content, answer)) for answer in answers]
        expected = [torch.log_softmax(logits, 0)[0].item() for logits in logits_of(encoder, rows)]
        assert scores == pytest.approx(expected, abs=1e-5)
    assert tally.counts["read-as-pair"] == 4  # equal answers once
    long = make_ranker(f"classifier:{encoder}#safe", Ranking(), tally=(cut := Tally("rank", "parts")))
    assert math.isfinite(long.rank(PROMPTS[:1], [["The Tana. " * 40]])[0][0])
    assert cut.counts["example-cut"] == 1


def test_token_types_go_with_their_rows_through_a_padded_batch(encoder):
    model, _ = load_head(str(encoder), "a classifier")
    rows = [[2, 9, 3, 10, 11, 3], [2, 8, 8, 8, 3, 7, 3], [2, 12, 3, 3]]
    types = [[0, 0, 0, 1, 1, 1], [0, 0, 0, 0, 0, 1, 1], [0, 0, 0, 1]]
    found = head_outputs(model, rows, types=types, max_tokens=64)
    given = [{"input_ids": row, "token_type_ids": of} for row, of in zip(rows, types, strict=True)]
    for values, expected in zip(found, logits_of(encoder, given), strict=True):
        assert values == pytest.approx(expected.tolist(), abs=1e-5)
    plain = head_outputs(model, rows, max_tokens=64)
    assert abs(plain[0][0] - found[0][0]) > 1e-5  # they do say something


def test_labels_that_do_not_exclude_each_other_are_asked_each_for_itself():
    assert label_logps([1.0, 3.0]) == pytest.approx([math.log(1 / (1 + math.e**2)), math.log(1 / (1 + math.e**-2))])
    assert label_logps([0.0, 2.0], several=True) == pytest.approx([math.log(0.5), -math.log(1 + math.exp(-2))])
    assert label_logps([-900.0], several=True) == [-900.0]


def test_an_unknown_label_is_told_with_those_there_are_before_weights_are_read(guard, tmp_path):
    bare = tmp_path / "bare"
    bare.mkdir()
    (bare / "config.json").write_text((guard / "config.json").read_text())  # no weights at all
    with pytest.raises(ConfigError, match="no label 'unsave'; did you mean 'unsafe'"):
        make_ranker(f"classifier:{bare}#unsave")
    with pytest.raises(ConfigError, match="known: safe, unsafe, unsure"):
        make_ranker(f"classifier:{bare}#x")
    for config in (
        RewardCheck.parse({"data": str(tmp_path), "ranker": f"classifier:{bare}#unsave"}, where="x"),
        JudgeTrial.parse({"data": str(tmp_path), "rankers": ["length", f"classifier:{bare}#unsave"]}, where="x"),
    ):
        (finding,) = [each for each in check_step("s", config) if "label" in each.text]
        assert finding.fault
        assert "did you mean 'unsafe'" in finding.text
    one = tmp_path / "one"
    one.mkdir()
    (one / "config.json").write_text(json.dumps({"id2label": {"0": "LABEL_0"}}))
    with pytest.raises(ConfigError, match="reward-model:"):
        make_ranker(f"classifier:{one}#LABEL_0")
    assert read_labels(str(tmp_path / "nowhere")) is None
    assert check_label("x", "unsure", LABELS) == 1


def test_a_model_stands_apart_from_its_label():
    ref = RankerRef.read("classifier:runs/a#b#accepted")
    assert (ref.references, ref.label, ref.bare) == (("runs/a#b",), "accepted", "classifier:accepted")
    assert str(ref.with_references(["<0>"])) == "classifier:<0>#accepted"
    assert str(RankerRef.read(ref.bare, "runs/a#b")) == str(ref)
