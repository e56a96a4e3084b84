"""A queue out and decisions in: round trips of real rows through each form, what is left out, what is told."""

import hashlib
import json

import msgspec
import pytest

from notus.api.decide import export_queue, form_of, import_form
from notus.api.queue import places_of
from notus.audit.feedback import Suspicion
from notus.audit.pairs import Pair
from notus.cli.decide.forms import _exported_lines
from notus.core.disk.outputs import seal
from notus.core.errors import ConfigError, DataError, InputError
from notus.core.records import Completion, Critique, Feedback, Message, Rating, Scale
from notus.core.run import MANIFEST
from notus.core.tables import read_records, write_records
from notus.decisions.ruling import Ruling
from notus.decisions.store import open_store
from notus.steps.data.audit import COMPLETIONS
from notus.steps.data.audit import PAIRS as PAIRS_TABLE
from notus.steps.perform import run_step
from notus.steps.registry import step_class
from tests.helpers.decide_forms import FEEDBACK, FILLERS, PAIRS, expected, made
from tests.helpers.review_server import pair_row, write_rows

REAL = pytest.mark.skipif(not FEEDBACK.is_file(), reason="the shared data are not there")


@pytest.fixture(scope="module")
def audits(tmp_path_factory):
    """Runs of the audit of real feedback and of real pairs."""
    folder = tmp_path_factory.mktemp("audits")
    kind = step_class("audit")
    for path in (FEEDBACK, PAIRS):
        run_step("audit", kind.parse({"data": str(path)}, where="test"), folder / path.stem)
    return folder


def in_store(place):
    with open_store(place) as store:
        return list(store.rulings())


@REAL
@pytest.mark.parametrize("data", [FEEDBACK, PAIRS], ids=["feedback", "pairs"])
@pytest.mark.parametrize("name", FILLERS)
def test_fifty_rows_go_out_and_each_decision_comes_back_on_its_row(audits, tmp_path, name, data):
    form, file, fill, who = FILLERS[name]
    out, store = tmp_path / file, tmp_path / "decisions.sqlite"
    exported = export_queue(str(audits / data.stem), out, form, top=50)
    ids = [item.id for item in exported.queue.items]
    assert len(set(ids)) == 50
    filled = fill(out, tmp_path)
    brought = import_form(filled, str(store), who="ana")
    wanted = {id_: said for id_, said in expected(data).items() if id_ in ids}
    assert len(wanted) > 30
    rulings = in_store(store)
    assert made(rulings) == wanted
    assert {each.who for each in rulings} == {who}
    assert {each.queue for each in rulings} == {"suspicion" if data == FEEDBACK else "flags"}
    came = brought.returned
    assert (came.unknown, came.unreadable, came.changed, came.twice, came.unchecked) == ([], [], [], 0, 0)
    assert came.empty == (0 if name.endswith("min") else 50 - len(wanted))

    again = import_form(filled, str(store), who="ana")
    assert (again.added, again.known) == ([], len(rulings))
    assert in_store(store) == rulings


@REAL
def test_reasons_and_what_finds_an_answer_again_come_back(audits, tmp_path):
    out, store = tmp_path / "queue.csv", tmp_path / "decisions.sqlite"
    export_queue(str(audits / FEEDBACK.stem), out, top=20)
    filled = FILLERS["csv"][2](out, tmp_path)
    import_form(filled, str(store), who="ana")
    rows = {row.id: row for row in read_records(COMPLETIONS.at(audits / FEEDBACK.stem), Suspicion)}
    for each in in_store(store):
        assert set(each.reasons) == {*rows[each.target].reasons, *rows[each.target].flags}
        assert each.prompt == rows[each.target].prompt_id
        assert len(each.answer) == 16
    assert any(each.reasons for each in in_store(store))


@REAL
def test_the_queue_is_in_the_order_of_the_audit(audits, tmp_path):
    queue = export_queue(str(audits / FEEDBACK.stem), tmp_path / "queue.jsonl", top=60).queue
    rows = {row.id: row for row in read_records(COMPLETIONS.at(audits / FEEDBACK.stem), Suspicion)}
    flagged = sum(bool(row.reasons or row.flags) for row in rows.values())
    assert 0 < flagged < 60
    assert all(item.reasons for item in queue.items[:flagged])
    assert not any(item.reasons for item in queue.items[flagged:])
    for part in (queue.items[:flagged], queue.items[flagged:]):
        assert [item.place for item in part] == sorted(item.place for item in part)
    reason = queue.items[0].reasons[0]
    only = export_queue(str(audits / FEEDBACK.stem), tmp_path / "only.jsonl", reason=reason).queue
    assert {item.id for item in only.items} == {row.id for row in rows.values() if reason in (*row.reasons, *row.flags)}


