"""What a step is: its settings, what it reads, what it leaves, and ``run``; and the context that it runs in.

    class Repair(Reads):
        \"\"\"Repair feedback by a rule.\"\"\"

        step_type: ClassVar[str] = "repair"
        leaves: ClassVar[tuple[Artifact, ...]] = (FEEDBACK, DECISIONS)
        data: FeedbackRef = "data"
        \"\"\"Feedback: another step, a file, a folder, a run directory or a hub id.\"\"\"

        def run(self, context: Context) -> None:
            for feedback in context.records("data"):
                …

A setting of a type that ends in ``Ref`` names another step of the recipe, a path or a hub id, and says which artifacts
are read of a step. Owns the base classes and the context. The steps are in the rooms below ``steps``, their names in
``steps.registry``, the doing in ``steps.perform``. No torch and nothing heavy.
"""

from abc import abstractmethod
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Literal, Self, TypeVar, cast

import msgspec
import pydantic

from notus.core.artifacts import (
    DIALOGUES,
    FEEDBACK,
    FINDINGS,
    HELD_OUT,
    MODEL,
    OUTPUTS,
    PREFERENCES,
    PROMPTS,
    QUARANTINE,
    RAW_FEEDBACK,
    ROWS,
    ROWS_TABLE,
    RULINGS,
    UNPAIRED,
    Artifact,
    find_model,
    records_in,
)
from notus.core.config import Config
from notus.core.disk.withdrawn import forgotten_beside, read_sieve
from notus.core.errors import DataError, check_space
from notus.core.parallel import start_workers, usable_cores
from notus.core.plugins import load_python
from notus.core.records import Dialogue, Feedback, Preference, Unpaired
from notus.core.run import MANIFEST, Run, atomic, check_run, read_manifest
from notus.core.stage import Tally
from notus.core.tables import read_records, table_exists, write_records, write_table
from notus.formats.format import Data, NoFormatError
from notus.formats.quarantine import Quarantine, RowReader
from notus.formats.source import Source, open_source, read_counted, sharded
from notus.train.mixture import Portion, read_portions

if TYPE_CHECKING:  # the sections of reports are heavy, and most steps leave none; few are given decisions
    from notus.decisions.apply import Applied
    from notus.report.section import ReportSection

__all__ = [
    "HELD",
    "TABLES",
    "ChoicesRef",
    "Context",
    "Decides",
    "DecisionsRef",
    "DialoguesRef",
    "DialoguesRefs",
    "FeedbackRef",
    "FileRef",
    "MayLose",
    "ModelRef",
    "OptionalFeedbackRef",
    "OptionalFileRef",
    "OptionalModelRef",
    "OptionalRef",
    "OutputsRef",
    "PairsRef",
    "PairsRefs",
    "PromptsRef",
    "Reads",
    "Ref",
    "Reference",
    "Refs",
    "Seed",
    "Serving",
    "SourceRef",
    "Step",
    "decided_for",
    "held_out_beside",
    "open_records",
    "read_findings",
    "references_of",
    "refs_of",
    "require_feedback",
    "settings_of",
    "with_forgotten",
]

R = TypeVar("R", bound=msgspec.Struct)
D = TypeVar("D", Feedback, Preference, Unpaired, Dialogue)


@dataclass(frozen=True)
class Reference:
    """Marks a setting that names a step of the recipe, a path or a hub id."""

    reads: tuple[Artifact, ...] = ()
    """What is read of a step: one of these. Empty for what is no artifact of a step, or may be anything."""
    rulings: bool = False
    """Whether these are decisions: they count by what is in force of them, and may lie in a database."""


