"""The step that turns feedback into preferences: chosen, rejected, and the reason of each prompt that gives no pair."""

import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Mapping
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple, Self

import msgspec
import pydantic

from notus.core.artifacts import DECISIONS, FINDINGS, HELD_OUT, PREFERENCES, Artifact
from notus.core.config import difference
from notus.core.errors import DataError
from notus.core.records import Decision, Feedback, Preference
from notus.core.splits import PROMPT, Division, HeldOutBy, carried_groups, published_split
from notus.core.stage import Stage, Tally, apply
from notus.core.tables import read_columns, table_exists
from notus.formats.source import Shard, Source
from notus.preferences.binarize import binarize
from notus.preferences.presets import Preset, excluding, preset_named
from notus.preferences.raters import counted_as, without_raters
from notus.preferences.selection import Rejected, Selection, Strategy, Ties
from notus.preferences.votes import Method
from notus.steps.base import Context, FeedbackRef, OptionalFileRef, Reads, Seed, require_feedback
from notus.steps.data.division import plan_division, say_leaks, say_sides
from notus.steps.preferences.take import Latest, Seen, Takes, Taking, choose_among, plan_taking, read_rewards, see

if TYPE_CHECKING:  # the search is heavy, and most binarizations hold nothing out; few make votes one
    from notus.clean.leaks import SideRows
    from notus.preferences.annotators import Annotators, Said, VoteLabels

__all__ = ["POSTERIORS", "RATERS", "Binarize", "Given", "stages_before"]

POSTERIORS = Artifact("posteriors", "posteriors.parquet")
"""What raters say together of each two answers, where their votes were made one: ``annotators.Posterior``."""
RATERS = Artifact("raters", "raters.parquet")
"""Each of them, with how often it errs: ``annotators.RaterErrors``."""

_OF_NO_USE = frozenset(
    f"completions.{name}"
    for name in (
        "critique.text",
        "principle",
        "ratings.rationale",
        "ratings.types",
        "ratings.types_rationale",
        "system_prompt",
    )
)
"""Fields that take no part in what is chosen and rejected, and of which a pair holds nothing."""


