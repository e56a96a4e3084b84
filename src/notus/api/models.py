"""Models from Python: train, draw answers, rank, evaluate, compare.

    run = notus.dpo(pairs, start="owner/model", loss="ipo", out="runs/dpo")
    answers = notus.generate(run, prompts, n=4)
    notus.compare([run_a, run_b])

Owns the functions and their results. The work is that of the steps, which the command line calls too.
"""

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal, TypeAlias

from notus.api.data import Data, DataLike, Outputs, read, read_run, reading_settings
from notus.api.results import Result, RunFolder, Temporary, run_in_folder
from notus.core.artifacts import records_in
from notus.core.errors import ConfigError, nearest
from notus.core.plugins import reference_to
from notus.formats.source import open_source

if TYPE_CHECKING:  # needs transformers
    from notus.train.preview import Preview

__all__ = [
    "Comparisons",
    "Evaluation",
    "Experiment",
    "ModelLike",
    "Trained",
    "ask_again",
    "collect",
    "compare",
    "dpo",
    "draw_labels",
    "evaluate",
    "generate",
    "kto",
    "label",
    "preview",
    "rank",
    "run",
    "sft",
    "train_ranker",
]


class Trained(Result):
    """A trained model, with the numbers on the way."""

    @property
    def model(self) -> Path:
        """The folder of the model, which transformers reads."""
        return self.path / "model"

    @property
    def metrics(self) -> list[dict[str, Any]]:
        """The numbers on the way, one entry each time they were logged."""
        import json

        lines = (self.path / "metrics.jsonl").read_text(encoding="utf-8").splitlines()
        return [json.loads(line) for line in lines]


ModelLike: TypeAlias = Trained | str | Path
"""What a model may be: a training, a folder, a run directory or a hub id."""


class Evaluation(Result):
    """A measured model, ranker or judge: ``summary`` has the figures, ``scores`` a row for each thing measured."""


class Comparisons:
    """What can be told apart, for each kind of evaluation."""

    def __init__(
        self, found: Mapping[str, Any], corrected: Mapping[str, Any] | None = None, requirements: Sequence[Any] = ()
    ) -> None:
        self.found = dict(found)
        """Kind of evaluation → arms, pairs and summary; see ``evaluate.compare.Comparison``."""
        self.corrected = dict(corrected or {})
        """Kind of evaluation → what people's labels make of it; see ``evaluate.people.correct.ByPeople``."""
        self.requirements = list(requirements)
        """What became of each requirement; see ``evaluate.gate.requirement.Outcome``."""

    @property
    def held(self) -> bool:
        """Whether all requirements are held."""
        return all(each.outcome == "held" for each in self.requirements)

    def __repr__(self) -> str:
        from notus.evaluate.people.correct import sentences_of

        lines: list[str] = []
        for name, comparison in self.found.items():
            lines.append(name)
            lines += [f"  {pair.verdict}" for pair in comparison.pairs]
            lines += [f"  {sentence}." for sentence in comparison.summary]
            by = self.corrected.get(name)
            lines += [f"  {sentence}." for sentence in (sentences_of(by) if by is not None else ())]
        return "\n".join([*lines, *map(str, self.requirements)])


class Experiment(Result):
    """A recipe that was run: arms, comparisons, a report.

    Args:
        run: its directory.
        steps: name of a step → its run directory, under the first arm that has it and the first seed.
    """

    def __init__(self, run: RunFolder, steps: Mapping[str, Path]) -> None:
        super().__init__(run)
        self.steps = dict(steps)
        """Name of a step → its run directory, under the first arm that has it and the first seed."""

    @property
    def comparisons(self) -> Comparisons:
        """The arms beside each other."""
        return Comparisons(self._experiment().comparisons())

    @property
    def summary(self) -> dict[str, Any]:
        """The recipe's name and its arms; of one that was to stop before its end, the steps that were done."""
        if not (self.path / "experiment.json").is_file():
            return {"steps": list(self.steps)}
        experiment = self._experiment()
        return {"recipe": experiment.name, "arms": list(experiment.arms)}

    @property
    def tally(self) -> list[dict[str, Any]]:
        """Empty: each step of the recipe has its own."""
        return []

    def report(self, path: str | Path | None = None, *, force: bool = False) -> Path:
        """Write the report as one HTML file; by default into the run directory. ``force`` overwrites a named one."""
        from notus.recipes.report import write_report

        return write_report(self._experiment(), None if path is None else Path(path), force=force)

    def _experiment(self) -> Any:
        from notus.recipes.experiment import Experiment as Stored

        return Stored.read(self.path)


