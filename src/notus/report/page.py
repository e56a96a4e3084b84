"""The report: one HTML file that says what was found, how sure that is, and where every number comes from.

Owns the form of a report (a tree of frozen values), its rendering, and its pictures as files of their own. Does not own
the numbers, nor what a run wants to tell: whoever knows the run builds a ``Report``. The file needs no network and
holds no script, and a content security policy in it says so. All texts are escaped, of models and of users too; only
pictures go in as they are.
"""

import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import ClassVar
from xml.etree import ElementTree

import jinja2
from markupsafe import Markup

from notus.core.errors import DataError
from notus.core.run import atomic
from notus.core.text import counted
from notus.evaluate.compare import Arm, ArmPair, Comparison, format_estimate
from notus.report.charts import IntervalRow, intervals
from notus.report.svg import printable
from notus.report.table import Cell, Table, cell_text, numeric_columns
from notus.stats.intervals import Estimate

__all__ = [
    "Answer",
    "AnswerExample",
    "Block",
    "Fact",
    "Facts",
    "FlaggedAnswer",
    "FlaggedRow",
    "Headline",
    "Input",
    "Lineage",
    "Note",
    "PageSection",
    "PairExample",
    "Picture",
    "Points",
    "Report",
    "StepRow",
    "arms_table",
    "headline",
    "render",
    "write_pictures",
]


_LONG_TEXT = 700
_LONG_LINES = 12
_TEXT = "{http://www.w3.org/2000/svg}text"
_OURS = re.compile(r"\d{2,}-[\w-]*\.svg")
_MAKE = "make it with notus.report.charts or notus.report.curves"
_DRAWING = {"clipPath", "defs", "desc", "g", "linearGradient", "stop", "style", "svg", "text", "title", "tspan", "use"}
_DRAWING |= {"circle", "ellipse", "line", "path", "polygon", "polyline", "rect"}


@dataclass(frozen=True)
class Picture:
    """A picture from ``report.charts`` or ``report.curves``, with a sentence that says what to see in it."""

    kind: ClassVar[str] = "picture"
    svg: str
    caption: str = ""

    def __post_init__(self) -> None:
        """Refuse what is no plain drawing, because a picture goes into the page unescaped."""
        if not self.svg.startswith("<svg"):  # this also keeps out a document type, and with it entities
            raise DataError(f"the picture begins with {self.svg[:20]!r} and not with '<svg'; {_MAKE}")
        try:
            tree = ElementTree.fromstring(self.svg)  # noqa: S314
        except ElementTree.ParseError as error:
            raise DataError(f"the picture is no well-formed SVG ({error}); {_MAKE}") from None
        for element in tree.iter():
            name = element.tag.rpartition("}")[2]
            if name not in _DRAWING or not all(map(_harmless, element.attrib.items())):
                raise DataError(f"the picture holds <{name}> with {sorted(element.attrib)}, which is no plain drawing")


@dataclass(frozen=True)
class Fact:
    """One figure worth a place of its own, for example a precision with its interval."""

    label: str
    value: str
    note: str = ""
    """Interval and n."""


@dataclass(frozen=True)
class Facts:
    """Figures side by side."""

    kind: ClassVar[str] = "facts"
    items: tuple[Fact, ...]


@dataclass(frozen=True)
class Note:
    """A paragraph between blocks; ``warning`` sets it off."""

    kind: ClassVar[str] = "note"
    text: str
    warning: bool = False


@dataclass(frozen=True)
class Points:
    """Sentences as a list, under a small heading; either may be missing."""

    kind: ClassVar[str] = "points"
    heading: str = ""
    items: tuple[str, ...] = ()


@dataclass(frozen=True)
class PairExample:
    """A prompt with its chosen and rejected answer, side by side."""

    kind: ClassVar[str] = "pair"
    prompt: str
    chosen: str
    rejected: str
    score_chosen: float | None = None
    score_rejected: float | None = None
    note: str = ""


@dataclass(frozen=True)
class Answer:
    """What one arm answered. ``passed`` is None when nobody judged it."""

    arm: str
    text: str
    passed: bool | None
    reason: str = ""


@dataclass(frozen=True)
class AnswerExample:
    """A prompt with the answers of several arms."""

    kind: ClassVar[str] = "answers"
    prompt: str
    answers: tuple[Answer, ...]
    note: str = ""


@dataclass(frozen=True)
class FlaggedAnswer:
    """An answer of a row that was flagged, or one beside it."""

    label: str
    text: str
    scores: tuple[str, ...] = ()
    """What judges gave, a few words each."""
    said: str = ""
    """The critique."""
    flagged: bool = False


@dataclass(frozen=True)
class FlaggedRow:
    """A row of data that was flagged, whole: what stands there, what speaks against it, where it is, what to do."""

    kind: ClassVar[str] = "flagged"
    title: str
    id: str
    where: str
    """File and line, as far as they are known."""
    prompt: str
    answers: tuple[FlaggedAnswer, ...]
    reasons: tuple[str, ...]
    """Slug and meaning of each."""
    evidence: str = ""
    left_out: str = ""
    """What is not shown of the row, counted."""
    commands: tuple[str, ...] = ()
    """To try next."""


Block = FlaggedRow | Table | Picture | Facts | Note | Points | PairExample | AnswerExample


@dataclass(frozen=True)
class PageSection:
    """A part of the page: a heading, a lead text, and blocks in the order in which they are read."""

    heading: str
    lead: str = ""
    blocks: tuple[Block, ...] = ()


@dataclass(frozen=True)
class Headline:
    """The result that the report is about. Make it with ``headline``."""

    heading: str
    lead: str
    arms: Table
    picture: Picture
    pairs: tuple[ArmPair, ...]


