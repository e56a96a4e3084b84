"""What becomes of records: masks, drops, counts; and that nothing raw is left in a run directory."""

import json

import msgspec
import pyarrow.parquet as pq
import pytest

from notus.clean.private.guard import Found, Guard, Privacy
from notus.clean.private.language import UNDETERMINED, language_of, toxicity_of
from notus.core.errors import ConfigError
from notus.core.records import (
    Completion,
    Decision,
    Dialogue,
    Feedback,
    Message,
    Preference,
    Rating,
    ToolCall,
    Unpaired,
)
from notus.core.stage import Tally
from notus.core.tables import read_records, read_table
from notus.steps.base import read_findings
from notus.steps.data.audit import Audit
from notus.steps.data.clean import Clean
from notus.steps.perform import run_step

MASK = Privacy(personal="mask", secrets="mask")
MAIL, PHONE, KEY = "ann.lee@firm.com", "+1 212 736 5000", "ghp_q7Zr2kLm9Xw4Tb6Yc1Vn8Hs3Jd5Fg0PaAb12"
CARD, IBAN, IP, HANDLE = "4012888888881881", "DE89 3704 0044 0532 0130 00", "81.2.69.142", "@ann_lee"
RAW = (MAIL, PHONE, KEY, CARD, IBAN, IP, HANDLE)


def said(*texts):
    return tuple(Message(role="user" if i % 2 == 0 else "assistant", content=text) for i, text in enumerate(texts))


def look(record, settings=MASK):
    tally = Tally("clean")
    return Guard(settings).look(record, tally), tally


def test_the_same_address_has_the_same_number_all_over_a_dialogue():
    texts = (f"Write to {MAIL} or bob@firm.com.", f"To Bob or to {MAIL.upper()}?", "To bob@firm.com", "Done.")
    seen, tally = look(Dialogue(messages=said(*texts), extra={"user": {"mail": MAIL, "n": 3}}, file="a.jsonl", line=7))
    assert [turn.content for turn in seen.record.messages] == [
        "Write to <EMAIL_1> or <EMAIL_2>.",
        "To Bob or to <EMAIL_1>?",
        "To <EMAIL_2>",
        "Done.",
    ]
    assert seen.record.extra == {"user": {"mail": "<EMAIL_1>", "n": 3}}
    assert (seen.record.file, seen.record.line) == ("a.jsonl", 7)
    assert tally.counts == {"holds:email": 1, "masked": 1}
    assert [(item.field, item.mask) for item in seen.found] == [
        ("messages[0].content", "<EMAIL_1>"),
        ("messages[0].content", "<EMAIL_2>"),
        ("messages[1].content", "<EMAIL_1>"),
        ("messages[2].content", "<EMAIL_2>"),
        ("extra.user.mail", "<EMAIL_1>"),
    ]
    assert {(item.before, item.rule, item.by) for item in seen.decisions} == {("email", "mask", "rule")}


def test_all_that_a_record_holds_is_masked():
    call = ToolCall(name="send", arguments=json.dumps({"to": f"a\n{MAIL}", "n": 1}))
    feedback = Feedback(
        prompt=(Message(role="user", content="Hi", reasoning=MAIL, name=HANDLE),),
        completions=(
            Completion(
                text=PHONE,
                ratings=(Rating(aspect="help", value=1, rationale=KEY, rater=MAIL),),
                turns=(Message(role="assistant", content="", tool_calls=(call,)), *said("x", PHONE)[1:]),
            ),
        ),
        extra={MAIL: [CARD, {"x": (IBAN, IP)}], MAIL.upper(): 2},
    )
    seen, _ = look(feedback)
    text = msgspec.json.encode(seen.record).decode()
    assert [raw for raw in RAW if raw.lower() in text.lower()] == []
    arguments = json.loads(seen.record.completions[0].turns[0].tool_calls[0].arguments)
    assert arguments == {"to": "a\n<EMAIL_1>", "n": 1}
    assert len(seen.record.extra) == 2  # two notations of one address are two keys still
    assert {item.target for item in seen.decisions if item.field.startswith("completions")} == {
        feedback.completion_id(0)
    }


@pytest.mark.parametrize(
    "record",
    [
        Preference(prompt=said(MAIL), chosen=said("", "a")[1:], rejected=said("", "b")[1:]),
        Preference(prompt=said("a"), chosen=said("", "a")[1:], rejected=said("", MAIL)[1:]),
        Unpaired(prompt=said("a"), answer=said("", MAIL)[1:], desirable=False),
        Dialogue(messages=said("a", f"x {MAIL}")),
        Feedback(prompt=said(MAIL), completions=(Completion(text="a"),)),
    ],
)
def test_a_record_goes_where_its_kind_is_dropped_and_stays_where_it_is_counted(record):
    seen, _ = look(record, Privacy(personal="drop"))
    assert seen.fault is not None
    assert seen.fault[0] == "personal-email"
    assert MAIL not in seen.fault[1]
    seen, tally = look(record, Privacy(personal="drop", personal_kinds={"email": "count"}))
    assert (seen.fault, seen.record, tally.counts) == (None, record, {"holds:email": 1})


