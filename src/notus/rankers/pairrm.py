"""PairRM: one encoder that reads a prompt with two answers and says which is better (Jiang et al. 2023,
https://arxiv.org/abs/2306.02561).

Owns the model, the reading of both published layouts, the making of small or fresh ones, the form of the input, and the
batches in which many pairs are computed. What is made of the logits is owned by ``rankers.pairwise``.

| layout | config.json | example |
|---|---|---|
| blender | the ranker's own settings; ``model_name`` names the encoder | llm-blender/PairRM |
| hf | that of the encoder, with ``source_prefix_id`` and others beside it | llm-blender/PairRM-hf |

Both hold the same weights: ``pretrained_model.*``, ``head_layer.1.*``, ``head_layer.4.*``. Only safetensors are read.
The tokens of a pair::

    [CLS] <|source|> PROMPT [SEP]  [CLS] <|candidate1|> A [SEP]  [CLS] <|candidate2|> B [SEP]

No text can change this form: a pair knows where its own markers stand, and a marker that somebody typed is encoded as
text. What is cut of a pair depends on this pair alone. A conversation is written as in the data that PairRM was trained
on: the source has the user's turns, each with a place for its reply, and an answer comes with the replies that stood
before it.

All pairs of all prompts are one queue, in batches of like length within a budget of tokens. Disentangled attention has
no kernel for several pairs in one row, and with like lengths side by side hardly anything is padded: a pair is a row.
"""

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from safetensors.torch import load_file
from tokenizers import AddedToken, Tokenizer, decoders, models, pre_tokenizers, trainers
from torch import nn
from transformers import (
    AutoModel,
    DebertaV2Config,
    DebertaV2Model,
    DebertaV2PreTrainedModel,
    PreTrainedTokenizerBase,
    PreTrainedTokenizerFast,
)
from transformers.utils import cached_file

from notus.core.errors import ConfigError, DataError
from notus.core.records import Message
from notus.core.stage import Tally
from notus.core.text import HubId
from notus.engine.files.folder import check_folder, read_header, read_headers, read_settings
from notus.engine.files.pretrained import check_source, no_bars, read_tokenizer_files, read_weights, reading
from notus.engine.files.sound import check_finite, check_floating, check_mismatched
from notus.engine.load import device, read_tokenizer
from notus.rankers.ref import Progress
from notus.rankers.roles import INSTRUCTING, roles_fault
from notus.rankers.settings import EncoderShape, PairBudget

__all__ = [
    "MARKERS",
    "EncodedPair",
    "PairEncoder",
    "PairRM",
    "batches",
    "budget_of",
    "build_pairrm",
    "collate",
    "load_pairrm",
    "padding",
    "pairrm_tokenizer",
    "score_pairs",
    "start_pairrm",
    "tokens_per_pass",
    "train_pair_tokenizer",
]

MARKERS = ("<|source|>", "<|candidate1|>", "<|candidate2|>", "<|candidate|>")
"""PairRM's additional tokens, in the order of their ids. The last one is in the vocabulary and in no input."""
_SOURCE, _FIRST, _SECOND = range(3)
_CONVERSATION = "Finish the conversation: in each turn i, <Response i> stands for what the assistant replies.\n"
_AROUND = 3
"""Tokens around a text: [CLS], the marker, [SEP]."""
_KEPT = 50_000
"""Texts whose tokens are kept from one call to the next."""


@dataclass(frozen=True, slots=True)
class EncodedPair:
    """A prompt with two answers as token ids, each part with its own special tokens. Pairs share equal parts."""

    source: list[int]
    first: list[int]
    second: list[int]

    @property
    def ids(self) -> list[int]:
        """All token ids."""
        return [*self.source, *self.first, *self.second]

    @property
    def marks(self) -> tuple[int, int, int]:
        """Where the markers of source, first and second answer stand."""
        return 1, len(self.source) + 1, len(self.source) + len(self.first) + 1

    def __len__(self) -> int:
        return len(self.source) + len(self.first) + len(self.second)


