"""What is asked of a chat template: its own system turn, options, thoughts, a template by name or from a file."""

import pytest

from notus.core.errors import ConfigError
from notus.core.records import Dialogue, Message, Preference
from notus.core.stage import Tally
from notus.engine.settings import Limits, Templating
from notus.engine.text.encoder import Encoder
from notus.engine.text.template import ChatTemplate, UnfitError
from notus.train.batches import encode_dialogues, encode_pairs
from tests.helpers.families import FAMILIES, Family, family_tokenizer, tokenizer_of

LONG = {"max_length": 2000, "max_prompt_length": 1900}
ASKED = (Message(role="user", content="Name a river."),)
BASE = Family("", "</s>", "</s>", "<s>", "<pad>")


def answer(text="The Oder.", **more):
    return Message(role="assistant", content=text, **more)


def encoder_of(name, **limits):
    tokenizer = family_tokenizer(name) if isinstance(name, str) else name
    return Encoder(tokenizer, Limits(**LONG, **limits), Tally("encode"))


def shown(encoder, said=None, prompt=ASKED):
    """A prompt with its answer as text, by one pair's route and by a dialogue's."""
    said = said or answer()
    pair = Preference(prompt=prompt, chosen=(said,), rejected=(said,))
    (paired,) = encode_pairs(encoder, [pair])
    (alone,) = encode_dialogues(encoder, [Dialogue(messages=(*prompt, said))])
    assert alone.group.completions[0] == paired.group.completions[0]
    return encoder.tokenizer.decode(alone.group.prompt), encoder.tokenizer.decode(alone.group.completions[0])


def bare_tokenizer():
    tokenizer = tokenizer_of(BASE, adds_bos=True)
    tokenizer.chat_template = None
    return tokenizer


def test_a_model_keeps_its_own_system_turn_unless_another_is_asked_for():
    for system, text in ((None, "You are a helpful assistant."), ("", ""), ("Be brief.", "Be brief.")):
        prompt = encoder_of("qwen2", system=system).prompt(ASKED)
        assert family_tokenizer("qwen2").decode(prompt).startswith(f"<|im_start|>system\n{text}<|im_end|>\n")


@pytest.mark.parametrize("system", ["", "Be brief."])
def test_a_system_turn_that_the_template_does_not_take_is_refused_at_once(system):
    with pytest.raises(
        ConfigError, match=r"limits\.system is .*takes no system turn.*leave limits\.system out"
    ) as caught:
        encoder_of("gemma", system=system)
    assert "\n" not in str(caught.value)


def test_a_row_with_a_system_turn_is_put_aside_with_its_reason():
    encoder = encoder_of("mistral2")
    rows = [
        Dialogue(messages=(*ASKED, answer())),
        Dialogue(messages=(Message(role="system", content="S"), *ASKED, answer())),
    ]
    assert len(encode_dialogues(encoder, rows)) == 1
    (dropped,) = encoder.tally.dropped
    assert dropped.reason == "template-refuses"
    assert "takes no system turn" in dropped.detail


def test_options_reach_the_template():
    on, off = (encoder_of("qwen3", template_options=options) for options in ({}, {"enable_thinking": False}))
    empty = "<think>\n\n</think>\n\n"
    assert shown(on)[1] == f"{empty}The Oder.<|im_end|>"
    assert shown(off)[0].endswith(f"<|im_start|>assistant\n{empty}")
    assert shown(off)[1] == "The Oder.<|im_end|>"
    assert [ids for pair in (shown(on), shown(off)) for ids in ["".join(pair)]] == ["".join(shown(on))] * 2


def test_thoughts_of_a_template_that_knows_them():
    encoder = encoder_of("qwen3", reasoning="template")
    assert shown(encoder, answer(reasoning="Long."))[1] == "<think>\nLong.\n</think>\n\nThe Oder.<|im_end|>"
    inline = encoder_of("qwen3")
    said = answer("<think>\nLong.\n</think>\n\nThe Oder.")
    ids = inline.answers([said.content])[0]
    assert ids == encoder.behind_opening(["<think>\nLong.\n</think>\n\nThe Oder.<|im_end|>"])[0]
    assert ids.count(inline.tokenizer.convert_tokens_to_ids("<think>")) == 1


def test_a_thought_that_the_template_opens_is_marked_once():
    prompt, completion = shown(encoder_of("r1", reasoning="block"))
    assert prompt.endswith("<｜Assistant｜><think>\n")
    assert completion == "\n</think>\n\nThe Oder.<｜end▁of▁sentence｜>"
    for reasoning in ("block", "template"):
        _, completion = shown(encoder_of("r1", reasoning=reasoning), answer(reasoning="Long."))
        assert completion == "Long.\n</think>\n\nThe Oder.<｜end▁of▁sentence｜>"
    encoder = encoder_of("r1")
    for text in ("<think>\nLong.\n</think>\n\nThe Oder.", "Long.\n</think>\n\nThe Oder."):
        (ids,) = encoder.answers([text])
        assert encoder.tokenizer.decode(ids) == "Long.\n</think>\n\nThe Oder.<｜end▁of▁sentence｜>"
        assert ids.count(encoder.tokenizer.convert_tokens_to_ids("</think>")) == 1
        assert encoder.decode(ids) == "<think>\nLong.\n</think>\n\nThe Oder."


def test_an_answer_without_the_thought_that_the_template_opens_is_refused():
    with pytest.raises(UnfitError, match=r"opens a thought .*limits\.reasoning: block") as caught:
        encoder_of("r1").answers(["The Oder."])
    assert caught.value.reason == "thought-open"
    assert "\n" not in str(caught.value)


