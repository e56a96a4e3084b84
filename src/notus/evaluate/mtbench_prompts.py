"""The prompts of MT-Bench's judge: our own text files, or FastChat's ``judge_prompts.jsonl`` by its path.

Owns which prompt a question takes, and what is put into it. All texts of others are put in by ``models.prompts``,
in one pass: an answer that holds ``{answer_b}`` or ``[[10]]`` stays what it is, and stands between fence lines unless
the prompts are filled ``verbatim``, which gives published prompts byte for byte.

Turn 1 is judged by the first question and answer alone, turn 2 by the whole conversation. The categories math,
reasoning and coding come with reference answers.
"""

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from string import Formatter
from typing import Literal

import msgspec

from notus.core.errors import ConfigError
from notus.core.records import Message, Record, digest
from notus.data.quarantine import RowError
from notus.data.rows import parsed, read_rows
from notus.evaluate.mtbench_files import Question
from notus.models.prompts import Template, read_prompt

__all__ = ["JudgePrompts", "Kind"]

Kind = Literal["single", "pair"]

_OWN: dict[tuple[Kind, int, bool], str] = {
    ("single", 1, False): "mtbench_grade",
    ("single", 1, True): "mtbench_grade_reference",
    ("single", 2, False): "mtbench_grade_turns",
    ("single", 2, True): "mtbench_grade_turns_reference",
    ("pair", 1, False): "mtbench_pair",
    ("pair", 1, True): "mtbench_pair_reference",
    ("pair", 2, False): "mtbench_pair_turns",
    ("pair", 2, True): "mtbench_pair_turns_reference",
}
"""What is judged, the turn, and whether there is a reference → built-in prompt file."""
_UPSTREAM: dict[tuple[Kind, int, bool], str] = {
    ("single", 1, False): "single-v1",
    ("single", 1, True): "single-math-v1",
    ("single", 2, False): "single-v1-multi-turn",
    ("single", 2, True): "single-math-v1-multi-turn",
    ("pair", 1, False): "pair-v2",
    ("pair", 1, True): "pair-math-v1",
    ("pair", 2, False): "pair-v2-multi-turn",
    ("pair", 2, True): "pair-math-v1-multi-turn",
}


class _Row(Record, frozen=True, forbid_unknown_fields=False):
    """One line of ``judge_prompts.jsonl``."""

    name: str
    system_prompt: str
    prompt_template: str


@dataclass(frozen=True)
class JudgePrompts:
    """The eight prompts, each with the name that stands in the judgements."""

    templates: Mapping[tuple[Kind, int, bool], Template]

    @classmethod
    def read(cls, source: str | None = None, *, verbatim: bool = False) -> "JudgePrompts":
        """Read the prompts.

        Args:
            source: path of FastChat's ``judge_prompts.jsonl``; None takes our own.
            verbatim: put texts in as they are, without fences: only to compare with published judgements.

        Raises:
            ConfigError: if the file cannot be read, a prompt is missing in it, or its slots are not as they must be.
        """
        if source is None:
            return cls({k: read_prompt(name, needs=_slots(*k), verbatim=verbatim) for k, name in _OWN.items()})
        rows = {row.name: row for row in _upstream_rows(Path(source))}
        return cls({key: _upstream(source, rows, key, name, verbatim) for key, name in _UPSTREAM.items()})

    @property
    def digest(self) -> str:
        """Hash of all of them."""
        return digest(*(template.digest for template in self.templates.values()))

    def name(self, kind: Kind, turn: int, *, referenced: bool) -> str:
        """What the prompt is called."""
        return self.templates[kind, turn, referenced].name

    def single(
        self, question: Question, turn: int, answers: Sequence[str], reference: Sequence[str] | None
    ) -> tuple[Message, ...]:
        """The prompt that asks for a grade of turn 1 or 2.

        Args:
            question: with its turns.
            turn: 1 or 2.
            answers: the model's, by turn.
            reference: the right answers by turn, where there are some.
        """
        template = self.templates["single", turn, reference is not None]
        if turn == 1:
            return template.fill({**_asked(question, 1, reference), "answer": answers[0]})
        return template.fill(_asked(question, 2, reference), answers=(answers[0], answers[1]))

    def pair(
        self, question: Question, turn: int, a: Sequence[str], b: Sequence[str], reference: Sequence[str] | None
    ) -> tuple[Message, ...]:
        """The prompt that asks which of two is better in turn 1 or 2, shown in this order."""
        template = self.templates["pair", turn, reference is not None]
        if turn == 1:
            return template.fill({**_asked(question, 1, reference), "answer_a": a[0], "answer_b": b[0]})
        answers = {"answer_a_1": a[0], "answer_a_2": a[1], "answer_b_1": b[0], "answer_b_2": b[1]}
        return template.fill({**_asked(question, 2, reference), **answers})


def _asked(question: Question, turn: int, reference: Sequence[str] | None) -> dict[str, str]:
    named = {"question": question.turns[0]}
    if turn == 2:
        named = {"question_1": question.turns[0], "question_2": question.turns[1]}
    return named | {f"ref_answer_{place}": text for place, text in enumerate((reference or ())[:turn], start=1)}


def _slots(kind: Kind, turn: int, referenced: bool) -> tuple[str, ...]:
    """Slots that a prompt must hold: what is judged."""
    own = {
        ("single", 1): ("answer",),
        ("single", 2): ("answer_1", "answer_2"),
        ("pair", 1): ("answer_a", "answer_b"),
        ("pair", 2): ("answer_a_1", "answer_a_2", "answer_b_1", "answer_b_2"),
    }[kind, turn]
    asked = ("question",) if turn == 1 else ("question_1", "question_2")
    references = tuple(f"ref_answer_{place}" for place in range(1, turn + 1)) if referenced else ()
    return (*asked, *own, *references)


def _upstream_rows(path: Path) -> list[_Row]:
    rows = []
    for line, payload in read_rows(path):
        try:
            rows.append(msgspec.convert(parsed(payload), _Row))
        except (RowError, msgspec.ValidationError) as error:
            raise ConfigError(f"{path}, line {line}: no prompt in the form of FastChat: {error}") from None
    return rows


def _upstream(
    source: str, rows: Mapping[str, _Row], key: tuple[Kind, int, bool], name: str, verbatim: bool
) -> Template:
    if name not in rows:
        raise ConfigError(f"{source} holds no prompt '{name}'; give FastChat's judge_prompts.jsonl as it is")
    row = rows[name]
    pieces = [""]
    try:
        for text, slot, _, _ in Formatter().parse(row.prompt_template):
            pieces[-1] += text
            if slot is not None:
                pieces += [slot, ""]
    except ValueError as error:
        raise ConfigError(f"{source}, prompt {name}: {error}") from None
    if set(pieces[1::2]) != set(_slots(*key)):
        raise ConfigError(
            f"{source}, prompt {name}: its slots are {sorted(set(pieces[1::2]))}, and must be {sorted(_slots(*key))}"
        )
    turns = (("system", (row.system_prompt,)), ("user", tuple(pieces)))
    return Template(name, turns, row.system_prompt + "\n" + row.prompt_template, verbatim)
