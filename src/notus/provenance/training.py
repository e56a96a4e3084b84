"""What a model was trained on, as its run directories tell: ids of prompts, and the contamination flags of its scores.

What a model and its reference learnt alike cancels out in the implicit reward log π/π_ref; so of a policy only what it
learnt after its reference counts.

A score is flagged where the benchmark's questions were among the training data, as far as is known beforehand: of
TruthfulQA wherever UltraFeedback was used. A flag says that a score is not to be trusted, and not that it is too high.

Owns the walk from an evaluation back to the data of its model, and the flags. Does not own the search for benchmark
items in prompts, which needs the data and gives the evidence (``clean.contamination``).
"""

from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq

from notus.core.artifacts import DIALOGUES, MODEL, PREFERENCES, SCORES, UNPAIRED, Artifact
from notus.core.records import Dialogue, Message, Preference, Unpaired, prompt_id
from notus.core.run import read_json
from notus.core.stage import Tally
from notus.core.tables import read_records, read_table
from notus.formats.quarantine import Quarantine
from notus.formats.source import open_source
from notus.provenance.lineage import Link, format_of, links_of

__all__ = ["STATED_FLAG", "benchmark_flag", "is_truthfulqa", "run_flag", "trained_on", "trained_prompts"]

STATED_FLAG = "contaminated: the settings say that the model was trained on these questions"
"""The flag where the user knows."""
_LEARNT_FROM = {"sft": "data", "dpo": "pairs", "train-ranker": "pairs"}
"""Type of a step that trains → its setting that names the data."""
_TRAINED = ("ultrafeedback", "truthfulqa")
"""What a path, a hub id or a source of rows holds when its data do. Some published sets left out the 811 prompts of
that source; questions that came in by other sources remain, so these sets are flagged too."""
_MODELS = ("zephyr7balpha", "zephyr7bbeta", "notus7bv1", "snorkelmistralpairrmdpo")
"""Published models that were trained on UltraFeedback, by their cards, for results that have no lineage."""


def trained_prompts(check: Path) -> frozenset[str] | None:
    """Ids of the prompts that the model of a reward check was trained on.

    A model that training started from, and that is no run of Notus, counts as one that has seen none of them: nobody
    can tell.

    Returns:
        None where it is not known: the model is no run, or what it was trained on is gone.
    """
    link = links_of(str(check))[-1]
    kind = str(link.config["ranker"]).partition(":")[0]
    if kind == "length":
        return frozenset()
    given = _inputs_of(link)
    models = [given[name] for name in sorted(given) if name.startswith("models.")]
    if kind not in ("implicit", "reward-model", "pairrm") or not models or _run_of(models[0]) is None:
        return None
    reference = _run_of(models[1]) if kind == "implicit" else None
    seen: set[str] = set()
    for trained in _trainings(models[0], reference):
        found = _prompts_of(trained)
        if found is None:
            return None
        seen |= found
    return frozenset(seen)


def run_flag(name: str, folder: Path) -> str:
    """The contamination flag of the scores in a run directory; empty when they need none.

    What the settings state goes before what lineage tells.

    Args:
        name: of the benchmark or the step; what the settings of the run name counts too.
        folder: the run directory of the evaluation, whose lineage leads to the training data.
    """
    config = read_json(folder / "config.json")
    if config.get("contaminated") is not None:
        return STATED_FLAG if config["contaminated"] else ""
    named = next((text for text in (name, *_texts(config)) if is_truthfulqa(text)), None)
    return benchmark_flag(named, trained_on(folder)) if named else ""


def benchmark_flag(benchmark: str, trained_on: Iterable[str]) -> str:
    """One sentence for a contaminated score, and an empty text for another one.

    UltraFeedback holds 811 prompts of TruthfulQA's 817 by their source, and 21 more that equal a question: Cui et al.
    (2023), https://arxiv.org/abs/2310.01377; the 21 were found by comparing texts.

    Args:
        benchmark: name of the task.
        trained_on: what the model was made from: paths, hub ids and sources of its training data, ids of its bases.
    """
    if not is_truthfulqa(benchmark):
        return ""
    found = next((item for item in trained_on if any(sign in _plain(item) for sign in (*_TRAINED, *_MODELS))), None)
    if found is None:
        return ""
    return (
        f"contaminated: UltraFeedback holds TruthfulQA's questions, and '{found}' says that it was trained on; "
        "compare such a score with none that was not"
    )


