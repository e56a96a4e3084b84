"""Mixtures: several sources in one training, with weights, caps and an order.

    data: [{from: ultrafeedback, weight: 2, cap: 10000}, {from: helpsteer}]
    order: mixed | one-after-another

Without weights every row is trained on once in an epoch. With weights an epoch has as many rows as all sources together
(after their caps), and each source its share w_i / Σ w of them: of a source that has more, some are left out; the rows
of one that has fewer come several times. Which rows is decided by the seed alone, once, and holds for all epochs.

Owns the settings, the drawing, the counts of each source, and the figures on its held-out rows. No torch where settings
are read. Which tables a source is read from is owned by ``steps.train.data``, the order within an epoch by
``train.batches``.
"""

import random
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any, ClassVar, Generic, Literal, TypeVar

import pydantic

from notus.core.config import Alias, Config
from notus.core.errors import ConfigError
from notus.core.records import Dialogue, Preference, Unpaired, prompt_id
from notus.core.stage import Tally

if TYPE_CHECKING:  # torch and NumPy are not imported where settings are read
    from notus.stats.intervals import Estimate
    from notus.train.batches import Item
    from notus.train.trainer import UpdateTrainer

__all__ = ["Mixture", "Order", "Portion", "Source", "draw_rows", "in_several", "measure_sources", "read_portions"]

Order = Literal["mixed", "one-after-another"]
R = TypeVar("R", Dialogue, Preference, Unpaired)
_Row = Dialogue | Preference | Unpaired


class Portion(Config):
    """One of several sources."""

    aliases: ClassVar[Mapping[str, Alias]] = {"from": "source", "path": "source"}
    source: str = pydantic.Field(min_length=1)
    """A step of the recipe, a run directory; also called ``from`` or ``path``."""
    weight: float | None = pydantic.Field(default=None, gt=0)
    """Its share of an epoch's rows, relative to the others' (1 where another has a weight); null everywhere takes each
    row once."""
    cap: int | None = pydantic.Field(default=None, ge=1)
    """At most so many of its rows, drawn by the seed."""


def read_portions(value: Any) -> Any:
    """What a setting of one or several sources says: a single one without a cap is its name alone.

    Raises:
        ValueError: if one of several is neither a name nor a portion.
    """
    if not isinstance(value, list | tuple):
        return value
    try:
        found = tuple(
            each
            if isinstance(each, Portion)
            else Portion.parse(each if isinstance(each, Mapping) else {"source": each}, where="one of the sources")
            for each in value
        )
    except ConfigError as error:
        raise ValueError(str(error)) from None
    return found[0].source if len(found) == 1 and found[0].cap is None else found


@dataclass(frozen=True)
class Source(Generic[R]):
    """The rows of one source, and those that it holds out."""

    name: str
    rows: Sequence[R]
    held_out: Sequence[Any] = ()
    portion: Portion | None = None
    times: float = 1.0
    """How often each row is trained on in an epoch, in the mean: at least 1."""
    counts: tuple[tuple[str, int], ...] = ()
    """What became of its rows: ``rows``, ``over-cap``, ``not-drawn``."""