def sft(data: DataLike, *, start: ModelLike, seed: int = 0, out: str | Path | None = None, **settings: Any) -> Trained:
    """Fine-tune a model on dialogues, or on the chosen answers of pairs.

    Args:
        data: dialogues or pairs.
        start: the model to start from.
        seed: of the order of the rows and of all that is drawn.
        out: the run directory; None keeps the model as long as the result.
        settings: further settings of the step ``sft``, by our names or those of transformers' ``TrainingArguments``.
    """
    return _train("sft", "data", data, start, seed, out, settings)


def dpo(
    pairs: DataLike,
    *,
    start: ModelLike,
    reference: ModelLike | None = None,
    loss: str | Mapping[str, Any] | Sequence[Mapping[str, Any]] | Callable[..., Any] | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    **settings: Any,
) -> Trained:
    """Train a policy on preference pairs against the model that it starts from, or another reference.

    Args:
        pairs: preference pairs; unpaired rows for the losses that take those.
        start: the model to start from.
        reference: the reference policy; None takes the start.
        loss: a name (ours or TRL's), a mapping with its options, a list of weighted losses, or a function of your own
            that takes a batch of pairs (``notus.train.losses``) and returns a tensor with a loss for each.
        seed: of the order of the rows.
        out: the run directory; None keeps the model as long as the result.
        settings: further settings of the step ``dpo``, by our names or those of transformers' ``TrainingArguments``.
    """
    given = {"loss": reference_to(loss) if callable(loss) else loss}
    if reference is not None:
        given["reference"] = _model(reference)
    return _train("dpo", "pairs", pairs, start, seed, out, given | settings, (reference,))


def kto(rows: DataLike, *, start: ModelLike, seed: int = 0, out: str | Path | None = None, **settings: Any) -> Trained:
    """Train a policy on single answers that are desirable or not; pairs give two rows each. See ``dpo``."""
    return _train("dpo", "pairs", rows, start, seed, out, {"loss": "kto"} | settings)


def preview(
    data: DataLike,
    *,
    start: ModelLike | None = None,
    step: str | None = None,
    n: int = 3,
    seed: int = 0,
    **settings: Any,
) -> "Preview":
    """Rows as a model will read them: token by token, what is trained on in brackets. It prints itself.

    Only the tokenizer is loaded.

    Args:
        data: dialogues for ``sft``, pairs or single rows for ``dpo``, pairs for ``train-ranker``.
        start: the model that training starts from; a ranker may have none.
        step: ``sft``, ``dpo`` or ``train-ranker``; None takes ``sft`` for dialogues and ``dpo`` for all others.
        n: rows.
        seed: of what is drawn: which answer a ``pairrm`` reads first.
        settings: those of the training.
    """
    from notus.steps.base import refs_of
    from notus.steps.registry import step_class

    opened = read(data)
    chosen = step or ("sft" if opened.kind == "Dialogue" else "dpo")
    if chosen not in _PREVIEWED:
        raise ConfigError(f"notus.preview: '{chosen}' is no training step; {nearest(chosen, _PREVIEWED)}")
    given: dict[str, Any] = {} if start is None else {"start": _model(start)}
    if chosen == "train-ranker":
        given |= {key: value for key, value in reading_settings(opened, "pairs").items() if value is not None}
    else:
        given["data" if chosen == "sft" else "pairs"] = _records_run(opened)
    config: Any = step_class(chosen).parse(given | settings, where="notus.preview")
    made: Preview = config.preview(refs_of(config), n, seed)
    return made


_PREVIEWED = ("dpo", "sft", "train-ranker")


def train_ranker(
    pairs: DataLike,
    *,
    start: ModelLike | None = None,
    form: str = "reward-model",
    seed: int = 0,
    out: str | Path | None = None,
    **settings: Any,
) -> Trained:
    """Train a reward model or a PairRM on preference pairs, and measure it on prompts that are held out."""
    opened = read(pairs)
    given = (
        reading_settings(opened, "pairs") | {"form": form, "start": None if start is None else _model(start)} | settings
    )
    return Trained(
        run_in_folder("train-ranker", given, where="notus.train_ranker", out=out, seed=seed, keep=(opened, start))
    )