class Binarize(Reads, Takes):
    """Turn feedback into preferences."""

    step_type: ClassVar[str] = "binarize"
    leaves: ClassVar[tuple[Artifact, ...]] = (PREFERENCES, HELD_OUT, DECISIONS, POSTERIORS, RATERS, FINDINGS)
    settings_if_given: ClassVar[frozenset[str]] = frozenset(
        [*Reads.settings_if_given, *Takes.TAKE_SETTINGS, "model_order"]
    )
    data: FeedbackRef = "data"
    """Feedback: a file, a folder, a run directory or a hub id (owner/name); in a recipe, a step."""
    preset: str | None = None
    """A published binarization; a setting beside it that is not null takes the place of its own."""
    strategy: Strategy | None = None
    """The score that ranks the completions. Null takes the preset's, or auto: votes for a prompt that has some, and
    otherwise the mean rating."""
    weights: dict[str, float] | None = None
    """Aspect → weight, for the strategy ``weighted``."""
    model_order: tuple[str, ...] = ()
    """Models from the strongest to the weakest, for the strategy ``models``: chosen is by the stronger one."""
    rejected: Rejected | None = None
    """What is rejected; null takes the preset's, or a random lower one."""
    margin: float | None = pydantic.Field(default=None, ge=0)
    """Least difference of the scores of chosen and rejected, in the unit of the score."""
    question: str | None = None
    """Of votes or ranked lists on several questions, such as ``better`` and ``safer``, the one that is meant."""
    ties: Ties | None = None
    """What becomes of votes that are all ties, or split evenly; null drops them."""
    consensus: Method | None = None
    """How the votes of several raters are made one: ``dawid-skene`` or ``mace`` weigh each rater by what the others
    show of it, and need raters' names; null counts the majority."""
    sure: float = pydantic.Field(default=0.0, ge=0, lt=1)
    """Least posterior of a consensus: what raters are less sure of together gives no pair."""
    rescale: bool = False
    """Put ratings and overall scores on 0 to 1 by their own scales, so that different scales have a mean."""
    without_raters: tuple[str, ...] = ()
    """Raters, people or judges, whose ratings, critiques and votes are left out."""
    questions: OptionalFileRef = None
    """A file of questions of a benchmark; prompts that equal one are left out."""
    test_size: int | None = pydantic.Field(default=None, ge=0)
    """Pairs of the test part, drawn as for the published sets; null takes the preset's."""
    held_out: float = pydantic.Field(default=0.0, ge=0, lt=1)
    """Share of the prompts that is kept for evaluation, where no test size is given."""
    held_out_by: HeldOutBy = PROMPT
    """What is wholly on one side: prompt, source, near-duplicates, answer, column:PATH (column:user), several of them
    with + between, or time:PATH, by which the latest are held out."""
    seed: Seed | None = None

    @pydantic.model_validator(mode="after")
    def _preset_and_parts_agree(self) -> Self:
        preset = self.named_preset()
        self.selection()
        if preset is not None and preset.without_questions and self.questions is None:
            raise ValueError(
                f"the preset '{self.preset}' leaves out prompts that equal a question of TruthfulQA; name the file "
                "of these (questions, --questions)"
            )
        if self.consensus and self.selection().strategy not in ("auto", "votes"):
            raise ValueError(f"'consensus' is about votes, and the strategy is '{self.selection().strategy}'")
        if self.sure and not self.consensus:
            raise ValueError(
                "'sure' is the least posterior of a consensus; name one (consensus: mace), or leave it out"
            )
        if self.takes and self.test_pairs():
            raise ValueError(
                "'take' and 'outvoted' leave held-out pairs alone, and a test size divides the pairs after they are "
                "made; hold a share out in its place (test_size: 0, held_out: 0.1)"
            )
        if self.held_out and self.test_pairs():
            raise ValueError("'held_out' and a test size exclude each other; set one of them to 0")
        return self

    def named_preset(self) -> Preset | None:
        """The preset, if one is named."""
        return None if self.preset is None else preset_named(self.preset)

    def selection(self) -> Selection:
        """How pairs are made: the preset's settings, or the usual ones, under those that are given."""
        preset = self.named_preset()
        base = preset.selection.resolved() if preset else {}
        given = {key: getattr(self, key) for key in ("strategy", "weights", "rejected", "margin", "question", "ties")}
        over = {key: value for key, value in given.items() if value is not None}
        over |= {"rescale": True} if self.rescale else {}
        over |= {"model_order": self.model_order} if self.model_order else {}
        if over.get("strategy", base.get("strategy")) != base.get("strategy"):
            base |= {"missing": None}  # it belongs to the preset's own score
        return Selection.parse(base | over, where="binarize")

    def test_pairs(self) -> int:
        """Pairs of the test part."""
        preset = self.named_preset()
        return self.test_size if self.test_size is not None else preset.test_size if preset else 0

    def run(self, context: Context) -> None:
        """Make preferences of feedback, in TRL's conversational layout.

        ``preferences.selection.choose`` decides what is chosen and rejected. It is called for each prompt by
        ``preferences.binarize``, the last of the stages in ``_make_pairs``; all else here reads, divides and writes.
        """
        source = context.source("data")
        require_feedback(source)
        source = source.lean(_OF_NO_USE)
        said = self._put_together(context, source)
        # A published split is a permutation of all pairs, which must be held for it; a split by prompt needs none.
        sizes, decisions = (_split_as_published if self.test_pairs() else _split_by_prompt)(
            context, self, source, context.seed, said
        )
        _check_raters(context, self, source)
        _check_models(context, self, source)
        tally = next((tally for tally in context.run.tallies if tally.stage == "binarize"), None)
        if tally is None or not tally.given:
            how = self.preset or self.selection().strategy
            how = "mean-rating or votes" if how == "auto" else how
            _discard(context)
            raise context.run.refuse_losses(f"no prompt of {source.name} gives a pair by {how}")
        if not sum(sizes):
            _discard(context)
            raise DataError(
                f"each of the {tally.given:,} pairs of {source.name} is outvoted; let more rankers outvote a pair "
                "(outvoted_by: all), or leave 'outvoted' out"
            )
        if decisions:
            context.write(DECISIONS, decisions, Decision)
        _note(context, self, source, tally, sizes)

    def _put_together(self, context: Context, source: Source) -> "Mapping[str, tuple[Said, ...]]":
        """What all raters say together, in a reading before the pairs are made; it is written and shown."""
        if self.consensus is None:
            return {}
        from notus.preferences.annotators import Posterior, RaterErrors, VoteLabels

        held = VoteLabels(self.selection().question)
        for part in context.shards(source, partial(_take_votes, self), self.workers, again=True):
            held.merge(part)
        found = held.fit(self.consensus)
        context.write(POSTERIORS, found.posteriors, Posterior)
        context.write(RATERS, found.raters, RaterErrors)
        context.note(consensus=found.as_json() | ({"sure": self.sure} if self.sure else {}))
        _say_left_out(context, found)
        from notus.report.audits.annotators import annotator_sections

        context.write_findings(annotator_sections(found))
        return found.said


