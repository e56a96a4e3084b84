"""Data from Python: read anything that holds feedback or pairs, audit it, repair it, clean it, make pairs of it.

    data = notus.read("mine.jsonl")            # also a DataFrame, an Arrow table, a datasets.Dataset, a list of dicts
    found = notus.audit(data)
    pairs = notus.binarize(notus.repair(data), strategy="mean-rating", seed=0)

Owns the objects that hold data. ``Data`` here is a whole set; what ``formats`` calls ``Data``, a single record of any
kind, is imported as ``Record``. The work is that of the steps, which the command line calls too.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeAlias

import msgspec
import pyarrow as pa

from notus.api.results import Result, RunFolder, Temporary, run_in_folder
from notus.core.artifacts import HELD_OUT, OUTPUTS, records_in
from notus.core.columns import to_columns
from notus.core.errors import ConfigError, DataError
from notus.core.records import Dialogue, Feedback, Output, Preference, Unpaired
from notus.core.stage import Dropped, Tally
from notus.core.tables import read_records, schema_of
from notus.formats.format import MAPPED
from notus.formats.format import Data as Record
from notus.formats.mapping.decode import mapping_name
from notus.formats.quarantine import Quarantine
from notus.formats.source import Source, open_source, write_jsonl
from notus.formats.splits import Table, choose_tables

if TYPE_CHECKING:
    from notus.provenance.forget import Forgotten

__all__ = [
    "Audit",
    "Data",
    "DataLike",
    "Explained",
    "Outputs",
    "audit",
    "binarize",
    "bridge",
    "clean",
    "diff",
    "export",
    "forget",
    "read",
    "read_run",
    "reading_settings",
    "repair",
]


class Explained:
    """What became of a record, from its source row on. It prints itself."""

    def __init__(self, findings: Sequence[Any]) -> None:
        self.findings = list(findings)
        """Sections: ``heading``, ``sentences``, ``table``."""

    def __repr__(self) -> str:
        return "\n".join(line for finding in self.findings for line in (finding.heading, *_lines(finding)))


class Data(Result):
    """Records of one kind: feedback, preference pairs, unpaired rows or dialogues. They are read when they are needed.

    Iterate it for the records of ``notus.core.records``, or take it as a table.
    """

    def __init__(self, run: RunFolder, source: Source) -> None:
        super().__init__(run)
        self._source = source
        self._runs: list[RunFolder] = []

    @property
    def kind(self) -> str:
        """What it holds: ``Feedback``, ``Preference``, ``Unpaired`` or ``Dialogue``."""
        return self._source.record.__name__

    @property
    def format(self) -> str:
        """Name of the format that it was read in."""
        return self._source.format

    @property
    def not_read(self) -> str:
        """Which splits and configurations of the source were not read, in words; empty where all was."""
        return self._source.not_read

    @property
    def place(self) -> Path:
        """What steps read: a file, a folder or a run directory."""
        return self.path

    def __iter__(self) -> Iterator[Record]:
        yield from self._source.records(Tally("read"), Quarantine())

    def __len__(self) -> int:
        return self._read_tally.given

    @property
    def dropped(self) -> pa.Table:
        """What was dropped: see ``core.stage.Dropped``. Of data that were only read: the rows that are bad."""
        if (self.path / "tally.json").is_file():
            return super().dropped
        rows = [vars(item) for item in self._read_tally.dropped]
        return pa.Table.from_pylist(rows, schema=schema_of(Dropped))

    @property
    def summary(self) -> dict[str, Any]:
        """The figures that the step noted; of data that were only read, their kind, format and counts."""
        if (self.path / "manifest.json").is_file():
            return super().summary
        counts = self._read_tally
        found = {"kind": self.kind, "format": self.format, "rows": counts.taken, "records": counts.given}
        return found | ({"not_read": self.not_read} if self.not_read else {})

    @property
    def tally(self) -> list[dict[str, Any]]:
        """What each stage took, gave, dropped and counted: in = out + dropped."""
        return super().tally if (self.path / "tally.json").is_file() else [self._read_tally.summary()]

    @property
    def held_out(self) -> "Data | None":
        """The pairs that are kept for evaluation, where the step kept some."""
        if not HELD_OUT.is_in(self.path):
            return None
        return Data(self._run, open_source(str(HELD_OUT.at(self.path))))

    def to_arrow(self) -> pa.Table:
        """The records as an Arrow table, one column a field."""
        return _arrow(self, self._source.record)

    def to_pandas(self) -> Any:
        """The records as a ``pandas.DataFrame``."""
        return self.to_arrow().to_pandas()

    def to_dataset(self) -> Any:
        """The records as a ``datasets.Dataset``."""
        import datasets

        return datasets.Dataset(self.to_arrow())

    def explain(self, which: int | str, decisions: str | Path | None = None) -> Explained:
        """What is known of a record: where it came from, what touched it, and, of a pair, why it is what it is.

        Args:
            which: its number, from 0, or its id, or the beginning of the id.
            decisions: where decisions of persons are kept; None takes what the runs have read, or lies beside.
        """
        from notus.provenance.lineage import explain
        from notus.report.lineage import lineage_sections

        wanted = which if isinstance(which, str) else _id_of(self, which)
        store = None if decisions is None else str(decisions)
        return Explained(lineage_sections(explain(wanted, str(self.place), store)))

    @cached_property
    def _read_tally(self) -> Tally:
        tally = Tally("read", "rows")
        for _ in self._source.records(tally, Quarantine()):
            pass
        return tally


class Outputs(Result):
    """Answers that a model gave."""

    def __iter__(self) -> Iterator[Output]:
        yield from read_records(OUTPUTS.at(self.path), Output)

    def __len__(self) -> int:
        return sum(1 for _ in self)

    def to_arrow(self) -> pa.Table:
        """The answers as an Arrow table, one row an answer."""
        return _arrow(self, Output)

    def to_pandas(self) -> Any:
        """The answers as a ``pandas.DataFrame``."""
        return self.to_arrow().to_pandas()


class Audit(Result):
    """What an audit found. ``table`` has a row for each completion, or for each pair, the most suspicious first."""

    def __init__(self, run: RunFolder, data: Data) -> None:
        super().__init__(run)
        self._data = data

    @cached_property
    def table(self) -> pa.Table:
        """Row, id, prompt, answer, reasons, evidence, suspicion, file and line; of a pair its flags are the reasons.

        ``row`` is the number of the record from 1, ``suspicion`` the place from 1, None where nothing is suspicious.
        """
        from notus.api.audits import audit_table

        return audit_table(self.path, self._data._source)

    @property
    def findings(self) -> list[Any]:
        """The sections of the health card: ``heading``, ``sentences``, ``table``, ``picture``."""
        from notus.steps.base import read_findings

        return list(read_findings(self.path))

    def __repr__(self) -> str:
        return "\n".join(line for finding in self.findings for line in (finding.heading, *_lines(finding), ""))

    def _repr_html_(self) -> str:
        return (self.path / "health.html").read_text(encoding="utf-8")


DataLike: TypeAlias = Data | str | Path | Iterable[Mapping[str, Any]] | Any
"""What data may be: what ``read`` gives, a path or hub id, rows, a DataFrame, an Arrow table or a ``Dataset``."""


def read(
    data: DataLike,
    *,
    format: str | None = None,
    map: Mapping[str, Any] | str | Path | None = None,
    limit: int | None = None,
    strict: bool = False,
    split: str | None = None,
    config: str | None = None,
    encoding: str | None = None,
) -> Data:
    """Open data, find what they are, and read them when they are needed.

    Args:
        data: a file, a folder, a run directory or a hub id; a list of dicts or of records, a ``pandas`` or ``polars``
            DataFrame, an Arrow table or reader, a ``datasets.Dataset`` or ``DatasetDict``.
        format: name of the format; None detects it.
        map: what is what where the format is not known: ``{"prompt": "question", "chosen": "answers.0.text"}``, or the
            path of a YAML file; see ``formats.mapping.targets``.
        limit: only so many rows.
        strict: whether a bad row is an error, instead of being put aside and counted.
        split: of several splits, sheets or lists the one that is read, several with ``+`` between them, or ``all``;
            None reads the only one, or ``train``. ``not_read`` says what is left.
        config: of several configurations the one that is read; None reads the only one, or the default.
        encoding: of files of text that are not in UTF-8, such as ``cp1252``.

    Raises:
        DataError: if there is nothing to read, nothing known in it, or one of several splits must be named.
        ConfigError: if there is no such format, split, configuration or encoding, or the mapping cannot be:
            ``parse_mapping``.
    """
    if format is not None and map is not None:
        raise ConfigError("notus.read: format and map both say what the columns are; leave one out")
    if isinstance(data, Data):
        return data
    how: dict[str, Any] = {"format": format if map is None else mapping_name(map), "strict": strict, "limit": limit}
    if isinstance(data, str | Path):
        path = Path(data)
        inside = records_in(path) if (path / "manifest.json").is_file() else None
        source = open_source(
            str(inside or data), split=split, config=config, encoding=None if inside else encoding, **how
        )
        return Data(RunFolder(path, ()), source)
    if encoding is not None:
        raise ConfigError(f"notus.read: a {type(data).__name__} has no encoding; leave it out")
    splits = {"": data}
    if isinstance(data, Mapping):
        splits = {str(name): each for name, each in data.items()}
    tables = [Table(name, split=name) for name in splits]
    choice = choose_tables(tables, f"the {type(data).__name__}", split, config)
    folder = Temporary()
    path = folder.path / "rows.jsonl"
    if not write_jsonl(path, (row for table in choice.tables for row in _rows_of(splits[table.file]))):
        raise DataError("there is no row in the data; give at least one")
    return Data(RunFolder(path, (folder,)), replace(open_source(str(path), **how), not_read=choice.not_read))


def audit(data: DataLike, *, rewards: Sequence[Result] = (), out: str | Path | None = None, **settings: Any) -> Audit:
    """Look for scores and labels that are wrong, and at the health of the set.

    Args:
        data: feedback or preference pairs.
        rewards: reward checks of the pairs (``notus.evaluate(ranker, "rewards", data=…)``), for labels they contradict.
        out: the run directory; None keeps nothing.
        settings: further settings of the step ``audit``.
    """
    opened = read(data)
    given = reading_settings(opened) | {"rewards": [str(each.path) for each in rewards] or None} | settings
    return Audit(run_in_folder("audit", given, where="notus.audit", out=out, keep=(opened, *rewards)), opened)


def repair(
    data: DataLike,
    *,
    by: str | None = None,
    confidence: float | None = None,
    out: str | Path | None = None,
    **settings: Any,
) -> Data:
    """Repair overall scores before pairs are made of them; each change is recorded, what is in doubt is queued.

    Args:
        data: feedback.
        by: ``ratings`` (the published rule, taken where nothing is said), or ``wording`` where there are no ratings.
        confidence: by wording, the chance from which on a 10 is set to 1, and under one minus which it stands.
        out: the run directory; None keeps nothing.
        settings: further settings of the step ``repair``.
    """
    return _run_on_data("repair", data, out, {"by": by, "confidence": confidence} | settings)


def clean(
    data: DataLike,
    *,
    against: Sequence[str | Path] = (),
    similarity: float | None = None,
    out: str | Path | None = None,
    **settings: Any,
) -> Data:
    """Take out prompts that repeat others or hold benchmark items, and answers that nobody should learn.

    Args:
        data: feedback, pairs, unpaired rows or dialogues.
        against: files of benchmark items, or folders of such files.
        similarity: least similarity of near duplicates, 0 to 1.
        out: the run directory; None keeps nothing.
        settings: further settings of the step ``clean``.
    """
    given = {"against": [str(path) for path in against] or None, "similarity": similarity}
    return _run_on_data("clean", data, out, given | settings)


def binarize(
    data: DataLike,
    *,
    strategy: str | None = None,
    preset: str | None = None,
    rejected: str | None = None,
    margin: float | None = None,
    take: str | None = None,
    share: float | None = None,
    held_out: float | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    **settings: Any,
) -> Data:
    """Turn feedback into preference pairs.

    Args:
        data: feedback.
        strategy: the score that ranks the completions: ``mean-rating``, ``critique``, ``repaired-critique``,
            ``weighted``, ``ranker``, ``votes`` or ``models``; None takes votes where there are some, and the mean
            rating otherwise.
        preset: a published binarization, such as ``argilla-mean``, in place of the above.
        rejected: what is rejected: ``random-lower``, ``worst``, ``all-lower``, ``all-pairs``, ``mean-2sd`` or
            ``random-other``.
        margin: least difference of the scores, in the unit of the score.
        take: the rule by which some of the pairs are taken, such as ``margin`` or ``aspects``; None takes all.
        share: of the pairs, that is taken.
        held_out: share of the prompts that is kept for evaluation.
        seed: draws the rejected answers, and decides between pairs that a rule cannot tell apart.
        out: the run directory; None keeps nothing.
        settings: further settings of the step ``binarize``.
    """
    given = {"strategy": strategy, "preset": preset, "rejected": rejected, "margin": margin, "held_out": held_out}
    given |= {"take": take, "share": share}
    return _run_on_data("binarize", data, out, given | settings, seed=seed)


def diff(a: DataLike, b: DataLike, *, out: str | Path | None = None, **settings: Any) -> Result:
    """Compare two preference sets: what is chosen and rejected differently, by source, model and length."""
    opened = read(a), read(b)
    shared = _read_alike(opened, ("a", "b"), "notus.diff")
    given = {"a": str(opened[0].place), "b": str(opened[1].place)} | shared | settings
    return Result(run_in_folder("diff", given, where="notus.diff", out=out, keep=opened))


def bridge(old: DataLike, new: DataLike, *, out: str | Path | None = None, **settings: Any) -> Result:
    """Put scores of a new judge on the scale of an old one, by answers that both have scored.

    Args:
        old: feedback with the old judge's scores.
        new: feedback with the new judge's: some of the same answers, and further ones.
        out: the run directory.
        settings: of the step ``bridge``, such as ``scores="mean-rating"``.
    """
    opened = read(old), read(new)
    given = {"old": str(opened[0].place), "new": str(opened[1].place)}
    given |= _read_alike(opened, ("old", "new"), "notus.bridge") | settings
    return Result(run_in_folder("bridge", given, where="notus.bridge", out=out, keep=opened))


def forget(ids: str | Sequence[str], folder: str | Path, *, why: str = "", write: bool = True) -> "Forgotten":
    """Find the pairs, runs and models that withdrawn rows have touched, and keep the rows out from then on.

    Args:
        ids: of feedback rows, completions, prompts, pairs or single rows, or ``file:line``.
        folder: that holds the runs; steps whose run directory lies in it drop these rows.
        why: kept with the ids.
        write: False looks only.
    """
    from notus.provenance.forget import forget as forget_rows

    return forget_rows([ids] if isinstance(ids, str) else list(ids), Path(folder), why=why, write=write)


def export(data: DataLike, path: str | Path, *, to: str = "trl", **settings: Any) -> Result:
    """Write data in somebody else's format, as ``rows.jsonl`` or ``rows.parquet`` in the run directory ``path``."""
    opened = read(data)
    given = reading_settings(opened) | {"to": to} | settings
    return Result(run_in_folder("export", given, where="notus.export", out=path, keep=(opened,)))


