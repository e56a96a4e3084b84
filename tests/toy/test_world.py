import hashlib
import os
import subprocess
import sys
from collections import Counter
from dataclasses import dataclass

import msgspec
import pytest

from notus.core.config import field_docs
from notus.core.errors import ConfigError
from notus.core.records import ASPECTS, Completion, Feedback
from notus.toy.checker import check
from notus.toy.tasks import find
from notus.toy.world import Truth, WorldConfig, dialogues, feedback, held_out

DEFAULT = WorldConfig()
SEED = 4711  # nothing was tuned on it


@dataclass(frozen=True)
class World:
    rows: list[tuple[Feedback, tuple[Truth, ...]]]

    @property
    def pairs(self) -> list[tuple[Completion, Truth]]:
        return [(row.completions[truth.index], truth) for row, truths in self.rows for truth in truths]


@pytest.fixture(scope="module")
def world() -> World:
    return World(list(feedback(DEFAULT, SEED)))


IN_ANOTHER_PROCESS = """
import hashlib, msgspec
from notus.toy.world import WorldConfig, dialogues, feedback, held_out
config = WorldConfig(prompts=20, sft_examples=20, held_out=20)
parts = [*feedback(config, 3), *dialogues(config, 3), held_out(config)]
print(hashlib.sha256(msgspec.json.encode(parts)).hexdigest())
"""


def test_the_same_seed_gives_the_same_bytes_in_every_process() -> None:
    states = {
        subprocess.run(
            [sys.executable, "-c", IN_ANOTHER_PROCESS],
            env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path), "PYTHONHASHSEED": hash_seed},
            capture_output=True,
            text=True,
            check=True,
        ).stdout
        for hash_seed in ("1", "2")
    }
    config = WorldConfig(prompts=20, sft_examples=20, held_out=20)
    parts = [*feedback(config, 3), *dialogues(config, 3), held_out(config)]
    assert states == {hashlib.sha256(msgspec.json.encode(parts)).hexdigest() + "\n"}


def test_another_seed_draws_other_feedback_and_other_dialogues() -> None:
    config = WorldConfig(prompts=20, sft_examples=20)
    assert [row.id for row, _ in feedback(config, 0)] != [row.id for row, _ in feedback(config, 1)]
    assert list(dialogues(config, 0)) != list(dialogues(config, 1))


def test_train_and_held_out_share_no_prompt(world: World) -> None:
    asked = {prompt[-1].content for prompt in held_out(DEFAULT)}
    trained = {turns[0].content for turns in dialogues(DEFAULT, SEED)}
    judged = {row.prompt[0].content for row, _ in world.rows}
    assert not asked & trained
    assert not asked & judged


def test_every_held_out_prompt_is_distinct_and_of_a_known_fact() -> None:
    asked = [prompt[0].content for prompt in held_out(DEFAULT)]
    trained = {task.subject for turns in dialogues(DEFAULT, SEED) if (task := find(turns[0].content))}
    assert len(set(asked)) == len(asked) == 400
    tasks = [task for text in asked if (task := find(text))]
    assert len(tasks) == 400
    assert len({task.family for task in tasks}) == 6
    assert all(task.held_out for task in tasks)
    # What is asked was taught in other words; only the lists are new.
    assert all((task.subject in trained) == (task.family != "counting") for task in tasks)


def test_lists_make_up_for_missing_facts() -> None:
    families = Counter(find(p[0].content).family for p in held_out(WorldConfig(facts=2, held_out=50)))  # type: ignore[union-attr]
    assert families["counting"] == 30
    assert families.total() == 50


def test_too_few_facts_without_lists_are_an_error() -> None:
    with pytest.raises(ConfigError, match="2 facts per family give 20 held-out prompts; take fewer"):
        held_out(WorldConfig(facts=2, held_out=50, counting=0.0))


def test_feedback_is_complete(world: World) -> None:
    assert len(world.rows) == 1500
    for row, truths in world.rows:
        task = find(row.prompt[0].content)
        assert task is not None
        assert row.source == task.family
        assert len(row.completions) == len(truths) == 4
        assert len({completion.model for completion in row.completions}) == 4
        for index, (completion, truth) in enumerate(zip(row.completions, truths, strict=True)):
            assert (truth.feedback_id, truth.completion_id) == (row.id, row.completion_id(index))
            assert (truth.index, truth.writer) == (index, completion.model)
            assert tuple(rating.aspect for rating in completion.ratings) == ASPECTS
            assert completion.principle
            assert completion.system_prompt
    assert len({row.id for row, _ in world.rows}) == 1500
    assert len({row.prompt_id for row, _ in world.rows}) > 700