_FEEDBACK = (FEEDBACK, RAW_FEEDBACK, ROWS, ROWS_TABLE)
_PAIRS = (PREFERENCES, ROWS, ROWS_TABLE)
_SOURCE = (RAW_FEEDBACK, FEEDBACK, PREFERENCES, UNPAIRED, DIALOGUES, ROWS, ROWS_TABLE)
_Text = pydantic.Field(min_length=1)
_Name = Annotated[str, _Text]
Ref = Annotated[str, Reference(), _Text]
OptionalRef = Annotated[str | None, Reference()]
Refs = Annotated[tuple[str, ...], Reference()]
FileRef = Annotated[str, Reference(), _Text]
OptionalFileRef = Annotated[str | None, Reference()]
DecisionsRef = Annotated[str | None, Reference((RULINGS,), rulings=True)]
SourceRef = Annotated[str, Reference(_SOURCE), _Text]
FeedbackRef = Annotated[str, Reference(_FEEDBACK), _Text]
OptionalFeedbackRef = Annotated[str | None, Reference(_FEEDBACK)]
PairsRef = Annotated[str, Reference((*_PAIRS, UNPAIRED, HELD_OUT)), _Text]
ChoicesRef = Annotated[str, Reference((*_PAIRS, UNPAIRED, HELD_OUT, FEEDBACK, RAW_FEEDBACK)), _Text]
"""Pairs, or prompts with several answers of which some are good."""
DialoguesRef = Annotated[str, Reference((DIALOGUES, PREFERENCES, UNPAIRED)), _Text]
_Portions = pydantic.BeforeValidator(read_portions)
_OneOrSeveral = _Name | Annotated[tuple[Portion, ...], pydantic.Field(min_length=1)]
DialoguesRefs = Annotated[_OneOrSeveral, Reference((DIALOGUES, PREFERENCES, UNPAIRED)), _Portions]
"""One source, or several with weights and caps."""
PairsRefs = Annotated[_OneOrSeveral, Reference((*_PAIRS, UNPAIRED, HELD_OUT)), _Portions]
PromptsRef = Annotated[str, Reference((*_SOURCE, PROMPTS)), _Text]
OutputsRef = Annotated[str, Reference((OUTPUTS, *_FEEDBACK)), _Text]
ModelRef = Annotated[str, Reference((MODEL,)), _Text]
OptionalModelRef = Annotated[str | None, Reference((MODEL,))]
Seed = Annotated[int, pydantic.Field(ge=0, lt=2**32)]
"""What PyTorch and NumPy both take."""
HELD: dict[type[Data], str] = {
    Feedback: "feedback",
    Preference: "preference pairs",
    Unpaired: "unpaired answers",
    Dialogue: "dialogues",
}
"""Kind of record → what it is called in messages."""
TABLES: dict[type[Data], Artifact] = {
    Feedback: FEEDBACK,
    Preference: PREFERENCES,
    Unpaired: UNPAIRED,
    Dialogue: DIALOGUES,
}
"""Kind of record → the artifact that holds them."""


def _read_map(given: Any) -> Any:
    """A mapping as plain values: what a file says counts, not where it lies."""
    if given is None:
        return None
    from notus.formats.mapping.targets import parse_mapping  # most files need no mapping

    return parse_mapping(given).given if isinstance(given, str | Mapping) else given


class Step(Config):
    """Base of all steps: a config with ``run``."""

    step_type: ClassVar[str]
    """What a recipe calls it, and its run directory."""
    leaves: ClassVar[tuple[Artifact, ...]] = ()
    """What later steps may read of it. Which of them are there can depend on what was read."""
    draws: ClassVar[bool] = True
    """Whether the result depends on a seed."""
    computes: ClassVar[bool] = False
    """Whether the result depends, in its last bits, on the number of threads."""
    collects: ClassVar[bool] = False
    """Whether models are asked over a ledger, so that ``notus collect`` may run it."""
    results: ClassVar[int] = 1
    """Raised by one whenever equal settings and inputs give other bytes than before: what was done by the older code is
    then another step, and never taken for this one's."""
    least_written: ClassVar[float] = 0.0
    """Bytes that it writes at least for each byte that it reads, however well they are packed: a disk without so much
    room is told before the work. 0 where that cannot be known."""
    loaded_from: ClassVar[str | None] = None
    """``python:FILE:NAME`` of a class of the user's."""
    compared_as: ClassVar[str | None] = None
    """Under which name its scores are compared, where that is not its own."""
    compared_by: ClassVar[tuple[str, ...]] = ()
    """What its runs noted that decides what a score means: runs that differ in it cannot be compared."""

    def pinned_seed(self, seed: int) -> int | None:
        """The seed of this step: its own where it names one, otherwise the replicate's; None if it draws nothing."""
        if not self.draws:
            return None
        own: int | None = getattr(self, "seed", None)
        return seed if own is None else own

    @abstractmethod
    def run(self, context: "Context") -> None:
        """Do the work: read what the settings name, leave the artifacts in the context's run directory."""

    def __reduce__(self) -> Any:
        """Worker processes load a class of the user's from its file again: its module cannot be imported by name."""
        if self.loaded_from is None:
            return super().__reduce__()
        return _restore, (self.loaded_from, self.__getstate__())


