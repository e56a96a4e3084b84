"""The pairs of the map, held against the truth by a plain count."""

from benchmarks import question_pairs
from notus.preferences.selection import Selection
from notus.recipes.recipe import BUILT_IN, load_recipe
from notus.toy.world import WorldConfig, feedback


def test_pairs_by_mean_rating_are_counted_by_their_truth():
    rows = list(feedback(WorldConfig(prompts=60, facts=6), 7))
    wanted = []
    for row, truths in rows:
        means = []
        for completion in row.completions:
            values = [rating.value for rating in completion.ratings if rating.value is not None]
            means.append(sum(values) / len(values))
        best, worst = means.index(max(means)), means.index(min(means))
        if means[worst] < means[best] and row.completions[best].text != row.completions[worst].text:
            wanted.append((truths[best].style == "good", truths[best].quality > truths[worst].quality))
    found = question_pairs.pairs_of(rows, Selection(strategy="mean-rating", rejected="worst"), 7)
    assert found == wanted
    assert 40 < len(found) <= 60


def test_every_arm_is_counted_under_its_own_judge_and_rule():
    settings = {"data.world.prompts": 30}
    recipe = load_recipe(BUILT_IN / "open-question-map.yaml", settings=settings)
    result = question_pairs.measure(recipe, (1, 2))
    assert result["seeds"] == [1, 2]
    for arm, found in result["arms"].items():
        steps = recipe.arms[arm]
        selection = Selection(
            strategy=steps["binarize"].strategy, rejected=steps["binarize"].rejected or "random-lower"
        )
        plain = [question_pairs.pairs_of(list(feedback(steps["data"].world, seed)), selection, seed) for seed in (1, 2)]
        assert found["pairs"] == sum(map(len, plain))
        right = [sum(better for _, better in of) / len(of) for of in plain]
        assert found["right"][0] == sum(right) / 2
        assert found["right"][1] <= min(right) <= max(right) <= found["right"][2]
