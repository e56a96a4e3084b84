"""Doing a step: what is to be done, in which run directory, once.

Owns the planned step, its digest, and the way from settings to a finished run directory. Which steps there are to do is
decided by a recipe (``recipes.recipe``) or by a single command. No torch.
"""

import inspect
import shutil
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

import msgspec

from notus.core.artifacts import DECISIONS, DIALOGUES, HELD_OUT, MODEL, PREFERENCES, QUARANTINE, UNPAIRED
from notus.core.config import digest_of
from notus.core.disk.hashes import Stamps, check_stamps, hash_file, hash_folder, stamps_of
from notus.core.disk.outputs import hash_run
from notus.core.disk.withdrawn import forgotten_beside, read_sieve
from notus.core.errors import (
    ChangedInputError,
    ConfigError,
    DataError,
    InputError,
    InterruptedRunError,
    LossError,
    UnseenError,
    nearest,
    require,
)
from notus.core.parallel import kept_workers
from notus.core.plugins import hash_code, is_python, source_file
from notus.core.records import Decision
from notus.core.run import MANIFEST, Run, check_run, locked, read_manifest
from notus.core.tables import read_records, table_exists, write_records
from notus.core.text import HubId, counted
from notus.engine.bases import base_of, is_adapter
from notus.formats.lookup import format_digest
from notus.steps.base import (
    Context,
    Reads,
    Reference,
    Step,
    decided_for,
    references_of,
    refs_of,
    settings_of,
    with_forgotten,
)
from notus.train.run.trackers import check_trackers, start_trackers

if TYPE_CHECKING:  # few steps are given decisions
    from notus.decisions.apply import Applied

__all__ = ["Given", "PlannedStep", "code_of", "digest_of_step", "do_step", "read_given", "run_step"]


@dataclass(frozen=True)
class Given:
    """Something outside of all recipes that a step reads."""

    hash: str
    """Of its bytes, and of those of a base that it names; a hub id stands for itself."""
    stamps: Mapping[str, Stamps] = field(default_factory=dict)
    """Each path that was hashed → the stamps of its files from before."""


@dataclass(frozen=True)
class PlannedStep:
    """One piece of work: a step of an arm under a seed, or of all arms that share it."""

    name: str
    config: Step
    seed: int | None
    """None for a step whose result does not depend on chance."""
    needs: dict[str, str]
    """Setting → digest of the step that it refers to."""
    given: dict[str, str]
    """Setting → path or hub id outside of the recipe."""
    digest: str
    inputs: dict[str, str]
    """Name → hash of what is read, for the run directory."""
    stamps: Mapping[str, Mapping[str, Stamps]] = field(default_factory=dict)
    """Setting → the stamps of what was hashed of it, by path."""

    @property
    def folder(self) -> str:
        """Name of the step's run directory."""
        return f"{self.name}-{self.digest}"


def do_step(step: PlannedStep, path: Path, inputs: Mapping[str, str]) -> Run:
    """Do a step in its run directory, unless it is done there already.

    Args:
        step: what to do.
        path: the run directory.
        inputs: setting → run directory of the step that it refers to, or path or hub id.
    """
    config = step.config
    settings = settings_of(config) | {"seed": step.seed}
    if config.results > 1:  # so that a directory that is named again is not taken for what an older version made
        settings["results"] = config.results
    with locked(path):
        sources = {key: _shown_place(place) for key, place in inputs.items()}
        run = Run(path, stage=config.step_type, config=settings, inputs=step.inputs, sources=sources)
        run.allow_losses = getattr(config, "allow_losses", False)
        if not run.finished:
            _check_inputs(step, path, inputs)
            if config.computes and not isinstance(config, Reads):
                _refuse_withdrawn(path, inputs)
            if config.computes:
                adapter = ("peft",) if getattr(config, "lora", None) else ()
                for library in ("torch", "transformers", "accelerate", *adapter):
                    require(library, extra="train")
                check_trackers(getattr(config, "report_to", ()))
            with kept_workers(), run:
                start_trackers(run, getattr(config, "report_to", ()))
                _run(run, step, Context(run, config, inputs, step.seed, _decided(step, inputs)))
                run.artifacts = {artifact.name: artifact.file for artifact in config.leaves if artifact.is_in(path)}
            return run
        check_run(path)
        summary = read_manifest(path).get("summary")
        if not isinstance(summary, dict):
            raise InputError(f"{path / MANIFEST} has no summary, which each run has; remove {path} and run again")
        if not run.allow_losses and (losses := summary.get("losses")):
            raise LossError(f"{path} was made with --allow-losses: {losses} give it again, or another --out")
    return run


def _shown_place(place: str) -> str:
    """A place as it may be written down: without the password of a database."""
    if "://" not in place:
        return place
    from notus.decisions.database import without_password

    return without_password(place)


