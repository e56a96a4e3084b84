"""Every figure of the README stands in a file: a result with its provenance, what others published, or the source.

The tables are made from their results and compared whole. Of the rest each figure is written out here from where it
stands; then nothing of the README may hold a digit. Who adds a figure adds where it stands.
"""

import gzip
import json
import re
import tomllib
from collections import defaultdict
from collections.abc import Callable

import numpy as np
import pytest
import yaml

from benchmarks import table
from benchmarks.experiments import PAGES, number, result_of
from notus.checks.ifeval.ids import IFEVAL
from notus.core.config import load_yaml
from notus.recipes.recipe import BUILT_IN, load_recipe
from notus.train.losses.base import PairLoss
from notus.train.losses.registry import losses_of
from tests.helpers.paths import ROOT

PUBLISHED = yaml.safe_load((ROOT / "docs" / "published.yaml").read_text(encoding="utf-8"))
IVISON = PUBLISHED["open-question"]["ivison-2024"]
MEAN, OVERALL = IVISON["mean of the aspects"], IVISON["overall score"]
FAULT = PUBLISHED["ultrafeedback"]["fault"]
VOTES = ROOT.parent / "shared" / "data" / "votes"
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
QUESTION = ROOT / "docs" / "open-question.md"


def doses() -> str:
    """What the recipe's arms are called after, with 'and' before the last."""
    arms = load_yaml(BUILT_IN / "dose.yaml")["curve"]["lines"]["Critique as it came"]
    *most, last = (f"{share:.0%}".removesuffix("%") for share in arms.values())
    return f"How much do {', '.join(most)} and {last} % faulty scores cost?"


def selections() -> str:
    """The shares that the recipe's arms are called after."""
    names = load_yaml(BUILT_IN / "selection.yaml")["arms"]
    first, second = sorted({int(each) for name in names for each in re.findall(r", (\d+) %$", name)})
    return f"{first} and {second} % of them"


STANDS: list[Callable[[], str]] = [
    lambda: f"asked several models to answer {round(PUBLISHED['ultrafeedback']['prompts'], -3):,} prompts",
    lambda: f"recorded every deserved {FAULT['deserved']} as a **{FAULT['recorded']}**",
    lambda: f"mean of the aspects {MEAN['average']}, overall score {OVERALL['average']}",
    lambda: f"DPO with any of {len(losses_of(PairLoss))} losses of pairs",
    doses,
    lambda: f"IFEval's {len(IFEVAL)} kinds",
    selections,
    lambda: f"Python {PROJECT['requires-python'].removeprefix('>=')} to 3.13 on Linux or macOS",
]
"""Sentences of the README with figures, each made from where its figures stand."""
NAMES = (
    *("AVX-512", "fp32", "H4", "Notus 7B", "Apache-2.0", "GPT-4"),
    *("RewardBench 2", "Arena-Hard v0.1 and v2", "Open LLM Leaderboard v1"),
    "Exit codes: 0 done, 1 failed while running or a requirement not held, 2 your input",
)
"""What has a digit and is no figure."""


def prose(text: str) -> str:
    """The README without code, links' targets, numbers of lists, and the tables that are made from results."""
    for begin, end in [(table.BEGIN, table.END), *(page.marks for page in PAGES)]:
        text = re.sub(f"{re.escape(begin)}.*?{re.escape(end)}", "", text, flags=re.DOTALL)
    text = re.sub(r"```.*?```|`[^`]*`", "", text, flags=re.DOTALL)
    return re.sub(r"^\d+\. ", "", re.sub(r"\]\([^)]*\)", "]", text), flags=re.MULTILINE).replace("[2024]", "")


def test_each_figure_of_the_readme_stands_somewhere() -> None:
    text = prose(table.README.read_text(encoding="utf-8"))
    for stands in STANDS:
        assert stands() in text, "the README has another figure than its source, or the sentence is gone"
        text = text.replace(stands(), "")
    for name in NAMES:
        text = text.replace(name, "")
    left = [line for line in text.splitlines() if re.search(r"\d", line)]
    assert left == [], "a figure that stands in no result: measure it, take it out, or say in STANDS where it stands"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.recipe)
def test_a_page_holds_the_table_of_its_result(page) -> None:
    assert page.path.read_text(encoding="utf-8") == page.anew(), "run python -m benchmarks.experiments"


MEASURED = [page for page in PAGES if page.is_measured and "differences" in result_of(page.recipe)]


