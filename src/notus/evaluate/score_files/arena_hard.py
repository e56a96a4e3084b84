"""Arena-Hard's stored judgements: read, and scored as v0.1 and as v2 are, with intervals over questions.

    v0.1   question_id, model, judge, games[{score "A>>B"}, {score}]
    v2     uid, category, model, baseline, judge, games[{score}, {score}]

A model is judged against a baseline in both orders: in the first game the baseline stands as A, in the second the model
does. A verdict has five grades; a strong one (>>) counts three times. Of a model, with v its share of a game and w the
weight::

    win rate = Σ w·v / Σ w                        v2; over both games of each question, a tie ½
    win rate = σ(θ_model − θ_baseline)            v0.1, θ by Bradley and Terry on the same weighted games

Since all games are against the baseline both are the same number. **Style control** (v2): beside θ the logistic
regression has four features of a game, with t the tokens of an answer and d its headers, list items or bold texts for
each token::

    length   (t − t_b)/(t + t_b)            each less its mean over all games, and divided by its spread
    markdown (d − d_b)/(d + d_b + 1)

and the score is that of a model at the *mean* of the features. What it is where both answers have the same style stands
beside it, for where most models write longer than the baseline the two differ.

A game without a verdict is left out; in v2 its question with it, as published. Sources: Li et al. 2024,
https://arxiv.org/abs/2406.11939, and https://github.com/lmarena/arena-hard-auto (``show_result.py``). Published
intervals resample the weighted games as if each were a question of its own; ours draw whole questions.
"""

from collections import Counter, defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import partial
from pathlib import Path
from typing import Any, Literal

import numpy as np
from msgspec import structs
from numpy.typing import NDArray

from notus.core.errors import ConfigError
from notus.core.records import Record
from notus.core.stage import Tally
from notus.evaluate.score_files.files import files_of, read_each
from notus.formats.fields import read_as, required
from notus.formats.quarantine import RowError, RowReader
from notus.stats.bootstrap import Array, bootstrap_totals, totals_of
from notus.stats.bradley_terry import Comparisons, controlled_bradley_terry
from notus.stats.intervals import Estimate, share, wilson_if_unanimous

__all__ = [
    "BASELINES",
    "FEATURES",
    "STRONG",
    "Battle",
    "CategoryScores",
    "ModelScore",
    "Style",
    "StyleControl",
    "arena_hard_scores",
    "control_style",
    "read_battles",
    "read_styles",
    "style_features",
    "unread_games",
]

Row = dict[str, Any]
Version = Literal["v0.1", "v2"]
BASELINES = {"v0.1": "gpt-4-0314", "creative_writing": "gemini-2.0-flash-001"} | dict.fromkeys(
    ("hard_prompt", "coding", "math"), "o3-mini-2025-01-31"
)
"""The published baseline of v0.1, and of each category of v2, for rows that do not name theirs."""
STRONG = 3.0
"""How often a strong verdict counts."""
FEATURES = ("length", "headers", "lists", "bold")
"""What style control looks at."""
_WINS = {"A>B": 1.0, "A=B": 0.5, "B>A": 0.0, "B=A": 0.5, "B<A": 1.0, "A<B": 0.0}
_COUNTS = ("header_count", "list_count", "bold_count")


class Battle(Record, frozen=True):
    """One question on which a model was judged against the baseline, in both orders."""

    version: str
    question: str
    category: str
    model: str
    baseline: str
    judge: str
    games: tuple[tuple[float, bool] | None, ...]
    """Of each game what the model won, 1, ½ or 0, and whether the verdict is strong; None without a verdict."""
    file: str = ""
    line: int = 0

    def weighted(self, strong: float) -> tuple[float, float]:
        """What the model won, and out of how much."""
        found = [(value, strong if is_strong else 1.0) for value, is_strong in self.decided]
        return sum(value * weight for value, weight in found), sum(weight for _, weight in found)

    @property
    def decided(self) -> list[tuple[float, bool]]:
        """The games that count: those with a verdict, in v2 none where one has none."""
        found = [game for game in self.games if game is not None]
        return [] if self.version == "v2" and len(found) < len(self.games) else found


@dataclass(frozen=True)
class ModelScore:
    """How a model fares against the baseline."""

    model: str
    questions: int
    games: int
    strong: int
    """Games with a strong verdict."""
    unread: int
    """Questions of which a game has no verdict."""
    win_rate: Estimate
    """Share of what could be won, by weight."""
    plain: Estimate | None
    """The same with each verdict once."""
    strength: Estimate | None
    """Bradley–Terry: log-odds of beating the baseline; None where the model has won or lost all."""
    consistent: Estimate | None
    """Share of the questions with the same winner in both orders."""
    first: Estimate | None
    """What the answer that stands first wins, by verdict: ½ is without favour."""


