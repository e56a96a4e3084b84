"""The report of an experiment: gathers what its run directories hold and puts it into the form of ``report.page``.

One section for each kind of artifact; of an experiment whose arms are doses also the curve over the doses.
"""

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from notus.core.artifacts import FINDINGS, OUTPUTS, PREFERENCES, VERDICTS, Artifact
from notus.core.disk.named import check_named_file, check_named_folder
from notus.core.errors import InputError
from notus.core.records import Output, Preference, Verdict
from notus.core.run import MANIFEST, atomic, read_json, read_manifest
from notus.core.tables import read_records
from notus.evaluate.compare import Comparison, SweepPoint, describe_slope, slope
from notus.recipes.experiment import Experiment
from notus.recipes.recipe import Curve
from notus.recipes.rounds_report import round_sections
from notus.report.curves import Band, bands
from notus.report.evaluations.sources import sources_table
from notus.report.finders import detection_table, label_table
from notus.report.page import (
    Answer,
    AnswerExample,
    Block,
    Fact,
    Facts,
    Headline,
    Input,
    Lineage,
    Note,
    PageSection,
    PairExample,
    Picture,
    Points,
    Report,
    StepRow,
    headline,
    render,
    write_pictures,
)
from notus.report.table import Cell, Table
from notus.report.training.curves import TrainingRun, read_training, training_pictures
from notus.report.training.page import health_notes
from notus.steps.base import read_findings

__all__ = [
    "build_report",
    "curve_section",
    "curve_sentences",
    "pictures_of",
    "write_report",
]


def curve_section(settings: Mapping[str, Any] | None, name: str, comparison: Comparison) -> Iterator[PageSection]:
    """The picture of the doses with what it says; nothing where the recipe names no curve."""
    if settings is None:
        return
    curve = Curve.parse(dict(settings), where="curve")
    drawn = [
        Band(
            label,
            tuple((item.level, item.arm.interval) for item in dosed),
            tuple((item.level, mean) for item in dosed for _, mean in item.arm.seed_means),
        )
        for label, dosed in _lines(curve, comparison).items()
    ]
    doses = sorted({dose for line in curve.lines.values() for dose in line.values()})
    picture = bands(
        drawn,
        title=f"{name} by dose",
        x_label=curve.x_label,
        y_label=name,
        subtitle="95 % intervals, the wider of prompts and seeds · small dots are seeds",
        x_marks=tuple((dose, f"{100 * dose:g} %") for dose in doses),
    )
    sentences = tuple(curve_sentences(settings, comparison))
    lead = "The slope is the least-squares line through the doses of each seed; seeds are its replicates."
    yield PageSection("What each dose does", lead, (Points(items=sentences), Picture(picture)))


def curve_sentences(settings: Mapping[str, Any] | None, comparison: Comparison) -> Iterator[str]:
    """For each line of at least two doses its slope in words."""
    if settings is not None:
        for label, dosed in _lines(Curve.parse(dict(settings), where="curve"), comparison).items():
            if len({item.level for item in dosed}) > 1:
                yield describe_slope(label, slope(dosed))


def _lines(curve: Curve, comparison: Comparison) -> dict[str, list[SweepPoint]]:
    arms = {arm.name: arm for arm in comparison.arms}
    ordered = {label: sorted(line.items(), key=lambda pair: pair[1]) for label, line in curve.lines.items()}
    return {
        label: [SweepPoint(dose, arms[arm]) for arm, dose in line if arm in arms] for label, line in ordered.items()
    }


_MEASURES = {
    "ifeval": "share of answers that follow all instructions of their prompt, as a program checks",
    "success": "share of sampled answers that pass the exact checker",
    "rewards": "share of held-out pairs whose chosen answer has the higher implicit reward (a tie counts ½)",
}
_PROMPTS_SHOWN = 5