@dataclass(frozen=True)
class Input:
    """A file that was read."""

    path: str
    digest: str


@dataclass(frozen=True)
class StepRow:
    """A step that was run, or found done: a row of the lineage."""

    name: str
    digest: str
    config: str
    """The resolved config as text, most usefully JSON with indents."""
    seconds: float | None
    """None when it was found done."""


@dataclass(frozen=True)
class Lineage:
    """Where the numbers come from."""

    inputs: tuple[Input, ...]
    steps: tuple[StepRow, ...]


@dataclass(frozen=True)
class Report:
    """A whole report."""

    title: str
    subtitle: str = ""
    summary: tuple[str, ...] = ()
    """Sentences that hold the outcome, the most important first."""
    headline: Headline | None = None
    sections: tuple[PageSection, ...] = ()
    lineage: Lineage | None = None
    footer: tuple[tuple[str, str], ...] = ()
    """Versions, machine, date: name and value."""


def headline(comparison: Comparison, *, heading: str, x_label: str, lead: str = "", title: str = "") -> Headline:
    """The table of the arms, their picture, and the verdicts of a comparison.

    Args:
        comparison: from ``evaluate.compare``.
        heading: of the section, for example ``Did the repair help?``.
        x_label: what is measured, with its unit: ``share of sampled answers that pass the checker``.
        lead: a text under the heading.
        title: of the picture; the heading of the axis when empty.
    """
    rows = [_interval_row(arm) for arm in comparison.arms]
    svg = intervals(rows, title=title or x_label[:1].upper() + x_label[1:], x_label=x_label)
    text = " ".join([*([lead] if lead else []), *(f"{sentence}." for sentence in comparison.summary)])
    return Headline(heading, text, arms_table(comparison.arms), Picture(svg), comparison.pairs)


def arms_table(arms: Sequence[Arm]) -> Table:
    """The arms of a comparison, with both intervals and all counts."""
    columns = ("Arm", "Mean", "95 % prompts", "95 % seeds", "Scored", "Unscored", "Prompts", "Seeds")
    rows: list[tuple[Cell, ...]] = [
        (
            arm.name + (" †" if arm.mark else ""),
            arm.mean,
            _range(arm.by_prompts),
            _range(arm.by_seeds),
            arm.scored,
            arm.unscored,
            arm.prompts,
            arm.seeds,
        )
        for arm in arms
    ]
    note = (
        "Scored and unscored count answers; an unscored answer is never a number. Prompts are clusters and seeds are "
        "replicates; the wider of the two intervals decides. One seed has no interval over seeds."
    )
    note += "".join(f" † {mark}." for mark in sorted({arm.mark for arm in arms if arm.mark}))
    return Table(columns, tuple(rows), note)


def render(report: Report) -> str:
    """The report as one self-contained HTML document. The same report gives the same text."""
    return _environment().get_template("report.html.j2").render(report=report)


def write_pictures(report: Report, folder: Path) -> list[Path]:
    """Write each picture of a report as an SVG file, named by its place on the page and its title.

    Pictures of an earlier report in the folder are removed; other files stay. Without pictures no folder is made.

    Raises:
        OSError: if the folder cannot be written.
    """
    named = {f"{place:02}-{_slug(picture)}.svg": picture.svg for place, picture in enumerate(_pictures(report), 1)}
    if folder.is_dir():
        for old in folder.iterdir():
            if _OURS.fullmatch(old.name) and old.name not in named:
                old.unlink()
    if named:
        folder.mkdir(parents=True, exist_ok=True)
    for name, svg in named.items():
        with atomic(folder / name) as file:
            file.write(svg)
    return [folder / name for name in named]


def _harmless(attribute: tuple[str, str]) -> bool:
    name, value = attribute[0].rpartition("}")[2].lower(), attribute[1]
    return not name.startswith("on") and (name != "href" or value.startswith("#"))


def _interval_row(arm: Arm) -> IntervalRow:
    note = f"n {arm.scored:,} · {arm.prompts:,} prompts · {counted(arm.seeds, 'seed')}"
    return IntervalRow(arm.name, arm.by_prompts, arm.by_seeds, tuple(mean for _, mean in arm.seed_means), note)


def _range(estimate: Estimate | None) -> str | None:
    return f"[{estimate.low:.3f}, {estimate.high:.3f}]" if estimate else None


@lru_cache(maxsize=1)
def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("notus.report", "templates"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
        finalize=lambda value: printable(value) if type(value) is str else value,
    )
    environment.filters |= {
        "cell": cell_text,
        "duration": _duration,
        "estimate": lambda value: format_estimate(value, sign=True),
        "excerpt": _excerpt,
        "svg": Markup,
    }
    environment.globals |= {"numeric": numeric_columns, "count": counted}
    environment.tests["long"] = _is_long
    return environment


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "found done"
    if seconds < 60:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    return f"{minutes} min {rest} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60} min"


def _is_long(text: str) -> bool:
    return len(text) > _LONG_TEXT or text.count("\n") > _LONG_LINES


def _excerpt(text: str) -> str:
    lines = text[: _LONG_TEXT // 2].splitlines()[: _LONG_LINES // 2]
    return "\n".join(lines).rstrip() + " …"


def _pictures(report: Report) -> Iterator[Picture]:
    if report.headline is not None:
        yield report.headline.picture
    for section in report.sections:
        yield from (block for block in section.blocks if isinstance(block, Picture))


def _slug(picture: Picture) -> str:
    """The title, which is the first text of every picture, as part of a file name."""
    title = next((text.text or "" for text in ElementTree.fromstring(picture.svg).iter(_TEXT)), "")  # noqa: S314
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:60].strip("-") or "picture"