class PairEncoder:
    """Encodes pairs with one tokenizer under one budget; each text is tokenised once for all the pairs it is in.

    The tokens of the last texts are kept, because selection asks again for the same ones with every step.

    Args:
        tokenizer: has [CLS], [SEP], a pad token and ``MARKERS``.
        budget: lengths in tokens.
        tally: receives the counts ``source-cut``, ``answer-cut``, ``history-cut`` and ``typed-marker``.

    Raises:
        ConfigError: if the tokenizer lacks one of the tokens.
    """

    def __init__(
        self, tokenizer: PreTrainedTokenizerBase, budget: PairBudget | None = None, tally: Tally | None = None
    ) -> None:
        self.tokenizer = tokenizer
        self.budget = budget or PairBudget()
        self.tally = tally or Tally("encode")
        known = tokenizer.get_added_vocab()
        missing = [marker for marker in MARKERS[:3] if marker not in known]
        missing += [name for name in ("cls_token", "sep_token", "pad_token") if getattr(tokenizer, name) is None]
        if missing:
            raise ConfigError(
                f"the tokenizer of {tokenizer.name_or_path!r} has no {missing[0]}, which a pair is marked with; take "
                "the tokenizer of a PairRM, or make one with 'start_pairrm'"
            )
        self._markers = [known[marker] for marker in MARKERS[:3]]
        self._typed = sorted({*known, *tokenizer.all_special_tokens})
        self._control = {*known.values(), *tokenizer.all_special_ids}
        self._ids: dict[str, list[int]] = {}

    def encode(self, triples: Sequence[tuple[str | tuple[Message, ...], str, str]]) -> list[EncodedPair]:
        """Encode (prompt, first answer, second answer); the prompt is a conversation, or the text of a single turn.

        Raises:
            DataError: if a conversation does not alternate between the user and the assistant, or does not end with
                the user.
        """
        forms = {prompt: _form(prompt) for prompt in dict.fromkeys(prompt for prompt, _, _ in triples)}
        answers = dict.fromkeys(text for _, *pair in triples for text in pair)
        self._read([*(text for form in forms.values() for text in (form.source, form.history, form.mark)), *answers])
        sources = {prompt: self._source(form) for prompt, form in forms.items()}
        parts: dict[tuple[str | tuple[Message, ...], str, int], list[int]] = {}

        def part(prompt: str | tuple[Message, ...], text: str, marker: int) -> list[int]:
            key = prompt, text, marker
            if key not in parts:
                room = (self.budget.total - len(sources[prompt])) // 2
                parts[key] = self._answer(forms[prompt], text, marker, room)
            return parts[key]

        return [
            EncodedPair(sources[prompt], part(prompt, first, _FIRST), part(prompt, second, _SECOND))
            for prompt, first, second in triples
        ]

    def _source(self, form: "_Form") -> list[int]:
        text = self._ids[form.source]
        if len(text) > (room := self.budget.source - _AROUND):
            self.tally.count("source-cut")
        return self._frame(text[:room], _SOURCE)

    def _answer(self, form: "_Form", text: str, marker: int, room: int) -> list[int]:
        """An answer behind the replies before it. What is too long is cut from those first, and then at its end."""
        own, room = [*self._ids[form.mark], *self._ids[text]], room - _AROUND
        history = self._ids[form.history]
        if len(own) > room:
            self.tally.count("answer-cut")
        if history and len(history) + len(own) > room:
            self.tally.count("history-cut")
            history = history[len(history) - max(0, room - len(own)) :]
        return self._frame([*history, *own[:room]], marker)

    def _frame(self, ids: Iterable[int], marker: int) -> list[int]:
        cls, sep = self.tokenizer.cls_token_id, self.tokenizer.sep_token_id
        return [cls, self._markers[marker], *ids, sep]

    def _read(self, texts: Iterable[str]) -> None:
        """Tokenise the texts that are new, in at most two batches."""
        wanted = dict.fromkeys(texts)
        if len(self._ids) > _KEPT:
            self._ids = {text: ids for text, ids in self._ids.items() if text in wanted}
        new = [text for text in wanted if text not in self._ids]
        typed = {text: any(token in text for token in self._typed) for text in new}
        self.tally.count("typed-marker", sum(typed.values()))
        # Behind a marker, as it will stand: a tokenizer may read the beginning of an input in another way.
        plain = [text for text in new if not typed[text]]
        self._keep(plain, self._batch([MARKERS[_SOURCE] + text for text in plain]), skip=1)
        odd = [text for text in new if typed[text]]
        self._keep(odd, self._batch(odd, split_special_tokens=True), skip=0)

    def _batch(self, texts: list[str], **options: Any) -> list[list[int]]:
        return self.tokenizer(texts, add_special_tokens=False, **options)["input_ids"] if texts else []

    def _keep(self, texts: list[str], ids: list[list[int]], skip: int) -> None:
        for text, own in zip(texts, ids, strict=True):
            # A tokenizer that knows a marker as an ordinary token still finds it in what was typed.
            self._ids[text] = [token for token in own[skip:] if token not in self._control or self._is_unknown(token)]

    def _is_unknown(self, token: int) -> bool:
        return bool(token == self.tokenizer.unk_token_id)


