"""An experiment: a recipe that was run. Runs it, writes what belongs together, compares its arms.

experiment.json   the recipe, and for each arm and seed the folder of each step
steps/…           the run directories of the steps, shared by arms
report.html       see ``recipes.report``

A single evaluation as its run directory holds it, so that models can be compared that no recipe ties together.

Owns which runs may stand beside each other: those of one kind that were measured in the same way. The comparison itself
is that of ``evaluate.compare``; the arms of recipes are read by ``recipes.experiment``.
"""

import difflib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

from notus.core.artifacts import LABEL_TRIALS, SCORES, TRIALS
from notus.core.errors import ConfigError, InputError
from notus.core.run import MANIFEST, check_run, locked, read_json, read_manifest, write_json
from notus.core.tables import read_records, read_table
from notus.decisions.database import without_passwords
from notus.evaluate.compare import Comparison, Score, compare
from notus.evaluate.finders import (
    AuditedCompletion,
    AuditedPair,
    Detection,
    LabelDetection,
    measure_finders,
    measure_label_finder,
)
from notus.evaluate.gate.requirement import Outcome, decide, parse_requirement
from notus.evaluate.people.correct import sides_of_all
from notus.evaluate.people.labels import Label
from notus.evaluate.rewards import describe_against_chance
from notus.provenance.training import run_flag
from notus.recipes.check import check_plan, refuse_faults
from notus.recipes.execute import Observer, execute, steps_until
from notus.recipes.recipe import (
    BUILT_IN,
    Plan,
    Recipe,
    make_plan,
)
from notus.recipes.rounds_report import round_warnings
from notus.steps.registry import STEPS, step_class

__all__ = [
    "Experiment",
    "Gathered",
    "ScoredRun",
    "check_folder",
    "compare_runs",
    "dry_plan",
    "gather_runs",
    "is_run",
    "refuse_unlike",
    "run_recipe",
]


def is_run(path: Path) -> bool:
    """Whether a directory is the finished run of a single step."""
    return (path / MANIFEST).is_file()


@dataclass(frozen=True)
class ScoredRun:
    """The finished run of one evaluation."""

    path: Path
    kind: str
    """What was done in it, for example ``alpaca``; of an academic benchmark the task."""
    measured: Mapping[str, Any]
    """What decides what a score means, as the run noted it."""

    @classmethod
    def read(cls, path: Path) -> "ScoredRun":
        """Open a run directory.

        Raises:
            InputError: if it is no finished run, or holds no scores.
        """
        check_run(path, weights=False)
        manifest = read_manifest(path)
        stage = manifest["stage"]
        step = step_class(stage) if STEPS.knows(stage) else None
        kind = (step.compared_as if step else None) or stage
        kind = Path(manifest["summary"]["task"]).stem if kind == "harness" else kind
        if not SCORES.is_in(path):
            raise InputError(
                f"{path} is a run of '{kind}' and holds no scores.parquet; name an evaluation of one model "
                "(of MT-Bench with --only NAME, of judges with one --ranker)"
            )
        return cls(path, kind, {key: manifest["summary"].get(key) for key in (step.compared_by if step else ())})

    def scores(self, arm: str) -> list[Score]:
        """The scores, under the name of an arm. It is one model, so the seed is 0 throughout."""
        rows = read_table(SCORES.at(self.path))
        return [Score(arm, 0, row["prompt_id"], row["sample"], row["value"]) for row in rows]

    def mark(self) -> str:
        """Why the scores are not to be trusted; empty when they may be."""
        return run_flag(self.kind, self.path)


def refuse_unlike(runs: Sequence[ScoredRun]) -> None:
    """Refuse runs of one kind whose scores do not mean the same.

    Raises:
        ConfigError: if two were measured in different ways.
    """
    first: dict[str, ScoredRun] = {}
    for run in runs:
        other = first.setdefault(run.kind, run)
        for key, value in run.measured.items():
            if value != other.measured[key]:
                raise ConfigError(
                    f"{other.path} and {run.path} cannot be compared: {key.replace('_', ' ')} is "
                    f"{other.measured[key]!r} there, {value!r} here; measure both in the same way"
                )


