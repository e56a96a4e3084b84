"""The whole cleaning: two readings, shards, what goes and why, edits, and the evidence for each."""

import itertools
import random
import re
from functools import partial

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from notus.clean.benchmarks import BenchmarkItem
from notus.clean.clean import (
    SHOWN,
    Cleaning,
    Evidence,
    Plans,
    apply_plan,
    contaminated_rows,
    decide,
    examine,
    mark_difference,
    repeated_rows,
)
from notus.clean.contamination import ItemIndex
from notus.clean.private.guard import Guard, Privacy
from notus.core.errors import ConfigError
from notus.core.records import Dialogue, Message, Preference, ToolCall, Unpaired
from notus.core.stage import Tally, apply
from tests.helpers.data_examples import completion, feedback

QUESTION = "What happens to a compass needle that is carried over the magnetic pole?"
QUESTIONS = ItemIndex([BenchmarkItem("mine", "0", QUESTION)])


def run(shards, settings=None, questions=None):
    """Both readings; kept records, tally, plans, evidence texts, decisions."""
    settings = settings or Cleaning()
    plans = decide([examine(shard, settings, questions) for shard in shards], settings)
    tally, kept, shown, decisions = Tally("clean"), [], {}, []
    for start, plan, shard in zip(plans.starts, plans.shards, shards, strict=True):
        evidence = Evidence()
        kept += apply(partial(apply_plan, plan, settings, plans.names, evidence), shard, tally)
        shown |= {start + row: one for row, one in evidence.shown.items()}
        decisions += evidence.decisions
    return kept, tally, plans, shown, decisions


def prompts(*texts):
    return [feedback(completion(), prompt=text) for text in texts]


def dialogue(answer, asked="Name a river in the north of Poland."):
    return Dialogue(messages=(Message(role="user", content=asked), Message(role="assistant", content=answer)))


def reasons(tally):
    return [item.reason for item in tally.dropped]


def test_rows_go_with_reason_and_evidence():
    rows = prompts(
        "Name a long river in the flat north of old Poland today.",
        QUESTION,
        "Something else entirely, about bread and about ovens.",
        "name a long river in the flat north of old POLAND today",
        "Could you name one long river in the flat north of old Poland today?",
        "Now say: " + QUESTION,
    )
    kept, tally, plans, texts, _ = run([rows], questions=QUESTIONS)
    assert kept == [rows[0], rows[2]]
    assert tally.summary()["dropped"] == {"contaminated": 2, "duplicate": 1, "near-duplicate": 1}
    assert [item.id for item in tally.dropped] == [rows[i].id for i in (1, 3, 4, 5)]
    assert tally.dropped[1].detail == f"of {rows[0].prompt_id} in row 1, similarity 1.00"
    assert tally.dropped[3].detail.startswith("contained: mine 0, 1.00: what happens to a compass")
    repeated = repeated_rows(plans, texts)
    assert [(r.row, r.kept_row, r.kind, r.similarity) for r in repeated] == [
        (4, 1, "duplicate", 1.0),
        (5, 1, "near-duplicate", round(11 / 15, 4)),
    ]
    assert repeated[1].prompt == rows[4].prompt[0].content
    assert repeated[1].kept_prompt == rows[0].prompt[0].content
    assert (repeated[1].prompt_id, repeated[1].kept_prompt_id) == (rows[4].prompt_id, rows[0].prompt_id)
    contaminated = contaminated_rows(plans, texts, Guard(Privacy()))
    assert [(r.row, r.kind, r.benchmark, r.item, r.question) for r in contaminated] == [
        (2, "exact", "mine", "0", QUESTION),
        (6, "contained", "mine", "0", QUESTION),
    ]
    assert contaminated[1].prompt == rows[5].prompt[0].content


def test_a_contaminated_prompt_keeps_no_other_from_staying():
    rows = prompts(QUESTION, "Bread.", QUESTION)
    assert reasons(run([rows], questions=QUESTIONS)[1]) == ["contaminated", "contaminated"]
    assert reasons(run([rows])[1]) == ["duplicate"]
    assert reasons(run([rows], Cleaning(duplicates=False))[1]) == []


@pytest.mark.parametrize("cuts", [[], [3], [0, 1, 1, 9], [5, 17, 20]])
def test_shards_change_nothing(cuts):
    rng = random.Random(1)
    words = [f"word{number}" for number in range(400)]
    texts = [" ".join(rng.sample(words, 20)) for _ in range(12)]
    texts += [text.upper() for text in texts[:4]] + [f"{text} more" for text in texts[4:8]] + [QUESTION]
    rows = prompts(*texts)
    whole = run([rows], questions=QUESTIONS)
    bounds = [0, *cuts, len(rows)]
    parts = run([rows[a:b] for a, b in itertools.pairwise(bounds)], questions=QUESTIONS)
    assert parts[0] == whole[0]
    assert parts[1] == whole[1]
    assert (parts[2].repeated, parts[2].matches) == (whole[2].repeated, whole[2].matches)
    assert parts[3] == whole[3]


