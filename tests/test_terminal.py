"""Tables on a narrow terminal."""

import pytest
from rich.console import Console

from notus import terminal
from notus.app.health import Finding
from notus.app.report import Table

WORDS = "score-against-ratings and 2 more"


@pytest.fixture
def narrow(monkeypatch):
    console = Console(width=80, highlight=False, color_system=None)
    monkeypatch.setattr(terminal, "_OUT", console)
    return console


def test_a_slug_is_folded_behind_a_hyphen(narrow):
    texts = ("alder-large-instruct", WORDS, "instruction_following", "An answer [bold]of[/] many words, on and on.")
    table = Table(("Place", "Model", "Why", "Aspect", "Answer", "Score"), ((1, *texts, 10.0),))
    with narrow.capture() as captured:
        terminal.show_findings([Finding("Suspects", table=table)], as_json=False)
    lines = captured.get().splitlines()
    assert max(map(len, lines)) <= 80
    row = next(number for number, line in enumerate(lines) if line.strip().startswith("1 "))
    # Put together again without spaces, each column holds whole words on each of its lines.
    pieces = [piece for line in lines[row:] for piece in line.split()]
    for text in texts:
        for part in text.replace("-", "- ").replace("_", "_ ").split():
            assert any(part in piece for piece in pieces), part
    assert "[bold]of[/]" in captured.get()


def test_what_has_no_joint_is_folded_anywhere(narrow):
    table = Table(("Id", *"abcd"), (("f" * 70, *["some words to fill the line with"] * 4),))
    with narrow.capture() as captured:
        terminal.show_findings([Finding("Ids", table=table)], as_json=False)
    lines = captured.get().splitlines()
    assert max(map(len, lines)) <= 80
    assert sum(line.count("f") - line.count("fill") for line in lines) == 59


def test_the_arms_of_a_plan_are_told_apart_whatever_their_names(narrow):
    def entry(step, seed, *arms):
        return {"step": step, "seed": seed, "config": {"do": step}, "for": [f"{arm}/{seed or 0}" for arm in arms]}

    both = ("SFT, then DPO", "SFT")
    plan = [entry("data", None, *both), entry("sft", 0, *both), entry("sft", 1, *both), entry("dpo", 0, both[0])]
    with narrow.capture() as captured:
        terminal.show_plan(plan, as_json=False)
    heads = [line for line in captured.get().splitlines() if "·" in line]
    assert heads == ["data  1 × · all 2 arms", "sft  seeds 0, 1 · all 2 arms", "dpo  seed 0 · 'SFT, then DPO'"]
