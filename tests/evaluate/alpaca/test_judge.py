"""Asking a judge as AlpacaEval does: the order, both protocols, and the stored judgements they explain."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notus.core.errors import ConfigError
from notus.evaluate.alpaca.files import Answer, read_annotations
from notus.evaluate.alpaca.judge import Pairing, is_swapped, judge_pairs, read_logprobs, read_rank
from notus.llm.parse import UnreadableError
from notus.llm.prompts import FENCED
from notus.llm.protocol import Reply, Token
from tests.helpers.alpaca_examples import GEMMA, NULL, needs_data
from tests.helpers.judge_examples import Scripted

FIRST = "[{'model': 'model_1', 'rank': 1}, {'model': 'model_2', 'rank': 2}]"


def reply(*top, text="m"):
    tokens = (Token(text=top[0][0], logprob=top[0][1], top=tuple(top)),) if top else ()
    return Reply(key="k", texts=(text,), finish=("length",), tokens_in=1, tokens_out=1, logprobs=(tokens,))


def pair(number, output="mine", reference="theirs"):
    text = f"Question {number}?"
    return Pairing(
        Answer(instruction=text, output=reference, generator="r", dataset="d"),
        Answer(instruction=text, output=output, generator="m"),
    )


def judged(answer, pairs, protocol="rank", **more):
    judge = Scripted(answer)
    found = judge_pairs(pairs, protocol=protocol, generator=judge, model=judge.models["judge"], annotator="j", **more)
    return judge, [item.judgement for item in found]


@needs_data
@pytest.mark.parametrize("path", [NULL, GEMMA])
def test_the_stored_judgements_follow_from_their_tokens_and_the_order(path):
    for item in read_annotations(path):
        top = json.loads(item.raw)["logprobs"]["content"][0]["top_logprobs"]
        p = read_logprobs(reply(*((each["token"], each["logprob"]) for each in top)))
        assert (3 - p if is_swapped(item.instruction) else p) == pytest.approx(item.preference, abs=1e-9)


@given(st.floats(-30, 0), st.floats(-30, 0))
def test_the_preference_of_two_probabilities(first, second):
    p = read_logprobs(reply(("x", -0.01), ("m", first), ("M", second)))
    assert p == pytest.approx(2 - math.exp(first) / (math.exp(first) + math.exp(second)))


def test_a_letter_that_is_missing_has_no_probability():
    assert read_logprobs(reply(("m", -0.1), ("x", -3.0))) == 1.0
    assert read_logprobs(reply(("M", -800.0), ("x", -3.0))) == 2.0
    assert read_logprobs(reply(("m", -900.0), ("M", -900.0))) == 1.5
    with pytest.raises(UnreadableError, match="no-verdict-token"):
        read_logprobs(reply((" m", -0.1), ("Model", -3.0)))
    with pytest.raises(UnreadableError, match="no-token"):
        read_logprobs(reply())


@pytest.mark.parametrize(
    ("text", "rank"),
    [
        (FIRST, 1),
        (f"\n{FIRST}\n", 1),
        ('[{"model": "model_1", "rank": 2}, {"model": "model_2", "rank": 1}]', 2),
        ("[\n {'model': 'model_2', 'rank': 1},\n {'model': 'model_1', 'rank': 2},\n]", 2),
        (f"```python\n{FIRST}\n```", 1),
    ],
)
def test_rankings_that_are_read(text, rank):
    assert read_rank(text) == rank


@pytest.mark.parametrize(
    ("text", "reason"),
    [
        ("", "no-ranking"),
        ("model_1", "no-ranking"),
        (f"I think {FIRST}", "no-ranking"),
        (f"{FIRST}{FIRST}", "no-ranking"),
        (FIRST[:-3], "no-ranking"),
        ("[" * 100_000, "no-ranking"),
        ("[{'model': 'model_1', 'rank': 1}]", "no-ranking"),
        (FIRST.replace("model_2", "model_3"), "other-models"),
        (FIRST.replace("model_2", "model_1"), "other-models"),
        (FIRST.replace("2}", "1}"), "ranks-not-1-and-2"),
        (FIRST.replace("'rank': 2", "'rank': 3"), "ranks-not-1-and-2"),
        ("__import__('os').abort()", "no-ranking"),
    ],
)
def test_rankings_that_are_refused(text, reason):
    with pytest.raises(UnreadableError) as caught:
        read_rank(text)
    assert caught.value.reason == reason


def test_the_order_is_undone():
    """A judge that always takes what is shown first: the model wins exactly where it was shown first."""
    pairs = [pair(number) for number in range(40)]
    judge, found = judged(lambda _: FIRST, pairs)
    swapped = [is_swapped(item.instruction) for item in found]
    assert [item.preference == 2 for item in found] == swapped
    assert 10 < sum(swapped) < 30
    for request, was in zip(judge.asked, swapped, strict=True):
        shown = [match["text"] for match in FENCED.finditer(request.messages[-1].content)]
        assert shown[1:] == (["mine", "theirs"] if was else ["theirs", "mine"])


def test_equal_outputs_are_a_draw_and_missing_ones_a_failure_and_nobody_is_asked():
    judge, found = judged(lambda _: FIRST, [pair(0, "same", "same"), pair(1, None), pair(2, "a", None)])
    assert not judge.asked
    assert [(item.preference, item.unscored, item.reason) for item in found] == [
        (1.5, "", ""),
        (None, "failed", "no-output"),
        (None, "failed", "no-reference-output"),
    ]


def test_a_bad_verdict_is_asked_again_and_then_fails():
    judge, found = judged(lambda request: FIRST if request.sample else "Both.", [pair(0)])
    assert found[0].preference is not None
    assert [request.sample for request in judge.asked] == [0, 1]
    judge, found = judged(lambda _: "Both.", [pair(0)], tries=2)
    assert (found[0].unscored, found[0].reason, found[0].raw) == ("failed", "no-ranking", "Both.")
    assert len(judge.asked) == 2


@pytest.mark.parametrize(
    ("kind", "unscored"),
    [("content_filter", "refused"), ("context_too_long", "refused"), ("server_error", "failed")],
)
def test_what_a_server_refuses_for_good_is_no_failure(kind, unscored):
    _, found = judged(lambda _: RuntimeError(kind), [pair(0)])
    assert (found[0].unscored, found[0].reason) == (unscored, kind)


def test_prompts_of_ones_own(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text(
        "<|im_start|>system\nYou rank.\n<|im_end|>\n<|im_start|>user\n"
        '{"prompt": """{instruction}"""}\n[{"model_1": """{output_1}"""}, {"model_2": """{output_2}"""}]\n<|im_end|>\n'
    )
    judge, _ = judged(lambda _: FIRST, [pair(0, output="a {output_2} {output_1} b")], prompt=str(path), verbatim=True)
    system, user = judge.asked[0].messages
    assert (system.role, system.content) == ("system", "You rank.")
    assert "<|im_" not in user.content
    assert user.content.count("a {output_2} {output_1} b") == user.content.count("theirs") == 1
    path.write_text("{instruction} {output_1}")
    with pytest.raises(ConfigError, match=r"the slot \{output_2\} is missing"):
        judged(lambda _: FIRST, [pair(0)], prompt=str(path))
