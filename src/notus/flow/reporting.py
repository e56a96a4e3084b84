"""The report of an experiment: gathers what its run directories hold and puts it into the form of ``app.report``."""

import json
import math
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

from notus.app.contradictions import label_table
from notus.app.health import detection_table
from notus.app.pictures import Line, lines
from notus.app.report import (
    Answer,
    AnswerExample,
    Block,
    Cell,
    Fact,
    Facts,
    Headline,
    Input,
    Lineage,
    Note,
    PairExample,
    Picture,
    Points,
    Report,
    Section,
    Step,
    Table,
    headline,
    render,
)
from notus.core.errors import InputError
from notus.core.records import Output, Preference, Verdict
from notus.core.run import atomic, read_json, read_manifest
from notus.core.tables import read_records
from notus.evaluate.compare import Comparison
from notus.flow.curves import curve_section, curve_sentences
from notus.flow.datasteps import read_findings
from notus.flow.experiment import Experiment
from notus.flow.picturefiles import write_pictures
from notus.flow.roundsreport import round_sections

__all__ = ["build_report", "write_report"]

_MEASURES = {
    "success": "share of sampled answers that pass the exact checker",
    "rewards": "share of held-out pairs whose chosen answer has the higher implicit reward (a tie counts ½)",
}
_CURVES = (
    ("loss", "Loss", "loss (nats)"),
    ("rewards/margins", "Margin of chosen over rejected", "implicit reward (β · nats)"),
    ("rewards/chosen", "Reward of chosen answers", "implicit reward (β · nats)"),
    ("rewards/rejected", "Reward of rejected answers", "implicit reward (β · nats)"),
    ("rewards/accuracies", "Reward accuracy", "share of pairs (a tie counts ½)"),
    ("rewards/desirable", "Reward of wanted answers", "implicit reward (β · nats)"),
    ("rewards/undesirable", "Reward of unwanted answers", "implicit reward (β · nats)"),
    ("kl", "Divergence from the reference, as KTO estimates it", "nats"),
)
_PROMPTS_SHOWN = 5


def write_report(experiment: Experiment, path: Path | None = None) -> Path:
    """Write the report of an experiment as one HTML file, by default ``report.html`` in its directory.

    Its pictures are written as files too, into a folder beside it: ``report-pictures/01-….svg``, in their order.

    Raises:
        InputError: if the file cannot be written.
    """
    target = path or experiment.path / "report.html"
    if target.suffix not in (".html", ".htm"):
        raise InputError(f"the report is an HTML file, and {target} does not end in .html; choose another --out")
    report = build_report(experiment)
    page = render(report)
    try:
        target.parent.mkdir(parents=True, exist_ok=True)
        write_pictures(report, target.with_name(f"{target.stem}-pictures"))
        with atomic(target) as file:
            file.write(page)
    except OSError as error:
        raise InputError(f"cannot write {target}: {error.strerror}; choose another file with --out") from None
    return target


def build_report(experiment: Experiment) -> Report:
    """Gather what the run directories of an experiment hold."""
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
        *_dropped(experiment),
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


def _further(item: Headline) -> Section:
    verdicts = tuple(Note(pair.verdict) for pair in item.pairs)
    return Section(item.heading, item.lead, (item.picture, item.arms, *verdicts))


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


def _what_answers_are(experiment: Experiment) -> Iterator[Section]:
    """What is behind a difference: the checker's reasons, for each arm."""
    counts: dict[str, dict[str, int]] = {}
    for arm, folder in _of_arms(experiment, "outputs.parquet", "verdicts.parquet"):
        of_arm = counts.setdefault(arm, {})
        for verdict in read_records(folder / "verdicts.parquet", Verdict):
            of_arm[verdict.reason] = of_arm.get(verdict.reason, 0) + 1
    reasons = sorted({reason for of_arm in counts.values() for reason in of_arm})
    if len(reasons) < 3:
        return
    rows: tuple[tuple[Cell, ...], ...] = tuple(
        (arm, *(f"{of_arm.get(reason, 0) / sum(of_arm.values()):.1%}" for reason in reasons), sum(of_arm.values()))
        for arm, of_arm in counts.items()
    )
    table = Table(("Arm", *reasons, "n"), rows, "Share of all sampled answers, by what the checker says of each.")
    yield Section("What the answers are", "What is behind a difference between arms.", (table,))