def _decided(step: PlannedStep, inputs: Mapping[str, str]) -> "Applied | None":
    """What persons decided on what a step reads, as it was when the step was planned.

    Raises:
        ChangedInputError: if somebody has decided more since.
    """
    decided = decided_for(step.config, inputs)
    if decided is not None and "decisions" in step.given and decided.settled.digest != step.inputs["decisions"]:
        raise ChangedInputError(
            f"more was decided in {_shown_place(inputs['decisions'])} since this was begun; give the same command "
            "again: what is done is kept"
        )
    return decided


def _refuse_withdrawn(out: Path, inputs: Mapping[str, str]) -> None:
    """Refuse to train on tables that hold what has been withdrawn since they were made.

    Raises:
        DataError: that names the run directory which is to be made again.
    """
    file = forgotten_beside(out)
    sieve = None if file is None else read_sieve(file)
    for place in map(Path, inputs.values()) if sieve else ():
        for artifact in (PREFERENCES, HELD_OUT, UNPAIRED, DIALOGUES):
            assert artifact.record is not None
            if artifact.is_in(place) and sieve is not None:
                held = sum(map(sieve.touches, read_records(artifact.at(place), artifact.record)))
                if held:
                    raise DataError(
                        f"{place} holds {counted(held, 'row')} of what is withdrawn ({file}); make it again under "
                        "another --out: what it reads is sifted now"
                    )


def _run(run: Run, step: PlannedStep, context: Context) -> None:
    """Do the work. What is made of less than half of the rows, or of what changed meanwhile, is no result: only what
    was put aside stays."""
    config = step.config
    try:
        try:
            config.run(context)
        finally:
            stopped = sys.exc_info()[1]
            # A change explains an error of the work, and hides in work without one. Who was interrupted goes on later.
            if not isinstance(stopped, InterruptedRunError | KeyboardInterrupt | SystemExit):
                _check_inputs(step, run.path)
        run.check_losses()
        if context.decided is not None:
            _tell_decided(run, context, context.decided)
    except (LossError, ChangedInputError, UnseenError):
        for artifact in config.leaves:
            place = artifact.at(run.path)
            if artifact is not QUARANTINE and artifact is not MODEL and place.exists():
                shutil.rmtree(place) if place.is_dir() else place.unlink()
        raise


def _tell_decided(run: Run, context: Context, decided: "Applied") -> None:
    """Note what became of the decisions, and trace what they changed beside what the step has changed itself.

    Raises:
        UnseenError: if an id that was typed is in nothing that was read.
    """
    from notus.decisions.apply import describe_counts

    context.check_decided()
    told = describe_counts(decided.counts(context.seen))
    run.note(decisions=told)
    run.log(f"decisions: {told}")
    if odd := decided.misfit(context.seen, context.data_read):
        run.note(decisions_elsewhere=odd)
        run.log(odd)
    changes = {msgspec.json.encode(each): each for tally in run.tallies for each in tally.changes}
    if not changes:
        return
    place, whole = DECISIONS.at(run.path), run.path / ".decided.parquet"

    def all_of_them() -> Iterator[Decision]:
        yield from changes.values()
        if table_exists(place):
            yield from read_records(place, Decision)

    write_records(whole, all_of_them(), Decision)
    if place.is_dir():
        shutil.rmtree(place)
    whole.replace(place)


def _check_inputs(step: PlannedStep, out: Path, made: Mapping[str, str] | None = None) -> None:
    """Make sure that what is read is what was hashed, and that steps before have left what they say they did.

    Args:
        step: what is done.
        out: its run directory, which may lie in a folder that it reads.
        made: setting → run directory of the step that it refers to, where those are to be looked at.
    """
    for setting, places in step.stamps.items():
        for place, before in places.items():
            check_stamps(setting, Path(place), before, _beside_the_inputs(Path(place), out))
    for place in (made[setting] for setting in step.needs) if made else ():
        if (Path(place) / MANIFEST).is_file():
            check_run(Path(place))


def _beside_the_inputs(place: Path, out: Path) -> tuple[Path, ...]:
    """What may change in a place that is read: the run directory itself, and the log and report of a run."""
    inside, whole = out.resolve(), place.resolve()
    own = (place / inside.relative_to(whole),) if inside.is_relative_to(whole) and inside != whole else ()
    return (*own, place / "log.txt", place / "report.html")


def run_step(name: str, config: Step, out: Path | None, seed: int | None = None) -> Run:
    """Do a single step whose settings name files, in a run directory of its own.

    Args:
        name: of the step; the default directory is ``runs/<name>-<digest>``.
        config: its settings.
        out: the run directory; None takes the default.
        seed: where the step draws and names none itself.
    """
    config = with_forgotten(config, out or Path("runs") / name)
    refs = refs_of(config)
    read = {
        key: read_given(f"notus {name}", target, reference=reference)
        for key, (target, reference) in references_of(config).items()
    }
    inputs = {key: given.hash for key, given in read.items()} | code_of(config)
    seed = config.pinned_seed(seed or 0)
    digest = digest_of_step(name, config, seed, inputs)
    stamps = {key: given.stamps for key, given in read.items()}
    step = PlannedStep(name, config, seed, {}, refs, digest, inputs, stamps)
    return do_step(step, out or Path("runs") / step.folder, refs)


