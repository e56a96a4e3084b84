import torch

from notus.core.records import Message
from notus.models.generate import sample
from notus.models.settings import Limits, Sampling
from notus.models.tokens import Encoder

PROMPTS = [(Message(role="user", content=text),) for text in ("hot", "the opposite of big and old", "up?")]


def draw(model, tokenizer, seed=0, **settings):
    encoder = Encoder(tokenizer, Limits(max_length=128, max_prompt_length=60))
    return sample(model, encoder, PROMPTS, Sampling(max_new_tokens=8, **settings), name="m", seed=seed)


def test_one_output_for_each_prompt_and_sample_in_order(model, tokenizer):
    outputs = draw(model, tokenizer, samples=3)
    assert [(o.prompt, o.sample) for o in outputs] == [(p, s) for p in PROMPTS for s in range(3)]
    assert {(o.model, o.seed) for o in outputs} == {("m", 0)}


def test_the_seed_decides_and_nothing_else_does(model, tokenizer):
    first = draw(model, tokenizer, samples=2)
    torch.rand(100)
    before = torch.get_rng_state()
    assert draw(model, tokenizer, samples=2) == first
    assert torch.equal(torch.get_rng_state(), before)
    assert [o.text for o in draw(model, tokenizer, samples=2, seed=1)] != [o.text for o in first]


def test_greedy_takes_the_likeliest_token_whatever_the_batch(model, tokenizer):
    together = draw(model, tokenizer, temperature=0)
    assert [o.text for o in draw(model, tokenizer, temperature=0, batch_size=1)] == [o.text for o in together]
    encoder = Encoder(tokenizer, Limits(max_length=128, max_prompt_length=60))
    ids = encoder.prompt(PROMPTS[1])
    answer = []
    for _ in range(8):
        answer.append(int(model(input_ids=torch.tensor([ids + answer])).logits[0, -1].argmax()))
        if answer[-1] == tokenizer.eos_token_id:
            break
    assert together[1].text == encoder.decode(answer)


def test_an_answer_that_does_not_end_is_marked(model, tokenizer):
    outputs = draw(model, tokenizer, samples=4)
    assert any(o.truncated for o in outputs)
