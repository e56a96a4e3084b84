"""What is shown of an arena: who wins, which side, how people agree.

Owns how it is put. The figures are those of ``evaluate.arena``.
"""

from notus.core.text import counted
from notus.evaluate.arena import Arena, Standings
from notus.report.section import ReportSection, estimate_cell, share_cell
from notus.report.table import Table

__all__ = ["arena_sections", "arena_sentences"]


def arena_sections(arena: Arena, found: Standings) -> list[ReportSection]:
    """The figures of an arena."""
    rows = (
        ("a", arena.a, found.a),
        ("b", arena.b, found.b),
        ("tie", None, found.ties),
        ("both bad", None, found.both_bad),
    )
    note = "Of each person on each match the last vote counts."
    return [ReportSection("Arena", tuple(arena_sentences(arena, found)), Table(("Vote", "Run", "Votes"), rows, note))]


def arena_sentences(arena: Arena, found: Standings) -> list[str]:
    """The figures in words, the most important first."""
    said = [f"{counted(found.votes, 'vote')} on {found.matches:,} of {counted(found.of, 'match', 'matches')}."]
    if found.rate is not None:
        even = ": not distinguishable from half" if found.rate.low <= 0.5 <= found.rate.high else ""
        said.append(
            f"Win rate of b over a: {share_cell(found.rate)}, n = {found.rate.n:,}, a tie and both bad as half a vote "
            f"for each{even}. 95 % interval with prompts as clusters."
        )
    if found.strict.of:
        said.append(f"Without ties, b is preferred in {found.strict}.")
        said.append(f"What stood left is preferred in {found.left}; sides were drawn, so that half is no preference.")
    if len(found.people) > 1:
        people = ", ".join(f"{name or 'nobody named'} {count:,}" for name, count in found.people)
        said.append(f"By {people}.")
    if found.alpha is not None:
        alpha = estimate_cell(found.alpha, digits=2)
        said.append(f"Agreement of people on the same matches (a, b or neither), Krippendorff's α: {alpha}.")
    return [*said, *_left_out(arena, found)]


def _left_out(arena: Arena, found: Standings) -> list[str]:
    said = []
    if arena.same:
        said.append(f"{counted(arena.same, 'pair')} of answers with the same text were not asked about.")
    if arena.repeated:
        said.append(f"{counted(arena.repeated, 'pair')} of answers stand more than once, and are asked about once.")
    for name, count in ((arena.a, arena.only_a), (arena.b, arena.only_b)):
        if count:
            said.append(f"{counted(count, 'answer')} of {name} have none of the other run beside them.")
    if arena.left_out:
        said.append(f"{counted(arena.left_out, 'match', 'matches')} are beyond the limit, a random part.")
    if found.unmatched:
        said.append(f"{counted(found.unmatched, 'vote')} on matches that are not of these runs were left out.")
    if found.undone:
        said.append(f"{counted(found.undone, 'vote')} taken back or replaced.")
    return said
