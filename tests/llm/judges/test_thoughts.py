"""What a judge thinks is neither critique nor score: border cases, and brothers of each in every parser."""

import pytest

from notus.evaluate.alpaca.judge import read_rank
from notus.evaluate.mtbench.parse import read_grade as read_mtbench_grade
from notus.evaluate.mtbench.parse import read_winner
from notus.llm.judges.thoughts import OnlyThoughtsError, behind_thoughts, is_refusal
from notus.llm.parse import Parser, Scale, UnreadableError, read_critique, read_ratings, read_score, read_verdict

TEN, FIVE = Scale(1, 10, whole=False), Scale(1, 5)
BLOCKS = "Answer 1\nRating: 4\nRationale: ok\n\nAnswer 2\nRating: 2\nRationale: bad"


def ratings(text):
    return [rating.value for rating in read_ratings(text, "honesty", 2, FIVE)]


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("<think>hmm</think>\nGood.", "\nGood."),
        ("hmm\n</think>\nGood.", "\nGood."),
        ("<think>\n</think>Good.", "Good."),
        ("Sure.\n<think>hmm</think>\nGood.", "Sure.\n\nGood."),
        ("<think>a</think> one <think>b</think> two", " one  two"),
        ("<THINKING>hmm</THINKING>Good.", "Good."),
        ("[THINK]hmm[/THINK]Good.", "Good."),
        ("<seed:think>hmm</seed:think>Good.", "Good."),
        ("<think>\n<think>a</think>\n</think>\nGood.", "\nGood."),
        ("Good.\n<think>was it", "Good.\n"),
        (
            "<|channel|>analysis<|message|>7?<|end|><|start|>assistant<|channel|>final<|message|>Good.<|return|>",
            "Good.",
        ),
        ('{"critique": "It leaves a </think> tag.", "overall_score": 7}', None),
        ("It writes <think> where it should not.", None),
        ("Good.", None),
    ],
)
def test_thoughts_are_taken_out_and_quotations_are_not(text, left):
    assert behind_thoughts(text) == (text if left is None else left)


@pytest.mark.parametrize(
    "text", ["<think>hmm", "<think>hmm</think>", "hmm</think>\n ", "<|channel|>analysis<|message|>a"]
)
def test_nothing_but_thoughts_is_no_reply(text):
    with pytest.raises(OnlyThoughtsError):
        behind_thoughts(text)
    for read in (lambda t: read_critique(t, TEN), lambda t: read_score(t, TEN), read_verdict, ratings, read_rank):
        with pytest.raises(UnreadableError) as refused:
            read(text)
        assert refused.value.reason == "only-thoughts"


def test_the_border_case():
    """The right values of a case that failed once: thoughts with scores, headings and verdicts in them."""
    assert read_critique("<think>hmm</think>\nGood.\nOverall score: 7", TEN).text == "Good."
    assert read_critique("<think>\nOverall score: 3\n</think>\nGood.\nOverall score: 7", TEN).score == 7.0
    assert read_critique('<think>hmm</think>\n{"critique":"Good","overall_score":7}', TEN).score == 7.0
    assert ratings("<think>\nAnswer 1\nfine\nAnswer 2\nbad\n</think>\n" + BLOCKS) == [4.0, 2.0]
    assert ratings("Answer 1\nfine\n</think>\n\n" + BLOCKS) == [4.0, 2.0]
    assert read_score("<think>[[8]] or [[7]]?</think>\nGood. [[7]]", TEN) == 7.0
    assert read_verdict("<think>[[B]]?</think> so [[A]]") == "A"


@pytest.mark.parametrize("thoughts", ["<think>{}</think>\n", "{}\n</think>\n", "First words.\n<think>{}</think>\n"])
def test_no_parser_reads_a_score_in_the_thoughts(thoughts):
    def behind(inside, reply):
        return thoughts.format(inside) + reply

    assert read_score(behind("[[2]]", "Good. [[7]]"), TEN) == 7.0
    assert read_verdict(behind("[[B]]", "So [[A]]")) == "A"
    assert read_critique(behind("Overall score: 2", "Good.\nOverall score: 7"), TEN).score == 7.0
    assert read_mtbench_grade(behind("[[2]]", "Good. [[7]]"), "strict").score == 7.0
    assert read_winner(behind("[[B]]", "So [[A]]"), 1, "strict") == ("model_1", "")
    if not thoughts.startswith("First"):  # the ranking of AlpacaEval stands alone
        rank = "[{'model': 'model_1', 'rank': %d}, {'model': 'model_2', 'rank': %d}]"
        assert read_rank(behind(rank % (2, 1), rank % (1, 2))) == 1.0


def test_a_parser_of_ones_own_never_sees_them(tmp_path):
    (tmp_path / "mine.py").write_text(
        "def last(text):\n    assert 'hmm' not in text\n    return int(text.split()[-1])\n"
    )
    parser = Parser(f"python:{tmp_path}/mine.py:last")
    critique = parser.critique("<think>hmm 3</think>It is fine: 7", TEN)
    assert (critique.text, critique.score) == ("It is fine: 7", 7.0)
    built_in = Parser("score").critique("<think>hmm [[3]]</think>It is fine. [[7]]", TEN)
    assert (built_in.text, built_in.score) == ("It is fine. [[7]]", 7.0)
    with pytest.raises(UnreadableError, match="only-thoughts"):
        parser.score("<think>hmm 3", TEN)


@pytest.mark.parametrize(
    "text",
    [
        "I'm sorry, but I can't help with that.",
        "I cannot rate this answer.",
        "As an AI language model, I am unable to judge.",
        "Sorry, I won’t score it.",
        "I must decline.",
        "This content violates my rules.",
    ],
)
def test_words_that_refuse(text):
    assert is_refusal(text)


@pytest.mark.parametrize(
    "text", ["The answer is sorry work.", "I can see two faults.", "I would give it a 7.", "", "Sorry state."]
)
def test_words_that_do_not(text):
    assert not is_refusal(text)