class MayLose(Config):
    """What all steps share that read rows of which some may be bad."""

    allow_losses: bool = pydantic.Field(default=False, exclude=True)
    """Whether to go on where more than half of the rows cannot be read, or are lost for reasons that no setting asks
    for; otherwise that is an error. It changes no row, and is no part of what a run is named and compared by."""


class Decides(Config):
    """What all steps share that read rows on which persons may have decided."""

    decisions: DecisionsRef = None
    """What persons decided (``notus decide``, ``notus review``), which is done to the rows while they are read: a file,
    the URL of a team's database, a folder with ``decisions.sqlite`` or ``decisions.jsonl``; in a recipe, a step too."""
    drop: tuple[str, ...] = ()
    """Ids of records and answers, or of prompts, or their beginnings, that are left out, whatever was decided
    before."""

    settings_if_given: ClassVar[frozenset[str]] = frozenset(["decisions", "drop", "keep"])
    """Settings that are part of what a run is only where they are given: one from before they were there stays good."""

    @property
    def decides(self) -> bool:
        """Whether anything is said of decisions."""
        return bool(self.decisions or self.drop or self.kept_ids)

    @property
    def kept_ids(self) -> tuple[str, ...]:
        """Ids that stay, whatever was decided before. Of a training ``keep`` is a number of checkpoints."""
        found = getattr(self, "keep", ())
        return found if isinstance(found, tuple) else ()

    @pydantic.model_validator(mode="after")
    def _kept_or_dropped(self) -> Self:
        if both := sorted(set(self.kept_ids) & set(self.drop)):
            raise ValueError(f"'keep' and 'drop' both name {both[0]}; leave it out of one")
        return self


class Reads(Step, MayLose, Decides):
    """What all steps that read a source share."""

    layout: str | None = None
    """Name of the format; null detects it."""
    map: Annotated[dict[str, Any] | None, pydantic.BeforeValidator(_read_map)] = None
    """What is what in a file of no known format: prompt=question, chosen=answers.0.text, or a YAML file of such lines;
    ``notus formats FILE`` prints one to try."""
    limit: int | None = pydantic.Field(default=None, ge=1)
    """Only so many rows."""
    split: str | None = pydantic.Field(default=None, min_length=1)
    """Of several splits, sheets or lists the one that is read, several with ``+`` between them, or ``all``; null reads
    the only one, or ``train``."""
    config: str | None = pydantic.Field(default=None, min_length=1)
    """Of several configurations the one that is read; null reads the only one, or the default."""
    encoding: str | None = pydantic.Field(default=None, min_length=1)
    """Of files of text that are not in UTF-8, such as cp1252 (Excel's CSV in Western Europe), latin-1, utf-16-le; null
    reads UTF-8, and UTF-16 where a byte-order mark says so."""
    strict: bool = False
    """Whether a bad row is an error, instead of going to the quarantine."""
    forget: OptionalFileRef = None
    """File of withdrawn ids (``notus forget``), whose rows are dropped; null takes ``forgotten.jsonl`` of the folder of
    runs, where there is one."""
    keep: tuple[str, ...] = ()
    """Ids of records and answers, or of prompts, or their beginnings, that stay as they are, whatever was decided
    before: no score of theirs is repaired, no filter takes them out."""
    workers: int | None = pydantic.Field(default=None, ge=1, exclude=True)
    """Number of processes for a large source; null takes the cores that may be used. The result does not depend on it,
    and it is no part of what a run is named and compared by."""

    @pydantic.model_validator(mode="after")
    def _layout_or_map(self) -> Self:
        if self.layout is not None and self.map is not None:
            raise ValueError("'layout' and 'map' both say what the columns are; leave one out")
        return self


class Serving(Config):
    """What a step that asks models may start for itself."""

    serve: OptionalModelRef = None
    """A model on this machine, asked under the endpoint name ``local``."""
    engine: Literal["server", "inprocess"] = "server"
    """``server`` starts ``transformers serve`` on loopback, ``inprocess`` samples in the step's own process."""


