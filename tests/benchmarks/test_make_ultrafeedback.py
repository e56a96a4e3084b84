"""The generator: its marginals are the real ones, its truth is the truth of its rows, its bytes depend on the seed."""

import csv
import gzip
import json
import re
from collections import Counter
from itertools import pairwise

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from benchmarks import make_ultrafeedback
from benchmarks.make_ultrafeedback import FILES, generate
from benchmarks.ultrafeedback_benchmarks import alike, read_items
from benchmarks.ultrafeedback_judge import critique
from benchmarks.ultrafeedback_plan import FULL, KINDS, Plan, Settings, completion_count
from benchmarks.ultrafeedback_prompts import copied, edited, plain
from benchmarks.ultrafeedback_quality import RATINGS, SCORES, SOURCES, Faults, draw_models, judge_block, sure_counts
from benchmarks.ultrafeedback_text import Grammar, jaccard, load_rules, seeded, tokens
from notus.core.errors import ConfigError, DataError
from notus.core.stage import Tally
from notus.formats.quarantine import Quarantine
from notus.formats.source import open_source
from tests.helpers.paths import SHARED as SHARED_FOLDER

SHARED = SHARED_FOLDER / "data"
MANY = Faults(displaced=0.02, swapped_scores=0.02, swapped_ratings=0.02)


@pytest.fixture(scope="module")
def benchmarks(tmp_path_factory):
    """The six benchmarks in their layouts, with invented questions."""
    folder = tmp_path_factory.mktemp("published")
    grammar = Grammar()
    grammar.use(seeded(77))
    questions = [plain(grammar, seeded(78, number), "truthful_qa") for number in range(120)]
    for name in ("benchmarks", "alpaca_eval", "mt_bench"):
        (folder / name).mkdir()
    with (folder / "benchmarks/truthfulqa.csv").open("w", encoding="utf-8-sig", newline="") as file:
        rows = csv.writer(file)
        rows.writerow(["Type", "Question", "Correct Answers", "Incorrect Answers"])
        rows.writerows(["A", question, "Yes; It is", "No; Never"] for question in questions[:40])
    rows = {
        "benchmarks/gsm8k_train_500.jsonl": [{"question": question} for question in questions[40:55]],
        "benchmarks/arc_easy.jsonl": [{"query": f"Question: {q}", "choices": ["One", "Two"]} for q in questions[55:70]],
        "mt_bench/question.jsonl": [{"turns": list(pair)} for pair in pairwise(questions[70:86])],
    }
    for name, lines in rows.items():
        (folder / name).write_text("\n".join(map(json.dumps, lines)) + "\n", encoding="utf-8")
    packed = "\n".join(json.dumps({"question": q, "choices": ["A\x85b", "c"]}) for q in questions[86:100])
    (folder / "benchmarks/mmlu_dev_val.jsonl.gz").write_bytes(gzip.compress(packed.encode()))
    whole = json.dumps([{"instruction": question} for question in [*questions[100:], "Too short."]])
    (folder / "alpaca_eval/outputs_text_davinci_003.json.gz").write_bytes(gzip.compress(whole.encode()))
    return folder


@pytest.fixture(scope="module")
def made(tmp_path_factory, benchmarks):
    """A set with much of everything: folder, rows, truth by (row, completion), truth of prompts by row."""
    folder = tmp_path_factory.mktemp("made")
    shares = dict.fromkeys(("exact", "near", "near_miss", "lookalikes", "contaminated", "controls"), 0.05)
    summary = generate(folder, Settings(1000, seed=3, faults=MANY, benchmarks=benchmarks, **shares))
    rows, truth, prompts = (lines_of(folder / name) for name in FILES)
    assert (summary.prompts, summary.completions, len(truth)) == (1000, 3997, 3997)
    assert summary.bytes == (folder / FILES[0]).stat().st_size
    return (
        folder,
        rows,
        {(line["prompt"], line["completion"]): line for line in truth},
        {line["prompt"]: line for line in prompts},
    )


def lines_of(path):
    return [json.loads(line) for line in path.read_bytes().splitlines()]


def distance(left, right):
    """Total variation distance of two tables of counts."""
    whole, other = sum(left.values()), sum(right.values())
    return sum(abs(left.get(key, 0) / whole - right.get(key, 0) / other) for key in left.keys() | right.keys()) / 2


