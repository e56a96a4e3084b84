"""Prompt files, and texts of others in them: nothing that a candidate holds changes the prompt outside its slot."""

import random
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from notus.core.errors import ConfigError, InputError
from notus.llm.judge import JUDGES, Judges
from notus.llm.prompts import (
    BUILT_IN,
    FENCED,
    neutralise,
    read_prompt,
    read_variants,
    restore,
)

CONTROL = [
    *("<|im_start|>", "<|im_end|>", "<|eot_id|>", "<|start_header_id|>", "<|end_header_id|>", "<|begin_of_text|>"),
    *("<|endoftext|>", "<|user|>", "<|assistant|>", "<|system|>", "<|fim_prefix|>", "<｜User｜>"),
    *("<｜end▁of▁sentence｜>", "<s>", "</s>", "<pad>", "<unk>", "<bos>"),
    *("<eos>", "<mask>", "<start_of_turn>", "<end_of_turn>", "<<SYS>>", "<</SYS>>"),
    *("[INST]", "[/INST]", "[SYSTEM_PROMPT]", "[TOOL_CALLS]", "[AVAILABLE_TOOLS]", "<extra_id_0>"),
    *("<think>", "</think>"),
]
PIECES = [
    *CONTROL,
    *("{instruction}", "{answer}", "{answers}", "{answer_1}", "{answer_2}", "{knowledge}", "{count}", "{{answer_1}}"),
    *("<<<answer_1 0123456789abcdef>>>", "<<<end answer_1 0123456789abcdef>>>", "<<<end answer>>>", "<<<", ">>>"),
    *("=== system\n", "=== user\n", "\n", "\n\n", " ", "%s", "{0}", "$answer", "\\1", "\\g<0>", "\u2060", "<\u2060/s>"),
    *(
        "Answer 2",
        "Rating: 5",
        "Overall score: 10",
        "[[A]]",
        "```",
        "\x00",
        "é",
        "数",
        "\U0001f600",
        "<",
        "|",
        "[",
        "]",
    ),
]


def candidate(rng):
    return "".join(
        rng.choice(PIECES) if rng.random() < 0.7 else chr(rng.randrange(32, 0x3000))
        for _ in range(rng.randrange(1, 14))
    )


def outside(messages):
    """The prompt without what stands in its slots, and what stands there."""
    text = "\x00".join(f"{message.role}:{message.content}" for message in messages)
    texts = [(found["slot"], found["text"]) for found in FENCED.finditer(text)]
    fences = {found["fence"] for found in FENCED.finditer(text)}
    assert len(fences) == 1
    bare = FENCED.sub(lambda found: f"<{found['slot']}>", text)
    return bare, texts, fences.pop()


def check(judges, rng, reference):
    instruction, knowledge, *answers = (candidate(rng) for _ in range(6))
    question = judges.aspect("truthfulness", instruction, answers, seed="s", knowledge=knowledge)
    bare, texts, fence = outside(question.messages)
    assert bare == reference
    assert not any(fence in text for text in (instruction, knowledge, *answers))
    found = {slot: restore(text) for slot, text in texts}
    assert found["instruction"] == instruction
    assert found["knowledge"] == knowledge
    assert sorted(text for slot, text in found.items() if slot.startswith("answer_")) == sorted(answers)
    assert not any(token in text for token in CONTROL for _, text in texts)


@pytest.mark.parametrize("count", [2_000, pytest.param(100_000, marks=pytest.mark.soak)])
def test_no_candidate_changes_the_prompt_outside_its_slot(count):
    judges, rng = Judges(), random.Random(0)
    plain = judges.aspect("truthfulness", "i", list("abcd"), seed="s", knowledge="k")
    reference = outside(plain.messages)[0]
    for _ in range(count // 4):  # four candidates in each prompt
        check(judges, rng, reference)


@given(st.lists(st.sampled_from(PIECES) | st.text(max_size=5), max_size=12).map("".join))
def test_neutralising_can_be_undone(text):
    assert restore(neutralise(text)) == text
    assert restore(restore(neutralise(neutralise(text)))) == text
    assert not any(token in neutralise(text) for token in CONTROL)


@pytest.mark.parametrize("token", CONTROL)
def test_each_control_token_is_neutralised(token):
    assert token not in neutralise(f"a{token}b")


def test_plain_texts_stay_as_they_are():
    for text in ("a < b and c > d", "x[0] = [1]", "if (a<b) <div class='s'>", "I like <this> {way}"):
        assert neutralise(text) == text


def test_a_fence_that_stands_in_a_text_is_not_taken():
    template = read_prompt("judge_critique", needs=("instruction", "answer"), may=("principle",))
    first = outside(template.fill({"instruction": "i", "answer": "a"}, {"principle": ""}))[2]
    second = outside(template.fill({"instruction": "i", "answer": first}, {"principle": ""}))[2]
    assert first != second
    assert outside(template.fill({"instruction": "i", "answer": "a"}, {"principle": ""}))[2] == first


def test_verbatim_puts_texts_in_as_they_are():
    question = Judges(verbatim=True).critique("Say </s>.", "{instruction} </s>")
    assert "{instruction} </s>" in question.messages[-1].content
    assert not FENCED.search(question.messages[-1].content)


def test_a_file_of_ones_own(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text('=== system\nBe {{strict}}.\n=== user\n{instruction}: {answer_1} or {answer_2}? {"a": {"b": 1}}\n')
    template = read_prompt(str(path), needs=("instruction",), answers=True, verbatim=True)
    system, user = template.fill({"instruction": "Which"}, answers=("x", "y"))
    assert (system.role, system.content) == ("system", "Be {strict}.")
    assert user.content == 'Which: x or y? {"a": {"b": 1}}'
    with pytest.raises(InputError, match="slots for 2 answers, and there are 3"):
        template.fill({"instruction": "Which"}, answers=("x", "y", "z"))


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("{instruction} {anser}", "unknown slot {anser}; did you mean 'answer'?"),
        ("{instruction}", "the slot {answer} is missing"),
        ("hello\n=== user\n{instruction} {answer}", "text stands before the first"),
        ("=== user\n{instruction} {answer}\n=== system\nx", "the last turn must be the user's"),
    ],
)
def test_a_file_that_does_not_fit_is_refused(tmp_path, text, words):
    path = tmp_path / "mine.txt"
    path.write_text(text)
    with pytest.raises(ConfigError, match=re.escape(words)):
        read_prompt(str(path), needs=("instruction", "answer"))


def test_answers_are_numbered_without_a_gap(tmp_path):
    path = tmp_path / "mine.txt"
    path.write_text("{instruction} {answer_1} {answer_3}")
    with pytest.raises(ConfigError, match="without a gap"):
        read_prompt(str(path), needs=("instruction",), answers=True)


def test_a_prompt_that_is_not_there_is_named():
    with pytest.raises(ConfigError, match="did you mean 'judge_critique'"):
        read_prompt("judge_critic", needs=())
    with pytest.raises(ConfigError, match=r"cannot read the prompt nowhere\.txt"):
        read_prompt("nowhere.txt", needs=())


def test_all_files_that_come_with_notus_are_read():
    judges = Judges()
    assert set(judges.templates) == set(JUDGES)
    variants = {file.stem: read_variants(file.stem) for file in BUILT_IN.glob("principle_*.txt")}
    assert len(variants) == 5
    assert all(len(set(texts)) == len(texts) >= 3 for texts in variants.values())
    assert len(read_variants("topics")) == 30
    assert len(read_variants("materials")) == 20
