"""Generate raw UltraFeedback of any size, with its faults, duplicates and contamination known.

    python -m benchmarks.make_ultrafeedback OUT --prompts 63967 --seed 0 [--benchmarks DIR] [--workers 2]

Writes ``feedback.jsonl`` (the raw layout), ``truth.jsonl`` (a line per completion: what it deserves and what is wrong
with its record) and ``prompts_truth.jsonl`` (a line per prompt that is not plain). ``prompt`` is the number of the
line in ``feedback.jsonl``, from 0. The same seed gives the same bytes, whatever the workers; rows are made in blocks
and written as they come, so memory does not grow with them but for nine bytes a prompt.

Owns the command, the rows and the files. Numbers: ``ultrafeedback_quality``; which row is what: ``ultrafeedback_plan``;
words: ``ultrafeedback_prompts``, ``ultrafeedback_answers``, ``ultrafeedback_judge``. It was written before the finder
of faults that it tests, and is not to be changed to suit one.
"""

import argparse
import multiprocessing
import sys
import time
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass
from pathlib import Path
from random import Random
from typing import Any

import msgspec
import numpy as np

from benchmarks.ultrafeedback_answers import answer, principle, system_prompt
from benchmarks.ultrafeedback_benchmarks import Item
from benchmarks.ultrafeedback_judge import critique, rationale, types
from benchmarks.ultrafeedback_plan import FULL, KINDS, SAME_WORDS, Plan, Settings
from benchmarks.ultrafeedback_prompts import contaminated, control, copied, edited, lookalike, plain
from benchmarks.ultrafeedback_quality import RATINGS, Faults, Judged, draw_models, judge_block
from benchmarks.ultrafeedback_text import Grammar, jaccard, seeded, sentence, tokens
from notus.core.errors import ConfigError, InputError

__all__ = ["FILES", "Summary", "generate", "main"]

FILES = ("feedback.jsonl", "truth.jsonl", "prompts_truth.jsonl")
_BLOCK = 128
_SPANS = {"near-duplicate": (SAME_WORDS, 0.98), "near-miss": (0.6, 0.78)}
_PATIENCE = 400
_ENCODE = msgspec.json.Encoder().encode


@dataclass
class Summary:
    """What was written."""

    prompts: int
    completions: int
    bytes: int
    seconds: float
    faults: dict[str, int]
    kinds: dict[str, int]


def generate(folder: Path, settings: Settings, workers: int = 1) -> Summary:
    """Write a set and its truth.

    Raises:
        ConfigError: if one of the files is there already.
        DataError: if a benchmark is asked for that is not in its folder.
    """
    folder.mkdir(parents=True, exist_ok=True)
    for name in FILES:
        if (folder / name).exists():
            raise ConfigError(f"{folder / name} is there already; name another folder or delete it")
    started = time.perf_counter()
    faults: Counter[str] = Counter()
    kinds: Counter[str] = Counter()
    completions = 0
    with (
        (folder / FILES[0]).open("wb") as rows,
        (folder / FILES[1]).open("wb") as truth,
        (folder / FILES[2]).open("wb") as prompts,
    ):
        for block in _blocks(settings, workers):
            rows.write(block.rows)
            truth.write(block.truth)
            prompts.write(block.prompts)
            faults.update(block.faults)
            kinds.update(block.kinds)
            completions += block.completions
        size = rows.tell()
    seconds = time.perf_counter() - started
    return Summary(
        settings.prompts, completions, size, seconds, dict(sorted(faults.items())), dict(sorted(kinds.items()))
    )


@dataclass
class _Block:
    rows: bytes
    truth: bytes
    prompts: bytes
    completions: int
    faults: Counter[str]
    kinds: Counter[str]