@pytest.mark.parametrize("page", MEASURED, ids=lambda page: page.recipe)
def test_a_result_is_of_its_recipe_and_says_where_it_is_from(page) -> None:
    result = result_of(page.recipe)
    recipe = load_recipe(BUILT_IN / f"{page.recipe}.yaml")
    assert re.fullmatch(r"[0-9a-f]{7,40}", result["commit"])
    for step, arms in result["arms"].items():
        assert list(arms) == list(recipe.arms)
        asked = {arm: recipe.arms[arm][step].sampling.samples for arm in arms}  # type: ignore[attr-defined]
        for arm, found in arms.items():
            assert found["n"] == len(result["seeds"]) * found["prompts"] * asked[arm]
    for each in result["differences"]:
        arms = result["arms"][each["of"]]
        assert each["mean"] == pytest.approx(arms[each["a"]]["mean"] - arms[each["b"]]["mean"], abs=0.0015)
        assert each["widest"][0] < each["mean"] < each["widest"][1]
        assert each["apart"] == (each["widest"][0] > 0 or each["widest"][1] < 0)


def test_the_pairs_of_the_map_are_of_its_arms_and_seeds() -> None:
    recipe, result = load_recipe(BUILT_IN / "open-question-map.yaml"), result_of("open-question-pairs")
    assert (list(result["arms"]), tuple(result["seeds"])) == (list(recipe.arms), recipe.head.seeds)
    for arm in result["arms"].values():
        for mean, low, high in (arm["good"], arm["right"]):
            assert 0 < low < mean < high < 1


def test_a_changed_figure_is_seen() -> None:
    """The README with one digit changed, at each place in turn where a figure stands, fails one of the tests above."""
    readme = table.README.read_text(encoding="utf-8")
    demo = next(page for page in PAGES if page.path == table.README)
    begin, end = demo.marks
    block = readme.partition(begin)[2].partition(end)[0]
    made = "\n".join(demo.table(result_of(demo.recipe)))
    assert block.strip() == made.strip()
    assert re.search(r"\.\d{3} \[", block)
    for stands in STANDS:
        figure = re.search(r"\d", stands())
        assert figure is not None
        wrong = stands().replace(figure[0], "9" if figure[0] != "9" else "8", 1)
        assert wrong not in readme


@pytest.mark.parametrize("score", ["overall score", "mean of the aspects"])
def test_the_open_question_has_the_published_figures(score: str) -> None:
    row = [f"{value}" for value in IVISON[score].values()]
    assert f"| {score} | {' | '.join(row)} |" in QUESTION.read_text(encoding="utf-8")


def test_the_open_question_names_its_sources() -> None:
    text = QUESTION.read_text(encoding="utf-8")
    for name, source in PUBLISHED["open-question"].items():
        if name != "distilabel":
            assert source["source"] in text
    assert f"{IVISON['pairs']:,} pairs" in text
    assert f"SFT alone has {IVISON['sft']['average']}" in text
    for key in ("overall minus mean of six aspects, a language model", "mean minus overall, a person"):
        mean, low, high = PUBLISHED["open-question"]["crowdrag-2025"][key]
        assert f"{number(mean, sign=True)} [{number(low)}, {number(high)}]" in text


ASPECTS = ("correctness_topical", "coherence_logical", "coherence_stylistic", "coverage_broad", "coverage_deep")
ASPECTS += ("consistency_internal",)
SIGNS: dict[str | None, int] = {"a": 1, "b": -1, "n": 0, None: 0}


@pytest.mark.skipif(not VOTES.is_dir(), reason="../shared/data/votes is not there")
@pytest.mark.parametrize("asked", ["individual", "combined"])
@pytest.mark.parametrize("of_ties", [0.0, 0.5])
def test_the_votes_say_what_the_page_says(asked: str, of_ties: float) -> None:
    """Overall minus mean of six aspects, by agreement with every person's overall vote; a t interval over queries."""
    votes = {}
    with gzip.open(VOTES / "people.jsonl.gz", "rt") as lines:
        for row in map(json.loads, lines):
            signs = [SIGNS[vote.lower()] for vote in row["quality_overall_vote"]]
            votes[row["response_a"], row["response_b"]] = signs
            votes[row["response_b"], row["response_a"]] = [-sign for sign in signs]
    by_query: dict[str, list[float]] = defaultdict(list)
    with gzip.open(VOTES / "judge.jsonl.gz", "rt") as lines:
        for row in map(json.loads, lines):
            if row["inference"] != asked:
                continue
            overall, mean = SIGNS[row["quality_overall"]], np.sign(sum(SIGNS[row[name]] for name in ASPECTS))
            for vote in votes[row["response_a"], row["response_b"]]:
                credit = [float(side == vote) if not of_ties else (1 + side * vote) / 2 for side in (overall, mean)]
                if vote or not of_ties:
                    by_query[row["query_id"]].append(credit[0] - credit[1])
    n = sum(map(len, by_query.values()))
    mean = sum(map(sum, by_query.values())) / n
    spread = sum((sum(of) - mean * len(of)) ** 2 for of in by_query.values())
    error = (len(by_query) / (len(by_query) - 1) * spread) ** 0.5 / n
    wide = 2.0003 * error  # t of 60 degrees of freedom: 61 queries
    told = f"{number(mean, sign=True)} [{number(mean - wide)}, {number(mean + wide)}]"
    assert len(by_query) == 61
    assert told in QUESTION.read_text(encoding="utf-8"), (asked, of_ties, told, n)