class Given(NamedTuple):
    """What the stages are given beside the settings."""

    inputs: Mapping[str, str]
    """Setting → path of what it names."""
    said: Mapping[str, "tuple[Said, ...]"] = {}
    """What raters say together, where their votes are made one."""
    taking: Taking | None = None
    """Which pairs are taken, where not all are."""


def _take_votes(config: Binarize, records: Iterator[Feedback], shard: Shard) -> "VoteLabels":
    from notus.preferences.annotators import VoteLabels

    del shard
    held = VoteLabels(config.selection().question)
    stage = without_raters(config.without_raters)
    for feedback in apply(stage, records, Tally("votes")):
        held.add(feedback)
    return held


def _say_left_out(context: Context, found: "Annotators") -> None:
    if found.nameless:
        context.note(nameless_votes=found.nameless)
        context.log(f"{found.nameless:,} votes have no rater's name, and take no part in the consensus")
    if found.repeated:
        context.note(repeated_votes=found.repeated)
        context.log(f"{found.repeated:,} votes were given anew by the same rater on the same answers; the last counts")


def stages_before(
    config: Binarize, given: Given, decisions: list[Decision]
) -> list[tuple[str, Stage[Feedback, Feedback]]]:
    """The stages before the pairs are made, each with its name: what is left out, and the repair.

    ``decisions`` takes the changes of the repair. Each stage looks at one row at a time.
    """
    stages: list[tuple[str, Stage[Feedback, Feedback]]] = []
    preset = config.named_preset()
    sources = preset.without_sources if preset else ()
    questions: list[str] = []
    if "questions" in given.inputs:
        from notus.clean.benchmarks import read_item_texts  # imports NumPy, and few binarizations leave anything out

        questions = list(read_item_texts(Path(given.inputs["questions"])))
    if config.without_raters:
        stages.append(("leave-raters-out", without_raters(config.without_raters)))
    if config.consensus is not None:
        from notus.preferences.annotators import consensus

        stages.append(("consensus", consensus(given.said, config.consensus, config.sure)))
    if sources or questions:
        stages.append(("leave-out", excluding(sources, questions)))
    if config.selection().strategy == "repaired-critique":
        from notus.preferences.repair import repair

        stages.append(("repair", partial(repair, decisions=decisions)))
    return stages


def _split_by_prompt(
    context: Context, config: Binarize, source: Source, seed: int, said: "Mapping[str, tuple[Said, ...]]"
) -> tuple[tuple[int, int], list[Decision]]:
    """Make and write the pairs shard by shard; the numbers of train and held-out, and what was repaired."""
    train = held_out = 0
    decisions: list[Decision] = []
    asked = Division(config.held_out, seed, config.held_out_by)
    division = plan_division(context, source, asked, config.workers)
    both: SideRows | None = None
    given = _plan_taking(context, config, source, Given(context.inputs, said), division)
    work = partial(_write_shard, context.path, config, given, division)
    for sizes, changes, rows in context.shards(source, work, config.workers):
        train, held_out = train + sizes[0], held_out + sizes[1]
        decisions += changes
        if both is None:
            both = rows
        elif rows is not None:
            both.merge(rows)
    if held_out and both is not None:
        say_sides(context, division, both.sides())
    return (train, held_out), decisions


def _plan_taking(context: Context, config: Binarize, source: Source, given: Given, division: Division) -> Given:
    """Decide which pairs are taken, in a reading before they are written."""
    if not config.takes:
        return given
    given = given._replace(taking=Taking(read_rewards(context, config)))
    work = partial(_see_shard, config, given, division)
    seen = list(context.shards(source, work, config.workers, again=True))
    assert given.taking is not None
    return given._replace(taking=plan_taking(context, config, given.taking.rewards, seen, division.seed))


