"""Models in this process as a generator: the same requests and replies as endpoints give."""

import msgspec
import pytest

from notus.core.errors import InputError
from notus.core.records import Message
from notus.engine.generate import sample
from notus.engine.generator import InProcess
from notus.engine.load import load_model, load_tokenizer, save_model
from notus.engine.settings import Limits, Sampling
from notus.engine.text.encoder import Encoder
from notus.llm.ledger import Ledger
from notus.llm.protocol import Decoding, Failure, Request, ordered


@pytest.fixture(scope="module")
def folder(model, tokenizer, tmp_path_factory):
    path = tmp_path_factory.mktemp("model") / "model"
    save_model(model, tokenizer, path)
    return path


def requests(generator, count=6, **decoding):
    settings = {"temperature": 0.0, "max_tokens": 8} | decoding
    return [
        Request(
            model=generator.models["m"],
            messages=(Message(role="user", content=f"number {n}"),),
            decoding=Decoding(**settings),
        )
        for n in range(count)
    ]


def texts(generator, asked):
    return [outcome.texts for _, outcome in ordered(generator, asked)]


def test_it_gives_what_the_sampler_gives(folder):
    generator = InProcess({"m": str(folder)}, batch_size=4)
    asked = requests(generator)
    encoder = Encoder(load_tokenizer(str(folder)), Limits(max_length=128, max_prompt_length=100, system=None))
    plain = sample(
        load_model(str(folder)),
        encoder,
        [r.messages for r in asked],
        Sampling(temperature=0.0, max_new_tokens=8, batch_size=1),
        name="m",
        seed=0,
    )
    found = list(ordered(generator, asked))
    assert [outcome.text for _, outcome in found] == [output.text for output in plain]
    assert [outcome.truncated for _, outcome in found] == [output.truncated for output in plain]
    for (request, outcome), output in zip(found, plain, strict=True):
        assert outcome.key == request.key
        assert outcome.tokens_in == len(encoder.prompt(request.messages))
        assert outcome.tokens_out == 8 or not output.truncated


def test_what_is_sampled_depends_on_the_request_alone(folder):
    generator = InProcess({"m": str(folder)}, batch_size=4)
    asked = requests(generator, temperature=1.0, n=3)
    whole = texts(generator, asked)
    assert all(len(own) == 3 for own in whole)
    assert texts(generator, asked[::-2]) == whole[::-2]
    assert len(set(whole)) > 3


def test_the_ledger_keeps_and_gives_what_was_answered(folder, tmp_path):
    with Ledger(tmp_path / "ledger.sqlite") as ledger:
        generator = InProcess({"m": str(folder)}, ledger)
        asked = requests(generator, temperature=1.0)
        first = list(ordered(generator, asked))
        again = list(ordered(InProcess({"m": str(folder)}, ledger), asked))
    assert [outcome.texts for _, outcome in again] == [outcome.texts for _, outcome in first]
    assert all(outcome.stored for _, outcome in again)
    assert not any(outcome.stored for _, outcome in first)


def test_what_another_process_is_answering_is_waited_for(folder, tmp_path, monkeypatch):
    whole = InProcess({"m": str(folder)})
    asked = requests(whole)
    known = dict(ordered(whole, asked))
    with Ledger(tmp_path / "ledger") as ledger, Ledger(tmp_path / "ledger") as other:
        generator, answered, new = InProcess({"m": str(folder)}, ledger), [], InProcess._new

        def noted(self, these):
            answered.append([asked.index(each) for each in these])
            if len(answered) == 1:  # the first was answered elsewhere meanwhile, the second was given up
                other.put([(asked[0], known[asked[0]])])
                other.close()
            return new(self, these)

        monkeypatch.setattr(InProcess, "_new", noted)
        other.claim([each.key for each in asked[:2]])
        assert texts(generator, asked) == [known[each].texts for each in asked]
        assert [each for each in answered if each] == [[2, 3, 4, 5], [1]]


def test_a_model_is_known_by_its_content(folder, tmp_path, model, tokenizer):
    save_model(model, tokenizer, tmp_path / "copy")
    same = InProcess({"other": str(tmp_path / "copy")}).models["other"].identity
    assert same == InProcess({"m": str(folder)}).models["m"].identity
    (tmp_path / "copy" / "generation_config.json").write_text("{}")
    assert InProcess({"other": str(tmp_path / "copy")}).models["other"].identity != same


def test_what_does_not_fit_is_a_failure_and_what_it_cannot_do_an_error(folder):
    generator = InProcess({"m": str(folder)})
    long = Request(
        model=generator.models["m"],
        messages=(Message(role="user", content="long " * 200),),
        decoding=Decoding(temperature=0.0, max_tokens=8),
    )
    ((_, outcome), (_, fine)) = ordered(generator, [long, *requests(generator, 1)])
    assert isinstance(outcome, Failure)
    assert outcome.kind == "context_too_long"
    assert fine.text is not None
    with pytest.raises(InputError, match="no log-probabilities"):
        list(generator.answer([Request(model=generator.models["m"], messages=long.messages, top_logprobs=5)]))


def test_what_the_template_refuses_is_a_failure_and_the_others_are_answered(model, tokenizer, tmp_path):
    save_model(model, tokenizer, tmp_path / "m")
    refusing = load_tokenizer(str(tmp_path / "m"))
    refusing.chat_template = (
        "{% for m in messages %}{% if m.role == 'system' %}{{ raise_exception('no system turn') }}{% endif %}"
        "<|{{ m.role }}|>{{ m.content }}</s>{% endfor %}{% if add_generation_prompt %}<|assistant|>{% endif %}"
    )
    refusing.save_pretrained(tmp_path / "m")
    generator = InProcess({"m": str(tmp_path / "m")}, batch_size=4)
    plain = requests(generator, count=3)
    system = Message(role="system", content="Be brief.")
    asked = [plain[0], msgspec.structs.replace(plain[1], messages=(system, *plain[1].messages)), plain[2]]
    first, second, third = (outcome for _, outcome in ordered(generator, asked))
    assert isinstance(second, Failure)
    assert (second.kind, "no system turn" in second.detail) == ("bad_request", True)
    assert [first.texts, third.texts] == [outcome.texts for _, outcome in ordered(generator, [plain[0], plain[2]])]
