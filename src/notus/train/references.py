"""The reference's log-probabilities: computed once, and kept under the hash of all that decides them.

What decides them is the model's weights, the precision, and the token ids of prompts and answers; tokenizer, template
and truncation are in the ids. Arms and reruns that share all of it share the file; a file that says otherwise than its
name is refused.
"""

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from notus.core.config import digest_of
from notus.core.errors import RunError
from notus.core.run import Run, hash_file
from notus.core.tables import read_table, write_table
from notus.models.pack import Group
from notus.train.settings import Training
from notus.train.sharing import share_branches

__all__ = ["kept_sums"]

Sums = list[tuple[float, ...]]


def kept_sums(
    run: Run, start: str, groups: Sequence[Group], settings: Training, compute: Callable[[Sequence[Group]], Sums]
) -> Sums:
    """Log-probabilities of all branches under the model that a run starts from, computed or read.

    Where prompts are shared, each prompt with one of its answers is computed once, however many groups hold it.

    Args:
        run: in an experiment the file lies beside its steps, so that arms share it; otherwise in the run itself.
        start: folder or hub id of the model. What lies on the hub may change under its name, and is not kept.
        groups: prompts with their branches.
        settings: precision and engine count.
        compute: does the work.

    Raises:
        RunError: if the file found does not belong to this model and these data.
    """
    if settings.share_prompts:
        merged, places = share_branches(groups, settings.max_tokens)
        sums = _kept(run, start, merged, settings, compute)
        return [tuple(sums[number][branch] for number, branch in of) for of in places]
    return _kept(run, start, groups, settings, compute)


def _kept(
    run: Run, start: str, groups: Sequence[Group], settings: Training, compute: Callable[[Sequence[Group]], Sums]
) -> Sums:
    weights = sorted(Path(start).glob("*.safetensors")) if Path(start).is_dir() else []
    if not groups:
        return []
    if not weights:
        return compute(groups)
    identity = {
        "model": {path.name: hash_file(path) for path in weights},
        "precision": settings.precision,
        "engine": settings.engine,
        "max_tokens": settings.max_tokens if settings.engine == "packed" else settings.micro_batch_size,
        "data": digest_of([[group.prompt, list(group.branches)] for group in groups]),
    }
    folder = run.path.parent.parent if run.path.parent.name == "steps" else run.path
    path = folder / "references" / f"{digest_of(identity)}.parquet"
    if path.is_file():
        return _read(path, identity, groups)
    sums = compute(groups)
    path.parent.mkdir(exist_ok=True)
    rows = [{"group": g, "branch": b, "logp": value} for g, of in enumerate(sums) for b, value in enumerate(of)]
    write_table(path, [*rows, {"group": -1, "identity": json.dumps(identity, sort_keys=True)}])
    return sums


def _read(path: Path, identity: Mapping[str, object], groups: Sequence[Group]) -> Sums:
    *rows, last = read_table(path)
    if last["identity"] != json.dumps(identity, sort_keys=True) or len(rows) != sum(len(g.branches) for g in groups):
        raise RunError(f"{path} holds the reference of another model or other data; remove it and run again")
    values = iter(row["logp"] for row in rows)
    return [tuple(next(values) for _ in group.branches) for group in groups]
