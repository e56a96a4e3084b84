"""Votes made one: which votes are labels, what becomes of the rankings, what a pair and its explanation say of it."""

import json

import pytest

from notus.core.errors import ConfigError, DataError
from notus.core.records import Completion, Feedback, Message, Preference, Ranking
from notus.core.run import read_json, read_manifest
from notus.core.stage import Tally, apply
from notus.core.tables import read_records
from notus.preferences.annotators import Posterior, RaterErrors, VoteLabels, consensus
from notus.preferences.binarize import binarize
from notus.preferences.selection import Selection
from notus.provenance.lineage import explain
from notus.steps.base import read_findings
from notus.steps.data.binarize import POSTERIORS, RATERS, Binarize
from notus.steps.perform import run_step

A, B, TIE = (1, 2), (2, 1), (1, 1)


def voted(number, votes, names="abcdef", **fields):
    prompt = (Message(role="user", content=f"Name river {number}."),)
    completions = (Completion(text=f"Elbe {number}", model="x"), Completion(text=f"Oder {number}", model="y"))
    rankings = tuple(Ranking(ranks=ranks, rater=name, **fields) for name, ranks in zip(names, votes, strict=False))
    return Feedback(prompt=prompt, completions=completions, rankings=rankings)


def world():
    """a, b, f and g look; c, d and e say the first whatever is asked, and are most where f and g are not asked."""
    looked = [A if n % 2 else B for n in range(30)]
    first = [voted(n, [looked[n]] * 4 + [A] * 3, names="abfgcde") for n in range(20)]
    return first + [voted(n, [looked[n]] * 2 + [A] * 3, names="abcde") for n in range(20, 30)]


@pytest.mark.parametrize("method", ["mace", "dawid-skene"])
def test_two_who_look_are_heard_over_three_who_always_say_the_first(method):
    held = VoteLabels()
    for row in world():
        held.add(row)
    found = held.fit(method)
    rows = list(apply(consensus(found.said, method, 0.0), world(), Tally("consensus")))
    pairs = list(apply(binarize(Selection(strategy="votes"), 0), rows, Tally("binarize")))
    majority = list(apply(binarize(Selection(strategy="votes"), 0), world(), Tally("binarize")))
    chosen = [pair.chosen[0].content.split()[0] for pair in pairs]
    assert len(majority) == len(pairs) == 30
    assert {pair.chosen[0].content.split()[0] for pair in majority[20:]} == {"Elbe"}
    assert chosen == ["Oder" if n % 2 == 0 else "Elbe" for n in range(30)]
    pair = pairs[20]
    assert pair.extra["votes"] == {"chosen": 2, "rejected": 3, "tied": 0}
    assert pair.extra["raters"] == 5
    assert pair.extra["consensus"]["by"] == method
    assert pair.margin == pair.extra["consensus"]["posterior"] > 0.5
    assert found.as_json()["against_the_majority"] == 5
    by_name = {row.rater: row for row in found.raters}
    assert by_name["a"].competence > by_name["c"].competence
    assert by_name["c"].errors["second-said-first"] > 0.7


def test_votes_without_a_name_and_votes_given_anew_are_counted_and_the_last_one_counts():
    held, rest = VoteLabels(), VoteLabels()
    held.add(voted(1, [A, B], names=["a", ""]))
    held.add(voted(2, [B, B], names=["a", "b"]))
    rest.add(voted(1, [B, B, TIE], names=["a", "b", "c"]))  # a changes its mind
    held.merge(rest)
    found = held.fit("mace")
    assert (found.nameless, found.repeated) == (1, 1)
    assert {row.rater: row.n for row in found.raters} == {"a": 2, "b": 2, "c": 1}
    first = found.said[voted(1, []).id][0]
    assert first.votes == (0, 2, 1)
    assert sum(first.chances) == pytest.approx(1)


def test_what_is_unsure_is_dropped_and_said():
    held = VoteLabels()
    rows = [voted(n, [A, A, B], names="abc") for n in range(6)] + [voted(9, [A, B], names="ab")]
    for row in rows:
        held.add(row)
    found = held.fit("mace")
    tops = {id_: max(parts[0].chances) for id_, parts in found.said.items()}
    sure = (sorted(tops.values())[0] + sorted(tops.values())[1]) / 2
    tally = Tally("consensus")
    kept = list(apply(consensus(found.said, "mace", sure), rows, tally))
    assert len(kept) == 6
    (dropped,) = tally.dropped
    assert (dropped.reason, dropped.asked_by) == ("unsure", "sure")
    assert tally.counts["unsure"] == 1


def test_what_cannot_be_told_is_refused():
    several = {"question": "better"}, {"question": "safer"}
    cases = {
        "1 raters have a name": [voted(1, [A], names="a")],
        "votes of two raters": [voted(1, [A], names="a"), voted(2, [A], names="b")],
        "several questions": [voted(n, [A, A], **fields) for n, fields in enumerate(several)],
    }
    for told, rows in cases.items():
        held = VoteLabels()
        for row in rows:
            held.add(row)
        with pytest.raises((DataError, ConfigError), match=told):
            held.fit("mace")
    with pytest.raises(ConfigError, match="is about votes"):
        Binarize.parse({"data": "x", "strategy": "critique", "consensus": "mace"}, where="test")
    with pytest.raises(ConfigError, match="least posterior"):
        Binarize.parse({"data": "x", "sure": 0.9}, where="test")


@pytest.fixture(scope="module")
def run(tmp_path_factory):
    folder = tmp_path_factory.mktemp("consensus")
    with (folder / "votes.jsonl").open("w") as file:
        for row in world():
            for each in row.rankings:
                vote = {
                    "prompt": row.prompt[0].content,
                    "annotator": each.rater,
                    "label": "A" if each.ranks == A else "B",
                }
                vote |= {"response_a": row.completions[0].text, "response_b": row.completions[1].text}
                file.write(json.dumps(vote) + "\n")
    config = Binarize.parse({"data": str(folder / "votes.jsonl"), "consensus": "mace"}, where="test")
    return run_step("binarize", config, folder / "run")


def test_the_step_writes_and_shows_posteriors_and_raters(run):
    rows = list(read_records(RATERS.at(run.path), RaterErrors))
    assert {row.rater for row in rows} == set("abcdefg")
    posteriors = list(read_records(POSTERIORS.at(run.path), Posterior))
    assert len(posteriors) == 30
    assert {(each.votes_first, each.votes_second) for each in posteriors} == {(7, 0), (3, 4), (5, 0), (3, 2)}
    told = read_manifest(run.path)["summary"]["consensus"]
    assert (told["by"], told["votes"], told["raters"], told["against_the_majority"]) == ("mace", 190, 7, 5)
    headings = [section.heading for section in read_findings(run.path)]
    assert headings == ["Votes made one by MACE", "Raters by their errors"]
    stages = {tally["stage"]: tally["out"] for tally in read_json(run.path / "tally.json")}
    assert stages == {"read": 30, "consensus": 30, "binarize": 30}


def test_a_pair_is_explained_by_what_the_raters_say_together(run):
    pair = next(
        each for each in read_records(run.path / "preferences.parquet", Preference) if "Oder" in each.chosen[0].content
    )
    (story,) = explain(pair.id, run.path).pairs
    assert story.choice.pairs == ((1, 0),)
    assert story.feedback.rankings[0].rater == "mace"