def test_of_feedback_the_completion_goes():
    record = Feedback(prompt=said("a"), completions=(Completion(text="b"), Completion(text=KEY)))
    seen, _ = look(record, Privacy(secrets="drop"))
    assert seen.fault is None
    assert {number: why[0] for number, why in seen.completions.items()} == {1: "secret"}


JAPANESE = "今日はとても天気がいいので、みんなで森へ散歩に行きます。"
GERMAN = "Das Wetter ist heute schön, und wir gehen nachher gemeinsam in den Wald spazieren."
ENGLISH = "The weather is fine today, and later we will all go for a walk in the woods."


def test_languages_and_insults():
    assert [language_of(text) for text in (GERMAN, ENGLISH, "42", "ok", JAPANESE)] == [
        "de", "en", UNDETERMINED, UNDETERMINED, "ja",
    ]  # fmt: skip
    assert toxicity_of(f"{ENGLISH} You are a stupid idiot. {ENGLISH}") > 0.9 > 0.5 > toxicity_of(ENGLISH)
    settings = Privacy(languages=("en",), toxicity=0.9)
    german, tally = look(Dialogue(messages=said("Hi", GERMAN)), settings)
    assert german.fault is not None
    assert german.fault[0] == "unwanted-language"
    assert tally.counts == {"language:de": 1, "not-applied:toxic": 1}
    rude, tally = look(Dialogue(messages=said("Hi", "Shut up, you stupid idiot.")), settings)
    assert rude.fault is not None
    assert rude.fault[0] == "toxic"
    assert look(Dialogue(messages=said(GERMAN, "ok")), settings)[0].fault is None  # not clear stays
    with pytest.raises(ConfigError, match="'english'"):
        Guard(Privacy(languages=("english",)))


def _rows():
    """Twelve dialogues: private ones, two alike, one cut, one in German, and a row that cannot be read."""
    private = [said(f"Mine is {raw}, keep it.", f"I noted {raw}. What else may I do?") for raw in RAW]
    rows = [*private, private[0], said("Go on", f"i wrote to {MAIL}. it was fine. " * 20 + f"and then {PHONE} the")]
    rows += [said("Sag etwas", GERMAN), said("Say so", ENGLISH)]
    lines = [
        json.dumps({"messages": [{"role": t.role, "content": t.content} for t in turns], "by": MAIL}) for turns in rows
    ]
    lines[-1] = lines[-1].replace(MAIL, "Ann")
    return [*lines, json.dumps({"messages": [{"role": "nobody", "content": MAIL}]})]


def _bytes_of(folder):
    """Everything in a folder as text, Parquet column by column."""
    for path in sorted(folder.rglob("*")):
        if path.suffix == ".parquet" and path.is_file():
            yield path.name, json.dumps(pq.read_table(path).to_pylist(), ensure_ascii=False, default=str)
        elif path.is_file() and path.name not in ("inputs.json", "config.json"):
            yield path.name, path.read_text()


@pytest.mark.parametrize("treatment", ["mask", "drop"])
def test_nothing_raw_is_left_in_a_run_directory_and_every_row_is_accounted_for(tmp_path, treatment):
    source = tmp_path / "chats.jsonl"
    source.write_text("\n".join(_rows()) + "\n")
    settings = {"data": str(source), "private": {"personal": treatment, "secrets": treatment}}
    run = run_step("clean", Clean.parse(settings, where="test"), tmp_path / "out")
    left = [(name, raw) for name, text in _bytes_of(run.path) for raw in RAW if raw.lower() in text.lower()]
    assert left == []
    tally = json.loads((run.path / "tally.json").read_text())
    by_stage = {one["stage"]: one for one in tally}
    assert by_stage["clean"]["in"] == 11
    assert by_stage["clean"]["in"] == by_stage["clean"]["out"] + sum(by_stage["clean"]["dropped"].values())
    assert by_stage["clean"]["counts"]["holds:email"] == 10  # 'by' holds one in each row but the last
    found = list(read_records(run.path / "private.parquet", Found))
    assert {item.file for item in found} == {"chats.jsonl"}
    assert {item.line for item in found} == set(range(1, 11))
    if treatment == "mask":
        kept = list(read_records(run.path / "dialogues.parquet", Dialogue))
        assert [record.line for record in kept] == [1, 2, 3, 4, 5, 6, 7, 11]
        assert [record.extra["by"] for record in kept] == ["<EMAIL_1>"] * 7 + ["Ann"]
        masks = [d for d in read_records(run.path / "decisions.parquet", Decision) if d.rule == "mask"]
        ids = {item.id for item in found}
        assert masks
        assert {item.target for item in masks} <= ids
    else:
        assert [record.line for record in read_records(run.path / "dialogues.parquet", Dialogue)] == [11]


