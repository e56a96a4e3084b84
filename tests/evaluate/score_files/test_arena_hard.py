"""Arena-Hard's files, hand-made after their documented forms, and their scores by plain arithmetic."""

import json
import math

import numpy as np
import pytest
from scipy.optimize import minimize

from notus.core.errors import ConfigError, DataError
from notus.core.run import read_manifest
from notus.core.stage import Tally
from notus.core.tables import read_table
from notus.evaluate.score_files.arena_hard import (
    Style,
    arena_hard_scores,
    control_style,
    read_battles,
    read_styles,
    style_features,
)
from notus.formats.quarantine import Quarantine, RowReader
from notus.stats.bradley_terry import Comparisons, bradley_terry
from notus.steps.base import read_findings
from notus.steps.perform import run_step
from notus.steps.scores.arena_hard import ArenaHard

WON = {"A>>B": (1.0, 3), "A>B": (1.0, 1), "A=B": (0.5, 1), "B>A": (0.0, 1), "B>>A": (0.0, 3)}
"""What A wins by a verdict, and how often it counts."""


def old(question, model, first, second):
    """A row of v0.1: in the first game the baseline is A, in the second the model is."""
    games = [{"user_prompt": "…", "judgment": f"[[{score}]]", "score": score} for score in (first, second)]
    return {"question_id": question, "model": model, "judge": "gpt-4-1106-preview", "games": games}


def new(question, model, first, second, category="hard_prompt", judge="gpt-4.1", **more):
    games = [
        None if score == "lost" else {"score": score, "judgment": {"answer": "…"}, "prompt": []}
        for score in (first, second)
    ]
    row = {"uid": question, "category": category, "judge": judge, "model": model, "baseline": "base", "games": games}
    return row | more


def write(path, rows):
    path.write_text("".join(json.dumps(row) + "\n" for row in rows))
    return path


OLD = [
    old("q1", "alder", "B>A", "A>>B"),  # wins 1 once, and 1 three times
    old("q2", "alder", "A>>B", "A=B"),  # loses three times, and a tie
    old("q3", "alder", "A=B", None),  # one game has no verdict: the other counts
    old("q1", "birch", "A>B", "B>A"),
    old("q2", "birch", "B>>A", "B>A"),
    old("q3", "birch", "A>>B", "B>>A"),
]


def plain_rate(rows, model, *, whole_rows):
    """The win rate of a model, written out."""
    won = whole = 0.0
    for row in rows:
        scores = [game and game["score"] for game in row["games"]]
        if row["model"] != model or (whole_rows and None in scores):
            continue
        for number, score in enumerate(scores):
            if score is not None:
                value, weight = WON[score]
                won += weight * (1 - value if number == 0 else value)
                whole += weight
    return won / whole


def test_v01_is_the_weighted_win_rate_and_bradley_terrys_chance_alike(tmp_path):
    battles = read_battles([write(tmp_path / "judge.jsonl", OLD)], RowReader())
    (scores,) = arena_hard_scores(battles)
    assert (scores.version, scores.baseline, scores.judges) == ("v0.1", "gpt-4-0314", ("gpt-4-1106-preview",))
    alder, birch = (next(m for m in scores.models if m.model == name) for name in ("alder", "birch"))
    # alder: 1 + 3 of q1, 0 of 3 and ½ of 1 of q2, ½ of 1 of q3.
    assert alder.win_rate.mean == pytest.approx((1 + 3 + 0 + 0.5 + 0.5) / (1 + 3 + 3 + 1 + 1))
    assert birch.win_rate.mean == pytest.approx(3 / (1 + 1 + 3 + 1 + 3 + 3))
    assert alder.win_rate.mean == plain_rate(OLD, "alder", whole_rows=False)
    assert (alder.questions, alder.games, alder.strong, alder.unread) == (3, 5, 2, 1)
    assert alder.plain.mean == pytest.approx((1 + 1 + 0 + 0.5 + 0.5) / 5)
    for model in (alder, birch):
        assert 1 / (1 + math.exp(-model.strength.mean)) == pytest.approx(model.win_rate.mean, abs=1e-9)
    # alder: the same winner in q1 alone, of the two questions with both verdicts.
    assert alder.consistent.mean == 0.5
    # The answer that stands first wins 0 and 1 in q1, 1 and ½ in q2, ½ in q3.
    assert alder.first.mean == pytest.approx(3 / 5)


