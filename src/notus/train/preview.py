"""Rows as the model will read them: token by token, with what is trained on, what was cut, and why a row is put aside.

Only the tokenizer is loaded, no weights. The encoding is that of the training itself (``train.batches``,
``train.ranker``), row by row, so that what is shown is what is trained on. Owns the rows that are shown; how they look
on a terminal is owned by ``cli.preview``.
"""

from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from transformers import PreTrainedTokenizerBase

from notus.core.errors import DataError
from notus.core.records import Dialogue, Message, Preference, Unpaired
from notus.core.stage import Tally
from notus.engine.pack import PromptGroup
from notus.engine.settings import Limits
from notus.engine.text.encoder import Encoder, answer_text
from notus.engine.text.template import with_template
from notus.formats.format import record_id
from notus.rankers.reward import RewardEncoder
from notus.train.batches import Item, encode_dialogues, encode_pairs, encode_rows
from notus.train.ranker import Compared, encode_compared
from notus.train.ranker_settings import RankerTraining

__all__ = [
    "Part",
    "Piece",
    "Preview",
    "PreviewedRow",
    "format_head",
    "format_part",
    "mark",
    "preview_classifier",
    "preview_ranker",
    "preview_rows",
    "split_pieces",
]

_ENDLESS = 1 << 30
"""Tokens of limits that cut nothing."""
_KEPT = 48
"""Tokens that are shown at each end of a part; what lies between is counted."""
_MARK = "Xq7Zv"
"""A question that stands in no template."""
_MOST = 8
"""Tokens that are read together where one alone is no text."""


@dataclass(frozen=True)
class Piece:
    """A token, or a few that only together are a text; or what is left out between two."""

    text: str
    trained: bool
    ids: tuple[int, ...] = ()
    """Empty for what is left out."""
    left_out: int = 0
    """Tokens that are not shown here."""


@dataclass(frozen=True)
class Part:
    """A prompt or an answer."""

    name: str
    pieces: tuple[Piece, ...]
    tokens: int
    """That the model reads."""
    trained: int
    """Of these, those that are trained on."""
    cut: int = 0
    """That the limits cut off."""
    end: str = ""
    """The token that ends an answer; empty for a prompt, and for an answer that lost its end."""


@dataclass(frozen=True)
class PreviewedRow:
    """One row."""

    id: str
    place: str
    """File and line, where they are known."""
    parts: tuple[Part, ...]
    counts: Mapping[str, int] = field(default_factory=dict)
    """What was counted on the way: ``prompt-cut``, ``reasoning-dropped``, …"""
    dropped: str = ""
    """Why it is not trained on, with the slug of the reason; then there are no parts."""


@dataclass(frozen=True, repr=False)
class Preview:
    """The first rows of a set, as they are read."""

    rows: tuple[PreviewedRow, ...]
    of: int
    """Rows of the set."""
    about: tuple[str, ...]
    """What holds for all rows: the tokenizer, what a prompt opens with, what an answer ends with, the limits."""

    def __repr__(self) -> str:
        """As text, the trained tokens in brackets."""
        lines = list(self.about)
        for number, row in enumerate(self.rows, 1):
            lines += ["", *format_head(row, number, self)]
            for part in row.parts:
                lines += [format_part(part), "".join(mark(piece) for piece in part.pieces)]
        return "\n".join(lines)


def mark(piece: Piece) -> str:
    """A piece with its marks: ``[trained]``, ``read|``, ``… 12 tokens …``."""
    if piece.left_out:
        return f" … {piece.left_out:,} tokens{' that are trained on' if piece.trained else ''} … "
    return f"[{piece.text}]" if piece.trained else f"{piece.text}|"


def format_head(row: PreviewedRow, number: int, preview: Preview) -> list[str]:
    """The lines above a row."""
    lines = [f"Row {number} of {preview.of:,}: {row.id}" + (f", {row.place}" if row.place else "")]
    if row.dropped:
        return [*lines, f"  not trained on: {row.dropped}"]
    if row.counts:
        lines.append("  " + ", ".join(f"{count:,} {name}" for name, count in row.counts.items()))
    return lines


def format_part(part: Part) -> str:
    """The line above a part."""
    said = f"{part.name}: {part.tokens:,} tokens"
    if part.trained:
        said += f", {part.trained:,} trained on"
    if part.cut:
        side = "left" if part.name == "prompt" else "right"
        said += f", {part.cut:,} cut off on the {side}"
    if part.end:
        return f"{said}, ends with {part.end}"
    return said + (", its end is cut off" if part.trained and part.cut else "")