def _finders(experiment: Experiment) -> Iterator[Section]:
    if labels := experiment.label_detections():
        lead = (
            "The world knows which chosen answers are worse than the rejected ones. The models that judge them do not."
        )
        yield Section("Finding wrong labels", lead, (label_table(labels),))
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
    yield Section("Finding the faults", lead, (Facts(tuple(facts)), detection_table(detections)))


def _health(experiment: Experiment) -> Iterator[Section]:
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
        blocks.append(Points(finding.heading if blocks else "", finding.sentences))
        if finding.table is not None:
            blocks.append(finding.table)
        if finding.picture:
            blocks.append(Picture(finding.picture))
    audits = sum(map(_is_audit, experiment.folders()))
    lead = "The data as they came, before any repair."
    if audits > 1:
        lead = f"The data of seed {seed}, the first of {audits} sets, as they came, before any repair."
    yield Section("Health of the data", lead, tuple(blocks))


def _training(experiment: Experiment) -> Iterator[Section]:
    runs: dict[str, dict[str, list[tuple[str, list[dict[str, Any]]]]]] = {}
    seen: set[Path] = set()
    for arm, seeds in experiment.arms.items():
        for steps in seeds.values():
            for name, folder in steps.items():
                if (folder / "metrics.jsonl").is_file() and folder not in seen:
                    seen.add(folder)
                    runs.setdefault(name, {}).setdefault(arm, []).append((folder.name, _metrics(folder)))
    blocks: list[Block] = []
    for name, arms in runs.items():
        for key, title, unit in _CURVES:
            shared = len(arms) == 1
            curves = [
                Line(name if shared else arm, tuple((row["step"], row[key]) for row in rows if key in row))
                for arm, of_arm in arms.items()
                for _, rows in of_arm
            ]
            curves = [curve for curve in curves if curve.points]
            if curves:
                levels = (
                    [(math.log(2), "ln 2")]
                    if key == "loss" and any(_is_dpo(r) for a in arms.values() for _, r in a)
                    else []
                )
                picture = lines(
                    curves,
                    title=f"{title} · {name}",
                    subtitle=f"{len(curves)} runs, one curve for each seed",
                    x_label="updates",
                    y_label=unit,
                    levels=levels,
                    order=() if shared else tuple(experiment.arms),
                )
                blocks.append(Picture(picture))
    if blocks:
        lead = (
            "A DPO run must start at a loss of ln 2 and a margin of 0, because policy and reference are the same there."
        )
        yield Section("Training", lead, tuple(blocks))


def _pairs(experiment: Experiment) -> Iterator[Section]:
    by_prompt: dict[str, dict[str, Preference]] = {}
    for arm, folder in _first_seed(experiment, "preferences.parquet"):
        for item in read_records(folder / "preferences.parquet", Preference):
            by_prompt.setdefault(item.feedback_id or item.id, {})[arm] = item
    # Prompts on which the arms do not agree tell most; the sort is stable, so ties stay in the order of the data.
    ordered = sorted(by_prompt.values(), key=lambda arms: -len({item.chosen for item in arms.values()}))
    blocks = [_pair(arm, item) for arms in ordered[:_PROMPTS_SHOWN] for arm, item in arms.items()]
    if blocks:
        lead = "What the arms were trained on, first the prompts for which they chose different answers."
        yield Section("Chosen and rejected", lead, tuple(blocks))