@dataclass(frozen=True)
class Mixture:
    """What a training knows of its sources, whose rows are given to it one source after the other."""

    names: tuple[str, ...]
    rows: tuple[int, ...]
    """Rows of each."""
    held_out: tuple[int, ...]
    """Held-out rows of each."""
    times: tuple[float, ...]
    counts: tuple[tuple[tuple[str, int], ...], ...]
    order: Order
    seed: int

    @classmethod
    def of(cls, sources: Sequence[Source[Any]], order: Order, seed: int) -> "Mixture":
        """The mixture of sources that were drawn."""
        return cls(
            tuple(each.name for each in sources),
            tuple(len(each.rows) for each in sources),
            tuple(len(each.held_out) for each in sources),
            tuple(each.times for each in sources),
            tuple(each.counts for each in sources),
            order,
            seed,
        )

    def encode(self, encode: "Callable[[Any], list[Item]]", rows: Sequence[Any], sizes: Sequence[int]) -> "list[Item]":
        """Items of the rows of all sources, each with the number of its source."""
        items, start = [], 0
        for number, size in enumerate(sizes):
            items += [replace(item, source=number) for item in encode(rows[start : start + size])]
            start += size
        return items

    def repeat(self, items: "Sequence[Item]", tally: Tally) -> "list[Item]":
        """The items of an epoch: those of a source whose share is larger than it has rows come several times.

        Args:
            items: each once.
            tally: receives the count ``row-repeated``.
        """
        found: list[Item] = []
        for number, times in enumerate(self.times):
            own = [item for item in items if item.source == number]
            whole, part = int(times), times - int(times)
            for copy in range(whole):
                found += [replace(item, copy=copy) for item in own] if copy else own
            places = _places(len(own), round(part * len(own)), self.seed, number, "repeat")
            found += [replace(own[place], copy=whole) for place in places]
        if len(found) > len(items):
            tally.count("row-repeated", len(found) - len(items))
        return found

    def count(self, items: "Sequence[Item]", held_out: "Sequence[Item]") -> dict[str, dict[str, Any]]:
        """Name of each source → its rows and tokens in an epoch, and what was left out.

        ``tokens`` are those of prompts and answers, ``trained_tokens`` those that count.
        """
        found: dict[str, dict[str, Any]] = {}
        for number, name in enumerate(self.names):
            own = [item for item in items if item.source == number]
            found[name] = {
                **dict(self.counts[number]),
                "rows": len(own),
                "repeated": sum(bool(item.copy) for item in own),
                "share": len(own) / len(items),
                "tokens": sum(item.group.tokens for item in own),
                "trained_tokens": sum(item.answered for item in own),
                "held_out_rows": sum(item.source == number for item in held_out),
            }
        return found


def draw_rows(sources: Sequence[Source[R]], seed: int, tally: Tally, setting: str) -> list[Source[R]]:
    """Which rows of each source are trained on: its cap first, then its share.

    Args:
        sources: with their portions.
        seed: decides which.
        tally: receives the rows: ``over-cap`` and ``not-drawn`` are dropped, and asked for by the setting.
        setting: that names the sources, for the tally.
    """
    capped = []
    for number, each in enumerate(sources):
        cap = each.portion.cap if each.portion else None
        capped.append(_keep(each, cap, seed, number, tally, ("over-cap", f"{setting}.cap")))
    portions = [each.portion or Portion(source=each.name) for each in sources]
    if all(portion.weight is None for portion in portions):
        return _counted(capped, tally)
    weights = [portion.weight or 1.0 for portion in portions]
    total = sum(len(each.rows) for each in capped)
    drawn = []
    for number, each in enumerate(capped):
        target = weights[number] / sum(weights) * total
        if target < len(each.rows):
            wanted = max(1, round(target))
            drawn.append(_keep(each, wanted, seed, number, tally, ("not-drawn", f"{setting}.weight")))
        else:
            drawn.append(replace(each, times=target / len(each.rows) if each.rows else 1.0))
    return _counted(drawn, tally)


def _counted(sources: list[Source[R]], tally: Tally) -> list[Source[R]]:
    left = sum(len(each.rows) for each in sources)
    tally.taken += left + sum(number for each in sources for _, number in each.counts)
    tally.given += left
    return sources


def _keep(
    source: Source[R], count: int | None, seed: int, number: int, tally: Tally, why: tuple[str, str]
) -> Source[R]:
    if count is None or count >= len(source.rows):
        return source
    reason, asked_by = why
    kept = set(_places(len(source.rows), count, seed, number, reason))
    for place, row in enumerate(source.rows):
        if place not in kept:
            tally.drop(row.id, reason, f"of {source.name}", at=row, asked_by=asked_by)
    rows = [row for place, row in enumerate(source.rows) if place in kept]
    left = (reason.replace("-", "_"), len(source.rows) - len(rows))
    return replace(source, rows=rows, counts=(*source.counts, left))