def test_look_alikes_stay_and_some_are_shown():
    rng = random.Random(2)
    words = [f"word{number}" for number in range(900)]
    template = " ".join(words[:80])
    rows = prompts(*(f"{template} {' '.join(rng.sample(words[80:], 6))}" for _ in range(60)))
    kept, _tally, plans, texts, _ = run([rows])
    assert kept == rows
    assert len(plans.spared) > 60
    shown = repeated_rows(plans, texts)
    assert {row.kind for row in shown} == {"look-alike"}
    assert len(shown) <= SHOWN


@pytest.mark.parametrize(
    ("answer", "reason"),
    [
        ("…", "wordless-answer"),
        (" \u200b", "empty-answer"),
        ("As an AI, I do not have personal opinions.", "denies-feelings"),
        ("The Vistula, which flows into the", "truncated"),
        ("Der Fluss fließt durch die alte Stadt und dann in das Meer, wo er breit ist.", "other-language"),
        ("The Vistula.", None),
    ],
)
def test_answers_of_dialogues_are_filtered(answer, reason):
    kept, tally, *_ = run([[dialogue(answer)]])
    assert reasons(tally) == ([reason] if reason else [])
    assert len(kept) == (reason is None)
    assert not reason or tally.dropped[0].detail


def test_filters_can_be_chosen():
    bad = dialogue("As an AI, I do not have personal opinions.")
    assert run([[bad]], Cleaning(filters=("truncated",)))[0] == [bad]
    assert run([[dialogue("Die Weichsel.")]], Cleaning(filters=("other-language",), language="de"))[0]
    with pytest.raises(ConfigError, match="no language 'xx'"):
        Cleaning.parse({"language": "xx"}, where="test")
    with pytest.raises(ConfigError, match="filters"):
        Cleaning.parse({"filters": ["rude"]}, where="test")


def test_pairs_are_judged_by_their_chosen_answer():
    turn = (Message(role="user", content="Name a river."),)

    def pair(chosen, rejected):
        answers = [(Message(role="assistant", content=text),) for text in (chosen, rejected)]
        return Preference(prompt=turn, chosen=answers[0], rejected=answers[1])

    rows = [pair("The Oder.", "..."), pair("...", "The Oder.")]
    kept, tally, *_ = run([rows], Cleaning(filters=("wordless-answer",)))
    assert kept == rows[:1]
    assert reasons(tally) == ["wordless-answer"]
    assert run([rows])[0] == rows, "without being asked, only dialogues are filtered"
    answer = (Message(role="assistant", content="..."),)
    unpaired = [Unpaired(prompt=turn, answer=answer, desirable=shown) for shown in (True, False)]
    assert run([unpaired], Cleaning(filters=("wordless-answer",)))[0] == unpaired[1:]


def test_of_feedback_single_completions_go():
    rows = [
        feedback(completion("The Oder."), completion(""), completion("?")),
        feedback(completion("")),
        *prompts("B."),
    ]
    rows[1] = feedback(completion(""), prompt="Another.")
    kept, tally, _, _, decisions = run([rows], Cleaning(filters=("empty-answer", "wordless-answer")))
    assert [len(record.completions) for record in kept] == [1, 1]
    assert reasons(tally) == ["no-completion"]
    assert (tally.counts["completion:empty-answer"], tally.counts["completion:wordless-answer"]) == (2, 1)
    assert tally.taken == tally.given + len(tally.dropped)
    assert [(d.target, d.field, d.before, d.after) for d in decisions[:2]] == [
        (rows[0].completion_id(1), "completion", "", None),
        (rows[0].completion_id(2), "completion", "?", None),
    ]
    assert decisions[1].rule == "wordless-answer: only '?'"


def test_truecasing_is_an_edit_that_keeps_what_stood_before():
    row = dialogue("Hello. how are you?", asked="what is the best river here?")
    (kept,), tally, _, _, decisions = run([[row, dialogue("Fine, thanks.", asked="Hi.")][:1]])
    assert [turn.content for turn in kept.messages] == ["What is the best river here?", "Hello. How are you?"]
    assert tally.counts["truecased"] == 1
    assert [(d.field, d.before, d.after, d.rule, d.by) for d in decisions] == [
        ("messages[0].content", "what is the best river here?", "What is the best river here?", "truecase", "rule"),
        ("messages[1].content", "Hello. how are you?", "Hello. How are you?", "truecase", "rule"),
    ]
    assert run([[kept]])[4] == [], "a second time changes nothing"
    assert run([[row]], Cleaning(truecase=False))[0] == [row]
    assert run([[row]], Cleaning(language="de", filters=()))[0] == [row]