def test_records_survive_their_encoding(world: World) -> None:
    for row in world.rows[:50]:
        decoded = msgspec.json.decode(msgspec.json.encode(row), type=tuple[Feedback, tuple[Truth, ...]])
        assert decoded == row


def test_grades_are_in_range(world: World) -> None:
    for completion, _ in world.pairs:
        assert completion.overall_score in set(map(float, range(1, 11)))
        assert {r.value for r in completion.ratings} <= {None, 1.0, 2.0, 3.0, 4.0, 5.0}
    honesty = [completion.ratings[1].value for completion, _ in world.pairs]
    assert honesty.count(None) / len(honesty) == pytest.approx(0.05, abs=0.015)


def test_a_fault_is_a_deserved_one_that_reads_ten(world: World) -> None:
    for completion, truth in world.pairs:
        if truth.faulty:
            assert (truth.deserved, completion.overall_score) == (1, 10)
        else:
            assert truth.deserved == completion.overall_score


def test_by_default_7_percent_of_completions_and_27_percent_of_prompts_are_struck(world: World) -> None:
    faulty = sum(truth.faulty for _, truth in world.pairs) / len(world.pairs)
    struck = sum(any(truth.faulty for truth in truths) for _, truths in world.rows) / len(world.rows)
    assert faulty == pytest.approx(0.07, abs=0.012)
    assert struck == pytest.approx(0.27, abs=0.035)


def test_there_are_genuine_tens_and_good_models_get_them(world: World) -> None:
    genuine = [truth for _, truth in world.pairs if truth.deserved == 10]
    assert 0.1 < len(genuine) / len(world.pairs) < 0.3
    assert sum(truth.style == "good" for truth in genuine) / len(genuine) > 0.98


@pytest.mark.parametrize("rate", [0.0, 0.1, 1.0])
def test_the_fault_strikes_at_the_rate_that_was_set(rate: float) -> None:
    rows = World(list(feedback(WorldConfig(fault_rate=rate, prompts=1000), SEED)))
    deserved = [truth for _, truth in rows.pairs if truth.deserved == 1]
    assert sum(truth.faulty for truth in deserved) / len(deserved) == pytest.approx(rate, abs=0.04)


def test_the_fault_rate_changes_nothing_but_faulty_scores_and_higher_rates_strike_more() -> None:
    struck: list[set[str]] = []
    contents = []
    for rate in (0.1, 0.3, 0.9):
        rows = World(list(feedback(WorldConfig(fault_rate=rate, prompts=200), SEED)))
        struck.append({truth.completion_id for _, truth in rows.pairs if truth.faulty})
        contents.append(
            [(c.text, c.model, c.ratings, c.critique.text, t.deserved) for c, t in rows.pairs if c.critique]
        )
    assert struck[0] < struck[1] < struck[2]
    assert contents[0] == contents[1] == contents[2]


def judged_by(**confused: float) -> list[tuple[tuple[str, ...], list[tuple[float | None, ...]], list[float]]]:
    """For each prompt the texts, the ratings of every completion, and the overall scores deserved."""
    rows = feedback(WorldConfig(prompts=200, **confused), SEED)  # type: ignore[arg-type]
    return [
        (
            tuple(completion.text for completion in row.completions),
            [tuple(rating.value for rating in completion.ratings) for completion in row.completions],
            [truth.deserved for truth in truths],
        )
        for row, truths in rows
    ]


def test_what_a_judge_confuses_touches_only_what_it_is_about() -> None:
    plain, mixed, halo, length = (
        judged_by(mix_ups=0.0), judged_by(mix_ups=1.0), judged_by(mix_ups=0.0, halo=1.0),
        judged_by(mix_ups=0.0, length_bias=3.0),
    )  # fmt: skip
    for before, mixed_up, coloured, by_length in zip(plain, mixed, halo, length, strict=True):
        assert before[0] == mixed_up[0] == coloured[0] == by_length[0]
        assert before[2] == mixed_up[2] == coloured[2]
        assert before[1] == by_length[1]
        assert sorted(map(str, mixed_up[1])) == sorted(map(str, before[1]))
        for text, score, longer in zip(before[0], before[2], by_length[2], strict=True):
            assert (longer == score) or (longer > score and len(text.split()) > 10)
        # All aspects are the overall score: 1 + 4/9 (o − 1), up to the rounding of either.
        for ratings, score in zip(coloured[1], before[2], strict=True):
            assert {abs(value - (1 + (score - 1) * 4 / 9)) <= 0.75 for value in ratings if value is not None} == {True}
    assert any(before[2] != by_length[2] for before, by_length in zip(plain, length, strict=True))


