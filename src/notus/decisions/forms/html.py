"""The page: one HTML file with a form in it, which needs no server and no network, and saves what was decided as JSON.

The items lie in it as JSON in which no character can end the element that holds it (``<``, ``>``, ``&``, U+2028 and
U+2029 are escaped), and the script puts each text into the page as text, never as markup. A Content-Security-Policy
allows the one script and the one style by their hashes and nothing else: no network, no picture, no frame, no form.

What is decided is kept in the browser (``localStorage``, by the items of the page), so that it is there when the page
is opened again; Save downloads ``decisions.json``, a list of rows as ``decisions.forms.rows`` reads them.
"""

import base64
import hashlib
import html
import json
from collections.abc import Sequence
from functools import cache
from importlib import resources
from pathlib import Path
from typing import Any

from notus.core.records import digest
from notus.core.run import atomic
from notus.decisions.forms.answers import DECISIONS
from notus.decisions.forms.item import TEXTS, Item, encode_key, target_text
from notus.decisions.forms.tables import whole_characters

__all__ = ["write_html"]

_UNSAFE = {ord(mark): f"\\u{ord(mark):04x}" for mark in "<>&\u2028\u2029"}


def write_html(items: Sequence[Item], path: Path, title: str) -> None:
    """Write items as a page to be filled in.

    Raises:
        DataError: if it cannot be written.
    """
    style, script = _part("form.css"), _part("form.js")
    policy = (
        f"default-src 'none'; script-src {_hash(script)}; style-src {_hash(style)}; base-uri 'none'; form-action 'none'"
    )
    parts = {
        "policy": html.escape(policy),
        "title": html.escape(whole_characters(title)),
        "style": style,
        "script": script,
        "items": whole_characters(json.dumps(_page(items), ensure_ascii=False)).translate(_UNSAFE),
    }
    page = _part("form.html")
    # Cut at its marks, and not replaced one after another: a text that holds a mark stays what it is.
    pieces = page.split("{{")
    with atomic(path) as file:
        file.write(pieces[0])
        for piece in pieces[1:]:
            name, _, rest = piece.partition("}}")
            file.write(parts[name] + rest)


def _page(items: Sequence[Item]) -> dict[str, Any]:
    return {"name": digest(*(encode_key(item) for item in items)), "items": [_item(item) for item in items]}


def _item(item: Item) -> dict[str, Any]:
    return {
        "id": target_text(item),
        "key": encode_key(item),
        "decisions": DECISIONS[item.of],
        "scored": item.of == "completion",
        "scale": None if item.scale is None else [item.scale.low, item.scale.high],
        "texts": [[name, item.texts.get(name, "")] for name in TEXTS[item.of]],
        "editable": item.editable,
        "critiques": item.critiques,
        "models": item.models,
        "scores": [[name, value] for name, value in item.scores.items()],
        "reasons": item.reasons,
        "evidence": item.evidence,
        "place": f"{item.file}:{item.line}" if item.file else "",
        "source": item.source,
    }


def _hash(text: str) -> str:
    return f"'sha256-{base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()}'"


@cache
def _part(name: str) -> str:
    return resources.files("notus.decisions.forms").joinpath("templates", name).read_text(encoding="utf-8")