def test_earlier_answers_that_lose_their_thoughts_do_not_count():
    turns = (*ASKED, answer(reasoning="One."), Message(role="user", content="Why?"), answer("Long.", reasoning="Two."))
    for name in ("qwen3", "r1"):
        encoder = encoder_of(name, reasoning="template")
        (item,) = encode_dialogues(encoder, [Dialogue(messages=turns)])
        prompt, completion = (encoder.tokenizer.decode(ids) for ids in (item.group.prompt, item.group.completions[0]))
        assert "One." not in prompt
        assert completion.removeprefix("<think>\n") == f"Two.\n</think>\n\nLong.{FAMILIES[name].end}"
        assert encoder.tally.counts == {"answer-untrained": 1}


def test_a_model_without_a_template_is_told_how_to_get_one():
    with pytest.raises(ConfigError, match=r"no chat template; name one in limits\.chat_template: zephyr, chatml,"):
        encoder_of(bare_tokenizer())


def test_a_template_by_name_is_used_and_goes_with_the_tokenizer(tmp_path):
    encoder = encoder_of(bare_tokenizer(), chat_template="zephyr")
    assert "".join(shown(encoder)) == "<s><|user|>\nName a river.</s>\n<|assistant|>\nThe Oder.</s>"
    encoder.tokenizer.save_pretrained(tmp_path)
    from notus.engine.load import read_tokenizer

    again = encoder_of(read_tokenizer(str(tmp_path)))
    assert shown(again) == shown(encoder)


def test_a_template_of_a_file_and_a_wrong_name(tmp_path):
    file = tmp_path / "own.jinja"
    file.write_text("{% for m in messages %}{{ m.role + ': ' + m.content + eos_token }}{% endfor %}assistant: ")
    assert shown(encoder_of(bare_tokenizer(), chat_template=str(file)))[0] == "user: Name a river.</s>assistant: "
    with pytest.raises(ConfigError, match="cannot be read"):
        encoder_of(bare_tokenizer(), chat_template=str(tmp_path / "none.jinja"))
    with pytest.raises(ConfigError, match="neither the name of a template nor a file"):
        Limits.parse({"chat_template": "zefyr"}, where="x")
    assert Templating.parse({"chat_template": "chatml"}, where="x").chat_template == "chatml"


def test_the_end_of_a_named_template_becomes_the_end_of_sequence_token():
    tokenizer = tokenizer_of(FAMILIES["chatml"])
    tokenizer.chat_template = None
    encoder = encoder_of(tokenizer, chat_template="chatml")
    assert (encoder.tokenizer.eos_token, encoder.tokenizer.pad_token) == ("<|im_end|>", "<|endoftext|>")
    assert tokenizer.eos_token == "<|endoftext|>"


def test_an_end_that_is_no_token_is_said_and_has_one_put_behind_it():
    encoder = encoder_of(bare_tokenizer(), chat_template="chatml")
    assert shown(encoder)[1] == "The Oder.<|im_end|></s>"
    assert encoder.end.id == encoder.tokenizer.eos_token_id
    (note,) = encoder.template.notes()
    assert "'<|im_end|>', which is no token of this tokenizer: '</s>' is put behind it" in note
    assert encoder.decode(encoder.answers(["The Oder."])[0]) == "The Oder."


def test_where_nothing_ends_an_answer_the_next_turns_mark_does():
    family = Family(
        "{% for m in messages %}{{ '<|' + m.role + '|>\n' + m.content }}{% endfor %}"
        "{% if add_generation_prompt %}<|assistant|>\n{% endif %}",
        *("<|endoftext|>", "<|user|>"),
        more=("<|user|>", "<|assistant|>"),
    )
    encoder = encoder_of(tokenizer_of(family))
    assert shown(encoder)[1] == "The Oder.<|user|>"
    turns = (*ASKED, answer(), *ASKED, answer("Long."))
    (item,) = encode_dialogues(encoder, [Dialogue(messages=turns)])
    told = [{"role": turn.role, "content": turn.content} for turn in turns]
    whole = encoder.tokenizer.apply_chat_template(told, return_dict=False)
    assert item.group.prompt + item.group.completions[0] == [*whole, encoder.end.id]
    assert encoder.tally.counts == {}


def test_an_empty_thought_in_another_form_is_marked_once():
    template = (
        "{% for m in messages %}{{ '<|im_start|>' + m.role + '\n' }}"
        "{% if m.role == 'assistant' %}<think></think>{% endif %}{{ m.content + '<|im_end|>\n' }}{% endfor %}"
        "{% if add_generation_prompt %}<|im_start|>assistant\n<think>\n{% endif %}"
    )
    family = Family(template, "<|im_end|>", "<|im_end|>", more=("<|im_start|>",), added=("<think>", "</think>"))
    prompt, completion = shown(encoder_of(tokenizer_of(family)))
    assert (prompt + completion).endswith("<|im_start|>assistant\n<think>\n</think>The Oder.<|im_end|>")


def test_a_template_that_cannot_write_a_conversation_is_refused():
    tokenizer = tokenizer_of(BASE)
    for template, said in (("{{ raise_exception('no') }}", "cannot write a question"), ("hello", "does not write")):
        tokenizer.chat_template = template
        with pytest.raises(ConfigError, match=said):
            ChatTemplate(tokenizer, Limits())
