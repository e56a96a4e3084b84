"""Which prompts a model was trained on, as its run directories tell.

What a model and its reference learnt alike cancels out in the implicit reward log π/π_ref; so of a policy only what it
learnt after its reference counts. Owns the walk from a reward check back to the data of its model.
"""

from collections.abc import Iterator
from pathlib import Path

from notus.core.records import Dialogue, Message, Output, Preference, Unpaired
from notus.core.stage import Tally
from notus.core.tables import read_records, read_table, table_exists
from notus.data.lineage import Link, links_of
from notus.data.quarantine import Quarantine
from notus.data.sources import open_source

__all__ = ["trained_prompts"]

_LEARNT_FROM = {"sft": "data", "dpo": "pairs", "train-ranker": "pairs"}
"""Kind of step that trains → its setting that names the data."""


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
    given = _given(link)
    models = [given[name] for name in sorted(given) if name.startswith("models.")]
    if kind not in ("implicit", "reward-model", "pairrm") or not models or _run_of(models[0]) is None:
        return None
    reference = _run_of(models[1]) if kind == "implicit" else None
    seen: set[str] = set()
    for trained in _trainings(models[0], reference):
        found = _prompts(trained)
        if found is None:
            return None
        seen |= found
    return frozenset(seen)


def _given(link: Link) -> dict[str, str]:
    return dict(zip(link.settings, link.parents, strict=True))


def _run_of(model: str) -> Path | None:
    """The run directory that a model lies in."""
    folder = Path(model)
    inside = folder.parent if folder.name == "model" else folder
    return next((each for each in (folder, inside) if (each / "inputs.json").is_file()), None)


def _trainings(model: str, reference: Path | None) -> Iterator[Link]:
    """The runs that made a model, the last first, back to its reference or to where training began."""
    folder = _run_of(model)
    while folder is not None and not (reference and folder.resolve() == reference.resolve()):
        link = links_of(str(folder))[-1]
        if link.stage not in _LEARNT_FROM:
            return
        yield link
        start = _given(link).get("start")
        folder = _run_of(start) if start else None


def _prompts(trained: Link) -> set[str] | None:
    """The prompts of the data of one training; None where the data are gone."""
    data = _given(trained).get(_LEARNT_FROM[trained.stage])
    if data is None or not Path(data).exists():
        return None
    tables: list[tuple[str, type[Preference] | type[Unpaired] | type[Dialogue]]]
    tables = [("preferences", Preference), ("unpaired", Unpaired), ("dialogues", Dialogue)]
    if trained.stage == "sft":
        tables.reverse()
    for name, kind in tables:
        if table_exists(Path(data) / f"{name}.parquet"):
            found = {_prompt_id(row) for row in read_records(Path(data) / f"{name}.parquet", kind)}
            break
    else:
        source = open_source(data, layout=trained.config.get("layout"), limit=trained.config.get("limit"))
        rows = source.records(Tally("again"), Quarantine())
        found = {_prompt_id(row) for row in rows if isinstance(row, Preference | Unpaired | Dialogue)}
    measured = Path(trained.path) / "scores.parquet"
    if trained.stage == "train-ranker" and measured.is_file():
        found -= {str(row["prompt_id"]) for row in read_table(measured)}  # it held these out itself
    return found


def _prompt_id(row: Preference | Unpaired | Dialogue) -> str:
    if not isinstance(row, Dialogue):
        return row.prompt_id
    before: tuple[Message, ...] = row.messages[:-1] or row.messages
    return Output(prompt=before, text="", model="nobody").prompt_id