def collate(pairs: Sequence[EncodedPair], pad_id: int) -> dict[str, torch.Tensor]:
    """Lay pairs out as a batch that is padded at the end to the longest.

    Returns:
        ``input_ids`` and ``attention_mask`` [B, T], ``marks`` [B, 3]: what ``PairRM.forward`` takes.
    """
    rows = [pair.ids for pair in pairs]
    longest = max(map(len, rows))
    return {
        "input_ids": torch.tensor([row + [pad_id] * (longest - len(row)) for row in rows]),
        "attention_mask": torch.tensor([[1] * len(row) + [0] * (longest - len(row)) for row in rows]),
        "marks": torch.tensor([pair.marks for pair in pairs]),
    }


@dataclass(frozen=True, slots=True)
class _Form:
    """What a prompt becomes."""

    source: str
    history: str = ""
    """The replies before the answer."""
    mark: str = ""
    """What stands before the answer itself."""


def _form(prompt: str | tuple[Message, ...]) -> _Form:
    if isinstance(prompt, str):
        return _Form(prompt)
    if fault := roles_fault(prompt):
        raise DataError(fault)
    system = "".join(f"{turn.content}\n" for turn in prompt if turn.role in INSTRUCTING and turn.content)
    turns = [turn for turn in prompt if turn.role not in INSTRUCTING]
    if len(turns) == 1:
        return _Form(system + turns[0].content)
    asked = [f"USER: {turn.content}\nAssistant: <Response {number}>" for number, turn in enumerate(turns[::2], start=1)]
    replies = [f"<Response {number}>: {turn.content}\n" for number, turn in enumerate(turns[1::2], start=1)]
    return _Form(system + _CONVERSATION + "\n".join(asked), "".join(replies), f"<Response {len(asked)}>: ")


_WEIGHTS = "model.safetensors"
_DROPOUT = 0.05
_V3: dict[str, tuple[int, int, int, int]] = {
    "microsoft/deberta-v3-xsmall": (384, 12, 6, 1536),
    "microsoft/deberta-v3-small": (768, 6, 12, 3072),
    "microsoft/deberta-v3-base": (768, 12, 12, 3072),
    "microsoft/deberta-v3-large": (1024, 24, 16, 4096),
}
"""DeBERTa-v3 by name: width, layers, heads, feed-forward. What else there is, they have in common."""


