"""What can be said of steps before any of them works: errors that would come late, and settings that nothing reads.

A recipe may train for hours before the step that cannot work is reached. What its settings, the files that it names and
the configuration of its models already tell is told here: without weights, without a network, and without torch but
where an adapter's targets are looked up in the model, which is built on the meta device for that.

Owns what is looked at. The plan is made in ``recipes.recipe``; what needs the weights is tried by ``train.run.trial``
when a training begins.
"""

import importlib.util
import json
import math
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from notus.core.artifacts import HELD_OUT, PROMPTS, artifacts_in, find_model
from notus.core.errors import ConfigError, InputError, nearest
from notus.core.records import Preference
from notus.core.run import MANIFEST
from notus.core.tables import count_rows, table_exists
from notus.core.text import HubId
from notus.engine.settings import Limits, Sampling, Shape
from notus.steps.base import HELD, Step, held_out_beside, open_records, refs_of
from notus.train.run.trackers import check_trackers

if TYPE_CHECKING:  # every command looks at its one step, and imports no other for that
    from notus.rankers.settings import Ranking
    from notus.recipes.recipe import Plan

__all__ = ["Finding", "check_plan", "check_step", "refuse_faults"]

_COUNTED = 64 * 2**20
"""Bytes of a text file up to which its lines are counted."""


@dataclass(frozen=True)
class Finding:
    """Something that is wrong with a step before it works."""

    step: str
    text: str
    fault: bool
    """Whether the step would stop; otherwise a setting has no effect, which is as little what somebody wanted."""

    def __str__(self) -> str:
        """One line."""
        return f"step '{self.step}': {'' if self.fault else 'a setting has no effect: '}{self.text}"


@dataclass(frozen=True)
class _Known:
    """A step with what it reads."""

    name: str
    config: Step
    given: Mapping[str, str]
    """Setting → path or hub id."""
    before: Mapping[str, "_Known"]
    """Setting → the step that makes it."""


def check_plan(plan: "Plan", *, until: str | None = None, out: Path | None = None) -> list[Finding]:
    """Look at the steps of a plan that are to be done.

    Args:
        plan: of a recipe.
        until: name of the last kind of step to do; None does all.
        out: where it is run: what is done there already is not looked at.
    """
    from notus.recipes.execute import steps_until

    wanted = steps_until(plan, until)
    known: dict[str, _Known] = {}
    found: dict[Finding, None] = {}
    for digest, step in plan.steps.items():  # each comes after what it needs
        before = {key: known[needed] for key, needed in step.needs.items()}
        known[digest] = _Known(step.name, step.config, step.given, before)
        if digest in wanted and (out is None or not (out / "steps" / step.folder / MANIFEST).is_file()):
            found |= dict.fromkeys(_look(known[digest]))
    return list(found)


def check_step(name: str, config: Step) -> list[Finding]:
    """Look at a single step whose settings name files."""
    return list(_look(_Known(name, config, refs_of(config), {})))


def refuse_faults(findings: list[Finding], where: str) -> None:
    """Stop where a step could not work, or would not do what a setting says.

    Raises:
        ConfigError: with a line for each fault.
    """
    faults = [str(finding) for finding in findings]
    if len(faults) > 1:
        raise ConfigError("\n  ".join([f"{where}: {len(faults)} errors in what is to be done:", *faults]))
    if faults:
        raise ConfigError(f"{where}: {faults[0]}")


def _look(step: _Known) -> Iterator[Finding]:
    for fault, checks in ((True, _FAULTS), (False, _IDLE)):
        for names, check in checks:
            if _is(step.config, *names):
                yield from (Finding(step.name, text, fault) for text in _told(check, step))


def _is(config: object, *names: str) -> bool:
    """Whether settings are those of one of our steps; told by the name of its class, so that no step is imported."""
    return any(kind.__name__ in names and kind.__module__.startswith("notus.") for kind in type(config).__mro__)