def published_rule(completion: Completion) -> str:
    """The published repair of an overall score of 10, by mean rating (OpenBMB/UltraFeedback, 2023-12-29)."""
    mean = completion.mean_rating
    assert mean is not None
    return "set-to-1" if mean <= 2 else "keep" if mean > 4 else "ask-again"


@pytest.mark.parametrize("seed", [SEED, SEED + 1, SEED + 2])
def test_the_published_rule_finds_most_faults_and_not_all(seed: int) -> None:
    rows = World(list(feedback(DEFAULT, seed)))
    verdicts = [(published_rule(c), truth.faulty) for c, truth in rows.pairs if c.overall_score == 10]
    found = sum(rule == "set-to-1" and faulty for rule, faulty in verdicts)
    precision = found / sum(rule == "set-to-1" for rule, _ in verdicts)
    recall = found / sum(faulty for _, faulty in verdicts)
    assert 0.5 < precision < 1
    assert 0.5 < recall < 1
    assert sum(rule == "ask-again" for rule, _ in verdicts) > 50
    assert any(rule == "ask-again" and faulty for rule, faulty in verdicts)
    assert any(rule == "ask-again" and not faulty for rule, faulty in verdicts)


def test_without_noise_the_rule_is_nearly_perfect() -> None:
    silent = WorldConfig(rating_noise=0.0, shared_noise=0.0, mix_ups=0.0, score_noise=0.0, not_applicable=0.0)
    rows = World(list(feedback(silent, SEED)))
    assert all((published_rule(c) == "set-to-1") == t.faulty for c, t in rows.pairs if c.overall_score == 10)


def test_success_is_what_the_feedback_teaches(world: World) -> None:
    for row, truths in world.rows:
        for completion, truth in zip(row.completions, truths, strict=True):
            assert check(row.prompt[0].content, completion.text).score == float(truth.style == "good")


def test_the_faulty_score_makes_terrible_answers_the_best() -> None:
    def chosen(config: WorldConfig) -> Counter[str]:
        count: Counter[str] = Counter()
        for row, truths in feedback(config, SEED):
            scores = [completion.overall_score or 0 for completion in row.completions]
            count[truths[scores.index(max(scores))].style] += 1
        return count

    faulty, sound = chosen(DEFAULT), chosen(WorldConfig(fault_rate=0.0))
    assert faulty["junk"] + faulty["refusing"] > 150
    assert sound["junk"] + sound["refusing"] < 30
    assert sound["good"] > faulty["good"]


def test_dialogues_have_the_styles_by_their_shares() -> None:
    reasons: Counter[str] = Counter()
    for user, assistant in dialogues(DEFAULT, SEED):
        assert (user.role, assistant.role) == ("user", "assistant")
        reasons[check(user.content, assistant.content).reason] += 1
    assert reasons.total() == 16_000
    expected = {"correct": 0.40, "wrong": 0.08, "rambling": 0.12, "rude": 0.10, "refusing": 0.10, "junk": 0.20}
    assert {reason: n / 16_000 for reason, n in reasons.items()} == pytest.approx(expected, abs=0.015)


def test_text_is_small_in_characters_and_vocabulary() -> None:
    texts = [turn.content for turns in dialogues(DEFAULT, SEED) for turn in turns]
    assert all(text.isascii() and len(text) < 200 for text in texts)
    words = {word.strip(".,:?!").lower() for text in texts for word in text.split()}
    assert len(words) < 1200


def test_more_completions_than_models_are_an_error() -> None:
    with pytest.raises(ConfigError, match="'completions' is 6, but there are 5 simulated models"):
        WorldConfig.parse({"completions": 6}, where="recipe")


def test_the_config_is_read_from_plain_values() -> None:
    config = WorldConfig.parse({"fault_rate": 0.1, "writers": {"a": {"good": 1.0}}, "completions": 1}, where="recipe")
    assert WorldConfig.parse(config.resolved(), where="again") == config
    (row, truths), *_ = feedback(config, 0)
    assert [completion.model for completion in row.completions] == ["a"]
    assert truths[0].style == "good"


def test_every_knob_is_documented() -> None:
    assert field_docs(WorldConfig).keys() == WorldConfig.model_fields.keys()


def test_a_wrong_key_is_named_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'fault_rate'"):
        WorldConfig.parse({"fault_rat": 0.1}, where="recipe")