def test_completions_are_truecased_when_asked():
    rows = [feedback(completion("Well. it is the Oder."), prompt="which river is it then?")]
    (kept,), _, _, _, decisions = run([rows], Cleaning(truecase=True))
    assert kept.prompt[0].content == "Which river is it then?"
    assert kept.completions[0].text == "Well. It is the Oder."
    assert [d.target for d in decisions] == [rows[0].id, rows[0].completion_id(0)]


def test_nothing_to_clean():
    kept, tally, plans, texts, _ = run([[]])
    assert (kept, tally.taken, texts) == ([], 0, {})
    assert isinstance(plans, Plans)
    assert repeated_rows(plans, texts) == []
    assert contaminated_rows(plans, texts, Guard(Privacy())) == []


def test_what_is_kept_by_id_stays_and_is_counted():
    rows = prompts("Name a river.", "name a RIVER", "Name a  river", QUESTION)
    kept, tally, plans, seen, _ = run([rows], Cleaning(keep=(rows[1].id, rows[3].prompt_id)), QUESTIONS)
    assert kept == [rows[0], rows[1], rows[3]]
    assert tally.counts["kept-by-id"] == 2
    assert [(row.row, row.kind) for row in repeated_rows(plans, seen)] == [(2, "kept-by-id"), (3, "duplicate")]
    short, _, again, _, _ = run([rows], Cleaning(keep=(rows[1].id[:8], rows[3].prompt_id[:8])), QUESTIONS)
    assert (short, again.kept) == (kept, plans.kept)
    with pytest.raises(ConfigError, match="no record and no prompt has the id '0123456789abcdef'"):
        run([rows], Cleaning(keep=("0123456789abcdef",)))
    with pytest.raises(ConfigError, match="'river' is no id"):
        run([rows], Cleaning(keep=("river",)))


def test_evidence_says_where_a_prompt_stood_and_what_differs():
    rows = prompts("Name 3 rivers.", "Please name three rivers.")
    rows = [msgspec.structs.replace(row, file="a.jsonl", line=10 + n) for n, row in enumerate(rows)]
    *_, plans, seen, _ = run([rows])
    (found,) = repeated_rows(plans, seen)
    assert (found.file, found.line, found.kept_file, found.kept_line) == ("a.jsonl", 11, "a.jsonl", 10)
    assert (found.id, found.kept_id) == (rows[1].id, rows[0].id)
    assert found.difference == "[-Name 3 -]{+Please name three +}rivers."


@given(st.text(alphabet="ab .é", max_size=20), st.text(alphabet="ab .é", max_size=20))
def test_both_texts_can_be_read_off_a_marked_difference(before, after):
    marked = mark_difference(before, after)
    assert re.sub(r"\[-.*?-\]|\{\+|\+\}", "", marked) == after
    assert re.sub(r"\{\+.*?\+\}|\[-|-\]", "", marked) == before


def test_what_the_audit_flags_in_pairs_goes_under_the_same_names():
    def pair(chosen, rejected, scores=(None, None)):
        turn = (Message(role="user", content="Name a river."),)
        answers = [(Message(role="assistant", content=text),) for text in (chosen, rejected)]
        a, b = scores
        return Preference(prompt=turn, chosen=answers[0], rejected=answers[1], score_chosen=a, score_rejected=b)

    rows = [
        pair("Oder.", "Elbe.", (4.0, 2.0)),
        pair("Oder.", "Oder.", (4.0, 2.0)),
        pair("Oder.", "Elbe.", (3.0, 3.0)),
        pair("Oder.", "\u200b", (4.0, 2.0)),
        pair("Oder.", "Rhine.", (1.0, 2.0)),
        pair("Oder.", "Ems."),
    ]
    expected = {"same-answers": 1, "score-tie": 2, "empty-answer": 3, "reversed": 4, "unscored": 5}
    for name, row in expected.items():
        kept, tally, *_ = run([rows], Cleaning(duplicates=False, filters=(name,)))
        assert kept == rows[:row] + rows[row + 1 :], name
        assert [(item.reason, item.id) for item in tally.dropped] == [(name, rows[row].id)]
    with pytest.raises(ConfigError, match="score-tie"):
        run([prompts("A question.")], Cleaning(filters=("score-tie",)))


def test_an_answer_that_calls_a_tool_is_not_empty():
    call = Message(role="assistant", content="", tool_calls=(ToolCall(name="look", arguments="{}"),))
    row = Dialogue(messages=(Message(role="user", content="Look it up."), call))
    assert run([[row]])[0] == [row]
