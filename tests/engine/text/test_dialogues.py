"""Dialogues of several answers against the plain way: each answer for itself, behind everything before it."""

import copy
import gzip
import json

import pytest
import torch
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from notus.core.records import Message
from notus.core.stage import Tally
from notus.engine.attention import packed
from notus.engine.logps import token_logps
from notus.engine.pack import pack
from notus.engine.padded import answer_logps, pad
from notus.engine.settings import Limits
from notus.engine.text.encoder import Encoder
from notus.engine.text.lessons import dialogue_groups
from notus.engine.text.template import UnfitError
from tests.helpers.paths import ROOT

REAL = ROOT / "../shared/data/chat/dialogues_4000.jsonl.gz"
LONG = Limits(max_length=4096, max_prompt_length=4000)
TURN_END = (
    "{% for m in messages %}<|{{ m.role }}|>{{ m.content }}<end>{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
FORGETFUL = (
    "{% for m in messages %}{% if m.role != 'assistant' or loop.last %}<|{{ m.role }}|>{{ m.content }}{{ eos_token }}"
    "{% endif %}{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
)
SPACED = (  # as Mistral's: no system turn, a space before the answer, end-of-sequence behind answers alone
    "{% for m in messages %}{% if m.role == 'assistant' %}{{ ' ' + m.content | trim + eos_token }}"
    "{% elif m.role == 'user' %}{{ '[INST] ' + m.content + ' [/INST]' }}{% endif %}{% endfor %}"
)


def talk(*texts, system=None):
    turns = [Message(role="system", content=system)] if system is not None else []
    return (*turns, *(Message(role=("user", "assistant")[n % 2], content=text) for n, text in enumerate(texts)))


def with_template(tokenizer, template):
    other = copy.deepcopy(tokenizer)
    other.chat_template = template
    return other


def answers_of(group):
    """Each answer's tokens with all tokens before it, cut out of a group by its marks."""
    whole, marks = group.completions[0], group.trained[0] if group.trained else [True] * len(group.completions[0])
    found, start = [], None
    for place, counts in enumerate([*marks, False]):
        if counts and start is None:
            start = place
        elif not counts and start is not None:
            found.append((group.prompt + whole[:start], whole[start:place]))
            start = None
    return found


def plainly(encoder, dialogue):
    """Each answer encoded behind a prompt of its own."""
    places = [n for n, turn in enumerate(dialogue) if n and turn.role == "assistant"]
    return encoder.examples((dialogue[:n], dialogue[n].content) for n in places)


DIALOGUES = {
    "one answer": talk("hot?", "cold"),
    "three answers": talk("hot?", "cold", "big?", "small", "up and old?", "down and young!"),
    "a system turn": talk("hot?", "cold", "big?", "small", system="Be brief."),
    "an empty answer": talk("hot?", "", "big?", "small"),
    "two answers in a row": (*talk("hot?", "cold"), Message(role="assistant", content="yes"), *talk("up?", "down")),
    "typed control tokens": talk("hot </s>?", "cold </s>", "<|assistant|>\nbig?</s>", "small", "up?</s></s>", "down"),
}


@pytest.mark.parametrize("system", ["", None, "Be </s> kind."])
@pytest.mark.parametrize("name", DIALOGUES)
def test_every_answer_stands_behind_the_prompt_of_its_own(tokenizer, name, system):
    encoder = Encoder(tokenizer, Limits(max_length=900, max_prompt_length=800, system=system))
    (group,) = dialogue_groups(encoder, [DIALOGUES[name]])
    assert answers_of(group) == plainly(encoder, DIALOGUES[name])
    assert all(answer.count(tokenizer.eos_token_id) == 1 for _, answer in answers_of(group))
    assert group.trained is None or group.trained[0][-1]
    assert not encoder.tally.counts


text = st.text(alphabet=st.characters(codec="utf-8", exclude_categories=["Z", "Cc"]), max_size=12)


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(text, min_size=2, max_size=8), text | st.none())
def test_any_dialogue_is_encoded_like_its_answers_one_by_one(tokenizer, texts, system):
    encoder = Encoder(tokenizer, LONG)
    dialogue = talk(*texts, system=system)
    (group,) = dialogue_groups(encoder, [dialogue])
    assert answers_of(group) == plainly(encoder, dialogue)
    assert encoder.tally.counts.get("trailing-turns-dropped", 0) == len(texts) % 2


@settings(max_examples=100, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(st.text(alphabet=" \n\tab.</s>", max_size=8), min_size=2, max_size=6))
def test_blanks_around_an_answer_move_no_border(tokenizer, texts):
    """Where blanks join those of the template in the rendered text, the answers are still those of their own."""
    encoder = Encoder(tokenizer, LONG)
    dialogue = talk(*texts)
    (group,) = dialogue_groups(encoder, [dialogue])
    assert [answer for _, answer in answers_of(group)] == [answer for _, answer in plainly(encoder, dialogue)]
    encoded = tokenizer.decode(group.prompt + group.completions[0])
    prompt, answer = plainly(encoder, dialogue)[-1]
    assert encoded == tokenizer.decode(prompt + answer)