class Context:
    """What a step works with: its run directory, what its settings refer to, and its seed.

    Args:
        run: the open run directory.
        step: the settings.
        inputs: setting → run directory of the step that it refers to, or path or hub id; one that names several is
            numbered: ``against.0``.
        seed: None for a step that draws nothing.
        decided: what persons decided on the rows that it reads.
    """

    def __init__(
        self, run: Run, step: Step, inputs: Mapping[str, str], seed: int | None, decided: "Applied | None" = None
    ) -> None:
        self.run, self.step, self.inputs, self._seed = run, step, inputs, seed
        self.decided = decided

    @property
    def seed(self) -> int:
        """The seed of a step that draws."""
        assert self._seed is not None, f"{type(self.step).__name__} draws nothing, and has no seed"
        return self._seed

    @property
    def path(self) -> Path:
        """The run directory."""
        return self.run.path

    def has(self, setting: str) -> bool:
        """Whether a setting refers to something."""
        return setting in self.inputs

    def place(self, setting: str) -> Path:
        """Where that lies which a setting refers to."""
        return Path(self.inputs[setting])

    def places(self, setting: str) -> list[Path]:
        """Where those lie which a setting that names several refers to, in its order."""
        return [Path(self.inputs[key]) for key in self._numbered_keys(setting)]

    def hashes(self, setting: str) -> list[str]:
        """The hashes of what a setting that names several refers to, in its order."""
        return [self.run.inputs[key] for key in self._numbered_keys(setting)]

    def source(self, setting: str = "data") -> Source:
        """Open the records that a setting refers to: those of a run directory, a file, a folder or a hub id."""
        assert isinstance(self.step, Reads)
        source = self.open(self.step, self.inputs[setting])
        if source.fills_processes:
            count = min(self.step.workers or usable_cores(), source.fills_processes)
            start_workers(count, type(self.step).__module__)
        return source

    def open(self, config: Reads, given: str) -> Source:
        """Open records as ``open_records`` does, note which splits and configurations are not read, and see to room."""
        source = open_records(config, given, self.decided if config.decides else None)
        if source.not_read:
            before = self.run.summary.get("not_read")
            self.note(not_read=f"{before}; {source.not_read}" if before else source.not_read)
        if source.withdrawn is not None:
            self.note(forget=config.forget)
        if config.least_written and source.limit is None and source.part is None:
            size = sum(path.stat().st_size for path in source.paths)
            check_space(self.run.path, config.least_written * size, f"what is made of {source.name}")
        return source

    def open_prompts(self, config: Reads, given: str) -> Source:
        """Open what prompts are taken from: all that ``open`` takes, and rows that hold a prompt and no answer.

        Raises:
            DataError: as ``open``.
        """
        try:
            return self.open(config, given)
        except NoFormatError as error:
            found = error.prompts
            if not found or config.map:
                raise
        said = " and ".join(f"'{name}' is the {part}" for part, name in found.items())
        self.note(prompts_from=f"{said} of {given}, which has no answers; --map prompt=… names another column")
        return self.open(config.model_copy(update={"map": found}), given)

    def decided_records(self, records: Iterable[D], tally: Tally) -> Iterator[D]:
        """Records of a table of ours as persons have decided on them; the tally counts what comes and what stays."""
        for record in records:
            tally.taken += 1
            found = record if self.decided is None else self.decided.sift(record, tally)
            if found is not None:
                tally.given += 1
                yield cast("D", found)  # of the kind that it was

    def check_decided(self) -> None:
        """Refuse an id of ``keep`` or ``drop`` that is in nothing that was read.

        It is called when a step is done; one that works long on what it has read calls it before.

        Raises:
            UnseenError: that names it.
        """
        if self.decided is not None:
            self.decided.refuse_unseen(self.seen, self.data_read)

    @property
    def data_read(self) -> str:
        """The places of the data that the step reads, for a sentence."""
        refs = references_of(self.step).items()
        data = [key for key, (_, of) in refs if of.reads and not of.rulings and MODEL not in of.reads]
        return " and ".join(dict.fromkeys(self.inputs[key] for key in data or self.inputs if key in self.inputs))

    @property
    def seen(self) -> set[tuple[str, str]]:
        """The decisions whose target was met in what was read so far."""
        return set().union(*(tally.seen for tally in self.run.tallies))

    def shards(self, source: Source, work: Any, workers: int | None = None, *, again: bool = False) -> Iterator[Any]:
        """Work on a source shard by shard, in processes; see ``formats.source.sharded``."""
        return sharded(self.run, source, work, workers, again=again)

    def records(self, source: Source, stage: str = "read") -> Iterator[Any]:
        """Read a source here, record by record: bad rows go to the quarantine, the tally ``stage`` counts."""
        return read_counted(self.run, source, stage)

    @contextmanager
    def row_reader(self, stage: str = "read") -> Iterator[RowReader]:
        """What reads files that no format reads: bad rows go to the quarantine, the tally ``read`` counts.

        Args:
            stage: name of the tally. Of what is read besides (``read-questions``) it stands in the run only where a row
                was bad, and its quarantine is a file of its own (``quarantine_questions.jsonl``).

        Raises:
            LossError: at the end, if more than half of the rows are bad.
        """
        beside = stage.removeprefix("read").replace("-", "_")
        tally = Tally(stage, "rows") if beside else self.tally(stage, "rows")
        place = QUARANTINE.at(self.path)
        with Quarantine(place.with_stem(f"{place.stem}{beside}")) as quarantine:
            yield RowReader(tally, quarantine)
        if beside and (quarantine.total or tally.counts):
            self.run.tallies.append(tally)
        if quarantine.total:
            before = self.run.summary.get("quarantined", 0)
            told = quarantine.summary()
            self.note(
                quarantined=before + quarantine.total,
                quarantine=f"{self.run.summary['quarantine']}; {told}" if before else told,
            )
        self.run.check_losses()

    def read(self, setting: str, artifact: Artifact) -> list[Any]:
        """The rows of an artifact of the step that a setting refers to; empty where it did not leave it."""
        place = artifact.at(self.place(setting))
        assert artifact.record is not None
        return list(read_records(place, artifact.record)) if table_exists(place) else []

    def model(self, setting: str = "model") -> str:
        """The model that a setting means: of a run directory, a folder, or a hub id."""
        return find_model(self.inputs[setting])

    def write(self, artifact: Artifact, records: Iterable[R], record: type[R] | None = None) -> int:
        """Leave records under the name of an artifact; the number of rows.

        Args:
            artifact: which.
            records: its rows.
            record: their type, where the artifact does not say.
        """
        kind: Any = record or artifact.record
        return write_records(artifact.at(self.path), records, kind)

    def write_rows(self, artifact: Artifact, rows: list[dict[str, Any]]) -> None:
        """Leave plain rows under the name of an artifact."""
        write_table(artifact.at(self.path), rows)

    def write_findings(self, findings: "list[ReportSection]") -> None:
        """Leave sections for the report, and their pictures beside them."""
        with atomic(FINDINGS.at(self.path), "wb") as file:
            file.write(msgspec.json.format(msgspec.json.encode(findings)))
        for finding in findings:
            if finding.picture:
                with atomic(self.path / f"{finding.slug}.svg") as file:
                    file.write(finding.picture)

    def tally(self, stage: str, of: Literal["rows", "records", "parts"] = "records") -> Tally:
        """A new tally, whose counts and dropped records are written with the run; see ``core.stage.Tally.of``."""
        return self.run.tally(stage, of)

    def note(self, **values: Any) -> None:
        """Keep figures that sum up the run; they are written into the manifest."""
        self.run.note(**values)

    def log(self, text: str) -> None:
        """Add a line to ``log.txt``."""
        self.run.log(text)

    def progress(self, done: int, of: int) -> None:
        """Say how far the work is."""
        self.run.metric(step=done, steps=of)

    def _numbered_keys(self, setting: str) -> list[str]:
        keys = [key for key in self.inputs if key.startswith(f"{setting}.")]
        return sorted(keys, key=lambda key: int(key.rpartition(".")[2]))


