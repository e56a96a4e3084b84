"""DPO of a 7B model on one accelerator, ours against TRL 1.16: pairs per second, peak memory, share of the peak.

``python -m benchmarks.gpu [--flags]`` prints the result, ``python -m benchmarks gpu`` keeps it. Needs no data and no
weights: a randomly initialised Mistral 7B in bf16, and pairs of random tokens with lengths like UltraFeedback's, drawn
from a seed: log-normal, prompts of 200 tokens in the median (at most 512), answers of 300 (at most 1,024 with their
prompt). Both sides get the very same ids, behind their own tokenisation.

Both hold weights, gradients and the two moments of AdamW in bf16, 58 GB for 7B; fp32 moments and master weights would
make it 116 GB, and leave no room on one card. LoRA has rank 64 on the attention's projections, its weights in fp32. An
update is ``--batch`` pairs, the reference is computed once before. TRL takes the micro-batches of ``--micro`` in turn,
its pairs sorted by length, its attention SDPA, and the fastest counts; one that does not fit is recorded as such.

The clock runs from the ids to the end of one epoch, reference included, after a warm-up on the first pairs in the same
process: what is compiled is compiled once. ``--small`` is tiny, so that the same script ends within two minutes on a
CPU, where memory is that of the process.
"""

import argparse
import json
import random
import sys
import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from benchmarks.common import matmul_gflops, peak_gib, peer, ratio, side, train_flops, write_rows

__all__ = ["build", "device", "draw", "measure", "peak", "sides_parser"]

MISTRAL_7B = {"vocabulary": 32000, "width": 4096, "layers": 32, "heads": 32, "kv_heads": 8, "ffn": 14336}
TINY = {"vocabulary": 1024, "width": 64, "layers": 2, "heads": 4, "kv_heads": 2, "ffn": 128}
PAD, END = 0, 1


def measure(*, small: bool = False, arguments: Sequence[str] = ()) -> dict[str, Any]:
    """Both sides, full and LoRA, and their ratios."""
    options = _options(small, arguments)
    peer()
    pairs = draw(options.pairs, options.prompt, options.answer, options.longest, options.shape["vocabulary"])
    groups = [(len(p["prompt_ids"]), [len(p["chosen_ids"]), len(p["rejected_ids"])]) for p in pairs]
    cpu = device() == "cpu"
    found: dict[str, Any] = {
        "device": _device_name(),
        "settings": {key: value for key, value in vars(options).items() if key != "shape"},
        "shape": options.shape,
        "tokens": sum(prompt + sum(answers) for prompt, answers in groups),
        "bf16_matmul_gflops": matmul_gflops(size=1024 if cpu else 8192, dtype="bfloat16", device=device()),
    }
    with tempfile.TemporaryDirectory() as folder:
        file = str(write_rows(Path(folder) / "pairs.jsonl", pairs))
        common = ("--pairs", file, "--shape", json.dumps(options.shape), "--batch", options.batch)
        common += ("--longest", options.longest, *(["--checkpointing"] if options.checkpointing else []))
        for kind, flags in (("full", ()), ("lora", ("--lora",))):
            found |= _compare(kind, (*common, *flags), options, groups, found["bf16_matmul_gflops"])
    return found