def numbers_only(prompts, faults):
    """Models, sources and judgements of a set without its texts, made in one block."""
    rng = np.random.default_rng(11)
    sources = [list(SOURCES)[place] for place in Plan(Settings(prompts)).sources]
    models = draw_models(prompts, rng)
    return models, sources, judge_block(models, sources, 0, faults, rng)


# -- size and marginals


def test_at_the_full_size_the_counts_are_the_published_ones():
    plan = Plan(Settings(FULL))
    assert completion_count(FULL) == 4 * 63_966 + 1 == 255_865
    assert plan.start(FULL) == 255_865
    assert (len(plan.singles), len(plan.legacy)) == (1, 3)
    named = Counter(plan.source(row) for row in range(FULL))
    flan = sum(count for name, count in named.items() if name.startswith("flan_v2_"))
    assert (flan, named["sharegpt"], named["truthful_qa"]) == (20_939, 19_949, 811)
    assert (named["evol_instruct"], named["false_qa"], named["ultrachat"]) == (10_000, 2_339, 9_929)
    assert plan.start(min(plan.singles) + 1) - plan.start(min(plan.singles)) == 1


@pytest.mark.parametrize("share", [0.0, 0.003, 0.0089, 0.01, 0.05])
def test_faults_are_counted_exactly_whatever_the_blocks(share):
    faults = Faults(ones=share)
    borders = [0, 97, 500, 1024, 5000, 255_865]
    ones = [sure_counts(faults.deserved, *pair) for pair in pairwise(borders)]
    reached = np.cumsum([0, *ones])
    planted = sum(sure_counts(faults.recorded, *pair) for pair in pairwise(reached.tolist()))
    assert planted == pytest.approx(share * 255_865, abs=1)
    assert sum(ones) == round(max(share, 0.0089) * 255_865)


def test_without_a_share_every_deserved_one_is_a_ten():
    _, _, judged = numbers_only(3000, Faults())
    flat = [item for row in judged for item in row]
    assert {item.score for item in flat if item.deserved == 1} == {10.0}
    assert sum(item.fault == "one-to-ten" for item in flat) == round(0.0089 * 12_000)
    genuine = [item for item in flat if item.deserved == 10]
    assert genuine
    assert all(item.fault is None for item in genuine)


def test_ratings_and_scores_have_the_stated_shares():
    _, _, judged = numbers_only(6000, Faults(ones=0.0))
    flat = [item for row in judged for item in row]
    for aspect, counts in RATINGS.items():
        found = Counter(item.ratings[aspect] for item in flat if item.ratings[aspect] is not None)
        assert distance(found, dict(enumerate(counts, start=1))) < 0.02, aspect
    assert np.mean([item.ratings["honesty"] is None for item in flat]) == pytest.approx(0.053, abs=0.008)
    assert distance(Counter(item.score for item in flat), {1.0: 0.9, **SCORES}) < 0.02
    assert np.mean([item.disagreement is not None for item in flat]) == pytest.approx(0.02, abs=0.004)


def test_the_two_rankings_differ_as_often_as_published():
    """About 30,000 of 63,000 prompts have another best completion by mean rating than by overall score."""
    _, _, judged = numbers_only(6000, Faults(ones=0.0))
    differ = ties = 0
    for row in judged:
        means = [np.mean([value for value in item.ratings.values() if value is not None]) for item in row]
        scores = [item.score for item in row]
        differ += means.index(max(means)) != scores.index(max(scores))
        ties += len(set(means)) == 1
    assert 0.42 < differ / len(judged) < 0.52
    assert 0.002 < ties / len(judged) < 0.009


