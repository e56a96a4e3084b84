"""Mixtures: how many rows of each source an epoch has, in which order, and what is said of each."""

import math
from collections import Counter
from types import SimpleNamespace

import pytest
import torch

from notus.core.errors import ConfigError
from notus.core.records import Dialogue, Message, Preference
from notus.core.stage import Tally
from notus.engine.pack import PromptGroup
from notus.train.batches import Item, Items, LengthSampler
from notus.train.mixture import Mixture, Portion, Source, draw_rows, in_several, measure_sources, read_portions

SIZES = [(7 * n) % 23 + 1 for n in range(30)]


def row(text, side="yes"):
    return Preference(
        prompt=(Message(role="user", content=text),),
        chosen=(Message(role="assistant", content=side),),
        rejected=(Message(role="assistant", content="no"),),
    )


def source(name, count, **portion):
    return Source(name, [row(f"{name} {n}") for n in range(count)], (), Portion(source=name, **portion))


def items_of(drawn):
    return [
        Item(PromptGroup([number, place], ([5, 6], [7])), source=number)
        for number, each in enumerate(drawn)
        for place, _ in enumerate(each.rows)
    ]


def epoch(drawn, order="mixed", seed=0):
    tally = Tally("encode")
    return Mixture.of(drawn, order, seed).repeat(items_of(drawn), tally), tally


def test_without_weights_every_row_comes_once():
    tally = Tally("mix")
    sources = [source("a", 30), source("b", 7)]
    drawn = draw_rows(sources, 0, tally, "data")
    assert [each.rows for each in drawn] == [each.rows for each in sources]
    found, counted = epoch(drawn)
    assert found == items_of(drawn)
    assert (tally.taken, tally.given, tally.dropped, counted.counts) == (37, 37, [], {})


@pytest.mark.parametrize("weights", [(1, 1), (2, 1), (1, 9), (0.3, None), (5, 0.01)])
def test_weights_are_shares_of_an_epoch_that_is_as_long_as_all_rows(weights):
    tally = Tally("mix")
    sources = [source("a", 60, weight=weights[0]), source("b", 20, weight=weights[1])]
    drawn = draw_rows(sources, 3, tally, "data")
    found, counted = epoch(drawn, seed=3)
    shares = [weight or 1.0 for weight in weights]
    wanted = [80 * share / sum(shares) for share in shares]
    numbers = Counter(item.source for item in found)
    assert [numbers[0], numbers[1]] == [pytest.approx(one, abs=1) for one in wanted]
    # As evenly as can be: the rows of a source differ by at most one in how often they come.
    for number in (0, 1):
        times = Counter(tuple(item.group.prompt) for item in found if item.source == number)
        assert max(times.values()) - min(times.values()) <= 1
    lost = [each for each in tally.dropped if each.reason == "not-drawn"]
    assert {each.asked_by for each in lost} <= {"data.weight"}
    assert tally.taken == tally.given + len(lost) == 80
    assert counted.counts["row-repeated"] == len(found) - tally.given
    told = Mixture.of(drawn, "mixed", 3).count(found, [])
    for name, size in (("a", 60), ("b", 20)):
        assert told[name]["rows"] - told[name]["repeated"] + told[name].get("not_drawn", 0) == size
        assert told[name]["tokens"] == 5 * told[name]["rows"]
        assert told[name]["trained_tokens"] == 3 * told[name]["rows"]
    assert sum(of["share"] for of in told.values()) == pytest.approx(1)


def test_a_cap_goes_before_the_weights_and_its_rows_are_named():
    tally = Tally("mix")
    drawn = draw_rows([source("a", 60, cap=10, weight=1), source("b", 10, weight=3)], 0, tally, "pairs")
    assert [len(each.rows) for each in drawn] == [5, 10]
    assert drawn[1].times == pytest.approx(1.5)
    assert Counter((each.reason, each.asked_by) for each in tally.dropped) == {
        ("over-cap", "pairs.cap"): 50,
        ("not-drawn", "pairs.weight"): 5,
    }
    ids = {each.id for each in tally.dropped}
    assert ids.isdisjoint(each.id for each in drawn[0].rows)
    assert ids | {each.id for each in drawn[0].rows} == {row(f"a {n}").id for n in range(60)}


def test_the_seed_alone_decides_which():
    def drawn(seed):
        return [each.rows for each in draw_rows([source("a", 60, cap=10), source("b", 5)], seed, Tally("mix"), "data")]

    assert drawn(1) == drawn(1)
    assert drawn(1)[0] != drawn(2)[0]