def _told(check: "_Check", step: _Known) -> Iterator[str]:
    """What a check says; an error that it comes upon is what the step would come upon."""
    try:
        yield from check(step)
    except InputError as error:
        yield str(error)


def _trackers(step: _Known) -> Iterator[str]:
    config: Any = step.config
    for name in config.report_to:
        try:
            check_trackers([name])
        except InputError as error:
            yield str(error)


def _warmup(step: _Known) -> Iterator[str]:
    config: Any = step.config
    rows = _rows_at_most(step)
    if not rows or not config.warmup:
        return
    from notus.train.losses.base import UnpairedLoss

    doubled = isinstance(getattr(config, "loss", None), UnpairedLoss) or getattr(config, "form", "") == "pairrm"
    updates = math.ceil(rows * (2 if doubled else 1) / config.batch_size * config.epochs)
    if updates <= math.ceil(config.warmup * updates):
        yield (
            f"warmup {config.warmup} of at most {updates} update{'s' * (updates > 1)} leaves none with a learning rate "
            f"above 0 ({rows:,} rows, batch_size {config.batch_size}, epochs {config.epochs:g}); set warmup to 0, or "
            "train on more"
        )


def _positions(step: _Known) -> Iterator[str]:
    config: Any = step.config
    limits: Limits = config.limits
    start = _start(step)
    if start is None or getattr(config, "form", "") == "pairrm":
        return
    if isinstance(start, Shape):
        longest, name = start.positions, "the model that is made"
    else:
        model = _config_of(start)
        longest = model.get("max_position_embeddings") or model.get("text_config", {}).get("max_position_embeddings")
        name = start
    if isinstance(longest, int) and limits.max_length > longest:
        yield (
            f"limits.max_length {limits.max_length} is above the {longest} positions of {name}; set it to at most "
            f"{longest} (--set limits.max_length={longest})"
        )


def _adapter(step: _Known) -> Iterator[str]:
    config: Any = step.config
    lora, start = config.lora, _start(step)
    if lora is not None and "start" in step.before and getattr(step.before["start"].config, "lora", None):
        yield (
            f"'start' is '{step.before['start'].name}', which leaves an adapter, and 'lora' asks for another one on "
            "it; train on from it without 'lora'"
        )
        return
    if lora is None or start is None or importlib.util.find_spec("peft") is None:
        return
    if isinstance(start, str) and (Path(start) / "adapter_config.json").is_file():
        yield (
            f"{start} has an adapter already; train on from it without 'lora', or make it a plain model first: notus "
            "merge ADAPTER --out DIR"
        )
        return
    if isinstance(start, str) and not _config_of(start):
        return
    from notus.train.run.trial import try_targets

    try_targets(start, lora)


def _held_out_of_pairs(step: _Known) -> Iterator[str]:
    if (lacking := _without_held_out(step, "pairs")) is not None:
        yield f"'pairs' is {lacking}, which holds no pair out; set its held_out above 0"


def _held_out_prompts(step: _Known) -> Iterator[str]:
    if getattr(step.config, "prompts", "held-out") != "held-out":
        return
    before = step.before.get("data")
    if before is not None and before.config.leaves and PROMPTS not in before.config.leaves:
        yield f"'data' is '{before.name}', which leaves no prompts for evaluation; set prompts: records"
    given = Path(step.given.get("data", ""))
    table = PROMPTS.at(given) if given.is_dir() else given
    if "data" in step.given and not (table.suffix == ".parquet" and table_exists(table)):
        yield f"{given} holds no {PROMPTS.file}; set prompts: records, or name a step that leaves one"


def _held_out_of_feedback(step: _Known) -> Iterator[str]:
    config: Any = step.config
    given = step.given.get("path")
    if given is None or not (config.held_out or config.fold) or not Path(given).exists():
        return
    source = open_records(config, given)
    if source.record is not Preference:
        yield (
            f"{source.name} holds {HELD[source.record]}, and only preference pairs are held out; leave "
            f"{'fold' if config.fold else 'held_out'} out"
        )