def test_a_dry_run_counts_and_writes_no_data(tmp_path):
    source = tmp_path / "chats.jsonl"
    source.write_text("\n".join(_rows()) + "\n")
    settings = {"data": str(source), "dry_run": True, "private": {"personal": "mask"}}
    run = run_step("clean", Clean.parse(settings, where="test"), tmp_path / "out")
    assert not (run.path / "dialogues.parquet").exists()
    page = (run.path / "health.json").read_text()
    assert "Private data" in page
    assert MAIL not in page


def test_rules_for_english_say_where_they_were_not_applied(tmp_path):
    rows = [
        said("Sag es", "Als KI sage ich: das ist so, weil der Tag lang ist und wir heute alle in den Wald gehen an")
    ]
    rows += [said("Say it", ENGLISH)]
    source = tmp_path / "chats.jsonl"
    source.write_text(
        "".join(json.dumps({"messages": [{"role": t.role, "content": t.content} for t in r]}) + "\n" for r in rows)
    )
    settings = {"data": str(source), "language": "de", "filters": ["truncated", "denies-feelings"]}
    run = run_step("clean", Clean.parse(settings, where="test"), tmp_path / "out")
    (tally,) = [one for one in json.loads((run.path / "tally.json").read_text()) if one["stage"] == "clean"]
    assert tally["out"] == 2
    assert (tally["counts"]["not-applied:truncated"], tally["counts"]["not-applied:denies-feelings"]) == (1, 1)
    assert "Not applied to 1 row" in (run.path / "health.json").read_text()
    assert not (run.path / "dropped.parquet").exists() or read_table(run.path / "dropped.parquet") == []


def test_an_audit_counts_what_is_private_and_shows_none_of_it(tmp_path):
    pairs = [
        {"prompt": f"Who has number {n}?", "chosen": f"It is {raw}.", "rejected": "Nobody that I know of has it."}
        for n, raw in enumerate((MAIL, MAIL, KEY, "seven"))
    ]
    source = tmp_path / "pairs.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in pairs))
    run = run_step("audit", Audit.parse({"data": str(source), "private": True}, where="test"), tmp_path / "out")
    assert [(name, raw) for name, text in _bytes_of(run.path) for raw in RAW if raw in text] == []
    section = next(one for one in read_findings(run.path) if one.heading == "Private data")
    assert section.table is not None
    rows = {row[0]: row[2] for row in section.table.rows}
    assert (rows["email"], rows["secret"], rows["phone"]) == (2, 1, 0)
    examples = next(one for one in read_findings(run.path) if one.heading == "Private data: examples")
    assert examples.table is not None
    assert [(row[0], row[2]) for row in examples.table.rows] == [
        ("email", "pairs.jsonl:1"),
        ("email", "pairs.jsonl:2"),
        ("secret", "pairs.jsonl:3"),
    ]
    plain = run_step("audit", Audit.parse({"data": str(source)}, where="test"), tmp_path / "plain")
    assert any("were not looked for" in line for one in read_findings(plain.path) for line in one.sentences)


def test_flagged_rows_of_feedback_are_shown_behind_masks(tmp_path):
    """A 10 that the ratings contradict is shown whole, and its answer holds an address."""
    aspects = ("helpfulness", "honesty", "instruction_following", "truthfulness")
    rows = []
    for n in range(60):
        answers = [(f"Ask {MAIL} about {n}.", 10.0, 1)] if n == 7 else [(f"Red {n}.", 2.0 + n % 3, 1 + n % 2)]
        answers += [(f"Blue {n}.", 7.0 + n % 2, 4), (f"Green {n}.", 5.0, 3)]
        completions = [
            {
                "model": f"m{place}",
                "response": text,
                "critique": "So it is.",
                "overall_score": score,
                "annotations": {aspect: {"Rating": str(rating), "Rationale": "So."} for aspect in aspects},
            }
            for place, (text, score, rating) in enumerate(answers)
        ]
        row = {"source": "mine", "instruction": f"A colour, number {n}?", "models": ["m0", "m1", "m2"]}
        rows.append(row | {"completions": completions, "correct_answers": [], "incorrect_answers": []})
    source = tmp_path / "feedback.jsonl"
    source.write_text("".join(json.dumps(row) + "\n" for row in rows))
    for private in (False, True):
        config = Audit.parse({"data": str(source), "private": private}, where="test")
        page = (run_step("audit", config, tmp_path / f"{private}").path / "health.html").read_text()
        assert "about 7." in page
        assert (MAIL in page) is not private