class PairRM(DebertaV2PreTrainedModel):
    """A DeBERTa-v2 encoder with PairRM's head.

    The head is Dropout → Linear(2w, w) → Tanh → Dropout → Linear(w, 1), on the states at two markers side by side::

        logit(x, a, b) = head([h_source ; h_candidate1]) − head([h_source ; h_candidate2])

    ``save_pretrained`` writes the layout ``hf``.
    """

    config_class = DebertaV2Config
    base_model_prefix = "pretrained_model"

    def __init__(self, config: DebertaV2Config) -> None:
        super().__init__(config)
        width, dropout = config.hidden_size, getattr(config, "drop_out", _DROPOUT)
        self.pretrained_model = DebertaV2Model(config)
        self.head_layer = nn.Sequential(
            nn.Dropout(dropout),
            nn.Linear(2 * width, width),
            nn.Tanh(),
            nn.Dropout(dropout),
            nn.Linear(width, getattr(config, "n_tasks", 1)),
        )
        self.post_init()

    def forward(self, input_ids: torch.Tensor, attention_mask: torch.Tensor, marks: torch.Tensor) -> torch.Tensor:
        """Say how much better the first answer is.

        Args:
            input_ids: [B, T], padded at the end.
            attention_mask: [B, T].
            marks: [B, 3], where the markers of source, first and second answer stand.

        Returns:
            [B] logits in fp32, left − right; above 0 where the first answer is better.
        """
        states = self.pretrained_model(input_ids=input_ids, attention_mask=attention_mask).last_hidden_state
        rows = torch.arange(len(marks), device=marks.device)
        source, first, second = (states[rows, marks[:, place]] for place in range(3))
        left = self.head_layer(torch.cat([source, first], dim=-1))
        right = self.head_layer(torch.cat([source, second], dim=-1))
        return (left - right).float().mean(dim=-1)


def load_pairrm(source: str, *, precision: str = "float32") -> tuple[PairRM, PreTrainedTokenizerBase]:
    """Load a PairRM of either layout with its tokenizer, in evaluation mode, onto the accelerator where there is one.

    Args:
        source: a folder, or a hub id with ``@revision`` behind it if wanted.
        precision: of the weights, ``float32`` or ``bfloat16``.

    Raises:
        ConfigError: if there is none, or it cannot be read; only safetensors are.
    """
    check_source(source)
    found = _config(source)
    weights = _weights(source)
    known = {name: value for name, value in weights.items() if not name.endswith("position_ids")}
    folder = str(_place(source))
    with reading(folder, "a PairRM", lambda: "config.json"):
        config = _encoder_config(source, found, weights)
        with torch.device("meta"):
            _check_shapes(source, PairRM(config), known)
        model = PairRM(config)
    lost = model.load_state_dict(known, strict=False)
    if odd := [*lost.missing_keys, *lost.unexpected_keys]:
        what = "lacks" if lost.missing_keys else "holds, which PairRM has not,"
        raise ConfigError(f"the model in {source!r} {what} {odd[0]} (and {len(odd) - 1} more); get it anew")
    tokenizer = _tokenizer(source, found)
    if len(tokenizer) > config.vocab_size:
        raise ConfigError(f"the tokenizer of {source!r} has {len(tokenizer)} tokens, its model {config.vocab_size}")
    dtype = {"float32": torch.float32, "bfloat16": torch.bfloat16}[precision]
    header = read_header(_place(source) / _WEIGHTS)
    stored = {name: weight for name, weight in header.items() if name in known}
    check_floating(stored)
    check_finite(model.named_parameters(), folder, stored)
    row = torch.tensor([[1, 2, 3, 4]]) % config.vocab_size
    with reading(folder, "a PairRM", lambda: "config.json"), torch.no_grad():
        model.eval()(row, torch.ones_like(row), torch.tensor([[0, 1, 2]]))
    return model.to(dtype=dtype, device=device()), tokenizer


