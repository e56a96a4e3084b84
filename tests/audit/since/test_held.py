"""What an audit leaves for the next comes back as it was."""

import random

import msgspec
import numpy as np
import pytest

from notus.audit.since.held import Held, held_models, restored_models
from notus.audit.wording import TextModels, learn
from notus.core.splits import FOLDS


def learned(seed):
    rng = random.Random(seed)
    words = {1: ["poor", "wrong", "thin"], 3: ["fair", "plain", "partly"], 5: ["superb", "exact", "rich"]}
    scores = [rng.choice([1.0, 3.0, 5.0]) for _ in range(400)]
    texts = [" ".join(rng.choices(words[int(score)], k=4)) for score in scores]
    folds = [rng.randrange(FOLDS) for _ in scores]
    model = learn(texts, scores, folds)
    assert model is not None
    return model, texts, folds


def test_models_come_back_to_the_bit():
    critique, texts, folds = learned(0)
    aspect, *_ = learned(1)
    held = Held(format="f", reading={}, files=(), models=held_models(TextModels(critique, {"honesty": aspect})))
    back = restored_models(msgspec.json.decode(msgspec.json.encode(held), type=Held).models)
    assert np.array_equal(back.critique.predict(texts, folds), critique.predict(texts, folds))
    assert np.array_equal(back.aspects["honesty"].predict(texts, folds), aspect.predict(texts, folds))
    assert (back.critique.penalty, back.critique.texts) == (critique.penalty, critique.texts)
    assert restored_models(()) == TextModels()


def test_a_model_that_lost_numbers_is_refused():
    (held,) = held_models(TextModels(learned(0)[0]))
    with pytest.raises(msgspec.ValidationError, match="weights"):
        restored_models((msgspec.structs.replace(held, weights=held.weights[:-8]),))