def write_report(experiment: Experiment, path: Path | None = None, *, force: bool = False) -> Path:
    """Write the report of an experiment as one HTML file, by default ``report.html`` in its directory.

    Its pictures are written as files too, into a folder beside it: ``report-pictures/01-….svg``, in their order.

    Args:
        experiment: a recipe that was run.
        path: the file; the default one is written anew.
        force: overwrite a named file that is there, and the pictures beside it.

    Raises:
        InputError: if the file cannot be written, or is there already, or the folder of its pictures holds something.
    """
    target = path or experiment.path / "report.html"
    if target.suffix not in (".html", ".htm"):
        raise InputError(f"the report is an HTML file, and {target} does not end in .html; choose another --out")
    if target.resolve() != (experiment.path / "report.html").resolve():
        check_named_file(target, force=force)
        check_named_folder(pictures_of(target), force=force)
    report = build_report(experiment)
    page = render(report)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_pictures(report, pictures_of(target))
        with atomic(target) as file:
            file.write(page)
    except OSError as error:
        raise InputError(f"cannot write {target}: {error.strerror}; choose another file with --out") from None
    return target


def pictures_of(page: Path) -> Path:
    """The folder of a report's pictures, beside its page."""
    return page.with_name(f"{page.stem}-pictures")


def build_report(experiment: Experiment) -> Report:
    """Gather what the run directories of an experiment hold.

    Raises:
        InputError: if it has none, or one that is not finished or damaged.
    """
    if not experiment.folders():
        raise InputError(f"{experiment.path} names no step that was done; run its recipe again")
    recipe = experiment.record["recipe"]
    comparisons = experiment.comparisons()
    found = [_headline(name, comparison) for name, comparison in comparisons.items()]
    further = [_further(item) for item in found[1:]]
    sections = [
        *(section for name, made in comparisons.items() for section in curve_section(recipe.get("curve"), name, made)),
        *further,
        *round_sections(experiment.arms),
        *_what_answers_are(experiment),
        *_finders(experiment),
        *_health(experiment),
        *_training(experiment),
        *_pairs(experiment),
        *_answers(experiment),
        *_dropped_section(experiment),
    ]
    return Report(
        title=recipe.get("title") or experiment.name,
        subtitle=recipe.get("description") or "",
        summary=tuple(_summary(experiment, comparisons)),
        headline=found[0] if found else None,
        sections=tuple(sections),
        lineage=_lineage(experiment),
        footer=tuple(_footer(experiment)),
    )


def _headline(name: str, comparison: Comparison) -> Headline:
    label = _MEASURES.get(name, name)
    heading = "What the arms achieved" if len(comparison.arms) > 1 else "What was achieved"
    return headline(comparison, heading=heading, x_label=label)


def _further(item: Headline) -> PageSection:
    verdicts = tuple(Note(pair.verdict) for pair in item.pairs)
    return PageSection(item.heading, item.lead, (item.picture, item.arms, *verdicts))


def _summary(experiment: Experiment, comparisons: dict[str, Comparison]) -> Iterator[str]:
    for comparison in comparisons.values():
        # A recipe asks something; the pair that answers it comes first.
        asked = set(experiment.record["recipe"].get("question") or ())
        for pair in sorted(comparison.pairs, key=lambda pair: {pair.a, pair.b} != asked):
            alone = pair.better is not None and not pair.survives_holm
            caveat = f" (tested alone; not with all {len(comparison.pairs)} pairs at once)" if alone else ""
            yield f"{pair.verdict}{caveat}."
        yield from (f"{said}." for said in curve_sentences(experiment.record["recipe"].get("curve"), comparison))
    yield from (f"{remark}." for remark in experiment.remarks(comparisons))
    yield from experiment.record["recipe"].get("notes") or ()


def _what_answers_are(experiment: Experiment) -> Iterator[PageSection]:
    """What is behind a difference: the checker's reasons, for each arm."""
    counts: dict[str, dict[str, int]] = {}
    for arm, folder in _of_arms(experiment, OUTPUTS, VERDICTS):
        of_arm = counts.setdefault(arm, {})
        for verdict in read_records(VERDICTS.at(folder), Verdict):
            of_arm[verdict.reason] = of_arm.get(verdict.reason, 0) + 1
    reasons = sorted({reason for of_arm in counts.values() for reason in of_arm})
    if len(reasons) < 3:
        return
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (arm, *(f"{of_arm.get(reason, 0) / sum(of_arm.values()):.1%}" for reason in reasons), sum(of_arm.values()))
        for arm, of_arm in counts.items()
    )
    table = Table(("Arm", *reasons, "n"), rows, "Share of all sampled answers, by what the checker says of each.")
    yield PageSection("What the answers are", "What is behind a difference between arms.", (table,))


