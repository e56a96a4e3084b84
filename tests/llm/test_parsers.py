"""A judge's parser by name: the user's own function, and what becomes of the replies that it does not read."""

import re
from importlib import metadata

import pytest

from notus.collect.collect import Draft, collect
from notus.collect.settings import Collection, JudgeSettings
from notus.core.errors import ConfigError, DataError, InputError
from notus.core.records import Message
from notus.core.stage import Tally
from notus.llm.judge import Judges, Unscored, ask
from notus.llm.parse import PARSERS, Parser, Scale, UnreadableError
from notus.llm.protocol import Decoding
from tests.helpers.judge_examples import Scripted
from tests.helpers.paths import ROOT

ASPECT, HONEST, SCORE = Scale(1, 5), Scale(1, 5, not_applicable=True), Scale(1, 10, whole=False)


def own(folder, code, name="read"):
    path = folder / "mine.py"
    path.write_text(code)
    return f"python:{path}:{name}"


def returning(folder, value):
    return Parser(own(folder, f"def read(text):\n    return {value!r}\n"))


def judged(question, *replies, tries=1, schema=False):
    left = iter(replies)
    generator = Scripted(lambda _: next(left), schema=schema)
    (found,) = ask(generator, generator.models["judge"], [question], Decoding(), tries=tries)
    return found, generator.asked


