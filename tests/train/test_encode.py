"""Records as items: several turns, and rows that cannot be encoded, which are put aside and stop nothing."""

import copy

import pytest
import torch

from notus.core.records import Dialogue, Message, Preference, ToolCall, Unpaired
from notus.core.stage import Tally
from notus.engine.padded import answer_logps, pad
from notus.engine.settings import Limits
from notus.engine.text.encoder import Encoder
from notus.train.batches import Collator, completion_sums, encode_dialogues, encode_pairs, encode_rows, score_margin
from notus.train.run.policy import _common
from notus.train.settings import Training

LIMITS = Limits(max_length=200, max_prompt_length=100)
TURN_END = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<end>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)


def user(text):
    return Message(role="user", content=text)


def answer(text, **more):
    return Message(role="assistant", content=text, **more)


PLAIN = Preference(prompt=(user("hot?"),), chosen=(answer("cold"),), rejected=(answer("no idea"),))
SEVERAL = Preference(
    prompt=(user("big?"),),
    chosen=(answer("small"), user("sure?"), answer("yes")),
    rejected=(answer("huge"), user("sure?"), answer("no idea")),
)
CALLS = Preference(
    prompt=(user("up?"),),
    chosen=(answer("", tool_calls=(ToolCall(name="ask"),)), Message(role="tool", content="down"), answer("down")),
    rejected=(answer("no idea"),),
    file="rows.jsonl",
    line=7,
)


def encoder_of(tokenizer, limits=LIMITS, template=None):
    other = copy.deepcopy(tokenizer)
    other.chat_template = template or other.chat_template
    return Encoder(other, limits, Tally("encode"))


def test_the_sums_of_several_turns_are_those_of_each_turn_behind_all_before_it(model, tokenizer):
    encoder = encoder_of(tokenizer)
    (item,) = encode_pairs(encoder, [SEVERAL])
    expected = []
    for side in (SEVERAL.chosen, SEVERAL.rejected):
        examples = encoder.examples([((*SEVERAL.prompt, *side[:n]), side[n].content) for n in (0, 2)])
        with torch.no_grad():
            logps = answer_logps(model, pad(examples, tokenizer.pad_token_id))
        expected.append(float(sum(part.sum() for part in logps[0]) if isinstance(logps, tuple) else logps.sum()))
    (forward,) = Collator(Training(engine="padded"), tokenizer.pad_token_id)([item])["batch"].forwards
    with torch.no_grad():
        found = completion_sums(model, forward)
    assert found.sums.tolist() == pytest.approx(expected, abs=1e-4)
    assert found.tokens.tolist() == item.lengths == [sum(marks) for marks in item.group.trained]


def test_the_common_length_is_that_of_the_tokens_that_count(tokenizer):
    (item,) = encode_pairs(encoder_of(tokenizer), [SEVERAL])
    cut = _common(item.group)
    assert [sum(marks) for marks in cut.trained] == [min(item.lengths)] * 2
    assert all(marks[-1] for marks in cut.trained)
    (plain,) = encode_pairs(encoder_of(tokenizer), [PLAIN])
    assert [len(ids) for ids in _common(plain.group).completions] == [min(plain.lengths)] * 2


@pytest.mark.parametrize("encode", ["pairs", "rows", "dialogues"])
def test_an_unusual_row_is_put_aside_with_its_id_its_place_and_the_reason(tokenizer, encode):
    encoder, divided = encoder_of(tokenizer), Tally("divide")
    records = [PLAIN, CALLS, SEVERAL, PLAIN]
    if encode == "pairs":
        items = encode_pairs(encoder, records)
        (dropped,) = encoder.tally.dropped
        assert (dropped.id, len(items)) == (CALLS.id, 3)
    elif encode == "rows":
        rows = [Unpaired(prompt=CALLS.prompt, answer=CALLS.chosen, desirable=True, file="rows.jsonl", line=7)]
        items = encode_rows(encoder, [PLAIN, *rows, SEVERAL], divided)
        (dropped,) = encoder.tally.dropped
        assert (dropped.id, len(items)) == (rows[0].id, 4)
    else:
        talks = [Dialogue(messages=(*r.prompt, *r.chosen), file=r.file, line=r.line) for r in records]
        items = encode_dialogues(encoder, talks)
        (dropped,) = encoder.tally.dropped
        assert len(items) == 3
    assert dropped.reason == "tools-dropped"
    assert dropped.detail.startswith("rows.jsonl:7: ")
    assert encoder.tally.taken == encoder.tally.given + 1


def test_counts_are_those_of_each_row_once(tokenizer):
    thoughts = Preference(prompt=(user("hot?"),), chosen=(answer("cold", reasoning="ice"),), rejected=(answer("a"),))
    encoder = encoder_of(tokenizer)
    encode_pairs(encoder, [thoughts] * 3 + [CALLS] + [thoughts] * 2)
    assert encoder.tally.counts == {"reasoning-dropped": 5}


def test_a_template_that_cannot_go_on_stops_no_row_but_those_of_several_turns(tokenizer):
    encoder = encoder_of(tokenizer, template=TURN_END)
    assert len(encode_pairs(encoder, [PLAIN, SEVERAL, PLAIN])) == 2
    assert [(each.id, each.reason) for each in encoder.tally.dropped] == [(SEVERAL.id, "several-answers")]


@pytest.mark.parametrize("mark", [{"weight": 0}, {"loss": False}, {"train": False}, {"weight": 0.0}])
def test_what_a_row_leaves_out_of_training_is_not_trained_on(tokenizer, mark):
    turns = (user("hot?"), answer("cold"), user("big?"), answer("small"))
    raw = [{"role": turn.role, "content": turn.content} for turn in turns]
    encoder = encoder_of(tokenizer)
    talk = Dialogue(messages=turns, extra={"messages_as_read": [*raw[:3], raw[3] | mark]})
    (item,) = encode_dialogues(encoder, [talk])
    assert encoder.decode(item.group.completions[0]) == "cold"
    assert encoder.tally.counts == {"answer-untrained": 1, "trailing-turns-dropped": 2}
    kept = Dialogue(messages=turns, extra={"messages_as_read": [*raw[:3], raw[3] | {"weight": 1, "loss": None}]})
    assert encode_dialogues(encoder, [kept]) == encode_dialogues(encoder, [Dialogue(messages=turns)])


def test_a_stated_margin_stands_for_the_scores():
    pair = Preference(prompt=PLAIN.prompt, chosen=PLAIN.chosen, rejected=PLAIN.rejected, margin=1.5)
    assert score_margin(pair) == 1.5
    scored = Preference(
        prompt=PLAIN.prompt, chosen=PLAIN.chosen, rejected=PLAIN.rejected, score_chosen=4, score_rejected=1, margin=9
    )
    assert score_margin(scored) == 3
