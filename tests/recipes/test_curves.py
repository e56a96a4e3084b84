import pytest

from notus.core.errors import ConfigError
from notus.evaluate.compare import Score, compare
from notus.recipes.recipe import BUILT_IN, load_recipe
from notus.recipes.report import curve_section, curve_sentences

CURVE = {"x_label": "faulty", "lines": {"As it came": {"high": 0.2, "none": 0.0}, "Repaired": {"high again": 0.2}}}


def comparison():
    means = {"none": 0.6, "high": 0.2, "high again": 0.5, "not on a line": 0.9}
    return compare(
        Score(arm, seed, f"p{prompt}", 0, mean * (1 + seed / 100) + prompt / 1000)
        for arm, mean in means.items()
        for seed in range(3)
        for prompt in range(4)
    )


def test_a_line_of_two_doses_has_a_slope_and_one_dose_has_none():
    (said,) = curve_sentences(CURVE, comparison())
    assert said.startswith("As it came: each percentage point changes the score by -0.020 [")


def test_the_picture_holds_each_line_and_the_doses():
    (section,) = curve_section(CURVE, "success", comparison())
    picture = section.blocks[1].svg
    assert all(text in picture for text in ("As it came", "Repaired", "0 %", "20 %", "faulty"))
    assert "not on a line" not in picture


def test_without_a_curve_there_is_nothing():
    assert not list(curve_sentences(None, comparison()))
    assert not list(curve_section(None, "success", comparison()))


def test_a_curve_names_arms_of_its_recipe(tmp_path):
    text = (BUILT_IN / "dose.yaml").read_text().replace("{0 % faulty: 0, ", "{0 % flauty: 0, ")
    (tmp_path / "dose.yaml").write_text(text)
    with pytest.raises(ConfigError, match=r"curve '0 % flauty' is no arm; .*0 % faulty"):
        load_recipe(tmp_path / "dose.yaml")
