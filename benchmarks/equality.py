"""The same numbers as TRL 1.16: loss and rewards on one real batch, for every loss that both have.

Four policies against one reference: the reference itself, one that took a few steps towards the chosen answers, and the
same two with LoRA, so that the margins are 0 and not 0. Ours computes packed, a prompt once for both answers; TRL pads.
A batch agrees when loss, rewards and margins differ by no more than 1e-4 relative, or 1e-6 absolute where they are 0.

What is called otherwise: TRL's ``ipo`` is ours by mean (``ipo_mean``), ``exo_pair`` is ``exo``, ``nca_pair`` is
``nca``. What is another thing, and not compared: TRL ignores ``label_smoothing`` with ``sigmoid``, where ours is
``cdpo``; its ``bco_pair`` has no shift, and is the same only while ours is 0, as it is here; its ``sft`` is a mean over
the tokens of the batch, ours over pairs. A tie counts 0 in TRL's reward accuracy and ½ in ours.
"""

import json
import tempfile
from pathlib import Path
from typing import Any

import torch

from benchmarks.common import PLAIN_TEMPLATE, peer, read_rows, real_data, side, write_rows
from benchmarks.dpo import SHAPE, TINY, make_model
from benchmarks.ours_dpo import preference
from notus.models.attention import packed
from notus.models.local import load_model, save_model
from notus.models.logps import all_branch_logps, branch_logps
from notus.models.pack import Group, pack
from notus.models.settings import Lora
from notus.models.tokens import Encoder
from notus.train import loss_settings as losses
from notus.train.loss_inputs import PairLogps
from notus.train.losses import pair_losses
from notus.train.runs import encode_pairs
from notus.train.trainer import pair_metrics

__all__ = ["LOSSES", "difference", "measure"]

LOSSES: dict[str, losses.Loss] = {
    "sigmoid": losses.Sigmoid(),
    "robust": losses.Robust(label_smoothing=0.1),
    "hinge": losses.Hinge(),
    "ipo": losses.IpoMean(),
    "exo_pair": losses.Exo(label_smoothing=1e-3),
    "nca_pair": losses.Nca(),
    "bco_pair": losses.Bco(),
    "sppo_hard": losses.SppoHard(),
    "apo_zero": losses.ApoZero(),
    "apo_down": losses.ApoDown(),
    "discopop": losses.Discopop(tau=0.05),
    "sigmoid_norm": losses.SigmoidNorm(beta=5.0),
}
"""TRL's name → our loss."""
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
        asked = json.dumps([[name, loss.options()] for name, loss in LOSSES.items()])
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
        fits = len(item.group.prompt) + max(map(len, item.group.branches)) <= LONGEST
        plain = not any(token in row[key] for token in typed for key in ("prompt", "chosen", "rejected"))
        if fits and plain and row["chosen"] != row["rejected"]:
            kept.append(row)
    return kept


def _move(model: torch.nn.Module, plain: Any, groups: list[Group]) -> None:
    """Adam towards the chosen and away from the rejected answers, until the mean margin under β = 0.1 is ``MARGIN``."""
    weights = [weight for weight in model.parameters() if weight.requires_grad]
    optimizer = torch.optim.Adam(weights, lr=1e-3 if model is not plain else 1e-4)
    start = None
    with packed(plain):
        for _ in range(100):
            sums = torch.cat([branch_logps(plain, pack([group]))[0] for group in groups])
            gap = (sums[0::2] - sums[1::2]).mean()
            start = gap.item() if start is None else start
            if 0.1 * (gap.item() - start) >= MARGIN:
                return
            optimizer.zero_grad()
            (-gap).backward()
            optimizer.step()
    raise RuntimeError("the policy did not move")


def _policies(
    work: Path, reference: str, encoder: Encoder, groups: list[Group]
) -> dict[str, tuple[str, tuple[str, ...]]]:
    from notus.models.adapters import add_adapter

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


def _ours(reference: str, policy: str, groups: list[Group]) -> dict[str, dict[str, float]]:
    sums = []
    for source in (policy, reference):
        model = load_model(source)
        plain = model.get_base_model() if hasattr(model, "get_base_model") else model
        sums.append(torch.tensor(all_branch_logps(plain, groups, 2048), dtype=torch.float64))
    tokens = torch.tensor([[len(branch) for branch in group.branches] for group in groups])
    batch = PairLogps(
        *(sums[0][:, 0], sums[0][:, 1], sums[1][:, 0], sums[1][:, 1]),
        chosen_tokens=tokens[:, 0],
        rejected_tokens=tokens[:, 1],
        shift=0.0,
    )
    found = {}
    for name, loss in LOSSES.items():
        told = pair_metrics(batch, loss.options()["beta"])
        found[name] = {
            "loss": float(pair_losses(loss, batch).mean()),  # type: ignore[arg-type]
            **{
                key: float(values.double().mean()) for key, values in told.items() if key.startswith(("rew", "logps/c"))
            },
        }
    return found