@dataclass(frozen=True)
class Style:
    """What style control wants to know of an answer."""

    tokens: int
    headers: int
    lists: int
    bold: int


@dataclass(frozen=True)
class StyleControl:
    """Scores beside style, in one category."""

    games: int
    questions: int
    without_style: int
    """Questions left out because an answer's style is not known, or it has no token."""
    at_mean: Mapping[str, Estimate]
    """Model → win rate at the mean style of all games: the published score."""
    at_equal: Mapping[str, Estimate]
    """Model → win rate where both answers have the same style."""
    features: Mapping[str, Estimate]
    """Feature → what one standard deviation of it adds to the log-odds."""
    means: Mapping[str, float]
    """Feature → its mean over the games, before it is centred."""
    left_out: tuple[str, ...]
    """Models that have won or lost everything, and have no finite score."""


@dataclass(frozen=True)
class CategoryScores:
    """All models of one category, the best first."""

    version: str
    category: str
    baseline: str
    judges: tuple[str, ...]
    models: tuple[ModelScore, ...]
    style: StyleControl | None = None


def read_battles(
    places: Sequence[Path], reader: RowReader, *, judges: Sequence[str] = (), baseline: str | None = None
) -> list[Battle]:
    """Read stored judgements out of files, or of folders of such files.

    Dropped, each with its reason: ``other-judge`` (asked for), ``judges-itself``, ``is-the-baseline``, and
    ``judged-again``, a later judgement of the same judge on the same model and question.

    Args:
        places: files or folders.
        reader: counts the rows and puts bad ones aside.
        judges: only these; empty takes all.
        baseline: which model all were judged against, for rows that do not name it.

    Raises:
        DataError: if one cannot be read.
        ConfigError: if both versions are among them.
    """
    battles: list[Battle] = []
    for path in files_of(places):
        for line, found in read_each(path, reader, partial(_battle, baseline=baseline)):
            battles.append(structs.replace(found, file=path.name, line=line))
    if len({battle.version for battle in battles}) > 1:
        raise ConfigError("judgements of Arena-Hard v0.1 and of v2 are other questions; score one at a time")
    names = {battle.judge for battle in battles}
    kept: list[Battle] = []
    seen: set[tuple[str, str, str]] = set()
    for battle in battles:
        key = (battle.judge, battle.model, battle.question)
        reason, asked_by = _fault(battle, names, judges, seen, key)
        if reason:
            reader.tally.given -= 1
            detail = f"{battle.model} on {battle.question} by {battle.judge}"
            reader.tally.drop("", reason, detail, at=battle, asked_by=asked_by)
            continue
        seen.add(key)
        kept.append(battle)
    return kept


def arena_hard_scores(battles: Sequence[Battle], *, strong: float = STRONG) -> list[CategoryScores]:
    """The scores of all models, category by category."""
    of: dict[tuple[str, str], list[Battle]] = defaultdict(list)
    for battle in battles:
        of[battle.category, battle.baseline].append(battle)
    found = []
    for (category, baseline), own in of.items():
        models: dict[str, list[Battle]] = defaultdict(list)
        for battle in own:
            models[battle.model].append(battle)
        strengths = _strengths(own, strong)
        scores = [_model_score(model, theirs, strong, strengths.get(model)) for model, theirs in models.items()]
        listed = sorted((score for score in scores if score), key=lambda score: (-score.win_rate.mean, score.model))
        judges = tuple(sorted({battle.judge for battle in own}))
        found.append(CategoryScores(own[0].version, category, baseline, judges, tuple(listed)))
    return found


def read_styles(places: Sequence[Path], reader: RowReader) -> dict[tuple[str, str], Style]:
    """Read the styles of answers: (model, question) → style, out of ``metadata`` (v2) or ``conv_metadata`` (v0.1).

    Answers without them are counted, ``no-style``: https://github.com/lmarena/arena-hard-auto writes them by
    ``utils/add_markdown_info.py``.

    Raises:
        DataError: if a file cannot be read.
    """
    found: dict[tuple[str, str], Style] = {}
    for path in files_of(places):
        for _, (key, style) in read_each(path, reader, _style):
            if style is None:
                reader.tally.count("no-style")
            else:
                found[key] = style
    return found


def style_features(own: Style, other: Style) -> tuple[float, ...]:
    """The four features of an answer beside another, before they are centred; both have tokens."""
    pairs = [(own.headers, other.headers), (own.lists, other.lists), (own.bold, other.bold)]
    dense = [(a / own.tokens, b / other.tokens) for a, b in pairs]
    length = (own.tokens - other.tokens) / (own.tokens + other.tokens)
    return (length, *((a - b) / (a + b + 1) for a, b in dense))


