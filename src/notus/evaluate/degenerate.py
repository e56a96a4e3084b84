"""Outputs with few distinct answers: a model that says the same to every prompt answers none of them.

Owns the count and the flag. Such outputs win against judges all the same: a constant answer reached 86.5 %
length-controlled on AlpacaEval (Zheng et al. 2024, https://arxiv.org/abs/2410.07137).
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from notus.core.errors import DataError
from notus.evaluate.compare import format_estimate
from notus.formats.quarantine import RowError
from notus.formats.rows import parse_row, read_rows
from notus.stats.intervals import Estimate, proportion

__all__ = ["DistinctAnswers", "count_distinct", "read_answers"]

_WORDS = 8
"""Words of the n-grams that answers are compared by, where they are not equal as a whole."""
_TOLERATED_SAME = 0.1
_TOLERATED_NGRAM = 0.25
_FEWEST = 10
"""Prompts below which nothing is flagged."""
_COLUMNS = (
    ("instruction", "output_2", "generator_2"),
    ("instruction", "output", "generator"),
    ("prompt", "text", "model"),
)
"""Prompt, answer and model in AlpacaEval's annotations, in its outputs, and in our own records."""


@dataclass(frozen=True)
class DistinctAnswers:
    """How many different answers a model gave."""

    name: str
    outputs: int
    prompts: int
    """Distinct prompts."""
    distinct: int
    """Distinct answers; case and spaces do not count."""
    same: Estimate
    """Share of the prompts that got the most frequent answer."""
    ngram: Estimate
    """Share of the prompts whose answer holds the most frequent eight words in a row."""

    @property
    def flagged(self) -> bool:
        """Whether the answers are too much alike to have been made for the prompts: either share is above what is
        tolerated (10 % and 25 %) by its whole interval, with ten prompts or more."""
        return self.prompts >= _FEWEST and (self.same.low > _TOLERATED_SAME or self.ngram.low > _TOLERATED_NGRAM)

    def describe(self) -> str:
        """The count in a sentence, and what is wrong with it."""
        answers = "answer" if self.distinct == 1 else "answers"
        count = f"{self.name}: {self.distinct:,} distinct {answers} to {self.prompts:,} prompts"
        if not self.flagged:
            return count
        alike = self.same if self.same.low > _TOLERATED_SAME else self.ngram
        what = "got the same answer" if alike is self.same else "got an answer with the same eight words in it"
        return (
            f"{count}; {format_estimate(alike)} of them {what}. Do not trust a win rate of such outputs, unless the "
            "prompts ask for one of a few words."
        )


def count_distinct(outputs: Iterable[tuple[str, str]], name: str = "outputs") -> DistinctAnswers | None:
    """Count the different answers of one model.

    Args:
        outputs: prompt (its text or id) and answer, one pair for each output.
        name: of the model.

    Returns:
        None without any output.
    """
    answers: dict[str, set[str]] = defaultdict(set)
    count = 0
    for prompt, answer in outputs:
        answers[prompt].add(" ".join(answer.casefold().split()))
        count += 1
    if not answers:
        return None
    same = Counter(answer for of_prompt in answers.values() for answer in of_prompt)
    return DistinctAnswers(
        name=name,
        outputs=count,
        prompts=len(answers),
        distinct=len(same),
        same=proportion(same.most_common(1)[0][1], len(answers)),
        ngram=proportion(_most_frequent_ngram(answers), len(answers)),
    )


def read_answers(path: Path) -> dict[str, list[tuple[str, str]]]:
    """Read what models answered: AlpacaEval's outputs or annotations, or our own outputs (also as a run directory).

    Returns:
        Model → its prompts with the answers.

    Raises:
        DataError: if the file cannot be read, or a row holds no prompt with an answer.
    """
    inside = path / "outputs.parquet"
    path = inside if inside.is_file() else path
    found: dict[str, list[tuple[str, str]]] = defaultdict(list)
    try:
        for line, payload in read_rows(path):
            try:
                row = parse_row(payload)
            except RowError as error:
                raise DataError(f"{path}:{line}: {error}") from None
            names = next((names for names in _COLUMNS if names[0] in row and isinstance(row.get(names[1]), str)), None)
            if names is None:
                known = "; ".join(f"'{asked}' with '{answer}'" for asked, answer, _ in _COLUMNS)
                raise DataError(f"{path}:{line}: there is no prompt with an answer; known columns: {known}")
            found[str(row.get(names[2]) or path.name)].append((_prompt_text(row[names[0]]), row[names[1]]))
    except OSError as error:
        raise DataError(f"cannot read {path}: {error.strerror or error}") from None
    return dict(found)


def _prompt_text(value: Any) -> str:
    """The prompt's text, of a conversation all turns."""
    if isinstance(value, list):
        return "\n\n".join(str(turn.get("content", "")) if isinstance(turn, dict) else str(turn) for turn in value)
    return str(value)


def _most_frequent_ngram(answers: Mapping[str, set[str]]) -> int:
    """In how many prompts the commonest n-gram stands. What a prompt itself holds is none of the answer's making."""
    found: Counter[tuple[str, ...]] = Counter()
    for prompt, of_prompt in answers.items():
        own = _ngrams(" ".join(prompt.casefold().split()))
        found.update({ngram for answer in of_prompt for ngram in _ngrams(answer)} - own)
    return found.most_common(1)[0][1] if found else 0


def _ngrams(text: str) -> set[tuple[str, ...]]:
    words = text.split()
    return {tuple(words[start : start + _WORDS]) for start in range(len(words) - _WORDS + 1)}
