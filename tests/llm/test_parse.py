"""Reading judges' replies: each row of ``docs/parsing.md``, and ten thousand mutated replies."""

import json
import random
import re

import pytest

from notus.llm.parse import (
    Scale,
    UnreadableError,
    read_critique,
    read_ratings,
    read_score,
    read_verdict,
)
from tests.helpers.judge_examples import blocks
from tests.helpers.paths import ROOT

TABLE = ROOT / "docs" / "parsing.md"
ASPECT, HONEST, SCORE = Scale(1, 5), Scale(1, 5, not_applicable=True), Scale(1, 10, whole=False)
READERS = {
    "ratings": lambda text: [r.value for r in read_ratings(text, "instruction_following", 2, ASPECT)],
    "honesty": lambda text: [r.value for r in read_ratings(text, "honesty", 2, HONEST)],
    "typed": lambda text: [r.value for r in read_ratings(text, "helpfulness", 2, ASPECT, typed=True)],
    "critique": lambda text: [read_critique(text, SCORE).score],
    "grade": lambda text: [read_score(text, SCORE)],
    "pair": lambda text: [read_verdict(text)],
}


def rows():
    found = []
    for line in TABLE.read_text(encoding="utf-8").splitlines():
        cells = [cell.strip() for cell in line.strip("|").split("|")]
        if len(cells) == 4 and cells[0] in READERS:
            reply = cells[1].removeprefix("````").removesuffix("````").strip() if "````" in cells[1] else cells[1][1:-1]
            found.append((cells[0], reply.replace("⏎", "\n").replace("¦", "|"), cells[2], cells[3]))
    return found


def shown(values):
    return ", ".join(
        "N/A" if value is None else f"{value:g}" if isinstance(value, float) else value for value in values
    )


@pytest.mark.parametrize(("judge", "reply", "outcome", "why"), rows(), ids=lambda text: text[:40].replace("\n", " "))
def test_the_table_tells_the_truth(judge, reply, outcome, why):
    assert why
    if outcome.startswith("refused"):
        with pytest.raises(UnreadableError) as caught:
            READERS[judge](reply)
        assert f"refused: `{caught.value.reason}`" == outcome
    else:
        assert f"`{shown(READERS[judge](reply))}`" == outcome


def test_the_table_is_long():
    assert len(rows()) >= 60


def test_rationales_and_types_stay_with_their_rating():
    text = "Answer 1\nType: 1, 3\nRationale: of types\n\nstill of types\nRating: 4\nRationale: of rating\n\nmore\n"
    (rating,) = read_ratings(text, "truthfulness", 1, ASPECT, typed=True)
    assert (rating.types, rating.types_rationale) == (("1", "3"), "of types\n\nstill of types")
    assert (rating.value, rating.rationale) == (4.0, "of rating\n\nmore")


def test_a_critique_keeps_its_text():
    critique = read_critique("Good.\n\nBut long.\n\nOverall score: 7.5\n", SCORE)
    assert (critique.text, critique.score) == ("Good.\n\nBut long.", 7.5)


# Mutations: name → function of the reply of four answers; a refused reply is fine, a rating moved is not.
def _swap(text, rng):
    a, b = rng.sample(range(1, 5), 2)
    return (
        text.replace(f"Answer {a}", "Answer #").replace(f"Answer {b}", f"Answer {a}").replace("Answer #", f"Answer {b}")
    )


def _at_a_line(insert):
    def mutate(text, rng):
        lines = text.split("\n")
        lines.insert(rng.randrange(len(lines) + 1), rng.choice(insert))
        return "\n".join(lines)

    return mutate


def _grade(new):
    def mutate(text, rng):
        found = rng.choice(list(re.finditer(r"Rating: .*", text)) or [None])
        return text if found is None else text[: found.start()] + f"Rating: {rng.choice(new)}" + text[found.end() :]

    return mutate


def _drop_block(text, rng):
    parts = text.split("\n\n")
    del parts[rng.randrange(len(parts))]
    return "\n\n".join(parts)


def _move_block(text, rng):
    parts = text.split("\n\n")
    rng.shuffle(parts)
    return "\n\n".join(parts)


