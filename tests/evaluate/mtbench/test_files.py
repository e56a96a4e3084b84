"""FastChat's files: read, written, refused."""

import gzip
import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notus.core.errors import DataError
from notus.evaluate.mtbench.files import (
    CATEGORIES,
    Answer,
    Choice,
    Grading,
    Question,
    category_of,
    file_name,
    read_answers,
    read_judgments,
    read_questions,
    write_rows,
)
from tests.helpers.mtbench_examples import answered, graded, matched, stored

TEXTS = st.text(st.characters(codec="utf-8"))
NAMES = st.text(st.characters(codec="utf-8"), min_size=1)


@given(
    st.lists(
        st.builds(
            Grading,
            question_id=st.integers(0, 10**6),
            model=NAMES,
            judge=st.tuples(NAMES, NAMES),
            judgment=TEXTS,
            score=st.integers(-1, 10) | st.floats(1, 10).filter(lambda x: not x.is_integer()),
            turn=st.integers(1, 2),
            user_prompt=TEXTS,
            tstamp=st.floats(0.5, 2e9),
        ),
        min_size=1,
        max_size=4,
    )
)
def test_gradings_come_back_as_they_were_written(tmp_path_factory, rows):
    path = tmp_path_factory.mktemp("files") / "j_single.jsonl"
    write_rows(path, rows)
    assert read_judgments(path) == (rows, [])


@given(st.lists(st.tuples(TEXTS, TEXTS), min_size=1, max_size=4))
def test_pairs_questions_and_answers_come_back(tmp_path_factory, texts):
    folder = tmp_path_factory.mktemp("files")
    matches = [matched(a, b, question=n) for n, (a, b) in enumerate(texts)]
    write_rows(folder / "pair.jsonl", matches)
    assert read_judgments(folder / "pair.jsonl") == ([], matches)
    answers = [answered("owner/model (7B)", a, b, question=n) for n, (a, b) in enumerate(texts)]
    write_rows(folder / "answers.jsonl", answers)
    assert read_answers(folder / "answers.jsonl") == {"owner/model (7B)": dict(enumerate(answers))}
    asked = [Question(question_id=n, category="math", turns=pair) for n, pair in enumerate(texts)]
    write_rows(folder / "question.jsonl", asked)
    assert read_questions(folder / "question.jsonl") == dict(enumerate(asked))


def test_the_written_names_are_those_of_fastchat(tmp_path):
    write_rows(tmp_path / "a.jsonl", [answered("m", "x", "y")])
    write_rows(tmp_path / "g.jsonl", [graded("[[3]]", score=3)])
    write_rows(tmp_path / "p.jsonl", [matched("[[A]]", "[[A]]")])
    write_rows(tmp_path / "q.jsonl", [Question(question_id=1, category="math", turns=("x",))])
    keys = {name: set(json.loads((tmp_path / f"{name}.jsonl").read_text())) for name in "agpq"}
    assert keys == {
        "a": {"question_id", "answer_id", "model_id", "choices", "tstamp"},
        "g": {"question_id", "model", "judge", "user_prompt", "judgment", "score", "turn", "tstamp"},
        "p": {"question_id", "model_1", "model_2", "g1_winner", "g2_winner", "judge", "g1_user_prompt", "g1_judgment"}
        | {"g2_user_prompt", "g2_judgment", "turn", "tstamp"},
        "q": {"question_id", "category", "turns"},
    }


def test_packed_files_and_further_fields_are_read(tmp_path):
    row = {"question_id": 1, "model": "m", "judge": ["j", "p"], "judgment": "[[3]]", "score": 3, "turn": 1, "new": 1}
    path = tmp_path / "single.jsonl.gz"
    path.write_bytes(gzip.compress(json.dumps(row).encode()))
    (grading,), _ = read_judgments(path)
    assert (grading.score, grading.judge) == (3, ("j", "p"))


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ('{"question_id": 1}', "line 1: no grading in the form of FastChat: .*model"),
        ('{"question_id": 1, "model_1": "a"}', "line 1: no match in the form of FastChat"),
        ("[1]", "line 1"),
        (
            '{"question_id": 1, "model": "a", "judge": ["j", "p"], "judgment": "x", "turn": 1, "score": %s}'
            % ("9" * 400),
            "line 1: .*score",
        ),
        ('{"question_id"', "line 1"),
    ],
)
def test_what_is_no_judgement_is_refused_by_its_line(tmp_path, row, says):
    (tmp_path / "x.jsonl").write_text(row + "\n{}\n")
    with pytest.raises(DataError, match=says):
        read_judgments(tmp_path / "x.jsonl")


def test_nothing_may_stand_twice_among_questions_and_answers(tmp_path):
    write_rows(tmp_path / "q.jsonl", [Question(question_id=7, category="math", turns=("x",))] * 2)
    with pytest.raises(DataError, match="question 7 stands there twice"):
        read_questions(tmp_path / "q.jsonl")
    write_rows(tmp_path / "a.jsonl", [answered("m", "x", "y", question=7)] * 2)
    with pytest.raises(DataError, match="m answers question 7 twice"):
        read_answers(tmp_path / "a.jsonl")
    write_rows(tmp_path / "b.jsonl", [Answer(question_id=1, model_id="m", choices=())])
    with pytest.raises(DataError, match="choices"):
        read_answers(tmp_path / "b.jsonl")
    assert answered("m", "x", "y").choices == (Choice(turns=("x", "y")),)


def test_a_question_has_its_category_by_file_or_by_number():
    asked = {81: Question(question_id=81, category="mine", turns=("x",))}
    assert (category_of(81, {}), category_of(81, asked), category_of(160, {})) == ("writing", "mine", "humanities")
    for number, known in ((80, {}), (161, {}), (82, asked)):
        with pytest.raises(DataError, match=f"question {number}"):
            category_of(number, known)


def test_the_published_numbers_give_the_published_categories():
    asked = read_questions(*stored("question.jsonl"))
    assert len(asked) == 80
    assert {question.category for question in asked.values()} == CATEGORIES.keys()
    assert all(category_of(number, {}) == question.category for number, question in asked.items())
    assert all(len(question.turns) == 2 for question in asked.values())


def test_the_stored_answers_and_references_are_read():
    ((_, answers),) = read_answers(*stored("answers_*.jsonl")).items()
    ((_, references),) = read_answers(*stored("reference_answer_gpt-4.jsonl")).items()
    assert (len(answers), len(references)) == (80, 30)
    assert all(len(row.turns) == 2 for row in (*answers.values(), *references.values()))


def test_a_model_name_becomes_a_file_name():
    assert file_name("owner/model (7B)") == "owner_model (7B)"
    assert file_name("../x") == ".._x"
