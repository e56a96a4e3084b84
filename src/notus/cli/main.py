"""The command line: which commands there are. What was typed is read, the same functions are called as from Python, and
the result is printed.

A command is made when it is called (``cli.options``), so that ``notus --help`` answers at once.
"""

import os
import signal
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Annotated, Any, NoReturn

import typer

from notus.cli.options import Command, LazyGroup, StepCommand
from notus.cli.streams import guarded_streams
from notus.core.errors import InputError, as_told
from notus.core.text import visible

__all__ = ["COMMANDS", "DECIDING", "EVALUATIONS", "TRAININGS", "app", "main"]

_READING = {key: ("read", key) for key in ("held_out", "held_out_by", "layout", "limit", "strict", "map", "encoding")}
"""How ``notus train`` reads what is no run directory yet."""
TRAININGS: Mapping[str, StepCommand] = {
    "sft": StepCommand(
        "Fine-tune a model on dialogues, or on the chosen answers of pairs.",
        "sft",
        "notus train sft dialogues.jsonl --start runs/base --out runs/sft",
        several="data",
        also=_READING,
        prepare="notus.cli.prepare:read_before_sft",
    ),
    "dpo": StepCommand(
        "Train a policy on pairs (or single rows) against the model that it starts from.",
        "dpo",
        "notus train dpo new_pairs.jsonl --start runs/base --out runs/dpo",
        arguments=("pairs",),
        several="pairs",
        also=_READING,
        prepare="notus.cli.prepare:read_before_dpo",
    ),
    "ranker": StepCommand(
        "Train a ranker on pairs, or a classifier on single answers, and measure it on prompts that are held out.",
        "train-ranker",
        "notus train ranker new_pairs.jsonl --start runs/base --out runs/ranker",
        arguments=("pairs",),
    ),
}
"""What stands below ``notus train``."""
EVALUATIONS: Mapping[str, StepCommand] = {
    "alpaca": StepCommand(
        "Score AlpacaEval's judgements, or have them made: win rates, controlled for length too, with their errors.",
        "alpaca",
        "notus eval alpaca --annotations annotations.json --out runs/alpaca",
        arguments=(),
        settings_file=True,
        prepare="notus.cli.prepare:judged_or_stored",
    ),
    "mtbench": StepCommand(
        "Score MT-Bench: two turns, eight categories, single grades and pairs, with intervals over questions.",
        "mtbench",
        "notus eval mtbench --judgments judgments.jsonl --out runs/mtbench",
        arguments=(),
        settings_file=True,
    ),
    "ifeval": StepCommand(
        "Check by program how answers follow instructions: IFEval, IFBench or your own checks, strict and loose.",
        "ifeval",
        "notus eval ifeval prompts.jsonl --outputs runs/answers --out runs/ifeval",
        arguments=("prompts",),
        names={"own_checks": "--own-check"},
        settings_file=True,
        flatten=("sampling",),
    ),
    "arena-hard": StepCommand(
        "Score Arena-Hard's stored judgements: win rates over the baseline with intervals, and beside style.",
        "arena-hard",
        "notus eval arena-hard --judgments arena_hard.jsonl --out runs/arena-hard",
        arguments=(),
    ),
    "wildbench": StepCommand(
        "Score WildBench's stored judgements: WB-Score and WB-Reward, by task category, with intervals.",
        "wildbench",
        "notus eval wildbench --judgments wildbench.json --out runs/wildbench",
        arguments=(),
    ),
    "harness": StepCommand(
        "Score a model on an academic benchmark by lm-eval, with n and interval; its version is part of the score.",
        "harness",
        "notus eval harness runs/base --task arc_easy --data arc.jsonl",
        arguments=("model",),
        also={"suite": ("harness-suite", "suite")},
        prepare="notus.cli.prepare:task_or_file",
    ),
    "rewards": StepCommand(
        "Measure how often a ranker prefers the chosen answer, or a good one among n, by subset and beside chance.",
        "reward-check",
        "notus eval rewards length new_pairs.jsonl --out runs/rewards",
        arguments=("ranker", "data"),
        hide=("models",),
    ),
    "answers": StepCommand(
        "Score the answers of a model by a measure: toy, length, symptoms, or a function of your own.",
        "evaluate",
        "notus eval answers length runs/answers --out runs/lengths",
        arguments=("by", "outputs"),
        metavars={"by": "MEASURE"},
    ),
    "judges": StepCommand(
        "Evaluate judges, asked or stored: agreement with people, the order, the length, what they must not fall for.",
        "judges",
        "notus eval judges new_pairs.jsonl --ranker length --out runs/judges",
        names={"rankers": "--ranker", "own_checks": "--own-check"},
        hide=("models",),
        settings_file=True,
    ),
}
"""What stands below ``notus eval``."""
DECIDING: Mapping[str, Command] = {
    "export": Command(
        "Write the most suspicious records as a form: a sheet, JSON lines, a page, or for an annotation tool.",
        "notus.cli.decide.forms:export",
        "notus decide export runs/audit --top 50 --out queue.html",
    ),
    "import": Command(
        "Bring in what was decided in a form; what is there already is not added again.",
        "notus.cli.decide.forms:import_",
        "notus decide import decisions.json --decisions decisions.sqlite --who ana",
    ),
    "list": Command(
        "List what is decided, by whom, and what persons differ on.",
        "notus.cli.decide.stored:list_",
        "notus decide list decisions.sqlite --conflicts",
    ),
    "undo": Command(
        "Take decisions back by their numbers; to take that back is to redo.",
        "notus.cli.decide.stored:undo",
        "notus decide undo decisions.sqlite 17 --who ana",
    ),
    "figures": Command(
        "Tell how people agree, how often each reason was right, and what a random sample shows.",
        "notus.cli.decide.figures:figures",
        "notus decide figures decisions.sqlite",
    ),
}
"""What stands below ``notus decide``."""
COMMANDS: Mapping[str, Command | StepCommand | tuple[str, Mapping[str, Command | StepCommand]]] = {
    "demo": Command(
        "The whole way in the toy world, to a report with error bars.",
        "notus.cli.recipes:demo",
        "notus demo --seeds 1 --out runs/demo",
    ),
    "run": Command(
        "Run a recipe: its steps, arms and seeds. What is done already is not done again.",
        "notus.cli.recipes:run",
        "notus run demo --dry-run",
    ),
    "formats": Command(
        "List the formats that are read; of a file, say what it looks like, what it is, and a mapping to try.",
        "notus.cli.formats:formats",
        "notus formats feedback.jsonl",
    ),
    "read": StepCommand(
        "Read a file, a folder or a hub set into records; three of them are shown as they were understood.",
        "read",
        "notus read feedback.jsonl --out runs/read",
        arguments=("path",),
        metavars={"path": "FILE"},
        show="notus.cli.formats:show_read",
    ),
    "collect": Command(
        "Collect AI feedback by a recipe. What was answered is in the ledger, and is never asked or paid for again.",
        "notus.cli.recipes:collect",
        "notus collect collect-local --out runs/collect-local",
    ),
    "audit": StepCommand(
        "Look for scores and labels that are wrong, and at the health of a set.",
        "audit",
        "notus audit feedback.jsonl --out runs/audit",
    ),
    "decide": ("Decide on records: forms out and in, and what is decided.", DECIDING),
    "repair": StepCommand(
        "Repair overall scores by ratings or by wording: each change recorded, what is in doubt queued.",
        "repair",
        "notus repair feedback.jsonl --by wording --out runs/repair",
    ),
    "clean": StepCommand(
        "Take out prompts that repeat others or hold benchmark items, and answers nobody should learn.",
        "clean",
        "notus clean feedback.jsonl --dry-run --out runs/clean",
        names={"filters": "--filter", "personal_kinds": "--personal-kind"},
        examples={"personal_kinds": "phone=mask"},
        flatten=("private",),
    ),
    "binarize": StepCommand(
        "Turn feedback into preferences: a chosen and a rejected answer for each prompt.",
        "binarize",
        "notus binarize feedback.jsonl --strategy mean-rating --out runs/binarize",
        names={"weights": "--weight", "without_raters": "--without-rater", "model_order": "--model-order"},
        examples={"weights": "truthfulness=2"},
    ),
    "label": StepCommand(
        "Let functions of yours vote on answers: coverage, conflicts, accuracy against a labelled sample.",
        "label",
        "notus label feedback.jsonl --by length --out runs/label",
        hide=("models",),
    ),
    "diff": StepCommand(
        "Compare two preference sets: what is chosen and rejected differently, by source, model and length.",
        "diff",
        "notus diff old_pairs.jsonl new_pairs.jsonl --out runs/diff",
        arguments=("a", "b"),
    ),
    "explain": Command(
        "Tell what became of a record: its source row, what touched it, why its rejected answer was taken.",
        "notus.cli.single:explain",
        "notus explain 406ad529 --run feedback.jsonl",
    ),
    "forget": Command(
        "List what withdrawn rows have touched (pairs, runs, models), and keep the rows out from now on.",
        "notus.cli.single:forget",
        "notus forget 249fdabc3a0e0672 --in runs",
    ),
    "review": Command(
        "Look at records in the browser and decide: sort, filter by pictures, keep, drop, swap, score, by one key.",
        "notus.cli.decide.review:review",
        "notus review runs/audit --who ana",
    ),
    "export": StepCommand(
        "Write a source in somebody else's format: pairs, unpaired rows for KTO, dialogues for SFT.",
        "export",
        "notus export feedback.jsonl --layout trl-sft --out runs/sft",
        names={"to": "--layout", "layout": "--read-as"},
    ),
    "train": ("Train a model or a ranker.", TRAININGS),
    "merge": Command(
        "Merge an adapter into its base: a plain model, with its tokenizer.",
        "notus.cli.single:merge",
        "notus merge runs/lora/model --out runs/merged",
    ),
    "generate": StepCommand(
        "Draw answers to prompts, the prompt computed once for all of them; answers cut at the limit are marked.",
        "sample",
        "notus generate runs/base feedback.jsonl --samples 5 --out runs/answers",
        arguments=("model", "data"),
        metavars={"data": "PROMPTS"},
        flatten=("sampling",),
        hide=("prompts",),
        flags={"--held-out": ("prompts", "held-out", "Take the prompts that a step left for evaluation.")},
        run_name="generate",
    ),
    "rank": StepCommand(
        "Score the answers to each prompt: PairRM, a reward model, a judge, a policy's own reward, a function, length.",
        "rank",
        "notus rank length feedback.jsonl --out runs/rank",
        arguments=("ranker", "outputs"),
        hide=("model", "reference"),
    ),
    "best-of-n": StepCommand(
        "Tell what the ranker's pick among k answers is worth, for all k up to n, from the same answers.",
        "best-of-n",
        "notus best-of-n length feedback.jsonl --out runs/best-of-n",
        arguments=("ranker", "outputs"),
        names={"n": "-n"},
        hide=("model", "reference", "check_model", "check_reference"),
    ),
    "eval": ("Evaluate: published benchmarks, rewards, judges.", EVALUATIONS),
    "arena": Command(
        "Set the answers of two runs side by side without names: votes by one key, win rate, pairs.",
        "notus.cli.decide.arena:arena",
        "notus arena runs/before runs/after --out runs/arena",
    ),
    "compare": Command(
        "Compare arms, of one run or of several: means with intervals, and what can be told apart.",
        "notus.cli.compare.runs:compare",
        "notus compare runs/demo",
    ),
    "labels": Command(
        "Draw answers for people to label, at random or by uncertainty: compare --labels corrects the judge by them.",
        "notus.cli.compare.labels:labels",
        "notus labels runs/demo -n 20 --out labels.csv",
    ),
    "bridge": StepCommand(
        "Put scores of a new judge on the scale of an old one, by answers that both have scored.",
        "bridge",
        "notus bridge old.jsonl new.jsonl --out runs/bridge",
        arguments=("old", "new"),
    ),
    "report": Command(
        "Write the report of a run again, as one HTML file that needs no network.",
        "notus.cli.recipes:report",
        "notus report runs/demo",
    ),
    "verify": Command(
        "Check that what a run left is there as it was written: every file by its hash.",
        "notus.cli.single:verify",
        "notus verify runs/demo",
    ),
    "ledger": Command(
        "Show what was asked and paid, by model and step, and what failed.",
        "notus.cli.single:ledger",
        "notus ledger runs/ledger.sqlite --export ledger.jsonl",
    ),
    "doctor": Command(
        "Tell what is installed, what is missing for what, and what the machine has.",
        "notus.cli.first.doctor:doctor",
        "notus doctor --for train",
    ),
}
"""All commands, in the order of the work."""