def _check_shapes(source: str, made: PairRM, weights: Mapping[str, torch.Tensor]) -> None:
    """Refuse weights of another shape than the settings say."""
    wanted = made.state_dict()
    for name, weight in weights.items():
        if name in wanted and weight.shape != wanted[name].shape:
            there, here = list(weight.shape), list(wanted[name].shape)
            raise ConfigError(
                f"the weights in {source!r} do not fit its config: {name} is {there} in {_WEIGHTS} and {here} by "
                "config.json; get the model anew"
            )


def pairrm_tokenizer(source: str, *, fresh: bool) -> PreTrainedTokenizerBase:
    """The tokenizer of a PairRM, without its weights.

    Args:
        source: folder or hub id of a PairRM, or of a plain encoder.
        fresh: whether it is a plain encoder, which the markers are added to.

    Raises:
        ConfigError: if there is none, or it cannot be read.
    """
    check_source(source)
    return _with_markers(read_tokenizer(source)) if fresh else _tokenizer(source, _config(source))


def budget_of(source: str) -> PairBudget | None:
    """The lengths that a checkpoint says it was trained with, or None if it names none.

    Raises:
        ConfigError: if there is no such checkpoint.
    """
    check_source(source)
    found = _config(source)
    if "source_maxlength" not in found:
        return None
    lengths = {"source": found["source_maxlength"], "candidate": found["candidate_maxlength"]}
    return PairBudget.parse(lengths, where=f"{source}/config.json")


def build_pairrm(shape: EncoderShape, tokenizer: PreTrainedTokenizerBase, seed: int) -> PairRM:
    """A small PairRM with seeded random weights, in fp32 on the CPU."""
    torch.manual_seed(seed)
    return PairRM(
        DebertaV2Config(
            vocab_size=len(tokenizer),
            hidden_size=shape.width,
            num_hidden_layers=shape.layers,
            num_attention_heads=shape.heads,
            intermediate_size=shape.ffn,
            position_buckets=shape.buckets,
            max_position_embeddings=shape.positions,
            pad_token_id=tokenizer.pad_token_id,
            **_COMMON,
        )
    )


def start_pairrm(source: str, seed: int) -> tuple[PairRM, PreTrainedTokenizerBase]:
    """A PairRM to be trained, of a plain DeBERTa-v2 or -v3 encoder: its weights, new markers, a new head.

    Args:
        source: folder or hub id of the encoder.
        seed: draws the head and the markers' embeddings.

    Raises:
        ConfigError: if there is no such encoder, or it is of another architecture.
    """
    tokenizer = _with_markers(read_tokenizer(source))
    torch.manual_seed(seed)
    encoder, loaded = read_weights(AutoModel, source, "an encoder", dtype=torch.float32)
    stored = read_headers(Path(source)) if Path(source).exists() else {}
    check_mismatched(loaded, source, stored)
    if missing := sorted(loaded["missing_keys"]):
        raise ConfigError(f"the encoder in {source!r} lacks weights, the first is {missing[0]}; get it anew")
    check_finite(encoder.named_parameters(), source, stored)
    if not isinstance(encoder, DebertaV2Model):
        raise ConfigError(f"{source!r} is a {type(encoder).__name__}; PairRM is built on a DeBERTa-v2 or -v3 encoder")
    if len(tokenizer) > encoder.config.vocab_size:
        encoder.resize_token_embeddings(len(tokenizer), mean_resizing=False)
    model = PairRM(encoder.config)
    model.pretrained_model = encoder
    return model, tokenizer


def train_pair_tokenizer(texts: Iterable[str], size: int) -> PreTrainedTokenizerBase:
    """Train a byte-level BPE with the tokens that a pair is marked with; every text can be encoded.

    Args:
        texts: the corpus.
        size: entries, special tokens included.
    """
    special = {"pad_token": "[PAD]", "cls_token": "[CLS]", "sep_token": "[SEP]", "unk_token": "[UNK]"}
    bpe = Tokenizer(models.BPE())
    bpe.pre_tokenizer = pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.decoder = decoders.ByteLevel()
    trainer = trainers.BpeTrainer(
        vocab_size=size,
        special_tokens=[*special.values(), *MARKERS],
        initial_alphabet=pre_tokenizers.ByteLevel.alphabet(),
        show_progress=False,
    )
    bpe.train_from_iterator(texts, trainer)
    return _with_markers(PreTrainedTokenizerFast(tokenizer_object=bpe, **special))


