"""What stands beside the rows: an audit by its ids, and of pairs the feedback that they were made from."""

import json
import shutil

import numpy as np
import pandas as pd
import pyarrow.parquet as pq
import pytest

import notus
from notus.core.errors import DataError, InputError
from notus.core.records import Feedback
from notus.decisions.ruling import Ruling
from notus.decisions.store import open_store
from notus.formats.source import open_source
from notus.review.filter import Filter
from notus.review.open import open_review
from tests.helpers.review_rows import frame, raw_rows, write_rows

COUNT = 150


@pytest.fixture(scope="module")
def runs(tmp_path_factory):
    """A source, and what a user makes of it: an audit, repaired feedback, pairs, an audit of the pairs."""
    folder = tmp_path_factory.mktemp("runs")
    source = write_rows(folder / "feedback.jsonl", raw_rows(COUNT))
    notus.audit(str(source), out=folder / "audit")
    notus.repair(str(source), out=folder / "repair")
    notus.binarize(str(folder / "repair"), out=folder / "pairs", strategy="mean-rating", allow_losses=True)
    notus.audit(str(folder / "pairs"), out=folder / "audit-pairs")
    return folder


@pytest.fixture(scope="module")
def feedback_by_id(runs):
    return {record.id: record for _, _, record in open_source(str(runs / "repair" / "feedback.parquet")).located()}


def every(review, *params):
    return review.page(Filter.parse(params), 0, 99_999).rows


def test_an_audit_is_reviewed_by_what_it_read(runs):
    known = pd.read_parquet(runs / "audit" / "completions.parquet")
    with open_review(runs / "audit") as review:
        assert review.facts.of == "completion"
        assert review.facts.sorts[0] == "suspicion"
        assert review.facts.said == ()
        rows = every(review, ("sort", "file"))
        assert [row.id for row in rows] == known["id"].tolist()
        assert [row.suspicion for row in rows] == [None if pd.isna(each) else int(each) for each in known["suspicion"]]
        assert np.allclose([np.nan if row.q is None else row.q for row in rows], known["q"], equal_nan=True)
        assert [row.evidence for row in rows] == known["evidence"].fillna("").tolist()
        for row, reasons, flags in zip(rows, known["reasons"], known["flags"], strict=True):
            assert list(row.reasons) == [*reasons, *flags]


def test_the_most_suspicious_come_first_unless_something_else_is_asked(runs):
    known = pd.read_parquet(runs / "audit" / "completions.parquet")
    with open_review(runs / "audit") as review:
        ranked = known.sort_values("suspicion", kind="stable", na_position="last")
        assert [row.number for row in every(review)] == ranked.index.tolist()
        # Of equal scores the more suspicious comes first.
        by_score = known.sort_values(["overall_score"], ascending=False, kind="stable", na_position="last")
        by_score = known.assign(order=-known["overall_score"]).sort_values(
            ["order", "suspicion"], kind="stable", na_position="last"
        )
        assert [row.number for row in every(review, ("sort", "-score"))] == by_score.index.tolist()


def test_reasons_and_q_are_filtered_and_counted_by(runs):
    known = pd.read_parquet(runs / "audit" / "completions.parquet")
    both = pd.Series([[*a, *b] for a, b in zip(known["reasons"], known["flags"], strict=True)])
    counts = both.explode().fillna("-").value_counts().to_dict()
    with open_review(runs / "audit") as review:
        (facet,) = review.facets(Filter(), ["reason"], most=99)
        assert {each.value: each.count for each in facet.choices} == counts
        for reason in [each for each in counts if each != "-"][:3]:
            mask = both.map(lambda own, reason=reason: reason in own)
            found = [row.number for row in every(review, ("reason", reason), ("sort", "file"))]
            assert found == known.index[mask].tolist()
        assert review.count(Filter.parse([("q", "..0.5")])) == (known["q"] <= 0.5).sum()
        assert review.count(Filter.parse([("suspicion", "..20")])) == (known["suspicion"] <= 20).sum()
        picture = review.histogram(Filter(), "suspicion")
        assert picture.log
        assert sum(each.count for each in picture.bars) == known["suspicion"].notna().sum()


def test_a_source_may_be_named_with_its_audit(runs):
    with open_review(runs / "audit") as one, open_review(runs / "feedback.jsonl", audit=runs / "audit") as other:
        assert every(one) == every(other)


def test_an_audit_of_other_rows_is_told(runs, tmp_path):
    more = write_rows(tmp_path / "more.jsonl", [*raw_rows(COUNT)[:50], *raw_rows(3, seed=9)])
    with open_review(more, audit=runs / "audit") as review:
        missing, rest = len(frame(raw_rows(3, seed=9))), len(frame(raw_rows(COUNT)[50:]))
        assert any(
            f"{missing} rows of {review.facts.rows:,} are not in the audit" in each for each in review.facts.said
        )
        assert any(f"{rest} rows of the audit" in each for each in review.facts.said)
        known = pd.read_parquet(runs / "audit" / "completions.parquet").set_index("id")
        for row in every(review):
            told = known.loc[row.id, "suspicion"] if row.id in known.index else np.nan
            assert row.suspicion == (None if np.isnan(told) else told)
    with pytest.raises(DataError, match="audit of other data"):
        open_review(write_rows(tmp_path / "none.jsonl", raw_rows(3, seed=9)), audit=runs / "audit")
    with pytest.raises(DataError, match="no run directory"):
        open_review(more, audit=tmp_path)
    with pytest.raises(DataError, match="is a run of 'repair'"):
        open_review(more, audit=runs / "repair")


