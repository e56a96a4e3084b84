import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from notus.core.errors import ConfigError, DataError
from notus.core.records import Message
from notus.core.stage import Tally
from notus.engine.settings import Limits
from notus.engine.text.encoder import Encoder, answer_text

SHORT = Limits(max_length=64, max_prompt_length=40)


def user(text):
    return (Message(role="user", content=text),)


def test_the_prompt_is_zephyrs_with_an_empty_system_turn(tokenizer):
    ids = Encoder(tokenizer, Limits(max_length=64, max_prompt_length=40, system="")).prompt(user("hot?"))
    assert tokenizer.decode(ids) == "<|system|>\n</s>\n<|user|>\nhot?</s>\n<|assistant|>\n"


def test_a_system_turn_of_its_own_stays_and_null_puts_none(tokenizer):
    own = (Message(role="system", content="Be brief."), *user("hot?"))
    assert "<|system|>\nBe brief.</s>" in tokenizer.decode(Encoder(tokenizer, SHORT).prompt(own))
    bare = Encoder(tokenizer, SHORT)
    assert tokenizer.decode(bare.prompt(user("hot?"))) == "<|user|>\nhot?</s>\n<|assistant|>\n"


def test_an_answer_ends_in_one_eos(tokenizer):
    encoder = Encoder(tokenizer, SHORT)
    ((prompt, answer),) = encoder.examples([(user("hot?"), "cold")])
    assert answer.count(tokenizer.eos_token_id) == 1
    assert answer[-1] == tokenizer.eos_token_id
    assert tokenizer.bos_token_id not in prompt + answer
    assert encoder.decode(answer) == "cold"


@pytest.mark.parametrize("typed", ["</s>", "<|assistant|>", "<pad>", "<s>"])
def test_typed_control_tokens_are_text(tokenizer, typed):
    token = tokenizer.convert_tokens_to_ids(typed)
    encoder = Encoder(tokenizer, Limits(max_length=100, max_prompt_length=90))
    ((plain, _), (prompt, answer)) = encoder.examples([(user("a  b"), "c"), (user(f"a {typed} b"), f"c {typed} d")])
    assert prompt.count(token) == plain.count(token)
    assert answer[:-1].count(token) == 0
    assert tokenizer.decode(prompt).count(f"a {typed} b") == 1


def test_cuts_are_made_on_the_right_sides_and_counted(tokenizer):
    tally = Tally("encode")
    encoder = Encoder(tokenizer, Limits(max_length=20, max_prompt_length=12), tally)
    whole = Encoder(tokenizer, Limits(max_length=900, max_prompt_length=800)).prompt(user("hot " * 30))
    ((prompt, answer),) = encoder.examples([(user("hot " * 30), "cold " * 30)])
    assert prompt == whole[-12:]
    assert len(prompt) + len(answer) == 20
    assert answer[-1] != tokenizer.eos_token_id
    assert tally.counts == {"prompt-cut": 1, "answer-cut": 1}


@settings(max_examples=60, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(text=st.text(max_size=40))
def test_every_text_comes_back(tokenizer, text):
    encoder = Encoder(tokenizer, Limits(max_length=900, max_prompt_length=800))
    ((_, answer),) = encoder.examples([(user("x"), text)])
    # A lone surrogate has no UTF-8, so no tokenizer can carry it; hypothesis draws none.
    assert tokenizer.decode(answer[:-1]) == text


def test_limits_leave_room_for_an_answer():
    with pytest.raises(ConfigError, match="must be below max_length"):
        Limits.parse({"max_length": 64, "max_prompt_length": 64}, where="x")


def test_a_tokenizer_without_a_template_is_refused(tokenizer):
    import copy

    bare = copy.deepcopy(tokenizer)
    bare.chat_template = None
    with pytest.raises(ConfigError, match="has no chat template"):
        Encoder(bare, SHORT)


def test_an_answer_is_one_assistant_turn():
    assert answer_text((Message(role="assistant", content="a"),)) == "a"
    with pytest.raises(DataError, match="one assistant turn"):
        answer_text(user("a"))


@pytest.mark.parametrize(("length", "cut"), [(3, False), (4, False), (5, True)])
def test_an_answer_that_just_fits_is_not_cut(tokenizer, length, cut):
    tally = Tally("encode")
    encoder = Encoder(tokenizer, Limits(max_length=10, max_prompt_length=8), tally=tally)
    assert encoder.fit([1] * 6, [7] * length) == [7] * min(length, 4)
    assert tally.counts["answer-cut"] == cut