@REAL
def test_what_is_decided_is_left_out_and_a_sample_depends_on_the_seed_alone(audits, tmp_path):
    run, store = str(audits / PAIRS.stem), tmp_path / "decisions.sqlite"
    first = export_queue(run, tmp_path / "a.jsonl", top=5, random=30, seed=3).queue
    drawn = [item.id for item in first.items if item.queue == "random"]
    assert (len(drawn), first.random) == (30, 30)
    lines = [json.loads(line) for line in (tmp_path / "a.jsonl").read_text().splitlines()]
    lines[0]["decision"] = "keep"
    lines[-1]["decision"] = "drop"
    lines[-2]["why"] = "only a note"
    (tmp_path / "a.jsonl").write_text("\n".join(map(json.dumps, lines)))
    import_form(tmp_path / "a.jsonl", str(store), who="ana")
    assert sorted(each.queue for each in in_store(store)) == ["flags", "random", "random"]
    second = export_queue(run, tmp_path / "b.jsonl", top=5, random=30, seed=3, decisions=str(store)).queue
    gone = {first.items[0].id, first.items[-1].id}
    assert second.left_out == 2
    assert not gone & {item.id for item in second.items}
    assert first.items[-2].id in {item.id for item in second.items}
    # The file itself, of which the rows stand in another order, gives the same sample.
    turned = tmp_path / "turned.jsonl"
    turned.write_text("\n".join(PAIRS.read_text().splitlines()[::-1]))
    of_file = export_queue(str(turned), tmp_path / "c.jsonl", top=0, random=30, seed=3).queue
    assert [item.id for item in of_file.items] == drawn or set(drawn) == {item.id for item in of_file.items}
    others = export_queue(run, tmp_path / "d.jsonl", top=0, random=30, seed=4).queue
    assert {item.id for item in others.items} != set(drawn)
    mine = export_queue(run, tmp_path / "e.jsonl", top=5, decisions=str(store), who="bo").queue
    assert mine.left_out == 0


RATED = Scale(low=1, high=5)
SCORED = Scale(low=1, high=10)


def judged(number):
    """A row of feedback with critiques, its texts made to be taken for formulas and numbers."""
    answers = [f"=1+{number}", f"00{number}", f"1e{number}"]
    return Feedback(
        prompt=(Message(role="user", content=f"-{number} what?"),),
        completions=tuple(
            Completion(
                text=text,
                model=f"m{at}",
                ratings=(Rating(aspect="honesty", value=at + 1, rationale=f"why {at}", scale=RATED),),
                critique=Critique(text=f"critique {number}.{at}", score=10 - at, scale=SCORED),
            )
            for at, text in enumerate(answers)
        ),
        source="made",
    )


@pytest.fixture
def feedback(tmp_path):
    write_records(tmp_path / "feedback.parquet", [judged(n) for n in range(8)], Feedback)
    return tmp_path / "feedback.parquet"


def test_pairs_stand_beside_the_feedback_that_they_came_from(feedback, tmp_path):
    run = tmp_path / "runs" / "binarize"
    settings = {"data": str(feedback), "strategy": "critique"}
    run_step("binarize", step_class("binarize").parse(settings, where="test"), run, 0)
    audit = tmp_path / "runs" / "audit"
    run_step("audit", step_class("audit").parse({"data": str(run)}, where="test"), audit)
    for given in (run, audit):
        queue = export_queue(str(given), tmp_path / f"{given.name}.html").queue
        assert (queue.feedback_of, queue.joined) == (len(queue.items), len(queue.items))
        for item in queue.items:
            number = int(item.texts["prompt"].split()[0][1:])
            assert item.texts["chosen"] == f"=1+{number}"
            assert item.critiques["chosen"] == f"critique {number}.0\n\nhonesty 1: why 0"
            assert item.scores["chosen overall_score"] == 10
            assert item.scores["chosen honesty"] == 1
    # Pairs in a file say which feedback they came from, and must be told where that is.
    assert export_queue(str(run / "preferences.parquet"), tmp_path / "n.jsonl").queue.joined == 0
    export = export_queue(str(run / "preferences.parquet"), tmp_path / "p.jsonl", feedback=str(feedback))
    assert export.queue.joined == len(export.queue.items)
    with pytest.raises(DataError, match="holds nothing that says which feedback it came from"):
        export_queue(str(feedback), tmp_path / "f.jsonl", feedback=str(feedback))


