"""The reference's log-probabilities: computed once, and kept under the hash of all that decides them.

What decides them is the model's weights and configuration, an adapter's settings and base, the types they are kept and
computed in, the kernels and the passes, and the token ids of prompts and answers; tokenizer, template and truncation
are in the ids. Arms and reruns that share all of it share the file; a file that says otherwise than its name is
refused.
"""

import json
import re
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from notus.core.config import digest_of
from notus.core.disk.hashes import hash_file
from notus.core.errors import RunError
from notus.core.run import Run
from notus.core.tables import read_table, write_table
from notus.core.text import HubId
from notus.engine.bases import base_of, is_adapter, read_adapter_settings
from notus.engine.cpu.switch import find_reason
from notus.engine.load import weight_files
from notus.engine.pack import PromptGroup, merge_completions
from notus.train.settings import Training

__all__ = ["identity_of_model", "kept_batch_sums", "kept_sums"]

Sums = list[tuple[float, ...]]
_RESULTS = 1
"""Raised by one whenever the same model and data give other bits than before."""
_PLACE = ("base_model_name_or_path", "revision")
"""Settings of an adapter that say where its base is, which counts by its content."""
_COMMIT = re.compile(r"[0-9a-f]{40}")


def kept_sums(
    run: Run,
    start: str,
    groups: Sequence[PromptGroup],
    settings: Training,
    compute: Callable[[Sequence[PromptGroup]], Sums],
) -> Sums:
    """Log-probabilities of all completions under the model that a run starts from, computed or read.

    Where prompts are shared, each prompt with one of its answers is computed once, however many groups hold it.

    Args:
        run: in an experiment the file lies beside its steps, so that arms share it; otherwise in the run itself.
        start: folder or hub id of the model. What lies on the hub may change under its name, and is kept only where a
            commit is named.
        groups: prompts with their completions.
        settings: precision and engine count.
        compute: does the work.

    Raises:
        RunError: if the file found does not belong to this model and these data.
    """
    merged, places = list(groups), None
    if settings.share_prompts:
        merged, places = merge_completions(groups, settings.tokens)
    identity = _identity(start, settings, merged)
    sums = _read_or_compute(run, identity, [len(group.completions) for group in merged], lambda: compute(merged))
    return sums if places is None else [tuple(sums[number][completion] for number, completion in of) for of in places]


def kept_batch_sums(
    run: Run,
    start: str,
    groups: Sequence[Sequence[PromptGroup]],
    settings: Training,
    passes: object,
    compute: Callable[[], Sums],
) -> Sums:
    """Log-probabilities as ``train.batches.batch_sums`` gives them, computed or read.

    Arguments and errors are those of ``kept_sums``; ``groups`` are those of each item, and ``passes`` are plain values
    that say which items stand together in a pass.
    """
    identity = _identity(start, settings, [group for of in groups for group in of]) | {"passes": digest_of(passes)}
    sizes = [sum(len(group.completions) * min(len(group.completions), 2) for group in of) for of in groups]
    return _read_or_compute(run, identity, sizes, compute)


def _identity(start: str, settings: Training, groups: Sequence[PromptGroup]) -> dict[str, Any]:
    """What decides the numbers; its ``model`` is empty where the model may change under its name."""
    split = settings.micro_batch_size or settings.max_tokens if settings.engine == "padded" else settings.tokens
    return {
        "results": _RESULTS,
        "kernels": find_reason() is None,
        "model": identity_of_model(start),
        "precision": settings.computing,
        "engine": "padded" if settings.engine == "padded" else "packed",
        "max_tokens": split,
        "data": digest_of([_described(group) for group in groups]),
        **({} if settings.dtype == "float32" else {"dtype": settings.dtype}),
    }


def identity_of_model(start: str) -> dict[str, str]:
    """What tells a model from another: the hashes of its weights, an adapter's with its base's, or a commit of the hub.

    Empty where the model may change under its name.
    """
    if is_adapter(start):
        on_base = str(HubId(base_of(Path(start)), read_adapter_settings(Path(start)).get("revision")))
        base = identity_of_model(on_base)
        own = {path.name: hash_file(path) for path in Path(start).glob("adapter_*") if path.suffix == ".safetensors"}
        settings = {key: value for key, value in read_adapter_settings(Path(start)).items() if key not in _PLACE}
        own["adapter_config.json"] = digest_of(settings)
        return base and {**{f"base/{name}": value for name, value in base.items()}, **own}
    if Path(start).is_dir():
        weights, config = weight_files(start), Path(start) / "config.json"
        files = [*weights, config] if weights and config.is_file() else weights
        return {path.name: hash_file(path) for path in files}
    on_hub = HubId.parse(start)
    pinned = on_hub is not None and on_hub.revision is not None and _COMMIT.fullmatch(on_hub.revision)
    return {"hub": start} if pinned else {}


def _read_or_compute(run: Run, identity: Mapping[str, Any], sizes: Sequence[int], compute: Callable[[], Sums]) -> Sums:
    if not sizes:
        return []
    if not identity["model"]:
        return compute()
    folder = run.path.parent.parent if run.path.parent.name == "steps" else run.path
    path = folder / "references" / f"{digest_of(identity)}.parquet"
    if path.is_file():
        return _read(path, identity, sizes)
    sums = compute()
    path.parent.mkdir(exist_ok=True)
    # The stored column of a completion keeps its first name, "branch": files of before stay readable.
    rows = [{"group": g, "branch": b, "logp": value} for g, of in enumerate(sums) for b, value in enumerate(of)]
    write_table(path, [*rows, {"group": -1, "identity": json.dumps(identity, sort_keys=True)}])
    return sums


def _described(group: PromptGroup) -> list[object]:
    marks = [] if group.trained is None else [list(group.trained)]
    return [group.prompt, list(group.completions), *marks]


def _read(path: Path, identity: Mapping[str, Any], sizes: Sequence[int]) -> Sums:
    *rows, last = read_table(path)
    if last["identity"] != json.dumps(identity, sort_keys=True) or len(rows) != sum(sizes):
        raise RunError(f"{path} holds the reference of another model or other data; remove it and run again")
    values = iter(row["logp"] for row in rows)
    return [tuple(next(values) for _ in range(size)) for size in sizes]
