import pickle
import random
import re

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from notus.audit import wording as critique_text
from notus.audit.wording import learn
from notus.core.errors import DataError
from notus.core.splits import FOLDS, fold_of

WORDS = {1: "poor wrong thin useless", 3: "fair partly enough plain", 5: "superb exact rich complete"}


def critiques(count: int, seed: int = 0):
    rng = random.Random(seed)
    scores = [rng.choice([1.0, 3.0, 5.0]) for _ in range(count)]
    texts = [" ".join(["The answer is", *rng.choices(WORDS[int(score)].split(), k=4)]) + "." for score in scores]
    return texts, scores, [rng.randrange(FOLDS) for _ in scores]


@settings(max_examples=60, deadline=None)
@given(st.lists(st.text(alphabet="aB9_ .,\nßé", max_size=12), min_size=1, max_size=6))
def test_words_are_those_of_a_plain_tokeniser(texts: list[str]) -> None:
    """Equal hashes exactly where the plain words are equal, wherever they stand."""
    words, owners = critique_text._words(texts)
    lower = [re.sub(r"[A-Z]", lambda found: found[0].lower(), text) for text in texts]
    plain = [(number, word) for number, text in enumerate(lower) for word in re.findall(r"[a-z0-9_ßé]+", text)]
    assert owners.tolist() == [number for number, _ in plain]
    assert len(set(zip(words.tolist(), (word for _, word in plain), strict=True))) == len({word for _, word in plain})
    assert len(set(words.tolist())) == len({word for _, word in plain})


def test_pairs_do_not_reach_from_one_text_into_the_next() -> None:
    buckets, owners, lengths = critique_text._occurrences(["a b", "c"])
    assert (len(buckets), owners.tolist(), lengths.tolist()) == (4, [0, 0, 1, 0], [2, 1])


def test_wording_tells_the_score_and_blocks_change_nothing() -> None:
    texts, scores, folds = critiques(400)
    model = learn(texts, scores, folds)
    assert model is not None
    found = model.predict(texts, folds)
    assert np.corrcoef(found, scores)[0, 1] > 0.95
    one_by_one = [model.predict([text], [fold])[0] for text, fold in zip(texts, folds, strict=True)]
    assert found == pytest.approx(one_by_one)
    assert np.array_equal(pickle.loads(pickle.dumps(model)).predict(texts, folds), found)


def test_no_text_is_judged_by_a_model_that_saw_its_fold() -> None:
    texts, scores, folds = critiques(400)
    model = learn(texts, scores, folds)
    other = [6 - score if fold == 2 else score for score, fold in zip(scores, folds, strict=True)]
    # Turned upside down, the scores of fold 2 change the models of the others, and not its own.
    turned = learn(texts, other, folds)
    assert model is not None
    assert turned is not None
    if model.penalty == turned.penalty:
        mine = [text for text, fold in zip(texts, folds, strict=True) if fold == 3]
        assert not np.allclose(model.predict(mine, [3] * len(mine)), turned.predict(mine, [3] * len(mine)))
    assert np.corrcoef(turned.predict(texts, [2] * len(texts)), scores)[0, 1] > 0.9


def test_a_twentieth_of_false_scores_teaches_little() -> None:
    texts, scores, folds = critiques(600)
    rng = random.Random(1)
    false = {index for index in range(len(scores)) if rng.random() < 0.05}
    told = [6 - score if index in false and score != 3 else score for index, score in enumerate(scores)]
    model = learn(texts, told, folds)
    assert model is not None
    assert np.corrcoef(model.predict(texts, folds), scores)[0, 1] > 0.95


def test_nothing_is_learned_where_there_is_nothing_to_learn() -> None:
    texts, scores, folds = critiques(400)
    assert learn(texts[:50], scores[:50], folds[:50]) is None
    assert learn(texts, [3.0] * 400, folds) is None
    assert learn(texts, scores, [0] * 400) is None
    assert learn([""] * 400, scores, folds) is None
    assert learn(["Well."] * 400, scores, folds) is None
    assert learn(texts, scores, folds, [False] * 400) is None
    with pytest.raises(DataError, match="each needs its own"):
        learn(texts, scores[:3], folds)


def test_a_text_without_a_word_is_not_predicted() -> None:
    texts, scores, folds = critiques(200)
    model = learn(texts, scores, folds)
    assert model is not None
    assert np.isnan(model.predict(["", " ?!"], [0, 1])).all()
    assert fold_of("000000000000000c") == 12 % FOLDS


def test_blocks_of_any_size_give_the_same_model(monkeypatch: pytest.MonkeyPatch) -> None:
    texts, scores, folds = critiques(400)
    assert sum(map(len, texts)) < critique_text._BLOCK
    whole = learn(texts, scores, folds)
    monkeypatch.setattr(critique_text, "_BLOCK", 300)
    parts = learn(texts, scores, folds)
    assert whole is not None
    assert parts is not None
    assert np.array_equal(parts.weights, whole.weights)
    assert np.array_equal(parts.predict(texts, folds), whole.predict(texts, folds))