def _read_alike(opened: tuple[Data, Data], names: tuple[str, str], where: str) -> dict[str, Any]:
    """How two sets are read by one step.

    Raises:
        ConfigError: if they were to be read in different ways.
    """
    first, second = (reading_settings(each) for each in opened)
    alike = ("limit", "split", "config", "encoding", "strict")
    for key in alike:
        if first[key] != second[key]:
            raise ConfigError(
                f"{where}: {key} is {first[key]} of {names[0]} and {second[key]} of {names[1]}; read both alike"
            )
    shared = {key: first[key] for key in alike}
    return shared | {key: first[key] if first[key] == second[key] else None for key in ("layout", "map")}


def _run_on_data(
    step: str, data: DataLike, out: str | Path | None, settings: Mapping[str, Any], seed: int | None = None
) -> Data:
    opened = read(data)
    given = reading_settings(opened) | dict(settings)
    run = run_in_folder(step, given, where=f"notus.{step}", out=out, seed=seed, keep=(opened,))
    return Data(run, open_source(str(records_in(run.path))))


def reading_settings(data: Data, setting: str = "data") -> dict[str, Any]:
    """The settings by which a step reads the same rows. One process, as a script may have no guard for more.

    Args:
        data: opened, perhaps with a format, a limit or strictness of its own.
        setting: the step's setting that names what is read.
    """
    source = data._source
    read_as = (
        source.format
        if not (data.path / "manifest.json").is_file() and not source.format.startswith("notus-")
        else None
    )
    mapped = msgspec.json.decode(read_as.removeprefix(MAPPED)) if read_as and read_as.startswith(MAPPED) else None
    return {
        setting: str(data.place),
        "layout": None if mapped else read_as,
        "map": mapped,
        "limit": source.limit,
        "split": source.split,
        "config": source.config,
        "encoding": source.encoding,
        "strict": source.strict or None,
        "workers": 1,
    }