def generate(
    model: ModelLike,
    prompts: DataLike,
    *,
    n: int = 1,
    temperature: float | None = None,
    max_new_tokens: int | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    **settings: Any,
) -> Outputs:
    """Draw answers of a model to each prompt, the prompt computed once for all of them.

    Args:
        model: a training, a folder, a run directory or a hub id.
        prompts: a list of texts, or data whose prompts are taken.
        n: answers to each prompt.
        temperature: 0 takes the likeliest token at each step; None takes 1.
        max_new_tokens: tokens of an answer at the most.
        seed: draws the answers.
        out: the run directory; None keeps nothing.
        settings: further settings of the step ``sample``.
    """
    opened = _prompts(prompts)
    drawing = {"samples": n, "temperature": temperature, "max_new_tokens": max_new_tokens}
    sampling = {key: value for key, value in drawing.items() if value is not None} | dict(settings.pop("sampling", {}))
    given = reading_settings(opened) | {"model": _model(model), "sampling": sampling} | settings
    return Outputs(run_in_folder("sample", given, where="notus.generate", out=out, seed=seed, keep=(opened, model)))


def rank(
    ranker: str | Callable[..., Any], answers: Outputs | DataLike, *, out: str | Path | None = None, **settings: Any
) -> Data:
    """Score the answers to each prompt; gives feedback, which ``binarize(strategy="ranker")`` makes pairs of.

    Args:
        ranker: ``length``, ``pairrm:PATH``, ``reward-model:PATH``, ``implicit:POLICY@REFERENCE``, ``python:FILE:NAME``,
            or a function of (prompt, answers) that returns as many numbers.
        answers: what ``generate`` gives, or feedback.
        out: the run directory; None keeps nothing.
        settings: further settings of the step ``rank``.
    """
    opened = answers if isinstance(answers, Outputs) else read(answers)
    reading = {"outputs": str(opened.path)} if isinstance(opened, Outputs) else reading_settings(opened, "outputs")
    name = reference_to(ranker) if callable(ranker) else ranker
    folder = run_in_folder("rank", {"ranker": name} | reading | settings, where="notus.rank", out=out, keep=(opened,))
    return Data(folder, open_source(str(records_in(folder.path))))


def label(
    data: DataLike,
    *,
    by: Sequence[str | Callable[..., Any]],
    truth: DataLike | None = None,
    out: str | Path | None = None,
    **settings: Any,
) -> Data:
    """Let labelling functions vote on answers; ``binarize(consensus=…)`` makes pairs of the feedback that comes out.

    Args:
        data: feedback, or preference pairs.
        by: functions of (prompt, answers) that return as many numbers, the higher the better, None where they cannot
            tell; or rankers in their text form, ``python:FILE:NAME`` among them.
        truth: pairs whose chosen answer is known to be the better one, against which the functions are measured.
        out: the run directory; None keeps nothing.
        settings: further settings of the step ``label``.
    """
    opened, known = read(data), None if truth is None else read(truth)
    given = reading_settings(opened) | {"by": [reference_to(each) if callable(each) else each for each in by]}
    given |= {} if known is None else {"truth": str(known.place)}
    kept = (opened,) if known is None else (opened, known)
    folder = run_in_folder("label", given | settings, where="notus.label", out=out, keep=kept)
    return Data(folder, open_source(str(records_in(folder.path))))


def collect(
    prompts: DataLike,
    *,
    pool: Sequence[str | Mapping[str, Any]],
    judge: Mapping[str, Any] | None = None,
    endpoints: Sequence[Mapping[str, Any]] = (),
    seed: int = 0,
    out: str | Path | None = None,
    **settings: Any,
) -> Data:
    """Collect feedback: answers of several models to prompts, and what a judge says of them. Gives what ``read`` gives.

    Args:
        prompts: a list of texts, or data whose prompts are taken.
        pool: who may answer: names of endpoints, or mappings with ``name``, ``endpoint``, ``weight``, ``sampling``.
        judge: ``endpoint``, ``aspects`` and so on; None collects answers alone.
        endpoints: ``name``, ``model``, ``urls`` and so on of each endpoint.
        seed: draws who answers.
        out: the run directory, beside which the ledger lies; None keeps nothing, the ledger with what was paid for
            included, unless ``ledger`` names one.
        settings: further settings of the step ``collect``.
    """
    opened = _prompts(prompts)
    members = [{"name": member} if isinstance(member, str) else dict(member) for member in pool]
    asked = {"pool": members, "endpoints": [dict(each) for each in endpoints]}
    given = reading_settings(opened) | asked | settings
    given.setdefault("completions", min(4, len(members)))
    # No judge is an answer too, and not a setting that was left out.
    folder = run_in_folder(
        "collect", given, where="notus.collect", out=out, seed=seed, keep=(opened,), nulls={"judge": judge}
    )
    return Data(folder, open_source(str(records_in(folder.path))))