def preview_rows(
    tokenizer: PreTrainedTokenizerBase,
    limits: Limits,
    records: Sequence[Dialogue | Preference | Unpaired],
    *,
    of: int | None = None,
    single: bool = False,
) -> Preview:
    """Rows of a language model's training.

    Args:
        tokenizer: of the model that training starts from.
        limits: of the training.
        records: dialogues, or pairs, or unpaired rows; all of them are shown.
        of: how many rows there are in all; None: these.
        single: whether pairs are trained on as two single rows.
    """
    if not records:
        raise DataError("there is no row to show")
    about = _about(Encoder(tokenizer, limits))
    rows = [_language_row(tokenizer, limits, record, single=single) for record in records]
    return Preview(tuple(rows), len(records) if of is None else of, about)


def preview_ranker(
    tokenizer: PreTrainedTokenizerBase, config: RankerTraining, records: Sequence[Preference], count: int, seed: int
) -> Preview:
    """Rows of a ranker's training: it learns from two scores, and no token is trained on by itself."""
    if not records:
        raise DataError("there is no pair to show")
    rows = []
    for record in records[:count]:
        tally = Tally("preview")
        try:
            items = encode_compared(config, tokenizer, tally, seed)([record], True)
        except DataError as error:
            rows.append(PreviewedRow(record_id(record), _place(record), (), dropped=str(error)))
            continue
        parts = tuple(part for item in items for part in _ranker_parts(tokenizer, item))
        rows.append(PreviewedRow(record_id(record), _place(record), parts, dict(+tally.counts)))
    scored = "the score is read at the last token" if config.form == "reward-model" else "two answers are compared"
    return Preview(tuple(rows), len(records), (f"Tokenizer: {_name(tokenizer)}. No token is trained on: {scored}.",))


def preview_classifier(
    tokenizer: PreTrainedTokenizerBase, config: RankerTraining, rows: Sequence[Unpaired], count: int
) -> Preview:
    """Rows of a classifier's training: it learns a label at the end of a conversation."""
    if not rows:
        raise DataError("there is no answer to show")
    tokenizer = with_template(tokenizer, config.limits)
    shown = []
    for row in rows[:count]:
        tally = Tally("preview")
        try:
            (ids,) = RewardEncoder(tokenizer, config.limits, tally).examples([(row.prompt, answer_text(row.answer))])
        except DataError as error:
            shown.append(PreviewedRow(record_id(row), _place(row), (), dropped=str(error)))
            continue
        part = _part(tokenizer, "accepted" if row.desirable else "rejected", ids, [False] * len(ids))
        shown.append(PreviewedRow(record_id(row), _place(row), (part,), dict(+tally.counts)))
    told = f"Tokenizer: {_name(tokenizer)}. No token is trained on: the label is read at the last token."
    return Preview(tuple(shown), len(rows), (told,))


def split_pieces(
    tokenizer: PreTrainedTokenizerBase, ids: Sequence[int], trained: Sequence[bool], begin: int = 0
) -> Iterator[Piece]:
    """Token ids as texts that make the whole when they are joined; tokens that are parts of a character go together.

    Args:
        tokenizer: of the ids.
        ids: of a part, from its start.
        trained: which of them are trained on.
        begin: the first that is wanted.
    """
    # From where on there is context, and up to where pieces are given.
    known, read = max(0, begin - _MOST), begin

    def text(begin: int, end: int) -> str:
        return str(tokenizer.decode(list(ids[begin:end]), clean_up_tokenization_spaces=False))

    for end in range(begin + 1, len(ids) + 1):
        before, now = text(known, read), text(known, end)
        # A part of a character is decoded as U+FFFD until the rest of it is there.
        whole = len(now) > len(before) and not now.endswith("\ufffd")
        if whole or end == len(ids) or end - read >= _MOST or trained[end - 1 : end] != trained[end : end + 1]:
            yield Piece(now[len(before) :], bool(trained[read]), tuple(ids[read:end]))
            known, read = (read, end) if whole else (end, end)


def _language_row(
    tokenizer: PreTrainedTokenizerBase, limits: Limits, record: Dialogue | Preference | Unpaired, *, single: bool
) -> PreviewedRow:
    tally, place = Tally("preview"), _place(record)
    items = _encode(Encoder(tokenizer, limits, tally), record, single=single)
    if not items:
        dropped = tally.dropped[0]
        return PreviewedRow(record_id(record), place, (), dropped=f"{dropped.detail} [{dropped.reason}]")
    endless = limits.model_copy(update={"max_length": _ENDLESS, "max_prompt_length": _ENDLESS - 1})
    whole = _encode(Encoder(tokenizer, endless), record, single=single)
    parts: list[Part] = []
    for item, uncut in zip(items, whole, strict=True):
        parts += _parts(tokenizer, item, uncut, _names(record, item), first=not parts)
    return PreviewedRow(record_id(record), place, tuple(parts), dict(+tally.counts))