def _drop_chars(text, rng):
    start = rng.randrange(len(text) + 1)
    return text[:start] + text[start + rng.randrange(1, 12) :]


WORDS = [
    "high",
    "N/A",
    "none",
    "four",
    "3-4",
    "4 to 5",
    "8/10",
    "8 out of 10",
    "7.5",
    "-1",
    "0",
    "6",
    "99",
    "1e1",
    "٣",
    "三",
]
# At most one of these is applied: two of them can make a whole reply that says something else.
ORDER = [
    _swap,
    _drop_block,
    _move_block,
    _at_a_line(["Answer 1", "Answer 3", "### Answer 5"]),
    lambda text, rng: text + "\n\n" + text if rng.random() < 0.5 else f"```\n{text}\n```",
    lambda text, rng: text + f"\n\nAnswer 5\nRating: {rng.randrange(1, 6)}",
]
CONTENT = [
    _grade(WORDS),
    _grade(["", "4,5", "4²", "½", "NaN", "inf", "4" * 400, "4/5", "[4]", "**4**", "4 (good)", "４"]),
    _at_a_line(["", "", "\t", "---", "***"]),
    _at_a_line(["Rating: 5", "Rationale: x", "Type: 2", "Overall score: 9", "[[A]]"]),
    _at_a_line(["```", "```json", "{", "}", "## Summary", "> Rating: 1", "- Answer 2 is better"]),
    _drop_chars,
    lambda text, _: text.replace("Answer ", "### **Answer ").replace("\nRating", "**\n- **Rating**"),
    lambda text, _: text.replace("\n", "\r\n"),
    lambda text, rng: text[: rng.randrange(len(text) + 1)],
    lambda text, _: text.replace("Rating:", "Bewertung:"),
    lambda text, _: text.replace("Rating:", "Rating："),
]


def mutated(grades, rng):
    chosen = rng.sample(CONTENT, rng.choice([0, 1, 1, 2]))
    if not chosen or rng.random() < 0.4:
        chosen.insert(rng.randrange(len(chosen) + 1), rng.choice(ORDER))
    text = blocks(grades)
    for mutate in chosen:
        text = mutate(text, rng)
    return text


def as_json(grades, rng):
    items = [{"answer": n, "rating": grade, "rationale": f"grade {grade}"} for n, grade in enumerate(grades, start=1)]
    if rng.random() < 0.3:
        rng.shuffle(items)
    if rng.random() < 0.3:
        items = items[:-1] if rng.random() < 0.5 else [*items, items[0]]
    if rng.random() < 0.3:
        rng.choice(items)["rating"] = rng.choice(["high", None, True, 7, 3.5, [4], {"a": 1}, "4", 1e400])
    text = json.dumps(items if rng.random() < 0.5 else {"answers": items})
    text = text if rng.random() < 0.8 else text[: rng.randrange(len(text))]
    return f"```json\n{text}\n```" if rng.random() < 0.3 else text


def test_ten_thousand_mutated_replies_never_rate_the_wrong_answer():
    """Each answer has a grade of its own (1, 2, 4, 5), which its rationale repeats: a moved rating would be seen."""
    rng = random.Random(0)
    read = refused = 0
    for _ in range(10_000):
        grades = rng.sample([1, 2, 4, 5], 4)
        text = as_json(grades, rng) if rng.random() < 0.15 else mutated(grades, rng)
        try:
            ratings = read_ratings(text, "instruction_following", 4, ASPECT)
        except UnreadableError:
            refused += 1
            continue
        read += 1
        assert len(ratings) == 4
        for place, (rating, grade) in enumerate(zip(ratings, grades, strict=True)):
            assert rating.value in (1, 2, 3, 4, 5), text
            # A rationale that speaks of another grade than the place's own is a rating at the wrong answer.
            told = re.fullmatch(r"grade (\d)", rating.rationale.strip())
            assert told is None or int(told[1]) == grade, (place, text)
    assert read > 1500
    assert refused > 3000


def test_thoughts_are_no_part_of_a_critique():
    assert read_critique("<think>hmm</think>\nGood.\nOverall score: 7", SCORE).text == "Good."
    with pytest.raises(UnreadableError):
        read_score("<think>It is fine. [[7]]", SCORE)
