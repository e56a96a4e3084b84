"""What the tests of PairRM share: a small model, its tokenizer, both layouts on disk, and the plain computation."""

import json

import torch
from safetensors.torch import load_file, save_file

from notus.core.records import Message
from notus.rankers.pairrm import build_pairrm, train_pair_tokenizer
from notus.rankers.settings import EncoderShape

SHAPE = EncoderShape(width=32, layers=2, heads=2, ffn=64, buckets=16, positions=64)
TEXTS = [
    "Name a river in the north.",
    "The Tana is one, and it is a long one with many salmon.",
    "No.",
    "",
    "Rivers, rivers, rivers: what a question! " * 12,
    "I'd say the Torne, which is the border of two countries.",
]


def user(text):
    return (Message(role="user", content=text),)


def small(seed=0, scale=5.0):
    """A model with random weights, larger than at the start of a training so that its logits differ."""
    tokenizer = train_pair_tokenizer(TEXTS * 3, 400)
    model = build_pairrm(SHAPE, tokenizer, seed).eval()
    with torch.no_grad():
        for weight in model.parameters():
            if weight.dim() > 1:
                weight.mul_(scale)
    return model, tokenizer


def plain_logit(model, tokenizer, prompt, first, second, *, source=1224, candidate=412):
    """The logit of one pair as the facts write it: parts encoded one by one, joined, one row, the head by hand."""

    def part(marker, text, room):
        ids = tokenizer(marker + text, add_special_tokens=False)["input_ids"][: room - 2]
        return [tokenizer.cls_token_id, *ids, tokenizer.sep_token_id]

    head = part("<|source|>", prompt, source)
    room = (source + 2 * candidate - len(head)) // 2
    parts = [head, part("<|candidate1|>", first, room), part("<|candidate2|>", second, room)]
    row = torch.tensor([[token for ids in parts for token in ids]])
    with torch.no_grad():
        states = model.pretrained_model(input_ids=row, attention_mask=torch.ones_like(row)).last_hidden_state[0]
        at = [int((row[0] == tokenizer.convert_tokens_to_ids(m)).nonzero()[0, 0]) for m in MARKED]
        hidden, out = model.head_layer[1], model.head_layer[4]
        left, right = (
            out.weight @ torch.tanh(hidden.weight @ torch.cat([states[at[0]], states[place]]) + hidden.bias) + out.bias
            for place in at[1:]
        )
    return float(left - right)


MARKED = ("<|source|>", "<|candidate1|>", "<|candidate2|>")


def save_hf(model, tokenizer, folder):
    """The layout of PairRM-hf: the encoder's config.json with the markers' ids beside it."""
    model.save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    config = json.loads((folder / "config.json").read_text())
    names = zip(("source_prefix_id", "cand1_prefix_id", "cand2_prefix_id"), MARKED, strict=True)
    config |= {name: tokenizer.convert_tokens_to_ids(marker) for name, marker in names}
    (folder / "config.json").write_text(json.dumps(config | {"n_tasks": 1, "drop_out": 0.05}))


def save_blender(model, tokenizer, folder, *, own_tokenizer=True):
    """The layout of llm-blender/PairRM: the ranker's own config.json, which names the encoder."""
    encoder = folder / "encoder"
    encoder.mkdir(parents=True)
    model.config.save_pretrained(encoder)
    save_hf(model, tokenizer, folder)
    settings = {"ranker_type": "pairranker", "model_type": "deberta", "model_name": "encoder", "n_tasks": 1}
    settings |= {"source_maxlength": 64, "candidate_maxlength": 32, "reduce_type": "linear", "drop_out": 0.05}
    (folder / "config.json").write_text(json.dumps(settings))
    # Older PyTorch kept this buffer among the weights.
    weights = load_file(folder / "model.safetensors")
    weights["pretrained_model.embeddings.position_ids"] = torch.arange(64).unsqueeze(0)
    save_file(weights, folder / "model.safetensors", metadata={"format": "pt"})
    if not own_tokenizer:
        for path in folder.glob("*token*"):
            path.rename(encoder / path.name)