def _see_shard(config: Binarize, given: Given, division: Division, records: Iterator[Feedback], shard: Shard) -> Seen:
    """What the rule sees in the pairs of a shard, which are made again when they are written."""
    assert given.taking is not None
    latest, beside = Latest(), Shard(shard.number, shard.of, shard.source)
    pairs = _binarized(config, given, division.seed, records, beside, [], latest)
    return see(config, given.taking, _held_by(division), pairs, latest)


def _held_by(division: Division) -> Callable[[Preference], bool]:
    return division.holds if division.share else (lambda _: False)


def _split_as_published(
    context: Context, config: Binarize, source: Source, seed: int, said: "Mapping[str, tuple[Said, ...]]"
) -> tuple[tuple[int, int], list[Decision]]:
    """Make all pairs, then divide and write them; the numbers of train and test, and what was repaired."""
    pairs: list[Preference] = []
    decisions: list[Decision] = []
    for made, changes in context.shards(
        source, partial(_list_pairs, config, Given(context.inputs, said), seed), config.workers
    ):
        pairs += made
        decisions += changes
    train, test = published_split(pairs, config.test_pairs()) if pairs else ([], [])
    if test:
        from notus.clean.leaks import compare_sides  # heavy, and few sets are divided so

        context.write(HELD_OUT, test, Preference)
        how = "the published split divides rows: take a share in its place (--test-size 0 --held-out 0.1)"
        say_leaks(context, compare_sides(train, test, Division(0.0, 0)), PROMPT, how)
    return (context.write(PREFERENCES, train, Preference), len(test)), decisions


def _write_shard(
    folder: Path, config: Binarize, given: Given, division: Division, records: Iterator[Feedback], shard: Shard
) -> tuple[tuple[int, int], list[Decision], "SideRows | None"]:
    """Write the pairs of a shard; the numbers of train and held-out, what was repaired, and what both sides hold."""
    aside: list[Preference] = []
    decisions: list[Decision] = []
    pairs = _make_pairs(config, given, division, records, shard, decisions)
    both = _new_sides(division) if division.share else None
    written = shard.write(PREFERENCES.at(folder), _split_off_held_out(pairs, division, aside, both), Preference)
    if aside:
        shard.write(HELD_OUT.at(folder), aside, Preference)
    if both is not None:
        both.finish()
    return (written, len(aside)), decisions, both


def _new_sides(division: Division) -> "SideRows":
    from notus.clean.leaks import SideRows

    return SideRows(division)


def _list_pairs(
    config: Binarize, given: Given, seed: int, records: Iterator[Feedback], shard: Shard
) -> tuple[list[Preference], list[Decision]]:
    """The pairs of a shard, and what was repaired."""
    decisions: list[Decision] = []
    return list(_make_pairs(config, given, Division(0.0, seed), records, shard, decisions)), decisions


def _make_pairs(
    config: Binarize,
    given: Given,
    division: Division,
    records: Iterable[Feedback],
    shard: Shard,
    decisions: list[Decision],
) -> Iterator[Preference]:
    """The pairs of a shard that are taken, and those held out."""
    latest = Latest()
    pairs = _binarized(config, given, division.seed, records, shard, decisions, latest)
    if given.taking is None:
        return pairs
    several = config.selection().rejected in ("all-lower", "all-pairs")
    of: Literal["records", "parts"] = "parts" if several else "records"
    return choose_among(config, given.taking, _held_by(division), latest.beside(pairs), shard, of)


def _binarized(
    config: Binarize,
    given: Given,
    seed: int,
    records: Iterable[Feedback],
    shard: Shard,
    decisions: list[Decision],
    latest: Latest,
) -> Iterator[Preference]:
    """All pairs of a shard: its feedback goes through the stages before, then ``choose`` takes from each prompt."""
    for name, before in stages_before(config, given, decisions):
        records = apply(before, records, shard.tally(name))
    groups: dict[str, dict[str, Any]] = {}
    records = latest.passing(_carry(records, config.held_out_by, groups))
    return _attach(apply(binarize(config.selection(), seed), records, shard.tally("binarize")), groups)


def _carry(records: Iterable[Feedback], by: str, groups: dict[str, dict[str, Any]]) -> Iterator[Feedback]:
    """Pass on the feedback, and keep its columns that look like groups: those of its pairs that are to be divided."""
    for record in records:
        if found := carried_groups(record.extra, by):
            groups[record.id] = found
        yield record


def _attach(pairs: Iterable[Preference], groups: Mapping[str, dict[str, Any]]) -> Iterator[Preference]:
    for pair in pairs:
        found = groups.get(pair.feedback_id)
        yield msgspec.structs.replace(pair, extra=found | pair.extra) if found else pair


