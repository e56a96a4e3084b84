"""How many rephrased benchmark items are found, and what is found falsely: ``python -m benchmarks.rephrased``.

Prompts are the items of GSM8K's test and of HumanEval in other words (HumanEval in Python, C and JavaScript), one each;
``clean`` looks for the items as they were published. Found is a prompt that is matched by its own item; false is one
that is matched by another. Further false matches are counted on prompts that hold none of these items: problems of
GSM8K's train, instructions of AlpacaEval, and UltraFeedback. NOTUS_BENCH_DATA names the folder of the data.

Each is measured at the default thresholds and at looser ones. The table is Markdown, for ``docs/duplicates.md``. Two
minutes on one core.
"""

import gzip
import json
import re
import sys
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

from benchmarks.data import DATA
from notus.clean.benchmarks import BenchmarkItem
from notus.clean.contamination import ItemIndex, Matching
from notus.clean.words import words_of
from notus.stats.intervals import Share

__all__ = ["LEVELS", "main", "measure"]

LEVELS = {
    "default": Matching(),
    "looser": Matching(coverage=0.4, similarity=0.65),
    "loosest": Matching(coverage=0.3, similarity=0.5),
}
_QUESTION = re.compile(r"Question:\s*(.*?)\s*(?:Answer:|$)", re.DOTALL)


def measure(folder: Path = DATA) -> list[dict[str, Any]]:
    """A row for each set of prompts and level: which items were looked for, n, found, false."""
    rephrased = folder / "rephrased"
    gsm = [BenchmarkItem("gsm8k", str(n), row["question"]) for n, row in enumerate(_read(rephrased / "gsm8k_test"))]
    code = [BenchmarkItem("humaneval", str(n), row["text"]) for n, row in enumerate(_read(rephrased / "humaneval"))]
    told = [_question(row["text"]) for row in _read(rephrased / "gsm8k_test_rephrased")]
    written = _read(rephrased / "humaneval_rephrased")
    sets: list[tuple[str, Sequence[BenchmarkItem], list[str], bool]] = [("GSM8K, rephrased", gsm, told, True)]
    for language in ("python", "c", "js"):
        texts = [row["text"] for row in written if row["language"] == language]
        sets.append((f"HumanEval, rephrased ({language})", code, texts, True))
    train = [row["question"] for row in _lines(folder / "benchmarks" / "gsm8k_train_500.jsonl")]
    chat = [row["prompt"] for row in _lines(folder / "ultrafeedback" / "binarized_1000.jsonl")]
    outputs = gzip.decompress((folder / "alpaca_eval" / "outputs_text_davinci_003.json.gz").read_bytes())
    asked = [row["instruction"] for row in json.loads(outputs)]
    for name, texts in (("GSM8K, train", train), ("UltraFeedback", chat), ("AlpacaEval", asked)):
        sets.append((name, [*gsm, *code], texts, False))
    return [
        {"prompts": name, "level": level, **_counts(items, texts, matching, own=own)}
        for name, items, texts, own in sets
        for level, matching in LEVELS.items()
    ]


def _counts(items: Sequence[BenchmarkItem], texts: Sequence[str], matching: Matching, *, own: bool) -> dict[str, Any]:
    index = ItemIndex(items, matching, with_controls=False)
    matches = index.search([(str(row), words_of(text)) for row, text in enumerate(texts)]).matches
    found = sum(own and match.item == str(match.row) for match in matches)
    return {
        "n": len(texts),
        "found": Share.make(found, len(texts)) if own else None,
        "false": Share.make(len(matches) - found, len(texts)),
    }


def _read(path: Path) -> list[dict[str, Any]]:
    text = gzip.decompress(path.with_name(f"{path.name}.jsonl.gz").read_bytes()).decode("utf-8")
    return [json.loads(line) for line in text.split("\n") if line.strip()]


def _lines(path: Path) -> Iterable[dict[str, Any]]:
    return (json.loads(line) for line in path.read_text(encoding="utf-8").split("\n") if line.strip())


def _question(text: str) -> str:
    found = _QUESTION.search(text)
    return found[1] if found else text


def main() -> int:
    """Print the table."""
    if not (DATA / "rephrased").is_dir():
        print(f"no rephrased items in {DATA}; NOTUS_BENCH_DATA names the folder of the data", file=sys.stderr)
        return 2
    print("| prompts | thresholds | n | found | false |\n|---|---|---|---|---|")
    for row in measure():
        level = LEVELS[row["level"]]
        told = f"{row['level']}: coverage {level.coverage:g}, similarity {level.similarity:g}"
        print(f"| {row['prompts']} | {told} | {row['n']:,} | {row['found'] or '–'} | {row['false']} |")
    return 0


if __name__ == "__main__":
    sys.exit(main())