def _finders(experiment: Experiment) -> Iterator[PageSection]:
    if labels := experiment.label_detections():
        lead = (
            "The world knows which chosen answers are worse than the rejected ones. The models that judge them do not."
        )
        yield PageSection("Finding wrong labels", lead, (label_table(labels),))
    detections = experiment.detections()
    if not detections:
        return
    rule = detections[0]
    facts = [
        Fact(label, f"{estimate.mean:.3f}", f"[{estimate.low:.3f}, {estimate.high:.3f}], n = {n:,}")
        for label, estimate, n in (
            ("Precision of the published rule", rule.precision, rule.found),
            ("Recall of the published rule", rule.recall, rule.planted),
        )
        if estimate
    ]
    lead = (
        "The world knows which scores are false: a deserved 1 that was recorded as 10. The finders see the scores and "
        "the noisy ratings only."
    )
    yield PageSection("Finding the faults", lead, (Facts(tuple(facts)), detection_table(detections)))


def _health(experiment: Experiment) -> Iterator[PageSection]:
    seed, folder = next(
        (
            (seed, folder)
            for seeds in experiment.arms.values()
            for seed, steps in seeds.items()
            for folder in steps.values()
            if _is_audit(folder)
        ),
        (None, None),
    )
    if folder is None:
        return
    blocks: list[Block] = []
    for finding in read_findings(folder):
        blocks += finding.blocks(finding.heading if blocks else "")
    audits = sum(map(_is_audit, experiment.folders()))
    lead = "The data as they came, before any repair."
    if audits > 1:
        lead = f"The data of seed {seed}, the first of {audits} sets, as they came, before any repair."
    yield PageSection("Health of the data", lead, tuple(blocks))


def _training(experiment: Experiment) -> Iterator[PageSection]:
    runs: dict[str, dict[str, list[TrainingRun]]] = {}
    notes: dict[Path, list[Block]] = {}
    for arm, seeds in experiment.arms.items():
        for steps in seeds.values():
            for name, folder in steps.items():
                if (folder / "metrics.jsonl").is_file() and folder not in notes:
                    training = read_training(folder, read_manifest(folder)["summary"])
                    notes[folder] = health_notes(training.summary, folder.name)
                    runs.setdefault(name, {}).setdefault(arm, []).append(training)
    blocks: list[Block] = [note for found in notes.values() for note in found]
    for name, arms in runs.items():
        blocks += training_pictures(name, arms, () if len(arms) == 1 else tuple(experiment.arms))
    blocks += _sources(experiment)
    if blocks:
        lead = (
            "A DPO run must start at a loss of ln 2 and a margin of 0, because policy and reference are the same there."
        )
        yield PageSection("Training", lead, tuple(blocks))


def _sources(experiment: Experiment) -> Iterator[Block]:
    """What runs that were trained on several sources note of each."""
    seen: set[Path] = set()
    for arm, seeds in experiment.arms.items():
        for name, folder in next(iter(seeds.values())).items():
            if folder in seen or not (folder / MANIFEST).is_file():
                continue
            seen.add(folder)
            if sources := read_manifest(folder)["summary"].get("sources"):
                yield Points(f"Sources of {name} · {arm}")
                yield sources_table(sources)


def _pairs(experiment: Experiment) -> Iterator[PageSection]:
    by_prompt: dict[str, dict[str, Preference]] = {}
    for arm, folder in _first_seed(experiment, PREFERENCES):
        for item in read_records(PREFERENCES.at(folder), Preference):
            by_prompt.setdefault(item.feedback_id or item.id, {})[arm] = item
    # Prompts on which the arms do not agree tell most; the sort is stable, so ties stay in the order of the data.
    ordered = sorted(by_prompt.values(), key=lambda arms: -len({item.chosen for item in arms.values()}))
    blocks = [_pair_example(arm, item) for arms in ordered[:_PROMPTS_SHOWN] for arm, item in arms.items()]
    if blocks:
        lead = "What the arms were trained on, first the prompts for which they chose different answers."
        yield PageSection("Chosen and rejected", lead, tuple(blocks))


