"""Rows as the model reads them: what is shown is what the training encodes, and no weights are needed."""

import pytest

import notus
from notus.core.errors import ConfigError, DataError
from notus.core.records import Dialogue, Message, Preference, ToolCall, Unpaired
from notus.core.stage import Tally
from notus.engine.load import save_model
from notus.engine.settings import Limits
from notus.engine.text.encoder import Encoder
from notus.train.batches import encode_dialogues, encode_pairs
from notus.train.preview import Preview, preview_ranker, preview_rows, split_pieces
from notus.train.ranker import encode_compared
from notus.train.ranker_settings import RankerTraining
from tests.train.test_run import turn

LIMITS = Limits(max_length=96, max_prompt_length=48, system="")
PAIR = Preference(
    prompt=turn("user", "What is the opposite of hot?"),
    chosen=turn("assistant", "It is cold."),
    rejected=turn("assistant", "No idea!"),
)
TALK = Dialogue(
    messages=(*turn("user", "hot?"), *turn("assistant", "cold."), *turn("user", "big?"), *turn("assistant", "small."))
)


def text_of(part):
    return "".join(piece.text for piece in part.pieces)


def ids_of(part):
    return [token for piece in part.pieces for token in piece.ids]


def trained_of(part):
    return "".join(piece.text for piece in part.pieces if piece.trained)


def test_the_tokens_are_those_of_the_training(tokenizer):
    (row,) = preview_rows(tokenizer, LIMITS, [PAIR]).rows
    (item,) = encode_pairs(Encoder(tokenizer, LIMITS), [PAIR])
    prompt, chosen, rejected = row.parts
    assert [part.name for part in row.parts] == ["prompt", "chosen", "rejected"]
    assert [ids_of(part) for part in row.parts] == [item.group.prompt, *item.group.completions]
    assert text_of(prompt) == "<|system|>\\n</s>\\n<|user|>\\nWhat is the opposite of hot?</s>\\n<|assistant|>\\n"
    assert (prompt.trained, prompt.end, prompt.cut) == (0, "", 0)
    assert text_of(chosen) == trained_of(chosen) == "It is cold.</s>"
    assert text_of(rejected) == "No idea!</s>"
    assert chosen.end == f"</s> ({tokenizer.eos_token_id})"


def test_of_a_dialogue_only_the_answers_are_marked(tokenizer):
    (row,) = preview_rows(tokenizer, LIMITS, [TALK]).rows
    (item,) = encode_dialogues(Encoder(tokenizer, LIMITS), [TALK])
    _, answer = row.parts
    assert ids_of(answer) == item.group.completions[0]
    assert trained_of(answer) == "cold.</s>small.</s>"
    assert "big?" in text_of(answer)
    assert answer.trained == sum(item.group.trained[0])


@pytest.mark.parametrize(
    "text", ["naïve 日本語 👩‍👩‍👧 हि", "a b", "  two  spaces", "<|user|> typed", "é" * 9 + "\u200d", ""]
)
def test_pieces_make_the_whole_text(tokenizer, text):
    ids = tokenizer(text, add_special_tokens=False)["input_ids"]
    pieces = list(split_pieces(tokenizer, ids, [False] * len(ids)))
    assert "".join(piece.text for piece in pieces) == tokenizer.decode(ids)
    assert [token for piece in pieces for token in piece.ids] == ids


def test_what_is_cut_is_counted(tokenizer):
    limits = Limits(max_length=24, max_prompt_length=10, system="")
    long = Preference(prompt=PAIR.prompt, chosen=turn("assistant", "cold " * 40), rejected=PAIR.rejected)
    (row,) = preview_rows(tokenizer, limits, [long]).rows
    (whole,) = preview_rows(tokenizer, Limits(max_length=2_000, max_prompt_length=1_000, system=""), [long]).rows
    prompt, chosen, rejected = row.parts
    assert (prompt.tokens, prompt.cut) == (10, whole.parts[0].tokens - 10)
    assert (chosen.tokens, chosen.cut, chosen.end) == (14, whole.parts[1].tokens - 14, "")
    assert rejected.end
    assert row.counts["prompt-cut"]
    assert row.counts["answer-cut"] == 1


