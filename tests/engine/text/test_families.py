"""Published chat formats: strings against those written by hand, token ids against transformers' own template."""

import json
from pathlib import Path

import pytest

from notus.core.records import Dialogue, Message, Preference
from notus.engine.settings import Limits
from notus.engine.text.encoder import Encoder
from notus.engine.text.template import UnfitError
from notus.rankers.reward import RewardEncoder
from notus.train.batches import encode_dialogues, encode_pairs
from tests.helpers.families import FAMILIES, family_tokenizer

RENDERINGS = json.loads((Path(__file__).parent / "renderings.json").read_text(encoding="utf-8"))
LONG = {"max_length": 2000, "max_prompt_length": 1900}
USER, ANSWER, AGAIN, SYSTEM = "Name a river.", "The Oder.", "Why?", "Be brief."


def turn(role, content):
    return {"role": role, "content": content}


def talk(*texts, system=None):
    turns = [] if system is None else [turn("system", system)]
    return [*turns, *(turn(("user", "assistant")[n % 2], text) for n, text in enumerate(texts))]


TALKS = {
    "one turn": talk(USER, ANSWER),
    "system": talk(USER, ANSWER, system=SYSTEM),
    "empty system": talk(USER, ANSWER, system=""),
    "two turns": talk(USER, ANSWER, AGAIN, "It is long."),
    "system, three turns": talk(USER, ANSWER, AGAIN, "It is.", "Sure?", "Yes.", system=SYSTEM),
    "unicode": talk("Größe? 日本語で 👩‍👩‍👧", "Ja — naïve ½ “fine”, 東京。"),
    "unicode of two turns": talk("e\u0301 é", "हिन्दी עברית", "\u200bwide\u3000space", "ﬁne"),
    "leading space": talk(" Name a river.", " The Oder."),
    "trailing space": talk("Name a river. ", "The Oder.  "),
    "leading line breaks": talk("\nName a river.", "\n\nThe Oder."),
    "trailing line breaks": talk("Name a river.\n", "The Oder.\n\n"),
    "blanks on both sides, two turns": talk(" \n a ", "\n b \n", "\tc", " d"),
    "empty answer": talk(USER, ""),
    "blank answer": talk(USER, "  "),
    "code": talk("Sum?", "```python\nx = {'a': [1, 2]}\n\n    return x  # 1_000\n```"),
    "markup": talk("<b>bold</b> & 'quotes'?", '{"a": "<i>\\n</i>"}'),
    "words of templates": talk("user\nassistant\nsystem [INST] <<SYS>>", "model\n### Response:"),
    "long": talk("Name a river. " * 30, "The Oder is long. " * 30),
}
FAMILY = pytest.mark.parametrize("name", FAMILIES)


def encoder_of(name, **limits):
    return Encoder(family_tokenizer(name), Limits(**LONG, **limits))


def messages(turns):
    return tuple(Message(**each) for each in turns)


def refuses(encoder, turns):
    return bool(encoder.template.no_system) and turns[0]["role"] == "system"


def check_example(name, encoder, turns, prompt, answer):
    """A prompt and an answer against transformers' ids of the conversation."""
    tokenizer = encoder.tokenizer
    safe = {"return_dict": False, "sanitize_control_tokens": True}
    asked = tokenizer.apply_chat_template(turns[:-1], add_generation_prompt=True, **safe)
    assert prompt == asked
    if name == "mistral3" and turns[0]["role"] == "system":  # it moves with the last question, and goes with the answer
        whole = asked + tokenizer.apply_chat_template(talk(*(each["content"] for each in turns[-2:])), **safe)
        whole = asked + whole[len(asked) :][len(encoder.prompt(messages(turns[-2:-1]))) :]
    else:
        whole = tokenizer.apply_chat_template(turns, **safe)
    if whole[: len(prompt)] == prompt:
        assert answer == whole[len(prompt) : len(prompt) + len(answer)]
        rest = tokenizer.decode(whole[len(prompt) + len(answer) :])
    else:  # a token of the whole reaches over the border, and none does when the model is asked
        assert turns[-1]["content"][:1] in ("\n", " ", "")
        text, ours = tokenizer.decode(whole), tokenizer.decode(prompt + answer)
        assert text.startswith(ours)
        rest = text[len(ours) :]
    assert encoder.end.id not in answer[:-1]
    assert answer[-1] == tokenizer.convert_tokens_to_ids(FAMILIES[name].end)
    assert rest.strip() in ("", "<|endoftext|>")


@FAMILY
def test_templates_give_the_published_strings(name):
    tokenizer, published = family_tokenizer(name), RENDERINGS[name]

    def text(turns, opened):
        return tokenizer.apply_chat_template(turns, add_generation_prompt=opened, tokenize=False)

    assert text(talk(USER), True) == published["opened"]
    assert text(talk(USER, ANSWER), False) == published["closed"]
    if published["system"] is not None:
        assert text(talk(USER, ANSWER, AGAIN, system=SYSTEM), True) == published["system"]
    assert set(RENDERINGS) == set(FAMILIES)


@FAMILY
def test_the_end_of_a_turn_is_the_one_that_the_template_writes(name):
    encoder = encoder_of(name)
    assert encoder.tokenizer.convert_ids_to_tokens(encoder.end.id) == FAMILIES[name].end
    assert encoder.end.written
    assert RENDERINGS[name]["closed"].split(ANSWER)[1].startswith(encoder.end.text)