class _Commands(LazyGroup):
    table = COMMANDS

    def invoke(self, ctx: Any) -> Any:
        """Do the command; Ctrl-C ends it with a line that says how to go on."""
        try:
            return super().invoke(ctx)
        except KeyboardInterrupt:
            _leave(ctx.invoked_subcommand or "")


app = typer.Typer(
    name="notus",
    cls=_Commands,
    help="From AI feedback to an aligned model, data first.",
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


_TypedError: Any = typer.BadParameter.__mro__[2]
"""What fits no command. It is click's ``ClickException``, which typer has as its own copy since 0.20."""


def _print_version(wanted: bool) -> None:
    if wanted:
        from notus import __version__

        print(__version__)
        raise typer.Exit


@app.callback(invoke_without_command=True)
def _notus(
    context: typer.Context,
    _version: Annotated[
        bool, typer.Option("--version", callback=_print_version, is_eager=True, help="Print the version and end.")
    ] = False,
) -> None:
    """Options of the program itself; without a command, what to do next."""
    if context.invoked_subcommand is None:
        from notus.cli.first.welcome import welcome

        welcome(Path.cwd())


def main() -> None:
    """Run the command line; every error is one line on stderr and an exit code."""
    with guarded_streams() as failures:
        code = _run()
    for failure in failures[:1]:
        print(f"notus: cannot write what was to be printed: {failure.strerror}", file=sys.stderr)
        code = code or 1
    sys.exit(code)


def _run() -> int:
    """Do what was typed; the exit code."""
    try:
        _refuse_broken_arguments(sys.argv[1:])
        code = app(standalone_mode=False)
    except _TypedError as error:
        _tell_typed(error)
        return int(error.exit_code)
    except KeyboardInterrupt:  # while libraries were imported
        _leave("")
    except Exception as error:  # noqa: BLE001  the top: nothing may end in a traceback
        if (known := as_told(error)) is not None:
            print(f"notus: {visible(str(known))}", file=sys.stderr)
            return known.exit_code
        text = f"{type(error).__name__}: {visible(str(error))}"
        print(f"notus: unexpected {text}; details in {_keep_trace()}", file=sys.stderr)
        return 1
    return code if isinstance(code, int) else 0


def _tell_typed(error: Any) -> None:
    """Say in one line what fits no command; where there were no arguments at all, the help."""
    if type(error).__name__ == "NoArgsIsHelpError":
        from typer.rich_utils import rich_format_error

        rich_format_error(error)
        return
    told = " ".join(visible(error.format_message()).split())
    context = getattr(error, "ctx", None)
    where = f" ({context.command_path} -h shows what there is)" if context is not None else ""
    print(f"notus: {told[:1].lower()}{told[1:].rstrip('.')}{where}", file=sys.stderr)


def _refuse_broken_arguments(arguments: Sequence[str]) -> None:
    """Refuse a name that is no text: what is read is written down, and there it would have no place.

    Raises:
        InputError: with the first argument that is not in UTF-8.
    """
    broken = next((each for each in arguments if not _is_text(each)), None)
    if broken is not None:
        raise InputError(f"the argument {os.fsencode(broken)!r} is not UTF-8; rename the file or folder, or link to it")


def _is_text(argument: str) -> bool:
    try:
        argument.encode()
    except UnicodeEncodeError:
        return False
    return True


def _leave(command: str) -> NoReturn:
    from notus.cli.advice import stopped_line

    print(f"\nnotus: {stopped_line(command)}", file=sys.stderr, flush=True)
    # Worker processes end by themselves as soon as this one has.
    os._exit(128 + signal.SIGINT)


def _keep_trace() -> Path:
    import tempfile
    import traceback

    with tempfile.NamedTemporaryFile(
        "w", prefix="notus-error-", suffix=".txt", delete=False, encoding="utf-8", errors="backslashreplace"
    ) as file:
        file.write(traceback.format_exc())
    return Path(file.name)