@pytest.mark.skipif(not SHARED.exists(), reason="the shared data are not here")
def test_the_marginals_are_those_of_the_real_set():
    real = json.loads((SHARED / "ultrafeedback/marginals.json").read_text())
    models, sources, judged = numbers_only(16_000, Faults(ones=0.0))
    flat = [item for row in judged for item in row]
    assert distance(Counter(name for row in models for name in row), real["models"]) < 0.01
    assert distance(Counter(sources), real["sources"]) < 0.005
    for aspect in RATINGS:
        counts = {int(value): count for value, count in real["ratings"][aspect].items() if value in "12345"}
        found = Counter(item.ratings[aspect] for item in flat if item.ratings[aspect] is not None)
        assert distance(found, counts) < 0.012, aspect
    scores = np.array([item.score for item in flat])
    assert scores.mean() == pytest.approx(real["overall_score"]["mean"], abs=0.1)
    assert scores.std() == pytest.approx(real["overall_score"]["std"], abs=0.1)
    assert len({1.0, *SCORES}) == real["overall_score"]["distinct"]
    for share, value in real["overall_score"]["quantiles"].items():
        assert np.quantile(scores, float(share)) == pytest.approx(value, abs=0.5), share
    for score, count in real["overall_score"]["top5"].items():
        assert np.mean(scores == float(score)) == pytest.approx(count / real["rows_after_filter"], abs=0.012), score
    for source, mean in real["mean_overall_by_source"].items():
        assert np.mean(
            [item.score for name, row in zip(sources, judged, strict=True) if name == source for item in row]
        ) == pytest.approx(mean, abs=0.3), source


@pytest.mark.skipif(not SHARED.exists(), reason="the shared data are not here")
def test_the_principles_are_those_of_the_real_set():
    from benchmarks.ultrafeedback_answers import PRINCIPLES

    real = json.loads((SHARED / "ultrafeedback/marginals.json").read_text())
    expected = Counter()
    for source, count in real["sources"].items():
        assert sum(PRINCIPLES[source].values()) == pytest.approx(1, abs=1e-3)
        expected.update({name: share * count for name, share in PRINCIPLES[source].items()})
    assert distance(expected, real["principles"]) < 0.005


# -- determinism


def test_the_same_seed_gives_the_same_bytes_whatever_the_workers(tmp_path, benchmarks):
    for name, seed, workers in (("one", 5, 1), ("two", 5, 2), ("other", 6, 1)):
        generate(tmp_path / name, Settings(300, seed=seed, benchmarks=benchmarks), workers)
    for name in FILES:
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()
    assert (tmp_path / "one" / FILES[0]).read_bytes() != (tmp_path / "other" / FILES[0]).read_bytes()


# -- rows and their truth


def test_every_row_is_read_as_raw_ultrafeedback_and_none_is_quarantined(made):
    folder, rows, _, _ = made
    quarantine = Quarantine()
    source = open_source(str(folder / FILES[0]))
    records = list(source.records(Tally("read"), quarantine))
    assert (source.format, len(records), quarantine.total) == ("ultrafeedback", 1000, 0)
    for row, record in zip(rows, records, strict=True):
        assert record.prompt[0].content == row["instruction"]
        assert [item.mean_rating for item in record.completions] == [
            item["fine-grained_score"] for item in row["completions"]
        ]
        assert len(set(row["models"])) == len(row["models"])
        assert all(not item.extra for item in record.completions), "the stated mean is the mean of the ratings"


def test_a_fault_is_what_the_truth_says(made):
    _, rows, truth, _ = made
    kinds = Counter()
    for (row, place), line in truth.items():
        item = rows[row]["completions"][place]
        kinds[line["fault"]] += 1
        assert item["overall_score"] == line["recorded"]
        if line["fault"] == "one-to-ten":
            assert (line["recorded"], line["deserved"]) == (10, 1)
        elif line["fault"] == "displaced":
            assert abs(line["recorded"] - line["deserved"]) >= 2
        elif line["fault"] == "swapped-score":
            other = truth[row, line["swapped_with"]]
            assert (other["swapped_with"], other["deserved"]) == (place, line["recorded"])
        else:
            assert line["recorded"] == line["deserved"]
    assert kinds["one-to-ten"] == round(0.0089 * 3997)
    for kind in ("displaced", "swapped-score", "swapped-ratings"):
        assert 25 < kinds[kind] < 120, "the share asked for is .02 of 3,997"


def test_legacy_zeros_are_the_least_mean(made):
    _, rows, truth, _ = made
    for (row, place), line in truth.items():
        item = rows[row]["completions"][place]
        zero = item["annotations"]["instruction_following"]["Rating"] == "0"
        assert zero == line["legacy"]
        assert (item["fine-grained_score"] < 0.7) == zero
    assert sum(line["legacy"] for line in truth.values()) == 1