@pytest.fixture
def documented(tmp_path):
    """The example of the documentation: the function, and the settings that name it."""
    text = (ROOT / "docs" / "parsing.md").read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n(.*?)```", text, re.S)
    return own(tmp_path, code, "read_stars")


def test_the_documented_example_reads_a_collection(documented):
    config = {
        "pool": [{"name": "a"}, {"name": "b"}],
        "completions": 2,
        "judge": {"endpoint": "judge", "aspects": [], "parsers": {"critique": documented}, "tries": 2},
    }

    def answer(request):
        if request.step == "completion":
            return f"I am {request.model.name}."
        return "★★★☆☆ Right, but long." if "I am a." in request.messages[-1].content else "Five stars!"

    generator, tally = Scripted(answer, names=("a", "b", "judge")), Tally("collect")
    settings = Collection.parse(config, where="test")
    drafts = [Draft((Message(role="user", content="Who are you?"),))]
    (row,) = collect(drafts, tally, settings=settings, seed=0, answerer=generator)
    read, unread = sorted(row.completions, key=lambda completion: completion.model)
    assert (read.critique.text, read.critique.score) == ("Right, but long.", 6.0)
    assert unread.critique is None
    assert unread.extra["unscored"]["critique"]["reason"] == "no-value"
    assert unread.extra["unscored"]["critique"]["raw"] == "Five stars!"
    assert (tally.counts["scored"], tally.counts["unscored-unreadable"], tally.counts["asked-again"]) == (1, 1, 1)


@pytest.mark.parametrize(
    ("judge", "value", "read"),
    [
        ("grade", 7, 7.0),
        ("grade", 7.5, 7.5),
        ("pair", "C", "C"),
        ("critique", 3, ("reply", 3.0)),
        ("critique", ("Fine.", 3), ("Fine.", 3.0)),
        ("honesty", [4, "N/A"], [4.0, None]),
        ("helpfulness", (2, 5), [2.0, 5.0]),
    ],
)
def test_what_a_parser_returns_is_what_is_read(judge, value, read, tmp_path):
    judges = Judges(parsers={judge: own(tmp_path, f"def read(text):\n    return {value!r}\n")})
    questions = {
        "grade": lambda: judges.grade("i", "a"),
        "pair": lambda: judges.pair("i", "a", "b"),
        "critique": lambda: judges.critique("i", "a"),
    }
    question = questions.get(judge, lambda: judges.aspect(judge, "i", ["a", "b"], seed="keeps the order 1"))()
    found, (request,) = judged(question, "reply", schema=True)
    assert request.schema is None
    value = found.value
    if judge == "critique":
        assert (value.text, value.score) == read
    elif judge in ("honesty", "helpfulness"):
        assert sorted((rating.value for rating in value), key=str) == sorted(read, key=str)
        assert {rating.aspect for rating in value} == {judge}
    else:
        assert value == read


def test_ratings_of_an_own_parser_come_back_to_their_answers(tmp_path):
    code = "import re\ndef read(text):\n    return [int(n) for n in re.findall('[0-9]', text)]\n"
    judges = Judges(parsers={"honesty": own(tmp_path, code)})
    for seed in range(10):
        question = judges.aspect("honesty", "i", ["x", "xx", "xxx"], seed=str(seed))
        shown = re.findall(r"(?m)^(x+)$", question.messages[-1].content)
        found, _ = judged(question, " ".join(str(len(text)) for text in shown))
        assert [rating.value for rating in found.value] == [1, 2, 3]


@pytest.mark.parametrize(
    ("value", "reason"),
    [(None, "no-value"), (11, "off-the-scale"), (float("nan"), "off-the-scale"), ("N/A", "not-applicable")],
)
def test_what_cannot_be_read_is_asked_again_and_stays_unscored(value, reason, tmp_path):
    code = f"nan = float('nan')\ndef read(text):\n    return {value!r} if text == 'odd' else 5\n"
    question = Judges(parsers={"grade": own(tmp_path, code)}).grade("i", "a")
    found, asked = judged(question, "odd", "even", tries=3)
    assert (found.value, found.refused, len(asked)) == (5.0, (reason,), 2)
    found, _ = judged(question, "odd", "odd", tries=2)
    assert isinstance(found.value, Unscored)
    assert (found.value.reason, found.value.raw) == (reason, "odd")


def test_an_own_parser_may_say_why(tmp_path):
    code = (
        "from notus.llm.parse import UnreadableError\ndef read(text):\n    raise UnreadableError('in-french', text)\n"
    )
    found, _ = judged(Judges(parsers={"pair": own(tmp_path, code)}).pair("i", "a", "b"), "Le premier.")
    assert (found.value.reason, found.value.detail) == ("in-french", "Le premier.")


def test_a_cut_reply_reaches_no_parser(tmp_path):
    found, _ = judged(
        Judges(parsers={"grade": own(tmp_path, "def read(text):\n    return 5\n")}).grade("i", "a"), ("5", "length")
    )
    assert found.value.reason == "cut-off"


def test_a_parser_that_fails_stops_the_run_with_one_line(tmp_path):
    name = own(tmp_path, "def read(text):\n    return float(text.split(':')[1])\n")
    with pytest.raises(InputError, match=r"mine\.py:2: IndexError.*None where a reply cannot be read") as error:
        judged(Judges(parsers={"grade": name}).grade("i", "a"), "seven", tries=3)
    assert "\n" not in str(error.value)
    assert "'seven'" in str(error.value)


@pytest.mark.parametrize(
    ("read", "value"),
    [
        (lambda parser: parser.score("t", SCORE), "seven"),
        (lambda parser: parser.score("t", SCORE), True),
        (lambda parser: parser.score("t", SCORE), [7]),
        (lambda parser: parser.verdict("t"), "first"),
        (lambda parser: parser.verdict("t"), 1),
        (lambda parser: parser.critique("t", SCORE), ("a", "b", 3)),
        (lambda parser: parser.ratings("t", "honesty", 2, HONEST), [1]),
        (lambda parser: parser.ratings("t", "honesty", 2, HONEST), 3),
        (lambda parser: parser.ratings("t", "honesty", 2, HONEST), "12"),
    ],
)
def test_a_parser_that_returns_something_else_stops_the_run_with_one_line(read, value, tmp_path):
    with pytest.raises(DataError, match=r"mine\.py:1\) returned .* it must return") as error:
        read(returning(tmp_path, value))
    assert "\n" not in str(error.value)


def test_na_is_a_rating_only_where_the_aspect_may_not_apply(tmp_path):
    parser = returning(tmp_path, ["N/A", 3])
    assert [rating.value for rating in parser.ratings("t", "honesty", 2, HONEST)] == [None, 3]
    with pytest.raises(UnreadableError, match="not-applicable"):
        parser.ratings("t", "helpfulness", 2, ASPECT)


def test_the_built_in_parsers_have_names_and_the_field_has_others():
    judges = Judges(parsers={"grade": "grade", "pair": "verdict", "critique": "feedback", "honesty": "rating"})
    assert judges.parser_digests() == {}
    other = Judges(parsers={"grade": "critique", "critique": "mt-bench"})
    assert other.parser_digests() == {"critique": "score", "grade": "critique"}
    assert judged(other.grade("i", "a"), "Good.\nOverall score: 7.5")[0].value == 7.5
    critique = judged(other.critique("i", "a"), "Good. [[7]]")[0].value
    assert (critique.text, critique.score) == ("Good. [[7]]", 7.0)
    assert judged(other.grade("i", "a"), "[[7]]")[0].value.reason == "no-score"
    for name in PARSERS.names:
        assert callable(PARSERS.load(name))


@pytest.mark.parametrize(
    ("parsers", "words"),
    [
        ({"grade": "scores"}, "did you mean 'score'"),
        ({"pair": "score"}, "take verdict, or a function of your own"),
        ({"grades": "score"}, "did you mean 'grade'"),
        ({"grade": "python:nowhere.py:read"}, "there is no file nowhere.py"),
        ({"grade": "python:{mine}:raed"}, "did you mean 'read'"),
        ({"grade": "python:{broken}:read"}, "broken.py:1"),
    ],
)
def test_a_wrong_parser_is_one_line_when_the_settings_are_read(parsers, words, tmp_path):
    own(tmp_path, "def read(text):\n    return None\n")
    (tmp_path / "broken.py").write_text("import nothing_of_this_name\n")
    places = {"mine": tmp_path / "mine.py", "broken": tmp_path / "broken.py"}
    parsers = {judge: name.format_map(places) if "{" in name else name for judge, name in parsers.items()}
    with pytest.raises(ConfigError, match=words) as error:
        JudgeSettings.parse({"endpoint": "judge", "parsers": parsers}, where="judge")
    assert "\n" not in str(error.value)


def test_a_parser_counts_by_its_code_and_none_as_before(tmp_path):
    plain = JudgeSettings.parse({"endpoint": "judge"}, where="judge").resolved()
    assert "parsers" not in plain
    assert JudgeSettings.parse({"endpoint": "judge", "parsers": {"grade": "score"}}, where="judge").resolved() == plain

    def counted(code, folder=tmp_path, name="read"):
        parsers = {"grade": own(folder, code, name)}
        return JudgeSettings.parse({"endpoint": "judge", "parsers": parsers}, where="judge").resolved()["parsers"]

    code = "def read(text):\n    return 1\n\ndef other(text):\n    return 1\n"
    first = counted(code)
    moved = tmp_path / "moved"
    moved.mkdir()
    assert counted(code, moved) == first
    assert counted(code + "#") != first
    assert counted(code, name="other") != first
    assert str(tmp_path) not in str(first)


def test_a_package_may_register_parsers(tmp_path, monkeypatch):
    package = tmp_path / "stars-1.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: stars\nVersion: 1\n")
    (package / "entry_points.txt").write_text("[notus.parsers]\nstars = notus_test_stars:read\n")
    (tmp_path / "notus_test_stars.py").write_text("def read(text):\n    return text.count('*')\n")
    monkeypatch.syspath_prepend(tmp_path)
    assert [point.name for point in metadata.entry_points(group="notus.parsers")] == ["stars"]
    judges = Judges(parsers={"grade": "stars"})
    assert judged(judges.grade("i", "a"), "****")[0].value == 4.0
    (digest,) = judges.parser_digests().values()
    (tmp_path / "notus_test_stars.py").write_text("def read(text):\n    return 1\n")
    assert judges.parser_digests() != {"grade": digest}
