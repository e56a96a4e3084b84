import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from notus.engine import tree as module
from notus.engine.padded import all_logps
from notus.engine.tree import choices

TOKENS = st.integers(7, 60)
EXAMPLES = st.lists(
    st.tuples(
        st.lists(st.sampled_from([8, 9]), min_size=1, max_size=6),
        st.lists(st.sampled_from([8, 9, 10]), min_size=1, max_size=5),
    ),
    min_size=1,
    max_size=10,
)


def written_out(model, prompt, answer):
    """log π(y | x) = Σ_t log softmax(logits_t)[y_t], and whether each y_t is the argmax, one answer by itself."""
    with torch.inference_mode():
        logits = model(input_ids=torch.tensor([[*prompt, *answer]])).logits[0].double()
    rows = logits[len(prompt) - 1 : -1]
    logps = rows.log_softmax(-1)[torch.arange(len(answer)), torch.tensor(answer)]
    return float(logps.sum()), rows.argmax(-1).tolist() == list(answer)


@settings(max_examples=25, deadline=None)
@given(examples=EXAMPLES, max_tokens=st.sampled_from([1, 8, 64]))
def test_choices_are_what_each_answer_is_by_itself(model, examples, max_tokens):
    found, _ = choices(model, examples, max_tokens)
    for choice, (prompt, answer) in zip(found, examples, strict=True):
        logp, greedy = written_out(model, prompt, answer)
        assert choice.logp == pytest.approx(logp, abs=1e-4)
        assert choice.greedy == greedy


def test_they_are_those_of_the_padded_way(model):
    examples = [([5, 6, 7], [8, 9]), ([5, 6, 7], [8, 10, 11]), ([5, 6, 7], [12]), ([20], [21, 22])]
    found, _ = choices(model, examples, 64)
    padded = all_logps(model, examples, 3, 2)
    assert [choice.logp for choice in found] == pytest.approx(padded, abs=1e-4)


def test_a_greedy_answer_is_known(model):
    prompt, answer = [5, 6, 7], []
    with torch.inference_mode():
        for _ in range(4):
            answer.append(int(model(input_ids=torch.tensor([prompt + answer])).logits[0, -1].argmax()))
    other = [*answer[:-1], answer[-1] + 1]
    found, _ = choices(model, [(prompt, answer), (prompt, other), (prompt, answer[:2])], 64)
    assert [choice.greedy for choice in found] == [True, False, True]


def test_what_is_shared_is_computed_once_and_the_last_token_never(model):
    prompt = list(range(10, 30))
    four = [(prompt, [letter]) for letter in (40, 41, 42, 43)]
    assert choices(model, four, 64)[1] == 20
    longer = [(prompt, [40, 41, 50]), (prompt, [40, 42, 50]), (prompt, [40, 42, 51])]
    assert choices(model, longer, 64)[1] == 23


def test_chunks_of_the_head_change_nothing(model, monkeypatch):
    examples = [([5, 6], [7, 8, 9]), ([5, 6], [7, 9, 9]), ([5], [6]), ([5, 6, 7], [8])]
    whole, _ = choices(model, examples, 64)
    monkeypatch.setattr(module, "_CHUNK", 1)
    pieces, _ = choices(model, examples, 64)
    assert [a.greedy for a in whole] == [b.greedy for b in pieces]
    assert [a.logp for a in whole] == pytest.approx([b.logp for b in pieces], abs=1e-5)


def test_progress_counts_examples_and_the_attention_is_left_as_it_was(model):
    before, told = model.config._attn_implementation, []
    choices(model, [([5, 6], [6]), ([7, 8], [8]), ([9, 10], [10])], 1, lambda done, of: told.append((done, of)))
    assert told == [(2, 3), (3, 3)]  # a row holds two of the longest, whatever its room
    assert model.config._attn_implementation == before
    assert choices(model, [], 8) == ([], 0)