def _reference(step: _Known) -> Iterator[str]:
    from notus.train.losses.objective import needs

    config: Any = step.config
    if config.reference is not None and not {"reference", "prefix"} & set(needs(config.loss)):
        yield "'reference' names a model, and the loss compares with none; leave it out"


def _held_out_by(step: _Known) -> Iterator[str]:
    config: Any = step.config
    if config.held_out_by != type(config).model_fields["held_out_by"].default and not config.held_out:
        yield f"held_out_by is '{config.held_out_by}', and nothing is held out (held_out 0)"


def _held_out_before(step: _Known) -> Iterator[str]:
    config: Any = step.config
    given = step.given.get("path" if _is(config, "Read") else "pairs")
    if given is None or not Path(given).exists() or not config.held_out or "held_out" not in config.model_fields_set:
        return
    if held_out_beside(open_records(config, given)):
        yield f"held_out is {config.held_out}, and {given} holds pairs that were held out before, which are taken"


def _endpoint(step: _Known) -> Iterator[str]:
    config: Any = step.config
    if config.model is None:
        if config.limits != Limits():
            yield "'limits' are those of a model, and an endpoint answers, which has its own"
        if "batch_size" in config.sampling.model_fields_set:
            yield "sampling.batch_size is that of a model, and an endpoint answers"


def _greedy(step: _Known) -> Iterator[str]:
    config: Any = step.config
    sampling: Sampling = config.sampling
    if sampling.temperature == 0:
        for name, usual in (("samples", 1), ("top_p", 1.0), ("top_k", 0)):
            if getattr(sampling, name) != usual:
                yield f"sampling.{name} is {getattr(sampling, name)}, and temperature 0 takes the likeliest token"


_READ_BY: Mapping[str, frozenset[str]] = {
    "length": frozenset(),
    "python": frozenset(),
    "pairrm": frozenset(["selection", "seed", "max_tokens", "precision", "budget"]),
    "reward-model": frozenset(["max_tokens", "precision", "limits"]),
    "classifier": frozenset(["max_tokens", "precision", "limits"]),
    "implicit": frozenset(["max_tokens", "limits"]),
    "judge": frozenset(["judging", "judge_tokens", "tries", "rubric"]),
}
"""Kind of ranker → the settings of ``ranking`` that it reads."""


def _ranking(step: _Known) -> Iterator[str]:
    config: Any = step.config
    ranking: Ranking = config.ranking
    kind = str(config.ranker).partition(":")[0]
    if kind not in _READ_BY:
        return
    for name in sorted(ranking.model_fields_set - _READ_BY[kind]):
        known = sorted(_READ_BY[kind])
        yield f"ranking.{name} is set, and '{kind}' reads {nearest(name, known) if known else 'none of ranking'}"


def _label(step: _Known) -> Iterator[str]:
    """A label that a classifier in a folder does not have."""
    from notus.rankers.labels import check_label, read_labels
    from notus.rankers.ref import RankerRef

    config: Any = step.config
    texts = config.rankers if "rankers" in type(config).model_fields else (config.ranker,)
    number = 0
    for text in texts:
        ref = RankerRef.read(text)
        own = [step.given.get(f"models.{number + place}", "") for place in range(len(ref.references))]
        number += len(own)
        labels = read_labels(find_model(own[0])) if ref.label and own[0] and Path(own[0]).exists() else None
        if labels is not None:
            try:
                check_label(own[0], ref.label, labels)
            except ConfigError as error:
                yield str(error)