def test_weights_are_repeats_for_bradley_and_terry():
    rows = [("alder", "base", 1.0, 1), ("alder", "base", 0.0, 2), ("birch", "base", 0.5, 1), ("birch", "alder", 0.0, 3)]
    weights = [3, 1, 2, 2]
    repeated = [row for row, weight in zip(rows, weights, strict=True) for _ in range(weight)]
    one, other = bradley_terry(Comparisons.make(rows, weights)), bradley_terry(Comparisons.make(repeated))
    for name in ("alder", "birch", "base"):
        assert one.of[name].mean == pytest.approx(other.of[name].mean, abs=1e-9)
        assert one.of[name].width == pytest.approx(other.of[name].width, abs=1e-9)
    with pytest.raises(DataError, match="above 0"):
        Comparisons.make(rows, [1, 1, 0, 1])


NEW = [
    new("u1", "org/alder", "B>A", "A>>B"),
    new("u2", "org/alder", "A>B", "B>A"),
    new("u3", "org/alder", "B>>A", "lost"),  # a game is missing: the question is left out
    new("u4", "org/alder", "B>A", "A>B", judge="gemini-2.5"),
    new("u1", "birch", "A=B", "A=B"),
    new("u2", "birch", "B>A", "B>>A"),
    new("w1", "birch", "B>A", "A>B", category="creative_writing"),
]


def test_v2_leaves_out_questions_with_a_game_without_a_verdict(tmp_path):
    reader = RowReader()
    rows = [*NEW, NEW[0], new("u1", "gpt-4.1", "A>B", "A>B"), new("u9", "base", "A>B", "A>B")]
    battles = read_battles([write(tmp_path / "judge.jsonl", rows)], reader)
    assert [drop.reason for drop in reader.tally.dropped] == ["judged-again", "judges-itself", "is-the-baseline"]
    assert reader.tally.taken == reader.tally.given + 3 == 10
    hard, creative = arena_hard_scores(battles)
    assert (hard.category, hard.baseline, creative.category) == ("hard_prompt", "base", "creative_writing")
    alder, birch = hard.models[0], hard.models[1]
    assert (alder.model, alder.questions, alder.unread) == ("alder", 3, 1)
    # u1: 1 + 3; u2: 0 + 0; u4: 1 + 1
    assert alder.win_rate.mean == pytest.approx((4 + 0 + 2) / (4 + 2 + 2))
    # birch: two ties; 1 of 1 and 0 of 3
    assert birch.win_rate.mean == pytest.approx((1 + 1) / (2 + 4))
    assert creative.models[0].win_rate.low >= 0.0


def test_a_model_that_wins_everything_has_an_interval_and_no_log_odds(tmp_path):
    rows = [new(f"u{n}", "alder", "B>>A", "A>>B") for n in range(20)]
    ((model,),) = [s.models for s in arena_hard_scores(read_battles([write(tmp_path / "j.jsonl", rows)], RowReader()))]
    # Wilson's interval of 20 of 20: 20/(20 + 1.96²)
    assert (model.win_rate.mean, model.strength) == (1.0, None)
    assert model.win_rate.low == pytest.approx(20 / (20 + 1.959964**2), abs=1e-4)


def test_what_is_no_judgement_is_told(tmp_path):
    bad = [new("u1", "alder", "A>C", "A>B"), {"uid": "u2", "model": "alder"}, new("u3", "alder", "A>B", "A>B")]
    tally, quarantine = Tally("read", "rows"), Quarantine()
    found = read_battles([write(tmp_path / "j.jsonl", bad)], RowReader(tally, quarantine))
    assert len(found) == 1
    assert quarantine.total == 2
    mixed = [write(tmp_path / "a.jsonl", OLD), write(tmp_path / "b.jsonl", NEW)]
    with pytest.raises(ConfigError, match=r"v0\.1 and of v2"):
        read_battles(mixed, RowReader())
    with pytest.raises(DataError, match="name the model all were judged against"):
        read_battles([write(tmp_path / "c.jsonl", [new("u", "a", "A>B", "A>B", "poems", baseline=None)])], RowReader())


