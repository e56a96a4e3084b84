"""The pictures of a report as files of their own, to be used elsewhere.

Owns their names and that the folder holds the pictures of one report and no others. Does not own the pictures.
"""

import re
from collections.abc import Iterator
from pathlib import Path
from xml.etree import ElementTree

from notus.app.report import Picture, Report
from notus.core.run import atomic

__all__ = ["write_pictures"]

_TEXT = "{http://www.w3.org/2000/svg}text"
_OURS = re.compile(r"\d{2,}-[\w-]*\.svg")


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


def _pictures(report: Report) -> Iterator[Picture]:
    if report.headline is not None:
        yield report.headline.picture
    for section in report.sections:
        yield from (block for block in section.blocks if isinstance(block, Picture))


def _slug(picture: Picture) -> str:
    """The title, which is the first text of every picture, as part of a file name."""
    title = next((text.text or "" for text in ElementTree.fromstring(picture.svg).iter(_TEXT)), "")  # noqa: S314
    return re.sub(r"[^a-z0-9]+", "-", title.lower()).strip("-")[:60].strip("-") or "picture"