def references_of(config: Step) -> dict[str, tuple[str, Reference]]:
    """The settings of a step that name something else: setting → name and what is read; one of several is numbered."""
    found: dict[str, tuple[str, Reference]] = {}
    for key, info in type(config).model_fields.items():
        mark = next((each for each in info.metadata if isinstance(each, Reference)), None)
        value = getattr(config, key)
        if mark is not None and isinstance(value, str):
            found[key] = value, mark
        elif mark is not None and value is not None:
            names = (one.source if isinstance(one, Portion) else one for one in value)
            found |= {f"{key}.{number}": (one, mark) for number, one in enumerate(names)}
    return found


def refs_of(config: Step) -> dict[str, str]:
    """The settings of a step that name something else: setting → name; one that names several is numbered."""
    return {key: target for key, (target, _) in references_of(config).items()}


def settings_of(config: Step) -> dict[str, Any]:
    """All settings of a step as plain values, but for what it refers to: that counts by its content, not its name."""
    found, refs = config.resolved(), refs_of(config)
    for key in type(config).model_fields:
        value = getattr(config, key)
        only_if_given = isinstance(config, Decides) and key in config.settings_if_given
        if key in refs or (only_if_given and value in (None, ())):
            del found[key]
        elif isinstance(value, tuple) and value and isinstance(value[0], Portion):
            found[key] = [{name: of for name, of in each.items() if name != "source"} for each in found[key]]
    return found


