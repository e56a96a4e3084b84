"""The steps that make and compare preferences, and the lineage of what they leave, on run directories."""

import json
from collections import Counter

import pytest

from notus.audit.raters import RaterRow
from notus.core.errors import ConfigError, DataError, InputError
from notus.core.records import Completion, Feedback, Message, Preference, Ranking
from notus.core.run import read_json, read_manifest
from notus.core.tables import read_records, to_row
from notus.formats.source import write_jsonl
from notus.provenance.lineage import explain, links_of
from notus.report.lineage import lineage_sections
from notus.steps.base import read_findings
from notus.steps.data.audit import Audit
from notus.steps.data.binarize import Binarize
from notus.steps.data.diff import Diff
from notus.steps.data.read import Read
from notus.steps.perform import run_step
from tests.helpers.data_examples import raw_completion, raw_row


def several(count=40):
    """Raw rows: models in turning order, scores and ratings that differ, a false 10 in every eighth."""
    models = ["alder", "birch", "cedar", "dogwood"]
    ratings = ["4 4 5 4", "2 2 2 2", "3 3 4 3", "1 1 2 1"]
    scores = [8.0, 4.0, 6.0, 2.0]
    for n in range(count):
        order = [(n + k) % 4 for k in range(4)]
        answers = [raw_completion(models[(k + n // 4) % 4], ratings[k], scores[k]) for k in order]
        if n % 8 == 0:
            answers[order.index(3)]["overall_score"] = 10.0
        names = [item["model"] for item in answers]
        yield raw_row() | {"instruction": f"Name river {n}.", "completions": answers, "models": names}


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    folder = tmp_path_factory.mktemp("preferences")
    bad = raw_row() | {"completions": []}
    write_jsonl(folder / "feedback.jsonl", [*several(), bad])
    (folder / "questions.txt").write_text("Name river 3.\nWhat else?\n")
    return folder


def made(place, name, **settings):
    config = Binarize.parse({"data": str(place / "feedback.jsonl"), **settings}, where="test")
    return run_step("binarize", config, place / name)


def pairs(run, name="preferences"):
    return list(read_records(run.path / f"{name}.parquet", Preference))


def test_pairs_that_stand_there_twice_are_told(place):
    """Three rows, of which the second is the first again: one pair has the id of an earlier one."""
    first, second = list(several())[1:3]
    write_jsonl(place / "twice.jsonl", [first, first, second])
    run = made(place, "twice", data=str(place / "twice.jsonl"), rejected="worst")
    ids = [pair.id for pair in pairs(run)]
    assert (len(ids), len(set(ids))) == (3, 2)
    assert read_manifest(run.path)["summary"]["repeated_pairs"] == 1


@pytest.fixture(scope="module")
def mean(place):
    return made(place, "mean")


@pytest.fixture(scope="module")
def legacy(place):
    return made(place, "legacy", preset="h4-legacy", test_size=10)


def test_a_preset_stands_in_the_manifest_with_all_its_settings(legacy):
    summary = read_manifest(legacy.path)["summary"]
    assert (summary["preset"], summary["test_size"], summary["drawn"]) == ("h4-legacy", 10, "as published")
    assert summary["selection"]["rejected"] == "h4-legacy"
    assert summary["about"].startswith("Zephyr")
    assert summary["ties"] == 0
    assert (summary["pairs"], summary["held_out"]) == (30, 10)
    held, train = pairs(legacy, "held_out"), pairs(legacy)
    assert not {item.prompt_id for item in held} & {item.prompt_id for item in train}
    assert {item.extra["rejected_index"] for item in (*held, *train)} == {0, 2}


def test_the_published_test_part_needs_enough_pairs(place):
    with pytest.raises(ConfigError, match="2,000 pairs for the test part, and there are 40"):
        made(place, "small", preset="h4-legacy")


def test_h4_fixed_leaves_the_questions_out_and_needs_their_file(place):
    run = made(place, "fixed", preset="h4-fixed", test_size=0, questions=str(place / "questions.txt"))
    tallies = {tally["stage"]: tally for tally in read_json(run.path / "tally.json")}
    assert tallies["leave-out"]["dropped"] == {"benchmark-question": 1}
    assert tallies["repair"]["counts"] == {"set-to-1": 5}
    assert len(pairs(run)) == 39
    assert set(read_json(run.path / "inputs.json")) == {"data", "questions"}
    with pytest.raises(ConfigError, match="name the file"):
        Binarize.parse({"preset": "h4-fixed"}, where="test")


def test_settings_beside_a_preset_take_the_place_of_its_own():
    config = Binarize.parse({"preset": "tulu3", "strategy": "critique", "margin": 1.0}, where="test")
    selection = config.selection()
    assert (selection.strategy, selection.margin, selection.rejected, selection.missing) == (
        "critique",
        1.0,
        "random-other",
        None,
    )
    with pytest.raises(ConfigError, match="did you mean 'tulu3'"):
        Binarize.parse({"preset": "tulu"}, where="test")
    with pytest.raises(ConfigError, match="exclude each other"):
        Binarize.parse({"held_out": 0.1, "test_size": 5}, where="test")


def test_a_changed_preset_is_not_told_as_the_published_one(place):
    run = made(place, "changed", preset="argilla-mean", strategy="critique", margin=1.0)
    about = read_manifest(run.path)["summary"]["about"]
    assert about == "As the preset argilla-mean, but margin 1 in place of 0, strategy critique in place of mean-rating."


def test_a_weighted_choice_by_the_command_of_a_step(place):
    run = made(place, "weighted", strategy="weighted", weights={"honesty": 1.0}, rejected="all-pairs", margin=2.0)
    assert Counter(item.prompt_id for item in pairs(run)).most_common(1)[0][1] > 1
    assert all(item.score_chosen - item.score_rejected >= 2 for item in pairs(run))


def test_the_same_step_twice_gives_the_same_bytes(place, mean):
    again = made(place, "again")
    for name in ("preferences.parquet", "dropped.parquet", "tally.json"):
        assert (again.path / name).read_bytes() == (mean.path / name).read_bytes()


def test_feedback_that_gives_no_pair_is_refused_with_the_reasons(place, tmp_path):
    write_jsonl(tmp_path / "one.jsonl", [raw_row() | {"completions": [raw_completion("alder")], "models": ["alder"]}])
    config = Binarize.parse({"data": str(tmp_path / "one.jsonl")}, where="test")
    with pytest.raises(DataError, match=r"no prompt of .* gives a pair by mean-rating or votes\n  1 one-completion"):
        run_step("binarize", config, tmp_path / "out")
    with pytest.raises(DataError, match="this needs feedback"):
        run_step("binarize", Binarize.parse({"data": str(place / "mean")}, where="test"), tmp_path / "again")
    # Nothing was made, so that the directory is free for the right settings.
    config = Binarize.parse({"data": str(place / "feedback.jsonl")}, where="test")
    assert len(pairs(run_step("binarize", config, tmp_path / "out"))) == 40


def test_the_audit_of_the_legacy_pairs_says_what_is_wrong_with_them(place, legacy):
    run = run_step("audit", Audit.parse({"data": str(legacy.path)}, where="test"), place / "audit")
    findings = {finding.heading: finding for finding in read_findings(run.path)}
    assert any("Rejected is always completion 0 or 2" in said for said in findings["Bias"].sentences)
    assert "Strength" in findings["Models"].table.columns


def test_the_audit_of_feedback_shows_who_gains_by_critique(place):
    run = run_step("audit", Audit.parse({"data": str(place / "feedback.jsonl")}, where="test"), place / "feedback")
    finding = next(item for item in read_findings(run.path) if item.heading == "Strength of the models")
    assert len(finding.table.rows) == 4
    assert (run.path / "gains.svg").read_text().startswith("<svg")


def test_two_sets_are_compared_with_their_held_out_parts(place, mean, legacy):
    config = Diff.parse({"a": str(mean.path), "b": str(legacy.path)}, where="test")
    run = run_step("diff", config, place / "diff")
    summary = read_manifest(run.path)["summary"]
    assert (summary["pairs_a"], summary["pairs_b"]) == (40, 40)
    assert {file.name for file in run.path.iterdir()} >= {"differences.parquet", "health.json", "report.html"}
    assert read_findings(run.path)[0].heading == "What differs"
    with pytest.raises(DataError, match="binarize it first"):
        run_step(
            "diff", Diff.parse({"a": str(place / "feedback.jsonl"), "b": str(mean.path)}, where="test"), place / "none"
        )


def test_a_pair_is_explained_from_its_source_to_its_draw(mean):
    pair = pairs(mean)[7]
    found = explain(pair.id[:10], str(mean.path))
    assert (found.kind, found.id) == ("pair", pair.id)
    assert [link.stage for link in found.links] == ["", "binarize"]
    (story,) = found.pairs
    assert story.reproduced
    assert story.choice.pairs == ((pair.extra["chosen_index"], pair.extra["rejected_index"]),)
    text = "\n".join(said for finding in lineage_sections(found) for said in finding.sentences)
    assert "Name river 7." in text
    assert "It does what was asked." in text  # the judge's words
    assert "helpfulness 4 (on 1 to 5): Why 4." in text
    assert "drawn with seed 0 and the prompt" in text


def test_a_prompt_and_a_completion_lead_to_the_same_story(mean):
    pair = pairs(mean)[3]
    by_prompt = explain(pair.prompt_id, str(mean.path))
    feedback = by_prompt.feedback[0][1]
    by_completion = explain(feedback.completion_id(2), str(mean.path))
    assert (by_prompt.kind, by_completion.kind) == ("prompt", "completion")
    assert by_prompt.pairs == by_completion.pairs
    assert explain(feedback.id, str(mean.path)).pairs == by_prompt.pairs


def test_a_repair_and_a_drop_are_told_with_their_reasons(place):
    run = made(place, "fixed_too", preset="h4-fixed", test_size=0, questions=str(place / "questions.txt"))
    changed = read_json(run.path / "inputs.json")["data"]["path"]
    everything = [explain(pair.prompt_id, str(run.path)) for pair in pairs(run)[:4]]
    told = [event.what for found in everything for event in found.events]
    assert any("critique.score" in what and "10.0 → 1.0 by overall-score-10:set-to-1" in what for what in told)
    assert changed.endswith("feedback.jsonl")
    from notus.core.records import digest

    left = explain(digest("Name river 3."), str(run.path))
    assert left.pairs == ()
    headings = [finding.heading for finding in lineage_sections(left)]
    assert headings.index("What touched it") < headings.index(f"Source row, as it stands in {changed}")
    assert ["benchmark-question" in event.what for event in left.events] == [True]


def test_a_bad_row_is_found_by_its_file_and_line(place, mean):
    found = explain(f"{place}/feedback.jsonl:41", str(mean.path))
    assert found.kind == "row"
    assert any("no-completion" in event.what for event in found.events)
    assert any("the row begins" in event.what for event in found.events)
    assert explain("feedback.jsonl:41", str(mean.path)).id == found.id


def test_the_way_goes_through_several_runs_that_were_moved(place, tmp_path):
    read = run_step(
        "read", Read.parse({"path": str(place / "feedback.jsonl")}, where="test"), tmp_path / "old" / "read"
    )
    config = Binarize.parse({"data": str(read.path), "strategy": "critique"}, where="test")
    run_step("binarize", config, tmp_path / "old" / "pairs", seed=4)
    (tmp_path / "old").rename(tmp_path / "new")
    links = links_of(str(tmp_path / "new" / "pairs"))
    assert [link.stage for link in links] == ["", "read", "binarize"]
    pair = next(read_records(tmp_path / "new" / "pairs" / "preferences.parquet", Preference))
    found = explain(pair.id, str(tmp_path / "new" / "pairs"))
    assert found.pairs[0].reproduced
    assert found.pairs[0].seed == 4


def test_ids_that_fit_nothing_or_too_much_are_answered(mean):
    with pytest.raises(InputError, match="begins with 'zzz'"):
        explain("zzz", str(mean.path))
    with pytest.raises(InputError, match=r"fits .* ids of .* prompts"):
        explain("a", str(mean.path))
    with pytest.raises(InputError, match="empty id"):
        explain(" ", str(mean.path))
    with pytest.raises(InputError, match="does not exist"):
        explain("a", "not here")


def test_a_source_that_has_changed_since_is_noticed(tmp_path):
    write_jsonl(tmp_path / "f.jsonl", several(8))
    run = run_step("binarize", Binarize.parse({"data": str(tmp_path / "f.jsonl")}, where="test"), tmp_path / "pairs")
    pair = pairs(run)[0]
    changed = list(several(8))
    for item in changed[0]["completions"]:  # the answers stay, the ratings do not
        for annotation in item["annotations"].values():
            annotation["Rating"] = str(6 - int(annotation["Rating"]))
        item["fine-grained_score"] = None
    write_jsonl(tmp_path / "f.jsonl", json.loads(json.dumps(changed)))
    found = explain(pair.id, str(run.path))
    assert not found.pairs[0].reproduced
    assert any("does NOT give this pair" in said for finding in lineage_sections(found) for said in finding.sentences)


RATERS = ("ann", "bo", "cy")


@pytest.fixture(scope="module")
def voted(tmp_path_factory):
    """Votes of three raters on 12 prompts: bo always for the second answer, the others always for the first."""
    folder = tmp_path_factory.mktemp("votes")
    rows = [
        Feedback(
            prompt=(Message(role="user", content=f"Name river {n}."),),
            completions=(Completion(text="The Oder.", model="alder"), Completion(text="No.", model="birch")),
            rankings=tuple(
                Ranking(ranks=(2, 1) if name == "bo" else (1, 2), rater=name, question=question)
                for name in RATERS
                for question in ("better", "safer")
            ),
        )
        for n in range(12)
    ]
    write_jsonl(folder / "votes.jsonl", [to_row(row) for row in rows])
    return folder


def voted_pairs(folder, name, **settings):
    config = Binarize.parse({"data": str(folder / "votes.jsonl"), **settings}, where="test")
    return run_step("binarize", config, folder / name)


def test_votes_are_used_where_there_are_no_scores_and_that_is_said(voted):
    run = voted_pairs(voted, "better", question="better")
    assert (run.summary["strategy"], run.summary["by_votes"], run.summary["pairs"]) == ("votes", 12, 12)
    found = pairs(run)
    assert {pair.chosen[0].content for pair in found} == {"The Oder."}
    assert [(pair.file, pair.line) for pair in found] == [("votes.jsonl", n + 1) for n in range(12)]
    told = "\n".join(
        sentence for section in lineage_sections(explain(found[3].id, str(run.path))) for sentence in section.sentences
    )
    assert "votes on 'better': 2 for chosen, 1 for rejected, 0 ties" in told
    assert "ranks 2, 1 on 'better' (by bo)" in told
    assert "does NOT" not in told


def test_votes_on_several_questions_ask_for_one(voted):
    with pytest.raises(ConfigError, match="'better', 'safer'"):
        voted_pairs(voted, "asked")
    with pytest.raises(DataError, match="no-ranking"):
        voted_pairs(voted, "none", question="kinder")


def test_a_rater_can_be_left_out_and_must_be_there(voted):
    run = voted_pairs(voted, "without", question="better", without_raters=["ann", "cy"])
    assert {pair.rejected[0].content for pair in pairs(run)} == {"The Oder."}
    (story,) = explain(pairs(run)[0].id, str(run.path)).pairs
    assert story.reproduced
    with pytest.raises(DataError, match="rater 'dee'"):
        voted_pairs(voted, "nobody", question="better", without_raters=["dee"])
    assert not (voted / "nobody" / "preferences.parquet").exists()
    voted_pairs(voted, "nobody", question="better")


def test_an_audit_leaves_a_table_of_raters(voted):
    run = run_step("audit", Audit.parse({"data": str(voted / "votes.jsonl")}, where="test"), voted / "audit")
    rows = {(row.of, row.rater): row for row in read_records(run.path / "raters.parquet", RaterRow)}
    assert rows.keys() == {(question, name) for question in ("better", "safer") for name in RATERS}
    # Of two others, ann agrees with one, bo with none; without bo all say the same.
    assert (rows["better", "ann"].agrees, rows["better", "bo"].agrees) == (0.5, 0.0)
    assert {section.heading for section in read_findings(run.path)} >= {"Votes", "Agreement of raters"}
    assert "Agreement of raters" in (run.path / "health.html").read_text()
    assert run.summary["votes"]["unscored"] == 12