def test_a_long_part_is_shortened_in_the_middle_with_a_count(tokenizer):
    long = Preference(prompt=PAIR.prompt, chosen=turn("assistant", "cold. " * 200), rejected=PAIR.rejected)
    (row,) = preview_rows(tokenizer, Limits(max_length=4_000, max_prompt_length=48), [long]).rows
    chosen = row.parts[1]
    (gap,) = [piece for piece in chosen.pieces if piece.left_out]
    assert gap.left_out + len(ids_of(chosen)) == chosen.tokens == chosen.trained
    assert text_of(chosen).startswith("cold. cold.")
    assert text_of(chosen).endswith("cold. </s>")


def test_what_is_put_aside_says_why(tokenizer):
    call = Message(role="assistant", content="", tool_calls=(ToolCall(name="f", arguments="{}"),))
    called = Dialogue(messages=(*turn("user", "hot?"), call), file="rows.jsonl", line=7)
    (row,) = preview_rows(tokenizer, LIMITS, [called]).rows
    assert row.parts == ()
    assert "[tools-dropped]" in row.dropped
    assert row.place == "rows.jsonl:7"
    with pytest.raises(DataError):
        preview_rows(tokenizer, LIMITS, [])


def test_single_rows_say_whether_they_are_wanted(tokenizer):
    (row,) = preview_rows(tokenizer, LIMITS, [PAIR], single=True).rows
    assert [part.name for part in row.parts] == ["prompt", "desirable answer", "undesirable answer"]
    alone = Unpaired(prompt=PAIR.prompt, answer=PAIR.chosen, desirable=False)
    (row,) = preview_rows(tokenizer, LIMITS, [alone]).rows
    assert [part.name for part in row.parts] == ["prompt", "undesirable answer"]


def test_a_terminal_is_not_told_what_to_do(tokenizer):
    sly = Preference(prompt=turn("user", "\x1b[2J\u202ehot\r"), chosen=PAIR.chosen, rejected=PAIR.rejected)
    shown = repr(preview_rows(tokenizer, LIMITS, [sly]))
    assert all(char.isprintable() or char == "\n" for char in shown)
    assert "\\u001b" in shown


@pytest.mark.parametrize("form", ["reward-model", "pairrm"])
def test_a_ranker_reads_what_it_trains_on(tokenizer, form):
    from notus.rankers.pairrm import train_pair_tokenizer

    reader = tokenizer if form == "reward-model" else train_pair_tokenizer(["hot cold"], 300)
    config = RankerTraining(form=form)
    (row,) = preview_ranker(reader, config, [PAIR], 1, 0).rows
    items = encode_compared(config, reader, Tally("encode"), 0)([PAIR], True)
    if form == "reward-model":
        assert [part.name for part in row.parts] == ["chosen", "rejected"]
        assert [ids_of(part) for part in row.parts] == list(items[0].rows)
    else:
        assert [part.name for part in row.parts] == ["prompt", "chosen", "rejected", "prompt", "rejected", "chosen"]
        assert sum(len(ids_of(part)) for part in row.parts) == sum(len(item.rows) for item in items)
    assert sum(part.trained for part in row.parts) == 0


def test_python_shows_rows_without_weights(model, tokenizer, tmp_path):
    save_model(model, tokenizer, tmp_path / "start")
    (tmp_path / "start" / "model.safetensors").unlink()
    rows = [{"prompt": f"Colour {n}?", "chosen": "Red.", "rejected": "No."} for n in range(5)]
    limits = {"max_length": 96, "max_prompt_length": 48}
    shown = notus.preview(rows, start=tmp_path / "start", n=2, limits=limits)
    assert isinstance(shown, Preview)
    assert len(shown.rows) == 2
    assert shown.of == 5
    assert "[R][e][d][.][</s>]" in repr(shown).replace("[Red]", "[R][e][d]")
    assert notus.preview(rows, start=tmp_path / "start", step="sft", limits=limits).rows[0].parts[1].name == "answer"
    assert notus.preview(rows, step="train-ranker", limits=limits).of == 5
    with pytest.raises(ConfigError, match="did you mean 'dpo'"):
        notus.preview(rows, start=tmp_path / "start", step="dpoo")