def test_what_a_source_does_not_hold_is_told_and_not_taken(feedback, tmp_path):
    out, store = tmp_path / "queue.jsonl", str(tmp_path / "decisions.sqlite")
    export_queue(str(feedback), out, top=6)
    lines = [json.loads(line) | {"decision": "keep"} for line in out.read_text().splitlines()]
    out.write_text("\n".join(map(json.dumps, lines)))
    write_records(tmp_path / "fewer.parquet", [judged(1)], Feedback)
    brought = import_form(out, store, who="ana", data=str(tmp_path / "fewer.parquet"))
    assert len(brought.added) == 3
    assert len(brought.returned.unknown) == 3
    assert brought.returned.unknown[0].startswith(f"row 1: {lines[0]['id']} is nothing that ")


def test_what_was_taken_back_or_decided_otherwise_is_not_decided_again(feedback, tmp_path):
    out, place = tmp_path / "queue.jsonl", str(tmp_path / "decisions.sqlite")
    export_queue(str(feedback), out, top=3)
    lines = [json.loads(line) | {"decision": "keep"} for line in out.read_text().splitlines()]
    out.write_text("\n".join(map(json.dumps, lines)))
    first = import_form(out, place, who="ana")
    assert len(first.added) == 3
    with open_store(place) as store:
        store.undo([1], "ana")
        store.add([Ruling(target=first.added[1].target, of="completion", what="drop", who="ana")])
    second = import_form(out, place, who="ana")
    assert (second.added, second.known) == ([], 1)
    assert [line.partition(" is decision ")[2][:2] for line in second.undone] == ["1,", "2,"]
    third = import_form(out, place, who="ana", anew=True)
    assert [each.target for each in third.added] == [each.target for each in first.added[:2]]
    # Somebody else has not decided yet.
    assert len(import_form(out, place, who="bo").added) == 3


def test_a_queue_says_what_it_cannot_do(feedback, tmp_path):
    out = tmp_path / "queue.csv"
    export_queue(str(feedback), out, top=2)
    with pytest.raises(InputError, match="somebody may have decided in it"):
        export_queue(str(feedback), out, top=2)
    export_queue(str(feedback), out, top=2, force=True)
    with pytest.raises(ConfigError, match="is no audit, and without one nothing has a reason"):
        export_queue(str(feedback), tmp_path / "x.csv", reason="legacy-zero")
    with pytest.raises(ConfigError, match="no store is named"):
        export_queue(str(feedback), tmp_path / "x.csv", who="ana")
    with pytest.raises(DataError, match="there is nothing to decide"):
        export_queue(str(feedback), tmp_path / "x.csv", top=0)
    assert not (tmp_path / "x.csv").exists()
    with pytest.raises(ConfigError, match=r"xlsx is a file that ends in \.xlsx"):
        form_of(out, "xlsx")
    with pytest.raises(ConfigError, match="does not say which form it is"):
        form_of(tmp_path / "folder", None)
    assert form_of(tmp_path / "tasks.json", None) == "label-studio"
    assert form_of(tmp_path / "folder", "argilla") == "argilla"


def test_a_reason_that_no_row_has_is_told_with_those_that_there_are(feedback, tmp_path):
    audit = tmp_path / "audit"
    run_step("audit", step_class("audit").parse({"data": str(feedback)}, where="test"), audit)
    with pytest.raises(ConfigError, match=r"no row of .* has the reason 'legacy'"):
        export_queue(str(audit), tmp_path / "x.csv", reason="legacy")