def test_log_probabilities_equal_those_of_each_answer_alone(model, tokenizer):
    encoder = Encoder(tokenizer, Limits(max_length=128, max_prompt_length=100))
    groups = dialogue_groups(encoder, list(DIALOGUES.values()))
    with torch.no_grad():
        with packed(model):
            row = pack(groups)
            logps = token_logps(model, row)
        ours = torch.zeros(row.completions, dtype=torch.float64).index_add(0, row.completion_of, logps.double())
        for found, dialogue in zip(ours.tolist(), DIALOGUES.values(), strict=True):
            alone = answer_logps(model, pad(plainly(encoder, dialogue), tokenizer.pad_token_id))[0].sum()
            assert found == pytest.approx(float(alone), abs=1e-4)


def test_a_template_that_puts_a_space_before_answers(tokenizer):
    other = with_template(tokenizer, SPACED)
    encoder = Encoder(other, Limits(max_length=900, max_prompt_length=800, system=None))
    (group,) = dialogue_groups(encoder, [talk("hot?", "cold\n", "big?", " small")])
    first, second = answers_of(group)
    assert other.decode(first[0]) == "[INST] hot? [/INST]"
    assert other.decode(second[0]) == "[INST] hot? [/INST] cold</s>[INST] big? [/INST]"
    assert [other.decode(answer) for _, answer in (first, second)] == [" cold</s>", " small</s>"]


def test_a_turn_end_that_is_no_token_is_refused_for_several_answers(tokenizer):
    encoder = Encoder(with_template(tokenizer, TURN_END), LONG)
    (group,) = dialogue_groups(encoder, [talk("hot?", "cold")])
    assert tokenizer.decode(group.completions[0]) == "cold<end></s>"
    with pytest.raises(UnfitError, match="does not end an assistant's") as caught:
        dialogue_groups(encoder, [talk("hot?", "cold", "big?", "small")])
    assert "\n" not in str(caught.value)


def test_where_a_template_changes_earlier_answers_the_last_one_counts(tokenizer):
    encoder = Encoder(with_template(tokenizer, FORGETFUL), LONG)
    (group,) = dialogue_groups(encoder, [talk("hot?", "cold", "big?", "small")])
    assert tokenizer.decode(group.prompt) == "<|user|>hot?</s><|user|>big?</s><|assistant|>"
    assert tokenizer.decode(group.completions[0]) == "small</s>"
    assert encoder.tally.counts == {"answer-untrained": 1}


def test_what_does_not_fit_is_cut_on_the_right_and_counted(tokenizer):
    whole = Encoder(tokenizer, LONG)
    dialogue = talk("hot?", "cold", "big?", "small", "up?", "down")
    (group,) = dialogue_groups(whole, [dialogue])
    prompt, first, second = len(group.prompt), *(len(before) for before, _ in answers_of(group)[1:])
    ends = [len(before) + len(answer) for before, answer in answers_of(group)]
    for length, length_kept, counts in (
        (ends[2], ends[2], {}),
        (ends[2] - 1, ends[2] - 1, {"answer-cut": 1}),
        (second, ends[1], {"turns-cut": 1}),
        (ends[1], ends[1], {"turns-cut": 1}),
        (ends[1] - 1, ends[1] - 1, {"turns-cut": 1, "answer-cut": 1}),
        (first, ends[0], {"turns-cut": 2}),
        (prompt + 1, prompt + 1, {"turns-cut": 2, "answer-cut": 1}),
    ):
        tally = Tally("encode")
        limits = Limits(max_length=length, max_prompt_length=prompt)
        (cut,) = dialogue_groups(Encoder(tokenizer, limits, tally), [dialogue])
        assert (cut.prompt + cut.completions[0]) == (group.prompt + group.completions[0])[:length_kept]
        assert tally.counts == counts


def test_turns_that_cannot_count_are_counted(tokenizer):
    tally = Tally("encode")
    opening = (Message(role="assistant", content="Hello."), *talk("hot?", "cold", "thanks", ""))[:4]
    (group,) = dialogue_groups(Encoder(tokenizer, LONG, tally), [opening])
    assert tokenizer.decode(group.prompt).endswith("<|assistant|>\nHello.</s>\n<|user|>\nhot?</s>\n<|assistant|>\n")
    assert tokenizer.decode(group.completions[0]) == "cold</s>"
    assert tally.counts == {"opening-answer-untrained": 1, "trailing-turns-dropped": 1}


@pytest.mark.parametrize("dialogue", [talk("hot?"), (Message(role="assistant", content="Hello."),)])
def test_a_dialogue_without_an_answer_to_anything_is_refused(tokenizer, dialogue):
    with pytest.raises(UnfitError, match="needs a prompt and an answer behind it; this one has the turns: "):
        dialogue_groups(Encoder(tokenizer, LONG), [dialogue])


@pytest.mark.skipif(not REAL.is_file(), reason="the real dialogues are not here")
def test_real_dialogues_are_encoded_like_their_answers_one_by_one(tokenizer):
    with gzip.open(REAL, "rt", encoding="utf-8") as file:
        rows = [json.loads(next(file)) for _ in range(100)]
    dialogues = [tuple(Message(**turn) for turn in row["messages"]) for row in rows]
    encoder = Encoder(tokenizer, Limits(max_length=20_000, max_prompt_length=19_000))
    groups = dialogue_groups(encoder, dialogues)
    several = 0
    for dialogue, group in zip(dialogues, groups, strict=True):
        assert answers_of(group) == plainly(encoder, dialogue)
        several += len(answers_of(group)) > 1
    assert several > 90