def _rows_of(data: Any) -> Iterator[object]:
    """Plain rows of whatever holds rows."""
    if hasattr(data, "collect") and hasattr(data, "collect_schema"):
        data = data.collect()  # a lazy frame of polars
    if hasattr(data, "with_format"):
        data = data.with_format(None)  # a Dataset gives plain values, whatever it was set to give
    if isinstance(data, pa.RecordBatch):
        data = pa.Table.from_batches([data])
    if hasattr(data, "to_dict") and hasattr(data, "iloc"):  # a DataFrame of pandas
        yield from _pandas_rows(data)
    elif hasattr(data, "__arrow_c_stream__"):  # a DataFrame of polars, a table or a reader of Arrow
        for batch in pa.RecordBatchReader.from_stream(data):
            yield from batch.to_pylist()
    elif isinstance(data, Iterable) and not isinstance(data, Mapping | str | bytes):
        for row in data:
            if not isinstance(row, Mapping | msgspec.Struct):
                raise DataError(f"a row is {row!r:.60}; a mapping of columns to values is needed")
            yield msgspec.to_builtins(row) if isinstance(row, msgspec.Struct) else dict(row)
    else:
        raise DataError(
            f"cannot read a {type(data).__name__}; give a path, rows, a DataFrame, an Arrow table or a Dataset"
        )