@dataclass(frozen=True)
class Gathered:
    """The scores of one run or of several, by evaluation, and what is known of their arms."""

    scores: dict[str, list[Score]]
    marks: dict[str, dict[str, str]]
    """Evaluation → arm → why its scores are not to be trusted."""
    baseline: str | None = None
    """The arm that a recipe has its arms placed beside."""
    require: tuple[str, ...] = ()
    """What a recipe requires of its arms."""
    folders: dict[tuple[str, str, int], Path] = field(default_factory=dict)
    """Evaluation, arm and seed → the run directory that holds the scores."""

    def compare(self, baseline: str | None = None) -> dict[str, Comparison]:
        """Evaluation → the comparison of its arms."""
        chosen = baseline or self.baseline
        return {name: compare(scores, chosen, self.marks.get(name)) for name, scores in self.scores.items()}

    def outcomes(self, lines: Sequence[str], labels: Sequence[Label] | None = None) -> list[Outcome]:
        """What became of requirements; with labels, by what people would say.

        Raises:
            ConfigError: if a line is wrong.
        """
        if not lines:
            return []
        arms = {name: list(dict.fromkeys(score.arm for score in scores)) for name, scores in self.scores.items()}
        wanted = [parse_requirement(line, arms) for line in lines]
        corrections = None if labels is None else sides_of_all(self.scores, labels)
        return decide(wanted, self.scores, self.marks, corrections)


RECORD = "experiment.json"


@dataclass(frozen=True)
class Experiment:
    """A recipe that was run, as its directory holds it."""

    path: Path
    record: dict[str, Any]

    @classmethod
    def read(cls, path: Path) -> "Experiment":
        """Open the directory of a recipe that was run.

        Raises:
            InputError: if it is none.
        """
        if not (path / RECORD).is_file():
            what = "is not there" if not path.exists() else f"holds no {RECORD}"
            raise InputError(f"{path} {what}; give the directory of a recipe that was run, for example runs/demo")
        record = read_json(path / RECORD)
        if not isinstance(record, dict) or not {"recipe", "arms"} <= record.keys():
            raise InputError(f"{path / RECORD} is damaged; run the recipe again with --out {path}")
        experiment = cls(path, record)
        lost = next((folder for folder in experiment.folders() if not (folder / MANIFEST).is_file()), None)
        if lost is not None:
            raise InputError(f"{lost} is gone or not finished; run the recipe again with --out {path}")
        for folder in experiment.folders():
            check_run(folder, weights=False)
        return experiment

    @property
    def name(self) -> str:
        """Name of the recipe."""
        return str(self.record["recipe"]["name"])

    @property
    def arms(self) -> dict[str, dict[int, dict[str, Path]]]:
        """Arm → seed → name of the step → its run directory."""
        return {
            arm: {
                int(seed): {name: self.path / "steps" / folder for name, folder in steps.items()}
                for seed, steps in seeds.items()
            }
            for arm, seeds in self.record["arms"].items()
        }

    def scores(self) -> dict[str, list[Score]]:
        """Kind of evaluation (the name of its step) → the scores of all arms and seeds."""
        found: dict[str, list[Score]] = {}
        seen: set[tuple[str, Path]] = set()
        for arm, seeds in self.arms.items():
            for seed, steps in seeds.items():
                for name, folder in steps.items():
                    # With pinned seeds, replicates share a folder: it is one result, not two.
                    if SCORES.is_in(folder) and (arm, folder) not in seen:
                        seen.add((arm, folder))
                        rows = read_table(SCORES.at(folder))
                        scores = [Score(arm, seed, r["prompt_id"], r["sample"], r["value"]) for r in rows]
                        found.setdefault(name, []).extend(scores)
        return found

    def comparisons(self, baseline: str | None = None) -> dict[str, Comparison]:
        """Kind of evaluation → the comparison of its arms."""
        return self.gathered().compare(baseline)

    def outcomes(self) -> list[Outcome]:
        """What became of what the recipe requires."""
        found = self.gathered()
        return found.outcomes(found.require)

    def gathered(self) -> Gathered:
        """All scores, with what the recipe says of its arms."""
        scores = self.scores()
        recipe = self.record["recipe"]
        folders = {
            (name, arm, seed): folder
            for arm, seeds in self.arms.items()
            for seed, steps in seeds.items()
            for name, folder in steps.items()
            if name in scores and SCORES.is_in(folder)
        }
        marks = {name: self.marks(name) for name in scores}
        return Gathered(scores, marks, recipe.get("baseline"), tuple(recipe.get("require") or ()), folders)

    def marks(self, name: str) -> dict[str, str]:
        """Arm → why its scores in a kind of evaluation are not to be trusted; arms whose scores may be are left out."""
        found = {
            arm: run_flag(name, steps[name])
            for arm, seeds in self.arms.items()
            for steps in seeds.values()
            if name in steps
        }
        return {arm: mark for arm, mark in found.items() if mark}

    def remarks(self, comparisons: dict[str, Comparison]) -> list[str]:
        """What is to be said of arms by themselves: implicit rewards beside chance, the warnings of rounds."""
        types = {name: read_manifest(folder)["stage"] for folder, name in self.folders().items()}
        return [
            describe_against_chance(arm.name, arm.interval)
            for name, comparison in comparisons.items()
            if types.get(name) == "rewards"
            for arm in comparison.arms
            if arm.interval is not None
        ] + round_warnings(self.arms)

    def detections(self) -> list[Detection]:
        """How the fault finders did, where the truth is known."""
        trials = {
            folder.name: list(read_records(TRIALS.at(folder), AuditedCompletion))
            for folder in self.folders()
            if TRIALS.is_in(folder)
        }
        return measure_finders(trials) if trials else []

    def label_detections(self) -> dict[str, LabelDetection]:
        """Name of an audit by rewards → how well it found wrong labels over all seeds, where the truth is known."""
        trials: dict[str, dict[str, list[AuditedPair]]] = {}
        for folder, name in self.folders().items():
            if LABEL_TRIALS.is_in(folder):
                trials.setdefault(name, {})[folder.name] = list(read_records(LABEL_TRIALS.at(folder), AuditedPair))
        return {name: measure_label_finder(of_audit) for name, of_audit in trials.items()}

    def folders(self) -> dict[Path, str]:
        """Each run directory once, in the order of the work, with the name of its step."""
        return {
            folder: name for seeds in self.arms.values() for steps in seeds.values() for name, folder in steps.items()
        }


