"""The page of all settings says what the steps say."""

from notus.core.config import field_docs
from tests.helpers.settings_page import PAGE, annotation, groups, link, meaning, own_fields, page, steps, title


def test_the_page_is_what_the_steps_say() -> None:
    assert PAGE.read_text(encoding="utf-8") == page(), "write it anew: python -m tests.helpers.settings_page"


def test_every_setting_of_every_step_is_on_the_page_with_its_meaning() -> None:
    text = PAGE.read_text(encoding="utf-8")
    shared = groups()
    parts = {heading: body for heading, _, body in (part.partition("\n") for part in text.split("\n### ")[1:])}
    without = []
    for name, step in steps().items():
        # What a step inherits stands at the group that it names, or at that of a group.
        reached, found, waiting = set(), set(), [name]
        while waiting:
            heading = waiting.pop()
            reached.add(heading)
            found |= {line.split("`")[1] for line in parts[heading].splitlines() if line.startswith("| `")}
            below = [line for line in parts[heading].splitlines() if line.startswith("Also those of")]
            for cls in (*shared, *steps().values()):
                own = str(vars(cls).get("step_type", "")) or title(cls)
                if own not in reached and any(link(cls) in line for line in below):
                    waiting.append(own)
        assert found == set(step.model_fields), name
    for cls in (*steps().values(), *shared):
        docs = field_docs(cls)
        without += [f"{cls.__name__}.{n}" for n in own_fields(cls) if not meaning(n, docs, annotation(cls, n))]
    assert without == [], "each setting needs a docstring"


def test_a_row_has_type_bounds_default_and_meaning() -> None:
    text = PAGE.read_text(encoding="utf-8")
    updates = text.partition("\n### Updates\n")[2].partition("\n### ")[0]
    row = next(line for line in updates.splitlines() if line.startswith("| `batch_size` |"))
    assert [cell.strip() for cell in row.split("|")][2:4] == ["whole number ≥ 1", "`32`"]
    assert "one update" in row
    headings = [line for line in text.splitlines() if line.startswith("### ")]
    assert len(set(headings)) == len(headings)