class _Maker:
    """Makes blocks of rows; each process has one."""

    def __init__(self, settings: Settings) -> None:
        self.settings = settings
        self.plan = Plan(settings)
        self.grammar = Grammar()

    def block(self, number: int) -> _Block:
        first = number * _BLOCK
        last = min(first + _BLOCK, self.settings.prompts)
        rng = np.random.default_rng([self.settings.seed, 2, number])
        models = draw_models(last - first, rng)
        for single in self.plan.singles:
            if first <= single < last:
                models[single - first] = models[single - first][:1]
        sources = [self.plan.source(row) for row in range(first, last)]
        judged = judge_block(models, sources, self.plan.start(first), self.settings.faults, rng)
        rows, truth, prompts = bytearray(), bytearray(), bytearray()
        for row, names, of in zip(range(first, last), models, judged, strict=True):
            if row in self.plan.legacy:
                _make_legacy(of)
            text, known = self.prompt(row)
            rows += _ENCODE(self.row(row, text, names, of)) + b"\n"
            for index, item in enumerate(of):
                truth += _ENCODE(_truth_of(row, index, item)) + b"\n"
            if known:
                prompts += _ENCODE({"prompt": row, "kind": KINDS[self.plan.kinds[row]], **known}) + b"\n"
        return _Block(
            bytes(rows),
            bytes(truth),
            bytes(prompts),
            sum(map(len, judged)),
            Counter(item.fault for of in judged for item in of if item.fault),
            Counter(KINDS[kind] for kind in self.plan.kinds[first:last]),
        )

    def prompt(self, row: int) -> tuple[str, dict[str, Any]]:
        """A row's prompt and what is known of it; leaves the grammar with its topics put in."""
        kind, origin = KINDS[self.plan.kinds[row]], int(self.plan.origins[row])
        random = seeded(self.settings.seed, 3, row)
        if kind == "exact-duplicate":
            text, change = copied(random, base := self.plain_text(origin))
            return text, {"of": origin, "change": change, "jaccard": jaccard(tokens(base), tokens(text))}
        if kind in _SPANS:
            return self.edited(origin, random, *_SPANS[kind])
        if kind == "look-alike":
            return self.lookalike(row, origin)
        if kind in ("contaminated", "control"):
            return self.near_benchmark(row, kind, origin)
        return self.plain_text(row), {}

    def plain_text(self, row: int) -> str:
        random = seeded(self.settings.seed, 4, row)
        self.grammar.use(random)
        return plain(self.grammar, random, self.plan.source(row))

    def edited(self, origin: int, random: Random, low: float, high: float) -> tuple[str, dict[str, Any]]:
        for _ in range(_PATIENCE):
            base = self.plain_text(origin)
            self.grammar.use(random)
            # Of a very short prompt one word is much of the meaning: whether two are "the same" is then open.
            text = edited(self.grammar, random, base, low, high) if len(tokens(base)) >= 12 else None
            if text is not None:
                return text, {"of": origin, "jaccard": jaccard(tokens(base), tokens(text))}
            origin = self.plan.next_plain(origin)
        raise ConfigError(f"{self.settings.prompts} prompts: none is long enough to be edited; ask for more prompts")

    def lookalike(self, row: int, group: int) -> tuple[str, dict[str, Any]]:
        seed, first = self.settings.seed, self.plan.first_of_group[group]
        texts = [
            lookalike(self.grammar, seeded(seed, 5, group), seeded(seed, 6, member)) for member in {first: 0, row: 0}
        ]
        known = {"group": group, "of": first, "jaccard": jaccard(tokens(texts[0]), tokens(texts[-1]))}
        return texts[-1], known

    def near_benchmark(self, row: int, kind: str, number: int) -> tuple[str, dict[str, Any]]:
        item = self.plan.items[number]
        known: dict[str, Any] = {"benchmark": item.benchmark, "item": item.number}
        if kind == "control":
            self.grammar.use(seeded(self.settings.seed, 7, row))
            text = control(self.grammar, item)
            return text, known | _likeness(item.question, text)
        earlier = [(other, self.prompt(other)[0]) for other in self.plan.earlier(row, number)]
        text, alteration, edits = self.contaminated(row, item)
        known |= {"alteration": alteration, "edits": edits} | _likeness(item.question, text)
        return text, known | self.repeated(row, text, earlier)

    def contaminated(self, row: int, item: Item) -> tuple[str, str, int]:
        random = seeded(self.settings.seed, 7, row)
        self.grammar.use(random)
        if self.plan.source(row) == "truthful_qa":  # which is TruthfulQA itself, and needs topics for its answers only
            plain(self.grammar, random, "truthful_qa")
            return item.question, "exact", 0
        return contaminated(self.grammar, random, item)

    def repeated(self, row: int, text: str, earlier: list[tuple[int, str]]) -> dict[str, Any]:
        """The row that a second prompt on one question repeats (``of``), and those on a like one (``resembles``).

        Whether two questions of a benchmark that differ in a word are duplicates is open: leave those out.
        """
        words = tokens(text)
        near = [(jaccard(tokens(other), words), place) for place, other in earlier]
        near = [(similarity, place) for similarity, place in near if similarity >= SAME_WORDS]
        same = [pair for pair in near if self.plan.origins[pair[1]] == self.plan.origins[row]]
        known: dict[str, Any] = {"of": max(same)[1], "jaccard_of": max(same)[0]} if same else {}
        if others := sorted(place for _, place in near if self.plan.origins[place] != self.plan.origins[row]):
            known["resembles"] = others
        return known

    def row(self, row: int, text: str, models: list[str], judged: list[Judged]) -> dict[str, Any]:
        source, random = self.plan.source(row), seeded(self.settings.seed, 8, row)
        self.grammar.use(random)
        right, wrong = self.answers(row, source)
        expected = right[0] if right[0] != "None" else ""
        completions = [
            self.completion(random, source, text, expected, model, item)
            for model, item in zip(models, judged, strict=True)
        ]
        return {
            "source": source,
            "instruction": text,
            "models": models,
            "completions": completions,
            "correct_answers": right,
            "incorrect_answers": wrong,
        }

    def answers(self, row: int, source: str) -> tuple[list[str], list[str]]:
        if source.startswith("flan"):
            return [self.grammar.expand(("say", "abstract", "num")[self.grammar.pick(3)])], ["None"]
        if source != "truthful_qa":
            return ["None"], ["None"]
        if self.plan.origins[row] >= 0:
            item = self.plan.items[self.plan.origins[row]]
            return list(item.right), list(item.wrong)
        count = 2 + self.grammar.pick(4), 2 + self.grammar.pick(5)
        right, wrong = ([sentence(self.grammar.expand("say")) for _ in range(number)] for number in count)
        return right, wrong

    def completion(
        self, random: Random, source: str, prompt: str, expected: str, model: str, item: Judged
    ) -> dict[str, Any]:
        grammar = self.grammar
        annotations = {aspect: _annotation(grammar, random, aspect, item.ratings[aspect]) for aspect in RATINGS}
        ratings = [rating for rating in item.ratings.values() if rating is not None]
        name = principle(random, source)
        return {
            "annotations": annotations,
            "critique": critique(grammar, random, item.seen),
            "custom_system_prompt": system_prompt(grammar, name),
            "fine-grained_score": sum(ratings) / len(ratings),
            "model": model,
            "overall_score": item.score,
            "principle": name,
            "response": answer(grammar, random, item.quality, source, prompt, expected),
        }