def answer(question, model, tokens, headers=0, lists=0, bold=0):
    """An answer of v2 with its style, as ``add_markdown_info.py`` writes it."""
    metadata = {
        "token_len": tokens,
        "header_count": {"h1": headers, "h2": 0, "h3": 0, "h4": 0, "h5": 0, "h6": 0},
        "list_count": {"ordered": 0, "unordered": lists},
        "bold_count": {"**": bold, "__": 0},
    }
    messages = [{"role": "assistant", "content": {"answer": "…"}}]
    return {"uid": question, "model": model, "messages": messages, "metadata": metadata}


def test_the_features_of_style_by_hand():
    found = style_features(Style(300, 3, 6, 0), Style(100, 2, 0, 1))
    # Densities .01 and .02; .02 and 0; 0 and .01.
    expected = (200 / 400, (0.01 - 0.02) / 1.03, 0.02 / 1.02, -0.01 / 1.01)
    assert found == pytest.approx(expected)


def made_up(seed=5, questions=60):
    """Verdicts that go with length, and answers with styles."""
    rng = np.random.default_rng(seed)
    verdicts = list(WON)
    rows, answers = [], []
    for n in range(questions):
        styles = {m: [int(rng.integers(50, 400)), *map(int, rng.integers(0, 6, 3))] for m in ("alder", "birch", "base")}
        answers += [answer(f"u{n}", model, *style) for model, style in styles.items()]
        for model, gift in (("alder", 0.3), ("birch", -0.4)):
            longer = (styles[model][0] - styles["base"][0]) / (styles[model][0] + styles["base"][0])
            chance = 1 / (1 + math.exp(-(gift + 2 * longer)))
            games = []
            for _ in range(2):
                wins = rng.random() < chance
                games.append(verdicts[int(rng.integers(0, 2))] if wins else verdicts[int(rng.integers(2, 5))])
            flipped = {"A>>B": "B>>A", "A>B": "B>A", "A=B": "A=B", "B>A": "A>B", "B>>A": "A>>B"}
            rows.append(new(f"u{n}", model, flipped[games[0]], games[1]))
    return rows, answers


def plain_style(rows, answers, baseline="base"):
    """Style control as published, written out: each game as often as it counts, and a logistic regression by scipy."""
    style = {}
    for row in answers:
        data = row["metadata"]
        style[row["model"], row["uid"]] = [data["token_len"], *(sum(data[k].values()) for k in
                                           ("header_count", "list_count", "bold_count"))]  # fmt: skip
    models = sorted({row["model"] for row in rows})
    table, place, outcome = [], [], []
    for row in rows:
        (t, *own), (s, *theirs) = style[row["model"], row["uid"]], style[baseline, row["uid"]]
        features = [(t - s) / (t + s)] + [
            (a / t - b / s) / (a / t + b / s + 1) for a, b in zip(own, theirs, strict=True)
        ]
        for number, game in enumerate(row["games"]):
            value, weight = WON[game["score"]]
            for _ in range(weight):
                table.append(features)
                place.append(models.index(row["model"]))
                outcome.append(1 - value if number == 0 else value)
    table, outcome = np.array(table), np.array(outcome)
    mean, spread = table.mean(axis=0), table.std(axis=0, ddof=1)
    design = np.hstack([np.eye(len(models))[place], (table - mean) / spread])

    def loss(theta):
        odds = design @ theta
        chances = 1 / (1 + np.exp(-odds))
        return (np.logaddexp(0, odds) - outcome * odds).sum(), design.T @ (chances - outcome)

    theta = minimize(loss, np.zeros(design.shape[1]), jac=True, method="BFGS", options={"gtol": 1e-8}).x
    coefficients = theta[len(models) :]
    equal = theta[: len(models)] - (coefficients * mean / spread).sum()
    at_mean, at_equal = (
        dict(zip(models, (1 / (1 + np.exp(-odds))).tolist(), strict=True)) for odds in (theta[: len(models)], equal)
    )
    return at_mean, at_equal, coefficients