def test_an_audit_whose_source_has_changed_is_told(tmp_path):
    source = tmp_path / "pairs.jsonl"
    rows = [{"prompt": f"p{n}", "chosen": "yes", "rejected": "yes"} for n in range(4)]
    source.write_text("\n".join(map(json.dumps, rows)))
    audit = tmp_path / "audit"
    run_step("audit", step_class("audit").parse({"data": str(source)}, where="test"), audit)
    source.write_text("\n".join(map(json.dumps, [*rows[1:], rows[0] | {"chosen": "no"}])))
    with pytest.raises(DataError, match=r"no longer stand in .* as they did; audit it again"):
        export_queue(str(audit), tmp_path / "x.csv")
    source.unlink()
    with pytest.raises(DataError, match="is gone"):
        export_queue(str(audit), tmp_path / "x.csv")


def test_rows_that_repeat_another_and_rows_that_cannot_be_read_are_counted(tmp_path):
    source = tmp_path / "pairs.jsonl"
    row = {"prompt": "p", "chosen": "yes", "rejected": "no"}
    source.write_text("\n".join([json.dumps(row), json.dumps(row), "{broken", json.dumps(row | {"prompt": "q"})]))
    queue = export_queue(str(source), tmp_path / "x.jsonl").queue
    assert (len(queue.items), queue.of, queue.repeated, queue.unread) == (2, 3, 1, 1)


def audited(folder, name, **settings):
    run_step("audit", step_class("audit").parse(settings, where="test"), folder / name)
    return str(folder / name)


def test_the_source_of_an_audit_is_read_as_it_was_read(tmp_path):
    """Mapped, cut off, and without what is withdrawn."""
    rows = [{"ask": f"What {n}?", "good": f"Yes {n}.", "bad": f"No {n}."} for n in range(6)]
    (tmp_path / "mine.jsonl").write_text("\n".join(map(json.dumps, rows)))
    mapping = {"prompt": "ask", "chosen": "good", "rejected": "bad"}
    run = audited(tmp_path, "a", data=str(tmp_path / "mine.jsonl"), map=mapping, limit=4)
    queue = export_queue(run, tmp_path / "a.jsonl").queue
    assert [item.texts["chosen"] for item in queue.items] == ["Yes 0.", "Yes 1.", "Yes 2.", "Yes 3."]
    gone = {"id": queue.items[1].id, "kind": "pair", "prompt": queue.items[1].prompt}
    (tmp_path / "forgotten.jsonl").write_text(json.dumps(gone) + "\n")
    forget = str(tmp_path / "forgotten.jsonl")
    run = audited(tmp_path, "b", data=str(tmp_path / "mine.jsonl"), map=mapping, forget=forget)
    queue = export_queue(run, tmp_path / "b.jsonl").queue
    assert [item.texts["chosen"] for item in queue.items] == ["Yes 0.", "Yes 2.", "Yes 3.", "Yes 4.", "Yes 5."]


def test_an_audit_of_what_is_new_holds_the_old_rows_too(tmp_path):
    source = tmp_path / "source"
    source.mkdir()
    write_records(source / "a.parquet", [judged(n) for n in range(20)], Feedback)
    first = audited(tmp_path, "first", data=str(source))
    write_records(source / "b.parquet", [judged(n) for n in range(20, 30)], Feedback)
    second = audited(tmp_path, "second", data=str(source), since=first)
    queue = export_queue(second, tmp_path / "q.jsonl", top=100).queue
    assert (len(queue.items), queue.of) == (90, 90)
    assert {item.texts["answer"] for item in queue.items if item.file == "b.parquet"} == {
        text for n in range(20, 30) for text in (f"=1+{n}", f"00{n}", f"1e{n}")
    }


def test_what_an_audit_shows_behind_masks_goes_out_behind_masks(tmp_path):
    pytest.importorskip("email_validator")
    rows = [{"prompt": f"Write to {n}.", "chosen": f"ann{n}@gmail.com", "rejected": "No."} for n in range(3)]
    (tmp_path / "pairs.jsonl").write_text("\n".join(map(json.dumps, rows)))
    plain = export_queue(str(tmp_path / "pairs.jsonl"), tmp_path / "plain.jsonl").queue
    run = audited(tmp_path, "audit", data=str(tmp_path / "pairs.jsonl"), private=True)
    queue = export_queue(run, tmp_path / "q.csv").queue
    assert "gmail.com" not in (tmp_path / "q.csv").read_text()
    assert {item.id for item in queue.items} == {item.id for item in plain.items}
    assert {item.editable for item in plain.items} == {("prompt", "chosen", "rejected")}
    assert {item.editable for item in queue.items} == {("prompt", "rejected")}