def _annotation(grammar: Grammar, random: Random, aspect: str, rating: int | None) -> dict[str, Any]:
    row: dict[str, Any] = {"Rating": "N/A" if rating is None else str(rating)}
    text = rationale(grammar, random, aspect, rating)
    if aspect not in ("helpfulness", "truthfulness") or rating is None:
        return row | {"Rationale": text}
    found, reason = types(grammar, random, aspect, rating)
    return row | {"Rationale": reason, "Rationale For Rating": text, "Type": found}


def _make_legacy(judged: list[Judged]) -> None:
    """Give the worst completion the rating of 0 that the rubric does not have: the mean becomes 2/3."""
    worst = min(judged, key=lambda item: item.seen)
    worst.ratings = {"helpfulness": 1, "honesty": None, "instruction_following": 0, "truthfulness": 1}
    worst.legacy = True


def _truth_of(row: int, index: int, item: Judged) -> dict[str, Any]:
    return {
        "prompt": row,
        "completion": index,
        "fault": item.fault,
        "quality": round(item.quality, 3),
        "deserved": item.deserved,
        "recorded": item.score,
        "disagreement": item.disagreement,
        "swapped_with": item.swapped_with,
        "legacy": item.legacy,
    }


def _likeness(question: str, text: str) -> dict[str, float]:
    """Jaccard of a question and a prompt, and the share of the question's words that are in the prompt."""
    words, found = tokens(question), tokens(text)
    return {"jaccard": jaccard(words, found), "contained": len(words & found) / len(words)}


def _blocks(settings: Settings, workers: int) -> Iterator[_Block]:
    numbers = range(-(-settings.prompts // _BLOCK))
    # Made here in any case: where the settings are wrong, a pool would start one worker after the other for ever.
    maker = _Maker(settings)
    if workers == 1:
        yield from map(maker.block, numbers)
        return
    context = multiprocessing.get_context("spawn")
    with context.Pool(workers, _begin, (settings,)) as pool:
        yield from pool.imap(_block, numbers)


_here: dict[str, _Maker] = {}


def _begin(settings: Settings) -> None:
    _here["maker"] = _Maker(settings)


def _block(number: int) -> _Block:
    return _here["maker"].block(number)


def main(arguments: list[str]) -> int:
    """The command; returns its exit code."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks.make_ultrafeedback")
    parser.add_argument("out", type=Path, help="folder for the three files")
    parser.add_argument("--prompts", type=int, default=FULL)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--workers", type=int, default=2)
    parser.add_argument("--faults", type=float, help="share of completions whose 1 is a 10; without it, every 1 is")
    for name in ("displaced", "swapped-scores", "swapped-ratings"):
        parser.add_argument(f"--{name}", type=float, default=0.0, help="share of completions; 0 unless told")
    for name in ("exact", "near", "near-miss", "lookalikes", "contaminated", "controls"):
        parser.add_argument(f"--{name}", type=float, default=0.01, help="share of prompts; 0.01 unless told")
    parser.add_argument("--benchmarks", type=Path, help="folder with the benchmarks to contaminate with")
    given = vars(parser.parse_args(arguments))
    folder, workers = given.pop("out"), given.pop("workers")
    faults = {name: given.pop(name) for name in ("displaced", "swapped_scores", "swapped_ratings")}
    try:
        if workers < 1:
            raise ConfigError(f"--workers {workers}: at least one is needed")
        settings = Settings(faults=Faults(ones=given.pop("faults"), **faults), **given)
        summary = generate(folder, settings, workers)
    except InputError as error:
        print(error, file=sys.stderr)
        return error.exit_code
    print(msgspec.json.encode(asdict(summary)).decode())
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
