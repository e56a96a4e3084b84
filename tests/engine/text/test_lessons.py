"""Thoughts and tools in what is trained on, against what the tokenizer's own chat template writes."""

import copy
import json

import pytest

from notus.core.records import Message, ToolCall
from notus.core.stage import Tally
from notus.engine.settings import Limits
from notus.engine.text.encoder import Encoder
from notus.engine.text.lessons import Lesson, lesson_groups, lesson_of
from notus.engine.text.template import UnfitError

# As Qwen 3's: thoughts of the turns behind the last question alone, tools first, calls as JSON.
THINKING = (
    "{% set ns = namespace(last=0) %}{% for m in messages %}{% if m.role == 'user' %}{% set ns.last = loop.index0 %}"
    "{% endif %}{% endfor %}{% if tools %}<|system|>\n{{ tools | tojson }}{{ eos_token }}\n{% endif %}"
    "{% for m in messages %}<|{{ m.role }}|>\n{% if m.reasoning_content and loop.index0 > ns.last %}<think>\n"
    "{{ m.reasoning_content }}\n</think>\n\n{% endif %}{{ m.content }}"
    "{% for c in m.tool_calls or [] %}<call>{{ c.function | tojson }}</call>{% endfor %}{{ eos_token }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
STRICT = (
    "{% for m in messages %}{% if m.role not in ['user', 'assistant'] %}{{ raise_exception('no such role') }}"
    "{% endif %}<|{{ m.role }}|>\n{{ m.content }}{{ eos_token }}\n{% endfor %}"
    "{% if add_generation_prompt %}<|assistant|>\n{% endif %}"
)
TOOL = {"type": "function", "function": {"name": "rivers", "parameters": {"type": "object", "properties": {}}}}
CALL = ToolCall(name="rivers", arguments='{"in":"Poland"}')


def user(text="A river?"):
    return Message(role="user", content=text)


def answer(text="The Oder.", **more):
    return Message(role="assistant", content=text, **more)


def encoder_of(tokenizer, template=THINKING, **limits):
    other = copy.deepcopy(tokenizer)
    if template is not None:
        other.chat_template = template
    limits = {"max_length": 900, "max_prompt_length": 800, "system": None} | limits
    return Encoder(other, Limits(**limits), Tally("encode"))


def written(encoder, turns, tools=None, **options):
    """What transformers writes of these turns."""
    return encoder.tokenizer.apply_chat_template(turns, tools=tools, tokenize=False, **options)


def texts(encoder, group):
    return encoder.tokenizer.decode(group.prompt), encoder.tokenizer.decode(group.completions[0])


def group_of(encoder, *turns, tools=None):
    (group,) = lesson_groups(encoder, [lesson_of(encoder, turns, tools)])
    return group


def test_thoughts_are_trained_on_as_the_template_writes_them(tokenizer):
    encoder = encoder_of(tokenizer, reasoning="template")
    group = group_of(encoder, user(), answer(reasoning="It is long."))
    asked = [{"role": "user", "content": "A river?"}]
    whole = [*asked, {"role": "assistant", "content": "The Oder.", "reasoning_content": "It is long."}]
    prompt, completion = texts(encoder, group)
    assert prompt == written(encoder, asked, add_generation_prompt=True)
    assert f"{prompt}{completion}\n" == written(encoder, whole)
    assert completion == "<think>\nIt is long.\n</think>\n\nThe Oder.</s>"
    assert group.completions[0][-1] == encoder.tokenizer.eos_token_id
    assert not encoder.tally.counts


def test_a_call_its_result_and_the_answer_are_one_lesson(tokenizer):
    encoder = encoder_of(tokenizer, reasoning="template", tools=True)
    result = Message(role="tool", content="Oder", name="rivers")
    turns = (user(), answer("", tool_calls=(CALL,), reasoning="Ask."), result)
    group = group_of(encoder, *turns, answer(), tools=[TOOL])
    called = {"role": "assistant", "content": "", "reasoning_content": "Ask."}
    called["tool_calls"] = [{"type": "function", "function": {"name": "rivers", "arguments": {"in": "Poland"}}}]
    asked = [{"role": "user", "content": "A river?"}]
    whole = [
        *asked,
        called,
        {"role": "tool", "content": "Oder", "name": "rivers"},
        {"role": "assistant", "content": "The Oder."},
    ]
    prompt, completion = texts(encoder, group)
    assert prompt == written(encoder, asked, [TOOL], add_generation_prompt=True)
    assert f"{prompt}{completion}\n" == written(encoder, whole, [TOOL])
    trained = [token for token, counts in zip(group.completions[0], group.trained[0], strict=True) if counts]
    shown = encoder.tokenizer.decode(trained)
    assert shown == (
        '<think>\nAsk.\n</think>\n\n<call>{"name": "rivers", "arguments": {"in": "Poland"}}</call></s>The Oder.</s>'
    )


def test_tools_and_arguments_may_be_json_text(tokenizer):
    encoder = encoder_of(tokenizer, tools=True)
    text = ToolCall(name="rivers", arguments='"{\\"in\\": \\"Poland\\"}"')
    as_text = group_of(
        encoder,
        user(),
        answer("", tool_calls=(text,)),
        tools=json.dumps([TOOL]),
    )
    assert as_text == group_of(encoder, user(), answer("", tool_calls=(CALL,)), tools=[TOOL])


def test_a_template_that_drops_earlier_thoughts_trains_on_the_last_answer(tokenizer):
    encoder = encoder_of(tokenizer, reasoning="template")
    turns = (user(), answer(reasoning="One."), user("Why?"), answer("It is long.", reasoning="Two."))
    prompt, completion = texts(encoder, group_of(encoder, *turns))
    assert "One." not in prompt
    assert completion == "<think>\nTwo.\n</think>\n\nIt is long.</s>"
    assert encoder.tally.counts == {"answer-untrained": 1}


@pytest.mark.parametrize(
    ("template", "limits", "turns", "tools", "reason"),
    [
        (None, {"reasoning": "template"}, (user(), answer(reasoning="x y z")), None, "template-refuses"),
        (STRICT, {"tools": True}, (user(), answer("", tool_calls=(CALL,)), answer()), None, "template-refuses"),
        (STRICT, {"tools": True}, (user(), answer()), [TOOL], "template-refuses"),
        (STRICT, {}, (Message(role="system", content="a"), user(), answer()), None, "template-refuses"),
        (THINKING, {}, (user(), answer("", tool_calls=(CALL,))), None, "tools-dropped"),
        (THINKING, {}, (user(), Message(role="tool", content="a"), answer()), None, "tools-dropped"),
        (THINKING, {"tools": True}, (user(), answer("", tool_calls=(CALL,))), "{", "broken-tools"),
        (THINKING, {"tools": True}, (user(), answer("", tool_calls=(CALL,))), {"a": 1}, "broken-tools"),
        (THINKING, {"reasoning": "template"}, (user("</s>"), answer(reasoning="a")), None, "typed-control-token"),
        (THINKING, {"reasoning": "block"}, (user(), answer(reasoning="a</s>")), None, "typed-control-token"),
        (THINKING, {}, (user(),), None, "no-answer"),
    ],
)
def test_what_the_template_cannot_write_is_refused_with_a_reason(tokenizer, template, limits, turns, tools, reason):
    encoder = encoder_of(tokenizer, template, **limits)
    with pytest.raises(UnfitError) as caught:
        group_of(encoder, *turns, tools=tools)
    assert caught.value.reason == reason
    assert "\n" not in str(caught.value)


def test_what_is_left_out_is_counted(tokenizer):
    encoder = encoder_of(tokenizer)
    turns = (user(), answer(reasoning="One."), user("Why?"), answer("It is long.", reasoning="Two."))
    thoughtless = (user(), answer(), user("Why?"), answer("It is long."))
    assert group_of(encoder, *turns, tools=[TOOL]) == group_of(encoder_of(tokenizer), *thoughtless)
    assert encoder.tally.counts == {"reasoning-dropped": 2, "tools-dropped": 1}


def test_a_block_of_thoughts_stands_before_the_answer(tokenizer):
    encoder = encoder_of(tokenizer, None, reasoning="block")
    prompt, completion = texts(encoder, group_of(encoder, user(), answer(reasoning="It is long.")))
    assert prompt == "<|user|>\nA river?</s>\n<|assistant|>\n"
    assert completion == "<think>\nIt is long.\n</think>\n\nThe Oder.</s>"
    plain = group_of(encoder, user(), answer())
    assert encoder.tokenizer.decode(plain.completions[0]) == "The Oder.</s>"


def test_what_a_developer_says_is_the_systems_where_the_template_knows_none(tokenizer):
    encoder = encoder_of(tokenizer, None, system="")
    says = Message(role="developer", content="Be brief.")
    assert texts(encoder, group_of(encoder, says, user(), answer()))[0].startswith(
        "<|system|>\nBe brief.</s>\n<|user|>"
    )
    assert encoder.tally.counts["developer-as-system"] > 0
    knows = encoder_of(tokenizer, "{# developer #}" + THINKING)
    assert texts(knows, group_of(knows, says, user(), answer()))[0].startswith("<|developer|>\nBe brief.</s>\n<|user|>")


def test_answers_that_are_not_to_be_learnt_do_not_count(tokenizer):
    encoder = encoder_of(tokenizer)
    turns = (user(), answer("one"), user(), answer("two"), user(), answer("three"))
    lesson = lesson_of(encoder, turns, untrained=frozenset({3}))
    assert lesson == Lesson(turns, (1, 5))
    (group,) = lesson_groups(encoder, [lesson])
    trained = [token for token, counts in zip(group.completions[0], group.trained[0], strict=True) if counts]
    assert encoder.tokenizer.decode(trained) == "one</s>three</s>"
    with pytest.raises(UnfitError) as caught:
        lesson_of(encoder, turns, untrained=frozenset({1, 3, 5}))
    assert caught.value.reason == "no-trained-answer"