def _places(size: int, count: int, seed: int, number: int, what: str) -> list[int]:
    """So many places of a source, drawn without replacement, in their order. A text seeds the same everywhere."""
    return sorted(random.Random(f"{what} {seed} {number}").sample(range(size), count))


def in_several(sources: Sequence[Source[Any]]) -> dict[str, int]:
    """What sources have in common: ``rows`` and ``prompts`` of a source that stand in one before it, too, and
    ``leaks``, held-out rows whose prompt another source trains on. What is 0 is left out.
    """
    rows: set[str] = set()
    prompts: list[set[str]] = [{_prompt_of(row) for row in each.rows} for each in sources]
    found: Counter[str] = Counter()
    for number, each in enumerate(sources):
        own = {row.id for row in each.rows}
        found["rows"] += len(own & rows)
        rows |= own
        before = set().union(*prompts[:number])
        found["prompts"] += len(prompts[number] & before)
        others = set().union(*prompts[:number], *prompts[number + 1 :])
        found["leaks"] += sum(_prompt_of(row) in others for row in each.held_out)
    return {name: number for name, number in found.items() if number}


def _prompt_of(row: _Row) -> str:
    if not isinstance(row, Dialogue):
        return row.prompt_id
    turns = enumerate(row.messages)
    first = next((place for place, turn in turns if place and turn.role == "assistant"), len(row.messages))
    return prompt_id(row.messages[:first])


def measure_sources(trainer: "UpdateTrainer", held_out: "Sequence[Item]", names: Sequence[str]) -> dict[str, Any]:
    """Loss and, of preferences, accuracy on the held-out rows of each source, with n and intervals over prompts.

    The loss is that of the source's rows alone, as ``UpdateTrainer.measured`` gives it. Its interval is that of a ratio
    of sums: with losses l and weights t of the rows, the clustered interval of r + (l − r·t) / t̄ (Cochran 1977,
    *Sampling Techniques*, equation 6.13).

    Returns:
        Name → {``loss``, ``accuracy``}, each an estimate as JSON, or a plain number where fewer than two prompts are
        held out; a source that holds out nothing is not in it.
    """
    from notus.engine.pack import prompt_numbers
    from notus.stats.intervals import clustered_mean, wilson_if_unanimous

    found: dict[str, Any] = {}
    for number, name in enumerate(names):
        items = [item for item in held_out if item.source == number]
        if not items:
            continue
        losses, accuracies = _row_figures(trainer, items)
        weights = [trainer.weight_of([item]) for item in items]
        clusters = prompt_numbers([item.group for item in items])
        ratio = sum(losses) / sum(weights)
        mean = sum(weights) / len(weights)
        values = [ratio + (loss - ratio * weight) / mean for loss, weight in zip(losses, weights, strict=True)]
        found[name] = {"loss": _as_json(clustered_mean(values, clusters), ratio, "nats")}
        if accuracies:
            estimate = clustered_mean(accuracies, clusters)
            share = sum(accuracies) / len(accuracies)
            found[name]["accuracy"] = _as_json(estimate and wilson_if_unanimous(estimate), share, "share")
    return found


def _as_json(estimate: "Estimate | None", plain: float, unit: str) -> Any:
    return plain if estimate is None else estimate.as_json(unit)


def _row_figures(trainer: "UpdateTrainer", items: "Sequence[Item]") -> tuple[list[float], list[float]]:
    """The loss of each item, and of pairs whether the chosen answer has the higher reward, in the items' order."""
    losses: dict[int, float] = {}
    right: dict[int, float] = {}
    for forward, values, metrics in trainer.forwards(items):
        for item, value in zip(forward.items, values.tolist(), strict=True):
            losses[id(item)] = value
        if "rewards/accuracies" in metrics:
            for item, value in zip(forward.items, metrics["rewards/accuracies"][0].tolist(), strict=True):
                right[id(item)] = value
    return [losses[id(item)] for item in items], [right[id(item)] for item in items if right]