def _pandas_rows(data: Any) -> Iterator[object]:
    try:
        yield from pa.Table.from_pandas(data, preserve_index=False).to_pylist()
    except (pa.ArrowException, TypeError):  # a column of objects of several types
        yield from data.astype(object).where(data.notna(), None).to_dict("records")


def _id_of(data: Data, number: int) -> str:
    for place, record in enumerate(data):
        if place == number:
            if isinstance(record, Feedback | Preference | Unpaired):
                return record.id
            assert isinstance(record, Dialogue)
            raise DataError("a dialogue has no id; explain pairs or feedback")
    raise DataError(f"there is no record {number}; the numbers go from 0 to {len(data) - 1}")


def read_run(data: Data) -> Path:
    """A run directory that holds the data: their own, or one that the step ``read`` makes in a temporary directory."""
    if (data.path / "manifest.json").is_file() and data._source.limit is None:
        return data.path
    settings = reading_settings(data, "path")
    run = run_in_folder("read", settings, where="notus.read", keep=(data,))
    data._runs.append(run)
    return run.path


def _arrow(records: Iterable[Any], kind: type[Any]) -> pa.Table:
    return pa.Table.from_arrays(to_columns(list(records), kind), schema=schema_of(kind))


def _lines(finding: Any) -> list[str]:
    """A section as lines of text."""
    lines = [f"  {sentence}" for sentence in finding.sentences]
    if finding.table is not None:
        lines += ["  " + " | ".join(map(str, row)) for row in (finding.table.columns, *finding.table.rows)]
    return lines