def _encode(encoder: Encoder, record: Dialogue | Preference | Unpaired, *, single: bool) -> list[Item]:
    if isinstance(record, Dialogue):
        return encode_dialogues(encoder, [record])
    if isinstance(record, Unpaired) or single:
        return encode_rows(encoder, [record], encoder.tally)
    return encode_pairs(encoder, [record])


def _names(record: Dialogue | Preference | Unpaired, item: Item) -> tuple[str, ...]:
    if item.desirable is not None:
        return ("desirable answer" if item.desirable else "undesirable answer",)
    return ("answer",) if isinstance(record, Dialogue) else ("chosen", "rejected")


def _parts(
    tokenizer: PreTrainedTokenizerBase, item: Item, uncut: Item, names: Sequence[str], *, first: bool
) -> Iterator[Part]:
    group, whole = item.group, uncut.group
    if first:
        untrained = [False] * len(group.prompt)
        yield _part(tokenizer, "prompt", group.prompt, untrained, len(whole.prompt) - len(group.prompt))
    marks, completions = _marks(group), zip(group.completions, whole.completions, strict=True)
    for name, trained, (ids, all_ids) in zip(names, marks, completions, strict=True):
        cut = len(all_ids) - len(ids)
        end = all_ids[-1] if ids and ids[-1] == all_ids[-1] and not (cut and trained[-1] is False) else None
        shown = "" if end is None else f"{_escape(tokenizer.decode([end]))} ({end})"
        yield _part(tokenizer, name, ids, trained, cut, shown)


def _marks(group: PromptGroup) -> Sequence[Sequence[bool]]:
    return group.trained or tuple([True] * len(ids) for ids in group.completions)


def _part(
    tokenizer: PreTrainedTokenizerBase,
    name: str,
    ids: Sequence[int],
    trained: Sequence[bool],
    cut: int = 0,
    end: str = "",
) -> Part:
    """A part, its middle left out where it is long."""
    pieces: Iterable[Piece]
    if len(ids) <= 2 * _KEPT + 1:
        pieces = split_pieces(tokenizer, ids, trained)
    else:
        between = trained[_KEPT:-_KEPT]
        gap = Piece("", any(between), left_out=len(between))
        head, tail = split_pieces(tokenizer, ids[:_KEPT], trained[:_KEPT]), len(ids) - _KEPT
        pieces = (*head, gap, *split_pieces(tokenizer, ids, trained, tail))
    shown = tuple(Piece(_escape(piece.text), piece.trained, piece.ids, piece.left_out) for piece in pieces)
    return Part(name, shown, len(ids), sum(trained), cut, end)


def _ranker_parts(tokenizer: PreTrainedTokenizerBase, item: Compared) -> Iterator[Part]:
    named: Iterable[tuple[str, list[int]]]
    if isinstance(item.rows, tuple):
        named = zip(("chosen", "rejected"), item.rows, strict=True)
    else:
        answers = ("chosen", "rejected") if item.sign > 0 else ("rejected", "chosen")
        named = zip(("prompt", *answers), (item.rows.source, item.rows.first, item.rows.second), strict=True)
    for name, ids in named:
        yield _part(tokenizer, name, ids, [False] * len(ids))


def _about(encoder: Encoder) -> tuple[str, ...]:
    """What holds for all rows."""
    template, limits = encoder.template, encoder.limits
    end = f"{_escape(encoder.tokenizer.decode([template.end.id]))} ({template.end.id})"
    before = _escape(template.render([encoder.turns((Message(role="user", content=_MARK),))])[0].partition(_MARK)[0])
    system = "null: the template's own, if it has one" if limits.system is None else repr(limits.system)
    return (
        f"Tokenizer: {_name(encoder.tokenizer)}. An answer ends with {end}.",
        f"limits.system is {system}. Before the first turn of a user stands: {before or 'nothing'}",
        f"At most {limits.max_prompt_length:,} tokens of a prompt, {limits.max_length:,} with its answer.",
        *template.notes(),
    )


def _name(tokenizer: PreTrainedTokenizerBase) -> str:
    return f"{tokenizer.name_or_path or 'made of these texts'}, {len(tokenizer):,} tokens"


def _place(record: Dialogue | Preference | Unpaired) -> str:
    return f"{record.file}:{record.line}" if record.file else ""


_NAMED: Mapping[str, str] = {"\n": "\\n", "\r": "\\r", "\t": "\\t"}


def _escape(text: str) -> str:
    """Nothing that a terminal would act on: line breaks and controls by their names."""
    return "".join(_NAMED.get(char) or (char if char.isprintable() else f"\\u{ord(char):04x}") for char in text)
