import random
from collections import Counter

import pytest

from notus.core.errors import ConfigError
from notus.toy.models import MODELS, PRINCIPLES, STYLES, Mix, draw_principle
from notus.toy.tasks import FAMILIES, accepted, fact_tasks, list_task

RNG = random.Random("lists")
TASKS = (*fact_tasks(20), *(list_task(RNG, held_out=False) for _ in range(40)))


def words(text: str) -> list[str]:
    return "".join(c if c.isalnum() else " " for c in text.lower()).split()


@pytest.mark.parametrize("style", STYLES)
def test_correct_says_whether_the_right_answer_stands_in_the_text(style: str) -> None:
    rng = random.Random(style)
    for task in TASKS:
        answer = STYLES[style](task, rng)
        assert answer.style == style
        assert answer.correct == bool(accepted(task) & set(words(answer.text))), (task.prompt, answer.text)
        assert answer.text.isascii()


def test_rambling_is_right_about_seven_times_in_ten() -> None:
    rng = random.Random(0)
    right = sum(STYLES["rambling"](rng.choice(TASKS), rng).correct for _ in range(2000))
    assert 0.66 < right / 2000 < 0.74


def test_only_rambling_is_long() -> None:
    rng = random.Random(0)
    for task in TASKS:
        lengths = {style: len(words(write(task, rng).text)) for style, write in STYLES.items()}
        assert lengths.pop("rambling") > max(lengths.values())


def test_junk_and_excuses_mention_no_answer_of_any_family() -> None:
    rng = random.Random(0)
    options = {option for family in FAMILIES.values() for option in family.options}
    for style in ("junk", "refusing"):
        said = {word for _ in range(500) for word in words(STYLES[style](TASKS[0], rng).text)}
        assert not said & options


def test_a_mix_draws_styles_by_their_shares() -> None:
    rng = random.Random(0)
    mix = Mix(good=0.5, junk=0.5)
    drawn = Counter(mix.write(TASKS[0], rng).style for _ in range(1000))
    assert set(drawn) == {"good", "junk"}
    assert 440 < drawn["good"] < 560


def test_shares_that_do_not_sum_to_one_are_an_error() -> None:
    with pytest.raises(ConfigError, match=r"sum to 0\.9; they must sum to 1"):
        Mix.parse({"good": 0.9}, where="mix")


def test_an_unknown_style_is_named_with_the_nearest() -> None:
    with pytest.raises(ConfigError, match="did you mean 'rude'"):
        Mix.parse({"good": 0.5, "rud": 0.5}, where="mix")


def test_a_mix_offers_every_style() -> None:
    assert list(Mix.model_fields) == list(STYLES)


def test_the_simulated_models_differ_in_quality() -> None:
    shares = [mix.good for mix in MODELS.values()]
    assert shares == sorted(shares, reverse=True)
    assert len(set(shares)) == 5


def test_principles_come_with_their_system_prompts() -> None:
    rng = random.Random(0)
    drawn = {draw_principle(rng) for _ in range(500)}
    assert drawn == {(name, prompt) for name, (_, prompt) in PRINCIPLES.items()}
    assert sum(share for share, _ in PRINCIPLES.values()) == pytest.approx(1)