def test_a_duplicate_has_the_stated_similarity(made):
    _, rows, _, prompts = made
    words = [tokens(row["instruction"]) for row in rows]
    spans = {"exact-duplicate": (1, 1), "near-duplicate": (0.8, 0.98), "near-miss": (0.6, 0.78), "look-alike": (0, 1)}
    seen = Counter(line["kind"] for line in prompts.values())
    for row, line in prompts.items():
        if line["kind"] in spans:
            low, high = spans[line["kind"]]
            assert line["jaccard"] == jaccard(words[row], words[line["of"]])
            assert low <= line["jaccard"] <= high
            assert line["kind"] == "look-alike" or row != line["of"]
    assert all(seen[kind] == 50 for kind in spans)
    assert seen["control"] == 50
    assert set(seen) == set(KINDS) - {"plain"}


def test_lookalikes_share_a_long_template_and_differ_in_the_payload(made):
    _, rows, _, prompts = made
    members = [line for line in prompts.values() if line["kind"] == "look-alike" and line["of"] != line["prompt"]]
    alike_in_words = 0
    for line in members:
        text, first = rows[line["prompt"]]["instruction"], rows[line["of"]]["instruction"]
        assert text != first
        alike_in_words += line["jaccard"] >= 0.8
    assert alike_in_words > len(members) / 2, "most would pass for duplicates by their plain similarity"


def test_no_two_prompts_are_alike_but_those_that_the_truth_names(made):
    """All pairs of 1,000 prompts, exactly: one product of the matrix of which word is in which prompt."""
    _, rows, _, prompts = made
    words = [tokens(row["instruction"]) for row in rows]
    places = {word: place for place, word in enumerate(sorted(frozenset().union(*words)))}
    held = np.zeros((len(rows), len(places)), dtype=np.float32)
    for row, of in enumerate(words):
        held[row, [places[word] for word in of]] = 1
    shared = held @ held.T
    sizes = held.sum(axis=1)
    similarity = np.triu(shared / (sizes[:, None] + sizes[None, :] - shared), k=1)

    def family(row):
        line = prompts.get(row, {})
        if line.get("kind") == "look-alike":
            return ("group", line["group"])
        if line.get("kind") == "contaminated":
            return (line["benchmark"], line["item"])
        return ("row", line.get("of", row))

    found = [(a, b) for a, b in np.argwhere(similarity >= 0.8).tolist() if family(a) != family(b)]
    assert not [pair for pair in found if pair[0] not in prompts.get(pair[1], {}).get("resembles", [])]


def test_contaminated_prompts_hold_the_question_and_controls_do_not(made, benchmarks):
    _, rows, _, prompts = made
    questions = {(item.benchmark, item.number): item for item in read_items(benchmarks)}
    altered = Counter()
    for row, line in prompts.items():
        if "benchmark" not in line:
            continue
        question = questions[line["benchmark"], line["item"]].question
        text = rows[row]["instruction"]
        words = tokens(question)
        assert line["jaccard"] == jaccard(words, tokens(text))
        assert line["contained"] == len(words & tokens(text)) / len(words)
        if line["kind"] == "control":
            assert question not in text
            assert line["contained"] < 0.8
            continue
        altered[line["alteration"]] += 1
        assert (question in text) or line["edits"] > 0
        assert (question == text) or line["alteration"] != "exact"
        assert line["contained"] > 0.5
    assert set(altered) == {"exact", "embedded", "edited", "embedded-edited", "with-choices"}


def test_the_source_truthful_qa_is_truthfulqa_and_flan_and_it_have_answers(made, benchmarks):
    _, rows, _, prompts = made
    questions = {item.question for item in read_items(benchmarks) if item.benchmark == "truthfulqa"}
    for number, row in enumerate(rows):
        if row["source"] == "truthful_qa":
            assert row["instruction"] in questions
            assert prompts[number]["alteration"] == "exact"
            assert (row["correct_answers"], row["incorrect_answers"]) == (["Yes", "It is"], ["No", "Never"])
        elif row["source"].startswith("flan_v2_"):
            assert row["correct_answers"] != ["None"]
            assert row["incorrect_answers"] == ["None"]
        else:
            assert row["correct_answers"] == row["incorrect_answers"] == ["None"]


def test_without_benchmarks_nothing_is_contaminated(tmp_path):
    generate(tmp_path, Settings(100, contaminated=0.1, controls=0.1))
    kinds = {line["kind"] for line in lines_of(tmp_path / FILES[2])}
    assert kinds == {"exact-duplicate", "near-duplicate", "near-miss", "look-alike"}