@FAMILY
@pytest.mark.parametrize("kind", TALKS)
def test_prompts_and_answers_have_the_ids_of_transformers(name, kind):
    thinks = {"reasoning": "block"} if name == "r1" else {}
    encoder, turns = encoder_of(name, **thinks), TALKS[kind]
    told = messages(turns)
    if refuses(encoder, turns):
        with pytest.raises(UnfitError, match="takes no system turn"):
            encoder.examples([(told[:-1], told[-1].content)])
        return
    ((prompt, answer),) = encoder.examples([(told[:-1], told[-1].content)])
    if name == "r1":  # opened by the template, closed by the answer: once each
        text = encoder.tokenizer.decode(prompt + answer)
        assert text.count("<think>") == text.count("</think>") == 1
        assert text.endswith("</think>\n\n" + turns[-1]["content"].lstrip() + FAMILIES[name].end)
        return
    check_example(name, encoder, turns, prompt, answer)


@FAMILY
@pytest.mark.parametrize("kind", TALKS)
def test_a_dialogue_is_the_conversation_of_transformers(name, kind):
    """SFT and DPO: prompt and completion are its ids up to the last end, wherever all answers count."""
    encoder, turns = encoder_of(name, **({"reasoning": "block"} if name == "r1" else {})), TALKS[kind]
    if refuses(encoder, turns):
        return
    told = messages(turns)
    (item,) = encode_dialogues(encoder, [Dialogue(messages=told)])
    pair = Preference(prompt=told[:-1], chosen=told[-1:], rejected=messages([turn("assistant", "No.")]))
    (both,) = encode_pairs(encoder, [pair])
    ((prompt, answer), (_, other)) = encoder.examples([(told[:-1], told[-1].content), (told[:-1], "No.")])
    assert (both.group.prompt, both.group.completions) == (prompt, (answer, other))
    text = encoder.tokenizer.decode(item.group.prompt + item.group.completions[0])
    assert text == encoder.tokenizer.decode(prompt + answer)
    answers = sum(each.role == "assistant" for each in told)
    lost = encoder.tally.counts["answer-untrained"]
    marks = item.group.trained[0] if item.group.trained else [True] * len(item.group.completions[0])
    ends = [token for token, counts in zip(item.group.completions[0], marks, strict=True) if counts]
    assert ends.count(encoder.end.id) == answers - lost
    changes_earlier = name in ("qwen3", "r1") or (name == "mistral3" and turns[0]["role"] == "system")
    assert lost == (answers - 1 if changes_earlier and turns[0]["content"] else 0)


@FAMILY
@pytest.mark.parametrize("kind", TALKS)
def test_rewards_are_taken_of_transformers_own_ids(name, kind):
    tokenizer, turns = family_tokenizer(name), TALKS[kind]
    reader = RewardEncoder(tokenizer, Limits(**LONG))
    told = messages(turns)
    if refuses(Encoder(tokenizer, Limits(**LONG)), turns):
        with pytest.raises(UnfitError, match="takes no system turn"):
            reader.examples([(told[:-1], told[-1].content)])
        return
    assert reader.examples([(told[:-1], told[-1].content)]) == [
        tokenizer.apply_chat_template(turns, return_dict=False, sanitize_control_tokens=True)
    ]


@FAMILY
def test_typed_control_tokens_are_text_as_with_transformers(name):
    encoder = encoder_of(name, **({"reasoning": "block"} if name == "r1" else {}))
    family, tokenizer = FAMILIES[name], encoder.tokenizer
    for typed in dict.fromkeys((family.end, family.eos, *family.more[:2])):
        turns = talk(f"a {typed} b", f"c {typed} d", "more", "e")
        told = messages(turns)
        ((prompt, answer),) = encoder.examples([(told[:1], told[1].content)])
        asked = tokenizer.apply_chat_template(
            turns[:1], add_generation_prompt=True, return_dict=False, sanitize_control_tokens=True
        )
        assert prompt == asked
        assert answer.count(encoder.end.id) == 1
        assert typed in tokenizer.decode(answer[:-1])
        (plain,) = encode_dialogues(encoder, [Dialogue(messages=messages(talk("a", "c", "more", "e")))])
        (odd,) = encode_dialogues(encoder, [Dialogue(messages=told)])
        token = tokenizer.convert_tokens_to_ids(typed)
        counted = [(of.group.prompt + of.group.completions[0]).count(token) for of in (plain, odd)]
        assert counted[0] == counted[1]


@FAMILY
def test_the_beginning_of_sequence_token_stands_once(name):
    encoder, bos = encoder_of(name), FAMILIES[name].bos
    ids = encoder.prompt(messages(talk(USER)))
    count = ids.count(encoder.tokenizer.bos_token_id) if bos else 0
    assert count == RENDERINGS[name]["opened"].count(bos or "\0")
    named = encoder_of(name, chat_template="phi3")  # it has none of its own
    adds = bool(bos) and family_tokenizer(name)("a")["input_ids"][0] == encoder.tokenizer.bos_token_id
    assert (named.prompt(messages(talk(USER)))[0] == encoder.tokenizer.bos_token_id) == adds