def _pair_example(arm: str, item: Preference) -> PairExample:
    models = f" · {item.model_chosen} over {item.model_rejected}" if item.model_chosen or item.model_rejected else ""
    return PairExample(
        prompt="\n".join(message.content for message in item.prompt),
        chosen="\n".join(message.content for message in item.chosen),
        rejected="\n".join(message.content for message in item.rejected),
        score_chosen=item.score_chosen,
        score_rejected=item.score_rejected,
        note=f"{arm}{models}",
    )


def _answers(experiment: Experiment) -> Iterator[PageSection]:
    """First samples of each arm to the same held-out prompts, under the first seed."""
    by_prompt: dict[str, list[Answer]] = {}
    texts: dict[str, str] = {}
    for arm, folder in _first_seed(experiment, OUTPUTS, VERDICTS):
        outputs = read_records(OUTPUTS.at(folder), Output)
        verdicts = read_records(VERDICTS.at(folder), Verdict)
        for output, verdict in zip(outputs, verdicts, strict=True):
            if output.sample == 0 and (len(texts) < _PROMPTS_SHOWN or output.prompt_id in texts):
                texts.setdefault(output.prompt_id, output.prompt[-1].content)
                passed = None if verdict.score is None else verdict.score == 1
                by_prompt.setdefault(output.prompt_id, []).append(Answer(arm, output.text, passed, verdict.reason))
    blocks = tuple(AnswerExample(texts[key], tuple(answers)) for key, answers in by_prompt.items())
    if blocks:
        lead = "The first sample of each arm to the same held-out prompts, under the first seed."
        yield PageSection("Answers before and after", lead, blocks)


def _dropped_section(experiment: Experiment) -> Iterator[PageSection]:
    rows: list[tuple[str, str, int, int, str]] = []
    for folder in experiment.folders():
        for tally in read_json(folder / "tally.json"):
            if tally["dropped"] or tally["counts"]:
                told = [f"{n:,} {reason}" for reason, n in {**tally["dropped"], **tally["counts"]}.items()]
                rows.append((folder.name, tally["stage"], tally["in"], tally["out"], ", ".join(told)))
    if rows:
        table = Table(("Step", "Stage", "In", "Out", "Dropped and counted"), tuple(rows))
        yield PageSection(
            "What was dropped", "Each dropped record is listed in its run directory with its reason.", (table,)
        )


def _lineage(experiment: Experiment) -> Lineage:
    inputs: dict[str, str] = {}
    steps = []
    for folder, name in experiment.folders().items():
        manifest = read_manifest(folder)
        for entry in read_json(folder / "inputs.json").values():
            inside = entry["path"] and Path(entry["path"]).resolve().is_relative_to(experiment.path.resolve())
            if entry["path"] and not inside:
                inputs[entry["path"]] = entry["hash"]
        config = json.dumps(read_json(folder / "config.json"), indent=2, ensure_ascii=False)
        steps.append(StepRow(name, folder.name.rpartition("-")[2], config, manifest["duration_s"]))
    return Lineage(tuple(Input(path, digest) for path, digest in inputs.items()), tuple(steps))


def _is_audit(folder: Path) -> bool:
    """Whether a run directory tells of data as they came; other steps leave findings of their own."""
    return FINDINGS.is_in(folder) and str(read_manifest(folder)["stage"]) == "audit"


def _footer(experiment: Experiment) -> Iterator[tuple[str, str]]:
    manifest = read_manifest(next(reversed(experiment.folders())))
    yield "finished", manifest["finished"]
    yield from manifest["versions"].items()
    yield "machine", f"{manifest['machine']['system']}, {manifest['machine']['cpus']} CPUs"


def _of_arms(experiment: Experiment, *needed: Artifact) -> Iterator[tuple[str, Path]]:
    for arm, seeds in experiment.arms.items():
        for steps in seeds.values():
            yield from (
                (arm, folder) for folder in steps.values() if all(artifact.is_in(folder) for artifact in needed)
            )


def _first_seed(experiment: Experiment, *needed: Artifact) -> Iterator[tuple[str, Path]]:
    """Arms with the run directory that holds all of some artifacts under the first seed, each directory once."""
    seen: set[Path] = set()
    for arm, seeds in experiment.arms.items():
        for folder in next(iter(seeds.values())).values():
            if all(artifact.is_in(folder) for artifact in needed) and folder not in seen:
                seen.add(folder)
                yield arm, folder
