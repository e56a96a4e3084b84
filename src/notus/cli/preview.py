"""``--preview``: how rows look on a terminal as the model will read them.

Where there is colour, each token has a shade of its own, those that are trained on in green; without colour a token
that is trained on stands in brackets, and a bar stands behind any other. Lines are as wide as the terminal.
"""

from collections.abc import Iterable
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING

from rich.cells import cell_len, chop_cells
from rich.text import Text

from notus.cli.terminal import OUT, print_json
from notus.core.errors import require
from notus.recipes.preview import preview_plan
from notus.recipes.recipe import Recipe, make_plan
from notus.steps.base import Step, refs_of

if TYPE_CHECKING:  # needs transformers
    from notus.train.preview import Part, Preview

__all__ = ["show_preview", "show_recipe_preview", "show_step_preview"]

_TRAINED = ("black on green", "black on bright_green")
_READ = ("default on grey15", "default on grey27")
_LEFT_OUT = "italic yellow"


def show_step_preview(config: Step, count: int, seed: int | None, *, as_json: bool) -> None:
    """Print rows of a training step whose settings name files."""
    for library in ("torch", "transformers", "accelerate"):
        require(library, extra="train")
    show_preview(config.preview(refs_of(config), count, seed or 0), as_json=as_json)  # type: ignore[attr-defined]


def show_recipe_preview(recipe: Recipe, out: Path, count: int, *, as_json: bool) -> None:
    """Print rows of each training step of a recipe, and which steps must be done before others can be shown."""
    for library in ("torch", "transformers", "accelerate"):
        require(library, extra="train")
    found = list(preview_plan(make_plan(recipe, out), out, count))
    if as_json:
        print_json([asdict(each) for each in found])
        return
    for each in found:
        OUT.print(Text(f"\nStep '{each.step}'", style="bold"))
        if each.preview is not None:
            show_preview(each.preview, as_json=False)
        else:
            OUT.print(Text(f"Not shown: '{each.lacking}' comes before it, and is not done in {out}; --until does it."))


def show_preview(preview: "Preview", *, as_json: bool) -> None:
    """Print rows as the model will read them."""
    if as_json:
        print_json(asdict(preview))
        return
    from notus.train.preview import format_head, format_part

    for line in preview.about:
        OUT.print(Text(line), soft_wrap=True)
    coloured = OUT.is_terminal and not OUT.no_color
    marks = "in green" if coloured else "in [brackets]; | stands behind any other"
    OUT.print(Text(f"Each token by itself, those that are trained on {marks}."), soft_wrap=True)
    for number, row in enumerate(preview.rows, 1):
        head, *more = format_head(row, number, preview)
        OUT.print()
        OUT.print(Text(head, style="bold"), soft_wrap=True)
        for line in more:
            OUT.print(Text(line, style="yellow"), soft_wrap=True)
        for part in row.parts:
            OUT.print(Text(format_part(part)), soft_wrap=True)
            for text in _lines(_styled(part, coloured=coloured), OUT.width):
                OUT.print(text, soft_wrap=True)


def _styled(part: "Part", *, coloured: bool) -> Iterable[tuple[str, str]]:
    """The tokens of a part, each with its style; the marks are in the text where there is no colour."""
    from notus.train.preview import mark

    for number, piece in enumerate(part.pieces):
        if not coloured:
            yield mark(piece), ""
        elif piece.left_out:
            yield mark(piece), _LEFT_OUT
        else:
            yield piece.text, (_TRAINED if piece.trained else _READ)[number % 2]


def _lines(pieces: Iterable[tuple[str, str]], width: int) -> Iterable[Text]:
    """Lines that are no wider than the terminal; a token is broken where it is wider than a line."""
    line, used = Text("  "), 2
    for text, style in pieces:
        room = max(8, width - 2)
        for part in chop_cells(text, room) if cell_len(text) > room else [text]:
            if used + cell_len(part) > width and used > 2:
                yield line
                line, used = Text("  "), 2
            line.append(part, style=style)
            used += cell_len(part)
    if used > 2:
        yield line