def dry_plan(recipe: Recipe, until: str | None) -> list[dict[str, Any]]:
    """What running a recipe would do: one entry for each step, with its resolved settings and who shares it."""
    plan = make_plan(recipe)
    users: dict[str, list[str]] = {}
    for (arm, seed), steps in plan.arms.items():
        for digest in steps.values():
            users.setdefault(digest, []).append(f"{arm}/{seed}")
    return [
        {
            "step": step.name,
            "type": step.config.step_type,
            "folder": step.folder,
            "seed": step.seed,
            "config": step.config.resolved(),
            "needs": {key: plan.steps[needed].folder for key, needed in step.needs.items()} | step.given,
            "for": users[digest],
        }
        for digest, step in steps_until(plan, until).items()
    ]


def run_recipe(
    recipe: Recipe,
    out: Path,
    observer: Observer,
    *,
    until: str | None = None,
    inline: bool = False,
    verify: bool = False,
) -> Experiment | None:
    """Run a recipe. What is done already is not done again.

    Args:
        recipe: checked.
        out: directory of the experiment.
        observer: is told how the work goes on.
        until: name of the last kind of step to do; None does all.
        inline: do the steps in this process, and not in worker processes.
        verify: hash all files of the steps that were done before, and not only the small ones.

    Returns:
        The experiment, or None when the run was to stop before its end.
    """
    plan = make_plan(recipe, out)
    check_folder(out)
    refuse_faults(check_plan(plan, until=until, out=out), recipe.head.name)
    execute(plan, out, observer, until=until, inline=inline, verify=verify)
    if until is not None:
        return None
    record = _record(plan)
    with locked(out):
        write_json(out / RECORD, record)
    return Experiment(out, record)


def compare_runs(paths: Sequence[Path], baseline: str | None) -> dict[str, Comparison]:
    """Compare the arms of one run or of several; see ``gather_runs``.

    Args:
        paths: directories of recipes that were run, or of single evaluations.
        baseline: the arm that the others are placed beside.
    """
    return gather_runs(paths).compare(baseline)


def gather_runs(paths: Sequence[Path]) -> Gathered:
    """The scores of one run or of several.

    With several an arm is called ``run/arm``; a single evaluation is an arm by the name of its run.

    Args:
        paths: directories of recipes that were run, or of single evaluations.

    Raises:
        InputError: if a directory is no run, nothing in them was evaluated, or no two of them in the same way.
        ConfigError: if a run is given twice, or two evaluations of a kind were not measured alike.
    """
    if wrong := [path for path in paths if not _comparable(path)]:
        wanted = "give directories of recipes that were run, such as runs/demo, or of single evaluations (notus eval)"
        raise InputError("; ".join([*map(_no_run, wrong), wanted]))
    if len({path.resolve() for path in paths}) < len(paths):
        raise ConfigError("a run is given twice; each can be compared once")
    single = len(paths) == 1 and not is_run(paths[0])
    found = Experiment.read(paths[0]).gathered() if single else _gather_scores(paths)
    if not found.scores:
        raise InputError(f"{', '.join(map(str, paths))}: no step of an evaluation has left scores; nothing to compare")
    return found


def _comparable(path: Path) -> bool:
    return is_run(path) or (path / RECORD).is_file()