def control_style(
    scores: CategoryScores,
    battles: Iterable[Battle],
    styles: Mapping[tuple[str, str], Style],
    *,
    strong: float = STRONG,
    features: Sequence[str] = FEATURES,
) -> StyleControl | None:
    """Scores beside style; None where there are too few games with a style, or the features cannot be told apart.

    Args:
        scores: of a category without style.
        battles: of all categories.
        styles: of models and baseline.
        strong: how often a strong verdict counts.
        features: those of ``FEATURES`` that are controlled for.
    """
    own = [b for b in battles if (b.category, b.baseline) == (scores.category, scores.baseline) and b.decided]
    places = [FEATURES.index(name) for name in features]
    rows: list[tuple[str, str, float, str]] = []
    weights: list[float] = []
    table: list[list[float]] = []
    without: set[tuple[str, str]] = set()
    for battle in own:
        both = styles.get((battle.model, battle.question)), styles.get((battle.baseline, battle.question))
        if both[0] is None or both[1] is None or not both[0].tokens or not both[1].tokens:
            without.add((battle.model, battle.question))
            continue
        values = style_features(both[0], both[1])
        for value, is_strong in battle.decided:
            rows.append((battle.model, battle.baseline, value, battle.question))
            weights.append(strong if is_strong else 1.0)
            table.append([values[place] for place in places])
    if not rows:
        return None
    centred, mean, spread = _standardised(np.array(table), np.array(weights))
    if not (spread > 0).all():
        return None
    comparisons = Comparisons.make(rows, weights)
    at_mean = controlled_bradley_terry(comparisons, centred, scores.baseline)
    at_equal = controlled_bradley_terry(comparisons, centred, scores.baseline, at=-mean / spread)
    if at_mean is None or at_equal is None:
        return None
    return StyleControl(
        games=len(rows),
        questions=len({row[3] for row in rows}),
        without_style=len(without),
        at_mean={name: _chance(estimate) for name, estimate in at_mean.of.items()},
        at_equal={name: _chance(estimate) for name, estimate in at_equal.of.items()},
        features=dict(zip(features, at_mean.features, strict=True)),
        means=dict(zip(features, mean.tolist(), strict=True)),
        left_out=at_mean.without,
    )


def _battle(row: Row, baseline: str | None) -> Battle:
    version: Version = "v2" if "uid" in row else "v0.1"
    question = str(required(row, "uid" if version == "v2" else "question_id"))
    model, judge = (read_as(required(row, name), str, name) for name in ("model", "judge"))
    category = read_as(row.get("category") or "", str, "category")
    games = read_as(required(row, "games"), list[Row | None], "games")
    if len(games) != 2:
        raise RowError("games", "length-mismatch", len(games), "a game in each order of the answers")
    against = baseline or row.get("baseline") or BASELINES.get(category or version)
    if not isinstance(against, str):
        raise RowError("baseline", "missing-field", category, "name the model all were judged against (--baseline)")
    found = tuple(_game(game, number) for number, game in enumerate(games))
    return Battle(
        version=version,
        question=question,
        category=category,
        model=model.rpartition("/")[2],
        baseline=against,
        judge=judge,
        games=found,
    )


def _game(game: Row | None, number: int) -> tuple[float, bool] | None:
    score = None if game is None else game.get("score")
    if score is None:
        return None
    at = f"games[{number}].score"
    text = read_as(score, str, at).strip()
    strong = ">>" in text or "<<" in text
    value = _WINS.get(text.replace(">>", ">").replace("<<", "<"))
    if value is None:
        raise RowError(at, "unknown-vote", score, "A>>B, A>B, A=B, B>A or B>>A")
    return (1 - value if number == 0 else value), strong


def _fault(
    battle: Battle,
    names: set[str],
    judges: Sequence[str],
    seen: set[tuple[str, str, str]],
    key: tuple[str, str, str],
) -> tuple[str, str]:
    """Why a judgement does not count, and which setting asks for that."""
    if judges and battle.judge not in judges:
        return "other-judge", "judges"
    if battle.version == "v2" and battle.model in names:
        return "judges-itself", ""
    if battle.model == battle.baseline:
        return "is-the-baseline", ""
    return ("judged-again", "") if key in seen else ("", "")


