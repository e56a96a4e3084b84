"""Each warning on numbers that deserve it, on numbers that do not, and how often it speaks where there is nothing."""

import math

import numpy as np
import pytest

from notus.core.run import Run, read_manifest
from notus.train.run import health
from notus.train.run.health import (
    Health,
    TrainingFacts,
    always_clipped,
    hardly_moved,
    length_explains,
    loss_vanished,
    margins_too_small,
    memorises,
    mostly_cut,
    reference_differs,
    rewards_fall,
    solved_early,
)

LINES = 60
RUNS = 1_000
FALSE_ALARMS = 0.01
"""Most runs of which one may be warned of for nothing, all looks of a run together."""
LOOKS = [LINES * part // 10 for part in range(1, 11)]


def rng(seed=0):
    return np.random.default_rng(seed)


def ramp(last):
    """What a series that ends at a value goes through, most of it early."""
    return last * np.sqrt(np.linspace(0, 1, LINES))


def false_alarms(check, draw):
    """The share of runs that are warned of at any of their looks."""
    random = rng(1)
    drawn = (draw(random) for _ in range(RUNS))
    return sum(any(check(*(part[:look] for part in series)) for look in LOOKS) for series in drawn) / RUNS


def test_rewards_that_both_fall():
    noise = rng().normal(0, 0.2, (2, LINES))
    found = rewards_fall(ramp(-1.0) + noise[0], ramp(-2.0) + noise[1])
    assert found.said.startswith("both rewards fall: chosen -0.")
    assert rewards_fall(ramp(0.5) + noise[0], ramp(-2.0) + noise[1]) is None
    # Both fall, but nearly all of the margin is the rejected answers'.
    assert rewards_fall(ramp(-0.1) + noise[0] / 10, ramp(-2.0) + noise[1]) is None
    assert rewards_fall(ramp(-1.0)[:6], ramp(-2.0)[:6]) is None  # too few to tell


def test_rewards_that_stay_are_seldom_said_to_fall():
    def draw(random):
        return random.normal(0, 0.5, LINES), ramp(-0.5) + random.normal(0, 0.5, LINES)

    assert false_alarms(rewards_fall, draw) <= FALSE_ALARMS


EPOCHS = np.linspace(0, 3, LINES + 1)[1:]


def epochs(random, step=0.0, noise=0.05):
    """(epoch, loss) of a training whose loss falls smoothly, and by a step where an epoch begins."""
    seen = np.ceil(EPOCHS) - 1
    losses = 0.5 + 0.5 * np.exp(-EPOCHS) - step * seen + random.normal(0, noise, LINES)
    return list(zip(EPOCHS.tolist(), losses.tolist(), strict=True))


def evaluations(random):
    return [(epoch, 0.55 + 0.5 * math.exp(-epoch) + random.normal(0, 0.01)) for epoch in np.arange(0.25, 3.01, 0.25)]


def test_a_training_that_knows_its_rows_by_heart():
    for held_out in (evaluations(rng()), []):
        found = memorises(epochs(rng(), step=0.25), held_out)
        assert "the training loss falls by 0." in found.said
        assert memorises(epochs(rng()), held_out) is None
    # A step that the held-out rows make too is learning.
    both = [(epoch, loss - 0.25 * (math.ceil(epoch) - 1)) for epoch, loss in evaluations(rng())]
    assert memorises(epochs(rng(), step=0.25), both) is None
    assert memorises([point for point in epochs(rng()) if point[0] <= 1], []) is None


@pytest.mark.parametrize("measured", [True, False])
def test_a_smooth_training_is_seldom_said_to_memorise(measured):
    def draw(random):
        return (epochs(random, noise=0.2),)

    held_out = evaluations(rng()) if measured else []
    assert false_alarms(lambda losses: memorises(losses, held_out), draw) <= FALSE_ALARMS


def test_a_margin_that_goes_with_length():
    random = rng()
    differences = random.normal(0, 30, 200).round()
    margins = 0.01 * differences + random.normal(0, 0.2, 200)
    found = length_explains(differences, margins, 200)
    assert "rank correlation +0.8" in found.said
    assert "longer" in found.means
    assert "shorter" in length_explains(differences, -margins, 200).means
    assert length_explains(differences, margins, 20) is None  # too few prompts
    assert length_explains(differences, 0.003 * differences + random.normal(0, 0.2, 200), 200) is None
    assert length_explains([1.0] * 200, margins, 200) is None


def test_ranks_are_those_of_scipy():
    from scipy.stats import rankdata

    from notus.train.run.health import _ranks

    values = rng().integers(0, 9, 50)
    assert _ranks(values).tolist() == rankdata(values).tolist()


def test_length_is_seldom_blamed_for_nothing():
    random = rng(2)
    draws = (random.normal(0, 1, (2, 40)) for _ in range(RUNS))
    assert sum(length_explains(*draw, 40) is not None for draw in draws) == 0


def test_a_loss_that_hardly_moved():
    random = rng()
    flat = math.log(2) - ramp(0.002) + random.normal(0, 0.005, LINES)
    found = hardly_moved(flat, [], 5e-7, 9e-5)
    assert "5e-07" in found.means
    assert "5e-06" in found.tried
    assert hardly_moved(math.log(2) - ramp(0.1) + random.normal(0, 0.005, LINES), [], 5e-7, 9e-5) is None
    # Too noisy to tell, but held-out rows are always the same.
    noisy = 2.0 + random.normal(0, 0.5, LINES)
    assert hardly_moved(noisy, [], 1e-5, 1e-3) is None
    assert hardly_moved(noisy, [2.0, 1.995], 1e-5, 1e-3) is not None
    assert hardly_moved(noisy, [2.0, 1.5], 1e-5, 1e-3) is None
    assert hardly_moved(flat[::20], [], 5e-7, 9e-5) is None  # three lines


@pytest.mark.parametrize("moved", [-0.05, 0.05, 0.3])
def test_a_loss_that_moves_is_seldom_said_to_stand(moved):
    random = rng(3)
    runs = (1 - ramp(moved) + random.normal(0, 0.03, LINES) for _ in range(RUNS))
    assert sum(hardly_moved(losses, [], 1e-5, 1e-3) is not None for losses in runs) / RUNS <= FALSE_ALARMS


# End figures on the evaluation split as the models' cards state them: accuracy and margin.
PUBLISHED = {
    "zephyr-7b-beta": (0.7812, 3.796),
    "zephyr-7b-dpo-full": (0.77, 0.95),
    "zephyr-7b-dpo-qlora": (0.75, 1.05),
    "notus-7b-v1": (0.8016, 3.841),
}


def test_margins_that_are_small_for_how_often_they_are_right():
    def lines(value, spread):
        return value + rng(4).normal(0, spread, LINES)

    lora = margins_too_small(lines(0.101, 0.01), lines(0.6984, 0.01), 2_000, 5e-7, 9e-5)
    assert "0.698" in lora.said
    assert "5e-06" in lora.tried
    for accuracy, margin in PUBLISHED.values():
        found = margins_too_small(lines(margin, margin / 10), lines(accuracy, 0.01), 2_000, 5e-7, 9e-5)
        assert found is None
    # Right as often as a coin, the margin means nothing.
    assert margins_too_small(lines(0.001, 0.001), lines(0.5, 0.02), 2_000, 5e-7, 9e-5) is None
    assert margins_too_small([0.1] * 9, [0.7] * 9, 2_000, 5e-7, 9e-5) is None


def test_well_scaled_margins_are_seldom_said_to_be_small():
    """Margins whose logistic is the truth: the loss is smallest as they are."""
    random = rng(5)
    alarms = 0
    for _ in range(RUNS):
        margins = random.normal(0, 1.0, (LINES, 32))
        margins = np.where(random.random(margins.shape) < 1 / (1 + np.exp(-np.abs(margins))), 1, -1) * np.abs(margins)
        means, right = margins.mean(axis=1), (margins > 0).mean(axis=1)
        alarms += margins_too_small(means, right, LINES // 3 * 32, 1e-5, 1e-3) is not None
    assert alarms / RUNS <= FALSE_ALARMS


def test_gradients_that_are_always_clipped():
    norms = np.exp(rng().normal(2, 0.3, 20)).tolist()
    assert "20 of 20 lines" in always_clipped(norms, 1.0).said
    assert always_clipped(norms, float(np.median(norms))) is None
    assert always_clipped(norms[:10], 1.0) is None  # ten of ten are 72 % at least


def test_a_usual_clip_is_seldom_said_to_be_always():
    def draw(random):
        return (np.exp(random.normal(0, 1, LINES)).tolist(),)

    assert false_alarms(lambda norms: always_clipped(norms, 1.0), draw) <= FALSE_ALARMS


def test_pairs_that_are_solved_at_once():
    at_once = [(n / 100, min(1.0, 0.5 + n / 10)) for n in range(1, 100)]
    found = solved_early(at_once, 32)
    assert "1.000 on 672 pairs" in found.said
    slowly = [(n / 100, 0.5 + n / 200) for n in range(1, 101)]
    assert solved_early(slowly, 32) is None
    assert solved_early(at_once[:6], 32) is None  # 64 pairs are 94 % at least


def test_eight_of_ten_are_seldom_said_to_be_all():
    def draw(random):
        return (list(zip(np.linspace(0, 1, LINES), random.binomial(32, 0.9, LINES) / 32, strict=True)),)

    assert false_alarms(lambda points: solved_early(points, 32), draw) == 0


def test_a_loss_that_went_to_nothing():
    assert "from 0.7 to 0.01" in loss_vanished([0.7, 0.3, 0.1, 0.05, 0.01, 0.01]).said
    assert loss_vanished([0.7, 0.6, 0.55, 0.5, 0.48, 0.47]) is None
    assert loss_vanished([0.7, 0.01]) is None


def test_rows_of_which_most_are_cut():
    assert "60 of 100 prompts" in mostly_cut({"prompt-cut": 60}, 100).said
    assert "30 of 100 answers" in mostly_cut({"prompt-cut": 20, "answer-cut": 30}, 100).said
    assert mostly_cut({"prompt-cut": 50, "answer-cut": 25}, 100) is None
    assert mostly_cut({}, 0) is None


def test_a_reference_that_is_another_model():
    start = {"loss": 0.74, "rewards/chosen": 0.3, "rewards/rejected": 0.32, "rewards/margins": -0.02}
    assert "rewards/rejected is +0.32" in reference_differs(start, rounded=True).said
    assert reference_differs({"rewards/margins": 2e-6, "rewards/chosen": -1e-6}, rounded=False) is None
    assert reference_differs({"rewards/margins": 4e-3}, rounded=True) is None
    assert reference_differs({"rewards/margins": 4e-3}, rounded=False) is not None
    assert reference_differs({"loss": 3.0}, rounded=False) is None


def test_findings_are_logged_once_and_noted(tmp_path):
    with Run(tmp_path / "run", stage="dpo", config={}, inputs={}) as run:
        run.metric(step=0, loss=0.9, **{"rewards/margins": 0.5})  # before anybody listens
        health = Health(run, TrainingFacts(rate=1e-5, clip=1.0, rows_per_line=8))
        for step in range(1, 41):
            run.metric(step=step, steps=40, epoch=step / 40, loss=0.6 - step / 100, grad_norm=9.0, learning_rate=1e-5)
        health.finish()
    noted = read_manifest(run.path)["summary"]["health"]
    assert [(each["check"], each["step"]) for each in noted] == [("reference-differs", 4), ("always-clipped", 16)]
    log = (run.path / "log.txt").read_text()
    assert [log.count(f"health: {each['check']}: {each['said']}") for each in noted] == [1, 1]


def test_the_mean_of_one_value_may_lie_anywhere():
    assert (health._Mean.of([2.0]).mean, health._Mean.of([2.0]).error) == (2.0, math.inf)
    two = health._Mean.of([1.0, 3.0])
    assert (two.mean, two.n) == (2.0, 2)
    assert two.error == pytest.approx(1.0)  # √2/√2


@pytest.mark.parametrize(("solved", "said"), [(5, True), (15, False)])
def test_a_quarter_is_one_of_all_updates(solved, said, tmp_path):
    """Of 40 updates: all is right from the fifth on, or from the fifteenth."""
    with Run(tmp_path / "run", stage="dpo", config={}, inputs={}) as run:
        found = Health(run, TrainingFacts(rate=1e-5, clip=1.0, rows_per_line=64))
        run.metric(step=0, loss=0.69)  # the line of the start does not know how many there will be
        for step in range(1, 41):
            right = {"rewards/accuracies": 1.0 if step >= solved else 0.5}
            run.metric(step=step, steps=40, epoch=step / 40, loss=0.1, **right)
        found.finish()
    noted = read_manifest(run.path)["summary"].get("health", [])
    assert ("solved-early" in {each["check"] for each in noted}) == said