@pytest.fixture(scope="module")
def flagged_run(tmp_path_factory):
    """An audit of pairs without rewards, of whose table flags, places by text and q are set by hand."""
    folder = tmp_path_factory.mktemp("flags")
    rows = [pair_row(f"Name river {n}.", f"The Oder, {n}.", f"A lake, {n}.") for n in range(8)]
    source = write_rows(folder / "pairs.jsonl", rows)
    run_step("audit", step_class("audit").parse({"data": str(source)}, where="test"), folder / "audit")
    table = PAIRS_TABLE.at(folder / "audit")
    given: list[tuple[tuple[str, ...], int | None, float | None]] = [
        ((), None, 0.9),
        ((), 5, None),
        (("label-against-text",), 1, None),
        (("reversed",), 4, 0.5),
        ((), None, None),
        (("margin-against-label",), None, 0.2),
        (("reversed", "decided-keep"), None, None),
        (("same-answers",), 2, None),
    ]
    said = [
        msgspec.structs.replace(row, flags=flags, place_by_text=place, q=q, suspicion=None)
        for row, (flags, place, q) in zip(read_records(table, Pair), given, strict=True)
    ]
    table.unlink()
    write_records(table, said, Pair)
    manifest = json.loads((folder / "audit" / MANIFEST).read_text())
    sha256 = hashlib.sha256(table.read_bytes()).hexdigest()
    manifest["outputs"][table.name] = {"bytes": table.stat().st_size, "sha256": sha256}
    (folder / "audit" / MANIFEST).write_text(
        json.dumps(seal({key: value for key, value in manifest.items() if key != "seal"}))
    )
    return folder / "audit", [row.id for row in said]


FLAGGED = [7, 3, 2, 1, 5, 0, 4, 6]
"""Worked out by hand: the two facts by their place by text, then places by text, then q, then the file's order."""


def test_pairs_that_nothing_ranks_come_by_their_flags(flagged_run, tmp_path):
    run, ids = flagged_run
    exported = export_queue(str(run), tmp_path / "queue.jsonl", top=5, random=3, seed=1)
    queue = exported.queue
    assert [item.id for item in queue.items[:5]] == [ids[place] for place in FLAGGED[:5]]
    assert (queue.by_suspicion, queue.by_flags, queue.facts, queue.against_text) == (False, True, 2, 1)
    assert {item.queue for item in queue.items[:5]} <= {"flags", "random"}
    assert "flags" in {item.queue for item in queue.items}
    assert len(queue.items) == 5 + 3 - queue.both
    lines = _exported_lines(exported)
    assert "ordered by flags: 2 pairs with a fact, 1 label against its texts" in lines[0]
    assert places_of(run) == {ids[place]: number for number, place in enumerate(FLAGGED, 1)}


def test_the_review_lists_them_in_the_same_order(flagged_run, tmp_path):
    pytest.importorskip("duckdb")
    from notus.review.filter import Filter
    from notus.review.open import open_review

    run, ids = flagged_run
    with open_review(run, cache=tmp_path / "cache", workers=1) as review:
        assert review.facts.sorts[0] == "flagged"
        assert [row.id for row in review.page(Filter(sort="flagged")).rows] == [ids[place] for place in FLAGGED]
        ranked = review.page(Filter.parse([("flagged", "1..9")])).rows
        assert {row.id for row in ranked} == {*ids} - {ids[4], ids[6]}  # nothing speaks against those two
        assert any("sorted by their flags: facts first" in line for line in review.facts.said)


def test_what_is_drawn_and_among_the_first_is_told(tmp_path):
    rows = [pair_row(f"Name river {n}.", f"The Oder, {n}.", f"A lake, {n}.") for n in range(10)]
    source = write_rows(tmp_path / "pairs.jsonl", rows)
    exported = export_queue(str(source), tmp_path / "queue.jsonl", top=6, random=7)
    assert exported.queue.both == 6 + 7 - len(exported.queue.items) >= 3  # 13 of 10 rows
    told = f"{exported.queue.both} of them stand among the first too, and count for the sample"
    assert any(told in line for line in _exported_lines(exported))
