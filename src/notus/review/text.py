"""Texts of data as HTML that can do nothing: Markdown rendered without links, pictures and HTML, and words marked.

What a page shows was written by models and by strangers. So HTML in it is text, a link is its words with its address
beside it, a picture is its description, and no attribute is taken over. Characters that would turn the direction of
what a reader sees are shown by their number. Owns texts; the page around them is owned by ``review.templates``.
"""

import difflib
import re
from collections.abc import Sequence
from functools import lru_cache
from typing import Any

from markdown_it import MarkdownIt
from markdown_it.renderer import RendererHTML
from markdown_it.token import Token
from markupsafe import Markup, escape

from notus.core.text import visible

__all__ = ["MARKED_WORDS", "RENDERED_CHARACTERS", "marked", "plain", "rendered"]

RENDERED_CHARACTERS = 20_000
"""Longer texts are shown as they are, and those with more than ``_MARKS``: what renders Markdown is slow on what was
made to be slow."""
_MARKS = 4_000
MARKED_WORDS = 3_000
"""Of longer texts differing words are not marked."""
_LEAST_ALIKE = 0.2
"""Where a smaller share than this is in common, in order, marks would be on everything."""
_WORDS = re.compile(r"\s+|\w+|[^\w\s]")


def plain(text: str) -> Markup:
    """The text as it is, escaped."""
    return escape(visible(text, "[U+{:04X}]"))


@lru_cache(maxsize=512)
def rendered(text: str) -> Markup:
    """The text as Markdown: headings, lists, tables, code, emphasis; of links and pictures only what they say."""
    if len(text) > RENDERED_CHARACTERS or sum(map(text.count, "[*_`|")) > _MARKS:
        return Markup('<div class="verbatim">{}</div>').format(plain(text))
    return Markup(_markdown().render(visible(text, "[U+{:04X}]")))  # noqa: S704  no HTML of the text's own is in it


@lru_cache(maxsize=1)
def _markdown() -> MarkdownIt:
    made = MarkdownIt("commonmark", {"html": False, "linkify": False, "maxNesting": 20}, renderer_cls=_Inert)
    return made.enable("table")


class _Inert(RendererHTML):
    """Renders what has no effect: each attribute of the text's own is left out, and what would lead or load away."""

    def render(self, tokens: Sequence[Token], options: Any, env: Any) -> str:
        """Render blocks, without attributes but where a list starts."""
        for token in tokens:
            token.attrs = {name: value for name, value in token.attrs.items() if name == "start"}
        return super().render(tokens, options, env)

    def heading_open(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        """A heading of a text is none of the page: its rank would break the page's outline."""
        del options, env
        return f'<p class="heading {tokens[idx].tag}">'

    def heading_close(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        """Its end."""
        del tokens, idx, options, env
        return "</p>\n"

    def link_open(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        """A link is marked, and leads nowhere."""
        del tokens, idx, options, env
        return '<span class="link">'

    def link_close(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        """Its address in brackets, where its words do not say it already."""
        del options, env
        opened = _opening(tokens, idx)
        to = str(opened.attrs.get("href", "")) if opened else ""
        said = "".join(token.content for token in tokens[:idx] if token.type == "text")
        return "</span>" if not to or said.endswith(to) else f' <span class="where">({plain(to)})</span></span>'

    def image(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        """A picture is what its author says of it."""
        del options, env
        token = tokens[idx]
        return (
            f'<span class="image">[picture: {plain(token.content)} ({plain(str(token.attrs.get("src", "")))})]</span>'
        )

    def fence(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        """Code, with its language as a word above it."""
        del options, env
        token = tokens[idx]
        language = (token.info.split() or [""])[0][:24]
        said = f'<span class="language">{plain(language)}</span>' if language else ""
        return f'<div class="code">{said}<pre><code>{plain(token.content)}</code></pre></div>\n'

    def code_block(self, tokens: Sequence[Token], idx: int, options: Any, env: Any) -> str:
        """Code by indentation."""
        del options, env
        return f'<div class="code"><pre><code>{plain(tokens[idx].content)}</code></pre></div>\n'


def _opening(tokens: Sequence[Token], close: int) -> Token | None:
    depth = 0
    for token in reversed(tokens[:close]):
        depth += (token.type == "link_close") - (token.type == "link_open")
        if depth < 0:
            return token
    return None


@lru_cache(maxsize=256)
def marked(chosen: str, rejected: str) -> tuple[Markup, Markup, str]:
    """Two texts with the words that only one of them has marked, and what is to be said of it, if anything.

    Words are compared in their order (``difflib``). Long texts, and texts with next to nothing in common, are left
    unmarked: a mark on everything says nothing.
    """
    left, right = _WORDS.findall(visible(chosen, "[U+{:04X}]")), _WORDS.findall(visible(rejected, "[U+{:04X}]"))
    if chosen == rejected:
        return plain(chosen), plain(rejected), "The two answers are the same, character by character."
    if max(len(left), len(right)) > 2 * MARKED_WORDS:
        return plain(chosen), plain(rejected), "Too long for words to be marked."
    blocks = _common(left, right)
    same = sum(len("".join(left[a : a + size]).strip()) for a, _, size in blocks)
    if 2 * same < _LEAST_ALIKE * (len(chosen) + len(rejected)):
        return plain(chosen), plain(rejected), "Few words in common: nothing is marked."
    return _with_marks(left, blocks, 0, "del-ours"), _with_marks(right, blocks, 1, "del-theirs"), ""


def _common(left: list[str], right: list[str]) -> list[tuple[int, int, int]]:
    """Stretches that both have: what is equal at both ends first, so that a small change costs little."""
    head = 0
    while head < min(len(left), len(right)) and left[head] == right[head]:
        head += 1
    tail = 0
    while tail < min(len(left), len(right)) - head and left[-1 - tail] == right[-1 - tail]:
        tail += 1
    matcher = difflib.SequenceMatcher(None, left[head : len(left) - tail], right[head : len(right) - tail])
    inner = [
        (block.a + head, block.b + head, block.size)
        for block in matcher.get_matching_blocks()
        if block.size > 1 or any(map(str.isalnum, left[block.a + head : block.a + head + block.size]))
    ]
    return [(0, 0, head), *inner, (len(left) - tail, len(right) - tail, tail)]


def _with_marks(words: list[str], blocks: list[tuple[int, int, int]], side: int, name: str) -> Markup:
    parts: list[str] = []
    place = 0
    for block in blocks:
        start = block[side]
        if start > place:
            parts.append(f'<mark class="{name}">{escape("".join(words[place:start]))}</mark>')
        parts.append(str(escape("".join(words[start : start + block[2]]))))
        place = max(place, start + block[2])
    return Markup("".join(parts))  # noqa: S704  every part is escaped