def ask_again(
    queue: Data | str | Path,
    *,
    judge: Mapping[str, Any],
    endpoints: Sequence[Mapping[str, Any]] = (),
    out: str | Path | None = None,
    **settings: Any,
) -> Data:
    """Ask a judge again for the scores that ``repair`` left in doubt, for exactly those.

    Args:
        queue: what ``repair`` gave, or its run directory.
        judge: as for ``collect``: ``endpoint``, ``critic``, ``prompts`` and so on.
        endpoints: ``name``, ``model``, ``urls`` and so on of each endpoint.
        out: the run directory, beside which the ledger lies; None keeps nothing, unless ``ledger`` names one.
        settings: further settings of the step ``ask-again``.
    """
    place = queue.path if isinstance(queue, Data) else Path(queue)
    given = {"data": str(place), "judge": dict(judge), "endpoints": [dict(each) for each in endpoints]} | settings
    folder = run_in_folder("ask-again", given, where="notus.ask_again", out=out, keep=(queue,))
    return Data(folder, open_source(str(records_in(folder.path))))


_EVALUATIONS = {
    "alpaca": ("alpaca", "annotations"),
    "harness": ("harness", "model"),
    "ifeval": ("ifeval", "model"),
    "mtbench": ("mtbench", "judgments"),
    "rewards": ("reward-check", "ranker"),
    "judges": ("judges", "rankers"),
}
"""Name → the step type, and the setting that names what is measured."""


def evaluate(
    subject: Outputs | ModelLike | Sequence[str],
    by: str | Callable[..., Any],
    *,
    data: DataLike | None = None,
    seed: int = 0,
    out: str | Path | None = None,
    **settings: Any,
) -> Evaluation:
    """Measure a model, its answers, a ranker or a judge.

    Args:
        subject: what is measured: answers (``generate``) for a measure of answers; a model for ``harness``; a model,
            answers or a file of stored ones for ``ifeval``; a ranker's name for ``rewards`` and ``judges``; stored
            judgements for ``alpaca`` and ``mtbench``.
        by: ``harness``, ``ifeval``, ``alpaca``, ``mtbench``, ``rewards``, ``judges``, the name of a measure of answers,
            ``python:FILE:NAME``, or a function of an answer that returns a number, or None where it cannot tell.
        data: the pairs, for ``rewards`` and ``judges``; the questions, for ``harness``; the prompts with their checks,
            for ``ifeval``.
        seed: of what is drawn.
        out: the run directory; None keeps nothing.
        settings: further settings of the step.
    """
    name = reference_to(by) if callable(by) else by
    opened = None if data is None else read(data)
    given: dict[str, Any] = {} if opened is None else {"data": str(opened.place)}
    if name not in _EVALUATIONS:
        if not isinstance(subject, Outputs):
            known = nearest(name, _EVALUATIONS)
            raise ConfigError(f"notus.evaluate: '{name}' measures answers, which notus.generate gives; {known}")
        if opened is not None:
            raise ConfigError(f"notus.evaluate: '{name}' measures answers alone; leave 'data' out")
        step, given = "evaluate", {"outputs": str(subject.path), "by": name}
    else:
        step, setting = _EVALUATIONS[name]
        if opened is not None and step in ("reward-check", "judges"):
            given = reading_settings(opened)
        if step == "ifeval":
            given = {"prompts": given["data"]} if given else {}
            stored = isinstance(subject, Outputs) or (isinstance(subject, str | Path) and Path(subject).is_file())
            setting = "outputs" if stored else setting
        places = [subject] if isinstance(subject, str | Path | Result) else list(subject)
        texts = [_model(place) if isinstance(place, Path | Result) else place for place in places]
        given[setting] = texts if step in ("judges", "mtbench") else texts[0]
    folder = run_in_folder(step, given | settings, where="notus.evaluate", out=out, seed=seed, keep=(subject, opened))
    return Evaluation(folder)