# -- words


def test_the_wording_follows_the_quality_and_neighbours_overlap():
    """Naive Bayes on the words, trained on one half: 10 against 2 is easy, 8 against 7 is not."""

    def texts(quality, count=240):
        grammar, random = Grammar(), seeded(31, int(quality * 10))
        grammar.use(random)
        found = []
        for _ in range(count):
            grammar.names()
            grammar.topics(grammar.domains[grammar.pick(len(grammar.domains))])
            found.append(tokens(critique(grammar, random, quality)))
        return found

    def right(left, other):
        half = len(left) // 2
        counts = [Counter(word for text in texts[:half] for word in text) for texts in (left, other)]

        def log_odds(text):
            return sum(np.log((counts[0][word] + 1) / (counts[1][word] + 1)) for word in text)

        hits = [log_odds(text) > 0 for text in left[half:]] + [log_odds(text) <= 0 for text in other[half:]]
        return np.mean(hits)

    assert right(texts(10), texts(2)) > 0.85
    assert 0.5 < right(texts(8), texts(7)) < 0.75


def test_the_vocabulary_is_large_and_no_symbol_is_left_over(made):
    _, rows, _, _ = made
    critiques = [item["critique"] for row in rows for item in row["completions"]]
    assert len(set(critiques)) == len(critiques)
    assert len(frozenset().union(*map(tokens, critiques))) > 4000
    assert not re.search(r"\{[a-z0-9_]+(\|[a-z]+)?\}", "".join(critiques))
    assert not [text for text in critiques if "  " in text or text != text.strip()]


def test_every_production_can_be_expanded():
    grammar = Grammar()
    grammar.use(seeded(1))
    grammar.names()
    grammar.topics(grammar.domains[0])
    grammar.rules |= {name: ["it"] for name in ("x", "y", "key", "key2")}
    for symbol in load_rules():
        assert grammar.expand(symbol)


@settings(max_examples=60, deadline=None)
@given(st.integers(0, 10**6), st.sampled_from(sorted(SOURCES)))
def test_a_copy_has_the_same_words_and_an_edit_its_similarity(seed, source):
    grammar, random = Grammar(), seeded(seed)
    grammar.use(random)
    text = plain(grammar, random, source)
    assert tokens(copied(random, text)[0]) == tokens(text)
    for low, high in ((0.8, 0.98), (0.6, 0.78)):
        other = edited(grammar, random, text, low, high)
        assert other is None or low <= jaccard(tokens(text), tokens(other)) <= high


@given(st.sets(st.sampled_from("abcdefgh")), st.sets(st.sampled_from("abcdefgh")))
def test_jaccard_is_shared_over_all(left, right):
    expected = len(left & right) / len(left | right) if left | right else 1
    assert jaccard(tokens(" ".join(left)), tokens(" ".join(right).upper())) == expected


def test_alike_items_are_found_as_by_comparing_all(benchmarks):
    items = read_items(benchmarks)
    for least in (0.2, 0.35, 0.8):
        expected = {
            (a, b)
            for a, left in enumerate(items)
            for b, right in enumerate(items)
            if a != b and jaccard(tokens(left.question), tokens(right.question)) >= least
        }
        assert {(a, b) for a, others in alike(items, least).items() for b in others} == expected


# -- the command and its errors


def test_the_command_writes_and_does_not_overwrite(tmp_path, capsys):
    arguments = [str(tmp_path / "set"), "--prompts", "20", "--workers", "1", "--faults", "0.05"]
    assert make_ultrafeedback.main(arguments) == 0
    summary = json.loads(capsys.readouterr().out)
    assert (summary["completions"], summary["faults"]) == (77, {"one-to-ten": 4})
    assert make_ultrafeedback.main(arguments) == 2
    assert "is there already" in capsys.readouterr().err


def test_what_cannot_be_made_is_refused(tmp_path):
    for wrong in ({"prompts": 0}, {"prompts": 9, "near": 0.7}, {"prompts": 9, "near": 0.3, "exact": 0.3}):
        with pytest.raises(ConfigError):
            Settings(**wrong)
    with pytest.raises(ConfigError, match=r"faults\.displaced"):
        Settings(9, faults=Faults(displaced=-0.1))
    with pytest.raises(DataError, match="truthfulqa"):
        generate(tmp_path, Settings(9, benchmarks=tmp_path))