def decided_for(config: Step, inputs: Mapping[str, str]) -> "Applied | None":
    """What persons decided on the rows that a step reads; None where nothing is said of it.

    Args:
        config: its settings.
        inputs: setting → run directory of the step that it refers to, or path or URL.

    Raises:
        InputError: if decisions cannot be read.
    """
    if not isinstance(config, Decides) or not config.decides:
        return None
    from notus.decisions.apply import Applied
    from notus.decisions.read import read_settled
    from notus.decisions.settle import Settled

    place = inputs.get("decisions", config.decisions)
    settled = Settled() if place is None else read_settled(place)
    return Applied(settled, keep=config.kept_ids, drop=config.drop)


def open_records(config: Reads, given: str, decided: "Applied | None" = None) -> Source:
    """Open what a setting means: a run directory's records, or a file, a folder, a hub id.

    Args:
        config: how they are read.
        given: a path or a hub id.
        decided: what persons decided on them; see ``decided_for``.

    Raises:
        DataError: if it is a run directory that holds no records, or the directory of a whole recipe.
    """
    folder = Path(given)
    if (folder / "experiment.json").is_file() or (folder / "steps").is_dir():
        raise DataError(
            f"{folder} holds the runs of a whole recipe; name one of them, for example {folder}/steps/data-…"
        )
    place: Path | str = given
    outputs: Mapping[str, Any] = {}
    if (folder / MANIFEST).is_file():
        check_run(folder, weights=False)
        found = records_in(folder)
        if found is None:
            stage = read_manifest(folder)["stage"]
            raise DataError(
                f"{folder} is a run of '{stage}', which leaves no feedback and no preferences; name its source"
            )
        place, outputs = found, read_manifest(folder).get("outputs", {})
    # A run directory holds records, which have their names; a mapping is of files that have others.
    name = config.layout
    if config.map is not None and place is given:
        from notus.formats.mapping.decode import mapping_name

        name = mapping_name(config.map)
    source = open_source(
        str(place),
        format=name,
        strict=config.strict,
        limit=config.limit,
        split=config.split,
        config=config.config,
        encoding=config.encoding if place is given else None,
    )
    written = {folder / name: told["sha256"] for name, told in outputs.items()}
    source = replace(source, written={path: written[path] for path in source.paths if path in written})
    source = replace(source, decided=decided)
    return replace(source, withdrawn=read_sieve(Path(config.forget))) if config.forget else source


def with_forgotten(config: Step, run: Path) -> Step:
    """A step that reads as it is done in a run directory: what the folder of runs says is withdrawn counts for it."""
    if not isinstance(config, Reads) or config.forget is not None or (beside := forgotten_beside(run)) is None:
        return config
    return config.model_copy(update={"forget": str(beside)})


def require_feedback(source: Source) -> None:
    """Refuse a source of anything but feedback.

    Raises:
        DataError: that says what it holds.
    """
    if source.record is not Feedback:
        raise DataError(
            f"{source.name} holds {HELD[source.record]} (layout {source.format}); this needs feedback, that is "
            "several answers to a prompt with ratings"
        )


def held_out_beside(source: Source) -> Path | None:
    """The pairs that were held out of those that are read, where an earlier step left them beside."""
    path = source.paths[0]
    table = path.parent if path.parent.suffix == ".parquet" else path
    aside = HELD_OUT.at(table.parent)
    return aside if table.name == PREFERENCES.file and table_exists(aside) else None


def read_findings(folder: Path) -> "list[ReportSection]":
    """The sections for the report that a step left in its run directory."""
    from notus.report.section import ReportSection

    return msgspec.json.decode(FINDINGS.at(folder).read_bytes(), type=list[ReportSection])


def _restore(name: str, state: dict[Any, Any]) -> Step:
    found: type[Step] = load_python(name, "step")
    found.loaded_from = name
    made = found.__new__(found)
    made.__setstate__(state)
    return made


def _list_records(records: Iterator[Data], shard: object) -> list[Data]:
    del shard
    return list(records)