def test_pairs_stand_beside_the_feedback_that_they_were_made_from(runs, feedback_by_id):
    known = pd.read_parquet(runs / "pairs" / "preferences.parquet")
    with open_review(runs / "pairs") as review:
        assert review.facts.of == "pair"
        rows = every(review)
        assert len(rows) == len(known) > 50
        assert not any("not found" in each or "no feedback" in each for each in review.facts.said)
        for row, (_, pair) in zip(rows, known.iterrows(), strict=True):
            record = feedback_by_id[pair["feedback_id"]]
            extra = json.loads(pair["extra"])
            chosen, rejected = (record.completions[extra[name]] for name in ("chosen_index", "rejected_index"))
            assert row.rating == pytest.approx(chosen.mean_rating)
            assert row.score == (pair["score_chosen"] if chosen.overall_score is None else chosen.overall_score)
            assert (row.model, row.model_rejected) == (chosen.model, rejected.model)
            view = review.record(row.key)
            assert view.joined
            shown = view.answers
            assert [each.role for each in shown] == ["chosen", "rejected", *[""] * (len(shown) - 2)]
            assert [each.index for each in shown[:2]] == [extra["chosen_index"], extra["rejected_index"]]
            assert [each.critique for each in shown[:2]] == [chosen.critique.text, rejected.critique.text]
            assert sorted(each.index for each in shown) == list(range(len(record.completions)))
            assert [each.id for each in shown] == [record.completion_id(each.index) for each in shown]


def test_critiques_beside_pairs_are_looked_through(runs, feedback_by_id):
    known = pd.read_parquet(runs / "pairs" / "preferences.parquet")
    with open_review(runs / "pairs") as review:
        for text in ("critique 1", "lantern", "DROP TABLE"):
            expected = []
            for number, (_, pair) in enumerate(known.iterrows()):
                record, extra = feedback_by_id[pair["feedback_id"]], json.loads(pair["extra"])
                sides = [record.completions[extra[name]] for name in ("chosen_index", "rejected_index")]
                parts = [
                    record.prompt[0].content,
                    *(each.text for each in sides),
                    *(each.critique.text for each in sides),
                ]
                if any(text.casefold() in part.casefold() for part in parts):
                    expected.append(number)
            assert [row.number for row in every(review, ("text", text))] == expected
            assert expected


def test_an_audit_of_pairs_and_one_of_their_feedback_both_say_reasons(runs):
    flags = pd.read_parquet(runs / "audit-pairs" / "pairs.parquet")["flags"]
    with open_review(runs / "audit-pairs") as review:
        assert review.facts.of == "pair"
        assert [list(row.reasons) for row in every(review, ("sort", "file"))] == flags.map(list).tolist()
        assert every(review)[0].rating is not None, "the feedback is found behind the pairs"
    known = pd.read_parquet(runs / "audit" / "completions.parquet").set_index("id")
    with open_review(runs / "pairs", audit=runs / "audit") as review:
        for row in every(review):
            chosen = review.record(row.key).answers[0]
            told = known.loc[chosen.id, "suspicion"]
            assert row.suspicion == (None if np.isnan(told) else told)
            own = [*known.loc[chosen.id, "reasons"], *known.loc[chosen.id, "flags"]]
            assert list(row.reasons)[: len(own)] == own
            assert chosen.reasons == tuple(own)


def test_feedback_without_ids_is_found_by_its_texts(runs, tmp_path):
    known = pq.read_table(runs / "pairs" / "preferences.parquet").to_pylist()
    rows = [
        {"prompt": each["prompt"][0]["content"]} | {side: each[side][-1]["content"] for side in ("chosen", "rejected")}
        for each in known
    ]
    rows.append({"prompt": "A prompt of nobody's.", "chosen": "yes", "rejected": "no"})
    path = tmp_path / "pairs.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with open_review(path) as alone:
        assert any("no feedback stands beside" in each for each in alone.facts.said)
        assert "rating" not in alone.facts.numbers
    with open_review(path, feedback=runs / "repair") as review, open_review(runs / "pairs") as told:
        assert any(f"1 row of {len(rows):,} are not found" in each for each in review.facts.said)
        assert any(f"{len(known):,} rows found by prompt and answers" in each for each in review.facts.said)
        for mine, theirs in zip(every(review)[:-1], every(told), strict=True):
            assert (mine.rating, mine.title) == (theirs.rating, theirs.title)
        last = review.record(every(review)[-1].key)
        assert (last.joined, len(last.answers)) == (False, 2)