def _split_off_held_out(
    pairs: Iterable[Preference], division: Division, aside: list[Preference], both: "SideRows | None"
) -> Iterator[Preference]:
    """Pass on what is trained on, as a stream, and add the held-out to ``aside``; ``both`` sees all."""
    for pair in pairs:
        held = division.holds(pair)
        if both is not None:
            both.add(pair, held=held)
        if held:
            aside.append(pair)
        else:
            yield pair


def _note(context: Context, config: Binarize, source: Source, tally: Tally, sizes: tuple[int, int]) -> None:
    selection, preset = config.selection(), config.named_preset()
    by_votes = tally.counts["by-votes"]
    strategy = selection.strategy
    if strategy == "auto":
        strategy = "votes" if by_votes == tally.taken else "mean-rating"
    context.note(layout=source.format, strategy=strategy, pairs=sizes[0], held_out=sizes[1])
    if repeated := _count_repeated(PREFERENCES.at(context.path)):
        context.note(repeated_pairs=repeated)
        context.log(f"{repeated:,} pairs stand in preferences.parquet already; notus clean takes such rows out")
    if by_votes:
        context.note(by_votes=by_votes)
    if against := tally.counts["against-votes"]:
        context.note(against_votes=against)
        context.log(f"{against:,} pairs are made by scores although most votes prefer the rejected answer")
    context.note(**_describe_aspects(tally))
    if preset is not None:
        context.note(preset=config.preset, drawn=preset.drawn, test_size=config.test_pairs())
        context.note(without_sources=list(preset.without_sources))
        if selection == preset.selection:
            context.note(about=preset.about)
        else:
            context.note(about=f"As the preset {config.preset}, but {_changes(selection, preset.selection)}.")
    if not selection.strict:
        context.note(ties=tally.counts["tied-pair"])  # as this selection allows
    context.note(selection=selection.resolved())


def _count_repeated(table: Path) -> int:
    """How many rows of a table have the id of an earlier one: the same prompt, and the same two answers."""
    if not table_exists(table):
        return 0
    ids = read_columns(table, ["id"]).column("id")
    return len(ids) - len(ids.unique())


def _discard(context: Context) -> None:
    """Take the pairs away again: without them, the same directory may be used with other settings."""
    for artifact in (PREFERENCES, HELD_OUT):
        table = artifact.at(context.path)
        shutil.rmtree(table) if table.is_dir() else table.unlink(missing_ok=True)


def _check_raters(context: Context, config: Binarize, source: Source) -> None:
    """Refuse a rater who is not there: nothing would be left out."""
    counts = Counter[str]()
    for tally in context.run.tallies:
        if tally.stage == "leave-raters-out":
            counts.update(tally.counts)
    for name in config.without_raters:
        if not counts[counted_as(name)]:
            _discard(context)
            raise DataError(
                f"nothing in {source.name} is by the rater '{name}', so that none could be left out (without_raters); "
                "notus audit shows who rated"
            )


def _check_models(context: Context, config: Binarize, source: Source) -> None:
    """Refuse a model that has answered nothing: its place in the order would mean nothing."""
    counts = Counter[str]()
    for tally in context.run.tallies:
        if tally.stage == "binarize":
            counts.update(tally.counts)
    for name in config.model_order:
        if not counts[f"by-{name}"]:
            _discard(context)
            raise DataError(
                f"no answer in {source.name} is by the model '{name}' (model_order); notus read shows the names"
            )


def _describe_aspects(tally: Tally) -> dict[str, str]:
    """Which aspects the mean rating took, and which it left out, where there are several."""
    found = {}
    for prefix, told in (("mean-of-", "mean_of"), ("left-out-", "left_out")):
        aspects = sorted(name.removeprefix(prefix) for name in tally.counts if name.startswith(prefix))
        if aspects:
            found[told] = ", ".join(aspects) + (": no measure of quality" if told == "left_out" else "")
    return found


def _changes(selection: Selection, published: Selection) -> str:
    """What was given in place of the settings of a preset."""
    changed = difference(published.resolved(), selection.resolved())
    return ", ".join(
        f"{key} {_format_setting(new)} in place of {_format_setting(old)}" for key, (old, new) in changed.items()
    )


def _format_setting(value: object) -> str:
    return "nothing" if value is None else f"{value:g}" if isinstance(value, float) else str(value)
