"""The same numbers as TRL 1.16: loss and rewards on one real batch, for every loss that both have.

Four policies against one reference: the reference itself, one that took a few steps towards the chosen answers, and the
same two with LoRA, so that the margins are 0 and not 0. Ours computes packed, a prompt once for both answers; TRL pads.
A batch agrees when loss, rewards and margins differ by no more than 1e-4 relative, or 1e-6 absolute where they are 0.

The losses are read by TRL's own names, as a recipe may have them, so that what an alias means is measured too. What is
another thing, and not compared: TRL ignores ``label_smoothing`` with ``sigmoid``, where ours is ``cdpo``. A tie counts
0 in TRL's reward accuracy and ½ in ours.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import PLAIN_TEMPLATE, peer, read_rows, real_data, side, write_rows
from benchmarks.dpo import SHAPE, TINY, make_model
from benchmarks.ours_dpo import preference
from notus.engine.attention import packed
from notus.engine.load import base_model, load_model, save_model
from notus.engine.logps import completion_logps
from notus.engine.pack import PromptGroup, pack
from notus.engine.settings import Lora
from notus.engine.text.encoder import Encoder
from notus.train.batches import Forward, Item, completion_sums, encode_pairs
from notus.train.losses.base import PairLoss
from notus.train.losses.inputs import PairLogps
from notus.train.losses.objective import pair_losses, read_loss, reward_beta
from notus.train.losses.weighting import Wpo
from notus.train.trainer import pair_metrics

__all__ = ["LOSSES", "difference", "measure"]

LOSSES: dict[str, dict[str, Any]] = {
    "sigmoid": {},
    "robust": {"label_smoothing": 0.1},
    "hinge": {},
    "ipo": {},
    "exo_pair": {"label_smoothing": 1e-3},
    "nca_pair": {},
    "bco_pair": {},
    "sppo_hard": {},
    "aot": {"label_smoothing": 0.1},
    "aot_unpaired": {},
    "apo_zero": {},
    "apo_down": {},
    "discopop": {"tau": 0.05},
    "sft": {},
    "sigmoid_norm": {"beta": 5.0},
    "sigmoid, use_weighting": {},
}
"""TRL's name → options of ours, β of 0.1 left out."""
AGREES = 1e-4
LONGEST = 512
"""Tokens of the longest prompt and answer that are taken."""
MARGIN = 1.5
"""Mean margin at which a policy has moved enough: what fp32 rounds off TRL's sums of −1,000 and more, which are spaced
1e-4 apart, is small beside it, and no loss has come near 0."""


def measure(*, small: bool = False) -> dict[str, Any]:
    """Both sides' figures for each policy and loss, and the largest relative difference.

    Raises:
        RuntimeError: if a figure differs by more than 1e-4.
    """
    peer()
    rows = read_rows(real_data("ultrafeedback/binarized_1000.jsonl"))
    texts = [row[key] for row in rows for key in ("prompt", "chosen", "rejected")]
    shape = TINY if small else SHAPE
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        model, encoder = make_model(work / "reference", shape, texts[: 600 if small else None], PLAIN_TEMPLATE)
        pairs = _fitting(encoder, rows)[:8]
        file = str(write_rows(work / "pairs.jsonl", pairs))
        groups = [item.group for item in encode_pairs(encoder, [preference(row) for row in pairs])]
        asked = json.dumps(list(LOSSES.items()))
        found = {}
        for name, (policy, flags) in _policies(work, model, encoder, groups).items():
            theirs = side(
                *("trl_equality", "--reference", model, "--policy", policy, "--pairs", file, "--losses", asked, *flags)
            )
            ours = _ours(model, policy, groups)
            found[name] = {"ours": ours, "trl": theirs, "difference": difference(ours, theirs)}
    worst = max(item["difference"] for item in found.values())
    if worst > AGREES:
        raise RuntimeError(f"the two sides differ by {worst:.2g}: {json.dumps(found)}")
    return {"pairs": len(pairs), "largest_relative_difference": worst, "agrees_to": AGREES, "policies": found}