def digest_of_step(name: str, config: Step, seed: int | None, inputs: Mapping[str, str], **more: Any) -> str:
    """What names the run directory of a step: a digest of all that decides its result, and of nothing else."""
    decides = {"step": name, "type": config.step_type, "results": config.results, "settings": settings_of(config)}
    return digest_of({**decides, "seed": seed, "inputs": dict(inputs), **more})[:10]


def read_given(who: str, target: str, steps: Iterable[str] = (), reference: Reference | None = None) -> Given:
    """Hash what a path names, a file or a folder; a hub id stands for itself.

    Decisions count by what is in force of them: a store's bytes change where nothing was decided, a database has none.

    What a finished run left is compared with what its manifest lists. Code counts with what of the user's it imports,
    an adapter with its base.

    Args:
        who: who refers to it, for the error.
        target: a path or a hub id.
        steps: names that would have been possible too, for the error.
        reference: what the setting refers to.

    Raises:
        ConfigError: if it is neither a path that exists nor of the form of a hub id.
        DataError: if it is of a finished run, and something of that is missing or damaged.
    """
    path = Path(target)
    known = f"; among the steps of this recipe, {nearest(target, steps)}" if steps else "; check the path"
    if reference is not None and reference.rulings:
        from notus.decisions.read import read_settled

        if "://" not in target and not path.exists():
            raise ConfigError(f"{who}: there is no store {target}{known}")
        return Given(read_settled(target).digest)
    try:
        if path.exists():
            stamps = {target: stamps_of(path)}
            base = _base_in(path)
            if base is None:
                return Given(_hash_place(path), stamps)
            below = read_given(who, base) if Path(base).exists() else Given(base)
            return Given(digest_of([_hash_place(path), below.hash]), {**stamps, **below.stamps})
    except OSError as error:
        raise ConfigError(f"{who}: cannot read '{target}': {error.strerror}") from None
    if HubId.parse(target):
        return Given(target)
    raise ConfigError(f"{who}: '{target}' is no file, no folder and no hub id of the form owner/name{known}")


def _hash_place(path: Path) -> str:
    """The hash of a file, a folder or a finished run; what lies in one is compared with what the run has written."""
    if path.is_dir():
        if (path / MANIFEST).is_file():
            return hash_run(path, read_manifest(path))
        if (path.parent / MANIFEST).is_file():
            check_run(path.parent, whole=True)
        return hash_folder(path)
    if path.suffix == ".py":
        return hash_code(path)
    found = hash_file(path)
    if (path.parent / MANIFEST).is_file():
        written = read_manifest(path.parent).get("outputs", {}).get(path.name)
        if written is not None and written["sha256"] != found:
            raise DataError(f"{path} is damaged: its bytes are not those that its run wrote; remove it and run again")
    return found


def _base_in(path: Path) -> str | None:
    """The base of the adapter that a folder or a run directory holds; None where there is none, or it is gone."""
    folder = next((each for each in (path, MODEL.at(path)) if is_adapter(each)), None)
    try:
        return None if folder is None else base_of(folder)
    except InputError:
        return None  # whoever loads the model says so


def code_of(config: Step) -> dict[str, str]:
    """The hashes of the user's code that a step depends on: a changed file is another step. Usually nothing."""
    found: dict[str, str] = {}
    layout = getattr(config, "layout", None)
    if isinstance(layout, str) and (digest := format_digest(layout)):
        found["format"] = digest
    by = getattr(config, "by", None)
    if isinstance(by, str) and (file := source_file(by, "notus.evaluations")):
        found["measure"] = hash_code(file)
    loss = getattr(config, "loss", ())
    for number, each in enumerate(loss if isinstance(loss, tuple) else (loss,)):
        named = getattr(getattr(each, "loss", each), "name", "")
        if file := source_file(named, "notus.losses"):
            found[f"loss.{number}"] = hash_code(file)
    module = type(config).__module__
    if not module.startswith("notus."):
        source = inspect.getsourcefile(type(config))
        found["code"] = hash_code(Path(source)) if source else module
    for number, name in enumerate(sorted(_python_names(config.resolved()))):
        file = source_file(name)
        if file is not None and (code := hash_code(file)) not in found.values():
            found[f"code.{number}"] = code
    template = getattr(getattr(config, "limits", None), "chat_template", None)
    if template and Path(template).is_file():
        found["chat_template"] = hash_file(Path(template))
    return found


def _python_names(value: Any) -> set[str]:
    """All ``python:`` names among plain settings, such as those of rankers and of judges' parsers."""
    if isinstance(value, str):
        return {value} if is_python(value) else set()
    inside = value.values() if isinstance(value, Mapping) else value if isinstance(value, list | tuple) else ()
    return set().union(*(_python_names(item) for item in inside))