def test_unpaired_rows_stand_beside_their_feedback(runs, tmp_path):
    known = pq.read_table(runs / "pairs" / "preferences.parquet").to_pylist()[:20]
    rows = [
        {"prompt": each["prompt"][0]["content"], "completion": each[side][-1]["content"], "label": side == "chosen"}
        for each in known
        for side in ("chosen", "rejected")
    ]
    path = tmp_path / "kto.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with open_review(path, feedback=runs / "repair") as review:
        assert review.facts.of == "row"
        (facet,) = review.facets(Filter(), ["desirable"])
        assert {each.value: each.count for each in facet.choices} == {"yes": 20, "no": 20}
        shown = every(review, ("desirable", "no"))
        assert [row.number for row in shown] == list(range(1, 40, 2))
        view = review.record(shown[0].key)
        assert (view.desirable, view.joined, view.answers[0].role) == (False, True, "answer")
        assert view.answers[0].critique


def test_dialogues_are_reviewed_too(tmp_path):
    rows = [
        {"messages": [{"role": "user", "content": f"Hello {n}"}, {"role": "assistant", "content": "word " * n}]}
        for n in range(30)
    ]
    path = tmp_path / "chat.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), encoding="utf-8")
    with open_review(path) as review:
        assert review.facts.of == "dialogue"
        assert [row.length for row in every(review, ("sort", "-length"))] == [5 * n for n in range(29, -1, -1)]
        assert [row.title for row in every(review, ("text", "hello 7"))] == ["Hello 7"]
        view = review.record(every(review)[3].key)
        assert ([turn.content for turn in view.prompt], view.answers) == (["Hello 3", "word " * 3], ())
    with pytest.raises(DataError, match="leave --feedback out"):
        open_review(path, feedback=path)


def test_what_cannot_be_reviewed_is_told(runs, tmp_path):
    with pytest.raises(DataError, match="holds no feedback"):
        open_review(runs / "pairs", feedback=runs / "pairs")
    source = write_rows(tmp_path / "gone.jsonl", raw_rows(20))
    notus.audit(str(source), out=tmp_path / "audit")
    source.unlink()
    with pytest.raises(InputError, match="gone"):
        open_review(tmp_path / "audit")
    (tmp_path / "whole" / "steps").mkdir(parents=True)
    with pytest.raises(DataError, match="whole recipe"):
        open_review(tmp_path / "whole")
    with pytest.raises(InputError, match="does not exist"):
        open_review(tmp_path / "nothing.jsonl")


def test_runs_that_were_moved_together_find_one_another(runs, tmp_path):
    shutil.copytree(runs, tmp_path / "all")
    with open_review(tmp_path / "all" / "pairs") as review:
        assert every(review)[0].rating is not None
    assert isinstance(next(iter(open_source(str(runs / "feedback.jsonl")).located()))[2], Feedback)


def test_what_was_withdrawn_since_is_not_shown_of_a_run(tmp_path):
    from notus.core.disk.withdrawn import Withdrawn, answer_digest, withdraw

    source = write_rows(tmp_path / "feedback.jsonl", raw_rows(40))
    runs = tmp_path / "runs"
    notus.audit(str(source), out=runs / "audit")
    notus.repair(str(source), out=runs / "repair")
    gone = list(open_source(str(source)).located())[3][2]
    assert isinstance(gone, Feedback)
    answers = tuple(answer_digest(each.text) for each in gone.completions)
    line = Withdrawn(id=gone.id, kind="feedback", prompt=gone.prompt_id, answers=answers)
    with open_review(runs / "audit") as review:
        assert review.count(Filter(id=(gone.id,))) == len(gone.completions)
    withdraw(runs / "forgotten.jsonl", [line], "asked to")
    for run in ("audit", "repair"):
        with open_review(runs / run) as review:
            assert review.count(Filter(id=(gone.id,))) == 0
            assert review.count(Filter(text=gone.prompt[0].content)) == 0
            assert any("withdrawn" in each for each in review.facts.said)


def test_a_score_set_on_an_answer_beside_a_pair_is_shown_there_and_decides_no_pair(runs, tmp_path):
    with (
        open_store(tmp_path / "decisions.sqlite", create=True) as store,
        open_review(runs / "pairs", decisions=store) as review,
    ):
        answer = review.record(every(review)[2].key).answers[1]
        ruling = Ruling(
            target=answer.id, of="completion", what="set-score", who="ana", field="overall_score", value=2.0
        )
        (kept,) = store.add([ruling])
        review.refresh()
        assert review.record(every(review)[2].key).answers[1].rulings == (kept,)
        assert review.progress(Filter()).decided == 0
        assert not any("not here" in each for each in review.facts.said)
        store.add([Ruling(target="f" * 16, of="completion", what="drop", who="ana")])
        review.refresh()
        assert any("1 decision in the store" in each for each in review.facts.said)