def _no_run(path: Path) -> str:
    """What is wrong with a path that is no run, and which runs were probably meant."""
    if (path / "steps").is_dir():
        return f"the recipe of {path} was not run to its end; run it again with --out {path}"
    near = _runs_in(path)
    if path.is_dir():
        what = f"{path} is no run: it holds neither {RECORD} nor {MANIFEST}"
    else:
        what = f"{path} is no directory" if path.exists() else f"{path} is not there"
        beside = {run.name: run for run in _runs_in(path.parent)}
        near = [beside[name] for name in difflib.get_close_matches(path.name, beside)]
        near += filter(_comparable, [Path("runs") / path])
    if not near and (BUILT_IN / f"{path}.yaml").is_file():
        what += f" (it is the name of a recipe: notus run {path})"
    return what + (f" (did you mean {' or '.join(map(str, near[:3]))}?)" if near else "")


def _runs_in(folder: Path) -> list[Path]:
    return sorted(filter(_comparable, folder.iterdir())) if folder.is_dir() else []


def _gather_scores(paths: Sequence[Path]) -> Gathered:
    """The scores of several runs, each arm under the name of its run."""
    found = Gathered({}, {})
    kinds: list[set[str]] = []
    evaluations = {path: ScoredRun.read(path) for path in paths if is_run(path)}
    refuse_unlike(list(evaluations.values()))
    for label, path in zip(_labels(paths), paths, strict=True):
        if path in evaluations:
            run = evaluations[path]
            own = Gathered({run.kind: run.scores(label)}, {run.kind: {label: run.mark()}})
            own.folders[run.kind, label, 0] = path
        else:
            own = _under(label, Experiment.read(path).gathered())
        kinds.append(set(own.scores))
        found.folders.update(own.folders)
        for name, scores in own.scores.items():
            found.scores.setdefault(name, []).extend(scores)
            found.marks.setdefault(name, {}).update({arm: mark for arm, mark in own.marks[name].items() if mark})
    if len(paths) > 1 and found.scores and not any(sum(name in own for own in kinds) > 1 for name in found.scores):
        held = "; ".join(f"{path} {', '.join(sorted(own)) or 'none'}" for path, own in zip(paths, kinds, strict=True))
        raise InputError(f"no two of the runs hold the same evaluation ({held}); name runs that were evaluated alike")
    return found


def _under(label: str, own: Gathered) -> Gathered:
    """The arms of an experiment as ``label/arm``."""
    scores = {
        name: [replace(score, arm=f"{label}/{score.arm}") for score in of_kind] for name, of_kind in own.scores.items()
    }
    marks = {name: {f"{label}/{arm}": mark for arm, mark in of_kind.items()} for name, of_kind in own.marks.items()}
    folders = {(name, f"{label}/{arm}", seed): folder for (name, arm, seed), folder in own.folders.items()}
    return Gathered(scores, marks, folders=folders)


def check_folder(out: Path) -> None:
    """Refuse a directory that holds something else; one of another recipe may be written into, its steps are kept.

    Raises:
        InputError: if something is there that no recipe left.
    """
    entries = {entry.name for entry in out.iterdir() if not entry.name.startswith(".")} if out.is_dir() else set()
    if RECORD in entries:
        record = read_json(out / RECORD)
        odd = "" if isinstance(record, dict) and {"recipe", "arms"} <= record.keys() else RECORD
    elif "steps" in entries:  # a run that was broken off has no report yet
        odd = "report.html" if "report.html" in entries else next(map(str, _foreign_steps(out)), "")
    else:
        odd = min(entries, default="")
    if odd:
        raise InputError(f"{out} belongs to something else: {odd} is not a recipe's; choose another directory, --out")


def _foreign_steps(out: Path) -> Iterator[Path]:
    """What lies among the steps of a recipe and is no run directory, not even one that was begun."""
    for folder in sorted((out / "steps").glob("[!.]*")):
        begun = folder.is_dir() and any(not entry.name.startswith(".") for entry in folder.iterdir())
        if not folder.is_dir() or (begun and not (folder / "config.json").is_file()):
            yield folder.relative_to(out)


def _labels(paths: Sequence[Path]) -> list[str]:
    names = [path.resolve().name for path in paths]
    return names if len(set(names)) == len(names) else [str(path) for path in paths]


def _record(plan: Plan) -> dict[str, Any]:
    arms: dict[str, dict[str, dict[str, str]]] = {}
    for (arm, seed), steps in plan.arms.items():
        arms.setdefault(arm, {})[str(seed)] = {name: plan.steps[digest].folder for name, digest in steps.items()}
    return {"recipe": {**without_passwords(plan.recipe.raw), **plan.recipe.head.resolved()}, "arms": arms}