def draw(count: int, prompt: int, answer: int, longest: int, vocabulary: int) -> list[dict[str, list[int]]]:
    """Pairs of random tokens with drawn lengths, each answer with its end; the same for the same arguments."""
    rng = random.Random(0)

    def length(median: int, highest: int) -> int:
        return min(highest, max(8, round(median * rng.lognormvariate(0.0, 0.8))))

    def tokens(number: int) -> list[int]:
        return [rng.randrange(2, vocabulary) for _ in range(number)]

    pairs = []
    for _ in range(count):
        start = tokens(length(prompt, longest // 2))
        sides = [[*tokens(length(answer, longest - len(start)) - 1), END] for _ in range(2)]
        pairs.append({"prompt_ids": start, "chosen_ids": sides[0], "rejected_ids": sides[1]})
    return pairs


def sides_parser() -> argparse.ArgumentParser:
    """The command line that both sides share."""
    parser = argparse.ArgumentParser()
    parser.add_argument("--pairs", required=True)
    parser.add_argument("--shape", type=json.loads, required=True)
    parser.add_argument("--batch", type=int, required=True)
    parser.add_argument("--longest", type=int, required=True)
    parser.add_argument("--lora", action="store_true")
    parser.add_argument("--checkpointing", action="store_true")
    return parser


def device() -> str:
    """The accelerator's type, or ``cpu``."""
    import torch

    found = torch.accelerator.current_accelerator() if torch.accelerator.is_available() else None
    return found.type if found else "cpu"


def build(shape: dict[str, int], longest: int) -> tuple[Any, Any]:
    """A randomly initialised Mistral in bf16 on the device, and a tokenizer that has what a trainer asks of one."""
    import torch
    from tokenizers import Tokenizer, models
    from transformers import MistralConfig, MistralForCausalLM, PreTrainedTokenizerFast

    config = MistralConfig(
        vocab_size=shape["vocabulary"],
        hidden_size=shape["width"],
        intermediate_size=shape["ffn"],
        num_hidden_layers=shape["layers"],
        num_attention_heads=shape["heads"],
        num_key_value_heads=shape["kv_heads"],
        max_position_embeddings=max(longest, 1024),
        sliding_window=None,
        bos_token_id=END,
        eos_token_id=END,
        pad_token_id=PAD,
    )
    torch.manual_seed(0)
    torch.set_default_dtype(torch.bfloat16)
    with torch.device(device()):
        model = MistralForCausalLM(config)
    torch.set_default_dtype(torch.float32)
    words = Tokenizer(models.WordLevel({"<pad>": PAD, "</s>": END}, unk_token="</s>"))
    return model, PreTrainedTokenizerFast(tokenizer_object=words, pad_token="<pad>", eos_token="</s>")


def peak() -> float:
    """Peak memory in GiB: the device's, as PyTorch counts it, or on a CPU the process's."""
    import torch

    return torch.cuda.max_memory_allocated() / 2**30 if device() == "cuda" else peak_gib()


def _device_name() -> str:
    import torch

    return str(torch.cuda.get_device_name()) if device() == "cuda" else device()


def _options(small: bool, arguments: Sequence[str]) -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.gpu")
    parser.add_argument("--small", action="store_true", help="tiny sizes")
    parser.add_argument("--shape", type=json.loads, help="JSON of vocabulary, width, layers, heads, kv_heads, ffn")
    parser.add_argument("--pairs", type=int, help="pairs in all")
    parser.add_argument("--batch", type=int, help="pairs of an update")
    parser.add_argument("--prompt", type=int, help="median tokens of a prompt")
    parser.add_argument("--answer", type=int, help="median tokens of an answer")
    parser.add_argument("--longest", type=int, help="most tokens of prompt and answer; a prompt takes half at most")
    parser.add_argument("--micro", type=int, nargs="+", help="TRL's micro-batches")
    parser.add_argument("--max-tokens", type=int, help="tokens of a forward pass of ours")
    parser.add_argument("--checkpointing", action="store_true", help="activations computed again, on both sides")
    options = parser.parse_args(arguments)
    large: dict[str, Any] = {"shape": MISTRAL_7B, "pairs": 256, "batch": 32, "prompt": 200, "answer": 300}
    large |= {"longest": 1024, "micro": [1, 2, 4, 8], "max_tokens": 8192}
    tiny = {"shape": TINY, "pairs": 16, "batch": 8, "prompt": 20, "answer": 30, "longest": 128, "micro": [2, 8]}
    options.small = options.small or small
    for key, value in (large | tiny if options.small else large).items():
        if getattr(options, key) is None:
            setattr(options, key, value)
    return options


def _compare(
    kind: str, common: Sequence[Any], options: argparse.Namespace, groups: Any, peak_gflops: float
) -> dict[str, Any]:
    ours = side("ours_gpu", *common, "--max-tokens", options.max_tokens)
    theirs = {str(micro): _or_too_large(*common, "--micro", micro) for micro in options.micro}
    best = max(theirs, key=lambda name: float(theirs[name].get("pairs_per_s", 0.0)))
    flops = train_flops(options.shape, groups, forward_only=False, frozen=kind == "lora")
    flops += train_flops(options.shape, groups, forward_only=True)
    found = {
        f"{kind}_ours": ours,
        f"{kind}_trl": theirs,
        f"{kind}_trl_best_micro_batch": best,
        f"{kind}_share_of_matmul_peak": ours["pairs_per_s"] * flops / len(groups) / peak_gflops / 1e9,
    }
    if "pairs_per_s" in theirs[best]:
        found |= ratio(f"{kind}_speed_to_trl_best", [ours], [theirs[best]], "pairs_per_s")
        found |= ratio(f"{kind}_memory_to_trl_best", [ours], [theirs[best]], "peak_gib")
    return found


def _or_too_large(*arguments: Any) -> dict[str, Any]:
    try:
        return side("trl_gpu", *arguments)
    except RuntimeError as error:
        if "out of memory" not in str(error).lower():
            raise
        return {"failed": "out of memory"}


if __name__ == "__main__":
    print(json.dumps(measure(arguments=sys.argv[1:]), indent=2))