_Check = Callable[[_Known], Iterator[str]]
_FAULTS: tuple[tuple[tuple[str, ...], _Check], ...] = (
    (("Updates",), _trackers),
    (("Updates",), _warmup),
    (("Sft", "Dpo", "TrainRanker"), _positions),
    (("Sft", "Dpo"), _adapter),
    (("Rewards",), _held_out_of_pairs),
    (("RewardCheck", "JudgeTrial"), _label),
    (("Sample", "Success"), _held_out_prompts),
    (("Read",), _held_out_of_feedback),
)
"""Which steps → what would stop them."""
_IDLE: tuple[tuple[tuple[str, ...], _Check], ...] = (
    (("Dpo",), _reference),
    (("Read", "Binarize", "TrainRanker"), _held_out_by),
    (("Read", "TrainRanker"), _held_out_before),
    (("Sample",), _endpoint),
    (("Sample", "Success"), _greedy),
    (("Rank", "RewardCheck"), _ranking),
)
"""Which steps → which of their settings have no effect."""


def _start(step: _Known) -> str | Shape | None:
    """What a training begins with: a folder, a hub id, the shape of a model that is made; None if it is not known."""
    while True:
        if "start" in step.given:
            return find_model(step.given["start"])
        if "start" not in step.before:
            return None
        step = step.before["start"]
        config: Any = step.config
        if _is(config, "Create"):
            shape: Shape = config.shape
            return shape
        if not _is(config, "Sft", "Dpo"):
            return None


def _rows_at_most(step: _Known) -> int | None:
    """Rows that a training reads at most; None where that is not known."""
    key = "data" if _is(step.config, "Sft") else "pairs"
    limit: int | None = getattr(step.config, "limit", None)
    if key in step.before:
        before = step.before[key]
        if not _is(before.config, "Read"):
            return None
        limit, given = getattr(before.config, "limit", None), before.given.get("path", "")
    else:
        given = step.given.get(key, "")
    rows = _count(Path(given)) if given else None
    return rows if limit is None or rows is None else min(rows, limit)


def _count(place: Path) -> int | None:
    """Rows of a run directory's records, or lines of a file; None where that would take long, or is something else."""
    if place.is_dir():
        found = artifacts_in(place)
        return _count(found[0].at(place)) if found else None
    if place.suffix == ".parquet" and place.is_file():
        return count_rows(place)
    if place.suffix in (".jsonl", ".csv") and place.is_file() and place.stat().st_size <= _COUNTED:
        with place.open("rb") as file:
            return sum(1 for _ in file)
    return None


def _without_held_out(step: _Known, key: str) -> str | None:
    """The name of what a setting refers to, where it is known that nothing is held out there."""
    if key in step.given:
        place = Path(step.given[key])
        return str(place) if place.exists() and not table_exists(HELD_OUT.at(place)) else None
    before = step.before.get(key)
    if before is None:
        return None
    config: Any = before.config
    if _is(config, "Binarize") and not config.held_out and not config.test_pairs():
        return f"'{before.name}'"
    if _is(config, "Read") and not config.held_out and not config.fold:
        given = before.given.get("path")
        if given is not None and Path(given).exists() and not table_exists(HELD_OUT.at(Path(given))):
            return f"'{before.name}'"
    return None


def _config_of(start: str) -> dict[str, Any]:
    """The configuration of a model on this machine; empty where it is not here."""
    folder = Path(start)
    if (folder / "adapter_config.json").is_file():
        base = str(_read_json(folder / "adapter_config.json").get("base_model_name_or_path"))
        return _config_of(str(folder / base) if base.startswith(".") else base)
    if folder.is_dir():
        return _read_json(folder / "config.json")
    on_hub = HubId.parse(start)
    if on_hub is None or importlib.util.find_spec("huggingface_hub") is None:
        return {}
    from huggingface_hub import try_to_load_from_cache

    cached = try_to_load_from_cache(on_hub.name, "config.json", revision=on_hub.revision)
    return _read_json(Path(cached)) if isinstance(cached, str) else {}


def _read_json(path: Path) -> dict[str, Any]:
    try:
        found = json.loads(path.read_bytes())
    except (OSError, ValueError):
        return {}
    return found if isinstance(found, dict) else {}
