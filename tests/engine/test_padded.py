import math

import pytest
import torch

from notus.engine.padded import IGNORED, all_logps, answer_logps, pad, passes_within

EXAMPLES = [([5, 6, 7], [8, 9, 2]), ([5], [10, 2]), ([11, 12, 13, 14, 15], [16, 17, 18, 2])]


def by_hand(model, prompt, answer):
    """Σ_t log softmax(logits)[y_t], one row without padding, in fp64."""
    with torch.no_grad():
        logits = model(input_ids=torch.tensor([prompt + answer])).logits[0].double()
    total = 0.0
    for t, token in enumerate(answer):
        row = logits[len(prompt) + t - 1]
        total += float(row[token]) - math.log(sum(math.exp(float(x)) for x in row))
    return total


def test_pad_marks_answers_and_nothing_else():
    batch = pad(EXAMPLES[:2], pad_id=3)
    assert batch["input_ids"].tolist() == [[5, 6, 7, 8, 9, 2], [5, 10, 2, 3, 3, 3]]
    assert batch["attention_mask"].tolist() == [[1] * 6, [1, 1, 1, 0, 0, 0]]
    assert batch["labels"].tolist() == [[IGNORED] * 3 + [8, 9, 2], [IGNORED, 10, 2] + [IGNORED] * 3]


def test_log_probabilities_equal_the_sum_written_out(model):
    with torch.no_grad():
        sums, tokens = answer_logps(model, pad(EXAMPLES, 3))
    assert sums.dtype == torch.float64
    assert tokens.tolist() == [3, 2, 4]
    assert sums.tolist() == pytest.approx([by_hand(model, *example) for example in EXAMPLES], abs=1e-5)


def test_log_probabilities_do_not_depend_on_the_company(model):
    with torch.no_grad():
        alone = [float(answer_logps(model, pad([example], 3))[0]) for example in EXAMPLES]
    assert all_logps(model, EXAMPLES, 3, batch_size=3) == pytest.approx(alone, abs=1e-5)
    assert all_logps(model, EXAMPLES, 3, batch_size=2) == pytest.approx(alone, abs=1e-5)


def test_passes_hold_no_more_tokens_than_are_allowed_with_padding():
    """Rows of 3, 5, 4 and 9 tokens: two of 5 are ten, three would be fifteen; the last one is alone with its nine."""
    assert list(passes_within([3, 5, 4, 9], None, 10)) == [(0, 2), (2, 3), (3, 4)]
    assert list(passes_within([3, 5, 4, 9], 3, None)) == [(0, 3), (3, 4)]
    assert list(passes_within([12, 12], None, 10)) == [(0, 1), (1, 2)]
    assert list(passes_within([], None, 10)) == []