def _pair(arm: str, item: Preference) -> PairExample:
    models = f" · {item.model_chosen} over {item.model_rejected}" if item.model_chosen or item.model_rejected else ""
    return PairExample(
        prompt="\n".join(message.content for message in item.prompt),
        chosen="\n".join(message.content for message in item.chosen),
        rejected="\n".join(message.content for message in item.rejected),
        score_chosen=item.score_chosen,
        score_rejected=item.score_rejected,
        note=f"{arm}{models}",
    )


def _answers(experiment: Experiment) -> Iterator[Section]:
    """First samples of each arm to the same held-out prompts, under the first seed."""
    by_prompt: dict[str, list[Answer]] = {}
    texts: dict[str, str] = {}
    for arm, folder in _first_seed(experiment, "outputs.parquet", "verdicts.parquet"):
        outputs = read_records(folder / "outputs.parquet", Output)
        verdicts = read_records(folder / "verdicts.parquet", Verdict)
        for output, verdict in zip(outputs, verdicts, strict=True):
            if output.sample == 0 and (len(texts) < _PROMPTS_SHOWN or output.prompt_id in texts):
                texts.setdefault(output.prompt_id, output.prompt[-1].content)
                passed = None if verdict.score is None else verdict.score == 1
                by_prompt.setdefault(output.prompt_id, []).append(Answer(arm, output.text, passed, verdict.reason))
    blocks = tuple(AnswerExample(texts[key], tuple(answers)) for key, answers in by_prompt.items())
    if blocks:
        lead = "The first sample of each arm to the same held-out prompts, under the first seed."
        yield Section("Answers before and after", lead, blocks)


def _dropped(experiment: Experiment) -> Iterator[Section]:
    rows: list[tuple[str, str, int, int, str]] = []
    for folder in experiment.folders():
        for tally in read_json(folder / "tally.json"):
            if tally["dropped"] or tally["counts"]:
                told = [f"{n:,} {reason}" for reason, n in {**tally["dropped"], **tally["counts"]}.items()]
                rows.append((folder.name, tally["stage"], tally["in"], tally["out"], ", ".join(told)))
    if rows:
        table = Table(("Step", "Stage", "In", "Out", "Dropped and counted"), tuple(rows))
        yield Section(
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
        steps.append(Step(name, folder.name.rpartition("-")[2], config, manifest["duration_s"]))
    return Lineage(tuple(Input(path, digest) for path, digest in inputs.items()), tuple(steps))


def _is_audit(folder: Path) -> bool:
    """Whether a run directory tells of data as they came; other steps leave findings of their own."""
    return (folder / "health.json").is_file() and read_manifest(folder)["stage"] == "audit"


def _footer(experiment: Experiment) -> Iterator[tuple[str, str]]:
    manifest = read_manifest(next(reversed(experiment.folders())))
    yield "finished", manifest["finished"]
    yield from manifest["versions"].items()
    yield "machine", f"{manifest['machine']['system']}, {manifest['machine']['cpus']} CPUs"


def _of_arms(experiment: Experiment, *files: str) -> Iterator[tuple[str, Path]]:
    for arm, seeds in experiment.arms.items():
        for steps in seeds.values():
            yield from ((arm, folder) for folder in steps.values() if all((folder / file).is_file() for file in files))


def _first_seed(experiment: Experiment, *files: str) -> Iterator[tuple[str, Path]]:
    """Arms with the run directory that holds all of some files under the first seed, each directory once."""
    seen: set[Path] = set()
    for arm, seeds in experiment.arms.items():
        for folder in next(iter(seeds.values())).values():
            if all((folder / file).exists() for file in files) and folder not in seen:
                seen.add(folder)
                yield arm, folder


def _metrics(folder: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in (folder / "metrics.jsonl").read_text(encoding="utf-8").splitlines()]


def _is_dpo(rows: Iterable[dict[str, Any]]) -> bool:
    return any("rewards/margins" in row for row in rows)