_COMMON: dict[str, Any] = {
    "relative_attention": True,
    "max_relative_positions": -1,
    "norm_rel_ebd": "layer_norm",
    "share_att_key": True,
    "pos_att_type": ["p2c", "c2p"],
    "position_biased_input": False,
    "type_vocab_size": 0,
    "layer_norm_eps": 1e-7,
}


def _with_markers(tokenizer: PreTrainedTokenizerBase) -> PreTrainedTokenizerBase:
    known = tokenizer.get_added_vocab()
    new = [AddedToken(marker, special=True, normalized=False) for marker in MARKERS if marker not in known]
    tokenizer.add_tokens(new, special_tokens=True)
    return tokenizer


def _file(source: str, name: str) -> Path | None:
    """A file of a folder or of a hub id; None if it has none."""
    if Path(source).exists():
        path = Path(source) / name
        return path if path.is_file() else None
    on_hub = HubId.parse(source)
    assert on_hub is not None
    try:
        with no_bars():
            found = cached_file(
                on_hub.name, name, revision=on_hub.revision, _raise_exceptions_for_missing_entries=False
            )
    except (OSError, ValueError) as error:
        raise ConfigError(f"cannot get {name} of {source!r}: {str(error).strip().splitlines()[0]}") from None
    return None if found is None else Path(found)


def _place(source: str) -> Path:
    """The folder that the files of a model lie in, which of a hub id is in the cache."""
    found = _file(source, "config.json")
    return Path(source) if found is None else found.parent


def _config(source: str) -> dict[str, Any]:
    path = _file(source, "config.json")
    if path is None:
        raise ConfigError(f"{source} holds no PairRM: it has no config.json")
    check_folder(path.parent)
    return dict(read_settings(path))


def _weights(source: str) -> dict[str, torch.Tensor]:
    path = _file(source, _WEIGHTS)
    if path is None:
        raise ConfigError(f"{source} has no {_WEIGHTS}; only safetensors are read, pickled weights are not")
    read_header(path)
    with reading(path.parent, "a PairRM", lambda: _WEIGHTS):
        weights: dict[str, torch.Tensor] = load_file(path)
    if not any(name.startswith("head_layer.1.") for name in weights):
        raise ConfigError(f"{source} holds no PairRM: {_WEIGHTS} has no head_layer.1; for a scalar model: reward-model")
    return weights


def _encoder_config(source: str, found: dict[str, Any], weights: dict[str, torch.Tensor]) -> DebertaV2Config:
    """The encoder's config, from either layout."""
    if "hidden_size" in found:
        return DebertaV2Config(**found)
    name = found.get("model_name")
    if not isinstance(name, str):
        raise ConfigError(f"{source}/config.json is of neither layout: it has no 'hidden_size' and no 'model_name'")
    own = {key: found[key] for key in ("n_tasks", "drop_out") if key in found}
    vocabulary = len(weights["pretrained_model.embeddings.word_embeddings.weight"])
    if name in _V3:
        width, layers, heads, ffn = _V3[name]
        size = {"hidden_size": width, "num_hidden_layers": layers, "num_attention_heads": heads}
        size |= {"intermediate_size": ffn, "position_buckets": 256, "max_position_embeddings": 512}
        return DebertaV2Config(**_COMMON, **size, **own, vocab_size=vocabulary, pad_token_id=0)
    try:
        encoder = _config(_encoder_source(source, name))
    except ConfigError as error:
        raise ConfigError(f"{source}/config.json names the encoder {name!r}: {error}") from None
    return DebertaV2Config(**encoder | own | {"vocab_size": vocabulary})