def trained_on(folder: Path) -> Iterator[str]:
    """What the model of an evaluation was made from, over all runs before it.

    Paths, hub ids, names in settings, and the sources of the rows of pairs. Neither what is evaluated on nor what data
    were cleaned against is training data.
    """
    links = {link.path: link for link in links_of(str(folder))}
    waiting, seen = [str(folder)], set[str]()
    while waiting:
        link = links[waiting.pop()]
        first = not seen
        seen.add(link.path)
        parents = zip(link.settings, link.parents, strict=True)
        used = [parent for setting, parent in parents if _trains(setting, first=first)]
        waiting += [parent for parent in used if parent not in seen]
        yield from (text for key, value in link.config.items() if _trains(key, first=first) for text in _texts(value))
        if not first:
            yield from (link.path, *_sources_of(Path(link.path)))


def is_truthfulqa(name: str) -> bool:
    """Whether a task, a file or a setting means TruthfulQA: ``truthfulqa_mc2``, ``truthful_qa``."""
    return "truthfulqa" in _plain(name)


def _inputs_of(link: Link) -> dict[str, str]:
    return dict(zip(link.settings, link.parents, strict=True))


def _run_of(model: str) -> Path | None:
    """The run directory that a model lies in."""
    folder = Path(model)
    inside = folder.parent if folder.name == MODEL.file else folder
    return next((each for each in (folder, inside) if (each / "inputs.json").is_file()), None)


def _trainings(model: str, reference: Path | None) -> Iterator[Link]:
    """The runs that made a model, the last first, back to its reference or to where training began."""
    folder = _run_of(model)
    while folder is not None and not (reference and folder.resolve() == reference.resolve()):
        link = links_of(str(folder))[-1]
        if link.stage not in _LEARNT_FROM:
            return
        yield link
        start = _inputs_of(link).get("start")
        folder = _run_of(start) if start else None


def _prompts_of(trained: Link) -> set[str] | None:
    """The prompts of the data of one training, of all its sources; None where some are gone."""
    setting = _LEARNT_FROM[trained.stage]
    given = [data for name, data in _inputs_of(trained).items() if name.partition(".")[0] == setting]
    if not given or not all(Path(data).exists() for data in given):
        return None
    found = set[str]().union(*(_prompts_in(trained, data) for data in given))
    measured = SCORES.at(Path(trained.path))
    if trained.stage == "train-ranker" and measured.is_file():
        found -= {str(row["prompt_id"]) for row in read_table(measured)}  # it held these out itself
    return found


def _prompts_in(trained: Link, data: str) -> set[str]:
    """The prompts of one source of a training."""
    tables: list[tuple[Artifact, type[Preference] | type[Unpaired] | type[Dialogue]]]
    tables = [(PREFERENCES, Preference), (UNPAIRED, Unpaired), (DIALOGUES, Dialogue)]
    if trained.stage == "sft":
        tables.reverse()
    for table, kind in tables:
        if table.is_in(Path(data)):
            return {_prompt_id(row) for row in read_records(table.at(Path(data)), kind)}
    read_as: dict[str, Any] = {key: trained.config.get(key) for key in ("limit", "split", "config", "encoding")}
    source = open_source(data, format=format_of(trained.config), **read_as)
    rows = source.records(Tally("again"), Quarantine())
    return {_prompt_id(row) for row in rows if isinstance(row, Preference | Unpaired | Dialogue)}


def _prompt_id(row: Preference | Unpaired | Dialogue) -> str:
    if not isinstance(row, Dialogue):
        return row.prompt_id
    before: tuple[Message, ...] = row.messages[:-1] or row.messages
    return prompt_id(before)


def _trains(setting: str, *, first: bool) -> bool:
    """Whether a setting names what a model is made from; that of the evaluation itself is its model alone."""
    return setting.startswith(("model", "base")) if first else not setting.startswith("against")


def _sources_of(folder: Path) -> list[str]:
    """The sources of the rows of pairs that a run left."""
    if not PREFERENCES.is_in(folder) or "source" not in pq.ParquetDataset(PREFERENCES.at(folder)).schema.names:
        return []
    column = pq.read_table(PREFERENCES.at(folder), columns=["source"], page_checksum_verification=True).column("source")
    return [str(source) for source in column.unique().to_pylist()]


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        yield from (text for item in value.values() for text in _texts(item))
    elif isinstance(value, list):
        yield from (text for item in value for text in _texts(item))


def _plain(text: str) -> str:
    return "".join(character for character in text.lower() if character.isalnum())