def difference(ours: dict[str, dict[str, float]], theirs: dict[str, dict[str, float]]) -> float:
    """Largest relative difference of a figure; up to 1e-6 absolute counts as none, for what is 0."""
    worst = 0.0
    for loss, figures in theirs.items():
        for name, value in figures.items():
            if name != "rewards/accuracies":  # a tie counts ½ in ours
                gap = abs(ours[loss][name] - value)
                worst = max(worst, 0.0 if gap <= 1e-6 else gap / max(abs(value), 1e-12))
    return worst


def _fitting(encoder: Encoder, rows: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Short pairs, which neither side cuts, and in which nobody typed a control token."""
    typed = encoder.tokenizer.get_added_vocab()
    kept = []
    for row in rows[:100]:
        item = encode_pairs(encoder, [preference(row)])[0]
        fits = len(item.group.prompt) + max(map(len, item.group.completions)) <= LONGEST
        plain = not any(token in row[key] for token in typed for key in ("prompt", "chosen", "rejected"))
        if fits and plain and row["chosen"] != row["rejected"]:
            kept.append(row)
    return kept


def _move(model: torch.nn.Module, plain: Any, groups: list[PromptGroup]) -> None:
    """Adam towards the chosen and away from the rejected answers, until the mean margin under β = 0.1 is ``MARGIN``."""
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.Adam(weights, lr=1e-3 if model is not plain else 1e-4)
    start = None
    with packed(plain):
        for _ in range(100):
            sums = torch.cat([completion_logps(plain, pack([group]))[0] for group in groups])
            gap = (sums[0::2] - sums[1::2]).mean()
            start = gap.item() if start is None else start
            if 0.1 * (gap.item() - start) >= MARGIN:
                return
            optimizer.zero_grad()
            (-gap).backward()
            optimizer.step()
    raise RuntimeError("the policy did not move")


def _policies(
    work: Path, reference: str, encoder: Encoder, groups: list[PromptGroup]
) -> dict[str, tuple[str, tuple[str, ...]]]:
    from notus.engine.adapters import add_adapter

    policy = load_model(reference).cpu()
    _move(policy, policy, groups)
    save_model(policy, encoder.tokenizer, work / "moved")
    adapted = add_adapter(load_model(reference).cpu(), Lora(rank=8, dropout=0.0), 0)
    save_model(adapted, encoder.tokenizer, work / "zero")
    _move(adapted, adapted.get_base_model(), groups)
    save_model(adapted, encoder.tokenizer, work / "lora")
    return {
        "full, as it starts": (reference, ()),
        "full, moved": (str(work / "moved"), ()),
        "LoRA, as it starts": (str(work / "zero"), ("--lora",)),
        "LoRA, moved": (str(work / "lora"), ("--lora",)),
    }


def _ours(reference: str, policy: str, groups: list[PromptGroup]) -> dict[str, dict[str, float]]:
    one = Forward(pack(groups), tuple(map(Item, groups)), torch.arange(2 * len(groups)), 2 * len(groups))
    found: list[torch.Tensor] = []
    against: list[torch.Tensor] = []
    for source, sums in ((policy, found), (reference, against)):
        model = load_model(source)
        with torch.no_grad(), packed(base_model(model)):
            of = completion_sums(model, one, collide=True)
        assert of.collisions is not None
        sums += [values.cpu()[side::2] for values in (of.sums, of.tokens, of.collisions) for side in (0, 1)]
    batch = PairLogps(
        *found[:2],
        *against[:2],
        chosen_tokens=found[2],
        rejected_tokens=found[3],
        chosen_collisions=found[4],
        rejected_collisions=found[5],
    )
    figures = {}
    for name, options in LOSSES.items():
        loss = read_loss({"name": name.partition(",")[0], **options}, PairLoss)
        weighting = Wpo(limit=None) if name.endswith("use_weighting") else None
        metrics = pair_metrics(batch, reward_beta(loss) if "beta" in loss.options() else 0.1)
        figures[name] = {
            "loss": float(pair_losses(loss, batch, weighting).mean()),  # type: ignore[arg-type]
            **{
                key: float(values.double().mean())
                for key, values in metrics.items()
                if key.startswith(("rew", "logps/c"))
            },
        }
    return figures
