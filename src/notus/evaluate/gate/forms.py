"""Outcomes of requirements for a CI job: JUnit's XML, which every CI system reads, and a summary in Markdown.

A requirement that is not held is a failure, whether refuted or not distinguishable: the job must not go on in either
case, and the message says which it is. Owns the two forms.
"""

from collections.abc import Mapping, Sequence
from pathlib import Path
from xml.etree import ElementTree

from notus.core.disk.named import check_named_file
from notus.core.errors import cannot_write
from notus.core.run import atomic
from notus.core.text import visible
from notus.evaluate.compare import Comparison, format_estimate
from notus.evaluate.gate.requirement import Outcome

__all__ = ["junit_of", "markdown_of", "write_form"]

_SIGNS = {"held": "✅", "refuted": "❌", "not distinguishable": "⚠️"}


def junit_of(outcomes: Sequence[Outcome], name: str = "notus compare") -> str:
    """The outcomes as JUnit's XML: a suite, a case for each requirement, with its figures as properties.

    The format: https://github.com/testmoapp/junitxml
    """
    failures = sum(each.outcome != "held" for each in outcomes)
    counts = {"tests": str(len(outcomes)), "failures": str(failures), "errors": "0", "skipped": "0"}
    root = ElementTree.Element("testsuites", {"name": name, **counts})
    suite = ElementTree.SubElement(root, "testsuite", {"name": name, **counts})
    for each in outcomes:
        wanted = each.requirement
        case = ElementTree.SubElement(
            suite, "testcase", {"classname": visible(wanted.metric), "name": visible(wanted.text)}
        )
        if each.estimate is not None:
            figures = {"mean": each.estimate.mean, "low": each.estimate.low, "high": each.estimate.high}
            figures |= {"n": each.estimate.n} | ({} if each.p is None else {"p": each.p})
            properties = ElementTree.SubElement(case, "properties")
            for key, value in figures.items():
                ElementTree.SubElement(properties, "property", {"name": key, "value": repr(value)})
        if each.outcome != "held":
            told = visible(str(each))
            failure = ElementTree.SubElement(case, "failure", {"message": told, "type": each.outcome})
            failure.text = told
    ElementTree.indent(root)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def markdown_of(outcomes: Sequence[Outcome], comparisons: Mapping[str, Comparison], further: Sequence[str] = ()) -> str:
    """The outcomes, and under them the arms, as Markdown.

    Args:
        outcomes: of requirements; there may be none.
        comparisons: evaluation → its arms.
        further: sentences that stand below, such as what people's labels say.
    """
    held = sum(each.outcome == "held" for each in outcomes)
    lines = [f"## Notus: {held} of {len(outcomes)} requirements held" if outcomes else "## Notus: what was compared"]
    if outcomes:
        holm = " p is Holm's, over all of them." if len(outcomes) > 1 else ""
        lines += ["", "| | evaluation | requirement | found [95 %] | n | p | |", "|" + "---|" * 7]
        lines += [_row(each) for each in outcomes]
        lines += ["", f"An interval must say so: what is not distinguishable is not held.{holm}"]
    for name, comparison in comparisons.items():
        lines += ["", f"### {_cell(name)}", "", "| arm | mean [95 %] | answers | unscored |", "|" + "---|" * 4]
        for arm in comparison.arms:
            interval = "–" if arm.interval is None else format_estimate(arm.interval)
            lines.append(f"| {_cell(arm.name)} | {interval} | {arm.scored:,} | {arm.unscored:,} |")
        lines += ["", *(f"- {_cell(pair.verdict)}" for pair in comparison.pairs)]
        lines += [f"- {_cell(sentence)}." for sentence in comparison.summary]
    lines += ["", *(f"- {_cell(sentence)}" for sentence in further)] if further else []
    return "\n".join(lines).rstrip() + "\n"


def write_form(path: Path, text: str, *, force: bool) -> None:
    """Write a form.

    Raises:
        InputError: if it is there already and is not to be overwritten, or cannot be written.
    """
    check_named_file(path, force=force)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with atomic(path) as file:
            file.write(text)
    except OSError as error:
        raise cannot_write(path, error) from None


def _row(each: Outcome) -> str:
    wanted = each.requirement
    found = "–" if each.estimate is None else format_estimate(each.estimate, sign=wanted.b is not None)
    n = "–" if each.estimate is None else f"{each.estimate.n:,}"
    p = "–" if each.p is None else "< .001" if each.p < 0.001 else f"{each.p:.3f}"
    cells = (_cell(wanted.metric), _cell(wanted.text), found, n, p, _cell("; ".join(each.notes)))
    return f"| {_SIGNS[each.outcome]} {each.outcome} | " + " | ".join(cells) + " |"


def _cell(text: str) -> str:
    """A text that breaks no table and begins no tag."""
    return visible(text).replace("&", "&amp;").replace("<", "&lt;").replace("|", "\\|").replace("\n", " ")