def test_style_control_equals_the_published_computation(tmp_path):
    rows, answers = made_up()
    battles = read_battles([write(tmp_path / "j.jsonl", rows)], RowReader())
    (scores,) = arena_hard_scores(battles)
    styles = read_styles([write(tmp_path / "a.jsonl", answers)], RowReader())
    found = control_style(scores, battles, styles)
    at_mean, at_equal, coefficients = plain_style(rows, answers)
    for name in ("alder", "birch"):
        assert found.at_mean[name].mean == pytest.approx(at_mean[name], abs=1e-5)
        assert found.at_equal[name].mean == pytest.approx(at_equal[name], abs=1e-5)
        assert found.at_mean[name].low < at_mean[name] < found.at_mean[name].high
    assert [each.mean for each in found.features.values()] == pytest.approx(coefficients.tolist(), abs=1e-4)
    assert found.features["length"].low > 0  # as it was planted
    assert (found.games, found.questions, found.without_style) == (240, 60, 0)
    fewer = {key: style for key, style in styles.items() if key[1] != "u0"}
    assert control_style(scores, battles, fewer).without_style == 2


def step(**given):
    return ArenaHard.parse(given, where="test")


def test_the_step_scores_folders_and_leaves_rows_to_compare(tmp_path):
    rows, answers = made_up(questions=20)
    folder = tmp_path / "model_judgment" / "gpt-4.1"
    folder.mkdir(parents=True)
    for name in ("alder", "birch"):
        write(folder / f"{name}.jsonl", [row for row in rows if row["model"] == name])
    given = write(tmp_path / "answers.jsonl", answers)
    run = run_step("arena-hard", step(judgments=(str(folder),), answers=(str(given),)), tmp_path / "run")
    summary = read_manifest(run.path)["summary"]
    (category,) = summary["scores"]
    rates = {each["model"]: each["win_rate"] for each in category["models"]}
    assert rates["alder"]["mean"] == pytest.approx(plain_rate(rows, "alder", whole_rows=True))
    assert (rates["alder"]["n"], rates["alder"]["unit"]) == (40, "share")
    assert category["style"]["at_mean"].keys() == {"alder", "birch"}
    headings = [each.heading for each in read_findings(run.path)]
    assert headings == ["Arena-Hard v2, hard_prompt", "Order", "Style control"]
    assert not (run.path / "scores.parquet").exists()
    alone = run_step("arena-hard", step(judgments=(str(folder / "alder.jsonl"),)), tmp_path / "alone")
    table = read_table(alone.path / "scores.parquet")
    assert len(table) == 20
    assert {row["reason"] for row in table} == {"judged"}


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ({"category": ("hard_promt",)}, "did you mean 'hard_prompt'"),
        ({"judge": ("nobody",)}, "no judgement has a verdict"),
    ],
)
def test_what_is_not_there_is_told(tmp_path, given, words):
    path = write(tmp_path / "j.jsonl", NEW)
    with pytest.raises((ConfigError, DataError), match=words):
        run_step("arena-hard", step(judgments=(str(path),), allow_losses=True, **given), tmp_path / "run")


def test_style_control_is_that_of_v2(tmp_path):
    path, answers = write(tmp_path / "j.jsonl", OLD), write(tmp_path / "a.jsonl", [answer("q1", "alder", 10)])
    with pytest.raises(DataError, match="that of v2"):
        run_step("arena-hard", step(judgments=(str(path),), answers=(str(answers),)), tmp_path / "run")
    with pytest.raises(ConfigError, match="control"):
        step(judgments=(str(path),), answers=(str(answers),), control=())
    with pytest.raises(ConfigError, match="give the answers with their style"):
        step(judgments=(str(path),), control=("length",))
    with pytest.raises(ConfigError, match=r"have none, as those of v0\.1"):
        run_step("arena-hard", step(judgments=(str(path),), category=("math",)), tmp_path / "none")
