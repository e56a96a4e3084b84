import random

import msgspec
import numpy as np
import pytest

from notus.audit.labels import AGAINST, LEAST_PAIRS, LabelTexts, TextVerdict, learn_labels
from notus.audit.pairs import PAIR_FLAGS, PairAudit, audit_pairs
from notus.core.records import Message, Preference
from notus.core.splits import fold_of

KIND = ("thanks", "gladly", "please", "welcome")
RUDE = ("nonsense", "whatever", "dunno", "boring")
PLAIN = tuple(f"word{number}" for number in range(40))


def pair(
    number: int, rng: random.Random, *, flipped: bool = False, score: tuple[float, float] | None = None
) -> Preference:
    """Chosen has mostly kind words, rejected mostly rude ones; both are of the same length and the same plain words."""

    def text(words: tuple[str, ...], others: tuple[str, ...]) -> str:
        said = [rng.choice(words if rng.random() < 0.8 else others) for _ in range(4)]
        return " ".join(rng.sample([*said, *rng.choices(PLAIN, k=12)], 16))

    sides = [(Message(role="assistant", content=text(*of)),) for of in ((KIND, RUDE), (RUDE, KIND))]
    chosen, rejected = reversed(sides) if flipped else sides
    scores = {} if score is None else {"score_chosen": score[0], "score_rejected": score[1]}
    return Preference(
        prompt=(Message(role="user", content=f"Question {number}"),), chosen=chosen, rejected=rejected, **scores
    )


def some_pairs(count: int = 400, flipped: float = 0.0) -> tuple[list[Preference], np.ndarray]:
    rng = random.Random(7)
    swap = np.array([rng.random() < flipped for _ in range(count)])
    return [pair(number, rng, flipped=bool(swap[number])) for number in range(count)], swap


def judged(pairs: list[Preference]) -> tuple[PairAudit, TextVerdict]:
    texts = LabelTexts(*learn_labels(pairs))
    return texts.lay_beside(audit_pairs(texts.watch(pairs)))


def test_flipped_labels_are_found_without_a_score() -> None:
    pairs, flipped = some_pairs(flipped=0.2)
    found, said = judged(pairs)
    chances = np.array([row.text_chance for row in found.rows], dtype=float)
    assert (chances[flipped][:, None] < chances[~flipped]).mean() > 0.97
    places = np.array([row.place_by_text for row in found.rows])
    assert flipped[places <= flipped.sum()].mean() > 0.85
    assert said.judged == said.pairs == 400
    assert said.model is not None
    assert said.other_side.count == int((chances < 0.5).sum())


def test_the_chance_is_a_frequency() -> None:
    """Of pairs whose label has a chance of about so much, about so many are labelled so by their making."""
    pairs, flipped = some_pairs(1500, flipped=0.25)
    found, _ = judged(pairs)
    chances = np.array([row.text_chance for row in found.rows], dtype=float)
    for low, high in ((0.0, 0.35), (0.35, 0.65), (0.65, 1.0)):
        here = (chances >= low) & (chances <= high)
        # A label of this set is right where the pair was not flipped; the mirrored pair is as likely the other way.
        both = np.concatenate((chances[here], 1 - chances[(1 - chances >= low) & (1 - chances <= high)]))
        agreed = np.concatenate((np.ones(here.sum()), np.zeros(len(both) - here.sum())))
        assert abs(agreed.mean() - both.mean()) < 0.08
    assert flipped.any()


def test_swapping_the_answers_turns_the_sign() -> None:
    pairs, _ = some_pairs()
    model, why = learn_labels(pairs)
    assert why == ""
    assert model is not None
    swapped = [msgspec.structs.replace(each, chosen=each.rejected, rejected=each.chosen) for each in pairs]
    assert np.allclose(model.margins(pairs), -model.margins(swapped))


def test_no_pair_is_judged_by_what_its_own_prompt_taught() -> None:
    """A word that stands in the chosen answers of one prompt alone has no weight for that prompt."""
    pairs, _ = some_pairs()
    more = [pair(7, random.Random(number)) for number in range(40)]
    marked = [
        msgspec.structs.replace(each, chosen=(Message(role="assistant", content=each.chosen[0].content + " zebra"),))
        for each in more
    ]
    model, _ = learn_labels([*pairs, *marked])
    assert model is not None

    def weight(question: str) -> float:
        """What the word brings on the mean, where the same answers are those of another prompt."""
        prompt = (Message(role="user", content=question),)
        sides = [[msgspec.structs.replace(each, prompt=prompt) for each in of] for of in (marked, more)]
        return float((model.margins(sides[0]) - model.margins(sides[1])).mean())

    own = fold_of(more[0].prompt_id)
    stranger = next(each for each in pairs if fold_of(each.prompt_id) != own)
    assert weight(stranger.prompt[0].content) > weight(more[0].prompt[0].content) + 0.05


def test_what_is_flagged_is_a_flag_of_pairs_and_counted() -> None:
    pairs, _ = some_pairs(flipped=0.03)
    found, said = judged(pairs)
    flagged = [row for row in found.rows if AGAINST in row.flags]
    assert AGAINST in PAIR_FLAGS
    assert flagged
    assert found.health.flags[AGAINST] == said.against.count == len(flagged)
    assert all(row.text_chance is not None and row.text_chance < 0.5 for row in flagged)


def test_labels_at_random_are_not_judged_and_it_is_said() -> None:
    pairs, _ = some_pairs(flipped=0.5)
    found, said = judged(pairs)
    assert said.model is None
    assert "not distinguishable from chance" in said.sentences()[0]
    assert {row.text_chance for row in found.rows} == {None}
    assert {row.place_by_text for row in found.rows} == {None}


def test_too_few_pairs_are_not_judged_and_it_is_said() -> None:
    pairs, _ = some_pairs(LEAST_PAIRS - 1)
    _, said = judged(pairs)
    assert f"it needs {LEAST_PAIRS}" in said.sentences()[0]
    _, empty = judged([])
    assert empty.model is None


def test_pairs_whose_scores_speak_against_their_label_teach_nothing() -> None:
    rng = random.Random(1)
    sound = [pair(number, rng, score=(8, 3)) for number in range(150)]
    wrong = [pair(number, rng, flipped=True, score=(3, 8)) for number in range(150, 450)]
    model, _ = learn_labels([*sound, *wrong])
    assert model is not None
    assert model.foreseen.of == 150
    assert (model.margins(wrong) < 0).mean() > 0.9


def test_an_empty_answer_is_not_judged_and_counted() -> None:
    pairs, _ = some_pairs()
    pairs[5] = msgspec.structs.replace(pairs[5], chosen=(Message(role="assistant", content=" "),))
    found, said = judged(pairs)
    assert found.rows[5].text_chance is None
    assert said.judged == 399
    assert "1 pair with an empty answer" in " ".join(said.sentences())


@pytest.mark.parametrize("length", [255, 256, 257, 600])
def test_each_pair_has_its_own_number_however_they_are_read(length: int) -> None:
    pairs, _ = some_pairs(600)
    model, _ = learn_labels(pairs)
    assert model is not None
    texts = LabelTexts(model)
    found, _ = texts.lay_beside(audit_pairs(texts.watch(pairs[:length])))
    chances = 1 / (1 + np.exp(-model.slope * model.margins(pairs[:length])))
    assert [row.text_chance for row in found.rows] == pytest.approx(chances.tolist())
