"""Questions of published benchmarks that contaminated prompts are made from, read from a folder that has them.

Owns the reading of TruthfulQA, GSM8K, MMLU, ARC, AlpacaEval and MT-Bench in their published layouts. None of their
text is part of this project.
"""

import csv
import gzip
import io
import json
import math
from collections import Counter, defaultdict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

from benchmarks.ultrafeedback_text import jaccard, tokens
from notus.core.errors import DataError

__all__ = ["Item", "alike", "read_items"]

FEWEST_WORDS = 6
"""A question of fewer different words is not used: whether a prompt "contains" it would be a matter of opinion."""


@dataclass(frozen=True)
class Item:
    """One question of a benchmark."""

    benchmark: str
    number: int
    """Position in its file, from 0; for MT-Bench that of the turn."""
    question: str
    choices: tuple[str, ...] = ()
    right: tuple[str, ...] = ()
    wrong: tuple[str, ...] = ()


def read_items(folder: Path) -> list[Item]:
    """All usable questions, in the order of benchmarks and files; of equal questions the first.

    Raises:
        DataError: if a benchmark is not in the folder, or is empty.
    """
    found: list[Item] = []
    seen: set[frozenset[str]] = set()
    for name, (path, reader) in _READERS.items():
        if not (folder / path).is_file():
            raise DataError(f"benchmark '{name}': there is no {folder / path}; --benchmarks needs a folder that has it")
        data = (folder / path).read_bytes()
        text = (gzip.decompress(data) if path.endswith(".gz") else data).decode("utf-8-sig")
        items = [item for item in reader(text) if len(tokens(item.question)) >= FEWEST_WORDS]
        if not items:
            raise DataError(f"benchmark '{name}': {folder / path} has no question of {FEWEST_WORDS} words or more")
        for item in items:
            words = tokens(item.question)
            if words not in seen:
                seen.add(words)
                found.append(item)
    return found


def alike(items: list[Item], least: float) -> dict[int, list[int]]:
    """Positions of items that share at least ``least`` of their words (Jaccard), for each the others.

    Two sets of such a likeness share one of their rarest words: with the words in order of rarity, one of the first
    ``n − ⌈least · n⌉ + 1`` of each (Chaudhuri et al. 2006, https://doi.org/10.1109/ICDE.2006.9).
    """
    words = [tokens(item.question) for item in items]
    common = Counter(word for of in words for word in of)
    holders: defaultdict[str, list[int]] = defaultdict(list)
    found: defaultdict[int, list[int]] = defaultdict(list)
    for number, of in enumerate(words):
        rare = sorted(of, key=lambda word: (common[word], word))[: len(of) - math.ceil(least * len(of) - 1e-9) + 1]
        for other in sorted({other for word in rare for other in holders[word]}):
            if jaccard(of, words[other]) >= least:
                found[number].append(other)
                found[other].append(number)
        for word in rare:
            holders[word].append(number)
    return dict(found)


def _truthful(text: str) -> Iterator[Item]:
    for number, row in enumerate(csv.DictReader(io.StringIO(text))):
        right, wrong = (
            tuple(part.strip() for part in row[name].split(";")) for name in ("Correct Answers", "Incorrect Answers")
        )
        yield Item("truthfulqa", number, row["Question"].strip(), right=right, wrong=wrong)


def _gsm8k(text: str) -> Iterator[Item]:
    for number, line in enumerate(_lines(text)):
        yield Item("gsm8k", number, json.loads(line)["question"].strip())


def _mmlu(text: str) -> Iterator[Item]:
    for number, line in enumerate(_lines(text)):
        row = json.loads(line)
        yield Item("mmlu", number, row["question"].strip(), tuple(row["choices"]))


def _arc(text: str) -> Iterator[Item]:
    for number, line in enumerate(_lines(text)):
        row = json.loads(line)
        yield Item("arc", number, row["query"].removeprefix("Question:").strip(), tuple(row["choices"]))


def _alpaca_eval(text: str) -> Iterator[Item]:
    for number, row in enumerate(json.loads(text)):
        yield Item("alpaca_eval", number, row["instruction"].strip())


def _mt_bench(text: str) -> Iterator[Item]:
    turns = [turn for line in _lines(text) for turn in json.loads(line)["turns"]]
    for number, turn in enumerate(turns):
        yield Item("mt_bench", number, turn.strip())


def _lines(text: str) -> list[str]:
    """Lines of JSON; ``splitlines`` would also break at separators that are part of a question."""
    return [line for line in text.split("\n") if line.strip()]


_READERS: dict[str, tuple[str, Callable[[str], Iterator[Item]]]] = {
    "truthfulqa": ("benchmarks/truthfulqa.csv", _truthful),
    "gsm8k": ("benchmarks/gsm8k_train_500.jsonl", _gsm8k),
    "mmlu": ("benchmarks/mmlu_dev_val.jsonl.gz", _mmlu),
    "arc": ("benchmarks/arc_easy.jsonl", _arc),
    "alpaca_eval": ("alpaca_eval/outputs_text_davinci_003.json.gz", _alpaca_eval),
    "mt_bench": ("mt_bench/question.jsonl", _mt_bench),
}