def test_the_order_of_one_source_is_what_it_was():
    sampler = LengthSampler(SIZES, 4, 3, prompts=[n // 2 for n in range(30)])
    sampler.set_epoch(1)
    assert list(sampler)[:12] == [0, 1, 10, 11, 2, 3, 26, 27, 22, 23, 8, 9]
    kept = LengthSampler(SIZES, 4, 3, kept=True)
    kept.set_epoch(1)
    assert list(kept)[:8] == [24, 25, 26, 27, 12, 13, 14, 15]


@pytest.mark.parametrize("kept", [False, True])
@pytest.mark.parametrize("sizes", [(11, 19), (8, 22), (1, 2, 27), (3, 1, 1, 25)])
def test_one_after_another_fills_the_batch_at_the_border(sizes, kept):
    stages = [number for number, size in enumerate(sizes) for _ in range(size)]
    orders = []
    for number in (0, 1):
        sampler = LengthSampler(SIZES, 4, 3, kept=kept, stages=stages)
        sampler.set_epoch(number)
        orders.append(list(sampler))
    for order in orders:
        assert sorted(order) == list(range(30))
        assert [stages[index] for index in order] == stages
    assert orders[0] != orders[1]


def test_a_repeated_row_stands_somewhere_else_in_the_epoch():
    drawn = draw_rows([source("a", 20, weight=1), source("b", 5, weight=1)], 0, Tally("mix"), "data")
    found, _ = epoch(drawn)
    data = Items(found, shared=True)
    twice = [index for index, item in enumerate(found) if item.group.prompt == [1, 0]]
    assert len(twice) >= 2
    assert len({data.prompts[index] for index in twice}) == len(twice)
    single = Items(items_of(drawn), shared=True)
    assert single.prompts == list(range(len(single)))


def test_what_sources_have_in_common_is_counted():
    a = Source("a", [row("one"), row("two"), row("three")], [row("five")])
    b = Source("b", [row("one"), row("two", "other"), row("four"), row("five")], [row("three"), row("three", "other")])
    assert in_several([a, b]) == {"rows": 1, "prompts": 2, "leaks": 3}
    turns = (Message(role="user", content="one"), Message(role="assistant", content="so"))
    talk = Source("c", [Dialogue(messages=turns)])
    assert in_several([Source("d", [Dialogue(messages=turns[:1])]), talk]) == {"prompts": 1}
    assert in_several([a, Source("e", [row("six")])]) == {}


class _Trainer:
    """A trainer whose losses are known: of each item a loss, a weight and whether it was right."""

    def __init__(self, figures, pairs):
        self.figures, self.pairs = figures, pairs

    def weight_of(self, items):
        return sum(self.figures[tuple(item.group.prompt)][1] for item in items)

    def forwards(self, items):
        for part in (items[1::2], items[::2]):  # in another order than they came
            values = [self.figures[tuple(item.group.prompt)] for item in part]
            right = torch.tensor([float(value[2]) for value in values])
            metrics = {"rewards/accuracies": (right, len(part))} if self.pairs else {}
            yield SimpleNamespace(items=tuple(part)), torch.tensor([value[0] for value in values]), metrics


@pytest.mark.parametrize("pairs", [True, False])
def test_the_figures_of_each_source_are_those_of_its_rows(pairs):
    figures = {(0, n): (1.0 + n, 2.0 + n % 3, n % 4 > 0) for n in range(8)} | {(1, n): (9.0, 1.0, True) for n in (0,)}
    held = [Item(PromptGroup(list(prompt), ([5], [6])), source=prompt[0]) for prompt in figures]
    found = measure_sources(_Trainer(figures, pairs), held, ["a", "b", "c"])
    losses, weights, right = zip(*[figures[0, n] for n in range(8)], strict=True)
    ratio = sum(losses) / sum(weights)
    # Cochran 1977, section 6.4: the variance of a ratio of sums.
    rest = [loss - ratio * weight for loss, weight in zip(losses, weights, strict=True)]
    error = math.sqrt(8 / 7 * sum(one**2 for one in rest)) / sum(weights)
    half = 2.364624251592785 * error  # t(.975, 7)
    assert found["a"]["loss"]["mean"] == pytest.approx(ratio)
    assert found["a"]["loss"]["low"] == pytest.approx(ratio - half)
    assert found["a"]["loss"]["high"] == pytest.approx(ratio + half)
    assert found["a"]["loss"]["n"] == 8
    assert found["b"]["loss"] == 9.0, "one prompt has no interval"
    assert "c" not in found
    assert ("accuracy" in found["a"]) == pairs
    if pairs:
        assert found["a"]["accuracy"]["mean"] == pytest.approx(sum(right) / 8)
        assert found["b"]["accuracy"] == 1.0


def test_sources_are_read_under_either_name():
    given = read_portions([{"from": "a", "weight": 2}, {"path": "b", "cap": 5}, "c"])
    assert given == (Portion(source="a", weight=2), Portion(source="b", cap=5), Portion(source="c"))
    assert read_portions([{"from": "a"}]) == read_portions(["a"]) == read_portions("a") == "a"
    assert read_portions([{"from": "a", "cap": 3}]) == (Portion(source="a", cap=3),)
    with pytest.raises(ValueError, match="'weight' is 0"):
        read_portions([{"from": "a", "weight": 0}, "b"])
    with pytest.raises(ValueError, match="did you mean 'weight'"):
        read_portions([{"from": "a", "wieght": 1}, "b"])
    with pytest.raises(ValueError, match="two names"):
        read_portions([{"from": "a", "path": "b"}, "c"])
    with pytest.raises(ConfigError):
        Portion.parse({}, where="x")
