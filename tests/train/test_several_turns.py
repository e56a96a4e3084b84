"""Pairs of several turns: what counts, against transformers' own template and plain mathematics.

The right values come from ``apply_chat_template(return_assistant_tokens_mask=True)``, whose template marks what the
assistant says, one plain forward pass for each side, and DPO's and KTO's equations written out.
"""

import json
import math
from contextlib import nullcontext
from functools import cache

import pytest
import torch

from notus.core.errors import LossError
from notus.core.records import Dialogue, Message, Preference, ToolCall, Unpaired
from notus.core.run import Run, read_manifest
from notus.core.stage import Tally
from notus.core.tables import read_table
from notus.engine.attention import packed
from notus.engine.load import load_model, load_tokenizer, save_model
from notus.engine.settings import Limits
from notus.engine.text.encoder import Encoder
from notus.formats.registry import FORMATS
from notus.preferences.convert import share_prompt
from notus.train.batches import Collator, completion_sums, encode_dialogues, encode_pairs, encode_rows
from notus.train.losses.margin import Sigmoid
from notus.train.losses.unpaired import BcoUnpaired
from notus.train.run.policy import train_dpo, train_sft, train_unpaired
from notus.train.settings import Training

LIMITS = Limits(max_length=256, max_prompt_length=128, system=None)
ZEPHYR = (
    "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' }}{% if m['role'] == 'assistant' %}"
    "{% generation %}{{ m['content'] + eos_token }}{% endgeneration %}{% else %}{{ m['content'] + eos_token }}"
    "{% endif %}{{ '\n' }}{% endfor %}{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
MISTRAL = (
    "{{ bos_token }}{% for m in messages %}{% if (m['role'] == 'user') != (loop.index0 % 2 == 0) %}"
    "{{ raise_exception('roles must alternate') }}{% endif %}{% if m['role'] == 'user' %}"
    "{{ '[INST] ' + m['content'] + ' [/INST]' }}{% else %}"
    "{% generation %}{{ m['content'] + eos_token }}{% endgeneration %}{% endif %}{% endfor %}"
)
TOOLS = (
    "{% if tools %}{{ '<|tools|>\n' + (tools | tojson) + eos_token + '\n' }}{% endif %}"
    "{% for m in messages %}{{ '<|' + m['role'] + '|>\n' }}{% if m['role'] == 'assistant' %}{% generation %}"
    "{% if m['reasoning_content'] %}{{ '<think>' + m['reasoning_content'] + '</think>' }}{% endif %}{{ m['content'] }}"
    "{% for c in m['tool_calls'] or [] %}{{ '<call>' + c['function']['name'] + "
    "(c['function']['arguments'] | tojson) + '</call>' }}{% endfor %}{{ eos_token }}{% endgeneration %}"
    "{% else %}{{ m['content'] + eos_token }}{% endif %}{{ '\n' }}{% endfor %}"
    "{% if add_generation_prompt %}{{ '<|assistant|>\n' }}{% endif %}"
)
ENGINES = ({"engine": "packed"}, {"engine": "padded"}, {"engine": "padded", "micro_batch_size": 1})
ASK = {"type": "function", "function": {"name": "ask", "parameters": {"type": "object", "properties": {}}}}


def user(text):
    return Message(role="user", content=text)


def answer(text, **more):
    return Message(role="assistant", content=text, **more)


BIG = (user("big?"),)


def pair(chosen, rejected, prompt=BIG, **more):
    return Preference(prompt=prompt, chosen=chosen, rejected=rejected, **more)


PARTED = pair(
    (answer("small"), user("sure?"), answer("yes, I hope")), (answer("huge"), user("why?"), answer("no idea"))
)
UNEVEN = pair((answer("cold"), user("sure?"), answer("yes"), user("so?"), answer("dry")), (answer("hot"),))
SHARED = pair((answer("old"), user("and?"), answer("young")), (answer("old"), user("and?"), answer("up")))
AT_USER = pair((answer("old"), user("and?"), answer("young")), (answer("old"), user("why?"), answer("up")), line=9)
PLAIN = pair((answer("small"),), (answer("no idea"),), file="rows.jsonl", line=3)
CALLS = pair(
    (
        answer("", reasoning="I ask", tool_calls=(ToolCall(name="ask", arguments='{"of": "up"}'),)),
        Message(role="tool", content="down"),
        answer("down"),
    ),
    (answer("no idea", reasoning="so what"),),
    prompt=(user("up?"),),
    extra={"tools": [ASK]},
)


@pytest.fixture(scope="module")
def starts(model, tokenizer, tmp_path_factory):
    """Two folders with models of one shape whose weights differ, and that are far from uniform."""
    folder = tmp_path_factory.mktemp("several")
    for number, name in enumerate(("policy", "reference")):
        save_model(model, tokenizer, folder / name)
        moved = load_model(str(folder / name))
        generator = torch.Generator().manual_seed(number)
        with torch.no_grad():
            for weight in moved.parameters():
                weight.add_(0.3 * weight.std() * torch.randn(weight.shape, generator=generator))
        save_model(moved, tokenizer, folder / name)
    return str(folder / "policy"), str(folder / "reference")


def as_rows(turns):
    rows = []
    for turn in turns:
        row = {"role": turn.role, "content": turn.content}
        row |= {"reasoning_content": turn.reasoning} if turn.reasoning else {}
        calls = [{"type": "function", "function": {"name": c.name, "arguments": json.loads(c.arguments)}}
                 for c in turn.tool_calls]  # fmt: skip
        rows.append(row | ({"tool_calls": calls} if calls else {}))
    return rows


loaded = cache(lambda start: load_model(start).eval())


def by_hand(start, prompt, side, template=ZEPHYR, tools=None):
    """Sum of the log-probabilities of what the assistant says behind the prompt, and the number of these tokens."""
    tokenizer, model = load_tokenizer(start), loaded(start)
    tokenizer.chat_template = template
    whole = tokenizer.apply_chat_template(
        as_rows([*prompt, *side]), tools=tools, return_dict=True, return_assistant_tokens_mask=True
    )
    before = len(tokenizer.apply_chat_template(as_rows(prompt), tools=tools, return_dict=False))
    ids = torch.tensor([whole["input_ids"]])
    with torch.no_grad():
        logps = torch.log_softmax(model(ids).logits.double(), -1)[0, :-1].gather(1, ids[0, 1:, None])[:, 0]
    counts = [bool(mark) and at >= before for at, mark in enumerate(whole["assistant_masks"])]
    return float(sum(logp for logp, count in zip(logps, counts[1:], strict=True) if count)), sum(counts)


def encoder_of(start, template=ZEPHYR, limits=LIMITS):
    tokenizer = load_tokenizer(start)
    tokenizer.chat_template = template
    return Encoder(tokenizer, limits, Tally("encode"))


def sums(start, items, encoder, settings):
    model = loaded(start)
    found = {}
    engine = packed(model) if settings.get("engine", "packed") == "packed" else nullcontext()
    with torch.no_grad(), engine:
        for forward in Collator(Training(**settings), encoder.tokenizer.pad_token_id)(items)["batch"].forwards:
            got = completion_sums(model, forward)
            values, tokens = iter(got.sums.tolist()), iter(got.tokens.tolist())
            for item in forward.items:
                found[id(item)] = [(next(values), next(tokens)) for _ in item.group.completions]
    return [found[id(item)] for item in items]


@pytest.mark.parametrize("settings", ENGINES, ids=str)
@pytest.mark.parametrize("template", [ZEPHYR, MISTRAL], ids=["zephyr", "mistral"])
def test_the_sums_are_those_of_transformers_own_template(starts, template, settings):
    encoder = encoder_of(starts[0], template)
    pairs = [PARTED, UNEVEN, SHARED, PLAIN]
    items = encode_pairs(encoder, pairs)
    for item, one in zip(sums(starts[0], items, encoder, settings), map(share_prompt, pairs), strict=True):
        for (value, tokens), side in zip(item, (one.chosen, one.rejected), strict=True):
            logp, count = by_hand(starts[0], one.prompt, side, template)
            assert tokens == count
            assert value == pytest.approx(logp, abs=1e-4)
    assert encoder.tally.counts == {"shared-turns": 2}


@pytest.mark.parametrize("settings", ENGINES, ids=str)
def test_tools_and_thoughts_of_pairs_are_written_by_the_template(starts, settings):
    limits = Limits(max_length=256, max_prompt_length=128, system=None, reasoning="template", tools=True)
    encoder = encoder_of(starts[0], TOOLS, limits)
    (item,) = items = encode_pairs(encoder, [CALLS])
    for (value, tokens), side in zip(
        *sums(starts[0], items, encoder, settings), (CALLS.chosen, CALLS.rejected), strict=True
    ):
        logp, count = by_hand(starts[0], CALLS.prompt, side, TOOLS, tools=[ASK])
        assert tokens == count
        assert value == pytest.approx(logp, abs=1e-4)
    assert '"name": "ask"' in encoder.tokenizer.decode(item.group.prompt)


def test_turns_that_both_answers_have_are_part_of_the_prompt_in_either_notation(starts):
    encoder = encoder_of(starts[0])
    apart = {"prompt": "big?", "chosen": as_rows(SHARED.chosen), "rejected": as_rows(SHARED.rejected)}
    asked = as_rows(SHARED.prompt)
    whole = {name: [*asked, *apart[name]] for name in ("chosen", "rejected")}
    read = FORMATS["trl-implicit"].decode(whole)
    assert share_prompt(SHARED) == read
    assert encode_pairs(encoder, [SHARED]) == encode_pairs(encoder, [read])
    assert encode_rows(encoder, [SHARED], Tally("divide")) == encode_rows(encoder, [read], Tally("divide"))
    assert share_prompt(PARTED) is PARTED
    same = pair((answer("a"), user("b"), answer("c")), (answer("a"), user("b"), answer("c")))
    assert share_prompt(same) is same
    ends = pair((answer("a"), user("b")), (answer("a"), user("c"), answer("d")))
    assert share_prompt(ends) is ends, "each side keeps an answer"


def test_a_pair_that_parts_with_a_users_turn_is_put_aside_and_single_rows_take_it(starts):
    encoder = encoder_of(starts[0])
    assert len(encode_pairs(encoder, [PLAIN, AT_USER, PARTED])) == 2
    (dropped,) = encoder.tally.dropped
    assert (dropped.id, dropped.reason, dropped.line) == (AT_USER.id, "prompt-mismatch", 9)
    rows = encode_rows(encoder, [AT_USER], Tally("divide"))
    texts = [
        encoder.tokenizer.decode([t for t, n in zip(row.group.completions[0], row.group.trained[0], strict=True) if n])
        if row.group.trained
        else encoder.tokenizer.decode(row.group.completions[0])
        for row in rows
    ]
    assert [(text.strip().removesuffix("</s>"), row.desirable) for text, row in zip(texts, rows, strict=True)] == [
        ("young", True),
        ("up", False),
    ]


def test_two_turns_of_one_role_go_through_the_template_or_are_put_aside(starts):
    twice = pair((answer("yes"),), (answer("no"),), prompt=(user("one?"), user("two?")), file="rows.jsonl", line=2)
    encoder = encoder_of(starts[0])
    (item,) = encode_pairs(encoder, [twice])
    tokenizer = encoder.tokenizer
    own = tokenizer.apply_chat_template(as_rows(twice.prompt), add_generation_prompt=True, return_dict=False)
    assert item.group.prompt == own
    strict = encoder_of(starts[0], MISTRAL)
    assert len(encode_pairs(strict, [PLAIN, twice])) == 1
    (dropped,) = strict.tally.dropped
    assert (dropped.id, dropped.reason) == (twice.id, "template-refuses")
    assert dropped.detail.startswith("rows.jsonl:2: ")
    assert "roles must alternate" in dropped.detail


def train(path, kind, starts, rows, held_out=(), allow=False, **more):
    """A run of one update; its first line of metrics, and its summary."""
    settings = Training(batch_size=2 * len(rows), learning_rate=1e-3, warmup=0, limits=LIMITS, **more)
    with Run(path, stage=kind, config={}, inputs={}) as run:
        run.tally("read", "rows").count_all(len(rows) + len(held_out))
        run.allow_losses = allow
        if kind == "sft":
            train_sft(run, settings, start=starts[0], dialogues=rows, held_out=held_out, seed=0)
        else:
            call, loss = {"dpo": (train_dpo, Sigmoid(beta=0.1)), "rows": (train_unpaired, BcoUnpaired(beta=0.1))}[kind]
            common = {"start": starts[0], "reference": starts[1], "held_out": held_out, "seed": 0}
            name = {"dpo": "preferences", "rows": "rows"}[kind]
            call(run, settings, objective=loss, **{name: rows}, **common)
    first = json.loads((path / "metrics.jsonl").read_text().splitlines()[0])
    return first, read_manifest(path)["summary"]


def mean(values):
    return sum(values) / len(values)


@pytest.mark.parametrize("settings", ENGINES[:2], ids=str)
def test_a_run_starts_with_dpos_loss_against_its_reference(starts, tmp_path, settings):
    pairs = [PARTED, UNEVEN, SHARED]
    found, summary = train(tmp_path / "run", "dpo", starts, pairs, pairs[:1], **settings)
    split = [share_prompt(each) for each in pairs]
    hand = [
        [[by_hand(start, one.prompt, side)[0] for side in (one.chosen, one.rejected)] for start in starts]
        for one in split
    ]
    margins = [0.1 * ((policy[0] - before[0]) - (policy[1] - before[1])) for policy, before in hand]
    assert found["loss"] == pytest.approx(mean([math.log1p(math.exp(-margin)) for margin in margins]), abs=1e-5)
    assert found["rewards/margins"] == pytest.approx(mean(margins), abs=1e-5)
    assert found["logps/chosen"] == pytest.approx(mean([policy[0] for policy, _ in hand]), abs=1e-4)
    assert found["logps/rejected"] == pytest.approx(mean([policy[1] for policy, _ in hand]), abs=1e-4)
    assert summary["held_out_rows"] == 1


@pytest.mark.parametrize("settings", ENGINES[:2], ids=str)
def test_single_rows_and_sft_count_the_same_tokens(starts, tmp_path, settings):
    pairs = [PARTED, UNEVEN]
    found, _ = train(tmp_path / "rows", "rows", starts, pairs, **settings)
    for side in ("chosen", "rejected"):
        logps = [by_hand(starts[0], one.prompt, getattr(one, side))[0] for one in pairs]
        name = {"chosen": "desirable", "rejected": "undesirable"}[side]
        assert found[f"logps/{name}"] == pytest.approx(mean(logps), abs=1e-4)
    talks = [Dialogue(messages=(*one.prompt, *one.chosen)) for one in pairs]
    line, _ = train(tmp_path / "sft", "sft", starts, talks, **settings)
    hand = [by_hand(starts[0], one.prompt, one.chosen) for one in pairs]
    assert line["loss"] == pytest.approx(-sum(logp for logp, _ in hand) / sum(n for _, n in hand), abs=1e-4)


@pytest.mark.parametrize("kind", ["dpo", "rows", "sft"])
def test_what_cannot_be_read_stops_no_run_until_it_is_more_than_half(starts, tmp_path, kind):
    calls = pair(CALLS.chosen, CALLS.rejected, prompt=CALLS.prompt, file="rows.jsonl", line=7)
    bad, good = (
        {
            "dpo": one,
            "rows": Unpaired(prompt=one.prompt, answer=one.chosen, desirable=True, file=one.file, line=one.line),
            "sft": Dialogue(messages=(*one.prompt, *one.chosen), file=one.file, line=one.line),
        }[kind]
        for one in (calls, PLAIN)
    )
    # What is held out is lost whole, and the run goes on.
    _, summary = train(tmp_path / "some", kind, starts, [good, bad, good], [bad])
    assert (summary["rows"], summary["held_out_rows"]) == (2, 0)
    dropped = read_table(tmp_path / "some" / "dropped.parquet")
    assert [(row["id"], row["reason"], row["line"]) for row in dropped] == [(bad.id, "tools-dropped", 7)] * 2
    for name, rows in (("most", [bad, bad, good]), ("all", [bad, bad])):
        with pytest.raises(LossError, match=r"tools-dropped, as rows\.jsonl:7 .*set limits\.tools"):
            train(tmp_path / name, kind, starts, rows)
        assert read_table(tmp_path / name / "dropped.parquet")
    with pytest.raises(LossError, match=r"none of 2 rows can be trained on[^§]*tools-dropped, as rows\.jsonl:7"):
        train(tmp_path / "allowed", kind, starts, [bad, bad], allow=True)


def test_dialogues_go_through_as_before(starts):
    encoder = encoder_of(starts[0])
    (item,) = encode_dialogues(encoder, [Dialogue(messages=(*PARTED.prompt, *PARTED.chosen))])
    (found,) = sums(starts[0], [item], encoder, {})
    logp, count = by_hand(starts[0], PARTED.prompt, PARTED.chosen)
    assert found[0][1] == count
    assert found[0][0] == pytest.approx(logp, abs=1e-4)