def compare(
    runs: Sequence[Result | str | Path],
    *,
    baseline: str | None = None,
    labels: str | Path | None = None,
    categories: Mapping[str, str] | None = None,
    require: str | Sequence[str] = (),
) -> Comparisons:
    """Compare arms of recipes, or single evaluations: means with intervals, and what can be told apart.

    Args:
        runs: directories of recipes that were run, or of single evaluations.
        baseline: the arm that the others are placed beside.
        labels: people's labels of some answers (``draw_labels``), or an arena's folder; they correct the judge:
            ``corrected``.
        categories: prompt id → its category; then each arm is corrected within each too.
        require: what must be shown, such as ``dpo - sft > 0``: ``requirements``, and ``held``.
    """
    from notus.evaluate.people.correct import correct_all
    from notus.recipes.experiment import gather_runs
    from notus.recipes.votes import labels_beside

    if categories is not None and labels is None:
        raise ConfigError("notus.compare: 'categories' goes with 'labels': without, nothing is corrected by category")
    gathered = gather_runs([each.path if isinstance(each, Result) else Path(each) for each in runs])
    told = None
    if labels is not None:
        gathered, read_ = labels_beside(gathered, Path(labels))
        told = read_.labels
    lines = [*gathered.require, *([require] if isinstance(require, str) else require)]
    by = {} if told is None else correct_all(gathered.scores, told, baseline or gathered.baseline, categories)
    return Comparisons(gathered.compare(baseline), by, gathered.outcomes(lines, told))


def draw_labels(
    runs: Sequence[Result | str | Path],
    path: str | Path,
    *,
    n: int = 200,
    by: Literal["random", "uncertainty"] = "random",
    only: str | None = None,
    seed: int = 0,
    force: bool = False,
) -> Path:
    """Draw answers for people to label, as a sheet of CSV or JSON lines.

    Args:
        runs: what is to be compared.
        path: the sheet.
        n: prompts; of each an answer of every arm.
        by: at random, or prompts that the judge is unsure of more often.
        only: the evaluation, where the runs hold several.
        seed: decides what is drawn.
        force: overwrite a file that is there.
    """
    from notus.evaluate.people.labels import draw_sheet, write_sheet
    from notus.recipes.answers import texts_of
    from notus.recipes.experiment import gather_runs

    gathered = gather_runs([each.path if isinstance(each, Result) else Path(each) for each in runs])
    if only is not None and only not in gathered.scores:
        raise ConfigError(f"notus.draw_labels: there is no evaluation '{only}'; {nearest(only, gathered.scores)}")
    scores = gathered.scores if only is None else {only: gathered.scores[only]}
    write_sheet(Path(path), draw_sheet(scores, n, by=by, seed=seed, texts=texts_of(gathered)).rows, force=force)
    return Path(path)


def run(
    recipe: str | Path,
    *,
    settings: Mapping[str, Any] | None = None,
    until: str | None = None,
    out: str | Path | None = None,
) -> Experiment:
    """Run a recipe, step by step in this process.

    Args:
        recipe: a file, or the name of a built-in recipe.
        settings: laid over the recipe, with dotted keys: ``{"dpo.loss.beta": 0.05}``.
        until: name of the last step to do, with what it needs; None does all.
        out: the run directory, in which what is done is not done again; None keeps the run as long as the result.
    """
    from notus.recipes.execute import Silent
    from notus.recipes.experiment import run_recipe
    from notus.recipes.recipe import find_recipe, load_recipe, make_plan

    loaded = load_recipe(find_recipe(str(recipe)), settings=settings or {})
    folder = Temporary() if out is None else None
    path = Path(out) if out is not None else folder.path / loaded.head.name  # type: ignore[union-attr]
    plan = make_plan(loaded, path)
    run_recipe(loaded, path, Silent(), until=until, inline=True)
    steps: dict[str, Path] = {}
    for of_arm in plan.arms.values():
        for name, digest in of_arm.items():
            steps.setdefault(name, path / "steps" / plan.steps[digest].folder)
    done = {name: folder for name, folder in steps.items() if (folder / "manifest.json").is_file()}
    return Experiment(RunFolder(path, (folder,)), done)


def _train(
    step: str,
    setting: str,
    data: DataLike,
    start: ModelLike,
    seed: int,
    out: str | Path | None,
    settings: Mapping[str, Any],
    keep: Sequence[object] = (),
) -> Trained:
    opened = read(data)
    given = {setting: _records_run(opened), "start": _model(start)} | dict(settings)
    return Trained(run_in_folder(step, given, where=f"notus.{step}", out=out, seed=seed, keep=(opened, start, *keep)))


def _records_run(data: Data) -> str:
    """A run directory of the data: their own, or one that a step ``read`` leaves beside them."""
    return str(read_run(data))


def _model(model: ModelLike | Result) -> str:
    return str(model.path if isinstance(model, Result) else model)


def _prompts(prompts: DataLike) -> Data:
    """Prompts as data: a list of texts becomes dialogues of one turn."""
    if isinstance(prompts, list | tuple) and prompts and all(isinstance(each, str) for each in prompts):
        return read([{"messages": [{"role": "user", "content": text}]} for text in prompts])
    return read(prompts)