def _encoder_source(source: str, name: str) -> str:
    """The encoder that a checkpoint names: a folder within its own, or as it is."""
    inside = Path(source) / name
    named = str(inside) if inside.is_dir() else name
    check_source(named)
    return named


def _tokenizer(source: str, found: dict[str, Any]) -> PreTrainedTokenizerBase:
    """The checkpoint's tokenizer, or that of the encoder that it names, with the markers behind its vocabulary."""
    for place in (source, *([_encoder_source(source, found["model_name"])] if "model_name" in found else [])):
        if _file(place, "tokenizer.json") is not None:
            # The file itself, by the plain class: config.json of the layout 'blender' would lead to another one.
            return _with_markers(read_tokenizer_files(PreTrainedTokenizerFast, place, "tokenizer.json"))
        if _file(place, "tokenizer_config.json") is not None:
            return _with_markers(read_tokenizer(place))
    raise ConfigError(f"{source} has no tokenizer; put the files of the encoder's tokenizer beside it")


_MOST_PADDING = 0.05


def batches(lengths: Sequence[int], max_tokens: int, *, most_padding: float = _MOST_PADDING) -> list[list[int]]:
    """Choose what is computed together: from the longest to the shortest, as long as it fits and hardly pads.

    Args:
        lengths: tokens of each example.
        max_tokens: tokens of a batch, padding included; a longer example is a batch of its own.
        most_padding: greatest share of padding in any batch.

    Returns:
        Indices of the examples of each batch. The longest batch is the first: what does not fit fails at once.
    """
    order = sorted(range(len(lengths)), key=lambda index: (-lengths[index], index))
    found: list[list[int]] = []
    longest = tokens = 0
    for index in order:
        taken = len(found[-1]) + 1 if found else 0
        fits = taken * longest <= max_tokens and tokens + lengths[index] >= (1 - most_padding) * taken * longest
        if not found or not fits:
            found.append([])
            longest, tokens = lengths[index], 0
        found[-1].append(index)
        tokens += lengths[index]
    return found


def tokens_per_pass(device: torch.device) -> int:
    """Tokens of a forward pass: on a CPU so few that a layer's attention stays near its caches."""
    return 2048 if device.type == "cpu" else 32_768


def padding(lengths: Sequence[int], chosen: Sequence[Sequence[int]]) -> float:
    """Share of the computed tokens that is padding, where each batch is padded to its longest."""
    computed = sum(len(batch) * max(lengths[index] for index in batch) for batch in chosen)
    return 1 - sum(lengths[index] for batch in chosen for index in batch) / computed if computed else 0.0


def score_pairs(
    model: PairRM,
    pairs: Sequence[EncodedPair],
    *,
    pad_id: int,
    max_tokens: int | None = None,
    progress: Progress | None = None,
) -> list[float]:
    """Logit of each pair, in their order: above 0 where the first answer is better.

    The model is put into evaluation mode, and left as it was.

    Args:
        model: on any device.
        pairs: each is computed once, so leave out what repeats.
        pad_id: of the tokenizer.
        max_tokens: tokens of a forward pass; None takes what suits the device.
        progress: is told after each batch how many pairs are done.
    """
    scores = [0.0] * len(pairs)
    done, training = 0, model.training
    model.eval()
    try:
        with torch.inference_mode():
            for batch in batches(list(map(len, pairs)), max_tokens or tokens_per_pass(model.device)):
                inputs = {name: value.to(model.device) for name, value in _collate_batch(pairs, batch, pad_id).items()}
                for index, score in zip(batch, model(**inputs).tolist(), strict=True):
                    scores[index] = score
                done += len(batch)
                if progress is not None:
                    progress(done, len(pairs))
    finally:
        model.train(training)
    return scores


def _collate_batch(pairs: Sequence[EncodedPair], batch: Sequence[int], pad_id: int) -> dict[str, torch.Tensor]:
    return collate([pairs[index] for index in batch], pad_id)