def _strengths(battles: Sequence[Battle], strong: float) -> dict[str, Estimate]:
    """Bradley–Terry: model → log-odds of beating the baseline."""
    rows, weights = [], []
    for battle in battles:
        for value, is_strong in battle.decided:
            rows.append((battle.model, battle.baseline, value, battle.question))
            weights.append(strong if is_strong else 1.0)
    if not rows:
        return {}
    comparisons = Comparisons.make(rows, weights)
    # Beside the baseline, whose score is 0, and with the error of that difference; no features are looked at.
    found = controlled_bradley_terry(comparisons, np.zeros((len(rows), 0)), battles[0].baseline)
    return {} if found is None else dict(found.of)


def _model_score(model: str, own: Sequence[Battle], strong: float, strength: Estimate | None) -> ModelScore | None:
    counted = [battle for battle in own if battle.decided]
    if not counted:
        return None
    questions = [battle.question for battle in counted]
    games = [(value, is_strong, battle.question) for battle in counted for value, is_strong in battle.decided]
    both = [battle for battle in counted if None not in battle.games]
    order = [(_same(battle.games), battle.question) for battle in both]
    first = [
        (1 - value if number == 0 else value, battle.question)
        for battle in counted
        for number, game in enumerate(battle.games)
        if game is not None
        for value in (game[0],)
    ]
    return ModelScore(
        model=model,
        questions=len(set(questions)),
        games=len(games),
        strong=sum(is_strong for _, is_strong, _ in games),
        unread=sum(None in battle.games for battle in own),
        win_rate=_weighted_share([battle.weighted(strong) for battle in counted], questions, len(games)),
        plain=share([value for value, _, _ in games], [question for _, _, question in games]),
        strength=strength,
        consistent=share([value for value, _ in order], [question for _, question in order]) if order else None,
        first=share([value for value, _ in first], [question for _, question in first]),
    )


def _same(games: Sequence[tuple[float, bool] | None]) -> float:
    """Whether both games have the same winner, or none."""
    values = [game[0] for game in games if game is not None]
    return float(len(set(values)) == 1)


def _weighted_share(pairs: Sequence[tuple[float, float]], questions: Sequence[str], n: int) -> Estimate:
    """Σ won / Σ weight with a bootstrap over questions; where all is won or lost, Wilson's interval over questions."""
    totals = totals_of(np.array(pairs, np.float64), questions)
    sums = totals.sum(axis=0)
    found = bootstrap_totals(totals, _ratio, n=n, kind="percentile")
    mean = float(sums[0] / sums[1])
    if found is None:  # one question alone says nothing of others
        return Estimate(mean, 0.0, 1.0, n, len(totals), "unknown: one question")
    inside = replace(found, low=max(found.low, 0.0), high=min(found.high, 1.0))
    return wilson_if_unanimous(inside)


def _ratio(sums: Array) -> Array:
    found: Array = sums[..., 0] / sums[..., 1]
    return found


def _style(row: Row) -> tuple[tuple[str, str], Style | None]:
    question = str(required(row, "uid" if "uid" in row else "question_id"))
    named = "model" if "model" in row else "model_id"
    model = read_as(required(row, named), str, named).rpartition("/")[2]
    at = "metadata" if row.get("metadata") is not None else "conv_metadata"
    given = row.get(at)
    if given is None:
        return (model, question), None
    metadata = read_as(given, Row, at)
    tokens = read_as(required(metadata, "token_len", f"{at}."), int, f"{at}.token_len")
    counts = [_count(required(metadata, name, f"{at}."), f"{at}.{name}") for name in _COUNTS]
    return (model, question), Style(tokens, *counts)


def _count(value: object, at: str) -> int:
    """A number, or the sum of an object of numbers."""
    if isinstance(value, dict):
        return sum(read_as(each, int, f"{at}.{name}") for name, each in value.items())
    return read_as(value, int, at)


def _standardised(
    table: NDArray[np.float64], weights: NDArray[np.float64]
) -> tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]:
    """Columns less their weighted means, over their spreads (N − 1, N the sum of the weights); means and spreads."""
    whole = weights.sum()
    mean = (weights[:, None] * table).sum(axis=0) / whole
    spread = np.sqrt((weights[:, None] * (table - mean) ** 2).sum(axis=0) / (whole - 1))
    return (table - mean) / np.where(spread > 0, spread, 1.0), mean, spread


def _chance(estimate: Estimate) -> Estimate:
    """Log-odds as a chance, end by end."""
    mean, low, high = (1 / (1 + np.exp(-value)) for value in (estimate.mean, estimate.low, estimate.high))
    method = "clustered t on the logit scale"
    return Estimate(float(mean), float(low), float(high), estimate.n, estimate.groups, method)


def unread_games(battles: Iterable[Battle], tally: Tally) -> None:
    """Count games without a verdict, by judge."""
    counts = Counter(battle.judge for battle in battles for game in battle.games if game is None)
    for judge, count in counts.items():
        tally.count(f"game-without-a-verdict ({judge})", count)
